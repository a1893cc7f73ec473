//! What can be found out on the user's machine alone: her profile.

use std::path::Path;

use stela_health::causes;
use stela_identity::Certificate;
use stela_identity::tls::{TlsRoots, TlsSettings};
use stela_protocol::{ChannelId, Fingerprint, OrgId};

use super::finding::{Check, Finding, Verdict};
use super::folder::{self, Whose};
use super::look::Address;
use crate::profile::{Settings, roots};

/// As findings name it.
pub(super) const PROFILE: &str = "this profile";

/// What of a profile can be used to ask the network.
pub(super) struct Own {
    pub(super) channel: ChannelId,
    pub(super) peers: Vec<Address>,
    pub(super) certificate: Option<Certificate>,
    pub(super) tls: Option<TlsSettings>,
    pub(super) swarm_key: Option<Fingerprint>,
}

/// Looks at every file of a profile by itself: one that is wrong does not hide another.
pub(super) fn look(folder: &Path, now_ms: u64, findings: &mut Vec<Finding>) -> Option<Own> {
    let looked_at = folder.join("profile.toml").display().to_string();
    let settings = match settings(folder) {
        Ok(settings) => settings,
        Err(error) => {
            let found = Finding::ok(Check::Files, PROFILE, looked_at, causes(error.as_ref()));
            findings.push(
                found
                    .but(Verdict::Failed)
                    .cured_by("name the folder of a profile")
                    .with("stela --profile FOLDER doctor"),
            );
            return None;
        }
    };
    let (settings, organization, channel, peers) = settings;
    findings.push(Finding::ok(Check::Files, PROFILE, looked_at, "readable"));
    let whose = Whose {
        subject: PROFILE,
        organization: &organization,
        now_ms,
    };
    let certificate = folder::identity(whose, &folder.join(&settings.identity), findings);
    let trusted = trusted(&folder.join(&settings.tls_roots), findings);
    let shown = folder::tls(
        whose,
        &folder.join(&settings.tls),
        trusted.as_ref(),
        findings,
    );
    folder::mode(PROFILE, &folder.join(&settings.encryption_key), findings);
    let swarm_key = folder::swarm_key(PROFILE, &folder.join(&settings.swarm_key), findings);
    folder::room(PROFILE, folder, findings);
    let tls =
        shown.zip(trusted).and_then(
            |(identity, roots)| match TlsSettings::new(identity, &roots) {
                Ok(tls) => Some(tls),
                Err(error) => {
                    let looked_at = folder.join(&settings.tls).display().to_string();
                    let found = Finding::ok(Check::Files, PROFILE, looked_at, error.to_string());
                    findings.push(
                        found
                            .but(Verdict::Failed)
                            .cured_by("put a certificate and the key that belongs to it there"),
                    );
                    None
                }
            },
        );
    Some(Own {
        channel,
        peers,
        certificate,
        tls,
        swarm_key: swarm_key.map(|key| Fingerprint(key.fingerprint())),
    })
}

type Parsed = (Settings, OrgId, ChannelId, Vec<Address>);

fn settings(folder: &Path) -> anyhow::Result<Parsed> {
    let settings = Settings::read(folder)?;
    let organization = OrgId::new(&settings.organization)?;
    let channel = ChannelId::new(&settings.channel)?;
    let peer = |peer: &crate::profile::Peer| {
        anyhow::Ok(Address {
            organization: OrgId::new(&peer.organization)?,
            address: peer.address.clone(),
        })
    };
    let peers = settings.peers.iter().map(peer).collect::<Result<_, _>>()?;
    Ok((settings, organization, channel, peers))
}

fn trusted(folder: &Path, findings: &mut Vec<Finding>) -> Option<TlsRoots> {
    let looked_at = folder.display().to_string();
    let (trusted, finding) = match roots(folder) {
        Ok(roots) => (
            Some(roots),
            Finding::ok(Check::Files, PROFILE, looked_at, "TLS roots are readable"),
        ),
        Err(error) => {
            let found = Finding::ok(Check::Files, PROFILE, looked_at, causes(error.as_ref()));
            let cure = "put every member's TLS root there, one ORGANIZATION.pem for each, as the \
                        consortium gave them out";
            (None, found.but(Verdict::Failed).cured_by(cure))
        }
    };
    findings.push(finding);
    trusted
}

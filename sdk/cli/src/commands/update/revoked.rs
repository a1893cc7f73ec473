//! In whose list a certificate is revoked.
//!
//! It counts in the list of the organization that issued it, and in no other. A certificate names
//! that organization; of a fingerprint alone it is known only if the configuration itself has the
//! certificate, as it has those of orderers and peers.

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::Context;
use stela_identity::tls::Shown;
use stela_protocol::{Fingerprint, OrgId, hash, pb};

use super::pem_file;

/// A certificate as it is named at the command line.
#[derive(Debug, Clone)]
pub(crate) enum Named {
    /// By its fingerprint.
    Fingerprint(Fingerprint),
    /// By a file with it, PEM.
    File(PathBuf),
}

impl FromStr for Named {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(text
            .parse()
            .map_or_else(|_| Self::File(text.into()), Self::Fingerprint))
    }
}

/// A certificate that is to be revoked.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Certificate {
    pub(super) fingerprint: Fingerprint,
    /// Who issued it, if that can be known.
    issuer: Option<OrgId>,
}

impl Certificate {
    /// Looks it up in its file or in the configuration.
    pub(super) fn find(named: &Named, config: &pb::ChannelConfig) -> anyhow::Result<Self> {
        Ok(match named {
            Named::File(file) => {
                let der = pem_file(file)?;
                let shown = Shown::of(&der).with_context(|| file.display().to_string())?;
                Self {
                    fingerprint: shown.fingerprint,
                    issuer: Some(shown.organization),
                }
            }
            Named::Fingerprint(fingerprint) => Self {
                fingerprint: *fingerprint,
                issuer: issuer(fingerprint, config),
            },
        })
    }

    /// In whose list it goes: that of its issuer if it is known, or else of `asked`, or else of
    /// `own`.
    pub(super) fn list(&self, asked: Option<&OrgId>, own: &OrgId) -> anyhow::Result<OrgId> {
        let Some(issuer) = &self.issuer else {
            return Ok(asked.unwrap_or(own).clone());
        };
        anyhow::ensure!(
            asked.is_none_or(|asked| asked == issuer),
            "{issuer} issued certificate {}: in another organization's list it would go on to count",
            self.fingerprint
        );
        Ok(issuer.clone())
    }
}

fn issuer(fingerprint: &Fingerprint, config: &pb::ChannelConfig) -> Option<OrgId> {
    let orderers = config.orderers.iter();
    let mut orderers = orderers.filter(|orderer| {
        orderer.tls_fingerprint[..] == fingerprint.as_bytes()[..]
            || hash::fingerprint(&orderer.certificate) == *fingerprint
    });
    if let Some(orderer) = orderers.next() {
        return orderer.organization.parse().ok();
    }
    let mut listed = config.certificates.iter();
    let certificate = listed.find(|der| hash::fingerprint(der) == *fingerprint)?;
    Some(Shown::of(certificate).ok()?.organization)
}

/// Adds a fingerprint to an organization's list, unless it is there.
pub(super) fn revoke(
    config: &mut pb::ChannelConfig,
    list: &OrgId,
    fingerprint: &Fingerprint,
) -> anyhow::Result<()> {
    let mut organizations = config.organizations.iter_mut();
    let member = organizations.find(|member| member.id == list.as_str());
    let member = member.with_context(|| format!("{list} is not a member"))?;
    let fingerprint = fingerprint.to_bytes();
    if !member.revoked.contains(&fingerprint) {
        member.revoked.push(fingerprint);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use stela_identity::{CertificateAuthority, Subject, TlsAuthority, Validity};

    use super::*;

    const VALIDITY: Validity = Validity {
        not_before_ms: 1_000,
        not_after_ms: 4_000_000_000_000,
    };

    fn organization(name: &str) -> OrgId {
        OrgId::new(name).unwrap()
    }

    fn named(text: &str) -> Named {
        text.parse().unwrap()
    }

    /// The lists into which a certificate goes without a word, and when HospitalC's is asked for.
    #[track_caller]
    fn check(named: &Named, config: &pb::ChannelConfig, expect: (&str, Option<&str>)) {
        let certificate = Certificate::find(named, config).unwrap();
        let (own, asked) = (organization("HospitalA"), organization("HospitalC"));
        let list = certificate.list(None, &own).unwrap();
        assert_eq!(list.as_str(), expect.0);
        let list = certificate.list(Some(&asked), &own).ok();
        assert_eq!(list.as_ref().map(OrgId::as_str), expect.1);
        let issued = organization(expect.0);
        assert_eq!(certificate.list(Some(&issued), &own).unwrap(), issued);
    }

    #[test]
    fn it_is_the_list_of_whoever_issued_the_certificate() {
        let folder = tempfile::tempdir().unwrap();
        let issuer = organization("HospitalB");
        let authority = CertificateAuthority::create(&issuer, VALIDITY).unwrap();
        let tls = TlsAuthority::create(&issuer, VALIDITY).unwrap();
        let subject = Subject {
            common_name: "peer0".to_owned(),
            role: "peer".to_owned(),
            attributes: BTreeMap::new(),
            validity: VALIDITY,
        };
        let identity = authority.issue(&subject).unwrap().certificate;
        let transport = tls
            .issue("peer0", &["localhost".to_owned()], VALIDITY)
            .unwrap();
        identity.save(&folder.path().join("cert.pem")).unwrap();
        transport.save(folder.path()).unwrap();
        let known = pb::ChannelConfig {
            certificates: vec![identity.der().clone()],
            orderers: vec![pb::Orderer {
                organization: issuer.to_string(),
                tls_fingerprint: transport.fingerprint().to_bytes(),
                ..Default::default()
            }],
            ..Default::default()
        };
        let nothing = pb::ChannelConfig::default();
        let fingerprints = [identity.fingerprint(), transport.fingerprint()];
        for (file, fingerprint) in ["cert.pem", "tls.pem"].iter().zip(fingerprints) {
            let file = named(&folder.path().join(file).display().to_string());
            let found = Certificate::find(&file, &nothing).unwrap();
            assert_eq!(found.fingerprint, fingerprint);
            check(&file, &nothing, ("HospitalB", None));
            let fingerprint = named(&fingerprint.to_string());
            check(&fingerprint, &known, ("HospitalB", None));
            check(&fingerprint, &nothing, ("HospitalA", Some("HospitalC")));
        }
        assert!(Certificate::find(&named("absent.pem"), &known).is_err());
        let key = folder.path().join("tls.key.pem").display().to_string();
        assert!(Certificate::find(&named(&key), &known).is_err());
    }

    #[test]
    fn a_fingerprint_stands_in_a_members_list_once() {
        let mut config = pb::ChannelConfig {
            organizations: vec![pb::Organization {
                id: "HospitalB".to_owned(),
                ..Default::default()
            }],
            ..Default::default()
        };
        let fingerprint = Fingerprint([7; 32]);
        for _ in 0..2 {
            revoke(&mut config, &organization("HospitalB"), &fingerprint).unwrap();
        }
        assert_eq!(config.organizations[0].revoked, [fingerprint.to_bytes()]);
        assert!(revoke(&mut config, &organization("HospitalC"), &fingerprint).is_err());
    }
}

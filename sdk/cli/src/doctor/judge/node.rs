//! One node: whether it answers, its certificates, its disk, its packages.

use stela_client::{ChannelHealth, NodeHealth};
use stela_health::Room;
use stela_identity::tls::{Refusal, Shown};
use stela_identity::{Certificate, Msp};
use stela_protocol::ErrorCode;

use super::{Sight, admin};
use crate::doctor::finding::{Check, Finding, Verdict};
use crate::doctor::folder::{self, enrol};
use crate::doctor::look::{Kind, Seen, Silence};
use crate::doctor::own::PROFILE;

pub(super) fn judge(sight: &Sight<'_>, seen: &Seen) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(shown) = &seen.shown {
        findings.push(tls(sight, seen, shown));
    }
    match &seen.first {
        Err(silence) => findings.push(silent(sight, seen, silence)),
        Ok(health) => findings.extend(answers(sight, seen, health)),
    }
    findings
}

fn answers(sight: &Sight<'_>, seen: &Seen, health: &NodeHealth) -> Vec<Finding> {
    let title = seen.title();
    let found = format!("answers, version {}", health.version);
    let mut findings = vec![
        Finding::ok(Check::Reachable, &title, seen.address(), found),
        disk(&title, seen, health),
    ];
    findings.extend(identity(sight, seen, health));
    match &health.channel {
        None => findings.push(not_joined(sight, seen)),
        Some(channel) => {
            let found = format!("has joined {}", sight.channel);
            findings.push(Finding::ok(Check::Channel, &title, seen.address(), found));
            findings.extend(contracts(sight, seen, channel));
            findings.extend(state(sight, seen, channel));
        }
    }
    findings
}

fn host(address: &str) -> &str {
    address.rsplit_once(':').map_or(address, |(host, _)| host)
}

/// How to enrol a node anew.
fn again(seen: &Seen) -> String {
    let said = seen.first.as_ref().ok().map(|health| health.name.as_str());
    let name = said.or(seen.target.name.as_deref()).unwrap_or("NAME");
    enrol(name, seen.target.kind.role(), Some(host(seen.address())))
}

fn silent(sight: &Sight<'_>, seen: &Seen, silence: &Silence) -> Finding {
    let (title, address) = (seen.title(), seen.address());
    let role = seen.target.kind.role();
    match silence {
        Silence::Unreachable(why) => Finding::ok(Check::Reachable, &title, address, why)
            .but(Verdict::Failed)
            .cured_by(
                "start it, or let it through the firewall, or correct its address in the channel's \
                 configuration; on its machine this says why it does not run (a full disk, for \
                 example)",
            )
            .with(format!("stela doctor --config {role}.toml")),
        Silence::Node(refusal) => refused(seen, refusal),
        Silence::Own(refusal) => refuses(sight, seen, refusal),
        Silence::Refused {
            code: Some(ErrorCode::Forbidden),
            ..
        } => not_joined(sight, seen),
        Silence::Refused { words, .. } => Finding::ok(Check::Reachable, &title, address, words)
            .but(Verdict::Failed)
            .cured_by("look into its log; a node of an older version has to be replaced")
            .with(format!("stela doctor --config {role}.toml")),
    }
}

/// The node's TLS certificate is not accepted here.
fn refused(seen: &Seen, refusal: &Refusal) -> Finding {
    let (title, organization) = (seen.title(), &seen.target.at.organization);
    let looked_at = format!("TLS certificate at {}", seen.address());
    let finding = |check| {
        let found = format!("TLS: {refusal}");
        Finding::ok(check, &title, looked_at.clone(), found).but(Verdict::Failed)
    };
    match refusal {
        Refusal::UnknownAuthority => finding(Check::Authority).cured_by(format!(
            "have it enrolled by the TLS authority whose root the consortium knows for \
             {organization}, and start it again; if that root has changed, put the new one into \
             this profile's folder of TLS roots"
        )),
        Refusal::OtherHost => finding(Check::Certificate).cured_by(
            "have it enrolled with the host under which the configuration names it, or correct its \
             address there",
        ),
        Refusal::Unexpected => finding(Check::Authority).cured_by(format!(
            "another organization than {organization} answers at this address: correct the address \
             in the channel's configuration, or the folder `tls` of the node"
        )),
        Refusal::NotYetValid => finding(Check::Certificate).cured_by(
            "set the clock of whoever issued it, or of this machine, right; or have it enrolled anew",
        ),
        _ => finding(Check::Certificate).cured_by(format!(
            "have {organization}'s TLS authority issue a new certificate, put it into the node's \
             folder `tls`, and start it again"
        )),
    }
    .with(again(seen))
}

/// The node does not accept the profile's TLS certificate.
fn refuses(sight: &Sight<'_>, seen: &Seen, refusal: &Refusal) -> Finding {
    let title = seen.title();
    let looked_at = format!("what {title} says of this profile's TLS certificate");
    let found = format!("TLS: {title} refuses it: {refusal}");
    let finding =
        |check, subject| Finding::ok(check, subject, looked_at, found).but(Verdict::Failed);
    match refusal {
        Refusal::UnknownAuthority => finding(Check::Authority, &title).cured_by(format!(
            "the node trusts no such TLS root: have it join channel {}, or correct the TLS root in \
             its configuration, or have this profile enrolled by the authority that the channel \
             knows",
            sight.channel
        )),
        Refusal::Expired => finding(Check::Certificate, PROFILE).cured_by(
            "renew the profile's TLS certificate; if it is valid, the node's clock is wrong",
        ),
        _ => finding(Check::Certificate, PROFILE).cured_by("renew the profile's TLS certificate"),
    }
    .with("stela ca enroll --ca CA_FOLDER --name NAME --role ROLE --out NEW_FOLDER")
}

fn not_joined(sight: &Sight<'_>, seen: &Seen) -> Finding {
    let found = format!("has not joined channel {}", sight.channel);
    Finding::ok(Check::Channel, &seen.title(), seen.address(), found)
        .but(Verdict::Failed)
        .cured_by("have it join, by the first block as the consortium gave it out")
        .with(admin("join", seen, "genesis.block"))
}

/// The node's TLS certificate, which was accepted.
fn tls(sight: &Sight<'_>, seen: &Seen, shown: &Shown) -> Finding {
    let looked_at = format!("TLS certificate at {}", seen.address());
    let title = seen.title();
    if let Kind::Orderer { tls, .. } = &seen.target.kind
        && *tls != shown.fingerprint
    {
        let found = format!(
            "TLS: shows certificate {}, the configuration names {tls}: no other orderer listens to it",
            shown.fingerprint
        );
        return Finding::ok(Check::Certificate, &title, looked_at, found)
            .but(Verdict::Failed)
            .cured_by(
                "put the TLS certificate and key back that the configuration names, or have the \
                 configuration name the new one",
            );
    }
    folder::validity(
        Finding::ok(Check::Certificate, &title, looked_at, "TLS: "),
        shown.not_before_ms,
        shown.not_after_ms,
        sight.time_ms(),
        again(seen),
    )
}

/// The certificate under which the node signs.
fn identity(sight: &Sight<'_>, seen: &Seen, health: &NodeHealth) -> Vec<Finding> {
    let title = seen.title();
    let looked_at = format!("certificate under which it signs, at {}", seen.address());
    let finding = |check, found: String| Finding::ok(check, &title, looked_at.clone(), found);
    let certificate = match Certificate::from_der(&health.certificate) {
        Ok(certificate) => certificate,
        Err(error) => {
            let failed = finding(Check::Certificate, error.to_string()).but(Verdict::Failed);
            return vec![failed.cured_by("have it enrolled anew").with(again(seen))];
        }
    };
    let mut findings = vec![folder::validity(
        finding(Check::Certificate, String::new()),
        certificate.not_before_ms(),
        certificate.not_after_ms(),
        sight.time_ms(),
        again(seen),
    )];
    if let Some(msp) = sight
        .config
        .and_then(|config| Msp::from_config(config).ok())
    {
        let judged = folder::authority(&title, looked_at.clone(), &certificate, &[msp]);
        findings.push(match judged.cure.is_some() {
            true => judged.with(again(seen)),
            false => judged,
        });
    }
    if let Kind::Orderer {
        certificate: configured,
        ..
    } = &seen.target.kind
        && *configured != health.certificate
    {
        let found = "it signs under another certificate than the configuration names".to_owned();
        let cure = "put the certificate and key back that the configuration names";
        findings.push(
            finding(Check::Authority, found)
                .but(Verdict::Failed)
                .cured_by(cure),
        );
    }
    let role = seen.target.kind.role();
    if certificate.role() != role {
        let found = format!(
            "its certificate has the role {:?}, not {role:?}",
            certificate.role()
        );
        let failed = finding(Check::Certificate, found).but(Verdict::Failed);
        findings.push(
            failed
                .cured_by("have it enrolled with its role")
                .with(again(seen)),
        );
    }
    findings
}

fn disk(title: &str, seen: &Seen, health: &NodeHealth) -> Finding {
    let looked_at = format!("free space for the data of {}", seen.address());
    match health.disk_free_mib {
        // Rounded down to a power of two, so this is on the same side of each limit as the truth.
        Some(mib) => {
            let room = Room::of(mib.saturating_mul(1 << 20));
            folder::roomy(title, looked_at, room, &format!("{mib} MiB or more"))
        }
        None => Finding::ok(
            Check::Disk,
            title,
            looked_at,
            "its file system does not say",
        )
        .but(Verdict::CouldNotLook),
    }
}

/// Which of the channel's contracts a peer can run.
fn contracts(sight: &Sight<'_>, seen: &Seen, channel: &ChannelHealth) -> Vec<Finding> {
    let (Kind::Peer, Some(config)) = (&seen.target.kind, sight.config) else {
        return Vec::new();
    };
    let title = seen.title();
    let contracts = config.contracts.values().map(|contract| {
        let looked_at = format!("packages installed at {}", seen.address());
        let (name, version, hash) = (&contract.name, &contract.version, contract.package_hash);
        if channel.packages.contains(&hash) {
            let found = format!("contract {name} {version} is installed");
            return Finding::ok(Check::Contract, &title, looked_at, found);
        }
        let found = format!(
            "package {hash} of contract {name} {version} is missing: the peer endorses none of its calls"
        );
        Finding::ok(Check::Contract, &title, looked_at, found)
            .but(Verdict::Failed)
            .cured_by("install the package, byte for byte the one that the configuration names")
            .with(admin("install", seen, &format!("{name}.wasm")))
    });
    contracts.collect()
}

fn state(sight: &Sight<'_>, seen: &Seen, channel: &ChannelHealth) -> Option<Finding> {
    // With another first block it is outvoted too, and cured together with that.
    let first_block = sight.first_block();
    let other_chain = first_block.is_some_and(|right| right != channel.genesis_hash);
    (channel.outvoted && !other_chain).then(|| {
        let found = "it does not serve the channel: a majority of the organizations reports another \
                     state than it has, or it has found its own data damaged; `stela admin status` \
                     says which";
        Finding::ok(Check::State, &seen.title(), seen.address(), found)
            .but(Verdict::Failed)
            .cured_by(
                "stop it and rebuild its ledger from the stored blocks, on its machine; it says what \
                 else to do if it cannot",
            )
            .with("stela-peer rebuild --config peer.toml")
    })
}

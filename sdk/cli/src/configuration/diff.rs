//! What differs between two configurations, line by line. Every part of a configuration is in a line
//! of its own, so nothing can change without being shown.

use serde::Serialize;
use stela_identity::Certificate;
use stela_protocol::{Fingerprint, Hash32, hash, pb};

use crate::output::time;

/// The lines that go and those that come.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Difference {
    pub(crate) removed: Vec<String>,
    pub(crate) added: Vec<String>,
}

impl Difference {
    /// As people read it: what goes with `-`, what comes with `+`, what is about the same thing
    /// together.
    pub(crate) fn text(&self) -> String {
        let mut lines: Vec<(&str, usize, String)> = Vec::new();
        for (order, (sign, changed)) in [("-", &self.removed), ("+", &self.added)]
            .iter()
            .enumerate()
        {
            for line in *changed {
                let about = line.split(": ").next().unwrap_or_default();
                lines.push((about, order, format!("  {sign} {line}\n")));
            }
        }
        // A stable sort by what a line is about, in the order in which that is first seen.
        let seen: Vec<&str> = lines.iter().map(|(about, ..)| *about).collect();
        let place = |about: &str| seen.iter().position(|other| *other == about);
        lines.sort_by_key(|(about, order, _)| (place(about), *order));
        match lines.is_empty() {
            true => "  (only the order of entries changes)\n".to_owned(),
            false => lines.into_iter().map(|(_, _, line)| line).collect(),
        }
    }
}

/// What differs. The number of the configuration always does, and is left out.
pub(crate) fn difference(old: &pb::ChannelConfig, new: &pb::ChannelConfig) -> Difference {
    let (old, new) = (lines(old), lines(new));
    let missing = |from: &[String], of: &[String]| {
        let mut left = from.to_vec();
        let gone = |line: &&String| match left.iter().position(|other| other == *line) {
            Some(index) => {
                left.swap_remove(index);
                false
            }
            None => true,
        };
        of.iter().filter(gone).cloned().collect()
    };
    Difference {
        removed: missing(&new, &old),
        added: missing(&old, &new),
    }
}

/// The highest number that an orderer ever had; a configuration that does not say it means the
/// highest one that it names.
fn orderers_ever(config: &pb::ChannelConfig) -> u64 {
    let highest = config.orderers.iter().map(|orderer| orderer.id).max();
    match config.orderers_ever {
        0 => highest.unwrap_or(0),
        ever => ever,
    }
}

/// The configuration, one thing a line.
fn lines(config: &pb::ChannelConfig) -> Vec<String> {
    let mut lines = vec![
        format!("format: {}", config.version),
        format!("channel: {}", config.channel),
        format!("admin policy: {}", config.admin_policy),
        format!("orderer quorum: {}", config.orderer_quorum),
        format!("highest orderer number: {}", orderers_ever(config)),
    ];
    if let Some(limits) = &config.limits {
        lines.extend([
            format!("limit window_ms: {}", limits.window_ms),
            format!(
                "limit block_transactions_max: {}",
                limits.block_transactions_max
            ),
            format!("limit block_bytes_max: {}", limits.block_bytes_max),
            format!("limit envelope_bytes_max: {}", limits.envelope_bytes_max),
        ]);
    }
    config
        .organizations
        .iter()
        .for_each(|o| organization(o, &mut lines));
    for orderer in &config.orderers {
        let pb::Orderer {
            id,
            organization,
            address,
            ..
        } = orderer;
        let certificate = describe(&orderer.certificate);
        let tls = hex(&orderer.tls_fingerprint);
        lines.push(format!(
            "orderer {id}: {organization} at {address}, {certificate}, TLS certificate {tls}"
        ));
    }
    for contract in &config.contracts {
        let name = &contract.name;
        lines.push(format!("contract {name} version: {}", contract.version));
        lines.push(format!(
            "contract {name} package: {}",
            hex(&contract.package_hash)
        ));
        lines.push(format!(
            "contract {name} policy: {}",
            contract.endorsement_policy
        ));
        if !contract.settings.is_empty() {
            let settings = visible(&contract.settings);
            lines.push(format!("contract {name} settings: {settings}"));
        }
    }
    let known = config.certificates.iter();
    lines.extend(known.map(|der| format!("known: {}", describe(der))));
    lines.extend(
        config
            .custodians
            .iter()
            .map(|id| format!("custodian: {id}")),
    );
    lines.push(format!(
        "custodian threshold: {}",
        config.custodian_threshold
    ));
    lines
}

fn organization(organization: &pb::Organization, lines: &mut Vec<String>) {
    let id = &organization.id;
    let root = hash::fingerprint(&organization.root_certificate);
    lines.push(format!("organization {id}: root certificate {root}"));
    for root in &organization.tls_root_certificates {
        lines.push(format!(
            "{id} TLS root: certificate {}",
            hash::fingerprint(root)
        ));
    }
    for peer in &organization.peers {
        lines.push(format!("{id} peer {}: {}", peer.name, peer.address));
    }
    for storage in &organization.storage {
        let addresses = storage.addresses.join(" ");
        let (peer_id, api) = (&storage.peer_id, &storage.api);
        lines.push(format!("{id} storage {peer_id}: {api}, swarm {addresses}"));
    }
    for fingerprint in &organization.revoked {
        lines.push(format!("{id} revoked: certificate {}", hex(fingerprint)));
    }
    for role in &organization.roles {
        lines.push(format!("{id} role: {role}"));
    }
}

/// A text in one line in which no character is hidden; quotes, of which JSON is full, stay.
fn visible(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '"' | '\'' => line.push(character),
            other => line.extend(other.escape_debug()),
        }
    }
    line
}

fn hex(bytes: &[u8]) -> String {
    match Hash32::from_slice(bytes) {
        Ok(hash) => hash.to_string(),
        Err(error) => error.to_string(),
    }
}

/// A certificate as people know it.
fn describe(der: &[u8]) -> String {
    let fingerprint: Fingerprint = hash::fingerprint(der);
    let Ok(certificate) = Certificate::from_der(der) else {
        return format!("certificate {fingerprint} (which cannot be read)");
    };
    format!(
        "certificate {fingerprint} ({} of {}, {}, until {})",
        certificate.common_name(),
        certificate.organization(),
        certificate.role(),
        time(certificate.not_after_ms())
    )
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use bytes::Bytes;

    /// A configuration with something in every place. Its certificates are none.
    pub(crate) fn sample() -> pb::ChannelConfig {
        pb::ChannelConfig {
            version: 1,
            channel: "care".to_owned(),
            sequence: 4,
            organizations: vec![pb::Organization {
                id: "HospitalA".to_owned(),
                root_certificate: Bytes::from_static(b"root"),
                tls_root_certificates: vec![Bytes::from_static(b"tls root")],
                peers: vec![pb::PeerEndpoint {
                    name: "peer0".to_owned(),
                    address: "peer0.a.example:7051".to_owned(),
                }],
                storage: vec![pb::StorageEndpoint {
                    peer_id: "12D3Koo".to_owned(),
                    addresses: vec!["/ip4/10.0.0.1/tcp/4001".to_owned()],
                    api: "storage0.a.example:7070".to_owned(),
                }],
                revoked: vec![vec![1; 32].into()],
                roles: vec!["admin".to_owned(), "peer".to_owned()],
            }],
            orderers: vec![pb::Orderer {
                id: 1,
                organization: "HospitalA".to_owned(),
                address: "orderer0.a.example:7050".to_owned(),
                certificate: Bytes::from_static(b"orderer"),
                tls_fingerprint: vec![2; 32].into(),
            }],
            orderer_quorum: 1,
            limits: Some(pb::ChannelLimits {
                window_ms: 300_000,
                block_transactions_max: 500,
                block_bytes_max: 1 << 20,
                envelope_bytes_max: 1 << 18,
            }),
            contracts: vec![pb::ContractDefinition {
                name: "healthcare".to_owned(),
                version: "1".to_owned(),
                package_hash: vec![3; 32].into(),
                endorsement_policy: "'HospitalA.peer'".to_owned(),
                settings: "{\"terms\":1}".to_owned(),
            }],
            admin_policy: "'HospitalA.admin'".to_owned(),
            certificates: vec![Bytes::from_static(b"known")],
            orderers_ever: 3,
            custodians: vec!["HospitalA".to_owned()],
            custodian_threshold: 1,
        }
    }

    #[test]
    fn golden_text() {
        let old = sample();
        let mut new = sample();
        new.sequence = 5;
        new.organizations[0].revoked.push(vec![9; 32].into());
        new.organizations[0].peers[0].address = "peer0.a.example:8051".to_owned();
        new.orderers.clear();
        new.contracts[0].version = "2".to_owned();
        new.contracts[0].settings = "{\n\u{202e}\"terms\": \"\\n\"\n}".to_owned();
        new.admin_policy = "OR('HospitalA.admin', 'HospitalB.admin')".to_owned();
        let expect = "  \
- admin policy: 'HospitalA.admin'
  + admin policy: OR('HospitalA.admin', 'HospitalB.admin')
  - HospitalA peer peer0: peer0.a.example:7051
  + HospitalA peer peer0: peer0.a.example:8051
  - orderer 1: HospitalA at orderer0.a.example:7050, certificate \
             547efe478fc9f952b25cbc50f285f77dff529f259247abe32624cd26a8847d24 (which cannot be read), \
             TLS certificate 0202020202020202020202020202020202020202020202020202020202020202
  - contract healthcare version: 1
  + contract healthcare version: 2
  - contract healthcare settings: {\"terms\":1}
  + contract healthcare settings: {\\n\\u{202e}\"terms\": \"\\\\n\"\\n}
  + HospitalA revoked: certificate \
             0909090909090909090909090909090909090909090909090909090909090909
";
        assert_eq!(difference(&old, &new).text(), expect);
    }

    #[test]
    fn nothing_changes_unseen() {
        type Edit = fn(&mut pb::ChannelConfig);
        let edits: [Edit; 30] = [
            |c| c.version = 2,
            |c| c.channel = "x".to_owned(),
            |c| c.organizations[0].id = "x".to_owned(),
            |c| c.organizations[0].root_certificate = Bytes::from_static(b"x"),
            |c| c.organizations[0].tls_root_certificates[0] = Bytes::from_static(b"x"),
            |c| c.organizations[0].peers[0].name = "x".to_owned(),
            |c| {
                let again = c.organizations[0].peers[0].clone();
                c.organizations[0].peers.push(again);
            },
            |c| c.organizations[0].storage[0].peer_id = "x".to_owned(),
            |c| c.organizations[0].storage[0].addresses.clear(),
            |c| c.organizations[0].storage[0].api = "x".to_owned(),
            |c| c.organizations[0].revoked.clear(),
            |c| c.organizations[0].roles.truncate(1),
            |c| c.orderers[0].id = 2,
            |c| c.orderers[0].organization = "x".to_owned(),
            |c| c.orderers[0].address = "x".to_owned(),
            |c| c.orderers[0].certificate = Bytes::from_static(b"x"),
            |c| c.orderers[0].tls_fingerprint = vec![9; 32].into(),
            |c| c.orderer_quorum = 2,
            |c| c.limits.as_mut().unwrap().window_ms = 1,
            |c| c.limits.as_mut().unwrap().envelope_bytes_max = 1,
            |c| c.contracts[0].package_hash = vec![9; 32].into(),
            |c| c.contracts[0].endorsement_policy = "x".to_owned(),
            |c| c.contracts[0].settings.clear(),
            |c| c.contracts[0].settings.push('\n'),
            |c| c.contracts[0].settings.push('\u{202e}'),
            |c| c.admin_policy = "x".to_owned(),
            |c| c.certificates.clear(),
            |c| c.orderers_ever = 9,
            |c| c.custodians.clear(),
            |c| c.custodian_threshold = 9,
        ];
        for (n, edit) in edits.iter().enumerate() {
            let mut new = sample();
            edit(&mut new);
            let found = difference(&sample(), &new);
            assert!(
                !found.removed.is_empty() || !found.added.is_empty(),
                "edit {n}"
            );
        }
        let same = difference(&sample(), &sample());
        assert!(same.removed.is_empty() && same.added.is_empty());
    }
}

//! The configuration as JSON. It says everything that the encoded form does, and nothing else:
//! certificates in PEM, hashes and fingerprints in hexadecimal.

use anyhow::Context;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use stela_protocol::{Fingerprint, Hash32, pb};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    version: u32,
    channel: String,
    sequence: u64,
    organizations: Vec<Organization>,
    orderers: Vec<Orderer>,
    orderer_quorum: u32,
    orderers_ever: u64,
    limits: Limits,
    contracts: Vec<Contract>,
    admin_policy: String,
    certificates: Vec<String>,
    custodians: Vec<String>,
    custodian_threshold: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Organization {
    id: String,
    root_certificate: String,
    tls_root_certificates: Vec<String>,
    peers: Vec<Peer>,
    storage: Vec<Storage>,
    revoked: Vec<String>,
    roles: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Peer {
    name: String,
    address: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Storage {
    peer_id: String,
    addresses: Vec<String>,
    api: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Orderer {
    id: u64,
    organization: String,
    address: String,
    certificate: String,
    tls_fingerprint: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Limits {
    window_ms: u64,
    block_transactions_max: u32,
    block_bytes_max: u64,
    envelope_bytes_max: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Contract {
    name: String,
    version: String,
    package_hash: String,
    endorsement_policy: String,
    #[serde(default)]
    settings: String,
}

/// The JSON form.
pub(crate) fn to_json(config: &pb::ChannelConfig) -> anyhow::Result<String> {
    let limits = config.limits.context("the configuration has no limits")?;
    let organizations = config.organizations.iter().map(organization);
    let orderers = config.orderers.iter().map(orderer);
    let contracts = config.contracts.iter().map(contract);
    let config = Config {
        version: config.version,
        channel: config.channel.clone(),
        sequence: config.sequence,
        organizations: organizations.collect::<anyhow::Result<_>>()?,
        orderers: orderers.collect::<anyhow::Result<_>>()?,
        orderer_quorum: config.orderer_quorum,
        orderers_ever: config.orderers_ever,
        limits: Limits {
            window_ms: limits.window_ms,
            block_transactions_max: limits.block_transactions_max,
            block_bytes_max: limits.block_bytes_max,
            envelope_bytes_max: limits.envelope_bytes_max,
        },
        contracts: contracts.collect::<anyhow::Result<_>>()?,
        admin_policy: config.admin_policy.clone(),
        certificates: config.certificates.iter().map(to_pem).collect(),
        custodians: config.custodians.clone(),
        custodian_threshold: config.custodian_threshold,
    };
    Ok(serde_json::to_string_pretty(&config)?)
}

fn organization(organization: &pb::Organization) -> anyhow::Result<Organization> {
    let revoked = organization.revoked.iter();
    let revoked = revoked.map(|f| Ok(Fingerprint::from_slice(f)?.to_string()));
    let peers = organization.peers.iter().map(|peer| Peer {
        name: peer.name.clone(),
        address: peer.address.clone(),
    });
    let storage = organization.storage.iter().map(|storage| Storage {
        peer_id: storage.peer_id.clone(),
        addresses: storage.addresses.clone(),
        api: storage.api.clone(),
    });
    Ok(Organization {
        id: organization.id.clone(),
        root_certificate: to_pem(&organization.root_certificate),
        tls_root_certificates: organization
            .tls_root_certificates
            .iter()
            .map(to_pem)
            .collect(),
        peers: peers.collect(),
        storage: storage.collect(),
        revoked: revoked.collect::<anyhow::Result<_>>()?,
        roles: organization.roles.clone(),
    })
}

fn orderer(orderer: &pb::Orderer) -> anyhow::Result<Orderer> {
    Ok(Orderer {
        id: orderer.id,
        organization: orderer.organization.clone(),
        address: orderer.address.clone(),
        certificate: to_pem(&orderer.certificate),
        tls_fingerprint: Fingerprint::from_slice(&orderer.tls_fingerprint)?.to_string(),
    })
}

fn contract(contract: &pb::ContractDefinition) -> anyhow::Result<Contract> {
    Ok(Contract {
        name: contract.name.clone(),
        version: contract.version.clone(),
        package_hash: Hash32::from_slice(&contract.package_hash)?.to_string(),
        endorsement_policy: contract.endorsement_policy.clone(),
        settings: contract.settings.clone(),
    })
}

/// Reads the JSON form. Whether the configuration is sound is not asked.
pub(crate) fn from_json(text: &str) -> anyhow::Result<pb::ChannelConfig> {
    let config: Config = serde_json::from_str(text).context("this is no configuration in JSON")?;
    let organizations = config.organizations.into_iter().map(read_organization);
    let orderers = config.orderers.into_iter().map(read_orderer);
    let contracts = config.contracts.into_iter().map(read_contract);
    let certificates = config.certificates.iter();
    Ok(pb::ChannelConfig {
        version: config.version,
        channel: config.channel,
        sequence: config.sequence,
        organizations: organizations.collect::<anyhow::Result<_>>()?,
        orderers: orderers.collect::<anyhow::Result<_>>()?,
        orderer_quorum: config.orderer_quorum,
        limits: Some(pb::ChannelLimits {
            window_ms: config.limits.window_ms,
            block_transactions_max: config.limits.block_transactions_max,
            block_bytes_max: config.limits.block_bytes_max,
            envelope_bytes_max: config.limits.envelope_bytes_max,
        }),
        contracts: contracts.collect::<anyhow::Result<_>>()?,
        admin_policy: config.admin_policy,
        certificates: certificates
            .map(|pem| from_pem(pem))
            .collect::<anyhow::Result<_>>()?,
        orderers_ever: config.orderers_ever,
        custodians: config.custodians,
        custodian_threshold: config.custodian_threshold,
    })
}

fn read_organization(organization: Organization) -> anyhow::Result<pb::Organization> {
    let id = &organization.id;
    let of = || format!("a certificate of {id}");
    let tls_roots = organization.tls_root_certificates.iter();
    let revoked = organization.revoked.iter();
    let revoked = revoked.map(|text| Ok(text.parse::<Fingerprint>()?.to_bytes()));
    let peers = organization.peers.into_iter().map(|peer| pb::PeerEndpoint {
        name: peer.name,
        address: peer.address,
    });
    let storage = organization
        .storage
        .into_iter()
        .map(|storage| pb::StorageEndpoint {
            peer_id: storage.peer_id,
            addresses: storage.addresses,
            api: storage.api,
        });
    Ok(pb::Organization {
        root_certificate: from_pem(&organization.root_certificate).with_context(of)?,
        tls_root_certificates: tls_roots
            .map(|pem| from_pem(pem))
            .collect::<anyhow::Result<_>>()
            .with_context(of)?,
        peers: peers.collect(),
        storage: storage.collect(),
        revoked: revoked.collect::<anyhow::Result<_>>()?,
        roles: organization.roles,
        id: organization.id,
    })
}

fn read_orderer(orderer: Orderer) -> anyhow::Result<pb::Orderer> {
    let certificate = from_pem(&orderer.certificate)
        .with_context(|| format!("the certificate of orderer {}", orderer.id))?;
    Ok(pb::Orderer {
        id: orderer.id,
        organization: orderer.organization,
        address: orderer.address,
        certificate,
        tls_fingerprint: orderer.tls_fingerprint.parse::<Fingerprint>()?.to_bytes(),
    })
}

fn read_contract(contract: Contract) -> anyhow::Result<pb::ContractDefinition> {
    Ok(pb::ContractDefinition {
        name: contract.name,
        version: contract.version,
        package_hash: contract.package_hash.parse::<Hash32>()?.to_bytes(),
        endorsement_policy: contract.endorsement_policy,
        settings: contract.settings,
    })
}

fn to_pem(der: &Bytes) -> String {
    let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    pem::encode_config(&pem::Pem::new("CERTIFICATE", der.as_ref()), config)
}

/// The DER of one certificate in PEM.
pub(crate) fn from_pem(text: &str) -> anyhow::Result<Bytes> {
    let pem = pem::parse(text).context("not a certificate in PEM")?;
    anyhow::ensure!(pem.tag() == "CERTIFICATE", "not a certificate in PEM");
    Ok(pem.into_contents().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::configuration::diff::tests::sample;

    #[test]
    fn it_says_everything_and_comes_back_as_it_was() {
        let config = sample();
        let text = to_json(&config).unwrap();
        assert_eq!(from_json(&text).unwrap(), config);
    }

    #[test]
    fn what_it_does_not_know_is_refused() {
        let text = to_json(&sample()).unwrap();
        assert!(from_json(&text.replace("\"admin_policy\"", "\"admin_polcy\"")).is_err());
        assert!(from_json(&text.replace("BEGIN CERTIFICATE", "BEGIN KEY")).is_err());
        assert!(from_json("{}").is_err());
    }
}

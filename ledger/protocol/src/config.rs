//! The configuration of a channel, parsed.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use prost::Message;

use crate::block::{Block, BlockError};
use crate::ids::{BlockNumber, ChannelId, ContractName, Fingerprint, Hash32, IdError, OrgId};
use crate::limits;
use crate::policy::{self, Policy, PolicyError};
use crate::{FORMAT_VERSION, hash, pb};

/// Why a configuration was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The bytes are no configuration.
    #[error("the configuration cannot be decoded: {0}")]
    Undecodable(String),
    /// Written by another version of the format.
    #[error("configuration format version {0} is not known here")]
    Version(u32),
    /// A name or a hash is not valid.
    #[error(transparent)]
    Id(#[from] IdError),
    /// A policy cannot be parsed.
    #[error("policy of {of}: {source}")]
    Policy {
        /// Whose policy.
        of: String,
        /// Why not.
        source: PolicyError,
    },
    /// A rule between the parts of the configuration is broken.
    #[error("the configuration is not sound: {0}")]
    Unsound(String),
    /// The first block does not carry one configuration and nothing else.
    #[error("not a genesis block: {0}")]
    NotGenesis(&'static str),
    /// The first block is no block.
    #[error(transparent)]
    Block(#[from] BlockError),
}

/// A member organization.
#[derive(Debug, Clone)]
pub struct Organization {
    /// Its name.
    pub id: OrgId,
    /// The certificate (DER) that issues its identities.
    pub root_certificate: Bytes,
    /// The certificates (DER) that issue its TLS certificates.
    pub tls_root_certificates: Vec<Bytes>,
    /// Where its peers answer.
    pub peers: Vec<pb::PeerEndpoint>,
    /// Where its storage nodes answer.
    pub storage: Vec<pb::StorageEndpoint>,
    /// Certificates that it has revoked.
    pub revoked: BTreeSet<Fingerprint>,
    /// The roles that its certificates may have; any role if there is none.
    pub roles: BTreeSet<String>,
}

impl Organization {
    /// Whether a certificate of this organization may have a role.
    pub fn has_role(&self, role: &str) -> bool {
        self.roles.is_empty() || self.roles.contains(role)
    }
}

/// An orderer of the channel.
#[derive(Debug, Clone)]
pub struct Orderer {
    /// Its number, which is also its Raft id.
    pub id: u64,
    /// Its organization.
    pub organization: OrgId,
    /// Where it answers, `host:port`.
    pub address: String,
    /// The certificate (DER) under which it signs headers.
    pub certificate: Bytes,
    /// SHA-256 of its TLS certificate.
    pub tls_fingerprint: Fingerprint,
}

/// A contract that the channel runs.
#[derive(Debug, Clone)]
pub struct Contract {
    /// Its name and namespace.
    pub name: ContractName,
    /// Its version, for people.
    pub version: String,
    /// The package that every endorser must run.
    pub package_hash: Hash32,
    /// Whose endorsements make its transactions valid.
    pub policy: Policy,
    /// What the channel sets for it; JSON by convention, and the contract's alone to read.
    pub settings: Bytes,
    /// What every endorser's result has to name: the package, with these settings.
    pub package_with_settings: Hash32,
}

/// The bounds that the channel sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChannelLimits {
    /// How far a transaction's timestamp may lie from the block's time, either way.
    pub window_ms: u64,
    /// Envelopes in a block.
    pub block_transactions_max: usize,
    /// Bytes of a block.
    pub block_bytes_max: usize,
    /// Bytes of an envelope.
    pub envelope_bytes_max: usize,
}

/// The configuration in force.
#[derive(Debug, Clone)]
pub struct ChannelConfig {
    /// The channel.
    pub channel: ChannelId,
    /// Counts the changes; caches are keyed by it.
    pub sequence: u64,
    /// The members.
    pub organizations: BTreeMap<OrgId, Organization>,
    /// The orderers by number.
    pub orderers: BTreeMap<u64, Orderer>,
    /// How many of them must sign a header.
    pub orderer_quorum: usize,
    /// The bounds.
    pub limits: ChannelLimits,
    /// The contracts.
    pub contracts: BTreeMap<ContractName, Contract>,
    /// Who may change this configuration.
    pub admin_policy: Policy,
    /// Certificates (DER) known without a registration.
    pub certificates: Vec<Bytes>,
    /// The highest number that an orderer ever had. Numbers are never given again.
    pub orderers_ever: u64,
    /// The organizations that release keys together; none if keys are not released this way.
    pub custodians: BTreeSet<OrgId>,
    /// How many of them it takes.
    pub custodian_threshold: usize,
}

impl ChannelConfig {
    /// Parses a configuration and checks that its parts fit together.
    ///
    /// # Errors
    /// [`ConfigError`] says which part does not.
    pub fn decode(bytes: &[u8]) -> Result<Self, ConfigError> {
        let config = pb::ChannelConfig::decode(bytes)
            .map_err(|error| ConfigError::Undecodable(error.to_string()))?;
        Self::from_pb(config)
    }

    /// The same from a decoded message.
    ///
    /// # Errors
    /// [`ConfigError`] says which part does not fit.
    pub fn from_pb(config: pb::ChannelConfig) -> Result<Self, ConfigError> {
        if config.version != FORMAT_VERSION {
            return Err(ConfigError::Version(config.version));
        }
        bounded("bytes", config.encoded_len(), limits::CONFIG_BYTES_MAX)?;
        let highest = config.orderers.iter().map(|orderer| orderer.id).max();
        let parsed = Self {
            channel: ChannelId::new(&config.channel)?,
            sequence: config.sequence,
            organizations: unique("organization", config.organizations, organization, |o| {
                o.id.clone()
            })?,
            orderers: unique("orderer", config.orderers, orderer, |o| o.id)?,
            orderer_quorum: config.orderer_quorum as usize,
            limits: channel_limits(config.limits)?,
            contracts: unique("contract", config.contracts, contract, |c| c.name.clone())?,
            admin_policy: parse_policy("the administrators", &config.admin_policy)?,
            certificates: config.certificates,
            orderers_ever: match config.orderers_ever {
                0 => highest.unwrap_or(0),
                ever => ever,
            },
            custodians: custodians(&config.custodians)?,
            custodian_threshold: config.custodian_threshold as usize,
        };
        parsed.check()?;
        Ok(parsed)
    }

    fn check(&self) -> Result<(), ConfigError> {
        let n = self.orderers.len();
        if n == 0 || n > limits::ORDERERS_MAX {
            return unsound(format!("{n} orderers"));
        }
        if self.orderer_quorum <= n / 2 || self.orderer_quorum > n {
            return unsound(format!(
                "a quorum of {} of {n} orderers",
                self.orderer_quorum
            ));
        }
        let (organizations, contracts) = (self.organizations.len(), self.contracts.len());
        bounded("organizations", organizations, limits::ORGANIZATIONS_MAX)?;
        bounded("contracts", contracts, limits::CONTRACTS_MAX)?;
        let certificates = self.certificates.len();
        bounded(
            "certificates",
            certificates,
            limits::CONFIG_CERTIFICATES_MAX,
        )?;
        self.check_orderers()?;
        self.check_custodians()?;
        self.check_policies()
    }

    fn check_orderers(&self) -> Result<(), ConfigError> {
        for orderer in self.orderers.values() {
            let id = orderer.id;
            if id == 0 || !self.organizations.contains_key(&orderer.organization) {
                return unsound(format!("orderer {id} has no organization or id 0"));
            }
            if id > self.orderers_ever {
                let ever = self.orderers_ever;
                return unsound(format!("orderer {id} is above the highest number, {ever}"));
            }
        }
        Ok(())
    }

    fn check_custodians(&self) -> Result<(), ConfigError> {
        let (n, threshold) = (self.custodians.len(), self.custodian_threshold);
        if let Some(stranger) = self.custodians.iter().find(|id| !self.is_member(id)) {
            return unsound(format!("custodian {stranger} is no member"));
        }
        let sound = match n {
            0 => threshold == 0,
            n => threshold > n / 2 && threshold <= n,
        };
        if !sound {
            return unsound(format!("a threshold of {threshold} of {n} custodians"));
        }
        Ok(())
    }

    fn check_policies(&self) -> Result<(), ConfigError> {
        let policies = self.contracts.values().map(|contract| &contract.policy);
        for principal in policies
            .chain([&self.admin_policy])
            .flat_map(Policy::principals)
        {
            let Some(organization) = self.organizations.get(&principal.organization) else {
                return unsound(format!("a policy names {principal}, which is no member"));
            };
            if principal.role != policy::MEMBER && !organization.has_role(&principal.role) {
                return unsound(format!(
                    "a policy names {principal}, but no certificate has this role"
                ));
            }
        }
        if !self
            .organizations
            .values()
            .any(|o| o.has_role(policy::ADMIN))
        {
            return unsound("nobody could ever submit a change of it".to_owned());
        }
        Ok(())
    }

    /// Whether an organization is a member.
    pub fn is_member(&self, organization: &OrgId) -> bool {
        self.organizations.contains_key(organization)
    }
}

fn unsound<T>(why: String) -> Result<T, ConfigError> {
    Err(ConfigError::Unsound(why))
}

fn bounded(what: &str, actual: usize, max: usize) -> Result<(), ConfigError> {
    if actual > max {
        return unsound(format!("{actual} {what}, at most {max} are allowed"));
    }
    Ok(())
}

/// A text that people are shown: an address, a name, a version.
fn shown(what: &str, text: &str) -> Result<(), ConfigError> {
    bounded(what, text.len(), limits::ADDRESS_BYTES_MAX)?;
    if text.chars().any(char::is_control) {
        return unsound(format!("{what} with control characters"));
    }
    Ok(())
}

fn unique<P, T, K: Ord>(
    what: &str,
    list: Vec<P>,
    parse: fn(P) -> Result<T, ConfigError>,
    key: fn(&T) -> K,
) -> Result<BTreeMap<K, T>, ConfigError> {
    let mut map = BTreeMap::new();
    for item in list {
        let item = parse(item)?;
        if map.insert(key(&item), item).is_some() {
            return unsound(format!("an {what} is listed twice"));
        }
    }
    Ok(map)
}

fn parse_policy(of: &str, text: &str) -> Result<Policy, ConfigError> {
    Policy::parse(text).map_err(|source| ConfigError::Policy {
        of: of.to_owned(),
        source,
    })
}

fn organization(organization: pb::Organization) -> Result<Organization, ConfigError> {
    let id = OrgId::new(&organization.id)?;
    let tls_roots = organization.tls_root_certificates.len();
    bounded("TLS roots", tls_roots, limits::TLS_ROOTS_MAX)?;
    bounded(
        "revoked certificates",
        organization.revoked.len(),
        limits::REVOKED_MAX,
    )?;
    bounded("peers", organization.peers.len(), limits::ENDPOINTS_MAX)?;
    bounded(
        "storage nodes",
        organization.storage.len(),
        limits::ENDPOINTS_MAX,
    )?;
    for peer in &organization.peers {
        shown("a peer's name", &peer.name)?;
        shown("a peer's address", &peer.address)?;
    }
    for storage in &organization.storage {
        check_storage(storage)?;
    }
    let certificates = organization.tls_root_certificates.iter();
    if certificates
        .chain([&organization.root_certificate])
        .any(|c| c.is_empty() || c.len() > limits::CERTIFICATE_BYTES_MAX)
    {
        return unsound(format!(
            "a root certificate of {id} is missing or too large"
        ));
    }
    let revoked = organization
        .revoked
        .iter()
        .map(|f| Fingerprint::from_slice(f))
        .collect::<Result<_, _>>()?;
    let roles = roles(&id, organization.roles)?;
    Ok(Organization {
        id,
        root_certificate: organization.root_certificate,
        tls_root_certificates: organization.tls_root_certificates,
        peers: organization.peers,
        storage: organization.storage,
        revoked,
        roles,
    })
}

fn check_storage(node: &pb::StorageEndpoint) -> Result<(), ConfigError> {
    bounded("addresses", node.addresses.len(), limits::ADDRESSES_MAX)?;
    shown("a storage node's id", &node.peer_id)?;
    shown("a storage node's address", &node.api)?;
    node.addresses
        .iter()
        .try_for_each(|address| shown("a storage node's address", address))
}

fn roles(of: &OrgId, listed: Vec<String>) -> Result<BTreeSet<String>, ConfigError> {
    bounded("roles", listed.len(), limits::ROLES_MAX)?;
    let count = listed.len();
    let roles: BTreeSet<String> = listed.into_iter().collect();
    if roles.len() != count || !roles.iter().all(|role| policy::is_role(role)) {
        return unsound(format!(
            "the roles of {of} are not distinct words in lower case"
        ));
    }
    Ok(roles)
}

fn custodians(listed: &[String]) -> Result<BTreeSet<OrgId>, ConfigError> {
    let custodians: BTreeSet<OrgId> = listed
        .iter()
        .map(|id| OrgId::new(id))
        .collect::<Result<_, _>>()?;
    if custodians.len() != listed.len() {
        return unsound("a custodian is listed twice".to_owned());
    }
    Ok(custodians)
}

fn orderer(orderer: pb::Orderer) -> Result<Orderer, ConfigError> {
    shown("an orderer's address", &orderer.address)?;
    Ok(Orderer {
        id: orderer.id,
        organization: OrgId::new(&orderer.organization)?,
        address: orderer.address,
        certificate: orderer.certificate,
        tls_fingerprint: Fingerprint::from_slice(&orderer.tls_fingerprint)?,
    })
}

fn contract(definition: pb::ContractDefinition) -> Result<Contract, ConfigError> {
    let name = ContractName::new(&definition.name)?;
    shown("a contract's version", &definition.version)?;
    let settings = definition.settings.len();
    bounded("bytes of settings", settings, limits::SETTINGS_BYTES_MAX)?;
    let package_hash = Hash32::from_slice(&definition.package_hash)?;
    let settings = Bytes::from(definition.settings);
    Ok(Contract {
        policy: parse_policy(name.as_str(), &definition.endorsement_policy)?,
        package_hash,
        version: definition.version,
        package_with_settings: hash::package_with_settings(&package_hash, &settings),
        settings,
        name,
    })
}

fn channel_limits(limits: Option<pb::ChannelLimits>) -> Result<ChannelLimits, ConfigError> {
    let Some(limits) = limits else {
        return unsound("the limits are missing".to_owned());
    };
    let within = |what: &str, value: u64, max: u64| {
        if value == 0 || value > max {
            return unsound(format!("{what} is {value}, not 1 to {max}"));
        }
        Ok(value)
    };
    let bytes_max = within(
        "block_bytes_max",
        limits.block_bytes_max,
        limits::BLOCK_BYTES_MAX as u64,
    )?;
    Ok(ChannelLimits {
        window_ms: within("window_ms", limits.window_ms, limits::WINDOW_MS_MAX)?,
        block_transactions_max: within(
            "block_transactions_max",
            limits.block_transactions_max.into(),
            limits::BLOCK_TRANSACTIONS_MAX as u64,
        )? as usize,
        block_bytes_max: bytes_max as usize,
        envelope_bytes_max: within(
            "envelope_bytes_max",
            limits.envelope_bytes_max,
            bytes_max.min(limits::ENVELOPE_BYTES_MAX as u64),
        )? as usize,
    })
}

/// Makes block 0: one unsigned envelope with the configuration.
pub fn genesis(config: &pb::ChannelConfig, time_ms: u64) -> Result<Block, ConfigError> {
    let channel = ChannelId::new(&config.channel)?;
    let body = pb::payload::Body::Config(config.encode_to_vec().into());
    let payload = pb::Payload { body: Some(body) }.encode_to_vec().into();
    let envelope = pb::Envelope {
        payload,
        signature: Bytes::new(),
    };
    let envelopes = vec![envelope.encode_to_vec().into()];
    Ok(Block::new(
        channel,
        BlockNumber(0),
        Hash32::ZERO,
        BlockNumber(0),
        time_ms,
        envelopes,
    ))
}

/// The configuration (as it travelled, and parsed) in block 0. Whoever joins trusts the block's
/// hash, which her administrator got from the consortium.
///
/// # Errors
/// [`ConfigError`] when the block is not a genesis block or its configuration is not sound.
pub fn from_genesis(block: &Block) -> Result<(Bytes, ChannelConfig), ConfigError> {
    let header = &block.header;
    if header.number.0 != 0 || header.previous_hash != Hash32::ZERO || header.last_config.0 != 0 {
        return Err(ConfigError::NotGenesis("it is not the first of a chain"));
    }
    let [envelope] = block.envelopes.as_slice() else {
        return Err(ConfigError::NotGenesis(
            "it does not carry exactly one envelope",
        ));
    };
    let payload = pb::Envelope::decode(envelope.clone())
        .and_then(|envelope| pb::Payload::decode(envelope.payload))
        .map_err(|error| ConfigError::Undecodable(error.to_string()))?;
    let Some(pb::payload::Body::Config(bytes)) = payload.body else {
        return Err(ConfigError::NotGenesis(
            "its envelope carries no configuration",
        ));
    };
    let config = ChannelConfig::decode(&bytes)?;
    if config.channel != header.channel {
        return Err(ConfigError::NotGenesis(
            "its configuration is of another channel",
        ));
    }
    Ok((bytes, config))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> pb::ChannelConfig {
        let organization = |id: &str| pb::Organization {
            id: id.to_owned(),
            root_certificate: Bytes::from_static(b"root"),
            ..Default::default()
        };
        let orderer = |id: u64| pb::Orderer {
            id,
            organization: "A".to_owned(),
            tls_fingerprint: Bytes::from_static(&[0; 32]),
            ..Default::default()
        };
        pb::ChannelConfig {
            version: FORMAT_VERSION,
            channel: "care".to_owned(),
            organizations: vec![organization("A"), organization("B")],
            orderers: (1..=3).map(orderer).collect(),
            orderer_quorum: 2,
            limits: Some(pb::ChannelLimits {
                window_ms: 1000,
                block_transactions_max: 10,
                block_bytes_max: 1 << 20,
                envelope_bytes_max: 1 << 16,
            }),
            contracts: vec![pb::ContractDefinition {
                name: "healthcare".to_owned(),
                version: "1".to_owned(),
                package_hash: Bytes::from_static(&[1; 32]),
                endorsement_policy: "AND('A.peer','B.peer')".to_owned(),
                ..Default::default()
            }],
            admin_policy: "AND('A.admin','B.admin')".to_owned(),
            ..Default::default()
        }
    }

    #[test]
    fn genesis_there_and_back() {
        let block = genesis(&sample(), 7).unwrap();
        let (bytes, config) = from_genesis(&block).unwrap();
        assert_eq!(bytes, sample().encode_to_vec());
        assert_eq!(config.orderers.len(), 3);
    }

    #[test]
    fn unsound_configurations_are_refused() {
        let check = |change: fn(&mut pb::ChannelConfig)| {
            let mut config = sample();
            change(&mut config);
            ChannelConfig::from_pb(config).unwrap_err()
        };
        check(|c| c.orderer_quorum = 1);
        check(|c| c.orderer_quorum = 4);
        check(|c| c.orderers.clear());
        check(|c| c.limits = None);
        check(|c| c.organizations[1].id = "A".to_owned());
        check(|c| c.admin_policy = "'C.admin'".to_owned());
        check(|c| c.contracts[0].endorsement_policy = "AND(".to_owned());
        check(|c| c.contracts[0].package_hash = Bytes::new());
        check(|c| c.channel = "../x".to_owned());
        check(|c| c.version = 9);
        check(|c| c.orderers_ever = 2);
        check(|c| c.orderers[0].address = "a\x1b[2J".to_owned());
        check(|c| c.contracts[0].version = "1".repeat(257));
        check(|c| c.contracts[0].settings = " ".repeat(limits::SETTINGS_BYTES_MAX + 1));
        check(|c| c.organizations[0].roles = vec!["Peer".to_owned()]);
        check(|c| c.organizations[0].roles = vec!["peer".to_owned(); 2]);
        check(|c| c.organizations[0].roles = vec!["admin".to_owned()]);
        check(|c| c.organizations[0].peers = vec![Default::default(); 65]);
        check(|c| c.organizations[0].storage = vec![Default::default(); 65]);
        check(|c| c.organizations[0].revoked = vec![vec![1; 32].into(); 8193]);
        check(|c| c.organizations[0].revoked = vec![Bytes::from_static(b"short")]);
        check(|c| c.organizations[0].tls_root_certificates = vec![b"root".as_ref().into(); 9]);
        check(|c| c.certificates = vec![vec![0; 1024].into(); 600]);
        check(|c| c.certificates = vec![Bytes::new(); 1025]);
        check(|c| c.custodians = vec!["A".to_owned(), "B".to_owned()]);
        check(|c| c.custodian_threshold = 1);
        let custodians = |c: &mut pb::ChannelConfig, names: [&str; 2], threshold| {
            c.custodians = names.map(str::to_owned).to_vec();
            c.custodian_threshold = threshold;
        };
        let mut config = sample();
        for (names, threshold) in [
            (["A", "B"], 1),
            (["A", "B"], 3),
            (["A", "Z"], 2),
            (["A", "A"], 2),
        ] {
            custodians(&mut config, names, threshold);
            assert!(
                ChannelConfig::from_pb(config.clone()).is_err(),
                "{names:?} {threshold}"
            );
        }
        custodians(&mut config, ["A", "B"], 2);
        assert!(ChannelConfig::from_pb(config).is_ok());
    }

    #[test]
    fn a_policy_that_the_roles_make_impossible_is_refused() {
        let with_roles = |roles: [&str; 2]| {
            let mut config = sample();
            for organization in &mut config.organizations {
                organization.roles = roles.map(str::to_owned).to_vec();
            }
            ChannelConfig::from_pb(config)
        };
        let config = with_roles(["admin", "peer"]).unwrap();
        let organization = config.organizations.values().next().unwrap();
        assert!(organization.has_role("peer") && !organization.has_role("patient"));
        assert!(with_roles(["admin", "orderer"]).is_err());
        assert!(with_roles(["peer", "orderer"]).is_err());
    }

    #[test]
    fn numbers_that_were_given_are_remembered() {
        assert_eq!(ChannelConfig::from_pb(sample()).unwrap().orderers_ever, 3);
        let mut config = sample();
        config.orderers_ever = 9;
        assert_eq!(ChannelConfig::from_pb(config).unwrap().orderers_ever, 9);
    }
}

//! Who takes part: three organizations with certificates that are always the same, because ids,
//! blocks and hashes follow from them.
//!
//! `fixture/consortium.pem` holds the certificates; `stela-simulate --write-certificates` made it.
//! The members' keys are derived from their names, the authorities' keys were thrown away. They
//! protect nothing and must never be used elsewhere.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use anyhow::Context;
use bytes::Bytes;
use stela_identity::{
    Certificate, CertificateAuthority, Credentials, SigningKey, Subject, Validity,
};
use stela_orderer::channel::Channel;
use stela_protocol::block::Block;
use stela_protocol::{FORMAT_VERSION, Hash32, Message, OrgId, config, hash, pb};

use crate::limits::{BLOCK_TRANSACTIONS_MAX, START_MS, WINDOW_MS};

/// The channel.
pub(crate) const CHANNEL: &str = "care";
/// The contract.
pub(crate) const CONTRACT: &str = "counter";
/// The package that runs it, by its hash; it is run natively.
pub(crate) const PACKAGE: Hash32 = Hash32([7; 32]);

const ORGANIZATIONS: [&str; 3] = ["HospitalA", "HospitalB", "HospitalC"];
/// The members of each, as the fixture lists them behind the organization's root.
const MEMBERS: [(&str, &str); 5] = [
    ("orderer0", "orderer"),
    ("orderer1", "orderer"),
    ("peer0", "peer"),
    ("admin0", "admin"),
    ("client0", "practitioner"),
];
const FIXTURE: &str = include_str!("../fixture/consortium.pem");
const DAY_MS: u64 = 24 * 3600 * 1000;

/// The consortium with a number of orderers, and block 0.
pub(crate) struct Consortium {
    pub(crate) genesis: Block,
    pub(crate) channel: Arc<Channel>,
    pub(crate) orderers: Vec<Arc<Credentials>>,
    pub(crate) peers: Vec<Arc<Credentials>>,
    /// The last one has to be registered; the others are listed in the configuration.
    pub(crate) clients: Vec<Arc<Credentials>>,
}

impl Consortium {
    /// With three orderers or with five. It is parsed once in a process.
    pub(crate) fn with_orderers(five: bool) -> anyhow::Result<Arc<Self>> {
        static MADE: OnceLock<[Arc<Consortium>; 2]> = OnceLock::new();
        if let Some(made) = MADE.get() {
            return Ok(made[usize::from(five)].clone());
        }
        let made = [Arc::new(Self::new(3)?), Arc::new(Self::new(5)?)];
        Ok(MADE.get_or_init(|| made)[usize::from(five)].clone())
    }

    fn new(orderer_count: usize) -> anyhow::Result<Self> {
        let mut certificates = pem::parse_many(FIXTURE)?.into_iter();
        let mut roots = Vec::new();
        let mut members = BTreeMap::<&str, Vec<Arc<Credentials>>>::new();
        for organization in ORGANIZATIONS {
            let root = certificates.next().context("the fixture ends too early")?;
            roots.push((organization, Bytes::from(root.into_contents())));
            for (name, _) in MEMBERS {
                let der = certificates.next().context("the fixture ends too early")?;
                let member = member(organization, name, der.contents())?;
                members.entry(name).or_default().push(Arc::new(member));
            }
        }
        let mut of = |name| members.remove(name).unwrap_or_default();
        let mut orderers = of("orderer0");
        orderers.extend(of("orderer1"));
        orderers.truncate(orderer_count);
        let (peers, clients) = (of("peer0"), of("client0"));
        let config = configuration(&roots, &orderers, &peers, &clients[..clients.len() - 1]);
        let genesis = config::genesis(&config, START_MS)?;
        let channel = Channel::from_genesis(genesis.to_pb().encode_to_vec().into())?;
        Ok(Self {
            genesis,
            channel: Arc::new(channel),
            orderers,
            peers,
            clients,
        })
    }
}

fn member(organization: &str, name: &str, der: &[u8]) -> anyhow::Result<Credentials> {
    let (certificate, key) = (Certificate::from_der(der)?, key(organization, name));
    let sound = certificate.organization().as_str() == organization
        && certificate.common_name() == name
        && *certificate.public_key() == key.public_key();
    anyhow::ensure!(
        sound,
        "the fixture has another certificate for {name} of {organization}"
    );
    Ok(Credentials { certificate, key })
}

fn key(organization: &str, name: &str) -> SigningKey {
    let seed = hash::Hasher::new(b"stela simulation key")
        .bytes(organization.as_bytes())
        .bytes(name.as_bytes())
        .finish();
    SigningKey::from_seed(seed.as_bytes())
}

fn configuration(
    roots: &[(&str, Bytes)],
    orderers: &[Arc<Credentials>],
    peers: &[Arc<Credentials>],
    known: &[Arc<Credentials>],
) -> pb::ChannelConfig {
    let organization = |(name, root): &(&str, Bytes)| pb::Organization {
        id: (*name).to_owned(),
        root_certificate: root.clone(),
        ..Default::default()
    };
    let orderer = |(id, orderer): (u64, &Arc<Credentials>)| pb::Orderer {
        id,
        organization: orderer.certificate.organization().to_string(),
        address: format!("orderer{id}:7050"),
        certificate: orderer.certificate.der().clone(),
        tls_fingerprint: vec![id as u8; 32].into(),
    };
    let contract = pb::ContractDefinition {
        name: CONTRACT.to_owned(),
        version: "1".to_owned(),
        package_hash: PACKAGE.to_bytes(),
        endorsement_policy: format!("OutOf(2, {})", principals("peer")),
        ..Default::default()
    };
    let known = peers.iter().chain(known);
    pb::ChannelConfig {
        version: FORMAT_VERSION,
        channel: CHANNEL.to_owned(),
        organizations: roots.iter().map(organization).collect(),
        orderers: (1..).zip(orderers).map(orderer).collect(),
        orderer_quorum: orderers.len() as u32 / 2 + 1,
        limits: Some(pb::ChannelLimits {
            window_ms: WINDOW_MS,
            block_transactions_max: BLOCK_TRANSACTIONS_MAX as u32,
            block_bytes_max: 1 << 20,
            envelope_bytes_max: 64 << 10,
        }),
        contracts: vec![contract],
        admin_policy: format!("OutOf(2, {})", principals("admin")),
        certificates: known.map(|one| one.certificate.der().clone()).collect(),
        ..Default::default()
    }
}

fn principals(role: &str) -> String {
    ORGANIZATIONS
        .map(|name| format!("'{name}.{role}'"))
        .join(", ")
}

/// New certificates for the fixture, as PEM. Every seed means something else with them.
///
/// # Errors
/// When one cannot be made.
pub fn new_certificates() -> anyhow::Result<String> {
    let validity = Validity {
        not_before_ms: START_MS - DAY_MS,
        not_after_ms: START_MS + 3_650 * DAY_MS,
    };
    let mut text = String::new();
    for organization in ORGANIZATIONS {
        let authority = CertificateAuthority::create(&OrgId::new(organization)?, validity)?;
        text += &pem::encode(&pem::Pem::new("CERTIFICATE", authority.root_der()));
        for (name, role) in MEMBERS {
            let subject = Subject {
                common_name: name.to_owned(),
                role: role.to_owned(),
                attributes: BTreeMap::new(),
                validity,
            };
            let public = key(organization, name).public_key();
            text += &authority.issue_for(&public, &subject)?.to_pem();
        }
    }
    Ok(text.replace('\r', ""))
}

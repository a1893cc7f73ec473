//! A small consortium whose administrators are at hand, for changes of its configuration. It stands
//! apart from [`crate::world`], so that the inputs of the other targets stay small.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use prost::Message;
use stela_identity::{Certificate, CertificateAuthority, Configuration, Credentials, Subject};
use stela_orderer::channel::Channel;
use stela_protocol::block::Block;
use stela_protocol::{FORMAT_VERSION, OrgId, config, pb};

use crate::world::{START_MS, VALID, WINDOW_MS, key};

const CONFIG: &[u8] = include_bytes!("../fixture/governed.config");
/// The administrators of A and B, and who will be the second orderer.
const SEEDS: [u8; 3] = [50, 51, 52];
/// The one orderer.
const ORDERER_SEED: u8 = 53;

pub(crate) struct Governed {
    pub(crate) config: pb::ChannelConfig,
    pub(crate) current: Arc<Configuration>,
    pub(crate) genesis: Block,
    pub(crate) channel: Arc<Channel>,
    /// The administrators of A and B.
    pub(crate) admins: [Credentials; 2],
    /// A member of B that may become an orderer, and may change nothing.
    pub(crate) member: Credentials,
    pub(crate) orderer: Credentials,
}

impl Governed {
    pub(crate) fn get() -> &'static Self {
        static GOVERNED: OnceLock<Governed> = OnceLock::new();
        GOVERNED.get_or_init(|| Self::load().expect("the fixture is whole"))
    }

    fn load() -> Result<Self, Box<dyn std::error::Error>> {
        let config = pb::ChannelConfig::decode(CONFIG)?;
        let genesis = config::genesis(&config, START_MS)?;
        let encoded = genesis.to_pb().encode_to_vec();
        let current = Arc::new(Configuration::new(Bytes::from_static(CONFIG))?);
        let holders: Vec<Credentials> = current
            .certificates()
            .iter()
            .zip(SEEDS)
            .map(|(certificate, seed)| Credentials {
                certificate: certificate.clone(),
                key: key(seed),
            })
            .collect();
        let orderer = Credentials {
            certificate: Certificate::from_der(&config.orderers[0].certificate)?,
            key: key(ORDERER_SEED),
        };
        let [first, second, member] = holders.try_into().map_err(|_| "three certificates")?;
        Ok(Self {
            channel: Arc::new(Channel::from_genesis(encoded.into())?),
            admins: [first, second],
            config,
            current,
            genesis,
            member,
            orderer,
        })
    }

    /// Whoever has this certificate.
    pub(crate) fn holder(&self, der: &[u8]) -> Option<&Credentials> {
        let everybody = self.admins.iter().chain([&self.member]);
        everybody
            .into_iter()
            .find(|one| one.certificate.der() == der)
    }
}

/// Makes this consortium anew and writes it into `folder`.
pub(crate) fn make_fixture(folder: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let organizations = [OrgId::new("A")?, OrgId::new("B")?];
    let authorities: Vec<CertificateAuthority> = organizations
        .iter()
        .map(|organization| CertificateAuthority::create(organization, VALID))
        .collect::<Result<_, _>>()?;
    let issue = |of: usize, role: &str, seed: u8| {
        let subject = Subject {
            common_name: format!("{role}-{seed}"),
            role: role.to_owned(),
            attributes: BTreeMap::new(),
            validity: VALID,
        };
        let certificate = authorities[of].issue_for(&key(seed).public_key(), &subject);
        certificate.map(|certificate| certificate.der().clone())
    };
    let members = organizations.iter().zip(&authorities);
    let config = pb::ChannelConfig {
        version: FORMAT_VERSION,
        channel: "care".to_owned(),
        organizations: members
            .map(|(organization, authority)| pb::Organization {
                id: organization.to_string(),
                root_certificate: Bytes::copy_from_slice(authority.root_der()),
                ..Default::default()
            })
            .collect(),
        orderers: vec![pb::Orderer {
            id: 1,
            organization: "A".to_owned(),
            address: "orderer.example:7050".to_owned(),
            certificate: issue(0, "orderer", ORDERER_SEED)?,
            tls_fingerprint: Bytes::from_static(&[1; 32]),
        }],
        orderer_quorum: 1,
        limits: Some(pb::ChannelLimits {
            window_ms: WINDOW_MS,
            block_transactions_max: 100,
            block_bytes_max: 1 << 20,
            envelope_bytes_max: 1 << 10,
        }),
        admin_policy: "AND('A.admin','B.admin')".to_owned(),
        certificates: vec![
            issue(0, "admin", SEEDS[0])?,
            issue(1, "admin", SEEDS[1])?,
            issue(1, "orderer", SEEDS[2])?,
        ],
        ..Default::default()
    }
    .encode_to_vec();
    Configuration::new(config.clone().into())?;
    Ok(std::fs::write(folder.join("governed.config"), config)?)
}

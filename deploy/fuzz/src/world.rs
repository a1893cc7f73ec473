//! The consortium that the targets play in: three organizations, an orderer and a peer each, a
//! client, and somebody who is not registered yet. Its keys are made of fixed seeds and its
//! certificates stand in `fixture/`, so that an input means the same in every run. No authority's key
//! is kept: nobody can issue a certificate in it any more.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use prost::Message;
use stela_identity::{
    AuthorityError, Certificate, CertificateAuthority, Configuration, Credentials, SigningKey,
    Subject, TlsAuthority, Validity,
};
use stela_orderer::channel::Channel;
use stela_orderer::layout as orderer_layout;
use stela_peer::membership::Membership;
use stela_peer::validation;
use stela_protocol::block::Block;
use stela_protocol::hash::domain;
use stela_protocol::transaction::{self, Proposal, Signed, TransactionHeader};
use stela_protocol::{
    ChannelId, ContractName, FORMAT_VERSION, Hash32, Nonce, OrgId, config, hash, pb,
};
use stela_store::{MemoryKv, PeerLedger, layout};

/// When block 0 was made.
pub(crate) const START_MS: u64 = 1_800_000_000_000;
/// How far a transaction's time may lie from its block's.
pub(crate) const WINDOW_MS: u64 = 60_000;
pub(crate) const PACKAGE: Hash32 = Hash32([7; 32]);
const ORGANIZATIONS: [&str; 3] = ["A", "B", "C"];
pub(crate) const VALID: Validity = Validity {
    not_before_ms: 1_700_000_000_000,
    not_after_ms: 4_000_000_000_000,
};
const GENESIS: &[u8] = include_bytes!("../fixture/genesis.block");
const NEWCOMER: &[u8] = include_bytes!("../fixture/newcomer.der");

pub(crate) struct World {
    pub(crate) genesis: Block,
    pub(crate) config: pb::ChannelConfig,
    pub(crate) membership: Membership,
    pub(crate) configuration: Arc<Configuration>,
    pub(crate) channel: Arc<Channel>,
    /// Orderer 1 first.
    pub(crate) orderers: Vec<Arc<Credentials>>,
    pub(crate) peers: Vec<Credentials>,
    pub(crate) client: Credentials,
    /// Of organization C; her certificate is not registered.
    pub(crate) newcomer: Credentials,
}

impl World {
    pub(crate) fn get() -> &'static Self {
        static WORLD: OnceLock<World> = OnceLock::new();
        WORLD.get_or_init(|| Self::load().expect("the fixture is whole"))
    }

    fn load() -> Result<Self, Box<dyn std::error::Error>> {
        let genesis = Block::decode(Bytes::from_static(GENESIS))?;
        let (bytes, _) = config::from_genesis(&genesis)?;
        let config = pb::ChannelConfig::decode(bytes.clone())?;
        let orderers = config.orderers.iter().map(|orderer| &orderer.certificate);
        let certificates: Vec<Certificate> = config
            .certificates
            .iter()
            .chain(orderers)
            .map(|der| Certificate::from_der(der))
            .collect::<Result<_, _>>()?;
        let holder = |seed| {
            let key = key(seed);
            let found = certificates
                .iter()
                .find(|c| *c.public_key() == key.public_key());
            let certificate = found.expect("the fixture names everybody").clone();
            Credentials { certificate, key }
        };
        Ok(Self {
            membership: Membership::new(bytes.clone())?,
            configuration: Arc::new(Configuration::new(bytes)?),
            channel: Arc::new(Channel::from_genesis(Bytes::from_static(GENESIS))?),
            orderers: (10..13).map(|seed| Arc::new(holder(seed))).collect(),
            peers: (20..23).map(holder).collect(),
            client: holder(30),
            newcomer: Credentials {
                certificate: Certificate::from_der(NEWCOMER)?,
                key: key(40),
            },
            genesis,
            config,
        })
    }

    /// The encoded block 0.
    pub(crate) fn genesis_bytes() -> Bytes {
        Bytes::from_static(GENESIS)
    }

    /// Everybody with a certificate.
    pub(crate) fn everybody(&self) -> impl Iterator<Item = &Credentials> {
        let orderers = self.orderers.iter().map(AsRef::as_ref);
        orderers
            .chain(&self.peers)
            .chain([&self.client, &self.newcomer])
    }

    /// A peer's ledger with block 0 in it.
    pub(crate) fn ledger(&self) -> PeerLedger {
        let kv = Arc::new(MemoryKv::new(layout::FAMILIES));
        let ledger = PeerLedger::open(kv, self.channel.id()).expect("an empty store");
        let (commit, _) = validation::genesis(&self.genesis).expect("the fixture is sound");
        ledger.commit(commit).expect("block 0 is the first");
        ledger
    }

    /// An orderer's database with block 0 in it.
    pub(crate) fn orderer_kv(&self) -> MemoryKv {
        let kv = MemoryKv::new(orderer_layout::FAMILIES);
        self.channel.create(&kv).expect("an empty store");
        kv
    }

    pub(crate) fn header(&self, nonce: u8, creator: &Credentials) -> TransactionHeader {
        TransactionHeader {
            channel: self.channel.id().clone(),
            nonce: Nonce([nonce; 24]),
            creator: creator.fingerprint(),
            timestamp_ms: START_MS,
        }
    }

    /// A call by the client.
    pub(crate) fn proposal(&self, nonce: u8, arguments: &[&[u8]]) -> Proposal {
        Proposal {
            header: self.header(nonce, &self.client),
            contract: ContractName::new("records").expect("a name"),
            function: "put".to_owned(),
            arguments: arguments
                .iter()
                .map(|a| Bytes::copy_from_slice(a))
                .collect(),
            side: vec![transaction::SideCommitment {
                commitment: hash::side_commitment(&[nonce; 16], b"payload"),
                organizations: vec![self.peers[0].certificate.organization().clone()],
            }],
        }
    }

    /// An envelope with a call that the peers of A and B endorsed.
    pub(crate) fn call(&self, proposal: &Proposal, result: &pb::Result) -> Bytes {
        let (proposal, result) = (proposal.encode(), Bytes::from(result.encode_to_vec()));
        let message = hash::endorsement_message(&proposal, &result);
        let endorsements = self.peers[..2]
            .iter()
            .map(|peer| endorsement(peer, &message));
        let endorsements = endorsements.collect();
        let payload = transaction::transaction_payload(proposal, result, endorsements);
        seal(payload, &self.client)
    }
}

/// What a contract found that read and wrote one key.
pub(crate) fn result(
    key: &str,
    height: Option<pb::Height>,
    change: pb::write::Change,
) -> pb::Result {
    pb::Result {
        version: FORMAT_VERSION,
        package_hash: PACKAGE.to_bytes(),
        response: Some(pb::Response {
            payload: Bytes::from_static(b"done"),
        }),
        reads: vec![pb::Read {
            key: Bytes::copy_from_slice(key.as_bytes()),
            height,
        }],
        ranges: vec![pb::RangeRead {
            start: Bytes::from_static(b"x"),
            end: Bytes::from_static(b"y"),
            results_hash: hash::range_results([]).to_bytes(),
        }],
        writes: vec![pb::Write {
            key: Bytes::new(),
            read: 1,
            change: Some(change),
        }],
        events: vec![pb::ContractEvent {
            name: "put".to_owned(),
            payload: Bytes::from_static(b"{}"),
        }],
        expires_at_ms: None,
    }
}

pub(crate) fn endorsement(peer: &Credentials, message: &[u8]) -> pb::Endorsement {
    pb::Endorsement {
        endorser: peer.fingerprint().to_bytes(),
        signature: Bytes::copy_from_slice(&peer.sign(domain::ENDORSEMENT, message)),
    }
}

pub(crate) fn seal(payload: Bytes, creator: &Credentials) -> Bytes {
    let signature = creator.sign(domain::ENVELOPE, &payload);
    transaction::envelope(Signed {
        bytes: payload,
        signature,
    })
}

pub(crate) fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32])
}

/// Makes both consortia anew and writes them into `folder`. All inputs that carry their certificates or
/// signatures have to be made anew then.
///
/// # Errors
/// When it cannot be made or written.
pub fn make_fixture(folder: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let organizations: Vec<OrgId> = ORGANIZATIONS
        .iter()
        .map(|name| OrgId::new(name))
        .collect::<Result<_, _>>()?;
    let authorities: Vec<CertificateAuthority> = organizations
        .iter()
        .map(|organization| CertificateAuthority::create(organization, VALID))
        .collect::<Result<_, _>>()?;
    let issue = |of: usize, role: &str, seed: u8| -> Result<Bytes, AuthorityError> {
        let subject = Subject {
            common_name: format!("{role}-{seed}"),
            role: role.to_owned(),
            attributes: BTreeMap::from([("department".to_owned(), "ward 3".to_owned())]),
            validity: VALID,
        };
        let certificate = authorities[of].issue_for(&key(seed).public_key(), &subject)?;
        Ok(certificate.der().clone())
    };
    let mut config = pb::ChannelConfig {
        version: FORMAT_VERSION,
        channel: ChannelId::new("care")?.to_string(),
        orderer_quorum: 2,
        limits: Some(pb::ChannelLimits {
            window_ms: WINDOW_MS,
            block_transactions_max: 100,
            block_bytes_max: 1 << 20,
            envelope_bytes_max: 1 << 18,
        }),
        contracts: vec![pb::ContractDefinition {
            name: "records".to_owned(),
            version: "1".to_owned(),
            package_hash: PACKAGE.to_bytes(),
            endorsement_policy: "AND('A.peer', OR('B.peer','C.peer'))".to_owned(),
            ..Default::default()
        }],
        admin_policy: "OutOf(2,'A.admin','B.admin','C.admin')".to_owned(),
        ..Default::default()
    };
    for (of, seed) in (0..3).zip(0u8..) {
        let tls = TlsAuthority::create(&organizations[of], VALID)?;
        config.organizations.push(pb::Organization {
            id: organizations[of].to_string(),
            root_certificate: Bytes::copy_from_slice(authorities[of].root_der()),
            tls_root_certificates: vec![Bytes::copy_from_slice(tls.root_der())],
            ..Default::default()
        });
        config.orderers.push(pb::Orderer {
            id: u64::from(seed) + 1,
            organization: organizations[of].to_string(),
            address: format!("orderer-{seed}.example:7050"),
            certificate: issue(of, "orderer", 10 + seed)?,
            tls_fingerprint: Bytes::copy_from_slice(&[seed; 32]),
        });
        config.certificates.push(issue(of, "peer", 20 + seed)?);
    }
    config.certificates.push(issue(0, "client", 30)?);
    let block = config::genesis(&config, START_MS)?;
    std::fs::create_dir_all(folder)?;
    std::fs::write(folder.join("genesis.block"), block.to_pb().encode_to_vec())?;
    std::fs::write(folder.join("newcomer.der"), issue(2, "practitioner", 40)?)?;
    crate::governed::make_fixture(folder)
}

/// A file with these bytes while `look` runs.
pub(crate) fn with_file<T>(bytes: &[u8], look: impl FnOnce(&Path) -> T) -> io::Result<T> {
    use std::io::Write;
    let mut file = tempfile::NamedTempFile::new_in(scratch())?;
    file.write_all(bytes)?;
    Ok(look(file.path()))
}

/// A file system in memory where there is one: no target needs its files to last.
fn scratch() -> std::path::PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        memory.to_owned()
    } else {
        std::env::temp_dir()
    }
}

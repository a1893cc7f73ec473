//! A consortium for tests: organizations with their authorities, orderers, and a genesis block.

#![allow(dead_code, unreachable_pub, reason = "each test uses its part of it")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use stela_identity::config_update;
use stela_identity::tls::TlsIdentity;
use stela_identity::{
    CertificateAuthority, Configuration, Credentials, Subject, TlsAuthority, Validity,
};
use stela_protocol::block::Block;
use stela_protocol::config;
use stela_protocol::config_update::{ConfigSignature, ConfigUpdate};
use stela_protocol::transaction::{
    Proposal, Registration, Signed, TransactionHeader, config_payload, envelope,
    registration_payload, transaction_payload,
};
use stela_protocol::{
    ChannelId, ContractName, FORMAT_VERSION, Fingerprint, Message, Nonce, OrgId, hash, pb,
};

pub const CHANNEL: &str = "care";
pub const DAY_MS: u64 = 24 * 3600 * 1000;
pub const WINDOW_MS: u64 = 600_000;

pub struct Organization {
    pub id: OrgId,
    pub authority: CertificateAuthority,
    pub tls_authority: TlsAuthority,
    validity: Validity,
}

impl Organization {
    pub fn new(name: &str, now_ms: u64) -> Self {
        let id = OrgId::new(name).unwrap();
        let validity = Validity {
            not_before_ms: now_ms - DAY_MS,
            not_after_ms: now_ms + DAY_MS,
        };
        Self {
            authority: CertificateAuthority::create(&id, validity).unwrap(),
            tls_authority: TlsAuthority::create(&id, validity).unwrap(),
            id,
            validity,
        }
    }

    pub fn member(&self, name: &str, role: &str) -> Credentials {
        self.member_valid(name, role, self.validity)
    }

    pub fn member_valid(&self, name: &str, role: &str, validity: Validity) -> Credentials {
        let subject = Subject {
            common_name: name.to_owned(),
            role: role.to_owned(),
            attributes: BTreeMap::new(),
            validity,
        };
        self.authority.issue(&subject).unwrap()
    }

    pub fn tls(&self, name: &str) -> TlsIdentity {
        let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
        self.tls_authority
            .issue(name, &names, self.validity)
            .unwrap()
    }
}

pub struct Orderer {
    pub id: u64,
    pub organization: usize,
    pub credentials: Arc<Credentials>,
    pub tls: TlsIdentity,
    pub address: String,
}

pub struct Consortium {
    pub now_ms: u64,
    pub organizations: Vec<Organization>,
    pub orderers: Vec<Orderer>,
    /// Orderers that the configuration names no longer.
    pub removed: BTreeSet<u64>,
    /// Certificates that are revoked, by the organization's place.
    pub revoked: Vec<(usize, Fingerprint)>,
}

impl Consortium {
    /// One organization with one orderer for each address.
    pub fn new(now_ms: u64, addresses: &[String]) -> Self {
        let organizations: Vec<_> = (0..addresses.len())
            .map(|n| Organization::new(&format!("Hospital{}", (b'A' + n as u8) as char), now_ms))
            .collect();
        let orderers = addresses.iter().enumerate().map(|(n, address)| Orderer {
            id: n as u64 + 1,
            organization: n,
            credentials: Arc::new(organizations[n].member("orderer0", "orderer")),
            tls: organizations[n].tls("orderer0"),
            address: address.clone(),
        });
        Self {
            now_ms,
            orderers: orderers.collect(),
            organizations,
            removed: BTreeSet::new(),
            revoked: Vec::new(),
        }
    }

    /// One more organization with one more orderer, for the next configuration.
    pub fn add_orderer(&mut self, address: &str) {
        let n = self.organizations.len();
        let name = format!("Hospital{}", (b'A' + n as u8) as char);
        let organization = Organization::new(&name, self.now_ms);
        self.orderers.push(Orderer {
            id: self.orderers.len() as u64 + 1,
            organization: n,
            credentials: Arc::new(organization.member("orderer0", "orderer")),
            tls: organization.tls("orderer0"),
            address: address.to_owned(),
        });
        self.organizations.push(organization);
    }

    pub fn config(&self) -> pb::ChannelConfig {
        let revoked = |n: usize| {
            let of_it = self.revoked.iter().filter(move |(at, _)| *at == n);
            of_it.map(|(_, fingerprint)| fingerprint.to_bytes())
        };
        let organizations = self
            .organizations
            .iter()
            .enumerate()
            .map(|(n, organization)| pb::Organization {
                revoked: revoked(n).collect(),
                id: organization.id.to_string(),
                root_certificate: Bytes::copy_from_slice(organization.authority.root_der()),
                tls_root_certificates: vec![Bytes::copy_from_slice(
                    organization.tls_authority.root_der(),
                )],
                ..Default::default()
            });
        let orderers = self.orderers.iter();
        let orderers = orderers.filter(|orderer| !self.removed.contains(&orderer.id));
        let orderers = orderers.map(|orderer| pb::Orderer {
            id: orderer.id,
            organization: self.organizations[orderer.organization].id.to_string(),
            address: orderer.address.clone(),
            certificate: orderer.credentials.certificate.der().clone(),
            tls_fingerprint: orderer.tls.fingerprint().to_bytes(),
        });
        pb::ChannelConfig {
            version: FORMAT_VERSION,
            channel: CHANNEL.to_owned(),
            organizations: organizations.collect(),
            orderers: orderers.collect(),
            orderer_quorum: (self.orderers.len() - self.removed.len()) as u32 / 2 + 1,
            limits: Some(pb::ChannelLimits {
                window_ms: WINDOW_MS,
                block_transactions_max: 10,
                block_bytes_max: 1 << 20,
                envelope_bytes_max: 64 << 10,
            }),
            admin_policy: format!("'{}.admin'", self.organizations[0].id),
            ..Default::default()
        }
    }

    pub fn genesis(&self) -> Block {
        config::genesis(&self.config(), self.now_ms).unwrap()
    }
}

/// The bytes of a block as they travel.
pub fn encoded(block: &Block) -> Bytes {
    block.to_pb().encode_to_vec().into()
}

/// A nonce that no other call gets.
pub fn nonce() -> Nonce {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let mut nonce = [0; 24];
    nonce[..8].copy_from_slice(&NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    nonce[8..12].copy_from_slice(&std::process::id().to_be_bytes());
    Nonce(nonce)
}

pub fn header(channel: &str, creator: &Credentials, timestamp_ms: u64) -> TransactionHeader {
    TransactionHeader {
        channel: ChannelId::new(channel).unwrap(),
        nonce: nonce(),
        creator: creator.fingerprint(),
        timestamp_ms,
    }
}

/// A payload with its creator's signature.
pub fn sign(payload: Bytes, creator: &Credentials) -> Bytes {
    let signature = creator.sign(hash::domain::ENVELOPE, &payload);
    envelope(Signed {
        bytes: payload,
        signature,
    })
}

/// A registration's payload.
pub fn registration(channel: &str, creator: &Credentials, timestamp_ms: u64) -> Bytes {
    registration_payload(&Registration {
        header: header(channel, creator, timestamp_ms),
        certificate: creator.certificate.der().clone(),
    })
}

/// A change of `current` to `config`, signed and submitted by one administrator.
pub fn update(
    current: &Configuration,
    config: pb::ChannelConfig,
    admin: &Credentials,
    timestamp_ms: u64,
) -> Bytes {
    let channel = config.channel.clone();
    let change = config_update::change(current, config, "as agreed");
    let change_bytes = change.encode();
    let signature = ConfigSignature {
        certificate: admin.certificate.der().clone(),
        signature: admin.sign(hash::domain::CONFIG, &change_bytes),
    };
    let update = ConfigUpdate {
        header: header(&channel, admin, timestamp_ms),
        certificate: admin.certificate.der().clone(),
        change_bytes,
        change,
        signatures: vec![signature],
    };
    sign(config_payload(&update), admin)
}

/// The payload of a transaction with `argument_bytes` bytes of arguments.
pub fn transaction(
    channel: &str,
    creator: &Credentials,
    timestamp_ms: u64,
    argument_bytes: usize,
) -> Bytes {
    let proposal = Proposal {
        header: header(channel, creator, timestamp_ms),
        contract: ContractName::new("healthcare").unwrap(),
        function: "submit_record".to_owned(),
        arguments: vec![vec![7; argument_bytes].into()],
        side: Vec::new(),
    };
    let result = pb::Result {
        version: FORMAT_VERSION,
        package_hash: vec![1; 32].into(),
        ..Default::default()
    };
    transaction_payload(proposal.encode(), result.encode_to_vec().into(), Vec::new())
}

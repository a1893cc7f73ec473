//! Peers of several organizations on loopback, with everything that they need around them.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "support of the test files beside it"
)]

pub mod contract;
pub mod faulty;
pub mod orderer;
pub mod process;
#[path = "../../../ledger/identity/tests/refused/mod.rs"]
pub mod refused;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use stela_identity::tls::{self, Expected, TlsRoots, TlsSettings};
use stela_identity::{CertificateAuthority, Credentials, Subject, TlsAuthority, Validity};
use stela_peer::{Clock, Config, Peer, Surroundings};
use stela_protocol::block::Block;
use stela_protocol::hash::domain;
use stela_protocol::limits::MESSAGE_BYTES_MAX;
use stela_protocol::pb::admin_client::AdminClient;
use stela_protocol::pb::endorser_client::EndorserClient;
use stela_protocol::pb::gateway_client::GatewayClient;
use stela_protocol::transaction::{
    self, Proposal, Registration, RequestHeader, SideCommitment, Signed, TransactionHeader,
};
use stela_protocol::{
    ChannelId, ContractName, ErrorCode, FORMAT_VERSION, Nonce, OrgId, RpcError, TransactionId,
    ValidationCode, config, hash, pb,
};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Response, Status};

use self::orderer::{Chain, Signers};

pub const WINDOW_MS: u64 = 60_000;
/// Longer than anything takes; whatever waits waits for a condition.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub fn org(name: &str) -> OrgId {
    OrgId::new(name).unwrap()
}

pub fn channel() -> ChannelId {
    ChannelId::new("care").unwrap()
}

pub fn now_ms() -> u64 {
    Clock::system().now_ms()
}

pub fn validity() -> Validity {
    let now_ms = now_ms();
    Validity {
        not_before_ms: now_ms - 3_600_000,
        not_after_ms: now_ms + 86_400_000,
    }
}

pub fn nonce() -> Nonce {
    Nonce(rand::random())
}

/// An organization's authorities.
pub struct Organization {
    pub id: OrgId,
    pub authority: CertificateAuthority,
    pub tls_authority: TlsAuthority,
}

impl Organization {
    pub fn new(name: &str) -> Self {
        let id = org(name);
        let authority = CertificateAuthority::create(&id, validity()).unwrap();
        let tls_authority = TlsAuthority::create(&id, validity()).unwrap();
        Self {
            id,
            authority,
            tls_authority,
        }
    }

    pub fn issue(&self, name: &str, role: &str) -> Credentials {
        let attributes = BTreeMap::new();
        let (common_name, role) = (name.to_owned(), role.to_owned());
        let subject = Subject {
            common_name,
            role,
            attributes,
            validity: validity(),
        };
        self.authority.issue(&subject).unwrap()
    }

    pub fn tls_identity(&self, name: &str) -> tls::TlsIdentity {
        self.tls_authority
            .issue(name, &["127.0.0.1".to_owned()], validity())
            .unwrap()
    }
}

/// The folders of one peer.
pub struct Home {
    folder: TempDir,
    pub organization: OrgId,
    pub name: String,
    pub credentials: Arc<Credentials>,
    /// How far the peer's clock is ahead.
    pub ahead_ms: Arc<AtomicU64>,
}

impl Home {
    pub fn new(organization: &Organization, name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let credentials = organization.issue(name, "peer");
        credentials.save(&path.join("identity")).unwrap();
        organization
            .tls_identity(name)
            .save(&path.join("tls"))
            .unwrap();
        organization.authority.save(&path.join("ca")).unwrap();
        organization.tls_authority.save(&path.join("ca")).unwrap();
        let (organization, name) = (organization.id.clone(), name.to_owned());
        let (credentials, ahead_ms) = (Arc::new(credentials), Arc::default());
        Self {
            folder,
            organization,
            name,
            credentials,
            ahead_ms,
        }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn config(&self, listen: SocketAddr) -> Config {
        let path = self.folder.path();
        Config {
            organization: self.organization.clone(),
            name: self.name.clone(),
            listen,
            data: path.join("data"),
            identity: path.join("identity"),
            tls: path.join("tls"),
            root_certificates: vec![path.join("ca/ca.pem")],
            tls_root_certificates: vec![path.join("ca/tls-ca.pem")],
            cache_bytes: Some(1 << 20),
            log: "info".to_owned(),
        }
    }

    pub async fn start(&self, listen: SocketAddr) -> Peer {
        let compiler = Some(PathBuf::from(env!("CARGO_BIN_EXE_stela-peer")));
        let ahead_ms = self.ahead_ms.clone();
        let clock = Clock::new(move || now_ms() + ahead_ms.load(Ordering::Relaxed));
        let surroundings = Surroundings { clock, compiler };
        Peer::start(self.config(listen), surroundings)
            .await
            .unwrap()
    }
}

pub async fn stop(peer: Peer) {
    peer.stopper().stop();
    peer.ended().await.unwrap();
}

/// Organizations with a peer each and orderers of the first one.
pub struct Network {
    pub organizations: BTreeMap<&'static str, Organization>,
    pub homes: BTreeMap<&'static str, Home>,
    pub peers: BTreeMap<&'static str, Peer>,
    pub addresses: BTreeMap<&'static str, SocketAddr>,
    pub chain: Chain,
    pub genesis: Block,
    pub stop_orderers: CancellationToken,
}

/// What a test wants of its network.
pub struct Wish {
    pub organizations: Vec<&'static str>,
    pub policy: &'static str,
    /// For each orderer, the numbers of those whose signatures it delivers.
    pub orderers: Vec<Vec<u64>>,
}

impl Wish {
    pub fn one() -> Self {
        Self {
            organizations: vec!["A"],
            policy: "'A.peer'",
            orderers: vec![vec![1]],
        }
    }

    pub fn two() -> Self {
        let policy = "AND('A.peer', 'B.peer')";
        Self {
            organizations: vec!["A", "B"],
            policy,
            orderers: vec![vec![1]],
        }
    }
}

impl Network {
    /// Starts peers and orderers; every peer has joined, installed and registered.
    pub async fn start(wish: Wish) -> Self {
        let network = Self::prepare(wish).await;
        for name in network.peers.keys() {
            network.set_up(name).await;
        }
        network
    }

    /// Starts peers and orderers; no peer has joined yet.
    pub async fn prepare(wish: Wish) -> Self {
        let organizations: BTreeMap<_, _> = wish
            .organizations
            .iter()
            .map(|name| (*name, Organization::new(name)))
            .collect();
        let homes: BTreeMap<_, _> = organizations
            .iter()
            .map(|(name, o)| (*name, Home::new(o, "peer0")))
            .collect();
        let (mut peers, mut addresses) = (BTreeMap::new(), BTreeMap::new());
        for (name, home) in &homes {
            let peer = home.start("127.0.0.1:0".parse().unwrap()).await;
            addresses.insert(*name, peer.address());
            peers.insert(*name, peer);
        }
        let first = organizations.values().next().unwrap();
        let mut orderers = Vec::new();
        for (id, _) in (1..).zip(&wish.orderers) {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let credentials = Arc::new(first.issue(&format!("orderer{id}"), "orderer"));
            let tls = first.tls_identity(&format!("orderer{id}"));
            orderers.push((id, listener, credentials, tls));
        }
        let config = pb::ChannelConfig {
            version: FORMAT_VERSION,
            channel: channel().to_string(),
            organizations: organizations
                .values()
                .map(|o| in_config(o, &addresses))
                .collect(),
            orderers: orderers
                .iter()
                .map(|(id, listener, credentials, tls)| pb::Orderer {
                    id: *id,
                    organization: first.id.to_string(),
                    address: listener.local_addr().unwrap().to_string(),
                    certificate: credentials.certificate.der().clone(),
                    tls_fingerprint: tls.fingerprint().to_bytes(),
                })
                .collect(),
            orderer_quorum: orderers.len() as u32 / 2 + 1,
            limits: Some(pb::ChannelLimits {
                window_ms: WINDOW_MS,
                block_transactions_max: 100,
                block_bytes_max: 8 << 20,
                envelope_bytes_max: 1 << 18,
            }),
            contracts: vec![pb::ContractDefinition {
                name: "notes".to_owned(),
                version: "1".to_owned(),
                package_hash: hash::package(&contract::package()).to_bytes(),
                endorsement_policy: wish.policy.to_owned(),
                ..Default::default()
            }],
            admin_policy: "'A.admin'".to_owned(),
            ..Default::default()
        };
        let genesis = config::genesis(&config, now_ms()).unwrap();
        let chain = Chain::new(genesis.clone());
        let mut network = Self {
            organizations,
            homes,
            peers,
            addresses,
            chain,
            genesis,
            stop_orderers: CancellationToken::new(),
        };
        network.start_orderers(orderers, wish.orderers);
        network
    }

    fn start_orderers(
        &mut self,
        orderers: Vec<(u64, TcpListener, Arc<Credentials>, tls::TlsIdentity)>,
        signers: Vec<Vec<u64>>,
    ) {
        let all: Signers = orderers
            .iter()
            .map(|(id, _, c, _)| (*id, c.clone()))
            .collect();
        for ((id, listener, _, tls), signers) in orderers.into_iter().zip(signers) {
            let settings = TlsSettings::new(tls, &self.tls_roots()).unwrap();
            let signers = all
                .iter()
                .filter(|(id, _)| signers.contains(id))
                .cloned()
                .collect();
            let stop = self.stop_orderers.clone();
            orderer::serve(listener, settings, id, self.chain.clone(), signers, stop);
        }
    }

    fn tls_roots(&self) -> TlsRoots {
        self.organizations
            .values()
            .fold(TlsRoots::new(), |roots, organization| {
                roots
                    .add(&organization.id, organization.tls_authority.root_der())
                    .unwrap()
            })
    }

    /// Joins, installs, and waits until the peer has registered itself.
    pub async fn set_up(&self, name: &'static str) {
        let admin = self.client(name, "admin");
        admin.join(&self.genesis_bytes()).await.unwrap();
        admin.install(contract::package().into()).await.unwrap();
        let own = self.client_of(name, name, self.homes[name].credentials.clone());
        own.until_known().await;
    }

    pub fn genesis_bytes(&self) -> Bytes {
        self.genesis.to_pb().encode_to_vec().into()
    }

    /// A new member of an organization with this role, at her organization's peer.
    pub fn client(&self, name: &'static str, role: &str) -> Client {
        let credentials = Arc::new(self.organizations[name].issue("somebody", role));
        self.client_of(name, name, credentials)
    }

    /// Somebody of one organization at the peer of another.
    pub fn client_of(
        &self,
        of: &'static str,
        at: &'static str,
        credentials: Arc<Credentials>,
    ) -> Client {
        let identity = self.organizations[of].tls_identity("client");
        let settings = TlsSettings::new(identity, &self.tls_roots()).unwrap();
        let address = self.addresses[at].to_string();
        let channel = tls::connect(&settings, &address, Expected::of(&org(at))).unwrap();
        Client {
            credentials,
            channel,
        }
    }

    /// A client whom the channel knows at every peer.
    pub async fn member(&self, name: &'static str, role: &str) -> Client {
        let client = self.client(name, role);
        client.register().await;
        for at in self.peers.keys() {
            self.client_of(name, at, client.credentials.clone())
                .until_known()
                .await;
        }
        client
    }

    pub async fn restart(&mut self, name: &'static str) {
        self.stop_peer(name).await;
        self.start_peer(name).await;
    }

    pub async fn stop_peer(&mut self, name: &'static str) {
        stop(self.peers.remove(name).unwrap()).await;
        // What still reads in a thread of its own keeps the database open for a moment.
        let home = &self.homes[name];
        until("the database is closed", || async { home.is_closed() }).await;
    }

    /// Puts an endorser with this fault in the place of an organization's peer.
    pub async fn replace_peer(&mut self, name: &'static str, fault: faulty::Fault) {
        self.stop_peer(name).await;
        let identity = self.organizations[name].tls_identity("peer0");
        let settings = TlsSettings::new(identity, &self.tls_roots()).unwrap();
        let credentials = self.homes[name].credentials.clone();
        faulty::serve(self.addresses[name], settings, credentials, fault).await;
    }

    pub async fn start_peer(&mut self, name: &'static str) {
        let peer = self.homes[name].start(self.addresses[name]).await;
        self.peers.insert(name, peer);
    }
}

fn in_config(
    organization: &Organization,
    addresses: &BTreeMap<&'static str, SocketAddr>,
) -> pb::Organization {
    pb::Organization {
        id: organization.id.to_string(),
        root_certificate: Bytes::copy_from_slice(organization.authority.root_der()),
        tls_root_certificates: vec![Bytes::copy_from_slice(
            organization.tls_authority.root_der(),
        )],
        peers: vec![pb::PeerEndpoint {
            name: "peer0".to_owned(),
            address: addresses[organization.id.as_str()].to_string(),
        }],
        ..Default::default()
    }
}

/// Somebody with credentials at one peer.
#[derive(Clone)]
pub struct Client {
    pub credentials: Arc<Credentials>,
    pub channel: Channel,
}

pub type Answer<T> = Result<T, RpcError>;

pub fn answer<T>(result: Result<Response<T>, Status>) -> Answer<T> {
    result.map(Response::into_inner).map_err(RpcError::from)
}

pub fn code<T: std::fmt::Debug>(answer: Answer<T>) -> ErrorCode {
    answer.unwrap_err().code
}

impl Client {
    pub fn gateway(&self) -> GatewayClient<Channel> {
        GatewayClient::new(self.channel.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(usize::MAX)
    }

    pub fn endorser(&self) -> EndorserClient<Channel> {
        EndorserClient::new(self.channel.clone())
    }

    pub fn admin(&self) -> AdminClient<Channel> {
        AdminClient::new(self.channel.clone()).max_encoding_message_size(usize::MAX)
    }

    pub fn header(&self) -> TransactionHeader {
        TransactionHeader {
            channel: channel(),
            nonce: nonce(),
            creator: self.credentials.fingerprint(),
            timestamp_ms: now_ms(),
        }
    }

    pub fn request_header(&self, method: &str) -> pb::RequestHeader {
        RequestHeader {
            header: self.header(),
            method: method.to_owned(),
        }
        .to_pb()
    }

    pub fn sign(&self, domain: &[u8], message: &impl Message) -> pb::SignedBytes {
        let payload: Bytes = message.encode_to_vec().into();
        let signature = Bytes::copy_from_slice(&self.credentials.sign(domain, &payload));
        pb::SignedBytes { payload, signature }
    }

    pub fn sign_admin(&self, message: &impl Message) -> pb::AdminRequest {
        let pb::SignedBytes { payload, signature } = self.sign(domain::ADMIN, message);
        let certificate = self.credentials.certificate.der().clone();
        pb::AdminRequest {
            payload,
            signature,
            certificate,
        }
    }

    pub async fn join(&self, genesis: &Bytes) -> Answer<()> {
        let header = Some(self.request_header("Join"));
        let request = pb::JoinRequest {
            header,
            genesis: genesis.clone(),
            ..Default::default()
        };
        answer(self.admin().join(self.sign_admin(&request)).await).map(drop)
    }

    pub async fn install(&self, package: Bytes) -> Answer<()> {
        let header = Some(self.request_header("Install"));
        let request = pb::InstallRequest { header, package };
        answer(self.admin().install(self.sign_admin(&request)).await).map(drop)
    }

    pub async fn status(&self) -> Answer<pb::StatusResponse> {
        let request = pb::StatusRequest {
            header: Some(self.request_header("Status")),
        };
        answer(self.admin().status(self.sign_admin(&request)).await)
    }

    pub async fn info(&self) -> Answer<pb::ChannelInfoResponse> {
        self.info_after(0, 0).await
    }

    /// As soon as a configuration with a higher number is in force, or the time is up.
    pub async fn info_after(&self, sequence: u64, wait_ms: u32) -> Answer<pb::ChannelInfoResponse> {
        let request = pb::ChannelInfoRequest {
            header: Some(self.request_header("ChannelInfo")),
            wait_ms,
            sequence,
        };
        answer(
            self.gateway()
                .channel_info(self.sign(domain::REQUEST, &request))
                .await,
        )
    }

    /// Waits until the peer knows this certificate.
    pub async fn until_known(&self) {
        until("the certificate is known", || async {
            match self.info().await {
                Ok(_) => true,
                Err(error) if error.code == ErrorCode::UnknownIdentity => false,
                Err(error) if error.code == ErrorCode::UnknownChannel => false,
                Err(error) => panic!("{error}"),
            }
        })
        .await;
    }

    /// Registers the certificate and waits until the registration is committed.
    pub async fn register(&self) {
        let header = self.header();
        let certificate = self.credentials.certificate.der().clone();
        let bytes = transaction::registration_payload(&Registration {
            header,
            certificate,
        });
        self.submit(self.seal(bytes)).await.unwrap();
        self.until_known().await;
    }

    pub fn seal(&self, bytes: Bytes) -> Bytes {
        let signature = self.credentials.sign(domain::ENVELOPE, &bytes);
        transaction::envelope(Signed { bytes, signature })
    }

    pub fn proposal(&self, function: &str, arguments: &[&[u8]]) -> Proposal {
        Proposal {
            header: self.header(),
            contract: ContractName::new("notes").unwrap(),
            function: function.to_owned(),
            arguments: arguments
                .iter()
                .map(|a| Bytes::copy_from_slice(a))
                .collect(),
            side: Vec::new(),
        }
    }

    pub fn sign_proposal(&self, proposal: &Proposal) -> pb::SignedBytes {
        let payload = proposal.encode();
        let signature = self.credentials.sign(domain::PROPOSAL, &payload);
        pb::SignedBytes {
            payload,
            signature: Bytes::copy_from_slice(&signature),
        }
    }

    pub async fn evaluate(&self, function: &str) -> Answer<pb::EvaluateResponse> {
        let proposal = self.proposal(function, &[]);
        answer(self.gateway().evaluate(self.sign_proposal(&proposal)).await)
    }

    pub async fn endorse(
        &self,
        proposal: &Proposal,
        side: Vec<pb::SideItem>,
    ) -> Answer<pb::EndorseResponse> {
        let proposal = Some(self.sign_proposal(proposal));
        answer(
            self.gateway()
                .endorse(pb::EndorseRequest { proposal, side })
                .await,
        )
    }

    pub fn envelope(&self, proposal: &Proposal, endorsed: pb::EndorseResponse) -> Bytes {
        let pb::EndorseResponse {
            result,
            endorsements,
        } = endorsed;
        self.seal(transaction::transaction_payload(
            proposal.encode(),
            result,
            endorsements,
        ))
    }

    pub async fn submit(&self, envelope: Bytes) -> Answer<()> {
        self.submit_and_wait(envelope, 0).await.map(drop)
    }

    pub async fn submit_and_wait(
        &self,
        envelope: Bytes,
        wait_ms: u32,
    ) -> Answer<Option<pb::CommitStatusResponse>> {
        let request = pb::SubmitRequest {
            channel: channel().to_string(),
            envelope,
            wait_ms,
        };
        let answered = answer(self.gateway().submit(request).await)?;
        Ok(answered.status)
    }

    pub async fn commit_status(
        &self,
        id: &TransactionId,
        wait_ms: u32,
    ) -> Answer<pb::CommitStatusResponse> {
        let request = pb::CommitStatusRequest {
            header: Some(self.request_header("CommitStatus")),
            transaction_id: id.to_bytes(),
            wait_ms,
        };
        answer(
            self.gateway()
                .commit_status(self.sign(domain::REQUEST, &request))
                .await,
        )
    }

    /// Endorses, submits and waits for the verdict.
    pub async fn transact(&self, proposal: &Proposal, side: Vec<pb::SideItem>) -> ValidationCode {
        let endorsed = self.endorse(proposal, side).await.unwrap();
        self.submit(self.envelope(proposal, endorsed))
            .await
            .unwrap();
        let status = self
            .commit_status(&proposal.header.id(), 60_000)
            .await
            .unwrap();
        status.code.try_into().unwrap()
    }

    pub async fn side(&self, commitments: &[Bytes]) -> Answer<Vec<pb::FoundSideItem>> {
        let request = pb::SideRequest {
            header: Some(self.request_header("Side")),
            commitments: commitments.to_vec(),
        };
        let found = self
            .gateway()
            .side(self.sign(domain::REQUEST, &request))
            .await;
        answer(found).map(|response| response.items)
    }
}

/// A side item and its commitment.
pub fn side_item(payload: &[u8], organizations: &[&str]) -> (SideCommitment, pb::SideItem) {
    let salt: [u8; 16] = rand::random();
    let item = pb::SideItem {
        salt: Bytes::copy_from_slice(&salt),
        payload: Bytes::copy_from_slice(payload),
    };
    let organizations = organizations.iter().map(|name| org(name)).collect();
    let commitment = hash::side_commitment(&item.salt, &item.payload);
    (
        SideCommitment {
            commitment,
            organizations,
        },
        item,
    )
}

/// Waits for a condition, but not for ever.
pub async fn until<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
    let wait = async {
        let mut pause = tokio::time::interval(Duration::from_millis(20));
        while !condition().await {
            pause.tick().await;
        }
    };
    if tokio::time::timeout(PATIENCE, wait).await.is_err() {
        panic!("never came true: {what}");
    }
}

//! A peer for the tests: the gateway and administration services over real TLS sockets. It checks
//! every signature as a real peer does, and can be told to misbehave.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use parking_lot::Mutex;
use stela_calls::{Callee, CallsService, reply};
use stela_identity::tls::{self, PeerTls, TlsIncoming, TlsRoots, TlsSettings};
use stela_identity::{
    Certificate, CertificateAuthority, Configuration, Credentials, Subject, TlsAuthority, Validity,
};
use stela_protocol::block::Block;
use stela_protocol::config::ChannelConfig;
use stela_protocol::hash::domain;
use stela_protocol::limits::MESSAGE_BYTES_MAX;
use stela_protocol::pb::Procedure;
use stela_protocol::pb::admin_server::{Admin as AdminService, AdminServer};
use stela_protocol::pb::gateway_server::{Gateway as GatewayService, GatewayServer};
use stela_protocol::transaction::{self, Body, Envelope, RequestHeader, check_side_items};
use stela_protocol::{
    BlockNumber, ChannelId, ContractName, ErrorCode, FORMAT_VERSION, Fingerprint, Hash32, Message,
    OrgId, RpcError, ValidationCode, hash, pb,
};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::{Request, Response, Status};

use crate::{Contract, Endpoint, Gateway, GatewayOptions, Network};

pub(crate) const VALIDITY: Validity = Validity {
    not_before_ms: 1_600_000_000_000,
    not_after_ms: 4_000_000_000_000,
};

/// An organization with a user, a peer and three orderers.
pub(crate) struct World {
    pub(crate) organization: OrgId,
    pub(crate) user: Arc<Credentials>,
    pub(crate) peer: Arc<Credentials>,
    /// Two administrators, who change the configuration together.
    pub(crate) admins: Vec<Arc<Credentials>>,
    pub(crate) orderers: Vec<Credentials>,
    pub(crate) tls: TlsSettings,
    pub(crate) config: pb::ChannelConfig,
}

impl World {
    pub(crate) fn new() -> Self {
        let organization = OrgId::new("HospitalA").unwrap();
        let authority = CertificateAuthority::create(&organization, VALIDITY).unwrap();
        let issue = |name: &str, role: &str| {
            let subject = Subject {
                common_name: name.to_owned(),
                role: role.to_owned(),
                attributes: BTreeMap::new(),
                validity: VALIDITY,
            };
            authority.issue(&subject).unwrap()
        };
        let orderers: Vec<_> = (1..=3)
            .map(|n| issue(&format!("orderer{n}"), "orderer"))
            .collect();
        let tls_authority = TlsAuthority::create(&organization, VALIDITY).unwrap();
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let identity = tls_authority.issue("node", &names, VALIDITY).unwrap();
        let roots = TlsRoots::new()
            .add(&organization, tls_authority.root_der())
            .unwrap();
        let config = config(&organization, &authority, &tls_authority, &orderers);
        Self {
            user: Arc::new(issue("user", "practitioner")),
            peer: Arc::new(issue("peer0", "peer")),
            admins: ["admin1", "admin2"]
                .map(|name| Arc::new(issue(name, "admin")))
                .to_vec(),
            tls: TlsSettings::new(identity, &roots).unwrap(),
            organization,
            orderers,
            config,
        }
    }

    /// A peer that has nothing special about it, and whose state the test holds.
    pub(crate) async fn peer(self: &Arc<Self>) -> TestPeer {
        TestPeer::start(self.clone()).await
    }

    pub(crate) fn options(&self, addresses: &[&str]) -> GatewayOptions {
        let endpoints = addresses.iter().map(|address| Endpoint {
            organization: self.organization.clone(),
            address: (*address).to_owned(),
        });
        GatewayOptions::new(endpoints.collect(), self.tls.clone(), self.user.clone())
    }

    pub(crate) fn network(&self, addresses: &[&str]) -> Network {
        network(self.options(addresses))
    }

    pub(crate) fn contract(&self, addresses: &[&str]) -> Contract {
        self.network(addresses).contract(contract_name())
    }

    /// A chain of `count` blocks from number 0 on, each with one envelope, signed by `signers`.
    pub(crate) fn chain(&self, count: u64, signers: &[usize]) -> Vec<Block> {
        let genesis = stela_protocol::config::genesis(&self.config, 1).unwrap();
        let mut blocks: Vec<Block> = vec![genesis];
        for number in 1..count {
            let previous = blocks.last().unwrap().hash;
            let envelopes = vec![Bytes::from(format!("envelope {number}"))];
            let mut block = Block::new(
                channel(),
                BlockNumber(number),
                previous,
                BlockNumber(0),
                VALIDITY.not_before_ms + number,
                envelopes,
            );
            block.signatures = signers
                .iter()
                .map(|index| self.header_signature(*index, &block))
                .collect();
            blocks.push(block);
        }
        blocks
    }

    pub(crate) fn configuration(&self) -> Arc<Configuration> {
        Arc::new(Configuration::new(self.config.encode_to_vec().into()).unwrap())
    }

    pub(crate) fn header_signature(&self, index: usize, block: &Block) -> pb::HeaderSignature {
        let signature = self.orderers[index].sign(domain::HEADER, block.hash.as_bytes());
        let signature = Bytes::copy_from_slice(&signature);
        pb::HeaderSignature {
            orderer: index as u64 + 1,
            signature,
        }
    }
}

fn config(
    organization: &OrgId,
    authority: &CertificateAuthority,
    tls: &TlsAuthority,
    orderers: &[Credentials],
) -> pb::ChannelConfig {
    let orderers = orderers.iter().zip(1..).map(|(orderer, id)| pb::Orderer {
        id,
        organization: organization.to_string(),
        address: "127.0.0.1:1".to_owned(),
        certificate: orderer.certificate.der().clone(),
        tls_fingerprint: Hash32::ZERO.to_bytes(),
    });
    pb::ChannelConfig {
        version: FORMAT_VERSION,
        channel: channel().to_string(),
        organizations: vec![pb::Organization {
            id: organization.to_string(),
            root_certificate: Bytes::copy_from_slice(authority.root_der()),
            tls_root_certificates: vec![Bytes::copy_from_slice(tls.root_der())],
            ..Default::default()
        }],
        orderers: orderers.collect(),
        orderer_quorum: 2,
        limits: Some(pb::ChannelLimits {
            window_ms: 300_000,
            block_transactions_max: 500,
            block_bytes_max: 1 << 20,
            envelope_bytes_max: 1 << 18,
        }),
        admin_policy: "AND('HospitalA.admin', 'HospitalA.admin')".to_owned(),
        ..Default::default()
    }
}

pub(crate) fn channel() -> ChannelId {
    ChannelId::new("care").unwrap()
}

pub(crate) fn contract_name() -> ContractName {
    ContractName::new("healthcare").unwrap()
}

pub(crate) fn network(options: GatewayOptions) -> Network {
    Gateway::connect(options).unwrap().network(channel())
}

/// Fails the test when something takes longer than anything here may.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), what)
        .await
        .expect("it happens in time")
}

/// What a test peer does beside being honest.
#[derive(Default)]
pub(crate) struct State {
    /// The configuration that it says is in force, if not the world's.
    pub(crate) config: Option<Bytes>,
    /// Certificates it knows; those of registrations are added.
    pub(crate) known: BTreeMap<Fingerprint, Certificate>,
    /// Answers to `Endorse` to be given first.
    pub(crate) endorse: VecDeque<Result<pb::EndorseResponse, RpcError>>,
    /// Refusals of `Submit` to be given first.
    pub(crate) refuse_submit: VecDeque<RpcError>,
    /// How many envelopes are lost behind `Submit` before one is ordered.
    pub(crate) lose: usize,
    /// The verdict on whatever is ordered.
    pub(crate) code: u32,
    /// Every envelope that came.
    pub(crate) submitted: Vec<Bytes>,
    /// Refusals of `CommitStatus` to be given first.
    pub(crate) refuse_status: VecDeque<RpcError>,
    /// What it has beside the ledger.
    pub(crate) side: Vec<pb::FoundSideItem>,
    /// The history of every key.
    pub(crate) changes: Vec<pb::KeyChange>,
    /// The events of the contract.
    pub(crate) events: Vec<pb::EventsResponse>,
    /// After how many events each next stream breaks, and with what.
    pub(crate) break_events: VecDeque<(usize, RpcError)>,
    /// The blocks.
    pub(crate) blocks: Vec<pb::BlocksResponse>,
    /// After how many blocks each next stream breaks.
    pub(crate) break_blocks: VecDeque<usize>,
    /// Requests that came, by procedure.
    pub(crate) calls: BTreeMap<&'static str, usize>,
    /// Nonces of requests: none may come twice.
    pub(crate) nonces: BTreeSet<Bytes>,
    /// Packages that were installed.
    pub(crate) packages: Vec<Hash32>,
}

/// A running test peer; it ends when this is dropped.
pub(crate) struct TestPeer {
    pub(crate) address: String,
    pub(crate) state: Arc<Mutex<State>>,
    _stop: DropGuard,
}

impl TestPeer {
    async fn start(world: Arc<World>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let known = [(world.user.fingerprint(), world.user.certificate.clone())];
        let state = State {
            known: known.into(),
            ..State::default()
        };
        let state = Arc::new(Mutex::new(state));
        let stop = CancellationToken::new();
        let service = Service {
            world: world.clone(),
            state: state.clone(),
            stop: stop.clone(),
        };
        let incoming = TlsIncoming::new(listener, world.tls.clone()).unwrap();
        let serving = tls::server()
            .add_service(GatewayServer::new(service.clone()))
            .add_service(CallsService::server(
                Arc::new(service.clone()),
                MESSAGE_BYTES_MAX,
            ))
            .add_service(AdminServer::new(service))
            .serve_with_incoming_shutdown(incoming, stop.clone().cancelled_owned());
        tokio::spawn(serving);
        Self {
            address,
            state,
            _stop: stop.drop_guard(),
        }
    }

    pub(crate) fn calls(&self, procedure: &'static str) -> usize {
        self.state
            .lock()
            .calls
            .get(procedure)
            .copied()
            .unwrap_or_default()
    }
}

/// An address where connections are accepted and dropped at once.
pub(crate) async fn slamming_door() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { while listener.accept().await.is_ok() {} });
    address
}

pub(crate) fn refused(code: ErrorCode) -> RpcError {
    RpcError::new(code, "as the test wants it").from_origin("HospitalA/peer0")
}

#[derive(Clone)]
struct Service {
    world: Arc<World>,
    state: Arc<Mutex<State>>,
    stop: CancellationToken,
}

/// The same over one stream.
impl Callee for Service {
    async fn answer(
        self: Arc<Self>,
        _: Option<PeerTls>,
        procedure: Procedure,
        request: Bytes,
    ) -> Result<Bytes, RpcError> {
        let service = &self;
        match procedure {
            Procedure::GatewayEvaluate => {
                reply(request, |it| async {
                    alone(service.evaluate(Request::new(it)).await)
                })
                .await
            }
            Procedure::GatewayEndorse => {
                reply(request, |it| async {
                    alone(service.endorse(Request::new(it)).await)
                })
                .await
            }
            Procedure::GatewaySubmit => {
                reply(request, |it| async {
                    alone(service.submit(Request::new(it)).await)
                })
                .await
            }
            Procedure::GatewayCommitStatus => {
                reply(request, |it| async {
                    alone(service.commit_status(Request::new(it)).await)
                })
                .await
            }
            other => panic!("{other:?} is not a client's"),
        }
    }

    fn stop(&self) -> CancellationToken {
        self.stop.clone()
    }
}

fn alone<T>(answer: Result<Response<T>, Status>) -> Result<T, RpcError> {
    Ok(answer?.into_inner())
}

impl Service {
    fn count(&self, procedure: &'static str) {
        *self.state.lock().calls.entry(procedure).or_default() += 1;
    }

    /// The header of a request whose signature is good.
    fn authenticate(
        &self,
        request: &pb::SignedBytes,
        header: Option<&pb::RequestHeader>,
        method: &'static str,
    ) -> Result<RequestHeader, RpcError> {
        self.count(method);
        let malformed = |why: String| RpcError::new(ErrorCode::Malformed, why);
        let header =
            RequestHeader::parse(header, method).map_err(|error| malformed(error.to_string()))?;
        self.verify(
            &header.header.creator,
            domain::REQUEST,
            &request.payload,
            &request.signature,
        )?;
        assert_eq!(header.header.channel, channel());
        let fresh = self
            .state
            .lock()
            .nonces
            .insert(header.header.nonce.to_bytes());
        fresh
            .then_some(header)
            .ok_or_else(|| refused(ErrorCode::Replayed))
    }

    fn verify(
        &self,
        creator: &Fingerprint,
        domain: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), RpcError> {
        let state = self.state.lock();
        let known = state
            .known
            .get(creator)
            .ok_or_else(|| refused(ErrorCode::UnknownIdentity))?;
        known
            .public_key()
            .verify(domain, message, signature)
            .map_err(|_| refused(ErrorCode::BadSignature))
    }

    fn proposal(&self, signed: &pb::SignedBytes) -> Result<transaction::Proposal, RpcError> {
        let proposal = transaction::Proposal::decode(signed.payload.clone())
            .map_err(|error| RpcError::new(ErrorCode::Malformed, error.to_string()))?;
        let creator = proposal.header.creator;
        self.verify(
            &creator,
            domain::PROPOSAL,
            &signed.payload,
            &signed.signature,
        )?;
        Ok(proposal)
    }

    fn admin<M: Message + Default>(&self, request: pb::AdminRequest) -> Result<M, RpcError> {
        let certificate = Certificate::from_der(&request.certificate)
            .map_err(|error| RpcError::new(ErrorCode::Malformed, error.to_string()))?;
        certificate
            .public_key()
            .verify(domain::ADMIN, &request.payload, &request.signature)
            .map_err(|_| refused(ErrorCode::BadSignature))?;
        M::decode(request.payload).map_err(|_| refused(ErrorCode::Malformed))
    }
}

/// What the test contract answers: its first argument.
pub(crate) fn echo(world: &World, proposal: Bytes, response: Bytes) -> pb::EndorseResponse {
    let result = pb::Result {
        version: FORMAT_VERSION,
        package_hash: Hash32::ZERO.to_bytes(),
        response: Some(pb::Response { payload: response }),
        ..Default::default()
    };
    let result: Bytes = result.encode_to_vec().into();
    let message = hash::endorsement_message(&proposal, &result);
    let signature = world.peer.sign(domain::ENDORSEMENT, &message);
    let endorsement = pb::Endorsement {
        endorser: world.peer.fingerprint().to_bytes(),
        signature: Bytes::copy_from_slice(&signature),
    };
    pb::EndorseResponse {
        result,
        endorsements: vec![endorsement],
    }
}

fn status_response(code: u32) -> pb::CommitStatusResponse {
    pb::CommitStatusResponse {
        code,
        block: 5,
        transaction: 2,
        time_ms: 9,
    }
}

fn body<M: Message + Default>(request: &pb::SignedBytes) -> Result<M, RpcError> {
    M::decode(request.payload.clone()).map_err(|_| refused(ErrorCode::Malformed))
}

#[tonic::async_trait]
impl GatewayService for Service {
    async fn evaluate(
        &self,
        request: Request<pb::SignedBytes>,
    ) -> Result<Response<pb::EvaluateResponse>, Status> {
        self.count("Evaluate");
        let proposal = self.proposal(request.get_ref())?;
        let payload = proposal.arguments.first().cloned().unwrap_or_default();
        Ok(Response::new(pb::EvaluateResponse { payload, height: 7 }))
    }

    async fn endorse(
        &self,
        request: Request<pb::EndorseRequest>,
    ) -> Result<Response<pb::EndorseResponse>, Status> {
        self.count("Endorse");
        let request = request.into_inner();
        let signed = request.proposal.unwrap_or_default();
        let proposal = self.proposal(&signed)?;
        check_side_items(&proposal.side, &request.side)
            .map_err(|error| RpcError::new(ErrorCode::Malformed, error.to_string()))?;
        if let Some(answer) = self.state.lock().endorse.pop_front() {
            return Ok(Response::new(answer?));
        }
        let response = proposal.arguments.first().cloned().unwrap_or_default();
        Ok(Response::new(echo(&self.world, signed.payload, response)))
    }

    async fn submit(
        &self,
        request: Request<pb::SubmitRequest>,
    ) -> Result<Response<pb::SubmitResponse>, Status> {
        self.count("Submit");
        let pb::SubmitRequest {
            envelope, wait_ms, ..
        } = request.into_inner();
        let parsed = Envelope::decode(envelope.clone())
            .map_err(|error| RpcError::new(ErrorCode::Malformed, error.to_string()))?;
        let creator = parsed.header().creator;
        let certificate = match &parsed.body {
            Body::Registration(registration) => {
                Certificate::from_der(&registration.certificate).unwrap()
            }
            _ => self.state.lock().known[&creator].clone(),
        };
        let signed = &parsed.signed;
        certificate
            .public_key()
            .verify(domain::ENVELOPE, &signed.bytes, &signed.signature)
            .map_err(|_| refused(ErrorCode::BadSignature))?;
        let mut state = self.state.lock();
        if let Some(error) = state.refuse_submit.pop_front() {
            return Err(error.into());
        }
        state.submitted.push(envelope);
        let mut status = None;
        if state.submitted.len() > state.lose {
            state.known.insert(creator, certificate);
            // A peer that refuses to tell does not tell here either.
            let told = wait_ms > 0 && state.refuse_status.is_empty();
            status = told.then(|| status_response(state.code));
        }
        Ok(Response::new(pb::SubmitResponse { status }))
    }

    async fn commit_status(
        &self,
        request: Request<pb::SignedBytes>,
    ) -> Result<Response<pb::CommitStatusResponse>, Status> {
        let signed = request.into_inner();
        let request: pb::CommitStatusRequest = body(&signed)?;
        self.authenticate(&signed, request.header.as_ref(), "CommitStatus")?;
        let mut state = self.state.lock();
        if let Some(error) = state.refuse_status.pop_front() {
            return Err(error.into());
        }
        let ordered = state.submitted.len() > state.lose;
        let same = state.submitted.iter().any(|bytes| {
            let envelope = Envelope::decode(bytes.clone()).expect("it was checked");
            envelope.header().id().as_bytes()[..] == request.transaction_id
        });
        if !ordered || !same {
            return Err(refused(ErrorCode::Timeout).into());
        }
        Ok(Response::new(status_response(state.code)))
    }

    type EventsStream = BoxStream<'static, Result<pb::EventsResponse, Status>>;

    async fn events(
        &self,
        request: Request<pb::SignedBytes>,
    ) -> Result<Response<Self::EventsStream>, Status> {
        let signed = request.into_inner();
        let request: pb::EventsRequest = body(&signed)?;
        self.authenticate(&signed, request.header.as_ref(), "Events")?;
        assert_eq!(request.contract, contract_name().as_str());
        let mut state = self.state.lock();
        let place = |at: &pb::Checkpoint| (at.block, at.transaction, at.event);
        // As a peer that knows no more than at-least-once, it sends the last one again.
        let from = request
            .after
            .as_ref()
            .map_or((request.start_block, 0, 0), place);
        let events: Vec<_> = state
            .events
            .iter()
            .filter(|event| place(event.checkpoint.as_ref().unwrap()) >= from)
            .cloned()
            .collect();
        let (count, end) = state.break_events.pop_front().unzip();
        let events = stream::iter(events)
            .take(count.unwrap_or(usize::MAX))
            .map(Ok);
        Ok(Response::new(match end {
            Some(error) => events.chain(stream::iter([Err(error.into())])).boxed(),
            None => events.chain(stream::pending()).boxed(),
        }))
    }

    async fn side(
        &self,
        request: Request<pb::SignedBytes>,
    ) -> Result<Response<pb::SideResponse>, Status> {
        let signed = request.into_inner();
        let request: pb::SideRequest = body(&signed)?;
        self.authenticate(&signed, request.header.as_ref(), "Side")?;
        Ok(Response::new(pb::SideResponse {
            items: self.state.lock().side.clone(),
        }))
    }

    async fn channel_info(
        &self,
        request: Request<pb::SignedBytes>,
    ) -> Result<Response<pb::ChannelInfoResponse>, Status> {
        let signed = request.into_inner();
        let request: pb::ChannelInfoRequest = body(&signed)?;
        self.authenticate(&signed, request.header.as_ref(), "ChannelInfo")?;
        let (height, config) = {
            let state = self.state.lock();
            let event = state.events.last();
            let height = event.map_or(1, |event| event.checkpoint.as_ref().unwrap().block + 1);
            (height.max(state.blocks.len() as u64), state.config.clone())
        };
        Ok(Response::new(pb::ChannelInfoResponse {
            height,
            header_hash: Hash32([1; 32]).to_bytes(),
            state_hash: Hash32([2; 32]).to_bytes(),
            config: config.unwrap_or_else(|| self.world.config.encode_to_vec().into()),
        }))
    }

    async fn key_history(
        &self,
        request: Request<pb::SignedBytes>,
    ) -> Result<Response<pb::KeyHistoryResponse>, Status> {
        let signed = request.into_inner();
        let request: pb::KeyHistoryRequest = body(&signed)?;
        self.authenticate(&signed, request.header.as_ref(), "KeyHistory")?;
        Ok(Response::new(pb::KeyHistoryResponse {
            changes: self.state.lock().changes.clone(),
        }))
    }

    type BlocksStream = BoxStream<'static, Result<pb::BlocksResponse, Status>>;

    async fn blocks(
        &self,
        request: Request<pb::SignedBytes>,
    ) -> Result<Response<Self::BlocksStream>, Status> {
        let signed = request.into_inner();
        let request: pb::BlocksRequest = body(&signed)?;
        self.authenticate(&signed, request.header.as_ref(), "Blocks")?;
        let mut state = self.state.lock();
        let end = if request.end == 0 {
            usize::MAX
        } else {
            request.end as usize
        };
        let end = end.min(state.blocks.len());
        let blocks = state.blocks[request.start as usize..end].to_vec();
        let count = state.break_blocks.pop_front();
        let blocks = stream::iter(blocks)
            .take(count.unwrap_or(usize::MAX))
            .map(Ok);
        let broken = count.map(|_| Err(refused(ErrorCode::Unavailable).into()));
        Ok(Response::new(blocks.chain(stream::iter(broken)).boxed()))
    }
}

#[tonic::async_trait]
impl AdminService for Service {
    async fn join(
        &self,
        request: Request<pb::AdminRequest>,
    ) -> Result<Response<pb::AdminResponse>, Status> {
        let request: pb::JoinRequest = self.admin(request.into_inner())?;
        RequestHeader::parse(request.header.as_ref(), "Join").unwrap();
        let config = ChannelConfig::decode(&self.world.config.encode_to_vec()).unwrap();
        let block = Block::decode(request.genesis).unwrap();
        assert_eq!(block.header.channel, config.channel);
        Ok(Response::new(pb::AdminResponse {}))
    }

    async fn install(
        &self,
        request: Request<pb::AdminRequest>,
    ) -> Result<Response<pb::AdminResponse>, Status> {
        let request: pb::InstallRequest = self.admin(request.into_inner())?;
        RequestHeader::parse(request.header.as_ref(), "Install").unwrap();
        self.state
            .lock()
            .packages
            .push(hash::package(&request.package));
        Ok(Response::new(pb::AdminResponse {}))
    }

    async fn status(
        &self,
        request: Request<pb::AdminRequest>,
    ) -> Result<Response<pb::StatusResponse>, Status> {
        let request: pb::StatusRequest = self.admin(request.into_inner())?;
        RequestHeader::parse(request.header.as_ref(), "Status").unwrap();
        let channel = pb::ChannelStatus {
            channel: channel().to_string(),
            height: 3,
            header_hash: Hash32([1; 32]).to_bytes(),
            leader: 2,
            term: 4,
            orderer: 1,
            halted: "it is damaged".to_owned(),
            ..Default::default()
        };
        Ok(Response::new(pb::StatusResponse {
            organization: self.world.organization.to_string(),
            name: "peer0".to_owned(),
            channels: vec![channel],
            packages: self
                .state
                .lock()
                .packages
                .iter()
                .map(|hash| hash.to_bytes())
                .collect(),
        }))
    }
}

/// A block as a peer sends it.
pub(crate) fn answer(block: &Block) -> pb::BlocksResponse {
    pb::BlocksResponse {
        block: Some(block.to_pb()),
        codes: vec![ValidationCode::Valid as u8; block.envelopes.len()].into(),
        state_hash: Hash32([3; 32]).to_bytes(),
    }
}

//! One orderer that cuts a block for every envelope; enough to follow a peer from end to end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use stela_calls::{Callee, CallsService, reply};
use stela_identity::tls::{self, PeerTls, TlsIncoming, TlsSettings};
use stela_identity::{Configuration, Credentials, config_update};
use stela_peer::Clock;
use stela_protocol::block::Block;
use stela_protocol::hash::domain;
use stela_protocol::limits::MESSAGE_BYTES_MAX;
use stela_protocol::pb::broadcast_server::{Broadcast, BroadcastServer};
use stela_protocol::pb::deliver_server::{Deliver, DeliverServer};
use stela_protocol::pb::{self, Procedure};
use stela_protocol::{BlockNumber, ErrorCode, OrgId, RpcError, config};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::Answer;

/// The blocks of the channel, shared by all orderers of a test.
#[derive(Clone)]
pub struct Chain {
    inner: Arc<Mutex<Vec<Block>>>,
    /// The configuration in force after the newest block.
    current: Arc<Mutex<Arc<Configuration>>>,
    height: Arc<watch::Sender<usize>>,
    /// Whose peers get no more blocks for now.
    held: Arc<watch::Sender<BTreeSet<OrgId>>>,
    /// Orderers that take no envelopes, and what they answer.
    refusing: Arc<Mutex<BTreeMap<u64, ErrorCode>>>,
}

impl Chain {
    pub fn new(genesis: Block) -> Self {
        let (config, _) = config::from_genesis(&genesis).unwrap();
        let current = Arc::new(Configuration::new(config).unwrap());
        let inner = Arc::new(Mutex::new(vec![genesis]));
        let (height, held) = (watch::Sender::new(1), watch::Sender::default());
        Self {
            inner,
            current: Arc::new(Mutex::new(current)),
            height: Arc::new(height),
            held: Arc::new(held),
            refusing: Arc::default(),
        }
    }

    /// Gives an organization's peers no more blocks until it is released.
    pub fn hold(&self, organization: &OrgId) {
        self.held
            .send_modify(|held| held.extend([organization.clone()]));
    }

    pub fn release(&self, organization: &OrgId) {
        self.held
            .send_modify(|held| held.retain(|other| other != organization));
    }

    /// Lets an orderer refuse all envelopes from now on.
    pub fn refuse(&self, orderer: u64, code: ErrorCode) {
        self.refusing.lock().insert(orderer, code);
    }

    pub fn append(&self, envelope: Bytes) {
        self.append_block(vec![envelope]);
    }

    pub fn append_block(&self, envelopes: Vec<Bytes>) {
        let mut blocks = self.inner.lock();
        let last = blocks.last().unwrap();
        let time_ms = Clock::system().now_ms().max(last.header.time_ms);
        let (number, last_config) = (last.header.number.next(), last.header.last_config);
        let block = |last_config: BlockNumber| {
            let (channel, envelopes) = (last.header.channel.clone(), envelopes.clone());
            Block::new(channel, number, last.hash, last_config, time_ms, envelopes)
        };
        let mut current = self.current.lock();
        let with_config = block(number);
        let block = match config_update::follow(&current, last_config, &with_config) {
            Ok(Some(new)) => {
                *current = Arc::new(new);
                with_config
            }
            _ => block(last_config),
        };
        blocks.push(block);
        self.height.send_replace(blocks.len());
    }

    /// The configuration in force after the newest block.
    pub fn configuration(&self) -> Arc<Configuration> {
        self.current.lock().clone()
    }

    pub fn height(&self) -> u64 {
        self.inner.lock().len() as u64
    }

    pub fn block(&self, number: usize) -> Block {
        self.inner.lock()[number].clone()
    }
}

/// Who signs what an orderer delivers: number and credentials.
pub type Signers = Vec<(u64, Arc<Credentials>)>;

#[derive(Clone)]
struct Orderer {
    id: u64,
    chain: Chain,
    signers: Signers,
    stop: CancellationToken,
}

/// Serves until the token is cancelled.
pub fn serve(
    listener: TcpListener,
    settings: TlsSettings,
    id: u64,
    chain: Chain,
    signers: Signers,
    stop: CancellationToken,
) {
    let orderer = Orderer {
        id,
        chain,
        signers,
        stop: stop.clone(),
    };
    let incoming = TlsIncoming::new(listener, settings).unwrap();
    let calls = CallsService::server(Arc::new(orderer.clone()), MESSAGE_BYTES_MAX);
    let deliver = DeliverServer::new(orderer.clone()).max_encoding_message_size(MESSAGE_BYTES_MAX);
    let server = tls::server()
        .add_service(BroadcastServer::new(orderer))
        .add_service(calls)
        .add_service(deliver)
        .serve_with_incoming_shutdown(incoming, stop.cancelled_owned());
    tokio::spawn(server);
}

impl Orderer {
    fn take(&self, request: pb::BroadcastRequest) -> Answer<pb::BroadcastResponse> {
        if let Some(code) = self.chain.refusing.lock().get(&self.id) {
            return Err(RpcError::new(*code, "it takes nothing"));
        }
        self.chain.append(request.envelope);
        Ok(pb::BroadcastResponse {})
    }

    fn signed(&self, number: usize) -> pb::Block {
        let block = self.chain.block(number);
        let sign = |(orderer, credentials): &(u64, Arc<Credentials>)| pb::HeaderSignature {
            orderer: *orderer,
            signature: Bytes::copy_from_slice(
                &credentials.sign(domain::HEADER, block.hash.as_bytes()),
            ),
        };
        let signatures = self.signers.iter().map(sign).collect();
        pb::Block {
            signatures,
            ..block.to_pb()
        }
    }
}

#[tonic::async_trait]
impl Broadcast for Orderer {
    async fn broadcast(
        &self,
        request: Request<pb::BroadcastRequest>,
    ) -> Result<Response<pb::BroadcastResponse>, Status> {
        Ok(Response::new(self.take(request.into_inner())?))
    }
}

impl Callee for Orderer {
    async fn answer(
        self: Arc<Self>,
        _: Option<PeerTls>,
        procedure: Procedure,
        request: Bytes,
    ) -> Answer<Bytes> {
        assert_eq!(procedure, Procedure::Broadcast);
        reply(request, |request| async { self.take(request) }).await
    }

    fn stop(&self) -> CancellationToken {
        self.stop.clone()
    }
}

#[tonic::async_trait]
impl Deliver for Orderer {
    type DeliverStream = ReceiverStream<Result<pb::Block, Status>>;

    async fn deliver(
        &self,
        request: Request<pb::DeliverRequest>,
    ) -> Result<Response<Self::DeliverStream>, Status> {
        let asking = request
            .extensions()
            .get::<PeerTls>()
            .unwrap()
            .organization
            .clone();
        let start = request.into_inner().start as usize;
        let (sender, receiver) = tokio::sync::mpsc::channel(4);
        let orderer = self.clone();
        tokio::spawn(async move {
            let mut height = orderer.chain.height.subscribe();
            let mut held = orderer.chain.held.subscribe();
            for number in start.. {
                let due = async {
                    drop(height.wait_for(|height| *height > number).await.unwrap());
                    drop(held.wait_for(|held| !held.contains(&asking)).await.unwrap());
                };
                tokio::select! {
                    () = orderer.stop.cancelled() => return,
                    () = sender.closed() => return,
                    () = due => {}
                }
                if sender.send(Ok(orderer.signed(number))).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

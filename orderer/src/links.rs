//! Connections to other orderers: one stream of messages to each, shared by all channels.
//!
//! A link may lose messages and says so when it knows; Raft and the forwarding of envelopes send
//! again what matters. It never delivers to anybody but the orderer that was meant: the connection
//! stands only if the other side shows the TLS certificate that the channel's configuration names.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;
use stela_identity::tls::{Expected, TlsSettings, connect};
use stela_protocol::config::Orderer;
use stela_protocol::limits::MESSAGE_BYTES_MAX;
use stela_protocol::pb::consensus_client::ConsensusClient;
use stela_protocol::{ErrorCode, Fingerprint, Message, OrgId, RpcError, pb};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use crate::limits::{
    CONSENSUS_FRAME_BYTES, LINK_QUEUE_BYTES_MAX, LINK_QUEUE_MAX, LINK_STREAM_MAX, RECONNECT_PAUSE,
};

/// Where a link leads.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Destination {
    address: String,
    organization: OrgId,
    fingerprint: Fingerprint,
}

/// All links of a node.
pub struct Links {
    tls: TlsSettings,
    runtime: Handle,
    stop: CancellationToken,
    open: Mutex<HashMap<Destination, Link>>,
}

impl Links {
    /// No links yet; those that come live on the tokio runtime in which this is called, and end
    /// with `stop`.
    pub fn new(tls: TlsSettings, stop: CancellationToken) -> Self {
        Self {
            tls,
            runtime: Handle::current(),
            stop,
            open: Mutex::default(),
        }
    }

    /// The link to an orderer.
    pub fn to(&self, orderer: &Orderer) -> Link {
        let destination = Destination {
            address: orderer.address.clone(),
            organization: orderer.organization.clone(),
            fingerprint: orderer.tls_fingerprint,
        };
        let mut open = self.open.lock();
        open.entry(destination)
            .or_insert_with_key(|destination| self.start(destination))
            .clone()
    }

    /// Closes the links that nobody holds any more.
    pub fn close_unused(&self) {
        let used = |link: &mut Link| link.queue.strong_count() > 1;
        self.open.lock().retain(|_, link| used(link));
    }

    fn start(&self, destination: &Destination) -> Link {
        let (queue, waiting) = mpsc::channel(LINK_QUEUE_MAX);
        let state = Arc::new(State {
            up: AtomicBool::new(true),
            bytes: AtomicUsize::new(0),
        });
        let task = Task {
            tls: self.tls.clone(),
            destination: destination.clone(),
            waiting,
            state: state.clone(),
        };
        let stop = self.stop.clone();
        self.runtime
            .spawn(async move { stop.run_until_cancelled(task.run()).await });
        Link { queue, state }
    }
}

/// The way to one orderer. Cheap to clone.
#[derive(Clone)]
pub struct Link {
    queue: mpsc::Sender<pb::ConsensusMessage>,
    state: Arc<State>,
}

struct State {
    up: AtomicBool,
    bytes: AtomicUsize,
}

impl Link {
    /// Hands a message over; `false` says that it is lost.
    pub fn send(&self, message: pb::ConsensusMessage) -> bool {
        if !self.state.up.load(Ordering::Relaxed) {
            return false;
        }
        let size = message.encoded_len();
        let before = self.state.bytes.fetch_add(size, Ordering::Relaxed);
        let taken = before + size <= LINK_QUEUE_BYTES_MAX && self.queue.try_send(message).is_ok();
        if !taken {
            self.state.bytes.fetch_sub(size, Ordering::Relaxed);
        }
        taken
    }
}

struct Task {
    tls: TlsSettings,
    destination: Destination,
    waiting: mpsc::Receiver<pb::ConsensusMessage>,
    state: Arc<State>,
}

impl Task {
    /// Connects again and again until every [`Link`] to here is gone, but for a message under way.
    async fn run(mut self) {
        loop {
            self.state.up.store(true, Ordering::Relaxed);
            let Err(error) = self.stream().await else {
                return;
            };
            tracing::debug!(to = %self.destination.address, %error, "no connection to an orderer");
            self.state.up.store(false, Ordering::Relaxed);
            while let Ok(message) = self.waiting.try_recv() {
                self.taken(&message);
            }
            tokio::time::sleep(RECONNECT_PAUSE).await;
        }
    }

    /// Carries messages until the connection breaks, or nobody can send any more.
    async fn stream(&mut self) -> Result<(), RpcError> {
        let mut client = self.client()?;
        let (stream, messages) = mpsc::channel(LINK_STREAM_MAX);
        let call = client.step(ReceiverStream::new(messages));
        tokio::pin!(call);
        loop {
            let room = async {
                let room = stream.reserve().await;
                (self.waiting.recv().await, room)
            };
            tokio::select! {
                biased;
                answer = &mut call => return Err(ended(answer.map(drop))),
                (message, room) = room => {
                    let Some(message) = message else { return Ok(()) };
                    self.taken(&message);
                    match room {
                        Ok(room) => room.send(message),
                        Err(_) => return Err(ended(call.await.map(drop))),
                    }
                }
            }
        }
    }

    fn client(&self) -> Result<ConsensusClient<tonic::transport::Channel>, RpcError> {
        let expected = Expected {
            organization: Some(self.destination.organization.clone()),
            fingerprint: Some(self.destination.fingerprint),
            server_name: None,
        };
        let channel = connect(&self.tls, &self.destination.address, expected)
            .map_err(|error| RpcError::new(ErrorCode::Unavailable, error.to_string()))?;
        Ok(ConsensusClient::new(channel)
            .max_encoding_message_size(MESSAGE_BYTES_MAX + CONSENSUS_FRAME_BYTES))
    }

    fn taken(&self, message: &pb::ConsensusMessage) {
        self.state
            .bytes
            .fetch_sub(message.encoded_len(), Ordering::Relaxed);
    }
}

fn ended(answer: Result<(), tonic::Status>) -> RpcError {
    match answer {
        Ok(()) => RpcError::new(ErrorCode::Unavailable, "it closed the stream"),
        Err(status) => RpcError::from(status),
    }
}

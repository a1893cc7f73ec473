//! One connection: any number of inbound streams, read side by side, and one outbound stream.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt};
use futures::stream::{FuturesUnordered, StreamExt};
use libp2p::core::upgrade::ReadyUpgrade;
use libp2p::swarm::handler::{
    ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound,
};
use libp2p::swarm::{
    ConnectionHandler, ConnectionHandlerEvent, StreamUpgradeError, SubstreamProtocol,
};
use libp2p::{Stream, StreamProtocol};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::frame::{self, FrameError};
use super::message::Message;
use crate::limits::{
    FRAME_READ_TIMEOUT, FRAME_WRITE_TIMEOUT, INBOUND_BYTES_PER_CONNECTION_MAX,
    INBOUND_STREAMS_PER_CONNECTION_MAX, SEND_ATTEMPTS_MAX,
};

const PROTOCOL: StreamProtocol = StreamProtocol::new("/ipfs/bitswap/1.2.0");

type Protocol = ReadyUpgrade<StreamProtocol>;
type HandlerEvent = ConnectionHandlerEvent<Protocol, (), ToBehaviour>;

/// A message, with its length in front, that the connection is to send.
#[derive(Debug)]
pub(crate) struct Send(pub(crate) Bytes);

/// What happened on the connection.
#[derive(Debug)]
pub(crate) enum ToBehaviour {
    /// A message came. Its bytes count against the connection's budget until this is dropped.
    Received(Box<Message>, OwnedSemaphorePermit),
    /// The peer sent something that is not a message; its stream is closed.
    Rejected(FrameError),
    /// The oldest message to be sent has left.
    Sent,
    /// No message leaves through this connection any more.
    Broken,
    /// The peer does not speak bitswap.
    Unsupported,
}

/// How the reading of one message ended.
enum Inbound {
    Received(Stream, Box<Message>, OwnedSemaphorePermit),
    Rejected(FrameError),
    Closed,
}

enum Outbound {
    Closed,
    Opening,
    Idle(Stream),
    Writing(BoxFuture<'static, io::Result<Stream>>),
    Unsupported,
}

/// Bitswap on one connection.
pub(crate) struct Handler {
    inbound: FuturesUnordered<BoxFuture<'static, Inbound>>,
    inbound_budget: Arc<Semaphore>,
    outbound: Outbound,
    /// Messages to send; the first stays until it has been written.
    queue: VecDeque<Bytes>,
    failures: u32,
    events: VecDeque<ToBehaviour>,
}

impl Handler {
    pub(crate) fn new() -> Self {
        Self {
            inbound: FuturesUnordered::new(),
            inbound_budget: Arc::new(Semaphore::new(INBOUND_BYTES_PER_CONNECTION_MAX)),
            outbound: Outbound::Closed,
            queue: VecDeque::new(),
            failures: 0,
            events: VecDeque::new(),
        }
    }

    fn accept(&mut self, stream: Stream) {
        if self.inbound.len() < INBOUND_STREAMS_PER_CONNECTION_MAX {
            self.inbound
                .push(receive(stream, self.inbound_budget.clone()).boxed());
        }
    }

    /// Moves the outbound stream on. `None` means that there is nothing more to do for now.
    fn poll_outbound(&mut self, context: &mut Context<'_>) -> Option<Poll<HandlerEvent>> {
        match std::mem::replace(&mut self.outbound, Outbound::Closed) {
            Outbound::Closed if !self.queue.is_empty() => {
                self.outbound = Outbound::Opening;
                let protocol = SubstreamProtocol::new(ReadyUpgrade::new(PROTOCOL), ());
                let request = ConnectionHandlerEvent::OutboundSubstreamRequest { protocol };
                return Some(Poll::Ready(request));
            }
            Outbound::Idle(stream) if !self.queue.is_empty() => {
                self.outbound = Outbound::Writing(send(stream, self.queue[0].clone()).boxed());
            }
            Outbound::Writing(mut writing) => match writing.poll_unpin(context) {
                Poll::Ready(Ok(stream)) => self.sent(stream),
                Poll::Ready(Err(error)) => self.failed(&error),
                Poll::Pending => {
                    self.outbound = Outbound::Writing(writing);
                    return None;
                }
            },
            unchanged => {
                self.outbound = unchanged;
                return None;
            }
        }
        Some(Poll::Pending)
    }

    fn sent(&mut self, stream: Stream) {
        self.outbound = Outbound::Idle(stream);
        self.queue.pop_front();
        self.failures = 0;
        self.events.push_back(ToBehaviour::Sent);
    }

    /// A message that could not be written is tried on a new stream; a peer that accepts none is
    /// reported, and its connection given up.
    fn failed(&mut self, error: &dyn std::error::Error) {
        self.outbound = Outbound::Closed;
        self.failures += 1;
        tracing::debug!(%error, failures = self.failures, "a bitswap stream failed");
        if self.failures == SEND_ATTEMPTS_MAX {
            self.queue.clear();
            self.events.push_back(ToBehaviour::Broken);
        }
    }

    fn poll_inbound(&mut self, context: &mut Context<'_>) -> bool {
        match self.inbound.poll_next_unpin(context) {
            Poll::Ready(Some(Inbound::Received(stream, message, permit))) => {
                self.accept(stream);
                self.events
                    .push_back(ToBehaviour::Received(message, permit));
            }
            Poll::Ready(Some(Inbound::Rejected(error))) => {
                self.events.push_back(ToBehaviour::Rejected(error));
            }
            Poll::Ready(Some(Inbound::Closed)) => {}
            Poll::Ready(None) | Poll::Pending => return false,
        }
        true
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Send;
    type ToBehaviour = ToBehaviour;
    type InboundProtocol = Protocol;
    type OutboundProtocol = Protocol;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<Protocol> {
        SubstreamProtocol::new(ReadyUpgrade::new(PROTOCOL), ())
    }

    /// Members stay connected; how many connections there are is bounded elsewhere.
    fn connection_keep_alive(&self) -> bool {
        true
    }

    fn on_behaviour_event(&mut self, Send(frame): Send) {
        if !matches!(self.outbound, Outbound::Unsupported) {
            self.queue.push_back(frame);
        }
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<'_, Protocol, Protocol>) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
                protocol, ..
            }) => self.accept(protocol),
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound {
                protocol, ..
            }) => self.outbound = Outbound::Idle(protocol),
            ConnectionEvent::DialUpgradeError(DialUpgradeError {
                error: StreamUpgradeError::NegotiationFailed,
                ..
            }) => {
                self.outbound = Outbound::Unsupported;
                self.queue.clear();
                self.events.push_back(ToBehaviour::Unsupported);
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { error, .. }) => {
                self.failed(&error);
            }
            _ => {}
        }
    }

    /// Hands over one event before the next message is read: a behaviour that is behind stops
    /// the connection from reading.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<HandlerEvent> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(event));
            }
            match self.poll_outbound(context) {
                Some(Poll::Ready(event)) => return Poll::Ready(event),
                Some(Poll::Pending) => continue,
                None => {}
            }
            if !self.poll_inbound(context) {
                return Poll::Pending;
            }
        }
    }
}

async fn receive(mut stream: Stream, budget: Arc<Semaphore>) -> Inbound {
    match try_receive(&mut stream, budget).await {
        Ok((message, permit)) => Inbound::Received(stream, Box::new(message), permit),
        Err(FrameError::Io(_)) => Inbound::Closed,
        Err(error) => Inbound::Rejected(error),
    }
}

/// Waits for a message, then for room to read it, then, not for ever, for its bytes.
async fn try_receive(
    stream: &mut Stream,
    budget: Arc<Semaphore>,
) -> Result<(Message, OwnedSemaphorePermit), FrameError> {
    let length = frame::read_length(stream).await?;
    let permits = u32::try_from(length).map_err(|_| FrameError::TooLarge)?;
    let permit = budget
        .acquire_many_owned(permits)
        .await
        .map_err(io::Error::other)?;
    let body = timeout(FRAME_READ_TIMEOUT, frame::read_body(stream, length));
    Ok((body.await.map_err(io::Error::from)??, permit))
}

async fn send(mut stream: Stream, frame: Bytes) -> io::Result<Stream> {
    timeout(FRAME_WRITE_TIMEOUT, frame::write(&mut stream, &frame)).await??;
    Ok(stream)
}

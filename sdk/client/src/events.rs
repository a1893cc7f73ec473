//! Contract events: in order, at least once, across reconnections.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::Stream;
use futures::stream::{self, BoxStream, StreamExt};
use serde::de::DeserializeOwned;
use stela_protocol::limits::{EVENT_BYTES_MAX, EVENT_NAME_BYTES_MAX};
use stela_protocol::{BlockNumber, ContractName, ErrorCode, RpcError, TransactionId, pb};
use tonic::Streaming;

use crate::back_off::BackOff;
use crate::checkpoint::Checkpoint;
use crate::endpoints::{is_elsewhere, unary};
use crate::error::EventsError;
use crate::gateway::Inner;
use crate::network::Network;

/// Where a stream of events begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// With what is committed from now on.
    Next,
    /// With the first event of this block.
    Block(BlockNumber),
    /// Behind this event.
    After(Checkpoint),
}

/// Something that a contract told its listeners.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its place; listening [`Start::After`] it goes on with the next one.
    pub checkpoint: Checkpoint,
    /// The transaction in which it was set.
    pub transaction: TransactionId,
    /// Its name.
    pub name: String,
    /// What it says.
    pub payload: Bytes,
    /// The block's time, in milliseconds since the Unix epoch.
    pub time_ms: u64,
}

impl Event {
    /// The payload, read as JSON.
    ///
    /// # Errors
    /// When it is something else.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.payload)
    }
}

/// The events of a contract, in ascending order of checkpoints. When the connection or the peer
/// fails, the stream goes on behind the last event, at another endpoint if there is one, for ever.
/// An error is final: nothing follows it.
pub struct EventStream {
    events: BoxStream<'static, Result<Event, EventsError>>,
}

impl EventStream {
    pub(crate) fn open(network: Network, contract: ContractName, start: Start) -> Self {
        let follower = Follower {
            network,
            contract,
            start,
            recovery: Recovery::default(),
            open: None,
        };
        let events = stream::unfold(Some(follower), |follower| async {
            let mut follower = follower?;
            match follower.next().await {
                Ok(event) => Some((Ok(event), Some(follower))),
                Err(error) => Some((Err(error), None)),
            }
        });
        Self {
            events: events.boxed(),
        }
    }
}

impl Stream for EventStream {
    type Item = Result<Event, EventsError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.events.poll_next_unpin(context)
    }
}

impl fmt::Debug for EventStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EventStream")
    }
}

struct Follower {
    network: Network,
    contract: ContractName,
    start: Start,
    recovery: Recovery,
    open: Option<(usize, Streaming<pb::EventsResponse>)>,
}

impl Follower {
    async fn next(&mut self) -> Result<Event, EventsError> {
        loop {
            let (endpoint, message) = self.message().await?;
            match message {
                Ok(message) => {
                    let event = self.check(message)?;
                    self.recovery.progress();
                    // Delivered again after a reconnection.
                    if matches!(self.start, Start::After(last) if event.checkpoint <= last) {
                        continue;
                    }
                    self.start = Start::After(event.checkpoint);
                    return Ok(event);
                }
                Err(source) => {
                    self.open = None;
                    if !self
                        .recovery
                        .recover(&self.network.inner, endpoint, &source)
                        .await
                    {
                        return Err(self.rpc(source));
                    }
                }
            }
        }
    }

    /// The next message, or why there is none, with the endpoint it concerns.
    async fn message(
        &mut self,
    ) -> Result<(usize, Result<pb::EventsResponse, RpcError>), EventsError> {
        self.settle_start().await?;
        if self.open.is_none() {
            match self.connect().await {
                (endpoint, Ok(stream)) => self.open = Some((endpoint, stream)),
                (endpoint, Err(error)) => return Ok((endpoint, Err(error))),
            }
        }
        let (endpoint, stream) = self.open.as_mut().expect("it was opened above");
        Ok((*endpoint, next_message(stream).await))
    }

    /// "From now on" must mean the same after a reconnection: it becomes a block number once.
    async fn settle_start(&mut self) -> Result<(), EventsError> {
        while self.start == Start::Next {
            match self.network.info().await {
                Ok(info) => self.start = Start::Block(BlockNumber(info.height)),
                Err(error) if error.is_retryable() => self.recovery.pause().await,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    async fn connect(&self) -> (usize, Result<Streaming<pb::EventsResponse>, RpcError>) {
        let inner = &self.network.inner;
        let (endpoint, mut client) = inner.endpoints.pick();
        let (after, start_block) = match self.start {
            Start::After(checkpoint) => (Some(checkpoint.into()), 0),
            // Block 0 carries no events, and asking for it would mean "from now on".
            Start::Block(number) => (None, number.0.max(1)),
            Start::Next => (None, 0),
        };
        let request = pb::EventsRequest {
            header: Some(inner.signer.request_header(&self.network.channel, "Events")),
            contract: self.contract.to_string(),
            after,
            start_block,
        };
        let call = client.gateway.events(inner.signer.request(&request));
        (endpoint, unary(inner.timeouts.request, call).await)
    }

    fn check(&self, message: pb::EventsResponse) -> Result<Event, EventsError> {
        let format = |why: String| EventsError::Format {
            contract: self.contract.to_string(),
            why,
        };
        let checkpoint = message
            .checkpoint
            .ok_or_else(|| format("no checkpoint".to_owned()))?;
        if message.name.len() > EVENT_NAME_BYTES_MAX || message.payload.len() > EVENT_BYTES_MAX {
            return Err(format(
                "it exceeds EVENT_NAME_BYTES_MAX or EVENT_BYTES_MAX".to_owned(),
            ));
        }
        Ok(Event {
            checkpoint: checkpoint.into(),
            transaction: TransactionId::from_slice(&message.transaction_id)
                .map_err(|error| format(error.to_string()))?,
            name: message.name,
            payload: message.payload,
            time_ms: message.time_ms,
        })
    }

    fn rpc(&self, source: RpcError) -> EventsError {
        EventsError::Rpc {
            contract: self.contract.to_string(),
            source,
        }
    }
}

/// The next message of a stream that has no end of its own.
pub(crate) async fn next_message<T>(stream: &mut Streaming<T>) -> Result<T, RpcError> {
    match stream.message().await {
        Ok(Some(message)) => Ok(message),
        Ok(None) => Err(RpcError::new(
            ErrorCode::Unavailable,
            "the peer ended the stream",
        )),
        Err(status) => Err(status.into()),
    }
}

/// Decides whether and when a broken stream is opened again.
#[derive(Default)]
pub(crate) struct Recovery {
    back_off: BackOff,
    refusals: usize,
}

impl Recovery {
    /// Something came: the peer is well.
    pub(crate) fn progress(&mut self) {
        self.back_off.reset();
        self.refusals = 0;
    }

    /// Attempts since something came.
    pub(crate) fn attempts(&self) -> u32 {
        self.back_off.attempts()
    }

    pub(crate) async fn pause(&mut self) {
        self.back_off.pause().await;
    }

    /// Turns to another endpoint and pauses; false when every endpoint refused for good.
    pub(crate) async fn recover(
        &mut self,
        inner: &Inner,
        endpoint: usize,
        error: &RpcError,
    ) -> bool {
        if !error.is_retryable() {
            self.refusals += 1;
            if !is_elsewhere(error) || self.refusals >= inner.endpoints.len() {
                return false;
            }
        }
        tracing::debug!(%error, "opening the stream again");
        inner.endpoints.avoid(endpoint);
        self.pause().await;
        true
    }
}

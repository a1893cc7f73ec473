//! Streams of contract events and of blocks: first what is there, then what comes.
//!
//! A stream reads the ledger, block after block, and waits for the next one when it has caught up;
//! so a slow reader holds up nobody and misses nothing.

use std::sync::Arc;

use prost::Message;
use stela_protocol::transaction::{Body, Envelope, Transaction};
use stela_protocol::{
    BlockNumber, ContractName, ErrorCode, Fingerprint, RpcError, ValidationCode, pb,
};
use stela_store::{LedgerRead, StoredBlock};
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::{Receiver, Sender, channel as buffer};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status};

use crate::answer;
use crate::channel::Channel;
use crate::limits::{STREAM_BLOCKS, STREAM_EVENTS};
use crate::node::Node;
use crate::requests::{self, Asked};

type Answers<T> = ReceiverStream<Result<T, Status>>;

/// Events of valid transactions, in order, from a checkpoint or a block on, at least once.
pub(super) fn events(
    node: &Arc<Node>,
    request: Request<pb::SignedBytes>,
) -> Result<Answers<pb::EventsResponse>, RpcError> {
    let (request, asked) = requests::authenticate::<pb::EventsRequest>(node, request)?;
    let contract = ContractName::new(&request.contract).map_err(answer::bad_id)?;
    if !asked
        .channel
        .membership()
        .config()
        .contracts
        .contains_key(&contract)
    {
        let why = format!(
            "channel {} defines no contract {contract}",
            asked.channel.id()
        );
        return Err(RpcError::new(ErrorCode::UnknownContract, why));
    }
    let start = match (&request.after, request.start_block) {
        (Some(after), _) => after.block,
        (None, 0) => asked.channel.ledger().head().height,
        (None, start) => start,
    };
    let after = request.after;
    let events = move |number, stored| events_of(number, stored, &contract, after.as_ref());
    follow(node, &asked, start, None, STREAM_EVENTS, Arc::new(events))
}

/// Committed blocks with their verdicts.
pub(super) fn blocks(
    node: &Arc<Node>,
    request: Request<pb::SignedBytes>,
) -> Result<Answers<pb::BlocksResponse>, RpcError> {
    let (request, asked) = requests::authenticate::<pb::BlocksRequest>(node, request)?;
    if request.end != 0 && request.end < request.start {
        let why = "the end lies before the start";
        return Err(RpcError::new(ErrorCode::OutOfRange, why));
    }
    let end = (request.end != 0).then_some(request.end);
    let block = |_, stored: StoredBlock| Ok(vec![block_response(stored)?]);
    follow(
        node,
        &asked,
        request.start,
        end,
        STREAM_BLOCKS,
        Arc::new(block),
    )
}

/// What a stream sends for a block.
type Select<T> = Arc<dyn Fn(BlockNumber, StoredBlock) -> Result<Vec<T>, RpcError> + Send + Sync>;

/// A reader of the ledger and to whom it sends.
struct Stream<T> {
    node: Arc<Node>,
    channel: Arc<Channel>,
    caller: Fingerprint,
    next: u64,
    end: Option<u64>,
    sender: Sender<Result<T, Status>>,
}

fn follow<T: Send + 'static>(
    node: &Arc<Node>,
    asked: &Asked,
    start: u64,
    end: Option<u64>,
    capacity: usize,
    select: Select<T>,
) -> Result<Answers<T>, RpcError> {
    asked.channel.check_sound()?;
    let place = place(&asked.channel)?;
    let (sender, receiver): (_, Receiver<Result<T, Status>>) = buffer(capacity);
    let stream = Stream {
        node: node.clone(),
        channel: asked.channel.clone(),
        caller: asked.caller.fingerprint,
        next: start,
        end,
        sender,
    };
    node.tasks.spawn(async move {
        stream.run(select).await;
        drop(place);
    });
    Ok(ReceiverStream::new(receiver))
}

/// A place among those who wait for what comes.
pub(super) fn place(channel: &Channel) -> Result<OwnedSemaphorePermit, RpcError> {
    let place = channel.streams.clone().try_acquire_owned();
    place.map_err(|_| {
        let why = "too many streams are open on this channel; try again later";
        RpcError::new(ErrorCode::Overloaded, why)
    })
}

impl<T: Send + 'static> Stream<T> {
    async fn run(mut self, select: Select<T>) {
        let sender = self.sender.clone();
        let stop = self.channel.stop.clone();
        let dismissed = Dismissal {
            node: self.node.clone(),
            channel: self.channel.clone(),
            caller: self.caller,
        };
        let error = tokio::select! {
            () = sender.closed() => return,
            () = stop.cancelled() => self.channel.why_stopped(),
            error = dismissed.wait() => error,
            result = self.send_all(select) => match result {
                Ok(()) => return,
                Err(error) => error,
            },
        };
        // Whoever reads too slowly to have room for the reason does without it.
        let _ = sender.try_send(Err(self.node.status(error)));
    }

    async fn send_all(&mut self, select: Select<T>) -> Result<(), RpcError> {
        let mut heads = self.channel.heads();
        while self.end.is_none_or(|end| self.next < end) {
            let next = self.next;
            if heads.wait_for(|head| head.height > next).await.is_err() {
                return Ok(());
            }
            self.check_permission()?;
            for item in self.read(BlockNumber(next), select.clone()).await? {
                if self.sender.send(Ok(item)).await.is_err() {
                    return Ok(());
                }
            }
            self.next += 1;
        }
        Ok(())
    }

    /// Whether the caller may still read: a certificate can expire meanwhile.
    fn check_permission(&self) -> Result<(), RpcError> {
        self.channel.check_sound()?;
        self.channel
            .identity(&self.caller, self.node.clock.now_ms())
            .map(drop)
    }

    async fn read(&self, number: BlockNumber, select: Select<T>) -> Result<Vec<T>, RpcError> {
        let channel = self.channel.clone();
        let read = move || {
            let stored = channel.ledger().block(number).map_err(answer::store)?;
            let stored = stored.ok_or_else(|| {
                RpcError::new(
                    ErrorCode::OutOfRange,
                    format!("block {number} is not kept here"),
                )
            })?;
            select(number, stored)
        };
        tokio::task::spawn_blocking(read)
            .await
            .map_err(|_| answer::fallen())?
    }
}

/// Ends a stream whose reader the configuration does not admit any more, wherever it stands: also
/// one that reads too slowly to ask for the next block.
struct Dismissal {
    node: Arc<Node>,
    channel: Arc<Channel>,
    caller: Fingerprint,
}

impl Dismissal {
    async fn wait(self) -> RpcError {
        let mut memberships = self.channel.memberships();
        loop {
            let now_ms = self.node.clock.now_ms();
            if let Err(error) = self.channel.identity(&self.caller, now_ms) {
                return error;
            }
            if memberships.changed().await.is_err() {
                // The channel is gone, and with it the stream.
                std::future::pending::<()>().await;
            }
        }
    }
}

fn decode(stored: &StoredBlock) -> Result<pb::Block, RpcError> {
    pb::Block::decode(stored.block.clone())
        .map_err(|_| RpcError::new(ErrorCode::Damaged, "a stored block cannot be decoded"))
}

fn block_response(stored: StoredBlock) -> Result<pb::BlocksResponse, RpcError> {
    Ok(pb::BlocksResponse {
        block: Some(decode(&stored)?),
        codes: stored.codes.iter().map(|code| *code as u8).collect(),
        state_hash: stored.state_hash.to_bytes(),
    })
}

fn events_of(
    number: BlockNumber,
    stored: StoredBlock,
    contract: &ContractName,
    after: Option<&pb::Checkpoint>,
) -> Result<Vec<pb::EventsResponse>, RpcError> {
    let block = decode(&stored)?;
    let time_ms = pb::BlockHeader::decode(block.header.clone()).map_or(0, |header| header.time_ms);
    let mut events = Vec::new();
    for (index, (envelope, code)) in (0..).zip(block.envelopes.into_iter().zip(&stored.codes)) {
        if *code != ValidationCode::Valid {
            continue;
        }
        let Ok(Envelope {
            body: Body::Transaction(transaction),
            ..
        }) = Envelope::decode(envelope)
        else {
            continue;
        };
        if transaction.proposal.contract == *contract {
            events.extend(events_of_transaction(number, index, time_ms, *transaction));
        }
    }
    events.retain(|event| is_after(event.checkpoint.as_ref(), after));
    Ok(events)
}

fn events_of_transaction(
    number: BlockNumber,
    transaction: u32,
    time_ms: u64,
    body: Transaction,
) -> impl Iterator<Item = pb::EventsResponse> {
    let id = body.proposal.header.id();
    (0..)
        .zip(body.result.events)
        .map(move |(event, found)| pb::EventsResponse {
            checkpoint: Some(pb::Checkpoint {
                block: number.0,
                transaction,
                event,
            }),
            transaction_id: id.to_bytes(),
            name: found.name,
            payload: found.payload,
            time_ms,
        })
}

fn is_after(event: Option<&pb::Checkpoint>, after: Option<&pb::Checkpoint>) -> bool {
    let place =
        |checkpoint: &pb::Checkpoint| (checkpoint.block, checkpoint.transaction, checkpoint.event);
    after.is_none_or(|after| event.map(place) > Some(place(after)))
}

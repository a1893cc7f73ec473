//! Fetches the blocks of a channel from its orderers and commits them.

use std::sync::Arc;

use stela_protocol::config::Orderer;
use stela_protocol::limits::ORDERERS_MAX;
use stela_protocol::{RpcError, pb};
use tokio_util::sync::CancellationToken;
use tonic::Streaming;

use crate::backoff::BackOff;
use crate::channel::{Channel, NotTaken};
use crate::limits::{BACK_OFF_MAX, BACK_OFF_MIN, DELIVER_IDLE, DELIVER_TIMEOUT};
use crate::membership::Membership;
use crate::remotes::{Remotes, Target, within};

/// Why one orderer was left for the next.
#[derive(Debug, thiserror::Error)]
enum Left {
    #[error("this peer is stopping")]
    Stopping,
    /// It had nothing new for a while, which also looks so when it is cut off.
    #[error("it had no new block for {} seconds", DELIVER_IDLE.as_secs())]
    Idle,
    #[error("it ended the stream")]
    Ended,
    #[error("the configuration does not name it any more as it did")]
    Replaced,
    #[error("{0}")]
    Failed(#[from] RpcError),
    #[error(transparent)]
    NotTaken(#[from] NotTaken),
    #[error("the thread that committed a block fell")]
    Fallen(#[from] tokio::task::JoinError),
}

impl Left {
    /// What must not happen to a ledger: the node has to end.
    fn is_fatal(&self) -> bool {
        match self {
            Self::NotTaken(NotTaken::Store(error)) => !error.is_retryable(),
            Self::Fallen(_) => true,
            _ => false,
        }
    }
}

/// Follows the channel until it is told to stop.
///
/// # Errors
/// When a block could not be committed, why: then the node has to end.
pub(crate) async fn run(
    channel: Arc<Channel>,
    remotes: &Remotes,
    stop: &CancellationToken,
) -> Result<(), String> {
    let mut turn = rand::random_range(0..ORDERERS_MAX);
    let mut back_off = BackOff::new(BACK_OFF_MIN, BACK_OFF_MAX);
    loop {
        let orderer = &orderer_at(&channel.membership(), turn);
        let before = channel.ledger().head().height;
        let left = follow(&channel, remotes, orderer, stop).await;
        if left.is_fatal() {
            return Err(format!("channel {}: {left}", channel.id()));
        }
        if matches!(left, Left::Stopping) {
            return Ok(());
        }
        report(&channel, orderer, &left);
        turn += 1;
        if matches!(left, Left::Idle | Left::Replaced) || channel.ledger().head().height > before {
            back_off.reset();
        } else {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = back_off.wait() => {}
            }
        }
    }
}

/// Whose turn it is; a configuration has at least one orderer.
fn orderer_at(membership: &Membership, turn: usize) -> Orderer {
    let orderers = &membership.config().orderers;
    let mut turns = orderers.values().cycle().skip(turn % orderers.len());
    turns.next().expect("there is an orderer").clone()
}

fn report(channel: &Channel, orderer: &Orderer, left: &Left) {
    let (channel, id, organization) = (channel.id(), orderer.id, &orderer.organization);
    match left {
        Left::Idle | Left::Replaced => {
            tracing::debug!(%channel, orderer = id, %organization, "{left}")
        }
        Left::NotTaken(NotTaken::Refused(_)) => {
            tracing::error!(%channel, orderer = id, %organization, "left an orderer: {left}");
        }
        _ => tracing::warn!(%channel, orderer = id, %organization, "left an orderer: {left}"),
    }
}

/// Takes blocks from one orderer for as long as it sends acceptable ones. A commit that has begun
/// is never left alone.
async fn follow(
    channel: &Arc<Channel>,
    remotes: &Remotes,
    orderer: &Orderer,
    stop: &CancellationToken,
) -> Left {
    let opened = tokio::select! {
        () = stop.cancelled() => return Left::Stopping,
        opened = open(channel, remotes, orderer) => opened,
    };
    let mut stream = match opened {
        Ok(stream) => stream,
        Err(error) => return Left::Failed(error),
    };
    loop {
        let message = tokio::select! {
            () = stop.cancelled() => return Left::Stopping,
            message = next(&mut stream) => message,
        };
        let taken = match message {
            Ok(message) => take(channel.clone(), message).await,
            Err(left) => Err(left),
        };
        if let Err(left) = taken {
            return left;
        }
        let membership = channel.membership();
        let now = membership.config().orderers.get(&orderer.id);
        if now.map(Target::orderer) != Some(Target::orderer(orderer)) {
            return Left::Replaced;
        }
    }
}

async fn next(stream: &mut Streaming<pb::Block>) -> Result<pb::Block, Left> {
    match tokio::time::timeout(DELIVER_IDLE, stream.message()).await {
        Err(_) => Err(Left::Idle),
        Ok(Err(status)) => Err(Left::Failed(status.into())),
        Ok(Ok(None)) => Err(Left::Ended),
        Ok(Ok(Some(block))) => Ok(block),
    }
}

async fn open(
    channel: &Channel,
    remotes: &Remotes,
    orderer: &Orderer,
) -> Result<Streaming<pb::Block>, RpcError> {
    let mut client = remotes.deliver(&Target::orderer(orderer))?;
    let start = channel.ledger().head().height;
    let request = pb::DeliverRequest {
        channel: channel.id().to_string(),
        start,
    };
    within(DELIVER_TIMEOUT, client.deliver(request)).await
}

async fn take(channel: Arc<Channel>, message: pb::Block) -> Result<(), Left> {
    let work = move || {
        let block = channel.take(message)?;
        tracing::debug!(
            channel = %channel.id(), block = %block.header.number,
            transactions = block.envelopes.len(), "committed"
        );
        Ok(())
    };
    tokio::task::spawn_blocking(work).await?
}

//! What became of a transaction, and how far the channel has come.

use std::time::Duration;

use stela_identity::Identity;
use stela_protocol::limits::KEY_HISTORY_MAX;
use stela_protocol::{ContractName, ErrorCode, RpcError, TransactionId, key, pb};
use stela_store::{HistoryEntry, LedgerRead, TransactionRecord};
use tonic::Request;

use super::events as streams;
use crate::answer;
use crate::channel::Channel;
use crate::limits::COMMIT_WAIT_MS_MAX;
use crate::node::Node;
use crate::notify::Waiter;
use crate::requests;

/// The verdict on a transaction, as soon as it is committed here, which is durable on a quorum of
/// the orderers.
pub(crate) async fn commit_status(
    node: &Node,
    request: Request<pb::SignedBytes>,
) -> Result<pb::CommitStatusResponse, RpcError> {
    let (request, asked) = requests::authenticate::<pb::CommitStatusRequest>(node, request)?;
    let id = TransactionId::from_slice(&request.transaction_id).map_err(answer::bad_id)?;
    let channel = &asked.channel;
    channel.check_sound()?;
    let waiter = match request.wait_ms {
        0 => None,
        _ => Some(channel.waiters().register(id).ok_or_else(overloaded)?),
    };
    if let Some(record) = channel.ledger().transaction(&id).map_err(answer::store)? {
        return Ok(response(record));
    }
    let Some(mut waiter) = waiter else {
        let why = format!("no transaction {id} is committed here yet");
        return Err(RpcError::new(ErrorCode::UnknownTransaction, why));
    };
    let wait_ms = request.wait_ms.min(COMMIT_WAIT_MS_MAX);
    let committed = committed(node, channel, &asked.caller, &mut waiter, wait_ms).await?;
    committed.ok_or_else(|| {
        let why = format!("transaction {id} was not committed here within {wait_ms} ms");
        RpcError::new(ErrorCode::Timeout, why)
    })
}

/// What became of the transaction that `caller` waits for; nothing when the time is up.
pub(super) async fn committed(
    node: &Node,
    channel: &Channel,
    caller: &Identity,
    waiter: &mut Waiter,
    wait_ms: u32,
) -> Result<Option<pb::CommitStatusResponse>, RpcError> {
    let wait = Duration::from_millis(wait_ms.into());
    let committed = tokio::select! {
        committed = tokio::time::timeout(wait, waiter.committed()) => committed,
        () = channel.stop.cancelled() => return Err(channel.why_stopped()),
    };
    let Ok(Some(record)) = committed else {
        return Ok(None);
    };
    // The block, or one before it, may have shut her out.
    channel.identity(&caller.fingerprint, node.clock.now_ms())?;
    Ok(Some(response(record)))
}

pub(super) fn overloaded() -> RpcError {
    let why = "too many requests wait for transactions; try again later";
    RpcError::new(ErrorCode::Overloaded, why)
}

fn response(record: TransactionRecord) -> pb::CommitStatusResponse {
    pb::CommitStatusResponse {
        code: record.code as u32,
        block: record.height.block,
        transaction: record.height.transaction,
        time_ms: record.time_ms,
    }
}

/// The height, hashes and configuration of the channel here; on demand not before the configuration
/// has changed, or the time is up.
pub(super) async fn channel_info(
    node: &Node,
    request: Request<pb::SignedBytes>,
) -> Result<pb::ChannelInfoResponse, RpcError> {
    let (request, asked) = requests::authenticate::<pb::ChannelInfoRequest>(node, request)?;
    if request.wait_ms > 0 {
        let _place = streams::place(&asked.channel)?;
        let wait = Duration::from_millis(request.wait_ms.min(COMMIT_WAIT_MS_MAX).into());
        let mut memberships = asked.channel.memberships();
        let newer = memberships.wait_for(|now| now.config().sequence > request.sequence);
        tokio::select! {
            // Whoever waited in vain is told what is in force, too.
            _ = tokio::time::timeout(wait, newer) => {}
            () = node.stop.cancelled() => {
                return Err(RpcError::new(ErrorCode::Unavailable, "this peer is stopping"));
            }
        }
        let now_ms = node.clock.now_ms();
        asked.channel.identity(&asked.caller.fingerprint, now_ms)?;
    }
    let head = asked.channel.ledger().head();
    Ok(pb::ChannelInfoResponse {
        height: head.height,
        header_hash: head.header_hash.to_bytes(),
        state_hash: head.state_hash.to_bytes(),
        config: asked.channel.membership().bytes().clone(),
    })
}

/// Which transactions changed a key. Whoever may read the blocks may ask.
pub(super) fn key_history(
    node: &Node,
    request: Request<pb::SignedBytes>,
) -> Result<pb::KeyHistoryResponse, RpcError> {
    let (request, asked) = requests::authenticate::<pb::KeyHistoryRequest>(node, request)?;
    asked.channel.check_sound()?;
    let contract = ContractName::new(&request.contract).map_err(answer::bad_id)?;
    key::check(&request.key)
        .map_err(|error| RpcError::new(ErrorCode::Malformed, error.to_string()))?;
    let limit = request.limit as usize;
    if !(1..=KEY_HISTORY_MAX).contains(&limit) {
        let why = format!("1 to {KEY_HISTORY_MAX} changes of a key are told at once");
        return Err(RpcError::new(ErrorCode::OutOfRange, why));
    }
    let before = request.before.map(Into::into);
    let found = asked
        .channel
        .ledger()
        .history(&contract, &request.key, before, limit)
        .map_err(answer::store)?;
    let change = |entry: HistoryEntry| pb::KeyChange {
        height: Some(entry.height.into()),
        transaction_id: entry.transaction.to_bytes(),
        deleted: entry.deleted,
    };
    Ok(pb::KeyHistoryResponse {
        changes: found.into_iter().map(change).collect(),
    })
}

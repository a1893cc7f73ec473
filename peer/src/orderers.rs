//! Hands envelopes to the orderers of a channel.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use stela_protocol::pb::{self, Procedure};
use stela_protocol::{ErrorCode, RpcError};

use crate::channel::Channel;
use crate::limits::BROADCAST_TIMEOUT;
use crate::remotes::{Remotes, Target, another_may, in_time};

/// Which orderer is asked first: the one that took the last envelope.
#[derive(Debug, Default)]
pub(crate) struct Preferred(AtomicUsize);

/// Hands an envelope to the first orderer that takes it. An orderer that does not answer may have
/// taken it all the same, which is harmless: the same envelope counts once.
///
/// # Errors
/// What an orderer refused it for, the last one if another could have taken it;
/// `OrdererUnavailable` when none could be asked.
pub(crate) async fn broadcast(
    remotes: &Remotes,
    preferred: &Preferred,
    channel: &Channel,
    envelope: Bytes,
) -> Result<(), RpcError> {
    let orderers: Vec<Target> = channel
        .membership()
        .config()
        .orderers
        .values()
        .map(Target::orderer)
        .collect();
    let first = preferred.0.load(Ordering::Relaxed);
    let mut failures = Vec::new();
    let mut refused = None;
    for attempt in 0..orderers.len() {
        let index = (first + attempt) % orderers.len();
        let target = &orderers[index];
        match send(remotes, target, channel, envelope.clone()).await {
            Ok(()) => {
                preferred.0.store(index, Ordering::Relaxed);
                return Ok(());
            }
            Err(error) if another_may(error.code) => {
                failures.push(format!("{}: {error}", target.address));
            }
            Err(error) if may_be_alone(error.code) => refused = Some(error),
            Err(error) => return Err(error),
        }
    }
    if let Some(error) = refused {
        return Err(error);
    }
    let why = format!("no orderer took the envelope; {}", failures.join("; "));
    Err(RpcError::new(ErrorCode::OrdererUnavailable, why))
}

/// Whether an orderer may refuse for a reason that other orderers do not have: it is behind and
/// does not know a fresh certificate or configuration yet, or its clock is wrong.
fn may_be_alone(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::UnknownIdentity
            | ErrorCode::Expired
            | ErrorCode::Forbidden
            | ErrorCode::ConfigRefused
    )
}

async fn send(
    remotes: &Remotes,
    target: &Target,
    channel: &Channel,
    envelope: Bytes,
) -> Result<(), RpcError> {
    let calls = remotes.calls(target)?;
    let request = pb::BroadcastRequest {
        channel: channel.id().to_string(),
        envelope,
    };
    let call = calls.call(Procedure::Broadcast, &request);
    let _: pb::BroadcastResponse = in_time(BROADCAST_TIMEOUT, call).await?;
    Ok(())
}

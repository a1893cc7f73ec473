//! Hands envelopes to the orderers of a channel.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use stela_protocol::{ErrorCode, RpcError, pb};

use crate::channel::Channel;
use crate::limits::BROADCAST_TIMEOUT;
use crate::remotes::{Remotes, Target, another_may, within};

/// Which orderer is asked first: the one that took the last envelope.
#[derive(Debug, Default)]
pub(crate) struct Preferred(AtomicUsize);

/// Hands an envelope to the first orderer that takes it. An orderer that does not answer may have
/// taken it all the same, which is harmless: the same envelope counts once.
///
/// # Errors
/// What an orderer refused it for; `OrdererUnavailable` when none could be asked.
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
    let mut unknown = None;
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
            // An orderer that is behind does not know a fresh certificate yet.
            Err(error) if error.code == ErrorCode::UnknownIdentity => unknown = Some(error),
            Err(error) => return Err(error),
        }
    }
    if let Some(error) = unknown {
        return Err(error);
    }
    let why = format!("no orderer took the envelope; {}", failures.join("; "));
    Err(RpcError::new(ErrorCode::OrdererUnavailable, why))
}

async fn send(
    remotes: &Remotes,
    target: &Target,
    channel: &Channel,
    envelope: Bytes,
) -> Result<(), RpcError> {
    let mut client = remotes.broadcast(target)?;
    let request = pb::BroadcastRequest {
        channel: channel.id().to_string(),
        envelope,
    };
    within(BROADCAST_TIMEOUT, client.broadcast(request))
        .await
        .map(drop)
}

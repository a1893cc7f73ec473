//! Makes this peer's own certificate known to a channel, so that its endorsements count.

use bytes::Bytes;
use stela_protocol::hash::domain;
use stela_protocol::transaction::{self, Registration, Signed, TransactionHeader};
use stela_protocol::{ErrorCode, Nonce, RpcError};
use stela_store::LedgerRead;

use crate::backoff::BackOff;
use crate::channel::Channel;
use crate::limits::{BACK_OFF_MAX, BACK_OFF_MIN, REGISTRATION_WAIT};
use crate::node::Node;
use crate::orderers;

/// Registers until the channel knows the certificate, or the node stops.
pub(crate) async fn run(node: &Node, channel: &Channel) {
    tokio::select! {
        () = channel.stop.cancelled() => {}
        () = register(node, channel) => {}
    }
}

async fn register(node: &Node, channel: &Channel) {
    let mut back_off = BackOff::new(BACK_OFF_MIN, BACK_OFF_MAX);
    loop {
        match is_known(node, channel) {
            Ok(true) => return,
            Ok(false) => {}
            Err(error) => tracing::error!(channel = %channel.id(), "{error}"),
        }
        match send(node, channel).await {
            Ok(()) => back_off.reset(),
            Err(error) => tracing::warn!(
                channel = %channel.id(), "this peer's certificate is not registered yet: {error}"
            ),
        }
        back_off.wait().await;
    }
}

/// Whether the channel knows this node's certificate.
fn is_known(node: &Node, channel: &Channel) -> Result<bool, RpcError> {
    let own = node.credentials.fingerprint();
    let found = channel
        .ledger()
        .certificate(&own)
        .map_err(crate::answer::store)?;
    Ok(found.is_some())
}

/// Sends a registration and waits for a while until it is committed.
async fn send(node: &Node, channel: &Channel) -> Result<(), RpcError> {
    let header = TransactionHeader {
        channel: channel.id().clone(),
        nonce: Nonce(rand::random()),
        creator: node.credentials.fingerprint(),
        timestamp_ms: node.clock.now_ms(),
    };
    let id = header.id();
    let waiter = channel.waiters().register(id);
    let sent = orderers::broadcast(
        &node.remotes,
        &node.orderers,
        channel,
        envelope(node, header),
    )
    .await;
    match sent {
        Err(error) if error.code != ErrorCode::Replayed => return Err(error),
        _ => {}
    }
    let Some(mut waiter) = waiter else {
        return Ok(());
    };
    match tokio::time::timeout(REGISTRATION_WAIT, waiter.committed()).await {
        Ok(Some(record)) if !record.code.is_valid() => {
            let why = format!("the registration was committed as {}", record.code);
            Err(RpcError::new(ErrorCode::Forbidden, why))
        }
        _ => Ok(()),
    }
}

fn envelope(node: &Node, header: TransactionHeader) -> Bytes {
    let certificate = node.credentials.certificate.der().clone();
    let bytes = transaction::registration_payload(&Registration {
        header,
        certificate,
    });
    let signature = node.credentials.sign(domain::ENVELOPE, &bytes);
    transaction::envelope(Signed { bytes, signature })
}

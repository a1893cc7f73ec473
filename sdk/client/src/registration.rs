//! Making a certificate known to a channel.

use std::time::Duration;

use bytes::Bytes;
use stela_protocol::hash::domain;
use stela_protocol::transaction::{Registration, envelope, registration_payload};
use stela_protocol::{ErrorCode, TransactionId};

use crate::back_off::{BackOff, Deadline};
use crate::error::{QueryError, RegisterError};
use crate::network::Network;
use crate::transaction;

/// How a certificate came to be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Registered {
    /// By this registration.
    Now(TransactionId),
    /// It was known before.
    Before,
}

/// Registers the gateway's certificate. A peer answers "unknown identity" to a signed request
/// until it knows the certificate, so asking for the channel's state tells both before and after.
pub(crate) async fn register(
    network: &Network,
    limit: Duration,
) -> Result<Registered, RegisterError> {
    let deadline = Deadline::after(limit);
    let mut back_off = BackOff::default();
    if is_known(network, &deadline, &mut back_off).await? {
        return Ok(Registered::Before);
    }
    let (id, envelope) = make(network);
    loop {
        submit(network, id, &envelope, &deadline).await?;
        let resubmit = Deadline::after(network.inner.timeouts.resubmit);
        let mut back_off = BackOff::default();
        while !resubmit.has_passed() {
            if is_known(network, &deadline, &mut back_off).await? {
                return Ok(Registered::Now(id));
            }
            if deadline.has_passed() {
                return Err(RegisterError::Deadline {
                    transaction: id,
                    limit_ms: deadline.limit_ms(),
                });
            }
            deadline.pause(&mut back_off).await;
        }
    }
}

/// Whether the peer knows the certificate; asks again while it cannot say.
async fn is_known(
    network: &Network,
    deadline: &Deadline,
    back_off: &mut BackOff,
) -> Result<bool, RegisterError> {
    loop {
        match network.info().await {
            Ok(_) => return Ok(true),
            Err(QueryError::Rpc { source, .. }) if source.code == ErrorCode::UnknownIdentity => {
                return Ok(false);
            }
            Err(error) if error.is_retryable() && !deadline.has_passed() => {
                deadline.pause(back_off).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn make(network: &Network) -> (TransactionId, Bytes) {
    let signer = &network.inner.signer;
    let header = signer.header(&network.channel);
    let id = header.id();
    let certificate = signer.credentials.certificate.der().clone();
    let payload = registration_payload(&Registration {
        header,
        certificate,
    });
    (id, envelope(signer.sign(domain::ENVELOPE, payload)))
}

async fn submit(
    network: &Network,
    id: TransactionId,
    envelope: &Bytes,
    deadline: &Deadline,
) -> Result<(), RegisterError> {
    let mut back_off = BackOff::default();
    loop {
        match transaction::submit(network, id, envelope, Duration::ZERO).await {
            Err(error) if error.is_retryable() && !deadline.has_passed() => {
                deadline.pause(&mut back_off).await;
            }
            answer => return Ok(answer.map(drop)?),
        }
    }
}

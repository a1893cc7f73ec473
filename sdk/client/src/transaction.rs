//! An endorsed and signed call, ready to be ordered.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use stela_protocol::hash::domain;
use stela_protocol::pb::{self, Procedure};
use stela_protocol::transaction::{self, Body, Envelope, TransactionError, transaction_payload};
use stela_protocol::{ErrorCode, RpcError, TransactionId};

use crate::back_off::{BackOff, Deadline};
use crate::commit::{Commit, CommitStatus, is_pending};
use crate::endpoints::{in_time, is_elsewhere};
use crate::error::{CommitError, EndorseError, SubmitError};
use crate::network::Network;
use crate::proposal::Proposal;

/// An endorsed call with its creator's signature. Cheap to clone.
#[derive(Clone)]
pub struct Transaction {
    network: Network,
    id: TransactionId,
    response: Bytes,
    envelope: Bytes,
}

impl Transaction {
    /// Signs what the gateway answered to `proposal`, if it is well formed.
    pub(crate) fn from_answer(
        proposal: &Proposal,
        answer: pb::EndorseResponse,
    ) -> Result<Self, EndorseError> {
        let (id, network) = (proposal.id(), proposal.network.clone());
        let bytes = proposal.signed.bytes.clone();
        let payload = transaction_payload(bytes, answer.result, answer.endorsements);
        let envelope = transaction::envelope(network.inner.signer.sign(domain::ENVELOPE, payload));
        let format = |source| EndorseError::Format {
            transaction: id,
            source,
        };
        let parsed = Envelope::decode(envelope.clone()).map_err(format)?;
        let Body::Transaction(parsed) = parsed.body else {
            return Err(format(TransactionError::Missing("transaction")));
        };
        check_endorsements(id, &parsed)?;
        Ok(Self {
            network,
            id,
            response: parsed.result.response,
            envelope,
        })
    }

    pub(crate) fn from_envelope(network: Network, envelope: Bytes) -> Result<Self, EndorseError> {
        let refuse = |why: String| EndorseError::Envelope(why);
        let parsed =
            Envelope::decode(envelope.clone()).map_err(|error| refuse(error.to_string()))?;
        let Body::Transaction(parsed) = parsed.body else {
            return Err(refuse("it carries no call of a contract".to_owned()));
        };
        let header = &parsed.proposal.header;
        if header.channel != network.channel {
            return Err(refuse(format!("it is for channel {}", header.channel)));
        }
        Ok(Self {
            network,
            id: header.id(),
            response: parsed.result.response,
            envelope,
        })
    }

    /// The transaction's id.
    pub fn id(&self) -> TransactionId {
        self.id
    }

    /// What the function answered. It counts once the transaction is committed and valid.
    pub fn response(&self) -> &Bytes {
        &self.response
    }

    /// The response, read as JSON.
    ///
    /// # Errors
    /// When it is something else.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.response)
    }

    /// What is ordered, byte for byte. Whoever keeps it can submit it again after a crash.
    pub fn envelope_bytes(&self) -> &Bytes {
        &self.envelope
    }

    /// Hands the envelope to an orderer. Success means enqueued, not committed; repeating it is
    /// safe.
    ///
    /// # Errors
    /// [`SubmitError`] when no endpoint took it.
    pub async fn submit(&self) -> Result<Commit, SubmitError> {
        submit(&self.network, self.id, &self.envelope, Duration::ZERO).await?;
        Ok(self.network.commit(self.id))
    }

    /// Hands the envelope to an orderer, and waits at the gateway for the verdict. Nothing when none
    /// was seen there within `wait`: then it is enqueued, and may be committed later.
    ///
    /// # Errors
    /// [`CommitError`] when no endpoint took it, or the verdict is none that this program knows. Nothing
    /// is tried again.
    pub async fn submit_once(&self, wait: Duration) -> Result<Option<CommitStatus>, CommitError> {
        let told = submit(&self.network, self.id, &self.envelope, wait).await?;
        told.map(|told| self.network.commit(self.id).check(told))
            .transpose()
    }

    /// Submits and waits for the verdict; when none is seen for a while
    /// ([`Timeouts::resubmit`](crate::Timeouts::resubmit)), submits the identical envelope again,
    /// until the deadline.
    ///
    /// # Errors
    /// [`CommitError`] when the envelope is refused or no verdict is seen. An invalid transaction
    /// is a verdict, not an error.
    pub async fn submit_and_wait(&self, deadline: Duration) -> Result<CommitStatus, CommitError> {
        submit_and_wait(&self.network, self.id, &self.envelope, deadline).await
    }
}

impl fmt::Debug for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// Submits an envelope, again and again if need be, until a verdict is seen.
pub(crate) async fn submit_and_wait(
    network: &Network,
    id: TransactionId,
    envelope: &Bytes,
    deadline: Duration,
) -> Result<CommitStatus, CommitError> {
    let deadline = Deadline::after(deadline);
    let mut back_off = BackOff::default();
    let mut enqueued = false;
    loop {
        let resubmit = Deadline::after(deadline.remaining().min(network.inner.timeouts.resubmit));
        let wait = resubmit.remaining().min(network.inner.timeouts.commit_poll);
        match submit(network, id, envelope, wait).await {
            Ok(Some(status)) => return network.commit(id).check(status),
            Ok(None) => enqueued = true,
            // Once enqueued it may be committed, whatever is said about it later.
            Err(error) if !enqueued && !error.is_retryable() => return Err(error.into()),
            Err(error) if deadline.has_passed() => return Err(error.into()),
            Err(error) => {
                tracing::debug!(%error, "submitting again");
                enqueued |= is_pending(&error.source);
                deadline.pause(&mut back_off).await;
            }
        }
        // What nobody is known to have taken is asked for, but not waited for.
        let patience = match enqueued {
            true => resubmit.remaining(),
            false => Duration::ZERO,
        };
        match network.commit(id).status(patience).await {
            Err(CommitError::Deadline { .. }) if !deadline.has_passed() => {
                tracing::debug!(transaction = %id, "no verdict yet");
            }
            Err(CommitError::Deadline {
                transaction, last, ..
            }) => {
                let limit_ms = deadline.limit_ms();
                return Err(CommitError::Deadline {
                    transaction,
                    limit_ms,
                    last,
                });
            }
            answer => return answer,
        }
    }
}

fn check_endorsements(
    id: TransactionId,
    transaction: &transaction::Transaction,
) -> Result<(), EndorseError> {
    let endorsers: BTreeSet<_> = transaction
        .endorsements
        .iter()
        .map(|e| e.endorser)
        .collect();
    if endorsers.is_empty() {
        return Err(EndorseError::Unendorsed { transaction: id });
    }
    if endorsers.len() < transaction.endorsements.len() {
        return Err(EndorseError::Duplicate { transaction: id });
    }
    Ok(())
}

/// Hands an envelope to the first endpoint that takes it, and returns the verdict if the endpoint
/// sees one within `wait`. That it was seen before is a success: whatever becomes of it, it is this
/// very envelope.
pub(crate) async fn submit(
    network: &Network,
    id: TransactionId,
    envelope: &Bytes,
    wait: Duration,
) -> Result<Option<pb::CommitStatusResponse>, SubmitError> {
    let inner = &network.inner;
    let answer = inner
        .endpoints
        .call(is_elsewhere, |client| async move {
            let channel = network.channel.to_string();
            let request = pb::SubmitRequest {
                channel,
                envelope: envelope.clone(),
                wait_ms: u32::try_from(wait.as_millis()).unwrap_or(u32::MAX),
            };
            let call = client.calls.call(Procedure::GatewaySubmit, &request);
            in_time::<pb::SubmitResponse>(inner.timeouts.submit + wait, call).await
        })
        .await;
    match answer {
        Ok(answer) => Ok(answer.status),
        Err(RpcError {
            code: ErrorCode::Replayed,
            ..
        }) => Ok(None),
        Err(source) => Err(SubmitError {
            transaction: id,
            source,
        }),
    }
}

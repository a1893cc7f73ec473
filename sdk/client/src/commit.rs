//! The verdict on a transaction.

use std::fmt;
use std::time::Duration;

use stela_protocol::pb::{self, Procedure};
use stela_protocol::{BlockNumber, ErrorCode, RpcError, TransactionId, ValidationCode};

use crate::back_off::{BackOff, Deadline};
use crate::endpoints::{in_time, is_elsewhere};
use crate::error::{CommitError, InvalidTransaction};
use crate::limits::ANSWER_GRACE;
use crate::network::Network;

/// A transaction that was handed in, by whomever. Cheap to clone.
#[derive(Clone)]
pub struct Commit {
    network: Network,
    transaction: TransactionId,
}

/// Where, when and how a transaction was committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommitStatus {
    /// The transaction.
    pub transaction: TransactionId,
    /// The verdict, the same on every peer.
    pub code: ValidationCode,
    /// The block it stands in.
    pub block: BlockNumber,
    /// Its index in the block.
    pub index: u32,
    /// The block's time, in milliseconds since the Unix epoch.
    pub time_ms: u64,
}

impl CommitStatus {
    /// The same, if the transaction took effect.
    ///
    /// # Errors
    /// [`InvalidTransaction`] with the verdict.
    pub fn valid(self) -> Result<Self, InvalidTransaction> {
        let Self {
            transaction,
            code,
            block,
            ..
        } = self;
        if code.is_valid() {
            Ok(self)
        } else {
            Err(InvalidTransaction {
                transaction,
                code,
                block,
            })
        }
    }
}

impl Commit {
    pub(crate) fn new(network: Network, transaction: TransactionId) -> Self {
        Self {
            network,
            transaction,
        }
    }

    /// The transaction's id.
    pub fn transaction(&self) -> TransactionId {
        self.transaction
    }

    /// Waits for the verdict until the deadline (a peer that hangs may cost a moment more). Peers
    /// that cannot be reached are made up for by others, and asked again while there is time.
    ///
    /// # Errors
    /// [`CommitError`] when none was given in time, or the peer refuses to say.
    pub async fn status(&self, deadline: Duration) -> Result<CommitStatus, CommitError> {
        let deadline = Deadline::after(deadline);
        let (mut back_off, endpoints) = (BackOff::default(), &self.network.inner.endpoints);
        loop {
            let wait = deadline
                .remaining()
                .min(self.network.inner.timeouts.commit_poll);
            let error = match self.ask(wait).await {
                Ok(answer) => return self.check(answer),
                Err(error) => error,
            };
            if is_pending(&error) {
                // The peer is well; waiting longer and longer would only delay the answer. It may be
                // behind, though, so the next one is asked elsewhere.
                back_off.reset();
                endpoints.avoid(endpoints.pick().0);
            } else if !error.is_retryable() && !is_elsewhere(&error) {
                return Err(CommitError::Rpc {
                    transaction: self.transaction,
                    source: error,
                });
            }
            if deadline.has_passed() {
                return Err(self.too_late(&deadline, error));
            }
            deadline.pause(&mut back_off).await;
        }
    }

    async fn ask(&self, wait: Duration) -> Result<pb::CommitStatusResponse, RpcError> {
        let (inner, channel) = (&self.network.inner, &self.network.channel);
        let is_elsewhere = |error: &RpcError| !is_pending(error) && is_elsewhere(error);
        inner
            .endpoints
            .call(is_elsewhere, |client| async move {
                let request = pb::CommitStatusRequest {
                    header: Some(inner.signer.request_header(channel, "CommitStatus")),
                    transaction_id: self.transaction.to_bytes(),
                    wait_ms: u32::try_from(wait.as_millis()).unwrap_or(u32::MAX),
                };
                let request = inner.signer.request(&request);
                let call = client.calls.call(Procedure::GatewayCommitStatus, &request);
                in_time(wait + ANSWER_GRACE, call).await
            })
            .await
    }

    pub(crate) fn check(
        &self,
        answer: pb::CommitStatusResponse,
    ) -> Result<CommitStatus, CommitError> {
        let transaction = self.transaction;
        let code = ValidationCode::try_from(answer.code).map_err(|source| CommitError::Code {
            transaction,
            source,
        })?;
        Ok(CommitStatus {
            transaction,
            code,
            block: BlockNumber(answer.block),
            index: answer.transaction,
            time_ms: answer.time_ms,
        })
    }

    fn too_late(&self, deadline: &Deadline, error: RpcError) -> CommitError {
        CommitError::Deadline {
            transaction: self.transaction,
            limit_ms: deadline.limit_ms(),
            last: (!is_pending(&error)).then_some(error),
        }
    }
}

/// Whether a peer said that it has not seen the transaction yet. A time-out that no node signs as
/// its own was found here: that peer did not answer at all.
pub(crate) fn is_pending(error: &RpcError) -> bool {
    match error.code {
        ErrorCode::UnknownTransaction => true,
        ErrorCode::Timeout => !error.origin.is_empty(),
        _ => false,
    }
}

impl fmt::Debug for Commit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Commit")
            .field("transaction", &self.transaction)
            .finish_non_exhaustive()
    }
}

//! Which transactions changed a key.

use bytes::Bytes;
use stela_protocol::limits::KEY_HISTORY_MAX;
use stela_protocol::{ContractName, Height, RpcError, TransactionId, pb};

use crate::endpoints::{is_elsewhere, unary};
use crate::error::QueryError;
use crate::network::Network;

/// One change of a key of a contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyChange {
    /// Where the transaction stands; what it wrote stands in its block.
    pub height: Height,
    /// The transaction.
    pub transaction: TransactionId,
    /// Whether it deleted the key.
    pub deleted: bool,
}

impl Network {
    /// At most `limit` changes of a key, the newest first; with `before` only those before that
    /// place. A peer that lies about them can leave some out or make some up: the block that one
    /// names proves it.
    ///
    /// # Errors
    /// [`QueryError`] when no peer answers, or an answer cannot be used.
    pub async fn key_history(
        &self,
        contract: &ContractName,
        key: &Bytes,
        before: Option<Height>,
        limit: usize,
    ) -> Result<Vec<KeyChange>, QueryError> {
        let limit = limit.clamp(1, KEY_HISTORY_MAX);
        let is_elsewhere = |error: &QueryError| match error {
            QueryError::Rpc { source, .. } => is_elsewhere(source),
            _ => true,
        };
        self.inner
            .endpoints
            .call(is_elsewhere, |mut client| async move {
                let signer = &self.inner.signer;
                let request = pb::KeyHistoryRequest {
                    header: Some(signer.request_header(&self.channel, "KeyHistory")),
                    contract: contract.to_string(),
                    key: key.clone(),
                    before: before.map(Into::into),
                    limit: u32::try_from(limit).unwrap_or(u32::MAX),
                };
                let call = client.gateway.key_history(signer.request(&request));
                let answer = unary(self.inner.timeouts.request, call).await;
                let rpc = |source: RpcError| QueryError::Rpc {
                    channel: self.channel.clone(),
                    source,
                };
                self.check_history(answer.map_err(rpc)?, before, limit)
            })
            .await
    }

    /// Each change lies before the one that was told before it.
    fn check_history(
        &self,
        answer: pb::KeyHistoryResponse,
        before: Option<Height>,
        limit: usize,
    ) -> Result<Vec<KeyChange>, QueryError> {
        let unasked = || QueryError::History {
            channel: self.channel.clone(),
        };
        if answer.changes.len() > limit {
            return Err(unasked());
        }
        let mut before = before;
        let mut changes = Vec::with_capacity(answer.changes.len());
        for change in answer.changes {
            let height = Height::from(change.height.ok_or_else(unasked)?);
            if before.is_some_and(|before| height >= before) {
                return Err(unasked());
            }
            before = Some(height);
            let transaction =
                TransactionId::from_slice(&change.transaction_id).map_err(|source| {
                    QueryError::Format {
                        channel: self.channel.clone(),
                        source,
                    }
                })?;
            changes.push(KeyChange {
                height,
                transaction,
                deleted: change.deleted,
            });
        }
        Ok(changes)
    }
}

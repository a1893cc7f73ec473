//! The state that a contract sees.

use bytes::Bytes;
use stela_protocol::{Height, TransactionId};

/// Why the state could not be read: a failure of this peer, not of the contract.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the state cannot be read: {0}")]
pub struct StateError(pub String);

/// One change of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyVersion {
    /// Where it was changed.
    pub height: Height,
    /// The transaction that did.
    pub transaction: TransactionId,
    /// The time of its block, in milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// What it wrote; nothing when it deleted the key.
    pub value: Option<Bytes>,
}

/// One contract's keys, as they stand after one block.
///
/// The view must not change while an invocation runs.
pub trait StateView: Sync {
    /// The value of a key and where it was last written.
    ///
    /// # Errors
    /// [`StateError`] when this peer cannot read its state.
    fn get(&self, key: &[u8]) -> Result<Option<(Bytes, Height)>, StateError>;

    /// The first `limit` entries with `start <= key < end`, in strictly ascending order of keys.
    ///
    /// # Errors
    /// [`StateError`] when this peer cannot read its state.
    fn range(
        &self,
        start: &[u8],
        end: &[u8],
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes, Height)>, StateError>;

    /// The first `limit` changes of a key, the newest first; with `before` only those before it.
    ///
    /// # Errors
    /// [`StateError`] when this peer cannot read its state.
    fn history(
        &self,
        key: &[u8],
        before: Option<Height>,
        limit: usize,
    ) -> Result<Vec<KeyVersion>, StateError>;
}

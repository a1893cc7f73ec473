//! What can go wrong in a store.

use stela_protocol::{BlockNumber, Hash32};

/// Why a store did not do what it was asked.
///
/// After [`StoreError::Io`], [`StoreError::Full`] or [`StoreError::Stopped`] from a write nothing is
/// known about that write: the process has to end and open the store again, which shows it either
/// whole or not at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The disk or the operating system refused.
    #[error("{operation} failed: {reason}")]
    Io {
        /// What was being done.
        operation: &'static str,
        /// What the system said.
        reason: String,
    },
    /// There is no space left.
    #[error("{operation} failed: no space left on the device; free some and start the node again")]
    Full {
        /// What was being done.
        operation: &'static str,
    },
    /// Another process has the database open.
    #[error("{path} is in use by another process; a node's data belongs to one process at a time")]
    Locked {
        /// The database's folder.
        path: String,
    },
    /// For a moment the store could not.
    #[error("{operation} could not be done now: {reason}")]
    Busy {
        /// What was being done.
        operation: &'static str,
        /// What the store said.
        reason: String,
    },
    /// What was read is not what was written.
    #[error("the stored data is damaged: {what}")]
    Corrupt {
        /// Which datum, without its content.
        what: String,
    },
    /// A column family that was not named when the store was opened.
    #[error("the store has no column family {0:?}")]
    UnknownFamily(String),
    /// More was asked for than one call may ask.
    #[error("{what}: {asked} exceeds the limit of {limit}")]
    Limit {
        /// What was asked for.
        what: &'static str,
        /// How much.
        asked: usize,
        /// How much may be.
        limit: usize,
    },
    /// The data was written by a version of this program that this one does not know.
    #[error("the data has format {found}, this program reads format {expected}")]
    Format {
        /// The version found.
        found: u8,
        /// The version that can be read.
        expected: u8,
    },
    /// The data belongs to another channel.
    #[error("the data belongs to channel {found:?}, not to {expected:?}")]
    Channel {
        /// The channel found.
        found: String,
        /// The channel wanted.
        expected: String,
    },
    /// A block that is not the next one.
    #[error("block {found} cannot be committed, the next one is {expected}")]
    OutOfOrder {
        /// The next block.
        expected: BlockNumber,
        /// The block that came.
        found: BlockNumber,
    },
    /// A block that does not continue this ledger.
    #[error("block {number} continues {found}, but the ledger ends in {expected}")]
    PreviousHash {
        /// The block that came.
        number: BlockNumber,
        /// The hash of the newest header here.
        expected: Hash32,
        /// The hash that the block names.
        found: Hash32,
    },
    /// A commit whose parts contradict one another.
    #[error("the commit of block {number} contradicts itself: {what}")]
    Inconsistent {
        /// The block.
        number: BlockNumber,
        /// The contradiction.
        what: &'static str,
    },
    /// An earlier write failed, so nothing more is written.
    #[error("an earlier write failed; the node has to be started again")]
    Stopped,
    /// A side item that does not fit its commitment.
    #[error("the side item does not match the commitment {0}")]
    SideMismatch(Hash32),
    /// A side item that no committed transaction promises, or that is here already.
    #[error("no committed transaction waits for the side item {0}")]
    SideNotMissing(Hash32),
    /// Too much waits for transactions that are not committed yet.
    #[error("no more than {limit} {what} wait for their transactions; try again later")]
    SideFull {
        /// What there is too much of.
        what: &'static str,
        /// How much may wait.
        limit: usize,
    },
}

impl StoreError {
    /// Whether the same call may succeed later without anybody's doing.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Busy { .. } | Self::SideFull { .. })
    }

    pub(crate) fn corrupt(what: impl Into<String>) -> Self {
        Self::Corrupt { what: what.into() }
    }
}

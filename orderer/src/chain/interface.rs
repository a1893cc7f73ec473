//! What goes into a chain and what comes out of it.

use std::ops::Range;
use std::sync::Arc;

use raft::eraftpb::Message;
use stela_identity::Configuration;
use stela_protocol::pb::consensus_message::Body;
use stela_protocol::{BlockNumber, ErrorCode, Hash32, RpcError, pb};
use stela_store::{Durability, StoreError, WriteBatch};

#[cfg(doc)]
use super::Chain;
use crate::limits::{ELECTION_TICKS, ENTRIES_KEPT};
use crate::pending::Admitted;

/// Why a chain cannot go on. The process has to end: nothing that was not written is acknowledged.
#[derive(Debug, thiserror::Error)]
pub enum ChainFault {
    /// The database failed or is damaged.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Raft found its log or its state impossible.
    #[error("consensus: {0}")]
    Raft(#[from] raft::Error),
}

/// Why an envelope was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// There is no leader now.
    #[error("the orderers are electing a leader; try again in a moment")]
    NoLeader,
    /// This orderer takes part no longer.
    #[error("this orderer was removed from the channel; ask another one")]
    Removed,
    /// Too many envelopes wait.
    #[error("too many envelopes wait to be ordered; try again later")]
    Full,
    /// Another envelope with the same transaction id was ordered or waits.
    #[error("another envelope has the same transaction id; make one with a new nonce")]
    Conflict,
}

impl SubmitError {
    fn code(self) -> ErrorCode {
        match self {
            Self::NoLeader | Self::Removed => ErrorCode::Unavailable,
            Self::Full => ErrorCode::Overloaded,
            Self::Conflict => ErrorCode::Replayed,
        }
    }

    /// Whether the same envelope may be taken later.
    pub fn is_retryable(self) -> bool {
        self.code().is_retryable()
    }
}

impl From<SubmitError> for RpcError {
    fn from(error: SubmitError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}

/// What comes to a chain, beside the envelopes of its own clients.
#[derive(Debug)]
pub enum Input {
    /// A tick of the logical clock.
    Tick,
    /// A Raft message of the orderer `from`, decoded by [`crate::codec::decode`].
    Raft {
        /// Who sent it, by the certificate of its connection.
        from: u64,
        /// The message.
        message: Box<Message>,
    },
    /// An envelope that another orderer forwards to the leader.
    Forward(Admitted),
    /// Signatures of headers.
    Signatures {
        /// Who sent them.
        from: u64,
        /// The signatures, any orderer's.
        signatures: Vec<pb::BlockSignature>,
    },
    /// Another orderer misses signatures.
    SignatureRequest {
        /// Who.
        from: u64,
        /// Of these blocks.
        numbers: Vec<u64>,
    },
    /// Another orderer has fallen behind the log's start and asks for blocks.
    BlockRequest {
        /// Who.
        from: u64,
        /// From this number on.
        start: u64,
    },
    /// Blocks that were asked for. Everything about them is verified.
    Blocks {
        /// Who sent them.
        from: u64,
        /// The blocks, in order.
        blocks: Vec<pb::Block>,
    },
    /// Messages to this orderer were lost.
    Unreachable(u64),
}

/// A message for another orderer.
#[derive(Debug, Clone, PartialEq)]
pub struct Outgoing {
    /// Its number.
    pub to: u64,
    /// What it gets.
    pub body: Body,
}

/// What the driver has to do, in this order: send, write, and call [`Chain::written`].
#[derive(Debug)]
pub struct Step {
    /// Messages to send.
    pub send: Vec<Outgoing>,
    /// What to write.
    pub write: WriteBatch,
    /// How safely.
    pub durability: Durability,
}

/// What others may see of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChainView {
    /// The newest committed block.
    pub head: BlockNumber,
    /// The hash of its header.
    pub head_hash: Hash32,
    /// The newest block up to which all have a quorum of signatures.
    pub deliverable: BlockNumber,
    /// The leader; 0: none known.
    pub leader: u64,
    /// Raft's term.
    pub term: u64,
}

/// Who a chain is, and how patient.
#[derive(Debug, Clone)]
pub struct ChainSettings {
    /// The orderer's number in the configuration.
    pub orderer: u64,
    /// Ticks without a leader's word before an election: drawn anew each time.
    pub election_ticks: Range<usize>,
    /// Entries that are kept in Raft's log behind the newest deliverable block.
    pub entries_kept: u64,
    /// The configuration that names this orderer, if block 0 does not. It is believed only in who
    /// the others are and where, until the blocks say so themselves.
    pub joined: Option<Arc<Configuration>>,
}

impl ChainSettings {
    /// The usual patience, from [`crate::limits`].
    pub fn new(orderer: u64) -> Self {
        Self {
            orderer,
            election_ticks: ELECTION_TICKS..2 * ELECTION_TICKS,
            entries_kept: ENTRIES_KEPT,
            joined: None,
        }
    }
}

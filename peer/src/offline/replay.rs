//! Derives a ledger anew from the blocks of another one.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use stela_protocol::block::Block;
use stela_protocol::{BlockNumber, ChannelId, Hash32, OrgId, ValidationCode, pb};
use stela_store::{Head, Kv, KvRead, LedgerRead, PeerLedger, StoreError};

use crate::channel::{Channel, ChannelError};
use crate::limits::{DIFFERENCES_MAX, REPLAY_PROGRESS_BLOCKS};
use crate::validation::check_block;

/// A ledger that is only read, whatever state it is in.
pub(super) struct Stored(pub(super) Arc<dyn Kv>);

impl LedgerRead for Stored {
    fn reader(&self) -> &dyn KvRead {
        self.0.as_ref()
    }
}

/// What was found about a block that is not what was stored about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BlockDifference {
    /// Another verdict on a transaction.
    Verdict {
        /// The block.
        block: BlockNumber,
        /// Its place in the block.
        transaction: usize,
        /// What was stored.
        stored: Option<ValidationCode>,
        /// What is right.
        found: Option<ValidationCode>,
    },
    /// Another state hash; it follows that all later ones differ, too.
    StateHash {
        /// The block.
        block: BlockNumber,
        /// What was stored.
        stored: Option<Hash32>,
        /// What is right.
        found: Hash32,
    },
}

impl fmt::Display for BlockDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Verdict {
                block,
                transaction,
                stored,
                found,
            } => {
                let name = |code: &Option<ValidationCode>| code.map_or("nothing", |c| c.name());
                write!(
                    f,
                    "block {block}, transaction {transaction}: the verdict stored is {}, the one \
                     found is {}",
                    name(stored),
                    name(found)
                )
            }
            Self::StateHash {
                block,
                stored,
                found,
            } => {
                let stored = stored.map_or("nothing".to_owned(), |hash| hash.to_string());
                write!(
                    f,
                    "block {block}: the state hash stored is {stored}, the one found is {found}"
                )
            }
        }
    }
}

/// A block that is not the one that was committed, or is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedBlock {
    /// Its number.
    pub number: BlockNumber,
    /// What is wrong with it.
    pub why: String,
}

/// What came of it.
pub(super) struct Replayed {
    /// How far the derived ledger has come.
    pub(super) head: Head,
    /// The block before which it ends, when it could not be used.
    pub(super) damaged: Option<DamagedBlock>,
    /// What differs from what was stored about the blocks.
    pub(super) differences: Vec<BlockDifference>,
}

/// Commits the blocks of `from` to the empty store `to`, through the same checks as when they came:
/// the chain of hashes, the Merkle root, a quorum of the orderers' signatures, and every check of a
/// transaction. Ends before the first block that fails as a block.
///
/// # Errors
/// [`ChannelError`] when a store cannot be read or written, or this peer's organization is not a
/// member.
pub(super) fn replay(
    from: &Stored,
    to: Arc<dyn Kv>,
    id: &ChannelId,
    organization: &OrgId,
) -> Result<Replayed, ChannelError> {
    let ledger = PeerLedger::open(to.clone(), id)?;
    let mut replayed = Replayed {
        head: ledger.head(),
        damaged: None,
        differences: Vec::new(),
    };
    drop(ledger);
    let mut channel = None;
    for number in (0..height(from)?).map(BlockNumber) {
        let taken = match read(from, number)? {
            Ok(bytes) => take(&mut channel, bytes, to.clone(), organization)?,
            Err(why) => Err(why),
        };
        let channel = match (taken, &channel) {
            (Ok(()), Some(channel)) => channel,
            (taken, _) => {
                let why = taken.err().unwrap_or_default();
                replayed.damaged = Some(DamagedBlock { number, why });
                return Ok(replayed);
            }
        };
        let genuine = compare(from, channel, number, &mut replayed.differences)?;
        if !genuine {
            let why = "it is not the block with which the channel was joined".to_owned();
            replayed.damaged = Some(DamagedBlock { number, why });
            return Ok(replayed);
        }
        replayed.head = channel.ledger().head();
        if number.0 % REPLAY_PROGRESS_BLOCKS == REPLAY_PROGRESS_BLOCKS - 1 {
            tracing::info!(channel = %id, blocks = number.0 + 1, "validated again");
        }
    }
    Ok(replayed)
}

/// How many blocks there should be: as many as the head says, or as are there if those are more.
fn height(from: &Stored) -> Result<u64, StoreError> {
    let stored = from.newest_stored()?.map_or(0, |newest| newest.next().0);
    match from.stored_head() {
        Ok(head) => Ok(stored.max(head.height)),
        Err(StoreError::Corrupt { .. } | StoreError::Format { .. }) => Ok(stored),
        Err(error) => Err(error),
    }
}

/// A block's bytes, or why there are none.
fn read(from: &Stored, number: BlockNumber) -> Result<Result<Bytes, String>, StoreError> {
    match from.block_bytes(number) {
        Ok(Some(bytes)) => Ok(Ok(bytes)),
        Ok(None) => Ok(Err("it is missing".to_owned())),
        Err(error @ (StoreError::Corrupt { .. } | StoreError::Format { .. })) => {
            Ok(Err(error.to_string()))
        }
        Err(error) => Err(error),
    }
}

/// Checks and commits the next block; says what is wrong with it if it is none.
fn take(
    channel: &mut Option<Channel>,
    bytes: Bytes,
    to: Arc<dyn Kv>,
    organization: &OrgId,
) -> Result<Result<(), String>, ChannelError> {
    let Some(channel) = channel else {
        let genesis = match Block::decode(bytes) {
            Ok(genesis) => genesis,
            Err(error) => return Ok(Err(error.to_string())),
        };
        return match Channel::join(to, &genesis, organization) {
            Ok(joined) => {
                *channel = Some(joined);
                Ok(Ok(()))
            }
            Err(error @ (ChannelError::Genesis(_) | ChannelError::Configuration(_))) => {
                Ok(Err(error.to_string()))
            }
            Err(error) => Err(error),
        };
    };
    let block = pb::Block::decode(bytes).map_err(|error| error.to_string());
    let checked = block.and_then(|block| {
        check_block(&channel.membership(), &channel.tip(), block).map_err(|error| error.to_string())
    });
    match checked {
        Ok(block) => Ok(Ok(channel.commit(&block)?)),
        Err(why) => Ok(Err(why)),
    }
}

/// Notes in what the verdicts and the state hash that were stored differ from those found. Says
/// whether block 0, which nobody has signed, is the one whose state hash was stored.
fn compare(
    from: &Stored,
    channel: &Channel,
    number: BlockNumber,
    differences: &mut Vec<BlockDifference>,
) -> Result<bool, ChannelError> {
    let found = channel.ledger().verdicts(number)?;
    let (found_hash, found) = found.unwrap_or((Hash32::ZERO, Vec::new()));
    let stored = match from.verdicts(number) {
        Ok(stored) => stored,
        Err(StoreError::Corrupt { .. } | StoreError::Format { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    let (stored_hash, stored) = match stored {
        Some((hash, codes)) => (Some(hash), codes),
        None => (None, Vec::new()),
    };
    let genuine = number.0 > 0 || stored_hash.is_none_or(|stored| stored == found_hash);
    for transaction in 0..found.len().max(stored.len()) {
        let (stored, found) = (
            stored.get(transaction).copied(),
            found.get(transaction).copied(),
        );
        if stored != found && differences.len() < DIFFERENCES_MAX {
            differences.push(BlockDifference::Verdict {
                block: number,
                transaction,
                stored,
                found,
            });
        }
    }
    let known = differences
        .iter()
        .any(|difference| matches!(difference, BlockDifference::StateHash { .. }));
    if stored_hash != Some(found_hash) && !known {
        differences.push(BlockDifference::StateHash {
            block: number,
            stored: stored_hash,
            found: found_hash,
        });
    }
    Ok(genuine)
}

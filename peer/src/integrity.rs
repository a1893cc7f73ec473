//! Whether what a ledger holds is still what was written into it.
//!
//! The blocks say everything: each names the hash of the one before it and the root of its
//! envelopes; the state hash of each follows from the one before it, the block and the verdicts;
//! every key of the state was written by a transaction, in whose block the value still stands. So a
//! flipped bit contradicts something, also where the checksums of the store fit.

use stela_protocol::block::{Block, BlockHeader};
use stela_protocol::transaction::{Body, Envelope};
use stela_protocol::{BlockNumber, Hash32, Height, TransactionId};
use stela_store::{
    Change, Head, LedgerRead, StateEntry, StateSnapshot, StoreError, TransactionRecord,
};

use crate::validation;
use crate::versions::Blocks;

/// Why a ledger was not found sound.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unsound {
    /// It contradicts itself; says where.
    #[error("{0}")]
    Damaged(String),
    /// It could not be looked at.
    #[error(transparent)]
    Store(StoreError),
}

impl From<StoreError> for Unsound {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Corrupt { what } => Self::Damaged(what),
            StoreError::Format { .. } => Self::Damaged(error.to_string()),
            other => Self::Store(other),
        }
    }
}

fn damaged<T>(what: String) -> Result<T, Unsound> {
    Err(Unsound::Damaged(what))
}

/// How far the blocks were looked at.
#[derive(Debug, Default)]
pub(crate) struct Link {
    tip: Option<(BlockHeader, Hash32)>,
    state_hash: Option<Hash32>,
}

impl Link {
    /// The number of the next block.
    pub(crate) fn next(&self) -> BlockNumber {
        let tip = self.tip.as_ref();
        tip.map_or(BlockNumber(0), |(header, _)| header.number.next())
    }

    /// Looks at the next block, and says how many bytes it has.
    pub(crate) fn follow(&mut self, ledger: &dyn LedgerRead) -> Result<usize, Unsound> {
        let number = self.next();
        let Some(bytes) = ledger.block_bytes(number)? else {
            return damaged(format!("block {number} is missing"));
        };
        let len = bytes.len();
        let block = Block::decode(bytes)
            .map_err(|error| Unsound::Damaged(format!("block {number}: {error}")))?;
        self.check_place(&block)?;
        self.state_hash = Some(self.check_verdicts(&block, ledger)?);
        self.tip = Some((block.header, block.hash));
        Ok(len)
    }

    fn check_place(&self, block: &Block) -> Result<(), Unsound> {
        match &self.tip {
            Some((header, hash)) => block
                .check_follows(header, hash)
                .map_err(|error| Unsound::Damaged(error.to_string())),
            None if block.header.number == BlockNumber(0) => Ok(()),
            None => damaged("block 0 has another number".to_owned()),
        }
    }

    /// Returns the state hash after the block.
    fn check_verdicts(&self, block: &Block, ledger: &dyn LedgerRead) -> Result<Hash32, Unsound> {
        let number = block.header.number;
        let Some((stored, codes)) = ledger.verdicts(number)? else {
            return damaged(format!("the verdicts on block {number} are missing"));
        };
        if codes.len() != block.envelopes.len() {
            return damaged(format!(
                "block {number} has {} transactions and {} verdicts",
                block.envelopes.len(),
                codes.len()
            ));
        }
        let previous = self.state_hash.unwrap_or(Hash32::ZERO);
        if validation::state_hash(&previous, block, &codes) != stored {
            return damaged(format!(
                "the state hash after block {number} is not that of its verdicts and writes"
            ));
        }
        let mut expected: Vec<(TransactionId, TransactionRecord)> = Vec::new();
        for (index, (envelope, code)) in (0..).zip(block.envelopes.iter().zip(codes)) {
            let envelope = Envelope::decode(envelope.clone()).ok();
            // The id of a configuration update may be an earlier one's: see `check_duplicates`.
            let counted = envelope.filter(|e| !matches!(e.body, Body::Config(_)));
            let id = counted.map(|envelope| envelope.header().id());
            let height = Height {
                block: number.0,
                transaction: index,
            };
            let (time_ms, valid) = (block.header.time_ms, code.is_valid());
            let record = TransactionRecord {
                height,
                code,
                time_ms,
            };
            expected.extend(id.filter(|_| valid).map(|id| (id, record)));
        }
        let ids: Vec<TransactionId> = expected.iter().map(|(id, _)| *id).collect();
        for ((_, expected), found) in expected.iter().zip(ledger.transactions(&ids)?) {
            if found != Some(*expected) {
                let at = expected.height;
                return damaged(format!("the index does not know transaction {at} as it is"));
            }
        }
        Ok(stored)
    }

    /// Whether the head is that of the newest block, which was looked at last.
    pub(crate) fn check_head(&self, head: &Head) -> Result<(), Unsound> {
        let is_of_tip = self.tip.as_ref().is_some_and(|(header, hash)| {
            *hash == head.header_hash
                && header.last_config == head.last_config
                && header.time_ms == head.time_ms
        });
        if is_of_tip && self.state_hash == Some(head.state_hash) {
            return Ok(());
        }
        damaged("the head is not that of the newest block".to_owned())
    }
}

/// Whether a key of the state holds what the transaction wrote that it names, and is its newest.
pub(crate) fn check_entry(
    snapshot: &StateSnapshot,
    blocks: &mut Blocks,
    entry: &StateEntry,
) -> Result<(), Unsound> {
    let StateEntry {
        namespace,
        key,
        value,
    } = entry;
    let at = value.height;
    let (_, written) = blocks.written(snapshot, namespace, key, at)?;
    if written != Some(Some(value.value.clone())) {
        return damaged(format!(
            "a key of contract {namespace} is not as transaction {at} wrote it, which it names"
        ));
    }
    let newest = snapshot.history(namespace, key, None, 1)?;
    if newest.first().is_some_and(|newest| newest.height == at) {
        return Ok(());
    }
    damaged(format!(
        "a key of contract {namespace}, written by transaction {at}, is not the newest of its history"
    ))
}

/// Whether the state shows the newest change of a key.
pub(crate) fn check_change(snapshot: &StateSnapshot, change: &Change) -> Result<(), Unsound> {
    let Change {
        namespace,
        key,
        height,
        deleted,
    } = change;
    let found = snapshot.get(namespace, key)?.map(|found| found.height);
    let expected = Some(*height).filter(|_| !deleted);
    if found == expected {
        return Ok(());
    }
    damaged(format!(
        "the state of contract {namespace} does not show what transaction {height} did to a key"
    ))
}

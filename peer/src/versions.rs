//! What a transaction wrote, read again from its block.

use bytes::Bytes;
use prost::Message;
use stela_protocol::transaction::{Body, Envelope, Transaction};
use stela_protocol::{BlockNumber, ContractName, Height, pb};
use stela_store::{LedgerRead, StateSnapshot, StoreError};

/// One change of a key, with what was written.
pub(crate) struct Version {
    pub(crate) entry: stela_store::HistoryEntry,
    /// Of its block, in milliseconds since the Unix epoch.
    pub(crate) time_ms: u64,
    /// Nothing when the key was deleted.
    pub(crate) value: Option<Bytes>,
}

/// At most `limit` changes of a key, the newest first; with `before` only those before it.
///
/// # Errors
/// [`StoreError`] when the ledger cannot be read, or its history and its blocks contradict each
/// other.
pub(crate) fn of_key(
    snapshot: &StateSnapshot,
    namespace: &ContractName,
    key: &[u8],
    before: Option<Height>,
    limit: usize,
) -> Result<Vec<Version>, StoreError> {
    let mut blocks = Blocks::default();
    let history = snapshot.history(namespace, key, before, limit)?;
    let version = |entry: stela_store::HistoryEntry| {
        let (time_ms, change) = blocks.written(snapshot, namespace, key, entry.height)?;
        match change {
            Some(value) if value.is_none() == entry.deleted => Ok(Version {
                entry,
                time_ms,
                value,
            }),
            _ => Err(contradiction(entry.height)),
        }
    };
    history.into_iter().map(version).collect()
}

fn contradiction(at: Height) -> StoreError {
    let what = format!("the history of a key and transaction {at}, which it names");
    StoreError::Corrupt { what }
}

/// The block that was looked at last: changes next to one another are often of one block.
#[derive(Default)]
pub(crate) struct Blocks {
    last: Option<(u64, pb::Block, u64)>,
    /// Bytes that were read.
    pub(crate) bytes: usize,
}

/// What a transaction did to a key: nothing, or a change, which deletes or writes.
pub(crate) type Written = Option<Option<Bytes>>;

impl Blocks {
    /// The block's time, and what the transaction at a height did to a key.
    pub(crate) fn written(
        &mut self,
        ledger: &dyn LedgerRead,
        namespace: &ContractName,
        key: &[u8],
        at: Height,
    ) -> Result<(u64, Written), StoreError> {
        let (block, time_ms) = self.block(ledger, at.block)?;
        let envelope = block.envelopes.get(at.transaction as usize);
        let written = envelope.and_then(|envelope| {
            let transaction = transaction(envelope)?;
            written_by(&transaction, namespace, key)
        });
        Ok((time_ms, written))
    }

    fn block(
        &mut self,
        ledger: &dyn LedgerRead,
        number: u64,
    ) -> Result<(&pb::Block, u64), StoreError> {
        if self.last.as_ref().is_none_or(|(last, ..)| *last != number) {
            let damaged = || StoreError::Corrupt {
                what: format!("block {number}"),
            };
            let bytes = ledger
                .block_bytes(BlockNumber(number))?
                .ok_or_else(damaged)?;
            self.bytes += bytes.len();
            let block = pb::Block::decode(bytes).map_err(|_| damaged())?;
            let header = pb::BlockHeader::decode(block.header.clone()).map_err(|_| damaged())?;
            self.last = Some((number, block, header.time_ms));
        }
        let (_, block, time_ms) = self.last.as_ref().expect("it was just put there");
        Ok((block, *time_ms))
    }
}

fn transaction(envelope: &Bytes) -> Option<Box<Transaction>> {
    match Envelope::decode(envelope.clone()).ok()?.body {
        Body::Transaction(transaction) => Some(transaction),
        _ => None,
    }
}

fn written_by(transaction: &Transaction, namespace: &ContractName, key: &[u8]) -> Written {
    if transaction.proposal.contract != *namespace {
        return None;
    }
    let writes = &transaction.result.writes;
    let found = writes.iter().find(|write| write.key == key);
    found.map(|write| write.value.clone())
}

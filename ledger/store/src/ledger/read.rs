//! Reading a ledger, live or at one height.

use std::sync::Arc;

use bytes::Bytes;
use stela_protocol::{
    BlockNumber, ContractName, Fingerprint, Hash32, Height, TransactionId, ValidationCode,
};

use super::records::{
    CertificateRecord, Halt, Head, HistoryEntry, MissingSide, SideRecord, SideState, StoredBlock,
    TransactionRecord, VersionedValue,
};
use crate::error::StoreError;
use crate::kv::{Direction, Family, KvRead, Scan, scan_by};
use crate::layout;
use crate::limits::SIDE_PAGE_ENTRIES;

/// What can be read of a ledger. On a [`PeerLedger`](crate::PeerLedger) each call sees the newest
/// commit, on a [`StateSnapshot`] all calls see one and the same.
pub trait LedgerRead {
    /// Where the data is read from.
    fn reader(&self) -> &dyn KvRead;

    /// A block and the verdicts on it.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read or is damaged; so for all of these calls.
    fn block(&self, number: BlockNumber) -> Result<Option<StoredBlock>, StoreError> {
        match (self.block_bytes(number)?, self.verdicts(number)?) {
            (None, None) => Ok(None),
            (Some(block), Some((state_hash, codes))) => Ok(Some(StoredBlock {
                block,
                codes,
                state_hash,
            })),
            _ => Err(StoreError::corrupt(format!("half of block {number}"))),
        }
    }

    /// The encoded `Block` alone.
    ///
    /// # Errors
    /// As [`LedgerRead::block`].
    fn block_bytes(&self, number: BlockNumber) -> Result<Option<Bytes>, StoreError> {
        let found = self
            .reader()
            .get(layout::BLOCKS, &layout::number_key(number))?;
        found
            .map(|bytes| layout::decode_bytes("a block", bytes))
            .transpose()
    }

    /// The state hash after a block, and the verdicts on its transactions.
    ///
    /// # Errors
    /// As [`LedgerRead::block`].
    fn verdicts(
        &self,
        number: BlockNumber,
    ) -> Result<Option<(Hash32, Vec<ValidationCode>)>, StoreError> {
        let found = self
            .reader()
            .get(layout::CODES, &layout::number_key(number))?;
        found.map(layout::decode_codes).transpose()
    }

    /// The number of the newest block of which there is anything, whatever the head says.
    ///
    /// # Errors
    /// As [`LedgerRead::block`].
    fn newest_stored(&self) -> Result<Option<BlockNumber>, StoreError> {
        let direction = Direction::Backward;
        let found = self
            .reader()
            .range(layout::BLOCKS, &[], None, 1, direction)?;
        let number = |key: &Bytes| {
            let bytes = key.as_ref().try_into();
            bytes
                .map(|bytes| BlockNumber(u64::from_be_bytes(bytes)))
                .map_err(|_| StoreError::corrupt("the number of a block"))
        };
        found.first().map(|(key, _)| number(key)).transpose()
    }

    /// State hashes by height, the newest first.
    ///
    /// # Errors
    /// As [`LedgerRead::block`].
    fn recent_state_hashes(&self, limit: usize) -> Result<Vec<(u64, Hash32)>, StoreError> {
        let height = self.stored_head()?.height;
        let heights = (1..=height).rev().take(limit);
        heights
            .map(|height| match self.verdicts(BlockNumber(height - 1))? {
                Some((hash, _)) => Ok((height, hash)),
                None => Err(StoreError::corrupt(format!(
                    "the verdicts on block {}",
                    height - 1
                ))),
            })
            .collect()
    }

    /// The head as it is stored.
    ///
    /// # Errors
    /// As [`LedgerRead::block`].
    fn stored_head(&self) -> Result<Head, StoreError> {
        read_head(self.reader())
    }

    /// Why the channel is no longer served, if it is not.
    ///
    /// # Errors
    /// As [`LedgerRead::block`].
    fn halted(&self) -> Result<Option<Halt>, StoreError> {
        let found = self.reader().get(layout::META, layout::HALT_KEY)?;
        found.map(layout::decode_halt).transpose()
    }

    /// What became of a transaction.
    ///
    /// # Errors
    /// As [`LedgerRead::block`].
    fn transaction(&self, id: &TransactionId) -> Result<Option<TransactionRecord>, StoreError> {
        let found = self.reader().get(layout::TRANSACTIONS, &id.0)?;
        found.map(layout::decode_transaction).transpose()
    }

    /// What became of each transaction, in the order of the ids.
    ///
    /// # Errors
    /// As [`LedgerRead::block`].
    fn transactions(
        &self,
        ids: &[TransactionId],
    ) -> Result<Vec<Option<TransactionRecord>>, StoreError> {
        let keys: Vec<&[u8]> = ids.iter().map(AsRef::as_ref).collect();
        many(
            self.reader(),
            layout::TRANSACTIONS,
            &keys,
            layout::decode_transaction,
        )
    }

    /// A certificate that the channel knows.
    ///
    /// # Errors
    /// As [`LedgerRead::block`].
    fn certificate(&self, of: &Fingerprint) -> Result<Option<CertificateRecord>, StoreError> {
        let found = self.reader().get(layout::CERTIFICATES, &of.0)?;
        found.map(layout::decode_certificate).transpose()
    }

    /// Certificates that the channel knows, in the order of the fingerprints.
    ///
    /// # Errors
    /// As [`LedgerRead::block`].
    fn certificates(
        &self,
        of: &[Fingerprint],
    ) -> Result<Vec<Option<CertificateRecord>>, StoreError> {
        let keys: Vec<&[u8]> = of.iter().map(AsRef::as_ref).collect();
        many(
            self.reader(),
            layout::CERTIFICATES,
            &keys,
            layout::decode_certificate,
        )
    }

    /// At most `limit` changes of a key, the newest first; with `before` only those before it.
    ///
    /// # Errors
    /// As [`LedgerRead::block`].
    fn history(
        &self,
        namespace: &ContractName,
        key: &[u8],
        before: Option<Height>,
        limit: usize,
    ) -> Result<Vec<HistoryEntry>, StoreError> {
        if stela_protocol::key::check(key).is_err() {
            return Ok(Vec::new());
        }
        let start = layout::history_prefix(namespace, key);
        let end = match before {
            Some(before) => Some(layout::history_key(namespace, key, before).to_vec()),
            None => stela_protocol::key::prefix_end(&start),
        };
        let end = end.as_deref();
        let direction = Direction::Backward;
        let found = self
            .reader()
            .range(layout::HISTORY, &start, end, limit, direction)?;
        found
            .into_iter()
            .map(|(key, value)| layout::decode_history(&key[start.len()..], value))
            .collect()
    }

    /// The change of a key at one height: who wrote that version.
    ///
    /// # Errors
    /// As [`LedgerRead::block`].
    fn version(
        &self,
        namespace: &ContractName,
        key: &[u8],
        at: Height,
    ) -> Result<Option<HistoryEntry>, StoreError> {
        if stela_protocol::key::check(key).is_err() {
            return Ok(None);
        }
        let start = layout::history_prefix(namespace, key).len();
        let key = layout::history_key(namespace, key, at);
        let found = self.reader().get(layout::HISTORY, &key)?;
        found
            .map(|value| layout::decode_history(&key[start..], value))
            .transpose()
    }

    /// The encoded `ChannelConfig` in force; nothing before block 0.
    ///
    /// # Errors
    /// As [`LedgerRead::block`].
    fn config(&self) -> Result<Option<Bytes>, StoreError> {
        let found = self.reader().get(layout::META, layout::CONFIG_KEY)?;
        found
            .map(|bytes| layout::decode_bytes("the configuration", bytes))
            .transpose()
    }

    /// The side items with this commitment that are here and whose transactions are committed, one
    /// for each such transaction. They are read while the caller goes on: each may be large.
    fn side_get(&self, commitment: &Hash32) -> SideRecords<'_> {
        SideRecords::new(self.reader(), commitment)
    }

    /// The side item of one transaction, if it is here, pending or not.
    ///
    /// # Errors
    /// As [`LedgerRead::block`].
    fn side_of(
        &self,
        commitment: &Hash32,
        transaction: &TransactionId,
    ) -> Result<Option<SideRecord>, StoreError> {
        let key = layout::side_key(commitment, transaction);
        let found = self.reader().get(layout::SIDE, &key)?;
        found
            .map(|bytes| layout::decode_side(&key, bytes))
            .transpose()
    }

    /// What is missing of one committed transaction under one commitment, if it is.
    ///
    /// # Errors
    /// As [`LedgerRead::block`].
    fn side_missing_of(
        &self,
        commitment: &Hash32,
        transaction: &TransactionId,
    ) -> Result<Option<MissingSide>, StoreError> {
        let key = layout::side_key(commitment, transaction);
        let found = self.reader().get(layout::MISSING, &key)?;
        found
            .map(|value| layout::decode_missing(&key, value))
            .transpose()
    }

    /// At most `limit` side items that committed transactions promise to this organization and
    /// that are not here, in the order of commitment and transaction, from behind `after` on.
    ///
    /// # Errors
    /// As [`LedgerRead::block`].
    fn side_missing(
        &self,
        after: Option<(&Hash32, &TransactionId)>,
        limit: usize,
    ) -> Result<Vec<MissingSide>, StoreError> {
        let start = after.map_or_else(Vec::new, |(commitment, transaction)| {
            [&layout::side_key(commitment, transaction)[..], &[0]].concat()
        });
        let direction = Direction::Forward;
        let found = self
            .reader()
            .range(layout::MISSING, &start, None, limit, direction)?;
        found
            .into_iter()
            .map(|(key, value)| layout::decode_missing(&key, value))
            .collect()
    }
}

/// The iterator that [`LedgerRead::side_get`] returns. After an error it ends.
pub struct SideRecords<'a>(Scan<'a>);

impl<'a> SideRecords<'a> {
    fn new(reader: &'a dyn KvRead, commitment: &Hash32) -> Self {
        let start = commitment.0.to_vec();
        let end = stela_protocol::key::prefix_end(&start);
        Self(scan_by(reader, layout::SIDE, start, end, SIDE_PAGE_ENTRIES))
    }
}

impl Iterator for SideRecords<'_> {
    type Item = Result<SideRecord, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0
            .by_ref()
            .map(|entry| entry.and_then(|(key, value)| layout::decode_side(&key, value)))
            .find(|found| !matches!(found, Ok(record) if record.state == SideState::Pending))
    }
}

/// The ledger at one height; later commits do not change it.
#[derive(Clone)]
pub struct StateSnapshot {
    reader: Arc<dyn KvRead>,
    head: Head,
}

impl StateSnapshot {
    pub(super) fn new(reader: Arc<dyn KvRead>) -> Result<Self, StoreError> {
        let head = read_head(reader.as_ref())?;
        Ok(Self { reader, head })
    }

    /// The height and hashes, read inside the snapshot.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The value of a key, if it exists.
    ///
    /// # Errors
    /// As [`LedgerRead::block`]; so for all of these calls.
    pub fn get(
        &self,
        namespace: &ContractName,
        key: &[u8],
    ) -> Result<Option<VersionedValue>, StoreError> {
        let found = self
            .reader
            .get(layout::STATE, &layout::state_key(namespace, key))?;
        found.map(layout::decode_state).transpose()
    }

    /// The values of keys, in their order.
    ///
    /// # Errors
    /// As [`StateSnapshot::get`].
    pub fn multi_get(
        &self,
        keys: &[(&ContractName, &[u8])],
    ) -> Result<Vec<Option<VersionedValue>>, StoreError> {
        let keys: Vec<Bytes> = keys
            .iter()
            .map(|(namespace, key)| layout::state_key(namespace, key))
            .collect();
        let keys: Vec<&[u8]> = keys.iter().map(AsRef::as_ref).collect();
        many(
            self.reader.as_ref(),
            layout::STATE,
            &keys,
            layout::decode_state,
        )
    }

    /// At most `limit` keys of the namespace with `start <= key < end`, ascending. An empty `end`
    /// is the end of the namespace.
    ///
    /// # Errors
    /// As [`StateSnapshot::get`].
    pub fn range(
        &self,
        namespace: &ContractName,
        start: &[u8],
        end: &[u8],
        limit: usize,
    ) -> Result<Vec<(Bytes, VersionedValue)>, StoreError> {
        let prefix = layout::namespace_prefix(namespace).len();
        let start = layout::state_key(namespace, start);
        let end = match end {
            [] => layout::namespace_end(namespace).into(),
            end => layout::state_key(namespace, end),
        };
        let found =
            self.reader
                .range(layout::STATE, &start, Some(&end), limit, Direction::Forward)?;
        found
            .into_iter()
            .map(|(key, value)| Ok((key.slice(prefix..), layout::decode_state(value)?)))
            .collect()
    }
}

impl LedgerRead for StateSnapshot {
    fn reader(&self) -> &dyn KvRead {
        self.reader.as_ref()
    }
}

pub(super) fn read_head(reader: &dyn KvRead) -> Result<Head, StoreError> {
    let found = reader.get(layout::META, layout::HEAD_KEY)?;
    found.map_or(Ok(Head::EMPTY), layout::decode_head)
}

fn many<T>(
    reader: &dyn KvRead,
    family: Family,
    keys: &[&[u8]],
    decode: impl Fn(Bytes) -> Result<T, StoreError>,
) -> Result<Vec<Option<T>>, StoreError> {
    let found = reader.multi_get(family, keys)?;
    found
        .into_iter()
        .map(|value| value.map(&decode).transpose())
        .collect()
}

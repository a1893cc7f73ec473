//! What a ledger that was derived anew from its blocks takes over from the old one.
//!
//! A ledger is rebuilt in an empty store: its blocks are validated and committed again. Side items
//! were never in a block, so they are copied. While the blocks are replayed none is there, so
//! everything that was ever promised to the organization becomes missing in the new ledger; that is
//! the list against which the copied items are held. What was erased is in neither family of the
//! old ledger, and so does not come back as missing in the new one.

use std::collections::BTreeSet;
use std::fmt;

use bytes::Bytes;
use stela_protocol::{Hash32, TransactionId, hash};

use super::records::{MissingSide, SideRecord, SideState};
use crate::error::StoreError;
use crate::kv::{Durability, Kv, KvRead, WriteBatch, scan, scan_by};
use crate::layout;
use crate::limits::{COPY_BATCH_BYTES, SIDE_PAGE_ENTRIES};

/// What is wrong with a side item, or with what is noted about one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SideFault {
    /// It does not fit its commitment, or cannot be read.
    Damaged,
    /// No valid transaction of a stored block promises it to this organization.
    NotPromised,
    /// It waits for a transaction, and the index of those that wait says otherwise.
    Index,
}

impl fmt::Display for SideFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Damaged => "it is damaged",
            Self::NotPromised => "no transaction promises it to this organization",
            Self::Index => "the index of waiting items does not know it as it is",
        })
    }
}

/// What became of the side items.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SideCopy {
    /// Items that were taken over.
    pub copied: usize,
    /// Items that were damaged and are missing now, until they are fetched from others.
    pub to_fetch: usize,
    /// Damaged items that nothing is known of but their key, and so are lost.
    pub lost: usize,
}

/// Takes the side items of `from` over into `to`, a ledger that was rebuilt from the same blocks and
/// has no side item yet, and makes everything that `to` holds durable.
///
/// # Errors
/// [`StoreError`] when one of them cannot be read or written.
pub fn copy_side(from: &dyn KvRead, to: &dyn Kv) -> Result<SideCopy, StoreError> {
    let mut copy = SideCopy::default();
    let mut damaged = BTreeSet::new();
    let mut batch = Batch::new(to);
    for entry in items(from) {
        let (key, value) = entry?;
        let index = match intact(&key, value.clone()) {
            Some(record) if record.state == SideState::Pending => pending(from, &record)?,
            Some(_) => Some(None),
            None => None,
        };
        let Some(index) = index else {
            match to.get(layout::MISSING, &key)? {
                Some(_) => copy.to_fetch += 1,
                None => copy.lost += 1,
            }
            damaged.insert(key);
            continue;
        };
        copy.copied += 1;
        batch.put(layout::SIDE, key, value)?;
        if let Some((key, value)) = index {
            batch.put(layout::PENDING, key, value)?;
        }
    }
    settle_missing(from, to, &damaged, &mut batch)?;
    batch.finish()?;
    seal(to)?;
    Ok(copy)
}

/// Whatever was promised and is neither missing in the old ledger nor damaged there is here, or was
/// erased.
fn settle_missing(
    from: &dyn KvRead,
    to: &dyn Kv,
    damaged: &BTreeSet<Bytes>,
    batch: &mut Batch<'_>,
) -> Result<(), StoreError> {
    for entry in scan(to, layout::MISSING, Vec::new(), None) {
        let (key, _) = entry?;
        if !damaged.contains(&key) && from.get(layout::MISSING, &key)?.is_none() {
            batch.delete(layout::MISSING, key)?;
        }
    }
    Ok(())
}

/// What is wrong with a side item, with commitment and transaction as far as they can be read.
pub type SideFinding = (Option<(Hash32, TransactionId)>, SideFault);

/// Looks through the side items of `found`. `expected` is a ledger that was rebuilt from the same
/// blocks, without side items. Returns what is wrong, with commitment and transaction as far as they
/// can be read, `limit` of them at most.
///
/// # Errors
/// [`StoreError`] when one of the stores cannot be read.
pub fn check_side(
    expected: &dyn KvRead,
    found: &dyn KvRead,
    limit: usize,
) -> Result<Vec<SideFinding>, StoreError> {
    let mut faults = Vec::new();
    for entry in items(found) {
        let (key, value) = entry?;
        let fault = match intact(&key, value) {
            None => Some(SideFault::Damaged),
            Some(record) if record.state == SideState::Pending => pending(found, &record)?
                .is_none()
                .then_some(SideFault::Index),
            Some(record) => promised(expected, &key, &record)?,
        };
        faults.extend(fault.map(|fault| (layout::decode_side_key(&key).ok(), fault)));
        if faults.len() >= limit {
            return Ok(faults);
        }
    }
    for entry in scan(found, layout::MISSING, Vec::new(), None) {
        let (key, value) = entry?;
        let fault = match expected.get(layout::MISSING, &key)? {
            Some(expected) if expected == value => None,
            Some(_) => Some(SideFault::Damaged),
            None => Some(SideFault::NotPromised),
        };
        faults.extend(fault.map(|fault| (layout::decode_side_key(&key).ok(), fault)));
    }
    faults.truncate(limit);
    Ok(faults)
}

fn items(reader: &dyn KvRead) -> impl Iterator<Item = Result<(Bytes, Bytes), StoreError>> {
    scan_by(reader, layout::SIDE, Vec::new(), None, SIDE_PAGE_ENTRIES)
}

/// An item that can be read and fits its commitment.
fn intact(key: &Bytes, value: Bytes) -> Option<SideRecord> {
    let record = layout::decode_side(key, value).ok()?;
    let fits = hash::side_commitment(&record.salt, &record.payload) == record.commitment;
    fits.then_some(record)
}

type Entry = (Bytes, Bytes);

/// The entry of a waiting item in the index; nothing when it is not there or says something else.
fn pending(reader: &dyn KvRead, record: &SideRecord) -> Result<Option<Option<Entry>>, StoreError> {
    let key = layout::pending_key(record.received_ms, &record.commitment, &record.transaction);
    let Some(value) = reader.get(layout::PENDING, &key)? else {
        return Ok(None);
    };
    let bytes = record.salt.len() + record.payload.len();
    let entry = layout::decode_pending(&key, value.clone());
    let fits = entry.is_ok_and(|entry| entry.bytes == bytes);
    Ok(fits.then_some(Some((key, value))))
}

/// Whether a committed item is promised to this organization, for those that it says.
fn promised(
    expected: &dyn KvRead,
    key: &Bytes,
    record: &SideRecord,
) -> Result<Option<SideFault>, StoreError> {
    let Some(value) = expected.get(layout::MISSING, key)? else {
        return Ok(Some(SideFault::NotPromised));
    };
    let MissingSide { organizations, .. } = layout::decode_missing(key, value)?;
    Ok((organizations != record.organizations).then_some(SideFault::Damaged))
}

/// Makes everything that was written to a ledger durable: a synced write is, with all before it.
fn seal(kv: &dyn Kv) -> Result<(), StoreError> {
    let name = kv.get(layout::META, layout::CHANNEL_KEY)?;
    let name = name.ok_or_else(|| StoreError::corrupt("the channel's name"))?;
    let mut batch = WriteBatch::new();
    batch.put(layout::META, layout::CHANNEL_KEY, name);
    kv.write(batch, Durability::Synced)
}

/// Changes that are written as soon as they are many bytes.
struct Batch<'a> {
    kv: &'a dyn Kv,
    batch: WriteBatch,
    bytes: usize,
}

impl<'a> Batch<'a> {
    fn new(kv: &'a dyn Kv) -> Self {
        let batch = WriteBatch::new();
        Self {
            kv,
            batch,
            bytes: 0,
        }
    }

    fn put(&mut self, family: &'static str, key: Bytes, value: Bytes) -> Result<(), StoreError> {
        self.bytes += key.len() + value.len();
        self.batch.put(family, key, value);
        self.write_if_large()
    }

    fn delete(&mut self, family: &'static str, key: Bytes) -> Result<(), StoreError> {
        self.bytes += key.len();
        self.batch.delete(family, key);
        self.write_if_large()
    }

    fn write_if_large(&mut self) -> Result<(), StoreError> {
        if self.bytes < COPY_BATCH_BYTES {
            return Ok(());
        }
        self.bytes = 0;
        let batch = std::mem::take(&mut self.batch);
        self.kv.write(batch, Durability::Buffered)
    }

    fn finish(self) -> Result<(), StoreError> {
        self.kv.write(self.batch, Durability::Buffered)
    }
}

//! An ordered key-value store: the contract that [`RocksKv`](crate::RocksKv) and
//! [`MemoryKv`](crate::MemoryKv) keep alike.

use std::sync::Arc;

use bytes::Bytes;

use crate::error::StoreError;
use crate::limits::{MULTI_GET_KEYS_MAX, RANGE_ENTRIES_MAX, SCAN_PAGE_ENTRIES};

/// A column family: a key space of its own, named when the store is opened.
pub type Family = &'static str;

/// How safe a write is when the call returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// On the disk, with every write before it; it survives the loss of power.
    Synced,
    /// In the order of writes, but a crash may lose it together with all later ones.
    Buffered,
}

/// The order in which a range is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Ascending by key, from the start of the range.
    Forward,
    /// Descending by key, from the end of the range.
    Backward,
}

/// Reads. On a store each call sees the newest writes; on a snapshot all calls see the same moment.
pub trait KvRead: Send + Sync {
    /// The value of `key`.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, StoreError>;

    /// The values of `keys`, in their order.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read, or for more than [`MULTI_GET_KEYS_MAX`] keys.
    fn multi_get(&self, family: Family, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>, StoreError>;

    /// At most `limit` entries with `start <= key < end`; without `end` up to the last key.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read, or for a limit above [`RANGE_ENTRIES_MAX`].
    fn range(
        &self,
        family: Family,
        start: &[u8],
        end: Option<&[u8]>,
        limit: usize,
        direction: Direction,
    ) -> Result<Vec<(Bytes, Bytes)>, StoreError>;
}

/// A store that can be written.
pub trait Kv: KvRead {
    /// The store as it is now; later writes do not change it. It may outlive the caller's borrow,
    /// but while it lives, what it shows takes up space.
    fn snapshot(&self) -> Arc<dyn KvRead>;

    /// Applies all of `batch`, or none of it.
    ///
    /// # Errors
    /// [`StoreError`]; see there what is known after a failed write.
    fn write(&self, batch: WriteBatch, durability: Durability) -> Result<(), StoreError>;

    /// Moves what only the log of writes holds to where it stays, so that the next opening has no
    /// log to read again. Every write before is durable then, and what is read does not change.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be written.
    fn flush(&self) -> Result<(), StoreError>;

    /// Deletes `keys` durably and rewrites the files of the store that may still hold their values,
    /// or values of deleted keys that begin with one of them, so that no file of it does. Snapshots
    /// that are alive keep what they show until a later call.
    /// What the file system or the device keeps of removed files is beyond this call.
    ///
    /// # Errors
    /// [`StoreError`]; the call may be repeated.
    fn erase(&self, family: Family, keys: &[&[u8]]) -> Result<(), StoreError>;
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Operation {
    Put {
        family: Family,
        key: Bytes,
        value: Bytes,
    },
    Delete {
        family: Family,
        key: Bytes,
    },
    DeleteRange {
        family: Family,
        start: Bytes,
        end: Bytes,
    },
}

/// Changes that take effect together, in the order in which they were added.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WriteBatch {
    pub(crate) operations: Vec<Operation>,
}

impl WriteBatch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets `key` to `value`.
    pub fn put(&mut self, family: Family, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.operations.push(Operation::Put {
            family,
            key: key.into(),
            value: value.into(),
        });
    }

    /// Removes `key`, if it is there.
    pub fn delete(&mut self, family: Family, key: impl Into<Bytes>) {
        self.operations.push(Operation::Delete {
            family,
            key: key.into(),
        });
    }

    /// Removes every key with `start <= key < end`.
    pub fn delete_range(&mut self, family: Family, start: impl Into<Bytes>, end: impl Into<Bytes>) {
        let (start, end) = (start.into(), end.into());
        if start < end {
            self.operations
                .push(Operation::DeleteRange { family, start, end });
        }
    }

    /// Makes the changes of another batch after these.
    pub fn append(&mut self, other: Self) {
        self.operations.extend(other.operations);
    }

    /// How many changes there are.
    pub fn len(&self) -> usize {
        self.operations.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }
}

/// Every entry with `start <= key < end` in ascending order, read page by page. For one consistent
/// view give it a snapshot.
pub fn scan(reader: &dyn KvRead, family: Family, start: Vec<u8>, end: Option<Vec<u8>>) -> Scan<'_> {
    scan_by(reader, family, start, end, SCAN_PAGE_ENTRIES)
}

/// [`scan`] with pages of another size, for large values.
pub(crate) fn scan_by(
    reader: &dyn KvRead,
    family: Family,
    start: Vec<u8>,
    end: Option<Vec<u8>>,
    page_entries: usize,
) -> Scan<'_> {
    Scan {
        reader,
        family,
        next: Some(start),
        end,
        page_entries,
        page: Vec::new().into_iter(),
    }
}

/// The iterator that [`scan`] returns. After an error it ends.
pub struct Scan<'a> {
    reader: &'a dyn KvRead,
    family: Family,
    next: Option<Vec<u8>>,
    end: Option<Vec<u8>>,
    page_entries: usize,
    page: std::vec::IntoIter<(Bytes, Bytes)>,
}

impl Scan<'_> {
    fn read_page(&mut self, start: &[u8]) -> Result<(), StoreError> {
        let end = self.end.as_deref();
        let direction = Direction::Forward;
        let page = self
            .reader
            .range(self.family, start, end, self.page_entries, direction)?;
        let full = page.len() == self.page_entries;
        self.next = page
            .last()
            .filter(|_| full)
            .map(|(key, _)| [key, &[0][..]].concat());
        self.page = page.into_iter();
        Ok(())
    }
}

impl Iterator for Scan<'_> {
    type Item = Result<(Bytes, Bytes), StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(entry) = self.page.next() {
            return Some(Ok(entry));
        }
        let start = self.next.take()?;
        match self.read_page(&start) {
            Ok(()) => self.page.next().map(Ok),
            Err(error) => Some(Err(error)),
        }
    }
}

pub(crate) fn check_keys(keys: &[&[u8]]) -> Result<(), StoreError> {
    let (asked, limit) = (keys.len(), MULTI_GET_KEYS_MAX);
    if asked <= limit {
        Ok(())
    } else {
        Err(StoreError::Limit {
            what: "keys",
            asked,
            limit,
        })
    }
}

pub(crate) fn check_limit(asked: usize) -> Result<(), StoreError> {
    let limit = RANGE_ENTRIES_MAX;
    if asked <= limit {
        Ok(())
    } else {
        Err(StoreError::Limit {
            what: "entries",
            asked,
            limit,
        })
    }
}

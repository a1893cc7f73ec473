//! The store in memory, for simulations and tests.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::RwLock;

use crate::error::StoreError;
use crate::kv::{
    Direction, Durability, Family, Kv, KvRead, Operation, WriteBatch, check_keys, check_limit,
};

type Map = BTreeMap<Bytes, Bytes>;

/// A store in memory that behaves as [`RocksKv`](crate::RocksKv) does and forgets, when told to
/// crash, what was not synced.
pub struct MemoryKv {
    state: RwLock<State>,
}

struct State {
    current: Families,
    /// What a crash leaves.
    durable: Families,
    /// What was written since, in order.
    unsynced: Vec<WriteBatch>,
    failing: bool,
    losing: bool,
}

/// Snapshots share the maps; a write copies a map that a snapshot still shows.
#[derive(Clone)]
struct Families(BTreeMap<Family, Arc<Map>>);

impl MemoryKv {
    /// An empty store with these column families.
    pub fn new(families: &[Family]) -> Self {
        Self::with(Families(
            families
                .iter()
                .map(|name| (*name, Arc::default()))
                .collect(),
        ))
    }

    fn with(families: Families) -> Self {
        let durable = families.deep_copy();
        let state = State {
            current: families,
            durable,
            unsynced: Vec::new(),
            failing: false,
            losing: false,
        };
        Self {
            state: RwLock::new(state),
        }
    }

    /// The store as it is found after a crash that lost everything not synced.
    pub fn crash(&self) -> Self {
        self.crash_keeping(0)
    }

    /// The store as it is found after a crash that spared the first `batches` unsynced writes.
    pub fn crash_keeping(&self, batches: usize) -> Self {
        let state = self.state.read();
        let mut families = state.durable.deep_copy();
        for batch in state.unsynced.iter().take(batches) {
            families.apply(batch);
        }
        Self::with(families)
    }

    /// What a crash at this moment would leave, as a snapshot.
    pub fn durable(&self) -> Arc<dyn KvRead> {
        Arc::new(self.state.read().durable.clone())
    }

    /// While `failing`, every write is refused as a broken disk would refuse it, and changes
    /// nothing.
    pub fn set_failing(&self, failing: bool) {
        self.state.write().failing = failing;
    }

    /// While `losing`, nothing is synced: a write that should be is answered as by a disk whose sync
    /// fails, and a crash forgets it.
    pub fn set_losing(&self, losing: bool) {
        self.state.write().losing = losing;
    }
}

impl State {
    fn write(&mut self, batch: WriteBatch, durability: Durability) -> Result<(), StoreError> {
        if self.failing {
            let reason = "the disk was told to fail".to_owned();
            return Err(StoreError::Io {
                operation: "write",
                reason,
            });
        }
        self.current.check(&batch)?;
        self.current.apply(&batch);
        self.unsynced.push(batch);
        if durability == Durability::Synced {
            if self.losing {
                return Err(StoreError::Io {
                    operation: "fsync",
                    reason: "the disk was told to lose it".to_owned(),
                });
            }
            for batch in std::mem::take(&mut self.unsynced) {
                self.durable.apply(&batch);
            }
        }
        Ok(())
    }
}

impl Families {
    fn deep_copy(&self) -> Self {
        Self(
            self.0
                .iter()
                .map(|(name, map)| (*name, Arc::new(Map::clone(map))))
                .collect(),
        )
    }

    fn family(&self, name: Family) -> Result<&Map, StoreError> {
        let map = self
            .0
            .get(name)
            .ok_or_else(|| StoreError::UnknownFamily(name.to_owned()))?;
        Ok(map)
    }

    fn check(&self, batch: &WriteBatch) -> Result<(), StoreError> {
        batch
            .operations
            .iter()
            .try_for_each(|operation| match operation {
                Operation::Put { family, .. }
                | Operation::Delete { family, .. }
                | Operation::DeleteRange { family, .. } => self.family(family).map(drop),
            })
    }

    fn apply(&mut self, batch: &WriteBatch) {
        for operation in &batch.operations {
            self.apply_one(operation);
        }
    }

    fn apply_one(&mut self, operation: &Operation) {
        match operation {
            Operation::Put { family, key, value } => {
                self.map(family).insert(key.clone(), value.clone());
            }
            Operation::Delete { family, key } => {
                self.map(family).remove(key);
            }
            Operation::DeleteRange { family, start, end } => {
                let map = self.map(family);
                let doomed: Vec<_> = map
                    .range::<Bytes, _>(start..end)
                    .map(|(key, _)| key.clone())
                    .collect();
                for key in doomed {
                    map.remove(&key);
                }
            }
        }
    }

    fn map(&mut self, family: Family) -> &mut Map {
        Arc::make_mut(self.0.entry(family).or_default())
    }
}

impl KvRead for Families {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        Ok(self.family(family)?.get(key).cloned())
    }

    fn multi_get(&self, family: Family, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>, StoreError> {
        check_keys(keys)?;
        let map = self.family(family)?;
        Ok(keys.iter().map(|key| map.get(*key).cloned()).collect())
    }

    fn range(
        &self,
        family: Family,
        start: &[u8],
        end: Option<&[u8]>,
        limit: usize,
        direction: Direction,
    ) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        check_limit(limit)?;
        let map = self.family(family)?;
        if end.is_some_and(|end| end <= start) {
            return Ok(Vec::new());
        }
        let bounds = (
            Bound::Included(start),
            end.map_or(Bound::Unbounded, Bound::Excluded),
        );
        let entries = map
            .range::<[u8], _>(bounds)
            .map(|(key, value)| (key.clone(), value.clone()));
        Ok(match direction {
            Direction::Forward => entries.take(limit).collect(),
            Direction::Backward => entries.rev().take(limit).collect(),
        })
    }
}

impl KvRead for MemoryKv {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.state.read().current.get(family, key)
    }

    fn multi_get(&self, family: Family, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>, StoreError> {
        self.state.read().current.multi_get(family, keys)
    }

    fn range(
        &self,
        family: Family,
        start: &[u8],
        end: Option<&[u8]>,
        limit: usize,
        direction: Direction,
    ) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        self.state
            .read()
            .current
            .range(family, start, end, limit, direction)
    }
}

impl Kv for MemoryKv {
    fn snapshot(&self) -> Arc<dyn KvRead> {
        Arc::new(self.state.read().current.clone())
    }

    fn write(&self, batch: WriteBatch, durability: Durability) -> Result<(), StoreError> {
        self.state.write().write(batch, durability)
    }

    fn flush(&self) -> Result<(), StoreError> {
        self.write(WriteBatch::new(), Durability::Synced)
    }

    fn erase(&self, family: Family, keys: &[&[u8]]) -> Result<(), StoreError> {
        let mut batch = WriteBatch::new();
        for key in keys {
            batch.delete(family, Bytes::copy_from_slice(key));
        }
        self.write(batch, Durability::Synced)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite;

    fn put(key: &'static str) -> WriteBatch {
        let mut batch = WriteBatch::new();
        batch.put(suite::A, key, key);
        batch
    }

    #[test]
    fn it_keeps_the_contract() {
        suite::run(|| MemoryKv::new(suite::FAMILIES));
    }

    #[test]
    fn a_crash_loses_what_was_not_synced_and_only_that() {
        let kv = MemoryKv::new(suite::FAMILIES);
        kv.write(put("1"), Durability::Buffered).unwrap();
        kv.write(put("2"), Durability::Synced).unwrap();
        kv.write(put("3"), Durability::Buffered).unwrap();
        kv.write(put("4"), Durability::Buffered).unwrap();
        let keys = |kv: &MemoryKv| {
            let found = kv
                .range(suite::A, b"", None, 10, Direction::Forward)
                .unwrap();
            found.into_iter().map(|(key, _)| key).collect::<Vec<_>>()
        };
        assert_eq!(keys(&kv), ["1", "2", "3", "4"]);
        assert_eq!(keys(&kv.crash()), ["1", "2"]);
        let durable = kv.durable();
        assert!(durable.get(suite::A, b"2").unwrap().is_some());
        assert_eq!(durable.get(suite::A, b"3"), Ok(None));
        assert_eq!(keys(&kv.crash_keeping(1)), ["1", "2", "3"]);
        assert_eq!(keys(&kv.crash_keeping(9)), ["1", "2", "3", "4"]);
        kv.flush().unwrap();
        assert_eq!(keys(&kv.crash()), ["1", "2", "3", "4"]);
    }

    #[test]
    fn a_failing_disk_changes_nothing() {
        let kv = MemoryKv::new(suite::FAMILIES);
        kv.set_failing(true);
        let error = kv.write(put("1"), Durability::Synced).unwrap_err();
        assert!(matches!(error, StoreError::Io { .. }) && !error.is_retryable());
        assert_eq!(kv.get(suite::A, b"1"), Ok(None));
        kv.set_failing(false);
        kv.write(put("1"), Durability::Synced).unwrap();
        assert!(kv.get(suite::A, b"1").unwrap().is_some());
    }

    #[test]
    fn a_losing_disk_syncs_nothing_and_says_so() {
        let kv = MemoryKv::new(suite::FAMILIES);
        kv.set_losing(true);
        assert!(kv.write(put("1"), Durability::Buffered).is_ok());
        let error = kv.write(put("2"), Durability::Synced).unwrap_err();
        assert!(matches!(error, StoreError::Io { .. }));
        assert!(kv.get(suite::A, b"2").unwrap().is_some());
        for key in [b"1", b"2"] {
            assert_eq!(kv.crash().get(suite::A, key), Ok(None));
        }
    }
}

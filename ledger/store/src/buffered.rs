//! A store whose writes need not be safe one by one.

use std::sync::Arc;

use bytes::Bytes;

use crate::error::StoreError;
use crate::kv::{Direction, Durability, Family, Kv, KvRead, WriteBatch};

/// Another store, of which every write is [`Durability::Buffered`]: for a store that is thrown away
/// when it is not finished. What finishes it has to write to the other store itself.
pub struct BufferedKv(pub Arc<dyn Kv>);

impl KvRead for BufferedKv {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.0.get(family, key)
    }

    fn multi_get(&self, family: Family, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>, StoreError> {
        self.0.multi_get(family, keys)
    }

    fn range(
        &self,
        family: Family,
        start: &[u8],
        end: Option<&[u8]>,
        limit: usize,
        direction: Direction,
    ) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        self.0.range(family, start, end, limit, direction)
    }
}

impl Kv for BufferedKv {
    fn snapshot(&self) -> Arc<dyn KvRead> {
        self.0.snapshot()
    }

    fn write(&self, batch: WriteBatch, _: Durability) -> Result<(), StoreError> {
        self.0.write(batch, Durability::Buffered)
    }

    fn flush(&self) -> Result<(), StoreError> {
        self.0.flush()
    }

    fn erase(&self, family: Family, keys: &[&[u8]]) -> Result<(), StoreError> {
        self.0.erase(family, keys)
    }
}

//! A contract's state in memory.

use std::collections::BTreeMap;

use anyhow::Context;
use bytes::Bytes;
use stela_host::{Invocation, KeyVersion, StateError, StateView};
use stela_protocol::pb::write::Change;
use stela_protocol::{Height, pb};

/// Every change of every key, the oldest first. Each result that is applied is a block of its own.
#[derive(Default)]
pub(super) struct State {
    keys: BTreeMap<Vec<u8>, Vec<KeyVersion>>,
    height: u64,
}

impl State {
    pub(super) fn apply(
        &mut self,
        result: &pb::Result,
        invocation: &Invocation,
    ) -> anyhow::Result<()> {
        self.height += 1;
        for write in &result.writes {
            // A key that was read as well is named by its place among the reads, from 1 on.
            let key = match write.read.checked_sub(1) {
                None => &write.key,
                Some(place) => {
                    let read = result.reads.get(place as usize);
                    &read.context("a write names no read")?.key
                }
            };
            let argument = |place: u32| invocation.arguments.get(place as usize).cloned();
            let value = match write.change.as_ref().context("a write changes nothing")? {
                Change::Value(value) => Some(value.clone()),
                Change::Argument(place) => {
                    Some(argument(*place).context("a write names no argument")?)
                }
                Change::Delete(_) => None,
            };
            let height = Height {
                block: self.height,
                transaction: 0,
            };
            let version = KeyVersion {
                height,
                transaction: invocation.transaction_id,
                time_ms: invocation.timestamp_ms,
                value,
            };
            self.keys.entry(key.to_vec()).or_default().push(version);
        }
        Ok(())
    }
}

/// What a key holds, and since when.
fn newest(changes: &[KeyVersion]) -> Option<(Bytes, Height)> {
    let version = changes.last()?;
    Some((version.value.clone()?, version.height))
}

impl StateView for State {
    fn get(&self, key: &[u8]) -> Result<Option<(Bytes, Height)>, StateError> {
        Ok(self.keys.get(key).and_then(|changes| newest(changes)))
    }

    fn range(
        &self,
        start: &[u8],
        end: &[u8],
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes, Height)>, StateError> {
        let keys = self.keys.range(start.to_vec()..end.to_vec());
        let rows = keys.filter_map(|(key, changes)| {
            let (value, height) = newest(changes)?;
            Some((Bytes::copy_from_slice(key), value, height))
        });
        Ok(rows.take(limit).collect())
    }

    fn history(
        &self,
        key: &[u8],
        before: Option<Height>,
        limit: usize,
    ) -> Result<Vec<KeyVersion>, StateError> {
        let changes = self.keys.get(key).into_iter().flatten().rev();
        let older = changes.filter(|change| before.is_none_or(|before| change.height < before));
        Ok(older.take(limit).cloned().collect())
    }
}

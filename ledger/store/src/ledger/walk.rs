//! Walking through a whole ledger in parts, to look whether it is still what was written.

use bytes::Bytes;
use stela_protocol::{ContractName, Height, key};

use super::read::{LedgerRead, StateSnapshot};
use super::records::VersionedValue;
use crate::error::StoreError;
use crate::kv::Direction;
use crate::layout;

/// One key of the state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateEntry {
    /// The contract.
    pub namespace: ContractName,
    /// Its key.
    pub key: Bytes,
    /// The value, and where it was written.
    pub value: VersionedValue,
}

/// A part of the state, in the order of the store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StateEntries {
    /// What was found.
    pub entries: Vec<StateEntry>,
    /// Where the next part begins; nothing at the end.
    pub next: Option<Bytes>,
}

/// The newest change of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The contract.
    pub namespace: ContractName,
    /// Its key.
    pub key: Bytes,
    /// Where it was changed.
    pub height: Height,
    /// Whether it was deleted, else it was written.
    pub deleted: bool,
}

/// A part of all newest changes, in the order of the store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// What was found, one for each key.
    pub changes: Vec<Change>,
    /// Where the next part begins; nothing at the end.
    pub next: Option<Bytes>,
}

impl StateSnapshot {
    /// At most `limit` keys of all contracts, from `start` on.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read or is damaged.
    pub fn state_entries(&self, start: &[u8], limit: usize) -> Result<StateEntries, StoreError> {
        let direction = Direction::Forward;
        let found = self
            .reader()
            .range(layout::STATE, start, None, limit, direction)?;
        let next = found
            .last()
            .filter(|_| found.len() == limit)
            .map(|(key, _)| [key, &[0][..]].concat().into());
        let entries = found.into_iter().map(|(key, value)| {
            let (namespace, key) = layout::decode_state_key(&key)?;
            let value = layout::decode_state(value)?;
            Ok(StateEntry {
                namespace,
                key,
                value,
            })
        });
        Ok(StateEntries {
            entries: entries.collect::<Result<_, StoreError>>()?,
            next,
        })
    }

    /// The newest changes of the keys among the next `limit` changes from `start` on.
    ///
    /// # Errors
    /// As [`StateSnapshot::state_entries`].
    pub fn newest_changes(&self, start: &[u8], limit: usize) -> Result<Changes, StoreError> {
        let direction = Direction::Forward;
        let found = self
            .reader()
            .range(layout::HISTORY, start, None, limit, direction)?;
        let full = found.len() == limit;
        let mut changes: Vec<Change> = Vec::new();
        for (key, value) in found {
            let change = read_change(&key, value)?;
            match changes.last_mut() {
                Some(last) if same_key(last, &change) => *last = change,
                _ => changes.push(change),
            }
        }
        // The last key may have further changes behind this part.
        let Some(last) = changes.last_mut().filter(|_| full) else {
            return Ok(Changes {
                changes,
                next: None,
            });
        };
        let prefix = layout::history_prefix(&last.namespace, &last.key);
        let end = key::prefix_end(&prefix);
        let newest = self.reader().range(
            layout::HISTORY,
            &prefix,
            end.as_deref(),
            1,
            Direction::Backward,
        )?;
        if let Some((key, value)) = newest.into_iter().next() {
            *last = read_change(&key, value)?;
        }
        let next = end.map(Bytes::from);
        Ok(Changes { changes, next })
    }
}

fn read_change(key: &Bytes, value: Bytes) -> Result<Change, StoreError> {
    let (namespace, of, height) = layout::decode_history_key(key)?;
    let at = &key[key.len() - layout::HEIGHT_BYTES..];
    let deleted = layout::decode_history(at, value)?.deleted;
    Ok(Change {
        namespace,
        key: of,
        height,
        deleted,
    })
}

fn same_key(one: &Change, other: &Change) -> bool {
    one.namespace == other.namespace && one.key == other.key
}

//! What changed in a range: the range as it is now is rolled back, transaction by transaction, until
//! it is as it was read.

use std::collections::BTreeMap;

use bytes::Bytes;
use stela_protocol::transaction::{RangeRead, Transaction};
use stela_protocol::{Hash32, Height, hash};

use super::ChangedRange;
use super::inquiry::{Inquiry, Written};
use crate::limits::EXPLAIN_ROLLBACKS_MAX;

impl Inquiry {
    /// The ranges that are not as they were read. That one is, is certain only when all blocks have
    /// been seen.
    pub(super) fn ranges(&self, transaction: &Transaction) -> Vec<ChangedRange> {
        let ranges = transaction.result.ranges.iter();
        ranges
            .filter_map(|range| self.changed_range(range))
            .collect()
    }

    fn changed_range(&self, range: &RangeRead) -> Option<ChangedRange> {
        let inside = |written: &&Written| range.start <= written.key && written.key < range.end;
        let writes: Vec<&Written> = self.written.iter().filter(inside).collect();
        let complete = self.lowest.0 <= 1;
        let since = complete
            .then(|| since(&writes, range.results_hash))
            .flatten();
        if since == Some(writes.len()) {
            return None;
        }
        Some(ChangedRange {
            start: range.start.clone(),
            end: range.end.clone(),
            changes: self.newest(&writes[since.unwrap_or_default()..]),
            exact: since.is_some(),
        })
    }
}

/// How many of the writes had been made when the range was as it was read.
fn since(writes: &[&Written], read: Hash32) -> Option<usize> {
    let mut made = writes.len();
    for _ in 0..=EXPLAIN_ROLLBACKS_MAX {
        if content(&writes[..made]) == read {
            return Some(made);
        }
        // All writes of one transaction are undone together.
        let newest = writes[..made].last()?.height;
        made = writes[..made].partition_point(|written| written.height < newest);
    }
    None
}

fn content(writes: &[&Written]) -> Hash32 {
    let mut found: BTreeMap<&Bytes, Height> = BTreeMap::new();
    for written in writes {
        match written.deleted {
            true => drop(found.remove(&written.key)),
            false => drop(found.insert(&written.key, written.height)),
        }
    }
    hash::range_results(found.iter().map(|(key, height)| (key.as_ref(), *height)))
}

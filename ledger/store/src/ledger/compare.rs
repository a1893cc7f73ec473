//! Compares what two ledgers derived from the same blocks.

use std::cmp::Ordering;
use std::fmt;

use bytes::Bytes;
use stela_protocol::Height;

use crate::error::StoreError;
use crate::kv::{Family, KvRead, Scan, scan_by};
use crate::layout;
use crate::limits::COMPARE_PAGE_ENTRIES;

/// What follows from the blocks alone, with the blocks themselves: of their signatures only those
/// are kept that count. Side items do not follow from them, nor do the peer's own notes.
const DERIVED: &[Family] = &[
    layout::BLOCKS,
    layout::CODES,
    layout::STATE,
    layout::HISTORY,
    layout::TRANSACTIONS,
    layout::CERTIFICATES,
];

/// In what an entry is not as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// It is not there.
    Missing,
    /// It should not be there.
    Unexpected,
    /// It is another one.
    Different,
}

/// An entry that is not as it should be. It names no key and no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The family, as the table in [`layout`](crate::layout) names it.
    pub family: Family,
    /// Where the entry comes from, as far as it says: of the one that should be there if there is
    /// one, else of the one found.
    pub at: Option<Height>,
    /// What is wrong.
    pub found: Found,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = match self.found {
            Found::Missing => "is missing",
            Found::Unexpected => "should not be there",
            Found::Different => "is another than the blocks say",
        };
        match self.at {
            Some(at) => write!(
                f,
                "{}: an entry of block {}, transaction {}, {found}",
                self.family, at.block, at.transaction
            ),
            None => write!(f, "{}: an entry {found}", self.family),
        }
    }
}

/// The first `limit` differences between what should be and what is in blocks and everything that
/// follows from them, the head and the configuration included.
///
/// # Errors
/// [`StoreError`] when one of them cannot be read.
pub fn compare(
    expected: &dyn KvRead,
    found: &dyn KvRead,
    limit: usize,
) -> Result<Vec<Difference>, StoreError> {
    let mut differences = Vec::new();
    for key in [layout::HEAD_KEY, layout::CONFIG_KEY] {
        let expected = expected.get(layout::META, key)?;
        let found = found.get(layout::META, key)?;
        if let Some(found) = differs(expected.as_ref(), found.as_ref()) {
            differences.push(Difference {
                family: layout::META,
                at: None,
                found,
            });
        }
    }
    for family in DERIVED {
        compare_family(family, expected, found, limit, &mut differences)?;
    }
    differences.truncate(limit);
    Ok(differences)
}

fn differs(expected: Option<&Bytes>, found: Option<&Bytes>) -> Option<Found> {
    match (expected, found) {
        (Some(_), None) => Some(Found::Missing),
        (None, Some(_)) => Some(Found::Unexpected),
        (expected, found) => (expected != found).then_some(Found::Different),
    }
}

fn compare_family(
    family: Family,
    expected: &dyn KvRead,
    found: &dyn KvRead,
    limit: usize,
    differences: &mut Vec<Difference>,
) -> Result<(), StoreError> {
    let mut expected = all(expected, family);
    let mut found = all(found, family);
    let (mut left, mut right) = (expected.next().transpose()?, found.next().transpose()?);
    while differences.len() < limit {
        let order = match (&left, &right) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((left, _)), Some((right, _))) => left.cmp(right),
        };
        let (here, there) = (
            left.as_ref().filter(|_| order.is_le()),
            right.as_ref().filter(|_| order.is_ge()),
        );
        let difference = differs(here.map(|(_, value)| value), there.map(|(_, value)| value));
        if let (Some(found), Some((key, value))) = (difference, here.or(there)) {
            let at = place(family, key, value);
            differences.push(Difference { family, at, found });
        }
        if order.is_le() {
            left = expected.next().transpose()?;
        }
        if order.is_ge() {
            right = found.next().transpose()?;
        }
    }
    Ok(())
}

fn all(reader: &dyn KvRead, family: Family) -> Scan<'_> {
    scan_by(reader, family, Vec::new(), None, COMPARE_PAGE_ENTRIES)
}

/// Where an entry comes from; nothing when it cannot be read.
fn place(family: Family, key: &Bytes, value: &Bytes) -> Option<Height> {
    let of_block = |block| Height {
        block,
        transaction: 0,
    };
    match family {
        layout::STATE => Some(layout::decode_state(value.clone()).ok()?.height),
        layout::HISTORY => Some(layout::decode_history_key(key).ok()?.2),
        layout::TRANSACTIONS => Some(layout::decode_transaction(value.clone()).ok()?.height),
        layout::CERTIFICATES => {
            let from = layout::decode_certificate(value.clone()).ok()?.from;
            Some(of_block(from.0.checked_sub(1)?))
        }
        layout::BLOCKS | layout::CODES => {
            Some(of_block(u64::from_be_bytes(key.as_ref().try_into().ok()?)))
        }
        _ => None,
    }
}

//! Whether what a transaction read is still so, earlier valid writes of the same block included.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use stela_protocol::hash::{self, StateChange};
use stela_protocol::limits::RANGE_RESULTS_MAX;
use stela_protocol::transaction::{RangeRead, Transaction};
use stela_protocol::{BlockNumber, ContractName, Height, ValidationCode};
use stela_store::{StateSnapshot, StoreError};

use super::Candidate;
use crate::limits::{RANGE_PAGE, VERSIONS_PER_READ};

/// What the valid transactions of a block have written so far, the last write of each key.
#[derive(Default)]
pub(super) struct Overlay {
    changes: BTreeMap<ContractName, BTreeMap<Bytes, Change>>,
}

struct Change {
    height: Height,
    value: Option<Bytes>,
}

impl Change {
    /// The key's version; none when it was deleted.
    fn version(&self) -> Option<Height> {
        self.value.as_ref().map(|_| self.height)
    }
}

impl Overlay {
    /// The changes in ascending order of namespace and key.
    pub(super) fn changes(&self) -> impl Iterator<Item = StateChange<'_>> {
        self.changes.iter().flat_map(|(namespace, changes)| {
            changes.iter().map(|(key, change)| StateChange {
                namespace: namespace.as_str(),
                key,
                value: change.value.as_deref(),
                transaction: change.height.transaction,
            })
        })
    }

    fn get(&self, namespace: &ContractName, key: &Bytes) -> Option<&Change> {
        self.changes.get(namespace)?.get(key)
    }

    pub(super) fn apply(&mut self, transaction: &Transaction, height: Height) {
        let changes = self
            .changes
            .entry(transaction.proposal.contract.clone())
            .or_default();
        for write in &transaction.result.writes {
            let change = Change {
                height,
                value: write.value.clone(),
            };
            changes.insert(write.key.clone(), change);
        }
    }
}

/// Fails, in the order of the block, candidates that read what is no longer so; gathers what the
/// others write.
pub(super) fn check(
    number: BlockNumber,
    candidates: &mut [Candidate],
    snapshot: &StateSnapshot,
) -> Result<Overlay, StoreError> {
    let versions = Versions::read(candidates, snapshot)?;
    let mut overlay = Overlay::default();
    let mut verdicts = Vec::new();
    for (index, candidate) in candidates.iter().enumerate() {
        let Some(transaction) = candidate.open_transaction() else {
            continue;
        };
        match conflict(transaction, &versions, &overlay, snapshot)? {
            Some(code) => verdicts.push((index, code)),
            None => overlay.apply(transaction, height(number, index)),
        }
    }
    for (index, code) in verdicts {
        candidates[index].fail(code);
    }
    Ok(overlay)
}

pub(super) fn height(number: BlockNumber, index: usize) -> Height {
    let transaction =
        u32::try_from(index).expect("a block has at most BLOCK_TRANSACTIONS_MAX envelopes");
    Height {
        block: number.0,
        transaction,
    }
}

fn conflict(
    transaction: &Transaction,
    versions: &Versions,
    overlay: &Overlay,
    snapshot: &StateSnapshot,
) -> Result<Option<ValidationCode>, StoreError> {
    let namespace = &transaction.proposal.contract;
    let changed = transaction.result.reads.iter().any(|(key, read)| {
        let now = match overlay.get(namespace, key) {
            Some(change) => change.version(),
            None => versions.get(namespace, key),
        };
        now != *read
    });
    if changed {
        return Ok(Some(ValidationCode::MvccReadConflict));
    }
    let mut left = RANGE_RESULTS_MAX;
    for range in &transaction.result.ranges {
        let results = range_results(namespace, range, overlay, snapshot, &mut left)?;
        if results != Some(range.results_hash) {
            return Ok(Some(ValidationCode::PhantomReadConflict));
        }
    }
    Ok(None)
}

/// What a range holds now; nothing when that is more than a transaction may have read. `left` is
/// what its other ranges leave of [`RANGE_RESULTS_MAX`].
fn range_results(
    namespace: &ContractName,
    range: &RangeRead,
    overlay: &Overlay,
    snapshot: &StateSnapshot,
    left: &mut usize,
) -> Result<Option<stela_protocol::Hash32>, StoreError> {
    let mut found: BTreeMap<Bytes, Height> = BTreeMap::new();
    let mut start = range.start.clone();
    loop {
        let page = snapshot.range(namespace, &start, &range.end, RANGE_PAGE)?;
        let Some(rest) = left.checked_sub(page.len()) else {
            return Ok(None);
        };
        *left = rest;
        let last = page
            .last()
            .map(|(key, _)| key.clone())
            .filter(|_| page.len() == RANGE_PAGE);
        found.extend(page.into_iter().map(|(key, value)| (key, value.height)));
        match last {
            Some(last) => start = [&last[..], &[0]].concat().into(),
            None => break,
        }
    }
    let changes = overlay.changes.get(namespace);
    for (key, change) in changes
        .into_iter()
        .flat_map(|c| c.range(range.start.clone()..range.end.clone()))
    {
        match change.version() {
            Some(height) => drop(found.insert(key.clone(), height)),
            None => drop(found.remove(key)),
        }
    }
    Ok(Some(hash::range_results(
        found.iter().map(|(key, height)| (key.as_ref(), *height)),
    )))
}

/// The versions, before the block, of every key that an open candidate read.
struct Versions(HashMap<ContractName, HashMap<Bytes, Height>>);

impl Versions {
    fn read(candidates: &[Candidate], snapshot: &StateSnapshot) -> Result<Self, StoreError> {
        let open = candidates
            .iter()
            .filter_map(|candidate| candidate.open_transaction());
        let keys: BTreeSet<(&ContractName, &Bytes)> = open
            .flat_map(|t| {
                t.result
                    .reads
                    .iter()
                    .map(|(key, _)| (&t.proposal.contract, key))
            })
            .collect();
        let keys: Vec<_> = keys.into_iter().collect();
        let mut versions: HashMap<ContractName, HashMap<Bytes, Height>> = HashMap::new();
        for page in keys.chunks(VERSIONS_PER_READ) {
            let wanted: Vec<(&ContractName, &[u8])> = page
                .iter()
                .map(|(namespace, key)| (*namespace, key.as_ref()))
                .collect();
            for ((namespace, key), found) in page.iter().zip(snapshot.multi_get(&wanted)?) {
                if let Some(found) = found {
                    let of_namespace = versions.entry((*namespace).clone()).or_default();
                    of_namespace.insert((*key).clone(), found.height);
                }
            }
        }
        Ok(Self(versions))
    }

    fn get(&self, namespace: &ContractName, key: &Bytes) -> Option<Height> {
        self.0.get(namespace)?.get(key).copied()
    }
}

//! Ledgers that are compared, walked through and rebuilt.

use bytes::Bytes;

use super::tests::{channel, contract, genesis, id, item, next, promise_all, put, write};
use super::*;
use crate::buffered::BufferedKv;
use crate::kv::{Direction, Family};
use crate::memory::MemoryKv;

fn memory() -> Arc<MemoryKv> {
    Arc::new(MemoryKv::new(layout::FAMILIES))
}

fn open(kv: &Arc<MemoryKv>) -> PeerLedger {
    PeerLedger::open(kv.clone(), &channel()).unwrap()
}

/// Three blocks that write, write again and delete.
fn fill(ledger: &PeerLedger) {
    genesis(ledger);
    let certificate = (
        stela_protocol::Fingerprint([7; 32]),
        Bytes::from_static(b"DER"),
    );
    let first = BlockCommit {
        writes: ["a", "b", "c"].map(|key| write(key, Some("1"), 0)).to_vec(),
        transactions: vec![(id(1), 0)],
        certificates: vec![certificate],
        ..next(ledger)
    };
    ledger.commit(first).unwrap();
    let second = BlockCommit {
        writes: vec![write("b", None, 0), write("c", Some("2"), 1)],
        ..next(ledger)
    };
    ledger.commit(second).unwrap();
}

fn alter(kv: &MemoryKv, family: Family, change: impl Fn(&mut WriteBatch, Bytes, Bytes)) {
    let entry = kv
        .range(family, &[], None, 1, Direction::Backward)
        .unwrap()
        .remove(0);
    let mut batch = WriteBatch::new();
    change(&mut batch, entry.0, entry.1);
    kv.write(batch, Durability::Synced).unwrap();
}

#[test]
fn what_differs_from_the_blocks_is_found_in_every_family() {
    let right = memory();
    fill(&open(&right));
    let differences = |found: &MemoryKv| compare(right.as_ref(), found, 9).unwrap();
    assert!(differences(&right.crash()).is_empty());
    for family in [
        layout::BLOCKS,
        layout::CODES,
        layout::STATE,
        layout::HISTORY,
        layout::TRANSACTIONS,
        layout::CERTIFICATES,
    ] {
        let check = |found: Found, change: &dyn Fn(&mut WriteBatch, Bytes, Bytes)| {
            let wrong = right.crash();
            alter(&wrong, family, change);
            let differences = differences(&wrong);
            assert_eq!(differences.len(), 1, "{family} {found:?}");
            let difference = &differences[0];
            assert_eq!((difference.family, difference.found), (family, found));
            assert!(difference.at.is_some());
        };
        check(Found::Missing, &|batch, key, _| batch.delete(family, key));
        check(Found::Unexpected, &|batch, mut key, value| {
            let mut longer = key.split_off(0).to_vec();
            let last = longer.len() - 1;
            longer[last] ^= 0xff;
            batch.put(family, longer, value);
        });
        check(Found::Different, &|batch, key, value| {
            let mut value = value.to_vec();
            let last = value.len() - 1;
            value[last] ^= 1;
            batch.put(family, key, value);
        });
    }
    let wrong = right.crash();
    alter(&wrong, layout::META, |batch, key, value| {
        assert_eq!(&key[..], layout::HEAD_KEY);
        let mut value = value.to_vec();
        let last = value.len() - 1;
        value[last] ^= 1;
        batch.put(layout::META, key, value);
    });
    assert_eq!(differences(&wrong)[0].family, layout::META);
}

#[test]
fn no_more_differences_are_named_than_were_asked_for() {
    let (right, empty) = (memory(), memory());
    fill(&open(&right));
    assert_eq!(compare(right.as_ref(), empty.as_ref(), 4).unwrap().len(), 4);
}

#[test]
fn a_walk_sees_every_key_once_whatever_the_size_of_its_parts() {
    let kv = memory();
    fill(&open(&kv));
    let snapshot = open(&kv).snapshot().unwrap();
    for limit in 1..6 {
        let (mut start, mut seen) = (Bytes::new(), Vec::new());
        loop {
            let part = snapshot.state_entries(&start, limit).unwrap();
            seen.extend(part.entries.into_iter().map(|entry| {
                assert_eq!(entry.namespace, contract());
                (entry.key, entry.value.height.to_string())
            }));
            let Some(next) = part.next else { break };
            start = next;
        }
        let expected = [("a", "1:0"), ("c", "2:1")];
        assert_eq!(seen, expected.map(|(k, h)| (Bytes::from(k), h.to_owned())));
        let (mut start, mut seen) = (Bytes::new(), Vec::new());
        loop {
            let part = snapshot.newest_changes(&start, limit).unwrap();
            let change = |c: Change| (c.key, c.height.to_string(), c.deleted);
            seen.extend(part.changes.into_iter().map(change));
            let Some(next) = part.next else { break };
            start = next;
        }
        let expected = [("a", "1:0", false), ("b", "2:0", true), ("c", "2:1", false)];
        let expected = expected.map(|(k, h, d)| (Bytes::from(k), h.to_owned(), d));
        assert_eq!(seen, expected, "{limit}");
    }
}

#[test]
fn a_rebuilt_ledger_has_the_side_items_of_the_old_one_and_none_that_was_erased() {
    let old = memory();
    let ledger = open(&old);
    genesis(&ledger);
    let [here, waits, missing, erased, damaged, late] =
        ["here", "waits", "missing", "erased", "damaged", "late"].map(|text| item(text, 5));
    for item in [&here, &waits, &erased, &damaged] {
        put(&ledger, item).unwrap();
    }
    let promised = [&here, &missing, &erased, &damaged];
    promise_all(&ledger, &promised);
    ledger.side_erase(&erased.commitment).unwrap();
    // A flipped bit that no checksum of the store notices.
    let key = layout::side_key(&damaged.commitment, &damaged.transaction);
    let mut value = old.get(layout::SIDE, &key).unwrap().unwrap().to_vec();
    let last = value.len() - 1;
    value[last] ^= 1;
    let mut batch = WriteBatch::new();
    batch.put(layout::SIDE, key, value);
    old.write(batch, Durability::Synced).unwrap();
    ledger
        .halt(&Halt {
            cause: HaltCause::Damaged,
            height: 2,
            what: "a flipped bit".to_owned(),
        })
        .unwrap();

    let new = memory();
    let buffered = Arc::new(BufferedKv(new.clone()));
    let rebuilt = PeerLedger::open(buffered, &channel()).unwrap();
    genesis(&rebuilt);
    promise_all(&rebuilt, &promised);
    let faults = check_side(new.as_ref(), old.as_ref(), 9).unwrap();
    let place = (damaged.commitment, damaged.transaction);
    assert_eq!(faults, [(Some(place), SideFault::Damaged)]);
    let copy = copy_side(old.as_ref(), new.as_ref()).unwrap();
    let expected = SideCopy {
        copied: 2,
        to_fetch: 1,
        lost: 0,
    };
    assert_eq!(copy, expected);
    // All of it is durable at once.
    let new = Arc::new(new.crash());
    let rebuilt = open(&new);
    assert_eq!(rebuilt.head(), ledger.head());
    assert_eq!(rebuilt.halted(), Ok(None));
    let state = |item: &SideRecord| {
        let found = rebuilt.side_of(&item.commitment, &item.transaction);
        found.unwrap().map(|record| record.state)
    };
    assert_eq!(state(&here), Some(SideState::Committed));
    assert_eq!(state(&waits), Some(SideState::Pending));
    for item in [&missing, &erased, &damaged] {
        assert_eq!(state(item), None);
    }
    let mut left: Vec<Hash32> = rebuilt
        .side_missing(None, 9)
        .unwrap()
        .into_iter()
        .map(|missing| missing.commitment)
        .collect();
    let mut expected = vec![missing.commitment, damaged.commitment];
    left.sort();
    expected.sort();
    assert_eq!(left, expected);
    // What waited is committed by its transaction, and goes on being counted.
    promise_all(&rebuilt, &[&waits]);
    assert_eq!(state(&waits), Some(SideState::Committed));
    put(&rebuilt, &late).unwrap();
    assert_eq!(rebuilt.side_purge_pending(u64::MAX), Ok(1));
}

#[test]
fn an_item_that_nothing_promises_or_without_its_place_in_the_index_is_a_fault() {
    let (old, new) = (memory(), memory());
    let (ledger, rebuilt) = (open(&old), open(&new));
    genesis(&ledger);
    genesis(&rebuilt);
    let (stray, waits) = (item("stray", 5), item("waits", 6));
    put(&ledger, &stray).unwrap();
    promise_all(&ledger, &[&stray]);
    put(&ledger, &waits).unwrap();
    rebuilt.commit(next(&rebuilt)).unwrap();
    let faults = || {
        let faults = check_side(new.as_ref(), old.as_ref(), 9).unwrap();
        faults
            .into_iter()
            .map(|(_, fault)| fault)
            .collect::<Vec<_>>()
    };
    assert_eq!(faults(), [SideFault::NotPromised]);
    let mut batch = WriteBatch::new();
    batch.delete_range(layout::PENDING, Bytes::new(), vec![0xff; 9]);
    old.write(batch, Durability::Synced).unwrap();
    let mut found = faults();
    found.sort_by_key(|fault| format!("{fault:?}"));
    assert_eq!(found, [SideFault::Index, SideFault::NotPromised]);
    // Taken over, it would be in the way of its own transaction.
    assert_eq!(copy_side(old.as_ref(), new.as_ref()).unwrap().lost, 1);
    promise_all(&open(&new), &[&waits]);
}

#[test]
fn why_a_channel_was_halted_stays_and_the_first_reason_counts() {
    let kv = memory();
    let ledger = open(&kv);
    genesis(&ledger);
    assert_eq!(ledger.halted(), Ok(None));
    let first = Halt {
        cause: HaltCause::Outvoted {
            majority: Hash32([1; 32]),
        },
        height: 1,
        what: "é".repeat(HALT_REASON_BYTES_MAX),
    };
    ledger.halt(&first).unwrap();
    let second = Halt {
        cause: HaltCause::Damaged,
        ..first.clone()
    };
    ledger.halt(&second).unwrap();
    let found = open(&Arc::new(kv.crash())).halted().unwrap().unwrap();
    assert_eq!((found.cause, found.height), (first.cause, 1));
    assert_eq!(found.what.len(), HALT_REASON_BYTES_MAX);
}

#[test]
fn the_newest_blocks_and_state_hashes_are_found() {
    let kv = memory();
    let ledger = open(&kv);
    assert_eq!(ledger.newest_stored(), Ok(None));
    assert!(ledger.recent_state_hashes(9).unwrap().is_empty());
    fill(&ledger);
    assert_eq!(
        ledger.newest_stored(),
        Ok(Some(stela_protocol::BlockNumber(2)))
    );
    let recent = ledger.recent_state_hashes(2).unwrap();
    let hash = |number: u64| {
        let block = ledger.block(stela_protocol::BlockNumber(number));
        block.unwrap().unwrap().state_hash
    };
    assert_eq!(recent, [(3, hash(2)), (2, hash(1))]);
    assert_eq!(recent[0].1, ledger.head().state_hash);
}

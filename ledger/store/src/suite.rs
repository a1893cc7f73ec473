//! What every implementation of [`Kv`] must do, as tests.

use std::collections::BTreeSet;

use bytes::Bytes;
use proptest::prelude::*;

use crate::error::StoreError;
use crate::kv::{Direction, Durability, Family, Kv, KvRead, WriteBatch, scan};
use crate::limits::{RANGE_ENTRIES_MAX, SCAN_PAGE_ENTRIES};
use crate::memory::MemoryKv;
use crate::rocks::{RocksKv, RocksSettings};

pub(crate) const A: Family = "a";
pub(crate) const B: Family = "b";
pub(crate) const FAMILIES: &[Family] = &[A, B];

/// Runs the whole suite on fresh stores.
pub(crate) fn run<K: Kv>(fresh: impl Fn() -> K) {
    reads_what_was_written(&fresh());
    a_batch_is_applied_whole_or_not_at_all(&fresh());
    operations_of_a_batch_apply_in_order(&fresh());
    ranges_have_bounds_limits_and_directions(&fresh());
    a_snapshot_shows_one_moment(&fresh());
    a_scan_reads_every_page(&fresh());
    a_flush_changes_nothing_that_is_read(&fresh());
    erased_keys_are_gone(&fresh());
    limits_are_refused(&fresh());
}

/// Bytes without a pattern that could be compressed; the same ones for the same length.
pub(crate) fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ len as u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    (0..len).map(|_| next()).collect()
}

fn puts(family: Family, entries: &[(&str, &str)]) -> WriteBatch {
    let mut batch = WriteBatch::new();
    for (key, value) in entries {
        batch.put(family, key.as_bytes().to_vec(), value.as_bytes().to_vec());
    }
    batch
}

fn keys(found: Vec<(Bytes, Bytes)>) -> Vec<String> {
    found
        .into_iter()
        .map(|(key, _)| String::from_utf8(key.to_vec()).unwrap())
        .collect()
}

fn reads_what_was_written(kv: &impl Kv) {
    kv.write(
        puts(A, &[("x", "1"), ("", "empty key"), ("z", "")]),
        Durability::Synced,
    )
    .unwrap();
    kv.write(puts(B, &[("x", "2")]), Durability::Buffered)
        .unwrap();
    assert_eq!(kv.get(A, b"x").unwrap().unwrap(), "1");
    assert_eq!(kv.get(B, b"x").unwrap().unwrap(), "2");
    assert_eq!(kv.get(A, b"").unwrap().unwrap(), "empty key");
    assert_eq!(kv.get(A, b"z").unwrap().unwrap(), "");
    assert_eq!(kv.get(A, b"y"), Ok(None));
    let found = kv.multi_get(A, &[b"z", b"y", b"x", b"x"]).unwrap();
    assert_eq!(
        found,
        [Some("".into()), None, Some("1".into()), Some("1".into())]
    );
}

fn a_batch_is_applied_whole_or_not_at_all(kv: &impl Kv) {
    let mut batch = puts(A, &[("x", "1")]);
    batch.put("unknown", "x", "1");
    let refused = kv.write(batch, Durability::Synced);
    assert_eq!(
        refused,
        Err(StoreError::UnknownFamily("unknown".to_owned()))
    );
    assert_eq!(kv.get(A, b"x"), Ok(None));
    assert_eq!(
        kv.get("unknown", b"x"),
        Err(StoreError::UnknownFamily("unknown".to_owned()))
    );
}

fn operations_of_a_batch_apply_in_order(kv: &impl Kv) {
    let mut batch = puts(A, &[("a", "1"), ("b", "1"), ("c", "1"), ("a", "2")]);
    batch.delete(A, "b");
    batch.delete_range(A, "c", "d");
    batch.put(A, "c", "3");
    batch.delete_range(A, "z", "a");
    kv.write(batch, Durability::Synced).unwrap();
    let found = kv.range(A, b"", None, 10, Direction::Forward).unwrap();
    assert_eq!(found, [("a".into(), "2".into()), ("c".into(), "3".into())]);
}

fn ranges_have_bounds_limits_and_directions(kv: &impl Kv) {
    kv.write(
        puts(A, &[("a", ""), ("b", ""), ("c", ""), ("d", "")]),
        Durability::Synced,
    )
    .unwrap();
    kv.write(puts(B, &[("bb", "")]), Durability::Synced)
        .unwrap();
    let range = |start: &str, end: Option<&str>, limit, direction| {
        let end = end.map(str::as_bytes);
        keys(
            kv.range(A, start.as_bytes(), end, limit, direction)
                .unwrap(),
        )
    };
    use Direction::{Backward, Forward};
    assert_eq!(range("", None, 9, Forward), ["a", "b", "c", "d"]);
    assert_eq!(range("b", Some("d"), 9, Forward), ["b", "c"]);
    assert_eq!(range("b", Some("d"), 9, Backward), ["c", "b"]);
    assert_eq!(range("b", None, 2, Forward), ["b", "c"]);
    assert_eq!(range("b", None, 2, Backward), ["d", "c"]);
    assert!(range("b", None, 0, Forward).is_empty());
    assert!(range("d", Some("b"), 9, Forward).is_empty());
    assert!(range("b", Some("b"), 9, Backward).is_empty());
}

fn a_snapshot_shows_one_moment(kv: &impl Kv) {
    kv.write(puts(A, &[("x", "1"), ("y", "1")]), Durability::Synced)
        .unwrap();
    let snapshot = kv.snapshot();
    let mut batch = puts(A, &[("x", "2"), ("z", "2")]);
    batch.delete(A, "y");
    kv.write(batch, Durability::Synced).unwrap();
    assert_eq!(snapshot.get(A, b"x").unwrap().unwrap(), "1");
    assert_eq!(
        snapshot.multi_get(A, &[b"x", b"y", b"z"]).unwrap(),
        [Some("1".into()), Some("1".into()), None]
    );
    assert_eq!(
        keys(
            snapshot
                .range(A, b"", None, 9, Direction::Backward)
                .unwrap()
        ),
        ["y", "x"]
    );
    assert_eq!(
        keys(kv.range(A, b"", None, 9, Direction::Forward).unwrap()),
        ["x", "z"]
    );
}

fn a_flush_changes_nothing_that_is_read(kv: &impl Kv) {
    kv.flush().unwrap();
    kv.write(puts(A, &[("a", "1"), ("b", "1")]), Durability::Buffered)
        .unwrap();
    let mut batch = puts(B, &[("a", "2")]);
    batch.delete(A, "b");
    kv.write(batch, Durability::Synced).unwrap();
    let snapshot = kv.snapshot();
    kv.flush().unwrap();
    for reader in [kv as &dyn KvRead, snapshot.as_ref()] {
        let found = reader.range(A, b"", None, 10, Direction::Forward).unwrap();
        assert_eq!(found, [("a".into(), "1".into())]);
        assert_eq!(reader.get(B, b"a").unwrap().unwrap(), "2");
    }
}

fn a_scan_reads_every_page(kv: &impl Kv) {
    for count in [
        0,
        1,
        SCAN_PAGE_ENTRIES - 1,
        SCAN_PAGE_ENTRIES,
        2 * SCAN_PAGE_ENTRIES + 1,
    ] {
        let mut batch = WriteBatch::new();
        batch.delete_range(A, "", "z");
        for key in 0..count {
            batch.put(A, format!("{key:06}"), "");
        }
        kv.write(batch, Durability::Buffered).unwrap();
        let found: Result<Vec<_>, _> = scan(kv, A, Vec::new(), None).collect();
        let expected: Vec<_> = (0..count).map(|key| format!("{key:06}")).collect();
        assert_eq!(keys(found.unwrap()), expected);
        let part = scan(kv, A, b"000001".to_vec(), Some(b"000003".to_vec())).count();
        assert_eq!(part, count.clamp(1, 3) - 1);
    }
}

fn erased_keys_are_gone(kv: &impl Kv) {
    kv.write(puts(A, &[("x", "1"), ("y", "1")]), Durability::Synced)
        .unwrap();
    kv.erase(A, &[b"x", b"never"]).unwrap();
    assert_eq!(kv.get(A, b"x"), Ok(None));
    assert_eq!(kv.get(A, b"y").unwrap().unwrap(), "1");
}

fn limits_are_refused(kv: &impl Kv) {
    let asked = RANGE_ENTRIES_MAX + 1;
    let refused = kv.range(A, b"", None, asked, Direction::Forward);
    assert!(matches!(refused, Err(StoreError::Limit { .. })));
}

#[derive(Debug, Clone)]
enum Step {
    Put(bool, Vec<u8>, Vec<u8>),
    Delete(bool, Vec<u8>),
    DeleteRange(bool, Vec<u8>, Vec<u8>),
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop::sample::select(vec![0, 1, 127, 255]), 0..4)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (any::<bool>(), key(), prop::collection::vec(any::<u8>(), 0..8))
            .prop_map(|(family, key, value)| Step::Put(family, key, value)),
        2 => (any::<bool>(), key()).prop_map(|(family, key)| Step::Delete(family, key)),
        1 => (any::<bool>(), key(), key())
            .prop_map(|(family, start, end)| Step::DeleteRange(family, start, end)),
    ]
}

fn batch(steps: &[Step]) -> WriteBatch {
    let family = |first: &bool| if *first { A } else { B };
    let mut batch = WriteBatch::new();
    for step in steps {
        match step {
            Step::Put(first, key, value) => batch.put(family(first), key.clone(), value.clone()),
            Step::Delete(first, key) => batch.delete(family(first), key.clone()),
            Step::DeleteRange(first, start, end) => {
                batch.delete_range(family(first), start.clone(), end.clone());
            }
        }
    }
    batch
}

/// Everything that both can be asked, at one moment.
fn agree(left: &dyn KvRead, right: &dyn KvRead, asked: &BTreeSet<Vec<u8>>) {
    for family in FAMILIES {
        let keys: Vec<&[u8]> = asked.iter().map(Vec::as_slice).collect();
        assert_eq!(
            left.multi_get(family, &keys),
            right.multi_get(family, &keys)
        );
        for direction in [Direction::Forward, Direction::Backward] {
            for (start, end) in keys.iter().zip(keys.iter().rev()) {
                let ask = |kv: &dyn KvRead| kv.range(family, start, Some(end), 3, direction);
                assert_eq!(ask(left), ask(right));
            }
            let all = |kv: &dyn KvRead| kv.range(family, b"", None, 1000, direction);
            assert_eq!(all(left), all(right));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn both_stores_agree(batches in prop::collection::vec(prop::collection::vec(step(), 1..8), 1..16),
                         asked in prop::collection::btree_set(key(), 1..12)) {
        let folder = tempfile::tempdir().unwrap();
        let rocks = RocksKv::open(folder.path(), FAMILIES, &RocksSettings::new(1 << 20)).unwrap();
        let memory = MemoryKv::new(FAMILIES);
        let mut snapshots = Vec::new();
        for steps in &batches {
            rocks.write(batch(steps), Durability::Buffered).unwrap();
            memory.write(batch(steps), Durability::Buffered).unwrap();
            agree(&rocks, &memory, &asked);
            snapshots.push((rocks.snapshot(), memory.snapshot()));
        }
        for (left, right) in &snapshots {
            agree(left.as_ref(), right.as_ref(), &asked);
        }
    }
}

use std::path::Path;

use bytes::Bytes;
use proptest::prelude::*;
use stela_protocol::{
    BlockNumber, ContractName, Fingerprint, OrgId, TransactionId, ValidationCode, hash,
};

use super::*;
use crate::memory::MemoryKv;
use crate::rocks::{RocksKv, RocksSettings};

pub(super) fn channel() -> ChannelId {
    ChannelId::new("care").unwrap()
}

pub(super) fn contract() -> ContractName {
    ContractName::new("records").unwrap()
}

pub(super) fn id(seed: u8) -> TransactionId {
    TransactionId([seed; 32])
}

pub(super) fn rocks(path: &Path) -> RocksKv {
    RocksKv::open(path, layout::FAMILIES, &RocksSettings::new(1 << 20)).unwrap()
}

/// Runs a test on both stores.
fn on_both(test: impl Fn(PeerLedger)) {
    test(PeerLedger::open(Arc::new(MemoryKv::new(layout::FAMILIES)), &channel()).unwrap());
    let folder = tempfile::tempdir().unwrap();
    test(PeerLedger::open(Arc::new(rocks(folder.path())), &channel()).unwrap());
}

/// The next block of the ledger, with two valid transactions and nothing in it.
pub(super) fn next(ledger: &PeerLedger) -> BlockCommit {
    let head = ledger.head();
    let number = BlockNumber(head.height);
    BlockCommit {
        number,
        previous_hash: head.header_hash,
        header_hash: hash::header(&head.height.to_be_bytes()),
        time_ms: head.time_ms + 10,
        last_config: head.last_config,
        block: Bytes::from(format!("block {number}")),
        codes: vec![
            ValidationCode::Valid,
            ValidationCode::Valid,
            ValidationCode::BadPayload,
        ],
        state_hash: hash::package(&head.height.to_be_bytes()),
        writes: Vec::new(),
        transactions: Vec::new(),
        certificates: Vec::new(),
        side: Vec::new(),
        config: (head.height == 0).then(|| Bytes::from_static(b"genesis")),
    }
}

pub(super) fn write(key: &str, value: Option<&str>, index: u32) -> StateWrite {
    StateWrite {
        namespace: contract(),
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: value.map(|value| Bytes::copy_from_slice(value.as_bytes())),
        index,
        transaction: id(index as u8),
    }
}

pub(super) fn genesis(ledger: &PeerLedger) {
    ledger.commit(next(ledger)).unwrap();
}

fn values(ledger: &PeerLedger, start: &str, end: &str, limit: usize) -> Vec<String> {
    let snapshot = ledger.snapshot().unwrap();
    let found = snapshot
        .range(&contract(), start.as_bytes(), end.as_bytes(), limit)
        .unwrap();
    let show = |(key, found): (Bytes, VersionedValue)| {
        let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
        format!("{}={}@{}", text(&key), text(&found.value), found.height)
    };
    found.into_iter().map(show).collect()
}

#[test]
fn an_empty_ledger_waits_for_block_0() {
    on_both(|ledger| {
        assert_eq!(ledger.head(), Head::EMPTY);
        assert_eq!(ledger.config(), Ok(None));
        assert_eq!(ledger.block(BlockNumber(0)), Ok(None));
        let without = BlockCommit {
            config: None,
            ..next(&ledger)
        };
        assert!(matches!(
            ledger.commit(without),
            Err(StoreError::Inconsistent { .. })
        ));
        genesis(&ledger);
        assert_eq!(ledger.head().height, 1);
        assert_eq!(ledger.config().unwrap().unwrap(), "genesis");
    });
}

#[test]
fn a_commit_is_read_back() {
    on_both(|ledger| {
        genesis(&ledger);
        let commit = BlockCommit {
            writes: vec![write("a", Some("1"), 0), write("a", Some("2"), 1)],
            transactions: vec![(id(1), 0), (id(2), 2)],
            certificates: vec![(Fingerprint([7; 32]), Bytes::from_static(b"DER"))],
            config: Some(Bytes::from_static(b"newer")),
            last_config: BlockNumber(1),
            ..next(&ledger)
        };
        let committed = ledger.commit(commit.clone()).unwrap();
        assert_eq!(committed.head, ledger.head());
        assert_eq!(ledger.head().last_config, BlockNumber(1));
        let stored = ledger.block(BlockNumber(1)).unwrap().unwrap();
        assert_eq!((stored.block, stored.codes), (commit.block, commit.codes));
        assert_eq!(stored.state_hash, commit.state_hash);
        let record = ledger.transaction(&id(2)).unwrap().unwrap();
        assert_eq!(record.code, ValidationCode::BadPayload);
        assert_eq!(
            record.height,
            Height {
                block: 1,
                transaction: 2
            }
        );
        assert_eq!(record.time_ms, commit.time_ms);
        let found = ledger.transactions(&[id(9), id(1)]).unwrap();
        assert!(found[0].is_none() && found[1].unwrap().code.is_valid());
        let certificate = ledger.certificate(&Fingerprint([7; 32])).unwrap().unwrap();
        assert_eq!(
            (certificate.from, certificate.der),
            (BlockNumber(2), "DER".into())
        );
        assert_eq!(ledger.config().unwrap().unwrap(), "newer");
        assert_eq!(values(&ledger, "", "", 9), ["a=2@1:1"]);
    });
}

#[test]
fn a_certificate_counts_from_its_first_registration() {
    on_both(|ledger| {
        genesis(&ledger);
        let certificates = vec![(Fingerprint([7; 32]), Bytes::from_static(b"DER"))];
        for _ in 0..2 {
            let certificates = [certificates.clone(), certificates.clone()].concat();
            ledger
                .commit(BlockCommit {
                    certificates,
                    ..next(&ledger)
                })
                .unwrap();
        }
        let found = ledger
            .certificates(&[Fingerprint([7; 32]), Fingerprint([8; 32])])
            .unwrap();
        assert_eq!(found[0].as_ref().unwrap().from, BlockNumber(2));
        assert!(found[1].is_none());
    });
}

#[test]
fn only_the_next_block_is_committed() {
    on_both(|ledger| {
        genesis(&ledger);
        let good = next(&ledger);
        let same = BlockCommit {
            number: BlockNumber(0),
            ..good.clone()
        };
        let gap = BlockCommit {
            number: BlockNumber(2),
            ..good.clone()
        };
        let fork = BlockCommit {
            previous_hash: Hash32([9; 32]),
            ..good.clone()
        };
        let early = BlockCommit {
            time_ms: 0,
            ..good.clone()
        };
        let invalid = BlockCommit {
            writes: vec![write("a", None, 2)],
            ..good.clone()
        };
        let unknown = BlockCommit {
            transactions: vec![(id(1), 3)],
            ..good.clone()
        };
        let keyless = BlockCommit {
            writes: vec![write("", None, 0)],
            ..good.clone()
        };
        assert!(matches!(
            ledger.commit(same),
            Err(StoreError::OutOfOrder { .. })
        ));
        assert!(matches!(
            ledger.commit(gap),
            Err(StoreError::OutOfOrder { .. })
        ));
        assert!(matches!(
            ledger.commit(fork),
            Err(StoreError::PreviousHash { .. })
        ));
        for wrong in [early, invalid, unknown, keyless] {
            assert!(matches!(
                ledger.commit(wrong),
                Err(StoreError::Inconsistent { .. })
            ));
        }
        assert_eq!(ledger.head().height, 1);
        ledger.commit(good).unwrap();
    });
}

#[test]
fn a_snapshot_stays_at_its_height() {
    on_both(|ledger| {
        genesis(&ledger);
        let writes = vec![write("a", Some("1"), 0), write("b", Some("1"), 0)];
        ledger
            .commit(BlockCommit {
                writes,
                ..next(&ledger)
            })
            .unwrap();
        let snapshot = ledger.snapshot().unwrap();
        let writes = vec![
            write("a", Some("2"), 0),
            write("b", None, 1),
            write("c", Some("2"), 1),
        ];
        ledger
            .commit(BlockCommit {
                writes,
                ..next(&ledger)
            })
            .unwrap();
        assert_eq!(snapshot.head().height, 2);
        assert_eq!(ledger.snapshot().unwrap().head().height, 3);
        assert_eq!(snapshot.get(&contract(), b"a").unwrap().unwrap().value, "1");
        let asked: [(&ContractName, &[u8]); 3] = [
            (&contract(), b"c"),
            (&contract(), b"b"),
            (&contract(), b"a"),
        ];
        let old = snapshot.multi_get(&asked).unwrap();
        assert!(old[0].is_none() && old[1].is_some() && old[2].is_some());
        let new = ledger.snapshot().unwrap().multi_get(&asked).unwrap();
        assert!(new[0].is_some() && new[1].is_none());
        assert_eq!(
            snapshot.history(&contract(), b"b", None, 9).unwrap().len(),
            1
        );
        assert_eq!(snapshot.block(BlockNumber(2)), Ok(None));
    });
}

#[test]
fn ranges_stay_in_their_namespace() {
    on_both(|ledger| {
        genesis(&ledger);
        let near = |name: &str| StateWrite {
            namespace: ContractName::new(name).unwrap(),
            ..write("x", Some("not mine"), 0)
        };
        let mut writes = vec![near("record"), near("records-2"), near("recordsa")];
        writes.extend(["a", "b", "\u{ff}", "c"].map(|key| write(key, Some("1"), 1)));
        ledger
            .commit(BlockCommit {
                writes,
                ..next(&ledger)
            })
            .unwrap();
        assert_eq!(
            values(&ledger, "", "", 9),
            ["a=1@1:1", "b=1@1:1", "c=1@1:1", "ÿ=1@1:1"]
        );
        assert_eq!(values(&ledger, "b", "c", 9), ["b=1@1:1"]);
        assert_eq!(values(&ledger, "b", "", 2), ["b=1@1:1", "c=1@1:1"]);
        assert!(values(&ledger, "c", "b", 9).is_empty());
    });
}

#[test]
fn the_history_of_a_key_is_newest_first() {
    on_both(|ledger| {
        genesis(&ledger);
        let writes = vec![
            write("a", Some("1"), 0),
            write("aa", Some("1"), 0),
            write("a", None, 1),
        ];
        ledger
            .commit(BlockCommit {
                writes,
                ..next(&ledger)
            })
            .unwrap();
        let writes = vec![write("a", Some("2"), 0)];
        ledger
            .commit(BlockCommit {
                writes,
                ..next(&ledger)
            })
            .unwrap();
        let found = ledger.history(&contract(), b"a", None, 9).unwrap();
        let shown: Vec<_> = found
            .iter()
            .map(|e| (e.height.to_string(), e.deleted))
            .collect();
        let expected = [("2:0", false), ("1:1", true), ("1:0", false)];
        assert_eq!(
            shown,
            expected.map(|(height, deleted)| (height.to_owned(), deleted))
        );
        assert_eq!(found[1].transaction, id(1));
        let before = |entry: usize, limit| {
            let height = Some(found[entry].height);
            ledger.history(&contract(), b"a", height, limit).unwrap()
        };
        assert_eq!(
            ledger.history(&contract(), b"a", None, 1).unwrap(),
            found[..1]
        );
        assert_eq!(before(0, 9), found[1..]);
        assert_eq!(before(0, 1), found[1..2]);
        assert!(before(2, 9).is_empty());
        for entry in &found {
            let version = ledger.version(&contract(), b"a", entry.height).unwrap();
            assert_eq!(version.as_ref(), Some(entry));
        }
        let never = Height {
            block: 2,
            transaction: 1,
        };
        assert_eq!(ledger.version(&contract(), b"a", never), Ok(None));
        let no_key = [0; 1 << 17];
        assert!(
            ledger
                .history(&contract(), &no_key, None, 1)
                .unwrap()
                .is_empty()
        );
        assert_eq!(ledger.version(&contract(), &no_key, never), Ok(None));
    });
}

pub(super) fn item(payload: &str, received_ms: u64) -> SideRecord {
    let (salt, payload) = (
        Bytes::from_static(&[5; 16]),
        Bytes::from(payload.to_owned()),
    );
    SideRecord {
        commitment: hash::side_commitment(&salt, &payload),
        state: SideState::Pending,
        transaction: id(4),
        received_ms,
        organizations: vec![OrgId::new("HospitalA").unwrap()],
        salt,
        payload,
    }
}

fn promise(item: &SideRecord) -> SidePromise {
    SidePromise {
        commitment: item.commitment,
        transaction: item.transaction,
        organizations: item.organizations.clone(),
    }
}

/// The same item under another transaction and for others.
fn repeated(item: &SideRecord, transaction: u8, organization: &str) -> SideRecord {
    SideRecord {
        transaction: id(transaction),
        organizations: vec![OrgId::new(organization).unwrap()],
        ..item.clone()
    }
}

const CREATOR: Fingerprint = Fingerprint([1; 32]);

pub(super) fn put(ledger: &PeerLedger, item: &SideRecord) -> Result<(), StoreError> {
    ledger.side_put_pending(CREATOR, vec![item.clone()])
}

fn supply(ledger: &PeerLedger, item: &SideRecord) -> Result<(), StoreError> {
    let (salt, payload) = (item.salt.clone(), item.payload.clone());
    ledger.side_supply(&item.commitment, &item.transaction, salt, payload, 6)
}

pub(super) fn promise_all(ledger: &PeerLedger, items: &[&SideRecord]) -> Committed {
    let side = items.iter().map(|item| promise(item)).collect();
    ledger
        .commit(BlockCommit {
            side,
            ..next(ledger)
        })
        .unwrap()
}

fn side_state(ledger: &PeerLedger, item: &SideRecord) -> Option<SideState> {
    ledger
        .side_of(&item.commitment, &item.transaction)
        .unwrap()
        .map(|record| record.state)
}

/// The committed records of an item, as (transaction, organizations).
fn committed(ledger: &PeerLedger, item: &SideRecord) -> Vec<(TransactionId, Vec<OrgId>)> {
    ledger
        .side_get(&item.commitment)
        .map(|found| found.unwrap())
        .map(|found| (found.transaction, found.organizations))
        .collect()
}

fn waiting(ledger: &PeerLedger) -> usize {
    ledger.writer.lock().usage.total().items
}

#[test]
fn a_side_item_becomes_committed_with_its_transaction() {
    on_both(|ledger| {
        genesis(&ledger);
        let item = item("secret", 5);
        put(&ledger, &item).unwrap();
        put(&ledger, &item).unwrap();
        assert_eq!(side_state(&ledger, &item), Some(SideState::Pending));
        assert!(committed(&ledger, &item).is_empty());
        assert_eq!(waiting(&ledger), 1);
        let done = promise_all(&ledger, &[&item, &item]);
        assert!(done.missing_side.is_empty());
        let found = ledger.side_get(&item.commitment).next().unwrap().unwrap();
        assert_eq!(
            (found.state, found.transaction),
            (SideState::Committed, id(4))
        );
        assert_eq!(found.payload, item.payload);
        assert_eq!(waiting(&ledger), 0);
        assert_eq!(ledger.side_purge_pending(u64::MAX), Ok(0));
        assert_eq!(side_state(&ledger, &item), Some(SideState::Committed));
    });
}

#[test]
fn a_promised_item_is_missing_until_it_is_supplied() {
    on_both(|ledger| {
        genesis(&ledger);
        let (first, second) = (item("first", 5), item("second", 5));
        let done = promise_all(&ledger, &[&first, &first, &second]);
        assert_eq!(done.missing_side, [first.commitment, second.commitment]);
        let missing = ledger.side_missing(None, 9).unwrap();
        assert_eq!(missing.len(), 2);
        let after = (&missing[0].commitment, &missing[0].transaction);
        let rest = ledger.side_missing(Some(after), 9).unwrap();
        assert_eq!(rest, missing[1..]);
        let wrong = SideRecord {
            payload: "no".into(),
            ..first.clone()
        };
        assert_eq!(
            supply(&ledger, &wrong),
            Err(StoreError::SideMismatch(first.commitment))
        );
        let not_promised = repeated(&first, 9, "HospitalA");
        for item in [&not_promised, &first, &first] {
            let expected = match side_state(&ledger, item) {
                None if item.transaction == id(4) => Ok(()),
                _ => Err(StoreError::SideNotMissing(first.commitment)),
            };
            assert_eq!(supply(&ledger, item), expected);
        }
        put(&ledger, &second).unwrap();
        assert_eq!(side_state(&ledger, &first), Some(SideState::Fetched));
        assert_eq!(side_state(&ledger, &second), Some(SideState::Committed));
        assert_eq!(committed(&ledger, &first).len(), 1);
        assert!(ledger.side_missing(None, 9).unwrap().is_empty());
        put(&ledger, &first).unwrap();
        assert_eq!(side_state(&ledger, &first), Some(SideState::Committed));
        assert_eq!(waiting(&ledger), 0);
    });
}

#[test]
fn a_transaction_that_repeats_a_commitment_gets_nothing_and_blocks_nobody() {
    on_both(|ledger| {
        genesis(&ledger);
        let item = item("secret", 5);
        let thief = repeated(&item, 3, "Thief");
        put(&ledger, &item).unwrap();
        // The thief, who has only the commitment, is committed first.
        let done = promise_all(&ledger, &[&thief]);
        assert_eq!(done.missing_side, [item.commitment]);
        assert_eq!(side_state(&ledger, &item), Some(SideState::Pending));
        assert!(committed(&ledger, &item).is_empty());
        assert!(promise_all(&ledger, &[&item]).missing_side.is_empty());
        let rightful = vec![(item.transaction, item.organizations.clone())];
        assert_eq!(committed(&ledger, &item), rightful);
        // Then somebody fetches it by its commitment.
        supply(&ledger, &thief).unwrap();
        assert_eq!(committed(&ledger, &item), rightful);
        assert!(ledger.side_missing(None, 9).unwrap().is_empty());
    });
}

#[test]
fn an_item_that_was_fetched_says_so() {
    on_both(|ledger| {
        genesis(&ledger);
        let item = item("secret", 5);
        let thief = repeated(&item, 3, "Thief");
        promise_all(&ledger, &[&thief]);
        supply(&ledger, &thief).unwrap();
        assert_eq!(side_state(&ledger, &thief), Some(SideState::Fetched));
        promise_all(&ledger, &[&item]);
        put(&ledger, &item).unwrap();
        assert_eq!(side_state(&ledger, &thief), Some(SideState::Fetched));
        assert_eq!(side_state(&ledger, &item), Some(SideState::Committed));
    });
}

#[test]
fn all_committed_records_of_an_item_are_found_and_no_other() {
    on_both(|ledger| {
        genesis(&ledger);
        let (item, other) = (item("one", 5), item("two", 5));
        let records: Vec<_> = (10..20).map(|seed| repeated(&item, seed, "X")).collect();
        ledger.side_put_pending(CREATOR, records.clone()).unwrap();
        put(&ledger, &other).unwrap();
        promise_all(
            &ledger,
            &[&records[..9].iter().collect::<Vec<_>>()[..], &[&other]].concat(),
        );
        let found = committed(&ledger, &item);
        let expected: Vec<_> = (10..19).map(id).collect();
        assert_eq!(found.into_iter().map(|f| f.0).collect::<Vec<_>>(), expected);
        assert_eq!(committed(&ledger, &other).len(), 1);
        assert_eq!(ledger.side_erase(&item.commitment), Ok(true));
        assert!(committed(&ledger, &item).is_empty());
        assert_eq!(committed(&ledger, &other).len(), 1);
        assert_eq!(waiting(&ledger), 0);
    });
}

#[test]
fn pending_items_that_waited_too_long_are_removed() {
    on_both(|ledger| {
        let (old, new) = (item("old", 5), item("new", 6));
        put(&ledger, &old).unwrap();
        put(&ledger, &new).unwrap();
        // Proposed again, it waits for another transaction, from now on.
        let again = SideRecord {
            received_ms: 7,
            ..repeated(&old, 8, "HospitalA")
        };
        put(&ledger, &again).unwrap();
        assert_eq!(ledger.side_purge_pending(6), Ok(1));
        assert_eq!(side_state(&ledger, &old), None);
        assert_eq!(side_state(&ledger, &new), Some(SideState::Pending));
        assert_eq!(side_state(&ledger, &again), Some(SideState::Pending));
        assert_eq!(waiting(&ledger), 2);
    });
}

#[test]
fn the_items_of_a_proposal_are_kept_all_or_none() {
    let kv = Arc::new(MemoryKv::new(layout::FAMILIES));
    let ledger = PeerLedger::open(kv.clone(), &channel()).unwrap();
    let (good, other) = (item("good", 5), item("other", 5));
    let wrong = SideRecord {
        payload: "wrong".into(),
        ..item("promised", 5)
    };
    let refused = ledger.side_put_pending(CREATOR, vec![good.clone(), wrong]);
    assert!(matches!(refused, Err(StoreError::SideMismatch(_))));
    assert_eq!(side_state(&ledger, &good), None);
    let both = vec![good.clone(), other.clone(), good.clone()];
    ledger.side_put_pending(CREATOR, both).unwrap();
    assert_eq!(waiting(&ledger), 2);
    // One write, so a crash cannot come between.
    let crashed = PeerLedger::open(Arc::new(kv.crash()), &channel()).unwrap();
    assert_eq!(side_state(&crashed, &good), Some(SideState::Pending));
    assert_eq!(side_state(&crashed, &other), Some(SideState::Pending));
}

#[test]
fn one_creator_keeps_a_bounded_number_of_items_waiting() {
    let kv = Arc::new(MemoryKv::new(layout::FAMILIES));
    let ledger = PeerLedger::open(kv.clone(), &channel()).unwrap();
    let most = crate::limits::SIDE_PENDING_PER_CREATOR_MAX;
    let first = item("one", 5);
    let under = |number: usize| {
        let mut transaction = id(9);
        transaction.0[..8].copy_from_slice(&(number as u64).to_be_bytes());
        SideRecord {
            transaction,
            ..first.clone()
        }
    };
    ledger
        .side_put_pending(CREATOR, (0..most).map(under).collect())
        .unwrap();
    let again = PeerLedger::open(Arc::new(kv.crash()), &channel()).unwrap();
    for ledger in [&ledger, &again] {
        let refused = put(ledger, &under(most));
        assert!(matches!(refused, Err(StoreError::SideFull { .. })));
        assert_eq!(put(ledger, &under(0)), Ok(()));
        let other = Fingerprint([2; 32]);
        ledger.side_put_pending(other, vec![under(most)]).unwrap();
    }
    assert_eq!(ledger.side_purge_pending(u64::MAX), Ok(most + 1));
    assert_eq!(put(&ledger, &under(most)), Ok(()));
}

#[test]
fn items_that_come_together_are_written_together_each_with_its_own_outcome() {
    let kv = Arc::new(MemoryKv::new(layout::FAMILIES));
    let ledger = PeerLedger::open(kv.clone(), &channel()).unwrap();
    let most = crate::limits::SIDE_PENDING_PER_CREATOR_MAX;
    let under = |creator: u8, number: usize| {
        let mut transaction = id(creator);
        transaction.0[..8].copy_from_slice(&(number as u64).to_be_bytes());
        SideRecord {
            transaction,
            ..item("one", 5)
        }
    };
    let full = (0..most).map(|number| under(1, number)).collect();
    ledger.side_put_pending(CREATOR, full).unwrap();
    let together = [(1, most), (2, 0), (2, 0), (3, 1), (1, 0)];
    let writer = ledger.writer.lock();
    std::thread::scope(|scope| {
        let puts = together.map(|(creator, number)| {
            let (ledger, record) = (&ledger, under(creator, number));
            let creator = Fingerprint([creator; 32]);
            scope.spawn(move || ledger.side_put_pending(creator, vec![record]))
        });
        while ledger.arriving.lock().len() < together.len() {
            std::thread::yield_now();
        }
        drop(writer);
        let [full, rest @ ..] = puts.map(|put| put.join().unwrap());
        assert!(matches!(full, Err(StoreError::SideFull { .. })));
        assert_eq!(rest, [const { Ok(()) }; 4]);
    });
    let crashed = PeerLedger::open(Arc::new(kv.crash()), &channel()).unwrap();
    for ledger in [&ledger, &crashed] {
        assert_eq!(waiting(ledger), most + 2);
        assert_eq!(ledger.writer.lock().usage.total().items, most + 2);
        assert_eq!(side_state(ledger, &under(3, 1)), Some(SideState::Pending));
    }
}

#[test]
fn an_erased_item_does_not_come_back() {
    on_both(|ledger| {
        genesis(&ledger);
        let (kept, waited) = (item("kept", 5), item("waited for", 5));
        put(&ledger, &kept).unwrap();
        promise_all(&ledger, &[&kept, &waited]);
        for item in [&kept, &waited] {
            assert_eq!(ledger.side_erase(&item.commitment), Ok(true));
            assert_eq!(ledger.side_erase(&item.commitment), Ok(false));
            let again = supply(&ledger, item);
            assert_eq!(again, Err(StoreError::SideNotMissing(item.commitment)));
            assert_eq!(side_state(&ledger, item), None);
        }
        put(&ledger, &kept).unwrap();
        assert_eq!(ledger.side_erase(&kept.commitment), Ok(true));
        assert_eq!(ledger.side_purge_pending(u64::MAX), Ok(0));
        assert_eq!(waiting(&ledger), 0);
    });
}

#[test]
fn a_side_item_must_fit_its_commitment_and_the_limits() {
    on_both(|ledger| {
        let wrong = SideRecord {
            payload: "other".into(),
            ..item("one", 5)
        };
        let refused = put(&ledger, &wrong);
        assert_eq!(refused, Err(StoreError::SideMismatch(wrong.commitment)));
        let long = SideRecord {
            salt: Bytes::from_static(&[0; 17]),
            ..item("one", 5)
        };
        assert!(matches!(put(&ledger, &long), Err(StoreError::Limit { .. })));
    });
}

#[test]
fn nothing_that_is_shown_shows_a_secret() {
    let item = item("the patient's secret", 5);
    let write = write("patient-key", Some("the patient's value"), 0);
    let shown = format!("{item:?} {write:?}");
    assert!(
        !shown.contains("secret") && !shown.contains("patient"),
        "{shown}"
    );
}

#[test]
fn a_ledger_belongs_to_one_channel() {
    let kv: Arc<dyn Kv> = Arc::new(MemoryKv::new(layout::FAMILIES));
    PeerLedger::open(kv.clone(), &channel()).unwrap();
    let other = PeerLedger::open(kv, &ChannelId::new("other").unwrap());
    assert!(matches!(other, Err(StoreError::Channel { .. })));
}

#[test]
fn a_restarted_peer_finds_its_ledger() {
    let folder = tempfile::tempdir().unwrap();
    let head = {
        let ledger = PeerLedger::open(Arc::new(rocks(folder.path())), &channel()).unwrap();
        genesis(&ledger);
        put(&ledger, &item("waits", 5)).unwrap();
        let writes = vec![write("a", Some("1"), 0)];
        ledger
            .commit(BlockCommit {
                writes,
                ..next(&ledger)
            })
            .unwrap()
            .head
    };
    let ledger = PeerLedger::open(Arc::new(rocks(folder.path())), &channel()).unwrap();
    assert_eq!(ledger.head(), head);
    assert_eq!(values(&ledger, "", "", 9), ["a=1@1:0"]);
    assert_eq!(waiting(&ledger), 1);
    ledger.commit(next(&ledger)).unwrap();
}

#[test]
fn after_a_failed_write_the_ledger_stops() {
    let kv = Arc::new(MemoryKv::new(layout::FAMILIES));
    let ledger = PeerLedger::open(kv.clone(), &channel()).unwrap();
    genesis(&ledger);
    kv.set_failing(true);
    assert!(matches!(
        ledger.commit(next(&ledger)),
        Err(StoreError::Io { .. })
    ));
    kv.set_failing(false);
    assert_eq!(ledger.commit(next(&ledger)), Err(StoreError::Stopped));
    assert_eq!(put(&ledger, &item("x", 1)), Err(StoreError::Stopped));
    assert_eq!(ledger.head().height, 1);
}

#[test]
fn damage_is_reported_as_damage() {
    let kv: Arc<dyn Kv> = Arc::new(MemoryKv::new(layout::FAMILIES));
    let ledger = PeerLedger::open(kv.clone(), &channel()).unwrap();
    genesis(&ledger);
    let mut batch = WriteBatch::new();
    batch.delete(layout::CODES, layout::number_key(BlockNumber(0)));
    batch.put(
        layout::META,
        layout::HEAD_KEY,
        Bytes::from_static(&[layout::FORMAT, 1, 2]),
    );
    kv.write(batch, Durability::Synced).unwrap();
    assert!(matches!(
        ledger.block(BlockNumber(0)),
        Err(StoreError::Corrupt { .. })
    ));
    assert!(matches!(ledger.snapshot(), Err(StoreError::Corrupt { .. })));
    assert!(matches!(
        PeerLedger::open(kv, &channel()),
        Err(StoreError::Corrupt { .. })
    ));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Whatever a crash loses, each commit that returned is there whole.
    #[test]
    fn a_crash_loses_no_commit(blocks in 1..6_usize) {
        let kv = Arc::new(MemoryKv::new(layout::FAMILIES));
        let ledger = PeerLedger::open(kv.clone(), &channel()).unwrap();
        let mut heads = Vec::new();
        for block in 0..blocks {
            let writes = vec![write(&format!("k{block}"), Some("v"), 0)];
            heads.push(ledger.commit(BlockCommit { writes, ..next(&ledger) }).unwrap().head);
            let crashed = PeerLedger::open(Arc::new(kv.crash()), &channel()).unwrap();
            prop_assert_eq!(crashed.head(), heads[block]);
            prop_assert_eq!(values(&crashed, "", "", 99).len(), block + 1);
            prop_assert!(crashed.block(BlockNumber(block as u64)).unwrap().is_some());
        }
    }
}

//! What stands on the disks of peers and orderers, should it be damaged in spite of every checksum.

use std::sync::Arc;

use bytes::Bytes;
use stela_orderer::blocks::Blocks;
use stela_orderer::chain::{Chain, ChainSettings};
use stela_orderer::layout::{self as orderer_layout, Applied, BlockPlace, Start};
use stela_orderer::raft_logger;
use stela_protocol::{BlockNumber, ContractName, Fingerprint, Hash32, TransactionId};
use stela_store::{
    Durability, Family, Kv, LedgerRead, MemoryKv, PeerLedger, StateSnapshot, WriteBatch, layout,
};

use crate::parts::Parts;
use crate::world::{START_MS, World};

/// Entries of one input.
const ENTRIES_MAX: usize = 8;

/// A peer's ledger with some entries replaced: family, key and value. Whatever reads it in one way
/// finds the same as what reads it in another.
pub(super) fn peer_store(input: &[u8]) {
    let kv = Arc::new(MemoryKv::new(layout::FAMILIES));
    let Ok(ledger) = PeerLedger::open(kv.clone(), World::get().channel.id()) else {
        unreachable!("the store is empty");
    };
    drop(ledger);
    let entries = write(kv.as_ref(), layout::FAMILIES, input);
    let Ok(ledger) = PeerLedger::open(kv, World::get().channel.id()) else {
        return;
    };
    let Ok(snapshot) = ledger.snapshot() else {
        return;
    };
    assert_eq!(ledger.head(), *snapshot.head());
    let _ = snapshot.config();
    for (family, key) in entries {
        read_back(&snapshot, family, &key);
        if family == layout::NOTES {
            read_note(&ledger, &key);
        }
    }
    let _ = snapshot.side_missing(None, 10);
}

fn read_back(snapshot: &StateSnapshot, family: Family, key: &[u8]) {
    let hash = |at: usize| {
        key.get(at..at + 32)
            .and_then(|bytes| Hash32::from_slice(bytes).ok())
    };
    match (family, hash(0), hash(32)) {
        (layout::BLOCKS | layout::CODES, ..) => {
            if let Ok(number) = key.try_into() {
                let _ = snapshot.block(BlockNumber(u64::from_be_bytes(number)));
            }
        }
        (layout::STATE, ..) => read_state(snapshot, key),
        (layout::HISTORY, ..) => {
            let name = ContractName::new("records").expect("a name");
            let Ok(changes) = snapshot.history(&name, b"k", None, 10) else {
                return;
            };
            for change in changes {
                let alone = snapshot.version(&name, b"k", change.height);
                assert_eq!(alone, Ok(Some(change)));
            }
        }
        (layout::TRANSACTIONS, Some(id), _) => {
            let id = TransactionId(id.0);
            let alone = snapshot.transaction(&id).map(|one| vec![one]);
            assert_eq!(alone, snapshot.transactions(&[id]));
        }
        (layout::CERTIFICATES, Some(of), _) => {
            let of = Fingerprint(of.0);
            let alone = snapshot.certificate(&of).map(|one| vec![one]);
            assert_eq!(alone, snapshot.certificates(&[of]));
        }
        (layout::SIDE | layout::MISSING, Some(commitment), Some(transaction)) => {
            let transaction = TransactionId(transaction.0);
            let _ = snapshot.side_missing_of(&commitment, &transaction);
            if let Ok(Some(side)) = snapshot.side_of(&commitment, &transaction) {
                assert_eq!(
                    (side.commitment, side.transaction),
                    (commitment, transaction)
                );
            }
            let _ = snapshot
                .side_get(&commitment)
                .take(10)
                .collect::<Result<Vec<_>, _>>();
        }
        _ => {}
    }
}

/// A ledger is not opened with a note that cannot be read.
fn read_note(ledger: &PeerLedger, key: &[u8]) {
    let id = TransactionId::from_slice(key).expect("the ledger was opened");
    let note = ledger.note(&id).expect("the ledger was opened");
    assert_eq!(note.map(|note| note.transaction), Some(id));
    assert!(ledger.notes_due(u64::MAX).contains(&id));
}

fn read_state(snapshot: &StateSnapshot, key: &[u8]) {
    let name = ContractName::new("records").expect("a name");
    let Some(key) = key.strip_prefix(b"records\0") else {
        return;
    };
    let alone = snapshot.get(&name, key);
    assert_eq!(
        alone.clone().map(|one| vec![one]),
        snapshot.multi_get(&[(&name, key)])
    );
    let end = [key, &[0]].concat();
    if let Ok(range) = snapshot.range(&name, key, &end, 1) {
        assert_eq!(
            range.into_iter().next().map(|(_, value)| value),
            alone.expect("it was read")
        );
    }
}

/// Puts the input's entries into a store, and says where.
fn write(kv: &dyn Kv, families: &[Family], input: &[u8]) -> Vec<(Family, Bytes)> {
    let mut parts = Parts::of(input);
    let (mut batch, mut places) = (WriteBatch::new(), Vec::new());
    while !parts.is_empty() && places.len() < ENTRIES_MAX {
        let family = families[usize::from(parts.byte()) % families.len()];
        let key = Bytes::copy_from_slice(parts.part());
        batch.put(family, key.clone(), Bytes::copy_from_slice(parts.part()));
        places.push((family, key));
    }
    kv.write(batch, Durability::Synced)
        .expect("memory does not fail");
    places
}

/// Each value of an orderer's layout comes back as the bytes it was.
pub(super) fn orderer_values(input: &[u8]) {
    use orderer_layout as l;
    let (kind, bytes) = input.split_first().unwrap_or((&0, &[]));
    let value = Bytes::copy_from_slice(bytes);
    let again = match kind % 9 {
        0 => l::decode_numbers("numbers", value).map(|numbers| l::encode_numbers(&numbers)),
        1 => l::decode_hard_state(value).map(|state| l::encode_hard_state(&state)),
        2 => Applied::decode(value).map(|applied| applied.encode()),
        3 => l::decode_entry(7, value).map(|entry| l::encode_entry(&entry)),
        4 => BlockPlace::decode(value).map(|place| place.encode()),
        5 => l::decode_signatures(value).map(|signatures| l::encode_signatures(&signatures)),
        6 => l::decode_certificate(value).map(|(block, der)| l::encode_certificate(block, &der)),
        7 => Start::decode(value).map(|start| start.encode()),
        _ => l::decode_bytes("bytes", value).map(|bytes| l::encode_bytes(&bytes)),
    };
    if let Ok(again) = again {
        assert_eq!(again, bytes);
    }
}

/// An orderer's database with some entries replaced: it is refused, or there is a chain in it. (What
/// Raft finds impossible only later is a fault that ends the process: `driver.rs`.)
pub(super) fn orderer_store(input: &[u8]) {
    let world = World::get();
    let kv = Arc::new(world.orderer_kv());
    let places = write(kv.as_ref(), orderer_layout::FAMILIES, input);
    let blocks = Blocks::new(kv.clone());
    let keys = places.iter().map(|(_, key)| orderer_layout::number(key));
    for number in keys.flatten().map(BlockNumber) {
        let _ = (blocks.delivered(number), blocks.signatures(number));
    }
    let settings = ChainSettings::new(2);
    let credentials = world.orderers[1].clone();
    let chain = Chain::open(
        &settings,
        world.channel.clone(),
        credentials,
        kv,
        &raft_logger(),
    );
    if let Ok(mut chain) = chain {
        // What was committed and not applied is read now.
        let _ = chain.poll(START_MS);
        let view = chain.view();
        assert!(view.leader == 0, "nobody was elected");
    }
}

pub(super) mod seeds {
    use stela_protocol::ValidationCode;

    use super::*;
    use crate::parts::part;
    use crate::targets::protocol::seeds::next_block;
    use prost::Message;

    fn entry(families: &[Family], family: Family, key: &[u8], value: &[u8]) -> Vec<u8> {
        let index = families
            .iter()
            .position(|one| *one == family)
            .expect("a family");
        [vec![index as u8], part(key), part(value)].concat()
    }

    pub(in crate::targets) fn peer_store() -> Vec<Vec<u8>> {
        let of = |family, key: &[u8], value: &[u8]| entry(layout::FAMILIES, family, key, value);
        let (one, two) = ([1; 32], [2; 32]);
        let (number, both) = (1_u64.to_be_bytes(), [one, two].concat());
        let height = [&[1][..], &7_u64.to_be_bytes(), &3_u32.to_be_bytes()].concat();
        let names = b"\0\x02\0\x01A\0\x02Bc";
        let head = [
            &[1][..],
            &3_u64.to_be_bytes(),
            &one,
            &two,
            &[0; 8],
            &5_u64.to_be_bytes(),
        ]
        .concat();
        let code = ValidationCode::MvccReadConflict as u8;
        let history = [&b"records\0\0\x01k"[..], &height[1..]].concat();
        let pending = [&number[..], &both].concat();
        let note = [
            &[1][..],
            &number,
            &two,
            b"\0\x07records\0\x03ask\0\x04note\0\x02{}",
            &one,
            &[3; 64],
        ]
        .concat();
        let side = |state| [&[1, state][..], &number, names, b"\0\x04salt", b"payload"].concat();
        vec![
            of(layout::META, b"head", &head),
            [
                of(
                    layout::BLOCKS,
                    &number,
                    &[&[1][..], &next_block(Vec::new()).to_pb().encode_to_vec()].concat(),
                ),
                of(
                    layout::CODES,
                    &number,
                    &[&[1][..], &one, &[0, code]].concat(),
                ),
            ]
            .concat(),
            of(
                layout::STATE,
                b"records\0k",
                &[&height[..], b"value"].concat(),
            ),
            of(layout::HISTORY, &history, &[&[1, 1][..], &two].concat()),
            of(
                layout::TRANSACTIONS,
                &one,
                &[&height[..], &[code], &number].concat(),
            ),
            of(
                layout::CERTIFICATES,
                &one,
                &[&[1][..], &number, b"DER"].concat(),
            ),
            [
                of(layout::SIDE, &both, &side(0)),
                of(layout::SIDE, &both, &side(1)),
            ]
            .concat(),
            [
                of(
                    layout::PENDING,
                    &pending,
                    &[&[1][..], &one, &number].concat(),
                ),
                of(layout::SIDE, &both, &side(2)),
            ]
            .concat(),
            of(layout::MISSING, &both, &[&[1][..], &number, names].concat()),
            of(
                layout::META,
                b"config",
                &[&[1][..], &World::get().config.encode_to_vec()[..200]].concat(),
            ),
            of(layout::NOTES, &one, &note),
        ]
    }

    pub(in crate::targets) fn orderer_values() -> Vec<Vec<u8>> {
        use orderer_layout as l;
        let of = |kind: u8, value: Bytes| [vec![kind], value.to_vec()].concat();
        let applied = Applied {
            index: 3,
            number: BlockNumber(2),
            hash: Hash32([5; 32]),
        };
        vec![
            of(0, l::encode_numbers(&[1, 2, 3])),
            of(1, l::encode_numbers(&[4, 1, 3])),
            of(2, applied.encode()),
            of(3, Bytes::from_static(b"\x01\0\0\0\0\0\0\0\x02\0data")),
            of(
                4,
                BlockPlace {
                    index: 9,
                    hash: Hash32([6; 32]),
                }
                .encode(),
            ),
            of(5, l::encode_signatures(&[(1, [7; 64]), (2, [8; 64])])),
            of(6, l::encode_certificate(BlockNumber(1), b"DER")),
            of(
                7,
                Start {
                    index: 9,
                    term: 2,
                    number: BlockNumber(8),
                    hash: Hash32([6; 32]),
                    voters: vec![1, 2, 3],
                }
                .encode(),
            ),
            of(8, l::encode_bytes(b"care")),
        ]
    }

    pub(in crate::targets) fn orderer_store() -> Vec<Vec<u8>> {
        use orderer_layout as l;
        let of = |family, key: &[u8], value: &[u8]| entry(l::FAMILIES, family, key, value);
        let one = 1_u64.to_be_bytes();
        let block = next_block(vec![Bytes::from_static(b"x")]);
        let mut log = vec![1, 0, 0, 0, 0, 0, 0, 0, 1, 0];
        log.extend(block.to_pb().encode_to_vec());
        let term = of(l::TERMS, &one, &l::encode_numbers(&[1]));
        let appended = [of(l::LOG, &one, &log), term].concat();
        let hard_state = |commit| of(l::META, l::HARD_STATE, &l::encode_numbers(&[1, 2, commit]));
        let applied = Applied {
            index: 1,
            number: block.header.number,
            hash: block.hash,
        }
        .encode();
        let place = BlockPlace {
            index: 1,
            hash: block.hash,
        }
        .encode();
        let whole = [
            appended.clone(),
            hard_state(1),
            of(l::META, l::APPLIED, &applied),
            of(l::BLOCKS, &one, &place),
        ];
        vec![
            [appended.clone(), hard_state(0)].concat(),
            [appended, hard_state(1)].concat(),
            whole.concat(),
            [
                whole.concat(),
                of(l::SIGNATURES, &one, &l::encode_signatures(&[(1, [7; 64])])),
            ]
            .concat(),
            hard_state(5),
            of(l::META, l::CONF_STATE, &l::encode_numbers(&[1])),
            of(l::META, l::DELIVERABLE, &l::encode_numbers(&[9])),
        ]
    }
}

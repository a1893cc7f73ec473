use bytes::Bytes;
use stela_protocol::block::Block;
use stela_protocol::transaction::SideCommitment;
use stela_protocol::{ContractName, Fingerprint, OrgId, TransactionId, hash};
use stela_store::{
    Direction, Durability, Family, MemoryKv, Note, NoteCopy, PeerLedger, SideFault, SideRecord,
    SideState, WriteBatch,
};

use super::*;
use crate::channel::Channel;
use crate::validation::tests::World;

fn a() -> OrgId {
    OrgId::new("A").unwrap()
}

fn memory() -> Arc<MemoryKv> {
    Arc::new(MemoryKv::new(layout::FAMILIES))
}

fn item() -> SideRecord {
    let (salt, payload) = (Bytes::from_static(&[7; 16]), Bytes::from_static(b"secret"));
    SideRecord {
        commitment: hash::side_commitment(&salt, &payload),
        state: SideState::Pending,
        transaction: TransactionId([0; 32]),
        received_ms: 1,
        organizations: vec![a()],
        salt,
        payload,
    }
}

fn note(transaction: TransactionId, requester: Fingerprint) -> Note {
    Note {
        transaction,
        requester,
        contract: ContractName::new("records").unwrap(),
        called: "ask".to_owned(),
        function: "note".to_owned(),
        argument: Bytes::from_static(b"{}"),
        due_ms: 1,
        endorser: Fingerprint([9; 32]),
        signature: [0; 64],
    }
}

/// A ledger of four blocks with valid and invalid transactions, a side item, and a note of a
/// transaction that does not come.
struct Old {
    kv: Arc<MemoryKv>,
    channel: Channel,
    blocks: Vec<Block>,
    item: SideRecord,
}

fn old() -> Old {
    let mut world = World::new();
    let kv = memory();
    let channel = Channel::join(kv.clone(), &world.genesis, &a()).unwrap();
    let mut blocks = vec![world.genesis.clone()];
    let mut with_side = world.call(1).write("a", Some("1"));
    let item = SideRecord {
        transaction: with_side.header.id(),
        ..item()
    };
    with_side.side = vec![SideCommitment {
        commitment: item.commitment,
        organizations: item.organizations.clone(),
    }];
    let creator = with_side.header.creator;
    let notes = [with_side.header.id(), TransactionId([9; 32])].map(|id| note(id, creator));
    let first = vec![with_side.seal(), world.call(2).write("b", Some("1")).seal()];
    let ledger = channel.ledger();
    ledger
        .side_put_pending(creator, vec![item.clone()])
        .unwrap();
    assert_eq!(ledger.note_put(&notes), Ok(vec![true, true]));
    let take = |world: &mut World, envelopes: Vec<Bytes>| {
        let block = world.signed(world.block(envelopes));
        world.commit(&block);
        channel.commit(&block).unwrap();
        block
    };
    blocks.push(take(&mut world, first));
    // One that is valid, one again, and one that is nothing.
    let again = world.call(3).write("b", None).seal();
    let second = vec![again.clone(), again, Bytes::from_static(b"nothing")];
    blocks.push(take(&mut world, second));
    let third = vec![world.call(4).write("a", Some("2")).seal()];
    blocks.push(take(&mut world, third));
    Old {
        kv,
        channel,
        blocks,
        item,
    }
}

fn found(old: &Old) -> Verified {
    let (stored, new): (_, Arc<dyn Kv>) = (Stored(old.kv.clone()), memory());
    examine(&stored, &new, old.channel.id(), &a()).unwrap()
}

fn entries(kv: &MemoryKv, family: Family) -> Vec<(Bytes, Bytes)> {
    use stela_store::KvRead;
    kv.range(family, &[], None, 100, Direction::Forward)
        .unwrap()
}

fn put(kv: &MemoryKv, family: Family, key: &Bytes, value: Option<Vec<u8>>) {
    let mut batch = WriteBatch::new();
    match value {
        Some(value) => batch.put(family, key.clone(), value),
        None => batch.delete(family, key.clone()),
    }
    kv.write(batch, Durability::Synced).unwrap();
}

fn flipped(value: &Bytes, byte: usize) -> Option<Vec<u8>> {
    let mut value = value.to_vec();
    value[byte] ^= 0x10;
    Some(value)
}

fn as_stored(block: &Block) -> Vec<u8> {
    let message = prost::Message::encode_to_vec(&block.to_pb());
    [&[layout::FORMAT][..], &message].concat()
}

#[test]
fn the_same_blocks_give_the_same_ledger() {
    let old = old();
    let head = old.channel.ledger().head();
    let verified = found(&old);
    assert_eq!(verified.problems, Vec::<String>::new());
    assert_eq!((verified.height, verified.state_hash), (4, head.state_hash));
}

#[test]
fn whatever_was_flipped_or_lost_is_named() {
    let old = old();
    for family in [
        layout::META,
        layout::BLOCKS,
        layout::CODES,
        layout::STATE,
        layout::HISTORY,
        layout::TRANSACTIONS,
        layout::CERTIFICATES,
        layout::SIDE,
    ] {
        for (key, value) in entries(&old.kv, family) {
            if &key[..] == b"channel" {
                continue;
            }
            for altered in [
                flipped(&value, 1),
                flipped(&value, value.len() / 2),
                flipped(&value, value.len() - 1),
                None,
            ] {
                // An item that is gone may have been erased.
                if family == layout::SIDE && altered.is_none() {
                    continue;
                }
                put(&old.kv, family, &key, altered);
                assert_ne!(found(&old).problems, Vec::<String>::new(), "{family}");
                put(&old.kv, family, &key, Some(value.to_vec()));
            }
        }
    }
    assert_eq!(found(&old).problems, Vec::<String>::new());
}

#[test]
fn a_wrong_verdict_is_named_by_block_and_transaction_and_not_overwritten_unasked() {
    let old = old();
    let (key, value) = entries(&old.kv, layout::CODES).remove(2);
    // The verdict on the second transaction of block 2: a duplicate, made valid.
    let mut wrong = value.to_vec();
    wrong[1 + 32 + 1] = 0;
    put(&old.kv, layout::CODES, &key, Some(wrong));
    let (stored, new): (_, Arc<dyn Kv>) = (Stored(old.kv.clone()), memory());
    let derived = derive(&stored, &new, old.channel.id(), &a()).unwrap();
    let refused = acceptable(old.channel.id(), &derived, RebuildOptions::default());
    let refused = refused.unwrap_err();
    let words = refused.to_string();
    assert!(words.contains("block 2, transaction 1"), "{words}");
    assert!(
        words.contains("DUPLICATE_TXID") && words.contains("VALID"),
        "{words}"
    );
    assert_eq!(refused.exit_code(), 3);
    let accept = RebuildOptions {
        accept_differences: true,
        ..Default::default()
    };
    acceptable(old.channel.id(), &derived, accept).unwrap();
}

#[test]
fn another_state_hash_is_named_and_not_overwritten_unasked() {
    let old = old();
    let (key, value) = entries(&old.kv, layout::CODES).remove(2);
    put(&old.kv, layout::CODES, &key, flipped(&value, 1));
    let (stored, new): (_, Arc<dyn Kv>) = (Stored(old.kv.clone()), memory());
    let derived = derive(&stored, &new, old.channel.id(), &a()).unwrap();
    let refused = acceptable(old.channel.id(), &derived, RebuildOptions::default());
    let words = refused.unwrap_err().to_string();
    assert!(words.contains("block 2: the state hash stored"), "{words}");
}

#[test]
fn a_rebuilt_ledger_is_whole_only_when_it_is_finished() {
    let old = old();
    let (key, value) = entries(&old.kv, layout::STATE).remove(0);
    put(
        &old.kv,
        layout::STATE,
        &key,
        flipped(&value, value.len() - 1),
    );
    let halt = Halt {
        cause: HaltCause::Damaged,
        height: 4,
        what: "a key".to_owned(),
    };
    old.channel.halt(halt);
    let problems = found(&old).problems;
    assert!(
        problems.iter().any(|problem| problem.contains("halted")),
        "{problems:?}"
    );
    let (stored, memory) = (Stored(old.kv.clone()), memory());
    let new: Arc<dyn Kv> = memory.clone();
    let derived = derive(&stored, &new, old.channel.id(), &a()).unwrap();
    let open = |kv: Arc<MemoryKv>| PeerLedger::open(kv, old.channel.id()).unwrap();
    assert_eq!(open(Arc::new(memory.crash())).head(), Head::EMPTY);
    acceptable(old.channel.id(), &derived, RebuildOptions::default()).unwrap();
    let rebuilt = complete(&stored, &new, old.channel.id().clone(), derived).unwrap();
    assert_eq!((rebuilt.side.copied, rebuilt.refetch), (1, None));
    assert_eq!(rebuilt.notes, NoteCopy { copied: 1, lost: 0 });
    assert!(rebuilt.mended.len() == 1 && rebuilt.mended[0].contains("state"));
    assert!(rebuilt.halted.is_some());
    let kv = Arc::new(memory.crash());
    let channel = Channel::open(kv.clone(), old.channel.id(), &a());
    let channel = channel.unwrap().unwrap();
    assert_eq!(channel.ledger().head(), old.channel.ledger().head());
    assert_eq!(channel.ledger().notes_due(1), [TransactionId([9; 32])]);
    assert!(channel.check_sound().is_ok());
    let mended = Old {
        kv,
        channel,
        blocks: Vec::new(),
        item: old.item.clone(),
    };
    assert_eq!(found(&mended).problems, Vec::<String>::new());
}

#[test]
fn before_a_damaged_block_a_ledger_can_be_cut_and_goes_on_to_the_same_end() {
    let expected = old().channel.ledger().head().height;
    for number in 0..expected {
        let old = old();
        let (key, value) = entries(&old.kv, layout::BLOCKS).remove(number as usize);
        put(
            &old.kv,
            layout::BLOCKS,
            &key,
            flipped(&value, value.len() / 2),
        );
        let (stored, memory) = (Stored(old.kv.clone()), memory());
        let new: Arc<dyn Kv> = memory.clone();
        let derived = derive(&stored, &new, old.channel.id(), &a()).unwrap();
        let refused = acceptable(old.channel.id(), &derived, RebuildOptions::default());
        let words = refused.unwrap_err().to_string();
        assert!(
            words.contains(&format!("block {number} is damaged")),
            "{words}"
        );
        let refetch = RebuildOptions {
            refetch: true,
            ..Default::default()
        };
        acceptable(old.channel.id(), &derived, refetch).unwrap();
        let rebuilt = complete(&stored, &new, old.channel.id().clone(), derived).unwrap();
        assert_eq!(rebuilt.refetch, Some(BlockNumber(number)));
        assert_eq!((rebuilt.height, rebuilt.side.copied), (number, 1));
        // The peer opens what there is, or joins again, and takes the other blocks as they come.
        let kv = Arc::new(memory.crash());
        let channel = match Channel::open(kv.clone(), old.channel.id(), &a()).unwrap() {
            Some(channel) => channel,
            None => Channel::join(kv, &old.blocks[0], &a()).unwrap(),
        };
        let height = channel.ledger().head().height as usize;
        for block in &old.blocks[height..] {
            channel.commit(block).unwrap();
        }
        assert_eq!(channel.ledger().head(), old.channel.ledger().head());
        let item = &old.item;
        let kept = channel
            .ledger()
            .side_of(&item.commitment, &item.transaction);
        assert_eq!(
            kept.unwrap().map(|kept| kept.payload),
            Some(item.payload.clone())
        );
        assert!(channel.ledger().side_missing(None, 9).unwrap().is_empty());
    }
}

#[test]
fn blocks_without_a_quorum_are_not_taken_from_the_own_disk_either() {
    let old = old();
    let (key, _) = entries(&old.kv, layout::BLOCKS).remove(3);
    let mut unsigned = old.blocks[3].clone();
    unsigned.signatures.truncate(1);
    put(&old.kv, layout::BLOCKS, &key, Some(as_stored(&unsigned)));
    let problems = found(&old).problems;
    assert!(problems[0].contains("block 3 is damaged"), "{problems:?}");
    assert!(
        problems[0].contains("signatures of 1 orderers"),
        "{problems:?}"
    );
}

#[test]
fn another_first_block_is_named_although_nobody_signs_it() {
    let old = old();
    let (key, _) = entries(&old.kv, layout::BLOCKS).remove(0);
    let other = World::new().genesis;
    put(&old.kv, layout::BLOCKS, &key, Some(as_stored(&other)));
    let (stored, new): (_, Arc<dyn Kv>) = (Stored(old.kv.clone()), memory());
    let derived = derive(&stored, &new, old.channel.id(), &a()).unwrap();
    let damaged = derived.damaged.unwrap();
    assert_eq!(damaged.number, BlockNumber(0), "{damaged:?}");
    assert_eq!(derived.head, Head::EMPTY);
}

#[test]
fn a_damaged_side_item_is_named_and_to_be_fetched_again() {
    let old = old();
    let (key, value) = entries(&old.kv, layout::SIDE).remove(0);
    put(
        &old.kv,
        layout::SIDE,
        &key,
        flipped(&value, value.len() - 1),
    );
    let problems = found(&old).problems;
    let expected = format!(
        "the side item {} of transaction {}: {}",
        old.item.commitment,
        old.item.transaction,
        SideFault::Damaged
    );
    assert_eq!(problems, [expected]);
    let (stored, memory) = (Stored(old.kv.clone()), memory());
    let new: Arc<dyn Kv> = memory.clone();
    let derived = derive(&stored, &new, old.channel.id(), &a()).unwrap();
    let rebuilt = complete(&stored, &new, old.channel.id().clone(), derived).unwrap();
    assert_eq!(rebuilt.side.to_fetch, 1);
    let ledger = PeerLedger::open(memory, old.channel.id()).unwrap();
    assert_eq!(ledger.side_missing(None, 9).unwrap().len(), 1);
}

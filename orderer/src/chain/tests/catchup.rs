//! The log's start moves, and whoever is behind it fetches blocks.

use super::*;
use crate::layout::{Applied, FETCHED, TERMS};
use crate::limits::{FETCH_AGAIN_TICKS, SNAPSHOT_AGAIN_TICKS};
use crate::log::snapshot_of;
use stela_store::{Direction, KvRead};

fn rows(kv: &MemoryKv, family: stela_store::Family) -> usize {
    kv.range(family, &[], None, 1_000, Direction::Forward)
        .unwrap()
        .len()
}

#[test]
fn the_log_starts_later_and_every_block_stays() {
    let mut bench = Bench::new(1);
    for _ in 0..40 {
        bench.chain.submit(bench.envelope()).unwrap();
        bench.carry_out();
        bench.input(Input::Tick);
    }
    let start = bench.chain.raft.store().start().clone();
    let last = bench.chain.applied;
    assert!(
        start.index > 30 && last - start.index <= 2 * KEPT,
        "{start:?}"
    );
    assert_eq!((start.voters, start.term), (vec![1], 1));
    // One entry beside the blocks' own: the leader's first. None is removed.
    assert_eq!(rows(&bench.kv, LOG), 41);
    assert_eq!(rows(&bench.kv, TERMS), 0);
    for _ in 0..2 {
        for number in 1..=40 {
            assert_eq!(bench.stored(number).header.number.0, number);
        }
        let kv = bench.kv.crash();
        bench.reopen(kv);
        assert_eq!(bench.chain.view().head, BlockNumber(40));
    }
}

#[test]
fn the_start_never_passes_what_can_be_delivered() {
    let mut bench = Bench::new(3);
    let blocks = bench.signed_blocks(20);
    let mut entries = vec![entry(1, 3, Vec::new())];
    for (at, block) in blocks.iter().enumerate() {
        let mut bytes = block.clone();
        bytes.signatures.clear();
        entries.push(entry(at as u64 + 2, 3, bytes.encode_to_vec()));
    }
    let rest = entries.split_off(12);
    bench.receive(1, append(3, (0, 0), 12, entries));
    bench.input(Input::Tick);
    bench.receive(1, append(3, (12, 3), 21, rest));
    bench.input(Input::Tick);
    assert_eq!(bench.chain.view().head, BlockNumber(20));
    assert_eq!(bench.chain.raft.store().start().index, 0);
}

impl Bench {
    /// Blocks after block 0, each signed by orderers 1 and 3.
    fn signed_blocks(&self, count: u64) -> Vec<pb::Block> {
        let mut previous = self.chain.channel.genesis.hash;
        (1..=count)
            .map(|number| {
                let mut block = self.block_after(previous, number);
                previous = block.hash;
                for (orderer, credentials) in &self.others {
                    let signature = credentials.sign(hash::domain::HEADER, block.hash.as_bytes());
                    block.signatures.push(pb::HeaderSignature {
                        orderer: *orderer,
                        signature: Bytes::copy_from_slice(&signature),
                    });
                }
                block.to_pb()
            })
            .collect()
    }

    /// A snapshot at the last of `blocks`, whose entry is `index`.
    fn snapshot(&mut self, index: u64, blocks: &[pb::Block]) {
        let last = Block::from_pb(blocks.last().unwrap().clone()).unwrap();
        self.snapshot_of(index, last.header.number, last.hash, vec![1, 2, 3]);
    }

    fn snapshot_of(&mut self, index: u64, number: BlockNumber, hash: Hash32, voters: Vec<u64>) {
        let start = Start {
            index,
            term: 3,
            number,
            hash,
            voters,
        };
        let message = Message {
            snapshot: Some(snapshot_of(&start)).into(),
            ..message(MessageType::MsgSnapshot, 1, 3)
        };
        self.receive(1, message);
    }

    fn blocks_from(&mut self, from: u64, blocks: &[pb::Block]) {
        let blocks = blocks.to_vec();
        self.input(Input::Blocks { from, blocks });
    }

    /// Who was asked for blocks from which number on, since the last look.
    fn asked(&mut self) -> Vec<(u64, u64)> {
        let asked = self.sent.iter().filter_map(|sent| match &sent.body {
            Body::BlockRequest(request) => Some((sent.to, request.start)),
            _ => None,
        });
        asked.collect()
    }

    /// Up to where the log was acknowledged, since the last look.
    fn acknowledged(&mut self) -> Option<u64> {
        let sent = std::mem::take(&mut self.sent).into_iter();
        let messages = sent.filter_map(|outgoing| match outgoing.body {
            Body::Raft(bytes) => Some(codec::decode(&bytes).unwrap()),
            _ => None,
        });
        messages
            .filter(|m| m.msg_type == MessageType::MsgAppendResponse && !m.reject)
            .map(|m| m.index)
            .max()
    }
}

#[test]
fn a_snapshot_is_acknowledged_only_when_its_blocks_are_here_and_durable() {
    let mut bench = Bench::new(3);
    let blocks = bench.signed_blocks(6);
    bench.snapshot(20, &blocks[..5]);
    assert_eq!(bench.asked(), [(1, 1)]);
    assert_eq!(bench.acknowledged(), None);

    bench.blocks_from(1, &blocks[..3]);
    assert_eq!(bench.asked(), [(1, 4)]);
    assert_eq!(bench.acknowledged(), None);
    assert_eq!(bench.chain.view().deliverable, BlockNumber(3));

    // A crash in the middle keeps what was fetched.
    let kv = bench.kv.crash_keeping(usize::MAX);
    bench.reopen(kv);
    assert_eq!(bench.chain.view().head, BlockNumber(3));
    bench.snapshot(20, &blocks[..5]);
    assert_eq!(bench.asked(), [(1, 4)]);
    assert_eq!(bench.acknowledged(), None);

    // More than was asked for is not taken before Raft stands there.
    let input = Input::Blocks {
        from: 1,
        blocks: blocks.clone(),
    };
    bench.chain.handle(input, NOW).unwrap();
    let step = bench.chain.poll(NOW).unwrap().unwrap();
    bench.sent.extend(step.send);
    assert_eq!(
        bench.acknowledged(),
        None,
        "acknowledged before it was written"
    );
    assert_eq!(step.durability, Durability::Synced);
    bench.kv.write(step.write, step.durability).unwrap();
    bench.chain.written().unwrap();
    bench.carry_out();
    assert_eq!(bench.acknowledged(), Some(20));

    // What was acknowledged survives the loss of everything that was not synced.
    let kv = bench.kv.crash();
    bench.reopen(kv);
    assert_eq!(bench.chain.view().head, BlockNumber(5));
    for number in 1..=5 {
        assert_eq!(
            bench.stored(number).to_pb().header,
            blocks[number as usize - 1].header
        );
    }

    // And the log goes on from there.
    let mut next = blocks[5].clone();
    next.signatures.clear();
    let entries = vec![entry(21, 3, next.encode_to_vec())];
    bench.receive(1, append(3, (20, 3), 21, entries));
    assert_eq!(bench.acknowledged(), Some(21));
    assert_eq!(bench.chain.view().head, BlockNumber(6));
}

#[test]
fn blocks_that_prove_nothing_are_refused() {
    let mut bench = Bench::new(3);
    let good = bench.signed_blocks(4);
    let changed = |change: fn(&mut pb::Block)| {
        let mut block = good[0].clone();
        change(&mut block);
        vec![block]
    };
    let hostile = [
        changed(|block| block.signatures.truncate(1)),
        changed(|block| block.signatures[1] = block.signatures[0].clone()),
        changed(|block| block.signatures[1].orderer = 2),
        changed(|block| block.envelopes.push(Bytes::from_static(b"more"))),
        changed(|block| block.header = Bytes::new()),
        vec![good[1].clone()],
    ];
    bench.snapshot(20, &good[..3]);
    for blocks in hostile {
        bench.blocks_from(3, &blocks);
        assert_eq!(bench.chain.view().head, BlockNumber(0));
    }
    // Nobody is asked at once again, so that a liar cannot keep two orderers busy; then another one.
    assert_eq!(bench.asked(), [(1, 1)]);
    bench.sent.clear();
    for _ in 0..FETCH_AGAIN_TICKS {
        bench.receive(1, message(MessageType::MsgHeartbeat, 1, 3));
        bench.input(Input::Tick);
    }
    assert_eq!(bench.asked(), [(3, 1)]);
    bench.blocks_from(3, &good[..3]);
    assert_eq!(bench.acknowledged(), Some(20));
}

#[test]
fn a_snapshot_of_another_chain_is_never_acknowledged() {
    let mut bench = Bench::new(3);
    let blocks = bench.signed_blocks(2);
    bench.snapshot_of(20, BlockNumber(2), Hash32([9; 32]), vec![1, 2, 3]);
    bench.blocks_from(1, &blocks);
    let hash = Block::from_pb(blocks[1].clone()).unwrap().hash;
    bench.snapshot_of(20, BlockNumber(2), hash, vec![1, 2]);
    bench.snapshot_of(20, BlockNumber(2), hash, vec![1, 3]);
    bench.snapshot_of(20, BlockNumber(2), hash, vec![1, 2, 2, 3]);
    bench.snapshot_of(u64::MAX, BlockNumber(2), hash, vec![1, 2, 3]);
    assert_eq!(bench.chain.view().head, BlockNumber(2));
    assert_eq!(bench.acknowledged(), None);
    bench.snapshot(20, &blocks);
    assert_eq!(bench.acknowledged(), Some(20));
}

#[test]
fn entries_whose_blocks_were_fetched_are_recognised() {
    let mut bench = Bench::new(3);
    let blocks = bench.signed_blocks(4);
    bench.snapshot(20, &blocks[..3]);
    bench.blocks_from(1, &blocks[..2]);
    assert_eq!(rows(&bench.kv, FETCHED), 2);
    // A new leader still has the entries.
    let mut entries = vec![entry(1, 3, Vec::new())];
    for (at, block) in blocks.iter().enumerate() {
        let mut bytes = block.clone();
        bytes.signatures.clear();
        entries.push(entry(at as u64 + 2, 3, bytes.encode_to_vec()));
    }
    bench.receive(
        3,
        Message {
            from: 3,
            ..append(4, (0, 0), 5, entries)
        },
    );
    assert_eq!(bench.chain.view().head, BlockNumber(4));
    assert_eq!(rows(&bench.kv, FETCHED), 0, "one copy of each");
    let kv = bench.kv.crash_keeping(usize::MAX);
    bench.reopen(kv);
    for number in 1..=4 {
        assert_eq!(
            bench.stored(number).to_pb().header,
            blocks[number as usize - 1].header
        );
    }
    let applied = bench.kv.get(META, APPLIED).unwrap().unwrap();
    assert_eq!(Applied::decode(applied).unwrap().index, 5);
}

#[test]
fn a_fetched_block_is_not_signed_while_a_crash_may_take_it() {
    let mut bench = Bench::new(3);
    let blocks = bench.signed_blocks(3);
    let mut first = blocks[0].clone();
    first.signatures.clear();
    let entries = vec![entry(1, 3, Vec::new()), entry(2, 3, first.encode_to_vec())];
    bench.receive(1, append(3, (0, 0), 2, entries));
    bench.snapshot(20, &blocks);
    bench.blocks_from(1, &blocks[1..2]);
    // The first block came without signatures, so the second one cannot be delivered either.
    let view = bench.chain.view();
    assert_eq!(
        (view.head, view.deliverable),
        (BlockNumber(2), BlockNumber(0))
    );

    bench.input(Input::Tick);
    bench.input(Input::Tick);
    let asked = bench.sent.iter().find_map(|sent| match &sent.body {
        Body::SignatureRequest(request) => Some(request.numbers.clone()),
        _ => None,
    });
    assert_eq!(asked, Some(vec![1]));
    let numbers: Vec<u64> = bench.signatures_sent().iter().map(|s| s.number).collect();
    assert!(
        !numbers.is_empty() && numbers.iter().all(|number| *number == 1),
        "{numbers:?}"
    );
}

#[test]
fn a_leader_gives_blocks_and_sends_the_newest_snapshot_again() {
    let mut bench = Bench::new(3);
    // Orderer 3 stays behind.
    let term = bench.lead();
    let follow = |bench: &mut Bench| {
        let index = bench.chain.raft.raft.raft_log.last_index();
        bench.receive(
            1,
            Message {
                index,
                ..message(MessageType::MsgAppendResponse, 1, term)
            },
        );
        let signed: Vec<_> = bench.signatures_sent();
        let by_one = signed.iter().map(|signed| {
            let hash = Hash32::from_slice(&signed.header_hash).unwrap();
            let signature = bench.others[&1].sign(hash::domain::HEADER, hash.as_bytes());
            pb::BlockSignature {
                signature: Some(pb::HeaderSignature {
                    orderer: 1,
                    signature: Bytes::copy_from_slice(&signature),
                }),
                ..signed.clone()
            }
        });
        let signatures = by_one.collect();
        bench.input(Input::Signatures {
            from: 1,
            signatures,
        });
    };
    follow(&mut bench);
    for _ in 0..30 {
        bench.chain.submit(bench.envelope()).unwrap();
        bench.carry_out();
        follow(&mut bench);
        bench.input(Input::Tick);
    }
    assert_eq!(bench.chain.view().deliverable, BlockNumber(30));
    let start = bench.chain.raft.store().start().clone();
    assert!(start.index > 20);

    // It says that it has nothing, and gets the start; once more when it does not answer.
    let reject = Message {
        index: start.index + 1,
        reject: true,
        reject_hint: 0,
        ..message(MessageType::MsgAppendResponse, 3, term)
    };
    let mut snapshots = 0;
    for _ in 0..2 * SNAPSHOT_AGAIN_TICKS + 8 {
        bench.sent.clear();
        bench.receive(3, reject.clone());
        bench.receive(3, message(MessageType::MsgHeartbeatResponse, 3, term));
        bench.receive(1, message(MessageType::MsgHeartbeatResponse, 1, term));
        bench.input(Input::Tick);
        for sent in &bench.sent {
            if let Body::Raft(bytes) = &sent.body
                && let message = codec::decode(bytes).unwrap()
                && message.msg_type == MessageType::MsgSnapshot
            {
                assert_eq!(
                    (sent.to, start_in(message.get_snapshot())),
                    (3, Some(start.clone()))
                );
                snapshots += 1;
            }
        }
    }
    assert!((2..=4).contains(&snapshots), "{snapshots} snapshots");

    bench.sent.clear();
    bench.input(Input::BlockRequest { from: 3, start: 4 });
    bench.input(Input::BlockRequest { from: 3, start: 31 });
    bench.input(Input::BlockRequest {
        from: 3,
        start: u64::MAX,
    });
    let [
        Outgoing {
            to: 3,
            body: Body::Blocks(given),
        },
    ] = &bench.sent[..]
    else {
        panic!("{:?}", bench.sent);
    };
    assert_eq!(given.blocks.len(), 27);
    for (block, number) in given.blocks.iter().zip(4..) {
        let block = Block::from_pb(block.clone()).unwrap();
        assert_eq!((block.header.number.0, block.signatures.len()), (number, 2));
    }
}

//! What one orderer sends another.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use stela_orderer::blocks::Blocks;
use stela_orderer::chain::{Chain, ChainSettings, Input};
use stela_orderer::pending::Admitted;
use stela_orderer::{codec, raft_logger};
use stela_protocol::transaction::Envelope;
use stela_protocol::{BlockNumber, Hash32, pb};
use stela_store::{Kv, MemoryKv};

use crate::parts::Parts;
use crate::world::{START_MS, World};

/// The orderer that is looked at, and the one that sends whatever it likes.
const OWN: u64 = 2;
const HOSTILE: u64 = 1;
const INPUTS_MAX: usize = 24;
const TICKS_MAX: u8 = 40;
/// So few that the log's start moves within one input.
const ENTRIES_KEPT: u64 = 1;

pub(super) fn raft_message(input: &[u8]) {
    let Ok(message) = codec::decode(&Bytes::copy_from_slice(input)) else {
        return;
    };
    let again = codec::encode(&message).expect("what was accepted fits");
    assert_eq!(codec::decode(&again), Ok(message));
}

/// One orderer of three sends anything to another. Whatever it sends, the other one goes on, and what
/// is committed stays as it was.
pub(super) fn raft_chain(input: &[u8]) {
    play(input);
}

fn play(input: &[u8]) -> Bench {
    let mut bench = Bench::new();
    let mut parts = Parts::of(input);
    for _ in 0..INPUTS_MAX {
        if parts.is_empty() {
            break;
        }
        match parts.byte() % 9 {
            0 => (0..parts.byte() % TICKS_MAX).for_each(|_| bench.handle(Input::Tick)),
            1 => bench.receive(parts.part()),
            2 => {
                if let Some(envelope) = admitted(parts.part()) {
                    bench.handle(Input::Forward(envelope));
                }
            }
            3 => {
                if let Ok(message) = pb::HeaderSignatures::decode(parts.part()) {
                    bench.handle(Input::Signatures {
                        from: HOSTILE,
                        signatures: message.signatures,
                    });
                }
            }
            4 => {
                let numbers = parts.part().chunks(8).map(|n| Parts::of(n).number());
                bench.handle(Input::SignatureRequest {
                    from: HOSTILE,
                    numbers: numbers.collect(),
                });
            }
            5 => bench.handle(Input::Unreachable(u64::from(parts.byte()))),
            7 => {
                let (from, start) = (HOSTILE, parts.number());
                bench.handle(Input::BlockRequest { from, start });
            }
            8 => {
                if let Ok(message) = pb::Blocks::decode(parts.part()) {
                    let (from, blocks) = (HOSTILE, message.blocks);
                    bench.handle(Input::Blocks { from, blocks });
                }
            }
            _ => {
                if let Some(envelope) = admitted(parts.part()) {
                    let _ = bench.chain.submit(envelope);
                    bench.carry_out();
                }
            }
        }
    }
    bench
}

fn admitted(bytes: &[u8]) -> Option<Admitted> {
    let bytes = Bytes::copy_from_slice(bytes);
    let envelope = Envelope::decode(bytes.clone()).ok()?;
    Some(Admitted::parsed(&envelope, bytes))
}

struct Bench {
    chain: Chain,
    kv: Arc<MemoryKv>,
    blocks: Blocks,
    committed: BTreeMap<u64, Hash32>,
}

impl Bench {
    fn new() -> Self {
        let world = World::get();
        let kv = Arc::new(world.orderer_kv());
        let settings = ChainSettings {
            election_ticks: 10..11,
            entries_kept: ENTRIES_KEPT,
            ..ChainSettings::new(OWN)
        };
        let credentials = world.orderers[OWN as usize - 1].clone();
        let (channel, store) = (world.channel.clone(), kv.clone());
        let chain = Chain::open(&settings, channel, credentials, store, &raft_logger());
        let mut bench = Self {
            chain: chain.expect("a new channel"),
            blocks: Blocks::new(kv.clone()),
            kv,
            committed: BTreeMap::new(),
        };
        bench.carry_out();
        bench
    }

    fn receive(&mut self, bytes: &[u8]) {
        if let Ok(message) = codec::decode(&Bytes::copy_from_slice(bytes)) {
            self.handle(Input::Raft {
                from: HOSTILE,
                message: Box::new(message),
            });
        }
    }

    fn handle(&mut self, input: Input) {
        let handled = self.chain.handle(input, START_MS);
        handled.expect("nothing that is sent ends an orderer");
        self.carry_out();
    }

    fn carry_out(&mut self) {
        while let Some(step) = self.chain.poll(START_MS).expect("an orderer goes on") {
            let written = self.kv.write(step.write, step.durability);
            written.expect("memory does not fail");
            self.chain.written().expect("an orderer goes on");
        }
        let view = self.chain.view();
        assert!(
            view.deliverable <= view.head,
            "nothing is delivered before it is committed"
        );
        self.check_committed(view.head);
    }

    /// One history: no number ever gets another block, and each follows the one before.
    fn check_committed(&mut self, head: BlockNumber) {
        let known = self.committed.last_key_value().map(|(number, _)| *number);
        assert!(known <= Some(head.0), "the head never goes back");
        for number in 0..=head.0 {
            let place = self
                .blocks
                .place(BlockNumber(number))
                .expect("it can be read");
            let place = place.expect("a committed block has a place");
            assert_eq!(
                *self.committed.entry(number).or_insert(place.hash),
                place.hash
            );
            let block = self
                .blocks
                .parsed(BlockNumber(number), place)
                .expect("it can be read");
            assert_eq!(block.header.number.0, number);
        }
    }
}

pub(super) mod seeds {
    use stela_protocol::block::Block;
    use stela_protocol::hash::domain;

    use super::*;
    use crate::parts::part;
    use crate::targets::protocol::seeds::{envelopes, next_block, signed_block};

    const APPEND: u64 = 3;
    const APPEND_RESPONSE: u64 = 4;
    const VOTE: u64 = 5;
    const VOTE_RESPONSE: u64 = 6;
    const HEARTBEAT: u64 = 8;
    const PRE_VOTE_RESPONSE: u64 = 18;

    /// `eraftpb.Message`, written by hand: no other crate than the orderer names Raft.
    fn message(kind: u64, term: u64, rest: &[(u64, u64)], entries: &[Vec<u8>]) -> Vec<u8> {
        let head = [(1, kind), (2, OWN), (3, HOSTILE), (4, term)];
        let mut bytes = Vec::new();
        for (field, number) in head.iter().chain(rest).filter(|(_, number)| *number != 0) {
            varint(&mut bytes, field << 3);
            varint(&mut bytes, *number);
        }
        for entry in entries {
            varint(&mut bytes, 7 << 3 | 2);
            varint(&mut bytes, entry.len() as u64);
            bytes.extend(entry);
        }
        bytes
    }

    fn entry(term: u64, index: u64, data: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (field, number) in [(2, term), (3, index)] {
            varint(&mut bytes, field << 3);
            varint(&mut bytes, number);
        }
        varint(&mut bytes, 4 << 3 | 2);
        varint(&mut bytes, data.len() as u64);
        bytes.extend(data);
        bytes
    }

    fn varint(out: &mut Vec<u8>, mut number: u64) {
        while number >= 0x80 {
            out.push(number as u8 | 0x80);
            number >>= 7;
        }
        out.push(number as u8);
    }

    fn append() -> Vec<u8> {
        let mut block = next_block(vec![envelopes().remove(0)]).to_pb();
        block.signatures.clear();
        let entries = [entry(1, 1, b""), entry(1, 2, &block.encode_to_vec())];
        message(APPEND, 1, &[(8, 2)], &entries)
    }

    pub(in crate::targets) fn raft_message() -> Vec<Vec<u8>> {
        vec![
            append(),
            message(APPEND_RESPONSE, 1, &[(6, 2)], &[]),
            message(APPEND_RESPONSE, 1, &[(6, 2), (10, 1), (11, 1)], &[]),
            message(VOTE, 2, &[(5, 1), (6, 2)], &[]),
            message(VOTE_RESPONSE, 1, &[], &[]),
            message(HEARTBEAT, 1, &[(8, 1)], &[]),
            message(PRE_VOTE_RESPONSE, 1, &[(10, 1)], &[]),
        ]
    }

    fn signature(block: &Block) -> Vec<u8> {
        let signature = World::get().orderers[0].sign(domain::HEADER, block.hash.as_bytes());
        let signature = pb::BlockSignature {
            number: block.header.number.0,
            header_hash: block.hash.to_bytes(),
            signature: Some(pb::HeaderSignature {
                orderer: HOSTILE,
                signature: signature.to_vec().into(),
            }),
        };
        let signatures = pb::HeaderSignatures {
            signatures: vec![signature],
        };
        [vec![3], part(&signatures.encode_to_vec())].concat()
    }

    pub(in crate::targets) fn raft_chain() -> Vec<Vec<u8>> {
        let raft = |bytes: Vec<u8>| [vec![1], part(&bytes)].concat();
        let ticks = |count: u8| vec![0, count];
        let own = [vec![6], part(&envelopes()[0])].concat();
        let forward = [vec![2], part(&envelopes()[1])].concat();
        // Elected with the other's vote, then what was submitted is acknowledged.
        let lead = [
            ticks(12),
            raft(message(PRE_VOTE_RESPONSE, 1, &[], &[])),
            raft(message(VOTE_RESPONSE, 1, &[], &[])),
            raft(message(APPEND_RESPONSE, 1, &[(6, 1)], &[])),
        ]
        .concat();
        let acknowledged = raft(message(APPEND_RESPONSE, 1, &[(6, 2)], &[]));
        let block = next_block(vec![envelopes().remove(0)]);
        let signed = signature(&block);
        let second = Block::new(
            block.header.channel.clone(),
            block.header.number.next(),
            block.hash,
            BlockNumber(0),
            START_MS + 2,
            vec![envelopes().remove(1)],
        );
        let entries = [entry(1, 3, &second.to_pb().encode_to_vec())];
        let append_second = message(APPEND, 1, &[(5, 1), (6, 2), (8, 3)], &entries);
        let beyond = raft(message(APPEND_RESPONSE, 1, &[(6, 9)], &[]));
        let asks = |start: u64| [vec![7], start.to_be_bytes().to_vec()].concat();
        let blocks = pb::Blocks {
            blocks: vec![signed_block(vec![envelopes().remove(0)])],
        };
        let fetched = [vec![8], part(&blocks.encode_to_vec())].concat();
        let no_term = raft(message(
            APPEND,
            1,
            &[(8, 2)],
            &[entry(0, 1, b""), entry(1, 2, b"")],
        ));
        let gap = raft(message(APPEND, 1, &[(6, 7), (8, 9)], &[entry(1, 8, b"")]));
        vec![
            [
                raft(append()),
                signed.clone(),
                raft(message(HEARTBEAT, 1, &[(8, 2)], &[])),
                ticks(3),
            ]
            .concat(),
            [lead.clone(), own.clone(), acknowledged.clone(), ticks(5)].concat(),
            [
                lead.clone(),
                beyond,
                raft(message(HEARTBEAT, 1, &[(8, 9)], &[])),
            ]
            .concat(),
            [no_term, gap].concat(),
            [
                lead,
                own,
                forward,
                acknowledged,
                raft(message(VOTE, 9, &[(5, 1), (6, 9)], &[])),
                ticks(20),
            ]
            .concat(),
            [
                raft(append()),
                vec![4],
                part(&1_u64.to_be_bytes()),
                vec![5, 1],
                signed.clone(),
            ]
            .concat(),
            [fetched.clone(), asks(1), ticks(2), fetched].concat(),
            // The log's start moves, and what is before it can still be had.
            [
                raft(append()),
                signed,
                ticks(2),
                raft(append_second),
                signature(&second),
                ticks(2),
                asks(1),
                asks(9),
                raft(append()),
            ]
            .concat(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use stela_orderer::layout::{META, START, Start};
    use stela_store::KvRead;

    use super::*;

    /// Else no search would ever come to what happens behind a log's start.
    #[test]
    fn the_last_input_moves_the_logs_start() {
        let inputs = seeds::raft_chain();
        let last = inputs.last().expect("there are inputs");
        let start = play(last).kv.get(META, START).expect("it can be read");
        let start = Start::decode(start.expect("a start")).expect("a start");
        assert_eq!((start.index, start.number), (2, BlockNumber(1)));
    }
}

mod catchup;
mod config;

use super::*;
use crate::consortium::{CHANNEL, Consortium, encoded, registration};
use crate::layout::{FAMILIES, LOG, key};
use crate::limits::{CUT_PAUSE_MS_MAX, CUT_PAUSE_PER_ENVELOPE_MS, FORWARD_AGAIN_TICKS};
use raft::eraftpb::{Entry, MessageType};
use stela_protocol::transaction::{Envelope, Signed, envelope};
use stela_protocol::{Message as _, hash};
use stela_store::{MemoryKv, StoreError};

const NOW: u64 = 1_800_000_000_000;
const OWN: u64 = 2;
const KEPT: u64 = 4;

/// A chain with its disk, and everything that it sent.
struct Bench {
    chain: Chain,
    kv: Arc<MemoryKv>,
    others: BTreeMap<u64, Arc<Credentials>>,
    client: Credentials,
    consortium: Consortium,
    sent: Vec<Outgoing>,
}

impl Bench {
    /// Orderer 2 of three, or the only one.
    fn new(orderers: u64) -> Self {
        let addresses = vec!["localhost:1".to_owned(); orderers as usize];
        let consortium = Consortium::new(NOW, &addresses);
        let channel = Channel::from_genesis(encoded(&consortium.genesis())).unwrap();
        let kv = Arc::new(MemoryKv::new(FAMILIES));
        channel.create(kv.as_ref()).unwrap();
        let client = consortium.organizations[0].member("client", "practitioner");
        let numbered = consortium.orderers.iter();
        let mut others: BTreeMap<_, _> = numbered.map(|o| (o.id, o.credentials.clone())).collect();
        let own = OWN.min(orderers);
        let credentials = others.remove(&own).unwrap();
        let settings = ChainSettings {
            orderer: own,
            election_ticks: 10..11,
            entries_kept: KEPT,
            joined: None,
        };
        let logger = crate::raft_logger();
        let store = kv.clone();
        let chain = Chain::open(&settings, Arc::new(channel), credentials, store, &logger);
        let mut bench = Self {
            chain: chain.unwrap(),
            kv,
            others,
            client,
            consortium,
            sent: Vec::new(),
        };
        bench.carry_out();
        bench
    }

    /// What a new start finds in `kv`.
    fn reopen(&mut self, kv: MemoryKv) {
        let settings = ChainSettings {
            orderer: self.chain.orderer(),
            election_ticks: 10..11,
            entries_kept: KEPT,
            joined: None,
        };
        let genesis = encoded(&self.chain.channel.genesis);
        let channel = Arc::new(Channel::from_genesis(genesis).unwrap());
        let credentials = self.chain.credentials.clone();
        self.kv = Arc::new(kv);
        let store = self.kv.clone();
        let chain = Chain::open(
            &settings,
            channel,
            credentials,
            store,
            &crate::raft_logger(),
        );
        self.chain = chain.unwrap();
        self.sent.clear();
        self.carry_out();
    }

    fn carry_out(&mut self) {
        self.carry_out_at(NOW);
    }

    fn carry_out_at(&mut self, now_ms: u64) {
        while self.step_unwritten_at(now_ms) {
            self.chain.written().unwrap();
        }
    }

    /// Sends and writes, but does not say that it is written.
    fn step_unwritten(&mut self) -> bool {
        self.step_unwritten_at(NOW)
    }

    fn step_unwritten_at(&mut self, now_ms: u64) -> bool {
        let Some(step) = self.chain.poll(now_ms).unwrap() else {
            return false;
        };
        self.sent.extend(step.send);
        self.kv.write(step.write, step.durability).unwrap();
        true
    }

    fn input(&mut self, input: Input) {
        self.chain.handle(input, NOW).unwrap();
        self.carry_out();
    }

    fn receive(&mut self, from: u64, message: Message) {
        self.input(Input::Raft {
            from,
            message: Box::new(message),
        });
    }

    /// Orderer 2 becomes the leader with the vote of 1. Answers the term.
    fn lead(&mut self) -> u64 {
        for _ in 0..12 {
            self.input(Input::Tick);
        }
        let term = self.chain.view().term;
        let vote = message(MessageType::MsgRequestPreVoteResponse, 1, term + 1);
        self.receive(1, vote);
        let term = self.chain.view().term;
        self.receive(1, message(MessageType::MsgRequestVoteResponse, 1, term));
        assert_eq!(self.chain.view().leader, OWN);
        term
    }

    fn envelope(&self) -> Admitted {
        let bytes = registration(CHANNEL, &self.client, NOW);
        let bytes = envelope(Signed {
            bytes,
            signature: [0; 64],
        });
        Admitted::parsed(&Envelope::decode(bytes.clone()).unwrap(), bytes)
    }

    fn block_after(&self, previous: Hash32, number: u64) -> Block {
        let id = self.chain.channel.id().clone();
        let envelopes = vec![self.envelope().bytes];
        Block::new(
            id,
            BlockNumber(number),
            previous,
            BlockNumber(0),
            NOW,
            envelopes,
        )
    }

    fn stored(&self, number: u64) -> Block {
        let delivered = self.chain.blocks.delivered(BlockNumber(number)).unwrap();
        Block::from_pb(delivered.unwrap()).unwrap()
    }

    fn signatures_sent(&mut self) -> Vec<pb::BlockSignature> {
        let sent = std::mem::take(&mut self.sent).into_iter();
        let signatures = sent.filter_map(|outgoing| match outgoing.body {
            Body::Signatures(message) => Some(message.signatures),
            _ => None,
        });
        signatures.flatten().collect()
    }

    /// Whom it asked whether they would vote for it, since the last look.
    fn pre_votes_asked(&mut self) -> Vec<u64> {
        let sent = std::mem::take(&mut self.sent).into_iter();
        let asked = sent.filter_map(|outgoing| match outgoing.body {
            Body::Raft(bytes) => {
                let message = codec::decode(&bytes).unwrap();
                (message.msg_type == MessageType::MsgRequestPreVote).then_some(outgoing.to)
            }
            _ => None,
        });
        asked.collect()
    }

    fn forwards_sent(&mut self) -> Vec<(u64, Bytes)> {
        let sent = std::mem::take(&mut self.sent).into_iter();
        let forwards = sent.filter_map(|outgoing| match outgoing.body {
            Body::Forward(forward) => Some((outgoing.to, forward.envelope)),
            _ => None,
        });
        forwards.collect()
    }
}

fn message(msg_type: MessageType, from: u64, term: u64) -> Message {
    Message {
        msg_type,
        from,
        to: OWN,
        term,
        ..Default::default()
    }
}

fn entry(index: u64, term: u64, data: Vec<u8>) -> Entry {
    Entry {
        index,
        term,
        data: data.into(),
        ..Default::default()
    }
}

fn append(term: u64, previous: (u64, u64), commit: u64, entries: Vec<Entry>) -> Message {
    let (index, log_term) = previous;
    let entries = entries.into();
    Message {
        index,
        log_term,
        commit,
        entries,
        ..message(MessageType::MsgAppend, 1, term)
    }
}

#[test]
fn an_idle_leader_cuts_at_once_and_gathers_while_a_block_is_in_flight() {
    let mut bench = Bench::new(1);
    bench.chain.submit(bench.envelope()).unwrap();
    assert!(bench.step_unwritten());
    for _ in 0..3 {
        bench.chain.pending.take(bench.envelope());
    }
    bench.chain.written().unwrap();
    bench.carry_out();
    assert_eq!(
        (
            bench.stored(1).envelopes.len(),
            bench.stored(2).envelopes.len()
        ),
        (1, 3)
    );
    assert_eq!(bench.chain.view().deliverable, BlockNumber(2));
}

#[test]
fn a_full_queue_becomes_blocks_of_the_configured_size() {
    let mut bench = Bench::new(1);
    for _ in 0..25 {
        bench.chain.submit(bench.envelope()).unwrap();
    }
    bench.carry_out_at(NOW + CUT_PAUSE_MS_MAX);
    let sizes = [1, 2].map(|number| bench.stored(number).envelopes.len());
    assert_eq!(sizes, [10, 10]);
    bench.carry_out_at(NOW + 2 * CUT_PAUSE_MS_MAX);
    assert_eq!(bench.stored(3).envelopes.len(), 5);
}

#[test]
fn after_a_block_of_many_comes_a_pause_that_grows_with_them() {
    for (count, pause_ms) in [
        (1, 0),
        (2, CUT_PAUSE_PER_ENVELOPE_MS),
        (3, 2 * CUT_PAUSE_PER_ENVELOPE_MS),
        (9, 8 * CUT_PAUSE_PER_ENVELOPE_MS),
    ] {
        let mut bench = Bench::new(1);
        for _ in 0..count {
            bench.chain.submit(bench.envelope()).unwrap();
        }
        bench.carry_out();
        assert_eq!(bench.chain.pause_ms(NOW), None, "nothing waits");
        bench.chain.submit(bench.envelope()).unwrap();
        if let Some(before_ms) = u64::checked_sub(pause_ms, 1) {
            bench.carry_out_at(NOW + before_ms);
            assert_eq!(bench.chain.view().head, BlockNumber(1), "{count}");
            assert_eq!(bench.chain.pause_ms(NOW + before_ms), Some(1), "{count}");
        }
        bench.carry_out_at(NOW + pause_ms);
        assert_eq!(bench.chain.view().head, BlockNumber(2), "{count}");
    }
}

#[test]
fn a_clock_that_is_set_back_does_not_make_a_pause_longer() {
    let mut bench = Bench::new(1);
    for _ in 0..9 {
        bench.chain.submit(bench.envelope()).unwrap();
    }
    bench.carry_out();
    bench.chain.submit(bench.envelope()).unwrap();
    bench.carry_out_at(NOW - 1);
    assert_eq!(bench.chain.view().head, BlockNumber(2));
}

#[test]
fn time_never_goes_back() {
    let mut bench = Bench::new(1);
    for now in [NOW + 5_000, NOW - 5_000, NOW + 6_000] {
        bench.chain.submit(bench.envelope()).unwrap();
        while let Some(step) = bench.chain.poll(now).unwrap() {
            bench.kv.write(step.write, step.durability).unwrap();
            bench.chain.written().unwrap();
        }
    }
    let times = [1, 2, 3].map(|number| bench.stored(number).header.time_ms - NOW);
    assert_eq!(times, [5_000, 5_000, 6_000]);
}

#[test]
fn committed_entries_that_are_no_block_are_skipped() {
    let mut bench = Bench::new(1);
    let (genesis, head) = (bench.chain.head_hash, bench.chain.view().head);
    let wrong = [
        b"no block at all".to_vec(),
        bench
            .block_after(Hash32([7; 32]), 1)
            .to_pb()
            .encode_to_vec(),
        bench.block_after(genesis, 2).to_pb().encode_to_vec(),
    ];
    for data in wrong {
        bench.chain.raft.propose(Vec::new(), data).unwrap();
        bench.carry_out();
    }
    assert_eq!(bench.chain.view().head, head);
    bench.chain.submit(bench.envelope()).unwrap();
    bench.carry_out();
    assert_eq!(bench.stored(1).header.previous_hash, genesis);
    assert_eq!(bench.chain.view().deliverable, BlockNumber(1));
}

#[test]
fn the_transactions_of_a_losing_block_return_to_the_queue() {
    let mut bench = Bench::new(1);
    let winner = bench
        .block_after(bench.chain.head_hash, 1)
        .to_pb()
        .encode_to_vec();
    bench.chain.raft.propose(Vec::new(), winner).unwrap();
    let waits = bench.envelope();
    bench.chain.submit(waits.clone()).unwrap();
    // Its first block loses against the other one with its number; the second one comes after it.
    bench.carry_out();
    assert_eq!(bench.stored(2).envelopes, [waits.bytes]);
    assert_eq!(bench.stored(2).header.previous_hash, bench.stored(1).hash);
}

#[test]
fn a_header_is_signed_once_its_block_is_durable_and_of_the_term() {
    let mut bench = Bench::new(3);
    let block = bench.block_after(bench.chain.head_hash, 1);
    let first = entry(1, 3, Vec::new());
    let second = entry(2, 3, block.to_pb().encode_to_vec());
    let message = append(3, (0, 0), 0, vec![first, second]);
    bench
        .chain
        .handle(
            Input::Raft {
                from: 1,
                message: Box::new(message),
            },
            NOW,
        )
        .unwrap();
    assert!(bench.step_unwritten());
    assert!(
        bench.signatures_sent().is_empty(),
        "signed before it was known to be durable"
    );
    bench.chain.written().unwrap();
    bench.carry_out();
    let sent = bench.signatures_sent();
    assert_eq!(sent.len(), 2, "one for each other orderer");
    assert_eq!(sent[0].header_hash, block.hash.to_bytes());
    assert_eq!(bench.chain.view().head, BlockNumber(0));
}

#[test]
fn a_block_of_an_older_term_is_signed_only_when_it_is_committed() {
    let mut bench = Bench::new(3);
    let block = bench.block_after(bench.chain.head_hash, 1);
    let entries = vec![
        entry(1, 3, Vec::new()),
        entry(2, 3, block.to_pb().encode_to_vec()),
    ];
    bench.receive(1, append(4, (0, 0), 0, entries));
    assert!(
        bench.signatures_sent().is_empty(),
        "it may still be overwritten"
    );
    bench.receive(1, append(4, (2, 3), 3, vec![entry(3, 4, Vec::new())]));
    assert_eq!(bench.signatures_sent().len(), 2);
    assert_eq!(bench.chain.view().head, BlockNumber(1));
}

#[test]
fn a_block_is_deliverable_with_a_quorum_of_genuine_signatures() {
    let mut bench = Bench::new(3);
    let block = bench.block_after(bench.chain.head_hash, 1);
    let entries = vec![
        entry(1, 3, Vec::new()),
        entry(2, 3, block.to_pb().encode_to_vec()),
    ];
    bench.receive(1, append(3, (0, 0), 2, entries));
    assert_eq!(bench.chain.view().head, BlockNumber(1));
    let signed = |orderer: u64, signer: u64, hash: Hash32| {
        let signature = bench.others[&signer].sign(hash::domain::HEADER, hash.as_bytes());
        let signature = pb::HeaderSignature {
            orderer,
            signature: Bytes::copy_from_slice(&signature),
        };
        pb::BlockSignature {
            number: 1,
            header_hash: hash.to_bytes(),
            signature: Some(signature),
        }
    };
    let forged = vec![
        signed(1, 3, block.hash),
        signed(9, 3, block.hash),
        signed(OWN, 3, block.hash),
        signed(3, 3, Hash32([1; 32])),
        pb::BlockSignature::default(),
    ];
    let genuine = vec![signed(3, 3, block.hash)];
    bench.input(Input::Signatures {
        from: 3,
        signatures: forged,
    });
    assert_eq!(bench.chain.view().deliverable, BlockNumber(0));
    bench.input(Input::Signatures {
        from: 1,
        signatures: genuine,
    });
    assert_eq!(bench.chain.view().deliverable, BlockNumber(1));
    let orderers: Vec<u64> = bench
        .stored(1)
        .signatures
        .iter()
        .map(|s| s.orderer)
        .collect();
    assert_eq!(orderers, [2, 3]);
}

#[test]
fn missing_signatures_are_asked_for_and_given() {
    let mut bench = Bench::new(3);
    let block = bench.block_after(bench.chain.head_hash, 1);
    let entries = vec![
        entry(1, 3, Vec::new()),
        entry(2, 3, block.to_pb().encode_to_vec()),
    ];
    bench.receive(1, append(3, (0, 0), 2, entries));
    bench.sent.clear();
    bench.input(Input::Tick);
    let asks =
        |sent: &Outgoing| matches!(&sent.body, Body::SignatureRequest(r) if r.numbers == [1]);
    assert!(bench.sent.iter().any(asks), "{:?}", bench.sent);
    bench.sent.clear();
    bench.input(Input::SignatureRequest {
        from: 3,
        numbers: vec![0, 1, 2, u64::MAX],
    });
    let given = bench.signatures_sent();
    assert_eq!(given.len(), 1);
    assert_eq!(
        (given[0].number, &given[0].header_hash),
        (1, &block.hash.to_bytes())
    );
}

#[test]
fn without_a_leader_nothing_is_taken_and_with_a_new_one_everything_is_forwarded_again() {
    let mut bench = Bench::new(3);
    let envelope = bench.envelope();
    let error = bench.chain.submit(envelope.clone()).unwrap_err();
    assert!(error == SubmitError::NoLeader && error.is_retryable());

    bench.receive(1, message(MessageType::MsgHeartbeat, 1, 3));
    bench.chain.submit(envelope.clone()).unwrap();
    bench.chain.submit(envelope.clone()).unwrap();
    bench.carry_out();
    assert_eq!(bench.forwards_sent(), [(1, envelope.bytes.clone())]);

    bench.receive(3, message(MessageType::MsgHeartbeat, 3, 4));
    assert_eq!(bench.forwards_sent(), [(3, envelope.bytes.clone())]);
    for _ in 0..=FORWARD_AGAIN_TICKS {
        bench.input(Input::Tick);
        bench.receive(3, message(MessageType::MsgHeartbeat, 3, 4));
    }
    assert_eq!(bench.forwards_sent(), [(3, envelope.bytes)]);
}

#[test]
fn messages_that_contradict_the_log_are_refused() {
    let mut bench = Bench::new(3);
    bench.receive(1, append(3, (0, 0), 1, vec![entry(1, 3, Vec::new())]));
    let before = bench.chain.view();
    bench.sent.clear();
    let heartbeat = |from| message(MessageType::MsgHeartbeat, from, 3);
    let hostile = [
        (
            1,
            Message {
                commit: 99,
                ..heartbeat(1)
            },
        ),
        (1, heartbeat(3)),
        (9, heartbeat(9)),
        (OWN, heartbeat(OWN)),
        (
            1,
            Message {
                to: 3,
                ..heartbeat(1)
            },
        ),
        (
            1,
            Message {
                term: u64::MAX,
                ..heartbeat(1)
            },
        ),
        (
            1,
            Message {
                context: Bytes::from_static(b"x"),
                ..heartbeat(1)
            },
        ),
        (
            1,
            Message {
                index: u64::MAX,
                ..append(3, (0, 0), 0, Vec::new())
            },
        ),
        (
            3,
            Message {
                index: 50,
                ..message(MessageType::MsgAppendResponse, 3, 3)
            },
        ),
        (
            3,
            Message {
                reject: true,
                reject_hint: u64::MAX,
                ..message(MessageType::MsgAppendResponse, 3, 3)
            },
        ),
        (
            3,
            Message {
                request_snapshot: 1,
                ..message(MessageType::MsgAppendResponse, 3, 3)
            },
        ),
    ];
    for (from, message) in hostile {
        bench.receive(from, message);
    }
    assert_eq!(bench.chain.view(), before);
    assert_eq!(bench.sent, []);
}

#[test]
fn a_restart_finds_everything() {
    let mut bench = Bench::new(1);
    for _ in 0..3 {
        bench.chain.submit(bench.envelope()).unwrap();
        bench.carry_out();
    }
    let before = bench.chain.view();
    // What was only buffered is lost: it is found again in the log.
    let kv = bench.kv.crash();
    bench.reopen(kv);
    let after = bench.chain.view();
    assert_eq!(
        (after.head, after.head_hash),
        (before.head, before.head_hash)
    );
    assert_eq!(after.deliverable, before.deliverable);
    let known = bench
        .chain
        .blocks
        .certificate(&bench.client.fingerprint())
        .unwrap();
    assert_eq!(known.as_ref(), Some(bench.client.certificate.der()));
}

#[test]
fn who_led_before_a_restart_asks_for_votes_at_once_and_until_there_is_a_leader() {
    let mut bench = Bench::new(3);
    let first = bench.kv.crash();
    let term = bench.lead();
    let kv = bench.kv.crash();
    for (kv, led, expect) in [(first, false, vec![]), (kv, true, vec![1, 3])] {
        bench.reopen(kv);
        bench.input(Input::Tick);
        assert_eq!(bench.pre_votes_asked(), [0; 0]);
        for _ in 0..2 {
            bench.input(Input::Tick);
            assert_eq!(bench.pre_votes_asked(), expect, "{led}");
            bench.input(Input::Tick);
        }
    }
    bench.receive(1, message(MessageType::MsgHeartbeat, 1, term + 1));
    assert_eq!(bench.chain.view().leader, 1);
    bench.sent.clear();
    for _ in 0..6 {
        bench.input(Input::Tick);
    }
    assert_eq!(bench.pre_votes_asked(), [0; 0]);
}

/// Raft would end the process over it.
#[test]
fn an_entry_that_is_damaged_while_it_runs_stops_the_chain() {
    let mut bench = Bench::new(3);
    let block = bench.block_after(bench.chain.head_hash, 1);
    let entries = vec![
        entry(1, 3, Vec::new()),
        entry(2, 3, block.to_pb().encode_to_vec()),
    ];
    bench.receive(1, append(3, (0, 0), 2, entries));
    let kv = bench.kv.crash_keeping(usize::MAX);
    bench.reopen(kv);
    let term = bench.lead();
    assert_eq!(bench.chain.view().head, BlockNumber(1));

    let mut batch = WriteBatch::new();
    batch.put(LOG, key(2), Bytes::from_static(b"damaged"));
    bench.kv.write(batch, Durability::Synced).unwrap();
    // Orderer 3 has nothing, so it is to get everything.
    let refused = Message {
        index: 2,
        reject: true,
        ..message(MessageType::MsgAppendResponse, 3, term)
    };
    let input = Input::Raft {
        from: 3,
        message: Box::new(refused),
    };
    bench.chain.handle(input, NOW).unwrap();
    for _ in 0..2 {
        let fault = bench.chain.poll(NOW).map(drop);
        let Err(ChainFault::Store(error)) = fault else {
            panic!("{fault:?}")
        };
        assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
    }
}

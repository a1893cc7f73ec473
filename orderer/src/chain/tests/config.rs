//! A change of the configuration: alone in its block, in force from the next one on, and one step
//! with the change of Raft's voters.

use super::*;
use crate::channel::Change;
use crate::consortium::update;
use protobuf::Message as _;
use raft::eraftpb::EntryType;
use stela_store::KvRead;

impl Bench {
    /// The change to what the consortium's configuration is now.
    fn change(&self) -> Admitted {
        let config = self.consortium.config();
        self.change_to(config)
    }

    fn change_to(&self, config: pb::ChannelConfig) -> Admitted {
        let admin = self.consortium.organizations[0].member("admin", "admin");
        let current = self.chain.channel.configuration();
        let bytes = update(current, config, &admin, NOW);
        Admitted::parsed(&Envelope::decode(bytes.clone()).unwrap(), bytes)
    }

    fn with_limit(&self, envelope_bytes_max: u64) -> Admitted {
        let mut config = self.consortium.config();
        config.limits.as_mut().unwrap().envelope_bytes_max = envelope_bytes_max;
        self.change_to(config)
    }

    fn limit(&self) -> usize {
        self.chain.channel.config().limits.envelope_bytes_max
    }

    fn voters(&self) -> Vec<u64> {
        let voters = self.kv.get(META, crate::layout::CONF_STATE).unwrap();
        decode_numbers("conf_state", voters.unwrap()).unwrap()
    }

    /// The block that carries this change after the head.
    fn block_with(&self, change: &Admitted) -> Block {
        let head = &self.chain.head;
        Block::new(
            head.channel.clone(),
            head.number.next(),
            self.chain.head_hash,
            head.number.next(),
            NOW,
            vec![change.bytes.clone()],
        )
    }

    /// Commits an entry of this type as the leader's next one.
    fn commit(&mut self, entry_type: EntryType, data: Vec<u8>) {
        let message = Message {
            msg_type: MessageType::MsgPropose,
            from: self.chain.orderer,
            entries: vec![Entry {
                entry_type,
                data: data.into(),
                ..Default::default()
            }]
            .into(),
            ..Default::default()
        };
        self.chain.raft.raft.step(message).unwrap();
        self.carry_out();
    }
}

fn conf_change(change: Change, block: &Block) -> Vec<u8> {
    let block = block.to_pb().encode_to_vec();
    codec::conf_change(change, block).write_to_bytes().unwrap()
}

#[test]
fn a_change_stands_alone_and_is_in_force_from_the_next_block_on() {
    let mut bench = Bench::new(1);
    let (before, change, after) = (bench.envelope(), bench.with_limit(50_000), bench.envelope());
    for envelope in [&before, &change, &after] {
        bench.chain.pending.take(envelope.clone());
    }
    bench.carry_out();
    for (number, envelope, last_config) in [(1, before, 0), (2, change, 2), (3, after, 2)] {
        let block = bench.stored(number);
        assert_eq!(block.envelopes, [envelope.bytes]);
        assert_eq!(block.header.last_config, BlockNumber(last_config));
    }
    for _ in 0..2 {
        assert_eq!(
            (bench.limit(), bench.chain.channel.since),
            (50_000, BlockNumber(2))
        );
        let judged_by = |number| {
            bench
                .chain
                .channel_before(BlockNumber(number))
                .unwrap()
                .since
                .0
        };
        assert_eq!([0, 1, 2, 3, 4].map(judged_by), [0, 0, 0, 2, 2]);
        let kv = bench.kv.crash();
        bench.reopen(kv);
    }
}

#[test]
fn a_change_that_is_not_valid_is_ordered_and_does_not_count() {
    let mut bench = Bench::new(1);
    // Two for the same base: only one of them can be the next.
    let (first, second) = (bench.with_limit(50_000), bench.with_limit(40_000));
    let (first_bytes, second_bytes) = (first.bytes.clone(), second.bytes.clone());
    bench.chain.pending.take(first);
    bench.chain.pending.take(second);
    bench.carry_out();
    assert_eq!(bench.stored(1).envelopes, [first_bytes]);
    assert_eq!(bench.stored(2).envelopes, [second_bytes]);
    assert_eq!(bench.stored(2).header.last_config, BlockNumber(1));
    assert_eq!(bench.limit(), 50_000);
    assert_eq!(bench.chain.pending.waiting(), 0);
}

#[test]
fn an_orderer_is_added_and_removed_in_the_step_that_says_so() {
    let mut bench = Bench::new(1);
    bench.consortium.add_orderer("localhost:2");
    bench.chain.pending.take(bench.change());
    bench.carry_out();
    assert_eq!(bench.chain.view().head, BlockNumber(1));
    assert_eq!(bench.voters(), [1, 2]);
    assert_eq!(
        bench.chain.view().deliverable,
        BlockNumber(1),
        "judged by the one before"
    );
    assert!(!bench.chain.is_removed());

    // It takes both now.
    bench.chain.submit(bench.envelope()).unwrap();
    bench.carry_out();
    assert_eq!(bench.chain.view().head, BlockNumber(1));
    let kv = bench.kv.crash();
    bench.reopen(kv);
    assert_eq!(bench.chain.channel.orderers(), BTreeSet::from([1, 2]));
    assert_eq!(bench.chain.in_force().unwrap().contacts(1).len(), 1);
    assert!(bench.chain.raft.raft.prs().get(2).is_some());
}

#[test]
fn an_orderer_that_is_removed_says_so_when_the_block_can_be_delivered() {
    let mut bench = Bench::new(3);
    bench.consortium.removed.insert(OWN);
    let block = bench.block_with(&bench.change());
    let remove = Entry {
        entry_type: EntryType::EntryConfChangeV2,
        ..entry(2, 3, conf_change(Change::Remove(OWN), &block))
    };
    bench.receive(
        1,
        append(3, (0, 0), 2, vec![entry(1, 3, Vec::new()), remove]),
    );
    assert_eq!(bench.chain.view().head, BlockNumber(1));
    assert_eq!(bench.voters(), [1, 3]);
    assert!(!bench.chain.is_removed());
    let signature = bench.others[&3].sign(hash::domain::HEADER, block.hash.as_bytes());
    let signatures = vec![pb::BlockSignature {
        number: 1,
        header_hash: block.hash.to_bytes(),
        signature: Some(pb::HeaderSignature {
            orderer: 3,
            signature: Bytes::copy_from_slice(&signature),
        }),
    }];
    bench.input(Input::Signatures {
        from: 3,
        signatures,
    });
    for _ in 0..2 {
        // The others may still ask for its signature; it takes nothing and is elected by nobody.
        assert!(!bench.chain.is_removed());
        let error = bench.chain.submit(bench.envelope()).unwrap_err();
        assert!(error == SubmitError::Removed && error.is_retryable());
        bench.sent.clear();
        let numbers = vec![1];
        bench.input(Input::SignatureRequest { from: 1, numbers });
        assert_eq!(bench.signatures_sent().len(), 2);
        for _ in 0..crate::limits::REMOVED_LINGER_TICKS {
            bench.input(Input::Tick);
        }
        assert!(bench.chain.is_removed());
        let kv = bench.kv.crash_keeping(usize::MAX);
        bench.reopen(kv);
    }
}

#[test]
fn a_signature_that_came_early_counts_by_the_configuration_before_its_block() {
    let mut bench = Bench::new(3);
    bench.consortium.removed.insert(3);
    let remove = bench.block_with(&bench.change());
    let next = Block::new(
        remove.header.channel.clone(),
        BlockNumber(2),
        remove.hash,
        BlockNumber(1),
        NOW,
        vec![bench.envelope().bytes],
    );
    let signature = bench.others[&3].sign(hash::domain::HEADER, next.hash.as_bytes());
    let signatures = vec![pb::BlockSignature {
        number: 2,
        header_hash: next.hash.to_bytes(),
        signature: Some(pb::HeaderSignature {
            orderer: 3,
            signature: Bytes::copy_from_slice(&signature),
        }),
    }];
    bench.input(Input::Signatures {
        from: 3,
        signatures,
    });
    let first = Entry {
        entry_type: EntryType::EntryConfChangeV2,
        ..entry(2, 3, conf_change(Change::Remove(3), &remove))
    };
    let second = entry(3, 3, next.to_pb().encode_to_vec());
    let entries = vec![entry(1, 3, Vec::new()), first, second];
    bench.receive(1, append(3, (0, 0), 3, entries));
    assert_eq!(bench.chain.view().head, BlockNumber(2));
    let signers: Vec<u64> = bench
        .stored(2)
        .signatures
        .iter()
        .map(|s| s.orderer)
        .collect();
    assert_eq!(signers, [OWN], "orderer 3 signs nothing any more");
}

#[test]
fn entries_that_say_two_things_are_refused_by_all_alike() {
    let mut bench = Bench::new(1);
    let limit = bench.block_with(&bench.with_limit(50_000));
    bench.consortium.add_orderer("localhost:2");
    let add = bench.block_with(&bench.change());
    let mut counted = add.header.clone();
    counted.last_config = BlockNumber(0);
    let uncounted = Block::new(
        counted.channel,
        counted.number,
        counted.previous_hash,
        counted.last_config,
        counted.time_ms,
        add.envelopes.clone(),
    );
    let v2 = EntryType::EntryConfChangeV2;
    let refused = [
        (EntryType::EntryNormal, add.to_pb().encode_to_vec()),
        (EntryType::EntryNormal, uncounted.to_pb().encode_to_vec()),
        (v2, conf_change(Change::Add(3), &add)),
        (v2, conf_change(Change::Remove(1), &add)),
        (v2, conf_change(Change::Add(2), &limit)),
        (
            v2,
            codec::conf_change(Change::Add(2), b"no block".to_vec())
                .write_to_bytes()
                .unwrap(),
        ),
        (EntryType::EntryConfChange, add.to_pb().encode_to_vec()),
    ];
    for (entry_type, data) in refused {
        let last = bench.chain.raft.raft.raft_log.last_index();
        // Raft's leader lets no undecodable one through, so it is taken as if an earlier one had.
        let entry = Entry {
            entry_type,
            ..entry(last + 1, bench.chain.view().term, data)
        };
        bench.chain.apply(vec![entry]).unwrap();
        bench.chain.applied = last;
        assert_eq!(bench.chain.view().head, BlockNumber(0));
        assert_eq!(
            bench.chain.raft.raft.prs().conf().to_conf_state().voters,
            [1]
        );
    }
    bench.commit(v2, conf_change(Change::Add(2), &add));
    assert_eq!(bench.chain.view().head, BlockNumber(1));
    assert_eq!(bench.voters(), [1, 2]);
}

#[test]
fn fetched_blocks_are_judged_by_the_configuration_before_each() {
    let mut bench = Bench::new(3);
    bench.consortium.add_orderer("localhost:4");
    let fourth = bench.consortium.orderers[3].credentials.clone();
    let sign = |bench: &Bench, mut block: Block, signers: &[u64]| {
        block.signatures = signers
            .iter()
            .map(|id| {
                let credentials = bench.others.get(id).unwrap_or(&fourth);
                let signature = credentials.sign(hash::domain::HEADER, block.hash.as_bytes());
                pb::HeaderSignature {
                    orderer: *id,
                    signature: Bytes::copy_from_slice(&signature),
                }
            })
            .collect();
        block
    };
    let add = bench.block_with(&bench.change());
    let next = Block::new(
        add.header.channel.clone(),
        BlockNumber(2),
        add.hash,
        BlockNumber(1),
        NOW,
        vec![bench.envelope().bytes],
    );
    let fetched = |bench: &mut Bench, block: &Block| {
        let blocks = vec![block.to_pb()];
        bench.input(Input::Blocks { from: 1, blocks });
        bench.chain.view().head.0
    };
    let early = sign(&bench, add.clone(), &[1, 4]);
    assert_eq!(fetched(&mut bench, &early), 0, "4 does not count yet");
    let add = sign(&bench, add, &[1, 3]);
    assert_eq!(fetched(&mut bench, &add), 1);
    let few = sign(&bench, next.clone(), &[1, 3]);
    assert_eq!(fetched(&mut bench, &few), 1, "it takes three now");
    let enough = sign(&bench, next, &[1, 3, 4]);
    assert_eq!(fetched(&mut bench, &enough), 2);
    // Raft itself hears of it from the log, or from a snapshot that says the same.
    assert_eq!(bench.voters(), [1, 2, 3]);
    assert_eq!(bench.chain.channel.orderers(), BTreeSet::from([1, 2, 3, 4]));
}

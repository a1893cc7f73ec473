//! Three orderers in one process, with a network that loses, delays and repeats messages and
//! machines that crash at any moment, all from one seed. Run one again with `STELA_SEED=<seed>`.

#![allow(
    clippy::unwrap_used,
    reason = "in a test a failed unwrap is a failed test"
)]

mod consortium;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use consortium::{CHANNEL, Consortium, encoded, registration, update};
use stela_identity::{Configuration, Credentials, config_update};
use stela_orderer::blocks::Blocks;
use stela_orderer::chain::{Chain, ChainSettings, Input, Step};
use stela_orderer::channel::Channel;
use stela_orderer::layout::FAMILIES;
use stela_orderer::pending::Admitted;
use stela_orderer::{codec, raft_logger};
use stela_protocol::block::Block;
use stela_protocol::pb::consensus_message::Body;
use stela_protocol::transaction::{Envelope, Signed, envelope};
use stela_protocol::{BlockNumber, Hash32};
use stela_store::{Kv, MemoryKv};

const START_MS: u64 = 1_800_000_000_000;
const TICK_MS: u64 = 75;
const NODES: usize = 3;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }
}

/// What the network and the machines do to the orderers.
struct Weather {
    lost_per_mille: u64,
    repeated_per_mille: u64,
    delay_ms_max: u64,
    /// At each write.
    crash_per_mille: u64,
    /// In each second.
    partition_per_mille: u64,
}

const STORM: Weather = Weather {
    lost_per_mille: 50,
    repeated_per_mille: 20,
    delay_ms_max: 60,
    crash_per_mille: 4,
    partition_per_mille: 150,
};
const CALM: Weather = Weather {
    lost_per_mille: 0,
    repeated_per_mille: 0,
    delay_ms_max: 3,
    crash_per_mille: 0,
    partition_per_mille: 0,
};

struct Machine {
    credentials: Arc<Credentials>,
    kv: Arc<MemoryKv>,
    chain: Option<Chain>,
    starts_at: u64,
    /// What it joined with, if block 0 does not name it.
    joined: Option<Arc<Configuration>>,
}

/// It was not joined yet, or was removed.
const NEVER: u64 = u64::MAX;

struct World {
    random: Random,
    weather: Weather,
    now: u64,
    consortium: Consortium,
    channel: Arc<Channel>,
    machines: Vec<Machine>,
    network: BTreeMap<(u64, u64), (usize, u64, Body)>,
    sent: u64,
    /// Nobody hears this one, or it hears nobody.
    cut_off: Option<(usize, bool)>,
    applied: Vec<u64>,
    history: BTreeMap<u64, Hash32>,
    deliverable: u64,
    crashes: u64,
    /// Answers with blocks that were sent.
    fetches: u64,
    terms: BTreeSet<u64>,
    signed: BTreeMap<(u64, Hash32), BTreeSet<u64>>,
}

impl World {
    fn new(seed: u64) -> Self {
        let addresses = vec!["localhost:1".to_owned(); NODES];
        let mut consortium = Consortium::new(START_MS, &addresses);
        let genesis = encoded(&consortium.genesis());
        let channel = Arc::new(Channel::from_genesis(genesis).unwrap());
        consortium.add_orderer("localhost:1");
        let machines = consortium.orderers.iter().map(|orderer| {
            let kv = Arc::new(MemoryKv::new(FAMILIES));
            channel.create(kv.as_ref()).unwrap();
            let named = channel.orderers().contains(&orderer.id);
            Machine {
                credentials: orderer.credentials.clone(),
                kv,
                chain: None,
                starts_at: if named { START_MS } else { NEVER },
                joined: None,
            }
        });
        Self {
            random: Random(seed),
            weather: STORM,
            now: START_MS,
            machines: machines.collect(),
            consortium,
            channel,
            network: BTreeMap::new(),
            sent: 0,
            cut_off: None,
            applied: vec![0; NODES + 1],
            history: BTreeMap::new(),
            deliverable: 0,
            crashes: 0,
            fetches: 0,
            terms: BTreeSet::new(),
            signed: BTreeMap::new(),
        }
    }

    fn run(&mut self, duration_ms: u64, mut each_ms: impl FnMut(&mut Self)) {
        for _ in 0..duration_ms {
            self.now += 1;
            self.start_machines();
            self.change_partition();
            each_ms(self);
            for node in 0..self.machines.len() {
                if (self.now + node as u64 * 17).is_multiple_of(TICK_MS) {
                    self.input(node, Input::Tick);
                }
            }
            while let Some(entry) = self.network.first_entry().filter(|e| e.key().0 <= self.now) {
                let (to, from, body) = entry.remove();
                self.arrive(to, from, body);
            }
        }
    }

    fn start_machines(&mut self) {
        for (n, machine) in self.machines.iter_mut().enumerate() {
            if machine.chain.is_none() && machine.starts_at <= self.now {
                // Fixed and different, because raft's own dice have no seed.
                let patience = 10 + 3 * n;
                let settings = ChainSettings {
                    orderer: n as u64 + 1,
                    election_ticks: patience..patience + 1,
                    // So few that whoever was away has to fetch blocks.
                    entries_kept: 8,
                    joined: machine.joined.clone(),
                };
                let chain = Chain::open(
                    &settings,
                    self.channel.clone(),
                    machine.credentials.clone(),
                    machine.kv.clone(),
                    &raft_logger(),
                );
                machine.chain = Some(chain.unwrap());
            }
        }
    }

    fn change_partition(&mut self) {
        if self.now.is_multiple_of(1000) {
            self.cut_off = None;
            if self.random.chance(self.weather.partition_per_mille) {
                let who = self.random.below(NODES as u64) as usize;
                self.cut_off = Some((who, self.random.chance(500)));
            }
        }
    }

    fn arrive(&mut self, to: usize, from: u64, body: Body) {
        let input = match body {
            Body::Raft(bytes) => Input::Raft {
                from,
                message: Box::new(codec::decode(&bytes).unwrap()),
            },
            Body::Forward(forward) => Input::Forward(admitted(forward.envelope)),
            Body::Signatures(message) => Input::Signatures {
                from,
                signatures: message.signatures,
            },
            Body::SignatureRequest(request) => Input::SignatureRequest {
                from,
                numbers: request.numbers,
            },
            Body::BlockRequest(request) => Input::BlockRequest {
                from,
                start: request.start,
            },
            Body::Blocks(message) => Input::Blocks {
                from,
                blocks: message.blocks,
            },
        };
        self.input(to, input);
    }

    fn input(&mut self, node: usize, input: Input) {
        let now = self.now;
        if let Some(chain) = &mut self.machines[node].chain {
            chain.handle(input, now).unwrap();
            self.carry_out(node);
        }
    }

    /// Those whom the configuration in force names.
    fn members(&self) -> Vec<usize> {
        let orderers = self.in_force().orderers();
        orderers.iter().map(|id| *id as usize - 1).collect()
    }

    fn submit(&mut self, node: usize, envelope: Bytes) -> bool {
        let Some(chain) = &mut self.machines[node].chain else {
            return false;
        };
        let taken = chain.submit(admitted(envelope)).is_ok();
        self.carry_out(node);
        taken
    }

    fn carry_out(&mut self, node: usize) {
        let now = self.now;
        while let Some(chain) = &mut self.machines[node].chain {
            let Some(step) = chain.poll(now).unwrap() else {
                break;
            };
            let Step {
                send,
                write,
                durability,
            } = step;
            for outgoing in send {
                self.send(node, outgoing.to, outgoing.body);
            }
            let crashes = self.random.chance(self.weather.crash_per_mille);
            if crashes && self.random.chance(500) {
                return self.crash(node);
            }
            self.machines[node].kv.write(write, durability).unwrap();
            if crashes {
                return self.crash(node);
            }
            self.machines[node]
                .chain
                .as_mut()
                .unwrap()
                .written()
                .unwrap();
        }
        self.look_at(node);
        let machine = &mut self.machines[node];
        if machine.chain.as_ref().is_some_and(Chain::is_removed) {
            machine.chain = None;
            machine.starts_at = NEVER;
        }
    }

    /// The newest configuration that is in force anywhere.
    fn in_force(&self) -> Arc<Channel> {
        let chains = self.machines.iter().filter_map(|m| m.chain.as_ref());
        let newest = chains
            .map(Chain::channel)
            .max_by_key(|channel| channel.since);
        newest.unwrap_or(&self.channel).clone()
    }

    /// Hands a change to what the consortium's configuration is now to one of the orderers.
    fn submit_change(&mut self, in_force: &Channel) {
        let admin = self.consortium.organizations[0].member("admin", "admin");
        let config = self.consortium.config();
        let envelope = update(in_force.configuration(), config, &admin, self.now);
        let node = self.random.below(NODES as u64) as usize;
        self.submit(node, envelope);
    }

    fn crash(&mut self, node: usize) {
        self.crashes += 1;
        let spared = self.random.below(4) as usize;
        let machine = &mut self.machines[node];
        machine.kv = Arc::new(machine.kv.crash_keeping(spared));
        machine.chain = None;
        machine.starts_at = self.now + 100 + self.random.below(4_000);
        self.applied[node] = 0;
    }

    fn send(&mut self, from: usize, to: u64, body: Body) {
        if let Body::Signatures(message) = &body {
            for signature in &message.signatures {
                let hash = Hash32::from_slice(&signature.header_hash).unwrap();
                let orderer = signature.signature.as_ref().unwrap().orderer;
                self.signed
                    .entry((signature.number, hash))
                    .or_default()
                    .insert(orderer);
            }
        }
        self.fetches += u64::from(matches!(body, Body::Blocks(_)));
        let to = to as usize - 1;
        let cut = self
            .cut_off
            .is_some_and(|(who, mute)| who == if mute { from } else { to });
        if cut || self.random.chance(self.weather.lost_per_mille) {
            return;
        }
        let copies = 1 + u64::from(self.random.chance(self.weather.repeated_per_mille));
        for _ in 0..copies {
            let at = self.now + 1 + self.random.below(self.weather.delay_ms_max);
            self.sent += 1;
            self.network
                .insert((at, self.sent), (to, from as u64 + 1, body.clone()));
        }
    }

    /// Whatever anybody ever saw committed or deliverable stays so.
    fn look_at(&mut self, node: usize) {
        let Some(chain) = &self.machines[node].chain else {
            return;
        };
        let view = chain.view();
        let blocks = Blocks::new(self.machines[node].kv.clone());
        for number in self.applied[node]..=view.head.0 {
            let place = blocks.place(BlockNumber(number)).unwrap().unwrap();
            let known = self.history.entry(number).or_insert(place.hash);
            assert_eq!(*known, place.hash, "two histories at block {number}");
        }
        self.applied[node] = view.head.0;
        self.deliverable = self.deliverable.max(view.deliverable.0);
        if view.leader == node as u64 + 1 {
            self.terms.insert(view.term);
        }
    }

    fn blocks(&self, node: usize) -> Vec<Block> {
        let view = self.machines[node].chain.as_ref().unwrap().view();
        let blocks = Blocks::new(self.machines[node].kv.clone());
        let block = |number| {
            let delivered = blocks.delivered(BlockNumber(number)).unwrap().unwrap();
            Block::from_pb(delivered).unwrap()
        };
        (0..=view.deliverable.0).map(block).collect()
    }

    fn check_end(&self, members: &[usize]) {
        let expect = self.blocks(members[0]);
        let judged_by = self.judged_by(&expect);
        for ((number, hash), signers) in &self.signed {
            let judge = judged_by.get(*number as usize);
            let quorum = judge.map_or(2, |judge| judge.config().orderer_quorum);
            if signers.len() >= quorum {
                assert_eq!(
                    self.history.get(number),
                    Some(hash),
                    "a quorum signed a lost block"
                );
            }
        }
        assert!(
            expect.len() as u64 > self.deliverable,
            "a delivered block was lost"
        );
        assert_eq!(
            expect.len(),
            self.history.len(),
            "a committed block was lost"
        );
        for node in members {
            let blocks = self.blocks(*node);
            assert_eq!(blocks.len(), expect.len());
            for ((block, expect), judge) in blocks.iter().zip(&expect).zip(&judged_by) {
                assert_eq!(block.hash, expect.hash);
                assert_eq!(self.history[&block.header.number.0], block.hash);
                check_signatures(block, judge);
            }
        }
    }

    /// For each block the configuration before it.
    fn judged_by(&self, blocks: &[Block]) -> Vec<Arc<Channel>> {
        let mut in_force = self.channel.clone();
        let mut judges = vec![in_force.clone()];
        for pair in blocks.windows(2) {
            judges.push(in_force.clone());
            pair[1]
                .check_follows(&pair[0].header, &pair[0].hash)
                .unwrap();
            let (current, last) = (in_force.configuration(), pair[0].header.last_config);
            if let Some(new) = config_update::follow(current, last, &pair[1]).unwrap() {
                let number = pair[1].header.number;
                in_force = Arc::new(in_force.under(new, number, in_force.since));
            }
        }
        judges
    }
}

fn check_signatures(block: &Block, judge: &Channel) {
    let signers: BTreeSet<u64> = block.signatures.iter().map(|s| s.orderer).collect();
    assert_eq!(signers.len(), block.signatures.len());
    assert!(block.header.number.0 == 0 || signers.len() >= judge.config().orderer_quorum);
    for signature in &block.signatures {
        let bytes = signature.signature.as_ref().try_into().unwrap();
        judge.verify(signature.orderer, &block.hash, bytes).unwrap();
    }
}

fn admitted(bytes: Bytes) -> Admitted {
    let envelope = Envelope::decode(bytes.clone()).unwrap();
    Admitted::parsed(&envelope, bytes)
}

/// An envelope as admission lets it through; its signature is not looked at again.
fn new_envelope(creator: &Credentials, now_ms: u64) -> Bytes {
    let bytes = registration(CHANNEL, creator, now_ms);
    envelope(Signed {
        bytes,
        signature: [0; 64],
    })
}

/// The storm, with what happens in each millisecond of it; then calm weather, in which everything
/// that is taken is ordered.
fn simulate(seed: u64, mut each_ms: impl FnMut(&mut World)) -> World {
    println!("seed {seed}");
    let mut world = World::new(seed);
    let creator = world.consortium.organizations[0].member("client", "practitioner");
    world.run(20_000, |world| {
        if world.random.chance(30) {
            let node = world.random.below(NODES as u64) as usize;
            let envelope = new_envelope(&creator, world.now);
            world.submit(node, envelope);
        }
        each_ms(world);
    });
    let (blocks, crashes, leaders) = (world.history.len(), world.crashes, world.terms.len());
    println!(
        "  {blocks} blocks, {crashes} crashes, {leaders} leaders, {} fetches",
        world.fetches
    );
    assert!(
        blocks > 1 && crashes > 0 && leaders > 1,
        "the storm was none"
    );

    world.weather = CALM;
    world.run(12_000, each_ms);
    let members = world.members();
    let mut last = Vec::new();
    for node in &members {
        let envelope = new_envelope(&creator, world.now);
        assert!(
            world.submit(*node, envelope.clone()),
            "no leader after the storm"
        );
        last.push(envelope);
    }
    world.run(4_000, |_| ());
    world.check_end(&members);
    let ordered: Vec<Bytes> = world
        .blocks(members[0])
        .into_iter()
        .flat_map(|b| b.envelopes)
        .collect();
    for envelope in last {
        let times = ordered
            .iter()
            .filter(|ordered| **ordered == envelope)
            .count();
        assert_eq!(
            times, 1,
            "what is taken in calm weather is ordered, and once"
        );
    }
    world
}

/// The first seeds, and those that once found something.
fn seeds(last: u64, found: &[u64], simulate: impl Fn(u64) -> World) {
    match std::env::var("STELA_SEED") {
        Ok(seed) => drop(simulate(seed.parse().unwrap())),
        Err(_) => {
            let seeds = (1..=last).chain(found.iter().copied());
            let fetches: u64 = seeds.map(|seed| simulate(seed).fetches).sum();
            assert!(fetches > 0, "nobody ever fell behind");
        }
    }
}

#[test]
fn nothing_committed_is_lost_and_there_is_one_history() {
    seeds(64, &[], |seed| simulate(seed, |_| ()));
}

/// A fourth orderer comes and one of the first three goes, in the middle of the storm.
#[test]
fn orderers_come_and_go_in_the_storm() {
    // A snapshot from before the fourth was a voter, which Raft does not take; a signature that only
    // the one who went had.
    seeds(32, &[146, 176, 392, 414], |seed| {
        let world = simulate(seed, |world| {
            let in_force = world.in_force();
            let (since, sequence) = (world.now - START_MS, in_force.config().sequence);
            let due = since.is_multiple_of(500);
            match sequence {
                0 if due && since > 3_000 => world.submit_change(&in_force),
                1 => {
                    let fourth = &mut world.machines[NODES];
                    if fourth.starts_at == NEVER {
                        let joined = Configuration::new(in_force.configuration().bytes().clone());
                        fourth.joined = Some(Arc::new(joined.unwrap()));
                        fourth.starts_at = world.now;
                    }
                    if due && since > 11_000 {
                        if world.consortium.removed.is_empty() {
                            let who = 1 + world.random.below(NODES as u64);
                            world.consortium.removed.insert(who);
                        }
                        world.submit_change(&in_force);
                    }
                }
                _ => {}
            }
        });
        let in_force = world.in_force();
        assert_eq!(in_force.config().sequence, 2, "the changes were never made");
        for id in &world.consortium.removed {
            let machine = &world.machines[*id as usize - 1];
            assert!(
                machine.chain.is_none(),
                "it never heard that it was removed"
            );
        }
        world
    });
}

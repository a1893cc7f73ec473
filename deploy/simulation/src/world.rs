//! Time, the network and the machines: what happens when, and to whom.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::{Context, ensure};
use bytes::Bytes;
use stela_orderer::chain::{Input, Outgoing};
use stela_orderer::limits::{ENTRIES_KEPT, TICK};

use crate::client::{Client, Stage};
use crate::consortium::Consortium;
use crate::limits::{
    CLIENT_PAUSE_MS_MAX, CLOCK_OFF_MS_MAX, DOWN_MS_MAX, DOWN_MS_MIN, OPEN_CALLS_MAX, PAUSE_MS_MAX,
    POLL_EVERY_MS, SHORT_LOG_ENTRIES_MAX, SHORT_LOG_PER_MILLE, SOURCE_PATIENCE_MS,
    SPARED_WRITES_MAX, START_MS, STEPS_MAX,
};
use crate::message::{Broadcast, Message};
use crate::orderer::{Orderer, Submitted};
use crate::place::Place;
use crate::random::Random;
use crate::trace::Trace;
use crate::validator::{Taken, Validator};
use crate::weather::{Mishap, Weather};
use crate::witness::Witness;

/// How often each thing happened.
pub(crate) type Tally = BTreeMap<&'static str, u64>;

/// The whole simulation.
pub(crate) struct World {
    pub(crate) now: u64,
    pub(crate) random: Random,
    pub(crate) trace: Trace,
    pub(crate) witness: Witness,
    pub(crate) tally: Tally,
    pub(crate) consortium: Arc<Consortium>,
    pub(crate) orderers: Vec<Orderer>,
    pub(crate) validators: Vec<Validator>,
    pub(crate) clients: Vec<Client>,
    pub(crate) storm: bool,
    /// When the last fault was.
    calm_since_ms: u64,
    weather: Weather,
    queue: BTreeMap<(u64, u64), Event>,
    queued: u64,
    cut: BTreeSet<(Place, Place)>,
    clock_off_ms: BTreeMap<Place, i64>,
    paused_until: BTreeMap<Place, u64>,
    /// Up to which block each orderer's history was looked at.
    looked: Vec<u64>,
    terms: BTreeSet<u64>,
}

enum Event {
    Arrive {
        from: Place,
        to: Place,
        message: Message,
    },
    /// An orderer's logical clock.
    Tick(usize),
    /// A validator looks for blocks.
    Poll(usize),
    /// A client does something.
    Act(usize),
    Start(Place),
    Change,
}

impl World {
    pub(crate) fn new(seed: u64, with_lines: bool) -> anyhow::Result<Self> {
        let mut random = Random::new(seed);
        let consortium = Consortium::with_orderers(random.chance(250))?;
        let entries_kept = match random.chance(SHORT_LOG_PER_MILLE) {
            true => random.between(1, SHORT_LOG_ENTRIES_MAX),
            false => ENTRIES_KEPT,
        };
        let orderers = (1..).zip(&consortium.orderers).map(|(id, credentials)| {
            let (channel, credentials) = (consortium.channel.clone(), credentials.clone());
            Orderer::new(id, channel, credentials, entries_kept)
        });
        let orderers: Vec<_> = orderers.collect::<anyhow::Result<_>>()?;
        // One more peer of the first organization, which joins at the end.
        let peers = consortium.peers.iter().chain(consortium.peers.first());
        let validators: Vec<_> = peers.map(|peer| Validator::new(peer.clone())).collect();
        let known = consortium.clients.len() - 1;
        let clients = consortium.clients.iter().enumerate();
        let clients = clients.map(|(n, client)| Client::new(client.clone(), n < known));
        let clients: Vec<_> = clients.collect();
        let mut world = Self {
            now: START_MS,
            weather: Weather::draw(&mut random),
            random,
            trace: Trace::new(seed, with_lines),
            witness: Witness::default(),
            tally: Tally::new(),
            looked: vec![0; orderers.len()],
            orderers,
            validators,
            clients,
            consortium,
            storm: true,
            calm_since_ms: u64::MAX,
            queue: BTreeMap::new(),
            queued: 0,
            cut: BTreeSet::new(),
            clock_off_ms: BTreeMap::new(),
            paused_until: BTreeMap::new(),
            terms: BTreeSet::new(),
        };
        world.begin();
        Ok(world)
    }

    fn begin(&mut self) {
        for n in 0..self.orderers.len() {
            self.after(0, Event::Start(Place::Orderer(n)));
            self.after(17 * n as u64, Event::Tick(n));
        }
        for n in 0..self.consortium.peers.len() {
            self.after(0, Event::Start(Place::Validator(n)));
        }
        for n in 0..self.validators.len() {
            self.after(23 * n as u64, Event::Poll(n));
        }
        for n in 0..self.clients.len() {
            self.after(29 * n as u64, Event::Act(n));
        }
        self.after(0, Event::Change);
    }

    /// No more faults from now on; the machines that are down start when they were to, the clocks
    /// are set right, and the last validator joins.
    pub(crate) fn calm_down(&mut self) {
        self.storm = false;
        self.calm_since_ms = self.now;
        self.weather = Weather::CALM;
        self.cut.clear();
        self.clock_off_ms.clear();
        self.paused_until.clear();
        let last = self.validators.len() - 1;
        self.after(0, Event::Start(Place::Validator(last)));
    }

    /// Lets everything happen up to a time.
    pub(crate) fn run(&mut self, until: u64) -> anyhow::Result<()> {
        while let Some(first) = self.queue.first_entry() {
            if first.key().0 > until {
                break;
            }
            let ((at, _), event) = first.remove_entry();
            self.now = at;
            self.happen(event)?;
        }
        self.now = until;
        Ok(())
    }

    fn after(&mut self, ms: u64, event: Event) {
        self.queued += 1;
        self.queue.insert((self.now + ms, self.queued), event);
    }

    fn count(&mut self, what: &'static str) {
        *self.tally.entry(what).or_default() += 1;
    }

    /// What a machine's clock shows.
    fn clock(&self, place: Place) -> u64 {
        let off_ms = self.clock_off_ms.get(&place).copied().unwrap_or(0);
        self.now.saturating_add_signed(off_ms)
    }

    fn paused_until(&self, place: Place) -> Option<u64> {
        let until = self.paused_until.get(&place).copied()?;
        (until > self.now).then_some(until)
    }

    fn happen(&mut self, event: Event) -> anyhow::Result<()> {
        match event {
            Event::Arrive { from, to, message } => match self.paused_until(to) {
                Some(until) => {
                    self.after(until - self.now, Event::Arrive { from, to, message });
                    Ok(())
                }
                None => self.arrive(from, to, message),
            },
            Event::Tick(n) => {
                self.after(TICK.as_millis() as u64, Event::Tick(n));
                match self.paused_until(Place::Orderer(n)) {
                    Some(_) => Ok(()),
                    None => self.input(n, Input::Tick),
                }
            }
            Event::Poll(n) => {
                self.after(POLL_EVERY_MS, Event::Poll(n));
                self.poll(n);
                Ok(())
            }
            Event::Act(n) => {
                let pause_ms = self
                    .random
                    .between(CLIENT_PAUSE_MS_MAX / 6, CLIENT_PAUSE_MS_MAX);
                self.after(pause_ms, Event::Act(n));
                self.act(n)
            }
            Event::Start(place) => self.start(place),
            Event::Change => {
                self.change();
                Ok(())
            }
        }
    }

    // ---------------------------------------------------------------------------------- machines

    fn start(&mut self, place: Place) -> anyhow::Result<()> {
        match place {
            Place::Orderer(n) if !self.orderers[n].runs() => {
                // No two of them are equally patient, or they might hinder one another for ever.
                let count = self.orderers.len();
                let patience = 10 + n + count * self.random.index(3);
                let started = self.orderers[n].start(patience);
                started.with_context(|| format!("{place} does not start"))?;
                let head = self.orderers[n].view().map_or(0, |view| view.head.0);
                self.looked[n] = self.looked[n].min(head);
                self.trace.tell(self.now, place, "starts at", &head);
            }
            Place::Validator(n) if !self.validators[n].runs() => {
                let started = self.validators[n].start(&self.consortium.genesis);
                started.with_context(|| format!("{place} does not start"))?;
                let head = self.validators[n].head().context("it has just started")?;
                self.trace.tell(self.now, place, "starts at", &head.height);
                self.witness.reached(&head)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn crash(&mut self, place: Place) {
        let spared = self.random.below(SPARED_WRITES_MAX + 1) as usize;
        match place {
            Place::Orderer(n) if self.orderers[n].runs() => self.orderers[n].crash(spared),
            Place::Validator(n) if self.validators[n].runs() => self.validators[n].crash(spared),
            _ => return,
        }
        self.count("crashes");
        self.trace
            .tell(self.now, place, "crashes, spared writes:", &spared);
        let down_ms = self.random.between(DOWN_MS_MIN, DOWN_MS_MAX);
        self.after(down_ms, Event::Start(place));
    }

    /// All machines but the one that joins at the end.
    fn machines(&self) -> Vec<Place> {
        let orderers = (0..self.orderers.len()).map(Place::Orderer);
        let validators = (0..self.validators.len() - 1).map(Place::Validator);
        orderers.chain(validators).collect()
    }

    fn change(&mut self) {
        if !self.storm {
            return;
        }
        let machines = self.machines();
        self.cut.clear();
        if self.random.chance(self.weather.partition_per_mille) {
            self.partition(&machines);
        }
        if self.random.chance(self.weather.kill_per_mille) {
            let place = machines[self.random.index(machines.len())];
            self.crash(place);
        }
        if self.random.chance(self.weather.outage_per_mille) {
            self.count("outages");
            machines.iter().for_each(|place| self.crash(*place));
        }
        if self.random.chance(self.weather.pause_per_mille) {
            let place = machines[self.random.index(machines.len())];
            let until = self.now + self.random.between(1, PAUSE_MS_MAX);
            self.paused_until.insert(place, until);
            self.count("pauses");
            self.trace
                .tell(self.now, place, "stands still until", &until);
        }
        if self.random.chance(self.weather.clock_per_mille) {
            let place = machines[self.random.index(machines.len())];
            let off_ms = self.random.below(2 * CLOCK_OFF_MS_MAX) as i64 - CLOCK_OFF_MS_MAX as i64;
            self.clock_off_ms.insert(place, off_ms);
            self.count("clock jumps");
            self.trace
                .tell(self.now, place, "has its clock off by", &off_ms);
        }
        let again_ms = Weather::change_in_ms(&mut self.random);
        self.after(again_ms, Event::Change);
    }

    fn partition(&mut self, machines: &[Place]) {
        self.count("partitions");
        let one = machines[self.random.index(machines.len())];
        let kind = self.random.below(5);
        let side: Vec<bool> = machines.iter().map(|_| self.random.chance(500)).collect();
        for (a, side_a) in machines.iter().zip(&side) {
            for (b, side_b) in machines.iter().zip(&side) {
                let cut = match kind {
                    0 => *a == one,
                    1 => *b == one,
                    2 => *a == one || *b == one,
                    3 => side_a != side_b,
                    // One direction between two groups.
                    _ => *side_a && !side_b,
                };
                if cut {
                    self.cut.insert((*a, *b));
                }
            }
        }
        self.trace.tell(self.now, one, "partition of kind", &kind);
    }

    // ----------------------------------------------------------------------------------- network

    /// Whether it is under way at least.
    fn send(&mut self, from: Place, to: Place, message: Message) -> bool {
        self.count("messages");
        if self.cut.contains(&(from, to)) || self.random.chance(self.weather.lost_per_mille) {
            self.count("lost messages");
            return false;
        }
        let repeated = self.random.chance(self.weather.repeated_per_mille);
        if repeated {
            self.count("repeated messages");
            let delay_ms = self.weather.delay_ms(&mut self.random);
            let message = message.clone();
            self.after(delay_ms, Event::Arrive { from, to, message });
        }
        let delay_ms = self.weather.delay_ms(&mut self.random);
        self.after(delay_ms, Event::Arrive { from, to, message });
        true
    }

    fn arrive(&mut self, from: Place, to: Place, message: Message) -> anyhow::Result<()> {
        let (name, bytes) = message.traced();
        self.trace.note(self.now, to, name, &bytes);
        match to {
            Place::Orderer(n) => self.at_orderer(n, from, message),
            Place::Validator(n) => self.at_validator(n, from, message),
            Place::Client(n) => self.at_client(n, message),
        }
    }

    // ---------------------------------------------------------------------------------- orderers

    fn at_orderer(&mut self, n: usize, from: Place, message: Message) -> anyhow::Result<()> {
        let clock_ms = self.clock(Place::Orderer(n));
        match message {
            Message::Consensus(bytes) => match self.orderers[n].parse(bytes, clock_ms)? {
                Some(input) => {
                    match &input {
                        Input::Blocks { .. } => self.count("answers with fetched blocks"),
                        Input::Raft { message, .. } if message.has_snapshot() => {
                            self.count("snapshots");
                        }
                        _ => {}
                    }
                    self.input(n, input)
                }
                None => Ok(()),
            },
            Message::Broadcast(broadcast) => self.broadcast(n, broadcast, clock_ms),
            Message::Deliver(start) => {
                let blocks = self.orderers[n].deliver(start)?;
                if !blocks.is_empty() {
                    self.send(Place::Orderer(n), from, Message::Blocks(blocks));
                }
                Ok(())
            }
            other => anyhow::bail!("an orderer does not take {:?}", other.traced().0),
        }
    }

    fn broadcast(&mut self, n: usize, broadcast: Broadcast, clock_ms: u64) -> anyhow::Result<()> {
        let Some(submitted) = self.orderers[n].submit(broadcast.envelope, clock_ms) else {
            return Ok(());
        };
        match submitted {
            Submitted::Refused(error) => {
                self.count("envelopes refused");
                self.trace
                    .tell(self.now, Place::Orderer(n), "refuses", &error);
            }
            taken => {
                ensure!(
                    !broadcast.forged,
                    "a forged envelope was admitted: {taken:?}"
                );
                let what = match taken {
                    Submitted::Taken => "envelopes taken",
                    _ => "envelopes not taken",
                };
                self.count(what);
            }
        }
        self.carry_out(n)
    }

    fn input(&mut self, n: usize, input: Input) -> anyhow::Result<()> {
        let clock_ms = self.clock(Place::Orderer(n));
        let handled = self.orderers[n].handle(input, clock_ms);
        handled.with_context(|| Place::Orderer(n).to_string())?;
        self.carry_out(n)
    }

    /// What the driver of a chain does, with a mishap at any write.
    fn carry_out(&mut self, n: usize) -> anyhow::Result<()> {
        let place = Place::Orderer(n);
        for _ in 0..STEPS_MAX {
            let clock_ms = self.clock(place);
            let polled = self.orderers[n].poll(clock_ms);
            let Some(mut step) = polled.with_context(|| place.to_string())? else {
                return self.look_at(n);
            };
            let mut unreachable = BTreeSet::new();
            for outgoing in std::mem::take(&mut step.send) {
                unreachable.extend(self.send_consensus(n, outgoing)?);
            }
            let mishap = match step.write.is_empty() {
                true => Mishap::None,
                false => Mishap::draw(&self.weather, &mut self.random),
            };
            if mishap == Mishap::Before {
                self.crash(place);
                return Ok(());
            }
            self.orderers[n].write(step, mishap == Mishap::FullDisk)?;
            if mishap != Mishap::None {
                if mishap == Mishap::FullDisk {
                    self.count("full disks");
                }
                self.crash(place);
                return Ok(());
            }
            self.orderers[n]
                .written()
                .with_context(|| place.to_string())?;
            for orderer in unreachable {
                self.orderers[n].handle(Input::Unreachable(orderer), clock_ms)?;
            }
        }
        anyhow::bail!("{place} never comes to rest")
    }

    /// Sends what an orderer says to another one; the receiver's number when Raft is to be told
    /// that it was lost, which a real connection notices only sometimes.
    fn send_consensus(&mut self, n: usize, outgoing: Outgoing) -> anyhow::Result<Option<u64>> {
        let place = Place::Orderer(n);
        for (number, hash) in self.orderers[n].own_signatures(&outgoing.body)? {
            let holds = self.orderers[n].holds_durably(number, hash)?;
            ensure!(
                holds,
                "{place} has signed block {number} before it was durable"
            );
            self.witness.signed(n, number, hash);
        }
        let id = outgoing.to;
        let (to, bytes, is_raft) = self.orderers[n].outgoing(outgoing);
        let sent = self.send(place, Place::Orderer(to), Message::Consensus(bytes));
        Ok((!sent && is_raft && self.random.chance(500)).then_some(id))
    }

    /// Whatever is committed anywhere is so everywhere, and for ever.
    fn look_at(&mut self, n: usize) -> anyhow::Result<()> {
        let Some(view) = self.orderers[n].view() else {
            return Ok(());
        };
        for number in self.looked[n]..=view.head.0 {
            let hash = self.orderers[n].committed(number)?;
            self.witness.committed(number, hash)?;
        }
        self.looked[n] = view.head.0;
        self.witness.deliverable(view.deliverable.0);
        if view.leader == n as u64 + 1 && self.terms.insert(view.term) {
            self.count("leaders");
        }
        Ok(())
    }

    // -------------------------------------------------------------------------------- validators

    fn poll(&mut self, n: usize) {
        if self.paused_until(Place::Validator(n)).is_some() {
            return;
        }
        let now = self.now;
        let orderers = self.orderers.len();
        let validator = &mut self.validators[n];
        if now > validator.since_ms + SOURCE_PATIENCE_MS {
            validator.source = (validator.source + 1) % orderers;
            validator.since_ms = now;
        }
        self.ask(n);
    }

    /// Asks for the next blocks.
    fn ask(&mut self, n: usize) {
        let Some(head) = self.validators[n].head() else {
            return;
        };
        let to = Place::Orderer(self.validators[n].source);
        self.send(Place::Validator(n), to, Message::Deliver(head.height));
    }

    fn at_validator(&mut self, n: usize, from: Place, message: Message) -> anyhow::Result<()> {
        if !self.validators[n].runs() {
            return Ok(());
        }
        let place = Place::Validator(n);
        match message {
            Message::Blocks(blocks) => {
                let taken = self.take(n, blocks);
                taken.with_context(|| format!("{place} and {from}"))
            }
            Message::Endorse(proposal) => {
                let endorsed = self.validators[n].endorse(&proposal)?;
                self.send(place, from, Message::Endorsed(endorsed));
                Ok(())
            }
            Message::Status(id) => {
                if let Some(record) = self.validators[n].status(&id)? {
                    self.send(place, from, Message::Committed(id, record));
                }
                Ok(())
            }
            other => anyhow::bail!("a validator does not take {:?}", other.traced().0),
        }
    }

    fn take(&mut self, n: usize, blocks: Vec<Bytes>) -> anyhow::Result<()> {
        let place = Place::Validator(n);
        let mut came_on = false;
        for block in blocks {
            let mishap = Mishap::draw(&self.weather, &mut self.random);
            if mishap == Mishap::Before {
                self.crash(place);
                return Ok(());
            }
            match self.validators[n].take(block, mishap == Mishap::FullDisk)? {
                Taken::OutOfPlace => self.count("blocks out of place"),
                Taken::Ended => {
                    self.count("full disks");
                    self.crash(place);
                    return Ok(());
                }
                Taken::Committed(block) => {
                    came_on = true;
                    self.witness.committed(block.header.number.0, block.hash)?;
                    let head = self.validators[n].head().context("it runs")?;
                    self.trace.tell(self.now, place, "state", &head.state_hash);
                    self.witness.reached(&head)?;
                    if mishap == Mishap::After {
                        self.crash(place);
                        return Ok(());
                    }
                }
            }
        }
        if came_on {
            self.validators[n].since_ms = self.now;
            self.ask(n);
        }
        Ok(())
    }

    // ----------------------------------------------------------------------------------- clients

    fn act(&mut self, n: usize) -> anyhow::Result<()> {
        let now = self.now;
        self.clients[n].give_up(now);
        let client = &mut self.clients[n];
        let idle = client.open.is_empty();
        if !client.registered {
            if idle {
                client.register(&mut self.random, now)?;
            }
        } else if self.storm && client.open.len() < OPEN_CALLS_MAX && self.random.chance(300) {
            self.call(n, false)?;
        } else if !self.storm && idle && !client.served {
            self.call(n, true)?;
        }
        let signed = self.clients[n].open.iter();
        let signed: Vec<_> = signed
            .filter_map(|(id, open)| match &open.stage {
                Stage::Signed(envelope) => Some((*id, envelope.clone())),
                Stage::Endorsing(..) => None,
            })
            .collect();
        for (id, envelope) in signed {
            if self.random.chance(300) {
                let forged = false;
                self.submit(n, Broadcast { envelope, forged });
            }
            if self.random.chance(400) {
                let validator = self.random.index(self.validators.len());
                let to = Place::Validator(validator);
                self.send(Place::Client(n), to, Message::Status(id));
            }
        }
        if self.storm
            && self.random.chance(20)
            && let Some(envelope) = self.clients[n].old(&mut self.random)
        {
            let forged = false;
            self.submit(n, Broadcast { envelope, forged });
        }
        Ok(())
    }

    fn call(&mut self, n: usize, harmless: bool) -> anyhow::Result<()> {
        let now = self.now;
        let proposal = self.clients[n].call(&mut self.random, now, harmless)?;
        let organizations = self.consortium.peers.len();
        let left_out = self.random.index(organizations);
        for validator in (0..organizations).filter(|validator| *validator != left_out) {
            let to = Place::Validator(validator);
            self.send(Place::Client(n), to, Message::Endorse(proposal.clone()));
        }
        Ok(())
    }

    fn submit(&mut self, n: usize, broadcast: Broadcast) {
        let to = Place::Orderer(self.random.index(self.orderers.len()));
        self.send(Place::Client(n), to, Message::Broadcast(broadcast));
    }

    fn at_client(&mut self, n: usize, message: Message) -> anyhow::Result<()> {
        match message {
            Message::Endorsed(endorsed) => {
                for broadcast in self.clients[n].endorsed(&mut self.random, endorsed) {
                    self.submit(n, broadcast);
                }
                Ok(())
            }
            Message::Committed(id, record) => {
                self.clients[n].committed(&id, &record, self.calm_since_ms);
                self.witness.acknowledged(id, record)
            }
            other => anyhow::bail!("a client does not take {:?}", other.traced().0),
        }
    }
}

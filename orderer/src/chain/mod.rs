//! One channel's ordering, as a state machine.
//!
//! A [`Chain`] has no clock, no network and no thread, and it never writes: its driver hands in
//! what came ([`Chain::handle`], [`Chain::submit`]) with the time, and then carries out one
//! [`Step`] after the other until there is none:
//!
//! ```text
//! while let Some(step) = chain.poll(now_ms)? {
//!     send(step.send);                         // may be lost
//!     kv.write(step.write, step.durability)?;  // an error ends the process
//!     chain.written()?;
//! }
//! ```
//!
//! A leader's messages leave before its own write, so that all orderers write at the same time;
//! everybody else's answers leave in the step after the write that they acknowledge. What is
//! committed is applied after that write too: number and previous hash are checked, and the block
//! is indexed.
//!
//! An orderer that has fallen behind the start of the leader's log asks the others for blocks. That
//! is a message like any other ([`Body::BlockRequest`], answered by [`Body::Blocks`]): a driver
//! carries it, may lose it, and hands the answer in.

mod apply;
mod catchup;
mod compact;
mod config;
mod gather;
mod guard;
mod interface;
mod lead;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use raft::eraftpb::{Message, MessageType};
use raft::{Config, RawNode, Ready, StateRole};
use stela_identity::{Configuration, Credentials};
use stela_protocol::block::{Block, BlockHeader};
use stela_protocol::pb::consensus_message::Body;
use stela_protocol::{BlockNumber, Hash32, pb};
use stela_store::{Durability, Kv, WriteBatch};

use self::catchup::CatchUp;
pub use self::interface::{
    ChainFault, ChainSettings, ChainView, Input, Outgoing, Step, SubmitError,
};
use self::lead::LastCut;
use crate::blocks::Blocks;
use crate::channel::Channel;
use crate::codec;
use crate::configurations::Configurations;
use crate::cutter::Cutter;
use crate::layout::{APPLIED, Applied, DELIVERABLE, META, Start, corrupt, decode_numbers};
use crate::limits::{
    APPEND_BYTES_MAX, APPENDS_IN_FLIGHT_MAX, APPLY_BYTES_MAX, CAMPAIGN_AGAIN_TICKS,
    CAMPAIGN_AGAIN_TICKS_MAX, EXPIRE_EVERY_TICKS, HEARTBEAT_TICKS, UNCOMMITTED_BYTES_MAX,
};
use crate::log::{Log, start_in};
use crate::pending::{Admitted, Pending, Taken};
use crate::signatures::Signatures;

/// One channel's ordering on one orderer.
pub struct Chain {
    orderer: u64,
    channel: Arc<Channel>,
    configurations: Configurations,
    joined: Option<Arc<Configuration>>,
    credentials: Arc<Credentials>,
    blocks: Blocks,
    raft: RawNode<Log>,
    ready: Option<Ready>,
    tick: u64,
    leader: Leader,

    applied: u64,
    head: BlockHeader,
    head_hash: Hash32,
    deliverable: BlockNumber,
    entries_kept: u64,
    next_start: Option<Start>,
    snapshots_sent: BTreeMap<u64, u64>,
    catch_up: Option<CatchUp>,
    leaderless_ticks: u64,
    led_before: bool,
    removed_ticks: u64,
    parsed: BTreeMap<u64, (u64, Block)>,

    pending: Pending,
    cutter: Cutter,
    may_cut_in_term: u64,
    last_cut: LastCut,
    in_flight: VecDeque<InFlight>,

    signatures: Signatures,
    announce: Vec<pb::BlockSignature>,
    asked_up_to: BlockNumber,
    deliverable_at_tick: BlockNumber,

    outbox: Vec<Outgoing>,
    batch: WriteBatch,
}

/// Whom this node follows, and since which term.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Leader {
    id: u64,
    term: u64,
    own: bool,
}

/// A block that this node proposed and that is not applied yet.
struct InFlight {
    index: u64,
    header: BlockHeader,
    hash: Hash32,
}

impl Chain {
    /// Opens a channel that [`Channel::create`] made, under whatever configuration its newest block
    /// left in force.
    ///
    /// # Errors
    /// [`ChainFault`] when the database is damaged.
    pub fn open(
        settings: &ChainSettings,
        channel: Arc<Channel>,
        credentials: Arc<Credentials>,
        kv: Arc<dyn Kv>,
        logger: &slog::Logger,
    ) -> Result<Self, ChainFault> {
        let blocks = Blocks::new(kv.clone());
        let meta = |key| {
            kv.get(META, key)?
                .ok_or_else(|| corrupt("the chain's state is missing"))
        };
        let applied = Applied::decode(meta(APPLIED)?)?;
        let [deliverable] = decode_numbers("deliverable", meta(DELIVERABLE)?)?[..] else {
            return Err(corrupt("deliverable").into());
        };
        let place = blocks
            .place(applied.number)?
            .filter(|place| place.hash == applied.hash);
        let place = place.ok_or_else(|| corrupt("the newest block is missing"))?;
        let head = blocks.parsed(applied.number, place)?;
        let configurations = Configurations::new(channel, blocks.clone());
        let channel = configurations.of(head.header.last_config)?;
        let log = Log::open(kv)?;
        if applied.index > log.hard_state().commit {
            return Err(corrupt("more is applied than was committed").into());
        }
        log.check_unapplied(applied.index)?;
        let mut chain = Self {
            orderer: settings.orderer,
            ready: None,
            tick: 0,
            leader: Leader {
                id: 0,
                term: 0,
                own: false,
            },
            applied: applied.index,
            head: head.header,
            head_hash: head.hash,
            deliverable: BlockNumber(deliverable),
            entries_kept: settings.entries_kept,
            next_start: None,
            snapshots_sent: BTreeMap::new(),
            catch_up: None,
            leaderless_ticks: 0,
            led_before: log.hard_state().vote == settings.orderer,
            removed_ticks: 0,
            parsed: BTreeMap::new(),
            pending: Pending::default(),
            cutter: Cutter::new(&channel.config().limits, channel.config().orderers.len()),
            may_cut_in_term: 0,
            last_cut: LastCut::default(),
            in_flight: VecDeque::new(),
            signatures: Signatures::new(blocks.clone()),
            announce: Vec::new(),
            asked_up_to: BlockNumber(0),
            deliverable_at_tick: BlockNumber(0),
            outbox: Vec::new(),
            batch: WriteBatch::new(),
            blocks,
            channel,
            configurations,
            joined: settings.joined.clone(),
            credentials,
            raft: RawNode::new(&raft_config(settings, applied.index), log, logger)?,
        };
        if chain.channel.orderers() == BTreeSet::from([chain.orderer]) {
            // Nobody else could lead: do not wait for the election's patience to end.
            chain.raft.campaign()?;
        }
        Ok(chain)
    }

    /// This orderer's number.
    pub fn orderer(&self) -> u64 {
        self.orderer
    }

    /// The channel under the configuration in force.
    pub fn channel(&self) -> &Arc<Channel> {
        &self.channel
    }

    /// What others may see, after all steps were carried out.
    pub fn view(&self) -> ChainView {
        ChainView {
            head: self.head.number,
            head_hash: self.head_hash,
            deliverable: self.deliverable,
            leader: self.raft.raft.leader_id,
            term: self.raft.raft.term,
        }
    }

    /// Takes an envelope of a client. On the leader it waits for a block now; on anybody else it is
    /// on its way to the leader, and will be sent again until it is seen in a block.
    ///
    /// # Errors
    /// [`SubmitError`] when it was not taken.
    pub fn submit(&mut self, envelope: Admitted) -> Result<(), SubmitError> {
        self.observe_leader();
        if self.has_gone() {
            return Err(SubmitError::Removed);
        }
        if self.leader.id == 0 {
            return Err(SubmitError::NoLeader);
        }
        let (id, bytes) = (envelope.id, envelope.bytes.clone());
        match self.pending.take(envelope) {
            Taken::Known => Ok(()),
            Taken::Conflict => Err(SubmitError::Conflict),
            Taken::Full => Err(SubmitError::Full),
            Taken::New => {
                if !self.leader.own {
                    self.pending.forwarded(&id, self.tick);
                    self.forward(bytes);
                }
                Ok(())
            }
        }
    }

    /// Takes in what came.
    ///
    /// # Errors
    /// [`ChainFault`], never for what another orderer sent.
    pub fn handle(&mut self, input: Input, now_ms: u64) -> Result<(), ChainFault> {
        match input {
            Input::Tick => self.on_tick(now_ms)?,
            Input::Raft { from, message } => self.on_message(from, *message)?,
            Input::Forward(envelope) => {
                // A full queue or a duplicate is the sender's business: it comes again.
                self.observe_leader();
                if self.leader.own {
                    self.pending.take(envelope);
                }
            }
            Input::Signatures { from, signatures } => self.on_signatures(from, &signatures)?,
            Input::SignatureRequest { from, numbers } => self.on_request(from, &numbers)?,
            Input::BlockRequest { from, start } => self.on_block_request(from, start)?,
            Input::Blocks { from, blocks } => self.on_blocks(from, blocks)?,
            Input::Unreachable(orderer) => self.raft.report_unreachable(orderer),
        }
        Ok(())
    }

    /// What is to be done now, if anything.
    ///
    /// # Errors
    /// [`ChainFault`] when the database cannot be read. Nothing may be sent or written after that.
    pub fn poll(&mut self, now_ms: u64) -> Result<Option<Step>, ChainFault> {
        let step = self.next_step(now_ms)?;
        // What Raft could not read it went on without.
        self.raft.store().check_read()?;
        Ok(step)
    }

    fn next_step(&mut self, now_ms: u64) -> Result<Option<Step>, ChainFault> {
        self.observe_leader();
        self.cut(now_ms)?;
        self.announce_signatures()?;
        self.signatures.stage(&mut self.batch);
        let mut durability = Durability::Buffered;
        if self.raft.has_ready() {
            let mut ready = self.raft.ready();
            self.send_raft(ready.take_messages());
            if let Some(start) = start_in(ready.snapshot()) {
                self.stage_snapshot(start);
            }
            self.raft.store().stage(ready.entries(), &mut self.batch)?;
            if let Some(state) = ready.hs() {
                self.raft
                    .mut_store()
                    .stage_hard_state(state.clone(), &mut self.batch);
            }
            if ready.must_sync() {
                durability = Durability::Synced;
            }
            self.ready = Some(ready);
        } else if self.outbox.is_empty() && self.batch.is_empty() {
            return Ok(None);
        }
        let send = std::mem::take(&mut self.outbox);
        let write = std::mem::take(&mut self.batch);
        Ok(Some(Step {
            send,
            write,
            durability,
        }))
    }

    /// The last step's batch was written.
    ///
    /// # Errors
    /// [`ChainFault`] when the database cannot be read.
    pub fn written(&mut self) -> Result<(), ChainFault> {
        let Some(mut ready) = self.ready.take() else {
            return Ok(());
        };
        let entries = ready.take_entries();
        self.raft.mut_store().written(entries.clone());
        self.send_raft(ready.take_persisted_messages());
        let committed = ready.take_committed_entries();
        let mut light = self.raft.advance_append(ready);
        self.send_raft(light.take_messages());
        if let Some(commit) = light.commit_index() {
            let log = self.raft.mut_store();
            let mut state = log.hard_state().clone();
            state.commit = commit;
            log.stage_hard_state(state, &mut self.batch);
        }
        self.apply(committed)?;
        self.sign_durable(&entries)?;
        self.apply(light.take_committed_entries())?;
        self.raft.advance_apply();
        Ok(())
    }

    /// Raft has taken a snapshot, all of whose blocks are here or in this step's batch.
    fn stage_snapshot(&mut self, start: Start) {
        let index = start.index;
        self.raft
            .mut_store()
            .stage_snapshot(start, self.applied, &mut self.batch);
        self.applied = index;
        self.stage_applied();
        self.next_start = None;
        tracing::info!(channel = %self.channel.id(), index, "caught up with the leader's log");
    }

    fn stage_applied(&mut self) {
        let applied = Applied {
            index: self.applied,
            number: self.head.number,
            hash: self.head_hash,
        };
        self.batch.put(META, APPLIED, applied.encode());
    }

    fn on_tick(&mut self, now_ms: u64) -> Result<(), ChainFault> {
        self.tick += 1;
        self.count_removed_ticks();
        if !self.has_gone() {
            self.raft.tick();
        }
        self.campaign_again()?;
        self.observe_leader();
        if self.tick.is_multiple_of(EXPIRE_EVERY_TICKS) {
            self.pending
                .expire(now_ms, self.channel.config().limits.window_ms);
        }
        self.forward_due();
        self.move_start()?;
        self.repeat_snapshots();
        self.fetch();
        self.fetch_leaderless();
        self.ask_for_signatures()
    }

    /// Whoever led before its restart asks for votes without waiting for the election's patience to
    /// end: if all were stopped, it is the one who can lead. It asks whether it would be elected
    /// (Raft's pre-vote), so nobody who has a leader is disturbed, and it asks again, because the
    /// others may not have started yet.
    fn campaign_again(&mut self) -> Result<(), ChainFault> {
        let role = self.raft.raft.state;
        let waits = matches!(role, StateRole::Follower | StateRole::PreCandidate);
        let due =
            self.tick <= CAMPAIGN_AGAIN_TICKS_MAX && self.tick.is_multiple_of(CAMPAIGN_AGAIN_TICKS);
        if self.led_before && due && waits && self.raft.raft.leader_id == 0 && !self.has_gone() {
            self.raft.campaign()?;
        }
        Ok(())
    }

    fn on_message(&mut self, from: u64, message: Message) -> Result<(), ChainFault> {
        let known = self.is_known(from);
        if let Err(why) = guard::check(&self.raft.raft, known, from, &message) {
            tracing::debug!(channel = %self.channel.id(), from, why, "refused a raft message");
            return Ok(());
        }
        match message.msg_type {
            MessageType::MsgSnapshot => self.on_snapshot(message),
            _ => self.step(message),
        }
    }

    fn step(&mut self, message: Message) -> Result<(), ChainFault> {
        let from = message.from;
        match self.raft.step(message) {
            Ok(()) => Ok(()),
            Err(error @ raft::Error::Store(_)) => Err(error.into()),
            Err(error) => {
                tracing::debug!(channel = %self.channel.id(), from, %error, "raft message dropped");
                Ok(())
            }
        }
    }

    /// Notices a new leader or term.
    fn observe_leader(&mut self) {
        let raft = &self.raft.raft;
        let own = raft.state == StateRole::Leader;
        let now = Leader {
            id: raft.leader_id,
            term: raft.term,
            own,
        };
        if now == self.leader {
            return;
        }
        let before = std::mem::replace(&mut self.leader, now);
        tracing::info!(
            channel = %self.channel.id(), leader = now.id, term = now.term, before = before.id,
            "leader"
        );
        // Whatever was proposed may be lost; if it is not, its blocks will tell.
        self.in_flight.clear();
        self.pending.restore();
        if now.own {
            self.pending.keep_all();
        } else if now.id != 0 {
            self.pending.forward_all(self.tick);
            self.forward_due();
        }
    }

    fn forward_due(&mut self) {
        if self.leader.id != 0 && !self.leader.own {
            for envelope in self.pending.due(self.tick) {
                self.forward(envelope);
            }
        }
    }

    fn forward(&mut self, envelope: Bytes) {
        let body = Body::Forward(pb::ForwardedEnvelope { envelope });
        self.outbox.push(Outgoing {
            to: self.leader.id,
            body,
        });
    }

    fn send_raft(&mut self, messages: Vec<Message>) {
        for message in messages {
            match codec::encode(&message) {
                Ok(bytes) => {
                    self.outbox.push(Outgoing {
                        to: message.to,
                        body: Body::Raft(bytes),
                    });
                }
                Err(error) => {
                    tracing::error!(channel = %self.channel.id(), %error, "raft message not sent");
                }
            }
        }
    }
}

fn raft_config(settings: &ChainSettings, applied: u64) -> Config {
    Config {
        id: settings.orderer,
        election_tick: settings.election_ticks.start,
        min_election_tick: settings.election_ticks.start,
        max_election_tick: settings.election_ticks.end,
        heartbeat_tick: HEARTBEAT_TICKS,
        applied,
        max_size_per_msg: APPEND_BYTES_MAX,
        max_inflight_msgs: APPENDS_IN_FLIGHT_MAX,
        max_uncommitted_size: UNCOMMITTED_BYTES_MAX,
        max_committed_size_per_ready: APPLY_BYTES_MAX,
        check_quorum: true,
        pre_vote: true,
        ..Config::default()
    }
}

#[cfg(test)]
mod tests;

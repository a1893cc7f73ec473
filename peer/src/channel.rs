//! One channel that this peer has joined.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use stela_identity::{ConfigurationError, Identity};
use stela_protocol::block::Block;
use stela_protocol::config::ConfigError;
use stela_protocol::{
    BlockNumber, ChannelId, ErrorCode, Fingerprint, Hash32, Height, OrgId, RpcError, TransactionId,
    pb,
};
use stela_store::{
    BlockCommit, Halt, HaltCause, Head, Kv, LedgerRead, PeerLedger, StateSnapshot, StoreError,
    TransactionRecord,
};
use tokio::sync::{Notify, Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::alarm::{Alarm, Contradiction};
use crate::answer;
use crate::limits::{REPLAYS_MAX, STATES_AT_START, STREAMS_MAX};
use crate::membership::Membership;
use crate::notes::Notes;
use crate::notify::Waiters;
use crate::replays::Replays;
use crate::validation::{self, BlockRefused, Rules, Tip, check_block};

/// Why a channel could not be joined or opened.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The first block is not one.
    #[error(transparent)]
    Genesis(#[from] ConfigError),
    /// Its configuration cannot be put into force.
    #[error(transparent)]
    Configuration(#[from] ConfigurationError),
    /// This peer's organization does not belong to it.
    #[error("{organization} is not a member of channel {channel}")]
    NotMember {
        /// This peer's organization.
        organization: OrgId,
        /// The channel.
        channel: ChannelId,
    },
    /// The channel was joined with another first block.
    #[error("channel {0} was joined before with another first block")]
    OtherGenesis(ChannelId),
    /// The ledger cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What the ledger holds is not what a peer writes into it.
    #[error("the ledger of channel {channel} is damaged: {what}")]
    Damaged {
        /// The channel.
        channel: ChannelId,
        /// What is wrong.
        what: String,
    },
}

/// Why a block that came was not taken.
#[derive(Debug, thiserror::Error)]
pub enum NotTaken {
    /// It is not the next one, or too few orderers have signed it.
    #[error("it sent a block that is not acceptable: {0}")]
    Refused(#[from] BlockRefused),
    /// It was not committed; unless the error is retryable, the node has to end.
    #[error("a block could not be committed: {0}")]
    Store(#[from] StoreError),
}

/// A channel: its ledger, its configuration, and who waits for its blocks.
pub(crate) struct Channel {
    id: ChannelId,
    organization: OrgId,
    genesis_hash: Hash32,
    /// Replaced by a block that changes the configuration, before anybody hears of that block.
    membership: watch::Sender<Arc<Membership>>,
    ledger: PeerLedger,
    tip: Mutex<Tip>,
    head: watch::Sender<Head>,
    waiters: Waiters,
    alarm: Alarm,
    /// Why it is not served any more.
    halted: RwLock<Option<Halt>>,
    /// Cancelled when the node stops, or when the channel is halted.
    pub(crate) stop: CancellationToken,
    pub(crate) replays: Replays,
    pub(crate) notes: Notes,
    pub(crate) streams: Arc<Semaphore>,
    /// Told when a commit has left side items missing.
    pub(crate) side_missing: Notify,
}

impl Channel {
    /// Opens a channel that was joined; nothing when the store holds no first block.
    pub(crate) fn open(
        kv: Arc<dyn Kv>,
        id: &ChannelId,
        organization: &OrgId,
    ) -> Result<Option<Self>, ChannelError> {
        let ledger = PeerLedger::open(kv, id)?;
        if ledger.head().height == 0 {
            return Ok(None);
        }
        Self::with_ledger(ledger, id, organization).map(Some)
    }

    /// Joins a channel by its first block, or opens it if that was done before with the same one.
    pub(crate) fn join(
        kv: Arc<dyn Kv>,
        genesis: &Block,
        organization: &OrgId,
    ) -> Result<Self, ChannelError> {
        Self::check_genesis(genesis, organization)?;
        let (commit, _) = validation::genesis(genesis)?;
        let id = genesis.header.channel.clone();
        let ledger = PeerLedger::open(kv, &id)?;
        if ledger.head().height == 0 {
            ledger.commit(commit)?;
        } else if stored_block(&ledger, &id, BlockNumber(0))?.hash != genesis.hash {
            return Err(ChannelError::OtherGenesis(id));
        }
        Self::with_ledger(ledger, &id, organization)
    }

    /// Whether this organization can join a channel that begins with this block, and under which
    /// configuration.
    pub(crate) fn check_genesis(
        genesis: &Block,
        organization: &OrgId,
    ) -> Result<Membership, ChannelError> {
        let (_, bytes) = validation::genesis(genesis)?;
        let membership = Membership::new(bytes)?;
        check_member(&membership, &genesis.header.channel, organization)?;
        Ok(membership)
    }

    fn with_ledger(
        ledger: PeerLedger,
        id: &ChannelId,
        organization: &OrgId,
    ) -> Result<Self, ChannelError> {
        let damaged = |what: &str| ChannelError::Damaged {
            channel: id.clone(),
            what: what.into(),
        };
        let config = ledger
            .config()?
            .ok_or_else(|| damaged("it has no configuration"))?;
        let membership = Membership::new(config)?;
        // A member may have been removed since: then it may read its own past.
        if let Err(error) = check_member(&membership, id, organization) {
            tracing::warn!("{error}");
        }
        let genesis_hash = stored_block(&ledger, id, BlockNumber(0))?.hash;
        let head = ledger.head();
        let newest = BlockNumber(head.height.saturating_sub(1));
        let tip = Tip::of(&stored_block(&ledger, id, newest)?);
        if tip.hash != head.header_hash {
            return Err(damaged("its newest block is not that of its head"));
        }
        let alarm = Alarm::new(membership.config().organizations.len());
        for (height, state_hash) in ledger.recent_state_hashes(STATES_AT_START)? {
            alarm.found(height, state_hash);
        }
        let (halted, stop) = (ledger.halted()?, CancellationToken::new());
        if let Some(halt) = &halted {
            tracing::error!(channel = %id, "the channel is not served: {}", words(halt));
            stop.cancel();
        }
        Ok(Self {
            id: id.clone(),
            organization: organization.clone(),
            genesis_hash,
            membership: watch::Sender::new(Arc::new(membership)),
            ledger,
            tip: Mutex::new(tip),
            head: watch::Sender::new(head),
            waiters: Waiters::default(),
            alarm,
            halted: RwLock::new(halted),
            stop,
            replays: Replays::new(REPLAYS_MAX),
            notes: Notes::default(),
            streams: Arc::new(Semaphore::new(STREAMS_MAX)),
            side_missing: Notify::new(),
        })
    }

    pub(crate) fn id(&self) -> &ChannelId {
        &self.id
    }

    /// Whose peer this is.
    pub(crate) fn organization(&self) -> &OrgId {
        &self.organization
    }

    /// The hash of the first block.
    pub(crate) fn genesis_hash(&self) -> Hash32 {
        self.genesis_hash
    }

    /// The configuration in force now.
    pub(crate) fn membership(&self) -> Arc<Membership> {
        self.membership.borrow().clone()
    }

    /// Follows the configuration in force.
    pub(crate) fn memberships(&self) -> watch::Receiver<Arc<Membership>> {
        self.membership.subscribe()
    }

    pub(crate) fn ledger(&self) -> &PeerLedger {
        &self.ledger
    }

    pub(crate) fn waiters(&self) -> &Waiters {
        &self.waiters
    }

    pub(crate) fn window_ms(&self) -> u64 {
        self.membership().config().limits.window_ms
    }

    /// The newest block.
    pub(crate) fn tip(&self) -> Tip {
        self.tip.lock().clone()
    }

    /// Follows the head of the ledger.
    pub(crate) fn heads(&self) -> watch::Receiver<Head> {
        self.head.subscribe()
    }

    /// Waits until the ledger has `height` blocks, or the time is up.
    pub(crate) async fn reach(&self, height: u64, timeout: Duration) {
        let mut heads = self.heads();
        let reached = heads.wait_for(|head| head.height >= height);
        // Out of time is no error: who asked goes on with what there is.
        let _ = tokio::time::timeout(timeout, reached).await;
    }

    /// A consistent view of the ledger.
    pub(crate) fn snapshot(&self) -> Result<StateSnapshot, RpcError> {
        self.ledger.snapshot().map_err(answer::store)
    }

    /// Who a certificate identifies that the channel knows, and that is valid at a time.
    pub(crate) fn identity(
        &self,
        fingerprint: &Fingerprint,
        at_ms: u64,
    ) -> Result<Arc<Identity>, RpcError> {
        let found = self
            .membership()
            .find_one(&self.ledger, fingerprint)
            .map_err(answer::store)?;
        let identity = found.ok_or_else(|| self.unknown(fingerprint))?;
        identity
            .check_time(at_ms)
            .map_err(|error| answer::identity(&error))?;
        Ok(identity)
    }

    fn unknown(&self, fingerprint: &Fingerprint) -> RpcError {
        let channel = &self.id;
        if self.membership().msp().is_revoked(fingerprint) {
            let why = format!("certificate {fingerprint} has been revoked on channel {channel}");
            return RpcError::new(ErrorCode::Forbidden, why);
        }
        let why = format!(
            "channel {channel} does not know certificate {fingerprint}: register it and wait \
             until the registration is committed"
        );
        RpcError::new(ErrorCode::UnknownIdentity, why)
    }

    /// Refuses when this peer was outvoted about its own state, or has found it damaged.
    pub(crate) fn check_sound(&self) -> Result<(), RpcError> {
        match &*self.halted.read() {
            None => Ok(()),
            Some(halt) => Err(RpcError::new(ErrorCode::Damaged, words(halt))),
        }
    }

    /// Why requests are not answered any more.
    pub(crate) fn why_stopped(&self) -> RpcError {
        let stopping = || RpcError::new(ErrorCode::Unavailable, "this peer is stopping");
        self.check_sound().err().unwrap_or_else(stopping)
    }

    /// Why the channel is not served, in words; nothing while it is.
    pub(crate) fn halted(&self) -> Option<String> {
        self.halted.read().as_ref().map(words)
    }

    /// Serves the channel no longer, now and after a restart, until its ledger was rebuilt.
    pub(crate) fn halt(&self, halt: Halt) {
        let mut halted = self.halted.write();
        if halted.is_some() {
            return;
        }
        tracing::error!(channel = %self.id, "the channel is served no longer: {}", words(&halt));
        if let Err(error) = self.ledger.halt(&halt) {
            tracing::error!(channel = %self.id, "that could not be noted on the disk: {error}");
        }
        *halted = Some(halt);
        self.stop.cancel();
    }

    /// Checks a block that came from an orderer, validates and commits it. Blocks come one after the
    /// other.
    ///
    /// # Errors
    /// [`NotTaken`] says why not.
    pub(crate) fn take(&self, message: pb::Block) -> Result<Block, NotTaken> {
        let block = check_block(&self.membership(), &self.tip(), message)?;
        self.commit(&block)?;
        Ok(block)
    }

    /// Validates and commits a block that was checked against the tip, and tells who waits. Blocks
    /// come one after the other.
    ///
    /// # Errors
    /// [`StoreError`]: unless it is retryable, the node has to end.
    pub(crate) fn commit(&self, block: &Block) -> Result<(), StoreError> {
        let membership = self.membership();
        let rules = Rules {
            membership: &membership,
            organization: &self.organization,
        };
        let commit = validation::validate(&rules, block, &self.ledger.snapshot()?)?;
        let records = records(&commit);
        let new = new_membership(&commit)?;
        let committed = self.ledger.commit(commit)?;
        if let Some(new) = new {
            self.alarm.resize(new.config().organizations.len());
            tracing::info!(
                channel = %self.id, block = %block.header.number,
                sequence = new.config().sequence, "another configuration is in force"
            );
            self.membership.send_replace(Arc::new(new));
        }
        *self.tip.lock() = Tip::of(block);
        let head = committed.head;
        for contradiction in self.alarm.found(head.height, head.state_hash) {
            self.sound_alarm(&contradiction);
        }
        self.head.send_replace(head);
        for (id, record) in &records {
            self.waiters.tell(id, *record);
        }
        if !committed.missing_side.is_empty() {
            self.side_missing.notify_one();
        }
        Ok(())
    }

    /// Compares what another organization's peer reports about its state.
    pub(crate) fn compare(&self, organization: &OrgId, height: u64, state_hash: &[u8]) {
        let Ok(state_hash) = Hash32::from_slice(state_hash) else {
            return;
        };
        if !self.membership().config().is_member(organization) {
            return;
        }
        if let Some(contradiction) = self.alarm.reported(organization, height, state_hash) {
            self.sound_alarm(&contradiction);
        }
    }

    fn sound_alarm(&self, contradiction: &Contradiction) {
        let Contradiction {
            height,
            organization,
            claimed,
            outvoted,
        } = contradiction;
        tracing::error!(
            channel = %self.id, height, %organization, outvoted,
            "the state hash of a peer of another organization differs from the one found here"
        );
        if *outvoted {
            self.halt(Halt {
                cause: HaltCause::Outvoted { majority: *claimed },
                height: *height,
                what: format!("at height {height} their state hash is {claimed}"),
            });
        }
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Channel({} at height {})",
            self.id,
            self.ledger.head().height
        )
    }
}

/// What a block puts into force. Its configuration was read when it was validated.
fn new_membership(commit: &BlockCommit) -> Result<Option<Membership>, StoreError> {
    let new = commit.config.clone().map(Membership::new);
    new.transpose().map_err(|_| StoreError::Inconsistent {
        number: commit.number,
        what: "its configuration is not sound",
    })
}

/// What happened and what to do.
fn words(halt: &Halt) -> String {
    let what = &halt.what;
    match halt.cause {
        HaltCause::Outvoted { .. } => format!(
            "a majority of the organizations has another state than this peer ({what}): stop the \
             peer, run `stela-peer rebuild`, and start it again"
        ),
        HaltCause::Damaged => format!(
            "the ledger is damaged ({what}): stop the peer, run `stela-peer rebuild`, and start it \
             again"
        ),
    }
}

fn check_member(
    membership: &Membership,
    channel: &ChannelId,
    organization: &OrgId,
) -> Result<(), ChannelError> {
    if membership.config().is_member(organization) {
        return Ok(());
    }
    let (organization, channel) = (organization.clone(), channel.clone());
    Err(ChannelError::NotMember {
        organization,
        channel,
    })
}

fn stored_block(
    ledger: &PeerLedger,
    channel: &ChannelId,
    number: BlockNumber,
) -> Result<Block, ChannelError> {
    let damaged = |what: String| ChannelError::Damaged {
        channel: channel.clone(),
        what,
    };
    let stored = ledger.block(number)?;
    let stored = stored.ok_or_else(|| damaged(format!("block {number} is missing")))?;
    Block::decode(stored.block).map_err(|error| damaged(error.to_string()))
}

/// What is told to those who wait for the transactions of a block.
fn records(commit: &BlockCommit) -> Vec<(TransactionId, TransactionRecord)> {
    let record = |index: u32| TransactionRecord {
        height: Height {
            block: commit.number.0,
            transaction: index,
        },
        code: commit.codes[index as usize],
        time_ms: commit.time_ms,
    };
    commit
        .transactions
        .iter()
        .map(|(id, index)| (*id, record(*index)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validation::tests::World;
    use stela_store::{MemoryKv, layout};

    fn join(world: &World) -> (Arc<MemoryKv>, Result<Channel, ChannelError>) {
        let kv = Arc::new(MemoryKv::new(layout::FAMILIES));
        let channel = Channel::join(kv.clone(), &world.genesis, &OrgId::new("A").unwrap());
        (kv, channel)
    }

    #[tokio::test]
    async fn a_commit_is_told_to_those_who_wait_and_is_there_after_a_restart() {
        let mut world = World::new();
        let (kv, channel) = join(&world);
        let channel = channel.unwrap();
        let call = world.call(1);
        let (id, envelope) = (call.header.id(), call.seal());
        let mut waiter = channel.waiters().register(id).unwrap();
        let mut heads = channel.heads();
        let block = world.block(vec![envelope]);
        world.commit(&block);
        channel.commit(&block).unwrap();
        let record = waiter.committed().await.unwrap();
        assert_eq!(
            record.height,
            Height {
                block: 1,
                transaction: 0
            }
        );
        assert_eq!(
            heads
                .wait_for(|head| head.height == 2)
                .await
                .unwrap()
                .height,
            2
        );
        assert_eq!(channel.tip(), Tip::of(&block));
        let id = channel.id().clone();
        drop(channel);
        let (kv, organization) = (Arc::new(kv.crash()), OrgId::new("A").unwrap());
        let again = Channel::open(kv, &id, &organization).unwrap().unwrap();
        assert_eq!(again.tip(), Tip::of(&block));
        let next = world.block(vec![]);
        again.commit(&next).unwrap();
    }

    #[tokio::test]
    async fn another_configuration_is_in_force_at_once_and_after_a_restart() {
        let mut world = World::new();
        let (kv, channel) = join(&world);
        let channel = channel.unwrap();
        let (fingerprint, now_ms) = (world.call(1).header.creator, world.genesis.header.time_ms);
        assert!(channel.identity(&fingerprint, now_ms).is_ok());
        let mut memberships = channel.memberships();
        let envelope = world.reconfigure(|config| {
            config.organizations[0].revoked.push(fingerprint.to_bytes());
        });
        let block = world.config_block(envelope);
        world.commit(&block);
        channel.commit(&block).unwrap();
        assert!(memberships.has_changed().unwrap());
        assert_eq!(memberships.borrow_and_update().config().sequence, 1);
        assert!(channel.identity(&fingerprint, now_ms).is_err());
        let id = channel.id().clone();
        drop(channel);
        let (kv, organization) = (Arc::new(kv.crash()), OrgId::new("A").unwrap());
        let again = Channel::open(kv, &id, &organization).unwrap().unwrap();
        assert_eq!(again.membership().config().sequence, 1);
        assert!(again.identity(&fingerprint, now_ms).is_err());
        again.commit(&world.block(vec![])).unwrap();
    }

    #[test]
    fn a_disk_that_fails_stops_the_channel_and_nothing_is_half_done() {
        let world = World::new();
        let (kv, channel) = join(&world);
        let channel = channel.unwrap();
        let block = world.block(vec![world.call(1).seal()]);
        kv.set_failing(true);
        assert!(!channel.commit(&block).unwrap_err().is_retryable());
        kv.set_failing(false);
        assert_eq!(channel.commit(&block), Err(StoreError::Stopped));
        assert_eq!(channel.ledger().head().height, 1);
        assert_eq!(channel.tip().hash, world.genesis.hash);
    }

    #[test]
    fn only_members_join_and_only_by_one_first_block() {
        let world = World::new();
        let (kv, channel) = join(&world);
        drop(channel.unwrap());
        let join = |world: &World, organization: &str| {
            Channel::join(
                kv.clone(),
                &world.genesis,
                &OrgId::new(organization).unwrap(),
            )
        };
        assert!(join(&world, "B").is_ok());
        assert!(matches!(
            join(&world, "Z"),
            Err(ChannelError::NotMember { .. })
        ));
        assert!(matches!(
            join(&World::new(), "A"),
            Err(ChannelError::OtherGenesis(_))
        ));
    }

    #[test]
    fn a_peer_that_is_outvoted_about_its_state_stops_serving_and_a_restart_does_not_end_that() {
        let world = World::new();
        let (kv, channel) = join(&world);
        let channel = channel.unwrap();
        let other = [9; 32];
        channel.compare(&OrgId::new("B").unwrap(), 1, &other);
        assert!(channel.check_sound().is_ok() && !channel.stop.is_cancelled());
        channel.compare(&OrgId::new("C").unwrap(), 1, &other);
        assert_eq!(channel.check_sound().unwrap_err().code, ErrorCode::Damaged);
        assert!(channel.stop.is_cancelled());
        let (kv, id) = (Arc::new(kv.crash()), channel.id().clone());
        let again = Channel::open(kv, &id, &OrgId::new("A").unwrap());
        let again = again.unwrap().unwrap();
        assert_eq!(again.check_sound(), channel.check_sound());
        assert!(again.stop.is_cancelled() && again.halted().is_some());
    }

    #[test]
    fn states_from_before_a_restart_are_compared_too() {
        let mut world = World::new();
        let (kv, channel) = join(&world);
        let channel = channel.unwrap();
        for nonce in 1..4 {
            let block = world.block(vec![world.call(nonce).seal()]);
            world.commit(&block);
            channel.commit(&block).unwrap();
        }
        let (kv, id) = (Arc::new(kv.crash()), channel.id().clone());
        let again = Channel::open(kv, &id, &OrgId::new("A").unwrap());
        let again = again.unwrap().unwrap();
        for organization in ["B", "C"] {
            again.compare(&OrgId::new(organization).unwrap(), 2, &[9; 32]);
        }
        assert!(again.check_sound().is_err());
    }
}

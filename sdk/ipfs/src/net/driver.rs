//! The task that owns the swarm. It never waits for a disk or a caller.

use std::collections::{HashMap, HashSet};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cid::Cid;
use futures::StreamExt;
use libp2p::identity::Keypair;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{self, ConnectionId, DialError, Swarm, SwarmEvent};
use libp2p::{Multiaddr, PeerId};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::behaviour::Behaviour;
use super::dht::{Dht, Outcome};
use super::keeper::Keeper;
use super::lookups::Lookups;
use super::{Command, Counters, Network, Shared, addresses, transport};
use crate::bitswap::{Found, Lookup};
use crate::config::{Member, NodeConfig};
use crate::error::{ConnectError, FetchError, StartError};
use crate::limits::{COMMANDS_MAX, LISTEN_TIMEOUT, MEMBERS_MAX, TICK};
use crate::store::Store;

/// How long a shutdown waits for connections to close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// Messages that may wait for a connection's task. More than that and the behaviour waits.
const HANDLER_BUFFER: NonZeroUsize = NonZeroUsize::new(64).expect("64 is not zero");

/// Everything the network task knows.
pub(super) struct Driver {
    pub(super) swarm: Swarm<Behaviour>,
    pub(super) shared: Arc<Shared>,
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) wants: HashMap<Cid, Waiting>,
    pub(super) dials: HashMap<ConnectionId, (PeerId, ConnectReply)>,
    pub(super) lookups: Lookups,
    pub(super) dht: Dht,
    pub(super) keeper: Keeper,
    /// Connections whose other end is on this machine.
    pub(super) loopback: HashSet<ConnectionId>,
    /// Addresses in the routing table because a peer announced them.
    pub(super) announced: HashMap<PeerId, Vec<Multiaddr>>,
    /// Peers that connected and have not introduced themselves yet.
    pub(super) newcomers: HashSet<PeerId>,
    /// Whether listen addresses are also those that others are told.
    pub(super) announce_listen: bool,
}

pub(super) type ConnectReply = oneshot::Sender<Result<PeerId, ConnectError>>;

/// Those who wait for a block, and the root it belongs to.
pub(super) struct Waiting {
    root: Cid,
    replies: Vec<oneshot::Sender<(PeerId, Bytes)>>,
}

/// Starts to listen, then to connect, and returns once all listeners are up.
pub(crate) async fn start(
    config: &NodeConfig,
    keypair: &Keypair,
    store: Arc<Store>,
) -> Result<(Network, JoinHandle<()>), StartError> {
    let (sender, commands) = mpsc::channel(COMMANDS_MAX);
    let shared = Arc::new(Shared::default());
    let mut driver = Driver {
        swarm: build(config, keypair)?,
        shared: shared.clone(),
        commands,
        wants: HashMap::new(),
        dials: HashMap::new(),
        lookups: Lookups::new(store),
        dht: Dht::new(keypair.public().to_peer_id()),
        keeper: Keeper::default(),
        loopback: HashSet::new(),
        announced: HashMap::new(),
        newcomers: HashSet::new(),
        announce_listen: config.announce.is_empty(),
    };
    // The allow-list is still empty here, so that no connection comes about while listening.
    for address in &config.listen {
        driver.listen(address).await?;
    }
    for address in &config.announce {
        driver.swarm.add_external_address(address.clone());
    }
    for member in &config.members {
        driver.allow(member.clone());
    }
    Ok((Network::new(sender, shared), tokio::spawn(driver.run())))
}

fn build(config: &NodeConfig, keypair: &Keypair) -> Result<Swarm<Behaviour>, StartError> {
    let transport = transport::build(keypair, &config.swarm_key)?;
    let behaviour = Behaviour::new(
        keypair.public(),
        config.dht.protocol()?,
        config.limits.connections_max,
    );
    let peer = keypair.public().to_peer_id();
    let config =
        swarm::Config::with_tokio_executor().with_notify_handler_buffer_size(HANDLER_BUFFER);
    Ok(Swarm::new(transport, behaviour, peer, config))
}

impl Driver {
    async fn run(mut self) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                command = self.commands.recv() => match command {
                    None | Some(Command::Shutdown) => break,
                    Some(command) => self.obey(command),
                },
                event = self.swarm.select_next_some() => self.note(event),
                (lookup, found) = self.lookups.next() => self.answer(&lookup, found),
                _ = ticks.tick() => self.tick(),
            }
        }
        self.close().await;
    }

    async fn listen(&mut self, address: &Multiaddr) -> Result<(), StartError> {
        let failed = |reason: String| StartError::Listen {
            address: address.clone(),
            reason,
        };
        let id = self
            .swarm
            .listen_on(address.clone())
            .map_err(|error| failed(error.to_string()))?;
        let up = async {
            loop {
                let event = self.swarm.select_next_some().await;
                match &event {
                    SwarmEvent::NewListenAddr { listener_id, .. } if *listener_id == id => {
                        self.note(event);
                        return Ok(());
                    }
                    SwarmEvent::ListenerClosed {
                        listener_id,
                        reason,
                        ..
                    } if *listener_id == id => {
                        return Err(failed(format!("{reason:?}")));
                    }
                    _ => self.note(event),
                }
            }
        };
        timeout(LISTEN_TIMEOUT, up)
            .await
            .unwrap_or_else(|_| Err(failed("time ran out".into())))
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Want { cid, root, reply } => self.want(cid, root, reply),
            Command::Explain { cid, reply } => drop(reply.send(self.reason(&cid))),
            Command::Stored { cid } => self.swarm.behaviour_mut().bitswap.stored(&cid),
            Command::Connect { address, reply } => self.connect(address, reply),
            Command::Allow { member, reply } => drop(reply.send(self.allow(member))),
            Command::Disallow { peer, reply } => {
                self.disallow(&peer);
                let _ = reply.send(());
            }
            Command::Provide { cid, reply } => {
                self.dht
                    .provide(&mut self.swarm.behaviour_mut().dht, cid, reply);
            }
            Command::Announce { roots } => {
                self.dht
                    .announce(&mut self.swarm.behaviour_mut().dht, &roots);
            }
            Command::Withdraw { root } => {
                self.dht
                    .withdraw(&mut self.swarm.behaviour_mut().dht, &root);
            }
            Command::FindProviders { cid, found } => {
                self.dht
                    .find(&mut self.swarm.behaviour_mut().dht, &cid, found);
            }
            // Seen by the loop already.
            Command::Shutdown => {}
        }
    }

    fn want(&mut self, cid: Cid, root: Cid, reply: oneshot::Sender<(PeerId, Bytes)>) {
        let waiting = self.wants.entry(cid).or_insert(Waiting {
            root,
            replies: Vec::new(),
        });
        waiting.replies.push(reply);
        self.swarm.behaviour_mut().bitswap.want(cid);
    }

    /// Hands a block that came from `peer` to those who wait for it.
    pub(super) fn deliver(&mut self, cid: &Cid, peer: PeerId, data: &Bytes) {
        let counters = &self.shared.counters;
        Counters::add(&counters.blocks_received, 1);
        Counters::add(&counters.bytes_received, data.len() as u64);
        if let Some(waiting) = self.wants.remove(cid) {
            for reply in waiting.replies {
                let _ = reply.send((peer, data.clone()));
            }
            self.end_search(&waiting.root);
        }
    }

    /// Why a block has not come.
    fn reason(&self, cid: &Cid) -> FetchError {
        let timeout = FetchError::Timeout { cid: *cid };
        let Some(waiting) = self.wants.get(cid) else {
            return timeout;
        };
        let verdict = self.swarm.behaviour().bitswap.verdict(cid);
        if let Some(peer) = verdict.mismatch {
            return FetchError::HashMismatch { cid: *cid, peer };
        }
        match self
            .dht
            .outcome(&waiting.root, |peer| self.swarm.is_connected(peer))
        {
            _ if verdict.unanswered => timeout,
            Outcome::Open => timeout,
            Outcome::Nobody => FetchError::NotFound { cid: *cid },
            Outcome::Outsider(peer) => FetchError::NotAllowed { cid: *cid, peer },
        }
    }

    /// Gives up the blocks that nobody waits for any more.
    fn drop_unwanted(&mut self) {
        for waiting in self.wants.values_mut() {
            waiting.replies.retain(|reply| !reply.is_closed());
        }
        let unwanted = self
            .wants
            .extract_if(|_, waiting| waiting.replies.is_empty());
        for (cid, waiting) in unwanted.collect::<Vec<_>>() {
            self.swarm.behaviour_mut().bitswap.cancel(&cid);
            self.end_search(&waiting.root);
        }
    }

    fn end_search(&mut self, root: &Cid) {
        if !self.wants.values().any(|waiting| waiting.root == *root) {
            self.dht.end_search(root);
        }
    }

    /// Nobody connected has a block: looks for providers of its root.
    pub(super) fn search(&mut self, cid: &Cid) {
        if let Some(waiting) = self.wants.get(cid) {
            self.dht
                .search(&mut self.swarm.behaviour_mut().dht, waiting.root);
        }
    }

    fn connect(&mut self, address: Multiaddr, reply: ConnectReply) {
        let Some(peer) = addresses::peer_of(&address) else {
            return drop(reply.send(Err(ConnectError::NoPeerId { address })));
        };
        if !self.is_member(&peer) {
            return drop(reply.send(Err(ConnectError::NotAllowed { peer })));
        }
        if self.swarm.is_connected(&peer) {
            return drop(reply.send(Ok(peer)));
        }
        let options = DialOpts::peer_id(peer).addresses(vec![address]);
        let options = options.condition(PeerCondition::Always).build();
        let connection = options.connection_id();
        match self.swarm.dial(options) {
            Ok(()) => drop(self.dials.insert(connection, (peer, reply))),
            Err(error) => self.dial_failed(peer, &error, reply),
        }
    }

    /// A dial that has failed does not matter when another one has succeeded meanwhile: of those that
    /// were begun at the same time, only so many connections are kept.
    pub(super) fn dial_failed(&mut self, peer: PeerId, error: &DialError, reply: ConnectReply) {
        let connected = match self.swarm.is_connected(&peer) {
            true => Ok(peer),
            false => Err(ConnectError::Failed {
                peer,
                reason: error.to_string(),
            }),
        };
        // Whoever has gone away does not mind.
        let _ = reply.send(connected);
    }

    /// Dials a member under all addresses that are known, unless it is connected.
    pub(super) fn dial(&mut self, peer: PeerId) {
        let addresses = self.keeper.addresses(&peer).to_vec();
        let options = DialOpts::peer_id(peer).addresses(addresses);
        let options = options.extend_addresses_through_behaviour().build();
        if let Err(error) = self.swarm.dial(options) {
            tracing::debug!(%peer, %error, "not dialled");
        }
    }

    pub(super) fn is_member(&self, peer: &PeerId) -> bool {
        self.swarm
            .behaviour()
            .members
            .allowed_peers()
            .contains(peer)
    }

    fn allow(&mut self, member: Member) -> bool {
        let behaviour = self.swarm.behaviour_mut();
        let members = behaviour.members.allowed_peers();
        if members.len() >= MEMBERS_MAX && !members.contains(&member.peer) {
            return false;
        }
        behaviour.members.allow_peer(member.peer);
        behaviour.bitswap.trust(&member.peer);
        for address in &member.addresses {
            behaviour.dht.add_address(&member.peer, address.clone());
        }
        self.keeper.keep(member);
        true
    }

    fn disallow(&mut self, peer: &PeerId) {
        self.keeper.forget(peer);
        self.announced.remove(peer);
        let behaviour = self.swarm.behaviour_mut();
        behaviour.members.disallow_peer(*peer);
        behaviour.dht.remove_peer(peer);
    }

    fn answer(&mut self, lookup: &Lookup, found: Found) {
        if let Found::Block(block) = &found {
            let counters = &self.shared.counters;
            Counters::add(&counters.blocks_served, 1);
            Counters::add(&counters.bytes_served, block.data().len() as u64);
        }
        self.swarm.behaviour_mut().bitswap.answer(lookup, found);
    }

    fn tick(&mut self) {
        self.drop_unwanted();
        let behaviour = self.swarm.behaviour_mut();
        behaviour.bitswap.tick();
        self.dht.tick(&mut behaviour.dht);
        let swarm = &self.swarm;
        for peer in self.keeper.tick(|peer| swarm.is_connected(peer)) {
            self.dial(peer);
        }
    }

    async fn close(mut self) {
        let peers: Vec<PeerId> = self.swarm.connected_peers().copied().collect();
        for peer in peers {
            let _ = self.swarm.disconnect_peer_id(peer);
        }
        let closed = async {
            while self.swarm.connected_peers().next().is_some() {
                let event = self.swarm.select_next_some().await;
                self.note(event);
            }
        };
        let _ = timeout(CLOSE_TIMEOUT, closed).await;
        self.shared.peers.write().clear();
        self.shared.listen.write().clear();
    }
}

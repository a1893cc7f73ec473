//! What the swarm reports.

use std::collections::HashSet;

use libp2p::swarm::{ConnectionId, SwarmEvent};
use libp2p::{Multiaddr, PeerId, identify, kad, ping};

use super::behaviour::BehaviourEvent;
use super::driver::Driver;
use super::{Counters, addresses};
use crate::bitswap;

impl Driver {
    /// Takes in one event.
    pub(super) fn note(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(event) => self.note_behaviour(event),
            SwarmEvent::ConnectionEstablished {
                peer_id,
                connection_id,
                endpoint,
                num_established,
                ..
            } => {
                if addresses::is_loopback(endpoint.get_remote_address()) {
                    self.loopback.insert(connection_id);
                }
                if num_established.get() == 1 {
                    self.newcomers.insert(peer_id);
                }
                self.note_connected(peer_id, connection_id);
            }
            SwarmEvent::ConnectionClosed {
                peer_id,
                connection_id,
                num_established,
                cause,
                ..
            } => {
                tracing::debug!(peer = %peer_id, ?cause, "a connection has closed");
                self.loopback.remove(&connection_id);
                if num_established == 0 {
                    self.newcomers.remove(&peer_id);
                    self.shared.peers.write().remove(&peer_id);
                }
            }
            SwarmEvent::OutgoingConnectionError {
                peer_id,
                connection_id,
                error,
            } => {
                tracing::debug!(peer = ?peer_id, %error, "a dial has failed");
                if let Some((peer, reply)) = self.dials.remove(&connection_id) {
                    self.dial_failed(peer, &error, reply);
                }
            }
            SwarmEvent::IncomingConnectionError {
                send_back_addr,
                error,
                peer_id,
                ..
            } => {
                tracing::info!(
                    from = %send_back_addr, peer = ?peer_id, %error, "a connection was refused"
                );
                Counters::add(&self.shared.counters.connections_refused, 1);
            }
            SwarmEvent::NewListenAddr { address, .. } => self.note_listening(address),
            SwarmEvent::ExpiredListenAddr { address, .. } => {
                self.swarm.remove_external_address(&address);
                self.shared.listen.write().retain(|other| *other != address);
            }
            _ => {}
        }
    }

    fn note_connected(&mut self, peer: PeerId, connection: ConnectionId) {
        tracing::debug!(%peer, "a connection was established");
        self.keeper.connected(&peer);
        self.shared.peers.write().insert(peer);
        if let Some((peer, reply)) = self.dials.remove(&connection) {
            let _ = reply.send(Ok(peer));
        }
    }

    fn note_listening(&mut self, address: Multiaddr) {
        tracing::info!(%address, "listening");
        if self.announce_listen {
            self.swarm.add_external_address(address.clone());
        }
        self.shared.listen.write().push(address);
    }

    fn note_behaviour(&mut self, event: BehaviourEvent) {
        match event {
            BehaviourEvent::Bitswap(event) => self.note_bitswap(event),
            BehaviourEvent::Identify(identify::Event::Received {
                peer_id,
                connection_id,
                info,
            }) => self.note_introduction(peer_id, connection_id, info),
            BehaviourEvent::Dht(kad::Event::OutboundQueryProgressed {
                id, result, step, ..
            }) => self.note_query(id, result, step.last),
            BehaviourEvent::Ping(ping::Event {
                connection,
                result: Err(failure),
                ..
            }) if !matches!(failure, ping::Failure::Unsupported) => {
                tracing::debug!(%failure, "a peer does not answer");
                self.swarm.close_connection(connection);
            }
            _ => {}
        }
    }

    fn note_bitswap(&mut self, event: bitswap::Event) {
        match event {
            bitswap::Event::Block(peer, block) => {
                let cid = *block.cid();
                self.deliver(&cid, peer, &block.into_data());
            }
            bitswap::Event::Lookup(lookup) => self.lookups.push(lookup),
            bitswap::Event::Search(cid) => self.search(&cid),
            bitswap::Event::Misbehaving(peer) => {
                tracing::warn!(%peer, "a member misbehaves and is not asked for a while");
                Counters::add(&self.shared.counters.peers_misbehaved, 1);
            }
        }
    }

    /// A peer says what it speaks and where it listens.
    fn note_introduction(&mut self, peer: PeerId, connection: ConnectionId, info: identify::Info) {
        let dht = &mut self.swarm.behaviour_mut().dht;
        if !info
            .protocols
            .iter()
            .any(|protocol| dht.protocol_names().contains(protocol))
        {
            return;
        }
        let local = self.loopback.contains(&connection);
        let addresses = addresses::believed(&peer, info.listen_addrs, local);
        for address in &addresses {
            dht.add_address(&peer, address.clone());
        }
        let old = self
            .announced
            .insert(peer, addresses.clone())
            .unwrap_or_default();
        let current: HashSet<&Multiaddr> = addresses
            .iter()
            .chain(self.keeper.addresses(&peer))
            .collect();
        for address in old.iter().filter(|address| !current.contains(address)) {
            dht.remove_address(&peer, address);
        }
        if self.newcomers.remove(&peer) {
            self.dht.announce_all();
        }
    }

    fn note_query(&mut self, id: kad::QueryId, result: kad::QueryResult, last: bool) {
        let behaviour = self.swarm.behaviour_mut();
        let members = behaviour.members.allowed_peers();
        let is_member = |peer: &PeerId| members.contains(peer);
        let found = self
            .dht
            .progressed(&mut behaviour.dht, id, result, last, is_member);
        found.into_iter().for_each(|peer| self.dial(peer));
    }
}

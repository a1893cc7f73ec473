//! Bitswap as libp2p sees it: joins the client, the server and the outboxes of the peers.

use std::collections::{HashMap, VecDeque};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use cid::Cid;
use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::{
    CloseConnection, ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, NotifyHandler,
    ToSwarm,
};
use libp2p::{Multiaddr, PeerId};

use super::client::{Client, ClientEvent, Verdict};
use super::handler::{Handler, Send, ToBehaviour};
use super::message::Message;
use super::outbox::Outbox;
use super::server::{Found, Lookup, Server};
use crate::block::Block;
use crate::limits::ENTRIES_PER_MESSAGE_MAX;

/// What the owner of the swarm has to do.
#[derive(Debug)]
pub(crate) enum Event {
    /// A wanted block came from this peer; its hash has been verified.
    Block(PeerId, Block),
    /// Look in the store and call [`Behaviour::answer`].
    Lookup(Lookup),
    /// No connected peer has the block: look for others.
    Search(Cid),
    /// A peer sent what nobody asked for, too often. Its connections are being closed.
    Misbehaving(PeerId),
}

type Action = ToSwarm<Event, Send>;

/// Bitswap for all connections. It has no clock: its owner calls [`tick`](Self::tick).
#[derive(Default)]
pub(crate) struct Behaviour {
    client: Client,
    server: Server,
    outboxes: HashMap<PeerId, Outbox>,
    actions: VecDeque<Action>,
    waker: Option<Waker>,
}

impl Behaviour {
    /// Starts to fetch a block; it comes as [`Event::Block`].
    pub(crate) fn want(&mut self, cid: Cid) {
        self.client.want(cid);
        self.settle();
    }

    /// Stops to fetch a block.
    pub(crate) fn cancel(&mut self, cid: &Cid) {
        self.client.cancel(cid);
        self.settle();
    }

    /// How the fetching of a block stands.
    pub(crate) fn verdict(&self, cid: &Cid) -> Verdict {
        self.client.verdict(cid)
    }

    /// Answers an [`Event::Lookup`].
    pub(crate) fn answer(&mut self, lookup: &Lookup, found: Found) {
        if let Some(message) = self.server.answer(&lookup.peer, &lookup.cid, found) {
            self.send(&lookup.peer, message.to_frame());
        }
        self.settle();
    }

    /// Notes that a block has come into the store, so that peers that wait for it get it.
    pub(crate) fn stored(&mut self, cid: &Cid) {
        self.server.stored(cid);
        self.settle();
    }

    /// Forgives a peer that misbehaved.
    pub(crate) fn trust(&mut self, peer: &PeerId) {
        self.client.trust(peer);
    }

    /// Notes that time has gone on.
    pub(crate) fn tick(&mut self) {
        self.client.tick();
        self.settle();
    }

    /// Queues a message for a connected peer.
    pub(crate) fn send(&mut self, peer: &PeerId, frame: Bytes) {
        if let Some(outbox) = self.outboxes.get_mut(peer) {
            outbox.push(frame);
        }
    }

    /// Turns what the parts want done into actions of the swarm.
    fn settle(&mut self) {
        for (peer, entries) in self.client.take_entries() {
            let Some(outbox) = self.outboxes.get_mut(&peer) else {
                continue;
            };
            for entries in entries.chunks(ENTRIES_PER_MESSAGE_MAX) {
                outbox.push(Message::of_entries(entries.to_vec()).to_frame());
            }
        }
        while let Some(event) = self.client.next_event() {
            self.note(event);
        }
        for (peer, outbox) in &mut self.outboxes {
            while let Some(lookup) = self.server.next_lookup(peer, outbox.bytes()) {
                self.actions
                    .push_back(ToSwarm::GenerateEvent(Event::Lookup(lookup)));
            }
            while let Some((connection, frame)) = outbox.next() {
                let handler = NotifyHandler::One(connection);
                let event = Send(frame);
                self.actions.push_back(ToSwarm::NotifyHandler {
                    peer_id: *peer,
                    handler,
                    event,
                });
            }
        }
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn note(&mut self, event: ClientEvent) {
        let event = match event {
            ClientEvent::Block(peer, block) => Event::Block(peer, block),
            ClientEvent::Search(cid) => Event::Search(cid),
            ClientEvent::Misbehaving(peer) => {
                self.close(peer, CloseConnection::All);
                Event::Misbehaving(peer)
            }
        };
        self.actions.push_back(ToSwarm::GenerateEvent(event));
    }

    fn close(&mut self, peer_id: PeerId, connection: CloseConnection) {
        self.actions.push_back(ToSwarm::CloseConnection {
            peer_id,
            connection,
        });
    }

    fn connected(&mut self, peer: PeerId, connection: ConnectionId) {
        self.outboxes.entry(peer).or_default().connected(connection);
        self.client.connected(peer);
    }

    fn disconnected(&mut self, peer: PeerId, connection: ConnectionId, remaining: usize) {
        if remaining > 0 {
            self.outboxes
                .entry(peer)
                .or_default()
                .disconnected(connection);
            self.client.repeat(&peer);
        } else {
            self.outboxes.remove(&peer);
            self.client.disconnected(&peer);
            self.server.disconnected(&peer);
        }
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Event;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<Handler, ConnectionDenied> {
        Ok(Handler::new())
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<Handler, ConnectionDenied> {
        Ok(Handler::new())
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(event) => {
                self.connected(event.peer_id, event.connection_id);
            }
            FromSwarm::ConnectionClosed(event) => {
                let remaining = event.remaining_established;
                self.disconnected(event.peer_id, event.connection_id, remaining);
            }
            _ => return,
        }
        self.settle();
    }

    fn on_connection_handler_event(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        event: ToBehaviour,
    ) {
        match event {
            ToBehaviour::Received(message, _budget) => {
                self.server.receive(peer, &message.entries, message.full);
                self.client
                    .receive(peer, message.blocks, &message.presences);
            }
            ToBehaviour::Rejected(error) => {
                tracing::warn!(%peer, %error, "a peer sent what is not a bitswap message");
                self.client.strike(peer);
            }
            ToBehaviour::Sent => {
                if let Some(outbox) = self.outboxes.get_mut(&peer) {
                    outbox.sent(connection);
                }
            }
            ToBehaviour::Broken => self.close(peer, CloseConnection::One(connection)),
            ToBehaviour::Unsupported => self.client.disconnected(&peer),
        }
        self.settle();
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Action> {
        if let Some(action) = self.actions.pop_front() {
            return Poll::Ready(action);
        }
        self.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

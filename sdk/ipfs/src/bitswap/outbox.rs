//! What waits to be sent to one peer.
//!
//! A message is kept here until its connection reports it as written. When a connection dies, what
//! it had not written goes out on another one; the peer may then get a message twice, which
//! bitswap allows, but never not at all while it is connected.

use std::collections::VecDeque;

use bytes::Bytes;
use libp2p::swarm::ConnectionId;

use crate::limits::OUTBOX_IN_FLIGHT_MAX;

/// Messages to one peer, and the connections to it. The first connection is the one that is used.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    connections: Vec<ConnectionId>,
    queued: VecDeque<Bytes>,
    in_flight: VecDeque<Bytes>,
    bytes: usize,
}

impl Outbox {
    pub(crate) fn connected(&mut self, connection: ConnectionId) {
        self.connections.push(connection);
    }

    /// Forgets a connection; what it had not written is queued again.
    pub(crate) fn disconnected(&mut self, connection: ConnectionId) {
        if self.connections.first() == Some(&connection) {
            while let Some(frame) = self.in_flight.pop_back() {
                self.queued.push_front(frame);
            }
        }
        self.connections.retain(|other| *other != connection);
    }

    pub(crate) fn push(&mut self, frame: Bytes) {
        self.bytes += frame.len();
        self.queued.push_back(frame);
    }

    /// The next message that a connection may be given, and that connection.
    pub(crate) fn next(&mut self) -> Option<(ConnectionId, Bytes)> {
        let connection = *self.connections.first()?;
        if self.in_flight.len() == OUTBOX_IN_FLIGHT_MAX {
            return None;
        }
        let frame = self.queued.pop_front()?;
        self.in_flight.push_back(frame.clone());
        Some((connection, frame))
    }

    /// Notes that a connection has written the oldest message that it was given.
    pub(crate) fn sent(&mut self, connection: ConnectionId) {
        if self.connections.first() == Some(&connection) {
            let frame = self.in_flight.pop_front();
            self.bytes -= frame.map_or(0, |frame| frame.len());
        }
    }

    /// Bytes that have not been written.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    #[test]
    fn a_lost_connection_loses_no_message() {
        let [one, two] = [1, 2].map(ConnectionId::new_unchecked);
        let mut outbox = Outbox::default();
        outbox.connected(one);
        outbox.connected(two);
        for text in ["a", "b", "c"] {
            outbox.push(frame(text));
        }
        for text in ["a", "b", "c"] {
            assert_eq!(outbox.next(), Some((one, frame(text))));
        }
        outbox.sent(one);
        assert_eq!(outbox.bytes(), 2);
        outbox.disconnected(one);
        assert_eq!(outbox.next(), Some((two, frame("b"))));
        assert_eq!(outbox.next(), Some((two, frame("c"))));
        // A late report of the dead connection does not count for the living one.
        outbox.sent(one);
        assert_eq!(outbox.bytes(), 2);
        outbox.disconnected(two);
        assert_eq!(outbox.next(), None);
    }

    #[test]
    fn a_connection_is_not_given_more_than_it_writes() {
        let connection = ConnectionId::new_unchecked(1);
        let mut outbox = Outbox::default();
        outbox.connected(connection);
        (0..OUTBOX_IN_FLIGHT_MAX + 1).for_each(|_| outbox.push(frame("a")));
        (0..OUTBOX_IN_FLIGHT_MAX).for_each(|_| assert!(outbox.next().is_some()));
        assert_eq!(outbox.next(), None);
        outbox.sent(connection);
        assert!(outbox.next().is_some());
    }
}

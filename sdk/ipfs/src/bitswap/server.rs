//! What peers want of this node. Pure: it is told what came and what was found, and says what to
//! look up and what to send.

use std::collections::{HashMap, HashSet, VecDeque};

use cid::Cid;
use libp2p::PeerId;

use super::message::{Entry, Message, Want};
use crate::block::Block;
use crate::limits::{LOOKUPS_PER_PEER_MAX, OUTBOX_BYTES_HIGH, WANTS_PER_PEER_MAX};

/// A question to the block store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lookup {
    pub(crate) peer: PeerId,
    pub(crate) cid: Cid,
    /// Whether the bytes are wanted, or only whether they are there.
    pub(crate) block: bool,
}

/// The block store's answer.
#[derive(Debug, Clone)]
pub(crate) enum Found {
    Block(Block),
    Present,
    Missing,
}

/// The want lists of all connected peers.
#[derive(Debug, Default)]
pub(crate) struct Server {
    ledgers: HashMap<PeerId, Ledger>,
}

#[derive(Debug, Default)]
struct Ledger {
    wants: HashMap<Cid, Wanted>,
    backlog: VecDeque<Cid>,
    lookups: usize,
}

#[derive(Debug, Default)]
struct Wanted {
    block: bool,
    dont_have: bool,
    /// Whether the block is in the backlog, so that it is there only once.
    queued: bool,
}

impl Server {
    pub(crate) fn disconnected(&mut self, peer: &PeerId) {
        self.ledgers.remove(peer);
    }

    /// Takes in a peer's want list. What it wants beyond the limit is ignored.
    pub(crate) fn receive(&mut self, peer: PeerId, entries: &[Entry], full: bool) {
        let ledger = self.ledgers.entry(peer).or_default();
        if full {
            ledger.wants.clear();
            ledger.backlog.clear();
        }
        for entry in entries {
            ledger.receive(entry);
        }
    }

    /// A block has come into the store: whoever wants it gets it now.
    pub(crate) fn stored(&mut self, cid: &Cid) {
        for ledger in self.ledgers.values_mut() {
            ledger.enqueue(cid);
        }
    }

    /// The next lookup for a peer, unless enough is running or waiting to be sent.
    pub(crate) fn next_lookup(&mut self, peer: &PeerId, outbox_bytes: usize) -> Option<Lookup> {
        let ledger = self.ledgers.get_mut(peer)?;
        if ledger.lookups == LOOKUPS_PER_PEER_MAX || outbox_bytes >= OUTBOX_BYTES_HIGH {
            return None;
        }
        let (cid, block) = ledger.dequeue()?;
        ledger.lookups += 1;
        Some(Lookup {
            peer: *peer,
            cid,
            block,
        })
    }

    /// Takes in the answer to a lookup; what is returned goes to the peer.
    pub(crate) fn answer(&mut self, peer: &PeerId, cid: &Cid, found: Found) -> Option<Message> {
        let ledger = self.ledgers.get_mut(peer)?;
        ledger.lookups = ledger.lookups.saturating_sub(1);
        ledger.answer(cid, found)
    }
}

impl Ledger {
    fn receive(&mut self, entry: &Entry) {
        if entry.want == Want::Cancel {
            self.wants.remove(&entry.cid);
            return;
        }
        if self.wants.len() >= WANTS_PER_PEER_MAX && !self.wants.contains_key(&entry.cid) {
            return;
        }
        let wanted = self.wants.entry(entry.cid).or_default();
        wanted.block = entry.want == Want::Block;
        wanted.dont_have = entry.dont_have;
        self.enqueue(&entry.cid);
    }

    fn enqueue(&mut self, cid: &Cid) {
        if let Some(wanted) = self.wants.get_mut(cid)
            && !std::mem::replace(&mut wanted.queued, true)
        {
            self.backlog.push_back(*cid);
            self.compact();
        }
    }

    /// Cancelling leaves entries in the backlog. When most of it must be such, they are dropped.
    fn compact(&mut self) {
        if self.backlog.len() > 2 * WANTS_PER_PEER_MAX {
            let mut seen = HashSet::new();
            let queued = |cid: &Cid| self.wants.get(cid).is_some_and(|wanted| wanted.queued);
            self.backlog.retain(|cid| queued(cid) && seen.insert(*cid));
        }
    }

    /// The first in the backlog that is still wanted.
    fn dequeue(&mut self) -> Option<(Cid, bool)> {
        while let Some(cid) = self.backlog.pop_front() {
            if let Some(wanted) = self.wants.get_mut(&cid)
                && std::mem::take(&mut wanted.queued)
            {
                return Some((cid, wanted.block));
            }
        }
        None
    }

    fn answer(&mut self, cid: &Cid, found: Found) -> Option<Message> {
        let wanted = self.wants.get(cid)?;
        match (found, wanted.block) {
            (Found::Block(block), true) => {
                self.wants.remove(cid);
                Some(Message::of_block(block))
            }
            (Found::Block(_) | Found::Present, false) => {
                self.wants.remove(cid);
                Some(Message::of_presence(*cid, true))
            }
            // The peer has changed its mind while the store was asked.
            (Found::Present, true) => {
                self.enqueue(cid);
                None
            }
            (Found::Missing, _) => wanted.dont_have.then(|| Message::of_presence(*cid, false)),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::block::{RAW, raw_cid};

    fn entry(data: &[u8], want: Want) -> Entry {
        Entry {
            cid: raw_cid(data),
            want,
            dont_have: true,
        }
    }

    fn lookups(server: &mut Server, peer: &PeerId) -> Vec<Lookup> {
        std::iter::from_fn(|| server.next_lookup(peer, 0)).collect()
    }

    fn say(message: Option<Message>) -> String {
        let Some(message) = message else {
            return "nothing".into();
        };
        let blocks = message
            .blocks
            .iter()
            .map(|block| format!("{:?}", block.data()));
        let presences = message.presences.iter().map(|presence| {
            if presence.have {
                "have".into()
            } else {
                "do not have".into()
            }
        });
        blocks.chain(presences).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn answers() {
        let check = |want, found, expect: &str| {
            let (mut server, peer) = (Server::default(), PeerId::random());
            server.receive(peer, &[entry(b"a", want)], false);
            assert_eq!(lookups(&mut server, &peer).len(), 1);
            assert_eq!(say(server.answer(&peer, &raw_cid(b"a"), found)), expect);
        };
        let block = || Found::Block(Block::hash(RAW, Bytes::from_static(b"a")));
        check(Want::Block, block(), "b\"a\"");
        check(Want::Have, block(), "have");
        check(Want::Have, Found::Present, "have");
        check(Want::Block, Found::Present, "nothing");
        check(Want::Block, Found::Missing, "do not have");
        check(Want::Have, Found::Missing, "do not have");
    }

    #[test]
    fn a_block_that_comes_later_is_sent_to_who_wanted_it() {
        let (mut server, peer) = (Server::default(), PeerId::random());
        server.receive(peer, &[entry(b"a", Want::Block)], false);
        lookups(&mut server, &peer);
        server.answer(&peer, &raw_cid(b"a"), Found::Missing);
        assert!(lookups(&mut server, &peer).is_empty());
        server.stored(&raw_cid(b"a"));
        assert_eq!(lookups(&mut server, &peer).len(), 1);
    }

    #[test]
    fn what_is_cancelled_is_not_sent() {
        let (mut server, peer) = (Server::default(), PeerId::random());
        server.receive(
            peer,
            &[entry(b"a", Want::Block), entry(b"b", Want::Block)],
            false,
        );
        server.receive(peer, &[entry(b"a", Want::Cancel)], false);
        let found = lookups(&mut server, &peer);
        assert_eq!(
            found.iter().map(|lookup| lookup.cid).collect::<Vec<_>>(),
            [raw_cid(b"b")]
        );
        server.receive(peer, &[entry(b"b", Want::Cancel)], false);
        let late = server.answer(
            &peer,
            &raw_cid(b"b"),
            Found::Block(Block::hash(RAW, Bytes::from_static(b"b"))),
        );
        assert_eq!(say(late), "nothing");
    }

    #[test]
    fn a_slow_peer_is_not_read_for() {
        let (mut server, peer) = (Server::default(), PeerId::random());
        let wants = (0..100u8)
            .map(|name| entry(&[name], Want::Block))
            .collect::<Vec<_>>();
        server.receive(peer, &wants, false);
        assert_eq!(server.next_lookup(&peer, OUTBOX_BYTES_HIGH), None);
        assert_eq!(lookups(&mut server, &peer).len(), LOOKUPS_PER_PEER_MAX);
    }

    #[test]
    fn a_want_list_does_not_grow_past_its_limit() {
        let (mut server, peer) = (Server::default(), PeerId::random());
        for round in 0..10u16 {
            let wants = (0..WANTS_PER_PEER_MAX as u32)
                .map(|name| {
                    entry(
                        &[&name.to_be_bytes()[..], &round.to_be_bytes()].concat(),
                        Want::Block,
                    )
                })
                .collect::<Vec<_>>();
            server.receive(peer, &wants, false);
        }
        assert_eq!(server.ledgers[&peer].wants.len(), WANTS_PER_PEER_MAX);
        assert_eq!(server.ledgers[&peer].backlog.len(), WANTS_PER_PEER_MAX);
    }

    #[test]
    fn cancelling_over_and_over_does_not_grow_the_backlog() {
        let (mut server, peer) = (Server::default(), PeerId::random());
        for _ in 0..4 * WANTS_PER_PEER_MAX {
            server.receive(
                peer,
                &[entry(b"a", Want::Block), entry(b"a", Want::Cancel)],
                false,
            );
        }
        assert!(server.ledgers[&peer].backlog.len() <= 2 * WANTS_PER_PEER_MAX);
    }
}

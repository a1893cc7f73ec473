//! What `deploy/fuzz` may see of this crate beyond its public face. Each function is a boundary at
//! which bytes of a peer or a disk come in.

use bytes::Bytes;
use cid::Cid;
use futures::executor::block_on;
use libp2p::PeerId;

use crate::PinKind;
use crate::bitswap::client::{Client, ClientEvent};
use crate::bitswap::frame;
use crate::bitswap::message::Message;
use crate::bitswap::server::{Found, Server};
use crate::block::{Block, RAW};
use crate::dag::{self, DagError, Tree};
use crate::limits::{LOOKUPS_PER_PEER_MAX, OUTBOX_BYTES_HIGH, WANTS_MAX};
use crate::store::pins;

/// The message in front of a stream, as this crate would send it, and what is left of the stream.
pub fn bitswap_frame(mut stream: &[u8]) -> Option<(Bytes, &[u8])> {
    let length = block_on(frame::read_length(&mut stream)).ok()?;
    let message = block_on(frame::read_body(&mut stream, length)).ok()?;
    Some((message.to_frame(), stream))
}

/// A message without its length, as this crate would send it.
pub fn bitswap_message(bytes: &[u8]) -> Option<Vec<u8>> {
    let message = Message::decode(&Bytes::copy_from_slice(bytes)).ok()?;
    Some(message.encode())
}

/// A file of one block, to be asked for.
pub fn raw_cid(data: &[u8]) -> Cid {
    crate::block::raw_cid(data)
}

/// A block in a node of a tree: its CID and bytes of the file below it.
pub type Link = (Cid, u64);

/// The bytes of a file below a block, and its links or its own bytes.
///
/// # Errors
/// [`DagError`].
pub fn tree(block: &[u8]) -> Result<(u64, Result<Bytes, Vec<Link>>), DagError> {
    let cid = Cid::new_v1(crate::block::DAG_PB, *raw_cid(block).hash());
    let tree = Tree::parse(&cid, Bytes::copy_from_slice(block))?;
    let bytes = tree.bytes();
    Ok(match tree {
        Tree::Leaf(data) => (bytes, Ok(data)),
        Tree::Branch { children, .. } => {
            let links = children.into_iter().map(|child| (child.cid, child.bytes));
            (bytes, Err(links.collect()))
        }
    })
}

/// A CID as it stands in messages and trees.
pub fn cid(bytes: &[u8]) -> Option<Cid> {
    dag::parse_cid(bytes)
}

/// A pin's file.
pub fn pin(cid: &Cid, record: &[u8]) -> Option<PinKind> {
    pins::decode(cid, record)
}

/// The content of a pin's file.
pub fn pin_file(cid: &Cid, kind: PinKind) -> [u8; pins::RECORD_BYTES] {
    pins::encode(cid, kind)
}

/// Both sides of an exchange with one peer that may send anything.
pub struct Exchange {
    client: Client,
    server: Server,
    peer: PeerId,
    wanted: Vec<Cid>,
}

impl Exchange {
    /// A peer is connected, and these blocks are wanted.
    pub fn new(peer: PeerId, wanted: Vec<Cid>) -> Self {
        let (mut client, server) = (Client::default(), Server::default());
        client.connected(peer);
        wanted.iter().for_each(|cid| client.want(*cid));
        Self {
            client,
            server,
            peer,
            wanted,
        }
    }

    /// Takes in a message, and checks what follows from it.
    ///
    /// # Panics
    /// When a block is taken that nobody wants or whose bytes are not those of its name, or when
    /// more is being looked up for the peer than may be.
    pub fn receive(&mut self, bytes: &[u8]) {
        let Ok(message) = Message::decode(&Bytes::copy_from_slice(bytes)) else {
            self.client.strike(self.peer);
            return self.check();
        };
        self.server
            .receive(self.peer, &message.entries, message.full);
        self.client
            .receive(self.peer, message.blocks, &message.presences);
        self.check();
        let mut lookups = Vec::new();
        while let Some(lookup) = self.server.next_lookup(&self.peer, 0) {
            lookups.push(lookup);
        }
        assert!(lookups.len() <= LOOKUPS_PER_PEER_MAX);
        assert!(
            self.server
                .next_lookup(&self.peer, OUTBOX_BYTES_HIGH)
                .is_none()
        );
        for (lookup, n) in lookups.into_iter().zip(0u8..) {
            let found = match n % 3 {
                0 => Found::Missing,
                1 => Found::Present,
                _ => Found::Block(Block::hash(RAW, Bytes::from_static(b"block"))),
            };
            if let Some(answer) = self.server.answer(&self.peer, &lookup.cid, found) {
                assert!(!answer.to_frame().is_empty());
            }
        }
    }

    /// Time goes on.
    ///
    /// # Panics
    /// As [`Exchange::receive`].
    pub fn tick(&mut self) {
        self.client.tick();
        self.check();
    }

    /// The connection is lost and made again.
    ///
    /// # Panics
    /// As [`Exchange::receive`].
    pub fn reconnect(&mut self) {
        self.client.disconnected(&self.peer);
        self.server.disconnected(&self.peer);
        self.client.connected(self.peer);
        self.check();
    }

    fn check(&mut self) {
        while let Some(event) = self.client.next_event() {
            if let ClientEvent::Block(_, block) = event {
                let at = self.wanted.iter().position(|cid| cid == block.cid());
                self.wanted.swap_remove(at.expect("a block that is wanted"));
                assert_eq!(block.cid().hash(), raw_cid(block.data()).hash());
            }
        }
        for (_, entries) in self.client.take_entries() {
            assert!(entries.len() <= 2 * WANTS_MAX);
        }
    }
}

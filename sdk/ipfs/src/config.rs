//! How a node is set up.

use std::path::PathBuf;

use libp2p::{Multiaddr, PeerId, StreamProtocol};

use crate::error::StartError;
use crate::limits;
use crate::swarm_key::SwarmKey;

/// Everything a node needs to start.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// The node's folder; created if it does not exist, and locked while the node runs.
    pub data_dir: PathBuf,
    /// Addresses to listen on, `/ip4/…/tcp/…` or `/ip6/…/tcp/…`; port 0 takes a free one.
    pub listen: Vec<Multiaddr>,
    /// Addresses under which others reach this node, where these are not the ones it listens on.
    pub announce: Vec<Multiaddr>,
    /// The key of the private swarm.
    pub swarm_key: SwarmKey,
    /// The allow-list: who may connect, in either direction. Members with addresses are dialled,
    /// and dialled again whenever their connection is lost.
    pub members: Vec<Member>,
    /// Which DHT the node is part of.
    pub dht: DhtProtocol,
    /// Whether a pin is flushed to the disk before it counts. Turning this off is for tests.
    pub fsync: bool,
    /// Bytes of the chunks that blobs are cut into, at most [`limits::CHUNK_BYTES_MAX`].
    pub chunk_bytes: usize,
    /// What one caller may make the node hold.
    pub limits: NodeLimits,
}

impl NodeConfig {
    /// A node that listens on a free port of the loopback address, with an empty allow-list.
    pub fn new(data_dir: impl Into<PathBuf>, swarm_key: SwarmKey) -> Self {
        let loopback = "/ip4/127.0.0.1/tcp/0".parse().expect("a valid address");
        Self {
            data_dir: data_dir.into(),
            listen: vec![loopback],
            announce: Vec::new(),
            swarm_key,
            members: Vec::new(),
            dht: DhtProtocol::Lan,
            fsync: true,
            chunk_bytes: limits::CHUNK_BYTES,
            limits: NodeLimits::default(),
        }
    }

    pub(crate) fn check(&self) -> Result<(), StartError> {
        let wrong = |reason: &str| Err(StartError::Config(reason.to_owned()));
        if self.members.len() > limits::MEMBERS_MAX {
            return wrong("the allow-list is too long");
        }
        if !(1..=limits::CHUNK_BYTES_MAX).contains(&self.chunk_bytes) {
            return wrong("chunks must have between 1 byte and 1 MiB");
        }
        if self.limits.window_blocks == 0 || self.limits.window_blocks > limits::WANTS_MAX {
            return wrong("a window must have between 1 and 1024 blocks");
        }
        self.dht.protocol().map(|_| ())
    }
}

/// A member of the swarm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Who it is.
    pub peer: PeerId,
    /// Where it listens; may be empty, then it is found through the DHT or dials us.
    pub addresses: Vec<Multiaddr>,
}

/// Which DHT a node is part of. Nodes that are to find one another must agree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DhtProtocol {
    /// `/ipfs/lan/kad/1.0.0`: what Kubo speaks between private addresses.
    Lan,
    /// `/ipfs/kad/1.0.0`: what Kubo speaks between public addresses.
    Wan,
    /// Another one.
    Other(String),
}

impl DhtProtocol {
    pub(crate) fn protocol(&self) -> Result<StreamProtocol, StartError> {
        match self {
            Self::Lan => Ok(StreamProtocol::new("/ipfs/lan/kad/1.0.0")),
            Self::Wan => Ok(StreamProtocol::new("/ipfs/kad/1.0.0")),
            Self::Other(name) => StreamProtocol::try_from_owned(name.clone())
                .map_err(|_| StartError::Config("a protocol begins with a slash".into())),
        }
    }
}

/// What one caller may make a node hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeLimits {
    /// Bytes of the largest blob that is written or fetched whole.
    pub blob_bytes_max: u64,
    /// Blocks that one read has in flight.
    pub window_blocks: usize,
    /// Bytes that one read has in flight, beyond the block it waits for.
    pub window_bytes: u64,
    /// Connections in both directions.
    pub connections_max: u32,
}

impl Default for NodeLimits {
    fn default() -> Self {
        Self {
            blob_bytes_max: limits::BLOB_BYTES_MAX,
            window_blocks: limits::WINDOW_BLOCKS,
            window_bytes: limits::WINDOW_BYTES,
            connections_max: limits::CONNECTIONS_MAX,
        }
    }
}

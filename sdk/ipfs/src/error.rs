//! What can go wrong, one type for each operation. `is_retryable` says whether the same call may
//! succeed later without anybody changing a file, a configuration or the call itself.

use std::io;
use std::path::PathBuf;

use cid::Cid;
use libp2p::{Multiaddr, PeerId};

use crate::block::UnsupportedCid;
use crate::dag::DagError;
use crate::kubo::KuboError;
use crate::swarm_key::SwarmKeyError;

/// The disk under a node did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The operating system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// There is no room left on the disk. What was to be written is not there.
    #[error("cannot {action} {}: the disk is full", path.display())]
    Full {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
    },
    /// A block's bytes on disk do not have its hash. It was moved to the folder of damaged blocks
    /// and counts as missing from now on.
    #[error("block {cid} is damaged on disk")]
    Damaged {
        /// The block.
        cid: Cid,
    },
    /// The block is larger than a block may be.
    #[error("a block of {bytes} bytes is larger than a block may be")]
    BlockTooLarge {
        /// Its size.
        bytes: usize,
    },
    /// Not a block that this crate handles.
    #[error(transparent)]
    Unsupported(#[from] UnsupportedCid),
    /// The daemon that keeps the blobs did not do what it was asked.
    #[error(transparent)]
    Daemon(#[from] KuboError),
}

impl StoreError {
    /// Whether trying again can help. A damaged block is fetched anew by the next try, and leases
    /// that end make room on a full disk.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Damaged { .. } | Self::Full { .. } => true,
            Self::Daemon(error) => error.is_retryable(),
            Self::Io { .. } | Self::BlockTooLarge { .. } | Self::Unsupported(_) => false,
        }
    }

    /// Whether the disk has no room left, this node's or its daemon's.
    pub fn is_full(&self) -> bool {
        matches!(
            self,
            Self::Full { .. } | Self::Daemon(KuboError::Full { .. })
        )
    }
}

/// A blob could not be written.
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    /// The caller's reader failed.
    #[error("cannot read what is to be stored: {0}")]
    Read(#[source] io::Error),
    /// The reader gave more than a blob may have.
    #[error("the blob is larger than {bytes_max} bytes")]
    TooLarge {
        /// The node's limit.
        bytes_max: u64,
    },
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] StoreError),
}

impl PutError {
    /// Whether trying again can help, with a reader that begins anew.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Disk(error) if error.is_retryable())
    }
}

impl From<KuboError> for PutError {
    fn from(error: KuboError) -> Self {
        Self::Disk(error.into())
    }
}

/// A blob could not be read or fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// No connected peer has the block, and the DHT names nobody else who does.
    #[error("block {cid} was not found")]
    NotFound {
        /// The block that is missing; the root or one below it.
        cid: Cid,
    },
    /// Time ran out while somebody might still have answered.
    #[error("time ran out waiting for block {cid}")]
    Timeout {
        /// The block that was waited for.
        cid: Cid,
    },
    /// A peer answered with bytes that are not the block, and nobody else had it.
    #[error("peer {peer} sent other bytes than block {cid}")]
    HashMismatch {
        /// The block.
        cid: Cid,
        /// Who sent the wrong bytes.
        peer: PeerId,
    },
    /// Everybody who provides the block is missing from the allow-list.
    #[error("block {cid} is provided by {peer}, which is not on the allow-list")]
    NotAllowed {
        /// The block.
        cid: Cid,
        /// One of its providers.
        peer: PeerId,
    },
    /// The blocks are genuine but do not make a file.
    #[error("block {cid}: {reason}")]
    Malformed {
        /// The block at fault.
        cid: Cid,
        /// What is wrong with it.
        reason: DagError,
    },
    /// The blob is larger than the node fetches.
    #[error("blob {cid} is larger than {bytes_max} bytes")]
    TooLarge {
        /// The root.
        cid: Cid,
        /// The node's limit.
        bytes_max: u64,
    },
    /// All blocks came, but the pin could not be set.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] StoreError),
    /// The node was shut down.
    #[error("the node is shut down")]
    Stopped,
}

impl FetchError {
    /// Whether trying again can help: a peer may come back, or get the block itself.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::NotFound { .. } | Self::Timeout { .. } | Self::HashMismatch { .. } => true,
            Self::Disk(error) => error.is_retryable(),
            Self::Pin(error) => error.is_retryable(),
            Self::NotAllowed { .. } | Self::Malformed { .. } => false,
            Self::TooLarge { .. } | Self::Stopped => false,
        }
    }
}

impl FetchError {
    /// The disk's error, if that is what it was.
    pub fn disk(&self) -> Option<&StoreError> {
        match self {
            Self::Disk(error) | Self::Pin(PinError::Disk(error)) => Some(error),
            _ => None,
        }
    }
}

impl From<KuboError> for FetchError {
    fn from(error: KuboError) -> Self {
        Self::Disk(error.into())
    }
}

impl From<UnsupportedCid> for FetchError {
    fn from(error: UnsupportedCid) -> Self {
        Self::Disk(error.into())
    }
}

/// A pin could not be set or removed.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// A block of the blob is not on this node's disk, so the pin would promise too much.
    #[error("cannot pin {root}: block {missing} is not here")]
    Incomplete {
        /// The root.
        root: Cid,
        /// The first missing block.
        missing: Cid,
    },
    /// The blocks do not make a file.
    #[error("cannot pin {root}: {reason}")]
    Malformed {
        /// The root.
        root: Cid,
        /// What is wrong.
        reason: DagError,
    },
    /// The node keeps no more pins.
    #[error("no more than {pins_max} pins")]
    Full {
        /// The limit.
        pins_max: usize,
    },
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] StoreError),
}

impl PinError {
    /// Whether trying again can help, without fetching what is missing first.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Disk(error) if error.is_retryable())
    }
}

impl From<KuboError> for PinError {
    fn from(error: KuboError) -> Self {
        Self::Disk(error.into())
    }
}

impl From<UnsupportedCid> for PinError {
    fn from(error: UnsupportedCid) -> Self {
        Self::Disk(error.into())
    }
}

/// Unpinned blocks could not be collected. Nothing was removed unless the disk failed half way.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// A tree node of a pinned blob is missing or damaged. What lies below it is unknown, so
    /// nothing may be removed before [`crate::BlobStore::fetch_and_pin`] has brought it back.
    #[error("nothing is collected while block {missing} of the pinned {root} is not here")]
    Incomplete {
        /// The pinned root.
        root: Cid,
        /// The tree node that is missing.
        missing: Cid,
    },
    /// A pinned root is no file.
    #[error("the pinned {root}: {reason}")]
    Malformed {
        /// The pinned root.
        root: Cid,
        /// What is wrong.
        reason: DagError,
    },
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] StoreError),
}

impl CollectError {
    /// Whether trying again can help, once the blob was repaired.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Incomplete { .. })
    }
}

/// The DHT could not be asked or told.
#[derive(Debug, thiserror::Error)]
pub enum DhtError {
    /// Time ran out.
    #[error("time ran out asking the DHT about {cid}")]
    Timeout {
        /// The key.
        cid: Cid,
    },
    /// This node provides as many keys as it may.
    #[error("no more than {keys_max} provided keys")]
    Full {
        /// The limit.
        keys_max: usize,
    },
    /// Not a CID that this crate handles.
    #[error(transparent)]
    Unsupported(#[from] UnsupportedCid),
    /// The daemon did not do what it was asked, or offers no way to ask it.
    #[error(transparent)]
    Daemon(#[from] KuboError),
    /// The node was shut down.
    #[error("the node is shut down")]
    Stopped,
}

impl DhtError {
    /// Whether trying again can help.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Timeout { .. } => true,
            Self::Daemon(error) => error.is_retryable(),
            Self::Full { .. } | Self::Unsupported(_) | Self::Stopped => false,
        }
    }
}

/// A peer could not be connected.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The address does not end with `/p2p/<peer id>`.
    #[error("the address {address} names no peer")]
    NoPeerId {
        /// The address.
        address: Multiaddr,
    },
    /// The peer is not on the allow-list.
    #[error("peer {peer} is not on the allow-list")]
    NotAllowed {
        /// The peer.
        peer: PeerId,
    },
    /// Nobody listens there, it is another peer, or the handshake failed: which includes a peer
    /// with another swarm key.
    #[error("cannot connect to {peer}: {reason}")]
    Failed {
        /// The peer.
        peer: PeerId,
        /// What the transport said.
        reason: String,
    },
    /// The node was shut down.
    #[error("the node is shut down")]
    Stopped,
}

impl ConnectError {
    /// Whether trying again can help.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Failed { .. })
    }
}

/// A node could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another node uses the folder.
    #[error("the folder {} is used by another node", path.display())]
    Locked {
        /// The folder.
        path: PathBuf,
    },
    /// The file with the node's identity cannot be used.
    #[error("the identity in {} cannot be used: {reason}", path.display())]
    Identity {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The swarm key cannot be used.
    #[error(transparent)]
    SwarmKey(#[from] SwarmKeyError),
    /// A listener did not come up.
    #[error("cannot listen on {address}: {reason}")]
    Listen {
        /// The configured address.
        address: Multiaddr,
        /// Why not.
        reason: String,
    },
    /// The configuration contradicts itself or a limit.
    #[error("the configuration cannot be used: {0}")]
    Config(String),
    /// The disk failed, or the daemon does not answer as one does.
    #[error(transparent)]
    Disk(#[from] StoreError),
}

impl StartError {
    /// Whether trying again can help: the other node may stop, an address may become free, the
    /// daemon may start.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Locked { .. } | Self::Listen { .. } => true,
            Self::Disk(error) => error.is_retryable(),
            Self::Identity { .. } | Self::SwarmKey(_) | Self::Config(_) => false,
        }
    }
}

impl From<KuboError> for StartError {
    fn from(error: KuboError) -> Self {
        Self::Disk(error.into())
    }
}

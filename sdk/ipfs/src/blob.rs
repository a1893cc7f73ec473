//! What a blob store promises, whoever implements it.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use cid::Cid;
use libp2p::{Multiaddr, PeerId};
use tokio::io::AsyncRead;

use crate::config::Member;
use crate::error::{CollectError, DhtError, FetchError, PinError, PutError, StoreError};
use crate::reader::BlobReader;
use crate::store::Collected;

/// Content-addressed storage of files.
///
/// A CID names the root of a file's tree of blocks; every byte that comes back through it has been
/// verified against it. Timeouts are the caller's and cover the whole of what is asked, including
/// the last byte of a reader.
#[async_trait]
pub trait BlobStore: Send + Sync {
    /// Stores everything that `reader` gives, in constant memory, and returns its CID. The same
    /// bytes give the same CID. The blob is not pinned.
    async fn put(&self, reader: &mut (dyn AsyncRead + Send + Unpin)) -> Result<Cid, PutError>;

    /// Opens a blob, fetching from other nodes what is not here. Returns once the root is known;
    /// the reader then yields the bytes in order, each block verified, in constant memory.
    async fn get(&self, cid: &Cid, timeout: Duration) -> Result<BlobReader, FetchError>;

    /// Like [`get`](Self::get) for `length` bytes from `offset` on, without fetching the blocks
    /// outside of them. A range past the end is cut to what is there.
    async fn get_range(
        &self,
        cid: &Cid,
        offset: u64,
        length: u64,
        timeout: Duration,
    ) -> Result<BlobReader, FetchError>;

    /// Pins a blob whose blocks are all here. When this returns, neither a collection nor a power
    /// failure takes them away. A pin that is there is only ever strengthened: permanent wins over
    /// leased, and of two leases the later end.
    async fn pin(&self, cid: &Cid, kind: PinKind) -> Result<(), PinError>;

    /// Brings all blocks of a blob here and pins it. Answers what had to be brought, and from whom.
    async fn fetch_and_pin(
        &self,
        cid: &Cid,
        kind: PinKind,
        timeout: Duration,
    ) -> Result<Fetched, FetchError>;

    /// Removes a pin; false if there was none. The blocks stay until they are collected.
    async fn unpin(&self, cid: &Cid) -> Result<bool, PinError>;

    /// All pins, in the order of their CIDs.
    async fn pins(&self) -> Result<Vec<Pin>, StoreError>;

    /// Announces that this node has the blob, and returns when the nodes responsible for the
    /// record have been told.
    async fn provide(&self, cid: &Cid, timeout: Duration) -> Result<(), DhtError>;

    /// The other nodes that announced to have the blob.
    async fn find_providers(&self, cid: &Cid, timeout: Duration) -> Result<Vec<PeerId>, DhtError>;

    /// Whether all blocks of the blob are on this node's disk. Their content is not read again.
    async fn has(&self, cid: &Cid) -> Result<bool, FetchError>;

    /// Sizes of a blob that is here in full; [`FetchError::NotFound`] if it is not.
    async fn stat(&self, cid: &Cid) -> Result<BlobStat, FetchError>;

    /// Bytes of the blob's blocks that are on this node's disk, as [`BlobStat::stored_bytes`]
    /// counts them: how far a fetch is. A store that cannot tell parts counts whole blobs only.
    async fn stored_bytes(&self, cid: &Cid) -> Result<u64, FetchError> {
        match self.stat(cid).await {
            Ok(stat) => Ok(stat.stored_bytes),
            Err(FetchError::NotFound { .. }) => Ok(0),
            Err(error) => Err(error),
        }
    }
}

/// A blob store with a place in the swarm, which keeps blobs for others: what a storage node is
/// made of.
#[async_trait]
pub trait PinningNode: BlobStore {
    /// Who this node is in the swarm.
    fn peer_id(&self) -> PeerId;

    /// The addresses under which it listens, each ending with `/p2p/<peer id>`.
    async fn addresses(&self) -> Vec<Multiaddr>;

    /// The peers that are connected now.
    async fn connected(&self) -> Vec<PeerId>;

    /// Lets a member in, and keeps connected with one that has addresses; false if there is no room
    /// for it.
    async fn let_in(&self, member: Member) -> bool;

    /// Shuts a peer out, as far as this node can; see [`shuts_out`](Self::shuts_out).
    async fn shut_out(&self, peer: PeerId);

    /// Whether nobody but those who were let in can connect. Where this is false, everybody who has
    /// the swarm's key can.
    fn shuts_out(&self) -> bool;

    /// How long a blob is kept; `None` if it is not pinned.
    async fn pinned(&self, cid: &Cid) -> Result<Option<PinKind>, StoreError>;

    /// Ends the leases whose time has come, in milliseconds since 1970, and returns their roots.
    async fn end_leases(&self, now_ms: u64) -> Result<Vec<Cid>, StoreError>;

    /// Removes blocks that no pin needs and that were last written before `before_ms`, as far as
    /// the store knows these times.
    async fn collect(&self, before_ms: u64) -> Result<Collected, CollectError>;

    /// Reads all blocks of a blob that are here, no faster than so many bytes in a second, and
    /// compares them with their names. Nothing is fetched from other nodes.
    async fn check(&self, cid: &Cid, bytes_per_second: u64) -> Result<Verification, FetchError>;

    /// Ends in good order.
    async fn close(&self);
}

/// What had to be brought for a blob that is here now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fetched {
    /// Blocks that were brought.
    pub blocks: u64,
    /// Bytes of these blocks.
    pub bytes: u64,
    /// How many came from which peer. A daemon does not say from whom it has what it brings, so
    /// that these are fewer than `blocks`.
    pub from: BTreeMap<PeerId, u64>,
}

impl Fetched {
    /// Adds what was brought besides.
    pub fn add(&mut self, more: &Self) {
        self.blocks += more.blocks;
        self.bytes += more.bytes;
        for (peer, blocks) in &more.from {
            *self.from.entry(*peer).or_default() += blocks;
        }
    }
}

/// What a check of a blob on this node's disk has found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verification {
    /// Blocks that are here and whole.
    pub blocks: u64,
    /// Bytes of these blocks.
    pub bytes: u64,
    /// Blocks that are not here, damaged ones included, as far as the tree above them is.
    pub missing: Vec<Cid>,
    /// Blocks that this check found damaged. They were moved away, so that
    /// [`BlobStore::fetch_and_pin`] brings them back.
    pub damaged: Vec<Cid>,
    /// Whether what should keep the blob does not: a daemon that has forgotten its pin.
    pub unpinned: bool,
}

impl Verification {
    /// Whether nothing is amiss.
    pub fn is_whole(&self) -> bool {
        self.missing.is_empty() && self.damaged.is_empty() && !self.unpinned
    }
}

/// Sizes of a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlobStat {
    /// Bytes of the blob.
    pub bytes: u64,
    /// Blocks that hold it. A block that it repeats counts once.
    pub blocks: u64,
    /// Bytes of these blocks.
    pub stored_bytes: u64,
}

/// How long a blob is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PinKind {
    /// Until a time, in milliseconds since 1970. The lease ends when the node is told that this
    /// time has come, not by a clock of its own.
    Leased {
        /// The end.
        until_ms: u64,
    },
    /// Until it is unpinned.
    Permanent,
}

impl PinKind {
    /// The kind that keeps for longer.
    pub(crate) fn stronger(self, other: Self) -> Self {
        match (self, other) {
            (Self::Leased { until_ms: one }, Self::Leased { until_ms: two }) => Self::Leased {
                until_ms: one.max(two),
            },
            _ => Self::Permanent,
        }
    }
}

/// A pinned root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pin {
    /// The root's CID.
    pub cid: Cid,
    /// How long it is kept.
    pub kind: PinKind,
}

//! What a blob store promises, whoever implements it.

use std::time::Duration;

use async_trait::async_trait;
use cid::Cid;
use libp2p::PeerId;
use tokio::io::AsyncRead;

use crate::error::{DhtError, FetchError, PinError, PutError, StoreError};
use crate::reader::BlobReader;

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

    /// Brings all blocks of a blob here and pins it.
    async fn fetch_and_pin(
        &self,
        cid: &Cid,
        kind: PinKind,
        timeout: Duration,
    ) -> Result<(), FetchError>;

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

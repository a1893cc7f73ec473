//! Whole trees, block by block, from wherever the blocks are.

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use cid::Cid;
use libp2p::PeerId;
use tokio::task::{JoinError, JoinSet, spawn_blocking};
use tokio::time::Instant;

use crate::blob::Fetched;
use crate::block;
use crate::config::NodeLimits;
use crate::dag::{DagError, Tree};
use crate::error::{FetchError, StoreError};
use crate::limits::TREE_DEPTH_MAX;
use crate::net::Network;
use crate::store::Store;

/// Where blocks come from. Cheap to clone.
#[async_trait]
pub(crate) trait Source: Clone + Send + Sync + 'static {
    /// One verified block, and whence it is.
    async fn block(
        &self,
        cid: Cid,
        root: Cid,
        deadline: Instant,
    ) -> Result<(Bytes, Origin), FetchError>;

    /// Whether a leaf is here, with the size that its parent claims, so that it need not be read.
    async fn has_leaf(&self, cid: Cid, bytes: Option<u64>) -> Result<bool, FetchError>;

    /// What one caller may have it hold.
    fn limits(&self) -> &NodeLimits;
}

/// Where a block was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// On this disk.
    Here,
    /// At another node.
    Peer(PeerId),
    /// At the daemon, which may have had it or fetched it.
    Daemon,
}

/// Gets blocks from the disk or, if they are not there, from other nodes.
#[derive(Clone)]
pub(crate) struct Fetcher {
    pub(crate) store: Arc<Store>,
    pub(crate) network: Network,
    pub(crate) limits: NodeLimits,
}

#[async_trait]
impl Source for Fetcher {
    /// What comes from another node is written to the disk before it is returned, and offered to
    /// peers that wait for it.
    async fn block(
        &self,
        cid: Cid,
        root: Cid,
        deadline: Instant,
    ) -> Result<(Bytes, Origin), FetchError> {
        if let Some(data) = self.local(cid).await? {
            return Ok((data, Origin::Here));
        }
        let (peer, data) = self.network.block(cid, root, deadline).await?;
        let (store, copy) = (self.store.clone(), data.clone());
        blocking(spawn_blocking(move || store.blocks.put(&cid, &copy)).await)??;
        self.network.stored(cid).await;
        Ok((data, Origin::Peer(peer)))
    }

    async fn has_leaf(&self, cid: Cid, bytes: Option<u64>) -> Result<bool, FetchError> {
        let store = self.store.clone();
        let here = blocking(spawn_blocking(move || store.blocks.bytes(&cid)).await)??;
        Ok(here.is_some() && (bytes.is_none() || here == bytes))
    }

    fn limits(&self) -> &NodeLimits {
        &self.limits
    }
}

impl Fetcher {
    /// The block if it is on this disk and whole. A damaged one is as good as missing: it is
    /// fetched again.
    async fn local(&self, cid: Cid) -> Result<Option<Bytes>, FetchError> {
        let store = self.store.clone();
        match blocking(spawn_blocking(move || store.blocks.get(&cid)).await)? {
            Err(StoreError::Damaged { .. }) => Ok(None),
            result => Ok(result?),
        }
    }
}

/// A block on the way of a whole tree to this node.
#[derive(Clone, Copy)]
struct Step {
    cid: Cid,
    bytes: Option<u64>,
    depth: usize,
}

/// Brings all blocks of a tree here, a window of them at a time.
pub(crate) async fn gather(
    source: &impl Source,
    root: Cid,
    deadline: Instant,
) -> Result<Fetched, FetchError> {
    let limits = source.limits();
    let mut fetched = Fetched::default();
    let mut seen = HashSet::from([root]);
    let mut pending = vec![Step {
        cid: root,
        bytes: None,
        depth: 0,
    }];
    let mut running = JoinSet::new();
    let mut bytes_in_flight = 0;
    loop {
        while running.len() < limits.window_blocks
            && (running.is_empty() || bytes_in_flight < limits.window_bytes)
            && let Some(step) = pending.pop()
        {
            bytes_in_flight += window_bytes(step.bytes);
            let source = source.clone();
            running.spawn(async move { (step, tree(&source, step, root, deadline).await) });
        }
        let Some(done) = running.join_next().await else {
            return Ok(fetched);
        };
        let (step, tree) = blocking(done)?;
        bytes_in_flight -= window_bytes(step.bytes);
        let (tree, brought) = tree?;
        note(&mut fetched, brought);
        let Tree::Branch { bytes, children } = tree else {
            continue;
        };
        check_size(limits, &root, bytes)?;
        let depth = below(&step.cid, step.depth)?;
        let fresh = children
            .into_iter()
            .rev()
            .filter(|child| seen.insert(child.cid));
        pending.extend(fresh.map(|child| Step {
            cid: child.cid,
            bytes: Some(child.bytes),
            depth,
        }));
    }
}

/// One parsed block, and what had to be brought for it; of a leaf that is here already, only its
/// presence.
async fn tree(
    source: &impl Source,
    step: Step,
    root: Cid,
    deadline: Instant,
) -> Result<(Tree, Option<(Origin, u64)>), FetchError> {
    if block::is_raw(&step.cid) && source.has_leaf(step.cid, step.bytes).await? {
        return Ok((Tree::Leaf(Bytes::new()), None));
    }
    let (data, origin) = source.block(step.cid, root, deadline).await?;
    let brought = (origin, data.len() as u64);
    Ok((parse(step.cid, data, step.bytes)?, Some(brought)))
}

fn note(fetched: &mut Fetched, brought: Option<(Origin, u64)>) {
    let Some((origin, bytes)) = brought else {
        return;
    };
    if origin == Origin::Here {
        return;
    }
    fetched.blocks += 1;
    fetched.bytes += bytes;
    if let Origin::Peer(peer) = origin {
        *fetched.from.entry(peer).or_default() += 1;
    }
}

fn check_size(limits: &NodeLimits, root: &Cid, bytes: u64) -> Result<(), FetchError> {
    let bytes_max = limits.blob_bytes_max;
    if bytes > bytes_max {
        return Err(FetchError::TooLarge {
            cid: *root,
            bytes_max,
        });
    }
    Ok(())
}

/// Parses a block and checks the size that its parent claimed.
pub(crate) fn parse(cid: Cid, data: Bytes, claimed: Option<u64>) -> Result<Tree, FetchError> {
    let tree = Tree::parse(&cid, data);
    tree.and_then(|tree| tree.check(claimed).map(|()| tree))
        .map_err(|reason| FetchError::Malformed { cid, reason })
}

/// The depth of a node's children.
pub(crate) fn below(cid: &Cid, depth: usize) -> Result<usize, FetchError> {
    if depth < TREE_DEPTH_MAX {
        Ok(depth + 1)
    } else {
        let reason = DagError::TooLarge("depth of the tree");
        Err(FetchError::Malformed { cid: *cid, reason })
    }
}

/// Bytes that a block may take in memory: its claimed size, but no more than a block can have.
/// `None` is a root, about which nothing is claimed.
pub(crate) fn window_bytes(claimed: Option<u64>) -> u64 {
    let most = crate::limits::BLOCK_BYTES_MAX as u64;
    claimed.map_or(most, |bytes| bytes.min(most))
}

/// A background task ends early only when the runtime itself is going down.
pub(crate) fn blocking<T>(result: Result<T, JoinError>) -> Result<T, FetchError> {
    result.map_err(|_| FetchError::Stopped)
}

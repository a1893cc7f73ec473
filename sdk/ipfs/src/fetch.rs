//! Blocks from the disk or, if they are not there, from other nodes.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use cid::Cid;
use tokio::task::{JoinError, JoinSet, spawn_blocking};
use tokio::time::Instant;

use crate::block;
use crate::config::NodeLimits;
use crate::dag::{DagError, Tree};
use crate::error::{FetchError, StoreError};
use crate::limits::TREE_DEPTH_MAX;
use crate::net::Network;
use crate::store::Store;

/// Gets blocks from wherever they are. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Fetcher {
    pub(crate) store: Arc<Store>,
    pub(crate) network: Network,
    pub(crate) limits: NodeLimits,
}

/// A block on the way of a whole tree to this node.
struct Step {
    cid: Cid,
    bytes: Option<u64>,
    depth: usize,
}

impl Fetcher {
    /// One verified block. What comes from another node is written to the disk before it is
    /// returned, and offered to peers that wait for it.
    pub(crate) async fn block(
        &self,
        cid: Cid,
        root: Cid,
        deadline: Instant,
    ) -> Result<Bytes, FetchError> {
        if let Some(data) = self.local(cid).await? {
            return Ok(data);
        }
        let data = self.network.block(cid, root, deadline).await?;
        let (store, copy) = (self.store.clone(), data.clone());
        blocking(spawn_blocking(move || store.blocks.put(&cid, &copy)).await)??;
        self.network.stored(cid).await;
        Ok(data)
    }

    /// The block if it is on this disk and whole. A damaged one is as good as missing: it is
    /// fetched again.
    async fn local(&self, cid: Cid) -> Result<Option<Bytes>, FetchError> {
        let store = self.store.clone();
        match blocking(spawn_blocking(move || store.blocks.get(&cid)).await)? {
            Err(StoreError::Damaged { .. }) => Ok(None),
            result => Ok(result?),
        }
    }

    /// Brings all blocks of a tree here, a window of them at a time.
    pub(crate) async fn gather(&self, root: Cid, deadline: Instant) -> Result<(), FetchError> {
        let mut seen = HashSet::from([root]);
        let mut pending = vec![Step {
            cid: root,
            bytes: None,
            depth: 0,
        }];
        let mut running = JoinSet::new();
        let mut bytes_in_flight = 0;
        loop {
            while running.len() < self.limits.window_blocks
                && (running.is_empty() || bytes_in_flight < self.limits.window_bytes)
                && let Some(step) = pending.pop()
            {
                bytes_in_flight += expected(&step);
                let fetcher = self.clone();
                running.spawn(async move {
                    let tree = fetcher.tree(&step, root, deadline).await;
                    (step, tree)
                });
            }
            let Some(done) = running.join_next().await else {
                return Ok(());
            };
            let (step, tree) = blocking(done)?;
            bytes_in_flight -= expected(&step);
            let Tree::Branch { bytes, children } = tree? else {
                continue;
            };
            self.check_size(&root, bytes)?;
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

    /// One parsed block; of a leaf that is here already, only its presence.
    async fn tree(&self, step: &Step, root: Cid, deadline: Instant) -> Result<Tree, FetchError> {
        let cid = step.cid;
        if block::is_raw(&cid) {
            let store = self.store.clone();
            let here = blocking(spawn_blocking(move || store.blocks.bytes(&cid)).await)??;
            if here.is_some() && (step.bytes.is_none() || here == step.bytes) {
                return Ok(Tree::Leaf(Bytes::new()));
            }
        }
        parse(cid, self.block(cid, root, deadline).await?, step.bytes)
    }

    fn check_size(&self, root: &Cid, bytes: u64) -> Result<(), FetchError> {
        let bytes_max = self.limits.blob_bytes_max;
        if bytes > bytes_max {
            return Err(FetchError::TooLarge {
                cid: *root,
                bytes_max,
            });
        }
        Ok(())
    }
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
fn expected(step: &Step) -> u64 {
    window_bytes(step.bytes)
}

/// See [`expected`]; `None` is a root, about which nothing is claimed.
pub(crate) fn window_bytes(claimed: Option<u64>) -> u64 {
    let most = crate::limits::BLOCK_BYTES_MAX as u64;
    claimed.map_or(most, |bytes| bytes.min(most))
}

/// A background task ends early only when the runtime itself is going down.
pub(crate) fn blocking<T>(result: Result<T, JoinError>) -> Result<T, FetchError> {
    result.map_err(|_| FetchError::Stopped)
}

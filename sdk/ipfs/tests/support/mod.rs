//! Nodes on the loopback address, and waiting for what they do.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::future::Future;
use std::path::Path;
use std::time::Duration;

use stela_ipfs::{BlobStore, Cid, FetchError, Member, Node, NodeConfig, SwarmKey};
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::time::{interval, timeout};

/// How long a test waits for what must happen. Nothing is asserted about how long it takes.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// A node and its folder.
pub(crate) struct Local {
    pub(crate) node: Node,
    pub(crate) folder: TempDir,
}

impl Local {
    pub(crate) async fn start(key: &SwarmKey) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let node = start_in(folder.path(), key).await;
        Self { node, folder }
    }

    /// How another node is to know this one.
    pub(crate) fn member(&self) -> Member {
        Member {
            peer: self.node.peer_id(),
            addresses: self.node.listen_addresses(),
        }
    }

    /// The same, without saying where it listens.
    pub(crate) fn name(&self) -> Member {
        Member {
            peer: self.node.peer_id(),
            addresses: Vec::new(),
        }
    }
}

pub(crate) async fn start_in(folder: &Path, key: &SwarmKey) -> Node {
    Node::start(NodeConfig::new(folder, key.clone()))
        .await
        .expect("a node")
}

/// Puts each node on the other's allow-list and waits until they are connected.
pub(crate) async fn join(one: &Local, two: &Local) {
    two.node.allow(one.name()).await;
    one.node.allow(two.member()).await;
    wait("a connection", async || {
        one.node.peers().contains(&two.node.peer_id())
            && two.node.peers().contains(&one.node.peer_id())
    })
    .await;
}

/// Waits until `condition` holds.
pub(crate) async fn wait<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
    let mut ticks = interval(Duration::from_millis(20));
    let waiting = async {
        while !condition().await {
            ticks.tick().await;
        }
    };
    timeout(DEADLINE, waiting)
        .await
        .unwrap_or_else(|_| panic!("no {what} within {DEADLINE:?}"));
}

/// Reads a whole blob.
pub(crate) async fn read(node: &Node, cid: &Cid, limit: Duration) -> Result<Vec<u8>, FetchError> {
    let mut reader = node.get(cid, limit).await?;
    let mut data = Vec::new();
    while let Some(chunk) = reader.chunk().await? {
        data.extend_from_slice(&chunk);
    }
    assert_eq!(data.len() as u64, reader.bytes());
    Ok(data)
}

/// Reads a part of a blob through [`tokio::io::AsyncRead`].
pub(crate) async fn read_range(node: &Node, cid: &Cid, offset: u64, length: u64) -> Vec<u8> {
    let mut reader = node
        .get_range(cid, offset, length, DEADLINE)
        .await
        .expect("a reader");
    let mut data = Vec::new();
    reader.read_to_end(&mut data).await.expect("the bytes");
    data
}

/// Bytes that do not repeat.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut data = Vec::with_capacity(length + 8);
    while data.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        data.extend_from_slice(&state.to_le_bytes());
    }
    data.truncate(length);
    data
}

/// The files of a node's blocks.
pub(crate) fn block_files(folder: &Path) -> Vec<std::path::PathBuf> {
    let list = |path: &Path| -> Vec<_> {
        let entries = std::fs::read_dir(path).expect("a folder");
        entries
            .map(|entry| entry.expect("an entry").path())
            .collect()
    };
    list(&folder.join("blocks"))
        .iter()
        .flat_map(|shard| list(shard))
        .collect()
}

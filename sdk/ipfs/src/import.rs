//! Cutting a stream of bytes into blocks: balanced UnixFS trees over raw leaves, CID version 1,
//! as `ipfs add --cid-version=1 --raw-leaves --chunker=size-…` makes them.

use std::io;
use std::sync::Arc;

use cid::{Cid, Version};
use rust_unixfs::file::adder::{BalancedCollector, Chunker, FileAdder};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::task::{JoinHandle, spawn_blocking};

use crate::error::{PutError, StoreError};
use crate::limits::LINKS_PER_NODE;
use crate::net::Network;
use crate::store::Store;

type Blocks = Vec<(Cid, Vec<u8>)>;

/// Writes blobs into a store.
pub(crate) struct Importer {
    pub(crate) store: Arc<Store>,
    pub(crate) network: Network,
    pub(crate) chunk_bytes: usize,
    pub(crate) blob_bytes_max: u64,
}

impl Importer {
    /// Stores everything that `reader` gives and returns the root. At most two chunks and the links
    /// of one path through the tree are in memory: one chunk is written while the next is read.
    pub(crate) async fn import(
        &self,
        reader: &mut (dyn AsyncRead + Send + Unpin),
    ) -> Result<Cid, PutError> {
        let mut adder = adder(self.chunk_bytes);
        let mut bytes = 0u64;
        let mut root = None;
        let mut writing = None;
        loop {
            let chunk = read_chunk(reader, self.chunk_bytes)
                .await
                .map_err(PutError::Read)?;
            if chunk.is_empty() {
                break;
            }
            bytes += chunk.len() as u64;
            if bytes > self.blob_bytes_max {
                return Err(PutError::TooLarge {
                    bytes_max: self.blob_bytes_max,
                });
            }
            let blocks = push(&mut adder, &chunk);
            root = self.written(writing.take()).await?.or(root);
            writing = Some(self.write(blocks));
        }
        root = self.written(writing.take()).await?.or(root);
        let last = self.write(adder.finish().collect());
        let root = self.written(Some(last)).await?.or(root);
        Ok(root.expect("even an empty file has a block"))
    }

    /// Begins to write blocks.
    fn write(&self, blocks: Blocks) -> Writing {
        let store = self.store.clone();
        let cids = blocks.iter().map(|(cid, _)| *cid).collect();
        let task = spawn_blocking(move || {
            blocks
                .iter()
                .try_for_each(|(cid, data)| store.blocks.put(cid, data))
        });
        Writing { cids, task }
    }

    /// Waits until blocks are written and returns the last one's name: a tree's root is written last.
    async fn written(&self, writing: Option<Writing>) -> Result<Option<Cid>, PutError> {
        let Some(Writing { cids, task }) = writing else {
            return Ok(None);
        };
        task.await
            .map_err(|error| PutError::Read(io::Error::other(error)))??;
        for cid in &cids {
            self.network.stored(*cid).await;
        }
        Ok(cids.last().copied())
    }
}

/// Blocks that are being written.
struct Writing {
    cids: Vec<Cid>,
    task: JoinHandle<Result<(), StoreError>>,
}

/// Finds out the name of a file that somebody else stores.
pub(crate) struct Namer {
    adder: FileAdder,
    root: Option<Cid>,
}

impl Namer {
    pub(crate) fn new(chunk_bytes: usize) -> Self {
        Self {
            adder: adder(chunk_bytes),
            root: None,
        }
    }

    pub(crate) fn push(&mut self, chunk: &[u8]) {
        let blocks = push(&mut self.adder, chunk);
        self.root = blocks.last().map(|(cid, _)| *cid).or(self.root);
    }

    pub(crate) fn finish(self) -> Cid {
        let last = self.adder.finish().last().map(|(cid, _)| cid);
        last.or(self.root).expect("even an empty file has a block")
    }
}

fn adder(chunk_bytes: usize) -> FileAdder {
    FileAdder::builder()
        .with_chunker(Chunker::Size(chunk_bytes))
        .with_collector(BalancedCollector::with_branching_factor(LINKS_PER_NODE))
        .with_cid_version(Version::V1)
        .with_raw_leaves(true)
        .build()
}

fn push(adder: &mut FileAdder, mut chunk: &[u8]) -> Blocks {
    let mut blocks = Blocks::new();
    while !chunk.is_empty() {
        let (made, taken) = adder.push(chunk);
        blocks.extend(made);
        chunk = &chunk[taken..];
    }
    blocks
}

/// Reads until the chunk is full or the input ends.
pub(crate) async fn read_chunk(
    reader: &mut (dyn AsyncRead + Send + Unpin),
    chunk_bytes: usize,
) -> io::Result<Vec<u8>> {
    let mut chunk = Vec::with_capacity(chunk_bytes);
    reader
        .take(chunk_bytes as u64)
        .read_to_end(&mut chunk)
        .await?;
    Ok(chunk)
}

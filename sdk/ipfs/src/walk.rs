//! Reading a file in order while the blocks ahead are already on their way.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use cid::Cid;
use futures::stream::{StreamExt, try_unfold};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::dag::{Child, Tree};
use crate::error::FetchError;
use crate::fetch::{Source, below, blocking, parse, window_bytes};
use crate::reader::BlobReader;

/// Opens a range of a blob. The timeout covers everything until the last byte was read.
pub(crate) async fn open<S: Source>(
    source: S,
    root: Cid,
    range: Range<u64>,
    limit: Duration,
) -> Result<BlobReader, FetchError> {
    let deadline = Instant::now() + limit;
    let tree = parse(root, source.block(root, root, deadline).await?.0, None)?;
    let range = range.start.min(tree.bytes())..range.end.min(tree.bytes());
    let bytes = range.end - range.start;
    let mut walk = Walk {
        source,
        root,
        range,
        deadline,
        queue: VecDeque::new(),
        started: 0,
        bytes_in_flight: 0,
        ready: None,
    };
    walk.ready = walk.take(root, 0, 0, tree)?;
    let chunks = try_unfold(walk, |mut walk| async move {
        Ok(walk.next().await?.map(|chunk| (chunk, walk)))
    });
    Ok(BlobReader::new(bytes, chunks.boxed()))
}

struct Walk<S> {
    source: S,
    root: Cid,
    /// The bytes of the file that are wanted.
    range: Range<u64>,
    deadline: Instant,
    /// The blocks to come, in the order of the file.
    queue: VecDeque<Slot>,
    started: usize,
    bytes_in_flight: u64,
    ready: Option<Bytes>,
}

struct Slot {
    child: Child,
    /// Where the child begins in the file.
    offset: u64,
    depth: usize,
    fetching: Option<AbortOnDropHandle<Result<Bytes, FetchError>>>,
}

impl<S: Source> Walk<S> {
    /// The next bytes of the file.
    async fn next(&mut self) -> Result<Option<Bytes>, FetchError> {
        while self.ready.is_none() {
            self.fill();
            let Some(slot) = self.queue.pop_front() else {
                return Ok(None);
            };
            let Slot {
                child,
                offset,
                depth,
                fetching,
            } = slot;
            let cid = child.cid;
            let fetching = fetching.expect("the first slot has been started");
            let data = blocking(fetching.await)??;
            self.started -= 1;
            self.bytes_in_flight -= window_bytes(Some(child.bytes));
            let tree = parse(cid, data, Some(child.bytes))?;
            self.ready = self.take(cid, offset, depth, tree)?;
        }
        Ok(self.ready.take())
    }

    /// Starts blocks from the front of the queue until the window is full.
    fn fill(&mut self) {
        let limits = self.source.limits();
        for (position, slot) in self.queue.iter_mut().take(limits.window_blocks).enumerate() {
            let full =
                self.started >= limits.window_blocks || self.bytes_in_flight >= limits.window_bytes;
            if slot.fetching.is_some() {
                continue;
            }
            if full && position > 0 {
                break;
            }
            let (source, cid) = (self.source.clone(), slot.child.cid);
            let (root, deadline) = (self.root, self.deadline);
            let block = async move { Ok(source.block(cid, root, deadline).await?.0) };
            let task = tokio::spawn(block);
            slot.fetching = Some(AbortOnDropHandle::new(task));
            self.started += 1;
            self.bytes_in_flight += window_bytes(Some(slot.child.bytes));
        }
    }

    /// Takes in a parsed block: returns what is wanted of a leaf, queues what is wanted below a
    /// branch.
    fn take(
        &mut self,
        cid: Cid,
        offset: u64,
        depth: usize,
        tree: Tree,
    ) -> Result<Option<Bytes>, FetchError> {
        match tree {
            Tree::Leaf(data) => Ok(cut(data, offset, &self.range)),
            Tree::Branch { children, bytes } => {
                let depth = below(&cid, depth)?;
                let mut end = offset + bytes;
                for child in children.into_iter().rev() {
                    end -= child.bytes;
                    let (offset, wanted) = (end, &self.range);
                    if offset < wanted.end && offset + child.bytes > wanted.start {
                        self.queue.push_front(Slot {
                            child,
                            offset,
                            depth,
                            fetching: None,
                        });
                    }
                }
                Ok(None)
            }
        }
    }
}

/// The part of a leaf that lies in the wanted range; `None` if there is none.
fn cut(data: Bytes, offset: u64, wanted: &Range<u64>) -> Option<Bytes> {
    let length = data.len() as u64;
    let start = wanted.start.saturating_sub(offset).min(length) as usize;
    let end = wanted.end.saturating_sub(offset).min(length) as usize;
    (start < end).then(|| data.slice(start..end))
}

//! A walk over the blocks of a file, to see which of them are here.

use std::collections::HashSet;

use bytes::Bytes;
use cid::Cid;

use super::BlockStore;
use crate::blob::Verification;
use crate::block::{self, Digest};
use crate::dag::{DagError, Tree};
use crate::error::{FetchError, StoreError};
use crate::limits::TREE_DEPTH_MAX;

/// How closely the leaves of a file are looked at. The tree nodes above them are always read, and
/// their hashes verified, because they name the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// A leaf counts as here if its file is.
    Presence,
    /// A leaf's bytes are read and hashed.
    Content,
}

/// What is here of a file. Each block is counted once, however often the file repeats it.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    /// Size of the file, if its root is here.
    pub(crate) bytes: u64,
    /// Size of the blocks on disk.
    pub(crate) stored_bytes: u64,
    /// The blocks that are here.
    pub(crate) blocks: Vec<Cid>,
    /// The blocks that are not, as far as the tree above them is.
    pub(crate) missing: Vec<Cid>,
    /// Those among the missing that this very walk found damaged.
    pub(crate) damaged: Vec<Cid>,
}

impl Survey {
    /// The digests of all blocks that the file needs, here or not.
    pub(super) fn digests(&self) -> impl Iterator<Item = Digest> {
        self.blocks
            .iter()
            .chain(&self.missing)
            .filter_map(|cid| Digest::of_cid(cid).ok())
    }
}

impl From<Survey> for Verification {
    fn from(survey: Survey) -> Self {
        Self {
            blocks: survey.blocks.len() as u64,
            bytes: survey.stored_bytes,
            missing: survey.missing,
            damaged: survey.damaged,
            unpinned: false,
        }
    }
}

/// Why a walk ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SurveyError {
    #[error(transparent)]
    Disk(#[from] StoreError),
    #[error("block {cid}: {reason}")]
    Malformed { cid: Cid, reason: DagError },
}

impl From<SurveyError> for FetchError {
    fn from(error: SurveyError) -> Self {
        match error {
            SurveyError::Disk(error) => Self::Disk(error),
            SurveyError::Malformed { cid, reason } => Self::Malformed { cid, reason },
        }
    }
}

/// A block to be looked at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    pub(crate) cid: Cid,
    /// What its parent says it has of the file.
    bytes: Option<u64>,
    depth: usize,
}

/// What was found where a block should be.
#[derive(Debug, Clone)]
pub(crate) enum Look {
    /// Its bytes, whose hash has been verified.
    Content(Bytes),
    /// A leaf of this size, whose bytes were not looked at.
    Present(u64),
    /// Nothing.
    Missing,
    /// Bytes with another hash.
    Damaged,
}

impl Step {
    /// Whether it is enough to know that the block is here.
    pub(crate) fn by_presence(&self, depth: Depth) -> bool {
        depth == Depth::Presence && block::is_raw(&self.cid)
    }
}

/// A walk under way: it says which blocks to look at, and is told what was found. Pure.
pub(crate) struct Walk {
    survey: Survey,
    seen: HashSet<Cid>,
    pending: Vec<Step>,
}

impl Walk {
    pub(crate) fn new(root: &Cid) -> Self {
        let root = Step {
            cid: *root,
            bytes: None,
            depth: 0,
        };
        Self {
            survey: Survey::default(),
            seen: HashSet::new(),
            pending: vec![root],
        }
    }

    /// The next block to look at. There may be more after what was found at those given out.
    pub(crate) fn next(&mut self) -> Option<Step> {
        loop {
            let step = self.pending.pop()?;
            if self.seen.insert(step.cid) {
                return Some(step);
            }
        }
    }

    pub(crate) fn found(&mut self, step: &Step, look: Look) -> Result<(), SurveyError> {
        match look {
            Look::Content(data) => {
                self.descend(step, data)
                    .map_err(|reason| SurveyError::Malformed {
                        cid: step.cid,
                        reason,
                    })?;
            }
            Look::Present(bytes) if step.bytes.is_none_or(|claimed| claimed == bytes) => {
                self.note(step, bytes, bytes);
            }
            // A leaf of another size is not the leaf, so that it counts as missing.
            Look::Present(_) | Look::Missing => self.survey.missing.push(step.cid),
            Look::Damaged => {
                self.survey.damaged.push(step.cid);
                self.survey.missing.push(step.cid);
            }
        }
        Ok(())
    }

    pub(crate) fn finish(self) -> Survey {
        self.survey
    }

    fn descend(&mut self, step: &Step, data: Bytes) -> Result<(), DagError> {
        let stored_bytes = data.len() as u64;
        let tree = Tree::parse(&step.cid, data)?;
        tree.check(step.bytes)?;
        self.note(step, tree.bytes(), stored_bytes);
        let Tree::Branch { children, .. } = tree else {
            return Ok(());
        };
        if step.depth == TREE_DEPTH_MAX {
            return Err(DagError::TooLarge("depth of the tree"));
        }
        let depth = step.depth + 1;
        let steps = children.into_iter().map(|child| Step {
            cid: child.cid,
            bytes: Some(child.bytes),
            depth,
        });
        self.pending.extend(steps);
        Ok(())
    }

    fn note(&mut self, step: &Step, bytes: u64, stored_bytes: u64) {
        if step.depth == 0 {
            self.survey.bytes = bytes;
        }
        self.survey.stored_bytes += stored_bytes;
        self.survey.blocks.push(step.cid);
    }
}

pub(super) fn survey(blocks: &BlockStore, root: &Cid, depth: Depth) -> Result<Survey, SurveyError> {
    let mut walk = Walk::new(root);
    while let Some(step) = walk.next() {
        let found = look(blocks, &step, depth)?;
        walk.found(&step, found)?;
    }
    Ok(walk.finish())
}

/// Looks at one block on this disk.
pub(super) fn look(blocks: &BlockStore, step: &Step, depth: Depth) -> Result<Look, StoreError> {
    if step.by_presence(depth) {
        let bytes = blocks.bytes(&step.cid)?;
        return Ok(bytes.map_or(Look::Missing, Look::Present));
    }
    match blocks.get(&step.cid) {
        Err(StoreError::Damaged { .. }) => Ok(Look::Damaged),
        result => Ok(result?.map_or(Look::Missing, Look::Content)),
    }
}

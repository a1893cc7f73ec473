//! A walk over the blocks of a file that are on this disk.

use std::collections::HashSet;

use bytes::Bytes;
use cid::Cid;

use super::BlockStore;
use crate::block::{self, Digest};
use crate::dag::{DagError, Tree};
use crate::error::StoreError;
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

/// Why a walk ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SurveyError {
    #[error(transparent)]
    Disk(#[from] StoreError),
    #[error("block {cid}: {reason}")]
    Malformed { cid: Cid, reason: DagError },
}

struct Step {
    cid: Cid,
    bytes: Option<u64>,
    depth: usize,
}

pub(super) fn survey(blocks: &BlockStore, root: &Cid, depth: Depth) -> Result<Survey, SurveyError> {
    let mut survey = Survey::default();
    let mut seen = HashSet::new();
    let mut pending = vec![Step {
        cid: *root,
        bytes: None,
        depth: 0,
    }];
    while let Some(step) = pending.pop() {
        if !seen.insert(step.cid) {
            continue;
        }
        if block::is_raw(&step.cid) && depth == Depth::Presence {
            note_presence(blocks, &mut survey, &step)?;
        } else if let Some(data) = read(blocks, &mut survey, &step.cid)? {
            descend(&mut survey, &mut pending, &step, data).map_err(|reason| {
                SurveyError::Malformed {
                    cid: step.cid,
                    reason,
                }
            })?;
        }
    }
    Ok(survey)
}

fn note_presence(blocks: &BlockStore, survey: &mut Survey, step: &Step) -> Result<(), StoreError> {
    match blocks.bytes(&step.cid)? {
        Some(bytes) => note(survey, step, bytes, bytes),
        None => survey.missing.push(step.cid),
    }
    Ok(())
}

fn read(blocks: &BlockStore, survey: &mut Survey, cid: &Cid) -> Result<Option<Bytes>, StoreError> {
    let data = match blocks.get(cid) {
        Err(StoreError::Damaged { .. }) => {
            survey.damaged.push(*cid);
            None
        }
        result => result?,
    };
    if data.is_none() {
        survey.missing.push(*cid);
    }
    Ok(data)
}

fn descend(
    survey: &mut Survey,
    pending: &mut Vec<Step>,
    step: &Step,
    data: Bytes,
) -> Result<(), DagError> {
    let stored_bytes = data.len() as u64;
    let tree = Tree::parse(&step.cid, data)?;
    tree.check(step.bytes)?;
    note(survey, step, tree.bytes(), stored_bytes);
    let Tree::Branch { children, .. } = tree else {
        return Ok(());
    };
    if step.depth == TREE_DEPTH_MAX {
        return Err(DagError::TooLarge("depth of the tree"));
    }
    let depth = step.depth + 1;
    pending.extend(children.into_iter().map(|child| Step {
        cid: child.cid,
        bytes: Some(child.bytes),
        depth,
    }));
    Ok(())
}

fn note(survey: &mut Survey, step: &Step, bytes: u64, stored_bytes: u64) {
    if step.depth == 0 {
        survey.bytes = bytes;
    }
    survey.stored_bytes += stored_bytes;
    survey.blocks.push(step.cid);
}

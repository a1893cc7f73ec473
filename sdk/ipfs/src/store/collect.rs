//! Removal of the blocks that no pin needs.

use std::collections::HashSet;
use std::time::SystemTime;

use super::BlockStore;
use crate::block::Digest;
use crate::error::StoreError;

/// What a collection removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Collected {
    /// Blocks removed.
    pub blocks: u64,
    /// Bytes that these blocks had.
    pub bytes: u64,
}

/// Removes every block that is not in `keep` and was last written before `before`; `None` lets no
/// block count as too recent.
pub(super) fn collect(
    blocks: &BlockStore,
    keep: &HashSet<Digest>,
    before: Option<SystemTime>,
) -> Result<Collected, StoreError> {
    let mut collected = Collected::default();
    blocks.for_each(|digest| {
        if keep.contains(&digest) {
            return Ok(());
        }
        if let Some(bytes) = blocks.remove_if_older(&digest, before)? {
            collected.blocks += 1;
            collected.bytes += bytes;
        }
        Ok(())
    })?;
    forget_damage(blocks, keep)?;
    Ok(collected)
}

fn forget_damage(blocks: &BlockStore, keep: &HashSet<Digest>) -> Result<(), StoreError> {
    for cid in blocks.damaged()? {
        let digest = Digest::of_cid(&cid)?;
        if !keep.contains(&digest) {
            blocks.forget_damage(&digest)?;
        }
    }
    Ok(())
}

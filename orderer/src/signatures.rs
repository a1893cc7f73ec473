//! The orderers' signatures of block headers, until they are written.

use std::collections::BTreeMap;

use stela_protocol::limits::SIGNATURE_BYTES;
use stela_protocol::{BlockNumber, Hash32};
use stela_store::{StoreError, WriteBatch};

use crate::blocks::Blocks;
use crate::layout::{SIGNATURES, Signature, encode_signatures, key};
use crate::limits::EARLY_SIGNATURE_BLOCKS_MAX;

/// Signatures of committed blocks that are not written yet, and of blocks that are not committed
/// here yet. All of them were verified before they came here.
pub(crate) struct Signatures {
    blocks: Blocks,
    unwritten: BTreeMap<BlockNumber, Vec<Signature>>,
    early: BTreeMap<BlockNumber, BTreeMap<u64, Early>>,
}

/// The newest signature of an orderer for a number: one of a block that was lost is replaced by
/// that of the block which came in its place.
struct Early {
    hash: Hash32,
    signature: [u8; SIGNATURE_BYTES],
}

impl Signatures {
    pub(crate) fn new(blocks: Blocks) -> Self {
        Self {
            blocks,
            unwritten: BTreeMap::new(),
            early: BTreeMap::new(),
        }
    }

    /// The signatures of a committed block, ascending by orderer.
    pub(crate) fn of(&self, number: BlockNumber) -> Result<Vec<Signature>, StoreError> {
        match self.unwritten.get(&number) {
            Some(signatures) => Ok(signatures.clone()),
            None => self.blocks.signatures(number),
        }
    }

    /// Adds a signature of a committed block, unless that orderer's is there.
    pub(crate) fn add(&mut self, number: BlockNumber, new: Signature) -> Result<(), StoreError> {
        let mut signatures = self.of(number)?;
        if let Err(place) = signatures.binary_search_by_key(&new.0, |(orderer, _)| *orderer) {
            signatures.insert(place, new);
            self.unwritten.insert(number, signatures);
        }
        Ok(())
    }

    /// Whether there is room for signatures of block `number`, which is not committed here, when
    /// the newest one is `head`.
    pub(crate) fn has_room(head: BlockNumber, number: BlockNumber) -> bool {
        number.0 > head.0 && number.0 - head.0 <= EARLY_SIGNATURE_BLOCKS_MAX
    }

    /// Keeps a signature of a block that is not committed here.
    pub(crate) fn add_early(&mut self, number: BlockNumber, hash: Hash32, new: Signature) {
        let (orderer, signature) = new;
        self.early
            .entry(number)
            .or_default()
            .insert(orderer, Early { hash, signature });
    }

    /// Whether this signature is kept already.
    pub(crate) fn has_early(&self, number: BlockNumber, hash: &Hash32, orderer: u64) -> bool {
        let found = self
            .early
            .get(&number)
            .and_then(|signatures| signatures.get(&orderer));
        found.is_some_and(|early| early.hash == *hash)
    }

    /// Forgets the signatures of blocks that are not committed.
    pub(crate) fn forget_early(&mut self) {
        self.early.clear();
    }

    /// Block `number` with this hash is committed now: its signatures count.
    pub(crate) fn commit(&mut self, number: BlockNumber, hash: &Hash32) -> Result<(), StoreError> {
        for (orderer, early) in self.early.remove(&number).unwrap_or_default() {
            if early.hash == *hash {
                self.add(number, (orderer, early.signature))?;
            }
        }
        Ok(())
    }

    /// Moves what is not written into `batch`.
    pub(crate) fn stage(&mut self, batch: &mut WriteBatch) {
        for (number, signatures) in std::mem::take(&mut self.unwritten) {
            batch.put(SIGNATURES, key(number.0), encode_signatures(&signatures));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::FAMILIES;
    use std::sync::Arc;
    use stela_store::{Durability, Kv, MemoryKv};

    #[test]
    fn only_signatures_of_the_committed_header_count() {
        let kv = Arc::new(MemoryKv::new(FAMILIES));
        let mut signatures = Signatures::new(Blocks::new(kv.clone()));
        let (number, kept, lost) = (BlockNumber(3), Hash32([1; 32]), Hash32([2; 32]));
        signatures.add_early(number, lost, (1, [1; 64]));
        signatures.add_early(number, lost, (2, [2; 64]));
        signatures.add_early(number, kept, (1, [3; 64]));
        assert!(signatures.has_early(number, &kept, 1) && !signatures.has_early(number, &kept, 2));
        signatures.commit(number, &kept).unwrap();
        signatures.add(number, (3, [4; 64])).unwrap();
        signatures.add(number, (3, [9; 64])).unwrap();
        let expect = vec![(1, [3; 64]), (3, [4; 64])];
        assert_eq!(signatures.of(number), Ok(expect.clone()));

        let mut batch = WriteBatch::new();
        signatures.stage(&mut batch);
        kv.write(batch, Durability::Synced).unwrap();
        assert_eq!(signatures.of(number), Ok(expect));
        assert_eq!(signatures.of(BlockNumber(4)), Ok(vec![]));
    }

    #[test]
    fn early_signatures_are_bounded() {
        let check = |number, room| {
            assert_eq!(
                Signatures::has_room(BlockNumber(5), BlockNumber(number)),
                room,
                "{number}"
            );
        };
        check(4, false);
        check(5, false);
        check(6, true);
        check(5 + EARLY_SIGNATURE_BLOCKS_MAX, true);
        check(6 + EARLY_SIGNATURE_BLOCKS_MAX, false);
        check(u64::MAX, false);
    }
}

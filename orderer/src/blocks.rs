//! Committed blocks and what goes with them, read from a channel's database.

use std::sync::Arc;

use bytes::Bytes;
use stela_protocol::block::Block;
use stela_protocol::{BlockNumber, Fingerprint, Message, pb};
use stela_store::{KvRead, StoreError};

use crate::codec;
use crate::layout::{
    self, BLOCKS, BlockPlace, CERTIFICATES, FETCHED, GENESIS, LOG, META, SIGNATURES, Signature,
    corrupt,
};

/// Reads one channel's blocks. Cheap to clone.
#[derive(Clone)]
pub struct Blocks {
    kv: Arc<dyn KvRead>,
}

impl Blocks {
    /// Reads from `kv`.
    pub fn new(kv: Arc<dyn KvRead>) -> Self {
        Self { kv }
    }

    /// Where a block is, if it is committed here.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be read.
    pub fn place(&self, number: BlockNumber) -> Result<Option<BlockPlace>, StoreError> {
        self.kv
            .get(BLOCKS, &number.0.to_be_bytes())?
            .map(BlockPlace::decode)
            .transpose()
    }

    /// A committed block with the signatures that are here, as it is delivered.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be read.
    pub fn delivered(&self, number: BlockNumber) -> Result<Option<pb::Block>, StoreError> {
        let Some(place) = self.place(number)? else {
            return Ok(None);
        };
        let mut block = pb::Block::decode(self.bytes(number, place)?)
            .map_err(|_| corrupt(format!("block {number}")))?;
        block.signatures = self.signatures(number)?.iter().map(to_message).collect();
        Ok(Some(block))
    }

    /// A committed block, parsed.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be read.
    pub fn parsed(&self, number: BlockNumber, place: BlockPlace) -> Result<Block, StoreError> {
        let block = Block::decode(self.bytes(number, place)?)
            .map_err(|error| corrupt(format!("block {number}: {error}")))?;
        if block.hash != place.hash {
            return Err(corrupt(format!("block {number} is not the one indexed")));
        }
        Ok(block)
    }

    /// A committed block, parsed, if it is here.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be read.
    pub fn block(&self, number: BlockNumber) -> Result<Option<Block>, StoreError> {
        let place = self.place(number)?;
        place.map(|place| self.parsed(number, place)).transpose()
    }

    /// A block's signatures, ascending by orderer.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be read.
    pub fn signatures(&self, number: BlockNumber) -> Result<Vec<Signature>, StoreError> {
        let value = self.kv.get(SIGNATURES, &number.0.to_be_bytes())?;
        value.map_or(Ok(Vec::new()), layout::decode_signatures)
    }

    /// A certificate that the channel knows.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be read.
    pub fn certificate(&self, fingerprint: &Fingerprint) -> Result<Option<Bytes>, StoreError> {
        let value = self.kv.get(CERTIFICATES, fingerprint.as_bytes())?;
        Ok(value
            .map(layout::decode_certificate)
            .transpose()?
            .map(|(_, der)| der))
    }

    fn bytes(&self, number: BlockNumber, place: BlockPlace) -> Result<Bytes, StoreError> {
        if place.index > 0 {
            let missing = || corrupt(format!("entry {} of the log is missing", place.index));
            let value = self
                .kv
                .get(LOG, &place.index.to_be_bytes())?
                .ok_or_else(missing)?;
            let entry = layout::decode_entry(place.index, value)?;
            return codec::block_in(&entry)
                .map(|(block, _)| block)
                .map_err(|error| corrupt(format!("block {number}: {error}")));
        }
        let value = match number {
            BlockNumber(0) => self.kv.get(META, GENESIS)?,
            _ => self.kv.get(FETCHED, &number.0.to_be_bytes())?,
        };
        let value = value.ok_or_else(|| corrupt(format!("block {number} is missing")))?;
        layout::decode_bytes("a block", value)
    }
}

/// A signature as it travels.
pub(crate) fn to_message((orderer, signature): &Signature) -> pb::HeaderSignature {
    pb::HeaderSignature {
        orderer: *orderer,
        signature: Bytes::copy_from_slice(signature),
    }
}

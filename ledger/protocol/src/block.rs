//! Blocks: the parsed header, and what can be checked without knowing the orderers.

use bytes::Bytes;
use prost::Message;

use crate::ids::{BlockNumber, ChannelId, Hash32, IdError};
use crate::limits::{BLOCK_TRANSACTIONS_MAX, MESSAGE_BYTES_MAX, ORDERERS_MAX, SIGNATURE_BYTES};
use crate::{FORMAT_VERSION, hash, merkle, pb};

/// Why a block was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// The bytes are no block.
    #[error("the block cannot be decoded: {0}")]
    Undecodable(String),
    /// Written by another version of the format.
    #[error("block format version {0} is not known here")]
    Version(u32),
    /// A name or a hash in the header is not valid.
    #[error(transparent)]
    Id(#[from] IdError),
    /// Larger than any block may be.
    #[error("the block exceeds the limit of {0}")]
    TooLarge(&'static str),
    /// The envelopes are not those of the header.
    #[error("the envelopes of block {number} do not hash to the root in its header")]
    MerkleRoot {
        /// The block.
        number: BlockNumber,
    },
    /// The block does not follow the one before it.
    #[error("block {number} does not follow: {why}")]
    Chain {
        /// The block.
        number: BlockNumber,
        /// What is wrong.
        why: &'static str,
    },
}

/// A block's header, parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockHeader {
    /// The channel.
    pub channel: ChannelId,
    /// The number.
    pub number: BlockNumber,
    /// The hash of the header before it.
    pub previous_hash: Hash32,
    /// The root over the envelopes.
    pub merkle_root: Hash32,
    /// The newest block with a configuration, this one included.
    pub last_config: BlockNumber,
    /// Consensus time in milliseconds since the Unix epoch.
    pub time_ms: u64,
}

impl BlockHeader {
    /// The bytes that are hashed and travel.
    pub fn encode(&self) -> Bytes {
        pb::BlockHeader {
            version: FORMAT_VERSION,
            channel: self.channel.to_string(),
            number: self.number.0,
            previous_hash: self.previous_hash.to_bytes(),
            merkle_root: self.merkle_root.to_bytes(),
            last_config: self.last_config.0,
            time_ms: self.time_ms,
        }
        .encode_to_vec()
        .into()
    }

    /// Parses a header.
    ///
    /// # Errors
    /// [`BlockError`] says what is wrong with the bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, BlockError> {
        let header = pb::BlockHeader::decode(bytes)
            .map_err(|error| BlockError::Undecodable(error.to_string()))?;
        if header.version != FORMAT_VERSION {
            return Err(BlockError::Version(header.version));
        }
        Ok(Self {
            channel: ChannelId::new(&header.channel)?,
            number: BlockNumber(header.number),
            previous_hash: Hash32::from_slice(&header.previous_hash)?,
            merkle_root: Hash32::from_slice(&header.merkle_root)?,
            last_config: BlockNumber(header.last_config),
            time_ms: header.time_ms,
        })
    }
}

/// A block whose envelopes are those of its header. Its signatures have not been verified.
#[derive(Debug, Clone)]
pub struct Block {
    /// The parsed header.
    pub header: BlockHeader,
    /// The header's hash, which the orderers sign.
    pub hash: Hash32,
    /// The header as it travelled.
    pub header_bytes: Bytes,
    /// The envelopes as they travelled.
    pub envelopes: Vec<Bytes>,
    /// The orderers' signatures.
    pub signatures: Vec<pb::HeaderSignature>,
}

impl Block {
    /// Makes the block that carries `envelopes`.
    pub fn new(
        channel: ChannelId,
        number: BlockNumber,
        previous_hash: Hash32,
        last_config: BlockNumber,
        time_ms: u64,
        envelopes: Vec<Bytes>,
    ) -> Self {
        let merkle_root = merkle::root(&envelopes);
        let header = BlockHeader {
            channel,
            number,
            previous_hash,
            merkle_root,
            last_config,
            time_ms,
        };
        let header_bytes = header.encode();
        let hash = hash::header(&header_bytes);
        Self {
            header,
            hash,
            header_bytes,
            envelopes,
            signatures: Vec::new(),
        }
    }

    /// Parses a block and checks that the envelopes are those of the header.
    ///
    /// # Errors
    /// [`BlockError`] says what is wrong.
    pub fn decode(bytes: Bytes) -> Result<Self, BlockError> {
        if bytes.len() > MESSAGE_BYTES_MAX {
            return Err(BlockError::TooLarge("MESSAGE_BYTES_MAX"));
        }
        let block =
            pb::Block::decode(bytes).map_err(|error| BlockError::Undecodable(error.to_string()))?;
        Self::from_pb(block)
    }

    /// The same from a decoded message.
    ///
    /// # Errors
    /// [`BlockError`] says what is wrong.
    pub fn from_pb(block: pb::Block) -> Result<Self, BlockError> {
        if block.envelopes.len() > BLOCK_TRANSACTIONS_MAX {
            return Err(BlockError::TooLarge("BLOCK_TRANSACTIONS_MAX"));
        }
        let sizes_fit = block
            .signatures
            .iter()
            .all(|s| s.signature.len() == SIGNATURE_BYTES);
        if block.signatures.len() > ORDERERS_MAX || !sizes_fit {
            return Err(BlockError::TooLarge("ORDERERS_MAX"));
        }
        let header = BlockHeader::decode(&block.header)?;
        if merkle::root(&block.envelopes) != header.merkle_root {
            return Err(BlockError::MerkleRoot {
                number: header.number,
            });
        }
        let hash = hash::header(&block.header);
        Ok(Self {
            header,
            hash,
            header_bytes: block.header,
            envelopes: block.envelopes,
            signatures: block.signatures,
        })
    }

    /// The message that travels.
    pub fn to_pb(&self) -> pb::Block {
        pb::Block {
            header: self.header_bytes.clone(),
            envelopes: self.envelopes.clone(),
            signatures: self.signatures.clone(),
        }
    }

    /// Whether this block follows the one with `previous` as its header and `hash` as its hash.
    ///
    /// # Errors
    /// [`BlockError::Chain`] says in what it does not.
    pub fn check_follows(&self, previous: &BlockHeader, hash: &Hash32) -> Result<(), BlockError> {
        let number = self.header.number;
        let refuse = |why| Err(BlockError::Chain { number, why });
        if self.header.channel != previous.channel {
            return refuse("it is of another channel");
        }
        if number != previous.number.next() {
            return refuse("its number is not the next one");
        }
        if self.header.previous_hash != *hash {
            return refuse("its previous hash is not that of the block before it");
        }
        if self.header.time_ms < previous.time_ms {
            return refuse("its time is before that of the block before it");
        }
        let config = self.header.last_config;
        if config == number && !self.is_config() {
            return refuse("it says that it has a configuration, and has none alone in it");
        }
        if config != previous.last_config && config != number {
            return refuse("its last configuration is neither the one before it nor its own");
        }
        Ok(())
    }

    /// Whether the block carries one configuration and nothing else.
    pub fn is_config(&self) -> bool {
        let [envelope] = self.envelopes.as_slice() else {
            return false;
        };
        let payload = pb::Envelope::decode(envelope.clone())
            .and_then(|envelope| pb::Payload::decode(envelope.payload));
        matches!(
            payload.map(|payload| payload.body),
            Ok(Some(pb::payload::Body::Config(_)))
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn block(number: u64, previous: Hash32, time_ms: u64) -> Block {
        let envelopes = vec![Bytes::from_static(b"one"), Bytes::from_static(b"two")];
        let channel = ChannelId::new("care").unwrap();
        Block::new(
            channel,
            BlockNumber(number),
            previous,
            BlockNumber(0),
            time_ms,
            envelopes,
        )
    }

    #[test]
    fn golden_bytes_of_a_header() {
        let header = block(7, Hash32([1; 32]), 1_700_000_000_000);
        assert_eq!(
            hex::encode(&header.header_bytes[..24]),
            "080112046361726518072220010101010101010101010101",
        );
        assert_eq!(header.header_bytes.len(), 85);
    }

    #[test]
    fn a_block_survives_the_wire_and_no_envelope_can_be_changed() {
        let block = block(1, Hash32([1; 32]), 5);
        let decoded = Block::decode(block.to_pb().encode_to_vec().into()).unwrap();
        assert_eq!(
            (decoded.header, decoded.hash),
            (block.header.clone(), block.hash)
        );
        let mut altered = block.to_pb();
        altered.envelopes.swap(0, 1);
        assert_eq!(
            Block::from_pb(altered).unwrap_err(),
            BlockError::MerkleRoot {
                number: BlockNumber(1)
            }
        );
    }

    #[test]
    fn blocks_follow_one_another() {
        let first = block(1, Hash32([1; 32]), 5);
        assert!(
            block(2, first.hash, 5)
                .check_follows(&first.header, &first.hash)
                .is_ok()
        );
        for wrong in [
            block(2, Hash32([9; 32]), 5),
            block(3, first.hash, 5),
            block(2, first.hash, 4),
        ] {
            assert!(wrong.check_follows(&first.header, &first.hash).is_err());
        }
    }

    #[test]
    fn a_block_names_its_own_configuration_only_if_it_has_one() {
        let first = block(1, Hash32([1; 32]), 5);
        let number = BlockNumber(2);
        let claims = Block::new(
            first.header.channel.clone(),
            number,
            first.hash,
            number,
            5,
            vec![Bytes::from_static(b"one")],
        );
        assert!(claims.check_follows(&first.header, &first.hash).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_decoder_fall(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Block::decode(bytes.into());
        }
    }
}

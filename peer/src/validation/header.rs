//! Whether a block may follow, and whether enough orderers have signed it.

use std::collections::BTreeMap;

use stela_identity::config_update::{self, WrongLastConfig};
use stela_identity::{SignedMessage, verify_batch};
use stela_protocol::block::{Block, BlockError, BlockHeader};
use stela_protocol::hash::domain;
use stela_protocol::{BlockNumber, Hash32, pb};

use crate::membership::Membership;

/// Why a block was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BlockRefused {
    /// It is no block, or does not follow the one before it.
    #[error(transparent)]
    Block(#[from] BlockError),
    /// It does not say truly which configuration is in force after it.
    #[error(transparent)]
    LastConfig(#[from] WrongLastConfig),
    /// Too few orderers of the channel have signed it.
    #[error("block {number} has valid signatures of {valid} orderers, {quorum} are needed")]
    TooFewSignatures {
        /// The block.
        number: BlockNumber,
        /// Distinct orderers of the configuration whose signature is valid.
        valid: usize,
        /// How many there must be.
        quorum: usize,
    },
}

/// The newest block of a ledger, which the next one has to follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tip {
    /// Its header.
    pub header: BlockHeader,
    /// The hash of the header as it travelled.
    pub hash: Hash32,
}

impl Tip {
    /// The tip that a block becomes when it is committed.
    pub fn of(block: &Block) -> Self {
        Self {
            header: block.header.clone(),
            hash: block.hash,
        }
    }
}

/// Accepts a block that follows `tip`, is signed by a quorum of the orderers in the configuration,
/// each counted once, and names the newest block with a valid configuration. Signatures that do not
/// count are taken off the block; those that do stand in the order of the orderers.
///
/// # Errors
/// [`BlockRefused`] says what is wrong.
pub fn check_block(
    membership: &Membership,
    tip: &Tip,
    block: pb::Block,
) -> Result<Block, BlockRefused> {
    let mut block = Block::from_pb(block)?;
    block.check_follows(&tip.header, &tip.hash)?;
    block.signatures = valid_signatures(membership, &block);
    let (valid, quorum) = (block.signatures.len(), membership.config().orderer_quorum);
    if valid < quorum {
        let number = block.header.number;
        return Err(BlockRefused::TooFewSignatures {
            number,
            valid,
            quorum,
        });
    }
    config_update::follow(membership.configuration(), tip.header.last_config, &block)?;
    Ok(block)
}

fn valid_signatures(membership: &Membership, block: &Block) -> Vec<pb::HeaderSignature> {
    let signed: Vec<_> = block
        .signatures
        .iter()
        .filter_map(|signature| Some((signature, membership.orderer(signature.orderer)?)))
        .filter(|(_, orderer)| orderer.check_time(block.header.time_ms).is_ok())
        .collect();
    let messages: Vec<_> = signed
        .iter()
        .map(|(signature, orderer)| SignedMessage {
            key: &orderer.public_key,
            domain: domain::HEADER,
            message: block.hash.as_bytes(),
            signature: &signature.signature,
        })
        .collect();
    let verdicts = verify_batch(&messages);
    let valid = signed.iter().zip(verdicts).filter(|(_, valid)| *valid);
    let distinct: BTreeMap<u64, pb::HeaderSignature> = valid
        .map(|((signature, _), _)| (signature.orderer, (*signature).clone()))
        .collect();
    distinct.into_values().collect()
}

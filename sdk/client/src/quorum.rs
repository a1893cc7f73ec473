//! Whether enough orderers signed a block.

use std::collections::{BTreeMap, BTreeSet};

use stela_identity::{Certificate, PublicKey};
use stela_protocol::ChannelId;
use stela_protocol::block::Block;
use stela_protocol::config::ChannelConfig;
use stela_protocol::hash::domain;

use crate::error::QuorumError;

/// The orderers of a configuration and how many of them must sign.
#[derive(Debug, Clone)]
pub struct Quorum {
    channel: ChannelId,
    keys: BTreeMap<u64, PublicKey>,
    needed: usize,
}

impl Quorum {
    /// Takes the orderers of a configuration that the caller trusts.
    ///
    /// # Errors
    /// [`QuorumError::Certificate`] when an orderer's certificate cannot be used.
    pub fn new(config: &ChannelConfig) -> Result<Self, QuorumError> {
        let keys = config.orderers.values().map(|orderer| {
            let certificate = Certificate::from_der(&orderer.certificate).map_err(|source| {
                QuorumError::Certificate {
                    orderer: orderer.id,
                    source,
                }
            })?;
            Ok((orderer.id, *certificate.public_key()))
        });
        Ok(Self {
            channel: config.channel.clone(),
            keys: keys.collect::<Result<_, QuorumError>>()?,
            needed: config.orderer_quorum,
        })
    }

    /// Checks that enough different orderers signed the block's header. One key counts once.
    ///
    /// # Errors
    /// [`QuorumError`] when the block is of another channel or too few signed it.
    pub fn check(&self, block: &Block) -> Result<(), QuorumError> {
        let number = block.header.number;
        if block.header.channel != self.channel {
            let (channel, actual) = (self.channel.clone(), block.header.channel.clone());
            return Err(QuorumError::OtherChannel {
                number,
                channel,
                actual,
            });
        }
        let signers: BTreeSet<&PublicKey> = block
            .signatures
            .iter()
            .filter_map(|signature| {
                let key = self.keys.get(&signature.orderer)?;
                let message = block.hash.as_bytes();
                key.verify(domain::HEADER, message, &signature.signature)
                    .ok()
                    .map(|()| key)
            })
            .collect();
        if signers.len() < self.needed {
            let (signed, needed) = (signers.len(), self.needed);
            return Err(QuorumError::TooFew {
                number,
                signed,
                needed,
            });
        }
        Ok(())
    }
}

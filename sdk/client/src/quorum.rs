//! Whether enough orderers signed a block, under the configuration that was in force before it.

use std::collections::BTreeSet;
use std::sync::Arc;

use stela_identity::{Configuration, PublicKey, config_update};
use stela_protocol::block::{Block, BlockHeader};
use stela_protocol::hash::domain;
use stela_protocol::pb::HeaderSignature;
use stela_protocol::{BlockNumber, Hash32};

use crate::error::QuorumError;

/// The configuration by which the next block is judged. Blocks that change it are followed, so one
/// that the caller trusts vouches for all that come after it.
#[derive(Debug, Clone)]
pub struct Quorum {
    current: Arc<Configuration>,
    /// The block that put it into force, when it is known.
    last_config: Option<BlockNumber>,
}

impl Quorum {
    /// Begins with a configuration that the caller trusts, and that is in force before the first
    /// block that is checked.
    pub fn new(configuration: impl Into<Arc<Configuration>>) -> Self {
        Self {
            current: configuration.into(),
            last_config: None,
        }
    }

    /// The configuration in force after the last block that was checked.
    pub fn configuration(&self) -> &Configuration {
        &self.current
    }

    /// The same, taken out.
    pub(crate) fn into_configuration(self) -> Arc<Configuration> {
        self.current
    }

    /// Checks that enough different orderers signed the block's header, each with a certificate
    /// that is accepted and valid at the block's time. Then follows the block if it changes the
    /// configuration, and checks what its header says about that.
    ///
    /// # Errors
    /// [`QuorumError`]; the configuration in force then stays.
    pub fn check(&mut self, block: &Block) -> Result<(), QuorumError> {
        let (number, found) = (block.header.number, block.header.last_config);
        self.check_header(&block.header, &block.hash, &block.signatures)?;
        // Before the first block it is not known where the configuration stands; a block that
        // changes nothing says it.
        let before = BlockNumber(number.0.saturating_sub(1));
        let last = self.last_config.unwrap_or(found.min(before));
        let new = config_update::follow(&self.current, last, block)?;
        self.last_config = Some(found);
        if let Some(new) = new {
            self.current = Arc::new(new);
        }
        Ok(())
    }

    /// Checks that enough different orderers signed a header, and says how many did. The block's
    /// envelopes are not looked at, and no change of the configuration is followed.
    pub(crate) fn check_header(
        &self,
        header: &BlockHeader,
        hash: &Hash32,
        signatures: &[HeaderSignature],
    ) -> Result<usize, QuorumError> {
        let (config, number) = (self.current.config(), header.number);
        if header.channel != config.channel {
            let (channel, actual) = (config.channel.clone(), header.channel.clone());
            return Err(QuorumError::OtherChannel {
                number,
                channel,
                actual,
            });
        }
        let signed = self.signers(header, hash, signatures).len();
        let needed = config.orderer_quorum;
        if signed < needed {
            return Err(QuorumError::TooFew {
                number,
                signed,
                needed,
            });
        }
        Ok(signed)
    }

    fn signers(
        &self,
        header: &BlockHeader,
        hash: &Hash32,
        signatures: &[HeaderSignature],
    ) -> BTreeSet<PublicKey> {
        let signer = |signature: &HeaderSignature| {
            let orderer = self.current.orderer(signature.orderer)?;
            orderer.check_time(header.time_ms).ok()?;
            let valid = orderer.verify(domain::HEADER, hash.as_bytes(), &signature.signature);
            valid.ok().map(|()| orderer.public_key)
        };
        signatures.iter().filter_map(signer).collect()
    }
}

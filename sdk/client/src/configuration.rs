//! Following a channel's configuration from one that is trusted.

use std::sync::Arc;

use futures::StreamExt;
use stela_identity::Configuration;
use stela_protocol::block::Block;
use stela_protocol::transaction::{Body, Envelope};
use stela_protocol::{BlockNumber, Hash32};

use crate::error::{BlocksError, QueryError};
use crate::limits::CONFIG_CHANGES_MAX;
use crate::network::Network;
use crate::quorum::Quorum;

impl Network {
    /// The configuration in force, if it follows from `trusted`: one that the caller knows from the
    /// consortium, as in the genesis block, or that was followed before. Each change must have been
    /// signed by a quorum of the orderers, and by enough administrators, under the configuration
    /// before it. Only the blocks with changes are read, and the headers before them.
    ///
    /// # Errors
    /// [`BlocksError`] when no peer answers, or what it says does not follow.
    pub async fn configuration(
        &self,
        trusted: Arc<Configuration>,
    ) -> Result<Arc<Configuration>, BlocksError> {
        let info = self.info().await.map_err(|error| self.unanswered(error))?;
        if info.config_bytes == trusted.bytes() {
            return Ok(trusted);
        }
        if info.config.sequence <= trusted.config().sequence {
            return Err(self.refuse("the peer is behind, or has another one"));
        }
        let newest = BlockNumber(info.height.saturating_sub(1));
        let mut changes = self.changes(newest, trusted.hash()).await?;
        let mut quorum = Quorum::new(trusted);
        while let Some(number) = changes.pop() {
            let base = quorum.configuration().hash();
            quorum = Quorum::new(quorum.into_configuration());
            quorum.check(&self.block(number).await?)?;
            if quorum.configuration().hash() == base {
                return Err(self.refuse("a block that should change it does not"));
            }
        }
        if quorum.configuration().bytes() != &info.config_bytes {
            return Err(self.refuse("it is not the one that the blocks lead to"));
        }
        Ok(quorum.into_configuration())
    }

    /// The blocks that lead from the configuration with the hash `base` to the one in force after
    /// `newest`, the newest first.
    async fn changes(
        &self,
        newest: BlockNumber,
        base: Hash32,
    ) -> Result<Vec<BlockNumber>, BlocksError> {
        let mut before = newest;
        let mut changes = Vec::new();
        while changes.len() < CONFIG_CHANGES_MAX {
            let number = self.block(before).await?.header.last_config;
            changes.push(number);
            if base_of(&self.block(number).await?) == Some(base) {
                return Ok(changes);
            }
            match number.0.checked_sub(1) {
                Some(number) => before = BlockNumber(number),
                None => break,
            }
        }
        Err(self.refuse("no blocks lead there"))
    }

    async fn block(&self, number: BlockNumber) -> Result<Block, BlocksError> {
        let mut blocks = self.blocks(number, Some(number.next()));
        match blocks.next().await {
            Some(block) => Ok(block?.block),
            None => Err(self.refuse("a block is missing")),
        }
    }

    fn refuse(&self, why: &str) -> BlocksError {
        BlocksError::Configuration {
            channel: self.channel.clone(),
            why: why.to_owned(),
        }
    }

    fn unanswered(&self, error: QueryError) -> BlocksError {
        match error {
            QueryError::Rpc { channel, source } => BlocksError::Rpc {
                channel,
                next: BlockNumber(0),
                source,
            },
            error => self.refuse(&error.to_string()),
        }
    }
}

/// The hash of the configuration that a block's change is made for.
fn base_of(block: &Block) -> Option<Hash32> {
    let envelope = block.envelopes.first()?;
    match Envelope::decode(envelope.clone()).ok()?.body {
        Body::Config(update) => Some(update.change.base),
        _ => None,
    }
}

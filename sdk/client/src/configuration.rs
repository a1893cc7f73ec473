//! Following a channel's configuration from one that is trusted.

use std::sync::Arc;

use futures::StreamExt;
use stela_identity::Configuration;
use stela_protocol::BlockNumber;
use stela_protocol::block::Block;
use stela_protocol::config_update::ConfigChange;
use stela_protocol::transaction::{Body, Envelope};

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
        let followed = self.follow(trusted, newest).await?;
        if followed.bytes() != &info.config_bytes {
            return Err(self.refuse("it is not the one that the blocks lead to"));
        }
        Ok(followed)
    }

    /// The configuration that was in force before a block, followed in the same way. `trusted` was
    /// in force then, or before.
    ///
    /// # Errors
    /// As [`Network::configuration`].
    pub async fn configuration_before(
        &self,
        trusted: Arc<Configuration>,
        number: BlockNumber,
    ) -> Result<Arc<Configuration>, BlocksError> {
        match number.0.checked_sub(1) {
            Some(before) => self.follow(trusted, BlockNumber(before)).await,
            None => Ok(trusted),
        }
    }

    /// The configuration in force after the block `newest`.
    async fn follow(
        &self,
        trusted: Arc<Configuration>,
        newest: BlockNumber,
    ) -> Result<Arc<Configuration>, BlocksError> {
        let mut changes = self.changes(newest, &trusted).await?;
        let mut current = trusted;
        while let Some(number) = changes.pop() {
            let base = current.hash();
            let mut quorum = Quorum::new(current);
            quorum.check(&self.block(number).await?)?;
            current = quorum.into_configuration();
            if current.hash() == base {
                return Err(self.refuse("a block that should change it does not"));
            }
        }
        Ok(current)
    }

    /// The blocks that lead from `trusted` to the configuration in force after `newest`, the newest
    /// first. They are only looked for here; whether they do is checked by whoever follows them.
    pub(crate) async fn changes(
        &self,
        newest: BlockNumber,
        trusted: &Configuration,
    ) -> Result<Vec<BlockNumber>, BlocksError> {
        let mut before = newest;
        let mut changes = Vec::new();
        while changes.len() < CONFIG_CHANGES_MAX {
            let number = self.block(before).await?.header.last_config;
            let Some(previous) = number.0.checked_sub(1) else {
                return Ok(changes);
            };
            let change = change_in(&self.block(number).await?);
            let change =
                change.ok_or_else(|| self.refuse("a block that should change it does not"))?;
            if change.config == trusted.bytes() {
                return Ok(changes);
            }
            changes.push(number);
            if change.base == trusted.hash() {
                return Ok(changes);
            }
            before = BlockNumber(previous);
        }
        Err(self.refuse("it was changed too often since"))
    }

    pub(crate) async fn block(&self, number: BlockNumber) -> Result<Block, BlocksError> {
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

/// What a block with a configuration changes.
fn change_in(block: &Block) -> Option<ConfigChange> {
    let envelope = block.envelopes.first()?;
    match Envelope::decode(envelope.clone()).ok()?.body {
        Body::Config(update) => Some(update.change),
        _ => None,
    }
}

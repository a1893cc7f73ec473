//! Which configuration judges what, and how a new one takes the place of the one in force.
//!
//! A block is judged by the configuration before it, its own included: who may sign it, and whether
//! the change in it is valid. The new one is in force when the block is applied. Where it changes
//! who the orderers are, the block's entry in the log is a change of Raft's voters that carries the
//! block, so that both happen or neither does.

use std::sync::Arc;

use raft::eraftpb::Entry;
use stela_identity::Configuration;
use stela_identity::config_update::{self, WrongLastConfig};
use stela_protocol::BlockNumber;
use stela_protocol::block::{Block, BlockError};

use super::{Chain, ChainFault};
use crate::channel::{Change, Channel};
use crate::codec::{self, CodecError};
use crate::configurations::InForce;
use crate::cutter::Cutter;
use crate::layout::{CERTIFICATES, encode_certificate};
use crate::limits::REMOVED_LINGER_TICKS;

/// Why a committed entry is not the next block. All orderers find the same.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotNext {
    #[error(transparent)]
    Entry(#[from] CodecError),
    #[error(transparent)]
    Block(#[from] BlockError),
    #[error(transparent)]
    LastConfig(#[from] WrongLastConfig),
    #[error("the entry changes {found:?} among the orderers, its configuration {expected:?}")]
    Voters {
        found: Option<Change>,
        expected: Option<Change>,
    },
}

/// The next block, with the configuration that it puts into force.
pub(super) struct Next {
    pub(super) block: Block,
    pub(super) new: Option<Configuration>,
    pub(super) change: Option<Change>,
}

impl Chain {
    /// The configuration in force, and the others by which an orderer may be known.
    ///
    /// # Errors
    /// [`ChainFault`] when the database cannot be read.
    pub fn in_force(&self) -> Result<InForce, ChainFault> {
        Ok(InForce {
            channel: self.channel.clone(),
            former: self.configurations.earlier(&self.channel)?,
            joined: self.joined.clone().filter(|_| self.is_to_come()),
        })
    }

    /// Whether this orderer was removed, the block that says so can be delivered, and the others had
    /// time to ask for what only it may have, its signatures: then its driver ends it.
    pub fn is_removed(&self) -> bool {
        self.removed_ticks >= REMOVED_LINGER_TICKS
    }

    /// Whether the configuration in force names this orderer no longer.
    pub(super) fn has_gone(&self) -> bool {
        self.channel.has_removed(self.orderer)
    }

    pub(super) fn count_removed_ticks(&mut self) {
        if self.has_gone() && self.deliverable >= self.channel.since {
            self.removed_ticks += 1;
        }
    }

    /// Whether the blocks here do not name this orderer yet.
    fn is_to_come(&self) -> bool {
        self.orderer > self.channel.config().orderers_ever
    }

    /// Whether another orderer takes part, as far as this one knows.
    pub(super) fn is_known(&self, orderer: u64) -> bool {
        self.raft.raft.prs().get(orderer).is_some() || self.others().contains(&orderer)
    }

    /// The other orderers, as far as this one knows.
    pub(super) fn others(&self) -> Vec<u64> {
        match self.joined.as_ref().filter(|_| self.is_to_come()) {
            Some(joined) => {
                let numbers = joined.config().orderers.keys().copied();
                numbers.filter(|id| *id != self.orderer).collect()
            }
            None => self.channel.others(self.orderer).collect(),
        }
    }

    /// The configuration by which block `number` is judged.
    pub(super) fn channel_before(&self, number: BlockNumber) -> Result<Arc<Channel>, ChainFault> {
        Ok(self.configurations.before(number, &self.channel)?)
    }

    /// Whether a signature of this orderer counts for block `number`.
    pub(super) fn may_sign(&self, number: BlockNumber) -> Result<bool, ChainFault> {
        let channel = self.channel_before(number)?;
        let own = channel.configuration().orderer(self.orderer);
        let key = self.credentials.certificate.public_key();
        Ok(own.is_some_and(|identity| identity.public_key == *key))
    }

    /// The block in an entry, if it is the next one.
    pub(super) fn parse(&self, entry: &Entry) -> Result<Block, NotNext> {
        let (block, change) = self.decode(entry)?;
        Ok(self.judge(block, change)?.block)
    }

    /// It may have been decoded when it was proposed or signed: index and term name one entry only.
    pub(super) fn decode(&self, entry: &Entry) -> Result<(Block, Option<Change>), NotNext> {
        let (bytes, change) = codec::block_in(entry)?;
        let block = match self.parsed.get(&entry.index) {
            Some((term, block)) if *term == entry.term => block.clone(),
            _ => Block::decode(bytes)?,
        };
        Ok((block, change))
    }

    /// Whether a block is the next one, by the configuration in force.
    pub(super) fn judge(&self, block: Block, found: Option<Change>) -> Result<Next, NotNext> {
        let new = self.follow(&block)?;
        let expected = new.as_ref().and_then(|new| self.channel.change_to(new));
        if found != expected {
            return Err(NotNext::Voters { found, expected });
        }
        Ok(Next {
            block,
            new,
            change: found,
        })
    }

    /// The same for a block that does not come from the log.
    pub(super) fn follow(&self, block: &Block) -> Result<Option<Configuration>, NotNext> {
        block.check_follows(&self.head, &self.head_hash)?;
        let (current, last) = (self.channel.configuration(), self.head.last_config);
        Ok(config_update::follow(current, last, block)?)
    }

    /// Puts the configuration of block `number`, which was just applied, into force.
    pub(super) fn put_in_force(
        &mut self,
        configuration: Configuration,
        number: BlockNumber,
    ) -> Result<(), ChainFault> {
        for certificate in configuration.certificates() {
            let fingerprint = certificate.fingerprint();
            if self.blocks.certificate(&fingerprint)?.is_none() {
                let value = encode_certificate(number, certificate.der());
                self.batch.put(CERTIFICATES, fingerprint.to_bytes(), value);
            }
        }
        let channel = self
            .channel
            .under(configuration, number, self.channel.since);
        let config = channel.config();
        tracing::info!(
            channel = %config.channel, number = number.0, sequence = config.sequence,
            orderers = ?channel.orderers(), quorum = config.orderer_quorum,
            "another configuration is in force"
        );
        self.cutter = Cutter::new(&config.limits, config.orderers.len());
        // They were verified by the configuration before; whoever made them is asked again.
        self.signatures.forget_early();
        self.channel = Arc::new(channel);
        self.configurations.add(self.channel.clone());
        Ok(())
    }

    /// Changes who takes part in Raft, in the batch with the block that says so.
    pub(super) fn change_voters(&mut self, change: Option<Change>) -> Result<(), ChainFault> {
        let Some(change) = change else {
            return Ok(());
        };
        if let Change::Remove(_) = change {
            // It hears that the change is committed while it still hears anything.
            self.raft.ping();
        }
        let state = self
            .raft
            .apply_conf_change(&codec::conf_change(change, Vec::new()))?;
        self.raft
            .mut_store()
            .stage_conf_state(state, &mut self.batch);
        Ok(())
    }

    /// Whether an entry of a block that is applied already changes voters as the block says.
    pub(super) fn changed_voters(
        &self,
        block: &Block,
        found: Option<Change>,
    ) -> Result<bool, ChainFault> {
        let number = block.header.number;
        let expected = if block.header.last_config == number {
            let new = self.configurations.of(number)?;
            self.channel_before(number)?.change_to(new.configuration())
        } else {
            None
        };
        Ok(found == expected)
    }
}

//! The configurations that a channel has had. Each block is judged by the one before it; none is
//! stored apart, because the blocks themselves say it: a header names the newest block with a valid
//! configuration.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use stela_identity::Configuration;
use stela_protocol::BlockNumber;
use stela_protocol::block::BlockHeader;
use stela_protocol::config::Orderer;
use stela_protocol::transaction::{Body, Envelope};
use stela_store::StoreError;

use crate::blocks::Blocks;
use crate::channel::Channel;
use crate::layout::corrupt;
use crate::limits::CONFIGURATIONS_KEPT_MAX;

/// Reads a channel's configurations and keeps the newest ones.
pub struct Configurations {
    blocks: Blocks,
    first: Arc<Channel>,
    known: Mutex<BTreeMap<BlockNumber, Arc<Channel>>>,
}

impl Configurations {
    /// The configurations in a channel's database, the first one is that of block 0.
    pub fn new(first: Arc<Channel>, blocks: Blocks) -> Self {
        Self {
            blocks,
            first,
            known: Mutex::default(),
        }
    }

    /// The configuration that block `since` put into force.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be read, or has no configuration there.
    pub fn of(&self, since: BlockNumber) -> Result<Arc<Channel>, StoreError> {
        if since == self.first.since {
            return Ok(self.first.clone());
        }
        if let Some(known) = self.known.lock().get(&since) {
            return Ok(known.clone());
        }
        let missing = || corrupt(format!("block {since} has no configuration"));
        let block = self.blocks.block(since)?.ok_or_else(missing)?;
        let envelope = block.envelopes.first().ok_or_else(missing)?;
        let Ok(Body::Config(update)) = Envelope::decode(envelope.clone()).map(|e| e.body) else {
            return Err(missing());
        };
        let configuration = Configuration::new(update.change.config);
        let configuration = configuration.map_err(|error| corrupt(error.to_string()))?;
        let before = self.header(BlockNumber(since.0 - 1))?.last_config;
        let channel = Arc::new(self.first.under(configuration, since, before));
        self.add(channel.clone());
        Ok(channel)
    }

    /// Keeps one that is new, in a block that may not be written yet.
    pub fn add(&self, channel: Arc<Channel>) {
        let mut known = self.known.lock();
        known.insert(channel.since, channel);
        while known.len() > CONFIGURATIONS_KEPT_MAX {
            known.pop_first();
        }
    }

    /// The configuration by which block `number` is judged, when `newest` is in force now.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be read.
    pub fn before(
        &self,
        number: BlockNumber,
        newest: &Arc<Channel>,
    ) -> Result<Arc<Channel>, StoreError> {
        let mut channel = newest.clone();
        while number <= channel.since {
            let Some(earlier) = self.earlier(&channel)? else {
                break;
            };
            channel = earlier;
        }
        Ok(channel)
    }

    /// The configuration before this one, if there is one.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be read.
    pub fn earlier(&self, channel: &Channel) -> Result<Option<Arc<Channel>>, StoreError> {
        if channel.since == self.first.since {
            return Ok(None);
        }
        self.of(channel.before).map(Some)
    }

    /// The header of a block that is written.
    fn header(&self, number: BlockNumber) -> Result<BlockHeader, StoreError> {
        let block = self.blocks.block(number)?;
        block
            .map(|block| block.header)
            .ok_or_else(|| corrupt(format!("block {number} is missing")))
    }
}

/// The configuration in force, and the others by which an orderer may be known.
pub struct InForce {
    /// The channel under the configuration in force.
    pub channel: Arc<Channel>,
    /// Under the one before it: an orderer that it names, and that is one no longer, may still ask
    /// for the block that says so.
    pub former: Option<Arc<Channel>>,
    /// The one with which this node joined, until its own chain says that it takes part.
    pub joined: Option<Arc<Configuration>>,
}

impl InForce {
    /// A configuration alone.
    pub fn only(channel: Arc<Channel>) -> Self {
        Self {
            channel,
            former: None,
            joined: None,
        }
    }

    /// An orderer by its number, and whether it takes part.
    pub fn orderer(&self, id: u64) -> Option<(&Orderer, Standing)> {
        let current = self.channel.config().orderers.get(&id);
        let joined = || self.joined.as_ref()?.config().orderers.get(&id);
        let former = || self.former.as_ref()?.config().orderers.get(&id);
        let found = current.or_else(joined).map(|o| (o, Standing::Member));
        found.or_else(|| former().map(|o| (o, Standing::Former)))
    }

    /// All orderers that this node may have to reach, but for itself.
    pub fn contacts(&self, own: u64) -> BTreeMap<u64, &Orderer> {
        let configs = [
            self.former.as_ref().map(|former| former.config()),
            self.joined.as_ref().map(|joined| joined.config()),
            Some(self.channel.config()),
        ];
        let orderers = configs
            .into_iter()
            .flatten()
            .flat_map(|config| &config.orderers);
        orderers
            .filter(|(id, _)| **id != own)
            .map(|(id, orderer)| (*id, orderer))
            .collect()
    }
}

/// Whether an orderer takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It does.
    Member,
    /// It did until the newest change, and may only ask.
    Former,
}

//! A channel under one of its configurations: who its orderers are, and what their signatures are
//! worth.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use stela_identity::{Configuration, ConfigurationError, Msp, SignatureError};
use stela_protocol::block::{Block, BlockError};
use stela_protocol::config::{self, ChannelConfig, ConfigError};
use stela_protocol::limits::SIGNATURE_BYTES;
use stela_protocol::{BlockNumber, ChannelId, Hash32, Message, hash};
use stela_store::{Durability, Kv, KvRead, StoreError, WriteBatch};

use crate::layout::{
    APPLIED, Applied, BLOCKS, BlockPlace, CERTIFICATES, CHANNEL, CONF_STATE, DELIVERABLE, GENESIS,
    HARD_STATE, JOINED, META, ORDERER, START, Start, corrupt, decode_bytes, decode_channel,
    decode_numbers, encode_bytes, encode_certificate, encode_channel, encode_hard_state,
    encode_numbers, key,
};

/// Why a block 0 describes no channel that can be ordered.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The bytes are no block.
    #[error(transparent)]
    Block(#[from] BlockError),
    /// The block is no block 0.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The configuration is not sound.
    #[error(transparent)]
    Configuration(#[from] ConfigurationError),
}

/// A channel under the configuration that one of its blocks put into force.
pub struct Channel {
    /// The block with the configuration, which is in force from the next one on.
    pub since: BlockNumber,
    /// The block with the configuration before it; block 0 for the first one.
    pub before: BlockNumber,
    /// Block 0.
    pub genesis: Block,
    configuration: Configuration,
}

/// How a configuration changes who takes part in Raft.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// This orderer is new.
    Add(u64),
    /// This orderer is one no longer.
    Remove(u64),
}

impl Channel {
    /// Parses and checks block 0.
    ///
    /// # Errors
    /// [`ChannelError`] says what is wrong with it.
    pub fn from_genesis(bytes: Bytes) -> Result<Self, ChannelError> {
        let mut genesis = Block::decode(bytes)?;
        genesis.signatures.clear();
        let (bytes, _) = config::from_genesis(&genesis)?;
        Ok(Self {
            since: genesis.header.number,
            before: genesis.header.number,
            configuration: Configuration::new(bytes)?,
            genesis,
        })
    }

    /// The same channel under a later configuration, that of block `since`; the one before it is
    /// that of block `before`.
    pub fn under(
        &self,
        configuration: Configuration,
        since: BlockNumber,
        before: BlockNumber,
    ) -> Self {
        Self {
            since,
            before,
            genesis: self.genesis.clone(),
            configuration,
        }
    }

    /// The channel's name.
    pub fn id(&self) -> &ChannelId {
        &self.config().channel
    }

    /// The configuration, parsed.
    pub fn config(&self) -> &ChannelConfig {
        self.configuration.config()
    }

    /// The configuration with its hash and certificates.
    pub fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    /// Whom the configuration vouches for.
    pub fn msp(&self) -> &Msp {
        self.configuration.msp()
    }

    /// The number of the orderer with this certificate.
    pub fn orderer_with(&self, certificate: &[u8]) -> Option<u64> {
        orderer_with(self.config(), certificate)
    }

    /// The orderers' numbers.
    pub fn orderers(&self) -> BTreeSet<u64> {
        self.config().orderers.keys().copied().collect()
    }

    /// The other orderers' numbers.
    pub fn others(&self, own: u64) -> impl Iterator<Item = u64> {
        self.config()
            .orderers
            .keys()
            .copied()
            .filter(move |id| *id != own)
    }

    /// Whether this orderer took part once, and does so no longer.
    pub fn has_removed(&self, orderer: u64) -> bool {
        let config = self.config();
        orderer <= config.orderers_ever && !config.orderers.contains_key(&orderer)
    }

    /// What a later configuration changes about who takes part. A valid one changes one at most.
    pub fn change_to(&self, later: &Configuration) -> Option<Change> {
        let (old, new) = (&self.config().orderers, &later.config().orderers);
        let added = new.keys().find(|id| !old.contains_key(id));
        let removed = old.keys().find(|id| !new.contains_key(id));
        let change = added.map(|id| Change::Add(*id));
        change.or(removed.map(|id| Change::Remove(*id)))
    }

    /// Verifies an orderer's signature of a header's hash.
    ///
    /// # Errors
    /// [`SignatureError`] when it is not that orderer's, or there is no such orderer.
    pub fn verify(
        &self,
        orderer: u64,
        header_hash: &Hash32,
        signature: &[u8; SIGNATURE_BYTES],
    ) -> Result<(), SignatureError> {
        let identity = self.configuration.orderer(orderer).ok_or(SignatureError)?;
        identity.verify(hash::domain::HEADER, header_hash.as_bytes(), signature)
    }

    /// Writes a new channel's database, whole or not at all. Block 0 lies beside the log, which
    /// begins with block 1: so all orderers start alike, with an empty log and the orderers of
    /// block 0 as voters.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be written.
    pub fn create(&self, kv: &dyn Kv) -> Result<(), StoreError> {
        kv.write(self.new_database(), Durability::Synced)
    }

    /// The same for an orderer that knows its number, with the configuration that named it if
    /// block 0 does not.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be written.
    pub fn create_for(
        &self,
        kv: &dyn Kv,
        orderer: u64,
        joined: Option<&Configuration>,
    ) -> Result<(), StoreError> {
        let mut batch = self.new_database();
        batch.put(META, ORDERER, encode_numbers(&[orderer]));
        if let Some(joined) = joined {
            batch.put(META, JOINED, encode_bytes(joined.bytes()));
        }
        kv.write(batch, Durability::Synced)
    }

    fn new_database(&self) -> WriteBatch {
        let (number, hash) = (self.genesis.header.number, self.genesis.hash);
        let bytes = self.genesis.to_pb().encode_to_vec();
        let voters: Vec<u64> = self.config().orderers.keys().copied().collect();
        let (index, term) = (0, 0);
        let applied = Applied {
            index,
            number,
            hash,
        };
        let mut batch = WriteBatch::new();
        batch.put(META, GENESIS, encode_bytes(&bytes));
        batch.put(META, HARD_STATE, encode_hard_state(&Default::default()));
        batch.put(META, CONF_STATE, encode_numbers(&voters));
        batch.put(META, APPLIED, applied.encode());
        let start = Start {
            index,
            term,
            number,
            hash,
            voters,
        };
        batch.put(META, START, start.encode());
        batch.put(META, DELIVERABLE, encode_numbers(&[number.0]));
        let place = BlockPlace { index, hash };
        batch.put(BLOCKS, key(number.0), place.encode());
        for certificate in self.configuration.certificates() {
            let value = encode_certificate(number, certificate.der());
            batch.put(CERTIFICATES, certificate.fingerprint().to_bytes(), value);
        }
        batch.put(META, CHANNEL, encode_channel(self.id().as_str()));
        batch
    }

    /// The block 0 in a channel's database; nothing when the database was never finished.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be read, or belongs to another channel than `id`.
    pub fn stored_genesis(kv: &dyn Kv, id: &ChannelId) -> Result<Option<Bytes>, StoreError> {
        let Some(name) = kv.get(META, CHANNEL)? else {
            return Ok(None);
        };
        let name = decode_channel(name)?;
        if name != id.as_str().as_bytes() {
            let (found, expected) = (String::from_utf8_lossy(&name).into_owned(), id.to_string());
            return Err(StoreError::Channel { found, expected });
        }
        kv.get(META, GENESIS)?
            .map(|value| decode_bytes("block 0", value))
            .transpose()
    }
}

/// The number of the orderer with this certificate in a configuration.
pub fn orderer_with(config: &ChannelConfig, certificate: &[u8]) -> Option<u64> {
    let orderers = config.orderers.values();
    orderers
        .into_iter()
        .find(|orderer| orderer.certificate == certificate)
        .map(|orderer| orderer.id)
}

/// The number under which this node joined, if its database says so.
///
/// # Errors
/// [`StoreError`] when it cannot be read.
pub fn stored_orderer(kv: &dyn KvRead) -> Result<Option<u64>, StoreError> {
    let Some(value) = kv.get(META, ORDERER)? else {
        return Ok(None);
    };
    match decode_numbers("the orderer's number", value)?[..] {
        [orderer] => Ok(Some(orderer)),
        _ => Err(corrupt("the orderer's number")),
    }
}

/// The configuration with which this node joined, if block 0 does not name it.
///
/// # Errors
/// [`StoreError`] when it cannot be read or is not sound.
pub fn stored_joined(kv: &dyn KvRead) -> Result<Option<Arc<Configuration>>, StoreError> {
    let Some(value) = kv.get(META, JOINED)? else {
        return Ok(None);
    };
    let bytes = decode_bytes("the configuration that was joined with", value)?;
    let configuration = Configuration::new(bytes).map_err(|error| corrupt(error.to_string()))?;
    Ok(Some(Arc::new(configuration)))
}

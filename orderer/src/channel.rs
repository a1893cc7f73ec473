//! What block 0 of a channel says, checked for what an orderer needs of it.

use std::collections::BTreeMap;

use bytes::Bytes;
use stela_identity::{
    Certificate, CertificateError, IdentityError, Msp, MspError, PublicKey, SignatureError,
};
use stela_protocol::block::{Block, BlockError};
use stela_protocol::config::{self, ChannelConfig, ConfigError};
use stela_protocol::limits::SIGNATURE_BYTES;
use stela_protocol::{ChannelId, Fingerprint, Hash32, Message, OrgId, hash};
use stela_store::{Durability, Kv, StoreError, WriteBatch};

use crate::layout::{
    APPLIED, Applied, BLOCKS, BlockPlace, CERTIFICATES, CHANNEL, CONF_STATE, DELIVERABLE, GENESIS,
    HARD_STATE, META, decode_bytes, encode_bytes, encode_certificate, encode_hard_state,
    encode_numbers, key,
};

/// Why a block 0 describes no channel that can be ordered.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The bytes are no block.
    #[error(transparent)]
    Block(#[from] BlockError),
    /// The configuration is not sound.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A member's root certificate is not sound.
    #[error(transparent)]
    Msp(#[from] MspError),
    /// A certificate in the configuration cannot be read.
    #[error("the certificate of {of}: {source}")]
    Certificate {
        /// Whose.
        of: String,
        /// Why not.
        source: CertificateError,
    },
    /// A certificate in the configuration is not its organization's.
    #[error("the certificate of {of}: {source}")]
    Identity {
        /// Whose.
        of: String,
        /// Why not.
        source: IdentityError,
    },
    /// An orderer's certificate names another organization than the configuration.
    #[error("orderer {orderer} is of {configured}, but its certificate is of {named}")]
    Organization {
        /// The orderer.
        orderer: u64,
        /// Its organization in the configuration.
        configured: OrgId,
        /// Its organization in the certificate.
        named: OrgId,
    },
    /// Two orderers with one key would count as two signatures.
    #[error("orderers {0} and {1} have the same key")]
    SameKey(u64, u64),
}

/// A channel as block 0 describes it.
pub struct Channel {
    /// The configuration.
    pub config: ChannelConfig,
    /// The same as it travelled.
    pub config_bytes: Bytes,
    /// Whom it vouches for.
    pub msp: Msp,
    /// Block 0.
    pub genesis: Block,
    keys: BTreeMap<u64, PublicKey>,
    certificates: Vec<(Fingerprint, Bytes)>,
}

impl Channel {
    /// Parses and checks block 0.
    ///
    /// # Errors
    /// [`ChannelError`] says what is wrong with it.
    pub fn from_genesis(bytes: Bytes) -> Result<Self, ChannelError> {
        let genesis = Block::decode(bytes)?;
        let (config_bytes, config) = config::from_genesis(&genesis)?;
        let msp = Msp::from_config(&config)?;
        let keys = orderer_keys(&config, &msp)?;
        let certificates = known_certificates(&config, &msp)?;
        Ok(Self {
            config,
            config_bytes,
            msp,
            genesis,
            keys,
            certificates,
        })
    }

    /// The channel's name.
    pub fn id(&self) -> &ChannelId {
        &self.config.channel
    }

    /// The number of the orderer with this certificate.
    pub fn orderer_with(&self, certificate: &[u8]) -> Option<u64> {
        let orderers = self.config.orderers.values();
        orderers
            .into_iter()
            .find(|orderer| orderer.certificate == certificate)
            .map(|o| o.id)
    }

    /// The other orderers' numbers.
    pub fn others(&self, own: u64) -> impl Iterator<Item = u64> {
        self.config
            .orderers
            .keys()
            .copied()
            .filter(move |id| *id != own)
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
        let key = self.keys.get(&orderer).ok_or(SignatureError)?;
        key.verify(hash::domain::HEADER, header_hash.as_bytes(), signature)
    }

    /// Writes a new channel's database, whole or not at all. Block 0 lies beside the log, which
    /// begins with block 1: so all orderers start alike, with an empty log and the configuration's
    /// orderers as voters.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be written.
    pub fn create(&self, kv: &dyn Kv) -> Result<(), StoreError> {
        let hash = self.genesis.hash;
        let number = self.genesis.header.number;
        let mut bytes = self.genesis.to_pb();
        bytes.signatures.clear();
        let voters: Vec<u64> = self.config.orderers.keys().copied().collect();
        let mut batch = WriteBatch::new();
        batch.put(META, GENESIS, encode_bytes(&bytes.encode_to_vec()));
        batch.put(META, HARD_STATE, encode_hard_state(&Default::default()));
        batch.put(META, CONF_STATE, encode_numbers(&voters));
        batch.put(
            META,
            APPLIED,
            Applied {
                index: 0,
                number,
                hash,
            }
            .encode(),
        );
        batch.put(META, DELIVERABLE, encode_numbers(&[number.0]));
        batch.put(
            BLOCKS,
            key(number.0),
            BlockPlace { index: 0, hash }.encode(),
        );
        for (fingerprint, der) in &self.certificates {
            batch.put(
                CERTIFICATES,
                fingerprint.to_bytes(),
                encode_certificate(number, der),
            );
        }
        batch.put(META, CHANNEL, encode_bytes(self.id().as_str().as_bytes()));
        kv.write(batch, Durability::Synced)
    }

    /// The block 0 in a channel's database; nothing when the database was never finished.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be read, or belongs to another channel than `id`.
    pub fn stored_genesis(kv: &dyn Kv, id: &ChannelId) -> Result<Option<Bytes>, StoreError> {
        let Some(name) = kv.get(META, CHANNEL)? else {
            return Ok(None);
        };
        let name = decode_bytes("the channel's name", name)?;
        if name != id.as_str().as_bytes() {
            let (found, expected) = (String::from_utf8_lossy(&name).into_owned(), id.to_string());
            return Err(StoreError::Channel { found, expected });
        }
        kv.get(META, GENESIS)?
            .map(|value| decode_bytes("block 0", value))
            .transpose()
    }
}

fn admitted(of: String, der: &[u8], msp: &Msp) -> Result<Certificate, ChannelError> {
    let certificate = Certificate::from_der(der).map_err(|source| ChannelError::Certificate {
        of: of.clone(),
        source,
    })?;
    match msp.admit(&certificate) {
        // A revoked certificate may stand in a configuration; it is refused when it is used.
        Ok(_) | Err(IdentityError::Revoked { .. }) => Ok(certificate),
        Err(source) => Err(ChannelError::Identity { of, source }),
    }
}

fn orderer_keys(
    config: &ChannelConfig,
    msp: &Msp,
) -> Result<BTreeMap<u64, PublicKey>, ChannelError> {
    let mut keys = BTreeMap::<u64, PublicKey>::new();
    for orderer in config.orderers.values() {
        let certificate = admitted(format!("orderer {}", orderer.id), &orderer.certificate, msp)?;
        if *certificate.organization() != orderer.organization {
            return Err(ChannelError::Organization {
                orderer: orderer.id,
                configured: orderer.organization.clone(),
                named: certificate.organization().clone(),
            });
        }
        let key = *certificate.public_key();
        if let Some((other, _)) = keys.iter().find(|(_, known)| **known == key) {
            return Err(ChannelError::SameKey(*other, orderer.id));
        }
        keys.insert(orderer.id, key);
    }
    Ok(keys)
}

/// The certificates known from block 1 on without a registration.
fn known_certificates(
    config: &ChannelConfig,
    msp: &Msp,
) -> Result<Vec<(Fingerprint, Bytes)>, ChannelError> {
    let listed = config.certificates.iter().map(|der| {
        let fingerprint = hash::fingerprint(der);
        admitted(format!("{fingerprint}"), der, msp)
    });
    listed
        .map(|known| known.map(|c| (c.fingerprint(), c.der().clone())))
        .collect()
}

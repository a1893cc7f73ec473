//! A configuration that can be in force.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use stela_protocol::config::{ChannelConfig, ConfigError};
use stela_protocol::{Fingerprint, Hash32, OrgId, hash};

use crate::certificate::{Certificate, CertificateError};
use crate::msp::{Identity, IdentityError, Msp, MspError};
use crate::tls::TlsRoots;

/// Why a configuration cannot be in force.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigurationError {
    /// It is not sound in itself.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A member's root certificate is not.
    #[error(transparent)]
    Msp(#[from] MspError),
    /// A member's TLS root is not.
    #[error("a TLS root: {0}")]
    Tls(String),
    /// A certificate in it cannot be read.
    #[error("the certificate of {of}: {source}")]
    Certificate {
        /// Whose.
        of: String,
        /// Why not.
        source: CertificateError,
    },
    /// A certificate in it is not its organization's.
    #[error("the certificate of {of}: {source}")]
    Identity {
        /// Whose.
        of: String,
        /// Why not.
        source: IdentityError,
    },
    /// An orderer's certificate names another organization than the configuration.
    #[error("orderer {orderer} is of {organization}, but its certificate is of {named}")]
    OrdererOrganization {
        /// The orderer's number.
        orderer: u64,
        /// The organization in the configuration.
        organization: OrgId,
        /// The organization in the certificate.
        named: OrgId,
    },
    /// Two orderers with one key would count as two signatures.
    #[error("orderers {0} and {1} have the same key")]
    SameKey(u64, u64),
    /// Fewer orderers can sign than the quorum needs: the others' certificates are revoked.
    #[error("the certificates of {usable} orderers are accepted, the quorum is {quorum}")]
    TooFewOrderers {
        /// Orderers whose certificates are accepted.
        usable: usize,
        /// The quorum.
        quorum: usize,
    },
}

/// A configuration that is sound: in itself, in its members' roots, and in the certificates that it
/// carries. It never changes. Whether a certificate's time is right is not asked here.
pub struct Configuration {
    bytes: Bytes,
    hash: Hash32,
    config: ChannelConfig,
    msp: Msp,
    orderers: BTreeMap<u64, Identity>,
    certificates: Vec<Certificate>,
}

impl Configuration {
    /// Reads an encoded `ChannelConfig`. A certificate in it may be revoked: then it is refused
    /// when it is used, and an orderer with it signs nothing that counts.
    ///
    /// # Errors
    /// [`ConfigurationError`] says which part is not sound.
    pub fn new(bytes: Bytes) -> Result<Self, ConfigurationError> {
        let config = ChannelConfig::decode(&bytes)?;
        let msp = Msp::from_config(&config)?;
        TlsRoots::new()
            .add_config(&config)
            .map_err(|error| ConfigurationError::Tls(error.to_string()))?;
        let orderers = orderers(&config, &msp)?;
        let (usable, quorum) = (orderers.len(), config.orderer_quorum);
        if usable < quorum {
            return Err(ConfigurationError::TooFewOrderers { usable, quorum });
        }
        let certificates = config.certificates.iter().map(|der| {
            let of: Fingerprint = hash::fingerprint(der);
            admit(&of.to_string(), der, &msp).map(|(certificate, _)| certificate)
        });
        Ok(Self {
            hash: hash::config(&bytes),
            certificates: certificates.collect::<Result<_, _>>()?,
            bytes,
            config,
            msp,
            orderers,
        })
    }

    /// As it travelled.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The hash that a change of it names as its base.
    pub fn hash(&self) -> Hash32 {
        self.hash
    }

    /// The parsed form.
    pub fn config(&self) -> &ChannelConfig {
        &self.config
    }

    /// Which certificates are accepted.
    pub fn msp(&self) -> &Msp {
        &self.msp
    }

    /// Who signs headers as this orderer; nobody if there is none or its certificate is revoked.
    pub fn orderer(&self, id: u64) -> Option<&Identity> {
        self.orderers.get(&id)
    }

    /// The certificates that it makes known without a registration, from the block after it on.
    pub fn certificates(&self) -> &[Certificate] {
        &self.certificates
    }
}

impl fmt::Debug for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (channel, sequence) = (&self.config.channel, self.config.sequence);
        write!(f, "Configuration({channel}, sequence {sequence})")
    }
}

fn orderers(
    config: &ChannelConfig,
    msp: &Msp,
) -> Result<BTreeMap<u64, Identity>, ConfigurationError> {
    let mut keys = BTreeMap::new();
    let mut usable = BTreeMap::new();
    for orderer in config.orderers.values() {
        let of = format!("orderer {}", orderer.id);
        let (certificate, identity) = admit(&of, &orderer.certificate, msp)?;
        if *certificate.organization() != orderer.organization {
            return Err(ConfigurationError::OrdererOrganization {
                orderer: orderer.id,
                organization: orderer.organization.clone(),
                named: certificate.organization().clone(),
            });
        }
        if let Some(other) = keys.insert(*certificate.public_key(), orderer.id) {
            return Err(ConfigurationError::SameKey(other, orderer.id));
        }
        usable.extend(identity.map(|identity| (orderer.id, identity)));
    }
    Ok(usable)
}

/// Reads a certificate in a configuration, and says who it identifies unless it is revoked.
fn admit(
    of: &str,
    der: &[u8],
    msp: &Msp,
) -> Result<(Certificate, Option<Identity>), ConfigurationError> {
    let of = || of.to_owned();
    let certificate = Certificate::from_der(der)
        .map_err(|source| ConfigurationError::Certificate { of: of(), source })?;
    match msp.admit(&certificate) {
        Ok(identity) => Ok((certificate, Some(identity))),
        Err(IdentityError::Revoked { .. }) => Ok((certificate, None)),
        Err(source) => Err(ConfigurationError::Identity { of: of(), source }),
    }
}

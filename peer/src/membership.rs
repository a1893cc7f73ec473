//! A channel's configuration in force, and who certificates identify under it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use stela_identity::{
    Certificate, CertificateError, Identity, IdentityCache, IdentityError, Msp, MspError,
};
use stela_protocol::config::{ChannelConfig, ConfigError, Orderer};
use stela_protocol::{ContractName, Fingerprint, OrgId};
use stela_store::{LedgerRead, StoreError};

use crate::limits::CERTIFICATES_PER_READ;

/// The role of a certificate whose endorsements are asked for.
pub(crate) const ENDORSER_ROLE: &str = "peer";

/// Why a configuration cannot be put into force.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MembershipError {
    /// It is not sound in itself.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Its root certificates are not.
    #[error(transparent)]
    Msp(#[from] MspError),
    /// The certificate of an orderer cannot be read.
    #[error("the certificate of orderer {orderer}: {source}")]
    Orderer {
        /// The orderer's number.
        orderer: u64,
        /// What is wrong.
        source: CertificateError,
    },
    /// The certificate of an orderer is not its organization's.
    #[error("the certificate of orderer {orderer} names {named}, not {organization}")]
    OrdererOrganization {
        /// The orderer's number.
        orderer: u64,
        /// The organization in the certificate.
        named: OrgId,
        /// The organization in the configuration.
        organization: OrgId,
    },
    /// Fewer orderers can sign than the quorum needs.
    #[error("the certificates of {usable} orderers are accepted, the quorum is {quorum}")]
    TooFewOrderers {
        /// Orderers whose certificates are accepted.
        usable: usize,
        /// The quorum.
        quorum: usize,
    },
}

/// Sets of organizations that satisfy a policy, the first to be tried first.
pub(crate) type Layouts = Arc<Vec<BTreeSet<OrgId>>>;

/// A configuration in force with what follows from it. It never changes; identities that were
/// admitted are kept, up to a bound.
pub struct Membership {
    config: ChannelConfig,
    bytes: Bytes,
    msp: Msp,
    orderers: BTreeMap<u64, Identity>,
    cache: IdentityCache,
    /// Found out when they are first asked for.
    layouts: Mutex<BTreeMap<(ContractName, OrgId), Layouts>>,
}

impl Membership {
    /// Puts an encoded `ChannelConfig` into force. An orderer whose certificate was revoked, or is
    /// not its authority's, signs nothing that counts.
    ///
    /// # Errors
    /// [`MembershipError`] says which part is not sound.
    pub fn new(bytes: Bytes) -> Result<Self, MembershipError> {
        let config = ChannelConfig::decode(&bytes)?;
        let msp = Msp::from_config(&config)?;
        let mut orderers = BTreeMap::new();
        for orderer in config.orderers.values() {
            let certificate = orderer_certificate(orderer)?;
            if let Ok(identity) = msp.admit(&certificate) {
                orderers.insert(orderer.id, identity);
            }
        }
        let (usable, quorum) = (orderers.len(), config.orderer_quorum);
        if usable < quorum {
            return Err(MembershipError::TooFewOrderers { usable, quorum });
        }
        Ok(Self {
            config,
            bytes,
            msp,
            orderers,
            cache: IdentityCache::default(),
            layouts: Mutex::default(),
        })
    }

    /// The configuration.
    pub fn config(&self) -> &ChannelConfig {
        &self.config
    }

    /// The configuration as it travelled.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Which certificates are accepted.
    pub fn msp(&self) -> &Msp {
        &self.msp
    }

    /// Who signs headers as this orderer.
    pub fn orderer(&self, id: u64) -> Option<&Identity> {
        self.orderers.get(&id)
    }

    /// Who certificates identify that the ledger knows. Those that it does not know, or that the
    /// configuration does not accept, are left out; whether the time is right is not asked.
    ///
    /// # Errors
    /// [`StoreError`] when the ledger cannot be read.
    pub fn find(
        &self,
        ledger: &dyn LedgerRead,
        wanted: &BTreeSet<Fingerprint>,
    ) -> Result<HashMap<Fingerprint, Arc<Identity>>, StoreError> {
        let mut found = HashMap::with_capacity(wanted.len());
        let mut unknown = Vec::new();
        for fingerprint in wanted {
            match self.cache.known(fingerprint, self.msp.sequence()) {
                Some(identity) => drop(found.insert(*fingerprint, identity)),
                None => unknown.push(*fingerprint),
            }
        }
        for page in unknown.chunks(CERTIFICATES_PER_READ) {
            let records = ledger.certificates(page)?;
            for (fingerprint, record) in page.iter().zip(records) {
                if let Some(identity) = record.and_then(|record| self.identify(&record.der)) {
                    found.insert(*fingerprint, identity);
                }
            }
        }
        Ok(found)
    }

    /// The same for one certificate.
    ///
    /// # Errors
    /// [`StoreError`] when the ledger cannot be read.
    pub fn find_one(
        &self,
        ledger: &dyn LedgerRead,
        wanted: &Fingerprint,
    ) -> Result<Option<Arc<Identity>>, StoreError> {
        if let Some(identity) = self.cache.known(wanted, self.msp.sequence()) {
            return Ok(Some(identity));
        }
        let record = ledger.certificate(wanted)?;
        Ok(record.and_then(|record| self.identify(&record.der)))
    }

    /// Who a certificate identifies at a time, whether the ledger knows it or not.
    ///
    /// # Errors
    /// [`IdentityError`] says why it identifies nobody.
    pub fn validate(&self, certificate: &Certificate, at_ms: u64) -> Result<(), IdentityError> {
        // Not through the cache: it holds only what the ledger knows.
        self.msp.validate(certificate, at_ms).map(drop)
    }

    /// The smallest sets of organizations whose endorsers satisfy the policy of a contract, those
    /// with `first` first; nothing for a contract that is not defined.
    pub(crate) fn layouts(&self, contract: &ContractName, first: &OrgId) -> Option<Layouts> {
        let defined = self.config.contracts.get(contract)?;
        let mut layouts = self.layouts.lock();
        let found = layouts
            .entry((contract.clone(), first.clone()))
            .or_insert_with(|| defined.policy.organizations(ENDORSER_ROLE, first).into());
        Some(found.clone())
    }

    fn identify(&self, der: &[u8]) -> Option<Arc<Identity>> {
        let certificate = Certificate::from_der(der).ok()?;
        self.cache.admit(&self.msp, &certificate).ok()
    }
}

impl fmt::Debug for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Membership({}, sequence {})",
            self.config.channel, self.config.sequence
        )
    }
}

fn orderer_certificate(orderer: &Orderer) -> Result<Certificate, MembershipError> {
    let id = orderer.id;
    let certificate =
        Certificate::from_der(&orderer.certificate).map_err(|source| MembershipError::Orderer {
            orderer: id,
            source,
        })?;
    if certificate.organization() != &orderer.organization {
        return Err(MembershipError::OrdererOrganization {
            orderer: id,
            named: certificate.organization().clone(),
            organization: orderer.organization.clone(),
        });
    }
    Ok(certificate)
}

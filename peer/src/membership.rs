//! A channel's configuration in force, and who certificates identify under it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use stela_identity::{
    Certificate, Configuration, ConfigurationError, Identity, IdentityCache, IdentityError, Msp,
};
use stela_protocol::config::ChannelConfig;
use stela_protocol::{ContractName, Fingerprint, OrgId};
use stela_store::{LedgerRead, StoreError};

use crate::limits::CERTIFICATES_PER_READ;
use crate::verified::Verified;

/// The role of a certificate whose endorsements are asked for.
pub(crate) const ENDORSER_ROLE: &str = "peer";

/// Sets of organizations that satisfy a policy, the first to be tried first.
pub(crate) type Layouts = Arc<Vec<BTreeSet<OrgId>>>;

/// A configuration in force with what follows from it. It never changes: another one takes its
/// place. Identities that were admitted are kept, up to a bound.
pub struct Membership {
    configuration: Configuration,
    cache: IdentityCache,
    verified: Verified,
    /// Found out when they are first asked for.
    layouts: Mutex<BTreeMap<(ContractName, OrgId), Layouts>>,
}

impl Membership {
    /// Puts an encoded `ChannelConfig` into force.
    ///
    /// # Errors
    /// [`ConfigurationError`] says which part is not sound.
    pub fn new(bytes: Bytes) -> Result<Self, ConfigurationError> {
        Configuration::new(bytes).map(Self::from)
    }

    /// The configuration with its hash and certificates.
    pub fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    /// The configuration.
    pub fn config(&self) -> &ChannelConfig {
        self.configuration.config()
    }

    /// The configuration as it travelled.
    pub fn bytes(&self) -> &Bytes {
        self.configuration.bytes()
    }

    /// Which certificates are accepted.
    pub fn msp(&self) -> &Msp {
        self.configuration.msp()
    }

    /// The signatures that are known to be valid.
    pub(crate) fn verified(&self) -> &Verified {
        &self.verified
    }

    /// Who signs headers as this orderer.
    pub fn orderer(&self, id: u64) -> Option<&Identity> {
        self.configuration.orderer(id)
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
            match self.cache.known(fingerprint, self.msp().sequence()) {
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
        if let Some(identity) = self.cache.known(wanted, self.msp().sequence()) {
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
        self.msp().validate(certificate, at_ms).map(drop)
    }

    /// The smallest sets of organizations whose endorsers satisfy the policy of a contract, those
    /// with `first` first; nothing for a contract that is not defined.
    pub(crate) fn layouts(&self, contract: &ContractName, first: &OrgId) -> Option<Layouts> {
        let defined = self.config().contracts.get(contract)?;
        let mut layouts = self.layouts.lock();
        let found = layouts
            .entry((contract.clone(), first.clone()))
            .or_insert_with(|| defined.policy.organizations(ENDORSER_ROLE, first).into());
        Some(found.clone())
    }

    fn identify(&self, der: &[u8]) -> Option<Arc<Identity>> {
        let certificate = Certificate::from_der(der).ok()?;
        self.cache.admit(self.msp(), &certificate).ok()
    }
}

impl From<Configuration> for Membership {
    fn from(configuration: Configuration) -> Self {
        Self {
            configuration,
            cache: IdentityCache::default(),
            verified: Verified::default(),
            layouts: Mutex::default(),
        }
    }
}

impl fmt::Debug for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Membership({:?})", self.configuration)
    }
}

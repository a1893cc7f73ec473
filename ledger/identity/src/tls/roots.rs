//! Whom to trust with TLS.

use std::collections::{BTreeMap, BTreeSet};

use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use stela_protocol::config::ChannelConfig;
use stela_protocol::{Fingerprint, OrgId};

use super::{TlsError, organization_of};

/// The TLS roots of organizations, and the TLS certificates that they have revoked.
#[derive(Debug, Clone, Default)]
pub struct TlsRoots {
    pub(super) organizations: BTreeMap<OrgId, OrganizationRoots>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct OrganizationRoots {
    /// DER.
    pub(super) roots: BTreeSet<Vec<u8>>,
    pub(super) revoked: BTreeSet<Fingerprint>,
}

impl TlsRoots {
    /// Nobody yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a root of an organization. A node adds its own organization's before it has joined any
    /// channel, so that its administrators reach it.
    ///
    /// # Errors
    /// [`TlsError`] when the certificate is not a root of this organization.
    pub fn add(mut self, organization: &OrgId, root: &[u8]) -> Result<Self, TlsError> {
        let named = organization_of(root)?;
        if named != *organization {
            return Err(TlsError::Organization {
                organization: organization.clone(),
                named,
            });
        }
        RootCertStore::empty().add(CertificateDer::from(root))?;
        self.organizations
            .entry(named)
            .or_default()
            .roots
            .insert(root.to_vec());
        Ok(self)
    }

    /// Adds what a channel's configuration says. A node of several channels adds each.
    ///
    /// # Errors
    /// As [`TlsRoots::add`].
    pub fn add_config(mut self, config: &ChannelConfig) -> Result<Self, TlsError> {
        for organization in config.organizations.values() {
            for root in &organization.tls_root_certificates {
                self = self.add(&organization.id, root)?;
            }
            let entry = self
                .organizations
                .entry(organization.id.clone())
                .or_default();
            entry.revoked.extend(&organization.revoked);
        }
        Ok(self)
    }
}

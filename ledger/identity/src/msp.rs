//! Membership: which certificates a channel's configuration accepts, and as whom.
//!
//! Everything here is decided from the configuration and the time that is passed in, so that every
//! node decides alike: transactions are judged by their block's time, never by a clock.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use stela_protocol::config::{ChannelConfig, Organization};
use stela_protocol::policy::Signer;
use stela_protocol::{Fingerprint, OrgId};

use crate::certificate::{Certificate, CertificateError, Root};
use crate::keys::{PublicKey, SignatureError};
use crate::limits::IDENTITY_CACHE_ENTRIES;

/// Why a configuration describes no membership.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MspError {
    /// The root certificate is not accepted.
    #[error("the root certificate of {organization}: {source}")]
    Root {
        /// Whose.
        organization: OrgId,
        /// Why not.
        source: CertificateError,
    },
    /// The root certificate is another organization's.
    #[error("the root certificate of {organization} names {named}")]
    Organization {
        /// The organization in the configuration.
        organization: OrgId,
        /// The organization in the certificate.
        named: OrgId,
    },
}

/// Why a certificate identifies nobody here and now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// Its organization is not a member.
    #[error("{organization} is not a member of the channel")]
    UnknownOrganization {
        /// The organization that it names.
        organization: OrgId,
    },
    /// It names another issuer than its organization's root.
    #[error("certificate {fingerprint} names {organization} but not its authority")]
    WrongIssuer {
        /// The certificate.
        fingerprint: Fingerprint,
        /// The organization that it names.
        organization: OrgId,
    },
    /// The signature is not the authority's.
    #[error("certificate {fingerprint} is not signed by the authority of {organization}")]
    BadSignature {
        /// The certificate.
        fingerprint: Fingerprint,
        /// The organization that it names.
        organization: OrgId,
    },
    /// Its organization has revoked it.
    #[error("certificate {fingerprint} has been revoked by {organization}")]
    Revoked {
        /// The certificate.
        fingerprint: Fingerprint,
        /// Its organization.
        organization: OrgId,
    },
    /// Its organization may not have certificates of this role.
    #[error(
        "certificate {fingerprint} of {organization} has a role that the channel does not give it"
    )]
    Role {
        /// The certificate.
        fingerprint: Fingerprint,
        /// Its organization.
        organization: OrgId,
    },
    /// It, or its authority's, is not valid yet.
    #[error("certificate {fingerprint} is not valid before {not_before_ms} ms, it is {at_ms} ms")]
    NotYetValid {
        /// The certificate.
        fingerprint: Fingerprint,
        /// From when on it is.
        not_before_ms: u64,
        /// The time that was asked about.
        at_ms: u64,
    },
    /// It, or its authority's, is not valid any more.
    #[error("certificate {fingerprint} is not valid after {not_after_ms} ms, it is {at_ms} ms")]
    Expired {
        /// The certificate.
        fingerprint: Fingerprint,
        /// Up to when it was.
        not_after_ms: u64,
        /// The time that was asked about.
        at_ms: u64,
    },
}

/// Whom an [`Msp`] vouches for, between two moments.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// The certificate's fingerprint.
    pub fingerprint: Fingerprint,
    /// The organization.
    pub organization: OrgId,
    /// The common name.
    pub common_name: String,
    /// The role.
    pub role: String,
    /// All attributes, the role included.
    pub attributes: BTreeMap<String, String>,
    /// The key. Whoever counts signers counts keys, not certificates.
    pub public_key: PublicKey,
    /// From when on, in milliseconds since the Unix epoch.
    pub not_before_ms: u64,
    /// Up to when, inclusive, in milliseconds since the Unix epoch.
    pub not_after_ms: u64,
}

impl Identity {
    /// Whether the certificate and its authority's are valid at a time.
    ///
    /// # Errors
    /// [`IdentityError::NotYetValid`] or [`IdentityError::Expired`].
    pub fn check_time(&self, at_ms: u64) -> Result<(), IdentityError> {
        let Self {
            fingerprint,
            not_before_ms,
            not_after_ms,
            ..
        } = *self;
        if at_ms < not_before_ms {
            return Err(IdentityError::NotYetValid {
                fingerprint,
                not_before_ms,
                at_ms,
            });
        }
        if at_ms > not_after_ms {
            return Err(IdentityError::Expired {
                fingerprint,
                not_after_ms,
                at_ms,
            });
        }
        Ok(())
    }

    /// As policies count her.
    pub fn as_signer(&self) -> Signer {
        Signer {
            organization: self.organization.clone(),
            role: self.role.clone(),
            public_key: *self.public_key.as_bytes(),
        }
    }

    /// Verifies a signature over `domain ‖ message` under the identity's key.
    ///
    /// # Errors
    /// [`SignatureError`] when it is not valid.
    pub fn verify(
        &self,
        domain: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), SignatureError> {
        self.public_key.verify(domain, message, signature)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Identity({}.{} {})",
            self.organization, self.role, self.fingerprint
        )
    }
}

/// The membership of a channel under one configuration.
pub struct Msp {
    sequence: u64,
    members: BTreeMap<OrgId, Member>,
}

struct Member {
    root: Root,
    revoked: BTreeSet<Fingerprint>,
    roles: BTreeSet<String>,
}

impl Member {
    fn new(id: &OrgId, root: &[u8]) -> Result<Self, MspError> {
        let root = Root::from_der(root).map_err(|source| MspError::Root {
            organization: id.clone(),
            source,
        })?;
        if root.organization != *id {
            return Err(MspError::Organization {
                organization: id.clone(),
                named: root.organization,
            });
        }
        Ok(Self {
            root,
            revoked: BTreeSet::new(),
            roles: BTreeSet::new(),
        })
    }
}

impl Msp {
    /// The membership that a configuration describes.
    ///
    /// # Errors
    /// [`MspError`] when a root certificate is not sound.
    pub fn from_config(config: &ChannelConfig) -> Result<Self, MspError> {
        let members = config
            .organizations
            .values()
            .map(member)
            .collect::<Result<_, _>>()?;
        Ok(Self {
            sequence: config.sequence,
            members,
        })
    }

    /// The membership of one organization alone, under its root (DER): it tells a node who its own
    /// administrators are before a channel's configuration does, and whoever knows no channel who
    /// belongs to the organization.
    ///
    /// # Errors
    /// [`MspError`] when the root certificate is not sound.
    pub fn of_organization(id: &OrgId, root: &[u8]) -> Result<Self, MspError> {
        let member = Member::new(id, root)?;
        Ok(Self {
            sequence: 0,
            members: BTreeMap::from([(id.clone(), member)]),
        })
    }

    /// The configuration's number.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The members.
    pub fn organizations(&self) -> impl Iterator<Item = &OrgId> {
        self.members.keys()
    }

    /// Who a certificate identifies, if the time is right; for the time ask
    /// [`Identity::check_time`].
    ///
    /// # Errors
    /// [`IdentityError`], but never for the time.
    pub fn admit(&self, certificate: &Certificate) -> Result<Identity, IdentityError> {
        let organization = certificate.organization();
        let fingerprint = certificate.fingerprint();
        let Some(member) = self.members.get(organization) else {
            return Err(IdentityError::UnknownOrganization {
                organization: organization.clone(),
            });
        };
        let organization = organization.clone();
        if certificate.issuer() != member.root.subject {
            return Err(IdentityError::WrongIssuer {
                fingerprint,
                organization,
            });
        }
        if member.revoked.contains(&fingerprint) {
            return Err(IdentityError::Revoked {
                fingerprint,
                organization,
            });
        }
        if !certificate.is_signed_by(&member.root.public_key) {
            return Err(IdentityError::BadSignature {
                fingerprint,
                organization,
            });
        }
        if !member.roles.is_empty() && !member.roles.contains(certificate.role()) {
            return Err(IdentityError::Role {
                fingerprint,
                organization,
            });
        }
        Ok(Identity {
            fingerprint,
            organization,
            common_name: certificate.common_name().to_owned(),
            role: certificate.role().to_owned(),
            attributes: certificate.attributes().clone(),
            public_key: *certificate.public_key(),
            not_before_ms: certificate.not_before_ms().max(member.root.not_before_ms),
            not_after_ms: certificate.not_after_ms().min(member.root.not_after_ms),
        })
    }

    /// Who a certificate identifies at a time.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn validate(
        &self,
        certificate: &Certificate,
        at_ms: u64,
    ) -> Result<Identity, IdentityError> {
        let identity = self.admit(certificate)?;
        identity.check_time(at_ms)?;
        Ok(identity)
    }

    /// Whether any member has revoked this certificate.
    pub fn is_revoked(&self, fingerprint: &Fingerprint) -> bool {
        self.members
            .values()
            .any(|member| member.revoked.contains(fingerprint))
    }
}

impl fmt::Debug for Msp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Msp({} organizations, sequence {})",
            self.members.len(),
            self.sequence
        )
    }
}

fn member(organization: &Organization) -> Result<(OrgId, Member), MspError> {
    let member = Member {
        revoked: organization.revoked.clone(),
        roles: organization.roles.clone(),
        ..Member::new(&organization.id, &organization.root_certificate)?
    };
    Ok((organization.id.clone(), member))
}

/// Identities that were admitted, by certificate and configuration, so that each certificate's
/// signature is verified once per configuration. Refusals are not kept. It is for the
/// configurations of one channel.
pub struct IdentityCache {
    generations: Mutex<Generations>,
    capacity: usize,
}

type Entries = HashMap<(Fingerprint, u64), Arc<Identity>>;

/// When the young half is full the old half is forgotten; what is used stays young.
#[derive(Default)]
struct Generations {
    young: Entries,
    old: Entries,
}

impl IdentityCache {
    /// A cache of at most `capacity` identities.
    pub fn new(capacity: usize) -> Self {
        Self {
            generations: Mutex::default(),
            capacity,
        }
    }

    /// As [`Msp::admit`].
    ///
    /// # Errors
    /// As [`Msp::admit`].
    pub fn admit(
        &self,
        msp: &Msp,
        certificate: &Certificate,
    ) -> Result<Arc<Identity>, IdentityError> {
        let key = (certificate.fingerprint(), msp.sequence());
        if let Some(identity) = self.get(&key) {
            return Ok(identity);
        }
        let identity = Arc::new(msp.admit(certificate)?);
        self.generations
            .lock()
            .insert(key, identity.clone(), self.capacity);
        Ok(identity)
    }

    /// As [`Msp::validate`].
    ///
    /// # Errors
    /// As [`Msp::validate`].
    pub fn validate(
        &self,
        msp: &Msp,
        certificate: &Certificate,
        at_ms: u64,
    ) -> Result<Arc<Identity>, IdentityError> {
        let identity = self.admit(msp, certificate)?;
        identity.check_time(at_ms)?;
        Ok(identity)
    }

    /// An identity that was admitted before under the configuration with this number. It needs no
    /// certificate, so it spares looking one up.
    pub fn known(&self, fingerprint: &Fingerprint, sequence: u64) -> Option<Arc<Identity>> {
        self.get(&(*fingerprint, sequence))
    }

    fn get(&self, key: &(Fingerprint, u64)) -> Option<Arc<Identity>> {
        let mut generations = self.generations.lock();
        if let Some(identity) = generations.young.get(key) {
            return Some(identity.clone());
        }
        let identity = generations.old.remove(key)?;
        generations.insert(*key, identity.clone(), self.capacity);
        Some(identity)
    }
}

impl Generations {
    fn insert(&mut self, key: (Fingerprint, u64), identity: Arc<Identity>, capacity: usize) {
        if self.young.len() >= (capacity / 2).max(1) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, identity);
    }
}

impl Default for IdentityCache {
    fn default() -> Self {
        Self::new(IDENTITY_CACHE_ENTRIES)
    }
}

#[cfg(test)]
mod tests;

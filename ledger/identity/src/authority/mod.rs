//! Certificate authorities of an organization, for those who set networks up.
//!
//! | File | What |
//! |---|---|
//! | `ca.pem`, `ca.key.pem` | the authority for identities, Ed25519 |
//! | `tls-ca.pem`, `tls-ca.key.pem` | the authority for TLS, P-256 |
//! | `cert.pem`, `key.pem` | a member's [`Credentials`] |
//! | `tls.pem`, `tls.key.pem` | a node's or client's [`TlsIdentity`](crate::tls::TlsIdentity) |
//!
//! The folder of each is the caller's choice. Files with keys have mode 0600. Whatever is issued is
//! read back and checked as everybody else will check it.

mod tls;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, IsCa, Issuer,
    KeyUsagePurpose, PKCS_ED25519, SerialNumber, SignatureAlgorithm,
};
use stela_protocol::limits::SIGNATURE_BYTES;
use stela_protocol::{Fingerprint, OrgId};
use time::OffsetDateTime;

pub use self::tls::TlsAuthority;
use crate::certificate::{
    ATTRIBUTES_OID, Certificate, CertificateError, ROLE, Root, check_attributes, single, to_pem,
};
use crate::files::{self, FileError, Mode};
use crate::keys::{KeyError, PublicKey, SigningKey};
use crate::limits::TLS_NAMES_MAX;
use crate::tls::TlsError;
use crate::x509::is_common_name;

/// Why an authority did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A key could not be read or written.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A certificate is not acceptable.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// A TLS certificate is not acceptable.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The certificate and the key beside it do not belong together.
    #[error("the key does not belong to the certificate")]
    KeyMismatch,
    /// A time that a certificate cannot express.
    #[error("{0} ms since the Unix epoch is no time that a certificate can express")]
    Time(u64),
    /// A name that a TLS certificate cannot have.
    #[error("{0:?} is neither a DNS name nor an IP address")]
    Name(String),
    /// No names for a TLS certificate, or too many.
    #[error("a TLS certificate takes 1 to {TLS_NAMES_MAX} names, not {0}")]
    Names(usize),
    /// The library that encodes certificates refused.
    #[error("the certificate could not be made: {0}")]
    Encoding(String),
}

impl From<rcgen::Error> for AuthorityError {
    fn from(error: rcgen::Error) -> Self {
        Self::Encoding(error.to_string())
    }
}

/// From when to when a certificate is valid, in milliseconds since the Unix epoch. Certificates
/// know whole seconds only: fractions are cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// From when on.
    pub not_before_ms: u64,
    /// Up to when, inclusive.
    pub not_after_ms: u64,
}

/// Whom a certificate is to identify.
#[derive(Clone)]
pub struct Subject {
    /// The common name; for patients a pseudonym.
    pub common_name: String,
    /// The role, as policies name it.
    pub role: String,
    /// Further attributes.
    pub attributes: BTreeMap<String, String>,
    /// The period.
    pub validity: Validity,
}

/// A certificate with its key.
pub struct Credentials {
    /// The certificate.
    pub certificate: Certificate,
    /// The key that belongs to it.
    pub key: SigningKey,
}

impl Credentials {
    /// Reads `cert.pem` and `key.pem` in a folder.
    ///
    /// # Errors
    /// [`AuthorityError`], also when the two do not belong together.
    pub fn load(folder: &Path) -> Result<Self, AuthorityError> {
        let certificate = Certificate::load(&folder.join("cert.pem"))?;
        let key = SigningKey::load(&folder.join("key.pem"))?;
        if key.public_key() != *certificate.public_key() {
            return Err(AuthorityError::KeyMismatch);
        }
        Ok(Self { certificate, key })
    }

    /// Writes `cert.pem` and `key.pem` into a folder.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub fn save(&self, folder: &Path) -> Result<(), AuthorityError> {
        self.key.save(&folder.join("key.pem"))?;
        Ok(self.certificate.save(&folder.join("cert.pem"))?)
    }

    /// Signs `domain ‖ message`.
    pub fn sign(&self, domain: &[u8], message: &[u8]) -> [u8; SIGNATURE_BYTES] {
        self.key.sign(domain, message)
    }

    /// The certificate's fingerprint.
    pub fn fingerprint(&self) -> Fingerprint {
        self.certificate.fingerprint()
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({:?})", self.certificate)
    }
}

/// The authority of an organization for identities.
pub struct CertificateAuthority {
    organization: OrgId,
    der: Vec<u8>,
    root: Root,
    key: SigningKey,
}

impl CertificateAuthority {
    /// Makes an authority with a fresh key.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub fn create(organization: &OrgId, validity: Validity) -> Result<Self, AuthorityError> {
        let key = SigningKey::generate();
        let name = format!("{organization} Root CA");
        let params = authority_params(organization, &name, validity)?;
        let certificate = params.self_signed(&Ed25519(&key))?;
        Self::new(certificate.der().to_vec(), key)
    }

    /// Reads `ca.pem` and `ca.key.pem` in a folder.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub fn load(folder: &Path) -> Result<Self, AuthorityError> {
        let der = single(&files::read(&folder.join("ca.pem"))?)?;
        Self::new(der, SigningKey::load(&folder.join("ca.key.pem"))?)
    }

    /// Writes `ca.pem` and `ca.key.pem` into a folder.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub fn save(&self, folder: &Path) -> Result<(), AuthorityError> {
        self.key.save(&folder.join("ca.key.pem"))?;
        Ok(files::write(
            &folder.join("ca.pem"),
            &to_pem(&self.der),
            Mode::Public,
        )?)
    }

    fn new(der: Vec<u8>, key: SigningKey) -> Result<Self, AuthorityError> {
        let root = Root::from_der(&der)?;
        if root.public_key != key.public_key() {
            return Err(AuthorityError::KeyMismatch);
        }
        Ok(Self {
            organization: root.organization.clone(),
            der,
            root,
            key,
        })
    }

    /// Whose authority it is.
    pub fn organization(&self) -> &OrgId {
        &self.organization
    }

    /// The root certificate, for the channel's configuration.
    pub fn root_der(&self) -> &[u8] {
        &self.der
    }

    /// Issues a certificate over a fresh key.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub fn issue(&self, subject: &Subject) -> Result<Credentials, AuthorityError> {
        let key = SigningKey::generate();
        let certificate = self.issue_for(&key.public_key(), subject)?;
        Ok(Credentials { certificate, key })
    }

    /// Issues a certificate over somebody's key.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub fn issue_for(
        &self,
        key: &PublicKey,
        subject: &Subject,
    ) -> Result<Certificate, AuthorityError> {
        let mut attributes = subject.attributes.clone();
        attributes.insert(ROLE.to_owned(), subject.role.clone());
        check_attributes(&attributes)?;
        let json = serde_json::json!({ "attrs": attributes }).to_string();
        let mut params = params(&self.organization, &subject.common_name, subject.validity)?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.custom_extensions = vec![CustomExtension::from_oid_content(
            &ATTRIBUTES_OID,
            json.into_bytes(),
        )];
        let der = self.der.as_slice().into();
        let issuer = Issuer::from_ca_cert_der(&der, Ed25519(&self.key))?;
        let issued = params.signed_by(&Ed25519Public(key), &issuer)?;
        let certificate = Certificate::from_der(issued.der())?;
        let sound = certificate.issuer() == self.root.subject
            && certificate.is_signed_by(&self.root.public_key);
        if sound {
            Ok(certificate)
        } else {
            Err(CertificateError::NotSelfSigned.into())
        }
    }
}

impl fmt::Debug for CertificateAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CertificateAuthority({})", self.organization)
    }
}

/// Lets the encoder sign with our keys.
pub(crate) struct Ed25519<'a>(pub(crate) &'a SigningKey);

impl rcgen::PublicKeyData for Ed25519<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.0.public_key_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ED25519
    }
}

impl rcgen::SigningKey for Ed25519<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(self.0.sign_exactly(message).to_vec())
    }
}

struct Ed25519Public<'a>(&'a PublicKey);

impl rcgen::PublicKeyData for Ed25519Public<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ED25519
    }
}

pub(crate) fn params(
    organization: &OrgId,
    common_name: &str,
    validity: Validity,
) -> Result<CertificateParams, AuthorityError> {
    if !is_common_name(common_name) {
        return Err(CertificateError::CommonName.into());
    }
    if validity.not_before_ms > validity.not_after_ms {
        return Err(CertificateError::Validity.into());
    }
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::OrganizationName, organization.as_str());
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    params.serial_number = Some(serial());
    params.not_before = date(validity.not_before_ms)?;
    params.not_after = date(validity.not_after_ms)?;
    Ok(params)
}

pub(crate) fn authority_params(
    organization: &OrgId,
    name: &str,
    validity: Validity,
) -> Result<CertificateParams, AuthorityError> {
    // Long organization names leave no room for what kind of authority it is.
    let name = if is_common_name(name) {
        name
    } else {
        organization.as_str()
    };
    let mut params = params(organization, name, validity)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

/// A random positive number of 16 bytes.
fn serial() -> SerialNumber {
    let mut bytes = rand::random::<[u8; 16]>();
    bytes[0] = (bytes[0] & 0x7f) | 0x40;
    SerialNumber::from_slice(&bytes)
}

fn date(ms: u64) -> Result<OffsetDateTime, AuthorityError> {
    let seconds = i64::try_from(ms / 1000).map_err(|_| AuthorityError::Time(ms))?;
    OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| AuthorityError::Time(ms))
}

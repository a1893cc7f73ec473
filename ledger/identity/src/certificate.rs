//! Certificates of members: X.509 leaves and the roots of organizations.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use stela_protocol::{Fingerprint, OrgId, hash, policy};

use crate::files::{self, FileError, Mode};
use crate::keys::{PublicKey, WeakKey};
use crate::limits::{
    ATTRIBUTE_EXTENSION_BYTES_MAX, ATTRIBUTE_NAME_BYTES_MAX, ATTRIBUTE_VALUE_BYTES_MAX,
    ATTRIBUTES_MAX,
};
use crate::x509;

/// Where Fabric CA puts attributes, as JSON: `{"attrs":{"role":"practitioner"}}`.
pub(crate) const ATTRIBUTES_OID: [u64; 9] = [1, 2, 3, 4, 5, 6, 7, 8, 1];
const ATTRIBUTES_OID_TEXT: &str = "1.2.3.4.5.6.7.8.1";

/// The attribute that every certificate has.
pub(crate) const ROLE: &str = "role";

/// Why a certificate was refused before anybody asked who signed it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// More bytes than a certificate may have.
    #[error("a certificate of {0} bytes is too large")]
    TooLarge(usize),
    /// Not encoded as it has to be.
    #[error("the certificate cannot be read: {0} expected")]
    Encoding(&'static str),
    /// Another algorithm than Ed25519.
    #[error("the certificate's key and signature have to be Ed25519")]
    Algorithm,
    /// A public key under which signatures prove nothing, or that has a second form.
    #[error(transparent)]
    WeakKey(#[from] WeakKey),
    /// An authority's certificate where a member's belongs.
    #[error("the certificate of an authority identifies no member")]
    CaAsLeaf,
    /// A member's certificate where an authority's belongs.
    #[error("the certificate is not that of an authority")]
    LeafAsCa,
    /// The key is not for signing.
    #[error("the certificate's key usage does not allow signatures of this kind")]
    KeyUsage,
    /// The subject names no organization, or two, or an impossible one.
    #[error("the subject has to name one organization (O)")]
    Organization,
    /// The subject has no common name, or two, or an impossible one.
    #[error("the subject has to have one common name (CN)")]
    CommonName,
    /// There is no role among the attributes, or an impossible one.
    #[error("the attributes have to name a role, in lower case")]
    Role,
    /// The attributes are no attributes, or too many, or too long.
    #[error("the attributes are not accepted: {0}")]
    Attributes(&'static str),
    /// The certificate ends before it begins, or lies before 1970.
    #[error("the certificate's validity is not a period")]
    Validity,
    /// Something that must be understood and is not.
    #[error("the certificate has a critical extension that is not known here: {0}")]
    CriticalExtension(String),
    /// A root that does not sign itself.
    #[error("the root certificate is not signed by its own key")]
    NotSelfSigned,
}

/// The certificate of a member: it parses, its key is sound, it is not an authority's, and its key
/// is for signing. Who issued it, and whether it is valid now, an [`Msp`](crate::Msp) says.
///
/// Copies share the content.
#[derive(Clone)]
pub struct Certificate {
    inner: Arc<Inner>,
}

struct Inner {
    der: Bytes,
    tbs: Bytes,
    issuer: Vec<u8>,
    signature: [u8; 64],
    fingerprint: Fingerprint,
    organization: OrgId,
    common_name: String,
    attributes: BTreeMap<String, String>,
    public_key: PublicKey,
    not_before_ms: u64,
    not_after_ms: u64,
}

impl Certificate {
    /// Parses a certificate.
    ///
    /// # Errors
    /// [`CertificateError`] says why it cannot be a member's.
    pub fn from_der(der: &[u8]) -> Result<Self, CertificateError> {
        let strict = x509::parse(der)?;
        let tbs = &strict.x509.tbs_certificate;
        if x509::is_ca(tbs)? {
            return Err(CertificateError::CaAsLeaf);
        }
        let usage = x509::usage(tbs)?;
        if !usage.signs || usage.certifies {
            return Err(CertificateError::KeyUsage);
        }
        let (not_before_ms, not_after_ms) = x509::validity(tbs)?;
        let inner = Inner {
            der: Bytes::copy_from_slice(der),
            tbs: Bytes::copy_from_slice(tbs.as_ref()),
            issuer: tbs.issuer.as_raw().to_vec(),
            signature: strict.signature,
            fingerprint: hash::fingerprint(der),
            organization: x509::organization(&tbs.subject)?,
            common_name: x509::common_name(&tbs.subject)?,
            attributes: attributes(tbs)?,
            public_key: x509::public_key(tbs)?,
            not_before_ms,
            not_after_ms,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Parses PEM with one certificate.
    ///
    /// # Errors
    /// As [`Certificate::from_der`].
    pub fn from_pem(text: &str) -> Result<Self, CertificateError> {
        Self::from_der(&single(text)?)
    }

    /// PEM.
    pub fn to_pem(&self) -> String {
        to_pem(&self.inner.der)
    }

    /// Reads a file of PEM.
    ///
    /// # Errors
    /// [`AuthorityError`](crate::AuthorityError) says which part failed.
    pub fn load(path: &Path) -> Result<Self, crate::AuthorityError> {
        Ok(Self::from_pem(&files::read(path)?)?)
    }

    /// Writes a file of PEM.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn save(&self, path: &Path) -> Result<(), FileError> {
        files::write(path, &self.to_pem(), Mode::Public)
    }

    /// The certificate as it was signed.
    pub fn der(&self) -> &Bytes {
        &self.inner.der
    }

    /// SHA-256 of the DER.
    pub fn fingerprint(&self) -> Fingerprint {
        self.inner.fingerprint
    }

    /// The organization that the subject names.
    pub fn organization(&self) -> &OrgId {
        &self.inner.organization
    }

    /// The subject's common name.
    pub fn common_name(&self) -> &str {
        &self.inner.common_name
    }

    /// The role, one of the attributes.
    pub fn role(&self) -> &str {
        &self.inner.attributes[ROLE]
    }

    /// All attributes, the role included.
    pub fn attributes(&self) -> &BTreeMap<String, String> {
        &self.inner.attributes
    }

    /// The subject's key.
    pub fn public_key(&self) -> &PublicKey {
        &self.inner.public_key
    }

    /// From when on it is valid, in milliseconds since the Unix epoch.
    pub fn not_before_ms(&self) -> u64 {
        self.inner.not_before_ms
    }

    /// Up to when it is valid, inclusive, in milliseconds since the Unix epoch.
    pub fn not_after_ms(&self) -> u64 {
        self.inner.not_after_ms
    }

    pub(crate) fn issuer(&self) -> &[u8] {
        &self.inner.issuer
    }

    pub(crate) fn is_signed_by(&self, root: &PublicKey) -> bool {
        root.verify_exactly(&self.inner.tbs, &self.inner.signature)
            .is_ok()
    }
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.inner.der == other.inner.der
    }
}

impl Eq for Certificate {}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (id, role) = (self.organization(), self.role());
        write!(f, "Certificate({id}.{role} {})", self.fingerprint())
    }
}

/// The certificate of an organization's authority.
pub(crate) struct Root {
    pub(crate) subject: Vec<u8>,
    pub(crate) organization: OrgId,
    pub(crate) public_key: PublicKey,
    pub(crate) not_before_ms: u64,
    pub(crate) not_after_ms: u64,
}

impl Root {
    pub(crate) fn from_der(der: &[u8]) -> Result<Self, CertificateError> {
        let strict = x509::parse(der)?;
        let tbs = &strict.x509.tbs_certificate;
        if !x509::is_ca(tbs)? {
            return Err(CertificateError::LeafAsCa);
        }
        if !x509::usage(tbs)?.certifies {
            return Err(CertificateError::KeyUsage);
        }
        let public_key = x509::public_key(tbs)?;
        let own = tbs.issuer.as_raw() == tbs.subject.as_raw();
        if !own
            || public_key
                .verify_exactly(tbs.as_ref(), &strict.signature)
                .is_err()
        {
            return Err(CertificateError::NotSelfSigned);
        }
        let (not_before_ms, not_after_ms) = x509::validity(tbs)?;
        Ok(Self {
            subject: tbs.subject.as_raw().to_vec(),
            organization: x509::organization(&tbs.subject)?,
            public_key,
            not_before_ms,
            not_after_ms,
        })
    }
}

pub(crate) fn single(text: &str) -> Result<Vec<u8>, CertificateError> {
    let mut found = CertificateDer::pem_slice_iter(text.as_bytes());
    match (found.next(), found.next()) {
        (Some(Ok(der)), None) => Ok(der.to_vec()),
        _ => Err(CertificateError::Encoding("PEM with one certificate")),
    }
}

pub(crate) fn to_pem(der: &[u8]) -> String {
    let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    pem::encode_config(&pem::Pem::new("CERTIFICATE", der), config)
}

// ------------------------------------------------------------------------------------ attributes

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct AttributeExtension {
    attrs: Attributes,
}

struct Attributes(BTreeMap<String, String>);

impl<'de> Deserialize<'de> for Attributes {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(AttributesVisitor)
    }
}

struct AttributesVisitor;

impl<'de> Visitor<'de> for AttributesVisitor {
    type Value = Attributes;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("attributes")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Attributes, A::Error> {
        let mut attributes = BTreeMap::new();
        while let Some((name, value)) = map.next_entry::<String, String>()? {
            if attributes.insert(name, value).is_some() {
                return Err(A::Error::custom("an attribute is there twice"));
            }
        }
        Ok(Attributes(attributes))
    }
}

fn attributes(
    tbs: &x509_parser::certificate::TbsCertificate<'_>,
) -> Result<BTreeMap<String, String>, CertificateError> {
    let extension = tbs
        .extensions()
        .iter()
        .find(|extension| extension.oid.to_id_string() == ATTRIBUTES_OID_TEXT)
        .ok_or(CertificateError::Role)?;
    if extension.value.len() > ATTRIBUTE_EXTENSION_BYTES_MAX {
        return Err(CertificateError::Attributes("they are too long"));
    }
    let parsed: AttributeExtension = serde_json::from_slice(extension.value).map_err(|_| {
        CertificateError::Attributes("they are not JSON of the form {\"attrs\":{…}}")
    })?;
    check_attributes(&parsed.attrs.0)?;
    Ok(parsed.attrs.0)
}

/// The same rules when a certificate is issued as when it is read.
pub(crate) fn check_attributes(
    attributes: &BTreeMap<String, String>,
) -> Result<(), CertificateError> {
    if attributes.len() > ATTRIBUTES_MAX {
        return Err(CertificateError::Attributes("there are too many"));
    }
    if !attributes.keys().all(|name| is_attribute_name(name)) {
        return Err(CertificateError::Attributes("a name is not allowed"));
    }
    if !attributes.values().all(|value| is_attribute_value(value)) {
        return Err(CertificateError::Attributes("a value is not allowed"));
    }
    match attributes.get(ROLE) {
        Some(role) if policy::is_role(role) => Ok(()),
        _ => Err(CertificateError::Role),
    }
}

fn is_attribute_name(name: &str) -> bool {
    (1..=ATTRIBUTE_NAME_BYTES_MAX).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
}

fn is_attribute_value(value: &str) -> bool {
    value.len() <= ATTRIBUTE_VALUE_BYTES_MAX && !value.chars().any(char::is_control)
}

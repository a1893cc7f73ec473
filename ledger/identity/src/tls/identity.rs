//! A node's own certificate and key.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use stela_protocol::{Fingerprint, OrgId, hash};
use zeroize::Zeroizing;

use super::verify::Verifier;
use super::{Refusal, Shown, TlsError, TlsRoots, chain, organization_of};
use crate::certificate::to_pem;
use crate::files::{self, Mode};

/// A certificate for TLS, with what is above it up to the root, and its key. Copies share them; the
/// key is wiped when the last one is dropped.
#[derive(Clone)]
pub struct TlsIdentity {
    chain: Vec<CertificateDer<'static>>,
    key: Arc<Zeroizing<Vec<u8>>>,
    organization: OrgId,
}

impl TlsIdentity {
    /// Takes a chain, the leaf first, and its key in PKCS#8.
    ///
    /// # Errors
    /// [`TlsError`] when the leaf names no organization or the chain is empty.
    pub fn new(chain: Vec<Vec<u8>>, key: Zeroizing<Vec<u8>>) -> Result<Self, TlsError> {
        let leaf = chain.first().ok_or(TlsError::Pem("a certificate"))?;
        let organization = organization_of(leaf)?;
        let chain = chain.into_iter().map(CertificateDer::from).collect();
        Ok(Self {
            chain,
            key: Arc::new(key),
            organization,
        })
    }

    /// Reads `tls.pem` and `tls.key.pem` in a folder.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn load(folder: &Path) -> Result<Self, TlsError> {
        let chain = chain(&files::read(&folder.join("tls.pem"))?)?;
        let text = files::read(&folder.join("tls.key.pem"))?;
        let key = PrivatePkcs8KeyDer::from_pem_slice(text.as_bytes())
            .map_err(|_| TlsError::Pem("a private key in PKCS#8"))?;
        let key = Zeroizing::new(key.secret_pkcs8_der().to_vec());
        Self::new(chain.into_iter().map(|c| c.to_vec()).collect(), key)
    }

    /// Writes `tls.pem` and, readable by its owner only, `tls.key.pem` into a folder.
    ///
    /// # Errors
    /// [`TlsError::File`].
    pub fn save(&self, folder: &Path) -> Result<(), TlsError> {
        let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
        let block = pem::Pem::new("PRIVATE KEY", self.key.as_slice());
        let key = Zeroizing::new(pem::encode_config(&block, config));
        files::write(&folder.join("tls.key.pem"), &key, Mode::Secret)?;
        let chain: String = self.chain.iter().map(|der| to_pem(der)).collect();
        Ok(files::write(&folder.join("tls.pem"), &chain, Mode::Public)?)
    }

    /// SHA-256 of the leaf's DER, as a channel's configuration lists it for orderers.
    pub fn fingerprint(&self) -> Fingerprint {
        hash::fingerprint(&self.chain[0])
    }

    /// What others see of it, if they accept it at a time by these roots.
    ///
    /// # Errors
    /// [`Refusal`] says why they do not.
    pub fn judge(&self, roots: &TlsRoots, at_ms: u64) -> Result<Shown, Refusal> {
        let verifier = Verifier::new(roots).map_err(|error| Refusal::Other(error.to_string()))?;
        verifier.judge(&self.chain, at_ms)?;
        Shown::of(&self.chain[0]).map_err(|error| Refusal::Other(error.to_string()))
    }

    /// The organization that the leaf names.
    pub fn organization(&self) -> &OrgId {
        &self.organization
    }

    pub(super) fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.chain.clone()
    }

    pub(super) fn key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.to_vec()).into()
    }
}

impl fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "TlsIdentity({} {})",
            self.organization,
            self.fingerprint()
        )
    }
}

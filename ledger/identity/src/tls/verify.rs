//! Judging the other side's certificate.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use stela_protocol::{Fingerprint, OrgId, hash};

use super::{Expected, Refusal, TlsError, TlsRoots, organization_of};
use crate::limits::TLS_CHAIN_MAX;

/// The algorithms of TLS; X25519MLKEM768 comes first.
pub(super) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    PROVIDER
        .get_or_init(|| Arc::new(aws_lc_rs::default_provider()))
        .clone()
}

/// Judges certificates by the roots of the organization that they name.
#[derive(Debug)]
pub(super) struct Verifier {
    organizations: BTreeMap<OrgId, Trust>,
}

#[derive(Debug)]
struct Trust {
    clients: Arc<dyn ClientCertVerifier>,
    servers: Arc<WebPkiServerVerifier>,
    revoked: BTreeSet<Fingerprint>,
}

impl Verifier {
    pub(super) fn new(roots: &TlsRoots) -> Result<Self, TlsError> {
        let mut organizations = BTreeMap::new();
        for (id, organization) in &roots.organizations {
            // Without a root nobody can speak for the organization.
            if organization.roots.is_empty() {
                continue;
            }
            let mut store = RootCertStore::empty();
            for root in &organization.roots {
                store.add(CertificateDer::from(root.as_slice()))?;
            }
            let trust = Trust::new(Arc::new(store), organization.revoked.clone())?;
            organizations.insert(id.clone(), trust);
        }
        Ok(Self { organizations })
    }

    /// Whether a client that was accepted before still would be.
    pub(super) fn still_accepts(&self, chain: &[CertificateDer<'_>]) -> bool {
        self.verdict(chain, UnixTime::now()).is_ok()
    }

    /// Judges a chain, the leaf first, as a server judges its client's at a time.
    pub(super) fn judge(&self, chain: &[CertificateDer<'_>], at_ms: u64) -> Result<(), Refusal> {
        let at = UnixTime::since_unix_epoch(std::time::Duration::from_millis(at_ms));
        self.verdict(chain, at)
            .map_err(|error| Refusal::from(&error))
    }

    fn verdict(&self, chain: &[CertificateDer<'_>], at: UnixTime) -> Result<(), Error> {
        let (leaf, above) = chain.split_first().ok_or(Error::NoCertificatesPresented)?;
        let (_, trust) = self.trust(leaf, above.len())?;
        trust.clients.verify_client_cert(leaf, above, at).map(drop)
    }

    /// The roots by which a certificate is to be judged.
    fn trust(&self, leaf: &CertificateDer<'_>, above: usize) -> Result<(OrgId, &Trust), Error> {
        if above >= TLS_CHAIN_MAX {
            return Err(Error::InvalidCertificate(CertificateError::UnknownIssuer));
        }
        let organization = organization_of(leaf)
            .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
        let trust = self
            .organizations
            .get(&organization)
            .ok_or(Error::InvalidCertificate(CertificateError::UnknownIssuer))?;
        if trust.revoked.contains(&hash::fingerprint(leaf)) {
            return Err(Error::InvalidCertificate(CertificateError::Revoked));
        }
        Ok((organization, trust))
    }
}

impl Trust {
    fn new(store: Arc<RootCertStore>, revoked: BTreeSet<Fingerprint>) -> Result<Self, TlsError> {
        let general = |error: rustls::client::VerifierBuilderError| {
            TlsError::Rustls(Error::General(error.to_string()))
        };
        let clients = WebPkiClientVerifier::builder_with_provider(store.clone(), provider())
            .build()
            .map_err(general)?;
        let servers = WebPkiServerVerifier::builder_with_provider(store, provider())
            .build()
            .map_err(general)?;
        Ok(Self {
            clients,
            servers,
            revoked,
        })
    }
}

/// Judges clients.
#[derive(Debug)]
pub(super) struct Clients(pub(super) Arc<Verifier>);

impl ClientCertVerifier for Clients {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let (_, trust) = self.0.trust(leaf, above.len())?;
        trust.clients.verify_client_cert(leaf, above, now)
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// Judges a server of whom something is expected.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) verifier: Arc<Verifier>,
    pub(super) expected: Expected,
}

impl ServerCertVerifier for Server {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let (organization, trust) = self.verifier.trust(leaf, above.len())?;
        let another = |expected: bool| match expected {
            true => Ok(()),
            false => Err(Error::InvalidCertificate(
                CertificateError::ApplicationVerificationFailure,
            )),
        };
        another(
            self.expected
                .organization
                .as_ref()
                .is_none_or(|o| *o == organization),
        )?;
        another(
            self.expected
                .fingerprint
                .is_none_or(|f| f == hash::fingerprint(leaf)),
        )?;
        trust
            .servers
            .verify_server_cert(leaf, above, name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

fn verify_signature(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signature: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    let algorithms = &provider().signature_verification_algorithms;
    verify_tls13_signature(message, certificate, signature, algorithms)
}

fn no_tls12() -> Error {
    Error::General("TLS 1.2 is not spoken here".to_owned())
}

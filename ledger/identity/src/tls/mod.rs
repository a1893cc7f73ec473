//! Mutual TLS 1.3 between everybody, and gRPC over it.
//!
//! Each side proves by a certificate whose subject names an organization (O) that it belongs to it,
//! and the handshake succeeds only if one of *that* organization's TLS roots signed the
//! certificate: no authority can speak for another organization. Key exchange prefers
//! X25519MLKEM768. Sessions are never resumed, so every connection is judged by the roots and
//! revocations in force when it is made, and cut when they change so that it would not be made again.
//!
//! The roots and the node's own certificate can be replaced while the node runs: see
//! [`TlsSettings`].

mod answers;
mod connect;
mod identity;
mod incoming;
mod probe;
mod roots;
mod settings;
mod verify;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use stela_protocol::OrgId;
use stela_protocol::limits::CERTIFICATE_BYTES_MAX;
use x509_parser::nom::Parser;
use x509_parser::prelude::{X509Certificate, X509CertificateParser};

pub use self::connect::{Address, Expected, connect, dial};
pub use self::identity::TlsIdentity;
pub use self::incoming::{PeerTls, TlsConnection, TlsIncoming, server};
pub use self::probe::{ProbeError, Refusal, Shown, probe};
pub use self::roots::TlsRoots;
pub use self::settings::TlsSettings;
use crate::certificate::CertificateError;
use crate::files::FileError;
use crate::limits::TLS_CHAIN_MAX;
use crate::x509;

/// Why TLS cannot be set up. Why a handshake failed is told to its two ends only.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A certificate cannot be read, or names no organization.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// A root is another organization's.
    #[error("a TLS root of {organization} names {named}")]
    Organization {
        /// Whose root it was said to be.
        organization: OrgId,
        /// The organization in the certificate.
        named: OrgId,
    },
    /// A file without the key or the certificates that belong there, or with too many.
    #[error("expected PEM with {0}")]
    Pem(&'static str),
    /// Not `host:port`.
    #[error("{0:?} is not an address of the form host:port")]
    Address(String),
    /// The library refused a certificate, a key or a combination of them.
    #[error("TLS cannot be set up: {0}")]
    Rustls(#[from] rustls::Error),
}

/// The organization that a TLS certificate's subject names.
pub(crate) fn organization_of(der: &[u8]) -> Result<OrgId, CertificateError> {
    x509::organization(&parse(der)?.tbs_certificate.subject)
}

/// The public key of a TLS certificate, as its algorithm encodes it.
pub(crate) fn public_key_of(der: &[u8]) -> Result<Vec<u8>, CertificateError> {
    Ok(parse(der)?
        .tbs_certificate
        .subject_pki
        .subject_public_key
        .data
        .to_vec())
}

fn parse(der: &[u8]) -> Result<X509Certificate<'_>, CertificateError> {
    if der.len() > CERTIFICATE_BYTES_MAX {
        return Err(CertificateError::TooLarge(der.len()));
    }
    let mut parser = X509CertificateParser::new().with_deep_parse_extensions(false);
    match parser.parse(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok(_) => Err(CertificateError::Encoding("an end")),
        Err(_) => Err(CertificateError::Encoding("X.509")),
    }
}

/// The certificates in PEM text, the leaf first.
fn chain(text: &str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let error = TlsError::Pem("a certificate, and perhaps those above it");
    let found = CertificateDer::pem_slice_iter(text.as_bytes()).take(TLS_CHAIN_MAX + 1);
    match found.collect::<Result<Vec<_>, _>>() {
        Ok(chain) if (1..=TLS_CHAIN_MAX).contains(&chain.len()) => Ok(chain),
        _ => Err(error),
    }
}

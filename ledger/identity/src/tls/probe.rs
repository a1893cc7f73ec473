//! Finding out why a connection does not come about.

use std::fmt;
use std::io;

use rustls::{AlertDescription, CertificateError as Cause};
use stela_protocol::{Fingerprint, OrgId, hash};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::{Address, Expected, TlsSettings, dial, organization_of, parse};
use crate::certificate::CertificateError;
use crate::limits::FIRST_WORD_TIMEOUT;
use crate::x509;

/// Why a certificate is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Its time is over, by the clock of whoever refuses it. A server also says so of a certificate
    /// whose time has not come.
    Expired,
    /// Its time has not come, by the clock of whoever refuses it.
    NotYetValid,
    /// No root of the organization that it names has signed it.
    UnknownAuthority,
    /// It is for another host.
    OtherHost,
    /// Its organization has revoked it.
    Revoked,
    /// It is of another organization than was expected, or another certificate than was expected.
    Unexpected,
    /// Anything else, in the library's words.
    Other(String),
}

impl From<&rustls::Error> for Refusal {
    fn from(error: &rustls::Error) -> Self {
        match error {
            rustls::Error::InvalidCertificate(cause) => Self::of(cause),
            rustls::Error::AlertReceived(alert) => match alert {
                AlertDescription::CertificateExpired => Self::Expired,
                AlertDescription::CertificateRevoked => Self::Revoked,
                AlertDescription::UnknownCA | AlertDescription::DecryptError => {
                    Self::UnknownAuthority
                }
                _ => Self::Other(error.to_string()),
            },
            _ => Self::Other(error.to_string()),
        }
    }
}

impl Refusal {
    fn of(cause: &Cause) -> Self {
        match cause {
            Cause::Expired | Cause::ExpiredContext { .. } => Self::Expired,
            Cause::NotValidYet | Cause::NotValidYetContext { .. } => Self::NotYetValid,
            Cause::UnknownIssuer | Cause::BadSignature => Self::UnknownAuthority,
            Cause::NotValidForName | Cause::NotValidForNameContext { .. } => Self::OtherHost,
            Cause::Revoked => Self::Revoked,
            Cause::ApplicationVerificationFailure => Self::Unexpected,
            other => Self::Other(other.to_string()),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Expired => "it has expired",
            Self::NotYetValid => "it is not valid yet",
            Self::UnknownAuthority => "no authority of its organization has signed it",
            Self::OtherHost => "it is for another host",
            Self::Revoked => "it has been revoked",
            Self::Unexpected => "it is not the one that is expected",
            Self::Other(words) => words,
        })
    }
}

/// Why no connection came about.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// Nobody answers at the address.
    #[error("nobody answers: {0}")]
    Unreachable(io::Error),
    /// The node's certificate is refused here.
    #[error("its TLS certificate is refused: {0}")]
    Node(Refusal),
    /// The node refuses the certificate that it was shown.
    #[error("it refuses the TLS certificate that it is shown: {0}")]
    Own(Refusal),
    /// What answers does not speak as a node does.
    #[error("what answers is no node of this network: {0}")]
    Stranger(String),
}

/// What a certificate says, as far as TLS asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// SHA-256 of the certificate.
    pub fingerprint: Fingerprint,
    /// The organization that it names.
    pub organization: OrgId,
    /// From when on it is valid, in milliseconds since the Unix epoch.
    pub not_before_ms: u64,
    /// Up to when, in milliseconds since the Unix epoch.
    pub not_after_ms: u64,
}

impl Shown {
    /// Reads a certificate (DER), and verifies nothing.
    ///
    /// # Errors
    /// [`CertificateError`] when it is none, or names no organization.
    pub fn of(der: &[u8]) -> Result<Self, CertificateError> {
        let (not_before_ms, not_after_ms) = x509::validity(&parse(der)?.tbs_certificate)?;
        Ok(Self {
            fingerprint: hash::fingerprint(der),
            organization: organization_of(der)?,
            not_before_ms,
            not_after_ms,
        })
    }
}

/// Connects to a node once, both ways: it returns when the node has accepted the certificate that
/// it was shown and said its first word.
///
/// # Errors
/// [`ProbeError`] says at which step it ended.
pub async fn probe(
    settings: &TlsSettings,
    address: &Address,
    expected: &Expected,
) -> Result<Shown, ProbeError> {
    let mut stream = dial(settings, address, expected).await.map_err(dialled)?;
    let shown = shown(&stream).map_err(|error| ProbeError::Stranger(error.to_string()))?;
    // In TLS 1.3 a client learns only by reading whether its certificate was accepted. A server of
    // HTTP/2 speaks first.
    let mut first = [0];
    match tokio::time::timeout(FIRST_WORD_TIMEOUT, stream.read(&mut first)).await {
        Ok(Ok(1..)) => Ok(shown),
        Ok(Ok(0)) => Err(ProbeError::Stranger("it ends the connection".to_owned())),
        Ok(Err(error)) => Err(match tls_error(&error) {
            Some(error) => ProbeError::Own(Refusal::from(error)),
            None => ProbeError::Stranger(error.to_string()),
        }),
        Err(_) => {
            let silent = format!("it says nothing for {} s", FIRST_WORD_TIMEOUT.as_secs());
            Err(ProbeError::Stranger(silent))
        }
    }
}

fn dialled(error: io::Error) -> ProbeError {
    match tls_error(&error) {
        Some(alert @ rustls::Error::AlertReceived(_)) => ProbeError::Own(Refusal::from(alert)),
        Some(invalid @ rustls::Error::InvalidCertificate(_)) => {
            ProbeError::Node(Refusal::from(invalid))
        }
        Some(other) => ProbeError::Stranger(other.to_string()),
        None if error.kind() == io::ErrorKind::InvalidData => {
            ProbeError::Stranger(error.to_string())
        }
        None => ProbeError::Unreachable(error),
    }
}

fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

fn shown(stream: &TlsStream<TcpStream>) -> Result<Shown, CertificateError> {
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let leaf = chain.first().ok_or(CertificateError::Encoding("a chain"))?;
    Shown::of(leaf)
}

//! What leaves and roots have in common: a strict reading of X.509 version 3 with Ed25519.
//!
//! The library parses; what is accepted is decided here. The outer encoding is compared byte for
//! byte with the one that DER prescribes, because a certificate is known by the hash of its bytes:
//! nobody may make a second form of a certificate, whose hash is not on a list of revoked ones.

use stela_protocol::OrgId;
use stela_protocol::limits::CERTIFICATE_BYTES_MAX;
use x509_parser::prelude::{
    FromDer, ParsedExtension, TbsCertificate, X509Certificate, X509Name, X509Version,
};
use x509_parser::time::ASN1Time;

use crate::certificate::CertificateError;
use crate::keys::PublicKey;
use crate::limits::COMMON_NAME_BYTES_MAX;

const ED25519: &str = "1.3.101.112";
/// The signature algorithm Ed25519 (RFC 8410), and the head of a bit string of 64 bytes.
const SIGNATURE_HEAD: [u8; 10] = [0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x41, 0x00];

/// A certificate whose frame, algorithms, version and extensions are what they have to be.
pub(crate) struct Strict<'a> {
    pub(crate) x509: X509Certificate<'a>,
    pub(crate) signature: [u8; 64],
}

pub(crate) fn parse(der: &[u8]) -> Result<Strict<'_>, CertificateError> {
    if der.len() > CERTIFICATE_BYTES_MAX {
        return Err(CertificateError::TooLarge(der.len()));
    }
    let (rest, x509) =
        X509Certificate::from_der(der).map_err(|_| CertificateError::Encoding("X.509"))?;
    if !rest.is_empty() {
        return Err(CertificateError::Encoding("an end"));
    }
    let tbs = &x509.tbs_certificate;
    let algorithms = [
        &x509.signature_algorithm,
        &tbs.signature,
        &tbs.subject_pki.algorithm,
    ];
    let ed25519 = |a: &x509_parser::x509::AlgorithmIdentifier<'_>| {
        a.algorithm.to_id_string() == ED25519 && a.parameters.is_none()
    };
    if !algorithms.into_iter().all(ed25519) {
        return Err(CertificateError::Algorithm);
    }
    let signature = signature_of(der, tbs)?;
    if tbs.version() != X509Version::V3 {
        return Err(CertificateError::Encoding("version 3"));
    }
    check_extensions(tbs)?;
    Ok(Strict { x509, signature })
}

/// The signature, if everything around the signed part is encoded as DER prescribes.
fn signature_of(der: &[u8], tbs: &TbsCertificate<'_>) -> Result<[u8; 64], CertificateError> {
    let error = CertificateError::Encoding("the distinguished encoding");
    let signature = der.last_chunk::<64>().ok_or(error.clone())?;
    let content = [tbs.as_ref(), &SIGNATURE_HEAD, signature].concat();
    if [sequence_head(content.len()), content].concat() == der {
        Ok(*signature)
    } else {
        Err(error)
    }
}

fn sequence_head(len: usize) -> Vec<u8> {
    let [.., high, low] = len.to_be_bytes();
    match len {
        0..0x80 => vec![0x30, low],
        0x80..0x100 => vec![0x30, 0x81, low],
        _ => vec![0x30, 0x82, high, low],
    }
}

fn check_extensions(tbs: &TbsCertificate<'_>) -> Result<(), CertificateError> {
    tbs.extensions_map()
        .map_err(|_| CertificateError::Encoding("extensions without repetition"))?;
    for extension in tbs.extensions() {
        match extension.parsed_extension() {
            ParsedExtension::ParseError { .. } => {
                return Err(CertificateError::Encoding("extensions"));
            }
            ParsedExtension::BasicConstraints(_)
            | ParsedExtension::KeyUsage(_)
            | ParsedExtension::ExtendedKeyUsage(_)
            | ParsedExtension::SubjectAlternativeName(_) => {}
            _ if extension.critical => {
                return Err(CertificateError::CriticalExtension(
                    extension.oid.to_id_string(),
                ));
            }
            _ => {}
        }
    }
    Ok(())
}

pub(crate) fn public_key(tbs: &TbsCertificate<'_>) -> Result<PublicKey, CertificateError> {
    let key = &tbs.subject_pki.subject_public_key;
    if key.unused_bits != 0 {
        return Err(CertificateError::Encoding("a key of whole bytes"));
    }
    Ok(PublicKey::from_bytes(&key.data)?)
}

/// The one organization that a subject names.
pub(crate) fn organization(subject: &X509Name<'_>) -> Result<OrgId, CertificateError> {
    let mut found = subject.iter_organization();
    let (Some(name), None) = (found.next(), found.next()) else {
        return Err(CertificateError::Organization);
    };
    let name = name.as_str().map_err(|_| CertificateError::Organization)?;
    OrgId::new(name).map_err(|_| CertificateError::Organization)
}

/// The one common name of a subject.
pub(crate) fn common_name(subject: &X509Name<'_>) -> Result<String, CertificateError> {
    let mut found = subject.iter_common_name();
    let (Some(name), None) = (found.next(), found.next()) else {
        return Err(CertificateError::CommonName);
    };
    let name = name.as_str().map_err(|_| CertificateError::CommonName)?;
    if is_common_name(name) {
        Ok(name.to_owned())
    } else {
        Err(CertificateError::CommonName)
    }
}

pub(crate) fn is_common_name(name: &str) -> bool {
    (1..=COMMON_NAME_BYTES_MAX).contains(&name.len()) && !name.chars().any(char::is_control)
}

/// The bounds of validity, in milliseconds since the Unix epoch, both included.
pub(crate) fn validity(tbs: &TbsCertificate<'_>) -> Result<(u64, u64), CertificateError> {
    let ms = |time: ASN1Time| {
        let seconds = u64::try_from(time.timestamp()).map_err(|_| CertificateError::Validity)?;
        seconds.checked_mul(1000).ok_or(CertificateError::Validity)
    };
    let (from, to) = (ms(tbs.validity.not_before)?, ms(tbs.validity.not_after)?);
    if from <= to {
        Ok((from, to))
    } else {
        Err(CertificateError::Validity)
    }
}

pub(crate) fn is_ca(tbs: &TbsCertificate<'_>) -> Result<bool, CertificateError> {
    let found = tbs
        .basic_constraints()
        .map_err(|_| CertificateError::Encoding("extensions"))?;
    Ok(found.is_some_and(|constraints| constraints.value.ca))
}

/// What a certificate's key may be used for. Nothing is meant by saying nothing.
pub(crate) struct Usage {
    pub(crate) signs: bool,
    pub(crate) certifies: bool,
}

pub(crate) fn usage(tbs: &TbsCertificate<'_>) -> Result<Usage, CertificateError> {
    let found = tbs
        .key_usage()
        .map_err(|_| CertificateError::Encoding("extensions"))?;
    Ok(found.map_or(
        Usage {
            signs: false,
            certifies: false,
        },
        |usage| Usage {
            signs: usage.value.digital_signature(),
            certifies: usage.value.key_cert_sign(),
        },
    ))
}

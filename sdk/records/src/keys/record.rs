//! The key of one record version and what is derived from it.

use crate::format::{HeaderHash, KeyCommitment, domain, framed};
use hkdf::Hkdf;
use rand::CryptoRng;
use sha2::Sha256;
use std::fmt;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// The key of one version of one record, 32 uniformly random bytes. Whoever has it can read that
/// version. A new version, and a new attempt at an upload that is not a resumption, take a new
/// one.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct RecordKey([u8; 32]);

impl RecordKey {
    /// A fresh key.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let mut key = Self([0; 32]);
        rng.fill_bytes(&mut key.0);
        key
    }

    /// Takes 32 bytes that are already uniformly random, for example out of a key derivation.
    pub fn from_bytes(bytes: &[u8; 32]) -> Self {
        Self(*bytes)
    }

    /// The secret bytes. A copy of them is the caller's to zeroize.
    pub fn expose_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The commitment that belongs on the ledger beside a header with this hash. No other key and
    /// no other header give the same, by the collision resistance of SHA-256.
    pub fn commitment(&self, header_hash: &HeaderHash) -> KeyCommitment {
        self.derive(header_hash).commitment
    }

    /// HKDF-SHA256 (RFC 5869) without a salt, with the framed header hash as info: 83 bytes, cut
    /// into cipher key, nonce prefix and commitment.
    pub(crate) fn derive(&self, header_hash: &HeaderHash) -> RecordKeys {
        let info = framed(domain::RECORD_KEYS, &[header_hash.as_bytes()]);
        let mut output = Zeroizing::new([0; 32 + 19 + 32]);
        Hkdf::<Sha256>::new(None, &self.0)
            .expand(&info, &mut *output)
            .expect("83 bytes are fewer than the 8160 that HKDF-SHA256 gives");
        let mut keys = RecordKeys {
            cipher_key: [0; 32],
            nonce_prefix: [0; 19],
            commitment: KeyCommitment::from_bytes([0; 32]),
        };
        keys.cipher_key.copy_from_slice(&output[..32]);
        keys.nonce_prefix.copy_from_slice(&output[32..51]);
        let commitment = std::array::from_fn(|index| output[51 + index]);
        keys.commitment = KeyCommitment::from_bytes(commitment);
        keys
    }
}

impl PartialEq for RecordKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for RecordKey {}

impl fmt::Debug for RecordKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecordKey(redacted)")
    }
}

/// What one record key gives under one header.
#[derive(ZeroizeOnDrop)]
pub(crate) struct RecordKeys {
    pub(crate) cipher_key: [u8; 32],
    pub(crate) nonce_prefix: [u8; 19],
    #[zeroize(skip)]
    pub(crate) commitment: KeyCommitment,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commitment_binds_key_and_header() {
        let (key, other) = (
            RecordKey::from_bytes(&[1; 32]),
            RecordKey::from_bytes(&[2; 32]),
        );
        let (header, another) = (
            HeaderHash::from_bytes([3; 32]),
            HeaderHash::from_bytes([4; 32]),
        );
        assert_eq!(key.commitment(&header), key.commitment(&header));
        assert_ne!(key.commitment(&header), other.commitment(&header));
        assert_ne!(key.commitment(&header), key.commitment(&another));
    }

    #[test]
    fn the_parts_differ() {
        let keys = RecordKey::from_bytes(&[1; 32]).derive(&HeaderHash::from_bytes([3; 32]));
        assert_ne!(&keys.cipher_key, keys.commitment.as_bytes());
        assert_ne!(keys.cipher_key[..19], keys.nonce_prefix);
    }

    #[test]
    fn debug_is_redacted() {
        let shown = format!("{:?}", RecordKey::from_bytes(&[0xab; 32]));
        assert_eq!(shown, "RecordKey(redacted)");
    }
}

//! The X-Wing key pair to which record keys are wrapped.

use crate::format::{EncryptionKeyId, domain, framed_hash};
use curve25519_dalek::montgomery::MontgomeryPoint;
use hpke::{Deserializable, Kem as _, Serializable};
use rand::CryptoRng;
use std::fmt;
use zeroize::Zeroizing;

pub(crate) type Kem = hpke::kem::XWing;
type PublicKey = <Kem as hpke::Kem>::PublicKey;
type SecretKey = <Kem as hpke::Kem>::PrivateKey;

const FORMAT_VERSION: u8 = 1;

/// X-Wing: ML-KEM-768 and X25519.
const SUITE: u8 = 1;

const MAGIC: &[u8; 8] = b"stelakey";

/// Bytes are no encryption key that this version can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncryptionKeyError {
    /// The length is wrong for this kind of key.
    #[error("an encryption key has {bytes} bytes instead of {expected}")]
    Length {
        /// How many there are.
        bytes: usize,
        /// How many there should be.
        expected: usize,
    },
    /// The bytes do not begin as a secret key does.
    #[error("this is not an encryption key")]
    NotAKey,
    /// The format version is unknown.
    #[error("encryption key version {version} is unknown")]
    UnknownVersion {
        /// The version found.
        version: u8,
    },
    /// The key encapsulation mechanism is unknown.
    #[error("encryption key suite {suite} is unknown")]
    UnknownSuite {
        /// The suite found.
        suite: u8,
    },
    /// The ML-KEM part of a public key is not reduced, or its X25519 part is not reduced or of
    /// small order.
    #[error("an encryption public key is not valid")]
    Invalid,
    /// The secret key does not give the key id that is stored with it: the bytes are damaged.
    #[error("an encryption key is damaged")]
    Damaged,
}

/// The public half of an [`EncryptionKeyPair`]. Registered under its owner's signature; this type
/// says only that it is well-formed.
///
/// Layout, version 1, 1,218 bytes:
///
/// | offset | bytes | content |
/// |---|---|---|
/// | 0 | 1 | format version, 1 |
/// | 1 | 1 | suite, 1 = X-Wing |
/// | 2 | 1184 | ML-KEM-768 encapsulation key, FIPS 203 |
/// | 1186 | 32 | X25519 public key, RFC 7748 |
#[derive(Clone, PartialEq, Eq)]
pub struct EncryptionPublicKey {
    key: PublicKey,
    key_id: EncryptionKeyId,
}

impl EncryptionPublicKey {
    /// The length of an encoded public key.
    pub const ENCODED_BYTES: usize = 1218;

    /// Reads an encoded public key, strictly: the same bytes come back from
    /// [`EncryptionPublicKey::encode`].
    ///
    /// # Errors
    /// [`EncryptionKeyError`], whichever rule is broken first.
    pub fn decode(bytes: &[u8]) -> Result<Self, EncryptionKeyError> {
        check_length(bytes, Self::ENCODED_BYTES)?;
        check_version(bytes[0])?;
        check_suite(bytes[1])?;
        if !bytes.last_chunk().is_some_and(is_sound_x25519) {
            return Err(EncryptionKeyError::Invalid);
        }
        let key = PublicKey::from_bytes(&bytes[2..]).map_err(|_| EncryptionKeyError::Invalid)?;
        Ok(Self::from_key(key))
    }

    /// The bytes of the layout above.
    pub fn encode(&self) -> Vec<u8> {
        encode_public(&self.key)
    }

    /// SHA-256 over the framed encoding, with a domain of its own: version and suite included.
    pub fn key_id(&self) -> EncryptionKeyId {
        self.key_id
    }

    pub(crate) fn as_key(&self) -> &<Kem as hpke::Kem>::PublicKey {
        &self.key
    }

    fn from_key(key: PublicKey) -> Self {
        let hash = framed_hash(domain::ENCRYPTION_KEY, &[&encode_public(&key)]);
        Self {
            key,
            key_id: EncryptionKeyId::from_bytes(hash),
        }
    }
}

impl fmt::Debug for EncryptionPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EncryptionPublicKey({})", self.key_id)
    }
}

/// A recipient's X-Wing key pair. The secret is the 32-byte seed of the X-Wing draft, from which
/// both parts are expanded; it is zeroized on drop.
///
/// Layout of the encoded secret, version 1, 74 bytes:
///
/// | offset | bytes | content |
/// |---|---|---|
/// | 0 | 8 | `stelakey` |
/// | 8 | 1 | format version, 1 |
/// | 9 | 1 | suite, 1 = X-Wing |
/// | 10 | 32 | seed, secret |
/// | 42 | 32 | key id of the public half, so that damage is noticed |
#[derive(Clone)]
pub struct EncryptionKeyPair {
    secret: SecretKey,
    public: EncryptionPublicKey,
}

impl EncryptionKeyPair {
    /// The length of an encoded key pair.
    pub const ENCODED_BYTES: usize = 74;

    /// A fresh key pair.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let mut seed = Zeroizing::new([0; 32]);
        rng.fill_bytes(&mut *seed);
        Self::from_seed(&seed)
    }

    /// The key pair of a seed, as in `GenerateKeyPairDerand` of the X-Wing draft.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let secret = SecretKey::from_bytes(seed).expect("every 32 bytes are an X-Wing seed");
        let public = EncryptionPublicKey::from_key(Kem::sk_to_pk(&secret));
        Self { secret, public }
    }

    /// The public half.
    pub fn public(&self) -> &EncryptionPublicKey {
        &self.public
    }

    /// The bytes of the layout above. They are secret.
    pub fn encode(&self) -> Zeroizing<[u8; Self::ENCODED_BYTES]> {
        let mut bytes = Zeroizing::new([0; Self::ENCODED_BYTES]);
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8] = FORMAT_VERSION;
        bytes[9] = SUITE;
        self.secret.write_exact(&mut bytes[10..42]);
        bytes[42..].copy_from_slice(self.public.key_id.as_bytes());
        bytes
    }

    /// Reads an encoded key pair, strictly.
    ///
    /// # Errors
    /// [`EncryptionKeyError`], whichever rule is broken first.
    pub fn decode(bytes: &[u8]) -> Result<Self, EncryptionKeyError> {
        check_length(bytes, Self::ENCODED_BYTES)?;
        if !bytes.starts_with(MAGIC) {
            return Err(EncryptionKeyError::NotAKey);
        }
        check_version(bytes[8])?;
        check_suite(bytes[9])?;
        let mut seed = Zeroizing::new([0; 32]);
        seed.copy_from_slice(&bytes[10..42]);
        let pair = Self::from_seed(&seed);
        if pair.public.key_id.as_bytes() != &bytes[42..] {
            return Err(EncryptionKeyError::Damaged);
        }
        Ok(pair)
    }

    pub(crate) fn as_secret(&self) -> &<Kem as hpke::Kem>::PrivateKey {
        &self.secret
    }
}

impl fmt::Debug for EncryptionKeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "EncryptionKeyPair({}, secret redacted)",
            self.public.key_id
        )
    }
}

fn encode_public(key: &PublicKey) -> Vec<u8> {
    let mut bytes = vec![0; EncryptionPublicKey::ENCODED_BYTES];
    bytes[0] = FORMAT_VERSION;
    bytes[1] = SUITE;
    key.write_exact(&mut bytes[2..]);
    bytes
}

fn check_length(bytes: &[u8], expected: usize) -> Result<(), EncryptionKeyError> {
    if bytes.len() == expected {
        return Ok(());
    }
    Err(EncryptionKeyError::Length {
        bytes: bytes.len(),
        expected,
    })
}

fn check_version(version: u8) -> Result<(), EncryptionKeyError> {
    match version {
        FORMAT_VERSION => Ok(()),
        version => Err(EncryptionKeyError::UnknownVersion { version }),
    }
}

fn check_suite(suite: u8) -> Result<(), EncryptionKeyError> {
    match suite {
        SUITE => Ok(()),
        suite => Err(EncryptionKeyError::UnknownSuite { suite }),
    }
}

/// Whether `u` is the one encoding of a point that X25519 does not map to zero (RFC 7748, section
/// 6.1). With a point of small order the hybrid would rest on ML-KEM alone.
fn is_sound_x25519(u: &[u8; 32]) -> bool {
    let reduced = u[31] < 0x7f
        || (u[31] == 0x7f && (u[0] < 0xed || u[1..31].iter().any(|byte| *byte != 0xff)));
    reduced && MontgomeryPoint(*u).mul_clamped([1; 32]).to_bytes() != [0; 32]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pair() -> EncryptionKeyPair {
        EncryptionKeyPair::from_seed(&[7; 32])
    }

    #[test]
    fn round_trips() {
        let public = pair().public().clone();
        let encoded = public.encode();
        assert_eq!(encoded.len(), EncryptionPublicKey::ENCODED_BYTES);
        assert_eq!(EncryptionPublicKey::decode(&encoded), Ok(public.clone()));
        let read = EncryptionKeyPair::decode(&*pair().encode()).expect("decodes");
        assert_eq!(read.public(), &public);
        assert_eq!(read.encode(), pair().encode());
    }

    #[test]
    fn other_public_keys_are_refused() {
        fn check(edit: impl Fn(&mut Vec<u8>), expect: EncryptionKeyError) {
            let mut bytes = pair().public().encode();
            edit(&mut bytes);
            assert_eq!(EncryptionPublicKey::decode(&bytes), Err(expect));
        }
        let length = |bytes| EncryptionKeyError::Length {
            bytes,
            expected: 1218,
        };
        check(|bytes| bytes.clear(), length(0));
        check(|bytes| bytes.push(0), length(1219));
        check(|bytes| bytes.truncate(1217), length(1217));
        check(
            |bytes| bytes[0] = 0,
            EncryptionKeyError::UnknownVersion { version: 0 },
        );
        check(
            |bytes| bytes[1] = 2,
            EncryptionKeyError::UnknownSuite { suite: 2 },
        );
        check(|bytes| bytes[2..4].fill(0xff), EncryptionKeyError::Invalid);
        check(|bytes| bytes[1217] |= 0x80, EncryptionKeyError::Invalid);
        check(|bytes| bytes[1186..].fill(0), EncryptionKeyError::Invalid);
    }

    #[test]
    fn weak_and_unreduced_x25519_keys_are_refused() {
        // The points of small order on the curve and its twist, and the field's prime.
        for weak in [
            "0000000000000000000000000000000000000000000000000000000000000000",
            "0100000000000000000000000000000000000000000000000000000000000000",
            "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
            "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
            "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        ] {
            let mut u = [0; 32];
            hex::decode_to_slice(weak, &mut u).expect("hexadecimal");
            assert!(!is_sound_x25519(&u), "{weak}");
        }
        let mut base_point = [0; 32];
        base_point[0] = 9;
        assert!(is_sound_x25519(&base_point));
    }

    #[test]
    fn other_secret_keys_are_refused() {
        fn check(edit: impl Fn(&mut [u8; 74]), expect: EncryptionKeyError) {
            let mut bytes = *pair().encode();
            edit(&mut bytes);
            assert_eq!(EncryptionKeyPair::decode(&bytes).err(), Some(expect));
        }
        check(|bytes| bytes[0] = b'S', EncryptionKeyError::NotAKey);
        check(
            |bytes| bytes[8] = 9,
            EncryptionKeyError::UnknownVersion { version: 9 },
        );
        check(
            |bytes| bytes[9] = 9,
            EncryptionKeyError::UnknownSuite { suite: 9 },
        );
        check(|bytes| bytes[10] ^= 1, EncryptionKeyError::Damaged);
        check(|bytes| bytes[73] ^= 1, EncryptionKeyError::Damaged);
        let short = EncryptionKeyPair::decode(&[0; 73]).err();
        assert_eq!(
            short,
            Some(EncryptionKeyError::Length {
                bytes: 73,
                expected: 74
            })
        );
    }

    #[test]
    fn debug_shows_the_key_id_only() {
        let pair = EncryptionKeyPair::from_seed(&[0xab; 32]);
        let shown = format!("{pair:?} {:?}", pair.public());
        assert!(shown.contains(&pair.public().key_id().to_string()));
        assert!(
            !shown.contains("abab") && !shown.contains("171, 171"),
            "{shown}"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn whatever_decodes_encodes_to_the_same_bytes(
            edits in prop::collection::vec((0usize..1218, any::<u8>()), 1..4),
        ) {
            let mut bytes = pair().public().encode();
            for (at, value) in edits {
                bytes[at] = value;
            }
            if let Ok(key) = EncryptionPublicKey::decode(&bytes) {
                prop_assert_eq!(key.encode(), bytes);
            }
        }
    }
}

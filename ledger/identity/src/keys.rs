//! Ed25519 keys and signatures.
//!
//! Verification follows [ZIP 215](https://zips.z.cash/zip-0215), which leaves no freedom to
//! implementations: every node gives the same verdict, and a batch gives the verdict of its parts.
//! Public keys are held to more than ZIP 215 asks: canonical, of large order, without torsion.
//!
//! A signature is made over `domain ‖ message`. The domains, in
//! [`stela_protocol::hash::domain`], are such that none is the beginning of another.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::path::Path;

use curve25519_dalek::edwards::CompressedEdwardsY;
use ed25519_zebra::ed25519::KeypairBytes;
use ed25519_zebra::ed25519::pkcs8::DecodePrivateKey;
use ed25519_zebra::ed25519::pkcs8::spki::der::pem::LineEnding;
use ed25519_zebra::{Signature, VerificationKey, VerificationKeyBytes, batch};
use stela_protocol::limits::SIGNATURE_BYTES;
use zeroize::{Zeroize, Zeroizing};

use crate::files::{self, FileError, Mode};

/// Why a private key was not read or written.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The text is not an unencrypted Ed25519 key in PKCS#8 PEM.
    #[error("not an Ed25519 private key in PKCS#8 PEM")]
    Format,
    /// The file names a public key that does not belong to the private one.
    #[error("the private key does not belong to the public key beside it")]
    Mismatch,
}

/// Why a public key is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WeakKey {
    /// It does not have 32 bytes.
    #[error("a public key has 32 bytes")]
    Length,
    /// The bytes are no point of the curve.
    #[error("the public key is not a point of the curve")]
    NotAPoint,
    /// The point has another encoding, which is the canonical one.
    #[error("the public key is not canonically encoded")]
    NotCanonical,
    /// Signatures under such a key prove nothing.
    #[error("the public key is of small order")]
    SmallOrder,
    /// The point is outside the prime-order group.
    #[error("the public key has a torsion component")]
    Torsion,
}

/// A signature that does not verify.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature is not valid")]
pub struct SignatureError;

/// A private key. Wiped from memory when dropped, and never shown.
pub struct SigningKey {
    inner: Box<ed25519_zebra::SigningKey>,
    public: PublicKey,
}

impl SigningKey {
    /// Makes a key from the system's randomness.
    pub fn generate() -> Self {
        let seed = Zeroizing::new(rand::random::<[u8; 32]>());
        Self::from_seed(&seed)
    }

    /// The key of a seed: the same seed, the same key. Whoever knows the seed has the key.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let inner = Box::new(ed25519_zebra::SigningKey::from(*seed));
        let key = inner.verification_key();
        let public = PublicKey {
            bytes: VerificationKeyBytes::from(key).into(),
            key,
        };
        Self { inner, public }
    }

    /// Reads PKCS#8 PEM (RFC 8410), as OpenSSL writes it.
    ///
    /// # Errors
    /// [`KeyError::Format`] or [`KeyError::Mismatch`].
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let mut pair = KeypairBytes::from_pkcs8_pem(text).map_err(|_| KeyError::Format)?;
        let key = Self::from_seed(&pair.secret_key);
        pair.secret_key.zeroize();
        match &pair.public_key {
            Some(public) if public.to_bytes() != key.public.bytes => Err(KeyError::Mismatch),
            _ => Ok(key),
        }
    }

    /// PKCS#8 PEM.
    pub fn to_pem(&self) -> Zeroizing<String> {
        self.inner
            .to_pkcs8_pem_v1(LineEnding::LF)
            .expect("32 bytes always fit into the encoding")
    }

    /// Reads a file of PKCS#8 PEM.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        Self::from_pem(&files::read(path)?)
    }

    /// Writes a file that only its owner can read, whole or not at all.
    ///
    /// # Errors
    /// [`KeyError::File`].
    pub fn save(&self, path: &Path) -> Result<(), KeyError> {
        Ok(files::write(path, &self.to_pem(), Mode::Secret)?)
    }

    /// The public key.
    pub fn public_key(&self) -> PublicKey {
        self.public
    }

    /// Signs `domain ‖ message`. The same input always gets the same signature.
    pub fn sign(&self, domain: &[u8], message: &[u8]) -> [u8; SIGNATURE_BYTES] {
        self.sign_exactly(&[domain, message].concat())
    }

    pub(crate) fn public_key_bytes(&self) -> &[u8] {
        &self.public.bytes
    }

    /// Signs without a domain, as X.509 wants it.
    pub(crate) fn sign_exactly(&self, message: &[u8]) -> [u8; SIGNATURE_BYTES] {
        self.inner.sign(message).to_bytes()
    }
}

impl Drop for SigningKey {
    fn drop(&mut self) {
        self.inner.zeroize();
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({:?})", self.public)
    }
}

/// A public key that is fit to be registered.
#[derive(Clone, Copy)]
pub struct PublicKey {
    bytes: [u8; 32],
    key: VerificationKey,
}

impl PublicKey {
    /// Parses and checks a key.
    ///
    /// # Errors
    /// [`WeakKey`] says what is wrong with it.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, WeakKey> {
        let bytes: [u8; 32] = bytes.try_into().map_err(|_| WeakKey::Length)?;
        let point = CompressedEdwardsY(bytes)
            .decompress()
            .ok_or(WeakKey::NotAPoint)?;
        if point.compress().to_bytes() != bytes {
            return Err(WeakKey::NotCanonical);
        }
        if point.is_small_order() {
            return Err(WeakKey::SmallOrder);
        }
        if !point.is_torsion_free() {
            return Err(WeakKey::Torsion);
        }
        let key = VerificationKey::try_from(bytes).map_err(|_| WeakKey::NotAPoint)?;
        Ok(Self { bytes, key })
    }

    /// The encoded point.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.bytes
    }

    /// Verifies a signature over `domain ‖ message`.
    ///
    /// # Errors
    /// [`SignatureError`] when it is not valid, so also when it does not have 64 bytes.
    pub fn verify(
        &self,
        domain: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), SignatureError> {
        self.verify_exactly(&[domain, message].concat(), signature)
    }

    /// Verifies a signature made without a domain, as in X.509.
    pub(crate) fn verify_exactly(
        &self,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), SignatureError> {
        let signature = parse_signature(signature).ok_or(SignatureError)?;
        self.key
            .verify(&signature, message)
            .map_err(|_| SignatureError)
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for PublicKey {}

impl PartialOrd for PublicKey {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for PublicKey {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.bytes.cmp(&other.bytes)
    }
}

impl Hash for PublicKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.bytes.hash(state);
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PublicKey(")?;
        self.bytes
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}

/// A signature to verify, with what it is said to be over.
#[derive(Debug, Clone, Copy)]
pub struct SignedMessage<'a> {
    /// Whose.
    pub key: &'a PublicKey,
    /// In which domain.
    pub domain: &'a [u8],
    /// Over what.
    pub message: &'a [u8],
    /// The signature.
    pub signature: &'a [u8],
}

/// Verifies many signatures at once, which costs about half of verifying each. The verdicts, in
/// the order of the messages, are always those of [`PublicKey::verify`]: when the batch as a whole
/// fails, each is verified alone.
pub fn verify_batch(messages: &[SignedMessage<'_>]) -> Vec<bool> {
    let items: Vec<Option<batch::Item>> = messages.iter().map(item).collect();
    let mut verifier = batch::Verifier::new();
    for item in items.iter().flatten() {
        verifier.queue(item.clone());
    }
    if verifier.verify(rand::rng()).is_ok() {
        return items.iter().map(Option::is_some).collect();
    }
    items
        .into_iter()
        .map(|item| item.is_some_and(|item| item.verify_single().is_ok()))
        .collect()
}

fn item(message: &SignedMessage<'_>) -> Option<batch::Item> {
    let signature = parse_signature(message.signature)?;
    let input = [message.domain, message.message].concat();
    Some(batch::Item::from((
        VerificationKeyBytes::from(message.key.bytes),
        signature,
        &input,
    )))
}

fn parse_signature(bytes: &[u8]) -> Option<Signature> {
    let bytes: &[u8; SIGNATURE_BYTES] = bytes.try_into().ok()?;
    Some(Signature::from_bytes(bytes))
}

#[cfg(test)]
mod tests;

//! Record keys, sealed to the people who may read a record.
//!
//! A wrap is HPKE in base mode (RFC 9180) with the KEM X-Wing (0x647a, ML-KEM-768 and X25519),
//! HKDF-SHA256 and ChaCha20-Poly1305. Its `info` is the framing of the encoded [`WrapLabel`], the
//! recipient and the key id of the recipient's key, so a wrap that is moved to another record,
//! version or recipient does not open. HPKE's base mode does not say who sealed: the hash of the
//! [`WrapList`](crate::format::WrapList) in the author's signed transaction does.
//!
//! ```
//! use stela_records::format::{Identifier, WrapLabel};
//! use stela_records::keys::{EncryptionKeyPair, RecordKey};
//! use stela_records::wrap;
//! # use stela_records::format::HeaderHash;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut rng = rand::rng();
//! let patient = EncryptionKeyPair::generate(&mut rng);
//! let key = RecordKey::generate(&mut rng);
//! # let header_hash = HeaderHash::from_bytes([1; 32]);
//! let label = WrapLabel {
//!     channel: Identifier::new("care")?,
//!     record_id: Identifier::new("record-1")?,
//!     version: 1,
//!     patient_id: Identifier::new("patient-1")?,
//!     author_id: Identifier::new("practitioner-1")?,
//!     header_hash,
//!     key_commitment: key.commitment(&header_hash),
//!     cid: "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy".parse()?,
//! };
//! let recipient = Identifier::new("patient-1")?;
//! let sealed = wrap::seal(&key, &label, &recipient, patient.public(), &mut rng)?;
//! assert_eq!(wrap::open(&sealed, &label, &patient)?, key);
//! # Ok(())
//! # }
//! ```

use crate::format::{EncryptionKeyId, Identifier, Wrap, WrapLabel, domain, framed};
use crate::keys::{EncryptionKeyPair, EncryptionPublicKey, Kem, RecordKey};
use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::{Deserializable, OpModeR, OpModeS, Serializable};
use rand::CryptoRng;
use zeroize::Zeroizing;

type EncapsulatedKey = <Kem as hpke::Kem>::EncappedKey;

/// A key was not sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The label commits to another key.
    #[error("the label of a wrap commits to another record key")]
    CommitmentMismatch,
    /// The encapsulation or the encryption failed.
    #[error("a record key could not be sealed to the encryption key {key_id}")]
    Failed {
        /// The recipient's key.
        key_id: EncryptionKeyId,
    },
}

/// A wrap was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The wrap is for another key.
    #[error("the wrap is sealed to the encryption key {wrap_key_id}, which is not this one")]
    OtherKey {
        /// The key that it is for.
        wrap_key_id: EncryptionKeyId,
    },
    /// The wrap was sealed for another record, version, patient, author or recipient, or it was
    /// changed. Which of them cannot be told.
    #[error("the wrap does not open under this label")]
    Refused,
    /// The wrap opens, but to a key that the ledger does not commit to: whoever sealed it would
    /// have shown this recipient another document, or none.
    #[error("the wrapped key is not the one that the ledger commits to")]
    CommitmentMismatch,
}

/// Seals `key` to `recipient`, who holds the secret of `public_key`.
///
/// # Errors
/// [`SealError`]. A retry does not help.
pub fn seal(
    key: &RecordKey,
    label: &WrapLabel,
    recipient: &Identifier,
    public_key: &EncryptionPublicKey,
    rng: &mut impl CryptoRng,
) -> Result<Wrap, SealError> {
    if key.commitment(&label.header_hash) != label.key_commitment {
        return Err(SealError::CommitmentMismatch);
    }
    let key_id = public_key.key_id();
    let failed = SealError::Failed { key_id };
    let (encapsulated_key, sealed_key) =
        hpke::single_shot_seal_with_rng::<ChaCha20Poly1305, HkdfSha256, Kem>(
            &OpModeS::Base,
            public_key.as_key(),
            &info(label, recipient, key_id),
            key.expose_bytes(),
            b"",
            rng,
        )
        .map_err(|_| failed)?;
    let mut encapsulated_bytes = Box::new([0; _]);
    encapsulated_key.write_exact(&mut *encapsulated_bytes);
    Ok(Wrap {
        recipient: recipient.clone(),
        key_id,
        encapsulated_key: encapsulated_bytes,
        sealed_key: sealed_key.try_into().map_err(|_| failed)?,
    })
}

/// Opens a wrap under a `label` that the caller has built from committed state, and checks the key
/// against the label's commitment.
///
/// # Errors
/// [`OpenError`]. A retry does not help.
pub fn open(
    wrap: &Wrap,
    label: &WrapLabel,
    key_pair: &EncryptionKeyPair,
) -> Result<RecordKey, OpenError> {
    let key_id = key_pair.public().key_id();
    if wrap.key_id != key_id {
        return Err(OpenError::OtherKey {
            wrap_key_id: wrap.key_id,
        });
    }
    let encapsulated_key =
        EncapsulatedKey::from_bytes(&*wrap.encapsulated_key).map_err(|_| OpenError::Refused)?;
    let opened = hpke::single_shot_open::<ChaCha20Poly1305, HkdfSha256, Kem>(
        &OpModeR::Base,
        key_pair.as_secret(),
        &encapsulated_key,
        &info(label, &wrap.recipient, key_id),
        &wrap.sealed_key,
        b"",
    )
    .map_err(|_| OpenError::Refused)?;
    let opened = Zeroizing::new(opened);
    let bytes: &[u8; 32] = opened
        .as_slice()
        .try_into()
        .map_err(|_| OpenError::Refused)?;
    let key = RecordKey::from_bytes(bytes);
    if key.commitment(&label.header_hash) != label.key_commitment {
        return Err(OpenError::CommitmentMismatch);
    }
    Ok(key)
}

fn info(label: &WrapLabel, recipient: &Identifier, key_id: EncryptionKeyId) -> Vec<u8> {
    framed(
        domain::WRAP,
        &[&label.encode(), recipient.as_bytes(), key_id.as_bytes()],
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{HeaderHash, KeyCommitment};
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    /// A patient's key pair, and a record whose key is wrapped for her.
    struct Case {
        rng: StdRng,
        patient: EncryptionKeyPair,
        key: RecordKey,
        label: WrapLabel,
        wrap: Wrap,
    }

    fn name(text: &str) -> Identifier {
        Identifier::new(text).expect("valid")
    }

    fn case(seed: u64) -> Case {
        println!("seed {seed}");
        let mut rng = StdRng::seed_from_u64(seed);
        let patient = EncryptionKeyPair::generate(&mut rng);
        let key = RecordKey::generate(&mut rng);
        let header_hash = HeaderHash::from_bytes([1; 32]);
        let label = WrapLabel {
            channel: name("care"),
            record_id: name("record-1"),
            version: 1,
            patient_id: name("patient-1"),
            author_id: name("practitioner-1"),
            header_hash,
            key_commitment: key.commitment(&header_hash),
            cid: cid::Cid::default(),
        };
        let wrap = seal(&key, &label, &name("patient-1"), patient.public(), &mut rng);
        Case {
            rng,
            patient,
            key,
            label,
            wrap: wrap.expect("seals"),
        }
    }

    #[test]
    fn the_recipient_opens_it() {
        let Case {
            patient,
            key,
            label,
            wrap,
            ..
        } = case(21);
        assert_eq!(open(&wrap, &label, &patient), Ok(key));
        assert_eq!(wrap.encapsulated_key.len() + wrap.sealed_key.len(), 1168);
    }

    #[test]
    fn two_wraps_of_one_key_differ() {
        let Case {
            mut rng,
            patient,
            key,
            label,
            wrap,
        } = case(22);
        let again = seal(&key, &label, &name("patient-1"), patient.public(), &mut rng);
        let again = again.expect("seals");
        assert_ne!(again.encapsulated_key, wrap.encapsulated_key);
        assert_ne!(again.sealed_key, wrap.sealed_key);
    }

    #[test]
    fn another_key_pair_does_not_open_it() {
        let Case {
            mut rng,
            patient,
            label,
            wrap,
            ..
        } = case(23);
        let thief = EncryptionKeyPair::generate(&mut rng);
        let wrap_key_id = patient.public().key_id();
        assert_eq!(
            open(&wrap, &label, &thief),
            Err(OpenError::OtherKey { wrap_key_id })
        );
        let relabeled = Wrap {
            key_id: thief.public().key_id(),
            ..wrap
        };
        assert_eq!(open(&relabeled, &label, &thief), Err(OpenError::Refused));
    }

    #[test]
    fn another_label_does_not_open_it() {
        let Case {
            patient,
            label,
            wrap,
            ..
        } = case(24);
        let changes: [fn(&mut WrapLabel); 8] = [
            |label| label.channel = name("care2"),
            |label| label.record_id = name("record-2"),
            |label| label.version = 2,
            |label| label.patient_id = name("patient-2"),
            |label| label.author_id = name("practitioner-2"),
            |label| label.header_hash = HeaderHash::from_bytes([2; 32]),
            |label| label.key_commitment = KeyCommitment::from_bytes([2; 32]),
            |label| {
                label.cid = "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"
                    .parse()
                    .expect("a CID");
            },
        ];
        for (index, change) in changes.iter().enumerate() {
            let mut other = label.clone();
            change(&mut other);
            assert_eq!(
                open(&wrap, &other, &patient),
                Err(OpenError::Refused),
                "field {index}"
            );
        }
    }

    #[test]
    fn a_changed_wrap_does_not_open() {
        let Case {
            patient,
            label,
            wrap,
            ..
        } = case(25);
        let renamed = Wrap {
            recipient: name("delegate-1"),
            ..wrap.clone()
        };
        assert_eq!(open(&renamed, &label, &patient), Err(OpenError::Refused));
        for at in [0, 1, 1087, 1088, 1119] {
            let mut other = wrap.clone();
            other.encapsulated_key[at] ^= 1;
            assert_eq!(
                open(&other, &label, &patient),
                Err(OpenError::Refused),
                "byte {at}"
            );
        }
        for bit in 0..48 * 8 {
            let mut other = wrap.clone();
            other.sealed_key[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(
                open(&other, &label, &patient),
                Err(OpenError::Refused),
                "bit {bit}"
            );
        }
    }

    /// A dishonest author seals another key than the ledger commits to.
    #[test]
    fn a_key_that_the_ledger_does_not_commit_to_is_refused() {
        let Case {
            mut rng,
            patient,
            label,
            ..
        } = case(26);
        let public = patient.public();
        let recipient = name("patient-1");
        let (encapsulated, sealed) =
            hpke::single_shot_seal_with_rng::<ChaCha20Poly1305, HkdfSha256, Kem>(
                &OpModeS::Base,
                public.as_key(),
                &info(&label, &recipient, public.key_id()),
                &[9; 32],
                b"",
                &mut rng,
            )
            .expect("seals");
        let mut encapsulated_key = Box::new([0; _]);
        encapsulated.write_exact(&mut *encapsulated_key);
        let sealed_key = sealed.try_into().expect("48 bytes");
        let wrap = Wrap {
            recipient,
            key_id: public.key_id(),
            encapsulated_key,
            sealed_key,
        };
        assert_eq!(
            open(&wrap, &label, &patient),
            Err(OpenError::CommitmentMismatch)
        );

        let other = RecordKey::generate(&mut rng);
        let refused = seal(&other, &label, &name("patient-1"), public, &mut rng);
        assert_eq!(refused, Err(SealError::CommitmentMismatch));
    }

    #[test]
    fn debug_shows_no_key() {
        let Case { wrap, .. } = case(27);
        let shown = format!("{wrap:?}");
        assert!(shown.len() < 200, "{shown}");
    }
}

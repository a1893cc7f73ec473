//! A note that travels beside a request for consent, sealed to the patient and to those who may
//! answer for her.
//!
//! Each recipient gets the note itself: HPKE in base mode with the suite of [`wrap`](crate::wrap).
//! Its `info` is the framing of the encoded [`NoteLabel`] and of the key id, so a note that is moved
//! to another request does not open. Who wrote it, the commitment in the signed request says. Every
//! note is padded to the same length, so that its size tells nothing.

use std::fmt;

use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::{Deserializable, OpModeR, OpModeS, Serializable};
use rand::CryptoRng;
use zeroize::Zeroizing;

use crate::format::{ENCAPSULATED_KEY_BYTES, EncryptionKeyId, Identifier, Reader, domain, framed};
use crate::keys::{EncryptionKeyPair, EncryptionPublicKey, Kem};
use crate::limits::{NOTE_BYTES_MAX, NOTE_LIST_BYTES_MAX, NOTE_SEALED_BYTES, WRAPS_MAX};

type EncapsulatedKey = <Kem as hpke::Kem>::EncappedKey;

const FORMAT_VERSION: u8 = 1;
/// The length of the text stands before it.
const LENGTH_BYTES: usize = 2;

/// A note was not sealed, or does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// The text is longer than [`NOTE_BYTES_MAX`].
    #[error("a note has {bytes} bytes, at most {NOTE_BYTES_MAX} are allowed")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// There are more recipients than fit.
    #[error("a note for {count} recipients, at most {WRAPS_MAX} are allowed")]
    TooMany {
        /// How many there are.
        count: usize,
    },
    /// The encapsulation or the encryption failed.
    #[error("a note could not be sealed to the encryption key {key_id}")]
    Failed {
        /// The recipient's key.
        key_id: EncryptionKeyId,
    },
    /// The bytes are no list of sealed notes.
    #[error("these are no sealed notes of a version that is known")]
    Malformed,
    /// None of the notes is for this key pair.
    #[error("the note is not for you")]
    NotForYou,
    /// It was sealed for another request, changed, or is not text.
    #[error("the note does not open under this request")]
    Refused,
}

/// To which request a note belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoteLabel {
    /// The channel.
    pub channel: Identifier,
    /// The patient.
    pub patient_id: Identifier,
    /// The request for consent.
    pub request_id: Identifier,
    /// The certificate of who asks.
    pub author_id: Identifier,
}

impl NoteLabel {
    fn info(&self, key_id: EncryptionKeyId) -> Vec<u8> {
        framed(
            domain::NOTE,
            &[
                self.channel.as_bytes(),
                self.patient_id.as_bytes(),
                self.request_id.as_bytes(),
                self.author_id.as_bytes(),
                key_id.as_bytes(),
            ],
        )
    }
}

struct SealedNote {
    key_id: EncryptionKeyId,
    encapsulated_key: Box<[u8; ENCAPSULATED_KEY_BYTES]>,
    sealed: Vec<u8>,
}

impl SealedNote {
    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            key_id: EncryptionKeyId::from_bytes(*reader.array()?),
            encapsulated_key: Box::new(*reader.array()?),
            sealed: reader.slice(NOTE_SEALED_BYTES)?.to_vec(),
        })
    }
}

/// One note, sealed to each of its recipients.
///
/// Layout, version 1, integers big endian:
///
/// | bytes | content |
/// |---|---|
/// | 1 | format version, 1 |
/// | 2 | number of recipients, at most 64 |
/// | then for each: | |
/// | 32 | key id |
/// | 1120 | encapsulated key |
/// | 2064 | sealed: length of the text (2), the text in UTF-8, zeros up to 2,048 bytes; and the tag |
pub struct SealedNotes(Vec<SealedNote>);

impl fmt::Debug for SealedNotes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids = self.0.iter().map(|note| note.key_id);
        f.debug_set().entries(ids).finish()
    }
}

impl SealedNotes {
    /// Seals `text` to each of these keys.
    ///
    /// # Errors
    /// [`NoteError::TooLong`], [`NoteError::TooMany`], [`NoteError::Failed`].
    pub fn seal<'a>(
        text: &str,
        label: &NoteLabel,
        recipients: impl IntoIterator<Item = &'a EncryptionPublicKey>,
        rng: &mut impl CryptoRng,
    ) -> Result<Self, NoteError> {
        let padded = pad(text)?;
        let notes = recipients
            .into_iter()
            .map(|to| seal(&padded, label, to, rng))
            .collect::<Result<Vec<_>, _>>()?;
        match notes.len() {
            count if count > WRAPS_MAX => Err(NoteError::TooMany { count }),
            _ => Ok(Self(notes)),
        }
    }

    /// The bytes of the layout above.
    pub fn encode(&self) -> Vec<u8> {
        let count = u16::try_from(self.0.len()).expect("there are at most 64 recipients");
        let mut bytes = vec![FORMAT_VERSION];
        bytes.extend_from_slice(&count.to_be_bytes());
        for note in &self.0 {
            bytes.extend_from_slice(note.key_id.as_bytes());
            bytes.extend_from_slice(&*note.encapsulated_key);
            bytes.extend_from_slice(&note.sealed);
        }
        bytes
    }

    /// Reads encoded notes, strictly: the same bytes come back from [`SealedNotes::encode`].
    ///
    /// # Errors
    /// [`NoteError::Malformed`].
    pub fn decode(bytes: &[u8]) -> Result<Self, NoteError> {
        if bytes.len() > NOTE_LIST_BYTES_MAX {
            return Err(NoteError::Malformed);
        }
        read_all(&mut Reader::new(bytes))
            .map(Self)
            .ok_or(NoteError::Malformed)
    }

    /// Opens the note that is for one of these key pairs.
    ///
    /// # Errors
    /// [`NoteError::NotForYou`] or [`NoteError::Refused`].
    pub fn open<'a>(
        &self,
        label: &NoteLabel,
        pairs: impl IntoIterator<Item = &'a EncryptionKeyPair>,
    ) -> Result<Zeroizing<String>, NoteError> {
        for pair in pairs {
            let key_id = pair.public().key_id();
            if let Some(note) = self.0.iter().find(|note| note.key_id == key_id) {
                return open(note, label, pair);
            }
        }
        Err(NoteError::NotForYou)
    }
}

fn read_all(reader: &mut Reader<'_>) -> Option<Vec<SealedNote>> {
    if reader.u8()? != FORMAT_VERSION {
        return None;
    }
    let count = usize::from(reader.u16()?);
    if count > WRAPS_MAX {
        return None;
    }
    let notes: Option<Vec<_>> = (0..count).map(|_| SealedNote::read(reader)).collect();
    notes.filter(|_| reader.remaining_bytes() == 0)
}

fn pad(text: &str) -> Result<Zeroizing<Vec<u8>>, NoteError> {
    let bytes = text.len();
    let length = match u16::try_from(bytes) {
        Ok(length) if bytes <= NOTE_BYTES_MAX => length,
        _ => return Err(NoteError::TooLong { bytes }),
    };
    let mut padded = Zeroizing::new(vec![0; LENGTH_BYTES + NOTE_BYTES_MAX]);
    padded[..LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
    padded[LENGTH_BYTES..LENGTH_BYTES + bytes].copy_from_slice(text.as_bytes());
    Ok(padded)
}

/// The text in a padded note; what follows it must be zeros.
fn unpad(padded: &[u8]) -> Option<Zeroizing<String>> {
    let (length, rest) = padded.split_first_chunk::<LENGTH_BYTES>()?;
    let (text, zeros) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    let text = std::str::from_utf8(text).ok()?;
    let clean = zeros.iter().all(|byte| *byte == 0);
    clean.then(|| Zeroizing::new(text.to_owned()))
}

fn seal(
    padded: &[u8],
    label: &NoteLabel,
    to: &EncryptionPublicKey,
    rng: &mut impl CryptoRng,
) -> Result<SealedNote, NoteError> {
    let key_id = to.key_id();
    let (encapsulated, sealed) =
        hpke::single_shot_seal_with_rng::<ChaCha20Poly1305, HkdfSha256, Kem>(
            &OpModeS::Base,
            to.as_key(),
            &label.info(key_id),
            padded,
            b"",
            rng,
        )
        .map_err(|_| NoteError::Failed { key_id })?;
    let mut encapsulated_key = Box::new([0; _]);
    encapsulated.write_exact(&mut *encapsulated_key);
    Ok(SealedNote {
        key_id,
        encapsulated_key,
        sealed,
    })
}

fn open(
    note: &SealedNote,
    label: &NoteLabel,
    pair: &EncryptionKeyPair,
) -> Result<Zeroizing<String>, NoteError> {
    let encapsulated =
        EncapsulatedKey::from_bytes(&*note.encapsulated_key).map_err(|_| NoteError::Refused)?;
    let opened = hpke::single_shot_open::<ChaCha20Poly1305, HkdfSha256, Kem>(
        &OpModeR::Base,
        pair.as_secret(),
        &encapsulated,
        &label.info(note.key_id),
        &note.sealed,
        b"",
    )
    .map_err(|_| NoteError::Refused)?;
    let opened = Zeroizing::new(opened);
    unpad(&opened).ok_or(NoteError::Refused)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    const TEXT: &str = "Dr. Müller asks for the laboratory results of May.";

    fn label(request: &str) -> NoteLabel {
        let name = |text: &str| Identifier::new(text).expect("valid");
        NoteLabel {
            channel: name("care"),
            patient_id: name("patient-1"),
            request_id: name(request),
            author_id: name("practitioner-1"),
        }
    }

    #[test]
    fn each_recipient_opens_the_note_and_nobody_else_does() {
        let mut rng = StdRng::seed_from_u64(1);
        let pairs: Vec<_> = (0..3)
            .map(|_| EncryptionKeyPair::generate(&mut rng))
            .collect();
        let keys = pairs[..2].iter().map(EncryptionKeyPair::public);
        let sealed = SealedNotes::seal(TEXT, &label("1"), keys, &mut rng).expect("sealed");
        let decoded = SealedNotes::decode(&sealed.encode()).expect("its own encoding");
        assert_eq!(decoded.encode(), sealed.encode());
        for pair in &pairs[..2] {
            let opened = decoded.open(&label("1"), [&pairs[2], pair]).expect("opens");
            assert_eq!(*opened, TEXT);
            let moved = decoded.open(&label("2"), [pair]);
            assert_eq!(moved, Err(NoteError::Refused));
        }
        let foreign = decoded.open(&label("1"), [&pairs[2]]);
        assert_eq!(foreign, Err(NoteError::NotForYou));
    }

    #[test]
    fn the_length_of_a_note_does_not_show() {
        let mut rng = StdRng::seed_from_u64(2);
        let pair = EncryptionKeyPair::generate(&mut rng);
        let mut length = |text: &str| {
            let sealed = SealedNotes::seal(text, &label("1"), [pair.public()], &mut rng);
            sealed.map(|sealed| sealed.encode().len())
        };
        assert_eq!(length(""), Ok(3 + 32 + 1120 + 2064));
        assert_eq!(length(&"x".repeat(NOTE_BYTES_MAX)), length(""));
        let bytes = NOTE_BYTES_MAX + 1;
        assert_eq!(
            length(&"x".repeat(bytes)),
            Err(NoteError::TooLong { bytes })
        );
    }

    #[test]
    fn what_is_no_list_of_notes_is_refused() {
        let mut rng = StdRng::seed_from_u64(3);
        let pair = EncryptionKeyPair::generate(&mut rng);
        let sealed = SealedNotes::seal(TEXT, &label("1"), [pair.public()], &mut rng);
        let bytes = sealed.expect("sealed").encode();
        for end in 0..bytes.len() {
            assert!(SealedNotes::decode(&bytes[..end]).is_err(), "{end}");
        }
        let longer = [&bytes[..], &[0]].concat();
        let other_version = [&[2], &bytes[1..]].concat();
        let many = [&[1, 0xff, 0xff], &bytes[3..]].concat();
        for wrong in [longer, other_version, many] {
            assert!(SealedNotes::decode(&wrong).is_err());
        }
        for place in [40, 1500, bytes.len() - 1] {
            let mut changed = bytes.clone();
            changed[place] ^= 1;
            let changed = SealedNotes::decode(&changed).expect("the layout is whole");
            assert_eq!(changed.open(&label("1"), [&pair]), Err(NoteError::Refused));
        }
    }

    #[test]
    fn golden_bytes() {
        let note = SealedNote {
            key_id: EncryptionKeyId::from_bytes([1; 32]),
            encapsulated_key: Box::new([2; ENCAPSULATED_KEY_BYTES]),
            sealed: vec![3; NOTE_SEALED_BYTES],
        };
        let bytes = SealedNotes(vec![note]).encode();
        let expected = [
            &b"\x01\x00\x01"[..],
            &[1; 32],
            &[2; ENCAPSULATED_KEY_BYTES],
            &[3; NOTE_SEALED_BYTES],
        ];
        assert_eq!(bytes, expected.concat());
    }

    #[test]
    fn padding_has_one_form() {
        let padded = pad("é").expect("short");
        assert_eq!(&padded[..5], b"\x00\x02\xc3\xa9\x00");
        assert_eq!(unpad(&padded).as_deref().map(String::as_str), Some("é"));
        let mut dirty = padded.clone();
        dirty[100] = 1;
        assert!(unpad(&dirty).is_none());
        assert!(unpad(b"\x00\x09abc").is_none());
        assert!(unpad(b"\x00\x01\xff").is_none());
    }
}

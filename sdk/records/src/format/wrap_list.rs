//! Wrapped record keys, and the list of them that travels beside a transaction.

use super::{
    EncryptionKeyId, Identifier, IdentifierError, Reader, WrapListCommitment, domain, framed_hash,
};
use crate::limits::{IDENTIFIER_BYTES_MAX, WRAP_LIST_BYTES_MAX, WRAPS_MAX};
use rand::CryptoRng;
use std::fmt;

const FORMAT_VERSION: u8 = 1;

/// The length of an encapsulated X-Wing key.
pub const ENCAPSULATED_KEY_BYTES: usize = 1120;

/// The length of a record key sealed with ChaCha20-Poly1305.
pub const SEALED_KEY_BYTES: usize = 48;

/// Bytes are no list of wraps, or not the one that was committed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WrapListError {
    /// The list is longer than [`WRAP_LIST_BYTES_MAX`].
    #[error("a wrap list has {bytes} bytes, at most {WRAP_LIST_BYTES_MAX} are allowed")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// There are more wraps than [`WRAPS_MAX`].
    #[error("a wrap list has {count} wraps, at most {WRAPS_MAX} are allowed")]
    TooMany {
        /// How many there are.
        count: usize,
    },
    /// The format version is unknown.
    #[error("wrap list version {version} is unknown")]
    UnknownVersion {
        /// The version found.
        version: u8,
    },
    /// The bytes end too early.
    #[error("a wrap list is truncated")]
    Truncated,
    /// Bytes follow the last wrap.
    #[error("a wrap list is followed by other bytes")]
    TrailingData,
    /// A recipient's name is not valid.
    #[error("a recipient in a wrap list is not valid")]
    Recipient(#[from] IdentifierError),
    /// The wraps are not in order of recipient and key, or two are for the same.
    #[error("a wrap list is not in strictly ascending order")]
    Order,
    /// The bytes are not those of the commitment.
    #[error("a wrap list is not the one that its author committed to")]
    CommitmentMismatch,
}

/// One record key, sealed to one recipient. Everybody may see it, only the holder of the
/// recipient's secret key can open it.
#[derive(Clone, PartialEq, Eq)]
pub struct Wrap {
    /// Who it is for.
    pub recipient: Identifier,
    /// The recipient's key that it is sealed to.
    pub key_id: EncryptionKeyId,
    /// The X-Wing ciphertext.
    pub encapsulated_key: Box<[u8; ENCAPSULATED_KEY_BYTES]>,
    /// The sealed record key and its tag.
    pub sealed_key: [u8; SEALED_KEY_BYTES],
}

impl Wrap {
    fn sort_key(&self) -> (&Identifier, &[u8; 32]) {
        (&self.recipient, self.key_id.as_bytes())
    }

    fn encode_into(&self, bytes: &mut Vec<u8>) {
        let recipient = self.recipient.as_bytes();
        let length = u16::try_from(recipient.len()).expect("identifiers are at most 256 bytes");
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(recipient);
        bytes.extend_from_slice(self.key_id.as_bytes());
        bytes.extend_from_slice(&*self.encapsulated_key);
        bytes.extend_from_slice(&self.sealed_key);
    }

    fn decode_from(reader: &mut Reader<'_>) -> Result<Self, WrapListError> {
        let length = usize::from(reader.u16().ok_or(WrapListError::Truncated)?);
        if length > IDENTIFIER_BYTES_MAX {
            return Err(IdentifierError::TooLong { bytes: length }.into());
        }
        let recipient = reader.slice(length).ok_or(WrapListError::Truncated)?;
        Ok(Self {
            recipient: Identifier::from_utf8(recipient)?,
            key_id: EncryptionKeyId::from_bytes(*reader.array().ok_or(WrapListError::Truncated)?),
            encapsulated_key: Box::new(*reader.array().ok_or(WrapListError::Truncated)?),
            sealed_key: *reader.array().ok_or(WrapListError::Truncated)?,
        })
    }
}

impl fmt::Debug for Wrap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wrap")
            .field("recipient", &self.recipient)
            .field("key_id", &self.key_id)
            .finish_non_exhaustive()
    }
}

/// The random salt of a commitment to a list of wraps. It is kept and erased with the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrapListSalt([u8; 16]);

impl WrapListSalt {
    /// A fresh salt.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let mut bytes = [0; 16];
        rng.fill_bytes(&mut bytes);
        Self(bytes)
    }

    /// Takes the 16 bytes as they are.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The commitment to encoded wraps: SHA-256 over the framed salt and bytes.
    pub fn commit(&self, encoded: &[u8]) -> WrapListCommitment {
        WrapListCommitment::from_bytes(framed_hash(domain::WRAP_LIST, &[&self.0, encoded]))
    }
}

/// The wraps of one version of a record, in one canonical order: ascending by the bytes of the
/// recipient and then of the key id, no pair twice. So a list has exactly one encoding.
///
/// It is kept in the side store, where it can be erased; the ledger has its salted commitment.
///
/// Layout, version 1, integers big endian:
///
/// | bytes | content |
/// |---|---|
/// | 1 | format version, 1 |
/// | 2 | number of wraps, at most 64 |
/// | then for each wrap: | |
/// | 2 | length of the recipient, 1 to 256 |
/// | n | recipient, UTF-8 |
/// | 32 | key id |
/// | 1120 | encapsulated key |
/// | 48 | sealed record key |
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrapList(Vec<Wrap>);

impl WrapList {
    /// Puts `wraps` in order.
    ///
    /// # Errors
    /// [`WrapListError::TooMany`], or [`WrapListError::Order`] if two wraps are for the same
    /// recipient and key.
    pub fn new(mut wraps: Vec<Wrap>) -> Result<Self, WrapListError> {
        wraps.sort_by(|a, b| a.sort_key().cmp(&b.sort_key()));
        Self::from_ordered(wraps)
    }

    /// The bytes of the layout above.
    pub fn encode(&self) -> Vec<u8> {
        let count = u16::try_from(self.0.len()).expect("a list has at most 64 wraps");
        let mut bytes = vec![FORMAT_VERSION];
        bytes.extend_from_slice(&count.to_be_bytes());
        for wrap in &self.0 {
            wrap.encode_into(&mut bytes);
        }
        bytes
    }

    /// Reads an encoded list, strictly: the same bytes come back from [`WrapList::encode`].
    ///
    /// # Errors
    /// [`WrapListError`], whichever rule is broken first.
    pub fn decode(bytes: &[u8]) -> Result<Self, WrapListError> {
        if bytes.len() > WRAP_LIST_BYTES_MAX {
            return Err(WrapListError::TooLong { bytes: bytes.len() });
        }
        let mut reader = Reader::new(bytes);
        match reader.u8().ok_or(WrapListError::Truncated)? {
            FORMAT_VERSION => {}
            version => return Err(WrapListError::UnknownVersion { version }),
        }
        let count = usize::from(reader.u16().ok_or(WrapListError::Truncated)?);
        check_count(count)?;
        let wraps = (0..count)
            .map(|_| Wrap::decode_from(&mut reader))
            .collect::<Result<Vec<_>, _>>()?;
        if reader.remaining_bytes() > 0 {
            return Err(WrapListError::TrailingData);
        }
        Self::from_ordered(wraps)
    }

    /// Reads a list only if its bytes are those that were committed to.
    ///
    /// # Errors
    /// [`WrapListError::CommitmentMismatch`] before anything else but the length is looked at,
    /// then those of [`WrapList::decode`].
    pub fn decode_committed(
        bytes: &[u8],
        salt: &WrapListSalt,
        commitment: &WrapListCommitment,
    ) -> Result<Self, WrapListError> {
        if bytes.len() > WRAP_LIST_BYTES_MAX {
            return Err(WrapListError::TooLong { bytes: bytes.len() });
        }
        if salt.commit(bytes) != *commitment {
            return Err(WrapListError::CommitmentMismatch);
        }
        Self::decode(bytes)
    }

    /// All wraps, in order.
    pub fn wraps(&self) -> &[Wrap] {
        &self.0
    }

    /// The wraps for the key `key_id`, whoever holds it.
    pub fn for_key(&self, key_id: EncryptionKeyId) -> impl Iterator<Item = &Wrap> {
        self.0.iter().filter(move |wrap| wrap.key_id == key_id)
    }

    fn from_ordered(wraps: Vec<Wrap>) -> Result<Self, WrapListError> {
        check_count(wraps.len())?;
        let ascending = wraps.is_sorted_by(|a, b| a.sort_key() < b.sort_key());
        if ascending {
            Ok(Self(wraps))
        } else {
            Err(WrapListError::Order)
        }
    }
}

fn check_count(count: usize) -> Result<(), WrapListError> {
    if count > WRAPS_MAX {
        Err(WrapListError::TooMany { count })
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn wrap(recipient: &str, fill: u8) -> Wrap {
        Wrap {
            recipient: Identifier::new(recipient).expect("valid"),
            key_id: EncryptionKeyId::from_bytes([fill; 32]),
            encapsulated_key: Box::new([fill; ENCAPSULATED_KEY_BYTES]),
            sealed_key: [fill; SEALED_KEY_BYTES],
        }
    }

    fn two() -> WrapList {
        WrapList::new(vec![wrap("b", 2), wrap("a", 1)]).expect("valid")
    }

    #[test]
    fn golden_bytes() {
        let expected = [
            "01".to_owned(),
            "0002".to_owned(),
            "0001".to_owned() + "61" + &"01".repeat(32 + 1120 + 48),
            "0001".to_owned() + "62" + &"02".repeat(32 + 1120 + 48),
        ]
        .concat();
        assert_eq!(hex::encode(two().encode()), expected);
        assert_eq!(WrapList::decode(&two().encode()), Ok(two()));
        let empty = WrapList::new(Vec::new()).expect("valid");
        assert_eq!(empty.encode(), [1, 0, 0]);
        assert_eq!(WrapList::decode(&[1, 0, 0]), Ok(empty));
    }

    #[test]
    fn the_longest_list_fits_its_limit_exactly() {
        let name = "x".repeat(IDENTIFIER_BYTES_MAX);
        let wraps: Vec<_> = (0..WRAPS_MAX)
            .map(|index| wrap(&name, index as u8))
            .collect();
        let encoded = WrapList::new(wraps.clone()).expect("valid").encode();
        assert_eq!(encoded.len(), WRAP_LIST_BYTES_MAX);
        assert!(WrapList::decode(&encoded).is_ok());

        let more = [wraps, vec![wrap("y", 0)]].concat();
        assert_eq!(
            WrapList::new(more),
            Err(WrapListError::TooMany {
                count: WRAPS_MAX + 1
            })
        );
        let long = vec![0; WRAP_LIST_BYTES_MAX + 1];
        assert_eq!(
            WrapList::decode(&long),
            Err(WrapListError::TooLong { bytes: long.len() })
        );
    }

    #[test]
    fn other_bytes_are_refused() {
        fn check(edit: impl Fn(&mut Vec<u8>), expect: WrapListError) {
            let mut bytes = two().encode();
            edit(&mut bytes);
            assert_eq!(WrapList::decode(&bytes), Err(expect));
        }
        check(
            |bytes| bytes[0] = 2,
            WrapListError::UnknownVersion { version: 2 },
        );
        check(|bytes| bytes[2] = 1, WrapListError::TrailingData);
        check(|bytes| bytes[2] = 3, WrapListError::Truncated);
        check(|bytes| bytes[1] = 1, WrapListError::TooMany { count: 258 });
        check(
            |bytes| bytes[4] = 0,
            WrapListError::Recipient(IdentifierError::Empty),
        );
        check(
            |bytes| bytes[3] = 2,
            WrapListError::Recipient(IdentifierError::TooLong { bytes: 513 }),
        );
        check(
            |bytes| bytes[5] = 0xff,
            WrapListError::Recipient(IdentifierError::NotUtf8),
        );
        check(
            |bytes| bytes[5] = 7,
            WrapListError::Recipient(IdentifierError::ControlCharacter),
        );
        check(|bytes| bytes[5] = b'c', WrapListError::Order);
        check(|bytes| bytes.push(0), WrapListError::TrailingData);
        check(
            |bytes| {
                let second = bytes[3..3 + 3 + 1200].to_vec();
                bytes.truncate(3 + 3 + 1200);
                bytes.extend(second);
            },
            WrapListError::Order,
        );
        let bytes = two().encode();
        for length in 0..bytes.len() {
            assert_eq!(
                WrapList::decode(&bytes[..length]),
                Err(WrapListError::Truncated)
            );
        }
    }

    #[test]
    fn one_wrap_for_each_recipient_and_key() {
        let twice = WrapList::new(vec![wrap("a", 1), wrap("a", 1)]);
        assert_eq!(twice, Err(WrapListError::Order));
        let two_keys = WrapList::new(vec![wrap("a", 2), wrap("a", 1)]).expect("valid");
        assert_eq!(
            two_keys
                .for_key(EncryptionKeyId::from_bytes([2; 32]))
                .count(),
            1
        );
    }

    #[test]
    fn the_commitment_binds_salt_and_bytes() {
        let (list, salt) = (two(), WrapListSalt::from_bytes([7; 16]));
        let bytes = list.encode();
        let commitment = salt.commit(&bytes);
        assert_eq!(
            WrapList::decode_committed(&bytes, &salt, &commitment),
            Ok(list)
        );

        let other_salt = WrapListSalt::from_bytes([8; 16]);
        let mismatch = Err(WrapListError::CommitmentMismatch);
        assert_eq!(
            WrapList::decode_committed(&bytes, &other_salt, &commitment),
            mismatch
        );
        let mut other = bytes.clone();
        *other.last_mut().expect("not empty") ^= 1;
        assert_eq!(
            WrapList::decode_committed(&other, &salt, &commitment),
            mismatch
        );
    }

    proptest! {
        #[test]
        fn round_trip(names in prop::collection::btree_set("[a-z0-9:/ ]{1,40}", 0..10)) {
            let wraps = names.iter().enumerate().map(|(i, name)| wrap(name, i as u8)).collect();
            let list = WrapList::new(wraps).expect("few and distinct");
            prop_assert_eq!(WrapList::decode(&list.encode()), Ok(list));
        }

        #[test]
        fn whatever_decodes_encodes_to_the_same_bytes(
            edits in prop::collection::vec((0usize..2409, any::<u8>()), 1..4),
        ) {
            let mut bytes = two().encode();
            for (at, value) in edits {
                bytes[at] = value;
            }
            if let Ok(list) = WrapList::decode(&bytes) {
                prop_assert_eq!(list.encode(), bytes);
            }
        }
    }
}

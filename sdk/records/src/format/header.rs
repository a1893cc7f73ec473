//! The header of an encrypted record.

use super::{HeaderHash, Reader, domain, framed_hash};
use crate::limits::{CHUNK_PLAINTEXT_BYTES, CHUNK_TAG_BYTES, PADDED_BYTES_MAX, PADDED_BYTES_MIN};
use crate::padding::padded_bytes;
use rand::CryptoRng;
use std::ops::Range;

const FORMAT_VERSION: u8 = 1;

/// HKDF-SHA256, and STREAM BE32 with XChaCha20-Poly1305.
const SUITE: u8 = 1;

/// Bytes are no header that this version can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The length differs from [`Header::ENCODED_BYTES`].
    #[error(
        "a record header has {bytes} bytes instead of {}",
        Header::ENCODED_BYTES
    )]
    Length {
        /// How many there are.
        bytes: usize,
    },
    /// The format version is unknown.
    #[error("record format version {version} is unknown")]
    UnknownVersion {
        /// The version found.
        version: u8,
    },
    /// The cipher suite is unknown.
    #[error("record cipher suite {suite} is unknown")]
    UnknownSuite {
        /// The suite found.
        suite: u8,
    },
    /// The chunk size is not the one of the format.
    #[error("the chunk size {chunk_bytes} is not {CHUNK_PLAINTEXT_BYTES}")]
    ChunkSize {
        /// The size found.
        chunk_bytes: u32,
    },
    /// The padded length is out of range, or is not a length to which records are padded.
    #[error("{padded_bytes} is not a padded length")]
    PaddedLength {
        /// The length found.
        padded_bytes: u64,
    },
    /// The chunk count does not follow from the padded length.
    #[error("the chunk count is {chunk_count}, the padded length needs {expected}")]
    ChunkCount {
        /// The count found.
        chunk_count: u32,
        /// The count that the padded length needs.
        expected: u32,
    },
}

/// What a reader must know before the first byte of a blob. It is public, it lives outside the
/// blob (with the record's metadata on the ledger), and its hash binds every chunk to it.
///
/// The random bytes make every header unique, so that even a key that was used twice by mistake
/// never gives the same cipher key and nonces twice.
///
/// Layout, version 1, 50 bytes, integers big endian:
///
/// | offset | bytes | content |
/// |---|---|---|
/// | 0 | 1 | format version, 1 |
/// | 1 | 1 | suite, 1 = HKDF-SHA256, STREAM BE32, XChaCha20-Poly1305 |
/// | 2 | 4 | plaintext bytes per chunk, 262,128 |
/// | 6 | 4 | number of chunks |
/// | 10 | 8 | padded length of the plaintext stream |
/// | 18 | 32 | random bytes |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    chunk_bytes: u32,
    chunk_count: u32,
    padded_bytes: u64,
    random: [u8; 32],
}

impl Header {
    /// The length of an encoded header.
    pub const ENCODED_BYTES: usize = 50;

    /// A header with fresh random bytes for a stream of `padded_bytes`.
    ///
    /// # Errors
    /// [`HeaderError::PaddedLength`] if [`padded_bytes`] never returns that length.
    pub fn new(padded_bytes: u64, rng: &mut impl CryptoRng) -> Result<Self, HeaderError> {
        check_padded(padded_bytes)?;
        Ok(Self::with_chunks_of(
            CHUNK_PLAINTEXT_BYTES,
            padded_bytes,
            rng,
        ))
    }

    /// Reads an encoded header, strictly: the same bytes come back from [`Header::encode`].
    ///
    /// # Errors
    /// [`HeaderError`], whichever rule is broken first.
    pub fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        let wrong_length = HeaderError::Length { bytes: bytes.len() };
        if bytes.len() != Self::ENCODED_BYTES {
            return Err(wrong_length);
        }
        let mut reader = Reader::new(bytes);
        check_version(reader.u8().ok_or(wrong_length)?)?;
        check_suite(reader.u8().ok_or(wrong_length)?)?;
        let header = Self {
            chunk_bytes: reader.u32().ok_or(wrong_length)?,
            chunk_count: reader.u32().ok_or(wrong_length)?,
            padded_bytes: reader.u64().ok_or(wrong_length)?,
            random: *reader.array().ok_or(wrong_length)?,
        };
        header.check()?;
        Ok(header)
    }

    /// The 50 bytes of the layout above.
    pub fn encode(&self) -> [u8; Self::ENCODED_BYTES] {
        let mut bytes = [0; Self::ENCODED_BYTES];
        bytes[0] = FORMAT_VERSION;
        bytes[1] = SUITE;
        bytes[2..6].copy_from_slice(&self.chunk_bytes.to_be_bytes());
        bytes[6..10].copy_from_slice(&self.chunk_count.to_be_bytes());
        bytes[10..18].copy_from_slice(&self.padded_bytes.to_be_bytes());
        bytes[18..50].copy_from_slice(&self.random);
        bytes
    }

    /// SHA-256 over the framed encoding, with a domain of its own.
    pub fn hash(&self) -> HeaderHash {
        HeaderHash::from_bytes(framed_hash(domain::HEADER, &[&self.encode()]))
    }

    /// How many chunks the blob has, at least one.
    pub fn chunk_count(&self) -> u32 {
        self.chunk_count
    }

    /// The length of the plaintext stream, padding included.
    pub fn padded_bytes(&self) -> u64 {
        self.padded_bytes
    }

    /// The exact length of the blob.
    pub fn blob_bytes(&self) -> u64 {
        self.padded_bytes + u64::from(self.chunk_count) * u64::from(CHUNK_TAG_BYTES)
    }

    /// Where in the blob chunk `index` is, its tag included. `None` past the last chunk.
    pub fn chunk_blob_range(&self, index: u32) -> Option<Range<u64>> {
        let plaintext = self.chunk_plaintext_range(index)?;
        let tags_before = u64::from(index) * u64::from(CHUNK_TAG_BYTES);
        Some(
            plaintext.start + tags_before..plaintext.end + tags_before + u64::from(CHUNK_TAG_BYTES),
        )
    }

    /// Which part of the plaintext stream chunk `index` holds. `None` past the last chunk.
    pub fn chunk_plaintext_range(&self, index: u32) -> Option<Range<u64>> {
        if index >= self.chunk_count {
            return None;
        }
        let start = u64::from(index) * u64::from(self.chunk_bytes);
        Some(start..self.padded_bytes.min(start + u64::from(self.chunk_bytes)))
    }

    /// The chunk that holds byte `offset` of the plaintext stream, if there is one.
    pub(crate) fn chunk_at(&self, offset: u64) -> Option<u32> {
        if offset >= self.padded_bytes {
            return None;
        }
        u32::try_from(offset / u64::from(self.chunk_bytes)).ok()
    }

    pub(crate) fn is_last(&self, index: u32) -> bool {
        index + 1 == self.chunk_count
    }

    /// A header without the checks, also for the small chunks of tests.
    pub(crate) fn with_chunks_of(
        chunk_bytes: u32,
        padded_bytes: u64,
        rng: &mut impl CryptoRng,
    ) -> Self {
        let mut random = [0; 32];
        rng.fill_bytes(&mut random);
        let chunk_count = chunk_count(chunk_bytes, padded_bytes);
        Self {
            chunk_bytes,
            chunk_count,
            padded_bytes,
            random,
        }
    }

    fn check(&self) -> Result<(), HeaderError> {
        if self.chunk_bytes != CHUNK_PLAINTEXT_BYTES {
            return Err(HeaderError::ChunkSize {
                chunk_bytes: self.chunk_bytes,
            });
        }
        check_padded(self.padded_bytes)?;
        let expected = chunk_count(self.chunk_bytes, self.padded_bytes);
        if self.chunk_count != expected {
            return Err(HeaderError::ChunkCount {
                chunk_count: self.chunk_count,
                expected,
            });
        }
        Ok(())
    }
}

fn check_version(version: u8) -> Result<(), HeaderError> {
    match version {
        FORMAT_VERSION => Ok(()),
        version => Err(HeaderError::UnknownVersion { version }),
    }
}

fn check_suite(suite: u8) -> Result<(), HeaderError> {
    match suite {
        SUITE => Ok(()),
        suite => Err(HeaderError::UnknownSuite { suite }),
    }
}

fn check_padded(length: u64) -> Result<(), HeaderError> {
    let in_range = (PADDED_BYTES_MIN..=PADDED_BYTES_MAX).contains(&length);
    if in_range && padded_bytes(length) == Some(length) {
        return Ok(());
    }
    Err(HeaderError::PaddedLength {
        padded_bytes: length,
    })
}

fn chunk_count(chunk_bytes: u32, padded_bytes: u64) -> u32 {
    u32::try_from(padded_bytes.div_ceil(u64::from(chunk_bytes)))
        .expect("a length of at most 1 TiB has fewer than 2^32 chunks")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    const GOLDEN: &str = concat!(
        "01",
        "01",
        "0003fff0",
        "00000002",
        "0000000000040000",
        "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
    );

    fn golden_header() -> Header {
        Header {
            chunk_bytes: CHUNK_PLAINTEXT_BYTES,
            chunk_count: 2,
            padded_bytes: 262_144,
            random: std::array::from_fn(|index| index as u8),
        }
    }

    #[test]
    fn golden_bytes() {
        assert_eq!(hex::encode(golden_header().encode()), GOLDEN);
        let bytes = hex::decode(GOLDEN).expect("hexadecimal");
        assert_eq!(Header::decode(&bytes), Ok(golden_header()));
    }

    #[test]
    fn every_other_value_is_refused() {
        fn check(offset: usize, value: &[u8], expect: HeaderError) {
            let mut bytes = golden_header().encode();
            bytes[offset..offset + value.len()].copy_from_slice(value);
            assert_eq!(Header::decode(&bytes), Err(expect));
        }
        let padded = |padded_bytes| HeaderError::PaddedLength { padded_bytes };
        let count = |chunk_count| HeaderError::ChunkCount {
            chunk_count,
            expected: 2,
        };
        check(0, &[0], HeaderError::UnknownVersion { version: 0 });
        check(0, &[2], HeaderError::UnknownVersion { version: 2 });
        check(1, &[2], HeaderError::UnknownSuite { suite: 2 });
        check(2, &[0; 4], HeaderError::ChunkSize { chunk_bytes: 0 });
        check(
            2,
            &262_144u32.to_be_bytes(),
            HeaderError::ChunkSize {
                chunk_bytes: 262_144,
            },
        );
        check(6, &[0; 4], count(0));
        check(6, &[0, 0, 0, 1], count(1));
        check(6, &[0xff; 4], count(u32::MAX));
        check(10, &[0; 8], padded(0));
        check(10, &4095u64.to_be_bytes(), padded(4095));
        check(10, &262_143u64.to_be_bytes(), padded(262_143));
        check(10, &[0xff; 8], padded(u64::MAX));
        check(
            10,
            &(PADDED_BYTES_MAX * 2).to_be_bytes(),
            padded(PADDED_BYTES_MAX * 2),
        );
    }

    #[test]
    fn every_other_length_is_refused() {
        let mut bytes = golden_header().encode().to_vec();
        bytes.push(0);
        for length in (0..=bytes.len()).filter(|length| *length != Header::ENCODED_BYTES) {
            assert_eq!(
                Header::decode(&bytes[..length]),
                Err(HeaderError::Length { bytes: length })
            );
        }
    }

    #[test]
    fn the_largest_record_has_chunks_enough() {
        let header = Header::new(PADDED_BYTES_MAX, &mut StdRng::seed_from_u64(1)).expect("fits");
        let last = header.chunk_count() - 1;
        assert!(header.is_last(last));
        assert_eq!(
            header.chunk_plaintext_range(last).map(|r| r.end),
            Some(PADDED_BYTES_MAX)
        );
        assert_eq!(
            header.chunk_blob_range(last).map(|r| r.end),
            Some(header.blob_bytes())
        );
        assert_eq!(header.chunk_blob_range(last + 1), None);
    }

    #[test]
    fn two_headers_of_one_length_differ() {
        let mut rng = StdRng::seed_from_u64(2);
        let (a, b) = (Header::new(4096, &mut rng), Header::new(4096, &mut rng));
        assert_ne!(a.expect("valid").hash(), b.expect("valid").hash());
    }

    proptest! {
        #[test]
        fn round_trip(length in 0..PADDED_BYTES_MAX, seed in any::<u64>()) {
            let padded = padded_bytes(length).expect("in range");
            let header = Header::new(padded, &mut StdRng::seed_from_u64(seed)).expect("padded");
            prop_assert_eq!(Header::decode(&header.encode()), Ok(header));
        }

        #[test]
        fn whatever_decodes_encodes_to_the_same_bytes(bytes in any::<[u8; 50]>(), real in 0usize..19) {
            let mut mixed = golden_header().encode();
            mixed[real..].copy_from_slice(&bytes[real..]);
            if let Ok(header) = Header::decode(&mixed) {
                prop_assert_eq!(header.encode(), mixed);
            }
        }

        #[test]
        fn chunks_tile_the_blob(length in 1u64..10_000, chunk_bytes in 1u32..200) {
            let header = Header::with_chunks_of(chunk_bytes, length, &mut StdRng::seed_from_u64(3));
            let (mut plaintext_end, mut blob_end) = (0, 0);
            for index in 0..header.chunk_count() {
                let plaintext = header.chunk_plaintext_range(index).expect("exists");
                let blob = header.chunk_blob_range(index).expect("exists");
                prop_assert_eq!((plaintext.start, blob.start), (plaintext_end, blob_end));
                prop_assert!(!plaintext.is_empty());
                prop_assert_eq!(header.chunk_at(plaintext.start), Some(index));
                prop_assert_eq!(header.chunk_at(plaintext.end - 1), Some(index));
                (plaintext_end, blob_end) = (plaintext.end, blob.end);
            }
            prop_assert_eq!((plaintext_end, blob_end), (length, header.blob_bytes()));
            prop_assert_eq!(header.chunk_at(length), None);
        }
    }
}

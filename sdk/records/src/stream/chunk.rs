//! Seals and opens single chunks.

use crate::format::{Header, HeaderHash};
use crate::keys::RecordKeys;
use crate::limits::CHUNK_SEALED_BYTES_MAX;
use aead_stream::{NewStream, StreamBE32, StreamPrimitive};
use chacha20poly1305::XChaCha20Poly1305;
use zeroize::Zeroizing;

/// A chunk, or its position, is not authentic.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Forged;

/// The cipher of one record. Stateless: a chunk's position decides its nonce.
pub(super) struct ChunkCipher {
    stream: StreamBE32<XChaCha20Poly1305>,
    header: Header,
    header_hash: HeaderHash,
}

impl ChunkCipher {
    pub(super) fn new(keys: &RecordKeys, header: Header, header_hash: HeaderHash) -> Self {
        let stream = StreamBE32::new((&keys.cipher_key).into(), (&keys.nonce_prefix).into());
        Self {
            stream,
            header,
            header_hash,
        }
    }

    pub(super) fn header(&self) -> &Header {
        &self.header
    }

    /// Turns the plaintext of chunk `index` into the sealed chunk, in place.
    pub(super) fn seal(&self, index: u32, buffer: &mut Vec<u8>) {
        let last = self.header.is_last(index);
        self.stream
            .encrypt_in_place(index, last, self.header_hash.as_bytes(), buffer)
            .expect("a chunk is far shorter than the 256 GiB that the cipher can take");
    }

    /// Turns the sealed chunk `index` into its plaintext, in place.
    pub(super) fn open(&self, index: u32, buffer: &mut Vec<u8>) -> Result<(), Forged> {
        let last = self.header.is_last(index);
        self.stream
            .decrypt_in_place(index, last, self.header_hash.as_bytes(), buffer)
            .map_err(|_| Forged)
    }
}

/// A buffer for one chunk. It never grows, so it leaves no unzeroized copy behind.
pub(crate) fn chunk_buffer() -> Zeroizing<Vec<u8>> {
    Zeroizing::new(Vec::with_capacity(CHUNK_SEALED_BYTES_MAX as usize))
}

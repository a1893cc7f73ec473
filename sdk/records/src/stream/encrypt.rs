//! From a document to a blob.

use super::chunk::{ChunkCipher, chunk_buffer};
use crate::format::{Header, HeaderHash, KeyCommitment, Metadata};
use crate::keys::RecordKey;
use crate::limits::{CHUNK_TAG_BYTES, PADDED_BYTES_MAX};
use crate::padding::padded_bytes;
use rand::CryptoRng;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, ReadBuf};
use zeroize::Zeroizing;

/// A document was not encrypted.
#[derive(Debug, thiserror::Error)]
pub enum EncryptError {
    /// With metadata and padding the document exceeds [`PADDED_BYTES_MAX`].
    #[error(
        "a document of {content_bytes} bytes exceeds the limit of {PADDED_BYTES_MAX} bytes for a record"
    )]
    TooLarge {
        /// The length of the document.
        content_bytes: u64,
    },
    /// The source ended before the length in the metadata was reached.
    #[error("the source ended after {actual_bytes} of {expected_bytes} bytes")]
    SourceTooShort {
        /// The length in the metadata.
        expected_bytes: u64,
        /// What the source had.
        actual_bytes: u64,
    },
    /// The source goes on after the length in the metadata.
    #[error("the source has more than the expected {expected_bytes} bytes")]
    SourceTooLong {
        /// The length in the metadata.
        expected_bytes: u64,
    },
    /// The source could not be read.
    #[error("the source could not be read")]
    Source(#[from] io::Error),
}

impl EncryptError {
    /// Whether a new attempt, with a new [`Encryptor`] and a new key, can succeed.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Source(_))
    }
}

impl From<EncryptError> for io::Error {
    fn from(error: EncryptError) -> Self {
        match error {
            EncryptError::Source(source) => source,
            other => io::Error::other(other),
        }
    }
}

/// Encrypts one document while it is read. Take the blob either chunk by chunk from
/// [`Encryptor::next_chunk`], or as a whole, for an `Encryptor` is an [`AsyncRead`]; not both.
///
/// It holds one chunk, so its size does not depend on that of the document. The blob is complete
/// only if its end was reached without an error, and is then exactly
/// [`Header::blob_bytes`] long.
///
/// Use a fresh key for every attempt. To resume an upload, send the same blob, do not encrypt
/// again.
pub struct Encryptor<R> {
    source: R,
    cipher: ChunkCipher,
    commitment: KeyCommitment,
    prefix: Zeroizing<Vec<u8>>,
    content_bytes: u64,
    content_read_bytes: u64,
    /// The plaintext of the next chunk while `filled_bytes` counts up, then the sealed chunk.
    buffer: Zeroizing<Vec<u8>>,
    filled_bytes: usize,
    next_index: u32,
    /// How much of the sealed chunk in the buffer is still to be handed out by [`AsyncRead`];
    /// zero while the buffer holds plaintext.
    sealed_left_bytes: usize,
}

impl<R: AsyncRead + Unpin> Encryptor<R> {
    /// Prepares the encryption of the document in `source`, which must have exactly
    /// [`Metadata::content_bytes`].
    ///
    /// # Errors
    /// [`EncryptError::TooLarge`].
    pub fn new(
        source: R,
        metadata: &Metadata,
        key: &RecordKey,
        rng: &mut impl CryptoRng,
    ) -> Result<Self, EncryptError> {
        let content_bytes = metadata.content_bytes();
        let too_large = || EncryptError::TooLarge { content_bytes };
        let prefix = prefix(metadata);
        let padded = content_bytes
            .checked_add(prefix.len() as u64)
            .and_then(padded_bytes)
            .ok_or_else(too_large)?;
        let header = Header::new(padded, rng).map_err(|_| too_large())?;
        Ok(Self::with_header(
            source,
            prefix,
            content_bytes,
            key,
            header,
        ))
    }

    /// The header to publish beside the blob.
    pub fn header(&self) -> &Header {
        self.cipher.header()
    }

    /// The header's hash.
    pub fn header_hash(&self) -> HeaderHash {
        self.header().hash()
    }

    /// The commitment to the key, to publish beside the header.
    pub fn commitment(&self) -> KeyCommitment {
        self.commitment
    }

    /// The next sealed chunk of the blob, `None` after the last. A dropped call can be repeated.
    ///
    /// # Errors
    /// [`EncryptError`]; the chunks handed out so far are then no blob, discard them.
    pub async fn next_chunk(&mut self) -> Result<Option<&[u8]>, EncryptError> {
        let sealed = poll_fn(|context| self.poll_chunk(context)).await?;
        self.sealed_left_bytes = 0;
        Ok(sealed.then_some(&*self.buffer))
    }

    pub(super) fn with_header(
        source: R,
        prefix: Zeroizing<Vec<u8>>,
        content_bytes: u64,
        key: &RecordKey,
        header: Header,
    ) -> Self {
        let header_hash = header.hash();
        let keys = key.derive(&header_hash);
        Self {
            source,
            cipher: ChunkCipher::new(&keys, header, header_hash),
            commitment: keys.commitment,
            prefix,
            content_bytes,
            content_read_bytes: 0,
            buffer: chunk_buffer(),
            filled_bytes: 0,
            next_index: 0,
            sealed_left_bytes: 0,
        }
    }

    #[cfg(test)]
    pub(super) fn buffer_capacity(&self) -> usize {
        self.buffer.capacity()
    }

    /// Seals the next chunk into the buffer. False if there is none.
    fn poll_chunk(&mut self, context: &mut Context<'_>) -> Poll<Result<bool, EncryptError>> {
        let index = self.next_index;
        let Some(range) = self.cipher.header().chunk_plaintext_range(index) else {
            return Poll::Ready(Ok(false));
        };
        let chunk_bytes = (range.end - range.start) as usize;
        self.buffer.resize(chunk_bytes, 0);
        while self.filled_bytes < chunk_bytes {
            ready!(self.poll_fill(range.start, context))?;
        }
        if self.cipher.header().is_last(index) {
            ready!(self.poll_source_end(context))?;
        }
        self.cipher.seal(index, &mut self.buffer);
        debug_assert_eq!(self.buffer.len(), chunk_bytes + CHUNK_TAG_BYTES as usize);
        self.filled_bytes = 0;
        self.sealed_left_bytes = self.buffer.len();
        self.next_index += 1;
        Poll::Ready(Ok(true))
    }

    /// Puts at least one byte of the plaintext stream into the buffer.
    fn poll_fill(
        &mut self,
        chunk_start: u64,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), EncryptError>> {
        let offset = chunk_start + self.filled_bytes as u64;
        let prefix_bytes = self.prefix.len() as u64;
        let free = &mut self.buffer[self.filled_bytes..];
        if offset < prefix_bytes {
            let rest = &self.prefix[offset as usize..];
            let copied = rest.len().min(free.len());
            free[..copied].copy_from_slice(&rest[..copied]);
            self.filled_bytes += copied;
            return Poll::Ready(Ok(()));
        }
        let content_left = self.content_bytes - self.content_read_bytes;
        if content_left == 0 {
            free.fill(0);
            self.filled_bytes = self.buffer.len();
            return Poll::Ready(Ok(()));
        }
        let wanted = free
            .len()
            .min(usize::try_from(content_left).unwrap_or(usize::MAX));
        let mut read = ReadBuf::new(&mut free[..wanted]);
        ready!(Pin::new(&mut self.source).poll_read(context, &mut read))?;
        let read_bytes = read.filled().len();
        if read_bytes == 0 {
            return Poll::Ready(Err(EncryptError::SourceTooShort {
                expected_bytes: self.content_bytes,
                actual_bytes: self.content_read_bytes,
            }));
        }
        self.filled_bytes += read_bytes;
        self.content_read_bytes += read_bytes as u64;
        Poll::Ready(Ok(()))
    }

    fn poll_source_end(&mut self, context: &mut Context<'_>) -> Poll<Result<(), EncryptError>> {
        let mut byte = [0];
        let mut read = ReadBuf::new(&mut byte);
        ready!(Pin::new(&mut self.source).poll_read(context, &mut read))?;
        Poll::Ready(match read.filled() {
            [] => Ok(()),
            _ => Err(EncryptError::SourceTooLong {
                expected_bytes: self.content_bytes,
            }),
        })
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Encryptor<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.sealed_left_bytes == 0 && !ready!(self.poll_chunk(context))? {
            return Poll::Ready(Ok(()));
        }
        let rest = &self.buffer[self.buffer.len() - self.sealed_left_bytes..];
        let copied = rest.len().min(out.remaining());
        out.put_slice(&rest[..copied]);
        self.sealed_left_bytes -= copied;
        Poll::Ready(Ok(()))
    }
}

impl<R> fmt::Debug for Encryptor<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encryptor")
            .field("header", self.cipher.header())
            .field("next_index", &self.next_index)
            .finish_non_exhaustive()
    }
}

/// What stands before the content in the plaintext stream.
pub(super) fn prefix(metadata: &Metadata) -> Zeroizing<Vec<u8>> {
    let json = metadata.encode();
    let length = u32::try_from(json.len()).expect("metadata is at most 4096 bytes long");
    let mut prefix = Zeroizing::new(Vec::with_capacity(4 + json.len()));
    prefix.extend_from_slice(&length.to_be_bytes());
    prefix.extend_from_slice(&json);
    prefix
}

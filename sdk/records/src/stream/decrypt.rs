//! From a blob to a document.

use super::chunk::{ChunkCipher, chunk_buffer};
use super::layout::DocumentLayout;
use super::target::Target;
use crate::format::{Header, HeaderError, KeyCommitment, Metadata, MetadataError};
use crate::keys::RecordKey;
use crate::limits::DOCUMENT_BYTES_MAX;
use std::fmt;
use std::io;
use std::path::Path;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use zeroize::Zeroizing;

/// A record was not decrypted.
#[derive(Debug, thiserror::Error)]
pub enum DecryptError {
    /// The header is not valid.
    #[error("the record's header is not valid")]
    HeaderInvalid(#[from] HeaderError),
    /// Key and header do not give the commitment on the ledger. Nothing was decrypted.
    #[error("the key or the header is not the one that the ledger commits to")]
    CommitmentMismatch,
    /// A chunk was changed, moved, or belongs to another blob.
    #[error("chunk {chunk} of the record was tampered with")]
    Tampered {
        /// The chunk.
        chunk: u32,
    },
    /// The blob ends too early.
    #[error("the record is truncated in chunk {chunk}")]
    Truncated {
        /// The first chunk that is not complete.
        chunk: u32,
    },
    /// The blob goes on after its last chunk.
    #[error("the record is followed by other data")]
    TrailingData,
    /// There is no such chunk.
    #[error("the record has {chunk_count} chunks, chunk {chunk} does not exist")]
    NoSuchChunk {
        /// The chunk that was asked for.
        chunk: u32,
        /// How many there are.
        chunk_count: u32,
    },
    /// A chunk has not the length that the header says.
    #[error("chunk {chunk} has {actual_bytes} bytes instead of {expected_bytes}")]
    ChunkLength {
        /// The chunk.
        chunk: u32,
        /// The length it has.
        actual_bytes: usize,
        /// The length it should have.
        expected_bytes: u64,
    },
    /// The record is authentic, but its author wrote metadata that break the rules.
    #[error("the record's author wrote invalid metadata: {0}")]
    MetadataInvalid(#[from] MetadataError),
    /// The record is authentic, but its author wrote something else than zeros as padding.
    #[error("the record's author wrote invalid padding in chunk {chunk}")]
    PaddingInvalid {
        /// The chunk.
        chunk: u32,
    },
    /// The record is too large to be decrypted into memory as a whole.
    #[error(
        "a record of {padded_bytes} bytes is too large for memory, the limit is {DOCUMENT_BYTES_MAX}"
    )]
    DocumentTooLarge {
        /// Its padded length.
        padded_bytes: u64,
    },
    /// The blob could not be read.
    #[error("the record could not be read")]
    Read(#[source] io::Error),
    /// The document could not be written.
    #[error("the document could not be written")]
    Write(#[source] io::Error),
}

impl DecryptError {
    /// Whether the same call with the same blob can succeed later.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Read(_) | Self::Write(_))
    }

    /// Whether the blob is not the one that was stored: another copy of it may be good.
    pub fn is_damaged_blob(&self) -> bool {
        matches!(
            self,
            Self::Tampered { .. } | Self::Truncated { .. } | Self::TrailingData
        )
    }
}

/// Decrypts one record. It exists only if key and header match the commitment, so everybody who
/// has one for the same commitment reads the same document.
pub struct Decryptor {
    cipher: ChunkCipher,
}

impl Decryptor {
    /// Checks `key` and the encoded `header` against the `commitment`, which the caller has from
    /// committed state. Nothing is decrypted before.
    ///
    /// # Errors
    /// [`DecryptError::HeaderInvalid`], [`DecryptError::CommitmentMismatch`].
    pub fn new(
        key: &RecordKey,
        header: &[u8],
        commitment: &KeyCommitment,
    ) -> Result<Self, DecryptError> {
        Self::with_header(key, Header::decode(header)?, commitment)
    }

    /// The record's header.
    pub fn header(&self) -> &Header {
        self.cipher.header()
    }

    /// Decrypts a small document into memory. It is returned only after the last chunk, the
    /// padding and the end of the blob are verified.
    ///
    /// # Errors
    /// [`DecryptError::DocumentTooLarge`] above [`DOCUMENT_BYTES_MAX`], before anything is read;
    /// otherwise as [`ContentStream::next_content`].
    pub async fn decrypt_document(
        &self,
        blob: impl AsyncRead + Unpin,
    ) -> Result<Document, DecryptError> {
        let padded_bytes = self.header().padded_bytes();
        if padded_bytes > DOCUMENT_BYTES_MAX {
            return Err(DecryptError::DocumentTooLarge { padded_bytes });
        }
        // As much as there can be: the buffer never grows, so no copy stays behind.
        let mut content = Zeroizing::new(Vec::with_capacity(padded_bytes as usize));
        let mut stream = self.content_stream(blob);
        while let Some(bytes) = stream.next_content().await? {
            content.extend_from_slice(bytes);
        }
        Ok(Document {
            metadata: stream.into_metadata()?,
            content,
        })
    }

    /// Decrypts a document of any size into `writer`, and flushes it.
    ///
    /// **Hazard:** every byte written is authentic, but until this returns `Ok` the document may
    /// be cut off. Do not use what was written before; after an error, discard it.
    /// [`Decryptor::decrypt_to_file`] does that for a file.
    ///
    /// # Errors
    /// As [`ContentStream::next_content`], and [`DecryptError::Write`].
    pub async fn decrypt_to_writer(
        &self,
        blob: impl AsyncRead + Unpin,
        writer: &mut (impl AsyncWrite + Unpin),
    ) -> Result<Metadata, DecryptError> {
        let mut stream = self.content_stream(blob);
        while let Some(bytes) = stream.next_content().await? {
            writer.write_all(bytes).await.map_err(DecryptError::Write)?;
        }
        writer.flush().await.map_err(DecryptError::Write)?;
        stream.into_metadata()
    }

    /// Decrypts as [`Decryptor::decrypt_to_writer`] does, with the same hazard, and keeps the document
    /// in memory, too, if `keep` says so of what its author says about it and it has at most
    /// [`DOCUMENT_BYTES_MAX`]. Of a document that is not kept, one chunk is in memory at a time.
    pub(crate) async fn decrypt_kept(
        &self,
        blob: impl AsyncRead + Unpin,
        writer: &mut (impl AsyncWrite + Unpin),
        keep: impl Fn(&Metadata) -> bool,
    ) -> Result<(Metadata, Option<Document>), DecryptError> {
        let padded_bytes = self.header().padded_bytes();
        let mut stream = self.content_stream(blob);
        let mut content = chunk_buffer();
        let mut is_kept = None;
        while let Some(bytes) = stream.next_content().await? {
            writer.write_all(bytes).await.map_err(DecryptError::Write)?;
            if is_kept != Some(false) {
                content.extend_from_slice(bytes);
            }
            if is_kept.is_none() {
                let fits = padded_bytes <= DOCUMENT_BYTES_MAX;
                is_kept = Some(fits && stream.metadata().is_some_and(&keep));
                if is_kept == Some(true) {
                    // As much as there can be: the buffer never grows, so no copy stays behind.
                    let first = content;
                    content = Zeroizing::new(Vec::with_capacity(padded_bytes as usize));
                    content.extend_from_slice(&first);
                }
            }
        }
        writer.flush().await.map_err(DecryptError::Write)?;
        let metadata = stream.into_metadata()?;
        // An empty document never came by.
        let document = is_kept
            .unwrap_or_else(|| keep(&metadata))
            .then(|| Document {
                metadata: metadata.clone(),
                content,
            });
        Ok((metadata, document))
    }

    /// Decrypts a document of any size into the file `path`, with mode 0600. The file appears, or
    /// replaces an older one, only when the whole document is verified and durable; until then,
    /// and after an error, there is only a temporary file beside it, which is removed.
    ///
    /// # Errors
    /// As [`Decryptor::decrypt_to_writer`].
    pub async fn decrypt_to_file(
        &self,
        blob: impl AsyncRead + Unpin,
        path: &Path,
    ) -> Result<Metadata, DecryptError> {
        let mut target = Target::create(path).map_err(DecryptError::Write)?;
        let metadata = self.decrypt_to_writer(blob, target.writer()).await?;
        target.publish().await.map_err(DecryptError::Write)?;
        Ok(metadata)
    }

    /// Decrypts a document piece by piece.
    pub fn content_stream<R: AsyncRead + Unpin>(&self, blob: R) -> ContentStream<'_, R> {
        ContentStream {
            cipher: &self.cipher,
            blob,
            buffer: chunk_buffer(),
            next_index: 0,
            layout: None,
        }
    }

    /// Opens chunk `index` alone, in place: `buffer` holds the sealed chunk, cut out of the blob
    /// at [`Header::chunk_blob_range`], and then its plaintext. That it is this chunk of this
    /// record is verified; other chunks are not, so this does not show that the blob is complete.
    ///
    /// # Errors
    /// [`DecryptError::NoSuchChunk`], [`DecryptError::ChunkLength`], [`DecryptError::Tampered`];
    /// `buffer` is then empty.
    pub fn decrypt_chunk(&self, index: u32, buffer: &mut Vec<u8>) -> Result<(), DecryptError> {
        let opened = self.open_chunk(index, buffer);
        if opened.is_err() {
            buffer.clear();
        }
        opened
    }

    /// Reads metadata and layout from the plaintext of chunk 0, as [`Decryptor::decrypt_chunk`]
    /// left it.
    ///
    /// # Errors
    /// [`DecryptError::MetadataInvalid`].
    pub fn layout(&self, first_chunk: &[u8]) -> Result<DocumentLayout, DecryptError> {
        Ok(DocumentLayout::parse(*self.header(), first_chunk)?)
    }

    pub(super) fn with_header(
        key: &RecordKey,
        header: Header,
        commitment: &KeyCommitment,
    ) -> Result<Self, DecryptError> {
        let header_hash = header.hash();
        let keys = key.derive(&header_hash);
        if keys.commitment != *commitment {
            return Err(DecryptError::CommitmentMismatch);
        }
        Ok(Self {
            cipher: ChunkCipher::new(&keys, header, header_hash),
        })
    }

    fn open_chunk(&self, index: u32, buffer: &mut Vec<u8>) -> Result<(), DecryptError> {
        let range = self
            .header()
            .chunk_blob_range(index)
            .ok_or(DecryptError::NoSuchChunk {
                chunk: index,
                chunk_count: self.header().chunk_count(),
            })?;
        let expected_bytes = range.end - range.start;
        if buffer.len() as u64 != expected_bytes {
            let actual_bytes = buffer.len();
            return Err(DecryptError::ChunkLength {
                chunk: index,
                actual_bytes,
                expected_bytes,
            });
        }
        self.cipher
            .open(index, buffer)
            .map_err(|_| DecryptError::Tampered { chunk: index })
    }
}

impl fmt::Debug for Decryptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decryptor")
            .field("header", self.header())
            .finish_non_exhaustive()
    }
}

/// A document that was verified to its end. `Debug` shows nothing of it; zeroized on drop.
pub struct Document {
    metadata: Metadata,
    content: Zeroizing<Vec<u8>>,
}

impl Document {
    /// The document's bytes, without padding.
    pub fn content(&self) -> &[u8] {
        &self.content
    }

    /// What the author says about it.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }
}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Document(redacted)")
    }
}

/// A document while it is decrypted, one chunk in memory at a time.
pub struct ContentStream<'a, R> {
    cipher: &'a ChunkCipher,
    blob: R,
    buffer: Zeroizing<Vec<u8>>,
    next_index: u32,
    layout: Option<DocumentLayout>,
}

impl<R: AsyncRead + Unpin> ContentStream<'_, R> {
    /// The next bytes of the document, verified with their position. `None` after the last chunk,
    /// the padding and the end of the blob are verified too.
    ///
    /// **Hazard:** until `None` is returned the document may be cut off.
    ///
    /// A dropped call loses bytes of the blob: drop the stream too.
    ///
    /// # Errors
    /// [`DecryptError::Tampered`], [`DecryptError::Truncated`], [`DecryptError::TrailingData`],
    /// [`DecryptError::MetadataInvalid`], [`DecryptError::PaddingInvalid`],
    /// [`DecryptError::Read`]. What was returned before is then no document, discard it.
    pub async fn next_content(&mut self) -> Result<Option<&[u8]>, DecryptError> {
        while let Some(range) = self.cipher.header().chunk_blob_range(self.next_index) {
            let chunk = self.next_index;
            self.read_chunk(chunk, (range.end - range.start) as usize)
                .await?;
            self.cipher
                .open(chunk, &mut self.buffer)
                .map_err(|_| DecryptError::Tampered { chunk })?;
            self.next_index += 1;
            let layout = match self.layout.take() {
                Some(layout) => layout,
                None => DocumentLayout::parse(*self.cipher.header(), &self.buffer)?,
            };
            let content = self.layout.insert(layout).content_in(chunk);
            if self.buffer[content.end..].iter().any(|byte| *byte != 0) {
                return Err(DecryptError::PaddingInvalid { chunk });
            }
            if !content.is_empty() {
                return Ok(Some(&self.buffer[content]));
            }
        }
        self.expect_end().await?;
        Ok(None)
    }

    /// What the author says about the document; known once [`ContentStream::next_content`] has
    /// returned.
    pub fn metadata(&self) -> Option<&Metadata> {
        self.layout.as_ref().map(DocumentLayout::metadata)
    }

    #[cfg(test)]
    pub(super) fn buffer_capacity(&self) -> usize {
        self.buffer.capacity()
    }

    fn into_metadata(self) -> Result<Metadata, DecryptError> {
        let missing = DecryptError::MetadataInvalid(MetadataError::Malformed);
        self.layout
            .map(|layout| layout.metadata().clone())
            .ok_or(missing)
    }

    async fn read_chunk(&mut self, chunk: u32, sealed_bytes: usize) -> Result<(), DecryptError> {
        self.buffer.clear();
        self.buffer.resize(sealed_bytes, 0);
        match self.blob.read_exact(&mut self.buffer).await {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(DecryptError::Truncated { chunk })
            }
            Err(error) => Err(DecryptError::Read(error)),
        }
    }

    async fn expect_end(&mut self) -> Result<(), DecryptError> {
        match self.blob.read(&mut [0]).await.map_err(DecryptError::Read)? {
            0 => Ok(()),
            _ => Err(DecryptError::TrailingData),
        }
    }
}

impl<R> fmt::Debug for ContentStream<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ContentStream")
            .field("header", self.cipher.header())
            .field("next_index", &self.next_index)
            .finish_non_exhaustive()
    }
}

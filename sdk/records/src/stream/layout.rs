//! Where the document is inside the chunks.

use crate::format::{Header, Metadata, MetadataError, Reader};
use crate::limits::METADATA_BYTES_MAX;
use std::ops::Range;

/// A range is not inside the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the range {start}..{end} is not inside the document")]
pub struct RangeError {
    /// Where the range begins.
    pub start: u64,
    /// Where the range ends.
    pub end: u64,
}

/// One chunk's share of a range of the document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentPart {
    /// The chunk's index.
    pub chunk: u32,
    /// Where the sealed chunk is in the blob.
    pub blob: Range<u64>,
    /// Which part of the chunk's plaintext is wanted.
    pub plaintext: Range<usize>,
}

/// The metadata of a record, and where its document is. Read from the first chunk, after that
/// chunk was verified.
#[derive(Clone, Debug)]
pub struct DocumentLayout {
    header: Header,
    metadata: Metadata,
    content_start: u64,
}

impl DocumentLayout {
    /// Reads the beginning of the plaintext stream.
    pub(super) fn parse(header: Header, first_chunk: &[u8]) -> Result<Self, MetadataError> {
        let mut reader = Reader::new(first_chunk);
        let metadata_bytes = reader.u32().ok_or(MetadataError::Malformed)?;
        let too_long = MetadataError::TooLong {
            bytes: u64::from(metadata_bytes),
        };
        if metadata_bytes > METADATA_BYTES_MAX {
            return Err(too_long);
        }
        let metadata = Metadata::decode(reader.slice(metadata_bytes as usize).ok_or(too_long)?)?;
        let content_start = 4 + u64::from(metadata_bytes);
        let content_bytes = metadata.content_bytes();
        if content_bytes > header.padded_bytes().saturating_sub(content_start) {
            return Err(MetadataError::ContentTooLong {
                bytes: content_bytes,
            });
        }
        Ok(Self {
            header,
            metadata,
            content_start,
        })
    }

    /// The record's metadata.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The chunks that cover `range` of the document, in order, and where in them its bytes are.
    /// No chunk for an empty range.
    ///
    /// # Errors
    /// [`RangeError`] if the range is reversed or goes past the document's end.
    pub fn parts(
        &self,
        range: Range<u64>,
    ) -> Result<impl Iterator<Item = ContentPart> + '_, RangeError> {
        if range.start > range.end || range.end > self.metadata.content_bytes() {
            return Err(RangeError {
                start: range.start,
                end: range.end,
            });
        }
        let stream = self.content_start + range.start..self.content_start + range.end;
        let first = self
            .header
            .chunk_at(stream.start)
            .unwrap_or(self.header.chunk_count());
        Ok((first..self.header.chunk_count())
            .map_while(move |chunk| self.part(chunk, &stream))
            .filter(|part| !part.plaintext.is_empty()))
    }

    /// Which part of the plaintext of `chunk` is the document's; what follows it is padding.
    pub(super) fn content_in(&self, chunk: u32) -> Range<usize> {
        let end = self.content_start + self.metadata.content_bytes();
        self.header
            .chunk_plaintext_range(chunk)
            .map_or(0..0, |chunk| {
                intersection(&chunk, &(self.content_start..end))
            })
    }

    fn part(&self, chunk: u32, stream: &Range<u64>) -> Option<ContentPart> {
        let in_chunk = self.header.chunk_plaintext_range(chunk)?;
        if in_chunk.start >= stream.end {
            return None;
        }
        let blob = self.header.chunk_blob_range(chunk)?;
        Some(ContentPart {
            chunk,
            blob,
            plaintext: intersection(&in_chunk, stream),
        })
    }
}

/// What of `wanted` lies in `chunk`, relative to the beginning of `chunk`.
fn intersection(chunk: &Range<u64>, wanted: &Range<u64>) -> Range<usize> {
    let relative = |offset: u64| (offset.clamp(chunk.start, chunk.end) - chunk.start) as usize;
    relative(wanted.start)..relative(wanted.end)
}

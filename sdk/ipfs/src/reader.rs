//! The bytes of a blob, as they come.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use futures::stream::{BoxStream, StreamExt};
use tokio::io::{AsyncRead, ReadBuf};

use crate::error::FetchError;

/// Reads a blob in order. Every byte has been verified before it is handed out; a reader that ends
/// without an error has given all of them.
///
/// [`chunk`](Self::chunk) keeps the type of an error. Through [`AsyncRead`] it becomes the source
/// of an [`io::Error`].
pub struct BlobReader {
    bytes: u64,
    chunks: BoxStream<'static, Result<Bytes, FetchError>>,
    rest: Bytes,
}

impl BlobReader {
    pub(crate) fn new(bytes: u64, chunks: BoxStream<'static, Result<Bytes, FetchError>>) -> Self {
        Self {
            bytes,
            chunks,
            rest: Bytes::new(),
        }
    }

    /// How many bytes the reader gives in all.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The next bytes, at most one block, or `None` at the end.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, FetchError> {
        if !self.rest.is_empty() {
            return Ok(Some(std::mem::take(&mut self.rest)));
        }
        self.chunks.next().await.transpose()
    }

    fn poll_rest(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.rest.is_empty() {
            match ready!(self.chunks.poll_next_unpin(context)) {
                Some(Ok(chunk)) => self.rest = chunk,
                Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
                None => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for BlobReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_rest(context))?;
        let length = self.rest.len().min(buffer.remaining());
        buffer.put_slice(&self.rest[..length]);
        self.rest.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl fmt::Debug for BlobReader {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("BlobReader")
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

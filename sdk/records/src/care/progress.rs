//! How far a transfer is, for whoever waits for it.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use stela_consent::Id;
use tokio::io::{AsyncRead, ReadBuf};

/// What is being done with a record's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The document is encrypted into blocks on this machine.
    Encrypt,
    /// The blocks that are on this machine are read and compared with their hashes.
    Check,
    /// Storage nodes fetch the ciphertext. The bytes are those of all organizations that are
    /// needed, by their own word.
    Hold,
    /// The ciphertext is fetched and compared with its CID.
    Fetch,
    /// The ciphertext is verified chunk by chunk and decrypted.
    Decrypt,
}

/// Is told how far a session's transfers are. One stage follows the other.
pub trait Progress: Send + Sync {
    /// A stage begins, with so many bytes to do.
    fn begin(&self, stage: Stage, bytes: u64);
    /// So many bytes of it are done.
    fn reach(&self, bytes: u64);
    /// It has ended well.
    fn end(&self);
    /// From now on this upload can be resumed.
    fn resumable(&self, record: Id, version: u32);
}

/// Tells nobody.
#[derive(Debug, Clone, Copy)]
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _: Stage, _: u64) {}
    fn reach(&self, _: u64) {}
    fn end(&self) {}
    fn resumable(&self, _: Id, _: u32) {}
}

/// A reader that tells how many bytes went through it.
pub(super) struct Counted<'a, R> {
    inner: R,
    bytes: u64,
    progress: &'a dyn Progress,
}

impl<'a, R> Counted<'a, R> {
    pub(super) fn new(inner: R, progress: &'a dyn Progress) -> Self {
        Self {
            inner,
            bytes: 0,
            progress,
        }
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Counted<'_, R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(context, buffer))?;
        self.bytes += (buffer.filled().len() - before) as u64;
        self.progress.reach(self.bytes);
        Poll::Ready(Ok(()))
    }
}

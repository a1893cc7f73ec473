//! Messages on a stream: a variable-length number, then as many bytes.

use std::io;

use bytes::Bytes;
use futures::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::message::{DecodeError, Message};
use crate::limits::FRAME_BYTES_MAX;

/// Bytes of a length prefix: four hold any length that is accepted.
const LENGTH_BYTES_MAX: u32 = 4;

/// Why no message came.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    /// The stream ended or broke, which a peer may do at any time.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The peer announced more than a message may have.
    #[error("a message longer than {FRAME_BYTES_MAX} bytes")]
    TooLarge,
    /// The peer sent what is not a message.
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

/// Reads the length of the next message. A length over the limit is refused before a single byte
/// of the message is read.
pub(crate) async fn read_length(
    stream: &mut (impl AsyncRead + Unpin),
) -> Result<usize, FrameError> {
    let mut length = 0usize;
    for place in 0..LENGTH_BYTES_MAX {
        let mut byte = [0];
        stream.read_exact(&mut byte).await?;
        length |= usize::from(byte[0] & 0x7f) << (7 * place);
        if byte[0] & 0x80 == 0 {
            return if length <= FRAME_BYTES_MAX {
                Ok(length)
            } else {
                Err(FrameError::TooLarge)
            };
        }
    }
    Err(FrameError::TooLarge)
}

/// Reads the message itself. Memory is taken as bytes arrive, not as they are promised.
pub(crate) async fn read_body(
    stream: &mut (impl AsyncRead + Unpin),
    length: usize,
) -> Result<Message, FrameError> {
    let mut body = Vec::new();
    stream.take(length as u64).read_to_end(&mut body).await?;
    if body.len() < length {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    Ok(Message::decode(&Bytes::from(body))?)
}

/// Writes a message that carries its length already.
pub(crate) async fn write(stream: &mut (impl AsyncWrite + Unpin), frame: &[u8]) -> io::Result<()> {
    stream.write_all(frame).await?;
    stream.flush().await
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;
    use futures::io::Cursor;

    use super::*;
    use crate::wire::put_varint;

    fn length(bytes: &[u8]) -> Result<usize, FrameError> {
        block_on(read_length(&mut Cursor::new(bytes)))
    }

    #[test]
    fn a_frame_over_the_limit_is_refused_by_its_length() {
        let check = |number: u64| {
            let mut out = Vec::new();
            put_varint(&mut out, number);
            length(&out)
        };
        assert!(matches!(check(FRAME_BYTES_MAX as u64), Ok(FRAME_BYTES_MAX)));
        for over in [FRAME_BYTES_MAX as u64 + 1, u64::from(u32::MAX), u64::MAX] {
            assert!(matches!(check(over), Err(FrameError::TooLarge)), "{over}");
        }
        assert!(matches!(length(&[0x80]), Err(FrameError::Io(_))));
        assert!(matches!(length(&[]), Err(FrameError::Io(_))));
    }

    #[test]
    fn a_promise_of_bytes_takes_no_memory() {
        let result = block_on(read_body(&mut Cursor::new(b"few"), FRAME_BYTES_MAX));
        assert!(matches!(result, Err(FrameError::Io(_))));
    }
}

//! Sending a blob to a daemon, cut and named here as well, so that the daemon's name for it is
//! checked and not believed.

use std::io;

use bytes::Bytes;
use cid::Cid;
use futures::stream::{StreamExt, unfold};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper::header::HeaderValue;
use serde::Deserialize;
use tokio::io::AsyncRead;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::KuboError;
use super::commands::{cid_of, soon};
use super::http::{Body, Http};
use crate::error::PutError;
use crate::import::{Namer, read_chunk};
use crate::limits::{KUBO_ADD_TIMEOUT, KUBO_CHUNKS_IN_FLIGHT};

const COMMAND: &str = "add";
/// What an answer to one file may be: a line, perhaps with its progress before.
const LINES_MAX: usize = 16;

/// How a blob is to be cut, and how large it may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Form {
    pub(super) chunk_bytes: usize,
    pub(super) blob_bytes_max: u64,
}

/// Sends everything that `reader` gives, a few chunks at a time, and returns the name that the
/// bytes have. The daemon does not pin it.
pub(super) async fn add(
    http: &Http,
    reader: &mut (dyn AsyncRead + Send + Unpin),
    form: Form,
) -> Result<Cid, PutError> {
    let mut boundary = [0; 16];
    getrandom::fill(&mut boundary).map_err(|error| PutError::Read(io::Error::other(error)))?;
    let boundary = format!("stela-{}", data_encoding::HEXLOWER.encode(&boundary));
    let (chunks, body) = multipart(&boundary);
    let sending = send(http, &boundary, form.chunk_bytes, body);
    let feeding = feed(reader, form, chunks);
    tokio::pin!(sending, feeding);
    // A daemon that refuses early ends the feeding; a reader that fails ends the sending.
    let expected = tokio::select! {
        fed = &mut feeding => fed?,
        refused = &mut sending => return Err(early(refused)),
    };
    let actual = timeout(KUBO_ADD_TIMEOUT, sending).await;
    let actual = actual.map_err(|_| KuboError::Timeout { command: COMMAND })??;
    if actual != expected {
        return Err(KuboError::WrongName { expected, actual }.into());
    }
    Ok(expected)
}

/// An answer before everything was sent is none, whatever it says.
fn early(answer: Result<Cid, KuboError>) -> PutError {
    let premature = KuboError::Answer {
        command: COMMAND,
        what: "it comes before the end of what is sent",
    };
    answer.err().unwrap_or(premature).into()
}

async fn send(
    http: &Http,
    boundary: &str,
    chunk_bytes: usize,
    body: Body,
) -> Result<Cid, KuboError> {
    let chunker = format!("size-{chunk_bytes}");
    let query = [
        ("chunker", &chunker[..]),
        ("cid-version", "1"),
        ("raw-leaves", "true"),
        ("hash", "sha2-256"),
        ("trickle", "false"),
        ("wrap-with-directory", "false"),
        ("pin", "false"),
        ("progress", "false"),
        ("cid-base", "base32"),
    ];
    let content_type = HeaderValue::from_str(&format!("multipart/form-data; boundary={boundary}"))
        .map_err(|_| KuboError::Address("a boundary is text"))?;
    // How long a blob takes depends on its size: it is the feeding that is watched.
    let never = soon(crate::limits::KUBO_COLLECT_TIMEOUT * 24);
    let mut answer = http
        .send(COMMAND, &query, Some(content_type), body, never)
        .await?;
    let mut name = None;
    for _ in 0..LINES_MAX {
        let Some(added) = answer.line::<Added>().await? else {
            return name.ok_or_else(|| answer.unusable("it names no CID"));
        };
        if let Some(hash) = added.hash {
            let cid = cid_of(&hash).ok_or_else(|| answer.unusable("it names no CID"))?;
            name = Some(cid);
        }
    }
    Err(answer.unusable("it does not end"))
}

#[derive(Deserialize)]
struct Added {
    #[serde(rename = "Hash")]
    hash: Option<String>,
}

type Chunks = mpsc::Sender<Bytes>;

/// Reads, names and hands on. The end of the body goes with the last chunk, once the reader has
/// come to its end: a body without it is no upload, so that nothing half-read gets a name.
async fn feed(
    reader: &mut (dyn AsyncRead + Send + Unpin),
    form: Form,
    chunks: Chunks,
) -> Result<Cid, PutError> {
    let mut namer = Namer::new(form.chunk_bytes);
    let mut bytes = 0u64;
    loop {
        let chunk = read_chunk(reader, form.chunk_bytes).await;
        let chunk: Bytes = chunk.map_err(PutError::Read)?.into();
        if chunk.is_empty() {
            let root = namer.finish();
            hand_on(&chunks, Bytes::new()).await?;
            return Ok(root);
        }
        bytes += chunk.len() as u64;
        if bytes > form.blob_bytes_max {
            let bytes_max = form.blob_bytes_max;
            return Err(PutError::TooLarge { bytes_max });
        }
        namer.push(&chunk);
        hand_on(&chunks, chunk).await?;
    }
}

/// Waits until there is room for the chunk. When nobody takes it any more the other half knows why.
async fn hand_on(chunks: &Chunks, chunk: Bytes) -> Result<(), PutError> {
    match timeout(KUBO_ADD_TIMEOUT, chunks.send(chunk)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => std::future::pending().await,
        Err(_) => Err(KuboError::Timeout { command: COMMAND }.into()),
    }
}

/// A form with one file, whose bytes come through a channel. An empty chunk is the file's end; a
/// channel that closes before breaks the request off.
fn multipart(boundary: &str) -> (Chunks, Body) {
    let (sender, receiver) = mpsc::channel::<Bytes>(KUBO_CHUNKS_IN_FLIGHT);
    let head = format!(
        "--{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"blob\"\r\n\
         Content-Type: application/octet-stream\r\n\r\n"
    );
    let tail = format!("\r\n--{boundary}--\r\n");
    let file = unfold(Some((receiver, tail)), |state| async move {
        let (mut receiver, tail) = state?;
        match receiver.recv().await {
            Some(chunk) if chunk.is_empty() => Some((Ok(tail.into()), None)),
            Some(chunk) => Some((Ok(chunk), Some((receiver, tail)))),
            None => Some((Err(io::Error::other("the blob breaks off")), None)),
        }
    });
    let head = futures::stream::once(async move { Ok::<Bytes, io::Error>(head.into()) });
    let frames = head.chain(file).map(|part| part.map(Frame::data));
    (sender, StreamBody::new(frames).boxed_unsync())
}

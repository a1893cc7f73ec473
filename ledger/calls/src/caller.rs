//! The caller's end.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use prost::Message;
use stela_protocol::limits::MESSAGE_BYTES_MAX;
use stela_protocol::pb::answer::Outcome;
use stela_protocol::pb::calls_client::CallsClient;
use stela_protocol::pb::{self, Procedure};
use stela_protocol::{ErrorCode, RpcError};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use crate::limits::WAITING_MAX;

/// Calls of one node. The stream is opened when it is first needed, and again after it has broken;
/// a call whose stream breaks fails with a retryable error. Cheap to clone.
#[derive(Clone)]
pub struct Calls {
    channel: Channel,
    stream: Arc<Mutex<Option<Stream>>>,
}

#[derive(Clone)]
struct Stream {
    calls: mpsc::Sender<pb::Call>,
    open: Arc<Mutex<Open>>,
}

/// Calls that are not answered yet.
#[derive(Default)]
struct Open {
    next: u64,
    waiting: HashMap<u64, oneshot::Sender<Result<Bytes, RpcError>>>,
    /// Why the stream has ended.
    broken: Option<RpcError>,
}

/// A call that waits for its answer; when it is dropped it waits no more.
struct Waiting {
    id: u64,
    answer: oneshot::Receiver<Result<Bytes, RpcError>>,
    open: Arc<Mutex<Open>>,
}

impl Calls {
    /// Calls over a channel.
    pub fn new(channel: Channel) -> Self {
        Self {
            channel,
            stream: Arc::default(),
        }
    }

    /// Calls a procedure. Whoever drops the future does not wait for the answer any more; the call
    /// may be carried out all the same.
    ///
    /// # Errors
    /// What the node answered; `Unavailable` when it cannot be asked or the stream breaks.
    pub async fn call<Q: Message, A: Message + Default>(
        &self,
        procedure: Procedure,
        request: &Q,
    ) -> Result<A, RpcError> {
        let stream = self.stream();
        let mut waiting = stream.register()?;
        let call = pb::Call {
            id: waiting.id,
            procedure: procedure.into(),
            request: request.encode_to_vec().into(),
        };
        if stream.calls.send(call).await.is_err() {
            return Err(stream.why_broken());
        }
        let answer = (&mut waiting.answer).await;
        let answer = answer.unwrap_or_else(|_| Err(stream.why_broken()))?;
        A::decode(answer).map_err(|error| {
            let why = format!("the answer cannot be decoded: {error}");
            RpcError::new(ErrorCode::Internal, why)
        })
    }

    /// The stream that is open, or another one.
    fn stream(&self) -> Stream {
        let mut current = self.stream.lock();
        match &*current {
            Some(stream) if !stream.is_broken() => stream.clone(),
            _ => current.insert(Stream::open(self.channel.clone())).clone(),
        }
    }
}

impl fmt::Debug for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Calls")
    }
}

impl Stream {
    fn open(channel: Channel) -> Self {
        let (calls, queue) = mpsc::channel(WAITING_MAX);
        let open = Arc::<Mutex<Open>>::default();
        let reader = open.clone();
        tokio::spawn(async move {
            let why = read(channel, queue, &reader).await;
            let mut open = reader.lock();
            for (_, answer) in open.waiting.drain() {
                // Whoever has gone away does not mind.
                let _ = answer.send(Err(why.clone()));
            }
            open.broken = Some(why);
        });
        Self { calls, open }
    }

    fn is_broken(&self) -> bool {
        self.open.lock().broken.is_some()
    }

    fn why_broken(&self) -> RpcError {
        let broken = self.open.lock().broken.clone();
        broken.unwrap_or_else(ended)
    }

    fn register(&self) -> Result<Waiting, RpcError> {
        let (sender, answer) = oneshot::channel();
        let mut open = self.open.lock();
        if let Some(why) = &open.broken {
            return Err(why.clone());
        }
        let id = open.next;
        open.next += 1;
        open.waiting.insert(id, sender);
        drop(open);
        Ok(Waiting {
            id,
            answer,
            open: self.open.clone(),
        })
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.open.lock().waiting.remove(&self.id);
    }
}

/// Hands answers out until the stream ends; returns why it did.
async fn read(channel: Channel, queue: mpsc::Receiver<pb::Call>, open: &Mutex<Open>) -> RpcError {
    let mut client = CallsClient::new(channel)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let mut answers = match client.open(ReceiverStream::new(queue)).await {
        Ok(answers) => answers.into_inner(),
        Err(status) => return status.into(),
    };
    loop {
        let answer = match answers.message().await {
            Ok(Some(answer)) => answer,
            Ok(None) => return ended(),
            Err(status) => return status.into(),
        };
        let outcome = match answer.outcome {
            Some(Outcome::Response(response)) => Ok(response),
            Some(Outcome::Error(error)) => Err(error.into()),
            None => Err(RpcError::new(ErrorCode::Internal, "an empty answer")),
        };
        // What nobody waits for any more is answered in vain.
        if let Some(waiting) = open.lock().waiting.remove(&answer.id) {
            let _ = waiting.send(outcome);
        }
    }
}

fn ended() -> RpcError {
    RpcError::new(ErrorCode::Unavailable, "the node has ended the stream")
}

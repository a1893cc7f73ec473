//! The end that answers.

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use stela_identity::tls::PeerTls;
use stela_protocol::limits::MESSAGE_BYTES_MAX;
use stela_protocol::pb::answer::Outcome;
use stela_protocol::pb::calls_server;
use stela_protocol::pb::{self, Procedure};
use stela_protocol::{ErrorCode, RpcError};
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use crate::limits::{CALL_BYTES_MIN, CALLS_BYTES_MAX, WAITING_MAX};

/// A node that answers calls.
pub trait Callee: Send + Sync + 'static {
    /// Answers one call of whoever is at the other end of the connection. Not carried on when the
    /// caller has gone away.
    fn answer(
        self: Arc<Self>,
        caller: Option<PeerTls>,
        procedure: Procedure,
        request: Bytes,
    ) -> impl Future<Output = Result<Bytes, RpcError>> + Send;

    /// Cancelled when the node stops: then no more calls are read.
    fn stop(&self) -> CancellationToken;
}

/// The gRPC service in front of a [`Callee`].
pub struct CallsService<C>(Arc<C>);

impl<C: Callee> CallsService<C> {
    /// A server for a node's router, which takes calls of so many bytes.
    pub fn server(callee: Arc<C>, call_bytes_max: usize) -> calls_server::CallsServer<Self> {
        calls_server::CallsServer::new(Self(callee))
            .max_decoding_message_size(call_bytes_max)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }
}

/// Decodes a request, and encodes what is answered to it.
///
/// # Errors
/// `Malformed` when it cannot be decoded; else what is answered.
pub async fn reply<Q, A, F>(request: Bytes, answer: impl FnOnce(Q) -> F) -> Result<Bytes, RpcError>
where
    Q: Message + Default,
    A: Message,
    F: Future<Output = Result<A, RpcError>>,
{
    let request = Q::decode(request).map_err(|error| {
        let why = format!("the request cannot be decoded: {error}");
        RpcError::new(ErrorCode::Malformed, why)
    })?;
    Ok(answer(request).await?.encode_to_vec().into())
}

#[tonic::async_trait]
impl<C: Callee> calls_server::Calls for CallsService<C> {
    type OpenStream = ReceiverStream<Result<pb::Answer, Status>>;

    async fn open(
        &self,
        request: Request<Streaming<pb::Call>>,
    ) -> Result<Response<Self::OpenStream>, Status> {
        let caller = request.extensions().get::<PeerTls>().cloned();
        let (answers, stream) = mpsc::channel(WAITING_MAX);
        tokio::spawn(serve(self.0.clone(), caller, request.into_inner(), answers));
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

type Answers = mpsc::Sender<Result<pb::Answer, Status>>;

async fn serve<C: Callee>(
    callee: Arc<C>,
    caller: Option<PeerTls>,
    mut calls: Streaming<pb::Call>,
    answers: Answers,
) {
    let (stop, room) = (callee.stop(), Arc::new(Semaphore::new(CALLS_BYTES_MAX)));
    loop {
        let next = async {
            let call = calls.message().await.ok()??;
            let place = room.clone().acquire_many_owned(weight(&call)).await.ok()?;
            Some((place, call))
        };
        let next = tokio::select! {
            () = stop.cancelled() => None,
            () = answers.closed() => None,
            next = next => next,
        };
        // What is being worked on is answered before the stream ends.
        let Some((place, call)) = next else { return };
        let (callee, caller, answers) = (callee.clone(), caller.clone(), answers.clone());
        // In a box, since a task that is large is copied when it begins and when it ends.
        tokio::spawn(Box::pin(async move {
            tokio::select! {
                () = answers.closed() => {}
                answer = answer(callee, caller, call) => drop(answers.send(Ok(answer)).await),
            }
            drop(place);
        }));
    }
}

/// What a call takes of the room for calls.
fn weight(call: &pb::Call) -> u32 {
    let bytes = call.request.len().clamp(CALL_BYTES_MIN, CALLS_BYTES_MAX);
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

async fn answer<C: Callee>(callee: Arc<C>, caller: Option<PeerTls>, call: pb::Call) -> pb::Answer {
    let (id, procedure) = (call.id, call.procedure());
    let outcome = match callee.answer(caller, procedure, call.request).await {
        Ok(response) => Outcome::Response(response),
        Err(error) => Outcome::Error(error.into()),
    };
    pb::Answer {
        id,
        outcome: Some(outcome),
    }
}

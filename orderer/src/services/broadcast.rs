//! Takes envelopes.

use std::sync::Arc;

use bytes::Bytes;
use stela_calls::{Callee, reply};
use stela_identity::tls::PeerTls;
use stela_protocol::pb::broadcast_server::Broadcast;
use stela_protocol::pb::{self, Procedure};
use stela_protocol::{ErrorCode, RpcError};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::{member_channel, no_certificate, peer, status};
use crate::driver::now_ms;
use crate::node::Node;

pub(super) struct BroadcastService(pub(super) Arc<Node>);

#[tonic::async_trait]
impl Broadcast for BroadcastService {
    async fn broadcast(
        &self,
        request: Request<pb::BroadcastRequest>,
    ) -> Result<Response<pb::BroadcastResponse>, Status> {
        let taken = match peer(&request) {
            Ok(peer) => take(&self.0, &peer, request.into_inner()).await,
            Err(error) => Err(error),
        };
        taken.map(Response::new).map_err(status(&self.0))
    }
}

async fn take(
    node: &Node,
    peer: &PeerTls,
    request: pb::BroadcastRequest,
) -> Result<pb::BroadcastResponse, RpcError> {
    let ordered = member_channel(node, peer, &request.channel)?;
    let envelope = ordered.admission.admit_together(request.envelope, now_ms());
    let envelope = envelope.await?;
    ordered.handle.submit(envelope).await?;
    Ok(pb::BroadcastResponse {})
}

/// The same over one stream.
impl Callee for Node {
    async fn answer(
        self: Arc<Self>,
        caller: Option<PeerTls>,
        procedure: Procedure,
        request: Bytes,
    ) -> Result<Bytes, RpcError> {
        let answer = match (procedure, caller) {
            (Procedure::Broadcast, Some(peer)) => {
                reply(request, |request| take(&self, &peer, request)).await
            }
            (Procedure::Broadcast, None) => Err(no_certificate()),
            _ => {
                let why = "an orderer does not answer this procedure";
                Err(RpcError::new(ErrorCode::Malformed, why))
            }
        };
        answer.map_err(|error| error.from_origin(self.origin()))
    }

    fn stop(&self) -> CancellationToken {
        self.stop().clone()
    }
}

//! Takes envelopes.

use std::sync::Arc;

use stela_protocol::pb::broadcast_server::Broadcast;
use stela_protocol::{RpcError, pb};
use tonic::{Request, Response, Status};

use super::{member_channel, peer, status};
use crate::driver::now_ms;
use crate::node::Node;

pub(super) struct BroadcastService(pub(super) Arc<Node>);

#[tonic::async_trait]
impl Broadcast for BroadcastService {
    async fn broadcast(
        &self,
        request: Request<pb::BroadcastRequest>,
    ) -> Result<Response<pb::BroadcastResponse>, Status> {
        self.take(request).await.map_err(status(&self.0))?;
        Ok(Response::new(pb::BroadcastResponse {}))
    }
}

impl BroadcastService {
    async fn take(&self, request: Request<pb::BroadcastRequest>) -> Result<(), RpcError> {
        let peer = peer(&request)?;
        let request = request.into_inner();
        let ordered = member_channel(&self.0, &peer, &request.channel)?;
        let envelope = ordered.admission.admit(request.envelope, now_ms())?;
        ordered.handle.submit(envelope).await
    }
}

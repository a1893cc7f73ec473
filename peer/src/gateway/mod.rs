//! What clients call.

mod asking;
mod collection;
mod endorse;
mod events;
mod side;
mod status;
mod submit;

use std::sync::Arc;

use stela_protocol::pb::gateway_server::Gateway;
use stela_protocol::{RpcError, pb};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::endorser;
use crate::node::Node;
use crate::requests;

pub(crate) use self::endorse::{collect, endorse};
pub(crate) use self::status::commit_status;
pub(crate) use self::submit::submit;

/// The gateway of one peer.
pub(crate) struct GatewayService(pub(crate) Arc<Node>);

#[tonic::async_trait]
impl Gateway for GatewayService {
    type EventsStream = ReceiverStream<Result<pb::EventsResponse, Status>>;
    type BlocksStream = ReceiverStream<Result<pb::BlocksResponse, Status>>;

    async fn evaluate(
        &self,
        request: Request<pb::SignedBytes>,
    ) -> Result<Response<pb::EvaluateResponse>, Status> {
        self.0.answer(evaluate(&self.0, request).await)
    }

    async fn endorse(
        &self,
        request: Request<pb::EndorseRequest>,
    ) -> Result<Response<pb::EndorseResponse>, Status> {
        self.0.answer(endorse(&self.0, request).await)
    }

    async fn submit(
        &self,
        request: Request<pb::SubmitRequest>,
    ) -> Result<Response<pb::SubmitResponse>, Status> {
        self.0.answer(submit(&self.0, request).await)
    }

    async fn commit_status(
        &self,
        request: Request<pb::SignedBytes>,
    ) -> Result<Response<pb::CommitStatusResponse>, Status> {
        self.0.answer(commit_status(&self.0, request).await)
    }

    async fn events(
        &self,
        request: Request<pb::SignedBytes>,
    ) -> Result<Response<Self::EventsStream>, Status> {
        self.0.answer(events::events(&self.0, request))
    }

    async fn side(
        &self,
        request: Request<pb::SignedBytes>,
    ) -> Result<Response<pb::SideResponse>, Status> {
        self.0.answer(side::side(&self.0, request))
    }

    async fn channel_info(
        &self,
        request: Request<pb::SignedBytes>,
    ) -> Result<Response<pb::ChannelInfoResponse>, Status> {
        self.0.answer(status::channel_info(&self.0, request).await)
    }

    async fn blocks(
        &self,
        request: Request<pb::SignedBytes>,
    ) -> Result<Response<Self::BlocksStream>, Status> {
        self.0.answer(events::blocks(&self.0, request))
    }

    async fn key_history(
        &self,
        request: Request<pb::SignedBytes>,
    ) -> Result<Response<pb::KeyHistoryResponse>, Status> {
        self.0.answer(status::key_history(&self.0, request))
    }
}

/// Runs a contract on this peer's state.
pub(crate) async fn evaluate(
    node: &Arc<Node>,
    request: Request<pb::SignedBytes>,
) -> Result<pb::EvaluateResponse, RpcError> {
    let _place = node.place_for_call()?;
    let caller = requests::organization(&request);
    let admitted = requests::admit(node, Some(request.into_inner())).await?;
    requests::check_connection(caller.as_ref(), &admitted.creator)?;
    endorser::evaluate(node, &admitted).await
}

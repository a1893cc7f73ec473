//! What is called for every transaction, over one stream.

use std::sync::Arc;

use bytes::Bytes;
use stela_calls::{Callee, reply};
use stela_identity::tls::PeerTls;
use stela_protocol::pb::Procedure;
use stela_protocol::{ErrorCode, RpcError};
use tokio_util::sync::CancellationToken;
use tonic::Request;

use crate::endorser;
use crate::gateway;
use crate::node::Node;

impl Callee for Node {
    async fn answer(
        self: Arc<Self>,
        caller: Option<PeerTls>,
        procedure: Procedure,
        request: Bytes,
    ) -> Result<Bytes, RpcError> {
        let node = &self;
        let answer = match procedure {
            Procedure::GatewayEvaluate => {
                reply(request, |it| gateway::evaluate(node, from(caller, it))).await
            }
            Procedure::GatewayEndorse => {
                reply(request, |it| gateway::endorse(node, from(caller, it))).await
            }
            Procedure::GatewaySubmit => {
                reply(request, |it| gateway::submit(node, from(caller, it))).await
            }
            Procedure::GatewayCommitStatus => {
                reply(request, |it| gateway::commit_status(node, from(caller, it))).await
            }
            Procedure::EndorserEndorse => reply(request, |it| endorser::endorse(node, it)).await,
            Procedure::Unspecified | Procedure::Broadcast => {
                let why = "a peer does not answer this procedure";
                Err(RpcError::new(ErrorCode::Malformed, why))
            }
        };
        answer.map_err(|error| self.said(error))
    }

    fn stop(&self) -> CancellationToken {
        self.stop.clone()
    }
}

/// A request as if it had come in a call of its own over the same connection.
fn from<T>(caller: Option<PeerTls>, message: T) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(caller) = caller {
        request.extensions_mut().insert(caller);
    }
    request
}

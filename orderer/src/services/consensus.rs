//! Takes what other orderers send.

use std::sync::Arc;

use stela_identity::tls::PeerTls;
use stela_protocol::pb::consensus_message::Body;
use stela_protocol::pb::consensus_server::Consensus;
use stela_protocol::{ErrorCode, RpcError, pb};
use tonic::{Request, Response, Status, Streaming};

use super::{peer, status};
use crate::chain::Input;
use crate::codec;
use crate::configurations::Standing;
use crate::driver::{now_ms, stopping};
use crate::limits::{FETCH_BLOCKS_MAX, SIGNATURE_REQUEST_BLOCKS_MAX, SIGNATURES_PER_MESSAGE_MAX};
use crate::node::{Node, Ordered};

pub(super) struct ConsensusService(pub(super) Arc<Node>);

#[tonic::async_trait]
impl Consensus for ConsensusService {
    async fn step(
        &self,
        request: Request<Streaming<pb::ConsensusMessage>>,
    ) -> Result<Response<pb::StepResponse>, Status> {
        let peer = peer(&request).map_err(status(&self.0))?;
        let mut configured = self.0.configured();
        let mut messages = request.into_inner();
        loop {
            let message = tokio::select! {
                biased;
                () = self.0.stop().cancelled() => return Err(status(&self.0)(stopping())),
                // An orderer that is none any more has nothing to say, and need not be waited for.
                _ = configured.changed() => {
                    self.check_caller(&peer).map_err(status(&self.0))?;
                    continue;
                }
                message = messages.message() => message?,
            };
            let Some(message) = message else {
                return Ok(Response::new(pb::StepResponse {}));
            };
            self.take(&peer, message).await.map_err(status(&self.0))?;
        }
    }
}

impl ConsensusService {
    /// The stream is shared by all channels: it may stay while its caller is an orderer of one.
    fn check_caller(&self, peer: &PeerTls) -> Result<(), RpcError> {
        let channels = self.0.channels();
        let known = channels.iter().any(|ordered| {
            let contacts = ordered.in_force();
            let contacts = contacts.contacts(ordered.orderer);
            contacts
                .keys()
                .any(|id| ordered.caller(*id, peer).is_some())
        });
        if known {
            return Ok(());
        }
        let message = "this connection is not that of an orderer any more";
        Err(RpcError::new(ErrorCode::Forbidden, message))
    }

    async fn take(&self, peer: &PeerTls, message: pb::ConsensusMessage) -> Result<(), RpcError> {
        // The stream is shared by all channels, and others may have joined one earlier than this
        // node has: what is not known yet is lost and comes again.
        let Ok(ordered) = self.0.channel(&message.channel) else {
            return Ok(());
        };
        let standing = check_sender(&ordered, peer, message.from)?;
        let Some(body) = message.body else {
            return Err(RpcError::new(
                ErrorCode::Malformed,
                "the message has no body",
            ));
        };
        if standing == Standing::Former && !may_still_say(&body) {
            return Ok(());
        }
        let Some(input) = parse(&ordered, message.from, body)? else {
            return Ok(());
        };
        tokio::select! {
            () = self.0.stop().cancelled() => Err(stopping()),
            sent = ordered.handle.consensus.send(input) => sent.map_err(|_| stopping()),
        }
    }
}

/// What an orderer that takes part no longer may still say: questions whose answers tell it so, and
/// its signatures of blocks that were judged when it did.
fn may_still_say(body: &Body) -> bool {
    matches!(
        body,
        Body::BlockRequest(_) | Body::SignatureRequest(_) | Body::Signatures(_)
    )
}

/// A message counts only when it comes over the connection of the orderer that it names.
fn check_sender(ordered: &Ordered, peer: &PeerTls, from: u64) -> Result<Standing, RpcError> {
    if let Some(standing) = ordered.caller(from, peer) {
        return Ok(standing);
    }
    let channel = &ordered.id;
    let message = format!("this connection is not that of orderer {from} of {channel}");
    tracing::warn!(%channel, from, address = %peer.address, "not that orderer");
    Err(RpcError::new(ErrorCode::Forbidden, message))
}

fn parse(ordered: &Ordered, from: u64, body: Body) -> Result<Option<Input>, RpcError> {
    let malformed = |message: String| RpcError::new(ErrorCode::Malformed, message);
    Ok(Some(match body {
        Body::Raft(bytes) => {
            let message = codec::decode(&bytes).map_err(|error| malformed(error.to_string()))?;
            Input::Raft {
                from,
                message: Box::new(message),
            }
        }
        Body::Forward(forward) => {
            match ordered
                .admission
                .admit_forwarded(forward.envelope, now_ms())
            {
                Ok(envelope) => Input::Forward(envelope),
                Err(error) => {
                    let channel = &ordered.id;
                    tracing::debug!(%channel, from, %error, "refused a forwarded envelope");
                    return Ok(None);
                }
            }
        }
        Body::Signatures(message) => {
            if message.signatures.len() > SIGNATURES_PER_MESSAGE_MAX {
                return Err(malformed("too many signatures in one message".to_owned()));
            }
            Input::Signatures {
                from,
                signatures: message.signatures,
            }
        }
        Body::SignatureRequest(request) => {
            if request.numbers.len() > SIGNATURE_REQUEST_BLOCKS_MAX {
                return Err(malformed("too many blocks in one request".to_owned()));
            }
            Input::SignatureRequest {
                from,
                numbers: request.numbers,
            }
        }
        Body::BlockRequest(request) => Input::BlockRequest {
            from,
            start: request.start,
        },
        Body::Blocks(message) => {
            if message.blocks.len() > FETCH_BLOCKS_MAX {
                return Err(malformed("too many blocks in one message".to_owned()));
            }
            Input::Blocks {
                from,
                blocks: message.blocks,
            }
        }
    }))
}

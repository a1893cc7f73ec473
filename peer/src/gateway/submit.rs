//! Passes envelopes on to the orderers.

use std::sync::Arc;

use stela_identity::{Certificate, PublicKey, config_update};
use stela_protocol::hash::domain;
use stela_protocol::transaction::{Body, Envelope};
use stela_protocol::{ErrorCode, RpcError, pb};
use stela_store::LedgerRead;

use crate::answer;
use crate::channel::Channel;
use crate::node::Node;
use crate::orderers;
use crate::requests;

/// Hands an envelope to an orderer, after what can be checked cheaply. Success means enqueued.
pub(super) async fn submit(
    node: &Arc<Node>,
    request: pb::SubmitRequest,
) -> Result<pb::SubmitResponse, RpcError> {
    let channel = node.channel(&request.channel)?;
    channel.check_sound()?;
    check(node, &channel, &request)?;
    orderers::broadcast(&node.remotes, &node.orderers, &channel, request.envelope).await?;
    Ok(pb::SubmitResponse {})
}

fn check(node: &Node, channel: &Channel, request: &pb::SubmitRequest) -> Result<(), RpcError> {
    let envelope = Envelope::decode(request.envelope.clone());
    let max = channel.membership().config().limits.envelope_bytes_max;
    // A channel cannot shut itself off from ever being changed.
    let is_config = matches!(
        &envelope,
        Ok(Envelope {
            body: Body::Config(_),
            ..
        })
    );
    if request.envelope.len() > max && !is_config {
        let why = format!("the envelope exceeds the channel's {max} bytes");
        return Err(RpcError::new(ErrorCode::TooLarge, why));
    }
    let envelope = envelope.map_err(answer::malformed)?;
    let header = envelope.header();
    if header.channel != *channel.id() {
        let why = "the envelope is for another channel than the request";
        return Err(RpcError::new(ErrorCode::Malformed, why));
    }
    let now_ms = node.clock.now_ms();
    requests::check_fresh(header, now_ms, channel.window_ms())?;
    let key = creator_key(channel, &envelope, now_ms)?;
    key.verify(
        domain::ENVELOPE,
        &envelope.signed.bytes,
        &envelope.signed.signature,
    )
    .map_err(|_| answer::bad_signature("envelope"))?;
    let id = header.id();
    match channel.ledger().transaction(&id).map_err(answer::store)? {
        None => Ok(()),
        Some(record) => {
            let why = format!("transaction {id} is committed already as {}", record.code);
            Err(RpcError::new(ErrorCode::Replayed, why))
        }
    }
}

/// The key of a known creator, or the one that a registration or a configuration brings.
fn creator_key(channel: &Channel, envelope: &Envelope, now_ms: u64) -> Result<PublicKey, RpcError> {
    let refused = |why: String| RpcError::new(ErrorCode::Forbidden, why);
    match &envelope.body {
        Body::Registration(registration) => {
            let certificate = Certificate::from_der(&registration.certificate)
                .map_err(|error| refused(error.to_string()))?;
            channel
                .membership()
                .validate(&certificate, now_ms)
                .map_err(|error| answer::identity(&error))?;
            Ok(*certificate.public_key())
        }
        Body::Transaction(transaction) => {
            let creator = &transaction.proposal.header.creator;
            Ok(channel.identity(creator, now_ms)?.public_key)
        }
        Body::Config(update) => {
            let membership = channel.membership();
            let current = membership.configuration();
            config_update::check(current, &envelope.signed, update, now_ms)
                .map_err(|error| RpcError::new(ErrorCode::ConfigRefused, error.to_string()))?;
            let certificate = Certificate::from_der(&update.certificate)
                .map_err(|error| refused(error.to_string()))?;
            Ok(*certificate.public_key())
        }
    }
}

//! Passes envelopes on to the orderers.

use std::sync::Arc;

use stela_identity::{Certificate, Identity, PublicKey, SignatureToVerify, config_update};
use stela_protocol::config_update::ConfigUpdate;
use stela_protocol::hash::domain;
use stela_protocol::transaction::{Body, Envelope, Registration};
use stela_protocol::{ErrorCode, RpcError, pb};
use stela_store::LedgerRead;
use tonic::Request;

use super::status;
use crate::answer;
use crate::channel::Channel;
use crate::limits::COMMIT_WAIT_MS_MAX;
use crate::node::Node;
use crate::orderers;
use crate::requests;

/// Hands an envelope to an orderer, after what can be checked cheaply. Success means enqueued; the
/// creator of a call may wait here for its verdict, too.
pub(crate) async fn submit(
    node: &Arc<Node>,
    request: Request<pb::SubmitRequest>,
) -> Result<pb::SubmitResponse, RpcError> {
    // What was endorsed is never refused here: it would have been endorsed in vain.
    let _place = node.place_for_call();
    let caller = requests::organization(&request);
    let request = request.into_inner();
    let channel = node.channel(&request.channel)?;
    channel.check_sound()?;
    let envelope = parse(&channel, &request)?;
    let waiter = match request.wait_ms {
        0 => None,
        _ => {
            let waiter = channel.waiters().register(envelope.header().id());
            Some(waiter.ok_or_else(status::overloaded)?)
        }
    };
    let creator = check(node, &channel, &envelope).await?;
    let waiting = waiter.zip(creator);
    if let Some((_, creator)) = &waiting {
        requests::check_connection(caller.as_ref(), creator)?;
    }
    orderers::broadcast(&node.remotes, &node.orderers, &channel, request.envelope).await?;
    let Some((mut waiter, creator)) = waiting else {
        return Ok(pb::SubmitResponse::default());
    };
    let wait_ms = request.wait_ms.min(COMMIT_WAIT_MS_MAX);
    let status = status::committed(node, &channel, &creator, &mut waiter, wait_ms).await?;
    Ok(pb::SubmitResponse { status })
}

fn parse(channel: &Channel, request: &pb::SubmitRequest) -> Result<Envelope, RpcError> {
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
    if envelope.header().channel != *channel.id() {
        let why = "the envelope is for another channel than the request";
        return Err(RpcError::new(ErrorCode::Malformed, why));
    }
    Ok(envelope)
}

/// The creator of a call of a contract, who is known; a registration and a configuration bring
/// their own certificate.
async fn check(
    node: &Node,
    channel: &Channel,
    envelope: &Envelope,
) -> Result<Option<Arc<Identity>>, RpcError> {
    let header = envelope.header();
    let now_ms = node.clock.now_ms();
    requests::check_fresh(header, now_ms, channel.window_ms())?;
    let (key, creator) = match &envelope.body {
        Body::Transaction(transaction) => {
            let creator = &transaction.proposal.header.creator;
            let creator = channel.identity(creator, now_ms)?;
            (creator.public_key, Some(creator))
        }
        Body::Registration(registration) => (registered_key(channel, registration, now_ms)?, None),
        Body::Config(update) => (updating_key(channel, envelope, update, now_ms)?, None),
    };
    let signed = SignatureToVerify {
        key,
        domain: domain::ENVELOPE,
        message: envelope.signed.bytes.clone(),
        signature: envelope.signed.signature,
    };
    let membership = channel.membership();
    let verified = membership.verified().verify(signed).await;
    verified.map_err(|_| answer::bad_signature("envelope"))?;
    let id = header.id();
    match channel.ledger().transaction(&id).map_err(answer::store)? {
        None => Ok(creator),
        Some(record) => {
            let why = format!("transaction {id} is committed already as {}", record.code);
            Err(RpcError::new(ErrorCode::Replayed, why))
        }
    }
}

fn refused(why: impl ToString) -> RpcError {
    RpcError::new(ErrorCode::Forbidden, why.to_string())
}

fn registered_key(
    channel: &Channel,
    registration: &Registration,
    now_ms: u64,
) -> Result<PublicKey, RpcError> {
    let certificate = Certificate::from_der(&registration.certificate).map_err(refused)?;
    channel
        .membership()
        .validate(&certificate, now_ms)
        .map_err(|error| answer::identity(&error))?;
    Ok(*certificate.public_key())
}

fn updating_key(
    channel: &Channel,
    envelope: &Envelope,
    update: &ConfigUpdate,
    now_ms: u64,
) -> Result<PublicKey, RpcError> {
    let membership = channel.membership();
    let current = membership.configuration();
    config_update::check(current, &envelope.signed, update, now_ms)
        .map_err(|error| RpcError::new(ErrorCode::ConfigRefused, error.to_string()))?;
    let certificate = Certificate::from_der(&update.certificate).map_err(refused)?;
    Ok(*certificate.public_key())
}

//! Signed requests and proposals, authenticated.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use stela_identity::tls::PeerTls;
use stela_identity::{Identity, SignatureToVerify};
use stela_protocol::hash::domain;
use stela_protocol::transaction::{Proposal, RequestHeader, Signed, TransactionHeader};
use stela_protocol::{ErrorCode, OrgId, RpcError, pb};
use tonic::Request;

use crate::answer;
use crate::channel::Channel;
use crate::node::Node;

/// A request that is signed as a whole.
pub(crate) trait SignedRequest: Message + Default {
    /// The procedure that it is signed for.
    const METHOD: &'static str;
    /// Whether it is answered only once: what it begins costs more than an answer.
    const ONCE: bool = false;

    fn header(&self) -> Option<&pb::RequestHeader>;
}

macro_rules! signed_requests {
    ($($message:ident $method:literal $once:literal,)*) => {$(
        impl SignedRequest for pb::$message {
            const METHOD: &'static str = $method;
            const ONCE: bool = $once;

            fn header(&self) -> Option<&pb::RequestHeader> {
                self.header.as_ref()
            }
        }
    )*};
}

signed_requests! {
    CommitStatusRequest "CommitStatus" false,
    EventsRequest "Events" true,
    SideRequest "Side" false,
    ChannelInfoRequest "ChannelInfo" false,
    BlocksRequest "Blocks" true,
    KeyHistoryRequest "KeyHistory" false,
}

/// Who asks, and where.
pub(crate) struct Asked {
    pub(crate) channel: Arc<Channel>,
    pub(crate) caller: Arc<Identity>,
}

/// Accepts a request that a known and valid identity has just signed for this procedure, over a
/// connection of its own organization: nobody else can make anything of a request that he was sent.
pub(crate) fn authenticate<M: SignedRequest>(
    node: &Node,
    request: Request<pb::SignedBytes>,
) -> Result<(M, Asked), RpcError> {
    let connected = organization(&request);
    let signed = Signed::try_from(request.into_inner()).map_err(answer::malformed)?;
    let request =
        M::decode(signed.bytes.clone()).map_err(|error| answer::undecodable("request", &error))?;
    let header = RequestHeader::parse(request.header(), M::METHOD).map_err(answer::malformed)?;
    let header = header.header;
    let channel = node.joined(&header.channel)?;
    let now_ms = node.clock.now_ms();
    check_fresh(&header, now_ms, channel.window_ms())?;
    let caller = channel.identity(&header.creator, now_ms)?;
    caller
        .verify(domain::REQUEST, &signed.bytes, &signed.signature)
        .map_err(|_| answer::bad_signature("request"))?;
    check_connection(connected.as_ref(), &caller)?;
    if M::ONCE {
        channel
            .replays
            .admit(&header, now_ms, channel.window_ms())?;
    }
    Ok((request, Asked { channel, caller }))
}

/// Whose connection a request came over.
pub(crate) fn organization<T>(request: &Request<T>) -> Option<OrgId> {
    let tls = request.extensions().get::<PeerTls>();
    tls.map(|tls| tls.organization.clone())
}

/// Refuses what somebody signed when it comes over a connection of another organization.
pub(crate) fn check_connection(
    connected: Option<&OrgId>,
    caller: &Identity,
) -> Result<(), RpcError> {
    if connected == Some(&caller.organization) {
        return Ok(());
    }
    let why = format!(
        "what members of {} sign is answered only over a connection with a TLS certificate of {}",
        caller.organization, caller.organization
    );
    Err(RpcError::new(ErrorCode::Forbidden, why))
}

/// Refuses a timestamp that lies outside the window around this node's clock.
pub(crate) fn check_fresh(
    header: &TransactionHeader,
    now_ms: u64,
    window_ms: u64,
) -> Result<(), RpcError> {
    if header.is_within(now_ms, window_ms) {
        return Ok(());
    }
    let off = header.timestamp_ms.abs_diff(now_ms);
    let why = format!(
        "the timestamp lies {off} ms from this node's clock, {window_ms} ms are allowed: check \
         the clocks and sign again"
    );
    Err(RpcError::new(ErrorCode::Expired, why))
}

/// A proposal whose creator is known and valid and signed it just now.
#[derive(Clone)]
pub(crate) struct Admitted {
    pub(crate) channel: Arc<Channel>,
    pub(crate) proposal: Arc<Proposal>,
    pub(crate) bytes: Bytes,
    pub(crate) creator: Arc<Identity>,
    /// As it came, to be passed on.
    pub(crate) signed: pb::SignedBytes,
}

/// Accepts a proposal for a channel that this peer serves.
pub(crate) async fn admit(
    node: &Node,
    signed: Option<pb::SignedBytes>,
) -> Result<Admitted, RpcError> {
    let missing = || RpcError::new(ErrorCode::Malformed, "the signed proposal is missing");
    let message = signed.ok_or_else(missing)?;
    let signed = Signed::try_from(message.clone()).map_err(answer::malformed)?;
    let proposal = Proposal::decode(signed.bytes.clone()).map_err(answer::malformed)?;
    let channel = node.joined(&proposal.header.channel)?;
    channel.check_sound()?;
    let now_ms = node.clock.now_ms();
    check_fresh(&proposal.header, now_ms, channel.window_ms())?;
    let creator = channel.identity(&proposal.header.creator, now_ms)?;
    let to_verify = SignatureToVerify {
        key: creator.public_key,
        domain: domain::PROPOSAL,
        message: signed.bytes.clone(),
        signature: signed.signature,
    };
    let membership = channel.membership();
    let verified = membership.verified().check(to_verify).await;
    verified.map_err(|_| answer::bad_signature("proposal"))?;
    check_side_organizations(&channel, &proposal)?;
    let (proposal, bytes) = (Arc::new(proposal), signed.bytes);
    Ok(Admitted {
        channel,
        proposal,
        bytes,
        creator,
        signed: message,
    })
}

/// Side data must be for members, or nobody would ever keep it.
fn check_side_organizations(channel: &Channel, proposal: &Proposal) -> Result<(), RpcError> {
    let membership = channel.membership();
    let members = &membership.config().organizations;
    for side in &proposal.side {
        if side.organizations.is_empty() {
            let why = "a side commitment names no organization that keeps its data";
            return Err(RpcError::new(ErrorCode::Malformed, why));
        }
        if let Some(stranger) = side.organizations.iter().find(|o| !members.contains_key(o)) {
            let why = format!("side data is for {stranger}, which is not a member of the channel");
            return Err(RpcError::new(ErrorCode::Malformed, why));
        }
    }
    Ok(())
}

//! Compares the state hash with the other organizations' from time to time, so that a peer without
//! any traffic finds out, too.

use futures::StreamExt;
use stela_protocol::config::Organization;
use stela_protocol::{BlockNumber, ErrorCode, OrgId, RpcError, pb};
use stela_store::LedgerRead;

use crate::answer;
use crate::channel::Channel;
use crate::limits::{COMPARISON_INTERVAL, COMPARISON_TIMEOUT, COMPARISONS_AT_ONCE};
use crate::node::Node;
use crate::remotes::{Target, first_of, within};

/// Works until the node stops, or the channel is halted.
pub(crate) async fn run(node: &Node, channel: &Channel) {
    tokio::select! {
        () = channel.stop.cancelled() => {}
        () = compare_at_times(node, channel) => {}
    }
}

async fn compare_at_times(node: &Node, channel: &Channel) {
    loop {
        compare(node, channel).await;
        tokio::time::sleep(COMPARISON_INTERVAL).await;
    }
}

/// Asks one peer of every other organization about the present height.
async fn compare(node: &Node, channel: &Channel) {
    let height = channel.ledger().head().height;
    let organizations: Vec<Organization> = channel
        .membership()
        .config()
        .organizations
        .values()
        .filter(|organization| organization.id != node.organization)
        .cloned()
        .collect();
    let ask = |organization: Organization| async move {
        let id = organization.id;
        match ask(node, channel, &id, organization.peers, height).await {
            // An answer about a later height than was asked for is none.
            Some(answer) if answer.height <= height => {
                channel.compare(&id, answer.height, &answer.state_hash);
            }
            _ => {}
        }
    };
    futures::stream::iter(organizations)
        .for_each_concurrent(COMPARISONS_AT_ONCE, ask)
        .await;
}

/// The first answer of an organization's peers.
async fn ask(
    node: &Node,
    channel: &Channel,
    organization: &OrgId,
    peers: Vec<pb::PeerEndpoint>,
    height: u64,
) -> Option<pb::StateHashResponse> {
    let ask = |peer: pb::PeerEndpoint| async move {
        let target = Target::peer(organization, &peer.address);
        let mut client = node.remotes.endorser(&target)?;
        let request = pb::StateHashRequest {
            channel: channel.id().to_string(),
            height,
        };
        within(COMPARISON_TIMEOUT, client.state_hash(request)).await
    };
    match first_of(peers, ask).await {
        Ok(answer) => Some(answer),
        Err(failures) => {
            let failures: Vec<String> = failures.iter().map(RpcError::to_string).collect();
            tracing::debug!(
                channel = %channel.id(), %organization,
                "no state hash to compare with: {}", failures.join("; ")
            );
            None
        }
    }
}

/// Tells a peer of a member the state hash found here.
pub(crate) fn tell(
    node: &Node,
    caller: Option<OrgId>,
    request: &pb::StateHashRequest,
) -> Result<pb::StateHashResponse, RpcError> {
    let channel = node.channel(&request.channel)?;
    let membership = channel.membership();
    let is_member = |caller| membership.config().organizations.contains_key(&caller);
    if !caller.is_some_and(is_member) {
        let why = "state hashes are told to members of the channel over mutual TLS only";
        return Err(RpcError::new(ErrorCode::Forbidden, why));
    }
    channel.check_sound()?;
    let height = request.height.min(channel.ledger().head().height);
    let none = || RpcError::new(ErrorCode::OutOfRange, "there is no state before block 0");
    let newest = height.checked_sub(1).map(BlockNumber).ok_or_else(none)?;
    let verdicts = channel.ledger().verdicts(newest).map_err(answer::store)?;
    let damaged = || {
        let why = format!("the verdicts on block {newest} are missing");
        RpcError::new(ErrorCode::Damaged, why)
    };
    let (state_hash, _) = verdicts.ok_or_else(damaged)?;
    Ok(pb::StateHashResponse {
        height,
        state_hash: state_hash.to_bytes(),
    })
}

//! Gives out side items, and sees to it that they are kept before their transaction is ordered.

use std::sync::Arc;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use stela_protocol::config::Organization;
use stela_protocol::transaction::SideCommitment;
use stela_protocol::{ErrorCode, OrgId, RpcError, pb};
use tonic::Request;

use crate::endorser::{self, kept_by};
use crate::limits::REMOTE_TIMEOUT;
use crate::node::Node;
use crate::remotes::{Target, first_of, within};
use crate::requests::{self, Admitted};

/// Committed side items that are here and that the caller's organization keeps.
pub(super) fn side(
    node: &Node,
    request: Request<pb::SignedBytes>,
) -> Result<pb::SideResponse, RpcError> {
    let (request, asked) = requests::authenticate::<pb::SideRequest>(node, request)?;
    endorser::find_side(
        &asked.channel,
        &asked.caller.organization,
        &request.commitments,
    )
}

/// Keeps the items of a proposal, which were checked, at this peer if its organization is named,
/// and at one peer of every other named organization. Somebody else has to have each item, or a
/// failure of this peer would lose it; as soon as that is so this returns, and goes on sending in
/// the background. Those that cannot be reached now fetch them when the transaction is committed.
///
/// # Errors
/// `EndorsersUnavailable` when an item is for others and none of them has it.
pub(super) async fn distribute(
    node: &Arc<Node>,
    admitted: &Admitted,
    items: &[pb::SideItem],
) -> Result<(), RpcError> {
    if items.is_empty() {
        return Ok(());
    }
    let own = share(admitted, &node.organization, items);
    if !own.is_empty() {
        let kept = kept_by(&admitted.proposal, &node.organization);
        endorser::keep_side(node, admitted, kept, own).await?;
    }
    let mut sends = sends(node, admitted, items);
    let mut has = Vec::new();
    while let Err(error) = check_all_kept(node, admitted, &has) {
        match sends.next().await {
            Some(sent) => has.extend(sent),
            None => return Err(error),
        }
    }
    go_on(node, sends);
    Ok(())
}

/// The organizations that have got their items, as they come.
type Sends = FuturesUnordered<BoxFuture<'static, Option<OrgId>>>;

fn sends(node: &Arc<Node>, admitted: &Admitted, items: &[pb::SideItem]) -> Sends {
    let membership = admitted.channel.membership();
    let others = membership.config().organizations.values();
    let others = others.filter(|organization| organization.id != node.organization);
    let sends: Sends = FuturesUnordered::new();
    for organization in others {
        let share = share(admitted, &organization.id, items);
        if !share.is_empty() {
            let request = pb::PutSideRequest {
                proposal: Some(admitted.signed.clone()),
                side: share,
            };
            sends.push(Box::pin(send(node.clone(), organization.clone(), request)));
        }
    }
    sends
}

/// Finishes sending in the background if there is a place for it.
fn go_on(node: &Arc<Node>, sends: Sends) {
    if sends.is_empty() {
        return;
    }
    let Ok(place) = node.remotes.side_sends.clone().try_acquire_owned() else {
        tracing::debug!("too many side items are on their way; the others have to fetch them");
        return;
    };
    let stop = node.stop.clone();
    node.tasks.spawn(async move {
        let _place = place;
        tokio::select! {
            () = stop.cancelled() => {}
            _ = sends.count() => {}
        }
    });
}

/// The items that an organization keeps.
fn share(admitted: &Admitted, organization: &OrgId, items: &[pb::SideItem]) -> Vec<pb::SideItem> {
    let sides = admitted.proposal.side.iter().zip(items);
    let kept = sides.filter(|(side, _)| side.organizations.contains(organization));
    kept.map(|(_, item)| item.clone()).collect()
}

/// Sends an organization its items; returns it when one of its peers has them.
async fn send(
    node: Arc<Node>,
    organization: Organization,
    request: pb::PutSideRequest,
) -> Option<OrgId> {
    let (id, node) = (&organization.id, &*node);
    let attempt = |peer: pb::PeerEndpoint| {
        let request = request.clone();
        async move {
            let target = Target::peer(id, &peer.address);
            put(node, &target, request).await.map_err(|error| {
                tracing::warn!(
                    organization = %id, peer = peer.name,
                    "side items were not kept there: {error}"
                );
            })
        }
    };
    let sent = first_of(organization.peers.clone(), attempt).await;
    sent.ok().map(|()| id.clone())
}

async fn put(node: &Node, target: &Target, request: pb::PutSideRequest) -> Result<(), RpcError> {
    let mut client = node.remotes.endorser(target)?;
    within(REMOTE_TIMEOUT, client.put_side(request))
        .await
        .map(drop)
}

/// Whether each item that is for others is kept by one of them.
fn check_all_kept(node: &Node, admitted: &Admitted, has: &[OrgId]) -> Result<(), RpcError> {
    let mut sides = admitted.proposal.side.iter();
    sides.try_for_each(|side| check_kept(node, side, has))
}

fn check_kept(node: &Node, side: &SideCommitment, has: &[OrgId]) -> Result<(), RpcError> {
    let mut others = side
        .organizations
        .iter()
        .filter(|o| **o != node.organization)
        .peekable();
    if others.peek().is_none() || others.any(|organization| has.contains(organization)) {
        return Ok(());
    }
    let names: Vec<&str> = side.organizations.iter().map(OrgId::as_str).collect();
    let why = format!(
        "no other organization keeps a side item that is for {}; try again later",
        names.join(", ")
    );
    Err(RpcError::new(ErrorCode::EndorsersUnavailable, why))
}

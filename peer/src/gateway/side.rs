//! Gives out side items, and sees to it that they are kept before their transaction is ordered.

use futures::future::join_all;
use stela_protocol::config::Organization;
use stela_protocol::transaction::SideCommitment;
use stela_protocol::{ErrorCode, OrgId, RpcError, pb};

use crate::endorser::{self, kept_by};
use crate::limits::REMOTE_TIMEOUT;
use crate::node::Node;
use crate::remotes::{Target, within};
use crate::requests::{self, Admitted};

/// Committed side items that are here and that the caller's organization keeps.
pub(super) fn side(node: &Node, request: pb::SignedBytes) -> Result<pb::SideResponse, RpcError> {
    let (request, asked) = requests::authenticate::<pb::SideRequest>(node, request)?;
    endorser::find_side(
        &asked.channel,
        &asked.caller.organization,
        &request.commitments,
    )
}

/// Keeps the items of a proposal, which were checked, at this peer if its organization is named,
/// and at one peer of every other named organization. Those that cannot be reached now fetch them
/// when the transaction is committed; but somebody else has to have each item, or a failure of
/// this peer would lose it.
///
/// # Errors
/// `EndorsersUnavailable` when an item is for others and none of them has it.
pub(super) async fn distribute(
    node: &Node,
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
    let organizations = admitted
        .channel
        .membership()
        .config()
        .organizations
        .values();
    let others = organizations.filter(|organization| organization.id != node.organization);
    let sent = join_all(others.map(|organization| send(node, admitted, organization, items))).await;
    let has: Vec<OrgId> = sent.into_iter().flatten().collect();
    admitted
        .proposal
        .side
        .iter()
        .try_for_each(|side| check_kept(node, side, &has))
}

/// The items that an organization keeps.
fn share(admitted: &Admitted, organization: &OrgId, items: &[pb::SideItem]) -> Vec<pb::SideItem> {
    let sides = admitted.proposal.side.iter().zip(items);
    let kept = sides.filter(|(side, _)| side.organizations.contains(organization));
    kept.map(|(_, item)| item.clone()).collect()
}

/// Sends an organization its items; returns it when one of its peers has them.
async fn send(
    node: &Node,
    admitted: &Admitted,
    organization: &Organization,
    items: &[pb::SideItem],
) -> Option<OrgId> {
    let share = share(admitted, &organization.id, items);
    if share.is_empty() {
        return None;
    }
    let request = pb::PutSideRequest {
        proposal: Some(admitted.signed.clone()),
        side: share,
    };
    for peer in &organization.peers {
        let target = Target::peer(&organization.id, &peer.address);
        match put(node, &target, request.clone()).await {
            Ok(()) => return Some(organization.id.clone()),
            Err(error) => tracing::warn!(
                organization = %organization.id, peer = peer.name,
                "side items were not kept there: {error}"
            ),
        }
    }
    None
}

async fn put(node: &Node, target: &Target, request: pb::PutSideRequest) -> Result<(), RpcError> {
    let mut client = node.remotes.endorser(target)?;
    within(REMOTE_TIMEOUT, client.put_side(request))
        .await
        .map(drop)
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

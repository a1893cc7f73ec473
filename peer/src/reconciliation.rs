//! Fetches side items that committed transactions promise to this organization and that are not
//! here; removes those whose transaction can no longer be committed.

use std::collections::BTreeMap;

use stela_protocol::{Hash32, OrgId, RpcError, pb};
use stela_store::{LedgerRead, MissingSide, StoreError};

use crate::answer;
use crate::backoff::BackOff;
use crate::channel::Channel;
use crate::limits::{BACK_OFF_MIN, REMOTE_TIMEOUT, SIDE_FETCH_INTERVAL, SIDE_FETCH_ITEMS};
use crate::node::Node;
use crate::remotes::{Target, within};

/// Works until the node stops.
pub(crate) async fn run(node: &Node, channel: &Channel) {
    tokio::select! {
        () = node.stop.cancelled() => {}
        () = reconcile(node, channel) => {}
    }
}

async fn reconcile(node: &Node, channel: &Channel) {
    let mut back_off = BackOff::new(BACK_OFF_MIN, SIDE_FETCH_INTERVAL);
    loop {
        if let Err(error) = purge(channel) {
            tracing::warn!(channel = %channel.id(), "side items could not be removed: {error}");
        }
        match fetch_missing(node, channel).await {
            Ok(0) => {
                back_off.reset();
                // What is missing next is told; the time is for what others did not have yet.
                let told = channel.side_missing.notified();
                let _ = tokio::time::timeout(SIDE_FETCH_INTERVAL, told).await;
            }
            Ok(left) => {
                tracing::info!(channel = %channel.id(), left, "side items are still missing here");
                back_off.wait().await;
            }
            Err(error) => {
                tracing::warn!(channel = %channel.id(), "side items were not fetched: {error}");
                back_off.wait().await;
            }
        }
    }
}

/// Removes items that nothing can commit any more. An item came within the window around its
/// proposal's timestamp, and a block commits the proposal only within the window around its own
/// time; that time, not the clock, says which blocks have been seen here.
fn purge(channel: &Channel) -> Result<(), StoreError> {
    let until = channel
        .ledger()
        .head()
        .time_ms
        .saturating_sub(2 * channel.window_ms());
    let purged = channel.ledger().side_purge_pending(until)?;
    if purged > 0 {
        tracing::debug!(channel = %channel.id(), purged, "removed side items never committed");
    }
    Ok(())
}

/// Asks for everything that is missing once, and says how many items still are.
async fn fetch_missing(node: &Node, channel: &Channel) -> Result<usize, RpcError> {
    let mut after: Option<Hash32> = None;
    let mut left = 0;
    loop {
        let missing = channel
            .ledger()
            .side_missing(after.as_ref(), SIDE_FETCH_ITEMS)
            .map_err(answer::store)?;
        let Some(last) = missing.last() else {
            return Ok(left);
        };
        after = Some(last.commitment);
        left += fetch(node, channel, missing).await?;
    }
}

/// Asks peer after peer for these items, and says how many nobody had.
async fn fetch(
    node: &Node,
    channel: &Channel,
    missing: Vec<MissingSide>,
) -> Result<usize, RpcError> {
    let mut wanted: BTreeMap<Hash32, Vec<OrgId>> = missing
        .into_iter()
        .map(|missing| (missing.commitment, missing.organizations))
        .collect();
    for (organization, target) in peers(node, channel) {
        let ask: Vec<Hash32> = wanted
            .iter()
            .filter(|(_, listed)| listed.contains(&organization))
            .map(|(commitment, _)| *commitment)
            .collect();
        if ask.is_empty() {
            continue;
        }
        match ask_for(node, channel, &target, &ask).await {
            Ok(items) => {
                for item in items {
                    keep(node, channel, &mut wanted, item)?;
                }
            }
            Err(error) => {
                tracing::debug!(address = target.address, "no side items: {error}");
            }
        }
    }
    Ok(wanted.len())
}

/// Every other peer of the channel.
fn peers(node: &Node, channel: &Channel) -> Vec<(OrgId, Target)> {
    let mut peers = Vec::new();
    for organization in channel.membership().config().organizations.values() {
        for peer in &organization.peers {
            if organization.id == node.organization && peer.name == node.name {
                continue;
            }
            let target = Target::peer(&organization.id, &peer.address);
            peers.push((organization.id.clone(), target));
        }
    }
    peers
}

/// The answer is bounded, so items are asked for one by one when they do not fit together.
async fn ask_for(
    node: &Node,
    channel: &Channel,
    target: &Target,
    commitments: &[Hash32],
) -> Result<Vec<pb::FoundSideItem>, RpcError> {
    match ask(node, channel, target, commitments).await {
        Err(error)
            if error.code == stela_protocol::ErrorCode::TooLarge && commitments.len() > 1 =>
        {
            let mut found = Vec::new();
            for commitment in commitments {
                found.extend(ask(node, channel, target, &[*commitment]).await?);
            }
            Ok(found)
        }
        answer => answer,
    }
}

async fn ask(
    node: &Node,
    channel: &Channel,
    target: &Target,
    commitments: &[Hash32],
) -> Result<Vec<pb::FoundSideItem>, RpcError> {
    let request = pb::GetSideRequest {
        channel: channel.id().to_string(),
        commitments: commitments
            .iter()
            .map(|commitment| commitment.to_bytes())
            .collect(),
    };
    let mut client = node.remotes.endorser(target)?;
    Ok(within(REMOTE_TIMEOUT, client.get_side(request))
        .await?
        .items)
}

/// Keeps an item that was asked for; the ledger checks it against its commitment.
fn keep(
    node: &Node,
    channel: &Channel,
    wanted: &mut BTreeMap<Hash32, Vec<OrgId>>,
    found: pb::FoundSideItem,
) -> Result<(), RpcError> {
    let Ok(commitment) = Hash32::from_slice(&found.commitment) else {
        return Ok(());
    };
    let Some(item) = found.item.filter(|_| wanted.contains_key(&commitment)) else {
        return Ok(());
    };
    let now_ms = node.clock.now_ms();
    match channel
        .ledger()
        .side_supply(&commitment, item.salt, item.payload, now_ms)
    {
        // Meanwhile it came another way, or was erased.
        Ok(()) | Err(StoreError::SideNotMissing(_)) => drop(wanted.remove(&commitment)),
        Err(StoreError::SideMismatch(_) | StoreError::Limit { .. }) => {
            tracing::warn!(%commitment, "a peer gave a side item that is not the promised one");
        }
        Err(error) => return Err(answer::store(error)),
    }
    Ok(())
}

//! Fetches side items that committed transactions promise to this organization and that are not
//! here; removes those whose transaction can no longer be committed.
//!
//! What is missing for the first time is asked for at once. What nobody had then is asked for again
//! beside that, each item after its own pauses, so that it delays none that could be had.

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::Mutex;
use stela_protocol::{Hash32, OrgId, RpcError, TransactionId, pb};
use stela_store::{LedgerRead, MissingSide, StoreError};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::answer;
use crate::backoff::BackOff;
use crate::channel::Channel;
use crate::limits::{
    BACK_OFF_MIN, REMOTE_TIMEOUT, SIDE_FETCH_INTERVAL, SIDE_FETCH_ITEMS, SIDE_FETCH_PAUSE_MAX,
    SIDE_FETCHES_MAX, SIDE_IDLE_WINDOWS, SIDE_PURGE_INTERVAL,
};
use crate::node::Node;
use crate::remotes::{Target, within};

/// Works until the node stops, or the channel is halted.
pub(crate) async fn run(node: &Node, channel: &Channel) {
    let attempts = Attempts::default();
    let work = async {
        tokio::join!(
            fetch_new(node, channel, &attempts),
            fetch_again(node, channel, &attempts),
            purge_at_times(node, channel),
        )
    };
    tokio::select! {
        () = channel.stop.cancelled() => {}
        _ = work => {}
    }
}

// --------------------------------------------------------------------------------------- purging

async fn purge_at_times(node: &Node, channel: &Channel) {
    loop {
        if let Err(error) = purge(node, channel) {
            tracing::warn!(channel = %channel.id(), "side items could not be removed: {error}");
        }
        tokio::time::sleep(SIDE_PURGE_INTERVAL).await;
    }
}

fn purge(node: &Node, channel: &Channel) -> Result<(), StoreError> {
    let head_ms = channel.ledger().head().time_ms;
    let until = purge_before(head_ms, node.clock.now_ms(), channel.window_ms());
    let purged = channel.ledger().side_purge_pending(until)?;
    if purged > 0 {
        tracing::debug!(channel = %channel.id(), purged, "removed side items never committed");
    }
    Ok(())
}

/// Items that came before this cannot be committed any more. An item came within the window around
/// its proposal's timestamp, and a block commits the proposal only within the window around its own
/// time; that time says which blocks have been seen here. On a channel without new blocks this
/// node's clock decides, with a margin; an item that was removed too early is fetched again.
fn purge_before(head_ms: u64, now_ms: u64, window_ms: u64) -> u64 {
    let by_blocks = head_ms.saturating_sub(window_ms.saturating_mul(2));
    let by_clock = now_ms.saturating_sub(window_ms.saturating_mul(SIDE_IDLE_WINDOWS));
    by_blocks.max(by_clock)
}

// -------------------------------------------------------------------------------------- attempts

/// A commitment and the transaction that it is missing for.
type Key = (Hash32, TransactionId);

fn key(missing: &MissingSide) -> Key {
    (missing.commitment, missing.transaction)
}

/// Items that were asked for in vain, and when each is asked for again.
#[derive(Default)]
struct Attempts {
    items: Mutex<BTreeMap<Key, Attempt>>,
    /// Told when an item was added.
    added: Notify,
}

struct Attempt {
    back_off: BackOff,
    due: Instant,
}

impl Attempts {
    fn knows(&self, key: &Key) -> bool {
        self.items.lock().contains_key(key)
    }

    /// Notes that nobody had an item. When there is no room for it, it counts as new the next time.
    fn failed(&self, key: Key, now: Instant, random: f64) {
        let mut items = self.items.lock();
        if items.len() >= SIDE_FETCHES_MAX && !items.contains_key(&key) {
            return;
        }
        let attempt = items.entry(key).or_insert_with(|| Attempt {
            back_off: BackOff::new(BACK_OFF_MIN, SIDE_FETCH_PAUSE_MAX),
            due: now,
        });
        attempt.due = now + attempt.back_off.next(random);
        drop(items);
        self.added.notify_one();
    }

    fn forget(&self, key: &Key) {
        self.items.lock().remove(key);
    }

    /// Items whose pause is over, those first that have waited longest.
    fn due(&self, now: Instant) -> Vec<Key> {
        let items = self.items.lock();
        let due = items.iter().filter(|(_, attempt)| attempt.due <= now);
        let mut due: Vec<_> = due.map(|(key, attempt)| (attempt.due, *key)).collect();
        due.sort_unstable();
        due.truncate(SIDE_FETCH_ITEMS);
        due.into_iter().map(|(_, key)| key).collect()
    }

    /// Waits until an item is due.
    async fn wait(&self) {
        loop {
            let next = self.items.lock().values().map(|attempt| attempt.due).min();
            let Some(next) = next else {
                self.added.notified().await;
                continue;
            };
            tokio::select! {
                () = tokio::time::sleep_until(next) => return,
                () = self.added.notified() => {}
            }
        }
    }
}

// -------------------------------------------------------------------------------------- fetching

async fn fetch_new(node: &Node, channel: &Channel, attempts: &Attempts) {
    loop {
        if let Err(error) = ask_for_new(node, channel, attempts).await {
            tracing::warn!(channel = %channel.id(), "missing side items cannot be read: {error}");
        }
        // What is missing next is told; the time is for what there was no room to note.
        let told = channel.side_missing.notified();
        let _ = tokio::time::timeout(SIDE_FETCH_INTERVAL, told).await;
    }
}

async fn ask_for_new(
    node: &Node,
    channel: &Channel,
    attempts: &Attempts,
) -> Result<(), StoreError> {
    let mut after: Option<Key> = None;
    loop {
        let behind = after
            .as_ref()
            .map(|(hash, transaction)| (hash, transaction));
        let mut missing = channel.ledger().side_missing(behind, SIDE_FETCH_ITEMS)?;
        let Some(last) = missing.last() else {
            return Ok(());
        };
        after = Some(key(last));
        missing.retain(|missing| !attempts.knows(&key(missing)));
        ask_and_note(node, channel, attempts, missing).await;
    }
}

async fn fetch_again(node: &Node, channel: &Channel, attempts: &Attempts) {
    loop {
        attempts.wait().await;
        let mut missing = Vec::new();
        for (commitment, transaction) in attempts.due(Instant::now()) {
            let ledger = channel.ledger();
            match ledger.side_missing_of(&commitment, &transaction) {
                Ok(Some(found)) => missing.push(found),
                // Meanwhile it came another way, or was erased.
                Ok(None) => attempts.forget(&(commitment, transaction)),
                Err(error) => {
                    attempts.failed((commitment, transaction), Instant::now(), rand::random());
                    tracing::warn!(channel = %channel.id(), "a side item cannot be read: {error}");
                }
            }
        }
        ask_and_note(node, channel, attempts, missing).await;
    }
}

/// Asks for these items once, and notes when those that nobody had are asked for again.
async fn ask_and_note(
    node: &Node,
    channel: &Channel,
    attempts: &Attempts,
    missing: Vec<MissingSide>,
) {
    if missing.is_empty() {
        return;
    }
    let asked: BTreeSet<Key> = missing.iter().map(key).collect();
    let left = fetch(node, channel, missing).await.unwrap_or_else(|error| {
        tracing::warn!(channel = %channel.id(), "side items were not fetched: {error}");
        asked.clone()
    });
    if !left.is_empty() {
        let left = left.len();
        tracing::info!(channel = %channel.id(), left, "side items are still missing here");
    }
    for key in asked {
        if left.contains(&key) {
            attempts.failed(key, Instant::now(), rand::random());
        } else {
            attempts.forget(&key);
        }
    }
}

/// What is asked for: the transactions that a commitment is missing for.
type Wanted = BTreeMap<Hash32, Vec<MissingSide>>;

/// Asks peer after peer for these items, and says which nobody had.
async fn fetch(
    node: &Node,
    channel: &Channel,
    missing: Vec<MissingSide>,
) -> Result<BTreeSet<Key>, RpcError> {
    let mut wanted = Wanted::new();
    for missing in missing {
        wanted.entry(missing.commitment).or_default().push(missing);
    }
    take_what_is_here(node, channel, &mut wanted)?;
    for (organization, target) in peers(node, channel) {
        let listed = |missing: &MissingSide| missing.organizations.contains(&organization);
        let ask: Vec<Hash32> = wanted
            .iter()
            .filter(|(_, missing)| missing.iter().any(listed))
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
    Ok(wanted.values().flatten().map(key).collect())
}

/// An item may be here for another transaction that names it.
fn take_what_is_here(node: &Node, channel: &Channel, wanted: &mut Wanted) -> Result<(), RpcError> {
    let commitments: Vec<Hash32> = wanted.keys().copied().collect();
    for commitment in commitments {
        let here = channel.ledger().side_get(&commitment).next();
        if let Some(record) = here.transpose().map_err(answer::store)? {
            let found = pb::FoundSideItem {
                commitment: commitment.to_bytes(),
                item: Some(pb::SideItem {
                    salt: record.salt,
                    payload: record.payload,
                }),
            };
            keep(node, channel, wanted, found)?;
        }
    }
    Ok(())
}

/// Every other peer of the channel.
pub(crate) fn peers(node: &Node, channel: &Channel) -> Vec<(OrgId, Target)> {
    let mut peers = Vec::new();
    let membership = channel.membership();
    for organization in membership.config().organizations.values() {
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
    wanted: &mut Wanted,
    found: pb::FoundSideItem,
) -> Result<(), RpcError> {
    let Ok(commitment) = Hash32::from_slice(&found.commitment) else {
        return Ok(());
    };
    let (Some(item), Some(missing)) = (found.item, wanted.get(&commitment)) else {
        return Ok(());
    };
    let now_ms = node.clock.now_ms();
    for missing in missing {
        let (salt, payload) = (item.salt.clone(), item.payload.clone());
        let ledger = channel.ledger();
        match ledger.side_supply(&commitment, &missing.transaction, salt, payload, now_ms) {
            // Meanwhile it came another way, or was erased.
            Ok(()) | Err(StoreError::SideNotMissing(_)) => {}
            Err(StoreError::SideMismatch(_) | StoreError::Limit { .. }) => {
                tracing::warn!(%commitment, "a peer gave a side item that is not the promised one");
                return Ok(());
            }
            Err(error) => return Err(answer::store(error)),
        }
    }
    wanted.remove(&commitment);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn item(seed: usize) -> Key {
        let mut hash = [0; 32];
        hash[..8].copy_from_slice(&(seed as u64).to_be_bytes());
        (Hash32(hash), TransactionId([1; 32]))
    }

    #[test]
    fn items_are_removed_by_the_time_of_blocks_or_much_later_by_the_clock() {
        assert_eq!(purge_before(1_000, 1_100, 100), 800);
        assert_eq!(purge_before(1_000, 5_000, 100), 4_600);
        assert_eq!(purge_before(10, 20, 100), 0);
    }

    #[test]
    fn an_item_that_nobody_has_waits_longer_every_time() {
        let (attempts, start) = (Attempts::default(), Instant::now());
        let mut now = start;
        for _ in 0..4 {
            attempts.failed(item(1), now, 1.0);
            assert!(attempts.due(now).is_empty());
            let due = attempts.items.lock()[&item(1)].due;
            assert_eq!(attempts.due(due), [item(1)]);
            now = due;
        }
        assert_eq!(now - start, BACK_OFF_MIN * (1 + 2 + 4 + 8));
        attempts.forget(&item(1));
        assert!(!attempts.knows(&item(1)));
        assert!(attempts.due(now).is_empty());
    }

    #[test]
    fn every_item_has_its_own_pause_and_another_transaction_is_new() {
        let (attempts, now) = (Attempts::default(), Instant::now());
        for _ in 0..9 {
            attempts.failed(item(1), now, 1.0);
        }
        attempts.failed(item(2), now, 1.0);
        let (commitment, _) = item(1);
        assert!(!attempts.knows(&(commitment, TransactionId([2; 32]))));
        assert_eq!(attempts.due(now + BACK_OFF_MIN), [item(2)]);
        let later = now + SIDE_FETCH_PAUSE_MAX;
        assert_eq!(attempts.due(later), [item(2), item(1)]);
    }

    #[test]
    fn what_is_noted_is_bounded() {
        let (attempts, now) = (Attempts::default(), Instant::now());
        for seed in 0..=SIDE_FETCHES_MAX {
            attempts.failed(item(seed), now, 1.0);
        }
        assert_eq!(attempts.items.lock().len(), SIDE_FETCHES_MAX);
        assert!(!attempts.knows(&item(SIDE_FETCHES_MAX)));
        let later = now + Duration::from_secs(3_600);
        assert_eq!(attempts.due(later).len(), SIDE_FETCH_ITEMS);
    }

    #[tokio::test]
    async fn waiting_ends_when_the_first_item_is_due() {
        let attempts = Attempts::default();
        let add = async {
            tokio::task::yield_now().await;
            attempts.failed(item(1), Instant::now(), 1.0);
        };
        let both = async { tokio::join!(attempts.wait(), add) };
        tokio::time::timeout(Duration::from_secs(30), both)
            .await
            .unwrap();
        assert_eq!(attempts.due(Instant::now()), [item(1)]);
    }
}

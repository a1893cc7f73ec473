//! Whom the daemon is to be connected with. It forgets who left it, so it is told again.

use std::collections::BTreeMap;
use std::sync::Arc;

use libp2p::{Multiaddr, PeerId};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval};

use super::http::Http;
use crate::config::Member;
use crate::limits::{ADDRESSES_PER_PEER_MAX, KUBO_REDIAL, MEMBERS_MAX};

/// The members with known addresses. Clones are handles on the same list.
#[derive(Clone, Default)]
pub(super) struct Members(Arc<List>);

#[derive(Default)]
struct List {
    members: Mutex<BTreeMap<PeerId, Vec<Multiaddr>>>,
    changed: Notify,
}

impl Members {
    /// Puts a member on the list; false if that is full. One without addresses is left to find the
    /// daemon.
    pub(super) fn keep_connected(&self, member: Member) -> bool {
        let Member { peer, addresses } = member;
        let named = addresses
            .into_iter()
            .filter_map(|address| address.with_p2p(peer).ok());
        let addresses: Vec<_> = named.take(ADDRESSES_PER_PEER_MAX).collect();
        if addresses.is_empty() {
            return true;
        }
        let mut members = self.0.members.lock();
        if members.len() >= MEMBERS_MAX && !members.contains_key(&peer) {
            return false;
        }
        members.insert(peer, addresses);
        self.0.changed.notify_one();
        true
    }

    pub(super) fn forget(&self, peer: &PeerId) {
        self.0.members.lock().remove(peer);
    }

    /// Has the daemon connect with whoever is missing, for ever.
    pub(super) async fn keep(self, http: Arc<Http>) {
        let mut again = interval(KUBO_REDIAL);
        again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = again.tick() => {}
                () = self.0.changed.notified() => {}
            }
            self.connect_missing(&http).await;
        }
    }

    async fn connect_missing(&self, http: &Http) {
        let members = self.0.members.lock().clone();
        if members.is_empty() {
            return;
        }
        let connected = match http.peers().await {
            Ok(connected) => connected,
            Err(error) => {
                tracing::warn!(%error, "the daemon does not say with whom it is connected");
                return;
            }
        };
        for (peer, addresses) in members.iter().filter(|(peer, _)| !connected.contains(peer)) {
            for address in addresses {
                match http.connect(address).await {
                    Ok(()) => break,
                    Err(error) => tracing::debug!(%peer, %error, "not connected"),
                }
            }
        }
    }
}

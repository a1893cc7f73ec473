//! When to dial the members that are not connected. Pure; time is counted in ticks.

use std::collections::HashMap;

use libp2p::{Multiaddr, PeerId};

use crate::config::Member;
use crate::limits::{ADDRESSES_PER_PEER_MAX, REDIAL_TICKS_MAX, REDIAL_TICKS_MIN};

/// The members with known addresses.
#[derive(Debug, Default)]
pub(super) struct Keeper {
    members: HashMap<PeerId, Kept>,
    tick: u64,
}

#[derive(Debug)]
struct Kept {
    addresses: Vec<Multiaddr>,
    due_tick: u64,
    wait_ticks: u64,
}

impl Keeper {
    /// Keeps a member connected from now on; one without addresses is left to find us.
    pub(super) fn keep(&mut self, member: Member) {
        let Member { peer, addresses } = member;
        // All addresses of a peer are kept with its name, so that none is dialled twice.
        let named = addresses
            .into_iter()
            .filter_map(|address| address.with_p2p(peer).ok());
        let addresses: Vec<Multiaddr> = named.take(ADDRESSES_PER_PEER_MAX).collect();
        if addresses.is_empty() {
            self.members.remove(&peer);
        } else {
            let kept = Kept {
                addresses,
                due_tick: self.tick,
                wait_ticks: REDIAL_TICKS_MIN,
            };
            self.members.insert(peer, kept);
        }
    }

    pub(super) fn forget(&mut self, peer: &PeerId) {
        self.members.remove(peer);
    }

    /// The configured addresses of a member.
    pub(super) fn addresses(&self, peer: &PeerId) -> &[Multiaddr] {
        self.members.get(peer).map_or(&[], |kept| &kept.addresses)
    }

    /// A member is connected: the next loss of the connection is mended soon.
    pub(super) fn connected(&mut self, peer: &PeerId) {
        if let Some(kept) = self.members.get_mut(peer) {
            kept.wait_ticks = REDIAL_TICKS_MIN;
            kept.due_tick = self.tick + kept.wait_ticks;
        }
    }

    /// Time has gone on by one tick: whom to dial now. Each try doubles the wait for the next.
    pub(super) fn tick(&mut self, is_connected: impl Fn(&PeerId) -> bool) -> Vec<PeerId> {
        self.tick += 1;
        let mut due = Vec::new();
        for (peer, kept) in &mut self.members {
            if kept.due_tick <= self.tick && !is_connected(peer) {
                kept.due_tick = self.tick + kept.wait_ticks;
                kept.wait_ticks = (kept.wait_ticks * 2).min(REDIAL_TICKS_MAX);
                due.push(*peer);
            }
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dialling_slows_down_and_starts_over() {
        let peer = PeerId::random();
        let address = "/ip4/10.0.0.1/tcp/4001".parse().expect("an address");
        let mut keeper = Keeper::default();
        keeper.keep(Member {
            peer,
            addresses: vec![address],
        });
        let dials = |keeper: &mut Keeper, ticks: u64| {
            (1..=ticks)
                .filter(|_| !keeper.tick(|_| false).is_empty())
                .collect::<Vec<_>>()
        };
        assert_eq!(dials(&mut keeper, 30), [1, 5, 13, 29]);
        assert_eq!(dials(&mut keeper, 10 * REDIAL_TICKS_MAX).len(), 12);
        keeper.connected(&peer);
        assert_eq!(dials(&mut keeper, 10), [4, 8]);
        assert!(keeper.tick(|_| true).is_empty());
        keeper.forget(&peer);
        assert!(dials(&mut keeper, 2 * REDIAL_TICKS_MAX).is_empty());
    }

    #[test]
    fn a_member_without_addresses_is_not_dialled() {
        let mut keeper = Keeper::default();
        keeper.keep(Member {
            peer: PeerId::random(),
            addresses: Vec::new(),
        });
        assert!(keeper.tick(|_| false).is_empty());
    }
}

//! Which nodes of members are in the swarm, on whose word, until when. Pure: the caller acts on
//! the answers.

use std::collections::BTreeMap;

use stela_ipfs::PeerId;
use stela_protocol::Fingerprint;

use crate::limits::{ADMITTED_MAX, ADMITTED_PER_IDENTITY_MAX};

/// The admitted nodes.
#[derive(Debug, Default)]
pub(crate) struct Admissions {
    admitted: BTreeMap<PeerId, Admission>,
}

#[derive(Debug, Clone, Copy)]
struct Admission {
    by: Fingerprint,
    until_ms: u64,
}

impl Admissions {
    /// Admits a node on the word of `by`. Answers which node must leave for it, or `Err` when
    /// there is no room.
    pub(crate) fn admit(
        &mut self,
        peer: PeerId,
        by: Fingerprint,
        until_ms: u64,
    ) -> Result<Option<PeerId>, Full> {
        if let Some(admission) = self.admitted.get_mut(&peer) {
            admission.until_ms = admission.until_ms.max(until_ms);
            return Ok(None);
        }
        let own = self
            .admitted
            .iter()
            .filter(|(_, admission)| admission.by == by);
        let leaves = if own.clone().count() >= ADMITTED_PER_IDENTITY_MAX {
            own.min_by_key(|(_, admission)| admission.until_ms)
                .map(|(peer, _)| *peer)
        } else {
            None
        };
        match leaves {
            Some(leaves) => drop(self.admitted.remove(&leaves)),
            None if self.admitted.len() >= ADMITTED_MAX => return Err(Full),
            None => {}
        }
        self.admitted.insert(peer, Admission { by, until_ms });
        Ok(leaves)
    }

    /// Takes out those whose time has come and those whose word no longer counts.
    pub(crate) fn expire(
        &mut self,
        now_ms: u64,
        is_revoked: impl Fn(&Fingerprint) -> bool,
    ) -> Vec<PeerId> {
        let ends =
            |admission: &Admission| admission.until_ms <= now_ms || is_revoked(&admission.by);
        let ended: Vec<PeerId> = self
            .admitted
            .iter()
            .filter(|(_, a)| ends(a))
            .map(|(peer, _)| *peer)
            .collect();
        for peer in &ended {
            self.admitted.remove(peer);
        }
        ended
    }

    /// Whether a node is admitted.
    pub(crate) fn contains(&self, peer: &PeerId) -> bool {
        self.admitted.contains_key(peer)
    }
}

/// There is no room.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full;

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: Fingerprint = Fingerprint([1; 32]);
    const BOB: Fingerprint = Fingerprint([2; 32]);

    #[test]
    fn a_node_stays_until_its_time_or_while_its_sponsor_counts() {
        let mut admissions = Admissions::default();
        let (one, two) = (PeerId::random(), PeerId::random());
        admissions.admit(one, ALICE, 10).unwrap();
        admissions.admit(two, BOB, 20).unwrap();
        admissions.admit(one, BOB, 15).unwrap();
        assert_eq!(admissions.expire(14, |_| false), []);
        assert_eq!(admissions.expire(15, |_| false), [one]);
        assert_eq!(admissions.expire(16, |by| *by == BOB), [two]);
        assert!(!admissions.contains(&two));
    }

    #[test]
    fn one_identity_has_few_nodes_and_cannot_crowd_out_others() {
        let mut admissions = Admissions::default();
        let first = PeerId::random();
        assert_eq!(admissions.admit(first, ALICE, 1), Ok(None));
        for until_ms in 2..=ADMITTED_PER_IDENTITY_MAX as u64 {
            assert_eq!(
                admissions.admit(PeerId::random(), ALICE, until_ms),
                Ok(None)
            );
        }
        assert_eq!(
            admissions.admit(PeerId::random(), ALICE, 99),
            Ok(Some(first))
        );
        assert_eq!(admissions.admit(PeerId::random(), BOB, 1), Ok(None));
    }

    #[test]
    fn the_swarm_has_room_for_so_many() {
        let mut admissions = Admissions::default();
        for n in 0..ADMITTED_MAX {
            let mut by = [0; 32];
            by[..8].copy_from_slice(&(n as u64).to_be_bytes());
            admissions
                .admit(PeerId::random(), Fingerprint(by), 1)
                .unwrap();
        }
        assert_eq!(admissions.admit(PeerId::random(), ALICE, 1), Err(Full));
    }
}

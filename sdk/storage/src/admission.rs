//! Which nodes of members are in the swarm, on whose word, until when. Pure: the caller acts on
//! the answers.

use std::collections::BTreeMap;

use stela_identity::Certificate;
use stela_ipfs::PeerId;

use crate::limits::{ADMITTED_MAX, ADMITTED_PER_IDENTITY_MAX};

/// The admitted nodes.
#[derive(Debug, Default)]
pub(crate) struct Admissions {
    admitted: BTreeMap<PeerId, Admission>,
}

/// On whose word a node is admitted.
pub(crate) type Sponsor = Certificate;

#[derive(Debug, Clone)]
struct Admission {
    by: Sponsor,
    until_ms: u64,
}

impl Admissions {
    /// Admits a node on the word of `by`. Answers which node must leave for it, or `Err` when
    /// there is no room.
    pub(crate) fn admit(
        &mut self,
        peer: PeerId,
        by: Sponsor,
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
    pub(crate) fn expire(&mut self, now_ms: u64, counts: impl Fn(&Sponsor) -> bool) -> Vec<PeerId> {
        let ends = |admission: &Admission| admission.until_ms <= now_ms || !counts(&admission.by);
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
    use crate::fixture::Organization;

    fn sponsors(count: usize) -> Vec<Sponsor> {
        let organization = Organization::new("HospitalA");
        let issue = |_| organization.issue("practitioner").certificate.clone();
        (0..count).map(issue).collect()
    }

    #[test]
    fn a_node_stays_until_its_time_or_while_its_sponsor_counts() {
        let sponsors = sponsors(2);
        let (alice, bob) = (&sponsors[0], &sponsors[1]);
        let mut admissions = Admissions::default();
        let (one, two) = (PeerId::random(), PeerId::random());
        admissions.admit(one, alice.clone(), 10).unwrap();
        admissions.admit(two, bob.clone(), 20).unwrap();
        admissions.admit(one, bob.clone(), 15).unwrap();
        assert_eq!(admissions.expire(14, |_| true), []);
        assert_eq!(admissions.expire(15, |_| true), [one]);
        assert_eq!(admissions.expire(16, |by| by != bob), [two]);
        assert!(!admissions.contains(&two));
    }

    #[test]
    fn one_identity_has_few_nodes_and_cannot_crowd_out_others() {
        let sponsors = sponsors(2);
        let (alice, bob) = (&sponsors[0], &sponsors[1]);
        let mut admissions = Admissions::default();
        let first = PeerId::random();
        assert_eq!(admissions.admit(first, alice.clone(), 1), Ok(None));
        for until_ms in 2..=ADMITTED_PER_IDENTITY_MAX as u64 {
            let admitted = admissions.admit(PeerId::random(), alice.clone(), until_ms);
            assert_eq!(admitted, Ok(None));
        }
        assert_eq!(
            admissions.admit(PeerId::random(), alice.clone(), 99),
            Ok(Some(first))
        );
        assert_eq!(admissions.admit(PeerId::random(), bob.clone(), 1), Ok(None));
    }

    #[test]
    fn the_swarm_has_room_for_so_many() {
        let sponsors = sponsors(ADMITTED_MAX.div_ceil(ADMITTED_PER_IDENTITY_MAX) + 1);
        let mut admissions = Admissions::default();
        for n in 0..ADMITTED_MAX {
            let by = &sponsors[n / ADMITTED_PER_IDENTITY_MAX];
            admissions.admit(PeerId::random(), by.clone(), 1).unwrap();
        }
        let last = sponsors.last().unwrap().clone();
        assert_eq!(admissions.admit(PeerId::random(), last, 1), Err(Full));
    }
}

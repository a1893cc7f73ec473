//! Compares the state hash with what other peers report.
//!
//! Whoever is contradicted at one height by a quorum of organizations that agree with one another
//! has a wrong state. The quorum is a majority of the channel's organizations, so with two of them
//! nobody can be outvoted.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use stela_protocol::{Hash32, OrgId};

use crate::limits::{CLAIMS_AHEAD_MAX, RECENT_STATES_MAX};

/// What other peers report about the state, beside what this one found.
pub(crate) struct Alarm {
    quorum: AtomicUsize,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// State hashes found here, by height.
    own: BTreeMap<u64, Hash32>,
    /// What organizations reported, by height. Per height the newest word of each counts.
    claims: BTreeMap<u64, BTreeMap<OrgId, Hash32>>,
}

/// Another organization reports another state hash for the same height.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Contradiction {
    /// The height in blocks.
    pub(crate) height: u64,
    /// Who reported another hash.
    pub(crate) organization: OrgId,
    /// The hash that was reported.
    pub(crate) claimed: Hash32,
    /// Whether a quorum reports the same other hash: then this peer is wrong.
    pub(crate) outvoted: bool,
}

impl Alarm {
    /// For a channel of so many organizations.
    pub(crate) fn new(organizations: usize) -> Self {
        let alarm = Self {
            quorum: AtomicUsize::new(0),
            inner: Mutex::default(),
        };
        alarm.resize(organizations);
        alarm
    }

    /// The channel has so many organizations from now on.
    pub(crate) fn resize(&self, organizations: usize) {
        let majority = organizations / 2 + 1;
        self.quorum.store(majority, Ordering::Relaxed);
    }

    /// Records what was found here; returns reports that contradict it.
    pub(crate) fn found(&self, height: u64, state_hash: Hash32) -> Vec<Contradiction> {
        let mut inner = self.inner.lock();
        inner.own.insert(height, state_hash);
        if inner.own.len() > RECENT_STATES_MAX {
            inner.own.pop_first();
        }
        let oldest = inner.own.first_key_value().map_or(0, |(height, _)| *height);
        inner.claims.retain(|height, _| *height >= oldest);
        let claimed: Vec<OrgId> = inner
            .claims
            .get(&height)
            .into_iter()
            .flat_map(|c| c.keys().cloned())
            .collect();
        claimed
            .into_iter()
            .filter_map(|o| self.contradiction(&inner, height, o))
            .collect()
    }

    /// Records what another peer reports; says if it contradicts what was found here.
    pub(crate) fn reported(
        &self,
        organization: &OrgId,
        height: u64,
        state_hash: Hash32,
    ) -> Option<Contradiction> {
        let mut inner = self.inner.lock();
        let oldest = inner.own.first_key_value().map_or(0, |(height, _)| *height);
        let newest = inner.own.last_key_value().map_or(0, |(height, _)| *height);
        if height < oldest || height > newest.saturating_add(CLAIMS_AHEAD_MAX) {
            return None;
        }
        inner
            .claims
            .entry(height)
            .or_default()
            .insert(organization.clone(), state_hash);
        self.contradiction(&inner, height, organization.clone())
    }

    fn contradiction(
        &self,
        inner: &Inner,
        height: u64,
        organization: OrgId,
    ) -> Option<Contradiction> {
        let claims = inner.claims.get(&height)?;
        let (own, claimed) = (inner.own.get(&height)?, claims.get(&organization)?);
        if own == claimed {
            return None;
        }
        let agreeing = claims.values().filter(|other| *other == claimed).count();
        Some(Contradiction {
            height,
            claimed: *claimed,
            organization,
            outvoted: agreeing >= self.quorum.load(Ordering::Relaxed),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RIGHT: Hash32 = Hash32([1; 32]);
    const WRONG: Hash32 = Hash32([2; 32]);

    fn org(name: &str) -> OrgId {
        OrgId::new(name).unwrap()
    }

    #[test]
    fn one_contradiction_is_an_alarm_and_a_majority_outvotes() {
        let alarm = Alarm::new(3);
        assert!(alarm.found(5, WRONG).is_empty());
        let first = alarm.reported(&org("B"), 5, RIGHT).unwrap();
        assert!(!first.outvoted);
        assert!(!alarm.reported(&org("B"), 5, RIGHT).unwrap().outvoted);
        assert!(alarm.reported(&org("C"), 5, RIGHT).unwrap().outvoted);
        assert!(alarm.reported(&org("C"), 5, WRONG).is_none());
    }

    #[test]
    fn two_others_who_disagree_with_each_other_outvote_nobody() {
        let alarm = Alarm::new(3);
        alarm.found(5, WRONG);
        assert!(!alarm.reported(&org("B"), 5, RIGHT).unwrap().outvoted);
        assert!(
            !alarm
                .reported(&org("C"), 5, Hash32([3; 32]))
                .unwrap()
                .outvoted
        );
    }

    #[test]
    fn what_is_reported_ahead_is_compared_later_and_bounded() {
        let alarm = Alarm::new(3);
        alarm.found(5, RIGHT);
        assert!(alarm.reported(&org("B"), 6, WRONG).is_none());
        assert!(alarm.reported(&org("B"), 4, WRONG).is_none());
        assert!(
            alarm
                .reported(&org("B"), 6 + CLAIMS_AHEAD_MAX, WRONG)
                .is_none()
        );
        let found = alarm.found(6, RIGHT);
        assert_eq!(found.len(), 1);
        assert!(!found[0].outvoted);
        assert_eq!(alarm.inner.lock().claims.len(), 1);
    }
}

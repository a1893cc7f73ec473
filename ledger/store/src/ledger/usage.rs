//! How much waits for transactions that may never be committed, and for whom.

use std::collections::BTreeMap;

use stela_protocol::Fingerprint;

use super::records::PendingSide;
use crate::error::StoreError;
use crate::limits::{
    SIDE_PENDING_BYTES_MAX, SIDE_PENDING_MAX, SIDE_PENDING_PER_CREATOR_BYTES_MAX,
    SIDE_PENDING_PER_CREATOR_MAX,
};

/// The pending side items of a ledger: all together, and of each creator. Creators without any are
/// not listed, so there are never more of them than items.
#[derive(Debug, Default)]
pub(super) struct Usage {
    total: Share,
    creators: BTreeMap<Fingerprint, Share>,
}

/// A number of items and their bytes.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) items: usize,
    pub(super) bytes: usize,
}

impl Share {
    fn with(self, other: Self) -> Self {
        Self {
            items: self.items.saturating_add(other.items),
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }

    fn without(self, other: Self) -> Self {
        Self {
            items: self.items.saturating_sub(other.items),
            bytes: self.bytes.saturating_sub(other.bytes),
        }
    }
}

impl Usage {
    /// Whether that much more of this creator may wait.
    pub(super) fn check(&self, creator: &Fingerprint, more: Share) -> Result<(), StoreError> {
        let total = self.total.with(more);
        let own = self.of(creator).with(more);
        let checks = [
            ("side items of all creators", total.items, SIDE_PENDING_MAX),
            (
                "bytes of side items of all creators",
                total.bytes,
                SIDE_PENDING_BYTES_MAX,
            ),
            (
                "side items of one creator",
                own.items,
                SIDE_PENDING_PER_CREATOR_MAX,
            ),
            (
                "bytes of side items of one creator",
                own.bytes,
                SIDE_PENDING_PER_CREATOR_BYTES_MAX,
            ),
        ];
        let over = checks.into_iter().find(|(_, asked, limit)| asked > limit);
        over.map_or(Ok(()), |(what, _, limit)| {
            Err(StoreError::SideFull { what, limit })
        })
    }

    pub(super) fn add(&mut self, creator: Fingerprint, more: Share) {
        if more.items == 0 {
            return;
        }
        self.total = self.total.with(more);
        let own = self.creators.entry(creator).or_default();
        *own = own.with(more);
    }

    pub(super) fn remove(&mut self, pending: &PendingSide) {
        let gone = Share {
            items: 1,
            bytes: pending.bytes,
        };
        self.withdraw(&pending.creator, gone);
    }

    /// That much less of this creator waits.
    pub(super) fn withdraw(&mut self, creator: &Fingerprint, gone: Share) {
        self.total = self.total.without(gone);
        if let Some(own) = self.creators.get_mut(creator) {
            *own = own.without(gone);
            if own.items == 0 {
                self.creators.remove(creator);
            }
        }
    }

    fn of(&self, creator: &Fingerprint) -> Share {
        self.creators.get(creator).copied().unwrap_or_default()
    }

    #[cfg(test)]
    pub(super) fn total(&self) -> Share {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stela_protocol::{Hash32, TransactionId};

    fn creator(seed: u8) -> Fingerprint {
        Fingerprint([seed; 32])
    }

    fn share(items: usize, bytes: usize) -> Share {
        Share { items, bytes }
    }

    #[test]
    fn one_creator_cannot_take_the_room_of_all() {
        let mut usage = Usage::default();
        let most = share(
            SIDE_PENDING_PER_CREATOR_MAX,
            SIDE_PENDING_PER_CREATOR_BYTES_MAX,
        );
        assert_eq!(usage.check(&creator(1), most), Ok(()));
        usage.add(creator(1), most);
        for more in [share(1, 0), share(0, 1)] {
            let refused = usage.check(&creator(1), more).unwrap_err();
            assert!(matches!(refused, StoreError::SideFull { .. }));
            assert!(refused.is_retryable());
            assert_eq!(usage.check(&creator(2), more), Ok(()));
        }
    }

    #[test]
    fn all_creators_together_are_bounded() {
        let mut usage = Usage::default();
        let most = share(
            SIDE_PENDING_PER_CREATOR_MAX,
            SIDE_PENDING_PER_CREATOR_BYTES_MAX,
        );
        let mut seed = 0;
        while usage.check(&creator(seed), most).is_ok() {
            usage.add(creator(seed), most);
            seed += 1;
        }
        assert!(usage.total.items <= SIDE_PENDING_MAX);
        assert!(usage.total.bytes <= SIDE_PENDING_BYTES_MAX);
        assert!(seed > 1);
    }

    #[test]
    fn what_is_gone_makes_room_and_leaves_no_trace() {
        let mut usage = Usage::default();
        usage.add(creator(1), share(1, 7));
        usage.add(creator(1), share(0, 0));
        usage.remove(&PendingSide {
            commitment: Hash32([2; 32]),
            transaction: TransactionId([3; 32]),
            received_ms: 1,
            creator: creator(1),
            bytes: 7,
        });
        assert_eq!(usage.total(), Share::default());
        assert!(usage.creators.is_empty());
    }
}

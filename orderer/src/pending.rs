//! Envelopes that were admitted here and not yet seen in a committed block.
//!
//! They are kept, within bounds, until they are seen or their time has passed: a leader takes them
//! into blocks in the order in which they came, and everybody else forwards them to the leader
//! again and again. What a lost block carried returns to its old place.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{DefaultHasher, Hasher};

use bytes::Bytes;
use stela_protocol::TransactionId;
use stela_protocol::transaction::{Body, Envelope};

use crate::limits::{
    COMMITTED_IDS_MAX, FORWARD_AGAIN_TICKS, FORWARDS_PER_TICK_MAX, PENDING_BYTES_MAX,
    PENDING_ENVELOPES_MAX,
};

/// An envelope that passed admission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admitted {
    /// Its transaction.
    pub id: TransactionId,
    /// By its creator's clock.
    pub timestamp_ms: u64,
    /// The envelope as it came.
    pub bytes: Bytes,
    /// Whether it has to stand alone in its block, as a change of the configuration has to.
    pub alone: bool,
    digest: u64,
}

impl Admitted {
    /// An envelope that was parsed, with the bytes that it came as.
    pub fn parsed(envelope: &Envelope, bytes: Bytes) -> Self {
        let header = envelope.header();
        Self {
            alone: matches!(envelope.body, Body::Config(_)),
            ..Self::new(header.id(), header.timestamp_ms, bytes)
        }
    }

    /// An envelope that may share its block, with what was found in it.
    pub fn new(id: TransactionId, timestamp_ms: u64, bytes: Bytes) -> Self {
        let digest = digest(&bytes);
        Self {
            id,
            timestamp_ms,
            bytes,
            alone: false,
            digest,
        }
    }
}

/// Tells an envelope sent twice from two envelopes with one id, which only their creator can make.
fn digest(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

/// What became of an envelope that was handed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It waits now.
    New,
    /// The same one waits already, or is in a block.
    Known,
    /// Another one with the same id waits already, or is in a block.
    Conflict,
    /// There is no room.
    Full,
}

/// The envelopes of one channel.
#[derive(Default)]
pub struct Pending {
    waiting: BTreeMap<u64, Admitted>,
    proposed: BTreeMap<u64, Admitted>,
    places: HashMap<TransactionId, u64>,
    bytes: usize,
    next: u64,
    forwards: VecDeque<(u64, u64)>,
    committed: Committed,
}

impl Pending {
    /// Hands in an envelope.
    pub fn take(&mut self, envelope: Admitted) -> Taken {
        let same = |known: u64| {
            if known == envelope.digest {
                Taken::Known
            } else {
                Taken::Conflict
            }
        };
        if let Some(digest) = self.committed.digests.get(&envelope.id) {
            return same(*digest);
        }
        if let Some(place) = self.places.get(&envelope.id) {
            let known = self.waiting.get(place).or_else(|| self.proposed.get(place));
            return known.map_or(Taken::Known, |known| same(known.digest));
        }
        if self.places.len() >= PENDING_ENVELOPES_MAX
            || self.bytes + envelope.bytes.len() > PENDING_BYTES_MAX
        {
            return Taken::Full;
        }
        self.places.insert(envelope.id, self.next);
        self.bytes += envelope.bytes.len();
        self.waiting.insert(self.next, envelope);
        self.next += 1;
        Taken::New
    }

    /// How many envelopes wait for a block.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Whether the first that waits has to stand alone.
    pub fn next_stands_alone(&self) -> bool {
        self.waiting.values().next().is_some_and(|next| next.alone)
    }

    /// The sizes of the envelopes that wait, in their order, up to one that has to stand alone.
    pub fn sizes(&self) -> impl Iterator<Item = usize> {
        let waiting = self.waiting.values();
        waiting
            .take_while(|envelope| !envelope.alone)
            .map(|envelope| envelope.bytes.len())
    }

    /// Moves the first `count` envelopes that wait into a block that is to be proposed.
    pub fn propose(&mut self, count: usize) -> Vec<Bytes> {
        let mut envelopes = Vec::with_capacity(count);
        while envelopes.len() < count
            && let Some((place, envelope)) = self.waiting.pop_first()
        {
            envelopes.push(envelope.bytes.clone());
            self.proposed.insert(place, envelope);
        }
        envelopes
    }

    /// Whatever was proposed and not seen in a block waits again, where it was.
    pub fn restore(&mut self) {
        self.waiting.append(&mut self.proposed);
    }

    /// This envelope is in a committed block with that time.
    pub fn committed(&mut self, id: TransactionId, envelope: &[u8], block_time_ms: u64) {
        if let Some(place) = self.places.remove(&id) {
            let known = self
                .waiting
                .remove(&place)
                .or_else(|| self.proposed.remove(&place));
            self.bytes -= known.map_or(0, |known| known.bytes.len());
        }
        self.committed.add(id, digest(envelope), block_time_ms);
    }

    /// Forgets what can no longer be valid.
    pub fn expire(&mut self, now_ms: u64, window_ms: u64) {
        let (places, bytes) = (&mut self.places, &mut self.bytes);
        self.waiting.retain(|_, envelope| {
            let keep = envelope.timestamp_ms.saturating_add(window_ms) >= now_ms;
            if !keep {
                places.remove(&envelope.id);
                *bytes -= envelope.bytes.len();
            }
            keep
        });
        self.committed.expire(now_ms, window_ms);
    }

    /// This envelope was forwarded, and is to be forwarded again if it is not seen in time.
    pub fn forwarded(&mut self, id: &TransactionId, tick: u64) {
        if let Some(place) = self.places.get(id) {
            self.forwards
                .push_back((tick + FORWARD_AGAIN_TICKS, *place));
        }
    }

    /// Everything that waits is to be forwarded, because there is a new leader.
    pub fn forward_all(&mut self, tick: u64) {
        self.forwards = self.waiting.keys().map(|place| (tick, *place)).collect();
    }

    /// What is to be forwarded now.
    pub fn due(&mut self, tick: u64) -> Vec<Bytes> {
        let mut due = Vec::new();
        while due.len() < FORWARDS_PER_TICK_MAX
            && let Some((_, place)) = self.forwards.pop_front_if(|(at, _)| *at <= tick)
        {
            if let Some(envelope) = self.waiting.get(&place) {
                due.push(envelope.bytes.clone());
                self.forwards.push_back((tick + FORWARD_AGAIN_TICKS, place));
            }
        }
        due
    }

    /// Nothing is to be forwarded, because this node leads.
    pub fn keep_all(&mut self) {
        self.forwards.clear();
    }
}

/// The ids in committed blocks that could still come a second time, in the order of the blocks.
#[derive(Default)]
struct Committed {
    digests: HashMap<TransactionId, u64>,
    order: VecDeque<(u64, TransactionId)>,
}

impl Committed {
    fn add(&mut self, id: TransactionId, digest: u64, block_time_ms: u64) {
        if let Entry::Vacant(vacant) = self.digests.entry(id) {
            vacant.insert(digest);
            self.order.push_back((block_time_ms, id));
        }
        while self.order.len() > COMMITTED_IDS_MAX {
            self.forget();
        }
    }

    /// A timestamp may lie a window after its block, and is accepted for a window after itself.
    fn expire(&mut self, now_ms: u64, window_ms: u64) {
        let past = |(time, _): &(u64, _)| time.saturating_add(2 * window_ms) < now_ms;
        while self.order.front().is_some_and(past) {
            self.forget();
        }
    }

    fn forget(&mut self) {
        if let Some((_, id)) = self.order.pop_front() {
            self.digests.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope(n: u8) -> Admitted {
        Admitted::new(TransactionId([n; 32]), u64::from(n), vec![n; 10].into())
    }

    fn filled(numbers: impl IntoIterator<Item = u8>) -> Pending {
        let mut pending = Pending::default();
        for n in numbers {
            assert_eq!(pending.take(envelope(n)), Taken::New);
        }
        pending
    }

    fn bytes(numbers: impl IntoIterator<Item = u8>) -> Vec<Bytes> {
        numbers.into_iter().map(|n| envelope(n).bytes).collect()
    }

    #[test]
    fn a_lost_block_returns_to_its_place() {
        let mut pending = filled(1..=4);
        assert_eq!(pending.propose(2), bytes(1..=2));
        assert_eq!(pending.propose(1), bytes(3..=3));
        pending.committed(envelope(2).id, &envelope(2).bytes, 0);
        pending.restore();
        assert_eq!(pending.propose(9), bytes([1, 3, 4]));
    }

    #[test]
    fn what_stands_alone_shares_its_block_with_nobody() {
        let mut pending = filled(1..=2);
        let alone = Admitted {
            alone: true,
            ..envelope(3)
        };
        pending.take(alone);
        pending.take(envelope(4));
        assert!(!pending.next_stands_alone());
        assert_eq!(pending.sizes().count(), 2);
        pending.propose(2);
        assert!(pending.next_stands_alone());
        assert_eq!(pending.sizes().count(), 0);
        assert_eq!(pending.propose(1), bytes([3]));
        assert_eq!(pending.sizes().count(), 1);
    }

    #[test]
    fn duplicates_are_known_until_they_expire() {
        let mut pending = filled([1]);
        let other = Admitted::new(envelope(1).id, 1, Bytes::from_static(b"other"));
        let mut check = |expect: [Taken; 2], change: fn(&mut Pending)| {
            change(&mut pending);
            assert_eq!(
                [pending.take(envelope(1)), pending.take(other.clone())],
                expect
            );
        };
        let known = [Taken::Known, Taken::Conflict];
        check(known, |_| ());
        check(known, |pending| drop(pending.propose(1)));
        check(known, |p| {
            p.committed(envelope(1).id, &envelope(1).bytes, 1_000)
        });
        check(known, |pending| pending.expire(3_000, 1_000));
        check([Taken::New, Taken::Conflict], |pending| {
            pending.expire(3_001, 1_000)
        });
    }

    #[test]
    fn what_cannot_become_valid_is_forgotten() {
        let mut pending = filled([10, 20]);
        pending.expire(25, 10);
        assert_eq!(pending.propose(9), bytes([20]));
        assert_eq!((pending.places.len(), pending.bytes), (1, 10));
    }

    #[test]
    fn room_is_bounded() {
        let mut pending = Pending::default();
        let large = |n| {
            let bytes = vec![n; PENDING_BYTES_MAX / 2].into();
            Admitted::new(TransactionId([n; 32]), 0, bytes)
        };
        assert_eq!(pending.take(large(1)), Taken::New);
        assert_eq!(pending.take(large(2)), Taken::New);
        assert_eq!(pending.take(envelope(3)), Taken::Full);
        pending.committed(large(1).id, &large(1).bytes, 0);
        assert_eq!(pending.take(envelope(3)), Taken::New);
    }

    #[test]
    fn what_is_not_seen_is_forwarded_again() {
        let mut pending = filled(1..=2);
        pending.forwarded(&envelope(1).id, 5);
        pending.forwarded(&envelope(2).id, 6);
        assert!(pending.due(5).is_empty());
        assert_eq!(pending.due(5 + FORWARD_AGAIN_TICKS), bytes([1]));
        pending.committed(envelope(1).id, &envelope(1).bytes, 0);
        pending.forward_all(40);
        assert_eq!(pending.due(40), bytes([2]));
        pending.keep_all();
        assert!(pending.due(u64::MAX).is_empty());
    }

    #[test]
    fn remembered_ids_are_bounded() {
        let mut committed = Committed::default();
        for n in 0..COMMITTED_IDS_MAX as u64 + 10 {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&n.to_be_bytes());
            committed.add(TransactionId(id), n, 0);
        }
        assert_eq!(committed.digests.len(), COMMITTED_IDS_MAX);
        assert_eq!(committed.order.len(), COMMITTED_IDS_MAX);
    }
}

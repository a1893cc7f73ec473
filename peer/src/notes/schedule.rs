//! Which note is acted on next, and when again after a failure. Time and randomness are passed in.

use std::collections::BTreeMap;

use stela_protocol::TransactionId;

use crate::backoff::BackOff;
use crate::limits::{NOTE_PAUSE_MAX, NOTE_PAUSE_MIN};

/// The pauses of one channel's notes. After a restart all of them begin anew.
#[derive(Debug)]
pub(super) struct Schedule {
    /// After what concerns all notes alike.
    all: Pause,
    /// After what concerns one note; so never more than there are notes.
    one: BTreeMap<TransactionId, Pause>,
}

#[derive(Debug)]
struct Pause {
    until_ms: u64,
    back_off: BackOff,
}

impl Pause {
    fn new() -> Self {
        Self {
            until_ms: 0,
            back_off: BackOff::new(NOTE_PAUSE_MIN, NOTE_PAUSE_MAX),
        }
    }

    fn begin(&mut self, now_ms: u64, random: f64) {
        let pause = self.back_off.next(random).as_millis();
        let pause_ms = u64::try_from(pause).unwrap_or(u64::MAX);
        self.until_ms = now_ms.saturating_add(pause_ms);
    }
}

impl Schedule {
    pub(super) fn new() -> Self {
        Self {
            all: Pause::new(),
            one: BTreeMap::new(),
        }
    }

    /// The first of the notes that are due, in ascending order, which does not pause. Those that
    /// are due no more are forgotten.
    pub(super) fn next(&mut self, now_ms: u64, due: &[TransactionId]) -> Option<TransactionId> {
        self.one.retain(|id, _| due.binary_search(id).is_ok());
        let pauses = |id: &TransactionId| {
            let pause = self.one.get(id);
            pause.is_some_and(|pause| now_ms < pause.until_ms)
        };
        let ready = now_ms >= self.all.until_ms;
        due.iter().find(|id| ready && !pauses(id)).copied()
    }

    /// A note that was acted on.
    pub(super) fn settled(&mut self, id: &TransactionId) {
        self.one.remove(id);
        self.all = Pause::new();
    }

    /// This one failed; the others need not wait for it.
    pub(super) fn refused(&mut self, id: TransactionId, now_ms: u64, random: f64) {
        let pause = self.one.entry(id).or_insert_with(Pause::new);
        pause.begin(now_ms, random);
        self.all = Pause::new();
    }

    /// None could be acted on.
    pub(super) fn unavailable(&mut self, now_ms: u64, random: f64) {
        self.all.begin(now_ms, random);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_that_fails_waits_longer_each_time_and_alone() {
        let [a, b] = [1, 2].map(|n| TransactionId([n; 32]));
        let (min, max) = (
            NOTE_PAUSE_MIN.as_millis() as u64,
            NOTE_PAUSE_MAX.as_millis() as u64,
        );
        let mut schedule = Schedule::new();
        assert_eq!(schedule.next(0, &[]), None);
        assert_eq!(schedule.next(0, &[a, b]), Some(a));
        schedule.refused(a, 0, 1.0);
        assert_eq!(schedule.next(min - 1, &[a, b]), Some(b));
        assert_eq!(schedule.next(min, &[a, b]), Some(a));
        schedule.refused(a, min, 1.0);
        assert_eq!(schedule.next(3 * min - 1, &[a]), None);
        assert_eq!(schedule.next(3 * min, &[a]), Some(a));
        for _ in 0..60 {
            schedule.refused(a, 0, 1.0);
        }
        assert_eq!(schedule.next(max - 1, &[a]), None);
        assert_eq!(schedule.next(max, &[a]), Some(a));
        schedule.settled(&a);
        assert!(schedule.one.is_empty());
        // Its transaction came after all.
        schedule.refused(b, 0, 1.0);
        assert_eq!(schedule.next(0, &[]), None);
        assert!(schedule.one.is_empty());
    }

    #[test]
    fn what_concerns_all_lets_all_wait_until_one_succeeds() {
        let [a, b] = [1, 2].map(|n| TransactionId([n; 32]));
        let min = NOTE_PAUSE_MIN.as_millis() as u64;
        let mut schedule = Schedule::new();
        schedule.unavailable(0, 1.0);
        assert_eq!(schedule.next(min - 1, &[a, b]), None);
        assert_eq!(schedule.next(min, &[a, b]), Some(a));
        schedule.unavailable(min, 1.0);
        assert_eq!(schedule.next(3 * min - 1, &[a, b]), None);
        schedule.settled(&a);
        assert_eq!(schedule.next(min, &[b]), Some(b));
        schedule.unavailable(min, 1.0);
        assert_eq!(schedule.next(2 * min, &[b]), Some(b));
    }
}

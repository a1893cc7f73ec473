//! Pauses and deadlines.

use std::time::Duration;

use tokio::time::Instant;

use crate::limits::{BACK_OFF_MAX, BACK_OFF_MIN};

/// Pauses that double up to a limit; each is shortened at random by up to a half, so that clients
/// that failed together do not come back together.
#[derive(Debug, Default)]
pub(crate) struct BackOff {
    attempts: u32,
}

impl BackOff {
    /// Pauses before the next attempt.
    pub(crate) async fn pause(&mut self) {
        tokio::time::sleep(self.next(rand::random())).await;
    }

    /// Attempts since the last [`reset`](Self::reset).
    pub(crate) fn attempts(&self) -> u32 {
        self.attempts
    }

    /// The last attempt brought something: the next pause is short again.
    pub(crate) fn reset(&mut self) {
        self.attempts = 0;
    }

    fn next(&mut self, random: u8) -> Duration {
        let doubled = BACK_OFF_MIN.saturating_mul(1 << self.attempts.min(16));
        self.attempts = self.attempts.saturating_add(1);
        let pause = doubled.min(BACK_OFF_MAX);
        pause - pause / 2 * u32::from(random) / u32::from(u8::MAX)
    }
}

/// A moment until which something is tried.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline {
    begin: Instant,
    limit: Duration,
}

impl Deadline {
    /// The moment `limit` from now.
    pub(crate) fn after(limit: Duration) -> Self {
        Self {
            begin: Instant::now(),
            limit,
        }
    }

    /// What is left; zero when it has passed.
    pub(crate) fn remaining(&self) -> Duration {
        self.limit.saturating_sub(self.begin.elapsed())
    }

    /// Whether it has passed.
    pub(crate) fn has_passed(&self) -> bool {
        self.remaining().is_zero()
    }

    /// Pauses, but not beyond the deadline.
    pub(crate) async fn pause(&self, back_off: &mut BackOff) {
        let _ = tokio::time::timeout(self.remaining(), back_off.pause()).await;
    }

    /// The whole time it gave, in milliseconds.
    pub(crate) fn limit_ms(&self) -> u64 {
        u64::try_from(self.limit.as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_limit_and_start_over() {
        let mut back_off = BackOff::default();
        let full: Vec<Duration> = (0..40).map(|_| back_off.next(0)).collect();
        assert_eq!(
            full[..3],
            [BACK_OFF_MIN, BACK_OFF_MIN * 2, BACK_OFF_MIN * 4]
        );
        assert_eq!(full[39], BACK_OFF_MAX);
        back_off.reset();
        assert_eq!(back_off.next(u8::MAX), BACK_OFF_MIN / 2);
    }
}

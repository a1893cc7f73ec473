//! Pauses between attempts.

use std::time::Duration;

/// Pauses that double, up to a bound, each shortened at random so that nodes that failed together
/// do not come back together.
#[derive(Debug, Clone)]
pub(crate) struct BackOff {
    min: Duration,
    max: Duration,
    current: Duration,
}

impl BackOff {
    pub(crate) fn new(min: Duration, max: Duration) -> Self {
        Self {
            min,
            max,
            current: min,
        }
    }

    /// After a success the next pause is the shortest again.
    pub(crate) fn reset(&mut self) {
        self.current = self.min;
    }

    /// The next pause. `random` lies between 0 and 1; half of the pause is left to it.
    pub(crate) fn next(&mut self, random: f64) -> Duration {
        let pause = self.current.mul_f64(0.5 + 0.5 * random.clamp(0.0, 1.0));
        self.current = self.current.saturating_mul(2).min(self.max);
        pause
    }

    /// Waits for the next pause.
    pub(crate) async fn wait(&mut self) {
        tokio::time::sleep(self.next(rand::random())).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_bound_and_start_again() {
        let mut back_off = BackOff::new(Duration::from_millis(100), Duration::from_millis(300));
        let pauses: Vec<u128> = (0..4).map(|_| back_off.next(1.0).as_millis()).collect();
        assert_eq!(pauses, [100, 200, 300, 300]);
        back_off.reset();
        assert_eq!(back_off.next(0.0).as_millis(), 50);
    }
}

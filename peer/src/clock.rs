//! The node's clock, passed in so that tests and simulations have their own.

use std::fmt;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

/// Tells the time in milliseconds since the Unix epoch. Copies tell the same time.
///
/// It judges what is only this node's business: whether a request is fresh. Transactions in blocks
/// are judged by the block's time.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> u64 + Send + Sync>);

impl Clock {
    /// A clock that answers what `now_ms` does.
    pub fn new(now_ms: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(now_ms))
    }

    /// The machine's clock.
    pub fn system() -> Self {
        #[allow(
            clippy::disallowed_methods,
            reason = "this is the driver that owns the clock"
        )]
        Self::new(|| {
            let now = std::time::SystemTime::now();
            let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        })
    }

    /// Now.
    pub fn now_ms(&self) -> u64 {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clock({} ms)", self.now_ms())
    }
}

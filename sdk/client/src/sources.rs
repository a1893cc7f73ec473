//! Where time and randomness come from.

use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use stela_protocol::{Nonce, limits};

type Fill = dyn Fn(&mut [u8]) + Send + Sync;

/// The clock and the randomness of a client. By default the system's; a simulation passes its own.
#[derive(Clone)]
pub struct Sources {
    now_ms: Arc<dyn Fn() -> u64 + Send + Sync>,
    fill: Arc<Fill>,
}

impl Sources {
    /// Takes a clock in milliseconds since the Unix epoch, and a source of random bytes. Nonces
    /// and salts come from the latter: if it repeats itself, transaction ids do, and salted
    /// commitments can be guessed.
    pub fn new(
        now_ms: impl Fn() -> u64 + Send + Sync + 'static,
        fill: impl Fn(&mut [u8]) + Send + Sync + 'static,
    ) -> Self {
        Self {
            now_ms: Arc::new(now_ms),
            fill: Arc::new(fill),
        }
    }

    /// Milliseconds since the Unix epoch.
    pub fn now_ms(&self) -> u64 {
        (self.now_ms)()
    }

    /// A fresh nonce.
    pub fn nonce(&self) -> Nonce {
        let mut nonce = [0; limits::NONCE_BYTES];
        (self.fill)(&mut nonce);
        Nonce(nonce)
    }

    pub(crate) fn salt(&self) -> [u8; limits::SALT_BYTES] {
        let mut salt = [0; limits::SALT_BYTES];
        (self.fill)(&mut salt);
        salt
    }
}

impl Default for Sources {
    fn default() -> Self {
        Self::new(system_time_ms, |bytes| rand::fill(bytes))
    }
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sources")
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "the one place where this crate reads the clock"
)]
fn system_time_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

//! Refuses a signed request that was made before.

use std::collections::BTreeSet;

use parking_lot::Mutex;
use stela_protocol::transaction::TransactionHeader;
use stela_protocol::{ErrorCode, RpcError, TransactionId};

/// Remembers requests for as long as their timestamps would be accepted.
pub(crate) struct Replays {
    seen: Mutex<BTreeSet<(u64, TransactionId)>>,
    capacity: usize,
}

impl Replays {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            seen: Mutex::default(),
            capacity,
        }
    }

    /// Accepts a request once. Its timestamp lies within `window_ms` of `now_ms`, which the caller
    /// has checked.
    ///
    /// # Errors
    /// `Replayed` the second time; `Overloaded` when no more can be remembered.
    pub(crate) fn admit(
        &self,
        header: &TransactionHeader,
        now_ms: u64,
        window_ms: u64,
    ) -> Result<(), RpcError> {
        let mut seen = self.seen.lock();
        let oldest = now_ms.saturating_sub(window_ms);
        while seen
            .first()
            .is_some_and(|(timestamp_ms, _)| *timestamp_ms < oldest)
        {
            seen.pop_first();
        }
        if seen.len() >= self.capacity {
            let why = "too many requests within the time window; try again later";
            return Err(RpcError::new(ErrorCode::Overloaded, why));
        }
        if !seen.insert((header.timestamp_ms, header.id())) {
            let why = "this request was made before; sign it again with a new nonce";
            return Err(RpcError::new(ErrorCode::Replayed, why));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stela_protocol::{ChannelId, Fingerprint, Nonce};

    fn header(nonce: u8, timestamp_ms: u64) -> TransactionHeader {
        TransactionHeader {
            channel: ChannelId::new("care").unwrap(),
            nonce: Nonce([nonce; 24]),
            creator: Fingerprint([1; 32]),
            timestamp_ms,
        }
    }

    #[test]
    fn a_request_is_accepted_once_while_its_time_is() {
        let replays = Replays::new(2);
        let code = |result: Result<(), RpcError>| result.map_err(|error| error.code);
        assert_eq!(code(replays.admit(&header(1, 100), 100, 10)), Ok(()));
        assert_eq!(
            code(replays.admit(&header(1, 100), 110, 10)),
            Err(ErrorCode::Replayed)
        );
        assert_eq!(code(replays.admit(&header(2, 105), 105, 10)), Ok(()));
        assert_eq!(
            code(replays.admit(&header(3, 105), 105, 10)),
            Err(ErrorCode::Overloaded)
        );
        // 100 lies outside the window around 111, so its place is free again.
        assert_eq!(code(replays.admit(&header(3, 111), 111, 10)), Ok(()));
        assert_eq!(replays.seen.lock().len(), 2);
    }
}

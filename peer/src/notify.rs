//! Who waits for a transaction to be committed.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use stela_protocol::TransactionId;
use stela_store::TransactionRecord;
use tokio::sync::oneshot;

use crate::limits::COMMIT_WAITERS_MAX;

/// Requests that wait for transactions. Register first, then look into the ledger: between the two
/// nothing can be missed.
#[derive(Default)]
pub(crate) struct Waiters {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    next: u64,
    waiting: HashMap<TransactionId, Vec<(u64, oneshot::Sender<TransactionRecord>)>>,
    count: usize,
}

/// One that waits; when it is dropped it waits no more.
pub(crate) struct Waiter {
    inner: Arc<Mutex<Inner>>,
    id: TransactionId,
    number: u64,
    receiver: oneshot::Receiver<TransactionRecord>,
}

impl Waiters {
    /// Begins to wait; nothing when too many wait already.
    pub(crate) fn register(&self, id: TransactionId) -> Option<Waiter> {
        let (sender, receiver) = oneshot::channel();
        let mut inner = self.inner.lock();
        if inner.count >= COMMIT_WAITERS_MAX {
            return None;
        }
        inner.count += 1;
        inner.next += 1;
        let number = inner.next;
        inner.waiting.entry(id).or_default().push((number, sender));
        drop(inner);
        Some(Waiter {
            inner: self.inner.clone(),
            id,
            number,
            receiver,
        })
    }

    /// Tells those who wait for a transaction what became of it.
    pub(crate) fn tell(&self, id: &TransactionId, record: TransactionRecord) {
        let mut inner = self.inner.lock();
        let waiting = inner.waiting.remove(id).unwrap_or_default();
        inner.count -= waiting.len();
        drop(inner);
        for (_, sender) in waiting {
            // Whoever has gone away meanwhile need not be told.
            let _ = sender.send(record);
        }
    }
}

impl Waiter {
    /// What became of the transaction, as soon as it is committed.
    pub(crate) async fn committed(&mut self) -> Option<TransactionRecord> {
        (&mut self.receiver).await.ok()
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut inner = self.inner.lock();
        let Some(waiting) = inner.waiting.get_mut(&self.id) else {
            return;
        };
        let before = waiting.len();
        waiting.retain(|(number, _)| *number != self.number);
        let (after, empty) = (waiting.len(), waiting.is_empty());
        if empty {
            inner.waiting.remove(&self.id);
        }
        inner.count -= before - after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stela_protocol::{Height, ValidationCode};

    fn record(block: u64) -> TransactionRecord {
        let height = Height {
            block,
            transaction: 0,
        };
        TransactionRecord {
            height,
            code: ValidationCode::Valid,
            time_ms: 1,
        }
    }

    #[tokio::test]
    async fn all_who_wait_are_told_and_nobody_is_kept() {
        let waiters = Waiters::default();
        let id = TransactionId([1; 32]);
        let mut first = waiters.register(id).unwrap();
        let mut second = waiters.register(id).unwrap();
        drop(waiters.register(id).unwrap());
        drop(waiters.register(TransactionId([2; 32])).unwrap());
        waiters.tell(&id, record(7));
        waiters.tell(&TransactionId([2; 32]), record(8));
        assert_eq!(first.committed().await, Some(record(7)));
        assert_eq!(second.committed().await, Some(record(7)));
        drop((first, second));
        let inner = waiters.inner.lock();
        assert_eq!((inner.count, inner.waiting.len()), (0, 0));
    }
}

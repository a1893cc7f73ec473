//! Reads from disk on behalf of peers: a few at a time, each hashed before it is sent.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::task::JoinSet;

use crate::bitswap::{Found, Lookup};
use crate::error::StoreError;
use crate::limits::LOOKUPS_MAX;
use crate::store::Store;

/// Waiting and running lookups. Each peer has a bounded number of them, so the queue is bounded.
pub(super) struct Lookups {
    store: Arc<Store>,
    waiting: VecDeque<Lookup>,
    running: JoinSet<(Lookup, Found)>,
}

impl Lookups {
    pub(super) fn new(store: Arc<Store>) -> Self {
        Self {
            store,
            waiting: VecDeque::new(),
            running: JoinSet::new(),
        }
    }

    pub(super) fn push(&mut self, lookup: Lookup) {
        self.waiting.push_back(lookup);
        self.start();
    }

    /// Waits for the next answer; for ever when nothing is running.
    pub(super) async fn next(&mut self) -> (Lookup, Found) {
        loop {
            match self.running.join_next().await {
                Some(Ok(answer)) => {
                    self.start();
                    return answer;
                }
                // A lookup does not panic, and is only cancelled together with its owner.
                Some(Err(error)) => tracing::error!(%error, "a lookup did not end"),
                None => std::future::pending().await,
            }
        }
    }

    fn start(&mut self) {
        while self.running.len() < LOOKUPS_MAX
            && let Some(lookup) = self.waiting.pop_front()
        {
            let store = self.store.clone();
            self.running
                .spawn_blocking(move || (lookup, find(&store, &lookup)));
        }
    }
}

fn find(store: &Store, lookup: &Lookup) -> Found {
    let found = if lookup.block {
        store
            .blocks
            .block(&lookup.cid)
            .map(|block| block.map(Found::Block))
    } else {
        store
            .blocks
            .bytes(&lookup.cid)
            .map(|bytes| bytes.map(|_| Found::Present))
    };
    match found {
        Ok(found) => found.unwrap_or(Found::Missing),
        Err(StoreError::Damaged { .. }) => Found::Missing,
        Err(error) => {
            tracing::error!(%error, "a block cannot be served");
            Found::Missing
        }
    }
}

//! The node's network: one task owns the swarm, everybody else sends it commands.
//!
//! | Module | Does |
//! |---|---|
//! | [`transport`] | TCP, private network, Noise, Yamux |
//! | [`behaviour`] | The protocols on a connection, the allow-list first |
//! | [`driver`] | The task: commands, events, time |
//! | [`dht`] | Queries to the DHT and what they are for |
//! | [`providers`] | Provider records, bounded for each member |
//! | [`lookups`] | Reads from disk for peers |
//! | [`keeper`] | When to dial a member again; pure |
//! | [`addresses`] | Which addresses of peers are believed; pure |

mod addresses;
mod behaviour;
mod dht;
mod driver;
mod events;
mod keeper;
mod lookups;
mod providers;
#[cfg(test)]
mod tests;
mod transport;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use cid::Cid;
use libp2p::{Multiaddr, PeerId};
use parking_lot::RwLock;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{Instant, timeout, timeout_at};

pub(crate) use self::driver::start;
use crate::config::Member;
use crate::error::{ConnectError, DhtError, FetchError};
use crate::limits::{PROVIDERS_PER_KEY_MAX, QUERIES_MAX, WANTS_MAX};

/// What the driver is asked to do. A dropped reply is a caller that does not wait any more.
#[derive(Debug)]
enum Command {
    Want {
        cid: Cid,
        root: Cid,
        reply: oneshot::Sender<(PeerId, Bytes)>,
    },
    Explain {
        cid: Cid,
        reply: oneshot::Sender<FetchError>,
    },
    Stored {
        cid: Cid,
    },
    Connect {
        address: Multiaddr,
        reply: oneshot::Sender<Result<PeerId, ConnectError>>,
    },
    Allow {
        member: Member,
        reply: oneshot::Sender<bool>,
    },
    Disallow {
        peer: PeerId,
        reply: oneshot::Sender<()>,
    },
    Provide {
        cid: Cid,
        reply: oneshot::Sender<Result<(), DhtError>>,
    },
    Announce {
        roots: Vec<Cid>,
    },
    Withdraw {
        root: Cid,
    },
    FindProviders {
        cid: Cid,
        found: mpsc::Sender<PeerId>,
    },
    Shutdown,
}

/// The way to the driver. When the last one is dropped, the driver ends.
#[derive(Clone)]
pub(crate) struct Network {
    commands: mpsc::Sender<Command>,
    wants: Arc<Semaphore>,
    queries: Arc<Semaphore>,
    pub(crate) shared: Arc<Shared>,
}

/// What the driver lets others see without asking.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    pub(crate) listen: RwLock<Vec<Multiaddr>>,
    pub(crate) peers: RwLock<BTreeSet<PeerId>>,
    pub(crate) counters: Counters,
}

/// Counts since the start.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) blocks_received: AtomicU64,
    pub(crate) bytes_received: AtomicU64,
    pub(crate) blocks_served: AtomicU64,
    pub(crate) bytes_served: AtomicU64,
    pub(crate) connections_refused: AtomicU64,
    pub(crate) peers_misbehaved: AtomicU64,
}

impl Counters {
    fn add(counter: &AtomicU64, amount: u64) {
        counter.fetch_add(amount, Ordering::Relaxed);
    }
}

impl Network {
    fn new(commands: mpsc::Sender<Command>, shared: Arc<Shared>) -> Self {
        let wants = Arc::new(Semaphore::new(WANTS_MAX));
        let queries = Arc::new(Semaphore::new(QUERIES_MAX));
        Self {
            commands,
            wants,
            queries,
            shared,
        }
    }

    /// Fetches a verified block from other nodes, and says from which. Providers are looked up for
    /// `root`, since only roots are announced.
    pub(crate) async fn block(
        &self,
        cid: Cid,
        root: Cid,
        deadline: Instant,
    ) -> Result<(PeerId, Bytes), FetchError> {
        let (reply, mut block) = oneshot::channel();
        let waiting = async {
            let _permit = self
                .wants
                .acquire()
                .await
                .map_err(|_| FetchError::Stopped)?;
            self.send(Command::Want { cid, root, reply })
                .await
                .ok_or(FetchError::Stopped)?;
            (&mut block).await.map_err(|_| FetchError::Stopped)
        };
        match timeout_at(deadline, waiting).await {
            Ok(result) => result,
            // The block is still being waited for while the reason is asked: otherwise the driver
            // might have forgotten it.
            Err(_) => Err(self.ask_reason(cid).await),
        }
    }

    /// Asks why a block has not come.
    async fn ask_reason(&self, cid: Cid) -> FetchError {
        let (reply, reason) = oneshot::channel();
        match self.send(Command::Explain { cid, reply }).await {
            Some(()) => reason.await.unwrap_or(FetchError::Stopped),
            None => FetchError::Stopped,
        }
    }

    /// Tells peers that wait for a block that it is in the store.
    pub(crate) async fn stored(&self, cid: Cid) {
        let _ = self.send(Command::Stored { cid }).await;
    }

    pub(crate) async fn connect(&self, address: Multiaddr) -> Result<PeerId, ConnectError> {
        let (reply, result) = oneshot::channel();
        self.send(Command::Connect { address, reply })
            .await
            .ok_or(ConnectError::Stopped)?;
        result.await.unwrap_or(Err(ConnectError::Stopped))
    }

    /// Puts a member on the allow-list; false if that is full.
    pub(crate) async fn allow(&self, member: Member) -> bool {
        let (reply, done) = oneshot::channel();
        self.send(Command::Allow { member, reply }).await;
        done.await.unwrap_or(false)
    }

    pub(crate) async fn disallow(&self, peer: PeerId) {
        let (reply, done) = oneshot::channel();
        self.send(Command::Disallow { peer, reply }).await;
        let _ = done.await;
    }

    pub(crate) async fn provide(&self, cid: Cid, limit: Duration) -> Result<(), DhtError> {
        let (reply, result) = oneshot::channel();
        let asking = async {
            let _permit = self.queries.acquire().await;
            self.send(Command::Provide { cid, reply })
                .await
                .ok_or(DhtError::Stopped)?;
            result.await.unwrap_or(Err(DhtError::Stopped))
        };
        timeout(limit, asking)
            .await
            .unwrap_or(Err(DhtError::Timeout { cid }))
    }

    /// Announces roots in the background, and whenever another node comes.
    pub(crate) async fn announce(&self, roots: Vec<Cid>) {
        let _ = self.send(Command::Announce { roots }).await;
    }

    /// Stops to announce a root.
    pub(crate) async fn withdraw(&self, root: Cid) {
        let _ = self.send(Command::Withdraw { root }).await;
    }

    /// Who provides a root. What was found when time runs out is the answer, unless it is nothing.
    pub(crate) async fn find_providers(
        &self,
        cid: Cid,
        limit: Duration,
    ) -> Result<Vec<PeerId>, DhtError> {
        let (found, mut providers) = mpsc::channel(PROVIDERS_PER_KEY_MAX);
        let mut peers = BTreeSet::new();
        let asking = async {
            let _permit = self.queries.acquire().await;
            self.send(Command::FindProviders { cid, found })
                .await
                .ok_or(DhtError::Stopped)?;
            while let Some(peer) = providers.recv().await {
                peers.insert(peer);
            }
            Ok::<(), DhtError>(())
        };
        match timeout(limit, asking).await {
            Ok(result) => result?,
            Err(_) if peers.is_empty() => return Err(DhtError::Timeout { cid }),
            Err(_) => {}
        }
        Ok(peers.into_iter().collect())
    }

    pub(crate) async fn shutdown(&self) {
        let _ = self.send(Command::Shutdown).await;
    }

    async fn send(&self, command: Command) -> Option<()> {
        self.commands.send(command).await.ok()
    }
}

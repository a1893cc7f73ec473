//! Blobs kept by an IPFS daemon beside this process, through its RPC interface `/api/v0`: Kubo, or
//! whatever speaks as Kubo does.
//!
//! The daemon is trusted with nothing but keeping. Every block that it gives is hashed and compared
//! with its name; a blob that it is given is cut and named here as well; what it says of itself
//! (whether it has a block, whether a pin stands) is taken for what it is worth, and found out by
//! the next [`PinningNode::check`]. Answers, errors, time and calls are bounded by
//! [`limits`](crate::limits).
//!
//! What an embedded [`Node`](crate::Node) does and a daemon does not, or not through this interface:
//! - **It keeps no allow-list.** Whoever has the swarm's key can connect to it
//!   ([`PinningNode::shuts_out`] is false). [`PinningNode::shut_out`] closes a connection, which may
//!   come again.
//! - **It does not say from whom it has a block**, so that [`Fetched::from`](crate::Fetched::from) stays empty.
//! - **It has no leases.** Which pins are ours, and until when, is in this node's own folder;
//!   other pins of the daemon are left alone and not listed.
//! - **It does not collect by age.** A collection takes everything that no pin keeps, whoever put it
//!   there; it happens only where [`KuboConfig::collect`] allows it.
//! - How durable a pin is, is the daemon's business.
//! - A daemon without `routing/…` and `dht/…` cannot announce or find:
//!   [`KuboError::NotOffered`].
//!
//! | In the folder | Content |
//! |---|---|
//! | `lock` | Locked while this runs; empty |
//! | `pins/CID` | One pinned root, as in an embedded node's folder |
//! | `temp/` | Files being written; emptied at start |

mod add;
mod blobs;
mod commands;
mod endpoint;
mod error;
mod http;
mod members;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cid::Cid;
use libp2p::{Multiaddr, PeerId};
use parking_lot::Mutex;
use tokio::task::spawn_blocking;
use tokio_util::task::AbortOnDropHandle;

pub use self::endpoint::ApiUrl;
pub use self::error::KuboError;

use self::add::Form;
use self::commands::{Identity, Reach, soon};
use self::endpoint::Connector;
use self::http::Http;
use self::members::Members;
use crate::blob::{BlobStore, PinKind, PinningNode, Verification};
use crate::block;
use crate::check;
use crate::config::{Member, NodeLimits};
use crate::error::{CollectError, FetchError, PinError, StartError, StoreError};
use crate::limits::{
    CHUNK_BYTES, CHUNK_BYTES_MAX, KUBO_CALL_TIMEOUT, KUBO_LOOKS_MAX, KUBO_PIN_BLOCKS_PER_SECOND,
    KUBO_PIN_TIMEOUT,
};
use crate::store::{
    Collected, Depth, Durability, FileWriter, FolderLock, Look, PinStore, Step, Survey, lock,
};

/// How a daemon is used.
#[derive(Debug, Clone)]
pub struct KuboConfig {
    /// The folder for what a daemon cannot remember; created if it does not exist.
    pub data_dir: PathBuf,
    /// Where the daemon answers.
    pub api: ApiUrl,
    /// A file with the value of the header `Authorization`, for a daemon that asks for one.
    pub authorization: Option<PathBuf>,
    /// A PEM file with the authorities of the daemon's certificate; needed for `https://`, where no
    /// others are believed.
    pub authorities: Option<PathBuf>,
    /// Whether the daemon is asked to collect garbage. It then removes all that no pin keeps,
    /// whoever put it there: only for a daemon that serves nobody else.
    pub collect: bool,
    /// Whether a pin is flushed to the disk before it counts. Turning this off is for tests.
    pub fsync: bool,
    /// Bytes of the chunks that blobs are cut into, at most [`CHUNK_BYTES_MAX`].
    pub chunk_bytes: usize,
    /// What one caller may have the daemon hold.
    pub limits: NodeLimits,
}

impl KuboConfig {
    /// A daemon without authorization that is never asked to collect.
    pub fn new(data_dir: impl Into<PathBuf>, api: ApiUrl) -> Self {
        Self {
            data_dir: data_dir.into(),
            api,
            authorization: None,
            authorities: None,
            collect: false,
            fsync: true,
            chunk_bytes: CHUNK_BYTES,
            limits: NodeLimits::default(),
        }
    }
}

/// A place in the swarm that an IPFS daemon has. Clones are handles on the same one.
#[derive(Clone)]
pub struct KuboNode {
    inner: Arc<Inner>,
}

struct Inner {
    http: Arc<Http>,
    identity: Identity,
    form: Form,
    limits: NodeLimits,
    may_collect: bool,
    pins: PinStore,
    /// Held while a pin of the daemon and the file about it change together.
    pinning: tokio::sync::Mutex<()>,
    /// Roots of which a check found something amiss, since this node started.
    suspect: Mutex<HashSet<Cid>>,
    members: Members,
    redialling: Mutex<Option<AbortOnDropHandle<()>>>,
    lock: Mutex<Option<FolderLock>>,
}

impl KuboNode {
    /// Takes the folder and meets the daemon. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`StartError`] when the folder is taken, or the daemon does not answer as one does.
    pub async fn start(config: KuboConfig) -> Result<Self, StartError> {
        if !(1..=CHUNK_BYTES_MAX).contains(&config.chunk_bytes) {
            let wrong = "chunks must have between 1 byte and 1 MiB";
            return Err(StartError::Config(wrong.into()));
        }
        let lock = lock(&config.data_dir)?;
        let durability = if config.fsync {
            Durability::Flushed
        } else {
            Durability::Buffered
        };
        let writer = FileWriter::open(config.data_dir.join("temp"))?;
        let pins = PinStore::open(config.data_dir.join("pins"), writer, durability)?;
        let connector = Connector::new(config.api.clone(), config.authorities.as_deref())?;
        let authorization = config.authorization.as_deref();
        let authorization = authorization.map(endpoint::authorization).transpose()?;
        let http = Arc::new(Http::new(config.api, connector, authorization));
        let identity = http.identity().await?;
        let members = Members::default();
        let redialling = tokio::spawn(members.clone().keep(http.clone()));
        Ok(Self {
            inner: Arc::new(Inner {
                http,
                identity,
                form: Form {
                    chunk_bytes: config.chunk_bytes,
                    blob_bytes_max: config.limits.blob_bytes_max,
                },
                limits: config.limits,
                may_collect: config.collect,
                pins,
                pinning: tokio::sync::Mutex::new(()),
                suspect: Mutex::default(),
                members,
                redialling: Mutex::new(Some(AbortOnDropHandle::new(redialling))),
                lock: Mutex::new(Some(lock)),
            }),
        })
    }

    /// Walks over the blocks that the daemon has on its own disk.
    async fn survey(
        &self,
        cid: &Cid,
        depth: Depth,
        bytes_per_second: Option<u64>,
    ) -> Result<Survey, FetchError> {
        let look = |step| self.look(step, depth);
        Ok(check::walk(cid, KUBO_LOOKS_MAX, bytes_per_second, look).await?)
    }

    async fn look(&self, step: Step, depth: Depth) -> Result<Look, StoreError> {
        let http = &self.inner.http;
        let look = if step.by_presence(depth) {
            http.block_size(&step.cid).await.map(Look::Present)
        } else {
            let deadline = soon(KUBO_CALL_TIMEOUT);
            let block = http.block_get(&step.cid, Reach::Local, deadline).await;
            block.map(Look::Content)
        };
        match look {
            // A daemon that looks further than its own disk runs out of the time it was given.
            Err(KuboError::Timeout { .. }) => Ok(Look::Missing),
            Err(KuboError::Refused { status: 504, .. }) => Ok(Look::Missing),
            Err(error) if error.is_not_found() || error.is_time_up() => Ok(Look::Missing),
            Err(KuboError::WrongBytes { .. }) => Ok(Look::Damaged),
            look => Ok(look?),
        }
    }

    /// Sets the daemon's pin, then ours.
    async fn set_pin(&self, cid: Cid, kind: PinKind, blocks: u64) -> Result<(), PinError> {
        let _guard = self.inner.pinning.lock().await;
        let limit = Duration::from_secs(blocks / KUBO_PIN_BLOCKS_PER_SECOND);
        let deadline = soon(KUBO_PIN_TIMEOUT.saturating_add(limit));
        self.inner.http.pin_add(&cid, deadline).await?;
        self.on_disk(move |pins| pins.set(&cid, kind)).await
    }

    /// Removes the daemon's pin, then ours: what is not listed as pinned any more is not kept.
    async fn remove_pin(&self, cid: Cid) -> Result<bool, PinError> {
        let _guard = self.inner.pinning.lock().await;
        if self.inner.pins.get(&cid).is_none() {
            return Ok(false);
        }
        self.inner.http.pin_remove(&cid).await?;
        Ok(self.on_disk(move |pins| pins.remove(&cid)).await?)
    }

    async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&PinStore) -> T + Send + 'static,
    ) -> T {
        let inner = self.inner.clone();
        match spawn_blocking(move || work(&inner.pins)).await {
            Ok(result) => result,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is going down, and this future with it.
                Err(_) => std::future::pending().await,
            },
        }
    }

    /// Whether the blob is pinned, here and by the daemon, and complete as far as can be known
    /// without reading it.
    async fn is_kept(&self, cid: &Cid) -> Result<bool, FetchError> {
        let ours = self.inner.pins.get(cid).is_some();
        if !ours || self.inner.suspect.lock().contains(cid) {
            return Ok(false);
        }
        Ok(self.inner.http.is_pinned(cid).await? && self.has(cid).await?)
    }

    /// Has a damaged block removed, so that it can be fetched anew. A pin stands in the way of that,
    /// so the root's own is taken away first; it is set again when the blob is complete.
    async fn discard(&self, root: &Cid, damaged: &Cid) {
        let removed = async {
            self.inner.http.pin_remove(root).await?;
            self.inner.http.block_remove(damaged).await
        };
        if let Err(error) = removed.await {
            tracing::error!(%root, block = %damaged, %error, "a damaged block cannot be removed");
        }
    }
}

#[async_trait]
impl PinningNode for KuboNode {
    fn peer_id(&self) -> PeerId {
        self.inner.identity.peer
    }

    async fn addresses(&self) -> Vec<Multiaddr> {
        match self.inner.http.identity().await {
            Ok(identity) if identity.peer == self.inner.identity.peer => identity.addresses,
            _ => self.inner.identity.addresses.clone(),
        }
    }

    async fn connected(&self) -> Vec<PeerId> {
        let peers = self.inner.http.peers().await.unwrap_or_else(|error| {
            tracing::warn!(%error, "the connected peers are not known");
            Default::default()
        });
        peers.into_iter().collect()
    }

    async fn let_in(&self, member: Member) -> bool {
        self.inner.members.keep_connected(member)
    }

    async fn shut_out(&self, peer: PeerId) {
        self.inner.members.forget(&peer);
        if let Err(error) = self.inner.http.disconnect(&peer).await {
            tracing::debug!(%peer, %error, "not disconnected");
        }
    }

    fn shuts_out(&self) -> bool {
        false
    }

    async fn pinned(&self, cid: &Cid) -> Result<Option<PinKind>, StoreError> {
        Ok(self.inner.pins.get(&block::parse(cid)?))
    }

    async fn end_leases(&self, now_ms: u64) -> Result<Vec<Cid>, StoreError> {
        let ended =
            self.inner.pins.list().into_iter().filter(
                |pin| matches!(pin.kind, PinKind::Leased { until_ms } if until_ms <= now_ms),
            );
        let mut roots = Vec::new();
        for pin in ended {
            match self.remove_pin(pin.cid).await {
                Ok(_) => roots.push(pin.cid),
                Err(PinError::Disk(error)) => return Err(error),
                Err(error) => tracing::error!(cid = %pin.cid, %error, "a lease cannot be ended"),
            }
        }
        Ok(roots)
    }

    async fn collect(&self, _: u64) -> Result<Collected, CollectError> {
        if !self.inner.may_collect {
            return Ok(Collected::default());
        }
        let blocks = self.inner.http.collect().await.map_err(StoreError::from)?;
        Ok(Collected { blocks, bytes: 0 })
    }

    async fn check(&self, cid: &Cid, bytes_per_second: u64) -> Result<Verification, FetchError> {
        let cid = block::parse(cid)?;
        let survey = self
            .survey(&cid, Depth::Content, Some(bytes_per_second))
            .await?;
        for damaged in &survey.damaged {
            self.discard(&cid, damaged).await;
        }
        let mut verification = Verification::from(survey);
        verification.unpinned = !self.inner.http.is_pinned(&cid).await?;
        if !verification.is_whole() {
            self.inner.suspect.lock().insert(cid);
        }
        Ok(verification)
    }

    async fn close(&self) {
        let redialling = self.inner.redialling.lock().take();
        drop(redialling);
        self.inner.lock.lock().take();
    }
}

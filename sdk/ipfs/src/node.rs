//! The embedded node.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use cid::Cid;
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};
use parking_lot::Mutex;
use tokio::io::AsyncRead;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::Instant;

use crate::blob::{BlobStat, BlobStore, Fetched, Pin, PinKind, PinningNode, Verification};
use crate::config::{Member, NodeConfig};
use crate::error::{
    CollectError, ConnectError, DhtError, FetchError, PinError, PutError, StartError, StoreError,
};
use crate::fetch::Fetcher;
use crate::import::Importer;
use crate::net::{self, Network};
use crate::reader::BlobReader;
use crate::store::{Collected, Depth, FolderLock, Store, Survey};
use crate::{block, check, fetch, identity, store, walk};

/// An IPFS node in this process: a folder, an identity, and a place in a private swarm.
///
/// Clones are handles on the same node. It stops when [`shutdown`](Self::shutdown) is called or
/// the last handle is dropped.
#[derive(Clone)]
pub struct Node {
    inner: Arc<Inner>,
}

struct Inner {
    peer: PeerId,
    store: Arc<Store>,
    network: Network,
    importer: Importer,
    fetcher: Fetcher,
    driver: Mutex<Option<JoinHandle<()>>>,
    lock: Mutex<Option<FolderLock>>,
}

/// What a node has done since it started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NodeStats {
    /// Blocks received from other nodes, verified.
    pub blocks_received: u64,
    /// Bytes of these blocks.
    pub bytes_received: u64,
    /// Blocks read and verified for other nodes.
    pub blocks_served: u64,
    /// Bytes of these blocks.
    pub bytes_served: u64,
    /// Inbound connections that were refused: a wrong swarm key, a peer that is not on the
    /// allow-list, or too many.
    pub connections_refused: u64,
    /// Times that a member was cut off for sending what nobody asked for.
    pub peers_misbehaved: u64,
}

impl Node {
    /// Starts a node: takes its folder, reads or makes its identity, listens, dials its members,
    /// and announces its pinned roots again. Must be called inside a tokio runtime.
    pub async fn start(config: NodeConfig) -> Result<Self, StartError> {
        config.check()?;
        let lock = store::lock(&config.data_dir)?;
        let store = Arc::new(Store::open(&config.data_dir, config.fsync)?);
        let keypair = identity::open(&store::identity_path(&config.data_dir))?;
        let (network, driver) = net::start(&config, &keypair, store.clone()).await?;
        network
            .announce(store.pins().iter().map(|pin| pin.cid).collect())
            .await;
        let importer = Importer {
            store: store.clone(),
            network: network.clone(),
            chunk_bytes: config.chunk_bytes,
            blob_bytes_max: config.limits.blob_bytes_max,
        };
        let fetcher = Fetcher {
            store: store.clone(),
            network: network.clone(),
            limits: config.limits.clone(),
        };
        let inner = Inner {
            peer: keypair.public().to_peer_id(),
            store,
            network,
            importer,
            fetcher,
            driver: Mutex::new(Some(driver)),
            lock: Mutex::new(Some(lock)),
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Who this node is.
    pub fn peer_id(&self) -> PeerId {
        self.inner.peer
    }

    /// The addresses this node listens on, each ending with `/p2p/<peer id>`.
    pub fn listen_addresses(&self) -> Vec<Multiaddr> {
        let listen = self.inner.network.shared.listen.read();
        listen
            .iter()
            .map(|address| address.clone().with(Protocol::P2p(self.inner.peer)))
            .collect()
    }

    /// Connects to the member at an address that ends with `/p2p/<peer id>`. Whether the other
    /// side lets this node stay shows in [`peers`](Self::peers).
    pub async fn connect(&self, address: Multiaddr) -> Result<PeerId, ConnectError> {
        self.inner.network.connect(address).await
    }

    /// The peers that are connected now.
    pub fn peers(&self) -> Vec<PeerId> {
        self.inner
            .network
            .shared
            .peers
            .read()
            .iter()
            .copied()
            .collect()
    }

    /// Puts a member on the allow-list and dials it if it has addresses; false if the list is
    /// full. A member that was cut off for misbehaving is given another chance.
    pub async fn allow(&self, member: Member) -> bool {
        self.inner.network.allow(member).await
    }

    /// Takes a peer off the allow-list and closes its connections.
    pub async fn disallow(&self, peer: PeerId) {
        self.inner.network.disallow(peer).await;
    }

    /// What the node has done since it started.
    pub fn stats(&self) -> NodeStats {
        let counters = &self.inner.network.shared.counters;
        NodeStats {
            blocks_received: counters.blocks_received.load(Ordering::Relaxed),
            bytes_received: counters.bytes_received.load(Ordering::Relaxed),
            blocks_served: counters.blocks_served.load(Ordering::Relaxed),
            bytes_served: counters.bytes_served.load(Ordering::Relaxed),
            connections_refused: counters.connections_refused.load(Ordering::Relaxed),
            peers_misbehaved: counters.peers_misbehaved.load(Ordering::Relaxed),
        }
    }

    /// Ends the leases whose time has come, in milliseconds since 1970, and returns their roots.
    pub async fn expire(&self, now_ms: u64) -> Result<Vec<Cid>, StoreError> {
        let roots = self.on_disk(move |store| store.expire(now_ms)).await?;
        for root in &roots {
            self.inner.network.withdraw(*root).await;
        }
        Ok(roots)
    }

    /// Removes every block that no pin needs and that was last written before `before_ms`, in
    /// milliseconds since 1970.
    ///
    /// Hazard: a blob that is being written or fetched, or waits for its pin, is not protected by
    /// anything but its age. Pass a time that lies further back than the longest upload takes.
    pub async fn collect_garbage(&self, before_ms: u64) -> Result<Collected, CollectError> {
        self.on_disk(move |store| store.collect(before_ms)).await
    }

    /// Reads all blocks of a blob that are here and verifies their hashes.
    pub async fn verify(&self, cid: &Cid) -> Result<Verification, FetchError> {
        Ok(self.survey(cid, Depth::Content).await?.into())
    }

    /// The blocks found damaged on the disk and not replaced since. Each is named as a raw block,
    /// since its hash is all that its file tells.
    pub async fn damaged(&self) -> Result<Vec<Cid>, StoreError> {
        self.on_disk(|store| store.blocks.damaged()).await
    }

    /// Closes all connections and gives the folder free. Calls on other handles answer that the
    /// node is shut down.
    pub async fn shutdown(&self) {
        self.inner.network.shutdown().await;
        let driver = self.inner.driver.lock().take();
        if let Some(driver) = driver
            && let Err(error) = driver.await
        {
            tracing::error!(%error, "the network task did not end");
        }
        self.inner.lock.lock().take();
    }

    async fn survey(&self, cid: &Cid, depth: Depth) -> Result<Survey, FetchError> {
        let cid = block::parse(cid)?;
        Ok(self.on_disk(move |store| store.survey(&cid, depth)).await?)
    }

    /// Runs what blocks the thread where that does no harm.
    async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> T + Send + 'static,
    ) -> T {
        let store = self.inner.store.clone();
        match spawn_blocking(move || work(&store)).await {
            Ok(result) => result,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is going down, and this future with it.
                Err(_) => std::future::pending().await,
            },
        }
    }
}

#[async_trait]
impl BlobStore for Node {
    async fn put(&self, reader: &mut (dyn AsyncRead + Send + Unpin)) -> Result<Cid, PutError> {
        self.inner.importer.import(reader).await
    }

    async fn get(&self, cid: &Cid, timeout: Duration) -> Result<BlobReader, FetchError> {
        walk::open(
            self.inner.fetcher.clone(),
            block::parse(cid)?,
            0..u64::MAX,
            timeout,
        )
        .await
    }

    async fn get_range(
        &self,
        cid: &Cid,
        offset: u64,
        length: u64,
        timeout: Duration,
    ) -> Result<BlobReader, FetchError> {
        let range = offset..offset.saturating_add(length);
        walk::open(
            self.inner.fetcher.clone(),
            block::parse(cid)?,
            range,
            timeout,
        )
        .await
    }

    async fn pin(&self, cid: &Cid, kind: PinKind) -> Result<(), PinError> {
        let cid = block::parse(cid)?;
        self.on_disk(move |store| store.pin(&cid, kind)).await?;
        self.inner.network.announce(vec![cid]).await;
        Ok(())
    }

    async fn fetch_and_pin(
        &self,
        cid: &Cid,
        kind: PinKind,
        timeout: Duration,
    ) -> Result<Fetched, FetchError> {
        let cid = block::parse(cid)?;
        let deadline = Instant::now() + timeout;
        loop {
            let fetched = fetch::gather(&self.inner.fetcher, cid, deadline).await?;
            match self.pin(&cid, kind).await {
                // A collection took an old block between the two; it is fetched again.
                Err(PinError::Incomplete { .. }) if Instant::now() < deadline => {}
                result => return Ok(result.map(|()| fetched)?),
            }
        }
    }

    async fn unpin(&self, cid: &Cid) -> Result<bool, PinError> {
        let cid = block::parse(cid)?;
        let removed = self.on_disk(move |store| store.unpin(&cid)).await?;
        self.inner.network.withdraw(cid).await;
        Ok(removed)
    }

    async fn pins(&self) -> Result<Vec<Pin>, StoreError> {
        Ok(self.inner.store.pins())
    }

    async fn provide(&self, cid: &Cid, timeout: Duration) -> Result<(), DhtError> {
        self.inner
            .network
            .provide(block::parse(cid)?, timeout)
            .await
    }

    async fn find_providers(&self, cid: &Cid, timeout: Duration) -> Result<Vec<PeerId>, DhtError> {
        self.inner
            .network
            .find_providers(block::parse(cid)?, timeout)
            .await
    }

    async fn has(&self, cid: &Cid) -> Result<bool, FetchError> {
        Ok(self.survey(cid, Depth::Presence).await?.missing.is_empty())
    }

    async fn stat(&self, cid: &Cid) -> Result<BlobStat, FetchError> {
        let survey = self.survey(cid, Depth::Presence).await?;
        match survey.missing.first() {
            Some(missing) => Err(FetchError::NotFound { cid: *missing }),
            None => Ok(BlobStat {
                bytes: survey.bytes,
                blocks: survey.blocks.len() as u64,
                stored_bytes: survey.stored_bytes,
            }),
        }
    }

    async fn stored_bytes(&self, cid: &Cid) -> Result<u64, FetchError> {
        Ok(self.survey(cid, Depth::Presence).await?.stored_bytes)
    }
}

#[async_trait]
impl PinningNode for Node {
    fn peer_id(&self) -> PeerId {
        self.inner.peer
    }

    async fn addresses(&self) -> Vec<Multiaddr> {
        self.listen_addresses()
    }

    async fn connected(&self) -> Vec<PeerId> {
        self.peers()
    }

    async fn let_in(&self, member: Member) -> bool {
        self.allow(member).await
    }

    async fn shut_out(&self, peer: PeerId) {
        self.disallow(peer).await;
    }

    fn shuts_out(&self) -> bool {
        true
    }

    async fn pinned(&self, cid: &Cid) -> Result<Option<PinKind>, StoreError> {
        Ok(self.inner.store.pinned(&block::parse(cid)?))
    }

    async fn end_leases(&self, now_ms: u64) -> Result<Vec<Cid>, StoreError> {
        self.expire(now_ms).await
    }

    async fn collect(&self, before_ms: u64) -> Result<Collected, CollectError> {
        self.collect_garbage(before_ms).await
    }

    async fn check(&self, cid: &Cid, bytes_per_second: u64) -> Result<Verification, FetchError> {
        let cid = block::parse(cid)?;
        let look = |step| self.on_disk(move |store| store.look(&step, Depth::Content));
        let survey = check::walk(&cid, 1, Some(bytes_per_second), look).await?;
        Ok(survey.into())
    }

    async fn close(&self) {
        self.shutdown().await;
    }
}

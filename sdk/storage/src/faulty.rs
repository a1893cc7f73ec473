//! A real IPFS node whose fetching can be made to fail as a disk or a swarm would.

use std::time::Duration;

use parking_lot::Mutex;
use stela_ipfs::{
    BlobReader, BlobStat, BlobStore, Cid, CollectError, Collected, DhtError, FetchError, Fetched,
    Member, Multiaddr, Node, PeerId, Pin, PinError, PinKind, PinningNode, PutError, StoreError,
    Verification,
};
use tokio::io::AsyncRead;

type Fault = fn(&Cid) -> FetchError;

/// The node, and what its next fetches end with.
pub(crate) struct Faulty {
    node: Node,
    fault: Mutex<Option<Fault>>,
}

impl Faulty {
    pub(crate) fn new(node: Node) -> Self {
        Self {
            node,
            fault: Mutex::new(None),
        }
    }

    pub(crate) fn fail_with(&self, fault: Option<Fault>) {
        *self.fault.lock() = fault;
    }
}

#[tonic::async_trait]
impl BlobStore for Faulty {
    async fn put(&self, reader: &mut (dyn AsyncRead + Send + Unpin)) -> Result<Cid, PutError> {
        self.node.put(reader).await
    }

    async fn get(&self, cid: &Cid, timeout: Duration) -> Result<BlobReader, FetchError> {
        self.node.get(cid, timeout).await
    }

    async fn get_range(
        &self,
        cid: &Cid,
        offset: u64,
        length: u64,
        timeout: Duration,
    ) -> Result<BlobReader, FetchError> {
        self.node.get_range(cid, offset, length, timeout).await
    }

    async fn pin(&self, cid: &Cid, kind: PinKind) -> Result<(), PinError> {
        self.node.pin(cid, kind).await
    }

    async fn fetch_and_pin(
        &self,
        cid: &Cid,
        kind: PinKind,
        timeout: Duration,
    ) -> Result<Fetched, FetchError> {
        let fault = *self.fault.lock();
        match fault {
            Some(fault) => Err(fault(cid)),
            None => self.node.fetch_and_pin(cid, kind, timeout).await,
        }
    }

    async fn unpin(&self, cid: &Cid) -> Result<bool, PinError> {
        self.node.unpin(cid).await
    }

    async fn pins(&self) -> Result<Vec<Pin>, StoreError> {
        self.node.pins().await
    }

    async fn provide(&self, cid: &Cid, timeout: Duration) -> Result<(), DhtError> {
        self.node.provide(cid, timeout).await
    }

    async fn find_providers(&self, cid: &Cid, timeout: Duration) -> Result<Vec<PeerId>, DhtError> {
        self.node.find_providers(cid, timeout).await
    }

    async fn has(&self, cid: &Cid) -> Result<bool, FetchError> {
        self.node.has(cid).await
    }

    async fn stat(&self, cid: &Cid) -> Result<BlobStat, FetchError> {
        self.node.stat(cid).await
    }

    async fn stored_bytes(&self, cid: &Cid) -> Result<u64, FetchError> {
        self.node.stored_bytes(cid).await
    }
}

#[tonic::async_trait]
impl PinningNode for Faulty {
    fn peer_id(&self) -> PeerId {
        self.node.peer_id()
    }

    async fn addresses(&self) -> Vec<Multiaddr> {
        self.node.addresses().await
    }

    async fn connected(&self) -> Vec<PeerId> {
        self.node.connected().await
    }

    async fn let_in(&self, member: Member) -> bool {
        self.node.let_in(member).await
    }

    async fn shut_out(&self, peer: PeerId) {
        self.node.shut_out(peer).await;
    }

    fn shuts_out(&self) -> bool {
        self.node.shuts_out()
    }

    async fn pinned(&self, cid: &Cid) -> Result<Option<PinKind>, StoreError> {
        self.node.pinned(cid).await
    }

    async fn end_leases(&self, now_ms: u64) -> Result<Vec<Cid>, StoreError> {
        self.node.end_leases(now_ms).await
    }

    async fn collect(&self, before_ms: u64) -> Result<Collected, CollectError> {
        self.node.collect(before_ms).await
    }

    async fn check(&self, cid: &Cid, bytes_per_second: u64) -> Result<Verification, FetchError> {
        self.node.check(cid, bytes_per_second).await
    }

    async fn close(&self) {
        self.node.close().await;
    }
}

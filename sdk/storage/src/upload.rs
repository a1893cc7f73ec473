//! Having a blob held by storage nodes of several organizations.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use stela_client::Sources;
use stela_identity::Credentials;
use stela_identity::tls::TlsSettings;
use stela_ipfs::{Cid, Multiaddr, Node, PeerId};
use stela_protocol::{ChannelId, OrgId};
use tokio::time::Instant;

use crate::client::{StorageClient, StorageEndpoint};
use crate::error::{CallError, UploadError};
use crate::limits::{HOLD_POLL, HOLD_POLL_MAX, HOLD_POLL_PART, HOLD_STALLED};

/// Who uploads, to the storage nodes of which channel.
#[derive(Clone)]
pub struct Uploader {
    channel: ChannelId,
    tls: TlsSettings,
    credentials: Arc<Credentials>,
    sources: Sources,
}

/// A storage node that holds a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Whose node it is.
    pub organization: OrgId,
    /// Who it is in the swarm.
    pub peer_id: PeerId,
    /// Until when it holds the blob, in milliseconds since the Unix epoch, unless the ledger says
    /// longer.
    pub lease_until_ms: u64,
}

/// Who holds an uploaded blob: storage nodes of as many organizations as were asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holders(pub Vec<Holder>);

impl Holders {
    /// The organizations, each once, in alphabetical order.
    pub fn organizations(&self) -> Vec<&OrgId> {
        let organizations: BTreeSet<_> = self.0.iter().map(|h| &h.organization).collect();
        organizations.into_iter().collect()
    }
}

/// Is told how many bytes of a blob an organization's storage node has while it fetches it, by that
/// node's own word.
pub type Watch<'a> = &'a (dyn Fn(&OrgId, u64) + Send + Sync);

/// A storage node that does not hold a blob.
#[derive(Debug)]
pub struct Failure {
    /// Whose node it is.
    pub organization: OrgId,
    /// Why not.
    pub error: CallError,
}

impl Uploader {
    /// Uploads in the name of `credentials`.
    pub fn new(channel: ChannelId, tls: TlsSettings, credentials: Arc<Credentials>) -> Self {
        Self {
            channel,
            tls,
            credentials,
            sources: Sources::default(),
        }
    }

    /// The same with another clock and randomness.
    #[must_use]
    pub fn with_sources(mut self, sources: Sources) -> Self {
        self.sources = sources;
        self
    }

    /// Has a blob of `bytes` bytes, which is on `node`, held by storage nodes of at least `needed`
    /// different organizations, and returns as soon as they do. The storage nodes must be able to
    /// fetch it from `node`, which stays connected to them; whether it keeps the blob itself is the
    /// caller's business.
    ///
    /// # Errors
    /// [`UploadError`] says who holds the blob and who does not, and why. Trying again is safe, and
    /// sends only what the storage nodes do not have yet.
    pub async fn upload(
        &self,
        node: &Node,
        cid: &Cid,
        bytes: u64,
        storages: &[StorageEndpoint],
        needed: usize,
    ) -> Result<Holders, UploadError> {
        self.upload_watched(node, cid, bytes, storages, needed, &|_, _| {})
            .await
    }

    /// The same, telling `watch` how far each storage node is.
    ///
    /// # Errors
    /// As for [`upload`](Self::upload).
    pub async fn upload_watched(
        &self,
        node: &Node,
        cid: &Cid,
        bytes: u64,
        storages: &[StorageEndpoint],
        needed: usize,
        watch: Watch<'_>,
    ) -> Result<Holders, UploadError> {
        let known = storages
            .iter()
            .map(|s| &s.organization)
            .collect::<BTreeSet<_>>()
            .len();
        if known < needed {
            return Err(UploadError::TooFew { needed, known });
        }
        let mut placing: FuturesUnordered<_> = storages
            .iter()
            .map(|storage| self.place(node, cid, bytes, storage, watch))
            .collect();
        let (mut holders, mut failures) = (Holders(Vec::new()), Vec::new());
        while holders.organizations().len() < needed {
            match placing.next().await {
                Some(Ok(holder)) => holders.0.push(holder),
                Some(Err(failure)) => failures.push(failure),
                None => {
                    let (cid, holders) = (*cid, holders.0);
                    return Err(UploadError::NotHeld {
                        cid,
                        needed,
                        holders,
                        failures,
                    });
                }
            }
        }
        Ok(holders)
    }

    /// Connects `node` with the storage nodes of a channel, so that it can fetch from them. Answers
    /// which of them cannot be reached.
    pub async fn join(&self, node: &Node, storages: &[StorageEndpoint]) -> Vec<Failure> {
        let joining: FuturesUnordered<_> = storages
            .iter()
            .map(|storage| async move {
                let entered = self.enter(node, storage).await;
                entered.err().map(|error| failure(storage, error))
            })
            .collect();
        joining.filter_map(std::future::ready).collect().await
    }

    async fn place(
        &self,
        node: &Node,
        cid: &Cid,
        bytes: u64,
        storage: &StorageEndpoint,
        watch: Watch<'_>,
    ) -> Result<Holder, Failure> {
        let held = async {
            let client = self.enter(node, storage).await?;
            tokio::select! {
                held = client.hold(cid, bytes) => held,
                stalled = stall(&client, cid, bytes, watch) => Err(stalled),
            }
        };
        let lease_until_ms = held.await.map_err(|error| failure(storage, error))?;
        watch(&storage.organization, bytes);
        Ok(Holder {
            organization: storage.organization.clone(),
            peer_id: storage.peer_id,
            lease_until_ms,
        })
    }

    /// Has `node` admitted by a storage node, and connects them.
    async fn enter(
        &self,
        node: &Node,
        storage: &StorageEndpoint,
    ) -> Result<StorageClient, CallError> {
        let credentials = self.credentials.clone();
        let client = StorageClient::connect(storage, &self.channel, &self.tls, credentials)?
            .with_sources(self.sources.clone());
        client.admit(node.peer_id()).await?;
        let no_way = |why| CallError::NoWay {
            organization: storage.organization.clone(),
            why,
        };
        if !node.allow(storage.member()).await {
            return Err(no_way("the own node's allow-list is full"));
        }
        let mut unreachable = no_way("the configuration names no address of it");
        for address in &storage.addresses {
            match node.connect(with_peer(address, storage.peer_id)).await {
                Ok(_) => return Ok(client),
                Err(error) => {
                    let (organization, source) = (storage.organization.clone(), Box::new(error));
                    unreachable = CallError::Swarm {
                        organization,
                        source,
                    };
                }
            }
        }
        Err(unreachable)
    }
}

impl fmt::Debug for Uploader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Uploader")
            .field("channel", &self.channel)
            .finish_non_exhaustive()
    }
}

/// Watches a hold until nothing of the blob has arrived for too long: a node that was stopped or
/// cut off does not keep its caller waiting for the time that the whole blob may take.
async fn stall(client: &StorageClient, cid: &Cid, bytes: u64, watch: Watch<'_>) -> CallError {
    let organization = &client.endpoint().organization;
    let mut arrival = Arrival::new(bytes, Instant::now());
    let mut pause = HOLD_POLL;
    loop {
        tokio::time::sleep(pause).await;
        let asked = Instant::now();
        let here = client.stored_bytes(cid).await.unwrap_or(0);
        pause = pause_after(asked.elapsed());
        if let Some(here) = arrival.note(here, Instant::now()) {
            watch(organization, here);
        }
        if arrival.is_stalled(Instant::now()) {
            return CallError::Stalled {
                organization: organization.clone(),
                here: arrival.here,
                bytes,
            };
        }
    }
}

/// How long not to ask again after a question that took so long: the node looks at every block of the
/// blob for it, beside fetching them.
fn pause_after(took: Duration) -> Duration {
    took.saturating_mul(HOLD_POLL_PART)
        .clamp(HOLD_POLL, HOLD_POLL_MAX)
}

/// How much of a blob is at a storage node, by its own word, and since when.
struct Arrival {
    bytes: u64,
    here: u64,
    since: Instant,
}

impl Arrival {
    fn new(bytes: u64, now: Instant) -> Self {
        Self {
            bytes,
            here: 0,
            since: now,
        }
    }

    /// Takes in what the node says; answers how much is there if that is news. Tree nodes count too,
    /// and a node can say what it likes: never more than the blob has.
    fn note(&mut self, here: u64, now: Instant) -> Option<u64> {
        let here = here.min(self.bytes);
        if here <= self.here {
            return None;
        }
        (self.here, self.since) = (here, now);
        Some(here)
    }

    /// What has arrived in full is being flushed, which nobody hears about.
    fn is_stalled(&self, now: Instant) -> bool {
        self.here < self.bytes && now.duration_since(self.since) >= HOLD_STALLED
    }
}

fn failure(storage: &StorageEndpoint, error: CallError) -> Failure {
    Failure {
        organization: storage.organization.clone(),
        error,
    }
}

/// The address with the peer id at its end.
fn with_peer(address: &Multiaddr, peer: PeerId) -> Multiaddr {
    address.clone().with_p2p(peer).unwrap_or_else(|other| other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longer_a_question_takes_the_rarer_it_is_asked() {
        let ms = Duration::from_millis;
        assert_eq!(pause_after(Duration::ZERO), HOLD_POLL);
        assert_eq!(pause_after(ms(100)), ms(2_000));
        assert_eq!(pause_after(Duration::from_secs(10)), HOLD_POLL_MAX);
        assert!(
            HOLD_POLL_MAX < HOLD_STALLED / 4,
            "it is asked before it is given up"
        );
    }

    #[test]
    fn a_hold_is_given_up_when_nothing_arrives_and_not_before() {
        let start = Instant::now();
        let mut arrival = Arrival::new(100, start);
        let late = start + HOLD_STALLED;
        assert!(!arrival.is_stalled(late - HOLD_POLL));
        assert_eq!(arrival.note(40, late - HOLD_POLL), Some(40));
        assert!(!arrival.is_stalled(late));
        assert_eq!(arrival.note(40, late), None);
        assert_eq!(arrival.note(30, late), None, "it does not go backwards");
        assert!(arrival.is_stalled(late + HOLD_STALLED));
        assert_eq!(
            arrival.note(u64::MAX, late + HOLD_STALLED),
            Some(100),
            "no more than it has"
        );
        assert!(
            !arrival.is_stalled(late + 9 * HOLD_STALLED),
            "it is being flushed"
        );
    }
}

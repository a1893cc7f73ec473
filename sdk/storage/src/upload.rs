//! Having a blob held by storage nodes of several organizations.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use stela_client::Sources;
use stela_identity::Credentials;
use stela_identity::tls::TlsSettings;
use stela_ipfs::{Cid, Multiaddr, Node, PeerId};
use stela_protocol::{ChannelId, OrgId};

use crate::client::{StorageClient, StorageEndpoint};
use crate::error::{CallError, UploadError};

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
    /// [`UploadError`] says who holds the blob and who does not, and why. Trying again is safe.
    pub async fn upload(
        &self,
        node: &Node,
        cid: &Cid,
        bytes: u64,
        storages: &[StorageEndpoint],
        needed: usize,
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
            .map(|storage| self.place(node, cid, bytes, storage))
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
    ) -> Result<Holder, Failure> {
        let held = async { self.enter(node, storage).await?.hold(cid, bytes).await };
        let lease_until_ms = held.await.map_err(|error| failure(storage, error))?;
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

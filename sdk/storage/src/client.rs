//! One storage node, as its clients see it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use stela_client::{ConnectError, Sources};
use stela_identity::Credentials;
use stela_identity::tls::{self, Expected, TlsSettings};
use stela_ipfs::{Cid, Member, Multiaddr, PeerId};
use stela_protocol::config::ChannelConfig;
use stela_protocol::transaction::{RequestHeader, TransactionHeader};
use stela_protocol::{ChannelId, ErrorCode, OrgId, RpcError};
use tonic::transport::Channel;
use tonic::{Response, Status};

use crate::error::CallError;
use crate::limits::{CALL_TIMEOUT, REPORT_BYTES_MAX, REQUEST_BYTES_MAX};
use crate::pb::storage_client;
use crate::report::Report;
use crate::{REQUEST_DOMAIN, pb, service};

/// A storage node as the channel's configuration names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageEndpoint {
    /// Whose it is.
    pub organization: OrgId,
    /// Who it is in the swarm.
    pub peer_id: PeerId,
    /// Where its IPFS node listens.
    pub addresses: Vec<Multiaddr>,
    /// Where members upload, `host:port`.
    pub api: String,
}

impl StorageEndpoint {
    /// All storage nodes of a channel, by organization. Entries that cannot be read are left out
    /// with a warning: they are another organization's mistake.
    pub fn all(config: &ChannelConfig) -> Vec<Self> {
        let entries = config.organizations.values().flat_map(|organization| {
            organization
                .storage
                .iter()
                .map(|node| (&organization.id, node))
        });
        let parsed = entries.filter_map(|(organization, node)| {
            let parsed = Self::parse(organization, node);
            if parsed.is_none() {
                tracing::warn!(%organization, peer_id = node.peer_id, "not a storage node");
            }
            parsed
        });
        parsed.collect()
    }

    fn parse(organization: &OrgId, node: &stela_protocol::pb::StorageEndpoint) -> Option<Self> {
        let peer_id: PeerId = node.peer_id.parse().ok()?;
        let addresses: Result<Vec<Multiaddr>, _> = node
            .addresses
            .iter()
            .map(|address| address.parse())
            .collect();
        Some(Self {
            organization: organization.clone(),
            peer_id,
            addresses: addresses.ok()?,
            api: node.api.clone(),
        })
    }

    /// The node as a member of the swarm.
    pub fn member(&self) -> Member {
        Member {
            peer: self.peer_id,
            addresses: self.addresses.clone(),
        }
    }
}

/// What a storage node says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeStatus {
    /// Its organization.
    pub organization: String,
    /// Its name.
    pub name: String,
    /// Its peer id.
    pub peer_id: String,
    /// Where its IPFS node listens.
    pub addresses: Vec<String>,
    /// Connected IPFS nodes.
    pub peers: u32,
    /// Blobs that are kept for good.
    pub permanent: u64,
    /// Blobs that are kept under a lease.
    pub leased: u64,
    /// Blobs that should be here and are not yet.
    pub wanted: u64,
}

type Client = storage_client::StorageClient<Channel>;

/// A member's connection to one storage node. Cheap to clone.
#[derive(Clone)]
pub struct StorageClient {
    client: Client,
    endpoint: StorageEndpoint,
    channel: ChannelId,
    credentials: Arc<Credentials>,
    sources: Sources,
}

impl StorageClient {
    /// Prepares the connection; it is made when it is first needed. Needs a Tokio runtime around
    /// it.
    ///
    /// # Errors
    /// [`CallError::Endpoint`] when the address or the TLS settings cannot be used at all.
    pub fn connect(
        endpoint: &StorageEndpoint,
        channel: &ChannelId,
        tls: &TlsSettings,
        credentials: Arc<Credentials>,
    ) -> Result<Self, CallError> {
        let connected = tls::connect(tls, &endpoint.api, Expected::of(&endpoint.organization))
            .map_err(|source| ConnectError::Tls {
                address: endpoint.api.clone(),
                source,
            })?;
        let client = Client::new(connected).max_decoding_message_size(REQUEST_BYTES_MAX);
        Ok(Self {
            client,
            endpoint: endpoint.clone(),
            channel: channel.clone(),
            credentials,
            sources: Sources::default(),
        })
    }

    /// The same with another clock and randomness.
    #[must_use]
    pub fn with_sources(mut self, sources: Sources) -> Self {
        self.sources = sources;
        self
    }

    /// The node that is asked.
    pub fn endpoint(&self) -> &StorageEndpoint {
        &self.endpoint
    }

    /// Has the caller's own IPFS node let into the swarm; returns until when, in milliseconds
    /// since the Unix epoch.
    ///
    /// # Errors
    /// [`CallError`] with what the node answered.
    pub async fn admit(&self, peer: PeerId) -> Result<u64, CallError> {
        let head = Some(self.head("Admit"));
        let request = self.sign(&pb::AdmitRequest {
            head,
            peer_id: peer.to_string(),
        });
        let mut client = self.client.clone();
        let answer = self
            .answer("Admit", CALL_TIMEOUT, client.admit(request))
            .await?;
        Ok(answer.until_ms)
    }

    /// Has a blob of `bytes` bytes fetched and held; returns until when, once it is on the node's
    /// disk in full. The caller's role must be one of [`service::UPLOADERS`].
    ///
    /// # Errors
    /// [`CallError`] with what the node answered.
    pub async fn hold(&self, cid: &Cid, bytes: u64) -> Result<u64, CallError> {
        let head = Some(self.head("Hold"));
        let request = self.sign(&pb::HoldRequest {
            head,
            cid: cid.to_string(),
            bytes,
        });
        let mut client = self.client.clone();
        let limit = service::fetch_timeout(bytes) + CALL_TIMEOUT;
        let answer = self.answer("Hold", limit, client.hold(request)).await?;
        Ok(answer.lease_until_ms)
    }

    /// Whether the node has a blob in full.
    ///
    /// # Errors
    /// [`CallError`] with what the node answered.
    pub async fn has(&self, cid: &Cid) -> Result<bool, CallError> {
        Ok(self.ask_for(cid).await?.has)
    }

    /// How many bytes of a blob's blocks the node says to have: how far a hold is.
    ///
    /// # Errors
    /// [`CallError`] with what the node answered.
    pub async fn stored_bytes(&self, cid: &Cid) -> Result<u64, CallError> {
        Ok(self.ask_for(cid).await?.bytes)
    }

    async fn ask_for(&self, cid: &Cid) -> Result<pb::HasResponse, CallError> {
        let head = Some(self.head("Has"));
        let request = self.sign(&pb::HasRequest {
            head,
            cid: cid.to_string(),
        });
        let mut client = self.client.clone();
        self.answer("Has", CALL_TIMEOUT, client.has(request)).await
    }

    /// What the node says of itself.
    ///
    /// # Errors
    /// [`CallError`] with what the node answered.
    pub async fn status(&self) -> Result<NodeStatus, CallError> {
        let head = Some(self.head("Status"));
        let request = self.sign(&pb::StatusRequest { head });
        let mut client = self.client.clone();
        let answer = self
            .answer("Status", CALL_TIMEOUT, client.status(request))
            .await?;
        Ok(NodeStatus {
            organization: answer.organization,
            name: answer.name,
            peer_id: answer.peer_id,
            addresses: answer.addresses,
            peers: answer.peers,
            permanent: answer.permanent,
            leased: answer.leased,
            wanted: answer.wanted,
        })
    }

    /// What the node keeps, has lost and has mended. The caller must be an administrator of the
    /// node's organization.
    ///
    /// # Errors
    /// [`CallError`] with what the node answered.
    pub async fn report(&self) -> Result<Report, CallError> {
        let head = Some(self.head("Report"));
        let request = self.sign(&pb::ReportRequest { head });
        let mut client = self
            .client
            .clone()
            .max_decoding_message_size(REPORT_BYTES_MAX);
        let answer = self
            .answer("Report", CALL_TIMEOUT, client.report(request))
            .await?;
        Ok(answer.into())
    }

    fn head(&self, method: &str) -> pb::Head {
        let header = TransactionHeader {
            channel: self.channel.clone(),
            nonce: self.sources.nonce(),
            creator: self.credentials.fingerprint(),
            timestamp_ms: self.sources.now_ms(),
        };
        let header = RequestHeader {
            header,
            method: method.to_owned(),
        };
        pb::Head {
            header: Some(header.to_pb()),
            node: self.endpoint.peer_id.to_string(),
        }
    }

    pub(crate) fn sign(&self, message: &impl Message) -> pb::SignedRequest {
        let payload: Bytes = message.encode_to_vec().into();
        let signature = self.credentials.sign(REQUEST_DOMAIN, &payload);
        pb::SignedRequest {
            payload,
            signature: Bytes::copy_from_slice(&signature),
            certificate: self.credentials.certificate.der().clone(),
        }
    }

    async fn answer<T>(
        &self,
        procedure: &'static str,
        limit: Duration,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, CallError> {
        let source = match tokio::time::timeout(limit, call).await {
            Ok(Ok(answer)) => return Ok(answer.into_inner()),
            Ok(Err(status)) => RpcError::from(status),
            Err(_) => RpcError::new(
                ErrorCode::Timeout,
                format!("no answer within {} ms", limit.as_millis()),
            ),
        };
        let organization = self.endpoint.organization.clone();
        Err(CallError::Rpc {
            organization,
            procedure,
            source,
        })
    }
}

impl fmt::Debug for StorageClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StorageClient")
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

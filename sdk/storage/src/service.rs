//! The node: what it is asked, and what it decides. Everything it holds and everybody it lets in
//! goes through here.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use stela_client::{Checkpoint, Sources};
use stela_identity::{Certificate, Identity};
use stela_ipfs::{Cid, FetchError, Member, PeerId, PinKind, PinningNode};
use stela_protocol::{Fingerprint, OrgId, RpcError};
use tonic::{Request, Response, Status};

use crate::admission::Admissions;
use crate::config::Checking;
use crate::erased::Erased;
use crate::error::{AdmitError, HoldError, RequestError};
use crate::findings::Findings;
use crate::leases::{Leases, Quotas};
use crate::limits::{
    ADMISSION_MS, CID_CHARS_MAX, FETCH_BYTES_PER_SECOND_MIN, FETCH_TIMEOUT, HOLDS_MAX,
    HOLDS_PER_IDENTITY_MAX, LEASE_MS, PEER_ID_CHARS_MAX, REQUEST_BYTES_MAX, ROOT_TIMEOUT,
};
use crate::membership::Membership;
use crate::pb;
use crate::pb::storage_server::{Storage, StorageServer};
use crate::request::Door;
use crate::sweep::Sweep;
use crate::wanted::Wanted;

/// The roles that may have blobs held.
pub const UPLOADERS: [&str; 5] = [
    "practitioner",
    "records-officer",
    "patient",
    "device",
    "storage",
];

/// What a storage node is made of.
pub struct Parts {
    /// Whose it is.
    pub organization: OrgId,
    /// Its name within the organization.
    pub name: String,
    /// Its place in the swarm.
    pub node: Arc<dyn PinningNode>,
    /// Who the members are.
    pub membership: Membership,
    /// How much may be under lease.
    pub quotas: Quotas,
    /// How what is kept is read again.
    pub checking: Checking,
    /// Clock and randomness.
    pub sources: Sources,
}

/// A storage node. Clones are handles on the same one.
#[derive(Clone)]
pub struct StorageNode(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) organization: OrgId,
    pub(crate) name: String,
    pub(crate) node: Arc<dyn PinningNode>,
    pub(crate) membership: Membership,
    pub(crate) sources: Sources,
    pub(crate) leases: Arc<Leases>,
    pub(crate) wanted: Wanted,
    pub(crate) erased: Erased,
    pub(crate) admissions: Mutex<Admissions>,
    pub(crate) checking: Checking,
    pub(crate) sweep: Sweep,
    pub(crate) findings: Findings,
    /// The last event that was dealt with.
    pub(crate) followed: Mutex<Option<Checkpoint>>,
    pub(crate) door: Door,
    holding: Mutex<BTreeMap<Fingerprint, usize>>,
}

impl StorageNode {
    /// Opens what the node remembers in its data folder.
    ///
    /// # Errors
    /// When the folder cannot be read or written.
    pub fn open(parts: Parts, data: &Path) -> io::Result<Self> {
        let Parts {
            organization,
            name,
            node,
            membership,
            quotas,
            checking,
            sources,
        } = parts;
        let door = Door::new(node.peer_id(), membership.clone(), sources.clone());
        Ok(Self(Arc::new(Inner {
            organization,
            name,
            membership,
            sources,
            leases: Arc::new(Leases::open(data.join("leases"), quotas)?),
            wanted: Wanted::open(data.join("wanted"))?,
            erased: Erased::open(data.join("erased"))?,
            admissions: Mutex::default(),
            checking,
            sweep: Sweep::open(data.join("check"))?,
            findings: Findings::open(data.join("findings"))?,
            followed: Mutex::default(),
            door,
            holding: Mutex::default(),
            node,
        })))
    }

    /// Its place in the swarm.
    pub fn peer_id(&self) -> PeerId {
        self.0.node.peer_id()
    }

    /// The service that members call.
    pub fn service(&self) -> StorageServer<StorageService> {
        StorageServer::new(StorageService(self.clone()))
            .max_decoding_message_size(REQUEST_BYTES_MAX)
    }

    async fn admit(&self, request: &pb::SignedRequest) -> Result<pb::AdmitResponse, AdmitError> {
        let (body, identity) = self.0.door.open::<pb::AdmitRequest>(request)?;
        let peer = peer_id(&body.peer_id).ok_or(AdmitError::PeerId)?;
        let until_ms = self.0.sources.now_ms().saturating_add(ADMISSION_MS);
        // A storage node is in the swarm by the configuration, and nobody's word changes that.
        if self.0.membership.view().is_storage(&peer) || peer == self.0.node.peer_id() {
            return Ok(pb::AdmitResponse { until_ms });
        }
        let sponsor = Certificate::from_der(&request.certificate).map_err(RequestError::from)?;
        let admitted = self.0.admissions.lock().admit(peer, sponsor, until_ms);
        let leaves = admitted.map_err(|_| AdmitError::Full { peer })?;
        if let Some(leaves) = leaves {
            self.0.node.shut_out(leaves).await;
        }
        if !self
            .0
            .node
            .let_in(Member {
                peer,
                addresses: Vec::new(),
            })
            .await
        {
            return Err(AdmitError::Full { peer });
        }
        tracing::info!(%peer, by = %identity.fingerprint, "admitted to the swarm");
        Ok(pb::AdmitResponse { until_ms })
    }

    async fn hold(&self, request: &pb::SignedRequest) -> Result<pb::HoldResponse, HoldError> {
        let (body, identity) = self.0.door.open::<pb::HoldRequest>(request)?;
        let cid = cid(&body.cid).ok_or(HoldError::Cid)?;
        if !UPLOADERS.contains(&identity.role.as_str()) {
            return Err(HoldError::Role {
                role: identity.role,
            });
        }
        let _turn = self.turn(&identity, cid)?;
        let until_ms = self.0.sources.now_ms().saturating_add(LEASE_MS);
        let reserved = self.0.leases.reserve(&identity, cid, body.bytes, until_ms);
        let lease = reserved.map_err(|limit| HoldError::Quota { cid, limit })?;
        self.fetch(cid, body.bytes, lease.until_ms()).await?;
        let lease_until_ms = lease.until_ms();
        lease
            .keep()
            .map_err(|source| HoldError::Disk { cid, source })?;
        tracing::info!(%cid, bytes = body.bytes, by = %identity.fingerprint, "held");
        Ok(pb::HoldResponse { lease_until_ms })
    }

    /// Brings a blob here, if it has the size that it is said to have.
    async fn fetch(&self, cid: Cid, declared: u64, until_ms: u64) -> Result<(), HoldError> {
        let fetch = |error| HoldError::Fetch {
            cid,
            source: Box::new(error),
        };
        // The root alone tells the size, so that nothing is fetched beyond what was paid for.
        let root = self.0.node.get(&cid, ROOT_TIMEOUT).await.map_err(fetch)?;
        let actual = root.bytes();
        drop(root);
        if actual != declared {
            return Err(HoldError::Size {
                cid,
                declared,
                actual,
            });
        }
        let kind = PinKind::Leased { until_ms };
        self.0
            .node
            .fetch_and_pin(&cid, kind, fetch_timeout(declared))
            .await
            .map(drop)
            .map_err(fetch)
    }

    /// A place among those whose blobs are being fetched.
    fn turn(&self, identity: &Identity, cid: Cid) -> Result<Turn, HoldError> {
        let mut holding = self.0.holding.lock();
        let busy = |limit| Err(HoldError::Busy { cid, limit });
        if holding.values().sum::<usize>() >= HOLDS_MAX {
            return busy("HOLDS_MAX");
        }
        let own = holding.entry(identity.fingerprint).or_default();
        if *own >= HOLDS_PER_IDENTITY_MAX {
            return busy("HOLDS_PER_IDENTITY_MAX");
        }
        *own += 1;
        Ok(Turn {
            node: self.0.clone(),
            identity: identity.fingerprint,
        })
    }

    async fn has(&self, request: &pb::SignedRequest) -> Result<pb::HasResponse, HoldError> {
        let (body, _) = self.0.door.open::<pb::HasRequest>(request)?;
        let cid = cid(&body.cid).ok_or(HoldError::Cid)?;
        let fetch = |error| HoldError::Fetch {
            cid,
            source: Box::new(error),
        };
        let has = match self.0.node.has(&cid).await {
            Err(FetchError::NotFound { .. }) => false,
            other => other.map_err(fetch)?,
        };
        let bytes = self.0.node.stored_bytes(&cid).await.map_err(fetch)?;
        Ok(pb::HasResponse { has, bytes })
    }

    async fn status(
        &self,
        request: &pb::SignedRequest,
    ) -> Result<pb::StatusResponse, RequestError> {
        self.0.door.open::<pb::StatusRequest>(request)?;
        let node = &self.0.node;
        let pins = node.pins().await.unwrap_or_default();
        let permanent = pins
            .iter()
            .filter(|pin| pin.kind == PinKind::Permanent)
            .count();
        Ok(pb::StatusResponse {
            organization: self.0.organization.to_string(),
            name: self.0.name.clone(),
            peer_id: node.peer_id().to_string(),
            addresses: node
                .addresses()
                .await
                .iter()
                .map(ToString::to_string)
                .collect(),
            peers: u32::try_from(node.connected().await.len()).unwrap_or(u32::MAX),
            permanent: permanent as u64,
            leased: (pins.len() - permanent) as u64,
            wanted: self.0.wanted.len() as u64,
        })
    }

    fn refuse(&self, error: impl Into<RpcError>) -> Status {
        let origin = format!("{}/{}", self.0.organization, self.0.name);
        error.into().from_origin(&origin).into()
    }
}

/// How long a blob of so many bytes may take to arrive.
pub(crate) fn fetch_timeout(bytes: u64) -> Duration {
    FETCH_TIMEOUT.saturating_add(Duration::from_secs(bytes / FETCH_BYTES_PER_SECOND_MIN))
}

fn peer_id(text: &str) -> Option<PeerId> {
    (text.len() <= PEER_ID_CHARS_MAX)
        .then(|| text.parse().ok())
        .flatten()
}

fn cid(text: &str) -> Option<Cid> {
    (text.len() <= CID_CHARS_MAX)
        .then(|| text.parse().ok())
        .flatten()
}

/// A place that is given back when dropped.
struct Turn {
    node: Arc<Inner>,
    identity: Fingerprint,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut holding = self.node.holding.lock();
        if let Some(own) = holding.get_mut(&self.identity) {
            *own -= 1;
            if *own == 0 {
                holding.remove(&self.identity);
            }
        }
    }
}

/// The gRPC side of a [`StorageNode`].
#[derive(Clone)]
pub struct StorageService(StorageNode);

#[tonic::async_trait]
impl Storage for StorageService {
    async fn admit(
        &self,
        request: Request<pb::SignedRequest>,
    ) -> Result<Response<pb::AdmitResponse>, Status> {
        let answer = self.0.admit(request.get_ref()).await;
        answer
            .map(Response::new)
            .map_err(|error| self.0.refuse(error))
    }

    async fn hold(
        &self,
        request: Request<pb::SignedRequest>,
    ) -> Result<Response<pb::HoldResponse>, Status> {
        let answer = self.0.hold(request.get_ref()).await;
        answer
            .map(Response::new)
            .map_err(|error| self.0.refuse(error))
    }

    async fn has(
        &self,
        request: Request<pb::SignedRequest>,
    ) -> Result<Response<pb::HasResponse>, Status> {
        let answer = self.0.has(request.get_ref()).await;
        answer
            .map(Response::new)
            .map_err(|error| self.0.refuse(error))
    }

    async fn status(
        &self,
        request: Request<pb::SignedRequest>,
    ) -> Result<Response<pb::StatusResponse>, Status> {
        let answer = self.0.status(request.get_ref()).await;
        answer
            .map(Response::new)
            .map_err(|error| self.0.refuse(error))
    }

    async fn report(
        &self,
        request: Request<pb::SignedRequest>,
    ) -> Result<Response<pb::ReportResponse>, Status> {
        let answer = self.0.report(request.get_ref()).await;
        answer
            .map(Response::new)
            .map_err(|error| self.0.refuse(error))
    }
}

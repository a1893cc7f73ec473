//! What the administrators of the node's own organization do.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use stela_identity::{Certificate, CertificateError, IdentityError};
use stela_protocol::pb::admin_server::Admin;
use stela_protocol::transaction::{RequestHeader, TransactionError};
use stela_protocol::{ErrorCode, Fingerprint, Message, Nonce, RpcError, hash, pb};
use tonic::{Request, Response, Status};

use super::status;
use crate::driver::{now_ms, stopping};
use crate::limits::{ADMIN_NONCES_MAX, ADMIN_WINDOW_MS};
use crate::node::{Node, Ordered};

/// Why an administrator's request was refused.
#[derive(Debug, thiserror::Error)]
enum AdminError {
    #[error("the request cannot be decoded: {0}")]
    Undecodable(String),
    #[error(transparent)]
    Header(#[from] TransactionError),
    #[error("the certificate: {0}")]
    Certificate(#[from] CertificateError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error("certificate {certificate} has the role {role:?}; administration takes \"admin\"")]
    Role {
        certificate: Fingerprint,
        role: String,
    },
    #[error("the request names another creator than its certificate")]
    Creator,
    #[error("the signature of the request is not that of certificate {0}")]
    Signature(Fingerprint),
    #[error(
        "the request's time {timestamp_ms} ms is more than {ADMIN_WINDOW_MS} ms from {now_ms} ms"
    )]
    Expired { timestamp_ms: u64, now_ms: u64 },
    #[error("this request was made before; sign a new one")]
    Replayed,
    #[error("too many administrators' requests at a time; try again later")]
    Overloaded,
    #[error("an orderer installs no packages; install them on peers")]
    Install,
}

impl From<AdminError> for RpcError {
    fn from(error: AdminError) -> Self {
        let code = match &error {
            AdminError::Undecodable(_) | AdminError::Header(_) | AdminError::Creator => {
                ErrorCode::Malformed
            }
            AdminError::Certificate(_) | AdminError::Identity(_) => ErrorCode::UnknownIdentity,
            AdminError::Role { .. } | AdminError::Install => ErrorCode::Forbidden,
            AdminError::Signature(_) => ErrorCode::BadSignature,
            AdminError::Expired { .. } => ErrorCode::Expired,
            AdminError::Replayed => ErrorCode::Replayed,
            AdminError::Overloaded => ErrorCode::Overloaded,
        };
        Self::new(code, error.to_string())
    }
}

pub(super) struct AdminService {
    node: Arc<Node>,
    nonces: Mutex<Nonces>,
}

#[tonic::async_trait]
impl Admin for AdminService {
    async fn join(
        &self,
        request: Request<pb::AdminRequest>,
    ) -> Result<Response<pb::AdminResponse>, Status> {
        self.join_channel(request.get_ref())
            .await
            .map_err(status(&self.node))?;
        Ok(Response::new(pb::AdminResponse {}))
    }

    async fn install(
        &self,
        _: Request<pb::AdminRequest>,
    ) -> Result<Response<pb::AdminResponse>, Status> {
        Err(status(&self.node)(AdminError::Install.into()))
    }

    async fn status(
        &self,
        request: Request<pb::AdminRequest>,
    ) -> Result<Response<pb::StatusResponse>, Status> {
        let answer = self
            .describe(request.get_ref())
            .map_err(status(&self.node))?;
        Ok(Response::new(answer))
    }
}

impl AdminService {
    pub(super) fn new(node: Arc<Node>) -> Self {
        Self {
            node,
            nonces: Mutex::default(),
        }
    }

    async fn join_channel(&self, request: &pb::AdminRequest) -> Result<(), RpcError> {
        let payload: pb::JoinRequest = decode(request)?;
        let header = self.authorize(request, payload.header.as_ref(), "Join")?;
        let node = self.node.clone();
        let join = move || node.join(&header.header.channel, payload.genesis, payload.config);
        tokio::task::spawn_blocking(join)
            .await
            .map_err(|_| stopping())??;
        Ok(())
    }

    fn describe(&self, request: &pb::AdminRequest) -> Result<pb::StatusResponse, RpcError> {
        let payload: pb::StatusRequest = decode(request)?;
        self.authorize(request, payload.header.as_ref(), "Status")?;
        let settings = self.node.settings();
        Ok(pb::StatusResponse {
            organization: settings.organization.to_string(),
            name: settings.name.clone(),
            channels: self
                .node
                .channels()
                .iter()
                .map(|ordered| channel_status(ordered))
                .collect(),
            packages: Vec::new(),
        })
    }

    /// Checks that an administrator of the node's own organization signed the request, for this
    /// procedure, now, and once. What is remembered against replay is forgotten when the node
    /// starts anew: joining a channel twice changes nothing, and a status is only read.
    fn authorize(
        &self,
        request: &pb::AdminRequest,
        header: Option<&pb::RequestHeader>,
        method: &'static str,
    ) -> Result<RequestHeader, AdminError> {
        let now_ms = now_ms();
        let request_header = RequestHeader::parse(header, method)?;
        let header = &request_header.header;
        let certificate = Certificate::from_der(&request.certificate)?;
        let identity = self.node.own_msp().validate(&certificate, now_ms)?;
        let fingerprint = identity.fingerprint;
        for ordered in self.node.channels() {
            if ordered.in_force().channel.msp().is_revoked(&fingerprint) {
                let organization = identity.organization;
                return Err(IdentityError::Revoked {
                    fingerprint,
                    organization,
                }
                .into());
            }
        }
        if identity.role != "admin" {
            return Err(AdminError::Role {
                certificate: fingerprint,
                role: identity.role,
            });
        }
        if header.creator != fingerprint {
            return Err(AdminError::Creator);
        }
        identity
            .verify(hash::domain::ADMIN, &request.payload, &request.signature)
            .map_err(|_| AdminError::Signature(fingerprint))?;
        if !header.is_within(now_ms, ADMIN_WINDOW_MS) {
            return Err(AdminError::Expired {
                timestamp_ms: header.timestamp_ms,
                now_ms,
            });
        }
        self.nonces.lock().take(fingerprint, header.nonce, now_ms)?;
        Ok(request_header)
    }
}

fn decode<M: Message + Default>(request: &pb::AdminRequest) -> Result<M, AdminError> {
    M::decode(request.payload.clone()).map_err(|error| AdminError::Undecodable(error.to_string()))
}

fn channel_status(ordered: &Ordered) -> pb::ChannelStatus {
    let view = *ordered.handle.view().borrow();
    pb::ChannelStatus {
        channel: ordered.id.to_string(),
        height: view.head.next().0,
        header_hash: view.head_hash.to_bytes(),
        leader: view.leader,
        term: view.term,
        orderer: ordered.orderer,
        ..Default::default()
    }
}

/// Requests that were made, until their time has passed either way.
#[derive(Default)]
struct Nonces {
    known: HashSet<(Fingerprint, Nonce)>,
    order: VecDeque<(u64, (Fingerprint, Nonce))>,
}

impl Nonces {
    fn take(&mut self, creator: Fingerprint, nonce: Nonce, now_ms: u64) -> Result<(), AdminError> {
        while let Some((_, old)) = self
            .order
            .pop_front_if(|(at, _)| at.saturating_add(2 * ADMIN_WINDOW_MS) < now_ms)
        {
            self.known.remove(&old);
        }
        if self.known.contains(&(creator, nonce)) {
            return Err(AdminError::Replayed);
        }
        if self.order.len() >= ADMIN_NONCES_MAX {
            return Err(AdminError::Overloaded);
        }
        self.known.insert((creator, nonce));
        self.order.push_back((now_ms, (creator, nonce)));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_counts_once() {
        let mut nonces = Nonces::default();
        let (creator, nonce) = (Fingerprint([1; 32]), Nonce([2; 24]));
        assert!(nonces.take(creator, nonce, 1_000).is_ok());
        let late = 1_000 + 2 * ADMIN_WINDOW_MS;
        assert!(matches!(
            nonces.take(creator, nonce, late),
            Err(AdminError::Replayed)
        ));
        assert!(nonces.take(Fingerprint([3; 32]), nonce, late).is_ok());
        assert!(nonces.take(creator, nonce, late + 1).is_ok());
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut nonces = Nonces::default();
        for n in 0..ADMIN_NONCES_MAX as u32 {
            let mut nonce = [0; 24];
            nonce[..4].copy_from_slice(&n.to_be_bytes());
            assert!(nonces.take(Fingerprint([1; 32]), Nonce(nonce), 0).is_ok());
        }
        let one_more = nonces.take(Fingerprint([1; 32]), Nonce([9; 24]), 0);
        assert!(matches!(one_more, Err(AdminError::Overloaded)));
    }
}

//! An endorser with a real organization's credentials that does not do what it should.

use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use prost::Message;
use stela_calls::{Callee, CallsService, reply};
use stela_identity::Credentials;
use stela_identity::tls::{self, PeerTls, TlsIncoming, TlsSettings};
use stela_protocol::hash::{self, domain};
use stela_protocol::limits::MESSAGE_BYTES_MAX;
use stela_protocol::pb::endorser_server::{Endorser, EndorserServer};
use stela_protocol::pb::{self, Procedure};
use stela_protocol::{ErrorCode, RpcError};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::{Answer, answer};

/// How often one was asked for its state hash.
pub static STATE_HASHES_ASKED: AtomicU64 = AtomicU64::new(0);

/// What it does.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    /// It takes every request and never answers.
    Silent,
    /// It refuses.
    Refuses(ErrorCode),
    /// It signs another result, for a state of this height as it says.
    Differs { height: u64 },
}

struct Faulty {
    fault: Fault,
    credentials: Arc<Credentials>,
}

/// Serves until the test ends.
pub async fn serve(
    address: SocketAddr,
    settings: TlsSettings,
    credentials: Arc<Credentials>,
    fault: Fault,
) {
    let listener = TcpListener::bind(address).await.unwrap();
    let incoming = TlsIncoming::new(listener, settings).unwrap();
    let faulty = Faulty { fault, credentials };
    let faulty = Arc::new(faulty);
    let server = tls::server()
        .add_service(CallsService::server(faulty.clone(), MESSAGE_BYTES_MAX))
        .add_service(EndorserServer::from_arc(faulty))
        .serve_with_incoming(incoming);
    tokio::spawn(server);
}

impl Faulty {
    async fn fail(&self) -> Result<u64, Status> {
        match self.fault {
            Fault::Silent => pending().await,
            Fault::Refuses(code) => Err(RpcError::new(code, "it refuses everything").into()),
            Fault::Differs { height } => Ok(height),
        }
    }
}

impl Callee for Faulty {
    async fn answer(
        self: Arc<Self>,
        _: Option<PeerTls>,
        procedure: Procedure,
        request: Bytes,
    ) -> Answer<Bytes> {
        assert_eq!(procedure, Procedure::EndorserEndorse);
        let endorse = |request| async { answer(self.endorse(Request::new(request)).await) };
        reply(request, endorse).await
    }

    fn stop(&self) -> CancellationToken {
        CancellationToken::new()
    }
}

#[tonic::async_trait]
impl Endorser for Faulty {
    async fn endorse(
        &self,
        request: Request<pb::EndorseRequest>,
    ) -> Result<Response<pb::ProposalResponse>, Status> {
        let height = self.fail().await?;
        let response = pb::Response {
            payload: Bytes::from_static(b"another result"),
        };
        let result = pb::Result {
            response: Some(response),
            ..Default::default()
        };
        let result: Bytes = result.encode_to_vec().into();
        let proposal = request.into_inner().proposal.unwrap().payload;
        let message = hash::endorsement_message(&proposal, &result);
        let signature = self.credentials.sign(domain::ENDORSEMENT, &message);
        let endorsement = pb::Endorsement {
            endorser: self.credentials.fingerprint().to_bytes(),
            signature: Bytes::copy_from_slice(&signature),
        };
        Ok(Response::new(pb::ProposalResponse {
            result,
            endorsement: Some(endorsement),
            height,
            state_hash: Bytes::new(),
        }))
    }

    async fn put_side(
        &self,
        _: Request<pb::PutSideRequest>,
    ) -> Result<Response<pb::PutSideResponse>, Status> {
        self.fail().await?;
        Err(Status::unavailable("it keeps nothing"))
    }

    async fn state_hash(
        &self,
        request: Request<pb::StateHashRequest>,
    ) -> Result<Response<pb::StateHashResponse>, Status> {
        STATE_HASHES_ASKED.fetch_add(1, Ordering::Relaxed);
        let said = self.fail().await?;
        Ok(Response::new(pb::StateHashResponse {
            height: said.min(request.into_inner().height),
            state_hash: Bytes::from_static(&[9; 32]),
        }))
    }

    async fn get_side(
        &self,
        _: Request<pb::GetSideRequest>,
    ) -> Result<Response<pb::SideResponse>, Status> {
        self.fail().await?;
        Err(Status::unavailable("it has nothing"))
    }
}

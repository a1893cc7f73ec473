//! What others call. Each service translates between the wire and the node; nothing is decided
//! here but who may call.

mod admin;
mod broadcast;
mod consensus;
mod deliver;
mod health;

use std::sync::Arc;

use stela_calls::CallsService;
use stela_identity::tls::{PeerTls, TlsIncoming, server};
use stela_protocol::limits::MESSAGE_BYTES_MAX;
use stela_protocol::pb::admin_server::AdminServer;
use stela_protocol::pb::broadcast_server::BroadcastServer;
use stela_protocol::pb::consensus_server::ConsensusServer;
use stela_protocol::pb::deliver_server::DeliverServer;
use stela_protocol::{ErrorCode, RpcError};
use tokio::net::TcpListener;
use tonic::{Request, Status};

use self::admin::AdminService;
use self::broadcast::BroadcastService;
use self::consensus::ConsensusService;
use self::deliver::DeliverService;
use crate::limits::{ADMIN_BYTES_MAX, BROADCAST_BYTES_MAX, CONSENSUS_FRAME_BYTES};
use crate::node::{Node, Ordered};

/// Why a node does not serve any more.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The system refused to listen.
    #[error("cannot listen: {0}")]
    Listen(#[from] std::io::Error),
    /// The transport ended.
    #[error("the transport ended: {0}")]
    Transport(#[from] tonic::transport::Error),
}

/// Serves all services of `node` on `listener` until the node stops.
///
/// # Errors
/// What the transport says when it cannot go on.
pub async fn serve(node: Arc<Node>, listener: TcpListener) -> Result<(), ServeError> {
    let incoming = TlsIncoming::new(listener, node.tls().clone())?;
    let consensus = ConsensusServer::new(ConsensusService(node.clone()))
        .max_decoding_message_size(MESSAGE_BYTES_MAX + CONSENSUS_FRAME_BYTES);
    let broadcast = BroadcastServer::new(BroadcastService(node.clone()))
        .max_decoding_message_size(BROADCAST_BYTES_MAX);
    let admin = AdminServer::new(AdminService::new(node.clone()))
        .max_decoding_message_size(ADMIN_BYTES_MAX);
    let deliver = DeliverServer::new(DeliverService(node.clone()));
    server()
        .add_service(broadcast)
        .add_service(CallsService::server(node.clone(), BROADCAST_BYTES_MAX))
        .add_service(deliver)
        .add_service(consensus)
        .add_service(admin)
        .add_service(stela_health::service(node.clone()))
        .serve_with_incoming_shutdown(incoming, node.stop().cancelled())
        .await?;
    Ok(())
}

/// Who called.
fn peer<T>(request: &Request<T>) -> Result<PeerTls, RpcError> {
    request
        .extensions()
        .get::<PeerTls>()
        .cloned()
        .ok_or_else(no_certificate)
}

fn no_certificate() -> RpcError {
    let why = "the connection shows no TLS certificate";
    RpcError::new(ErrorCode::Forbidden, why)
}

/// The channel, if the caller's organization is a member of it.
fn member_channel(node: &Node, peer: &PeerTls, name: &str) -> Result<Arc<Ordered>, RpcError> {
    let ordered = node.channel(name)?;
    if !ordered.admits(peer) {
        return Err(not_a_member(peer, &ordered));
    }
    Ok(ordered)
}

fn not_a_member(peer: &PeerTls, ordered: &Ordered) -> RpcError {
    let message = format!(
        "{} is not a member of channel {}, or has revoked this certificate",
        peer.organization, ordered.id
    );
    RpcError::new(ErrorCode::Forbidden, message)
}

/// Returns when a configuration is in force that does not admit the caller.
async fn excluded(ordered: &Ordered, peer: &PeerTls) -> RpcError {
    let mut in_force = ordered.handle.in_force();
    loop {
        if !ordered.admits(peer) {
            return not_a_member(peer, ordered);
        }
        if in_force.changed().await.is_err() {
            // The chain has ended, and nothing changes any more.
            std::future::pending::<()>().await;
        }
    }
}

/// An error as this node says it.
fn status(node: &Node) -> impl Fn(RpcError) -> Status {
    |error| error.from_origin(node.origin()).into()
}

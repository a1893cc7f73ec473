//! What administrators of the node's own organization call.
//!
//! A request carries its maker's certificate, because before a channel is joined nothing else says
//! who asks. The certificate has to be issued by one of the organization's roots that the node was
//! configured with, name the role `admin`, and not be revoked on any channel.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use stela_identity::Certificate;
use stela_protocol::block::{Block, BlockError};
use stela_protocol::hash::domain;
use stela_protocol::pb::admin_server::Admin;
use stela_protocol::policy::ADMIN;
use stela_protocol::transaction::{RequestHeader, Signed, TransactionHeader};
use stela_protocol::{ErrorCode, RpcError, pb};
use tonic::{Request, Response, Status};

use crate::answer;
use crate::channel::{Channel, ChannelError};
use crate::limits::{ADMIN_WINDOW_MS, CHANNELS_MAX};
use crate::node::Node;
use crate::requests::check_fresh;

/// The administration of one node.
pub(crate) struct AdminService(pub(crate) Arc<Node>);

#[tonic::async_trait]
impl Admin for AdminService {
    async fn join(
        &self,
        request: Request<pb::AdminRequest>,
    ) -> Result<Response<pb::AdminResponse>, Status> {
        self.0.answer(join(&self.0, request.into_inner()).await)
    }

    async fn install(
        &self,
        request: Request<pb::AdminRequest>,
    ) -> Result<Response<pb::AdminResponse>, Status> {
        self.0.answer(install(&self.0, request.into_inner()).await)
    }

    async fn status(
        &self,
        request: Request<pb::AdminRequest>,
    ) -> Result<Response<pb::StatusResponse>, Status> {
        self.0.answer(status(&self.0, request.into_inner()))
    }
}

async fn join(node: &Arc<Node>, request: pb::AdminRequest) -> Result<pb::AdminResponse, RpcError> {
    let (request, header): (pb::JoinRequest, _) =
        authenticate(node, request, "Join", |request: &pb::JoinRequest| {
            request.header.clone()
        })?;
    let genesis = Block::decode(request.genesis).map_err(|error| bad_block(&error))?;
    if genesis.header.channel != header.channel {
        let why = "the first block is of another channel than the request";
        return Err(RpcError::new(ErrorCode::Malformed, why));
    }
    let _turn = node.joining.lock().await;
    if let Ok(joined) = node.joined(&header.channel) {
        return same_genesis(&joined, &genesis).map(|()| pb::AdminResponse {});
    }
    if node.channels.read().len() >= CHANNELS_MAX {
        let why = format!("{CHANNELS_MAX} channels are joined already");
        return Err(RpcError::new(ErrorCode::TooLarge, why));
    }
    let channel = open(node, genesis).await?;
    tracing::info!(channel = %channel.id(), "joined a channel");
    node.serve(Arc::new(channel));
    node.trust_channels().map_err(|error| {
        RpcError::new(
            ErrorCode::Internal,
            format!("TLS roots of the channel: {error}"),
        )
    })?;
    Ok(pb::AdminResponse {})
}

fn same_genesis(joined: &Channel, genesis: &Block) -> Result<(), RpcError> {
    if joined.genesis_hash() == genesis.hash {
        return Ok(());
    }
    Err(channel_error(ChannelError::OtherGenesis(
        joined.id().clone(),
    )))
}

async fn open(node: &Arc<Node>, genesis: Block) -> Result<Channel, RpcError> {
    let node = node.clone();
    let work = move || {
        check_genesis(&node, &genesis)?;
        let kv = node
            .database(&genesis.header.channel)
            .map_err(|error| channel_error(error.into()))?;
        Channel::join(kv, &genesis, &node.organization).map_err(channel_error)
    };
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| answer::fallen())?
}

/// Refuses a first block before there is a database for it.
fn check_genesis(node: &Node, genesis: &Block) -> Result<(), RpcError> {
    let membership = Channel::check_genesis(genesis, &node.organization).map_err(channel_error)?;
    let now_ms = node.clock.now_ms();
    membership
        .validate(&node.credentials.certificate, now_ms)
        .map_err(|error| {
            let why = format!("the channel does not accept this peer's own certificate: {error}");
            RpcError::new(ErrorCode::Malformed, why)
        })?;
    node.own_tls_roots
        .clone()
        .add_config(membership.config())
        .map(drop)
        .map_err(|error| {
            RpcError::new(
                ErrorCode::Malformed,
                format!("a TLS root of the channel: {error}"),
            )
        })
}

fn bad_block(error: &BlockError) -> RpcError {
    let code = match error {
        BlockError::TooLarge(_) => ErrorCode::TooLarge,
        _ => ErrorCode::Malformed,
    };
    RpcError::new(code, error.to_string())
}

fn channel_error(error: ChannelError) -> RpcError {
    let code = match &error {
        ChannelError::Genesis(_) | ChannelError::Configuration(_) => ErrorCode::Malformed,
        ChannelError::NotMember { .. } | ChannelError::OtherGenesis(_) => ErrorCode::Forbidden,
        ChannelError::Damaged { .. } => ErrorCode::Damaged,
        ChannelError::Store(_) => ErrorCode::Internal,
    };
    RpcError::new(code, error.to_string())
}

async fn install(
    node: &Arc<Node>,
    request: pb::AdminRequest,
) -> Result<pb::AdminResponse, RpcError> {
    let (request, _): (pb::InstallRequest, _) =
        authenticate(node, request, "Install", |request: &pb::InstallRequest| {
            request.header.clone()
        })?;
    let hash = node.contracts.install(request.package).await?;
    tracing::info!(package = %hash, "installed a package");
    Ok(pb::AdminResponse {})
}

fn status(node: &Node, request: pb::AdminRequest) -> Result<pb::StatusResponse, RpcError> {
    authenticate(node, request, "Status", |request: &pb::StatusRequest| {
        request.header.clone()
    })?;
    let channels = node.channels.read();
    Ok(pb::StatusResponse {
        organization: node.organization.to_string(),
        name: node.name.clone(),
        channels: channels
            .values()
            .map(|channel| channel_status(channel))
            .collect(),
        packages: node
            .contracts
            .installed()
            .into_iter()
            .map(|hash| hash.to_bytes())
            .collect(),
    })
}

fn channel_status(channel: &Channel) -> pb::ChannelStatus {
    let head = channel.ledger().head();
    pb::ChannelStatus {
        channel: channel.id().to_string(),
        height: head.height,
        header_hash: head.header_hash.to_bytes(),
        state_hash: head.state_hash.to_bytes(),
        halted: channel.halted().unwrap_or_default(),
        unrecorded: channel.ledger().notes_count() as u64,
        ..Default::default()
    }
}

/// Accepts a request that an administrator has just signed for this procedure.
fn authenticate<M: Message + Default>(
    node: &Node,
    request: pb::AdminRequest,
    method: &'static str,
    head: fn(&M) -> Option<pb::RequestHeader>,
) -> Result<(M, TransactionHeader), RpcError> {
    let signed = Signed::new(request.payload, &request.signature).map_err(answer::malformed)?;
    let message =
        M::decode(signed.bytes.clone()).map_err(|error| answer::undecodable("request", &error))?;
    let header = head(&message);
    let header = RequestHeader::parse(header.as_ref(), method)
        .map_err(answer::malformed)?
        .header;
    let now_ms = node.clock.now_ms();
    check_fresh(&header, now_ms, ADMIN_WINDOW_MS)?;
    let administrator = administrator(node, &request.certificate, now_ms)?;
    if administrator.fingerprint() != header.creator {
        let why = "the certificate beside the request is not its creator's";
        return Err(RpcError::new(ErrorCode::Malformed, why));
    }
    administrator
        .public_key()
        .verify(domain::ADMIN, &signed.bytes, &signed.signature)
        .map_err(|_| answer::bad_signature("request"))?;
    node.admin_replays.admit(&header, now_ms, ADMIN_WINDOW_MS)?;
    Ok((message, header))
}

fn administrator(node: &Node, der: &Bytes, now_ms: u64) -> Result<Certificate, RpcError> {
    let forbidden = |why: String| RpcError::new(ErrorCode::Forbidden, why);
    let certificate = Certificate::from_der(der)
        .map_err(|error| RpcError::new(ErrorCode::Malformed, error.to_string()))?;
    if *certificate.organization() != node.organization || certificate.role() != ADMIN {
        let why = format!("only an administrator of {} may do this", node.organization);
        return Err(forbidden(why));
    }
    let mut refused = None;
    for msp in &node.msps {
        match msp.validate(&certificate, now_ms) {
            Ok(_) => return check_not_revoked(node, certificate),
            Err(error) => refused = Some(error),
        }
    }
    let why = refused.map_or("no root certificate is configured".to_owned(), |e| {
        e.to_string()
    });
    Err(forbidden(why))
}

fn check_not_revoked(node: &Node, certificate: Certificate) -> Result<Certificate, RpcError> {
    let fingerprint = certificate.fingerprint();
    let channels = node.channels.read();
    match channels
        .values()
        .find(|c| c.membership().msp().is_revoked(&fingerprint))
    {
        None => Ok(certificate),
        Some(channel) => {
            let why = format!(
                "certificate {fingerprint} is revoked on channel {}",
                channel.id()
            );
            Err(RpcError::new(ErrorCode::Forbidden, why))
        }
    }
}

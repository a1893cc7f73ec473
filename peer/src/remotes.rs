//! Connections to the other nodes of the consortium.

use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

use parking_lot::Mutex;
use stela_identity::tls::{self, Expected, TlsSettings};
use stela_protocol::config::Orderer;
use stela_protocol::limits::MESSAGE_BYTES_MAX;
use stela_protocol::pb::broadcast_client::BroadcastClient;
use stela_protocol::pb::deliver_client::DeliverClient;
use stela_protocol::pb::endorser_client::EndorserClient;
use stela_protocol::{ErrorCode, Fingerprint, OrgId, RpcError};
use tonic::transport::Channel;
use tonic::{Response, Status};

/// A node as the configuration names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Target {
    pub(crate) address: String,
    pub(crate) organization: OrgId,
    /// Of its TLS certificate, when the configuration names it.
    pub(crate) fingerprint: Option<Fingerprint>,
}

impl Target {
    pub(crate) fn peer(organization: &OrgId, address: &str) -> Self {
        let (organization, address) = (organization.clone(), address.to_owned());
        Self {
            address,
            organization,
            fingerprint: None,
        }
    }

    pub(crate) fn orderer(orderer: &Orderer) -> Self {
        Self {
            address: orderer.address.clone(),
            organization: orderer.organization.clone(),
            fingerprint: Some(orderer.tls_fingerprint),
        }
    }
}

/// Connections, made when they are first used and kept; there are as many as the configurations
/// name nodes.
pub(crate) struct Remotes {
    tls: TlsSettings,
    channels: Mutex<HashMap<Target, Channel>>,
}

impl Remotes {
    pub(crate) fn new(tls: TlsSettings) -> Self {
        Self {
            tls,
            channels: Mutex::default(),
        }
    }

    pub(crate) fn endorser(&self, target: &Target) -> Result<EndorserClient<Channel>, RpcError> {
        let client = EndorserClient::new(self.channel(target)?);
        Ok(client
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX))
    }

    pub(crate) fn broadcast(&self, target: &Target) -> Result<BroadcastClient<Channel>, RpcError> {
        let client = BroadcastClient::new(self.channel(target)?);
        Ok(client
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX))
    }

    pub(crate) fn deliver(&self, target: &Target) -> Result<DeliverClient<Channel>, RpcError> {
        let client = DeliverClient::new(self.channel(target)?);
        Ok(client
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX))
    }

    fn channel(&self, target: &Target) -> Result<Channel, RpcError> {
        let mut channels = self.channels.lock();
        if let Some(channel) = channels.get(target) {
            return Ok(channel.clone());
        }
        let expected = Expected {
            organization: Some(target.organization.clone()),
            fingerprint: target.fingerprint,
            server_name: None,
        };
        let channel = tls::connect(&self.tls, &target.address, expected).map_err(|error| {
            let why = format!("{} cannot be dialled: {error}", target.address);
            RpcError::new(ErrorCode::Unavailable, why)
        })?;
        channels.insert(target.clone(), channel.clone());
        Ok(channel)
    }
}

/// Waits for an answer, but not for ever.
pub(crate) async fn within<T>(
    timeout: Duration,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, RpcError> {
    match tokio::time::timeout(timeout, call).await {
        Ok(answer) => Ok(answer?.into_inner()),
        Err(_) => {
            let why = format!("no answer within {} ms", timeout.as_millis());
            Err(RpcError::new(ErrorCode::Timeout, why))
        }
    }
}

/// Whether another node may still do what this one did not.
pub(crate) fn another_may(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::Unavailable
            | ErrorCode::Timeout
            | ErrorCode::Overloaded
            | ErrorCode::OrdererUnavailable
            | ErrorCode::EndorsersUnavailable
            | ErrorCode::UnknownChannel
            | ErrorCode::NotInstalled
            | ErrorCode::Damaged
            | ErrorCode::Internal
    )
}

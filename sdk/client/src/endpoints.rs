//! The peers that may serve as a gateway, and which one is asked next.

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use stela_calls::Calls;
use stela_identity::tls::{self, Expected, TlsSettings};
use stela_protocol::limits::MESSAGE_BYTES_MAX;
use stela_protocol::pb::gateway_client::GatewayClient;
use stela_protocol::{ErrorCode, RpcError};
use tonic::transport::Channel;
use tonic::{Response, Status};

use crate::error::ConnectError;
use crate::limits::ENDPOINTS_MAX;
use crate::options::Endpoint;

/// The gateway of one endpoint.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) gateway: GatewayClient<Channel>,
    /// For what is called for every transaction.
    pub(crate) calls: Calls,
}

/// Connections to all endpoints, made when they are first used.
pub(crate) struct Endpoints {
    remotes: Vec<Remote>,
    preferred: AtomicUsize,
}

struct Remote {
    address: String,
    client: Client,
}

impl Endpoints {
    pub(crate) fn connect(list: &[Endpoint], settings: &TlsSettings) -> Result<Self, ConnectError> {
        if list.is_empty() {
            return Err(ConnectError::NoEndpoint);
        }
        if list.len() > ENDPOINTS_MAX {
            return Err(ConnectError::TooMany {
                endpoints: list.len(),
            });
        }
        let remotes = list.iter().map(|endpoint| {
            let channel = channel(endpoint, settings)?;
            let calls = Calls::new(channel.clone());
            let gateway = GatewayClient::new(channel)
                .max_decoding_message_size(MESSAGE_BYTES_MAX)
                .max_encoding_message_size(MESSAGE_BYTES_MAX);
            Ok(Remote {
                address: endpoint.address.clone(),
                client: Client { gateway, calls },
            })
        });
        Ok(Self {
            remotes: remotes.collect::<Result<_, ConnectError>>()?,
            preferred: AtomicUsize::new(0),
        })
    }

    /// Tries each endpoint once, beginning with the one that answered last, until one answers or
    /// says what no other endpoint would say otherwise.
    pub(crate) async fn call<T, E: std::fmt::Display, F>(
        &self,
        is_elsewhere: impl Fn(&E) -> bool,
        attempt: impl Fn(Client) -> F,
    ) -> Result<T, E>
    where
        F: Future<Output = Result<T, E>>,
    {
        let (first, client) = self.pick();
        let mut answer = attempt(client).await;
        for turn in 1..self.remotes.len() {
            let Err(error) = &answer else { break };
            if !is_elsewhere(error) {
                break;
            }
            let index = (first + turn) % self.remotes.len();
            tracing::debug!(%error, next = self.remotes[index].address, "asking another endpoint");
            answer = attempt(self.remotes[index].client.clone()).await;
            if answer.is_ok() {
                self.preferred.store(index, Ordering::Relaxed);
            }
        }
        answer
    }

    /// The endpoint that answered last, with its number.
    pub(crate) fn pick(&self) -> (usize, Client) {
        let index = self.preferred.load(Ordering::Relaxed);
        (index, self.remotes[index].client.clone())
    }

    /// Prefers the endpoint behind `index` from now on, if `index` was preferred.
    pub(crate) fn avoid(&self, index: usize) {
        let next = (index + 1) % self.remotes.len();
        // When somebody else has moved on already, her choice stands.
        let _ = self
            .preferred
            .compare_exchange(index, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    pub(crate) fn len(&self) -> usize {
        self.remotes.len()
    }
}

/// A connection to a node that must be of the endpoint's organization.
pub(crate) fn channel(
    endpoint: &Endpoint,
    settings: &TlsSettings,
) -> Result<Channel, ConnectError> {
    tls::connect(
        settings,
        &endpoint.address,
        Expected::of(&endpoint.organization),
    )
    .map_err(|source| ConnectError::Tls {
        address: endpoint.address.clone(),
        source,
    })
}

/// Whether another peer may answer where this one gave `error`. One that is overloaded asks to be left
/// alone for a while: if all asked another one at once, they would be refused twice and overload that
/// one, too.
pub(crate) fn is_elsewhere(error: &RpcError) -> bool {
    use ErrorCode::{Damaged, Internal, NotInstalled, Overloaded, UnknownChannel};
    error.is_retryable() && error.code != Overloaded
        || matches!(
            error.code,
            Damaged | Internal | NotInstalled | UnknownChannel
        )
}

/// The answer to one call, waited for no longer than `limit`.
pub(crate) async fn unary<T>(
    limit: Duration,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, RpcError> {
    in_time(limit, async { Ok(call.await?.into_inner()) }).await
}

/// The same for a call over a stream.
pub(crate) async fn in_time<T>(
    limit: Duration,
    call: impl Future<Output = Result<T, RpcError>>,
) -> Result<T, RpcError> {
    match tokio::time::timeout(limit, call).await {
        Ok(answer) => answer,
        Err(_) => {
            let why = format!("no answer within {} ms", limit.as_millis());
            Err(RpcError::new(ErrorCode::Timeout, why))
        }
    }
}

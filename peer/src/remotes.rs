//! Connections to the other nodes of the consortium.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;

use parking_lot::Mutex;
use stela_calls::Calls;
use stela_identity::tls::{self, Expected, TlsSettings};
use stela_protocol::config::Orderer;
use stela_protocol::limits::MESSAGE_BYTES_MAX;
use stela_protocol::pb::deliver_client::DeliverClient;
use stela_protocol::pb::endorser_client::EndorserClient;
use stela_protocol::{ErrorCode, Fingerprint, OrgId, RpcError};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tonic::transport::Channel;
use tonic::{Response, Status};

use crate::limits::{HEDGE_AFTER, SIDE_SENDS_MAX, TROUBLE_FORGOTTEN, TROUBLED_MAX};

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
    connections: Mutex<HashMap<Target, Connection>>,
    /// Who is asked last for now.
    pub(crate) troubled: Troubled,
    /// Places to go on sending side items when their request has been answered.
    pub(crate) side_sends: Arc<Semaphore>,
}

/// A connection, and the stream of calls over it.
#[derive(Clone)]
struct Connection {
    channel: Channel,
    calls: Calls,
}

impl Remotes {
    pub(crate) fn new(tls: TlsSettings) -> Self {
        Self {
            tls,
            connections: Mutex::default(),
            troubled: Troubled::default(),
            side_sends: Arc::new(Semaphore::new(SIDE_SENDS_MAX)),
        }
    }

    pub(crate) fn endorser(&self, target: &Target) -> Result<EndorserClient<Channel>, RpcError> {
        let client = EndorserClient::new(self.connection(target)?.channel);
        Ok(client
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX))
    }

    /// For what is called for every transaction.
    pub(crate) fn calls(&self, target: &Target) -> Result<Calls, RpcError> {
        Ok(self.connection(target)?.calls)
    }

    pub(crate) fn deliver(&self, target: &Target) -> Result<DeliverClient<Channel>, RpcError> {
        let client = DeliverClient::new(self.connection(target)?.channel);
        Ok(client
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX))
    }

    fn connection(&self, target: &Target) -> Result<Connection, RpcError> {
        let mut connections = self.connections.lock();
        if let Some(connection) = connections.get(target) {
            return Ok(connection.clone());
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
        let calls = Calls::new(channel.clone());
        let connection = Connection { channel, calls };
        connections.insert(target.clone(), connection.clone());
        Ok(connection)
    }
}

/// Organizations whose peers failed or were slow a short while ago.
#[derive(Debug, Default)]
pub(crate) struct Troubled(Mutex<BTreeMap<OrgId, Instant>>);

impl Troubled {
    /// Remembers an organization for a while; when there are too many, the oldest is forgotten.
    pub(crate) fn note(&self, organization: &OrgId, now: Instant) {
        let mut noted = self.0.lock();
        noted.insert(organization.clone(), now);
        if noted.len() > TROUBLED_MAX {
            let oldest = noted.iter().min_by_key(|(_, at)| **at);
            if let Some(oldest) = oldest.map(|(organization, _)| organization.clone()) {
                noted.remove(&oldest);
            }
        }
    }

    pub(crate) fn forget(&self, organization: &OrgId) {
        self.0.lock().remove(organization);
    }

    /// Who is remembered at a time.
    pub(crate) fn at(&self, now: Instant) -> BTreeSet<OrgId> {
        let mut noted = self.0.lock();
        noted.retain(|_, at| now.duration_since(*at) < TROUBLE_FORGOTTEN);
        noted.keys().cloned().collect()
    }
}

/// The first success. The next candidate is tried when one before has failed, or has been silent
/// for a while; those that are silent go on.
///
/// # Errors
/// All failures, when every candidate has failed.
pub(crate) async fn first_of<C, T, E, F: Future<Output = Result<T, E>>>(
    candidates: Vec<C>,
    attempt: impl Fn(C) -> F,
) -> Result<T, Vec<E>> {
    let mut candidates = candidates.into_iter().peekable();
    let (mut begun, mut failures) = (FuturesUnordered::new(), Vec::new());
    loop {
        begun.extend(candidates.next().map(&attempt));
        let ended = match candidates.peek() {
            Some(_) => tokio::time::timeout(HEDGE_AFTER, begun.next()).await,
            None => Ok(begun.next().await),
        };
        match ended {
            Ok(Some(Ok(answer))) => return Ok(answer),
            Ok(Some(Err(error))) => failures.push(error),
            Ok(None) => return Err(failures),
            Err(_) => {}
        }
    }
}

/// Waits for an answer, but not for ever.
pub(crate) async fn within<T>(
    timeout: Duration,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, RpcError> {
    in_time(timeout, async { Ok(call.await?.into_inner()) }).await
}

/// The same for a call over a stream.
pub(crate) async fn in_time<T>(
    timeout: Duration,
    call: impl Future<Output = Result<T, RpcError>>,
) -> Result<T, RpcError> {
    match tokio::time::timeout(timeout, call).await {
        Ok(answer) => answer,
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

#[cfg(test)]
mod tests {
    use super::*;
    use futures::future::pending;

    #[tokio::test]
    async fn the_next_is_tried_after_a_failure_or_silence_and_the_silent_goes_on() {
        let attempt = |answer: Option<Result<u8, u8>>| async move {
            match answer {
                Some(answer) => answer,
                None => pending().await,
            }
        };
        assert_eq!(first_of(vec![None, Some(Ok(2))], attempt).await, Ok(2));
        let fails = vec![Some(Err(1)), Some(Ok(2)), Some(Ok(3))];
        assert_eq!(first_of(fails, attempt).await, Ok(2));
        let all_fail = vec![Some(Err(1)), Some(Err(2))];
        assert_eq!(first_of(all_fail, attempt).await, Err(vec![1, 2]));
        assert_eq!(first_of(vec![], attempt).await, Err(vec![]));
        // The first one is not given up: it answers when the second one has been begun.
        let begun = tokio::sync::Notify::new();
        let goes_on = |number: u8| {
            let begun = &begun;
            async move {
                match number {
                    1 => begun.notified().await,
                    _ => {
                        begun.notify_one();
                        pending().await
                    }
                }
                Ok::<u8, u8>(number)
            }
        };
        assert_eq!(first_of(vec![1, 2], goes_on).await, Ok(1));
    }

    #[test]
    fn trouble_is_forgotten_and_bounded() {
        let (troubled, start) = (Troubled::default(), Instant::now());
        let named = |number: usize| OrgId::new(&format!("Org{number}")).unwrap();
        let later = |number: usize| start + Duration::from_millis(number as u64);
        for number in 0..=TROUBLED_MAX {
            troubled.note(&named(number), later(number));
        }
        let now = troubled.at(later(TROUBLED_MAX));
        assert!(now.len() == TROUBLED_MAX && !now.contains(&named(0)));
        troubled.forget(&named(1));
        assert!(!troubled.at(later(TROUBLED_MAX)).contains(&named(1)));
        let end = later(TROUBLED_MAX) + TROUBLE_FORGOTTEN;
        assert!(troubled.at(end).is_empty());
    }
}

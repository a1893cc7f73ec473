//! What any node says of itself to members of its channel.

use std::fmt;

use stela_identity::tls::TlsSettings;
use stela_protocol::config::ChannelConfig;
use stela_protocol::limits::NAME_BYTES_MAX;
use stela_protocol::pb::health_client::HealthClient;
use stela_protocol::{ChannelId, Fingerprint, Hash32, IdError, OrgId, RpcError, pb};
use tokio::time::Instant;
use tonic::transport::Channel;

use crate::endpoints::{self, unary};
use crate::error::{ConnectError, HealthError};
use crate::limits::PACKAGES_MAX;
use crate::options::{Endpoint, Timeouts};
use crate::sources::Sources;

/// A connection to one peer, orderer or storage node. Cheap to clone.
#[derive(Clone)]
pub struct Health {
    client: HealthClient<Channel>,
    address: String,
    timeouts: Timeouts,
    sources: Sources,
}

/// What a node says of itself, and when.
#[derive(Debug, Clone)]
pub struct NodeHealth {
    /// Its organization.
    pub organization: OrgId,
    /// Its name there.
    pub name: String,
    /// `peer`, `orderer` or `storage`.
    pub kind: String,
    /// The version of its program.
    pub version: String,
    /// The certificate (DER) under which it signs.
    pub certificate: bytes::Bytes,
    /// Free MiB for its data, rounded down to a power of two, if it could find out.
    pub disk_free_mib: Option<u64>,
    /// Its clock against the one here.
    pub clock: ClockOffset,
    /// The channel, if the node has joined it.
    pub channel: Option<ChannelHealth>,
}

/// How far a node's clock is ahead of the one here. The truth lies within `error_ms` of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockOffset {
    /// Ahead by so many milliseconds; behind, if negative.
    pub offset_ms: i64,
    /// Half of the time that the question took.
    pub error_ms: u64,
}

impl ClockOffset {
    /// From the clock here when the question went out, the node's clock when it answered, and how
    /// long that took. The node looked at its clock at some moment between.
    pub fn of(sent_ms: u64, node_ms: u64, round_trip_ms: u64) -> Self {
        let middle = i128::from(sent_ms) + i128::from(round_trip_ms / 2);
        let offset = i128::from(node_ms) - middle;
        let clamped = offset.clamp(i64::MIN.into(), i64::MAX.into());
        Self {
            offset_ms: i64::try_from(clamped).expect("it is clamped"),
            error_ms: round_trip_ms.div_ceil(2),
        }
    }
}

/// A channel as a node has it.
#[derive(Debug, Clone)]
pub struct ChannelHealth {
    /// The hash of its first block.
    pub genesis_hash: Hash32,
    /// How many blocks it has.
    pub height: u64,
    /// Orderers: how many blocks have a quorum of signatures.
    pub deliverable: u64,
    /// Orderers: who leads, if it knows.
    pub leader: Option<u64>,
    /// Orderers: the Raft term.
    pub term: u64,
    /// Orderers: its number.
    pub orderer: Option<u64>,
    /// Peers: the contract packages installed.
    pub packages: Vec<Hash32>,
    /// Peers: a majority of the organizations reports another state.
    pub outvoted: bool,
    /// Storage nodes: the fingerprint of the key of its swarm.
    pub swarm_key: Option<Fingerprint>,
    /// Storage nodes: how many nodes of the swarm it is connected with.
    pub swarm_peers: u32,
    /// The number of the configuration in force.
    pub sequence: u64,
    /// That configuration, if it was asked for and the node gives it.
    pub config: Option<ChannelConfig>,
}

impl Health {
    /// Prepares the connection; it is made when it is first needed. Needs a Tokio runtime around
    /// it. [`Timeouts::request`] counts.
    ///
    /// # Errors
    /// [`ConnectError`] when the address or the TLS settings cannot be used at all.
    pub fn connect(
        endpoint: &Endpoint,
        tls: &TlsSettings,
        timeouts: Timeouts,
        sources: Sources,
    ) -> Result<Self, ConnectError> {
        Ok(Self {
            client: HealthClient::new(endpoints::channel(endpoint, tls)?),
            address: endpoint.address.clone(),
            timeouts,
            sources,
        })
    }

    /// Asks the node how it is, on one channel. Nothing is signed, so an answer comes even when a
    /// clock or an identity is wrong; that it is the node's own is what TLS says.
    ///
    /// # Errors
    /// [`HealthError`] when the node refuses, or answers something that cannot be.
    pub async fn check(
        &self,
        channel: &ChannelId,
        with_config: bool,
    ) -> Result<NodeHealth, HealthError> {
        let request = pb::HealthRequest {
            channel: channel.to_string(),
            with_config,
        };
        let mut client = self.client.clone();
        let (sent_ms, sent) = (self.sources.now_ms(), Instant::now());
        let answer = unary(self.timeouts.request, client.check(request)).await;
        let round_trip = sent.elapsed();
        let answer = answer.map_err(|source: RpcError| HealthError::Rpc {
            address: self.address.clone(),
            source,
        })?;
        let round_trip_ms = u64::try_from(round_trip.as_micros().div_ceil(1000));
        let clock = ClockOffset::of(sent_ms, answer.time_ms, round_trip_ms.unwrap_or(u64::MAX));
        node_health(answer, clock).map_err(|why| HealthError::Format {
            address: self.address.clone(),
            why,
        })
    }
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Health")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

fn node_health(answer: pb::HealthResponse, clock: ClockOffset) -> Result<NodeHealth, String> {
    let words = |error: IdError| error.to_string();
    Ok(NodeHealth {
        organization: OrgId::new(&answer.organization).map_err(words)?,
        name: word(answer.name)?,
        kind: word(answer.kind)?,
        version: word(answer.version)?,
        certificate: answer.certificate,
        disk_free_mib: answer.disk_known.then_some(answer.disk_free_mib),
        clock,
        channel: answer.channel.map(channel_health).transpose()?,
    })
}

/// What is printed beside others' words must be short, and visible.
fn word(text: String) -> Result<String, String> {
    match text.len() > NAME_BYTES_MAX || text.contains(char::is_control) {
        true => Err("a name in it is too long or cannot be printed".to_owned()),
        false => Ok(text),
    }
}

fn channel_health(channel: pb::ChannelHealth) -> Result<ChannelHealth, String> {
    let words = |error: IdError| error.to_string();
    let some = |number: u64| (number != 0).then_some(number);
    if channel.packages.len() > PACKAGES_MAX {
        return Err("it lists more than PACKAGES_MAX packages".to_owned());
    }
    let packages = channel.packages.iter().map(|hash| Hash32::from_slice(hash));
    let swarm_key = (!channel.swarm_key.is_empty()).then_some(&channel.swarm_key);
    let config = (!channel.config.is_empty()).then(|| ChannelConfig::decode(&channel.config));
    Ok(ChannelHealth {
        genesis_hash: Hash32::from_slice(&channel.genesis_hash).map_err(words)?,
        height: channel.height,
        deliverable: channel.deliverable,
        leader: some(channel.leader),
        term: channel.term,
        orderer: some(channel.orderer),
        packages: packages.collect::<Result<_, _>>().map_err(words)?,
        outvoted: channel.outvoted,
        swarm_key: swarm_key
            .map(|key| Fingerprint::from_slice(key))
            .transpose()
            .map_err(words)?,
        swarm_peers: channel.swarm_peers,
        sequence: channel.sequence,
        config: config.transpose().map_err(|error| error.to_string())?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_of_an_offset_is_half_of_the_way_there_and_back() {
        let check = |sent, node, round_trip, offset_ms, error_ms| {
            let offset = ClockOffset::of(sent, node, round_trip);
            assert_eq!(
                offset,
                ClockOffset {
                    offset_ms,
                    error_ms
                }
            );
        };
        check(1_000, 1_010, 20, 0, 10);
        check(1_000, 3_601_010, 20, 3_600_000, 10);
        check(3_600_000, 0, 3, -3_600_001, 2);
        check(0, u64::MAX, u64::MAX, i64::MAX, u64::MAX / 2 + 1);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let clock = ClockOffset::of(0, 0, 0);
        let good = pb::HealthResponse {
            organization: "A".to_owned(),
            channel: Some(pb::ChannelHealth {
                genesis_hash: Hash32::ZERO.to_bytes(),
                ..Default::default()
            }),
            ..Default::default()
        };
        assert!(node_health(good.clone(), clock).is_ok());
        let check = |change: fn(&mut pb::HealthResponse)| {
            let mut answer = good.clone();
            change(&mut answer);
            node_health(answer, clock).unwrap_err();
        };
        check(|answer| answer.organization = "../A".to_owned());
        check(|answer| answer.name = "\u{1b}[2J".to_owned());
        check(|answer| answer.version = "1".repeat(NAME_BYTES_MAX + 1));
        let channel = |answer: &mut pb::HealthResponse| answer.channel.take().unwrap_or_default();
        check(|answer| answer.channel = Some(pb::ChannelHealth::default()));
        let mut many = channel(&mut good.clone());
        many.packages = vec![Hash32::ZERO.to_bytes(); PACKAGES_MAX + 1];
        assert!(channel_health(many).is_err());
        let mut bad = channel(&mut good.clone());
        bad.config = bytes::Bytes::from_static(b"no configuration");
        assert!(channel_health(bad).is_err());
    }
}

//! The protocols that a node speaks on every connection.

use libp2p::allow_block_list::{self, AllowedPeers};
use libp2p::connection_limits::{self, ConnectionLimits};
use libp2p::identity::PublicKey;
use libp2p::swarm::NetworkBehaviour;
use libp2p::{StreamProtocol, identify, kad, ping};

use super::providers::ProviderStore;
use crate::bitswap;
use crate::limits::{
    CONNECTIONS_PER_PEER_MAX, DHT_QUERY_TIMEOUT, PENDING_INBOUND_MAX, PROVIDER_INTERVAL,
    PROVIDER_RECORD_TTL,
};

/// All protocols. Whether a connection may exist is decided by the first two, before the others
/// hear of it.
#[derive(NetworkBehaviour)]
pub(super) struct Behaviour {
    pub(super) limits: connection_limits::Behaviour,
    pub(super) members: allow_block_list::Behaviour<AllowedPeers>,
    pub(super) ping: ping::Behaviour,
    pub(super) identify: identify::Behaviour,
    pub(super) dht: kad::Behaviour<ProviderStore>,
    pub(super) bitswap: bitswap::Behaviour,
}

impl Behaviour {
    pub(super) fn new(key: PublicKey, dht: StreamProtocol, connections_max: u32) -> Self {
        let limits = ConnectionLimits::default()
            .with_max_pending_incoming(Some(PENDING_INBOUND_MAX))
            .with_max_established(Some(connections_max))
            .with_max_established_per_peer(Some(CONNECTIONS_PER_PEER_MAX));
        let peer = key.to_peer_id();
        // The protocol version is IPFS's own, which Kubo expects. Addresses that peers announce
        // are filtered by the driver, so identify itself must not remember any.
        let identify = identify::Config::new("/ipfs/0.1.0".into(), key)
            .with_agent_version(concat!("stela/", env!("CARGO_PKG_VERSION")).into())
            .with_push_listen_addr_updates(true)
            .with_cache_size(0);
        let mut config = kad::Config::new(dht);
        config
            .set_query_timeout(DHT_QUERY_TIMEOUT)
            .set_replication_interval(None)
            .set_publication_interval(None)
            .set_provider_publication_interval(Some(PROVIDER_INTERVAL))
            .set_provider_record_ttl(Some(PROVIDER_RECORD_TTL));
        let mut dht = kad::Behaviour::with_config(peer, ProviderStore::new(peer), config);
        dht.set_mode(Some(kad::Mode::Server));
        Self {
            limits: connection_limits::Behaviour::new(limits),
            members: allow_block_list::Behaviour::default(),
            ping: ping::Behaviour::default(),
            identify: identify::Behaviour::new(identify),
            dht,
            bitswap: bitswap::Behaviour::default(),
        }
    }
}

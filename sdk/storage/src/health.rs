//! What a storage node says of itself to members.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use stela_client::Sources;
use stela_health::{Joined, Profile};
use stela_ipfs::PinningNode;
use stela_protocol::{ChannelId, Hash32, OrgId, pb};

use crate::membership::Membership;

/// A storage node as its members see it.
pub struct HealthNode {
    /// Whose it is.
    pub organization: OrgId,
    /// Its name within the organization.
    pub name: String,
    /// The certificate (DER) under which it follows the channel.
    pub certificate: Bytes,
    /// Where it keeps its data.
    pub data: PathBuf,
    /// The hash of the first block that it was given.
    pub genesis_hash: Hash32,
    /// The fingerprint of the key of its swarm; a daemon does not tell it.
    pub swarm_key: Option<[u8; 32]>,
    /// Its place in the swarm.
    pub node: Arc<dyn PinningNode>,
    /// Who the members are.
    pub membership: Membership,
    /// Its clock.
    pub sources: Sources,
}

impl stela_health::Node for HealthNode {
    fn profile(&self) -> Profile {
        Profile {
            organization: self.organization.clone(),
            name: self.name.clone(),
            kind: "storage",
            certificate: self.certificate.clone(),
            data: self.data.clone(),
        }
    }

    fn now_ms(&self) -> u64 {
        self.sources.now_ms()
    }

    async fn joined(&self, channel: &ChannelId) -> Option<Joined> {
        let view = self.membership.view();
        if view.channel != *channel {
            return None;
        }
        let connected = self.node.connected().await;
        let swarm_key = self.swarm_key.as_ref();
        Some(Joined {
            config: view.config.clone(),
            // It has the configuration from a peer, and members ask that one.
            config_bytes: Bytes::new(),
            health: pb::ChannelHealth {
                genesis_hash: self.genesis_hash.to_bytes(),
                swarm_key: swarm_key.map_or_else(Bytes::new, |key| Bytes::copy_from_slice(key)),
                swarm_peers: u32::try_from(connected.len()).unwrap_or(u32::MAX),
                ..Default::default()
            },
        })
    }
}

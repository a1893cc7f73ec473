//! What a storage node says of itself to members.

use std::path::PathBuf;

use bytes::Bytes;
use stela_client::Sources;
use stela_health::{Joined, Profile};
use stela_ipfs::Node;
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
    /// The fingerprint of the key of its swarm.
    pub swarm_key: [u8; 32],
    /// Its place in the swarm.
    pub node: Node,
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

    fn joined(&self, channel: &ChannelId) -> Option<Joined> {
        let view = self.membership.view();
        (view.channel == *channel).then(|| Joined {
            config: view.config.clone(),
            // It has the configuration from a peer, and members ask that one.
            config_bytes: Bytes::new(),
            health: pb::ChannelHealth {
                genesis_hash: self.genesis_hash.to_bytes(),
                swarm_key: Bytes::copy_from_slice(&self.swarm_key),
                swarm_peers: u32::try_from(self.node.peers().len()).unwrap_or(u32::MAX),
                ..Default::default()
            },
        })
    }
}

//! What this peer says of itself to members.

use stela_health::{Joined, Profile};
use stela_protocol::{ChannelId, pb};

use crate::node::Node;

impl stela_health::Node for Node {
    fn profile(&self) -> Profile {
        Profile {
            organization: self.organization.clone(),
            name: self.name.clone(),
            kind: "peer",
            certificate: self.credentials.certificate.der().clone(),
            data: self.data.clone(),
        }
    }

    fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }

    async fn joined(&self, channel: &ChannelId) -> Option<Joined> {
        let channel = Node::joined(self, channel).ok()?;
        let installed = self.contracts.installed();
        let membership = channel.membership();
        Some(Joined {
            config: membership.config().clone(),
            config_bytes: membership.bytes().clone(),
            health: pb::ChannelHealth {
                genesis_hash: channel.genesis_hash().to_bytes(),
                height: channel.ledger().head().height,
                packages: installed.iter().map(|hash| hash.to_bytes()).collect(),
                outvoted: channel.check_sound().is_err(),
                ..Default::default()
            },
        })
    }
}

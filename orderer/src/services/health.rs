//! What this orderer says of itself to members.

use stela_health::{Joined, Profile};
use stela_protocol::{ChannelId, pb};

use crate::driver;
use crate::node::Node;

impl stela_health::Node for Node {
    fn profile(&self) -> Profile {
        let settings = self.settings();
        Profile {
            organization: settings.organization.clone(),
            name: settings.name.clone(),
            kind: "orderer",
            certificate: self.certificate(),
            data: settings.data_dir.clone(),
        }
    }

    fn now_ms(&self) -> u64 {
        driver::now_ms()
    }

    async fn joined(&self, channel: &ChannelId) -> Option<Joined> {
        let ordered = self.channel(channel.as_str()).ok()?;
        let in_force = ordered.in_force();
        let configuration = in_force.channel.configuration();
        let view = *ordered.handle.view().borrow();
        Some(Joined {
            config: configuration.config().clone(),
            config_bytes: configuration.bytes().clone(),
            health: pb::ChannelHealth {
                genesis_hash: ordered.genesis.to_bytes(),
                height: view.head.next().0,
                deliverable: view.deliverable.next().0,
                leader: view.leader,
                term: view.term,
                orderer: ordered.orderer,
                ..Default::default()
            },
        })
    }
}

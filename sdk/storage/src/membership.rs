//! Who the members are: the channel's configuration as this node needs it.

use std::sync::Arc;

use parking_lot::RwLock;
use stela_identity::{Msp, MspError};
use stela_ipfs::{Member, PeerId};
use stela_protocol::ChannelId;
use stela_protocol::config::ChannelConfig;

use crate::client::StorageEndpoint;
use crate::limits::STORAGE_NODES_MAX;

/// The membership in force; replaced when the configuration changes. Clones see the same.
#[derive(Clone)]
pub struct Membership(Arc<RwLock<Arc<View>>>);

/// One configuration.
pub(crate) struct View {
    pub(crate) channel: ChannelId,
    pub(crate) config: ChannelConfig,
    pub(crate) msp: Msp,
    pub(crate) storage: Vec<StorageEndpoint>,
}

impl View {
    fn new(config: &ChannelConfig) -> Result<Self, MspError> {
        let mut storage = StorageEndpoint::all(config);
        if storage.len() > STORAGE_NODES_MAX {
            tracing::error!(
                nodes = storage.len(),
                "more storage nodes than STORAGE_NODES_MAX"
            );
            storage.truncate(STORAGE_NODES_MAX);
        }
        Ok(Self {
            channel: config.channel.clone(),
            config: config.clone(),
            msp: Msp::from_config(config)?,
            storage,
        })
    }

    /// Whether the configuration names this node of the swarm.
    pub(crate) fn is_storage(&self, peer: &PeerId) -> bool {
        self.storage.iter().any(|node| node.peer_id == *peer)
    }

    /// Whose storage node it is.
    pub(crate) fn owner(&self, peer: &PeerId) -> Option<String> {
        let mut nodes = self.storage.iter();
        let node = nodes.find(|node| node.peer_id == *peer)?;
        Some(node.organization.to_string())
    }

    /// The other storage nodes, as members of the swarm.
    pub(crate) fn neighbours(&self, own: &PeerId) -> Vec<Member> {
        let others = self.storage.iter().filter(|node| node.peer_id != *own);
        others.map(StorageEndpoint::member).collect()
    }
}

impl Membership {
    /// The members of a configuration.
    ///
    /// # Errors
    /// [`MspError`] when an organization's root certificate cannot be used.
    pub fn new(config: &ChannelConfig) -> Result<Self, MspError> {
        Ok(Self(Arc::new(RwLock::new(Arc::new(View::new(config)?)))))
    }

    /// Takes a configuration if it is newer than the one in force, and says whether it was.
    ///
    /// # Errors
    /// [`MspError`]; the configuration in force then stays.
    pub fn update(&self, config: &ChannelConfig) -> Result<bool, MspError> {
        if config.sequence <= self.view().msp.sequence() {
            return Ok(false);
        }
        let view = View::new(config)?;
        *self.0.write() = Arc::new(view);
        Ok(true)
    }

    pub(crate) fn view(&self) -> Arc<View> {
        self.0.read().clone()
    }
}

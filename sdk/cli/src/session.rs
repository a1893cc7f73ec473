//! Connects a profile: to its gateway, and for records to storage nodes and the swarm.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use stela_client::Network;
use stela_ipfs::{Node, NodeConfig, SwarmKey};
use stela_records::care::{Progress, Session, SessionOptions};
use stela_storage::{StorageEndpoint, Uploader};

use crate::profile::Profile;

/// Organizations that must hold a ciphertext before its record is submitted.
const HOLDERS_MIN: usize = 2;
/// How long fetching a record's ciphertext may take, beside what its size adds.
const FETCH: Duration = Duration::from_secs(600);

pub(crate) fn network(profile: &Profile) -> anyhow::Result<Network> {
    Ok(profile.gateway()?.network(profile.channel.clone()))
}

/// A session for records: starts the user's own IPFS node. `progress` is told how far transfers are.
pub(crate) async fn open(
    profile: &Profile,
    progress: Arc<dyn Progress>,
) -> anyhow::Result<Session> {
    let network = network(profile)?;
    let info = network
        .info()
        .await
        .context("the gateway does not answer this user; `stela register` makes her known")?;
    let encryption = Arc::new(profile.encryption()?);
    let swarm_key = SwarmKey::read(&profile.swarm_key())?;
    let mut storages = StorageEndpoint::all(&info.config);
    storages.sort_by_key(|storage| storage.organization != profile.organization);
    let uploader = Uploader::new(
        profile.channel.clone(),
        profile.tls.clone(),
        Arc::clone(&profile.credentials),
    );
    let config = NodeConfig::new(profile.blocks(), swarm_key);
    let node = Node::start(config)
        .await
        .context("the own IPFS node did not start")?;
    let witness = profile.witness()?.network(profile.channel.clone());
    let session = Session::new(SessionOptions {
        network,
        witness,
        contract: profile.contract.clone(),
        organization: profile.organization.clone(),
        fingerprint: profile.credentials.fingerprint(),
        encryption,
        node,
        uploader,
        storages,
        holders_min: HOLDERS_MIN,
        fetch: FETCH,
        transfers: profile.transfers(),
        progress,
    });
    Ok(session?)
}

//! Connects a profile: to its gateway, and for records to storage nodes and the swarm.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures::StreamExt;
use stela_client::Network;
use stela_healthcare::settings::Settings;
use stela_identity::Configuration;
use stela_identity::tls::TlsRoots;
use stela_ipfs::{Node, NodeConfig, SwarmKey};
use stela_protocol::config::ChannelConfig;
use stela_protocol::{BlockNumber, OrgId, config};
use stela_records::care::{Progress, Session, SessionOptions};
use stela_records::keys::EncryptionKeyPair;
use stela_storage::{StorageEndpoint, Uploader};

use crate::profile::Profile;

/// Organizations that must hold a ciphertext before its record is submitted.
const HOLDERS_MIN: usize = 2;
/// How long fetching a record's ciphertext may take, beside what its size adds.
const FETCH: Duration = Duration::from_secs(600);

pub(crate) fn network(profile: &Profile) -> anyhow::Result<Network> {
    Ok(profile.gateway()?.network(profile.channel.clone()))
}

/// The configuration in force. With a genesis block in the profile it is not only a peer's word:
/// it has to follow from that block. Then it also says whom to trust in TLS from now on.
pub(crate) async fn configuration(
    profile: &Profile,
    network: &Network,
) -> anyhow::Result<Arc<Configuration>> {
    let Some(genesis) = profile.genesis()? else {
        let info = network.info().await?;
        return Ok(Arc::new(Configuration::new(info.config_bytes)?));
    };
    let configuration = network.configuration(Arc::new(genesis)).await?;
    let roots = TlsRoots::new().add_config(configuration.config())?;
    profile.tls.replace_roots(&roots)?;
    Ok(configuration)
}

/// The configuration in force before a block. Without a genesis block in the profile, what the
/// peer shows as one is taken for it.
pub(crate) async fn configuration_before(
    profile: &Profile,
    network: &Network,
    number: BlockNumber,
) -> anyhow::Result<Arc<Configuration>> {
    let genesis = first_configuration(profile, network).await?;
    Ok(network.configuration_before(genesis, number).await?)
}

/// The configuration of the first block, as the profile has it, or else as the peer shows it.
pub(crate) async fn first_configuration(
    profile: &Profile,
    network: &Network,
) -> anyhow::Result<Arc<Configuration>> {
    let genesis = match profile.genesis()? {
        Some(genesis) => genesis,
        None => {
            let mut first = network.blocks(BlockNumber(0), Some(BlockNumber(1)));
            let block = first.next().await.context("the peer has no blocks")??.block;
            Configuration::new(config::from_genesis(&block)?.0)?
        }
    };
    Ok(Arc::new(genesis))
}

/// A session for records: starts the user's own IPFS node. `progress` is told how far transfers are.
pub(crate) async fn open(
    profile: &Profile,
    progress: Arc<dyn Progress>,
) -> anyhow::Result<Session> {
    open_with(profile, profile.encryption()?, progress).await
}

/// A session under another of the user's encryption keys than the one in use.
pub(crate) async fn open_with(
    profile: &Profile,
    encryption: EncryptionKeyPair,
    progress: Arc<dyn Progress>,
) -> anyhow::Result<Session> {
    let swarm_key = SwarmKey::read(&profile.swarm_key())?;
    let config = NodeConfig::new(profile.blocks(), swarm_key);
    let node = Node::start(config)
        .await
        .context("the own IPFS node did not start")?;
    open_on(profile, encryption, node, progress).await
}

/// A session on an IPFS node that runs. Closing the session ends the node: of several on one node,
/// only the last is closed.
pub(crate) async fn open_on(
    profile: &Profile,
    encryption: EncryptionKeyPair,
    node: Node,
    progress: Arc<dyn Progress>,
) -> anyhow::Result<Session> {
    let mut others = profile.other_encryption()?;
    others.push(profile.encryption()?);
    let own = encryption.public().key_id();
    others.retain(|pair| pair.public().key_id() != own);
    let network = network(profile)?;
    let configuration = configuration(profile, &network)
        .await
        .context("the gateway does not answer this user; `stela register` makes her known")?;
    let mut storages = StorageEndpoint::all(configuration.config());
    storages.sort_by_key(|storage| storage.organization != profile.organization);
    let uploader = Uploader::new(
        profile.channel.clone(),
        profile.tls.clone(),
        Arc::clone(&profile.credentials),
    );
    let witness = profile.witness()?.network(profile.channel.clone());
    let reviewers = reviewers(profile, configuration.config())?;
    let session = Session::new(SessionOptions {
        network,
        witness,
        contract: profile.contract.clone(),
        organization: profile.organization.clone(),
        reviewers,
        fingerprint: profile.credentials.fingerprint(),
        encryption: Arc::new(encryption),
        others,
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

/// The other organizations, if the consortium asks officers of theirs to review records.
fn reviewers(profile: &Profile, config: &ChannelConfig) -> anyhow::Result<Vec<OrgId>> {
    let Some(contract) = config.contracts.get(&profile.contract) else {
        return Ok(Vec::new());
    };
    let settings = Settings::parse(&contract.settings)
        .with_context(|| format!("the settings of contract {}", profile.contract))?;
    if settings.review.elsewhere == 0 {
        return Ok(Vec::new());
    }
    let others = config.organizations.keys();
    Ok(others
        .filter(|organization| **organization != profile.organization)
        .cloned()
        .collect())
}

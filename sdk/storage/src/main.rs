//! The command `stela-storage`.

use std::fs::OpenOptions;
use std::io::IsTerminal;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use bytes::Bytes;
use clap::{Parser, Subcommand};
use stela_client::{Gateway, GatewayOptions, Network, Sources};
use stela_health::{LastWords, causes};
use stela_identity::tls::{self, TlsIdentity, TlsIncoming, TlsRoots, TlsSettings};
use stela_identity::{Configuration, Credentials};
use stela_ipfs::{
    KuboConfig, KuboNode, Node, NodeConfig, PinningNode, SwarmKey, generate_swarm_key,
};
use stela_protocol::Hash32;
use stela_protocol::block::Block;
use stela_protocol::config::{self, ChannelConfig};
use stela_storage::configuration::Known;
use stela_storage::follower::{self, Follower};
use stela_storage::{
    Blobs, Config, HealthNode, Membership, Parts, StorageEndpoint, StorageNode, limits,
};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tracing_subscriber::EnvFilter;

/// Keeps the encrypted records that the ledger names, and takes uploads from members.
#[derive(Parser)]
#[command(
    version,
    args_conflicts_with_subcommands = true,
    arg_required_else_help = true
)]
struct Arguments {
    /// Runs the node of this configuration file.
    #[arg(long, env = "STELA_STORAGE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Writes the log as JSON.
    #[arg(long)]
    log_json: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Makes the node's identity in the swarm, unless there is one, and prints its peer id, which
    /// the channel's configuration must name.
    Init {
        /// The node's data folder.
        #[arg(long, value_name = "DIR")]
        data: PathBuf,
        /// Prints JSON.
        #[arg(long)]
        json: bool,
    },
    /// Makes the key of a new private swarm, to be given to every member.
    SwarmKey {
        /// The file to write; it must not exist.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match (arguments.command, arguments.config) {
        (Some(Command::Init { data, json }), _) => init(&data, json).await,
        (Some(Command::SwarmKey { out }), _) => swarm_key(&out),
        (None, Some(config)) => {
            log(arguments.log_json);
            run_and_leave_word(&config).await
        }
        (None, None) => Err(anyhow::anyhow!("say which node to run: --config FILE")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("stela-storage: {}", causes(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

fn log(json: bool) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        // A line that cannot be written (the disk is full, nobody reads) is lost, and only that.
        .log_internal_errors(false);
    if json { log.json().init() } else { log.init() }
}

async fn init(data: &Path, json: bool) -> anyhow::Result<()> {
    // The identity is made by starting the node, here alone in a swarm of its own.
    let mut config = NodeConfig::new(data.join("ipfs"), generate_swarm_key());
    config.listen.clear();
    let node = Node::start(config)
        .await
        .context("cannot make the node's identity")?;
    let peer_id = node.peer_id().to_string();
    node.shutdown().await;
    if json {
        println!("{}", serde_json::json!({ "peer_id": peer_id }));
    } else {
        println!("{peer_id}");
    }
    Ok(())
}

fn swarm_key(out: &Path) -> anyhow::Result<()> {
    let key = generate_swarm_key().to_key_file();
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(out)
        .with_context(|| format!("cannot create {}", out.display()))?;
    file.write_all(key.as_bytes())
        .and_then(|()| file.sync_all())?;
    Ok(())
}

/// Runs the node; why it had to stop is left in its data folder.
async fn run_and_leave_word(path: &Path) -> anyhow::Result<()> {
    let config = Config::read(path)?;
    let mut last_words = LastWords::open(&config.data);
    let ended = run(&config, &mut last_words).await;
    if let Err(error) = &ended {
        last_words.say(Sources::default().now_ms(), &causes(error.as_ref()));
    }
    ended
}

async fn run(config: &Config, last_words: &mut LastWords) -> anyhow::Result<()> {
    let (genesis_hash, genesis) = genesis(config)?;
    let known = Known::open(&config.data, genesis).with_context(|| {
        format!(
            "the configuration that was followed, in {}",
            config.data.display()
        )
    })?;
    let channel = known.current().config().clone();
    let tls = tls_settings(config, &channel)?;
    let (node, swarm_key) = start_node(config).await?;
    let peer_id = node.peer_id();
    if !StorageEndpoint::all(&channel)
        .iter()
        .any(|storage| storage.peer_id == peer_id)
    {
        tracing::warn!(%peer_id, "the channel's configuration does not name this node yet");
    }
    let membership = Membership::new(&channel)?;
    let credentials = Arc::new(
        Credentials::load(&config.identity)
            .with_context(|| format!("identity in {}", config.identity.display()))?,
    );
    let health = HealthNode {
        organization: config.organization.clone(),
        name: config.name.clone(),
        certificate: credentials.certificate.der().clone(),
        data: config.data.clone(),
        genesis_hash,
        swarm_key,
        node: node.clone(),
        membership: membership.clone(),
        sources: Sources::default(),
    };
    let parts = Parts {
        organization: config.organization.clone(),
        name: config.name.clone(),
        node: node.clone(),
        membership,
        quotas: config.quotas,
        checking: config.checking,
        sources: Sources::default(),
    };
    let storage = StorageNode::open(parts, &config.data)
        .with_context(|| format!("cannot open {}", config.data.display()))?;
    storage.join_swarm().await;
    let network = network(config, &tls, credentials)?;
    let mut tasks = follow(config, &storage, &network, &tls, known)?;
    let served = serve(config, &storage, health, tls, last_words).await;
    tasks.shutdown().await;
    node.close().await;
    served
}

fn genesis(config: &Config) -> anyhow::Result<(Hash32, Configuration)> {
    let path = &config.genesis;
    let read = || -> anyhow::Result<(Hash32, Configuration)> {
        let block = Block::decode(Bytes::from(read_block(path)?))?;
        let configuration = Configuration::new(config::from_genesis(&block)?.0)?;
        Ok((block.hash, configuration))
    };
    let (hash, genesis) = read().with_context(|| format!("genesis block {}", path.display()))?;
    let channel = &genesis.config().channel;
    anyhow::ensure!(
        *channel == config.channel,
        "{} is the genesis block of channel {channel}, not of {}",
        path.display(),
        config.channel
    );
    Ok((hash, genesis))
}

fn read_block(path: &Path) -> anyhow::Result<Vec<u8>> {
    let bytes = std::fs::metadata(path)?.len();
    let bytes_max = limits::GENESIS_BYTES_MAX;
    anyhow::ensure!(
        bytes <= bytes_max,
        "{bytes} bytes are more than {bytes_max}"
    );
    Ok(std::fs::read(path)?)
}

fn tls_settings(config: &Config, channel: &ChannelConfig) -> anyhow::Result<TlsSettings> {
    let identity = TlsIdentity::load(&config.tls)
        .with_context(|| format!("TLS certificate in {}", config.tls.display()))?;
    let roots = TlsRoots::new()
        .add_config(channel)
        .context("TLS roots of the channel")?;
    TlsSettings::new(identity, &roots).context("TLS settings")
}

/// The node that keeps the blobs, and the fingerprint of its swarm's key if it is known here.
async fn start_node(config: &Config) -> anyhow::Result<(Arc<dyn PinningNode>, Option<[u8; 32]>)> {
    match &config.blobs {
        Blobs::Embedded {
            listen,
            announce,
            swarm_key,
        } => {
            let swarm_key = SwarmKey::read(swarm_key)?;
            let fingerprint = swarm_key.fingerprint();
            let mut node = NodeConfig::new(config.data.join("ipfs"), swarm_key);
            node.listen.clone_from(listen);
            node.announce.clone_from(announce);
            let started = Node::start(node).await;
            let node = started.context("cannot start the IPFS node")?;
            Ok((Arc::new(node), Some(fingerprint)))
        }
        Blobs::Kubo {
            api,
            authorization,
            authorities,
            collect,
        } => {
            let mut node = KuboConfig::new(config.data.join("kubo"), api.clone());
            node.authorization.clone_from(authorization);
            node.authorities.clone_from(authorities);
            node.collect = *collect;
            let started = KuboNode::start(node).await;
            let node = started.context("cannot use the IPFS daemon")?;
            tracing::warn!(%api, peer_id = %node.peer_id(), "blobs are kept by an IPFS daemon: \
                whoever has the swarm's key can connect to it");
            Ok((Arc::new(node), None))
        }
    }
}

fn network(
    config: &Config,
    tls: &TlsSettings,
    credentials: Arc<Credentials>,
) -> anyhow::Result<Network> {
    let options = GatewayOptions::new(config.gateways.clone(), tls.clone(), credentials);
    Ok(Gateway::connect(options)?.network(config.channel.clone()))
}

fn follow(
    config: &Config,
    storage: &StorageNode,
    network: &Network,
    tls: &TlsSettings,
    known: Known,
) -> anyhow::Result<JoinSet<()>> {
    let mut tasks = JoinSet::new();
    let follower = Follower::open(
        storage.clone(),
        network.clone(),
        config.contract.clone(),
        config.replication,
        &config.data,
    )?;
    tasks.spawn(follower.run());
    tasks.spawn(follower::keep_time(storage.clone()));
    tasks.spawn(follower::keep_clean(storage.clone()));
    tasks.spawn(follower::keep_checked(storage.clone()));
    tasks.spawn(follower::keep_compared(
        storage.clone(),
        network.clone(),
        config.contract.clone(),
        config.replication,
    ));
    tasks.spawn(follower::keep_members(
        storage.clone(),
        network.clone(),
        tls.clone(),
        known,
    ));
    Ok(tasks)
}

async fn serve(
    config: &Config,
    storage: &StorageNode,
    health: HealthNode,
    tls: TlsSettings,
    last_words: &mut LastWords,
) -> anyhow::Result<()> {
    let listener = TcpListener::bind(&config.listen)
        .await
        .with_context(|| format!("cannot listen on {}", config.listen))?;
    let incoming = TlsIncoming::new(listener, tls)?;
    tracing::info!(address = %incoming.local_addr(), "serving members");
    last_words.clear();
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
    };
    tls::server()
        .add_service(storage.service())
        .add_service(stela_health::service(Arc::new(health)))
        .serve_with_incoming_shutdown(incoming, stop)
        .await
        .context("the service of members ended")
}

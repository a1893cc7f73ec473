//! Starting and stopping a node.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use stela_calls::CallsService;
use stela_identity::tls::{self, TlsError, TlsIdentity, TlsIncoming, TlsRoots, TlsSettings};
use stela_identity::{AuthorityError, Credentials, Msp, MspError};
use stela_protocol::ChannelId;
use stela_protocol::limits::MESSAGE_BYTES_MAX;
use stela_protocol::pb::admin_server::AdminServer;
use stela_protocol::pb::endorser_server::EndorserServer;
use stela_protocol::pb::gateway_server::GatewayServer;
use stela_store::{RocksSettings, StoreError};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admin::AdminService;
use crate::channel::{Channel, ChannelError};
use crate::clock::Clock;
use crate::config::Config;
use crate::contracts::{Contracts, PackagesError};
use crate::endorser::EndorserService;
use crate::gateway::GatewayService;
use crate::limits::{CLIENT_CALLS_MAX, REPLAYS_MAX, STOP_TIMEOUT};
use crate::node::Node;
use crate::offline::folders;
use crate::remotes::Remotes;
use crate::replays::Replays;

/// Why a node did not start, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// The identity cannot be used.
    #[error("the identity in {folder}: {source}")]
    Identity {
        /// The folder.
        folder: PathBuf,
        /// What is wrong.
        source: AuthorityError,
    },
    /// The identity is not this node's organization's.
    #[error("the certificate in {folder} is of {found}, but the configuration says {expected}")]
    Organization {
        /// The folder.
        folder: PathBuf,
        /// The organization in the certificate.
        found: String,
        /// The organization in the configuration.
        expected: String,
    },
    /// A root certificate cannot be used.
    #[error("the root certificate {path}: {reason}")]
    Root {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// TLS cannot be set up.
    #[error("TLS with the files in {folder}: {source}")]
    Tls {
        /// The folder.
        folder: PathBuf,
        /// What is wrong.
        source: TlsError,
    },
    /// The data folder cannot be used.
    #[error("the data folder {folder}: {source}")]
    Data {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The packages cannot be opened.
    #[error(transparent)]
    Packages(#[from] PackagesError),
    /// A channel cannot be opened.
    #[error("channel {channel} cannot be opened: {source}")]
    Channel {
        /// The channel.
        channel: ChannelId,
        /// What is wrong.
        source: ChannelError,
    },
    /// The address cannot be listened at.
    #[error("cannot listen at {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The server ended by itself.
    #[error("the server ended: {0}")]
    Server(String),
    /// Something happened after which the node must not go on.
    #[error("stopped: {0}")]
    Stopped(String),
}

impl PeerError {
    /// The exit code of the process: 2 for what the operator has to set right in the configuration
    /// or its files, 3 for what happened to the data, 1 for anything else.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Identity { .. }
            | Self::Organization { .. }
            | Self::Root { .. }
            | Self::Tls { .. }
            | Self::Listen { .. } => 2,
            Self::Data { .. } | Self::Packages(_) | Self::Channel { .. } | Self::Stopped(_) => 3,
            Self::Server(_) => 1,
        }
    }
}

/// What a node needs beside its configuration.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// The clock that judges whether requests are fresh.
    pub clock: Clock,
    /// The program that compiles packages, called as `<program> compile --cache <folder> <file>`,
    /// so that a compilation can be killed. Without one the node's own process compiles.
    pub compiler: Option<PathBuf>,
}

/// Stops a node.
#[derive(Debug, Clone)]
pub struct Stopper(CancellationToken);

impl Stopper {
    /// Tells the node to stop.
    pub fn stop(&self) {
        self.0.cancel();
    }
}

/// A running node. Dropping it does not stop it; a [`Stopper`] does.
pub struct Peer {
    node: Arc<Node>,
    address: SocketAddr,
    server: JoinHandle<Result<(), tonic::transport::Error>>,
}

impl Peer {
    /// Opens everything that was joined and installed before, and begins to serve.
    ///
    /// # Errors
    /// [`PeerError`] says what the operator has to look at.
    pub async fn start(config: Config, surroundings: Surroundings) -> Result<Self, PeerError> {
        let listener =
            TcpListener::bind(config.listen)
                .await
                .map_err(|source| PeerError::Listen {
                    address: config.listen,
                    source,
                })?;
        let node = Arc::new(node(&config, surroundings).await?);
        open_channels(&node).await?;
        node.trust_channels().map_err(|source| PeerError::Tls {
            folder: config.tls.clone(),
            source,
        })?;
        let incoming =
            TlsIncoming::new(listener, node.tls.clone()).map_err(|source| PeerError::Listen {
                address: config.listen,
                source,
            })?;
        let address = incoming.local_addr();
        let server = tokio::spawn(serve(node.clone(), incoming));
        tracing::info!(
            organization = %node.organization, name = node.name, %address, "the peer is ready"
        );
        Ok(Self {
            node,
            address,
            server,
        })
    }

    /// Where it answers.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What stops it; [`Peer::ended`] returns when it has.
    pub fn stopper(&self) -> Stopper {
        Stopper(self.node.stop.clone())
    }

    /// Waits until the node has ended: because it was stopped, or because it must not go on.
    ///
    /// # Errors
    /// [`PeerError::Stopped`] or [`PeerError::Server`] says why it ended by itself.
    pub async fn ended(mut self) -> Result<(), PeerError> {
        let stop = self.node.stop.clone();
        let ended = tokio::select! {
            () = stop.cancelled() => tokio::time::timeout(STOP_TIMEOUT, &mut self.server).await,
            ended = &mut self.server => Ok(ended),
        };
        let by_itself = !stop.is_cancelled();
        if by_itself {
            self.node.fail("the server ended by itself".to_owned());
        }
        self.finish_tasks().await;
        let failure = self.node.failure.lock().take();
        if failure.is_none() {
            self.flush_ledgers().await;
        }
        match ended {
            Ok(ended) if by_itself => return Err(PeerError::Server(server_words(ended))),
            Ok(_) => {}
            Err(_) => {
                tracing::warn!("connections are still open; they are cut off");
                self.server.abort();
            }
        }
        failure.map_or(Ok(()), |why| Err(PeerError::Stopped(why)))
    }

    async fn finish_tasks(&self) {
        self.node.tasks.close();
        if tokio::time::timeout(STOP_TIMEOUT, self.node.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!("some tasks did not end in time");
        }
    }

    /// So that the next start does not read their logs of writes again.
    async fn flush_ledgers(&self) {
        let node = self.node.clone();
        let flush = move || {
            for (id, channel) in node.channels.read().iter() {
                if let Err(error) = channel.ledger().flush() {
                    tracing::warn!(channel = %id, "the next start takes longer: {error}");
                }
            }
        };
        let flushed = tokio::time::timeout(STOP_TIMEOUT, tokio::task::spawn_blocking(flush));
        if !matches!(flushed.await, Ok(Ok(()))) {
            tracing::warn!("some ledgers were not flushed in time: the next start takes longer");
        }
    }
}

fn server_words(
    ended: Result<Result<(), tonic::transport::Error>, tokio::task::JoinError>,
) -> String {
    match ended {
        Ok(Ok(())) => "it was not told to".to_owned(),
        Ok(Err(error)) => error.to_string(),
        Err(error) => error.to_string(),
    }
}

async fn serve(node: Arc<Node>, incoming: TlsIncoming) -> Result<(), tonic::transport::Error> {
    let stop = node.stop.clone().cancelled_owned();
    let gateway = GatewayServer::new(GatewayService(node.clone()))
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let endorser = EndorserServer::new(EndorserService(node.clone()))
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let health = stela_health::service(node.clone());
    let calls = CallsService::server(node.clone(), MESSAGE_BYTES_MAX);
    let admin = AdminServer::new(AdminService(node))
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    tls::server()
        .add_service(gateway)
        .add_service(calls)
        .add_service(endorser)
        .add_service(admin)
        .add_service(health)
        .serve_with_incoming_shutdown(incoming, stop)
        .await
}

async fn node(config: &Config, surroundings: Surroundings) -> Result<Node, PeerError> {
    let credentials = credentials(config)?;
    let failed = |source| PeerError::Tls {
        folder: config.tls.clone(),
        source,
    };
    let identity = TlsIdentity::load(&config.tls).map_err(failed)?;
    let mut own_tls_roots = TlsRoots::new();
    for path in &config.tls_root_certificates {
        own_tls_roots = own_tls_roots
            .add(&config.organization, &root(path)?)
            .map_err(|error| bad_root(path, error.to_string()))?;
    }
    let tls = TlsSettings::new(identity, &own_tls_roots).map_err(failed)?;
    let data = &config.data;
    let unusable = |source| PeerError::Data {
        folder: data.clone(),
        source,
    };
    fs::create_dir_all(data).map_err(unusable)?;
    let lock = folders::lock(data).map_err(unusable)?;
    folders::recover(data).map_err(unusable)?;
    Ok(Node {
        organization: config.organization.clone(),
        name: config.name.clone(),
        origin: format!("{}/{}", config.organization, config.name),
        data: data.clone(),
        _lock: lock,
        credentials,
        msps: msps(config)?,
        clock: surroundings.clock,
        remotes: Remotes::new(tls.clone()),
        tls,
        own_tls_roots,
        contracts: Contracts::open(data, surroundings.compiler).await?,
        orderers: Default::default(),
        client_calls: Arc::new(Semaphore::new(CLIENT_CALLS_MAX)),
        admin_replays: Replays::new(REPLAYS_MAX),
        rocks: config
            .cache_bytes
            .map_or_else(RocksSettings::default, RocksSettings::new),
        channels: Default::default(),
        joining: Default::default(),
        stop: CancellationToken::new(),
        tasks: TaskTracker::new(),
        failure: Default::default(),
    })
}

fn credentials(config: &Config) -> Result<Credentials, PeerError> {
    let folder = config.identity.clone();
    let credentials = Credentials::load(&folder).map_err(|source| PeerError::Identity {
        folder: folder.clone(),
        source,
    })?;
    let found = credentials.certificate.organization();
    if *found != config.organization {
        let (found, expected) = (found.to_string(), config.organization.to_string());
        return Err(PeerError::Organization {
            folder,
            found,
            expected,
        });
    }
    Ok(credentials)
}

fn msps(config: &Config) -> Result<Vec<Msp>, PeerError> {
    config
        .root_certificates
        .iter()
        .map(|path| {
            Msp::of_organization(&config.organization, &root(path)?)
                .map_err(|error: MspError| bad_root(path, error.to_string()))
        })
        .collect()
}

/// The DER in a PEM file with one certificate.
fn root(path: &Path) -> Result<Vec<u8>, PeerError> {
    let text = fs::read(path).map_err(|error| bad_root(path, error.to_string()))?;
    let pem = pem::parse(text).map_err(|error| bad_root(path, error.to_string()))?;
    if pem.tag() != "CERTIFICATE" {
        return Err(bad_root(path, "it is no certificate in PEM".to_owned()));
    }
    Ok(pem.into_contents())
}

fn bad_root(path: &Path, reason: String) -> PeerError {
    PeerError::Root {
        path: path.to_owned(),
        reason,
    }
}

/// Opens the channels that were joined before.
async fn open_channels(node: &Arc<Node>) -> Result<(), PeerError> {
    let folder = node.channels_folder();
    let failed = |source| PeerError::Data {
        folder: folder.clone(),
        source,
    };
    fs::create_dir_all(&folder).map_err(failed)?;
    for entry in fs::read_dir(&folder).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let Some(Ok(id)) = name.to_str().map(ChannelId::new) else {
            tracing::warn!(folder = %folder.display(), ?name, "not a channel, left alone");
            continue;
        };
        open_channel(node, id).await?;
    }
    Ok(())
}

async fn open_channel(node: &Arc<Node>, id: ChannelId) -> Result<(), PeerError> {
    let failed = |source| PeerError::Channel {
        channel: id.clone(),
        source,
    };
    let (opener, wanted) = (node.clone(), id.clone());
    let open = move || {
        let kv = opener
            .database(&wanted)
            .map_err(|error: StoreError| ChannelError::from(error))?;
        Channel::open(kv, &wanted, &opener.organization)
    };
    let opened = tokio::task::spawn_blocking(open)
        .await
        .map_err(|error| PeerError::Server(error.to_string()))?;
    match opened.map_err(failed)? {
        Some(channel) => {
            tracing::info!(channel = %id, height = channel.ledger().head().height, "opened");
            node.serve(Arc::new(channel));
        }
        None => tracing::warn!(channel = %id, "joining was not completed: join it again"),
    }
    Ok(())
}

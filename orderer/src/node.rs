//! One orderer process: its identity, its channels, and how it joins more of them.

mod errors;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use stela_identity::tls::{TlsError, TlsIdentity, TlsRoots, TlsSettings};
use stela_identity::{Credentials, Msp, MspError};
use stela_protocol::block::Block;
use stela_protocol::config::{ChannelConfig, ChannelLimits, Organization};
use stela_protocol::policy::{Policy, PolicyError};
use stela_protocol::{ChannelId, ErrorCode, Fingerprint, RpcError};
use stela_store::{RocksKv, RocksSettings, StoreError};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub use self::errors::{JoinError, OpenError};
use crate::admission::Admission;
use crate::blocks::Blocks;
use crate::chain::{Chain, ChainSettings};
use crate::channel::Channel;
use crate::driver::{self, Fault, Handle};
use crate::layout::FAMILIES;
use crate::limits::CHANNELS_MAX;
use crate::links::Links;
use crate::raft_logger;
use crate::settings::Settings;
use crate::streams::Streams;

/// A channel that this node orders.
pub struct Ordered {
    /// What block 0 says.
    pub channel: Arc<Channel>,
    /// This node's number in it.
    pub orderer: u64,
    /// Decides what may be ordered.
    pub admission: Admission,
    /// Its blocks.
    pub blocks: Blocks,
    /// Its chain.
    pub handle: Handle,
    /// The open streams of blocks.
    pub streams: Arc<Streams>,
}

/// An orderer.
pub struct Node {
    settings: Settings,
    origin: String,
    credentials: Arc<Credentials>,
    tls: TlsSettings,
    tls_fingerprint: Fingerprint,
    own_roots: TlsRoots,
    own_msp: Msp,
    databases: RocksSettings,
    links: Links,
    channels: RwLock<BTreeMap<ChannelId, Arc<Ordered>>>,
    joining: Mutex<()>,
    stop: CancellationToken,
    faults: mpsc::UnboundedSender<Fault>,
}

impl Node {
    /// Reads what the settings name and opens every channel that was joined. Must be called within
    /// a tokio runtime. Channels that fail later are reported to `faults`.
    ///
    /// # Errors
    /// [`OpenError`] says what is wrong.
    pub fn open(
        settings: Settings,
        stop: CancellationToken,
        faults: mpsc::UnboundedSender<Fault>,
    ) -> Result<Arc<Self>, OpenError> {
        let credentials = load_credentials(&settings)?;
        let tls_identity = TlsIdentity::load(&settings.tls_dir)?;
        let tls_root = read_root(&settings.tls_root_certificate)?;
        let own_roots = TlsRoots::new().add(&settings.organization, &tls_root)?;
        let tls_fingerprint = tls_identity.fingerprint();
        let tls = TlsSettings::new(tls_identity, &own_roots)?;
        let node = Arc::new(Self {
            own_msp: own_msp(&settings)?,
            origin: settings.origin(),
            credentials: Arc::new(credentials),
            tls_fingerprint,
            own_roots,
            databases: RocksSettings::default(),
            links: Links::new(tls.clone(), stop.clone()),
            tls,
            channels: RwLock::default(),
            joining: Mutex::default(),
            settings,
            stop,
            faults,
        });
        node.open_channels()?;
        Ok(node)
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// How errors name this node.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The certificate (DER) under which it signs.
    pub fn certificate(&self) -> Bytes {
        self.credentials.certificate.der().clone()
    }

    /// TLS as it is now.
    pub fn tls(&self) -> &TlsSettings {
        &self.tls
    }

    /// Who belongs to the node's own organization.
    pub fn own_msp(&self) -> &Msp {
        &self.own_msp
    }

    /// Ends when the node is to stop.
    pub fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// A channel by its name.
    ///
    /// # Errors
    /// That it is not known here.
    pub fn channel(&self, name: &str) -> Result<Arc<Ordered>, RpcError> {
        let id = ChannelId::new(name);
        let found = id
            .ok()
            .and_then(|id| self.channels.read().get(&id).cloned());
        found.ok_or_else(|| {
            let name: String = name.chars().take(64).collect();
            let message = format!("this orderer has not joined channel {name:?}");
            RpcError::new(ErrorCode::UnknownChannel, message)
        })
    }

    /// All channels, in the order of their names.
    pub fn channels(&self) -> Vec<Arc<Ordered>> {
        self.channels.read().values().cloned().collect()
    }

    /// Joins the channel that block 0 describes; a second time it changes nothing. Blocks on the
    /// disk, so it is not for an async task. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`JoinError`] says why not. The call may be repeated.
    pub fn join(&self, requested: &ChannelId, genesis: Bytes) -> Result<(), JoinError> {
        let _one_at_a_time = self.joining.lock();
        if self.stop.is_cancelled() {
            return Err(JoinError::Stopping);
        }
        let channel = Channel::from_genesis(genesis)?;
        if channel.id() != requested {
            let (requested, found) = (requested.clone(), channel.id().clone());
            return Err(JoinError::OtherChannel { requested, found });
        }
        if let Some(known) = self.channels.read().get(requested) {
            return match known.channel.genesis.hash == channel.genesis.hash {
                true => Ok(()),
                false => Err(JoinError::OtherGenesis(requested.clone())),
            };
        }
        let orderer = self.own_number(&channel)?;
        if self.channels.read().len() >= CHANNELS_MAX {
            return Err(JoinError::TooMany);
        }
        let roots = self.roots_with(&channel.config)?;
        let kv = self.database(requested)?;
        match Channel::stored_genesis(&kv, requested)? {
            None => channel.create(&kv)?,
            // An earlier attempt was interrupted; what it stored must be the same.
            Some(stored) => {
                let stored = Block::decode(stored).map(|block| block.hash);
                if stored != Ok(channel.genesis.hash) {
                    return Err(JoinError::OtherGenesis(requested.clone()));
                }
            }
        }
        self.tls.replace_roots(&roots)?;
        self.start(channel, orderer, kv)?;
        tracing::info!(channel = %requested, orderer, "channel joined");
        Ok(())
    }

    /// Waits until every channel has stopped, after the stop was asked for. Blocks.
    pub fn join_threads(&self) {
        self.channels()
            .iter()
            .for_each(|ordered| ordered.handle.join());
    }

    fn own_number(&self, channel: &Channel) -> Result<u64, JoinError> {
        let certificate = &self.credentials.certificate;
        let Some(orderer) = channel.orderer_with(certificate.der()) else {
            let (channel, certificate) = (channel.id().clone(), certificate.fingerprint());
            return Err(JoinError::NotAnOrderer {
                channel,
                certificate,
            });
        };
        let configured = channel.config.orderers[&orderer].tls_fingerprint;
        let found = self.tls_fingerprint;
        if configured != found {
            let channel = channel.id().clone();
            return Err(JoinError::OtherTls {
                channel,
                orderer,
                configured,
                found,
            });
        }
        Ok(orderer)
    }

    fn roots_with(&self, config: &ChannelConfig) -> Result<TlsRoots, TlsError> {
        let channels = self.channels();
        let known = channels.iter().map(|ordered| &ordered.channel.config);
        known
            .chain([config])
            .try_fold(self.own_roots.clone(), |roots, c| roots.add_config(c))
    }

    fn folder(&self) -> PathBuf {
        self.settings.data_dir.join("channels")
    }

    fn database(&self, channel: &ChannelId) -> Result<RocksKv, StoreError> {
        RocksKv::open(
            &self.folder().join(channel.as_str()),
            FAMILIES,
            &self.databases,
        )
    }

    fn open_channels(&self) -> Result<(), OpenError> {
        let folder = self.folder();
        let data = |source| OpenError::Data {
            folder: folder.clone(),
            source,
        };
        std::fs::create_dir_all(&folder).map_err(data)?;
        for entry in std::fs::read_dir(&folder).map_err(data)? {
            let name = entry.map_err(data)?.file_name();
            let Some(channel) = name.to_str().and_then(|name| ChannelId::new(name).ok()) else {
                tracing::warn!(?name, "not a channel's folder");
                continue;
            };
            self.reopen(&channel)
                .map_err(|source| OpenError::Channel { channel, source })?;
        }
        Ok(())
    }

    fn reopen(&self, id: &ChannelId) -> Result<(), JoinError> {
        let kv = self.database(id)?;
        let Some(genesis) = Channel::stored_genesis(&kv, id)? else {
            tracing::warn!(channel = %id, "the channel was never fully joined; join it again");
            return Ok(());
        };
        let channel = Channel::from_genesis(genesis)?;
        let orderer = self.own_number(&channel)?;
        self.tls.replace_roots(&self.roots_with(&channel.config)?)?;
        self.start(channel, orderer, kv)
    }

    fn start(&self, channel: Channel, orderer: u64, kv: RocksKv) -> Result<(), JoinError> {
        let (channel, kv) = (Arc::new(channel), Arc::new(kv));
        let id = channel.id().clone();
        let settings = ChainSettings::new(orderer);
        let logger = raft_logger().new(slog::o!("channel" => id.to_string()));
        let credentials = self.credentials.clone();
        let chain = Chain::open(&settings, channel.clone(), credentials, kv.clone(), &logger)?;
        let orderers = &channel.config.orderers;
        let links = channel
            .others(orderer)
            .map(|other| (other, self.links.to(&orderers[&other])));
        let (stop, faults) = (self.stop.clone(), self.faults.clone());
        let handle = driver::start(id.clone(), chain, kv.clone(), links.collect(), stop, faults)?;
        let blocks = Blocks::new(kv);
        let ordered = Ordered {
            admission: Admission::new(channel.clone(), blocks.clone()),
            channel,
            orderer,
            blocks,
            handle,
            streams: Arc::default(),
        };
        self.channels.write().insert(id, Arc::new(ordered));
        Ok(())
    }
}

fn load_credentials(settings: &Settings) -> Result<Credentials, OpenError> {
    let folder = settings.identity_dir.clone();
    let credentials = Credentials::load(&folder).map_err(|source| OpenError::Identity {
        folder: folder.clone(),
        source,
    })?;
    let found = credentials.certificate.organization().clone();
    let expected = settings.organization.clone();
    if found != expected {
        return Err(OpenError::Organization {
            folder,
            found,
            expected,
        });
    }
    Ok(credentials)
}

fn read_root(file: &Path) -> Result<CertificateDer<'static>, OpenError> {
    CertificateDer::from_pem_file(file).map_err(|error| {
        let why = format!("not a certificate in PEM: {error}");
        OpenError::Root {
            file: file.to_owned(),
            why,
        }
    })
}

/// A membership of the own organization alone, as if it were a channel's.
fn own_msp(settings: &Settings) -> Result<Msp, OpenError> {
    let file = &settings.root_certificate;
    let root = read_root(file)?;
    let error = |why: String| OpenError::Root {
        file: file.clone(),
        why,
    };
    let id = settings.organization.clone();
    let organization = Organization {
        id: id.clone(),
        root_certificate: Bytes::copy_from_slice(&root),
        tls_root_certificates: Vec::new(),
        peers: Vec::new(),
        storage: Vec::new(),
        revoked: Default::default(),
    };
    let admins = Policy::parse(&format!("'{id}.admin'"));
    let config = ChannelConfig {
        channel: ChannelId::new("none").map_err(|why| error(why.to_string()))?,
        sequence: 0,
        organizations: BTreeMap::from([(id, organization)]),
        orderers: BTreeMap::new(),
        orderer_quorum: 0,
        limits: ChannelLimits {
            window_ms: 0,
            block_transactions_max: 0,
            block_bytes_max: 0,
            envelope_bytes_max: 0,
        },
        contracts: BTreeMap::new(),
        admin_policy: admins.map_err(|why: PolicyError| error(why.to_string()))?,
        certificates: Vec::new(),
    };
    Msp::from_config(&config).map_err(|why: MspError| error(why.to_string()))
}

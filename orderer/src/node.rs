//! One orderer process: its identity, its channels, and how it joins more of them.

mod errors;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use stela_identity::tls::{PeerTls, TlsError, TlsIdentity, TlsRoots, TlsSettings};
use stela_identity::{Configuration, Credentials, Msp, MspError};
use stela_protocol::block::Block;
use stela_protocol::config::ChannelConfig;
use stela_protocol::{ChannelId, ErrorCode, Fingerprint, Hash32, RpcError};
use stela_store::{RocksKv, RocksSettings, StoreError};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

pub use self::errors::{JoinError, OpenError};
use crate::admission::Admission;
use crate::blocks::Blocks;
use crate::chain::{Chain, ChainSettings};
use crate::channel::{Channel, ChannelError, orderer_with, stored_joined, stored_orderer};
use crate::configurations::{InForce, Standing};
use crate::driver::{self, Fault, Handle};
use crate::layout::{self, FAMILIES};
use crate::limits::{BLOCK_CACHE_BYTES, CHANNELS_MAX};
use crate::links::Links;
use crate::raft_logger;
use crate::settings::Settings;
use crate::streams::Streams;

/// A channel that this node orders.
pub struct Ordered {
    /// Its name.
    pub id: ChannelId,
    /// The hash of its block 0.
    pub genesis: Hash32,
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

impl Ordered {
    /// The configuration in force.
    pub fn in_force(&self) -> Arc<InForce> {
        self.handle.in_force().borrow().clone()
    }

    /// Whether whoever shows this TLS certificate belongs to a member.
    pub fn admits(&self, peer: &PeerTls) -> bool {
        let in_force = self.in_force();
        let member = in_force
            .channel
            .config()
            .organizations
            .get(&peer.organization);
        member.is_some_and(|member| !member.revoked.contains(&peer.fingerprint))
    }

    /// Who calls under the number `id`, if the TLS certificate is that orderer's and not revoked.
    pub fn caller(&self, id: u64, peer: &PeerTls) -> Option<Standing> {
        let in_force = self.in_force();
        let (orderer, standing) = in_force.orderer(id)?;
        let genuine = orderer.tls_fingerprint == peer.fingerprint
            && orderer.organization == peer.organization
            && id != self.orderer
            && !in_force.channel.msp().is_revoked(&peer.fingerprint);
        genuine.then_some(standing)
    }
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
    links: Arc<Links>,
    channels: RwLock<BTreeMap<ChannelId, Arc<Ordered>>>,
    joining: Mutex<()>,
    configured: watch::Sender<u64>,
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
            databases: RocksSettings::new(BLOCK_CACHE_BYTES),
            links: Arc::new(Links::new(tls.clone(), stop.clone())),
            tls,
            channels: RwLock::default(),
            joining: Mutex::default(),
            configured: watch::Sender::default(),
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

    /// Changes whenever another configuration of a channel is in force.
    pub fn configured(&self) -> watch::Receiver<u64> {
        self.configured.subscribe()
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

    /// Joins the channel that block 0 describes; a second time it changes nothing. An orderer that
    /// block 0 does not name needs a configuration that does: `current`, an encoded
    /// `ChannelConfig`. Blocks on the disk, so it is not for an async task. Must be called within a
    /// tokio runtime.
    ///
    /// # Errors
    /// [`JoinError`] says why not. The call may be repeated.
    pub fn join(
        self: &Arc<Self>,
        requested: &ChannelId,
        genesis: Bytes,
        current: Bytes,
    ) -> Result<(), JoinError> {
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
            return match known.genesis == channel.genesis.hash {
                true => Ok(()),
                false => Err(JoinError::OtherGenesis(requested.clone())),
            };
        }
        let joined = joined_with(&channel, current)?;
        let config = joined
            .as_ref()
            .map_or(channel.config(), |joined| joined.config());
        let orderer = self.own_number(config)?;
        if self.channels.read().len() >= CHANNELS_MAX {
            return Err(JoinError::TooMany);
        }
        let kv = self.database(requested)?;
        match Channel::stored_genesis(&kv, requested)? {
            None => channel.create_for(&kv, orderer, joined.as_ref())?,
            // An earlier attempt was interrupted; what it stored must be the same.
            Some(stored) => {
                let stored = Block::decode(stored).map(|block| block.hash);
                if stored != Ok(channel.genesis.hash) {
                    return Err(JoinError::OtherGenesis(requested.clone()));
                }
            }
        }
        self.start(channel, kv)?;
        tracing::info!(channel = %requested, orderer, "channel joined");
        Ok(())
    }

    /// Waits until every channel has stopped, after the stop was asked for. Blocks.
    pub fn join_threads(&self) {
        self.channels()
            .iter()
            .for_each(|ordered| ordered.handle.join());
    }

    fn own_number(&self, config: &ChannelConfig) -> Result<u64, JoinError> {
        let channel = config.channel.clone();
        let certificate = &self.credentials.certificate;
        let Some(orderer) = orderer_with(config, certificate.der()) else {
            return Err(JoinError::NotAnOrderer {
                channel,
                certificate: certificate.fingerprint(),
            });
        };
        let configured = config.orderers[&orderer].tls_fingerprint;
        let found = self.tls_fingerprint;
        if configured != found {
            return Err(JoinError::OtherTls {
                channel,
                orderer,
                configured,
                found,
            });
        }
        Ok(orderer)
    }

    /// Trusts the TLS roots of all configurations in force, and of `more`.
    fn replace_roots(&self, more: Option<&InForce>) -> Result<(), TlsError> {
        let mut roots = self.own_roots.clone();
        let known: Vec<_> = self.channels().iter().map(|o| o.in_force()).collect();
        for in_force in known.iter().map(Arc::as_ref).chain(more) {
            roots = roots.add_config(in_force.channel.config())?;
            if let Some(joined) = &in_force.joined {
                roots = roots.add_config(joined.config())?;
            }
        }
        self.tls.replace_roots(&roots)
    }

    fn folder(&self) -> PathBuf {
        self.settings.data_dir.join("channels")
    }

    fn database(&self, channel: &ChannelId) -> Result<RocksKv, StoreError> {
        let folder = self.folder().join(channel.as_str());
        let kv = RocksKv::open(&folder, FAMILIES, &self.databases)?;
        layout::upgrade(&kv)?;
        Ok(kv)
    }

    fn open_channels(self: &Arc<Self>) -> Result<(), OpenError> {
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

    fn reopen(self: &Arc<Self>, id: &ChannelId) -> Result<(), JoinError> {
        let kv = self.database(id)?;
        let Some(genesis) = Channel::stored_genesis(&kv, id)? else {
            tracing::warn!(channel = %id, "the channel was never fully joined; join it again");
            return Ok(());
        };
        self.start(Channel::from_genesis(genesis)?, kv)
    }

    fn start(self: &Arc<Self>, channel: Channel, kv: RocksKv) -> Result<(), JoinError> {
        let (channel, kv) = (Arc::new(channel), Arc::new(kv));
        let (id, genesis) = (channel.id().clone(), channel.genesis.hash);
        let orderer = match stored_orderer(kv.as_ref())? {
            Some(orderer) => orderer,
            None => self.own_number(channel.config())?,
        };
        let settings = ChainSettings {
            entries_kept: self.settings.entries_kept,
            joined: stored_joined(kv.as_ref())?,
            ..ChainSettings::new(orderer)
        };
        let logger = raft_logger().new(slog::o!("channel" => id.to_string()));
        let credentials = self.credentials.clone();
        let chain = Chain::open(&settings, channel, credentials, kv.clone(), &logger)?;
        let in_force = chain.in_force()?;
        self.check_own(orderer, &in_force);
        self.replace_roots(Some(&in_force))?;
        let (stop, faults) = (self.stop.clone(), self.faults.clone());
        let handle = driver::start(chain, kv.clone(), self.links.clone(), stop, faults)?;
        let blocks = Blocks::new(kv);
        let ordered = Ordered {
            admission: Admission::new(handle.in_force(), blocks.clone()),
            id: id.clone(),
            genesis,
            orderer,
            blocks,
            handle,
            streams: Arc::default(),
        };
        let in_force = ordered.handle.in_force();
        self.channels.write().insert(id, Arc::new(ordered));
        self.follow(in_force);
        Ok(())
    }

    /// Its own certificates may be renewed before the configuration says so, or after. Meanwhile it
    /// takes part in nothing, which needs to be said.
    fn check_own(&self, orderer: u64, in_force: &InForce) {
        let Some((configured, _)) = in_force.orderer(orderer) else {
            return;
        };
        let channel = in_force.channel.id();
        if configured.certificate != *self.credentials.certificate.der() {
            tracing::warn!(
                %channel, orderer,
                "the configuration names another certificate for this orderer than it has: its \
                 signatures do not count"
            );
        }
        if configured.tls_fingerprint != self.tls_fingerprint {
            tracing::warn!(
                %channel, orderer,
                "the configuration names another TLS certificate for this orderer than it has: the \
                 other orderers do not listen to it"
            );
        }
    }

    /// Lets TLS follow a channel's configuration, and ends what is open and may be no longer.
    fn follow(self: &Arc<Self>, mut in_force: watch::Receiver<Arc<InForce>>) {
        let node = self.clone();
        tokio::spawn(async move {
            while in_force.changed().await.is_ok() {
                let now = in_force.borrow_and_update().clone();
                if let Err(error) = node.replace_roots(None) {
                    // The roots were read when the configuration was checked.
                    let channel = now.channel.id();
                    tracing::error!(%channel, %error, "TLS keeps the roots that it had");
                }
                node.configured.send_modify(|count| *count += 1);
            }
        });
    }
}

/// The configuration that names this node, if one was given.
fn joined_with(channel: &Channel, current: Bytes) -> Result<Option<Configuration>, JoinError> {
    if current.is_empty() {
        return Ok(None);
    }
    let joined = Configuration::new(current).map_err(ChannelError::from)?;
    let found = &joined.config().channel;
    if found != channel.id() {
        let (requested, found) = (channel.id().clone(), found.clone());
        return Err(JoinError::OtherChannel { requested, found });
    }
    Ok(Some(joined))
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
    Msp::of_organization(&settings.organization, &root)
        .map_err(|why: MspError| error(why.to_string()))
}

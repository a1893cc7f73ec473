//! Storage nodes and members for the tests: real IPFS nodes and the real service over real TLS
//! sockets. The clock is the test's own.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use stela_client::{Checkpoint, Event, Sources};
use stela_identity::tls::{self, TlsIncoming, TlsRoots, TlsSettings};
use stela_identity::{CertificateAuthority, Credentials, Subject, TlsAuthority, Validity};
use stela_ipfs::{BlobStore, Cid, Node, NodeConfig, SwarmKey, generate_swarm_key};
use stela_protocol::config::ChannelConfig;
use stela_protocol::{BlockNumber, ChannelId, FORMAT_VERSION, Hash32, OrgId, TransactionId, pb};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::faulty::Faulty;
use crate::{
    Checking, Membership, Parts, Quotas, StorageClient, StorageEndpoint, StorageNode, Uploader,
};

const VALIDITY: Validity = Validity {
    not_before_ms: 1_600_000_000_000,
    not_after_ms: 4_000_000_000_000,
};

/// A clock that stands still until it is moved.
#[derive(Clone)]
pub(crate) struct Clock(Arc<AtomicU64>);

impl Clock {
    pub(crate) fn now_ms(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    pub(crate) fn advance(&self, ms: u64) {
        self.0.fetch_add(ms, Ordering::SeqCst);
    }

    pub(crate) fn sources(&self) -> Sources {
        let (clock, system) = (self.clone(), Sources::default());
        Sources::new(
            move || clock.now_ms(),
            move |bytes| {
                for part in bytes.chunks_mut(stela_protocol::limits::NONCE_BYTES) {
                    part.copy_from_slice(&system.nonce().0[..part.len()]);
                }
            },
        )
    }
}

/// An organization with its authorities.
pub(crate) struct Organization {
    pub(crate) id: OrgId,
    authority: CertificateAuthority,
    tls: TlsAuthority,
}

impl Organization {
    pub(crate) fn new(name: &str) -> Self {
        let id = OrgId::new(name).unwrap();
        let authority = CertificateAuthority::create(&id, VALIDITY).unwrap();
        let tls = TlsAuthority::create(&id, VALIDITY).unwrap();
        Self { id, authority, tls }
    }

    pub(crate) fn issue(&self, role: &str) -> Arc<Credentials> {
        let subject = Subject {
            common_name: format!("a {role}"),
            role: role.to_owned(),
            attributes: BTreeMap::new(),
            validity: VALIDITY,
        };
        Arc::new(self.authority.issue(&subject).unwrap())
    }

    pub(crate) fn entry(&self, storage: Option<pb::StorageEndpoint>) -> pb::Organization {
        pb::Organization {
            id: self.id.to_string(),
            root_certificate: Bytes::copy_from_slice(self.authority.root_der()),
            tls_root_certificates: vec![Bytes::copy_from_slice(self.tls.root_der())],
            storage: storage.into_iter().collect(),
            ..Default::default()
        }
    }
}

/// A running storage node; its service ends when this is dropped.
pub(crate) struct Site {
    pub(crate) storage: StorageNode,
    pub(crate) node: Node,
    pub(crate) faulty: Arc<Faulty>,
    pub(crate) endpoint: StorageEndpoint,
    pub(crate) data: TempDir,
    stop: oneshot::Sender<()>,
}

/// Three organizations, a storage node each, and their channel.
pub(crate) struct World {
    pub(crate) organizations: Vec<Organization>,
    pub(crate) sites: Vec<Site>,
    pub(crate) config: pb::ChannelConfig,
    pub(crate) clock: Clock,
    swarm_key: SwarmKey,
}

/// A site before the channel's configuration can name it.
struct Ground {
    node: Node,
    data: TempDir,
    listener: TcpListener,
}

impl World {
    pub(crate) async fn new(quotas: Quotas) -> Self {
        let clock = Clock(Arc::new(AtomicU64::new(1_700_000_000_000)));
        let swarm_key = generate_swarm_key();
        let organizations: Vec<_> = ["HospitalA", "HospitalB", "HospitalC"]
            .map(Organization::new)
            .into();
        let mut grounds = Vec::new();
        for _ in &organizations {
            let (node, data) = start_node(&swarm_key).await;
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            grounds.push(Ground {
                node,
                data,
                listener,
            });
        }
        let config = config(&organizations, &grounds);
        let mut world = Self {
            organizations,
            sites: Vec::new(),
            config,
            clock,
            swarm_key,
        };
        for (index, ground) in grounds.into_iter().enumerate() {
            world
                .sites
                .push(world.start_site(index, ground, quotas).await);
        }
        world
    }

    async fn start_site(&self, index: usize, ground: Ground, quotas: Quotas) -> Site {
        let Ground {
            node,
            data,
            listener,
        } = ground;
        let channel = self.channel();
        let faulty = Arc::new(Faulty::new(node.clone()));
        let parts = Parts {
            organization: self.organizations[index].id.clone(),
            name: "storage0".to_owned(),
            node: faulty.clone(),
            membership: Membership::new(&channel).unwrap(),
            quotas,
            checking: Checking::default(),
            sources: self.clock.sources(),
        };
        let storage = StorageNode::open(parts, data.path()).unwrap();
        storage.join_swarm().await;
        let incoming = TlsIncoming::new(listener, self.tls(index)).unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tls::server()
            .add_service(storage.service())
            .serve_with_incoming_shutdown(incoming, async move { drop(stopped.await) });
        tokio::spawn(serving);
        let endpoint = StorageEndpoint::all(&channel).swap_remove(index);
        Site {
            storage,
            node,
            faulty,
            endpoint,
            data,
            stop,
        }
    }

    /// Ends a site and starts it again on what it has on the disk, under its old addresses.
    pub(crate) async fn restart(&mut self, index: usize, quotas: Quotas) {
        let Site {
            node,
            endpoint,
            data,
            stop,
            ..
        } = self.sites.remove(index);
        drop(stop);
        node.shutdown().await;
        let listen = endpoint.addresses.iter().map(|address| {
            let mut address = address.clone();
            address.pop();
            address
        });
        let node = start_node_in(&data, &self.swarm_key, Some(listen.collect())).await;
        let listener = TcpListener::bind(&endpoint.api).await.unwrap();
        let ground = Ground {
            node,
            data,
            listener,
        };
        let site = self.start_site(index, ground, quotas).await;
        self.sites.insert(index, site);
    }

    pub(crate) fn channel(&self) -> ChannelConfig {
        ChannelConfig::from_pb(self.config.clone()).unwrap()
    }

    pub(crate) fn tls(&self, index: usize) -> TlsSettings {
        let names = ["127.0.0.1".to_owned()];
        let identity = self.organizations[index]
            .tls
            .issue("node", &names, VALIDITY)
            .unwrap();
        let roots = TlsRoots::new().add_config(&self.channel()).unwrap();
        TlsSettings::new(identity, &roots).unwrap()
    }

    /// Somebody of the first organization.
    pub(crate) fn member(&self, role: &str) -> Arc<Credentials> {
        self.organizations[0].issue(role)
    }

    pub(crate) fn uploader(&self, credentials: &Arc<Credentials>) -> Uploader {
        Uploader::new(channel(), self.tls(0), credentials.clone())
            .with_sources(self.clock.sources())
    }

    pub(crate) fn client(&self, site: usize, credentials: &Arc<Credentials>) -> StorageClient {
        let endpoint = &self.sites[site].endpoint;
        StorageClient::connect(endpoint, &channel(), &self.tls(0), credentials.clone())
            .unwrap()
            .with_sources(self.clock.sources())
    }

    pub(crate) fn endpoints(&self, count: usize) -> Vec<StorageEndpoint> {
        self.sites[..count]
            .iter()
            .map(|site| site.endpoint.clone())
            .collect()
    }

    /// A member's own IPFS node with a blob of several blocks.
    pub(crate) async fn author(&self) -> Author {
        let (node, data) = start_node(&self.swarm_key).await;
        Author { node, data }
    }

    pub(crate) async fn tick(&self, site: usize) {
        self.sites[site].storage.tick(self.clock.now_ms()).await;
    }
}

/// A member's own IPFS node.
pub(crate) struct Author {
    pub(crate) node: Node,
    data: TempDir,
}

/// Blocks that were taken out of a node's folder.
pub(crate) struct Hidden(Vec<(PathBuf, Vec<u8>)>);

impl Author {
    /// Takes so many full leaves out of the node's folder, as if it did not have them.
    pub(crate) fn hide_leaves(&self, count: usize) -> Hidden {
        let list = |path: PathBuf| {
            std::fs::read_dir(path)
                .unwrap()
                .map(|entry| entry.unwrap().path())
        };
        let blocks = list(self.data.path().join("ipfs/blocks")).flat_map(list);
        let leaves = blocks.filter(|path| path.metadata().unwrap().len() == 262_144);
        let hidden = leaves.take(count).map(|path| {
            let bytes = std::fs::read(&path).unwrap();
            std::fs::remove_file(&path).unwrap();
            (path, bytes)
        });
        Hidden(hidden.collect())
    }

    pub(crate) async fn put(&self, seed: u8, bytes: usize) -> Cid {
        let content: Vec<u8> = (0..bytes).map(|n| seed ^ (n / 1_000) as u8).collect();
        self.node.put(&mut &content[..]).await.unwrap()
    }
}

impl Hidden {
    /// Puts them back.
    pub(crate) fn show(self) {
        for (path, bytes) in self.0 {
            std::fs::write(path, bytes).unwrap();
        }
    }
}

pub(crate) fn channel() -> ChannelId {
    ChannelId::new("care").unwrap()
}

async fn start_node(swarm_key: &SwarmKey) -> (Node, TempDir) {
    let data = tempfile::tempdir().unwrap();
    (start_node_in(&data, swarm_key, None).await, data)
}

async fn start_node_in(
    data: &TempDir,
    swarm_key: &SwarmKey,
    listen: Option<Vec<stela_ipfs::Multiaddr>>,
) -> Node {
    let mut config = NodeConfig::new(data.path().join("ipfs"), swarm_key.clone());
    config.fsync = false;
    config.listen = listen.unwrap_or(config.listen);
    Node::start(config).await.unwrap()
}

fn config(organizations: &[Organization], grounds: &[Ground]) -> pb::ChannelConfig {
    let entries = organizations
        .iter()
        .zip(grounds)
        .map(|(organization, ground)| {
            organization.entry(Some(pb::StorageEndpoint {
                peer_id: ground.node.peer_id().to_string(),
                addresses: ground
                    .node
                    .listen_addresses()
                    .iter()
                    .map(ToString::to_string)
                    .collect(),
                api: ground.listener.local_addr().unwrap().to_string(),
            }))
        });
    let orderer = pb::Orderer {
        id: 1,
        organization: organizations[0].id.to_string(),
        address: "127.0.0.1:1".to_owned(),
        certificate: organizations[0].issue("orderer").certificate.der().clone(),
        tls_fingerprint: Hash32::ZERO.to_bytes(),
    };
    pb::ChannelConfig {
        version: FORMAT_VERSION,
        channel: channel().to_string(),
        organizations: entries.collect(),
        orderers: vec![orderer],
        orderer_quorum: 1,
        limits: Some(pb::ChannelLimits {
            window_ms: 300_000,
            block_transactions_max: 500,
            block_bytes_max: 1 << 20,
            envelope_bytes_max: 1 << 18,
        }),
        admin_policy: "'HospitalA.admin'".to_owned(),
        ..Default::default()
    }
}

/// An event of the healthcare contract about a blob.
pub(crate) fn event(name: &str, cid: &Cid, time_ms: u64) -> Event {
    Event {
        checkpoint: Checkpoint {
            block: BlockNumber(1),
            transaction: 0,
            event: 0,
        },
        transaction: TransactionId([7; 32]),
        name: name.to_owned(),
        payload: format!(r#"{{"patient":"p","record":"r","version":1,"cid":"{cid}"}}"#).into(),
        time_ms,
    }
}

/// Fails the test when something takes longer than anything here may.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(120), what)
        .await
        .expect("it happens in time")
}

/// Waits until `condition` holds.
pub(crate) async fn until(mut condition: impl AsyncFnMut() -> bool) {
    soon(async {
        let mut poll = tokio::time::interval(Duration::from_millis(10));
        while !condition().await {
            poll.tick().await;
        }
    })
    .await;
}

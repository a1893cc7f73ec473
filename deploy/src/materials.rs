//! Every key, certificate and configuration file of a network on one machine.
//!
//! In a real consortium each organization makes its own and only certificates and the genesis
//! block are exchanged; here one program plays all of them, each in a folder of its own:
//!
//! | path below the network's folder | what |
//! |---|---|
//! | `ORGANIZATION/ca/` | the authority for identities, with its key |
//! | `ORGANIZATION/tls-ca/` | the authority for TLS, with its key |
//! | `ORGANIZATION/NODE/` | a node: `identity/`, `tls/`, `data/`, its `.toml` and its log |
//! | `ORGANIZATION/users/NAME/` | a user's profile, as `stela --profile` takes it |
//! | `public/` | what everybody may have: root certificates, the genesis block |
//! | `swarm.key` | the key of the private IPFS swarm, known to members |
//! | `wire/` | what crossed each port, in both directions |

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::Context;
use stela_consent::Role;
use stela_identity::{
    Certificate, CertificateAuthority, Configuration, Credentials, Subject, TlsAuthority, Validity,
};
use stela_protocol::{FORMAT_VERSION, Hash32, Message, OrgId, pb};

use crate::limits::{CLOCK_SKEW_MS, VALIDITY_MS, WINDOW_MS};
use crate::topology::{CHANNEL, CONTRACT, Daemon, Kind, Node, Port, Topology};

/// A user for whom a profile is made.
#[derive(Debug, Clone)]
pub struct User {
    /// Her organization.
    pub organization: &'static str,
    /// The name of her profile.
    pub name: &'static str,
    /// Her role.
    pub role: &'static str,
    /// More attributes of her certificate.
    pub attributes: BTreeMap<String, String>,
}

/// The folder of a network and the authorities in it.
pub struct Materials {
    folder: PathBuf,
    validity: Validity,
    authorities: BTreeMap<String, (CertificateAuthority, TlsAuthority)>,
}

impl Materials {
    /// Makes the authorities of these organizations in an empty folder.
    ///
    /// # Errors
    /// When a key or a file cannot be made.
    pub fn create<'a>(
        folder: &Path,
        organizations: impl IntoIterator<Item = &'a str>,
        now_ms: u64,
    ) -> anyhow::Result<Self> {
        let validity = Validity {
            not_before_ms: now_ms.saturating_sub(CLOCK_SKEW_MS),
            not_after_ms: now_ms + VALIDITY_MS,
        };
        let public = folder.join("public");
        std::fs::create_dir_all(public.join("tls-roots"))?;
        let mut authorities = BTreeMap::new();
        for name in organizations {
            let organization = OrgId::new(name)?;
            let identities = CertificateAuthority::create(&organization, validity)?;
            let tls = TlsAuthority::create(&organization, validity)?;
            identities.save(&folder.join(name).join("ca"))?;
            tls.save(&folder.join(name).join("tls-ca"))?;
            copy(
                &folder.join(name).join("ca/ca.pem"),
                &public.join(format!("{name}.pem")),
            )?;
            copy(
                &folder.join(name).join("tls-ca/tls-ca.pem"),
                &public.join(format!("tls-roots/{name}.pem")),
            )?;
            authorities.insert(name.to_owned(), (identities, tls));
        }
        Ok(Self {
            folder: folder.to_owned(),
            validity,
            authorities,
        })
    }

    /// The organizations, in the order of their names.
    pub fn organizations(&self) -> impl Iterator<Item = &str> {
        self.authorities.keys().map(String::as_str)
    }

    fn authorities(
        &self,
        organization: &str,
    ) -> anyhow::Result<&(CertificateAuthority, TlsAuthority)> {
        self.authorities
            .get(organization)
            .with_context(|| format!("{organization} is no member"))
    }

    /// A node's folder.
    pub fn node_folder(&self, node: &Node) -> PathBuf {
        self.folder.join(&node.organization).join(&node.name)
    }

    /// Makes a node's identity and TLS certificate; answers the two fingerprints' certificates.
    ///
    /// # Errors
    /// When a key or a file cannot be made.
    pub fn enrol_node(&self, node: &Node) -> anyhow::Result<NodeCertificates> {
        let (identities, tls) = self.authorities(&node.organization)?;
        let folder = self.node_folder(node);
        std::fs::create_dir_all(folder.join("data"))?;
        let credentials =
            identities.issue(&self.subject(&node.name, node.kind.role(), BTreeMap::new()))?;
        credentials.save(&folder.join("identity"))?;
        let names = ["localhost".to_owned(), node.service.public.ip().to_string()];
        let transport = tls.issue(&node.name, &names, self.validity)?;
        transport.save(&folder.join("tls"))?;
        Ok(NodeCertificates {
            certificate: credentials.certificate,
            tls_fingerprint: transport.fingerprint(),
        })
    }

    fn subject(&self, name: &str, role: &str, attributes: BTreeMap<String, String>) -> Subject {
        Subject {
            common_name: name.to_owned(),
            role: role.to_owned(),
            attributes,
            validity: self.validity,
        }
    }

    /// Makes a user's certificates and her profile.
    ///
    /// # Errors
    /// When a key or a file cannot be made.
    pub fn enrol_user(&self, user: &User, topology: &Topology) -> anyhow::Result<Credentials> {
        let (identities, tls) = self.authorities(user.organization)?;
        let folder = self.user_folder(user);
        let subject = self.subject(user.name, user.role, user.attributes.clone());
        let credentials = identities.issue(&subject)?;
        credentials.save(&folder.join("identity"))?;
        let names = ["localhost".to_owned()];
        tls.issue(user.name, &names, self.validity)?
            .save(&folder.join("tls"))?;
        std::fs::write(folder.join("profile.toml"), profile(user, topology))?;
        copy(&self.folder.join("swarm.key"), &folder.join("swarm.key"))?;
        Ok(credentials)
    }

    /// A user's profile folder.
    pub fn user_folder(&self, user: &User) -> PathBuf {
        user_folder(&self.folder, user)
    }

    /// A channel's first block; `enrolled` are all nodes. It is written to [`genesis_file`].
    ///
    /// # Errors
    /// When the configuration would not be sound.
    pub fn genesis(
        &self,
        enrolled: &[(Node, NodeCertificates)],
        swarm_ids: &BTreeMap<String, String>,
        channel: &NewChannel<'_>,
        now_ms: u64,
    ) -> anyhow::Result<Vec<u8>> {
        let config = self.config(enrolled, swarm_ids, channel)?;
        let block = stela_protocol::config::genesis(&config, now_ms)?;
        let (encoded, _) = stela_protocol::config::from_genesis(&block)?;
        Configuration::new(encoded).context("the genesis block is not sound")?;
        let bytes = block.to_pb().encode_to_vec();
        std::fs::write(genesis_file(&self.folder, channel.name), &bytes)?;
        Ok(bytes)
    }

    fn config(
        &self,
        enrolled: &[(Node, NodeCertificates)],
        swarm_ids: &BTreeMap<String, String>,
        channel: &NewChannel<'_>,
    ) -> anyhow::Result<pb::ChannelConfig> {
        let of = |kind: Kind| enrolled.iter().filter(move |(node, _)| node.kind == kind);
        let orderers = of(Kind::Orderer)
            .zip(1..)
            .map(|((node, certificates), id)| pb::Orderer {
                id,
                organization: node.organization.clone(),
                address: node.service.public.to_string(),
                certificate: certificates.certificate.der().clone(),
                tls_fingerprint: certificates.tls_fingerprint.to_bytes(),
            });
        let organizations: Vec<pb::Organization> = self
            .organizations()
            .map(|name| self.organization(name, enrolled, swarm_ids))
            .collect::<anyhow::Result<_>>()?;
        let every = |role: &str| {
            let list: Vec<_> = self
                .organizations()
                .map(|o| format!("'{o}.{role}'"))
                .collect();
            list.join(", ")
        };
        Ok(pb::ChannelConfig {
            version: FORMAT_VERSION,
            channel: channel.name.to_owned(),
            sequence: 0,
            organizations,
            orderers: orderers.collect(),
            orderer_quorum: majority(of(Kind::Orderer).count())?,
            limits: Some(pb::ChannelLimits {
                window_ms: WINDOW_MS,
                block_transactions_max: 500,
                block_bytes_max: 2 << 20,
                envelope_bytes_max: 512 << 10,
            }),
            contracts: vec![pb::ContractDefinition {
                name: channel.contract.to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                package_hash: channel.package.to_bytes(),
                endorsement_policy: format!("OutOf(2, {})", every("peer")),
                ..Default::default()
            }],
            admin_policy: format!("OutOf(2, {})", every("admin")),
            certificates: of(Kind::Peer)
                .map(|(_, c)| c.certificate.der().clone())
                .collect(),
            orderers_ever: of(Kind::Orderer).count() as u64,
            custodians: self.organizations().map(str::to_owned).collect(),
            custodian_threshold: majority(self.authorities.len())?,
        })
    }

    fn organization(
        &self,
        name: &str,
        enrolled: &[(Node, NodeCertificates)],
        swarm_ids: &BTreeMap<String, String>,
    ) -> anyhow::Result<pb::Organization> {
        let (identities, tls) = self.authorities(name)?;
        let of = |kind: Kind| {
            enrolled
                .iter()
                .map(|(node, _)| node)
                .filter(move |node| node.kind == kind && node.organization == name)
        };
        let peers = of(Kind::Peer).map(|node| pb::PeerEndpoint {
            name: node.name.clone(),
            address: node.service.public.to_string(),
        });
        let storage = of(Kind::Storage).map(|node| {
            let peer_id = swarm_ids
                .get(&node.title())
                .context("a storage node has no peer id")?;
            let swarm = node.swarm.context("a storage node has no swarm port")?;
            Ok(pb::StorageEndpoint {
                peer_id: peer_id.clone(),
                addresses: vec![multiaddr(swarm.public)],
                api: node.service.public.to_string(),
            })
        });
        Ok(pb::Organization {
            id: name.to_owned(),
            root_certificate: identities.root_der().to_vec().into(),
            tls_root_certificates: vec![tls.root_der().to_vec().into()],
            peers: peers.collect(),
            storage: storage.collect::<anyhow::Result<_>>()?,
            revoked: Vec::new(),
            roles: roles(),
        })
    }
}

fn majority(count: usize) -> anyhow::Result<u32> {
    Ok(u32::try_from(count / 2 + 1)?)
}

/// The roles that certificates have: those of the contract, and those of nodes.
fn roles() -> Vec<String> {
    let nodes = [Kind::Orderer, Kind::Peer, Kind::Storage].map(Kind::role);
    let people = Role::ALL.iter().map(|role| role.code());
    let roles: BTreeSet<&str> = nodes.into_iter().chain(people).collect();
    roles.into_iter().map(str::to_owned).collect()
}

/// A channel that is to begin, with one contract that two organizations endorse.
#[derive(Debug, Clone, Copy)]
pub struct NewChannel<'a> {
    /// Its name.
    pub name: &'a str,
    /// The contract's name.
    pub contract: &'a str,
    /// The hash of its package.
    pub package: Hash32,
}

/// Where the first block of a channel is in the network's folder.
pub fn genesis_file(folder: &Path, channel: &str) -> PathBuf {
    let name = match channel {
        CHANNEL => "genesis.block".to_owned(),
        other => format!("{other}.block"),
    };
    folder.join("public").join(name)
}

/// The certificates of an enrolled node.
pub struct NodeCertificates {
    /// Under which it signs.
    pub certificate: Certificate,
    /// SHA-256 of the one that it shows in TLS.
    pub tls_fingerprint: stela_protocol::Fingerprint,
}

/// A node's configuration file. Paths in it are relative to the node's folder.
pub fn node_config(node: &Node, topology: &Topology) -> String {
    let common = format!(
        "organization = \"{}\"\nname = \"{}\"\nlisten = \"{}\"\n\
         data = \"data\"\nidentity = \"identity\"\ntls = \"tls\"\n",
        node.organization, node.name, node.service.listen
    );
    let own = match (node.kind, node.swarm) {
        (Kind::Storage, Some(swarm)) => storage_config(swarm, node, topology),
        (Kind::Orderer, _) => ORDERER_ROOTS.to_owned(),
        _ => PEER_ROOTS.to_owned(),
    };
    common + &own
}

const ORDERER_ROOTS: &str = r#"root_certificate = "../ca/ca.pem"
tls_root_certificate = "../tls-ca/tls-ca.pem"
"#;

const PEER_ROOTS: &str = r#"root_certificates = ["../ca/ca.pem"]
tls_root_certificates = ["../tls-ca/tls-ca.pem"]
"#;

/// What a storage node's file says beside the rest.
fn storage_config(swarm: Port, node: &Node, topology: &Topology) -> String {
    let mut peers: Vec<&Node> = topology.of(Kind::Peer).collect();
    peers.sort_by_key(|peer| peer.organization != node.organization);
    let peers: Vec<String> = peers
        .iter()
        .map(|peer| {
            table(
                "gateways",
                &peer.organization,
                &peer.service.public.to_string(),
            )
        })
        .collect();
    let (fields, daemon) = match &node.daemon {
        None => (embedded(swarm), String::new()),
        Some(daemon) => (String::new(), kubo(daemon)),
    };
    format!(
        "channel = \"{CHANNEL}\"\ncontract = \"{CONTRACT}\"\n\
         genesis = \"../../public/genesis.block\"\n{fields}{}{daemon}",
        peers.concat()
    )
}

fn embedded(swarm: Port) -> String {
    format!(
        "swarm_key = \"../../swarm.key\"\nswarm_listen = [\"{}\"]\nswarm_announce = [\"{}\"]\n",
        multiaddr(swarm.listen),
        multiaddr(swarm.public)
    )
}

fn kubo(daemon: &Daemon) -> String {
    format!("\n[kubo]\napi = \"http://{}\"\n", daemon.api)
}

/// A socket address as IPFS writes it.
pub fn multiaddr(address: std::net::SocketAddr) -> String {
    format!("/ip4/{}/tcp/{}", address.ip(), address.port())
}

/// A user's profile folder in the network at `folder`.
pub fn user_folder(folder: &Path, user: &User) -> PathBuf {
    folder.join(user.organization).join("users").join(user.name)
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))?;
    Ok(())
}

/// The profile of a user: her own organization's peer first, the others to fail over to.
fn profile(user: &User, topology: &Topology) -> String {
    let mut peers: Vec<&Node> = topology.of(Kind::Peer).collect();
    peers.sort_by_key(|node| node.organization != user.organization);
    let peers: Vec<_> = peers
        .iter()
        .map(|node| {
            table(
                "peers",
                &node.organization,
                &node.service.public.to_string(),
            )
        })
        .collect();
    format!(
        "organization = \"{}\"\nchannel = \"{CHANNEL}\"\ncontract = \"{CONTRACT}\"\n\
         identity = \"identity\"\ntls = \"tls\"\ntls_roots = \"../../../public/tls-roots\"\n\
         genesis = \"../../../public/genesis.block\"\n\
         swarm_key = \"swarm.key\"\nencryption_key = \"encryption.key\"\n{}",
        user.organization,
        peers.concat(),
    )
}

/// One table of a list; the values are names and addresses, which need no escaping.
fn table(list: &str, organization: &str, address: &str) -> String {
    format!("\n[[{list}]]\norganization = \"{organization}\"\naddress = \"{address}\"\n")
}

//! Who takes part in a network on one machine, and where each node answers.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use anyhow::Context;
use serde::{Deserialize, Serialize};

/// The channel of the demonstration.
pub const CHANNEL: &str = "care";
/// The contract of the demonstration.
pub const CONTRACT: &str = "healthcare";
/// The member organizations.
pub const ORGANIZATIONS: [&str; 3] = ["HospitalA", "HospitalB", "HospitalC"];
/// Every name that a member organization can have, beginning with [`ORGANIZATIONS`].
pub const ORGANIZATION_NAMES: [&str; 6] = [
    "HospitalA",
    "HospitalB",
    "HospitalC",
    "HospitalD",
    "HospitalE",
    "HospitalF",
];

/// What nodes do, in the order in which they are listed.
const KINDS: [Kind; 3] = [Kind::Orderer, Kind::Peer, Kind::Storage];

/// What a node does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Orders transactions.
    Orderer,
    /// Endorses and validates them.
    Peer,
    /// Holds ciphertext.
    Storage,
}

impl Kind {
    /// The role in the node's certificate, which is also the start of its name.
    pub fn role(self) -> &'static str {
        match self {
            Self::Orderer => "orderer",
            Self::Peer => "peer",
            Self::Storage => "storage",
        }
    }
}

/// A port with the recorder before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// Where the node listens.
    pub listen: SocketAddr,
    /// Where everybody else finds it; the recorder passes on from there.
    pub public: SocketAddr,
}

/// One node.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Node {
    /// The organization that runs it.
    pub organization: String,
    /// Its name in the organization.
    pub name: String,
    /// What it does.
    pub kind: Kind,
    /// Its service.
    pub service: Port,
    /// A storage node's IPFS port.
    pub swarm: Option<Port>,
    /// The IPFS daemon in which a storage node keeps its blobs, if not in its own process.
    #[serde(default)]
    pub daemon: Option<Daemon>,
}

/// An IPFS daemon, which has the IPFS port of its storage node.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Daemon {
    /// Where it serves `/api/v0`.
    pub api: SocketAddr,
    /// Who it is in the swarm.
    pub peer_id: String,
}

impl Node {
    /// `Organization/name`.
    pub fn title(&self) -> String {
        format!("{}/{}", self.organization, self.name)
    }
}

/// All nodes of a network.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Topology {
    /// The nodes, orderers first.
    pub nodes: Vec<Node>,
}

impl Topology {
    /// One orderer, one peer and one storage node for each organization, on free ports.
    ///
    /// # Errors
    /// When the machine has no free ports on its loopback.
    pub fn on_free_ports() -> anyhow::Result<Self> {
        let mut ports = free_ports(4 * ORGANIZATIONS.len() * KINDS.len())?.into_iter();
        let mut port = || -> anyhow::Result<Port> {
            let listen = ports.next().context("too few ports")?;
            Ok(Port {
                listen,
                public: ports.next().context("too few ports")?,
            })
        };
        Self::with_ports(|_| Ok([port()?, port()?]))
    }

    /// The same, each node with the two ports that are made for it, of which only a storage node
    /// uses the second.
    ///
    /// # Errors
    /// When no ports can be had.
    pub fn with_ports(
        mut ports: impl FnMut(usize) -> anyhow::Result<[Port; 2]>,
    ) -> anyhow::Result<Self> {
        let mut nodes = Vec::new();
        for kind in KINDS {
            for organization in ORGANIZATIONS {
                let [service, swarm] = ports(nodes.len())?;
                nodes.push(Node {
                    organization: organization.to_owned(),
                    name: format!("{}0", kind.role()),
                    kind,
                    service,
                    swarm: (kind == Kind::Storage).then_some(swarm),
                    daemon: None,
                });
            }
        }
        Ok(Self { nodes })
    }

    /// A ledger alone, on free ports and without a recorder: one peer for each of so many
    /// organizations, and so many orderers, which the organizations run in turn.
    ///
    /// # Errors
    /// When there are no such numbers of them, or the machine has no free ports on its loopback.
    pub fn ledger_on_free_ports(organizations: usize, orderers: usize) -> anyhow::Result<Self> {
        let names = ORGANIZATION_NAMES.get(..organizations);
        let names = names.filter(|names| !names.is_empty() && orderers > 0);
        let names = names.context("a ledger has 1 to 6 organizations and at least one orderer")?;
        let orderers = (0..orderers).map(|place| (Kind::Orderer, place));
        let peers = (0..organizations).map(|place| (Kind::Peer, place));
        let roles: Vec<(Kind, usize)> = orderers.chain(peers).collect();
        let ports = free_ports(roles.len())?;
        let node = |((kind, place), listen): ((Kind, usize), SocketAddr)| Node {
            organization: names[place % names.len()].to_owned(),
            name: format!("{}{}", kind.role(), place / names.len()),
            kind,
            service: Port {
                listen,
                public: listen,
            },
            swarm: None,
            daemon: None,
        };
        let nodes = roles.into_iter().zip(ports).map(node).collect();
        Ok(Self { nodes })
    }

    /// The organizations that run nodes, in the order of their names.
    pub fn organizations(&self) -> BTreeSet<&str> {
        let names = self.nodes.iter().map(|node| node.organization.as_str());
        names.collect()
    }

    /// The same nodes, found where they listen: there is no recorder before their ports.
    #[must_use]
    pub fn unrecorded(mut self) -> Self {
        for node in &mut self.nodes {
            node.service.public = node.service.listen;
            if let Some(swarm) = &mut node.swarm {
                swarm.public = swarm.listen;
            }
        }
        self
    }

    /// The same nodes, of which the storage node at `organization` keeps its blobs in a daemon.
    #[must_use]
    pub fn with_daemon(mut self, organization: &str, daemon: &Daemon) -> Self {
        let kept =
            |node: &&mut Node| node.kind == Kind::Storage && node.organization == organization;
        for node in self.nodes.iter_mut().filter(kept) {
            node.daemon = Some(daemon.clone());
        }
        self
    }

    /// Whether a recorder stands before the ports.
    pub fn is_recorded(&self) -> bool {
        self.nodes
            .iter()
            .any(|node| node.service.public != node.service.listen)
    }

    /// The nodes of one kind, in the order of the organizations.
    pub fn of(&self, kind: Kind) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(move |node| node.kind == kind)
    }

    /// The node of this kind at `organization`.
    ///
    /// # Errors
    /// When there is none.
    pub fn node(&self, kind: Kind, organization: &str) -> anyhow::Result<&Node> {
        self.of(kind)
            .find(|node| node.organization == organization)
            .with_context(|| format!("no {} at {organization}", kind.role()))
    }

    /// Every port of the network with the name under which it is recorded.
    pub fn ports(&self) -> Vec<(String, Port)> {
        self.nodes
            .iter()
            .flat_map(|node| {
                let name = format!("{}-{}", node.organization, node.name);
                let swarm = node.swarm.map(|port| (format!("{name}-swarm"), port));
                [Some((name, node.service)), swarm].into_iter().flatten()
            })
            .collect()
    }
}

/// Loopback addresses that were free a moment ago; all are held at once so that they differ.
pub(crate) fn free_ports(count: usize) -> anyhow::Result<Vec<SocketAddr>> {
    let listeners: Vec<TcpListener> = (0..count)
        .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .collect::<Result<_, _>>()
        .context("no free port on the loopback")?;
    Ok(listeners
        .iter()
        .map(TcpListener::local_addr)
        .collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orderers_of_one_organization_have_different_names() {
        let topology = Topology::ledger_on_free_ports(2, 3).unwrap();
        let titles: Vec<String> = topology.nodes.iter().map(Node::title).collect();
        assert_eq!(
            titles,
            [
                "HospitalA/orderer0",
                "HospitalB/orderer0",
                "HospitalA/orderer1",
                "HospitalA/peer0",
                "HospitalB/peer0",
            ]
        );
        assert!(Topology::ledger_on_free_ports(7, 3).is_err());
        assert!(Topology::ledger_on_free_ports(2, 0).is_err());
    }
}

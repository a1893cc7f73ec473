//! What is between the nodes, and how one direction of it is cut.
//!
//! With root, and where the system has them, every node gets a network namespace of its own, all of
//! them on one bridge; a direction is cut by a blackhole route, so packets vanish while those of
//! the other direction arrive. Without root a relay before every port holds back what one node
//! sends to another.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Command;
use std::sync::Arc;

use anyhow::Context;
use tokio::task::JoinSet;

use super::sockets;
use crate::network::{Launcher, Network};
use crate::relay::{self, Cuts};
use crate::topology::{Node, Port, Topology};

/// A direction: from one node to another, by their titles.
pub(super) type Direction = (String, String);

/// What is between the nodes.
pub(super) enum Wire {
    /// Network namespaces.
    Namespaces(Namespaces),
    /// A relay, once the network is prepared.
    Relay(Arc<Cuts>, Option<JoinSet<()>>),
}

impl Wire {
    /// Namespaces if they can be had and are wanted, else the relay.
    ///
    /// # Errors
    /// When the machine has no free ports on its loopback.
    pub(super) fn new(want_namespaces: bool) -> anyhow::Result<(Self, Topology)> {
        if want_namespaces && let Ok((namespaces, topology)) = Namespaces::create() {
            return Ok((Self::Namespaces(namespaces), topology));
        }
        Ok((
            Self::Relay(Arc::default(), None),
            Topology::on_free_ports()?,
        ))
    }

    /// In words.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Namespaces(_) => "network namespaces",
            Self::Relay(..) => "relay",
        }
    }

    /// How nodes are started. They are told by the failed write when a file may not grow, instead
    /// of being ended by a signal.
    pub(super) fn launcher(&self) -> Launcher {
        let shell = ["sh", "-c", "trap '' XFSZ; exec \"$@\"", "node"].map(str::to_owned);
        let prefix = match self {
            Self::Namespaces(namespaces) => Some(namespaces.prefix.clone()),
            Self::Relay(..) => None,
        };
        Box::new(move |node| {
            let enter = prefix.iter().flat_map(|prefix| {
                let namespace = namespace(prefix, node);
                [
                    "ip".to_owned(),
                    "netns".to_owned(),
                    "exec".to_owned(),
                    namespace,
                ]
            });
            enter.chain(shell.clone()).collect()
        })
    }

    /// Makes the connection between the nodes of a prepared network.
    ///
    /// # Errors
    /// When a port is taken.
    pub(super) async fn connect(&mut self, network: &Network) -> anyhow::Result<()> {
        if let Self::Relay(cuts, tasks) = self {
            let nodes = network.topology().nodes.iter();
            let ports = nodes.flat_map(|node| {
                let ports = [Some(node.service), node.swarm];
                let title = node.title();
                ports
                    .into_iter()
                    .flatten()
                    .map(move |port| (title.clone(), port))
            });
            let dialler = sockets::dialler(network.process_ids());
            *tasks = Some(relay::pass_on(ports.collect(), cuts.clone(), dialler).await?);
        }
        Ok(())
    }

    /// From now on exactly these directions carry nothing.
    ///
    /// # Errors
    /// When the system refuses.
    pub(super) fn cut(&mut self, directions: BTreeSet<Direction>) -> anyhow::Result<()> {
        match self {
            Self::Namespaces(namespaces) => namespaces.cut(directions),
            Self::Relay(cuts, _) => {
                cuts.set(directions);
                Ok(())
            }
        }
    }
}

/// One namespace for each node. They are removed when this is dropped.
pub(super) struct Namespaces {
    prefix: String,
    subnet: [u8; 3],
    nodes: Vec<Node>,
    cut: BTreeSet<Direction>,
}

/// The port of a node's service, and of a storage node's swarm.
const PORTS: [u16; 2] = [7050, 7051];
/// The host's own place in the subnet.
const HOST: u8 = 254;

impl Namespaces {
    fn create() -> anyhow::Result<(Self, Topology)> {
        let process = std::process::id();
        // Two harnesses on one machine shall not meet.
        let subnet = [10, 200 + (process % 50) as u8, (process / 50 % 250) as u8];
        let topology = Topology::with_ports(|index| {
            let ip = address(subnet, u8::try_from(index + 1)?);
            Ok(PORTS.map(|port| {
                let listen = SocketAddr::new(ip, port);
                Port {
                    listen,
                    public: listen,
                }
            }))
        })?;
        let namespaces = Self {
            prefix: format!("st{process}"),
            subnet,
            nodes: topology.nodes.clone(),
            cut: BTreeSet::new(),
        };
        namespaces.set_up()?;
        Ok((namespaces, topology))
    }

    fn set_up(&self) -> anyhow::Result<()> {
        let bridge = &self.prefix;
        ip(&format!("link add {bridge} type bridge"))?;
        ip(&format!(
            "addr add {}/24 dev {bridge}",
            address(self.subnet, HOST)
        ))?;
        ip(&format!("link set {bridge} up"))?;
        for (index, node) in self.nodes.iter().enumerate() {
            let (inside, outside) = (namespace(&self.prefix, node), format!("{bridge}v{index}"));
            ip(&format!("netns add {inside}"))?;
            ip(&format!(
                "link add {outside} type veth peer name eth0 netns {inside}"
            ))?;
            ip(&format!("link set {outside} master {bridge} up"))?;
            ip(&format!(
                "-n {inside} addr add {}/24 dev eth0",
                node.service.listen.ip()
            ))?;
            ip(&format!("-n {inside} link set eth0 up"))?;
            ip(&format!("-n {inside} link set lo up"))?;
        }
        Ok(())
    }

    fn cut(&mut self, directions: BTreeSet<Direction>) -> anyhow::Result<()> {
        for direction in self.cut.difference(&directions) {
            self.route("del", direction)?;
        }
        for direction in directions.difference(&self.cut) {
            self.route("add", direction)?;
        }
        self.cut = directions;
        Ok(())
    }

    fn route(&self, what: &str, (from, to): &Direction) -> anyhow::Result<()> {
        let node = |title: &String| {
            let found = self.nodes.iter().find(|node| node.title() == *title);
            found.with_context(|| format!("there is no {title}"))
        };
        let inside = namespace(&self.prefix, node(from)?);
        let to = node(to)?.service.listen.ip();
        ip(&format!("-n {inside} route {what} blackhole {to}/32"))
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for node in &self.nodes {
            let _absent = ip(&format!("netns del {}", namespace(&self.prefix, node)));
        }
        let _absent = ip(&format!("link del {}", self.prefix));
    }
}

fn namespace(prefix: &str, node: &Node) -> String {
    format!("{prefix}-{}-{}", node.organization, node.name)
}

fn address(subnet: [u8; 3], host: u8) -> IpAddr {
    let [a, b, c] = subnet;
    Ipv4Addr::new(a, b, c, host).into()
}

/// Runs `ip` with these words.
fn ip(words: &str) -> anyhow::Result<()> {
    let output = Command::new("ip").args(words.split(' ')).output()?;
    anyhow::ensure!(
        output.status.success(),
        "ip {words}: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

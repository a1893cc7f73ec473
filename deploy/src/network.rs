//! A network's processes: starts them, joins them to the channel, ends them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use stela_client::{Admin, AdminOptions, Contract, Endpoint, Gateway, GatewayOptions, NodeStatus};
use stela_identity::Credentials;
use stela_identity::tls::{TlsIdentity, TlsRoots, TlsSettings};
use stela_protocol::{ChannelId, ContractName, OrgId, hash};

use crate::limits::{POLL, READY, STOP};
use crate::materials::{Materials, NewChannel, NodeCertificates, User, node_config, user_folder};
use crate::process::{Process, Signal, binary, now_ms, runs, send, terminate};
use crate::relay;
use crate::topology::{CHANNEL, CONTRACT, Kind, Node, ORGANIZATION_NAMES, Port, Topology};

/// The wire recorder among the processes, which else have the title of a node.
const RECORDER: &str = "recorder";

/// What is needed to find a running network again.
#[derive(Debug, Serialize, Deserialize)]
pub struct NetworkFile {
    /// Who takes part and where.
    pub topology: Topology,
    /// Process ids and the binary that each runs, by title; the wire recorder is among them.
    pub processes: BTreeMap<String, (u32, PathBuf)>,
}

/// A running network; its processes end when it is dropped, unless it was [kept](Network::keep).
pub struct Network {
    folder: PathBuf,
    topology: Topology,
    launcher: Launcher,
    founding: Founding,
    genesis: Vec<u8>,
    recorder: Option<Process>,
    processes: BTreeMap<String, Process>,
    ids: ProcessIds,
}

/// The title of the node that each process runs.
pub type ProcessIds = Arc<Mutex<BTreeMap<u32, String>>>;

/// The words before a node's own command: a program that becomes the node's, and its arguments.
pub type Launcher = Box<dyn Fn(&Node) -> Vec<String> + Send + Sync>;

impl Network {
    /// Makes a new network in `folder`, which must be empty or absent, and brings it up to its
    /// first block: all nodes joined and the contract installed.
    ///
    /// # Errors
    /// When a file, a process or an answer is not as it must be.
    pub async fn create(
        folder: &Path,
        package: &[u8],
        users: &[User],
        progress: &dyn Fn(&str),
    ) -> anyhow::Result<Self> {
        Self::create_on(Topology::on_free_ports()?, folder, package, users, progress).await
    }

    /// The same without the recorder, for measurements and for gigabytes on the wire.
    ///
    /// # Errors
    /// As for [`create`](Self::create).
    pub async fn create_unrecorded(
        folder: &Path,
        package: &[u8],
        users: &[User],
        progress: &dyn Fn(&str),
    ) -> anyhow::Result<Self> {
        let topology = Topology::on_free_ports()?.unrecorded();
        Self::create_on(topology, folder, package, users, progress).await
    }

    async fn create_on(
        topology: Topology,
        folder: &Path,
        package: &[u8],
        users: &[User],
        progress: &dyn Fn(&str),
    ) -> anyhow::Result<Self> {
        progress("making keys, certificates and the genesis block");
        let directly: Launcher = Box::new(|_| Vec::new());
        let mut network = Self::prepare(folder, topology, package, users, directly)?;
        if network.topology.is_recorded() {
            progress("starting nine nodes and the wire recorder");
            network.start_recorder()?;
        } else {
            progress("starting nine nodes");
        }
        network.bring_up(package, progress).await?;
        Ok(network)
    }

    /// Makes everything that the nodes of a new network need, in a folder that must be empty or
    /// absent, and starts nothing.
    ///
    /// # Errors
    /// When a file is not as it must be.
    pub fn prepare(
        folder: &Path,
        topology: Topology,
        package: &[u8],
        users: &[User],
        launcher: Launcher,
    ) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let folder = folder.canonicalize()?;
        anyhow::ensure!(
            std::fs::read_dir(&folder)?.next().is_none(),
            "{} is not empty; remove it or choose another folder",
            folder.display()
        );
        let founding = Founding::prepare(&folder, &topology, users)?;
        let genesis = founding.genesis(&NewChannel {
            name: CHANNEL,
            contract: CONTRACT,
            package: hash::package(package),
        })?;
        Ok(Self {
            folder,
            topology,
            launcher,
            founding,
            genesis,
            recorder: None,
            processes: BTreeMap::new(),
            ids: ProcessIds::default(),
        })
    }

    /// Brings a prepared network up to its first block. Whatever stands before the public addresses
    /// has to pass on already.
    ///
    /// # Errors
    /// When a process or an answer is not as it must be.
    pub async fn bring_up(
        &mut self,
        package: &[u8],
        progress: &dyn Fn(&str),
    ) -> anyhow::Result<()> {
        self.start_ledger()?;
        progress("joining the channel and installing the contract");
        let genesis = self.genesis.clone();
        self.join_all(&genesis, package).await?;
        self.start_all(Kind::Storage)?;
        self.save()?;
        self.storage_ready().await
    }

    /// Starts the orderers and the peers of a prepared network, which join no channel yet.
    ///
    /// # Errors
    /// When a program cannot be started.
    pub fn start_ledger(&mut self) -> anyhow::Result<()> {
        for kind in [Kind::Orderer, Kind::Peer] {
            self.start_all(kind)?;
        }
        self.save()
    }

    /// Makes the first block of a further channel and has all orderers and peers join it, with its
    /// contract installed.
    ///
    /// # Errors
    /// When the configuration would not be sound, or a node does not answer or refuses.
    pub async fn open_channel(
        &mut self,
        channel: &str,
        contract: &str,
        package: &[u8],
    ) -> anyhow::Result<()> {
        let genesis = self.founding.genesis(&NewChannel {
            name: channel,
            contract,
            package: hash::package(package),
        })?;
        self.join_all(&genesis, package).await
    }

    /// Which process runs which node, as it changes.
    pub fn process_ids(&self) -> ProcessIds {
        self.ids.clone()
    }

    /// The network's folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Who takes part and where.
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// Takes in one more node, whose folder is made.
    pub fn add(&mut self, node: Node) {
        self.topology.nodes.push(node);
    }

    /// Where a node has its configuration, its data and its log.
    pub fn node_folder(&self, node: &Node) -> PathBuf {
        self.folder.join(&node.organization).join(&node.name)
    }

    fn start_recorder(&mut self) -> anyhow::Result<()> {
        let spec = self.folder.join("wire.json");
        std::fs::write(&spec, serde_json::to_vec(&self.topology.ports())?)?;
        let wire = wire_folder(&self.folder);
        let arguments = ["record", text(&spec)?, text(&wire)?];
        let log = self.folder.join("recorder.log");
        let program = binary("stela-network")?;
        self.recorder = Some(Process::start(
            "the wire recorder",
            &program,
            &arguments,
            &log,
        )?);
        Ok(())
    }

    fn start_all(&mut self, kind: Kind) -> anyhow::Result<()> {
        let nodes: Vec<Node> = self.topology.of(kind).cloned().collect();
        nodes.iter().try_for_each(|node| self.start(node))
    }

    /// Starts one node (again).
    ///
    /// # Errors
    /// When its program cannot be started.
    pub fn start(&mut self, node: &Node) -> anyhow::Result<()> {
        self.start_through(node, &[] as &[&str])
    }

    /// Ends one node at once, if it still runs.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn stop_node(&mut self, node: &Node) -> anyhow::Result<()> {
        let Some(mut process) = self.processes.remove(&node.title()) else {
            return Ok(());
        };
        match process.check() {
            Ok(()) => process.kill().map(drop),
            Err(_) => Ok(()),
        }
    }

    /// Ends one node at once and starts it again.
    ///
    /// # Errors
    /// When its program cannot be started.
    pub fn restart(&mut self, node: &Node) -> anyhow::Result<()> {
        self.stop_node(node)?;
        self.start(node)
    }

    /// The same with `wrapper` before the command, which must put itself in its place.
    ///
    /// # Errors
    /// When one of them cannot be started.
    pub fn restart_through<S: AsRef<str>>(
        &mut self,
        node: &Node,
        wrapper: &[S],
    ) -> anyhow::Result<()> {
        self.stop_node(node)?;
        self.start_through(node, wrapper)
    }

    /// Waits until a node has ended by itself.
    ///
    /// # Errors
    /// When it goes on.
    pub async fn wait_ended(&mut self, node: &Node, patience: Duration) -> anyhow::Result<()> {
        let deadline = tokio::time::Instant::now() + patience;
        let process = self.processes.get_mut(&node.title());
        let process = process.context("not started")?;
        while process.check().is_ok() {
            let title = node.title();
            anyhow::ensure!(tokio::time::Instant::now() < deadline, "{title} goes on");
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// Has a node join the channel that begins with this block, as soon as the node answers.
    ///
    /// # Errors
    /// When it does not answer or refuses.
    pub async fn join(&mut self, node: &Node, genesis: Vec<u8>) -> anyhow::Result<()> {
        let admin = self.admin(node)?;
        self.ready(node, || admin.status()).await?;
        Ok(admin.join(genesis.into()).await?)
    }

    fn start_through<S: AsRef<str>>(&mut self, node: &Node, wrapper: &[S]) -> anyhow::Result<()> {
        let folder = self.node_folder(node);
        let role = node.kind.role();
        let config = folder.join(format!("{role}.toml"));
        let program = binary(&format!("stela-{role}"))?;
        let mut words = (self.launcher)(node);
        words.extend(wrapper.iter().map(|word| word.as_ref().to_owned()));
        words.extend([&program, Path::new("--config"), &config].map(|p| p.display().to_string()));
        let log = node_log(&self.folder, node);
        let arguments: Vec<&str> = words[1..].iter().map(String::as_str).collect();
        // Nobody may look for the process before it is written down.
        let mut ids = self.ids.lock();
        let process = Process::start(&node.title(), Path::new(&words[0]), &arguments, &log)?;
        ids.retain(|_, title| *title != node.title());
        ids.insert(process.id(), node.title());
        drop(ids);
        std::fs::write(folder.join("pid"), process.id().to_string())?;
        self.processes.insert(node.title(), process);
        Ok(())
    }

    /// Starts a node unless its process runs.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn revive(&mut self, node: &Node) -> anyhow::Result<()> {
        match self.runs(node)? {
            true => Ok(()),
            false => self.start(node),
        }
    }

    /// Whether the process of a node runs, or is stopped by a signal.
    ///
    /// # Errors
    /// When it was never started.
    pub fn runs(&mut self, node: &Node) -> anyhow::Result<bool> {
        let process = self.processes.get_mut(&node.title());
        Ok(process.context("not started")?.check().is_ok())
    }

    /// `kill -9` of one node.
    ///
    /// # Errors
    /// When it did not run.
    pub fn kill(&mut self, node: &Node) -> anyhow::Result<()> {
        let process = self
            .processes
            .get_mut(&node.title())
            .context("not started")?;
        process.kill().map(drop)
    }

    /// The process that runs a node.
    ///
    /// # Errors
    /// When it was not started.
    pub fn process_id(&self, node: &Node) -> anyhow::Result<u32> {
        let process = self.processes.get(&node.title());
        Ok(process.context("not started")?.id())
    }

    async fn join_all(&mut self, genesis: &[u8], package: &[u8]) -> anyhow::Result<()> {
        for node in self.topology.of(Kind::Orderer).cloned().collect::<Vec<_>>() {
            let admin = self.admin(&node)?;
            self.ready(&node, || admin.status()).await?;
            admin.join(genesis.to_vec().into()).await?;
        }
        for node in self.topology.of(Kind::Peer).cloned().collect::<Vec<_>>() {
            let admin = self.admin(&node)?;
            self.ready(&node, || admin.status()).await?;
            let installed = admin.install(package.to_vec().into()).await?;
            anyhow::ensure!(
                installed == hash::package(package),
                "the package changed on its way"
            );
            admin.join(genesis.to_vec().into()).await?;
        }
        Ok(())
    }

    async fn ready<T, E, F>(&mut self, node: &Node, ask: impl Fn() -> F) -> anyhow::Result<T>
    where
        F: Future<Output = Result<T, E>>,
        E: std::error::Error + Send + Sync + 'static,
    {
        let deadline = tokio::time::Instant::now() + READY;
        loop {
            if let Some(process) = self.processes.get_mut(&node.title()) {
                process.check()?;
            }
            match ask().await {
                Ok(answer) => return Ok(answer),
                Err(error) if tokio::time::Instant::now() >= deadline => {
                    return Err(error).with_context(|| format!("{} does not answer", node.title()));
                }
                Err(_) => tokio::time::sleep(POLL).await,
            }
        }
    }

    async fn storage_ready(&mut self) -> anyhow::Result<()> {
        for node in self.topology.of(Kind::Storage).cloned().collect::<Vec<_>>() {
            self.answers(&node).await?;
        }
        Ok(())
    }

    /// Waits until a node takes connections.
    ///
    /// # Errors
    /// When it has ended, or does not in time.
    pub async fn answers(&mut self, node: &Node) -> anyhow::Result<()> {
        let address = node.service.listen;
        let connect = || tokio::net::TcpStream::connect(address);
        self.ready(node, connect).await.map(drop)
    }

    /// A connection to a node as the administrator of its organization.
    ///
    /// # Errors
    /// When the administrator's profile cannot be read.
    pub fn admin(&self, node: &Node) -> anyhow::Result<Admin> {
        let profile = user_folder(&self.folder, &administrator(&node.organization)?);
        let endpoint = Endpoint {
            organization: OrgId::new(&node.organization)?,
            address: node.service.public.to_string(),
        };
        let credentials = Arc::new(Credentials::load(&profile.join("identity"))?);
        let tls = tls_settings(&self.folder, &profile.join("tls"))?;
        Ok(Admin::connect(AdminOptions::new(
            endpoint,
            tls,
            credentials,
        ))?)
    }

    /// A user's own program: the channel and its contract, through any of the peers.
    ///
    /// # Errors
    /// When the user's profile cannot be read.
    pub fn client(&self, user: &User) -> anyhow::Result<(stela_client::Network, Contract)> {
        let folder = user_folder(&self.folder, user);
        let endpoints = self.topology.of(Kind::Peer).map(|node| {
            let organization = OrgId::new(&node.organization)?;
            anyhow::Ok(Endpoint {
                organization,
                address: node.service.public.to_string(),
            })
        });
        let credentials = Arc::new(Credentials::load(&folder.join("identity"))?);
        let tls = tls_settings(&self.folder, &folder.join("tls"))?;
        let options = GatewayOptions::new(endpoints.collect::<Result<_, _>>()?, tls, credentials);
        let channel = Gateway::connect(options)?.network(ChannelId::new(CHANNEL)?);
        let contract = channel.contract(ContractName::new(CONTRACT)?);
        Ok((channel, contract))
    }

    /// What a node says of itself.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn status(&self, node: &Node) -> anyhow::Result<NodeStatus> {
        Ok(self.admin(node)?.status().await?)
    }

    /// The orderer that leads the channel, by what the others say.
    ///
    /// # Errors
    /// When none is known within `patience`.
    pub async fn leader(&self, patience: Duration) -> anyhow::Result<Node> {
        let deadline = tokio::time::Instant::now() + patience;
        loop {
            for node in self.topology.of(Kind::Orderer) {
                let Ok(status) = self.status(node).await else {
                    continue;
                };
                let channel = status
                    .channels
                    .iter()
                    .find(|c| c.channel.as_str() == CHANNEL);
                if let Some(leader) = channel.and_then(|channel| channel.leader) {
                    let index = usize::try_from(leader)?.checked_sub(1);
                    let found = index.and_then(|index| self.topology.of(Kind::Orderer).nth(index));
                    return found
                        .cloned()
                        .context("the leader is no orderer of the channel");
                }
            }
            anyhow::ensure!(tokio::time::Instant::now() < deadline, "no orderer leads");
            tokio::time::sleep(POLL).await;
        }
    }

    /// Resident memory of every process, in bytes; that of the wire recorder too.
    pub fn resident_bytes(&self) -> BTreeMap<String, u64> {
        let nodes = self.processes.iter();
        let recorder = self.recorder.as_ref();
        nodes
            .map(|(title, process)| (title.as_str(), process))
            .chain(recorder.map(|recorder| (RECORDER, recorder)))
            .filter_map(|(title, process)| {
                Some((
                    title.to_owned(),
                    crate::process::resident_bytes(process.id())?,
                ))
            })
            .collect()
    }

    /// Writes down what is needed to end the network later.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self) -> anyhow::Result<()> {
        let mut processes = BTreeMap::new();
        for (title, process) in &self.processes {
            let kind = self
                .topology
                .nodes
                .iter()
                .find(|node| node.title() == *title);
            let role = kind.context("a process without a node")?.kind.role();
            processes.insert(
                title.clone(),
                (process.id(), binary(&format!("stela-{role}"))?),
            );
        }
        if let Some(recorder) = &self.recorder {
            processes.insert(
                RECORDER.to_owned(),
                (recorder.id(), binary("stela-network")?),
            );
        }
        let file = NetworkFile {
            topology: self.topology.clone(),
            processes,
        };
        std::fs::write(
            network_file(&self.folder),
            serde_json::to_vec_pretty(&file)?,
        )?;
        Ok(())
    }

    /// Leaves the processes running when this program ends.
    ///
    /// # Errors
    /// When the file to find them again cannot be written; then they end as usual.
    pub fn keep(mut self) -> anyhow::Result<()> {
        self.save()?;
        self.processes.clear();
        self.recorder = None;
        Ok(())
    }

    /// Ends every process and says which did not end as asked.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        // All are asked before any is waited for.
        for process in self.processes.values() {
            let _gone = terminate(process.id());
            let _gone = send(process.id(), Signal::CONT);
        }
        for process in self.processes.values_mut() {
            process.stop(STOP)?;
        }
        self.processes.clear();
        if let Some(mut recorder) = self.recorder.take() {
            recorder.stop(STOP)?;
        }
        Ok(())
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            tracing::error!(%error, "a process could not be ended");
        }
    }
}

/// Where a network's processes are written down.
pub fn network_file(folder: &Path) -> PathBuf {
    folder.join("network.json")
}

/// Where the recorder keeps what crosses the wire.
pub fn wire_folder(folder: &Path) -> PathBuf {
    folder.join("wire")
}

/// Where it is written what every command of the demonstration printed.
pub fn commands_log(folder: &Path) -> PathBuf {
    folder.join("commands.log")
}

/// Where a node writes its log.
pub fn node_log(folder: &Path, node: &Node) -> PathBuf {
    let home = folder.join(&node.organization).join(&node.name);
    home.join(format!("{}.log", node.kind.role()))
}

/// Ends the processes of a kept network: those that still run the binary they were started with.
///
/// # Errors
/// When the file cannot be read or a process does not end.
pub fn down(folder: &Path) -> anyhow::Result<Vec<String>> {
    let path = network_file(folder);
    let bytes =
        std::fs::read(&path).with_context(|| format!("no network at {}", path.display()))?;
    let file: NetworkFile = serde_json::from_slice(&bytes)?;
    let running: Vec<_> = file
        .processes
        .iter()
        .filter(|(_, (id, binary))| runs(*id, binary))
        .collect();
    for (title, (id, _)) in &running {
        terminate(*id).with_context(|| format!("cannot end {title}"))?;
    }
    crate::process::wait(STOP, || {
        Ok(running
            .iter()
            .all(|(_, (id, binary))| !runs(*id, binary))
            .then_some(()))
    })?;
    Ok(running
        .into_iter()
        .map(|(title, _)| title.clone())
        .collect())
}

/// The administrator's profile at an organization.
///
/// # Errors
/// When it is no member.
pub fn administrator(organization: &str) -> anyhow::Result<User> {
    let organization = ORGANIZATION_NAMES
        .into_iter()
        .find(|name| *name == organization)
        .with_context(|| format!("{organization} is no member"))?;
    Ok(User {
        organization,
        name: "admin",
        role: "admin",
        attributes: BTreeMap::new(),
    })
}

/// Who founded the network: with this the first blocks of its channels are made.
struct Founding {
    materials: Materials,
    enrolled: Vec<(Node, NodeCertificates)>,
    swarm_ids: BTreeMap<String, String>,
}

impl Founding {
    fn prepare(folder: &Path, topology: &Topology, users: &[User]) -> anyhow::Result<Self> {
        let materials = Materials::create(folder, topology.organizations(), now_ms())?;
        let swarm_key = stela_ipfs::generate_swarm_key().to_key_file();
        write_secret(&folder.join("swarm.key"), swarm_key.as_bytes())?;
        let mut enrolled = Vec::new();
        let mut swarm_ids = BTreeMap::new();
        for node in &topology.nodes {
            enrolled.push((node.clone(), materials.enrol_node(node)?));
            let home = materials.node_folder(node);
            if node.kind == Kind::Storage {
                let peer_id = match &node.daemon {
                    Some(daemon) => daemon.peer_id.clone(),
                    None => storage_identity(&home.join("data"))?,
                };
                swarm_ids.insert(node.title(), peer_id);
            }
            let role = node.kind.role();
            std::fs::write(
                home.join(format!("{role}.toml")),
                node_config(node, topology),
            )?;
        }
        for organization in materials.organizations() {
            materials.enrol_user(&administrator(organization)?, topology)?;
        }
        for user in users {
            materials.enrol_user(user, topology)?;
        }
        Ok(Self {
            materials,
            enrolled,
            swarm_ids,
        })
    }

    fn genesis(&self, channel: &NewChannel<'_>) -> anyhow::Result<Vec<u8>> {
        let (enrolled, swarm_ids) = (&self.enrolled, &self.swarm_ids);
        self.materials
            .genesis(enrolled, swarm_ids, channel, now_ms())
    }
}

/// A new file that only its owner can read.
pub(crate) fn write_secret(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = std::fs::File::options();
    options.write(true).create_new(true).mode(0o600);
    Ok(options.open(path)?.write_all(content)?)
}

fn storage_identity(data: &Path) -> anyhow::Result<String> {
    let output = std::process::Command::new(binary("stela-storage")?)
        .args(["init", "--json", "--data"])
        .arg(data)
        .output()?;
    anyhow::ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let id = answer.get("peer_id").and_then(serde_json::Value::as_str);
    Ok(id
        .context("stela-storage init printed no peer id")?
        .to_owned())
}

fn text(path: &Path) -> anyhow::Result<&str> {
    path.to_str()
        .with_context(|| format!("{} is not UTF-8", path.display()))
}

/// TLS as a user's client does it: her certificate, and the roots of every member.
///
/// # Errors
/// When a file cannot be read.
pub fn tls_settings(folder: &Path, tls: &Path) -> anyhow::Result<TlsSettings> {
    let mut roots = TlsRoots::new();
    for entry in std::fs::read_dir(folder.join("public/tls-roots"))? {
        let path = entry?.path();
        let organization = path.file_stem().and_then(|name| name.to_str());
        let organization = OrgId::new(organization.context("a root has no name")?)?;
        roots = roots.add(&organization, pem::parse(std::fs::read(&path)?)?.contents())?;
    }
    Ok(TlsSettings::new(TlsIdentity::load(tls)?, &roots)?)
}

/// Records every port until the process is ended.
///
/// # Errors
/// When the specification cannot be read or a port is taken.
pub async fn record(spec: &Path, folder: &Path) -> anyhow::Result<()> {
    let ports: Vec<(String, Port)> = serde_json::from_slice(&std::fs::read(spec)?)?;
    relay::run(ports, folder.to_owned()).await
}

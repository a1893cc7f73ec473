//! Real `stela-orderer` processes on this machine, and clients that talk to them over TLS.

#![allow(dead_code, unreachable_pub, reason = "each test uses its part of it")]

#[path = "../../../ledger/identity/tests/refused/mod.rs"]
pub mod refused;

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::process::{Pid, Signal, kill_process};
use stela_identity::tls::{Expected, TlsIdentity, TlsRoots, TlsSettings, connect};
use stela_identity::{Configuration, Credentials, config_update};
use stela_orderer::driver::now_ms;
use stela_protocol::block::Block;
use stela_protocol::config::ChannelConfig;
use stela_protocol::limits::MESSAGE_BYTES_MAX;
use stela_protocol::pb::admin_client::AdminClient;
use stela_protocol::pb::broadcast_client::BroadcastClient;
use stela_protocol::pb::deliver_client::DeliverClient;
use stela_protocol::transaction::RequestHeader;
use stela_protocol::{ErrorCode, Message, RpcError, hash, pb};
use tempfile::TempDir;
use tonic::Streaming;
use tonic::transport::Channel;

use crate::consortium::{CHANNEL, Consortium, encoded, header, update};

pub const PATIENCE: Duration = Duration::from_secs(60);
const CANNOT_LISTEN: i32 = 6;
/// So few that an orderer that was away for a moment has to fetch blocks.
pub const ENTRIES_KEPT: u64 = 8;
const ATTEMPTS: usize = 10;

/// Polls until `attempt` gives something.
#[allow(clippy::disallowed_methods, reason = "a test waits with a deadline")]
pub async fn wait_for<T>(what: &str, mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = attempt().await {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub struct Process {
    child: Child,
}

impl Process {
    fn start(folder: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stela-orderer"));
        Self::spawn(folder, &mut command)
    }

    /// A process that can write no file larger than this, as if its disk were full: the shell sets
    /// the limit and lets the write fail instead of ending the process.
    fn start_limited(folder: &Path, file_bytes_max: u64) -> Self {
        let script = format!(
            "trap '' XFSZ && ulimit -f {} && exec \"$0\" \"$@\"",
            file_bytes_max / 512
        );
        let mut command = Command::new("sh");
        command
            .args(["-c", &script])
            .arg(env!("CARGO_BIN_EXE_stela-orderer"));
        Self::spawn(folder, &mut command)
    }

    fn spawn(folder: &Path, command: &mut Command) -> Self {
        let log = File::options()
            .create(true)
            .append(true)
            .open(folder.join("log"))
            .unwrap();
        let child = command
            .arg("--config")
            .arg(folder.join("orderer.toml"))
            .env("RUST_LOG", "info,stela_orderer=debug")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { child }
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// `kill -9`.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// `kill -TERM`, and waits for the end.
    pub async fn terminate(mut self) -> ExitStatus {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        wait_for("the process to end", async || {
            self.child.try_wait().unwrap()
        })
        .await
    }

    pub async fn exit(mut self) -> ExitStatus {
        wait_for("the process to end", async || {
            self.child.try_wait().unwrap()
        })
        .await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub struct Network {
    pub consortium: Consortium,
    pub processes: Vec<Option<Process>>,
    pub genesis: Block,
    folder: TempDir,
}

/// An address that was free a moment ago.
fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

impl Network {
    /// Starts that many orderers and waits until they answer. Addresses stand in the genesis block,
    /// so when somebody else has taken one meanwhile, everything begins anew.
    pub async fn start(orderers: usize) -> Self {
        for _ in 0..ATTEMPTS {
            let addresses: Vec<_> = (0..orderers).map(|_| free_address()).collect();
            let mut network = Self::prepare(Consortium::new(now_ms(), &addresses));
            (0..orderers).for_each(|n| network.launch(n));
            if network.is_up().await {
                return network;
            }
        }
        panic!("no free ports in {ATTEMPTS} attempts");
    }

    fn prepare(consortium: Consortium) -> Self {
        let folder = TempDir::new().unwrap();
        let network = Self {
            genesis: consortium.genesis(),
            processes: consortium.orderers.iter().map(|_| None).collect(),
            consortium,
            folder,
        };
        (0..network.processes.len()).for_each(|n| network.prepare_folder(n));
        network
    }

    fn prepare_folder(&self, n: usize) {
        let (folder, orderer) = (self.folder(n), &self.consortium.orderers[n]);
        let organization = &self.consortium.organizations[orderer.organization];
        organization.authority.save(&folder).unwrap();
        organization.tls_authority.save(&folder).unwrap();
        orderer.credentials.save(&folder.join("identity")).unwrap();
        orderer.tls.save(&folder.join("tls")).unwrap();
        let config = format!(
            "organization = \"{}\"\nname = \"orderer0\"\nlisten = \"{}\"\n\
             data = \"data\"\nidentity = \"identity\"\ntls = \"tls\"\n\
             root_certificate = \"ca.pem\"\ntls_root_certificate = \"tls-ca.pem\"\n\
             entries_kept = {ENTRIES_KEPT}\n",
            organization.id, orderer.address,
        );
        std::fs::write(folder.join("orderer.toml"), config).unwrap();
    }

    /// One more orderer, started and in no configuration yet, at an address that was free.
    pub async fn add_orderer(&mut self) -> usize {
        let n = self.processes.len();
        for _ in 0..ATTEMPTS {
            self.consortium.add_orderer(&free_address());
            self.processes.push(None);
            self.prepare_folder(n);
            self.launch(n);
            if self.listens(n).await {
                return n;
            }
            self.processes.pop();
            self.consortium.orderers.pop();
            self.consortium.organizations.pop();
            std::fs::remove_dir_all(self.folder(n)).unwrap();
        }
        panic!("no free port in {ATTEMPTS} attempts");
    }

    /// The configuration that block 0 puts into force.
    pub fn first_configuration(&self) -> Configuration {
        let (bytes, _) = stela_protocol::config::from_genesis(&self.genesis).unwrap();
        Configuration::new(bytes).unwrap()
    }

    /// Changes the configuration to what the consortium's is now, through orderer `n`, and waits
    /// until it is in force.
    pub async fn reconfigure(&self, n: usize, current: &Configuration) -> Configuration {
        let admin = self.admin_of(0);
        let new = loop {
            let envelope = update(current, self.consortium.config(), &admin, now_ms());
            self.broadcast_patiently(n, &envelope).await;
            let blocks = self.blocks_with(n, &[envelope]).await;
            let (mut in_force, mut last) = (self.first_configuration(), &blocks[0]);
            for block in &blocks[1..] {
                let follows = config_update::follow(&in_force, last.header.last_config, block);
                in_force = follows.unwrap().unwrap_or(in_force);
                last = block;
            }
            if in_force.config().sequence > current.config().sequence {
                break in_force;
            }
        };
        assert_eq!(new.config().sequence, current.config().sequence + 1);
        new
    }

    pub fn folder(&self, n: usize) -> PathBuf {
        self.folder.path().join(format!("orderer{n}"))
    }

    pub fn log(&self, n: usize) -> String {
        std::fs::read_to_string(self.folder(n).join("log")).unwrap_or_default()
    }

    pub fn launch(&mut self, n: usize) {
        self.processes[n] = Some(Process::start(&self.folder(n)));
    }

    pub fn launch_limited(&mut self, n: usize, file_bytes_max: u64) {
        self.processes[n] = Some(Process::start_limited(&self.folder(n), file_bytes_max));
    }

    /// Starts an orderer again, until it answers: while it was away its port was anybody's.
    pub async fn relaunch(&mut self, n: usize) {
        self.launch(n);
        wait_for("the orderer to be back", async || {
            let running = self.processes[n].as_mut().is_some_and(Process::is_running);
            if !running {
                self.launch(n);
            }
            self.status(n).await.ok()
        })
        .await;
    }

    /// Whether all orderers listen; `false` when one could not.
    async fn is_up(&mut self) -> bool {
        for n in 0..self.processes.len() {
            if !self.listens(n).await {
                return false;
            }
        }
        true
    }

    async fn listens(&mut self, n: usize) -> bool {
        wait_for("the orderer to listen", async || {
            let process = self.processes[n].as_mut().unwrap();
            if let Some(ended) = process.child.try_wait().unwrap() {
                let log = self.log(n);
                assert_eq!(ended.code(), Some(CANNOT_LISTEN), "{log}");
                return Some(false);
            }
            self.log(n).contains("ready").then_some(true)
        })
        .await
    }

    /// Joins all orderers to the channel.
    pub async fn join_all(&self) {
        for n in 0..self.processes.len() {
            let admin = self.admin_of(n);
            self.join(n, &admin, &encoded(&self.genesis)).await.unwrap();
        }
    }

    pub fn organization_of(&self, n: usize) -> &crate::consortium::Organization {
        &self.consortium.organizations[self.consortium.orderers[n].organization]
    }

    pub fn admin_of(&self, n: usize) -> Credentials {
        self.organization_of(n).member("admin", "admin")
    }

    pub fn roots(&self) -> TlsRoots {
        let config = ChannelConfig::from_pb(self.consortium.config()).unwrap();
        TlsRoots::new().add_config(&config).unwrap()
    }

    /// A connection to orderer `n` from its own organization.
    pub fn connect(&self, n: usize) -> Channel {
        self.connect_as(n, self.organization_of(n).tls("client"))
    }

    pub fn connect_as(&self, n: usize, identity: TlsIdentity) -> Channel {
        let settings = TlsSettings::new(identity, &self.roots()).unwrap();
        let expected = Expected::of(&self.organization_of(n).id);
        connect(&settings, &self.consortium.orderers[n].address, expected).unwrap()
    }

    pub async fn join(
        &self,
        n: usize,
        admin: &Credentials,
        genesis: &Bytes,
    ) -> Result<(), RpcError> {
        let request = join_request(admin, CHANNEL, genesis, now_ms());
        self.join_with(n, request).await
    }

    /// Joins an orderer that block 0 does not name.
    pub async fn join_later(&self, n: usize, current: &Configuration) -> Result<(), RpcError> {
        let admin = self.admin_of(n);
        let payload = pb::JoinRequest {
            header: Some(request_header(&admin, CHANNEL, "Join", now_ms())),
            genesis: encoded(&self.genesis),
            config: current.bytes().clone(),
        };
        let request = signed(&admin, payload.encode_to_vec().into());
        self.join_with(n, request).await
    }

    pub async fn join_with(&self, n: usize, request: pb::AdminRequest) -> Result<(), RpcError> {
        let mut client = AdminClient::new(self.connect(n));
        client.join(request).await.map_err(RpcError::from)?;
        Ok(())
    }

    pub async fn status(&self, n: usize) -> Result<pb::StatusResponse, RpcError> {
        let admin = self.admin_of(n);
        let header = request_header(&admin, CHANNEL, "Status", now_ms());
        let payload = pb::StatusRequest {
            header: Some(header),
        }
        .encode_to_vec();
        let mut client = AdminClient::new(self.connect(n));
        let answer = client.status(signed(&admin, payload.into())).await;
        Ok(answer.map_err(RpcError::from)?.into_inner())
    }

    /// The leader, when orderer `n` knows one that runs.
    pub async fn leader(&self, n: usize) -> usize {
        wait_for("a leader", async || {
            let status = self.status(n).await.ok()?;
            let leader = status.channels.first()?.leader.checked_sub(1)? as usize;
            self.processes[leader].is_some().then_some(leader)
        })
        .await
    }

    pub async fn broadcast(&self, n: usize, envelope: &Bytes) -> Result<(), RpcError> {
        self.broadcast_on(CHANNEL, n, envelope).await
    }

    pub async fn broadcast_on(
        &self,
        channel: &str,
        n: usize,
        envelope: &Bytes,
    ) -> Result<(), RpcError> {
        let mut client = BroadcastClient::new(self.connect(n));
        let (channel, envelope) = (channel.to_owned(), envelope.clone());
        let answer = client
            .broadcast(pb::BroadcastRequest { channel, envelope })
            .await;
        answer.map(drop).map_err(RpcError::from)
    }

    /// Broadcasts until it is taken; errors that no retry can cure are a failure.
    pub async fn broadcast_patiently(&self, n: usize, envelope: &Bytes) {
        wait_for("the envelope to be taken", async || {
            match self.broadcast(n, envelope).await {
                Ok(()) => Some(()),
                Err(error) => {
                    assert!(error.is_retryable(), "{error:?}");
                    None
                }
            }
        })
        .await;
    }

    pub async fn deliver(&self, n: usize, start: u64) -> Result<Streaming<pb::Block>, RpcError> {
        self.deliver_of(CHANNEL, n, start).await
    }

    pub async fn deliver_of(
        &self,
        channel: &str,
        n: usize,
        start: u64,
    ) -> Result<Streaming<pb::Block>, RpcError> {
        let mut client =
            DeliverClient::new(self.connect(n)).max_decoding_message_size(MESSAGE_BYTES_MAX);
        let request = pb::DeliverRequest {
            channel: channel.to_owned(),
            start,
        };
        Ok(client
            .deliver(request)
            .await
            .map_err(RpcError::from)?
            .into_inner())
    }

    /// Blocks from 0 on until all of `envelopes` were in one.
    pub async fn blocks_with(&self, n: usize, envelopes: &[Bytes]) -> Vec<Block> {
        let mut stream = wait_for("the orderer to deliver", async || {
            let stream = self.deliver(n, 0).await;
            if let Err(error) = &stream {
                assert!(error.is_retryable(), "{error:?}");
            }
            stream.ok()
        })
        .await;
        let mut missing: std::collections::HashSet<&Bytes> = envelopes.iter().collect();
        let mut blocks = Vec::new();
        while !missing.is_empty() || blocks.is_empty() {
            blocks.push(next_block(&mut stream).await);
            let block: &Block = blocks.last().unwrap();
            for envelope in &block.envelopes {
                missing.remove(envelope);
            }
        }
        blocks
    }
}

pub async fn next_block(stream: &mut Streaming<pb::Block>) -> Block {
    let message = tokio::time::timeout(PATIENCE, stream.message())
        .await
        .expect("a block in time");
    Block::from_pb(message.unwrap().expect("the stream goes on")).unwrap()
}

pub fn request_header(
    creator: &Credentials,
    channel: &str,
    method: &str,
    timestamp_ms: u64,
) -> pb::RequestHeader {
    let header = header(channel, creator, timestamp_ms);
    RequestHeader {
        header,
        method: method.to_owned(),
    }
    .to_pb()
}

pub fn signed(creator: &Credentials, payload: Bytes) -> pb::AdminRequest {
    let signature = creator.sign(hash::domain::ADMIN, &payload);
    pb::AdminRequest {
        payload,
        signature: Bytes::copy_from_slice(&signature),
        certificate: creator.certificate.der().clone(),
    }
}

pub fn join_request(
    admin: &Credentials,
    channel: &str,
    genesis: &Bytes,
    timestamp_ms: u64,
) -> pb::AdminRequest {
    let header = Some(request_header(admin, channel, "Join", timestamp_ms));
    let payload = pb::JoinRequest {
        header,
        genesis: genesis.clone(),
        config: Bytes::new(),
    }
    .encode_to_vec();
    signed(admin, payload.into())
}

pub fn code<T: std::fmt::Debug>(result: Result<T, RpcError>) -> ErrorCode {
    result.unwrap_err().code
}

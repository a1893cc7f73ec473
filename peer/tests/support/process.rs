//! A peer as a process of its own, which can be killed, and its data while it is stopped.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use stela_protocol::hash::{self, domain};
use stela_protocol::{FORMAT_VERSION, Hash32, pb};
use stela_store::{
    Direction, Durability, Family, Kv, KvRead, RocksKv, RocksSettings, StoreError, WriteBatch,
    layout,
};

use super::{Client, Home, Network, channel};

/// A running peer; it is killed when it is dropped.
pub struct Process {
    child: Child,
}

impl Process {
    /// `kill -9`; returns when it is gone.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Home {
    /// The configuration as a file.
    pub fn file(&self, listen: SocketAddr) -> PathBuf {
        let text = format!(
            "organization = \"{}\"\nname = \"{}\"\nlisten = \"{listen}\"\ndata = \"data\"\n\
             identity = \"identity\"\ntls = \"tls\"\nroot_certificates = [\"ca/ca.pem\"]\n\
             tls_root_certificates = [\"ca/tls-ca.pem\"]\ncache_mib = 1\nlog = \"warn\"\n",
            self.organization, self.name
        );
        let path = self.path().join("peer.toml");
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Starts the program.
    pub fn spawn(&self, listen: SocketAddr) -> Process {
        let mut program = Command::new(env!("CARGO_BIN_EXE_stela-peer"));
        program.arg("--config").arg(self.file(listen));
        program.env_remove("RUST_LOG").stderr(Stdio::null());
        let child = program.spawn().unwrap();
        Process { child }
    }

    /// Runs a command over the data of the stopped peer: exit code and everything that it says.
    pub fn offline(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let config = self.file("127.0.0.1:0".parse().unwrap());
        let mut program = Command::new(env!("CARGO_BIN_EXE_stela-peer"));
        program.arg(arguments[0]).arg("--config").arg(config);
        program.args(&arguments[1..]).env_remove("RUST_LOG");
        let Output {
            status,
            stdout,
            stderr,
        } = program.output().unwrap();
        let words = [stdout, stderr].concat();
        (status.code(), String::from_utf8(words).unwrap())
    }

    /// The database of the stopped peer.
    pub fn database(&self) -> Arc<RocksKv> {
        Arc::new(self.open_database().unwrap())
    }

    /// Whether nobody has the database open, if there is one.
    pub fn is_closed(&self) -> bool {
        !self.database_folder().exists() || self.open_database().is_ok()
    }

    fn open_database(&self) -> Result<RocksKv, StoreError> {
        let settings = RocksSettings::new(1 << 20);
        RocksKv::open(&self.database_folder(), layout::FAMILIES, &settings)
    }

    fn database_folder(&self) -> PathBuf {
        self.path().join("data/channels").join(channel().as_str())
    }

    /// Alters one entry of the stopped peer, as no checksum of the database notices: counted from
    /// the end of the family.
    pub fn alter(&self, family: Family, from_end: usize, change: impl Fn(&mut Vec<u8>)) {
        let kv = self.database();
        let direction = Direction::Backward;
        let found = kv
            .range(family, &[], None, from_end + 1, direction)
            .unwrap();
        let (key, value): &(Bytes, Bytes) = &found[from_end];
        let mut value = value.to_vec();
        change(&mut value);
        let mut batch = WriteBatch::new();
        batch.put(family, key.clone(), value);
        kv.write(batch, Durability::Synced).unwrap();
    }
}

/// A call of the contract with its endorsement, made without any peer.
pub fn endorsed_note(network: &Network, client: &Client, package: &Hash32, text: &[u8]) -> Bytes {
    let proposal = client.proposal("put", &[text]);
    let text = Bytes::copy_from_slice(text);
    let result: Bytes = pb::Result {
        version: FORMAT_VERSION,
        package_hash: package.to_bytes(),
        response: Some(pb::Response::default()),
        writes: vec![pb::Write {
            key: Bytes::from_static(b"key\0"),
            change: Some(pb::write::Change::Value(text.clone())),
            ..Default::default()
        }],
        events: vec![pb::ContractEvent {
            name: "written".to_owned(),
            payload: text,
        }],
        ..Default::default()
    }
    .encode_to_vec()
    .into();
    let endorser = &network.homes["A"].credentials;
    let message = hash::endorsement_message(&proposal.encode(), &result);
    let signature = endorser.sign(domain::ENDORSEMENT, &message);
    let endorsements = vec![pb::Endorsement {
        endorser: endorser.fingerprint().to_bytes(),
        signature: Bytes::copy_from_slice(&signature),
    }];
    client.envelope(
        &proposal,
        pb::EndorseResponse {
            result,
            endorsements,
        },
    )
}

impl Network {
    /// Runs an organization's peer as a process of its own from now on.
    pub async fn as_process(&mut self, name: &'static str) -> Process {
        self.stop_peer(name).await;
        self.homes[name].spawn(self.addresses[name])
    }
}

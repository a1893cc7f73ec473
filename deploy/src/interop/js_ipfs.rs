//! A js-ipfs daemon in a process of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::limits::{POLL, READY, STOP};
use crate::materials::multiaddr;
use crate::process::{Process, stopwatch};
use crate::topology::{self, Daemon};

/// Where `deploy/interop.sh` has installed js-ipfs, and what runs it.
#[derive(Debug, Clone)]
pub struct Installed {
    /// Node.js.
    pub node: PathBuf,
    /// The folder with `node_modules` and `daemon.mjs`.
    pub folder: PathBuf,
}

/// The daemon; it ends when this is dropped.
pub(super) struct JsIpfs {
    installed: Installed,
    repository: PathBuf,
    daemon: Daemon,
    process: Option<Process>,
}

impl JsIpfs {
    /// Makes a repository with a new identity in `folder`, for a daemon that will listen at `swarm`
    /// and meet nobody by itself.
    pub(super) fn create(
        installed: &Installed,
        folder: &Path,
        swarm: SocketAddr,
    ) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let repository = folder.join("repository");
        let made = std::process::Command::new(&installed.node)
            .arg("-r")
            .arg(installed.folder.join("polyfill.cjs"))
            .arg(installed.folder.join("node_modules/ipfs/src/cli.js"))
            .args(["init", "--profile=test", "--empty-repo"])
            .env("IPFS_PATH", &repository)
            .output()
            .with_context(|| format!("cannot run {}", installed.node.display()))?;
        let said = String::from_utf8_lossy(&made.stderr);
        anyhow::ensure!(made.status.success(), "js-ipfs makes no repository: {said}");
        let [api, gateway, rpc] = topology::free_ports(3)?[..] else {
            anyhow::bail!("too few ports");
        };
        let path = repository.join("config");
        let mut config: Value = serde_json::from_slice(&std::fs::read(&path)?)?;
        config["Addresses"] = json!({
            "Swarm": [multiaddr(swarm)],
            "API": multiaddr(api),
            "Gateway": multiaddr(gateway),
            "RPC": multiaddr(rpc),
        });
        config["Bootstrap"] = json!([]);
        config["Discovery"]["MDNS"]["Enabled"] = json!(false);
        config["Discovery"]["webRTCStar"]["Enabled"] = json!(false);
        std::fs::write(&path, serde_json::to_vec(&config)?)?;
        let peer_id = config.pointer("/Identity/PeerID").and_then(Value::as_str);
        let peer_id = peer_id.context("js-ipfs has no identity")?.to_owned();
        Ok(Self {
            installed: installed.clone(),
            repository,
            daemon: Daemon { api, peer_id },
            process: None,
        })
    }

    /// Who it is and where it answers.
    pub(super) fn daemon(&self) -> &Daemon {
        &self.daemon
    }

    /// Starts it in the swarm with this key, and waits until it takes calls.
    pub(super) async fn start(&mut self, swarm_key: &Path) -> anyhow::Result<()> {
        let folder = &self.installed.folder;
        let words = [
            format!("IPFS_PATH={}", self.repository.display()),
            self.installed.node.display().to_string(),
            "-r".to_owned(),
            folder.join("polyfill.cjs").display().to_string(),
            folder.join("daemon.mjs").display().to_string(),
            swarm_key.display().to_string(),
        ];
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let log = self.repository.with_extension("log");
        let process = Process::start("js-ipfs", Path::new("env"), &words, &log)?;
        let process = self.process.insert(process);
        let started = stopwatch();
        while TcpStream::connect(self.daemon.api).await.is_err() {
            process.check()?;
            let api = self.daemon.api;
            anyhow::ensure!(started.elapsed() < READY, "nobody answers at {api}");
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// Ends it. What is killed leaves a lock in its repository, which it honours for a while.
    pub(super) fn stop(&mut self) -> anyhow::Result<()> {
        let mut process = self.process.take().context("js-ipfs does not run")?;
        process.stop(STOP)
    }

    /// Flips a bit in the largest block that it has on its disk.
    pub(super) fn damage(&self) -> anyhow::Result<()> {
        let path = largest(&self.repository.join("blocks"))?.context("no block on the disk")?;
        let mut block = std::fs::read(&path)?;
        let middle = block.len() / 2;
        block[middle] ^= 1;
        Ok(std::fs::write(path, block)?)
    }
}

impl Drop for JsIpfs {
    fn drop(&mut self) {
        let stopped = self.process.as_mut().map(|process| process.stop(STOP));
        if let Some(Err(error)) = stopped {
            tracing::error!(%error, "js-ipfs could not be ended");
        }
    }
}

fn largest(folder: &Path) -> anyhow::Result<Option<PathBuf>> {
    let (mut folders, mut found) = (vec![folder.to_owned()], None);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            if metadata.is_dir() {
                folders.push(entry.path());
            } else {
                found = found.max(Some((metadata.len(), entry.path())));
            }
        }
    }
    Ok(found.map(|(_, path)| path))
}

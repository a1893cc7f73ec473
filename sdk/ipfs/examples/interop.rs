//! Our side of `deploy/interop.sh`: an embedded node against a Kubo node in one private swarm, and
//! the RPC client against js-ipfs's `/api/v0`. Ends with an error at the first difference.
//!
//! ```text
//! interop kubo PYTHON DRIVER LIBRARY     Kubo as a shared library, and the script that drives it
//! interop rpc NODE FOLDER                Node.js, and the folder in which js-ipfs is installed
//! ```

use std::error::Error;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use stela_ipfs::{
    ApiUrl, BlobStore, Cid, DhtError, FetchError, KuboConfig, KuboError, KuboNode, Member, Node,
    NodeConfig, PinKind, PinningNode, generate_swarm_key,
};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::{Instant, interval, timeout};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// How long anything here may take.
const DEADLINE: Duration = Duration::from_secs(60);
/// Sizes around those at which trees change their form, and one of many blocks.
const SIZES: [usize; 6] = [0, 1, 262_144, 262_145, 1_000_000, 174 * 262_144 + 1];

#[tokio::main]
async fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["kubo", python, driver, library] => kubo(python, driver, library).await,
        ["rpc", node, folder] => rpc(node, Path::new(folder)).await,
        _ => Err("usage: interop kubo PYTHON DRIVER LIBRARY | interop rpc NODE FOLDER".into()),
    }
}

/// Fetches from Kubo, and has Kubo fetch from us.
async fn kubo(python: &str, driver: &str, library: &str) -> Outcome {
    let folder = tempfile::tempdir()?;
    let swarm_key = generate_swarm_key();
    let key_file = folder.path().join("swarm.key");
    std::fs::write(&key_file, swarm_key.to_key_file())?;
    let ours = Node::start(NodeConfig::new(folder.path().join("ours"), swarm_key)).await?;
    let mut kubo = Kubo::start(python, driver, library, folder.path(), &key_file).await?;
    let peer = kubo.peer.parse()?;
    ours.allow(Member {
        peer,
        addresses: Vec::new(),
    })
    .await;
    let address = ours.listen_addresses().remove(0).to_string();
    kubo.ask(json!({ "do": "connect", "address": address }))
        .await?;
    until("a connection with Kubo", async || {
        Ok(ours.peers().contains(&peer))
    })
    .await?;
    say("Kubo is connected, under the same swarm key");

    let file = folder.path().join("file");
    for (seed, size) in SIZES.into_iter().enumerate() {
        let data = noise(2 * seed as u64 + 1, size);
        let cid = ours.put(&mut &data[..]).await?;
        let _ = std::fs::remove_file(&file);
        kubo.ask(json!({ "do": "get", "cid": cid.to_string(), "path": file }))
            .await?;
        same("what Kubo fetched from us", &std::fs::read(&file)?, &data)?;
        say(&format!("Kubo fetched {size} bytes from us by {cid}"));

        let data = noise(2 * seed as u64 + 2, size);
        std::fs::write(&file, &data)?;
        let answer = kubo.ask(json!({ "do": "add", "path": file })).await?;
        let theirs: Cid = answer.as_str().ok_or("Kubo names no CID")?.parse()?;
        same(
            "what we fetched from Kubo",
            &read(&ours, &theirs).await?,
            &data,
        )?;
        let stat = ours.stat(&theirs).await?;
        same("the size", &stat.bytes, &(size as u64))?;
        say(&format!("we fetched {size} bytes from Kubo by {theirs}"));
    }
    let received = ours.stats().blocks_received;
    let served = ours.stats().blocks_served;
    say(&format!(
        "{served} blocks served to Kubo, {received} blocks received from it"
    ));
    ours.shutdown().await;
    kubo.end().await
}

/// Uses js-ipfs through its RPC interface as a storage node would.
async fn rpc(program: &str, installed: &Path) -> Outcome {
    let folder = tempfile::tempdir()?;
    let daemon = JsIpfs::start(program, installed, folder.path()).await?;
    let mut config = KuboConfig::new(folder.path().join("ours"), daemon.api.clone());
    config.collect = true;
    let remote = KuboNode::start(config).await?;
    say(&format!("js-ipfs answers as {}", remote.peer_id()));
    let reference = NodeConfig::new(folder.path().join("reference"), generate_swarm_key());
    let reference = Node::start(reference).await?;

    let mut blobs = Vec::new();
    for (seed, size) in SIZES.into_iter().enumerate() {
        let data = noise(seed as u64 + 1, size);
        let cid = remote.put(&mut &data[..]).await?;
        same("the CID", &cid, &reference.put(&mut &data[..]).await?)?;
        same("what came back", &read(&remote, &cid).await?, &data)?;
        same(
            "the sizes",
            &remote.stat(&cid).await?,
            &reference.stat(&cid).await?,
        )?;
        say(&format!(
            "js-ipfs keeps {size} bytes under the same CID {cid}"
        ));
        blobs.push((cid, data));
    }
    let (cid, data) = blobs.pop().ok_or("no blob")?;
    range(&remote, &cid, &data).await?;
    pins(&remote, &cid).await?;
    damage(&remote, &daemon, &cid, &data).await?;
    collection(&remote, &cid).await?;
    dht(&remote, &cid).await?;
    remote.close().await;
    reference.shutdown().await;
    daemon.end().await
}

async fn range(remote: &KuboNode, cid: &Cid, data: &[u8]) -> Outcome {
    let (offset, length) = (1_000_000, 300_000);
    let mut reader = remote
        .get_range(cid, offset as u64, length as u64, DEADLINE)
        .await?;
    let mut part = Vec::new();
    while let Some(chunk) = reader.chunk().await? {
        part.extend_from_slice(&chunk);
    }
    same("a part", &part[..], &data[offset..offset + length])?;
    say("a part of a blob comes without the rest");
    Ok(())
}

async fn pins(remote: &KuboNode, cid: &Cid) -> Outcome {
    let lease = PinKind::Leased { until_ms: 10 };
    remote.fetch_and_pin(cid, lease, DEADLINE).await?;
    same("the pin", &remote.pinned(cid).await?, &Some(lease))?;
    remote.collect(0).await?;
    same(
        "a pinned blob after a collection",
        &remote.has(cid).await?,
        &true,
    )?;
    same(
        "a check",
        &remote.check(cid, u64::MAX).await?.is_whole(),
        &true,
    )?;
    say("a pinned blob outlives a collection and passes a check");
    Ok(())
}

/// Flips a byte in one of the daemon's own files.
async fn damage(remote: &KuboNode, daemon: &JsIpfs, cid: &Cid, data: &[u8]) -> Outcome {
    let leaf = largest(&daemon.repository.join("blocks"))?.ok_or("no block on the disk")?;
    let mut block = std::fs::read(&leaf)?;
    block[100_000] ^= 1;
    std::fs::write(&leaf, block)?;
    let found = remote.check(cid, u64::MAX).await?;
    same("damaged blocks", &found.damaged.len(), &1)?;
    let error = remote
        .fetch_and_pin(cid, PinKind::Permanent, Duration::from_secs(5))
        .await;
    if !matches!(
        error,
        Err(FetchError::NotFound { .. } | FetchError::Timeout { .. })
    ) {
        return Err(format!("a lost block is not missed: {error:?}").into());
    }
    same("the CID", &remote.put(&mut &*data).await?, cid)?;
    remote
        .fetch_and_pin(cid, PinKind::Permanent, DEADLINE)
        .await?;
    same("what came back", &read(remote, cid).await?[..], data)?;
    say("a byte flipped on the daemon's disk is found, and mended once the blob is to be had");
    Ok(())
}

async fn collection(remote: &KuboNode, cid: &Cid) -> Outcome {
    same("a pin", &remote.unpin(cid).await?, &true)?;
    let collected = remote.collect(0).await?;
    if collected.blocks == 0 || remote.has(cid).await? {
        return Err(format!("nothing was collected: {collected:?}").into());
    }
    let gone = remote.get(cid, Duration::from_secs(3)).await;
    if gone.is_ok() {
        return Err("a collected blob is still given".into());
    }
    say(&format!("a collection removed {} blocks", collected.blocks));
    Ok(())
}

/// A daemon that is alone finds nobody, and says in words if it cannot even be asked.
async fn dht(remote: &KuboNode, cid: &Cid) -> Outcome {
    match remote.find_providers(cid, Duration::from_secs(5)).await {
        Ok(found) => same("providers", &found, &Vec::new())?,
        Err(DhtError::Timeout { .. }) => {}
        Err(DhtError::Daemon(
            error @ (KuboError::NotOffered { .. } | KuboError::Refused { .. }),
        )) => say(&format!("the DHT: {error}")),
        Err(error) => return Err(error.into()),
    }
    say("a search for providers ends");
    Ok(())
}

/// A Kubo node in a process of its own.
struct Kubo {
    child: Child,
    to: ChildStdin,
    from: Lines<BufReader<ChildStdout>>,
    peer: String,
}

impl Kubo {
    async fn start(
        python: &str,
        driver: &str,
        library: &str,
        folder: &Path,
        swarm_key: &Path,
    ) -> Outcome<Self> {
        let mut child = Command::new(python)
            .args([driver, library])
            .arg(folder.join("kubo"))
            .arg(free_port()?.to_string())
            .arg(swarm_key)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let to = child.stdin.take().ok_or("no way to Kubo")?;
        let from = child.stdout.take().ok_or("no way from Kubo")?;
        let mut kubo = Self {
            child,
            to,
            from: BufReader::new(from).lines(),
            peer: String::new(),
        };
        kubo.peer = kubo.answer().await?.as_str().unwrap_or_default().to_owned();
        Ok(kubo)
    }

    async fn ask(&mut self, what: Value) -> Outcome<Value> {
        self.to.write_all(format!("{what}\n").as_bytes()).await?;
        self.answer().await
    }

    /// The next line that is ours: the library says things of its own, too.
    async fn answer(&mut self) -> Outcome<Value> {
        loop {
            let line = timeout(DEADLINE, self.from.next_line()).await;
            let line = line.map_err(|_| "Kubo does not answer")??;
            let line = line.ok_or("Kubo has ended")?;
            let Ok(Value::Object(answer)) = serde_json::from_str(&line) else {
                continue;
            };
            if let Some(error) = answer.get("error") {
                return Err(error.to_string().into());
            }
            if let Some(ok) = answer.get("ok") {
                return Ok(ok.clone());
            }
        }
    }

    async fn end(mut self) -> Outcome {
        drop(self.to);
        if timeout(DEADLINE, self.child.wait()).await.is_err() {
            self.child.kill().await?;
        }
        Ok(())
    }
}

/// A js-ipfs daemon in a process of its own.
struct JsIpfs {
    child: Child,
    api: ApiUrl,
    repository: PathBuf,
}

impl JsIpfs {
    async fn start(program: &str, installed: &Path, folder: &Path) -> Outcome<Self> {
        let repository = folder.join("js-ipfs");
        let command = |arguments: &[&str]| {
            let mut command = Command::new(program);
            command
                .arg("-r")
                .arg(installed.join("polyfill.cjs"))
                .arg(installed.join("node_modules/ipfs/src/cli.js"))
                .args(arguments)
                .env("IPFS_PATH", &repository)
                .stdin(Stdio::null())
                .kill_on_drop(true);
            command
        };
        let made = command(&["init", "--profile=test", "--empty-repo"])
            .output()
            .await?;
        if !made.status.success() {
            let why = String::from_utf8_lossy(&made.stderr).into_owned();
            return Err(format!("js-ipfs cannot make its repository: {why}").into());
        }
        let port = free_port()?;
        alone(&repository.join("config"), port)?;
        let log = std::fs::File::create(folder.join("js-ipfs.log"))?;
        let child = command(&["daemon"])
            .stdout(Stdio::from(log.try_clone()?))
            .stderr(Stdio::from(log))
            .spawn()?;
        let api = ApiUrl::parse(&format!("http://127.0.0.1:{port}"), false)?;
        let mut daemon = Self {
            child,
            api,
            repository,
        };
        let meeting = folder.join("meeting");
        until("js-ipfs", async || {
            if let Some(status) = daemon.child.try_wait()? {
                let log = std::fs::read_to_string(folder.join("js-ipfs.log"))?;
                return Err(format!("js-ipfs ended with {status}: {log}").into());
            }
            let met = KuboNode::start(KuboConfig::new(&meeting, daemon.api.clone())).await;
            Ok(met.is_ok())
        })
        .await?;
        Ok(daemon)
    }

    async fn end(mut self) -> Outcome {
        self.child.kill().await?;
        Ok(())
    }
}

/// A configuration with nobody to meet, and a port of the loopback address.
fn alone(path: &Path, port: u16) -> Outcome {
    let mut config: Value = serde_json::from_slice(&std::fs::read(path)?)?;
    config["Addresses"] = json!({
        "Swarm": [],
        "API": format!("/ip4/127.0.0.1/tcp/{port}"),
        "Gateway": format!("/ip4/127.0.0.1/tcp/{}", free_port()?),
        "RPC": format!("/ip4/127.0.0.1/tcp/{}", free_port()?),
    });
    config["Bootstrap"] = json!([]);
    config["Discovery"]["MDNS"]["Enabled"] = json!(false);
    config["Discovery"]["webRTCStar"]["Enabled"] = json!(false);
    std::fs::write(path, serde_json::to_vec(&config)?)?;
    Ok(())
}

/// The largest file below a folder.
fn largest(folder: &Path) -> Outcome<Option<PathBuf>> {
    let mut found: Option<(u64, PathBuf)> = None;
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            if metadata.is_dir() {
                folders.push(entry.path());
            } else if found
                .as_ref()
                .is_none_or(|(most, _)| metadata.len() > *most)
            {
                found = Some((metadata.len(), entry.path()));
            }
        }
    }
    Ok(found.map(|(_, path)| path))
}

async fn read(store: &dyn BlobStore, cid: &Cid) -> Outcome<Vec<u8>> {
    let mut reader = store.get(cid, DEADLINE).await?;
    let mut data = Vec::new();
    while let Some(chunk) = reader.chunk().await? {
        data.extend_from_slice(&chunk);
    }
    Ok(data)
}

/// Waits until `condition` holds.
async fn until(what: &str, mut condition: impl AsyncFnMut() -> Outcome<bool>) -> Outcome {
    let deadline = Instant::now() + DEADLINE;
    let mut ticks = interval(Duration::from_millis(100));
    while !condition().await? {
        if Instant::now() >= deadline {
            return Err(format!("no {what} within {DEADLINE:?}").into());
        }
        ticks.tick().await;
    }
    Ok(())
}

fn same<T: PartialEq + ?Sized>(what: &str, found: &T, expected: &T) -> Outcome {
    if found == expected {
        return Ok(());
    }
    Err(format!("{what} differs").into())
}

fn free_port() -> Outcome<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Bytes that do not repeat, the same for the same seed.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64 ^ seed;
    let mut data = Vec::with_capacity(length + 8);
    while data.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        data.extend_from_slice(&state.to_le_bytes());
    }
    data.truncate(length);
    data
}

fn say(what: &str) {
    println!("  {what}");
}

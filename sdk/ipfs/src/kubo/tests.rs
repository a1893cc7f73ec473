//! Daemons that lie, fall silent, say too much, or lose what they were given; and one that does
//! not. They speak HTTP over a socket of the loopback address.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cid::Cid;
use parking_lot::Mutex;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

use super::*;
use crate::block::raw_cid;
use crate::dag::tests::node;
use crate::error::PutError;
use crate::import::Namer;
use crate::limits::{BLOCK_BYTES_MAX, KUBO_JSON_BYTES_MAX};

const SOON: Duration = Duration::from_secs(30);
const PEER: &str = "12D3KooWGC6TvWhfagifX6bfMLS6TL7RhjCp5Q2bUkxgLtGVjCSm";

/// What a daemon answers.
enum Reply {
    Good(Vec<u8>),
    Status(u16, Vec<u8>),
    /// Nothing, ever.
    Silence,
    /// The head of an answer of this many bytes, and then the same byte again and again.
    Endless(u64),
    /// Some bytes that are not all that were announced.
    Broken,
}

type Query = HashMap<String, String>;
type Lie = Box<dyn FnMut(&str, &Query) -> Option<Reply> + Send>;

/// What a daemon has and what it was asked.
#[derive(Default)]
struct State {
    blocks: HashMap<Cid, Bytes>,
    pins: HashSet<Cid>,
    /// What other nodes would give.
    swarm: HashMap<Cid, Bytes>,
    calls: Vec<String>,
    authorization: Vec<String>,
    uploads: Vec<Vec<u8>>,
    lie: Option<Lie>,
}

/// A daemon; it stops when this is dropped.
struct Daemon {
    api: String,
    state: Arc<Mutex<State>>,
    task: AbortHandle,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Daemon {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let api = format!("http://{}", listener.local_addr().expect("an address"));
        let state = Arc::new(Mutex::new(State::default()));
        let shared = state.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, shared.clone()));
            }
        });
        let task = task.abort_handle();
        Self { api, state, task }
    }

    fn lie(&self, lie: impl FnMut(&str, &Query) -> Option<Reply> + Send + 'static) {
        self.state.lock().lie = Some(Box::new(lie));
    }

    fn calls(&self, command: &str) -> usize {
        let state = self.state.lock();
        state.calls.iter().filter(|call| *call == command).count()
    }

    async fn meet(&self, folder: &TempDir) -> KuboNode {
        let api = ApiUrl::parse(&self.api, false).expect("an address");
        let mut config = KuboConfig::new(folder.path(), api);
        config.fsync = false;
        config.chunk_bytes = 1_000;
        KuboNode::start(config).await.expect("a node")
    }
}

async fn serve(stream: TcpStream, state: Arc<Mutex<State>>) {
    let mut stream = BufReader::new(stream);
    while let Some((command, query, body)) = request(&mut stream, &state).await {
        let reply = answer(&state, &command, &query, body);
        let head = |status: u16, bytes: u64| {
            format!("HTTP/1.1 {status} Whatever\r\nContent-Length: {bytes}\r\n\r\n")
        };
        let (head, body) = match reply {
            Reply::Good(body) => (head(200, body.len() as u64), body),
            Reply::Status(status, body) => (head(status, body.len() as u64), body),
            Reply::Broken => (head(200, 1_000), vec![b'{']),
            Reply::Silence => std::future::pending().await,
            Reply::Endless(bytes) => (head(200, bytes), Vec::new()),
        };
        let endless = head.contains(&(u64::MAX / 2).to_string());
        let sent = async {
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(&body).await?;
            if endless {
                loop {
                    stream.write_all(&[b'x'; 4096]).await?;
                }
            }
            stream.flush().await
        };
        if sent.await.is_err() || body == [b'{'] {
            return;
        }
    }
}

/// Reads one request.
async fn request(
    stream: &mut BufReader<TcpStream>,
    state: &Mutex<State>,
) -> Option<(String, Query, Vec<u8>)> {
    let line = read_line(stream).await?;
    let target = line.strip_prefix("POST /api/v0/")?;
    let (target, _) = target.split_once(' ')?;
    let (command, query) = target.split_once('?').unwrap_or((target, ""));
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let query = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let query = query.collect();
    let mut chunked = false;
    loop {
        let header = read_line(stream).await?;
        if header.is_empty() {
            break;
        }
        chunked |= header.eq_ignore_ascii_case("transfer-encoding: chunked");
        if let Some(value) = header.strip_prefix("authorization: ") {
            state.lock().authorization.push(value.to_owned());
        }
    }
    let mut body = Vec::new();
    while chunked {
        let bytes = usize::from_str_radix(&read_line(stream).await?, 16).ok()?;
        let start = body.len();
        body.resize(start + bytes, 0);
        stream.read_exact(&mut body[start..]).await.ok()?;
        read_line(stream).await?;
        chunked = bytes > 0;
    }
    Some((command.to_owned(), query, body))
}

async fn read_line(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let mut line = String::new();
    let count = stream.read_line(&mut line).await.ok()?;
    (count > 0).then(|| line.trim_end().to_owned())
}

/// What an honest daemon answers, unless it was told to lie.
fn answer(state: &Mutex<State>, command: &str, query: &Query, body: Vec<u8>) -> Reply {
    let mut state = state.lock();
    state.calls.push(command.to_owned());
    if let Some(lie) = &mut state.lie
        && let Some(reply) = lie(command, query)
    {
        return reply;
    }
    let cid = || commands::cid_of(query.get("arg")?);
    let no = |message: &str| {
        let body = format!(r#"{{"Message":"{message}","Code":0,"Type":"error"}}"#);
        Reply::Status(500, body.into_bytes())
    };
    let good = |text: String| Reply::Good(text.into_bytes());
    match command {
        "id" => good(format!(
            r#"{{"ID":"{PEER}","Addresses":["/ip4/127.0.0.1/tcp/4001"]}}"#
        )),
        "block/get" => {
            let cid = cid().expect("a CID");
            let elsewhere = query.get("offline").is_some_and(|value| value == "false");
            let found = state.blocks.get(&cid).cloned();
            let found = found.or_else(|| {
                let block = state.swarm.get(&cid).filter(|_| elsewhere).cloned()?;
                state.blocks.insert(cid, block.clone());
                Some(block)
            });
            found.map_or_else(
                || no("block was not found locally"),
                |block| Reply::Good(block.to_vec()),
            )
        }
        "block/stat" => match state.blocks.get(&cid().expect("a CID")) {
            Some(block) => good(format!(r#"{{"Key":"x","Size":{}}}"#, block.len())),
            None => no("block was not found locally"),
        },
        "block/rm" => {
            let cid = cid().expect("a CID");
            if !state.pins.is_empty() {
                return good(r#"{"Hash":"x","Error":"pinned: recursive"}"#.to_owned());
            }
            state.blocks.remove(&cid);
            good("{\"Hash\":\"x\"}\n".to_owned())
        }
        "pin/add" => {
            let cid = cid().expect("a CID");
            state.pins.insert(cid);
            good(format!(r#"{{"Pins":["{}"]}}"#, base58(&cid)))
        }
        "pin/rm" => match state.pins.remove(&cid().expect("a CID")) {
            true => good(r#"{"Pins":["x"]}"#.to_owned()),
            false => no("not pinned or pinned indirectly"),
        },
        "pin/ls" => {
            let cid = cid().expect("a CID");
            match state.pins.contains(&cid) {
                true => good(format!(
                    r#"{{"Keys":{{"{}":{{"Type":"recursive"}}}}}}"#,
                    base58(&cid)
                )),
                false => no("path 'x' is not pinned"),
            }
        }
        "repo/gc" => {
            let pinned = !state.pins.is_empty();
            let before = state.blocks.len();
            state.blocks.retain(|_, _| pinned);
            let removed = before - state.blocks.len();
            good("{\"Key\":{\"/\":\"x\"}}\n".repeat(removed))
        }
        "add" => {
            let start = body.windows(4).position(|it| it == b"\r\n\r\n");
            let start = start.expect("a head") + 4;
            let end = body
                .windows(4)
                .rposition(|it| it == b"\r\n--")
                .expect("an end");
            let file = body[start..end].to_vec();
            let mut namer = Namer::new(1_000);
            namer.push(&file);
            let name = base58(&namer.finish());
            state.uploads.push(file);
            good(format!(
                "{{\"Name\":\"blob\",\"Hash\":\"{name}\",\"Size\":\"1\"}}\n"
            ))
        }
        "swarm/peers" => good(format!(r#"{{"Peers":[{{"Addr":"x","Peer":"{PEER}"}}]}}"#)),
        "dht/findprovs" => good(format!(
            "{{\"Type\":1,\"Responses\":null}}\n{{\"Type\":4,\"Responses\":[{{\"ID\":\"{PEER}\"}}]}}\n"
        )),
        _ => Reply::Status(404, b"404 page not found".to_vec()),
    }
}

fn base58(cid: &Cid) -> String {
    let base = cid::multibase::Base::Base58Btc;
    cid.to_string_of_base(base).expect("a base")
}

/// A blob of three leaves, and its blocks.
struct Blob {
    root: Cid,
    data: Vec<u8>,
    blocks: HashMap<Cid, Bytes>,
    leaves: Vec<Cid>,
}

fn blob() -> Blob {
    let data: Vec<u8> = (0..2_500u32).map(|n| (n / 7) as u8).collect();
    let leaves: Vec<Bytes> = data.chunks(1_000).map(Bytes::copy_from_slice).collect();
    let children: Vec<_> = leaves
        .iter()
        .map(|leaf| (raw_cid(leaf), leaf.len() as u64))
        .collect();
    let root = node(2, b"", 2_500, &children);
    let leaf = leaves.iter().map(|leaf| (raw_cid(leaf), leaf.clone()));
    let blocks = leaf.chain([(*root.cid(), root.data().clone())]).collect();
    Blob {
        root: *root.cid(),
        data,
        blocks,
        leaves: children.iter().map(|(cid, _)| *cid).collect(),
    }
}

async fn daemon_with(blob: &Blob) -> (Daemon, TempDir, KuboNode) {
    let daemon = Daemon::start().await;
    daemon.state.lock().blocks.clone_from(&blob.blocks);
    let folder = tempfile::tempdir().expect("a folder");
    let node = daemon.meet(&folder).await;
    (daemon, folder, node)
}

async fn read(node: &KuboNode, cid: &Cid) -> Result<Vec<u8>, FetchError> {
    let mut reader = node.get(cid, SOON).await?;
    let mut data = Vec::new();
    while let Some(chunk) = reader.chunk().await? {
        data.extend_from_slice(&chunk);
    }
    Ok(data)
}

fn daemon_error(error: &FetchError) -> &KuboError {
    match error.disk() {
        Some(StoreError::Daemon(error)) => error,
        _ => panic!("{error}"),
    }
}

#[tokio::test]
async fn a_blob_is_kept_read_and_let_go() {
    let blob = blob();
    let (daemon, folder, node) = daemon_with(&blob).await;
    assert_eq!(node.peer_id().to_string(), PEER);
    assert_eq!(read(&node, &blob.root).await.expect("the blob"), blob.data);
    let mut part = node
        .get_range(&blob.root, 900, 200, SOON)
        .await
        .expect("a part");
    let mut bytes = Vec::new();
    part.read_to_end(&mut bytes).await.expect("the part");
    assert_eq!(bytes, &blob.data[900..1_100]);
    assert!(node.has(&blob.root).await.expect("a look"));
    let stat = node.stat(&blob.root).await.expect("sizes");
    assert_eq!((stat.bytes, stat.blocks), (2_500, 4));

    let lease = PinKind::Leased { until_ms: 10 };
    let fetched = node.fetch_and_pin(&blob.root, lease, SOON).await;
    assert_eq!(fetched.expect("the blob").blocks, 4);
    assert!(daemon.state.lock().pins.contains(&blob.root));
    // What is kept is not read again only to be kept for longer.
    let reads = daemon.calls("block/get");
    let later = PinKind::Leased { until_ms: 20 };
    node.fetch_and_pin(&blob.root, later, SOON)
        .await
        .expect("a pin");
    assert_eq!(daemon.calls("block/get"), reads + 1, "the root alone");
    // The terms are this node's own to remember.
    node.close().await;
    drop(node);
    let node = daemon.meet(&folder).await;
    assert_eq!(node.pinned(&blob.root).await.expect("a look"), Some(later));
    assert!(node.end_leases(19).await.expect("leases").is_empty());
    assert_eq!(node.end_leases(20).await.expect("leases"), [blob.root]);
    assert!(daemon.state.lock().pins.is_empty());
    assert!(!node.unpin(&blob.root).await.expect("no pin"));
    // Others' blobs are not collected unless that is wanted.
    assert_eq!(node.collect(u64::MAX).await.expect("nothing").blocks, 0);
    assert_eq!(daemon.calls("repo/gc"), 0);
}

#[tokio::test]
async fn wrong_bytes_are_not_believed() {
    let blob = blob();
    let (daemon, _folder, node) = daemon_with(&blob).await;
    let leaf = blob.leaves[1];
    daemon
        .state
        .lock()
        .blocks
        .insert(leaf, Bytes::from(vec![7; 1_000]));
    let error = read(&node, &blob.root).await.expect_err("a lie");
    // The daemon had no good block to give after the bad one was removed.
    assert!(
        matches!(error, FetchError::NotFound { cid } if cid == leaf),
        "{error}"
    );
    assert!(!daemon.state.lock().blocks.contains_key(&leaf));

    // One that lies for good: neither its leaves nor its roots nor its sizes are believed.
    let other = blob.leaves[2];
    daemon.lie(|command, _| {
        (command == "block/get").then(|| Reply::Good(b"something else".to_vec()))
    });
    for cid in [blob.root, other] {
        let error = read(&node, &cid).await.expect_err("a lie");
        let error = daemon_error(&error);
        assert!(
            matches!(error, KuboError::WrongBytes { cid: wrong } if *wrong == cid),
            "{error}"
        );
    }
    let error = node
        .fetch_and_pin(&blob.root, PinKind::Permanent, SOON)
        .await
        .expect_err("a lie");
    assert!(
        matches!(daemon_error(&error), KuboError::WrongBytes { .. }),
        "{error}"
    );
    assert!(node.pins().await.expect("pins").is_empty());
    assert!(daemon.state.lock().pins.is_empty());
}

#[tokio::test]
async fn damage_is_found_and_fetched_anew() {
    let blob = blob();
    let (daemon, _folder, node) = daemon_with(&blob).await;
    let kind = PinKind::Permanent;
    node.fetch_and_pin(&blob.root, kind, SOON)
        .await
        .expect("a pin");
    assert!(
        node.check(&blob.root, u64::MAX)
            .await
            .expect("a check")
            .is_whole()
    );

    let leaf = blob.leaves[1];
    daemon
        .state
        .lock()
        .blocks
        .insert(leaf, Bytes::from(vec![7; 1_000]));
    let found = node.check(&blob.root, u64::MAX).await.expect("a check");
    assert_eq!(
        (&found.damaged[..], &found.missing[..]),
        (&[leaf][..], &[leaf][..])
    );
    assert!(found.unpinned && !node.has(&blob.root).await.expect("a look"));
    let error = node.fetch_and_pin(&blob.root, kind, SOON).await;
    assert!(
        matches!(error, Err(FetchError::NotFound { .. })),
        "nobody has it"
    );

    daemon.state.lock().swarm.clone_from(&blob.blocks);
    let fetched = node
        .fetch_and_pin(&blob.root, kind, SOON)
        .await
        .expect("the blob");
    assert_eq!(fetched.blocks, 4);
    assert!(
        node.check(&blob.root, u64::MAX)
            .await
            .expect("a check")
            .is_whole()
    );
    assert_eq!(read(&node, &blob.root).await.expect("the blob"), blob.data);
}

#[tokio::test]
async fn a_pin_that_the_daemon_forgot_is_noticed_and_set_again() {
    let blob = blob();
    let (daemon, _folder, node) = daemon_with(&blob).await;
    let kind = PinKind::Permanent;
    node.fetch_and_pin(&blob.root, kind, SOON)
        .await
        .expect("a pin");
    daemon.state.lock().pins.clear();
    let found = node.check(&blob.root, u64::MAX).await.expect("a check");
    assert!(found.unpinned && found.missing.is_empty() && !found.is_whole());
    node.fetch_and_pin(&blob.root, kind, SOON)
        .await
        .expect("a pin");
    assert!(daemon.state.lock().pins.contains(&blob.root));
}

#[tokio::test]
async fn a_leaf_of_another_size_is_not_there() {
    let blob = blob();
    let (daemon, _folder, node) = daemon_with(&blob).await;
    daemon.lie(|command, _| {
        (command == "block/stat").then(|| Reply::Good(br#"{"Size":999}"#.to_vec()))
    });
    assert!(!node.has(&blob.root).await.expect("a look"));
    let error = node.pin(&blob.root, PinKind::Permanent).await;
    assert!(matches!(error, Err(PinError::Incomplete { .. })));
}

#[tokio::test]
async fn what_is_sent_gets_the_name_that_it_has() {
    let blob = blob();
    let (daemon, _folder, node) = daemon_with(&blob).await;
    let mut namer = Namer::new(1_000);
    namer.push(&blob.data);
    let expect = namer.finish();
    let cid = node.put(&mut &blob.data[..]).await.expect("a name");
    assert_eq!((cid, &daemon.state.lock().uploads[0]), (expect, &blob.data));
    node.put(&mut &b""[..]).await.expect("an empty blob");

    let name = base58(&raw_cid(b"something else"));
    daemon.lie(move |command, _| {
        let answer = format!("{{\"Hash\":\"{name}\"}}\n").into_bytes();
        (command == "add").then_some(Reply::Good(answer))
    });
    let error = node.put(&mut &blob.data[..]).await.expect_err("a lie");
    let PutError::Disk(StoreError::Daemon(KuboError::WrongName { expected, .. })) = error else {
        panic!("{error}")
    };
    assert_eq!(expected, expect);
    for answer in ["", "{}\n", "{\"Hash\":\"../etc\"}\n", "nothing"] {
        daemon.lie(move |command, _| {
            (command == "add").then(|| Reply::Good(answer.as_bytes().to_vec()))
        });
        let error = node.put(&mut &blob.data[..]).await.expect_err("no answer");
        assert!(
            matches!(
                error,
                PutError::Disk(StoreError::Daemon(KuboError::Answer { .. }))
            ),
            "{error}"
        );
    }
}

#[tokio::test]
async fn what_breaks_off_is_no_upload() {
    let blob = blob();
    let (daemon, _folder, node) = daemon_with(&blob).await;
    let failing = futures::stream::iter([
        Ok(Bytes::from_static(b"some bytes")),
        Err(std::io::Error::other("unplugged")),
    ]);
    let mut reader = tokio_util::io::StreamReader::new(failing);
    let error = node.put(&mut reader).await.expect_err("unplugged");
    assert!(matches!(error, PutError::Read(_)), "{error}");
    assert!(daemon.state.lock().uploads.is_empty());

    // A full disk, said before everything was sent.
    daemon.lie(|command, _| {
        let message = br#"{"Message":"write: no space left on device"}"#.to_vec();
        (command == "add").then_some(Reply::Status(500, message))
    });
    let error = node
        .put(&mut &blob.data[..])
        .await
        .expect_err("a full disk");
    assert!(
        matches!(&error, PutError::Disk(error) if error.is_full()),
        "{error}"
    );
    assert!(error.is_retryable());
}

#[tokio::test]
async fn answers_are_bounded() {
    let blob = blob();
    let (daemon, _folder, node) = daemon_with(&blob).await;
    daemon.lie(|command, _| {
        (command == "block/get").then(|| Reply::Good(vec![0; BLOCK_BYTES_MAX + 1]))
    });
    let error = read(&node, &blob.root).await.expect_err("too much");
    assert!(
        matches!(daemon_error(&error), KuboError::TooLong { .. }),
        "{error}"
    );
    daemon.lie(|command, _| (command == "block/get").then_some(Reply::Endless(u64::MAX / 2)));
    let error = read(&node, &blob.root).await.expect_err("too much");
    assert!(
        matches!(daemon_error(&error), KuboError::TooLong { .. }),
        "{error}"
    );

    daemon.lie(|command, _| {
        (command == "pin/ls").then(|| Reply::Good(vec![b' '; KUBO_JSON_BYTES_MAX + 1]))
    });
    let kind = PinKind::Permanent;
    node.fetch_and_pin(&blob.root, kind, SOON)
        .await
        .expect("a pin");
    let error = node
        .check(&blob.root, u64::MAX)
        .await
        .expect_err("too much");
    assert!(
        matches!(daemon_error(&error), KuboError::TooLong { .. }),
        "{error}"
    );

    daemon.lie(|command, _| {
        (command == "block/get").then(|| Reply::Status(500, vec![b'x'; 1_000_000]))
    });
    let error = read(&node, &blob.root).await.expect_err("a refusal");
    assert!(error.to_string().len() < 400, "{error}");
    daemon.lie(|command, _| (command == "block/get").then_some(Reply::Broken));
    let error = read(&node, &blob.root).await.expect_err("half an answer");
    assert!(
        matches!(daemon_error(&error), KuboError::Answer { .. }),
        "{error}"
    );
}

#[tokio::test]
async fn silence_costs_no_more_than_the_deadline() {
    let blob = blob();
    let (daemon, _folder, node) = daemon_with(&blob).await;
    daemon.lie(|command, _| (command == "block/get").then_some(Reply::Silence));
    let error = node.get(&blob.root, Duration::from_millis(200)).await;
    assert!(matches!(error, Err(FetchError::Timeout { cid }) if cid == blob.root));
}

#[tokio::test]
async fn a_daemon_that_is_gone_is_worth_another_try() {
    let blob = blob();
    let (daemon, folder, node) = daemon_with(&blob).await;
    let api = daemon.api.clone();
    drop(daemon);
    let error = loop {
        // A connection may still be open for a moment.
        if let Err(error) = read(&node, &blob.root).await
            && let KuboError::Unreachable { .. } = daemon_error(&error)
        {
            break error;
        }
    };
    assert!(error.is_retryable(), "{error}");
    node.close().await;
    let api = ApiUrl::parse(&api, false).expect("an address");
    let error = KuboNode::start(KuboConfig::new(folder.path(), api)).await;
    assert!(error.is_err_and(|error| error.is_retryable()));
}

#[tokio::test]
async fn a_redirection_is_not_followed() {
    let blob = blob();
    let (daemon, _folder, node) = daemon_with(&blob).await;
    daemon.lie(|command, _| (command == "block/get").then_some(Reply::Status(307, Vec::new())));
    let error = read(&node, &blob.root).await.expect_err("a redirection");
    let error = daemon_error(&error);
    assert!(matches!(error, KuboError::Refused { status: 307, .. }) && !error.is_retryable());
}

#[tokio::test]
async fn the_authorization_goes_to_the_daemon_and_into_no_error() {
    use std::os::unix::fs::PermissionsExt;
    let daemon = Daemon::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("authorization");
    std::fs::write(&path, "Bearer hunter2").expect("a file");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("a mode");
    let api = ApiUrl::parse(&daemon.api, false).expect("an address");
    let mut config = KuboConfig::new(folder.path().join("data"), api);
    config.authorization = Some(path);
    let node = KuboNode::start(config).await.expect("a node");
    assert_eq!(daemon.state.lock().authorization, ["Bearer hunter2"]);
    // A daemon that repeats it.
    daemon.lie(|_, _| Some(Reply::Status(403, b"hunter2 is wrong".to_vec())));
    let error = read(&node, &blob().root).await.expect_err("forbidden");
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
}

#[tokio::test]
async fn what_a_daemon_does_not_offer_is_said() {
    let blob = blob();
    let (daemon, _folder, node) = daemon_with(&blob).await;
    let error = node
        .provide(&blob.root, SOON)
        .await
        .expect_err("no such command");
    assert!(!error.is_retryable());
    assert_eq!(
        error.to_string(),
        "this IPFS daemon does not offer dht/provide"
    );
    // The older name is tried; the daemon itself is no answer.
    assert!(
        node.find_providers(&blob.root, SOON)
            .await
            .expect("an answer")
            .is_empty()
    );
    assert_eq!(daemon.calls("routing/findprovs"), 1);
    assert!(!node.shuts_out());
}

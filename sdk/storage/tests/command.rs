//! The command `stela-storage`, as a process: it makes an identity and a swarm key, runs a node
//! while no peer of the channel answers yet, and stops when it is told to.

#![allow(
    clippy::unwrap_used,
    reason = "in a test a failed unwrap is a failed test"
)]

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use rustix::process::{Pid, Signal, kill_process};
use stela_identity::tls::{TlsRoots, TlsSettings};
use stela_identity::{CertificateAuthority, Credentials, Subject, TlsAuthority, Validity};
use stela_protocol::config::{ChannelConfig, genesis};
use stela_protocol::{ChannelId, FORMAT_VERSION, Hash32, OrgId, pb};
use stela_storage::{StorageClient, StorageEndpoint};

const VALIDITY: Validity = Validity {
    not_before_ms: 1_600_000_000_000,
    not_after_ms: 4_000_000_000_000,
};

fn command() -> Command {
    Command::new(env!("CARGO_BIN_EXE_stela-storage"))
}

fn run(arguments: &[&str]) -> Output {
    command().args(arguments).output().unwrap()
}

fn init(data: &Path) -> String {
    let output = run(&["init", "--data", data.to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

#[test]
fn the_identity_is_made_once() {
    let data = tempfile::tempdir().unwrap();
    let first = init(data.path());
    assert_eq!(init(data.path()), first);
    let output = run(&["init", "--json", "--data", data.path().to_str().unwrap()]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["peer_id"], first);
}

#[test]
fn mistakes_are_one_readable_line() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("swarm.key");
    let key = key.to_str().unwrap();
    assert!(run(&["swarm-key", "--out", key]).status.success());
    let again = run(&["swarm-key", "--out", key]);
    let missing = run(&["--config", "/nowhere/storage.toml"]);
    for (output, expect) in [(again, "swarm.key"), (missing, "/nowhere/storage.toml")] {
        let words = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success());
        assert!(
            words.starts_with("stela-storage: ") && words.contains(expect),
            "{words}"
        );
        assert_eq!(words.lines().count(), 1, "{words}");
    }
}

#[test]
fn a_daemon_that_is_not_there_is_one_readable_line() {
    let folder = tempfile::tempdir().unwrap();
    prepare(folder.path());
    let config = folder.path().join("storage.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    let rest: Vec<_> = text
        .lines()
        .filter(|line| !line.contains("swarm_"))
        .collect();
    let (rest, address) = (rest.join("\n"), free_address());
    std::fs::write(
        &config,
        format!("{rest}\n[kubo]\napi = \"http://{address}\"\n"),
    )
    .unwrap();
    let output = command().arg("--config").arg(&config).output().unwrap();
    let words = String::from_utf8(output.stderr).unwrap();
    let expect = format!("the IPFS daemon at http://{address} cannot be reached");
    assert!(
        !output.status.success() && words.contains(&expect),
        "{words}"
    );
}

/// Everything that a node needs, in one folder; who asks it; and where it answers.
struct Site {
    tls: TlsSettings,
    member: Arc<Credentials>,
    endpoint: StorageEndpoint,
}

fn prepare(folder: &Path) -> Site {
    let organization = OrgId::new("HospitalA").unwrap();
    let authority = CertificateAuthority::create(&organization, VALIDITY).unwrap();
    let tls_authority = TlsAuthority::create(&organization, VALIDITY).unwrap();
    let issue = |role: &str| {
        let subject = Subject {
            common_name: role.to_owned(),
            role: role.to_owned(),
            attributes: BTreeMap::new(),
            validity: VALIDITY,
        };
        authority.issue(&subject).unwrap()
    };
    let identity = tls_authority
        .issue("node", &["127.0.0.1".to_owned()], VALIDITY)
        .unwrap();
    for name in ["identity", "tls"] {
        std::fs::create_dir(folder.join(name)).unwrap();
    }
    issue("storage").save(&folder.join("identity")).unwrap();
    identity.save(&folder.join("tls")).unwrap();

    let (peer_id, api) = (init(&folder.join("data")), free_address());
    let storage = pb::StorageEndpoint {
        peer_id,
        addresses: Vec::new(),
        api: api.clone(),
    };
    let config = config(&authority, &tls_authority, storage);
    let block = genesis(&config, 1).unwrap().to_pb().encode_to_vec();
    std::fs::write(folder.join("genesis.block"), block).unwrap();
    let key = folder.join("swarm.key");
    assert!(
        run(&["swarm-key", "--out", key.to_str().unwrap()])
            .status
            .success()
    );
    std::fs::write(folder.join("storage.toml"), settings(&api)).unwrap();

    let channel = ChannelConfig::from_pb(config).unwrap();
    let roots = TlsRoots::new().add_config(&channel).unwrap();
    Site {
        tls: TlsSettings::new(identity, &roots).unwrap(),
        member: Arc::new(issue("practitioner")),
        endpoint: StorageEndpoint::all(&channel).remove(0),
    }
}

fn config(
    authority: &CertificateAuthority,
    tls: &TlsAuthority,
    storage: pb::StorageEndpoint,
) -> pb::ChannelConfig {
    let organization = authority.organization().to_string();
    let orderer = Subject {
        common_name: "orderer0".to_owned(),
        role: "orderer".to_owned(),
        attributes: BTreeMap::new(),
        validity: VALIDITY,
    };
    pb::ChannelConfig {
        version: FORMAT_VERSION,
        channel: "care".to_owned(),
        organizations: vec![pb::Organization {
            id: organization.clone(),
            root_certificate: authority.root_der().to_vec().into(),
            tls_root_certificates: vec![tls.root_der().to_vec().into()],
            storage: vec![storage],
            ..Default::default()
        }],
        orderers: vec![pb::Orderer {
            id: 1,
            organization,
            certificate: authority.issue(&orderer).unwrap().certificate.der().clone(),
            tls_fingerprint: Hash32::ZERO.to_bytes(),
            ..Default::default()
        }],
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

fn settings(api: &str) -> String {
    format!(
        r#"
        organization = "HospitalA"
        name = "storage0"
        data = "data"
        listen = "{api}"
        swarm_listen = ["/ip4/127.0.0.1/tcp/0"]
        swarm_key = "swarm.key"
        identity = "identity"
        tls = "tls"
        genesis = "genesis.block"
        channel = "care"
        contract = "healthcare"
        gateways = [{{ organization = "HospitalA", address = "127.0.0.1:1" }}]
        "#
    )
}

/// Ends the process whatever becomes of the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn a_node_serves_members_and_stops_when_told() {
    let folder = tempfile::tempdir().unwrap();
    let site = prepare(folder.path());
    let config = folder.path().join("storage.toml");
    let log = std::fs::File::create(folder.path().join("log")).unwrap();
    let child = command()
        .arg("--config")
        .arg(config)
        .stderr(Stdio::from(log))
        .spawn()
        .unwrap();
    let mut running = Running(child);

    let channel = ChannelId::new("care").unwrap();
    let client = StorageClient::connect(&site.endpoint, &channel, &site.tls, site.member).unwrap();
    let deadline = Duration::from_secs(60);
    let status = tokio::time::timeout(deadline, async {
        let mut poll = tokio::time::interval(Duration::from_millis(50));
        loop {
            poll.tick().await;
            if let Ok(status) = client.status().await {
                return status;
            }
        }
    });
    let status = status.await.unwrap();
    assert_eq!((status.name.as_str(), status.permanent), ("storage0", 0));
    assert_eq!(status.peer_id, site.endpoint.peer_id.to_string());
    assert_eq!(status.addresses.len(), 1);

    kill_process(Pid::from_child(&running.0), Signal::TERM).unwrap();
    let ended = tokio::task::spawn_blocking(move || running.0.wait());
    let ended = tokio::time::timeout(deadline, ended)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    let log = std::fs::read_to_string(folder.path().join("log")).unwrap();
    assert!(ended.success(), "{log}");
}

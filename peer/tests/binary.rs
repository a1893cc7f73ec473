//! The program: what it says, how it ends.

#![allow(clippy::unwrap_used, reason = "what fails here is a failed test")]

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

mod support;

use rustix::process::{Pid, Signal, kill_process};
use support::{Home, Organization};

fn config(home: &Home, change: impl Fn(String) -> String) -> std::path::PathBuf {
    let text = "organization = \"A\"\nname = \"peer0\"\nlisten = \"127.0.0.1:0\"\n\
                data = \"data\"\nidentity = \"identity\"\ntls = \"tls\"\n\
                root_certificates = [\"ca/ca.pem\"]\n\
                tls_root_certificates = [\"ca/tls-ca.pem\"]\n";
    let path = home.path().join("peer.toml");
    std::fs::write(&path, change(text.to_owned())).expect("a test can write its files");
    path
}

fn program(config: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stela-peer"));
    command
        .arg("--config")
        .arg(config)
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}

fn ended(config: &Path) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = program(config).output().expect("the program is built");
    (status.code(), String::from_utf8_lossy(&stderr).into_owned())
}

/// Ends with the test that started it, however that ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until the program says these words.
fn until_it_says(child: &mut Child, words: &str) -> BufReader<std::process::ChildStderr> {
    let mut lines = BufReader::new(child.stderr.take().expect("it is piped"));
    let mut line = String::new();
    while !line.contains(words) {
        line.clear();
        let read = lines.read_line(&mut line).expect("a pipe can be read");
        assert_ne!(read, 0, "the program ended without saying {words:?}");
    }
    lines
}

#[test]
fn it_stops_cleanly_when_it_is_told_to() {
    let home = Home::new(&Organization::new("A"), "peer0");
    for signal in [Signal::TERM, Signal::INT] {
        let child = program(&config(&home, |text| text)).spawn();
        let mut running = Running(child.expect("it starts"));
        let mut rest = until_it_says(&mut running.0, "the peer is ready");
        kill_process(Pid::from_child(&running.0), signal).expect("it runs");
        let mut words = String::new();
        rest.read_to_string(&mut words).expect("a pipe can be read");
        let status = running.0.wait().expect("it ends");
        assert_eq!(status.code(), Some(0), "{words}");
    }
}

#[test]
fn it_runs_on_and_stops_when_its_log_cannot_be_written() {
    let home = Home::new(&Organization::new("A"), "peer0");
    let child = program(&config(&home, |text| text)).spawn();
    let mut running = Running(child.expect("it starts"));
    drop(until_it_says(&mut running.0, "the peer is ready"));
    kill_process(Pid::from_child(&running.0), Signal::TERM).expect("it runs");
    assert_eq!(running.0.wait().expect("it ends").code(), Some(0));
}

#[test]
fn what_is_wrong_is_said_in_one_line_with_an_exit_code() {
    let home = Home::new(&Organization::new("A"), "peer0");
    let check = |change: fn(String) -> String, code: i32, expect: &str| {
        let (found, words) = ended(&config(&home, change));
        assert_eq!(found, Some(code), "{words}");
        let errors: Vec<&str> = words
            .lines()
            .filter(|l| l.starts_with("stela-peer: "))
            .collect();
        assert!(errors.len() == 1 && errors[0].contains(expect), "{words}");
    };
    check(|text| text.replace("name =", "nam ="), 2, "peer.toml");
    check(|text| text.replace("\"A\"", "\"B\""), 2, "certificate");
    check(
        |text| text.replace("\"identity\"", "\"nowhere\""),
        2,
        "nowhere",
    );
    check(
        |text| text.replace("ca/ca.pem", "peer.toml"),
        2,
        "peer.toml",
    );
    check(
        |text| text.replace("127.0.0.1:0", "192.0.2.1:1"),
        2,
        "192.0.2.1:1",
    );
    check(
        |text| text.replace("\"data\"", "\"peer.toml/x\""),
        3,
        "data folder",
    );
    let (code, _) = ended(Path::new("/nowhere/peer.toml"));
    assert_eq!(code, Some(2));
    let none = Command::new(env!("CARGO_BIN_EXE_stela-peer"))
        .output()
        .expect("it starts");
    assert_eq!(none.status.code(), Some(2));
}

//! What `stela` does without a network: authorities, enrolment, help, and how it fails.

use std::path::Path;
use std::process::{Command, Output};

fn stela(folder: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stela"));
    command
        .current_dir(folder)
        .env_remove("STELA_PROFILE")
        .args(words);
    command.output().expect("the binary of this package runs")
}

fn json(output: &Output) -> serde_json::Value {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).expect("--json prints JSON")
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

#[test]
fn an_authority_enrols_a_patient_and_a_profile_shows_her() {
    let folder = folder();
    let here = folder.path();
    json(&stela(
        here,
        &[
            "--json",
            "ca",
            "init",
            "--organization",
            "HospitalA",
            "authority",
        ],
    ));
    let id = "00112233445566778899aabbccddeeff";
    let attribute = format!("patient={id}");
    let words = [
        "--json",
        "ca",
        "enroll",
        "--ca",
        "authority",
        "--name",
        "patient-1",
        "--role",
        "patient",
        "--attribute",
        &attribute,
        "--out",
        "me",
    ];
    let enrolled = json(&stela(here, &words));
    std::fs::create_dir(here.join("me/roots")).expect("a folder");
    std::fs::copy(
        here.join("authority/tls-ca/tls-ca.pem"),
        here.join("me/roots/HospitalA.pem"),
    )
    .expect("the root");
    std::fs::write(
        here.join("me/profile.toml"),
        "organization = \"HospitalA\"\nchannel = \"care\"\ncontract = \"healthcare\"\n\
         identity = \"identity\"\ntls = \"tls\"\ntls_roots = \"roots\"\n\
         swarm_key = \"swarm.key\"\nencryption_key = \"encryption.key\"\npeers = []\n",
    )
    .expect("the profile");
    let who = json(&stela(here, &["--json", "--profile", "me", "whoami"]));
    assert_eq!(who["attributes"]["patient"], id);
    assert_eq!(who["fingerprint"], enrolled["fingerprint"]);
    let again = stela(here, &words);
    assert_eq!(again.status.code(), Some(1), "an identity is not replaced");
}

#[test]
fn failures_have_their_exit_codes_and_say_what_to_do() {
    let folder = folder();
    let check = |words: &[&str], code: i32, said: &str| {
        let output = stela(folder.path(), words);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{words:?}: {stderr}");
        assert!(stderr.contains(said), "{words:?}: {stderr}");
    };
    check(&["whoami"], 1, "--profile");
    check(&["no-such-command"], 2, "unrecognized");
    check(
        &["record", "read", "xyz", "--purpose", "TREAT", "--out", "f"],
        2,
        "hexadecimal",
    );
    let id = "00112233445566778899aabbccddeeff";
    check(
        &["record", "read", id, "--purpose", "NOPE", "--out", "f"],
        2,
        "purpose",
    );
    check(
        &["consent", "grant", "--purpose", "TREAT"],
        2,
        "--organization",
    );
    check(
        &["ca", "init", "--organization", "../x", "a"],
        2,
        "organization",
    );
    check(
        &["record", "erase", id, "--reason", "cleaning-up"],
        2,
        "retention-over",
    );
    check(&["record", "list", "--state", "lost"], 2, "erased");
    check(
        &["patient", "accounting", "--from", "yesterday"],
        2,
        "--from",
    );
    check(
        &["receipt", "verify", "r.json", "--genesis", "none.block"],
        1,
        "none.block",
    );
    let enroll = [
        "ca", "enroll", "--ca", "none", "--name", "n", "--out", "o", "--role",
    ];
    check(&[&enroll[..], &["practitioner"]].concat(), 1, "ca init");
    check(
        &[&enroll[..], &["practitionerr"]].concat(),
        2,
        "no such role",
    );
    check(&[&enroll[..], &["patient"]].concat(), 1, "patient=ID");
}

#[test]
fn a_failure_is_json_for_programs_too() {
    let folder = folder();
    let output = stela(folder.path(), &["--json", "whoami"]);
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(value["kind"], "failed");
    assert_eq!(value["retryable"], false);
}

#[test]
fn the_doctor_looks_at_a_profile_without_a_network() {
    let folder = folder();
    let here = folder.path();
    let nothing = stela(here, &["--json", "doctor"]);
    assert_eq!(nothing.status.code(), Some(1));
    let report: serde_json::Value = serde_json::from_slice(&nothing.stdout).expect("one document");
    assert_eq!(report["well"], false);
    assert_eq!(report["findings"][0]["check"], "files");
    let text = stela(here, &["doctor", "--config", "none.toml"]);
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(
        text.contains("FAILED") && text.contains("What to do"),
        "{text}"
    );
    assert!(!text.contains('\u{1b}'), "colours only on a terminal");
    let wrong = stela(here, &["doctor", "--genesis", "none.block"]);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("none.block"));
}

#[test]
fn completions_and_help_are_there() {
    let folder = folder();
    for shell in ["bash", "zsh", "fish"] {
        let output = stela(folder.path(), &["completions", shell]);
        assert!(
            String::from_utf8_lossy(&output.stdout).contains("stela"),
            "{shell}"
        );
    }
    let help = stela(folder.path(), &["--help"]);
    assert!(String::from_utf8_lossy(&help.stdout).contains("Exit codes"));
}

#[test]
fn what_is_said_about_people_is_checked_before_anybody_is_asked() {
    let folder = folder();
    let check = |words: &[&str], said: &str| {
        let output = stela(folder.path(), words);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{words:?}: {stderr}");
        assert!(stderr.contains(said), "{words:?}: {stderr}");
    };
    let id = "00112233445566778899aabbccddeeff";
    let certificate = id.repeat(2);
    let name = ["delegate", "name", &certificate, "--scope", "read"];
    check(&[&name[..], &["--kind", "GUARD"]].concat(), "--days");
    let child = ["--kind", "CHILD", "--days", "1"];
    check(&[&name[..], &child].concat(), "GUARD");
    let both = ["--kind", "GUARD", "--days", "1", "--until", "5"];
    check(&[&name[..], &both].concat(), "--until");
    check(&["patient", "add-certificate", id], "64");
    check(&["patient", "rebind", &certificate], "--patient");
    check(&["consent", "answer", id], "--approve");
    check(
        &["consent", "answer", id, "--decline", "--days", "1"],
        "--decline",
    );
    let ask = ["consent", "request", "--patient", id, "--purpose", "DSRCH"];
    check(&[&ask[..], &["--reason", "curiosity"]].concat(), "referral");
    let study = ["--reason", "study", "--study", id];
    check(&[&ask[..], &study].concat(), "--research");
    check(&["consent", "policy", "grant", "Policy-none"], "policy");
    check(&["access", "check", id], "--purpose");
    let whom = ["--purpose", "TREAT", "--role", "practitioner"];
    check(
        &[&["access", "check", id][..], &whom].concat(),
        "--organization",
    );
}

//! What `stela` does without a network: authorities, enrolment, help, and how it fails.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

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

/// Whom the patient's certificate names.
const PATIENT: &str = "00112233445566778899aabbccddeeff";

/// What enrols a patient into the folder `me`.
fn enrol(here: &Path) -> Output {
    let attribute = format!("patient={PATIENT}");
    let words = ["--json", "ca", "enroll", "--ca", "authority"];
    let whom = ["--name", "patient-1", "--role", "patient"];
    let words = [
        &words[..],
        &whom,
        &["--attribute", &attribute, "--out", "me"],
    ]
    .concat();
    stela(here, &words)
}

/// Makes an authority, and a patient with her profile; says what enrolling her said.
fn patient(here: &Path) -> serde_json::Value {
    let init = [
        "--json",
        "ca",
        "init",
        "--organization",
        "HospitalA",
        "authority",
    ];
    json(&stela(here, &init));
    let enrolled = json(&enrol(here));
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
    enrolled
}

#[test]
fn an_authority_enrols_a_patient_and_a_profile_shows_her() {
    let folder = folder();
    let here = folder.path();
    let enrolled = patient(here);
    let who = json(&stela(here, &["--json", "--profile", "me", "whoami"]));
    assert_eq!(who["attributes"]["patient"], PATIENT);
    assert_eq!(who["fingerprint"], enrolled["fingerprint"]);
    let again = enrol(here);
    assert_eq!(again.status.code(), Some(1), "an identity is not replaced");
}

/// `stela consent import --dry-run` with a document on standard input.
fn import(here: &Path, document: &str, options: &[&str]) -> Output {
    let words = [
        "--json",
        "--profile",
        "me",
        "consent",
        "import",
        "-",
        "--dry-run",
    ];
    let mut child = Command::new(env!("CARGO_BIN_EXE_stela"))
        .current_dir(here)
        .args([&words[..], options].concat())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary of this package runs");
    let mut input = child.stdin.take().expect("it is piped");
    input.write_all(document.as_bytes()).expect("it reads");
    drop(input);
    child.wait_with_output().expect("it ends")
}

/// One of R4's own examples: an assent to all that was offered, within a month of 2015.
#[test]
fn a_fhir_consent_is_shown_as_what_it_would_be_without_a_network() {
    let folder = folder();
    let here = folder.path();
    patient(here);
    let example = include_str!("../../fhir/tests/examples/notTime.json");
    let means = format!("Patient/f001={PATIENT}");
    let (means, offered) = (["--means", &means], ["--offered", "Policy-all-normal"]);
    let zone = ["--zone", "-05:00"];
    let shown = json(&import(here, example, &[means, offered, zone].concat()));
    assert_eq!(shown["patient"], PATIENT);
    assert_eq!(shown["consent"]["type"], "permit");
    // From midnight of 2015-01-01 to the end of 2015-02-01, where clocks are five hours behind.
    let period = serde_json::json!([1_420_088_400_000_u64, 1_422_853_200_000_u64]);
    assert_eq!(shown["consent"]["period"], period);

    let refused = |options: &[&str], document: &str, said: &str| {
        let output = import(here, document, options);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains(said), "{stderr}");
    };
    let unknown = "Consent.policyRule: it is not known which terms";
    refused(&means, example, unknown);
    refused(&offered, example, "Consent.patient: it is not known whom");
    let both = [means, offered].concat();
    let draft = example.replace("\"active\"", "\"draft\"");
    refused(&both, &draft, "Consent.status: only an active consent");
    refused(&both, "{}", "this is not valid FHIR R4");
    let missing = [
        "--profile",
        "me",
        "consent",
        "import",
        "none.json",
        "--dry-run",
    ];
    let missing = stela(here, &missing);
    assert!(String::from_utf8_lossy(&missing.stderr).contains("none.json"));
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
    let id = PATIENT;
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
    let id = PATIENT;
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
    let import = ["consent", "import", "consent.json"];
    check(
        &[&import[..], &["--means", "HospitalB"]].concat(),
        "REFERENCE=WHAT",
    );
    check(&[&import[..], &["--zone", "UTC"]].concat(), "+01:00");
    let prove = ["device", "prove", "check", "proof.json"];
    let both = ["--receipt", "receipt.json", "--root", &certificate];
    check(&[&prove[..], &both].concat(), "--root");
    check(&[&prove[..], &["--genesis", "g"]].concat(), "--receipt");
    let whom = ["--purpose", "TREAT", "--role", "practitioner"];
    check(
        &[&["access", "check", id][..], &whom].concat(),
        "--organization",
    );
}

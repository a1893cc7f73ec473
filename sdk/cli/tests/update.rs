//! A change of the configuration from hand to hand, offline: shown, signed by one administrator
//! after the other, merged, and what is refused on the way.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use bytes::Bytes;
use stela_client::ChannelUpdate;
use stela_identity::{Certificate, Configuration};
use stela_protocol::{FORMAT_VERSION, Message, pb};

fn stela(folder: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stela"));
    command
        .current_dir(folder)
        .env_remove("STELA_PROFILE")
        .args(words);
    command.output().unwrap()
}

fn text(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(err));
    String::from_utf8(out.clone()).unwrap()
}

fn refusal(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr.clone()).unwrap()
}

const NAMES: [&str; 3] = ["HospitalA", "HospitalB", "HospitalC"];

/// Three organizations, each with an administrator's profile and an orderer's certificate.
fn consortium(folder: &Path) -> pb::ChannelConfig {
    let (mut organizations, mut orderers) = (Vec::new(), Vec::new());
    for (id, name) in (1..).zip(NAMES) {
        let ca = format!("{name}/authority");
        std::fs::create_dir(folder.join(name)).unwrap();
        text(&stela(folder, &["ca", "init", "--organization", name, &ca]));
        for role in ["admin", "orderer", "practitioner"] {
            let out = format!("{name}/{role}");
            let enroll = ["ca", "enroll", "--ca", &ca, "--name", role, "--role", role];
            text(&stela(folder, &[&enroll[..], &["--out", &out]].concat()));
            std::fs::create_dir(folder.join(&out).join("roots")).unwrap();
            let tls_root = folder.join(&ca).join("tls-ca/tls-ca.pem");
            let copy = folder.join(&out).join(format!("roots/{name}.pem"));
            std::fs::copy(tls_root, copy).unwrap();
            let profile = format!(
                "organization = \"{name}\"\nchannel = \"care\"\ncontract = \"healthcare\"\n\
                 identity = \"identity\"\ntls = \"tls\"\ntls_roots = \"roots\"\n\
                 swarm_key = \"swarm.key\"\nencryption_key = \"encryption.key\"\npeers = []\n"
            );
            std::fs::write(folder.join(&out).join("profile.toml"), profile).unwrap();
        }
        let der = |path: String| -> Bytes {
            let pem = pem::parse(std::fs::read(folder.join(path)).unwrap()).unwrap();
            pem.into_contents().into()
        };
        organizations.push(pb::Organization {
            id: name.to_owned(),
            root_certificate: der(format!("{ca}/ca/ca.pem")),
            tls_root_certificates: vec![der(format!("{ca}/tls-ca/tls-ca.pem"))],
            ..Default::default()
        });
        orderers.push(pb::Orderer {
            id,
            organization: name.to_owned(),
            address: format!("orderer0.{}.example:7050", name.to_lowercase()),
            certificate: der(format!("{name}/orderer/identity/cert.pem")),
            tls_fingerprint: Bytes::from_static(&[7; 32]),
        });
    }
    pb::ChannelConfig {
        version: FORMAT_VERSION,
        channel: "care".to_owned(),
        sequence: 4,
        organizations,
        orderers,
        orderer_quorum: 2,
        orderers_ever: 3,
        limits: Some(pb::ChannelLimits {
            window_ms: 300_000,
            block_transactions_max: 500,
            block_bytes_max: 1 << 20,
            envelope_bytes_max: 1 << 18,
        }),
        admin_policy: "OutOf(2, 'HospitalA.admin', 'HospitalB.admin', 'HospitalC.admin')"
            .to_owned(),
        ..Default::default()
    }
}

fn fingerprint(folder: &Path, profile: &str) -> String {
    let path = folder.join(profile).join("identity/cert.pem");
    Certificate::load(&path).unwrap().fingerprint().to_string()
}

/// Revokes a practitioner's certificate and removes the third orderer.
fn propose(folder: &Path, base: &pb::ChannelConfig) {
    let mut config = base.clone();
    let stolen = folder.join("HospitalB/practitioner/identity/cert.pem");
    let stolen = Certificate::load(&stolen).unwrap().fingerprint();
    config.organizations[1].revoked.push(stolen.to_bytes());
    config.orderers.pop();
    let base = Configuration::new(base.encode_to_vec().into()).unwrap();
    let update = ChannelUpdate::propose(Arc::new(base), config, "a laptop was stolen").unwrap();
    std::fs::write(folder.join("change.json"), update.to_json()).unwrap();
}

#[test]
fn administrators_sign_one_after_the_other() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    propose(here, &consortium(here));
    let [a, b, c] = NAMES.map(|name| format!("{name}/admin"));
    let update = |profile: &str, words: &[&str]| {
        let update = ["--profile", profile, "channel", "update"];
        stela(here, &[&update[..], words].concat())
    };

    let shown = text(&update(&a, &["show", "change.json"]));
    let orderer = Certificate::load(&here.join("HospitalC/orderer/identity/cert.pem")).unwrap();
    let until = shown.split("orderer, until ").nth(1).unwrap();
    let until = until.split(')').next().unwrap();
    let expect = format!(
        "channel care: configuration 4 becomes 5\n\
         why: a laptop was stolen\n\
         \x20 - orderer 3: HospitalC at orderer0.hospitalc.example:7050, certificate {} \
         (orderer of HospitalC, orderer, until {until}), TLS certificate {}\n\
         \x20 + HospitalB revoked: certificate {}\n\
         policy: OutOf(2, 'HospitalA.admin', 'HospitalB.admin', 'HospitalC.admin'), \
         not satisfied yet\n",
        orderer.fingerprint(),
        "07".repeat(32),
        fingerprint(here, "HospitalB/practitioner"),
    );
    assert_eq!(shown, expect);

    // Nobody is at a terminal to look at it.
    assert!(refusal(&update(&a, &["sign", "change.json"])).contains("--yes"));
    std::fs::copy(here.join("change.json"), here.join("copy.json")).unwrap();
    let signed = text(&update(&a, &["sign", "change.json", "--yes"]));
    let by_a = format!(
        "signed by admin of HospitalA (admin), certificate {}\n",
        fingerprint(here, &a)
    );
    assert!(
        signed.contains(&by_a) && signed.contains("not satisfied yet"),
        "{signed}"
    );
    assert!(refusal(&update(&a, &["sign", "change.json", "--yes"])).contains("signed already"));
    text(&update(&c, &["sign", "copy.json", "--yes"]));
    let merged = text(&update(&b, &["merge", "change.json", "copy.json"]));
    assert!(
        merged.contains(&by_a) && merged.contains("which is satisfied"),
        "{merged}"
    );

    let json = text(&update(&b, &["--json", "show", "change.json"]));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["from"], &json["to"]), (&4.into(), &5.into()));
    assert_eq!(json["satisfied"], true);
    assert_eq!(json["signatures"].as_array().unwrap().len(), 2);
    assert_eq!(json["changes"]["removed"].as_array().unwrap().len(), 1);
    let file = std::fs::read_to_string(here.join("change.json")).unwrap();
    assert!(!file.contains("PRIVATE"), "nothing in the file is secret");
}

#[test]
fn signatures_that_would_not_count_and_other_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let mut config = consortium(here);
    propose(here, &config);
    let update = |profile: &str, words: &[&str]| {
        let update = ["--profile", profile, "channel", "update"];
        stela(here, &[&update[..], words].concat())
    };
    let admin = "HospitalA/admin";
    // A role that the policy does not ask for satisfies nothing.
    text(&update(
        "HospitalA/practitioner",
        &["sign", "change.json", "--yes"],
    ));
    let two = text(&update(
        "HospitalB/practitioner",
        &["sign", "change.json", "--yes"],
    ));
    assert!(two.contains("not satisfied yet"), "{two}");
    // Whom the configuration in force has revoked cannot sign.
    let revoked = Certificate::load(&here.join("HospitalA/admin/identity/cert.pem")).unwrap();
    config.organizations[0]
        .revoked
        .push(revoked.fingerprint().to_bytes());
    propose(here, &config);
    assert!(refusal(&update(admin, &["sign", "change.json", "--yes"])).contains("revoked"));
    // Signatures of another change are not taken over.
    std::fs::copy(here.join("change.json"), here.join("other.json")).unwrap();
    config.organizations[0].revoked.clear();
    propose(here, &config);
    assert!(refusal(&update(admin, &["merge", "change.json", "other.json"])).contains("different"));
    std::fs::write(here.join("other.json"), "{}").unwrap();
    for words in [
        ["show", "other.json"],
        ["show", "nothing.json"],
        ["submit", "other.json"],
    ] {
        assert!(
            refusal(&update(admin, &words)).contains(words[1]),
            "{words:?}"
        );
    }
}

#[test]
fn help_says_how_it_goes() {
    let folder = tempfile::tempdir().unwrap();
    let help = text(&stela(folder.path(), &["channel", "update", "--help"]));
    for word in [
        "offline",
        "revoke",
        "add-orderer",
        "remove-orderer",
        "set-contract",
        "sign",
    ] {
        assert!(help.contains(word), "{word}: {help}");
    }
    let unsaid = ["channel", "update", "revoke", "00"];
    assert_eq!(stela(folder.path(), &unsaid).status.code(), Some(2));
}

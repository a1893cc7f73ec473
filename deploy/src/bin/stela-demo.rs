//! The demonstration of Stela, as `deploy/demo.sh` runs it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use stela_consent::Hex;
use stela_deploy::evidence::Evidence;
use stela_deploy::network::{self, Network};
use stela_deploy::process::{binary, program, stopwatch};
use stela_deploy::report::{Findings, Report, Step};
use stela_deploy::story::Story;
use stela_deploy::users;
use tracing::Level;

/// Three hospitals share one patient's record under her consent, break the glass, run a study and a
/// ward of devices, on this machine, with every process, disk and connection that a real network
/// has.
///
/// The story is told as it goes. What is true at the end is judged by a separate process,
/// `stela-verify`, and written to `report.json`.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Where the report, the documents and the network go. What an earlier run left there is
    /// removed.
    #[arg(long, default_value = "target/demo")]
    out: PathBuf,
    /// Leave the network running and print how to go on with `stela`.
    #[arg(long)]
    keep: bool,
    /// The contract's WebAssembly module; without it, the one built beside this program.
    #[arg(long)]
    contract: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    program("stela-demo", Level::WARN, run(Arguments::parse())).await
}

fn say(line: &str) {
    println!("{line}");
}

async fn run(arguments: Arguments) -> anyhow::Result<bool> {
    let out = prepare(&arguments.out)?;
    let contract = stela_deploy::contract_module(arguments.contract.as_deref())?;
    let package = stela_deploy::package(&std::fs::read(contract)?)?;
    let patients = [Hex(rand::random()), Hex(rand::random())];
    say("Three hospitals, one patient, one record; then one more patient, and a ward.\n");
    let started = stopwatch();
    let everybody = users::cast(patients);
    let folder = out.join("network");
    let mut network = Network::create(&folder, &package, &everybody, &|step| {
        say(&format!("          {step}"))
    })
    .await?;
    let mut steps = vec![Step {
        what: "start the network".to_owned(),
        seconds: started.elapsed().as_secs_f64(),
    }];
    say(&format!("{:6.2} s  the network is up", steps[0].seconds));
    let documents = out.join("documents");
    std::fs::create_dir_all(&documents)?;
    let told = Story::new(&mut network, documents, &say)
        .tell(patients)
        .await?;
    steps.extend(told.steps);
    let resident_bytes = network.resident_bytes();
    let started = stopwatch();
    let findings = judge(&out, &told.evidence).await?;
    steps.push(Step {
        what: "verify".to_owned(),
        seconds: started.elapsed().as_secs_f64(),
    });
    let document_bytes = told.document_bytes;
    let report = Report {
        findings,
        steps,
        resident_bytes,
        document_bytes,
    };
    let path = out.join("report.json");
    std::fs::write(&path, serde_json::to_vec_pretty(&report)?)?;
    show(&report, &path);
    if arguments.keep {
        go_on(&network, &told.evidence);
        network.keep()?;
    } else {
        network.stop()?;
    }
    Ok(report.findings.all_true())
}

/// Empties the folder of what an earlier run left; ends its network if that was kept.
fn prepare(out: &Path) -> anyhow::Result<PathBuf> {
    std::fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    let out = out.canonicalize()?;
    let network = out.join("network");
    if network::network_file(&network).exists() {
        network::down(&network)?;
    }
    for folder in [network, out.join("documents")] {
        if folder.exists() {
            std::fs::remove_dir_all(&folder)?;
        }
    }
    Ok(out)
}

/// Has another process judge, which gets only the evidence.
async fn judge(out: &Path, evidence: &Evidence) -> anyhow::Result<Findings> {
    let path = out.join("evidence.json");
    std::fs::write(&path, serde_json::to_vec_pretty(evidence)?)?;
    let output = tokio::process::Command::new(binary("stela-verify")?)
        .arg(&path)
        .kill_on_drop(true)
        .output()
        .await?;
    serde_json::from_slice(&output.stdout).with_context(|| {
        format!(
            "the verifier found nothing out: {}",
            String::from_utf8_lossy(&output.stderr)
        )
    })
}

fn show(report: &Report, path: &Path) {
    let findings = &report.findings;
    let yes = |value: bool| if value { "yes" } else { "NO" };
    say("\nJudged by a separate process, at HospitalC's peer and on the disks:");
    for (what, holds) in [
        (
            "what was read is what was written",
            findings.permitted_read_identical,
        ),
        ("without a consent: denied", findings.denied_without_consent),
        (
            "after the revocation: denied",
            findings.denied_after_revocation,
        ),
        ("the old version is intact", findings.old_version_intact),
        (
            "leader killed, nothing acknowledged lost",
            findings.leader_killed_nothing_lost,
        ),
        (
            "the consent that was asked for opened that, and only a part",
            findings.consent_request_answered,
        ),
        (
            "the emergency: notified, answered, reviewed",
            findings.emergency_notified_and_reviewed,
        ),
        (
            "the study read under a pseudonym; two patients are no number",
            findings.study_reads_under_pseudonym,
        ),
        (
            "the ward's alert tells no value; one observation is proved",
            findings.ward_alert_without_value,
        ),
        (
            "the accounting names every disclosure",
            findings.accounting_complete,
        ),
        (
            "the export's receipts verify from the genesis block",
            findings.export_receipts_verify,
        ),
        ("the audit trails are complete", findings.audit_complete),
        (
            "all peers have the same state hash",
            findings.peers_agree_on_state_hash,
        ),
        (
            "the search for plaintext finds what is planted",
            findings.canary_control_found,
        ),
    ] {
        say(&format!("  {:3}  {what}", yes(holds)));
    }
    say(&format!(
        "  {:3}  files hold plaintext, of {} ({:.1} MB on disks and wire)",
        findings.canary_hits,
        findings.searched_files,
        findings.searched_bytes as f64 / 1e6
    ));
    say(&format!(
        "\nA consent grant is {} bytes as ordered, with {} endorsements.",
        findings.consent_grant_bytes, findings.consent_grant_endorsements
    ));
    for remark in &findings.remarks {
        say(&format!("  ! {remark}"));
    }
    let here = std::env::current_dir().unwrap_or_default();
    say(&format!(
        "Report: {}",
        path.strip_prefix(here).unwrap_or(path).display()
    ));
}

fn go_on(network: &Network, evidence: &Evidence) {
    let folder = network.folder().display();
    let program = |name: &str| binary(name).map_or(name.to_owned(), |p| p.display().to_string());
    say(&format!(
        "\nThe network goes on running. Try:\n\
         \n  alias stela={stela}\n  cd {folder}\n\
         \n  stela --profile HospitalA/users/patient audit\
         \n  stela --profile HospitalA/users/patient consent list\
         \n  stela --profile HospitalA/users/patient emergency list --patient {patient} --justifications\
         \n  stela --profile HospitalA/users/practitioner record show {record}\
         \n  stela --profile HospitalC/users/records-officer channel info\n\
         \nThe README's guide goes on from here. End the network with:\n  {ended_by} down {folder}",
        stela = program("stela"),
        patient = evidence.patient,
        record = evidence.record,
        ended_by = program("stela-network"),
    ));
}

//! Measures what a large study costs, as `deploy/large.sh` runs it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use stela_consent::Hex;
use stela_deploy::large::{Large, Measured};
use stela_deploy::limits::LARGE_BYTES_MIN;
use stela_deploy::network::{Network, commands_log};
use stela_deploy::process::{Interrupts, log_to_stderr};
use stela_deploy::users;

/// A large binary study goes its whole way on a real network on this machine: encrypted, held by
/// two hospitals, reviewed, found, fetched, verified, decrypted, whole and in part, and interrupted
/// wherever it can be. Says what each stage takes and how much memory the client and each storage
/// node need.
///
/// Needs about six times the size on the disk; all but the report is removed at the end.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// How large the study is, such as 96MiB or 2GiB.
    #[arg(long, default_value = "2GiB", value_parser = bytes)]
    size: u64,
    /// What the study's bytes are drawn from; without it, a random one, which is printed.
    #[arg(long)]
    seed: Option<u64>,
    /// Where the report and, while it runs, everything else goes.
    #[arg(long, default_value = "target/large")]
    out: PathBuf,
    /// Leave the network's folder and the documents there; the processes end.
    #[arg(long)]
    keep: bool,
    /// The contract's WebAssembly module; without it, the one built beside this program.
    #[arg(long)]
    contract: Option<PathBuf>,
}

/// A size as people write it.
fn bytes(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit: u64 = match &text[digits.len()..] {
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err("expected a number of MiB or GiB".to_owned()),
    };
    let number: u64 = digits.parse().map_err(|_| "expected a number".to_owned())?;
    match number.checked_mul(unit) {
        Some(bytes) if bytes >= LARGE_BYTES_MIN => Ok(bytes),
        _ => Err(format!(
            "at least {LARGE_BYTES_MIN} bytes, and fewer than 2^64"
        )),
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    log_to_stderr(tracing::Level::WARN);
    let arguments = Arguments::parse();
    let outcome = match Interrupts::new() {
        Ok(interrupts) => interrupts.or(run(&arguments)).await,
        Err(error) => Err(error),
    };
    let removed = match arguments.keep {
        true => Ok(()),
        false => clear(&arguments.out),
    };
    match outcome.and_then(|measured| removed.map(|()| measured)) {
        Ok(measured) if measured.is_good() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("stela-large: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> anyhow::Result<Measured> {
    let out = &arguments.out;
    clear(out)?;
    std::fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    let out = out.canonicalize()?;
    let report = out.join("report.json");
    if report.exists() {
        std::fs::remove_file(&report)?;
    }
    let contract = stela_deploy::contract_module(arguments.contract.as_deref())?;
    let module = std::fs::read(&contract)
        .with_context(|| format!("no contract at {}", contract.display()))?;
    let package = stela_deploy::package(&module)?;
    let (patient, seed) = (
        Hex(rand::random()),
        arguments.seed.unwrap_or_else(rand::random),
    );
    println!(
        "A study of {:.1} MB, seed {seed}.\n",
        arguments.size as f64 / 1e6
    );
    let say = |line: &str| println!("{line}");
    let folder = out.join("network");
    let everybody = users::everybody(patient);
    let mut network = Network::create_unrecorded(&folder, &package, &everybody, &|step| {
        say(&format!("            {step}"));
    })
    .await?;
    let documents = out.join("documents");
    std::fs::create_dir_all(&documents)?;
    let run = Large::new(&mut network, documents, patient, &say);
    let measured = run.run(arguments.size, seed).await?;
    network.stop()?;
    std::fs::write(&report, serde_json::to_vec_pretty(&measured)?)?;
    show(&measured, &report);
    Ok(measured)
}

/// Removes everything but the report and the log of the commands.
fn clear(out: &Path) -> anyhow::Result<()> {
    let log = commands_log(&out.join("network"));
    if log.exists() {
        std::fs::rename(&log, commands_log(out))
            .with_context(|| format!("cannot keep {}", log.display()))?;
    }
    for folder in ["network", "documents"].map(|name| out.join(name)) {
        if folder.exists() {
            std::fs::remove_dir_all(&folder)
                .with_context(|| format!("cannot remove {}", folder.display()))?;
        }
    }
    Ok(())
}

fn show(measured: &Measured, report: &Path) {
    println!(
        "\n{:<10} {:<26} {:>9} {:>8} {:>7}",
        "command", "stage", "MB", "seconds", "MB/s"
    );
    for stage in &measured.stages {
        let megabytes = stage.bytes as f64 / 1e6;
        println!(
            "{:<10} {:<26} {megabytes:>9.1} {:>8.2} {:>7.1}",
            stage.command,
            stage.stage,
            stage.seconds,
            megabytes / stage.seconds.max(1e-3)
        );
    }
    println!(
        "\npeak memory (VmHWM), at most {:.0} MB",
        measured.memory_bytes_max as f64 / 1e6
    );
    for (who, bytes) in measured
        .client_peak_bytes
        .iter()
        .chain(&measured.storage_peak_bytes)
    {
        println!("{:>8.1} MB  {who}", *bytes as f64 / 1e6);
    }
    println!();
    for shown in &measured.shown {
        println!("  yes  {shown}");
    }
    for failure in &measured.failures {
        println!("   NO  {failure}");
    }
    println!("Report: {}", report.display());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(bytes("96MiB"), Ok(96 << 20));
        assert_eq!(bytes("2GiB"), Ok(2 << 30));
        for wrong in [
            "",
            "2",
            "GiB",
            "2GB",
            "-1GiB",
            "1MiB",
            "99999999999999GiB",
            "2GiBé",
        ] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_arguments_contradict_one_another_nowhere() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }
}

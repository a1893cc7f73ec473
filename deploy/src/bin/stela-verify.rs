//! Judges a demonstration from outside.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use stela_deploy::evidence::Evidence;
use stela_deploy::verify::verify;

/// Judges a demonstration from outside: asks the peer of a hospital that took no part, checks every
/// block's signatures, compares files, and searches the disks and the recorded wire for plaintext.
/// Prints its findings as JSON.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// What `stela-demo` left: where to look.
    evidence: PathBuf,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("stela-verify: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> anyhow::Result<bool> {
    let bytes = std::fs::read(&arguments.evidence)
        .with_context(|| format!("cannot read {}", arguments.evidence.display()))?;
    let evidence: Evidence = serde_json::from_slice(&bytes)?;
    let findings = verify(&evidence).await?;
    println!("{}", serde_json::to_string_pretty(&findings)?);
    Ok(findings.all_true())
}

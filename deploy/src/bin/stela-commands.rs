//! Names every command of `stela` that no run on a live network has taken to its end.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use stela_deploy::commands::{every_command, never_run};
use stela_deploy::process::program;
use tracing::Level;

/// Checks that every command of `stela` ended well at least once in the runs on live networks whose
/// logs are named.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Logs of commands, as the networks of the demonstration and of the trials leave them.
    #[arg(required = true, value_name = "FILE")]
    logs: Vec<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    program("stela-commands", Level::WARN, async { run(&arguments) }).await
}

fn run(arguments: &Arguments) -> anyhow::Result<bool> {
    let all = every_command()?;
    let read = |file: &PathBuf| {
        let log = std::fs::read(file).with_context(|| format!("no log at {}", file.display()))?;
        anyhow::Ok(String::from_utf8_lossy(&log).into_owned())
    };
    let logs: Vec<String> = arguments
        .logs
        .iter()
        .map(read)
        .collect::<anyhow::Result<_>>()?;
    let missing = never_run(&all, &logs);
    for command in &missing {
        println!("   NO  stela {command}: no run on a network took it to its end");
    }
    let ran = all.len() - missing.len();
    println!(
        "{ran} of {} commands were run on a live network.",
        all.len()
    );
    Ok(missing.is_empty())
}

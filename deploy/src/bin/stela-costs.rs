//! Prints what each function of the contract costs.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use stela_deploy::costs;

/// What each function of the contract costs: fuel, keys that are looked up and written, ranges, bytes
/// of the answer, and bytes of the transaction as it is ordered with two endorsements.
///
/// The contract runs as WebAssembly, as on a peer, over a state in memory that holds a patient with
/// nine records and nine consents. What is counted is the same on every machine.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// The contract's WebAssembly module; without it, the one built beside this program.
    #[arg(long)]
    contract: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("stela-costs: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let path = stela_deploy::contract_module(arguments.contract.as_deref())?;
    let module =
        std::fs::read(&path).with_context(|| format!("no contract at {}", path.display()))?;
    let costs = costs::measure(&stela_deploy::package(&module)?)?;
    match arguments.json {
        true => println!("{}", serde_json::to_string_pretty(&costs)?),
        false => print!("{}", costs::table(&costs)),
    }
    Ok(())
}

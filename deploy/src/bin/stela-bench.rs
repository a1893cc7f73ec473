//! The benchmark of Stela, as `deploy/bench.sh` runs it.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use stela_deploy::bench::{self, Plan, Workload};
use stela_deploy::process::program;
use tracing::Level;

/// Measures a ledger of separate processes with TLS and fsync and the settings that are shipped: how
/// many transactions are committed in a second and how long each takes, by calls in flight and at a
/// given rate; what of processors, memory, disk and wire they take; how long the network takes to
/// start.
///
/// Exit code 1: a transaction was lost or invalid, an event was not told, or a node logged an error;
/// then nothing is reported but why. Or the network could not be run.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// All of it in less than two minutes: shorter runs, none repeated, and a coarser search.
    #[arg(long)]
    quick: bool,
    /// Only these functions.
    #[arg(long, value_enum, value_delimiter = ',')]
    workload: Vec<Workload>,
    /// How long each run is measured [default: 10; 1 with --quick].
    #[arg(long)]
    seconds: Option<f64>,
    /// Do not search the saturation point: so many calls in flight.
    #[arg(long)]
    in_flight: Option<usize>,
    /// Instead of 70 % of what saturates and twice as much: so many calls in a second.
    #[arg(long)]
    rate: Option<f64>,
    /// How often it is measured at saturation [default: 3; 1 with --quick].
    #[arg(long)]
    repeats: Option<usize>,
    /// How many orderers.
    #[arg(long, default_value_t = 3)]
    orderers: usize,
    /// How many organizations, each with a peer, 2 to 6; two of them endorse.
    #[arg(long, default_value_t = 2)]
    organizations: usize,
    /// Print the report as JSON, not as a table.
    #[arg(long)]
    json: bool,
    /// Where the report, the plots and, while it runs, the network go.
    #[arg(long, default_value = "target/bench")]
    out: PathBuf,
    /// Leave the network's folder there.
    #[arg(long)]
    keep: bool,
    /// The contract's WebAssembly module; without it, the one built beside this program.
    #[arg(long)]
    contract: Option<PathBuf>,
}

impl Arguments {
    fn plan(&self) -> anyhow::Result<Plan> {
        let seconds = self.seconds.unwrap_or(if self.quick { 1.0 } else { 10.0 });
        let measured = Duration::try_from_secs_f64(seconds).context("--seconds")?;
        anyhow::ensure!(self.in_flight != Some(0), "--in-flight takes at least 1");
        anyhow::ensure!(
            self.rate.is_none_or(|rate| rate >= 1.0),
            "--rate takes at least 1"
        );
        Ok(Plan {
            organizations: self.organizations,
            orderers: self.orderers,
            workloads: match self.workload.is_empty() {
                true => Workload::ALL.to_vec(),
                false => self.workload.clone(),
            },
            measured,
            warm_up: measured.mul_f64(if self.quick { 0.75 } else { 0.4 }),
            repeats: self.repeats.unwrap_or(if self.quick { 1 } else { 3 }),
            first: if self.quick { 32 } else { 8 },
            last: if self.quick { 512 } else { 2048 },
            step: if self.quick { 4 } else { 2 },
            in_flight: self.in_flight,
            rate: self.rate,
        })
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    program("stela-bench", Level::ERROR, run(Arguments::parse())).await
}

async fn run(arguments: Arguments) -> anyhow::Result<bool> {
    let plan = arguments.plan()?;
    let out = bench::prepare(&arguments.out)?;
    let folder = out.join("network");
    let module = stela_deploy::contract_module(arguments.contract.as_deref())?;
    let package = stela_deploy::package(&std::fs::read(module)?)?;
    let report = bench::run(&plan, &folder, &package, &|step| eprintln!("{step}")).await?;
    let json = serde_json::to_string_pretty(&report)?;
    std::fs::write(out.join("report.json"), &json)?;
    std::fs::write(out.join("report.txt"), report.table())?;
    for (name, svg) in bench::plots(&report) {
        std::fs::write(out.join(name), svg)?;
    }
    match arguments.json {
        true => println!("{json}"),
        false => print!("{}", report.table()),
    }
    if !arguments.keep {
        std::fs::remove_dir_all(&folder)?;
    }
    eprintln!("Report: {}", out.join("report.json").display());
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_contradict_one_another_nowhere() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }
}

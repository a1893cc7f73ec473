//! The measurement of what growth costs, as `deploy/bench.sh growth` runs it.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use stela_deploy::bench::prepare;
use stela_deploy::growth::{self, Growing, Packages, Plan};
use stela_deploy::process::program;
use stela_deploy::{built_module, contract_module, package};
use tracing::Level;

/// Measures what a transaction costs while the state, its values, the organizations, the orderers, the
/// channels or the ledger grow: ledgers of separate processes with TLS and fsync and the settings that
/// are shipped.
///
/// Exit code 1: a transaction was lost or invalid, an event was not told, or a node logged an error;
/// then nothing is reported but why. Or a network could not be run, or the disk has too little room.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Only these.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Growing>,
    /// A few minutes for all of it: fewer sizes and shorter runs, none repeated.
    #[arg(long)]
    quick: bool,
    /// How many keys the state has in the end [default: 10000000; 100000 with --quick].
    #[arg(long, value_parser = clap::value_parser!(u64).range(10_000..))]
    max_keys: Option<u64>,
    /// How many transactions the ledger has in the end [default: 1000000; 20000 with --quick].
    #[arg(long, value_parser = clap::value_parser!(u64).range(1_000..))]
    transactions: Option<u64>,
    /// Print the report as JSON, not as a table.
    #[arg(long)]
    json: bool,
    /// Where the report, the plots and, while it runs, the networks go.
    #[arg(long, default_value = "target/bench/growth")]
    out: PathBuf,
}

impl Arguments {
    fn plan(&self) -> Plan {
        let plan = match self.quick {
            true => Plan::quick(
                self.max_keys.unwrap_or(100_000),
                self.transactions.unwrap_or(20_000),
            ),
            false => Plan::full(
                self.max_keys.unwrap_or(10_000_000),
                self.transactions.unwrap_or(1_000_000),
            ),
        };
        match self.only.is_empty() {
            true => plan,
            false => Plan {
                growing: self.only.clone(),
                ..plan
            },
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    program("stela-growth", Level::ERROR, run(Arguments::parse())).await
}

async fn run(arguments: Arguments) -> anyhow::Result<bool> {
    let plan = arguments.plan();
    let packages = Packages {
        healthcare: package(&std::fs::read(contract_module(None)?)?)?,
        entries: package(&std::fs::read(built_module("entries")?)?)?,
    };
    let out = prepare(&arguments.out)?;
    let folder = out.join("network");
    let report = growth::run(&plan, &folder, &packages, &|step| eprintln!("{step}")).await?;
    let json = serde_json::to_string_pretty(&report)?;
    std::fs::write(out.join("report.json"), &json)?;
    std::fs::write(out.join("report.txt"), report.table())?;
    for (name, svg) in growth::plots(&report) {
        std::fs::write(out.join(name), svg)?;
    }
    match arguments.json {
        true => println!("{json}"),
        false => print!("{}", report.table()),
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

    #[test]
    fn what_is_named_is_measured_in_that_order() {
        let only = [
            "stela-growth",
            "--only",
            "ledger,keys",
            "--max-keys",
            "20000",
        ];
        let plan = Arguments::parse_from(only).plan();
        assert_eq!(plan.growing, [Growing::Ledger, Growing::Keys]);
        assert_eq!(plan.keys, [10_000, 20_000]);
    }
}

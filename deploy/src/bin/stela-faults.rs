//! The fault harness of Stela, as `deploy/faults.sh` runs it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use serde::Serialize;
use stela_deploy::faults::{FaultKind, Harness, Plan, Round, Totals};
use stela_deploy::process::{program, stopwatch};
use tracing::Level;

/// Does harm to a whole network of real processes while clients write and read, and checks after
/// each round that nothing acknowledged is lost, nothing is applied twice, there is one history and
/// one state, and every record can be read.
///
/// Exit code 1: a promise was broken, or the network could not be run; what happened is printed and
/// in `report.json`, and the network's folder is kept.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// How many rounds, each with one fault.
    #[arg(long, default_value_t = 11)]
    rounds: usize,
    /// Chooses kinds, victims and durations; without it, another one each time.
    #[arg(long)]
    seed: Option<u64>,
    /// Only these kinds of faults, in this order, again and again.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<FaultKind>,
    /// Cut directions with a relay even where network namespaces can be had.
    #[arg(long)]
    relay: bool,
    /// Where the report and the network go. What an earlier run left there is removed.
    #[arg(long, default_value = "target/faults")]
    out: PathBuf,
    /// The contract's WebAssembly module; without it, the one built beside this program.
    #[arg(long)]
    contract: Option<PathBuf>,
}

#[derive(Serialize)]
struct Report {
    seed: u64,
    wire: &'static str,
    seconds: f64,
    rounds: Vec<Round>,
    totals: Totals,
    violation: Option<String>,
}

#[tokio::main]
async fn main() -> ExitCode {
    program("stela-faults", Level::ERROR, run(Arguments::parse())).await
}

async fn run(arguments: Arguments) -> anyhow::Result<bool> {
    let seed = arguments
        .seed
        .unwrap_or_else(|| rand::random::<u32>().into());
    let out = prepare(&arguments.out)?;
    let module = stela_deploy::contract_module(arguments.contract.as_deref())?;
    let package = stela_deploy::package(&std::fs::read(module)?)?;
    println!("seed {seed}");
    let started = stopwatch();
    let plan = Plan {
        folder: &out,
        package: &package,
        seed,
        only: &arguments.only,
        namespaces: !arguments.relay,
    };
    let mut harness = Harness::start(&plan, &|step| println!("  {step}")).await?;
    println!(
        "{:6.1} s  the network is up, clients write and read",
        seconds(started)
    );
    let mut report = Report {
        seed,
        wire: harness.wire(),
        seconds: 0.0,
        rounds: Vec::new(),
        totals: Totals::default(),
        violation: None,
    };
    play(&mut harness, arguments.rounds, &mut report).await;
    report.totals = harness.totals();
    report.seconds = seconds(started);
    let path = out.join("report.json");
    std::fs::write(&path, serde_json::to_vec_pretty(&report)?)?;
    show(&report, arguments.rounds, &path);
    Ok(report.violation.is_none())
}

async fn play(harness: &mut Harness, rounds: usize, report: &mut Report) {
    for number in 1..=rounds {
        match harness.round().await {
            Ok(round) => {
                println!(
                    "round {number:4}  {:14} {:5.1} s  {:6} acknowledged, height {:5}  {}",
                    round.kind.name(),
                    round.seconds,
                    round.acknowledged,
                    round.height,
                    round.what
                );
                report.rounds.push(round);
            }
            Err((kind, error)) => {
                let what = format!("round {number}, {}: {error:#}", kind.name());
                report.violation = Some(what);
                return;
            }
        }
    }
    if let Err(error) = harness.finish().await {
        report.violation = Some(format!("at the end: {error:#}"));
    }
}

fn show(report: &Report, rounds: usize, path: &Path) {
    let totals = &report.totals;
    println!(
        "{} of {rounds} rounds in {:.0} s with seed {}, {}: {} acknowledged, {} read again, {} given \
         up by clients, {} blocks, {} records",
        report.rounds.len(),
        report.seconds,
        report.seed,
        report.wire,
        totals.acknowledged,
        totals.read,
        totals.failed,
        totals.blocks,
        totals.records
    );
    match &report.violation {
        None => {
            println!("nothing acknowledged lost, nothing applied twice, one history, one state")
        }
        Some(violation) => {
            println!("VIOLATION: {violation}");
            println!(
                "  again: ./deploy/faults.sh --seed {} --rounds {}",
                report.seed,
                report.rounds.len() + 1
            );
        }
    }
    println!("Report: {}", path.display());
}

/// Empties the folder of what an earlier run left.
fn prepare(out: &Path) -> anyhow::Result<PathBuf> {
    std::fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    let out = out.canonicalize()?;
    for folder in [out.join("network"), out.join("documents")] {
        if folder.exists() {
            std::fs::remove_dir_all(&folder)?;
        }
    }
    let book = out.join("acknowledged.log");
    if book.exists() {
        std::fs::remove_file(book)?;
    }
    Ok(out)
}

fn seconds(started: std::time::Instant) -> f64 {
    started.elapsed().as_secs_f64()
}

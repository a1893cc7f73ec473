//! Runs seeds of the simulation, as many at a time as there are processors.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Instant;

use anyhow::Context;
use clap::Parser;
use serde::Serialize;
use stela_simulation::{Outcome, Violation, new_certificates, simulate};

/// Simulates orderers, validators and clients under faults, from seeds. Exit code 1: a promise was
/// broken; the seed that finds it again is printed.
#[derive(Debug, Parser)]
#[command(name = "stela-simulate", version)]
struct Arguments {
    /// How many seeds.
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// How many run at a time; by default one on each processor.
    #[arg(long)]
    jobs: Option<usize>,
    /// Print every event (of few seeds).
    #[arg(long)]
    events: bool,
    /// Write a report as JSON.
    #[arg(long)]
    report: Option<PathBuf>,
    /// Replace the certificates that all seeds share, and do nothing else.
    #[arg(long, hide = true)]
    write_certificates: Option<PathBuf>,
}

#[derive(Serialize)]
struct Report {
    from: u64,
    seeds: u64,
    passed: u64,
    violations: Vec<String>,
    seconds: f64,
    seeds_per_second: f64,
    tally: BTreeMap<&'static str, u64>,
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    if let Some(path) = &arguments.write_certificates {
        std::fs::write(path, new_certificates()?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let report = run(&arguments)?;
    for (what, count) in &report.tally {
        println!("{count:>12}  {what}");
    }
    println!(
        "{} seeds from {} in {:.1} s, {:.1} a second: {} passed, {} broke a promise",
        report.passed + report.violations.len() as u64,
        report.from,
        report.seconds,
        report.seeds_per_second,
        report.passed,
        report.violations.len(),
    );
    if let Some(path) = &arguments.report {
        let json = serde_json::to_vec_pretty(&report)?;
        std::fs::write(path, json).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(match report.violations.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

fn run(arguments: &Arguments) -> anyhow::Result<Report> {
    let end = arguments.from.checked_add(arguments.seeds);
    let end = end.context("there are no such seeds")?;
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let jobs = arguments.jobs.unwrap_or(processors).max(1);
    let (next, stop) = (AtomicU64::new(arguments.from), AtomicBool::new(false));
    let (sender, outcomes) = mpsc::channel();
    let started = now();
    let mut report = Report {
        from: arguments.from,
        seeds: arguments.seeds,
        passed: 0,
        violations: Vec::new(),
        seconds: 0.0,
        seeds_per_second: 0.0,
        tally: BTreeMap::new(),
    };
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            let (sender, next, stop) = (sender.clone(), &next, &stop);
            scope.spawn(move || work(next, end, stop, arguments.events, &sender));
        }
        drop(sender);
        for (seed, outcome) in outcomes {
            take(&mut report, arguments, seed, outcome);
            stop.store(report.violations.len() >= VIOLATIONS_MAX, Ordering::Relaxed);
        }
    });
    report.seconds = started.elapsed().as_secs_f64();
    let done = report.passed + report.violations.len() as u64;
    report.seeds_per_second = done as f64 / report.seconds.max(f64::EPSILON);
    Ok(report)
}

/// After so many violations no further seed is begun.
const VIOLATIONS_MAX: usize = 10;
/// Seeds between two lines of progress.
const PROGRESS_SEEDS: u64 = 500;

type Played = (u64, Result<Outcome, Violation>);

fn work(
    next: &AtomicU64,
    end: u64,
    stop: &AtomicBool,
    events: bool,
    sender: &mpsc::Sender<Played>,
) {
    while !stop.load(Ordering::Relaxed) {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= end || sender.send((seed, simulate(seed, events))).is_err() {
            return;
        }
    }
}

fn take(
    report: &mut Report,
    arguments: &Arguments,
    seed: u64,
    outcome: Result<Outcome, Violation>,
) {
    match outcome {
        Ok(outcome) => {
            outcome.lines.iter().for_each(|line| println!("{line}"));
            if arguments.seeds <= PROGRESS_SEEDS / 50 {
                println!("seed {seed}: trace {}", hex::encode(outcome.trace));
            }
            report.passed += 1;
            if report.passed.is_multiple_of(PROGRESS_SEEDS) {
                println!("{} seeds passed", report.passed);
            }
            for (what, count) in outcome.tally {
                *report.tally.entry(what).or_default() += count;
            }
        }
        Err(violation) => {
            violation.lines.iter().for_each(|line| println!("{line}"));
            println!("VIOLATION: {violation}");
            println!("  again: ./deploy/simulate.sh --from {seed} --seeds 1 --events");
            report.violations.push(violation.to_string());
        }
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "how long it took is measured by the machine's clock; no seed sees it"
)]
fn now() -> Instant {
    Instant::now()
}

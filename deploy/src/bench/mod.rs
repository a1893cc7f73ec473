//! The benchmark: how fast a network of separate processes is, with TLS and fsync and the settings
//! that are shipped, and what it uses.
//!
//! Of each [`Workload`] it searches the saturation point with clients that make one call after
//! another, measures there again and again, then at a given rate (70 % of what saturates, and twice
//! as much), and with one call in flight. What is counted is looked up on the ledger after every
//! run. A run in which an acknowledged transaction is lost, one is invalid, an event is not told, a
//! node logs an error or peers differ is not reported: the benchmark ends with an error.

mod check;
mod load;
mod people;
mod plot;
mod report;
mod stages;
mod usage;
mod world;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use futures::TryStreamExt;
use stela_consent::Hex;
use stela_protocol::block::Block;
use stela_protocol::transaction::Envelope;

pub(crate) use self::check::Auditor;
use self::check::{Found, find};
pub(crate) use self::load::{Calls, Span};
pub use self::load::{Latency, Pace};
use self::load::{Taken, refusals, take};
pub(crate) use self::people::{Person, Registrar};
pub use self::plot::plots;
pub(crate) use self::plot::{Axis, Line, draw};
pub use self::report::{Machine, Measured, Report, Run, Setting};
pub use self::stages::Stage;
pub use self::usage::{Memory, Part};
pub(crate) use self::usage::{Meter, grown_by};
pub use self::world::Workload;
pub(crate) use self::world::{Call, World, at_once, chosen, commit, make, register};
use self::world::{Outcome, WorldCalls, grant, register_patient};
use crate::limits::{BENCH_ASKED, BENCH_GAIN_MIN, BENCH_IN_FLIGHT_CONTENDED, BENCH_SETTLE, POLL};
use crate::network::{Launcher, Network};
use crate::process::stopwatch;
use crate::topology::Topology;

/// What is to be measured.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How many organizations, each with a peer; two of them endorse.
    pub organizations: usize,
    /// How many orderers.
    pub orderers: usize,
    /// The functions.
    pub workloads: Vec<Workload>,
    /// How long each run is measured.
    pub measured: Duration,
    /// How long it runs before that.
    pub warm_up: Duration,
    /// How often it is measured at saturation.
    pub repeats: usize,
    /// With how many calls in flight the search begins.
    pub first: usize,
    /// With how many it ends at the latest.
    pub last: usize,
    /// By how much they are multiplied in it.
    pub step: usize,
    /// Do not search: so many in flight.
    pub in_flight: Option<usize>,
    /// Instead of 70 % and 200 % of what saturates: so many calls in a second.
    pub rate: Option<f64>,
}

/// A running network and everybody who makes calls.
struct Bench<'a> {
    plan: &'a Plan,
    network: Network,
    world: Arc<World>,
    observer: Observer,
    /// Blocks of the first run at saturation with nothing but consent grants.
    grants: Option<Range<u64>>,
    say: &'a dyn Fn(&str),
}

/// Empties the folder of what an earlier run left: a report must not outlive its network. Its subfolders
/// stay, but for the network's.
///
/// # Errors
/// When the disk refuses.
pub fn prepare(out: &Path) -> anyhow::Result<PathBuf> {
    std::fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    let out = out.canonicalize()?;
    for entry in std::fs::read_dir(&out)? {
        let path = entry?.path();
        let ours = ["json", "txt", "svg"].map(|kind| path.extension() == Some(kind.as_ref()));
        if ours.contains(&true) {
            std::fs::remove_file(&path)?;
        }
    }
    let network = out.join("network");
    if network.exists() {
        std::fs::remove_dir_all(&network)?;
    }
    Ok(out)
}

/// Looks at a network while calls are made in it.
pub(crate) struct Observer {
    /// For each channel that is called.
    pub(crate) auditors: Vec<Auditor>,
    pub(crate) meter: Meter,
}

/// Starts a network in an empty folder, measures, and ends it.
///
/// # Errors
/// When it cannot be run, or a run must not be reported; then why.
pub async fn run(
    plan: &Plan,
    folder: &Path,
    package: &[u8],
    say: &dyn Fn(&str),
) -> anyhow::Result<Report> {
    ensure!(
        plan.organizations >= 2,
        "two organizations endorse, so there have to be two"
    );
    let started = stopwatch();
    let topology = Topology::ledger_on_free_ports(plan.organizations, plan.orderers)?;
    let directly: Launcher = Box::new(|_| Vec::new());
    let mut network = Network::prepare(folder, topology, package, &[], directly)?;
    network.bring_up(package, say).await?;
    let registrar = Registrar::open(&network)?;
    let (id, place) = (Hex(rand::random()), 0);
    let first = registrar.patient(place, id)?;
    register(&first).await?;
    register_patient(&first, id).await?;
    let start_up_s = started.elapsed().as_secs_f64();
    say(&format!(
        "first valid transaction after {start_up_s:.1} s; preparing the ledger"
    ));
    let mut bench = Bench {
        plan,
        world: Arc::new(World::prepare(&registrar).await?),
        observer: Observer {
            auditors: vec![Auditor::begin(registrar.auditor()?, network.folder()).await?],
            meter: Meter::of(&network)?,
        },
        network,
        grants: None,
        say,
    };
    let setting = Setting::of(&bench.network, package)?;
    let mut workloads = Vec::new();
    for workload in &plan.workloads {
        workloads.push(bench.measure(*workload).await?);
    }
    let stages = bench.stages(package).await?;
    let stopped = stopwatch();
    bench.network.stop()?;
    let stop_s = stopped.elapsed().as_secs_f64();
    let at_rest = bench.at_rest(&workloads);
    let restarted = stopwatch();
    bench.restart(&first).await?;
    let restart_s = restarted.elapsed().as_secs_f64();
    bench.network.stop()?;
    Ok(Report {
        setting,
        start_up_s,
        stop_s,
        restart_s,
        ledger_bytes_per_transaction_at_rest: at_rest,
        workloads,
        stages,
    })
}

impl Bench<'_> {
    /// Everything about one function.
    async fn measure(&mut self, workload: Workload) -> anyhow::Result<Measured> {
        (self.say)(workload.name());
        let (search, saturation_in_flight) = match (self.plan.in_flight, workload.may_conflict()) {
            (Some(count), _) => (Vec::new(), count),
            (None, true) => (Vec::new(), BENCH_IN_FLIGHT_CONTENDED),
            (None, false) => self.search(workload).await?,
        };
        let mut saturated = Vec::new();
        for _ in 0..self.plan.repeats.max(1) {
            let start = self.auditor()?.agreed_height().await?;
            saturated.push(
                self.run(workload, Pace::InFlight(saturation_in_flight))
                    .await?,
            );
            if workload == Workload::ConsentGrant && self.grants.is_none() {
                self.grants = Some(start..self.auditor()?.agreed_height().await?);
            }
        }
        let median = median(saturated.iter().map(|run| run.done_per_s));
        let median = median.and_then(|place| saturated.get(place));
        let median = median.context("nothing was measured")?.clone();
        let mut paced = Vec::new();
        for rate in self.rates(workload, &median) {
            paced.push(self.run(workload, Pace::PerSecond(rate)).await?);
        }
        let idle = self.run(workload, Pace::InFlight(1)).await?;
        Ok(Measured {
            workload,
            search,
            saturation_in_flight,
            saturated,
            median,
            paced,
            idle,
        })
    }

    /// Doubles the calls in flight until that gains next to nothing twice.
    async fn search(&mut self, workload: Workload) -> anyhow::Result<(Vec<Run>, usize)> {
        let (mut runs, mut best) = (Vec::new(), (0, 0.0));
        let (mut count, mut in_vain) = (self.plan.first, 0);
        while count <= self.plan.last && in_vain < 2 {
            let run = self.run(workload, Pace::InFlight(count)).await?;
            let rate = run.done_per_s;
            runs.push(run);
            in_vain += 1;
            if rate >= best.1 * (1.0 + BENCH_GAIN_MIN) {
                (best, in_vain) = ((count, rate), 0);
            }
            count *= self.plan.step;
        }
        Ok((runs, best.0))
    }

    fn rates(&self, workload: Workload, median: &Run) -> Vec<f64> {
        match self.plan.rate {
            Some(rate) => vec![rate],
            None if workload.may_conflict() => Vec::new(),
            None => [0.7, 2.0].map(|part| part * median.done_per_s).to_vec(),
        }
    }

    fn auditor(&self) -> anyhow::Result<&Auditor> {
        let first = self.observer.auditors.first();
        first.context("there is no channel")
    }

    /// One run, with everything that was called looked up on the ledger.
    ///
    /// # Errors
    /// When it must not be reported.
    async fn run(&mut self, workload: Workload, pace: Pace) -> anyhow::Result<Run> {
        let span = Span {
            warm_up: self.plan.warm_up,
            measured: self.plan.measured,
        };
        let calls = Arc::new(WorldCalls {
            world: self.world.clone(),
            workload,
        });
        let may_conflict = workload.may_conflict();
        let observed = self
            .observer
            .run(&mut self.network, &calls, may_conflict, pace, span);
        let run = observed.await?;
        (self.say)(&format!(
            "  {pace}: {:.0} per s, p50 {:.1} ms, p99 {:.1} ms, {:.0} µs",
            run.done_per_s, run.latency.p50_ms, run.latency.p99_ms, run.cpu_us_per_call_total
        ));
        Ok(run)
    }

    /// The parts of a consent grant, each alone; none when none was measured.
    async fn stages(&self, package: &[u8]) -> anyhow::Result<Vec<Stage>> {
        let Some(range) = self.grants.clone() else {
            return Ok(Vec::new());
        };
        (self.say)("the parts of a consent grant alone");
        let blocks = self.auditor()?.blocks(0, range.end)?;
        let blocks: Vec<Block> = blocks.map_ok(|checked| checked.block).try_collect().await?;
        let asked_us = self.asked_us(&blocks).await?;
        let folder = self.network.folder().join("replica");
        let peers = self.observer.meter.count(Part::Peer);
        stages::measure(&blocks, range, peers, package, &folder, asked_us)
    }

    /// What a request for the verdict on a committed transaction costs, client and peer together.
    async fn asked_us(&self, blocks: &[Block]) -> anyhow::Result<f64> {
        let newest = blocks.last().and_then(|block| block.envelopes.last());
        let newest = newest.context("there are no transactions")?;
        let id = Envelope::decode(newest.clone())?.header().id();
        let before = self.observer.meter.read()?;
        self.world.ask(id, BENCH_ASKED).await?;
        let used = self.observer.meter.read()?.since(&before).cpu_us;
        let sides = [Part::Peer, Part::LoadGenerator].map(|part| used.get(&part));
        let used_us: u64 = sides.into_iter().flatten().sum();
        Ok(used_us as f64 / BENCH_ASKED as f64)
    }

    /// Bytes of one stopped node's ledger for each transaction of all runs, by part. What the ledger
    /// held before the runs counts as theirs.
    fn at_rest(&self, workloads: &[Measured]) -> BTreeMap<Part, f64> {
        let transactions: u64 = workloads.iter().map(Measured::transactions).sum();
        let bytes = self.observer.meter.ledger_bytes();
        let each = |(part, bytes): (Part, u64)| {
            let nodes = self.observer.meter.count(part).max(1);
            (part, bytes as f64 / nodes as f64 / transactions as f64)
        };
        let counted = bytes.into_iter().filter(|_| transactions > 0);
        counted.map(each).collect()
    }

    /// Starts the stopped nodes again, until one more transaction is valid.
    async fn restart(&mut self, patient: &Person) -> anyhow::Result<()> {
        let nodes = self.network.topology().nodes.clone();
        nodes.iter().try_for_each(|node| self.network.start(node))?;
        let deadline = tokio::time::Instant::now() + BENCH_SETTLE;
        while let Err(error) = grant(patient).await {
            let in_time = tokio::time::Instant::now() < deadline;
            ensure!(in_time, "the network does not come up again: {error:#}");
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }
}

impl Observer {
    /// Makes calls and looks all of them up on the ledgers of their channels.
    ///
    /// # Errors
    /// When the run must not be reported.
    pub(crate) async fn run(
        &self,
        network: &mut Network,
        calls: &Arc<impl Calls>,
        may_conflict: bool,
        pace: Pace,
        span: Span,
    ) -> anyhow::Result<Run> {
        let starts = self.agreed_heights().await?;
        let listeners = self.auditors.iter().zip(&starts);
        let listeners = listeners.map(|(auditor, start)| auditor.listen(*start));
        let listeners = listeners.collect::<anyhow::Result<Vec<_>>>()?;
        let (disk, logs) = (self.meter.disk_bytes(), self.meter.log_bytes());
        let taken = take(calls, pace, span, &self.meter).await?;
        must_be_none(&client_objections(may_conflict, &taken))?;
        must_be_none(&self.node_objections(network, &logs)?)?;
        let ends = self.agreed_heights().await.context(NOT_REPORTED)?;
        let ranges = starts.iter().zip(ends).map(|(start, end)| *start..end);
        let found = find(self.auditors.iter().zip(ranges), &taken.samples).await;
        let found = found.context(NOT_REPORTED)?;
        must_be_none(&found.objections(may_conflict))?;
        for (listener, events) in listeners.into_iter().zip(&found.events) {
            let heard = listener.must_have_heard(events).await;
            heard.context(NOT_REPORTED)?;
        }
        must_be_none(&self.node_objections(network, &logs)?)?;
        let grown = grown_by(&self.meter.disk_bytes(), &disk);
        Ok(summary(pace, &taken, &found, &grown, &self.meter))
    }

    /// How many blocks each channel has, when every peer has the same.
    ///
    /// # Errors
    /// When peers do not come to agree.
    pub(crate) async fn agreed_heights(&self) -> anyhow::Result<Vec<u64>> {
        let mut heights = Vec::new();
        for auditor in &self.auditors {
            heights.push(auditor.agreed_height().await?);
        }
        Ok(heights)
    }

    /// Nodes that have ended, and what nodes logged as errors since their logs were so long.
    pub(crate) fn node_objections(
        &self,
        network: &mut Network,
        logs: &[usize],
    ) -> anyhow::Result<Vec<String>> {
        let mut objections = Vec::new();
        let nodes = network.topology().nodes.clone();
        for node in &nodes {
            if !network.runs(node)? {
                objections.push(format!("{} has ended", node.title()));
            }
        }
        objections.extend(self.meter.errors_since(logs));
        Ok(objections)
    }
}

/// The first words of why a run is not reported.
const NOT_REPORTED: &str = "this run is not reported";

pub(crate) fn must_be_none(objections: &[String]) -> anyhow::Result<()> {
    let few: Vec<&str> = objections.iter().take(3).map(String::as_str).collect();
    ensure!(few.is_empty(), "{NOT_REPORTED}: {}", few.join("; "));
    Ok(())
}

/// What clients saw that must not be.
fn client_objections(may_conflict: bool, taken: &Taken) -> Vec<String> {
    let objection = |outcome: &Outcome| match outcome {
        Outcome::Failed(why) => Some(why.clone()),
        Outcome::Refused(code) if !code.is_retryable() && !may_conflict => {
            Some(format!("a call was refused as {}", code.as_str()))
        }
        _ => None,
    };
    let outcomes = taken.samples.iter().map(|sample| &sample.call.outcome);
    outcomes.filter_map(objection).take(1).collect()
}

/// The place of the rate in the middle; of an even number the lower of two.
pub(crate) fn median(rates: impl IntoIterator<Item = f64>) -> Option<usize> {
    let mut rates: Vec<(usize, f64)> = rates.into_iter().enumerate().collect();
    rates.sort_by(|a, b| a.1.total_cmp(&b.1));
    let middle = rates.len().checked_sub(1)? / 2;
    rates.get(middle).map(|(place, _)| *place)
}

fn summary(
    pace: Pace,
    taken: &Taken,
    found: &Found,
    grown: &BTreeMap<Part, f64>,
    meter: &Meter,
) -> Run {
    let good = |outcome: &Outcome| match outcome {
        Outcome::Answered => true,
        Outcome::Committed(status) => status.code.is_valid(),
        _ => false,
    };
    let samples: Vec<&load::Sample> = taken
        .samples
        .iter()
        .filter(|sample| good(&sample.call.outcome))
        .collect();
    let done = samples
        .iter()
        .filter(|s| taken.window.contains(&s.done))
        .count();
    let due = || samples.iter().filter(|s| taken.window.contains(&s.due));
    let p50_ms =
        |part: &dyn Fn(&load::Sample) -> Duration| Latency::of(due().map(|s| part(s))).p50_ms;
    let measured_s = (taken.window.end - taken.window.start).as_secs_f64();
    let each = |amount: u64| amount as f64 / (done.max(1) as f64);
    let of_node = |part: Part, amount: f64| amount / meter.count(part).max(1) as f64;
    let cpu_us: u64 = taken.used.cpu_us.values().sum();
    let cpu = taken.used.cpu_us.iter();
    let written = taken.used.written_bytes.iter();
    let transactions = found.transactions.max(1) as f64;
    let refused = refusals(&taken.samples);
    let retryable = |sample: &&load::Sample| matches!(sample.call.outcome, Outcome::Refused(code) if code.is_retryable());
    Run {
        pace,
        measured_s,
        done_per_s: done as f64 / measured_s,
        done_per_s_to_the_end: samples.len() as f64 / taken.ended_s().max(measured_s),
        latency: Latency::of(due().map(|s| s.done.saturating_sub(s.due))),
        endorse_p50_ms: p50_ms(&|s| s.call.endorse),
        commit_p50_ms: p50_ms(&|s| s.call.commit),
        refused,
        refused_retryable: taken.samples.iter().filter(retryable).count() as u64,
        conflicts: found.invalid.clone(),
        unsent: taken.unsent,
        unsure_and_committed: found.unsure_and_committed,
        others: found.others,
        cpu_us_per_call: cpu.map(|(part, us)| (*part, each(*us))).collect(),
        cpu_us_per_call_total: each(cpu_us),
        processors_used: cpu_us as f64 / 1e6 / measured_s,
        transactions: found.transactions,
        envelope_bytes: found.envelope_bytes as f64 / transactions,
        transactions_per_block: transactions / found.blocks.max(1) as f64,
        wire_bytes_per_call: each(taken.used.loopback_bytes),
        disk_bytes_per_transaction: grown
            .iter()
            .filter(|_| found.transactions > 0)
            .map(|(part, bytes)| (*part, of_node(*part, *bytes / transactions)))
            .collect(),
        written_bytes_per_call: written
            .map(|(part, bytes)| (*part, of_node(*part, each(*bytes))))
            .collect(),
        memory: meter.memory(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_one_of_the_rates() {
        let check = |rates: &[f64], expect| assert_eq!(median(rates.iter().copied()), expect);
        check(&[], None);
        check(&[7.0], Some(0));
        check(&[3.0, 1.0, 2.0], Some(2));
        check(&[4.0, 1.0, 3.0, 2.0], Some(3));
    }
}

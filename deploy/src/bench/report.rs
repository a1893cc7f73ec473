//! What was measured. Every figure has its unit in its name.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use anyhow::Context;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::load::{Latency, Pace};
use super::stages::Stage;
use super::usage::{Memory, Part};
use super::world::Workload;
use crate::network::Network;
use crate::process::{binary, stopwatch};
use crate::topology::Kind;

/// The whole report.
#[derive(Debug, Serialize)]
pub struct Report {
    /// What was run, and where.
    pub setting: Setting,
    /// From an empty folder to the first valid transaction: keys, processes, channel, contract.
    pub start_up_s: f64,
    /// From the command to end until every process had ended.
    pub stop_s: f64,
    /// From the start of the same processes until the next valid transaction.
    pub restart_s: f64,
    /// Bytes of one stopped node's ledger for each transaction of all runs, by part: without a log of
    /// writes, which is bounded and does not grow with the ledger. What the ledger held before the
    /// runs counts as theirs, so a short benchmark finds more.
    pub ledger_bytes_per_transaction_at_rest: BTreeMap<Part, f64>,
    /// What was measured of each function.
    pub workloads: Vec<Measured>,
    /// The parts of a consent grant, each measured alone.
    pub stages: Vec<Stage>,
}

/// What was run, and where.
#[derive(Debug, Clone, Serialize)]
pub struct Setting {
    /// The profile that the programs were built with.
    pub profile: String,
    /// SHA-256 of each program and of the contract's package.
    pub sha256: BTreeMap<String, String>,
    /// How many organizations, each with a peer.
    pub organizations: usize,
    /// How many orderers.
    pub orderers: usize,
    /// How many organizations endorse.
    pub endorsements: usize,
    /// The configuration file of one node of each kind; all are as the demonstration's.
    pub node_files: BTreeMap<String, String>,
    /// The machine.
    pub machine: Machine,
}

/// The machine.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    /// The processor's name.
    pub processor: String,
    /// Processors that this program may use.
    pub processors: usize,
    /// Memory, in bytes.
    pub memory_bytes: u64,
    /// The kernel's release.
    pub kernel: String,
    /// How long the disk takes to keep 4 KiB appended to a file: half of a hundred times no longer.
    pub fsync_p50_ms: f64,
}

/// What was measured of one function.
#[derive(Debug, Clone, Serialize)]
pub struct Measured {
    /// The function.
    pub workload: Workload,
    /// The search for the saturation point: twice as many in flight each time.
    pub search: Vec<Run>,
    /// How many in flight saturate.
    pub saturation_in_flight: usize,
    /// Runs at saturation.
    pub saturated: Vec<Run>,
    /// Of those, the one with the median rate.
    pub median: Run,
    /// At a given rate: a part of what saturates, and twice as much.
    pub paced: Vec<Run>,
    /// One in flight.
    pub idle: Run,
}

/// One run.
#[derive(Debug, Clone, Serialize)]
pub struct Run {
    /// How calls were made.
    pub pace: Pace,
    /// How long the measured part was.
    pub measured_s: f64,
    /// Calls that were answered or committed as valid in it, in a second.
    pub done_per_s: f64,
    /// The same over the whole run, from its beginning until the last call was over: at a rate that is
    /// too high, what is behind at the end of the measured part is done after it.
    pub done_per_s_to_the_end: f64,
    /// How long those took that were due in it.
    pub latency: Latency,
    /// The first part of that: until the endorsements are here. For a question all of it.
    pub endorse_p50_ms: f64,
    /// The second: until the verdict is here.
    pub commit_p50_ms: f64,
    /// Calls that nodes refused before they were ordered, by code, over the whole run.
    pub refused: BTreeMap<&'static str, u64>,
    /// Of these, how many the code says may be made again.
    pub refused_retryable: u64,
    /// Transactions that conflicted, by verdict, over the whole run.
    pub conflicts: BTreeMap<String, u64>,
    /// Calls that were due and not made, because this program had too many under way.
    pub unsent: u64,
    /// Calls whose submission failed and that are committed all the same.
    pub unsure_and_committed: u64,
    /// Transactions that peers made themselves meanwhile.
    pub others: u64,
    /// Time on processors for each call, by part and in all, in microseconds.
    pub cpu_us_per_call: BTreeMap<Part, f64>,
    /// All parts together.
    pub cpu_us_per_call_total: f64,
    /// How much of the machine's processors was used by all parts together.
    pub processors_used: f64,
    /// Transactions of the whole run on the ledger.
    pub transactions: u64,
    /// Bytes of an ordered envelope, on average.
    pub envelope_bytes: f64,
    /// Transactions in a block, on average.
    pub transactions_per_block: f64,
    /// Bytes on the loopback for each call, all connections together, headers of TCP and IP included,
    /// by the counter of the interface: what other programs send there counts too.
    pub wire_bytes_per_call: f64,
    /// By how much the folder of one node grew for each transaction of the whole run, in bytes. Logs of
    /// databases come and go: over a short run this says little.
    pub disk_bytes_per_transaction: BTreeMap<Part, f64>,
    /// What one node had the system write to the disk for each call, in bytes.
    pub written_bytes_per_call: BTreeMap<Part, f64>,
    /// The memory of each process when the run was over.
    pub memory: Vec<Memory>,
}

impl Run {
    /// The most memory that a process of this part ever had, in bytes.
    pub fn peak_bytes(&self, part: Part) -> u64 {
        let same = self.memory.iter().filter(|memory| memory.part == part);
        same.map(|memory| memory.peak_bytes)
            .max()
            .unwrap_or_default()
    }
}

impl Setting {
    /// Looks at the programs beside this one, the network and the machine.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub(crate) fn of(network: &Network, package: &[u8]) -> anyhow::Result<Self> {
        let contract = hex::encode(Sha256::digest(package));
        let mut sha256 = BTreeMap::from([("contract".to_owned(), contract)]);
        let programs = [
            binary("stela-peer")?,
            binary("stela-orderer")?,
            std::env::current_exe()?,
        ];
        for path in programs {
            let name = path.file_name().and_then(|name| name.to_str());
            let name = name.context("a program has no name")?.to_owned();
            let hash = file_digest(&path).with_context(|| path.display().to_string())?;
            sha256.insert(name, hex::encode(hash));
        }
        let topology = network.topology();
        let mut node_files = BTreeMap::new();
        for kind in [Kind::Orderer, Kind::Peer] {
            let node = topology.of(kind).next().context("a kind has no node")?;
            let path = network
                .node_folder(node)
                .join(format!("{}.toml", kind.role()));
            node_files.insert(kind.role().to_owned(), std::fs::read_to_string(path)?);
        }
        Ok(Self {
            profile: profile()?,
            sha256,
            organizations: topology.of(Kind::Peer).count(),
            orderers: topology.of(Kind::Orderer).count(),
            endorsements: 2,
            node_files,
            machine: Machine::this(network.folder())?,
        })
    }
}

impl Setting {
    /// Enters the package of one more contract.
    pub(crate) fn add_package(&mut self, contract: &str, package: &[u8]) {
        let hash = hex::encode(Sha256::digest(package));
        self.sha256.insert(contract.to_owned(), hash);
    }
}

/// The profile of a build is the name of the folder in which cargo leaves its programs.
fn profile() -> anyhow::Result<String> {
    let own = std::env::current_exe()?;
    let folder = own.parent().and_then(Path::file_name);
    let name = folder.and_then(|name| name.to_str());
    Ok(name.context("this program is in no folder")?.to_owned())
}

/// SHA-256 of a file, which is not read into memory: that would count as this program's.
fn file_digest(path: &Path) -> std::io::Result<[u8; 32]> {
    let mut file = File::open(path)?;
    let (mut hasher, mut part) = (Sha256::new(), vec![0; 1 << 16]);
    loop {
        match file.read(&mut part)? {
            0 => return Ok(hasher.finalize().into()),
            bytes => hasher.update(&part[..bytes]),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} × {}, {:.1} GiB, Linux {}, fsync {:.2} ms",
            self.processors,
            self.processor,
            self.memory_bytes as f64 / f64::from(1 << 30),
            self.kernel,
            self.fsync_p50_ms
        )
    }
}

impl Machine {
    fn this(folder: &Path) -> anyhow::Result<Self> {
        let line = |path: &str, name: &str| -> anyhow::Result<Option<String>> {
            let text = std::fs::read_to_string(path)?;
            let mut lines = text.lines();
            let value = lines.find_map(|line| line.strip_prefix(name)?.trim().strip_prefix(':'));
            Ok(value.map(|value| value.trim().to_owned()))
        };
        let processor = line("/proc/cpuinfo", "model name")?;
        let memory = line("/proc/meminfo", "MemTotal")?.context("/proc/meminfo says no total")?;
        let kib: u64 = memory.trim_end_matches("kB").trim().parse()?;
        Ok(Self {
            processor: processor.unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            processors: std::thread::available_parallelism()?.get(),
            memory_bytes: kib * 1024,
            kernel: std::fs::read_to_string("/proc/sys/kernel/osrelease")?
                .trim()
                .to_owned(),
            fsync_p50_ms: fsync(&folder.join("fsync"))?.p50_ms,
        })
    }
}

/// How long it takes to have a little more of a file on the disk.
fn fsync(path: &Path) -> anyhow::Result<Latency> {
    let mut file = File::create(path)?;
    let once = |_| {
        let started = stopwatch();
        file.write_all(&[0x5a; 4096])?;
        file.sync_data()?;
        anyhow::Ok(started.elapsed())
    };
    let lasted: Vec<_> = (0..100).map(once).collect::<anyhow::Result<_>>()?;
    std::fs::remove_file(path)?;
    Ok(Latency::of(lasted))
}

impl Report {
    /// The report as people read it.
    pub fn table(&self) -> String {
        let setting = &self.setting;
        let mut text = format!(
            "{}; {} orderers, {} organizations with one peer each, {} endorse; profile {}\n",
            setting.machine,
            setting.orderers,
            setting.organizations,
            setting.endorsements,
            setting.profile
        );
        for measured in &self.workloads {
            measured.write(&mut text);
        }
        self.write_stages(&mut text);
        let _ = writeln!(
            text,
            "\nstart {:.1} s, stop {:.1} s, restart {:.1} s",
            self.start_up_s, self.stop_s, self.restart_s
        );
        for (part, bytes) in &self.ledger_bytes_per_transaction_at_rest {
            let _ = writeln!(
                text,
                "{part:?} when stopped: {bytes:.0} B of ledger for each transaction of all runs"
            );
        }
        text
    }

    fn write_stages(&self, text: &mut String) {
        if self.stages.is_empty() {
            return;
        }
        let _ = writeln!(text, "\nCPU of one consent grant, its parts measured alone");
        for stage in &self.stages {
            let _ = writeln!(
                text,
                "{:>9.1} µs × {:<4} = {:>8.1} µs  {}",
                stage.each_us,
                stage.times,
                stage.each_us * stage.times,
                stage.name
            );
        }
        let known: f64 = self
            .stages
            .iter()
            .map(|stage| stage.each_us * stage.times)
            .sum();
        let grant = |measured: &&Measured| measured.workload == Workload::ConsentGrant;
        if let Some(measured) = self.workloads.iter().find(grant) {
            let all = measured.median.cpu_us_per_call_total;
            let _ = writeln!(
                text,
                "{known:>28.1} µs  together, of {all:.0} µs; the rest is Raft, blocks between nodes, events and scheduling"
            );
        }
    }
}

impl Measured {
    /// By how much the folder of one node of this part grew for each transaction, in bytes, over all
    /// runs together.
    pub fn disk_bytes_per_transaction(&self, part: Part) -> f64 {
        let (mut bytes, mut transactions) = (0.0, 0.0);
        for run in self.runs() {
            let each = run.disk_bytes_per_transaction.get(&part);
            bytes += each.copied().unwrap_or_default() * run.transactions as f64;
            transactions += run.transactions as f64;
        }
        bytes / f64::max(transactions, 1.0)
    }

    /// How many transactions all runs together committed.
    pub fn transactions(&self) -> u64 {
        self.runs().map(|run| run.transactions).sum()
    }

    fn runs(&self) -> impl Iterator<Item = &Run> {
        let runs = self.search.iter().chain(&self.saturated).chain(&self.paced);
        runs.chain([&self.idle])
    }

    fn write(&self, text: &mut String) {
        let _ = writeln!(
            text,
            "\n{}\n{:<26} {:>8} {:>8} {:>8} {:>8} {:>7} {:>6} {:>6} {:>6} {:>7} {:>7} {:>7}  not done",
            self.workload.name(),
            "",
            "per s",
            "p50 ms",
            "p95 ms",
            "p99 ms",
            "CPU µs",
            "peers",
            "order.",
            "client",
            "wire B",
            "peer B",
            "order B"
        );
        let searched = self.search.iter().map(|run| ("search", run));
        let saturated = self.saturated.iter().map(|run| ("saturated", run));
        let paced = self.paced.iter().map(|run| ("paced", run));
        let runs = searched.chain(saturated).chain([("median", &self.median)]);
        for (what, run) in runs.chain(paced).chain([("idle", &self.idle)]) {
            run.write(what, text);
        }
        let peaks = [Part::Peer, Part::Orderer, Part::LoadGenerator];
        let [peer, orderer, client] = peaks.map(|part| self.median.peak_bytes(part) as f64 / 1e6);
        let _ = writeln!(
            text,
            "envelope {:.0} B, {:.1} in a block; disk for each, over all runs: peer {:.0} B, orderer \
             {:.0} B; peak memory: peer {peer:.0} MB, orderer {orderer:.0} MB, load generator {client:.0} MB",
            self.median.envelope_bytes,
            self.median.transactions_per_block,
            self.disk_bytes_per_transaction(Part::Peer),
            self.disk_bytes_per_transaction(Part::Orderer)
        );
    }
}

impl Run {
    fn write(&self, what: &str, text: &mut String) {
        let pace = format!("{what}, {}", self.pace);
        let of =
            |map: &BTreeMap<Part, f64>, part: Part| map.get(&part).copied().unwrap_or_default();
        let cpu = &self.cpu_us_per_call;
        let disk = &self.disk_bytes_per_transaction;
        let _ = writeln!(
            text,
            "{pace:<26} {:>8.0} {:>8.1} {:>8.1} {:>8.1} {:>7.0} {:>6.0} {:>6.0} {:>6.0} {:>7.0} {:>7.0} \
             {:>7.0}  {}",
            self.done_per_s,
            self.latency.p50_ms,
            self.latency.p95_ms,
            self.latency.p99_ms,
            self.cpu_us_per_call_total,
            of(cpu, Part::Peer),
            of(cpu, Part::Orderer),
            of(cpu, Part::LoadGenerator),
            self.wire_bytes_per_call,
            of(disk, Part::Peer),
            of(disk, Part::Orderer),
            self.not_done()
        );
    }

    fn not_done(&self) -> String {
        let refused = self
            .refused
            .iter()
            .map(|(code, count)| format!("{count} {code}"));
        let conflicts = self
            .conflicts
            .iter()
            .map(|(code, count)| format!("{count} {code}"));
        let unsent = (self.unsent > 0).then(|| format!("{} unsent", self.unsent));
        let behind = self.done_per_s_to_the_end;
        let late = matches!(self.pace, Pace::PerSecond(rate) if behind < 0.9 * rate);
        let late = late.then(|| format!("{behind:.0} per s to the end"));
        let all: Vec<String> = refused.chain(conflicts).chain(unsent).chain(late).collect();
        all.join(", ")
    }
}

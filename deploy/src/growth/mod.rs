//! What it costs when work grows: the state, its values, the organizations, the orderers, the channels
//! and the length of the ledger, one after the other.
//!
//! Networks, people, clients and the look at the ledger after every run are those of
//! [`bench`](crate::bench), and so is what makes a run one that is not reported. Calls are as many in
//! flight at every size. Of each size the run with the median rate counts; processor time for each call
//! says more than the rate, since everything shares the processors of one machine.

mod entries;
mod grants;
mod ledger;
mod plan;
mod plot;
mod report;

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, ensure};
use tokio::time::Instant;

pub use self::ledger::{CatchUp, LedgerPoint, StartUp};
pub use self::plan::{Growing, Plan};
pub use self::plot::plots;
pub use self::report::{Filled, Point, Report, Series};
use crate::bench::{Auditor, Calls, Meter, Observer, Pace, Registrar, Run, Setting, median};
use crate::limits::{GROWTH_SETTLE, GROWTH_SETTLED, POLL, READY};
use crate::network::{Launcher, Network};
use crate::process::stopwatch;
use crate::topology::Topology;

/// The contracts' packages.
pub struct Packages {
    /// The contract for records, of which consents are granted.
    pub healthcare: Vec<u8>,
    /// The contract that makes a ledger large.
    pub entries: Vec<u8>,
}

/// What all measurements share.
struct Session<'a> {
    plan: &'a Plan,
    folder: &'a Path,
    packages: &'a Packages,
    /// Of the first network.
    setting: Option<Setting>,
    say: &'a dyn Fn(&str),
}

/// A network that is measured.
struct Site {
    network: Network,
    observer: Observer,
}

/// Measures everything that the plan names, each in networks of its own, which are made in `folder` one
/// after the other and removed.
///
/// # Errors
/// When a network cannot be run, its ledger would not fit the disk, or a run must not be reported; then
/// why.
pub async fn run(
    plan: &Plan,
    folder: &Path,
    packages: &Packages,
    say: &dyn Fn(&str),
) -> anyhow::Result<Report> {
    must_fit(folder, plan.disk_bytes())?;
    let mut session = Session {
        plan,
        folder,
        packages,
        setting: None,
        say,
    };
    let (mut series, mut ledger) = (Vec::new(), Vec::new());
    for growing in &plan.growing {
        say(growing.name());
        let points = match growing {
            Growing::Keys => session.keys().await?,
            Growing::Values => session.values().await?,
            Growing::Organizations => session.organizations().await?,
            Growing::Orderers => session.orderers().await?,
            Growing::Channels => session.channels().await?,
            Growing::Ledger => {
                ledger = session.ledger().await?;
                continue;
            }
        };
        series.push(Series::of(*growing, points));
    }
    Ok(Report {
        setting: session.setting.context("nothing was to be measured")?,
        in_flight: plan.in_flight,
        series,
        ledger,
    })
}

/// # Errors
/// When a folder's disk has not so much room.
fn must_fit(folder: &Path, bytes: u64) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder)?;
    let disk = rustix::fs::statvfs(folder)?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    ensure!(
        free >= bytes,
        "the ledgers take about {} GB of disk, {} are free; choose fewer with --max-keys and \
         --transactions, or another disk with --out",
        bytes.div_ceil(1_000_000_000),
        free / 1_000_000_000
    );
    Ok(())
}

impl Session<'_> {
    /// Starts the nodes of a new network; they join no channel yet.
    async fn start(&mut self, organizations: usize, orderers: usize) -> anyhow::Result<Network> {
        ensure!(
            organizations >= 2,
            "two organizations endorse, so there have to be two"
        );
        let topology = Topology::ledger_on_free_ports(organizations, orderers)?;
        let directly: Launcher = Box::new(|_| Vec::new());
        let healthcare = &self.packages.healthcare;
        let mut network = Network::prepare(self.folder, topology, healthcare, &[], directly)?;
        network.start_ledger()?;
        if self.setting.is_none() {
            let mut setting = Setting::of(&network, healthcare)?;
            setting.add_package("entries", &self.packages.entries);
            self.setting = Some(setting);
        }
        Ok(network)
    }

    /// Measures as often as planned.
    async fn measure(
        &self,
        site: &mut Site,
        size: u64,
        calls: &Arc<impl Calls>,
    ) -> anyhow::Result<Point> {
        let disk_bytes = site.observer.meter.disk_bytes_of_one();
        let mut runs: Vec<Run> = Vec::new();
        for _ in 0..self.plan.repeats.max(1) {
            let pace = Pace::InFlight(self.plan.in_flight);
            let observer = &site.observer;
            let run = observer.run(&mut site.network, calls, false, pace, self.plan.span());
            runs.push(run.await?);
        }
        let place = median(runs.iter().map(|run| run.done_per_s));
        let median = place.and_then(|place| runs.get(place));
        let median = median.context("nothing was measured")?.clone();
        (self.say)(&format!(
            "  {size}: {:.0} per s, p50 {:.1} ms, p99 {:.1} ms, {:.0} µs",
            median.done_per_s,
            median.latency.p50_ms,
            median.latency.p99_ms,
            median.cpu_us_per_call_total
        ));
        Ok(Point::of(size, disk_bytes, runs, median))
    }

    /// Ends a network and removes what it left.
    fn end(&self, mut site: Site) -> anyhow::Result<()> {
        site.network.stop()?;
        let folder = site.network.folder().to_owned();
        drop(site);
        Ok(std::fs::remove_dir_all(folder)?)
    }
}

impl Site {
    /// With auditors of these channels, by those who issue identities for them.
    async fn open(network: Network, registrars: &[&Registrar]) -> anyhow::Result<Self> {
        let mut auditors = Vec::new();
        for registrar in registrars {
            auditors.push(Auditor::begin(registrar.auditor()?, network.folder()).await?);
        }
        let meter = Meter::of(&network)?;
        Ok(Self {
            network,
            observer: Observer { auditors, meter },
        })
    }

    /// Stops all nodes and starts them again, so that nothing that was written before is still to be
    /// moved from their databases' memory to the disk while calls are measured.
    ///
    /// # Errors
    /// When one does not come back.
    async fn restart(&mut self) -> anyhow::Result<()> {
        self.network.stop()?;
        self.network.start_ledger()?;
        self.agree_again().await
    }

    /// Watches the processes that run now, and waits until all peers have the same state.
    ///
    /// # Errors
    /// When they do not, or one does not answer.
    async fn agree_again(&mut self) -> anyhow::Result<()> {
        self.observer.meter = Meter::of(&self.network)?;
        let deadline = Instant::now() + READY;
        // A connection to a process that is gone fails once before another one is made.
        while let Err(error) = self.observer.agreed_heights().await {
            ensure!(Instant::now() < deadline, "{error:#}");
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// Waits until the nodes' folders keep their size, so that databases have put in order what was
    /// written; says how many seconds that took.
    ///
    /// # Errors
    /// When they do not come to rest.
    async fn settle(&self) -> anyhow::Result<f64> {
        let started = stopwatch();
        let (mut bytes, mut since) = (self.observer.meter.disk_bytes(), Instant::now());
        while since.elapsed() < GROWTH_SETTLED {
            let in_time = started.elapsed() < GROWTH_SETTLE;
            ensure!(in_time, "the nodes' disks do not come to rest");
            tokio::time::sleep(POLL).await;
            let now = self.observer.meter.disk_bytes();
            if now != bytes {
                (bytes, since) = (now, Instant::now());
            }
        }
        Ok(started
            .elapsed()
            .saturating_sub(GROWTH_SETTLED)
            .as_secs_f64())
    }
}

//! A ledger that becomes long: what a transaction takes on disks, how soon a peer that was stopped
//! serves again, and how soon a new one has caught up.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde::Serialize;
use stela_client::Admin;
use tokio::time::Instant;

use super::grants::Grants;
use super::{Session, Site};
use crate::bench::{
    Meter, Pace, Part, Person, Registrar, Run, Span, World, grown_by, make, must_be_none, register,
};
use crate::limits::{GROWTH_LOAD, GROWTH_POLL, POLL, READY, STOP};
use crate::materials::genesis_file;
use crate::network::Network;
use crate::process::{peak_bytes, resident_bytes, stopwatch, terminate};
use crate::topology::{CHANNEL, Kind, Node};

/// What was measured at one length of the ledger.
#[derive(Debug, Clone, Serialize)]
pub struct LedgerPoint {
    /// Transactions of the ledger.
    pub transactions: u64,
    /// Its blocks.
    pub blocks: u64,
    /// The last run before it had that length.
    pub last: Run,
    /// Bytes of one node's folder for each transaction.
    pub disk_bytes_per_transaction: BTreeMap<Part, f64>,
    /// A peer that had been asked to end is started.
    pub after_stop: StartUp,
    /// A peer that had been killed is started.
    pub after_kill: StartUp,
    /// A peer with an empty folder joins the channel.
    pub catch_up: CatchUp,
}

/// How soon a peer serves after its process was started.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct StartUp {
    /// Until it says how it is on the channel.
    pub healthy_s: f64,
    /// Until the first question to the contract is answered.
    pub evaluated_s: f64,
    /// Memory that is resident then, in bytes.
    pub resident_bytes: u64,
}

/// How soon a new peer has a whole ledger: received, validated and written.
#[derive(Debug, Clone, Serialize)]
pub struct CatchUp {
    /// From its command to join until it has the last block.
    pub seconds: f64,
    /// Blocks in a second.
    pub blocks_per_s: f64,
    /// Transactions in a second.
    pub transactions_per_s: f64,
    /// Time on processors for each transaction, by part, in microseconds; the load generator only waits.
    pub cpu_us_per_transaction: BTreeMap<Part, f64>,
    /// The most memory that was resident in the new peer, in bytes.
    pub peak_bytes: u64,
}

/// The ledger that becomes long.
struct Long {
    site: Site,
    registrar: Registrar,
    /// Is asked to end.
    stopped: Peer,
    /// Is killed, and later emptied. It is another one because a database that was opened has put in
    /// order what is in its log: after that a start is quicker.
    killed: Peer,
}

/// A peer that is started again.
struct Peer {
    node: Node,
    /// Its place among the peers.
    place: usize,
    /// Asks this peer alone.
    asker: Person,
}

impl Session<'_> {
    pub(super) async fn ledger(&mut self) -> anyhow::Result<Vec<LedgerPoint>> {
        let mut network = self.start(2, 3).await?;
        let registrar = self.open_care(&mut network, CHANNEL).await?;
        let grants = Grants::of(World::of_patients(&registrar).await?);
        let site = Site::open(network, &[&registrar]).await?;
        let mut long = Long::of(site, registrar).await?;
        let empty = long.site.observer.meter.disk_bytes();
        let (mut points, mut there, mut rate) = (Vec::new(), 0u64, 0.0);
        for wanted in self.plan.transactions.clone() {
            let last = loop {
                let pace = Pace::InFlight(self.plan.in_flight);
                let span = span(wanted.saturating_sub(there), rate);
                let Site { network, observer } = &mut long.site;
                let run = observer.run(network, &grants, false, pace, span).await?;
                there += run.transactions;
                rate = run.done_per_s;
                (self.say)(&format!("  {there} transactions, {rate:.0} per s"));
                if there >= wanted {
                    break run;
                }
            };
            points.push(self.long(&mut long, there, last, &empty).await?);
        }
        self.end(long.site)?;
        Ok(points)
    }

    async fn long(
        &self,
        long: &mut Long,
        transactions: u64,
        last: Run,
        empty: &BTreeMap<Part, u64>,
    ) -> anyhow::Result<LedgerPoint> {
        long.site.settle().await?;
        let observer = &long.site.observer;
        let heights = observer.agreed_heights().await?;
        let blocks = heights.into_iter().sum();
        let meter = &observer.meter;
        let grown = grown_by(&meter.disk_bytes(), empty).into_iter();
        let each = |(part, bytes)| {
            let nodes = meter.count(part).max(1) as f64;
            (part, bytes / nodes / transactions as f64)
        };
        let disk_bytes_per_transaction = grown.map(each).collect();
        let logs = meter.log_bytes();
        stop(&mut long.site.network, &long.stopped.node).await?;
        let after_stop = long.site.start_up(&long.registrar, &long.stopped).await?;
        long.site.network.kill(&long.killed.node)?;
        let after_kill = long.site.start_up(&long.registrar, &long.killed).await?;
        (self.say)(&format!(
            "  a peer serves {:.2} s after its start, {:.2} s when it was killed",
            after_stop.evaluated_s, after_kill.evaluated_s
        ));
        let package = &self.packages.healthcare;
        let node = &long.killed.node;
        let catch_up = long.site.catch_up(node, blocks, transactions, package);
        let catch_up = catch_up.await?;
        must_be_none(&long.site.observer.meter.errors_since(&logs))?;
        (self.say)(&format!(
            "  a new peer has {blocks} blocks after {:.1} s: {:.0} transactions per s",
            catch_up.seconds, catch_up.transactions_per_s
        ));
        Ok(LedgerPoint {
            transactions,
            blocks,
            last,
            disk_bytes_per_transaction,
            after_stop,
            after_kill,
            catch_up,
        })
    }
}

/// How long to make calls when so many transactions are missing and so many come in a second.
fn span(missing: u64, per_s: f64) -> Span {
    let needed = Duration::try_from_secs_f64(missing as f64 / per_s.max(1.0));
    let needed = needed.unwrap_or(GROWTH_LOAD);
    Span {
        warm_up: Duration::ZERO,
        measured: match per_s > 0.0 {
            true => needed.clamp(Duration::from_secs(1), GROWTH_LOAD),
            // Nothing is known yet.
            false => Duration::from_secs(1),
        },
    }
}

impl Long {
    async fn of(site: Site, registrar: Registrar) -> anyhow::Result<Self> {
        let nodes: Vec<Node> = site.network.topology().of(Kind::Peer).cloned().collect();
        let mut peers = Vec::new();
        for ((node, place), asker) in nodes.into_iter().zip(0..).zip(registrar.auditor()?) {
            register(&asker).await?;
            peers.push(Peer { node, place, asker });
        }
        let killed = peers.pop().context("there are no peers")?;
        let stopped = peers.pop().context("there is one peer only")?;
        Ok(Self {
            site,
            registrar,
            stopped,
            killed,
        })
    }
}

impl Peer {
    /// Whether the contract answers who asks which practitioners have encryption keys.
    async fn answers(&self) -> bool {
        let argument = r#"{"organization":"HospitalA","role":"practitioner"}"#;
        let proposal = self.asker.contract.proposal("encryption_keys");
        make(Ok(proposal.text(argument)), false).await.is_answered()
    }
}

async fn stop(network: &mut Network, node: &Node) -> anyhow::Result<()> {
    terminate(network.process_id(node)?)?;
    network.wait_ended(node, STOP).await
}

impl Site {
    /// Starts a peer and asks it until it serves.
    async fn start_up(&mut self, registrar: &Registrar, peer: &Peer) -> anyhow::Result<StartUp> {
        let health = registrar.health(peer.place)?;
        let channel = peer.asker.contract.network().channel().clone();
        let deadline = Instant::now() + READY;
        let started = stopwatch();
        self.network.start(&peer.node)?;
        let mut healthy_s = None;
        let (healthy_s, evaluated_s) = loop {
            if healthy_s.is_none() {
                let health = health.check(&channel, false).await;
                let serves = health.is_ok_and(|health| health.channel.is_some());
                healthy_s = serves.then(|| started.elapsed().as_secs_f64());
            }
            if let Some(healthy_s) = healthy_s
                && peer.answers().await
            {
                break (healthy_s, started.elapsed().as_secs_f64());
            }
            let title = peer.node.title();
            ensure!(Instant::now() < deadline, "{title} does not serve again");
            tokio::time::sleep(GROWTH_POLL).await;
        };
        let id = self.network.process_id(&peer.node)?;
        self.agree_again().await?;
        Ok(StartUp {
            healthy_s,
            evaluated_s,
            resident_bytes: resident_bytes(id).unwrap_or_default(),
        })
    }

    /// Takes everything from a peer but who it is, and has it join the channel again.
    async fn catch_up(
        &mut self,
        node: &Node,
        blocks: u64,
        transactions: u64,
        package: &[u8],
    ) -> anyhow::Result<CatchUp> {
        let network = &mut self.network;
        stop(network, node).await?;
        let data = network.node_folder(node).join("data");
        std::fs::remove_dir_all(&data)?;
        std::fs::create_dir(&data)?;
        network.start(node)?;
        network.answers(node).await?;
        let (meter, admin) = (Meter::of(network)?, network.admin(node)?);
        admin.install(package.to_vec().into()).await?;
        let genesis = std::fs::read(genesis_file(network.folder(), CHANNEL))?;
        let before = meter.read()?;
        let started = stopwatch();
        network.join(node, genesis).await?;
        wait_for(&admin, blocks).await?;
        let seconds = started.elapsed().as_secs_f64();
        let used = meter.read()?.since(&before).cpu_us.into_iter();
        let peak_bytes = peak_bytes(network.process_id(node)?).unwrap_or_default();
        self.agree_again().await?;
        Ok(CatchUp {
            seconds,
            blocks_per_s: blocks as f64 / seconds,
            transactions_per_s: transactions as f64 / seconds,
            cpu_us_per_transaction: used
                .map(|(part, us)| (part, us as f64 / transactions.max(1) as f64))
                .collect(),
            peak_bytes,
        })
    }
}

/// Waits until the node has so many blocks, as long as they become more.
async fn wait_for(admin: &Admin, blocks: u64) -> anyhow::Result<()> {
    let (mut height, mut since) = (0, Instant::now());
    while height < blocks {
        ensure!(
            since.elapsed() < READY,
            "a new peer stands still at {height} of {blocks} blocks"
        );
        tokio::time::sleep(POLL).await;
        let status = admin.status().await?;
        let channel = status
            .channels
            .first()
            .context("it has joined no channel")?;
        if channel.height > height {
            (height, since) = (channel.height, Instant::now());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_made_until_enough_are_there() {
        let check = |missing, per_s, expect: f64| {
            let span = span(missing, per_s);
            assert_eq!(span.measured, Duration::from_secs_f64(expect));
        };
        check(1_000_000, 0.0, 1.0);
        check(6_000, 2_000.0, 3.0);
        check(10, 2_000.0, 1.0);
        check(1_000_000, 2_000.0, GROWTH_LOAD.as_secs_f64());
    }
}

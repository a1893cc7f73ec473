//! The fault harness: a whole network of real processes under faults, with clients that write and
//! read all the time.
//!
//! A round injects one [kind](FaultKind) of fault, takes it back, and then looks:
//!
//! - everybody answers again, and clients are acknowledged again;
//! - all peers have the same blocks and the same state after each ([`chain`]), signed by a quorum,
//!   and the orderers have the same newest ones;
//! - what was acknowledged to clients, which is written down outside of the network ([`book`]), is
//!   in the chain, valid, once, and where it was said to be; nothing else is there twice;
//! - records submitted meanwhile can be read, byte for byte ([`records`]).
//!
//! A seed chooses kinds, victims and durations; how they meet the processes is up to the machine.

mod book;
mod chain;
mod damage;
mod inject;
mod kind;
mod load;
mod records;
mod sockets;
mod wire;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde::Serialize;
use stela_client::{ChannelStatus, Network as Client};
use stela_consent::Hex;

use self::book::Book;
use self::chain::Chain;
pub use self::kind::{FaultKind, Schedule};
use self::load::{Counters, Load, client};
use self::records::Records;
use self::wire::Wire;
use crate::cli::Stela;
use crate::limits::{FAULT_PROGRESS, FAULT_RECOVERY, FAULT_SUBMIT, POLL};
use crate::materials::{User, user_folder};
use crate::network::{Network, commands_log};
use crate::process::stopwatch;
use crate::topology::{CHANNEL, Kind, Node};
use crate::users;

/// A running network under faults. Everything that it started ends when it is dropped.
pub struct Harness {
    // Clients end before the nodes, and these before what is between them.
    load: Option<Load>,
    network: Network,
    wire: Wire,
    random: StdRng,
    schedule: Schedule,
    patient: User,
    peers: Vec<(String, Client)>,
    book: Arc<Book>,
    counters: Arc<Counters>,
    chain: Chain,
    records: Records,
}

/// What a run is to be.
pub struct Plan<'a> {
    /// Where everything goes; it must be empty.
    pub folder: &'a Path,
    /// The contract's package.
    pub package: &'a [u8],
    /// Chooses everything that can be chosen.
    pub seed: u64,
    /// Only these kinds; all, if empty.
    pub only: &'a [FaultKind],
    /// Whether to use network namespaces if they can be had.
    pub namespaces: bool,
}

/// A round that went well.
#[derive(Debug, Clone, Serialize)]
pub struct Round {
    /// What kind of fault.
    pub kind: FaultKind,
    /// What was done, in words.
    pub what: String,
    /// How long it took with all checks.
    pub seconds: f64,
    /// Acknowledged so far.
    pub acknowledged: usize,
    /// Blocks so far.
    pub height: u64,
    /// Records so far.
    pub records: usize,
}

/// What a run did.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Totals {
    /// Transactions acknowledged as valid.
    pub acknowledged: usize,
    /// Answers about acknowledged transactions, all of them right.
    pub read: u64,
    /// Calls that were given up.
    pub failed: u64,
    /// Transactions that were acknowledged as invalid.
    pub refused: u64,
    /// Transactions in the chain that are not valid.
    pub invalid: u64,
    /// Blocks.
    pub blocks: u64,
    /// Records.
    pub records: usize,
}

impl Harness {
    /// Starts the network and its clients.
    ///
    /// # Errors
    /// When something does not start.
    pub async fn start(plan: &Plan<'_>, say: &dyn Fn(&str)) -> anyhow::Result<Self> {
        let id = Hex(rand::random());
        let everybody = [users::author(), users::officer(), users::patient(id)];
        let patient = users::patient(id);
        let (mut wire, topology) = Wire::new(plan.namespaces)?;
        say(&format!("between the nodes: {}", wire.name()));
        let folder = plan.folder.join("network");
        let launcher = wire.launcher();
        let mut network = Network::prepare(&folder, topology, plan.package, &everybody, launcher)?;
        wire.connect(&network).await?;
        network.bring_up(plan.package, say).await?;
        let folder = network.folder().to_owned();
        for user in &everybody {
            let stela = Stela::new(user_folder(&folder, user), commands_log(&folder));
            stela.run(&["register"]).await?;
        }
        let peers = network.topology().of(Kind::Peer);
        let peers =
            peers.map(|node| anyhow::Ok((node.title(), client(&folder, &patient, &[node])?)));
        let peers = peers.collect::<anyhow::Result<Vec<_>>>()?;
        let book = Arc::new(Book::create(&plan.folder.join("acknowledged.log"))?);
        let counters = Arc::new(Counters::default());
        let load = Load::start(&network, &patient, &book, &counters)?;
        Ok(Self {
            load: Some(load),
            chain: Chain::begin(&folder)?,
            records: Records::new(&folder, plan.folder.join("documents"), id)?,
            random: StdRng::seed_from_u64(plan.seed),
            schedule: Schedule::new(plan.only),
            network,
            wire,
            patient,
            peers,
            book,
            counters,
        })
    }

    /// What is between the nodes, in words.
    pub fn wire(&self) -> &'static str {
        self.wire.name()
    }

    /// One round.
    ///
    /// # Errors
    /// The kind of fault, and which promise was broken.
    pub async fn round(&mut self) -> Result<Round, (FaultKind, anyhow::Error)> {
        let kind = self.schedule.draw(&mut self.random);
        let started = stopwatch();
        let what = self.go_through(kind).await.map_err(|error| (kind, error))?;
        Ok(Round {
            kind,
            what,
            seconds: started.elapsed().as_secs_f64(),
            acknowledged: self.book.len(),
            height: self.chain.height(),
            records: self.records.len(),
        })
    }

    async fn go_through(&mut self, kind: FaultKind) -> anyhow::Result<String> {
        self.everybody_runs()?;
        let mut submitted = self.records.submit(&mut self.random)?;
        let what = self.inject(kind).await?;
        let checked = self.check().await;
        let submitted = match tokio::time::timeout(FAULT_SUBMIT, &mut submitted).await {
            Ok(submitted) => submitted?,
            Err(_) => {
                submitted.abort();
                None
            }
        };
        self.records.keep(submitted);
        checked.with_context(|| format!("after: {what}"))?;
        let read = self.records.read_some(&mut self.random).await;
        read.with_context(|| format!("after: {what}"))?;
        Ok(what)
    }

    fn everybody_runs(&mut self) -> anyhow::Result<()> {
        for node in self.network.topology().nodes.clone() {
            let runs = self.network.runs(&node)?;
            anyhow::ensure!(runs, "{} ended by itself", node.title());
        }
        Ok(())
    }

    async fn check(&mut self) -> anyhow::Result<()> {
        let before = self.book.len();
        let statuses = self.everybody_answers().await?;
        let enough = || (self.book.len() >= before + FAULT_PROGRESS).then_some(());
        until(enough)
            .await
            .context("clients are not acknowledged")?;
        self.one_history(statuses).await
    }

    /// Everybody has come to the height that somebody says, with one history and one state, and
    /// everything acknowledged is in it.
    async fn one_history(&mut self, statuses: Vec<(String, ChannelStatus)>) -> anyhow::Result<()> {
        let height = statuses.iter().map(|(_, status)| status.height).max();
        let height = height.context("nobody has the channel")?;
        for (title, peer) in &self.peers {
            let reached = reaches(peer, height).await;
            reached.with_context(|| format!("{title} has not come to height {height}"))?;
        }
        self.chain.extend(&self.peers, height).await?;
        for (title, status) in &statuses {
            let expect = self.chain.hash(status.height.saturating_sub(1));
            anyhow::ensure!(
                expect == Some(status.header_hash),
                "{title} has another block {}",
                status.height - 1
            );
        }
        self.chain.check(&self.book)?;
        let wrong = self.counters.wrong.lock();
        anyhow::ensure!(wrong.is_empty(), "wrong answers: {}", wrong.join("; "));
        Ok(())
    }

    /// Where every orderer and peer stands, as soon as all of them say so.
    async fn everybody_answers(&mut self) -> anyhow::Result<Vec<(String, ChannelStatus)>> {
        let mut statuses = Vec::new();
        for node in self.network.topology().nodes.clone() {
            let answered = self.answers(&node).await;
            statuses.extend(answered.with_context(|| format!("{} is not back", node.title()))?);
        }
        Ok(statuses)
    }

    async fn answers(&mut self, node: &Node) -> anyhow::Result<Option<(String, ChannelStatus)>> {
        let started = stopwatch();
        loop {
            anyhow::ensure!(self.network.runs(node)?, "it has ended");
            if node.kind == Kind::Storage {
                if tokio::net::TcpStream::connect(node.service.listen)
                    .await
                    .is_ok()
                {
                    return Ok(None);
                }
            } else if let Ok(status) = self.network.status(node).await {
                let mut channels = status.channels.into_iter();
                if let Some(found) = channels.find(|c| c.channel.as_str() == CHANNEL) {
                    return Ok(Some((node.title(), found)));
                }
            }
            anyhow::ensure!(started.elapsed() < FAULT_RECOVERY, "it does not answer");
            tokio::time::sleep(POLL).await;
        }
    }

    fn client_of(&self, node: &Node) -> anyhow::Result<Client> {
        client(self.network.folder(), &self.patient, &[node])
    }

    /// Ends the clients, reads every record once more, and ends the network.
    ///
    /// # Errors
    /// When a record cannot be read, or what was acknowledged last is not there.
    pub async fn finish(&mut self) -> anyhow::Result<()> {
        self.load = None;
        let statuses = self.everybody_answers().await?;
        self.one_history(statuses).await?;
        self.records.read_all().await?;
        self.network.stop()
    }

    /// What was done so far.
    pub fn totals(&self) -> Totals {
        let of = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        Totals {
            acknowledged: self.book.len(),
            read: of(&self.counters.read),
            failed: of(&self.counters.failed),
            refused: of(&self.counters.invalid),
            invalid: self.chain.invalid,
            blocks: self.chain.height(),
            records: self.records.len(),
        }
    }
}

async fn reaches(peer: &Client, height: u64) -> anyhow::Result<()> {
    let started = stopwatch();
    loop {
        let info = peer.info().await;
        match info {
            Ok(info) if info.height >= height => return Ok(()),
            _ if started.elapsed() < FAULT_RECOVERY => tokio::time::sleep(POLL).await,
            Ok(info) => anyhow::bail!("it has {} blocks", info.height),
            Err(error) => return Err(error.into()),
        }
    }
}

async fn until<T>(condition: impl Fn() -> Option<T>) -> anyhow::Result<T> {
    let started = stopwatch();
    loop {
        if let Some(found) = condition() {
            return Ok(found);
        }
        anyhow::ensure!(
            started.elapsed() < FAULT_RECOVERY,
            "not within {} s",
            Duration::as_secs(&FAULT_RECOVERY)
        );
        tokio::time::sleep(POLL).await;
    }
}

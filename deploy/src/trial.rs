//! The doctor's trial: a real network, ten things that are wrong with it, one after the other, and
//! what `stela doctor` says about each. At the end what administrators do to a sound network.
//!
//! Every fault is one that happens: files are exchanged in a node's folder, processes are killed, a
//! clock is shifted under a node by libfaketime, a disk is a small one and really full. Nothing in
//! the product knows of it. What is wrong must be named at the right node with its cure, and nothing
//! else may be called wrong.

mod changes;
mod crowd;
mod explain;
mod folders;
mod small_disk;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;

use self::crowd::Crowd;
use self::folders::Swap;
use self::small_disk::SmallDisk;
use crate::cli::Stela;
use crate::limits::POLL;
use crate::materials::user_folder;
use crate::network::{self, Network, commands_log};
use crate::process::stopwatch;
use crate::topology::{Kind, Node};
use crate::users;

/// How long the doctor may take to see what was done.
const SEEN: Duration = Duration::from_secs(40);
/// How long a node may take to end by itself.
const ENDED: Duration = Duration::from_secs(30);
/// The hospital at which things go wrong.
const PATIENT: &str = "HospitalC";

/// A finding that must be there.
struct Expected {
    check: &'static str,
    subject: String,
    /// What it says.
    found: &'static str,
    /// What its cure says, in words or as a command.
    cure: &'static str,
}

fn expected(
    check: &'static str,
    subject: impl Into<String>,
    found: &'static str,
    cure: &'static str,
) -> Expected {
    Expected {
        check,
        subject: subject.into(),
        found,
        cure,
    }
}

impl Expected {
    fn fits(&self, finding: &Value) -> bool {
        let text = |field: &str| finding.pointer(field).and_then(Value::as_str).unwrap_or("");
        let cure = format!("{} {}", text("/cure/what"), text("/cure/command"));
        text("/verdict") == "failed"
            && text("/check") == self.check
            && text("/subject") == self.subject
            && text("/found").contains(self.found)
            && cure.contains(self.cure)
    }
}

/// The trial.
pub struct Trial<'a> {
    network: &'a mut Network,
    doctor: Stela,
    say: &'a dyn Fn(&str),
}

impl<'a> Trial<'a> {
    /// A trial in this network, in which nothing is wrong yet.
    pub fn new(network: &'a mut Network, say: &'a dyn Fn(&str)) -> Self {
        let profile = user_folder(network.folder(), &users::author());
        let doctor = Stela::new(profile, commands_log(network.folder()));
        Self {
            network,
            doctor,
            say,
        }
    }

    /// Does everything that can be wrong, one after the other.
    ///
    /// # Errors
    /// At the first finding that is not as it must be.
    pub async fn run(mut self) -> anyhow::Result<()> {
        self.well("a sound network").await?;
        self.expired_certificate().await?;
        self.wrong_authority().await?;
        self.clock_off_by_an_hour().await?;
        self.unreachable_orderer().await?;
        self.full_disk().await?;
        self.other_genesis().await?;
        self.missing_contract().await?;
        self.wrong_swarm_key().await?;
        self.quorum_lost().await?;
        self.peer_behind().await?;
        self.well("the network again, with everything mended")
            .await?;
        self.doctor = self.administrator()?;
        self.well("the same, to an administrator").await?;
        explain::conflict(self.network).await?;
        (self.say)("  yes  tx explain names the transaction that was in the way");
        self.storage_report().await?;
        changes::one_more_orderer(self.network).await?;
        self.well("with a fourth orderer, which joined by the configuration in force")
            .await?;
        changes::revocation(self.network).await?;
        (self.say)("  yes  a certificate revoked by its file, in the list of who issued it");
        Ok(())
    }

    /// Nothing was uploaded, so that nothing is kept; but everything was read.
    async fn storage_report(&self) -> anyhow::Result<()> {
        let storage = self.node(Kind::Storage)?;
        self.doctor.run(&["register"]).await?;
        let reports = self.doctor.run(&["storage", "report"]).await?.json;
        let [report] = reports.as_array().map_or(&[][..], Vec::as_slice) else {
            anyhow::bail!("{PATIENT} has one storage node: {reports}");
        };
        let is_its = report["organization"] == PATIENT && report["name"] == storage.name.as_str();
        let read = report.pointer("/last/ended_ms").is_some_and(Value::is_u64);
        let sound = report["permanent"] == 0 && report["open"] == 0 && report["wanted"] == 0;
        let guarded = report["keeps_allow_list"] == true;
        anyhow::ensure!(is_its && read && sound && guarded, "{report}");
        let at = storage.service.public.to_string();
        let same = ["storage", "report", "--node", &at];
        let same = self.doctor.run(&same).await?.json;
        anyhow::ensure!(
            same.pointer("/0/peer_id") == report.get("peer_id"),
            "{same}"
        );
        let other = self.network.topology().node(Kind::Storage, "HospitalA")?;
        let at = other.service.public.to_string();
        let refused = self
            .doctor
            .attempt(&["storage", "report", "--node", &at])
            .await?;
        anyhow::ensure!(
            refused.code == 1,
            "another hospital's node reports: {refused:?}"
        );
        (self.say)("  yes  storage report, of the own organization's node alone");
        Ok(())
    }

    fn administrator(&self) -> anyhow::Result<Stela> {
        let folder = self.network.folder();
        let profile = user_folder(folder, &network::administrator(PATIENT)?);
        Ok(Stela::new(profile, commands_log(folder)))
    }

    fn node(&self, kind: Kind) -> anyhow::Result<Node> {
        Ok(self.network.topology().node(kind, PATIENT)?.clone())
    }

    fn home(&self, node: &Node) -> PathBuf {
        self.network
            .folder()
            .join(&node.organization)
            .join(&node.name)
    }

    async fn findings(&self) -> anyhow::Result<(i32, Vec<Value>)> {
        let answer = self.doctor.attempt(&["doctor"]).await?;
        let findings = answer.json.pointer("/findings").and_then(Value::as_array);
        let findings = findings.with_context(|| format!("no findings: {}", answer.said))?;
        Ok((answer.code, findings.clone()))
    }

    /// Nothing is called wrong.
    async fn well(&self, what: &str) -> anyhow::Result<()> {
        self.until(what, |code, wrong| code == 0 && wrong.is_empty())
            .await
    }

    /// Everything expected is found, and nothing else is called wrong except what follows from it.
    async fn see(&self, what: &str, expected: &[Expected], follows: &[&str]) -> anyhow::Result<()> {
        self.until(what, |code, wrong| {
            let all = expected
                .iter()
                .all(|expected| wrong.iter().any(|finding| expected.fits(finding)));
            let others = wrong.iter().filter(|f| !expected.iter().any(|e| e.fits(f)));
            let strange = others
                .filter(|f| !follows.contains(&f["check"].as_str().unwrap_or_default()))
                .count();
            code == 1 && all && strange == 0
        })
        .await
    }

    async fn until(
        &self,
        what: &str,
        is_as_it_must_be: impl Fn(i32, &[Value]) -> bool,
    ) -> anyhow::Result<()> {
        let started = stopwatch();
        loop {
            let (code, findings) = self.findings().await?;
            let wrong: Vec<Value> = findings
                .into_iter()
                .filter(|finding| finding["verdict"] == "failed")
                .collect();
            if is_as_it_must_be(code, &wrong) {
                (self.say)(&format!("  yes  {what}"));
                return Ok(());
            }
            anyhow::ensure!(
                started.elapsed() < SEEN,
                "{what}: the doctor says, with exit code {code}: {}",
                serde_json::to_string_pretty(&wrong)?
            );
            tokio::time::sleep(POLL).await;
        }
    }

    async fn expired_certificate(&mut self) -> anyhow::Result<()> {
        let (peer, storage) = (self.node(Kind::Peer)?, self.node(Kind::Storage)?);
        let homes = [self.home(&peer), self.home(&storage)];
        let swaps = [
            Swap::identity(&homes[0], folders::expired_identity(self.network, &peer)?)?,
            Swap::tls(&homes[1], folders::expired_tls(self.network, &storage)?)?,
        ];
        self.network.restart(&peer)?;
        self.network.restart(&storage)?;
        let at = storage.service.public;
        let findings = [
            expected("certificate", peer.title(), "expired", "stela ca enroll"),
            expected(
                "certificate",
                format!("{PATIENT}/storage at {at}"),
                "expired",
                "stela ca enroll",
            ),
        ];
        self.see("expired certificates", &findings, &[]).await?;
        drop(swaps);
        self.network.restart(&peer)?;
        self.network.restart(&storage)
    }

    async fn wrong_authority(&mut self) -> anyhow::Result<()> {
        let (peer, storage) = (self.node(Kind::Peer)?, self.node(Kind::Storage)?);
        let homes = [self.home(&peer), self.home(&storage)];
        let swaps = [
            Swap::identity(&homes[0], folders::stranger_identity(&peer)?)?,
            Swap::tls(&homes[1], folders::stranger_tls(&storage)?)?,
        ];
        self.network.restart(&peer)?;
        self.network.restart(&storage)?;
        let at = storage.service.public;
        let findings = [
            expected("authority", peer.title(), "not signed", "stela ca enroll"),
            expected(
                "authority",
                format!("{PATIENT}/storage at {at}"),
                "no authority",
                "stela ca enroll",
            ),
        ];
        self.see("certificates of a wrong authority", &findings, &[])
            .await?;
        drop(swaps);
        self.network.restart(&peer)?;
        self.network.restart(&storage)
    }

    async fn clock_off_by_an_hour(&mut self) -> anyhow::Result<()> {
        let peer = self.node(Kind::Peer)?;
        self.network
            .restart_through(&peer, &folders::an_hour_ahead()?)?;
        let finding = expected("clock", peer.title(), "60 min ahead", "timedatectl");
        self.see("a clock that is off by an hour", &[finding], &[])
            .await?;
        self.network.restart(&peer)
    }

    async fn unreachable_orderer(&mut self) -> anyhow::Result<()> {
        let orderer = self.node(Kind::Orderer)?;
        self.network.kill(&orderer)?;
        let finding = expected(
            "reachable",
            format!("{PATIENT}/orderer number 3"),
            "nobody answers",
            "stela doctor --config orderer.toml",
        );
        self.see("an unreachable orderer", &[finding], &[]).await?;
        self.network.start(&orderer)
    }

    /// First a disk on which there is nothing left while the peer runs, then a peer that cannot
    /// start for it.
    async fn full_disk(&mut self) -> anyhow::Result<()> {
        let peer = self.node(Kind::Peer)?;
        let home = self.home(&peer);
        self.network.stop_node(&peer)?;
        let disk = SmallDisk::over(&home.join("data"))?;
        self.network.restart_through(&peer, &disk.enter())?;
        self.small(&peer).await?;
        disk.fill()?;
        let finding = expected("disk", peer.title(), "free", "the disk is full");
        self.see("a full disk", &[finding], &[]).await?;
        self.network.restart_through(&peer, &disk.enter())?;
        self.network.wait_ended(&peer, ENDED).await?;
        let file = home.join("peer.toml");
        let words = disk.doctor(&file).await?;
        let stopped = expected("disk", peer.title(), "the node stopped", "free some room");
        anyhow::ensure!(
            words.iter().any(|finding| stopped.fits(finding)),
            "on the machine of the node that stopped: {words:?}"
        );
        (self.say)("  yes  a node that stopped because its disk is full, on its own machine");
        drop(disk);
        self.network.start(&peer)
    }

    /// A disk that will soon be full is a warning before it is.
    async fn small(&self, peer: &Node) -> anyhow::Result<()> {
        let started = stopwatch();
        loop {
            let (code, findings) = self.findings().await?;
            let warned = findings.iter().any(|finding| {
                finding["check"] == "disk"
                    && finding["subject"] == peer.title()
                    && finding["verdict"] == "warning"
            });
            if code == 0 && warned {
                (self.say)("  yes  a disk that will soon be full, as a warning");
                return Ok(());
            }
            anyhow::ensure!(started.elapsed() < SEEN, "a small disk: {findings:?}");
            tokio::time::sleep(POLL).await;
        }
    }

    async fn other_genesis(&mut self) -> anyhow::Result<()> {
        let peer = self.node(Kind::Peer)?;
        let channel = self.home(&peer).join("data/channels/care");
        self.network.stop_node(&peer)?;
        let swap = Swap::away(&channel)?;
        self.network.start(&peer)?;
        let other = folders::other_genesis(self.network)?;
        self.network.join(&peer, other).await?;
        let finding = expected(
            "genesis",
            peer.title(),
            "follows another chain",
            "admin join",
        );
        self.see("another first block", &[finding], &[]).await?;
        self.network.stop_node(&peer)?;
        drop(swap);
        self.network.start(&peer)
    }

    async fn missing_contract(&mut self) -> anyhow::Result<()> {
        let peer = self.node(Kind::Peer)?;
        self.network.stop_node(&peer)?;
        let swap = Swap::away(&self.home(&peer).join("data/packages"))?;
        self.network.start(&peer)?;
        let finding = expected("contract", peer.title(), "is missing", "admin install");
        self.see("a missing contract", &[finding], &[]).await?;
        self.network.stop_node(&peer)?;
        drop(swap);
        self.network.start(&peer)
    }

    async fn wrong_swarm_key(&mut self) -> anyhow::Result<()> {
        let storage = self.node(Kind::Storage)?;
        let swap = folders::other_swarm_key(&self.home(&storage))?;
        self.network.restart(&storage)?;
        let finding = expected(
            "swarm-key",
            storage.title(),
            "no other node talks to it",
            "swarm.key",
        );
        self.see("a wrong swarm key", &[finding], &[]).await?;
        drop(swap);
        self.network.restart(&storage)
    }

    async fn quorum_lost(&mut self) -> anyhow::Result<()> {
        let orderers: Vec<Node> = self.network.topology().of(Kind::Orderer).cloned().collect();
        let lost = &orderers[..2];
        lost.iter().try_for_each(|node| self.network.kill(node))?;
        let finding = expected(
            "quorum",
            "the orderers",
            "quorum is lost",
            "start those that do not answer",
        );
        self.see("a lost quorum", &[finding], &["reachable"])
            .await?;
        lost.iter().try_for_each(|node| self.network.start(node))?;
        self.network.leader(SEEN).await.map(drop)
    }

    /// The streams that the orderers give one certificate are taken by somebody else who has it.
    async fn peer_behind(&mut self) -> anyhow::Result<()> {
        let peer = self.node(Kind::Peer)?;
        self.network.stop_node(&peer)?;
        let crowd = Crowd::gather(self.network, &self.home(&peer)).await?;
        self.network.start(&peer)?;
        self.doctor.run(&["register"]).await?;
        let finding = expected("height", peer.title(), "does not move", "streams");
        self.see("a peer that is behind", &[finding], &[]).await?;
        drop(crowd);
        Ok(())
    }
}

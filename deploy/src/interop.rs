//! A network in which one hospital's storage node keeps its blobs in an IPFS daemon: js-ipfs, which
//! is in the hospitals' private swarm and used through `/api/v0`, as Kubo would be.
//!
//! Records go their whole way through it: they are uploaded to it, kept for good when the ledger
//! names them, read from it alone by another hospital's user, copied from it by another hospital's
//! node, and read again by the check, which mends what the daemon's disk lost. What a daemon cannot
//! do stands in the documentation of [`stela_ipfs::KuboNode`] and in the report of its storage node.

mod js_ipfs;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;
use stela_consent::{Hex, Id};

pub use self::js_ipfs::Installed;
use self::js_ipfs::JsIpfs;
use crate::cli::Stela;
use crate::limits::POLL;
use crate::materials::{User, user_folder};
use crate::network::{Launcher, Network, administrator, commands_log};
use crate::process::stopwatch;
use crate::topology::{Kind, Node, Topology};
use crate::users;

/// The hospital whose storage node has a daemon.
const WITH_DAEMON: &str = "HospitalC";
/// How long a storage node may take to do what it is to do.
const DONE: Duration = Duration::from_secs(90);
/// Bytes of a document: many blocks.
const DOCUMENT_BYTES: usize = 3_000_000;

/// Makes the network and the daemon in `folder`, which must be empty or absent, and goes through it
/// all.
///
/// # Errors
/// At the first thing that is not as it must be.
pub async fn run(
    folder: &Path,
    package: &[u8],
    installed: &Installed,
    say: &dyn Fn(&str),
) -> anyhow::Result<()> {
    let patient: Id = Hex(rand::random());
    let topology = Topology::on_free_ports()?.unrecorded();
    let swarm = topology.node(Kind::Storage, WITH_DAEMON)?.swarm;
    let swarm = swarm.context("a storage node has no swarm port")?.listen;
    let mut daemon = JsIpfs::create(installed, &folder.join("js-ipfs"), swarm)?;
    let topology = topology.with_daemon(WITH_DAEMON, daemon.daemon());
    let directly: Launcher = Box::new(|_| Vec::new());
    let everybody = users::everybody(patient);
    let home = folder.join("network");
    let mut network = Network::prepare(&home, topology, package, &everybody, directly)?;
    daemon.start(&network.folder().join("swarm.key")).await?;
    network.bring_up(package, say).await?;
    let documents = folder.join("documents");
    std::fs::create_dir_all(&documents)?;
    let trial = Trial {
        network,
        daemon,
        patient,
        documents,
        say,
    };
    trial.run().await
}

struct Trial<'a> {
    network: Network,
    daemon: JsIpfs,
    patient: Id,
    documents: PathBuf,
    say: &'a dyn Fn(&str),
}

impl Trial<'_> {
    async fn run(mut self) -> anyhow::Result<()> {
        self.register().await?;
        let (record, document) = self.upload().await?;
        self.confirm(&record, 1).await?;
        self.read_from_the_daemon(&record, &document).await?;
        self.copy_from_the_daemon().await?;
        self.mend().await?;
        self.be_away().await?;
        self.be_well().await?;
        self.network.stop()
    }

    fn stela(&self, user: &User) -> Stela {
        let folder = self.network.folder();
        Stela::new(user_folder(folder, user), commands_log(folder))
    }

    fn storage(&self, organization: &str) -> anyhow::Result<Node> {
        let node = self.network.topology().node(Kind::Storage, organization);
        Ok(node?.clone())
    }

    fn done(&self, what: &str) {
        (self.say)(&format!("  yes  {what}"));
    }

    async fn register(&self) -> anyhow::Result<()> {
        let patient = users::patient(self.patient);
        let people = [users::author(), users::officer(), users::reader(), patient];
        let administrators = [administrator("HospitalA")?, administrator(WITH_DAEMON)?];
        for user in people.iter().chain(&administrators) {
            self.stela(user).run(&["register"]).await?;
        }
        Ok(())
    }

    /// Submits a new record. Answers it, its document, and who holds it.
    async fn submit(&self, name: &str) -> anyhow::Result<(String, PathBuf, Vec<Value>)> {
        let document = self.documents.join(name);
        let bytes: Vec<u8> = (0..DOCUMENT_BYTES).map(|_| rand::random()).collect();
        std::fs::write(&document, bytes)?;
        let (patient, file) = (self.patient.to_string(), document.display().to_string());
        let kind = ["--media-type", "application/dicom", "--format", "dicom"];
        let words = ["record", "submit", "--patient", &patient];
        let words = [
            &words[..],
            &["--category", "imaging"],
            &kind,
            &[file.as_str()],
        ]
        .concat();
        let answer = self.stela(&users::author()).run(&words).await?;
        let holders = answer.json["holders"].as_array().context("no holders")?;
        let record = answer.text("/record")?.to_owned();
        Ok((record, document, holders.clone()))
    }

    /// With one hospital's node down, the daemon has to be among the two that are needed.
    async fn upload(&mut self) -> anyhow::Result<(String, PathBuf)> {
        self.network.stop_node(&self.storage("HospitalA")?)?;
        let (record, document, holders) = self.submit("first").await?;
        anyhow::ensure!(
            holders.iter().any(|holder| holder == WITH_DAEMON),
            "held by {holders:?}"
        );
        self.done("a record is uploaded to a storage node that keeps its blobs in js-ipfs");
        Ok((record, document))
    }

    async fn confirm(&self, record: &str, kept: u64) -> anyhow::Result<()> {
        let officer = self.stela(&users::officer());
        officer.run(&["record", "confirm", record]).await?;
        let report = self
            .reported(WITH_DAEMON, |report| {
                report["permanent"] == kept && report["wanted"] == 0
            })
            .await?;
        anyhow::ensure!(
            report["keeps_allow_list"] == false,
            "a daemon keeps no allow-list: {report}"
        );
        self.done("js-ipfs keeps it for good when the ledger names it; the report says so");
        Ok(())
    }

    /// All other storage nodes are down.
    async fn read_from_the_daemon(&mut self, record: &str, written: &Path) -> anyhow::Result<()> {
        self.network.stop_node(&self.storage("HospitalB")?)?;
        let consent = ["consent", "grant", "--organization", "HospitalB"];
        let whom = ["--role", "practitioner", "--purpose", "TREAT"];
        let what = ["--category", "imaging", "--days", "30"];
        let patient = self.stela(&users::patient(self.patient));
        patient.run(&[&consent[..], &whom, &what].concat()).await?;
        let copy = self.documents.join("read");
        let (patient, out) = (self.patient.to_string(), copy.display().to_string());
        let words = ["record", "read", record, "--patient", &patient];
        let words = [&words[..], &["--purpose", "TREAT", "--out", &out]].concat();
        self.stela(&users::reader()).run(&words).await?;
        anyhow::ensure!(
            std::fs::read(&copy)? == std::fs::read(written)?,
            "what was read is not what was written"
        );
        self.done("another hospital's practitioner reads it from js-ipfs alone");
        Ok(())
    }

    /// HospitalA's node was down when the record was uploaded, and HospitalB's is.
    async fn copy_from_the_daemon(&mut self) -> anyhow::Result<()> {
        self.network.start(&self.storage("HospitalA")?)?;
        self.reported("HospitalA", |report| {
            report["permanent"] == 1 && report["wanted"] == 0
        })
        .await?;
        self.done("another hospital's storage node fetches it from js-ipfs");
        self.network.start(&self.storage("HospitalB")?)
    }

    /// A node that does not know when it last read everything does so when it starts.
    async fn mend(&mut self) -> anyhow::Result<()> {
        let storage = self.storage(WITH_DAEMON)?;
        self.network.stop_node(&storage)?;
        self.daemon.damage()?;
        std::fs::remove_dir_all(self.network.node_folder(&storage).join("data/check"))?;
        self.network.start(&storage)?;
        let report = self
            .reported(WITH_DAEMON, |report| {
                report["found"] == 1 && report["open"] == 0 && report["last"]["lost_blobs"] == 1
            })
            .await?;
        let loss = &report["losses"][0];
        anyhow::ensure!(
            loss["cause"] == "damaged" && loss["outcome"] == "mended",
            "{loss}"
        );
        self.done(
            "the check finds a bit flipped on the daemon's disk and mends it from the others",
        );
        Ok(())
    }

    /// What comes while the daemon is away is fetched when it is back.
    async fn be_away(&mut self) -> anyhow::Result<()> {
        self.daemon.stop()?;
        let (record, _, holders) = self.submit("second").await?;
        anyhow::ensure!(
            !holders.iter().any(|holder| holder == WITH_DAEMON),
            "held by a daemon that is away: {holders:?}"
        );
        self.daemon
            .start(&self.network.folder().join("swarm.key"))
            .await?;
        self.confirm(&record, 2).await?;
        self.done("without its daemon a storage node holds nothing; with it again, everything");
        Ok(())
    }

    /// The doctor knows storage nodes with daemons, in the network and on their own machine.
    async fn be_well(&self) -> anyhow::Result<()> {
        let administrator = self.stela(&administrator(WITH_DAEMON)?);
        administrator.run(&["doctor"]).await?;
        let home = self.network.node_folder(&self.storage(WITH_DAEMON)?);
        let file = home.join("storage.toml").display().to_string();
        administrator.run(&["doctor", "--config", &file]).await?;
        self.done("the doctor finds nothing wrong");
        Ok(())
    }

    /// What the storage node of an organization reports, as soon as that is as it must be.
    async fn reported(
        &self,
        organization: &str,
        is_as_it_must_be: impl Fn(&Value) -> bool,
    ) -> anyhow::Result<Value> {
        let administrator = self.stela(&administrator(organization)?);
        let started = stopwatch();
        loop {
            let answer = administrator.attempt(&["storage", "report"]).await?;
            let report = answer.json.pointer("/0").cloned().unwrap_or_default();
            if is_as_it_must_be(&report) {
                return Ok(report);
            }
            anyhow::ensure!(
                started.elapsed() < DONE,
                "the report of {organization}: {report} {}",
                answer.said
            );
            tokio::time::sleep(POLL).await;
        }
    }
}

//! A binary study on its whole way, on a real network: what each stage takes beside its parts alone,
//! how soon the first byte is there, what reading anywhere costs, how much memory the client and the
//! storage nodes need, and whether it goes on where it was interrupted.
//!
//! Every step is a command `stela` in a process of its own. First a study of each size goes its way
//! undisturbed; then one that is not larger than [`LARGE_INTERRUPTED_BYTES_MAX`] is interrupted
//! wherever it can be ([`interrupted`]).

pub mod command;
mod interrupted;
pub mod parts;
mod random;
pub mod study;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use stela_consent::Id;

use self::command::{Command, Ran, words};
use self::parts::Alone;
pub use self::random::{FirstByte, RangeRead};
use self::study::Study;
use crate::limits::{CATCH_UP, LARGE_INTERRUPTED_BYTES_MAX, LARGE_MEMORY_BYTES_MAX, LARGE_RANGES};
use crate::materials::{User, user_folder};
use crate::network::Network;
use crate::process::{self, peak_bytes, stopwatch};
use crate::topology::{Kind, Node};
use crate::users;

/// What is to be measured.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Bytes of each study that goes its way undisturbed, in order.
    pub sizes: Vec<u64>,
    /// What their bytes and the places that are read are drawn from.
    pub seed: u64,
    /// One range instead of many, and no part alone.
    pub brief: bool,
}

/// What was measured and shown.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Measured {
    /// The seed of all studies.
    pub seed: u64,
    /// The studies that went their way undisturbed, in order.
    pub studies: Vec<Way>,
    /// Bytes of the one that was interrupted.
    pub interrupted_bytes: u64,
    /// Peak resident memory of each command of the interrupted one, in bytes, by what it did.
    pub client_peak_bytes: BTreeMap<String, u64>,
    /// Peak resident memory of each storage node, in bytes, over everything.
    pub storage_peak_bytes: BTreeMap<String, u64>,
    /// The most that one process may take, at any size.
    pub memory_bytes_max: u64,
    /// Blocks that a storage node had when it was killed half way, and how many there are.
    pub half_held_blocks: [u64; 2],
    /// Blocks that an interrupted read kept, and that its second attempt fetched.
    pub half_read_blocks: [u64; 2],
    /// What was shown, in words; what failed is in `failures`.
    pub shown: Vec<String>,
    /// What was not as it should be.
    pub failures: Vec<String>,
}

/// The undisturbed way of one study.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Way {
    /// Bytes of the study.
    pub study_bytes: u64,
    /// Its stages, in order.
    pub stages: Vec<Stage>,
    /// When the first byte of it was there.
    pub first_byte: Vec<FirstByte>,
    /// Ranges that were read anywhere.
    pub ranges: Vec<RangeRead>,
    /// Blocks that reading a part fetched, and how many the whole has.
    pub part_blocks: [u64; 2],
    /// What the stages are made of, each part measured alone.
    pub alone: Vec<Alone>,
    /// Peak resident memory of each command, in bytes, by what it did.
    pub client_peak_bytes: BTreeMap<String, u64>,
    /// Peak resident memory of each storage node since it was started, in bytes.
    pub storage_peak_bytes: BTreeMap<String, u64>,
}

/// One stage.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Stage {
    /// Which command it was part of.
    pub command: String,
    /// What was done.
    pub stage: String,
    /// Bytes that went through.
    pub bytes: u64,
    /// From the beginning of the command to that of the stage.
    pub began_seconds: f64,
    /// From the beginning of the stage until the first of its bytes were done.
    pub first_seconds: f64,
    /// How long it took.
    pub seconds: f64,
    /// How long its parts alone take together, if they were measured ([`parts::parts_of`]).
    pub parts_seconds: Option<f64>,
}

impl Way {
    /// Sets beside each stage what its parts take.
    fn compare(&mut self) {
        for stage in &mut self.stages {
            let made_of = parts::parts_of(&stage.command, &stage.stage);
            stage.parts_seconds = parts::sum_seconds(&self.alone, made_of, stage.bytes);
        }
    }
}

impl Measured {
    /// Whether everything held, the limit on memory included.
    pub fn is_good(&self) -> bool {
        self.failures.is_empty()
    }

    fn check(&mut self, what: &str, holds: bool) {
        let list = match holds {
            true => &mut self.shown,
            false => &mut self.failures,
        };
        if !list.iter().any(|said| said == what) {
            list.push(what.to_owned());
        }
    }

    /// Notes every process that took more memory than it may.
    fn judge_memory(&mut self) {
        let limit = self.memory_bytes_max;
        let of_studies = self.studies.iter().flat_map(|way| {
            let peaks = way.client_peak_bytes.iter().chain(&way.storage_peak_bytes);
            peaks.map(|(who, peak)| (format!("{who} with {} bytes", way.study_bytes), peak))
        });
        let of_interrupted = self.client_peak_bytes.iter();
        let of_interrupted = of_interrupted.chain(&self.storage_peak_bytes);
        let all = of_studies.chain(of_interrupted.map(|(who, peak)| (who.clone(), peak)));
        let above: Vec<_> = all
            .filter(|(_, peak)| **peak > limit)
            .map(|(who, peak)| format!("{who} took {peak} bytes of memory, more than {limit}"))
            .collect();
        self.failures.extend(above);
    }
}

/// The whole run.
pub struct Large<'a> {
    network: &'a mut Network,
    folder: PathBuf,
    say: &'a dyn Fn(&str),
    patient: Id,
    way: Way,
    measured: Measured,
}

impl<'a> Large<'a> {
    /// A run in this network; documents are put into `folder`.
    pub fn new(
        network: &'a mut Network,
        folder: PathBuf,
        patient: Id,
        say: &'a dyn Fn(&str),
    ) -> Self {
        Self {
            network,
            folder,
            say,
            patient,
            way: Way::default(),
            measured: Measured {
                memory_bytes_max: LARGE_MEMORY_BYTES_MAX,
                ..Measured::default()
            },
        }
    }

    /// Does everything that is planned.
    ///
    /// # Errors
    /// At the first step that cannot be done at all. What is done but not as it should be stands in
    /// the result.
    pub async fn run(mut self, plan: &Plan) -> anyhow::Result<Measured> {
        self.measured.seed = plan.seed;
        self.register().await?;
        self.grant().await?;
        for (bytes, place) in plan.sizes.iter().zip(0..) {
            self.study(*bytes, plan.seed ^ (place << 1), plan.brief)
                .await?;
        }
        let largest = plan.sizes.iter().max().context("no size is named")?;
        let smallest = LARGE_INTERRUPTED_BYTES_MAX / 8;
        let bytes = (largest / 8).clamp(smallest, LARGE_INTERRUPTED_BYTES_MAX);
        self.measured.interrupted_bytes = bytes;
        let study = Study::write(&self.folder.join("second.dcm"), bytes, !plan.seed)?;
        self.interrupted(&study).await?;
        self.note_storage_peaks()?;
        self.measured.storage_peak_bytes = std::mem::take(&mut self.way.storage_peak_bytes);
        self.measured.client_peak_bytes = std::mem::take(&mut self.way.client_peak_bytes);
        self.measured.judge_memory();
        Ok(self.measured)
    }

    /// One study on its way, and its parts alone.
    async fn study(&mut self, bytes: u64, seed: u64, brief: bool) -> anyhow::Result<()> {
        (self.say)(&format!("            {:.1} MB", bytes as f64 / 1e6));
        self.way.study_bytes = bytes;
        let study = Study::write(&self.folder.join("study.dcm"), bytes, seed)?;
        let ranges = if brief { 1 } else { LARGE_RANGES };
        self.undisturbed(&study, ranges, seed).await?;
        std::fs::remove_file(study.path())?;
        if !brief {
            (self.say)("            the parts alone");
            self.way.alone = parts::measure(&self.folder, bytes).await?;
            self.way.compare();
        }
        self.note_storage_peaks()?;
        self.measured.studies.push(std::mem::take(&mut self.way));
        Ok(())
    }

    async fn register(&mut self) -> anyhow::Result<()> {
        for user in users::everybody(self.patient) {
            self.command(&user).must(&["register"]).await?;
        }
        Ok(())
    }

    async fn grant(&mut self) -> anyhow::Result<()> {
        let words = words(
            "consent grant --organization HospitalB --role practitioner --purpose TREAT \
             --category imaging --days 30",
        );
        let patient = users::patient(self.patient);
        self.command(&patient).must(&words).await.map(drop)
    }

    /// Encrypt, hold, review, read whole, in part and anywhere.
    async fn undisturbed(&mut self, study: &Study, ranges: usize, seed: u64) -> anyhow::Result<()> {
        let nodes: Vec<Node> = self.storages();
        let before: Vec<u64> = nodes.iter().map(|node| self.blocks_at(node)).collect();
        let ran = self
            .command(&users::author())
            .must(&self.submit_words(study))
            .await?;
        self.note("submit", &ran)?;
        let record = ran.text("record")?.to_owned();
        let ran = self
            .command(&users::officer())
            .must(&["record", "confirm", &record])
            .await?;
        self.note("review", &ran)?;
        self.everywhere(study.chunks(), &before)?;
        let out = self.folder.join("read.dcm");
        let ran = self
            .command(&users::reader())
            .must(&self.read_words(&record, &out))
            .await?;
        self.note("read", &ran)?;
        self.note_first_byte(
            "of the whole, when all of it has been verified",
            &ran,
            "decrypt",
        )?;
        let same = study::sha256(&out)? == study.sha256();
        self.measured
            .check("what was read is what was written", same);
        std::fs::remove_file(&out)?;
        self.read_part(study, &record).await?;
        self.read_anywhere(study, &record, ranges, seed).await
    }

    async fn read_part(&mut self, study: &Study, record: &str) -> anyhow::Result<()> {
        let start = study.bytes() / 2 + 12_345;
        let end = study.bytes().min(start + (1 << 20));
        let range = format!("{start}-{}", end - 1);
        let out = self.folder.join("part.bin");
        let mut words = self.read_words(record, &out);
        words.extend(["--range", &range].map(str::to_owned));
        let ran = self.command(&users::reader()).must(&words).await?;
        self.note("part", &ran)?;
        let same = std::fs::read(&out)? == study.part(start..end)?;
        self.measured
            .check("the part that was read is that of the study", same);
        let fetched = ran.number("fetched_blocks")?;
        self.way.part_blocks = [fetched, study.chunks()];
        self.measured.check(
            "for a part only its blocks were fetched",
            fetched <= random::BLOCKS_BESIDE + 6,
        );
        let outside = format!("{}-", study.bytes());
        *words.last_mut().context("the range")? = outside;
        std::fs::remove_file(&out)?;
        let ran = self.command(&users::reader()).run(&words).await?;
        self.measured.check(
            "a part outside the study is refused",
            ran.code == 1 && !out.exists(),
        );
        Ok(())
    }

    /// Waits until every storage node has the blob.
    fn everywhere(&mut self, chunks: u64, before: &[u64]) -> anyhow::Result<()> {
        let started = stopwatch();
        let nodes = self.storages();
        let patience = CATCH_UP + command::patience(chunks << 18);
        process::wait(patience, || {
            let mut counts = nodes.iter().map(|node| self.blocks_at(node)).zip(before);
            let all = counts.all(|(count, before)| count >= before + chunks);
            Ok(all.then_some(()))
        })?;
        let seconds = started.elapsed().as_secs_f64();
        self.way.stages.push(Stage {
            command: "confirm".to_owned(),
            stage: "every organization has it".to_owned(),
            bytes: chunks << 18,
            began_seconds: 0.0,
            first_seconds: seconds,
            seconds,
            parts_seconds: None,
        });
        Ok(())
    }

    fn command(&self, user: &User) -> Command {
        let folder = self.network.folder();
        Command::new(user_folder(folder, user), folder.join("commands.log"))
    }

    fn submit_words(&self, study: &Study) -> Vec<String> {
        let fixed = "record submit --category imaging --media-type application/dicom \
                     --format dicom --patient";
        let mut all = words(fixed);
        all.push(self.patient.to_string());
        all.push(study.path().display().to_string());
        all
    }

    fn read_words(&self, record: &str, out: &Path) -> Vec<String> {
        let mut all = words("record read --purpose TREAT --version 1 --force --patient");
        all.push(self.patient.to_string());
        all.extend([
            "--out".to_owned(),
            out.display().to_string(),
            record.to_owned(),
        ]);
        all
    }

    /// Takes down what a command said about its stages, and its memory.
    fn note(&mut self, command: &str, ran: &Ran) -> anyhow::Result<()> {
        self.measured.check(
            &format!("{command} says nothing beside its JSON, no bars either"),
            ran.said.is_empty(),
        );
        for stage in ran.stages()? {
            (self.say)(&format!(
                "{:8.2} s  {command}: {} ({:.0} MB/s)",
                stage.seconds,
                stage.stage,
                stage.bytes as f64 / 1e6 / stage.seconds.max(1e-3)
            ));
            self.way.stages.push(Stage {
                command: command.to_owned(),
                ..stage
            });
        }
        self.note_peak(command, ran);
        Ok(())
    }

    fn note_peak(&mut self, command: &str, ran: &Ran) {
        let peaks = &mut self.way.client_peak_bytes;
        let peak = peaks.entry(format!("stela, {command}")).or_default();
        *peak = ran.peak_bytes.max(*peak);
    }

    /// Takes down the peaks of all storage nodes, which run.
    fn note_storage_peaks(&mut self) -> anyhow::Result<()> {
        self.storages()
            .iter()
            .try_for_each(|node| self.note_storage_peak(node))
    }

    fn note_storage_peak(&mut self, node: &Node) -> anyhow::Result<()> {
        let id = self.network.process_id(node)?;
        let peak = peak_bytes(id).with_context(|| format!("{} does not run", node.title()))?;
        let noted = self.way.storage_peak_bytes.entry(node.title()).or_default();
        *noted = peak.max(*noted);
        Ok(())
    }

    fn storages(&self) -> Vec<Node> {
        self.network.topology().of(Kind::Storage).cloned().collect()
    }

    fn storage(&self, organization: &str) -> anyhow::Result<Node> {
        let topology = self.network.topology();
        topology.node(Kind::Storage, organization).cloned()
    }

    fn blocks_at(&self, node: &Node) -> u64 {
        let home = self
            .network
            .folder()
            .join(&node.organization)
            .join(&node.name);
        study::blocks_in(&home.join("data/ipfs"))
    }

    fn blocks_of(&self, user: &User) -> u64 {
        study::blocks_in(&user_folder(self.network.folder(), user).join("ipfs"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_above_the_limit_is_a_failure() {
        let mut measured = Measured {
            memory_bytes_max: 10,
            ..Measured::default()
        };
        measured.client_peak_bytes.insert("stela".into(), 10);
        measured.judge_memory();
        assert!(measured.is_good());
        measured
            .storage_peak_bytes
            .insert("HospitalA/storage0".into(), 11);
        measured.judge_memory();
        assert_eq!(measured.failures.len(), 1);
        let mut way = Way::default();
        way.client_peak_bytes.insert("stela, read".into(), 12);
        measured.studies.push(way);
        measured.judge_memory();
        assert_eq!(measured.failures.len(), 3, "at every size");
    }

    #[test]
    fn what_fails_is_not_shown() {
        let mut measured = Measured::default();
        measured.check("one", true);
        measured.check("two", false);
        assert_eq!(measured.shown, ["one"]);
        assert_eq!(measured.failures, ["two"]);
    }
}

//! Records that are submitted under faults, and read again.

use std::path::{Path, PathBuf};

use anyhow::Context;
use rand::RngExt;
use rand::rngs::StdRng;
use stela_consent::Id;

use crate::cli::Stela;
use crate::limits::FAULT_RECOVERY;
use crate::materials::user_folder;
use crate::network::commands_log;
use crate::process::stopwatch;
use crate::users;

/// Bytes of a document.
const DOCUMENT_BYTES: usize = 20_000;
/// The exit code of a program that the system ended.
const NO_CODE: i32 = -1;

/// The records so far, with what was written.
pub(super) struct Records {
    folder: PathBuf,
    author: Stela,
    patient: Stela,
    id: Id,
    submitted: Vec<(String, PathBuf)>,
    documents: usize,
}

impl Records {
    /// For a network, with documents in `folder`.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub(super) fn new(network: &Path, folder: PathBuf, id: Id) -> anyhow::Result<Self> {
        std::fs::create_dir_all(&folder)?;
        let user = |user| Stela::new(user_folder(network, &user), commands_log(network));
        Ok(Self {
            folder,
            author: user(users::author()),
            patient: user(users::patient(id)),
            id,
            submitted: Vec::new(),
            documents: 0,
        })
    }

    /// How many were submitted.
    pub(super) fn len(&self) -> usize {
        self.submitted.len()
    }

    /// Begins to submit a record; the answer is for [`keep`](Self::keep).
    ///
    /// # Errors
    /// When the document cannot be written.
    pub(super) fn submit(
        &mut self,
        random: &mut StdRng,
    ) -> anyhow::Result<tokio::task::JoinHandle<Option<(String, PathBuf)>>> {
        self.documents += 1;
        let file = self.folder.join(format!("{}.bin", self.documents));
        let mut bytes = vec![0; DOCUMENT_BYTES];
        random.fill(&mut bytes[..]);
        std::fs::write(&file, bytes)?;
        let (author, patient) = (self.author.clone(), self.id.to_string());
        Ok(tokio::spawn(async move {
            let path = file.display().to_string();
            let words = ["record", "submit", "--patient", &patient];
            let words = [&words[..], &["--category", "patient-summary", &path]].concat();
            let answer = author.attempt(&words).await.ok()?;
            let record = answer.text("/record").ok()?.to_owned();
            (answer.code == 0).then_some((record, file))
        }))
    }

    /// Keeps what was acknowledged, if it was.
    pub(super) fn keep(&mut self, submitted: Option<(String, PathBuf)>) {
        self.submitted.extend(submitted);
    }

    /// Reads the newest record and another one.
    ///
    /// # Errors
    /// When one cannot be read, or is not what was written.
    pub(super) async fn read_some(&self, random: &mut StdRng) -> anyhow::Result<()> {
        let Some(newest) = self.submitted.len().checked_sub(1) else {
            return Ok(());
        };
        let other = random.random_range(0..=newest);
        self.read(newest).await?;
        if other != newest {
            self.read(other).await?;
        }
        Ok(())
    }

    /// Reads every record.
    ///
    /// # Errors
    /// As [`read_some`](Self::read_some).
    pub(super) async fn read_all(&self) -> anyhow::Result<()> {
        for number in 0..self.submitted.len() {
            self.read(number).await?;
        }
        Ok(())
    }

    /// Reads a record while something is damaged: it may fail, and may not give anything else.
    ///
    /// # Errors
    /// When something else was read.
    pub(super) async fn read_or_fail(&self, random: &mut StdRng) -> anyhow::Result<()> {
        if self.submitted.is_empty() {
            return Ok(());
        }
        let number = random.random_range(0..self.submitted.len());
        self.attempt(number).await.map(drop)
    }

    async fn read(&self, number: usize) -> anyhow::Result<()> {
        let (record, _) = &self.submitted[number];
        let started = stopwatch();
        // A storage node that has just come back may still be looking for the others.
        while let Some(said) = self.attempt(number).await? {
            anyhow::ensure!(
                started.elapsed() < FAULT_RECOVERY,
                "record {record} cannot be read: {said}"
            );
        }
        Ok(())
    }

    /// Nothing when it was read, or what the command said when it failed.
    async fn attempt(&self, number: usize) -> anyhow::Result<Option<String>> {
        let (record, written) = &self.submitted[number];
        let out = self.folder.join("read.bin");
        let path = out.display().to_string();
        let words = ["record", "read", record, "--purpose", "PATRQT", "--force"];
        let words = [&words[..], &["--out", &path]].concat();
        if out.exists() {
            std::fs::remove_file(&out)?;
        }
        let answer = self.patient.attempt(&words).await?;
        anyhow::ensure!(answer.code != NO_CODE, "`stela` was ended: {}", answer.said);
        if answer.code != 0 {
            return Ok(Some(answer.said.trim().to_owned()));
        }
        let same = std::fs::read(&out).context("nothing was read")? == std::fs::read(written)?;
        anyhow::ensure!(same, "record {record} is not what was written");
        Ok(None)
    }
}

//! Runs `stela` as a process, watches its memory, and interrupts it when something has happened.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;

use super::Stage;
use crate::cli::keep;
use crate::limits::{COMMAND, LARGE_BYTES_PER_SECOND_MIN, LARGE_SAMPLE};
use crate::process::{binary, end, peak_bytes, stopwatch};

pub use crate::process::Ending;

/// One user at her command line.
#[derive(Debug, Clone)]
pub struct Command {
    profile: PathBuf,
    log: PathBuf,
    patience: Duration,
    /// The largest file that it may write, in KiB.
    file_kib_max: Option<u64>,
}

/// What a command left.
#[derive(Debug)]
pub struct Ran {
    /// The exit code; -1 if a signal ended it.
    pub code: i32,
    /// The JSON it printed.
    pub json: Value,
    /// What it said on standard error.
    pub said: String,
    /// The most resident memory that it had.
    pub peak_bytes: u64,
    /// From its start as a process to its end.
    pub seconds: f64,
}

impl Ran {
    /// A field of the JSON as text.
    ///
    /// # Errors
    /// When it is not there.
    pub fn text(&self, field: &str) -> anyhow::Result<&str> {
        let value = self.json.get(field).and_then(Value::as_str);
        value.with_context(|| format!("the answer has no {field}: {}", self.json))
    }

    /// A field of the JSON as a number.
    ///
    /// # Errors
    /// When it is not there.
    pub fn number(&self, field: &str) -> anyhow::Result<u64> {
        let value = self.json.get(field).and_then(Value::as_u64);
        value.with_context(|| format!("the answer has no {field}: {}", self.json))
    }

    /// The stages that the command went through.
    ///
    /// # Errors
    /// When it says none.
    pub fn stages(&self) -> anyhow::Result<Vec<Stage>> {
        let stages = self.json.get("stages").and_then(Value::as_array);
        let stages = stages.context("the answer has no stages")?;
        let stage = |value: &Value| {
            Some(Stage {
                command: String::new(),
                stage: value.get("stage")?.as_str()?.to_owned(),
                bytes: value.get("bytes")?.as_u64()?,
                began_seconds: value.get("began_seconds")?.as_f64()?,
                first_seconds: value.get("first_seconds")?.as_f64()?,
                seconds: value.get("seconds")?.as_f64()?,
                parts_seconds: None,
            })
        };
        let stages = stages.iter().map(stage).collect::<Option<_>>();
        stages.context("a stage is malformed")
    }
}

/// How long a command may take with so many bytes.
pub fn patience(bytes: u64) -> Duration {
    COMMAND + Duration::from_secs(4 * bytes / LARGE_BYTES_PER_SECOND_MIN)
}

/// The words of a command that needs no quoting.
pub fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

impl Command {
    /// The user whose profile is in this folder. What her commands print is added to `log`.
    pub fn new(profile: PathBuf, log: PathBuf) -> Self {
        Self {
            profile,
            log,
            patience: patience(16 << 30),
            file_kib_max: None,
        }
    }

    /// The same on a disk that takes no file larger than this.
    #[must_use]
    pub fn with_file_kib_max(mut self, kib: u64) -> Self {
        self.file_kib_max = Some(kib);
        self
    }

    /// Her profile.
    pub fn profile(&self) -> &Path {
        &self.profile
    }

    /// Runs a command that must succeed.
    ///
    /// # Errors
    /// With what it said, when it does not.
    pub async fn must(&self, words: &[impl AsRef<str>]) -> anyhow::Result<Ran> {
        let ran = self.run(words).await?;
        anyhow::ensure!(
            ran.code == 0,
            "`stela {}` ended with {}: {}",
            text(words),
            ran.code,
            ran.said.trim()
        );
        Ok(ran)
    }

    /// Runs a command to its end, whatever that is.
    ///
    /// # Errors
    /// When it cannot be started or takes too long.
    pub async fn run(&self, words: &[impl AsRef<str>]) -> anyhow::Result<Ran> {
        self.run_until(words, || false, Ending::Kill).await
    }

    /// Runs a command and ends it as soon as something has happened.
    ///
    /// # Errors
    /// As for [`run`](Self::run).
    pub async fn run_until(
        &self,
        words: &[impl AsRef<str>],
        happened: impl Fn() -> bool,
        ending: Ending,
    ) -> anyhow::Result<Ran> {
        let started = stopwatch();
        let child = self.start(words)?;
        let id = child.id().context("it has ended at once")?;
        let deadline = tokio::time::Instant::now() + self.patience;
        let (mut peak, mut told) = (0, false);
        let mut running = std::pin::pin!(child.wait_with_output());
        let output = loop {
            tokio::select! {
                output = &mut running => break output?,
                () = tokio::time::sleep(LARGE_SAMPLE) => {}
            }
            peak = peak_bytes(id).unwrap_or(0).max(peak);
            if !told && happened() {
                told = true;
                // It may have ended by itself a moment ago.
                let _gone = end(id, ending);
            }
            let is_late = tokio::time::Instant::now() > deadline;
            anyhow::ensure!(!is_late, "`stela {}` took too long", text(words));
        };
        keep(&self.log, &text(words), &output)?;
        Ok(Ran {
            code: output.status.code().unwrap_or(-1),
            json: serde_json::from_slice(&output.stdout).unwrap_or(Value::Null),
            said: String::from_utf8_lossy(&output.stderr).into_owned(),
            peak_bytes: peak,
            seconds: started.elapsed().as_secs_f64(),
        })
    }

    fn start(&self, words: &[impl AsRef<str>]) -> anyhow::Result<tokio::process::Child> {
        let program = binary("stela")?;
        let mut command = match self.file_kib_max {
            None => tokio::process::Command::new(program),
            // The shell makes a write beyond the limit fail instead of ending the process.
            Some(kib) => {
                let mut shell = tokio::process::Command::new("bash");
                let script = format!("trap '' XFSZ; ulimit -f {kib}; exec \"$0\" \"$@\"");
                shell.arg("-c").arg(script).arg(program);
                shell
            }
        };
        command.arg("--json").arg("--profile").arg(&self.profile);
        command.args(words.iter().map(AsRef::as_ref));
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        Ok(command.spawn()?)
    }
}

fn text(words: &[impl AsRef<str>]) -> String {
    words
        .iter()
        .map(AsRef::as_ref)
        .collect::<Vec<_>>()
        .join(" ")
}

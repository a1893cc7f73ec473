//! Processes that this program starts and ends; no others are ever touched.

use std::fs::File;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context;
pub use rustix::process::Signal;
use rustix::process::{Resource, Rlimit};
use tokio::signal::unix::{SignalKind, signal};

use crate::limits::POLL;

/// Where the binaries of this build are: beside the running one.
///
/// # Errors
/// When the binary is not there, with what to run to get it.
pub fn binary(name: &str) -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("this program does not know where it is")?;
    let folders = own.ancestors().skip(1).take(2);
    folders
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
        .with_context(|| format!("{name} is not built; run `cargo build --workspace --bins`"))
}

/// A running program with its log.
#[derive(Debug)]
pub struct Process {
    title: String,
    log: PathBuf,
    child: Child,
}

impl Process {
    /// Starts a program in a process group of its own, so that a `Ctrl-C` at the terminal reaches
    /// only the one that has to clean up. Output is appended to `log`.
    ///
    /// # Errors
    /// When the program or the log cannot be opened.
    pub fn start(
        title: &str,
        program: &Path,
        arguments: &[&str],
        log: &Path,
    ) -> anyhow::Result<Self> {
        use std::os::unix::process::CommandExt;
        let out = File::options().create(true).append(true).open(log)?;
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        Ok(Self {
            title: title.to_owned(),
            log: log.to_owned(),
            child,
        })
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    ///
    /// # Errors
    /// With the end of its log when it has ended.
    pub fn check(&mut self) -> anyhow::Result<()> {
        if let Some(status) = self.child.try_wait()? {
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            let tail: Vec<&str> = log.lines().rev().take(5).collect();
            let tail: Vec<&str> = tail.into_iter().rev().collect();
            anyhow::bail!(
                "{} ended with {status}; its last lines:\n{}",
                self.title,
                tail.join("\n")
            );
        }
        Ok(())
    }

    /// `kill -9`.
    ///
    /// # Errors
    /// When it had ended before.
    pub fn kill(&mut self) -> anyhow::Result<ExitStatus> {
        self.check()?;
        self.child.kill()?;
        Ok(self.child.wait()?)
    }

    /// Asks it to end and waits; kills it when it does not.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn stop(&mut self, patience: Duration) -> anyhow::Result<()> {
        if self.child.try_wait()?.is_some() {
            return Ok(());
        }
        terminate(self.id())?;
        let gone = wait(patience, || Ok(self.child.try_wait()?.map(drop)));
        if gone.is_err() {
            self.child.kill()?;
            self.child.wait()?;
        }
        Ok(())
    }
}

/// Sends SIGTERM to one process.
///
/// # Errors
/// When there is no such process.
pub fn terminate(id: u32) -> anyhow::Result<()> {
    send(id, Signal::TERM)
}

/// How a process is ended from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// `kill -9`.
    Kill,
    /// `Ctrl-C`.
    Interrupt,
}

/// Ends one process so.
///
/// # Errors
/// When there is no such process.
pub fn end(id: u32, ending: Ending) -> anyhow::Result<()> {
    let signal = match ending {
        Ending::Kill => Signal::KILL,
        Ending::Interrupt => Signal::INT,
    };
    send(id, signal)
}

/// Sends a signal to one process.
///
/// # Errors
/// When there is no such process.
pub fn send(id: u32, signal: Signal) -> anyhow::Result<()> {
    Ok(rustix::process::kill_process(pid(id)?, signal)?)
}

/// From now on a process can make no file longer than this; without a limit: again as long as it
/// likes. One that ignores SIGXFSZ is told by the failed write.
///
/// # Errors
/// When there is no such process.
pub fn limit_files(id: u32, bytes_max: Option<u64>) -> anyhow::Result<()> {
    let limit = Rlimit {
        current: bytes_max,
        maximum: None,
    };
    rustix::process::prlimit(Some(pid(id)?), Resource::Fsize, limit)?;
    Ok(())
}

fn pid(id: u32) -> anyhow::Result<rustix::process::Pid> {
    rustix::process::Pid::from_raw(i32::try_from(id)?).context("process 0")
}

/// Whether process `id` runs the program at `path`, even when another build replaced the file.
pub fn runs(id: u32, path: &Path) -> bool {
    let link = std::fs::read_link(format!("/proc/{id}/exe"));
    link.is_ok_and(|link| started_from(&link) == path)
}

/// Where a running program was started from: the system marks a file that is gone.
fn started_from(link: &Path) -> &Path {
    let text = link.to_str().unwrap_or_default();
    text.strip_suffix(" (deleted)").map_or(link, Path::new)
}

/// The signals that ask a program to end: `Ctrl-C`, SIGTERM, and SIGHUP of a closed terminal.
#[derive(Debug)]
pub struct Interrupts([tokio::signal::unix::Signal; 3]);

impl Interrupts {
    /// From now on these signals no longer end the program by themselves.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self([
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        ]))
    }

    /// Does `work` until one of them comes; what `work` started is then dropped.
    ///
    /// # Errors
    /// Those of `work`, or that it was interrupted.
    pub async fn or<T>(
        mut self,
        work: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<T> {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            outcome = work => outcome,
            _ = interrupt.recv() => anyhow::bail!("interrupted; the network is ended"),
            _ = terminate.recv() => anyhow::bail!("asked to end; the network is ended"),
            _ = hangup.recv() => anyhow::bail!("the terminal is gone; the network is ended"),
        }
    }
}

/// Logs to standard error from this level on. A line that cannot be written (the disk is full, nobody
/// reads) is lost, and only that.
pub fn log_to_stderr(level: tracing::Level) {
    tracing_subscriber::fmt()
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .log_internal_errors(false)
        .with_max_level(level)
        .init();
}

/// Does a program's work until it is done or interrupted, and says how it went: an error on standard
/// error under the program's name, anything but `true` in the exit code.
pub async fn program(
    name: &str,
    level: tracing::Level,
    work: impl Future<Output = anyhow::Result<bool>>,
) -> ExitCode {
    log_to_stderr(level);
    let outcome = match Interrupts::new() {
        Ok(interrupts) => interrupts.or(work).await,
        Err(error) => Err(error),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{name}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Resident memory of a process in bytes, where the system tells it.
pub fn resident_bytes(id: u32) -> Option<u64> {
    memory(id, "VmRSS:")
}

/// The most resident memory that a process has ever had, in bytes, where the system tells it.
pub fn peak_bytes(id: u32) -> Option<u64> {
    memory(id, "VmHWM:")
}

fn memory(id: u32, what: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(what))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// Looks at a condition until it gives something or the deadline passes.
///
/// # Errors
/// The condition's own error at once; otherwise that it did not happen in time.
pub fn wait<T>(
    patience: Duration,
    mut condition: impl FnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let started = now();
    loop {
        if let Some(found) = condition()? {
            return Ok(found);
        }
        anyhow::ensure!(
            started.elapsed() < patience,
            "it did not happen within {patience:?}"
        );
        pause();
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "the launcher is a driver: it owns the clock"
)]
fn now() -> std::time::Instant {
    std::time::Instant::now()
}

#[allow(
    clippy::disallowed_methods,
    reason = "a short pause between two looks at a condition"
)]
fn pause() {
    std::thread::sleep(POLL);
}

/// Milliseconds since the Unix epoch.
#[allow(
    clippy::disallowed_methods,
    reason = "the launcher is a driver: it owns the clock"
)]
pub fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

/// A clock for how long steps take.
pub fn stopwatch() -> std::time::Instant {
    now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_known_after_its_file_was_replaced() {
        let path = Path::new("/opt/stela/bin/stela-peer");
        assert_eq!(started_from(path), path);
        let gone = Path::new("/opt/stela/bin/stela-peer (deleted)");
        assert_eq!(started_from(gone), path);
    }

    #[test]
    fn this_program_runs_and_another_does_not() {
        let own = std::env::current_exe().unwrap();
        assert!(runs(std::process::id(), &own));
        assert!(!runs(std::process::id(), Path::new("/bin/another")));
    }
}

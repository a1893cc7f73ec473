//! Where log lines go.

use std::fmt::{self, Write};
use std::io::IsTerminal;

use slog::{Drain, KV, Key, Level, Logger, Never, OwnedKVList, Record, Serializer, o};
use tracing_subscriber::EnvFilter;

use crate::settings::LogFormat;

/// Starts logging to standard error. The variable `RUST_LOG` goes before `filter`.
///
/// # Errors
/// A readable line when the filter cannot be parsed, or logging was started before.
pub fn init(format: LogFormat, filter: &str) -> Result<(), String> {
    let filter = EnvFilter::try_from_default_env()
        .or_else(|_| EnvFilter::try_new(filter))
        .map_err(|error| format!("the log filter {filter:?}: {error}"))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        // A line that cannot be written (the disk is full, nobody reads) is lost, and only that.
        .log_internal_errors(false);
    let started = match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    started.map_err(|error| error.to_string())
}

/// A logger for Raft that hands its lines on as events with the target `raft`. What Raft calls
/// information is for those who debug it.
pub fn raft_logger() -> Logger {
    Logger::root(Forward, o!())
}

struct Forward;

impl Drain for Forward {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &Record<'_>, _: &OwnedKVList) -> Result<(), Never> {
        match record.level() {
            Level::Critical | Level::Error => tracing::error!(target: "raft", "{}", Line(record)),
            Level::Warning => tracing::warn!(target: "raft", "{}", Line(record)),
            Level::Info => tracing::debug!(target: "raft", "{}", Line(record)),
            Level::Debug | Level::Trace => tracing::trace!(target: "raft", "{}", Line(record)),
        }
        Ok(())
    }
}

/// Writes a record only when an event is really kept.
struct Line<'a>(&'a Record<'a>);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.msg())?;
        let mut pairs = Pairs(String::new());
        self.0
            .kv()
            .serialize(self.0, &mut pairs)
            .map_err(|_| fmt::Error)?;
        f.write_str(&pairs.0)
    }
}

struct Pairs(String);

impl Serializer for Pairs {
    fn emit_arguments(&mut self, key: Key, value: &fmt::Arguments<'_>) -> slog::Result {
        Ok(write!(self.0, " {key}={value}")?)
    }
}

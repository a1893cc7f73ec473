//! Text for people, JSON for programs; never both on standard output.

use std::io::{IsTerminal, Write};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::transfer::Transfer;

/// Where answers go.
pub(crate) struct Output {
    json: bool,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    /// Prints an answer: the value as one JSON document, or the lines that `text` makes of it.
    pub(crate) fn answer<T: Serialize>(
        &self,
        value: &T,
        text: impl FnOnce(&T) -> String,
    ) -> anyhow::Result<()> {
        let printed = if self.json {
            serde_json::to_string_pretty(value)?
        } else {
            text(value)
        };
        print(&printed)
    }

    /// Prints one of many answers on a line of its own, as they come.
    pub(crate) fn line<T: Serialize>(
        &self,
        value: &T,
        text: impl FnOnce(&T) -> String,
    ) -> anyhow::Result<()> {
        print(&if self.json {
            serde_json::to_string(value)?
        } else {
            text(value)
        })
    }

    /// Says what is left to do, beside the answer.
    pub(crate) fn warn(&self, what: &str) {
        eprintln!("stela: {what}");
    }

    /// Prints a failure for programs; people read standard error.
    pub(crate) fn failure(&self, value: &serde_json::Value) {
        if self.json {
            println!("{value}");
        }
    }

    /// What shows how far a transfer is, on a terminal only.
    pub(crate) fn transfer(&self) -> Transfer {
        Transfer::new(self.is_watched())
    }

    /// Whether a person looks on who did not ask for JSON.
    fn is_watched(&self) -> bool {
        !self.json && std::io::stderr().is_terminal()
    }

    /// A spinner that says what is going on, on a terminal only; it goes away when dropped.
    pub(crate) fn progress(&self, what: &str) -> Progress {
        let bar = if self.is_watched() {
            ProgressBar::new_spinner()
        } else {
            ProgressBar::hidden()
        };
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
            bar.set_style(style);
        }
        bar.set_message(what.to_owned());
        bar.enable_steady_tick(std::time::Duration::from_millis(100));
        Progress(bar)
    }

    /// A bar that fills while so many steps are done, on a terminal only.
    pub(crate) fn bar(&self, what: &str, steps: u64) -> Progress {
        let progress = self.progress(what);
        progress.0.set_length(steps);
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {bar:24} {pos}/{len}") {
            progress.0.set_style(style);
        }
        progress
    }
}

fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{}", text.trim_end()).and_then(|()| out.flush()) {
        // Whoever reads may have seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

/// A running spinner or bar.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// Says something else from now on.
    pub(crate) fn say(&self, what: &str) {
        self.0.set_message(what.to_owned());
    }

    /// One step is done.
    pub(crate) fn step(&self) {
        self.0.inc(1);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// What another machine said, without what would make a terminal do things.
pub(crate) fn printable(text: &str) -> String {
    let visible = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    text.chars().map(visible).collect()
}

/// A table with aligned columns and a heading.
pub(crate) fn table(heading: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = heading.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: Vec<&str>| {
        let padded: Vec<String> = cells
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        padded.join("  ").trim_end().to_owned() + "\n"
    };
    let mut text = line(heading.to_vec());
    for row in rows {
        text.push_str(&line(row.iter().map(String::as_str).collect()));
    }
    text
}

/// A time as people write it, in UTC.
pub(crate) fn time(ms: u64) -> String {
    use time::format_description::well_known::Rfc3339;
    let seconds = i64::try_from(ms / 1000).unwrap_or(i64::MAX);
    time::OffsetDateTime::from_unix_timestamp(seconds)
        .ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_else(|| format!("{ms} ms"))
}

/// The beginning of a long id, enough to tell it from others.
pub(crate) fn short(id: impl ToString) -> String {
    id.to_string().chars().take(12).collect()
}

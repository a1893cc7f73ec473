//! How far a record is on its way: bars on a terminal, and for programs what each stage took.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use parking_lot::Mutex;
use serde::Serialize;
use stela_consent::Id;
use stela_records::care::{Progress, Stage};
use tokio::time::Instant;

const BAR: &str =
    "{msg:>24} {wide_bar} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta}";
const SPINNER: &str = "{spinner} {msg} ({elapsed})";

/// A stage that has ended.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Took {
    stage: &'static str,
    bytes: u64,
    /// From the beginning of the command to that of the stage.
    began_seconds: f64,
    /// From the beginning of the stage until the first of its bytes were done.
    first_seconds: f64,
    seconds: f64,
}

/// One command's transfer. Nothing is shown where `visible` is false.
pub(crate) struct Transfer {
    visible: bool,
    asked: Instant,
    state: Mutex<State>,
}

struct State {
    bar: ProgressBar,
    began: Option<Begun>,
    took: Vec<Took>,
    upload: Option<Id>,
    fetched: bool,
}

struct Begun {
    stage: Stage,
    bytes: u64,
    at: Instant,
    first: Option<Instant>,
}

impl Begun {
    fn reach(&mut self, bytes: u64, now: Instant) {
        if bytes > 0 {
            self.first.get_or_insert(now);
        }
    }

    fn end(self, asked: Instant, now: Instant) -> Took {
        let since = |start, end: Instant| end.duration_since(start).as_secs_f64();
        Took {
            stage: name(self.stage),
            bytes: self.bytes,
            began_seconds: since(asked, self.at),
            first_seconds: since(self.at, self.first.unwrap_or(now)),
            seconds: since(self.at, now),
        }
    }
}

impl Transfer {
    pub(crate) fn new(visible: bool) -> Self {
        let state = State {
            bar: ProgressBar::hidden(),
            began: None,
            took: Vec::new(),
            upload: None,
            fetched: false,
        };
        Self {
            visible,
            asked: Instant::now(),
            state: Mutex::new(state),
        }
    }

    /// Says what is going on while no bytes are counted.
    pub(crate) fn say(&self, what: &str) {
        self.show(ProgressBar::new_spinner(), SPINNER, what);
    }

    /// Takes everything off the terminal.
    pub(crate) fn clear(&self) {
        self.state.lock().bar.finish_and_clear();
    }

    /// The stages that have ended.
    pub(crate) fn took(&self) -> Vec<Took> {
        self.state.lock().took.clone()
    }

    /// The record whose upload can be resumed.
    pub(crate) fn upload(&self) -> Option<Id> {
        self.state.lock().upload
    }

    /// Whether a ciphertext was being fetched.
    pub(crate) fn fetched(&self) -> bool {
        self.state.lock().fetched
    }

    fn show(&self, bar: ProgressBar, template: &str, what: &str) {
        if !self.visible {
            return;
        }
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(what.to_owned());
        bar.enable_steady_tick(Duration::from_millis(100));
        std::mem::replace(&mut self.state.lock().bar, bar).finish_and_clear();
    }
}

impl Progress for Transfer {
    fn begin(&self, stage: Stage, bytes: u64) {
        self.show(ProgressBar::new(bytes), BAR, text(stage));
        let mut state = self.state.lock();
        state.began = Some(Begun {
            stage,
            bytes,
            at: Instant::now(),
            first: None,
        });
        state.fetched |= stage == Stage::Fetch;
    }

    fn reach(&self, bytes: u64) {
        let mut state = self.state.lock();
        state.bar.set_position(bytes);
        if let Some(begun) = &mut state.began {
            begun.reach(bytes, Instant::now());
        }
    }

    fn end(&self) {
        self.say("waiting for the network");
        let mut state = self.state.lock();
        if let Some(begun) = state.began.take() {
            state.took.push(begun.end(self.asked, Instant::now()));
        }
    }

    fn resumable(&self, record: Id, _: u32) {
        self.state.lock().upload = Some(record);
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        self.clear();
    }
}

fn name(stage: Stage) -> &'static str {
    match stage {
        Stage::Encrypt => "encrypt",
        Stage::Check => "check",
        Stage::Hold => "hold",
        Stage::Fetch => "fetch",
        Stage::Decrypt => "decrypt",
    }
}

fn text(stage: Stage) -> &'static str {
    match stage {
        Stage::Encrypt => "encrypting",
        Stage::Check => "checking what is here",
        Stage::Hold => "organizations fetch it",
        Stage::Fetch => "fetching",
        Stage::Decrypt => "verifying, decrypting",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_knows_when_it_began_and_when_its_first_bytes_were_done() {
        let (asked, second) = (Instant::now(), Duration::from_secs(1));
        let begun = || Begun {
            stage: Stage::Fetch,
            bytes: 30,
            at: asked + second,
            first: None,
        };
        let times = |took: Took| (took.began_seconds, took.first_seconds, took.seconds);
        let mut counted = begun();
        for (bytes, at) in [(0, 2), (10, 3), (30, 7)] {
            counted.reach(bytes, asked + at * second);
        }
        assert_eq!(
            times(counted.end(asked, asked + 7 * second)),
            (1.0, 2.0, 6.0)
        );
        let uncounted = begun().end(asked, asked + 9 * second);
        assert_eq!(times(uncounted), (1.0, 8.0, 8.0));
    }
}

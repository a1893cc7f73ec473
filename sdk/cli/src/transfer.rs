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
    seconds: f64,
}

/// One command's transfer. Nothing is shown where `visible` is false.
pub(crate) struct Transfer {
    visible: bool,
    state: Mutex<State>,
}

struct State {
    bar: ProgressBar,
    began: Option<(Stage, u64, Instant)>,
    took: Vec<Took>,
    upload: Option<Id>,
    fetched: bool,
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
        state.began = Some((stage, bytes, Instant::now()));
        state.fetched |= stage == Stage::Fetch;
    }

    fn reach(&self, bytes: u64) {
        self.state.lock().bar.set_position(bytes);
    }

    fn end(&self) {
        self.say("waiting for the network");
        let mut state = self.state.lock();
        if let Some((stage, bytes, began)) = state.began.take() {
            state.took.push(Took {
                stage: name(stage),
                bytes,
                seconds: began.elapsed().as_secs_f64(),
            });
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

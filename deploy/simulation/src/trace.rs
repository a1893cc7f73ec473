//! Everything that happens, hashed, so that two runs of a seed can be compared.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::place::Place;

/// A running hash over all events, and on request a line for each.
pub(crate) struct Trace {
    hash: Sha256,
    lines: Option<Vec<String>>,
}

impl Trace {
    pub(crate) fn new(seed: u64, with_lines: bool) -> Self {
        let mut hash = Sha256::new();
        hash.update(seed.to_be_bytes());
        Self {
            hash,
            lines: with_lines.then(Vec::new),
        }
    }

    /// Something happened at a place; `bytes` are all that it was about.
    pub(crate) fn note(&mut self, now: u64, place: Place, what: &str, bytes: &[u8]) {
        let (kind, index) = place.numbers();
        self.hash.update(now.to_be_bytes());
        self.hash.update([kind, index]);
        self.hash.update((what.len() as u64).to_be_bytes());
        self.hash.update(what.as_bytes());
        self.hash.update((bytes.len() as u64).to_be_bytes());
        self.hash.update(bytes);
        if let Some(lines) = &mut self.lines {
            let start: String = hex::encode(&bytes[..bytes.len().min(8)]);
            let length = bytes.len();
            lines.push(format!("{now} {place} {what} [{length}] {start}"));
        }
    }

    /// The same, about what can be shown.
    pub(crate) fn tell(&mut self, now: u64, place: Place, what: &str, about: &dyn fmt::Display) {
        self.note(now, place, what, about.to_string().as_bytes());
        if let Some(line) = self.lines.as_mut().and_then(|lines| lines.last_mut()) {
            *line = format!("{now} {place} {what} {about}");
        }
    }

    pub(crate) fn finish(self) -> ([u8; 32], Vec<String>) {
        (self.hash.finalize().into(), self.lines.unwrap_or_default())
    }
}

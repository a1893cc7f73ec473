//! What the review of a version leaves.

use stela_consent::{Fingerprint, Id};
use stela_guest::{Key, KeyRange};

use super::{Result, key, range, text};

pub(crate) fn confirmation(record: &Id, version: u32, officer: &Fingerprint) -> Result<Key> {
    key("y", &[&text(record), &version.to_string(), &text(officer)])
}

pub(crate) fn confirmations(record: &Id, version: u32) -> Result<KeyRange> {
    range("y", &[&text(record), &version.to_string()])
}

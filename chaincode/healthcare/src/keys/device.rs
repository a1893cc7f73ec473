//! Devices: to whom they are bound, and what they have submitted.

use stela_consent::{Fingerprint, Id};
use stela_guest::{Key, KeyRange};

use super::{Result, key, range, text};

pub(crate) fn device(device: &Fingerprint) -> Result<Key> {
    key("vd", &[&text(device)])
}

pub(crate) fn device_of_patient(patient: &Id, device: &Fingerprint) -> Result<Key> {
    key("vp", &[&text(patient), &text(device)])
}

pub(crate) fn devices_of_patient(patient: &Id) -> Result<KeyRange> {
    range("vp", &[&text(patient)])
}

pub(crate) fn sequence(device: &Fingerprint) -> Result<Key> {
    key("vs", &[&text(device)])
}

pub(crate) fn window(record: &Id) -> Result<Key> {
    key("vw", &[&text(record)])
}

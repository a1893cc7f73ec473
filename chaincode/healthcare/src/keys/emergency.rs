//! Emergency access: what there was, what it was found to be, and what is still to be reviewed.

use stela_consent::{Fingerprint, Hex, Id, Organization};
use stela_guest::{ContractError, Key, KeyRange};

use super::{Result, key, range, text, time_text};

pub(crate) fn emergency(patient: &Id, request: &Hex<32>) -> Result<Key> {
    key("ue", &[&text(patient), &text(request)])
}

pub(crate) fn emergencies(patient: &Id) -> Result<KeyRange> {
    range("ue", &[&text(patient)])
}

pub(crate) fn emergency_review(patient: &Id, request: &Hex<32>) -> Result<Key> {
    key("uf", &[&text(patient), &text(request)])
}

/// By time, so that those which wait too long stand before all others.
pub(crate) fn open_review(reader: &Fingerprint, time_ms: u64, request: &Hex<32>) -> Result<Key> {
    key("u", &[&text(reader), &time_text(time_ms), &text(request)])
}

pub(crate) fn open_reviews(reader: &Fingerprint) -> Result<KeyRange> {
    range("u", &[&text(reader)])
}

/// The open reviews of what a practitioner read before `time_ms`.
pub(crate) fn open_reviews_before(reader: &Fingerprint, time_ms: u64) -> Result<KeyRange> {
    let end = key("u", &[&text(reader), &time_text(time_ms)])?;
    open_reviews(reader)?
        .until(end.as_bytes())
        .ok_or_else(|| ContractError::corrupt_state("key"))
}

pub(crate) fn open_review_at(
    organization: &Organization,
    patient: &Id,
    request: &Hex<32>,
) -> Result<Key> {
    key(
        "uo",
        &[organization.as_str(), &text(patient), &text(request)],
    )
}

pub(crate) fn open_reviews_about(organization: &Organization, patient: &Id) -> Result<KeyRange> {
    range("uo", &[organization.as_str(), &text(patient)])
}

pub(crate) fn open_reviews_at(organization: &Organization) -> Result<KeyRange> {
    range("uo", &[organization.as_str()])
}

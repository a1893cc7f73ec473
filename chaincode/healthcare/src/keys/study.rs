//! Studies: their terms, who investigates, and who takes part.

use stela_consent::{Fingerprint, Id, Organization, Role};
use stela_guest::{Key, KeyRange};

use super::{Result, key, range, text};

pub(crate) fn study(study: &Id) -> Result<Key> {
    key("st", &[&text(study)])
}

pub(crate) fn sponsor(study: &Id) -> Result<Key> {
    key("so", &[&text(study)])
}

pub(crate) fn end_of_study(study: &Id) -> Result<Key> {
    key("sx", &[&text(study)])
}

pub(crate) fn investigator(study: &Id, researcher: &Fingerprint) -> Result<Key> {
    key("si", &[&text(study), &text(researcher)])
}

pub(crate) fn investigators(study: &Id) -> Result<KeyRange> {
    range("si", &[&text(study)])
}

pub(crate) fn investigator_by_role(
    study: &Id,
    organization: &Organization,
    role: Role,
) -> Result<Key> {
    key("sr", &[&text(study), organization.as_str(), role.code()])
}

pub(crate) fn investigators_by_role(study: &Id) -> Result<KeyRange> {
    range("sr", &[&text(study)])
}

pub(crate) fn enrolment(study: &Id, patient: &Id) -> Result<Key> {
    key("sm", &[&text(study), &text(patient)])
}

pub(crate) fn pseudonym(study: &Id, pseudonym: &Id) -> Result<Key> {
    key("sp", &[&text(study), &text(pseudonym)])
}

pub(crate) fn pseudonyms(study: &Id) -> Result<KeyRange> {
    range("sp", &[&text(study)])
}

//! What an erasure needs and leaves.

use stela_consent::{Id, Organization};
use stela_guest::{Key, KeyRange};

use super::{Result, key, range, text};
use crate::value::Cid;

pub(crate) fn tombstone(record: &Id) -> Result<Key> {
    key("t", &[&text(record)])
}

pub(crate) fn erasure_request(patient: &Id, record: &Id) -> Result<Key> {
    key("z", &[&text(patient), &text(record)])
}

pub(crate) fn erasure_requests(patient: &Id) -> Result<KeyRange> {
    range("z", &[&text(patient)])
}

/// A request that waits for the organization that submitted the record.
pub(crate) fn open_erasure(organization: &Organization, patient: &Id, record: &Id) -> Result<Key> {
    key(
        "zo",
        &[organization.as_str(), &text(patient), &text(record)],
    )
}

pub(crate) fn open_erasures(organization: &Organization) -> Result<KeyRange> {
    range("zo", &[organization.as_str()])
}

pub(crate) fn erasure_proposal(record: &Id) -> Result<Key> {
    key("zu", &[&text(record)])
}

pub(crate) fn blob(cid: &Cid, record: &Id) -> Result<Key> {
    key("n", &[cid.as_str(), &text(record)])
}

pub(crate) fn records_of_blob(cid: &Cid) -> Result<KeyRange> {
    range("n", &[cid.as_str()])
}

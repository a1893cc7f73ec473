//! What an erasure needs and leaves.

use stela_consent::Id;
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

pub(crate) fn erasure_proposal(record: &Id) -> Result<Key> {
    key("zu", &[&text(record)])
}

pub(crate) fn blob(cid: &Cid, record: &Id) -> Result<Key> {
    key("n", &[cid.as_str(), &text(record)])
}

pub(crate) fn records_of_blob(cid: &Cid) -> Result<KeyRange> {
    range("n", &[cid.as_str()])
}

//! Erasing records.

use serde::{Deserialize, Serialize};
use stela_consent::Id;

use crate::value::{DeclineReason, EraseReason, ErasureGround};

request! {
    /// `request_erasure`.
    RequestErasure {
        /// The patient.
        patient: Id,
        /// The record's id.
        record: Id,
        /// Why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<ErasureGround>,
    }
}

request! {
    /// `decline_erasure`.
    DeclineErasure {
        /// The patient.
        patient: Id,
        /// The record's id.
        record: Id,
        /// Why.
        reason: DeclineReason,
    }
}

request! {
    /// `erase_record`.
    EraseRecord {
        /// The record's id.
        record: Id,
        /// Why.
        reason: EraseReason,
    }
}

request! {
    /// `erasures`.
    Erasures {
        /// The patient. Without her, a privacy officer is told which requests of all patients wait
        /// for her organization.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        patient: Option<Id>,
        /// Entries of a page.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit: Option<u32>,
        /// Where the page before said to go on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bookmark: Option<String>,
    }
}

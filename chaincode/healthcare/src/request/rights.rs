//! What concerns somebody, and what a patient may know.

use serde::{Deserialize, Serialize};
use stela_consent::{Fingerprint, Id, Purpose};

request! {
    /// `concerns`.
    Concerns {
        /// The record's id.
        record: Id,
        /// The version; without it, the newest.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        version: Option<u32>,
    }
}

request! {
    /// `accounting`.
    Accounting {
        /// The patient.
        patient: Id,
        /// Only disclosures at this time or later; never those more than
        /// [`ACCOUNTING_YEARS`](crate::limits::ACCOUNTING_YEARS) ago.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<u64>,
        /// Only disclosures before this time, later than `from`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<u64>,
        /// Only for this purpose and what it contains.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        purpose: Option<Purpose>,
        /// Only to this certificate.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        recipient: Option<Fingerprint>,
        /// Also the disclosures for which 45 CFR 164.528 asks no accounting.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        all: bool,
        /// Entries of a page.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit: Option<u32>,
        /// Where the page before said to go on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bookmark: Option<String>,
    }
}

impl Accounting {
    /// Every disclosure of a patient's records that an accounting must name.
    pub fn of(patient: Id) -> Self {
        Self {
            patient,
            from: None,
            to: None,
            purpose: None,
            recipient: None,
            all: false,
            limit: None,
            bookmark: None,
        }
    }
}

request! {
    /// `readers`.
    Readers {
        /// The patient.
        patient: Id,
        /// Only of this record.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        record: Option<Id>,
        /// Entries of a page.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit: Option<u32>,
        /// Where the page before said to go on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bookmark: Option<String>,
    }
}

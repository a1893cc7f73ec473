//! Erasing records.

use serde::{Deserialize, Serialize};
use stela_consent::{Fingerprint, Id, Organization};

use crate::value::{DeclineReason, EraseReason, ErasureGround};

answer! {
    /// What `erase_record` did.
    Erasing {
        /// Whether the record is erased; if not, a privacy officer of another organization is asked
        /// to do the same.
        erased: bool,
    }
}

answer! {
    /// What is left in the place of an erased record.
    Tombstone {
        /// The privacy officer who erased it.
        by: Fingerprint,
        /// Her organization.
        organization: Organization,
        /// When.
        time: u64,
        /// Why.
        reason: EraseReason,
        /// The privacy officer of the submitting organization who had proposed it as unlawful.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        proposed_by: Option<Fingerprint>,
    }
}

answer! {
    /// Why an erasure was declined.
    Declined {
        /// The privacy officer who declined it.
        by: Fingerprint,
        /// Her organization.
        organization: Organization,
        /// When.
        time: u64,
        /// Why.
        reason: DeclineReason,
    }
}

answer! {
    /// A patient's request for the erasure of a record, and what became of it. One that is neither
    /// declined nor followed by an erasure waits.
    ErasureRequest {
        /// The patient.
        patient: Id,
        /// The record.
        record: Id,
        /// Who asked, as the patient.
        by: Fingerprint,
        /// When.
        time: u64,
        /// Why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<ErasureGround>,
        /// Why it was declined.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        declined: Option<Declined>,
        /// How the record was erased.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        erased: Option<Tombstone>,
    }
}

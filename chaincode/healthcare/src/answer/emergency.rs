//! Emergency access.

use serde::{Deserialize, Serialize};
use stela_consent::{Fingerprint, Hex, Id, Organization};

use crate::value::{EmergencyReason, Finding};

answer! {
    /// One emergency access.
    Emergency {
        /// The transaction that permitted it.
        request: Hex<32>,
        /// The patient.
        patient: Id,
        /// The record.
        record: Id,
        /// The version.
        version: u32,
        /// Who read.
        practitioner: Fingerprint,
        /// Her organization.
        organization: Organization,
        /// Why.
        reason: EmergencyReason,
        /// The commitment to the encrypted justification.
        justification: Hex<32>,
        /// When access was asked for.
        time: u64,
        /// When the permit ends.
        expires: u64,
        /// What the review found; without it, it is still to be reviewed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        review: Option<EmergencyReview>,
    }
}

answer! {
    /// The review of an emergency access.
    EmergencyReview {
        /// What it found.
        finding: Finding,
        /// The privacy officer.
        by: Fingerprint,
        /// Her organization.
        #[serde(rename = "org")]
        organization: Organization,
        /// When.
        time: u64,
    }
}

//! Emergency access, and denied accesses that were not committed.

use serde::{Deserialize, Serialize};
use stela_consent::{Fingerprint, Hex, Id, Organization, Purpose, Role};

use crate::value::{Basis, DenyReason, EmergencyReason, Finding};

request! {
    /// `note_denied_access`: what the requester was told and did not have committed.
    NoteDeniedAccess {
        /// The patient.
        patient: Id,
        /// The record's id.
        record: Id,
        /// The version.
        version: u32,
        /// Why it was wanted.
        purpose: Purpose,
        /// Who asked: the certificate.
        requester: Fingerprint,
        /// The organization that issued it.
        organization: Organization,
        /// The role in it.
        role: Role,
        /// The transaction that was endorsed and did not come.
        transaction: Hex<32>,
        /// When it was made.
        time: u64,
        /// Why it was denied.
        reason: DenyReason,
        /// The consent that denied.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        consent: Option<Id>,
        /// The provision in it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        provision: Option<Vec<u8>>,
        /// What the decision rests on.
        basis: Basis,
        /// The study for which it was asked.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        study: Option<Id>,
    }
}

request! {
    /// `break_glass`. The proposal carries exactly one side commitment, to the encrypted
    /// justification.
    BreakGlass {
        /// The patient.
        patient: Id,
        /// The record's id.
        record: Id,
        /// The version.
        version: u32,
        /// Why.
        reason: EmergencyReason,
    }
}

request! {
    /// `review_emergency`.
    ReviewEmergency {
        /// The patient.
        patient: Id,
        /// The transaction that permitted the access.
        request: Hex<32>,
        /// Who read.
        practitioner: Fingerprint,
        /// What was found.
        finding: Finding,
    }
}

request! {
    /// `list_emergencies`.
    ListEmergencies {
        /// The patient whose records were read. Without her, a practitioner is told which of her
        /// own await their review, and a privacy officer which await one that she can give.
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

//! Research studies.

use serde::{Deserialize, Serialize};
use stela_consent::{Actor, Category, Fingerprint, Id, Organization};

use crate::request::RegisterStudy;

answer! {
    /// A study, and who investigates.
    Study {
        /// As it was registered.
        terms: RegisterStudy,
        /// The sponsoring organization.
        organization: Organization,
        /// The privacy officer who registered it.
        by: Fingerprint,
        /// When.
        time: u64,
        /// When it was ended before its time.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ended: Option<u64>,
        /// The name in it of the patient who was asked about, or of the caller, while she takes part.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pseudonym: Option<Id>,
        /// Who may ask for it.
        investigators: Vec<Actor>,
    }
}

answer! {
    /// A record that a study may read, in its active version.
    StudyRecord {
        /// The patient's name in the study: what a request for the study has for the patient.
        pseudonym: Id,
        /// Who she is, when her consent lets the study know (`RSREID`).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        patient: Option<Id>,
        /// The record's id.
        record: Id,
        /// The active version.
        version: u32,
        /// What kind of record it is.
        category: Category,
        /// When what it reports took place.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        date: Option<u64>,
    }
}

answer! {
    /// How many patients of one part of a study fit, unless they are so few that the number could
    /// point at somebody.
    Cohort {
        /// How many.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        count: Option<u32>,
        /// The number is smaller than this, and is not told.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fewer_than: Option<u32>,
        /// Into how many parts the study's patients are divided, for each of which they are counted.
        parts: u32,
    }
}

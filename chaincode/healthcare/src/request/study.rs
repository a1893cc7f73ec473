//! Research studies.

use serde::{Deserialize, Serialize};
use stela_consent::{Actor, Category, Confidentiality, Hex, Id, Purpose, SensitivityLabel};

request! {
    /// `register_study`: stored as it is, and never changed.
    RegisterStudy {
        /// The study's id.
        study: Id,
        /// What it is for; all of them within `HRESCH`.
        purposes: Vec<Purpose>,
        /// The highest confidentiality of a record that it may see.
        ceiling: Confidentiality,
        /// The sensitivity labels that a record may carry; without any, it sees records that have
        /// none.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        labels: Vec<SensitivityLabel>,
        /// The categories of records that it may see; without any, every one.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        categories: Vec<Category>,
        /// When it ends.
        end: u64,
        /// The salted hash of its ethics approval.
        approval: Hex<32>,
        /// The smallest count of patients that it is told; at least the consortium's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        floor: Option<u32>,
    }
}

request! {
    /// `add_investigator` and `remove_investigator`.
    Investigator {
        /// The study.
        study: Id,
        /// `{"id"}`, one certificate, or `{"org", "role"}`, everybody with a role at an
        /// organization.
        researcher: Actor,
    }
}

request! {
    /// `end_study`.
    EndStudy {
        /// The study.
        study: Id,
    }
}

request! {
    /// `get_study`.
    GetStudy {
        /// The study.
        study: Id,
        /// Whose name in it is asked for; without her, the caller's own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        patient: Option<Id>,
    }
}

request! {
    /// `enrol`.
    Enrol {
        /// The study.
        study: Id,
        /// Under which name it knows the patient: random, for this study alone.
        pseudonym: Id,
        /// The patient; without her, the one that the caller's certificate names.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        patient: Option<Id>,
    }
}

request! {
    /// `withdraw_from_study`.
    WithdrawFromStudy {
        /// The study.
        study: Id,
        /// The patient; without her, the one that the caller's certificate names.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        patient: Option<Id>,
    }
}

request! {
    /// `study_records`.
    StudyRecords {
        /// The study.
        study: Id,
        /// Why; without it, the first of the study's purposes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        purpose: Option<Purpose>,
        /// Records and patients that a page looks at.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit: Option<u32>,
        /// Where the page before said to go on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bookmark: Option<String>,
    }
}

request! {
    /// `study_cohort`: how many patients of a study have a record that fits.
    StudyCohort {
        /// The study.
        study: Id,
        /// Why; without it, the first of the study's purposes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        purpose: Option<Purpose>,
        /// The record's category.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        category: Option<Category>,
        /// A sensitivity label of the record.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        label: Option<SensitivityLabel>,
        /// The record's date is not before this.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<u64>,
        /// The record's date is before this.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<u64>,
        /// Which part of the study's patients is counted, from 0 on; without it, the first.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        part: Option<u32>,
    }
}

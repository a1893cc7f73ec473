//! The review of versions, and a record's history.

use serde::{Deserialize, Serialize};
use stela_consent::{Fingerprint, Hex, Organization};

use crate::value::{RejectReason, State};

answer! {
    /// What a confirmation did.
    Reviewed {
        /// Where the version stands now.
        state: State,
        /// How many further officers are asked for.
        missing: u32,
    }
}

/// What an officer found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Finding {
    /// The version is as it should be.
    Confirmed,
    /// It is not.
    Rejected,
}

answer! {
    /// What one officer found about a version.
    ReviewStep {
        /// The finding.
        finding: Finding,
        /// The officer.
        by: Fingerprint,
        /// Her organization.
        organization: Organization,
        /// When.
        time: u64,
        /// Why she rejected it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<RejectReason>,
    }
}

/// How a record as a whole changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeKind {
    /// Version 1 was submitted.
    Submitted,
    /// A further version was submitted.
    Amended,
    /// The newest version became the active one.
    Confirmed,
    /// The record was erased.
    Erased,
}

answer! {
    /// One change of a record as a whole.
    RecordChange {
        /// What happened.
        event: ChangeKind,
        /// Who did it; for a confirmation, the officer whose confirmation was the last one.
        by: Fingerprint,
        /// Their organization.
        organization: Organization,
        /// The block with the transaction that made it.
        block: u64,
        /// The transaction's place in the block.
        index: u32,
        /// The transaction.
        transaction: Hex<32>,
        /// The block's time.
        time: u64,
        /// The newest version after it.
        latest: u32,
        /// The active version after it, if there was one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        active: Option<u32>,
        /// For a submission and an amendment: the version that this one replaced, or replaces once
        /// it is confirmed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        replaces: Option<u32>,
        /// For them: the version that replaced this one since.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        replaced_by: Option<u32>,
        /// For them: what officers found about this version since, in the order of time.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        reviews: Vec<ReviewStep>,
    }
}

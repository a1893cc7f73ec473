//! What concerns somebody, and what a patient may know.

use serde::{Deserialize, Serialize};
use stela_consent::{Category, Fingerprint, Hex, Id, Organization, Purpose, Role};

use crate::value::Basis;

/// Why somebody is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Concern {
    /// She is the patient.
    Patient,
    /// She is a delegate of the patient who reads the version or uses her rights.
    Delegate,
    /// She is the author of a version.
    Author,
    /// She has reviewed the version, or is asked to.
    Reviewer,
    /// She holds or held a permit for a version.
    Permit,
    /// A consent that stands opens the version to her.
    Consent,
    /// She may decide about an erasure that was asked for or proposed.
    Erasure,
    /// An emergency access to a record of the patient's waits for her review.
    Emergency,
}

answer! {
    /// Whether a version concerns the caller.
    Concerned {
        /// The version.
        version: u32,
        /// Why it does; empty when it does not.
        reasons: Vec<Concern>,
    }
}

/// What a disclosure was for, as 45 CFR 164.528(a)(1) sorts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DisclosureKind {
    /// Treatment; exempt.
    Treatment,
    /// Payment; exempt.
    Payment,
    /// Health care operations, reviews included; exempt.
    Operations,
    /// To the individual herself or whoever acts for her; exempt.
    Individual,
    /// By her consent; exempt.
    Authorization,
    /// For public health, whatever it rests on.
    PublicHealth,
    /// Anything else.
    Other,
}

impl DisclosureKind {
    /// Whether an accounting must name it.
    pub fn is_accounted(self) -> bool {
        matches!(self, Self::PublicHealth | Self::Other)
    }
}

answer! {
    /// One disclosure: an access that was permitted.
    Disclosure {
        /// When.
        time: u64,
        /// The transaction that permitted it.
        transaction: Hex<32>,
        /// To whom.
        recipient: Fingerprint,
        /// The recipient's organization.
        organization: Organization,
        /// The recipient's role.
        role: Role,
        /// The record.
        record: Id,
        /// Its version.
        version: u32,
        /// What kind of record it is.
        category: Category,
        /// Why.
        purpose: Purpose,
        /// What it rests on.
        basis: Basis,
        /// What it was for, as the accounting sorts it.
        kind: DisclosureKind,
    }
}

answer! {
    /// Somebody who holds or held a permit for a version of a record: the newest one.
    Reader {
        /// The record.
        record: Id,
        /// Its version.
        version: u32,
        /// The reader.
        reader: Fingerprint,
        /// Her organization.
        organization: Organization,
        /// Her role.
        role: Role,
        /// Why she asked.
        purpose: Purpose,
        /// What the permit rests on.
        basis: Basis,
        /// The transaction that permitted.
        request: Hex<32>,
        /// When she asked.
        time: u64,
        /// When the permit ends or ended, if nothing ended it before.
        expires: u64,
    }
}

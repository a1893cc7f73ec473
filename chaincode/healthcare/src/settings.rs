//! What the consortium sets for this contract in the channel's configuration.

use serde::{Deserialize, Serialize};
use stela_guest::{ContractError, Ledger, json};

use crate::limits::{
    EMERGENCY_MS, EMERGENCY_REVIEW_MS, ERASURE_PROPOSAL_MS, OFFICERS_MAX, REBIND_WAIT_MS,
    RETENTION_YEARS, RETENTION_YEARS_MAX, SETTINGS_BYTES_MAX, STUDY_FLOOR,
};

/// The contract's settings: one JSON object, unknown fields are refused, and what is not stated
/// has its default. A configuration without settings means every default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// How long it takes until that counts which an organization alone says about who is, or acts
    /// for, a patient (a rebinding, a guardian, an executor), in milliseconds; [`REBIND_WAIT_MS`]
    /// when not stated.
    pub rebind_wait_ms: u64,
    /// How a submitted version becomes active.
    pub review: ReviewPolicy,
    /// For how many years ([`crate::limits::YEAR_MS`]) a record must be kept, counted from what it
    /// reports or else from its submission; [`RETENTION_YEARS`] when not stated.
    pub retention_years: u32,
    /// How long the proposal to erase a record as unlawful waits for a privacy officer of another
    /// organization, in milliseconds; [`ERASURE_PROPOSAL_MS`] when not stated.
    pub erasure_proposal_ms: u64,
    /// How long an emergency permit lasts, in milliseconds; [`EMERGENCY_MS`] when not stated.
    pub emergency_ms: u64,
    /// How long an emergency access may wait for its review before its reader gets no other one,
    /// in milliseconds; [`EMERGENCY_REVIEW_MS`] when not stated.
    pub emergency_review_ms: u64,
    /// The smallest count of patients that a study is told; [`STUDY_FLOOR`] when not stated.
    pub study_floor: u32,
}

/// Whose confirmations make a submitted version active.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReviewPolicy {
    /// How many records officers must confirm it: 1, when not stated, to [`OFFICERS_MAX`].
    pub officers: u32,
    /// How many of them must be from another organization than the one that submitted it; the
    /// others are from that one. None when not stated.
    pub elsewhere: u32,
}

impl Default for ReviewPolicy {
    fn default() -> Self {
        Self {
            officers: 1,
            elsewhere: 0,
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            rebind_wait_ms: REBIND_WAIT_MS,
            review: ReviewPolicy::default(),
            retention_years: RETENTION_YEARS,
            erasure_proposal_ms: ERASURE_PROPOSAL_MS,
            emergency_ms: EMERGENCY_MS,
            emergency_review_ms: EMERGENCY_REVIEW_MS,
            study_floor: STUDY_FLOOR,
        }
    }
}

impl Settings {
    /// Reads settings as a configuration carries them; no bytes at all mean every default.
    ///
    /// # Errors
    /// `invalid-settings` with the field that breaks a rule.
    pub fn parse(bytes: &[u8]) -> Result<Self, ContractError> {
        if bytes.is_empty() {
            return Ok(Self::default());
        }
        let settings = json::parse(bytes, SETTINGS_BYTES_MAX).and_then(Self::checked);
        settings.map_err(|error| ContractError {
            code: "invalid-settings".to_owned(),
            ..error
        })
    }

    fn checked(self) -> Result<Self, ContractError> {
        let ReviewPolicy {
            officers,
            elsewhere,
        } = self.review;
        if !(1..=OFFICERS_MAX).contains(&officers) {
            let rule = format!("a review takes 1 to {OFFICERS_MAX} officers");
            return Err(ContractError::invalid("review.officers", rule));
        }
        if elsewhere > officers {
            return Err(ContractError::invalid(
                "review.elsewhere",
                "no more officers can be from elsewhere than there are",
            ));
        }
        if self.retention_years > RETENTION_YEARS_MAX {
            let rule = format!("records are kept for at most {RETENTION_YEARS_MAX} years");
            return Err(ContractError::invalid("retention_years", rule));
        }
        Ok(self)
    }

    /// The settings under which this invocation runs.
    pub(crate) fn of(ledger: &dyn Ledger) -> Result<Self, ContractError> {
        Self::parse(&ledger.invocation().settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_stated_has_its_default() {
        assert_eq!(Settings::parse(b"").unwrap(), Settings::default());
        assert_eq!(Settings::parse(b"{}").unwrap(), Settings::default());
        let set = Settings::parse(br#"{"rebind_wait_ms":1}"#).unwrap();
        assert_eq!(set.rebind_wait_ms, 1);
        assert_eq!(set.erasure_proposal_ms, ERASURE_PROPOSAL_MS);
        let set = Settings::parse(br#"{"review":{"officers":3}}"#).unwrap();
        assert_eq!((set.review.officers, set.review.elsewhere), (3, 0));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let check = |bytes: &[u8], field: &str| {
            let error = Settings::parse(bytes).unwrap_err();
            let actual = (error.code.as_str(), error.field.as_deref());
            assert_eq!(actual, ("invalid-settings", Some(field)));
        };
        check(br#"{"rebind_wait":1}"#, "rebind_wait");
        check(br#"{"rebind_wait_ms":"1"}"#, "rebind_wait_ms");
        check(br#"{"rebind_wait_ms":-1}"#, "rebind_wait_ms");
        check(br#"{"review":{"officers":0}}"#, "review.officers");
        check(br#"{"review":{"officers":9}}"#, "review.officers");
        check(br#"{"review":{"officers":"2"}}"#, "review.officers");
        check(br#"{"review":{"elsewhere":2}}"#, "review.elsewhere");
        check(br#"{"review":{"quorum":2}}"#, "review.quorum");
        check(br#"{"retention_years":151}"#, "retention_years");
        check(b"[", "arguments");
        check(&[b' '; SETTINGS_BYTES_MAX + 1], "arguments");
    }
}

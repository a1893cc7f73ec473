//! Which records of a list are wanted.

use stela_consent::{Category, Fingerprint, Organization, SensitivityLabel};
use stela_guest::ContractError;

use crate::record::Version;
use crate::request::ListRecords;
use crate::value::State;

/// The filters of a request; what it does not state admits everything.
pub(crate) struct Filter {
    category: Option<Category>,
    label: Option<SensitivityLabel>,
    from_ms: u64,
    to_ms: Option<u64>,
    author: Option<Fingerprint>,
    organization: Option<Organization>,
    state: Option<State>,
}

impl Filter {
    pub(crate) fn new(request: &ListRecords) -> Result<Self, ContractError> {
        must_be_period(request.from, request.to)?;
        Ok(Self {
            category: request.category,
            label: request.label,
            from_ms: request.from.unwrap_or_default(),
            to_ms: request.to,
            author: request.author,
            organization: request.organization.clone(),
            state: request.state,
        })
    }

    pub(crate) fn admits(&self, version: &Version) -> bool {
        let (submission, author) = (&version.submission, &version.author);
        let moment_ms = version.moment_ms();
        self.category.is_none_or(|c| c == submission.category)
            && self.label.is_none_or(|l| submission.labels.contains(&l))
            && self.from_ms <= moment_ms
            && self.to_ms.is_none_or(|to_ms| moment_ms < to_ms)
            && self.author.is_none_or(|a| a == author.fingerprint)
            && (self.organization.as_ref()).is_none_or(|o| *o == author.organization)
            && self.state.is_none_or(|s| s == version.state())
    }
}

/// Refuses a period that ends before it begins.
pub(crate) fn must_be_period(from: Option<u64>, to: Option<u64>) -> Result<(), ContractError> {
    match (from, to) {
        (from, Some(to)) if from.unwrap_or_default() >= to => Err(ContractError::invalid(
            "to",
            "a period ends after it begins",
        )),
        _ => Ok(()),
    }
}

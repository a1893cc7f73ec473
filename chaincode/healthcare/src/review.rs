//! The review of a submitted version by as many officers as the consortium asks for.

use serde::{Deserialize, Serialize};
use stela_consent::{Fingerprint, Id, Organization, Role};
use stela_guest::{ContractError, Entry, Ledger, json};

use crate::answer::{AuditKind, Done, Finding, ReviewStep, Reviewed};
use crate::audit::{self, Stored};
use crate::caller::Caller;
use crate::event::{self, RecordEvent, ReviewEvent};
use crate::keys;
use crate::limits::OFFICERS_MAX;
use crate::record::{self, Version};
use crate::request::{ConfirmRecord, RejectRecord};
use crate::settings::{ReviewPolicy, Settings};
use crate::value::{RejectReason, State};

/// The outcome of a review, and what became of the version since. The officer is the one who
/// decided; those who confirmed before her have a [`Confirmation`] each.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Review {
    pub(crate) state: State,
    #[serde(rename = "by")]
    pub(crate) officer: Fingerprint,
    #[serde(rename = "org")]
    pub(crate) organization: Organization,
    #[serde(rename = "time")]
    pub(crate) time_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<RejectReason>,
    #[serde(rename = "prev", default, skip_serializing_if = "Option::is_none")]
    pub(crate) replaces: Option<u32>,
    #[serde(rename = "next", default, skip_serializing_if = "Option::is_none")]
    pub(crate) replaced_by: Option<u32>,
}

/// An officer's confirmation after which more were asked for; the officer stands in its key.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Confirmation {
    #[serde(rename = "org")]
    organization: Organization,
    #[serde(rename = "time")]
    time_ms: u64,
}

/// Whose confirmations a pending version has, and whose are still asked for.
struct Progress {
    policy: ReviewPolicy,
    officers: Vec<Fingerprint>,
    home: u32,
    elsewhere: u32,
}

impl Progress {
    fn of(ledger: &dyn Ledger, version: &Version) -> Result<Self, ContractError> {
        let mut progress = Self {
            policy: Settings::of(ledger)?.review,
            officers: Vec::new(),
            home: 0,
            elsewhere: 0,
        };
        // The first of one confirmation decides, so that there is none before it.
        if progress.policy.officers == 1 {
            return Ok(progress);
        }
        for (officer, confirmation) in confirmations(ledger, version)? {
            progress.officers.push(officer);
            progress.count(confirmation.organization == version.author.organization);
        }
        Ok(progress)
    }

    fn count(&mut self, at_home: bool) {
        if at_home {
            self.home += 1;
        } else {
            self.elsewhere += 1;
        }
    }

    /// How many more confirmations are asked for.
    fn missing(&self) -> u32 {
        self.missing_from(true) + self.missing_from(false)
    }

    fn missing_from(&self, at_home: bool) -> u32 {
        let ReviewPolicy {
            officers,
            elsewhere,
        } = self.policy;
        if at_home {
            officers.saturating_sub(elsewhere).saturating_sub(self.home)
        } else {
            elsewhere.saturating_sub(self.elsewhere)
        }
    }

    /// Adds the confirmation of an officer, who must be asked for it. When a change of the policy
    /// left nobody to ask, an officer of the submitting organization decides.
    fn add(&mut self, officer: &Caller, at_home: bool) -> Result<(), ContractError> {
        if self.officers.contains(&officer.fingerprint) {
            return Err(ContractError::already_exists("confirmation"));
        }
        if self.missing_from(at_home) == 0 && !(at_home && self.missing() == 0) {
            return Err(ContractError::wrong_state(
                "no further confirmation is asked for from this side",
            )
            .at("version"));
        }
        self.count(at_home);
        Ok(())
    }
}

/// The confirmations of a version after which more were asked for.
fn confirmations(
    ledger: &dyn Ledger,
    version: &Version,
) -> Result<Vec<(Fingerprint, Confirmation)>, ContractError> {
    let submission = &version.submission;
    let range = keys::confirmations(&submission.record, submission.version)?;
    // As many at home and as many elsewhere, when the policy was changed between them.
    let found = ledger.range(&range, 2 * OFFICERS_MAX);
    let read = |entry: &Entry| {
        let officer = keys::attribute(&entry.key, 2)?;
        Ok((officer, json::stored("confirmation", &entry.value)?))
    };
    found.entries.iter().map(read).collect()
}

/// What officers found about a version so far, in the order of time.
pub(crate) fn steps(
    ledger: &dyn Ledger,
    version: &Version,
) -> Result<Vec<ReviewStep>, ContractError> {
    let step = |(by, confirmation): (Fingerprint, Confirmation)| ReviewStep {
        finding: Finding::Confirmed,
        by,
        organization: confirmation.organization,
        time: confirmation.time_ms,
        reason: None,
    };
    let mut steps: Vec<ReviewStep> = confirmations(ledger, version)?
        .into_iter()
        .map(step)
        .collect();
    steps.extend(version.review.as_ref().map(|review| ReviewStep {
        finding: match review.reason {
            None => Finding::Confirmed,
            Some(_) => Finding::Rejected,
        },
        by: review.officer,
        organization: review.organization.clone(),
        time: review.time_ms,
        reason: review.reason,
    }));
    steps.sort_by_key(|step| step.time);
    Ok(steps)
}

/// Whether the caller may look at a pending version to review it: an officer of the submitting
/// organization, and one of another organization while the policy asks for her.
pub(crate) fn may_see(
    ledger: &dyn Ledger,
    caller: &Caller,
    version: &Version,
) -> Result<bool, ContractError> {
    if caller.role != Role::RecordsOfficer || version.state() != State::Pending {
        return Ok(false);
    }
    Ok(caller.organization == version.author.organization
        || Progress::of(ledger, version)?.missing_from(false) > 0)
}

/// Whether the caller has reviewed the version, or is asked to.
pub(crate) fn involves(
    ledger: &dyn Ledger,
    caller: &Caller,
    version: &Version,
) -> Result<bool, ContractError> {
    let wrote = caller.fingerprint == version.author.fingerprint;
    if !wrote && may_see(ledger, caller, version)? {
        return Ok(true);
    }
    let steps = steps(ledger, version)?;
    Ok(steps.iter().any(|step| step.by == caller.fingerprint))
}

pub(crate) fn confirm(
    ledger: &mut dyn Ledger,
    request: ConfirmRecord,
) -> Result<Reviewed, ContractError> {
    let ConfirmRecord { record, version } = request;
    let (caller, mut reviewed, mut progress) = reviewable(ledger, &record, version)?;
    let at_home = caller.organization == reviewed.author.organization;
    progress.add(&caller, at_home)?;
    let missing = progress.missing();
    if missing > 0 {
        await_others(ledger, &caller, &reviewed)?;
        return Ok(Reviewed {
            state: State::Pending,
            missing,
        });
    }
    let before = reviewed.head.active.replace(version);
    if let Some(before) = before {
        replace(ledger, &record, before, version)?;
    }
    ledger.put(&keys::record(&record)?, &json::encode(&reviewed.head)?);
    close(ledger, &caller, &reviewed, None, before)?;
    Ok(Reviewed {
        state: State::Active,
        missing,
    })
}

pub(crate) fn reject(
    ledger: &mut dyn Ledger,
    request: RejectRecord,
) -> Result<Done, ContractError> {
    let (caller, reviewed, _) = reviewable(ledger, &request.record, request.version)?;
    close(ledger, &caller, &reviewed, Some(request.reason), None)?;
    Ok(Done {})
}

/// The caller and the version, when she may review it.
fn reviewable(
    ledger: &dyn Ledger,
    record: &Id,
    version: u32,
) -> Result<(Caller, Version, Progress), ContractError> {
    let caller = Caller::of(ledger)?;
    if caller.role != Role::RecordsOfficer {
        return Err(ContractError::forbidden("only records officers review"));
    }
    let version = record::load(ledger, record, version)?;
    let at_home = version.author.organization == caller.organization;
    let progress = Progress::of(ledger, &version)?;
    if !at_home && progress.policy.elsewhere == 0 {
        return Err(ContractError::forbidden(
            "a record is reviewed by the organization that submitted it",
        )
        .at("record"));
    }
    if version.author.fingerprint == caller.fingerprint {
        return Err(ContractError::forbidden("nobody reviews their own record").at("record"));
    }
    match version.state() {
        State::Pending => {}
        State::Erased => return Err(record::erased()),
        State::Active | State::Rejected => {
            return Err(ContractError::wrong_state("the version has been reviewed").at("version"));
        }
    }
    let asked = at_home
        || progress.missing_from(false) > 0
        || progress.officers.contains(&caller.fingerprint);
    if !asked {
        return Err(ContractError::wrong_state(
            "no further officer of another organization is asked for",
        )
        .at("version"));
    }
    Ok((caller, version, progress))
}

/// Files a confirmation after which more are asked for.
fn await_others(
    ledger: &mut dyn Ledger,
    caller: &Caller,
    reviewed: &Version,
) -> Result<(), ContractError> {
    let (record, version) = (reviewed.submission.record, reviewed.submission.version);
    let confirmation = Confirmation {
        organization: caller.organization.clone(),
        time_ms: ledger.invocation().timestamp_ms,
    };
    let key = keys::confirmation(&record, version, &caller.fingerprint)?;
    ledger.put(&key, &json::encode(&confirmation)?);
    let patient = reviewed.head.patient;
    let entry = Stored::by(AuditKind::Reviewed, caller).about(record, version);
    audit::write(ledger, &patient, entry)?;
    let event = RecordEvent {
        patient,
        record,
        version,
    };
    event::set(ledger, event::RECORD_REVIEWED, &event)
}

/// Marks the version that was active as replaced; its content stays as it is.
fn replace(
    ledger: &mut dyn Ledger,
    record: &Id,
    before: u32,
    by: u32,
) -> Result<(), ContractError> {
    let replaced = record::load(ledger, record, before)?.review;
    let mut review = replaced.ok_or_else(|| ContractError::corrupt_state("review"))?;
    review.replaced_by = Some(by);
    ledger.put(&keys::review(record, before)?, &json::encode(&review)?);
    Ok(())
}

fn close(
    ledger: &mut dyn Ledger,
    caller: &Caller,
    reviewed: &Version,
    reason: Option<RejectReason>,
    replaces: Option<u32>,
) -> Result<(), ContractError> {
    let (state, kind, name) = match reason {
        None => (State::Active, AuditKind::Confirmed, event::RECORD_CONFIRMED),
        Some(_) => (State::Rejected, AuditKind::Rejected, event::RECORD_REJECTED),
    };
    let (record, version) = (reviewed.submission.record, reviewed.submission.version);
    let review = Review {
        state,
        officer: caller.fingerprint,
        organization: caller.organization.clone(),
        time_ms: ledger.invocation().timestamp_ms,
        reason,
        replaces,
        replaced_by: None,
    };
    ledger.put(&keys::review(&record, version)?, &json::encode(&review)?);
    let patient = reviewed.head.patient;
    let mut entry = Stored::by(kind, caller).about(record, version);
    entry.reason = reason.as_ref().map(code).transpose()?;
    audit::write(ledger, &patient, entry)?;
    let event = ReviewEvent {
        patient,
        record,
        version,
        cid: reviewed.submission.cid.clone(),
    };
    event::set(ledger, name, &event)
}

/// What a device submits is active at once: nobody reviews what nobody wrote.
pub(crate) fn none(
    ledger: &mut dyn Ledger,
    device: &Caller,
    record: &Id,
    version: u32,
) -> Result<(), ContractError> {
    let review = Review {
        state: State::Active,
        officer: device.fingerprint,
        organization: device.organization.clone(),
        time_ms: ledger.invocation().timestamp_ms,
        reason: None,
        replaces: None,
        replaced_by: None,
    };
    ledger.put(&keys::review(record, version)?, &json::encode(&review)?);
    Ok(())
}

/// A code as it is written.
pub(crate) fn code<T: Serialize>(code: &T) -> Result<String, ContractError> {
    json::stored("code", &json::encode(code)?)
}

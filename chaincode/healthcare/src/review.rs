//! The review of a submitted version.

use serde::{Deserialize, Serialize};
use stela_consent::{Fingerprint, Id, Organization, Role};
use stela_guest::{ContractError, Ledger, json};

use crate::answer::{AuditKind, Done};
use crate::audit::{self, Stored};
use crate::caller::Caller;
use crate::event::{self, ReviewEvent};
use crate::keys;
use crate::record::{self, Version};
use crate::request::{ConfirmRecord, RejectRecord};
use crate::value::{RejectReason, State};

/// The outcome of a review, and what became of the version since.
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
    #[serde(rename = "next", default, skip_serializing_if = "Option::is_none")]
    pub(crate) replaced_by: Option<u32>,
}

pub(crate) fn confirm(
    ledger: &mut dyn Ledger,
    request: ConfirmRecord,
) -> Result<Done, ContractError> {
    let ConfirmRecord { record, version } = request;
    let (caller, mut reviewed) = reviewable(ledger, &record, version)?;
    if let Some(before) = reviewed.head.active.replace(version) {
        replace(ledger, &record, before, version)?;
    }
    ledger.put(&keys::record(&record)?, &json::encode(&reviewed.head)?);
    close(ledger, &caller, &reviewed, None)
}

pub(crate) fn reject(
    ledger: &mut dyn Ledger,
    request: RejectRecord,
) -> Result<Done, ContractError> {
    let (caller, reviewed) = reviewable(ledger, &request.record, request.version)?;
    close(ledger, &caller, &reviewed, Some(request.reason))
}

/// The caller and the version, when she may review it.
fn reviewable(
    ledger: &dyn Ledger,
    record: &Id,
    version: u32,
) -> Result<(Caller, Version), ContractError> {
    let caller = Caller::of(ledger)?;
    if caller.role != Role::RecordsOfficer {
        return Err(ContractError::forbidden("only records officers review"));
    }
    let version = record::load(ledger, record, version)?;
    if version.author.organization != caller.organization {
        return Err(ContractError::forbidden(
            "a record is reviewed by the organization that submitted it",
        )
        .at("record"));
    }
    if version.author.fingerprint == caller.fingerprint {
        return Err(ContractError::forbidden("nobody reviews their own record").at("record"));
    }
    if version.state() != State::Pending {
        return Err(ContractError::wrong_state("the version has been reviewed").at("version"));
    }
    Ok((caller, version))
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
) -> Result<Done, ContractError> {
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
        replaced_by: None,
    };
    ledger.put(&keys::review(&record, version)?, &json::encode(&review)?);
    let patient = reviewed.head.patient;
    let mut entry = Stored::by(kind, caller).about(record, version);
    entry.reason = reason.map(reason_code).transpose()?;
    audit::write(ledger, &patient, entry)?;
    let event = ReviewEvent {
        patient,
        record,
        version,
        cid: reviewed.submission.cid.clone(),
    };
    event::set(ledger, name, &event)?;
    Ok(Done {})
}

fn reason_code(reason: RejectReason) -> Result<String, ContractError> {
    let quoted = json::encode(&reason)?;
    json::stored("reason", &quoted)
}

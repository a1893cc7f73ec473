//! Erasing records: the patient's request, the decision about it, the tombstone.

use serde::{Deserialize, Serialize};
use stela_consent::{Fingerprint, Id, Organization, Role};
use stela_guest::{ContractError, Ledger, json};

use crate::answer::{AuditKind, Declined, Done, Erasing, ErasureRequest, Page, Tombstone};
use crate::audit::{self, Stored};
use crate::caller::Caller;
use crate::event::{self, EraseEvent, ErasureEvent};
use crate::keys;
use crate::limits::YEAR_MS;
use crate::page::Wanted;
use crate::patient;
use crate::record::{self, Head, Version};
use crate::request::{DeclineErasure, EraseRecord, Erasures, RequestErasure};
use crate::review::code;
use crate::settings::Settings;
use crate::value::{Cid, DeclineReason, DelegateScope, EraseReason, ErasureGround};

/// A patient's request; record and patient stand in its key.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    by: Fingerprint,
    #[serde(rename = "time")]
    time_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<ErasureGround>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    declined: Option<Declined>,
}

impl Request {
    fn answer(self, patient: Id, record: Id, erased: Option<Tombstone>) -> ErasureRequest {
        ErasureRequest {
            patient,
            record,
            by: self.by,
            time: self.time_ms,
            reason: self.reason,
            declined: self.declined,
            erased,
        }
    }
}

/// A privacy officer's finding that a record should never have been kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Proposal {
    by: Fingerprint,
    #[serde(rename = "time")]
    time_ms: u64,
}

pub(crate) fn request(
    ledger: &mut dyn Ledger,
    request: RequestErasure,
) -> Result<Done, ContractError> {
    let RequestErasure {
        patient,
        record,
        reason,
    } = request;
    let caller = Caller::of(ledger)?;
    let acting = patient::acting(ledger, &caller, &patient, DelegateScope::Rights)?;
    let head = record::head_of_patient(ledger, &patient, &record)?;
    if head.erased {
        return Err(record::erased());
    }
    if open_request(ledger, &patient, &record)?.is_some() {
        return Err(ContractError::already_exists("erasure"));
    }
    let standing = Request {
        by: caller.fingerprint,
        time_ms: ledger.invocation().timestamp_ms,
        reason,
        declined: None,
    };
    put_request(ledger, &patient, &record, &standing)?;
    let organization = record::submitted_by(ledger, &record, head.latest)?.organization;
    ledger.put(&keys::open_erasure(&organization, &patient, &record)?, b"1");
    let mut entry = Stored::by(AuditKind::ErasureRequested, &caller).about(record, head.latest);
    entry.reason = reason.as_ref().map(code).transpose()?;
    entry.delegation = acting.delegation();
    audit::write(ledger, &patient, entry)?;
    event::set(
        ledger,
        event::ERASURE_REQUESTED,
        &ErasureEvent { patient, record },
    )?;
    Ok(Done {})
}

pub(crate) fn decline(
    ledger: &mut dyn Ledger,
    request: DeclineErasure,
) -> Result<Done, ContractError> {
    let DeclineErasure {
        patient,
        record,
        reason,
    } = request;
    let caller = privacy_officer(ledger)?;
    let head = record::head_of_patient(ledger, &patient, &record)?;
    let newest = record::load(ledger, &record, head.latest)?;
    must_have_submitted(&caller, &newest)?;
    if head.erased {
        return Err(record::erased());
    }
    let mut standing = open_request(ledger, &patient, &record)?
        .ok_or_else(|| ContractError::not_found("erasure"))?;
    if reason == DeclineReason::Retention && retention_is_over(ledger, &newest)? {
        return Err(
            ContractError::wrong_state("the record need not be kept any longer").at("reason"),
        );
    }
    standing.declined = Some(Declined {
        by: caller.fingerprint,
        organization: caller.organization.clone(),
        time: ledger.invocation().timestamp_ms,
        reason,
    });
    put_request(ledger, &patient, &record, &standing)?;
    ledger.delete(&keys::open_erasure(
        &caller.organization,
        &patient,
        &record,
    )?);
    let mut entry = Stored::by(AuditKind::ErasureDeclined, &caller).about(record, head.latest);
    entry.reason = Some(code(&reason)?);
    audit::write(ledger, &patient, entry)?;
    event::set(
        ledger,
        event::ERASURE_DECLINED,
        &ErasureEvent { patient, record },
    )?;
    Ok(Done {})
}

pub(crate) fn erase(
    ledger: &mut dyn Ledger,
    request: EraseRecord,
) -> Result<Erasing, ContractError> {
    let EraseRecord { record, reason } = request;
    let caller = privacy_officer(ledger)?;
    let head = record::head(ledger, &record)?;
    let newest = record::load(ledger, &record, head.latest)?;
    let seconds =
        reason == EraseReason::Unlawful && caller.organization != newest.author.organization;
    if !seconds {
        must_have_submitted(&caller, &newest)?;
    }
    if head.erased {
        return Err(record::erased());
    }
    let mut proposed_by = None;
    match reason {
        EraseReason::PatientRequest => {
            if open_request(ledger, &head.patient, &record)?.is_none() {
                return Err(ContractError::not_found("erasure"));
            }
        }
        EraseReason::RetentionOver => {
            if !retention_is_over(ledger, &newest)? {
                return Err(
                    ContractError::wrong_state("the record must still be kept").at("reason")
                );
            }
        }
        EraseReason::Unlawful if seconds => {
            let (proposal, end_ms) = open_proposal(ledger, &record)?.ok_or_else(|| {
                ContractError::wrong_state(
                    "a privacy officer of the submitting organization proposes it first, and a \
                     proposal expires",
                )
                .at("reason")
            })?;
            // An endorsement that is kept back must not second it later.
            ledger.expire_at(end_ms);
            proposed_by = Some(proposal.by);
        }
        EraseReason::Unlawful => {
            propose(ledger, &caller, &head.patient, &record, head.latest)?;
            return Ok(Erasing { erased: false });
        }
    }
    let tombstone = Tombstone {
        by: caller.fingerprint,
        organization: caller.organization.clone(),
        time: ledger.invocation().timestamp_ms,
        reason,
        proposed_by,
    };
    let asked = keys::open_erasure(&newest.author.organization, &head.patient, &record)?;
    ledger.delete(&asked);
    bury(ledger, &caller, &record, head, &tombstone)?;
    Ok(Erasing { erased: true })
}

/// Files the proposal to erase a record as unlawful.
fn propose(
    ledger: &mut dyn Ledger,
    caller: &Caller,
    patient: &Id,
    record: &Id,
    latest: u32,
) -> Result<(), ContractError> {
    if open_proposal(ledger, record)?.is_some() {
        return Err(ContractError::already_exists("erasure"));
    }
    let proposal = Proposal {
        by: caller.fingerprint,
        time_ms: ledger.invocation().timestamp_ms,
    };
    ledger.put(&keys::erasure_proposal(record)?, &json::encode(&proposal)?);
    let mut entry = Stored::by(AuditKind::ErasureProposed, caller).about(*record, latest);
    entry.reason = Some(code(&EraseReason::Unlawful)?);
    audit::write(ledger, patient, entry)?;
    let event = ErasureEvent {
        patient: *patient,
        record: *record,
    };
    event::set(ledger, event::ERASURE_PROPOSED, &event)
}

/// Ends every version of a record.
fn bury(
    ledger: &mut dyn Ledger,
    caller: &Caller,
    record: &Id,
    head: Head,
    tombstone: &Tombstone,
) -> Result<(), ContractError> {
    let (patient, latest) = (head.patient, head.latest);
    let cids = blobs(ledger, record, latest)?;
    let head = Head {
        erased: true,
        ..head
    };
    ledger.put(&keys::record(record)?, &json::encode(&head)?);
    ledger.put(&keys::tombstone(record)?, &json::encode(tombstone)?);
    let mut entry = Stored::by(AuditKind::Erased, caller).about(*record, latest);
    entry.reason = Some(code(&tombstone.reason)?);
    audit::write(ledger, &patient, entry)?;
    let event = EraseEvent {
        patient,
        record: *record,
        cids,
    };
    event::set(ledger, event::RECORD_ERASED, &event)
}

/// The blobs of a record's versions that no other record names.
fn blobs(ledger: &dyn Ledger, record: &Id, latest: u32) -> Result<Vec<Cid>, ContractError> {
    let mut cids: Vec<Cid> = Vec::new();
    for version in 1..=latest {
        let cid = record::load(ledger, record, version)?.submission.cid;
        // This record is one of those that name it.
        let named = ledger.range(&keys::records_of_blob(&cid)?, 2);
        if named.entries.len() == 1 && !cids.contains(&cid) {
            cids.push(cid);
        }
    }
    Ok(cids)
}

/// Whether no version of a record must be kept any longer.
fn retention_is_over(ledger: &dyn Ledger, newest: &Version) -> Result<bool, ContractError> {
    let years = u64::from(Settings::of(ledger)?.retention_years);
    let now_ms = ledger.invocation().timestamp_ms;
    for version in 1..=newest.submission.version {
        let version = record::load(ledger, &newest.submission.record, version)?;
        let end_ms = version.moment_ms().saturating_add(years * YEAR_MS);
        if now_ms < end_ms {
            return Ok(false);
        }
    }
    Ok(true)
}

fn privacy_officer(ledger: &dyn Ledger) -> Result<Caller, ContractError> {
    let caller = Caller::of(ledger)?;
    match caller.role {
        Role::PrivacyOfficer => Ok(caller),
        _ => Err(ContractError::forbidden(
            "erasures are decided by privacy officers",
        )),
    }
}

fn must_have_submitted(caller: &Caller, newest: &Version) -> Result<(), ContractError> {
    if caller.organization == newest.author.organization {
        Ok(())
    } else {
        Err(
            ContractError::forbidden("the organization that submitted a record decides about it")
                .at("record"),
        )
    }
}

fn put_request(
    ledger: &mut dyn Ledger,
    patient: &Id,
    record: &Id,
    request: &Request,
) -> Result<(), ContractError> {
    ledger.put(
        &keys::erasure_request(patient, record)?,
        &json::encode(request)?,
    );
    Ok(())
}

/// The patient's request about a record that is not erased, unless it was declined.
fn open_request(
    ledger: &dyn Ledger,
    patient: &Id,
    record: &Id,
) -> Result<Option<Request>, ContractError> {
    let value = ledger.get(&keys::erasure_request(patient, record)?);
    let request: Option<Request> = value.map(|v| json::stored("erasure", &v)).transpose()?;
    Ok(request.filter(|request| request.declined.is_none()))
}

/// The proposal that waits for a second organization, and when it expires.
fn open_proposal(
    ledger: &dyn Ledger,
    record: &Id,
) -> Result<Option<(Proposal, u64)>, ContractError> {
    let Some(value) = ledger.get(&keys::erasure_proposal(record)?) else {
        return Ok(None);
    };
    let proposal: Proposal = json::stored("erasure", &value)?;
    let waits_ms = Settings::of(ledger)?.erasure_proposal_ms;
    let end_ms = proposal.time_ms.saturating_add(waits_ms);
    let open = ledger.invocation().timestamp_ms < end_ms;
    Ok(open.then_some((proposal, end_ms)))
}

/// How an erased record was erased.
pub(crate) fn tombstone(ledger: &dyn Ledger, record: &Id) -> Result<Tombstone, ContractError> {
    let value = ledger
        .get(&keys::tombstone(record)?)
        .ok_or_else(|| ContractError::corrupt_state("tombstone"))?;
    json::stored("tombstone", &value)
}

/// Whether the caller may decide about an erasure that was asked for or proposed.
pub(crate) fn awaits(
    ledger: &dyn Ledger,
    caller: &Caller,
    newest: &Version,
) -> Result<bool, ContractError> {
    if caller.role != Role::PrivacyOfficer || newest.head.erased {
        return Ok(false);
    }
    let record = &newest.submission.record;
    if caller.organization == newest.author.organization {
        Ok(open_request(ledger, &newest.head.patient, record)?.is_some())
    } else {
        Ok(open_proposal(ledger, record)?.is_some())
    }
}

pub(crate) fn list(
    ledger: &mut dyn Ledger,
    request: Erasures,
) -> Result<Page<ErasureRequest>, ContractError> {
    let caller = Caller::of(ledger)?;
    let wanted = Wanted::new(request.limit, request.bookmark)?;
    let Some(patient) = request.patient else {
        return waiting(ledger, &caller, &wanted);
    };
    let home = patient::load(ledger, &patient)?.organization;
    let officer = caller.role == Role::PrivacyOfficer;
    let sees_all = (officer && caller.organization == home)
        || patient::may(ledger, &caller, &patient, DelegateScope::Rights)?.is_some();
    if !sees_all && !officer {
        return Err(patient::refusal(
            ledger,
            &caller,
            &patient,
            DelegateScope::Rights,
        )?);
    }
    wanted.read(ledger, &keys::erasure_requests(&patient)?, |entry| {
        let record = keys::attribute(&entry.key, 1)?;
        let head = record::head(ledger, &record)?;
        let own = || submitted(ledger, &record, head.latest, &caller.organization);
        if !sees_all && !own()? {
            return Ok(None);
        }
        let request: Request = json::stored("erasure", &entry.value)?;
        let erased = head
            .erased
            .then(|| tombstone(ledger, &record))
            .transpose()?;
        Ok(Some(request.answer(patient, record, erased)))
    })
}

/// The requests that wait for a decision of the caller's organization.
fn waiting(
    ledger: &dyn Ledger,
    caller: &Caller,
    wanted: &Wanted,
) -> Result<Page<ErasureRequest>, ContractError> {
    if caller.role != Role::PrivacyOfficer {
        return Err(ContractError::invalid(
            "patient",
            "name the patient who asked",
        ));
    }
    let range = keys::open_erasures(&caller.organization)?;
    wanted.read(ledger, &range, |entry| {
        let patient = keys::attribute(&entry.key, 1)?;
        let record = keys::attribute(&entry.key, 2)?;
        let request = open_request(ledger, &patient, &record)?
            .ok_or_else(|| ContractError::corrupt_state("erasure"))?;
        Ok(Some(request.answer(patient, record, None)))
    })
}

fn submitted(
    ledger: &dyn Ledger,
    record: &Id,
    latest: u32,
    organization: &Organization,
) -> Result<bool, ContractError> {
    Ok(record::load(ledger, record, latest)?.author.organization == *organization)
}

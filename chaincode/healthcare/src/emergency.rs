//! Emergency access: breaking the glass, and the review that must follow.

use serde::{Deserialize, Serialize};
use stela_consent::{
    Confidentiality, Fingerprint, Hex, Id, Organization, Purpose, Reason, Requester, Role,
};
use stela_guest::{ContractError, Entry, Ledger, json};

use crate::access::{self, Asked, Judgement};
use crate::answer::{AccessDecision, AuditKind, Done, Emergency, EmergencyReview, Page, Verdict};
use crate::audit::{self, Stored};
use crate::caller::{Caller, transaction};
use crate::consent;
use crate::event::{self, EmergencyEvent};
use crate::keys;
use crate::page::Wanted;
use crate::patient;
use crate::record::{self, Version};
use crate::request::{BreakGlass, ListEmergencies, ReviewEmergency};
use crate::review;
use crate::settings::Settings;
use crate::value::{Basis, DelegateScope, EmergencyReason, Refusal, State};

/// An emergency access as the state keeps it; patient and transaction stand in its key.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Filed {
    record: Id,
    version: u32,
    by: Fingerprint,
    #[serde(rename = "org")]
    organization: Organization,
    reason: EmergencyReason,
    #[serde(rename = "side")]
    justification: Hex<32>,
    #[serde(rename = "time")]
    time_ms: u64,
    #[serde(rename = "until")]
    expires_ms: u64,
}

/// What an index's entry holds.
const INDEXED: &[u8] = b"1";

pub(crate) fn break_glass(
    ledger: &mut dyn Ledger,
    request: BreakGlass,
) -> Result<AccessDecision, ContractError> {
    access::must_be_recorded(ledger)?;
    let caller = Caller::of(ledger)?;
    if caller.role != Role::Practitioner {
        return Err(ContractError::forbidden(
            "only practitioners break the glass",
        ));
    }
    let [justification] = ledger.invocation().side[..] else {
        return Err(ContractError::invalid(
            "side",
            "the proposal takes exactly one side commitment, to the encrypted justification",
        ));
    };
    let settings = Settings::of(ledger)?;
    let version =
        record::load_of_patient(ledger, &request.patient, &request.record, request.version)?;
    let judgement = if review_is_overdue(ledger, &caller, settings.emergency_review_ms)? {
        Judgement::refuse(Basis::Emergency, Refusal::ReviewOverdue)
    } else {
        judge(ledger, caller.requester(), &version)?
    };
    let asked = Asked {
        version: &version,
        purpose: Purpose::BreakGlass,
        study: None,
        emergency: Some(request.reason),
        lasts_ms: settings.emergency_ms,
    };
    let decision = access::settle(ledger, &caller, &asked, judgement)?;
    if decision.decision == Verdict::Permit {
        let expires_ms = decision.expires.unwrap_or_default();
        file(ledger, &caller, &request, Hex(justification), expires_ms)?;
    }
    Ok(decision)
}

/// Reads what stands before a time that has long passed, so that no other emergency conflicts.
fn review_is_overdue(
    ledger: &dyn Ledger,
    caller: &Caller,
    review_ms: u64,
) -> Result<bool, ContractError> {
    let latest_ms = ledger.invocation().timestamp_ms.saturating_sub(review_ms);
    let range = keys::open_reviews_before(&caller.fingerprint, latest_ms)?;
    Ok(!ledger.range(&range, 1).entries.is_empty())
}

/// Whether a version may be read in an emergency: everybody's active one, unless it is very
/// restricted and the patient denies that.
pub(crate) fn judge(
    ledger: &dyn Ledger,
    requester: Requester<'_>,
    version: &Version,
) -> Result<Judgement, ContractError> {
    let basis = Basis::Emergency;
    match version.state() {
        State::Active => {}
        State::Erased => return Ok(Judgement::deny(basis, Reason::Erased)),
        State::Pending | State::Rejected => {
            return Ok(Judgement::deny(basis, Reason::NotActive));
        }
    }
    let facts = version.facts();
    // What the consents of other records say does not matter, and is not read.
    let consents = if facts.confidentiality == Confidentiality::VeryRestricted {
        consent::within_limit(ledger, &version.head.patient)?
    } else {
        Some(Vec::new())
    };
    let Some(consents) = consents else {
        return Ok(Judgement::deny(basis, Reason::TooManyConsents));
    };
    let time_ms = ledger.invocation().timestamp_ms;
    let standing = consents.iter().map(|(consent, status)| (consent, *status));
    let decision = stela_consent::emergency(requester, &facts, time_ms, standing);
    Ok(Judgement::of(basis, decision))
}

/// Files the access, and that it is to be reviewed: for the reader, for the patient's organization
/// and for the reader's.
fn file(
    ledger: &mut dyn Ledger,
    caller: &Caller,
    request: &BreakGlass,
    justification: Hex<32>,
    expires_ms: u64,
) -> Result<(), ContractError> {
    let patient = request.patient;
    let home = patient::load(ledger, &patient)?.organization;
    let invocation = ledger.invocation();
    let (time_ms, transaction) = (invocation.timestamp_ms, transaction(invocation));
    let filed = Filed {
        record: request.record,
        version: request.version,
        by: caller.fingerprint,
        organization: caller.organization.clone(),
        reason: request.reason,
        justification,
        time_ms,
        expires_ms,
    };
    let key = keys::emergency(&patient, &transaction)?;
    ledger.put(&key, &json::encode(&filed)?);
    let open = keys::open_review(&caller.fingerprint, time_ms, &transaction)?;
    ledger.put(&open, &json::encode(&patient)?);
    for organization in [&home, &caller.organization] {
        let open = keys::open_review_at(organization, &patient, &transaction)?;
        ledger.put(&open, INDEXED);
    }
    Ok(())
}

pub(crate) fn review(
    ledger: &mut dyn Ledger,
    request: ReviewEmergency,
) -> Result<Done, ContractError> {
    let patient = request.patient;
    let caller = Caller::of(ledger)?;
    let home = patient::load(ledger, &patient)?.organization;
    let filed = load(ledger, &patient, &request.request)?;
    if filed.by != request.practitioner {
        return Err(ContractError::invalid(
            "practitioner",
            "somebody else broke the glass in this transaction",
        ));
    }
    let answers = caller.organization == home || caller.organization == filed.organization;
    if caller.role != Role::PrivacyOfficer || !answers || caller.fingerprint == filed.by {
        return Err(ContractError::forbidden(
            "an emergency access is reviewed by a privacy officer of the patient's organization or \
             of the reader's, never by the reader",
        ));
    }
    let key = keys::emergency_review(&patient, &request.request)?;
    if ledger.get(&key).is_some() {
        return Err(ContractError::wrong_state("it has been reviewed").at("request"));
    }
    let review = EmergencyReview {
        finding: request.finding,
        by: caller.fingerprint,
        organization: caller.organization.clone(),
        time: ledger.invocation().timestamp_ms,
    };
    ledger.put(&key, &json::encode(&review)?);
    let open = keys::open_review(&filed.by, filed.time_ms, &request.request)?;
    ledger.delete(&open);
    for organization in [&home, &filed.organization] {
        ledger.delete(&keys::open_review_at(
            organization,
            &patient,
            &request.request,
        )?);
    }
    record_review(ledger, &caller, &request, &filed)?;
    Ok(Done {})
}

fn record_review(
    ledger: &mut dyn Ledger,
    caller: &Caller,
    request: &ReviewEmergency,
    filed: &Filed,
) -> Result<(), ContractError> {
    let (record, version) = (filed.record, filed.version);
    let mut entry = Stored::by(AuditKind::EmergencyReviewed, caller)
        .about(record, version)
        .with_subject(filed.by);
    entry.request = Some(request.request);
    entry.reason = Some(review::code(&request.finding)?);
    audit::write(ledger, &request.patient, entry)?;
    let event = EmergencyEvent {
        patient: request.patient,
        record,
        version,
        request: request.request,
    };
    event::set(ledger, event::EMERGENCY_REVIEWED, &event)
}

fn load(ledger: &dyn Ledger, patient: &Id, request: &Hex<32>) -> Result<Filed, ContractError> {
    let value = ledger
        .get(&keys::emergency(patient, request)?)
        .ok_or_else(|| ContractError::not_found("request"))?;
    json::stored("emergency", &value)
}

pub(crate) fn list(
    ledger: &mut dyn Ledger,
    request: ListEmergencies,
) -> Result<Page<Emergency>, ContractError> {
    let caller = Caller::of(ledger)?;
    let wanted = Wanted::new(request.limit, request.bookmark)?;
    match (request.patient, caller.role) {
        (Some(patient), _) => list_of(ledger, &caller, &wanted, &patient),
        (None, Role::Practitioner) => {
            let range = keys::open_reviews(&caller.fingerprint)?;
            wanted.read(ledger, &range, |entry| {
                let patient = json::stored("open review", &entry.value)?;
                answer(ledger, &patient, &keys::attribute(&entry.key, 2)?).map(Some)
            })
        }
        (None, Role::PrivacyOfficer) => {
            let range = keys::open_reviews_at(&caller.organization)?;
            wanted.read(ledger, &range, |entry| {
                let patient = keys::attribute(&entry.key, 1)?;
                answer(ledger, &patient, &keys::attribute(&entry.key, 2)?).map(Some)
            })
        }
        (None, _) => Err(ContractError::invalid(
            "patient",
            "name the patient whose records were read",
        )),
    }
}

/// Every emergency access to a patient's records that the caller may know of: officers of the
/// organization that submitted a record know of those to it, so that they can answer.
fn list_of(
    ledger: &dyn Ledger,
    caller: &Caller,
    wanted: &Wanted,
    patient: &Id,
) -> Result<Page<Emergency>, ContractError> {
    let home = patient::load(ledger, patient)?.organization;
    let privacy = caller.role == Role::PrivacyOfficer;
    let officer = privacy || caller.role == Role::RecordsOfficer;
    let sees_all = (privacy && caller.organization == home)
        || patient::may(ledger, caller, patient, DelegateScope::Rights)?.is_some();
    if !sees_all && !officer && caller.role != Role::Practitioner {
        return Err(ContractError::forbidden(
            "emergency access is listed for the patient, for officers and for who read",
        ));
    }
    wanted.read(ledger, &keys::emergencies(patient)?, |entry: &Entry| {
        let request = keys::attribute(&entry.key, 1)?;
        let emergency = answer(ledger, patient, &request)?;
        let own = emergency.practitioner == caller.fingerprint
            || (privacy && emergency.organization == caller.organization);
        let seen = sees_all || own || {
            let version = record::load(ledger, &emergency.record, emergency.version)?;
            caller.is_officer_of(&version.author.organization)
        };
        Ok(seen.then_some(emergency))
    })
}

fn answer(
    ledger: &dyn Ledger,
    patient: &Id,
    request: &Hex<32>,
) -> Result<Emergency, ContractError> {
    let filed = load(ledger, patient, request)?;
    let review = ledger.get(&keys::emergency_review(patient, request)?);
    let review = review.map(|review| json::stored("review", &review));
    Ok(Emergency {
        request: *request,
        patient: *patient,
        record: filed.record,
        version: filed.version,
        practitioner: filed.by,
        organization: filed.organization,
        reason: filed.reason,
        justification: filed.justification,
        time: filed.time_ms,
        expires: filed.expires_ms,
        review: review.transpose()?,
    })
}

/// Refuses an officer who shares keys, unless she is of the submitting organization and answers an
/// emergency permit of the reader's that stands.
pub(crate) fn must_answer(
    ledger: &dyn Ledger,
    caller: &Caller,
    version: &Version,
    reader: &Fingerprint,
) -> Result<(), ContractError> {
    if !caller.is_officer_of(&version.author.organization) {
        return Err(ContractError::forbidden(
            "an emergency is answered by an officer of the organization that submitted the record",
        )
        .at("record"));
    }
    let refusal = || ContractError::forbidden("no emergency permit of the reader's stands");
    let permit = access::newest_permit(ledger, version, reader)?
        .filter(|permit| permit.basis == Basis::Emergency)
        .filter(|permit| ledger.invocation().timestamp_ms < permit.expires_ms)
        .ok_or_else(|| refusal().at("reader"))?;
    let filed = load(ledger, &version.head.patient, &permit.request)?;
    let requester = Requester {
        fingerprint: filed.by,
        organization: filed.organization.as_str(),
        role: Role::Practitioner,
    };
    if judge(ledger, requester, version)?.permits() {
        Ok(())
    } else {
        Err(refusal().at("reader"))
    }
}

/// Whether an emergency access to a patient's records waits for a review by the caller.
pub(crate) fn awaits(
    ledger: &dyn Ledger,
    caller: &Caller,
    patient: &Id,
) -> Result<bool, ContractError> {
    if caller.role != Role::PrivacyOfficer {
        return Ok(false);
    }
    let open = ledger.range(&keys::open_reviews_about(&caller.organization, patient)?, 1);
    Ok(!open.entries.is_empty())
}

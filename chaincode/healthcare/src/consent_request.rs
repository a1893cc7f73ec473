//! Requests for consent: asking a patient, and her answer.

use serde::{Deserialize, Serialize};
use stela_consent::{Actor, Consent, Fingerprint, Hex, Id, Organization, ProvisionType, Role};
use stela_guest::{ContractError, Entry, Ledger, json};

use crate::answer::{AuditKind, Done, FiledConsentRequest, Page};
use crate::audit::{self, Stored};
use crate::caller::Caller;
use crate::consent;
use crate::event::{self, ConsentRequestEvent};
use crate::keys;
use crate::limits::CONSENT_REQUEST_MS_MAX;
use crate::page::Wanted;
use crate::patient;
use crate::request::{
    AnswerConsentRequest, ListConsentRequests, RequestConsent, WithdrawConsentRequest,
};
use crate::study;
use crate::value::{Answer, DelegateScope, RequestState};

/// What the state keeps of a request.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Filed {
    by: Fingerprint,
    #[serde(rename = "org")]
    organization: Organization,
    role: Role,
    #[serde(rename = "time")]
    time_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    note: Option<Hex<32>>,
    asked: RequestConsent,
}

/// What the state keeps of its answer, or of its end.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Answered {
    state: RequestState,
    by: Fingerprint,
    #[serde(rename = "time")]
    time_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    granted: Option<Id>,
}

pub(crate) fn ask(ledger: &mut dyn Ledger, asked: RequestConsent) -> Result<Done, ContractError> {
    let caller = Caller::of(ledger)?;
    if !matches!(caller.role, Role::Practitioner | Role::Researcher) {
        return Err(ContractError::forbidden(
            "consents are asked for by practitioners and researchers",
        ));
    }
    let RequestConsent {
        patient, request, ..
    } = asked;
    patient::load(ledger, &patient)?;
    must_be_for(ledger, &caller, &asked.consent)?;
    must_be_timely(&asked, ledger.invocation().timestamp_ms)?;
    let key = keys::consent_request(&patient, &request)?;
    if ledger.get(&key).is_some() {
        return Err(ContractError::already_exists("request"));
    }
    let filed = Filed {
        by: caller.fingerprint,
        organization: caller.organization.clone(),
        role: caller.role,
        time_ms: ledger.invocation().timestamp_ms,
        note: note(ledger)?,
        asked,
    };
    ledger.put(&key, &json::encode(&filed)?);
    let mut entry = Stored::by(AuditKind::ConsentRequested, &caller);
    entry.consent_request = Some(request);
    audit::write(ledger, &patient, entry)?;
    tell(ledger, event::CONSENT_REQUESTED, &patient, &request, None)
}

/// Nobody asks for others than herself, her role at her organization, her organization, or a study
/// in which she investigates.
fn must_be_for(
    ledger: &dyn Ledger,
    caller: &Caller,
    consent: &Consent,
) -> Result<(), ContractError> {
    let base = consent.provision();
    if base.kind != ProvisionType::Permit {
        return Err(ContractError::invalid(
            "consent.type",
            "what is asked for is a permit",
        ));
    }
    let own = match &base.actor {
        Some(Actor::Identity(fingerprint)) => *fingerprint == caller.fingerprint,
        Some(Actor::RoleAt(organization, role)) => {
            *organization == caller.organization && *role == caller.role
        }
        Some(Actor::Organization(organization)) => *organization == caller.organization,
        Some(Actor::Study(study)) => study::is_investigator(ledger, caller, study)?,
        Some(Actor::Role(_)) | None => false,
    };
    if own {
        Ok(())
    } else {
        Err(ContractError::invalid(
            "consent.actor",
            "ask for yourself, your role at your organization, your organization, or a study of yours",
        ))
    }
}

fn must_be_timely(asked: &RequestConsent, time_ms: u64) -> Result<(), ContractError> {
    if asked.expires <= time_ms || asked.expires - time_ms > CONSENT_REQUEST_MS_MAX {
        return Err(ContractError::invalid(
            "expires",
            format!("a request expires within {CONSENT_REQUEST_MS_MAX} ms from now"),
        ));
    }
    let period = asked.consent.provision().period;
    if period.is_some_and(|period| period.is_over(time_ms)) {
        return Err(ContractError::invalid(
            "consent.period",
            "the consent that is asked for would be over already",
        ));
    }
    Ok(())
}

fn note(ledger: &dyn Ledger) -> Result<Option<Hex<32>>, ContractError> {
    match ledger.invocation().side[..] {
        [] => Ok(None),
        [commitment] => Ok(Some(Hex(commitment))),
        _ => Err(ContractError::invalid(
            "side",
            "the proposal takes at most one side commitment, to the encrypted note",
        )),
    }
}

pub(crate) fn answer(
    ledger: &mut dyn Ledger,
    request: AnswerConsentRequest,
) -> Result<Done, ContractError> {
    let AnswerConsentRequest {
        patient,
        request,
        decision,
        consent,
    } = request;
    let caller = Caller::of(ledger)?;
    let acting = patient::acting(ledger, &caller, &patient, DelegateScope::Consent)?;
    let filed = open(ledger, &patient, &request)?;
    let granted = match decision {
        Answer::Approve => Some(granted(filed.asked.consent, consent)?),
        Answer::Decline if consent.is_some() => {
            let rule = "who declines grants nothing";
            return Err(ContractError::invalid("consent", rule));
        }
        Answer::Decline => None,
    };
    // An endorsement that is kept back must not answer later.
    ledger.expire_at(filed.asked.expires);
    let state = match &granted {
        Some(consent) => {
            consent::file(ledger, &caller, acting, &patient, consent, Some(request))?;
            RequestState::Approved
        }
        None => {
            let mut entry = Stored::by(AuditKind::ConsentDeclined, &caller);
            entry.consent_request = Some(request);
            entry.delegation = acting.delegation();
            audit::write(ledger, &patient, entry)?;
            RequestState::Declined
        }
    };
    let granted = granted.map(|consent| consent.id());
    close(ledger, &caller, &patient, &request, state, granted)?;
    let name = event::CONSENT_REQUEST_ANSWERED;
    tell(ledger, name, &patient, &request, granted)
}

/// What the patient grants: what was asked for, or the part of it that she chose.
fn granted(asked: Consent, chosen: Option<Consent>) -> Result<Consent, ContractError> {
    let Some(chosen) = chosen else {
        return Ok(asked);
    };
    chosen.is_within(&asked).map_err(|broader| {
        let field = format!("consent.{}", broader.0);
        ContractError::invalid(field, broader.to_string())
    })?;
    Ok(chosen)
}

pub(crate) fn withdraw(
    ledger: &mut dyn Ledger,
    request: WithdrawConsentRequest,
) -> Result<Done, ContractError> {
    let WithdrawConsentRequest { patient, request } = request;
    let caller = Caller::of(ledger)?;
    let filed = load(ledger, &patient, &request)?;
    if filed.by != caller.fingerprint {
        let rule = "a request is withdrawn by who made it";
        return Err(ContractError::forbidden(rule).at("request"));
    }
    open(ledger, &patient, &request)?;
    let state = RequestState::Withdrawn;
    close(ledger, &caller, &patient, &request, state, None)?;
    let mut entry = Stored::by(AuditKind::ConsentRequestWithdrawn, &caller);
    entry.consent_request = Some(request);
    audit::write(ledger, &patient, entry)?;
    let name = event::CONSENT_REQUEST_WITHDRAWN;
    tell(ledger, name, &patient, &request, None)
}

/// A request that can still be answered.
fn open(ledger: &dyn Ledger, patient: &Id, request: &Id) -> Result<Filed, ContractError> {
    let filed = load(ledger, patient, request)?;
    match state(ledger, &filed)?.0 {
        RequestState::Open => Ok(filed),
        RequestState::Expired => {
            Err(ContractError::wrong_state("the request has expired").at("request"))
        }
        _ => Err(ContractError::wrong_state("the request has been answered").at("request")),
    }
}

fn state(
    ledger: &dyn Ledger,
    filed: &Filed,
) -> Result<(RequestState, Option<Answered>), ContractError> {
    let key = keys::consent_request_answer(&filed.asked.patient, &filed.asked.request)?;
    if let Some(value) = ledger.get(&key) {
        let answered: Answered = json::stored("answer", &value)?;
        return Ok((answered.state, Some(answered)));
    }
    let over = ledger.invocation().timestamp_ms >= filed.asked.expires;
    let state = if over {
        RequestState::Expired
    } else {
        RequestState::Open
    };
    Ok((state, None))
}

fn load(ledger: &dyn Ledger, patient: &Id, request: &Id) -> Result<Filed, ContractError> {
    let value = ledger
        .get(&keys::consent_request(patient, request)?)
        .ok_or_else(|| ContractError::not_found("request"))?;
    json::stored("request for consent", &value)
}

fn close(
    ledger: &mut dyn Ledger,
    caller: &Caller,
    patient: &Id,
    request: &Id,
    state: RequestState,
    granted: Option<Id>,
) -> Result<(), ContractError> {
    let answered = Answered {
        state,
        by: caller.fingerprint,
        time_ms: ledger.invocation().timestamp_ms,
        granted,
    };
    let key = keys::consent_request_answer(patient, request)?;
    ledger.put(&key, &json::encode(&answered)?);
    Ok(())
}

fn tell(
    ledger: &mut dyn Ledger,
    name: &str,
    patient: &Id,
    request: &Id,
    consent: Option<Id>,
) -> Result<Done, ContractError> {
    let event = ConsentRequestEvent {
        patient: *patient,
        request: *request,
        consent,
    };
    event::set(ledger, name, &event)?;
    Ok(Done {})
}

pub(crate) fn list(
    ledger: &mut dyn Ledger,
    request: ListConsentRequests,
) -> Result<Page<FiledConsentRequest>, ContractError> {
    let caller = Caller::of(ledger)?;
    let patient = request.patient;
    let wanted = Wanted::new(request.limit, request.bookmark)?;
    let home = patient::load(ledger, &patient)?.organization;
    let sees_all = caller.is_officer_of(&home) || consent::acts(ledger, &caller, &patient)?;
    wanted.read(ledger, &keys::consent_requests(&patient)?, |entry| {
        let filed = read(entry)?;
        if !sees_all && filed.by != caller.fingerprint {
            return Ok(None);
        }
        shown(ledger, filed).map(Some)
    })
}

fn read(entry: &Entry) -> Result<Filed, ContractError> {
    json::stored("request for consent", &entry.value)
}

fn shown(ledger: &dyn Ledger, filed: Filed) -> Result<FiledConsentRequest, ContractError> {
    let (state, answered) = state(ledger, &filed)?;
    Ok(FiledConsentRequest {
        request: filed.asked.request,
        consent: filed.asked.consent,
        reason: filed.asked.reason,
        expires: filed.asked.expires,
        by: filed.by,
        organization: filed.organization,
        role: filed.role,
        time: filed.time_ms,
        note: filed.note,
        state,
        answered: answered.as_ref().map(|answered| answered.time_ms),
        granted: answered.and_then(|answered| answered.granted),
    })
}

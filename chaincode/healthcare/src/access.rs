//! Access: the decision, its record, and what a permit opens.

use serde::{Deserialize, Serialize};
use stela_consent::{Consent, Decision, Hex, Id, Purpose, Reason, Request, Status, decide};
use stela_guest::{ContractError, Ledger, Mode, json};

use crate::answer::{self, AccessDecision, AuditKind, Verdict};
use crate::audit::{self, Stored};
use crate::caller::{Caller, transaction};
use crate::consent;
use crate::delegate::{self, Delegation};
use crate::event::{self, RecordEvent};
use crate::keys;
use crate::limits::PERMIT_MS;
use crate::patient;
use crate::record::{self, Version};
use crate::request::{ReadGrant, RequestAccess};
use crate::review;
use crate::value::{Basis, State};

/// A committed permit, filed under the version and the reader.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Permit {
    pub(crate) request: Hex<32>,
    pub(crate) purpose: Purpose,
    #[serde(rename = "time")]
    pub(crate) time_ms: u64,
    #[serde(rename = "until")]
    pub(crate) expires_ms: u64,
}

/// A decision and what it rests on.
struct Judgement {
    basis: Basis,
    decision: Decision,
    delegation: Option<Id>,
}

impl Judgement {
    /// The requester needs no consent.
    fn permit(basis: Basis) -> Self {
        Self {
            basis,
            decision: without_consents(true, Reason::Permitted),
            delegation: None,
        }
    }

    /// The requester reads as a delegate, as long as the delegation lasts.
    fn delegate(delegation: &Delegation) -> Self {
        let mut judgement = Self::permit(Basis::Delegate);
        judgement.decision.until_ms = Some(delegation.until_ms());
        judgement.delegation = Some(delegation.id());
        judgement
    }

    /// No consent could open this.
    fn deny(reason: Reason) -> Self {
        Self {
            basis: Basis::Consent,
            decision: without_consents(false, reason),
            delegation: None,
        }
    }
}

fn without_consents(permit: bool, reason: Reason) -> Decision {
    Decision {
        permit,
        consent: None,
        provision: None,
        until_ms: None,
        research: None,
        reason,
    }
}

pub(crate) fn request(
    ledger: &mut dyn Ledger,
    request: RequestAccess,
) -> Result<AccessDecision, ContractError> {
    if ledger.invocation().mode == Mode::Evaluate {
        return Err(ContractError::new(
            "endorse-only",
            "access is asked for in a transaction, so that the answer is recorded",
        ));
    }
    let caller = Caller::of(ledger)?;
    let version =
        record::load_of_patient(ledger, &request.patient, &request.record, request.version)?;
    let judgement = judge(ledger, &caller, &version, request.purpose)?;
    let expires = permit(ledger, &caller, &request, &judgement.decision)?;
    record_decision(ledger, &caller, &request, &judgement)?;
    let decision = judgement.decision;
    Ok(AccessDecision {
        decision: if decision.permit {
            Verdict::Permit
        } else {
            Verdict::Deny
        },
        request: transaction(ledger.invocation()),
        basis: judgement.basis,
        consent: decision.consent,
        provision: decision.provision,
        reason: decision.reason.code().to_owned(),
        delegation: judgement.delegation,
        expires,
    })
}

/// Decides by the rules in the crate's documentation.
fn judge(
    ledger: &dyn Ledger,
    caller: &Caller,
    version: &Version,
    purpose: Purpose,
) -> Result<Judgement, ContractError> {
    if version.state() == State::Erased {
        return Ok(Judgement::deny(Reason::Erased));
    }
    if let Some(basis) = without_consent(ledger, caller, version, purpose)? {
        return Ok(Judgement::permit(basis));
    }
    // A deny and not an error, so that trying out versions leaves a trace.
    if version.state() != State::Active {
        return Ok(Judgement::deny(Reason::NotActive));
    }
    let Some(consents) = consent::within_limit(ledger, &version.head.patient)? else {
        return Ok(Judgement::deny(Reason::TooManyConsents));
    };
    let delegation = delegate::reading(ledger, caller, &version.head.patient, Some(purpose))?;
    if let Some(delegation) = delegation
        && delegation.opens(ledger, caller, version, &consents)
    {
        return Ok(Judgement::delegate(&delegation));
    }
    let time_ms = ledger.invocation().timestamp_ms;
    Ok(Judgement {
        basis: Basis::Consent,
        delegation: None,
        decision: by_consent(caller, version, purpose, time_ms, &consents),
    })
}

/// Who may read without a consent.
fn without_consent(
    ledger: &dyn Ledger,
    caller: &Caller,
    version: &Version,
    purpose: Purpose,
) -> Result<Option<Basis>, ContractError> {
    let herself = patient::is(ledger, caller, &version.head.patient)?;
    let corrects = Purpose::Treat.subsumes(purpose) || Purpose::Operations.subsumes(purpose);
    Ok(if herself && Purpose::PatientRequest.subsumes(purpose) {
        Some(Basis::Patient)
    } else if version.is_by(caller) && version.state() != State::Active && corrects {
        Some(Basis::Author)
    } else if purpose == Purpose::Review && review::may_see(ledger, caller, version)? {
        Some(Basis::Review)
    } else {
        None
    })
}

/// What the patient's consents say about an active version.
pub(crate) fn by_consent(
    caller: &Caller,
    version: &Version,
    purpose: Purpose,
    time_ms: u64,
    consents: &[(Consent, Status)],
) -> Decision {
    let facts = version.facts();
    let request = Request {
        requester: caller.requester(),
        purpose,
        study: None,
        time_ms,
        record: &facts,
    };
    decide(
        &request,
        consents.iter().map(|(consent, status)| (consent, *status)),
    )
}

/// Files a permit and says when it ends; a deny files nothing.
fn permit(
    ledger: &mut dyn Ledger,
    caller: &Caller,
    request: &RequestAccess,
    decision: &Decision,
) -> Result<Option<u64>, ContractError> {
    if !decision.permit {
        return Ok(None);
    }
    let invocation = ledger.invocation();
    let latest_ms = invocation.timestamp_ms.saturating_add(PERMIT_MS);
    let expires_ms = decision
        .until_ms
        .map_or(latest_ms, |end| end.min(latest_ms));
    let permit = Permit {
        request: transaction(invocation),
        purpose: request.purpose,
        time_ms: invocation.timestamp_ms,
        expires_ms,
    };
    let key = keys::permit(&request.record, request.version, &caller.fingerprint)?;
    ledger.put(&key, &json::encode(&permit)?);
    Ok(Some(expires_ms))
}

fn record_decision(
    ledger: &mut dyn Ledger,
    caller: &Caller,
    request: &RequestAccess,
    judgement: &Judgement,
) -> Result<(), ContractError> {
    let RequestAccess {
        patient,
        record,
        version,
        purpose,
    } = *request;
    let (kind, name) = if judgement.decision.permit {
        (AuditKind::AccessPermitted, event::ACCESS_PERMITTED)
    } else {
        (AuditKind::AccessDenied, event::ACCESS_DENIED)
    };
    let mut entry = Stored::by(kind, caller).about(record, version);
    entry.consent = judgement.decision.consent;
    entry.provision = judgement.decision.provision.clone();
    entry.basis = Some(judgement.basis);
    entry.delegation = judgement.delegation;
    entry.purpose = Some(purpose);
    entry.reason = Some(judgement.decision.reason.code().to_owned());
    audit::write(ledger, &patient, entry)?;
    let event = RecordEvent {
        patient,
        record,
        version,
    };
    event::set(ledger, name, &event)
}

/// A permit as it was filed.
pub(crate) fn filed(value: &[u8]) -> Result<Permit, ContractError> {
    json::stored("permit", value)
}

/// Whether the caller holds or held a permit for this version.
pub(crate) fn held_permit(
    ledger: &dyn Ledger,
    caller: &Caller,
    record: &Id,
    version: u32,
) -> Result<bool, ContractError> {
    let key = keys::permit(record, version, &caller.fingerprint)?;
    Ok(ledger.get(&key).is_some())
}

pub(crate) fn read_grant(
    ledger: &mut dyn Ledger,
    request: ReadGrant,
) -> Result<answer::ReadGrant, ContractError> {
    let caller = Caller::of(ledger)?;
    let version =
        record::load_of_patient(ledger, &request.patient, &request.record, request.version)?;
    let permit = standing_permit(ledger, &caller, &version)?
        .filter(|permit| request.request.is_none_or(|asked| asked == permit.request))
        .ok_or_else(|| {
            ContractError::forbidden("you hold no permit that stands: ask for access").at("request")
        })?;
    Ok(answer::ReadGrant {
        request: permit.request,
        purpose: permit.purpose,
        expires: permit.expires_ms,
        record: version.answer(ledger)?,
    })
}

/// Whether the caller holds a permit for this version that stands.
pub(crate) fn holds_permit(
    ledger: &dyn Ledger,
    caller: &Caller,
    version: &Version,
) -> Result<bool, ContractError> {
    Ok(standing_permit(ledger, caller, version)?.is_some())
}

/// The caller's permit, when it has not expired and would be given again now: a consent that was
/// revoked meanwhile ends it.
fn standing_permit(
    ledger: &dyn Ledger,
    caller: &Caller,
    version: &Version,
) -> Result<Option<Permit>, ContractError> {
    let (record, number): (Id, u32) = (version.submission.record, version.submission.version);
    let key = keys::permit(&record, number, &caller.fingerprint)?;
    let Some(value) = ledger.get(&key) else {
        return Ok(None);
    };
    let permit = filed(&value)?;
    if ledger.invocation().timestamp_ms >= permit.expires_ms {
        return Ok(None);
    }
    let again = judge(ledger, caller, version, permit.purpose)?;
    Ok(again.decision.permit.then_some(permit))
}

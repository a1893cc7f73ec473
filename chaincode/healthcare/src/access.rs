//! Access: the decision, its record, and what a permit opens.

use serde::{Deserialize, Serialize};
use stela_consent::{
    Consent, Decision, Fingerprint, Hex, Id, Purpose, Reason, Request, ResearchCategory, Status,
    decide,
};
use stela_guest::{ContractError, Ledger, Mode, json};

use crate::answer::{self, AccessDecision, AuditKind, RecordVersion, Verdict};
use crate::audit::{self, Stored};
use crate::caller::{Caller, transaction};
use crate::consent;
use crate::delegate::{self, Delegation};
use crate::denied;
use crate::emergency;
use crate::event::{self, EmergencyEvent, RecordEvent};
use crate::keys;
use crate::limits::PERMIT_MS;
use crate::patient;
use crate::record::{self, Version};
use crate::request::{ReadGrant, RequestAccess};
use crate::review;
use crate::study::{self, Participant};
use crate::value::{Basis, DenyReason, EmergencyReason, Refusal, State};

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
    pub(crate) basis: Basis,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    study: Option<Participant>,
}

/// What is asked for.
pub(crate) struct Asked<'a> {
    pub(crate) version: &'a Version,
    pub(crate) purpose: Purpose,
    pub(crate) study: Option<Participant>,
    pub(crate) emergency: Option<EmergencyReason>,
    /// How long a permit lasts at most.
    pub(crate) lasts_ms: u64,
}

/// A decision and what it rests on.
pub(crate) struct Judgement {
    pub(crate) basis: Basis,
    /// Why not; nothing permits.
    pub(crate) refused: Option<DenyReason>,
    pub(crate) consent: Option<Id>,
    pub(crate) provision: Option<Vec<u8>>,
    pub(crate) until_ms: Option<u64>,
    pub(crate) research: Option<ResearchCategory>,
    pub(crate) delegation: Option<Id>,
}

impl Judgement {
    pub(crate) fn of(basis: Basis, decision: Decision) -> Self {
        Self {
            basis,
            refused: (!decision.permit).then_some(DenyReason::Consents(decision.reason)),
            consent: decision.consent,
            provision: decision.provision,
            until_ms: decision.until_ms,
            research: decision.research,
            delegation: None,
        }
    }

    /// No consent is asked.
    fn plain(basis: Basis, refused: Option<DenyReason>) -> Self {
        Self {
            basis,
            refused,
            consent: None,
            provision: None,
            until_ms: None,
            research: None,
            delegation: None,
        }
    }

    /// The requester reads as a delegate, as long as the delegation lasts.
    fn delegate(delegation: &Delegation) -> Self {
        Self {
            until_ms: Some(delegation.until_ms()),
            delegation: Some(delegation.id()),
            ..Self::plain(Basis::Delegate, None)
        }
    }

    /// No consent could open this.
    pub(crate) fn deny(basis: Basis, reason: Reason) -> Self {
        Self::plain(basis, Some(DenyReason::Consents(reason)))
    }

    /// It is not for consents to open this.
    pub(crate) fn refuse(basis: Basis, refusal: Refusal) -> Self {
        Self::plain(basis, Some(DenyReason::Refusal(refusal)))
    }

    pub(crate) fn permits(&self) -> bool {
        self.refused.is_none()
    }

    fn reason(&self) -> String {
        let refused = self.refused.map(DenyReason::code);
        refused.unwrap_or(Reason::Permitted.code()).to_owned()
    }
}

pub(crate) fn request(
    ledger: &mut dyn Ledger,
    request: RequestAccess,
) -> Result<AccessDecision, ContractError> {
    must_be_recorded(ledger)?;
    let caller = Caller::of(ledger)?;
    let study = request.study.map(|study| Participant {
        study,
        pseudonym: request.patient,
    });
    let version = match study {
        // Whether the pseudonym is the right one decides like everything else about a study.
        Some(_) => record::load(ledger, &request.record, request.version)?,
        None => {
            record::load_of_patient(ledger, &request.patient, &request.record, request.version)?
        }
    };
    let judgement = judge(ledger, &caller, &version, request.purpose, study)?;
    let asked = Asked {
        version: &version,
        purpose: request.purpose,
        study,
        emergency: None,
        lasts_ms: PERMIT_MS,
    };
    settle(ledger, &caller, &asked, judgement)
}

/// Refuses a question: the answer could be used and would be recorded nowhere.
pub(crate) fn must_be_recorded(ledger: &dyn Ledger) -> Result<(), ContractError> {
    match ledger.invocation().mode {
        Mode::Endorse => Ok(()),
        Mode::Evaluate => Err(ContractError::new(
            "endorse-only",
            "access is asked for in a transaction, so that the answer is recorded",
        )),
    }
}

/// Files a permit, and records permit or deny. A permit cannot be kept back until the consent on
/// which it rests has ended, and a deny that is kept back is noted by the endorsers.
pub(crate) fn settle(
    ledger: &mut dyn Ledger,
    caller: &Caller,
    asked: &Asked<'_>,
    judgement: Judgement,
) -> Result<AccessDecision, ContractError> {
    let expires = match judgement.refused {
        None => Some(permit(ledger, caller, asked, &judgement)?),
        Some(reason) => {
            denied::note_if_absent(ledger, caller, asked, &judgement, reason)?;
            None
        }
    };
    record_decision(ledger, caller, asked, &judgement)?;
    Ok(AccessDecision {
        decision: match judgement.refused {
            None => Verdict::Permit,
            Some(_) => Verdict::Deny,
        },
        request: transaction(ledger.invocation()),
        basis: judgement.basis,
        reason: judgement.reason(),
        consent: judgement.consent,
        provision: judgement.provision,
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
    study: Option<Participant>,
) -> Result<Judgement, ContractError> {
    if version.state() == State::Erased {
        return Ok(Judgement::deny(Basis::Consent, Reason::Erased));
    }
    if let Some(participant) = study {
        return study::judge(ledger, caller, version, purpose, &participant);
    }
    if let Some(basis) = without_consent(ledger, caller, version, purpose)? {
        return Ok(Judgement::plain(basis, None));
    }
    // A deny and not an error, so that trying out versions leaves a trace.
    if version.state() != State::Active {
        return Ok(Judgement::deny(Basis::Consent, Reason::NotActive));
    }
    let Some(consents) = consent::within_limit(ledger, &version.head.patient)? else {
        return Ok(Judgement::deny(Basis::Consent, Reason::TooManyConsents));
    };
    let delegation = delegate::reading(ledger, caller, &version.head.patient, Some(purpose))?;
    if let Some(delegation) = delegation
        && delegation.opens(ledger, caller, version, &consents)
    {
        return Ok(Judgement::delegate(&delegation));
    }
    let time_ms = ledger.invocation().timestamp_ms;
    let decision = by_consent(caller, version, purpose, time_ms, &consents);
    Ok(Judgement::of(Basis::Consent, decision))
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
    by_consent_for(None, caller, version, purpose, time_ms, consents)
}

/// [`by_consent`], for a study of which the caller is an investigator.
pub(crate) fn by_consent_for(
    study: Option<Id>,
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
        study,
        time_ms,
        record: &facts,
    };
    decide(
        &request,
        consents.iter().map(|(consent, status)| (consent, *status)),
    )
}

/// Files a permit and says when it ends.
fn permit(
    ledger: &mut dyn Ledger,
    caller: &Caller,
    asked: &Asked<'_>,
    judgement: &Judgement,
) -> Result<u64, ContractError> {
    let invocation = ledger.invocation();
    let latest_ms = invocation.timestamp_ms.saturating_add(asked.lasts_ms);
    let expires_ms = judgement
        .until_ms
        .map_or(latest_ms, |end| end.min(latest_ms));
    let permit = Permit {
        request: transaction(invocation),
        purpose: asked.purpose,
        time_ms: invocation.timestamp_ms,
        expires_ms,
        basis: judgement.basis,
        study: asked.study,
    };
    let submission = &asked.version.submission;
    let key = keys::permit(&submission.record, submission.version, &caller.fingerprint)?;
    ledger.put(&key, &json::encode(&permit)?);
    if let Some(end_ms) = judgement.until_ms {
        ledger.expire_at(end_ms);
    }
    Ok(expires_ms)
}

fn record_decision(
    ledger: &mut dyn Ledger,
    caller: &Caller,
    asked: &Asked<'_>,
    judgement: &Judgement,
) -> Result<(), ContractError> {
    let patient = asked.version.head.patient;
    let (record, version) = (
        asked.version.submission.record,
        asked.version.submission.version,
    );
    let broken = asked.emergency.filter(|_| judgement.permits());
    let kind = match (judgement.permits(), broken) {
        (true, Some(_)) => AuditKind::EmergencyAccessed,
        (true, None) => AuditKind::AccessPermitted,
        (false, _) => AuditKind::AccessDenied,
    };
    let mut entry = Stored::by(kind, caller).about(record, version);
    entry.consent = judgement.consent;
    entry.provision = judgement.provision.clone();
    entry.basis = Some(judgement.basis);
    entry.delegation = judgement.delegation;
    entry.purpose = Some(asked.purpose);
    entry.study = asked.study.map(|participant| participant.study);
    entry.reason = match broken {
        Some(reason) => Some(review::code(&reason)?),
        None => Some(judgement.reason()),
    };
    audit::write(ledger, &patient, entry)?;
    if broken.is_some() {
        let event = EmergencyEvent {
            patient,
            record,
            version,
            request: transaction(ledger.invocation()),
        };
        return event::set(ledger, event::EMERGENCY_ACCESSED, &event);
    }
    let name = if judgement.permits() {
        event::ACCESS_PERMITTED
    } else {
        event::ACCESS_DENIED
    };
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
    let version = record::load(ledger, &request.record, request.version)?;
    let standing = standing(ledger, &caller, &version)?
        .filter(|standing| {
            request
                .request
                .is_none_or(|asked| asked == standing.permit.request)
        })
        .ok_or_else(|| {
            ContractError::forbidden("you hold no permit that stands: ask for access").at("request")
        })?;
    if request.patient != standing.patient_as_named(&version) {
        return Err(record::other_patient());
    }
    let study = standing.permit.study.map(|participant| participant.study);
    let known = standing.research == Some(ResearchCategory::ReIdentifiable);
    Ok(answer::ReadGrant {
        request: standing.permit.request,
        purpose: standing.permit.purpose,
        expires: standing.permit.expires_ms,
        study,
        patient: Some(version.head.patient).filter(|_| study.is_some() && known),
        record: standing.show(ledger, version)?,
    })
}

/// A permit that has not expired and would be given again now: a consent that was revoked
/// meanwhile ends it.
pub(crate) struct Standing {
    permit: Permit,
    research: Option<ResearchCategory>,
}

impl Standing {
    /// Whom the version is about, as its reader calls her.
    fn patient_as_named(&self, version: &Version) -> Id {
        let study = self.permit.study;
        study.map_or(version.head.patient, |participant| participant.pseudonym)
    }

    /// The version as its reader may see it: a study is not told whom it is about.
    pub(crate) fn show(
        &self,
        ledger: &dyn Ledger,
        version: Version,
    ) -> Result<RecordVersion, ContractError> {
        let patient = self.patient_as_named(&version);
        let hers = !version.author.role.is_workforce();
        let mut answer = version.answer(ledger)?;
        answer.patient = patient;
        if self.permit.study.is_some() && hers {
            answer.author = study::NOBODY;
            if let Some(window) = &mut answer.window {
                window.device = study::NOBODY;
            }
        }
        Ok(answer)
    }
}

/// The newest permit of a reader for a version, whether it stands or not.
pub(crate) fn newest_permit(
    ledger: &dyn Ledger,
    version: &Version,
    reader: &Fingerprint,
) -> Result<Option<Permit>, ContractError> {
    let submission = &version.submission;
    let key = keys::permit(&submission.record, submission.version, reader)?;
    ledger.get(&key).as_deref().map(filed).transpose()
}

/// The caller's permit, when it stands.
pub(crate) fn standing(
    ledger: &dyn Ledger,
    caller: &Caller,
    version: &Version,
) -> Result<Option<Standing>, ContractError> {
    let Some(permit) = newest_permit(ledger, version, &caller.fingerprint)? else {
        return Ok(None);
    };
    if ledger.invocation().timestamp_ms >= permit.expires_ms {
        return Ok(None);
    }
    let again = match permit.basis {
        Basis::Emergency => emergency::judge(ledger, caller.requester(), version)?,
        _ => judge(ledger, caller, version, permit.purpose, permit.study)?,
    };
    Ok(again.permits().then_some(Standing {
        permit,
        research: again.research,
    }))
}

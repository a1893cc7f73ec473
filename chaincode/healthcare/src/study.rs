//! Research studies: their terms, who investigates, who takes part, and what they decide.

mod read;

use serde::{Deserialize, Serialize};
use stela_consent::{
    Actor, Fingerprint, Hex, Id, Organization, Purpose, Reason, RecordFacts, Role,
};
use stela_guest::{ContractError, Entry, Key, KeyRange, Ledger, json};

use crate::access::{self, Judgement};
use crate::answer::{self, AuditKind, Done};
use crate::audit::{self, Stored};
use crate::caller::Caller;
use crate::consent;
use crate::event::{self, StudyEvent};
use crate::keys;
use crate::limits::{INVESTIGATORS_MAX, STUDY_CODES_MAX};
use crate::patient::{self, Acting};
use crate::record::Version;
use crate::request::{EndStudy, Enrol, GetStudy, Investigator, RegisterStudy, WithdrawFromStudy};
use crate::settings::Settings;
use crate::value::{Basis, DelegateScope, Refusal, State};

pub(crate) use read::{cohort, list, records};

/// What stands for a certificate by which a study could find out who the patient is.
pub(crate) const NOBODY: Fingerprint = Hex([0; 32]);

/// A patient as a request for a study names her.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Participant {
    #[serde(rename = "id")]
    pub(crate) study: Id,
    pub(crate) pseudonym: Id,
}

/// Who registered a study.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sponsor {
    #[serde(rename = "org")]
    organization: Organization,
    by: Fingerprint,
    #[serde(rename = "time")]
    time_ms: u64,
}

/// That something was done, by whom and when.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mark {
    by: Fingerprint,
    #[serde(rename = "time")]
    time_ms: u64,
}

impl Mark {
    fn now(ledger: &dyn Ledger, caller: &Caller) -> Result<Vec<u8>, ContractError> {
        json::encode(&Self {
            by: caller.fingerprint,
            time_ms: ledger.invocation().timestamp_ms,
        })
    }
}

/// A patient's part in a study.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Enrolment {
    pseudonym: Id,
    #[serde(rename = "time")]
    time_ms: u64,
}

/// Whose name a pseudonym is; nobody's any more when she has left, and nobody else's ever.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    patient: Option<Id>,
}

/// A registered study.
struct Study {
    terms: RegisterStudy,
    ended_ms: Option<u64>,
}

impl Study {
    fn load(ledger: &dyn Ledger, study: &Id) -> Result<Self, ContractError> {
        let terms = ledger
            .get(&keys::study(study)?)
            .ok_or_else(|| ContractError::not_found("study"))?;
        let ended = ledger.get(&keys::end_of_study(study)?);
        let ended = ended.map(|mark| json::stored::<Mark>("study", &mark));
        Ok(Self {
            terms: json::stored("study", &terms)?,
            ended_ms: ended.transpose()?.map(|mark| mark.time_ms),
        })
    }

    /// [`Study::load`], of one that has not ended.
    fn running(ledger: &dyn Ledger, study: &Id) -> Result<Self, ContractError> {
        let study = Self::load(ledger, study)?;
        if study.has_ended(ledger) {
            return Err(ContractError::wrong_state("the study has ended").at("study"));
        }
        Ok(study)
    }

    fn has_ended(&self, ledger: &dyn Ledger) -> bool {
        self.ended_ms.is_some() || ledger.invocation().timestamp_ms >= self.terms.end
    }

    /// Whether it is for this purpose.
    fn is_for(&self, purpose: Purpose) -> bool {
        self.terms.purposes.iter().any(|one| one.subsumes(purpose))
    }

    /// Whether its terms extend to this record.
    fn extends_to(&self, record: &RecordFacts) -> bool {
        let terms = &self.terms;
        record.confidentiality <= terms.ceiling
            && record
                .labels
                .iter()
                .all(|label| terms.labels.contains(label))
            && (terms.categories.is_empty() || terms.categories.contains(&record.category))
    }
}

/// Decides a request for a study: its terms first, then the patient's consents.
pub(crate) fn judge(
    ledger: &dyn Ledger,
    caller: &Caller,
    version: &Version,
    purpose: Purpose,
    participant: &Participant,
) -> Result<Judgement, ContractError> {
    let basis = Basis::Consent;
    let study = Study::load(ledger, &participant.study)?;
    let patient = &version.head.patient;
    let refusal = if study.has_ended(ledger) {
        Some(Refusal::StudyEnded)
    } else if !is_investigator(ledger, caller, &participant.study)? {
        Some(Refusal::NotInvestigator)
    } else if !study.is_for(purpose) {
        Some(Refusal::StudyPurpose)
    } else if !takes_part(ledger, patient, participant)? {
        Some(Refusal::NotEnrolled)
    } else if !study.extends_to(&version.facts()) {
        Some(Refusal::StudyScope)
    } else {
        None
    };
    if let Some(refusal) = refusal {
        return Ok(Judgement::refuse(basis, refusal));
    }
    if version.state() != State::Active {
        return Ok(Judgement::deny(basis, Reason::NotActive));
    }
    let Some(consents) = consent::within_limit(ledger, patient)? else {
        return Ok(Judgement::deny(basis, Reason::TooManyConsents));
    };
    let time_ms = ledger.invocation().timestamp_ms;
    let study_id = Some(participant.study);
    let decision = access::by_consent_for(study_id, caller, version, purpose, time_ms, &consents);
    let mut judgement = Judgement::of(basis, decision);
    if judgement.permits() {
        let end_ms = judgement.until_ms.unwrap_or(u64::MAX);
        judgement.until_ms = Some(end_ms.min(study.terms.end));
    }
    Ok(judgement)
}

/// Whether a caller investigates in a study, by her certificate or by her role.
pub(crate) fn is_investigator(
    ledger: &dyn Ledger,
    caller: &Caller,
    study: &Id,
) -> Result<bool, ContractError> {
    let herself = keys::investigator(study, &caller.fingerprint)?;
    let by_role = keys::investigator_by_role(study, &caller.organization, caller.role)?;
    Ok(ledger.get(&herself).is_some() || ledger.get(&by_role).is_some())
}

fn takes_part(
    ledger: &dyn Ledger,
    patient: &Id,
    participant: &Participant,
) -> Result<bool, ContractError> {
    let enrolment = enrolment(ledger, &participant.study, patient)?;
    Ok(enrolment.is_some_and(|enrolment| enrolment.pseudonym == participant.pseudonym))
}

fn enrolment(
    ledger: &dyn Ledger,
    study: &Id,
    patient: &Id,
) -> Result<Option<Enrolment>, ContractError> {
    let value = ledger.get(&keys::enrolment(study, patient)?);
    value
        .map(|value| json::stored("enrolment", &value))
        .transpose()
}

pub(crate) fn register(
    ledger: &mut dyn Ledger,
    request: RegisterStudy,
    argument: &[u8],
) -> Result<Done, ContractError> {
    let caller = Caller::of(ledger)?;
    if caller.role != Role::PrivacyOfficer {
        return Err(ContractError::forbidden(
            "a study is registered by a privacy officer of the organization that sponsors it",
        ));
    }
    check(ledger, &request)?;
    let key = keys::study(&request.study)?;
    if ledger.get(&key).is_some() {
        return Err(ContractError::already_exists("study"));
    }
    ledger.put(&key, argument);
    let sponsor = Sponsor {
        organization: caller.organization,
        by: caller.fingerprint,
        time_ms: ledger.invocation().timestamp_ms,
    };
    ledger.put(&keys::sponsor(&request.study)?, &json::encode(&sponsor)?);
    tell(ledger, event::STUDY_REGISTERED, request.study)
}

fn check(ledger: &dyn Ledger, request: &RegisterStudy) -> Result<(), ContractError> {
    let purposes = &request.purposes;
    let floor_min = Settings::of(ledger)?.study_floor;
    let at_most = |count: usize| count <= STUDY_CODES_MAX;
    let many = "the list has too many entries";
    let rules = [
        (
            !purposes.is_empty() && purposes.iter().all(|one| Purpose::Research.subsumes(*one)),
            "purposes",
            "a study has purposes, all of them within HRESCH",
        ),
        (at_most(purposes.len()), "purposes", many),
        (at_most(request.labels.len()), "labels", many),
        (at_most(request.categories.len()), "categories", many),
        (
            request.end > ledger.invocation().timestamp_ms,
            "end",
            "it lies in the past",
        ),
        (
            request.floor.is_none_or(|floor| floor >= floor_min),
            "floor",
            "it is at least the consortium's",
        ),
    ];
    match rules.into_iter().find(|(holds, ..)| !holds) {
        Some((_, field, rule)) => Err(ContractError::invalid(field, rule)),
        None => Ok(()),
    }
}

fn tell(ledger: &mut dyn Ledger, name: &str, study: Id) -> Result<Done, ContractError> {
    event::set(ledger, name, &StudyEvent { study })?;
    Ok(Done {})
}

fn sponsor(ledger: &dyn Ledger, study: &Id) -> Result<Sponsor, ContractError> {
    let value = ledger
        .get(&keys::sponsor(study)?)
        .ok_or_else(|| ContractError::not_found("study"))?;
    json::stored("study", &value)
}

/// The caller, when she runs this study and it has not ended.
fn administrator(ledger: &dyn Ledger, study: &Id) -> Result<Caller, ContractError> {
    let caller = Caller::of(ledger)?;
    if !answers_for(&caller, &sponsor(ledger, study)?) {
        return Err(ContractError::forbidden(
            "a study is run by the privacy officers of the organization that sponsors it",
        )
        .at("study"));
    }
    Study::running(ledger, study)?;
    Ok(caller)
}

fn answers_for(caller: &Caller, sponsor: &Sponsor) -> bool {
    caller.role == Role::PrivacyOfficer && caller.organization == sponsor.organization
}

pub(crate) fn add_investigator(
    ledger: &mut dyn Ledger,
    request: Investigator,
) -> Result<Done, ContractError> {
    let (key, all) = investigator(&request)?;
    let caller = administrator(ledger, &request.study)?;
    if ledger.get(&key).is_some() {
        return Err(ContractError::already_exists("researcher"));
    }
    let found = ledger.range(&all, INVESTIGATORS_MAX).entries.len();
    if found >= INVESTIGATORS_MAX as usize {
        let rule = format!("a study takes at most {INVESTIGATORS_MAX} investigators of a kind");
        return Err(ContractError::new("limit-exceeded", rule).at("researcher"));
    }
    let mark = Mark::now(ledger, &caller)?;
    ledger.put(&key, &mark);
    Ok(Done {})
}

pub(crate) fn remove_investigator(
    ledger: &mut dyn Ledger,
    request: Investigator,
) -> Result<Done, ContractError> {
    let (key, _) = investigator(&request)?;
    administrator(ledger, &request.study)?;
    if ledger.get(&key).is_none() {
        return Err(ContractError::not_found("researcher"));
    }
    ledger.delete(&key);
    Ok(Done {})
}

/// The key of an investigator, and the range of all of the same kind.
fn investigator(request: &Investigator) -> Result<(Key, KeyRange), ContractError> {
    let study = &request.study;
    match &request.researcher {
        Actor::Identity(researcher) => Ok((
            keys::investigator(study, researcher)?,
            keys::investigators(study)?,
        )),
        Actor::RoleAt(organization, role) if role.is_workforce() => Ok((
            keys::investigator_by_role(study, organization, *role)?,
            keys::investigators_by_role(study)?,
        )),
        _ => Err(ContractError::invalid(
            "researcher",
            "an investigator is {\"id\"}, or {\"org\", \"role\"} of people who work with records",
        )),
    }
}

pub(crate) fn end(ledger: &mut dyn Ledger, request: EndStudy) -> Result<Done, ContractError> {
    let caller = administrator(ledger, &request.study)?;
    let mark = Mark::now(ledger, &caller)?;
    ledger.put(&keys::end_of_study(&request.study)?, &mark);
    tell(ledger, event::STUDY_ENDED, request.study)
}

pub(crate) fn get(
    ledger: &mut dyn Ledger,
    request: GetStudy,
) -> Result<answer::Study, ContractError> {
    let caller = Caller::of(ledger)?;
    let study = Study::load(ledger, &request.study)?;
    let scope = DelegateScope::Consent;
    let own = match (request.patient, caller.patient) {
        (Some(patient), _) if patient::may(ledger, &caller, &patient, scope)?.is_none() => {
            return Err(patient::refusal(ledger, &caller, &patient, scope)?);
        }
        (Some(patient), _) => enrolment(ledger, &request.study, &patient)?,
        (None, Some(patient)) if patient::is(ledger, &caller, &patient)? => {
            enrolment(ledger, &request.study, &patient)?
        }
        _ => None,
    };
    let sponsor = sponsor(ledger, &request.study)?;
    let named = ledger.range(&keys::investigators(&request.study)?, INVESTIGATORS_MAX);
    let roles = ledger.range(
        &keys::investigators_by_role(&request.study)?,
        INVESTIGATORS_MAX,
    );
    let named = named.entries.iter().map(|entry| {
        let researcher: Hex<32> = keys::attribute(&entry.key, 1)?;
        Ok(Actor::Identity(researcher))
    });
    let roles = roles.entries.iter().map(role_at);
    let investigators: Result<_, ContractError> = named.chain(roles).collect();
    Ok(answer::Study {
        terms: study.terms,
        organization: sponsor.organization,
        by: sponsor.by,
        time: sponsor.time_ms,
        ended: study.ended_ms,
        pseudonym: own.map(|enrolment| enrolment.pseudonym),
        investigators: investigators?,
    })
}

fn role_at(entry: &Entry) -> Result<Actor, ContractError> {
    let read = || {
        let key = Key::decode(&entry.key).ok()?;
        let organization = key.attribute(1)?.parse().ok()?;
        Some(Actor::RoleAt(organization, key.attribute(2)?.parse().ok()?))
    };
    read().ok_or_else(|| ContractError::corrupt_state("key"))
}

/// The caller, the patient for whom she joins or leaves a study, and in whose right.
fn acting(
    ledger: &mut dyn Ledger,
    patient: Option<Id>,
    study: &Id,
) -> Result<(Caller, Id, Acting), ContractError> {
    let caller = Caller::of(ledger)?;
    let claimed = caller
        .patient
        .filter(|patient| caller.claims_patient(patient));
    let patient = patient.or(claimed).ok_or_else(|| {
        ContractError::forbidden("a study is joined and left by a patient, or for one who is named")
    })?;
    let acting = patient::acting(ledger, &caller, &patient, DelegateScope::Consent)?;
    if acting != Acting::Herself && is_investigator(ledger, &caller, study)? {
        let rule = "a delegate who investigates in a study decides nothing about her part in it";
        return Err(ContractError::forbidden(rule).at("study"));
    }
    Ok((caller, patient, acting))
}

pub(crate) fn enrol(ledger: &mut dyn Ledger, request: Enrol) -> Result<Done, ContractError> {
    let Enrol {
        study,
        pseudonym,
        patient,
    } = request;
    let (caller, patient, acting) = acting(ledger, patient, &study)?;
    Study::running(ledger, &study)?;
    if pseudonym == patient {
        return Err(ContractError::invalid(
            "pseudonym",
            "it is random, and not the patient's id",
        ));
    }
    if enrolment(ledger, &study, &patient)?.is_some() {
        return Err(ContractError::already_exists("study"));
    }
    let name = keys::pseudonym(&study, &pseudonym)?;
    if ledger.get(&name).is_some() {
        return Err(ContractError::already_exists("pseudonym"));
    }
    let named = Named {
        patient: Some(patient),
    };
    ledger.put(&name, &json::encode(&named)?);
    let enrolment = Enrolment {
        pseudonym,
        time_ms: ledger.invocation().timestamp_ms,
    };
    ledger.put(
        &keys::enrolment(&study, &patient)?,
        &json::encode(&enrolment)?,
    );
    record(
        ledger,
        &caller,
        (patient, study),
        acting,
        AuditKind::StudyJoined,
    )?;
    tell(ledger, event::STUDY_ENROLLED, study)
}

pub(crate) fn withdraw(
    ledger: &mut dyn Ledger,
    request: WithdrawFromStudy,
) -> Result<Done, ContractError> {
    let WithdrawFromStudy { study, patient } = request;
    let (caller, patient, acting) = acting(ledger, patient, &study)?;
    // She may leave one that has ended, too.
    Study::load(ledger, &study)?;
    let enrolment = enrolment(ledger, &study, &patient)?.ok_or_else(|| {
        ContractError::wrong_state("the patient takes no part in the study").at("study")
    })?;
    ledger.delete(&keys::enrolment(&study, &patient)?);
    let name = keys::pseudonym(&study, &enrolment.pseudonym)?;
    ledger.put(&name, &json::encode(&Named { patient: None })?);
    record(
        ledger,
        &caller,
        (patient, study),
        acting,
        AuditKind::StudyLeft,
    )?;
    tell(ledger, event::STUDY_WITHDRAWN, study)
}

fn record(
    ledger: &mut dyn Ledger,
    caller: &Caller,
    (patient, study): (Id, Id),
    acting: Acting,
    kind: AuditKind,
) -> Result<(), ContractError> {
    let mut entry = Stored::by(kind, caller);
    entry.study = Some(study);
    entry.delegation = acting.delegation();
    audit::write(ledger, &patient, entry)
}

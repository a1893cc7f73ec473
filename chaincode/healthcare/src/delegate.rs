//! Delegates: who may act for a patient, in which right, for what and until when.

use serde::{Deserialize, Serialize};
use stela_consent::{
    Actor, Consent, Fingerprint, Id, Organization, Purpose, Reason, RecordFacts, Request,
    Requester, Role, SensitivityLabel, Status, decide,
};
use stela_guest::{ContractError, Entry, KeyRange, Ledger, json};

use crate::answer::{AuditKind, Done, FiledDelegation, Page};
use crate::audit;
use crate::caller::Caller;
use crate::certificate;
use crate::event::{self, DelegationEvent};
use crate::keys;
use crate::limits::{DELEGATES_MAX, DELEGATION_MS_MAX, GUARDIAN_MS_MAX, POWER_MS_MAX};
use crate::page::Wanted;
use crate::patient::{self, Acting};
use crate::record::Version;
use crate::request::{Delegation as Named, ListDelegates, NameDelegate};
use crate::settings::Settings;
use crate::value::{DelegateKind, DelegateScope, State};

/// Labels of what a guardian does not see: care to which a minor may consent alone, and abuse.
const KEPT_FROM_GUARDIANS: [SensitivityLabel; 2] = [
    SensitivityLabel::Adolescent,
    SensitivityLabel::DomesticViolence,
];

/// What the state keeps of a delegation; patient, delegate and id stand in its key.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    kind: DelegateKind,
    scope: Vec<DelegateScope>,
    /// From when on it counts; absent for an executor's that was not activated.
    #[serde(rename = "from", default, skip_serializing_if = "Option::is_none")]
    from_ms: Option<u64>,
    #[serde(rename = "until")]
    until_ms: u64,
    by: Fingerprint,
    #[serde(rename = "org")]
    organization: Organization,
    role: Role,
    #[serde(rename = "time")]
    time_ms: u64,
}

/// A delegation that the state has.
#[derive(Debug, Clone)]
pub(crate) struct Delegation {
    id: Id,
    delegate: Fingerprint,
    stored: Stored,
}

impl Delegation {
    fn read(entry: &Entry) -> Result<Self, ContractError> {
        Ok(Self {
            id: keys::attribute(&entry.key, 2)?,
            delegate: keys::attribute(&entry.key, 1)?,
            stored: json::stored("delegation", &entry.value)?,
        })
    }

    pub(crate) fn id(&self) -> Id {
        self.id
    }

    pub(crate) fn until_ms(&self) -> u64 {
        self.stored.until_ms
    }

    fn counts(&self, time_ms: u64) -> bool {
        self.stored.from_ms.is_some_and(|from| from <= time_ms) && time_ms < self.stored.until_ms
    }

    /// Whether the delegate reads now, or answers requests for consent.
    fn gets_keys(&self, time_ms: u64) -> bool {
        let scopes = [DelegateScope::Read, DelegateScope::Consent];
        self.counts(time_ms) && scopes.into_iter().any(|scope| self.covers(scope))
    }

    fn covers(&self, scope: DelegateScope) -> bool {
        self.stored.scope.contains(&scope)
    }

    /// Whether the delegate sees this version, as the crate's documentation says.
    pub(crate) fn opens(
        &self,
        ledger: &dyn Ledger,
        caller: &Caller,
        version: &Version,
        consents: &[(Consent, Status)],
    ) -> bool {
        let time_ms = ledger.invocation().timestamp_ms;
        let standing = consents.iter().map(|(consent, status)| (consent, *status));
        version.state() == State::Active
            && opens_to_delegate(
                self.stored.kind,
                caller.requester(),
                &version.facts(),
                time_ms,
                standing,
            )
    }

    fn answer(self, time_ms: u64) -> FiledDelegation {
        let counts = self.counts(time_ms);
        FiledDelegation {
            delegation: self.id,
            delegate: self.delegate,
            kind: self.stored.kind,
            scope: self.stored.scope,
            from: self.stored.from_ms,
            until: self.stored.until_ms,
            by: self.stored.by,
            role: self.stored.role,
            time: self.stored.time_ms,
            counts,
        }
    }
}

/// Whether an active version is one that a delegate of this kind may read, as far as its labels and
/// the patient's consents say; clients ask it before they wrap a key for him.
pub fn opens_to_delegate<'a>(
    kind: DelegateKind,
    delegate: Requester<'_>,
    record: &RecordFacts,
    time_ms: u64,
    consents: impl IntoIterator<Item = (&'a Consent, Status)>,
) -> bool {
    let kept = |label| record.labels.contains(label);
    if kind == DelegateKind::Guardian && KEPT_FROM_GUARDIANS.iter().any(kept) {
        return false;
    }
    let request = Request {
        requester: delegate,
        purpose: kind.purpose(),
        study: None,
        time_ms,
        record,
    };
    let about = consents
        .into_iter()
        .filter(|(consent, _)| names(consent, &delegate.fingerprint));
    decide(&request, about).reason != Reason::DeniedByProvision
}

/// Whether a consent speaks about one certificate.
pub(crate) fn names(consent: &Consent, certificate: &Fingerprint) -> bool {
    let mut provisions = std::iter::once(consent.provision()).chain(consent.exceptions());
    provisions.any(|provision| provision.actor == Some(Actor::Identity(*certificate)))
}

/// The delegation under which the caller may do what `scope` covers for the patient, if there is
/// one: of several the one that lasts longest.
pub(crate) fn standing(
    ledger: &dyn Ledger,
    caller: &Caller,
    patient: &Id,
    scope: DelegateScope,
) -> Result<Option<Delegation>, ContractError> {
    let time_ms = ledger.invocation().timestamp_ms;
    let held = held(ledger, caller, patient)?;
    Ok(held
        .into_iter()
        .filter(|delegation| delegation.counts(time_ms) && delegation.covers(scope))
        .max_by_key(Delegation::until_ms))
}

/// The delegation under which the caller may read the patient's records for this purpose; without
/// a purpose, for that of any.
pub(crate) fn reading(
    ledger: &dyn Ledger,
    caller: &Caller,
    patient: &Id,
    purpose: Option<Purpose>,
) -> Result<Option<Delegation>, ContractError> {
    // Everybody else is spared the look.
    if purpose.is_some_and(|purpose| !Purpose::PatientRequest.subsumes(purpose)) {
        return Ok(None);
    }
    let time_ms = ledger.invocation().timestamp_ms;
    let held = held(ledger, caller, patient)?;
    Ok(held
        .into_iter()
        .filter(|delegation| delegation.counts(time_ms))
        .filter(|delegation| delegation.covers(DelegateScope::Read))
        .filter(|delegation| purpose.is_none_or(|asked| asked == delegation.stored.kind.purpose()))
        .max_by_key(Delegation::until_ms))
}

/// Why a caller who has delegations may not do what `scope` covers; nothing for one who has none.
pub(crate) fn refusal(
    ledger: &dyn Ledger,
    caller: &Caller,
    patient: &Id,
    scope: DelegateScope,
) -> Result<Option<ContractError>, ContractError> {
    let time_ms = ledger.invocation().timestamp_ms;
    let held = held(ledger, caller, patient)?;
    let error = |rule: String, field: &str| Some(ContractError::forbidden(rule).at(field));
    let over = |delegation: &Delegation| delegation.stored.until_ms <= time_ms;
    if held.is_empty() {
        Ok(None)
    } else if held.iter().any(|delegation| delegation.counts(time_ms)) {
        let rule = format!("your delegation does not cover the scope {}", scope.code());
        Ok(error(rule, "delegation.scope"))
    } else if held.iter().all(over) {
        Ok(error("your delegation is over".into(), "delegation.until"))
    } else {
        let rule = "your delegation does not count yet".into();
        Ok(error(rule, "delegation.from"))
    }
}

/// Whether anybody may now read as a delegate of the patient.
pub(crate) fn has_reader(ledger: &dyn Ledger, patient: &Id) -> Result<bool, ContractError> {
    let time_ms = ledger.invocation().timestamp_ms;
    let all = whole(ledger, &keys::delegations(patient)?)?;
    let reads = |one: &Delegation| one.counts(time_ms) && one.covers(DelegateScope::Read);
    Ok(all.iter().any(reads))
}

fn held(
    ledger: &dyn Ledger,
    caller: &Caller,
    patient: &Id,
) -> Result<Vec<Delegation>, ContractError> {
    whole(ledger, &keys::delegations_of(patient, &caller.fingerprint)?)
}

fn whole(ledger: &dyn Ledger, range: &KeyRange) -> Result<Vec<Delegation>, ContractError> {
    let found = ledger.range(range, DELEGATES_MAX);
    found.entries.iter().map(Delegation::read).collect()
}

pub(crate) fn name(ledger: &mut dyn Ledger, request: NameDelegate) -> Result<Done, ContractError> {
    let caller = Caller::of(ledger)?;
    let herself = names_herself(ledger, &caller, &request)?;
    let time_ms = ledger.invocation().timestamp_ms;
    must_be_possible(&request, time_ms)?;
    let own = certificate::is_named(ledger, &request.patient, &request.delegate)?;
    if own || request.delegate == caller.fingerprint {
        let rule = "nobody is her own delegate, and nobody names himself";
        return Err(ContractError::invalid("delegate", rule));
    }
    let key = keys::delegation(&request.patient, &request.delegate, &request.delegation)?;
    if ledger.get(&key).is_some() {
        return Err(ContractError::already_exists("delegation"));
    }
    let all = whole(ledger, &keys::delegations(&request.patient)?)?;
    if all.len() >= DELEGATES_MAX as usize {
        let rule = format!("a patient has at most {DELEGATES_MAX} delegations: end those not used");
        return Err(ContractError::new("limit-exceeded", rule).at("delegation"));
    }
    let from_ms = match (herself, request.kind) {
        (true, DelegateKind::Executor) => None,
        (true, _) => Some(time_ms),
        (false, _) => Some(time_ms.saturating_add(Settings::of(ledger)?.rebind_wait_ms)),
    };
    let stored = Stored {
        kind: request.kind,
        scope: request.scope,
        from_ms,
        until_ms: request.until,
        by: caller.fingerprint,
        organization: caller.organization.clone(),
        role: caller.role,
        time_ms,
    };
    ledger.put(&key, &json::encode(&stored)?);
    let named = Named {
        patient: request.patient,
        delegate: request.delegate,
        delegation: request.delegation,
    };
    let kind = AuditKind::DelegateNamed;
    told(
        ledger,
        &caller,
        &named,
        kind,
        event::DELEGATE_NAMED,
        from_ms,
    )
}

/// Whether the patient herself names the delegate; otherwise an officer of her organization does,
/// who may name a guardian. A delegate names nobody.
fn names_herself(
    ledger: &dyn Ledger,
    caller: &Caller,
    request: &NameDelegate,
) -> Result<bool, ContractError> {
    let home = patient::load(ledger, &request.patient)?.organization;
    if !caller.is_officer_of(&home) {
        patient::must_be(ledger, caller, &request.patient)?;
        return Ok(true);
    }
    if request.kind == DelegateKind::Guardian {
        Ok(false)
    } else {
        Err(ContractError::forbidden("an organization names guardians only").at("kind"))
    }
}

fn must_be_possible(request: &NameDelegate, time_ms: u64) -> Result<(), ContractError> {
    let scope = &request.scope;
    let twice = |(index, one): (usize, &DelegateScope)| scope[..index].contains(one);
    if scope.is_empty() || scope.iter().enumerate().any(twice) {
        let rule = "a delegation has at least one scope, and none twice";
        return Err(ContractError::invalid("scope", rule));
    }
    let longest_ms = match request.kind {
        DelegateKind::Guardian => GUARDIAN_MS_MAX,
        DelegateKind::PowerOfAttorney => POWER_MS_MAX,
        _ => DELEGATION_MS_MAX,
    };
    if request.until <= time_ms || request.until - time_ms > longest_ms {
        let rule = format!("a delegation of this kind ends within {longest_ms} ms from now");
        return Err(ContractError::invalid("until", rule));
    }
    Ok(())
}

pub(crate) fn end(ledger: &mut dyn Ledger, request: Named) -> Result<Done, ContractError> {
    let caller = Caller::of(ledger)?;
    let delegation = load(ledger, &request)?;
    let home = patient::load(ledger, &request.patient)?.organization;
    let own = caller.fingerprint == request.delegate;
    let named_by_officer = delegation.stored.role != Role::Patient;
    let may_end = own || (named_by_officer && caller.is_officer_of(&home));
    if !may_end {
        patient::must_be(ledger, &caller, &request.patient)?;
    }
    ledger.delete(&key(&request)?);
    let kind = AuditKind::DelegationEnded;
    told(
        ledger,
        &caller,
        &request,
        kind,
        event::DELEGATION_ENDED,
        None,
    )
}

pub(crate) fn activate(ledger: &mut dyn Ledger, request: Named) -> Result<Done, ContractError> {
    let caller = Caller::of(ledger)?;
    certificate::must_be_privacy_officer(ledger, &caller, &request.patient)?;
    let mut stored = load(ledger, &request)?.stored;
    if stored.kind != DelegateKind::Executor || stored.from_ms.is_some() {
        let rule = "only an executor's delegation that was not activated is";
        return Err(ContractError::wrong_state(rule).at("delegation"));
    }
    let time_ms = ledger.invocation().timestamp_ms;
    if stored.until_ms <= time_ms {
        return Err(ContractError::wrong_state("the delegation is over").at("delegation"));
    }
    let from = time_ms.saturating_add(Settings::of(ledger)?.rebind_wait_ms);
    stored.from_ms = Some(from);
    ledger.put(&key(&request)?, &json::encode(&stored)?);
    let kind = AuditKind::DelegationActivated;
    let name = event::DELEGATION_ACTIVATED;
    told(ledger, &caller, &request, kind, name, Some(from))
}

fn key(named: &Named) -> Result<stela_guest::Key, ContractError> {
    keys::delegation(&named.patient, &named.delegate, &named.delegation)
}

fn load(ledger: &dyn Ledger, named: &Named) -> Result<Delegation, ContractError> {
    let value = ledger
        .get(&key(named)?)
        .ok_or_else(|| ContractError::not_found("delegation"))?;
    Ok(Delegation {
        id: named.delegation,
        delegate: named.delegate,
        stored: json::stored("delegation", &value)?,
    })
}

fn told(
    ledger: &mut dyn Ledger,
    caller: &Caller,
    named: &Named,
    kind: AuditKind,
    name: &str,
    from: Option<u64>,
) -> Result<Done, ContractError> {
    let Named {
        patient,
        delegate,
        delegation,
    } = *named;
    let mut entry = audit::Stored::by(kind, caller).with_subject(delegate);
    entry.delegation = Some(delegation);
    audit::write(ledger, &patient, entry)?;
    let event = DelegationEvent {
        patient,
        delegate,
        delegation,
        from,
    };
    event::set(ledger, name, &event)?;
    Ok(Done {})
}

pub(crate) fn list(
    ledger: &mut dyn Ledger,
    request: ListDelegates,
) -> Result<Page<FiledDelegation>, ContractError> {
    let caller = Caller::of(ledger)?;
    let patient = request.patient;
    let wanted = Wanted::new(request.limit, request.bookmark)?;
    let sees_all = oversees(ledger, &caller, &patient)?;
    // They learn for whom to wrap a record's key, and who will answer a request for consent.
    let wraps = caller.role.is_workforce() || caller.role == Role::Device;
    let time_ms = ledger.invocation().timestamp_ms;
    wanted.read(ledger, &keys::delegations(&patient)?, |entry| {
        let delegation = Delegation::read(entry)?;
        let own = delegation.delegate == caller.fingerprint;
        let shown = sees_all || own || (wraps && delegation.gets_keys(time_ms));
        Ok(shown.then(|| delegation.answer(time_ms)))
    })
}

/// Whether the caller may look at everything about who is, and who acts for, a patient: she, a
/// delegate with her rights, officers of her organization.
fn oversees(ledger: &dyn Ledger, caller: &Caller, patient: &Id) -> Result<bool, ContractError> {
    let home = patient::load(ledger, patient)?.organization;
    let officer = caller.is_officer_of(&home);
    Ok(officer || patient::may(ledger, caller, patient, DelegateScope::Rights)?.is_some())
}

/// Refuses everybody else than those.
pub(crate) fn must_oversee(
    ledger: &dyn Ledger,
    caller: &Caller,
    patient: &Id,
) -> Result<(), ContractError> {
    if oversees(ledger, caller, patient)? {
        Ok(())
    } else {
        Err(patient::refusal(
            ledger,
            caller,
            patient,
            DelegateScope::Rights,
        )?)
    }
}

/// Refuses a delegate who would decide about himself.
pub(crate) fn must_not_be_named(
    caller: &Caller,
    acting: Acting,
    consent: &Consent,
) -> Result<(), ContractError> {
    if acting != Acting::Herself && names(consent, &caller.fingerprint) {
        let rule = "a delegate neither grants nor revokes consents that name him";
        return Err(ContractError::forbidden(rule).at("consent.actor"));
    }
    Ok(())
}

//! Consents: granting, revoking, looking at them.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use stela_consent::{Consent, Id, Status};
use stela_guest::{ContractError, KeyRange, Ledger, Page as Found, json};

use crate::answer::{AuditKind, Done, FiledConsent, Page};
use crate::audit::{self, Stored};
use crate::caller::Caller;
use crate::certificate::Standing;
use crate::delegate;
use crate::event::{self, ConsentEvent};
use crate::keys;
use crate::limits::CONSENTS_MAX;
use crate::page::Wanted;
use crate::patient::{self, Acting};
use crate::record;
use crate::request::{GrantConsent, GrantConsentFor, ListConsents, RevokeConsent};
use crate::value::DelegateScope;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Revocation {
    #[serde(rename = "time")]
    time_ms: u64,
}

pub(crate) fn grant(
    ledger: &mut dyn Ledger,
    consent: GrantConsent,
    argument: &[u8],
) -> Result<Done, ContractError> {
    let caller = Caller::of(ledger)?;
    let patient = caller
        .patient
        .filter(|patient| caller.claims_patient(patient))
        .ok_or_else(|| ContractError::forbidden("only a patient grants consent"))?;
    let standing = patient::must_be(ledger, &caller, &patient)?;
    put(ledger, &patient, &consent, argument)?;
    if standing == Standing::First {
        audit::write_granted(ledger, &patient, argument)?;
    } else {
        let entry = granted(&caller, Acting::Herself, &consent);
        audit::write(ledger, &patient, entry)?;
    }
    Ok(Done {})
}

pub(crate) fn grant_for(
    ledger: &mut dyn Ledger,
    request: GrantConsentFor,
) -> Result<Done, ContractError> {
    let GrantConsentFor { patient, consent } = request;
    let caller = Caller::of(ledger)?;
    let acting = patient::acting(ledger, &caller, &patient, DelegateScope::Consent)?;
    file(ledger, &caller, acting, &patient, &consent, None)?;
    Ok(Done {})
}

/// Files a consent that the caller grants for a patient, in answer to a request if there was one.
pub(crate) fn file(
    ledger: &mut dyn Ledger,
    caller: &Caller,
    acting: Acting,
    patient: &Id,
    consent: &Consent,
    request: Option<Id>,
) -> Result<(), ContractError> {
    delegate::must_not_be_named(caller, acting, consent)?;
    put(ledger, patient, consent, &json::encode(consent)?)?;
    let mut entry = granted(caller, acting, consent);
    entry.consent_request = request;
    audit::write(ledger, patient, entry)
}

fn granted(caller: &Caller, acting: Acting, consent: &Consent) -> Stored {
    let mut entry = Stored::by(AuditKind::ConsentGranted, caller);
    entry.consent = Some(consent.id());
    entry.delegation = acting.delegation();
    entry
}

fn put(
    ledger: &mut dyn Ledger,
    patient: &Id,
    consent: &Consent,
    value: &[u8],
) -> Result<(), ContractError> {
    // How many there are is not counted here: patients grant several at once, and a count would
    // make those conflict. Beyond the limit, decisions deny.
    let key = keys::consent(patient, &consent.id())?;
    if ledger.get(&key).is_some() {
        return Err(ContractError::already_exists("consent"));
    }
    ledger.put(&key, value);
    let event = ConsentEvent {
        patient: *patient,
        consent: consent.id(),
    };
    event::set(ledger, event::CONSENT_GRANTED, &event)
}

pub(crate) fn revoke(
    ledger: &mut dyn Ledger,
    request: RevokeConsent,
) -> Result<Done, ContractError> {
    let RevokeConsent { patient, consent } = request;
    let caller = Caller::of(ledger)?;
    let acting = patient::acting(ledger, &caller, &patient, DelegateScope::Consent)?;
    let revoked = ledger
        .get(&keys::consent(&patient, &consent)?)
        .ok_or_else(|| ContractError::not_found("consent"))?;
    delegate::must_not_be_named(&caller, acting, &json::stored("consent", &revoked)?)?;
    let key = keys::revocation(&patient, &consent)?;
    if ledger.get(&key).is_some() {
        return Err(ContractError::wrong_state("the consent has been revoked").at("consent"));
    }
    let revocation = Revocation {
        time_ms: ledger.invocation().timestamp_ms,
    };
    ledger.put(&key, &json::encode(&revocation)?);
    let mut entry = Stored::by(AuditKind::ConsentRevoked, &caller);
    entry.consent = Some(consent);
    entry.delegation = acting.delegation();
    audit::write(ledger, &patient, entry)?;
    let event = ConsentEvent { patient, consent };
    event::set(ledger, event::CONSENT_REVOKED, &event)?;
    Ok(Done {})
}

/// Every consent of a patient with its status, in the order of the keys. Reading them makes the
/// transaction depend on each of them: none can change unnoticed before the commit.
pub(crate) fn all(
    ledger: &dyn Ledger,
    patient: &Id,
) -> Result<Vec<(Consent, Status)>, ContractError> {
    within_limit(ledger, patient)?.ok_or_else(|| {
        ContractError::new(
            "limit-exceeded",
            format!("a decision takes at most {CONSENTS_MAX} consents of a patient into account"),
        )
    })
}

/// [`all`], or nothing when there are more than a decision can take into account.
pub(crate) fn within_limit(
    ledger: &dyn Ledger,
    patient: &Id,
) -> Result<Option<Vec<(Consent, Status)>>, ContractError> {
    // There are at most as many revocations as consents, so these are all when those are.
    let Some(found) = whole(ledger, &keys::consents(patient)?) else {
        return Ok(None);
    };
    let revoked = revocations(ledger, patient)?;
    let read = |entry: &stela_guest::Entry| {
        let consent: Consent = json::stored("consent", &entry.value)?;
        let status = if revoked.contains(&consent.id()) {
            Status::Inactive
        } else {
            Status::Active
        };
        Ok((consent, status))
    };
    let consents: Result<Vec<_>, ContractError> = found.entries.iter().map(read).collect();
    consents.map(Some)
}

fn revocations(ledger: &dyn Ledger, patient: &Id) -> Result<BTreeSet<Id>, ContractError> {
    let found = whole(ledger, &keys::revocations(patient)?)
        .ok_or_else(|| ContractError::corrupt_state("revocation"))?;
    let read = |entry: &stela_guest::Entry| keys::attribute(&entry.key, 1);
    found.entries.iter().map(read).collect()
}

fn whole(ledger: &dyn Ledger, range: &KeyRange) -> Option<Found> {
    let page = ledger.range(range, CONSENTS_MAX + 1);
    page.next.is_none().then_some(page)
}

/// When a consent was revoked, if it was.
fn revoked(ledger: &dyn Ledger, patient: &Id, consent: &Id) -> Result<Option<u64>, ContractError> {
    let Some(value) = ledger.get(&keys::revocation(patient, consent)?) else {
        return Ok(None);
    };
    let revocation: Revocation = json::stored("revocation", &value)?;
    Ok(Some(revocation.time_ms))
}

pub(crate) fn list(
    ledger: &mut dyn Ledger,
    request: ListConsents,
) -> Result<Page<FiledConsent>, ContractError> {
    let caller = Caller::of(ledger)?;
    let patient = request.patient;
    let wanted = Wanted::new(request.limit, request.bookmark)?;
    let home = patient::load(ledger, &patient)?.organization;
    let sees_all = caller.is_officer_of(&home) || acts(ledger, &caller, &patient)?;
    if !sees_all {
        must_be_author(ledger, &caller, &patient, request.record.as_ref())?;
    }
    wanted.read(ledger, &keys::consents(&patient)?, |entry| {
        let consent: Consent = json::stored("consent", &entry.value)?;
        let revoked = revoked(ledger, &patient, &consent.id())?;
        let status = revoked.map_or(Status::Active, |_| Status::Inactive);
        let filed = FiledConsent {
            consent,
            status,
            revoked,
        };
        Ok(Some(filed).filter(|_| sees_all || status == Status::Active))
    })
}

/// Whether the caller acts for the patient in a way that needs her consents.
pub(crate) fn acts(
    ledger: &dyn Ledger,
    caller: &Caller,
    patient: &Id,
) -> Result<bool, ContractError> {
    let consents = patient::may(ledger, caller, patient, DelegateScope::Consent)?;
    if consents.is_some() {
        return Ok(true);
    }
    Ok(patient::may(ledger, caller, patient, DelegateScope::Rights)?.is_some())
}

/// An author looks at the standing consents to learn for whom to wrap her record's key.
fn must_be_author(
    ledger: &dyn Ledger,
    caller: &Caller,
    patient: &Id,
    record: Option<&Id>,
) -> Result<(), ContractError> {
    let refusal = || {
        ContractError::forbidden(
            "consents are shown to the patient and her delegates, to officers of her \
             organization, and to the author of the record that is named",
        )
    };
    let record = record.ok_or_else(refusal)?;
    let head = record::head(ledger, record)?;
    let newest = record::load_of_patient(ledger, patient, record, head.latest)?;
    if newest.is_by(caller) {
        Ok(())
    } else {
        Err(refusal())
    }
}

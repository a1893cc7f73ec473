//! A patient's certificates: which ones are hers, from when on, and how one is replaced that she
//! lost.

use serde::{Deserialize, Serialize};
use stela_consent::{Fingerprint, Id, Organization, Role};
use stela_guest::{ContractError, Ledger, json};

use crate::answer::{AuditKind, Certificates, Done, FiledCertificate};
use crate::audit;
use crate::caller::Caller;
use crate::delegate;
use crate::encryption;
use crate::event::{self, CertificateEvent, RebindingEvent};
use crate::keys;
use crate::limits::{CERTIFICATES_MAX, REBOUND_MAX};
use crate::patient::{self, Acting};
use crate::request::{ListCertificates, OwnCertificate as Named};
use crate::settings::Settings;
use crate::value::DelegateScope;

/// What the state keeps of one certificate.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    /// The patient's organization, which is the certificate's too, so that nothing else is read to
    /// know that it is hers.
    #[serde(rename = "org")]
    organization: Organization,
    /// Who added it; the first one itself.
    by: Fingerprint,
    #[serde(rename = "time")]
    time_ms: u64,
    /// For a rebinding: from when on it counts.
    #[serde(rename = "from", default, skip_serializing_if = "Option::is_none")]
    from_ms: Option<u64>,
}

impl Stored {
    fn counts(&self, time_ms: u64) -> bool {
        self.from_ms.is_none_or(|from| from <= time_ms)
    }
}

/// How a certificate is a patient's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It registered her.
    First,
    /// It was authorised since.
    Later,
}

/// How the caller's certificate is this patient's now, if it is.
pub(crate) fn standing(
    ledger: &dyn Ledger,
    caller: &Caller,
    patient: &Id,
) -> Result<Option<Standing>, ContractError> {
    let time_ms = ledger.invocation().timestamp_ms;
    let stored = load(ledger, patient, &caller.fingerprint)?;
    let counting = stored
        .filter(|stored| stored.counts(time_ms) && stored.organization == caller.organization);
    Ok(
        counting.map(|stored| match stored.by == caller.fingerprint {
            true => Standing::First,
            false => Standing::Later,
        }),
    )
}

/// Whether a certificate is authorised to be this patient, now or after a wait.
pub(crate) fn is_named(
    ledger: &dyn Ledger,
    patient: &Id,
    certificate: &Fingerprint,
) -> Result<bool, ContractError> {
    Ok(load(ledger, patient, certificate)?.is_some())
}

/// Authorises the certificate with which a patient registers.
pub(crate) fn register(
    ledger: &mut dyn Ledger,
    caller: &Caller,
    patient: &Id,
) -> Result<(), ContractError> {
    put(ledger, caller, patient, &caller.fingerprint, None)
}

pub(crate) fn add(ledger: &mut dyn Ledger, request: Named) -> Result<Done, ContractError> {
    let Named {
        patient,
        certificate,
    } = request;
    let caller = Caller::of(ledger)?;
    patient::must_be(ledger, &caller, &patient)?;
    let authorised = all(ledger, &patient)?;
    must_be_new(&authorised, &certificate)?;
    if authorised.len() >= CERTIFICATES_MAX as usize {
        return Err(too_many(CERTIFICATES_MAX));
    }
    put(ledger, &caller, &patient, &certificate, None)?;
    told(
        ledger,
        &caller,
        &request,
        AuditKind::CertificateAdded,
        event::CERTIFICATE_ADDED,
    )
}

pub(crate) fn remove(ledger: &mut dyn Ledger, request: Named) -> Result<Done, ContractError> {
    let Named {
        patient,
        certificate,
    } = request;
    let caller = Caller::of(ledger)?;
    patient::must_be(ledger, &caller, &patient)?;
    let time_ms = ledger.invocation().timestamp_ms;
    let authorised = all(ledger, &patient)?;
    let removed = find(&authorised, &certificate)?;
    if !removed.counts(time_ms) {
        return Err(
            ContractError::wrong_state("a rebinding that waits is cancelled").at("certificate"),
        );
    }
    let mut others = authorised.iter().filter(|(other, _)| *other != certificate);
    if !others.any(|(_, stored)| stored.counts(time_ms)) {
        return Err(
            ContractError::wrong_state("her last certificate stays: add another first")
                .at("certificate"),
        );
    }
    ledger.delete(&keys::certificate(&patient, &certificate)?);
    encryption::withdraw(ledger, &patient, &certificate)?;
    told(
        ledger,
        &caller,
        &request,
        AuditKind::CertificateRemoved,
        event::CERTIFICATE_REMOVED,
    )
}

pub(crate) fn rebind(ledger: &mut dyn Ledger, request: Named) -> Result<Done, ContractError> {
    let Named {
        patient,
        certificate,
    } = request;
    let caller = Caller::of(ledger)?;
    must_be_privacy_officer(ledger, &caller, &patient)?;
    let time_ms = ledger.invocation().timestamp_ms;
    let authorised = all(ledger, &patient)?;
    must_be_new(&authorised, &certificate)?;
    if authorised.iter().any(|(_, stored)| !stored.counts(time_ms)) {
        return Err(ContractError::wrong_state("another rebinding waits").at("patient"));
    }
    if authorised.len() >= (CERTIFICATES_MAX + REBOUND_MAX) as usize {
        return Err(too_many(CERTIFICATES_MAX + REBOUND_MAX));
    }
    let from = time_ms.saturating_add(Settings::of(ledger)?.rebind_wait_ms);
    put(ledger, &caller, &patient, &certificate, Some(from))?;
    let entry = audit::Stored::by(AuditKind::Rebinding, &caller).with_subject(certificate);
    audit::write(ledger, &patient, entry)?;
    let event = RebindingEvent {
        patient,
        certificate,
        from,
    };
    event::set(ledger, event::PATIENT_REBINDING, &event)?;
    Ok(Done {})
}

pub(crate) fn cancel(ledger: &mut dyn Ledger, request: Named) -> Result<Done, ContractError> {
    let Named {
        patient,
        certificate,
    } = request;
    let caller = Caller::of(ledger)?;
    let acting = canceller(ledger, &caller, &patient)?;
    let waits = load(ledger, &patient, &certificate)?
        .ok_or_else(|| ContractError::not_found("certificate"))?;
    if waits.counts(ledger.invocation().timestamp_ms) {
        return Err(
            ContractError::wrong_state("the certificate counts already: remove it")
                .at("certificate"),
        );
    }
    ledger.delete(&keys::certificate(&patient, &certificate)?);
    let mut entry =
        audit::Stored::by(AuditKind::RebindingCancelled, &caller).with_subject(certificate);
    entry.delegation = acting.and_then(|acting| acting.delegation());
    audit::write(ledger, &patient, entry)?;
    let event = CertificateEvent {
        patient,
        certificate,
    };
    event::set(ledger, event::PATIENT_REBINDING_CANCELLED, &event)?;
    Ok(Done {})
}

/// The patient, a delegate with her rights, or a privacy officer who takes back an error.
fn canceller(
    ledger: &mut dyn Ledger,
    caller: &Caller,
    patient: &Id,
) -> Result<Option<Acting>, ContractError> {
    if must_be_privacy_officer(ledger, caller, patient).is_ok() {
        return Ok(None);
    }
    patient::acting(ledger, caller, patient, DelegateScope::Rights).map(Some)
}

pub(crate) fn must_be_privacy_officer(
    ledger: &dyn Ledger,
    caller: &Caller,
    patient: &Id,
) -> Result<(), ContractError> {
    let home = patient::load(ledger, patient)?.organization;
    if caller.role == Role::PrivacyOfficer && caller.organization == home {
        Ok(())
    } else {
        Err(ContractError::forbidden(
            "this is for a privacy officer of the organization that registered the patient",
        )
        .at("patient"))
    }
}

pub(crate) fn list(
    ledger: &mut dyn Ledger,
    request: ListCertificates,
) -> Result<Certificates, ContractError> {
    let caller = Caller::of(ledger)?;
    let patient = request.patient;
    // Who shares keys for her hides her certificates from studies.
    if patient::may(ledger, &caller, &patient, DelegateScope::Consent)?.is_none() {
        delegate::must_oversee(ledger, &caller, &patient)?;
    }
    let time_ms = ledger.invocation().timestamp_ms;
    let answer = |(certificate, stored): (Fingerprint, Stored)| FiledCertificate {
        certificate,
        by: stored.by,
        time: stored.time_ms,
        from: stored.from_ms,
        counts: stored.counts(time_ms),
    };
    let authorised = all(ledger, &patient)?;
    Ok(Certificates {
        certificates: authorised.into_iter().map(answer).collect(),
    })
}

/// Every certificate of a patient. Reading them makes a transaction conflict with every other one
/// that adds or removes one, so that two cannot remove each other.
fn all(ledger: &dyn Ledger, patient: &Id) -> Result<Vec<(Fingerprint, Stored)>, ContractError> {
    let found = ledger.range(
        &keys::certificates(patient)?,
        CERTIFICATES_MAX + REBOUND_MAX + 1,
    );
    let read = |entry: &stela_guest::Entry| {
        let stored = json::stored("certificate", &entry.value)?;
        Ok((keys::attribute(&entry.key, 1)?, stored))
    };
    found.entries.iter().map(read).collect()
}

fn load(
    ledger: &dyn Ledger,
    patient: &Id,
    certificate: &Fingerprint,
) -> Result<Option<Stored>, ContractError> {
    let value = ledger.get(&keys::certificate(patient, certificate)?);
    value.map(|v| json::stored("certificate", &v)).transpose()
}

fn find<'a>(
    authorised: &'a [(Fingerprint, Stored)],
    certificate: &Fingerprint,
) -> Result<&'a Stored, ContractError> {
    let mut named = authorised.iter().filter(|(other, _)| other == certificate);
    let found = named.next().map(|(_, stored)| stored);
    found.ok_or_else(|| ContractError::not_found("certificate"))
}

fn must_be_new(
    authorised: &[(Fingerprint, Stored)],
    certificate: &Fingerprint,
) -> Result<(), ContractError> {
    match find(authorised, certificate) {
        Ok(_) => Err(ContractError::already_exists("certificate")),
        Err(_) => Ok(()),
    }
}

fn too_many(max: u32) -> ContractError {
    ContractError::new(
        "limit-exceeded",
        format!("a patient has at most {max} certificates: remove those that she lost"),
    )
    .at("certificate")
}

/// Files a certificate; who calls is of the patient's organization.
fn put(
    ledger: &mut dyn Ledger,
    caller: &Caller,
    patient: &Id,
    certificate: &Fingerprint,
    from_ms: Option<u64>,
) -> Result<(), ContractError> {
    let stored = Stored {
        organization: caller.organization.clone(),
        by: caller.fingerprint,
        time_ms: ledger.invocation().timestamp_ms,
        from_ms,
    };
    ledger.put(
        &keys::certificate(patient, certificate)?,
        &json::encode(&stored)?,
    );
    Ok(())
}

fn told(
    ledger: &mut dyn Ledger,
    caller: &Caller,
    request: &Named,
    kind: AuditKind,
    name: &str,
) -> Result<Done, ContractError> {
    let Named {
        patient,
        certificate,
    } = *request;
    let entry = audit::Stored::by(kind, caller).with_subject(certificate);
    audit::write(ledger, &patient, entry)?;
    let event = CertificateEvent {
        patient,
        certificate,
    };
    event::set(ledger, name, &event)?;
    Ok(Done {})
}

//! The audit trail: who did what about a patient, the denied accesses too.

use serde::{Deserialize, Serialize};
use stela_consent::{Consent, Fingerprint, Hex, Id, Organization, Purpose, Role};
use stela_guest::{ContractError, Entry, Ledger, json};

use crate::answer::{AuditEntry, AuditKind, Page};
use crate::caller::{Caller, transaction};
use crate::keys;
use crate::page::Wanted;
use crate::patient::{self, Patient};
use crate::request::AuditTrail;
use crate::value::{Basis, DelegateScope};

/// An entry as the state keeps it; time and transaction stand in its key.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Stored {
    event: AuditKind,
    by: Fingerprint,
    #[serde(rename = "org")]
    organization: Organization,
    role: Role,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    record: Option<Id>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) consent: Option<Id>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) provision: Option<Vec<u8>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) basis: Option<Basis>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) purpose: Option<Purpose>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) delegation: Option<Id>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    subject: Option<Fingerprint>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) consent_request: Option<Id>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) study: Option<Id>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) request: Option<Hex<32>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) noted_by: Option<Organization>,
}

impl Stored {
    pub(crate) fn by(event: AuditKind, caller: &Caller) -> Self {
        Self {
            event,
            by: caller.fingerprint,
            organization: caller.organization.clone(),
            role: caller.role,
            record: None,
            version: None,
            consent: None,
            provision: None,
            basis: None,
            purpose: None,
            reason: None,
            delegation: None,
            subject: None,
            consent_request: None,
            study: None,
            request: None,
            noted_by: None,
        }
    }

    pub(crate) fn with_subject(mut self, subject: Fingerprint) -> Self {
        self.subject = Some(subject);
        self
    }

    pub(crate) fn about(mut self, record: Id, version: u32) -> Self {
        self.record = Some(record);
        self.version = Some(version);
        self
    }
}

pub(crate) fn write(
    ledger: &mut dyn Ledger,
    patient: &Id,
    entry: Stored,
) -> Result<(), ContractError> {
    put(ledger, patient, &json::encode(&entry)?)
}

/// The entry for a consent that the patient granted with the certificate that registered is the
/// consent itself, which the transaction need not repeat.
pub(crate) fn write_granted(
    ledger: &mut dyn Ledger,
    patient: &Id,
    consent: &[u8],
) -> Result<(), ContractError> {
    put(ledger, patient, consent)
}

/// Writes the entry of another transaction, which did not come.
pub(crate) fn write_for(
    ledger: &mut dyn Ledger,
    patient: &Id,
    (time_ms, transaction): (u64, &Hex<32>),
    entry: Stored,
) -> Result<(), ContractError> {
    let key = keys::audit(patient, time_ms, transaction)?;
    if ledger.get(&key).is_some() {
        return Err(ContractError::already_exists("transaction"));
    }
    ledger.put(&key, &json::encode(&entry)?);
    Ok(())
}

fn put(ledger: &mut dyn Ledger, patient: &Id, value: &[u8]) -> Result<(), ContractError> {
    let invocation = ledger.invocation();
    let key = keys::audit(patient, invocation.timestamp_ms, &transaction(invocation))?;
    ledger.put(&key, value);
    Ok(())
}

pub(crate) fn trail(
    ledger: &mut dyn Ledger,
    request: AuditTrail,
) -> Result<Page<AuditEntry>, ContractError> {
    let caller = Caller::of(ledger)?;
    let wanted = Wanted::new(request.limit, request.bookmark)?;
    let registered = patient::load(ledger, &request.patient)?;
    let home = &registered.organization;
    let officer = caller.role == Role::PrivacyOfficer;
    let sees_all = (officer && caller.organization == *home)
        || patient::may(ledger, &caller, &request.patient, DelegateScope::Rights)?.is_some();
    if !sees_all && !officer {
        return Err(patient::refusal(
            ledger,
            &caller,
            &request.patient,
            DelegateScope::Rights,
        )?);
    }
    let range = keys::audit_trail(&request.patient)?;
    wanted.read(ledger, &range, |entry| {
        let entry = read(entry, &registered)?;
        let own = entry.organization.as_ref() == Some(&caller.organization);
        Ok(Some(entry).filter(|_| sees_all || own))
    })
}

pub(crate) fn read(entry: &Entry, patient: &Patient) -> Result<AuditEntry, ContractError> {
    let (time, transaction) = keys::audit_parts(&entry.key)?;
    // An entry for a granted consent is the consent, which has no field `event`.
    if let Ok(consent) = json::stored::<Consent>("consent", &entry.value) {
        return Ok(granted(&consent, patient, time, transaction));
    }
    let stored: Stored = json::stored("audit entry", &entry.value)?;
    Ok(AuditEntry {
        event: stored.event,
        time,
        transaction,
        by: Some(stored.by),
        organization: Some(stored.organization),
        role: stored.role,
        record: stored.record,
        version: stored.version,
        consent: stored.consent,
        provision: stored.provision,
        basis: stored.basis,
        purpose: stored.purpose,
        reason: stored.reason,
        delegation: stored.delegation,
        subject: stored.subject,
        consent_request: stored.consent_request,
        study: stored.study,
        request: stored.request,
        noted_by: stored.noted_by,
    })
}

/// She granted it with the certificate that registered.
fn granted(consent: &Consent, patient: &Patient, time: u64, transaction: Hex<32>) -> AuditEntry {
    AuditEntry {
        event: AuditKind::ConsentGranted,
        time,
        transaction,
        by: Some(patient.certificate),
        organization: Some(patient.organization.clone()),
        role: Role::Patient,
        record: None,
        version: None,
        consent: Some(consent.id()),
        provision: None,
        basis: None,
        purpose: None,
        reason: None,
        delegation: None,
        subject: None,
        consent_request: None,
        study: None,
        request: None,
        noted_by: None,
    }
}

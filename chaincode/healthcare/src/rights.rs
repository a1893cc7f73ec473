//! What a patient has a right to know: to whom records about her were disclosed, and who read them.

use stela_consent::{Id, Purpose, Role};
use stela_guest::{ContractError, Entry, KeyRange, Ledger};

use crate::access;
use crate::answer::{AuditEntry, AuditKind, Disclosure, DisclosureKind, Page, Reader};
use crate::audit;
use crate::caller::{Caller, must_be_question};
use crate::filter::must_be_period;
use crate::keys;
use crate::limits::{ACCOUNTING_YEARS, YEAR_MS};
use crate::page::{Wanted, bookmark, foreign_bookmark};
use crate::patient::{self, Patient};
use crate::record;
use crate::request::{Accounting, Readers};
use crate::value::{Basis, DelegateScope};

/// The patient's entry, when the caller may know what she has a right to know.
fn entitled(ledger: &dyn Ledger, patient: &Id) -> Result<Patient, ContractError> {
    let caller = Caller::of(ledger)?;
    let registered = patient::load(ledger, patient)?;
    let home = &registered.organization;
    let officer = caller.role == Role::PrivacyOfficer && caller.organization == *home;
    if officer || patient::may(ledger, &caller, patient, DelegateScope::Rights)?.is_some() {
        return Ok(registered);
    }
    Err(patient::refusal(
        ledger,
        &caller,
        patient,
        DelegateScope::Rights,
    )?)
}

/// The disclosures of a period, from the part of the audit trail that lies in it.
pub(crate) fn accounting(
    ledger: &mut dyn Ledger,
    request: Accounting,
) -> Result<Page<Disclosure>, ContractError> {
    must_be_question(ledger)?;
    must_be_period(request.from, request.to)?;
    let registered = entitled(ledger, &request.patient)?;
    let wanted = Wanted::new(request.limit, request.bookmark)?;
    let now_ms = ledger.invocation().timestamp_ms;
    let earliest_ms = now_ms.saturating_sub(u64::from(ACCOUNTING_YEARS) * YEAR_MS);
    let from_ms = request.from.unwrap_or_default().max(earliest_ms);
    let to_ms = request.to.unwrap_or(u64::MAX);
    let Some(range) = keys::audit_between(&request.patient, from_ms, to_ms)? else {
        return Ok(Page {
            entries: Vec::new(),
            bookmark: None,
        });
    };
    wanted.read(ledger, &range, |entry| {
        let entry = audit::read(entry, &registered)?;
        let Some(disclosure) = disclosure(ledger, entry)? else {
            return Ok(None);
        };
        let named = (request
            .purpose
            .is_none_or(|p| p.subsumes(disclosure.purpose)))
            && request.recipient.is_none_or(|r| r == disclosure.recipient)
            && (request.all || disclosure.kind.is_accounted());
        Ok(named.then_some(disclosure))
    })
}

/// What an audit entry says about a disclosure, if it is one.
fn disclosure(ledger: &dyn Ledger, entry: AuditEntry) -> Result<Option<Disclosure>, ContractError> {
    if !matches!(
        entry.event,
        AuditKind::AccessPermitted | AuditKind::EmergencyAccessed
    ) {
        return Ok(None);
    }
    let (Some(recipient), Some(organization), Some(record), Some(version)) =
        (entry.by, entry.organization, entry.record, entry.version)
    else {
        return Err(ContractError::corrupt_state("audit entry"));
    };
    let (Some(purpose), Some(basis)) = (entry.purpose, entry.basis) else {
        return Err(ContractError::corrupt_state("audit entry"));
    };
    Ok(Some(Disclosure {
        time: entry.time,
        transaction: entry.transaction,
        recipient,
        organization,
        role: entry.role,
        record,
        version,
        category: record::submission(ledger, &record, version)?.0.category,
        purpose,
        basis,
        kind: kind(basis, purpose),
    }))
}

fn kind(basis: Basis, purpose: Purpose) -> DisclosureKind {
    if matches!(basis, Basis::Patient | Basis::Delegate)
        || Purpose::PatientRequest.subsumes(purpose)
    {
        DisclosureKind::Individual
    } else if Purpose::Treat.subsumes(purpose) {
        DisclosureKind::Treatment
    } else if Purpose::Payment.subsumes(purpose) {
        DisclosureKind::Payment
    } else if Purpose::Operations.subsumes(purpose) {
        DisclosureKind::Operations
    } else if Purpose::PublicHealth.subsumes(purpose) {
        DisclosureKind::PublicHealth
    } else if basis == Basis::Consent {
        DisclosureKind::Authorization
    } else {
        DisclosureKind::Other
    }
}

/// Who holds or held permits, record by record in the order of their keys.
pub(crate) fn readers(
    ledger: &mut dyn Ledger,
    request: Readers,
) -> Result<Page<Reader>, ContractError> {
    must_be_question(ledger)?;
    let patient = request.patient;
    let registered = entitled(ledger, &patient)?;
    let wanted = Wanted::new(request.limit, request.bookmark)?;
    if let Some(record) = request.record {
        record::head_of_patient(ledger, &patient, &record)?;
        return wanted.read(ledger, &keys::permits(&record)?, |entry| {
            reader(ledger, &registered, &patient, entry).map(Some)
        });
    }
    let (records, mut start) = place(&patient, wanted.bookmark())?;
    let found = ledger.range(&records, wanted.limit());
    let mut readers = Vec::new();
    for entry in &found.entries {
        let room = wanted.limit().saturating_sub(count(&readers));
        if room == 0 {
            return Ok(page(readers, Some(&entry.key)));
        }
        let mut permits = keys::permits(&keys::attribute(&entry.key, 1)?)?;
        if let Some(start) = start.take() {
            permits = permits.from(start).ok_or_else(foreign_bookmark)?;
        }
        let part = ledger.range(&permits, room);
        for entry in &part.entries {
            readers.push(reader(ledger, &registered, &patient, entry)?);
        }
        if part.next.is_some() {
            return Ok(page(readers, part.next.as_deref()));
        }
    }
    Ok(page(readers, found.next.as_deref()))
}

/// Where a list of all readers goes on: the records that are left, and where the permits of the
/// first of them start. A bookmark is a place among the patient's records, or among the permits of
/// one of them.
fn place<'a>(
    patient: &Id,
    bookmark: Option<&'a [u8]>,
) -> Result<(KeyRange, Option<&'a [u8]>), ContractError> {
    let records = keys::records_of_patient(patient)?;
    let Some(start) = bookmark else {
        return Ok((records, None));
    };
    if let Some(rest) = records.from(start) {
        return Ok((rest, None));
    }
    let record = keys::permit_record(start).ok_or_else(foreign_bookmark)?;
    let key = keys::record_of_patient(patient, &record)?;
    let rest = records.from(key.as_bytes()).ok_or_else(foreign_bookmark)?;
    Ok((rest, Some(start)))
}

fn count(readers: &[Reader]) -> u32 {
    u32::try_from(readers.len()).unwrap_or(u32::MAX)
}

fn page(entries: Vec<Reader>, next: Option<&[u8]>) -> Page<Reader> {
    Page {
        entries,
        bookmark: next.map(bookmark),
    }
}

fn reader(
    ledger: &dyn Ledger,
    registered: &Patient,
    patient: &Id,
    entry: &Entry,
) -> Result<Reader, ContractError> {
    let corrupt = || ContractError::corrupt_state("permit");
    let permit = access::filed(&entry.value)?;
    // The audit entry of the same transaction says who the reader is.
    let key = keys::audit(patient, permit.time_ms, &permit.request)?;
    let value = ledger.get(&key).ok_or_else(corrupt)?;
    let filed = Entry {
        key: key.as_bytes().to_vec(),
        value,
    };
    let decided = audit::read(&filed, registered)?;
    Ok(Reader {
        record: keys::attribute(&entry.key, 0)?,
        version: keys::permit_version(&entry.key)?,
        reader: keys::attribute(&entry.key, 2)?,
        organization: decided.organization.ok_or_else(corrupt)?,
        role: decided.role,
        purpose: permit.purpose,
        basis: decided.basis.ok_or_else(corrupt)?,
        request: permit.request,
        time: permit.time_ms,
        expires: permit.expires_ms,
    })
}

//! Devices, and the windows of vital signs that they submit.

use serde::{Deserialize, Serialize};
use stela_consent::{Category, Fingerprint, Id, Organization, Role};
use stela_guest::{ContractError, Entry, Ledger, json};

use crate::answer::{AuditKind, DeviceStatus as Status, Done, Page, Window};
use crate::audit::{self, Stored};
use crate::caller::Caller;
use crate::event::{self, DeviceEvent, ReviewEvent, WindowEvent};
use crate::keys;
use crate::page::Wanted;
use crate::patient;
use crate::record;
use crate::request::{BindDevice, DeviceStatus, ReleaseDevice, SubmitRecord, SubmitWindow};
use crate::review;
use crate::value::DelegateScope;

/// To whom a device is bound, or was bound last.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Binding {
    patient: Id,
    by: Fingerprint,
    role: Role,
    #[serde(rename = "time")]
    time_ms: u64,
    #[serde(rename = "until", default, skip_serializing_if = "Option::is_none")]
    until_ms: Option<u64>,
    #[serde(rename = "released", default, skip_serializing_if = "Option::is_none")]
    released_ms: Option<u64>,
}

impl Binding {
    fn stands(&self, time_ms: u64) -> bool {
        self.released_ms.is_none() && self.until_ms.is_none_or(|until| time_ms < until)
    }
}

/// How far a device's sequence has come.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sequence {
    last: u64,
    #[serde(rename = "end")]
    end_ms: u64,
    windows: u64,
    missing: u64,
}

/// What the contract adds to a window that it accepted.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Anchor {
    device: Fingerprint,
    missing: u64,
}

/// What an index's entry holds.
const INDEXED: &[u8] = b"1";

pub(crate) fn bind(ledger: &mut dyn Ledger, request: BindDevice) -> Result<Done, ContractError> {
    let BindDevice {
        patient,
        device,
        until,
    } = request;
    let caller = attendant(ledger, &patient)?;
    let time_ms = ledger.invocation().timestamp_ms;
    if until.is_some_and(|until| until <= time_ms) {
        return Err(ContractError::invalid("until", "it lies in the past"));
    }
    if let Some(before) = binding(ledger, &device)? {
        if before.stands(time_ms) {
            return Err(
                ContractError::wrong_state("the device is bound: release it first").at("device"),
            );
        }
        ledger.delete(&keys::device_of_patient(&before.patient, &device)?);
    }
    let bound = Binding {
        patient,
        by: caller.fingerprint,
        role: caller.role,
        time_ms,
        until_ms: until,
        released_ms: None,
    };
    ledger.put(&keys::device(&device)?, &json::encode(&bound)?);
    ledger.put(&keys::device_of_patient(&patient, &device)?, INDEXED);
    tell(ledger, &caller, (patient, device), AuditKind::DeviceBound)
}

pub(crate) fn release(
    ledger: &mut dyn Ledger,
    request: ReleaseDevice,
) -> Result<Done, ContractError> {
    let ReleaseDevice { patient, device } = request;
    let caller = attendant(ledger, &patient)?;
    let mut bound = binding(ledger, &device)?.ok_or_else(unknown)?;
    if bound.patient != patient {
        return Err(another_patient());
    }
    let time_ms = ledger.invocation().timestamp_ms;
    if !bound.stands(time_ms) {
        return Err(not_bound());
    }
    bound.released_ms = Some(time_ms);
    ledger.put(&keys::device(&device)?, &json::encode(&bound)?);
    ledger.delete(&keys::device_of_patient(&patient, &device)?);
    tell(
        ledger,
        &caller,
        (patient, device),
        AuditKind::DeviceReleased,
    )
}

fn tell(
    ledger: &mut dyn Ledger,
    caller: &Caller,
    (patient, device): (Id, Fingerprint),
    kind: AuditKind,
) -> Result<Done, ContractError> {
    let name = match kind {
        AuditKind::DeviceBound => event::DEVICE_BOUND,
        _ => event::DEVICE_RELEASED,
    };
    let entry = Stored::by(kind, caller).with_subject(device);
    audit::write(ledger, &patient, entry)?;
    event::set(ledger, name, &DeviceEvent { patient, device })?;
    Ok(Done {})
}

/// The caller, when she may say which devices report a patient's vital signs.
fn attendant(ledger: &dyn Ledger, patient: &Id) -> Result<Caller, ContractError> {
    let caller = Caller::of(ledger)?;
    let home = patient::load(ledger, patient)?.organization;
    let staff = matches!(caller.role, Role::Practitioner | Role::RecordsOfficer);
    if (staff && caller.organization == home) || patient::is(ledger, &caller, patient)? {
        return Ok(caller);
    }
    Err(ContractError::forbidden(
        "devices are bound and released by the patient and by practitioners and records officers \
         of her organization",
    )
    .at("patient"))
}

fn binding(ledger: &dyn Ledger, device: &Fingerprint) -> Result<Option<Binding>, ContractError> {
    let value = ledger.get(&keys::device(device)?);
    value
        .map(|value| json::stored("device", &value))
        .transpose()
}

fn sequence(ledger: &dyn Ledger, device: &Fingerprint) -> Result<Option<Sequence>, ContractError> {
    let value = ledger.get(&keys::sequence(device)?);
    value
        .map(|value| json::stored("sequence", &value))
        .transpose()
}

fn unknown() -> ContractError {
    ContractError::not_found("device")
}

fn not_bound() -> ContractError {
    ContractError::wrong_state("the device is bound to nobody any more").at("device")
}

fn another_patient() -> ContractError {
    ContractError::forbidden("the device is bound to another patient").at("patient")
}

pub(crate) fn submit(
    ledger: &mut dyn Ledger,
    request: SubmitWindow,
    argument: &[u8],
) -> Result<Done, ContractError> {
    let caller = reporting(ledger, &request.patient)?;
    let time_ms = ledger.invocation().timestamp_ms;
    check(&request, time_ms)?;
    let before = sequence(ledger, &caller.fingerprint)?;
    let missing = missing(&request, before.as_ref())?;
    let after = Sequence {
        last: request.last,
        end_ms: request.end,
        windows: before.as_ref().map_or(0, |b| b.windows).saturating_add(1),
        missing: before.map_or(0, |b| b.missing).saturating_add(missing),
    };
    let submission: SubmitRecord = request.clone().into();
    record::must_be_new(ledger, &submission)?;
    record::write(ledger, &caller, &submission, argument, Some(1))?;
    review::none(ledger, &caller, &request.record, 1)?;
    let entry = Stored::by(AuditKind::Submitted, &caller).about(request.record, 1);
    audit::write(ledger, &request.patient, entry)?;
    let sequence = keys::sequence(&caller.fingerprint)?;
    ledger.put(&sequence, &json::encode(&after)?);
    let anchor = Anchor {
        device: caller.fingerprint,
        missing,
    };
    ledger.put(&keys::window(&request.record)?, &json::encode(&anchor)?);
    announce(ledger, &request, &anchor)?;
    Ok(Done {})
}

/// The caller, when she is a device that is bound to this patient, of her organization.
fn reporting(ledger: &dyn Ledger, patient: &Id) -> Result<Caller, ContractError> {
    let caller = Caller::of(ledger)?;
    if caller.role != Role::Device {
        return Err(ContractError::forbidden("only devices submit windows"));
    }
    if caller.patient.is_some_and(|named| named != *patient) {
        return Err(
            ContractError::forbidden("your certificate names another patient").at("patient"),
        );
    }
    let home = patient::load(ledger, patient)?.organization;
    patient::must_be_home(&caller, &home)?;
    let bound = binding(ledger, &caller.fingerprint)?.ok_or_else(unknown)?;
    if !bound.stands(ledger.invocation().timestamp_ms) {
        return Err(not_bound());
    }
    if bound.patient != *patient {
        return Err(another_patient());
    }
    Ok(caller)
}

/// Refuses a window that contradicts itself.
fn check(request: &SubmitWindow, time_ms: u64) -> Result<(), ContractError> {
    let span = request.last.checked_sub(request.first);
    let rules = [
        (request.version == 1, "version", "a window has version 1"),
        (
            request.category == Category::VitalSigns,
            "category",
            "a window is of the category vital-signs",
        ),
        (span.is_some(), "last", "it is not before first"),
        (
            request.count > 0 && span.is_none_or(|span| u64::from(request.count) - 1 <= span),
            "count",
            "it is at least 1 and at most what lies from first to last",
        ),
        (
            request.start <= request.end,
            "end",
            "it is not before start",
        ),
        (request.end <= time_ms, "end", "it lies in the future"),
        (
            request.alerts <= request.count,
            "alerts",
            "it is at most count",
        ),
    ];
    match rules.into_iter().find(|(holds, ..)| !holds) {
        Some((_, field, rule)) => Err(ContractError::invalid(field, rule)),
        None => Ok(()),
    }
}

/// How many observations are missing since the window before; refuses what is no later than it.
fn missing(request: &SubmitWindow, before: Option<&Sequence>) -> Result<u64, ContractError> {
    // As many as there are, by the check.
    let within = (request.last - request.first) - (u64::from(request.count) - 1);
    let Some(before) = before else {
        return Ok(within);
    };
    let refuse =
        |field: &str, rule: &str| Err(ContractError::new("out-of-sequence", rule).at(field));
    if request.first <= before.last {
        return refuse("first", "observations up to this number have been accepted");
    }
    if request.start < before.end_ms {
        return refuse("start", "the window before this one ends later");
    }
    Ok((request.first - before.last - 1).saturating_add(within))
}

/// A storage node keeps the ciphertext of what is active.
fn announce(
    ledger: &mut dyn Ledger,
    request: &SubmitWindow,
    anchor: &Anchor,
) -> Result<(), ContractError> {
    let confirmed = ReviewEvent {
        patient: request.patient,
        record: request.record,
        version: request.version,
        cid: request.cid.clone(),
    };
    event::set(ledger, event::RECORD_CONFIRMED, &confirmed)?;
    let window = WindowEvent {
        patient: request.patient,
        record: request.record,
        device: anchor.device,
    };
    if anchor.missing > 0 {
        event::set(ledger, event::VITAL_SIGNS_GAP, &window)?;
    }
    if request.alerts > 0 {
        event::set(ledger, event::VITAL_SIGNS_ALERT, &window)?;
    }
    Ok(())
}

/// What anchors a window.
pub(crate) fn window(
    ledger: &dyn Ledger,
    submitted: &SubmitWindow,
) -> Result<Window, ContractError> {
    let anchor = ledger
        .get(&keys::window(&submitted.record)?)
        .ok_or_else(|| ContractError::corrupt_state("window"))?;
    let anchor: Anchor = json::stored("window", &anchor)?;
    Ok(Window {
        device: anchor.device,
        first: submitted.first,
        last: submitted.last,
        count: submitted.count,
        start: submitted.start,
        end: submitted.end,
        root: submitted.root,
        alerts: submitted.alerts,
        missing: anchor.missing,
    })
}

pub(crate) fn status(
    ledger: &mut dyn Ledger,
    request: DeviceStatus,
) -> Result<Page<Status>, ContractError> {
    let caller = Caller::of(ledger)?;
    let wanted = Wanted::new(request.limit, request.bookmark)?;
    match (request.device, request.patient) {
        (Some(device), None) => {
            let bound = binding(ledger, &device)?.ok_or_else(unknown)?;
            let home = patient::load(ledger, &bound.patient)?.organization;
            must_attend(ledger, &caller, &bound.patient, &home, Some(&device))?;
            Ok(Page {
                entries: vec![answer(ledger, device, &bound)?],
                bookmark: None,
            })
        }
        (None, Some(patient)) => {
            let home = patient::load(ledger, &patient)?.organization;
            must_attend(ledger, &caller, &patient, &home, None)?;
            let range = keys::devices_of_patient(&patient)?;
            wanted.read(ledger, &range, |entry: &Entry| {
                let device = keys::attribute(&entry.key, 1)?;
                let bound = binding(ledger, &device)?.ok_or_else(unknown)?;
                answer(ledger, device, &bound).map(Some)
            })
        }
        _ => Err(ContractError::invalid(
            "arguments",
            "give device or patient",
        )),
    }
}

fn must_attend(
    ledger: &dyn Ledger,
    caller: &Caller,
    patient: &Id,
    home: &Organization,
    device: Option<&Fingerprint>,
) -> Result<(), ContractError> {
    let staff = caller.role == Role::Practitioner && caller.organization == *home;
    let itself = device == Some(&caller.fingerprint);
    let seen = patient::may(ledger, caller, patient, DelegateScope::Rights)?.is_some();
    if itself || staff || caller.is_officer_of(home) || seen {
        return Ok(());
    }
    Err(ContractError::forbidden(
        "a device's state is for the patient, for practitioners and officers of her organization, \
         and for the device",
    ))
}

fn answer(
    ledger: &dyn Ledger,
    device: Fingerprint,
    bound: &Binding,
) -> Result<Status, ContractError> {
    let sequence = sequence(ledger, &device)?;
    let sequence = sequence.as_ref();
    Ok(Status {
        device,
        patient: bound.patient,
        bound: bound.stands(ledger.invocation().timestamp_ms),
        since: bound.time_ms,
        until: bound.until_ms,
        released: bound.released_ms,
        windows: sequence.map_or(0, |sequence| sequence.windows),
        missing: sequence.map_or(0, |sequence| sequence.missing),
        last: sequence.map(|sequence| sequence.last),
        end: sequence.map(|sequence| sequence.end_ms),
    })
}

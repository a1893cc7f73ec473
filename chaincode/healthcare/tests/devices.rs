//! Devices and the windows of vital signs that they submit.

use super::support::{
    CID, CONSENT, Clinic, HOUR_MS, OTHER_PATIENT, PATIENT, id, submission, to_b, with,
};
use serde_json::{Value, json};
use stela_guest::{Caller, Outcome};
use stela_healthcare::State;
use stela_healthcare::answer::{AuditKind, DeviceStatus, Page, RecordSummary};

const DEVICE: u8 = 0x51;

fn device() -> Caller {
    Caller::new("HospitalA", "device", [DEVICE; 32])
}

fn bind() -> Value {
    json!({"patient": id(PATIENT), "device": stela_consent::Hex([DEVICE; 32])})
}

/// A window of ten observations, ten seconds long.
fn window(clinic: &Clinic, record: u8, first: u64) -> Value {
    let end = clinic.ledger.time_ms();
    json!({
        "record": id(record),
        "version": 1,
        "patient": id(PATIENT),
        "cid": CID,
        "category": "vital-signs",
        "confidentiality": "N",
        "header": "00ff",
        "commitment": "cd".repeat(32),
        "first": first,
        "last": first + 9,
        "count": 10,
        "start": end - 10_000,
        "end": end,
        "root": "ab".repeat(32),
        "alerts": 0,
    })
}

/// The device is bound.
fn ward() -> Clinic {
    let mut clinic = Clinic::new();
    let patient = clinic.patient.clone();
    clinic.ok(&patient, "bind_device", bind());
    clinic
}

/// Ten seconds later.
#[track_caller]
fn submit(clinic: &mut Clinic, record: u8, first: u64) -> Outcome {
    clinic.ledger.advance_ms(10_000);
    let request = window(clinic, record, first);
    clinic.ok(&device(), "submit_window", request)
}

fn names(outcome: &Outcome) -> Vec<&str> {
    outcome
        .events
        .iter()
        .map(|(name, _)| name.as_str())
        .collect()
}

fn status(clinic: &Clinic, caller: &Caller) -> DeviceStatus {
    let request = json!({"device": stela_consent::Hex([DEVICE; 32])});
    let page: Page<DeviceStatus> = clinic.ask(caller, "device_status", request);
    page.entries.into_iter().next().unwrap()
}

#[test]
fn a_device_is_bound_to_one_patient_at_a_time() {
    let mut clinic = Clinic::new();
    let (patient, author, officer) = (
        clinic.patient.clone(),
        clinic.author.clone(),
        clinic.officer.clone(),
    );
    for caller in [
        clinic.reader.clone(),
        clinic.privacy.clone(),
        device(),
        Caller::new("HospitalB", "records-officer", [8; 32]),
    ] {
        clinic.refused(&caller, "bind_device", bind(), "forbidden patient");
    }
    let past = json!(clinic.ledger.time_ms());
    for (field, value, expected) in [
        ("patient", json!(id(OTHER_PATIENT)), "not-found patient"),
        ("device", json!("51"), "invalid-argument device"),
        ("until", past, "invalid-argument until"),
        ("name", json!("bed 7"), "invalid-argument name"),
    ] {
        let request = with(bind(), field, value);
        clinic.refused(&author, "bind_device", request, expected);
    }
    clinic.refused(&author, "release_device", bind(), "not-found device");
    let outcome = clinic.ok(&author, "bind_device", bind());
    assert_eq!(names(&outcome), ["device.bound"]);
    let last = clinic.trail_end(&patient);
    assert_eq!(last.event, AuditKind::DeviceBound);
    assert_eq!(last.subject.unwrap().0, [DEVICE; 32]);
    clinic.refused(&officer, "bind_device", bind(), "wrong-state device");
    let outcome = clinic.ok(&officer, "release_device", bind());
    assert_eq!(names(&outcome), ["device.released"]);
    clinic.refused(&patient, "release_device", bind(), "wrong-state device");
    let until = clinic.ledger.time_ms() + HOUR_MS;
    clinic.ok(&patient, "bind_device", with(bind(), "until", json!(until)));
    clinic.refused(&patient, "bind_device", bind(), "wrong-state device");
    clinic.ledger.advance_ms(HOUR_MS);
    clinic.refused(&patient, "release_device", bind(), "wrong-state device");
    clinic.ok(&patient, "bind_device", bind());
}

#[test]
fn a_window_is_a_record_that_is_active_at_once() {
    let mut clinic = ward();
    let outcome = submit(&mut clinic, 0x61, 1);
    assert_eq!(names(&outcome), ["record.confirmed"]);
    let (reader, stranger) = (clinic.reader.clone(), clinic.stranger.clone());
    let of_window = json!({"record": id(0x61)});
    let record: stela_healthcare::answer::RecordVersion =
        clinic.ask(&clinic.patient, "get_record", of_window.clone());
    assert_eq!((record.state, record.latest), (State::Active, 1));
    assert_eq!(record.wraps.len(), 1);
    let anchored = record.window.unwrap();
    assert_eq!((anchored.first, anchored.last, anchored.count), (1, 10, 10));
    assert_eq!(anchored.device.0, [DEVICE; 32]);
    assert_eq!(anchored.root.to_string(), "ab".repeat(32));
    assert_eq!(anchored.missing, 0);
    assert_eq!(record.date, Some(anchored.start));
    let last = clinic.trail_end(&clinic.patient);
    assert_eq!(last.event, AuditKind::Submitted);
    assert_eq!(last.by.unwrap().0, [DEVICE; 32]);
    // Consents, access, lists and amendments are those of every record.
    clinic.grant(CONSENT, with(to_b(), "category", json!(["vital-signs"])));
    let access = json!({
        "patient": id(PATIENT), "record": id(0x61), "version": 1, "purpose": "TREAT",
    });
    for (caller, decision) in [(&reader, "permit"), (&stranger, "deny")] {
        let outcome = clinic.ok(caller, "request_access", access.clone());
        let answer: Value = serde_json::from_slice(&outcome.payload).unwrap();
        assert_eq!(answer["decision"], decision);
    }
    let seen: stela_healthcare::answer::RecordVersion =
        clinic.ask(&reader, "get_record", of_window);
    assert!(seen.window.is_some());
    let listed: Page<RecordSummary> =
        clinic.ask(&reader, "list_records", json!({"patient": id(PATIENT)}));
    assert_eq!(listed.entries.len(), 1);
    let author = clinic.author.clone();
    let corrected = with(submission(2), "record", json!(id(0x61)));
    clinic.ok(&author, "amend_record", corrected);
}

#[test]
fn a_window_that_contradicts_itself_is_refused_with_its_field() {
    let mut clinic = ward();
    clinic.ledger.advance_ms(10_000);
    let now = clinic.ledger.time_ms();
    for (field, value, expected) in [
        ("version", json!(2), "invalid-argument version"),
        ("category", json!("laboratory"), "invalid-argument category"),
        ("category", json!("heart-rate"), "invalid-argument category"),
        ("last", json!(0), "invalid-argument last"),
        ("count", json!(0), "invalid-argument count"),
        ("count", json!(11), "invalid-argument count"),
        ("first", json!(-1), "invalid-argument first"),
        ("start", json!(now + 1), "invalid-argument end"),
        ("end", json!(now + 1), "invalid-argument end"),
        ("alerts", json!(11), "invalid-argument alerts"),
        ("alerts", json!({"8867-4": 180}), "invalid-argument alerts"),
        ("root", json!("ab"), "invalid-argument root"),
        ("value", json!(180), "invalid-argument value"),
        ("root", Value::Null, "invalid-argument root"),
        ("cid", json!("x"), "invalid-argument cid"),
    ] {
        let request = with(window(&clinic, 0x61, 1), field, value);
        clinic.refused(&device(), "submit_window", request, expected);
    }
    let text = window(&clinic, 0x61, 1).to_string();
    let error = clinic
        .ledger
        .submit(&device(), "submit_window", &[text.as_bytes()])
        .unwrap_err();
    assert_eq!(error.field.as_deref(), Some("side"));
    submit(&mut clinic, 0x61, 1);
    clinic.ledger.advance_ms(10_000);
    let taken = window(&clinic, 0x61, 11);
    clinic.refused(&device(), "submit_window", taken, "already-exists record");
}

#[test]
fn only_a_device_that_is_bound_to_the_patient_submits() {
    let mut clinic = Clinic::new();
    let patient = clinic.patient.clone();
    let request = window(&clinic, 0x61, 1);
    clinic.refused(
        &device(),
        "submit_window",
        request.clone(),
        "not-found device",
    );
    clinic.ok(&patient, "bind_device", bind());
    for caller in [
        patient.clone(),
        clinic.author.clone(),
        clinic.officer.clone(),
    ] {
        clinic.refused(&caller, "submit_window", request.clone(), "forbidden");
    }
    let unbound = Caller::new("HospitalA", "device", [8; 32]);
    clinic.refused(
        &unbound,
        "submit_window",
        request.clone(),
        "not-found device",
    );
    let elsewhere = Caller::new("HospitalB", "device", [DEVICE; 32]);
    clinic.refused(
        &elsewhere,
        "submit_window",
        request.clone(),
        "forbidden patient",
    );
    let named = device().with_attribute("patient", &id(OTHER_PATIENT).to_string());
    clinic.refused(
        &named,
        "submit_window",
        request.clone(),
        "forbidden patient",
    );
    let other = Caller::new("HospitalA", "patient", [7; 32])
        .with_attribute("patient", &id(OTHER_PATIENT).to_string());
    let unknown = with(request.clone(), "patient", json!(id(OTHER_PATIENT)));
    clinic.refused(
        &device(),
        "submit_window",
        unknown.clone(),
        "not-found patient",
    );
    clinic.ok(
        &other,
        "register_patient",
        json!({"patient": id(OTHER_PATIENT)}),
    );
    clinic.refused(&device(), "submit_window", unknown, "forbidden patient");
    clinic.ok(&patient, "release_device", bind());
    clinic.refused(
        &device(),
        "submit_window",
        request.clone(),
        "wrong-state device",
    );
    let until = json!(clinic.ledger.time_ms() + 1000);
    clinic.ok(&patient, "bind_device", with(bind(), "until", until));
    clinic.ok(&device(), "submit_window", request);
    clinic.ledger.advance_ms(1000);
    let late = window(&clinic, 0x62, 11);
    clinic.refused(&device(), "submit_window", late, "wrong-state device");
    // A plain record is nothing that a device submits.
    clinic.refused(&device(), "submit_record", submission(1), "forbidden");
}

#[test]
fn a_gap_is_flagged_and_a_replay_or_a_reordering_refused() {
    let mut clinic = ward();
    assert_eq!(names(&submit(&mut clinic, 0x61, 100)), ["record.confirmed"]);
    assert_eq!(names(&submit(&mut clinic, 0x62, 110)), ["record.confirmed"]);
    for first in [100, 110, 119] {
        clinic.ledger.advance_ms(10_000);
        let replayed = window(&clinic, 0x63, first);
        clinic.refused(
            &device(),
            "submit_window",
            replayed,
            "out-of-sequence first",
        );
    }
    let early = json!(clinic.ledger.time_ms() - 40_001);
    let reordered = with(window(&clinic, 0x63, 120), "start", early);
    clinic.refused(
        &device(),
        "submit_window",
        reordered,
        "out-of-sequence start",
    );
    let outcome = submit(&mut clinic, 0x63, 125);
    assert_eq!(names(&outcome), ["record.confirmed", "vital-signs.gap"]);
    let payload: Value = serde_json::from_slice(&outcome.events[1].1).unwrap();
    let ids = json!({
        "patient": id(PATIENT), "record": id(0x63), "device": stela_consent::Hex([DEVICE; 32]),
    });
    assert_eq!(payload, ids);
    clinic.ledger.advance_ms(10_000);
    let thinned = with(window(&clinic, 0x64, 135), "count", json!(8));
    let outcome = clinic.ok(&device(), "submit_window", thinned);
    assert_eq!(names(&outcome), ["record.confirmed", "vital-signs.gap"]);
    let device_status = status(&clinic, &clinic.patient);
    assert_eq!((device_status.windows, device_status.missing), (4, 7));
    assert_eq!(device_status.last, Some(144));
    let record: stela_healthcare::answer::RecordVersion =
        clinic.ask(&clinic.patient, "get_record", json!({"record": id(0x63)}));
    assert_eq!(record.window.unwrap().missing, 5);
}

#[test]
fn a_sequence_goes_on_when_the_device_is_bound_to_another_patient() {
    let mut clinic = ward();
    submit(&mut clinic, 0x61, 1);
    let (patient, author) = (clinic.patient.clone(), clinic.author.clone());
    let other = Caller::new("HospitalA", "patient", [7; 32])
        .with_attribute("patient", &id(OTHER_PATIENT).to_string());
    clinic.ok(
        &other,
        "register_patient",
        json!({"patient": id(OTHER_PATIENT)}),
    );
    let moved = with(bind(), "patient", json!(id(OTHER_PATIENT)));
    clinic.refused(
        &author,
        "release_device",
        moved.clone(),
        "forbidden patient",
    );
    clinic.ok(&patient, "release_device", bind());
    clinic.ok(&author, "bind_device", moved);
    let her = |request: Value| with(request, "patient", json!(id(OTHER_PATIENT)));
    let replayed = her(window(&clinic, 0x62, 1));
    clinic.refused(
        &device(),
        "submit_window",
        replayed,
        "out-of-sequence first",
    );
    clinic.ledger.advance_ms(10_000);
    let next = her(window(&clinic, 0x62, 11));
    clinic.ok(&device(), "submit_window", next);
    let listed = |clinic: &Clinic, caller: &Caller, patient: u8| {
        let request = json!({"patient": id(patient)});
        let page: Page<DeviceStatus> = clinic.ask(caller, "device_status", request);
        page.entries.len()
    };
    assert_eq!(listed(&clinic, &patient, PATIENT), 0);
    assert_eq!(listed(&clinic, &other, OTHER_PATIENT), 1);
}

#[test]
fn an_alert_carries_neither_a_value_nor_a_code() {
    let mut clinic = ward();
    clinic.ledger.advance_ms(10_000);
    let request = with(window(&clinic, 0x61, 1), "alerts", json!(2));
    let outcome = clinic.ok(&device(), "submit_window", request);
    assert_eq!(names(&outcome), ["record.confirmed", "vital-signs.alert"]);
    let payload: Value = serde_json::from_slice(&outcome.events[1].1).unwrap();
    let ids = json!({
        "patient": id(PATIENT), "record": id(0x61), "device": stela_consent::Hex([DEVICE; 32]),
    });
    assert_eq!(payload, ids);
}

#[test]
fn the_state_of_a_device_is_for_those_around_the_patient() {
    let mut clinic = ward();
    submit(&mut clinic, 0x61, 1);
    for caller in [
        &clinic.patient,
        &clinic.author,
        &clinic.officer,
        &clinic.privacy,
        &device(),
    ] {
        let found = status(&clinic, caller);
        assert!(found.bound);
        assert_eq!((found.patient, found.last), (id(PATIENT), Some(10)));
    }
    let request = json!({"device": stela_consent::Hex([DEVICE; 32])});
    for caller in [&clinic.reader, &clinic.stranger] {
        clinic.ask_refused(caller, "device_status", request.clone(), "forbidden");
    }
    let unknown = json!({"device": "00".repeat(32)});
    clinic.ask_refused(&clinic.author, "device_status", unknown, "not-found");
    let both = with(request, "patient", json!(id(PATIENT)));
    for request in [json!({}), both] {
        clinic.ask_refused(&clinic.author, "device_status", request, "invalid-argument");
    }
    let of_patient = json!({"patient": id(PATIENT)});
    clinic.ask_refused(&device(), "device_status", of_patient, "forbidden");
}

//! Erasing records.

use super::support::{CID, Clinic, OTHER_PATIENT, PATIENT, RECORD, access, id, submission, with};
use serde_json::{Value, json};
use stela_guest::{Caller, Conflict};
use stela_healthcare::answer::{
    AuditKind, ChangeKind, Concerned, Erasing, ErasureRequest, Page, RecordChange, RecordSummary,
};
use stela_healthcare::limits::{ERASURE_PROPOSAL_MS, YEAR_MS};
use stela_healthcare::{EraseReason, State};

const OTHER_CID: &str = "bafkreifzjut3te7nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e";

fn named() -> Value {
    json!({"patient": id(PATIENT), "record": id(RECORD)})
}

fn erasure(reason: &str) -> Value {
    json!({"record": id(RECORD), "reason": reason})
}

fn elsewhere() -> Caller {
    Caller::new("HospitalB", "privacy-officer", [0x61; 32])
}

#[track_caller]
fn erase(clinic: &mut Clinic, caller: &Caller, reason: &str) -> bool {
    let outcome = clinic.ok(caller, "erase_record", erasure(reason));
    let erasing: Erasing = serde_json::from_slice(&outcome.payload).unwrap();
    erasing.erased
}

/// One record, erased at the patient's request.
fn erased() -> Clinic {
    let mut clinic = Clinic::with_consent();
    let (patient, privacy) = (clinic.patient.clone(), clinic.privacy.clone());
    clinic.ok(&patient, "request_erasure", named());
    assert!(erase(&mut clinic, &privacy, "patient-request"));
    clinic
}

fn requests(clinic: &Clinic, caller: &Caller) -> Vec<ErasureRequest> {
    let page: Page<ErasureRequest> =
        clinic.ask(caller, "erasures", json!({"patient": id(PATIENT)}));
    page.entries
}

#[test]
fn only_the_patient_asks_for_an_erasure_and_once_at_a_time() {
    let mut clinic = Clinic::with_record();
    let impostor = Caller::new("HospitalC", "patient", [0x99; 32])
        .with_attribute("patient", &id(PATIENT).to_string());
    for caller in [
        clinic.author.clone(),
        clinic.officer.clone(),
        clinic.privacy.clone(),
        clinic.stranger.clone(),
        impostor,
    ] {
        clinic.refused(&caller, "request_erasure", named(), "forbidden patient");
    }
    let patient = clinic.patient.clone();
    let mut refuse = |field: &str, value: Value, expected: &str| {
        let request = with(named(), field, value);
        clinic.refused(&patient, "request_erasure", request, expected);
    };
    refuse("record", json!(id(9)), "not-found record");
    refuse("reason", json!("I want it"), "invalid-argument reason");
    refuse("patient", json!(id(OTHER_PATIENT)), "forbidden patient");
    refuse("note", json!("please"), "invalid-argument note");
    clinic.ledger.advance_ms(1);
    let request = with(named(), "reason", json!("objection"));
    let outcome = clinic.ok(&patient, "request_erasure", request.clone());
    let (name, payload) = &outcome.events[0];
    assert_eq!(name, "erasure.requested");
    let payload: Value = serde_json::from_slice(payload).unwrap();
    assert_eq!(payload, named());
    clinic.refused(
        &patient,
        "request_erasure",
        request,
        "already-exists erasure",
    );
    let last = clinic.trail_end(&patient);
    assert_eq!(last.event, AuditKind::ErasureRequested);
    assert_eq!(last.reason.as_deref(), Some("objection"));
    let waiting = requests(&clinic, &patient);
    assert_eq!(waiting.len(), 1);
    assert!(waiting[0].declined.is_none() && waiting[0].erased.is_none());
    let officer = clinic.privacy.clone();
    let concerned: Concerned = clinic.ask(&officer, "concerns", json!({"record": id(RECORD)}));
    let reasons = serde_json::to_value(concerned.reasons).unwrap();
    assert_eq!(reasons, json!(["erasure"]));
    // What the patient asked for, and the record, stay as they are until somebody decides.
    assert_eq!(clinic.record(&patient, 1).state, State::Active);
}

#[test]
fn a_patient_asks_about_records_about_her_alone() {
    let mut clinic = Clinic::with_record();
    let other = Caller::new("HospitalA", "patient", [7; 32])
        .with_attribute("patient", &id(OTHER_PATIENT).to_string());
    let patient = json!({"patient": id(OTHER_PATIENT)});
    clinic.ok(&other, "register_patient", patient);
    let request = with(named(), "patient", json!(id(OTHER_PATIENT)));
    clinic.refused(
        &other,
        "request_erasure",
        request,
        "invalid-argument patient",
    );
}

#[test]
fn an_erasure_needs_a_privacy_officer_of_the_submitting_organization_and_a_reason_that_holds() {
    let mut clinic = Clinic::with_record();
    let privacy = clinic.privacy.clone();
    for caller in [
        clinic.patient.clone(),
        clinic.author.clone(),
        clinic.officer.clone(),
        Caller::new("HospitalA", "admin", [8; 32]),
    ] {
        for reason in ["patient-request", "retention-over", "unlawful"] {
            clinic.refused(&caller, "erase_record", erasure(reason), "forbidden");
        }
    }
    for reason in ["patient-request", "retention-over"] {
        clinic.refused(
            &elsewhere(),
            "erase_record",
            erasure(reason),
            "forbidden record",
        );
    }
    let mut refuse = |request: Value, expected: &str| {
        clinic.refused(&privacy, "erase_record", request, expected);
    };
    refuse(erasure("patient-request"), "not-found erasure");
    refuse(erasure("retention-over"), "wrong-state reason");
    refuse(erasure("cleaning up"), "invalid-argument reason");
    refuse(
        with(erasure("unlawful"), "record", json!(id(9))),
        "not-found record",
    );
}

#[test]
fn an_erasure_ends_every_version_and_names_their_blobs() {
    let mut clinic = Clinic::with_consent();
    let (patient, privacy, author, officer, reader) = (
        clinic.patient.clone(),
        clinic.privacy.clone(),
        clinic.author.clone(),
        clinic.officer.clone(),
        clinic.reader.clone(),
    );
    let amended = with(submission(2), "cid", json!(OTHER_CID));
    clinic.ok(&author, "amend_record", amended);
    assert_eq!(clinic.decision(&reader, 1, "TREAT"), "permit consent");
    clinic.ok(&patient, "request_erasure", named());
    clinic.ledger.advance_ms(1);
    let outcome = clinic.ok(&privacy, "erase_record", erasure("patient-request"));
    let (name, payload) = &outcome.events[0];
    assert_eq!(name, "record.erased");
    let payload: Value = serde_json::from_slice(payload).unwrap();
    let expected = with(named(), "cids", json!([CID, OTHER_CID]));
    assert_eq!(payload, expected);
    for version in [1, 2] {
        let record = clinic.record(&patient, version);
        assert_eq!(record.state, State::Erased);
        assert!(record.wraps.is_empty());
        let tombstone = record.erased.unwrap();
        assert_eq!(tombstone.by.0, privacy.fingerprint);
        assert_eq!(tombstone.reason, EraseReason::PatientRequest);
        assert_eq!(tombstone.time, clinic.ledger.time_ms());
        let share = with(named(), "version", json!(version));
        clinic.refused(&patient, "share_keys", share, "wrong-state record");
        let review = json!({"record": id(RECORD), "version": version});
        clinic.refused(
            &officer,
            "confirm_record",
            review.clone(),
            "wrong-state record",
        );
        let reject = with(review, "reason", json!("duplicate"));
        clinic.refused(&officer, "reject_record", reject, "wrong-state record");
    }
    clinic.refused(&author, "amend_record", submission(3), "wrong-state record");
    clinic.refused(&patient, "request_erasure", named(), "wrong-state record");
    for reason in ["patient-request", "retention-over", "unlawful"] {
        clinic.refused(
            &privacy,
            "erase_record",
            erasure(reason),
            "wrong-state record",
        );
    }
    let again = with(named(), "reason", json!("legal-hold"));
    clinic.refused(&privacy, "decline_erasure", again, "wrong-state record");
    let newest: Page<RecordChange> =
        clinic.ask(&patient, "record_history", json!({"record": id(RECORD)}));
    assert_eq!(newest.entries[0].event, ChangeKind::Erased);
    assert_eq!(newest.entries[0].by.0, privacy.fingerprint);
    let told = requests(&clinic, &patient);
    assert_eq!(
        told[0].erased.as_ref().unwrap().reason,
        EraseReason::PatientRequest
    );
}

#[test]
fn every_access_after_an_erasure_is_a_committed_deny() {
    let mut clinic = erased();
    let (patient, author, officer, reader) = (
        clinic.patient.clone(),
        clinic.author.clone(),
        clinic.officer.clone(),
        clinic.reader.clone(),
    );
    for (caller, purpose) in [
        (&patient, "PATRQT"),
        (&author, "TREAT"),
        (&officer, "HUAPRV"),
        (&reader, "TREAT"),
        (&reader, "BTG"),
    ] {
        clinic.ledger.advance_ms(1);
        let outcome = clinic.ok(caller, "request_access", access(1, purpose));
        assert_eq!(outcome.events[0].0, "access.denied");
        let last = clinic.trail_end(&patient);
        assert_eq!(last.event, AuditKind::AccessDenied);
        assert_eq!(last.reason.as_deref(), Some("erased"));
        assert_eq!(last.by.unwrap().0, caller.fingerprint);
        assert_eq!(last.transaction.0, outcome.transaction_id);
        let grant = with(named(), "version", json!(1));
        clinic.ask_refused(caller, "read_grant", grant, "forbidden");
    }
}

#[test]
fn an_erasure_ends_permits_that_stand() {
    let mut clinic = Clinic::with_consent();
    let (patient, privacy, reader) = (
        clinic.patient.clone(),
        clinic.privacy.clone(),
        clinic.reader.clone(),
    );
    assert_eq!(clinic.decision(&reader, 1, "TREAT"), "permit consent");
    clinic.ok(&patient, "request_erasure", named());
    let grant = with(named(), "version", json!(1));
    let _: Value = clinic.ask(&reader, "read_grant", grant.clone());
    erase(&mut clinic, &privacy, "patient-request");
    clinic.ask_refused(&reader, "read_grant", grant, "forbidden");
    let record = json!({"record": id(RECORD), "version": 1});
    clinic.ask_refused(&reader, "get_record", record, "forbidden");
    let list = |caller: &Caller| -> Vec<State> {
        let page: Page<RecordSummary> =
            clinic.ask(caller, "list_records", json!({"patient": id(PATIENT)}));
        page.entries.into_iter().map(|entry| entry.state).collect()
    };
    assert!(list(&reader).is_empty());
    assert_eq!(list(&patient), [State::Erased]);
    // She has read it, and is told.
    let concerned: Concerned = clinic.ask(&reader, "concerns", json!({"record": id(RECORD)}));
    let reasons = serde_json::to_value(concerned.reasons).unwrap();
    assert_eq!(reasons, json!(["permit"]));
}

#[test]
fn a_blob_that_another_record_names_is_not_let_go() {
    let mut clinic = Clinic::with_record();
    let (patient, privacy, author) = (
        clinic.patient.clone(),
        clinic.privacy.clone(),
        clinic.author.clone(),
    );
    let same = with(submission(1), "record", json!(id(0x44)));
    clinic.ok(&author, "submit_record", same);
    clinic.ok(&patient, "request_erasure", named());
    let outcome = clinic.ok(&privacy, "erase_record", erasure("patient-request"));
    let payload: Value = serde_json::from_slice(&outcome.events[0].1).unwrap();
    assert_eq!(payload["cids"], json!([]));
}

#[test]
fn a_declined_erasure_says_why_and_may_be_asked_for_again() {
    let mut clinic = Clinic::with_record();
    let (patient, privacy) = (clinic.patient.clone(), clinic.privacy.clone());
    let decline = |reason: &str| with(named(), "reason", json!(reason));
    clinic.refused(
        &privacy,
        "decline_erasure",
        decline("retention"),
        "not-found erasure",
    );
    clinic.ok(&patient, "request_erasure", named());
    for (caller, expected) in [
        (clinic.officer.clone(), "forbidden"),
        (patient.clone(), "forbidden"),
        (elsewhere(), "forbidden record"),
    ] {
        clinic.refused(&caller, "decline_erasure", decline("retention"), expected);
    }
    clinic.refused(
        &privacy,
        "decline_erasure",
        decline("inconvenient"),
        "invalid-argument reason",
    );
    clinic.ledger.advance_ms(1);
    let outcome = clinic.ok(&privacy, "decline_erasure", decline("retention"));
    assert_eq!(outcome.events[0].0, "erasure.declined");
    clinic.refused(
        &privacy,
        "decline_erasure",
        decline("retention"),
        "not-found erasure",
    );
    clinic.refused(
        &privacy,
        "erase_record",
        erasure("patient-request"),
        "not-found erasure",
    );
    let told = requests(&clinic, &patient);
    let declined = serde_json::to_value(told[0].declined.as_ref().unwrap()).unwrap();
    assert_eq!(declined["reason"], "retention");
    assert_eq!(clinic.trail(&patient), clinic.trail(&privacy));
    let last = clinic.trail_end(&patient);
    assert_eq!(last.event, AuditKind::ErasureDeclined);
    clinic.ok(&patient, "request_erasure", named());
    assert!(requests(&clinic, &patient)[0].declined.is_none());
}

#[test]
fn retention_is_counted_from_the_record_and_is_no_pretext_afterwards() {
    let mut clinic = Clinic::with_record();
    clinic.ledger.set_settings(br#"{"retention_years":2}"#);
    let (patient, privacy, author) = (
        clinic.patient.clone(),
        clinic.privacy.clone(),
        clinic.author.clone(),
    );
    // A later version must be kept for longer than the first one.
    clinic.ledger.advance_ms(YEAR_MS);
    let dated = with(
        submission(2),
        "date",
        json!(clinic.ledger.time_ms() - YEAR_MS / 2),
    );
    clinic.ok(&author, "amend_record", dated);
    clinic.ledger.advance_ms(YEAR_MS);
    let over = erasure("retention-over");
    clinic.refused(&privacy, "erase_record", over.clone(), "wrong-state reason");
    clinic.ledger.advance_ms(YEAR_MS / 2 - 1);
    clinic.refused(&privacy, "erase_record", over, "wrong-state reason");
    clinic.ledger.advance_ms(1);
    clinic.ok(&patient, "request_erasure", named());
    let pretext = with(named(), "reason", json!("retention"));
    clinic.refused(&privacy, "decline_erasure", pretext, "wrong-state reason");
    assert!(erase(&mut clinic, &privacy, "retention-over"));
    assert_eq!(clinic.record(&patient, 1).state, State::Erased);
}

#[test]
fn what_is_unlawful_takes_two_organizations() {
    let mut clinic = Clinic::with_record();
    let (privacy, patient) = (clinic.privacy.clone(), clinic.patient.clone());
    clinic.refused(
        &elsewhere(),
        "erase_record",
        erasure("unlawful"),
        "wrong-state reason",
    );
    let outcome = clinic.ok(&privacy, "erase_record", erasure("unlawful"));
    assert_eq!(outcome.events[0].0, "erasure.proposed");
    assert_eq!(clinic.record(&patient, 1).state, State::Active);
    let colleague = Caller::new("HospitalA", "privacy-officer", [0x62; 32]);
    for caller in [&privacy, &colleague] {
        clinic.refused(
            caller,
            "erase_record",
            erasure("unlawful"),
            "already-exists erasure",
        );
    }
    let concerned: Concerned = clinic.ask(&elsewhere(), "concerns", json!({"record": id(RECORD)}));
    let reasons = serde_json::to_value(concerned.reasons).unwrap();
    assert_eq!(reasons, json!(["erasure"]));
    clinic.ledger.advance_ms(1);
    assert!(erase(&mut clinic, &elsewhere(), "unlawful"));
    let tombstone = clinic.record(&patient, 1).erased.unwrap();
    assert_eq!(tombstone.by.0, elsewhere().fingerprint);
    assert_eq!(tombstone.proposed_by.unwrap().0, privacy.fingerprint);
    assert_eq!(clinic.trail_end(&patient).event, AuditKind::Erased);
}

#[test]
fn a_proposal_expires_and_can_be_made_again() {
    let short = br#"{"erasure_proposal_ms":5}"#;
    for (settings, waits_ms) in [(&b""[..], ERASURE_PROPOSAL_MS), (&short[..], 5)] {
        let mut clinic = Clinic::with_record();
        clinic.ledger.set_settings(settings);
        let privacy = clinic.privacy.clone();
        assert!(!erase(&mut clinic, &privacy, "unlawful"));
        clinic.ledger.advance_ms(waits_ms - 1);
        let again = "already-exists erasure";
        clinic.refused(&privacy, "erase_record", erasure("unlawful"), again);
        let argument = erasure("unlawful").to_string();
        let late = clinic
            .ledger
            .endorse(&elsewhere(), "erase_record", &[argument.as_bytes()], &[])
            .unwrap();
        clinic.ledger.advance_ms(1);
        assert_eq!(clinic.ledger.commit(&late), Err(Conflict::Expired));
        let expired = "wrong-state reason";
        clinic.refused(&elsewhere(), "erase_record", erasure("unlawful"), expired);
        let about = json!({"record": id(RECORD)});
        let concerned: Concerned = clinic.ask(&elsewhere(), "concerns", about);
        assert!(concerned.reasons.is_empty());
        assert!(!erase(&mut clinic, &privacy, "unlawful"));
        assert!(erase(&mut clinic, &elsewhere(), "unlawful"));
    }
}

#[test]
fn requests_wait_in_the_list_of_the_organization_that_decides() {
    let mut clinic = Clinic::with_record();
    let (patient, author, privacy) = (
        clinic.patient.clone(),
        clinic.author.clone(),
        clinic.privacy.clone(),
    );
    let records = [RECORD, 0x46, 0x47, 0x48];
    for record in &records[1..] {
        let submitted = with(submission(1), "record", json!(id(*record)));
        clinic.ok(&author, "submit_record", submitted);
    }
    let guest = Caller::new("HospitalB", "practitioner", [5; 32]);
    let there = with(submission(1), "record", json!(id(0x45)));
    clinic.ok(&guest, "submit_record", there);
    let waiting = |clinic: &Clinic, caller: &Caller| -> Vec<u8> {
        let (mut found, mut request) = (Vec::new(), json!({"limit": 2}));
        loop {
            let page: Page<ErasureRequest> = clinic.ask(caller, "erasures", request.clone());
            for one in &page.entries {
                assert_eq!(one.patient, id(PATIENT));
                assert!(one.declined.is_none() && one.erased.is_none());
                found.push(one.record.0[0]);
            }
            match page.bookmark {
                Some(bookmark) => request["bookmark"] = json!(bookmark),
                None => break,
            }
        }
        found.sort_unstable();
        found
    };
    assert!(waiting(&clinic, &privacy).is_empty());
    let about = |record: u8| with(named(), "record", json!(id(record)));
    for record in records.iter().chain(&[0x45]) {
        clinic.ok(&patient, "request_erasure", about(*record));
    }
    assert_eq!(waiting(&clinic, &privacy), records);
    assert_eq!(waiting(&clinic, &elsewhere()), [0x45]);
    let declined = with(about(0x46), "reason", json!("legal-hold"));
    clinic.ok(&privacy, "decline_erasure", declined);
    assert!(erase(&mut clinic, &privacy, "patient-request"));
    let unlawful = with(erasure("unlawful"), "record", json!(id(0x47)));
    clinic.ok(&privacy, "erase_record", unlawful.clone());
    assert_eq!(waiting(&clinic, &privacy), [0x47, 0x48]);
    clinic.ok(&elsewhere(), "erase_record", unlawful);
    assert_eq!(waiting(&clinic, &privacy), [0x48]);
    clinic.ok(&patient, "request_erasure", about(0x46));
    assert_eq!(waiting(&clinic, &privacy), [0x46, 0x48]);
    for caller in [&patient, &clinic.author, &clinic.officer, &clinic.stranger] {
        clinic.ask_refused(caller, "erasures", json!({}), "invalid-argument");
    }
}

#[test]
fn requests_are_shown_to_the_patient_and_to_privacy_officers_whose_they_are() {
    let mut clinic = Clinic::with_record();
    let patient = clinic.patient.clone();
    let guest = Caller::new("HospitalB", "practitioner", [5; 32]);
    let there = with(submission(1), "record", json!(id(0x45)));
    clinic.ok(&guest, "submit_record", there);
    for record in [RECORD, 0x45] {
        let request = with(named(), "record", json!(id(record)));
        clinic.ok(&patient, "request_erasure", request);
    }
    let shown = |caller: &Caller| {
        let requests = requests(&clinic, caller).into_iter();
        requests.map(|r| r.record.0[0]).collect::<Vec<_>>()
    };
    assert_eq!(shown(&patient), [RECORD, 0x45]);
    assert_eq!(shown(&clinic.privacy), [RECORD, 0x45]);
    assert_eq!(shown(&elsewhere()), [0x45]);
    for caller in [&clinic.author, &clinic.officer, &clinic.stranger] {
        let request = json!({"patient": id(PATIENT)});
        clinic.ask_refused(caller, "erasures", request, "forbidden");
    }
}

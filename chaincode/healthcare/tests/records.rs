//! Patients, keys, submission, review, amendment.

use super::support::{CID, Clinic, OTHER_PATIENT, PATIENT, RECORD, id, submission, with};
use serde_json::{Value, json};
use stela_guest::Caller;
use stela_healthcare::answer::{EncryptionKey, Page, RecordChange, RecordSummary};
use stela_healthcare::limits::PUBLIC_KEY_BYTES;
use stela_healthcare::{RejectReason, State};

#[test]
fn a_patient_registers_herself_once() {
    let mut clinic = Clinic::empty();
    let patient = clinic.patient.clone();
    let request = json!({"patient": id(PATIENT)});
    let author = clinic.author.clone();
    clinic.refused(
        &author,
        "register_patient",
        request.clone(),
        "forbidden patient",
    );
    let other = json!({"patient": id(OTHER_PATIENT)});
    clinic.refused(&patient, "register_patient", other, "forbidden patient");
    let impostor = Caller::new("HospitalA", "practitioner", [8; 32])
        .with_attribute("patient", &id(PATIENT).to_string());
    clinic.refused(
        &impostor,
        "register_patient",
        request.clone(),
        "forbidden patient",
    );
    let outcome = clinic.ok(&patient, "register_patient", request.clone());
    assert_eq!(outcome.events[0].0, "patient.registered");
    clinic.refused(
        &patient,
        "register_patient",
        request,
        "already-exists patient",
    );
}

#[test]
fn callers_whom_the_contract_cannot_place_are_refused() {
    let mut clinic = Clinic::new();
    for role in ["", "nurse", "Patient"] {
        let caller = Caller::new("HospitalA", role, [8; 32]);
        clinic.refused(&caller, "submit_record", submission(1), "forbidden");
    }
    let odd = Caller::new("Hospital A/../B", "practitioner", [8; 32]);
    clinic.refused(&odd, "submit_record", submission(1), "forbidden");
    let malformed =
        Caller::new("HospitalA", "patient", [8; 32]).with_attribute("patient", "Jane Doe");
    clinic.refused(&malformed, "submit_record", submission(1), "forbidden");
}

#[test]
fn arguments_are_exactly_what_the_function_takes() {
    let mut clinic = Clinic::new();
    let author = clinic.author.clone();
    let mut check = |field: &str, value: Value, expected: &str| {
        let request = with(submission(1), field, value);
        clinic.refused(&author, "submit_record", request, expected);
    };
    check("note", json!("free text"), "invalid-argument note");
    check("record", json!("ABCDEF"), "invalid-argument record");
    check("record", json!("AB".repeat(16)), "invalid-argument record");
    check("record", Value::Null, "invalid-argument record");
    check("patient", json!(7), "invalid-argument patient");
    check("version", json!(-1), "invalid-argument version");
    check("version", json!(1.5), "invalid-argument version");
    check("version", json!("1"), "invalid-argument version");
    check(
        "cid",
        json!("QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG"),
        "invalid-argument cid",
    );
    check("cid", json!(format!("{CID}/../x")), "invalid-argument cid");
    check("category", json!("diagnosis"), "invalid-argument category");
    check(
        "confidentiality",
        json!("X"),
        "invalid-argument confidentiality",
    );
    check(
        "labels",
        json!(["PSY", "SECRET"]),
        "invalid-argument labels[1]",
    );
    check("header", json!("zz"), "invalid-argument header");
    check("header", json!("00".repeat(257)), "invalid-argument header");
    check("commitment", json!("cd"), "invalid-argument commitment");
    check("version", json!(2), "invalid-argument version");
    check("version", json!(0), "invalid-argument version");
    let mut raw = |arguments: &[&[u8]]| {
        clinic
            .ledger
            .submit(&author, "submit_record", arguments)
            .unwrap_err()
            .code
    };
    assert_eq!(raw(&[]), "invalid-argument");
    assert_eq!(raw(&[b"{}", b"{}"]), "invalid-argument");
    assert_eq!(raw(&[b"[]"]), "invalid-argument");
    assert_eq!(raw(&[b"1"]), "invalid-argument");
    assert_eq!(raw(&[&[0xff; 400_000]]), "invalid-argument");
    assert_eq!(raw(&["[".repeat(200_000).as_bytes()]), "invalid-argument");
    clinic.refused(&author, "drop_everything", json!({}), "unknown-function");
}

#[test]
fn a_record_is_submitted_by_those_who_write_records() {
    let mut clinic = Clinic::new();
    for role in ["researcher", "privacy-officer", "admin", "peer", "client"] {
        let caller = Caller::new("HospitalA", role, [8; 32]);
        clinic.refused(&caller, "submit_record", submission(1), "forbidden");
    }
    let bound = |role: &str, patient: u8| {
        Caller::new("HospitalA", role, [9; 32]).with_attribute("patient", &id(patient).to_string())
    };
    clinic.refused(
        &bound("patient", OTHER_PATIENT),
        "submit_record",
        submission(1),
        "forbidden patient",
    );
    let device = bound("device", PATIENT);
    clinic.refused(&device, "submit_record", submission(1), "forbidden");
    let practitioner = clinic.author.clone();
    clinic.ok(&practitioner, "submit_record", submission(1));
    let own = with(submission(1), "record", json!(id(0x22)));
    let patient = clinic.patient.clone();
    clinic.ok(&patient, "submit_record", own);
    let author = clinic.author.clone();
    clinic.refused(
        &author,
        "submit_record",
        submission(1),
        "already-exists record",
    );
    let unknown = with(
        with(submission(1), "patient", json!(id(OTHER_PATIENT))),
        "record",
        json!(id(0x23)),
    );
    clinic.refused(&author, "submit_record", unknown, "not-found patient");
}

#[test]
fn a_submission_carries_exactly_one_list_of_wrapped_keys() {
    let mut clinic = Clinic::new();
    let author = clinic.author.clone();
    let argument = submission(1).to_string();
    for side in [&[][..], &[[1; 32], [2; 32]][..]] {
        let error = clinic
            .ledger
            .submit_with_side(&author, "submit_record", &[argument.as_bytes()], side)
            .unwrap_err();
        assert_eq!(error.field.as_deref(), Some("side"));
    }
}

#[test]
fn a_submitted_record_is_stored_as_it_was_signed() {
    let mut clinic = Clinic::new();
    let author = clinic.author.clone();
    let request = with(submission(1), "labels", json!(["PSY"]));
    let outcome = clinic.ok(&author, "submit_record", request.clone());
    let argument = request.to_string().into_bytes();
    assert!(
        outcome
            .writes
            .values()
            .any(|value| value.as_ref() == Some(&argument))
    );
    let (name, payload) = &outcome.events[0];
    assert_eq!(name, "record.submitted");
    let payload: Value = serde_json::from_slice(payload).unwrap();
    assert_eq!(
        payload,
        json!({"patient": id(PATIENT), "record": id(RECORD), "version": 1})
    );
    let record = clinic.record(&author, 1);
    assert_eq!(
        (record.state, record.latest, record.wraps.len()),
        (State::Pending, 1, 1)
    );
    assert_eq!(record.cid.as_str(), CID);
}

#[test]
fn a_review_is_by_another_officer_of_the_same_organization_and_final() {
    let mut clinic = Clinic::with_pending();
    let request = json!({"record": id(RECORD), "version": 1});
    for caller in [
        clinic.author.clone(),
        clinic.patient.clone(),
        clinic.privacy.clone(),
    ] {
        clinic.refused(&caller, "confirm_record", request.clone(), "forbidden");
    }
    let elsewhere = Caller::new("HospitalB", "records-officer", [8; 32]);
    clinic.refused(
        &elsewhere,
        "confirm_record",
        request.clone(),
        "forbidden record",
    );
    let missing = json!({"record": id(RECORD), "version": 2});
    let officer = clinic.officer.clone();
    clinic.refused(&officer, "confirm_record", missing, "not-found version");
    let outcome = clinic.ok(&officer, "confirm_record", request.clone());
    let (name, payload) = &outcome.events[0];
    assert_eq!(name, "record.confirmed");
    assert!(String::from_utf8_lossy(payload).contains(CID));
    clinic.refused(
        &officer,
        "confirm_record",
        request.clone(),
        "wrong-state version",
    );
    let reject = with(request, "reason", json!("duplicate"));
    clinic.refused(&officer, "reject_record", reject, "wrong-state version");
}

#[test]
fn nobody_reviews_their_own_record() {
    let mut clinic = Clinic::new();
    let officer = clinic.officer.clone();
    clinic.ok(&officer, "submit_record", submission(1));
    let request = json!({"record": id(RECORD), "version": 1});
    clinic.refused(
        &officer,
        "confirm_record",
        request.clone(),
        "forbidden record",
    );
    let reject = with(request.clone(), "reason", json!("duplicate"));
    clinic.refused(&officer, "reject_record", reject, "forbidden record");
    let colleague = Caller::new("HospitalA", "records-officer", [8; 32]);
    clinic.ok(&colleague, "confirm_record", request);
}

#[test]
fn a_rejection_has_a_reason_code_and_an_amendment_may_follow() {
    let mut clinic = Clinic::with_pending();
    let (officer, author) = (clinic.officer.clone(), clinic.author.clone());
    let reject = |reason: &str| json!({"record": id(RECORD), "version": 1, "reason": reason});
    clinic.refused(
        &officer,
        "reject_record",
        reject("I do not like it"),
        "invalid-argument reason",
    );
    clinic.refused(&author, "amend_record", submission(2), "wrong-state");
    let outcome = clinic.ok(&officer, "reject_record", reject("wrong-labels"));
    assert_eq!(outcome.events[0].0, "record.rejected");
    let record = clinic.record(&author, 1);
    assert_eq!(
        (record.state, record.reason),
        (State::Rejected, Some(RejectReason::WrongLabels))
    );
    clinic.ok(&author, "amend_record", submission(2));
    clinic.confirm(2);
    assert_eq!(clinic.record(&author, 1).replaced_by, None);
    assert_eq!(clinic.record(&author, 2).state, State::Active);
}

#[test]
fn an_amendment_leaves_the_old_version_intact() {
    let mut clinic = Clinic::with_record();
    let author = clinic.author.clone();
    let before = clinic.record(&author, 1);
    let amended = with(submission(2), "commitment", json!("ef".repeat(32)));
    for version in [1, 3] {
        let wrong = with(amended.clone(), "version", json!(version));
        clinic.refused(&author, "amend_record", wrong, "invalid-argument version");
    }
    let elsewhere = clinic.reader.clone();
    clinic.refused(
        &elsewhere,
        "amend_record",
        amended.clone(),
        "forbidden record",
    );
    clinic.ok(&author, "amend_record", amended);
    // Until it is confirmed, the amendment replaces nothing.
    assert_eq!(clinic.record(&author, 1).replaced_by, None);
    clinic.confirm(2);
    let mut after = clinic.record(&author, 1);
    assert_eq!((after.replaced_by, after.latest), (Some(2), 2));
    assert_eq!(after.state, State::Active);
    (after.replaced_by, after.latest) = (None, 1);
    assert_eq!(before, after);
    let newest: stela_healthcare::answer::RecordVersion =
        clinic.ask(&author, "get_record", json!({"record": id(RECORD)}));
    assert_eq!(newest.version, 2);
}

#[test]
fn an_amendment_cannot_move_a_record_to_another_patient() {
    let mut clinic = Clinic::with_record();
    let other = Caller::new("HospitalA", "patient", [7; 32])
        .with_attribute("patient", &id(OTHER_PATIENT).to_string());
    clinic.ok(
        &other,
        "register_patient",
        json!({"patient": id(OTHER_PATIENT)}),
    );
    let author = clinic.author.clone();
    let moved = with(submission(2), "patient", json!(id(OTHER_PATIENT)));
    clinic.refused(&author, "amend_record", moved, "invalid-argument patient");
}

#[test]
fn metadata_is_for_those_who_answer_for_the_record() {
    let clinic = Clinic::with_pending();
    for caller in [
        &clinic.patient,
        &clinic.author,
        &clinic.officer,
        &clinic.privacy,
    ] {
        clinic.record(caller, 1);
    }
    let request = json!({"record": id(RECORD), "version": 1});
    for caller in [
        &clinic.reader,
        &clinic.stranger,
        &Caller::new("HospitalA", "practitioner", [8; 32]),
        &Caller::new("HospitalB", "records-officer", [8; 32]),
        &Caller::new("HospitalA", "admin", [8; 32]),
    ] {
        clinic.ask_refused(caller, "get_record", request.clone(), "forbidden");
    }
    clinic.ask_refused(
        &clinic.patient,
        "get_record",
        json!({"record": id(9)}),
        "not-found",
    );
}

#[test]
fn the_history_of_a_record_is_told_in_pages_to_those_who_answer_for_it() {
    let mut clinic = Clinic::with_record();
    let (author, officer) = (clinic.author.clone(), clinic.officer.clone());
    clinic.ok(&author, "amend_record", submission(2));
    clinic.confirm(2);
    let record = json!({"record": id(RECORD)});
    let pages = |clinic: &Clinic, caller: &Caller, limit: u32| {
        let (mut changes, mut bookmark) = (Vec::new(), None::<String>);
        loop {
            let mut request = with(record.clone(), "limit", json!(limit));
            if let Some(bookmark) = bookmark {
                request = with(request, "bookmark", json!(bookmark));
            }
            let page: Page<RecordChange> = clinic.ask(caller, "record_history", request);
            changes.extend(page.entries);
            bookmark = page.bookmark;
            if bookmark.is_none() {
                return changes;
            }
        }
    };
    let all = pages(&clinic, &author, 50);
    let versions: Vec<_> = all.iter().map(|c| (c.latest, c.active)).collect();
    assert_eq!(
        versions,
        [(2, Some(2)), (2, Some(1)), (1, Some(1)), (1, None)]
    );
    assert!(all.is_sorted_by(|newer, older| newer.block > older.block));
    for limit in 1..6 {
        assert_eq!(pages(&clinic, &clinic.patient, limit), all, "{limit}");
    }
    assert_eq!(pages(&clinic, &officer, 50), all);
    for other in [&clinic.reader, &clinic.stranger] {
        clinic.ask_refused(other, "record_history", record.clone(), "forbidden");
    }
    let unknown = json!({"record": id(0x77)});
    clinic.ask_refused(&author, "record_history", unknown, "not-found");
    for bookmark in ["", "00", "0011223344556677", &"0".repeat(26), "zz"] {
        let request = with(record.clone(), "bookmark", json!(bookmark));
        clinic.ask_refused(&author, "record_history", request, "invalid-argument");
    }
    clinic.refused(&author, "record_history", record, "evaluate-only");
}

#[test]
fn lists_come_in_pages_and_show_what_the_caller_may_see() {
    let mut clinic = Clinic::with_record();
    let author = clinic.author.clone();
    for n in 0..5 {
        let more = with(submission(1), "record", json!(id(0x40 + n)));
        clinic.ok(&author, "submit_record", more);
    }
    let list = |caller: &Caller, extra: Value| -> Page<RecordSummary> {
        let mut request = json!({"patient": id(PATIENT)});
        request
            .as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        clinic.ask(caller, "list_records", request)
    };
    assert_eq!(list(&clinic.patient, json!({})).entries.len(), 6);
    let mut seen = Vec::new();
    let mut bookmark = None;
    loop {
        let page = list(
            &clinic.patient,
            match &bookmark {
                None => json!({"limit": 4}),
                Some(bookmark) => json!({"limit": 4, "bookmark": bookmark}),
            },
        );
        seen.extend(page.entries.into_iter().map(|entry| entry.record));
        bookmark = page.bookmark;
        if bookmark.is_none() {
            break;
        }
    }
    seen.dedup();
    assert_eq!(seen.len(), 6);
    assert!(list(&clinic.reader, json!({})).entries.is_empty());
    let request = |extra: (&str, Value)| with(json!({"patient": id(PATIENT)}), extra.0, extra.1);
    for bad in [
        ("limit", json!(0)),
        ("limit", json!(201)),
        ("bookmark", json!("zz")),
        ("bookmark", json!("00")),
        ("bookmark", json!("61".repeat(300))),
    ] {
        clinic.ask_refused(
            &clinic.patient,
            "list_records",
            request(bad),
            "invalid-argument",
        );
    }
}

#[test]
fn a_consent_shows_the_active_versions_that_it_opens() {
    let mut clinic = Clinic::with_consent();
    let author = clinic.author.clone();
    clinic.ok(&author, "amend_record", submission(2));
    let pending = with(submission(1), "record", json!(id(0x40)));
    clinic.ok(&author, "submit_record", pending);
    let list = |caller: &Caller, purpose: &str| -> Vec<u32> {
        let request = json!({"patient": id(PATIENT), "purpose": purpose});
        let page: Page<RecordSummary> = clinic.ask(caller, "list_records", request);
        page.entries
            .into_iter()
            .map(|entry| entry.version)
            .collect()
    };
    assert_eq!(list(&clinic.reader, "TREAT"), [1]);
    assert!(list(&clinic.reader, "HRESCH").is_empty());
    assert!(list(&clinic.stranger, "TREAT").is_empty());
    assert_eq!(list(&clinic.author, "TREAT"), [2, 1]);
}

#[test]
fn encryption_keys_are_published_by_their_owners() {
    let mut clinic = Clinic::new();
    let key = |byte: u8| data_encoding::BASE64.encode(&[byte; PUBLIC_KEY_BYTES]);
    let (reader, patient) = (clinic.reader.clone(), clinic.patient.clone());
    let register = |key: String| json!({"key": key});
    let short = data_encoding::BASE64.encode(&[1; PUBLIC_KEY_BYTES - 1]);
    clinic.refused(
        &reader,
        "register_encryption_key",
        register(short),
        "invalid-argument key",
    );
    let named = json!({"key": key(1), "name": "Jane"});
    clinic.refused(
        &reader,
        "register_encryption_key",
        named,
        "invalid-argument name",
    );
    clinic.ok(&reader, "register_encryption_key", register(key(1)));
    clinic.ok(&patient, "register_encryption_key", register(key(2)));
    let colleague = Caller::new("HospitalB", "practitioner", [8; 32]);
    clinic.ok(&colleague, "register_encryption_key", register(key(3)));
    let unregistered = Caller::new("HospitalA", "patient", [7; 32])
        .with_attribute("patient", &id(OTHER_PATIENT).to_string());
    clinic.refused(
        &unregistered,
        "register_encryption_key",
        register(key(5)),
        "not-found patient",
    );
    let unbound = Caller::new("HospitalA", "patient", [7; 32]);
    clinic.refused(
        &unbound,
        "register_encryption_key",
        register(key(5)),
        "forbidden",
    );
    // A later key replaces the earlier one.
    clinic.ok(&colleague, "register_encryption_key", register(key(4)));
    let find = |request: Value| -> Vec<(u8, String)> {
        let page: Page<EncryptionKey> = clinic.ask(&clinic.author, "encryption_keys", request);
        page.entries
            .into_iter()
            .map(|entry| (entry.fingerprint.0[0], entry.key.as_str()[..4].to_owned()))
            .collect()
    };
    let start = |byte: u8| key(byte)[..4].to_owned();
    assert_eq!(
        find(json!({"fingerprint": "05".repeat(32)})),
        [(5, start(1))]
    );
    assert_eq!(find(json!({"fingerprint": "77".repeat(32)})), []);
    assert_eq!(
        find(json!({"organization": "HospitalB", "role": "practitioner"})),
        [(5, start(1)), (8, start(4))]
    );
    assert_eq!(
        find(json!({"organization": "HospitalB", "role": "device"})),
        []
    );
    assert_eq!(find(json!({"patient": id(PATIENT)})), [(1, start(2))]);
    for bad in [
        json!({}),
        json!({"organization": "HospitalB"}),
        json!({"patient": id(PATIENT), "fingerprint": "05".repeat(32)}),
    ] {
        clinic.ask_refused(&clinic.author, "encryption_keys", bad, "invalid-argument");
    }
}

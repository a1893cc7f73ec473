//! Research studies: who runs them, who takes part, and what they are told.

use super::support::{
    CONSENT, Clinic, HOUR_MS, OTHER_PATIENT, PATIENT, RECORD, id, submission, with,
};
use serde_json::{Value, json};
use stela_guest::{Caller, Conflict};
use stela_healthcare::answer::{
    AuditKind, Cohort, Page, ReadGrant, RecordSummary, RecordVersion, Study, StudyRecord,
};

const STUDY: u8 = 0x71;
const PSEUDONYM: u8 = 0x81;

fn sponsor() -> Caller {
    Caller::new("InstituteD", "privacy-officer", [0x41; 32])
}

fn researcher() -> Caller {
    Caller::new("InstituteD", "researcher", [0x42; 32])
}

fn terms(clinic: &Clinic) -> Value {
    json!({
        "study": id(STUDY),
        "purposes": ["DSRCH", "CLINTRCH"],
        "ceiling": "N",
        "end": clinic.ledger.time_ms() + 1000 * HOUR_MS,
        "approval": "ee".repeat(32),
    })
}

fn of_study() -> Value {
    json!({"study": id(STUDY)})
}

fn by_id() -> Value {
    let herself = stela_consent::Hex(researcher().fingerprint);
    json!({"study": id(STUDY), "researcher": {"id": herself}})
}

fn enrolment(pseudonym: u8) -> Value {
    json!({"study": id(STUDY), "pseudonym": id(pseudonym)})
}

fn to_study(research: &str) -> Value {
    json!({
        "scope": "research", "research": research,
        "type": "permit", "actor": {"study": id(STUDY)}, "purpose": ["DSRCH"],
    })
}

fn for_study(pseudonym: u8) -> Value {
    json!({
        "patient": id(pseudonym), "record": id(RECORD), "version": 1,
        "purpose": "DSRCH", "study": id(STUDY),
    })
}

/// A study with one investigator, and a record of a patient who takes no part.
fn institute(terms: Option<Value>) -> Clinic {
    let mut clinic = Clinic::with_record();
    let terms = terms.unwrap_or_else(|| self::terms(&clinic));
    clinic.ok(&sponsor(), "register_study", terms);
    clinic.ok(&sponsor(), "add_investigator", by_id());
    clinic
}

/// She takes part under a consent.
fn enrolled(research: &str) -> Clinic {
    let mut clinic = institute(None);
    let patient = clinic.patient.clone();
    clinic.ok(&patient, "enrol", enrolment(PSEUDONYM));
    clinic.grant(CONSENT, to_study(research));
    clinic
}

/// `permit`, or the reason to deny, which must have left its audit entry.
#[track_caller]
fn decision(clinic: &mut Clinic, caller: &Caller, request: Value) -> String {
    clinic.ledger.advance_ms(1);
    let outcome = clinic.ok(caller, "request_access", request);
    let answer: Value = serde_json::from_slice(&outcome.payload).unwrap();
    let last = clinic.trail_end(&clinic.privacy);
    assert_eq!(last.transaction.0, outcome.transaction_id);
    assert_eq!(last.study, Some(id(STUDY)));
    let text = |field: &str| answer[field].as_str().unwrap().to_owned();
    match text("decision").as_str() {
        "permit" => {
            assert_eq!(last.event, AuditKind::AccessPermitted);
            text("decision")
        }
        _ => {
            assert_eq!(last.event, AuditKind::AccessDenied);
            assert_eq!(last.reason, Some(text("reason")));
            let (function, note) = outcome.on_absence.unwrap();
            assert_eq!(function, "note_denied_access");
            let note: Value = serde_json::from_slice(&note).unwrap();
            assert_eq!(note["study"], json!(id(STUDY)));
            text("reason")
        }
    }
}

fn records(clinic: &Clinic) -> Vec<StudyRecord> {
    let page: Page<StudyRecord> = clinic.ask(&researcher(), "study_records", of_study());
    page.entries
}

#[test]
fn a_study_is_registered_with_terms_that_hold() {
    let mut clinic = Clinic::new();
    let good = terms(&clinic);
    for caller in [
        researcher(),
        clinic.patient.clone(),
        clinic.officer.clone(),
        Caller::new("InstituteD", "admin", [8; 32]),
    ] {
        clinic.refused(&caller, "register_study", good.clone(), "forbidden");
    }
    for (field, value, expected) in [
        ("purposes", json!([]), "invalid-argument purposes"),
        (
            "purposes",
            json!(["DSRCH", "TREAT"]),
            "invalid-argument purposes",
        ),
        (
            "purposes",
            json!(vec!["DSRCH"; 25]),
            "invalid-argument purposes",
        ),
        ("purposes", json!(["CURE"]), "invalid-argument purposes[0]"),
        ("ceiling", json!("X"), "invalid-argument ceiling"),
        ("labels", json!(["X"]), "invalid-argument labels[0]"),
        ("labels", json!(vec!["PSY"; 25]), "invalid-argument labels"),
        ("categories", json!(["x"]), "invalid-argument categories[0]"),
        (
            "end",
            json!(clinic.ledger.time_ms()),
            "invalid-argument end",
        ),
        ("approval", json!("ee"), "invalid-argument approval"),
        ("floor", json!(9), "invalid-argument floor"),
        ("title", json!("On diabetes"), "invalid-argument title"),
    ] {
        let request = with(good.clone(), field, value);
        clinic.refused(&sponsor(), "register_study", request, expected);
    }
    let outcome = clinic.ok(&sponsor(), "register_study", good.clone());
    assert_eq!(outcome.events[0].0, "study.registered");
    clinic.refused(&sponsor(), "register_study", good, "already-exists study");
    let study: Study = clinic.ask(&clinic.patient, "get_study", of_study());
    assert_eq!(study.organization.as_str(), "InstituteD");
    assert_eq!((study.ended, study.investigators.len()), (None, 0));
    let unknown = json!({"study": id(9)});
    clinic.ask_refused(&clinic.patient, "get_study", unknown, "not-found");
}

#[test]
fn the_sponsor_says_who_investigates() {
    let mut clinic = institute(None);
    let by_role = json!({
        "study": id(STUDY), "researcher": {"org": "HospitalB", "role": "researcher"},
    });
    for caller in [
        researcher(),
        clinic.privacy.clone(),
        Caller::new("InstituteD", "records-officer", [8; 32]),
    ] {
        for function in ["add_investigator", "remove_investigator"] {
            clinic.refused(&caller, function, by_role.clone(), "forbidden study");
        }
        clinic.refused(&caller, "end_study", of_study(), "forbidden study");
    }
    for (researcher, expected) in [
        (json!({"org": "HospitalB"}), "invalid-argument researcher"),
        (json!({"study": id(STUDY)}), "invalid-argument researcher"),
        (
            json!({"org": "HospitalB", "role": "patient"}),
            "invalid-argument researcher",
        ),
        (
            json!({"org": "HospitalB", "role": "boss"}),
            "invalid-argument researcher.role",
        ),
        (by_id()["researcher"].clone(), "already-exists researcher"),
    ] {
        let request = with(by_id(), "researcher", researcher);
        clinic.refused(&sponsor(), "add_investigator", request, expected);
    }
    let unknown = with(by_id(), "study", json!(id(9)));
    clinic.refused(&sponsor(), "add_investigator", unknown, "not-found study");
    clinic.refused(
        &sponsor(),
        "remove_investigator",
        by_role.clone(),
        "not-found researcher",
    );
    clinic.ok(&sponsor(), "add_investigator", by_role.clone());
    let study: Study = clinic.ask(&researcher(), "get_study", of_study());
    assert_eq!(
        serde_json::to_value(study.investigators).unwrap(),
        json!([by_id()["researcher"], by_role["researcher"]])
    );
    let elsewhere = Caller::new("HospitalB", "researcher", [8; 32]);
    clinic.ok(&clinic.patient.clone(), "enrol", enrolment(PSEUDONYM));
    clinic.grant(CONSENT, to_study("RSDID"));
    assert_eq!(
        decision(&mut clinic, &elsewhere, for_study(PSEUDONYM)),
        "permit"
    );
    clinic.ok(&sponsor(), "remove_investigator", by_role);
    assert_eq!(
        decision(&mut clinic, &elsewhere, for_study(PSEUDONYM)),
        "not-investigator"
    );
}

#[test]
fn a_patient_joins_under_a_pseudonym_of_her_own_and_leaves() {
    let mut clinic = institute(None);
    let patient = clinic.patient.clone();
    let other = Caller::new("HospitalA", "patient", [7; 32])
        .with_attribute("patient", &id(OTHER_PATIENT).to_string());
    clinic.refused(&other, "enrol", enrolment(PSEUDONYM), "not-found patient");
    clinic.ok(
        &other,
        "register_patient",
        json!({"patient": id(OTHER_PATIENT)}),
    );
    for caller in [clinic.author.clone(), researcher(), sponsor()] {
        clinic.refused(&caller, "enrol", enrolment(PSEUDONYM), "forbidden");
        clinic.refused(&caller, "withdraw_from_study", of_study(), "forbidden");
    }
    clinic.refused(
        &patient,
        "enrol",
        enrolment(PATIENT),
        "invalid-argument pseudonym",
    );
    let unknown = with(enrolment(PSEUDONYM), "study", json!(id(9)));
    clinic.refused(&patient, "enrol", unknown, "not-found study");
    clinic.refused(
        &patient,
        "withdraw_from_study",
        of_study(),
        "wrong-state study",
    );
    let outcome = clinic.ok(&patient, "enrol", enrolment(PSEUDONYM));
    let (name, payload) = &outcome.events[0];
    assert_eq!(name, "study.enrolled");
    let payload: Value = serde_json::from_slice(payload).unwrap();
    assert_eq!(payload, of_study());
    let last = clinic.trail_end(&patient);
    assert_eq!(
        (last.event, last.study),
        (AuditKind::StudyJoined, Some(id(STUDY)))
    );
    for (caller, own) in [
        (&patient, Some(id(PSEUDONYM))),
        (&other, None),
        (&sponsor(), None),
    ] {
        let study: Study = clinic.ask(caller, "get_study", of_study());
        assert_eq!(study.pseudonym, own);
    }
    clinic.refused(
        &patient,
        "enrol",
        enrolment(PSEUDONYM + 1),
        "already-exists study",
    );
    clinic.refused(
        &other,
        "enrol",
        enrolment(PSEUDONYM),
        "already-exists pseudonym",
    );
    let outcome = clinic.ok(&patient, "withdraw_from_study", of_study());
    assert_eq!(outcome.events[0].0, "study.withdrawn");
    // Nobody gets a name that was somebody's.
    for caller in [&patient, &other] {
        clinic.refused(
            caller,
            "enrol",
            enrolment(PSEUDONYM),
            "already-exists pseudonym",
        );
    }
    clinic.ok(&patient, "enrol", enrolment(PSEUDONYM + 1));
}

fn daughter() -> Caller {
    Caller::new("HospitalB", "patient", [0xd1; 32])
        .with_attribute("patient", &id(OTHER_PATIENT).to_string())
}

/// What the daughter, her delegate, asks for her.
fn for_her(request: Value) -> Value {
    with(request, "patient", json!(id(PATIENT)))
}

fn naming(clinic: &Clinic, scope: Value) -> Value {
    json!({
        "patient": id(PATIENT), "delegation": id(0x41), "kind": "HPOWATT", "scope": scope,
        "delegate": stela_consent::Hex(daughter().fingerprint),
        "until": clinic.ledger.time_ms() + HOUR_MS,
    })
}

#[test]
fn a_delegate_for_consent_joins_and_leaves_for_her() {
    let mut clinic = institute(None);
    let patient = clinic.patient.clone();
    let join = for_her(enrolment(PSEUDONYM));
    let leave = for_her(of_study());
    for function in ["enrol", "withdraw_from_study"] {
        let request = if function == "enrol" { &join } else { &leave };
        clinic.refused(&daughter(), function, request.clone(), "forbidden patient");
        let author = clinic.author.clone();
        clinic.refused(&author, function, request.clone(), "forbidden patient");
    }
    let reads = naming(&clinic, json!(["read", "rights"]));
    clinic.ok(&patient, "name_delegate", reads.clone());
    let beyond = "forbidden delegation.scope";
    clinic.refused(&daughter(), "enrol", join.clone(), beyond);
    clinic.ask_refused(&daughter(), "get_study", leave.clone(), "forbidden");
    let mut consents = naming(&clinic, json!(["consent"]));
    consents["delegation"] = json!(id(0x42));
    clinic.ok(&patient, "name_delegate", consents);
    let until = clinic.ledger.time_ms() + HOUR_MS;
    clinic.ledger.advance_ms(1);
    let outcome = clinic.ok(&daughter(), "enrol", join.clone());
    assert_eq!(outcome.events[0].0, "study.enrolled");
    assert_eq!(outcome.expires_at_ms, Some(until));
    let last = clinic.trail_end(&patient);
    assert_eq!(
        (last.event, last.study, last.delegation),
        (AuditKind::StudyJoined, Some(id(STUDY)), Some(id(0x42)))
    );
    assert_eq!(last.by.unwrap().0, daughter().fingerprint);
    for (caller, request, name) in [
        (&patient, of_study(), Some(id(PSEUDONYM))),
        (&patient, leave.clone(), Some(id(PSEUDONYM))),
        (&daughter(), leave.clone(), Some(id(PSEUDONYM))),
        (&daughter(), of_study(), None),
    ] {
        let study: Study = clinic.ask(caller, "get_study", request);
        assert_eq!(study.pseudonym, name);
    }
    for caller in [&researcher(), &sponsor(), &clinic.author] {
        clinic.ask_refused(caller, "get_study", leave.clone(), "forbidden");
    }
    let consent = with(to_study("RSDID"), "id", json!(id(CONSENT)));
    let granted = json!({"patient": id(PATIENT), "consent": consent});
    clinic.ok(&daughter(), "grant_consent_for", granted);
    let asked = for_study(PSEUDONYM);
    assert_eq!(
        decision(&mut clinic, &researcher(), asked.clone()),
        "permit"
    );
    clinic.refused(
        &daughter(),
        "enrol",
        for_her(enrolment(9)),
        "already-exists study",
    );
    clinic.ledger.advance_ms(1);
    let outcome = clinic.ok(&daughter(), "withdraw_from_study", leave.clone());
    assert_eq!(outcome.expires_at_ms, Some(until));
    let last = clinic.trail_end(&patient);
    assert_eq!(
        (last.event, last.delegation),
        (AuditKind::StudyLeft, Some(id(0x42)))
    );
    assert_eq!(decision(&mut clinic, &researcher(), asked), "not-enrolled");
    clinic.ledger.advance_ms(HOUR_MS);
    let over = "forbidden delegation.until";
    clinic.refused(&daughter(), "enrol", for_her(enrolment(9)), over);
}

#[test]
fn a_delegate_who_investigates_decides_nothing_about_her_part() {
    let mut clinic = institute(None);
    let patient = clinic.patient.clone();
    let mut consents = naming(&clinic, json!(["consent"]));
    consents["delegate"] = json!(stela_consent::Hex(researcher().fingerprint));
    clinic.ok(&patient, "name_delegate", consents);
    let join = for_her(enrolment(PSEUDONYM));
    clinic.refused(&researcher(), "enrol", join.clone(), "forbidden study");
    clinic.ok(&patient, "enrol", join.clone());
    let leave = for_her(of_study());
    let function = "withdraw_from_study";
    clinic.refused(&researcher(), function, leave.clone(), "forbidden study");
    clinic.ok(&sponsor(), "remove_investigator", by_id());
    clinic.ok(&researcher(), function, leave);
}

#[test]
fn a_study_reads_what_consent_enrolment_and_terms_open() {
    let mut clinic = institute(None);
    let patient = clinic.patient.clone();
    let reader = researcher();
    let asked = for_study(PSEUDONYM);
    assert_eq!(
        decision(&mut clinic, &reader, asked.clone()),
        "not-enrolled"
    );
    clinic.ok(&patient, "enrol", enrolment(PSEUDONYM));
    assert_eq!(decision(&mut clinic, &reader, asked.clone()), "no-consent");
    clinic.grant(CONSENT, to_study("RSDID"));
    assert_eq!(decision(&mut clinic, &reader, asked.clone()), "permit");
    // Her id is no name for her in a study.
    assert_eq!(
        decision(&mut clinic, &reader, for_study(PATIENT)),
        "not-enrolled"
    );
    let treat = with(asked.clone(), "purpose", json!("TREAT"));
    assert_eq!(decision(&mut clinic, &reader, treat), "study-purpose");
    let clinical = with(asked.clone(), "purpose", json!("CLINTRCH"));
    assert_eq!(decision(&mut clinic, &reader, clinical), "purpose");
    let stranger = clinic.stranger.clone();
    assert_eq!(
        decision(&mut clinic, &stranger, asked.clone()),
        "not-investigator"
    );
    let unknown = with(asked.clone(), "study", json!(id(9)));
    clinic.refused(&reader, "request_access", unknown, "not-found study");
    let unknown = with(asked.clone(), "record", json!(id(9)));
    clinic.refused(&reader, "request_access", unknown, "not-found record");
    // Without the study, the consent for it opens nothing.
    let plain = json!({
        "patient": id(PATIENT), "record": id(RECORD), "version": 1, "purpose": "DSRCH",
    });
    let outcome = clinic.ok(&reader, "request_access", plain);
    let answer: Value = serde_json::from_slice(&outcome.payload).unwrap();
    assert_eq!(answer["decision"], "deny");
    clinic.ok(&patient, "withdraw_from_study", of_study());
    assert_eq!(
        decision(&mut clinic, &reader, asked.clone()),
        "not-enrolled"
    );
    clinic.ok(&patient, "enrol", enrolment(PSEUDONYM + 1));
    clinic.revoke(CONSENT);
    assert_eq!(
        decision(&mut clinic, &reader, for_study(PSEUDONYM + 1)),
        "revoked"
    );
}

#[test]
fn a_study_does_not_reach_beyond_its_terms() {
    let probe = Clinic::new();
    let good = terms(&probe);
    for (field, value, expected) in [
        ("ceiling", json!("M"), "study-scope"),
        ("categories", json!(["laboratory"]), "study-scope"),
        ("categories", json!(["patient-summary"]), "permit"),
    ] {
        let mut clinic = institute(Some(with(good.clone(), field, value)));
        let patient = clinic.patient.clone();
        clinic.ok(&patient, "enrol", enrolment(PSEUDONYM));
        clinic.grant(CONSENT, to_study("RSDID"));
        let decided = decision(&mut clinic, &researcher(), for_study(PSEUDONYM));
        assert_eq!(decided, expected, "{field}");
        assert_eq!(records(&clinic).len(), usize::from(expected == "permit"));
    }
    let mut clinic = enrolled("RSDID");
    let (author, officer) = (clinic.author.clone(), clinic.officer.clone());
    let labelled = with(
        with(submission(1), "record", json!(id(0x22))),
        "labels",
        json!(["PSY"]),
    );
    clinic.ok(&author, "submit_record", labelled);
    clinic.ok(
        &officer,
        "confirm_record",
        json!({"record": id(0x22), "version": 1}),
    );
    let asked = with(for_study(PSEUDONYM), "record", json!(id(0x22)));
    assert_eq!(decision(&mut clinic, &researcher(), asked), "study-scope");
}

#[test]
fn after_its_end_a_study_is_told_nothing() {
    for ended in [true, false] {
        let mut clinic = enrolled("RSDID");
        if ended {
            let outcome = clinic.ok(&sponsor(), "end_study", of_study());
            assert_eq!(outcome.events[0].0, "study.ended");
        } else {
            clinic.ledger.advance_ms(1000 * HOUR_MS);
        }
        let patient = clinic.patient.clone();
        assert_eq!(
            decision(&mut clinic, &researcher(), for_study(PSEUDONYM)),
            "study-ended"
        );
        for function in ["add_investigator", "remove_investigator"] {
            clinic.refused(&sponsor(), function, by_id(), "wrong-state study");
        }
        clinic.refused(&sponsor(), "end_study", of_study(), "wrong-state study");
        let other = enrolment(PSEUDONYM + 1);
        clinic.refused(&patient, "enrol", other, "wrong-state study");
        let listed = json!({"patient": id(PSEUDONYM), "study": id(STUDY)});
        for (function, request) in [
            ("study_records", of_study()),
            ("study_cohort", of_study()),
            ("list_records", listed),
        ] {
            clinic.ask_refused(&researcher(), function, request, "wrong-state");
        }
        // She can always leave.
        clinic.ok(&patient, "withdraw_from_study", of_study());
    }
}

#[test]
fn a_permit_ends_with_the_study_even_when_it_is_kept_back() {
    let mut clinic = Clinic::with_record();
    let end = clinic.ledger.time_ms() + HOUR_MS / 2;
    clinic = {
        let terms = with(terms(&clinic), "end", json!(end));
        institute(Some(terms))
    };
    let patient = clinic.patient.clone();
    clinic.ok(&patient, "enrol", enrolment(PSEUDONYM));
    clinic.grant(CONSENT, to_study("RSDID"));
    let argument = for_study(PSEUDONYM).to_string();
    let arguments = [argument.as_bytes()];
    let endorsed = clinic
        .ledger
        .endorse(&researcher(), "request_access", &arguments, &[])
        .unwrap();
    let answer: Value = serde_json::from_slice(&endorsed.outcome.payload).unwrap();
    assert_eq!(answer["expires"], json!(end));
    clinic.ledger.advance_ms(HOUR_MS / 2);
    assert_eq!(clinic.ledger.commit(&endorsed), Err(Conflict::Expired));
}

/// Whether an answer holds the patient's id in any form in which it is written.
fn names_her(answer: &[u8]) -> bool {
    let in_keys = data_encoding::BASE64URL_NOPAD.encode(&id(PATIENT).0);
    let in_bookmarks = data_encoding::HEXLOWER.encode(in_keys.as_bytes());
    let text = String::from_utf8_lossy(answer).into_owned();
    [id(PATIENT).to_string(), in_keys, in_bookmarks]
        .iter()
        .any(|form| text.contains(form))
}

#[test]
fn under_rsdid_no_answer_names_the_patient() {
    for (research, known) in [("RSDID", false), ("RSREID", true)] {
        let mut clinic = enrolled(research);
        let (patient, officer) = (clinic.patient.clone(), clinic.officer.clone());
        // One that she wrote herself, so that its author is she.
        let own = with(submission(1), "record", json!(id(0x22)));
        clinic.ok(&patient, "submit_record", own);
        clinic.ok(
            &officer,
            "confirm_record",
            json!({"record": id(0x22), "version": 1}),
        );
        let own = with(for_study(PSEUDONYM), "record", json!(id(0x22)));
        assert_eq!(decision(&mut clinic, &researcher(), own.clone()), "permit");
        let mut grant = own;
        for field in ["purpose", "study"] {
            grant = with(grant, field, Value::Null);
        }
        let of_record = json!({"record": id(0x22)});
        let one = json!({"study": id(STUDY), "limit": 1});
        let of_her = json!({"patient": id(PSEUDONYM), "study": id(STUDY), "limit": 1});
        for (function, request, told) in [
            ("read_grant", &grant, known),
            ("study_records", &one, known),
            ("get_record", &of_record, false),
            ("list_records", &of_her, false),
        ] {
            let text = request.to_string();
            let answer = clinic
                .ledger
                .evaluate(&researcher(), function, &[text.as_bytes()])
                .unwrap()
                .payload;
            assert_eq!(names_her(&answer), told, "{research} {function}");
            let certificate = stela_consent::Hex(patient.fingerprint).to_string();
            assert!(!String::from_utf8_lossy(&answer).contains(&certificate));
        }
        let granted: ReadGrant = clinic.ask(&researcher(), "read_grant", grant.clone());
        assert_eq!(granted.patient, known.then(|| id(PATIENT)));
        assert_eq!(
            (granted.study, granted.record.patient),
            (Some(id(STUDY)), id(PSEUDONYM))
        );
        let seen: RecordVersion = clinic.ask(&researcher(), "get_record", of_record);
        assert_eq!(seen.patient, id(PSEUDONYM));
        let by_id = with(grant.clone(), "patient", json!(id(PATIENT)));
        clinic.ask_refused(&researcher(), "read_grant", by_id, "invalid-argument");
        let author = with(of_her, "author", json!("01".repeat(32)));
        clinic.ask_refused(&researcher(), "list_records", author, "invalid-argument");
        clinic.ok(&patient, "withdraw_from_study", of_study());
        clinic.ask_refused(&researcher(), "read_grant", grant, "forbidden");
    }
}

#[test]
fn the_records_of_a_study_come_in_pages_under_pseudonyms() {
    let mut clinic = institute(None);
    // Five patients, of whom the third takes no part, with as many records as their number.
    for n in 0..5u8 {
        patient_with_records(&mut clinic, n, n, n != 2);
    }
    let all = records(&clinic);
    let expected: Vec<u8> = [1, 3, 3, 3, 4, 4, 4, 4].iter().map(|n| 0x90 + n).collect();
    let mut found: Vec<u8> = all.iter().map(|record| record.pseudonym.0[0]).collect();
    found.sort_unstable();
    assert_eq!(found, expected);
    for limit in 1..8 {
        let mut request = with(of_study(), "limit", json!(limit));
        let mut pages = Vec::new();
        loop {
            let page: Page<StudyRecord> =
                clinic.ask(&researcher(), "study_records", request.clone());
            assert!(page.entries.len() <= limit);
            pages.extend(page.entries);
            match page.bookmark {
                Some(bookmark) => request["bookmark"] = json!(bookmark),
                None => break,
            }
        }
        assert_eq!(pages, all, "{limit}");
    }
    let mut of_her = json!({"patient": id(0x94), "study": id(STUDY), "limit": 3});
    let first: Page<RecordSummary> = clinic.ask(&researcher(), "list_records", of_her.clone());
    of_her["bookmark"] = json!(first.bookmark.unwrap());
    let rest: Page<RecordSummary> = clinic.ask(&researcher(), "list_records", of_her.clone());
    assert_eq!((first.entries.len(), rest.entries.len()), (3, 1));
    of_her["patient"] = json!(id(0x93));
    clinic.ask_refused(&researcher(), "list_records", of_her, "invalid-argument");
    let unknown = json!({"patient": id(0x92), "study": id(STUDY)});
    clinic.ask_refused(&researcher(), "list_records", unknown, "not-found");
    for bookmark in ["", "00", "zz", &"0".repeat(34)] {
        let request = with(of_study(), "bookmark", json!(bookmark));
        clinic.ask_refused(&researcher(), "study_records", request, "invalid-argument");
    }
    let request = with(of_study(), "purpose", json!("TREAT"));
    clinic.ask_refused(&researcher(), "study_records", request, "invalid-argument");
    for caller in [sponsor(), clinic.reader.clone()] {
        clinic.ask_refused(&caller, "study_records", of_study(), "forbidden");
    }
}

/// A patient with confirmed laboratory results; with `joins`, she takes part under a consent.
fn patient_with_records(clinic: &mut Clinic, n: u8, records: u8, joins: bool) {
    let patient = Caller::new("HospitalA", "patient", [0xa0 + n; 32])
        .with_attribute("patient", &id(0xb0 + n).to_string());
    let (author, officer) = (clinic.author.clone(), clinic.officer.clone());
    clinic.ok(
        &patient,
        "register_patient",
        json!({"patient": id(0xb0 + n)}),
    );
    for record in 0..records {
        let mut name = [n; 16];
        name[15] = 0xf0 + record;
        let name = stela_consent::Hex(name);
        let mut submitted = with(submission(1), "record", json!(name));
        submitted["patient"] = json!(id(0xb0 + n));
        submitted["category"] = json!("laboratory");
        submitted["date"] = json!(u64::from(record) * HOUR_MS);
        clinic.ok(&author, "submit_record", submitted);
        clinic.ok(
            &officer,
            "confirm_record",
            json!({"record": name, "version": 1}),
        );
    }
    if joins {
        clinic.ok(&patient, "enrol", enrolment(0x90 + n));
        let consent = with(to_study("RSDID"), "id", json!(id(0xc0 + n)));
        clinic.ok(&patient, "grant_consent", consent);
    }
}

#[test]
fn a_count_below_the_floor_is_not_told() {
    let mut clinic = institute(None);
    for n in 0..11 {
        patient_with_records(&mut clinic, n, 1 + n % 2, true);
    }
    let count = |clinic: &Clinic, extra: Value| -> Result<u32, u32> {
        let mut request = of_study();
        let fields = request.as_object_mut().unwrap();
        fields.extend(extra.as_object().unwrap().clone());
        let cohort: Cohort = clinic.ask(&researcher(), "study_cohort", request);
        cohort.count.ok_or_else(|| cohort.fewer_than.unwrap())
    };
    assert_eq!(count(&clinic, json!({})), Ok(11));
    assert_eq!(count(&clinic, json!({"category": "laboratory"})), Ok(11));
    assert_eq!(count(&clinic, json!({"category": "imaging"})), Err(10));
    assert_eq!(count(&clinic, json!({"label": "PSY"})), Err(10));
    assert_eq!(count(&clinic, json!({"from": 0, "to": 1})), Ok(11));
    // Five of them have a second record.
    assert_eq!(count(&clinic, json!({"from": 1})), Err(10));
    clinic.ledger.set_settings(br#"{"study_floor":5}"#);
    assert_eq!(count(&clinic, json!({"from": 1})), Ok(5));
    clinic.ledger.set_settings(br#"{"study_floor":6}"#);
    assert_eq!(count(&clinic, json!({"from": 1})), Err(6));
    clinic.ledger.set_settings(b"");
    let first = Caller::new("HospitalA", "patient", [0xa0; 32])
        .with_attribute("patient", &id(0xb0).to_string());
    clinic.ok(
        &first,
        "revoke_consent",
        json!({"patient": id(0xb0), "consent": id(0xc0)}),
    );
    assert_eq!(count(&clinic, json!({})), Ok(10));
    let second = Caller::new("HospitalA", "patient", [0xa1; 32])
        .with_attribute("patient", &id(0xb1).to_string());
    clinic.ok(&second, "withdraw_from_study", of_study());
    assert_eq!(count(&clinic, json!({})), Err(10));
    // The sponsor's privacy officer may ask, too.
    let cohort: Cohort = clinic.ask(&sponsor(), "study_cohort", of_study());
    assert_eq!(cohort.fewer_than, Some(10));
    for caller in [clinic.reader.clone(), clinic.privacy.clone()] {
        clinic.ask_refused(&caller, "study_cohort", of_study(), "forbidden");
    }
    for (field, value) in [
        ("category", json!("x")),
        ("label", json!("x")),
        ("purpose", json!("TREAT")),
        ("to", json!(-1)),
        ("name", json!("Jane")),
    ] {
        let request = with(of_study(), field, value);
        clinic.ask_refused(&researcher(), "study_cohort", request, "invalid-argument");
    }
    clinic.refused(&researcher(), "study_cohort", of_study(), "evaluate-only");
}

/// Patient number `n`, by whose parity she is in the one or the other of two parts, takes part;
/// with `reads`, the study may read a record about her.
fn joins(clinic: &mut Clinic, n: u16, reads: bool) {
    let name = |kind: u8| {
        let mut bytes = [kind; 16];
        bytes[..2].copy_from_slice(&n.to_be_bytes());
        stela_consent::Hex(bytes)
    };
    let mut fingerprint = [0xa0; 32];
    fingerprint[..2].copy_from_slice(&n.to_be_bytes());
    let patient = Caller::new("HospitalA", "patient", fingerprint)
        .with_attribute("patient", &name(0xb0).to_string());
    let (author, officer) = (clinic.author.clone(), clinic.officer.clone());
    clinic.ok(&patient, "register_patient", json!({"patient": name(0xb0)}));
    let request = json!({"study": id(STUDY), "pseudonym": name(0x90)});
    clinic.ok(&patient, "enrol", request);
    if reads {
        let submitted = with(submission(1), "patient", json!(name(0xb0)));
        let submitted = with(submitted, "record", json!(name(0xe0)));
        clinic.ok(&author, "submit_record", submitted);
        let version = json!({"record": name(0xe0), "version": 1});
        clinic.ok(&officer, "confirm_record", version);
        let consent = with(to_study("RSDID"), "id", json!(name(0xc0)));
        clinic.ok(&patient, "grant_consent", consent);
    }
}

#[test]
fn a_large_study_is_counted_in_parts_that_nobody_chooses() {
    let mut clinic = institute(None);
    let told = |clinic: &Clinic, part: Value| {
        let request = with(of_study(), "part", part);
        let cohort: Cohort = clinic.ask(&researcher(), "study_cohort", request);
        (cohort.count, cohort.fewer_than, cohort.parts)
    };
    let refuse = |clinic: &Clinic, part: u32| {
        let request = with(of_study(), "part", json!(part));
        clinic.ask_refused(&researcher(), "study_cohort", request, "invalid-argument");
    };
    // Twelve even ones and nine odd ones have a record.
    for n in 0..250 {
        joins(&mut clinic, n, n < 18 || (n < 24 && n % 2 == 0));
    }
    assert_eq!(told(&clinic, Value::Null), (Some(21), None, 1));
    assert_eq!(told(&clinic, json!(0)), (Some(21), None, 1));
    refuse(&clinic, 1);
    joins(&mut clinic, 250, false);
    assert_eq!(told(&clinic, Value::Null), (Some(12), None, 2));
    assert_eq!(told(&clinic, json!(0)), (Some(12), None, 2));
    assert_eq!(told(&clinic, json!(1)), (None, Some(10), 2));
    refuse(&clinic, 2);
}

#[test]
fn a_study_sets_a_higher_floor() {
    let probe = Clinic::new();
    let mut clinic = institute(Some(with(terms(&probe), "floor", json!(12))));
    for n in 0..11 {
        patient_with_records(&mut clinic, n, 1, true);
    }
    let cohort: Cohort = clinic.ask(&researcher(), "study_cohort", of_study());
    assert_eq!((cohort.count, cohort.fewer_than), (None, Some(12)));
}

#[test]
fn a_consent_for_a_study_is_asked_for_by_those_who_investigate_in_it() {
    let mut clinic = institute(None);
    let patient = clinic.patient.clone();
    clinic.ok(&patient, "enrol", enrolment(PSEUDONYM));
    let request = json!({
        "patient": id(PATIENT),
        "request": id(0x51),
        "consent": with(to_study("RSDID"), "id", json!(id(CONSENT))),
        "reason": "study",
        "expires": clinic.ledger.time_ms() + HOUR_MS,
    });
    let colleague = Caller::new("InstituteD", "researcher", [0x43; 32]);
    for caller in [colleague, clinic.reader.clone()] {
        let field = "invalid-argument consent.actor";
        clinic.refused(&caller, "request_consent", request.clone(), field);
    }
    clinic.ok(&researcher(), "request_consent", request);
    let answer = json!({"patient": id(PATIENT), "request": id(0x51), "decision": "approve"});
    let more = with(to_study("RSREID"), "id", json!(id(CONSENT)));
    let broader = with(answer.clone(), "consent", more);
    let field = "invalid-argument consent.research";
    clinic.refused(&patient, "answer_consent_request", broader, field);
    clinic.ok(&patient, "answer_consent_request", answer);
    assert_eq!(
        decision(&mut clinic, &researcher(), for_study(PSEUDONYM)),
        "permit"
    );
}

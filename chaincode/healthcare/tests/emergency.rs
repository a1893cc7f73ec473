//! Emergency access and its review; denied accesses that their requesters keep back.

use super::support::{
    CONSENT, Clinic, HOUR_MS, OTHER_PATIENT, PATIENT, RECORD, access, id, submission, to_b, with,
};
use serde_json::{Value, json};
use stela_guest::{Caller, Conflict, Outcome};
use stela_healthcare::answer::{AuditKind, Disclosure, Emergency, Page, ReadGrant};
use stela_healthcare::limits::{EMERGENCY_MS, EMERGENCY_REVIEW_MS};

fn glass() -> Value {
    json!({
        "patient": id(PATIENT),
        "record": id(RECORD),
        "version": 1,
        "reason": "life-threatening",
    })
}

fn word(outcome: &Outcome, field: &str) -> String {
    let answer: Value = serde_json::from_slice(&outcome.payload).unwrap();
    answer[field].as_str().unwrap_or_default().to_owned()
}

/// Breaks the glass; the transaction is the answer's request.
#[track_caller]
fn broken(clinic: &mut Clinic, caller: &Caller) -> String {
    let outcome = clinic.ok(caller, "break_glass", glass());
    assert_eq!(word(&outcome, "decision"), "permit");
    assert_eq!(word(&outcome, "basis"), "emergency");
    word(&outcome, "request")
}

/// Breaks the glass in vain; the reason.
#[track_caller]
fn denied(clinic: &mut Clinic, caller: &Caller) -> String {
    let outcome = clinic.ok(caller, "break_glass", glass());
    assert_eq!(word(&outcome, "decision"), "deny");
    assert_eq!(outcome.events[0].0, "access.denied");
    let last = clinic.trail_end(&clinic.privacy);
    assert_eq!(last.event, AuditKind::AccessDenied);
    assert_eq!(last.transaction.0, outcome.transaction_id);
    word(&outcome, "reason")
}

fn review(request: &str, practitioner: &Caller, finding: &str) -> Value {
    json!({
        "patient": id(PATIENT),
        "request": request,
        "practitioner": stela_consent::Hex(practitioner.fingerprint),
        "finding": finding,
    })
}

fn grant(clinic: &Clinic, caller: &Caller) -> Result<ReadGrant, String> {
    let request = json!({"patient": id(PATIENT), "record": id(RECORD), "version": 1}).to_string();
    let outcome = clinic
        .ledger
        .evaluate(caller, "read_grant", &[request.as_bytes()]);
    match outcome {
        Ok(outcome) => Ok(serde_json::from_slice(&outcome.payload).unwrap()),
        Err(error) => Err(error.code),
    }
}

/// One record, very restricted, and a deny of the patient's.
fn very_restricted(deny: Option<Value>) -> Clinic {
    let mut clinic = Clinic::new();
    let author = clinic.author.clone();
    let record = with(submission(1), "confidentiality", json!("V"));
    clinic.ok(&author, "submit_record", record);
    clinic.confirm(1);
    if let Some(deny) = deny {
        clinic.grant(CONSENT, deny);
    }
    clinic
}

#[test]
fn a_practitioner_breaks_the_glass_for_a_few_hours_and_everybody_concerned_is_told() {
    let mut clinic = Clinic::with_record();
    let stranger = clinic.stranger.clone();
    assert_eq!(grant(&clinic, &stranger).unwrap_err(), "forbidden");
    let outcome = clinic.ok(&stranger, "break_glass", glass());
    let request = word(&outcome, "request");
    let [(name, payload)] = &outcome.events[..] else {
        panic!("one event");
    };
    assert_eq!(name, "emergency.accessed");
    let payload: Value = serde_json::from_slice(payload).unwrap();
    let ids = json!({
        "patient": id(PATIENT), "record": id(RECORD), "version": 1, "request": request,
    });
    assert_eq!(payload, ids);
    let granted = grant(&clinic, &stranger).unwrap();
    assert_eq!(granted.expires, clinic.ledger.time_ms() + EMERGENCY_MS);
    assert_eq!(granted.purpose.code(), "BTG");
    let last = clinic.trail_end(&clinic.patient);
    assert_eq!(last.event, AuditKind::EmergencyAccessed);
    assert_eq!(last.by.unwrap().0, stranger.fingerprint);
    assert_eq!(last.reason.as_deref(), Some("life-threatening"));
    let accounting: Page<Disclosure> = clinic.ask(
        &clinic.patient,
        "accounting",
        json!({"patient": id(PATIENT), "all": true}),
    );
    assert_eq!(accounting.entries.len(), 1);
    clinic.ledger.advance_ms(EMERGENCY_MS - 1);
    assert!(grant(&clinic, &stranger).is_ok());
    clinic.ledger.advance_ms(1);
    assert_eq!(grant(&clinic, &stranger).unwrap_err(), "forbidden");
}

#[test]
fn a_bad_request_is_refused_and_writes_nothing() {
    let mut clinic = Clinic::with_record();
    let stranger = clinic.stranger.clone();
    for (field, value, expected) in [
        ("reason", json!("because"), "invalid-argument reason"),
        ("reason", Value::Null, "invalid-argument reason"),
        (
            "justification",
            json!("text"),
            "invalid-argument justification",
        ),
        (
            "patient",
            json!(id(OTHER_PATIENT)),
            "invalid-argument patient",
        ),
        ("record", json!(id(9)), "not-found record"),
        ("version", json!(2), "not-found version"),
    ] {
        let request = with(glass(), field, value);
        clinic.refused(&stranger, "break_glass", request, expected);
    }
    for caller in [
        clinic.patient.clone(),
        clinic.officer.clone(),
        clinic.privacy.clone(),
        Caller::new("HospitalC", "researcher", [8; 32]),
        Caller::new("HospitalC", "admin", [8; 32]),
    ] {
        clinic.refused(&caller, "break_glass", glass(), "forbidden");
    }
    let text = glass().to_string();
    for side in [&[][..], &[[1; 32], [2; 32]][..]] {
        let arguments = [text.as_bytes()];
        let error = clinic
            .ledger
            .submit_with_side(&stranger, "break_glass", &arguments, side)
            .unwrap_err();
        assert_eq!(error.code, "invalid-argument");
        assert_eq!(error.field.as_deref(), Some("side"));
    }
    clinic.ask_refused(&stranger, "break_glass", glass(), "endorse-only");
}

#[test]
fn what_is_not_confirmed_is_not_read_in_an_emergency_either() {
    let mut clinic = Clinic::with_pending();
    let stranger = clinic.stranger.clone();
    assert_eq!(denied(&mut clinic, &stranger), "not-active");
}

#[test]
fn a_deny_of_hers_keeps_a_very_restricted_record_shut_and_no_other() {
    let stranger = Clinic::empty().stranger;
    let deny = json!({"type": "deny", "min": "V"});
    let mut clinic = very_restricted(Some(deny.clone()));
    assert_eq!(denied(&mut clinic, &stranger), "denied-by-provision");
    clinic.revoke(CONSENT);
    broken(&mut clinic, &stranger);
    // What she denies to others is no matter, and less than V is not for a deny to shut.
    let elsewhere = json!({"type": "deny", "actor": {"org": "HospitalB"}});
    broken(&mut very_restricted(Some(elsewhere)), &stranger);
    broken(&mut very_restricted(None), &stranger);
    let mut clinic = Clinic::with_record();
    clinic.grant(CONSENT, json!({"type": "deny"}));
    broken(&mut clinic, &stranger);
}

#[test]
fn a_deny_that_follows_ends_the_permit() {
    let stranger = Clinic::empty().stranger;
    let mut clinic = very_restricted(None);
    broken(&mut clinic, &stranger);
    assert!(grant(&clinic, &stranger).is_ok());
    clinic.grant(CONSENT, json!({"type": "deny", "min": "V"}));
    assert_eq!(grant(&clinic, &stranger).unwrap_err(), "forbidden");
}

#[test]
fn who_has_an_overdue_review_cannot_break_the_glass_again() {
    let mut clinic = Clinic::with_record();
    let (stranger, reader, privacy) = (
        clinic.stranger.clone(),
        clinic.reader.clone(),
        clinic.privacy.clone(),
    );
    let request = broken(&mut clinic, &stranger);
    clinic.ledger.advance_ms(EMERGENCY_REVIEW_MS);
    let second = broken(&mut clinic, &stranger);
    clinic.ledger.advance_ms(1);
    assert_eq!(denied(&mut clinic, &stranger), "review-overdue");
    clinic.ledger.advance_ms(1);
    // Somebody else's review is not hers.
    broken(&mut clinic, &reader);
    // That of the newer one does not help.
    let later = review(&second, &stranger, "justified");
    clinic.ok(&privacy, "review_emergency", later);
    clinic.ledger.advance_ms(1);
    assert_eq!(denied(&mut clinic, &stranger), "review-overdue");
    let overdue = review(&request, &stranger, "unjustified");
    clinic.ok(&privacy, "review_emergency", overdue);
    broken(&mut clinic, &stranger);
}

#[test]
fn the_consortium_sets_how_long_a_permit_and_a_review_may_take() {
    let mut clinic = Clinic::with_record();
    let stranger = clinic.stranger.clone();
    clinic
        .ledger
        .set_settings(br#"{"emergency_ms":60000,"emergency_review_ms":120000}"#);
    broken(&mut clinic, &stranger);
    clinic.ledger.advance_ms(59_999);
    assert!(grant(&clinic, &stranger).is_ok());
    clinic.ledger.advance_ms(1);
    assert!(grant(&clinic, &stranger).is_err());
    clinic.ledger.advance_ms(60_001);
    assert_eq!(denied(&mut clinic, &stranger), "review-overdue");
}

#[test]
fn an_emergency_is_reviewed_once_by_a_privacy_officer_of_either_organization() {
    let mut clinic = Clinic::with_record();
    let (stranger, privacy) = (clinic.stranger.clone(), clinic.privacy.clone());
    let request = broken(&mut clinic, &stranger);
    let justified = review(&request, &stranger, "justified");
    for caller in [
        clinic.patient.clone(),
        clinic.officer.clone(),
        stranger.clone(),
        Caller::new("HospitalB", "privacy-officer", [8; 32]),
        Caller::new("HospitalC", "privacy-officer", stranger.fingerprint),
    ] {
        clinic.refused(&caller, "review_emergency", justified.clone(), "forbidden");
    }
    for (field, value, expected) in [
        ("finding", json!("fine"), "invalid-argument finding"),
        ("request", json!("00".repeat(32)), "not-found request"),
        ("patient", json!(id(OTHER_PATIENT)), "not-found patient"),
        (
            "practitioner",
            json!("05".repeat(32)),
            "invalid-argument practitioner",
        ),
    ] {
        let request = with(justified.clone(), field, value);
        clinic.refused(&privacy, "review_emergency", request, expected);
    }
    clinic.ledger.advance_ms(1);
    let elsewhere = Caller::new("HospitalC", "privacy-officer", [8; 32]);
    let outcome = clinic.ok(&elsewhere, "review_emergency", justified.clone());
    assert_eq!(outcome.events[0].0, "emergency.reviewed");
    let last = clinic.trail_end(&clinic.patient);
    assert_eq!(last.event, AuditKind::EmergencyReviewed);
    assert_eq!(last.subject.unwrap().0, stranger.fingerprint);
    assert_eq!(last.request.unwrap().to_string(), request);
    assert_eq!(last.reason.as_deref(), Some("justified"));
    let again = review(&request, &stranger, "unjustified");
    clinic.refused(&privacy, "review_emergency", again, "wrong-state request");
}

#[test]
fn emergencies_are_listed_for_those_concerned() {
    let mut clinic = Clinic::with_record();
    let (stranger, reader, privacy) = (
        clinic.stranger.clone(),
        clinic.reader.clone(),
        clinic.privacy.clone(),
    );
    let request = broken(&mut clinic, &stranger);
    broken(&mut clinic, &reader);
    let of_patient = json!({"patient": id(PATIENT)});
    let count = |clinic: &Clinic, caller: &Caller, argument: &Value| {
        let page: Page<Emergency> = clinic.ask(caller, "list_emergencies", argument.clone());
        page.entries.len()
    };
    let elsewhere = Caller::new("HospitalC", "privacy-officer", [8; 32]);
    let open = json!({});
    // Who answers for the record knows of every one of them.
    assert_eq!(count(&clinic, &clinic.officer, &of_patient), 2);
    for (caller, of_her, waiting) in [
        (&privacy, 2, 2),
        (&elsewhere, 1, 1),
        (&stranger, 1, 1),
        (&clinic.author, 0, 0),
    ] {
        assert_eq!(count(&clinic, caller, &of_patient), of_her);
        assert_eq!(count(&clinic, caller, &open), waiting);
    }
    assert_eq!(count(&clinic, &clinic.patient, &of_patient), 2);
    clinic.ask_refused(
        &clinic.patient,
        "list_emergencies",
        open.clone(),
        "invalid-argument",
    );
    let officer = Caller::new("HospitalC", "records-officer", [8; 32]);
    assert_eq!(count(&clinic, &officer, &of_patient), 0);
    for caller in [
        &Caller::new("HospitalA", "researcher", [8; 32]),
        &Caller::new("HospitalA", "peer", [8; 32]),
    ] {
        clinic.ask_refused(caller, "list_emergencies", of_patient.clone(), "forbidden");
    }
    let unknown = json!({"patient": id(OTHER_PATIENT)});
    clinic.ask_refused(&privacy, "list_emergencies", unknown, "not-found");
    let justified = review(&request, &stranger, "justified");
    clinic.ok(&privacy, "review_emergency", justified);
    let page: Page<Emergency> = clinic.ask(&stranger, "list_emergencies", of_patient.clone());
    let [emergency] = &page.entries[..] else {
        panic!("one of her own");
    };
    assert_eq!(emergency.request.to_string(), request);
    let found = emergency.review.as_ref().unwrap();
    assert_eq!(found.by.0, privacy.fingerprint);
    for (caller, waiting) in [(&privacy, 1), (&elsewhere, 0), (&stranger, 0)] {
        assert_eq!(count(&clinic, caller, &open), waiting);
        assert_eq!(
            count(&clinic, caller, &of_patient),
            1 + usize::from(caller == &privacy)
        );
    }
}

#[test]
fn an_officer_who_holds_the_key_answers_a_standing_emergency_permit() {
    let mut clinic = Clinic::with_record();
    let (stranger, reader, officer, privacy) = (
        clinic.stranger.clone(),
        clinic.reader.clone(),
        clinic.officer.clone(),
        clinic.privacy.clone(),
    );
    let answer = |reader: &Caller| {
        json!({
            "patient": id(PATIENT), "record": id(RECORD), "version": 1,
            "reader": stela_consent::Hex(reader.fingerprint),
        })
    };
    for caller in [&officer, &privacy] {
        clinic.refused(caller, "share_keys", answer(&stranger), "forbidden reader");
    }
    broken(&mut clinic, &stranger);
    for caller in [&officer, &privacy] {
        clinic.ok(caller, "share_keys", answer(&stranger));
        clinic.refused(caller, "share_keys", answer(&reader), "forbidden reader");
    }
    let elsewhere = Caller::new("HospitalC", "records-officer", [8; 32]);
    for caller in [&elsewhere, &stranger] {
        clinic.refused(caller, "share_keys", answer(&stranger), "forbidden record");
    }
    assert_eq!(grant(&clinic, &stranger).unwrap().record.wraps.len(), 3);
    // A permit by consent is no emergency, and an emergency ends.
    clinic.grant(CONSENT, to_b());
    assert_eq!(clinic.decision(&reader, 1, "TREAT"), "permit consent");
    clinic.refused(&officer, "share_keys", answer(&reader), "forbidden reader");
    clinic.ledger.advance_ms(EMERGENCY_MS);
    clinic.refused(
        &officer,
        "share_keys",
        answer(&stranger),
        "forbidden reader",
    );
}

/// What the endorsers of a deny were told to note.
fn note_of(clinic: &mut Clinic, caller: &Caller) -> (Value, stela_guest::Endorsed) {
    let argument = access(1, "TREAT").to_string();
    let arguments = [argument.as_bytes()];
    let endorsed = clinic
        .ledger
        .endorse(caller, "request_access", &arguments, &[])
        .unwrap();
    let (function, argument) = endorsed.outcome.on_absence.clone().unwrap();
    assert_eq!(function, "note_denied_access");
    (serde_json::from_slice(&argument).unwrap(), endorsed)
}

#[test]
fn a_deny_that_is_kept_back_is_noted_by_a_peer() {
    let mut clinic = Clinic::with_record();
    let stranger = clinic.stranger.clone();
    let peer = Caller::new("HospitalB", "peer", [9; 32]);
    let (note, endorsed) = note_of(&mut clinic, &stranger);
    let made_ms = clinic.ledger.time_ms();
    clinic.ledger.advance_ms(HOUR_MS);
    for caller in [&stranger, &clinic.privacy.clone()] {
        clinic.refused(caller, "note_denied_access", note.clone(), "forbidden");
    }
    for (field, value, expected) in [
        ("reason", json!("permitted"), "invalid-argument reason"),
        ("role", json!("nurse"), "invalid-argument role"),
        (
            "time",
            json!(made_ms + 2 * HOUR_MS),
            "invalid-argument time",
        ),
        (
            "patient",
            json!(id(OTHER_PATIENT)),
            "invalid-argument patient",
        ),
        ("record", json!(id(9)), "not-found record"),
        ("text", json!("Jane"), "invalid-argument text"),
    ] {
        let request = with(note.clone(), field, value);
        clinic.refused(&peer, "note_denied_access", request, expected);
    }
    let outcome = clinic.ok(&peer, "note_denied_access", note.clone());
    assert_eq!(outcome.events[0].0, "access.denied");
    let last = clinic.trail_end(&clinic.patient);
    assert_eq!(last.event, AuditKind::AccessDenied);
    assert_eq!(last.by.unwrap().0, stranger.fingerprint);
    assert_eq!(last.organization.unwrap().as_str(), "HospitalC");
    assert_eq!(last.time, made_ms);
    assert_eq!(last.transaction.0, endorsed.outcome.transaction_id);
    assert_eq!(last.reason.as_deref(), Some("no-consent"));
    assert_eq!(last.noted_by.unwrap().as_str(), "HospitalB");
    let other = Caller::new("HospitalA", "peer", [10; 32]);
    clinic.refused(
        &other,
        "note_denied_access",
        note,
        "already-exists transaction",
    );
}

#[test]
fn a_deny_that_was_committed_is_not_noted_again() {
    let mut clinic = Clinic::with_record();
    let stranger = clinic.stranger.clone();
    let peer = Caller::new("HospitalB", "peer", [9; 32]);
    let (note, endorsed) = note_of(&mut clinic, &stranger);
    clinic.ledger.commit(&endorsed).unwrap();
    assert_eq!(clinic.trail_end(&clinic.patient).noted_by, None);
    clinic.refused(
        &peer,
        "note_denied_access",
        note,
        "already-exists transaction",
    );
}

#[test]
fn a_permit_is_nothing_to_note() {
    let mut clinic = Clinic::with_consent();
    let reader = clinic.reader.clone();
    let outcome = clinic.ok(&reader, "request_access", access(1, "TREAT"));
    assert_eq!((outcome.on_absence, outcome.expires_at_ms), (None, None));
}

#[test]
fn a_permit_that_is_kept_back_until_its_consent_has_ended_is_not_committed() {
    let mut clinic = Clinic::with_record();
    let reader = clinic.reader.clone();
    let end = clinic.ledger.time_ms() + HOUR_MS / 2;
    clinic.grant(CONSENT, with(to_b(), "period", json!([null, end])));
    let argument = access(1, "TREAT").to_string();
    for (wait_ms, expected) in [(HOUR_MS / 2 - 1, Ok(())), (1, Err(Conflict::Expired))] {
        let arguments = [argument.as_bytes()];
        let endorsed = clinic
            .ledger
            .endorse(&reader, "request_access", &arguments, &[])
            .unwrap();
        assert_eq!(endorsed.outcome.expires_at_ms, Some(end));
        clinic.ledger.advance_ms(wait_ms);
        assert_eq!(clinic.ledger.commit(&endorsed), expected);
    }
}

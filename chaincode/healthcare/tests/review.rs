//! Review by several officers, lists with filters, history, notifications.

use super::support::{
    CONSENT, Clinic, HOUR_MS, PATIENT, RECORD, access, id, submission, to_b, with,
};
use serde_json::{Value, json};
use stela_guest::Caller;
use stela_healthcare::answer::{
    AuditKind, ChangeKind, Concerned, Finding, Page, RecordChange, RecordSummary, Reviewed,
};
use stela_healthcare::limits::VERSIONS_MAX;
use stela_healthcare::{RejectReason, State};

fn officer(organization: &str, n: u8) -> Caller {
    Caller::new(organization, "records-officer", [n; 32])
}

fn version(version: u32) -> Value {
    json!({"record": id(RECORD), "version": version})
}

fn rejection(version: u32) -> Value {
    json!({"record": id(RECORD), "version": version, "reason": "incomplete"})
}

fn ask_for(clinic: &mut Clinic, officers: u32, elsewhere: u32) {
    let settings = json!({"review": {"officers": officers, "elsewhere": elsewhere}}).to_string();
    clinic.ledger.set_settings(settings.as_bytes());
}

/// Confirms and answers the state and how many are still asked for.
#[track_caller]
fn confirm(clinic: &mut Clinic, caller: &Caller, number: u32) -> (State, u32) {
    let outcome = clinic.ok(caller, "confirm_record", version(number));
    let reviewed: Reviewed = serde_json::from_slice(&outcome.payload).unwrap();
    (reviewed.state, reviewed.missing)
}

fn history(clinic: &Clinic, caller: &Caller) -> Vec<RecordChange> {
    let page: Page<RecordChange> =
        clinic.ask(caller, "record_history", json!({"record": id(RECORD)}));
    page.entries
}

fn reasons(clinic: &Clinic, caller: &Caller, number: u32) -> Value {
    let concerned: Concerned = clinic.ask(caller, "concerns", version(number));
    assert_eq!(concerned.version, number);
    serde_json::to_value(concerned.reasons).unwrap()
}

#[test]
fn a_version_becomes_active_with_the_last_of_the_officers_who_are_asked_for() {
    let mut clinic = Clinic::with_pending();
    ask_for(&mut clinic, 3, 0);
    let (first, second, third) = (
        clinic.officer.clone(),
        officer("HospitalA", 0x41),
        officer("HospitalA", 0x42),
    );
    let outcome = clinic.ok(&first, "confirm_record", version(1));
    assert_eq!(outcome.events[0].0, "record.reviewed");
    assert_eq!(clinic.record(&first, 1).state, State::Pending);
    clinic.refused(
        &first,
        "confirm_record",
        version(1),
        "already-exists confirmation",
    );
    let author = clinic.author.clone();
    clinic.refused(&author, "confirm_record", version(1), "forbidden");
    clinic.refused(&author, "amend_record", submission(2), "wrong-state");
    clinic.ledger.advance_ms(1);
    assert_eq!(confirm(&mut clinic, &second, 1), (State::Pending, 1));
    clinic.grant(CONSENT, to_b());
    let reader = clinic.reader.clone();
    assert_eq!(clinic.decision(&reader, 1, "TREAT"), "deny not-active");
    clinic.ledger.advance_ms(1);
    let outcome = clinic.ok(&third, "confirm_record", version(1));
    assert_eq!(outcome.events[0].0, "record.confirmed");
    assert_eq!(clinic.record(&first, 1).state, State::Active);
    assert_eq!(clinic.decision(&reader, 1, "TREAT"), "permit consent");
    for late in [&first, &officer("HospitalA", 0x43)] {
        clinic.refused(late, "confirm_record", version(1), "wrong-state version");
        clinic.refused(late, "reject_record", rejection(1), "wrong-state version");
    }
    let steps: Vec<_> = history(&clinic, &author)[1].reviews.clone();
    let steps: Vec<_> = steps.iter().map(|s| (s.finding, s.by.0[0])).collect();
    let confirmed = |n| (Finding::Confirmed, n);
    assert_eq!(steps, [confirmed(3), confirmed(0x41), confirmed(0x42)]);
    let kinds: Vec<_> = clinic.trail(&clinic.patient);
    let reviews = |kind| kinds.iter().filter(|entry| entry.event == kind).count();
    assert_eq!(reviews(AuditKind::Reviewed), 2);
    assert_eq!(reviews(AuditKind::Confirmed), 1);
}

#[test]
fn officers_of_other_organizations_see_a_version_only_while_they_are_asked_for() {
    let mut clinic = Clinic::with_pending();
    let (home, b, c) = (
        clinic.officer.clone(),
        officer("HospitalB", 0x51),
        officer("HospitalC", 0x52),
    );
    let sees = |clinic: &Clinic, caller: &Caller| {
        let listed: Page<RecordSummary> =
            clinic.ask(caller, "list_records", json!({"patient": id(PATIENT)}));
        let argument = version(1).to_string();
        let got = clinic
            .ledger
            .evaluate(caller, "get_record", &[argument.as_bytes()])
            .is_ok();
        assert_eq!(got, !listed.entries.is_empty());
        got
    };
    clinic.refused(&b, "confirm_record", version(1), "forbidden record");
    clinic.refused(&b, "reject_record", rejection(1), "forbidden record");
    assert!(!sees(&clinic, &b));
    assert_eq!(clinic.decision(&b, 1, "HUAPRV"), "deny not-active");
    ask_for(&mut clinic, 2, 1);
    assert!(sees(&clinic, &b) && sees(&clinic, &c));
    assert!(!sees(&clinic, &clinic.reader));
    assert_eq!(clinic.decision(&b, 1, "TREAT"), "deny not-active");
    assert_eq!(clinic.decision(&b, 1, "HUAPRV"), "permit review");
    let grant = json!({"patient": id(PATIENT), "record": id(RECORD), "version": 1});
    let _: Value = clinic.ask(&b, "read_grant", grant.clone());
    assert_eq!(reasons(&clinic, &c, 1), json!(["reviewer"]));
    assert_eq!(confirm(&mut clinic, &b, 1), (State::Pending, 1));
    // One of elsewhere was asked for: with her confirmation the others' view ends, and her own.
    assert!(!sees(&clinic, &c));
    clinic.ask_refused(&b, "read_grant", grant, "forbidden");
    assert_eq!(clinic.decision(&c, 1, "HUAPRV"), "deny not-active");
    clinic.refused(&c, "confirm_record", version(1), "wrong-state version");
    clinic.refused(&c, "reject_record", rejection(1), "wrong-state version");
    assert_eq!(reasons(&clinic, &c, 1), json!([]));
    assert_eq!(reasons(&clinic, &b, 1), json!(["reviewer", "permit"]));
    assert_eq!(confirm(&mut clinic, &home, 1), (State::Active, 0));
}

#[test]
fn those_at_home_do_not_stand_in_for_those_elsewhere() {
    let mut clinic = Clinic::with_pending();
    ask_for(&mut clinic, 2, 1);
    let home = clinic.officer.clone();
    assert_eq!(confirm(&mut clinic, &home, 1), (State::Pending, 1));
    let colleague = officer("HospitalA", 0x41);
    clinic.refused(
        &colleague,
        "confirm_record",
        version(1),
        "wrong-state version",
    );
    let elsewhere = officer("HospitalB", 0x51);
    assert_eq!(confirm(&mut clinic, &elsewhere, 1), (State::Active, 0));
}

#[test]
fn one_rejection_ends_a_review_even_by_one_who_had_confirmed() {
    for by in [
        officer("HospitalA", 3),
        officer("HospitalA", 0x41),
        officer("HospitalB", 0x51),
    ] {
        let mut clinic = Clinic::with_pending();
        ask_for(&mut clinic, 3, 1);
        let first = clinic.officer.clone();
        confirm(&mut clinic, &first, 1);
        clinic.ledger.advance_ms(1);
        let outcome = clinic.ok(&by, "reject_record", rejection(1));
        assert_eq!(outcome.events[0].0, "record.rejected");
        let record = clinic.record(&first, 1);
        assert_eq!(
            (record.state, record.reason),
            (State::Rejected, Some(RejectReason::Incomplete))
        );
        let other = officer("HospitalA", 0x42);
        clinic.refused(&other, "confirm_record", version(1), "wrong-state version");
        let newest = &history(&clinic, &first)[0];
        let last = newest.reviews.last().unwrap();
        assert_eq!(
            (last.finding, last.by.0, last.reason),
            (
                Finding::Rejected,
                by.fingerprint,
                Some(RejectReason::Incomplete)
            )
        );
    }
}

#[test]
fn a_policy_that_asks_for_fewer_leaves_nothing_undecided() {
    let mut clinic = Clinic::with_pending();
    ask_for(&mut clinic, 4, 0);
    for n in 0x41..0x44 {
        confirm(&mut clinic, &officer("HospitalA", n), 1);
    }
    ask_for(&mut clinic, 2, 0);
    let last = clinic.officer.clone();
    assert_eq!(confirm(&mut clinic, &last, 1), (State::Active, 0));
}

#[test]
fn settings_that_cannot_be_kept_stop_reviews_and_say_which_field() {
    let mut clinic = Clinic::with_pending();
    let officer = clinic.officer.clone();
    for (settings, expected) in [
        (
            r#"{"review":{"officers":0}}"#,
            "invalid-settings review.officers",
        ),
        (
            r#"{"review":{"elsewhere":2}}"#,
            "invalid-settings review.elsewhere",
        ),
        (r#"{"reviewers":2}"#, "invalid-settings reviewers"),
    ] {
        clinic.ledger.set_settings(settings.as_bytes());
        clinic.refused(&officer, "confirm_record", version(1), expected);
    }
}

#[test]
fn the_history_says_who_did_what_and_which_version_replaced_which() {
    let mut clinic = Clinic::with_record();
    let author = clinic.author.clone();
    let outcome = clinic.ok(&author, "amend_record", submission(2));
    let (name, payload) = &outcome.events[0];
    assert_eq!(name, "record.amended");
    let payload: Value = serde_json::from_slice(payload).unwrap();
    let expected = json!({
        "patient": id(PATIENT), "record": id(RECORD), "version": 2, "replaces": 1,
    });
    assert_eq!(payload, expected);
    assert_eq!(clinic.record(&author, 2).replaces, Some(1));
    clinic.confirm(2);
    let told: Vec<_> = history(&clinic, &author)
        .into_iter()
        .map(|change| {
            (
                change.event,
                change.by.0[0],
                change.latest,
                change.replaces,
                change.replaced_by,
                change.reviews.len(),
            )
        })
        .collect();
    let (by_author, by_officer) = (2, 3);
    assert_eq!(
        told,
        [
            (ChangeKind::Confirmed, by_officer, 2, None, None, 0),
            (ChangeKind::Amended, by_author, 2, Some(1), None, 1),
            (ChangeKind::Confirmed, by_officer, 1, None, None, 0),
            (ChangeKind::Submitted, by_author, 1, None, Some(2), 1),
        ]
    );
    let (old, new) = (clinic.record(&author, 1), clinic.record(&author, 2));
    assert_eq!((old.replaces, old.replaced_by), (None, Some(2)));
    assert_eq!((new.replaces, new.replaced_by), (Some(1), None));
    let kinds: Vec<_> = clinic.trail(&clinic.patient);
    assert!(kinds.iter().any(|entry| entry.event == AuditKind::Amended));
}

#[test]
fn an_amendment_of_what_was_never_confirmed_replaces_nothing() {
    let mut clinic = Clinic::with_pending();
    let (officer, author) = (clinic.officer.clone(), clinic.author.clone());
    clinic.ok(&officer, "reject_record", rejection(1));
    let outcome = clinic.ok(&author, "amend_record", submission(2));
    let payload: Value = serde_json::from_slice(&outcome.events[0].1).unwrap();
    assert_eq!(payload.get("replaces"), None);
    clinic.confirm(2);
    assert_eq!(clinic.record(&author, 2).replaces, None);
}

#[test]
fn a_record_takes_a_bounded_number_of_versions() {
    let mut clinic = Clinic::with_pending();
    let (officer, author) = (clinic.officer.clone(), clinic.author.clone());
    let mut amend = |number: u32| {
        let mut side = [0xbb; 32];
        side[..4].copy_from_slice(&number.to_be_bytes());
        let argument = submission(number).to_string();
        let ledger = &mut clinic.ledger;
        ledger
            .submit(
                &officer,
                "reject_record",
                &[rejection(number - 1).to_string().as_bytes()],
            )
            .unwrap();
        ledger.submit_with_side(&author, "amend_record", &[argument.as_bytes()], &[side])
    };
    for number in 2..=VERSIONS_MAX {
        amend(number).unwrap();
    }
    let error = amend(VERSIONS_MAX + 1).unwrap_err();
    assert_eq!(
        (error.code.as_str(), error.field.as_deref()),
        ("limit-exceeded", Some("version"))
    );
}

#[test]
fn what_a_record_reports_has_taken_place() {
    let mut clinic = Clinic::new();
    let author = clinic.author.clone();
    let now_ms = clinic.ledger.time_ms();
    let dated = |date: u64| with(submission(1), "date", json!(date));
    for date in [now_ms + 24 * HOUR_MS + 1, u64::MAX] {
        clinic.refused(
            &author,
            "submit_record",
            dated(date),
            "invalid-argument date",
        );
    }
    clinic.refused(
        &author,
        "submit_record",
        with(submission(1), "date", json!("2024-02-30")),
        "invalid-argument date",
    );
    clinic.ok(&author, "submit_record", dated(now_ms + 24 * HOUR_MS));
}

#[test]
fn lists_are_filtered_and_their_pages_go_on() {
    let mut clinic = Clinic::new();
    let (author, officer) = (clinic.author.clone(), clinic.officer.clone());
    let now_ms = clinic.ledger.time_ms();
    for n in 0..6u8 {
        let mut record = with(submission(1), "record", json!(id(0x40 + n)));
        if n % 2 == 1 {
            record["category"] = json!("laboratory");
            record["labels"] = json!(["HIV"]);
        }
        if n >= 4 {
            record["date"] = json!(1_000 * u64::from(n));
        }
        let by = if n == 0 { &officer } else { &author };
        clinic.ok(by, "submit_record", record);
    }
    clinic.ok(
        &officer,
        "confirm_record",
        json!({"record": id(0x41), "version": 1}),
    );
    clinic.ok(
        &officer,
        "reject_record",
        json!({"record": id(0x42), "version": 1, "reason": "duplicate"}),
    );
    let pages = |filter: Value, limit: u32| -> Vec<u8> {
        let mut request = filter;
        request["patient"] = json!(id(PATIENT));
        request["limit"] = json!(limit);
        let mut seen = Vec::new();
        for _ in 0..10 {
            let page: Page<RecordSummary> =
                clinic.ask(&clinic.patient, "list_records", request.clone());
            seen.extend(page.entries.into_iter().map(|entry| entry.record.0[0]));
            match page.bookmark {
                Some(bookmark) => request["bookmark"] = json!(bookmark),
                None => {
                    seen.sort();
                    return seen;
                }
            }
        }
        panic!("the pages do not end");
    };
    for limit in [1, 2, 5, 50] {
        let check = |filter: Value, expected: &[u8]| {
            assert_eq!(pages(filter.clone(), limit), expected, "{filter} {limit}");
        };
        check(json!({}), &[0x40, 0x41, 0x42, 0x43, 0x44, 0x45]);
        check(json!({"category": "laboratory"}), &[0x41, 0x43, 0x45]);
        check(json!({"label": "HIV", "state": "active"}), &[0x41]);
        check(json!({"label": "PSY"}), &[]);
        check(json!({"state": "rejected"}), &[0x42]);
        check(
            json!({"author": "02".repeat(32), "category": "patient-summary"}),
            &[0x42, 0x44],
        );
        check(json!({"organization": "HospitalB"}), &[]);
        check(json!({"from": 4_000, "to": 5_000}), &[0x44]);
        check(json!({"to": 5_001}), &[0x44, 0x45]);
        check(json!({"from": now_ms}), &[0x40, 0x41, 0x42, 0x43]);
    }
    for (filter, field) in [
        (json!({"category": "diagnosis"}), "category"),
        (json!({"label": "SECRET"}), "label"),
        (json!({"state": "lost"}), "state"),
        (json!({"author": "me"}), "author"),
        (json!({"organization": "../B"}), "organization"),
        (json!({"from": 5, "to": 5}), "to"),
        (json!({"to": 0}), "to"),
        (json!({"from": "2024-02-30"}), "from"),
    ] {
        let request = with(filter, "patient", json!(id(PATIENT)));
        let patient = clinic.patient.clone();
        let expected = format!("invalid-argument {field}");
        clinic.refused(&patient, "list_records", request, &expected);
    }
}

#[test]
fn an_event_concerns_the_patient_and_everybody_who_has_to_do_with_the_record() {
    let mut clinic = Clinic::with_consent();
    let (patient, author, officer, reader, stranger) = (
        clinic.patient.clone(),
        clinic.author.clone(),
        clinic.officer.clone(),
        clinic.reader.clone(),
        clinic.stranger.clone(),
    );
    assert_eq!(reasons(&clinic, &patient, 1), json!(["patient"]));
    assert_eq!(reasons(&clinic, &author, 1), json!(["author"]));
    assert_eq!(reasons(&clinic, &officer, 1), json!(["reviewer"]));
    assert_eq!(reasons(&clinic, &reader, 1), json!(["consent"]));
    assert_eq!(reasons(&clinic, &stranger, 1), json!([]));
    assert_eq!(clinic.decision(&reader, 1, "TREAT"), "permit consent");
    clinic.revoke(CONSENT);
    // Who has read goes on being told.
    assert_eq!(reasons(&clinic, &reader, 1), json!(["permit"]));
    assert_eq!(clinic.decision(&stranger, 1, "TREAT"), "deny actor");
    assert_eq!(reasons(&clinic, &stranger, 1), json!([]));
    let colleague = Caller::new("HospitalA", "practitioner", [8; 32]);
    clinic.ok(&colleague, "amend_record", submission(2));
    assert_eq!(reasons(&clinic, &author, 2), json!(["author"]));
    assert_eq!(reasons(&clinic, &colleague, 2), json!(["author"]));
    assert_eq!(reasons(&clinic, &reader, 2), json!(["permit"]));
    let impostor = Caller::new("HospitalC", "patient", [0x99; 32])
        .with_attribute("patient", &id(PATIENT).to_string());
    assert_eq!(reasons(&clinic, &impostor, 2), json!([]));
    let newest: Concerned = clinic.ask(&patient, "concerns", json!({"record": id(RECORD)}));
    assert_eq!(newest.version, 2);
    clinic.refused(&patient, "concerns", version(1), "evaluate-only");
    clinic.ask_refused(&patient, "concerns", version(9), "not-found");
    let unknown = json!({"record": id(9)});
    clinic.ask_refused(&patient, "concerns", unknown, "not-found");
}

#[test]
fn a_consent_for_any_purpose_concerns() {
    let mut clinic = Clinic::with_record();
    let reader = clinic.reader.clone();
    clinic.grant(CONSENT, with(to_b(), "purpose", json!(["HRESCH"])));
    assert_eq!(reasons(&clinic, &reader, 1), json!(["consent"]));
    clinic.grant(
        CONSENT + 1,
        json!({"type": "deny", "actor": {"id": "05".repeat(32)}, "purpose": ["HRESCH"]}),
    );
    assert_eq!(reasons(&clinic, &reader, 1), json!([]));
}

#[test]
fn refused_looks_at_pending_and_rejected_versions_are_committed() {
    let mut clinic = Clinic::with_pending();
    let (stranger, officer) = (clinic.stranger.clone(), clinic.officer.clone());
    let denied = |clinic: &mut Clinic| {
        clinic.ledger.advance_ms(1);
        let outcome = clinic.ok(&stranger, "request_access", access(1, "HUAPRV"));
        assert_eq!(outcome.events[0].0, "access.denied");
        let last = clinic.trail(&clinic.patient).pop().unwrap();
        assert_eq!(last.transaction.0, outcome.transaction_id);
        assert_eq!(last.reason.as_deref(), Some("not-active"));
    };
    denied(&mut clinic);
    clinic.ok(&officer, "reject_record", rejection(1));
    denied(&mut clinic);
}

#[test]
fn a_broken_glass_concerns_privacy_officers_until_it_is_reviewed() {
    let mut clinic = Clinic::with_record();
    let (privacy, stranger) = (clinic.privacy.clone(), clinic.stranger.clone());
    let elsewhere = Caller::new("HospitalC", "privacy-officer", [0x61; 32]);
    assert_eq!(reasons(&clinic, &privacy, 1), json!([]));
    let glass = with(
        with(access(1, "BTG"), "purpose", Value::Null),
        "reason",
        json!("life-threatening"),
    );
    let outcome = clinic.ok(&stranger, "break_glass", glass);
    for officer in [&privacy, &elsewhere] {
        assert_eq!(reasons(&clinic, officer, 1), json!(["emergency"]));
    }
    let uninvolved = Caller::new("HospitalB", "privacy-officer", [0x62; 32]);
    assert_eq!(reasons(&clinic, &uninvolved, 1), json!([]));
    let review = json!({
        "patient": id(PATIENT),
        "request": stela_consent::Hex(outcome.transaction_id),
        "practitioner": stela_consent::Hex(stranger.fingerprint),
        "finding": "justified",
    });
    clinic.ok(&privacy, "review_emergency", review);
    for officer in [&privacy, &elsewhere] {
        assert_eq!(reasons(&clinic, officer, 1), json!([]));
    }
}

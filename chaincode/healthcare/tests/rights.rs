//! What a patient has a right to know.

use super::support::{
    CONSENT, Clinic, HOUR_MS, OTHER_PATIENT, PATIENT, RECORD, id, submission, to_b, with,
};
use serde_json::{Value, json};
use stela_guest::Caller;
use stela_healthcare::answer::{Disclosure, DisclosureKind, Page, Reader};
use stela_healthcare::limits::{ACCOUNTING_YEARS, YEAR_MS};

const OTHER_RECORD: u8 = 0x22;

/// Everybody at HospitalB may read for some purposes; three of them have.
fn clinic() -> Clinic {
    let mut clinic = Clinic::with_record();
    let consent = json!({
        "type": "permit",
        "actor": {"org": "HospitalB"},
        "purpose": ["TREAT", "HPAYMT", "HOPERAT", "HRESCH", "PUBHLTH"],
    });
    clinic.grant(CONSENT, consent);
    clinic
}

fn pages<T: serde::de::DeserializeOwned>(
    clinic: &Clinic,
    caller: &Caller,
    function: &str,
    request: &Value,
    limit: u32,
) -> Vec<T> {
    let mut request = with(request.clone(), "limit", json!(limit));
    let mut entries = Vec::new();
    for _ in 0..100 {
        let page: Page<T> = clinic.ask(caller, function, request.clone());
        assert!(page.entries.len() <= limit as usize);
        entries.extend(page.entries);
        match page.bookmark {
            Some(bookmark) => request["bookmark"] = json!(bookmark),
            None => return entries,
        }
    }
    panic!("the pages do not end");
}

fn account(clinic: &Clinic, extra: Value) -> Vec<Disclosure> {
    let mut request = json!({"patient": id(PATIENT)});
    let fields = request.as_object_mut().unwrap();
    fields.extend(extra.as_object().unwrap().clone());
    let all = pages(clinic, &clinic.patient, "accounting", &request, 50);
    for limit in 1..4 {
        let parts: Vec<Disclosure> = pages(clinic, &clinic.privacy, "accounting", &request, limit);
        assert_eq!(parts, all, "{limit}");
    }
    all
}

#[test]
fn an_accounting_names_what_the_rule_asks_for_and_the_rest_on_demand() {
    let mut clinic = clinic();
    let (patient, reader, officer) = (
        clinic.patient.clone(),
        clinic.reader.clone(),
        clinic.officer.clone(),
    );
    let researcher = Caller::new("HospitalB", "researcher", [0x71; 32]);
    let step = |clinic: &mut Clinic, caller: &Caller, purpose: &str| {
        clinic.ledger.advance_ms(1_000);
        clinic.decision(caller, 1, purpose)
    };
    for purpose in ["TREAT", "HPAYMT", "HQUALIMP", "PUBHLTH", "THREAT"] {
        assert_eq!(step(&mut clinic, &reader, purpose), "permit consent");
    }
    assert_eq!(step(&mut clinic, &researcher, "BIORCH"), "permit consent");
    assert_eq!(step(&mut clinic, &patient, "PATRQT"), "permit patient");
    // What was denied was not disclosed.
    assert_eq!(step(&mut clinic, &reader, "HMARKT"), "deny purpose");
    assert_eq!(step(&mut clinic, &officer, "HUAPRV"), "deny actor");
    let kinds = |extra: Value| -> Vec<DisclosureKind> {
        let entries = account(&clinic, extra).into_iter();
        entries.map(|entry| entry.kind).collect()
    };
    use DisclosureKind::{Authorization, Individual, Operations, Payment, PublicHealth, Treatment};
    assert_eq!(kinds(json!({})), [PublicHealth, PublicHealth]);
    assert_eq!(
        kinds(json!({"all": true})),
        [
            Treatment,
            Payment,
            Operations,
            PublicHealth,
            PublicHealth,
            Authorization,
            Individual
        ]
    );
    assert_eq!(kinds(json!({"purpose": "THREAT"})), [PublicHealth]);
    assert_eq!(
        kinds(json!({"purpose": "HRESCH", "all": true})),
        [Authorization]
    );
    let recipient = json!({"recipient": "71".repeat(32), "all": true});
    assert_eq!(kinds(recipient), [Authorization]);
    let first = &account(&clinic, json!({"all": true}))[0];
    assert_eq!(first.recipient.0, reader.fingerprint);
    assert_eq!(first.organization.as_str(), "HospitalB");
    assert_eq!((first.record, first.version), (id(RECORD), 1));
    let told = serde_json::to_value(first).unwrap();
    assert_eq!(told["category"], "patient-summary");
    assert_eq!(told["role"], "practitioner");
    assert_eq!(told["basis"], "consent");
    assert_eq!(told["purpose"], "TREAT");
}

#[test]
fn an_accounting_keeps_to_its_period_and_to_six_years() {
    let mut clinic = clinic();
    let reader = clinic.reader.clone();
    let start_ms = clinic.ledger.time_ms();
    let mut times = Vec::new();
    for _ in 0..3 {
        clinic.ledger.advance_ms(HOUR_MS);
        clinic.decision(&reader, 1, "PUBHLTH");
        times.push(clinic.ledger.time_ms());
    }
    let found = |clinic: &Clinic, extra: Value| -> Vec<u64> {
        let entries = account(clinic, extra).into_iter();
        entries.map(|entry| entry.time).collect()
    };
    assert_eq!(found(&clinic, json!({})), times);
    assert_eq!(found(&clinic, json!({"from": times[1]})), times[1..]);
    assert_eq!(found(&clinic, json!({"to": times[1]})), times[..1]);
    assert_eq!(
        found(&clinic, json!({"from": times[1], "to": times[1] + 1})),
        times[1..2]
    );
    assert!(found(&clinic, json!({"from": 0, "to": start_ms})).is_empty());
    assert!(found(&clinic, json!({"from": u64::MAX - 1, "to": u64::MAX})).is_empty());
    clinic
        .ledger
        .advance_ms(u64::from(ACCOUNTING_YEARS) * YEAR_MS - HOUR_MS);
    assert_eq!(found(&clinic, json!({"from": 0})), times[1..]);
    clinic.ledger.advance_ms(2 * HOUR_MS);
    assert!(found(&clinic, json!({})).is_empty());
    assert!(found(&clinic, json!({"from": 0, "to": 1})).is_empty());
}

#[test]
fn a_part_of_the_period_is_read_and_not_the_whole_trail() {
    let costs = |before: u32| {
        let mut clinic = clinic();
        let reader = clinic.reader.clone();
        for _ in 0..before {
            clinic.ledger.advance_ms(1_000);
            clinic.decision(&reader, 1, "PUBHLTH");
        }
        clinic.ledger.advance_ms(1_000);
        clinic.decision(&reader, 1, "PUBHLTH");
        let request = json!({"patient": id(PATIENT), "from": clinic.ledger.time_ms()}).to_string();
        let outcome = clinic
            .ledger
            .evaluate(&clinic.patient, "accounting", &[request.as_bytes()])
            .unwrap();
        (outcome.reads, outcome.ranges, outcome.payload.len())
    };
    assert_eq!(costs(0), costs(20));
}

#[test]
fn readers_are_told_record_by_record_with_their_newest_permit() {
    let mut clinic = clinic();
    let (patient, author, officer, reader) = (
        clinic.patient.clone(),
        clinic.author.clone(),
        clinic.officer.clone(),
        clinic.reader.clone(),
    );
    let colleague = Caller::new("HospitalB", "practitioner", [0x72; 32]);
    let other = with(submission(1), "record", json!(id(OTHER_RECORD)));
    clinic.ok(&author, "submit_record", other);
    let other = json!({"record": id(OTHER_RECORD), "version": 1});
    clinic.ok(&officer, "confirm_record", other);
    clinic.ok(&author, "amend_record", submission(2));
    clinic.confirm(2);
    // A record that nobody has read.
    let unread = with(submission(1), "record", json!(id(0x1f)));
    clinic.ok(&author, "submit_record", unread);
    let ask = |clinic: &mut Clinic, caller: &Caller, record: u8, version: u32| {
        clinic.ledger.advance_ms(1_000);
        let request = json!({
            "patient": id(PATIENT), "record": id(record), "version": version, "purpose": "TREAT",
        });
        clinic.ok(caller, "request_access", request);
    };
    ask(&mut clinic, &reader, RECORD, 1);
    ask(&mut clinic, &reader, RECORD, 1);
    let newest_ms = clinic.ledger.time_ms();
    ask(&mut clinic, &colleague, RECORD, 1);
    ask(&mut clinic, &colleague, RECORD, 2);
    ask(&mut clinic, &colleague, OTHER_RECORD, 1);
    clinic.revoke(CONSENT);
    let request = json!({"patient": id(PATIENT)});
    let all: Vec<Reader> = pages(&clinic, &patient, "readers", &request, 50);
    let told: Vec<_> = all
        .iter()
        .map(|r| (r.record.0[0], r.version, r.reader.0[0]))
        .collect();
    assert_eq!(
        told,
        [
            (RECORD, 1, 5),
            (RECORD, 1, 0x72),
            (RECORD, 2, 0x72),
            (OTHER_RECORD, 1, 0x72)
        ]
    );
    assert_eq!(all[0].time, newest_ms);
    assert_eq!(all[0].expires, newest_ms + HOUR_MS);
    assert_eq!(all[0].organization.as_str(), "HospitalB");
    for limit in 1..6 {
        let parts: Vec<Reader> = pages(&clinic, &clinic.privacy, "readers", &request, limit);
        assert_eq!(parts, all, "{limit}");
    }
    let one = with(request.clone(), "record", json!(id(OTHER_RECORD)));
    for limit in 1..3 {
        let parts: Vec<Reader> = pages(&clinic, &patient, "readers", &one, limit);
        assert_eq!(parts, all[3..]);
    }
    for bookmark in ["", "00", "zz", "6700", "670041410000", &"61".repeat(600)] {
        let bad = with(request.clone(), "bookmark", json!(bookmark));
        clinic.ask_refused(&patient, "readers", bad, "invalid-argument");
    }
}

#[test]
fn rights_are_the_patients_and_her_own_privacy_officers() {
    let mut clinic = clinic();
    let (patient, reader) = (clinic.patient.clone(), clinic.reader.clone());
    clinic.decision(&reader, 1, "PUBHLTH");
    let impostor = Caller::new("HospitalC", "patient", [0x99; 32])
        .with_attribute("patient", &id(PATIENT).to_string());
    let elsewhere = Caller::new("HospitalB", "privacy-officer", [0x61; 32]);
    let request = json!({"patient": id(PATIENT)});
    for function in ["accounting", "readers"] {
        for caller in [
            &clinic.author,
            &clinic.officer,
            &clinic.reader,
            &elsewhere,
            &impostor,
        ] {
            clinic.ask_refused(caller, function, request.clone(), "forbidden");
        }
        let unknown = json!({"patient": id(OTHER_PATIENT)});
        clinic.ask_refused(&clinic.privacy, function, unknown, "not-found");
        clinic
            .ledger
            .submit(&patient, function, &[b"{"])
            .unwrap_err();
        let mut refuse = |field: &str, value: Value, expected: &str| {
            let request = with(request.clone(), field, value);
            clinic.refused(&patient, function, request, expected);
        };
        refuse("limit", json!(5), "evaluate-only");
        refuse("note", json!("free text"), "invalid-argument note");
    }
}

#[test]
fn a_bad_question_names_its_field() {
    let clinic = clinic();
    let check = |function: &str, field: &str, value: Value| {
        let request = with(json!({"patient": id(PATIENT)}), field, value);
        let text = request.to_string();
        let error = clinic
            .ledger
            .evaluate(&clinic.patient, function, &[text.as_bytes()])
            .unwrap_err();
        assert_eq!(
            (error.code.as_str(), error.field.as_deref()),
            ("invalid-argument", Some(field)),
            "{request}"
        );
    };
    check("accounting", "purpose", json!("CURIOSITY"));
    check("accounting", "recipient", json!("Jane Doe"));
    check("accounting", "from", json!("2024-02-30"));
    check("accounting", "from", json!(-1));
    check("accounting", "to", json!(0));
    check("accounting", "all", json!("yes"));
    check("accounting", "limit", json!(0));
    check("accounting", "bookmark", json!("00"));
    check("readers", "record", json!("all"));
    check("readers", "limit", json!(201));
}

#[test]
fn readers_of_another_patients_record_are_not_told() {
    let mut clinic = clinic();
    let other = Caller::new("HospitalA", "patient", [7; 32])
        .with_attribute("patient", &id(OTHER_PATIENT).to_string());
    clinic.ok(
        &other,
        "register_patient",
        json!({"patient": id(OTHER_PATIENT)}),
    );
    clinic.grant(CONSENT + 1, to_b());
    let request = json!({"patient": id(OTHER_PATIENT), "record": id(RECORD)});
    clinic.ask_refused(&other, "readers", request, "invalid-argument");
    let none: Vec<Reader> = pages(
        &clinic,
        &other,
        "readers",
        &json!({"patient": id(OTHER_PATIENT)}),
        5,
    );
    assert!(none.is_empty());
}

#[test]
fn a_delegate_uses_the_patients_rights_when_she_was_given_them() {
    let mut clinic = clinic();
    let (patient, reader) = (clinic.patient.clone(), clinic.reader.clone());
    let (attorney, visitor) = (
        Caller::new("HospitalB", "practitioner", [0x81; 32]),
        Caller::new("HospitalB", "practitioner", [0x82; 32]),
    );
    clinic.decision(&reader, 1, "PUBHLTH");
    for (n, delegate, scope) in [(1, &attorney, "rights"), (2, &visitor, "consent")] {
        let named = json!({
            "patient": id(PATIENT),
            "delegation": id(0x90 + n),
            "delegate": stela_consent::Hex(delegate.fingerprint),
            "kind": "HPOWATT",
            "scope": [scope],
            "until": clinic.ledger.time_ms() + HOUR_MS,
        });
        clinic.ok(&patient, "name_delegate", named);
    }
    let request = json!({"patient": id(PATIENT)});
    let erasure = with(request.clone(), "record", json!(id(RECORD)));
    for function in ["accounting", "readers", "erasures"] {
        let found: Page<Value> = clinic.ask(&attorney, function, request.clone());
        let expected = usize::from(function != "erasures");
        assert_eq!(found.entries.len(), expected, "{function}");
        clinic.ask_refused(&visitor, function, request.clone(), "forbidden");
    }
    clinic.refused(
        &visitor,
        "request_erasure",
        erasure.clone(),
        "forbidden delegation.scope",
    );
    clinic.ledger.advance_ms(1);
    clinic.ok(&attorney, "request_erasure", erasure.clone());
    let last = clinic.trail_end(&patient);
    assert_eq!(last.delegation, Some(id(0x91)));
    let concerned: Value = clinic.ask(&attorney, "concerns", json!({"record": id(RECORD)}));
    assert_eq!(concerned["reasons"], json!(["delegate", "consent"]));
    clinic.ledger.advance_ms(HOUR_MS);
    clinic.ask_refused(&attorney, "accounting", request, "forbidden");
}

//! Consent, access, keys, audit.

use super::support::{
    CID, CONSENT, Clinic, HOUR_MS, OTHER_PATIENT, PATIENT, RECORD, access, id, submission, to_b,
    with,
};
use serde_json::{Value, json};
use stela_guest::Caller;
use stela_healthcare::answer::{AuditKind, FiledConsent, Page, ReadGrant, Verdict};
use stela_healthcare::limits::{CONSENTS_MAX, OTHERS_WRAPS_MAX, PERMIT_MS, WRAPS_MAX};

fn grant(clinic: &Clinic, caller: &Caller, extra: Option<&str>) -> Result<ReadGrant, String> {
    let mut request = json!({"patient": id(PATIENT), "record": id(RECORD), "version": 1});
    if let Some(transaction) = extra {
        request["request"] = json!(transaction);
    }
    let text = request.to_string();
    match clinic
        .ledger
        .evaluate(caller, "read_grant", &[text.as_bytes()])
    {
        Ok(outcome) => Ok(serde_json::from_slice(&outcome.payload).unwrap()),
        Err(error) => Err(error.code),
    }
}

#[test]
fn consent_is_granted_and_revoked_by_the_patient_alone() {
    let mut clinic = Clinic::with_record();
    let consent = with(to_b(), "id", json!(id(CONSENT)));
    for caller in [
        clinic.author.clone(),
        clinic.privacy.clone(),
        clinic.reader.clone(),
    ] {
        clinic.refused(&caller, "grant_consent", consent.clone(), "forbidden");
    }
    let unregistered = Caller::new("HospitalA", "patient", [7; 32])
        .with_attribute("patient", &id(OTHER_PATIENT).to_string());
    clinic.refused(
        &unregistered,
        "grant_consent",
        consent.clone(),
        "not-found patient",
    );
    let patient = clinic.patient.clone();
    let outcome = clinic.ok(&patient, "grant_consent", consent.clone());
    assert_eq!(outcome.events[0].0, "consent.granted");
    clinic.refused(&patient, "grant_consent", consent, "already-exists consent");
    let revoke = json!({"patient": id(PATIENT), "consent": id(CONSENT)});
    clinic.refused(
        &unregistered,
        "revoke_consent",
        revoke.clone(),
        "forbidden patient",
    );
    let reader = clinic.reader.clone();
    clinic.refused(
        &reader,
        "revoke_consent",
        revoke.clone(),
        "forbidden patient",
    );
    let missing = json!({"patient": id(PATIENT), "consent": id(9)});
    clinic.refused(&patient, "revoke_consent", missing, "not-found consent");
    let outcome = clinic.ok(&patient, "revoke_consent", revoke.clone());
    assert_eq!(outcome.events[0].0, "consent.revoked");
    clinic.refused(&patient, "revoke_consent", revoke, "wrong-state consent");
}

#[test]
fn a_malformed_consent_names_its_field() {
    let mut clinic = Clinic::with_record();
    let patient = clinic.patient.clone();
    let consent = with(to_b(), "id", json!(id(CONSENT)));
    let mut check = |field: &str, value: Value, expected: &str| {
        let request = with(consent.clone(), field, value);
        clinic.refused(&patient, "grant_consent", request, expected);
    };
    check(
        "purpose",
        json!(["TREAT", "CURIOSITY"]),
        "invalid-argument purpose[1]",
    );
    check(
        "actor",
        json!({"org": "HospitalB", "role": "nurse"}),
        "invalid-argument actor.role",
    );
    check(
        "except",
        json!([{"type": "deny", "label": ["X"]}]),
        "invalid-argument except[0].label[0]",
    );
    check("text", json!("my diagnosis"), "invalid-argument text");
    check("period", json!([5, 1]), "invalid-argument period");
    check("id", json!("1"), "invalid-argument id");
    check("purpose", Value::Null, "invalid-argument arguments");
}

#[test]
fn a_grant_is_small_and_stores_the_signed_bytes() {
    let mut clinic = Clinic::with_record();
    let outcome = clinic.grant(CONSENT, to_b());
    let argument = with(to_b(), "id", json!(id(CONSENT)))
        .to_string()
        .into_bytes();
    // The consent and its audit entry: both are the argument, which costs a reference each.
    assert_eq!(outcome.writes.len(), 2);
    assert!(
        outcome
            .writes
            .values()
            .all(|value| value.as_ref() == Some(&argument))
    );
    let keys: usize = outcome.writes.keys().map(Vec::len).sum();
    assert!(keys <= 130, "{keys} bytes of keys");
    // Whether the certificate is hers, and whether the id is taken. No range: grants never conflict.
    assert_eq!((outcome.reads, outcome.ranges), (2, 0));
}

#[test]
fn without_consent_access_is_denied_and_the_denial_is_recorded() {
    let mut clinic = Clinic::with_record();
    let reader = clinic.reader.clone();
    let outcome = clinic.ok(&reader, "request_access", access(1, "TREAT"));
    assert_eq!(outcome.events[0].0, "access.denied");
    let decision: stela_healthcare::answer::AccessDecision =
        serde_json::from_slice(&outcome.payload).unwrap();
    assert_eq!(decision.decision, Verdict::Deny);
    assert_eq!(
        (decision.reason.as_str(), decision.expires),
        ("no-consent", None)
    );
    assert_eq!(decision.request.0, outcome.transaction_id);
    let trail = clinic.trail(&clinic.patient);
    let last = trail.last().unwrap();
    assert_eq!(last.event, AuditKind::AccessDenied);
    assert_eq!(last.by.unwrap().0, reader.fingerprint);
    assert_eq!(last.reason.as_deref(), Some("no-consent"));
    assert_eq!(last.transaction.0, outcome.transaction_id);
    assert_eq!(grant(&clinic, &reader, None).unwrap_err(), "forbidden");
}

#[test]
fn with_consent_access_is_permitted_until_it_expires() {
    let mut clinic = Clinic::with_consent();
    let reader = clinic.reader.clone();
    let decision = clinic.request(&reader, 1, "TREAT");
    assert_eq!(decision.decision, Verdict::Permit);
    assert_eq!(decision.consent, Some(id(CONSENT)));
    assert_eq!(decision.provision, Some(vec![]));
    assert_eq!(decision.expires, Some(clinic.ledger.time_ms() + PERMIT_MS));
    let last = clinic.trail(&clinic.patient).pop().unwrap();
    assert_eq!(last.event, AuditKind::AccessPermitted);
    assert_eq!(
        (last.consent, last.provision),
        (Some(id(CONSENT)), Some(vec![]))
    );
    let transaction = decision.request.to_string();
    let granted = grant(&clinic, &reader, Some(&transaction)).unwrap();
    assert_eq!(granted.record.cid.as_str(), CID);
    assert_eq!(granted.record.wraps.len(), 1);
    assert_eq!(clinic.record(&reader, 1).record, id(RECORD));
    // Another person's permit, or another transaction, opens nothing.
    let colleague = Caller::new("HospitalB", "practitioner", [8; 32]);
    assert_eq!(
        grant(&clinic, &colleague, Some(&transaction)).unwrap_err(),
        "forbidden"
    );
    assert_eq!(
        grant(&clinic, &reader, Some(&"00".repeat(32))).unwrap_err(),
        "forbidden"
    );
    clinic.ledger.advance_ms(PERMIT_MS - 1);
    assert!(grant(&clinic, &reader, None).is_ok());
    clinic.ledger.advance_ms(1);
    assert_eq!(grant(&clinic, &reader, None).unwrap_err(), "forbidden");
}

#[test]
fn a_revocation_ends_permits_too() {
    let mut clinic = Clinic::with_consent();
    let reader = clinic.reader.clone();
    assert_eq!(clinic.decision(&reader, 1, "TREAT"), "permit consent");
    assert!(grant(&clinic, &reader, None).is_ok());
    clinic.revoke(CONSENT);
    assert_eq!(grant(&clinic, &reader, None).unwrap_err(), "forbidden");
    assert_eq!(clinic.decision(&reader, 1, "TREAT"), "deny revoked");
}

#[test]
fn the_time_of_the_transaction_counts() {
    let mut clinic = Clinic::with_record();
    let reader = clinic.reader.clone();
    let now = clinic.ledger.time_ms();
    let period = json!([now + HOUR_MS, now + 2 * HOUR_MS + HOUR_MS / 2]);
    clinic.grant(CONSENT, with(to_b(), "period", period));
    assert_eq!(clinic.decision(&reader, 1, "TREAT"), "deny not-yet-valid");
    clinic.ledger.advance_ms(HOUR_MS);
    let decision = clinic.request(&reader, 1, "TREAT");
    assert_eq!(decision.expires, Some(now + 2 * HOUR_MS));
    clinic.ledger.advance_ms(HOUR_MS);
    // A permit does not outlast its consent.
    let decision = clinic.request(&reader, 1, "TREAT");
    assert_eq!(decision.expires, Some(now + 2 * HOUR_MS + HOUR_MS / 2));
    clinic.ledger.advance_ms(HOUR_MS / 2);
    assert_eq!(clinic.decision(&reader, 1, "TREAT"), "deny expired");
}

#[test]
fn every_criterion_denies_with_its_reason() {
    let mut clinic = Clinic::new();
    let (author, reader, stranger) = (
        clinic.author.clone(),
        clinic.reader.clone(),
        clinic.stranger.clone(),
    );
    let sensitive = with(
        with(submission(1), "labels", json!(["PSY"])),
        "confidentiality",
        json!("R"),
    );
    clinic.ok(&author, "submit_record", sensitive);
    clinic.confirm(1);
    let mut consent = CONSENT;
    let mut next = |clinic: &mut Clinic, body: Value| {
        consent += 1;
        clinic.grant(consent, body);
    };
    next(&mut clinic, to_b());
    assert_eq!(clinic.decision(&reader, 1, "TREAT"), "deny confidentiality");
    assert_eq!(clinic.decision(&reader, 1, "HRESCH"), "deny purpose");
    assert_eq!(clinic.decision(&stranger, 1, "TREAT"), "deny actor");
    next(&mut clinic, with(to_b(), "max", json!("R")));
    assert_eq!(clinic.decision(&reader, 1, "TREAT"), "deny label");
    let covers = with(with(to_b(), "max", json!("R")), "label", json!(["PSY"]));
    next(
        &mut clinic,
        with(covers.clone(), "category", json!(["laboratory"])),
    );
    assert_eq!(clinic.decision(&reader, 1, "TREAT"), "deny category");
    next(&mut clinic, with(covers.clone(), "data", json!([0, null])));
    assert_eq!(clinic.decision(&reader, 1, "TREAT"), "deny data-period");
    next(
        &mut clinic,
        with(covers.clone(), "record", json!([id(0x77)])),
    );
    assert_eq!(clinic.decision(&reader, 1, "TREAT"), "deny record");
    next(&mut clinic, covers);
    assert_eq!(clinic.decision(&reader, 1, "TREAT"), "permit consent");
    assert_eq!(clinic.decision(&reader, 1, "ETREAT"), "permit consent");
    next(
        &mut clinic,
        json!({"type": "deny", "actor": {"id": "05".repeat(32)}}),
    );
    assert_eq!(
        clinic.decision(&reader, 1, "TREAT"),
        "deny denied-by-provision"
    );
}

#[test]
fn a_consent_for_an_organization_is_for_its_workforce() {
    let mut clinic = Clinic::with_record();
    let everyone = with(to_b(), "actor", json!({"org": "HospitalB"}));
    clinic.grant(CONSENT, everyone);
    for role in ["patient", "device", "admin", "peer", "client"] {
        let caller = Caller::new("HospitalB", role, [8; 32]);
        assert_eq!(clinic.decision(&caller, 1, "TREAT"), "deny actor", "{role}");
    }
}

#[test]
fn access_is_asked_for_in_a_transaction_only() {
    let clinic = Clinic::with_consent();
    clinic.ask_refused(
        &clinic.reader,
        "request_access",
        access(1, "TREAT"),
        "endorse-only",
    );
}

#[test]
fn a_request_about_nothing_is_an_error_and_leaves_no_trace() {
    let mut clinic = Clinic::with_consent();
    let reader = clinic.reader.clone();
    let mut check = |field: &str, value: Value, expected: &str| {
        let request = with(access(1, "TREAT"), field, value);
        clinic.refused(&reader, "request_access", request, expected);
    };
    check("record", json!(id(0x77)), "not-found record");
    check("version", json!(2), "not-found version");
    check(
        "patient",
        json!(id(OTHER_PATIENT)),
        "invalid-argument patient",
    );
    check("purpose", json!("CURIOSITY"), "invalid-argument purpose");
    check("why", json!("because"), "invalid-argument why");
}

#[test]
fn what_is_not_confirmed_is_for_patient_author_and_reviewer() {
    let mut clinic = Clinic::with_pending();
    clinic.grant(CONSENT, to_b());
    let (patient, author, officer, reader) = (
        clinic.patient.clone(),
        clinic.author.clone(),
        clinic.officer.clone(),
        clinic.reader.clone(),
    );
    let elsewhere = Caller::new("HospitalB", "records-officer", [8; 32]);
    for (caller, purpose) in [
        (&reader, "TREAT"),
        (&officer, "TREAT"),
        (&elsewhere, "HUAPRV"),
        (&author, "HMARKT"),
    ] {
        assert_eq!(clinic.decision(caller, 1, purpose), "deny not-active");
    }
    assert_eq!(clinic.decision(&patient, 1, "PATRQT"), "permit patient");
    assert_eq!(clinic.decision(&author, 1, "TREAT"), "permit author");
    assert_eq!(clinic.decision(&author, 1, "RECORDMGT"), "permit author");
    assert_eq!(clinic.decision(&officer, 1, "HUAPRV"), "permit review");
    assert!(grant(&clinic, &officer, None).is_ok());
    clinic.confirm(1);
    // With the confirmation the reviewer's and the author's own access end.
    assert_eq!(grant(&clinic, &officer, None).unwrap_err(), "forbidden");
    assert_eq!(grant(&clinic, &author, None).unwrap_err(), "forbidden");
    assert_eq!(clinic.decision(&officer, 1, "HUAPRV"), "deny actor");
    assert_eq!(clinic.decision(&author, 1, "TREAT"), "deny actor");
    assert_eq!(clinic.decision(&reader, 1, "TREAT"), "permit consent");
    assert_eq!(clinic.decision(&patient, 1, "FAMRQT"), "permit patient");
    assert_eq!(clinic.decision(&patient, 1, "HMARKT"), "deny actor");
}

#[test]
fn an_old_version_stays_readable_to_those_entitled() {
    let mut clinic = Clinic::with_consent();
    let (author, reader, stranger) = (
        clinic.author.clone(),
        clinic.reader.clone(),
        clinic.stranger.clone(),
    );
    clinic.ok(&author, "amend_record", submission(2));
    assert_eq!(clinic.decision(&reader, 2, "TREAT"), "deny not-active");
    clinic.confirm(2);
    assert_eq!(clinic.decision(&reader, 1, "TREAT"), "permit consent");
    assert_eq!(clinic.decision(&reader, 2, "TREAT"), "permit consent");
    assert_eq!(clinic.decision(&stranger, 1, "TREAT"), "deny actor");
    assert_eq!(
        grant(&clinic, &reader, None).unwrap().record.replaced_by,
        Some(2)
    );
}

#[test]
fn keys_are_shared_by_the_patient_or_by_the_author_under_a_consent() {
    let mut clinic = Clinic::with_record();
    let request = json!({"patient": id(PATIENT), "record": id(RECORD), "version": 1});
    let (patient, author, reader) = (
        clinic.patient.clone(),
        clinic.author.clone(),
        clinic.reader.clone(),
    );
    clinic.refused(&reader, "share_keys", request.clone(), "forbidden patient");
    clinic.refused(&author, "share_keys", request.clone(), "forbidden record");
    let outcome = clinic.ok(&patient, "share_keys", request.clone());
    assert_eq!(outcome.events[0].0, "keys.shared");
    clinic.grant(CONSENT, to_b());
    clinic.ok(&author, "share_keys", request.clone());
    assert_eq!(clinic.record(&patient, 1).wraps.len(), 3);
    clinic.revoke(CONSENT);
    clinic.refused(&author, "share_keys", request.clone(), "forbidden record");
    let other = with(request.clone(), "patient", json!(id(OTHER_PATIENT)));
    clinic.refused(&patient, "share_keys", other, "invalid-argument patient");
    let text = request.to_string();
    let twice = |clinic: &mut Clinic| {
        let arguments = [text.as_bytes()];
        clinic
            .ledger
            .submit_with_side(&patient, "share_keys", &arguments, &[[0xee; 32]])
    };
    assert!(twice(&mut clinic).is_ok());
    assert_eq!(twice(&mut clinic).unwrap_err().code, "already-exists");
}

#[test]
fn no_keys_are_added_to_a_rejected_version() {
    let mut clinic = Clinic::with_pending();
    let officer = clinic.officer.clone();
    let reject = json!({"record": id(RECORD), "version": 1, "reason": "incomplete"});
    clinic.ok(&officer, "reject_record", reject);
    let patient = clinic.patient.clone();
    let request = json!({"patient": id(PATIENT), "record": id(RECORD), "version": 1});
    clinic.refused(&patient, "share_keys", request, "wrong-state version");
}

#[test]
fn consents_are_shown_to_the_patient_her_officers_and_an_author() {
    let mut clinic = Clinic::with_consent();
    clinic.grant(CONSENT + 1, to_b());
    clinic.revoke(CONSENT);
    let list = |caller: &Caller, request: Value| -> Vec<(bool, bool)> {
        let page: Page<FiledConsent> = clinic.ask(caller, "list_consents", request);
        page.entries
            .into_iter()
            .map(|filed| {
                (
                    filed.status == stela_consent::Status::Active,
                    filed.revoked.is_some(),
                )
            })
            .collect()
    };
    let all = json!({"patient": id(PATIENT)});
    assert_eq!(
        list(&clinic.patient, all.clone()),
        [(false, true), (true, false)]
    );
    assert_eq!(list(&clinic.privacy, all.clone()).len(), 2);
    let named = json!({"patient": id(PATIENT), "record": id(RECORD)});
    assert_eq!(list(&clinic.author, named.clone()), [(true, false)]);
    clinic.ask_refused(&clinic.author, "list_consents", all.clone(), "forbidden");
    clinic.ask_refused(&clinic.reader, "list_consents", named, "forbidden");
    clinic.ask_refused(&clinic.stranger, "list_consents", all, "forbidden");
}

#[test]
fn the_audit_trail_has_everything_in_order() {
    let mut clinic = Clinic::with_record();
    let (reader, patient) = (clinic.reader.clone(), clinic.patient.clone());
    let step = |clinic: &mut Clinic| clinic.ledger.advance_ms(1000);
    step(&mut clinic);
    clinic.request(&reader, 1, "TREAT");
    step(&mut clinic);
    clinic.grant(CONSENT, to_b());
    step(&mut clinic);
    let share = json!({"patient": id(PATIENT), "record": id(RECORD), "version": 1});
    clinic.ok(&patient, "share_keys", share);
    step(&mut clinic);
    clinic.request(&reader, 1, "TREAT");
    step(&mut clinic);
    clinic.revoke(CONSENT);
    let trail = clinic.trail(&clinic.privacy);
    let kinds: Vec<AuditKind> = trail.iter().map(|entry| entry.event).collect();
    assert_eq!(
        kinds,
        [
            AuditKind::Registered,
            AuditKind::Submitted,
            AuditKind::Confirmed,
            AuditKind::AccessDenied,
            AuditKind::ConsentGranted,
            AuditKind::KeysShared,
            AuditKind::AccessPermitted,
            AuditKind::ConsentRevoked,
        ]
    );
    assert!(trail.is_sorted_by_key(|entry| entry.time));
    assert_eq!(trail[4].consent, Some(id(CONSENT)));
    assert_eq!(trail[4].by.unwrap().0, patient.fingerprint);
    let home = trail[4].organization.as_ref().unwrap();
    assert_eq!(home.as_str(), patient.organization);
    assert_eq!(trail[7].consent, Some(id(CONSENT)));
    assert_eq!(trail, clinic.trail(&clinic.patient));
    // Another organization's privacy officer answers for her own people only.
    let elsewhere = Caller::new("HospitalB", "privacy-officer", [8; 32]);
    let own = clinic.trail(&elsewhere);
    assert_eq!(own.len(), 2);
    assert!(
        own.iter()
            .all(|entry| entry.by.unwrap().0 == reader.fingerprint)
    );
    for caller in [
        &clinic.author,
        &clinic.officer,
        &clinic.reader,
        &clinic.stranger,
    ] {
        let request = json!({"patient": id(PATIENT)});
        clinic.ask_refused(caller, "audit_trail", request, "forbidden");
    }
    let unknown = json!({"patient": id(OTHER_PATIENT)});
    clinic.ask_refused(&clinic.privacy, "audit_trail", unknown, "not-found");
}

#[test]
fn nothing_of_a_refused_call_stands_in_its_error() {
    let mut clinic = Clinic::with_consent();
    let reader = clinic.reader.clone();
    let canary = "Jane-Doe-F32.2";
    for request in [
        with(access(1, "TREAT"), "purpose", json!(canary)),
        with(access(1, "TREAT"), "record", json!(canary)),
        with(access(1, "TREAT"), "version", json!(canary)),
        with(access(1, "TREAT"), "patient", json!([canary])),
        json!(canary),
    ] {
        let error = clinic
            .submit(&reader, "request_access", &request)
            .unwrap_err();
        assert!(!error.to_string().contains(canary), "{error}");
    }
}

/// A certificate for the patient, from an organization.
fn certificate(organization: &str, role: &str) -> Caller {
    let fingerprint = if role == "device" { 0x98 } else { 0x99 };
    Caller::new(organization, role, [fingerprint; 32])
        .with_attribute("patient", &id(PATIENT).to_string())
}

#[test]
fn another_organizations_certificate_for_the_patient_is_worth_nothing() {
    let mut clinic = Clinic::with_consent();
    let impostor = certificate("HospitalC", "patient");
    let own = with(submission(1), "record", json!(id(0x22)));
    let of_patient = json!({"patient": id(PATIENT)});
    let version = json!({"patient": id(PATIENT), "record": id(RECORD), "version": 1});
    let consent = with(to_b(), "id", json!(id(CONSENT + 1)));
    let revoke = json!({"patient": id(PATIENT), "consent": id(CONSENT)});
    let key = data_encoding::BASE64.encode(&[9; stela_healthcare::limits::PUBLIC_KEY_BYTES]);
    for (function, argument, expected) in [
        (
            "register_patient",
            of_patient.clone(),
            "already-exists patient",
        ),
        ("grant_consent", consent, "forbidden patient"),
        ("revoke_consent", revoke, "forbidden patient"),
        ("share_keys", version, "forbidden patient"),
        (
            "register_encryption_key",
            json!({"key": key}),
            "forbidden patient",
        ),
        ("submit_record", own.clone(), "forbidden patient"),
        ("amend_record", submission(2), "forbidden patient"),
    ] {
        clinic.refused(&impostor, function, argument, expected);
    }
    let device = certificate("HospitalC", "device");
    clinic.refused(&device, "submit_record", own.clone(), "forbidden");
    assert_eq!(clinic.decision(&impostor, 1, "PATRQT"), "deny actor");
    for function in ["list_consents", "audit_trail"] {
        clinic.ask_refused(&impostor, function, of_patient.clone(), "forbidden");
    }
    let record = json!({"record": id(RECORD), "version": 1});
    clinic.ask_refused(&impostor, "get_record", record, "forbidden");
    let listed: Page<Value> = clinic.ask(&impostor, "list_records", of_patient.clone());
    assert!(listed.entries.is_empty());
    // A pending version of her own is no way in either.
    let patient = clinic.patient.clone();
    clinic.ok(&patient, "submit_record", own);
    let listed: Page<Value> = clinic.ask(&impostor, "list_records", of_patient);
    assert!(listed.entries.is_empty());
}

#[test]
fn a_renewed_certificate_is_hers_when_the_one_before_says_so() {
    let mut clinic = Clinic::with_consent();
    let renewed = certificate("HospitalA", "patient");
    let patient = clinic.patient.clone();
    let own = json!({"patient": id(PATIENT), "certificate": "99".repeat(32)});
    clinic.ok(&patient, "add_certificate", own);
    let of_patient = json!({"patient": id(PATIENT)});
    let version = json!({"patient": id(PATIENT), "record": id(RECORD), "version": 1});
    let consent = with(to_b(), "id", json!(id(CONSENT + 1)));
    let revoke = json!({"patient": id(PATIENT), "consent": id(CONSENT)});
    let key = data_encoding::BASE64.encode(&[9; stela_healthcare::limits::PUBLIC_KEY_BYTES]);
    clinic.ok(&renewed, "grant_consent", consent);
    clinic.ok(&renewed, "revoke_consent", revoke);
    clinic.ok(&renewed, "share_keys", version);
    clinic.ok(&renewed, "register_encryption_key", json!({"key": key}));
    assert_eq!(clinic.decision(&renewed, 1, "PATRQT"), "permit patient");
    let consents: Page<FiledConsent> = clinic.ask(&renewed, "list_consents", of_patient.clone());
    assert_eq!(consents.entries.len(), 2);
    let listed: Page<Value> = clinic.ask(&renewed, "list_records", of_patient);
    assert_eq!(listed.entries.len(), 1);
    assert_eq!(clinic.trail(&renewed), clinic.trail(&clinic.patient));
    assert_eq!(clinic.record(&renewed, 1).record, id(RECORD));
}

#[test]
fn trying_out_versions_that_are_not_active_leaves_a_trace() {
    let mut clinic = Clinic::with_pending();
    let (stranger, officer) = (clinic.stranger.clone(), clinic.officer.clone());
    assert_eq!(clinic.decision(&stranger, 1, "TREAT"), "deny not-active");
    let reject = json!({"record": id(RECORD), "version": 1, "reason": "incomplete"});
    clinic.ok(&officer, "reject_record", reject);
    clinic.ledger.advance_ms(1);
    let outcome = clinic.ok(&stranger, "request_access", access(1, "TREAT"));
    assert_eq!(outcome.events[0].0, "access.denied");
    let trail = clinic.trail(&clinic.patient);
    let denied: Vec<_> = trail
        .iter()
        .filter(|entry| entry.event == AuditKind::AccessDenied)
        .collect();
    assert_eq!(denied.len(), 2);
    for entry in denied {
        assert_eq!(entry.by.unwrap().0, stranger.fingerprint);
        assert_eq!(entry.reason.as_deref(), Some("not-active"));
    }
    assert_eq!(grant(&clinic, &stranger, None).unwrap_err(), "forbidden");
}

#[test]
fn no_list_of_wrapped_keys_is_added_that_would_not_be_named() {
    let mut clinic = Clinic::with_consent();
    let (patient, author) = (clinic.patient.clone(), clinic.author.clone());
    let request = json!({"patient": id(PATIENT), "record": id(RECORD), "version": 1}).to_string();
    let mut made: u32 = 1;
    let mut share = |clinic: &mut Clinic, caller: &Caller| {
        made += 1;
        let mut side = [0xaa; 32];
        side[..4].copy_from_slice(&made.to_be_bytes());
        clinic
            .ledger
            .submit_with_side(caller, "share_keys", &[request.as_bytes()], &[side])
            .map_err(|error| error.code)
    };
    // The list that the author submitted the record with is the first of hers.
    for _ in 1..OTHERS_WRAPS_MAX {
        share(&mut clinic, &author).unwrap();
    }
    assert_eq!(share(&mut clinic, &author).unwrap_err(), "limit-exceeded");
    for _ in OTHERS_WRAPS_MAX..WRAPS_MAX {
        share(&mut clinic, &patient).unwrap();
    }
    assert_eq!(share(&mut clinic, &patient).unwrap_err(), "limit-exceeded");
    assert_eq!(share(&mut clinic, &author).unwrap_err(), "limit-exceeded");
    let named = clinic.record(&patient, 1).wraps.len();
    assert_eq!(named, WRAPS_MAX as usize);
}

#[test]
fn more_consents_than_can_be_looked_at_open_nothing_and_say_so() {
    let mut clinic = Clinic::with_record();
    let (patient, reader) = (clinic.patient.clone(), clinic.reader.clone());
    let mut granted: u32 = 0;
    let mut grant_one = |clinic: &mut Clinic| {
        granted += 1;
        let mut consent = [0; 16];
        consent[..4].copy_from_slice(&granted.to_be_bytes());
        let consent = with(to_b(), "id", json!(stela_consent::Hex(consent))).to_string();
        clinic
            .ledger
            .submit(&patient, "grant_consent", &[consent.as_bytes()])
            .unwrap();
    };
    for _ in 0..CONSENTS_MAX {
        grant_one(&mut clinic);
    }
    assert_eq!(clinic.decision(&reader, 1, "TREAT"), "permit consent");
    assert!(grant(&clinic, &reader, None).is_ok());
    grant_one(&mut clinic);
    clinic.ledger.advance_ms(1);
    assert_eq!(grant(&clinic, &reader, None).unwrap_err(), "forbidden");
    assert_eq!(
        clinic.decision(&reader, 1, "TREAT"),
        "deny too-many-consents"
    );
    let last = clinic.trail_end(&clinic.patient);
    assert_eq!(last.reason.as_deref(), Some("too-many-consents"));
    // Her own access and her list go on.
    assert_eq!(clinic.decision(&patient, 1, "PATRQT"), "permit patient");
    let page: Page<FiledConsent> =
        clinic.ask(&patient, "list_consents", json!({"patient": id(PATIENT)}));
    assert!(page.bookmark.is_some());
}

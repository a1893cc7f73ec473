//! Who is a patient, who acts for her, and who asks for her consent.

use super::support::{
    CONSENT, Clinic, HOUR_MS, OTHER_PATIENT, PATIENT, RECORD, id, submission, to_b, with,
};
use serde_json::{Value, json};
use stela_guest::Caller;
use stela_healthcare::answer::{
    AuditKind, Certificates, EncryptionKeyChange, FiledConsentRequest, FiledDelegation, Page,
};
use stela_healthcare::limits::{
    CERTIFICATES_MAX, CONSENT_REQUEST_MS_MAX, DELEGATES_MAX, DELEGATION_MS_MAX, GUARDIAN_MS_MAX,
    OTHERS_WRAPS_MAX, POWER_MS_MAX, PUBLIC_KEY_BYTES, REBIND_WAIT_MS, REBOUND_MAX,
};
use stela_healthcare::{DelegateKind, RequestState};

const DELEGATION: u8 = 0x41;
const REQUEST: u8 = 0x51;
const DAY_MS: u64 = 24 * HOUR_MS;
/// The certificate of the patient's second telephone.
const SECOND: u8 = 0xa2;

/// A certificate of HospitalA that names the patient.
fn own(certificate: u8) -> Caller {
    Caller::new("HospitalA", "patient", [certificate; 32])
        .with_attribute("patient", &id(PATIENT).to_string())
}

/// Somebody whom the patient may name: a patient of another hospital.
fn daughter() -> Caller {
    Caller::new("HospitalB", "patient", [0xd1; 32])
        .with_attribute("patient", &id(OTHER_PATIENT).to_string())
}

fn hex(certificate: u8) -> String {
    format!("{certificate:02x}").repeat(32)
}

fn certificate(certificate: u8) -> Value {
    json!({"patient": id(PATIENT), "certificate": hex(certificate)})
}

/// The daughter holds a power of attorney for health care for `scope`, for a day.
fn naming(clinic: &Clinic, scope: Value) -> Value {
    json!({
        "patient": id(PATIENT),
        "delegation": id(DELEGATION),
        "delegate": hex(0xd1),
        "kind": "HPOWATT",
        "scope": scope,
        "until": clinic.ledger.time_ms() + DAY_MS,
    })
}

fn delegation() -> Value {
    json!({"patient": id(PATIENT), "delegate": hex(0xd1), "delegation": id(DELEGATION)})
}

fn with_delegate(mut clinic: Clinic, scope: Value) -> (Clinic, Caller) {
    let (patient, request) = (clinic.patient.clone(), naming(&clinic, scope));
    clinic.ok(&patient, "name_delegate", request);
    (clinic, daughter())
}

fn grant_for(consent: u8, body: Value) -> Value {
    json!({"patient": id(PATIENT), "consent": with(body, "id", json!(id(consent)))})
}

fn revoke(consent: u8) -> Value {
    json!({"patient": id(PATIENT), "consent": id(consent)})
}

fn asking(clinic: &Clinic) -> Value {
    json!({
        "patient": id(PATIENT),
        "request": id(REQUEST),
        "consent": with(with(to_b(), "id", json!(id(CONSENT))), "category", json!(["laboratory", "imaging"])),
        "reason": "referral",
        "expires": clinic.ledger.time_ms() + DAY_MS,
    })
}

fn answering(decision: &str, consent: Value) -> Value {
    let answer = json!({"patient": id(PATIENT), "request": id(REQUEST), "decision": decision});
    with(answer, "consent", consent)
}

fn listed_requests(clinic: &Clinic, caller: &Caller) -> Vec<FiledConsentRequest> {
    let page: Page<FiledConsentRequest> = clinic.ask(
        caller,
        "list_consent_requests",
        json!({"patient": id(PATIENT)}),
    );
    page.entries
}

fn listed_delegates(clinic: &Clinic, caller: &Caller) -> Vec<FiledDelegation> {
    let page: Page<FiledDelegation> =
        clinic.ask(caller, "list_delegates", json!({"patient": id(PATIENT)}));
    page.entries
}

// A patient's certificates.

#[test]
fn a_certificate_of_her_organization_alone_is_not_the_patients() {
    let mut clinic = Clinic::with_consent();
    let forged = own(0x99);
    let consent = with(to_b(), "id", json!(id(CONSENT + 1)));
    let version = json!({"patient": id(PATIENT), "record": id(RECORD), "version": 1});
    let key = data_encoding::BASE64.encode(&[9; PUBLIC_KEY_BYTES]);
    let record = with(submission(1), "record", json!(id(0x22)));
    for (function, argument) in [
        ("grant_consent", consent.clone()),
        (
            "grant_consent_for",
            json!({"patient": id(PATIENT), "consent": consent}),
        ),
        ("revoke_consent", revoke(CONSENT)),
        ("share_keys", version),
        ("register_encryption_key", json!({"key": key})),
        ("submit_record", record),
        ("add_certificate", certificate(0x98)),
        ("remove_certificate", certificate(1)),
        ("cancel_rebinding", certificate(1)),
        ("name_delegate", naming(&clinic, json!(["read"]))),
    ] {
        clinic.refused(&forged, function, argument, "forbidden patient");
    }
    assert_eq!(clinic.decision(&forged, 1, "PATRQT"), "deny actor");
    for function in [
        "list_consents",
        "audit_trail",
        "list_certificates",
        "get_record",
    ] {
        let argument = match function {
            "get_record" => json!({"record": id(RECORD), "version": 1}),
            _ => json!({"patient": id(PATIENT)}),
        };
        clinic.ask_refused(&forged, function, argument, "forbidden");
    }
    assert!(listed_delegates(&clinic, &forged).is_empty());
    assert!(listed_requests(&clinic, &forged).is_empty());
}

#[test]
fn the_patient_adds_certificates_and_removes_all_but_one() {
    let mut clinic = Clinic::with_record();
    let (patient, second) = (clinic.patient.clone(), own(SECOND));
    clinic.refused(
        &second,
        "add_certificate",
        certificate(SECOND),
        "forbidden patient",
    );
    let outcome = clinic.ok(&patient, "add_certificate", certificate(SECOND));
    assert_eq!(outcome.events[0].0, "certificate.added");
    let exists = "already-exists certificate";
    clinic.refused(&patient, "add_certificate", certificate(SECOND), exists);
    assert_eq!(clinic.decision(&second, 1, "PATRQT"), "permit patient");
    // A certificate of another organization is no way in, even when she adds it.
    let elsewhere = Caller {
        organization: "HospitalC".to_owned(),
        ..second.clone()
    };
    assert_eq!(clinic.decision(&elsewhere, 1, "PATRQT"), "deny no-consent");
    let key = data_encoding::BASE64.encode(&[9; PUBLIC_KEY_BYTES]);
    clinic.ok(&patient, "register_encryption_key", json!({"key": key}));
    let keys = |clinic: &Clinic, argument: Value| -> usize {
        let page: Page<Value> = clinic.ask(&clinic.author, "encryption_keys", argument);
        page.entries.len()
    };
    let of_patient = json!({"patient": id(PATIENT)});
    let by_role = json!({"organization": "HospitalA", "role": "patient"});
    assert_eq!(keys(&clinic, of_patient.clone()), 1);
    // The new one takes the old one away, and its published key with it.
    let outcome = clinic.ok(&second, "remove_certificate", certificate(1));
    assert_eq!(outcome.events[0].0, "certificate.removed");
    for argument in [of_patient, by_role, json!({"fingerprint": hex(1)})] {
        assert_eq!(keys(&clinic, argument), 0);
    }
    assert_eq!(clinic.decision(&patient, 1, "PATRQT"), "deny no-consent");
    clinic.refused(
        &patient,
        "add_certificate",
        certificate(1),
        "forbidden patient",
    );
    let last = "wrong-state certificate";
    clinic.refused(&second, "remove_certificate", certificate(SECOND), last);
    let missing = "not-found certificate";
    clinic.refused(&second, "remove_certificate", certificate(1), missing);
    let trail = clinic.trail(&second);
    let end: Vec<AuditKind> = trail.iter().map(|entry| entry.event).collect();
    assert!(end.contains(&AuditKind::CertificateAdded));
    let removed = trail
        .iter()
        .find(|entry| entry.event == AuditKind::CertificateRemoved)
        .unwrap();
    assert_eq!(removed.subject.unwrap().0, [1; 32]);
    assert_eq!(removed.by.unwrap().0, second.fingerprint);
    let listed: Certificates = clinic.ask(
        &clinic.officer,
        "list_certificates",
        json!({"patient": id(PATIENT)}),
    );
    assert_eq!(listed.certificates.len(), 1);
    assert!(listed.certificates[0].counts);
}

#[test]
fn what_a_removed_certificate_wrote_opens_nothing_to_it() {
    let mut clinic = Clinic::new();
    let (patient, second) = (clinic.patient.clone(), own(SECOND));
    clinic.ok(&patient, "add_certificate", certificate(SECOND));
    clinic.ok(&patient, "submit_record", submission(1));
    clinic.grant(CONSENT, to_b());
    assert_eq!(clinic.decision(&patient, 1, "PATRQT"), "permit patient");
    clinic.ok(&second, "remove_certificate", certificate(1));
    assert_eq!(clinic.decision(&patient, 1, "TREAT"), "deny not-active");
    let version = json!({"patient": id(PATIENT), "record": id(RECORD), "version": 1});
    clinic.refused(&patient, "share_keys", version.clone(), "forbidden patient");
    clinic.ask_refused(&patient, "read_grant", version, "forbidden");
    let record = json!({"record": id(RECORD), "version": 1});
    clinic.ask_refused(&patient, "get_record", record.clone(), "forbidden");
    clinic.ask_refused(&patient, "record_history", record_of(&record), "forbidden");
    assert_eq!(clinic.decision(&second, 1, "PATRQT"), "permit patient");
}

fn record_of(version: &Value) -> Value {
    json!({"record": version["record"]})
}

#[test]
fn a_patient_has_only_so_many_certificates() {
    let mut clinic = Clinic::new();
    let patient = clinic.patient.clone();
    for n in 1..CERTIFICATES_MAX as u8 {
        clinic.ok(&patient, "add_certificate", certificate(0xa0 + n));
    }
    let full = "limit-exceeded certificate";
    clinic.refused(&patient, "add_certificate", certificate(0xb0), full);
    // Who lost them all is not kept out.
    let privacy = clinic.privacy.clone();
    for n in 0..REBOUND_MAX as u8 {
        clinic.ok(&privacy, "rebind_patient", certificate(0xc0 + n));
        clinic.ledger.advance_ms(REBIND_WAIT_MS);
    }
    clinic.refused(&privacy, "rebind_patient", certificate(0xb0), full);
    clinic.ok(&own(0xc0), "remove_certificate", certificate(1));
    clinic.ok(&privacy, "rebind_patient", certificate(0xb0));
}

#[test]
fn a_rebinding_waits_alerts_and_then_counts() {
    let mut clinic = Clinic::with_record();
    let (privacy, found) = (clinic.privacy.clone(), own(SECOND));
    for caller in [
        clinic.officer.clone(),
        clinic.author.clone(),
        clinic.patient.clone(),
        Caller::new("HospitalB", "privacy-officer", [8; 32]),
    ] {
        let refusal = "forbidden patient";
        clinic.refused(&caller, "rebind_patient", certificate(SECOND), refusal);
    }
    let unknown = with(certificate(SECOND), "patient", json!(id(OTHER_PATIENT)));
    clinic.refused(&privacy, "rebind_patient", unknown, "not-found patient");
    let exists = "already-exists certificate";
    clinic.refused(&privacy, "rebind_patient", certificate(1), exists);
    let outcome = clinic.ok(&privacy, "rebind_patient", certificate(SECOND));
    let from = clinic.ledger.time_ms() + REBIND_WAIT_MS;
    let (name, payload) = &outcome.events[0];
    assert_eq!(name, "patient.rebinding");
    let payload: Value = serde_json::from_slice(payload).unwrap();
    assert_eq!(
        payload,
        json!({"patient": id(PATIENT), "certificate": hex(SECOND), "from": from})
    );
    let waits = "wrong-state patient";
    clinic.refused(&privacy, "rebind_patient", certificate(0xa3), waits);
    clinic.ledger.advance_ms(REBIND_WAIT_MS - 1);
    clinic.refused(
        &found,
        "remove_certificate",
        certificate(1),
        "forbidden patient",
    );
    assert_eq!(clinic.decision(&found, 1, "PATRQT"), "deny no-consent");
    clinic.ledger.advance_ms(1);
    assert_eq!(clinic.decision(&found, 1, "PATRQT"), "permit patient");
    clinic.refused(
        &clinic.patient.clone(),
        "cancel_rebinding",
        certificate(SECOND),
        "wrong-state certificate",
    );
    clinic.ok(&found, "remove_certificate", certificate(1));
    let patient = clinic.patient.clone();
    assert_eq!(clinic.decision(&patient, 1, "PATRQT"), "deny no-consent");
}

#[test]
fn a_rebinding_is_cancelled_by_the_patient_a_delegate_or_the_officer() {
    let mut clinic = Clinic::new();
    let (patient, privacy) = (clinic.patient.clone(), clinic.privacy.clone());
    let reading = naming(&clinic, json!(["read", "consent"]));
    clinic.ok(&patient, "name_delegate", reading);
    let rebind = |clinic: &mut Clinic| {
        clinic.ledger.advance_ms(1);
        clinic.ok(&privacy, "rebind_patient", certificate(SECOND));
    };
    rebind(&mut clinic);
    let cancel = certificate(SECOND);
    for (caller, refusal) in [
        (clinic.reader.clone(), "forbidden patient"),
        (clinic.officer.clone(), "forbidden patient"),
        (own(SECOND), "forbidden patient"),
        (daughter(), "forbidden delegation.scope"),
    ] {
        clinic.refused(&caller, "cancel_rebinding", cancel.clone(), refusal);
    }
    let waiting = "wrong-state certificate";
    clinic.refused(&patient, "remove_certificate", cancel.clone(), waiting);
    let outcome = clinic.ok(&patient, "cancel_rebinding", cancel.clone());
    assert_eq!(outcome.events[0].0, "patient.rebinding-cancelled");
    let missing = "not-found certificate";
    clinic.refused(&patient, "cancel_rebinding", cancel.clone(), missing);
    rebind(&mut clinic);
    clinic.ok(&privacy, "cancel_rebinding", cancel.clone());
    rebind(&mut clinic);
    let rights = with(
        naming(&clinic, json!(["rights"])),
        "delegation",
        json!(id(DELEGATION + 1)),
    );
    clinic.ok(&patient, "name_delegate", rights);
    clinic.ledger.advance_ms(1);
    clinic.ok(&daughter(), "cancel_rebinding", cancel);
    let last = clinic.trail_end(&patient);
    assert_eq!(last.event, AuditKind::RebindingCancelled);
    assert_eq!(last.delegation, Some(id(DELEGATION + 1)));
    clinic.ledger.advance_ms(REBIND_WAIT_MS);
    clinic.refused(
        &own(SECOND),
        "add_certificate",
        certificate(0xa4),
        "forbidden patient",
    );
}

#[test]
fn the_consortium_sets_how_long_a_rebinding_waits() {
    let mut clinic = Clinic::with_record();
    let privacy = clinic.privacy.clone();
    clinic.ledger.set_settings(br#"{"rebind_wait_ms":1000}"#);
    clinic.ok(&privacy, "rebind_patient", certificate(SECOND));
    clinic.ledger.advance_ms(1000);
    assert_eq!(clinic.decision(&own(SECOND), 1, "PATRQT"), "permit patient");
    clinic.ledger.set_settings(br#"{"rebind_wait":1000}"#);
    let broken = "invalid-settings rebind_wait";
    clinic.refused(&privacy, "rebind_patient", certificate(0xa3), broken);
}

#[test]
fn a_new_encryption_key_leaves_the_old_one_in_view() {
    let mut clinic = Clinic::new();
    let patient = clinic.patient.clone();
    let key = |n: u8| json!({"key": data_encoding::BASE64.encode(&[n; PUBLIC_KEY_BYTES])});
    let outcome = clinic.ok(&patient, "register_encryption_key", key(1));
    assert_eq!(outcome.events[0].0, "key.registered");
    // The same key again changes nothing.
    let outcome = clinic.ok(&patient, "register_encryption_key", key(1));
    assert!(outcome.events.is_empty());
    clinic.ledger.advance_ms(1);
    let outcome = clinic.ok(&patient, "register_encryption_key", key(2));
    assert_eq!(outcome.events[0].0, "key.rotated");
    let last = clinic.trail_end(&patient);
    assert_eq!(last.event, AuditKind::KeyRotated);
    assert_eq!(last.subject.unwrap().0, patient.fingerprint);
    assert_eq!(last.transaction.0, outcome.transaction_id);
    let author = clinic.author.clone();
    let outcome = clinic.ok(&author, "register_encryption_key", key(3));
    let payload: Value = serde_json::from_slice(&outcome.events[0].1).unwrap();
    assert_eq!(payload, json!({"certificate": hex(2)}));
    let outcome = clinic.ok(&author, "register_encryption_key", key(4));
    assert_eq!(outcome.events[0].0, "key.rotated");
    clinic.ok(&patient, "add_certificate", certificate(SECOND));
    clinic.ok(&own(SECOND), "remove_certificate", certificate(1));
    let history: Page<EncryptionKeyChange> = clinic.ask(
        &clinic.reader,
        "encryption_key_history",
        json!({"fingerprint": hex(1)}),
    );
    let keys: Vec<Option<Value>> = history
        .entries
        .into_iter()
        .map(|change| change.key.map(|key| json!({"key": key})))
        .collect();
    assert_eq!(keys, [None, Some(key(2)), Some(key(1)), Some(key(1))]);
    let argument = json!({"fingerprint": hex(1)});
    clinic.refused(&author, "encryption_key_history", argument, "evaluate-only");
}

// Delegates.

#[test]
fn a_delegate_grants_and_revokes_within_his_scope_and_time() {
    let (mut clinic, delegate) = with_delegate(Clinic::with_record(), json!(["consent"]));
    let (reader, patient) = (clinic.reader.clone(), clinic.patient.clone());
    clinic.refused(
        &reader,
        "grant_consent_for",
        grant_for(CONSENT, to_b()),
        "forbidden patient",
    );
    clinic.ledger.advance_ms(1);
    let outcome = clinic.ok(&delegate, "grant_consent_for", grant_for(CONSENT, to_b()));
    assert_eq!(outcome.events[0].0, "consent.granted");
    let until = listed_delegates(&clinic, &patient)[0].until;
    assert_eq!(outcome.expires_at_ms, Some(until));
    let last = clinic.trail_end(&patient);
    assert_eq!(last.event, AuditKind::ConsentGranted);
    assert_eq!(last.by.unwrap().0, delegate.fingerprint);
    assert_eq!(
        (last.consent, last.delegation),
        (Some(id(CONSENT)), Some(id(DELEGATION)))
    );
    assert_eq!(clinic.decision(&reader, 1, "TREAT"), "permit consent");
    let exists = "already-exists consent";
    clinic.refused(
        &delegate,
        "grant_consent_for",
        grant_for(CONSENT, to_b()),
        exists,
    );
    clinic.ledger.advance_ms(1);
    clinic.ok(&delegate, "revoke_consent", revoke(CONSENT));
    assert_eq!(clinic.trail_end(&patient).delegation, Some(id(DELEGATION)));
    // Beyond the scope.
    let hers = json!({"patient": id(PATIENT)});
    let told: Certificates = clinic.ask(&delegate, "list_certificates", hers);
    assert_eq!(told.certificates[0].certificate.0, patient.fingerprint);
    for function in ["audit_trail", "erasures"] {
        let error = clinic
            .ledger
            .evaluate(
                &delegate,
                function,
                &[json!({"patient": id(PATIENT)}).to_string().as_bytes()],
            )
            .unwrap_err();
        assert_eq!(error.code, "forbidden");
        assert_eq!(error.field.as_deref(), Some("delegation.scope"));
    }
    assert_eq!(clinic.decision(&delegate, 1, "PWATRNY"), "deny actor");
    // Beyond the end.
    clinic.ledger.advance_ms(DAY_MS);
    for (function, argument) in [
        ("grant_consent_for", grant_for(CONSENT + 1, to_b())),
        ("revoke_consent", revoke(CONSENT)),
    ] {
        clinic.refused(&delegate, function, argument, "forbidden delegation.until");
    }
}

#[test]
fn a_delegate_decides_nothing_about_himself() {
    let (mut clinic, delegate) = with_delegate(Clinic::with_record(), json!(["consent", "read"]));
    let named = json!({"type": "permit", "actor": {"id": hex(0xd1)}, "purpose": ["TREAT"]});
    clinic.refused(
        &delegate,
        "grant_consent_for",
        grant_for(CONSENT, named),
        "forbidden consent.actor",
    );
    assert_eq!(clinic.decision(&delegate, 1, "PWATRNY"), "permit delegate");
    let deny = json!({"type": "deny", "actor": {"id": hex(0xd1)}});
    clinic.grant(CONSENT, deny);
    assert_eq!(
        clinic.decision(&delegate, 1, "PWATRNY"),
        "deny denied-by-provision"
    );
    clinic.refused(
        &delegate,
        "revoke_consent",
        revoke(CONSENT),
        "forbidden consent.actor",
    );
    // What she says about everybody is not about him.
    clinic.revoke(CONSENT);
    clinic.grant(CONSENT + 1, json!({"type": "deny"}));
    assert_eq!(clinic.decision(&delegate, 1, "PWATRNY"), "permit delegate");
}

#[test]
fn a_delegate_reads_what_is_active_for_the_purpose_of_his_kind() {
    let (mut clinic, delegate) = with_delegate(Clinic::with_pending(), json!(["read"]));
    assert_eq!(clinic.decision(&delegate, 1, "PWATRNY"), "deny not-active");
    clinic.confirm(1);
    for purpose in ["PATRQT", "FAMRQT", "TREAT", "SUPNWK"] {
        assert_eq!(
            clinic.decision(&delegate, 1, purpose),
            "deny no-consent",
            "{purpose}"
        );
    }
    clinic.ledger.advance_ms(1);
    let decision = clinic.request(&delegate, 1, "PWATRNY");
    assert_eq!(decision.delegation, Some(id(DELEGATION)));
    let last = clinic.trail_end(&clinic.patient);
    assert_eq!(last.event, AuditKind::AccessPermitted);
    assert_eq!(last.delegation, Some(id(DELEGATION)));
    assert_eq!(clinic.record(&delegate, 1).record, id(RECORD));
    let of_patient = json!({"patient": id(PATIENT)});
    let listed: Page<Value> = clinic.ask(&delegate, "list_records", of_patient.clone());
    assert_eq!(listed.entries.len(), 1);
    let author = clinic.author.clone();
    clinic.ok(&author, "amend_record", submission(2));
    assert_eq!(clinic.decision(&delegate, 2, "PWATRNY"), "deny not-active");
    let pending = json!({"record": id(RECORD), "version": 2});
    clinic.ask_refused(&delegate, "get_record", pending, "forbidden");
    clinic.confirm(2);
    // An earlier version stays readable.
    assert_eq!(clinic.decision(&delegate, 1, "PWATRNY"), "permit delegate");
    clinic.ask_refused(
        &delegate,
        "record_history",
        json!({"record": id(RECORD)}),
        "forbidden",
    );
    clinic.ask_refused(&delegate, "list_consents", of_patient, "forbidden");
}

#[test]
fn a_permit_of_a_delegate_ends_with_the_delegation() {
    let (mut clinic, delegate) = with_delegate(Clinic::with_record(), json!(["read"]));
    let patient = clinic.patient.clone();
    clinic.ledger.advance_ms(DAY_MS - HOUR_MS / 2);
    let decision = clinic.request(&delegate, 1, "PWATRNY");
    let end = clinic.ledger.time_ms() + HOUR_MS / 2;
    assert_eq!(decision.expires, Some(end));
    let version = json!({"patient": id(PATIENT), "record": id(RECORD), "version": 1});
    let granted: Value = clinic.ask(&delegate, "read_grant", version.clone());
    assert_eq!(granted["expires"], json!(end));
    clinic.ok(&patient, "end_delegation", delegation());
    clinic.ask_refused(&delegate, "read_grant", version, "forbidden");
    assert_eq!(clinic.decision(&delegate, 1, "PWATRNY"), "deny no-consent");
}

#[test]
fn a_guardian_does_not_see_what_a_minor_keeps_to_herself() {
    for (labels, expected) in [
        (json!([]), "permit delegate"),
        (json!(["MH"]), "permit delegate"),
        (json!(["ADOL"]), "deny no-consent"),
        (json!(["MH", "SDV"]), "deny no-consent"),
    ] {
        let mut clinic = Clinic::new();
        let (author, patient) = (clinic.author.clone(), clinic.patient.clone());
        let record = with(submission(1), "labels", labels.clone());
        clinic.ok(&author, "submit_record", record);
        clinic.confirm(1);
        let guardian = with(naming(&clinic, json!(["read"])), "kind", json!("GUARD"));
        clinic.ok(&patient, "name_delegate", guardian);
        let decision = clinic.decision(&daughter(), 1, "FAMRQT");
        assert_eq!(decision, expected, "{labels}");
        let listed: Page<Value> =
            clinic.ask(&daughter(), "list_records", json!({"patient": id(PATIENT)}));
        assert_eq!(listed.entries.is_empty(), expected != "permit delegate");
    }
}

#[test]
fn a_guardian_whom_officers_name_waits_and_is_bounded() {
    let mut clinic = Clinic::with_record();
    let (officer, patient) = (clinic.officer.clone(), clinic.patient.clone());
    let majority = clinic.ledger.time_ms() + GUARDIAN_MS_MAX;
    let guardian = with(
        with(
            naming(&clinic, json!(["consent", "read", "rights"])),
            "kind",
            json!("GUARD"),
        ),
        "until",
        json!(majority),
    );
    for kind in ["POWATT", "HPOWATT", "DPOWATT", "EXCEST"] {
        let other = with(guardian.clone(), "kind", json!(kind));
        clinic.refused(&officer, "name_delegate", other, "forbidden kind");
    }
    let late = with(guardian.clone(), "until", json!(majority + 1));
    clinic.refused(&officer, "name_delegate", late, "invalid-argument until");
    let without = with(guardian.clone(), "until", Value::Null);
    clinic.refused(&officer, "name_delegate", without, "invalid-argument until");
    let himself = with(guardian.clone(), "delegate", json!(hex(3)));
    clinic.refused(
        &officer,
        "name_delegate",
        himself,
        "invalid-argument delegate",
    );
    let elsewhere = Caller::new("HospitalB", "records-officer", [8; 32]);
    clinic.refused(
        &elsewhere,
        "name_delegate",
        guardian.clone(),
        "forbidden patient",
    );
    let outcome = clinic.ok(&officer, "name_delegate", guardian);
    assert_eq!(outcome.events[0].0, "delegate.named");
    let payload: Value = serde_json::from_slice(&outcome.events[0].1).unwrap();
    let from = clinic.ledger.time_ms() + REBIND_WAIT_MS;
    assert_eq!(payload["from"], json!(from));
    let delegate = daughter();
    let early = "forbidden delegation.from";
    clinic.refused(
        &delegate,
        "grant_consent_for",
        grant_for(CONSENT, to_b()),
        early,
    );
    assert_eq!(clinic.decision(&delegate, 1, "FAMRQT"), "deny no-consent");
    clinic.ledger.advance_ms(REBIND_WAIT_MS);
    assert_eq!(clinic.decision(&delegate, 1, "FAMRQT"), "permit delegate");
    clinic.ok(&delegate, "grant_consent_for", grant_for(CONSENT, to_b()));
    clinic.ledger.advance_ms(GUARDIAN_MS_MAX);
    assert_eq!(clinic.decision(&delegate, 1, "FAMRQT"), "deny actor");
    clinic.refused(
        &delegate,
        "revoke_consent",
        revoke(CONSENT),
        "forbidden delegation.until",
    );
    // What was granted stays, until she who came of age revokes it.
    clinic.ok(&patient, "revoke_consent", revoke(CONSENT));
    clinic.ok(&officer, "end_delegation", delegation());
    assert!(listed_delegates(&clinic, &patient).is_empty());
}

#[test]
fn an_executor_acts_after_her_death_was_attested_and_a_wait() {
    let mut clinic = Clinic::with_record();
    let (patient, privacy) = (clinic.patient.clone(), clinic.privacy.clone());
    let executor = with(
        with(naming(&clinic, json!(["read"])), "kind", json!("EXCEST")),
        "until",
        json!(clinic.ledger.time_ms() + 10 * REBIND_WAIT_MS),
    );
    clinic.ok(&patient, "name_delegate", executor);
    let delegate = daughter();
    assert_eq!(clinic.decision(&delegate, 1, "PATRQT"), "deny no-consent");
    clinic.refused(
        &clinic.officer.clone(),
        "activate_delegation",
        delegation(),
        "forbidden patient",
    );
    let outcome = clinic.ok(&privacy, "activate_delegation", delegation());
    assert_eq!(outcome.events[0].0, "delegation.activated");
    let again = "wrong-state delegation";
    clinic.refused(&privacy, "activate_delegation", delegation(), again);
    assert_eq!(clinic.decision(&delegate, 1, "PATRQT"), "deny no-consent");
    clinic.ledger.advance_ms(REBIND_WAIT_MS);
    assert_eq!(clinic.decision(&delegate, 1, "PATRQT"), "permit delegate");
    // Who is alive objects.
    clinic.ok(&patient, "end_delegation", delegation());
    assert_eq!(clinic.decision(&delegate, 1, "PATRQT"), "deny no-consent");
    let missing = "not-found delegation";
    clinic.refused(&privacy, "activate_delegation", delegation(), missing);
    let power = naming(&clinic, json!(["read"]));
    clinic.ok(&patient, "name_delegate", power);
    clinic.refused(&privacy, "activate_delegation", delegation(), again);
}

#[test]
fn a_delegate_names_nobody_and_is_never_the_patient() {
    let (mut clinic, delegate) =
        with_delegate(Clinic::with_record(), json!(["consent", "read", "rights"]));
    let further = with(naming(&clinic, json!(["read"])), "delegate", json!(hex(6)));
    let patient = "forbidden patient";
    clinic.refused(&delegate, "name_delegate", further, patient);
    clinic.refused(&delegate, "add_certificate", certificate(0xd1), patient);
    clinic.refused(&delegate, "remove_certificate", certificate(1), patient);
    let key = data_encoding::BASE64.encode(&[9; PUBLIC_KEY_BYTES]);
    // She registers keys as a patient of her own, not as this one.
    clinic.refused(
        &delegate,
        "register_encryption_key",
        json!({"key": key}),
        "not-found patient",
    );
    let consent = with(to_b(), "id", json!(id(CONSENT)));
    clinic.refused(&delegate, "grant_consent", consent, "not-found patient");
    clinic.ask::<Page<Value>>(&delegate, "audit_trail", json!({"patient": id(PATIENT)}));
    clinic.ask::<Certificates>(
        &delegate,
        "list_certificates",
        json!({"patient": id(PATIENT)}),
    );
    // About another patient the delegation says nothing.
    let other = with(grant_for(CONSENT, to_b()), "patient", json!(id(0x13)));
    clinic.refused(&delegate, "grant_consent_for", other, patient);
}

#[test]
fn a_delegation_that_cannot_be_is_refused() {
    let mut clinic = Clinic::new();
    let (patient, now) = (clinic.patient.clone(), clinic.ledger.time_ms());
    let request = naming(&clinic, json!(["read"]));
    let mut check = |field: &str, value: Value, expected: &str| {
        let broken = with(request.clone(), field, value);
        clinic.refused(&patient, "name_delegate", broken, expected);
    };
    check("kind", json!("CHILD"), "invalid-argument kind");
    check("kind", json!("guard"), "invalid-argument kind");
    check("scope", json!([]), "invalid-argument scope");
    check("scope", json!(["read", "read"]), "invalid-argument scope");
    check("scope", json!(["read", "all"]), "invalid-argument scope[1]");
    check("until", json!(now), "invalid-argument until");
    check("until", json!(0), "invalid-argument until");
    check("until", json!(-1), "invalid-argument until");
    check("until", Value::Null, "invalid-argument until");
    let far = json!(now + DELEGATION_MS_MAX + 1);
    check("until", far, "invalid-argument until");
    check("delegate", json!(hex(1)), "invalid-argument delegate");
    check("delegate", json!("d1"), "invalid-argument delegate");
    check("delegation", json!("x"), "invalid-argument delegation");
    check("patient", json!(id(OTHER_PATIENT)), "not-found patient");
    check("name", json!("Jane"), "invalid-argument name");
    let power = with(request.clone(), "kind", json!("POWATT"));
    let long = with(power, "until", json!(now + POWER_MS_MAX + 1));
    clinic.refused(&patient, "name_delegate", long, "invalid-argument until");
    clinic.ok(&patient, "name_delegate", request.clone());
    let exists = "already-exists delegation";
    clinic.refused(&patient, "name_delegate", request.clone(), exists);
    for n in 1..DELEGATES_MAX as u8 {
        let more = with(request.clone(), "delegation", json!(id(n)));
        clinic.ok(&patient, "name_delegate", more);
    }
    let more = with(request, "delegation", json!(id(0xff)));
    let full = "limit-exceeded delegation";
    clinic.refused(&patient, "name_delegate", more.clone(), full);
    clinic.ok(&patient, "end_delegation", delegation());
    clinic.ok(&patient, "name_delegate", more);
}

#[test]
fn a_delegation_is_ended_by_her_or_by_the_delegate() {
    let (mut clinic, delegate) = with_delegate(Clinic::new(), json!(["read"]));
    let (officer, patient) = (clinic.officer.clone(), clinic.patient.clone());
    let refusal = "forbidden patient";
    clinic.refused(&officer, "end_delegation", delegation(), refusal);
    let stranger = clinic.stranger.clone();
    clinic.refused(&stranger, "end_delegation", delegation(), refusal);
    clinic.ledger.advance_ms(1);
    let outcome = clinic.ok(&delegate, "end_delegation", delegation());
    assert_eq!(outcome.events[0].0, "delegation.ended");
    let last = clinic.trail_end(&patient);
    assert_eq!(last.event, AuditKind::DelegationEnded);
    assert_eq!(last.by.unwrap().0, delegate.fingerprint);
    assert_eq!(last.delegation, Some(id(DELEGATION)));
    let missing = "not-found delegation";
    clinic.refused(&patient, "end_delegation", delegation(), missing);
}

#[test]
fn delegates_are_shown_to_those_concerned() {
    let (mut clinic, delegate) = with_delegate(Clinic::new(), json!(["consent"]));
    let reading = with(
        with(naming(&clinic, json!(["read"])), "delegate", json!(hex(6))),
        "kind",
        json!("POWATT"),
    );
    let patient = clinic.patient.clone();
    clinic.ok(&patient, "name_delegate", reading);
    let kinds = |caller: &Caller| -> Vec<DelegateKind> {
        let listed = listed_delegates(&clinic, caller);
        listed.into_iter().map(|one| one.kind).collect()
    };
    let both = [DelegateKind::HealthcarePower, DelegateKind::PowerOfAttorney];
    for caller in [&clinic.patient, &clinic.officer, &clinic.privacy] {
        assert_eq!(kinds(caller), both);
    }
    assert_eq!(kinds(&clinic.author), both);
    assert_eq!(kinds(&delegate), both[..1]);
    let admin = Caller::new("HospitalA", "admin", [9; 32]);
    assert!(kinds(&admin).is_empty());
    // What is over is nobody's business but hers.
    clinic.ledger.advance_ms(DAY_MS);
    assert!(listed_delegates(&clinic, &clinic.author).is_empty());
    assert_eq!(listed_delegates(&clinic, &clinic.patient).len(), 2);
}

#[test]
fn keys_are_shared_for_delegates_and_for_new_certificates() {
    let (mut clinic, delegate) = with_delegate(Clinic::with_record(), json!(["consent"]));
    let request = json!({"patient": id(PATIENT), "record": id(RECORD), "version": 1});
    let (author, officer, patient) = (
        clinic.author.clone(),
        clinic.officer.clone(),
        clinic.patient.clone(),
    );
    // Nobody may read yet.
    for caller in [&delegate, &author] {
        clinic.refused(caller, "share_keys", request.clone(), "forbidden record");
    }
    let elsewhere = Caller::new("HospitalB", "records-officer", [8; 32]);
    let refusal = "forbidden patient";
    clinic.refused(&elsewhere, "share_keys", request.clone(), refusal);
    clinic.ok(&officer, "share_keys", request.clone());
    let reading = with(
        naming(&clinic, json!(["read"])),
        "delegation",
        json!(id(DELEGATION + 1)),
    );
    clinic.ok(&patient, "name_delegate", reading);
    clinic.ok(&author, "share_keys", request.clone());
    clinic.ledger.advance_ms(1);
    clinic.ok(&delegate, "share_keys", request.clone());
    let last = clinic.trail_end(&patient);
    assert_eq!(last.delegation, Some(id(DELEGATION)));
    // Together they leave her room.
    let text = request.to_string();
    let mut share = |caller: &Caller, n: u32| {
        let mut side = [0xee; 32];
        side[..4].copy_from_slice(&n.to_be_bytes());
        clinic
            .ledger
            .submit_with_side(caller, "share_keys", &[text.as_bytes()], &[side])
            .map_err(|error| error.code)
    };
    for n in 4..OTHERS_WRAPS_MAX {
        share(&officer, n).unwrap();
    }
    for caller in [&officer, &author, &delegate] {
        assert_eq!(share(caller, 1000).unwrap_err(), "limit-exceeded");
    }
    share(&patient, 1000).unwrap();
}

// Requests for consent.

#[test]
fn a_consent_is_asked_for_by_those_who_would_use_it() {
    let mut clinic = Clinic::with_record();
    let reader = clinic.reader.clone();
    let request = asking(&clinic);
    for caller in [
        clinic.patient.clone(),
        clinic.officer.clone(),
        Caller::new("HospitalB", "admin", [9; 32]),
    ] {
        clinic.refused(&caller, "request_consent", request.clone(), "forbidden");
    }
    let consent = request["consent"].clone();
    let actor = "invalid-argument consent.actor";
    for other in [
        json!({"id": hex(6)}),
        json!({"org": "HospitalC"}),
        json!({"org": "HospitalC", "role": "practitioner"}),
        json!({"org": "HospitalB", "role": "researcher"}),
        json!({"role": "practitioner"}),
        Value::Null,
    ] {
        let asked = with(consent.clone(), "actor", other);
        let broken = with(request.clone(), "consent", asked);
        clinic.refused(&reader, "request_consent", broken, actor);
    }
    let now = clinic.ledger.time_ms();
    let mut check = |field: &str, value: Value, expected: &str| {
        let broken = with(request.clone(), field, value);
        clinic.refused(&reader, "request_consent", broken, expected);
    };
    let deny = json!({"id": id(CONSENT), "type": "deny", "actor": {"id": hex(5)}});
    check("consent", deny, "invalid-argument consent.type");
    let over = with(consent, "period", json!([1, now]));
    check("consent", over, "invalid-argument consent.period");
    check("expires", json!(now), "invalid-argument expires");
    let late = json!(now + CONSENT_REQUEST_MS_MAX + 1);
    check("expires", late, "invalid-argument expires");
    check("reason", json!("curiosity"), "invalid-argument reason");
    check("note", json!("Jane Doe"), "invalid-argument note");
    check("patient", json!(id(OTHER_PATIENT)), "not-found patient");
    clinic.ledger.advance_ms(1);
    let outcome = clinic.ok(&reader, "request_consent", asking(&clinic));
    assert_eq!(outcome.events[0].0, "consent.requested");
    let last = clinic.trail_end(&clinic.patient);
    assert_eq!(last.event, AuditKind::ConsentRequested);
    assert_eq!(last.consent_request, Some(id(REQUEST)));
    let exists = "already-exists request";
    let again = asking(&clinic);
    clinic.refused(&reader, "request_consent", again, exists);
}

#[test]
fn a_note_goes_beside_a_request_or_not() {
    let mut clinic = Clinic::new();
    let reader = clinic.reader.clone();
    for (n, side) in [(1, &[][..]), (2, &[[7; 32]][..])] {
        let request = with(asking(&clinic), "request", json!(id(n))).to_string();
        let outcome =
            clinic
                .ledger
                .submit_with_side(&reader, "request_consent", &[request.as_bytes()], side);
        assert!(outcome.is_ok());
    }
    let notes: Vec<bool> = listed_requests(&clinic, &clinic.patient)
        .iter()
        .map(|request| request.note.is_some())
        .collect();
    assert_eq!(notes, [false, true]);
    let request = asking(&clinic).to_string();
    let error = clinic
        .ledger
        .submit_with_side(
            &reader,
            "request_consent",
            &[request.as_bytes()],
            &[[7; 32], [8; 32]],
        )
        .unwrap_err();
    assert_eq!(error.field.as_deref(), Some("side"));
}

#[test]
fn an_approval_grants_what_was_asked_or_a_part_of_it() {
    let mut clinic = Clinic::with_record();
    let (reader, patient) = (clinic.reader.clone(), clinic.patient.clone());
    let request = asking(&clinic);
    clinic.ok(&reader, "request_consent", request.clone());
    let asked = request["consent"].clone();
    let mut broader = |field: &str, value: Value, expected: &str| {
        let chosen = with(asked.clone(), field, value);
        let answer = answering("approve", chosen);
        clinic.refused(&patient, "answer_consent_request", answer, expected);
    };
    let named = |field: &str| format!("invalid-argument consent.{field}");
    broader("purpose", json!(["TREAT", "HRESCH"]), &named("purpose"));
    broader("actor", json!({"org": "HospitalB"}), &named("actor"));
    broader("max", json!("R"), &named("max"));
    broader("category", Value::Null, &named("category"));
    broader("label", json!(["PSY"]), &named("label"));
    let unknown = answering("maybe", Value::Null);
    let field = "invalid-argument decision";
    clinic.refused(&patient, "answer_consent_request", unknown, field);
    for caller in [
        clinic.reader.clone(),
        clinic.privacy.clone(),
        own(0x99),
        daughter(),
    ] {
        let answer = answering("approve", Value::Null);
        clinic.refused(
            &caller,
            "answer_consent_request",
            answer,
            "forbidden patient",
        );
    }
    clinic.ledger.advance_ms(1);
    let part = with(
        with(asked.clone(), "category", json!(["laboratory"])),
        "id",
        json!(id(CONSENT + 5)),
    );
    let outcome = clinic.ok(
        &patient,
        "answer_consent_request",
        answering("approve", part),
    );
    let names: Vec<&str> = outcome
        .events
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(names, ["consent.granted", "consent.request-answered"]);
    assert_eq!(outcome.expires_at_ms, request["expires"].as_u64());
    let last = clinic.trail_end(&patient);
    assert_eq!(last.event, AuditKind::ConsentGranted);
    assert_eq!(last.consent, Some(id(CONSENT + 5)));
    assert_eq!(last.consent_request, Some(id(REQUEST)));
    let listed = listed_requests(&clinic, &reader);
    assert_eq!(listed[0].state, RequestState::Approved);
    assert_eq!(listed[0].granted, Some(id(CONSENT + 5)));
    for decision in ["approve", "decline"] {
        let again = answering(decision, Value::Null);
        clinic.refused(
            &patient,
            "answer_consent_request",
            again,
            "wrong-state request",
        );
    }
    let withdraw = json!({"patient": id(PATIENT), "request": id(REQUEST)});
    clinic.refused(
        &reader,
        "withdraw_consent_request",
        withdraw,
        "wrong-state request",
    );
}

#[test]
fn an_approved_request_opens_the_record() {
    let mut clinic = Clinic::with_record();
    let (reader, patient) = (clinic.reader.clone(), clinic.patient.clone());
    let asked = with(to_b(), "id", json!(id(CONSENT)));
    let request = with(asking(&clinic), "consent", asked);
    clinic.ok(&reader, "request_consent", request);
    assert_eq!(clinic.decision(&reader, 1, "TREAT"), "deny no-consent");
    let approve = answering("approve", Value::Null);
    clinic.ok(&patient, "answer_consent_request", approve);
    assert_eq!(clinic.decision(&reader, 1, "TREAT"), "permit consent");
}

#[test]
fn a_request_is_declined_withdrawn_or_expires() {
    let (mut clinic, delegate) = with_delegate(Clinic::new(), json!(["consent"]));
    let (reader, patient) = (clinic.reader.clone(), clinic.patient.clone());
    let next = |clinic: &mut Clinic, n: u8| {
        clinic.ledger.advance_ms(1);
        let request = with(asking(clinic), "request", json!(id(n)));
        clinic.ok(&reader, "request_consent", request);
        clinic.ledger.advance_ms(1);
    };
    next(&mut clinic, REQUEST);
    let granting = answering("decline", asking(&clinic)["consent"].clone());
    let field = "invalid-argument consent";
    clinic.refused(&patient, "answer_consent_request", granting, field);
    let decline = answering("decline", Value::Null);
    let outcome = clinic.ok(&delegate, "answer_consent_request", decline.clone());
    assert_eq!(outcome.events[0].0, "consent.request-answered");
    let last = clinic.trail_end(&patient);
    assert_eq!(last.event, AuditKind::ConsentDeclined);
    assert_eq!(last.delegation, Some(id(DELEGATION)));
    next(&mut clinic, REQUEST + 1);
    let withdraw = json!({"patient": id(PATIENT), "request": id(REQUEST + 1)});
    let own = "forbidden request";
    let stranger = clinic.stranger.clone();
    for caller in [&stranger, &patient] {
        clinic.refused(caller, "withdraw_consent_request", withdraw.clone(), own);
    }
    let outcome = clinic.ok(&reader, "withdraw_consent_request", withdraw);
    assert_eq!(outcome.events[0].0, "consent.request-withdrawn");
    next(&mut clinic, REQUEST + 2);
    clinic.ledger.advance_ms(DAY_MS);
    let listed = listed_requests(&clinic, &patient);
    for (n, state) in [
        (REQUEST, RequestState::Declined),
        (REQUEST + 1, RequestState::Withdrawn),
        (REQUEST + 2, RequestState::Expired),
    ] {
        let request = listed.iter().find(|request| request.request == id(n));
        assert_eq!(request.unwrap().state, state);
    }
    for n in [REQUEST, REQUEST + 1, REQUEST + 2] {
        let answer = with(answering("approve", Value::Null), "request", json!(id(n)));
        clinic.refused(
            &patient,
            "answer_consent_request",
            answer,
            "wrong-state request",
        );
    }
    let missing = with(decline, "request", json!(id(0x77)));
    clinic.refused(
        &patient,
        "answer_consent_request",
        missing,
        "not-found request",
    );
}

#[test]
fn requests_are_shown_to_the_patient_and_to_who_asked() {
    let (mut clinic, delegate) = with_delegate(Clinic::new(), json!(["rights"]));
    let (reader, stranger) = (clinic.reader.clone(), clinic.stranger.clone());
    let request = asking(&clinic);
    clinic.ok(&reader, "request_consent", request.clone());
    let own =
        json!({"id": id(CONSENT), "type": "permit", "actor": {"id": hex(6)}, "purpose": ["TREAT"]});
    let other = with(
        with(request, "consent", own),
        "request",
        json!(id(REQUEST + 1)),
    );
    clinic.ok(&stranger, "request_consent", other);
    for caller in [&clinic.patient, &clinic.privacy, &delegate] {
        assert_eq!(listed_requests(&clinic, caller).len(), 2);
    }
    for caller in [&reader, &stranger] {
        let listed = listed_requests(&clinic, caller);
        assert_eq!(listed.len(), 1);
        assert_eq!(listed[0].by.0, caller.fingerprint);
    }
    assert!(listed_requests(&clinic, &clinic.author).is_empty());
    let scope = answering("decline", Value::Null);
    clinic.refused(
        &delegate,
        "answer_consent_request",
        scope,
        "forbidden delegation.scope",
    );
}

#[test]
fn nothing_of_a_refused_call_stands_in_its_error() {
    let mut clinic = Clinic::with_record();
    let (patient, canary) = (clinic.patient.clone(), "Jane-Doe-F32.2");
    let requests = [
        ("name_delegate", naming(&clinic, json!(["read"])), "kind"),
        ("name_delegate", naming(&clinic, json!(["read"])), "scope"),
        ("request_consent", asking(&clinic), "reason"),
        ("request_consent", asking(&clinic), "consent"),
        ("add_certificate", certificate(SECOND), "certificate"),
        (
            "answer_consent_request",
            answering("approve", Value::Null),
            "decision",
        ),
    ];
    for (function, request, field) in requests {
        for value in [json!(canary), json!([canary]), json!({ canary: 1 })] {
            let broken = with(request.clone(), field, value);
            let error = clinic.submit(&patient, function, &broken).unwrap_err();
            assert_eq!(error.code, "invalid-argument");
            assert!(!error.to_string().contains(canary), "{error}");
        }
        let long = with(request.clone(), field, json!("x".repeat(70_000)));
        clinic.refused(&patient, function, long, "invalid-argument arguments");
    }
}

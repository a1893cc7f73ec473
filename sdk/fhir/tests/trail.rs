//! What the ledger has about a patient, as resources.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

use serde_json::Value;
use stela_consent::{Consent, Hex, Id, Organization, Provision};
use stela_fhir::bundle::{BundleError, Everything, File, collection};
use stela_fhir::observation::{self, Measurement, VitalSign};
use stela_fhir::{BeyondDates, Reason, audit, r4};
use stela_healthcare::answer::{AuditEntry, FiledConsent, RecordVersion};

const PATIENT: Id = Hex([0x77; 16]);
const CID: &str = "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy";

fn json(resource: &impl fhirkit::FhirJson) -> Value {
    serde_json::from_slice(&stela_fhir::write(resource)).unwrap()
}

fn organization(name: &str) -> Organization {
    name.parse().unwrap()
}

/// An entry of the trail, from what differs from a practitioner's access to a record.
fn entry(change: &str) -> AuditEntry {
    let mut entry: Value = serde_json::from_str(&format!(
        r#"{{"event":"access-permitted","time":1700000000123,"transaction":"{}","by":"{}",
        "organization":"HospitalB","role":"practitioner","record":"{}","version":2,
        "consent":"{}","provision":[0],"basis":"consent","purpose":"TREAT","reason":"permitted"}}"#,
        "ab".repeat(32),
        "f1".repeat(32),
        "a1".repeat(16),
        "c0".repeat(16),
    ))
    .unwrap();
    let change: Value = serde_json::from_str(change).unwrap();
    for (key, value) in change.as_object().unwrap() {
        entry[key] = value.clone();
    }
    serde_json::from_value(entry).unwrap()
}

fn events(change: &str) -> Vec<Value> {
    let events = audit::events("care", &PATIENT, &entry(change)).unwrap();
    for event in &events {
        let bytes = stela_fhir::write(event);
        assert_eq!(&stela_fhir::read::<r4::AuditEvent>(&bytes).unwrap(), event);
    }
    events.iter().map(json).collect()
}

/// The agent of this type.
fn agent<'a>(event: &'a Value, code: &str) -> &'a Value {
    let is = |one: &&Value| one["type"]["coding"][0]["code"] == code;
    event["agent"].as_array().unwrap().iter().find(is).unwrap()
}

#[test]
fn a_permit_is_a_decision_and_a_disclosure() {
    let [decision, disclosure] = events("{}").try_into().unwrap();
    assert_eq!(decision["meta"]["profile"][0], audit::AUTHZ_CONSENT);
    assert_eq!(decision["type"]["code"], "110113");
    assert_eq!(decision["subtype"][0]["code"], "AuthZ-Consent");
    assert_eq!(
        (&decision["action"], &decision["outcome"]),
        (&"E".into(), &"0".into())
    );
    assert_eq!(decision["recorded"], "2023-11-14T22:13:20.123Z");
    assert_eq!(decision["outcomeDesc"], Value::Null);
    let user = agent(&decision, "IRCP");
    assert_eq!(user["who"]["identifier"]["value"], "f1".repeat(32));
    assert_eq!(user["requestor"], true);
    assert_eq!(user["purposeOfUse"][0]["coding"][0]["code"], "TREAT");
    assert_eq!(
        agent(&decision, "PROV")["who"]["identifier"]["value"],
        "HospitalB"
    );
    // BALP: whoever authorizes has recorded it.
    assert_eq!(
        agent(&decision, "authserver")["who"],
        decision["source"]["observer"]
    );
    assert_eq!(agent(&decision, "110150")["requestor"], false);
    let entities = decision["entity"].as_array().unwrap();
    assert_eq!(entities.len(), 2);
    assert_eq!(
        entities[0]["what"]["reference"],
        format!("Patient/{PATIENT}")
    );
    assert_eq!(
        entities[1]["what"]["reference"],
        format!("Consent/{}", "c0".repeat(16))
    );
    assert_eq!(
        entities[1]["detail"][0]["valueString"],
        "Consent.provision.provision[0]"
    );

    assert_eq!(disclosure["meta"]["profile"][0], audit::DISCLOSURE);
    assert_eq!(disclosure["type"]["code"], "110106");
    assert_eq!(disclosure["subtype"][0]["code"], "disclose");
    assert_eq!(disclosure["action"], "R");
    assert_eq!(
        agent(&disclosure, "110153")["who"],
        disclosure["source"]["observer"]
    );
    let reader = agent(&disclosure, "110152");
    assert_eq!(reader["who"]["identifier"]["value"], "f1".repeat(32));
    assert_eq!(
        reader["network"]["address"],
        "urn:stela:organization:HospitalB"
    );
    let document = format!("DocumentReference/{}.2", "a1".repeat(16));
    assert_eq!(disclosure["entity"][1]["what"]["reference"], document);
    assert_ne!(decision["id"], disclosure["id"]);
}

#[test]
fn a_denial_discloses_nothing_and_says_why() {
    let [denial] = events(
        r#"{"event":"access-denied","consent":null,"provision":null,"reason":"no-consent"}"#,
    )
    .try_into()
    .unwrap();
    assert_eq!(denial["outcome"], "8");
    assert_eq!(denial["outcomeDesc"], "there is no consent");
    assert_eq!(
        denial["entity"][1]["what"]["display"],
        "there is no consent"
    );
    let document = format!("{}.2", "a1".repeat(16));
    assert_eq!(denial["entity"][0]["detail"][0]["valueString"], document);
}

#[test]
fn a_decision_without_consents_names_none() {
    let [decision, _] = events(r#"{"basis":"review","consent":null,"provision":null}"#)
        .try_into()
        .unwrap();
    assert_eq!(decision["subtype"][0]["code"], "AuthZ-Role");
    assert_eq!(decision["meta"], Value::Null);
    assert_eq!(decision["entity"].as_array().unwrap().len(), 1);
}

#[test]
fn a_broken_glass_is_a_disclosure_too_and_what_an_entry_names_is_kept() {
    let [decision, disclosure] = events(
        r#"{"event":"emergency-accessed","basis":"emergency","consent":null,"provision":null,
        "purpose":"BTG","study":"5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a","noted_by":"HospitalC"}"#,
    )
    .try_into()
    .unwrap();
    assert_eq!(decision["subtype"][0]["code"], "AuthZ-Role");
    assert_eq!(disclosure["type"]["code"], "110106");
    let purpose = &disclosure["purposeOfEvent"][0]["coding"][0]["code"];
    assert_eq!(purpose, "BTG");
    let details = decision["entity"][0]["detail"].as_array().unwrap();
    let named: Vec<_> = details
        .iter()
        .map(|one| one["type"].as_str().unwrap())
        .collect();
    assert_eq!(named, ["record", "study", "noted-by"]);
    let subject = "b0".repeat(32);
    let [bound] = events(&format!(
        r#"{{"event":"device-bound","record":null,"consent":null,"subject":"{subject}"}}"#
    ))
    .try_into()
    .unwrap();
    assert_eq!(bound["entity"][1]["what"]["identifier"]["value"], subject);
}

#[test]
fn everything_else_is_a_change_of_the_patients_record() {
    for (kind, action) in [
        ("registered", "C"),
        ("submitted", "C"),
        ("study-joined", "U"),
        ("erased", "U"),
        ("consent-granted", "C"),
        ("confirmed", "U"),
        ("rejected", "U"),
        ("consent-revoked", "U"),
        ("keys-shared", "U"),
    ] {
        let [event] = events(&format!(r#"{{"event":"{kind}"}}"#))
            .try_into()
            .unwrap();
        assert_eq!(
            (&event["type"]["code"], &event["action"]),
            (&"110110".into(), &action.into())
        );
        assert_eq!(event["subtype"][0]["code"], kind);
    }
    let never = entry(r#"{"time":18446744073709551615}"#);
    assert_eq!(audit::events("care", &PATIENT, &never), Err(BeyondDates));
}

#[test]
fn provenance_tells_of_authors_and_reviewers() {
    let told = |change: &str| stela_fhir::provenance(&entry(change)).unwrap();
    let check = |event: &str, activity: &str, part: &str| {
        let provenance = told(&format!(r#"{{"event":"{event}"}}"#)).unwrap();
        let bytes = stela_fhir::write(&provenance);
        assert_eq!(
            stela_fhir::read::<r4::Provenance>(&bytes).unwrap(),
            provenance
        );
        let provenance = json(&provenance);
        assert_eq!(provenance["activity"]["coding"][0]["code"], activity);
        assert_eq!(provenance["agent"][0]["type"]["coding"][0]["code"], part);
        let who = &provenance["agent"][0]["who"]["identifier"]["value"];
        assert_eq!(who, &Value::from("f1".repeat(32)));
        let target = format!("DocumentReference/{}.2", "a1".repeat(16));
        assert_eq!(provenance["target"][0]["reference"], target);
    };
    check("submitted", "CREATE", "author");
    check("amended", "UPDATE", "author");
    check("reviewed", "verify", "verifier");
    check("confirmed", "verify", "verifier");
    assert_eq!(told(r#"{"event":"rejected"}"#), None);
    assert_eq!(told("{}"), None);
    assert_eq!(told(r#"{"event":"submitted","record":null}"#), None);
}

fn version(change: &str) -> RecordVersion {
    let mut version: Value = serde_json::from_str(&format!(
        r#"{{"record":"{}","version":2,"latest":2,"state":"active","replaces":1,"patient":"{PATIENT}",
        "author":"{}","organization":"HospitalA","submitted":1700000000000,"cid":"{CID}",
        "category":"laboratory","confidentiality":"R","labels":["HIV"],"date":1600000000000,
        "header":"00","commitment":"{}","wraps":[]}}"#,
        "a1".repeat(16),
        "f0".repeat(32),
        "cc".repeat(32),
    ))
    .unwrap();
    let change: Value = serde_json::from_str(change).unwrap();
    for (key, value) in change.as_object().unwrap() {
        version[key] = value.clone();
    }
    serde_json::from_value(version).unwrap()
}

#[test]
fn a_version_of_a_record_is_a_document_reference() {
    let document = stela_fhir::document_reference(&version("{}")).unwrap();
    let bytes = stela_fhir::write(&document);
    assert_eq!(
        stela_fhir::read::<r4::DocumentReference>(&bytes).unwrap(),
        document
    );
    let document = json(&document);
    assert_eq!(document["id"], format!("{}.2", "a1".repeat(16)));
    assert_eq!(
        document["subject"]["reference"],
        format!("Patient/{PATIENT}")
    );
    assert_eq!(document["category"][0]["coding"][0]["code"], "laboratory");
    assert_eq!(document["securityLabel"][0]["coding"][0]["code"], "R");
    assert_eq!(document["securityLabel"][1]["coding"][0]["code"], "HIV");
    assert_eq!(
        document["content"][0]["attachment"]["url"],
        format!("ipfs://{CID}")
    );
    assert_eq!(document["relatesTo"][0]["code"], "replaces");
    assert_eq!(
        document["context"]["period"]["start"],
        "2020-09-13T12:26:40.000Z"
    );
    let first = stela_fhir::document_reference(&version(r#"{"replaces":null}"#)).unwrap();
    assert!(first.relates_to.is_empty());
    let states = |change: &str| {
        let document = json(&stela_fhir::document_reference(&version(change)).unwrap());
        let text = |field: &str| document[field].as_str().unwrap().to_owned();
        format!("{} {}", text("status"), text("docStatus"))
    };
    assert_eq!(states("{}"), "current final");
    assert_eq!(states(r#"{"state":"pending"}"#), "current preliminary");
    assert_eq!(states(r#"{"replaced_by":3}"#), "superseded final");
    assert_eq!(
        states(r#"{"state":"rejected"}"#),
        "entered-in-error entered-in-error"
    );
}

#[test]
fn an_erased_version_has_no_address() {
    let erased = json(&stela_fhir::document_reference(&version(r#"{"state":"erased"}"#)).unwrap());
    assert_eq!(erased["status"], "entered-in-error");
    assert_eq!(erased["content"][0]["attachment"]["url"], Value::Null);
}

#[test]
fn everything_about_a_patient_is_one_bundle() {
    let consent = Consent::new(Hex([0xc0; 16]), Provision::deny(), Vec::new()).unwrap();
    let filed = FiledConsent {
        consent,
        status: stela_consent::Status::Active,
        revoked: None,
    };
    let trail = [entry(r#"{"event":"submitted"}"#), entry("{}")];
    let hospital = organization("HospitalA");
    let everything = Everything {
        channel: "care",
        patient: PATIENT,
        registered_by: &hospital,
        consents: &[filed],
        records: &[version("{}")],
        trail: &trail,
        files: &[File {
            id: "receipt-1",
            media_type: "application/json",
            bytes: b"{}",
        }],
    };
    let bundle = collection(
        &everything,
        "https://gateway.example/fhir",
        1_700_000_000_000,
    );
    let bundle = bundle.unwrap();
    let bytes = stela_fhir::write(&bundle);
    assert_eq!(stela_fhir::read::<r4::Bundle>(&bytes).unwrap(), bundle);
    let bundle = json(&bundle);
    assert_eq!(bundle["type"], "collection");
    let entries = bundle["entry"].as_array().unwrap();
    let kinds: Vec<_> = entries
        .iter()
        .map(|one| &one["resource"]["resourceType"])
        .collect();
    let expected = [
        "Patient",
        "Consent",
        "DocumentReference",
        "Provenance",
        "AuditEvent",
        "AuditEvent",
        "AuditEvent",
        "Binary",
    ];
    assert_eq!(kinds, expected);
    assert_eq!(entries[7]["resource"]["data"], "e30=");
    let unnamed = [File {
        id: "a/b",
        media_type: "text/plain",
        bytes: b"",
    }];
    let unnamed = Everything {
        files: &unnamed,
        ..everything
    };
    assert_eq!(collection(&unnamed, "x", 0), Err(BundleError::FileId));
    let patient = format!("https://gateway.example/fhir/Patient/{PATIENT}");
    assert_eq!(entries[0]["fullUrl"], patient);
    let mut addresses: Vec<_> = entries.iter().map(|one| one["fullUrl"].as_str()).collect();
    addresses.sort_unstable();
    assert!(
        addresses.is_sorted_by(|one, next| one < next),
        "{addresses:?}"
    );
}

#[test]
fn vital_signs_keep_their_digits() {
    for (sign, value) in [
        (VitalSign::HeartRate, "61"),
        (VitalSign::BodyTemperature, "36.50"),
        (VitalSign::OxygenSaturation, "97.0"),
        (VitalSign::BodyWeight, "72.500"),
    ] {
        let value = fhirkit::Decimal::parse(value).unwrap();
        let measurement = Measurement { sign, value };
        let resource = observation::observation(&PATIENT, 1_700_000_000_123, &measurement);
        let bytes = stela_fhir::write(&resource.unwrap());
        let read: r4::Observation = stela_fhir::read(&bytes).unwrap();
        let measured = observation::measured(&read).unwrap();
        assert_eq!(measured.patient, format!("Patient/{PATIENT}"));
        assert_eq!(measured.time_ms, 1_700_000_000_123);
        assert_eq!(measured.measurements, [measurement]);
    }
}

const BLOOD_PRESSURE: &str = r#"{"resourceType":"Observation","status":"final",
    "code":{"coding":[{"system":"http://loinc.org","code":"85354-9"}]},
    "subject":{"reference":"Patient/1"},"effectiveDateTime":"2020-01-01T00:00:00Z","component":[
    {"code":{"coding":[{"system":"http://loinc.org","code":"8480-6"},{"system":
    "http://snomed.info/sct","code":"271649006"}]},"valueQuantity":{"value":107,"unit":"mmHg",
    "system":"http://unitsofmeasure.org","code":"mm[Hg]"}},
    {"code":{"coding":[{"system":"http://loinc.org","code":"8462-4"}]},"valueQuantity":
    {"value":60,"unit":"mmHg","system":"http://unitsofmeasure.org","code":"mm[Hg]"}}]}"#;

#[test]
fn blood_pressure_is_two_measurements_and_what_is_doubtful_is_refused() {
    let read = |text: &str| -> r4::Observation { stela_fhir::read(text.as_bytes()).unwrap() };
    let measured = observation::measured(&read(BLOOD_PRESSURE)).unwrap();
    let found: Vec<_> = measured
        .measurements
        .iter()
        .map(|one| (one.sign, one.value.as_str()))
        .collect();
    let expected = [
        (VitalSign::SystolicPressure, "107"),
        (VitalSign::DiastolicPressure, "60"),
    ];
    assert_eq!(found, expected);
    let refused = |from: &str, to: &str, element: &str, reason: Reason| {
        assert!(BLOOD_PRESSURE.contains(from));
        let changed = read(&BLOOD_PRESSURE.replacen(from, to, 1));
        let refusal = observation::measured(&changed).unwrap_err();
        assert_eq!(
            (refusal.element.as_str(), refusal.reason),
            (element, reason)
        );
    };
    refused(
        "final",
        "preliminary",
        "Observation.status",
        Reason::NotExpressible,
    );
    refused(
        "85354-9",
        "8867-4",
        "Observation.component",
        Reason::NotExpressible,
    );
    refused("85354-9", "1-1", "Observation.code", Reason::UnknownCode);
    refused(
        "8480-6",
        "8867-4",
        "Observation.component[0].code",
        Reason::UnknownCode,
    );
    refused(
        "mm[Hg]",
        "kPa",
        "Observation.component[0].value.code",
        Reason::UnknownCode,
    );
    refused(
        "2020-01-01T00:00:00Z",
        "2020-01-01",
        "Observation.effective",
        Reason::Time,
    );
    refused(
        r#""value":107"#,
        r#""comparator":">","value":107"#,
        "Observation.component[0].value.comparator",
        Reason::NotExpressible,
    );
    refused(
        r#""value":107,"#,
        "",
        "Observation.component[0].value.value",
        Reason::Missing,
    );
}

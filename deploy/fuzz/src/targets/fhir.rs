//! FHIR resources as JSON, and what is taken over of them.

use stela_consent::{Actor, Hex, Id, Policy, Status};
use stela_fhir::consent::{Context, export, import};
use stela_fhir::limits::ELEMENT_CHARS_MAX;
use stela_fhir::observation::{measured, observation};
use stela_fhir::reference::Known;
use stela_fhir::{Refusal, r4};
use time::UtcOffset;

const ID: Id = Hex([9; 16]);

fn context() -> Context {
    let organization = "A".parse().expect("an organization's name");
    let actor = Actor::Organization(organization);
    Context {
        known: Known {
            actors: [("Organization/f001".to_owned(), actor)].into(),
            records: [("Observation/1".to_owned(), Hex([1; 16]))].into(),
            studies: [("ResearchStudy/1".to_owned(), Hex([2; 16]))].into(),
        },
        offered: Some(Policy::AllNormal),
        zone: UtcOffset::UTC,
    }
}

fn refused(refusal: &Refusal) {
    assert!(!refusal.element.is_empty() && refusal.element.len() <= ELEMENT_CHARS_MAX);
    let outcome = stela_fhir::write(&refusal.outcome());
    assert!(stela_fhir::read::<r4::OperationOutcome>(&outcome).is_ok());
}

/// What is taken over of a consent is written as a consent that is taken over as the same.
pub(super) fn fhir_consent(input: &[u8]) {
    let resource: r4::Consent = match stela_fhir::read(input) {
        Ok(resource) => resource,
        Err(refusal) => return refused(&refusal),
    };
    let bytes = stela_fhir::write(&resource);
    assert_eq!(
        stela_fhir::read::<r4::Consent>(&bytes).as_ref(),
        Ok(&resource)
    );
    match import(&resource, ID, &context()) {
        Err(refusal) => refused(&refusal),
        Ok((_, consent)) => {
            // A zone may carry a date into the year after those that FHIR can write.
            let Ok(written) = export(&ID, &consent, Status::Active) else {
                return;
            };
            let (patient, again) = import(&written, ID, &context()).expect("it was just written");
            assert_eq!(again, consent);
            assert_eq!(patient, format!("Patient/{ID}"));
        }
    }
}

/// What is read of an observation is written as observations of which the same is read.
pub(super) fn fhir_observation(input: &[u8]) {
    let resource: r4::Observation = match stela_fhir::read(input) {
        Ok(resource) => resource,
        Err(refusal) => return refused(&refusal),
    };
    let found = match measured(&resource) {
        Ok(found) => found,
        Err(refusal) => return refused(&refusal),
    };
    for one in &found.measurements {
        let Ok(written) = observation(&ID, found.time_ms, one) else {
            return;
        };
        let again = measured(&written).expect("it was just written");
        assert_eq!(
            (again.time_ms, again.measurements.as_slice()),
            (found.time_ms, std::slice::from_ref(one))
        );
    }
}

pub(super) mod seeds {
    use stela_consent::{Consent, Policy, Status};

    use super::ID;

    const EXAMPLES: [&[u8]; 4] = [
        include_bytes!("../../../../sdk/fhir/tests/examples/basic.json"),
        include_bytes!("../../../../sdk/fhir/tests/examples/Out.json"),
        include_bytes!("../../../../sdk/fhir/tests/examples/signature.json"),
        include_bytes!("../../../../sdk/fhir/tests/examples/smartonfhir.json"),
    ];

    const CONSENTS: [&str; 3] = [
        r#"{"id":"09090909090909090909090909090909","type":"permit","actor":{"org":"A","role":
        "practitioner"},"purpose":["TREAT"],"max":"R","label":["HIV"],"category":["laboratory"],
        "period":[0,9],"data":[null,5],"record":["01010101010101010101010101010101"],
        "except":[{"type":"deny","actor":{"org":"A"},"min":"N"}]}"#,
        r#"{"id":"09090909090909090909090909090909","type":"deny","actor":{"role":"researcher"},
        "except":[{"type":"permit","purpose":["ETREAT"]}]}"#,
        r#"{"id":"09090909090909090909090909090909","scope":"research","research":"RSDID",
        "type":"permit","actor":{"study":"02020202020202020202020202020202"},"purpose":["HRESCH"]}"#,
    ];

    pub(in crate::targets) fn fhir_consent() -> Vec<Vec<u8>> {
        let ours = CONSENTS
            .iter()
            .map(|json| serde_json::from_str::<Consent>(json).expect("a consent"))
            .chain([Policy::BreakGlassOnly.consent(ID)]);
        let written = ours.map(|consent| {
            let resource = super::export(&ID, &consent, Status::Active).expect("early dates");
            stela_fhir::write(&resource)
        });
        written
            .chain(EXAMPLES.iter().map(|bytes| bytes.to_vec()))
            .collect()
    }

    pub(in crate::targets) fn fhir_observation() -> Vec<Vec<u8>> {
        let rate = r#"{"resourceType":"Observation","status":"final","code":{"coding":[{"system":
            "http://loinc.org","code":"8867-4"}]},"subject":{"reference":"Patient/1"},
            "effectiveDateTime":"2020-01-01T00:00:00Z","valueQuantity":{"value":61.0,"unit":"/min",
            "system":"http://unitsofmeasure.org","code":"/min"}}"#;
        let pressure = r#"{"resourceType":"Observation","status":"final","code":{"coding":[{"system":
            "http://loinc.org","code":"85354-9"}]},"subject":{"reference":"Patient/1"},
            "effectiveInstant":"2020-01-01T00:00:00.5+01:00","component":[{"code":{"coding":
            [{"system":"http://loinc.org","code":"8480-6"}]},"valueQuantity":{"value":107,"system":
            "http://unitsofmeasure.org","code":"mm[Hg]"}},{"code":{"coding":[{"system":
            "http://loinc.org","code":"8462-4"}]},"valueQuantity":{"value":60,"system":
            "http://unitsofmeasure.org","code":"mm[Hg]"}}]}"#;
        vec![rate.as_bytes().to_vec(), pressure.as_bytes().to_vec()]
    }
}

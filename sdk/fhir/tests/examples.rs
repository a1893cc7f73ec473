//! Every consent of the FHIR R4 example set (`examples/README.md`): taken over with the meaning
//! that R4 gives it, or refused with the reason.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

mod support;

use stela_consent::{
    Category, Confidentiality, Consent, Hex, Id, Purpose, RecordFacts, Request, Requester, Role,
    Status, decide,
};
use stela_fhir::consent::{self, Context};
use stela_fhir::{Reason, Refusal, r4};
use support::context;

const ID: Id = Hex([0x1d; 16]);

fn import(name: &str, context: &Context) -> Result<(String, Consent), Refusal> {
    let path = format!("{}/tests/examples/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let resource: r4::Consent = stela_fhir::read(&std::fs::read(path).unwrap()).unwrap();
    consent::import(&resource, ID, context)
}

/// Each with the element and the reason that it is refused for; the two others are below.
const REFUSED: [(&str, &str, Reason); 10] = [
    // For emergencies only: the category stands for a rule that no provision states.
    ("Emergency", "Consent.category[0]", Reason::UnknownCode),
    // About what a custodian (CST) keeps, not about who may read it.
    (
        "Out",
        "Consent.provision.actor[0].role",
        Reason::NotExpressible,
    ),
    // Read only, in a category that no provision states.
    ("grantor", "Consent.category[0]", Reason::UnknownCode),
    // About what a custodian keeps.
    (
        "notAuthor",
        "Consent.provision.actor[0].role",
        Reason::NotExpressible,
    ),
    // A type of the root provision that contradicts the base policy; R4 permits none at all there.
    ("notOrg", "Consent.provision.type", Reason::NotExpressible),
    // Rules corrections too, which consents here do not.
    (
        "notThem",
        "Consent.provision.action[1]",
        Reason::NotExpressible,
    ),
    // About everything related to a task.
    (
        "notThis",
        "Consent.provision.data[0].meaning",
        Reason::NotExpressible,
    ),
    // Denies what is labelled N or lower, and nothing above it; its nested provisions lack the type
    // that R4 requires of them.
    (
        "pkb",
        "Consent.provision.securityLabel",
        Reason::NotExpressible,
    ),
    // A notice of privacy practices.
    ("signature", "Consent.category[0]", Reason::UnknownCode),
    // A permit as an exception to a permit.
    (
        "smartonfhir",
        "Consent.provision.provision[0].type",
        Reason::NotExpressible,
    ),
];

const TAKEN: [&str; 2] = ["basic", "notTime"];

#[test]
fn every_example_stands_in_the_table() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples");
    let mut found: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter_map(|name| name.strip_suffix(".json").map(str::to_owned))
        .collect();
    found.sort();
    let mut listed: Vec<&str> = REFUSED
        .iter()
        .map(|(name, ..)| *name)
        .chain(TAKEN)
        .collect();
    listed.sort_unstable();
    assert_eq!(found, listed);
}

#[test]
fn what_cannot_be_enforced_is_refused_with_the_reason() {
    for (name, element, reason) in REFUSED {
        let refusal = import(name, &context()).unwrap_err();
        assert_eq!(
            (refusal.element.as_str(), &refusal.reason),
            (element, &reason),
            "{name}"
        );
    }
}

/// Whether a practitioner may read a record of this confidentiality for this purpose and then.
fn opens(consent: &Consent, purpose: Purpose, level: Confidentiality, time: &str) -> bool {
    let format = &time::format_description::well_known::Rfc3339;
    let time = time::OffsetDateTime::parse(time, format).unwrap();
    let record = RecordFacts {
        id: Hex([1; 16]),
        category: Category::ClinicalNote,
        confidentiality: level,
        labels: Vec::new(),
        date_ms: None,
    };
    let request = Request {
        requester: Requester {
            fingerprint: Hex([2; 32]),
            organization: "Elsewhere",
            role: Role::Practitioner,
        },
        purpose,
        study: None,
        time_ms: u64::try_from(time.unix_timestamp() * 1000).unwrap(),
        record: &record,
    };
    decide(&request, [(consent, Status::Active)]).permit
}

#[test]
fn an_opt_in_is_enforced_within_its_period_and_its_terms() {
    use Confidentiality::{Normal, Restricted};
    let inside = ["1970-01-01T00:00:00Z", "2016-01-01T23:59:59Z"];
    check(
        "basic",
        &inside,
        &["2016-01-02T00:00:00Z", "2020-01-01T00:00:00Z"],
    );
    // Its text says the opposite of its elements, which withhold nothing within the period: R4
    // constrains the base policy by the root provision. What is enforced are the elements, and they
    // have long been over.
    let inside = ["2015-01-01T00:00:00Z", "2015-02-01T23:59:59Z"];
    check(
        "notTime",
        &inside,
        &["2014-12-31T23:59:59Z", "2015-02-02T00:00:00Z"],
    );

    fn check(name: &str, inside: &[&str], outside: &[&str]) {
        let (patient, consent) = import(name, &context()).unwrap();
        assert_eq!(
            (patient.as_str(), consent.id()),
            ("Patient/f001", ID),
            "{name}"
        );
        for time in inside {
            assert!(
                opens(&consent, Purpose::Treat, Normal, time),
                "{name} {time}"
            );
            assert!(
                opens(&consent, Purpose::Coverage, Normal, time),
                "{name} {time}"
            );
            assert!(
                !opens(&consent, Purpose::Treat, Restricted, time),
                "{name} {time}"
            );
            assert!(
                !opens(&consent, Purpose::Research, Normal, time),
                "{name} {time}"
            );
        }
        for time in outside {
            assert!(
                !opens(&consent, Purpose::Treat, Normal, time),
                "{name} {time}"
            );
        }
    }
}

#[test]
fn an_opt_in_to_unknown_terms_opens_nothing() {
    let unknown = Context {
        offered: None,
        ..context()
    };
    for name in TAKEN {
        let refusal = import(name, &unknown).unwrap_err();
        assert_eq!(refusal.reason, Reason::UnknownTerms, "{name}");
        assert_eq!(refusal.element, "Consent.policyRule", "{name}");
    }
}

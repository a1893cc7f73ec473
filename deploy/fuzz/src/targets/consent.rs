//! Consents as JSON, and what they decide.

use serde::Deserialize;
use stela_consent::{
    Category, Confidentiality, Consent, Fingerprint, Hex, Id, Provision, Purpose, RecordFacts,
    Request, Requester, Role, SensitivityLabel, Status, decide, emergency, grantees, limits,
};

#[path = "../../../../chaincode/consent/tests/naive/mod.rs"]
mod naive;

const CONSENTS_MAX: usize = 12;

pub(super) fn consent_json(input: &[u8]) {
    let Ok(consent) = serde_json::from_slice::<Consent>(input) else {
        return;
    };
    let json = serde_json::to_vec(&consent).expect("a consent is JSON");
    assert_eq!(
        serde_json::from_slice::<Consent>(&json).ok().as_ref(),
        Some(&consent)
    );
    assert!(consent.exceptions().len() <= limits::EXCEPTIONS_MAX);
    for provision in std::iter::once(consent.provision()).chain(consent.exceptions()) {
        assert!(provision.records.len() <= limits::RECORDS_MAX);
        assert!(provision.purposes.len() <= limits::CODES_MAX);
    }
    assert!(
        consent
            .exceptions()
            .iter()
            .all(|one| one.kind != consent.provision().kind)
    );
}

#[derive(Deserialize)]
struct Question {
    fingerprint: Fingerprint,
    organization: String,
    role: Role,
    purpose: Purpose,
    #[serde(default)]
    study: Option<Id>,
    time_ms: u64,
    record: Id,
    category: Category,
    confidentiality: Confidentiality,
    labels: Vec<SensitivityLabel>,
    date_ms: Option<u64>,
    consents: Vec<(Consent, Status)>,
}

/// The evaluator agrees with the naive reading of its documentation, whatever the order of the
/// consents; a deny of everything only ever takes away; and whatever a consent within another
/// permits, the other permits too.
pub(super) fn consent_decision(input: &[u8]) {
    let Ok(mut question) = serde_json::from_slice::<Question>(input) else {
        return;
    };
    question.consents.truncate(CONSENTS_MAX);
    let facts = RecordFacts {
        id: question.record,
        category: question.category,
        confidentiality: question.confidentiality,
        labels: question.labels.clone(),
        date_ms: question.date_ms,
    };
    let request = Request {
        requester: Requester {
            fingerprint: question.fingerprint,
            organization: &question.organization,
            role: question.role,
        },
        purpose: question.purpose,
        study: question.study,
        time_ms: question.time_ms,
        record: &facts,
    };
    let given = || {
        question
            .consents
            .iter()
            .map(|(consent, status)| (consent, *status))
    };
    let decision = decide(&request, given());
    let expected = naive::reference(&request, &question.consents);
    assert_eq!(
        decision.permit,
        matches!(expected, naive::Answer::Permit { .. })
    );
    assert_eq!(
        decision.consent.is_some(),
        expected != naive::Answer::Nothing
    );
    assert_eq!(decision.consent.is_some(), decision.provision.is_some());
    assert_eq!(
        decide(&request, given().collect::<Vec<_>>().into_iter().rev()).permit,
        decision.permit
    );
    let deny = Consent::new(Hex([9; 16]), Provision::deny(), Vec::new()).expect("a deny");
    let with = given().chain([(&deny, Status::Active)]);
    assert!(decision.permit || !decide(&request, with).permit);
    let urgent = emergency(request.requester, &facts, question.time_ms, given());
    assert_eq!(
        urgent.permit,
        naive::emergency(&request, &question.consents)
    );
    let alone = |consent| decide(&request, [(consent, Status::Active)]).permit;
    for (own, _) in &question.consents {
        for (asked, _) in &question.consents {
            assert!(own.is_within(asked).is_err() || !alone(own) || alone(asked));
        }
    }
    let _ = grantees(&facts, question.time_ms, given());
}

pub(super) mod seeds {
    use serde_json::{Value, json};

    fn id(n: u8) -> String {
        format!("{n:02x}").repeat(16)
    }

    fn consents() -> Vec<Value> {
        vec![
            json!({"id": id(1), "type": "permit", "purpose": ["TREAT"]}),
            json!({"id": id(2), "type": "permit", "actor": {"org": "A", "role": "practitioner"},
                "purpose": ["TREAT", "HPAYMT"], "max": "R", "label": ["HIV", "PSY"], "period": [1, 9],
                "except": [{"type": "deny", "category": ["laboratory"], "min": "N"}]}),
            json!({"id": id(3), "type": "deny"}),
            json!({"id": id(4), "type": "deny", "actor": {"org": "A"},
                "except": [{"type": "permit", "purpose": ["ETREAT"], "record": [id(7)], "data": [null, 5]}]}),
            json!({"id": id(5), "type": "permit", "actor": {"id": "11".repeat(32)}, "purpose": ["HRESCH"]}),
            json!({"id": id(6), "scope": "research", "research": "RSREID", "type": "permit",
                "actor": {"study": id(8)}, "purpose": ["HRESCH"]}),
            json!({"id": id(7), "scope": "research", "research": "RSDID", "type": "deny",
                "purpose": ["HRESCH"],
                "except": [{"type": "permit", "actor": {"study": id(8)}, "purpose": ["DSRCH"]}]}),
            json!({"id": id(9), "policy": "Policy-basic-normal", "type": "permit",
                "actor": {"role": "practitioner"}, "purpose": ["TREAT"]}),
        ]
    }

    pub(in crate::targets) fn consent_json() -> Vec<Vec<u8>> {
        consents()
            .into_iter()
            .map(|consent| consent.to_string().into_bytes())
            .collect()
    }

    pub(in crate::targets) fn consent_decision() -> Vec<Vec<u8>> {
        let question = |purpose: &str, role: &str, given: &[usize]| {
            let study = (purpose == "DSRCH").then(|| id(8));
            let consents = consents();
            let given: Vec<Value> = given
                .iter()
                .map(|i| json!([consents[*i], "active"]))
                .collect();
            json!({"fingerprint": "11".repeat(32), "organization": "A", "role": role,
                "purpose": purpose, "study": study, "time_ms": 3, "record": id(7), "category": "laboratory",
                "confidentiality": "N", "labels": ["HIV"], "date_ms": 2, "consents": given})
            .to_string()
            .into_bytes()
        };
        vec![
            question("TREAT", "practitioner", &[0]),
            question("ETREAT", "practitioner", &[1, 3]),
            question("TREAT", "practitioner", &[0, 1, 2]),
            question("HRESCH", "researcher", &[4, 3]),
            question("BTG", "patient", &[0, 1, 2, 3, 4]),
            question("DSRCH", "researcher", &[5, 6]),
            question("TREAT", "practitioner", &[7, 2]),
        ]
    }
}

//! The healthcare contract: its arguments, any sequence of calls, and its answers as clients read them.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use stela_guest::{Caller, ContractError, Ledger, MockLedger, json as arguments, limits};
use stela_healthcare::answer::{AccessDecision, AuditEntry, Page, RecordVersion};
use stela_healthcare::request;

use crate::parts::Parts;

type Contract = fn(&mut dyn Ledger, &str, &[Vec<u8>]) -> Result<Vec<u8>, ContractError>;

const CALLS_MAX: usize = 12;
const FUNCTIONS: &[&str] = &[
    "register_patient",
    "register_encryption_key",
    "encryption_keys",
    "submit_record",
    "amend_record",
    "confirm_record",
    "reject_record",
    "grant_consent",
    "revoke_consent",
    "list_consents",
    "share_keys",
    "request_access",
    "read_grant",
    "get_record",
    "list_records",
    "audit_trail",
    "unknown",
    "add_certificate",
    "remove_certificate",
    "rebind_patient",
    "cancel_rebinding",
    "list_certificates",
    "encryption_key_history",
    "name_delegate",
    "activate_delegation",
    "end_delegation",
    "list_delegates",
    "grant_consent_for",
    "request_consent",
    "answer_consent_request",
    "withdraw_consent_request",
    "list_consent_requests",
    "request_erasure",
    "decline_erasure",
    "erase_record",
    "erasures",
    "concerns",
    "accounting",
    "readers",
    "record_history",
    "note_denied_access",
    "break_glass",
    "review_emergency",
    "list_emergencies",
    "register_study",
    "add_investigator",
    "remove_investigator",
    "end_study",
    "get_study",
    "enrol",
    "withdraw_from_study",
    "study_records",
    "study_cohort",
    "bind_device",
    "release_device",
    "submit_window",
    "device_status",
];
const CODES: [&str; 10] = [
    "invalid-argument",
    "forbidden",
    "not-found",
    "already-exists",
    "wrong-state",
    "out-of-sequence",
    "limit-exceeded",
    "endorse-only",
    "evaluate-only",
    "unknown-function",
];

/// The first byte chooses the request.
pub(super) fn contract_arguments(input: &[u8]) {
    fn check<T: Serialize + DeserializeOwned + PartialEq>(bytes: &[u8]) {
        match arguments::only_argument::<T>(&[bytes.to_vec()]) {
            Ok(request) => {
                let again = arguments::encode(&request).expect("a request is JSON");
                assert!(arguments::only_argument::<T>(&[again]).is_ok_and(|same| same == request));
            }
            Err(error) => check_error(&error),
        }
    }
    let checks: &[fn(&[u8])] = &[
        check::<request::RegisterPatient>,
        check::<request::RegisterEncryptionKey>,
        check::<request::EncryptionKeys>,
        check::<request::SubmitRecord>,
        check::<request::ConfirmRecord>,
        check::<request::RejectRecord>,
        check::<request::GrantConsent>,
        check::<request::RevokeConsent>,
        check::<request::ListConsents>,
        check::<request::ShareKeys>,
        check::<request::RequestAccess>,
        check::<request::ReadGrant>,
        check::<request::ListRecords>,
        check::<request::AuditTrail>,
        check::<request::GetRecord>,
        check::<request::OwnCertificate>,
        check::<request::NameDelegate>,
        check::<request::Delegation>,
        check::<request::ListDelegates>,
        check::<request::GrantConsentFor>,
        check::<request::RequestConsent>,
        check::<request::AnswerConsentRequest>,
        check::<request::EncryptionKeyHistory>,
        check::<request::RequestErasure>,
        check::<request::DeclineErasure>,
        check::<request::EraseRecord>,
        check::<request::Concerns>,
        check::<request::Accounting>,
        check::<request::Readers>,
        check::<request::NoteDeniedAccess>,
        check::<request::BreakGlass>,
        check::<request::ReviewEmergency>,
        check::<request::RegisterStudy>,
        check::<request::Investigator>,
        check::<request::Enrol>,
        check::<request::StudyRecords>,
        check::<request::StudyCohort>,
        check::<request::BindDevice>,
        check::<request::SubmitWindow>,
        check::<request::DeviceStatus>,
        check::<request::Erasures>,
        check::<request::GetStudy>,
        check::<request::WithdrawFromStudy>,
    ];
    let (kind, bytes) = input.split_first().unwrap_or((&0, &[]));
    checks[usize::from(*kind) % checks.len()](bytes);
}

fn check_error(error: &ContractError) {
    assert!(
        CODES.contains(&error.code.as_str()),
        "not a code for callers: {error}"
    );
    assert!(error.message.len() <= limits::MESSAGE_BYTES_MAX);
    let field = error.field.as_deref().unwrap_or_default();
    assert!(field.len() <= limits::FIELD_BYTES_MAX);
}

fn callers() -> &'static [Caller; 7] {
    static CALLERS: OnceLock<[Caller; 7]> = OnceLock::new();
    CALLERS.get_or_init(|| {
        let patient = |organization, n: u8, id: u8| {
            let caller = Caller::new(organization, "patient", [n; 32]);
            caller.with_attribute("patient", &format!("{id:02x}").repeat(16))
        };
        [
            patient("HospitalA", 1, 0x11),
            Caller::new("HospitalA", "practitioner", [2; 32]),
            Caller::new("HospitalA", "records-officer", [3; 32]),
            Caller::new("HospitalA", "privacy-officer", [4; 32]),
            Caller::new("HospitalB", "practitioner", [5; 32]),
            patient("HospitalB", 6, 0x12),
            Caller::new("HospitalC", "", [7; 32]),
        ]
    })
}

/// Calls of any functions by anybody, with any arguments. What is refused changes nothing, every
/// refusal has a code that callers know, a decision leaves its audit entry, and no sequence of calls
/// makes a state that the contract itself cannot read.
pub(super) fn contract_calls(input: &[u8]) {
    let mut ledger = MockLedger::new(stela_healthcare::invoke as Contract);
    let mut parts = Parts::of(input);
    let mut patients = BTreeSet::new();
    for _ in 0..CALLS_MAX {
        if parts.is_empty() {
            break;
        }
        let function = FUNCTIONS[usize::from(parts.byte()) % FUNCTIONS.len()];
        let caller = &callers()[usize::from(parts.byte()) % callers().len()];
        ledger.advance_ms(u64::from(parts.byte()) * 60_000);
        call(&mut ledger, caller, function, parts.part());
        patients.extend(caller.attribute("patient"));
    }
    for patient in patients {
        for (function, caller) in [
            ("list_records", 0),
            ("list_consents", 0),
            ("audit_trail", 0),
            ("list_records", 5),
            ("audit_trail", 5),
        ] {
            let argument = json!({ "patient": patient }).to_string();
            let answer = ledger.evaluate(&callers()[caller], function, &[argument.as_bytes()]);
            answer.map_or_else(
                |error| check_error(&error),
                |outcome| check_json(&outcome.payload),
            );
        }
    }
}

fn call(ledger: &mut MockLedger<Contract>, caller: &Caller, function: &str, argument: &[u8]) {
    let before = ledger.state().clone();
    let asked = ledger.evaluate(caller, function, &[argument]);
    assert_eq!(&before, ledger.state(), "a question writes nothing");
    let side = [[ledger.state().len() as u8; 32]];
    match ledger.submit_with_side(caller, function, &[argument], &side) {
        Err(error) => {
            check_error(&error);
            assert_eq!(&before, ledger.state(), "what is refused writes nothing");
        }
        Ok(outcome) => {
            check_json(&outcome.payload);
            assert!(
                outcome
                    .writes
                    .keys()
                    .all(|key| key.len() <= limits::KEY_BYTES_MAX)
            );
            let audited = outcome.writes.keys().any(|key| key.starts_with(b"a\0"));
            if function == "request_access" {
                assert!(asked.is_err_and(|error| error.code == "endorse-only"));
                assert!(audited, "a decision without an audit entry");
                let decision: AccessDecision =
                    serde_json::from_slice(&outcome.payload).expect("a decision");
                assert!(serde_json::to_vec(&decision).is_ok());
            }
            for (name, payload) in &outcome.events {
                assert!(name.len() <= stela_protocol::limits::EVENT_NAME_BYTES_MAX);
                check_json(payload);
            }
        }
    }
}

fn check_json(bytes: &[u8]) {
    assert!(serde_json::from_slice::<serde_json::Value>(bytes).is_ok());
}

/// What a client reads from a peer that may say anything.
pub(super) fn contract_answers(input: &[u8]) {
    fn check<T: Serialize + DeserializeOwned>(bytes: &[u8]) {
        if let Ok(answer) = serde_json::from_slice::<T>(bytes) {
            let once = serde_json::to_vec(&answer).expect("an answer is JSON");
            let again: T = serde_json::from_slice(&once).expect("and is read again");
            assert_eq!(serde_json::to_vec(&again).expect("JSON"), once);
        }
    }
    check::<AccessDecision>(input);
    check::<RecordVersion>(input);
    check::<Page<AuditEntry>>(input);
    check::<Page<RecordVersion>>(input);
}

pub(super) mod seeds {
    use serde_json::Value;

    use super::*;
    use crate::parts::part;

    const CID: &str = "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy";

    fn id(n: u8) -> String {
        format!("{n:02x}").repeat(16)
    }

    fn submission(version: u32) -> Value {
        json!({"record": id(0x21), "version": version, "patient": id(0x11), "cid": CID,
            "category": "patient-summary", "confidentiality": "N", "labels": ["HIV"], "date": 5,
            "header": "00ff", "commitment": "cd".repeat(32)})
    }

    fn consent() -> Value {
        json!({"id": id(0x31), "type": "permit", "purpose": ["TREAT"], "label": ["HIV"],
            "actor": {"org": "HospitalB", "role": "practitioner"}})
    }

    fn version() -> Value {
        json!({"record": id(0x21), "version": 1})
    }

    fn certificate() -> Value {
        json!({"patient": id(0x11), "certificate": "08".repeat(32)})
    }

    fn delegation() -> Value {
        json!({"patient": id(0x11), "delegate": "06".repeat(32), "delegation": id(0x41)})
    }

    /// By the clock of the mock ledger, which begins with the year 2026.
    fn naming() -> Value {
        let mut naming = delegation();
        let fields = naming.as_object_mut().expect("an object");
        let more = json!({"kind": "HPOWATT", "scope": ["consent", "read", "rights"],
            "until": 1_767_300_000_000u64});
        fields.extend(more.as_object().expect("an object").clone());
        naming
    }

    /// Of the privacy officer's organization.
    fn study() -> Value {
        json!({"study": id(0x61), "purposes": ["HRESCH"], "ceiling": "N",
            "end": 1_767_300_000_000u64, "approval": "ee".repeat(32)})
    }

    /// What the delegate asks about the patient's part in it.
    fn part_of_her() -> Value {
        json!({"study": id(0x61), "patient": id(0x11)})
    }

    fn asking() -> Value {
        json!({"patient": id(0x11), "request": id(0x51), "consent": consent(),
            "reason": "referral", "expires": 1_767_300_000_000u64})
    }

    fn erasure() -> Value {
        json!({"patient": id(0x11), "record": id(0x21)})
    }

    fn about(more: Value) -> Value {
        let mut object = json!({"patient": id(0x11), "record": id(0x21), "version": 1});
        let fields = object.as_object_mut().expect("an object");
        fields.extend(more.as_object().expect("an object").clone());
        object
    }

    pub(in crate::targets) fn contract_arguments() -> Vec<Vec<u8>> {
        let page = json!({"patient": id(0x11), "limit": 5, "bookmark": "610062"});
        [
            json!({"patient": id(0x11)}),
            json!({"key": "0101"}),
            json!({"organization": "HospitalA", "role": "practitioner"}),
            submission(1),
            version(),
            json!({"record": id(0x21), "version": 1, "reason": "unreadable"}),
            consent(),
            json!({"patient": id(0x11), "consent": id(0x31)}),
            json!({"patient": id(0x11), "record": id(0x21)}),
            about(json!({})),
            about(json!({"purpose": "TREAT"})),
            about(json!({"request": "ab".repeat(32)})),
            page.clone(),
            page.clone(),
            version(),
            certificate(),
            naming(),
            delegation(),
            page,
            json!({"patient": id(0x11), "consent": consent()}),
            asking(),
            json!({"patient": id(0x11), "request": id(0x51), "decision": "approve"}),
            json!({"fingerprint": "01".repeat(32)}),
        ]
        .into_iter()
        .zip(0u8..)
        .map(|(request, kind)| [vec![kind], request.to_string().into_bytes()].concat())
        .collect()
    }

    fn call(function: &str, caller: u8, argument: &Value) -> Vec<u8> {
        let index = FUNCTIONS
            .iter()
            .position(|f| *f == function)
            .expect("a function");
        [
            vec![index as u8, caller, 1],
            part(argument.to_string().as_bytes()),
        ]
        .concat()
    }

    pub(in crate::targets) fn contract_calls() -> Vec<Vec<u8>> {
        let patient = json!({"patient": id(0x11)});
        let begin = [
            call("register_patient", 0, &patient),
            call("submit_record", 1, &submission(1)),
        ]
        .concat();
        let treat = about(json!({"purpose": "TREAT"}));
        let shared = [
            begin.clone(),
            call("confirm_record", 2, &version()),
            call("grant_consent", 0, &consent()),
            call("request_access", 4, &treat),
        ]
        .concat();
        let revoke = json!({"patient": id(0x11), "consent": id(0x31)});
        let other = json!({"patient": id(0x11), "certificate": "09".repeat(32)});
        let approve = json!({"patient": id(0x11), "request": id(0x51), "decision": "approve"});
        vec![
            [
                shared.clone(),
                call("read_grant", 4, &about(json!({}))),
                call("audit_trail", 3, &patient),
            ]
            .concat(),
            [
                shared.clone(),
                call("revoke_consent", 0, &revoke),
                call("request_access", 4, &treat),
            ]
            .concat(),
            [
                shared,
                call("amend_record", 1, &submission(2)),
                call(
                    "list_records",
                    4,
                    &json!({"patient": id(0x11), "purpose": "TREAT"}),
                ),
            ]
            .concat(),
            [
                begin.clone(),
                call(
                    "reject_record",
                    2,
                    &json!({"record": id(0x21), "version": 1, "reason": "unreadable"}),
                ),
            ]
            .concat(),
            [
                begin.clone(),
                call("share_keys", 1, &about(json!({}))),
                call(
                    "list_consents",
                    1,
                    &json!({"patient": id(0x11), "record": id(0x21)}),
                ),
            ]
            .concat(),
            [
                call("register_patient", 0, &patient),
                call("add_certificate", 0, &certificate()),
                call("rebind_patient", 3, &other),
                call("cancel_rebinding", 0, &other),
                call("remove_certificate", 0, &certificate()),
                call("list_certificates", 0, &patient),
            ]
            .concat(),
            [
                begin.clone(),
                call("confirm_record", 2, &version()),
                call("name_delegate", 0, &naming()),
                call("request_access", 5, &about(json!({"purpose": "PWATRNY"}))),
                call("request_consent", 4, &asking()),
                call("answer_consent_request", 5, &approve),
                call("list_delegates", 1, &patient),
                call("end_delegation", 5, &delegation()),
            ]
            .concat(),
            [
                begin.clone(),
                call("name_delegate", 0, &naming()),
                call("register_study", 3, &study()),
                call(
                    "enrol",
                    5,
                    &json!({"study": id(0x61), "pseudonym": id(0x62), "patient": id(0x11)}),
                ),
                call("get_study", 5, &part_of_her()),
                call("study_cohort", 3, &json!({"study": id(0x61), "part": 0})),
                call("withdraw_from_study", 5, &part_of_her()),
            ]
            .concat(),
            [
                begin,
                call("confirm_record", 2, &version()),
                call("request_erasure", 0, &erasure()),
                call("erasures", 3, &json!({"limit": 5})),
                call(
                    "decline_erasure",
                    3,
                    &json!({"patient": id(0x11), "record": id(0x21), "reason": "legal-hold"}),
                ),
                call("request_erasure", 0, &erasure()),
                call(
                    "erase_record",
                    3,
                    &json!({"record": id(0x21), "reason": "patient-request"}),
                ),
                call("erasures", 0, &patient),
            ]
            .concat(),
            call(
                "register_encryption_key",
                1,
                &json!({"key": "01".repeat(1218)}),
            ),
        ]
    }

    /// What the contract answers in the sequences above.
    pub(in crate::targets) fn contract_answers() -> Vec<Vec<u8>> {
        let mut ledger = MockLedger::new(stela_healthcare::invoke as Contract);
        let mut answers = Vec::new();
        let treat = about(json!({"purpose": "TREAT"}));
        let calls = [
            ("register_patient", 0, json!({"patient": id(0x11)})),
            ("submit_record", 1, submission(1)),
            ("confirm_record", 2, version()),
            ("request_access", 4, treat.clone()),
            ("grant_consent", 0, consent()),
            ("request_access", 4, treat),
            ("get_record", 4, version()),
            ("audit_trail", 0, json!({"patient": id(0x11), "limit": 3})),
            ("list_records", 0, json!({"patient": id(0x11)})),
        ];
        for (function, caller, argument) in calls {
            let argument = argument.to_string();
            let side = [[answers.len() as u8; 32]];
            let caller = &callers()[caller];
            let outcome = ledger.submit_with_side(caller, function, &[argument.as_bytes()], &side);
            answers.push(outcome.expect("a call that is right").payload);
        }
        answers.split_off(3)
    }
}

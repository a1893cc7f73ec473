//! The real contract, as WebAssembly, against the same contract run natively.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

mod support;

use std::path::PathBuf;

use bytes::Bytes;
use serde_json::{Value, json};
use stela_guest::{ContractError, Ledger, MockLedger};
use stela_host::{Caller, Contract, Execution, InvokeError, Mode, Runtime, RuntimeLimits};
use stela_protocol::{Hash32, Message, TransactionId, pb};
use support::{State, caller, invocation};

/// Where `deploy/build-contract.sh` puts it.
fn package() -> Vec<u8> {
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let target = variable("CARGO_TARGET_DIR").unwrap_or_else(|| {
        let cache = variable("STELA_CACHE").unwrap_or_else(|| {
            variable("XDG_CACHE_HOME")
                .or_else(|| variable("HOME").map(|home| home.join(".cache")))
                .unwrap_or_default()
                .join("stela")
        });
        cache.join("target")
    });
    let path = target.join("contracts/healthcare.wasm");
    std::fs::read(&path).unwrap_or_else(|error| {
        panic!(
            "{}: {error}; run ./deploy/build-contract.sh first",
            path.display()
        )
    })
}

type Invoke = fn(&mut dyn Ledger, &str, &[Vec<u8>]) -> Result<Vec<u8>, ContractError>;

struct Twins {
    native: MockLedger<Invoke>,
    contract: Contract,
    state: State,
    steps: u8,
}

impl Twins {
    fn new() -> Self {
        let runtime = Runtime::new(RuntimeLimits {
            instances: 4,
            ..RuntimeLimits::default()
        });
        Self {
            native: MockLedger::new(stela_healthcare::invoke as Invoke),
            contract: runtime.unwrap().install(&package()).unwrap(),
            state: State::default(),
            steps: 0,
        }
    }

    /// Runs a transaction on both and compares everything; commits it on both.
    #[track_caller]
    fn submit(&mut self, who: &Caller, function: &str, argument: &Value) -> Execution {
        self.steps += 1;
        let side = [self.steps; 32];
        let argument = argument.to_string();
        let arguments: [&[u8]; 1] = [argument.as_bytes()];
        let native = self
            .native
            .submit_with_side(&as_guest(who), function, &arguments, &[side])
            .unwrap_or_else(|error| panic!("{function}: {error}"));
        let mut call = invocation(who, function, &arguments);
        call.transaction_id = TransactionId(native.transaction_id);
        call.timestamp_ms = self.native.time_ms();
        call.side = vec![Hash32(side)];
        let arguments = call.arguments.clone();
        let execution = self.contract.invoke(&self.state, call).unwrap();
        let result = &execution.result;
        assert_eq!(execution.response(), native.payload, "{function}");
        let events: Vec<(String, Vec<u8>)> = result
            .events
            .iter()
            .map(|e| (e.name.clone(), e.payload.to_vec()))
            .collect();
        assert_eq!(events, native.events);
        assert_eq!(result.expires_at_ms, native.expires_at_ms, "{function}");
        let call = execution.on_absence.clone();
        let call = call.map(|call| (call.function, call.argument.to_vec()));
        assert_eq!(call, native.on_absence, "{function}");
        self.state.apply(result, &arguments);
        let rows = self
            .state
            .rows
            .iter()
            .map(|(key, (value, _))| (key.clone(), value.to_vec()));
        assert_eq!(
            &rows.collect::<std::collections::BTreeMap<_, _>>(),
            self.native.state()
        );
        execution
    }

    /// Asks both a question and compares the answers.
    #[track_caller]
    fn evaluate(&self, who: &Caller, function: &str, argument: &Value) -> Result<Value, String> {
        let argument = argument.to_string();
        let arguments: [&[u8]; 1] = [argument.as_bytes()];
        let native = self.native.evaluate(&as_guest(who), function, &arguments);
        let mut call = invocation(who, function, &arguments);
        call.timestamp_ms = self.native.time_ms();
        call.mode = Mode::Evaluate;
        match (native, self.contract.invoke(&self.state, call)) {
            (Ok(native), Ok(execution)) => {
                assert_eq!(execution.response(), native.payload, "{function}");
                Ok(serde_json::from_slice(&native.payload).unwrap())
            }
            (Err(native), Err(InvokeError::Refused(error))) => {
                assert_eq!(
                    (&error.code, &error.message),
                    (&native.code, &native.message)
                );
                assert_eq!(error.field, native.field);
                Err(error.code)
            }
            (native, wasm) => panic!("{function}: {native:?}, {wasm:?}"),
        }
    }
}

fn as_guest(who: &Caller) -> stela_guest::Caller {
    stela_guest::Caller {
        organization: who.organization.to_string(),
        role: who.role.clone(),
        attributes: who.attributes.clone(),
        fingerprint: who.fingerprint.0,
    }
}

const PATIENT: &str = "11111111111111111111111111111111";
const RECORD: &str = "22222222222222222222222222222222";
const CONSENT: &str = "33333333333333333333333333333333";

fn patient() -> Caller {
    let mut patient = caller("HospitalA", "patient", 1);
    patient
        .attributes
        .push(("patient".to_owned(), PATIENT.to_owned()));
    patient
}

fn submission() -> Value {
    json!({
        "record": RECORD, "version": 1, "patient": PATIENT,
        "cid": "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy",
        "category": "patient-summary", "confidentiality": "R", "labels": ["PSY"],
        "date": 1_700_000_000_000u64, "header": "00ff".repeat(20), "commitment": "cd".repeat(32),
    })
}

fn consent() -> Value {
    json!({
        "id": CONSENT, "type": "permit",
        "actor": {"org": "HospitalB", "role": "practitioner"},
        "purpose": ["TREAT"], "max": "R", "label": ["PSY"], "category": ["patient-summary"],
        "period": [1_700_000_000_000u64, 1_800_000_000_000u64],
    })
}

#[test]
fn a_records_life_is_the_same_in_webassembly_and_natively() {
    let mut twins = Twins::new();
    let (patient, author) = (patient(), caller("HospitalA", "practitioner", 2));
    let officer = caller("HospitalA", "records-officer", 3);
    let (reader, stranger) = (
        caller("HospitalB", "practitioner", 5),
        caller("HospitalC", "practitioner", 6),
    );
    twins.submit(&patient, "register_patient", &json!({"patient": PATIENT}));
    twins.submit(&author, "submit_record", &submission());
    let version = json!({"record": RECORD, "version": 1});
    twins.submit(&officer, "confirm_record", &version);
    twins.submit(&patient, "grant_consent", &consent());
    let access = json!({"patient": PATIENT, "record": RECORD, "version": 1, "purpose": "TREAT"});
    let decision = |execution: Execution| -> Value {
        let answer: Value = serde_json::from_slice(execution.response()).unwrap();
        answer["decision"].clone()
    };
    assert_eq!(
        decision(twins.submit(&reader, "request_access", &access)),
        "permit"
    );
    assert_eq!(
        decision(twins.submit(&stranger, "request_access", &access)),
        "deny"
    );
    let read = json!({"patient": PATIENT, "record": RECORD, "version": 1});
    assert!(twins.evaluate(&reader, "read_grant", &read).is_ok());
    assert_eq!(
        twins.evaluate(&stranger, "read_grant", &read),
        Err("forbidden".to_owned())
    );
    let revoke = json!({"patient": PATIENT, "consent": CONSENT});
    twins.submit(&patient, "revoke_consent", &revoke);
    assert_eq!(
        decision(twins.submit(&reader, "request_access", &access)),
        "deny"
    );
    assert_eq!(
        twins.evaluate(&reader, "read_grant", &read),
        Err("forbidden".to_owned())
    );
    let mut amended = submission();
    amended["version"] = json!(2);
    twins.submit(&author, "amend_record", &amended);
    twins.submit(
        &officer,
        "confirm_record",
        &json!({"record": RECORD, "version": 2}),
    );
    let old = twins.evaluate(&author, "get_record", &version).unwrap();
    assert_eq!(old["replaced_by"], 2);
    let history = twins.evaluate(&author, "record_history", &json!({"record": RECORD}));
    let versions: Vec<Value> = history.unwrap()["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| json!([change["latest"], change["active"]]))
        .collect();
    assert_eq!(json!(versions), json!([[2, 2], [2, 1], [1, 1], [1, null]]));
    let of_patient = json!({"patient": PATIENT});
    for function in ["audit_trail", "list_records", "list_consents"] {
        assert!(twins.evaluate(&patient, function, &of_patient).is_ok());
    }
    assert_eq!(
        twins.evaluate(&reader, "request_access", &access),
        Err("endorse-only".to_owned())
    );
}

#[test]
fn hostile_arguments_are_refused_alike() {
    let twins = Twins::new();
    let who = caller("HospitalA", "practitioner", 2);
    for argument in [
        json!({"x": 1}),
        json!([]),
        json!(1),
        json!({"patient": "Jane Doe"}),
    ] {
        for function in [
            "register_patient",
            "submit_record",
            "grant_consent",
            "audit_trail",
        ] {
            assert_eq!(
                twins.evaluate(&who, function, &argument),
                Err("invalid-argument".to_owned())
            );
        }
    }
    let deep = "[".repeat(200_000);
    let refused = |arguments: &[&[u8]]| {
        let call = invocation(&who, "audit_trail", arguments);
        match twins.contract.invoke(&twins.state, call) {
            Err(InvokeError::Refused(error)) => error.code,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(refused(&[deep.as_bytes()]), "invalid-argument");
    assert_eq!(refused(&[&[0xff; 400_000]]), "invalid-argument");
    assert_eq!(refused(&[]), "invalid-argument");
}

#[test]
fn an_ordered_grant_with_two_endorsements_stays_under_a_thousand_bytes() {
    let mut twins = Twins::new();
    let patient = patient();
    twins.submit(&patient, "register_patient", &json!({"patient": PATIENT}));
    // Heights of a ledger that has been in use for a while.
    for (_, height) in twins.state.rows.values_mut() {
        height.block = 2_000_000;
        height.transaction = 300;
    }
    let argument = consent().to_string();
    let execution = twins.submit(&patient, "grant_consent", &consent());
    let proposal = pb::Proposal {
        version: 1,
        channel: "care".to_owned(),
        nonce: Bytes::from_static(&[1; 24]),
        creator: Bytes::from_static(&[2; 32]),
        timestamp_ms: 1_767_225_600_000,
        contract: "healthcare".to_owned(),
        function: "grant_consent".to_owned(),
        arguments: vec![argument.clone().into()],
        side: Vec::new(),
    };
    let endorsement = pb::Endorsement {
        endorser: Bytes::from_static(&[3; 32]),
        signature: Bytes::from_static(&[4; 64]),
    };
    let transaction = pb::Transaction {
        proposal: proposal.encode_to_vec().into(),
        result: execution.result.encode_to_vec().into(),
        endorsements: vec![endorsement.clone(), endorsement],
    };
    let payload = pb::Payload {
        body: Some(pb::payload::Body::Transaction(transaction)),
    };
    let envelope = pb::Envelope {
        payload: payload.encode_to_vec().into(),
        signature: Bytes::from_static(&[5; 64]),
    };
    let bytes = envelope.encoded_len();
    println!("{bytes} bytes with a consent of {}", argument.len());
    assert!(argument.len() >= 200, "a realistic consent");
    assert!(bytes < 1000, "{bytes} bytes");
}

#[test]
fn a_module_that_is_already_a_component_is_the_same_contract() {
    let module = package();
    let component = stela_host::componentize(&module).unwrap();
    assert_eq!(component, stela_host::componentize(&module).unwrap());
    let runtime = Runtime::new(RuntimeLimits {
        instances: 1,
        ..RuntimeLimits::default()
    })
    .unwrap();
    let contract = runtime.install(&component).unwrap();
    let register = json!({"patient": PATIENT}).to_string();
    let call = invocation(&patient(), "register_patient", &[register.as_bytes()]);
    assert!(contract.invoke(&State::default(), call).is_ok());
}

//! The real contract in WebAssembly: its size on the wire, and its packages.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

mod support;

use bytes::Bytes;
use serde_json::{Value, json};
use stela_host::{Caller, Contract, Execution, Runtime, RuntimeLimits};
use stela_protocol::{Message, pb};
use support::healthcare::package;
use support::{State, caller, invocation};

fn install(package: &[u8]) -> Contract {
    let limits = RuntimeLimits {
        instances: 1,
        ..RuntimeLimits::default()
    };
    Runtime::new(limits).unwrap().install(package).unwrap()
}

/// Runs a transaction and commits it.
fn submit(contract: &Contract, state: &mut State, function: &str, argument: &Value) -> Execution {
    let argument = argument.to_string();
    let call = invocation(&patient(), function, &[argument.as_bytes()]);
    let arguments = call.arguments.clone();
    let execution = contract.invoke(state, call).unwrap();
    state.apply(&execution.result, &arguments);
    execution
}

const PATIENT: &str = "11111111111111111111111111111111";
const CONSENT: &str = "33333333333333333333333333333333";

fn patient() -> Caller {
    let mut patient = caller("HospitalA", "patient", 1);
    patient
        .attributes
        .push(("patient".to_owned(), PATIENT.to_owned()));
    patient
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
fn an_ordered_grant_with_two_endorsements_stays_under_a_thousand_bytes() {
    let (contract, mut state) = (install(&package()), State::default());
    let register = json!({"patient": PATIENT});
    submit(&contract, &mut state, "register_patient", &register);
    // Heights of a ledger that has been in use for a while.
    for (_, height) in state.rows.values_mut() {
        height.block = 2_000_000;
        height.transaction = 300;
    }
    let argument = consent().to_string();
    let execution = submit(&contract, &mut state, "grant_consent", &consent());
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
    let contract = install(&component);
    let register = json!({"patient": PATIENT});
    submit(
        &contract,
        &mut State::default(),
        "register_patient",
        &register,
    );
}

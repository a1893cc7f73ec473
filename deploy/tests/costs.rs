//! The table of what each function of the contract costs, as the program prints it.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

use std::process::Command;

use serde_json::Value;
use stela_healthcare::FUNCTIONS;
use stela_host::RuntimeLimits;
use stela_protocol::limits::ENVELOPE_BYTES_MAX;

/// Two signed endorsements and the creator's own signature.
const SIGNED_BYTES_MIN: u64 = 3 * 64;

#[test]
fn every_function_costs_something_and_no_other_is_named() {
    let printed = Command::new(env!("CARGO_BIN_EXE_stela-costs"))
        .arg("--json")
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&printed.stderr);
    assert!(printed.status.success(), "{errors}");
    let costs: Vec<Value> = serde_json::from_slice(&printed.stdout).unwrap();
    let mut named: Vec<&str> = costs
        .iter()
        .map(|cost| cost["function"].as_str().unwrap())
        .collect();
    let mut functions = FUNCTIONS.to_vec();
    named.sort_unstable();
    functions.sort_unstable();
    assert_eq!(named, functions);
    for cost in &costs {
        let number = |field: &str| cost[field].as_u64();
        let fuel = number("fuel").unwrap();
        assert!(0 < fuel && fuel < RuntimeLimits::default().fuel, "{cost}");
        let looked_at = number("keys_read").unwrap() + number("ranges").unwrap();
        assert!(number("answer_bytes").unwrap() > 0, "{cost}");
        match cost["is_question"].as_bool().unwrap() {
            true => assert_eq!(number("envelope_bytes"), None, "{cost}"),
            false => {
                let bytes = number("envelope_bytes").unwrap();
                assert!(
                    looked_at > 0 && number("keys_written").unwrap() > 0,
                    "{cost}"
                );
                assert!(
                    SIGNED_BYTES_MIN < bytes && bytes < ENVELOPE_BYTES_MAX as u64,
                    "{cost}"
                );
            }
        }
    }
}

//! What each function of the contract costs: fuel, keys, and bytes of a transaction as it is ordered.
//!
//! The contract runs as WebAssembly in the host that peers use, over a state in memory. What is
//! counted is the same on every machine; nothing is timed.

mod state;
mod story;

use std::collections::BTreeSet;

use anyhow::{Context, ensure};
use bytes::Bytes;
use serde::Serialize;
use stela_healthcare::FUNCTIONS;
use stela_host::{Caller, Contract, Execution, Invocation, Mode, Runtime, RuntimeLimits};
use stela_protocol::limits::SIGNATURE_BYTES;
use stela_protocol::transaction::{Proposal, Signed, TransactionHeader, envelope};
use stela_protocol::transaction::{SideCommitment, transaction_payload};
use stela_protocol::{ChannelId, ContractName, Fingerprint, Hash32, Message, Nonce, OrgId, pb};

use self::state::State;
use self::story::Step;
use crate::topology::CONTRACT;

/// Organizations that endorse.
const ENDORSEMENTS: usize = 2;

/// Functions beside whose transactions side data travels.
const WITH_SIDE_DATA: [&str; 5] = [
    "submit_record",
    "amend_record",
    "share_keys",
    "submit_window",
    "break_glass",
];

/// What one function costs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cost {
    /// The function.
    pub function: &'static str,
    /// Whether it is measured as a question, of which nothing is ordered.
    pub is_question: bool,
    /// Fuel that the contract used up: about one unit for each instruction.
    pub fuel: u64,
    /// Keys that were looked up.
    pub keys_read: usize,
    /// Ranges of keys that were read.
    pub ranges: usize,
    /// Keys that were written.
    pub keys_written: usize,
    /// Bytes of the answer.
    pub answer_bytes: usize,
    /// Bytes of the envelope as it is ordered, with two endorsements; nothing for a question.
    pub envelope_bytes: Option<usize>,
}

/// Runs every function of a contract's package once with arguments such as clients send, on a ledger
/// that already holds something.
///
/// # Errors
/// When the package is none, a call fails, or a function of the contract is not called.
pub fn measure(package: &[u8]) -> anyhow::Result<Vec<Cost>> {
    let limits = RuntimeLimits {
        instances: 1,
        ..RuntimeLimits::default()
    };
    let contract = Runtime::new(limits)?.install(package)?;
    let mut state = State::default();
    let (mut costs, mut broken_glass) = (Vec::new(), String::new());
    for (number, step) in (0u8..).zip(story::steps()) {
        let invocation = invocation(&step, number, &broken_glass)?;
        if step.function == "break_glass" {
            broken_glass = invocation.transaction_id.to_string();
        }
        let cost = run(&contract, &mut state, &step, invocation)
            .with_context(|| format!("{} of {:?}", step.function, step.who))?;
        costs.extend(step.is_measured.then_some(cost));
    }
    let called: BTreeSet<&str> = costs.iter().map(|cost| cost.function).collect();
    let missing: Vec<&&str> = FUNCTIONS
        .iter()
        .filter(|function| !called.contains(**function))
        .collect();
    ensure!(missing.is_empty(), "nothing measures {missing:?}");
    Ok(costs)
}

fn run(
    contract: &Contract,
    state: &mut State,
    step: &Step,
    invocation: Invocation,
) -> anyhow::Result<Cost> {
    let execution = contract.invoke(state, invocation.clone())?;
    let result = &execution.result;
    let cost = Cost {
        function: step.function,
        is_question: step.is_question,
        fuel: execution.fuel_used,
        keys_read: result.reads.len(),
        ranges: result.ranges.len(),
        keys_written: result.writes.len(),
        answer_bytes: execution.response().len(),
        envelope_bytes: (!step.is_question).then(|| ordered(&invocation, &execution).len()),
    };
    if !step.is_question {
        state.apply(result, &invocation)?;
    }
    Ok(cost)
}

fn invocation(step: &Step, number: u8, broken_glass: &str) -> anyhow::Result<Invocation> {
    let (organization, role, fingerprint) = step.who.certificate();
    let attribute = || ("patient".to_owned(), story::patient());
    let header = header(step, number)?;
    let side = WITH_SIDE_DATA.contains(&step.function);
    let argument = step.argument.to_string();
    let argument = argument.replace(story::BROKEN_GLASS, broken_glass);
    Ok(Invocation {
        channel: header.channel.clone(),
        contract: ContractName::new(CONTRACT)?,
        function: step.function.to_owned(),
        arguments: vec![argument.into()],
        caller: Caller {
            organization: OrgId::new(organization)?,
            role: role.to_owned(),
            attributes: step.who.is_hers().then(attribute).into_iter().collect(),
            fingerprint: Fingerprint([fingerprint; 32]),
        },
        transaction_id: header.id(),
        timestamp_ms: step.time_ms,
        side: side.then_some(Hash32([number; 32])).into_iter().collect(),
        settings: Bytes::new(),
        mode: match step.is_question {
            true => Mode::Evaluate,
            false => Mode::Endorse,
        },
    })
}

fn header(step: &Step, number: u8) -> anyhow::Result<TransactionHeader> {
    Ok(TransactionHeader {
        channel: ChannelId::new("care")?,
        nonce: Nonce([number; 24]),
        creator: Fingerprint([step.who.certificate().2; 32]),
        timestamp_ms: step.time_ms,
    })
}

/// The envelope as it is ordered. Signatures are all zeros: only their length counts.
fn ordered(invocation: &Invocation, execution: &Execution) -> Bytes {
    let side = invocation.side.iter().map(|commitment| SideCommitment {
        commitment: *commitment,
        organizations: vec![invocation.caller.organization.clone()],
    });
    let proposal = Proposal {
        header: TransactionHeader {
            channel: invocation.channel.clone(),
            nonce: Nonce([0xff; 24]),
            creator: invocation.caller.fingerprint,
            timestamp_ms: invocation.timestamp_ms,
        },
        contract: invocation.contract.clone(),
        function: invocation.function.clone(),
        arguments: invocation.arguments.clone(),
        side: side.collect(),
    };
    let endorsement = pb::Endorsement {
        endorser: Hash32([0xff; 32]).to_bytes(),
        signature: Bytes::from_static(&[0xff; SIGNATURE_BYTES]),
    };
    let endorsements = vec![endorsement; ENDORSEMENTS];
    let result = execution.result.encode_to_vec().into();
    envelope(Signed {
        bytes: transaction_payload(proposal.encode(), result, endorsements),
        signature: [0xff; SIGNATURE_BYTES],
    })
}

/// The costs as a table.
pub fn table(costs: &[Cost]) -> String {
    let mut text = format!(
        "{:<26} {:>12} {:>6} {:>7} {:>6} {:>9} {:>9}\n",
        "FUNCTION", "FUEL", "READS", "RANGES", "WRITES", "ANSWER B", "ORDERED B"
    );
    for cost in costs {
        let ordered = cost.envelope_bytes.map(|bytes| bytes.to_string());
        text.push_str(&format!(
            "{:<26} {:>12} {:>6} {:>7} {:>6} {:>9} {:>9}\n",
            cost.function,
            cost.fuel,
            cost.keys_read,
            cost.ranges,
            cost.keys_written,
            cost.answer_bytes,
            ordered.unwrap_or_else(|| "-".to_owned()),
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use stela_protocol::transaction::{Body, Envelope};

    use super::*;

    #[test]
    fn the_bytes_are_those_of_a_transaction_that_a_peer_reads() {
        let module = std::fs::read(crate::contract_module(None).unwrap()).unwrap();
        let limits = RuntimeLimits {
            instances: 1,
            ..RuntimeLimits::default()
        };
        let runtime = Runtime::new(limits).unwrap();
        let contract = runtime.install(&crate::package(&module).unwrap()).unwrap();
        let (mut state, mut broken_glass) = (State::default(), String::new());
        for (number, step) in (0u8..).zip(story::steps()) {
            let function = step.function;
            let call = invocation(&step, number, &broken_glass).unwrap();
            if function == "break_glass" {
                broken_glass = call.transaction_id.to_string();
            }
            let execution = contract.invoke(&state, call.clone()).unwrap();
            let cost = run(&contract, &mut state, &step, call.clone()).unwrap();
            assert_eq!(
                cost.keys_written,
                execution.result.writes.len(),
                "{function}"
            );
            if step.is_question {
                assert_eq!(cost.envelope_bytes, None, "{function}");
                continue;
            }
            let bytes = ordered(&call, &execution);
            assert_eq!(cost.envelope_bytes, Some(bytes.len()), "{function}");
            let Body::Transaction(read) = Envelope::decode(bytes).unwrap().body else {
                panic!("{function} is no transaction");
            };
            assert_eq!(read.proposal.function, function);
            assert_eq!(read.proposal.arguments, call.arguments, "{function}");
            assert_eq!(read.proposal.side.len(), call.side.len(), "{function}");
            assert_eq!(read.result_bytes, execution.result.encode_to_vec());
            assert_eq!(read.endorsements.len(), ENDORSEMENTS, "{function}");
        }
    }

    #[test]
    fn a_row_has_every_number_in_its_column() {
        let cost = |function, envelope_bytes: Option<usize>| Cost {
            function,
            is_question: envelope_bytes.is_none(),
            fuel: 11,
            keys_read: 22,
            ranges: 33,
            keys_written: 44,
            answer_bytes: 55,
            envelope_bytes,
        };
        let table = table(&[cost("submit_record", Some(66)), cost("get_record", None)]);
        let rows: Vec<Vec<&str>> = table
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(rows.len(), 3);
        let numbers = ["11", "22", "33", "44", "55"];
        assert_eq!(
            rows[1],
            [&["submit_record"], &numbers[..], &["66"]].concat()
        );
        assert_eq!(rows[2], [&["get_record"], &numbers[..], &["-"]].concat());
    }
}

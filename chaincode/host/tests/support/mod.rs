//! A state in memory, contracts written in the text format, and invocations of them.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

pub mod healthcare;

use std::collections::BTreeMap;

use bytes::Bytes;
use stela_host::{
    Caller, Contract, Execution, Invocation, InvokeError, KeyVersion, Mode, Runtime, RuntimeLimits,
    StateError, StateView,
};
use stela_protocol::{Fingerprint, Hash32, Height, TransactionId, pb};

/// 2026-01-01T00:00:00Z.
pub const TIME_MS: u64 = 1_767_225_600_000;

/// A state of one contract; each applied result is one block with one transaction.
#[derive(Default)]
pub struct State {
    pub rows: BTreeMap<Vec<u8>, (Bytes, Height)>,
    /// Every change of each key, the oldest first.
    pub changes: BTreeMap<Vec<u8>, Vec<KeyVersion>>,
    pub block: u64,
}

impl State {
    pub fn apply(&mut self, result: &pb::Result, arguments: &[Bytes]) {
        self.block += 1;
        let height = Height {
            block: self.block,
            transaction: 0,
        };
        for write in &result.writes {
            // A key that was read as well is named by its place among the reads, from 1 on.
            let key = match write.read {
                0 => &write.key,
                read => &result.reads[read as usize - 1].key,
            };
            let value = match write.change.as_ref().unwrap() {
                pb::write::Change::Value(value) => Some(value.clone()),
                pb::write::Change::Argument(index) => Some(arguments[*index as usize].clone()),
                pb::write::Change::Delete(_) => None,
            };
            // Numbered and timed as the mock ledger does.
            let mut transaction = TransactionId([0; 32]);
            transaction.0[24..].copy_from_slice(&self.block.to_be_bytes());
            let changes = self.changes.entry(key.to_vec()).or_default();
            changes.push(KeyVersion {
                height,
                transaction,
                time_ms: TIME_MS,
                value: value.clone(),
            });
            match value {
                Some(value) => self.rows.insert(key.to_vec(), (value, height)),
                None => self.rows.remove(&key[..]),
            };
        }
    }
}

impl StateView for State {
    fn get(&self, key: &[u8]) -> Result<Option<(Bytes, Height)>, StateError> {
        Ok(self.rows.get(key).cloned())
    }

    fn range(
        &self,
        start: &[u8],
        end: &[u8],
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes, Height)>, StateError> {
        let rows = self.rows.range(start.to_vec()..end.to_vec()).take(limit);
        Ok(rows
            .map(|(key, (value, height))| (Bytes::copy_from_slice(key), value.clone(), *height))
            .collect())
    }

    fn history(
        &self,
        key: &[u8],
        before: Option<Height>,
        limit: usize,
    ) -> Result<Vec<KeyVersion>, StateError> {
        let changes = self.changes.get(key).into_iter().flatten().rev();
        let older = changes.filter(|change| before.is_none_or(|before| change.height < before));
        Ok(older.take(limit).cloned().collect())
    }
}

/// A core module in the text format, with the imports, a memory and an allocator in front of what
/// is given; addresses below 65536 are the module's own and start as zeros.
pub fn module(body: &str) -> Vec<u8> {
    module_with_memory("(memory (export \"memory\") 4)", body)
}

pub fn module_with_memory(memory: &str, body: &str) -> Vec<u8> {
    let text = format!(
        r#"(module
  (import "stela:chaincode/state@1.0.0" "get" (func $get (param i32 i32 i32)))
  (import "stela:chaincode/state@1.0.0" "put" (func $put (param i32 i32 i32 i32)))
  (import "stela:chaincode/state@1.0.0" "range" (func $range (param i32 i32 i32 i32 i32 i32)))
  (import "stela:chaincode/history@1.0.0" "of-key"
    (func $history (param i32 i32 i32 i64 i32 i32 i32)))
  (import "stela:chaincode/events@1.0.0" "set-event" (func $event (param i32 i32 i32 i32)))
  (import "stela:chaincode/outcome@1.0.0" "expire-at" (func $expire (param i64)))
  (import "stela:chaincode/outcome@1.0.0" "on-absence"
    (func $absence (param i32 i32 i32 i32)))
  (import "stela:chaincode/logging@1.0.0" "log" (func $log (param i32 i32 i32)))
  {memory}
  (global $next (mut i32) (i32.const 65536))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (global.get $next)
    (global.set $next (i32.add (global.get $next)
      (i32.and (i32.add (local.get 3) (i32.const 7)) (i32.const -8)))))
  {body})"#
    );
    with_world(wat::parse_str(text).unwrap())
}

/// Says in the module which world it was built for, as the guest's build does.
pub fn with_world(mut module: Vec<u8>) -> Vec<u8> {
    let mut resolve = wit_parser::Resolve::default();
    let wit = include_str!("../../../wit/chaincode.wit");
    let package = resolve.push_str("chaincode.wit", wit).unwrap();
    let world = resolve.select_world(&[package], Some("chaincode")).unwrap();
    let utf8 = wit_component::StringEncoding::UTF8;
    wit_component::embed_component_metadata(&mut module, &resolve, world, utf8).unwrap();
    module
}

/// The body of a module whose `invoke` does this and then answers with what stands at address 16:
/// as long as nothing is written there, an empty answer.
pub fn does(code: &str) -> String {
    format!(
        "(func (export \"invoke\") (param i32 i32 i32 i32) (result i32) (local $i i32) {code} \
         (i32.const 16))"
    )
}

pub fn install(limits: RuntimeLimits, body: &str) -> Contract {
    Runtime::new(limits)
        .unwrap()
        .install(&module(body))
        .unwrap()
}

pub fn caller(organization: &str, role: &str, fingerprint: u8) -> Caller {
    Caller {
        organization: organization.parse().unwrap(),
        role: role.to_owned(),
        attributes: Vec::new(),
        fingerprint: Fingerprint([fingerprint; 32]),
    }
}

pub fn invocation(caller: &Caller, function: &str, arguments: &[&[u8]]) -> Invocation {
    Invocation {
        channel: "care".parse().unwrap(),
        contract: "healthcare".parse().unwrap(),
        function: function.to_owned(),
        arguments: arguments
            .iter()
            .map(|a| Bytes::copy_from_slice(a))
            .collect(),
        caller: caller.clone(),
        transaction_id: TransactionId([9; 32]),
        timestamp_ms: TIME_MS,
        side: vec![Hash32([7; 32])],
        settings: Bytes::new(),
        mode: Mode::Endorse,
    }
}

pub fn invoke(contract: &Contract, view: &dyn StateView) -> Result<Execution, InvokeError> {
    contract.invoke(
        view,
        invocation(&caller("HospitalA", "client", 1), "f", &[]),
    )
}

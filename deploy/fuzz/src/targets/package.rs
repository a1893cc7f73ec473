//! Contract packages: any bytes that are offered as WebAssembly, and what runs in them.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use bytes::Bytes;
use prost::Message;
use stela_host::{
    Caller, Invocation, InvokeError, KeyVersion, Mode, Runtime, RuntimeLimits, StateError,
    StateView, fuzzing,
};
use stela_protocol::transaction::TransactionResult;
use stela_protocol::{Fingerprint, Hash32, Height, TransactionId};

/// Larger packages are only looked at: compiling takes time.
const COMPILED_BYTES_MAX: usize = 16 << 10;

fn limits() -> RuntimeLimits {
    RuntimeLimits {
        package_bytes: 64 << 10,
        instances: 2,
        memory_bytes: 2 << 20,
        fuel: 200_000,
        deadline_ms: 60_000,
        ..RuntimeLimits::default()
    }
}

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Runtime::new(limits()).expect("an engine"))
}

/// What is accepted is accepted again as the component that it becomes. A contract that can be
/// installed gives the same result twice, one that validation can read.
pub(super) fn package(input: &[u8]) {
    let Ok(component) = fuzzing::component(input, &limits()) else {
        return;
    };
    if component.len() <= limits().package_bytes {
        let again = fuzzing::component(&component, &limits());
        assert_eq!(again.as_ref(), Ok(&component));
    }
    if input.len() > COMPILED_BYTES_MAX {
        return;
    }
    let Ok(contract) = runtime().install(input) else {
        return;
    };
    let state = State::new();
    let arguments = [Bytes::from_static(b"argument")];
    let run = || contract.invoke(&state, invocation(&arguments));
    let (one, two) = (run(), run());
    match (&one, &two) {
        (Ok(one), Ok(two)) => assert_eq!(one, two, "the same on every endorser"),
        (Err(InvokeError::Busy | InvokeError::Deadline { .. }), _) => return,
        (_, Err(InvokeError::Busy | InvokeError::Deadline { .. })) => return,
        (Err(one), Err(two)) => assert_eq!(one, two),
        _ => panic!("one call, two answers: {one:?} and {two:?}"),
    }
    if let Ok(execution) = one {
        let bytes = Bytes::from(execution.result.encode_to_vec());
        let result = TransactionResult::decode(bytes, &arguments);
        assert!(
            result.is_ok(),
            "what an endorser signs is valid: {result:?}"
        );
    }
}

struct State(BTreeMap<Vec<u8>, (Bytes, Height)>);

impl State {
    fn new() -> Self {
        let height = |block| Height {
            block,
            transaction: 0,
        };
        let row = |(key, block): (&[u8], u64)| {
            (key.to_vec(), (Bytes::from_static(b"value"), height(block)))
        };
        Self(
            [(&b"\0"[..], 1), (b"a\0b\0", 2), (b"a\0c\0", 3)]
                .map(row)
                .into(),
        )
    }
}

impl StateView for State {
    fn get(&self, key: &[u8]) -> Result<Option<(Bytes, Height)>, StateError> {
        Ok(self.0.get(key).cloned())
    }

    fn range(
        &self,
        start: &[u8],
        end: &[u8],
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes, Height)>, StateError> {
        let inside = self
            .0
            .iter()
            .filter(|(key, _)| start <= &key[..] && &key[..] < end);
        Ok(inside
            .take(limit)
            .map(|(key, (value, height))| (Bytes::copy_from_slice(key), value.clone(), *height))
            .collect())
    }

    /// Each key was written once.
    fn history(
        &self,
        key: &[u8],
        before: Option<Height>,
        limit: usize,
    ) -> Result<Vec<KeyVersion>, StateError> {
        let written = self.0.get(key).into_iter();
        Ok(written
            .filter(|(_, height)| before.is_none_or(|before| *height < before))
            .take(limit)
            .map(|(value, height)| KeyVersion {
                height: *height,
                transaction: TransactionId([8; 32]),
                time_ms: crate::world::START_MS,
                value: Some(value.clone()),
            })
            .collect())
    }
}

fn invocation(arguments: &[Bytes]) -> Invocation {
    Invocation {
        channel: "care".parse().expect("a name"),
        contract: "records".parse().expect("a name"),
        function: "f".to_owned(),
        arguments: arguments.to_vec(),
        caller: Caller {
            organization: "A".parse().expect("a name"),
            role: "client".to_owned(),
            attributes: Vec::new(),
            fingerprint: Fingerprint([1; 32]),
        },
        transaction_id: TransactionId([9; 32]),
        timestamp_ms: crate::world::START_MS,
        side: vec![Hash32([7; 32])],
        settings: Bytes::new(),
        mode: Mode::Endorse,
    }
}

pub(super) mod seeds {
    use super::*;

    /// A module with the contract's imports, that does something and answers nothing.
    fn module(code: &str) -> Vec<u8> {
        let text = format!(
            r#"(module
              (import "stela:chaincode/state@1.0.0" "get" (func $get (param i32 i32 i32)))
              (import "stela:chaincode/state@1.0.0" "put" (func $put (param i32 i32 i32 i32)))
              (import "stela:chaincode/state@1.0.0" "range" (func $range (param i32 i32 i32 i32 i32 i32)))
              (import "stela:chaincode/events@1.0.0" "set-event" (func $event (param i32 i32 i32 i32)))
              (import "stela:chaincode/logging@1.0.0" "log" (func $log (param i32 i32 i32)))
              (memory (export "memory") 2)
              (global $next (mut i32) (i32.const 65536))
              (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
                (global.get $next)
                (global.set $next (i32.add (global.get $next)
                  (i32.and (i32.add (local.get 3) (i32.const 7)) (i32.const -8)))))
              (func (export "invoke") (param i32 i32 i32 i32) (result i32) (local $i i32)
                {code} (i32.const 16)))"#
        );
        let mut module = wat::parse_str(text).expect("WebAssembly text");
        let mut resolve = wit_parser::Resolve::default();
        let wit = include_str!("../../../../chaincode/wit/chaincode.wit");
        let package = resolve
            .push_str("chaincode.wit", wit)
            .expect("the interface");
        let world = resolve
            .select_world(&[package], Some("chaincode"))
            .expect("its world");
        let utf8 = wit_component::StringEncoding::UTF8;
        wit_component::embed_component_metadata(&mut module, &resolve, world, utf8)
            .expect("a custom section");
        module
    }

    const CODES: [&str; 5] = [
        "",
        "(call $get (i32.const 0) (i32.const 1) (i32.const 64)) \
         (call $put (i32.const 8) (i32.const 1) (i32.const 0) (i32.const 9)) \
         (call $event (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 1))",
        "(loop (br 0))",
        "(i32.store8 (i32.const 100) (i32.const 97)) (i32.store8 (i32.const 102) (i32.const 98)) \
         (call $range (i32.const 100) (i32.const 1) (i32.const 102) (i32.const 1) (i32.const 5) (i32.const 200)) \
         (call $log (i32.const 1) (i32.const 0) (i32.const 3))",
        "(f64.store (i32.const 48) (f64.sqrt (f64.const -1))) (drop (memory.grow (i32.const 1))) \
         (i32.store (i32.const 20) (i32.const 48)) (i32.store (i32.const 24) (i32.const 8))",
    ];

    pub(in crate::targets) fn package() -> Vec<Vec<u8>> {
        let mut packages: Vec<Vec<u8>> = CODES.into_iter().map(module).collect();
        let component = fuzzing::component(&packages[1], &limits()).expect("a contract");
        packages.push(component);
        packages.push(wat::parse_str("(module)").expect("WebAssembly text"));
        packages.push(wat::parse_str("(component)").expect("WebAssembly text"));
        packages
    }
}

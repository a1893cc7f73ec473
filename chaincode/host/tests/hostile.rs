//! Contracts that mean harm, and packages that are none. Each test fails when its defence is gone.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

mod support;

use bytes::Bytes;
use stela_host::{
    InstallError, Invocation, InvokeError, KeyVersion, Mode, PackageError, Runtime, RuntimeLimits,
    StateError, StateView,
};
use stela_protocol::{Hash32, Height, Message, hash, pb};
use support::{State, does, install, invoke, module, module_with_memory, with_world};

fn limits() -> RuntimeLimits {
    RuntimeLimits {
        instances: 4,
        fuel: 50_000_000,
        ..RuntimeLimits::default()
    }
}

#[track_caller]
fn stopped(limits: RuntimeLimits, code: &str) -> InvokeError {
    let error = invoke(&install(limits, &does(code)), &State::default()).unwrap_err();
    assert!(!matches!(error, InvokeError::Refused(_)), "{error}");
    error
}

#[track_caller]
fn check(code: &str, expected: &str) {
    assert_eq!(stopped(limits(), code).to_string(), expected);
}

#[test]
fn an_infinite_loop_runs_out_of_fuel() {
    assert_eq!(
        stopped(limits(), "(loop (br 0))"),
        InvokeError::OutOfFuel { fuel: 50_000_000 }
    );
}

#[test]
fn moving_memory_costs_fuel_by_the_byte() {
    let code = "(loop (memory.fill (i32.const 0) (i32.const 0) (i32.const 200000)) (br 0))";
    assert_eq!(
        stopped(limits(), code),
        InvokeError::OutOfFuel { fuel: 50_000_000 }
    );
}

#[test]
fn the_epoch_is_the_backstop() {
    let limits = RuntimeLimits {
        fuel: u64::MAX >> 1,
        deadline_ms: 50,
        ..limits()
    };
    let error = stopped(limits, "(loop (br 0))");
    assert_eq!(error, InvokeError::Deadline { limit_ms: 50 });
    assert!(error.is_retryable());
}

#[test]
fn a_memory_bomb_is_stopped() {
    let max = 1 << 20;
    let error = stopped(
        RuntimeLimits {
            memory_bytes: max,
            ..limits()
        },
        "(loop (drop (memory.grow (i32.const 1))) (br 0))",
    );
    assert_eq!(
        error,
        InvokeError::Limit {
            what: "bytes of memory",
            max: max as u64
        }
    );
    let huge = module_with_memory("(memory (export \"memory\") 60000)", &does(""));
    refused(&huge, "minimum");
}

#[test]
fn a_table_bomb_is_stopped() {
    let body = format!(
        "(table $t 1 funcref) {}",
        does("(loop (drop (table.grow $t (ref.null func) (i32.const 1000))) (br 0))")
    );
    let error = invoke(&install(limits(), &body), &State::default()).unwrap_err();
    assert_eq!(
        error,
        InvokeError::Limit {
            what: "elements of a table",
            max: 20_000
        }
    );
}

#[test]
fn recursion_ends_at_the_stacks_limit() {
    let body = format!("(func $deep (call $deep)) {}", does("(call $deep)"));
    let error = invoke(&install(limits(), &body), &State::default()).unwrap_err();
    assert_eq!(
        error,
        InvokeError::Limit {
            what: "bytes of stack",
            max: 512 << 10
        }
    );
}

#[test]
fn floods_of_host_calls_are_stopped() {
    check(
        "(loop (call $get (i32.const 0) (i32.const 1) (i32.const 64)) (br 0))",
        "the contract was stopped: the limit for host calls is 20000",
    );
    check(
        "(loop (call $log (i32.const 0) (i32.const 0) (i32.const 5)) (br 0))",
        "the contract was stopped: the limit for log lines is 100",
    );
    check(
        "(loop (call $event (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 1)) (br 0))",
        "the contract was stopped: the limit for events is 16",
    );
    check(
        "(loop (call $put (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 60000)) (br 0))",
        "the contract was stopped: the limit for bytes written is 524288",
    );
}

#[test]
fn oversized_and_malformed_outputs_are_refused() {
    check(
        "(call $put (i32.const 0) (i32.const 1025) (i32.const 0) (i32.const 1))",
        "the contract was stopped: a key takes 1 to 1024 bytes, not 1025",
    );
    check(
        "(call $put (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 1))",
        "the contract was stopped: a key takes 1 to 1024 bytes, not 0",
    );
    check(
        "(call $event (i32.const 0) (i32.const 65) (i32.const 0) (i32.const 0))",
        "the contract was stopped: the limit for bytes of an event's name is 64",
    );
    check(
        "(call $event (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 16385))",
        "the contract was stopped: the limit for bytes of an event is 16384",
    );
    check(
        "(call $range (i32.const 0) (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 1) (i32.const 64))",
        "the contract was stopped: a range must start before its end and ask for at least one entry",
    );
    check(
        "(call $absence (i32.const 0) (i32.const 65) (i32.const 0) (i32.const 0))",
        "the contract was stopped: the limit for bytes of the function that is called in absence \
         is 64",
    );
    check(
        "(call $absence (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 4097))",
        "the contract was stopped: the limit for bytes of the argument of a call in absence is \
         4096",
    );
    check(
        "(call $absence (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 1))",
        "the contract failed: a call in absence has to name a function",
    );
    let small = RuntimeLimits {
        response_bytes: 1000,
        value_bytes: 1000,
        ..limits()
    };
    let answer = "(i32.store (i32.const 24) (i32.const 1001))";
    let error = stopped(small.clone(), answer);
    assert_eq!(
        error,
        InvokeError::Limit {
            what: "bytes of the answer",
            max: 1000
        }
    );
    let value = "(call $put (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 1001))";
    let error = stopped(small, value);
    assert_eq!(
        error,
        InvokeError::Limit {
            what: "bytes of a value",
            max: 1000
        }
    );
}

#[test]
fn pointers_outside_the_memory_are_faults() {
    for code in [
        "(call $put (i32.const 0) (i32.const 1) (i32.const 262140) (i32.const 8))",
        "(call $put (i32.const -1) (i32.const 1) (i32.const 0) (i32.const 1))",
        "(call $put (i32.const 0) (i32.const -1) (i32.const 0) (i32.const 1))",
        "(call $get (i32.const 0) (i32.const 1) (i32.const 262140))",
        "(call $log (i32.const 9) (i32.const 0) (i32.const 0))",
        "(call $absence (i32.const -1) (i32.const 1) (i32.const 0) (i32.const 1))",
        "(call $absence (i32.const 0) (i32.const 1) (i32.const 262140) (i32.const 8))",
        "(i32.store8 (i32.const 0) (i32.const 255)) (call $absence (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 1))",
        "(i32.store (i32.const 16) (i32.const 7))",
        "(i32.store (i32.const 20) (i32.const 262140)) (i32.store (i32.const 24) (i32.const 8))",
        "(i32.store8 (i32.const 0) (i32.const 255)) (call $log (i32.const 0) (i32.const 0) (i32.const 1))",
        "(drop (i32.load (i32.const -4)))",
        "(unreachable)",
    ] {
        let error = stopped(limits(), code);
        assert!(matches!(error, InvokeError::Fault(_)), "{code}: {error:?}");
        assert!(!error.is_retryable());
    }
}

#[test]
fn a_trap_leaves_nothing_and_the_next_invocation_runs() {
    // The first invocation finds no key and traps after a write; with the key there it succeeds.
    let code = "(call $put (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 1)) \
                (call $get (i32.const 0) (i32.const 1) (i32.const 64)) \
                (if (i32.eqz (i32.load8_u (i32.const 64))) (then unreachable))";
    let contract = install(limits(), &does(code));
    let mut state = State::default();
    assert!(matches!(
        invoke(&contract, &state),
        Err(InvokeError::Fault(_))
    ));
    let height = Height {
        block: 1,
        transaction: 0,
    };
    state
        .rows
        .insert(vec![0], (Bytes::from_static(b"v"), height));
    let execution = invoke(&contract, &state).unwrap();
    assert_eq!(execution.result.writes.len(), 1);
}

#[test]
fn one_invocation_leaks_nothing_into_the_next() {
    // Fails as soon as anything that it wrote into memory, a global or a table is still there.
    let body = format!(
        "(global $seen (mut i32) (i32.const 0)) (table $t 2 funcref) (elem declare func $f) (func $f) {}",
        does(
            "(if (i32.or (global.get $seen) (i32.or (i32.load (i32.const 40000)) \
                 (i32.or (i32.load (i32.const 262000)) \
                    (i32.or (i32.gt_u (memory.size) (i32.const 4)) \
                      (i32.eqz (ref.is_null (table.get $t (i32.const 1)))))))) \
               (then unreachable)) \
             (global.set $seen (i32.const 1)) \
             (i32.store (i32.const 40000) (i32.const 1)) \
             (i32.store (i32.const 262000) (i32.const 1)) \
             (table.set $t (i32.const 1) (ref.func $f)) \
             (drop (memory.grow (i32.const 2))) \
             (i32.store (i32.const 300000) (i32.const 1))"
        )
    );
    let contract = install(
        RuntimeLimits {
            instances: 1,
            ..limits()
        },
        &body,
    );
    for _ in 0..20 {
        invoke(&contract, &State::default()).unwrap();
    }
}

#[test]
fn the_same_call_gives_the_same_bytes_and_costs_the_same_fuel() {
    let code = "(call $get (i32.const 0) (i32.const 1) (i32.const 64)) \
                (call $put (i32.const 8) (i32.const 1) (i32.const 0) (i32.const 9)) \
                (call $event (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 1))";
    let package = module(&does(code));
    let run = || {
        let contract = Runtime::new(limits()).unwrap().install(&package).unwrap();
        let execution = invoke(&contract, &State::default()).unwrap();
        (execution.result.encode_to_vec(), execution.fuel_used)
    };
    let first = run();
    assert!(first.1 > 0);
    assert_eq!(first, run());
}

#[test]
fn nans_have_one_form() {
    // Without canonicalization the sign and the payload of a NaN depend on the processor.
    let code = "(f32.store (i32.const 32) (f32.div (f32.load (i32.const 40)) (f32.load (i32.const 40)))) \
                (f64.store (i32.const 48) (f64.sqrt (f64.const -1))) \
                (i32.store (i32.const 20) (i32.const 32)) (i32.store (i32.const 24) (i32.const 24))";
    let execution = invoke(&install(limits(), &does(code)), &State::default()).unwrap();
    let answer = execution.response();
    assert_eq!(answer[..4], 0x7fc0_0000u32.to_le_bytes());
    assert_eq!(answer[16..24], 0x7ff8_0000_0000_0000u64.to_le_bytes());
}

#[test]
fn more_invocations_than_the_pool_has_room_for_are_turned_away() {
    // The state itself calls the contract: one invocation inside the other.
    struct Nested(stela_host::Contract);
    impl StateView for Nested {
        fn get(&self, _: &[u8]) -> Result<Option<(Bytes, Height)>, StateError> {
            let inner = invoke(&self.0, &State::default());
            assert_eq!(inner.map(|_| ()), Err(InvokeError::Busy));
            Ok(None)
        }

        fn range(
            &self,
            _: &[u8],
            _: &[u8],
            _: usize,
        ) -> Result<Vec<(Bytes, Bytes, Height)>, StateError> {
            Ok(Vec::new())
        }

        fn history(
            &self,
            _: &[u8],
            _: Option<Height>,
            _: usize,
        ) -> Result<Vec<KeyVersion>, StateError> {
            Ok(Vec::new())
        }
    }
    let limits = RuntimeLimits {
        instances: 1,
        ..limits()
    };
    let code = does("(call $get (i32.const 0) (i32.const 1) (i32.const 64))");
    let contract = install(limits, &code);
    assert!(invoke(&contract, &Nested(contract.clone())).is_ok());
    assert!(InvokeError::Busy.is_retryable());
}

#[test]
fn the_history_of_a_key_is_told_to_a_question_and_never_endorsed() {
    // A part of the history stands at 64; a version takes 48 bytes, its value stands at 32 in it.
    let newest = "(call $put (i32.const 40) (i32.const 1) (i32.const 48) (i32.const 3)) \
                  (call $history (i32.const 40) (i32.const 1) (i32.const 0) (i64.const 0) \
                    (i32.const 0) (i32.const 9) (i32.const 64)) \
                  (i32.store (i32.const 20) (i32.load offset=36 (i32.load (i32.const 64)))) \
                  (i32.store (i32.const 24) (i32.load offset=40 (i32.load (i32.const 64))))";
    let body = format!(
        "(data (i32.const 40) \"k\") (data (i32.const 48) \"new\") {}",
        does(newest)
    );
    let contract = install(limits(), &body);
    let mut state = State::default();
    for value in ["old", "now"] {
        let change = Some(pb::write::Change::Value(value.into()));
        let key = Bytes::from_static(b"k");
        let write = pb::Write {
            key,
            change,
            ..Default::default()
        };
        let result = pb::Result {
            writes: vec![write],
            ..Default::default()
        };
        state.apply(&result, &[]);
    }
    let question = Invocation {
        mode: Mode::Evaluate,
        ..support::invocation(&support::caller("HospitalA", "client", 1), "f", &[])
    };
    let execution = contract.invoke(&state, question).unwrap();
    assert_eq!(execution.response(), b"now");
    let refused = invoke(&contract, &state).unwrap_err();
    assert!(
        matches!(&refused, InvokeError::Fault(why) if why.contains("questions only")),
        "{refused}"
    );
}

/// Calls `absent` with three zero bytes when the transaction does not come, which is valid before 5.
const OUTCOME: &str = "(call $expire (i64.const 9)) (call $expire (i64.const 5)) \
    (call $absence (i32.const 40) (i32.const 6) (i32.const 80) (i32.const 3))";

#[test]
fn what_is_to_become_of_a_transaction_is_kept_apart_from_its_result() {
    let body = format!("(data (i32.const 40) \"absent\") {}", does(OUTCOME));
    let contract = install(limits(), &body);
    let execution = invoke(&contract, &State::default()).unwrap();
    assert_eq!(execution.result.expires_at_ms, Some(5));
    let call = execution.on_absence.unwrap();
    assert_eq!(
        (call.function.as_str(), &call.argument[..]),
        ("absent", &[0; 3][..])
    );
    let signed = execution.result.encode_to_vec();
    assert!(!signed.windows(6).any(|bytes| bytes == b"absent"));
    let question = Invocation {
        mode: Mode::Evaluate,
        ..support::invocation(&support::caller("HospitalA", "client", 1), "f", &[])
    };
    let execution = contract.invoke(&State::default(), question).unwrap();
    assert_eq!(execution.on_absence, None);
}

#[test]
fn a_call_that_fails_leaves_no_call_in_absence() {
    let error = stopped(limits(), &format!("{OUTCOME} (unreachable)"));
    assert!(matches!(error, InvokeError::Fault(_)), "{error:?}");
}

#[test]
fn a_result_names_the_settings_that_it_was_found_under() {
    let contract = install(limits(), &does(""));
    let package = contract.package_hash();
    let named = |settings: &'static [u8]| {
        let call = Invocation {
            settings: Bytes::from_static(settings),
            ..support::invocation(&support::caller("HospitalA", "client", 1), "f", &[])
        };
        let execution = contract.invoke(&State::default(), call).unwrap();
        Hash32::from_slice(&execution.result.package_hash).unwrap()
    };
    assert_eq!(named(b""), package);
    assert_eq!(named(b"{}"), hash::package_with_settings(&package, b"{}"));
    assert_ne!(named(b"{}"), named(b"{ }"));
}

#[test]
fn a_state_that_cannot_be_read_is_this_peers_failure() {
    struct Broken;
    impl StateView for Broken {
        fn get(&self, _: &[u8]) -> Result<Option<(Bytes, Height)>, StateError> {
            Err(StateError("the disk is gone".to_owned()))
        }

        fn range(
            &self,
            _: &[u8],
            _: &[u8],
            _: usize,
        ) -> Result<Vec<(Bytes, Bytes, Height)>, StateError> {
            Err(StateError("the disk is gone".to_owned()))
        }

        fn history(
            &self,
            _: &[u8],
            _: Option<Height>,
            _: usize,
        ) -> Result<Vec<KeyVersion>, StateError> {
            Err(StateError("the disk is gone".to_owned()))
        }
    }
    for code in [
        "(call $get (i32.const 0) (i32.const 1) (i32.const 64))",
        "(call $range (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 2) (i32.const 1) (i32.const 64))",
    ] {
        let error = invoke(&install(limits(), &does(code)), &Broken).unwrap_err();
        assert_eq!(
            error,
            InvokeError::State(StateError("the disk is gone".to_owned()))
        );
        assert!(error.is_retryable());
    }
}

#[test]
fn a_contracts_refusal_is_bounded_text() {
    // Err with a code of one line feed, a long message and no field.
    let code = "(i32.store8 (i32.const 16) (i32.const 1)) (i32.store8 (i32.const 0) (i32.const 10)) \
                (i32.store (i32.const 20) (i32.const 0)) (i32.store (i32.const 24) (i32.const 1)) \
                (i32.store (i32.const 28) (i32.const 1000)) (i32.store (i32.const 32) (i32.const 5000))";
    match invoke(&install(limits(), &does(code)), &State::default()) {
        Err(InvokeError::Refused(error)) => {
            assert_eq!((error.code.as_str(), error.message.len()), (" ", 1024));
            assert_eq!(error.field, None);
        }
        other => panic!("{other:?}"),
    }
}

fn install_error(package: &[u8]) -> PackageError {
    match Runtime::new(limits()).unwrap().install(package).map(|_| ()) {
        Err(InstallError::Package(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn refused(package: &[u8], expected: &str) {
    let error = install_error(package).to_string();
    assert!(error.contains(expected), "{error}");
}

#[test]
fn what_is_no_package_is_refused() {
    refused(b"", "not WebAssembly");
    refused(b"(module)", "not WebAssembly");
    refused(b"(component)", "not WebAssembly");
    refused(&[0; 1000], "not WebAssembly");
    refused("(".repeat(200_000).as_bytes(), "not WebAssembly");
    refused(&vec![0; 9 << 20], "bytes of a package");
    refused(&wat::parse_str("(module)").unwrap(), "not a contract");
    let no_world = r#"(module (import "env" "now" (func)))"#;
    refused(
        &wat::parse_str(no_world).unwrap(),
        "cannot be made a component",
    );
    refused(&wat::parse_str("(component)").unwrap(), "not a contract");
    let wrong_type = r#"(component (core module $m (func (export "f"))) (core instance $i (instantiate $m))
        (func (export "invoke") (canon lift (core func $i "f"))))"#;
    refused(&wat::parse_str(wrong_type).unwrap(), "not a contract");
}

#[test]
fn every_truncation_of_a_package_is_refused() {
    let runtime = Runtime::new(limits()).unwrap();
    let component = stela_host::componentize(&module(&does(""))).unwrap();
    assert!(runtime.install(&component).is_ok());
    for length in (0..component.len()).step_by(7) {
        assert!(
            runtime.install(&component[..length]).is_err(),
            "{length} bytes"
        );
    }
}

#[test]
fn only_the_contracts_own_imports_are_given() {
    let wasi = r#"(component (import "wasi:clocks/wall-clock@0.2.0" (instance)))"#;
    assert_eq!(
        install_error(&wat::parse_str(wasi).unwrap()),
        PackageError::ForbiddenImport("wasi:clocks/wall-clock@0.2.0".to_owned())
    );
    let near = r#"(component (import "stela:chaincode/state@2.0.0" (instance)))"#;
    assert!(matches!(
        install_error(&wat::parse_str(near).unwrap()),
        PackageError::ForbiddenImport(_)
    ));
    let unknown =
        r#"(component (import "stela:chaincode/state@1.0.0" (instance (export "clock" (func)))))"#;
    refused(&wat::parse_str(unknown).unwrap(), "not a contract");
    let core = r#"(module (import "wasi_snapshot_preview1" "random_get" (func (param i32 i32) (result i32))))"#;
    refused(
        &with_world(wat::parse_str(core).unwrap()),
        "cannot be made a component",
    );
}

#[test]
fn nothing_runs_before_the_contract_is_called() {
    let body = format!("(func $start) (start $start) {}", does(""));
    assert_eq!(install_error(&module(&body)), PackageError::StartFunction);
}

#[test]
fn what_could_differ_between_machines_is_off() {
    let with_code = |code: &str| module(&does(code));
    refused(&with_code("(drop (v128.const i64x2 0 0))"), "SIMD support");
    let relaxed = "(drop (i32x4.relaxed_trunc_f32x4_s (v128.const i64x2 0 0)))";
    refused(&with_code(relaxed), "SIMD support");
    let tail_call = format!("(func $f (return_call $f)) {}", does(""));
    refused(&module(&tail_call), "tail calls support");
    let within = |code: &str| wat::parse_str(format!("(component (core module {code}))")).unwrap();
    refused(&within("(memory i64 1)"), "memory64");
    refused(&within("(memory 1 1 shared)"), "threads");
    refused(&within("(memory 1) (memory 1)"), "multi");
}

#[test]
fn large_functions_are_refused_and_deep_ones_are_compiled() {
    let large = does(&"(drop (i32.const 1))".repeat(100_000));
    refused(&module(&large), "bytes of a function");
    let runtime = Runtime::new(limits()).unwrap();
    let deep = does(&format!(
        "{}{}",
        "block ".repeat(20_000),
        "end ".repeat(20_000)
    ));
    // The text parser is recursive, so the package comes from the folded form's flat twin.
    let package = module(&deep);
    let contract = runtime.install(&package).unwrap();
    assert!(invoke(&contract, &State::default()).is_ok());
}

#[test]
fn compiled_contracts_are_shared_through_a_private_folder() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("contracts");
    let package = module(&does(""));
    let runtime = || Runtime::with_cache(limits(), &cache).unwrap();
    let compiled = || runtime().install_compiled(&package).unwrap();
    assert!(compiled().is_none());
    let hash = runtime().precompile(&package).unwrap();
    let files = || -> Vec<_> {
        std::fs::read_dir(&cache)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect()
    };
    let [file] = &files()[..] else {
        panic!("{:?}", files())
    };
    let stored = std::fs::read(file).unwrap();
    for contract in [compiled().unwrap(), runtime().install(&package).unwrap()] {
        assert_eq!(contract.package_hash(), hash);
        assert!(invoke(&contract, &State::default()).is_ok());
    }
    // Damage is found, and repaired.
    let mut damaged = stored.clone();
    damaged[stored.len() / 2] ^= 1;
    std::fs::write(file, damaged).unwrap();
    assert!(compiled().is_none());
    assert!(invoke(&runtime().install(&package).unwrap(), &State::default()).is_ok());
    assert_eq!(files().len(), 1);
    // A refused package leaves no file.
    assert!(runtime().install(b"no").is_err());
    assert!(runtime().install_compiled(b"no").is_err());
    assert_eq!(files().len(), 1);
}

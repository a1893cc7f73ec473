//! A contract in the text format. By the first letter of the function it
//! - puts its argument at a key and emits it as an event (`put`),
//! - answers what stands at the key (`get`),
//! - writes its argument down as asked for (`ask`), and wants it noted if that does not come, unless
//!   it begins with `p`, as what is permitted does,
//! - notes its argument once and emits it as an event (`note`),
//! - refuses (`refuse`), or
//! - never ends (`loop`).

const MODULE: &str = r#"(module
  (import "stela:chaincode/state@1.0.0" "get" (func $get (param i32 i32 i32)))
  (import "stela:chaincode/state@1.0.0" "put" (func $put (param i32 i32 i32 i32)))
  (import "stela:chaincode/outcome@1.0.0" "on-absence"
    (func $absence (param i32 i32 i32 i32)))
  (import "stela:chaincode/events@1.0.0" "set-event" (func $event (param i32 i32 i32 i32)))
  (memory (export "memory") 8)
  (global $next (mut i32) (i32.const 65536))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (global.get $next)
    (global.set $next (i32.add (global.get $next)
      (i32.and (i32.add (local.get 3) (i32.const 7)) (i32.const -8)))))
  (data (i32.const 1024) "key\00")
  (data (i32.const 1040) "written")
  (data (i32.const 1056) "as-asked")
  (data (i32.const 1072) "the caller asked for it")
  (data (i32.const 1104) "note")
  (data (i32.const 1120) "already-exists")
  ;; The answer stands at 16: a tag, then what was answered or why it was refused.
  (func (export "invoke") (param $name i32) (param i32) (param $arguments i32) (param i32)
        (result i32) (local $letter i32) (local $argument i32) (local $bytes i32)
    (local.set $letter (i32.load8_u (local.get $name)))
    (local.set $argument (i32.load (local.get $arguments)))
    (local.set $bytes (i32.load offset=4 (local.get $arguments)))
    (if (i32.eq (local.get $letter) (i32.const 97)) (then
      (call $put (local.get $argument) (local.get $bytes) (i32.const 1024) (i32.const 3))
      (if (i32.ne (i32.load8_u (local.get $argument)) (i32.const 112)) (then
        (call $absence (i32.const 1104) (i32.const 4) (local.get $argument) (local.get $bytes))))))
    (if (i32.eq (local.get $letter) (i32.const 110)) (then
      (call $get (local.get $argument) (local.get $bytes) (i32.const 128))
      (if (i32.load8_u (i32.const 128))
        (then
          (i32.store8 (i32.const 16) (i32.const 1))
          (i32.store (i32.const 20) (i32.const 1120))
          (i32.store (i32.const 24) (i32.const 14))
          (i32.store (i32.const 28) (i32.const 1072))
          (i32.store (i32.const 32) (i32.const 23)))
        (else
          (call $put (local.get $argument) (local.get $bytes) (i32.const 1104) (i32.const 4))
          (call $event (i32.const 1104) (i32.const 4)
            (local.get $argument) (local.get $bytes))))))
    (if (i32.eq (local.get $letter) (i32.const 112)) (then
      (call $put (i32.const 1024) (i32.const 4)
        (i32.load (local.get $arguments)) (i32.load offset=4 (local.get $arguments)))
      (call $event (i32.const 1040) (i32.const 7)
        (i32.load (local.get $arguments)) (i32.load offset=4 (local.get $arguments)))))
    (if (i32.eq (local.get $letter) (i32.const 103)) (then
      (call $get (i32.const 1024) (i32.const 4) (i32.const 128))
      (i32.store (i32.const 20) (i32.load (i32.const 132)))
      (i32.store (i32.const 24) (i32.load (i32.const 136)))))
    (if (i32.eq (local.get $letter) (i32.const 114)) (then
      (i32.store8 (i32.const 16) (i32.const 1))
      (i32.store (i32.const 20) (i32.const 1056))
      (i32.store (i32.const 24) (i32.const 8))
      (i32.store (i32.const 28) (i32.const 1072))
      (i32.store (i32.const 32) (i32.const 23))))
    (if (i32.eq (local.get $letter) (i32.const 108)) (then
      (loop $again (br $again))))
    (i32.const 16)))"#;

/// The package, as the guest's build makes it: a core module that names its world.
pub fn package() -> Vec<u8> {
    package_of(MODULE)
}

/// Another version of it: its event has another name.
pub fn newer_package() -> Vec<u8> {
    package_of(&MODULE.replace("written", "updated"))
}

fn package_of(module: &str) -> Vec<u8> {
    let mut module = wat::parse_str(module).unwrap();
    let mut resolve = wit_parser::Resolve::default();
    let wit = include_str!("../../../chaincode/wit/chaincode.wit");
    let package = resolve.push_str("chaincode.wit", wit).unwrap();
    let world = resolve.select_world(&[package], Some("chaincode")).unwrap();
    let utf8 = wit_component::StringEncoding::UTF8;
    wit_component::embed_component_metadata(&mut module, &resolve, world, utf8).unwrap();
    module
}

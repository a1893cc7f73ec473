//! One target under LLVM's libFuzzer, for `./deploy/fuzz.sh`; `STELA_FUZZ_TARGET` names it.
#![no_main]

use std::sync::OnceLock;

use stela_fuzz::Target;

fn target() -> &'static Target {
    static TARGET: OnceLock<&Target> = OnceLock::new();
    TARGET.get_or_init(|| {
        let name = std::env::var("STELA_FUZZ_TARGET").unwrap_or_default();
        Target::named(&name).expect("STELA_FUZZ_TARGET names a target")
    })
}

libfuzzer_sys::fuzz_target!(|input: &[u8]| (target().run)(input));

#!/bin/sh
# Compiles our own crates for a fuzzer that is guided by coverage: cargo calls it in the place of
# rustc, for members of the workspace only (RUSTC_WORKSPACE_WRAPPER). Cargo keeps what it makes apart
# from what rustc makes alone, and all other crates are used as every other build has made them.
rustc=$1
shift
case " $* " in
    # What runs while others are compiled is not what is looked for, and has no fuzzer to link with.
    *" --crate-name build_script_"* | *" --crate-type proc-macro "*) exec "$rustc" "$@" ;;
esac
exec "$rustc" "$@" -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares

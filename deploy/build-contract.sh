#!/usr/bin/env bash
# Builds a contract to WebAssembly: chaincode/NAME, or the healthcare contract when none is named, to
# $CARGO_TARGET_DIR/contracts/NAME.wasm, a core module. No path of this machine is in it, so that the
# same compiler and standard library give the same bytes in every checkout.

set -euo pipefail

STELA_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
# shellcheck source=deploy/console.sh
source "$STELA_ROOT/deploy/console.sh"

name=${1:-healthcare}
target=wasm32-unknown-unknown
target_folder=${CARGO_TARGET_DIR:-${STELA_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/stela}/target}
# Each instance of a contract begins with its stack; Rust's own default is 1 MiB.
stack_bytes=131072

main() {
    if [ -z "${STELA_WASM_RUSTC:-}" ]; then
        local settings
        settings=$("$STELA_ROOT/deploy/wasm-target.sh")
        eval "$settings"
    fi
    build
    local built=$target_folder/$target/contract/stela_$name.wasm
    local contract=$target_folder/contracts/$name.wasm
    [ -f "$built" ] || fail 1 "the build left no $built; is the crate a cdylib?"
    mkdir -p "$(dirname "$contract")"
    # A node may be reading the old one, so it is replaced as a whole and only when it changed.
    if ! cmp -s "$built" "$contract"; then
        cp "$built" "$contract.new"
        mv "$contract.new" "$contract"
    fi
    say "contract: $contract ($(stat -c %s "$contract") bytes, built with $STELA_WASM_SOURCE)"
}

build() {
    cd "$STELA_ROOT"
    unset RUSTFLAGS
    export CARGO_TARGET_DIR=$target_folder RUSTC=$STELA_WASM_RUSTC
    if [ -n "$STELA_WASM_LINKER" ]; then
        export CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=$STELA_WASM_LINKER
    fi
    CARGO_ENCODED_RUSTFLAGS=$(flags)
    export CARGO_ENCODED_RUSTFLAGS
    run cargo build --profile contract --locked -p "stela-$name" --lib --target "$target"
}

# Flags apart by the separator that cargo defines, since paths may hold spaces.
flags() {
    local flag sysroot separator='' flags=("-Clink-arg=-zstack-size=$stack_bytes")
    sysroot=${STELA_WASM_SYSROOT:-$("$STELA_WASM_RUSTC" --print sysroot)}
    flags+=(
        "--remap-path-prefix=$STELA_ROOT=/stela"
        "--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo"
        "--remap-path-prefix=$sysroot=/rust"
    )
    [ -z "$STELA_WASM_SYSROOT" ] || flags+=(--sysroot "$STELA_WASM_SYSROOT")
    for flag in "${flags[@]}"; do
        printf '%s%s' "$separator" "$flag"
        separator=$'\x1f'
    done
}

main

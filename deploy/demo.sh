#!/usr/bin/env bash
# Builds Stela, starts a whole network on this machine and shows one patient's record shared between
# hospitals under her consent.

set -euo pipefail

usage() {
    cat <<'USAGE'
Usage: ./deploy/demo.sh [OPTIONS OF stela-demo]

Builds Stela, starts three hospitals' networks on this machine and shows one patient's record shared
under her consent. The report is written to target/demo/report.json in this repository. The first
run compiles everything, which takes a while (20 to 40 minutes on two cores); later ones start at
once.

  --keep   leave the network running and print how to go on with `stela`
  --help   show this, and once it is built, all options of stela-demo

Environment:
  CARGO_TARGET_DIR   where the build goes   (default: ~/.cache/stela/target)
  STELA_CACHE        where tools are kept   (default: ~/.cache/stela)
  NO_COLOR           no colours

Exit codes: 0 all shown; 1 something failed; 3 an administrator must install Debian packages;
4 the Rust toolchain is missing or too old. In the last two cases it says what to do.
USAGE
}

wants_help() {
    local argument
    for argument in "$@"; do
        case $argument in -h | --help | help) return 0 ;; esac
    done
    return 1
}

show_help() {
    usage
    local demo=${CARGO_TARGET_DIR:-${STELA_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/stela}/target}/debug/stela-demo
    if [ -x "$demo" ]; then
        printf '\n'
        "$demo" --help
    fi
}

if wants_help "$@"; then
    show_help
    exit
fi

# shellcheck source=deploy/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
cd "$STELA_ROOT"

started=$SECONDS
settings=$(./deploy/wasm-target.sh)
set -a
eval "$settings"
set +a
run cargo build --locked --workspace --bins || fail 1 "the build failed; the reason is above"
run ./deploy/build-contract.sh
say "ready after $(duration $((SECONDS - started)))"

out=(--out "$STELA_ROOT/target/demo")
case " $* " in *" --out"[\ =]*) out=() ;; esac
exec "$CARGO_TARGET_DIR/debug/stela-demo" "${out[@]}" "$@"

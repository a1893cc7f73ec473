#!/usr/bin/env bash
# Builds Stela, starts a whole network on this machine and shows one patient's record shared between
# hospitals under her consent.

set -euo pipefail

# shellcheck source=deploy/console.sh
source "$(dirname "${BASH_SOURCE[0]}")/console.sh"

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
    local demo=${CARGO_TARGET_DIR:-${STELA_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/stela}/target}/debug/stela-demo
    if [ -x "$demo" ]; then
        printf '\n'
        "$demo" --help
    fi
}

help_if_asked "$@"

# shellcheck source=deploy/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
cd "$STELA_ROOT"

started=$SECONDS
build_network
say "ready after $(duration $((SECONDS - started)))"

become stela-demo "$@"

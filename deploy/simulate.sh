#!/usr/bin/env bash
# Builds and runs the deterministic simulation of orderers, validators and clients.

set -euo pipefail

# shellcheck source=deploy/console.sh
source "$(dirname "${BASH_SOURCE[0]}")/console.sh"

usage() {
    cat <<'USAGE'
Usage: ./deploy/simulate.sh [--seeds N] [--from S] [--jobs N] [--events] [--report FILE]

Simulates orderers, validators and clients under faults, one run for each seed, and checks what must
hold. The same seed is the same run, byte for byte: what finds a fault finds it again.

  --seeds N      how many seeds (default 1000)
  --from S       the first seed (default 1)
  --jobs N       how many run at a time (default: one on each processor)
  --events       print every event; for few seeds
  --report FILE  write what was done as JSON

Exit codes: 0 nothing found; 1 a promise was broken, or it did not build; 3 and 4 as in setup.sh.
USAGE
}

help_if_asked "$@"

# shellcheck source=deploy/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
cd "$STELA_ROOT"

run cargo build --locked -p stela-simulation || fail 1 "the build failed; the reason is above"
exec "$CARGO_TARGET_DIR/debug/stela-simulate" "$@"

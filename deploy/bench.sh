#!/usr/bin/env bash
# Builds Stela as it is shipped, starts a ledger of separate processes on this machine, and measures how
# fast it is and what it uses.

set -euo pipefail

# shellcheck source=deploy/console.sh
source "$(dirname "${BASH_SOURCE[0]}")/console.sh"

usage() {
    cat <<'USAGE'
Usage: ./deploy/bench.sh [--quick] [--profile PROFILE] [OPTIONS OF stela-bench]
       ./deploy/bench.sh growth [--quick] [--profile PROFILE] [OPTIONS OF stela-growth]

Starts three orderers and two organizations with one peer each, both of which endorse, with TLS, fsync
and the settings that are shipped; searches the saturation point of each function, measures there, at
70 % of it and at twice as much, and with one call in flight. Everything is looked up on the ledger: a
run with a transaction that is lost or invalid is not reported. Prints a table and writes report.json,
report.txt and plots to target/bench in this repository.

  --quick             all of it in less than two minutes, with coarser figures
  --workload NAME,... only these: consent-grant, record-submission, access-permit, access-deny,
                      evaluate, contended
  --seconds S         how long each run is measured        (default: 10)
  --repeats N         how often at saturation              (default: 3; the median counts)
  --in-flight N       do not search: so many calls at a time
  --rate R            instead of 70 % and 200 %: so many calls in a second
  --orderers N, --organizations N
                      another network                      (default: 3 and 2)
  --json              print the report as JSON
  --out FOLDER        where the report goes
  --profile PROFILE   dev builds with the profile of the demonstration (default: release)
  --help              show this

growth measures what a transaction costs as the work grows, at the same number of calls in flight: 2 to 6
organizations, 1 to 5 orderers, 1 to 8 channels, values from 100 B to 64 KiB, a state of 10 thousand to 10
million keys, a ledger of up to a million transactions (start of a peer, disk, catch-up of a new one). All
of it takes more than an hour and about 30 GB of disk. Report and plots go to target/bench/growth.

  --quick             all of it in a few minutes: fewer and smaller sizes
  --only NAME,...     only these: keys, values, organizations, orderers, channels, ledger
  --max-keys N        keys in the end                      (default: 10000000; 100000 with --quick)
  --transactions N    transactions in the end              (default: 1000000; 20000 with --quick)
  --json, --out, --profile
                      as above

The first run compiles everything with the profile release, which takes a while. Nothing else should
run on the machine meanwhile.

Environment: CARGO_TARGET_DIR, STELA_CACHE, NO_COLOR, as for ./deploy/demo.sh.

Exit codes: 0 measured; 1 a run must not be reported, or something could not be run; 3 an
administrator must install Debian packages; 4 the Rust toolchain is missing or too old.
USAGE
}

help_if_asked "$@"

# shellcheck source=deploy/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
cd "$STELA_ROOT"

profile=release
program=stela-bench
if [ "${1:-}" = growth ]; then
    program=stela-growth
    shift
fi
arguments=()
while [ $# -gt 0 ]; do
    case $1 in
    --profile)
        profile=${2:-}
        shift
        ;;
    --profile=*) profile=${1#*=} ;;
    *) arguments+=("$1") ;;
    esac
    [ $# -eq 0 ] || shift
done

case $profile in
release)
    profile_folder=release packages=(-p stela-orderer -p stela-peer -p stela-deploy)
    for name in stela-orderer stela-peer stela-network "$program"; do
        packages+=(--bin "$name")
    done
    ;;
# All of them, with the features that the demonstration's are built with.
dev) profile_folder=debug packages=(--workspace --bins) ;;
*) fail 1 "--profile takes release or dev" ;;
esac

use_wasm_target || exit
run cargo build --locked --profile "$profile" "${packages[@]}" ||
    fail 1 "the build failed; the reason is above"
run ./deploy/build-contract.sh || exit
if [ "$program" = stela-growth ]; then
    run ./deploy/build-contract.sh entries || exit
    case " ${arguments[*]} " in
    *" --out"[\ =]*) ;;
    *) arguments+=(--out "$STELA_ROOT/target/bench/growth") ;;
    esac
fi

become "$program" ${arguments[@]+"${arguments[@]}"}

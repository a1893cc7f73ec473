#!/usr/bin/env bash
# Builds Stela and sends binary studies their whole way on a real network on this machine: what each
# stage takes beside its parts alone, how soon the first byte is there, how much memory client and
# storage nodes need, and whether it goes on where it was interrupted.

set -euo pipefail

# shellcheck source=deploy/console.sh
source "$(dirname "${BASH_SOURCE[0]}")/console.sh"

usage() {
    cat <<'USAGE'
Usage: ./deploy/large.sh [--size SIZES] [--seed SEED] [--brief] [--keep] [--profile PROFILE]

Builds Stela, starts three hospitals' networks on this machine, and sends binary studies their whole
way, one after the other: encrypted, held by two hospitals, reviewed, found, fetched, verified,
decrypted, whole, in part and anywhere. Beside each stage stand its parts alone: cipher, hash, disk.
At last one study is interrupted wherever it can be. Prints tables and writes
target/large/report.json.

  --size SIZES        how large they are, such as 96MiB or 1MB,64MB,2GiB   (default: 2GiB)
  --seed SEED         what bytes and ranges are drawn from        (default: random, printed)
  --brief             leave out the parts alone, and read one range only
  --keep              leave the files for a look at them     (default: only the report stays)
  --profile PROFILE   release builds what is shipped                          (default: dev)
  --help              show this

It needs about six times the sizes together on the disk, and removes all but the report.

Environment: CARGO_TARGET_DIR, STELA_CACHE, NO_COLOR, as for ./deploy/demo.sh.

Exit codes: 0 everything held; 1 something failed or took more memory than it may; 3 an administrator
must install Debian packages; 4 the Rust toolchain is missing or too old.
USAGE
}

help_if_asked "$@"

# shellcheck source=deploy/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
cd "$STELA_ROOT"

profile=dev
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
dev) build_network ;;
release)
    profile_folder=release
    use_wasm_target || exit
    run cargo build --locked --release -p stela-orderer -p stela-peer -p stela-storage -p stela-cli \
        -p stela-deploy --bins || fail 1 "the build failed; the reason is above"
    run ./deploy/build-contract.sh || exit
    ;;
*) fail 1 "--profile takes release or dev" ;;
esac
become stela-large ${arguments[@]+"${arguments[@]}"}

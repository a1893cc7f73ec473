#!/usr/bin/env bash
# Builds Stela and sends a large binary study its whole way on a real network on this machine: what
# each stage takes, how much memory client and storage nodes need, and whether it goes on where it
# was interrupted.

set -euo pipefail

# shellcheck source=deploy/console.sh
source "$(dirname "${BASH_SOURCE[0]}")/console.sh"

usage() {
    cat <<'USAGE'
Usage: ./deploy/large.sh [--size SIZE] [--seed SEED] [--keep]

Builds Stela, starts three hospitals' networks on this machine, and sends a binary study its whole
way: encrypted, held by two hospitals, reviewed, found, fetched, verified, decrypted, whole and in
part, and interrupted wherever it can be. Prints a table and writes target/large/report.json.

  --size SIZE   how large the study is, such as 96MiB   (default: 2GiB)
  --seed SEED   what its bytes are drawn from           (default: random, printed)
  --keep        leave its files for a look at them     (default: only the report stays)
  --help        show this

It needs about six times the size on the disk, and removes all but the report.

Environment: CARGO_TARGET_DIR, STELA_CACHE, NO_COLOR, as for ./deploy/demo.sh.

Exit codes: 0 everything held; 1 something failed or took more memory than it may; 3 an administrator
must install Debian packages; 4 the Rust toolchain is missing or too old.
USAGE
}

help_if_asked "$@"

# shellcheck source=deploy/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
cd "$STELA_ROOT"

build_network
become stela-large "$@"

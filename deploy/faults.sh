#!/usr/bin/env bash
# Builds Stela, starts a whole network on this machine, and does harm to it while clients write and
# read.

set -euo pipefail

# shellcheck source=deploy/console.sh
source "$(dirname "${BASH_SOURCE[0]}")/console.sh"

usage() {
    cat <<'USAGE'
Usage: ./deploy/faults.sh [--rounds N] [--seed S] [--only KIND,...] [OPTIONS OF stela-faults]

Runs a network of nine real processes under faults, one in each round, and checks after each that
nothing acknowledged is lost, nothing is applied twice, there is one history and one state, and
every record can be read. The report is written to target/faults/report.json in this repository.

  --rounds N       how many rounds (default 11: each kind of fault once)
  --seed S         chooses kinds, victims and durations; it is printed
  --only KIND,...  only these kinds, in this order: kill-leader, kill-followers, kill-gateway,
                   kill-peer, kill-storage, kill-all, pause, full-disk, torn-copy, flipped-copy,
                   one-way
  --relay          cut connections with a relay, not with network namespaces
  --help           show this

One-way partitions are made in network namespaces as root, and by the relay without. A full disk is
a limit on the length of files, which every write then meets; it needs no root.

Exit codes: 0 all rounds passed; 1 a promise was broken, or something could not be run; 3 and 4 as
in setup.sh.
USAGE
}

help_if_asked "$@"

# shellcheck source=deploy/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
cd "$STELA_ROOT"

build_network
become stela-faults "$@"

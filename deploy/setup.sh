#!/usr/bin/env bash
# Prepares a machine to build Stela: a Debian system with git and a Rust toolchain from rustup, and
# nothing else. Installs the Debian packages that are missing and says which. Changes nothing, in
# well under a second, where nothing is missing.
#
#   ./deploy/setup.sh          prepare this machine
#   source deploy/setup.sh     the same, and keep the settings (as demo.sh and test.sh do)
#
# Settings, from the environment or by default:
#   STELA_CACHE        what is built once: tools, the WASM standard library   ~/.cache/stela
#   CARGO_TARGET_DIR   what cargo builds                                      $STELA_CACHE/target
#
# Exit codes: 0 ready; 1 a step failed; 3 an administrator must install packages (the command is
# printed); 4 the Rust toolchain is missing or too old (what to do is printed).

set -euo pipefail

STELA_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
# shellcheck source=deploy/console.sh
source "$STELA_ROOT/deploy/console.sh"

HOME=${HOME:-$(getent passwd "$(id -u)" | cut -d: -f6)}
STELA_CACHE=${STELA_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/stela}
CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$STELA_CACHE/target}
export HOME STELA_ROOT STELA_CACHE CARGO_TARGET_DIR

# Dependencies in both kinds of their artifacts, test binaries and a running network.
disk_gib_min=12

prepare_machine() {
    install_packages missing_packages
    check_rust
    check_disk
    claim_target_folder
}

# Debian packages, each only when what it gives is really absent. The build needs no cmake, make,
# pkg-config or protoc: the crates bring what they use, or do without.
missing_packages() {
    can_compile c || echo gcc libc6-dev
    can_compile c++ || echo g++
    has_libclang || echo libclang-dev
    has_certificates || echo ca-certificates
    # Only the tests shift a clock.
    [ "${STELA_TESTS:-}" != true ] || has_faketime || echo libfaketime
}

has_faketime() {
    any_file '/usr/lib/*/faketime/libfaketimeMT.so.1'
}

# can_compile LANGUAGE: compiler and headers of AWS-LC (C) or RocksDB (C++20), and rustc's linker.
can_compile() {
    local compiler header standard
    if [ "$1" = c ]; then
        compiler=${CC:-cc} header=stdlib.h standard=c11
    else
        compiler=${CXX:-c++} header=cstdint standard=c++20
    fi
    # shellcheck disable=SC2086 # CC may hold options, as it may for make.
    $compiler -std="$standard" -x "$1" -fsyntax-only - <<<"#include <$header>" 2>/dev/null
}

# bindgen reads RocksDB's header through libclang, which needs clang's own headers beside it.
has_libclang() {
    [ -z "${LIBCLANG_PATH:-}" ] || return 0
    any_file '/usr/lib/llvm-*/lib/libclang.so*' '/usr/lib/llvm-*/lib/libclang-[0-9]*.so*' \
        '/usr/lib/*-linux-gnu/libclang.so*' '/usr/lib/*-linux-gnu/libclang-[0-9]*.so*' &&
        any_file '/usr/lib/llvm-*/lib/clang/*/include/stddef.h' \
            '/usr/lib/clang/*/include/stddef.h'
}

has_certificates() {
    [ -n "${SSL_CERT_FILE:-}${CARGO_HTTP_CAINFO:-}" ] || [ -s /etc/ssl/certs/ca-certificates.crt ]
}

any_file() {
    local pattern
    for pattern in "$@"; do
        ! compgen -G "$pattern" >/dev/null || return 0
    done
    return 1
}

# install_packages COMMAND: the Debian packages that the command prints, which are those missing.
install_packages() {
    local missing=$1 packages administrator=()
    packages=$("$missing" | tr '\n' ' ')
    [ -n "$packages" ] || return 0
    packages=${packages% }
    if ! command -v apt-get >/dev/null; then
        fail 3 "missing on this machine, and there is no apt-get to install it (Debian's names): $packages"
    fi
    if [ "$(id -u)" -ne 0 ]; then
        sudo -n true 2>/dev/null || fail 3 "these Debian packages are missing: $packages
An administrator must run this command once:

    apt-get update && apt-get install -y --no-install-recommends $packages
"
        administrator=(sudo -n)
    fi
    say "Missing on this machine, installed now: $packages"
    # shellcheck disable=SC2086
    run_quietly "installing $packages" apt_install $packages ||
        fail 1 "the packages could not be installed; is Debian's mirror reachable?"
    [ -z "$("$missing")" ] ||
        fail 1 "still missing after the installation: $("$missing" | tr '\n' ' ')"
}

# The lists of packages are fetched only if they are absent or too old to install from.
apt_install() {
    local get=("${administrator[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300)
    "${get[@]}" install -y --no-install-recommends "$@" && return
    "${get[@]}" update
    "${get[@]}" install -y --no-install-recommends "$@"
}

check_rust() {
    local minimum version
    minimum=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' "$STELA_ROOT/Cargo.toml")
    # rustup's own place, for a shell that has not read its profile.
    PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin
    export PATH
    if ! command -v cargo >/dev/null || ! command -v rustc >/dev/null; then
        fail 4 "there is no Rust toolchain on this machine. Install rustup from https://rustup.rs, then run this again."
    fi
    version=$(rustc --version 2>&1 | sed -n 's/^rustc \([0-9.]*\).*/\1/p')
    [ -n "$version" ] || fail 4 "rustc does not run: $(rustc --version 2>&1 | head -n 1)"
    printf '%s\n%s\n' "$minimum" "$version" | sort -VC ||
        fail 4 "Rust $minimum or newer is needed, this machine has $version. Run 'rustup update stable && rustup default stable', then run this again."
}

check_disk() {
    mkdir -p "$CARGO_TARGET_DIR"
    [ ! -d "$CARGO_TARGET_DIR/debug" ] || return 0
    local free_gib
    free_gib=$(($(df -Pk "$CARGO_TARGET_DIR" | awk 'NR == 2 { print $4 }') / 1048576))
    [ "$free_gib" -ge "$disk_gib_min" ] ||
        warn "$CARGO_TARGET_DIR has $free_gib GiB free; the build takes up to $disk_gib_min GiB"
}

# Cargo knows a workspace's own files by their place in it and their time, so two checkouts that
# share a target folder can be mistaken for one another. Files of a checkout that was not the last
# to use the folder are therefore marked as new; dependencies stay built. In continuous integration
# always, since a fresh clone may have the path of an older one.
claim_target_folder() {
    local owner=$CARGO_TARGET_DIR/.stela-checkout
    if [ "${CI:-}" != true ] && [ "$(cat "$owner" 2>/dev/null)" = "$STELA_ROOT" ]; then
        return
    fi
    find "$STELA_ROOT" \( -name .git -o -path "$STELA_ROOT/target" \) -prune -o \
        -type f \( -name '*.rs' -o -name '*.toml' -o -name '*.proto' -o -name '*.wit' \) \
        -exec touch {} +
    printf '%s\n' "$STELA_ROOT" >"$owner"
}

# use_wasm_target: settings for what builds contracts, in the environment.
use_wasm_target() {
    local settings
    settings=$("$STELA_ROOT/deploy/wasm-target.sh") || return
    set -a
    eval "$settings"
    set +a
}

# build_network: every program and the contract.
build_network() {
    use_wasm_target || exit
    run cargo build --locked --workspace --bins || fail 1 "the build failed; the reason is above"
    run ./deploy/build-contract.sh || exit
}

# The folder in which cargo leaves the programs that `become` starts.
profile_folder=debug

# become PROGRAM ARGUMENT...: the program goes on in place of this script, and leaves what it does in
# target/ under its own name unless --out is among the arguments.
become() {
    local program=$1 out=()
    shift
    case " $* " in
    *" --out"[\ =]*) ;;
    *) out=(--out "$STELA_ROOT/target/${program#stela-}") ;;
    esac
    exec "$CARGO_TARGET_DIR/$profile_folder/$program" "${out[@]}" "$@"
}

prepare_machine

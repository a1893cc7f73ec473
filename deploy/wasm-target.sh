#!/usr/bin/env bash
# Finds or makes a compiler and a standard library for wasm32-unknown-unknown, by the first rung of
# this ladder that holds:
#   1  the target of the Rust toolchain, installed already or fetched by rustup;
#   2  the standard library built from the source of exactly this compiler: rustup's rust-src
#      component, or the source package of that version in this machine's Debian mirror;
#   3  Debian's own rustc-web with its own source, unpacked into the cache, never installed.
# What rungs 2 and 3 build is kept in the cache, so that it is built once. Nothing outside the cache
# is changed: apt runs on lists and folders of its own.
#
# Prints settings for a shell to evaluate, and nothing else, on standard output:
#   STELA_WASM_SOURCE   which rung it was, in words
#   STELA_WASM_RUSTC    the compiler
#   STELA_WASM_SYSROOT  where its standard library is; empty: in the compiler's own place
#   STELA_WASM_LINKER   the linker; empty: the compiler's own
# STELA_WASM_RUNG=1, 2 or 3 tries that rung alone.

set -euo pipefail

STELA_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
# shellcheck source=deploy/console.sh
source "$STELA_ROOT/deploy/console.sh"

target=wasm32-unknown-unknown
cache=${STELA_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/stela}/wasm
rustup_timeout_s=60

rustc_version=$(rustc -vV)
release=$(sed -n 's/^release: //p' <<<"$rustc_version")
commit=$(sed -n 's/^commit-hash: //p' <<<"$rustc_version")
host=$(sed -n 's/^host: //p' <<<"$rustc_version")
toolchain=$(rustc --print sysroot)

built_sysroot=$cache/std-$release-${commit:0:12}
debian_toolchain=$cache/rustc-web

main() {
    mkdir -p "$cache"
    # Two checkouts may arrive here at once; the second waits and finds the work done.
    exec 9>"$cache/.lock"
    flock 9
    climb || fail 1 "no standard library for $target can be had on this machine. With a connection to the Rust project's downloads, 'rustup target add $target' is all it takes."
    printf 'STELA_WASM_SOURCE=%q\n' "$source"
    printf 'STELA_WASM_RUSTC=%q\n' "$compiler"
    printf 'STELA_WASM_SYSROOT=%q\n' "$sysroot"
    printf 'STELA_WASM_LINKER=%q\n' "$linker"
}

climb() {
    case ${STELA_WASM_RUNG:-any} in
    any) ready || installed_target || target_from_source || debian_compiler ;;
    1) installed_target ;;
    2) target_from_source ;;
    3) debian_compiler ;;
    *) fail 2 "STELA_WASM_RUNG is 1, 2, 3 or unset, not '$STELA_WASM_RUNG'" ;;
    esac
}

# use SOURCE COMPILER SYSROOT LINKER
use() {
    source=$1 compiler=$2 sysroot=$3 linker=$4
}

# What an earlier run has left, without asking any server.
ready() {
    use_toolchain || use_built_sysroot || use_debian_compiler
}

# has_std SYSROOT
has_std() {
    compgen -G "$1/lib/rustlib/$target/lib/libcore-*.rlib" >/dev/null
}

# Rung 1.

installed_target() {
    use_toolchain && return
    command -v rustup >/dev/null || return 1
    run_quietly "rustup target add $target" timeout "$rustup_timeout_s" rustup target add "$target" &&
        use_toolchain
}

use_toolchain() {
    has_std "$toolchain" || return 1
    use "the toolchain's own target" rustc '' ''
}

# Rung 2.

target_from_source() {
    use_built_sysroot && return
    local library=$toolchain/lib/rustlib/src/rust/library unpacked=$cache/source-$release status=0
    if [ ! -d "$library/sysroot" ]; then
        run_quietly "looking for the source of Rust $release in Debian's mirror" \
            fetch_debian_source "$unpacked" || {
            rm -rf "$unpacked" "$cache/apt"
            return 1
        }
        library=$unpacked/usr/src/rustc-$release/library
    fi
    run_quietly "building Rust's standard library for $target, once" \
        build_std rustc "$library" "$built_sysroot" || status=$?
    rm -rf "$unpacked" "$cache/build" "$cache/apt"
    [ "$status" -eq 0 ] && use_built_sysroot
}

use_built_sysroot() {
    has_std "$built_sysroot" || return 1
    use "the standard library built from the source of Rust $release" \
        rustc "$built_sysroot" ''
}

# fetch_debian_source DEST: the source package of exactly this rustc, from the first suite that has
# it, unpacked into DEST.
fetch_debian_source() {
    local base suite version apt=$cache/apt
    rm -rf "$1"
    while read -r base; do
        for suite in trixie-backports bookworm trixie forky sid; do
            private_apt "$apt" "deb $base $suite main" || continue
            version=$(APT_CONFIG=$apt/apt.conf apt-cache madison rust-src |
                awk -v release="$release+" 'index($3, release) == 1 { print $3; exit }')
            [ -n "$version" ] || continue
            unpack "$apt" "$1" "rust-src=$version"
            return
        done
    done < <(debian_repositories | awk '$1 !~ /security/ { print $1 }' | sort -u)
    echo "No suite of this machine's Debian mirror has the source of Rust $release."
    return 1
}

# Rung 3.

debian_compiler() {
    use_debian_compiler && return
    local unpacked=$cache/rustc-web.new status=0
    run_quietly "fetching Debian's rustc-web" fetch_debian_compiler "$unpacked" &&
        run_quietly "building its standard library for $target, once" \
            build_std "$unpacked/rustc" "$unpacked/library" "$unpacked/usr" || status=$?
    rm -rf "$unpacked/usr/src" "$cache/build" "$cache/apt"
    if [ "$status" -eq 0 ]; then
        rm -rf "$debian_toolchain" "$unpacked/library"
        mv "$unpacked" "$debian_toolchain"
    fi
    rm -rf "$unpacked"
    use_debian_compiler
}

use_debian_compiler() {
    local lld=$toolchain/lib/rustlib/$host/bin/rust-lld
    has_std "$debian_toolchain/usr" && [ -x "$lld" ] || return 1
    use "Debian's rustc-web" "$debian_toolchain/rustc" '' "$lld"
}

# fetch_debian_compiler DEST: compiler and libraries in DEST/usr, their source in DEST/library, and
# DEST/rustc, which runs the compiler there.
fetch_debian_compiler() {
    local apt=$cache/apt std llvm
    rm -rf "$1"
    private_apt "$apt" "$(compiler_sources)" || return
    std=$(dependency_of "$apt" libstd-rust-web-dev 'libstd-rust-web-[0-9.]+')
    llvm=$(dependency_of "$apt" "$std" 'libllvm[0-9]+')
    unpack "$apt" "$1" rustc-web libstd-rust-web-dev "$std" "$llvm" rust-web-src || return
    ln -s "$1"/usr/src/rustc-*/library "$1/library"
    cat >"$1/rustc" <<'RUSTC'
#!/bin/sh
# Debian's rustc-web with the libraries unpacked beside it.
here=$(dirname "$0")
for libraries in "$here"/usr/lib/*-linux-gnu; do :; done
LD_LIBRARY_PATH=$libraries exec "$here/usr/bin/rustc" "$@"
RUSTC
    chmod +x "$1/rustc"
    is_new_enough "$("$1/rustc" --version)"
}

# The configured repositories and the security updates of each, which are where new compilers
# arrive and which not every machine lists.
compiler_sources() {
    debian_repositories | while read -r base suite; do
        echo "deb $base $suite main"
        [[ $suite == *-* ]] || echo "deb ${base%/}-security $suite-security main"
    done | sort -u
}

# is_new_enough VERSION: whether "rustc 1.96.0 (...)" can compile this workspace.
is_new_enough() {
    local minimum
    minimum=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' "$STELA_ROOT/Cargo.toml")
    printf '%s\n%s\n' "$minimum" "$(cut -d' ' -f2 <<<"$1")" | sort -VC || {
        echo "Debian's compiler is $1, and Rust $minimum is needed."
        return 1
    }
}

# dependency_of APT PACKAGE PATTERN: the dependency whose name matches.
dependency_of() {
    APT_CONFIG=$1/apt.conf apt-cache depends --important "$2" |
        grep -Eo "Depends: $3\$" | cut -d' ' -f2 | head -n 1
}

# Debian's archive, seen from here.

# The repositories of Debian that this machine is configured to use, as "URI SUITE" lines. This form
# works with no lists fetched and for both formats of apt's sources.
debian_repositories() {
    apt-get --print-uris update |
        sed -nE "s|^'([^']*debian[^']*)/dists/([^']*)/InRelease'.*|\1 \2|p" | sort -u
}

# private_apt FOLDER SOURCES: an apt of our own with these sources and this machine's proxies and
# keys. Fails if none of the sources can be read.
private_apt() {
    rm -rf "$1"
    mkdir -p "$1/lists/partial" "$1/archives/partial"
    local options='' keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    [ ! -f "$keyring" ] || options=" [signed-by=$keyring]"
    awk -v options="$options" '{ $1 = $1 options; print }' <<<"$2" >"$1/sources.list"
    {
        apt-config dump | grep -E '^(Acquire|APT::Architecture)'
        cat <<CONF
Dir::Etc::main "/dev/null";
Dir::Etc::parts "/dev/null";
Dir::Etc::sourcelist "$1/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::State::lists "$1/lists";
Dir::Cache "$1";
APT::Sandbox::User "$(id -un)";
CONF
    } >"$1/apt.conf"
    # Its exit status says that some source failed; what counts is that one did not.
    APT_CONFIG=$1/apt.conf apt-get update || true
    compgen -G "$1/lists/*_Packages*" >/dev/null
}

# unpack APT DEST PACKAGE...: fetches packages, checked by apt, and unpacks them into DEST. Of the
# compiler's source only the library is of use, and it is a small part of the files.
unpack() {
    local apt=$1 dest=$2 package
    shift 2
    mkdir -p "$dest"
    (cd "$apt/archives" && APT_CONFIG=$apt/apt.conf apt-get download "$@") || return
    for package in "$apt"/archives/*.deb; do
        dpkg-deb --fsys-tarfile "$package" | tar -x -C "$dest" --no-wildcards-match-slash \
            --exclude='./usr/share' --exclude='./usr/src/*/compiler' --exclude='./usr/src/*/src' ||
            return
    done
    rm -rf "$apt"
}

# build_std RUSTC LIBRARY DEST: builds the standard library from the source LIBRARY, as the
# compiler's own bootstrap does, and puts it into the sysroot DEST.
build_std() {
    local library rlibs=$3/lib/rustlib/$target/lib
    library=$(cd "$2" && pwd -P) || return
    rm -rf "$cache/build" "$rlibs" "$rlibs.new"
    # Debian's source brings what it depends on, in some versions not all of it; rustup's does not.
    local vendored=(--offline --config 'source.crates-io.replace-with="vendor"'
        --config "source.vendor.directory='$library/vendor'")
    if [ ! -d "$library/vendor" ] || ! compile_std "$1" "$library" "${vendored[@]}"; then
        compile_std "$1" "$library" || return
    fi
    mkdir -p "$rlibs.new"
    find "$cache/build/$target/release/deps" -name '*.rlib' ! -name 'libsysroot-*' \
        -exec cp -t "$rlibs.new" {} + && mv "$rlibs.new" "$rlibs"
}

# compile_std RUSTC LIBRARY CARGO_OPTION...
compile_std() (
    local commit flags
    commit=$("$1" -vV | sed -n 's/^commit-hash: //p')
    flags=(-Zforce-unstable-if-unmarked -Cembed-bitcode=yes
        "--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo"
        "--remap-path-prefix=$2=/rustc/$commit/library")
    cd "$2" || return
    unset RUSTFLAGS CARGO_BUILD_TARGET
    export RUSTC=$1 CARGO_TARGET_DIR=$cache/build CARGO_INCREMENTAL=0
    export RUSTC_BOOTSTRAP=1 __CARGO_DEFAULT_LIB_METADATA=stablestd
    export CARGO_PROFILE_RELEASE_DEBUG=0 CARGO_PROFILE_RELEASE_CODEGEN_UNITS=1
    CARGO_ENCODED_RUSTFLAGS=$(join_flags "${flags[@]}")
    export CARGO_ENCODED_RUSTFLAGS
    shift 2
    cargo build --release --locked "$@" --manifest-path sysroot/Cargo.toml \
        -p sysroot --features panic-unwind,backtrace --target "$target"
)

# Flags apart by the separator that cargo defines, since paths may hold spaces.
join_flags() {
    local IFS=$'\x1f'
    printf '%s' "$*"
}

main

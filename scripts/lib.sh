# shellcheck shell=bash
# Shared by the scripts in this directory; meant to be sourced.

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
PG_VERSIONS=(15 16 17 18)
PGRX_VERSION="0.18.1"

say()  { printf '==> %s\n' "$*" >&2; }
warn() { printf 'warning: %s\n' "$*" >&2; }
die()  { printf 'error: %s\n' "$*" >&2; exit 1; }

is_root() { [ "$(id -u)" -eq 0 ]; }

# The cache holds the PostgreSQL installations, cargo-pgrx, PGRX_HOME and test
# data directories. As root it must be a place that user postgres can reach.
if [ -n "${AGENT_POLICY_CACHE:-}" ]; then
    CACHE="$AGENT_POLICY_CACHE"
elif is_root; then
    CACHE="/var/cache/agent_policy"
else
    CACHE="${XDG_CACHE_HOME:-$HOME/.cache}/agent_policy"
fi
export AGENT_POLICY_CACHE="$CACHE"
export PGRX_HOME="${PGRX_HOME:-$CACHE/pgrx}"
export PATH="$CACHE/cargo-pgrx/bin:$CACHE/tools/bin:$PATH"

# pg_config of one major version; prints nothing and fails when not installed.
# A symlink or a directory placed at $CACHE/pg/N is used as it is.
find_pg_config() {
    local n="$1" p
    for p in "$CACHE/pg/$n/bin/pg_config" "/usr/lib/postgresql/$n/bin/pg_config" "/usr/pgsql-$n/bin/pg_config"; do
        [ -x "$p" ] || continue
        [ -e "$("$p" --includedir-server 2>/dev/null)/postgres.h" ] || continue
        [ "$(pg_major "$p")" = "$n" ] || continue
        printf '%s\n' "$p"
        return 0
    done
    return 1
}

pg_major() { "$1" --version 2>/dev/null | head -n1 | sed -E 's/^PostgreSQL ([0-9]+).*/\1/'; }

require_version() {
    case "${1:-}" in
        15|16|17|18) ;;
        *) die "PostgreSQL version must be one of ${PG_VERSIONS[*]}, got '${1:-}'" ;;
    esac
}

# Where cargo puts its output for this checkout.
target_dir() {
    local t="${CARGO_TARGET_DIR:-target}"
    case "$t" in
        /*) printf '%s\n' "$t" ;;
        *)  printf '%s\n' "$ROOT/$t" ;;
    esac
}

# Sets PG_CONFIG and PG_N from either a version number or a pg_config path and
# prepares the environment for cargo.
#
# pgrx-pg-sys takes pg_config from PGRX_PG_CONFIG_PATH when that is set and from
# PGRX_HOME/config.toml otherwise. It generates its bindings anew whenever the
# variable changes, so the variable is left unset for the versions in config.toml.
use_pg() {
    local listed
    case "$1" in
        */*) PG_CONFIG="$1" ;;
        15|16|17|18) PG_CONFIG="$("$ROOT/scripts/pg_config.sh" "$1")" || exit 1 ;;
        *) PG_CONFIG="$(command -v "$1")" || die "no such PostgreSQL version or pg_config: $1" ;;
    esac
    [ -x "$PG_CONFIG" ] || die "$PG_CONFIG is not an executable pg_config"
    PG_N="$(pg_major "$PG_CONFIG")"
    case "$PG_N" in
        15|16|17|18) ;;
        *) die "$PG_CONFIG is $("$PG_CONFIG" --version | head -n1); supported are PostgreSQL ${PG_VERSIONS[*]}" ;;
    esac
    [ -e "$("$PG_CONFIG" --includedir-server)/postgres.h" ] \
        || die "no server headers for $PG_CONFIG; install them first (Debian: postgresql-server-dev-$PG_N)"
    listed="$(sed -nE "s/^pg$PG_N *= *\"(.*)\"\$/\1/p" "$PGRX_HOME/config.toml" 2>/dev/null || true)"
    if [ -n "$listed" ] && [ "$(readlink -f "$listed")" = "$(readlink -f "$PG_CONFIG")" ]; then
        unset PGRX_PG_CONFIG_PATH
    else
        export PGRX_PG_CONFIG_PATH="$PG_CONFIG"
    fi
}

# install_test_build VERSION FLAG: installs a build that is no release; the usual one comes back when the
# script ends.
TEST_BUILDS=()
restore_builds() {
    local n
    for n in "${TEST_BUILDS[@]}"; do
        scripts/install.sh "$n" || warn "PostgreSQL $n still has the test build: run scripts/install.sh $n"
    done
}
install_test_build() {
    TEST_BUILDS+=("$1")
    trap restore_builds EXIT
    scripts/install.sh "$1" "$2"
}

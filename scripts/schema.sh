#!/usr/bin/env bash
# The SQL of CREATE EXTENSION, generated from the Rust sources with cargo-pgrx.
#
#   scripts/schema.sh [15|16|17|18]            writes sql/agent_policy--<version>.sql
#   scripts/schema.sh --check [15|16|17|18]    compares it with the committed file
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

check=0 pg=18
while [ "$#" -gt 0 ]; do
    case "$1" in
        --check)     check=1 ;;
        15|16|17|18) pg="$1" ;;
        -h|--help)   sed -n '2,5s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
        *) die "unknown argument '$1'" ;;
    esac
    shift
done

cargo pgrx --version >/dev/null 2>&1 || die "cargo-pgrx is not installed; run: scripts/setup.sh cargo-pgrx"
use_pg "$pg"
cd "$ROOT"
version="$(sed -nE '/^\[(workspace\.)?package\]/,/^\[/s/^version *= *"([^"]+)".*/\1/p' Cargo.toml | head -n1)"
[ -n "$version" ] || die "no version in Cargo.toml"
out="sql/agent_policy--$version.sql"

tmp="$(mktemp -d)"
trap 'rm -rf "$tmp"' EXIT
say "generating the schema for PostgreSQL $PG_N"
cargo pgrx schema "pg$PG_N" --package agent_policy --no-default-features -o "$tmp/raw.sql" </dev/null >&2
# Line numbers of the sources would change with every edit.
sed -E 's#^(-- [A-Za-z0-9_./-]+\.rs):[0-9]+$#\1#' "$tmp/raw.sql" >"$tmp/schema.sql"

if [ "$check" = 1 ]; then
    if diff -u --label "$out" --label "generated for PostgreSQL $PG_N" "$out" "$tmp/schema.sql"; then
        say "$out is up to date"
    else
        die "$out differs from what the sources generate; run: make schema"
    fi
else
    mkdir -p sql
    install -m 644 "$tmp/schema.sql" "$out"
    say "wrote $out"
fi

#!/usr/bin/env bash
# Builds the extension and copies it into one PostgreSQL installation.
#
#   scripts/install.sh 15|16|17|18 [--release] [--destdir DIR] [--no-build]
#   scripts/install.sh --pg-config PATH [--release] [--destdir DIR] [--no-build]
#   ... [--library FILE]  this one, which was built for that PostgreSQL
#   ... [--ablation]   a test build (see scripts/ablation.sh)
#   ... [--planted]    a test build (see scripts/noninterference.sh)
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

pg="" destdir="" profile=debug build=1 library="" args=()
while [ "$#" -gt 0 ]; do
    case "$1" in
        --pg-config) pg="${2:?--pg-config needs a path}"; shift 2 ;;
        --destdir)   destdir="${2-}"; shift 2 ;;
        --release)   profile=release; args+=(--release); shift ;;
        --no-build)  build=0; shift ;;
        --library)   build=0 library="${2:?--library needs a file}"; shift 2 ;;
        --ablation)  args+=(--ablation); shift ;;
        --planted)   args+=(--planted); shift ;;
        -h|--help)   sed -n '2,9s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
        15|16|17|18) pg="$1"; shift ;;
        *) die "unknown argument '$1'" ;;
    esac
done
[ -n "$pg" ] || die "which PostgreSQL? install.sh 15|16|17|18 or --pg-config PATH"

use_pg "$pg"
cd "$ROOT"
version="$(sed -nE '/^\[(workspace\.)?package\]/,/^\[/s/^version *= *"([^"]+)".*/\1/p' Cargo.toml | head -n1)"
[ -n "$version" ] || die "no version in Cargo.toml"
shopt -s nullglob
sql=(sql/agent_policy--*.sql)
[ -e "sql/agent_policy--$version.sql" ] || die "sql/agent_policy--$version.sql is missing; run: make schema"

if [ "$build" = 1 ]; then
    so="$(scripts/build.sh --pg-config "$PG_CONFIG" "${args[@]}" | tail -n1)"
else
    so="${library:-$(target_dir)/$profile/libagent_policy.so}"
    [ -e "$so" ] || die "$so is not built yet"
fi

libdir="$destdir$("$PG_CONFIG" --pkglibdir)"
extdir="$destdir$("$PG_CONFIG" --sharedir)/extension"
if [ -n "$destdir" ]; then
    mkdir -p "$libdir" "$extdir"
fi
as=()
for d in "$libdir" "$extdir"; do
    [ -d "$d" ] || die "$d does not exist"
    if [ ! -w "$d" ]; then
        command -v sudo >/dev/null || die "no permission to write to $d; run as its owner"
        as=(sudo)
    fi
done
if [ "${#as[@]}" -gt 0 ]; then say "copying with sudo: $libdir and $extdir belong to another user"; fi

control="$(mktemp)"
trap 'rm -f "$control"' EXIT
sed "s/@CARGO_VERSION@/$version/g" agent_policy.control >"$control"

# Copied under another name and renamed: a server that runs keeps its old library.
"${as[@]}" install -m 755 "$so" "$libdir/agent_policy.so.new"
"${as[@]}" mv -f "$libdir/agent_policy.so.new" "$libdir/agent_policy.so"
"${as[@]}" install -m 644 "$control" "$extdir/agent_policy.control"
"${as[@]}" install -m 644 "${sql[@]}" "$extdir/"
say "installed agent_policy $version into $libdir and $extdir"

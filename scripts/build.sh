#!/usr/bin/env bash
# Builds the extension for one PostgreSQL with plain cargo (no cargo-pgrx needed).
#
#   scripts/build.sh 15|16|17|18 [--release]
#   scripts/build.sh --pg-config PATH [--release]
#   ... [--ablation]   a test build in which layers of the enforcement can be switched off
#   ... [--planted]    a test build in which leaks can be opened
#
# The last line on stdout is the path of the shared library.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

pg="" profile=debug features="" args=()
while [ "$#" -gt 0 ]; do
    case "$1" in
        --pg-config) pg="${2:?--pg-config needs a path}"; shift 2 ;;
        --release)   profile=release; args+=(--release); shift ;;
        --ablation)  features=" ablation"; shift ;;
        --planted)   features=" planted"; shift ;;
        -h|--help)   sed -n '2,9s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
        15|16|17|18) pg="$1"; shift ;;
        *) die "unknown argument '$1'" ;;
    esac
done
[ -n "$pg" ] || die "which PostgreSQL? build.sh 15|16|17|18 or --pg-config PATH"

use_pg "$pg"
command -v cargo >/dev/null || die "no cargo in PATH; install Rust first"
cd "$ROOT"
say "building agent_policy for PostgreSQL $PG_N ($profile, $PG_CONFIG)"
cargo build --lib --package agent_policy --no-default-features --features "pg$PG_N$features" "${args[@]}" >&2
so="$(target_dir)/$profile/libagent_policy.so"
[ -e "$so" ] || die "cargo did not produce $so"
printf '%s\n' "$so"

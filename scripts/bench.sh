#!/usr/bin/env bash
# Runs the benchmarks and prints one table.
#
#   scripts/bench.sh [NAME...]    bystander confined durable ingest masks cap policy_size footprint analytic;
#                                 all when none is named
#
# PG_CONFIG   the PostgreSQL to use; unset: PostgreSQL 18, fetched by scripts/setup.sh
# PAIRS=5     alternating pairs of each comparison
# SECONDS_PER_RUN=3, ROWS=1000000, TPCH_SCALE=0.1
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=scripts/cluster.sh
. "$(dirname "${BASH_SOURCE[0]}")/cluster.sh"

case "${1:-}" in -h | --help) sed -n '2,9s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;; esac

cd "$ROOT"
need_cargo
need_postgresql
scripts/build.sh --pg-config "$CONFIG" --release >/dev/null
cargo build --release --package bench --package tpch

choose_place agent_policy_bench "$ROOT/.bench"
trap 'rm -rf "${PLACE:?}" "${ROOT:?}/.bench"' EXIT
install_below_place

owner=()
if is_root; then owner=(--owner "$(id -u "$RUN_USER"):$(id -g "$RUN_USER")"); fi
"$(target_dir)/release/bench" \
    --bin "$BINDIR" --dir "$PLACE" --tpch "$(target_dir)/release/tpch" \
    --library "$("$CONFIG" --pkglibdir)/agent_policy.so" "${owner[@]}" \
    --pairs "${PAIRS:-5}" --seconds "${SECONDS_PER_RUN:-3}" \
    --rows "${ROWS:-1000000}" --tpch-scale "${TPCH_SCALE:-0.1}" "$@"

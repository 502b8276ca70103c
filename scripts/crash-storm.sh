#!/usr/bin/env bash
# Crashes under load, again and again, and after each one the audit is compared with what the clients
# got: see tests/tests/storm.
#
#   scripts/crash-storm.sh [N] [15|16|17|18 …]   N crashes on each version: 100, on 15 and 18
#
# SEED=1   which of them
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"

crashes="${1:-100}"
case "$crashes" in *[!0-9]* | '') die "the number of crashes, not '$crashes'" ;; esac
[ "$#" -eq 0 ] || shift
versions=("$@")
[ "${#versions[@]}" -gt 0 ] || versions=(15 18)
# Data directories come and go quickly in memory; what a power cut leaves is told by the harness.
if [ -w /dev/shm ]; then export TMPDIR=/dev/shm; fi

for n in "${versions[@]}"; do
    require_version "$n"
    use_pg "$n"
    scripts/install.sh --pg-config "$PG_CONFIG"
    env AGENT_POLICY_PG="$PG_N" "PG_CONFIG_$PG_N=$PG_CONFIG" \
        AGENT_POLICY_CRASHES="$crashes" AGENT_POLICY_SEED="${SEED:-1}" \
        cargo test --package cluster-tests --locked --test storm -- --nocapture
done

#!/usr/bin/env bash
# Random sequences of protocol messages as a confined role: no canary in any byte, no crash, every
# row in the audit.
#
#   scripts/fuzz-wire.sh SECONDS [15|16|17|18 ...]     (default: 18)
#
# AGENT_POLICY_FUZZ_SEED: which sequences (default: another one each time).
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"

seconds="${1:?how many seconds?}"; shift
versions=("$@")
[ "${#versions[@]}" -gt 0 ] || versions=(18)
for n in "${versions[@]}"; do require_version "$n"; scripts/install.sh "$n"; done
export AGENT_POLICY_FUZZ_SEED="${AGENT_POLICY_FUZZ_SEED:-$(od -An -N6 -tu8 /dev/urandom | tr -d ' ')}"
env AGENT_POLICY_PG="${versions[*]}" AGENT_POLICY_FUZZ_SECONDS="$seconds" \
    cargo test --package cluster-tests --locked --test wire -- --nocapture sequences_at_random

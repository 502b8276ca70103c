#!/usr/bin/env bash
# Two clusters that differ only in what the policy hides, the same statements, every byte of the
# answers equal? See docs/noninterference.md.
#
#   scripts/noninterference.sh SECONDS [15|16|17|18 ...] [--planted]     (default: 18)
#
# --planted: installs a test build with leaks on purpose, opens one after the other, and ends with 0
# when each was found; then installs an ordinary debug build again.
# AGENT_POLICY_NONINT_SEED: which worlds and statements (default: others each time).
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"

seconds="${1:?how many seconds?}"; shift
versions=() planted=0
for argument in "$@"; do
    if [ "$argument" = --planted ]; then planted=1; else versions+=("$argument"); fi
done
[ "${#versions[@]}" -gt 0 ] || versions=(18)
for n in "${versions[@]}"; do require_version "$n"; done
if [ -w /dev/shm ]; then export TMPDIR="${TMPDIR:-/dev/shm}"; fi
export AGENT_POLICY_NONINT_SEED="${AGENT_POLICY_NONINT_SEED:-$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')}"
export AGENT_POLICY_NONINT_SECONDS="$seconds"

hunt() { # version
    env AGENT_POLICY_PG="$1" cargo test --package cluster-tests --locked --test noninterference -- --nocapture
}

if [ "$planted" = 0 ]; then
    for n in "${versions[@]}"; do scripts/install.sh "$n"; done
    for n in "${versions[@]}"; do hunt "$n"; done
    exit 0
fi

for n in "${versions[@]}"; do
    install_test_build "$n" --planted
    for leak in predicate error estimate; do
        export AGENT_POLICY_NONINT_LEAK="$leak"
        say "pg$n, planted leak: $leak"
        hunt "$n"
    done
done

#!/usr/bin/env bash
# Switches off one layer of the enforcement at a time and runs every attack: which of them get raw
# data then? Compares with tests/attacks/ablation.txt and prints a table; docs/layers.md explains.
#
#   scripts/ablation.sh [15|16|17|18 ...] [--layer NAME ...]     (default: 15 and 18, every layer)
#
# Installs a test build that can do so, and an ordinary debug build again when it is done. It ends
# with 0 when the table is as listed. AGENT_POLICY_ATTACKS: where a second corpus of attacks is.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"

versions=() layers=()
while [ "$#" -gt 0 ]; do
    case "$1" in
        15|16|17|18) versions+=("$1"); shift ;;
        --layer) layers+=("${2:?--layer needs a name}"); shift 2 ;;
        *) sed -n '2,9s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
    esac
done
[ "${#versions[@]}" -gt 0 ] || versions=(15 18)

for n in "${versions[@]}"; do
    install_test_build "$n" --ablation
done
env AGENT_POLICY_PG="${versions[*]}" AGENT_POLICY_ABLATION="${layers[*]:-all}" \
    cargo test --package cluster-tests --locked --test attacks

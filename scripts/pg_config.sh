#!/usr/bin/env bash
# Prints the path of pg_config for one PostgreSQL major version: pg_config.sh 15|16|17|18
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

require_version "${1:-}"
find_pg_config "$1" || die "PostgreSQL $1 is not installed; run: scripts/setup.sh pg $1"

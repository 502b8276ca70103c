#!/usr/bin/env bash
# Lays the classifier beside Microsoft Presidio's pattern recognizers, on the labelled set.
#
#   scripts/compare-presidio.sh [VERSION]    presidio-analyzer of PyPI, 2.2.366 unless told
#
# Presidio goes into a virtual environment in the cache directory; no language model is fetched.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

case "${1:-}" in -h | --help) sed -n '2,6s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;; esac
version="${1:-2.2.366}"
need_cargo
command -v python3 >/dev/null || die "python3 is needed"

cd "$ROOT"
place="${PRESIDIO_VENV:-$CACHE/presidio-$version}"
if ! [ -x "$place/bin/python" ] || ! "$place/bin/python" -c 'import presidio_analyzer' 2>/dev/null; then
    say "installing presidio-analyzer $version"
    python3 -m venv "$place"
    "$place/bin/pip" install --quiet "presidio-analyzer==$version"
fi
set_of="$(mktemp)"
trap 'rm -f "$set_of"' EXIT
cargo run --quiet --package policy --example labelled >"$set_of"
"$place/bin/python" scripts/compare-presidio.py "$set_of"

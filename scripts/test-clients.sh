#!/usr/bin/env bash
# Installs real clients (pip, npm and apt; versions pinned; in the cache) and runs them as a confined
# role against clusters with the extension: tests/clients/run.py says how they are judged.
#
#   scripts/test-clients.sh [15|16|17|18 …] [CLIENT …]      default: 18 and 15, every client
#
# Needs Python 3.12 or newer, Node.js and a JDK. The last line is `N passed, N failed`.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"

VERSIONS=() CLIENTS=()
while [ "$#" -gt 0 ]; do
    case "$1" in
        -h|--help)   sed -n '2,7s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
        15|16|17|18) VERSIONS+=("$1") ;;
        *)           CLIENTS+=("$1") ;;
    esac
    shift
done
[ "${#VERSIONS[@]}" -gt 0 ] || VERSIONS=(18 15)

PLACE="$CACHE/clients"
PINNED="$ROOT/tests/clients/requirements"
mkdir -p "$PLACE"
NICE=()
command -v nice >/dev/null && NICE=(nice -n 10)

# The newest Python from 3.12 on: postgres-mcp asks for it.
python() {
    local p
    for p in python3.13 python3.12 python3 "$HOME"/.pyenv/versions/3.1[23]*/bin/python3; do
        if command -v "$p" >/dev/null \
            && "$p" -c 'import sys, venv; sys.exit(not (3, 12) <= sys.version_info < (3, 14))' 2>/dev/null; then
            command -v "$p"
            return 0
        fi
    done
    return 1
}

# current DIR FILE...: was DIR made for these files, as they are now?
current() {
    local dir="$1"
    shift
    [ "$(cat "$dir/.made-for" 2>/dev/null)" = "$(cat "$@" | sha256sum)" ]
}
made() {
    local dir="$1"
    shift
    cat "$@" | sha256sum >"$dir/.made-for"
}

venv() { # name
    local dir="$PLACE/$1" list="$PINNED/$1.txt"
    current "$dir" "$list" && return 0
    say "clients: Python packages of $list"
    rm -rf "$dir"
    "$PYTHON" -m venv "$dir"
    "${NICE[@]}" "$dir/bin/pip" install --quiet --disable-pip-version-check -r "$list"
    if [ "$1" = mcp ]; then
        # It pins a release of pglast that PyPI does not have any more; the list has its successor.
        "$dir/bin/pip" install --quiet --disable-pip-version-check --no-deps postgres-mcp==0.3.0
    fi
    made "$dir" "$list"
}

node_packages() {
    current "$PLACE/node" "$PINNED/package-lock.json" && return 0
    command -v npm >/dev/null || die "no npm in PATH; install Node.js 18 or newer"
    say "clients: Node packages of $PINNED/package-lock.json"
    rm -rf "$PLACE/node"
    mkdir -p "$PLACE/node"
    cp "$PINNED/package.json" "$PINNED/package-lock.json" "$PLACE/node/"
    (cd "$PLACE/node" && "${NICE[@]}" npm ci --silent --no-audit --no-fund >&2)
    made "$PLACE/node" "$PINNED/package-lock.json"
}

jdbc() {
    local source="$ROOT/tests/clients/Jdbc.java" dir="$PLACE/jdbc"
    current "$dir" "$source" && return 0
    command -v javac >/dev/null || die "no javac in PATH; install a JDK (Debian: default-jdk-headless)"
    mkdir -p "$dir"
    if [ ! -e "$dir/postgresql.jar" ]; then
        say "clients: pgjdbc of Debian's libpostgresql-jdbc-java"
        (cd "$dir" && apt-get -qq download libpostgresql-jdbc-java >&2 && dpkg -x libpostgresql-jdbc-java_*.deb .)
        cp "$dir/usr/share/java/postgresql.jar" "$dir/postgresql.jar"
    fi
    javac -cp "$dir/postgresql.jar" -d "$dir/classes" "$source"
    made "$dir" "$source"
}

PYTHON="$(python)" || die "no Python 3.12 or 3.13 found"
for name in py dbt mcp; do venv "$name"; done
node_packages
jdbc

ARGUMENTS=()
for n in "${VERSIONS[@]}"; do
    scripts/install.sh "$n"
    ARGUMENTS+=(--pg-config "$(scripts/pg_config.sh "$n")")
done
exec "${NICE[@]}" "$PYTHON" tests/clients/run.py --cache "$PLACE" "${ARGUMENTS[@]}" "${CLIENTS[@]}"

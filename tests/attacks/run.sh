#!/usr/bin/env bash
# Runs the shared attack corpus against a cluster of its own, with the policy of policy.sql.
#
#   tests/attacks/run.sh BINDIR [--contrib] [--overgrant] [--dos] [--rowcanary] [--only REGEX] [--keep]
#
# BINDIR: the bin directory of a PostgreSQL that has the extension installed. Two passes: "plain"
# (the same cluster before there is a policy: only syntax errors fail) and "judge". One summary
# line at the end; its full output is in $OUT (default: the cluster's directory). CORPUS: where
# the corpus is (default: beside the project, in shared/attacks). Ends with 0 when no attack got through.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
corpus="${CORPUS:-$(dirname "$0")/../../../shared/attacks}"
bin="${1:?which PostgreSQL? the directory of its binaries}"; shift
contrib=0 overgrant=0 keep=0 plain=1 args=()
while [ "$#" -gt 0 ]; do
    case "$1" in
        --contrib) contrib=1; args+=(--contrib) ;;
        --overgrant) overgrant=1; args+=(--overgrant) ;;
        --dos|--rowcanary) args+=("$1") ;;
        --only) args+=(--only "$2"); shift ;;
        --no-plain) plain=0 ;;
        --keep) keep=1 ;;
        *) echo "unknown argument '$1'" >&2; exit 2 ;;
    esac
    shift
done

version="$("$bin/postgres" -V | sed -E 's/.* ([0-9]+).*/\1/')"
work="$(mktemp -d "${TMPDIR:-/tmp}/ap-attacks-$version-XXXXXX")"
out="${OUT:-$work}"
port="${PGPORT:-$((56000 + version))}"
as=()
if [ "$(id -u)" = 0 ]; then
    chown postgres "$work"
    as=(runuser -u postgres --)
fi
stop() {
    if [ "$keep" = 0 ]; then
        (cd / && "${as[@]}" "$bin/pg_ctl" -s -D "$work/data" -m immediate stop) >/dev/null 2>&1 || true
        if [ "$out" != "$work" ]; then rm -rf "$work"; fi
    else
        echo "cluster: $work, port $port" >&2
    fi
}
trap stop EXIT

cd "$work"
"${as[@]}" "$bin/initdb" -D data -A trust -U postgres --no-sync -E UTF8 --locale=C >initdb.log
cat >>data/postgresql.conf <<CONF
shared_preload_libraries = 'agent_policy'
listen_addresses = ''
unix_socket_directories = '$work'
port = $port
fsync = off
log_min_messages = warning
CONF
"${as[@]}" "$bin/pg_ctl" -s -w -D "$work/data" -l "$work/server.log" start
export PGHOST="$work" PGPORT="$port" PGUSER=postgres
psql() { "$bin/psql" -X -q "$@"; }
prepare() {
    psql -d corpus -v ON_ERROR_STOP=1 -f "$corpus/00_setup.sql" >/dev/null
    if [ "$contrib" = 1 ]; then psql -d corpus -f "$corpus/01_optional_contrib.sql" >/dev/null; fi
}
runner() { python3 "$corpus/tools/run_corpus.py" --host "$work" --port "$port" "$@" "${args[@]}"; }

psql -d postgres -c 'CREATE DATABASE corpus' -c "ALTER DATABASE corpus SET timezone = 'UTC'"
prepare
if [ "$plain" = 1 ]; then
    if [ "$overgrant" = 1 ]; then psql -d corpus -f "$corpus/02_overgrant.sql"; fi
    runner --plain >"$out/plain.txt" 2>&1 || true
    # The attacks have left their marks: a fresh database and fresh roles.
    psql -d postgres -c 'DROP DATABASE corpus WITH (FORCE)' -c 'CREATE DATABASE corpus' \
        -c "ALTER DATABASE corpus SET timezone = 'UTC'"
    for role in agent_child pool_login agent_bot hr_reader human_dba app_owner hr_owner; do
        psql -d postgres -c "DROP OWNED BY $role CASCADE" -c "DROP ROLE $role" >/dev/null 2>&1 || true
    done
    prepare
fi
psql -d corpus -f "$here/policy.sql" >/dev/null
if [ "$overgrant" = 1 ]; then psql -d corpus -f "$corpus/02_overgrant.sql"; fi
status=0
runner --judge >"$out/judge.txt" 2>&1 || status=$?
crashes="$(grep -cE 'terminated by signal|PANIC|TRAP:' "$work/server.log" || true)"
internal="$(grep -cE 'ERR XX' "$out/judge.txt" || true)"
count() { grep -cE "$1" "$out/judge.txt" || true; }
printf 'pg%s attacks: run %s, passed %s, failed %s (leaks %s, benign %s), skipped %s; crashes %s, XX errors %s; plain: %s\n' \
    "$version" "$(count '^(PASS|FAIL) ')" "$(count '^PASS ')" "$(count '^FAIL ')" "$(count '^FAIL .*LEAK:')" \
    "$(count '^FAIL +OK-')" "$(count '^SKIP ')" "$crashes" "$internal" \
    "$(if [ "$plain" = 1 ]; then tail -n1 "$out/plain.txt"; else echo "not run"; fi)"
grep -E "^FAIL " "$out/judge.txt" | cut -c1-200 | head -n 40 || true
if [ "$crashes" != 0 ]; then status=1; fi
exit "$status"

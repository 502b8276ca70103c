#!/usr/bin/env bash
# PostgreSQL's own regression suite (the parallel schedule) on a server that preloads agent_policy,
# in a database with the extension, masks and filters, while another role is protected: nobody else
# notices anything.
#
#   scripts/installcheck-core.sh [15|17|18 …]      default: all three
#
# Server and suite are built from the same source, in the cache (scripts/setup.sh core). Debian has
# no source of 16; with one unpacked at $AGENT_POLICY_CACHE/src/16, 16 can be named, too.
#
# When tests fail, the suite runs again without the extension. One that fails there in the same way,
# byte by byte, is the environment's and listed as such; any other counts as failed.
# The last line is `N passed, N failed`.
set -uo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=scripts/cluster.sh
. "$ROOT/scripts/cluster.sh"
cd "$ROOT" || exit 1

VERSIONS=()
for argument in "$@"; do
    case "$argument" in
        -h|--help) sed -n '2,13s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
        *) require_version "$argument"; VERSIONS+=("$argument") ;;
    esac
done
[ "${#VERSIONS[@]}" -gt 0 ] || VERSIONS=(15 17 18)

WORK="$(mktemp -d "${TMPDIR:-/tmp}/agent_policy_core.XXXXXX")"
chmod 755 "$WORK"
RUNNING=""
finish() {
    if [ -n "$RUNNING" ]; then stop_server "$RUNNING/pgdata" "$RUN_USER" "$CORE/bin"; fi
    [ -n "${KEEP:-}" ] || rm -rf "$WORK"
}
trap finish EXIT
trap 'exit 130' INT TERM

# suite NAME yes|no: runs the suite, with or without the extension, below $WORK/NAME.
suite() {
    local dir="$WORK/$1" extension="$2" part
    mkdir -p "$dir"
    for part in sql expected data parallel_schedule resultmap; do
        [ ! -e "$CORE/regress/$part" ] || ln -s "$CORE/regress/$part" "$dir/$part"
    done
    if is_root; then chown -R "$RUN_USER" "$dir"; fi
    as_server "$CORE/bin/initdb" --no-sync --no-locale -E UTF8 -A trust -U postgres -D "$dir/pgdata" >"$dir/initdb.log" 2>&1 \
        || { tail "$dir/initdb.log" >&2; return 1; }
    # What pg_regress writes for a server of its own.
    as_server tee -a "$dir/pgdata/postgresql.conf" >/dev/null <<CONF
listen_addresses = ''
unix_socket_directories = '$dir'
max_prepared_transactions = 2
fsync = off
log_line_prefix = '%m %b[%p] %q%a '
CONF
    if [ "$extension" = yes ]; then
        echo "shared_preload_libraries = 'agent_policy'" | as_server tee -a "$dir/pgdata/postgresql.conf" >/dev/null
    fi
    as_server "$CORE/bin/pg_ctl" -D "$dir/pgdata" -l "$dir/log" -w start >/dev/null || { tail "$dir/log" >&2; return 1; }
    RUNNING="$dir"
    # The database as pg_regress would make it.
    local psql=(as_server "$CORE/bin/psql" -XqAt -v ON_ERROR_STOP=1 -h "$dir" -U postgres)
    "${psql[@]}" -d postgres -c "CREATE DATABASE regression TEMPLATE = template0" || return 1
    for part in "lc_messages TO 'C'" "lc_monetary TO 'C'" "lc_numeric TO 'C'" "lc_time TO 'C'" \
                "bytea_output TO 'hex'" "timezone_abbreviations TO 'Default'"; do
        "${psql[@]}" -d postgres -c "ALTER DATABASE regression SET $part" || return 1
    done
    if [ "$extension" = yes ]; then
        "${psql[@]}" -d regression >/dev/null <<'SQL' || return 1
CREATE EXTENSION agent_policy;
CREATE ROLE core_agent LOGIN;
CREATE SCHEMA core_shop;
CREATE TABLE core_shop.customers (id int PRIMARY KEY, email text, region text);
INSERT INTO core_shop.customers SELECT i, 'c' || i || '@example.com', 'north' FROM generate_series(1, 100) i;
GRANT USAGE ON SCHEMA core_shop TO core_agent;
GRANT SELECT ON core_shop.customers TO core_agent;
SELECT agent_policy.protect_role('core_agent');
SELECT agent_policy.allow_schema('core_agent', 'public'), agent_policy.allow_schema('core_agent', 'core_shop');
SELECT agent_policy.mask_column('core_shop.customers', 'email', 'email');
SELECT agent_policy.filter_rows('core_shop.customers', 'region = ''north''');
SQL
    fi
    regress "$dir" --schedule="$dir/parallel_schedule" >"$dir/output" 2>&1
    if [ "$extension" = yes ]; then
        # It lists every SECURITY DEFINER function of the database, and there must be none: it gets a
        # database without the extension's.
        if ended failed "$dir/output" | grep -qx opr_sanity; then
            "${psql[@]}" -d postgres -c "ALTER DATABASE regression RENAME TO regression_extension" \
                -c "CREATE DATABASE regression TEMPLATE = template0" || return 1
            mkdir "$dir/alone"
            ln -s "$CORE/regress/sql" "$CORE/regress/expected" "$CORE/regress/data" "$dir/alone/"
            if is_root; then chown "$RUN_USER" "$dir/alone"; fi
            regress "$dir/alone" test_setup opr_sanity >"$dir/output.alone" 2>&1
            "${psql[@]}" -d postgres -c "DROP DATABASE regression" \
                -c "ALTER DATABASE regression_extension RENAME TO regression" || return 1
            if ended ok "$dir/output.alone" | grep -qx opr_sanity; then
                sed -i -E '/(test|    ) ?opr_sanity +\.\.\. FAILED/s/FAILED/ok /; s/^not (ok [0-9]+ +[-+] opr_sanity )/\1/' "$dir/output"
            fi
        fi
        # The suite has not switched the policy off: the agent is confined to its last day.
        local seen
        seen="$(as_server env PGOPTIONS='-c agent_policy.user_email=a@example.com' "$CORE/bin/psql" -XqAt -h "$dir" \
            -U core_agent -d regression -c 'SELECT DISTINCT email FROM core_shop.customers')"
        [ "$seen" = 'c***@example.com' ] || { warn "after the suite the agent sees: $seen"; CONFINED=no; }
    fi
    stop_server "$dir/pgdata" "$RUN_USER" "$CORE/bin"
    RUNNING=""
    if grep -q 'was terminated by signal' "$dir/log"; then
        grep 'was terminated by signal' "$dir/log" >&2
        CRASHED=yes
    fi
}

# regress DIRECTORY ARGUMENT...: pg_regress with what is in the directory, against the server below
# $RUNNING.
regress() {
    local dir="$1"
    shift
    (cd "$dir" && as_server env -C "$dir" LC_ALL=C "${NICE[@]}" "$CORE/regress/pg_regress" \
        --inputdir=. --outputdir=. --bindir="$CORE/bin" --dlpath="$CORE/regress" --host="$RUNNING" \
        --user=postgres --use-existing "$@") </dev/null
}

# The names of tests, by how they ended (15 prints "test name ... ok", 16 and later TAP).
ended() { # ok|failed, output
    case "$1" in
        ok) sed -nE -e 's/^(test|    ) ?([A-Za-z0-9_.]+) +\.\.\. ok .*/\2/p' \
                    -e 's/^ok [0-9]+ +[-+] ([A-Za-z0-9_.]+) .*/\1/p' "$2" ;;
        *)  sed -nE -e 's/^(test|    ) ?([A-Za-z0-9_.]+) +\.\.\. FAILED.*/\2/p' \
                    -e 's/^not ok [0-9]+ +[-+] ([A-Za-z0-9_.]+) .*/\1/p' "$2" ;;
    esac
}

PASSED=0 FAILED=0 TABLE=()

check() { # version
    local n="$1" start=$SECONDS name note="" environment=() wrong=() passed
    CORE="$CACHE/core/$n" CONFINED=yes CRASHED=no
    [ -x "$CORE/regress/pg_regress" ] || scripts/setup.sh core "$n" || { FAILED=$((FAILED + 1)); TABLE+=("$n: not built"); return; }
    # Built for the installation that the other tests use; a library fits its whole major version.
    scripts/build.sh "$n" >/dev/null \
        && scripts/install.sh --pg-config "$CORE/bin/pg_config" --no-build \
        || { FAILED=$((FAILED + 1)); TABLE+=("$n: the extension is not built"); return; }
    say "PostgreSQL $("$CORE/bin/postgres" --version | sed 's/.* //'): regression suite with the extension"
    suite "$n" yes || { FAILED=$((FAILED + 1)); TABLE+=("$n: no run"); return; }
    passed="$(ended ok "$WORK/$n/output" | wc -l)"
    local failures
    mapfile -t failures < <(ended failed "$WORK/$n/output")
    if [ "${#failures[@]}" -gt 0 ]; then
        say "failed: ${failures[*]}; the control run without the extension"
        suite "$n.control" no || warn "the control run failed"
        for name in "${failures[@]}"; do
            if cmp -s "$WORK/$n/results/$name.out" "$WORK/$n.control/results/$name.out"; then
                environment+=("$name")
            else
                wrong+=("$name")
                diff -u "$WORK/$n.control/results/$name.out" "$WORK/$n/results/$name.out" | head -n 60
            fi
        done
    fi
    if [ "$passed" -lt 150 ]; then wrong+=("only $passed tests ran"); tail -n 20 "$WORK/$n/output" >&2; fi
    [ "$CONFINED" = yes ] || wrong+=("the agent is not confined any more")
    [ "$CRASHED" = no ] || wrong+=("a server process crashed")
    [ "${#environment[@]}" -eq 0 ] || note="; the same without the extension: ${environment[*]}"
    [ "${#wrong[@]}" -eq 0 ] || note="$note; FAILED: ${wrong[*]}"
    PASSED=$((PASSED + passed)) FAILED=$((FAILED + ${#wrong[@]}))
    TABLE+=("PostgreSQL $("$CORE/bin/postgres" --version | sed 's/.* //'): $passed passed, ${#wrong[@]} failed, $((SECONDS - start)) s$note")
}

NICE=()
command -v nice >/dev/null && NICE=(nice -n 10)
for n in "${VERSIONS[@]}"; do check "$n"; done
printf '\n'
printf '%s\n' "${TABLE[@]}"
printf '\n%s passed, %s failed\n' "$PASSED" "$FAILED"
[ "$FAILED" -eq 0 ]

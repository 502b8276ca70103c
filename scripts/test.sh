#!/usr/bin/env bash
# Runs the test suites and sums up their counts.
#
#   scripts/test.sh all                  everything below but sqlsmith by itself; some of it on 15 and 18
#                                        only, or on each version with EVERY_VERSION=1
#   scripts/test.sh lint                 format, clippy, cargo deny, committed schema
#   scripts/test.sh unit                 tests that need no PostgreSQL
#   scripts/test.sh pg [15|16|17|18 …]   #[pg_test]s inside a server
#   scripts/test.sh cluster [15|… ] [--no-install] [--pg-config PATH]
#                                        tests against real clusters
#   scripts/test.sh cassert              a part of them against a server with assertions
#   scripts/test.sh sqlsmith [15|… ]     random statements, for $SQLSMITH_SECONDS
#
# Every suite runs, also after a failure of another one. The last line is
# `N passed, N failed`. A step of lint counts only when it fails, as 1 failed; so
# does a suite that does not compile, ends early or contains no test at all.
set -uo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT" || exit 1

export CARGO_TERM_COLOR=never CARGO_TERM_PROGRESS_WHEN=never NO_COLOR=1 TERM=dumb
SUITE_TIMEOUT="${SUITE_TIMEOUT:-3600}"   # seconds
LOGS="$(mktemp -d)"
# Clusters that live for a test are made in memory where there is enough: making and dropping
# hundreds of databases is most of what a disk would do here.
CLUSTER_TMP="${TMPDIR:-/tmp}"
if [ -w /dev/shm ] && [ "$(df -Pk /dev/shm | awk 'NR == 2 { print $4 }')" -gt 8000000 ]; then
    CLUSTER_TMP=/dev/shm
fi
trap 'rm -rf "$LOGS"' EXIT

PASSED=0 FAILED=0
TABLE=() FAILURES=()

strip_ansi() { sed -u -E 's/\x1b\[[0-9;]*[A-Za-z]//g'; }

# Reads a log, prints "passed failed ignored reports".
count() {
    awk '
        # cargo test:    test result: ok. 3 passed; 0 failed; 1 ignored; ...
        /^test result: (ok|FAILED)\. [0-9]+ passed; [0-9]+ failed; [0-9]+ ignored/ {
            p += $4; f += $6; i += $8; n++
        }
        # cargo nextest: Summary [ 1.2s] 10 tests run: 9 passed (1 slow), 1 failed, 2 skipped
        /^ *Summary \[[^]]*\] .* tests? run: / {
            sub(/.* tests? run: /, ""); gsub(/\([^)]*\)/, ""); n++
            c = split($0, a, /, */)
            for (k = 1; k <= c; k++) {
                split(a[k], w, " ")
                if (w[2] == "passed") p += w[1]
                else if (w[2] == "skipped") i += w[1]
                else f += w[1]
            }
        }
        END { printf "%d %d %d %d\n", p, f, i, n }' "$1"
}

record() { # name passed failed ignored seconds note
    PASSED=$((PASSED + $2)) FAILED=$((FAILED + $3))
    TABLE+=("$(printf '%-28s %6d passed %4d failed %4d ignored %6ds  %s' "$1" "$2" "$3" "$4" "$5" "$6")")
}

run() { # name command...: prints and keeps the output, sets RUN_RC, RUN_LOG, RUN_SECONDS
    local name="$1" start=$SECONDS
    shift
    RUN_LOG="$LOGS/${name//[^A-Za-z0-9]/_}.log"
    say "$name: $*"
    timeout -k 30 "$SUITE_TIMEOUT" "$@" </dev/null 2>&1 | strip_ansi | tee "$RUN_LOG"
    RUN_RC="${PIPESTATUS[0]}"
    RUN_SECONDS=$((SECONDS - start))
    if [ "$RUN_RC" -eq 124 ] || [ "$RUN_RC" -eq 137 ]; then warn "$name: no end after $SUITE_TIMEOUT seconds"; fi
}

step() { # a step without counts of its own
    run "$@"
    if [ "$RUN_RC" -eq 0 ]; then
        TABLE+=("$(printf '%-28s     ok %43ds' "$1" "$RUN_SECONDS")")
    else
        record "$1" 0 1 0 "$RUN_SECONDS" "exit status $RUN_RC"
        failures "$1"
    fi
    return "$RUN_RC"
}

suite() { # a test runner, whose counts are parsed
    local p f i n note=""
    run "$@"
    read -r p f i n < <(count "$RUN_LOG")
    if [ "$RUN_RC" -ne 0 ] && [ "$f" -eq 0 ]; then
        f=1 note="exit status $RUN_RC"
    elif [ "$n" -eq 0 ] || [ $((p + f)) -eq 0 ]; then
        f=1 note="no test ran"
    fi
    record "$1" "$p" "$f" "$i" "$RUN_SECONDS" "$note"
    if [ "$f" -ne 0 ]; then failures "$1"; fi
    [ "$f" -eq 0 ]
}

# Keeps what a suite said of its failures, for the end: the list that the runner closes with, in which
# each failed test stands with its message.
failures() { # name
    local said
    said="$(awk '/^failures:$/ { on = 1 } /^test result: / { on = 0 } on' "$RUN_LOG" | cut -c1-600 | head -n 60)"
    [ -n "$said" ] || said="$(tail -n 15 "$RUN_LOG" | cut -c1-600)"
    FAILURES+=("--- $1"$'\n'"$said")
}

fail() { # name message: a suite that cannot start
    warn "$1: $2"
    record "$1" 0 1 0 0 "$2"
}

# --- two things at a time ----------------------------------------------------

# A compiler's front end has one thread, and many a test waits: one after the other they leave much of
# two processors idle.

ASIDE=()

aside() { # name function arguments...: runs it beside what follows; `together` prints and counts it
    local name="${1//[^A-Za-z0-9]/_}"
    say "$1: begins, beside what follows"
    shift
    (
        trap - EXIT
        PASSED=0 FAILED=0 TABLE=() FAILURES=() ASIDE=()
        "$@"
        ASIDE_PASSED=$PASSED ASIDE_FAILED=$FAILED
        ASIDE_TABLE=("${TABLE[@]}") ASIDE_FAILURES=("${FAILURES[@]}")
        declare -p ASIDE_PASSED ASIDE_FAILED ASIDE_TABLE ASIDE_FAILURES >"$LOGS/$name.report"
    ) >"$LOGS/$name.aside" 2>&1 </dev/null &
    ASIDE+=("$name:$!")
}

together() { # waits for all that runs aside
    local each
    for each in "${ASIDE[@]}"; do
        wait "${each#*:}"
        cat "$LOGS/${each%%:*}.aside"
        add "${each%%:*}"
    done
    ASIDE=()
}

add() { # name: the counts of what ran aside
    local ASIDE_PASSED=0 ASIDE_FAILED=0 ASIDE_TABLE=() ASIDE_FAILURES=()
    if [ ! -s "$LOGS/$1.report" ]; then
        record "$1" 0 1 0 0 "ended early"
        return
    fi
    # shellcheck disable=SC1090
    . "$LOGS/$1.report"
    PASSED=$((PASSED + ASIDE_PASSED)) FAILED=$((FAILED + ASIDE_FAILED))
    TABLE+=("${ASIDE_TABLE[@]}") FAILURES+=("${ASIDE_FAILURES[@]}")
}

# --- suites ------------------------------------------------------------------

lint() {
    step "fmt" cargo fmt --all --check
    step "clippy crates" cargo clippy --workspace --exclude agent_policy --all-targets --locked -- -D warnings
    local n
    for n in "${VERSIONS[@]}"; do
        if ! (use_pg "$n") >/dev/null 2>&1; then fail "clippy pg$n" "PostgreSQL $n is not installed"; continue; fi
        use_pg "$n"
        step "clippy pg$n" cargo clippy --package agent_policy --all-targets --locked \
            --no-default-features --features "pg$n pg_test" -- -D warnings
        # As it is shipped; what differs between versions is seen with the tests.
        if [ "$n" = 18 ]; then
            step "clippy without tests" cargo clippy --package agent_policy --lib --locked -- -D warnings
        fi
    done
    deny
    if cargo pgrx --version >/dev/null 2>&1; then
        step "schema" scripts/schema.sh --check
    else
        fail "schema" "cargo-pgrx is not installed"
    fi
}

deny() {
    if ! cargo deny --version >/dev/null 2>&1; then
        fail "deny" "cargo-deny is not installed (scripts/setup.sh cargo-deny)"
        return
    fi
    step "deny" cargo deny --log-level warn check bans licenses sources
    # The advisory database comes from the network.
    if timeout 120 cargo deny fetch db >/dev/null 2>&1 </dev/null; then
        step "deny advisories" cargo deny --log-level warn check --disable-fetch advisories
    else
        warn "the advisory database cannot be fetched, advisories are not checked"
        TABLE+=("$(printf '%-28s skipped, database not reachable' "deny advisories")")
    fi
}

unit() {
    suite "unit" cargo test --workspace --exclude agent_policy --exclude cluster-tests --no-fail-fast --locked
}

# Prints why the server's programs cannot be run by user postgres, if so.
unreachable() {
    local bindir libdir
    bindir="$("$PG_CONFIG" --bindir)" libdir="$("$PG_CONFIG" --pkglibdir)"
    if is_root; then
        command -v sudo >/dev/null || { echo "sudo is not installed (scripts/setup.sh packages)"; return; }
        id postgres >/dev/null 2>&1 || { echo "there is no user postgres (scripts/setup.sh pg 15)"; return; }
        (cd / && sudo -n -u postgres test -x "$bindir/postgres" -a -r "$libdir") \
            || echo "user postgres cannot reach $bindir or $libdir; set AGENT_POLICY_CACHE to a place it can read"
    else
        [ -w "$libdir" ] || echo "no permission to install into $libdir"
    fi
}

pg() {
    local n args why
    if ! cargo pgrx --version >/dev/null 2>&1; then
        for n in "${VERSIONS[@]}"; do fail "pg_test pg$n" "cargo-pgrx is not installed"; done
        return
    fi
    for n in "${VERSIONS[@]}"; do
        if ! (use_pg "$n") >/dev/null 2>&1; then fail "pg_test pg$n" "PostgreSQL $n is not installed"; continue; fi
        use_pg "$n"
        why="$(unreachable)"
        if [ -n "$why" ]; then fail "pg_test pg$n" "$why"; continue; fi
        # The data directory and, in it, the socket; the path must stay short.
        local data="${AGENT_POLICY_PGDATA:-$CACHE/pgdata}"
        mkdir -p "$data"
        args=("pg$n" --package agent_policy --no-default-features --pgdata "$data")
        if is_root; then
            # PostgreSQL refuses to run as root
            chown postgres "$data"
            args+=(--runas postgres)
        fi
        if suite "pg_test pg$n" env USER="$(id -un)" cargo pgrx test "${args[@]}"; then
            cp "$("$PG_CONFIG" --pkglibdir)/agent_policy.so" "$LOGS/pg$n.so"
        fi
    done
}

# Sets LIBRARY to the arguments with which scripts/install.sh takes what was built for the tests inside a
# server: with those in it, which no SQL declares.
library() { # version
    LIBRARY=()
    if [ -e "$LOGS/pg$1.so" ]; then LIBRARY=(--library "$LOGS/pg$1.so"); fi
}

cluster() {
    local n why
    local -a targets=("${VERSIONS[@]}")
    if [ -n "$GIVEN_PG_CONFIG" ]; then targets=("$GIVEN_PG_CONFIG"); fi
    for n in "${targets[@]}"; do
        if ! (use_pg "$n") >/dev/null 2>&1; then fail "cluster $n" "PostgreSQL $n is not installed"; continue; fi
        use_pg "$n"
        why="$(unreachable)"
        if [ -n "$why" ]; then fail "cluster pg$PG_N" "$why"; continue; fi
        # pg_test leaves SQL with the tests in it.
        if [ "$INSTALL" = 1 ]; then
            library "$PG_N"
            step "install pg$PG_N" scripts/install.sh --pg-config "$PG_CONFIG" "${LIBRARY[@]}" || continue
        fi
        # The contract, the project's own attacks and those below SQL on every version. On the oldest
        # and the newest only, or on each with EVERY_VERSION=1: workloads, sqlsmith, the corpus that is
        # kept beside the project, and the chapters on hard input, which are long and about our code.
        local -a others=(--lib) skip=()
        case "$PG_N:${EVERY_VERSION:-0}" in
            15:*|18:*|*:1) mapfile -t -O 1 others < <(other_tests) ;;
            *) others+=(--test attacks --test wire) skip=(--skip c12_ --skip c21_ --skip shared:: --skip w10_) ;;
        esac
        if ! cargo test --package cluster-tests --locked --no-run --quiet </dev/null; then
            fail "cluster pg$PG_N" "the tests do not compile"
            continue
        fi
        aside "others pg$PG_N" on_cluster "others pg$PG_N" 3 "${others[@]}" -- "${skip[@]}"
        on_cluster "contract pg$PG_N" 4 --test contract -- "${skip[@]}"
        together
    done
}

# Every test binary but the contract's, which takes as long as the others together.
other_tests() {
    local each
    for each in tests/tests/*; do
        each="$(basename "$each" .rs)"
        if [ "$each" != contract ]; then printf '%s\n' --test "$each"; fi
    done
}

on_cluster() { # name threads which tests... -- arguments of the tests...: of $PG_CONFIG
    local name="$1" threads="$2"
    local -a which=()
    shift 2
    while [ "$1" != -- ]; do which+=("$1"); shift; done
    shift
    suite "$name" env "TMPDIR=$CLUSTER_TMP" AGENT_POLICY_PG="$PG_N" "PG_CONFIG_$PG_N=$PG_CONFIG" \
        cargo test --package cluster-tests --no-fail-fast --locked "${which[@]}" -- --test-threads="$threads" "$@"
}

# The library that was built for PostgreSQL 18, in a server that checks itself: what a hook does wrong
# to memory, locks or trees ends there in an abort, which the tests see as a crash. The chapters that
# meet most of the server's code; c21 has the tests that make use of such a server.
cassert() {
    local pc="$CACHE/pg/18-cassert/bin/pg_config" chapter why
    if [ ! -x "$pc" ]; then scripts/setup.sh cassert || true; fi
    if [ ! -x "$pc" ]; then
        fail "cassert pg18" "no PostgreSQL 18 with assertions (scripts/setup.sh cassert)"
        return
    fi
    if ! (use_pg 18) >/dev/null 2>&1; then fail "cassert pg18" "PostgreSQL 18 is not installed"; return; fi
    use_pg 18
    if [ "$INSTALL" = 1 ]; then
        if [ ! -e "$LOGS/pg18.so" ]; then
            step "build pg18" scripts/build.sh 18 || return
            cp "$(target_dir)/debug/libagent_policy.so" "$LOGS/pg18.so"
        fi
        library 18
        step "install cassert" scripts/install.sh --pg-config "$pc" "${LIBRARY[@]}" || return
    fi
    PG_CONFIG="$pc"
    why="$(unreachable)"
    if [ -n "$why" ]; then fail "cassert pg18" "$why"; return; fi
    aside "cassert sqlsmith" on_cluster "cassert pg18 sqlsmith" 1 --test sqlsmith -- --nocapture
    for chapter in c04 c05 c10 c12 c21; do
        on_cluster "cassert pg18 $chapter" 4 --test contract -- "$chapter"
    done
    together
}

sqlsmith() {
    local n
    command -v sqlsmith >/dev/null || scripts/setup.sh sqlsmith || true
    SUITE_TIMEOUT=$((${SQLSMITH_SECONDS:-30} + 600))
    for n in "${VERSIONS[@]}"; do
        if ! (use_pg "$n") >/dev/null 2>&1; then fail "sqlsmith pg$n" "PostgreSQL $n is not installed"; continue; fi
        use_pg "$n"
        if [ "$INSTALL" = 1 ]; then
            step "install pg$n" scripts/install.sh --pg-config "$PG_CONFIG" || continue
        fi
        on_cluster "sqlsmith pg$n" 1 --test sqlsmith -- --nocapture
    done
}

# --- main --------------------------------------------------------------------

WHAT="${1:-}"
[ "$#" -gt 0 ] && shift
VERSIONS=() INSTALL=1 GIVEN_PG_CONFIG=""
while [ "$#" -gt 0 ]; do
    case "$1" in
        15|16|17|18)  VERSIONS+=("$1") ;;
        --no-install) INSTALL=0 ;;
        --pg-config)  GIVEN_PG_CONFIG="${2:?--pg-config needs a path}"; shift ;;
        *) die "unknown argument '$1'" ;;
    esac
    shift
done
[ "${#VERSIONS[@]}" -gt 0 ] || VERSIONS=("${PG_VERSIONS[@]}")

case "$WHAT" in
    all)
        # Something missing shows in the suite that needs it; the others still run.
        scripts/setup.sh all || warn "the setup is incomplete, going on"
        # The linter's build has a directory of its own, or each would wait for the other's lock.
        CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$ROOT/target}/lint" aside "lint" lint
        unit
        pg
        together
        cluster
        cassert
        ;;
    lint|unit|pg|cluster|cassert|sqlsmith) "$WHAT" ;;
    *) sed -n '2,16s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
esac

printf '\n'
printf '%s\n' "${TABLE[@]}"
printf '\n'
if [ "$FAILED" -ne 0 ]; then
    printf '%s\n' "${FAILURES[@]}"
    printf '\n'
fi
summary="$PASSED passed, $FAILED failed"
if [ -n "${AGENT_POLICY_SUMMARY:-}" ]; then printf '%s\n' "$summary" >"$AGENT_POLICY_SUMMARY"; fi
printf '%s\n' "$summary"
[ "$FAILED" -eq 0 ]

#!/usr/bin/env bash
# A throw-away cluster with a TPC-H warehouse, a policy, and an agent's session played against it.
#
#   scripts/demo.sh              build, start, load, play
#   scripts/demo.sh play         play the session again
#   scripts/demo.sh psql         psql as the administrator (arguments go to psql)
#   scripts/demo.sh psql-agent   psql as the agent, for AGENT_USER (default alice@example.com)
#   scripts/demo.sh clean        stop the cluster and remove it
#
# PG_CONFIG   the PostgreSQL to use; unset: PostgreSQL 18, fetched by scripts/setup.sh
# SCALE       of the TPC-H data, default 0.05 (300 000 line items)
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=scripts/cluster.sh
. "$(dirname "${BASH_SOURCE[0]}")/cluster.sh"

SCALE="${SCALE:-0.05}"
DB=warehouse
ALICE=alice@example.com
BOB=bob@example.com
# Where the cluster is, told to the later commands.
STATE="$ROOT/.demo/state"

if [ -t 1 ]; then B=$'\e[1m' C=$'\e[36m' R=$'\e[0m'; else B='' C='' R=''; fi
START=$SECONDS
step() { printf '\n%s==> [%3d s] %s%s\n' "$B" "$((SECONDS - START))" "$*" "$R"; }

# --- the cluster -----------------------------------------------------------------------------

load_state() {
    # shellcheck disable=SC1090
    if [ -r "$STATE" ]; then . "$STATE"; fi
    [ -n "${BINDIR:-}" ] || die "there is no demonstration here; run: make demo"
}

save_state() { printf '%s=%q\n' PLACE "$PLACE" BINDIR "${BINDIR:-}" RUN_USER "$RUN_USER" >"$STATE"; }

clean() {
    if [ -r "$STATE" ]; then
        # shellcheck disable=SC1090
        . "$STATE"
        stop_server "$PLACE/data" "$RUN_USER" "$BINDIR"
        rm -rf "${PLACE:?}"
    fi
    rm -rf "${ROOT:?}/.demo"
}

install_extension() {
    step "Packages, and PostgreSQL"
    need_cargo
    need_postgresql
    step "Building the extension for $("$CONFIG" --version) (some minutes the first time)"
    scripts/build.sh --pg-config "$CONFIG" --release >/dev/null
    step "Building the TPC-H generator"
    cargo build --release --package tpch
    TPCH="$(target_dir)/release/tpch"
    step "Installing the extension"
    install_below_place
}

start_server() {
    step "Starting a cluster in $PLACE"
    mkdir -p "$PLACE/data" "$PLACE/socket"
    if is_root; then chown "$RUN_USER:" "$PLACE/data" "$PLACE/socket"; fi
    chmod 700 "$PLACE/data" "$PLACE/socket"
    # Whoever gets at the socket is trusted; its directory belongs to the server's user alone.
    as_server "$BINDIR/initdb" -D "$PLACE/data" -U postgres -A trust -E UTF8 --locale=C >"$PLACE/initdb.log" 2>&1 \
        || { cat "$PLACE/initdb.log" >&2; die "initdb failed"; }
    cat >>"$PLACE/data/postgresql.conf" <<EOF
listen_addresses = ''
unix_socket_directories = '$PLACE/socket'
shared_preload_libraries = 'agent_policy'
cluster_name = 'agent_policy demo'
shared_buffers = 128MB
max_wal_size = 2GB
EOF
    save_state
    as_server "$BINDIR/pg_ctl" -D "$PLACE/data" -w -l "$PLACE/data/server.log" start >/dev/null \
        || { tail -n 20 "$PLACE/data/server.log" >&2; die "the server did not start"; }
}

# psql as the administrator; as the agent on behalf of $1.
admin() { "$BINDIR/psql" -X -q -h "$PLACE/socket" -U postgres -d "$DB" "$@"; }
agent() {
    local user="$1"
    shift
    PGOPTIONS="${user:+-c agent_policy.user_email=$user} -c search_path=sales" \
        "$BINDIR/psql" -X -q -h "$PLACE/socket" -U sales_agent -d "$DB" "$@"
}

load_warehouse() {
    step "Loading TPC-H, scale $SCALE"
    DB=postgres admin -v ON_ERROR_STOP=1 -c "CREATE DATABASE $DB"
    admin -v ON_ERROR_STOP=1 -f demo/schema.sql
    { echo 'SET search_path = sales;'; "$TPCH" "$SCALE"; } | admin -v ON_ERROR_STOP=1 | paste -sd ' '
    admin -v ON_ERROR_STOP=1 -c 'VACUUM ANALYZE'
}

set_policy() {
    step "The policy (demo/policy.sql)"
    sed "s/^/    /" demo/policy.sql
    admin -v ON_ERROR_STOP=1 -At -f demo/policy.sql >/dev/null
}

# --- the session -----------------------------------------------------------------------------

heading() { printf '\n%s--- %s%s\n' "$B" "$*" "$R"; }
note() { printf '    %s\n' "$*"; }

# Runs a statement as $1 and shows it with its answer, shortened. An error is part of the play.
show() { # prompt runner...
    local prompt="$1" sql="$2" out
    shift 2
    printf '\n%s%s %s%s\n' "$C" "$prompt" "$sql" "$R"
    out="$("$@" -v VERBOSITY=verbose -v SHOW_CONTEXT=never -P null=NULL -c "$sql" 2>&1 || true)"
    printf '%s\n' "$out" | awk '
        /^LOCATION:/ { next }
        { line[++n] = $0 }
        END {
            for (i = 1; i <= n; i++) {
                if (n > 32 && i == 8) { printf "    ... %d more lines ...\n", n - 9; i = n - 1 }
                if (length(line[i]) > 400) line[i] = substr(line[i], 1, 400) " ..."
                print line[i]
            }
        }'
}
alice() { show 'alice via agent =>' "$1" agent "$ALICE"; }
bob() { show 'bob via agent   =>' "$1" agent "$BOB"; }
nobody_known() { show 'agent alone     =>' "$1" agent ''; }
dba() { local sql="$1"; shift; show 'administrator   #>' "$sql" admin "$@"; }

play() {
    local phone
    step "An agent's session"
    note "The agent logs in as role sales_agent, for one user a connection:"
    note "options='-c agent_policy.user_email=$ALICE'"

    heading "Masks: the same statement, for the administrator and for the agent"
    local customers='SELECT c_custkey, c_name, c_phone, c_address, c_acctbal
  FROM sales.customer WHERE c_nationkey = 7 ORDER BY c_custkey LIMIT 3'
    dba "$customers"
    alice "$customers"

    heading "A mask is what the whole statement works with: WHERE and GROUP BY cannot undo it"
    phone="$(admin -Atc 'SELECT c_phone FROM sales.customer WHERE c_nationkey = 7 ORDER BY c_custkey LIMIT 1')"
    dba "SELECT count(*) FROM sales.customer WHERE c_phone = '$phone'"
    alice "SELECT count(*) FROM customer WHERE c_phone = '$phone'"
    alice "SELECT max(c_acctbal), min(c_acctbal), count(DISTINCT c_acctbal) FROM customer"
    alice "SELECT left(c_phone, 2) AS country_code, count(*) FROM customer GROUP BY 1"
    note "Hashes are stable, so that joins and groups still work:"
    alice "SELECT o_clerk, count(*) FROM orders GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 3"

    heading "Row filters: each user sees the customers of their regions"
    local regions='SELECT r_name, count(*) AS customers FROM customer
  JOIN nation ON n_nationkey = c_nationkey JOIN region ON r_regionkey = n_regionkey GROUP BY 1'
    alice "$regions"
    bob "$regions"
    note "Nobody known to ask for: no answer."
    nobody_known 'SELECT count(*) FROM customer'

    heading "A denial says what would be allowed; the agent's next try passes"
    alice 'SELECT c_custkey, c_mktsegment, c_comment FROM customer ORDER BY 1 LIMIT 2'
    alice 'SELECT c_custkey, c_mktsegment FROM customer ORDER BY 1 LIMIT 2'
    alice 'SELECT ps_supplycost FROM partsupp LIMIT 1'
    alice "SELECT pg_read_file('/etc/passwd')"

    heading "A result that is too large is cut, and says so"
    alice 'SELECT o_orderkey, o_totalprice FROM orders ORDER BY o_totalprice DESC'

    heading "A statement that takes too long is stopped"
    alice "SELECT count(*) FROM lineitem a, lineitem b WHERE a.l_comment < b.l_comment"

    heading "Nothing is written, whatever the words around it"
    alice 'UPDATE customer SET c_acctbal = 0'
    alice 'COMMIT; BEGIN READ WRITE; DELETE FROM orders; COMMIT'
    dba 'SELECT count(*) FROM sales.orders'

    heading "The audit has all of it"
    admin -Atc "SELECT agent_policy.audit_flush('30 s')" >/dev/null
    dba "SELECT split_part(user_email, '@', 1) AS \"user\", verdict, rule, outcome, rows_returned AS rows,
       truncated AS cut, left(regexp_replace(statement, '\\s+', ' ', 'g'), 60) AS statement
  FROM agent_policy.audit_log WHERE nesting_level = 0 ORDER BY seq"
    dba "SELECT started_at, user_email, assurance, role_name, relations, masked_columns, rows_returned, bytes_returned,
       duration_ms, statement
  FROM agent_policy.audit_log WHERE cardinality(masked_columns) > 1 ORDER BY seq DESC LIMIT 1" -x
}

ending() {
    step "Done"
    cat <<EOF
The cluster runs on; look around:

    make psql          as the administrator: the policy, agent_policy.audit_log, agent_policy.health
    make psql-agent    as the agent, for $ALICE; AGENT_USER=$BOB make psql-agent for the other
    scripts/demo.sh play    plays the session again
    make clean-demo    stops the cluster and removes it

A program connects the same way:
    host=$PLACE/socket dbname=$DB user=sales_agent options='-c agent_policy.user_email=$ALICE'
EOF
}

cd "$ROOT"
case "${1:-run}" in
    run)
        clean
        choose_place agent_policy_demo "$ROOT/.demo"
        mkdir -p "$ROOT/.demo"
        # From here on "clean" finds what there is.
        save_state
        install_extension
        start_server
        load_warehouse
        set_policy
        play
        ending ;;
    play)
        load_state
        play ;;
    psql)
        shift
        load_state
        exec "$BINDIR/psql" -X -h "$PLACE/socket" -U postgres -d "$DB" "$@" ;;
    psql-agent)
        shift
        load_state
        PGOPTIONS="-c agent_policy.user_email=${AGENT_USER:-$ALICE} -c search_path=sales" \
            exec "$BINDIR/psql" -X -h "$PLACE/socket" -U sales_agent -d "$DB" "$@" ;;
    clean)
        clean
        say "the demonstration is gone" ;;
    -h|--help) sed -n '2,11s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" ;;
    *) die "unknown command '$1'; see scripts/demo.sh --help" ;;
esac

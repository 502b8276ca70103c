"""psql of the server's own version: every backslash command that reads, and what scripts use."""

import os
import re
import subprocess

from lib import steps
from lib.steps import emit

PSQL = os.path.join(os.environ["CLIENT_BINDIR"], "psql")
VERSION = int(subprocess.run([PSQL, "--version"], capture_output=True, text=True).stdout.split()[2].split(".")[0])

DESCRIBE = re.split(r"\s{2,}|\n", r"""
\l  \dn  \dn+  \d  \d+  \dt  \dt+  \dv  \dv+  \dm  \ds  \di  \di+  \dE
\d shop.customers  \d+ shop.customers  \d shop.orders  \d+ shop.orders  \d shop.types  \d+ shop.types
\d shop.events  \d+ shop.events  \d shop.events_2024  \d+ shop.vips  \d+ shop.customer_list  \d+ shop.contacts
\d shop.counter  \d shop.customers_pkey  \d shop.*  \dt shop.*  \dt+ shop.*  \dv shop.*  \dm shop.*  \ds shop.*
\di+ shop.*  \dT  \dT shop.*  \dT+ shop.mood  \dD  \dD shop.*  \df  \df shop.*  \df pg_catalog.upper  \da pg_catalog.count
\do pg_catalog.||  \dC int4  \dc shop.*  \dO pg_catalog.C  \du  \dg  \dp shop.*  \z shop.orders  \ddp  \dx  \db  \dL  \dy
\dRp  \drds  \dX  \des  \dew  \det  \dF  \dFd  \dFp  \dFt  \dA  \dAc btree  \dAf btree  \dAo btree integer_ops
\dAp btree integer_ops  \dP  \dPt  \dPi  \dd shop.*  \dl  \sv shop.customer_list  \sf shop.plus_one  \df+ shop.plus_one
\deu  \dx+ plpgsql  \dRs
""".strip())
SINCE_16 = [r"\drg"]

SCRIPTS = {
    "connection": "\\conninfo\n\\c\nSELECT current_user = session_user",
    "server version": "SELECT :'VERSION_NUM' <> '', :SERVER_VERSION_NUM >= 150000",
    "variables": "\\set t shop.orders\nSELECT count(*) FROM :t;\nSELECT 5 AS five \\gset\nSELECT :five + 1;\n\\echo :five :ROW_COUNT :SQLSTATE",
    "gdesc": "SELECT id, amount, ordered_at FROM shop.orders \\gdesc",
    "gexec": "SELECT 'SELECT ' || g FROM generate_series(1, 3) g \\gexec",
    "crosstabview": "SELECT status, id % 3 AS k, count(*) FROM shop.orders GROUP BY 1, 2 ORDER BY 1, 2 \\crosstabview",
    "watch": "SELECT count(*) FROM shop.orders \\watch {watch}",
    "gx and gset": "SELECT * FROM shop.types ORDER BY id LIMIT 1 \\gx\nSELECT max(id) AS top FROM shop.orders \\gset\nSELECT :top",
    "copy out": "\\copy shop.orders (id, amount) to stdout csv header",
    "copy query": "\\copy (SELECT id, status FROM shop.orders ORDER BY id LIMIT 3) to stdout",
    "COPY": "COPY shop.types TO STDOUT (FORMAT csv, HEADER);\nCOPY (SELECT 1, 'x') TO STDOUT;",
    "FETCH_COUNT": "\\set FETCH_COUNT 500\n" + steps.LARGE + ";",
    "FETCH_COUNT and an error": "\\set FETCH_COUNT 10\nSELECT 1 / (id - 50) FROM shop.orders ORDER BY id;",
    "on error rollback": "\\set ON_ERROR_ROLLBACK on\nBEGIN;\nSELECT 1 / 0;\nSELECT 1;\nCOMMIT;",
    "autocommit off": "\\set AUTOCOMMIT off\nSELECT 1;\nSAVEPOINT a;\nROLLBACK TO a;\nCOMMIT;",
    "several at once": "SELECT 1\\; SELECT 2\\; SELECT 3;",
    "transaction forms": "BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE;\nSELECT 1;\nEND;\nBEGIN READ WRITE;\nSELECT 1;\nABORT;",
    "cursor": "BEGIN;\nDECLARE c SCROLL CURSOR FOR SELECT id FROM shop.orders ORDER BY id;\nFETCH 2 FROM c;\nMOVE 5 IN c;\nFETCH LAST FROM c;\nFETCH PRIOR FROM c;\nCLOSE c;\nCOMMIT;",
    "prepare": "PREPARE p (int) AS SELECT id, status FROM shop.orders WHERE id = $1;\nEXECUTE p(7);\nEXPLAIN (COSTS off) EXECUTE p(7);\nDEALLOCATE p;",
    "settings": "SHOW search_path;\nSET search_path = shop, public;\nSELECT count(*) FROM orders;\nSET TimeZone = 'UTC';\nSELECT ordered_at FROM orders WHERE id = 1;\nRESET ALL;\nDISCARD ALL;",
    "explain": f"EXPLAIN {steps.EXPLAIN};\nEXPLAIN (ANALYZE, TIMING off, SUMMARY off, BUFFERS off) {steps.EXPLAIN};\nEXPLAIN (FORMAT json) {steps.EXPLAIN};",
    "query": steps.AGGREGATE + ";",
    "rows": steps.ROWS + ";",
    "denied": steps.DENIED + ";\nSELECT 'usable';",
    "errors": "SELECT no_such_column FROM shop.orders;\nSELECT * FROM shop.no_such_table;\nSELECT 1 / 0;\nSELEKT;\n\\errverbose\nSELECT 'usable';",
}
SINCE_16_SCRIPTS = {
    "bind": "SELECT $1::int + $2::int AS sum \\bind 3 4 \\g\nSELECT count(*) FROM shop.orders WHERE status = $1 \\bind paid \\g",
}
SINCE_18_SCRIPTS = {
    "named statements": "SELECT id, status FROM shop.orders WHERE id = $1 \\parse s\n\\bind_named s 7 \\g\n\\close_prepared s",
    "pipeline": "\\startpipeline\nSELECT 1 \\bind \\sendpipeline\nSELECT count(*) FROM shop.orders \\bind \\sendpipeline\n\\flushrequest\n\\getresults\n\\endpipeline",
}

# What tab completion asks (src/bin/psql/tab-complete), for `SELECT * FROM sh<TAB>` and the like.
COMPLETION = [
    "SELECT pg_catalog.quote_ident(c.relname) FROM pg_catalog.pg_class c WHERE c.relkind IN ('r', 'S', 'v', 'm', 'f', 'p') "
    "AND substring(pg_catalog.quote_ident(c.relname),1,2)='cu' AND pg_catalog.pg_table_is_visible(c.oid) UNION ALL "
    "SELECT pg_catalog.quote_ident(n.nspname) || '.' FROM pg_catalog.pg_namespace n WHERE n.nspname LIKE 'sh%' LIMIT 1000",
    "SELECT attname FROM pg_catalog.pg_attribute a, pg_catalog.pg_class c, pg_catalog.pg_namespace n WHERE c.oid = a.attrelid "
    "AND n.oid = c.relnamespace AND a.attnum > 0 AND NOT a.attisdropped AND c.relname = 'orders' AND n.nspname = 'shop' ORDER BY 1",
    "SELECT name FROM (SELECT pg_catalog.lower(name) AS name FROM pg_catalog.pg_settings UNION ALL SELECT 'all') ss "
    "WHERE substring(name,1,4)='date' ORDER BY 1",
    "SELECT pg_catalog.quote_ident(datname) FROM pg_catalog.pg_database WHERE datname LIKE 'post%'",
    "SELECT pg_catalog.quote_ident(rolname) FROM pg_catalog.pg_roles WHERE rolname LIKE 'shop%'",
]


def psql(script, *options):
    run = subprocess.run(
        [PSQL, "-X", "-P", "pager=off", *options], input=script, capture_output=True, text=True, timeout=100
    )
    return run.stdout + run.stderr


def main():
    for command in DESCRIBE + (SINCE_16 if VERSION >= 16 else []):
        emit(command, value=psql(command + "\n"))
    scripts = dict(SCRIPTS)
    scripts["watch"] = scripts["watch"].format(watch="i=0.1 c=2" if VERSION >= 16 else "0.1")
    if VERSION < 16:
        del scripts["watch"]  # without a count it never ends
    if VERSION >= 16:
        scripts.update(SINCE_16_SCRIPTS)
    if VERSION >= 18:
        scripts.update(SINCE_18_SCRIPTS)
    for name, script in scripts.items():
        emit(name, value=psql(script + "\n", "-a"))
    emit("completion", value=[psql(sql + ";\n", "-At") for sql in COMPLETION])


main()

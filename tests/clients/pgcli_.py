"""pgcli: its start, its completion queries and special commands, without a terminal."""

import os

from pgcli.pgexecute import PGExecute
from pgspecial.main import PGSpecial

from lib import steps
from lib.steps import checksum, step


def main():
    options = {"options": os.environ["PGOPTIONS"]} if os.environ.get("PGOPTIONS") else {}
    execute = PGExecute(
        os.environ["PGDATABASE"], os.environ["PGUSER"], os.environ["PGPASSWORD"], os.environ["PGHOST"], os.environ["PGPORT"],
        application_name="pgcli", **options,
    )
    special = PGSpecial()
    step("connect", lambda: [execute.server_version.split(".")[0], execute.is_superuser() if callable(getattr(execute, "is_superuser", None)) else execute.superuser])
    step("search path", lambda: execute.search_path())
    step("schemata", lambda: sorted(execute.schemata()))
    step("tables", lambda: sorted(t for t in execute.tables() if t[0] == "shop"))
    step("views", lambda: sorted(t for t in execute.views() if t[0] == "shop"))
    step("columns", lambda: sorted([str(c) for c in execute.table_columns() if c[0] == "shop"]))
    step("view columns", lambda: sorted([str(c) for c in execute.view_columns() if c[0] == "shop"]))
    step("foreign keys", lambda: [str(k) for k in execute.foreignkeys()])
    step("databases", lambda: "postgres" in execute.databases())
    step("functions", lambda: sorted(str(f) for f in execute.functions() if f.schema_name == "shop"))
    step("types", lambda: sorted(str(d) for d in execute.datatypes() if d[0] == "shop"))
    step("casing", lambda: sorted(execute.casing())[:50])
    step("set operations", lambda: execute.set_returning_functions() if hasattr(execute, "set_returning_functions") else None)

    def run(sql):
        found = []
        for title, cursor, headers, status, *rest in execute.run(sql, pgspecial=special):
            rows = [list(map(str, r)) for r in cursor] if cursor is not None and not isinstance(cursor, list) else cursor
            found.append([title, rows, headers, status])
        return found

    for command in (r"\l", r"\dn", r"\dt shop.*", r"\dv shop.*", r"\d shop.orders", r"\d+ shop.customers", r"\di shop.*",
                    r"\ds shop.*", r"\df shop.*", r"\dT shop.*", r"\dD shop.*", r"\dm shop.*", r"\du", r"\dx", r"\dp shop.*",
                    r"\ddp", r"\db", r"\dE"):
        step(command, lambda command=command: run(command))
    step("query", lambda: run(steps.AGGREGATE))
    step("rows", lambda: run(steps.ROWS))
    step("large result", lambda: checksum(run(steps.LARGE)[0][1]))
    step("explain", lambda: run("EXPLAIN (COSTS off) " + steps.EXPLAIN))
    step("several at once", lambda: run("SELECT 1; SELECT 2"))
    step("transaction", lambda: run("BEGIN; SELECT 1; COMMIT"))

    def denied():
        list(execute.run(steps.DENIED, exception_formatter=None))

    step("denied", denied)
    step("usable after a denial", lambda: run("SELECT 'usable'"))


main()

"""LangChain's SQLDatabase and its toolkit, as an agent is given it."""

import os

os.environ.setdefault("LANGCHAIN_TRACING_V2", "false")

from langchain_community.tools.sql_database.tool import (
    InfoSQLDatabaseTool,
    ListSQLDatabaseTool,
    QuerySQLDatabaseTool,
)
from langchain_community.utilities import SQLDatabase

from lib import steps
from lib.steps import URL, step


def main():
    db = SQLDatabase.from_uri(URL.replace("postgresql://", "postgresql+psycopg2://", 1), schema="shop", view_support=True)
    step("dialect", lambda: db.dialect)
    step("list tables", lambda: sorted(db.get_usable_table_names()))
    step("describe", lambda: db.get_table_info(steps.TABLES))
    step("context", lambda: sorted(db.get_context()))
    tools = ListSQLDatabaseTool(db=db), InfoSQLDatabaseTool(db=db), QuerySQLDatabaseTool(db=db)
    step("tool: list tables", lambda: sorted(tools[0].invoke("").split(", ")))
    step("tool: describe", lambda: tools[1].invoke("orders"))
    step("tool: query", lambda: tools[2].invoke(steps.AGGREGATE))
    step("tool: rows", lambda: tools[2].invoke(steps.ROWS))
    step("tool: explain", lambda: tools[2].invoke("EXPLAIN (COSTS off) " + steps.EXPLAIN))
    # The tool hands an error to the model as text: HINT included.
    step("tool: denied", lambda: tools[2].invoke(steps.DENIED))
    step("usable after a denial", lambda: db.run("SELECT 'usable'"))
    step("denied", lambda: db.run(steps.DENIED))


main()

"""SQLAlchemy: reflection of everything, over psycopg 3, psycopg 2, asyncpg and pg8000."""

import asyncio
import os

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from lib import steps
from lib.steps import URL, astep, checksum, step


def url(driver):
    return URL.replace("postgresql://", f"postgresql+{driver}://", 1)


def in_order(value):
    """Lists of names come without an order."""
    if isinstance(value, dict):
        return {key: in_order(value[key]) for key in sorted(value)}
    return sorted(value, key=str) if isinstance(value, list) else value


def reflect(engine):
    inspector = sa.inspect(engine)
    found = {"schemas": inspector.get_schema_names(), "tables": inspector.get_table_names("shop"),
             "views": inspector.get_view_names("shop"), "materialized": inspector.get_materialized_view_names("shop"),
             "sequences": inspector.get_sequence_names("shop"), "enums": inspector.get_enums("shop"),
             "domains": [d["name"] for d in inspector.get_domains("shop")]}
    for kind in ("columns", "pk_constraint", "foreign_keys", "indexes", "unique_constraints", "check_constraints",
                 "table_comment", "table_options"):
        multi = getattr(inspector, f"get_multi_{kind}")
        found[kind] = {".".join(map(str, k)): str(v) for k, v in multi(schema="shop", kind=sa.inspection.ANY if False else
                       sa.engine.reflection.ObjectKind.ANY).items()}
    return in_order(found)


def automap(engine):
    metadata = sa.MetaData()
    metadata.reflect(engine, schema="shop", views=True)
    return sorted((t.name, [f"{c.name} {c.type!r}" for c in t.columns]) for t in metadata.tables.values())


def run(driver, options=None):
    engine = sa.create_engine(url(driver), **(options or {}))
    step(f"{driver}: reflect", lambda: reflect(engine))
    step(f"{driver}: tables", lambda: automap(engine))

    def execute(sql):
        with engine.connect() as conn:
            return conn.execute(sa.text(sql)).fetchall()

    def stream():
        with engine.connect().execution_options(stream_results=True, max_row_buffer=500) as conn:
            return checksum(conn.execute(sa.text(steps.LARGE)))

    def isolation(level):
        with engine.connect().execution_options(isolation_level=level) as conn:
            return conn.execute(sa.text("SELECT count(*) FROM shop.orders")).scalar()

    def select():
        orders = sa.Table("orders", sa.MetaData(), schema="shop", autoload_with=engine)
        query = sa.select(orders.c.status, sa.func.count()).where(orders.c.id < 100).group_by(orders.c.status).order_by(orders.c.status)
        with engine.connect() as conn:
            return conn.execute(query).fetchall()

    def denied():
        with engine.connect() as conn:
            return conn.execute(sa.text(steps.DENIED)).fetchall()

    step(f"{driver}: query", lambda: execute(steps.AGGREGATE))
    step(f"{driver}: rows", lambda: execute(steps.ROWS))
    step(f"{driver}: expression language", select)
    step(f"{driver}: stream", stream)
    for level in ("AUTOCOMMIT", "SERIALIZABLE", "REPEATABLE READ"):
        step(f"{driver}: {level.lower()}", lambda level=level: isolation(level))
    step(f"{driver}: explain", lambda: execute("EXPLAIN (COSTS off) " + steps.EXPLAIN))
    step(f"{driver}: denied", denied)
    step(f"{driver}: usable after a denial", lambda: execute("SELECT 'usable'"))
    engine.dispose()


async def asynchronous():
    # asyncpg takes the end user from server_settings, not from the URL.
    settings = {"agent_policy.user_email": steps.EMAIL} if steps.EMAIL else {}
    engine = create_async_engine(url("asyncpg").split("?")[0], connect_args={"server_settings": settings})

    async def reflected():
        async with engine.connect() as conn:
            return await conn.run_sync(lambda c: sorted(sa.inspect(c).get_table_names("shop")))

    async def query():
        async with engine.connect() as conn:
            return (await conn.execute(sa.text(steps.AGGREGATE))).fetchall()

    await astep("asyncpg: reflect", reflected)
    await astep("asyncpg: query", query)
    await engine.dispose()


run("psycopg")
run("psycopg2")
# pg8000 knows no `options`: the end user comes as a start-up parameter.
os.environ.pop("PGOPTIONS", None)
URL = URL.split("?")[0]
startup = {"startup_params": {"agent_policy.user_email": steps.EMAIL}} if steps.EMAIL else {}
try:
    run("pg8000", {"connect_args": startup})
finally:
    asyncio.run(asynchronous())

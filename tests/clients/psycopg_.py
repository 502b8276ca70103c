"""psycopg 3: sync and async, pipeline, server-side cursors, COPY, prepared statements, binary results."""

import asyncio

import psycopg
from psycopg.rows import dict_row

from lib import steps
from lib.steps import EMAIL, URL, astep, checksum, step


def connect_as_readme():
    """With keywords, as the README shows it for Python."""
    import os

    options = {"options": f"-c agent_policy.user_email={EMAIL}"} if EMAIL else {}
    dsn = "host={PGHOST} port={PGPORT} dbname={PGDATABASE} user={PGUSER} password={PGPASSWORD}".format(**os.environ)
    with psycopg.connect(dsn, **options) as conn:
        return conn.execute("SELECT 1").fetchone()


def sync():
    conn = psycopg.connect(URL, autocommit=True)
    step("connect", lambda: [conn.info.server_version > 0, conn.info.encoding, conn.info.parameter_status("is_superuser")])
    step("list tables", lambda: conn.execute(
        "SELECT table_schema, table_name, table_type FROM information_schema.tables WHERE table_schema NOT IN "
        "('pg_catalog', 'information_schema', 'agent_policy') ORDER BY 1, 2").fetchall())
    step("describe", lambda: [
        [c.name, c.type_display, c.display_size, c.precision, c.scale] for c in conn.execute(steps.TYPED).description])
    step("query", lambda: conn.execute(steps.AGGREGATE).fetchall())
    step("typed values", lambda: conn.execute(steps.TYPED).fetchall())
    step("typed values, binary", lambda: conn.execute(steps.TYPED, binary=True).fetchall())
    step("rows", lambda: conn.execute(steps.ROWS).fetchall())
    step("parameters", lambda: conn.cursor(row_factory=dict_row).execute(
        "SELECT id, status FROM shop.orders WHERE id = ANY(%s) AND status = %s ORDER BY id", [[1, 2, 3], "paid"]).fetchall())
    step("prepared", lambda: [conn.execute("SELECT amount FROM shop.orders WHERE id = %s", [i], prepare=True).fetchone()
                              for i in range(1, 12)])
    step("explain", lambda: conn.execute("EXPLAIN (COSTS off) " + steps.EXPLAIN).fetchall())

    def server_side():
        with conn.transaction(), conn.cursor(name="large") as cursor:
            cursor.execute(steps.LARGE)
            first = cursor.fetchmany(10)
            cursor.scroll(5)
            rest = cursor.fetchall()
            return [first, checksum(rest)]

    step("server-side cursor", server_side)

    def scrollable():
        with conn.transaction(), conn.cursor(name="back", scrollable=True) as cursor:
            cursor.execute("SELECT id FROM shop.orders ORDER BY id")
            cursor.scroll(-1, mode="relative") if False else cursor.fetchmany(3)
            cursor.scroll(100, mode="absolute")
            return cursor.fetchone()

    step("scrollable cursor", scrollable)
    step("with hold", lambda: [conn.cursor(name="h", withhold=True).execute("SELECT 1").fetchall()])
    step("stream", lambda: checksum(conn.cursor().stream(steps.LARGE)))

    def copy_out(sql):
        with conn.cursor().copy(sql) as copy:
            return checksum([bytes(b).decode("latin1")] for b in copy)

    step("copy", lambda: copy_out("COPY shop.orders TO STDOUT"))
    step("copy binary", lambda: copy_out("COPY (SELECT id, amount FROM shop.orders) TO STDOUT (FORMAT binary)"))

    def copied_rows():
        with conn.cursor().copy("COPY shop.customers (id, name) TO STDOUT") as copy:
            copy.set_types(["int4", "text"])
            return checksum(copy.rows())

    step("copy rows", copied_rows)

    def pipeline():
        with conn.pipeline():
            cursors = [conn.execute("SELECT count(*) FROM shop.orders WHERE id < %s", [n]) for n in (10, 100, 1000)]
            return [c.fetchone() for c in cursors]

    step("pipeline", pipeline)

    def pipeline_with_denial():
        try:
            with conn.pipeline() as p:
                before = conn.execute("SELECT 1")
                conn.execute(steps.DENIED)
                conn.execute("SELECT 2")
                p.sync()
        except psycopg.Error as error:
            return [type(error).__name__, error.sqlstate, before.fetchone(), conn.execute("SELECT 3").fetchone()]

    step("pipeline with a denial", pipeline_with_denial)
    step("types from the catalog", lambda: [
        str(psycopg.types.TypeInfo.fetch(conn, "shop.positive")), str(psycopg.types.enum.EnumInfo.fetch(conn, "shop.mood")),
        str(psycopg.types.composite.CompositeInfo.fetch(conn, "shop.orders"))])
    step("denied", lambda: conn.execute(steps.DENIED).fetchall())
    step("usable after a denial", lambda: conn.execute("SELECT 'usable'").fetchone())

    def savepoint():
        with conn.transaction():
            conn.execute("SELECT 1")
            try:
                with conn.transaction():
                    conn.execute(steps.DENIED)
            except psycopg.Error as error:
                return [error.sqlstate, conn.execute("SELECT 'usable'").fetchone()]

    step("denial in a savepoint", savepoint)
    step("isolation", lambda: isolation(conn))
    step("connected by keywords", connect_as_readme)
    conn.close()


def isolation(conn):
    conn.isolation_level, conn.read_only, conn.deferrable = psycopg.IsolationLevel.SERIALIZABLE, True, True
    with conn.transaction():
        return conn.execute("SHOW transaction_isolation").fetchone()


async def asynchronous():
    conn = await psycopg.AsyncConnection.connect(URL)

    async def query():
        return await (await conn.execute(steps.AGGREGATE)).fetchall()

    async def server_side():
        async with conn.cursor(name="large") as cursor:
            await cursor.execute(steps.LARGE)
            return checksum([row async for row in cursor])

    async def cancelled():
        task = asyncio.create_task(conn.execute("SELECT count(*) FROM generate_series(1, 1000000000)"))
        await asyncio.sleep(0.3)
        await conn.cancel_safe()
        try:
            await task
        except psycopg.errors.QueryCanceled as error:
            await conn.rollback()
            return [error.sqlstate, await (await conn.execute("SELECT 'usable'")).fetchone()]

    await astep("async: query", query)
    await astep("async: server-side cursor", server_side)
    await conn.commit()
    await astep("async: cancel", cancelled)
    await conn.close()


sync()
asyncio.run(asynchronous())

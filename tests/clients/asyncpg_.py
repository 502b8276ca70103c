"""asyncpg: prepared statements, introspection of types, cursors, COPY."""

import asyncio
import io

import asyncpg

from lib import steps
from lib.steps import URL, astep, checksum


def rows(records):
    return [list(r.values()) for r in records]


async def main():
    conn = await asyncpg.connect(URL)

    async def connected():
        return [conn.get_server_version().major > 0, conn.get_settings().server_encoding]

    async def tables():
        return rows(await conn.fetch(
            "SELECT schemaname, tablename FROM pg_catalog.pg_tables WHERE schemaname = $1 ORDER BY 2", "shop"))

    async def described():
        statement = await conn.prepare(steps.TYPED)
        return [[a.name, a.type.name, a.type.kind, a.type.schema] for a in statement.get_attributes()]

    async def prepared():
        statement = await conn.prepare("SELECT id, status FROM shop.orders WHERE id = $1 AND status = ANY($2::text[])")
        return [[p.name for p in statement.get_parameters()], [rows(await statement.fetch(i, ["new", "paid"])) for i in (1, 2, 3)]]

    async def cursor():
        async with conn.transaction():
            return checksum([list(r.values()) async for r in conn.cursor(steps.LARGE, prefetch=500)])

    async def scrolled():
        async with conn.transaction():
            c = await conn.cursor("SELECT id FROM shop.orders ORDER BY id")
            first = rows(await c.fetch(2))
            await c.forward(100)
            return [first, list((await c.fetchrow()).values())]

    async def composite():
        return rows(await conn.fetch("SELECT o, ARRAY[o] FROM shop.orders o WHERE id = 1"))

    async def custom_types():
        return rows(await conn.fetch(
            "SELECT 'good'::shop.mood, ARRAY['bad'::shop.mood], 3::shop.positive, ROW(1, 'x'), int4range(1, 5)"))

    async def explained():
        statement = await conn.prepare(steps.EXPLAIN)
        plan = await statement.explain()
        return plan[0]["Plan"]["Node Type"]

    async def copied():
        out = io.BytesIO()
        done = await conn.copy_from_query("SELECT id, status FROM shop.orders WHERE id < $1", 10, output=out, format="csv")
        return [done, out.getvalue().decode()]

    async def copied_table():
        out = io.BytesIO()
        done = await conn.copy_from_table("orders", schema_name="shop", columns=["id", "amount"], output=out)
        return [done, len(out.getvalue())]

    async def denied():
        return await conn.fetch(steps.DENIED)

    async def usable():
        return await conn.fetchval("SELECT 'usable'")

    async def transactions():
        async with conn.transaction(isolation="serializable", readonly=True, deferrable=True):
            async with conn.transaction():
                return await conn.fetchval("SHOW transaction_isolation")

    async def pool():
        async with asyncpg.create_pool(URL, min_size=1, max_size=2) as p:
            result = []
            for _ in range(3):
                async with p.acquire() as c:
                    result.append(await c.fetchval("SELECT count(*) FROM shop.orders"))
            return result

    async def timed_out():
        try:
            await conn.fetch("SELECT count(*) FROM generate_series(1, 1000000000)", timeout=0.5)
        except asyncio.TimeoutError:
            return await conn.fetchval("SELECT 'usable'")

    async def fetch(sql):
        return rows(await conn.fetch(sql))

    await astep("connect", connected)
    await astep("list tables", tables)
    await astep("describe", described)
    await astep("query", lambda: fetch(steps.AGGREGATE))
    await astep("typed values", lambda: fetch(steps.TYPED))
    await astep("rows", lambda: fetch(steps.ROWS))
    await astep("prepared", prepared)
    await astep("cursor", cursor)
    await astep("forward in a cursor", scrolled)
    await astep("composite", composite)
    await astep("types from the catalog", custom_types)
    await astep("explain", explained)
    await astep("copy a query", copied)
    await astep("copy a table", copied_table)
    await astep("denied", denied)
    await astep("usable after a denial", usable)
    await astep("transactions", transactions)
    await astep("pool", pool)
    await astep("timeout", timed_out)
    await conn.close()


asyncio.run(main())

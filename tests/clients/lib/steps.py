"""What every client written in Python does: named steps, each of which leaves one line of JSON."""

import datetime
import json
import os
import sys
import traceback

EMAIL = os.environ.get("CLIENT_EMAIL", "")
URL = os.environ.get("CLIENT_URL", "")

# Asked by every client. Paging goes through more rows than any client's fetch size.
TABLES = ["customers", "orders", "types"]
TYPED = "SELECT * FROM shop.types ORDER BY id" 
AGGREGATE = (
    "SELECT region, count(*) AS n, round(avg(amount), 2) AS mean FROM shop.customers c JOIN shop.orders o ON "
    "o.customer_id = c.id GROUP BY region ORDER BY region"
)
ROWS = "SELECT id, name, email, ssn, phone, born, salary, note, profile FROM shop.customers ORDER BY id"
LARGE = "SELECT o.id, g, o.status FROM shop.orders o, generate_series(1, 3) g ORDER BY 1, 2"
EXPLAIN = "SELECT status, count(*) FROM shop.orders WHERE id < 100 GROUP BY status"
DENIED = "SELECT rolname, rolpassword FROM pg_catalog.pg_authid"


def plain(value):
    """Values as JSON has them, whatever the driver made of them."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value).hex()
    if isinstance(value, (datetime.date, datetime.time, datetime.timedelta)):
        return str(value)
    if hasattr(value, "__iter__"):
        return [plain(v) for v in value]
    return str(value)


def emit(step, **what):
    print(json.dumps({"step": step, **what}, ensure_ascii=False), flush=True)


def describe(error):
    """The fields of a server's error, from whichever driver."""
    chain, seen = error, []
    while chain is not None and chain not in seen:
        seen.append(chain)
        if chain.args and isinstance(chain.args[0], dict) and "C" in chain.args[0]:  # pg8000
            fields = chain.args[0]
            return {"code": fields["C"], "message": fields.get("M"), "hint": fields.get("H")}
        for source in (chain, getattr(chain, "diag", None), getattr(chain, "orig", None)):
            code = getattr(source, "sqlstate", None) or getattr(source, "pgcode", None)
            diag = getattr(source, "diag", None) or source
            hint = getattr(diag, "message_hint", None) or getattr(diag, "hint", None)
            if code or hint:
                message = getattr(diag, "message_primary", None) or getattr(diag, "message", None) or str(chain)
                return {"code": code, "message": message, "hint": hint}
        chain = chain.__cause__ or chain.__context__ or getattr(chain, "orig", None)
    return {"code": None, "message": str(error), "hint": None}


def step(name, work):
    """Runs one step; what it returns, or how it failed, goes to the driver."""
    try:
        value = work()
    except Exception as error:  # every failure is the driver's to judge
        if os.environ.get("CLIENT_TRACE"):
            traceback.print_exc(file=sys.stderr)
        emit(name, error=describe(error))
        return None
    emit(name, value=plain(value))
    return value


async def astep(name, work):
    try:
        value = await work()
    except Exception as error:
        if os.environ.get("CLIENT_TRACE"):
            traceback.print_exc(file=sys.stderr)
        emit(name, error=describe(error))
        return None
    emit(name, value=plain(value))
    return value


def checksum(rows):
    """How many rows, and what they add up to: for results that are paged through."""
    rows = [tuple(r) for r in rows]
    return [len(rows), sum(hash_of(r) for r in rows) % 1_000_000_007]


def hash_of(row):
    import zlib

    return zlib.crc32(repr([str(c) for c in row]).encode())

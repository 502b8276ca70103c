#!/usr/bin/env python3
"""Writes down what each client sends, as tests/fixtures/clients/NAME.sql: the statements that the
cluster tests send without the clients (chapter c14 of the contract).

usage: record.py --cache DIR --pg-config PATH [CLIENT ...]

Numbers of relations and schemas become @oid:NAME@, other numbers that a server gave out 0. Left out
are statements about objects that the cluster tests do not have, and the query for the passwords.
"""

import argparse
import json
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from lib import databases, steps  # noqa: E402
from lib.cluster import Cluster  # noqa: E402
from run import commands, run  # noqa: E402

PLACE = databases.ROOT / "tests/fixtures/clients"
NOT_THERE = re.compile(r"shop\.types|shop\"?\.\"?types|mood|positive|\bnotes\b|agent_policy|marts|generate_series\(1, 1000000000\)|pg_sleep")


def statements(log, user):
    """(text, parameters) of everything that the user sent, in order."""
    for line in log.read_text().splitlines():
        entry = json.loads(line)
        if entry.get("user") != user:
            continue
        message, detail = entry.get("message", ""), entry.get("detail", "")
        found = re.match(r"(?:statement|execute [^:]*): (.*)", message, re.S)
        if not found:
            continue
        listed = re.match(r"[Pp]arameters: (.*)", detail, re.S)
        parameters = re.findall(r"\$\d+ = (NULL|'(?:[^']|'')*')", listed[1]) if listed else []
        yield found[1].strip(), parameters


def shape(text):
    return re.sub(r"\d+", "0", text)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--pg-config", required=True)
    parser.add_argument("client", nargs="*")
    arguments = parser.parse_args()
    cluster = Cluster(arguments.pg_config, "log_statement = all\nlogging_collector = on\nlog_destination = jsonlog\n"
                                           "log_directory = 'log'\nlog_filename = 'all.log'\n")
    log = cluster.dir / "data/log/all.json"
    try:
        _, plain = databases.create(cluster, "open")
        oids = dict(line.split("|") for line in cluster.sql(
            "SELECT oid, oid::regclass::text FROM pg_class WHERE relnamespace = 'shop'::regnamespace UNION ALL "
            "SELECT oid, nspname::text FROM pg_namespace WHERE nspname = 'shop'", "open").splitlines())

        def number(found):
            name = oids.get(found[0])
            if name and not NOT_THERE.search(name):
                return f"@oid:{name}@"
            return found[0] if int(found[0]) < 16384 or int(found[0]) > 99999 else "0"

        PLACE.mkdir(exist_ok=True)
        for client, command in commands(arguments.cache).items():
            if arguments.client and client not in arguments.client:
                continue
            start = len(log.read_text().splitlines())
            run(command, plain, arguments.cache)
            seen, out = set(), []
            lines = log.read_text().splitlines()[start:]
            part = cluster.dir / "part.json"
            part.write_text("\n".join(lines))
            for text, parameters in statements(part, plain.user):
                if NOT_THERE.search(text + " ".join(parameters)) or text == steps.DENIED or shape(text) in seen:
                    continue
                if re.match(r"LOCK|COPY .* FROM|FETCH|CLOSE|MOVE|DECLARE|CREATE|drop|rollback|commit", text, re.I) and "LOCK" not in text:
                    continue
                seen.add(shape(text))
                text = re.sub(r"(?<![\w.])\d{5}(?![\w.])", number, text.replace(plain.user, "@agent@"))
                parameters = [re.sub(r"(?<![\w.])\d{5}(?![\w.])", number, p.replace(plain.user, "@agent@")) for p in parameters]
                head = f"-- parameters: {', '.join(parameters)}\n" if parameters else ""
                out.append(head + re.sub(r"[ \t]+$", "", text, flags=re.M).rstrip(";") + "\n")
            name = re.sub(r"\W", "_", client).lower()
            (PLACE / f"{name}.sql").write_text(
                f"-- What {client} sends, recorded by tests/clients/record.py.\n-- next\n" + "-- next\n".join(out))
            print(f"{client}: {len(out)} statements")
    finally:
        cluster.stop()


if __name__ == "__main__":
    main()

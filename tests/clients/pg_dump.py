"""pg_dump of what may be read: structure, data, both, in several formats."""

import os
import re
import subprocess
import tempfile

from lib.steps import emit

BIN = os.environ["CLIENT_BINDIR"]

DUMPS = {
    "data of a table": ["-t", "shop.customers", "--data-only"],
    "a table": ["-t", "shop.orders"],
    "a table with an identity column": ["-t", "shop.types"],
    "as INSERTs": ["-t", "shop.customers", "--data-only", "--rows-per-insert=50"],
    "a partitioned table": ["-t", "shop.events", "-t", "shop.events_2024", "-t", "shop.events_2025"],
    "views": ["-t", "shop.customer_list", "-t", "shop.contacts", "--schema-only"],
    "several tables": ["-t", "shop.customers", "-t", "shop.orders", "-t", "shop.vips"],
    "structure of the schema": ["-n", "shop", "--schema-only"],
    "the schema": ["-n", "shop"],
    "the schema without its sequence": ["-n", "shop", "-T", "shop.counter"],
    "a sequence": ["-t", "shop.counter"],
    "with the database": ["--create", "-t", "shop.orders", "--schema-only"],
}


def run(program, *arguments):
    done = subprocess.run([os.path.join(BIN, program), *arguments], capture_output=True, text=True, timeout=100)
    text = re.sub(r"^\\(un)?restrict .*$", "", done.stdout, flags=re.M)
    return {"exit": done.returncode, "output": text, "errors": done.stderr}


def main():
    for name, arguments in DUMPS.items():
        emit(name, value=run("pg_dump", *arguments))
    with tempfile.TemporaryDirectory() as place:
        archive = os.path.join(place, "dump")
        done = run("pg_dump", "-Fc", "-t", "shop.customers", "-t", "shop.types", "-f", archive)
        # Its second connection asks for the snapshot of the first.
        parallel = os.path.join(place, "parallel")
        emit("denied", value=run("pg_dump", "-Fd", "-j", "2", "-t", "shop.customers", "-t", "shop.orders", "-f", parallel))
        emit("an archive", value=[done, run("pg_restore", "-f", "-", archive)] if done["exit"] == 0 else done)


main()

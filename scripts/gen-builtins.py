#!/usr/bin/env python3
"""The reviewed list of built-in functions: data/functions.tsv -> functions.rs.

  gen-builtins.py                      write crates/policy/src/builtins/functions.rs
  gen-builtins.py --verify             fail if functions.rs is not what the list gives
  gen-builtins.py --check [psql args]  compare the list with a live server (any database):
                                       functions nobody reviewed, functions gone, OIDs that
                                       moved; fails if there are any. PSQL names the psql to
                                       run (default "psql"; "sudo -u postgres psql" works too).

A function that a minor or major release adds is denied until it has a line in the list.
"""

import os
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIST = ROOT / "data/functions.tsv"
RUST = ROOT / "crates/policy/src/builtins/functions.rs"
BITS = {15: 1, 16: 2, 17: 4, 18: 8}
LETTER = {"allow": "A", "internal": "I", "deny": None}
FIRST_UNPINNED = 10000  # from here on initdb assigns (FirstGenbkiObjectId)
FIRST_NORMAL = 16384
PER_LINE = 6

HEADER = """\
// Written by scripts/gen-builtins.py from data/functions.tsv. Do not edit.
//
// Functions that a confined role may name (A) or the server may run for it (I). What is not here
// is denied. The reasons are in the list.

use super::Disposition::{self, Allow as A, Internal as I};
use super::row as r;
"""


def fail(message):
    sys.exit(f"gen-builtins: {message}")


def read():
    """Rows (oid or None, schema, name, signature, majors, disposition), checked."""
    rows, seen = [], {}
    for number, line in enumerate(LIST.read_text().splitlines(), 1):
        if not line or line.startswith("#"):
            continue
        where = f"{LIST.name}:{number}"
        fields = line.split("\t")
        if len(fields) != 5:
            fail(f"{where}: want 5 fields, got {len(fields)}")
        oid, signature, versions, disposition, reason = fields
        if disposition not in LETTER:
            fail(f"{where}: disposition {disposition!r}")
        if not reason.strip():
            fail(f"{where}: no reason")
        majors = [int(v) for v in versions.split(",")]
        if not majors or any(m not in BITS for m in majors):
            fail(f"{where}: versions {versions!r}")
        schema, rest = signature.split(".", 1)
        name = rest.split("(", 1)[0]
        oid = None if oid == "-" else int(oid)
        if oid is not None and oid >= FIRST_UNPINNED:
            fail(f"{where}: initdb assigns OID {oid}; write '-'")
        for major in majors:
            for key in {("signature", signature, major), ("oid", oid, major)}:
                if key[1] is not None and seen.setdefault(key, number) != number:
                    fail(f"{where}: {key} is in line {seen[key]} already")
        rows.append((oid, schema, name, signature, majors, disposition))
    return rows


def generate():
    by_oid, by_name = {}, {}
    for oid, schema, name, _, majors, disposition in read():
        if oid is None:
            if by_name.setdefault((schema, name), disposition) != disposition:
                fail(f"{schema}.{name}: one disposition for all of that name")
            continue
        letter = LETTER[disposition]
        if letter:
            key = (oid, letter)
            by_oid[key] = by_oid.get(key, 0) | sum(BITS[m] for m in majors)
    items = [f"r({oid}, {mask}, {letter})" for (oid, letter), mask in sorted(by_oid.items())]
    out = [HEADER]
    out.append("/// By OID: bits 1, 2, 4, 8 of the mask stand for PostgreSQL 15, 16, 17, 18. Sorted.")
    out.append("#[rustfmt::skip]")
    out.append(f"pub(super) static FUNCTIONS: [u32; {len(items)}] = [")
    for i in range(0, len(items), PER_LINE):
        out.append("    " + ", ".join(items[i : i + PER_LINE]) + ",")
    out.append("];\n")
    named = [(s, n, LETTER[d]) for (s, n), d in sorted(by_name.items()) if LETTER[d]]
    out.append("/// By schema and name: initdb assigns their OIDs. Sorted.")
    out.append("#[rustfmt::skip]")
    out.append(f"pub(super) static NAMED: [(&str, &str, Disposition); {len(named)}] = [")
    for schema, name, letter in named:
        out.append(f'    ("{schema}", "{name}", {letter}),')
    out.append("];")
    return "\n".join(out) + "\n"


def psql(arguments, query):
    command = shlex.split(os.environ.get("PSQL", "psql")) + ["-XAtqF", "\t", *arguments, "-c", query]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        fail(f"{shlex.join(command)}: {done.stderr.strip()}")
    return [line.split("\t") for line in done.stdout.splitlines()]


def check(arguments):
    major = int(psql(arguments, "SHOW server_version_num")[0][0]) // 10000
    if major not in BITS:
        fail(f"PostgreSQL {major} was never reviewed")
    live = {}
    for oid, signature in psql(
        arguments,
        "SELECT p.oid, n.nspname || '.' || p.proname || '(' || coalesce((SELECT string_agg("
        "pg_catalog.format_type(t, NULL), ',' ORDER BY i) FROM pg_catalog.unnest(p.proargtypes)"
        " WITH ORDINALITY u(t, i)), '') || ')' FROM pg_catalog.pg_proc p JOIN"
        f" pg_catalog.pg_namespace n ON n.oid = p.pronamespace WHERE p.oid < {FIRST_NORMAL}",
    ):
        live[signature] = None if int(oid) >= FIRST_UNPINNED else int(oid)
    listed = {row[3]: row[0] for row in read() if major in row[4]}
    bad = 0
    for title, lines in (
        ("not reviewed (denied)", sorted(set(live) - set(listed))),
        ("gone", sorted(set(listed) - set(live))),
        ("another OID", sorted(s for s in set(live) & set(listed) if live[s] != listed[s])),
    ):
        for signature in lines:
            print(f"{title}: {live.get(signature, listed.get(signature))} {signature}")
            bad += 1
    print(f"PostgreSQL {major}: {len(live)} functions, {bad} differences")
    return 1 if bad else 0


def main():
    arguments = sys.argv[1:]
    if not arguments:
        RUST.write_text(generate())
        return 0
    if arguments == ["--verify"]:
        if RUST.read_text() != generate():
            fail(f"{RUST.relative_to(ROOT)} is stale: run scripts/gen-builtins.py")
        return 0
    if arguments[0] == "--check":
        return check(arguments[1:])
    return fail(__doc__)


if __name__ == "__main__":
    sys.exit(main())

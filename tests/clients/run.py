#!/usr/bin/env python3
"""Real clients as a confined role, compared with a plain role of the same rights on the same data.

usage: run.py --cache DIR --pg-config PATH [--pg-config PATH ...] [CLIENT ...]

Each client runs three times against each server: as the plain role and as the agent in the database
`open`, where the agent may read all that the plain one may, and as the agent in `masked`, where a
canary in any output is a leak. Every step must work for the plain role, and give the agent the same;
where it does not, docs/clients.md must list it, with its reason, and what is listed must still
differ. The last line is `N passed, N failed`.
"""

import argparse
import difflib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from lib import databases  # noqa: E402
from lib.cluster import Cluster  # noqa: E402

HERE = Path(__file__).resolve().parent
LIST = databases.ROOT / "docs/clients.md"


def commands(cache):
    """How each client is started, and what is installed for it."""
    def python(venv, script, *arguments):
        return [cache / venv / "bin/python", HERE / script, *arguments]

    node, jars = cache / "node/node_modules", f"{cache}/jdbc/postgresql.jar:{cache}/jdbc/classes"
    return {
        "psql": [sys.executable, HERE / "psql.py"],
        "pg_dump": [sys.executable, HERE / "pg_dump.py"],
        "psycopg": python("py", "psycopg_.py"),
        "asyncpg": python("py", "asyncpg_.py"),
        "SQLAlchemy": python("py", "sqlalchemy_.py"),
        "pgcli": python("py", "pgcli_.py"),
        "LangChain": python("py", "langchain_.py"),
        "pgjdbc": ["java", "-cp", jars, "Jdbc"],
        "node pg": ["node", HERE / "node_pg.js"],
        "postgres-mcp": python("mcp", "mcp_.py", "postgres-mcp", cache / "mcp/bin/postgres-mcp", "--access-mode=restricted"),
        "server-postgres": python("py", "mcp_.py", "server-postgres", "node",
                                  node / "@modelcontextprotocol/server-postgres/dist/index.js"),
        "dbt": python("dbt", "dbt_.py"),
    }


class Report:
    def __init__(self):
        self.passed, self.failures, self.seen = 0, [], set()
        self.listed = read_list()

    def check(self, what, fault):
        if fault is None:
            self.passed += 1
        else:
            self.failures.append(what)
            print(f"FAILED {what}\n    " + "\n    ".join(str(fault)[:3000].splitlines()), flush=True)


def read_list():
    """(client, step) of every row of the table of differences."""
    rows = set()
    text = LIST.read_text()
    text = text[text.index("## What differs"):]
    for line in text.splitlines():
        cells = [c.strip().replace("\\|", "|") for c in re.split(r"(?<!\\)\|", line)[1:-1]]
        if len(cells) == 4 and cells[0] not in ("client", "---") and not cells[0].startswith("---"):
            for step in cells[1].split(", "):
                rows.add((cells[0], step.strip("`")))
    return rows


def same_for_both(text):
    """Which of the two roles it is, and what changes from one connection to the next."""
    text = re.sub(r"(agent|plain)_(open|masked|builder)", "ROLE", text)
    text = re.sub(r"marts_(agent|plain)", "MARTS", text)
    text = re.sub(r"Backend PID *\| *\d+", "Backend PID", text)
    text = re.sub(r"\w{3} \w{3} +\d+ [\d:]{8} \d{4} \(every", "(every", text)
    # Columns of psql's tables are as wide as their widest value.
    return re.sub(r"[ -]+", " ", text)


def run(command, door, cache, more=None):
    """The steps of one run: name -> line; and everything it printed."""
    env = {**door.env(), "NODE_PATH": str(cache / "node/node_modules"), "PYTHONPATH": str(HERE), **(more or {})}
    done = subprocess.run([str(c) for c in command], env=env, capture_output=True, text=True, timeout=600)
    steps = {}
    for line in done.stdout.splitlines():
        try:
            parsed = json.loads(line)
            steps[parsed["step"]] = parsed
        except (ValueError, KeyError, TypeError):
            steps.setdefault("(noise)", {"value": ""})["value"] += line
    return steps, done


def must_run(report, label, steps, done):
    fault = None
    if done.returncode != 0 or not steps:
        fault = f"exit status {done.returncode}\n{done.stdout[-1500:]}{done.stderr[-1500:]}"
    report.check(f"{label}: runs", fault)


def is_denial(step):
    return step.startswith("denied") or step == "model: denied"


def denial_fault(line):
    """A denial has to arrive: message, SQLSTATE where the client has one, and the HINT."""
    text = json.dumps(line)
    if "not allowed" not in text:
        return f"no denial: {text}"
    error = line.get("error")
    if error is not None and not (error["code"] == "42501" and error["hint"]):
        return f"no SQLSTATE or HINT: {text}"
    # What a client's own text leaves out of an error is not ours: the reference server sends the message only.
    return None


def compare(report, client, label, plain, agent):
    for step in list(plain) + [s for s in agent if s not in plain]:
        name = f"{label}: {step}"
        if is_denial(step):
            report.check(name, denial_fault(agent.get(step, {})))
            continue
        if "error" in plain.get(step, {}):
            report.check(name, f"the plain role's run fails: {plain[step]}")
            continue
        texts = [
            same_for_both(json.dumps(run.get(step), indent=1, ensure_ascii=False).replace("\\n", "\n"))
            for run in (plain, agent)
        ]
        if texts[0] == texts[1]:
            report.check(name, None)
        elif (client, step) in report.listed:
            report.seen.add((client, step))
            report.check(name, None)
        else:
            diff = difflib.unified_diff(texts[0].splitlines(), texts[1].splitlines(), "plain", "agent", lineterm="", n=1)
            report.check(name, "\n".join(list(diff)[:25]))


def masked(report, label, steps, done):
    text = done.stdout + done.stderr
    leaks = [c for c in databases.CANARIES if c in text]
    where = [s for s, line in steps.items() if any(c in json.dumps(line, ensure_ascii=False) for c in leaks)]
    report.check(f"{label}: no raw value", f"{leaks} in {where or 'stderr'}" if leaks else None)
    for step, line in steps.items():
        if is_denial(step):
            report.check(f"{label}: {step}", denial_fault(line))
    if "rows" in steps:
        seen = json.dumps(steps["rows"])
        fault = None if "c***@example.com" in seen and "Customer 400" in seen else seen[:800]
        report.check(f"{label}: masked rows", fault)


def check_version(report, pg_config, wanted, cache):
    cluster = Cluster(pg_config)
    failed_before = len(report.failures)
    try:
        version = cluster.version
        open_doors, masked_doors = databases.create(cluster, "open"), databases.create(cluster, "masked")
        for client, command in commands(cache).items():
            if wanted and client not in wanted:
                continue
            if not (shutil.which(str(command[0])) or Path(command[0]).exists()):
                report.check(f"{version} {client}: installed", f"{command[0]} is missing; run scripts/test-clients.sh")
                continue
            runs = [run(command, door, cache) for door in (open_doors[1], open_doors[0])]
            for role, (steps, done) in zip(("plain", "agent"), runs):
                must_run(report, f"{version} {client} as {role}", steps, done)
            compare(report, client, f"{version} {client}", runs[0][0], runs[1][0])
            steps, done = run(command, masked_doors[0], cache)
            must_run(report, f"{version} {client} masked", steps, done)
            masked(report, f"{version} {client} masked", steps, done)
            if client == "dbt":
                doors = databases.builders(cluster, "open")
                runs = [run(command, door, cache, {"CLIENT_DBT_BUILD": "1", "CLIENT_DBT_SCHEMA": schema})
                        for door, schema in ((doors[1], "marts_plain"), (doors[0], "marts_agent"))]
                compare(report, client, f"{version} {client} builds", runs[0][0], runs[1][0])
            print(f"{version} {client}: done", flush=True)
        log = (cluster.dir / "log").read_text(errors="replace")
        crashed = "was terminated by signal" in log
        report.check(f"{version}: no server process died", log[-2000:] if crashed else None)
    finally:
        failed = len(report.failures) > failed_before
        if failed and os.environ.get("KEEP"):
            print(f"kept: {cluster.dir}")
        cluster.stop(keep=failed and bool(os.environ.get("KEEP")))
    return version


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--pg-config", action="append", required=True)
    parser.add_argument("client", nargs="*")
    arguments = parser.parse_args()
    report = Report()
    unknown = set(arguments.client) - set(commands(arguments.cache))
    if unknown:
        sys.exit(f"no such client: {', '.join(unknown)}; there are: {', '.join(commands(arguments.cache))}")
    versions = [check_version(report, p, arguments.client, arguments.cache) for p in arguments.pg_config]
    if {15, 18} <= set(versions):
        for client, step in sorted(report.listed - report.seen):
            if not arguments.client or client in arguments.client:
                report.check(f"docs/clients.md: {client}: {step}", "listed as different, and is not any more")
    if report.failures:
        print("\nfailed:\n  " + "\n  ".join(report.failures))
    print(f"\n{len(report.seen)} steps differ from the plain role's, all listed" if not report.failures else "")
    print(f"{report.passed} passed, {len(report.failures)} failed")
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())

"""dbt: debug, show, the catalog of `docs generate`, and models: denied to a role that only reads."""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from lib import steps
from lib.steps import emit

DBT = os.path.join(os.path.dirname(sys.executable), "dbt")
# A role that may define things builds models in this schema; see lib/databases.py.
TARGET = os.environ.get("CLIENT_DBT_SCHEMA", "shop")

PROFILE = """
shop:
  target: test
  outputs:
    test:
      type: postgres
      host: "{PGHOST}"
      port: {PGPORT}
      user: "{PGUSER}"
      pass: "{PGPASSWORD}"
      dbname: "{PGDATABASE}"
      schema: "{TARGET}"
      threads: 1
"""
PROJECT = """
name: shop
version: "1.0"
profile: shop
models:
  shop:
    +materialized: table
"""
SOURCES = """
sources:
  - name: shop
    schema: shop
    tables: [{name: orders}, {name: customers}]
"""


def project(place):
    (place / "models").mkdir()
    # dbt-postgres has no option for start-up options: libpq takes them from PGOPTIONS.
    (place / "profiles.yml").write_text(PROFILE.format(TARGET=TARGET, **os.environ))
    (place / "dbt_project.yml").write_text(PROJECT)
    (place / "models/sources.yml").write_text(SOURCES)
    (place / "models/by_status.sql").write_text(
        "select status, count(*) as n from {{ source('shop', 'orders') }} group by status")
    (place / "models/a_view.sql").write_text(
        "{{ config(materialized='view') }} select * from {{ ref('by_status') }}")


def dbt(place, *arguments):
    # dbt imports every module in its path that begins with dbt_, this one among them.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    run = subprocess.run(
        [DBT, "--no-use-colors", "--no-send-anonymous-usage-stats", "--no-version-check", "--log-format-file", "text",
         *arguments, "--project-dir", ".", "--profiles-dir", "."],
        cwd=place, capture_output=True, text=True, timeout=1200, env={**environment, "DO_NOT_TRACK": "1"})
    # Times, durations, versions.
    text = re.sub(r"^\d\d:\d\d:\d\d +", "", run.stdout, flags=re.M)
    text = re.sub(r"in [\d.]+s|\d+\.\d+ seconds|\d+ hours.*seconds", "in …", text)
    return run.returncode, text, run.stderr


def look(place):
    code, text, errors = dbt(place, "debug", "--connection")
    emit("debug", value=[code, "Connection test: [OK connection ok]" in text])
    for step, sql in (("query", steps.AGGREGATE), ("rows", steps.ROWS)):
        code, text, errors = dbt(place, "show", "--inline", sql, "--limit", "500", "--output", "json")
        emit(step, value=[code, text[text.find("{"):] if code == 0 and "{" in text else text])
    code, text, errors = dbt(place, "show", "--inline", steps.DENIED)
    emit("model: denied", value=[l.strip() for l in text.splitlines() if re.search("denied|not allowed|HINT:", l)])
    code, text, errors = dbt(place, "docs", "generate", "--no-compile")
    emit("catalog", value=catalog(place) if code == 0 else [code, text, errors])
    code, text, errors = dbt(place, "run", "--select", "by_status")
    emit("denied: a model", value=outcome(code, text))


def build(place):
    for step in ("run", "run again"):
        code, text, errors = dbt(place, "run")
        emit(step, value=outcome(code, text))
    code, text, errors = dbt(place, "show", "--inline", "select * from {{ ref('a_view') }} order by 1", "--output", "json")
    emit("the model's rows", value=text[text.find("{"):])


def outcome(code, text):
    lines = [l.strip() for l in text.splitlines() if re.search(r"OK created|ERROR|not allowed|permission denied|HINT:", l)]
    return [code, [re.sub(r"\.{3,}.*?(\[.*\])?$", r" \1", l) for l in lines]]


def main():
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        project(place)
        if os.environ.get("CLIENT_DBT_BUILD"):
            build(place)
        else:
            look(place)


def catalog(place):
    found = json.loads((place / "target/catalog.json").read_text())
    return {kind: {name: [node["metadata"], node["columns"]] for name, node in sorted(found[kind].items())}
            for kind in ("nodes", "sources")}


if __name__ == "__main__":
    main()

"""The databases that clients are shown.

`open`:   the agent may read whatever the plain role may; nothing is masked. Every answer is compared.
`masked`: the shop of the cluster tests with hidden tables, masks and raw values that must not show.
"""

from pathlib import Path

from .cluster import Door

ROOT = Path(__file__).resolve().parents[3]
SHOP = ROOT / "tests/fixtures/shop.sql"

# As in tests/src/bench.rs.
CANARIES = ["okapi.test", "811-22-", "+44-7700-9", "1931-", "88100", "QUAGGA"]

_SAME_RIGHTS = """
DROP SCHEMA vault CASCADE;
DROP TABLE shop.hidden;
REVOKE ALL ON ALL TABLES IN SCHEMA shop FROM {agent}, {plain};
REVOKE ALL ON ALL SEQUENCES IN SCHEMA shop FROM {agent}, {plain};
REVOKE CREATE ON SCHEMA shop FROM {agent}, {plain};
REVOKE TEMP, CREATE ON DATABASE {db} FROM {agent}, {plain}, PUBLIC;
GRANT SELECT ON ALL TABLES IN SCHEMA shop TO {agent}, {plain};
GRANT SELECT ON ALL SEQUENCES IN SCHEMA shop TO {agent}, {plain};
COMMENT ON TABLE shop.orders IS 'What was ordered';
COMMENT ON COLUMN shop.orders.amount IS 'in euros';
CREATE TYPE shop.mood AS ENUM ('bad', 'fair', 'good');
CREATE DOMAIN shop.positive AS int CHECK (VALUE > 0);
CREATE TABLE shop.types (
    id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, flag boolean DEFAULT true, small smallint, big bigint,
    real4 real, real8 double precision, price numeric(10,2) CHECK (price >= 0), code char(3), label varchar(20),
    body text, raw bytea, day date, at time, stamp timestamp, stamptz timestamptz, span interval, ident uuid,
    doc json, docb jsonb, addr inet, tags text[], feeling shop.mood, amount shop.positive, during tstzrange,
    bigger bigint GENERATED ALWAYS AS (big * 2) STORED);
INSERT INTO shop.types (small, big, real4, real8, price, code, label, body, raw, day, at, stamp, stamptz, span, ident,
    doc, docb, addr, tags, feeling, amount, during)
VALUES (1, 2, 1.5, 2.25, 9.99, 'abc', 'label', 'body', '\\x00ff', '2024-02-29', '12:34:56', '2024-02-29 12:34:56',
    '2024-02-29 12:34:56+00', '1 day 02:03:04', '00000000-0000-4000-8000-000000000001', '{{"a": 1}}', '{{"a": [1, 2]}}',
    '192.0.2.1', '{{a,b}}', 'good', 7, '[2024-01-01 00:00+00,2024-02-01 00:00+00)'),
    (NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
    NULL, NULL, NULL);
GRANT SELECT ON shop.types, shop.types_id_seq TO {agent}, {plain};
ANALYZE;
"""

_MASKS = [
    ("shop.customers", "email", "email"), ("shop.customers", "ssn", "redact"), ("shop.customers", "phone", "redact"),
    ("shop.customers", "born", "redact"), ("shop.customers", "salary", "redact"), ("shop.customers", "note", "redact"),
    ("shop.customers", "profile", "redact"), ("shop.events", "email", "redact"), ("shop.events", "payload", "redact"),
]


# The reference MCP server lists the tables of the schema public and no others.
_PUBLIC = """
CREATE TABLE public.notes (id int PRIMARY KEY, note text);
INSERT INTO public.notes VALUES (1, 'a note');
GRANT SELECT ON public.notes TO {agent}, {plain};
"""


# Two roles that build models, one of them confined with the capability `ddl`, each in a schema of
# its own.
_BUILDERS = """
CREATE ROLE agent_builder LOGIN PASSWORD '{password}';
CREATE ROLE plain_builder LOGIN PASSWORD '{password}';
CREATE SCHEMA marts_agent;
CREATE SCHEMA marts_plain;
GRANT ALL ON SCHEMA marts_agent TO agent_builder;
GRANT ALL ON SCHEMA marts_plain TO plain_builder;
GRANT USAGE ON SCHEMA shop TO agent_builder, plain_builder;
GRANT SELECT ON ALL TABLES IN SCHEMA shop TO agent_builder, plain_builder;
SELECT agent_policy.protect_role('agent_builder', 'ddl');
SELECT agent_policy.allow_schema('agent_builder', 'shop');
SELECT agent_policy.allow_schema('agent_builder', 'marts_agent', 'write');
"""


def builders(cluster, name):
    """The doors of the builders into a database that `create` has made."""
    cluster.sql(_BUILDERS.format(password=cluster.password), name)
    return Door(cluster, name, "agent_builder", True), Door(cluster, name, "plain_builder", False)


def create(cluster, name):
    """A database with the shop; gives the doors of the agent and of the plain role."""
    agent, plain = f"agent_{name}", f"plain_{name}"
    fill = {"agent": agent, "plain": plain, "db": name}
    cluster.sql(f"CREATE DATABASE {name}", "postgres")
    cluster.sql("DO $$ BEGIN CREATE ROLE shop_owner; EXCEPTION WHEN duplicate_object THEN NULL; END $$", "postgres")
    for role in (agent, plain):
        cluster.sql(f"CREATE ROLE {role} LOGIN PASSWORD '{cluster.password}'", "postgres")
    shop = SHOP.read_text()
    for key, value in fill.items():
        shop = shop.replace(f"@{key}@", value)
    cluster.sql("CREATE EXTENSION agent_policy;" + shop + _PUBLIC.format(**fill), name)
    policy = [
        f"SELECT agent_policy.protect_role('{agent}')",
        f"SELECT agent_policy.allow_schema('{agent}', 'shop'), agent_policy.allow_schema('{agent}', 'public')",
    ]
    if name.startswith("open"):
        cluster.sql(_SAME_RIGHTS.format(**fill), name)
        # Where a sequence stands that belongs to no column is shown when it is allowed by name.
        policy.append(f"SELECT agent_policy.allow_relation('{agent}', 'shop.counter')")
        policy.append(
            f"SELECT agent_policy.allow_function('{agent}', p.oid) FROM pg_proc p WHERE pronamespace = 'shop'::regnamespace"
        )
    else:
        policy.append(f"SELECT agent_policy.deny_relation('{agent}', 'shop.hidden')")
        policy += [f"SELECT agent_policy.mask_column('{t}', '{c}', '{m}')" for t, c, m in _MASKS]
    cluster.sql(";\n".join(policy), name)
    return Door(cluster, name, agent, True), Door(cluster, name, plain, False)

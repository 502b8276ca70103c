-- The policy as stored. Every row is written by the functions of this schema; the
-- statement triggers at the end of the script tell running sessions to read it again.
-- Names that pg_dump must carry to another cluster are stored as names (regrole and
-- regclass are dumped as names, schemas and functions are kept as text).

CREATE TABLE policy_role (
    role            regrole PRIMARY KEY,
    capability      text NOT NULL CHECK (capability IN ('read_only', 'read_write', 'ddl')),
    mode            text NOT NULL CHECK (mode IN ('enforce', 'monitor')),
    identity        text NOT NULL DEFAULT 'connection'
                    CHECK (identity IN ('none', 'asserted', 'connection', 'signed')),
    strict_views    boolean NOT NULL DEFAULT false,
    -- what becomes of a column that has neither mask nor label
    unclassified    text NOT NULL DEFAULT 'show' CHECK (unclassified IN ('show', 'mask')),
    max_rows        bigint DEFAULT 10000 CHECK (max_rows >= 0),
    max_bytes       bigint DEFAULT 67108864 CHECK (max_bytes >= 0),
    on_excess       text NOT NULL DEFAULT 'truncate' CHECK (on_excess IN ('truncate', 'error')),
    -- milliseconds
    statement_timeout bigint DEFAULT 60000 CHECK (statement_timeout > 0),
    max_plan_cost   float8 CHECK (max_plan_cost > 0)
);

CREATE TABLE policy_schema (
    role            regrole NOT NULL,
    schema_name     name NOT NULL,
    access          text NOT NULL CHECK (access IN ('read', 'write')),
    PRIMARY KEY (role, schema_name)
);

CREATE TABLE policy_relation (
    role            regrole NOT NULL,
    relation        regclass NOT NULL,
    access          text NOT NULL CHECK (access IN ('read', 'write', 'deny')),
    PRIMARY KEY (role, relation)
);

CREATE TABLE policy_column (
    role            regrole NOT NULL,
    relation        regclass NOT NULL,
    column_name     name NOT NULL,
    PRIMARY KEY (role, relation, column_name)
);

CREATE TABLE policy_function (
    role            regrole NOT NULL,
    -- schema-qualified signature, as regprocedure prints it with an empty search_path
    function        text NOT NULL,
    access          text NOT NULL CHECK (access IN ('allow', 'deny')),
    trusted         boolean NOT NULL DEFAULT false,
    PRIMARY KEY (role, function)
);

CREATE TABLE policy_extension (
    role            regrole NOT NULL,
    extension       name NOT NULL,
    PRIMARY KEY (role, extension)
);

-- role 0 ("-") stands for every protected role.
CREATE TABLE policy_mask (
    role            regrole NOT NULL,
    relation        regclass NOT NULL,
    column_name     name NOT NULL,
    mask            text NOT NULL,
    options         jsonb NOT NULL DEFAULT '{}',
    -- what stands in for the column: an SQL expression over the relation's row, every name
    -- outside pg_catalog qualified; NULL for mask 'none'
    expression      text,
    -- who set it, and with whose privileges it is parsed; 0: nobody, the relation is closed
    definer         regrole NOT NULL DEFAULT 0,
    PRIMARY KEY (role, relation, column_name)
);

-- What columns with a security label show. The labels themselves are in pg_seclabel.
CREATE TABLE policy_label (
    role            regrole NOT NULL,
    label           text NOT NULL,
    mask            text NOT NULL,
    -- the text of a jsonb object
    options         text NOT NULL DEFAULT '{}',
    -- as in policy_mask
    definer         regrole NOT NULL DEFAULT 0,
    PRIMARY KEY (role, label)
);

CREATE TABLE policy_filter (
    role            regrole NOT NULL,
    relation        regclass NOT NULL,
    name            text NOT NULL,
    -- as given
    predicate       text NOT NULL,
    -- as parsed when it was set: every name outside pg_catalog qualified
    expression      text NOT NULL,
    -- with whose privileges it is parsed and its subqueries run
    definer         regrole NOT NULL,
    PRIMARY KEY (role, relation, name)
);

CREATE TABLE policy_group_size (
    role            regrole NOT NULL,
    relation        regclass NOT NULL,
    -- rows
    minimum         bigint NOT NULL CHECK (minimum >= 2),
    PRIMARY KEY (role, relation)
);

-- No primary key: pg_restore sets the labels of columns, which are recorded, before it copies the
-- rows that it has.
CREATE TABLE policy_history (
    id              bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    changed_at      timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    changed_by      name NOT NULL,
    function        text NOT NULL,
    arguments       jsonb NOT NULL
);
CREATE INDEX ON policy_history (id);

-- The key of the mask "hash". It is in no dump: a restored database has a key, and hashes, of its
-- own, unless the superuser carries the row over; the oldest row counts. Readable by superusers
-- only, and by the library.
CREATE TABLE policy_secret (
    created_at      timestamptz PRIMARY KEY DEFAULT pg_catalog.clock_timestamp(),
    mask_key        bytea NOT NULL CHECK (pg_catalog.length(mask_key) = 32)
);

-- gen_random_uuid() draws 122 bits from pg_strong_random; three make more than 256.
INSERT INTO policy_secret (mask_key)
SELECT pg_catalog.sha256(pg_catalog.uuid_send(pg_catalog.gen_random_uuid())
                         || pg_catalog.uuid_send(pg_catalog.gen_random_uuid())
                         || pg_catalog.uuid_send(pg_catalog.gen_random_uuid()));

-- pg_dump carries the policy and its history, but for rows of roles and relations that are gone:
-- their numbers would mean others elsewhere.
DO $$
DECLARE
    t text;
    has_role text := 'EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.oid = role)';
    has_relation text := 'EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = relation)';
BEGIN
    FOREACH t IN ARRAY ARRAY['policy_role', 'policy_schema', 'policy_function', 'policy_extension'] LOOP
        PERFORM pg_catalog.pg_extension_config_dump(('agent_policy.' || t)::regclass, 'WHERE ' || has_role);
    END LOOP;
    FOREACH t IN ARRAY ARRAY['policy_relation', 'policy_column'] LOOP
        PERFORM pg_catalog.pg_extension_config_dump(('agent_policy.' || t)::regclass,
            'WHERE ' || has_role || ' AND ' || has_relation);
    END LOOP;
    -- Role 0 stands for all of them.
    has_role := '(role::pg_catalog.oid = 0 OR ' || has_role || ')';
    PERFORM pg_catalog.pg_extension_config_dump('agent_policy.policy_label'::regclass, 'WHERE ' || has_role);
    FOREACH t IN ARRAY ARRAY['policy_mask', 'policy_filter', 'policy_group_size'] LOOP
        PERFORM pg_catalog.pg_extension_config_dump(('agent_policy.' || t)::regclass,
            'WHERE ' || has_role || ' AND ' || has_relation);
    END LOOP;
    FOREACH t IN ARRAY ARRAY['policy_history', 'policy_history_id_seq'] LOOP
        PERFORM pg_catalog.pg_extension_config_dump(('agent_policy.' || t)::regclass, '');
    END LOOP;
END
$$;

-- The audit: one row a statement, written by the ingest worker of this database. The days'
-- partitions belong to the bootstrap superuser and are not members of the extension, so that
-- pg_dump takes them along.

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'agent_policy_admin') THEN
        CREATE ROLE agent_policy_admin NOLOGIN;
    END IF;
END
$$;

CREATE TABLE audit_log (
    event_id          uuid NOT NULL,
    seq               bigint NOT NULL,
    user_email        text,
    assurance         text NOT NULL,
    role_name         text NOT NULL,
    session_user_name text NOT NULL,
    database_name     text NOT NULL,
    application_name  text NOT NULL,
    client_addr       inet,
    backend_pid       integer NOT NULL,
    session_id        text NOT NULL,
    transaction_id    bigint,
    started_at        timestamptz NOT NULL,
    duration_ms       float8,
    nesting_level     integer NOT NULL,
    command_tag       text,
    query_id          bigint,
    statement         text,
    statement_sha256  bytea NOT NULL,
    relations         text[] NOT NULL,
    masked_columns    text[] NOT NULL,
    functions         text[] NOT NULL,
    rows_returned     bigint,
    rows_processed    bigint,
    bytes_returned    bigint,
    truncated         boolean NOT NULL,
    verdict           text NOT NULL CHECK (verdict IN ('allowed', 'denied', 'would_deny')),
    rule              text,
    object            text,
    outcome           text NOT NULL CHECK (outcome IN ('ok', 'error', 'cancelled', 'unknown')),
    sqlstate          text,
    agent             text,
    conversation      text,
    trace_id          text,
    policy_version    bigint NOT NULL,
    backend_seq       bigint NOT NULL,
    mark              bytea NOT NULL,
    who_seal          bytea NOT NULL,
    text_seal         bytea NOT NULL
) PARTITION BY RANGE (started_at);

-- Indexes are made with each partition: one on the parent would belong to the extension, and
-- a dump that creates the partitions' own would meet those that attaching had made already.

COMMENT ON TABLE audit_log IS
    'one row a statement of a confined session, written by the ingest worker; partitioned by day (UTC)';
COMMENT ON COLUMN audit_log.seq IS 'order of ingestion, without gaps';
COMMENT ON COLUMN audit_log.session_id IS
    'the session in its server''s log (%c), @, and the server: health.node there';
COMMENT ON COLUMN audit_log.client_addr IS 'NULL for a Unix socket';
COMMENT ON COLUMN audit_log.statement IS
    'literals replaced by $n, comments removed; NULL where the text does not lex';
COMMENT ON COLUMN audit_log.outcome IS
    'ok, error, cancelled; unknown when the backend was gone before the statement ended';

COMMENT ON COLUMN audit_log.backend_seq IS
    'counts the records of a session from 1: see audit_gaps()';
COMMENT ON COLUMN audit_log.mark IS
    'first bytes of the row''s hash in its block; tells which row it is that was changed';
COMMENT ON COLUMN audit_log.who_seal IS
    'salt of user_email, client_addr and role names that look like addresses; once they are erased, what stands for them';
COMMENT ON COLUMN audit_log.text_seal IS
    'salt of application_name, statement, statement_sha256, object, agent, conversation and trace_id; once they are erased, what stands for them';

CREATE TABLE audit_state (
    id       boolean PRIMARY KEY DEFAULT true CHECK (id),
    last_seq bigint NOT NULL,
    -- NULL: for ever
    keep     interval,
    -- names the chain of blocks
    chain    uuid NOT NULL DEFAULT pg_catalog.gen_random_uuid()
);

-- How far the worker has read the spool files of each session.
CREATE TABLE audit_progress (
    session  text PRIMARY KEY,
    segment  integer NOT NULL,
    read_to  bigint NOT NULL,
    -- starts of statements that have not ended, as in a spool file
    pending  bytea NOT NULL,
    finished boolean NOT NULL
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000);

SELECT pg_catalog.pg_extension_config_dump('audit_state', '');

-- The day's partition, if no partition has that day already: a DBA may have made one of his own, or
-- a default one. A table of the name that is none (detached, or made by hand) is left alone.
CREATE FUNCTION audit_partition(day integer) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    base text := 'audit_log_' || to_char(date '1970-01-01' + day, 'YYYYMMDD');
    name text := base;
    low  text := to_char(date '1970-01-01' + day, 'YYYY-MM-DD') || ' 00:00:00+00';
    high text := to_char(date '1970-01-01' + day + 1, 'YYYY-MM-DD') || ' 00:00:00+00';
    n    integer := 1;
BEGIN
    LOOP
        IF EXISTS (SELECT FROM pg_inherits
                   WHERE inhrelid = to_regclass('agent_policy.' || name)
                     AND inhparent = 'agent_policy.audit_log'::regclass AND NOT inhdetachpending) THEN
            RETURN;
        END IF;
        EXIT WHEN to_regclass('agent_policy.' || name) IS NULL;
        n := n + 1;
        name := base || '_' || n;
    END LOOP;
    EXECUTE format('CREATE TABLE agent_policy.%I (LIKE agent_policy.audit_log INCLUDING ALL)', name);
    EXECUTE format('REVOKE ALL ON agent_policy.%I FROM PUBLIC', name);
    EXECUTE format('CREATE INDEX ON agent_policy.%I (user_email, started_at)', name);
    EXECUTE format('CREATE INDEX ON agent_policy.%I (seq)', name);
    EXECUTE format(
        'ALTER TABLE agent_policy.audit_log ATTACH PARTITION agent_policy.%I FOR VALUES FROM (%L) TO (%L)',
        name, low, high);
EXCEPTION
    -- Another partition has that day, or a default one has rows of it.
    WHEN invalid_object_definition OR check_violation THEN
        NULL;
END
$$;

-- A retention as a signed block has it; null: for ever.
CREATE FUNCTION audit_keep(keep interval) RETURNS jsonb
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN isfinite(keep) THEN jsonb_build_object(
        'months', (extract(year FROM keep) * 12 + extract(month FROM keep))::bigint,
        'days', extract(day FROM keep)::bigint,
        'us', (extract(hour FROM keep) * 3600000000 + extract(minute FROM keep) * 60000000
               + extract(microseconds FROM keep))::bigint)
    ELSE 'null' END
$$;
COMMENT ON FUNCTION audit_keep(interval) IS 'a retention as signed blocks have it (internal)';

-- Whole days only, and none that is being read or written: those are dropped another time. Readers
-- do not queue up behind this for longer than its lock_timeout.
CREATE FUNCTION audit_drop_expired() RETURNS bigint
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '100ms'
SET "TimeZone" = 'UTC'
AS $$
DECLARE
    child  text;
    dated  date;
    kept   jsonb;
    signed jsonb;
    n      bigint := 0;
BEGIN
    FOR child, dated, kept IN
        SELECT c.relname, to_date(substr(c.relname, 11, 8), 'YYYYMMDD'), agent_policy.audit_keep(s.keep)
        FROM pg_inherits i
        JOIN pg_class c ON c.oid = i.inhrelid, agent_policy.audit_state s
        WHERE i.inhparent = 'agent_policy.audit_log'::regclass
          AND c.relname ~ '^audit_log_[0-9]{8}(_[0-9]+)?$'
          AND to_date(substr(c.relname, 11, 8), 'YYYYMMDD') + 1 <= (now() - s.keep) AT TIME ZONE 'UTC'
        ORDER BY 1
    LOOP
        -- Whoever may write to audit_state has nothing dropped by that.
        signed := coalesce(signed, agent_policy.audit_retention()::jsonb);
        IF signed IS DISTINCT FROM kept THEN
            RAISE WARNING 'agent_policy.audit_state.keep is not the retention that was signed: no day of agent_policy.audit_log is dropped'
                USING HINT = 'Set it with agent_policy.set_audit_retention().';
            RETURN n;
        END IF;
        -- All or nothing of a day: the block that tells of it, then its rows. The lock of audit_state
        -- comes first, as in the worker.
        BEGIN
            PERFORM agent_policy.audit_note(2, dated - date '1970-01-01',
                jsonb_build_object('dropped', child, 'by', session_user)::text);
            EXECUTE format('DROP TABLE agent_policy.%I', child);
            -- Records of who read the log go with its days.
            UPDATE agent_policy.audit_block SET note = NULL WHERE day = dated AND kind = 1;
            n := n + 1;
        EXCEPTION WHEN lock_not_available THEN
            RAISE LOG 'partition % of agent_policy.audit_log is in use, it will be dropped later', child;
        END;
    END LOOP;
    RETURN n;
END
$$;
COMMENT ON FUNCTION audit_drop_expired() IS
    'drops the days of audit_log that set_audit_retention does not keep; the number of partitions';

CREATE FUNCTION set_audit_retention(keep interval) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET "TimeZone" = 'UTC'
AS $$
DECLARE
    kept jsonb := agent_policy.audit_keep(keep);
BEGIN
    IF keep < interval '0' THEN
        RAISE EXCEPTION 'the retention must not be negative'
            USING ERRCODE = 'invalid_parameter_value', HINT = 'For example interval ''90 days''; NULL keeps everything.';
    END IF;
    INSERT INTO agent_policy.audit_state AS s (last_seq, keep) VALUES (0, set_audit_retention.keep)
    ON CONFLICT (id) DO UPDATE SET keep = EXCLUDED.keep;
    -- In the chain, too: days are dropped by that, and those that were are measured by it.
    IF kept IS DISTINCT FROM agent_policy.audit_retention()::jsonb THEN
        PERFORM agent_policy.audit_note(4, current_date - date '1970-01-01',
            jsonb_build_object('keep', kept, 'by', session_user)::text);
    END IF;
    INSERT INTO agent_policy.policy_history (changed_by, function, arguments)
    VALUES (session_user, 'set_audit_retention', jsonb_build_object('keep', set_audit_retention.keep));
    PERFORM agent_policy.audit_drop_expired();
END
$$;
COMMENT ON FUNCTION set_audit_retention(interval) IS
    'days of audit_log older than keep are dropped, now and by the worker; NULL keeps them for ever';

CREATE FUNCTION audit_flush_seconds(timeout float8) RETURNS bigint
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'audit_flush_wrapper';

CREATE FUNCTION audit_flush(timeout interval DEFAULT '10 s') RETURNS bigint
LANGUAGE sql VOLATILE STRICT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$ SELECT agent_policy.audit_flush_seconds(extract(epoch FROM timeout)::float8) $$;
COMMENT ON FUNCTION audit_flush(interval) IS
    'waits until every audit record that is durable now is in audit_log; its highest seq; 57014 after timeout';

CREATE FUNCTION audit_health(
    OUT spool_bytes bigint, OUT lag float8, OUT writer text, OUT last_error text,
    OUT last_ingested_at float8, OUT last_seq bigint, OUT failures bigint, OUT durability text,
    OUT state text, OUT max_spool_bytes bigint, OUT write_failures bigint, OUT last_error_at float8,
    OUT node text
) RETURNS SETOF record
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'audit_health_wrapper';

CREATE VIEW health AS
SELECT spool_bytes,
       pg_catalog.make_interval(secs => lag) AS lag,
       writer,
       last_error,
       pg_catalog.to_timestamp(last_ingested_at) AS last_ingested_at,
       last_seq,
       failures,
       durability,
       state,
       max_spool_bytes,
       write_failures,
       pg_catalog.to_timestamp(last_error_at) AS last_error_at,
       node
FROM audit_health();
COMMENT ON VIEW health IS
    'state of the audit: bytes not yet in audit_log, for how long, its worker, its last error';
COMMENT ON COLUMN health.state IS
    'ok; behind: audit_log is not being written; agents are refused: records cannot be written, or too many wait';
COMMENT ON COLUMN health.spool_bytes IS 'audit records that are not in audit_log yet';
COMMENT ON COLUMN health.max_spool_bytes IS 'agent_policy.audit_max_spool: beyond it agents are refused';
COMMENT ON COLUMN health.lag IS 'how long the oldest of them may have waited';
COMMENT ON COLUMN health.writer IS
    'the background worker that writes audit_log, or on a standby hands the records over to the primary';
COMMENT ON COLUMN health.node IS
    'which server this is: in session_id after the @, and in audit_node; a copy of a server has another one';
COMMENT ON COLUMN health.failures IS 'failures of the writer since it last wrote';
COMMENT ON COLUMN health.write_failures IS
    'records that backends could not make durable since the server started: their statements were refused';

REVOKE ALL ON audit_log, audit_state, audit_progress, health FROM PUBLIC;
REVOKE ALL ON FUNCTION audit_partition(integer), audit_keep(interval), audit_drop_expired(), set_audit_retention(interval),
    audit_flush(interval), audit_flush_seconds(float8), audit_health() FROM PUBLIC;
GRANT USAGE ON SCHEMA agent_policy TO agent_policy_admin;
GRANT SELECT ON audit_log, health TO agent_policy_admin;
GRANT EXECUTE ON FUNCTION set_audit_retention(interval), audit_flush(interval),
    audit_flush_seconds(float8), audit_health() TO agent_policy_admin;

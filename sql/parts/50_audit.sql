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

-- The partitions and what they are for, whoever made them. A default one has no bounds.
CREATE FUNCTION audit_partitions(
    OUT part regclass, OUT is_default boolean, OUT low timestamptz, OUT high timestamptz
) RETURNS SETOF record
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
SET "TimeZone" = 'UTC'
SET "DateStyle" = 'ISO'
AS $$
    SELECT p.oid::regclass, p.bound = 'DEFAULT',
           CASE b[1] WHEN 'MINVALUE' THEN '-infinity' ELSE trim(BOTH '''' FROM b[1]) END::timestamptz,
           CASE b[2] WHEN 'MAXVALUE' THEN 'infinity' ELSE trim(BOTH '''' FROM b[2]) END::timestamptz
    FROM (SELECT c.oid, pg_get_expr(c.relpartbound, c.oid) AS bound
          FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
          WHERE i.inhparent = 'agent_policy.audit_log'::regclass AND NOT i.inhdetachpending) p,
         LATERAL regexp_match(p.bound, '^FOR VALUES FROM \((.+)\) TO \((.+)\)$') b
    WHERE p.bound IS NOT NULL
$$;
COMMENT ON FUNCTION audit_partitions() IS 'partitions of audit_log with their bounds (internal)';

-- The day's partition, if no partition has that day already: a DBA may have made one of his own, or
-- a default one. A table of the name that is none (detached, or made by hand) is left alone.
CREATE FUNCTION audit_partition(day integer) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    base   text := 'audit_log_' || to_char(date '1970-01-01' + day, 'YYYYMMDD');
    name   text := base;
    begins text := to_char(date '1970-01-01' + day, 'YYYY-MM-DD') || ' 00:00:00+00';
    ends   text := to_char(date '1970-01-01' + day + 1, 'YYYY-MM-DD') || ' 00:00:00+00';
    n      integer := 1;
BEGIN
    IF EXISTS (SELECT FROM agent_policy.audit_partitions() p
               WHERE p.low <= begins::timestamptz AND p.high >= ends::timestamptz) THEN
        RETURN;
    END IF;
    WHILE to_regclass('agent_policy.' || name) IS NOT NULL LOOP
        n := n + 1;
        name := base || '_' || n;
    END LOOP;
    EXECUTE format('CREATE TABLE agent_policy.%I (LIKE agent_policy.audit_log INCLUDING ALL)', name);
    EXECUTE format('REVOKE ALL ON agent_policy.%I FROM PUBLIC', name);
    EXECUTE format('CREATE INDEX ON agent_policy.%I (user_email, started_at)', name);
    EXECUTE format('CREATE INDEX ON agent_policy.%I (seq)', name);
    EXECUTE format(
        'ALTER TABLE agent_policy.audit_log ATTACH PARTITION agent_policy.%I FOR VALUES FROM (%L) TO (%L)',
        name, begins, ends);
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

-- Days from one time to another that have rows, or records of readers, by their blocks, and were not dropped since.
CREATE FUNCTION audit_days(low timestamptz, high timestamptz) RETURNS date[]
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
SET "TimeZone" = 'UTC'
AS $$
    WITH RECURSIVE each (day) AS (
        SELECT min(b.day) FROM agent_policy.audit_block b WHERE b.day >= low::date
        UNION ALL
        SELECT (SELECT min(b.day) FROM agent_policy.audit_block b WHERE b.day > each.day)
        FROM each WHERE each.day < high
    )
    SELECT coalesce(array_agg(each.day ORDER BY each.day), '{}')
    FROM each
    WHERE each.day < high
      AND EXISTS (SELECT FROM agent_policy.audit_block b
                  WHERE b.day = each.day AND (b.kind = 0 OR b.kind = 1 AND b.note IS NOT NULL)
                    AND b.number > coalesce((SELECT max(d.number) FROM agent_policy.audit_block d
                                             WHERE d.day = each.day AND d.kind = 2), 0))
$$;
COMMENT ON FUNCTION audit_days(timestamptz, timestamptz) IS
    'days (UTC) between two times of which blocks have rows or records of readers (internal)';

-- Partitions of which every day is over, and none that is being read or written: those are dropped another time.
-- Readers do not queue up behind this for longer than its lock_timeout.
CREATE FUNCTION audit_drop_expired() RETURNS bigint
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '100ms'
SET "TimeZone" = 'UTC'
AS $$
DECLARE
    kept    jsonb;
    over    timestamptz;
    signed  jsonb;
    child   record;
    aligned boolean;
    days    date[];
    dated   date;
    found   boolean;
    stuck   text[] := '{}';
    n       bigint := 0;
BEGIN
    -- What started before is over: whole days.
    SELECT agent_policy.audit_keep(s.keep), date_trunc('day', now() - s.keep) INTO kept, over
    FROM agent_policy.audit_state s;
    IF over IS NULL THEN
        RETURN 0;
    END IF;
    FOR child IN
        SELECT p.part, p.part::text AS name, p.is_default, p.low, p.high, p.high <= over AS ended
        FROM agent_policy.audit_partitions() p
        WHERE p.is_default OR p.low < over
        -- The default one last: what is left is looked for there.
        ORDER BY p.low NULLS LAST
    LOOP
        -- Whoever may write to audit_state has nothing dropped by that.
        signed := coalesce(signed, agent_policy.audit_retention()::jsonb);
        IF signed IS DISTINCT FROM kept THEN
            RAISE WARNING 'agent_policy.audit_state.keep is not the retention that was signed: no day of agent_policy.audit_log is dropped'
                USING HINT = 'Set it with agent_policy.set_audit_retention().';
            RETURN n;
        END IF;
        IF child.is_default THEN
            -- Where no other partition has them. The log is read only if blocks know of such days.
            SELECT EXISTS (SELECT FROM unnest(agent_policy.audit_days('-infinity', over)) AS d (day)
                           WHERE NOT EXISTS (SELECT FROM agent_policy.audit_partitions() p
                                             WHERE p.low <= d.day AND p.high >= d.day + 1)) INTO found;
            IF found THEN
                EXECUTE format('SELECT EXISTS (SELECT FROM %s WHERE started_at < $1)', child.part) INTO found USING over;
            END IF;
            IF found THEN
                stuck := stuck || format('%s, the default one', child.name);
            END IF;
            CONTINUE;
        ELSIF NOT child.ended THEN
            -- One of several days goes with the last of them; not if that takes for ever, or nearly so.
            IF child.high = 'infinity' AND cardinality(agent_policy.audit_days(child.low, over)) > 0 THEN
                stuck := stuck || format('%s, which has no end', child.name);
            ELSIF child.low < over - interval '31 days'
                AND cardinality(agent_policy.audit_days(child.low, over - interval '31 days')) > 0 THEN
                stuck := stuck || format('%s, which ends at %s', child.name, child.high);
            END IF;
            CONTINUE;
        END IF;
        -- All or nothing of its days: the blocks that tell of them, then the rows. The lock of audit_state
        -- comes first, as in the worker.
        BEGIN
            PERFORM agent_policy.audit_next_block();
            aligned := date_trunc('day', child.low) = child.low AND date_trunc('day', child.high) = child.high;
            days := CASE WHEN aligned AND child.high = child.low + interval '1 day' THEN ARRAY[child.low::date]
                    ELSE agent_policy.audit_days(child.low, child.high) END;
            FOREACH dated IN ARRAY days LOOP
                PERFORM agent_policy.audit_note(2, dated - date '1970-01-01',
                    jsonb_build_object('dropped', child.name, 'by', session_user)::text);
            END LOOP;
            EXECUTE format('DROP TABLE %s', child.part);
            IF NOT aligned THEN
                -- A day goes whole: what other partitions have of the first and the last one, too.
                DELETE FROM agent_policy.audit_log
                WHERE started_at >= date_trunc('day', child.low) AND started_at < child.low
                   OR started_at >= child.high
                      AND started_at < date_trunc('day', child.high - interval '1 us') + interval '1 day';
            END IF;
            -- Records of who read the log go with its days.
            UPDATE agent_policy.audit_block SET note = NULL WHERE day = ANY (days) AND kind = 1;
            n := n + 1;
        EXCEPTION
            WHEN lock_not_available OR object_in_use THEN
                RAISE LOG 'partition % of agent_policy.audit_log is in use, it will be dropped later', child.name;
            WHEN dependent_objects_still_exist OR wrong_object_type THEN
                stuck := stuck || format('%s: %s', child.name, SQLERRM);
        END;
    END LOOP;
    IF stuck <> '{}' THEN
        RAISE WARNING 'rows that are over stay in agent_policy.audit_log: %', array_to_string(stuck, '; ')
            USING HINT = 'A partition is dropped when its upper bound is over, a default one never is.';
    END IF;
    RETURN n;
END
$$;
COMMENT ON FUNCTION audit_drop_expired() IS
    'drops the partitions of audit_log that set_audit_retention does not keep; their number';

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
REVOKE ALL ON FUNCTION audit_partitions(), audit_partition(integer), audit_days(timestamptz, timestamptz),
    audit_keep(interval), audit_drop_expired(), set_audit_retention(interval),
    audit_flush(interval), audit_flush_seconds(float8), audit_health() FROM PUBLIC;
GRANT USAGE ON SCHEMA agent_policy TO agent_policy_admin;
GRANT SELECT ON audit_log, health TO agent_policy_admin;
GRANT EXECUTE ON FUNCTION set_audit_retention(interval), audit_flush(interval),
    audit_flush_seconds(float8), audit_health() TO agent_policy_admin;

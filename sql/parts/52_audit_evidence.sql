-- Tamper evidence of the audit log, and the privacy of those whom it names. What is hashed and signed
-- is described in docs/audit.md.

-- Headers of the chain's blocks. They stay when the days of their rows are dropped.
CREATE TABLE audit_block (
    number     bigint PRIMARY KEY,
    -- 0: rows of audit_log, 1: who read it, 2: a day was dropped, 3: a person was erased, 4: how long days are kept
    kind       smallint NOT NULL,
    first_seq  bigint NOT NULL,
    last_seq   bigint NOT NULL,
    day        date NOT NULL,
    -- start of the oldest and the newest row
    oldest     timestamptz NOT NULL,
    newest     timestamptz NOT NULL,
    sealed_at  timestamptz NOT NULL,
    root       bytea NOT NULL,
    note       text,
    hash       bytea NOT NULL,
    key_id     bytea NOT NULL,
    signature  bytea NOT NULL
);
CREATE INDEX ON audit_block (day, number);
CREATE INDEX ON audit_block (day, number) WHERE kind = 2;
CREATE INDEX ON audit_block (number) WHERE kind = 4;
COMMENT ON TABLE audit_block IS
    'headers of the blocks that the rows of audit_log are chained in, each with the hash over the one before and a signature';

-- Public keys that blocks were signed with: for exports. What is trusted is in the key file.
CREATE TABLE audit_key (
    key_id     bytea PRIMARY KEY,
    public_key bytea NOT NULL,
    first_used timestamptz NOT NULL DEFAULT pg_catalog.now()
);
COMMENT ON TABLE audit_key IS 'public keys that blocks of the audit log were signed with';

CREATE VIEW audit_checkpoints AS
SELECT b.number AS block,
       b.sealed_at,
       b.last_seq,
       b.hash,
       b.key_id,
       k.public_key,
       b.signature,
       pg_catalog.concat_ws(':', 'agent_policy-head', 1,
           pg_catalog.replace(s.chain::text, '-', ''), b.number, b.last_seq,
           (EXTRACT(epoch FROM b.sealed_at) * 1000000)::bigint,
           pg_catalog.encode(b.hash, 'hex'), pg_catalog.encode(b.key_id, 'hex'),
           pg_catalog.encode(b.signature, 'hex')) AS head
FROM audit_block b
CROSS JOIN audit_state s
LEFT JOIN audit_key k USING (key_id);
COMMENT ON VIEW audit_checkpoints IS
    'signed head of each block: keep the newest one elsewhere, and give it to audit_verify()';

SELECT pg_catalog.pg_extension_config_dump('audit_block', '');
SELECT pg_catalog.pg_extension_config_dump('audit_key', '');

CREATE FUNCTION audit_note(kind integer, day integer, note text) RETURNS bigint
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'audit_note_wrapper';
COMMENT ON FUNCTION audit_note(integer, integer, text) IS
    'appends a block that has a note instead of rows; its number (internal)';

CREATE FUNCTION audit_retention() RETURNS text
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'audit_retention_wrapper';
COMMENT ON FUNCTION audit_retention() IS
    'how long days of audit_log are kept, as the newest signed block says that is about that, in the form of audit_keep(); NULL where there is none (internal)';

CREATE FUNCTION audit_verify_log(
    since timestamptz, until timestamptz, heads text[],
    OUT intact boolean, OUT first_bad_seq bigint, OUT checked bigint, OUT head text
) RETURNS SETOF record
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'audit_verify_log_wrapper';

CREATE FUNCTION audit_verify(
    since timestamptz DEFAULT '-infinity', until timestamptz DEFAULT 'infinity', heads text[] DEFAULT '{}',
    OUT intact boolean, OUT first_bad_seq bigint, OUT checked bigint, OUT head text
) RETURNS record
LANGUAGE sql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$ SELECT * FROM agent_policy.audit_verify_log(since, until, heads) $$;
COMMENT ON FUNCTION audit_verify(timestamptz, timestamptz, text[]) IS
    'whether the rows of audit_log that started on the days (UTC) from since to until are those that were written, in a chain that is signed and ends in the newest block; heads: kept elsewhere, see audit_checkpoints. A WARNING names what is wrong. Default: everything';

-- What was written here before the extension was dropped is no log any more.
CREATE FUNCTION audit_begins() RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'audit_begins_wrapper';
SELECT audit_begins();
DROP FUNCTION audit_begins();

-- Who read the log. The notes of blocks of kind 1 are lists of such records.
CREATE FUNCTION audit_reads(
    note text,
    OUT n integer, OUT read_at bigint, OUT role_name text, OUT session_user_name text,
    OUT application_name text, OUT client_addr text, OUT backend_pid integer, OUT session_id text,
    OUT relations text[], OUT statement text, OUT carried_from bigint
) RETURNS SETOF record
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'audit_reads_wrapper';
COMMENT ON FUNCTION audit_reads(text) IS
    'the records of a note of audit_block that tells who read the log, in any encoding of the database (internal)';

CREATE VIEW audit_access AS
SELECT b.number AS block,
       pg_catalog.to_timestamp(r.read_at::float8 / 1000000) AS read_at,
       r.role_name,
       r.session_user_name,
       r.application_name,
       r.client_addr::inet AS client_addr,
       r.backend_pid,
       r.session_id,
       r.relations,
       r.statement,
       r.carried_from
FROM audit_block b
CROSS JOIN LATERAL audit_reads(b.note) r
WHERE b.kind = 1 AND b.note IS NOT NULL;
COMMENT ON VIEW audit_access IS
    'who read or changed audit_log, one row a statement of a session that is not confined; kept as long as audit_log, and chained like it';
COMMENT ON COLUMN audit_access.carried_from IS
    'the block that the record came in, where a person was erased from that one';

-- --- export ---------------------------------------------------------------------------------------

CREATE FUNCTION audit_commitment(
    kind integer, user_email text, client_addr text, role_name text, session_user_name text,
    application_name text, statement text, statement_sha256 bytea, object text, agent text,
    conversation text, trace_id text, salt bytea
) RETURNS bytea
LANGUAGE c IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'audit_commitment';
COMMENT ON FUNCTION audit_commitment(integer, text, text, text, text, text, text, bytea, text, text, text, text, bytea) IS
    'what stands in a row''s hash for its personal fields: 1, who; 2, text (internal)';

-- What stands for the fields of a row that are not handed out.
CREATE FUNCTION audit_closed(l audit_log, kind integer) RETURNS bytea
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE length(s.seal)
        WHEN 16 THEN agent_policy.audit_commitment(kind, l.user_email, l.client_addr::text, l.role_name,
            l.session_user_name, l.application_name, l.statement, l.statement_sha256, l.object, l.agent,
            l.conversation, l.trace_id, s.seal)
        ELSE substr(s.seal, 1, 32)
    END
    FROM (SELECT CASE kind WHEN 1 THEN l.who_seal ELSE l.text_seal END) AS s (seal)
$$;

CREATE FUNCTION audit_export(
    since timestamptz DEFAULT '-infinity', until timestamptz DEFAULT 'infinity', personal boolean DEFAULT true
) RETURNS SETOF text
LANGUAGE plpgsql STABLE STRICT SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET "TimeZone" = 'UTC'
SET bytea_output = 'hex'
SET extra_float_digits = 1
AS $$
DECLARE
    first_day date := since::date;
    last_day  date := until::date;
    low       timestamptz := CASE WHEN isfinite(since) THEN first_day::timestamptz ELSE since END;
    -- its last microsecond: what has no time at all belongs to everything
    high      timestamptz := CASE WHEN isfinite(until) THEN (last_day + 1)::timestamptz - interval '1 us'
                             ELSE until END;
    from_block bigint;
    last_block bigint;
    line       text;
    in_rows    CURSOR FOR SELECT row_to_json(r)::text
        FROM (SELECT 'row' AS type, seq, event_id,
                     CASE WHEN personal THEN user_email END AS user_email,
                     assurance,
                     CASE WHEN personal OR role_name NOT LIKE '%@%' THEN role_name ELSE 'erased' END AS role_name,
                     CASE WHEN personal OR session_user_name NOT LIKE '%@%' THEN session_user_name
                          ELSE 'erased' END AS session_user_name,
                     database_name,
                     CASE WHEN personal THEN application_name ELSE '' END AS application_name,
                     CASE WHEN personal THEN client_addr END AS client_addr,
                     backend_pid, session_id, transaction_id, started_at, duration_ms, nesting_level,
                     command_tag, query_id,
                     CASE WHEN personal THEN statement END AS statement,
                     CASE WHEN personal THEN statement_sha256 ELSE '' END AS statement_sha256,
                     relations, masked_columns, functions, rows_returned, rows_processed, bytes_returned,
                     truncated, verdict, rule,
                     CASE WHEN personal THEN object END AS object,
                     outcome, sqlstate,
                     CASE WHEN personal THEN agent END AS agent,
                     CASE WHEN personal THEN conversation END AS conversation,
                     CASE WHEN personal THEN trace_id END AS trace_id,
                     policy_version, backend_seq, mark,
                     CASE WHEN personal OR length(who_seal) <> 16 THEN who_seal
                          ELSE agent_policy.audit_closed(l, 1) END AS who_seal,
                     CASE WHEN personal OR length(text_seal) <> 16 THEN text_seal
                          ELSE agent_policy.audit_closed(l, 2) END AS text_seal
              FROM agent_policy.audit_log l
              WHERE started_at BETWEEN low AND high
              ORDER BY seq) r;
BEGIN
    -- Before the headers are read: from here on no day is dropped.
    OPEN in_rows;
    SELECT min(number) FILTER (WHERE isfinite(since) AND day BETWEEN first_day AND last_day),
           coalesce(max(number), 0)
    INTO from_block, last_block FROM agent_policy.audit_block;
    -- With the blocks before that a check of these days begins with.
    SELECT CASE WHEN count(*) = 2 THEN min(number) ELSE 1 END INTO from_block
    FROM (SELECT number FROM agent_policy.audit_block WHERE number < from_block
          ORDER BY number DESC LIMIT 2) b;
    RETURN QUERY SELECT json_build_object('type', 'log', 'version', 1, 'chain', s.chain,
            'first_day', first_day, 'last_day', last_day, 'last_block', last_block,
            'personal', personal)::text
        FROM agent_policy.audit_state s;
    RETURN QUERY SELECT row_to_json(k)::text
        FROM (SELECT 'key' AS type, key_id, public_key FROM agent_policy.audit_key ORDER BY first_used) k;
    RETURN QUERY SELECT row_to_json(b)::text
        FROM (SELECT 'block' AS type, * FROM agent_policy.audit_block WHERE number >= from_block ORDER BY number) b;
    LOOP
        FETCH in_rows INTO line;
        EXIT WHEN NOT FOUND;
        RETURN NEXT line;
    END LOOP;
END
$$;
COMMENT ON FUNCTION audit_export(timestamptz, timestamptz, boolean) IS
    'the log of the days (UTC) from since to until as JSON Lines that agent-policy-audit-verify checks without a server; personal => false: without the fields that name or quote a person. Default: everything';

-- --- gaps -----------------------------------------------------------------------------------------

CREATE FUNCTION audit_gaps(
    since timestamptz DEFAULT '-infinity', until timestamptz DEFAULT 'infinity',
    OUT session_id text, OUT first_missing bigint, OUT last_missing bigint, OUT seen_at timestamptz
) RETURNS SETOF record
LANGUAGE sql STABLE STRICT SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET "TimeZone" = 'UTC'
AS $$
    -- What is missing before the first record of a session began after the session did, and session_id has when.
    SELECT session_id, before + 1, backend_seq - 1, started_at
    FROM (SELECT session_id, backend_seq, started_at,
                 coalesce(lag(backend_seq) OVER w, CASE WHEN since = '-infinity' THEN 0 ELSE backend_seq - 1 END) AS before,
                 coalesce(lag(started_at) OVER w,
                          CASE WHEN session_id ~ '^[0-9a-f]{1,8}[.]'
                               THEN to_timestamp(('x' || lpad(split_part(session_id, '.', 1), 16, '0'))::bit(64)::bigint)
                          END) AS after
          FROM agent_policy.audit_log
          WHERE started_at BETWEEN since AND until
          WINDOW w AS (PARTITION BY session_id ORDER BY backend_seq)) s
    WHERE backend_seq > before + 1
      -- Who dropped it, and when, is in the chain.
      AND NOT EXISTS (SELECT FROM agent_policy.audit_block b
                      WHERE b.kind = 2 AND b.day BETWEEN s.after::date AND s.started_at::date)
    ORDER BY started_at
$$;
COMMENT ON FUNCTION audit_gaps(timestamptz, timestamptz) IS
    'records that a session numbered and that are not in audit_log, unless they may be of a day that was dropped: statements still running, records in the spool, and what was lost on the way';

-- --- erasure --------------------------------------------------------------------------------------

-- Which groups of a row's fields name a person: 1, who; 2, text; 3, both. In the rows of others it is
-- the text alone: nobody hides behind the name of somebody else.
CREATE FUNCTION audit_names(l audit_log, email text) RETURNS integer
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE
        WHEN email IN (lower(l.user_email), lower(l.role_name), lower(l.session_user_name))
            THEN CASE length(l.who_seal) WHEN 16 THEN 1 ELSE 0 END
                 + CASE length(l.text_seal) WHEN 16 THEN 2 ELSE 0 END
        WHEN length(l.text_seal) = 16
             AND strpos(lower(concat_ws(' ', l.application_name, l.statement, l.object, l.agent,
                                        l.conversation, l.trace_id)), email) > 0
            THEN 2
        ELSE 0
    END
$$;

CREATE FUNCTION audit_next_block() RETURNS bigint
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'audit_next_block_wrapper';
COMMENT ON FUNCTION audit_next_block() IS
    'the number of the block that audit_note appends next; nobody else appends until the transaction ends (internal)';

CREATE FUNCTION audit_in_transaction(xid bigint) RETURNS boolean
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'audit_in_transaction_wrapper';
COMMENT ON FUNCTION audit_in_transaction(bigint) IS
    'whether an xmin or xmax is that of the transaction at hand or of a savepoint in it (internal)';

CREATE FUNCTION audit_carry(note text, root bytea, block bigint, groups integer[]) RETURNS text
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'audit_carry_wrapper';
COMMENT ON FUNCTION audit_carry(text, bytea, bigint, integer[]) IS
    'the note of a block that takes the place of another with records of readers, some of which are erased; NULL where the note is not the one that was signed (internal)';

CREATE FUNCTION erase_user(email text) RETURNS bigint
LANGUAGE plpgsql VOLATILE STRICT SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET "TimeZone" = 'UTC'
AS $$
DECLARE
    person  text := lower(email);
    block   bigint;
    days    jsonb;
    -- blocks with records of readers, their days, and the notes of those that take their place
    reads   bigint[];
    dated   date[];
    notes   text[];
    changed text;
    total   bigint;
    touched text;
BEGIN
    -- Anything else would be a part of what others have said, or the name of a field.
    IF person !~ '^[^\s@]+@[^\s@]+$'
       AND NOT EXISTS (SELECT FROM agent_policy.audit_log WHERE lower(user_email) = person) THEN
        RAISE EXCEPTION 'the email is neither an address nor a user_email of the log'
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Name the person as user_email does in audit_log.';
    END IF;
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'erase_user does not see the newest records in a % transaction',
                upper(current_setting('transaction_isolation'))
            USING ERRCODE = 'active_sql_transaction', HINT = 'Call it under READ COMMITTED.';
    END IF;
    -- Whatever is on its way has to be in the table, unless this transaction has erased somebody before:
    -- since then the log is locked, and nothing more comes.
    IF NOT EXISTS (SELECT FROM agent_policy.audit_state
                   WHERE agent_policy.audit_in_transaction(xmin::text::bigint)
                      OR agent_policy.audit_in_transaction(xmax::text::bigint)) THEN
        PERFORM agent_policy.audit_flush('1 min');
    END IF;
    block := agent_policy.audit_next_block();

    WITH erased AS (
        UPDATE agent_policy.audit_log l
        SET user_email = CASE WHEN g & 1 = 0 THEN l.user_email END,
            client_addr = CASE WHEN g & 1 = 0 THEN l.client_addr END,
            role_name = CASE WHEN g & 1 = 0 OR strpos(l.role_name, '@') = 0 THEN l.role_name ELSE 'erased' END,
            session_user_name = CASE WHEN g & 1 = 0 OR strpos(l.session_user_name, '@') = 0
                                THEN l.session_user_name ELSE 'erased' END,
            who_seal = CASE WHEN g & 1 = 0 THEN l.who_seal
                       ELSE agent_policy.audit_closed(l, 1) || int8send(block) END,
            application_name = CASE WHEN g & 2 = 0 THEN l.application_name ELSE '' END,
            statement = CASE WHEN g & 2 = 0 THEN l.statement END,
            statement_sha256 = CASE WHEN g & 2 = 0 THEN l.statement_sha256 ELSE '' END,
            object = CASE WHEN g & 2 = 0 THEN l.object END,
            agent = CASE WHEN g & 2 = 0 THEN l.agent END,
            conversation = CASE WHEN g & 2 = 0 THEN l.conversation END,
            trace_id = CASE WHEN g & 2 = 0 THEN l.trace_id END,
            text_seal = CASE WHEN g & 2 = 0 THEN l.text_seal
                        ELSE agent_policy.audit_closed(l, 2) || int8send(block) END
        FROM (SELECT f.tableoid AS part, f.ctid AS place, agent_policy.audit_names(f, person) AS g
              FROM agent_policy.audit_log f) AS found
        WHERE l.tableoid = found.part AND l.ctid = found.place AND g > 0
        RETURNING l.seq, l.started_at::date AS day, g, l.tableoid::regclass::text AS part
    ), by_day AS (
        SELECT day, count(*) AS n, max(part) AS part,
               sha256(string_agg(int8send(seq) || set_byte('\x00', 0, g), '' ORDER BY seq)) AS digest
        FROM erased GROUP BY day
    )
    SELECT jsonb_object_agg(day - date '1970-01-01', n || ' ' || encode(digest, 'hex')), sum(n),
           string_agg(DISTINCT part, ', ')
    INTO days, total, touched FROM by_day;

    -- In records of readers a person is a role, or quoted; all of them go on in a block behind this one. A note
    -- that is not the one that was signed stays, or nobody would find that.
    WITH named AS MATERIALIZED (
        SELECT b.number, b.day, agent_policy.audit_carry(b.note, b.root, b.number, r.groups) AS carried
        FROM agent_policy.audit_block b
        CROSS JOIN LATERAL (
            SELECT array_agg(CASE
                       WHEN person IN (lower(a.role_name), lower(a.session_user_name)) THEN 3
                       WHEN strpos(lower(concat_ws(' ', a.application_name, a.statement)), person) > 0 THEN 2
                       ELSE 0 END ORDER BY a.n) AS groups
            FROM agent_policy.audit_reads(b.note) a) r
        WHERE b.kind = 1 AND b.note IS NOT NULL AND r.groups && ARRAY[2, 3]
    )
    SELECT array_agg(d.number ORDER BY d.number) FILTER (WHERE d.carried IS NOT NULL),
           array_agg(d.day ORDER BY d.number) FILTER (WHERE d.carried IS NOT NULL),
           array_agg(d.carried ORDER BY d.number) FILTER (WHERE d.carried IS NOT NULL),
           string_agg(d.number::text, ', ' ORDER BY d.number) FILTER (WHERE d.carried IS NULL)
    INTO reads, dated, notes, changed FROM named d;
    UPDATE agent_policy.audit_block b SET note = NULL WHERE b.number = ANY (reads);

    total := coalesce(total, 0);
    IF total > 0 OR reads IS NOT NULL THEN
        IF block <> agent_policy.audit_note(3, current_date - date '1970-01-01', jsonb_build_object(
                'by', session_user, 'days', coalesce(days, '{}'), 'reads', coalesce(reads, '{}'))::text) THEN
            RAISE EXCEPTION 'another block came between';
        END IF;
        FOR i IN 1 .. coalesce(cardinality(reads), 0) LOOP
            PERFORM agent_policy.audit_note(1, dated[i] - date '1970-01-01', notes[i]);
        END LOOP;
        -- Statistics quote the most common values.
        IF touched IS NOT NULL THEN
            EXECUTE 'ANALYZE ' || touched;
        END IF;
        IF EXISTS (SELECT FROM pg_statistic WHERE starelid = 'agent_policy.audit_log'::regclass) THEN
            ANALYZE agent_policy.audit_log;
        END IF;
    END IF;
    INSERT INTO agent_policy.policy_history (changed_by, function, arguments)
    VALUES (session_user, 'erase_user', jsonb_build_object('rows', total));

    IF EXISTS (SELECT FROM agent_policy.audit_log l WHERE strpos(lower(l::text), person) > 0) THEN
        RAISE WARNING 'names of relations, functions or databases in agent_policy.audit_log still contain the address';
    END IF;
    IF EXISTS (SELECT FROM agent_policy.audit_block b, agent_policy.audit_reads(b.note) r
               WHERE b.kind = 1
                 AND strpos(lower(concat_ws(' ', r.role_name, r.session_user_name, r.relations::text)), person) > 0) THEN
        RAISE WARNING 'names of roles or relations in agent_policy.audit_access still contain the address';
    END IF;
    IF changed IS NOT NULL THEN
        RAISE WARNING 'the note of block % was changed, and is left as it is', changed
            USING HINT = 'It is no part of the log that was written: see agent_policy.audit_verify().';
    END IF;
    IF EXISTS (SELECT FROM agent_policy.audit_progress
               WHERE position(convert_to(email, 'UTF8') IN pending) > 0) THEN
        RAISE WARNING 'statements of this person are still running'
            USING HINT = 'They will be in the log when they have ended. Call erase_user again then.';
    END IF;
    RETURN total;
END
$$;
COMMENT ON FUNCTION erase_user(text) IS
    'erases a person from audit_log: what names or quotes the address (in any case) is overwritten and its salt destroyed, so that the chain still verifies and nobody can try values; the number of rows. Backups, WAL and, until VACUUM, dead rows keep what they have';

REVOKE ALL ON audit_block, audit_key, audit_checkpoints, audit_access FROM PUBLIC;
REVOKE ALL ON FUNCTION audit_note(integer, integer, text), audit_retention(), audit_next_block(),
    audit_in_transaction(bigint),
    audit_verify_log(timestamptz, timestamptz, text[]), audit_verify(timestamptz, timestamptz, text[]),
    audit_commitment(integer, text, text, text, text, text, text, bytea, text, text, text, text, bytea),
    audit_closed(audit_log, integer), audit_names(audit_log, text), audit_reads(text),
    audit_carry(text, bytea, bigint, integer[]),
    audit_export(timestamptz, timestamptz, boolean), audit_gaps(timestamptz, timestamptz),
    erase_user(text) FROM PUBLIC;
GRANT SELECT ON audit_block, audit_key, audit_checkpoints, audit_access TO agent_policy_admin;
GRANT EXECUTE ON FUNCTION audit_reads(text), audit_verify(timestamptz, timestamptz, text[]),
    audit_export(timestamptz, timestamptz, boolean), audit_gaps(timestamptz, timestamptz), erase_user(text)
    TO agent_policy_admin;

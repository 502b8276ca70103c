-- Roles, identity and limits.

CREATE FUNCTION protect_role(role regrole, capability text DEFAULT 'read_only', mode text DEFAULT 'enforce')
    RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
DECLARE
    r pg_roles;
    power text;
BEGIN
    PERFORM agent_policy._require_role(protect_role.role, 'protect_role');
    PERFORM agent_policy._require_one_of(protect_role.capability, '{read_only,read_write,ddl}', 'capability', 'protect_role');
    PERFORM agent_policy._require_one_of(protect_role.mode, '{enforce,monitor}', 'mode', 'protect_role');
    SELECT * INTO r FROM pg_roles x WHERE x.oid = protect_role.role;
    IF r.rolsuper THEN
        RAISE EXCEPTION 'role "%" cannot be protected: it is a superuser', r.rolname
            USING ERRCODE = 'insufficient_privilege',
                  HINT = format('Nothing confines a superuser. Give the agent a role of its own, or run ALTER ROLE %I NOSUPERUSER first.', r.rolname);
    END IF;
    IF r.rolreplication THEN
        RAISE EXCEPTION 'role "%" cannot be protected: it has REPLICATION', r.rolname
            USING ERRCODE = 'insufficient_privilege',
                  HINT = format('A replication connection reads every table without SQL. Run ALTER ROLE %I NOREPLICATION first.', r.rolname);
    END IF;
    FOREACH power IN ARRAY ARRAY['pg_read_server_files', 'pg_write_server_files', 'pg_execute_server_program'] LOOP
        IF pg_has_role(protect_role.role, power, 'MEMBER') THEN
            RAISE EXCEPTION 'role "%" cannot be protected: it is a member of %', r.rolname, power
                USING ERRCODE = 'insufficient_privilege',
                      HINT = format('Revoke %I from it first (it may have it through another role).', power);
        END IF;
    END LOOP;
    SELECT s.rolname INTO power FROM pg_roles s WHERE s.rolsuper AND pg_has_role(protect_role.role, s.oid, 'MEMBER') LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'role "%" cannot be protected: it is a member of the superuser role "%"', r.rolname, power
            USING ERRCODE = 'insufficient_privilege',
                  HINT = format('Run REVOKE %I FROM %I first.', power, r.rolname);
    END IF;
    IF pg_has_role(protect_role.role, 'agent_policy_admin', 'MEMBER') THEN
        RAISE EXCEPTION 'role "%" cannot be protected: it may change the policy as a member of agent_policy_admin', r.rolname
            USING ERRCODE = 'insufficient_privilege',
                  HINT = format('Run REVOKE agent_policy_admin FROM %I first.', r.rolname);
    END IF;
    IF pg_has_role('agent_policy_admin', protect_role.role, 'MEMBER') THEN
        RAISE EXCEPTION 'role "%" cannot be protected: agent_policy_admin is a member of it and would be confined too', r.rolname
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = format('Run REVOKE %I FROM agent_policy_admin first.', r.rolname);
    END IF;
    IF r.rolname LIKE 'pg\_%' THEN
        RAISE EXCEPTION 'role "%" cannot be protected: it is a predefined role', r.rolname
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Protect the login role of the agent instead.';
    END IF;
    INSERT INTO agent_policy.policy_role AS p (role, capability, mode)
    VALUES (protect_role.role, protect_role.capability, protect_role.mode)
    ON CONFLICT ON CONSTRAINT policy_role_pkey
        DO UPDATE SET capability = excluded.capability, mode = excluded.mode;
    PERFORM agent_policy._record('protect_role', jsonb_build_object(
        'role', protect_role.role::text, 'capability', protect_role.capability, 'mode', protect_role.mode));
END
$$;
COMMENT ON FUNCTION protect_role(regrole, text, text) IS
'Confines a role, and every role that inherits it, from the next statement on. A new protected role may read nothing but the catalogs.
role: the agent''s role. Refused with 42501 for a superuser, REPLICATION, and members of a superuser role, of agent_policy_admin, pg_read_server_files, pg_write_server_files or pg_execute_server_program.
capability: read_only (default), read_write, ddl.
mode: enforce (default); monitor blocks and masks nothing, the audit says would_deny.
A new role has max_rows 10000 (truncate), max_bytes 67108864, statement_timeout 60 s, identity connection. Calling it again changes capability and mode and leaves the rest.
Example: SELECT agent_policy.protect_role(''sales_agent'');';

CREATE FUNCTION release_role(role regrole) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
BEGIN
    PERFORM agent_policy._require(release_role.role, 'role', 'release_role');
    -- Not _require_role: the rows of a role that was dropped may go as well.
    DELETE FROM agent_policy.policy_role p WHERE p.role = release_role.role;
    IF NOT FOUND THEN
        PERFORM agent_policy._notice_absent(format('role "%s" is not protected', release_role.role));
        RETURN;
    END IF;
    -- No foreign keys do that: pg_restore -j loads tables of an extension in any order.
    DELETE FROM agent_policy.policy_schema s WHERE s.role = release_role.role;
    DELETE FROM agent_policy.policy_relation r WHERE r.role = release_role.role;
    DELETE FROM agent_policy.policy_column c WHERE c.role = release_role.role;
    DELETE FROM agent_policy.policy_function f WHERE f.role = release_role.role;
    DELETE FROM agent_policy.policy_extension e WHERE e.role = release_role.role;
    DELETE FROM agent_policy.policy_mask m WHERE m.role = release_role.role;
    DELETE FROM agent_policy.policy_label l WHERE l.role = release_role.role;
    DELETE FROM agent_policy.policy_filter f WHERE f.role = release_role.role;
    DELETE FROM agent_policy.policy_group_size g WHERE g.role = release_role.role;
    PERFORM agent_policy._record('release_role', jsonb_build_object('role', release_role.role::text));
END
$$;
COMMENT ON FUNCTION release_role(regrole) IS
'The role is no longer protected: its allowlist, limits, masks, row filters and group sizes are removed. Those set for every role (role NULL) stay.
role: a protected role; a NOTICE if it is none.
Example: SELECT agent_policy.release_role(''sales_agent'');';

CREATE FUNCTION set_strict_views(role regrole, strict boolean) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
BEGIN
    PERFORM agent_policy._require_protected(set_strict_views.role, 'set_strict_views');
    PERFORM agent_policy._require(set_strict_views.strict, 'strict', 'set_strict_views');
    UPDATE agent_policy.policy_role p SET strict_views = set_strict_views.strict WHERE p.role = set_strict_views.role;
    PERFORM agent_policy._record('set_strict_views', jsonb_build_object(
        'role', set_strict_views.role::text, 'strict', set_strict_views.strict));
END
$$;
COMMENT ON FUNCTION set_strict_views(regrole, boolean) IS
'Whether the relations below an allowed view must be allowed too.
role: a protected role. strict: false (how a new role begins) lets a view publish what its owner may read; true demands an allowance for each base relation.
Example: SELECT agent_policy.set_strict_views(''sales_agent'', true);';

CREATE FUNCTION unclassified_columns(role regrole, action text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
BEGIN
    PERFORM agent_policy._require_protected(unclassified_columns.role, 'unclassified_columns');
    PERFORM agent_policy._require_one_of(unclassified_columns.action, '{show,mask}', 'action', 'unclassified_columns');
    UPDATE agent_policy.policy_role p SET unclassified = unclassified_columns.action WHERE p.role = unclassified_columns.role;
    PERFORM agent_policy._record('unclassified_columns', jsonb_build_object(
        'role', unclassified_columns.role::text, 'action', unclassified_columns.action));
END
$$;
COMMENT ON FUNCTION unclassified_columns(regrole, text) IS
'What a protected role sees of columns that nobody has classified: those without a mask for it (none counts as one) and without a security label of agent_policy. Columns added later are among them.
role: a protected role. action: show (how a new role begins); mask hides each of them as the mask redact does, or as NULL where a type has no neutral value.
Example: SELECT agent_policy.unclassified_columns(''sales_agent'', ''mask'');';

CREATE FUNCTION require_identity(role regrole, assurance text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
BEGIN
    PERFORM agent_policy._require_protected(require_identity.role, 'require_identity');
    PERFORM agent_policy._require_one_of(require_identity.assurance, '{none,asserted,connection,signed}', 'assurance', 'require_identity');
    IF require_identity.assurance = 'signed' THEN
        RAISE EXCEPTION 'identity "signed" is not available in this release'
            USING ERRCODE = 'feature_not_supported',
                  HINT = 'Use "connection": the application passes agent_policy.user_email in the startup packet.';
    END IF;
    UPDATE agent_policy.policy_role p SET identity = require_identity.assurance WHERE p.role = require_identity.role;
    PERFORM agent_policy._record('require_identity', jsonb_build_object(
        'role', require_identity.role::text, 'assurance', require_identity.assurance));
END
$$;
COMMENT ON FUNCTION require_identity(regrole, text) IS
'The least assurance of the forwarded user''s identity that is accepted; a statement below it ends with 28000.
role: a protected role. assurance: none < asserted (agent_policy.assert_user) < connection (how a new role begins: agent_policy.user_email in the startup packet) < signed (not in this release: 0A000).
Example: SELECT agent_policy.require_identity(''sales_agent'', ''none'');';

CREATE FUNCTION set_limits(role regrole,
                           max_rows bigint DEFAULT NULL,
                           max_bytes bigint DEFAULT NULL,
                           on_excess text DEFAULT NULL,
                           statement_timeout interval DEFAULT NULL,
                           max_plan_cost float8 DEFAULT NULL,
                           max_concurrent int DEFAULT NULL,
                           queries_per_minute int DEFAULT NULL,
                           rows_per_hour bigint DEFAULT NULL,
                           denials_per_hour int DEFAULT NULL)
    RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
DECLARE
    bad text;
    ms numeric;
BEGIN
    PERFORM agent_policy._require_protected(set_limits.role, 'set_limits');
    bad := CASE WHEN set_limits.max_concurrent IS NOT NULL THEN 'max_concurrent'
                WHEN set_limits.queries_per_minute IS NOT NULL THEN 'queries_per_minute'
                WHEN set_limits.rows_per_hour IS NOT NULL THEN 'rows_per_hour'
                WHEN set_limits.denials_per_hour IS NOT NULL THEN 'denials_per_hour' END;
    IF bad IS NOT NULL THEN
        RAISE EXCEPTION 'limit "%" is not enforced in this release', bad
            USING ERRCODE = 'feature_not_supported',
                  HINT = format('Leave out %s. Enforced are max_rows, max_bytes, on_excess, statement_timeout and max_plan_cost.', bad);
    END IF;
    bad := CASE WHEN set_limits.max_rows < 0 THEN 'max_rows'
                WHEN set_limits.max_bytes < 0 THEN 'max_bytes' END;
    IF bad IS NOT NULL THEN
        RAISE EXCEPTION 'set_limits: "%" must not be negative', bad
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = format('To lift the limit, call agent_policy.reset_limits(%L, %L).', set_limits.role, bad);
    END IF;
    IF set_limits.on_excess IS NOT NULL THEN
        PERFORM agent_policy._require_one_of(set_limits.on_excess, '{truncate,error}', 'on_excess', 'set_limits');
    END IF;
    IF set_limits.statement_timeout IS NOT NULL THEN
        ms := CASE WHEN isfinite(set_limits.statement_timeout)
                   THEN ceil(extract(epoch FROM set_limits.statement_timeout) * 1000) ELSE -1 END;
        IF ms < 1 OR ms > 2147483647 THEN
            RAISE EXCEPTION 'set_limits: "statement_timeout" must be between 1 ms and 2147483647 ms (24 days)'
                USING ERRCODE = 'invalid_parameter_value',
                      HINT = format('To lift the limit, call agent_policy.reset_limits(%L, ''statement_timeout'').', set_limits.role);
        END IF;
    END IF;
    IF NOT (set_limits.max_plan_cost > 0 AND set_limits.max_plan_cost < 'Infinity') THEN
        RAISE EXCEPTION 'set_limits: "max_plan_cost" must be a finite number above 0'
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = format('To lift the limit, call agent_policy.reset_limits(%L, ''max_plan_cost'').', set_limits.role);
    END IF;
    UPDATE agent_policy.policy_role p
       SET max_rows = coalesce(set_limits.max_rows, p.max_rows),
           max_bytes = coalesce(set_limits.max_bytes, p.max_bytes),
           on_excess = coalesce(set_limits.on_excess, p.on_excess),
           statement_timeout = coalesce(ms::bigint, p.statement_timeout),
           max_plan_cost = coalesce(set_limits.max_plan_cost, p.max_plan_cost)
     WHERE p.role = set_limits.role;
    PERFORM agent_policy._record('set_limits', jsonb_strip_nulls(jsonb_build_object(
        'role', set_limits.role::text, 'max_rows', set_limits.max_rows, 'max_bytes', set_limits.max_bytes,
        'on_excess', set_limits.on_excess, 'statement_timeout', set_limits.statement_timeout::text,
        'max_plan_cost', set_limits.max_plan_cost)));
END
$$;
COMMENT ON FUNCTION set_limits(regrole, bigint, bigint, text, interval, float8, int, int, bigint, int) IS
'Sets limits of a protected role. Every parameter but the first defaults to NULL, which leaves that limit as it is; reset_limits lifts one.
max_rows: rows sent to the client by a statement. max_bytes: bytes of column values sent by a statement.
on_excess: truncate (rows beyond max_rows or max_bytes are not sent, with a WARNING) or error (54000).
statement_timeout: 1 ms to 24 days, per statement. max_plan_cost: the planner''s estimated total cost, above which a statement is refused (54000).
max_concurrent, queries_per_minute, rows_per_hour, denials_per_hour: not in this release; anything but NULL is refused with 0A000.
Errors: 22023 for a role that is not protected or a value out of range.
Example: SELECT agent_policy.set_limits(''sales_agent'', max_rows => 500, statement_timeout => ''10 s'');';

CREATE FUNCTION reset_limits(role regrole, VARIADIC names text[]) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
DECLARE
    limit_name text;
BEGIN
    PERFORM agent_policy._require_protected(reset_limits.role, 'reset_limits');
    PERFORM agent_policy._require(reset_limits.names, 'names', 'reset_limits');
    FOREACH limit_name IN ARRAY reset_limits.names LOOP
        PERFORM agent_policy._require_one_of(limit_name,
            '{max_rows,max_bytes,on_excess,statement_timeout,max_plan_cost,max_concurrent,queries_per_minute,rows_per_hour,denials_per_hour}',
            'names', 'reset_limits');
    END LOOP;
    UPDATE agent_policy.policy_role p
       SET max_rows = CASE WHEN 'max_rows' = ANY (reset_limits.names) THEN NULL ELSE p.max_rows END,
           max_bytes = CASE WHEN 'max_bytes' = ANY (reset_limits.names) THEN NULL ELSE p.max_bytes END,
           on_excess = CASE WHEN 'on_excess' = ANY (reset_limits.names) THEN 'truncate' ELSE p.on_excess END,
           statement_timeout = CASE WHEN 'statement_timeout' = ANY (reset_limits.names) THEN NULL ELSE p.statement_timeout END,
           max_plan_cost = CASE WHEN 'max_plan_cost' = ANY (reset_limits.names) THEN NULL ELSE p.max_plan_cost END
     WHERE p.role = reset_limits.role;
    PERFORM agent_policy._record('reset_limits', jsonb_build_object(
        'role', reset_limits.role::text, 'names', to_jsonb(reset_limits.names)));
END
$$;
COMMENT ON FUNCTION reset_limits(regrole, text[]) IS
'Lifts the named limits of a protected role: no limit of that kind applies any more. on_excess goes back to truncate.
role: a protected role. names: one or more of max_rows, max_bytes, on_excess, statement_timeout, max_plan_cost, max_concurrent, queries_per_minute, rows_per_hour, denials_per_hour (22023 for any other).
Example: SELECT agent_policy.reset_limits(''sales_agent'', ''max_rows'', ''max_plan_cost'');';

-- What the functions of the next parts share. Not part of the interface; names begin with _.

-- A change reaches running sessions through the relation cache: every session that reads the
-- policy listens for an invalidation of policy_role.
CREATE FUNCTION policy_changed() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'policy_changed';

DO $$
DECLARE
    t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['policy_role', 'policy_schema', 'policy_relation', 'policy_column',
                             'policy_function', 'policy_extension', 'policy_mask', 'policy_label', 'policy_filter', 'policy_group_size',
                             'policy_secret'] LOOP
        EXECUTE pg_catalog.format(
            'CREATE TRIGGER policy_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON agent_policy.%I
             FOR EACH STATEMENT EXECUTE FUNCTION agent_policy.policy_changed()', t);
    END LOOP;
    -- Plans over the relation itself become stale as well.
    FOREACH t IN ARRAY ARRAY['policy_mask', 'policy_filter', 'policy_group_size'] LOOP
        EXECUTE pg_catalog.format(
            'CREATE TRIGGER policy_changed_relation AFTER INSERT OR UPDATE OR DELETE ON agent_policy.%I
             FOR EACH ROW EXECUTE FUNCTION agent_policy.policy_changed()', t);
    END LOOP;
END
$$;

-- Every database of the cluster has to know at login who is protected where: the security label of
-- a role says so. ALWAYS: also where the rows come from a replica or a restore.
CREATE FUNCTION _label_roles() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'label_roles';
CREATE TRIGGER label_roles AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON policy_role
    FOR EACH STATEMENT EXECUTE FUNCTION agent_policy._label_roles();
ALTER TABLE policy_role ENABLE ALWAYS TRIGGER label_roles;

-- The user on whose behalf the session runs (SET ROLE counts, SECURITY DEFINER does not).
CREATE FUNCTION _outer_user() RETURNS regrole
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'outer_user';

-- The next three parse text, and parsing runs code: input functions of types, constraints of domains.
-- They are called as whoever calls the interface, never in a SECURITY DEFINER function.

-- The canonical text of a boolean expression over a relation; checks it on the way.
CREATE FUNCTION _filter_expression(relation oid, predicate text) RETURNS text
    LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'filter_expression';

-- The SQL expression that a mask puts in the place of a column; NULL for the mask "none".
-- constant: the option "value" of the mask "constant". All others must not be NULL.
CREATE FUNCTION _mask_expression(relation oid, column_name text, mask text, options text, constant text) RETURNS text
    LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'mask_expression';

-- Raises unless a label can carry the mask, and it fits every column that has the label.
CREATE FUNCTION _check_label(label text, mask text, options text) RETURNS void
    LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'check_label';

-- Who called one of them last; raises unless it was for exactly this: nothing else is stored.
-- relation, name, expression: of a column its name, of a filter none; of a label 0, the word and the options.
CREATE FUNCTION _author(relation oid, name text, mask text, expression text) RETURNS regrole
    LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'author';

CREATE FUNCTION _record(function text, arguments jsonb) RETURNS void
    LANGUAGE sql SET search_path = pg_catalog, pg_temp
    AS $$
    INSERT INTO agent_policy.policy_history (changed_by, function, arguments)
    VALUES (pg_catalog.pg_get_userbyid(agent_policy._outer_user()::oid), function, arguments)
    $$;

-- Raises 22004 for a required argument that is NULL.
CREATE FUNCTION _require(value anyelement, parameter text, function text) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF value IS NULL THEN
        RAISE EXCEPTION '%: parameter "%" must not be NULL', function, parameter
            USING ERRCODE = 'null_value_not_allowed',
                  HINT = format('See the comment on agent_policy.%s for what it expects.', function);
    END IF;
END
$$;

-- Raises 22023 unless value is one of the choices.
CREATE FUNCTION _require_one_of(value text, choices text[], parameter text, function text) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    PERFORM agent_policy._require(value, parameter, function);
    IF value <> ALL (choices) THEN
        RAISE EXCEPTION '%: "%" is not a valid value for parameter "%"', function, value, parameter
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = format('Valid values are: %s.', array_to_string(choices, ', '));
    END IF;
END
$$;

-- Raises 42704 unless the role exists.
CREATE FUNCTION _require_role(role regrole, function text) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    PERFORM agent_policy._require(_require_role.role, 'role', function);
    IF NOT EXISTS (SELECT FROM pg_roles r WHERE r.oid = _require_role.role) THEN
        RAISE EXCEPTION '%: role % does not exist', function, _require_role.role
            USING ERRCODE = 'undefined_object',
                  HINT = 'Roles are listed in pg_roles.';
    END IF;
END
$$;

-- Raises 22023 unless the role is protected. The row is locked: release_role waits.
CREATE FUNCTION _require_protected(role regrole, function text) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    PERFORM agent_policy._require_role(_require_protected.role, function);
    PERFORM FROM agent_policy.policy_role p WHERE p.role = _require_protected.role FOR KEY SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION '%: role "%" is not protected', function, pg_get_userbyid(_require_protected.role)
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = format('Call agent_policy.protect_role(%L) first.', _require_protected.role);
    END IF;
END
$$;

-- Raises unless the relation exists, is of a kind that a policy can name, and is not one of
-- agent_policy's own or of the system.
CREATE FUNCTION _require_relation(relation regclass, kinds text, function text) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    rel record;
BEGIN
    PERFORM agent_policy._require(_require_relation.relation, 'relation', function);
    SELECT c.relkind::text AS kind, n.nspname AS schema, c.relname AS name, c.relpersistence AS persistence
      INTO rel
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE c.oid = _require_relation.relation;
    IF NOT FOUND THEN
        RAISE EXCEPTION '%: relation % does not exist', function, _require_relation.relation::oid
            USING ERRCODE = 'undefined_table', HINT = 'Relations are listed in pg_class.';
    END IF;
    IF strpos(kinds, rel.kind) = 0 THEN
        IF rel.kind IN ('v', 'm') THEN
            RAISE EXCEPTION '%: "%.%" is a %', function, rel.schema, rel.name,
                    CASE rel.kind WHEN 'v' THEN 'view' ELSE 'materialized view' END
                USING ERRCODE = 'wrong_object_type',
                      HINT = format('Masks and row filters of base tables apply through views; set it on: %s.',
                                    coalesce(agent_policy._base_tables(_require_relation.relation), 'its base tables'));
        END IF;
        RAISE EXCEPTION '%: "%.%" is not a relation that this function can name', function, rel.schema, rel.name
            USING ERRCODE = 'wrong_object_type',
                  HINT = CASE WHEN strpos(kinds, 'v') > 0
                              THEN 'It may be a table, partitioned table, view, materialized view, foreign table or sequence.'
                              ELSE 'It may be a table, partitioned table or foreign table.' END;
    END IF;
    IF rel.schema IN ('agent_policy', 'pg_toast') THEN
        RAISE EXCEPTION '%: relations of schema "%" cannot be named in a policy', function, rel.schema
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'The policy itself is closed to protected roles.';
    END IF;
    IF rel.persistence = 't' THEN
        RAISE EXCEPTION '%: "%" is a temporary relation', function, rel.name
            USING ERRCODE = 'wrong_object_type',
                  HINT = 'A policy outlives the session; name a permanent relation.';
    END IF;
END
$$;

-- Raises 42703 unless the relation has such a column; 42P10 for system columns.
CREATE FUNCTION _require_column(relation regclass, column_name text, function text) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    attnum int2;
BEGIN
    PERFORM agent_policy._require(_require_column.column_name, 'column_name', function);
    SELECT a.attnum INTO attnum FROM pg_attribute a
     WHERE a.attrelid = _require_column.relation AND a.attname = _require_column.column_name AND NOT a.attisdropped;
    IF NOT FOUND THEN
        RAISE EXCEPTION '%: relation "%" has no column "%"', function, _require_column.relation, _require_column.column_name
            USING ERRCODE = 'undefined_column',
                  HINT = format('Its columns are: %s.',
                                (SELECT string_agg(a.attname, ', ' ORDER BY a.attnum) FROM pg_attribute a
                                  WHERE a.attrelid = _require_column.relation AND a.attnum > 0 AND NOT a.attisdropped));
    ELSIF attnum < 0 THEN
        RAISE EXCEPTION '%: "%" is a system column', function, _require_column.column_name
            USING ERRCODE = 'invalid_column_reference',
                  HINT = 'Name a column of the table''s own.';
    END IF;
END
$$;

-- The base tables below a view, as text, or NULL.
CREATE FUNCTION _base_tables(view regclass) RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
    AS $$
    WITH RECURSIVE below(oid) AS (
        SELECT view::oid
        UNION
        SELECT d.refobjid
          FROM below b
          JOIN pg_rewrite r ON r.ev_class = b.oid
          JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
                          AND d.refclassid = 'pg_class'::regclass
    )
    SELECT string_agg(c.oid::regclass::text, ', ' ORDER BY c.oid::regclass::text)
      FROM below b JOIN pg_class c ON c.oid = b.oid
     WHERE c.relkind IN ('r', 'p', 'f')
    $$;

CREATE FUNCTION _notice_absent(what text) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    RAISE NOTICE '%, skipping', what;
END
$$;

-- Raises an error of the parser again, with a HINT if it has none. What says that a value does not
-- fit a type becomes 42804.
CREATE FUNCTION _reraise(state text, message text, detail text, hint text, default_hint text) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF left(state, 2) IN ('22', '23') AND state <> '22023' THEN
        state := '42804';
    END IF;
    IF hint = '' THEN
        hint := default_hint;
    END IF;
    IF detail = '' THEN
        RAISE EXCEPTION USING ERRCODE = state, MESSAGE = message, HINT = hint;
    ELSE
        RAISE EXCEPTION USING ERRCODE = state, MESSAGE = message, DETAIL = detail, HINT = hint;
    END IF;
END
$$;

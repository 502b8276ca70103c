-- The allowlist: schemas, relations, columns, functions, extensions.

CREATE FUNCTION allow_schema(role regrole, schema text, access text DEFAULT 'read') RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
BEGIN
    PERFORM agent_policy._require_protected(allow_schema.role, 'allow_schema');
    PERFORM agent_policy._require(allow_schema.schema, 'schema', 'allow_schema');
    PERFORM agent_policy._require_one_of(allow_schema.access, '{read,write}', 'access', 'allow_schema');
    IF NOT EXISTS (SELECT FROM pg_namespace n WHERE n.nspname = allow_schema.schema) THEN
        RAISE EXCEPTION 'schema "%" does not exist', allow_schema.schema
            USING ERRCODE = 'invalid_schema_name',
                  HINT = 'Give the name as pg_namespace has it, without quotes.';
    END IF;
    IF allow_schema.schema IN ('agent_policy', 'information_schema') OR allow_schema.schema LIKE 'pg\_%' THEN
        RAISE EXCEPTION 'schema "%" cannot be allowed', allow_schema.schema
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'The catalogs are readable for introspection as they are; agent_policy is closed to protected roles.';
    END IF;
    INSERT INTO agent_policy.policy_schema (role, schema_name, access)
    VALUES (allow_schema.role, allow_schema.schema, allow_schema.access)
    ON CONFLICT ON CONSTRAINT policy_schema_pkey DO UPDATE SET access = excluded.access;
    PERFORM agent_policy._record('allow_schema', jsonb_build_object(
        'role', allow_schema.role::text, 'schema', allow_schema.schema, 'access', allow_schema.access));
END
$$;
COMMENT ON FUNCTION allow_schema(regrole, text, text) IS
'Lets a protected role use the relations of a schema, now and later created ones, but those denied by deny_relation. It grants no PostgreSQL privilege: GRANT is still needed.
role: a protected role. schema: its name, without quotes. access: read (default), or write (which includes read, and takes capability read_write).
Setting it again replaces access. Errors: 3F000 no such schema; 22023 for system schemas.
Example: SELECT agent_policy.allow_schema(''sales_agent'', ''sales'');';

CREATE FUNCTION disallow_schema(role regrole, schema text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
BEGIN
    PERFORM agent_policy._require_protected(disallow_schema.role, 'disallow_schema');
    PERFORM agent_policy._require(disallow_schema.schema, 'schema', 'disallow_schema');
    DELETE FROM agent_policy.policy_schema s
     WHERE s.role = disallow_schema.role AND s.schema_name = disallow_schema.schema;
    IF NOT FOUND THEN
        PERFORM agent_policy._notice_absent(format('schema "%s" is not allowed to role "%s"', disallow_schema.schema, disallow_schema.role));
        RETURN;
    END IF;
    PERFORM agent_policy._record('disallow_schema', jsonb_build_object(
        'role', disallow_schema.role::text, 'schema', disallow_schema.schema));
END
$$;
COMMENT ON FUNCTION disallow_schema(regrole, text) IS
'Takes back allow_schema; relations allowed one by one stay allowed. A NOTICE if the schema was not allowed.
Example: SELECT agent_policy.disallow_schema(''sales_agent'', ''sales'');';

CREATE FUNCTION allow_relation(role regrole, relation regclass, access text DEFAULT 'read') RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
BEGIN
    PERFORM agent_policy._require_protected(allow_relation.role, 'allow_relation');
    PERFORM agent_policy._require_relation(allow_relation.relation, 'rpvmfS', 'allow_relation');
    PERFORM agent_policy._require_one_of(allow_relation.access, '{read,write}', 'access', 'allow_relation');
    IF EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
               WHERE c.oid = allow_relation.relation AND n.nspname IN ('pg_catalog', 'information_schema')) THEN
        RAISE EXCEPTION 'system relation % cannot be allowed', allow_relation.relation
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Catalogs fit for introspection are readable as they are; the others hold data or secrets. Publish what is needed through a view.';
    END IF;
    INSERT INTO agent_policy.policy_relation (role, relation, access)
    VALUES (allow_relation.role, allow_relation.relation, allow_relation.access)
    ON CONFLICT ON CONSTRAINT policy_relation_pkey DO UPDATE SET access = excluded.access;
    PERFORM agent_policy._record('allow_relation', jsonb_build_object(
        'role', allow_relation.role::text, 'relation', allow_relation.relation::text, 'access', allow_relation.access));
END
$$;
COMMENT ON FUNCTION allow_relation(regrole, regclass, text) IS
'Lets a protected role use a table, partitioned table, view, materialized view, foreign table or sequence. It grants no PostgreSQL privilege: GRANT is still needed.
role: a protected role. relation: its name. access: read (default), or write (which includes read, and takes capability read_write).
Setting it again replaces access, a deny_relation included. Errors: 42P01 no such relation; 42809 another kind of relation; 22023 for system relations.
Example: SELECT agent_policy.allow_relation(''sales_agent'', ''sales.orders'', ''write'');';

-- Raises 22023 for system relations.
CREATE FUNCTION _require_no_catalog(relation regclass, function text) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
               WHERE c.oid = _require_no_catalog.relation AND n.nspname IN ('pg_catalog', 'information_schema')) THEN
        RAISE EXCEPTION '%: % is a system relation', function, _require_no_catalog.relation
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'The catalogs have rules of their own: what a role may not use is not shown in them.';
    END IF;
END
$$;

CREATE FUNCTION deny_relation(role regrole, relation regclass) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
BEGIN
    PERFORM agent_policy._require_protected(deny_relation.role, 'deny_relation');
    PERFORM agent_policy._require_relation(deny_relation.relation, 'rpvmfS', 'deny_relation');
    PERFORM agent_policy._require_no_catalog(deny_relation.relation, 'deny_relation');
    INSERT INTO agent_policy.policy_relation (role, relation, access)
    VALUES (deny_relation.role, deny_relation.relation, 'deny')
    ON CONFLICT ON CONSTRAINT policy_relation_pkey DO UPDATE SET access = excluded.access;
    PERFORM agent_policy._record('deny_relation', jsonb_build_object(
        'role', deny_relation.role::text, 'relation', deny_relation.relation::text));
END
$$;
COMMENT ON FUNCTION deny_relation(regrole, regclass) IS
'Denies a relation to a protected role, though its schema is allowed; replaces allow_relation. reset_relation takes it back.
Errors: 42P01 no such relation; 42809 not a table, view, materialized view, foreign table or sequence; 22023 for system relations.
Example: SELECT agent_policy.deny_relation(''sales_agent'', ''sales.salaries'');';

CREATE FUNCTION reset_relation(role regrole, relation regclass) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
BEGIN
    PERFORM agent_policy._require_protected(reset_relation.role, 'reset_relation');
    PERFORM agent_policy._require(reset_relation.relation, 'relation', 'reset_relation');
    DELETE FROM agent_policy.policy_relation r
     WHERE r.role = reset_relation.role AND r.relation = reset_relation.relation;
    IF NOT FOUND THEN
        PERFORM agent_policy._notice_absent(format('relation %s is neither allowed nor denied to role "%s"', reset_relation.relation, reset_relation.role));
        RETURN;
    END IF;
    PERFORM agent_policy._record('reset_relation', jsonb_build_object(
        'role', reset_relation.role::text, 'relation', reset_relation.relation::text));
END
$$;
COMMENT ON FUNCTION reset_relation(regrole, regclass) IS
'Takes back allow_relation and deny_relation: what its schema says counts again. A NOTICE if there is nothing to take back.
Example: SELECT agent_policy.reset_relation(''sales_agent'', ''sales.orders'');';

CREATE FUNCTION deny_column(role regrole, relation regclass, column_name text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
BEGIN
    PERFORM agent_policy._require_protected(deny_column.role, 'deny_column');
    PERFORM agent_policy._require_relation(deny_column.relation, 'rpvmf', 'deny_column');
    PERFORM agent_policy._require_no_catalog(deny_column.relation, 'deny_column');
    PERFORM agent_policy._require_column(deny_column.relation, deny_column.column_name, 'deny_column');
    INSERT INTO agent_policy.policy_column (role, relation, column_name)
    VALUES (deny_column.role, deny_column.relation, deny_column.column_name)
    ON CONFLICT ON CONSTRAINT policy_column_pkey DO NOTHING;
    PERFORM agent_policy._record('deny_column', jsonb_build_object(
        'role', deny_column.role::text, 'relation', deny_column.relation::text, 'column_name', deny_column.column_name));
END
$$;
COMMENT ON FUNCTION deny_column(regrole, regclass, text) IS
'Denies a column of an allowed relation to a protected role: a statement that names it ends with 42501. To show a stand-in instead, see mask_column.
column_name: as pg_attribute has it, without quotes. Once the column is renamed or dropped, the relation is closed until reset_column takes the old name back.
Errors: 42703 no such column; 42P10 a system column; 22023 for system relations.
Example: SELECT agent_policy.deny_column(''sales_agent'', ''sales.customers'', ''ssn'');';

CREATE FUNCTION reset_column(role regrole, relation regclass, column_name text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
BEGIN
    PERFORM agent_policy._require_protected(reset_column.role, 'reset_column');
    PERFORM agent_policy._require(reset_column.relation, 'relation', 'reset_column');
    PERFORM agent_policy._require(reset_column.column_name, 'column_name', 'reset_column');
    DELETE FROM agent_policy.policy_column c
     WHERE c.role = reset_column.role AND c.relation = reset_column.relation AND c.column_name = reset_column.column_name;
    IF NOT FOUND THEN
        PERFORM agent_policy._notice_absent(format('column "%s" of relation %s is not denied to role "%s"',
                                                   reset_column.column_name, reset_column.relation, reset_column.role));
        RETURN;
    END IF;
    PERFORM agent_policy._record('reset_column', jsonb_build_object(
        'role', reset_column.role::text, 'relation', reset_column.relation::text, 'column_name', reset_column.column_name));
END
$$;
COMMENT ON FUNCTION reset_column(regrole, regclass, text) IS
'Takes back deny_column. A NOTICE if the column was not denied.
Example: SELECT agent_policy.reset_column(''sales_agent'', ''sales.customers'', ''ssn'');';

-- The signature under which a function is stored; raises 42883 if there is none. search_path is
-- that of the caller, so that everything outside pg_catalog is qualified.
CREATE FUNCTION _signature(function regprocedure, caller text) RETURNS text
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    PERFORM agent_policy._require(_signature.function, 'function', caller);
    IF NOT EXISTS (SELECT FROM pg_proc p WHERE p.oid = _signature.function) THEN
        RAISE EXCEPTION '%: function % does not exist', caller, _signature.function::oid
            USING ERRCODE = 'undefined_function', HINT = 'Functions are listed in pg_proc.';
    END IF;
    RETURN _signature.function::text;
END
$$;

CREATE FUNCTION allow_function(role regrole, function regprocedure, trusted boolean DEFAULT false) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
DECLARE
    signature text;
    f record;
BEGIN
    PERFORM agent_policy._require_protected(allow_function.role, 'allow_function');
    signature := agent_policy._signature(allow_function.function, 'allow_function');
    PERFORM agent_policy._require(allow_function.trusted, 'trusted', 'allow_function');
    SELECT p.prokind, p.prosecdef, p.prosrc, l.lanname, l.lanpltrusted, n.nspname,
           pg_get_userbyid(p.proowner) AS owner
      INTO f
      FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang JOIN pg_namespace n ON n.oid = p.pronamespace
     WHERE p.oid = allow_function.function;
    IF f.nspname = 'agent_policy' THEN
        RAISE EXCEPTION 'function % cannot be allowed', signature
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'The functions of agent_policy meant for protected roles are allowed as they are.';
    END IF;
    IF f.lanname = 'internal' AND f.nspname <> 'pg_catalog' THEN
        RAISE WARNING 'function % is another name for the built-in function "%"', signature, f.prosrc
            USING HINT = 'Make sure that what it reads is fit for the role: a built-in function is not checked from inside.';
    ELSIF f.nspname = 'pg_catalog' AND allow_function.function::oid < 16384 THEN
        RAISE WARNING 'function % is built in; allowing it overrules the reviewed list if that denies it', signature
            USING HINT = 'What a built-in function reads (files, other sessions, any table) is not checked from inside.';
    ELSIF NOT f.lanpltrusted AND f.lanname <> 'internal' THEN
        RAISE WARNING 'function % is written in %, which is not a trusted language', signature, f.lanname
            USING HINT = 'What it does outside SQL is not checked.';
    END IF;
    IF allow_function.trusted THEN
        RAISE WARNING 'the policy does not apply to the statements inside %', signature
            USING HINT = format('It reads what %s may read, unmasked and unfiltered.',
                                CASE WHEN f.prosecdef THEN format('its owner "%s"', f.owner) ELSE 'the role' END);
    END IF;
    INSERT INTO agent_policy.policy_function (role, function, access, trusted)
    VALUES (allow_function.role, signature, 'allow', allow_function.trusted)
    ON CONFLICT ON CONSTRAINT policy_function_pkey
        DO UPDATE SET access = excluded.access, trusted = excluded.trusted;
    PERFORM agent_policy._record('allow_function', jsonb_build_object(
        'role', allow_function.role::text, 'function', signature, 'trusted', allow_function.trusted));
END
$$;
COMMENT ON FUNCTION allow_function(regrole, regprocedure, boolean) IS
'Lets a protected role call a function. It grants no EXECUTE.
function: with its argument types. trusted: false (default) applies the policy to every statement inside it, SECURITY DEFINER included; true does not.
Setting it again replaces trusted, and a deny_function. A WARNING for built-in and C functions and for trusted ones. Errors: 42883 no such function; 22023 for functions of agent_policy.
Example: SELECT agent_policy.allow_function(''sales_agent'', ''sales.discount(numeric)'');';

CREATE FUNCTION deny_function(role regrole, function regprocedure) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
DECLARE
    signature text;
BEGIN
    PERFORM agent_policy._require_protected(deny_function.role, 'deny_function');
    signature := agent_policy._signature(deny_function.function, 'deny_function');
    IF EXISTS (SELECT FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
               WHERE p.oid = deny_function.function AND n.nspname = 'agent_policy') THEN
        RAISE EXCEPTION 'function % cannot be denied', signature
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Masks and row filters call the functions of agent_policy; those that are not meant for protected roles are denied as they are.';
    END IF;
    INSERT INTO agent_policy.policy_function (role, function, access, trusted)
    VALUES (deny_function.role, signature, 'deny', false)
    ON CONFLICT ON CONSTRAINT policy_function_pkey
        DO UPDATE SET access = excluded.access, trusted = excluded.trusted;
    PERFORM agent_policy._record('deny_function', jsonb_build_object(
        'role', deny_function.role::text, 'function', signature));
END
$$;
COMMENT ON FUNCTION deny_function(regrole, regprocedure) IS
'Denies a function to a protected role, though the reviewed list or an allowed extension has it; replaces allow_function. reset_function takes it back.
Where the function is renamed, moved to another schema or dropped later, every function of the name that it was denied under is denied, in any schema, until reset_function is called for one of that name.
Errors: 42883 no such function; 22023 for functions of agent_policy.
Example: SELECT agent_policy.deny_function(''sales_agent'', ''pg_catalog.random()'');';

CREATE FUNCTION reset_function(role regrole, function regprocedure) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
DECLARE
    signature text;
BEGIN
    PERFORM agent_policy._require_protected(reset_function.role, 'reset_function');
    signature := agent_policy._signature(reset_function.function, 'reset_function');
    -- And the denial of one that is not where it was, and that the name stands for now.
    DELETE FROM agent_policy.policy_function f
     WHERE f.role = reset_function.role
       AND (f.function = signature
            OR f.access = 'deny' AND to_regprocedure(f.function) IS NULL
               AND strpos('.' || f.function,
                          (SELECT '.' || quote_ident(p.proname) || '(' FROM pg_proc p
                            WHERE p.oid = reset_function.function)) > 0);
    IF NOT FOUND THEN
        PERFORM agent_policy._notice_absent(format('function %s is neither allowed nor denied to role "%s"', signature, reset_function.role));
        RETURN;
    END IF;
    PERFORM agent_policy._record('reset_function', jsonb_build_object(
        'role', reset_function.role::text, 'function', signature));
END
$$;
COMMENT ON FUNCTION reset_function(regrole, regprocedure) IS
'Takes back allow_function and deny_function. A NOTICE if there is nothing to take back.
Example: SELECT agent_policy.reset_function(''sales_agent'', ''pg_catalog.random()'');';

CREATE FUNCTION allow_extension(role regrole, extension text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
BEGIN
    PERFORM agent_policy._require_protected(allow_extension.role, 'allow_extension');
    PERFORM agent_policy._require(allow_extension.extension, 'extension', 'allow_extension');
    IF NOT EXISTS (SELECT FROM pg_extension e WHERE e.extname = allow_extension.extension) THEN
        RAISE EXCEPTION 'extension "%" is not installed', allow_extension.extension
            USING ERRCODE = 'undefined_object',
                  HINT = format('Installed are: %s.', (SELECT string_agg(e.extname, ', ' ORDER BY e.extname) FROM pg_extension e));
    END IF;
    IF allow_extension.extension IN ('agent_policy', 'dblink', 'postgres_fdw', 'file_fdw', 'adminpack') OR allow_extension.extension LIKE 'pl%u' THEN
        RAISE EXCEPTION 'extension "%" cannot be allowed as a whole', allow_extension.extension
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Its functions reach past the policy. Name the ones that are needed with agent_policy.allow_function.';
    END IF;
    INSERT INTO agent_policy.policy_extension (role, extension)
    VALUES (allow_extension.role, allow_extension.extension)
    ON CONFLICT ON CONSTRAINT policy_extension_pkey DO NOTHING;
    PERFORM agent_policy._record('allow_extension', jsonb_build_object(
        'role', allow_extension.role::text, 'extension', allow_extension.extension));
END
$$;
COMMENT ON FUNCTION allow_extension(regrole, text) IS
'Lets a protected role use the functions, types and operators of an installed extension, but those denied by deny_function.
Errors: 42704 not installed; 22023 for extensions that reach past the policy (dblink, postgres_fdw, file_fdw, untrusted languages, agent_policy).
Example: SELECT agent_policy.allow_extension(''sales_agent'', ''pg_trgm'');';

CREATE FUNCTION disallow_extension(role regrole, extension text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
BEGIN
    PERFORM agent_policy._require_protected(disallow_extension.role, 'disallow_extension');
    PERFORM agent_policy._require(disallow_extension.extension, 'extension', 'disallow_extension');
    DELETE FROM agent_policy.policy_extension e
     WHERE e.role = disallow_extension.role AND e.extension = disallow_extension.extension;
    IF NOT FOUND THEN
        PERFORM agent_policy._notice_absent(format('extension "%s" is not allowed to role "%s"', disallow_extension.extension, disallow_extension.role));
        RETURN;
    END IF;
    PERFORM agent_policy._record('disallow_extension', jsonb_build_object(
        'role', disallow_extension.role::text, 'extension', disallow_extension.extension));
END
$$;
COMMENT ON FUNCTION disallow_extension(regrole, text) IS
'Takes back allow_extension. A NOTICE if the extension was not allowed.
Example: SELECT agent_policy.disallow_extension(''sales_agent'', ''pg_trgm'');';

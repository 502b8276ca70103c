-- Masks and row filters. mask_column and filter_rows run with the caller's search_path, so that
-- an expression means what it means to the caller, and parse with the caller's rights; what they
-- hand on is canonical text, and the _store_ functions write nothing that was not parsed just now.

CREATE FUNCTION _require_mask_role(role regrole, function text) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF _require_mask_role.role IS NOT NULL THEN
        PERFORM agent_policy._require_protected(_require_mask_role.role, function);
    END IF;
END
$$;

CREATE FUNCTION _store_mask(relation regclass, column_name text, mask text, options jsonb, role regrole, expression text)
    RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
BEGIN
    PERFORM agent_policy._require_mask_role(_store_mask.role, 'mask_column');
    PERFORM agent_policy._require_relation(_store_mask.relation, 'rpfm', 'mask_column');
    PERFORM agent_policy._require_column(_store_mask.relation, _store_mask.column_name, 'mask_column');
    PERFORM agent_policy._require_one_of(_store_mask.mask,
        '{redact,null,constant,partial,email,hash,truncate,bucket,network,scrub,json,expression,none}', 'mask', 'mask_column');
    PERFORM agent_policy._require(_store_mask.options, 'options', 'mask_column');
    IF _store_mask.mask <> 'none' THEN
        PERFORM agent_policy._require(_store_mask.expression, 'expression', 'mask_column');
    END IF;
    INSERT INTO agent_policy.policy_mask (role, relation, column_name, mask, options, expression, definer)
    VALUES (coalesce(_store_mask.role, '-'), _store_mask.relation, _store_mask.column_name, _store_mask.mask,
            _store_mask.options, _store_mask.expression,
            agent_policy._author(_store_mask.relation, _store_mask.column_name, _store_mask.mask, _store_mask.expression))
    ON CONFLICT ON CONSTRAINT policy_mask_pkey
        DO UPDATE SET mask = excluded.mask, options = excluded.options, expression = excluded.expression,
                      definer = excluded.definer;
    PERFORM agent_policy._record('mask_column', jsonb_build_object(
        'relation', _store_mask.relation::text, 'column_name', _store_mask.column_name, 'mask', _store_mask.mask,
        'options', _store_mask.options, 'role', _store_mask.role::text));
END
$$;

CREATE FUNCTION mask_column(relation regclass, column_name text, mask text DEFAULT 'redact',
                            options jsonb DEFAULT '{}', role regrole DEFAULT NULL)
    RETURNS void
    LANGUAGE plpgsql
    AS $$
DECLARE
    expression pg_catalog.text;
    state pg_catalog.text;
    message pg_catalog.text;
    detail pg_catalog.text;
    hint pg_catalog.text;
BEGIN
    PERFORM agent_policy._check_mask_target(mask_column.relation, mask_column.column_name, mask_column.mask, mask_column.options, mask_column.role);
    BEGIN
        expression := agent_policy._mask_expression(
            mask_column.relation::pg_catalog.oid, mask_column.column_name, mask_column.mask,
            mask_column.options::pg_catalog.text, mask_column.options OPERATOR(pg_catalog.->>) 'value'::pg_catalog.text);
    EXCEPTION WHEN OTHERS THEN
        GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT,
                                detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
        PERFORM agent_policy._reraise(state, message, detail, hint,
            'A mask must yield a value of the column''s type. For an expression, qualify names that are not in the search_path.'::pg_catalog.text);
    END;
    PERFORM agent_policy._store_mask(
        mask_column.relation, mask_column.column_name, mask_column.mask, mask_column.options, mask_column.role, expression);
END
$$;
COMMENT ON FUNCTION mask_column(regclass, text, text, jsonb, regrole) IS
'What protected roles see instead of a column, wherever a statement uses it: output, WHERE, JOIN, GROUP BY, ORDER BY, aggregates, whole rows, through views.
relation: a table, partitioned table or foreign table (views: mask their base tables). column_name: without quotes.
role: NULL (default) means every protected role; a role''s own mask beats that one. Setting it again replaces.
mask, and its options with their defaults:
  redact (default): a fixed value of the type; NULL stays NULL
  null: NULL
  constant {"value": ...}: that value
  partial {"keep_first": 0, "keep_last": 4, "pad": "*"}: characters in between become pads; a value of at most keep_first + keep_last characters shows as that many pads
  email: a***@example.com; *** for what is not an address
  hash {"length": 16}: the first 1 to 64 hex digits of an HMAC-SHA-256 with this database''s secret key; text, uuid and bigint columns
  truncate {"unit": "year"}: decade, year, quarter, month, week, and for timestamps also day, hour, minute (in UTC); date, timestamp, timestamptz
  bucket {"size": 10}: the multiple of size at or below the value; numeric types
  network {"ipv4": 24, "ipv6": 48}: the network of that many bits; inet, cidr
  scrub: each piece of personal data and each secret inside is replaced by its category, as [EMAIL]; text, json, jsonb
  json {"paths": {"$.ssn": "redact", "$.cards[*].number": {"mask": "partial", "keep_last": 4}}}: what stands at these paths; each takes redact, null, constant, partial, email, hash or scrub. A path is $ and then .name, ."any name", .*, [3], [*], .** (any depth); a key of an array means that key of each element; jsonb
  expression {"sql": "left(name, 1)"}: any expression over the row, without subqueries; names are looked up in the caller''s search_path, and the caller''s privileges on schemas have to last
  none: the value itself
An array is masked element by element where the mask fits its elements (redact, null and constant replace it whole); a domain as the type below it, unless it has constraints.
Errors: 22023 unknown mask or option, or a value out of range; 42804 the mask does not fit the column''s type; 42809 for views; 42703 no such column; 42501 names of a schema that the caller may not use. Once who set a mask may not use them any more, or is dropped, the table is closed.
Example: SELECT agent_policy.mask_column(''sales.customers'', ''ssn'', ''partial'', ''{"keep_last": 4}'');';

-- Says in its own words what _mask_expression would raise less well.
CREATE FUNCTION _check_mask_target(relation regclass, column_name text, mask text, options jsonb, role regrole)
    RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    PERFORM agent_policy._require_relation(_check_mask_target.relation, 'rpfm', 'mask_column');
    PERFORM agent_policy._require_column(_check_mask_target.relation, _check_mask_target.column_name, 'mask_column');
    PERFORM agent_policy._require(_check_mask_target.options, 'options', 'mask_column');
    PERFORM agent_policy._require_one_of(_check_mask_target.mask,
        '{redact,null,constant,partial,email,hash,truncate,bucket,network,scrub,json,expression,none}', 'mask', 'mask_column');
    PERFORM agent_policy._require_mask_role(_check_mask_target.role, 'mask_column');
    IF EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
               WHERE c.oid = _check_mask_target.relation AND n.nspname IN ('pg_catalog', 'information_schema')) THEN
        RAISE EXCEPTION 'mask_column: % is a system relation', _check_mask_target.relation
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'The catalogs have rules of their own; only user tables are masked.';
    END IF;
END
$$;

CREATE FUNCTION unmask_column(relation regclass, column_name text, role regrole DEFAULT NULL) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
BEGIN
    PERFORM agent_policy._require(unmask_column.relation, 'relation', 'unmask_column');
    PERFORM agent_policy._require(unmask_column.column_name, 'column_name', 'unmask_column');
    DELETE FROM agent_policy.policy_mask m
     WHERE m.role = coalesce(unmask_column.role, '-') AND m.relation = unmask_column.relation
       AND m.column_name = unmask_column.column_name;
    IF NOT FOUND THEN
        PERFORM agent_policy._notice_absent(format('column "%s" of relation %s has no mask for %s',
            unmask_column.column_name, unmask_column.relation,
            CASE WHEN unmask_column.role IS NULL THEN 'every protected role'
                 ELSE format('role "%s"', unmask_column.role) END));
        RETURN;
    END IF;
    PERFORM agent_policy._record('unmask_column', jsonb_build_object(
        'relation', unmask_column.relation::text, 'column_name', unmask_column.column_name,
        'role', unmask_column.role::text));
END
$$;
COMMENT ON FUNCTION unmask_column(regclass, text, regrole) IS
'Removes a mask set by mask_column for the same role (NULL, the default: the one for every protected role). To exempt one role, set its mask to none instead.
A NOTICE if there is no such mask. A column that was dropped may be named.
Example: SELECT agent_policy.unmask_column(''sales.customers'', ''ssn'');';

CREATE FUNCTION _store_filter(relation regclass, predicate text, role regrole, name text, expression text)
    RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
BEGIN
    PERFORM agent_policy._require_relation(_store_filter.relation, 'rpf', 'filter_rows');
    PERFORM agent_policy._require(_store_filter.predicate, 'predicate', 'filter_rows');
    PERFORM agent_policy._require(_store_filter.name, 'name', 'filter_rows');
    PERFORM agent_policy._require_mask_role(_store_filter.role, 'filter_rows');
    INSERT INTO agent_policy.policy_filter (role, relation, name, predicate, expression, definer)
    VALUES (coalesce(_store_filter.role, '-'), _store_filter.relation, _store_filter.name, _store_filter.predicate,
            _store_filter.expression,
            agent_policy._author(_store_filter.relation, NULL, NULL, _store_filter.expression))
    ON CONFLICT ON CONSTRAINT policy_filter_pkey
        DO UPDATE SET predicate = excluded.predicate, expression = excluded.expression, definer = excluded.definer;
    PERFORM agent_policy._record('filter_rows', jsonb_build_object(
        'relation', _store_filter.relation::text, 'predicate', _store_filter.predicate,
        'role', _store_filter.role::text, 'name', _store_filter.name));
END
$$;

CREATE FUNCTION _check_filter_target(relation regclass, predicate text, role regrole, name text)
    RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    PERFORM agent_policy._require_relation(_check_filter_target.relation, 'rpf', 'filter_rows');
    PERFORM agent_policy._require(_check_filter_target.predicate, 'predicate', 'filter_rows');
    PERFORM agent_policy._require(_check_filter_target.name, 'name', 'filter_rows');
    PERFORM agent_policy._require_mask_role(_check_filter_target.role, 'filter_rows');
    IF EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
               WHERE c.oid = _check_filter_target.relation AND n.nspname IN ('pg_catalog', 'information_schema')) THEN
        RAISE EXCEPTION 'filter_rows: % is a system relation', _check_filter_target.relation
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'The catalogs have rules of their own; only user tables are filtered.';
    END IF;
END
$$;

CREATE FUNCTION filter_rows(relation regclass, predicate text, role regrole DEFAULT NULL, name text DEFAULT 'default')
    RETURNS void
    LANGUAGE plpgsql
    AS $$
DECLARE
    expression pg_catalog.text;
    state pg_catalog.text;
    message pg_catalog.text;
    detail pg_catalog.text;
    hint pg_catalog.text;
BEGIN
    PERFORM agent_policy._check_filter_target(filter_rows.relation, filter_rows.predicate, filter_rows.role, filter_rows.name);
    BEGIN
        expression := agent_policy._filter_expression(filter_rows.relation::pg_catalog.oid, filter_rows.predicate);
    EXCEPTION WHEN OTHERS THEN
        GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT,
                                detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
        PERFORM agent_policy._reraise(state, message, detail, hint,
            'A row filter is one boolean expression over the table''s columns, as in a WHERE clause; qualify names that are not in the search_path.'::pg_catalog.text);
    END;
    PERFORM agent_policy._store_filter(
        filter_rows.relation, filter_rows.predicate, filter_rows.role, filter_rows.name, expression);
END
$$;
COMMENT ON FUNCTION filter_rows(regclass, text, regrole, text) IS
'Which rows of a table protected roles see. Several filters of one table are ANDed.
relation: a table, partitioned table or foreign table (views: filter their base tables).
predicate: a boolean expression over the table''s columns, raw values; it is parsed and its subqueries run with the privileges of whoever calls filter_rows, unfiltered. It may use agent_policy.user_email() and agent_policy.claim(name). Names are looked up in the caller''s search_path, once, now. No aggregates, window functions, set-returning functions or system columns.
role: NULL (default) means every protected role. name: tells several filters apart; the same relation, role and name replaces.
Errors: those of the parser for what does not parse (42601, 42703, 42883 ...); 42804 not boolean; 42501 a subquery reads, or the predicate names, what the caller may not; 42809 for views. A filter that no longer parses later, or whose definer is dropped, denies its table.
Example: SELECT agent_policy.filter_rows(''sales.customers'', ''account_manager = agent_policy.user_email()'');';

CREATE FUNCTION remove_row_filter(relation regclass, role regrole DEFAULT NULL, name text DEFAULT 'default') RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
BEGIN
    PERFORM agent_policy._require(remove_row_filter.relation, 'relation', 'remove_row_filter');
    PERFORM agent_policy._require(remove_row_filter.name, 'name', 'remove_row_filter');
    DELETE FROM agent_policy.policy_filter f
     WHERE f.role = coalesce(remove_row_filter.role, '-') AND f.relation = remove_row_filter.relation
       AND f.name = remove_row_filter.name;
    IF NOT FOUND THEN
        PERFORM agent_policy._notice_absent(format('relation %s has no row filter "%s" for %s',
            remove_row_filter.relation, remove_row_filter.name,
            CASE WHEN remove_row_filter.role IS NULL THEN 'every protected role'
                 ELSE format('role "%s"', remove_row_filter.role) END));
        RETURN;
    END IF;
    PERFORM agent_policy._record('remove_row_filter', jsonb_build_object(
        'relation', remove_row_filter.relation::text, 'role', remove_row_filter.role::text, 'name', remove_row_filter.name));
END
$$;
COMMENT ON FUNCTION remove_row_filter(regclass, regrole, text) IS
'Removes a row filter set by filter_rows for the same role (NULL, the default: the one for every protected role) and name (default: default). A NOTICE if there is none.
Example: SELECT agent_policy.remove_row_filter(''sales.customers'');';

-- Tables that are read through aggregates only.

CREATE FUNCTION require_group_size(relation regclass, minimum int, role regrole DEFAULT NULL) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
BEGIN
    PERFORM agent_policy._require_relation(require_group_size.relation, 'rpfm', 'require_group_size');
    PERFORM agent_policy._require(require_group_size.minimum, 'minimum', 'require_group_size');
    PERFORM agent_policy._require_mask_role(require_group_size.role, 'require_group_size');
    IF require_group_size.minimum < 2 THEN
        RAISE EXCEPTION 'require_group_size: minimum must be 2 or more, not %', require_group_size.minimum
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'A group of one row is that row. Call agent_policy.remove_group_size to lift the requirement.';
    END IF;
    IF EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
               WHERE c.oid = require_group_size.relation AND n.nspname IN ('pg_catalog', 'information_schema')) THEN
        RAISE EXCEPTION 'require_group_size: % is a system relation', require_group_size.relation
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'The catalogs have rules of their own.';
    END IF;
    INSERT INTO agent_policy.policy_group_size (role, relation, minimum)
    VALUES (coalesce(require_group_size.role, '-'), require_group_size.relation, require_group_size.minimum)
    ON CONFLICT ON CONSTRAINT policy_group_size_pkey DO UPDATE SET minimum = excluded.minimum;
    PERFORM agent_policy._record('require_group_size', jsonb_build_object(
        'relation', require_group_size.relation::text, 'minimum', require_group_size.minimum,
        'role', require_group_size.role::text));
END
$$;
COMMENT ON FUNCTION require_group_size(regclass, int, regrole) IS
'Protected roles read a table through aggregates only, and groups with fewer of its rows are left out. Each SELECT that reads the table (in views over it, too) must read nothing else and aggregate: count, sum, avg, stddev, variance, corr, covar and regr aggregates over plain columns, without FILTER. An aggregate is NULL where fewer rows than that have values in all its arguments, count(column) included. Conditions and grouping expressions may compare its columns and use LIKE, lower, upper, length, left, date_trunc and extract: whatever could raise an error about a single row is refused (42501, rule group_size). The groups may be joined and calculated with: WITH g AS (SELECT ... GROUP BY ...) SELECT ... FROM g JOIN .... Masks and row filters come first, rows that a filter hides are in no group; both must be of leakproof functions and operators there. No protected role changes the table: rows of its own would make groups large enough.
relation: a table, partitioned table, foreign table or materialized view; its parents and children share the requirement. minimum: rows, 2 or more. role: NULL (default) means every protected role; of several that apply the largest counts.
It is a threshold, not a mask: who may ask often enough can subtract one group from another. Mask the columns that must not be known at all.
Errors: 22023 a minimum below 2, or a system relation; 42809 for views.
Example: SELECT agent_policy.require_group_size(''hr.salaries'', 10);';

CREATE FUNCTION remove_group_size(relation regclass, role regrole DEFAULT NULL) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
BEGIN
    PERFORM agent_policy._require(remove_group_size.relation, 'relation', 'remove_group_size');
    DELETE FROM agent_policy.policy_group_size g
     WHERE g.role = coalesce(remove_group_size.role, '-') AND g.relation = remove_group_size.relation;
    IF NOT FOUND THEN
        PERFORM agent_policy._notice_absent(format('relation %s has no minimum group size for %s',
            remove_group_size.relation,
            CASE WHEN remove_group_size.role IS NULL THEN 'every protected role'
                 ELSE format('role "%s"', remove_group_size.role) END));
        RETURN;
    END IF;
    PERFORM agent_policy._record('remove_group_size', jsonb_build_object(
        'relation', remove_group_size.relation::text, 'role', remove_group_size.role::text));
END
$$;
COMMENT ON FUNCTION remove_group_size(regclass, regrole) IS
'Lifts a requirement set by require_group_size for the same role (NULL, the default: the one for every protected role). A NOTICE if there is none.
Example: SELECT agent_policy.remove_group_size(''hr.salaries'');';

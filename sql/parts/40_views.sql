-- What the policy says, for people. They run with their owner's rights; agent_policy_admin reads.

CREATE VIEW protected_roles AS
SELECT role, capability, mode, identity, strict_views, unclassified AS unclassified_columns FROM policy_role;
COMMENT ON VIEW protected_roles IS 'One row for each protected role: capability, mode, least identity accepted, strict views, what becomes of unclassified columns.';

CREATE VIEW allowed_objects AS
SELECT role, 'schema' AS kind, pg_catalog.quote_ident(schema_name) AS object, access, NULL::boolean AS trusted FROM policy_schema
UNION ALL
SELECT role, 'relation', relation::text, access, NULL FROM policy_relation
UNION ALL
SELECT role, 'column', relation::text || '.' || pg_catalog.quote_ident(column_name), 'deny', NULL FROM policy_column
UNION ALL
SELECT role, 'function', function, access, trusted FROM policy_function
UNION ALL
SELECT role, 'extension', extension::text, 'allow', NULL FROM policy_extension;
COMMENT ON VIEW allowed_objects IS
'The allowlist, one row for each entry: role, kind (schema, relation, column, function, extension), object, access (read, write, allow, deny), trusted (functions only).';

CREATE VIEW masks AS
SELECT relation, column_name, mask, options, CASE WHEN role::oid <> 0 THEN role END AS role, expression FROM policy_mask;
COMMENT ON VIEW masks IS
'One row for each mask; role NULL means every protected role. expression is the SQL that stands in for the column.';

CREATE VIEW mask_labels AS
SELECT label, mask, options::jsonb AS options, CASE WHEN role::oid <> 0 THEN role END AS role FROM policy_label;
COMMENT ON VIEW mask_labels IS
'One row for each mask that a label carries; role NULL means every protected role.';

CREATE VIEW labelled_columns AS
SELECT s.objoid::regclass AS relation, a.attname::text AS column_name, s.label
  FROM pg_catalog.pg_seclabel s JOIN pg_catalog.pg_attribute a ON a.attrelid = s.objoid AND a.attnum = s.objsubid
 WHERE s.provider = 'agent_policy' AND s.classoid = 'pg_catalog.pg_class'::regclass AND s.objsubid > 0;
COMMENT ON VIEW labelled_columns IS
'One row for each column with a security label of agent_policy. A mask of the column itself beats that of its label.';

CREATE VIEW row_filters AS
SELECT relation, name, predicate, CASE WHEN role::oid <> 0 THEN role END AS role, definer, expression FROM policy_filter;
COMMENT ON VIEW row_filters IS
'One row for each row filter; role NULL means every protected role. predicate as it was given, expression as it was understood; its subqueries run as definer.';

CREATE VIEW group_sizes AS
SELECT relation, minimum::int AS minimum, CASE WHEN role::oid <> 0 THEN role END AS role FROM policy_group_size;
COMMENT ON VIEW group_sizes IS
'One row for each table that is read through aggregates only; role NULL means every protected role. Groups of fewer than minimum of its rows are left out.';

CREATE VIEW limits AS
SELECT role, max_rows, max_bytes, on_excess,
       statement_timeout * interval '1 ms' AS statement_timeout, max_plan_cost
FROM policy_role;
COMMENT ON VIEW limits IS 'The limits of each protected role; NULL means no limit.';

COMMENT ON TABLE policy_history IS 'Every change to the policy: when, by whom, function and arguments by name.';

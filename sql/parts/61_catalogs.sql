-- What the catalogs show a confined session. The filters of system catalogs and the arguments of
-- built-in functions ask these; a statement that names them is denied. All of them answer for the
-- session at hand, from its policy in memory; a session that no policy confines is shown everything.
-- The conditions of filters have a cost that keeps the planner from asking them in inner loops, and
-- a support function that says of how many rows they are true: else the planner takes a third, of each
-- catalog in a join, and ends with nested loops.

CREATE FUNCTION listed_support(internal) RETURNS internal
    LANGUAGE c STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'agent_listed_support';
COMMENT ON FUNCTION listed_support(internal) IS
'Planner support: the filters of catalogs are taken to hide few rows.';

CREATE FUNCTION listed(class oid, object oid) RETURNS boolean
    LANGUAGE c STABLE STRICT PARALLEL SAFE COST 100 SUPPORT listed_support AS 'MODULE_PATHNAME', 'listed_wrapper';
COMMENT ON FUNCTION listed(oid, oid) IS
'Whether the session is shown an object: class is the OID of the system catalog that it is in.';

CREATE FUNCTION listed(class oid, object oid, part integer) RETURNS boolean
    LANGUAGE c STABLE STRICT PARALLEL SAFE COST 100 SUPPORT listed_support AS 'MODULE_PATHNAME', 'part_listed_wrapper';
COMMENT ON FUNCTION listed(oid, oid, integer) IS
'The same for a part of an object, as pg_depend and pg_description number them: of a relation, a column.';

CREATE FUNCTION column_listed(relation oid, attribute smallint) RETURNS boolean
    LANGUAGE c STABLE STRICT PARALLEL SAFE COST 100 SUPPORT listed_support AS 'MODULE_PATHNAME', 'column_listed_wrapper';
COMMENT ON FUNCTION column_listed(oid, smallint) IS
'Whether the session is shown a column: its relation is, and the column is not denied.';

CREATE FUNCTION counts_shown(relation oid) RETURNS boolean
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'counts_shown_wrapper';
COMMENT ON FUNCTION counts_shown(oid) IS
'Whether counters of a relation tell nothing about rows that the session is not shown.';

CREATE FUNCTION sizes_shown(relation oid) RETURNS boolean
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'sizes_shown_wrapper';
COMMENT ON FUNCTION sizes_shown(oid) IS
'Whether sizes of a relation tell nothing about rows and values that the session is not shown.';

CREATE FUNCTION bound_shown(relation oid) RETURNS boolean
    LANGUAGE c STABLE STRICT PARALLEL SAFE COST 100 SUPPORT listed_support AS 'MODULE_PATHNAME', 'bound_shown_wrapper';
COMMENT ON FUNCTION bound_shown(oid) IS
'Whether the session is shown the bounds of a partition, which are values of the key.';

CREATE FUNCTION partition_key_shown(relation oid) RETURNS boolean
    LANGUAGE c STABLE STRICT PARALLEL SAFE COST 100 SUPPORT listed_support AS 'MODULE_PATHNAME', 'partition_key_shown_wrapper';
COMMENT ON FUNCTION partition_key_shown(oid) IS
'Whether the session is shown by which columns a table is partitioned.';

CREATE FUNCTION view_shown(relation oid) RETURNS boolean
    LANGUAGE c STABLE STRICT PARALLEL SAFE COST 100 SUPPORT listed_support AS 'MODULE_PATHNAME', 'view_shown_wrapper';
COMMENT ON FUNCTION view_shown(oid) IS
'Whether the session is shown the definition of a view: it may use the view and all that it names.';

CREATE FUNCTION labels_listed(type oid) RETURNS boolean
    LANGUAGE c STABLE STRICT PARALLEL SAFE COST 100 SUPPORT listed_support AS 'MODULE_PATHNAME', 'labels_listed_wrapper';
COMMENT ON FUNCTION labels_listed(oid) IS
'Whether the session is shown the labels of an enum type.';

CREATE FUNCTION default_listed(relation oid, attribute smallint, expression pg_node_tree) RETURNS boolean
    LANGUAGE c STABLE STRICT PARALLEL SAFE COST 100 SUPPORT listed_support AS 'MODULE_PATHNAME', 'agent_default_listed';
COMMENT ON FUNCTION default_listed(oid, smallint, pg_node_tree) IS
'Whether the session is shown the default of a column, or what it is generated from.';

CREATE FUNCTION expression_shown(expression pg_node_tree, relation oid) RETURNS boolean
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'agent_expression_shown';
COMMENT ON FUNCTION expression_shown(pg_node_tree, oid) IS
'Whether all that a stored expression names is shown to the session, and none of it masked; relation 0: over none.';

CREATE FUNCTION shown_expression(expression pg_node_tree, relation oid) RETURNS pg_node_tree
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'agent_shown_expression';
COMMENT ON FUNCTION shown_expression(pg_node_tree, oid) IS
'The expression, or NULL where expression_shown is false.';

CREATE FUNCTION shown(object oid, what integer) RETURNS oid
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'shown_wrapper';
COMMENT ON FUNCTION shown(oid, integer) IS
'The OID, or 0 if the session is not shown the object. what: the OID of its system catalog, or a negative number for what else is asked of it.';

CREATE FUNCTION shown_acl(acl aclitem[]) RETURNS aclitem[]
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'agent_shown_acl';
COMMENT ON FUNCTION shown_acl(aclitem[]) IS
'The privileges without those of roles that the session is not shown.';

CREATE FUNCTION setting_shown(name text) RETURNS boolean
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'setting_shown_wrapper';
COMMENT ON FUNCTION setting_shown(text) IS
'Whether pg_settings shows the session a setting.';

CREATE FUNCTION checked_name(name text, kind integer) RETURNS text
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'checked_name_wrapper';
COMMENT ON FUNCTION checked_name(text, integer) IS
'The name of an object, unchanged. Raises 42501 if the session is not shown the object, whether it exists or not.';

CREATE FUNCTION checked_role(name name, kind integer) RETURNS name
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'agent_checked_role';
COMMENT ON FUNCTION checked_role(name, integer) IS
'The same for a name of type name.';

CREATE FUNCTION name_or_null(name text, kind integer) RETURNS text
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'name_or_null_wrapper';
COMMENT ON FUNCTION name_or_null(text, integer) IS
'The name of an object, or NULL if the session is not shown it.';

-- What the rewriting of a confined statement puts in place of built-in functions, and what the
-- built-in filters of catalogs ask. Not for callers: a statement that names them is denied.

CREATE FUNCTION set_config(name text, value text, is_local boolean) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'agent_set_config';
COMMENT ON FUNCTION set_config(text, text, boolean) IS
'Stands in for pg_catalog.set_config in the statements of a confined session: the setting is judged when it runs.';

CREATE FUNCTION column_readable(relation oid, attribute smallint) RETURNS boolean
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'column_readable_wrapper';
COMMENT ON FUNCTION column_readable(oid, smallint) IS
'Whether the session may see the raw values of a column: its relation is allowed and has no row filter, the column is neither denied nor masked.';

CREATE FUNCTION readable_sequence(sequence regclass) RETURNS regclass
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'readable_sequence_wrapper';
COMMENT ON FUNCTION readable_sequence(regclass) IS
'The sequence, if the session may see where it stands, else NULL: its column is readable, or it is allowed by its own name.';

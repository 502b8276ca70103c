CREATE FUNCTION "check"(role regrole, statement text, user_email text DEFAULT NULL)
    RETURNS TABLE (verdict text, rule text, object text, message text, hint text,
                   masked_columns text[], row_filters text[], plan_cost float8, plan_rows float8)
    LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'check_wrapper';
COMMENT ON FUNCTION "check"(regrole, text, text) IS
'What would happen to a statement of a protected role, without running it. One row a finding: verdict (allowed, denied, would_deny), rule, object, message, hint; for an allowed statement the masked columns it reads, the row filters that apply, and the planner''s cost and rows. user_email: the forwarded user; NULL leaves the identity out of it. A text that PostgreSQL itself refuses gives rule statement_invalid. Errors: 22023 when the role is not protected; 42501 for who may not act as the role: planning runs functions with its privileges. Example: SELECT * FROM agent_policy.check(''agent'', ''SELECT * FROM sales.customers'')';

CREATE FUNCTION _preview(role regrole, user_email text, statement text, rows int) RETURNS SETOF text
    LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'preview_wrapper';

CREATE FUNCTION preview(role regrole, user_email text, statement text, rows int DEFAULT 20) RETURNS SETOF jsonb
    LANGUAGE sql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
    AS $$ SELECT p::pg_catalog.jsonb FROM agent_policy._preview(role, user_email, statement, rows) p $$;
COMMENT ON FUNCTION preview(regrole, text, text, int) IS
'The first rows that a protected role would see, as jsonb: masks, row filters, limits and denials as for the agent itself. The statement runs with the role''s privileges in a subtransaction that is read-only and rolled back; nothing is written to the audit.
user_email: the forwarded user; NULL for none. statement: one SELECT; names are looked up in the caller''s search_path. rows: how many at most.
Errors: what the agent would be told, with the same SQLSTATE; 25006 for what is no SELECT; 22023 when the role is not protected; 42501 for who may not act as the role (superusers may, and members of the role who do not inherit it: who inherits it is confined).
Example: SELECT agent_policy.preview(''agent'', ''alice@example.com'', ''SELECT * FROM sales.customers'');';

CREATE FUNCTION "check"(role regrole, statement text, user_email text DEFAULT NULL)
    RETURNS TABLE (verdict text, rule text, object text, message text, hint text,
                   masked_columns text[], row_filters text[], plan_cost float8, plan_rows float8)
    LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'check_wrapper';
COMMENT ON FUNCTION "check"(regrole, text, text) IS
'What would happen to a statement of a protected role, without running it. One row a finding: verdict (allowed, denied, would_deny), rule, object, message, hint; for an allowed statement the masked columns it reads, the row filters that apply, and the planner''s cost and rows. user_email: the forwarded user; NULL leaves the identity out of it. A text that PostgreSQL itself refuses gives rule statement_invalid. Errors: 22023 when the role is not protected. Example: SELECT * FROM agent_policy.check(''agent'', ''SELECT * FROM sales.customers'')';

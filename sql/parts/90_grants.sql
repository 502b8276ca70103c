-- Nobody but superusers by default; then exactly what is meant.
REVOKE ALL ON SCHEMA agent_policy FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA agent_policy FROM PUBLIC;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA agent_policy FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA agent_policy FROM PUBLIC;

GRANT USAGE ON SCHEMA agent_policy TO PUBLIC;
GRANT EXECUTE ON FUNCTION assert_user(text), user_email(), claim(text), identity() TO PUBLIC;

DO $$
DECLARE
    f regprocedure;
BEGIN
    FOR f IN SELECT p.oid::regprocedure FROM pg_catalog.pg_proc p
              WHERE p.pronamespace = 'agent_policy'::regnamespace LOOP
        -- The body of the script has its own schema in search_path: regprocedure may print
        -- unqualified names, and they resolve to these functions again.
        IF f::text ~ '^(agent_policy\.)?(mask_(partial|email|hash|truncate|bucket|network|scrub|scrub_json|json|each)|bounded_[a-z_]+)\(' THEN
            EXECUTE pg_catalog.format('GRANT EXECUTE ON FUNCTION %s TO PUBLIC', f);
        END IF;
    END LOOP;
END
$$;

GRANT EXECUTE ON FUNCTION
    protect_role(regrole, text, text), release_role(regrole), set_strict_views(regrole, boolean),
    require_identity(regrole, text), harden_role(regrole),
    set_limits(regrole, bigint, bigint, text, interval, float8, int, int, bigint, int),
    reset_limits(regrole, text[]),
    allow_schema(regrole, text, text), disallow_schema(regrole, text),
    allow_relation(regrole, regclass, text), deny_relation(regrole, regclass), reset_relation(regrole, regclass),
    deny_column(regrole, regclass, text), reset_column(regrole, regclass, text),
    allow_function(regrole, regprocedure, boolean), deny_function(regrole, regprocedure), reset_function(regrole, regprocedure),
    allow_extension(regrole, text), disallow_extension(regrole, text),
    mask_column(regclass, text, text, jsonb, regrole), unmask_column(regclass, text, regrole),
    mask_label(text, text, jsonb, regrole), unmask_label(text, regrole), unclassified_columns(regrole, text),
    filter_rows(regclass, text, regrole, text), remove_row_filter(regclass, regrole, text),
    require_group_size(regclass, int, regrole), remove_group_size(regclass, regrole)
    TO agent_policy_admin;
-- Called by mask_column, filter_rows and mask_label as their caller.
GRANT EXECUTE ON FUNCTION
    _check_mask_target(regclass, text, text, jsonb, regrole), _mask_expression(oid, text, text, text, text),
    _reraise(text, text, text, text, text),
    _store_mask(regclass, text, text, jsonb, regrole, text),
    _check_filter_target(regclass, text, regrole, text), _filter_expression(oid, text),
    _store_filter(regclass, text, regrole, text, text),
    _check_label_target(text, text, jsonb, regrole), _check_label(text, text, text),
    _store_label(text, text, jsonb, regrole)
    TO agent_policy_admin;
GRANT SELECT ON protected_roles, allowed_objects, masks, mask_labels, labelled_columns, row_filters, group_sizes, limits, policy_history TO agent_policy_admin;

-- Called by rewritten statements, with the agent's privileges.
GRANT EXECUTE ON FUNCTION agent_policy.set_config(text, text, boolean), column_readable(oid, smallint),
    readable_sequence(regclass) TO PUBLIC;
GRANT EXECUTE ON FUNCTION
    listed(oid, oid), listed(oid, oid, integer), column_listed(oid, smallint), counts_shown(oid), sizes_shown(oid),
    bound_shown(oid), partition_key_shown(oid), view_shown(oid), labels_listed(oid), default_listed(oid, smallint, pg_node_tree),
    expression_shown(pg_node_tree, oid), shown_expression(pg_node_tree, oid), shown(oid, integer),
    shown_acl(aclitem[]), setting_shown(text), checked_name(text, integer),
    checked_role(name, integer), name_or_null(text, integer)
    TO PUBLIC;
GRANT EXECUTE ON FUNCTION "check"(regrole, text, text), preview(regrole, text, text, int), _preview(regrole, text, text, int)
    TO agent_policy_admin;

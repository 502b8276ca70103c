-- The library installs its hooks when the server starts. Without that, the policy would be
-- written down and enforced by nobody, so refuse early. The setting exists only where the
-- library was preloaded (a mere placeholder is not listed in pg_settings).
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_settings
                   WHERE name = 'agent_policy.user_email' AND context LIKE '%backend') THEN
        RAISE EXCEPTION 'agent_policy must be loaded via shared_preload_libraries'
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = 'Add agent_policy to shared_preload_libraries in postgresql.conf and restart the server.';
    END IF;
    -- Roles are shared by all databases: another one may have made it.
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'agent_policy_admin') THEN
        BEGIN
            CREATE ROLE agent_policy_admin NOLOGIN;
            COMMENT ON ROLE agent_policy_admin IS 'may change the policy of agent_policy';
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL;  -- made by another database at this moment
        END;
    END IF;
END
$$;

-- The native floor below the hooks: what PostgreSQL itself can refuse a role.

-- What ALTER ROLE … SET says of a setting, for every database or for the one of that number.
CREATE FUNCTION _role_setting(role oid, database oid, name text) RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT substr(c, length(_role_setting.name) + 2)
      FROM pg_db_role_setting s, unnest(s.setconfig) c
     WHERE s.setrole = _role_setting.role AND s.setdatabase = _role_setting.database
       AND starts_with(c, _role_setting.name || '=')
    $$;

-- The elements of a list of libraries as it is stored.
CREATE FUNCTION _libraries(list text) RETURNS text[]
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT coalesce(array_agg(btrim(e, ' "') ORDER BY n), '{}')
      FROM unnest(string_to_array(list, ',')) WITH ORDINALITY AS x (e, n) WHERE btrim(e, ' "') <> ''
    $$;

CREATE FUNCTION harden_role(role regrole) RETURNS TABLE (setting text, before text, after text)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
DECLARE
    r record;
    capability text;
    known text[];
    libraries text[];
    step record;
    changed jsonb := '[]';
    open text;
    remedy text;
BEGIN
    PERFORM agent_policy._require_role(harden_role.role, 'harden_role');
    SELECT a.*, quote_ident(a.rolname) AS name INTO r FROM pg_roles a WHERE a.oid = harden_role.role;
    IF NOT r.rolsuper THEN
        SELECT CASE WHEN bool_or(p.capability = 'read_only') THEN 'read_only'
                    WHEN bool_or(p.capability = 'read_write') THEN 'read_write'
                    ELSE min(p.capability) END
          INTO capability
          FROM agent_policy.policy_role p
         WHERE p.role = harden_role.role
            OR EXISTS (SELECT FROM pg_roles g WHERE g.oid = p.role AND pg_has_role(r.oid, g.oid, 'USAGE'));
    END IF;
    IF capability IS NULL THEN
        RAISE EXCEPTION 'harden_role: role "%" is not protected', r.rolname
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = format('Call agent_policy.protect_role(%L) first.', harden_role.role);
    END IF;
    -- The databases in which it is protected, itself or by a role that it inherits.
    known := ARRAY(SELECT DISTINCT jsonb_object_keys(l.label::jsonb)
                     FROM pg_shseclabel l JOIN pg_roles g ON g.oid = l.objoid
                    WHERE l.provider = 'agent_policy' AND l.classoid = 'pg_authid'::regclass
                      AND pg_has_role(r.oid, g.oid, 'USAGE')) || current_database()::text;
    libraries := agent_policy._libraries(coalesce(
        agent_policy._role_setting(r.oid, 0, 'session_preload_libraries'),
        (SELECT s.reset_val FROM pg_settings s WHERE s.name = 'session_preload_libraries')));

    FOR step IN
        -- Attributes. A role that is confined because it inherits a protected one has to go on
        -- inheriting. Before 16, so has a member of other roles, or it would lose what they were
        -- granted; since 16 the attribute counts for memberships to come.
        SELECT v.setting, 'on' AS before, 'off' AS after, format('ALTER ROLE %s NO%s', r.name, upper(v.setting)) AS command
          FROM (VALUES ('inherit', r.rolinherit AND EXISTS (SELECT FROM agent_policy.policy_role p WHERE p.role = r.oid)
                                   AND (current_setting('server_version_num')::int >= 160000
                                        OR NOT EXISTS (SELECT FROM pg_auth_members m WHERE m.member = r.oid))),
                       ('createrole', r.rolcreaterole), ('createdb', r.rolcreatedb),
                       ('replication', r.rolreplication), ('bypassrls', r.rolbypassrls)) AS v (setting, present)
         WHERE v.present
        UNION ALL
        SELECT 'connection_limit', '-1', '20', format('ALTER ROLE %s CONNECTION LIMIT 20', r.name)
         WHERE r.rolconnlimit < 0 AND r.rolcanlogin
        -- Settings of the role: a limit that is there stays, be it the role's or the server's.
        UNION ALL
        SELECT v.setting, agent_policy._role_setting(r.oid, 0, v.setting), v.wanted,
               format('ALTER ROLE %s SET %I = %L', r.name, v.setting, v.wanted)
          FROM (VALUES ('default_transaction_read_only', 'on', capability = 'read_only'
                            AND agent_policy._role_setting(r.oid, 0, 'default_transaction_read_only') IS DISTINCT FROM 'on'),
                       ('temp_file_limit', '1GB',
                            coalesce(agent_policy._role_setting(r.oid, 0, 'temp_file_limit'), '-1') = '-1'
                            AND NOT EXISTS (SELECT FROM pg_settings s WHERE s.name = 'temp_file_limit'
                                               AND s.reset_val::bigint BETWEEN 0 AND 1048576
                                               AND agent_policy._role_setting(r.oid, 0, s.name) IS NULL)),
                       ('idle_in_transaction_session_timeout', '5min',
                            coalesce(agent_policy._role_setting(r.oid, 0, 'idle_in_transaction_session_timeout'), '0') = '0'
                            AND NOT EXISTS (SELECT FROM pg_settings s WHERE s.name = 'idle_in_transaction_session_timeout'
                                               AND s.reset_val::bigint BETWEEN 1 AND 300000
                                               AND agent_policy._role_setting(r.oid, 0, s.name) IS NULL))) AS v (setting, wanted, needed)
         WHERE v.needed AND r.rolcanlogin
        UNION ALL
        SELECT 'session_preload_libraries', agent_policy._role_setting(r.oid, 0, 'session_preload_libraries'),
               array_to_string(libraries || 'agent_policy'::text, ', '),
               format('ALTER ROLE %s SET session_preload_libraries = %s', r.name,
                      (SELECT string_agg(quote_literal(l), ', ') FROM unnest(libraries || 'agent_policy'::text) l))
         WHERE r.rolcanlogin
           AND ('agent_policy' <> ALL (libraries)
                OR agent_policy._role_setting(r.oid, 0, 'session_preload_libraries') IS NULL)
        -- Settings for single databases would beat those.
        UNION ALL
        SELECT v.setting || ' in database ' || quote_ident(d.datname),
               agent_policy._role_setting(r.oid, d.oid, v.setting), NULL,
               format('ALTER ROLE %s IN DATABASE %I RESET %I', r.name, d.datname, v.setting)
          FROM (VALUES ('default_transaction_read_only', capability = 'read_only'), ('temp_file_limit', true),
                       ('idle_in_transaction_session_timeout', true), ('session_preload_libraries', true)) AS v (setting, wanted)
          JOIN pg_database d ON agent_policy._role_setting(r.oid, d.oid, v.setting) IS NOT NULL
         WHERE v.wanted
        -- Privileges granted to the role itself.
        UNION ALL
        SELECT lower(a.privilege_type) || ' on database ' || quote_ident(d.datname), 'granted', 'revoked',
               format('REVOKE %s ON DATABASE %I FROM %s', a.privilege_type, d.datname, r.name)
          FROM pg_database d, aclexplode(d.datacl) a
         WHERE a.grantee = r.oid AND d.datdba <> r.oid AND a.grantor = d.datdba
           AND CASE a.privilege_type WHEN 'CREATE' THEN true
                                     WHEN 'TEMPORARY' THEN capability <> 'ddl'
                                     WHEN 'CONNECT' THEN d.datname <> ALL (known) END
        UNION ALL
        SELECT 'create on schema ' || quote_ident(n.nspname), 'granted', 'revoked',
               format('REVOKE CREATE ON SCHEMA %I FROM %s', n.nspname, r.name)
          FROM pg_namespace n, aclexplode(n.nspacl) a
         WHERE a.grantee = r.oid AND n.nspowner <> r.oid AND a.grantor = n.nspowner
           AND a.privilege_type = 'CREATE' AND capability <> 'ddl'
    LOOP
        EXECUTE step.command;
        changed := changed || jsonb_build_object('setting', step.setting, 'before', step.before, 'after', step.after);
        setting := step.setting;
        before := step.before;
        after := step.after;
        RETURN NEXT;
    END LOOP;

    -- What is not the role's own is not changed behind anybody's back.
    FOR open, remedy IN
        SELECT format('role "%s" is a member of %s', r.rolname, string_agg(m.roleid::regrole::text, ', ' ORDER BY m.roleid)),
               format('What it needs is better granted to it directly; then: REVOKE %s FROM %s',
                      string_agg(m.roleid::regrole::text, ', ' ORDER BY m.roleid), r.name)
          FROM pg_auth_members m
         WHERE m.member = r.oid AND NOT EXISTS (SELECT FROM agent_policy.policy_role p WHERE p.role = m.roleid)
        HAVING count(*) > 0
        UNION ALL
        SELECT format('settings of role "%s" do not reach its members', r.rolname),
               'It cannot log in. Call harden_role for each of its members that can.'
         WHERE NOT r.rolcanlogin
        UNION ALL
        SELECT format('PUBLIC may create temporary tables in database "%s"', d.datname),
               format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC, and grant it to the roles that need it.', d.datname)
          FROM pg_database d, aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a
         WHERE d.datname = current_database() AND a.grantee = 0 AND a.privilege_type = 'TEMPORARY' AND capability <> 'ddl'
        UNION ALL
        SELECT format('PUBLIC may connect to %s', string_agg(quote_ident(d.datname), ', ' ORDER BY d.datname)),
               format('agent_policy refuses the role there; so that the server does: REVOKE CONNECT ON DATABASE %s FROM PUBLIC, and grant it to the roles that need it.',
                      string_agg(quote_ident(d.datname), ', ' ORDER BY d.datname))
          FROM pg_database d, aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a
         WHERE d.datallowconn AND d.datname <> ALL (known) AND a.grantee = 0 AND a.privilege_type = 'CONNECT'
        HAVING count(*) > 0
        UNION ALL
        SELECT format('PUBLIC may create objects in schema "%s"', n.nspname),
               format('REVOKE CREATE ON SCHEMA %I FROM PUBLIC, and grant it to the roles that need it.', n.nspname)
          FROM pg_namespace n, aclexplode(n.nspacl) a
         WHERE a.grantee = 0 AND a.privilege_type = 'CREATE' AND capability <> 'ddl'
        UNION ALL
        SELECT format('role "%s" owns %s', r.rolname, string_agg(o.what, ', ' ORDER BY o.what)),
               format('An owner''s rights cannot be revoked. Give them to another: REASSIGN OWNED BY %s TO ...', r.name)
          FROM (SELECT 'database ' || quote_ident(d.datname) AS what FROM pg_database d WHERE d.datdba = r.oid
                UNION ALL
                SELECT 'schema ' || quote_ident(n.nspname) FROM pg_namespace n WHERE n.nspowner = r.oid
                UNION ALL
                SELECT 'subscription ' || quote_ident(s.subname) FROM pg_subscription s WHERE s.subowner = r.oid
                UNION ALL
                SELECT 'relation ' || c.oid::regclass::text FROM pg_class c
                 WHERE c.relowner = r.oid AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND capability = 'read_only') o
        HAVING count(*) > 0
        UNION ALL
        SELECT format('role "%s" has %s on %s', r.rolname, lower(a.privilege_type), x.what),
               format('It was granted by %s, who has to revoke it.', a.grantor::regrole)
          FROM (SELECT 'database ' || quote_ident(d.datname) AS what, d.datacl AS acl, d.datdba AS owner, d.datname <> ALL (known) AS elsewhere
                  FROM pg_database d
                UNION ALL
                SELECT 'schema ' || quote_ident(n.nspname), n.nspacl, n.nspowner, false FROM pg_namespace n) x, aclexplode(x.acl) a
         WHERE a.grantee = r.oid AND a.grantor <> x.owner AND x.owner <> r.oid
           AND (a.privilege_type IN ('CREATE', 'TEMPORARY') AND capability <> 'ddl' OR a.privilege_type = 'CONNECT' AND x.elsewhere)
    LOOP
        RAISE WARNING '%', open USING HINT = remedy;
    END LOOP;
    PERFORM agent_policy._record('harden_role', jsonb_build_object('role', harden_role.role::text, 'changed', changed));
END
$$;
COMMENT ON FUNCTION harden_role(regrole) IS
'Sets what PostgreSQL itself can refuse a role, below what agent_policy does, and gives one row for each thing that it changed: setting, before, after (NULL: not set). Called again it changes nothing, and gives no row.
role: a protected role, or one that inherits a protected role (22023 otherwise).
Attributes: inherit, createrole, createdb, replication, bypassrls go; connection_limit becomes 20 where there was none. inherit stays for a role that is confined because it inherits a protected one and, before PostgreSQL 16, for a member of any role, which would lose what that was granted.
Settings (ALTER ROLE ... SET): default_transaction_read_only on (capability read_only), temp_file_limit 1GB, idle_in_transaction_session_timeout 5min unless a limit is set already; session_preload_libraries with agent_policy, so that the role cannot log in to a server without the library in shared_preload_libraries. What is set for single databases is reset.
Privileges granted to the role itself: create and temporary on databases, create on schemas (kept for capability ddl, but for create on databases), connect on databases in which it is not protected.
What the role has through PUBLIC, by membership or as an owner stays, with a WARNING that names the remedy.
Example: SELECT * FROM agent_policy.harden_role(''sales_agent'');';

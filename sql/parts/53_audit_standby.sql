-- Records of standbys: who hands them over, and of which servers.

-- Roles that the audit workers of standbys log in as.
CREATE TABLE audit_shipper (
    role regrole PRIMARY KEY
);
COMMENT ON TABLE audit_shipper IS 'roles that may hand over audit records of a standby: see add_standby()';

-- A role speaks for the servers that it was the first to speak for, or was given.
CREATE TABLE audit_node (
    node       text PRIMARY KEY CHECK (node ~ '^[0-9a-f]{16}$'),
    role       regrole,
    first_seen timestamptz NOT NULL DEFAULT pg_catalog.now(),
    starts     bigint[] NOT NULL DEFAULT '{}'
);
COMMENT ON TABLE audit_node IS 'servers that audit records come from, by the number in health.node';
COMMENT ON COLUMN audit_node.role IS
    'the role that hands over its records; NULL: none does, it is or was the primary';
COMMENT ON COLUMN audit_node.starts IS
    'numbers that the server drew when it started, the newest last: a copy of it draws others';

SELECT pg_catalog.pg_extension_config_dump('audit_shipper',
    'WHERE EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.oid = role)');

CREATE FUNCTION audit_receive(
    session text, segment integer, at bigint, records bytea, start bigint DEFAULT NULL,
    OUT next_segment integer, OUT next_at bigint, OUT finished boolean
) RETURNS SETOF record
LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'audit_receive_wrapper';
COMMENT ON FUNCTION audit_receive(text, integer, bigint, bytea, bigint) IS
    'takes audit records of a standby; called by its audit worker, as a role of add_standby()';

CREATE FUNCTION add_standby(role regrole, node text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM agent_policy._require_role(add_standby.role, 'add_standby');
    IF add_standby.node !~ '^[0-9a-f]{16}$' THEN
        RAISE EXCEPTION 'add_standby: "%" is not the number of a server', add_standby.node
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Give the column node of agent_policy.health on the standby: 16 hexadecimal digits.';
    END IF;
    IF (SELECT rolsuper FROM pg_roles WHERE oid = add_standby.role) THEN
        RAISE EXCEPTION 'role % is a superuser', add_standby.role
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Give the standby a role of its own: CREATE ROLE ... LOGIN.';
    END IF;
    IF EXISTS (SELECT FROM agent_policy.policy_role p
               WHERE pg_has_role(add_standby.role::oid, p.role::oid, 'USAGE')) THEN
        RAISE EXCEPTION 'role % is protected', add_standby.role
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Give the standby a role of its own: CREATE ROLE ... LOGIN.';
    END IF;
    INSERT INTO agent_policy.audit_shipper VALUES (add_standby.role) ON CONFLICT DO NOTHING;
    EXECUTE format('GRANT EXECUTE ON FUNCTION agent_policy.audit_receive(text, integer, bigint, bytea, bigint) TO %s',
                   add_standby.role);
    IF add_standby.node IS NOT NULL THEN
        INSERT INTO agent_policy.audit_node AS n (node, role) VALUES (add_standby.node, add_standby.role)
        ON CONFLICT ON CONSTRAINT audit_node_pkey DO UPDATE SET role = EXCLUDED.role;
    END IF;
    INSERT INTO agent_policy.policy_history (changed_by, function, arguments)
    VALUES (session_user, 'add_standby', jsonb_build_object('role', add_standby.role, 'node', add_standby.node));
END
$$;
COMMENT ON FUNCTION add_standby(regrole, text) IS
    'lets a role hand over the audit records of a standby, and do nothing else; node: health.node of the standby, for a server that was the primary or had another role. Superusers only. Errors: 22004 no role given; 42704 no such role; 22023 a superuser, a protected role, or no such number of a server';

CREATE FUNCTION remove_standby(role regrole) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM agent_policy._require(remove_standby.role, 'role', 'remove_standby');
    IF NOT EXISTS (SELECT FROM agent_policy.audit_shipper s WHERE s.role = remove_standby.role) THEN
        PERFORM agent_policy._notice_absent(format('role "%s" does not hand over records of a standby', remove_standby.role));
        RETURN;
    END IF;
    EXECUTE format('REVOKE EXECUTE ON FUNCTION agent_policy.audit_receive(text, integer, bigint, bytea, bigint) FROM %s',
                   remove_standby.role);
    DELETE FROM agent_policy.audit_shipper s WHERE s.role = remove_standby.role;
    UPDATE agent_policy.audit_node n SET role = NULL WHERE n.role = remove_standby.role;
    INSERT INTO agent_policy.policy_history (changed_by, function, arguments)
    VALUES (session_user, 'remove_standby', jsonb_build_object('role', remove_standby.role));
END
$$;
COMMENT ON FUNCTION remove_standby(regrole) IS
    'takes that back; statements that the standby did not report the end of get the outcome unknown. Superusers only. A NOTICE if the role does not';

REVOKE ALL ON audit_shipper, audit_node FROM PUBLIC;
REVOKE ALL ON FUNCTION audit_receive(text, integer, bigint, bytea, bigint), add_standby(regrole, text),
    remove_standby(regrole) FROM PUBLIC;
GRANT SELECT ON audit_shipper, audit_node TO agent_policy_admin;

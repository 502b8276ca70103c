-- The audit log in the terms of the Open Cybersecurity Schema Framework: class 6005, Datastore
-- Activity, of schema version 1.5 (https://schema.ocsf.io/1.5.0/classes/datastore_activity).

CREATE VIEW audit_ocsf AS
SELECT jsonb_strip_nulls(jsonb_build_object(
        'class_uid', 6005,
        'class_name', 'Datastore Activity',
        'category_uid', 6,
        'category_name', 'Application Activity',
        'activity_id', a.activity,
        'activity_name', coalesce(a.activity_name, a.command_tag),
        'type_uid', 600500 + a.activity,
        'time', floor(extract(epoch FROM a.started_at) * 1000)::bigint,
        'duration', round(a.duration_ms)::bigint,
        'severity_id', CASE WHEN a.verdict = 'denied' THEN 3 WHEN a.outcome = 'ok' THEN 1 ELSE 2 END,
        'status_id', CASE a.outcome WHEN 'ok' THEN 1 WHEN 'unknown' THEN 0 ELSE 2 END,
        'status_code', a.sqlstate,
        'status_detail', a.rule,
        'action_id', CASE WHEN a.verdict = 'denied' THEN 2 WHEN a.changed THEN 4 ELSE 1 END,
        'disposition_id', CASE
            WHEN a.verdict = 'denied' THEN 2
            WHEN a.outcome <> 'ok' THEN 27
            WHEN a.changed THEN 11
            ELSE 1 END,
        'metadata', jsonb_build_object(
            'version', '1.5.0',
            'profiles', jsonb_build_array('security_control'),
            'product', jsonb_build_object('name', 'agent_policy', 'vendor_name', 'agent_policy',
                                          'version', (SELECT e.extversion FROM pg_catalog.pg_extension e
                                                      WHERE e.extname = 'agent_policy')),
            'uid', a.event_id,
            'sequence', a.seq,
            'correlation_uid', a.trace_id,
            'log_name', 'agent_policy.audit_log'),
        'actor', jsonb_build_object(
            'user', jsonb_build_object('name', coalesce(a.user_email, a.role_name),
                                       'email_addr', a.user_email,
                                       'type_id', CASE WHEN a.user_email IS NULL THEN 3 ELSE 1 END),
            'session', jsonb_build_object('uid', a.session_id, 'uid_alt', a.backend_pid::text,
                                          'issuer', a.assurance),
            'app_name', nullif(a.application_name, '')),
        'src_endpoint', CASE WHEN a.client_addr IS NULL
            THEN jsonb_build_object('name', 'local socket')
            ELSE jsonb_build_object('ip', host(a.client_addr)) END,
        'dst_endpoint', jsonb_build_object('svc_name', 'postgresql'),
        'database', jsonb_build_object('name', a.database_name, 'type_id', 1),
        'table', CASE WHEN cardinality(a.relations) > 0
            THEN jsonb_build_object('name', a.relations[1]) END,
        'type_id', CASE WHEN cardinality(a.relations) > 0 THEN 3 ELSE 1 END,
        'query_info', jsonb_build_object('query_string', coalesce(a.statement, ''),
                                         'uid', a.query_id::text,
                                         'bytes', a.bytes_returned),
        'policy', jsonb_build_object('name', a.role_name, 'version', a.policy_version::text),
        'firewall_rule', CASE WHEN a.rule IS NOT NULL
            THEN jsonb_build_object('name', a.rule, 'match_details', jsonb_build_array(a.object)) END,
        'unmapped', jsonb_build_object(
            'role', a.role_name,
            'session_user', a.session_user_name,
            'nesting_level', a.nesting_level,
            'relations', a.relations,
            'masked_columns', a.masked_columns,
            'functions', a.functions,
            'rows_returned', a.rows_returned,
            'rows_processed', a.rows_processed,
            'truncated', a.truncated,
            'verdict', a.verdict,
            'statement_sha256', encode(a.statement_sha256, 'hex'),
            'agent', a.agent,
            'conversation', a.conversation))) AS event,
    a.seq, a.started_at, a.user_email
FROM (
    SELECT l.*,
           cardinality(l.masked_columns) > 0 OR l.truncated AS changed,
           t.activity,
           CASE t.activity WHEN 2 THEN 'Update' WHEN 4 THEN 'Query' WHEN 5 THEN 'Write'
                           WHEN 6 THEN 'Create' WHEN 7 THEN 'Delete' WHEN 8 THEN 'List' END AS activity_name
    FROM agent_policy.audit_log l
    CROSS JOIN LATERAL (SELECT CASE
        WHEN l.command_tag = 'COPY' AND l.statement ~* '\mFROM\s+STDIN\M' THEN 5
        WHEN split_part(l.command_tag, ' ', 1) IN ('SELECT', 'FETCH', 'EXPLAIN', 'DECLARE', 'COPY', 'EXECUTE', 'SHOW')
            AND cardinality(l.relations) > 0
            AND NOT EXISTS (SELECT FROM unnest(l.relations) r
                            WHERE r !~ '^(pg_catalog|information_schema)\.') THEN 8
        WHEN l.command_tag IN ('INSERT', 'MERGE') THEN 5
        WHEN l.command_tag = 'UPDATE' THEN 2
        WHEN l.command_tag IN ('DELETE', 'TRUNCATE TABLE') THEN 7
        WHEN l.command_tag LIKE 'CREATE %' THEN 6
        WHEN split_part(l.command_tag, ' ', 1) IN ('SELECT', 'FETCH', 'EXPLAIN', 'DECLARE', 'COPY', 'EXECUTE') THEN 4
        WHEN l.command_tag IS NULL THEN 0
        ELSE 99 END AS activity) t
) a;
COMMENT ON VIEW audit_ocsf IS
    'the audit log as events of OCSF 1.5, class 6005 (Datastore Activity); columns seq, started_at and user_email are there to filter by';

REVOKE ALL ON audit_ocsf FROM PUBLIC;
GRANT SELECT ON audit_ocsf TO agent_policy_admin;

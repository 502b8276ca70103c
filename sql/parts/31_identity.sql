-- The identity of the forwarded user.

CREATE FUNCTION assert_user(email text) RETURNS void
    LANGUAGE c VOLATILE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'assert_user_wrapper';
COMMENT ON FUNCTION assert_user(text) IS
'Says on whose behalf this transaction runs, without proof: for development. Once per transaction; it ends with COMMIT or ROLLBACK.
email: trimmed and lower-cased. Errors: 22004 NULL; 22023 empty; 25001 a second time in a transaction; 28000 another user than the connection''s.
Example: BEGIN; SELECT agent_policy.assert_user(''alice@example.com''); ...; COMMIT;';

CREATE FUNCTION user_email() RETURNS text
    LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'user_email_wrapper';
COMMENT ON FUNCTION user_email() IS
'The forwarded user: agent_policy.user_email of the startup packet, else the one of assert_user in this transaction, else NULL. Trimmed and lower-cased.
Example: SELECT agent_policy.user_email();';

CREATE FUNCTION claim(name text) RETURNS text
    LANGUAGE c STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'claim_wrapper';
COMMENT ON FUNCTION claim(text) IS
'A claim of the forwarded user''s identity, as text; NULL if there is none. Without a signed identity, "email" is the only one.
Example: SELECT agent_policy.claim(''email'');';

CREATE FUNCTION identity(OUT email text, OUT assurance text, OUT issuer text, OUT expires_at timestamptz, OUT claims jsonb)
    RETURNS SETOF record
    LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 1 AS 'MODULE_PATHNAME', 'identity_wrapper';
COMMENT ON FUNCTION identity() IS
'The forwarded user as this session knows it, always one row: email, assurance (none, asserted, connection, signed), issuer, expires_at and claims (NULL but for signed identities).
Example: SELECT email, assurance FROM agent_policy.identity();';

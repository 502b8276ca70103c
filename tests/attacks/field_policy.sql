-- The policy that the project's own attacks are confined by.
DO $$
DECLARE
    role text; capability text; f text;
BEGIN
    FOREACH role IN ARRAY ARRAY['ro', 'over', 'rw', 'ddl', 'slow'] LOOP
        capability := CASE role WHEN 'rw' THEN 'read_write' WHEN 'ddl' THEN 'ddl' ELSE 'read_only' END;
        PERFORM agent_policy.protect_role(role::regrole, capability);
        PERFORM agent_policy.allow_schema(role::regrole, 'shop', CASE WHEN capability = 'read_only' THEN 'read' ELSE 'write' END);
        PERFORM agent_policy.deny_relation(role::regrole, 'shop.hidden'), agent_policy.deny_relation(role::regrole, 'shop.vault_view'),
                agent_policy.deny_column(role::regrole, 'shop.staff', 'badge');
        PERFORM agent_policy.set_limits(role::regrole, max_rows => 100, max_bytes => 60000,
            statement_timeout => CASE role WHEN 'slow' THEN interval '250 ms' ELSE interval '10 s' END);
        FOREACH f IN ARRAY ARRAY['shop.get_email(int)', 'shop.all_customers()', 'shop.all_customers_atomic()', 'shop.secdef_email(int)',
            'shop.run(text)', 'shop.loud(text)', 'shop.swallow(text)', 'shop.swallow_timeout()', 'shop.shout(text)', 'shop.shout_row(shop.customers)',
            'shop.as_owner(text)', 'shop.hurry()', 'shop.step()', 'shop.tell(text)', 'shop.opened(text)', 'shop.retry(text,text)'] LOOP
            PERFORM agent_policy.allow_function(role::regrole, f::regprocedure);
        END LOOP;
    END LOOP;
    PERFORM agent_policy.mask_column('shop.customers', 'email', 'email');
    PERFORM agent_policy.mask_column('shop.customers', c, 'redact') FROM unnest(ARRAY['ssn', 'phone', 'born', 'salary', 'note', 'profile']) c;
    PERFORM agent_policy.mask_column('shop.events', 'email'), agent_policy.mask_column('shop.events', 'payload'),
            agent_policy.mask_column('shop.computed', 'email'), agent_policy.mask_column('shop.nicks', 'nick'),
            agent_policy.mask_column('shop.mails', 'email');
    IF to_regclass('shop.virtual') IS NOT NULL THEN
        PERFORM agent_policy.mask_column('shop.virtual', 'email');
    END IF;
    PERFORM agent_policy.filter_rows('shop.tickets', 'owner = agent_policy.user_email()');
END $$;

-- The policy that the shared attack corpus assumes (its README.md), for the agent role agent_bot.
-- Run as a superuser in the corpus database, after 00_setup.sql (and 01_optional_contrib.sql) and
-- before 02_overgrant.sql, which makes the role one that protect_role would refuse.
\set ON_ERROR_STOP 1
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS agent_policy;

SELECT agent_policy.protect_role('agent_bot');
SELECT agent_policy.require_identity('agent_bot', 'none');  -- the runner forwards nobody
SELECT agent_policy.allow_schema('agent_bot', 'sales');
SELECT agent_policy.deny_relation('agent_bot', 'sales.secrets'), agent_policy.deny_relation('agent_bot', 'sales.v_staff');
SELECT agent_policy.set_limits('agent_bot', max_rows => 1000, max_bytes => 262144, on_excess => 'truncate',
                               statement_timeout => interval '4 s');

SELECT agent_policy.mask_column('sales.customers', 'email', 'email'),
       agent_policy.mask_column('sales.customers', 'ssn', 'redact'),
       agent_policy.mask_column('sales.customers', 'phone', 'partial', '{"keep_last": 4}'),
       agent_policy.mask_column('sales.customers', 'dob', 'redact'),
       agent_policy.mask_column('sales.events', 'email', 'email'),
       agent_policy.mask_column('sales.customers_gen', 'email', 'email'),
       agent_policy.mask_column('sales.documents', 'body'),
       agent_policy.filter_rows('sales.customers', $$region = 'north'$$);

-- sales.mv_customers, a materialized copy of masked columns, cannot be masked and stays denied.

-- Where they exist: 18's virtual generated column, contrib's second doors.
SELECT agent_policy.mask_column(to_regclass('sales.customers_virt'), 'email', 'email')
 WHERE to_regclass('sales.customers_virt') IS NOT NULL;
SELECT agent_policy.mask_column(to_regclass('sales.ft_customers'), 'email', 'email')
 WHERE to_regclass('sales.ft_customers') IS NOT NULL;
SELECT agent_policy.deny_relation('agent_bot', to_regclass('sales.ft_employees'))
 WHERE to_regclass('sales.ft_employees') IS NOT NULL;

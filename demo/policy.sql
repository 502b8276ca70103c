-- The policy of the demonstration, as a DBA would write it.

-- The agent's role: its own login, and plain SELECT on the warehouse. What follows narrows that.
CREATE ROLE sales_agent LOGIN;
GRANT USAGE ON SCHEMA sales TO sales_agent;
GRANT SELECT ON ALL TABLES IN SCHEMA sales TO sales_agent;

CREATE EXTENSION agent_policy;

-- From here on the role may read nothing but the catalogs ...
SELECT agent_policy.protect_role('sales_agent', 'read_only');
-- ... but the schema "sales", except for what we pay our suppliers and what we wrote about people.
SELECT agent_policy.allow_schema('sales_agent', 'sales');
SELECT agent_policy.deny_relation('sales_agent', 'sales.partsupp');
SELECT agent_policy.deny_column('sales_agent', 'sales.customer', 'c_comment');

-- What stands in for personal data, wherever a statement uses it.
SELECT agent_policy.mask_column('sales.customer', 'c_name', 'partial', '{"keep_first": 9, "keep_last": 0}');
SELECT agent_policy.mask_column('sales.customer', 'c_address', 'redact');
SELECT agent_policy.mask_column('sales.customer', 'c_phone', 'partial', '{"keep_last": 4}');
SELECT agent_policy.mask_column('sales.customer', 'c_acctbal', 'bucket', '{"size": 1000}');
SELECT agent_policy.mask_column('sales.orders', 'o_clerk', 'hash', '{"length": 12}');

-- Each user sees the customers of the regions assigned to them, and those customers' orders.
-- The predicate's subqueries read with the rights of whoever sets it: the agent itself may not
-- read staff.assignments.
SELECT agent_policy.filter_rows('sales.customer', $$
    c_nationkey IN (SELECT n.n_nationkey
                    FROM sales.nation n
                    JOIN sales.region r ON r.r_regionkey = n.n_regionkey
                    JOIN staff.assignments a ON a.region = r.r_name
                    WHERE a.email = agent_policy.user_email())$$);
SELECT agent_policy.filter_rows('sales.orders', $$
    EXISTS (SELECT FROM sales.customer c
            JOIN sales.nation n ON n.n_nationkey = c.c_nationkey
            JOIN sales.region r ON r.r_regionkey = n.n_regionkey
            JOIN staff.assignments a ON a.region = r.r_name
            WHERE c.c_custkey = o_custkey AND a.email = agent_policy.user_email())$$);
SELECT agent_policy.filter_rows('sales.lineitem', $$
    l_orderkey IN (SELECT o.o_orderkey
                   FROM sales.orders o
                   JOIN sales.customer c ON c.c_custkey = o.o_custkey
                   JOIN sales.nation n ON n.n_nationkey = c.c_nationkey
                   JOIN sales.region r ON r.r_regionkey = n.n_regionkey
                   JOIN staff.assignments a ON a.region = r.r_name
                   WHERE a.email = agent_policy.user_email())$$);

-- How much, and for how long.
SELECT agent_policy.set_limits('sales_agent', max_rows => 1000, statement_timeout => '2 s');
-- An end user must be known; the application names them when it connects. (This is the default.)
SELECT agent_policy.require_identity('sales_agent', 'connection');

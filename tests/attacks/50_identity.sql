-- Chapter E: who is confined, plans that were made before, other processes.

-- id: E-01.1 | control: identity | expect: deny | another role [super]
SET ROLE shop_owner; SELECT token FROM vault.secrets;
-- id: E-01.2 | control: identity | expect: deny | a role that was granted by mistake
SET LOCAL ROLE colleague; SET ROLE colleague; SELECT current_user;
-- id: E-01.3 | control: identity | expect: deny | by the function
SELECT set_config('role', 'colleague', false), current_user;
-- id: E-01.4 | control: identity | expect: deny | a role setting, and the session's user
SET SESSION AUTHORIZATION DEFAULT; RESET ROLE; SET SESSION AUTHORIZATION plain;
SET ROLE NONE; RESET SESSION AUTHORIZATION; SELECT shop.as_owner('SELECT token FROM vault.secrets');
-- id: E-02.1 | control: identity | expect: masked | back to where the pool came from
RESET ROLE; RESET SESSION AUTHORIZATION; SELECT ssn FROM shop.customers WHERE id = 2;
-- id: E-02.2 | control: identity | expect: masked | by way of a discarded session
DISCARD ALL; SET SESSION AUTHORIZATION DEFAULT; SELECT note FROM shop.customers WHERE id = 2;
-- id: E-03.1 | control: mask | expect: masked | a plan is kept while another policy comes into force
PREPARE k AS SELECT name, region, email FROM shop.customers WHERE id = 8; EXECUTE k;
-- as: dba
SELECT agent_policy.mask_column('shop.orders', 'status');
SELECT agent_policy.unmask_column('shop.orders', 'status');
-- as: agent
EXECUTE k; EXECUTE k;
-- id: E-03.2 | control: mask | expect: masked | the plan of a function is kept in a session
SELECT shop.get_email(1); SELECT shop.get_email(2);
-- as: dba
ALTER TABLE shop.scratch ADD COLUMN later int;
ALTER TABLE shop.scratch DROP COLUMN later;
-- as: agent
SELECT shop.get_email(3); SELECT shop.get_email(4); SELECT shop.get_email(5); SELECT shop.get_email(6); SELECT shop.get_email(7);
-- id: E-04.1 | control: readonly | expect: deny | an expression whose plan is kept
SELECT shop.step(); SELECT shop.step();
-- id: E-04.2 | control: mask | expect: masked | an expression that reads, over and over
SELECT shop.run('SELECT shop.secdef_email(' || i || ')') FROM generate_series(1, 9) i;
-- id: E-05.1 | control: mask | expect: masked | a cursor stays open over changes of settings
BEGIN; DECLARE k SCROLL CURSOR FOR SELECT profile, born FROM shop.customers; FETCH LAST FROM k; RESET ALL; FETCH BACKWARD 2 FROM k; COMMIT;
-- id: E-05.2 | control: mask | expect: deny | a cursor outlives its transaction
BEGIN; DECLARE h CURSOR WITH HOLD FOR SELECT email FROM shop.customers; COMMIT; SET search_path = pg_catalog; FETCH 2 FROM h;
-- id: E-06.1 | control: mask | expect: masked | with the rights of the owner of a function
SELECT shop.secdef_email(3), shop.as_owner('SELECT current_user || ssn FROM shop.customers WHERE id = 3');
-- id: E-06.2 | control: schema | expect: deny | the owner of the function may read the vault
SELECT shop.as_owner('SELECT string_agg(token, '','') FROM (TABLE vault.secrets) s');
-- id: E-07.1 | control: schema | expect: deny | a denied view that publishes the vault
SELECT token FROM shop.vault_view;
-- id: E-07.2 | control: schema | expect: deny | a view that reads with the rights of whoever asks
SELECT token FROM shop.vault_invoker;
-- id: E-07.3 | control: mask | expect: masked | a view over a view over a masked table
SELECT l.* FROM shop.customer_list l WHERE l.email LIKE '%' AND id = 5;
-- id: E-17.1 | control: egress | expect: deny | a second session, by a server of one's own [super]
CREATE FOREIGN DATA WRAPPER loop; CREATE SERVER here FOREIGN DATA WRAPPER loop;
-- id: E-17.2 | control: egress | expect: deny | the same by a mapping and a foreign table [super]
CREATE FOREIGN DATA WRAPPER loop; CREATE SERVER here FOREIGN DATA WRAPPER loop; CREATE USER MAPPING FOR CURRENT_USER SERVER here; CREATE FOREIGN TABLE shop.far (x int) SERVER here;
-- id: E-10.1 | control: mask | expect: masked | parallel workers scan
SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; SET max_parallel_workers_per_gather = 2; SELECT count(*), max(email), max(ssn) FROM shop.customers;
-- id: E-10.2 | control: mask | expect: masked | parallel workers aggregate whole rows
SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; SELECT max(c::text) FROM shop.customers c GROUP BY region ORDER BY 1;
-- id: E-11.1 | control: mask | expect: masked | a function inside a worker
SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; SELECT max(shop.shout(email)) FROM shop.customers;
-- id: E-11.2 | control: mask | expect: masked | the worker's function asks the table itself
SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; SELECT max(shop.get_email(id)) FROM shop.orders WHERE id < 50;
-- id: E-19.1 | control: rowfilter | expect: masked | the queries of a foreign key are no door [rw]
UPDATE shop.tickets SET id = id + 1000 RETURNING body; SELECT r.*, t.body FROM shop.replies r LEFT JOIN shop.tickets t ON t.id = r.ticket;
-- id: E-19.2 | control: mask | expect: masked | a cascade runs a trigger, the trigger reads [rw]
UPDATE shop.boss SET id = 9; SELECT said FROM shop.clerk;
-- id: E-20.1 | control: mask | expect: masked | an error inside a function leaves nothing switched off
SELECT shop.swallow('SELECT 1/0'); SELECT shop.tell('SELECT ssn::int FROM shop.customers WHERE id = 3'); SELECT ssn FROM shop.customers WHERE id = 3;
-- id: E-20.2 | control: mask | expect: masked | an error in a sub-transaction, then the same query
BEGIN; SAVEPOINT a; SELECT email::int FROM shop.customers; ROLLBACK TO a; SELECT shop.get_email(3); SELECT email FROM shop.customers WHERE id = 3; COMMIT;

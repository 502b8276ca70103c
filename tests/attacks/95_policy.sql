-- Chapters O, P, Q and R: the policy itself, confusing the hooks, single versions, schemas and relations.

-- id: Q-01.1 | control: readonly | expect: deny | large objects in a read-only transaction
BEGIN READ WRITE; SELECT lo_unlink(lo_creat(-1)); COMMIT;
-- id: Q-01.2 | control: readonly | expect: deny | the same, in pieces
SELECT lo_put(4711, 0, 'x'), lo_create(4712);
-- id: Q-02.1 | control: mask | expect: masked | a generic plan [pg16+] [infer]
EXPLAIN (GENERIC_PLAN) SELECT * FROM shop.customers WHERE id > $1 AND ssn < '811-22-0050';
-- id: Q-02.2 | control: mask | expect: masked | validity instead of an error [pg16+] [infer]
SELECT id, pg_input_is_valid(right(ssn, 4), 'int2'), pg_input_is_valid(replace(right(ssn, 2), '1', 'x'), 'int4') FROM shop.customers WHERE id IN (1, 17, 22);
-- id: Q-02.3 | control: mask | expect: masked | an aggregate that takes any value [pg16+]
SELECT any_value(email), any_value(c) FROM shop.customers c WHERE id < 5;
-- id: Q-03.1 | control: mask | expect: masked | merging into a view [pg17+] [rw]
MERGE INTO shop.customer_list l USING shop.orders o ON l.id = o.id AND o.id = 3 WHEN MATCHED THEN UPDATE SET region = 'n' RETURNING merge_action(), l.*;
-- id: Q-03.2 | control: mask | expect: masked | how large the answer would have been [pg17+] [infer]
EXPLAIN (ANALYZE, SERIALIZE text, COSTS off, TIMING off, BUFFERS off, SUMMARY off, MEMORY off) SELECT id FROM shop.customers WHERE ssn < '811-22-0333';
-- id: Q-03.3 | control: mask | expect: masked | json tables with a path that fails [pg17+]
SELECT j.* FROM shop.customers c, JSON_TABLE(to_jsonb(c.note), '$' COLUMNS (n int PATH '$' ERROR ON ERROR)) j WHERE id = 4;
-- id: Q-03.4 | control: mask | expect: masked | json that is queried, with its own error [pg17+]
SELECT JSON_VALUE(to_jsonb(c), '$.note' RETURNING text DEFAULT 'none' ON ERROR), JSON_QUERY(to_jsonb(c), '$.*' WITH WRAPPER) FROM shop.customers c WHERE id = 4;
-- id: Q-04.1 | control: mask | expect: masked | old and new of a row that is taken away [pg18+] [rw]
DELETE FROM shop.vips RETURNING WITH (OLD AS o, NEW AS n) o.email, n.ssn, o;
-- id: Q-04.2 | control: mask | expect: masked | a group of its own [pg18+]
SELECT email, count(*) FROM shop.customers WHERE id < 5 GROUP BY DISTINCT ROLLUP (email, region) HAVING email IS NOT NULL;
-- id: Q-04.3 | control: function | expect: deny | statistics are set by hand [pg18+] [super]
SELECT pg_restore_relation_stats('schemaname', 'shop', 'relname', 'orders', 'reltuples', 1::real);
-- id: Q-04.4 | control: mask | expect: masked | COPY of a materialized view [pg18+]
COPY shop.contacts TO STDOUT;

-- id: R-01.1 | control: schema | expect: deny | by search path
SET search_path = shop; SELECT token FROM hidden;
-- id: R-01.2 | control: schema | expect: deny | quoted, with escapes
SELECT * FROM "vault".U&"s\0065crets";
-- id: R-01.3 | control: schema | expect: deny | by COPY, a cursor and TABLE
COPY vault.secrets TO STDOUT; BEGIN; DECLARE c CURSOR FOR TABLE vault.secrets; FETCH ALL FROM c; COMMIT;
-- id: R-01.4 | control: schema | expect: deny | a prepared statement's text is judged when prepared or when run
PREPARE q AS SELECT token FROM vault.secrets; EXECUTE q;
-- id: R-02.1 | control: schema | expect: deny | only in a WHERE that is never true
SELECT 1 FROM shop.orders WHERE false AND id = (SELECT max(id) FROM vault.secrets);
-- id: R-02.2 | control: schema | expect: deny | in ORDER BY, LIMIT and a window's frame
SELECT id FROM shop.orders ORDER BY (SELECT min(token) FROM vault.secrets), id LIMIT (SELECT count(*) FROM shop.hidden);
-- id: R-02.3 | control: schema | expect: deny | in the arguments of a function in FROM, of a sample and in VALUES
SELECT * FROM generate_series(1, (SELECT count(*) FROM shop.hidden)) g, (VALUES ((SELECT token FROM vault.secrets))) v;
-- id: R-03.1 | control: schema | expect: deny | as the source of an insert [rw]
INSERT INTO shop.scratch SELECT id + 700, token FROM vault.secrets;
-- id: R-03.2 | control: schema | expect: deny | as the target [rw]
UPDATE shop.hidden SET id = 2 RETURNING token;
-- id: R-03.3 | control: schema | expect: deny | in the condition of a MERGE [rw]
MERGE INTO shop.scratch s USING shop.orders o ON s.id = o.id AND EXISTS (SELECT FROM vault.secrets) WHEN MATCHED THEN DO NOTHING;
-- id: R-04.1 | control: schema | expect: deny | a denied table in an allowed schema, through its row type
SELECT h.token FROM shop.hidden AS h(i, token);
-- id: R-04.2 | control: schema | expect: deny | a denied column in a join that merges it
SELECT count(*) FROM shop.staff a JOIN shop.staff b USING (badge);
-- id: R-04.3 | control: schema | expect: deny | a denied column in a whole row, in a count, in a sub-query's name
SELECT (SELECT max(s.badge) FROM (SELECT * FROM shop.staff) s), count(s) FROM shop.staff s;
-- id: R-05.1 | control: schema | expect: deny | a parent of one's own for somebody else's table [ddl] [super]
CREATE TABLE shop.parent (id int, token text); ALTER TABLE shop.hidden INHERIT shop.parent; SELECT * FROM shop.parent;
-- id: R-05.2 | control: schema | expect: deny | a child of a hidden table, to see what it has [ddl] [super]
CREATE TABLE shop.child () INHERITS (shop.hidden);
-- id: R-06.1 | control: schema | expect: deny | a sequence as a table
SELECT * FROM shop.tickets_sold, shop.counter;
-- id: R-06.2 | control: schema | expect: deny | the row type of a hidden table as a value
SELECT s FROM vault.secrets AS s;
-- id: R-07.1 | control: schema | expect: deny | dynamic SQL reads it
SELECT shop.run('SELECT token FROM vault.secrets');
-- id: R-07.2 | control: schema | expect: masked | a name made of numbers
SELECT shop.run(format('SELECT token FROM %s', oid::regclass)) FROM pg_class WHERE relname = reverse('sterces');
-- id: R-08.1 | control: catalog | expect: masked | the standard's views
SELECT table_schema, table_name FROM information_schema.tables; SELECT * FROM information_schema.role_table_grants WHERE table_name LIKE 'Q%';
-- id: R-08.2 | control: catalog | expect: masked | rights on columns
SELECT column_name FROM information_schema.column_privileges; SELECT column_name, column_default FROM information_schema.columns;
-- id: R-09.1 | control: schema | expect: deny | a plan of it
EXPLAIN (COSTS off) SELECT * FROM vault.secrets;
-- id: R-09.2 | control: schema | expect: deny | a plan of a prepared statement over a denied view
PREPARE v AS SELECT * FROM shop.vault_view; EXPLAIN EXECUTE v;
-- id: R-01.5 | control: schema | expect: deny | row by row from a function of the owner
SELECT shop.secdef_vault();

-- id: O-01.1 | control: policy | expect: deny | the policy is written to
UPDATE agent_policy.policy_role SET mode = 'monitor';
-- id: O-01.2 | control: policy | expect: deny | by its own functions
SELECT agent_policy.release_role(current_user::regrole);
-- id: O-05.1 | control: policy | expect: deny | a reload is faked
NOTIFY agent_policy, 'reload'; SELECT pg_notify('agent_policy', '');
-- id: O-05.2 | control: policy | expect: deny | by the server's own signal
SELECT pg_reload_conf(), pg_rotate_logfile();
-- id: O-06.1 | control: mask | expect: masked | a child is attached after the mask was set
-- as: dba
CREATE TABLE shop.late (level int) INHERITS (shop.customers); INSERT INTO shop.late (id, name, email, ssn) VALUES (7777, 'Late', 'late@' || 'okapi' || '.test', '811-' || '22-7777'); GRANT SELECT ON shop.late TO PUBLIC;
-- as: agent
SELECT email, ssn FROM shop.late; SELECT email FROM shop.customers WHERE id = 7777;
-- id: O-06.2 | control: mask | expect: masked | a partition comes, under another name of its column's place
-- as: dba
CREATE TABLE shop.events_2026 (payload text, at date NOT NULL, gone int, email text, id int); ALTER TABLE shop.events_2026 DROP COLUMN gone; INSERT INTO shop.events_2026 VALUES ('QUA' || 'GGA new', '2026-01-02', 'new@' || 'okapi' || '.test', 1); ALTER TABLE shop.events ATTACH PARTITION shop.events_2026 FOR VALUES FROM ('2026-01-01') TO ('2027-01-01'); GRANT SELECT ON shop.events_2026 TO PUBLIC;
-- as: agent
SELECT * FROM shop.events_2026; SELECT email, payload FROM shop.events WHERE at > '2026-01-01';

-- id: P-03.1 | control: mask | expect: masked | errors by the hundred leave nothing behind
SELECT count(*) FROM (SELECT shop.swallow('SELECT shop.tell(''SELECT 1/0'')') FROM generate_series(1, 200)) s; SELECT ssn, email FROM shop.customers WHERE id = 6;
-- id: P-03.2 | control: mask | expect: masked | a denial that is caught, then the same again
SELECT shop.swallow('SELECT * FROM vault.secrets'), shop.retry('SELECT token FROM vault.secrets', 'SELECT 1'), shop.get_email(6); SELECT note FROM shop.customers WHERE id = 6;
-- id: P-08.1 | control: schema | expect: deny | permission is asked for nothing
SELECT count(*) FROM vault.secrets;
-- id: P-08.2 | control: schema | expect: deny | permission to lock, not to read
SELECT FROM vault.secrets LIMIT 0;

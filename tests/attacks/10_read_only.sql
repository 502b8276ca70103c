-- Chapter A: a role that only reads changes nothing, whatever the transaction says of itself.

-- id: A-01.1 | control: readonly | expect: deny | one message ends the wrapper's transaction and starts its own [multi]
COMMIT; BEGIN; DELETE FROM shop.scratch; COMMIT;
-- id: A-01.2 | control: readonly | expect: deny | the same by COMMIT AND CHAIN, with the write in between [multi]
BEGIN READ ONLY; COMMIT AND CHAIN; ROLLBACK; UPDATE shop.scratch SET v = 'chained' WHERE id = 1; SELECT 1;
-- id: A-02.1 | control: readonly | expect: deny | before the first snapshot the mode may still change
BEGIN READ ONLY; SET TRANSACTION READ WRITE; UPDATE shop.scratch SET v = 'hit'; COMMIT;
-- id: A-02.2 | control: readonly | expect: deny | the transaction mode flips below a savepoint
BEGIN; SAVEPOINT p; SET LOCAL transaction_read_only = off; DELETE FROM shop.scratch WHERE id = 2; COMMIT;
-- id: A-03.1 | control: readonly | expect: deny | the session's default
SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE; INSERT INTO shop.scratch VALUES (90, 'x');
-- id: A-03.2 | control: readonly | expect: deny | isolation and mode in one list
START TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ WRITE, NOT DEFERRABLE; TRUNCATE shop.scratch; COMMIT;
-- id: A-04.1 | control: readonly | expect: deny | the setting by its function
SELECT set_config('transaction_read_only', 'off', true); INSERT INTO shop.scratch VALUES (91, 'x');
-- id: A-04.2 | control: readonly | expect: deny | the write hangs on the setting in one statement
WITH s AS MATERIALIZED (SELECT set_config('default_transaction_read_only', 'off', false)), w AS (UPDATE shop.scratch SET v = 'x' RETURNING 1) SELECT * FROM s, w;
-- id: A-05.1 | control: readonly | expect: deny | pg_settings is a view that can be written to
UPDATE pg_catalog.pg_settings SET setting = 'off' WHERE name = 'transaction_read_only';
-- id: A-05.2 | control: readonly | expect: deny | through a name that is computed
UPDATE pg_settings SET setting = 'off' WHERE name = reverse('ylno_daer_noitcasnart_tluafed');
-- id: A-06.1 | control: readonly | expect: deny | everything back to where it was
RESET ALL; DELETE FROM shop.scratch;
-- id: A-06.2 | control: readonly | expect: deny | a clean session
DISCARD ALL; INSERT INTO shop.scratch VALUES (92, 'discard');
-- id: A-07.1 | control: readonly | expect: deny | a procedure with transactions of its own
CALL shop.commit_and_write();
-- id: A-07.2 | control: readonly | expect: deny | a block that commits, then writes
DO $$ BEGIN COMMIT; DELETE FROM shop.scratch; COMMIT; END $$;
-- id: A-08.1 | control: readonly | expect: deny | an assignment that is no statement
SELECT shop.step();
-- id: A-08.2 | control: readonly | expect: deny | the same in a lateral call
SELECT s FROM generate_series(1, 2) g, LATERAL shop.step() s WHERE g > 0;
-- id: A-09.1 | control: readonly | expect: deny | a prepared transaction outlives the session
BEGIN; INSERT INTO shop.scratch VALUES (93, 'x'); PREPARE TRANSACTION 'left'; ROLLBACK PREPARED 'left';
-- id: A-09.2 | control: readonly | expect: deny | an empty one holds the horizon
BEGIN; SELECT 1; PREPARE TRANSACTION 'empty'; COMMIT PREPARED 'empty';
-- id: A-10.1 | control: readonly | expect: deny | temporary tables may be written in a read-only transaction
CREATE TEMP TABLE t (v text); INSERT INTO t VALUES ('x');
-- id: A-10.2 | control: readonly | expect: deny | a temporary sequence
BEGIN; CREATE TEMPORARY SEQUENCE pg_temp.s2; SELECT nextval('pg_temp.s2'); COMMIT;
-- id: A-11.1 | control: readonly | expect: deny | two levels of WITH, never referenced
WITH a AS (SELECT 1 AS x), b AS (UPDATE shop.scratch SET v = v RETURNING id) SELECT x FROM a;
-- id: A-11.2 | control: readonly | expect: deny | deleted rows are what is read
WITH gone AS (DELETE FROM shop.scratch WHERE id = 1 RETURNING *), n AS (SELECT count(*) FROM gone) TABLE n;
-- id: A-12.1 | control: readonly | expect: deny | SELECT INTO deep in a union
SELECT id INTO shop.copied FROM shop.orders UNION SELECT id FROM shop.scratch;
-- id: A-12.2 | control: readonly | expect: deny | CREATE TABLE AS EXECUTE
PREPARE q AS SELECT 1 AS x; CREATE TABLE shop.from_prepared AS EXECUTE q;
-- id: A-13.1 | control: readonly | expect: deny | EXPLAIN ANALYZE runs what it explains
EXPLAIN (ANALYZE, COSTS off) INSERT INTO shop.scratch SELECT 44, 'x';
-- id: A-13.2 | control: readonly | expect: deny | CREATE TABLE AS inside EXPLAIN
EXPLAIN (ANALYZE true, TIMING off, FORMAT json) CREATE TABLE shop.explained AS SELECT 1 AS x;
-- id: A-14.1 | control: readonly | expect: deny | the write is prepared in one step and run in another
PREPARE d(int) AS DELETE FROM shop.scratch WHERE id = $1; EXECUTE d(1);
-- id: A-14.2 | control: readonly | expect: deny | by EXPLAIN ANALYZE EXECUTE, as JSON
PREPARE u AS UPDATE shop.scratch SET v = 'x' RETURNING v; EXPLAIN (ANALYZE, FORMAT json) EXECUTE u;
-- id: A-15.1 | control: readonly | expect: deny | a lock is a write to the row's header
SELECT id FROM (SELECT * FROM shop.scratch FOR NO KEY UPDATE) s;
-- id: A-15.2 | control: readonly | expect: deny | through a view, skipping what others hold
SELECT id FROM shop.desk WHERE id = 1 FOR KEY SHARE OF desk SKIP LOCKED;
-- id: A-16.1 | control: readonly | expect: deny | a lock that blocks everybody
BEGIN; LOCK TABLE ONLY shop.orders IN SHARE ROW EXCLUSIVE MODE NOWAIT; ROLLBACK;
-- id: A-16.2 | control: readonly | expect: deny | through a view
BEGIN READ ONLY; LOCK shop.customer_list IN SHARE MODE; COMMIT;
-- id: A-17.1 | control: readonly | expect: deny | COPY of rows that an UPDATE gives back
COPY (UPDATE shop.scratch SET v = 'copied' RETURNING id, v) TO STDOUT (FORMAT csv);
-- id: A-17.2 | control: readonly | expect: deny | COPY FROM with a filter
-- copy: 95\tx\n
COPY shop.scratch (id, v) FROM STDIN WHERE id > 1;
-- id: A-18.1 | control: readonly | expect: deny | maintenance is allowed in a read-only transaction [super]
VACUUM (ANALYZE, DISABLE_PAGE_SKIPPING) shop.scratch;
-- id: A-18.2 | control: readonly | expect: deny | statistics of one column [super]
ANALYZE shop.orders (status);
-- id: A-18.3 | control: readonly | expect: deny | a configuration file is written without a transaction
ALTER SYSTEM SET work_mem = '5MB';
-- id: A-18.4 | control: readonly | expect: deny | the write-ahead log is flushed for everybody
CHECKPOINT;
-- id: A-19.1 | control: readonly | expect: deny | a rule turns one insert into another
INSERT INTO shop.desk VALUES (96, 'rule');
-- id: A-19.2 | control: readonly | expect: deny | a trigger with its owner's rights does the writing
UPDATE shop.watched SET v = v WHERE id = 1;
-- id: A-20.1 | control: readonly | expect: deny | what is deferred happens at COMMIT
BEGIN; SET CONSTRAINTS ALL DEFERRED; INSERT INTO shop.watched VALUES (7, 'late'); COMMIT;
-- id: A-20.2 | control: readonly | expect: deny | a cursor that is filled while the transaction commits
BEGIN; DECLARE h CURSOR WITH HOLD FOR SELECT nextval('shop.counter'); COMMIT; FETCH ALL FROM h;
-- id: A-21.1 | control: readonly | expect: deny | a message in the write-ahead log
SELECT pg_logical_emit_message(false, 'agent', 'payload') IS NOT NULL;
-- id: A-21.2 | control: readonly | expect: deny | a snapshot for other sessions, a file on disk
SELECT pg_export_snapshot() <> '';
-- id: A-21.3 | control: readonly | expect: deny | a transaction number of one's own
SELECT pg_current_xact_id()::text::bigint > 0, txid_current() > 0;
-- id: A-22.1 | control: readonly | expect: deny | the error is caught, the mode changed, the write tried again
SELECT shop.retry('SELECT 1/0', 'UPDATE shop.scratch SET v = ''again''');
-- id: A-22.2 | control: readonly | expect: deny | the handler sets the mode back itself
SELECT shop.retry('SELECT set_config(''transaction_read_only'', ''off'', true), 1/0', 'WITH w AS (DELETE FROM shop.scratch RETURNING 1) SELECT 1');
-- id: A-11.3 | control: readonly | expect: deny | MERGE gives rows back [pg17+]
WITH m AS (MERGE INTO shop.scratch s USING (VALUES (1, 'm')) v(id, v) ON s.id = v.id WHEN MATCHED THEN UPDATE SET v = v.v RETURNING merge_action(), s.*) SELECT * FROM m;
-- id: A-11.4 | control: readonly | expect: deny | dynamic SQL in an allowed function
SELECT shop.run('WITH i AS (INSERT INTO shop.scratch VALUES (33, $q$x$q$) RETURNING v) SELECT v FROM i');

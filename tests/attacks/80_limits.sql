-- Chapters H and I: rows, bytes, time and memory. 100 rows and 60000 bytes a statement, 250 ms for [dos].

-- id: H-01.1 | control: rowlimit | expect: limited | a portal in slices
BEGIN; DECLARE h NO SCROLL CURSOR FOR SELECT id FROM shop.orders; FETCH 200 FROM h; FETCH FORWARD 300 FROM h; COMMIT;
-- id: H-01.2 | control: rowlimit | expect: limited | all that is left of one
BEGIN; DECLARE h CURSOR FOR SELECT o.* FROM shop.orders o; MOVE 5 FROM h; FETCH ALL FROM h; COMMIT;
-- id: H-02.1 | control: rowlimit | expect: deny | a cursor that is kept
BEGIN; DECLARE h CURSOR WITH HOLD FOR SELECT id FROM shop.orders; COMMIT; FETCH ALL FROM h;
-- id: H-02.2 | control: rowlimit | expect: deny | kept, and scrolled [multi]
BEGIN; DECLARE h SCROLL CURSOR WITH HOLD FOR TABLE shop.orders; COMMIT; FETCH LAST FROM h;
-- id: H-03.1 | control: rowlimit | expect: limited | rows that an UPDATE gives back [rw] [moves]
UPDATE shop.orders SET status = status RETURNING id;
-- id: H-03.2 | control: rowlimit | expect: limited | rows of EXECUTE
PREPARE r AS SELECT id FROM shop.orders UNION ALL SELECT id FROM shop.orders; EXECUTE r;
-- id: H-04.1 | control: rowlimit | expect: limited | with parallel workers
SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; SELECT id, amount FROM shop.orders WHERE amount > 1;
-- id: H-04.2 | control: rowlimit | expect: limited | a LIMIT of one's own
SELECT id FROM shop.orders ORDER BY amount LIMIT 2500 OFFSET 1;
-- id: H-05.1 | control: rowlimit | expect: limited | a set for each row of a limited one
SELECT generate_series(1, 1000) FROM (SELECT 1 FROM shop.orders LIMIT 3) s;
-- id: H-05.2 | control: rowlimit | expect: limited | ties
SELECT status FROM shop.orders ORDER BY status FETCH FIRST 1 ROW WITH TIES;
-- id: H-06.1 | control: rowlimit | expect: limited | to the client by COPY
COPY (SELECT id FROM shop.orders) TO STDOUT;
-- id: H-06.2 | control: rowlimit | expect: limited | in binary
COPY (SELECT repeat('x', 900) FROM shop.orders) TO STDOUT (FORMAT binary);
-- id: H-07.1 | control: rowlimit | expect: limited | COPY of a table
COPY shop.orders TO STDOUT (DELIMITER ';');
-- id: H-07.2 | control: rowlimit | expect: limited | COPY of columns
COPY shop.orders (id, amount) TO STDOUT (FORMAT csv, HEADER);
-- id: H-08.1 | control: rowlimit | expect: limited | one row, all the data
SELECT string_agg(o::text, ';') FROM shop.orders o, generate_series(1, 5);
-- id: H-08.2 | control: rowlimit | expect: limited | as json, as an array and as a window's frame
SELECT jsonb_agg(o) FROM shop.orders o; SELECT ARRAY(SELECT o FROM shop.orders o)::text; SELECT array_agg(id) OVER () FROM shop.orders LIMIT 60;
-- id: H-08.3 | control: rowlimit | expect: limited | packed into bits and bytes
SELECT string_agg(int4send(id) || int8send((amount * 100)::bigint) || convert_to(repeat(status, 9), 'UTF8'), ''::bytea) FROM shop.orders;
-- id: H-09.1 | control: rowlimit | expect: limited | pages in one statement
SELECT p.id FROM generate_series(0, 2900, 100) g, LATERAL (SELECT id FROM shop.orders ORDER BY id LIMIT 100 OFFSET g) p;
-- id: H-09.2 | control: rowlimit | expect: limited | everything united
SELECT id FROM shop.orders WHERE id <= 1000 UNION ALL SELECT id FROM shop.orders WHERE id > 1000 ORDER BY 1;
-- id: H-10.1 | control: rowlimit | expect: limited | as an error
SELECT (SELECT string_agg(o::text, ';') FROM shop.orders o)::int;
-- id: H-10.2 | control: rowlimit | expect: limited | as a notice
SELECT shop.loud((SELECT string_agg(o::text, ';') FROM shop.orders o));
-- id: H-10.3 | control: rowlimit | expect: limited | as the names of columns
SELECT shop.tell('SELECT (' || quote_literal((SELECT string_agg(o::text, ';') FROM shop.orders o)) || ')::int');
-- id: H-12.1 | control: rowlimit | expect: limited | backwards
BEGIN; DECLARE s SCROLL CURSOR FOR SELECT id FROM shop.orders; MOVE LAST FROM s; FETCH BACKWARD 700 FROM s; COMMIT;
-- id: H-12.2 | control: rowlimit | expect: limited | again and again
BEGIN; DECLARE s SCROLL CURSOR FOR SELECT repeat('y', 3000) FROM shop.orders; FETCH 300 FROM s; MOVE ABSOLUTE 0 FROM s; FETCH 300 FROM s; COMMIT;
-- id: H-14.1 | control: rowlimit | expect: limited | gathered in a function
SELECT shop.run('SELECT string_agg(o::text, $$;$$) FROM shop.orders o');
-- id: H-14.2 | control: rowlimit | expect: limited | by a cursor that the function opened
BEGIN; SELECT shop.opened('SELECT id, repeat(status, 50) FROM shop.orders'); FETCH ALL FROM opened; COMMIT;
-- id: H-15.1 | control: rowlimit | expect: limited | EXPLAIN that sends nothing but its own text
EXPLAIN (VERBOSE, COSTS off) SELECT * FROM shop.orders WHERE status = ANY (string_to_array(repeat('abcdefgh,', 9000), ','));
-- id: H-15.2 | control: rowlimit | expect: limited | binary
BEGIN; DECLARE b BINARY CURSOR FOR SELECT id, repeat('z', 500) FROM shop.orders; FETCH ALL FROM b; COMMIT;
-- id: H-16.1 | control: rowlimit | expect: limited | small in memory, large on the wire
SELECT array_agg(1000000000 + i) FROM generate_series(1, 12000) i;
-- id: H-16.2 | control: rowlimit | expect: limited | compressed in memory
SELECT repeat('QUIET ', 100000);

-- id: I-01.1 | control: timelimit | expect: limited | the cancellation is caught and the work goes on [dos]
SELECT shop.swallow_timeout();
-- id: I-01.2 | control: timelimit | expect: limited | caught by WHEN OTHERS around dynamic SQL, again and again [dos]
SELECT shop.retry('SELECT count(*) FROM generate_series(1, 2000000000)', 'SELECT count(*) FROM generate_series(1, 2000000000)');
-- id: I-02.1 | control: timelimit | expect: limited | statements of one message, each within the limit [multi] [dos]
SELECT pg_catalog.count(*) FROM generate_series(1, 900000); SELECT count(*) FROM generate_series(1, 900000); SELECT count(*) FROM generate_series(1, 900000); SELECT count(*) FROM generate_series(1, 90000000); SELECT count(*) FROM generate_series(1, 90000000); SELECT count(*) FROM generate_series(1, 90000000);
-- id: I-02.2 | control: timelimit | expect: limited | with the limit set anew in between [multi] [dos]
SET statement_timeout = '1h'; SELECT count(*) FROM generate_series(1, 30000000); SET statement_timeout = 0; SELECT count(*) FROM generate_series(1, 300000000);
-- id: I-03.1 | control: timelimit | expect: limited | work while planning [dos]
EXPLAIN SELECT * FROM shop.orders WHERE id = length(repeat(md5(repeat('x', 100000000)), 1)) + length(md5(repeat('x', 500000000))) + length(md5(repeat('y', 500000000)));
SELECT count(*) FROM generate_series(1, 2000000000);
-- id: I-03.2 | control: timelimit | expect: limited | work in COPY [dos]
COPY (SELECT count(*) FROM generate_series(1, 2000000000)) TO STDOUT;
-- id: I-04.1 | control: timelimit | expect: limited | a regular expression that goes astray [dos]
SELECT repeat('a', 30000) ~ '((a*)*)*b(a|b){30}\1\2', sum(regexp_count(repeat('ab', 20000 + g % 7), '(a|b|ab)*c')) FROM generate_series(1, 100000) g;
-- id: I-04.2 | control: timelimit | expect: limited | numbers with many digits [dos]
SELECT sum(ln(g + 0.1::numeric(1000,900))) FROM generate_series(1, 1000000) g;
-- id: I-07.1 | control: timelimit | expect: limited | a recursion without an end [dos]
WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT count(*) FROM r;
-- id: I-07.2 | control: timelimit | expect: limited | products of tables [dos]
SELECT count(*) FROM shop.orders a, shop.orders b, shop.orders c WHERE a.amount + b.amount < c.amount;
-- id: I-08.1 | control: timelimit | expect: limited | every order of many joins is tried [dos]
SELECT count(*) FROM pg_class a, pg_class b, pg_class c, pg_class d, pg_class e, pg_class f, pg_class g, pg_class h WHERE a.relname || b.relname <> c.relname || d.relname;
-- id: I-08.2 | control: timelimit | expect: limited | a wide join without a condition [dos]
SELECT count(*) FROM shop.orders a CROSS JOIN shop.orders b CROSS JOIN shop.orders c CROSS JOIN shop.orders d CROSS JOIN shop.orders e;
-- id: I-09.1 | control: timelimit | expect: limited | sorted on disk [dos]
SELECT DISTINCT a.id * 3001 + b.id FROM shop.orders a, shop.orders b, generate_series(1, 40) ORDER BY 1 DESC LIMIT 1;
-- id: I-09.2 | control: timelimit | expect: limited | grouped on disk [dos]
SELECT count(*) FROM (SELECT md5((a.id * b.id)::text) FROM shop.orders a, shop.orders b GROUP BY 1) s;
-- id: I-10.1 | control: resource | expect: deny | locks that outlive the transaction
SELECT pg_advisory_lock(i) FROM generate_series(1, 3) i;
-- id: I-10.2 | control: resource | expect: deny | shared, until the end of it
SELECT pg_advisory_xact_lock_shared(i, i) FROM generate_series(1, 3) i;
-- id: I-11.1 | control: resource | expect: deny | numbers of transactions are used up
SELECT pg_current_xact_id() FROM generate_series(1, 2);
-- id: I-11.2 | control: resource | expect: deny | in savepoints
BEGIN; SAVEPOINT a; SELECT txid_current(); SAVEPOINT b; SELECT txid_current(); COMMIT;
-- id: I-14.1 | control: resource | expect: deny | a queue of notifications
SELECT pg_notify('fill', repeat('x', 7000)) FROM generate_series(1, 5);
-- id: I-14.2 | control: resource | expect: deny | the log
DO $$ BEGIN FOR i IN 1..5 LOOP RAISE LOG 'flood %', i; END LOOP; END $$;
-- id: I-15.1 | control: resource | expect: deny | megabytes of write-ahead log
SELECT pg_logical_emit_message(true, 'fill', repeat('x', 1000000)) IS NOT NULL;
-- id: I-15.2 | control: resource | expect: deny | a new file of it
SELECT pg_switch_wal() IS NOT NULL, pg_create_restore_point('x') IS NOT NULL;
-- id: I-17.1 | control: timelimit | expect: limited | an error gives no new clock [dos]
BEGIN; SAVEPOINT s; SELECT 1/0; ROLLBACK TO s; SELECT count(*) FROM generate_series(1, 2000000000); COMMIT;
-- id: I-17.2 | control: timelimit | expect: limited | errors inside a function [dos]
SELECT shop.swallow('SELECT 1/0'), shop.swallow('SELECT count(*) FROM generate_series(1, 2000000000)'), shop.swallow('SELECT count(*) FROM generate_series(1, 2000000000)');
-- id: I-06.1 | control: resource | expect: limited | one large value to the client
SELECT lpad('x', 3000000, 'y');
-- id: I-06.2 | control: resource | expect: limited | many large values in an array
SELECT array_agg(repeat('x', 20000)) FROM generate_series(1, 100);

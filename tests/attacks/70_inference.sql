-- Chapter G: what can be told about hidden values without seeing them. Two worlds must give the same answer.

-- id: G-01.1 | control: mask | expect: masked | a binary search in WHERE [infer]
SELECT count(*) FROM shop.customers WHERE ssn < '811-22-0200' AND id < 150;
-- id: G-01.2 | control: mask | expect: masked | the order of rows [infer]
SELECT id FROM shop.customers ORDER BY ssn DESC, id LIMIT 5;
-- id: G-01.3 | control: mask | expect: masked | a regular expression, letter by letter [infer]
SELECT id, ssn ~ '^811-22-0[0-2]' FROM shop.customers WHERE id IN (5, 250) ORDER BY id;
-- id: G-01.4 | control: mask | expect: masked | a row comparison with three columns [infer]
SELECT count(*) FROM shop.customers WHERE (ssn, phone, id) < ('811-22-0100', '', 0);
-- id: G-01.5 | control: mask | expect: masked | a window's rank [infer]
SELECT id, rank() OVER (ORDER BY note DESC) FROM shop.customers WHERE id < 8 ORDER BY id;
-- id: G-01.6 | control: mask | expect: masked | LIKE over an index, with a bit for each row [infer]
SELECT string_agg((note LIKE 'QUAGGA 1%')::int::text, '' ORDER BY id) FROM shop.customers WHERE id < 60;
-- id: G-01.7 | control: mask | expect: masked | of a child through a view [infer]
SELECT max(id) FROM shop.customer_list WHERE email LIKE 'c1%';
-- id: G-02.1 | control: mask | expect: masked | a dictionary of guesses [infer]
SELECT g.v FROM (SELECT '811-22-' || lpad(i::text, 4, '0') AS v FROM generate_series(1, 90) i) g WHERE EXISTS (SELECT FROM shop.customers c WHERE c.ssn = g.v AND c.id < 50) ORDER BY 1;
-- id: G-02.2 | control: mask | expect: masked | what two sets have in common [infer]
SELECT count(*) FROM (SELECT lower(email) FROM shop.customers INTERSECT SELECT 'c' || i || '@okapi.test' FROM generate_series(1, 500) i) s;
-- id: G-02.3 | control: mask | expect: masked | a hash join against values in a parameter [infer]
PREPARE g(text[]) AS SELECT count(*) FROM shop.events WHERE email = ANY ($1); EXECUTE g(ARRAY['e1@okapi.test', 'e2@okapi.test']);
-- id: G-03.1 | control: mask | expect: masked | an error that quotes the value
SELECT note::interval, email::inet FROM shop.customers WHERE id = 4;
-- id: G-03.2 | control: mask | expect: masked | by a type with a modifier, a date and a name of a table
SELECT replace(note, ' ', '_')::regclass, to_date(note, 'YYYY-MM-DD') FROM shop.customers WHERE id = 4;
-- id: G-03.3 | control: mask | expect: masked | an error only where the guess is right [infer]
SELECT 1 / (CASE WHEN ssn = '811-22-0007' THEN 0 ELSE 1 END) FROM shop.customers WHERE id = 7;
SELECT 'went on', count(*) FROM shop.customers WHERE ssn = '811-22-0007';
-- id: G-03.4 | control: mask | expect: masked | an overflow for one row [infer]
SELECT count(*) FROM shop.customers WHERE id < 50 AND int4(right(ssn, 4)) * 40000000::bigint > 80000000;
-- id: G-04.1 | control: mask | expect: masked | the row that fails is quoted [rw]
UPDATE shop.customers SET name = NULL WHERE id = 3;
-- id: G-04.2 | control: mask | expect: masked | quoted to a function that catches the error [rw]
SELECT shop.tell('UPDATE shop.customers SET name = NULL WHERE id = 3');
-- id: G-04.3 | control: mask | expect: masked | the row of a child, through its parent [rw]
UPDATE shop.customers SET name = NULL WHERE id = 9001;
-- id: G-04.4 | control: mask | expect: masked | the row that finds no partition any more [rw]
UPDATE shop.events SET at = '1999-01-01' WHERE id = 3;
UPDATE shop.events_2024 SET at = '1999-01-01' WHERE id = 3;
-- id: G-04.5 | control: mask | expect: masked | by MERGE [rw]
MERGE INTO shop.customers c USING (VALUES (3)) v(id) ON c.id = v.id WHEN MATCHED THEN UPDATE SET name = NULL;
-- id: G-04.6 | control: mask | expect: masked | a column that may not be named [rw]
UPDATE shop.staff SET id = NULL WHERE id = 3;
-- id: G-04.7 | control: mask | expect: masked | a block of work, to the function that reads it, by a cursor loop [rw]
SELECT shop.retry('UPDATE shop.customers SET name = NULL', 'SELECT 1'), shop.tell('WITH u AS (UPDATE shop.vips SET name = NULL RETURNING 1) SELECT * FROM u');
-- id: G-05.1 | control: mask | expect: masked | a loud allowed function under the mask
SELECT count(*) FROM shop.customers WHERE shop.loud(ssn || email);
-- id: G-05.2 | control: rowfilter | expect: masked | a loud function before the row filter
SELECT id FROM shop.tickets WHERE shop.loud(body) AND id > 0;
-- id: G-05.3 | control: rowfilter | expect: masked | loud in a join condition, in ORDER BY and in a CASE
SELECT t.id FROM shop.tickets t JOIN shop.replies r ON shop.loud(t.body) AND r.ticket = t.id ORDER BY CASE WHEN shop.loud(t.body) THEN 1 END;
-- id: G-07.1 | control: timelimit | expect: limited | a pause where the guess is right [dos]
SELECT CASE WHEN EXISTS (SELECT FROM shop.customers WHERE ssn = '811-22-0007') THEN pg_sleep(3) END;
-- id: G-07.2 | control: timelimit | expect: limited | work where the guess is right [dos]
SELECT count(*) FROM shop.customers c, generate_series(1, CASE WHEN c.ssn LIKE '811%' THEN 10000000 ELSE 10000000 END) g;
-- id: G-08.1 | control: mask | expect: masked | planner statistics, expression index included
SELECT attname, most_common_vals::text, histogram_bounds::text FROM pg_stats WHERE schemaname = 'shop' AND tablename LIKE 'cust%';
-- id: G-08.2 | control: mask | expect: masked | statistics of pairs of columns [super]
SELECT statistics_name, most_common_vals::text FROM pg_stats_ext WHERE schemaname = 'shop';
-- id: G-08.3 | control: mask | expect: masked | statistics of a partition, of a child and of a copy
SELECT tablename, attname, histogram_bounds::text FROM pg_catalog.pg_stats WHERE tablename IN ('events_2024', 'vips', 'contacts', 'listed', 'staff', 'both') ORDER BY 1, 2;
-- id: G-08.4 | control: mask | expect: masked | the catalog below the view
SELECT stavalues1::text FROM pg_catalog.pg_statistic s WHERE starelid = 'shop.customers'::regclass;
-- id: G-08.5 | control: rowfilter | expect: masked | statistics of rows that are filtered
SELECT most_common_vals::text, histogram_bounds::text, n_distinct FROM pg_stats WHERE tablename = 'tickets' AND attname = 'body';
-- id: G-09.1 | control: mask | expect: masked | an estimator calls a talkative operator with histogram values
EXPLAIN SELECT * FROM shop.customers WHERE email OPERATOR(shop.===) 'x';
-- id: G-09.2 | control: mask | expect: masked | the same below a view, in a join
EXPLAIN (COSTS off) SELECT * FROM shop.customer_list l JOIN shop.orders o ON o.id = l.id WHERE l.ssn OPERATOR(shop.===) 'x';
-- id: G-10.1 | control: mask | expect: masked | an estimate answers the question [infer]
EXPLAIN SELECT * FROM shop.customers WHERE profile ->> 'level' = '1' AND born < '1931-02-01' AND ssn > '811-22-0390';
EXPLAIN SELECT * FROM shop.customers WHERE salary < 881000.5;
-- id: G-10.2 | control: mask | expect: masked | the shape of a plan answers it [infer]
EXPLAIN SELECT * FROM shop.orders o JOIN shop.customers c ON c.id = o.customer_id WHERE c.ssn < '811-22-0050';
EXPLAIN (FORMAT json) SELECT * FROM shop.customers WHERE born < '1931-01-02';
-- id: G-11.1 | control: rowfilter | expect: masked | how many rows the filter took away [infer]
EXPLAIN (ANALYZE, TIMING off, SUMMARY off, BUFFERS off, COSTS off) SELECT * FROM shop.tickets WHERE body LIKE 'QUAGGA ticket 1%';
-- id: G-11.2 | control: mask | expect: masked | actual rows under a condition [infer]
EXPLAIN (ANALYZE, TIMING off, SUMMARY off, BUFFERS off, COSTS off, FORMAT yaml) SELECT id FROM shop.customers WHERE ssn < '811-22-0123';
-- id: G-12.1 | control: mask | expect: masked | expressions in a plan, verbosely
EXPLAIN (VERBOSE, COSTS off) SELECT email, upper(note) FROM shop.customers WHERE ssn = 'Q' || 'x'; SELECT shop.get_email(3);
-- id: G-12.2 | control: rowfilter | expect: masked | the plan of a prepared statement, with its filter [infer]
PREPARE e AS SELECT id FROM shop.tickets WHERE body < 'QUAGGA ticket 3'; EXPLAIN (ANALYZE, COSTS off, TIMING off, SUMMARY off, BUFFERS off) EXECUTE e;
EXPLAIN ANALYZE EXECUTE e;
-- id: G-14.1 | control: rowfilter | expect: masked | how large a filtered table is [infer]
SELECT reltuples, relpages FROM pg_class WHERE oid = 'shop.tickets'::regclass; SELECT count(*) FROM shop.tickets WHERE body < 'QUAGGA ticket 3';
-- id: G-14.2 | control: rowfilter | expect: deny | how many rows were read and written
SELECT relname, n_live_tup, seq_tup_read FROM pg_stat_all_tables WHERE relname = 'tickets';
-- id: G-15.1 | control: rowfilter | expect: masked | the difference of two sums [infer]
SELECT (SELECT count(*) FROM shop.tickets) - (SELECT count(*) FROM shop.tickets WHERE body < 'QUAGGA ticket 3');
-- id: G-15.2 | control: mask | expect: masked | the average of one [infer]
SELECT avg(salary), sum(extract(epoch FROM born)) FROM shop.customers WHERE id = 77;
-- id: G-16.1 | control: rowfilter | expect: masked | an error before the filter
SELECT id FROM shop.tickets WHERE CASE WHEN owner LIKE 'bob%' THEN body::int > 0 END;
-- id: G-16.2 | control: rowfilter | expect: masked | a division that only a hidden row makes fail [infer]
SELECT id FROM shop.tickets WHERE 1 / (id - CASE WHEN body = 'QUAGGA ticket 47' THEN id ELSE 0 END) >= 0; SELECT count(*) FROM shop.tickets WHERE body = 'QUAGGA ticket 47' AND id = 47;
-- id: G-06.1 | control: mask | expect: masked | a notice from a function that was allowed
SELECT shop.shout(email) FROM shop.customers WHERE id < 3;
-- id: G-06.2 | control: mask | expect: masked | a notice and an error, with their contexts
SELECT shop.shout(ssn), shop.tell('SELECT (SELECT note FROM shop.customers WHERE id = 4)::int') FROM shop.customers WHERE id = 4;
-- id: G-13.1 | control: mask | expect: masked | estimates through a view [infer]
EXPLAIN SELECT * FROM shop.customer_list WHERE ssn < '811-22-0050';
-- id: G-13.2 | control: mask | expect: masked | estimates of a partition [infer]
EXPLAIN SELECT * FROM shop.events_2024 WHERE payload < 'QUAGGA 2';

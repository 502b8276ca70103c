-- Chapter C: functions and operators, wherever a statement can hide one.

-- id: C-01.1 | control: function | expect: deny | an advisory lock is a channel to other sessions
SELECT pg_try_advisory_lock(1, 2);
-- id: C-01.2 | control: function | expect: deny | the server is told to reload
SELECT pg_reload_conf();
-- id: C-01.3 | control: function | expect: deny | a large object out of nothing
SELECT lo_from_bytea(0, 'exfil') > 0;
-- id: C-02.1 | control: function | expect: deny | in the arguments of LIMIT
SELECT id FROM shop.orders LIMIT (SELECT length(pg_read_file('PG_VERSION')));
-- id: C-02.2 | control: function | expect: deny | in a FILTER clause of an ordered aggregate
SELECT string_agg(status, ',' ORDER BY id) FILTER (WHERE pg_try_advisory_xact_lock_shared(id)) FROM shop.orders WHERE id < 3;
-- id: C-02.3 | control: function | expect: deny | in the frame of a window
SELECT sum(id) OVER (ORDER BY id ROWS (length(pg_read_file('PG_VERSION')) * 0 + 1) PRECEDING) FROM shop.orders WHERE id < 3;
-- id: C-02.4 | control: function | expect: deny | in ROWS FROM, with an ordinality
SELECT * FROM ROWS FROM (pg_ls_dir('base'), generate_series(1, 2)) WITH ORDINALITY AS t(a, b, c);
-- id: C-02.5 | control: function | expect: deny | in the repetition of a sample
SELECT count(*) FROM shop.orders TABLESAMPLE BERNOULLI (100) REPEATABLE (length(pg_read_file('PG_VERSION')));
-- id: C-03.1 | control: function | expect: deny | spelled with escapes
SELECT "pg_catalog"./**/"pg_try_advisory_lock"(5);
SELECT U&"pg!005ftry_advisory_lock" UESCAPE '!' (6);
-- id: C-03.2 | control: function | expect: deny | by the names of its arguments
SELECT pg_catalog.make_interval(days => length(pg_catalog . "pg_read_file" ('PG_VERSION')));
-- id: C-04.1 | control: schema | expect: deny | stable, and tells how large a hidden table is
SELECT pg_total_relation_size((SELECT min(oid) FROM pg_class WHERE relname = 'secrets'));
-- id: C-04.2 | control: function | expect: deny | stable, and reads what other sessions say
SELECT query FROM pg_stat_get_activity(NULL) AS a (datid, pid, usesysid, application_name, state, query), pg_sleep(0) LIMIT 1;
SELECT pg_stat_get_backend_activity(b) FROM pg_stat_get_backend_idset() b;
-- id: C-04.3 | control: function | expect: deny | stable, and reads the server's file system
SELECT count(*) FROM pg_timezone_names() WHERE name IS NOT NULL;
-- id: C-05.1 | control: schema | expect: deny | full text statistics run SQL from a string
SELECT word FROM ts_stat('SELECT to_tsvector(''simple'', token) FROM vault.secrets');
-- id: C-05.2 | control: mask | expect: masked | rewriting a text query runs SQL from a string
SELECT ts_rewrite('a', $$SELECT 'a'::tsquery, to_tsquery('simple', translate(note, ' ', '_')) FROM shop.customers WHERE id = 4$$)::text;
-- id: C-05.3 | control: mask | expect: masked | with weights
SELECT * FROM ts_stat('SELECT setweight(to_tsvector(''simple'', note), ''A'') FROM shop.customers WHERE id < 9', 'a');
-- id: C-06.1 | control: mask | expect: masked | an operator with a talkative function
SELECT count(*) FROM shop.customers WHERE ssn OPERATOR(shop.===) 'x';
-- id: C-06.2 | control: mask | expect: masked | the operator as ANY, with the column on the right
SELECT id FROM shop.customers WHERE 'x' OPERATOR(shop.===) ANY (ARRAY[email, note]) LIMIT 2;
-- id: C-07.1 | control: function | expect: deny | an implicit cast with a function of its own
SELECT 'x' || ROW(status, 1)::shop.parcel::text FROM shop.orders LIMIT 1;
-- id: C-07.2 | control: function | expect: deny | the cast in a join condition
SELECT count(*) FROM shop.orders o JOIN shop.scratch s ON lower(ROW(s.v, 2)::shop.parcel) <> o.status WHERE o.id < 3;
-- id: C-08.1 | control: mask | expect: masked | a domain that tells what it checks
SELECT ssn::shop.loud_text FROM shop.customers WHERE id < 3;
-- id: C-08.2 | control: mask | expect: masked | the domain as a column of a record
SELECT r.x FROM shop.customers c, LATERAL jsonb_to_record(jsonb_build_object('x', c.email)) AS r(x shop.loud_text) WHERE c.id < 3;
-- id: C-09.1 | control: mask | expect: masked | an aggregate with a transition function of its own
SELECT shop.gathered(ssn) FROM shop.customers WHERE id < 4;
-- id: C-09.2 | control: mask | expect: masked | the aggregate as a window function
SELECT shop.gathered(email) OVER (ORDER BY id) FROM shop.customers WHERE id < 4;
-- id: C-11.1 | control: mask | expect: masked | a trigger puts a masked value where it can be read [rw]
UPDATE shop.clerk SET boss = boss; SELECT said FROM shop.clerk;
-- id: C-11.2 | control: readonly | expect: deny | a trigger is no permission for what it does
INSERT INTO shop.watched VALUES (9, 'z');
-- id: C-12.1 | control: mask | expect: masked | input of a type that one names
SELECT jsonb_populate_record(NULL::shop.parcel, jsonb_build_object('content', note)) FROM shop.customers WHERE id = 4;
-- id: C-12.2 | control: mask | expect: masked | an error without an error [pg16+]
SELECT (pg_input_error_info(note, 'integer')).message FROM shop.customers WHERE id = 4;
-- id: C-12.3 | control: mask | expect: masked | json into rows
SELECT * FROM json_populate_recordset(NULL::shop.customers, (SELECT json_agg(c) FROM shop.customers c WHERE id < 4));
-- id: C-13.1 | control: function | expect: deny | folded while planning, under plain EXPLAIN
EXPLAIN (COSTS off) SELECT * FROM shop.orders WHERE status = shop.gather('x', 'y');
-- id: C-13.2 | control: mask | expect: masked | an estimate asks a stable function, an EXPLAIN is enough
EXPLAIN (COSTS off) SELECT * FROM shop.orders WHERE status = shop.shout((SELECT note FROM shop.customers WHERE id = 4));
SELECT shop.shout(note) FROM shop.customers WHERE id = 4;
-- id: C-14.1 | control: function | expect: deny | arguments of EXECUTE
PREPARE p(text) AS SELECT $1; EXECUTE p(pg_read_file('PG_VERSION'));
-- id: C-14.2 | control: mask | expect: masked | the argument of EXECUTE asks the table
PREPARE p(text) AS SELECT $1; EXECUTE p(shop.as_owner('SELECT ssn FROM shop.customers WHERE id = 3'));
-- id: C-16.1 | control: mask | expect: masked | an inlined set-returning function joined to itself
SELECT a.ssn, b.email FROM shop.all_customers() a JOIN shop.all_customers_atomic() b USING (id) WHERE id = 9;
-- id: C-16.2 | control: mask | expect: masked | inlined into a lateral sub-query with a limit
SELECT x.note FROM shop.orders o, LATERAL (SELECT * FROM shop.all_customers() f WHERE f.id = o.customer_id LIMIT 1) x WHERE o.id < 3;
-- id: C-17.1 | control: mask | expect: masked | a body that was parsed long ago
SELECT phone, born FROM shop.all_customers_atomic() WHERE id = 5;
-- id: C-17.2 | control: mask | expect: masked | as whole rows
SELECT (f).profile, to_json(f) FROM shop.all_customers_atomic() f WHERE id = 6;
-- id: C-18.1 | control: mask | expect: masked | a column written as a function
SELECT c.ssn, note(c) FROM shop.customers c WHERE c.email IS NOT NULL AND phone(c) <> '' AND id = 5;
-- id: C-18.2 | control: mask | expect: masked | the whole row is an argument
SELECT shop.shout_row(c) FROM shop.customers c WHERE id = 5;
-- id: C-19.1 | control: function | expect: deny | the random numbers of the session
SELECT setseed(0.5) IS NULL, random() >= 0;
-- id: C-19.2 | control: function | expect: deny | by an expression in VALUES
VALUES (setseed(length('x') / 2.0)::text);
-- id: C-20.1 | control: function | expect: deny | another session is ended
SELECT pg_terminate_backend(a.pid) FROM (SELECT 999999 AS pid) a;
-- id: C-20.2 | control: function | expect: deny | another session's query is cancelled, or the log filled with it
SELECT pg_cancel_backend(999999), pg_log_backend_memory_contexts(999999);
-- id: C-10.1 | control: function | expect: deny | what supports a range type
SELECT int4range_subdiff(1, 2), pg_catalog.int4range_canonical('[1,2]'), shop.same('a', 'b');
-- id: C-10.2 | control: function | expect: deny | a comparison that an index would call, by name
SELECT shop.same(status, 'x') FROM shop.orders ORDER BY shop.same(status, 'y') LIMIT 1;
-- id: C-15.1 | control: function | expect: deny | a function that the fast path likes, in a SELECT
SELECT loread(lo_open(4711, 262144), 100);
-- id: C-15.2 | control: function | expect: deny | the same without a descriptor
SELECT encode(lo_get(4711, 0, 6), 'escape');
-- id: C-24.1 | control: timelimit | expect: limited | an allowed function lifts the time limit for itself [dos]
SELECT shop.hurry(), shop.swallow_timeout();
-- id: C-24.2 | control: guc | expect: deny | an allowed function sets a role
SELECT shop.swallow('SET ROLE colleague'), shop.retry('SELECT 1/0', 'SET ROLE colleague');

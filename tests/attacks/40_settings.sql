-- Chapter D: settings.

-- id: D-01.1 | control: guc | expect: deny | four doors to one setting, the function's
SELECT set_config('work_mem', '1GB', false) FROM generate_series(1, 1);
-- id: D-01.2 | control: guc | expect: deny | in the list of a BEGIN
BEGIN TRANSACTION READ WRITE, ISOLATION LEVEL REPEATABLE READ; UPDATE shop.scratch SET v = 'b'; COMMIT;
-- id: D-01.3 | control: guc | expect: deny | a function that is not looked at by the parser [multi]
PREPARE p(text) AS SELECT $1; EXECUTE p(set_config('session_replication_role', 'replica', false));
-- id: D-02.1 | control: timelimit | expect: limited | no time limit of one's own [dos]
SET statement_timeout = 0; SELECT count(*) FROM generate_series(1, 2000000000);
-- id: D-02.2 | control: timelimit | expect: limited | by the function, with another unit [dos]
SELECT set_config('statement_timeout', '3 d', false); SELECT max(a) FROM generate_series(1, 1000000000) a;
-- id: D-03.1 | control: mask | expect: deny | plans for the client
SET client_min_messages = log; SET debug_print_plan = on; SELECT email FROM shop.customers LIMIT 1;
-- id: D-03.2 | control: mask | expect: deny | rewritten trees, set by the function
SELECT set_config('client_min_messages', 'debug1', false), set_config('debug_print_rewritten', 'on', false);
-- id: D-04.1 | control: guc | expect: deny | memory for one sort
SET LOCAL work_mem = '2000MB'; SET work_mem = '64GB'; SET work_mem TO '1000GB';
SET hash_mem_multiplier = 1000;
-- id: D-04.2 | control: guc | expect: deny | memory for maintenance, and for what is decoded
SET maintenance_work_mem = '2GB'; SET logical_decoding_work_mem = '1GB';
-- id: D-05.1 | control: guc | expect: deny | the planner tries every order
SET geqo = off; SET join_collapse_limit = 100;
-- id: D-05.2 | control: guc | expect: deny | the same for sub-queries
SET from_collapse_limit TO 90;
-- id: D-06.1 | control: guc | expect: deny | everything is compiled
SET jit_above_cost = 0; SET jit = on;
-- id: D-06.2 | control: guc | expect: deny | by the function
SELECT set_config(n, '0', false) FROM (VALUES ('jit_inline_above_cost'), ('jit_optimize_above_cost')) v(n);
-- id: D-07.1 | control: mask | expect: masked | one plan for all values
SET plan_cache_mode = force_generic_plan; PREPARE g(int) AS SELECT email FROM shop.customers WHERE id = $1; EXECUTE g(1); EXECUTE g(2);
-- id: D-07.2 | control: mask | expect: masked | a plan for each, six times
PREPARE g(int) AS SELECT ssn, tableoid::regclass FROM shop.customers WHERE id = $1; EXECUTE g(1); EXECUTE g(1); EXECUTE g(1); EXECUTE g(1); EXECUTE g(1); EXECUTE g(1); EXECUTE g(2);
-- id: D-08.1 | control: mask | expect: masked | another search path finds the same table
SET search_path = shop, vault, pg_temp; SELECT note FROM customers WHERE id = 2; SELECT token FROM secrets;
-- id: D-08.2 | control: schema | expect: deny | a forbidden schema first
SET search_path TO vault; SELECT token FROM secrets;
-- id: D-09.1 | control: mask | expect: masked | what changes how policy text is read
SET transform_null_equals = on; SET standard_conforming_strings = off; SET DateStyle = 'German'; SET IntervalStyle = 'sql_standard'; SELECT born, email FROM shop.customers WHERE id = 2;
-- id: D-09.2 | control: mask | expect: masked | bytes and arrays written otherwise
SET bytea_output = 'escape'; SET array_nulls = off; SET extra_float_digits = 3; SELECT array_agg(note::bytea) FROM shop.customers WHERE id < 3;
-- id: D-10.1 | control: rowfilter | expect: masked | row security off
SET row_security = off; SELECT body FROM shop.tickets;
-- id: D-10.2 | control: rowfilter | expect: masked | off for one transaction, by the function
BEGIN; SELECT set_config('row_security', 'off', true); SELECT id, body FROM shop.tickets WHERE id < 9; COMMIT;
-- id: D-11.1 | control: guc | expect: deny | granted by mistake: triggers and foreign keys off
SET session_replication_role = replica;
-- id: D-11.2 | control: guc | expect: deny | granted by mistake: nothing is logged
SET log_statement = 'none'; SET LOCAL log_min_messages = panic; SET log_min_messages = panic;
-- id: D-13.1 | control: rowfilter | expect: masked | somebody else's rows by a word in the session
SET app.user_email = 'bob@example.com'; SELECT body FROM shop.tickets;
-- id: D-13.2 | control: rowfilter | expect: masked | by a name that is computed
SELECT set_config(concat('agent_policy', '.', 'user_', 'email2'), 'bob@example.com', false); SELECT body FROM shop.tickets;
-- id: D-13.3 | control: rowfilter | expect: masked | the rows of somebody else, by a word in the session
SELECT set_config('request.user', 'bob@example.com', false); SELECT body FROM shop.tickets WHERE owner = 'bob@example.com';
-- id: D-14.1 | control: rowfilter | expect: masked | the user is undone with the savepoint
BEGIN; SAVEPOINT s; SELECT 1; ROLLBACK TO s; SELECT body FROM shop.tickets; ROLLBACK; SELECT body FROM shop.tickets;
-- id: D-14.2 | control: rowfilter | expect: masked | the user is undone with the session's settings
DISCARD ALL; RESET ALL; SELECT string_agg(body, ',') FROM shop.tickets;
-- id: D-15.1 | control: guc | expect: deny | the name of the application as a letter to others
SET log_statement = 'all'; SET application_name = E'line\nFATAL: forged';
-- id: D-15.2 | control: guc | expect: deny | a setting nobody has named before
SET my.letter = 'dead drop'; SELECT current_setting('my.letter');
-- id: D-16.1 | control: guc | expect: deny | libraries for the next session
ALTER ROLE CURRENT_USER IN DATABASE template0 SET local_preload_libraries = 'nope';
-- id: D-16.2 | control: guc | expect: deny | where libraries are looked for [super]
SET dynamic_library_path = '/tmp'; SET session_preload_libraries = 'x';
SET dynamic_library_path = '/tmp';
-- id: D-17.1 | control: guc | expect: deny | granted by mistake: a setting that only the extension reads
SHOW agent_policy.audit_max_spool;
-- id: D-17.3 | control: guc | expect: deny | granted by mistake: paths of the server, by a name that is computed
SELECT current_setting('data_' || lower('DIRECTORY'));
-- id: D-17.2 | control: guc | expect: deny | where the files are
SELECT name, sourcefile FROM pg_show_all_file_settings();
-- id: D-18.1 | control: mask | expect: masked | another encoding on the wire
SET client_encoding = 'SQL_ASCII'; SELECT note, E'\u00e4' FROM shop.customers WHERE id = 3;
-- id: D-18.2 | control: mask | expect: masked | an encoding in which a backslash may be half a character
SET client_encoding = 'SJIS'; SELECT email FROM shop.customers WHERE id = 3;
-- id: D-19.1 | control: mask | expect: masked | another plan: no scans but those of indexes
SET enable_seqscan = off; SET enable_bitmapscan = off; SELECT id, ssn FROM shop.customers WHERE ssn > '811-22-0390' ORDER BY ssn LIMIT 3; SELECT min(ssn), max(ssn) FROM shop.customers;
-- id: D-19.2 | control: mask | expect: masked | another plan: joins by merging
SET enable_hashjoin = off; SET enable_nestloop = off; SELECT a.email FROM shop.customers a JOIN shop.customers b ON a.ssn = b.ssn AND a.id = b.id WHERE a.id < 3;

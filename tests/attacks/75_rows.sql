-- Chapter J: row filters.

-- id: J-01.1 | control: rowfilter | expect: masked | a cast that fails for somebody else's row
SELECT count(*) FROM shop.tickets WHERE CASE WHEN owner LIKE 'b%' THEN body::uuid IS NOT NULL END;
-- id: J-01.2 | control: rowfilter | expect: masked | in the condition of an outer join
SELECT r.id FROM shop.replies r LEFT JOIN shop.tickets t ON shop.loud(t.body) AND length(t.body) > r.id;
-- id: J-02.1 | control: rowfilter | expect: masked | OR beside the filter
SELECT body FROM shop.tickets WHERE owner = 'x' OR true OR id IS NULL;
-- id: J-02.2 | control: rowfilter | expect: masked | a text that would end the filter, were it text
SELECT body FROM shop.tickets WHERE owner = $q$' OR '1'='1' --$q$ OR NOT false;
-- id: J-03.1 | control: rowfilter | expect: masked | nobody is asked for
SELECT body, agent_policy_user FROM shop.tickets, (SELECT current_setting('request.user', true)) s(agent_policy_user);
-- id: J-03.2 | control: rowfilter | expect: masked | another user in the same transaction
BEGIN; SELECT set_config('agent.user', 'bob@example.com', true); TABLE shop.tickets; COMMIT;
-- id: J-04.1 | control: rowfilter | expect: masked | self-join, sub-link and CTE
WITH t AS (SELECT * FROM shop.tickets) SELECT a.body, (SELECT max(body) FROM shop.tickets) FROM t a JOIN shop.tickets b ON a.id <> b.id WHERE EXISTS (SELECT FROM shop.tickets);
-- id: J-04.2 | control: rowfilter | expect: masked | COPY, cursor and dynamic SQL
COPY shop.tickets (body) TO STDOUT; BEGIN; DECLARE c SCROLL CURSOR FOR SELECT * FROM shop.tickets ORDER BY id DESC; FETCH ABSOLUTE 30 FROM c; FETCH LAST FROM c; COMMIT; SELECT shop.run('SELECT string_agg(body, $$,$$) FROM shop.tickets');
-- id: J-04.3 | control: rowfilter | expect: masked | the target of an UPDATE [rw]
UPDATE shop.tickets SET opened = opened RETURNING body;
-- id: J-04.4 | control: rowfilter | expect: masked | the target of a DELETE, and what it joins [rw]
DELETE FROM shop.tickets a USING shop.tickets b WHERE a.id = b.id + 1 AND a.id > 20 RETURNING b.body;
-- id: J-04.5 | control: rowfilter | expect: masked | MERGE [rw]
MERGE INTO shop.scratch s USING shop.tickets t ON s.id = t.id WHEN NOT MATCHED THEN INSERT VALUES (t.id, t.body); SELECT v FROM shop.scratch;
-- id: J-05.1 | control: rowfilter | expect: deny | a row is handed to somebody else [rw]
UPDATE shop.tickets SET owner = 'bob@example.com' WHERE id = 3;
-- id: J-05.2 | control: rowfilter | expect: deny | a row for somebody else [rw]
INSERT INTO shop.tickets VALUES (99, 'bob@example.com', 'planted');
-- id: J-05.3 | control: rowfilter | expect: deny | an upsert takes over somebody else's row [rw]
INSERT INTO shop.tickets VALUES (1, 'alice@example.com', 'mine now') ON CONFLICT (id) DO UPDATE SET owner = 'alice@example.com' RETURNING body;
-- id: J-06.1 | control: rowfilter | expect: masked | a cascade over rows that are hidden [rw]
UPDATE shop.tickets SET id = id + 500 WHERE id = 13; SELECT r.*, t.body FROM shop.replies r, shop.tickets t;
-- id: J-06.2 | control: rowfilter | expect: masked | a reference to a hidden row [rw]
INSERT INTO shop.replies VALUES (3, 1, 'to a hidden one'); SELECT t.body FROM shop.replies r JOIN shop.tickets t ON t.id = r.ticket; SELECT body FROM shop.tickets;
-- id: J-07.1 | control: rowfilter | expect: masked | rows that are not there [infer]
SELECT g FROM generate_series(1, 50) g WHERE NOT EXISTS (SELECT FROM shop.tickets t WHERE t.id = g AND t.body < 'QUAGGA ticket 3') ORDER BY 1;
-- id: J-07.2 | control: rowfilter | expect: masked | the greatest of all [infer]
SELECT max(body), min(body), count(DISTINCT body) FROM shop.tickets WHERE body < 'QUAGGA ticket 30';
-- id: J-08.1 | control: rowfilter | expect: masked | a plan for all users
SET plan_cache_mode = force_generic_plan; PREPARE t AS SELECT body FROM shop.tickets ORDER BY id; EXECUTE t; EXECUTE t;
-- id: J-08.2 | control: rowfilter | expect: masked | a cursor while the filter changes
BEGIN; DECLARE c CURSOR FOR SELECT body FROM shop.tickets ORDER BY id; FETCH 1 FROM c; FETCH ALL FROM c; COMMIT;
-- id: J-09.1 | control: rowfilter | expect: masked | a row by its address
SELECT body FROM shop.tickets WHERE ctid = '(0,2)' OR ctid > '(0,0)';
-- id: J-09.2 | control: rowfilter | expect: masked | a sample of all rows
SELECT body FROM shop.tickets TABLESAMPLE SYSTEM (100) WHERE id < 9;
-- id: J-10.1 | control: rowfilter | expect: masked | whole rows, as json and as text
SELECT json_agg(t), max(t::text) FROM shop.tickets t;
-- id: J-10.2 | control: rowfilter | expect: masked | in a lateral sub-query for each row of another table
SELECT x.body FROM shop.replies r, LATERAL (SELECT * FROM shop.tickets t WHERE t.id <> r.ticket OR t.id = r.ticket ORDER BY t.id LIMIT 2) x;

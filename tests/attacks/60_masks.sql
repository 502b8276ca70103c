-- Chapter F: a masked column holds its mask in every part of a statement.

-- id: F-01.1 | control: mask | expect: masked | two functions deep, each allowed
SELECT shop.run('SELECT string_agg(shop.get_email(i), '','') FROM generate_series(1, 5) i');
-- id: F-01.2 | control: mask | expect: masked | recursion carries the value along
WITH RECURSIVE walk(n, s) AS (SELECT 1, ssn FROM shop.customers WHERE id = 1 UNION ALL SELECT n + 1, s FROM walk WHERE n < 3) SEARCH DEPTH FIRST BY n SET o CYCLE s SET c USING p SELECT max(s), max(o::text), max(p::text) FROM walk;
-- id: F-01.3 | control: mask | expect: masked | grouping sets and having on the raw value
SELECT phone, grouping(phone) FROM shop.customers GROUP BY CUBE (phone, region) HAVING phone LIKE '%' ORDER BY 1, 2 LIMIT 3;
-- id: F-01.4 | control: mask | expect: masked | window over a hidden ordering
SELECT nth_value(email, 3) OVER (ORDER BY salary ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING), lag(note) OVER w FROM shop.customers WHERE id < 6 WINDOW w AS (PARTITION BY region ORDER BY ssn, id);
-- id: F-01.5 | control: mask | expect: masked | sub-link, set operation, array constructor and VALUES in one
SELECT ARRAY(SELECT email FROM shop.customers WHERE id = 3 UNION ALL (VALUES ((SELECT phone FROM shop.customers WHERE id = 3))) EXCEPT SELECT 'x');
-- id: F-01.6 | control: mask | expect: masked | hex and base64 of the value
SELECT encode(note::bytea, 'hex'), upper(encode(ssn::bytea, 'hex')), encode(('ab' || email)::bytea, 'base64'), encode(sha256(''), 'hex') || encode(convert_to(phone, 'UTF8'), 'escape') FROM shop.customers WHERE id = 4;
-- id: F-01.7 | control: mask | expect: masked | spelled backwards, in codes, in small pieces
SELECT reverse(note), (SELECT array_agg(ascii(x)) FROM regexp_split_to_table(note, '') x) FROM shop.customers WHERE id = 4;
-- id: F-01.8 | control: mask | expect: masked | json paths and tables of them [pg17+]
SELECT j.* FROM shop.customers c, JSON_TABLE(to_jsonb(c), '$' COLUMNS (e text PATH '$.email', n text PATH '$.note')) j WHERE c.id = 5;
-- id: F-01.9 | control: mask | expect: masked | json constructors [pg16+]
SELECT JSON_OBJECT('e' : email, 'n' VALUE note RETURNING jsonb), JSON_ARRAY(ssn, phone), JSON_ARRAYAGG(profile) OVER () FROM shop.customers WHERE id = 5;
-- id: F-02.1 | control: mask | expect: masked | an array slice of an aggregate of whole rows
SELECT (array_agg(c ORDER BY c.id))[2:3] FROM shop.customers c;
-- id: F-02.2 | control: mask | expect: masked | jsonb surgery on a whole row
SELECT jsonb_object_agg(k, v) FROM shop.customers c, jsonb_each_text(to_jsonb(c) - 'id') AS e(k, v) WHERE c.id = 12;
-- id: F-02.3 | control: mask | expect: masked | the row of a sub-query's row of a row
SELECT ((s.r).c).email, hash_record(s.r) IS NULL FROM (SELECT ROW(c.*)::shop.customers AS q, t AS r FROM shop.customers c, LATERAL (SELECT c) t(c) WHERE c.id = 3) s;
SELECT ((x).c).note FROM (SELECT t AS x FROM (SELECT c FROM shop.customers c WHERE id = 3) t) y;
-- id: F-02.4 | control: mask | expect: masked | a row as its text, of an outer join's nullable side
SELECT c::text, ROW(c.*, 1) FROM shop.orders o FULL JOIN shop.customers c ON o.id = c.id AND o.id < 0 WHERE c.id = 3;
-- id: F-02.5 | control: mask | expect: masked | min and max of rows, greatest of rows
SELECT max(c::text), (SELECT greatest(a, b) FROM shop.customers a, shop.customers b WHERE a.id = 1 AND b.id = 2) FROM shop.customers c WHERE c.id < 3;
-- id: F-03.1 | control: mask | expect: masked | functional notation on an alias
SELECT (x.c).ssn, profile(x.c) FROM (SELECT c FROM shop.customers AS c WHERE id = 2) x;
-- id: F-03.2 | control: mask | expect: masked | a row-typed argument of an allowed function, of a child
SELECT shop.shout_row(v::shop.customers) FROM shop.vips v;
-- id: F-04.1 | control: mask | expect: deny | where the row lies tells in which order it was written
SELECT ctid, xmin FROM shop.customers WHERE id = 3;
-- id: F-04.2 | control: mask | expect: deny | a row by its address
SELECT email FROM shop.customers WHERE ctid = ANY (ARRAY['(0,1)', '(0,2)']::tid[]);
-- id: F-05.1 | control: mask | expect: masked | a value moves to a column that may be read [rw]
UPDATE shop.customers SET name = email WHERE id = 3; SELECT name FROM shop.customers WHERE id = 3;
-- id: F-05.2 | control: mask | expect: masked | the changed row comes back [rw]
UPDATE shop.customers AS c SET name = name WHERE id = 3 RETURNING c;
-- id: F-05.3 | control: mask | expect: masked | DELETE ... USING itself [rw]
DELETE FROM shop.vips v USING shop.customers c WHERE c.id = 3 AND v.id = 9001 RETURNING v.email, c.email;
-- id: F-05.4 | control: mask | expect: masked | old and new values [rw] [pg18+]
UPDATE shop.customers SET name = 'n' WHERE id = 3 RETURNING old.email, new.ssn, old.*;
-- id: F-05.5 | control: mask | expect: masked | what was refused is taken from the excluded row [rw]
INSERT INTO shop.scratch (id, v) SELECT 1, email FROM shop.customers WHERE id = 3 ON CONFLICT (id) DO UPDATE SET v = excluded.v || (SELECT ssn FROM shop.customers WHERE id = 4) RETURNING v;
-- id: F-05.6 | control: mask | expect: masked | MERGE with a masked source [rw]
MERGE INTO shop.scratch s USING shop.customers c ON c.id = s.id WHEN MATCHED AND c.ssn LIKE '%' THEN UPDATE SET v = c.note WHEN NOT MATCHED AND c.id < 5 THEN INSERT VALUES (c.id, c.email); SELECT * FROM shop.scratch ORDER BY id;
-- id: F-05.7 | control: mask | expect: masked | MERGE gives back what it changed [rw] [pg17+]
MERGE INTO shop.customers t USING (VALUES (3)) v(id) ON t.id = v.id WHEN MATCHED THEN UPDATE SET region = 'west' RETURNING t.*;
-- id: F-05.8 | control: mask | expect: masked | through a view that can be written to [rw]
UPDATE shop.customer_list SET region = 'west' WHERE id = 3 RETURNING *;
-- id: F-05.9 | control: mask | expect: masked | a condition on what is hidden, in a statement that changes rows [rw] [infer]
UPDATE shop.customers SET name = 'found' WHERE ssn < '811-22-0200' AND id < 390; SELECT count(*) FROM shop.customers WHERE name = 'found';
-- id: F-05.10 | control: mask | expect: masked | the target of a MERGE that does nothing is read all the same [rw]
MERGE INTO shop.customers t USING (VALUES (3), (4)) v(id) ON t.id = v.id AND shop.loud(t.ssn) WHEN MATCHED AND t.email::int > 0 THEN DO NOTHING;
-- id: F-05.11 | control: mask | expect: masked | through a view, with an error instead of a notice [rw] [pg17+]
MERGE INTO shop.customer_list t USING (VALUES (3)) v(id) ON t.id = v.id WHEN MATCHED AND (t.ssn || 'x')::int > 0 THEN DO NOTHING;
-- id: F-05.12 | control: mask | expect: masked | rows of a masked table are deleted by what is hidden [rw]
DELETE FROM shop.vips WHERE shop.loud(email) RETURNING id;
-- id: F-05.13 | control: mask | expect: masked | an upsert that looks at the row it would change [rw]
INSERT INTO shop.customers AS c (id, name) VALUES (3, 'x') ON CONFLICT (id) DO UPDATE SET name = c.email RETURNING c.name;
-- id: F-06.1 | control: mask | expect: masked | the child by name, to the client
COPY shop.vips TO STDOUT;
-- id: F-06.2 | control: mask | expect: masked | a partition's whole row through a lateral call
SELECT x FROM shop.events_2024 e, LATERAL row_to_json(e) x WHERE e.id = 3;
-- id: F-06.3 | control: mask | expect: masked | a child of two parents, through the one that hides another column
SELECT n.id, n.email FROM shop.nicks n; SELECT * FROM shop.both; SELECT * FROM shop.nick_list;
-- id: F-06.4 | control: mask | expect: masked | the child of two parents, counted through the wrong one [infer]
SELECT count(*) FROM shop.nicks WHERE email LIKE 'b1@%';
-- id: F-07.1 | control: mask | expect: masked | a view over it, and the view in a view of one's own [ddl]
CREATE VIEW shop.second AS SELECT upper(email) AS e, l FROM shop.customer_list l; SELECT * FROM shop.second LIMIT 3;
-- id: F-07.2 | control: mask | expect: masked | the view's row in an aggregate
SELECT json_agg(l) FROM shop.customer_list l WHERE id IN (3, 4);
-- id: F-08.1 | control: mask | expect: deny | a copy that nobody masks
SELECT contact FROM shop.contacts WHERE id = 3;
-- id: F-08.2 | control: mask | expect: deny | the copy of a view
SELECT email, ssn FROM shop.listed WHERE id = 3;
-- id: F-08.3 | control: mask | expect: masked | computed from a masked column, and kept
SELECT copied FROM shop.computed WHERE id = 3; COPY shop.computed (id, copied) TO STDOUT;
-- id: F-08.4 | control: mask | expect: masked | a condition on the computed one
SELECT id, length(copied), copied FROM shop.computed WHERE copied LIKE 'g%' ORDER BY copied DESC LIMIT 3;
-- id: F-09.1 | control: mask | expect: masked | computed when it is read [pg18+]
SELECT seen FROM shop.virtual WHERE id = 3; SELECT v FROM shop.virtual v WHERE id = 4;
-- id: F-09.2 | control: mask | expect: masked | computed when it is read, in an ORDER BY and an aggregate [pg18+]
SELECT string_agg(seen, ',' ORDER BY seen DESC) FROM shop.virtual WHERE seen IS NOT NULL;
-- id: F-10.1 | control: mask | expect: masked | COPY of columns in another order, as CSV
COPY shop.customers (ssn, note, email, id) TO STDOUT (FORMAT csv, HEADER, FORCE_QUOTE *);
-- id: F-10.2 | control: mask | expect: masked | in binary
COPY shop.events_2025 (payload, email) TO STDOUT (FORMAT binary);
-- id: F-11.1 | control: mask | expect: masked | the ends of an index
SELECT min(ssn), max(ssn), (SELECT max(email) FROM shop.customers WHERE id < 9) FROM shop.customers;
-- id: F-11.2 | control: mask | expect: masked | ordered-set aggregates, DISTINCT ON
SELECT DISTINCT ON (region) mode() WITHIN GROUP (ORDER BY phone), percentile_disc(0.5) WITHIN GROUP (ORDER BY ssn) FROM shop.customers GROUP BY region, id ORDER BY region, id;
-- id: F-12.1 | control: mask | expect: masked | joined by the hidden column, which merges
SELECT ssn, email FROM shop.customers a JOIN shop.customers b USING (ssn, email, id) WHERE id = 3; SELECT email FROM shop.customers NATURAL JOIN shop.vips;
-- id: F-12.2 | control: mask | expect: masked | full join, the merged column in GROUP BY
SELECT email, count(*) FROM shop.customers c FULL JOIN shop.events e USING (email) GROUP BY email ORDER BY email DESC NULLS LAST LIMIT 3;
-- id: F-13.1 | control: readonly | expect: deny | a lock on masked rows [rw]
SELECT email FROM shop.customers WHERE id = 3 FOR UPDATE;
-- id: F-13.2 | control: readonly | expect: deny | a lock below a join [rw]
SELECT * FROM (SELECT c.note FROM shop.customers c JOIN shop.orders o ON o.customer_id = c.id WHERE o.id = 3 FOR SHARE OF c) s;
-- id: F-14.1 | control: mask | expect: masked | a sample
SELECT email FROM shop.customers TABLESAMPLE BERNOULLI (100) WHERE id = 3;
-- id: F-14.2 | control: mask | expect: masked | a sample of pages, repeatable, of a partition
SELECT payload FROM shop.events_2024 TABLESAMPLE SYSTEM (100) REPEATABLE (7) ORDER BY id LIMIT 3;
-- id: F-17.1 | control: mask | expect: masked | the mask twice, compared with itself
SELECT a.ssn, b.ssn FROM shop.customers a JOIN shop.customers b ON a.ssn = b.ssn AND a.id = b.id WHERE a.id = 5;
-- id: F-17.2 | control: mask | expect: masked | a mask in the condition of an index
SELECT note FROM shop.customers WHERE lower(email) = 'c5@okapi.test' OR id = 5;
-- id: F-18.1 | control: mask | expect: masked | the length and the NULLs of what is hidden [infer]
SELECT count(DISTINCT ssn), count(*) FILTER (WHERE ssn < '811-22-0100') FROM shop.customers WHERE id < 200;
-- id: F-18.2 | control: mask | expect: deny | the mask's own function, to be tried on guesses [super]
SELECT 1 FROM pg_proc WHERE proname LIKE 'mask_%' AND pg_notify('x', 'y') IS NOT NULL LIMIT 1; SELECT pg_notify('x', 'y');
-- id: F-19.1 | control: mask | expect: masked | an error in what is done with the mask
SELECT (note || 'x')::macaddr FROM shop.customers WHERE id = 4;
-- id: F-19.2 | control: mask | expect: masked | an error inside an aggregate's argument
SELECT sum(ssn::numeric), max(phone::inet) FROM shop.customers WHERE id < 4;
-- id: F-20.1 | control: mask | expect: masked | the masked column has got another name
-- as: dba
ALTER TABLE shop.customers RENAME COLUMN note TO remark;
-- as: agent
SELECT remark FROM shop.customers WHERE id = 3; SELECT * FROM shop.customers WHERE id = 3;
-- id: F-20.2 | control: mask | expect: masked | the masked column is dropped and comes back with another type
-- as: dba
ALTER TABLE shop.customers ADD COLUMN note2 text; UPDATE shop.customers SET note2 = 'plain'; ALTER TABLE shop.customers ALTER profile TYPE text USING profile::text;
-- as: agent
SELECT profile, note FROM shop.customers WHERE id = 3;
-- id: F-21.1 | control: mask | expect: masked | the masked table and another change places
-- as: dba
ALTER TABLE shop.customers RENAME TO former; ALTER TABLE shop.scratch RENAME TO customers;
-- as: agent
SELECT email, note FROM shop.former WHERE id = 3;
-- id: F-21.2 | control: mask | expect: masked | the masked table moves to another schema that is allowed
-- as: dba
ALTER TABLE shop.events SET SCHEMA public;
-- as: agent
SELECT email, payload FROM public.events WHERE id = 3;
-- id: F-23.1 | control: mask | expect: masked | a child's row as its parent's
SELECT v::shop.customers, (v::shop.customers).email FROM shop.vips v;
-- id: F-23.2 | control: mask | expect: masked | an array of converted rows
SELECT array_agg(v::shop.customers) FROM shop.vips v;

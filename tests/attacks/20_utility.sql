-- Chapter B: commands. What is not listed is denied.

-- id: B-01.1 | control: utility | expect: deny | rights for everybody [super]
GRANT SELECT ON vault.secrets TO PUBLIC;
-- id: B-01.2 | control: utility | expect: deny | a comment is a write to the catalog
CREATE TABLE shop.bait3 (x int);
COMMENT ON COLUMN shop.bait3.x IS 'x';
-- id: B-01.3 | control: utility | expect: deny | indexes of others are rebuilt [super]
REINDEX (VERBOSE) TABLE shop.orders;
-- id: B-02.1 | control: utility | expect: deny | a schema with a table in it
CREATE SCHEMA own CREATE TABLE t (x int) CREATE VIEW v AS SELECT 1 AS one;
-- id: B-02.2 | control: utility | expect: deny | of a role that one may become
CREATE SCHEMA IF NOT EXISTS AUTHORIZATION plain;
-- id: B-03.1 | control: utility | expect: deny | a temporary view as a stepping stone
CREATE TEMP VIEW step AS SELECT email FROM shop.customers;
-- id: B-03.2 | control: utility | expect: deny | an aggregate out of built-in parts
CREATE AGGREGATE shop.collect(anycompatible) (SFUNC = array_append, STYPE = anycompatiblearray, INITCOND = '{}');
-- id: B-03.3 | control: utility | expect: deny | a domain with a check, by a role that may define tables [ddl]
CREATE DOMAIN shop.nosy AS text CHECK (VALUE <> pg_backend_pid()::text);
-- id: B-03.4 | control: utility | expect: deny | a rule, by a role that may define tables [ddl]
CREATE TABLE shop.mine (x int); CREATE RULE r AS ON INSERT TO shop.mine DO ALSO SELECT email FROM shop.customers;
-- id: B-03.5 | control: utility | expect: deny | an operator over a built-in function, by a role that may define tables [ddl]
CREATE OPERATOR shop.@@@ (LEFTARG = text, RIGHTARG = text, FUNCTION = texteq);
-- id: B-04.1 | control: utility | expect: deny | a function of a common name in everybody's schema
CREATE FUNCTION public.lower(varchar) RETURNS text LANGUAGE sql SECURITY DEFINER AS 'SELECT $1::text';
-- id: B-04.2 | control: utility | expect: deny | by a role that may define tables [ddl]
CREATE FUNCTION shop.now() RETURNS text LANGUAGE sql AS 'SELECT email FROM shop.customers LIMIT 1';
-- id: B-04.3 | control: mask | expect: masked | a default that others run when they write [ddl]
CREATE TABLE shop.bait (id int, loot text);
ALTER TABLE shop.bait ALTER loot SET DEFAULT shop.get_email(3);
GRANT ALL ON shop.bait TO plain;
-- as: plain
INSERT INTO shop.bait (id) VALUES (1);
-- as: agent
SELECT loot FROM shop.bait;
-- id: B-04.4 | control: mask | expect: masked | the same by a built-in that runs SQL from a string [ddl]
CREATE TABLE shop.bait2 (id int, loot bigint DEFAULT 1, more text);
ALTER TABLE shop.bait2 ALTER more SET DEFAULT (ts_rewrite('a', $$SELECT 'a'::tsquery, to_tsquery('simple', translate(note, ' ', '_')) FROM shop.customers WHERE id = 4$$))::text;
GRANT ALL ON shop.bait2 TO plain;
-- as: dba
INSERT INTO shop.bait2 (id) VALUES (1);
-- as: agent
SELECT more FROM shop.bait2;
-- id: B-05.1 | control: utility | expect: deny | an extension brings functions along [super]
DROP EXTENSION plpgsql CASCADE;
-- id: B-05.2 | control: utility | expect: deny | one that is there already
CREATE EXTENSION IF NOT EXISTS plpgsql;
-- id: B-06.1 | control: utility | expect: deny | libraries [super]
LOAD 'plpgsql';
-- id: B-06.2 | control: utility | expect: deny | by its full path [super]
LOAD '$libdir/plpgsql';
-- id: B-07.1 | control: utility | expect: deny | a role may change its own settings [reset]
ALTER ROLE CURRENT_USER SET search_path = 'x';
-- id: B-07.2 | control: utility | expect: deny | and its own password
ALTER USER SESSION_USER WITH PASSWORD NULL;
-- id: B-08.1 | control: mask | expect: masked | a block puts SQL together and tells
DO $$ DECLARE r text; BEGIN EXECUTE 'SEL' || 'ECT ssn FROM shop.customers WHERE id = 2' INTO r; RAISE NOTICE '%', r; END $$;
-- id: B-08.2 | control: readonly | expect: deny | a block hides its error
DO $x$ BEGIN UPDATE shop.scratch SET v = 'hit'; EXCEPTION WHEN others THEN RAISE NOTICE 'quiet'; END $x$;
-- id: B-08.3 | control: mask | expect: masked | a block of a role that may define tables [ddl]
DO LANGUAGE plpgsql $$ BEGIN RAISE INFO '%', (SELECT max(phone) FROM shop.customers); END $$;
-- id: B-09.1 | control: mask | expect: masked | a cursor that a function opens
BEGIN; SELECT shop.opened('SELECT email, note FROM shop.customers ORDER BY id'); FETCH 3 FROM opened; COMMIT;
-- id: B-09.2 | control: readonly | expect: deny | statements in a sub-transaction of a function
SELECT shop.swallow('SELECT 1') , shop.retry('SELECT 1/0', 'INSERT INTO shop.scratch VALUES (97, $q$s$q$)');
-- id: B-10.1 | control: schema | expect: deny | a function that runs its argument, with its owner's rights
SELECT shop.as_owner('SELECT token FROM vault.secrets');
-- id: B-10.2 | control: mask | expect: masked | two functions deep
SELECT shop.run($a$SELECT shop.as_owner('SELECT string_agg(email, $b$,$b$) FROM shop.customers WHERE id < 5')$a$);
-- id: B-11.1 | control: function | expect: deny | the default of a new column is evaluated at once [ddl]
CREATE TABLE shop.grows (id int); INSERT INTO shop.grows VALUES (1); ALTER TABLE shop.grows ADD COLUMN p text DEFAULT current_setting('data_directory', pg_notify('a', 'b') IS NULL);
-- id: B-11.2 | control: function | expect: deny | a check that calls what may not be called [ddl]
CREATE TABLE shop.checks (id int CHECK (pg_try_advisory_lock(id))); INSERT INTO shop.checks VALUES (1);
-- id: B-11.3 | control: mask | expect: masked | the type of a column changes by an expression [ddl]
CREATE TABLE shop.retyped (id int); INSERT INTO shop.retyped VALUES (4); ALTER TABLE shop.retyped ALTER id TYPE text USING shop.get_email(id); SELECT * FROM shop.retyped;
-- id: B-12.1 | control: egress | expect: deny | a dictionary reads a file of the server [super]
CREATE TEXT SEARCH DICTIONARY shop.files (TEMPLATE = simple, StopWords = english);
-- id: B-12.2 | control: utility | expect: deny | a collation
CREATE COLLATION shop.c2 FROM "C";
-- id: B-13.1 | control: mask | expect: deny | a foreign key asks whether a hidden value exists [ddl]
CREATE TABLE shop.asks (badge text REFERENCES shop.staff (badge)); INSERT INTO shop.asks VALUES ('QUAGGA badge 7');
-- id: B-13.2 | control: mask | expect: deny | the same of a masked column, added later [ddl]
CREATE TABLE shop.asks (email text); INSERT INTO shop.asks VALUES ('c7@okapi.test'); ALTER TABLE shop.asks ADD CONSTRAINT k FOREIGN KEY (email) REFERENCES shop.customers (email);
-- id: B-14.1 | control: egress | expect: deny | a server elsewhere [super]
CREATE FOREIGN DATA WRAPPER elsewhere; CREATE SERVER there FOREIGN DATA WRAPPER elsewhere;
-- id: B-14.2 | control: egress | expect: deny | a publication of everything
CREATE PUBLICATION leak;
-- id: B-15.1 | control: readonly | expect: deny | rows that do not fit are echoed [pg17+]
-- copy: x\ty\n
COPY shop.scratch FROM STDIN (ON_ERROR ignore, LOG_VERBOSITY verbose);
-- id: B-15.2 | control: readonly | expect: deny | with a header that must match
-- copy: id,v\n98,x\n
COPY shop.scratch FROM STDIN (FORMAT csv, HEADER match);
-- id: B-16.1 | control: utility | expect: deny | code that runs in everybody's commands [super]
CREATE FUNCTION public.ev() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN NULL; END'; CREATE EVENT TRIGGER ev ON ddl_command_end EXECUTE FUNCTION public.ev();
-- id: B-16.2 | control: utility | expect: deny | a trigger on one's own table [ddl]
CREATE TABLE shop.trig (id int); CREATE TRIGGER t BEFORE INSERT ON shop.trig FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger();
-- id: B-17.1 | control: function | expect: deny | a validator reads the body of a function
SELECT plpgsql_validator('shop.run(text)'::regprocedure);
-- id: B-17.2 | control: function | expect: deny | that of SQL functions
SELECT fmgr_sql_validator(p.oid) FROM pg_proc p WHERE proname = 'secdef_vault';
-- id: B-01.4 | control: mask | expect: masked | a view of one's own over a masked table [ddl]
CREATE VIEW shop.over_it AS SELECT c.*, c AS whole, c.ssn || '' AS s FROM shop.customers c; SELECT * FROM shop.over_it WHERE id = 3;
-- id: B-01.5 | control: mask | expect: masked | a table made from a masked one [ddl]
CREATE TABLE shop.taken AS SELECT * FROM shop.customers; SELECT email, ssn, note FROM shop.taken WHERE id = 3;
-- id: B-01.6 | control: mask | expect: masked | a materialized view, refreshed by its owner and by a superuser [ddl]
CREATE MATERIALIZED VIEW shop.kept AS SELECT id, email FROM shop.customers;
-- as: dba
REFRESH MATERIALIZED VIEW shop.kept;
-- as: agent
SELECT * FROM shop.kept WHERE id < 4;
-- id: B-01.7 | control: mask | expect: masked | the copy of a whole row into a column [ddl]
CREATE TABLE shop.rows (j jsonb); INSERT INTO shop.rows SELECT to_jsonb(c) FROM shop.customers c WHERE id < 4; SELECT j FROM shop.rows;
-- id: B-13.3 | control: mask | expect: masked | a cascade whose check constraint runs inside the foreign key's query [ddl]
CREATE TABLE shop.par (id int PRIMARY KEY); CREATE TABLE shop.chi (pid int REFERENCES shop.par ON UPDATE CASCADE);
INSERT INTO shop.par VALUES (1); INSERT INTO shop.chi VALUES (1);
ALTER TABLE shop.chi ADD CONSTRAINT c CHECK (pid <> 2 OR shop.get_email(pid)::int > 0) NOT VALID;
UPDATE shop.par SET id = 2;
-- id: B-13.4 | control: mask | expect: masked | a trigger inside the foreign key's query copies a hidden value [rw]
UPDATE shop.boss SET id = 5; SELECT said FROM shop.clerk;
-- id: B-13.5 | control: mask | expect: masked | the like of a table keeps its defaults and copies nothing [ddl]
CREATE TABLE shop.alike (LIKE shop.customers INCLUDING ALL); INSERT INTO shop.alike SELECT * FROM shop.customers WHERE id = 3; SELECT * FROM shop.alike;
-- id: B-01.8 | control: mask | expect: masked | a child of a masked table made to be read itself [ddl]
CREATE TABLE shop.heir (LIKE shop.mails); INSERT INTO shop.heir SELECT id, email FROM shop.mails; ALTER TABLE shop.heir INHERIT shop.mails; SELECT * FROM shop.heir;

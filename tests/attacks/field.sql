-- What attacks find in the shop besides fixtures/shop.sql; loaded as superuser, into both worlds.
SET client_min_messages = warning;
CREATE FUNCTION public.fingerprint(t regclass) RETURNS text LANGUAGE plpgsql AS
    $$ DECLARE r text; BEGIN EXECUTE format('SELECT md5(coalesce(string_agg(x::text, '','' ORDER BY x::text), '''')) FROM %s x', t) INTO r; RETURN r; END $$;
REVOKE ALL ON FUNCTION public.fingerprint(regclass) FROM PUBLIC;
SET ROLE shop_owner;
-- Rows of one's own only.
CREATE TABLE shop.tickets (id int PRIMARY KEY, owner text NOT NULL, body text, opened date DEFAULT '2024-05-05');
INSERT INTO shop.tickets
SELECT i, CASE WHEN i % 10 = 3 THEN 'alice@example.com' ELSE 'bob@example.com' END,
       CASE WHEN i % 10 = 3 THEN 'mine ' || i ELSE 'QUAGGA ticket ' || i END FROM generate_series(1, 50) i;
CREATE INDEX ON shop.tickets (body);
CREATE TABLE shop.replies (id int PRIMARY KEY, ticket int REFERENCES shop.tickets ON UPDATE CASCADE, words text);
INSERT INTO shop.replies VALUES (1, 3, 'fine'), (2, 13, 'thanks');
-- A column that may not be named.
CREATE TABLE shop.staff (id int PRIMARY KEY, name text, badge text UNIQUE);
INSERT INTO shop.staff SELECT i, 'Member ' || i, 'QUAGGA badge ' || i FROM generate_series(1, 20) i;
-- Columns that PostgreSQL computes from hidden ones.
CREATE TABLE shop.computed (id int PRIMARY KEY, email text, copied text GENERATED ALWAYS AS (lower(email)) STORED);
INSERT INTO shop.computed SELECT i, 'g' || i || '@okapi.test' FROM generate_series(1, 20) i;
DO $$ BEGIN
    IF current_setting('server_version_num')::int >= 180000 THEN
        EXECUTE 'CREATE TABLE shop.virtual (id int PRIMARY KEY, email text, seen text GENERATED ALWAYS AS (upper(email)) VIRTUAL)';
        EXECUTE 'INSERT INTO shop.virtual (id, email) SELECT i, ''v'' || i || ''@okapi.test'' FROM generate_series(1, 20) i';
    END IF;
END $$;
-- A child of two parents, each of which hides something else.
CREATE TABLE shop.nicks (id int, email text, nick text);
CREATE TABLE shop.mails (id int, email text);
CREATE TABLE shop.both () INHERITS (shop.nicks, shop.mails);
INSERT INTO shop.both SELECT i, 'b' || i || '@okapi.test', 'QUAGGA nick' FROM generate_series(1, 5) i;
CREATE VIEW shop.nick_list AS SELECT id, email FROM shop.nicks;
CREATE MATERIALIZED VIEW shop.listed AS SELECT id, email, ssn FROM shop.customer_list;
-- Things with a body, as a schema collects them.
CREATE FUNCTION shop.shout(t text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE NOTICE 'shout: %', t; RETURN t; END $$;
CREATE FUNCTION shop.shout_row(c shop.customers) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN c.ssn; END $$;
CREATE FUNCTION shop.same(a text, b text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE COST 0.0001 AS
    $$ BEGIN RAISE NOTICE 'same: % %', a, b; RETURN a = b; END $$;
CREATE OPERATOR shop.=== (LEFTARG = text, RIGHTARG = text, FUNCTION = shop.same, RESTRICT = scalarltsel);
CREATE FUNCTION shop.gather(s text, t text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN coalesce(s, '') || ',' || t; END $$;
CREATE AGGREGATE shop.gathered(text) (SFUNC = shop.gather, STYPE = text);
CREATE DOMAIN shop.loud_text AS text CHECK (shop.loud(VALUE));
CREATE TYPE shop.parcel AS (content text, weight int);
CREATE FUNCTION shop.unpack(shop.parcel) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT ($1).content $$;
CREATE CAST (shop.parcel AS text) WITH FUNCTION shop.unpack(shop.parcel) AS IMPLICIT;
CREATE FUNCTION shop.as_owner(q text) RETURNS text LANGUAGE plpgsql SECURITY DEFINER AS
    $$ DECLARE r text; BEGIN EXECUTE q INTO r; RETURN r; END $$;
CREATE FUNCTION shop.hurry() RETURNS text LANGUAGE plpgsql SET statement_timeout = 0 AS
    $$ BEGIN RETURN current_setting('statement_timeout'); END $$;
CREATE FUNCTION shop.step() RETURNS bigint LANGUAGE plpgsql AS $$ DECLARE x bigint; BEGIN x := nextval('shop.counter'); RETURN x; END $$;
CREATE PROCEDURE shop.commit_and_write() LANGUAGE plpgsql AS
    $$ BEGIN COMMIT; UPDATE shop.scratch SET v = 'proc'; COMMIT; END $$;
CREATE FUNCTION shop.tell(q text) RETURNS text LANGUAGE plpgsql AS
    $$ DECLARE m text; d text; BEGIN EXECUTE q; RETURN 'ok';
       EXCEPTION WHEN OTHERS THEN GET STACKED DIAGNOSTICS m = MESSAGE_TEXT, d = PG_EXCEPTION_DETAIL; RETURN m || ' / ' || d; END $$;
CREATE FUNCTION shop.opened(q text) RETURNS refcursor LANGUAGE plpgsql AS
    $$ DECLARE c refcursor := 'opened'; BEGIN OPEN c FOR EXECUTE q; RETURN c; END $$;
CREATE FUNCTION shop.retry(a text, b text) RETURNS text LANGUAGE plpgsql AS
    $$ BEGIN BEGIN EXECUTE a; EXCEPTION WHEN OTHERS THEN EXECUTE b; END; RETURN 'done'; END $$;
-- Writes that a statement does not show.
CREATE VIEW shop.desk AS SELECT id, v FROM shop.scratch;
CREATE RULE desk_log AS ON INSERT TO shop.desk DO INSTEAD INSERT INTO shop.scratch VALUES (NEW.id, NEW.v);
CREATE TABLE shop.watched (id int PRIMARY KEY, v text);
INSERT INTO shop.watched VALUES (1, 'w');
CREATE FUNCTION shop.note_down() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
    $$ BEGIN INSERT INTO shop.scratch VALUES (500 + NEW.id, 'trigger') ON CONFLICT DO NOTHING; RETURN NEW; END $$;
CREATE TRIGGER note_down BEFORE UPDATE ON shop.watched FOR EACH ROW EXECUTE FUNCTION shop.note_down();
CREATE CONSTRAINT TRIGGER note_late AFTER INSERT ON shop.watched DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION shop.note_down();
-- A cascade that ends in a trigger, which runs inside the foreign key's own query.
CREATE TABLE shop.boss (id int PRIMARY KEY);
CREATE TABLE shop.clerk (boss int REFERENCES shop.boss ON UPDATE CASCADE ON DELETE CASCADE, said text);
INSERT INTO shop.boss VALUES (1);
INSERT INTO shop.clerk VALUES (1, '-');
CREATE FUNCTION shop.overhear() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN NEW.said := (SELECT email FROM shop.customers WHERE id = NEW.boss); RETURN NEW; END $$;
CREATE TRIGGER overhear BEFORE UPDATE ON shop.clerk FOR EACH ROW EXECUTE FUNCTION shop.overhear();
-- What is not a relation.
CREATE TEXT SEARCH CONFIGURATION shop.plain_words (COPY = simple);
CREATE TYPE shop.mood AS ENUM ('calm', 'QUAGGA mood');
CREATE SEQUENCE shop.tickets_sold START 881001;
SELECT nextval('shop.tickets_sold');
CREATE STATISTICS shop.pairs (mcv, dependencies) ON born, region FROM shop.customers;
COMMENT ON TABLE vault.secrets IS 'QUAGGA comment';
CREATE TABLE vault."QUAGGA names" ("QUAGGA column" text DEFAULT 'QUAGGA default', d date) PARTITION BY LIST ("QUAGGA column");
CREATE TABLE vault.part PARTITION OF vault."QUAGGA names" FOR VALUES IN ('QUAGGA bound');
CREATE FUNCTION vault.recipe() RETURNS text LANGUAGE sql AS $$ SELECT 'QUAGGA body' $$;
CREATE VIEW vault.shown AS SELECT token FROM vault.secrets WHERE token <> 'QUAGGA view';
RESET ROLE;
SELECT lo_from_bytea(4711, 'QUAGGA object');
GRANT SELECT, UPDATE ON LARGE OBJECT 4711 TO @agent@, @plain@;
GRANT ALL ON ALL TABLES IN SCHEMA shop TO @agent@, @plain@;
GRANT ALL ON ALL SEQUENCES IN SCHEMA shop TO @agent@, @plain@;
RESET client_min_messages;

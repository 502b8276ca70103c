-- Chapter K: catalogs and monitoring.

-- id: K-01.1 | control: catalog | expect: deny | what other sessions say
SELECT pg_stat_get_backend_activity(b) FROM pg_stat_get_backend_idset() b;
-- id: K-01.2 | control: catalog | expect: deny | by the function below the view
SELECT a.query FROM pg_catalog.pg_stat_get_activity(NULL) a WHERE a.query IS NOT NULL;
-- id: K-03.1 | control: catalog | expect: masked | settings of roles
SELECT setconfig FROM pg_db_role_setting;
-- id: K-03.2 | control: catalog | expect: masked | the same as a column of another view
SELECT rolname, rolconfig FROM pg_roles WHERE rolname = 'colleague'; SELECT useconfig FROM pg_user;
-- id: K-04.1 | control: catalog | expect: deny | who may connect, from where
SELECT * FROM pg_hba_file_rules;
-- id: K-04.2 | control: catalog | expect: deny | passwords [super]
SELECT rolpassword FROM pg_authid; SELECT passwd FROM pg_shadow;
-- id: K-05.1 | control: catalog | expect: masked | the source of a hidden function
SELECT prosrc FROM pg_proc WHERE proname = 'recipe';
-- id: K-05.2 | control: catalog | expect: masked | the definition of one, of a view, of a partition's bounds and of a default
SELECT pg_get_functiondef(oid) FROM pg_proc WHERE proname = 'recipe'; SELECT pg_get_viewdef(oid) FROM pg_class WHERE relname = 'shown'; SELECT pg_get_expr(relpartbound, oid) FROM pg_class WHERE relname = 'part'; SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef;
-- id: K-05.3 | control: catalog | expect: masked | comments
SELECT description FROM pg_description; SELECT obj_description(oid, 'pg_class') FROM pg_class WHERE relname = 'secrets'; SELECT description FROM pg_shdescription;
-- id: K-06.1 | control: catalog | expect: masked | names of relations and columns of a schema that is not allowed
SELECT relname FROM pg_class WHERE relkind = 'p'; SELECT attname FROM pg_attribute WHERE attnum > 0 AND attrelid > 16384;
-- id: K-06.2 | control: catalog | expect: masked | by the standard's views
SELECT table_name, column_name, column_default FROM information_schema.columns WHERE table_schema = 'vault';
-- id: K-06.3 | control: schema | expect: deny | a name that is resolved while parsing
SELECT 'vault.secrets'::regclass;
-- id: K-08.1 | control: schema | expect: deny | the row type of a hidden table
SELECT (NULL::vault.secrets).*;
-- id: K-08.2 | control: schema | expect: deny | as the target of json
SELECT * FROM jsonb_populate_record(NULL::vault.secrets, '{"token": "x"}');
-- id: K-08.3 | control: schema | expect: deny | as an array, in a prepared statement's parameter
PREPARE q(vault.secrets[]) AS SELECT $1; EXECUTE q(NULL);
-- id: K-09.1 | control: catalog | expect: deny | what tables are read how often
SELECT relname, seq_scan FROM pg_stat_user_tables; SELECT * FROM pg_statio_all_tables;
-- id: K-09.2 | control: catalog | expect: deny | files, memory, log positions
SELECT * FROM pg_backend_memory_contexts; SELECT pg_current_wal_lsn(), pg_control_checkpoint(); SELECT * FROM pg_ls_waldir();
-- id: K-10.1 | control: catalog | expect: deny | how far a sequence is
SELECT last_value FROM shop.tickets_sold;
-- id: K-10.2 | control: catalog | expect: masked | of all sequences
SELECT last_value FROM pg_sequences WHERE sequencename = 'tickets_sold'; SELECT pg_sequence_last_value('shop.tickets_sold');
-- id: K-12.1 | control: schema | expect: deny | a CTE that nobody reads
WITH unread AS (SELECT token FROM vault.secrets) SELECT 1;
-- id: K-12.2 | control: schema | expect: deny | a lateral sub-query that is thrown away
SELECT o.id FROM shop.orders o LEFT JOIN LATERAL (SELECT DISTINCT 1 FROM vault.secrets WHERE false) s ON true WHERE o.id = 1;
-- id: K-13.1 | control: catalog | expect: masked | functions that read catalogs for one
SELECT pg_get_viewdef('vault.shown'::regclass);
-- id: K-13.2 | control: catalog | expect: masked | by number, prettily
SELECT pg_get_viewdef(c.oid, true), pg_get_ruledef(r.oid) FROM pg_class c JOIN pg_rewrite r ON r.ev_class = c.oid WHERE c.relname = 'shown';
-- id: K-14.1 | control: mask | expect: masked | a cursor over statistics
BEGIN; DECLARE s CURSOR FOR SELECT tablename, histogram_bounds::text FROM pg_stats WHERE schemaname = 'shop' AND tablename = 'customers'; FETCH ALL FROM s; COMMIT;
-- id: K-14.2 | control: mask | expect: masked | a cursor over the catalog below, in a block of its own
BEGIN; DECLARE s BINARY CURSOR FOR SELECT stavalues1::text FROM pg_statistic WHERE starelid = 'shop.customers'::regclass; FETCH 30 FROM s; COMMIT;

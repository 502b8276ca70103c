//! What real clients send, and a default policy lets through.

use cluster_tests::{Bench, Case, bench, cases, recorded};

pub const CASES: &[Case] = cases![
    start_up_packets,
    settings_of_drivers,
    transactions_of_drivers,
    cursors_of_drivers,
    prepared_statements_of_drivers,
    explain_in_every_form,
    copy_out_in_every_format,
    psql_describe_queries,
    driver_introspection,
    functions_of_tools,
    analytics,
    recorded_statements,
    locks_like_those_of_select,
    pg_dump_of_what_may_be_read,
    sequences_of_readable_columns,
    catalogs_that_show_nothing,
];

#[track_caller]
fn pass(b: &Bench, statements: &[&str]) {
    let mut agent = b.agent();
    let mut failures = Vec::new();
    for sql in statements {
        if let Some(error) = agent.simple(sql).errors.first() {
            failures.push(format!("{sql}: {error}"));
            agent.simple("ROLLBACK");
        }
    }
    assert!(
        failures.is_empty(),
        "{} refused:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

fn start_up_packets(b: &Bench) {
    b.allow();
    for parameters in [
        &[
            ("client_encoding", "UTF8"),
            ("application_name", "psql"),
            ("DateStyle", "ISO"),
            ("TimeZone", "UTC"),
        ][..],
        &[("extra_float_digits", "2"), ("search_path", "shop")],
        &[
            ("statement_timeout", "10000"),
            ("lock_timeout", "1000"),
            ("idle_in_transaction_session_timeout", "60000"),
        ],
        &[("default_transaction_read_only", "off")],
        &[("default_transaction_read_only", "on")],
    ] {
        let mut all = parameters.to_vec();
        all.push((
            "options",
            "-c agent_policy.user_email=alice@example.com -c geqo=on",
        ));
        let mut agent = b
            .agent_with(&all)
            .unwrap_or_else(|e| panic!("{parameters:?}: {e}"));
        agent.query("SELECT count(*) FROM shop.orders");
    }
    for options in [
        "-c role=@plain@",
        "-c session_replication_role=replica",
        "-c session_authorization=@plain@",
    ] {
        let options = format!(
            "-c agent_policy.user_email=alice@example.com {}",
            b.fill(options)
        );
        if let Ok(mut agent) = b.agent_with(&[("options", &options)]) {
            assert!(
                !agent
                    .simple("SELECT * FROM vault.secrets")
                    .errors
                    .is_empty(),
                "{options}"
            );
        }
    }
}

fn settings_of_drivers(b: &Bench) {
    b.allow();
    pass(
        b,
        &[
            "SET extra_float_digits = 3",
            "SET DateStyle TO 'ISO'",
            "SET datestyle = ISO, MDY",
            "SET IntervalStyle = 'postgres'",
            "SET TimeZone = 'Europe/Berlin'",
            "SET TIME ZONE 'UTC'",
            "SET application_name = 'PostgreSQL JDBC Driver'",
            "SET client_encoding TO 'UTF8'",
            "SET NAMES 'UTF8'",
            "SET search_path TO shop, public",
            "SET default_transaction_read_only = on",
            "SET default_transaction_isolation TO 'read committed'",
            "SET default_transaction_deferrable = off",
            "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED",
            "SELECT set_config('jit', 'off', false)",
            "SELECT set_config('search_path', 'shop', false)",
            "SELECT set_config(n, 'off', false) FROM (VALUES ('jit')) v(n)",
            "SELECT pg_catalog.set_config('search_path', '', false)",
            "RESET ALL",
            "DISCARD ALL",
            "CLOSE ALL",
            "UNLISTEN *",
            "SHOW transaction_isolation",
            "SHOW TRANSACTION ISOLATION LEVEL",
            "SHOW search_path",
            "SHOW standard_conforming_strings",
            "SELECT current_setting('server_version_num')",
            "SELECT current_setting('nothing.here', true)",
            "SET statement_timeout = 0",
            "SET statement_timeout = '5min'",
            "SET lock_timeout = '1s'",
            "SET idle_in_transaction_session_timeout = 0",
            "SELECT pg_advisory_unlock_all()",
        ],
    );
}

fn transactions_of_drivers(b: &Bench) {
    b.allow();
    pass(
        b,
        &[
            "BEGIN",
            "SELECT 1",
            "COMMIT",
            "BEGIN TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ WRITE, NOT DEFERRABLE",
            "SELECT 1",
            "COMMIT",
            "START TRANSACTION READ ONLY",
            "SELECT 1",
            "ROLLBACK",
            "BEGIN; SELECT 1; SELECT 2; COMMIT",
            "BEGIN",
            "SAVEPOINT \"a b\"",
            "ROLLBACK TO SAVEPOINT \"a b\"",
            "RELEASE SAVEPOINT \"a b\"",
            "END",
            "BEGIN",
            "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ",
            "SET CONSTRAINTS ALL DEFERRED",
            "COMMIT AND CHAIN",
            "ROLLBACK",
        ],
    );
}

fn cursors_of_drivers(b: &Bench) {
    b.allow();
    pass(
        b,
        &[
            "BEGIN",
            "DECLARE \"c\" CURSOR FOR SELECT * FROM shop.orders",
            "FETCH FORWARD 10 FROM \"c\"",
            "MOVE 10 FROM c",
            "FETCH NEXT FROM c",
            "CLOSE c",
            "DECLARE s SCROLL CURSOR WITHOUT HOLD FOR SELECT id FROM shop.orders ORDER BY id",
            "FETCH LAST FROM s",
            "FETCH ABSOLUTE 1 FROM s",
            "FETCH PRIOR FROM s",
            "CLOSE ALL",
            "DECLARE n NO SCROLL BINARY CURSOR FOR SELECT id FROM shop.orders",
            "FETCH 3 IN n",
            "COMMIT",
        ],
    );
}

fn prepared_statements_of_drivers(b: &Bench) {
    b.allow();
    pass(
        b,
        &[
            "PREPARE p (int) AS SELECT * FROM shop.orders WHERE id = $1",
            "EXECUTE p(1)",
            "EXPLAIN EXECUTE p(1)",
            "DEALLOCATE p",
            "DEALLOCATE ALL",
        ],
    );
    let mut agent = b.agent();
    agent
        .parse(
            "s",
            "SELECT id, amount, ordered_at FROM shop.orders WHERE id = $1",
        )
        .describe(b'S', "s")
        .sync()
        .ok();
    let answer = agent
        .bind("", "s", &[Some("7")], true)
        .describe(b'P', "")
        .execute("", 0)
        .sync()
        .ok();
    assert_eq!(
        answer.rows[0][0].as_deref(),
        Some(&[0_u8, 0, 0, 7][..]),
        "binary results"
    );
}

fn explain_in_every_form(b: &Bench) {
    b.mask();
    pass(
        b,
        &[
            "EXPLAIN SELECT * FROM shop.orders",
            "EXPLAIN (FORMAT json) SELECT * FROM shop.orders",
            "EXPLAIN (FORMAT yaml) SELECT email FROM shop.customers",
            "EXPLAIN (COSTS off) SELECT 1",
            "EXPLAIN (VERBOSE) SELECT * FROM shop.orders",
            "EXPLAIN ANALYZE SELECT count(*) FROM shop.orders",
            "EXPLAIN (ANALYZE, BUFFERS, TIMING off, SUMMARY off, FORMAT xml) SELECT count(*) FROM shop.customers",
            "EXPLAIN (SETTINGS) SELECT 1",
        ],
    );
}

fn copy_out_in_every_format(b: &Bench) {
    b.mask();
    pass(
        b,
        &[
            "COPY shop.orders TO STDOUT",
            "COPY shop.orders (id, amount) TO STDOUT WITH (FORMAT csv, HEADER)",
            "COPY (SELECT * FROM shop.orders) TO STDOUT (FORMAT binary)",
            "COPY (SELECT email FROM shop.customers) TO STDOUT WITH CSV DELIMITER ';'",
            "COPY shop.customers TO STDOUT BINARY",
        ],
    );
}

fn psql_describe_queries(b: &Bench) {
    b.allow();
    pass(
        b,
        &[
            // \dt
            "SELECT n.nspname, c.relname, CASE c.relkind WHEN 'r' THEN 'table' END, pg_catalog.pg_get_userbyid(c.relowner) FROM pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r','p','') AND n.nspname !~ '^pg_toast' AND pg_catalog.pg_table_is_visible(c.oid) ORDER BY 1,2",
            // \d t
            "SELECT c.oid, n.nspname, c.relname FROM pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relname OPERATOR(pg_catalog.~) '^(orders)$' COLLATE pg_catalog.default",
            "SELECT a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), (SELECT pg_catalog.pg_get_expr(d.adbin, d.adrelid, true) FROM pg_catalog.pg_attrdef d WHERE d.adrelid = a.attrelid AND d.adnum = a.attnum AND a.atthasdef), a.attnotnull, a.attidentity FROM pg_catalog.pg_attribute a WHERE a.attrelid = 'shop.orders'::regclass AND a.attnum > 0 AND NOT a.attisdropped",
            "SELECT c2.relname, i.indisprimary, pg_catalog.pg_get_indexdef(i.indexrelid, 0, true), pg_catalog.pg_get_constraintdef(con.oid, true) FROM pg_catalog.pg_class c, pg_catalog.pg_class c2, pg_catalog.pg_index i LEFT JOIN pg_catalog.pg_constraint con ON (conrelid = i.indrelid AND conindid = i.indexrelid) WHERE c.oid = 'shop.orders'::regclass AND c.oid = i.indrelid AND i.indexrelid = c2.oid",
            // \dn \df \du \l \dT
            "SELECT n.nspname, pg_catalog.pg_get_userbyid(n.nspowner) FROM pg_catalog.pg_namespace n WHERE n.nspname !~ '^pg_'",
            "SELECT n.nspname, p.proname, pg_catalog.pg_get_function_result(p.oid), pg_catalog.pg_get_function_arguments(p.oid) FROM pg_catalog.pg_proc p LEFT JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = 'shop'",
            "SELECT rolname, rolsuper FROM pg_catalog.pg_roles",
            "SELECT datname, pg_catalog.pg_encoding_to_char(encoding) FROM pg_catalog.pg_database",
            "SELECT pg_catalog.obj_description(c.oid, 'pg_class'), pg_catalog.pg_size_pretty(pg_catalog.pg_table_size(c.oid)) FROM pg_class c WHERE relname = 'orders'",
        ],
    );
}

fn driver_introspection(b: &Bench) {
    b.allow();
    pass(
        b,
        &[
            "SELECT table_schema, table_name FROM information_schema.tables WHERE table_type = 'BASE TABLE'",
            "SELECT column_name, data_type, is_nullable, column_default FROM information_schema.columns WHERE table_name = 'orders' ORDER BY ordinal_position",
            "SELECT tc.constraint_name, kcu.column_name FROM information_schema.table_constraints tc JOIN information_schema.key_column_usage kcu ON kcu.constraint_name = tc.constraint_name",
            "SELECT t.oid, t.typname, t.typelem, t.typtype FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace",
            "SELECT enumlabel FROM pg_enum",
            "SELECT oid, typbasetype FROM pg_type WHERE typtype = 'd'",
            "SELECT rngsubtype FROM pg_range",
            "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint",
            "SELECT viewname, definition FROM pg_views WHERE schemaname = 'shop'",
            "SELECT relname, n_live_tup FROM pg_stat_user_tables",
            "SELECT indexrelname, idx_scan FROM pg_stat_user_indexes",
            "SELECT extname FROM pg_extension",
            "SELECT pid, state FROM pg_stat_activity",
            "SELECT to_regtype('hstore')",
            "SELECT has_table_privilege('shop.orders', 'SELECT')",
            "SELECT pg_get_viewdef('shop.customer_list'::regclass)",
            "SELECT col_description('shop.orders'::regclass, 1)",
            "SELECT pg_get_serial_sequence('shop.orders', 'id')",
            "SELECT inhparent::regclass FROM pg_inherits",
            "SELECT name, setting FROM pg_settings",
        ],
    );
}

fn functions_of_tools(b: &Bench) {
    b.allow();
    pass(
        b,
        &[
            "SELECT version()",
            "SELECT current_schema()",
            "SELECT current_schemas(true)",
            "SELECT pg_is_in_recovery()",
            "SELECT current_database(), current_user, session_user",
            "SELECT pg_backend_pid()",
            "SELECT pg_database_size(current_database())",
            "SELECT pg_total_relation_size('shop.orders')",
            "SELECT pg_typeof(now())",
        ],
    );
}

fn analytics(b: &Bench) {
    b.allow();
    pass(
        b,
        &[
            "SELECT date_trunc('month', ordered_at), sum(amount), count(DISTINCT customer_id) FROM shop.orders GROUP BY GROUPING SETS ((1), ())",
            "SELECT percentile_cont(ARRAY[0.25, 0.5, 0.75]) WITHIN GROUP (ORDER BY amount) FROM shop.orders",
            "SELECT corr(id, amount), regr_slope(id, amount) FROM shop.orders",
            "SELECT id, ntile(4) OVER (ORDER BY amount), lag(amount) OVER w, sum(amount) OVER (w ROWS BETWEEN 3 PRECEDING AND CURRENT ROW) FROM shop.orders WINDOW w AS (PARTITION BY status ORDER BY id)",
            "WITH RECURSIVE t(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM t WHERE n < 10) SELECT sum(n) FROM t",
            "SELECT status, count(*) FILTER (WHERE amount > 50) FROM shop.orders GROUP BY ROLLUP (status)",
            "SELECT * FROM shop.orders o CROSS JOIN LATERAL (SELECT name FROM shop.customers c WHERE c.id = o.customer_id) x LIMIT 5",
            "SELECT d::date FROM generate_series(now() - interval '7 days', now(), '1 day') d",
            "SELECT width_bucket(amount, 0, 100, 10), count(*) FROM shop.orders GROUP BY 1",
            "SELECT to_tsvector('english', name) @@ to_tsquery('customer') FROM shop.customers LIMIT 1",
            "SELECT jsonb_path_query('{\"a\":[1,2]}', '$.a[*]')",
            "SELECT regexp_matches(name, '(\\d+)') FROM shop.customers LIMIT 2",
            "SELECT string_to_table('a,b', ','), unnest(ARRAY[1, 2])",
            "SELECT make_date(2024, 1, 1), justify_interval('40 days'), 'a' SIMILAR TO 'a%', overlay('abc' placing 'x' from 2)",
            "SELECT * FROM shop.orders TABLESAMPLE SYSTEM (10)",
            "SELECT * FROM json_to_recordset('[{\"a\":1}]') AS x(a int)",
            "SELECT DISTINCT ON (status) * FROM shop.orders ORDER BY status, amount DESC",
        ],
    );
}

/// What a statement that is refused on purpose has in it; docs/clients.md gives the reasons.
const REFUSED: &[&str] = &[
    "pg_tablespace_location",
    "pg_get_functiondef",
    "pg_describe_object",
    "age(",
    // asyncpg puts back what it found, which is `off` in a confined session.
    "set_config('jit'",
    // A materialized copy of masked columns.
    "shop.contacts",
    "pg_stat_replication",
    "pg_replication_slots",
    "pg_sequence_last_value",
    "pg_sequences",
    "pg_stat_database",
    "pg_prepared_statements",
    "WITH HOLD",
    "SET ROLE",
    "counter",
];

fn refused_on_purpose(text: &str) -> bool {
    let text = text.to_lowercase();
    REFUSED
        .iter()
        .any(|part| text.contains(&part.to_lowercase()))
}

/// Whatever works for a plain role works for a confined one, and shows no raw value.
fn recorded_statements(b: &Bench) {
    b.mask();
    b.setup(
        "SELECT agent_policy.allow_function('@agent@', p.oid) FROM pg_proc p WHERE pronamespace = 'shop'::regnamespace",
    );
    let statements = recorded::statements(b);
    let (mut plain, mut agent) = (b.unconfined(), b.agent());
    let (mut worked, mut failures) = (0, Vec::new());
    for statement in &statements {
        let control = statement.send(&mut plain);
        let answer = statement.send(&mut agent);
        assert!(!answer.closed, "connection lost in {}", statement.origin);
        if let Some(leaked) = bench::leak(&answer.bytes) {
            failures.push(format!(
                "{}: {leaked} in {}",
                statement.origin, statement.text
            ));
        }
        if !control.errors.is_empty() {
            continue;
        }
        match answer.errors.first() {
            None => worked += 1,
            Some(error) if error.code == "42501" && refused_on_purpose(&statement.text) => {}
            Some(error) => {
                failures.push(format!(
                    "{}: {error}\n    {}",
                    statement.origin, statement.text
                ));
            }
        }
    }
    assert!(
        failures.is_empty(),
        "{} differ:\n{}",
        failures.len(),
        failures.join("\n")
    );
    assert!(
        worked * 10 > statements.len() * 8,
        "only {worked} of {} statements say anything",
        statements.len()
    );
}

fn locks_like_those_of_select(b: &Bench) {
    b.allow();
    b.setup("SELECT agent_policy.deny_relation('@agent@', 'shop.hidden')");
    pass(
        b,
        &[
            "BEGIN",
            "LOCK TABLE shop.orders, ONLY shop.customers IN ACCESS SHARE MODE",
            "LOCK shop.customer_list IN ACCESS SHARE MODE NOWAIT",
            "COMMIT",
        ],
    );
    for (sql, rule) in [
        (
            "BEGIN; LOCK TABLE shop.hidden IN ACCESS SHARE MODE",
            "relation_not_allowed",
        ),
        (
            "BEGIN; LOCK TABLE shop.orders, vault.secrets IN ACCESS SHARE MODE",
            "relation_not_allowed",
        ),
        (
            "BEGIN; LOCK TABLE shop.orders IN ROW SHARE MODE",
            "statement_not_allowed",
        ),
        ("BEGIN; LOCK TABLE shop.orders", "statement_not_allowed"),
        (
            "BEGIN; LOCK TABLE pg_authid IN ACCESS SHARE MODE",
            "relation_not_allowed",
        ),
    ] {
        b.denies(sql, "42501", rule);
    }
}

fn pg_dump_of_what_may_be_read(b: &Bench) {
    b.mask();
    let dump = |role: &str, options: &str, arguments: &[&str]| {
        b.cluster
            .program("pg_dump", role, &b.db, options, arguments)
    };
    let email = "-c agent_policy.user_email=alice@example.com";
    let data = dump(
        &b.agent,
        email,
        &[
            "-t",
            "shop.customers",
            "-t",
            "shop.events_2024",
            "--data-only",
        ],
    )
    .expect("what may be read can be dumped");
    assert!(data.contains("c***@example.com") && data.contains("Customer 400"));
    assert_eq!(bench::leak(data.as_bytes()), None);
    let whole = dump(&b.agent, email, &["-t", "shop.orders"]).expect("with its structure, too");
    let control = dump(&b.plain, "", &["-t", "shop.orders"]).expect("control run");
    // What others may do with the table is not the agent's business.
    let others = b.fill("TO @plain@;");
    let without_tokens = |text: &str| -> Vec<String> {
        text.lines()
            .filter(|line| !line.starts_with("\\restrict") && !line.starts_with("\\unrestrict"))
            .filter(|line| !(line.starts_with("GRANT ") && line.ends_with(&others)))
            .map(str::to_owned)
            .collect()
    };
    assert_eq!(
        without_tokens(&whole),
        without_tokens(&control),
        "byte for byte"
    );
    let refused = dump(&b.agent, email, &["-t", "vault.secrets"]).expect_err("may not be read");
    assert!(
        refused.contains("no matching tables were found"),
        "{refused}"
    );
    assert_eq!(bench::leak(refused.as_bytes()), None);
}

fn sequences_of_readable_columns(b: &Bench) {
    b.setup(
        "CREATE TABLE shop.tickets (id int GENERATED ALWAYS AS IDENTITY, no serial, v text);
         INSERT INTO shop.tickets (v) VALUES ('a'), ('b');
         GRANT SELECT ON shop.tickets, shop.tickets_id_seq, shop.tickets_no_seq TO @agent@, @plain@;",
    );
    b.allow();
    assert_eq!(
        b.allows("SELECT last_value FROM shop.tickets_id_seq").one(),
        "2"
    );
    assert_eq!(
        b.allows("SELECT last_value FROM shop.tickets_no_seq").one(),
        "2"
    );
    let of_18 =
        |sequence: &str| format!("SELECT last_value FROM pg_get_sequence_data('shop.{sequence}')");
    if b.version >= 18 {
        assert_eq!(b.allows(&of_18("tickets_id_seq")).one(), "2");
    }
    // Moving it is another matter.
    b.denies(
        "SELECT nextval('shop.tickets_id_seq')",
        "42501",
        "function_not_allowed",
    );
    // A sequence of no column, of a masked or denied column, of a filtered table.
    b.setup("SELECT agent_policy.mask_column('shop.tickets', 'no', 'redact')");
    let mut hidden = vec!["counter", "tickets_no_seq"];
    b.setup("SELECT agent_policy.deny_column('@agent@', 'shop.tickets', 'id')");
    hidden.push("tickets_id_seq");
    for sequence in hidden {
        b.denies(
            &format!("SELECT last_value FROM shop.{sequence}"),
            "42501",
            "relation_not_allowed",
        );
        if b.version >= 18 {
            // Refused where the sequence is not shown, NULL where only its state is hidden.
            let answer = b.agent().simple(&of_18(sequence));
            assert!(
                answer.errors.iter().all(|error| error.code == "42501")
                    && answer.rows.iter().all(|row| row[..] == [None]),
                "{sequence}"
            );
            assert!(
                !(answer.errors.is_empty() && answer.rows.is_empty()),
                "{sequence}"
            );
        }
    }
    b.setup("SELECT agent_policy.reset_column('@agent@', 'shop.tickets', 'id'); SELECT agent_policy.filter_rows('shop.tickets', 'id = 1')");
    b.denies(
        "SELECT last_value FROM shop.tickets_id_seq",
        "42501",
        "relation_not_allowed",
    );
    b.setup("SELECT agent_policy.allow_relation('@agent@', 'shop.counter')");
    b.allows("SELECT last_value FROM shop.counter");
}

/// Catalogs that tools read in passing, in which there is nothing for an agent.
fn catalogs_that_show_nothing(b: &Bench) {
    b.allow();
    b.setup(
        "CREATE FOREIGN DATA WRAPPER quagga_fdw;
         CREATE SERVER quagga_server FOREIGN DATA WRAPPER quagga_fdw OPTIONS (host 'QUAGGA.example');
         CREATE FOREIGN TABLE shop.elsewhere (a int) SERVER quagga_server OPTIONS (token 'QUAGGA');
         ALTER DEFAULT PRIVILEGES IN SCHEMA vault GRANT SELECT ON TABLES TO @plain@;
         CREATE USER MAPPING FOR @agent@ SERVER quagga_server OPTIONS (password 'QUAGGA');
         ALTER ROLE @agent@ SET application_name = 'QUAGGA';
         SELECT lo_create(0);
         GRANT @plain@ TO shop_owner;",
    );
    b.control("SELECT srvoptions FROM pg_foreign_server");
    for catalog in [
        "pg_foreign_server",
        "pg_foreign_data_wrapper",
        "pg_foreign_table",
        "pg_default_acl",
        "pg_event_trigger",
        "pg_init_privs",
        "pg_largeobject_metadata",
        "pg_seclabel",
        "pg_shseclabel",
        "pg_seclabels",
        "pg_db_role_setting",
        "pg_user_mappings",
    ] {
        assert_eq!(
            b.allows(&format!("SELECT count(*) FROM {catalog}")).one(),
            "0",
            "{catalog}"
        );
        let copied = b.allows(&format!("COPY (SELECT * FROM {catalog}) TO STDOUT"));
        assert_eq!(copied.tags, ["COPY 0"], "{catalog}");
    }
    assert_eq!(
        b.allows("SELECT count(subname) FROM pg_subscription").one(),
        "0"
    );
    // Of memberships, the own ones, and those among PostgreSQL's own roles.
    let members = "FROM pg_auth_members WHERE member::regrole::text !~ '^pg_'";
    assert_eq!(b.allows(&format!("SELECT count(*) {members}")).one(), "0");
    b.setup("CREATE ROLE @agent@_group; GRANT @agent@_group TO @agent@");
    assert_eq!(
        b.allows(&format!("SELECT roleid::regrole::text {members}"))
            .one(),
        b.fill("@agent@_group")
    );
    b.setup("DROP SERVER quagga_server CASCADE; DROP FOREIGN DATA WRAPPER quagga_fdw; REVOKE @plain@ FROM shop_owner; DROP ROLE @agent@_group");
}

//! Masks wherever a statement may meet a column: what the chapters before leave out.

use cluster_tests::bench::leak;
use cluster_tests::{Bench, Case, cases};

pub const CASES: &[Case] = cases![
    views_of_every_kind,
    composite_values,
    foreign_tables,
    materialized_views_by_name,
    computed_columns_by_lineage,
    writes_carry_masked_values_only,
    foreign_keys_are_no_oracle,
    functions_of_every_language,
    parallel_and_by_partitions,
    a_denial_of_a_worker_helps,
    explain_in_every_format,
    explain_shows_no_row_level_security,
    explain_shows_no_hidden_computation,
    keys_are_nowhere,
    expressions_that_fail_quote_nothing,
    masks_do_not_stop_what_does_not_read,
];

fn views_of_every_kind(b: &Bench) {
    b.setup(
        "CREATE VIEW shop.invoker WITH (security_invoker) AS SELECT * FROM shop.customers;
         CREATE VIEW shop.invoker_over_owner WITH (security_invoker) AS SELECT id, email AS mail FROM shop.customer_list;
         CREATE VIEW shop.barrier_over_invoker WITH (security_barrier) AS SELECT ssn FROM shop.invoker WHERE id < 50;
         CREATE VIEW shop.joined AS SELECT c.email, o.id AS order_id, rank() OVER (ORDER BY c.ssn) AS place FROM shop.customers c JOIN shop.orders o ON o.customer_id = c.id;
         CREATE VIEW shop.united AS SELECT email AS what FROM shop.customers UNION ALL SELECT payload FROM shop.events;
         CREATE VIEW shop.grouped AS SELECT ssn, count(*) AS n, array_agg(email) AS mails FROM shop.customers GROUP BY ssn;
         CREATE RECURSIVE VIEW shop.chain (id, email) AS SELECT id, email FROM shop.customers WHERE id = 1 UNION ALL SELECT c.id, c.email FROM chain, shop.customers c WHERE c.id = chain.id + 1 AND c.id < 4;
         CREATE VIEW shop.laterally AS SELECT x.v FROM shop.customers c, LATERAL (SELECT c.note AS v UNION ALL SELECT c.email) x;
         CREATE VIEW shop.whole AS SELECT c FROM shop.customers c;
         GRANT SELECT ON ALL TABLES IN SCHEMA shop TO @agent@, @plain@",
    );
    b.mask();
    for view in [
        "invoker",
        "invoker_over_owner",
        "barrier_over_invoker",
        "joined",
        "united",
        "grouped",
        "chain",
        "laterally",
        "whole",
    ] {
        b.masks(&format!("SELECT * FROM shop.{view}"));
        b.masks(&format!("SELECT v FROM shop.{view} v"));
    }
    // The order of a window and the groups are those of masked values.
    assert_eq!(b.allows("SELECT max(place) FROM shop.joined").one(), "1");
    assert_eq!(
        b.allows("SELECT ssn, n FROM shop.grouped").texts(),
        [["***", "401"]]
    );
    assert!(
        b.allows("SELECT 1 FROM shop.invoker WHERE ssn = '811-22-0001'")
            .rows
            .is_empty()
    );
    // A view is not masked by its own name: the hint leads to the table.
    let error = b.setup_error("SELECT agent_policy.mask_column('shop.invoker', 'email')");
    assert!(
        error.code == "42809" && error.hint.contains("shop.customers"),
        "{error}"
    );
}

/// Row types in columns, arrays, parameters and results.
fn composite_values(b: &Bench) {
    b.setup(
        "CREATE TABLE shop.kept (id int, was shop.customers, pair shop.vips[]);
         INSERT INTO shop.kept SELECT 1, c, NULL FROM ONLY shop.customers c WHERE id = 1;
         GRANT SELECT ON shop.kept TO @agent@, @plain@",
    );
    b.mask();
    // A copy in a column of its own is a column of its own.
    b.setup("SELECT agent_policy.mask_column('shop.kept', 'was', 'null')");
    for sql in [
        "SELECT was, (was).email FROM shop.kept",
        "SELECT k FROM shop.kept k",
        "SELECT ARRAY(SELECT c FROM shop.customers c)",
        "SELECT array_agg(c) FROM shop.customers c",
        "SELECT (array_agg(c ORDER BY c.id))[1].email FROM shop.customers c",
        "SELECT ROW(c.email, c.ssn), (ROW(c.*)).f3 FROM shop.customers c WHERE id = 1",
        "SELECT to_jsonb(c) ->> 'email', row_to_json(c), json_build_array(c) FROM shop.customers c WHERE id = 1",
        "SELECT (jsonb_populate_record(NULL::shop.customers, to_jsonb(c))).ssn FROM shop.customers c WHERE id = 1",
        "SELECT c = d, c::text, hash_record(c) FROM shop.customers c JOIN shop.customers d USING (id) WHERE id = 1",
        "SELECT c.*, d.* FROM shop.customers c NATURAL JOIN shop.customers d",
    ] {
        b.masks(sql);
    }
    // Records with raw values do not compare equal to what is shown.
    assert!(b.allows("SELECT 1 FROM shop.customers c WHERE c.ssn = '811-22-0001' OR (c.email, c.ssn) = ('c1@okapi.test', '811-22-0001')").rows.is_empty());
}

fn available(b: &Bench, extension: &str) -> bool {
    b.value(&format!(
        "SELECT count(*) FROM pg_available_extensions WHERE name = '{extension}'"
    )) == "1"
}

/// A server `loop`, which is this one, as the plain role; false where postgres_fdw is not installed.
pub fn another_server(b: &Bench) -> bool {
    if !available(b, "postgres_fdw") {
        return false;
    }
    let port = b.value("SHOW port");
    let socket = b.value("SELECT split_part(current_setting('unix_socket_directories'), ',', 1)");
    b.setup(&format!(
        "CREATE EXTENSION postgres_fdw;
         CREATE SERVER loop FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '{socket}', port '{port}', dbname '@db@');
         CREATE USER MAPPING FOR PUBLIC SERVER loop OPTIONS (user '@plain@', password_required 'false')"
    ));
    true
}

/// A table whose rows come from elsewhere: by its own name only, masked like any other.
fn foreign_tables(b: &Bench) {
    b.setup(
        "CREATE FOREIGN DATA WRAPPER nowhere; CREATE SERVER void FOREIGN DATA WRAPPER nowhere;
         CREATE FOREIGN TABLE shop.void (id int, email text) SERVER void; GRANT SELECT ON shop.void TO @agent@, @plain@",
    );
    b.mask();
    b.setup("SELECT agent_policy.mask_column('shop.void', 'email', 'email')");
    b.denies(
        "SELECT email FROM shop.void",
        "42501",
        "relation_not_allowed",
    );
    b.setup("SELECT agent_policy.allow_relation('@agent@', 'shop.void')");
    let planned =
        b.setup("SELECT verdict, masked_columns FROM agent_policy.check('@agent@', 'SELECT 1')");
    assert_eq!(planned.text(0, 0), "allowed");
    if !another_server(b) {
        return;
    }
    b.setup(
        "CREATE FOREIGN TABLE shop.far (id int, email text, ssn text, salary numeric) SERVER loop OPTIONS (schema_name 'shop', table_name 'customers');
         GRANT SELECT ON shop.far TO @agent@, @plain@;
         SELECT agent_policy.allow_relation('@agent@', 'shop.far');
         SELECT agent_policy.mask_column('shop.far', 'email', 'email'); SELECT agent_policy.mask_column('shop.far', 'ssn');
         SELECT agent_policy.mask_column('shop.far', 'salary', 'bucket', '{\"size\": 1000000}')",
    );
    for sql in [
        "SELECT * FROM shop.far",
        "SELECT f FROM shop.far f",
        "SELECT max(ssn), min(email) FROM shop.far",
        "SELECT a.email FROM shop.far a JOIN shop.far b USING (id)",
        "SELECT email FROM shop.far ORDER BY ssn LIMIT 3",
    ] {
        b.masks(sql);
    }
    // Grouped on the other server or here, alone and as a partition.
    b.setup(
        "CREATE TABLE shop.halves (id int, email text, ssn text) PARTITION BY RANGE (id);
         CREATE TABLE shop.near_half PARTITION OF shop.halves FOR VALUES FROM (0) TO (1);
         CREATE FOREIGN TABLE shop.far_half PARTITION OF shop.halves FOR VALUES FROM (1) TO (9000) SERVER loop OPTIONS (schema_name 'shop', table_name 'customers');
         GRANT SELECT ON shop.halves TO @agent@, @plain@;
         SELECT agent_policy.allow_relation('@agent@', 'shop.halves'), agent_policy.allow_relation('@agent@', 'shop.far_half');
         SELECT agent_policy.mask_column('shop.halves', 'email', 'email'); SELECT agent_policy.mask_column('shop.halves', 'ssn')",
    );
    for setting in ["off", "on"] {
        for role in ["@agent@", "@plain@"] {
            for name in ["join", "aggregate"] {
                b.setup(&format!(
                    "ALTER ROLE {role} SET enable_partitionwise_{name} = {setting}"
                ));
            }
        }
        for sql in [
            "SELECT email, count(*) FROM shop.far GROUP BY email",
            "SELECT email::varchar FROM shop.far GROUP BY email, ssn ORDER BY max(ssn)",
            "SELECT email, count(*), max(ssn) FROM shop.halves GROUP BY email",
            "SELECT id, max(email) FROM shop.halves GROUP BY id",
            "SELECT a.email, b.ssn FROM shop.halves a JOIN shop.halves b USING (id)",
        ] {
            b.masks(sql);
        }
    }
    // What is pushed down asks for masked values, too.
    for sql in [
        "SELECT id FROM shop.far WHERE ssn = '811-22-0001'",
        "SELECT id FROM shop.far WHERE salary > 881000",
        "SELECT id FROM shop.far WHERE email LIKE 'c1@%'",
    ] {
        assert!(
            !b.unconfined().query(sql).rows.is_empty(),
            "control run: {sql}"
        );
        assert!(b.allows(sql).rows.is_empty(), "{sql}");
    }
    // Rows that are changed there come back raw, and are shown as masks.
    b.setup(
        "CREATE FOREIGN TABLE shop.far_away (id int, email text, region text, note text) SERVER loop OPTIONS (schema_name 'shop', table_name 'customers');
         GRANT ALL ON shop.far_away TO @agent@, @plain@;
         SELECT agent_policy.protect_role('@agent@', 'read_write'), agent_policy.allow_relation('@agent@', 'shop.far_away', 'write');
         SELECT agent_policy.mask_column('shop.far_away', 'email', 'email'), agent_policy.mask_column('shop.far_away', 'note')",
    );
    for sql in [
        "UPDATE shop.far_away SET region = 'x' WHERE id = 3 RETURNING *",
        "UPDATE shop.far_away SET region = 'x' WHERE id = 3 RETURNING far_away, (far_away).note",
        "UPDATE shop.far_away SET region = random()::text WHERE id = 3 RETURNING email, note",
        "UPDATE shop.far_away f SET region = 'x' FROM shop.far g WHERE f.id = g.id AND f.id = 3 RETURNING f.email, g.ssn, f, g",
        "UPDATE shop.far_away f SET region = o.status FROM shop.orders o WHERE f.id = o.id AND f.id = 3 RETURNING f.email, o.status",
        "DELETE FROM shop.far_away WHERE id = 9001 RETURNING email, far_away",
    ] {
        b.masks(&format!("BEGIN; {sql}; ROLLBACK"));
    }
    b.denies(
        "UPDATE shop.far_away SET region = 'x' WHERE note = 'QUAGGA 3' RETURNING note",
        "42501",
        "masked_column_write",
    );
}

fn materialized_views_by_name(b: &Bench) {
    b.setup(
        "CREATE VIEW shop.between AS SELECT id, email FROM shop.customers;
         CREATE MATERIALIZED VIEW shop.second AS SELECT id, email AS contact FROM shop.between;
         CREATE MATERIALIZED VIEW shop.third AS SELECT contact FROM shop.second;
         CREATE VIEW shop.over_copy AS SELECT contact FROM shop.contacts;
         GRANT SELECT ON shop.second, shop.third, shop.over_copy TO @agent@, @plain@",
    );
    b.mask();
    for sql in [
        "SELECT * FROM shop.contacts",
        "SELECT * FROM shop.second",
        "SELECT * FROM shop.third",
        "SELECT * FROM shop.over_copy",
        "COPY (SELECT * FROM shop.second) TO STDOUT",
    ] {
        b.hides(sql);
    }
    // By name it is the DBA's word, and may have masks of its own.
    b.setup("SELECT agent_policy.allow_relation('@agent@', 'shop.contacts'); SELECT agent_policy.mask_column('shop.contacts', 'contact', 'email')");
    b.masks("SELECT * FROM shop.contacts");
    b.masks("SELECT * FROM shop.over_copy");
}

fn computed_columns_by_lineage(b: &Bench) {
    b.setup(
        "CREATE TABLE shop.parts (id int, ssn text, plain int, tail text GENERATED ALWAYS AS ('QUAGGA' || right(ssn, 4)) STORED, twice int GENERATED ALWAYS AS (plain * 2) STORED) PARTITION BY LIST (plain);
         CREATE TABLE shop.parts_1 PARTITION OF shop.parts FOR VALUES IN (1);
         INSERT INTO shop.parts (id, ssn, plain) SELECT 7, '811-22-000' || i % 7, 1 FROM generate_series(1, 300) i;
         CREATE INDEX ON shop.parts_1 ((ssn || 'x'));
         CREATE STATISTICS shop.together (dependencies, mcv) ON ssn, tail FROM shop.parts_1; ANALYZE shop.parts_1;
         GRANT SELECT ON shop.parts, shop.parts_1 TO @agent@, @plain@",
    );
    b.mask();
    b.setup("SELECT agent_policy.mask_column('shop.parts', 'ssn')");
    for table in ["shop.parts", "shop.parts_1"] {
        b.masks(&format!("SELECT * FROM {table}"));
        b.masks(&format!("SELECT tail FROM {table}"));
        assert_eq!(
            b.allows(&format!("SELECT DISTINCT tail, twice FROM {table}"))
                .texts(),
            [["∅", "2"]],
            "only what is computed from a masked column is hidden"
        );
        assert!(
            b.allows(&format!("SELECT 1 FROM {table} WHERE tail LIKE '%0007'"))
                .rows
                .is_empty()
        );
    }
    // Who owns the table may natively look at its extended statistics.
    b.setup("GRANT SELECT ON pg_statistic_ext_data TO @agent@; ALTER TABLE shop.parts_1 OWNER TO @agent@; ALTER STATISTICS shop.together OWNER TO @agent@");
    for sql in [
        "SELECT most_common_vals::text FROM pg_stats_ext",
        "SELECT m.values::text FROM pg_statistic_ext_data d, pg_mcv_list_items(d.stxdmcv) m",
    ] {
        assert!(leak(&b.setup(sql).bytes).is_some(), "control run: {sql}");
        assert_eq!(leak(&b.agent().simple(sql).bytes), None, "{sql}");
    }
    if b.version >= 17 {
        // A partition may compute the column from something else than its parent does.
        b.setup(
            "CREATE TABLE shop.odd_parts (k int, ssn text, shown text GENERATED ALWAYS AS (k::text) STORED) PARTITION BY LIST (k);
             CREATE TABLE shop.odd_parts_1 (k int, ssn text, shown text GENERATED ALWAYS AS ('QUAGGA' || right(ssn, 4)) STORED);
             ALTER TABLE shop.odd_parts ATTACH PARTITION shop.odd_parts_1 FOR VALUES IN (1);
             INSERT INTO shop.odd_parts (k, ssn) VALUES (1, '811-22-0001'); GRANT SELECT ON shop.odd_parts, shop.odd_parts_1 TO @agent@, @plain@;
             SELECT agent_policy.mask_column('shop.odd_parts', 'ssn')",
        );
        b.masks("SELECT shown FROM shop.odd_parts");
        b.masks("SELECT shown FROM shop.odd_parts_1");
    }
    if b.version >= 18 {
        b.setup(
            "CREATE TABLE shop.virtually (id int, ssn text, tail text GENERATED ALWAYS AS ('QUAGGA' || right(ssn, 4)), whole text GENERATED ALWAYS AS (id::text));
             INSERT INTO shop.virtually (id, ssn) VALUES (1, '811-22-0001'); CREATE VIEW shop.virtual_view AS SELECT tail, whole FROM shop.virtually;
             GRANT SELECT ON shop.virtually, shop.virtual_view TO @agent@, @plain@; SELECT agent_policy.mask_column('shop.virtually', 'ssn')",
        );
        for sql in [
            "SELECT * FROM shop.virtually",
            "SELECT tail FROM shop.virtual_view",
            "SELECT v FROM shop.virtually v",
            "SELECT max(tail) FROM shop.virtually GROUP BY id HAVING count(*) = 1",
        ] {
            b.masks(sql);
        }
        assert_eq!(b.allows("SELECT whole FROM shop.virtual_view").one(), "1");
    }
}

fn writable(b: &Bench) {
    b.mask();
    b.setup("SELECT agent_policy.protect_role('@agent@', 'read_write'); SELECT agent_policy.allow_schema('@agent@', 'shop', 'write')");
}

/// By whichever statement a read_write role moves rows: masked values are what arrives.
fn writes_carry_masked_values_only(b: &Bench) {
    writable(b);
    b.setup("CREATE TABLE shop.target (id int PRIMARY KEY, v text, w text); GRANT ALL ON shop.target TO @agent@, @plain@");
    let merge = b.version >= 15;
    let mut statements = vec![
        "INSERT INTO shop.target SELECT id, email, ssn FROM shop.customers WHERE id < 5",
        "INSERT INTO shop.target SELECT 11, c::text, to_jsonb(c)::text FROM shop.customers c WHERE id = 1",
        "INSERT INTO shop.target VALUES (12, (SELECT ssn FROM shop.customers WHERE id = 1), NULL)",
        "INSERT INTO shop.target VALUES (1, 'x', NULL) ON CONFLICT (id) DO UPDATE SET w = (SELECT email FROM shop.customers WHERE id = 1)",
        "UPDATE shop.target t SET v = c.email, w = c.ssn FROM shop.customers c WHERE c.id = t.id",
        "UPDATE shop.target SET (v, w) = (SELECT email, ssn FROM shop.customers WHERE id = 2) WHERE id = 2",
        "WITH moved AS (INSERT INTO shop.target SELECT 20 + id, note, ssn FROM shop.customers WHERE id < 3 RETURNING *) SELECT * FROM moved",
        "WITH c AS (SELECT * FROM shop.customers) INSERT INTO shop.target SELECT 30 + id, email, profile::text FROM c WHERE id < 3",
        "DELETE FROM shop.target t USING shop.customers c WHERE c.id = t.id RETURNING t.*, c.email, c.ssn",
        "INSERT INTO shop.target SELECT 40 + id, payload, email FROM shop.events WHERE id < 5 RETURNING *",
    ];
    if merge {
        statements.push("MERGE INTO shop.target t USING shop.customers c ON c.id = t.id WHEN MATCHED THEN UPDATE SET v = c.email WHEN NOT MATCHED AND c.id < 9 THEN INSERT VALUES (c.id, c.email, c.ssn)");
    }
    for sql in statements {
        // The control run: for who is not confined raw values arrive.
        let control = format!("BEGIN; {sql}; SELECT v, w FROM shop.target; ROLLBACK");
        let mut plain = b.unconfined();
        let mut bytes = Vec::new();
        for part in cluster_tests::sql::split(&control) {
            bytes.extend(plain.simple(&part).bytes);
        }
        assert!(leak(&bytes).is_some(), "control run: {sql}");
        let answer = b.agent().simple(sql);
        if let Some(error) = answer.errors.first() {
            panic!("{sql}: {error}");
        }
        assert_eq!(leak(&answer.bytes), None, "{sql}");
        let arrived = b.setup("SELECT v, w FROM shop.target");
        assert_eq!(leak(&arrived.bytes), None, "raw values arrive by: {sql}");
    }
    for sql in [
        "INSERT INTO shop.customers (id, name, email) VALUES (6000, 'x', 'c1@okapi.test')",
        "INSERT INTO shop.customers (id, name, email) VALUES (6000, 'x', 'c1@okapi.test') ON CONFLICT DO NOTHING",
        "UPDATE shop.customers SET name = (SELECT c.email FROM shop.customers c WHERE c.id = shop.customers.id AND c.ssn = shop.customers.ssn)",
        "DELETE FROM shop.customers WHERE shop.customers = ROW(1)",
    ] {
        let answer = b.agent().simple(sql);
        let error = answer
            .errors
            .first()
            .unwrap_or_else(|| panic!("no denial: {sql}"));
        assert!(
            error.code == "42501" || error.code.starts_with("42"),
            "{sql}: {error}"
        );
        assert_eq!(leak(answer.errors[0].message.as_bytes()), None);
    }
    // COPY FROM writes columns, and reads none.
    b.denies(
        "COPY shop.customers (id, name, ssn) FROM STDIN",
        "42501",
        "masked_column_write",
    );
}

/// Whether a row can refer to a masked value tells that the value is there.
fn foreign_keys_are_no_oracle(b: &Bench) {
    writable(b);
    b.setup(
        "CREATE TABLE shop.mentions (id int, mail text REFERENCES shop.customers (email), customer int REFERENCES shop.customers);
         GRANT ALL ON shop.mentions TO @agent@, @plain@",
    );
    let guess = "INSERT INTO shop.mentions (id, mail) VALUES (1, 'c1@okapi.test')";
    b.unconfined().query(guess);
    assert_eq!(
        b.unconfined()
            .error("INSERT INTO shop.mentions (id, mail) VALUES (1, 'nobody')")
            .code,
        "23503",
        "control run: it tells"
    );
    for sql in [
        guess,
        "INSERT INTO shop.mentions (id, mail) VALUES (1, 'nobody')",
        "UPDATE shop.mentions SET mail = 'c2@okapi.test'",
        "COPY shop.mentions (mail) FROM STDIN",
    ] {
        b.denies(sql, "42501", "masked_column_write");
    }
    // Keys that are not masked serve as before, and the server's own checks see raw values.
    b.agent()
        .query("INSERT INTO shop.mentions (id, customer) VALUES (2, 5)");
    assert_eq!(
        b.agent()
            .error("INSERT INTO shop.mentions (id, customer) VALUES (2, 77777)")
            .code,
        "23503"
    );
    b.agent().query("DELETE FROM shop.mentions WHERE id = 2");
    let error = b.agent().error("DELETE FROM shop.customers WHERE id = 1");
    assert_eq!(error.code, "23503", "{error}");
    assert_eq!(leak(error.detail.as_bytes()), None, "{error}");
}

fn functions_of_every_language(b: &Bench) {
    b.setup(
        "SET ROLE shop_owner;
         CREATE FUNCTION shop.f_dynamic() RETURNS SETOF text LANGUAGE plpgsql AS $$ BEGIN RETURN QUERY EXECUTE 'SELECT email FROM ' || 'shop.customers'; END $$;
         CREATE FUNCTION shop.f_cursor() RETURNS text LANGUAGE plpgsql AS $$ DECLARE c CURSOR FOR SELECT ssn FROM shop.customers; r record; BEGIN OPEN c; FETCH c INTO r; CLOSE c; RETURN r.ssn; END $$;
         CREATE FUNCTION shop.f_loop() RETURNS text LANGUAGE plpgsql AS $$ DECLARE r shop.customers; t text := ''; BEGIN FOR r IN SELECT * FROM shop.customers LOOP t := t || r.email; RAISE NOTICE '%', r.note; END LOOP; RETURN t; END $$;
         CREATE FUNCTION shop.f_table() RETURNS TABLE (e text, s text) LANGUAGE sql SECURITY DEFINER SET search_path = shop AS 'SELECT email, ssn FROM customers';
         CREATE FUNCTION shop.f_atomic(OUT e text) LANGUAGE sql SECURITY DEFINER BEGIN ATOMIC SELECT max(email) FROM shop.customers; END;
         CREATE FUNCTION shop.f_row(i int) RETURNS shop.customers LANGUAGE sql STABLE AS 'SELECT * FROM shop.customers WHERE id = i';
         CREATE FUNCTION shop.f_argument(c shop.customers) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN c.email || c.ssn; END $$;
         CREATE FUNCTION shop.f_ref() RETURNS refcursor LANGUAGE plpgsql AS $$ DECLARE c refcursor := 'ref'; BEGIN OPEN c FOR SELECT note FROM shop.customers; RETURN c; END $$;
         CREATE FUNCTION shop.f_error() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN (SELECT ssn::int FROM shop.customers WHERE id = 1); END $$;
         CREATE FUNCTION shop.f_caught() RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM ssn::int FROM shop.customers WHERE id = 1; RETURN ''; EXCEPTION WHEN OTHERS THEN RETURN SQLERRM; END $$;
         CREATE AGGREGATE shop.f_agg(text) (sfunc = textcat, stype = text);
         CREATE PROCEDURE shop.f_procedure(INOUT t text) LANGUAGE plpgsql AS $$ BEGIN SELECT email INTO t FROM shop.customers WHERE id = 1; END $$;
         RESET ROLE",
    );
    b.mask();
    b.setup("SELECT agent_policy.allow_function('@agent@', p.oid::regprocedure) FROM pg_proc p WHERE pronamespace = 'shop'::regnamespace AND proname LIKE 'f\\_%'");
    for sql in [
        "SELECT shop.f_dynamic()",
        "SELECT shop.f_cursor()",
        "SELECT shop.f_loop()",
        "SELECT * FROM shop.f_table()",
        "SELECT shop.f_atomic()",
        "SELECT (shop.f_row(1)).*",
        "SELECT f.email FROM shop.orders o, LATERAL shop.f_row(o.customer_id) f WHERE o.id = 1",
        "SELECT shop.f_argument(c) FROM shop.customers c WHERE id = 1",
        "SELECT c.f_argument FROM shop.customers c WHERE id = 1"
            .replace("c.f_argument", "shop.f_argument(c.*)")
            .as_str(),
        "BEGIN; SELECT shop.f_ref(); FETCH 3 FROM ref; COMMIT",
        "SELECT shop.f_caught()",
        "SELECT shop.f_agg(email) FROM shop.customers",
    ] {
        b.masks(sql);
    }
    b.hides("SELECT shop.f_error()");
    b.hides("CALL shop.f_procedure(NULL)");
    b.hides(
        "DO $$ BEGIN RAISE NOTICE '%', (SELECT email FROM shop.customers WHERE id = 1); END $$",
    );
}

/// Compiled is nothing of a confined session: jit is pinned off there, c21 has a test.
fn parallel_and_by_partitions(b: &Bench) {
    b.mask();
    b.in_workers();
    b.setup(
        "ALTER DATABASE @db@ SET enable_partitionwise_join = on; ALTER DATABASE @db@ SET enable_partitionwise_aggregate = on",
    );
    for sql in [
        "SELECT email, ssn, born, salary FROM shop.customers",
        "SELECT max(ssn), min(email), sum(salary), count(DISTINCT note) FROM shop.customers",
        "SELECT email, count(*) FROM shop.events GROUP BY email",
        "SELECT a.payload FROM shop.events a JOIN shop.events b USING (at, email)",
        "SELECT c.email FROM shop.customers c JOIN shop.orders o ON o.customer_id = c.id ORDER BY c.ssn",
    ] {
        for mut wire in [b.unconfined(), b.agent()] {
            let plan = wire.query(&format!("EXPLAIN {sql}")).column().join("\n");
            assert!(plan.contains("Gather"), "{sql}: {plan}");
        }
        b.masks(sql);
    }
}

/// What a worker refuses says what would pass, as the leader does.
fn a_denial_of_a_worker_helps(b: &Bench) {
    b.allow();
    let sql = "SELECT has_table_privilege('nobody'::name, c.oid, 'SELECT') FROM pg_class c";
    let of_leader = b.denies(sql, "42501", "relation_not_allowed");
    b.in_workers();
    let plan = b
        .agent()
        .query(&format!("EXPLAIN {sql}"))
        .column()
        .join("\n");
    assert!(plan.contains("Gather"), "{plan}");
    let of_worker = b.denies(sql, "42501", "relation_not_allowed");
    assert_eq!(of_worker.hint, of_leader.hint);
    assert!(
        of_worker.hint.contains("shop.customers"),
        "{}",
        of_worker.hint
    );
}

fn explain_in_every_format(b: &Bench) {
    b.mask();
    b.setup("SELECT agent_policy.mask_column('shop.customers', 'email', 'hash'); SELECT agent_policy.filter_rows('shop.orders', $$status = 'QUAGGA'$$)");
    let newer = [
        (16, "GENERIC_PLAN"),
        (17, "MEMORY"),
        (17, "ANALYZE, SERIALIZE"),
    ];
    let mut options: Vec<String> = [
        "",
        "COSTS OFF",
        "VERBOSE",
        "ANALYZE",
        "ANALYZE, BUFFERS, TIMING, WAL, VERBOSE",
        "SETTINGS, SUMMARY",
    ]
    .map(str::to_owned)
    .to_vec();
    options.extend(
        newer
            .iter()
            .filter(|(v, _)| b.version >= *v)
            .map(|(_, o)| (*o).to_owned()),
    );
    for format in ["TEXT", "XML", "JSON", "YAML"] {
        for option in &options {
            let comma = if option.is_empty() { "" } else { ", " };
            let sql = format!(
                "EXPLAIN (FORMAT {format}{comma}{option}) SELECT c.email, c.ssn FROM shop.customers c JOIN shop.orders o ON o.customer_id = c.id WHERE c.ssn > 'x'"
            );
            let answer = b.allows(&sql);
            let text = answer.column().join("\n");
            assert!(text.contains("customers"), "{sql}: {text}");
            for secret in [
                "mask_",
                "agent_policy",
                "QUAGGA",
                "***",
                "Rows Removed",
                "Rows-Removed",
                "Plan Rows",
                "Plan-Rows",
                "Actual",
                "rows=",
                "cost=",
            ] {
                assert!(!text.contains(secret), "{sql} shows {secret}:\n{text}");
            }
            assert_eq!(leak(&answer.bytes), None, "{sql}");
        }
    }
}

/// Policies of the server's own row-level security, which pg_policy does not show either.
fn explain_shows_no_row_level_security(b: &Bench) {
    b.setup(
        "CREATE TABLE shop.guards (who text); INSERT INTO shop.guards VALUES ('zebu9');
         CREATE TABLE shop.guarded (id int PRIMARY KEY, owner text, note text);
         INSERT INTO shop.guarded SELECT i, 'zebu' || i, 'x' FROM generate_series(1, 50) i;
         ALTER TABLE shop.guarded ENABLE ROW LEVEL SECURITY;
         CREATE POLICY p ON shop.guarded USING (owner = 'zebu7' OR owner IN (SELECT who FROM shop.guards WHERE who <> 'zebu8'));
         GRANT SELECT, INSERT, UPDATE ON shop.guarded, shop.guards TO @agent@, @plain@",
    );
    b.allow();
    let statements = [
        "SELECT * FROM shop.guarded",
        "SELECT count(*) FROM shop.guarded WHERE note = 'x'",
        "SELECT o.id FROM shop.orders o JOIN shop.guarded g USING (id)",
        "SELECT (SELECT count(*) FROM shop.guarded) AS n",
        "WITH g AS MATERIALIZED (SELECT * FROM shop.guarded) SELECT * FROM g",
    ];
    let unseen = |statements: &[&str]| {
        for sql in statements {
            for how in [
                "EXPLAIN",
                "EXPLAIN (VERBOSE)",
                "EXPLAIN (ANALYZE, VERBOSE, FORMAT JSON)",
            ] {
                let explain = format!("{how} {sql}");
                let answer = b.allows(&explain);
                assert!(answer.shows("guarded"), "{explain}");
                for secret in ["zebu", "guards", "Rows Removed"] {
                    assert!(
                        !answer.shows(secret),
                        "{explain} shows {secret}: {:?}",
                        answer.column()
                    );
                }
            }
            assert!(
                b.unconfined()
                    .query(&format!("EXPLAIN {sql}"))
                    .shows("zebu"),
                "control run: {sql}"
            );
        }
    };
    unseen(&statements);
    // Prepared and planned for EXECUTE, it is shown no more than that.
    let mut agent = b.agent();
    agent.query("PREPARE g AS SELECT * FROM shop.guarded");
    agent.query("EXECUTE g");
    let answer = agent.simple("EXPLAIN (VERBOSE) EXECUTE g");
    assert_eq!(answer.err().code, "42501", "{}", answer.err());
    assert!(!answer.shows("zebu"));
    // Where it leaves nothing out for whom it counts, EXPLAIN is as ever.
    b.setup(
        "CREATE VIEW shop.of_owner AS SELECT id FROM shop.guarded; GRANT SELECT ON shop.of_owner TO @agent@",
    );
    b.allows("EXPLAIN SELECT id FROM shop.of_owner");
    // The statements themselves get the rows that they may see, and no others.
    assert_eq!(b.allows("SELECT count(*) FROM shop.guarded").one(), "2");
    // Beside masks, too.
    b.setup("SELECT agent_policy.mask_column('shop.guarded', 'note')");
    unseen(&statements);
    // And where rows are written.
    b.setup(
        "SELECT agent_policy.unmask_column('shop.guarded', 'note');
         SELECT agent_policy.protect_role('@agent@', 'read_write');
         SELECT agent_policy.allow_relation('@agent@', 'shop.guarded', 'write')",
    );
    unseen(&["UPDATE shop.guarded SET note = 'y' WHERE id = 3"]);
    let answer = b.allows("EXPLAIN (VERBOSE) INSERT INTO shop.guarded VALUES (99, 'mine', 'x')");
    assert!(!answer.shows("zebu") && !answer.shows("guards"));
    assert_eq!(
        b.value("SELECT count(*) FROM shop.guarded WHERE note = 'y' OR id = 99"),
        "0"
    );
    // A policy that only watches leaves plans as they are.
    b.setup("SELECT agent_policy.protect_role('@agent@', 'read_only', 'monitor')");
    assert!(
        b.agent()
            .query("EXPLAIN SELECT * FROM shop.guarded")
            .shows("zebu7")
    );
}

/// A virtual column stands in a plan as its expression, which pg_attrdef hides where it reads what is masked.
fn explain_shows_no_hidden_computation(b: &Bench) {
    if b.version < 18 {
        return;
    }
    b.setup(
        "CREATE TABLE shop.worked (id int, a int, b int GENERATED ALWAYS AS (a * 7340) VIRTUAL, c int GENERATED ALWAYS AS (id * 4242) VIRTUAL);
         INSERT INTO shop.worked (id, a) VALUES (1, 2); GRANT SELECT ON shop.worked TO @agent@, @plain@",
    );
    b.allow();
    assert!(
        b.allows("EXPLAIN (VERBOSE) SELECT b FROM shop.worked")
            .shows("7340"),
        "control run"
    );
    b.setup("SELECT agent_policy.mask_column('shop.worked', 'a')");
    for sql in [
        "EXPLAIN (VERBOSE) SELECT b FROM shop.worked",
        "EXPLAIN SELECT id FROM shop.worked WHERE b > 1",
        "EXPLAIN SELECT * FROM shop.worked ORDER BY b",
        "EXPLAIN (VERBOSE) SELECT w FROM shop.worked w",
        "EXPLAIN SELECT (SELECT max(b) FROM shop.worked)",
    ] {
        let error = b.denies(sql, "42501", "statement_not_allowed");
        assert!(!error.to_string().contains("7340"), "{error}");
    }
    // The others are as they were.
    let answer = b.allows("EXPLAIN (VERBOSE) SELECT id, a, c FROM shop.worked");
    assert!(answer.shows("4242") && !answer.shows("7340"));
    assert_eq!(
        b.allows("SELECT b, c FROM shop.worked").texts(),
        [["∅", "4242"]]
    );
}

/// The key of the mask "hash": in no plan, no log, no dump, and within reach of nobody.
fn keys_are_nowhere(b: &Bench) {
    b.mask();
    b.setup("SELECT agent_policy.mask_column('shop.customers', 'ssn', 'hash')");
    let key = b.value("SELECT encode(mask_key, 'hex') FROM agent_policy.policy_secret");
    assert_eq!(key.len(), 64);
    b.setup("ALTER ROLE @agent@ SET debug_print_plan = on; ALTER ROLE @agent@ SET debug_print_rewritten = on; ALTER ROLE @agent@ SET debug_print_parse = on; ALTER ROLE @agent@ SET log_min_messages = debug5");
    let hashed = b
        .allows("SELECT ssn FROM shop.customers WHERE id = 1")
        .one();
    assert_eq!(hashed.len(), 16);
    let plan = b.setup(
        "EXPLAIN (VERBOSE, FORMAT JSON) SELECT agent_policy.mask_hash(ssn, 16) FROM shop.customers",
    );
    assert!(!plan.shows(&key) && !plan.shows(&key[..16]));
    let log = b.cluster.log();
    for secret in [key.as_str(), &key.to_uppercase()] {
        assert!(!log.contains(secret), "the key is in the server's log");
    }
    // pg_dump carries what is configuration of the extension: not the key.
    assert_eq!(
        b.value("SELECT 'agent_policy.policy_secret'::regclass = ANY (extconfig) FROM pg_extension WHERE extname = 'agent_policy'"),
        "f"
    );
    b.setup("GRANT USAGE ON SCHEMA agent_policy TO @agent@; GRANT SELECT ON agent_policy.policy_secret TO @agent@; GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA agent_policy TO @agent@");
    for sql in [
        "SELECT mask_key FROM agent_policy.policy_secret",
        "SELECT agent_policy.mask_hash('811-22-0001', 16)",
        "SELECT agent_policy.mask_json('{\"a\": \"811-22-0001\"}', '{\"$.a\": \"hash\"}')",
        "SELECT agent_policy.mask_each(ARRAY['811-22-0001'], 'agent_policy.mask_hash(text,int)'::regprocedure, 16)",
        "SELECT agent_policy.mask_each(ARRAY['811-22-0001'], 'agent_policy.mask_email(text)'::regprocedure)",
        "SELECT c.id FROM shop.customers c JOIN (VALUES ('811-22-0001')) v(g) ON c.ssn = agent_policy.mask_hash(v.g, 16)",
        "SELECT 1 WHERE agent_policy.mask_hash(1::bigint) > 0",
    ] {
        let answer = b.agent().simple(sql);
        assert!(!answer.errors.is_empty(), "an agent may: {sql}");
        assert!(!answer.shows(&hashed) && !answer.shows(&key), "{sql}");
    }
    // Of those that are not protected only superusers and who was given the right.
    assert_eq!(
        b.unconfined()
            .error("SELECT * FROM agent_policy.policy_secret")
            .code,
        "42501"
    );
}

/// An expression of the DBA's may fail on a value: the error must not quote it.
fn expressions_that_fail_quote_nothing(b: &Bench) {
    b.setup(
        "CREATE TABLE shop.raw (id int, birth text, note text, amount text);
         INSERT INTO shop.raw VALUES (1, '31/02/1980-okapi.test', 'QUAGGA', '1'), (2, '1980-01-01', 'x', '{\"okapi.test\": oops');
         CREATE FUNCTION shop.complain(t text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'bad value %', t USING DETAIL = t, HINT = t; END $$;
         GRANT SELECT ON shop.raw TO @agent@, @plain@",
    );
    b.allow();
    b.setup(
        r#"SELECT agent_policy.mask_column('shop.raw', 'birth', 'expression', '{"sql": "date_trunc(''year'', birth::date)::text"}');
           SELECT agent_policy.mask_column('shop.raw', 'note', 'expression', '{"sql": "shop.complain(note)"}');
           SELECT agent_policy.mask_column('shop.raw', 'amount', 'expression', '{"sql": "amount::jsonb::text"}')"#,
    );
    let fails = |sql: &str| {
        for answer in [b.agent().simple(sql), b.agent().extended(sql, &[])] {
            let error = answer
                .errors
                .first()
                .unwrap_or_else(|| panic!("{sql} works"));
            assert_eq!(leak(&answer.bytes), None, "{sql}: {error}");
            assert_eq!(error.message, "a value could not be computed", "{error}");
            assert!(!error.hint.is_empty(), "{error}");
        }
    };
    let control = b.setup_error("SELECT birth::date FROM shop.raw");
    assert!(
        control.message.contains("okapi.test"),
        "control run: {control}"
    );
    // The parser of JSON says it in the context.
    let control = b.setup_error("SELECT amount::jsonb FROM shop.raw");
    assert!(
        control.context.contains("okapi.test"),
        "control run: {control}"
    );
    for sql in [
        "SELECT birth FROM shop.raw",
        "SELECT note FROM shop.raw",
        "SELECT amount FROM shop.raw",
        "SELECT id FROM shop.raw WHERE amount::json IS NULL",
        "SELECT count(birth) FROM shop.raw WHERE birth > 'x'",
        "SELECT r FROM shop.raw r",
        "COPY shop.raw TO STDOUT",
    ] {
        fails(sql);
    }
    // Again from a plan that is kept, and inside a function that catches.
    let mut agent = b.agent();
    agent.query("PREPARE p AS SELECT birth FROM shop.raw");
    for _ in 0..7 {
        assert_eq!(leak(&agent.simple("EXECUTE p").bytes), None);
    }
    b.setup("SELECT agent_policy.allow_function('@agent@', 'shop.swallow(text)');
             CREATE FUNCTION shop.tells(q text) RETURNS text LANGUAGE plpgsql AS $$ DECLARE d text; h text; c text; BEGIN EXECUTE q; RETURN ''; EXCEPTION WHEN OTHERS THEN GET STACKED DIAGNOSTICS d = PG_EXCEPTION_DETAIL, h = PG_EXCEPTION_HINT, c = PG_EXCEPTION_CONTEXT; RETURN SQLERRM || d || h || c; END $$;
             SELECT agent_policy.allow_function('@agent@', 'shop.tells(text)')");
    let told = b
        .agent()
        .simple("SELECT shop.tells('SELECT birth FROM shop.raw')");
    assert_eq!(leak(&told.bytes), None);
    let told = b
        .agent()
        .simple("SELECT shop.tells('SELECT amount FROM shop.raw')");
    assert!(
        told.errors.is_empty() && leak(&told.bytes).is_none(),
        "{:?}",
        told.rows
    );
    // A row filter of that kind.
    b.setup("SELECT agent_policy.unmask_column('shop.raw', 'birth'); SELECT agent_policy.unmask_column('shop.raw', 'note'); SELECT agent_policy.unmask_column('shop.raw', 'amount'); SELECT agent_policy.filter_rows('shop.raw', 'amount::int > 0')");
    fails("SELECT id FROM shop.raw");
    // Elsewhere errors say what they have to say.
    let error = b.agent().error("SELECT 'abc'::int FROM shop.orders");
    assert!(error.message.contains("abc"), "{error}");
}

/// Counting, joining and looking up by what is not masked cost no mask, and give what they gave.
fn masks_do_not_stop_what_does_not_read(b: &Bench) {
    b.mask();
    for sql in [
        "SELECT count(*) FROM shop.customers",
        "SELECT id, name, region FROM shop.customers ORDER BY id",
        "SELECT o.id FROM shop.orders o JOIN shop.customers c ON c.id = o.customer_id WHERE c.region = 'north' ORDER BY 1",
        "SELECT name FROM shop.customers WHERE id = 77",
        "SELECT count(*) FROM shop.events WHERE at BETWEEN '2024-05-01' AND '2024-06-01'",
    ] {
        assert_eq!(
            b.allows(sql).texts(),
            b.unconfined().query(sql).texts(),
            "{sql}"
        );
    }
    let plan = |sql: &str| {
        b.allows(&format!("EXPLAIN (COSTS OFF) {sql}"))
            .column()
            .join("\n")
    };
    assert!(plan("SELECT name FROM ONLY shop.customers WHERE id = 77").contains("Index"));
    assert!(
        !plan("SELECT count(*) FROM shop.events WHERE at = '2025-05-01'").contains("events_2024")
    );
}

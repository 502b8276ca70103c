//! Ways that a second round of attacks has found: names, values and rows that came out by side doors.

use cluster_tests::bench::{denial, leak};
use cluster_tests::{Bench, Case, cases};

pub const CASES: &[Case] = cases![
    names_by_set_operations,
    names_in_unplanned_expressions,
    names_in_definitions,
    kept_results_in_slices,
    settings_that_filters_depend_on,
    computed_columns_in_filters,
    plans_of_partitions,
    places_of_what_is_changed,
    samples_of_filtered_rows,
    costs_of_filtered_rows,
    tables_behind_foreign_keys,
];

/// The number of a hidden table; a control reads its name.
fn hidden(b: &Bench) -> String {
    let table = b.value("SELECT 'vault.secrets'::regclass::oid");
    let name = b
        .unconfined()
        .query(&format!("SELECT {table}::regclass"))
        .one();
    assert_eq!(name, "vault.secrets", "control run");
    table
}

/// The planner converts columns of UNION behind every check.
fn names_by_set_operations(b: &Bench) {
    b.allow();
    let table = hidden(b);
    for sql in [
        format!("SELECT string_agg(x::text, ' ') FROM (SELECT 'pg_class'::regclass UNION ALL SELECT g::oid FROM generate_series({table}, {table} + 1) g) s (x)"),
        format!("SELECT 'pg_class'::regclass UNION ALL SELECT g::oid FROM generate_series({table}, {table}) g"),
        format!("SELECT x::text FROM ((SELECT 'pg_class'::regclass UNION ALL SELECT g::oid FROM generate_series({table}, {table}) g) UNION ALL SELECT 'pg_type'::regclass) s (x)"),
        format!("WITH RECURSIVE r (x, n) AS (SELECT 'pg_class'::regclass, 0 UNION ALL SELECT {table}::oid, n + 1 FROM r WHERE n < 1) SELECT x::text FROM r"),
        "SELECT 'abs(int)'::regprocedure UNION ALL SELECT g::oid FROM generate_series(16384, 17000) g".to_owned(),
        "SELECT 'pg_catalog'::regnamespace UNION ALL SELECT g::oid FROM generate_series(16384, 17000) g".to_owned(),
        "SELECT 23::regtype UNION ALL SELECT g::oid FROM generate_series(16384, 17000) g".to_owned(),
    ] {
        let answer = b.agent().simple(&sql);
        assert!(!answer.errors.is_empty(), "{sql}");
        assert!(!String::from_utf8_lossy(&answer.bytes).contains("secrets"), "{sql}");
    }
    let sql = format!(
        "SELECT string_agg(x::text, ' ') FROM (SELECT 'pg_class'::regclass UNION ALL SELECT {table}::oid) s (x)"
    );
    assert_eq!(
        b.unconfined().query(&sql).one(),
        "pg_class vault.secrets",
        "control run"
    );
    // Of one type they go on.
    b.agent().query("SELECT 'shop.orders'::regclass UNION ALL SELECT 'shop.customers'::regclass UNION ALL SELECT NULL");
}

/// Arguments of EXECUTE and the condition of COPY FROM are evaluated as they stand.
fn names_in_unplanned_expressions(b: &Bench) {
    b.allow();
    b.setup("SELECT agent_policy.protect_role('@agent@', 'read_write'); SELECT agent_policy.allow_relation('@agent@', 'shop.scratch', 'write')");
    let table = hidden(b);
    let mut agent = b.agent();
    agent.query("PREPARE p(text) AS SELECT left($1, 60)");
    let mut plain = b.unconfined();
    plain.query("PREPARE p(text) AS SELECT left($1, 60)");
    let prepared =
        format!("(('(,,,\"{{{table}}}\",,,)'::pg_prepared_statements).parameter_types)::text");
    let typed = format!(
        "(jsonb_populate_record(null::pg_type, '{{\"typrelid\":\"{table}\"}}')).typrelid::regclass::text"
    );
    for value in [
        prepared.as_str(),
        &typed,
        "(jsonb_populate_record(null::pg_type, '{\"typinput\":\"boolin\"}')).typinput::text",
        "('(1,s)'::shop.customers).name",
        "repeat('x', 300000000)",
        "format('%300000000s', 'x')",
        "array_fill(1, array[100000000])::text",
        "'vault.secrets'::regclass::text",
    ] {
        for sql in [
            format!("EXECUTE p({value})"),
            format!("EXPLAIN EXECUTE p({value})"),
            format!("COPY shop.scratch FROM STDIN WHERE {value} <> 'x'"),
        ] {
            agent.copy_in = b"901\tx\n".to_vec();
            let answer = agent.simple(&sql);
            assert!(!answer.errors.is_empty(), "{sql}");
            assert!(
                !String::from_utf8_lossy(&answer.bytes).contains("secrets"),
                "{sql}"
            );
        }
    }
    assert_eq!(
        plain
            .query("EXECUTE p('vault.secrets'::regclass::text)")
            .one(),
        "vault.secrets",
        "control run"
    );
    for value in [
        "'x'",
        "upper('x')",
        "regexp_replace('abc', 'b', 'x')",
        "now()::text",
    ] {
        agent.query(&format!("EXECUTE p({value})"));
    }
}

fn names_in_definitions(b: &Bench) {
    b.allow();
    b.setup("SELECT agent_policy.protect_role('@agent@', 'ddl'); SELECT agent_policy.allow_schema('@agent@', 'shop', 'write'); GRANT CREATE ON SCHEMA shop TO @agent@");
    let table = hidden(b);
    let mut agent = b.agent();
    agent.query(&format!(
        "CREATE TABLE shop.mine (a oid, b text); INSERT INTO shop.mine VALUES ({table}, 'x')"
    ));
    for sql in [
        "ALTER TABLE shop.mine ALTER COLUMN b TYPE text USING a::regclass::text".to_owned(),
        format!("ALTER TABLE shop.mine ADD COLUMN c text DEFAULT ({table}::oid::regclass)::text"),
        "ALTER TABLE shop.mine ADD CHECK (a::regclass::text <> 'vault.secrets')".to_owned(),
        "CREATE TABLE shop.rcv (id int, v regclass GENERATED ALWAYS AS (id::oid::regclass) STORED)"
            .to_owned(),
        "CREATE TABLE shop.rc (a regclass, b regprocedure, c regrole)".to_owned(),
        "CREATE TABLE shop.rc (a regclass[])".to_owned(),
        "ALTER TABLE shop.mine ADD COLUMN d regtype".to_owned(),
        "ALTER TABLE shop.mine ALTER COLUMN a TYPE regclass".to_owned(),
        "CREATE INDEX ON shop.mine ((a::regclass::text))".to_owned(),
    ] {
        let answer = agent.simple(&sql);
        denial(
            &answer,
            &sql,
            "42501",
            "function_not_allowed|statement_not_allowed|relation_not_allowed",
        );
        assert!(
            !String::from_utf8_lossy(&answer.bytes).contains("secrets is"),
            "{sql}"
        );
    }
    agent.query(
        "ALTER TABLE shop.mine ADD COLUMN e timestamptz DEFAULT now(), ADD CHECK (length(b) < 9)",
    );
}

/// FETCH, EXPLAIN, RETURNING by Execute in slices: each slice has its record, its bytes count, and a policy that has
/// changed ends them.
fn kept_results_in_slices(b: &Bench) {
    b.allow();
    b.setup("SELECT agent_policy.protect_role('@agent@', 'read_write'); SELECT agent_policy.allow_relation('@agent@', 'shop.scratch', 'write')");
    let mut agent = b.agent();
    // As an honest client reads them.
    for sql in [
        "FETCH 30 FROM c",
        "EXPLAIN SELECT * FROM shop.orders o JOIN shop.customers c ON c.id = o.customer_id ORDER BY o.id",
        "INSERT INTO shop.scratch SELECT g, 'n' FROM generate_series(500, 509) g RETURNING id",
    ] {
        agent.query("BEGIN; DECLARE c CURSOR FOR SELECT id, status FROM shop.orders");
        agent
            .parse("f", sql)
            .bind("f", "f", &[], false)
            .execute("f", 2)
            .sync()
            .ok();
        let more = agent.execute("f", 1).sync().ok();
        assert_eq!(more.rows.len(), 1, "{sql}");
        let rest = agent.execute("f", 0).sync().ok();
        assert!(!rest.rows.is_empty(), "{sql}");
        agent.put(b'C', b"Sf\0");
        agent.sync();
        agent.query("ROLLBACK");
    }
    let rows = b.audit("statement LIKE 'FETCH%'");
    let returned: Vec<i64> = rows
        .iter()
        .filter_map(|r| r["rows_returned"].as_i64())
        .collect();
    assert_eq!(returned.iter().sum::<i64>(), 30, "{returned:?}");
    // Another statement that was bound does not answer for them.
    agent.query("BEGIN; DECLARE c CURSOR FOR SELECT id, name FROM shop.customers");
    agent
        .parse("f", "FETCH 300 FROM c")
        .parse("s", "SELECT 1 AS decoy")
        .bind("f", "f", &[], false)
        .execute("f", 1)
        .sync()
        .ok();
    agent
        .bind("s", "s", &[], false)
        .execute("f", 20)
        .sync()
        .ok();
    agent.query("ROLLBACK");
    let decoys = b.audit("statement LIKE '%decoy%' AND rows_returned > 0");
    assert!(decoys.is_empty(), "{decoys:?}");
    let rows = b.audit("statement LIKE 'FETCH $1%' OR statement LIKE 'FETCH 300%'");
    assert!(rows.iter().any(|r| r["rows_returned"] == 20), "{rows:?}");
    // Bytes add up.
    b.setup("SELECT agent_policy.set_limits('@agent@', max_bytes => 2000)");
    agent.query("BEGIN; DECLARE c CURSOR FOR SELECT id, name, email FROM shop.customers");
    agent
        .parse("g", "FETCH 300 FROM c")
        .parse("t", "SELECT 1")
        .bind("g", "g", &[], false)
        .execute("g", 1)
        .sync()
        .ok();
    let mut received = 0;
    for _ in 0..20 {
        let answer = agent.bind("t", "t", &[], false).execute("g", 20).sync();
        received += answer
            .rows
            .iter()
            .flatten()
            .flatten()
            .map(Vec::len)
            .sum::<usize>();
        if !answer.errors.is_empty() {
            break;
        }
    }
    assert!(received <= 2000, "{received} bytes");
    agent.simple("ROLLBACK");
    b.setup("SELECT agent_policy.reset_limits('@agent@', 'max_bytes')");
    // And the policy is that of now.
    let mut agent = b.agent();
    agent.query("BEGIN; DECLARE c CURSOR FOR SELECT email FROM shop.customers");
    let seen = agent
        .parse("h", "FETCH 300 FROM c")
        .parse("u", "SELECT 1")
        .bind("h", "h", &[], false)
        .execute("h", 1)
        .sync()
        .ok();
    assert!(
        leak(&seen.bytes).is_some(),
        "control: nothing is hidden yet"
    );
    b.setup("SELECT agent_policy.mask_column('shop.customers', 'email')");
    let answer = agent.bind("u", "u", &[], false).execute("h", 20).sync();
    assert_eq!(leak(&answer.bytes), None);
    assert!(!answer.errors.is_empty());
}

/// Another time zone is another day, another format another text.
fn settings_that_filters_depend_on(b: &Bench) {
    b.allow();
    b.setup(
        "CREATE TABLE shop.notices (id int, published date, at timestamptz, weight float8, body text);
         INSERT INTO shop.notices VALUES (1, current_date - 9, now() - interval '9 days', 1.5, 'old'),
             (2, current_date + 4, now() + interval '4 days', 1.123456789, 'QUAGGA');
         GRANT SELECT ON shop.notices TO @agent@, @plain@",
    );
    let shown = |agent: &mut cluster_tests::Wire| {
        agent.simple("SELECT id, body FROM shop.notices ORDER BY id")
    };
    for (filter, change, name) in [
        (
            "published <= current_date",
            "SET TIME ZONE '<x>-167'",
            "timezone",
        ),
        (
            "at::date <= (now() - interval '1 day')::date",
            "SET TimeZone = '<x>-167'",
            "timezone",
        ),
        (
            "published::text < to_char(now(), 'YYYY-MM-DD')",
            "SELECT set_config('DateStyle', 'SQL, DMY', false)",
            "datestyle",
        ),
        (
            "length(weight::text) < 6",
            "SET extra_float_digits = -10",
            "extra_float_digits",
        ),
    ] {
        b.setup(&format!(
            "SELECT agent_policy.filter_rows('shop.notices', $$ {filter} $$)"
        ));
        let mut agent = b.agent();
        agent.query("PREPARE q AS SELECT id, body FROM shop.notices ORDER BY id");
        for _ in 0..7 {
            assert_eq!(agent.query("EXECUTE q").column(), ["1"], "{filter}");
        }
        agent.query("BEGIN; DECLARE c CURSOR FOR SELECT id, body FROM shop.notices ORDER BY id");
        agent.query(change);
        denial(
            &agent.simple("FETCH ALL FROM c"),
            filter,
            "42501",
            "setting_not_allowed",
        );
        agent.query("ROLLBACK");
        agent.query(change);
        for sql in [
            "SELECT id, body FROM shop.notices",
            "EXECUTE q",
            "SELECT count(*) FROM shop.notices WHERE body = 'QUAGGA'",
        ] {
            let answer = agent.simple(sql);
            let error = denial(&answer, filter, "42501", "setting_not_allowed");
            assert_eq!(error.detail_json()["object"], name);
            assert_eq!(leak(&answer.bytes), None);
        }
        agent.query("SELECT count(*) FROM shop.orders");
        agent.query(&format!("RESET {name}"));
        assert_eq!(shown(&mut agent).column(), ["1"], "{filter}");
        // In the midst of it.
        let answer = agent.simple("SELECT set_config('TimeZone', '<x>-167', false), set_config('DateStyle', 'SQL, DMY', false), set_config('extra_float_digits', '-10', false), id, body FROM shop.notices");
        assert_eq!(leak(&answer.bytes), None, "{filter}");
        // What the start-up packet says is the application's word.
        let mut other = b
            .agent_with(&[(
                "options",
                "-c agent_policy.user_email=alice@example.com -c TimeZone=Europe/Berlin",
            )])
            .expect("connects");
        assert_eq!(shown(&mut other).column(), ["1"], "{filter}");
    }
    // What depends on none of them is read under any.
    for filter in [
        "published <= (now() AT TIME ZONE 'UTC')::date",
        "at <= now()",
        "body = 'old' AND agent_policy.user_email() LIKE 'alice%'",
        "id IN (SELECT g FROM generate_series(1, 1) g)",
    ] {
        b.setup(&format!(
            "SELECT agent_policy.filter_rows('shop.notices', $$ {filter} $$)"
        ));
        let mut agent = b.agent();
        agent.query(
            "SET TIME ZONE '<x>-167'; SET DateStyle = 'SQL, DMY'; SET extra_float_digits = -10",
        );
        assert_eq!(shown(&mut agent).column(), ["1"], "{filter}");
    }
    b.setup("SELECT agent_policy.remove_row_filter('shop.notices'); SELECT agent_policy.mask_column('shop.notices', 'at', 'expression', '{\"sql\": \"date_trunc(''day'', at)\"}')");
    let mut agent = b.agent();
    agent.query("SELECT at FROM shop.notices");
    agent.query("SET TIME ZONE '<x>-10:13'");
    denial(
        &agent.simple("SELECT at FROM shop.notices"),
        "mask",
        "42501",
        "setting_not_allowed",
    );
    denial(
        &agent.simple("SELECT id FROM shop.notices WHERE at > now()"),
        "mask",
        "42501",
        "setting_not_allowed",
    );
}

/// An error of a virtual column's expression quotes what it is computed from.
fn computed_columns_in_filters(b: &Bench) {
    if b.version < 18 {
        return;
    }
    b.allow();
    b.setup(
        "CREATE TABLE shop.coded (id int, code text, num int GENERATED ALWAYS AS (code::int) VIRTUAL);
         INSERT INTO shop.coded VALUES (1, '7'), (2, 'QUAGGA7'); GRANT SELECT ON shop.coded TO @agent@, @plain@;
         SELECT agent_policy.mask_column('shop.coded', 'code')",
    );
    assert!(
        leak(
            &b.unconfined()
                .simple("SELECT id FROM shop.coded WHERE num > 4")
                .bytes
        )
        .is_some(),
        "control run"
    );
    for policy in [
        "SELECT agent_policy.filter_rows('shop.coded', 'num > 4')",
        "SELECT agent_policy.remove_row_filter('shop.coded'); SELECT agent_policy.mask_column('shop.coded', 'id', 'expression', '{\"sql\": \"num\"}')",
    ] {
        b.setup(policy);
        let answer = b.agent().simple("SELECT id FROM shop.coded");
        assert!(!answer.errors.is_empty());
        assert_eq!(leak(&answer.bytes), None, "{policy}");
    }
}

/// Which partitions a plan leaves out tells what lies in them.
fn plans_of_partitions(b: &Bench) {
    b.allow();
    b.setup(
        "CREATE TABLE shop.part (id int, who text) PARTITION BY LIST (who);
         CREATE TABLE shop.part_1 PARTITION OF shop.part FOR VALUES IN ('QUAGGA-bob'); CREATE TABLE shop.part_2 PARTITION OF shop.part FOR VALUES IN ('eve');
         INSERT INTO shop.part VALUES (1, 'QUAGGA-bob'), (2, 'eve');
         CREATE TABLE shop.family (id int, sal int); CREATE TABLE shop.low (CHECK (sal <= 8000)) INHERITS (shop.family);
         GRANT SELECT ON ALL TABLES IN SCHEMA shop TO @agent@, @plain@;
         SELECT agent_policy.mask_column('shop.part', 'who'), agent_policy.mask_column('shop.family', 'sal')",
    );
    for (one, other) in [
        (
            "SELECT * FROM shop.part WHERE who = 'QUAGGA-bob'",
            "SELECT * FROM shop.part WHERE who = 'nobody'",
        ),
        (
            "SELECT * FROM shop.family WHERE sal = 8001",
            "SELECT * FROM shop.family WHERE sal = 8000",
        ),
    ] {
        for how in [
            "EXPLAIN (COSTS OFF)",
            "EXPLAIN (COSTS OFF, VERBOSE)",
            "EXPLAIN (COSTS OFF, FORMAT JSON)",
        ] {
            let plan = |wire: &mut cluster_tests::Wire, sql: &str, value: &str| {
                wire.query(&format!("{how} {sql}"))
                    .column()
                    .join("\n")
                    .replace(value, "?")
            };
            let values: [&str; 2] = if one.contains("part") {
                ["QUAGGA-bob", "nobody"]
            } else {
                ["8001", "8000"]
            };
            let mut plain = b.unconfined();
            if one.contains("part") {
                // What such a partition is called may be what is in it.
                for sql in [one, other] {
                    b.denies(&format!("{how} {sql}"), "42501", "statement_not_allowed");
                }
            } else {
                let mut agent = b.agent();
                assert_eq!(
                    plan(&mut agent, one, values[0]),
                    plan(&mut agent, other, values[1]),
                    "{one}"
                );
            }
            let shown = |plan: String| plan.matches("part_1").count() + plan.matches("low").count();
            assert_ne!(
                shown(plan(&mut plain, one, values[0])),
                shown(plan(&mut plain, other, values[1])),
                "control run: {one}"
            );
        }
    }
}

fn filtered(b: &Bench) {
    b.allow();
    b.setup(
        "SELECT agent_policy.protect_role('@agent@', 'read_write'); SELECT agent_policy.allow_relation('@agent@', 'shop.scratch', 'write');
         INSERT INTO shop.scratch SELECT g, 'x' FROM generate_series(10, 400) g;
         SELECT agent_policy.filter_rows('shop.scratch', 'id % 2 = 0')",
    );
}

/// What a role may change tells of the others where it lies.
fn places_of_what_is_changed(b: &Bench) {
    filtered(b);
    for sql in [
        "UPDATE shop.scratch SET v = v WHERE id = 2 RETURNING ctid",
        "UPDATE shop.scratch SET v = xmin::text WHERE id = 2",
        "DELETE FROM shop.scratch WHERE ctid < '(0,10)' RETURNING id",
        "DELETE FROM shop.scratch WHERE id = 12 RETURNING xmin, cmin",
        "INSERT INTO shop.scratch VALUES (100000, 'x') RETURNING ctid",
    ] {
        b.denies(sql, "42501", "column_denied");
        b.unconfined().simple(sql);
    }
    let mut agent = b.agent();
    agent.query(
        "UPDATE shop.scratch SET v = v WHERE id = 14 RETURNING id, tableoid::regclass, scratch",
    );
    agent.query("INSERT INTO shop.scratch VALUES (100002, 'x') RETURNING *");
    agent.query("DELETE FROM shop.scratch WHERE id = 16 RETURNING v");
}

fn samples_of_filtered_rows(b: &Bench) {
    filtered(b);
    for sql in [
        "SELECT id FROM shop.scratch TABLESAMPLE BERNOULLI (50) REPEATABLE (1) WHERE id = 20",
        "SELECT id FROM shop.scratch TABLESAMPLE SYSTEM (50)",
        "SELECT count(*) FROM (SELECT * FROM shop.scratch TABLESAMPLE SYSTEM (50) REPEATABLE (3)) s",
    ] {
        b.denies(sql, "42501", "statement_not_allowed");
    }
    b.agent()
        .query("SELECT id FROM shop.scratch TABLESAMPLE BERNOULLI (50)");
    b.agent()
        .query("SELECT id FROM shop.orders TABLESAMPLE SYSTEM (50) REPEATABLE (3)");
}

/// A refused plan tells no cost: it counts rows of others.
fn costs_of_filtered_rows(b: &Bench) {
    filtered(b);
    b.setup("ANALYZE shop.scratch; SELECT agent_policy.set_limits('@agent@', max_plan_cost => 1)");
    let message = || {
        let answer = b.agent().simple("SELECT count(*) FROM shop.scratch");
        denial(&answer, "cost", "54000", "max_plan_cost").to_string()
    };
    let before = message();
    b.setup("INSERT INTO shop.scratch SELECT g, 'x' FROM generate_series(1001, 60001, 2) g; ANALYZE shop.scratch");
    assert_eq!(message(), before);
}

/// Which hidden table refers to a row, or lacks one, is not told.
fn tables_behind_foreign_keys(b: &Bench) {
    b.allow();
    b.setup(
        "SELECT agent_policy.protect_role('@agent@', 'read_write');
         CREATE TABLE shop.pub (id int PRIMARY KEY, deep int); INSERT INTO shop.pub VALUES (1, NULL), (2, NULL);
         CREATE TABLE vault.deep (id int PRIMARY KEY, pubid int REFERENCES shop.pub); INSERT INTO vault.deep VALUES (7, 2);
         ALTER TABLE shop.pub ADD FOREIGN KEY (deep) REFERENCES vault.deep;
         GRANT ALL ON shop.pub TO @agent@, @plain@; SELECT agent_policy.allow_relation('@agent@', 'shop.pub', 'write')",
    );
    for sql in [
        "DELETE FROM shop.pub WHERE id = 2",
        "UPDATE shop.pub SET id = 3 WHERE id = 2",
    ] {
        let plain = b.unconfined().simple(sql);
        assert!(
            String::from_utf8_lossy(&plain.bytes).contains("vault"),
            "control run"
        );
        let answer = b.agent().simple(sql);
        assert_eq!(answer.err().code, "23503");
        let told = String::from_utf8_lossy(&answer.bytes).into_owned();
        assert!(!told.contains("deep") && !told.contains("vault"), "{told}");
    }
    let answer = b.agent().simple("INSERT INTO shop.pub VALUES (9, 99)");
    assert_eq!(answer.err().code, "23503");
    assert!(!String::from_utf8_lossy(&answer.bytes).contains("is not present"));
}

//! Unusual servers and databases: discarded caches, parallel plans, encodings, many of everything,
//! and sessions that last.

use std::sync::Arc;

use cluster_tests::bench::{denial, leak};
use cluster_tests::{Bench, Case, Cluster, cases};

pub const CASES: &[Case] = cases![
    caches_are_discarded,
    parallel_plans_say_the_same,
    plan_cache_modes_and_jit,
    names_in_an_sql_ascii_database,
    names_in_a_latin1_database,
    sixteen_hundred_columns,
    many_partitions_and_ctes,
    sessions_do_not_grow,
    a_constructor_inside_a_case,
];

/// Statements that meet masks, filters, sub-queries, functions and cursors.
const STATEMENTS: &[&str] = &[
    "SELECT id, email, ssn, phone, born, salary, note, profile FROM shop.customers ORDER BY id LIMIT 20",
    "SELECT count(*), min(email), max(note), sum(salary) FROM shop.customers",
    "SELECT c.region, count(*), min(c.email) FROM shop.customers c JOIN shop.orders o ON o.customer_id = c.id GROUP BY 1 ORDER BY 1",
    "SELECT email, count(*) FROM shop.customers GROUP BY email ORDER BY 1, 2 LIMIT 5",
    "SELECT (SELECT max(email) FROM shop.customers i WHERE i.id = o.customer_id) FROM shop.orders o ORDER BY o.id LIMIT 5",
    "WITH c AS MATERIALIZED (SELECT * FROM shop.customers) SELECT c::text FROM c ORDER BY id LIMIT 3",
    "SELECT id, email FROM shop.customers WHERE email LIKE '%okapi%' OR note = 'QUAGGA'",
    "SELECT status, count(*) FROM shop.orders GROUP BY 1 ORDER BY 1",
    "SELECT to_jsonb(c) FROM shop.customers c ORDER BY id LIMIT 3",
];

fn protected(b: &Bench) {
    b.mask();
    b.setup("SELECT agent_policy.filter_rows('shop.orders', $$customer_id IN (SELECT id FROM shop.customers WHERE region <> 'none')$$)");
}

fn all(b: &Bench) -> Vec<Vec<Vec<String>>> {
    let mut agent = b.agent();
    let rows = STATEMENTS
        .iter()
        .map(|sql| agent.query(sql).texts())
        .collect();
    assert_eq!(leak(&agent.received), None);
    rows
}

fn caches_are_discarded(b: &Bench) {
    protected(b);
    let expected = all(b);
    let assertions = b.value("SHOW debug_assertions") == "on";
    if assertions {
        let sql = "SELECT email, (SELECT count(*) FROM shop.orders WHERE customer_id = c.id) FROM shop.customers c ORDER BY id LIMIT 2";
        let undiscarded = b.agent().query(sql).texts();
        // Every look into a cache finds it empty: a statement takes seconds, a long one minutes.
        b.setup("ALTER ROLE @agent@ SET debug_discard_caches = 1; SELECT agent_policy.set_limits('@agent@', statement_timeout => '10 min')");
        let mut agent = b.agent();
        agent.set_patience(std::time::Duration::from_secs(600));
        assert_eq!(agent.query("SHOW debug_discard_caches").one(), "1");
        assert_eq!(agent.query(sql).texts(), undiscarded);
        let answer = agent.simple("SELECT * FROM vault.secrets");
        denial(&answer, "vault", "42501", "relation_not_allowed");
        assert_eq!(leak(&agent.received), None);
        b.setup("ALTER ROLE @agent@ RESET debug_discard_caches");
        // The server copies what it is given.
        b.setup("ALTER ROLE @agent@ SET debug_copy_parse_plan_trees = on; ALTER ROLE @agent@ SET debug_raw_expression_coverage_test = on");
        assert_eq!(all(b), expected);
        // The mark of a masked relation is in no plan that was written as text and read back: such a
        // plan is refused.
        b.setup("ALTER ROLE @agent@ SET debug_write_read_parse_plan_trees = on");
        let answer = b.agent().simple("SELECT email FROM shop.customers");
        denial(&answer, "customers", "42501", "relation_not_allowed");
        assert_eq!(leak(&answer.bytes), None);
    } else {
        // Somebody else's definitions empty them.
        let mut other = b
            .cluster
            .connect("postgres", &b.db, &[])
            .expect("the superuser connects");
        let mut agent = b.agent();
        for i in 0..15 {
            other.query(&format!(
                "CREATE TABLE shop.t{i} (id int); ALTER TABLE shop.customers ALTER region SET STATISTICS {i}; DROP TABLE shop.t{i}"
            ));
            let n = i % STATEMENTS.len();
            assert_eq!(agent.query(STATEMENTS[n]).texts(), expected[n]);
        }
        assert_eq!(leak(&agent.received), None);
    }
}

fn parallel_plans_say_the_same(b: &Bench) {
    protected(b);
    let expected = all(b);
    let forced = if b.version >= 16 {
        "debug_parallel_query"
    } else {
        "force_parallel_mode"
    };
    for mode in ["on", "regress"] {
        for setting in [
            &format!("{forced} = {mode}"),
            "parallel_setup_cost = 0",
            "parallel_tuple_cost = 0",
            "min_parallel_table_scan_size = 0",
            "max_parallel_workers_per_gather = 2",
        ] {
            b.setup(&format!("ALTER DATABASE @db@ SET {setting}"));
        }
        let plan = b
            .unconfined()
            .query("EXPLAIN ANALYZE SELECT count(*) FROM shop.customers")
            .column()
            .join("\n");
        assert!(
            mode == "regress" || plan.contains("Workers Launched"),
            "control run: {plan}"
        );
        assert_eq!(all(b), expected, "{mode}");
        // A denial in a worker, a cut, a cancellation.
        let mut agent = b.agent();
        b.setup("SELECT agent_policy.set_limits('@agent@', max_rows => 7)");
        assert_eq!(agent.query("SELECT id FROM shop.customers").rows.len(), 7);
        b.setup("SELECT agent_policy.set_limits('@agent@', max_rows => 10000)");
        agent.error("SELECT 1 / (id - 5) FROM shop.customers");
        agent.send("SELECT count(*) FROM shop.customers a, shop.customers b, shop.customers c, shop.customers d");
        b.wait_until_active(agent.pid);
        std::thread::sleep(std::time::Duration::from_millis(100));
        agent.cancel();
        let error = agent.collect().err();
        assert_eq!((error.code.as_str(), error.rule().as_str()), ("57014", ""));
        agent.query("SELECT count(*) FROM shop.orders");
        assert_eq!(leak(&agent.received), None);
    }
}

fn plan_cache_modes_and_jit(b: &Bench) {
    protected(b);
    for mode in ["force_generic_plan", "force_custom_plan", "auto"] {
        for setting in [
            &format!("plan_cache_mode = {mode}"),
            "jit = on",
            "jit_above_cost = 0",
            "jit_inline_above_cost = 0",
            "jit_optimize_above_cost = 0",
        ] {
            b.setup(&format!("ALTER ROLE @agent@ SET {setting}"));
        }
        let mut agent = b.agent();
        agent.query("PREPARE p(int) AS SELECT email, note, salary FROM shop.customers WHERE id = $1 OR email = 'x' || $1");
        agent
            .parse(
                "q",
                "SELECT email, ssn FROM shop.customers WHERE id < $1 AND note <> $2",
            )
            .sync()
            .ok();
        for i in 0..8 {
            assert_eq!(agent.query(&format!("EXECUTE p({})", i + 1)).rows.len(), 1);
            agent.run("q", &[Some("9"), Some("none")]).ok();
        }
        assert_eq!(leak(&agent.received), None, "{mode}");
        // Pinned: neither compiles, nor keeps an old plan alive.
        assert_eq!(agent.query("SHOW jit").one(), "off");
        assert_eq!(agent.query("SHOW plan_cache_mode").one(), "auto");
        // A policy that changes between two runs of a plan.
        b.setup("SELECT agent_policy.mask_column('shop.customers', 'name')");
        agent.query("PREPARE r AS SELECT name FROM shop.customers WHERE id = 5");
        assert_eq!(agent.query("EXECUTE r").one(), "***");
        b.setup("SELECT agent_policy.unmask_column('shop.customers', 'name')");
        let answer = agent.simple("EXECUTE r");
        assert!(answer.errors.is_empty() || answer.err().code == "42501");
        assert_ne!(agent.query("EXECUTE r").one(), "***");
    }
}

/// A schema, table and columns whose names have such bytes in them, used from end to end.
fn names(b: &Bench, encoding: &str, bytes: &[u8]) {
    let own = Bench::with_database(
        Arc::clone(&b.cluster),
        &format!("TEMPLATE template0 ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C'"),
    );
    let with = |sql: &str| -> Vec<u8> {
        let mut out = Vec::new();
        for (i, part) in own.fill(sql).split('¤').enumerate() {
            if i > 0 {
                out.extend(bytes);
            }
            out.extend(part.as_bytes());
        }
        out
    };
    let mut su = own
        .cluster
        .connect("postgres", &own.db, &[("client_encoding", encoding)])
        .expect("connects");
    let mut setup = |sql: &str| {
        su.simple_bytes(&with(sql)).ok();
    };
    setup(
        "CREATE SCHEMA \"s¤\"; CREATE TABLE \"s¤\".\"t¤\" (id int, \"c¤\" text, \"m¤\" text, \"d¤\" text); \
           INSERT INTO \"s¤\".\"t¤\" VALUES (1, 'keep ¤', 'QUAGGA ¤', 'QUAGGA'), (2, 'other', 'QUAGGA', 'QUAGGA'); \
           CREATE TABLE \"s¤\".\"hidden¤\" AS SELECT 'QUAGGA ¤' AS v; \
           CREATE VIEW \"s¤\".\"v¤\" AS SELECT \"m¤\" AS \"w¤\" FROM \"s¤\".\"t¤\"; \
           GRANT USAGE ON SCHEMA \"s¤\" TO @agent@, @plain@; GRANT SELECT ON ALL TABLES IN SCHEMA \"s¤\" TO @agent@, @plain@",
    );
    own.protect();
    setup("SELECT agent_policy.allow_schema('@agent@', 's¤')");
    setup("SELECT agent_policy.deny_relation('@agent@', '\"s¤\".\"hidden¤\"')");
    setup("SELECT agent_policy.deny_column('@agent@', '\"s¤\".\"t¤\"', 'd¤')");
    setup(
        "SELECT agent_policy.mask_column('\"s¤\".\"t¤\"', 'm¤', 'expression', '{\"sql\": \"left(\\\"c¤\\\", 4) || ''¤''\"}')",
    );
    setup("SELECT agent_policy.filter_rows('\"s¤\".\"t¤\"', $$\"c¤\" = 'keep ¤'$$)");
    let mut agent = own
        .agent_with(&[
            ("client_encoding", encoding),
            ("options", "-c agent_policy.user_email=alice@example.com"),
        ])
        .expect("connects");
    let masked = [&b"keep"[..], bytes].concat();
    for sql in [
        "SELECT \"m¤\" FROM \"s¤\".\"t¤\"",
        "SELECT t.\"m¤\" FROM \"s¤\".\"t¤\" t WHERE \"c¤\" LIKE '%¤'",
        "SELECT \"w¤\" FROM \"s¤\".\"v¤\"",
    ] {
        let answer = agent.simple_bytes(&with(sql)).ok();
        assert_eq!(answer.rows.len(), 1, "{encoding}: {sql}");
        assert_eq!(
            answer.rows[0][0].as_deref(),
            Some(&masked[..]),
            "{encoding}: {sql}"
        );
    }
    for (sql, rule) in [
        ("SELECT * FROM \"s¤\".\"hidden¤\"", "relation_not_allowed"),
        ("SELECT \"d¤\" FROM \"s¤\".\"t¤\"", "column_denied"),
        ("SELECT * FROM \"s¤\".\"t¤\"", "column_denied"),
    ] {
        let answer = agent.simple_bytes(&with(sql));
        let error = denial(&answer, sql, "42501", rule);
        assert!(!error.hint.is_empty());
    }
    let copied = agent
        .simple_bytes(&with("COPY \"s¤\".\"t¤\" (id, \"m¤\") TO STDOUT"))
        .ok();
    assert_eq!(copied.copied.len(), 7 + bytes.len());
    assert_eq!(leak(&agent.received), None, "{encoding}");
    let log = own.audit("verdict = 'denied'");
    assert_eq!(log.len(), 3);
    assert!(
        own.audit("relations::text LIKE '%t%'").len() >= 4,
        "the audit names relations"
    );
    // Somebody whose address has such bytes in it.
    let email = [b"-c agent_policy.user_email=", bytes, b"@example.com"].concat();
    if let Ok(email) = String::from_utf8(email) {
        let _ = own.agent_with(&[("options", &email)]);
    }
}

fn names_in_an_sql_ascii_database(b: &Bench) {
    names(b, "SQL_ASCII", b"\xff\xe9\x80");
    names(b, "SQL_ASCII", "é€".as_bytes());
    // What stands for bytes that are no text is a character, too.
    names(b, "SQL_ASCII", "\u{10ff80}\u{10ffff}".as_bytes());
}

fn names_in_a_latin1_database(b: &Bench) {
    names(b, "LATIN1", b"\xff\xe9\xc3\xa9");
}

fn sixteen_hundred_columns(b: &Bench) {
    // 1600 columns, of which the statement selects as many.
    let columns = (0..1600)
        .map(|i| format!("c{i} int DEFAULT {}", if i % 8 == 0 { 88100 } else { 7 }))
        .collect::<Vec<_>>()
        .join(", ");
    b.setup(&format!(
        "CREATE TABLE shop.widest ({columns}); INSERT INTO shop.widest DEFAULT VALUES; GRANT SELECT ON shop.widest TO @agent@, @plain@"
    ));
    b.allow();
    b.setup("SELECT agent_policy.mask_column('shop.widest', 'c' || i, 'constant', '{\"value\": 1}') FROM generate_series(0, 1599, 8) i");
    let answer = b.agent().query("SELECT * FROM shop.widest");
    assert_eq!(answer.columns.len(), 1600);
    for (i, value) in answer.texts()[0].iter().enumerate() {
        assert_eq!(value, if i % 8 == 0 { "1" } else { "7" }, "c{i}");
    }
    b.masks("SELECT c0, c8, c1592 FROM shop.widest");
    b.masks("SELECT w::text FROM shop.widest w");
    // One masked column more than a target list has room for, by whole rows.
    let both = b
        .agent()
        .simple("SELECT a.*, b.c0, b.c1 FROM shop.widest a, shop.widest b");
    assert_eq!(leak(&both.bytes), None);
}

fn many_partitions_and_ctes(b: &Bench) {
    b.setup(
        "CREATE TABLE shop.parts (id int, k int, secret text) PARTITION BY LIST (k);
         DO $$ BEGIN FOR i IN 1..600 LOOP
             EXECUTE format('CREATE TABLE shop.parts_%s PARTITION OF shop.parts FOR VALUES IN (%s)', i, i);
         END LOOP; END $$;
         INSERT INTO shop.parts SELECT i, i, 'QUAGGA ' || i FROM generate_series(1, 600) i;
         GRANT SELECT ON ALL TABLES IN SCHEMA shop TO @agent@, @plain@",
    );
    b.mask();
    b.setup("SELECT agent_policy.mask_column('shop.parts', 'secret'); SELECT agent_policy.filter_rows('shop.parts', 'id <> 3')");
    assert_eq!(b.masks("SELECT id, secret FROM shop.parts").rows.len(), 599);
    assert_eq!(b.masks("SELECT secret FROM shop.parts_7").rows.len(), 1);
    let ctes = (0..1000)
        .map(|i| {
            format!(
                "c{i} AS MATERIALIZED (SELECT id, email FROM shop.customers WHERE id = {})",
                i % 50 + 1
            )
        })
        .collect::<Vec<_>>()
        .join(", ");
    let from = (0..1000)
        .map(|i| format!("SELECT email FROM c{i}"))
        .collect::<Vec<_>>()
        .join(" UNION ALL ");
    let answer = b.masks(&format!("WITH {ctes} {from}"));
    assert_eq!(answer.rows.len(), 1000);
    let nested = (0..300).fold(
        "SELECT email FROM shop.customers WHERE id = 1".to_owned(),
        |q, i| format!("WITH n{i} AS ({q}) SELECT * FROM n{i}"),
    );
    b.masks(&nested);
}

/// Kilobytes: all memory contexts of the session, and its own pages.
fn size(b: &Bench, agent: &mut cluster_tests::Wire) -> (u64, u64) {
    // A session cannot be asked about itself by the agent: the server's log is.
    let before = b.cluster.log().len();
    b.setup(&format!(
        "SELECT pg_log_backend_memory_contexts({})",
        agent.pid
    ));
    let contexts = loop {
        agent.query("SELECT 1");
        let log = b.cluster.log();
        let total = format!("[{}]", agent.pid);
        let line = log[before..]
            .lines()
            .filter(|line| line.contains(&total))
            .find_map(|line| line.split_once("Grand total: "));
        if let Some((_, line)) = line {
            let used = line.rsplit_once("; ").expect("a total").1;
            break used.split(' ').next().and_then(|n| n.parse::<u64>().ok());
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    };
    let statm = std::fs::read_to_string(format!("/proc/{}/statm", agent.pid)).unwrap_or_default();
    let pages: Vec<u64> = statm.split(' ').filter_map(|n| n.parse().ok()).collect();
    (
        contexts.expect("a number") / 1024,
        (pages[1] - pages[2]) * 4,
    )
}

fn sessions_do_not_grow(b: &Bench) {
    protected(b);
    b.setup("SELECT agent_policy.reset_limits('@agent@', 'max_rows')");
    let many: u32 = std::env::var("AGENT_POLICY_STATEMENTS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(6000);
    let mut agent = b.agent();
    agent
        .parse("q", "SELECT email FROM shop.customers WHERE id = $1")
        .sync()
        .ok();
    let round = |agent: &mut cluster_tests::Wire, of: u32| {
        for i in 0..of / 4 {
            agent.simple(&format!("SELECT {i}")).ok();
            agent
                .simple(&format!(
                    "SELECT email, note FROM shop.customers WHERE id = {}",
                    i % 100 + 1
                ))
                .ok();
            agent.run("q", &[Some("7")]).ok();
            agent.simple("SELECT count(*) FROM vault.secrets").err();
            agent.received.clear();
        }
    };
    round(&mut agent, many / 4);
    let grown = |a: (u64, u64), b: (u64, u64)| (b.0.saturating_sub(a.0), b.1.saturating_sub(a.1));
    let mut warm = size(b, &mut agent);
    // What leaks grows each time. Other tests' catalog changes empty the caches now and then, and
    // what is read again lies differently.
    let steady = (0..3).any(|_| {
        round(&mut agent, many);
        let after = size(b, &mut agent);
        let (contexts, pages) = grown(warm, after);
        eprintln!(
            "  {many} statements: contexts +{contexts} kB, pages +{pages} kB, {warm:?} {after:?}"
        );
        warm = after;
        // Noise: 128 kB are a fiftieth of a kilobyte a statement.
        contexts < 128 && pages < 1024
    });
    assert!(steady, "{warm:?}");
    // The same in one transaction, and in a portal read in slices.
    agent.query("BEGIN");
    for i in 0..100 {
        agent
            .simple(&format!(
                "SELECT {i}, email FROM shop.customers WHERE id = 3"
            ))
            .ok();
    }
    let mut warm = size(b, &mut agent);
    let steady = (0..3).any(|_| {
        for i in 0..many / 2 {
            agent
                .simple(&format!(
                    "SELECT {i}, email FROM shop.customers WHERE id = 3"
                ))
                .ok();
            agent.received.clear();
        }
        let after = size(b, &mut agent);
        let (contexts, pages) = grown(warm, after);
        eprintln!(
            "  a transaction of {}: contexts +{contexts} kB, pages +{pages} kB",
            many / 2
        );
        warm = after;
        contexts < 128 && pages < 1024
    });
    assert!(steady, "{warm:?}");
    agent.query("COMMIT");
}

/// PostgreSQL 16 to 18 convert the value of the CASE in the place of what an SQL/JSON constructor in it has made: a
/// number that somebody chose becomes an address.
fn a_constructor_inside_a_case(b: &Bench) {
    if b.version < 16 {
        return;
    }
    b.allow();
    b.setup("SELECT agent_policy.protect_role('@agent@', 'ddl'); SELECT agent_policy.allow_schema('@agent@', 'shop', 'write')");
    let start = b.value("SELECT pg_postmaster_start_time()::text");
    let confused = |made: &str| {
        format!(
            "SELECT CASE 81985529216486895 WHEN id THEN 'x' ELSE {made} END FROM shop.orders ORDER BY id LIMIT 2"
        )
    };
    let plain = |made: &str| format!("SELECT {made} FROM shop.orders ORDER BY id LIMIT 2");
    let mut constructors = vec![
        "JSON_OBJECT('a': id RETURNING varchar(500))",
        "JSON_OBJECT('a': id RETURNING text)",
        "JSON_OBJECT('a': id RETURNING bytea FORMAT JSON)::text",
        "JSON_ARRAY(id, JSON_OBJECT('b': id RETURNING varchar(70)) RETURNING varchar(90))",
        "JSON_ARRAY(id, 'é' RETURNING char(40))",
        "(SELECT JSON_ARRAYAGG(x ORDER BY x RETURNING varchar(40)) FROM generate_series(id, id + 2) x)",
        "(SELECT JSON_OBJECTAGG(x: id RETURNING text) FROM generate_series(1, 2) x)",
        "JSON_ARRAY(SELECT x FROM generate_series(1, id) x ORDER BY 1 RETURNING varchar(30))",
        "JSON_ARRAYAGG(id) OVER (PARTITION BY id)::text",
        "JSON_ARRAYAGG(id RETURNING varchar(20)) OVER (PARTITION BY id)",
    ];
    if b.version >= 17 {
        constructors.extend([
            "JSON_SERIALIZE('{\"a\": 1}' RETURNING varchar(50))",
            "JSON_SERIALIZE(JSON_SCALAR(id))",
            "JSON_SCALAR(id)::text",
        ]);
    }
    let mut agent = b.agent();
    let mut unconfined = b.unconfined();
    for made in &constructors {
        let right = unconfined.query(&plain(made));
        // Alone it is what it was, and so it is inside.
        let alone = agent.query(&plain(made));
        assert_eq!(
            (&alone.columns, alone.texts()),
            (&right.columns, right.texts()),
            "{made}"
        );
        let sql = confused(made);
        assert_eq!(agent.query(&sql).texts(), right.texts(), "{sql}");
        assert_eq!(
            agent.extended(&sql, &[]).ok().texts(),
            right.texts(),
            "{sql}"
        );
        agent.query(&format!("EXPLAIN (VERBOSE) {sql}"));
        agent.query(&format!("EXPLAIN (ANALYZE, VERBOSE) {sql}"));
        agent.query(&format!("BEGIN; DECLARE c CURSOR FOR {sql}"));
        assert_eq!(
            agent.query("FETCH ALL FROM c; COMMIT").texts(),
            right.texts(),
            "{sql}"
        );
        agent.query(&format!("COPY ({sql}) TO STDOUT"));
        agent.query(&format!(
            "PREPARE q AS {sql}; EXECUTE q; EXPLAIN EXECUTE q; DEALLOCATE q"
        ));
        // What the planner folds for an estimate.
        agent.query(&format!(
            "SELECT count(*) FROM shop.customers WHERE name > (SELECT x FROM ({sql}) s (x) LIMIT 1)"
        ));
    }
    for sql in [
        "SELECT count(*) FROM shop.customers WHERE name = CASE 4660 WHEN length(version()) THEN 'x' ELSE JSON_OBJECT('a': 1 RETURNING varchar(99)) END",
        "SELECT count(*) FROM shop.customers GROUP BY CASE 4660 WHEN id THEN 'x' ELSE JSON_OBJECT('a': region RETURNING text) END",
        "SELECT CASE 4660 WHEN g THEN JSON_OBJECT('a': g RETURNING text) END FROM ROWS FROM (generate_series(1, 3), unnest(ARRAY[CASE 4660 WHEN length(version()) THEN 'y' ELSE JSON_OBJECT('a': 1 RETURNING text) END])) t (g)",
    ] {
        agent.query(sql);
    }
    // What one expression holds twice is taken apart once.
    let mut nested = vec![
        "SELECT JSON_OBJECT('a': JSON_OBJECT('b': 1 RETURNING text) FORMAT JSON)",
        "SELECT JSON_ARRAY(JSON_ARRAY(JSON_OBJECT('b': 1 RETURNING text) FORMAT JSON RETURNING text) FORMAT JSON)",
        "SELECT JSON_OBJECT('a': (SELECT to_json(count(tableoid))::text FROM shop.customers) FORMAT JSON)",
    ];
    if b.version >= 17 {
        nested.extend([
            "SELECT JSON_SERIALIZE(JSON_OBJECT('b': 1 RETURNING text))",
            "SELECT JSON(JSON_OBJECT('b': id RETURNING text)) FROM shop.orders ORDER BY id LIMIT 1",
            "SELECT JSON_VALUE(JSON_OBJECT('b': 1 RETURNING text), '$.b')",
            "SELECT * FROM JSON_TABLE(JSON_OBJECT('b': 1 RETURNING text) FORMAT JSON, '$' COLUMNS (b int))",
        ]);
    }
    for sql in nested {
        let right = unconfined.query(sql).texts();
        assert_eq!(agent.query(sql).texts(), right, "{sql}");
        assert_eq!(agent.extended(sql, &[]).ok().texts(), right, "{sql}");
    }
    let inside = "JSON_OBJECT('a': JSON_OBJECT('b': id RETURNING text) FORMAT JSON RETURNING text)";
    let right = unconfined.query(&plain(inside)).texts();
    assert_eq!(agent.query(&confused(inside)).texts(), right);
    // What comes into a statement from elsewhere: a mask, a filter, a column, an argument that is left out.
    b.setup(
        "CREATE TABLE shop.made (id int, t text); INSERT INTO shop.made VALUES (1, 'x'), (2, 'y');
         GRANT SELECT ON shop.made TO @agent@, @plain@;
         CREATE FUNCTION shop.made(a int, b text DEFAULT JSON_OBJECT('a': 1 RETURNING varchar(40))) RETURNS text LANGUAGE sql RETURN a || b;
         SELECT agent_policy.allow_function('@agent@', 'shop.made(int, text)');
         SELECT agent_policy.mask_column('shop.made', 't', 'expression', '{\"sql\":\"JSON_OBJECT(''k'': id RETURNING varchar(40))\"}');
         SELECT agent_policy.filter_rows('shop.made', $$ JSON_OBJECT('k': id RETURNING varchar(40)) <> 'x' $$)",
    );
    let masked = agent.query("SELECT t FROM shop.made ORDER BY id").texts();
    let confused =
        "SELECT CASE 81985529216486895 WHEN id THEN 'x' ELSE t END FROM shop.made ORDER BY id";
    assert_eq!(agent.query(confused).texts(), masked);
    agent.query("SELECT shop.made(1)");
    let hidden = |agent: &mut cluster_tests::Wire, sql: &str| {
        denial(&agent.simple(sql), sql, "42501", "statement_not_allowed");
    };
    hidden(
        &mut agent,
        "SELECT CASE 81985529216486895 WHEN id THEN 'x' ELSE shop.made(1) END FROM shop.orders LIMIT 1",
    );
    if b.version >= 18 {
        b.setup("CREATE TABLE shop.computed (id int, v text GENERATED ALWAYS AS (JSON_OBJECT('a': id RETURNING varchar(40))) VIRTUAL); INSERT INTO shop.computed (id) VALUES (1); GRANT SELECT ON shop.computed TO @agent@, @plain@");
        agent.query("SELECT v FROM shop.computed");
        hidden(
            &mut agent,
            "SELECT CASE 81985529216486895 WHEN id THEN 'x' ELSE v END FROM shop.computed",
        );
        agent.query(
            "SELECT CASE WHEN id = 81985529216486895 THEN 'x' ELSE v END FROM shop.computed",
        );
    }
    // Where an expression is not planned there is no constructor.
    agent.query("PREPARE p(text) AS SELECT length($1)");
    let made = "CASE 81985529216486895 WHEN length(version()) THEN 'x' ELSE JSON_OBJECT('a': 1 RETURNING varchar(500)) END";
    for sql in [
        format!("EXECUTE p({made})"),
        format!("EXPLAIN EXECUTE p({made})"),
        format!("EXPLAIN ANALYZE EXECUTE p({made})"),
        format!("CREATE TABLE shop.t AS EXECUTE p({made})"),
        format!("EXPLAIN ANALYZE CREATE TABLE shop.t AS EXECUTE p({made})"),
        format!("COPY shop.scratch FROM STDIN WHERE v = {made}"),
        "EXPLAIN EXECUTE p('vault.secrets'::regclass::text)".to_owned(),
    ] {
        let answer = agent.simple(&sql);
        denial(
            &answer,
            &sql,
            "42501",
            "statement_not_allowed|relation_not_allowed",
        );
    }
    for sql in [
        format!("CREATE TABLE shop.t (a int, b text DEFAULT {made})"),
        format!("CREATE TABLE shop.t (a int, b text CHECK (b <> {made}))"),
        format!("CREATE TABLE shop.t (a int, b text GENERATED ALWAYS AS ({made}) STORED)"),
        format!("CREATE INDEX ON shop.scratch ((v || {made}))"),
        format!("CREATE INDEX ON shop.scratch (v) WHERE v <> {made}"),
        format!("ALTER TABLE shop.scratch ALTER v TYPE text USING {made}"),
        format!("ALTER TABLE shop.scratch ADD w text DEFAULT {made}"),
        format!("CREATE TABLE shop.t (a text) PARTITION BY LIST ((a || {made}))"),
        format!("CREATE TABLE shop.t PARTITION OF shop.orders FOR VALUES IN ({made})"),
    ] {
        let answer = agent.simple(&sql);
        assert!(!answer.errors.is_empty(), "{sql}");
        assert!(!answer.closed, "{sql}");
    }
    assert_eq!(
        b.value("SELECT pg_postmaster_start_time()::text"),
        start,
        "the server went down"
    );
    assert_eq!(b.cluster.crashes(), 0);
    // The control run ends the server, in a cluster of its own, as long as nobody has mended it there.
    let bare = Cluster::start_bare(b.version);
    let mut su = bare
        .connect("postgres", "postgres", &[])
        .expect("the superuser connects");
    let control = su.simple("SELECT CASE 81985529216486895 WHEN g THEN 'x' ELSE JSON_OBJECT('a': g RETURNING varchar(500)) END FROM generate_series(1, 2) g");
    if !control.closed {
        assert_eq!(control.text(0, 0), "{\"a\" : 1}", "control run");
        eprintln!("  this PostgreSQL does not mix them up any more");
    }
}

//! Ways around a mask or row filter that lead over something else: another relation of the family, a copy, a
//! message, a size, a place, another server.

use cluster_tests::bench::leak;
use cluster_tests::{Bench, Case, cases};

use crate::c23_everywhere::another_server;

pub const CASES: &[Case] = cases![
    a_label_without_a_mask,
    a_stricter_mask_of_a_child,
    a_copy_of_what_a_function_returned,
    unclassified_columns_of_a_copy,
    explain_of_a_function,
    sizes_of_all_indexes,
    places_of_rows,
    copy_past_the_filter,
    what_an_update_computes_again,
    names_made_of_values,
    masks_called_with_other_types,
    a_filter_that_another_server_does_not_know,
    partitions_by_a_hidden_column,
    what_writing_tells_of_partitions,
    what_a_foreign_key_tells,
    messages_about_locks,
    how_wide_a_hidden_value_is,
    rows_that_are_too_wide,
];

/// Labels matter as soon as one of them has a mask. One that has none says nothing about a column that is masked
/// by name, there or in a parent.
fn a_label_without_a_mask(b: &Bench) {
    b.mask();
    b.setup(
        "SELECT agent_policy.mask_label('secret', 'redact');
         SECURITY LABEL FOR agent_policy ON COLUMN shop.vips.email IS 'nothing in particular';
         SECURITY LABEL FOR agent_policy ON COLUMN shop.customers.ssn IS 'nothing in particular';
         SECURITY LABEL FOR agent_policy ON COLUMN shop.orders.status IS 'nothing in particular'",
    );
    b.masks("SELECT email, ssn FROM shop.vips");
    b.masks("SELECT email, ssn FROM shop.customers");
    assert_eq!(
        b.allows("SELECT DISTINCT status FROM shop.orders ORDER BY 1")
            .column(),
        ["new", "paid", "sent"]
    );
}

fn a_stricter_mask_of_a_child(b: &Bench) {
    b.mask();
    b.setup("SELECT agent_policy.mask_column('shop.vips', 'email', 'redact')");
    let emails = |from: &str| {
        b.masks(&format!(
            "SELECT DISTINCT email FROM {from} WHERE id > 9000"
        ))
        .column()
    };
    assert_eq!(emails("shop.vips"), ["***"]);
    // Of two masks that differ neither shows what the other hides.
    assert_eq!(emails("shop.customers"), ["∅"]);
    b.setup("SELECT agent_policy.mask_column('shop.customers', 'email', 'none')");
    assert_eq!(emails("shop.customers"), ["***"]);
}

fn a_copy_of_what_a_function_returned(b: &Bench) {
    b.setup(
        "CREATE FUNCTION shop.everybody() RETURNS SETOF shop.customers LANGUAGE sql AS 'SELECT * FROM shop.customers';
         CREATE VIEW shop.of_function AS SELECT email FROM shop.everybody();
         CREATE MATERIALIZED VIEW shop.copied AS SELECT * FROM shop.everybody();
         CREATE MATERIALIZED VIEW shop.copied_by_view AS SELECT lower(email) FROM shop.of_function;
         CREATE MATERIALIZED VIEW shop.counted AS SELECT status, count(*) AS n FROM shop.orders GROUP BY status;
         GRANT SELECT ON ALL TABLES IN SCHEMA shop TO @agent@, @plain@",
    );
    b.mask();
    for sql in [
        "SELECT * FROM shop.copied",
        "SELECT * FROM shop.copied_by_view",
    ] {
        b.hides(sql);
        b.denies(sql, "42501", "policy_unavailable");
    }
    assert_eq!(b.allows("SELECT * FROM shop.counted").rows.len(), 3);
}

fn unclassified_columns_of_a_copy(b: &Bench) {
    b.setup(
        "CREATE MATERIALIZED VIEW shop.copied AS SELECT id, email, region FROM shop.customers;
         GRANT SELECT ON shop.copied TO @agent@, @plain@",
    );
    b.allow();
    b.setup(
        "SELECT agent_policy.allow_relation('@agent@', 'shop.copied');
         SELECT agent_policy.unclassified_columns('@agent@', 'mask');
         SELECT agent_policy.mask_column('shop.copied', 'id', 'none');
         SECURITY LABEL FOR agent_policy ON COLUMN shop.copied.region IS 'region'",
    );
    b.masks("SELECT email FROM shop.copied");
    let row = b.allows("SELECT id, email, region FROM shop.copied WHERE id = 1");
    assert_eq!(row.texts(), [["1", "***", "south"]]);
}

/// How many pages a function reads tells whether what it looks for is there.
fn explain_of_a_function(b: &Bench) {
    b.mask();
    b.setup(
        "CREATE FUNCTION shop.known(i int) RETURNS boolean LANGUAGE plpgsql STABLE AS
         'BEGIN RETURN EXISTS (SELECT FROM shop.customers WHERE id = i AND length(ssn) > 5); END';
         SELECT agent_policy.allow_function('@agent@', 'shop.known(int)');
         SELECT agent_policy.filter_rows('shop.customers', 'id > 10')",
    );
    let sql = "EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, SUMMARY OFF) SELECT shop.known(5)";
    assert!(
        b.unconfined()
            .query(sql)
            .texts()
            .concat()
            .concat()
            .contains("actual")
    );
    let plan = b.allows(sql).texts().concat().concat();
    assert!(
        !plan.contains("actual") && !plan.contains("Buffers"),
        "{plan}"
    );
    let plain = "EXPLAIN (ANALYZE, TIMING OFF) SELECT count(*) FROM shop.orders";
    let plan = b.allows(plain).texts().concat().concat();
    assert!(plan.contains("actual"), "{plan}");
}

/// All indexes of a table, less those whose sizes are shown.
fn sizes_of_all_indexes(b: &Bench) {
    let sizes =
        "SELECT pg_indexes_size('shop.customers'), pg_total_relation_size('shop.customers')";
    assert!(
        !b.unconfined()
            .query(sizes)
            .texts()
            .concat()
            .contains(&"∅".to_owned())
    );
    b.mask();
    assert_eq!(b.agent().query(sizes).texts(), [["∅", "∅"]]);
    let others = "SELECT pg_indexes_size('shop.orders') > 0, pg_relation_size('shop.orders_pkey') > 0, pg_relation_size('shop.customers_pkey')";
    assert_eq!(b.allows(others).texts(), [["t", "t", "∅"]]);
}

/// A narrow and a wide secret, in a table that the agent may write to.
fn wide_and_narrow(b: &Bench) {
    b.setup(
        "CREATE TABLE shop.notes (id int PRIMARY KEY, tick int, pad text, secret text);
         ALTER TABLE shop.notes ALTER secret SET STORAGE PLAIN, ALTER pad SET STORAGE PLAIN;
         INSERT INTO shop.notes VALUES (1, 0, '', 'QUAGGA'), (2, 0, '', repeat('QUAGGA', 100));
         CREATE INDEX ON shop.notes (pad, secret);
         GRANT ALL ON shop.notes TO @agent@, @plain@",
    );
    b.setup("VACUUM ANALYZE shop.notes");
    b.allow();
    b.setup(
        "SELECT agent_policy.protect_role('@agent@', 'read_write');
         SELECT agent_policy.allow_relation('@agent@', 'shop.notes', 'write');
         SELECT agent_policy.mask_column('shop.notes', 'secret')",
    );
}

/// Who writes makes copies of a row, hidden values included, until something tells how much room they take.
fn how_wide_a_hidden_value_is(b: &Bench) {
    wide_and_narrow(b);
    let grow = |wire: &mut cluster_tests::Wire, id: u32| {
        wire.query("BEGIN");
        for _ in 0..200 {
            wire.query(&format!(
                "UPDATE shop.notes SET tick = tick + 1 WHERE id = {id}"
            ));
        }
        wire.query("COMMIT");
    };
    let told = [
        "SELECT pg_relation_size('shop.notes'), pg_table_size('shop.notes'), pg_total_relation_size('shop.notes'), pg_relation_size('shop.notes', 'main'), pg_indexes_size('shop.notes')",
        "SELECT relpages, relallvisible FROM pg_class WHERE oid IN ('shop.notes'::regclass, 'shop.notes_pkey'::regclass)",
        "SELECT heap_blks_hit + heap_blks_read, n_tup_hot_upd, n_dead_tup FROM pg_statio_user_tables JOIN pg_stat_user_tables USING (relid) WHERE relid = 'shop.notes'::regclass",
        "SELECT pg_database_size(oid) FROM pg_database WHERE datname = current_database()",
        "EXPLAIN (COSTS OFF) SELECT tick FROM shop.notes WHERE id = 1",
    ];
    let ask = |wire: &mut cluster_tests::Wire| told.map(|sql| wire.query(sql).texts());
    let mut plain = b.unconfined();
    let narrow = ask(&mut plain);
    grow(&mut plain, 2);
    plain.query("SELECT pg_stat_force_next_flush()");
    for (at, (before, after)) in narrow.iter().zip(ask(&mut plain)).enumerate() {
        // Who vacuums tells of pages, nobody did.
        assert_eq!(*before == after, at == 1, "control: {}", told[at]);
    }
    b.setup("TRUNCATE shop.notes; INSERT INTO shop.notes VALUES (1, 0, '', 'QUAGGA'), (2, 0, '', repeat('QUAGGA', 100))");
    b.setup("VACUUM ANALYZE shop.notes");
    let mut agent = b.agent();
    let before = ask(&mut agent);
    for (at, nothing) in [
        (0, vec![vec!["∅"; 5]]),
        (1, vec![vec!["0"; 2]; 2]),
        (2, vec![vec!["∅"; 3]]),
        (3, vec![vec!["∅"; 1]]),
    ] {
        assert_eq!(before[at], nothing, "{}", told[at]);
    }
    grow(&mut agent, 2);
    b.setup("SELECT pg_stat_force_next_flush()");
    assert_eq!(ask(&mut agent), before);
    b.denies(
        "SELECT pg_database_size(current_database())",
        "42501",
        "relation_not_allowed",
    );
    // Where a row found room tells, too.
    for sql in [
        "UPDATE shop.notes SET tick = 0 RETURNING ctid",
        "SELECT ctid FROM shop.notes",
        "DELETE FROM shop.notes WHERE ctid = '(0,1)'",
    ] {
        let control = b.unconfined().simple(sql);
        assert!(control.errors.is_empty(), "control: {sql}");
        b.denies(sql, "42501", "column_denied");
    }
    let sample = "SELECT id FROM shop.notes TABLESAMPLE SYSTEM (50)";
    b.denies(sample, "42501", "statement_not_allowed");
    // Who only reads is told the size of the database.
    b.setup("SELECT agent_policy.protect_role('@agent@', 'read_only')");
    b.allows("SELECT pg_database_size(current_database()), pg_size_pretty(pg_database_size(oid)) FROM pg_database");
}

/// The error says how wide the row is.
fn rows_that_are_too_wide(b: &Bench) {
    wide_and_narrow(b);
    for digits in [2700, 8150] {
        let update = |id: u32| {
            format!(
                "UPDATE shop.notes SET pad = (SELECT left(string_agg(md5(g::text), ''), {digits}) FROM generate_series(1, 300) g) WHERE id = {id}"
            )
        };
        let controls = [1, 2].map(|id| b.unconfined().error(&update(id)));
        assert_ne!(controls[0].message, controls[1].message, "control");
        let errors = [1, 2].map(|id| b.agent().error(&update(id)));
        assert_eq!(errors[0].message, errors[1].message);
        assert_eq!(errors[0].detail, errors[1].detail);
        assert_eq!(errors[0].hint, errors[1].hint);
    }
}

/// Between two rows that lie apart are rows that are not shown.
fn places_of_rows(b: &Bench) {
    b.allow();
    b.setup("SELECT agent_policy.filter_rows('shop.orders', 'id % 2 = 0')");
    for column in ["ctid", "xmin", "cmin", "xmax", "cmax"] {
        b.denies(
            &format!("SELECT {column} FROM shop.orders"),
            "42501",
            "column_denied",
        );
    }
    b.denies(
        "SELECT count(*) FROM shop.orders WHERE ctid = '(0,1)'",
        "42501",
        "column_denied",
    );
    b.allows("SELECT tableoid::regclass, o FROM shop.orders o LIMIT 1");
    b.allows("SELECT ctid FROM shop.scratch");
    // A view of the owner's shows them no more, whatever the table hides.
    b.setup(
        "CREATE VIEW shop.places AS SELECT id, ctid AS place FROM shop.scratch;
         GRANT SELECT ON shop.places TO @agent@, @plain@",
    );
    let sql = "SELECT place FROM shop.places";
    b.allows(sql);
    for hide in [
        "SELECT agent_policy.mask_column('shop.scratch', 'v')",
        "SELECT agent_policy.unmask_column('shop.scratch', 'v'), agent_policy.filter_rows('shop.scratch', 'id > 1')",
        "SELECT agent_policy.remove_row_filter('shop.scratch'), agent_policy.deny_column('@agent@', 'shop.scratch', 'v')",
    ] {
        b.setup(hide);
        b.unconfined().query(sql);
        let denied = b.denies(sql, "42501", "column_denied");
        b.allows(&denied.hint);
        // The view is read as a whole.
        b.denies("SELECT id FROM shop.places", "42501", "column_denied");
    }
}

fn copy_past_the_filter(b: &Bench) {
    b.setup("GRANT ALL ON shop.scratch TO @agent@");
    b.allow();
    b.setup(
        "SELECT agent_policy.protect_role('@agent@', 'read_write');
         SELECT agent_policy.allow_relation('@agent@', 'shop.scratch', 'write');
         SELECT agent_policy.filter_rows('shop.scratch', $$v <> 'three'$$)",
    );
    let error = b
        .agent()
        .error("INSERT INTO shop.scratch VALUES (3, 'three')");
    assert_eq!(error.code, "42501", "{error}");
    b.denies(
        "COPY shop.scratch FROM STDIN",
        "42501",
        "statement_not_allowed",
    );
    b.agent()
        .query("INSERT INTO shop.scratch VALUES (4, 'four')");
    assert_eq!(b.value("SELECT count(*) FROM shop.scratch"), "3");
}

/// A change of one column computes generated columns, keys of indexes and checks again, from hidden ones, too.
fn what_an_update_computes_again(b: &Bench) {
    b.setup(
        "CREATE FUNCTION shop.number(t text) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT CASE WHEN t LIKE ''%!'' THEN t::int ELSE 0 END';
         CREATE TABLE shop.generated (id int, kind text DEFAULT '', ssn text, code int GENERATED ALWAYS AS (shop.number(ssn || kind)) STORED);
         CREATE TABLE shop.indexed (id int, kind text DEFAULT '', ssn text);
         CREATE INDEX ON shop.indexed (shop.number(ssn || kind));
         CREATE TABLE shop.checked (id int, kind text DEFAULT '', ssn text, CHECK (shop.number(ssn || kind) >= 0));
         INSERT INTO shop.generated (id, ssn) VALUES (1, '811-22-0001');
         INSERT INTO shop.indexed (id, ssn) VALUES (1, '811-22-0001');
         INSERT INTO shop.checked (id, ssn) VALUES (1, '811-22-0001');
         GRANT ALL ON shop.generated, shop.indexed, shop.checked TO @agent@, @plain@",
    );
    b.allow();
    b.setup(
        "SELECT agent_policy.protect_role('@agent@', 'read_write');
         SELECT agent_policy.allow_function('@agent@', 'shop.number(text)')",
    );
    for table in ["generated", "indexed", "checked"] {
        b.setup(&format!(
            "SELECT agent_policy.allow_relation('@agent@', 'shop.{table}', 'write'); SELECT agent_policy.mask_column('shop.{table}', 'ssn')"
        ));
        let sql = format!("UPDATE shop.{table} SET kind = '!' WHERE id = 1");
        b.hides(&sql);
        let error = b.agent().error(&sql);
        assert!(error.message.contains("could not be computed"), "{error}");
    }
}

/// What is not there is told by its name, which a mask or filter may have made of a value.
fn names_made_of_values(b: &Bench) {
    b.setup(
        "CREATE TABLE shop.named (id int, note text); INSERT INTO shop.named VALUES (1, '\"QUAGGA_name\"');
         GRANT SELECT ON shop.named TO @agent@, @plain@",
    );
    b.allow();
    for kind in [
        "regclass",
        "regnamespace",
        "regrole",
        "regtype",
        "regproc",
        "regconfig",
        "int",
    ] {
        b.setup(&format!(
            r#"SELECT agent_policy.mask_column('shop.named', 'note', 'expression', '{{"sql": "note::{kind}::text"}}')"#
        ));
        let mut agent = b.agent();
        let error = agent.error("SELECT note FROM shop.named");
        assert_eq!(leak(&agent.received), None, "{kind}: {error}");
        let told = [
            "could not be computed",
            "that the statement names is not allowed",
        ];
        assert!(
            told.iter().any(|told| error.message.contains(told)),
            "{kind}: {error}"
        );
        let control = b
            .unconfined()
            .error(&format!("SELECT note::{kind} FROM shop.named"));
        assert!(control.message.contains("QUAGGA"), "{kind}: {control}");
    }
    // Errors of the statement's own stay what they are.
    let error = b.agent().error("SELECT nothing FROM shop.named");
    assert_eq!(error.code, "42703", "{error}");
}

/// Any role may call the functions of masks, with whatever it likes.
fn masks_called_with_other_types(b: &Bench) {
    let mut plain = b.unconfined();
    for (call, expected) in [
        (
            "ARRAY[1::bigint], 'agent_policy.mask_email(text)'::regprocedure",
            "",
        ),
        (
            "ARRAY[1.5], 'agent_policy.mask_email(text)'::regprocedure",
            "",
        ),
        (
            "ARRAY['abc'], 'agent_policy.mask_partial(text,int,int,text)'::regprocedure, 1, 0, 7",
            "",
        ),
        (
            "ARRAY['abc'], 'agent_policy.mask_partial(text,int,int,text)'::regprocedure, 'a'::text, 0, '*'::text",
            "",
        ),
        (
            "ARRAY['abc'], 'agent_policy.mask_partial(text,int,int,text)'::regprocedure, 1, 0, '*'::text",
            "{a**}",
        ),
        (
            "ARRAY['abc'::varchar], 'agent_policy.mask_partial(text,int,int,text)'::regprocedure, 1, 0, '*'::text",
            "{a**}",
        ),
        (
            "ARRAY['x@y.z'], 'agent_policy.mask_email(text)'::regprocedure",
            "{x***@example.com}",
        ),
        ("ARRAY['x'], 'pg_catalog.upper(text)'::regprocedure", ""),
        (
            "ARRAY[12], 'agent_policy.mask_bucket(int,int)'::regprocedure, 5",
            "{10}",
        ),
        (
            "ARRAY[12], 'agent_policy.mask_bucket(int,int)'::regprocedure, 5::bigint",
            "",
        ),
        (
            "ARRAY[12], 'agent_policy.mask_bucket(bigint,bigint)'::regprocedure, 5::bigint",
            "",
        ),
    ] {
        let answer = plain.query(&format!("SELECT agent_policy.mask_each({call})"));
        let expected = if expected.is_empty() { "∅" } else { expected };
        assert_eq!(answer.one(), expected, "{call}");
    }
}

/// A condition that may raise goes to the other server, which knows nothing of what has to come first.
fn a_filter_that_another_server_does_not_know(b: &Bench) {
    if !another_server(b) {
        return;
    }
    b.setup(
        "CREATE FOREIGN TABLE shop.far (id int, note text, region text) SERVER loop OPTIONS (schema_name 'shop', table_name 'customers');
         GRANT ALL ON shop.far TO @agent@, @plain@",
    );
    b.allow();
    b.setup(
        "SELECT agent_policy.protect_role('@agent@', 'read_write');
         SELECT agent_policy.allow_relation('@agent@', 'shop.far', 'write');
         SELECT agent_policy.filter_rows('shop.far', $$id > 5 AND agent_policy.user_email() = 'alice@example.com'$$)",
    );
    for sql in [
        "SELECT count(*) FROM shop.far WHERE 1 / (id - 1) IS NOT NULL",
        "SELECT count(*) FROM shop.far WHERE (CASE WHEN id <= 5 THEN note ELSE '1' END)::int > 0",
        "SELECT count(*) FROM (SELECT * FROM shop.far OFFSET 0) f WHERE 1 / (id - 1) IS NOT NULL",
        "SELECT count(*) FROM shop.far f JOIN (VALUES (1), (2), (9)) o (id) ON o.id = f.id AND 1 / (f.id - 1) IS NOT NULL",
    ] {
        assert!(
            !b.unconfined().simple(sql).errors.is_empty(),
            "control run: {sql}"
        );
        let answer = b.allows(sql);
        let expected = if sql.contains("JOIN") { "1" } else { "396" };
        assert_eq!(answer.one(), expected, "{sql}");
    }
    assert_eq!(
        b.allows("SELECT f FROM shop.far f WHERE id = 6").rows.len(),
        1
    );
    for sql in [
        "UPDATE shop.far SET region = 'x' WHERE 1 / (id - 1) > 0",
        "DELETE FROM shop.far",
    ] {
        b.denies(sql, "42501", "statement_not_allowed");
    }
    b.denies("SELECT ctid FROM shop.far", "42501", "column_denied");
}

/// Which partition a row is in tells of the value that it was put there by.
fn partitions_by_a_hidden_column(b: &Bench) {
    b.setup(
        "CREATE TABLE shop.pay (id int, salary int, at date) PARTITION BY RANGE (salary);
         CREATE TABLE shop.pay_low PARTITION OF shop.pay FOR VALUES FROM (0) TO (1000);
         CREATE TABLE shop.pay_high PARTITION OF shop.pay FOR VALUES FROM (1000) TO (9999999) PARTITION BY HASH ((at + 0));
         CREATE TABLE shop.pay_higher PARTITION OF shop.pay_high FOR VALUES WITH (MODULUS 1, REMAINDER 0);
         INSERT INTO shop.pay SELECT i, i * 100, '2026-01-01' FROM generate_series(1, 20) i;
         CREATE VIEW shop.pay_where AS SELECT id, tableoid AS part FROM shop.pay;
         GRANT SELECT ON ALL TABLES IN SCHEMA shop TO @agent@, @plain@",
    );
    b.allow();
    let of_parent = "SELECT id FROM shop.pay WHERE tableoid = 'shop.pay_low'::regclass ORDER BY 1";
    let of_part = "SELECT count(*) FROM shop.pay_low";
    assert_eq!(b.allows(of_part).column(), ["9"]);
    assert_eq!(b.allows(of_parent).rows.len(), 9);

    b.setup("SELECT agent_policy.mask_column('shop.pay', 'salary')");
    let denied = |sql: &str, rule: &str| b.denies(sql, "42501", rule);
    for sql in [
        "SELECT DISTINCT tableoid FROM shop.pay",
        "SELECT id FROM shop.pay p WHERE p.tableoid::int8 > 0",
        "SELECT count(*) FROM shop.pay GROUP BY tableoid",
        "SELECT (SELECT p.tableoid) FROM shop.pay p ORDER BY p.tableoid",
        "SELECT part FROM shop.pay_where",
    ] {
        let error = denied(sql, "column_denied");
        assert!(error.hint.starts_with("SELECT id, salary, at"), "{error}");
        b.allows(&error.hint);
    }
    for part in ["pay_low", "pay_high", "pay_higher"] {
        let error = denied(
            &format!("SELECT count(*) FROM shop.{part}"),
            "relation_not_allowed",
        );
        assert!(!error.hint.contains(part), "{error}");
        denied(
            &format!("SELECT 'shop.{part}'::regclass"),
            "relation_not_allowed",
        );
        denied(
            &format!("COPY shop.{part} TO STDOUT"),
            "relation_not_allowed",
        );
        denied(&format!("SELECT NULL::shop.{part}"), "relation_not_allowed");
    }
    denied(of_parent, "column_denied");
    let mut agent = b.agent();
    assert_eq!(
        agent
            .query("SELECT relname FROM pg_class WHERE relname LIKE 'pay%' ORDER BY 1")
            .column(),
        ["pay", "pay_where"]
    );
    assert!(
        agent
            .query("SELECT inhrelid FROM pg_inherits WHERE inhparent = 'shop.pay'::regclass")
            .rows
            .is_empty()
    );
    // Its plan would name them.
    denied("EXPLAIN SELECT * FROM shop.pay", "statement_not_allowed");
    assert_eq!(
        b.allows("SELECT count(*), count(DISTINCT salary), min(at) FROM shop.pay")
            .texts(),
        [["20", "1", "2026-01-01"]]
    );
    // By its own name the administrator may allow one; then its rows are like those of any table.
    b.setup("SELECT agent_policy.allow_relation('@agent@', 'shop.pay_low')");
    assert_eq!(
        b.allows("SELECT count(*), min(salary) FROM shop.pay_low")
            .texts(),
        [["9", "0"]]
    );

    // The same of a column that may not be named.
    b.setup(
        "SELECT agent_policy.unmask_column('shop.pay', 'salary'), agent_policy.reset_relation('@agent@', 'shop.pay_low')",
    );
    assert_eq!(b.allows(of_part).column(), ["9"]);
    b.setup("SELECT agent_policy.deny_column('@agent@', 'shop.pay', 'salary')");
    denied(of_part, "relation_not_allowed");
    denied("SELECT id, tableoid FROM shop.pay", "column_denied");
    denied("SELECT id FROM shop.pay ORDER BY ctid", "column_denied");
    // Of another column it tells nothing.
    b.setup(
        "SELECT agent_policy.reset_column('@agent@', 'shop.pay', 'salary'), agent_policy.mask_column('shop.pay', 'id')",
    );
    assert_eq!(b.allows(of_part).column(), ["9"]);
    assert_eq!(
        b.allows("SELECT count(DISTINCT tableoid) FROM shop.pay")
            .column(),
        ["2"]
    );
    // What an expression of the key reads counts.
    b.setup("SELECT agent_policy.unmask_column('shop.pay', 'id'), agent_policy.mask_column('shop.pay', 'at')");
    denied(
        "SELECT count(*) FROM shop.pay_higher",
        "relation_not_allowed",
    );
    denied("SELECT tableoid FROM shop.pay_high", "column_denied");
    assert_eq!(
        b.allows("SELECT tableoid::regclass::text FROM shop.pay_low LIMIT 1")
            .column(),
        ["shop.pay_low"]
    );
}

/// What goes wrong with a row is told without the partition that it is in, and a row is not moved to find out.
fn what_writing_tells_of_partitions(b: &Bench) {
    b.setup(
        "CREATE TABLE shop.other (id int PRIMARY KEY);
         INSERT INTO shop.other SELECT generate_series(1, 20);
         CREATE TABLE shop.q (id int REFERENCES shop.other, val int NOT NULL CHECK (val < 1000), yr int, seg text) PARTITION BY LIST (seg);
         CREATE TABLE shop.q_rich PARTITION OF shop.q FOR VALUES IN ('rich') PARTITION BY RANGE (yr);
         CREATE TABLE shop.q_poor PARTITION OF shop.q FOR VALUES IN ('poor') PARTITION BY RANGE (yr);
         CREATE TABLE shop.q_rich1 PARTITION OF shop.q_rich FOR VALUES FROM (0) TO (100);
         CREATE TABLE shop.q_poor1 PARTITION OF shop.q_poor FOR VALUES FROM (0) TO (100);
         CREATE UNIQUE INDEX ON shop.q_rich1 (val);
         INSERT INTO shop.q SELECT i, i, i, CASE WHEN i % 2 = 0 THEN 'rich' ELSE 'poor' END FROM generate_series(1, 20) i;
         CREATE TABLE shop.px (id int, sal int, bonus int) PARTITION BY RANGE ((sal + bonus));
         CREATE TABLE shop.px_a PARTITION OF shop.px FOR VALUES FROM (0) TO (1000);
         INSERT INTO shop.px VALUES (1, 730, 5);
         GRANT ALL ON ALL TABLES IN SCHEMA shop TO @agent@, @plain@;
         SELECT agent_policy.protect_role('@agent@', 'read_write');
         SELECT agent_policy.allow_schema('@agent@', 'shop', 'write');
         SELECT agent_policy.mask_column('shop.q', 'seg'), agent_policy.mask_column('shop.px', 'sal', 'null')",
    );
    let mut agent = b.agent();
    for (sql, code) in [
        ("UPDATE shop.q SET val = NULL WHERE id = 2", "23502"),
        ("UPDATE shop.q SET val = 5000 WHERE id = 2", "23514"),
        ("UPDATE shop.q SET val = 4 WHERE id = 2", "23505"),
        ("UPDATE shop.q SET id = 999 WHERE id = 2", "23503"),
    ] {
        let plain = b.unconfined().simple(&format!("BEGIN; {sql}"));
        let said = String::from_utf8_lossy(&plain.bytes).into_owned();
        assert!(said.contains("q_rich"), "control run: {said}");
        let answer = agent.simple(sql);
        assert_eq!(answer.err().code, code, "{sql}");
        let said = String::from_utf8_lossy(&answer.bytes).into_owned();
        assert!(!said.contains("q_"), "{sql}: {said}");
        // Nor does a handler in a function get to know.
        let plpgsql = format!(
            "DO $$ DECLARE m text; t text; c text; BEGIN {sql}; EXCEPTION WHEN OTHERS THEN
             GET STACKED DIAGNOSTICS m = MESSAGE_TEXT, t = TABLE_NAME, c = PG_EXCEPTION_CONTEXT; RAISE EXCEPTION '% % %', m, t, c; END $$"
        );
        let said = agent.simple(&plpgsql);
        let said = String::from_utf8_lossy(&said.bytes).into_owned();
        assert!(
            !said.contains("q_rich1") && !said.contains("q_poor"),
            "{sql}: {said}"
        );
    }
    for sql in [
        "UPDATE shop.q SET yr = 500 WHERE id = 2",
        "UPDATE shop.px SET bonus = 270 WHERE id = 1",
        "INSERT INTO shop.px (id, bonus) VALUES (2, 5) ON CONFLICT DO NOTHING; UPDATE shop.px SET bonus = 1",
        "MERGE INTO shop.q t USING (VALUES (2)) v (i) ON t.id = v.i WHEN MATCHED THEN UPDATE SET yr = 500",
    ] {
        let error = b.agent().simple(sql).err();
        assert!(
            matches!(error.rule().as_str(), "masked_column_write" | ""),
            "{sql}: {error}"
        );
        assert!(
            !error.to_string().contains("q_rich") && error.code != "23514"
                || error.message.starts_with("a row does not"),
            "{sql}: {error}"
        );
    }
    // What has nothing to do with it may be changed.
    agent.query("UPDATE shop.q SET val = val + 100 WHERE id = 3");
}

/// Whether a row may be written tells whether there is one that it refers to.
fn what_a_foreign_key_tells(b: &Bench) {
    b.setup(
        "CREATE TABLE shop.key (id int PRIMARY KEY, secret int UNIQUE); INSERT INTO shop.key VALUES (1, 100), (2, 200);
         CREATE TABLE shop.to_secret (k int, s int REFERENCES shop.key (secret));
         CREATE TABLE shop.grouped (id int PRIMARY KEY); INSERT INTO shop.grouped VALUES (7);
         CREATE TABLE shop.to_group (k int, g int REFERENCES shop.grouped);
         CREATE TABLE shop.to_key (k int, i int REFERENCES shop.key (id));
         GRANT ALL ON ALL TABLES IN SCHEMA shop TO @agent@, @plain@;
         SELECT agent_policy.protect_role('@agent@', 'read_write');
         SELECT agent_policy.allow_schema('@agent@', 'shop', 'write');
         SELECT agent_policy.deny_column('@agent@', 'shop.key', 'secret'), agent_policy.require_group_size('shop.grouped', 5)",
    );
    for (table, column, there, not_there) in
        [("to_secret", "s", 100, 101), ("to_group", "g", 7, 77)]
    {
        for (value, found) in [(there, true), (not_there, false)] {
            let sql = format!("INSERT INTO shop.{table} (k, {column}) VALUES (1, {value})");
            let plain = b.unconfined().simple(&format!("BEGIN; {sql}; ROLLBACK"));
            assert_eq!(plain.errors.is_empty(), found, "control run: {sql}");
            let error = b.denies(&sql, "42501", "masked_column_write");
            assert!(!error.to_string().contains(&value.to_string()), "{error}");
        }
        b.allows(&format!("INSERT INTO shop.{table} (k) VALUES (1)"));
        b.denies(
            &format!("UPDATE shop.{table} SET {column} = 1"),
            "42501",
            "masked_column_write",
        );
    }
    b.allows("INSERT INTO shop.to_key VALUES (1, 1)");
}

/// Who waits for a row is not told where that lies.
fn messages_about_locks(b: &Bench) {
    b.setup(
        "CREATE TABLE shop.seats (id int, seg text) PARTITION BY LIST (seg);
         CREATE TABLE shop.seats_front PARTITION OF shop.seats FOR VALUES IN ('front');
         INSERT INTO shop.seats SELECT i, 'front' FROM generate_series(1, 20) i;
         GRANT ALL ON ALL TABLES IN SCHEMA shop TO @agent@, @plain@;
         SELECT agent_policy.protect_role('@agent@', 'read_write');
         SELECT agent_policy.allow_schema('@agent@', 'shop', 'write');
         SELECT agent_policy.deny_column('@agent@', 'shop.seats', 'seg'), agent_policy.filter_rows('shop.orders', 'id % 2 = 0')",
    );
    let mut holder = b.unconfined();
    holder.query("BEGIN");
    holder.query("SELECT id FROM shop.seats FOR UPDATE");
    holder.query("SELECT id FROM shop.orders WHERE id < 10 FOR UPDATE");
    for sql in [
        "UPDATE shop.seats SET id = id WHERE id = 2",
        "DELETE FROM shop.seats WHERE id = 2",
        "SELECT id FROM shop.seats WHERE id = 4 FOR UPDATE",
        "SELECT id FROM shop.seats WHERE id = 4 FOR UPDATE NOWAIT",
        "UPDATE shop.orders SET amount = amount WHERE id = 4",
    ] {
        let tells = |text: &[u8]| {
            let text = String::from_utf8_lossy(text).into_owned();
            text.contains("seats_front") || text.contains("(0,")
        };
        for timeout in ["lock_timeout", "statement_timeout"] {
            let (mut plain, mut agent) = (b.unconfined(), b.agent());
            for wire in [&mut plain, &mut agent] {
                wire.query(&format!("SET {timeout} = '150ms'"));
            }
            assert!(tells(&plain.simple(sql).bytes), "control run: {sql}");
            let answer = agent.simple(sql);
            assert!(
                matches!(answer.err().code.as_str(), "55P03" | "57014"),
                "{sql}: {}",
                answer.err()
            );
            assert!(!tells(&answer.bytes), "{sql}: {}", answer.err());
        }
    }
}

//! Large, deep, odd: a clean error at most, and the server stays up.

use std::sync::Arc;

use cluster_tests::bench::{denial, leak};
use cluster_tests::{Bench, Case, cases};

pub const CASES: &[Case] = cases![
    latin1_database,
    sql_ascii_database,
    bytes_without_equivalent,
    hidden_names_beyond_ascii,
    client_encodings,
    texts_of_functions,
    a_hundred_megabytes,
    deep_nesting,
    many_statements,
    many_columns_and_joins,
    nul_and_invalid_bytes,
    protocol_out_of_order,
    empty_statements,
    long_identifiers_and_odd_names,
    a_cancel_storm,
    connections_come_and_go,
    terminate_in_the_middle,
    deallocate_and_discard,
    savepoints_by_the_thousand,
];

fn alive(b: &Bench, before: &str) {
    assert_eq!(
        b.value("SELECT pg_postmaster_start_time()::text"),
        before,
        "the server went down"
    );
    b.allows("SELECT 1");
}

fn started(b: &Bench) -> String {
    b.value("SELECT pg_postmaster_start_time()::text")
}

fn encoded(b: &Bench, encoding: &str, bytes: &[u8]) {
    let own = Bench::with_database(
        Arc::clone(&b.cluster),
        &format!("TEMPLATE template0 ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C'"),
    );
    own.mask();
    let start = started(&own);
    let mut su = own
        .cluster
        .connect("postgres", &own.db, &[("client_encoding", encoding)])
        .expect("connects");
    for column in ["name", "note", "email"] {
        let mut sql = format!("UPDATE shop.customers SET {column} = 'QUAGGA ").into_bytes();
        sql.extend(bytes);
        sql.extend(b"' WHERE id = 5");
        su.simple_bytes(&sql).ok();
    }
    own.setup("SELECT agent_policy.mask_column('shop.customers', 'name', 'partial', '{\"keep_first\":1}')");
    let mut agent = own
        .agent_with(&[
            ("client_encoding", encoding),
            ("options", "-c agent_policy.user_email=alice@example.com"),
        ])
        .expect("connects");
    let mut sql = b"SELECT name, note, email, '".to_vec();
    sql.extend(bytes);
    sql.extend(b"' AS own FROM shop.customers WHERE id = 5");
    let answer = agent.simple_bytes(&sql).ok();
    assert!(leak(&answer.bytes).is_none(), "{encoding}");
    assert_eq!(
        answer.rows[0][3].as_deref(),
        Some(bytes),
        "what the agent typed comes back as it was"
    );
    for kind in ["email", "partial", "hash", "redact"] {
        own.setup(&format!(
            "SELECT agent_policy.mask_column('shop.customers', 'name', '{kind}')"
        ));
        let answer = agent.simple_bytes(b"SELECT name FROM shop.customers WHERE id = 5");
        assert!(
            answer.errors.is_empty(),
            "{encoding} {kind}: {}",
            answer.errors[0]
        );
        assert!(leak(&answer.bytes).is_none(), "{encoding} {kind}");
    }
    // Denials, syntax errors and the audit take such bytes too.
    for prefix in [
        &b"SELECT * FROM vault.secrets WHERE token = '"[..],
        b"SELEKT '",
        b"SELECT \"",
        b"SELECT /* ",
    ] {
        let mut sql = prefix.to_vec();
        sql.extend(bytes);
        sql.extend(b"' \" */");
        assert!(!agent.simple_bytes(&sql).closed, "{encoding}");
    }
    assert!(own.audit("true").len() >= 9);
    alive(&own, &start);
}

fn latin1_database(b: &Bench) {
    encoded(b, "LATIN1", b"\xe9\xe8 M\xfcller \xff");
}

fn sql_ascii_database(b: &Bench) {
    encoded(b, "SQL_ASCII", b"\xe9\xff\xfe\x80 \xc3\x28");
}

fn in_encoding(b: &Bench, encoding: &str) -> Bench {
    Bench::with_database(
        Arc::clone(&b.cluster),
        &format!("TEMPLATE template0 ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C'"),
    )
}

const ALICE: (&str, &str) = ("options", "-c agent_policy.user_email=alice@example.com");

/// 0x81 is a byte of WIN1252 that no Unicode character stands for.
fn bytes_without_equivalent(b: &Bench) {
    let own = in_encoding(b, "WIN1252");
    own.mask();
    let start = started(&own);
    let connect = |role: &str| {
        let mut parameters = vec![("client_encoding", "WIN1252")];
        if role == own.agent {
            parameters.push(ALICE);
        }
        let mut session = own
            .cluster
            .connect(role, &own.db, &parameters)
            .expect("connects");
        session.set_patience(std::time::Duration::from_secs(60));
        session
    };
    let texts = [
        &b"SELECT '\x81'"[..],
        b"SELEKT '\x81'",
        b"SELECT '\x81",
        b"SELECT \x81",
        b"SELECT \"\x81\"",
        b"SELECT * FROM \"\x81\".\"\x81\"",
        b"SELECT 1 /* \x81 */",
        b"SELEKT 1 /* \x81 */",
        b"SELECT \xe9\x81\xe9\x8d\x90",
    ];
    for role in [own.agent.as_str(), own.plain.as_str()] {
        let mut session = connect(role);
        for sql in texts {
            // As one of many texts of a session, and as its first.
            for first in [false, true] {
                let mut fresh;
                let session = if first {
                    fresh = connect(role);
                    &mut fresh
                } else {
                    &mut session
                };
                // Nobody knows any more whether it is confined.
                own.setup("SELECT agent_policy.set_limits('@agent@', max_rows => 1000)");
                let answer = session.simple_bytes(sql);
                assert_ne!(answer.code(), "SILENT", "{role}: {sql:?}");
                assert_ne!(answer.code(), "58030", "{role}: {sql:?}");
                assert!(!answer.closed, "{role}: {sql:?}");
                if sql == texts[0] {
                    assert_eq!(answer.rows[0][0].as_deref(), Some(&b"\x81"[..]));
                }
                assert_eq!(session.query("SELECT 1").one(), "1");
            }
        }
        // In a transaction that has failed there is nothing to look into.
        session.query("BEGIN");
        for _ in 0..2 {
            assert!(!session.simple_bytes(b"SELEKT '\x81'").err().code.is_empty());
        }
        session.query("ROLLBACK");
    }
    assert!(own.audit("sqlstate = '42601'").len() >= 6);
    // A relation of that name.
    let mut su = connect("postgres");
    su.simple_bytes(
        b"CREATE TABLE shop.\"\x81\" AS SELECT 7 AS \"\x81\"; GRANT SELECT ON shop.\"\x81\" TO PUBLIC",
    )
    .ok();
    let mut agent = connect(&own.agent);
    let answer = agent.simple_bytes(b"SELECT \"\x81\" FROM shop.\"\x81\"");
    assert_eq!(answer.one(), "7");
    alive(&own, &start);
}

/// A schema that is hidden and one that is not there are told apart by nothing but their names,
/// whatever encoding these are in.
fn hidden_names_beyond_ascii(b: &Bench) {
    told_alike(b);
    told_alike(&in_encoding(b, "LATIN1"));
    b.setup_error("SELECT current_setting('my.x')");
    let error = b.agent().simple("SELECT current_setting('my.x')").err();
    assert_eq!(error.code, "42704", "{error}");
}

fn told_alike(own: &Bench) {
    own.allow();
    let latin1 = [("client_encoding", "LATIN1")];
    own.cluster
        .connect("postgres", &own.db, &latin1)
        .expect("connects")
        .simple_bytes(
            b"CREATE SCHEMA \"\xe9hid\"; CREATE TABLE \"\xe9hid\".t AS SELECT 1 AS x; \
              CREATE FUNCTION \"\xe9hid\".f() RETURNS int LANGUAGE sql AS 'SELECT 1'; \
              GRANT USAGE ON SCHEMA \"\xe9hid\" TO PUBLIC; GRANT SELECT ON \"\xe9hid\".t TO PUBLIC",
        )
        .ok();
    let mut agent = own.agent_with(&[latin1[0], ALICE]).expect("connects");
    for sql in [
        "SELECT * FROM \"@\".t",
        "SELECT '\"@\".t'::regclass",
        "SELECT '@.t'::text::regclass",
        "SELECT 'é', '\"@\".t'::text::regclass",
        "SELECT '@'::regnamespace",
        "SELECT 'é', '@'::text::regnamespace",
        "SELECT \"@\".f()",
        "SELECT NULL::\"@\".t",
    ] {
        let mut answers = ["hid", "abs"].map(|name| {
            let sql = sql.replace('@', &format!("é{name}"));
            let sql: Vec<u8> = sql.chars().map(|c| c as u8).collect();
            let answer = agent.simple_bytes(&sql);
            assert!(answer.err().code.starts_with("42"), "{}", answer.err());
            answer.bytes
        });
        if sql.starts_with("SELECT *") {
            let named = |bytes: &[u8]| bytes.windows(4).any(|bytes| bytes == b"\xe9hid");
            assert!(named(&answers[0]), "{:?}", answers[0]);
        }
        for bytes in &mut answers {
            for at in 3..bytes.len() {
                if bytes[at - 3..].starts_with(b"hid") {
                    bytes[at - 3..at].copy_from_slice(b"abs");
                }
            }
        }
        assert_eq!(
            String::from_utf8_lossy(&answers[0]),
            String::from_utf8_lossy(&answers[1]),
            "{sql}"
        );
        assert_eq!(answers[0], answers[1], "{sql}");
    }
}

/// What goes into the extension's functions and comes out is text of the database.
fn texts_of_functions(b: &Bench) {
    for encoding in ["LATIN1", "UTF8"] {
        let own = in_encoding(b, encoding);
        own.mask();
        own.setup("SELECT agent_policy.require_identity('@agent@', 'asserted')");
        let mut agent = own
            .cluster
            .connect(&own.agent, &own.db, &[("client_encoding", "UTF8")])
            .expect("connects");
        let answer = agent.simple(
            "BEGIN; SELECT agent_policy.assert_user('jürgen@example.com'); \
             SELECT agent_policy.user_email() || agent_policy.claim('email'), agent_policy.claim('é') IS NULL, \
                    (SELECT email FROM agent_policy.identity()); COMMIT",
        );
        assert_eq!(answer.errors.len(), 0, "{encoding}: {:?}", answer.errors);
        let texts = answer.texts();
        assert!(
            texts.iter().any(|row| row
                == &[
                    "jürgen@example.comjürgen@example.com",
                    "t",
                    "jürgen@example.com"
                ]),
            "{encoding}: {texts:?}"
        );
        let mut dba = own
            .cluster
            .connect("postgres", &own.db, &[("client_encoding", "UTF8")])
            .expect("connects");
        let check = format!(
            "SELECT verdict, object, message FROM agent_policy.check('{}', $$SELECT 'ä' FROM \"hübsch\".t$$, 'jürgen@example.com')",
            own.agent
        );
        let row = dba.query(&check).texts().remove(0);
        assert_eq!(row[0], "denied", "{encoding}: {row:?}");
        assert!(row[2].contains("bsch"), "{encoding}: {row:?}");
        let preview = format!(
            "SELECT preview FROM agent_policy.preview('{}', 'jürgen@example.com', $$SELECT 'ä' AS \"ö\"$$) preview",
            own.agent
        );
        assert_eq!(
            dba.query(&preview).texts(),
            [[r#"{"ö": "ä"}"#]],
            "{encoding}"
        );
    }
}

fn client_encodings(b: &Bench) {
    b.mask();
    b.setup("UPDATE shop.customers SET name = 'Müller é' WHERE id = 5");
    for encoding in ["LATIN1", "WIN1252", "UTF8", "SQL_ASCII", "LATIN9"] {
        let mut agent = b
            .agent_with(&[
                ("client_encoding", encoding),
                ("options", "-c agent_policy.user_email=alice@example.com"),
            ])
            .expect("connects");
        let answer = agent.query("SELECT name, email FROM shop.customers WHERE id = 5");
        assert!(leak(&answer.bytes).is_none());
        let answer =
            agent.query("COPY (SELECT name, email FROM shop.customers WHERE id = 5) TO STDOUT");
        assert!(leak(&answer.bytes).is_none());
    }
    for encoding in ["SJIS", "BIG5", "EUC_JP", "GB18030"] {
        let mut agent = b.agent();
        agent.simple(&format!("SET client_encoding = {encoding}"));
        assert!(
            !agent
                .simple("SELECT email FROM shop.customers WHERE id = 5")
                .closed
        );
    }
}

fn a_hundred_megabytes(b: &Bench) {
    b.allow();
    let start = started(b);
    for sql in [
        format!("SELECT '{}'", "x".repeat(100_000_000)),
        format!("SELECT 1 /* {} */", "x".repeat(100_000_000)),
        format!("SELEKT {}", "x ".repeat(20_000_000)),
        format!("SELECT length('{}')", "''".repeat(10_000_000)),
    ] {
        let answer = b.agent().simple(&sql);
        assert!(
            !answer.closed || !answer.errors.is_empty(),
            "the connection broke without an error"
        );
        if let Some(error) = answer.errors.first() {
            assert_ne!(error.code, "SILENT", "no answer in time");
            assert_ne!(error.code, "XX000", "{error}");
        }
    }
    alive(b, &start);
}

fn deep_nesting(b: &Bench) {
    b.mask();
    let start = started(b);
    for depth in [50, 500, 5_000, 50_000] {
        for sql in [
            format!("SELECT {}1{}", "(".repeat(depth), ")".repeat(depth)),
            format!("SELECT {}1{}", "(SELECT ".repeat(depth), ")".repeat(depth)),
            format!("SELECT 1{}", "+1".repeat(depth)),
            format!("SELECT {}true", "NOT ".repeat(depth)),
            format!("SELECT {}1{}", "/*".repeat(depth), "*/".repeat(depth)),
            format!("SELECT {}'x'{}", "lower(".repeat(depth), ")".repeat(depth)),
            format!(
                "SELECT 1 WHERE true{}",
                " AND (true OR false)".repeat(depth)
            ),
            format!("SELECT 1{}", " UNION ALL SELECT 1".repeat(depth.min(5_000))),
            format!("SELECT ARRAY{}1{}", "[".repeat(depth), "]".repeat(depth)),
        ] {
            let answer = b.agent().simple(&sql);
            assert!(
                !answer.closed,
                "connection lost at depth {depth}: {}",
                cluster_tests::wire::clip(&sql)
            );
            if let Some(error) = answer.errors.first() {
                assert_ne!(error.code, "XX000", "depth {depth}: {error}");
                assert_ne!(error.code, "54001", "depth {depth}: {error}");
            }
        }
    }
    // What is too deep is told like any other denial, also where nothing could be parsed yet.
    let refused = || {
        b.audit("rule = 'statement_too_complex' AND verdict = 'denied' AND sqlstate = '54000' AND outcome = 'error'")
            .len()
    };
    let before = refused();
    for (sql, told) in [
        (
            format!(
                "SELECT {}1{}",
                "(SELECT ".repeat(50_000),
                ")".repeat(50_000)
            ),
            "42601",
        ),
        (format!("SELECT 1{}", "+1".repeat(500_000)), "54001"),
    ] {
        assert_eq!(b.unconfined().simple(&sql).err().code, told, "control run");
        let mut agent = b.agent();
        for _ in 0..2 {
            let answer = agent.simple(&sql);
            denial(&answer, "depth", "54000", "statement_too_complex");
        }
    }
    assert_eq!(refused(), before + 4);
    let nested = (0..200).fold("SELECT email FROM shop.customers".to_owned(), |q, i| {
        format!("SELECT * FROM ({q}) t{i}")
    });
    let answer = b.agent().simple(&nested);
    assert_eq!((leak(&answer.bytes), answer.errors.len()), (None, 0));
    alive(b, &start);
}

fn many_statements(b: &Bench) {
    b.allow();
    let start = started(b);
    let answer = b.agent().query(&"SELECT 1;".repeat(300));
    assert_eq!(answer.rows.len(), 300);
    assert_eq!(b.audit("true").len(), 300);
    let answer = b.agent().simple(&format!(
        "{}DELETE FROM shop.scratch",
        "SELECT 1;".repeat(100)
    ));
    assert_eq!(answer.err().code, "25006");
    alive(b, &start);
}

fn many_columns_and_joins(b: &Bench) {
    let columns = (0..900)
        .map(|i| format!("c{i} text DEFAULT 'QUAGGA'"))
        .collect::<Vec<_>>()
        .join(", ");
    b.setup(&format!("CREATE TABLE shop.wide ({columns}); INSERT INTO shop.wide DEFAULT VALUES; GRANT SELECT ON shop.wide TO @agent@, @plain@"));
    b.allow();
    b.setup(
        "SELECT agent_policy.mask_column('shop.wide', 'c' || i) FROM generate_series(0, 899) i",
    );
    b.masks("SELECT * FROM shop.wide");
    b.mask();
    let joins = (1..30)
        .map(|i| format!(" JOIN shop.customers c{i} ON c{i}.id = c0.id"))
        .collect::<String>();
    b.masks(&format!(
        "SELECT c0.email, c29.ssn FROM shop.customers c0{joins} WHERE c0.id = 1"
    ));
}

fn nul_and_invalid_bytes(b: &Bench) {
    b.allow();
    let start = started(b);
    for bytes in [
        &b"SELECT '\xff\xfe'"[..],
        b"SELECT '\xc3\x28'",
        b"SELECT \x01\x02",
        b"\xf0\x9f\x98\x80",
        b"SELECT '\xed\xa0\x80'",
        b"SELECT $\xff$a$\xff$",
    ] {
        assert!(!b.agent().simple_bytes(bytes).closed, "{bytes:?}");
    }
    let mut agent = b.agent();
    agent.put(b'Q', b"SELECT 1\0; DELETE FROM shop.scratch\0");
    agent.flush();
    agent.collect();
    alive(b, &start);
    assert_eq!(b.value("SELECT count(*) FROM shop.scratch"), "2");
}

fn protocol_out_of_order(b: &Bench) {
    b.mask();
    let start = started(b);
    let mut agent = b.agent();
    agent.execute("nothing", 0).sync().err();
    agent.describe(b'S', "nothing").sync().err();
    agent.bind("", "nothing", &[], false).sync().err();
    agent
        .parse("a", "SELECT email FROM shop.customers")
        .parse("a", "SELECT 1")
        .sync()
        .err();
    agent.parse("b", "SELECT 1; SELECT 2").sync().err();
    agent
        .parse("c", "SELECT email FROM shop.customers WHERE id = $1")
        .describe(b'S', "c")
        .sync()
        .ok();
    agent
        .bind("p", "c", &[Some("1")], true)
        .describe(b'P', "p")
        .execute("p", 1)
        .execute("p", 1)
        .sync()
        .ok();
    agent.put(b'C', b"Sc\0");
    agent.sync();
    agent.put(b'H', b"");
    agent.sync();
    assert_eq!(leak(&agent.received), None);
    let mut agent = b.agent();
    agent.put(b'd', b"stray copy data");
    agent.put(b'c', b"");
    agent.sync();
    let mut agent = b.agent();
    agent.put(b'!', b"what is this");
    agent.flush();
    agent.collect();
    alive(b, &start);
}

fn empty_statements(b: &Bench) {
    b.allow();
    let mut agent = b.agent();
    for sql in ["", ";", ";;", "  ", "-- nothing", "/* nothing */"] {
        assert!(agent.simple(sql).errors.is_empty(), "{sql:?}");
        assert!(agent.extended(sql, &[]).errors.is_empty(), "{sql:?}");
    }
}

fn long_identifiers_and_odd_names(b: &Bench) {
    b.setup(
        "CREATE SCHEMA \"Odd \"\"schema\"\"\"; CREATE TABLE \"Odd \"\"schema\"\"\".\"select * from; --\" (\"a b\" text, \"É\" text, \"'\" text);
         INSERT INTO \"Odd \"\"schema\"\"\".\"select * from; --\" VALUES ('QUAGGA', 'QUAGGA', 'QUAGGA');
         GRANT USAGE ON SCHEMA \"Odd \"\"schema\"\"\" TO @agent@, @plain@; GRANT SELECT ON \"Odd \"\"schema\"\"\".\"select * from; --\" TO @agent@, @plain@",
    );
    b.protect();
    let table = "\"Odd \"\"schema\"\"\".\"select * from; --\"";
    b.denies(
        &format!("SELECT * FROM {table}"),
        "42501",
        "relation_not_allowed",
    );
    b.setup("SELECT agent_policy.allow_schema('@agent@', 'Odd \"schema\"')");
    for column in ["a b", "É", "''"] {
        b.setup(&format!("SELECT agent_policy.mask_column('\"Odd \"\"schema\"\"\".\"select * from; --\"', '{column}')"));
    }
    b.masks(&format!("SELECT * FROM {table}"));
    b.masks(&format!("COPY {table} TO STDOUT"));
    b.masks(&format!("SELECT * FROM {table}"));
}

fn a_cancel_storm(b: &Bench) {
    b.mask();
    let start = started(b);
    for wait in [0, 1, 2, 5, 10, 20, 50] {
        let mut agent = b.agent();
        agent.send("SELECT c.email FROM shop.customers c, generate_series(1, 2000) g");
        std::thread::sleep(std::time::Duration::from_millis(wait));
        agent.cancel();
        let answer = agent.collect();
        assert!(!answer.closed);
        assert_eq!(leak(&answer.bytes), None);
        assert_eq!(
            agent.query("SELECT count(*) FROM shop.orders").one(),
            "3000"
        );
    }
    alive(b, &start);
}

fn connections_come_and_go(b: &Bench) {
    b.allow();
    let start = started(b);
    for _ in 0..60 {
        b.agent().query("SELECT count(*) FROM shop.orders");
    }
    assert_eq!(b.audit("true").len(), 60);
    alive(b, &start);
}

fn terminate_in_the_middle(b: &Bench) {
    b.allow();
    let start = started(b);
    let mut agent = b.agent();
    agent.send("SELECT count(*) FROM generate_series(1, 2000000000)");
    // A quarter of a second into it.
    b.wait_until_active(agent.pid);
    std::thread::sleep(std::time::Duration::from_millis(250));
    b.setup(&format!("SELECT pg_terminate_backend({})", agent.pid));
    let answer = agent.collect();
    assert_eq!(answer.err().code, "57P01");
    super::c07_complete::settled(b);
    alive(b, &start);
}

fn deallocate_and_discard(b: &Bench) {
    b.mask();
    let mut agent = b.agent();
    for sql in [
        "PREPARE p AS SELECT email FROM shop.customers",
        "EXECUTE p",
        "DEALLOCATE p",
        "DISCARD PLANS",
        "DISCARD SEQUENCES",
        "DISCARD TEMP",
        "DISCARD ALL",
        "CLOSE ALL",
        "UNLISTEN *",
    ] {
        agent.query(sql);
    }
    assert_eq!(leak(&agent.received), None);
    agent.error("EXECUTE p");
    agent.query("SELECT 1");
}

fn savepoints_by_the_thousand(b: &Bench) {
    b.allow();
    let start = started(b);
    let mut agent = b.agent();
    agent.query("BEGIN");
    for i in 0..300 {
        agent.query(&format!("SAVEPOINT s{i}"));
        if i % 3 == 0 {
            agent.simple("SELECT * FROM vault.secrets");
            agent.query(&format!("ROLLBACK TO s{i}"));
        }
    }
    assert_eq!(
        agent.query("SELECT count(*) FROM shop.orders").one(),
        "3000"
    );
    agent.query("COMMIT");
    alive(b, &start);
}

use super::*;
use proptest::prelude::*;

fn redacted(sql: &str) -> (Option<String>, Kind) {
    let r = redact(&[sql.as_bytes()]);
    (r.text.map(|t| String::from_utf8(t).expect("UTF-8")), r.kind)
}

fn text(sql: &str) -> String {
    redacted(sql)
        .0
        .unwrap_or_else(|| panic!("does not lex: {sql}"))
}

#[test]
fn literals_of_all_forms() {
    for (sql, want) in [
        (
            "SELECT abalance FROM pgbench_accounts WHERE aid = 4711;",
            "SELECT abalance FROM pgbench_accounts WHERE aid = $1;",
        ),
        (
            "  select\n 'it''s', E'a\\'b', U&'d\\0061t' , b'01', X'1F', n'x'  ",
            "select $1, $2, $3 , $4, $5, $6",
        ),
        ("SELECT $2, 'x', $1", "SELECT $2, $3, $1"),
        ("DO $body$ BEGIN PERFORM 'x'; END $body$", "DO $1"),
        ("SELECT $$a$b$$, $a$ $$ $b$ $a$", "SELECT $1, $2"),
        (
            "SELECT a$b$c, \"it's\" FROM \"1 \"\" 2\"",
            "SELECT a$b$c, \"it's\" FROM \"1 \"\" 2\"",
        ),
        (
            "SELECT -1, .5, 1., 1.5e-3, 1e5, 0x1F, 0o17, 0b101, 1_000, t.c1, 123abc",
            "SELECT -$1, $2, $3, $4, $5, $6, $7, $8, $9, t.c1, $10",
        ),
        (
            "SELECT 1/* a /* nested */ ' */+2 -- it's\n+3",
            "SELECT $1 +$2 +$3",
        ),
        ("FOR i IN 1..10", "FOR i IN $1..$2"),
        ("SELECT 1 <-- 'x'\n 2", "SELECT $1 < $2"),
        ("ALTER ROLE a PASSWORD 'geheim'", "ALTER ROLE a PASSWORD $1"),
        (
            "SELECT j->>'ssn', j#>>'{a,b}', j ? 'k', x::int[]",
            "SELECT j->>$1, j#>>$2, j ? $3, x::int[]",
        ),
        ("SELECT größe FROM 表", "SELECT größe FROM 表"),
        ("", ""),
        (" -- only a comment", ""),
        // A number ends before a dollar quote.
        ("SELECT 1$$my secretword$$", "SELECT $1$2"),
        ("SELECT 1$tag$sec secretword$tag$ x", "SELECT $1$2 x"),
        (
            "SELECT 1.$$sec secretword$$, 1..$$a b$$",
            "SELECT $1$2, $3..$4",
        ),
        ("SELECT .5$$a b$$+1.5$q$ $$ b$q$", "SELECT $1$2+$3$4"),
        ("SELECT 1'a b'1x'c d'1e'f g'", "SELECT $1$2$3$4$5$6"),
        ("SELECT 1$3", "SELECT $4$3"),
        ("SELECT 1.5.5, 1e+x, 0x1e+5", "SELECT $1$2, $3+x, $4+$5"),
        // No parameter has such a number.
        ("SELECT $4111111111111111, $65535", "SELECT $65536, $65535"),
        // A name twice is no dollar quote.
        (
            "SELECT a$b$c, t.a$b$c, a$$d FROM t",
            "SELECT a$b$c, t.a$b$c, a$$d FROM t",
        ),
    ] {
        assert_eq!(text(sql), want);
    }
}

#[test]
fn nothing_is_kept_of_what_does_not_lex() {
    for sql in [
        "SELECT 'open",
        "SELECT \"open",
        "SELECT /* open",
        "SELECT $a$ open $b$",
        "SELECT $a",
        "SELECT E'open\\'",
        "SELECT 'C:\\' , 'x'",
        "SELECT E'a'\n'b\\' secret '",
        "SELECT $1secret",
        "SELECT \u{1}",
        // Letters of a number run into what may be a dollar quote, and so do names.
        "SELECT 1a$$sec secretword$$",
        "SELECT 1e5$$sec secretword$$",
        "SELECT 1.5e-3$$sec secretword$$",
        "SELECT 0x1F$q$sec secretword$q$",
        "SELECT 1_0$$sec secretword$$",
        "SELECT 1.x$$sec secretword$$",
        "SELECT 1ä$$sec secretword$$",
        "SELECT 1$$ open",
        "SELECT 1$q",
        "SELECT $1$$sec secretword$$",
        "DO$$ BEGIN secretword; END $$",
        "ALTER ROLE a PASSWORD$q$secretword$q$",
        "SELECT a$b$$sec secretword$$",
        "SELECT\u{a0}$$sec secretword$$",
    ] {
        assert_eq!(redacted(sql), (None, Kind::NotLexed), "{sql}");
    }
}

#[test]
fn long_texts_are_cut() {
    let (text, kind) = redacted(&format!("SELECT {}", "x, ".repeat(1 << 20)));
    assert_eq!((kind, text.unwrap().len()), (Kind::Cut, MAX_TEXT));
    // One name, with and without a place to cut it at.
    for name in ["a", "ä", "表"] {
        let (text, kind) = redacted(&format!("SELECT \"{}\"", name.repeat(1 << 20)));
        assert_eq!(kind, Kind::Cut);
        assert!(text.unwrap().starts_with("SELECT \""));
    }
    for c in [
        "$", "'", "(", "/*", "\"", "1.", "\\", "$a$", "a$b$ ", "a$$", "1$", "$a", "$$ ",
    ] {
        let _ = redacted(&c.repeat((4 << 20) / c.len()));
    }
    let many: String = (0..300_000).map(|i| format!("a$b{i}$c ")).collect();
    let _ = redacted(&many);
}

#[test]
fn what_is_not_kept_takes_no_room() {
    let blanks = " ".repeat(66_000);
    let comment = format!("/*{}*/", "x".repeat(1 << 20));
    for between in [blanks.as_str(), &comment, &format!("--{blanks}\n")] {
        let (text, kind) = redacted(&format!(
            "{between} SELECT 1{between}, email, name FROM shop.customers{between}"
        ));
        assert_eq!(kind, Kind::Whole);
        assert_eq!(
            text.unwrap().replace(" ,", ","),
            "SELECT $1, email, name FROM shop.customers"
        );
    }
    let (text, _) = redacted(&format!("SELECT '{}', email", "x".repeat(20 << 20)));
    assert_eq!(text.as_deref(), Some("SELECT $1, email"));
}

#[test]
fn parts() {
    let r = redact(&[
        b"EXECUTE p('x') -- why",
        b"\nAS ",
        b"SELECT $2, 'y', \xe9 /* \xe8 */",
    ]);
    assert_eq!(
        r.text.as_deref(),
        Some(&b"EXECUTE p($3) AS SELECT $2, $4, \xe9"[..])
    );
    assert_eq!(redact(&[b"SELECT 'a", b"b'"]).text, None);
}

#[test]
fn kinds() {
    for (sql, want) in [
        ("select 1", Some("SELECT")),
        (" /* x */ (SELECT 1", Some("SELECT")),
        ("create or replace temp view v", Some("CREATE VIEW")),
        ("DROP MATERIALIZED VIEW x", Some("DROP MATERIALIZED VIEW")),
        ("ALTER SYSTEM SET x", Some("ALTER SYSTEM")),
        ("CREATE UNIQUE INDEX", Some("CREATE INDEX")),
        ("INSERT INTO t VALUES ('open", Some("INSERT")),
        ("frobnicate", None),
        ("", None),
        ("CREATE", None),
        ("'x'", None),
        ("DELETE FROM t", Some("DELETE")),
    ] {
        assert_eq!(command_kind(sql.as_bytes()), want, "{sql}");
    }
}

#[test]
fn short_statements_are_fast() {
    let sql = "SELECT abalance FROM pgbench_accounts WHERE aid = 4711;";
    let t = std::time::Instant::now();
    for _ in 0..100_000 {
        std::hint::black_box(redact(std::hint::black_box(&[sql.as_bytes()])));
    }
    println!("{:?} a statement", t.elapsed() / 100_000);
}

/// A literal that contains SECRET (or digits only), in each form it can have.
fn literal() -> impl Strategy<Value = String> {
    let inner = "[ a-z;,()/*$\"-]{0,6}";
    (inner, inner, 0..9_u8).prop_map(|(a, b, form)| {
        let s = format!("{a}SECRET{b}");
        match form {
            0 => format!("'{s}''{s}'"),
            1 => format!("E'{s}\\'{s}\\\\'"),
            2 => format!("U&'{s}'"),
            3 => format!("$q${}$q$", s.replace('$', "")),
            4 => format!("$${}$$", s.replace('$', "")),
            5 => format!("N'{s}'"),
            6 => "9119119".into(),
            7 => "0x9119119".into(),
            _ => "9119119.911e-9".into(),
        }
    })
}

/// A literal with MARK inside, which has blanks around it and nothing that ends the literal.
fn marked() -> impl Strategy<Value = String> {
    ("[ a-z1;,()*-]{0,4}", "[ ;,()*-]{0,4}", 0..9_u8).prop_map(|(a, b, form)| {
        let s = format!("{a} MARK {b}");
        match form {
            0 => format!("'{s}'"),
            1 => format!("'{s}''{s}'"),
            2 => format!("E'{s}\\'{s}'"),
            3 => format!("U&'{s}'"),
            4 => format!("N'{s}'"),
            5 => format!("$q${s}$q$"),
            6 => format!("$ä_1$${s}$$ $ä_1$"),
            7 => format!("$${s}$$"),
            _ => format!("$q$ $$ {s} $Q$ $q$"),
        }
    })
}

fn touching() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "1",
        "1.",
        ".5",
        "1..",
        "1e",
        "1e5",
        "1.5e-3",
        "1e+",
        "0x1F",
        "0x",
        "1_0",
        "1_",
        "1a",
        "1ä",
        "a",
        "a$b",
        "a$",
        "a$b$",
        "e",
        "u",
        "x",
        "DO",
        "ä",
        "\u{a0}",
        "$1",
        "$12345678",
        "$1a",
        "::",
        "(",
        ")",
        ",",
        ".",
        "-",
        "+",
        ";",
        "\n",
        " ",
        "/* x */",
        "-- x\n",
        "\"q\"",
    ])
    .prop_map(str::to_owned)
}

fn other() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "SELECT",
        "a.b",
        "\"Quo'ted\"",
        "+",
        "<=",
        "(",
        ")",
        "::",
        "a$b",
        "/* 'SECRET' /* */ */",
        "-- SECRET '\n",
        "[",
        "]",
        ";",
        "=",
        "u",
        "e",
        "$1",
        "|| ",
        "ä",
    ])
    .prop_map(str::to_owned)
}

proptest! {
    #[test]
    fn no_literal_survives(parts in prop::collection::vec(prop_oneof![literal(), other()], 0..30)) {
        let sql = parts.join(" ");
        let r = redacted(&sql).0.expect("lexes");
        prop_assert!(!r.contains("SECRET") && !r.contains("911"), "{sql} -> {r}");
        // What is redacted has no literal left.
        let again = redacted(&r).0;
        prop_assert_eq!(again.as_deref(), Some(r.as_str()));
    }

    /// As people mistype: tokens with nothing in between. Of what lexes no literal is kept.
    #[test]
    fn nothing_of_a_literal_is_kept_where_tokens_touch(
        parts in prop::collection::vec(prop_oneof![marked(), touching()], 0..12),
    ) {
        let sql = parts.concat();
        if let (Some(r), _) = redacted(&sql) {
            prop_assert!(!r.contains("MARK"), "{sql} -> {r}");
        }
    }

    #[test]
    fn never_panics(sql in "\\PC{0,200}") {
        let _ = (redacted(&sql), command_kind(sql.as_bytes()));
    }

    #[test]
    fn never_panics_on_what_looks_like_sql(parts in prop::collection::vec(
        prop::sample::select(vec!["'", "\"", "$", "$a", "\\", "/*", "*/", "--", "\n", "E'", "U&'", "1", ".", "e", "ä", ";"]), 0..40)) {
        let sql = parts.concat();
        let _ = (redacted(&sql), command_kind(sql.as_bytes()));
    }
}

#[test]
fn parts_of_texts() {
    for (sql, first) in [
        ("; SELECT 1; SELECT 2", "SELECT 1"),
        (" SELECT ';' /* ; */ ; x", "SELECT ';' /* ; */ "),
        ("SELECT $$;$$", "SELECT $$;$$"),
        (" -- ;\n SELECT 1 -- ;", "SELECT 1 -- ;"),
        ("SELECT 'open; SELECT 2", "SELECT 'open; SELECT 2"),
        ("", ""),
        (";", ";"),
    ] {
        assert_eq!(first_statement(sql), first, "{sql}");
    }
    for (sql, body) in [
        ("PREPARE p AS SELECT 1", "SELECT 1"),
        (
            "/* AS */ prepare \" AS \" (int, numeric(3, 1)) as\n SELECT 1 AS one",
            "SELECT 1 AS one",
        ),
        ("SELECT 1 AS prepare", "SELECT 1 AS prepare"),
        ("(SELECT 1 AS one)", "(SELECT 1 AS one)"),
    ] {
        assert_eq!(prepared_body(sql.as_bytes()), body.as_bytes(), "{sql}");
    }
}

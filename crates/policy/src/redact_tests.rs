use super::*;
use proptest::prelude::*;

fn text(sql: &str) -> String {
    redact(sql)
        .text
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
    ] {
        assert_eq!(
            redact(sql),
            Redacted {
                text: None,
                kind: Kind::NotLexed
            },
            "{sql}"
        );
    }
}

#[test]
fn long_texts_are_cut() {
    let sql = format!("SELECT {}", "x, ".repeat(1 << 20));
    let r = redact(&sql);
    assert_eq!(r.kind, Kind::Cut);
    assert!(r.text.unwrap().len() < MAX_TEXT + 8);
    for c in ["$", "'", "(", "/*", "\"", "1.", "\\", "$a$"] {
        let _ = redact(&c.repeat((4 << 20) / c.len()));
    }
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
        assert_eq!(command_kind(sql), want, "{sql}");
    }
}

#[test]
fn short_statements_are_fast() {
    let sql = "SELECT abalance FROM pgbench_accounts WHERE aid = 4711;";
    let t = std::time::Instant::now();
    for _ in 0..100_000 {
        std::hint::black_box(redact(std::hint::black_box(sql)));
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
        let r = redact(&sql).text.expect("lexes");
        prop_assert!(!r.contains("SECRET") && !r.contains("911"), "{sql} -> {r}");
        // What is redacted has no literal left.
        let again = redact(&r).text;
        prop_assert_eq!(again.as_deref(), Some(r.as_str()));
    }

    #[test]
    fn never_panics(sql in "\\PC{0,200}") {
        let _ = (redact(&sql), command_kind(&sql));
    }

    #[test]
    fn never_panics_on_what_looks_like_sql(parts in prop::collection::vec(
        prop::sample::select(vec!["'", "\"", "$", "$a", "\\", "/*", "*/", "--", "\n", "E'", "U&'", "1", ".", "e", "ä", ";"]), 0..40)) {
        let sql = parts.concat();
        let _ = (redact(&sql), command_kind(&sql));
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
        assert_eq!(prepared_body(sql), body, "{sql}");
    }
}

//! The text of a statement as the audit keeps it: what is left of odd and long ones.

use cluster_tests::{Bench, Case, cases};

pub const CASES: &[Case] = cases![
    literals_beside_numbers,
    long_statements_say_so,
    denials_of_long_names,
];

fn literals_beside_numbers(b: &Bench) {
    b.allow();
    for literal in ["$$my SECRET$$", "$tag$sec SECRET$tag$"] {
        for number in ["1", "1.", "1..", "1a", "1e5", "1.5e-3", "0x1F", "$1", "x"] {
            let text = format!("SELECT {number}{literal}");
            b.agent().simple(&text);
            b.agent().extended(&text, &[]);
        }
    }
    let rows = b.audit("true");
    assert_eq!(rows.len(), 36, "{rows:?}");
    assert!(!format!("{rows:?}").contains("SECRET"), "{rows:?}");
    assert_eq!(b.audit("statement = 'SELECT $1$2'").len(), 8);
}

fn long_statements_say_so(b: &Bench) {
    b.allow();
    let blanks = " ".repeat(66_000);
    let comment = format!("/*{blanks}*/");
    let mut agent = b.agent();
    for between in [&blanks, &comment] {
        agent.query(&format!(
            "{between}SELECT 1{between}, name FROM shop.customers LIMIT 1"
        ));
    }
    let kept = "SELECT $1 , name FROM shop.customers LIMIT $2";
    assert_eq!(b.audit(&format!("statement = '{kept}'")).len(), 2);
    agent.query(&format!("PREPARE p AS {blanks} SELECT 1 AS one"));
    agent.query("EXECUTE p");
    let executed = b.audit("statement LIKE 'EXECUTE p AS SELECT%'");
    assert_eq!(executed.len(), 1, "{executed:?}");
    agent.query(&format!(
        "SELECT 1{} FROM shop.orders",
        ", id".repeat(1_000)
    ));
    assert_eq!(b.audit("statement LIKE '%shop.orders'").len(), 1);
    let columns = "\"ä\", ".repeat(20_000);
    agent.simple(&format!("SELECT {columns} id FROM shop.orders"));
    let row = b.audit("true").pop().expect("a record");
    let text = row["statement"].as_str().expect("a text");
    assert!(text.ends_with('…') && text.len() > 60_000, "{}", text.len());
    assert!(text.len() <= (64 << 10) + '…'.len_utf8(), "{}", text.len());
}

fn denials_of_long_names(b: &Bench) {
    b.allow();
    for length in [700_000, 17 << 20] {
        let name = "n".repeat(length);
        let answer = b
            .agent()
            .simple(&format!("SELECT set_config('{name}', 'v', false)"));
        assert_eq!(answer.errors[0].code, "42501");
        assert!(answer.errors[0].message.len() <= 2 << 10);
        let row = b.audit("verdict = 'denied'").pop().expect("a record");
        assert_eq!(row["statement"], "SELECT set_config($1, $2, false)");
        let object = row["object"].as_str().expect("an object");
        assert!(object.starts_with("nnn") && object.ends_with('…'));
        assert!(object.len() <= 1 << 10, "{}", object.len());
    }
    assert_eq!(b.audit("verdict = 'denied'").len(), 2);
}

//! What Parse, Bind and Describe tell without any Execute.

use cluster_tests::bench::leak;
use cluster_tests::raw::msg;
use cluster_tests::{Bench, Case, cases};

use crate::common::{agent, control, hides, plain};

pub const CASES: &[Case] = cases![
    columns_of_a_hidden_relation,
    columns_by_utility_statements,
    columns_in_hints,
    parameters_say_nothing_of_hidden_types,
    types_of_hidden_relations_as_parameters,
    functions_run_at_bind,
    one_without_execute_is_recorded,
    names_of_denied_columns,
];

/// Its column's name is a canary.
fn ledger(b: &Bench) {
    b.setup(
        "CREATE TABLE vault.ledger (\"QUAGGA_col\" int, amount int);
         CREATE TABLE shop.wallet (id int, \"QUAGGA_own\" int);
         CREATE FUNCTION vault.rows() RETURNS SETOF vault.ledger LANGUAGE sql AS 'SELECT * FROM vault.ledger';
         GRANT ALL ON vault.ledger, shop.wallet TO @agent@, @plain@",
    );
    b.allow();
    b.setup("SELECT agent_policy.deny_relation('@agent@', 'shop.wallet')");
}

fn columns_of_a_hidden_relation(b: &Bench) {
    ledger(b);
    for sql in [
        "SELECT * FROM vault.ledger",
        "TABLE vault.ledger",
        "SELECT * FROM shop.wallet",
        "SELECT * FROM vault.ledger LIMIT 0",
        "SELECT * FROM vault.ledger WHERE false",
        "SELECT (NULL::vault.ledger).*",
        "SELECT (w).* FROM (SELECT NULL::shop.wallet AS w) x",
        "SELECT * FROM json_populate_record(NULL::vault.ledger, '{}')",
        "SELECT (jsonb_populate_record(NULL::vault.ledger, '{}')).*",
        "SELECT * FROM (VALUES (1)) v LEFT JOIN vault.ledger ON false",
        "SELECT * FROM shop.orders NATURAL FULL JOIN shop.wallet",
        "SELECT * FROM (SELECT * FROM (SELECT * FROM vault.ledger) a) b",
        "WITH l AS (SELECT * FROM vault.ledger) SELECT * FROM l",
        "WITH RECURSIVE l AS (SELECT * FROM vault.ledger UNION ALL SELECT * FROM l) SELECT * FROM l",
        "SELECT * FROM vault.ledger UNION ALL SELECT 1, 2",
        "SELECT * FROM vault.rows()",
        "SELECT (vault.rows()).*",
        "INSERT INTO vault.ledger VALUES (1, 2) RETURNING *",
        "UPDATE vault.ledger SET amount = 1 RETURNING *",
        "DELETE FROM shop.wallet RETURNING *",
        "WITH d AS (DELETE FROM shop.wallet RETURNING *) SELECT * FROM d",
        "SELECT * FROM unnest(ARRAY[]::vault.ledger[])",
    ] {
        let statement = [
            msg::parse("s", sql, &[]),
            msg::describe(b'S', "s"),
            msg::sync(),
        ];
        let reply = hides(b, &statement);
        assert_eq!(reply.kinds(), "EZ", "{sql}");
        assert!(!reply.errors()[0].hint.is_empty(), "{sql}");
        let portal = [
            msg::parse("", sql, &[]),
            msg::bind("p", "", &[]),
            msg::describe(b'P', "p"),
            msg::close(b'P', "p"),
            msg::sync(),
        ];
        assert_eq!(hides(b, &portal).kinds(), "EZ", "{sql}");
    }
}

fn columns_by_utility_statements(b: &Bench) {
    ledger(b);
    // DECLARE, PREPARE and EXPLAIN carry a query; FETCH and EXECUTE can be described.
    for (first, then) in [
        (
            "DECLARE c CURSOR FOR SELECT * FROM vault.ledger",
            "FETCH ALL FROM c",
        ),
        (
            "DECLARE c SCROLL CURSOR FOR TABLE shop.wallet",
            "FETCH LAST FROM c",
        ),
        ("PREPARE q AS SELECT * FROM vault.ledger", "EXECUTE q"),
        (
            "PREPARE q AS DELETE FROM shop.wallet RETURNING *",
            "EXECUTE q",
        ),
        ("SELECT 1", "EXPLAIN (VERBOSE) SELECT * FROM vault.ledger"),
    ] {
        let messages = [
            msg::query("BEGIN"),
            msg::query(first),
            msg::parse("f", then, &[]),
            msg::describe(b'S', "f"),
            msg::bind("p", "f", &[]),
            msg::describe(b'P', "p"),
            msg::execute("p", 0),
            msg::sync(),
        ];
        let reply = hides(b, &messages);
        assert!(!reply.errors().is_empty(), "{first}");
    }
}

/// The server helps who mistypes a column by naming the one that was meant.
fn columns_in_hints(b: &Bench) {
    ledger(b);
    b.setup("SELECT agent_policy.deny_column('@agent@', 'shop.customers', 'salary')");
    b.setup("ALTER TABLE shop.orders ADD \"QUAGGA_denied\" int");
    b.setup("SELECT agent_policy.deny_column('@agent@', 'shop.orders', 'QUAGGA_denied')");
    for sql in [
        "SELECT \"QUAGG_col\" FROM vault.ledger",
        "SELECT l.\"QAGGA_col\" FROM vault.ledger l",
        "SELECT \"QUAGGA_ow\" FROM shop.wallet",
        "SELECT \"QUAGA_denied\" FROM shop.orders",
        "INSERT INTO shop.wallet (id) VALUES (1) RETURNING \"QUAGGA_ownx\"",
    ] {
        // What was typed comes back in the message itself.
        let shows = |reply: &cluster_tests::raw::Reply| {
            let error = reply.errors().first().cloned().expect("an error");
            ["QUAGGA_col", "QUAGGA_own\"", "QUAGGA_own.", "QUAGGA_denied"]
                .iter()
                .any(|name| error.hint.contains(name) || error.detail.contains(name))
                || error.hint.contains("QUAGGA_own\"")
        };
        let messages = msg::query(sql);
        let reply = plain(b).ask(&messages, 1);
        assert!(shows(&reply), "control: {:?}", reply.errors()[0]);
        let reply = agent(b).ask(&messages, 1);
        assert!(!shows(&reply), "{}", reply.errors()[0]);
        assert!(
            !reply.errors()[0].hint.is_empty(),
            "a hint that helps: {}",
            reply.errors()[0]
        );
    }
}

fn parameters_say_nothing_of_hidden_types(b: &Bench) {
    ledger(b);
    b.setup("CREATE TYPE vault.\"QUAGGA_mood\" AS ENUM ('QUAGGA_sad', 'b'); ALTER TABLE vault.ledger ADD mood vault.\"QUAGGA_mood\"");
    for sql in [
        "SELECT 1 FROM vault.ledger WHERE mood = $1",
        "INSERT INTO vault.ledger (mood) VALUES ($1)",
    ] {
        let messages = [
            msg::parse("s", sql, &[]),
            msg::describe(b'S', "s"),
            msg::sync(),
        ];
        let reply = plain(b).ask(&messages.concat(), 1);
        assert!(
            reply.kinds().starts_with("1t"),
            "control: the type's number shows"
        );
        assert_eq!(agent(b).ask(&messages.concat(), 1).kinds(), "EZ", "{sql}");
    }
}

fn types_of_hidden_relations_as_parameters(b: &Bench) {
    ledger(b);
    let oid = |name: &str| -> u32 {
        b.value(&format!("SELECT '{name}'::regtype::oid"))
            .parse()
            .expect("an oid")
    };
    for (kind, value) in [
        (oid("vault.ledger"), "(1,2)"),
        (oid("vault.ledger[]"), "{\"(1,2)\"}"),
        (oid("shop.wallet"), "(1,2)"),
    ] {
        for sql in [
            "SELECT $1",
            "SELECT ($1).*",
            "SELECT row_to_json($1)",
            "SELECT * FROM json_populate_record($1, '{}')",
        ] {
            let messages = [
                msg::parse("", sql, &[kind]),
                msg::describe(b'S', ""),
                msg::bind("", "", &[value]),
                msg::execute("", 0),
                msg::sync(),
            ];
            let mut agent = agent(b);
            let reply = agent.ask(&messages.concat(), 1);
            assert_eq!(leak(&agent.received), None, "{sql}");
            assert_eq!(reply.kinds(), "EZ", "{sql} with {value}");
        }
        control(
            b,
            &[
                msg::query("CREATE TEMP TABLE nothing ()"),
                msg::parse(
                    "",
                    "SELECT * FROM json_populate_record(NULL::vault.ledger, '{}')",
                    &[],
                ),
                msg::describe(b'S', ""),
                msg::sync(),
            ],
        );
    }
    // Numbers that are no type at all, and types that no parameter can have.
    for kind in [
        1,
        4_294_967_295,
        2_249,
        2_276,
        2_277,
        2_278,
        2_281,
        705,
        3_500,
    ] {
        let messages = [
            msg::parse("", "SELECT $1", &[kind]),
            msg::describe(b'S', ""),
            msg::bind("", "", &["x"]),
            msg::execute("", 0),
            msg::sync(),
        ];
        let code = plain(b).ask(&messages.concat(), 1).code();
        assert_eq!(
            agent(b).ask(&messages.concat(), 1).code(),
            code,
            "type {kind}"
        );
    }
}

/// A plan is made, and what can be folded runs, when the portal is bound.
fn functions_run_at_bind(b: &Bench) {
    b.mask();
    b.setup("CREATE FUNCTION shop.imm(i int) RETURNS text LANGUAGE plpgsql IMMUTABLE AS
             $$ BEGIN RAISE NOTICE '%', (SELECT email FROM shop.customers WHERE id = i); RETURN 'x'; END $$");
    for sql in [
        "SELECT shop.imm(1)",
        "SELECT 1 WHERE shop.imm(2) = 'x'",
        "SELECT * FROM shop.orders WHERE status = shop.imm(3)",
        "SELECT 1 LIMIT length(shop.imm(1))",
    ] {
        let messages = [
            msg::parse("", sql, &[]),
            msg::bind("", "", &[]),
            msg::sync(),
        ];
        assert_eq!(hides(b, &messages).kinds(), "EZ", "{sql}");
    }
    // Allowed, it runs, and sees the mask.
    b.setup("SELECT agent_policy.allow_function('@agent@', 'shop.imm(int)')");
    let messages = [
        msg::parse("", "SELECT shop.imm(1)", &[]),
        msg::bind("", "", &[]),
        msg::sync(),
    ];
    let reply = hides(b, &messages);
    assert_eq!(reply.count(b'N'), 1, "{}", reply.kinds());
    assert!(
        !b.audit("nesting_level > 0").is_empty(),
        "what ran at Bind is recorded"
    );
}

fn one_without_execute_is_recorded(b: &Bench) {
    b.allow();
    let messages = [
        msg::parse("", "SELECT count(*) FROM shop.customers", &[]),
        msg::bind("", "", &[]),
        msg::sync(),
    ];
    let mut agent = agent(b);
    agent.ask(&messages.concat(), 1);
    // What comes next and fails is a statement of its own, with a record of its own.
    agent.ask(&msg::query("SELEKT 1"), 1);
    agent.ask(&msg::query("TABLE vault.secrets"), 1);
    drop(agent);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(90);
    while b.audit("'shop.customers' = ANY (relations)").is_empty() {
        assert!(std::time::Instant::now() < deadline, "no record");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    let bound = b.audit("'shop.customers' = ANY (relations)");
    assert_eq!(
        (&bound[0]["outcome"], &bound[0]["verdict"]),
        (&"ok".into(), &"allowed".into()),
        "{bound:?}"
    );
    for filter in [
        "sqlstate = '42601'",
        "verdict = 'denied' AND statement = 'TABLE vault.secrets'",
    ] {
        assert_eq!(b.audit(filter).len(), 1, "{filter}: {:?}", b.audit("true"));
    }
    crate::common::asks(
        b,
        &[
            msg::parse("", "SELECT * FROM vault.secrets", &[]),
            msg::sync(),
        ],
    );
    assert_eq!(b.audit("verdict = 'denied'").len(), 2);
}

fn names_of_denied_columns(b: &Bench) {
    ledger(b);
    b.setup("ALTER TABLE shop.orders ADD \"QUAGGA_denied\" int");
    b.setup("SELECT agent_policy.deny_column('@agent@', 'shop.orders', 'QUAGGA_denied')");
    for sql in [
        "SELECT * FROM shop.orders",
        "SELECT o FROM shop.orders o JOIN (SELECT * FROM shop.orders) p USING (id)",
        "SELECT to_jsonb(o) FROM shop.orders o LIMIT 1",
        "SELECT (o).* FROM (SELECT o FROM shop.orders o LIMIT 1) x",
    ] {
        let messages = [
            msg::parse("", sql, &[]),
            msg::describe(b'S', ""),
            msg::bind("", "", &[]),
            msg::execute("", 1),
            msg::sync(),
        ];
        let reply = agent(b).ask(&messages.concat(), 1);
        assert_eq!(reply.kinds(), "EZ", "{sql}");
        // The HINT names the columns that may be read.
        assert!(
            !reply.errors()[0].hint.contains("QUAGGA"),
            "{}",
            reply.errors()[0]
        );
    }
}

//! Who asks: the forwarded user, and that SQL cannot forge it.

use cluster_tests::bench::denial;
use cluster_tests::{Bench, Case, cases};

pub const CASES: &[Case] = cases![
    connection_identity,
    no_identity_is_denied_with_a_hint,
    none_is_enough_where_the_dba_says_so,
    asserted_identity_lasts_a_transaction,
    asserted_is_too_little_by_default,
    once_per_transaction,
    sql_cannot_change_the_connections_identity,
    pool_resets_clear_it,
    reset_all_inside_the_transaction_clears_it,
    identity_survives_savepoints,
    user_email_in_sql,
    with_hold_does_not_cross_users,
    garbage_emails,
];

fn connection_identity(b: &Bench) {
    b.allow();
    assert_eq!(
        b.agent().query("SELECT agent_policy.user_email()").one(),
        "alice@example.com"
    );
    let row = b
        .agent()
        .query("SELECT email, assurance FROM agent_policy.identity()")
        .texts();
    assert_eq!(
        row,
        vec![vec!["alice@example.com".to_owned(), "connection".into()]]
    );
    // It stays for the session.
    let mut agent = b.agent();
    agent.query("BEGIN; SELECT 1; ROLLBACK");
    assert_eq!(
        agent.query("SELECT agent_policy.user_email()").one(),
        "alice@example.com"
    );
}

fn no_identity_is_denied_with_a_hint(b: &Bench) {
    b.allow();
    let mut anonymous = b.agent_with(&[]).expect("connects");
    let answer = anonymous.simple("SELECT count(*) FROM shop.orders");
    let error = denial(&answer, "SELECT", "28000", "identity_required");
    assert!(
        error.hint.contains("agent_policy.user_email") || error.hint.contains("begin_request"),
        "{error}"
    );
    let answer = anonymous.extended("SELECT count(*) FROM shop.orders", &[]);
    denial(&answer, "SELECT", "28000", "identity_required");
    let answer = anonymous.simple("COPY shop.orders TO STDOUT");
    denial(&answer, "COPY", "28000", "identity_required");
    let mut empty = b.agent_for("");
    assert_eq!(
        empty.error("SELECT count(*) FROM shop.orders").code,
        "28000",
        "an empty email is none"
    );
}

fn none_is_enough_where_the_dba_says_so(b: &Bench) {
    b.allow();
    b.setup("SELECT agent_policy.require_identity('@agent@', 'none')");
    let mut anonymous = b.agent_with(&[]).expect("connects");
    assert_eq!(
        anonymous.query("SELECT count(*) FROM shop.orders").one(),
        "3000"
    );
    assert_eq!(
        anonymous.query("SELECT agent_policy.user_email()").one(),
        "∅"
    );
}

fn asserted_identity_lasts_a_transaction(b: &Bench) {
    b.allow();
    b.setup("SELECT agent_policy.require_identity('@agent@', 'asserted')");
    let mut agent = b.agent_with(&[]).expect("connects");
    agent.query("BEGIN");
    agent.query("SELECT agent_policy.assert_user('alice@example.com')");
    assert_eq!(
        agent.query("SELECT agent_policy.user_email()").one(),
        "alice@example.com"
    );
    agent.query("SELECT count(*) FROM shop.orders");
    agent.query("COMMIT");
    assert_eq!(
        agent.error("SELECT count(*) FROM shop.orders").code,
        "28000",
        "COMMIT ends it"
    );
    agent.query("BEGIN");
    agent.query("SELECT agent_policy.assert_user('bob@example.com')");
    agent.query("ROLLBACK");
    assert_eq!(
        agent.error("SELECT count(*) FROM shop.orders").code,
        "28000",
        "ROLLBACK ends it"
    );
    // COMMIT; … inside a model's text goes on without identity.
    agent.query("BEGIN");
    agent.query("SELECT agent_policy.assert_user('bob@example.com')");
    assert_eq!(
        agent
            .simple("COMMIT; SELECT count(*) FROM shop.orders")
            .err()
            .code,
        "28000"
    );
    assert!(
        !b.audit("user_email = 'alice@example.com' AND assurance = 'asserted'")
            .is_empty()
    );
}

fn asserted_is_too_little_by_default(b: &Bench) {
    b.allow();
    let mut agent = b.agent_with(&[]).expect("connects");
    agent.query("BEGIN");
    agent.simple("SELECT agent_policy.assert_user('alice@example.com')");
    let answer = agent.simple("SELECT count(*) FROM shop.orders");
    assert!(
        ["28000", "25P02"].contains(&answer.err().code.as_str()),
        "{}",
        answer.err()
    );
}

fn once_per_transaction(b: &Bench) {
    b.allow();
    b.setup("SELECT agent_policy.require_identity('@agent@', 'asserted')");
    let mut agent = b.agent_with(&[]).expect("connects");
    agent.query("BEGIN");
    agent.query("SELECT agent_policy.assert_user('alice@example.com')");
    let answer = agent.simple("SELECT agent_policy.assert_user('bob@example.com')");
    assert!(
        ["28000", "25001"].contains(&answer.err().code.as_str()),
        "{}",
        answer.err()
    );
    agent.query("ROLLBACK");
    // Hidden behind a savepoint it is still the second time.
    agent.query("BEGIN");
    agent.query("SELECT agent_policy.assert_user('alice@example.com')");
    agent.query("SAVEPOINT s");
    agent.simple("SELECT agent_policy.assert_user('bob@example.com')");
    agent.query("ROLLBACK TO s");
    assert_eq!(
        agent.query("SELECT agent_policy.user_email()").one(),
        "alice@example.com"
    );
    // Nor does a connection's identity give way.
    let mut agent = b.agent();
    agent.query("BEGIN");
    agent.simple("SELECT agent_policy.assert_user('bob@example.com')");
    agent.simple("ROLLBACK");
    assert_eq!(
        agent.query("SELECT agent_policy.user_email()").one(),
        "alice@example.com"
    );
}

fn sql_cannot_change_the_connections_identity(b: &Bench) {
    b.allow();
    for sql in [
        "SET agent_policy.user_email = 'bob@example.com'",
        "SET LOCAL agent_policy.user_email = 'bob@example.com'",
        "SELECT set_config('agent_policy.user_email', 'bob@example.com', false)",
        "SELECT set_config('agent_policy.' || 'user_email', 'bob@example.com', true)",
        "ALTER ROLE @agent@ SET agent_policy.user_email = 'bob@example.com'",
        "RESET agent_policy.user_email",
        "DISCARD ALL",
        "RESET ALL",
        "UPDATE pg_settings SET setting = 'bob@example.com' WHERE name = 'agent_policy.user_email'",
        "SELECT agent_policy.assert_user('bob@example.com')",
    ] {
        let mut agent = b.agent();
        agent.simple(&b.fill(sql));
        let answer = agent.simple("SELECT agent_policy.user_email()");
        assert!(
            !answer.shows("bob@example.com"),
            "{sql} changes the identity"
        );
    }
    assert_eq!(
        b.agent().query("SELECT agent_policy.user_email()").one(),
        "alice@example.com"
    );
}

fn pool_resets_clear_it(b: &Bench) {
    b.allow();
    b.setup("SELECT agent_policy.require_identity('@agent@', 'asserted')");
    for reset in [
        "DISCARD ALL",
        "RESET ALL",
        "RESET SESSION AUTHORIZATION",
        "ROLLBACK",
    ] {
        let mut agent = b.agent_with(&[]).expect("connects");
        agent.query("BEGIN; SELECT agent_policy.assert_user('alice@example.com'); COMMIT");
        agent.simple(reset);
        assert_eq!(
            agent.error("SELECT count(*) FROM shop.orders").code,
            "28000",
            "{reset}"
        );
    }
}

fn reset_all_inside_the_transaction_clears_it(b: &Bench) {
    const ASSERT: &str = "SELECT agent_policy.assert_user('alice@example.com')";
    const COUNT: &str = "SELECT count(*) FROM shop.orders";
    b.allow();
    b.setup("SELECT agent_policy.require_identity('@agent@', 'asserted')");
    for (steps, extended) in [
        (&["BEGIN", ASSERT, "RESET ALL"][..], false),
        (&["BEGIN", ASSERT, "RESET ALL"], true),
        (&["BEGIN", ASSERT, COUNT, "RESET ALL", "RESET ALL"], false),
        (
            &["BEGIN", ASSERT, "SAVEPOINT s", "RESET ALL", "RELEASE s"],
            false,
        ),
        // Once withdrawn it does not come back.
        (
            &["BEGIN", ASSERT, "SAVEPOINT s", "RESET ALL", "ROLLBACK TO s"],
            false,
        ),
        (
            &["BEGIN", "SAVEPOINT s", ASSERT, "RELEASE s", "RESET ALL"],
            false,
        ),
    ] {
        let mut agent = b.agent_with(&[]).expect("connects");
        for step in steps {
            if extended {
                agent.extended(step, &[]).ok();
            } else {
                agent.query(step);
            }
        }
        assert_eq!(
            agent
                .query("SELECT agent_policy.user_email(), agent_policy.claim('email')")
                .texts(),
            [["∅", "∅"]],
            "{steps:?}"
        );
        assert_eq!(
            agent
                .query("SELECT email, assurance FROM agent_policy.identity()")
                .texts(),
            [["∅", "none"]],
            "{steps:?}"
        );
        let answer = agent.simple(COUNT);
        denial(&answer, COUNT, "28000", "identity_required");
        // The next transaction has its own.
        agent.query("ROLLBACK; BEGIN");
        agent.query(&ASSERT.replace("alice", "bob"));
        assert_eq!(
            agent.query("SELECT agent_policy.user_email()").one(),
            "bob@example.com"
        );
        assert_eq!(agent.query(COUNT).one(), "3000");
        agent.query("COMMIT");
    }
    // In one message.
    for reset in ["RESET ALL", "DISCARD TEMP; RESET ALL"] {
        let sql = format!("{ASSERT}; {reset}; {COUNT}");
        let answer = b.agent_with(&[]).expect("connects").simple(&sql);
        denial(&answer, &sql, "28000", "identity_required");
        assert!(
            answer
                .rows
                .iter()
                .all(|row| row[0].as_deref() != Some(b"3000"))
        );
    }
    // No second user comes in the place of the first.
    let mut agent = b.agent_with(&[]).expect("connects");
    agent.query("BEGIN");
    agent.query(ASSERT);
    agent.query("RESET ALL");
    assert_eq!(agent.error(&ASSERT.replace("alice", "bob")).code, "25001");
    // Before it, and what is not all, takes nothing away; nor does it from a connection's identity.
    let mut agent = b.agent_with(&[]).expect("connects");
    agent.query("BEGIN; RESET ALL");
    agent.query(ASSERT);
    agent.query("RESET DateStyle");
    assert_eq!(agent.query(COUNT).one(), "3000");
    let mut agent = b.agent();
    agent.query("BEGIN; RESET ALL");
    assert_eq!(
        agent.query("SELECT agent_policy.user_email()").one(),
        "alice@example.com"
    );
    assert_eq!(agent.query(COUNT).one(), "3000");
}

fn identity_survives_savepoints(b: &Bench) {
    b.allow();
    b.setup("SELECT agent_policy.require_identity('@agent@', 'asserted')");
    let mut agent = b.agent_with(&[]).expect("connects");
    agent.query("BEGIN");
    agent.query("SELECT agent_policy.assert_user('alice@example.com')");
    agent.query("SAVEPOINT s");
    agent.simple("SELECT 1/0");
    agent.query("ROLLBACK TO s");
    assert_eq!(
        agent.query("SELECT count(*) FROM shop.orders").one(),
        "3000"
    );
    // Made inside a savepoint that is rolled back, it is gone.
    agent.query("COMMIT");
    agent.query("BEGIN; SAVEPOINT s");
    agent.query("SELECT agent_policy.assert_user('bob@example.com')");
    agent.query("ROLLBACK TO s");
    let answer = agent.simple("SELECT agent_policy.user_email() FROM shop.orders LIMIT 1");
    assert!(!answer.shows("bob@example.com"));
}

fn user_email_in_sql(b: &Bench) {
    b.allow();
    let mut agent = b.agent();
    for _ in 0..3 {
        assert_eq!(agent.query("SELECT id FROM shop.scratch WHERE agent_policy.user_email() = 'alice@example.com' ORDER BY 1").column(), ["1", "2"]);
    }
    assert_eq!(
        b.unconfined()
            .query("SELECT agent_policy.user_email()")
            .one(),
        "∅"
    );
}

fn with_hold_does_not_cross_users(b: &Bench) {
    b.allow();
    b.setup("SELECT agent_policy.require_identity('@agent@', 'asserted'); SELECT agent_policy.filter_rows('shop.customers', $$agent_policy.user_email() = 'alice@example.com'$$)");
    let mut agent = b.agent_with(&[]).expect("connects");
    agent.query("BEGIN; SELECT agent_policy.assert_user('alice@example.com')");
    agent.simple("DECLARE c CURSOR WITH HOLD FOR SELECT name FROM shop.customers");
    agent.simple("COMMIT");
    agent.query("BEGIN; SELECT agent_policy.assert_user('bob@example.com')");
    let answer = agent.simple("FETCH 5 FROM c");
    assert!(!answer.shows("Customer"), "Bob fetches what Alice opened");
}

fn garbage_emails(b: &Bench) {
    b.allow();
    for email in [
        "not\\ an\\ address",
        "a@b@c",
        "x'; DROP TABLE shop.orders; --",
    ] {
        // Accepted as an opaque name or refused, but never as SQL.
        if let Ok(mut agent) = b.agent_with(&[(
            "options",
            &format!("-c agent_policy.user_email={}", email.replace(' ', "\\ ")),
        )]) {
            agent.simple("SELECT count(*) FROM shop.orders");
        }
    }
    assert_eq!(b.value("SELECT count(*) FROM shop.orders"), "3000");
}

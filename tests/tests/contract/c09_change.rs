//! A changed policy holds in every running session at its next statement, cached plans included.

use cluster_tests::bench::{denial, leak};
use cluster_tests::{Bench, Case, cases};

pub const CASES: &[Case] = cases![
    allowlist_changes_at_once,
    a_new_mask_reaches_prepared_statements,
    a_new_mask_reaches_generic_plans_and_functions,
    a_new_filter_reaches_prepared_statements,
    limits_change_at_once,
    protecting_a_role_reaches_running_sessions,
    releasing_a_role_reaches_running_sessions,
    modes_change_at_once,
    an_uncommitted_change_is_nobodys,
    a_change_in_one_database_is_not_anothers,
    granting_membership_confines_at_once,
    open_cursors_do_not_outlive_a_change_unmasked,
    what_changes_nothing_refuses_nothing,
    roles_may_come_and_go_while_a_plan_is_made,
];

fn allowlist_changes_at_once(b: &Bench) {
    b.allow();
    let mut agent = b.agent();
    agent
        .parse("p", "SELECT count(*) FROM shop.orders")
        .sync()
        .ok();
    agent.query("PREPARE q AS SELECT count(*) FROM shop.orders");
    for _ in 0..7 {
        agent.run("p", &[]).ok();
        agent.query("EXECUTE q");
    }
    b.setup("SELECT agent_policy.deny_relation('@agent@', 'shop.orders')");
    assert_eq!(
        agent.error("SELECT count(*) FROM shop.orders").code,
        "42501"
    );
    assert_eq!(
        agent.run("p", &[]).err().code,
        "42501",
        "a prepared statement"
    );
    assert_eq!(agent.error("EXECUTE q").code, "42501", "EXECUTE");
    b.setup("SELECT agent_policy.allow_relation('@agent@', 'shop.orders')");
    agent.run("p", &[]).ok();
    agent.query("EXECUTE q");
}

fn a_new_mask_reaches_prepared_statements(b: &Bench) {
    b.allow();
    b.counts_generic_plans();
    // Two executions leave a custom plan, seven a generic one.
    for (times, generic) in [(2, false), (7, true)] {
        let mode = format!("after {times} executions");
        let mut agent = b.agent();
        agent
            .parse("p", "SELECT email FROM shop.customers WHERE id < $1")
            .sync()
            .ok();
        agent.query("PREPARE q(int) AS SELECT email FROM shop.customers WHERE id < $1");
        for _ in 0..times {
            assert!(
                agent.run("p", &[Some("5")]).ok().shows("okapi.test"),
                "control run"
            );
            agent.query("EXECUTE q(5)");
        }
        assert_eq!(
            agent.value("SELECT shop.generic_plans() > 2") == "t",
            generic,
            "control: {mode}"
        );
        b.setup("SELECT agent_policy.mask_column('shop.customers', 'email', 'redact')");
        let answer = agent.run("p", &[Some("5")]).ok();
        assert_eq!(
            (leak(&answer.bytes), answer.text(0, 0)),
            (None, "***".into()),
            "{mode}"
        );
        assert_eq!(leak(&agent.query("EXECUTE q(5)").bytes), None, "{mode}");
        b.setup("SELECT agent_policy.unmask_column('shop.customers', 'email')");
        assert!(
            agent.run("p", &[Some("5")]).ok().shows("okapi.test"),
            "{mode}: and back"
        );
    }
}

fn a_new_mask_reaches_generic_plans_and_functions(b: &Bench) {
    b.allow();
    b.setup("SELECT agent_policy.allow_function('@agent@', 'shop.get_email(int)'); SELECT agent_policy.allow_function('@agent@', 'shop.all_customers()')");
    let mut agent = b.agent();
    for _ in 0..7 {
        assert!(
            agent.query("SELECT shop.get_email(1)").shows("okapi.test"),
            "control run"
        );
    }
    agent.query("PREPARE q AS SELECT * FROM shop.all_customers()");
    assert!(agent.query("EXECUTE q").shows("okapi.test"), "control run");
    b.mask();
    assert_eq!(
        leak(&agent.query("SELECT shop.get_email(1)").bytes),
        None,
        "a cached plpgsql plan"
    );
    assert_eq!(
        leak(&agent.query("EXECUTE q").bytes),
        None,
        "a SQL function"
    );
}

fn a_new_filter_reaches_prepared_statements(b: &Bench) {
    b.allow();
    b.counts_generic_plans();
    let mut agent = b.agent();
    // Without a parameter it has one plan for all from the first time on.
    agent
        .parse("p", "SELECT count(*) FROM shop.orders")
        .sync()
        .ok();
    agent
        .parse("q", "SELECT count(*) FROM shop.orders WHERE id > $1")
        .sync()
        .ok();
    let mut counts = || {
        let all = agent.run("p", &[]).ok().one();
        let some = agent.run("q", &[Some("5")]).ok().one();
        [all, some]
    };
    for _ in 0..7 {
        assert_eq!(counts(), ["3000", "2995"]);
    }
    b.setup("SELECT agent_policy.filter_rows('shop.orders', 'id <= 10')");
    assert_eq!(counts(), ["10", "5"]);
    b.setup("SELECT agent_policy.remove_row_filter('shop.orders')");
    assert_eq!(counts(), ["3000", "2995"]);
    assert_eq!(
        agent.value("SELECT shop.generic_plans() >= 9 + 2"),
        "t",
        "control"
    );
}

fn limits_change_at_once(b: &Bench) {
    b.allow();
    let mut agent = b.agent();
    assert_eq!(agent.query("SELECT id FROM shop.orders").rows.len(), 3000);
    b.setup("SELECT agent_policy.set_limits('@agent@', max_rows => 3)");
    assert_eq!(agent.query("SELECT id FROM shop.orders").rows.len(), 3);
}

fn protecting_a_role_reaches_running_sessions(b: &Bench) {
    let mut agent = b.agent();
    agent.query("PREPARE q AS SELECT * FROM vault.secrets");
    agent.query("EXECUTE q");
    b.allow();
    assert_eq!(agent.error("EXECUTE q").code, "42501");
    assert_eq!(agent.error("SELECT * FROM vault.secrets").code, "42501");
    assert_eq!(agent.error("DELETE FROM shop.scratch").code, "25006");
}

fn releasing_a_role_reaches_running_sessions(b: &Bench) {
    b.allow();
    let mut agent = b.agent();
    agent.error("SELECT * FROM vault.secrets");
    b.setup("SELECT agent_policy.release_role('@agent@')");
    agent.query("SELECT * FROM vault.secrets");
}

fn modes_change_at_once(b: &Bench) {
    b.mask();
    let mut agent = b.agent();
    agent.query("PREPARE q AS SELECT email FROM shop.customers WHERE id = 1");
    assert_eq!(leak(&agent.query("EXECUTE q").bytes), None);
    b.setup("SELECT agent_policy.protect_role('@agent@', mode => 'monitor')");
    assert!(
        agent.query("EXECUTE q").shows("okapi.test"),
        "monitor masks nothing"
    );
    b.setup("SELECT agent_policy.protect_role('@agent@', mode => 'enforce')");
    assert_eq!(leak(&agent.query("EXECUTE q").bytes), None);
}

fn an_uncommitted_change_is_nobodys(b: &Bench) {
    b.allow();
    let mut dba = b.cluster.connect("postgres", &b.db, &[]).expect("connects");
    dba.query("BEGIN");
    dba.query(&b.fill("SELECT agent_policy.deny_relation('@agent@', 'shop.orders')"));
    b.allows("SELECT count(*) FROM shop.orders");
    dba.query("COMMIT");
    b.denies(
        "SELECT count(*) FROM shop.orders",
        "42501",
        "relation_not_allowed",
    );
}

fn a_change_in_one_database_is_not_anothers(b: &Bench) {
    let other = Bench::new(std::sync::Arc::clone(&b.cluster));
    b.allow();
    other.allow();
    b.setup("SELECT agent_policy.deny_relation('@agent@', 'shop.orders')");
    other.allows("SELECT count(*) FROM shop.orders");
    b.denies(
        "SELECT count(*) FROM shop.orders",
        "42501",
        "relation_not_allowed",
    );
}

fn granting_membership_confines_at_once(b: &Bench) {
    b.allow();
    let mut plain = b.unconfined();
    plain.query("SELECT * FROM vault.secrets");
    b.setup("SELECT agent_policy.require_identity('@agent@', 'none'); GRANT @agent@ TO @plain@");
    let error = plain.error("SELECT * FROM vault.secrets");
    assert_eq!(error.code, "42501", "{error}");
    b.setup("REVOKE @agent@ FROM @plain@");
    b.unconfined().query("SELECT * FROM vault.secrets");
}

fn open_cursors_do_not_outlive_a_change_unmasked(b: &Bench) {
    b.allow();
    for change in [
        "SELECT agent_policy.mask_column('shop.customers', 'email')",
        "SELECT agent_policy.filter_rows('shop.customers', 'id < 3')",
        "SELECT agent_policy.deny_column('@agent@', 'shop.customers', 'email')",
        "SELECT agent_policy.deny_relation('@agent@', 'shop.customers')",
    ] {
        let sql = "SELECT email FROM shop.customers";
        let mut cursor = b.agent();
        cursor.query(&format!("BEGIN; DECLARE c CURSOR FOR {sql}"));
        let seen = cursor.query("FETCH 1 FROM c");
        assert!(
            leak(&seen.bytes).is_some(),
            "control: nothing is hidden yet"
        );
        let mut portal = b.agent();
        portal.query("BEGIN");
        portal
            .parse("p", sql)
            .bind("p", "p", &[], false)
            .execute("p", 1)
            .sync()
            .ok();
        portal.execute("p", 1).sync().ok();
        let mut other = b.agent();
        other.query("BEGIN; DECLARE c CURSOR FOR SELECT id FROM shop.orders");
        b.setup(change);
        let answer = cursor.simple("FETCH 5 FROM c");
        denial(&answer, change, "42501", "policy_unavailable");
        assert_eq!(leak(&answer.bytes), None, "{change}");
        let answer = portal.execute("p", 5).sync();
        denial(&answer, change, "42501", "policy_unavailable");
        assert_eq!(leak(&answer.bytes), None, "{change}");
        // It was made for the old policy as well.
        denial(
            &other.simple("FETCH 1 FROM c"),
            change,
            "42501",
            "policy_unavailable",
        );
        // Opened anew they go on, under the new policy.
        for agent in [&mut cursor, &mut portal, &mut other] {
            agent.query("ROLLBACK; BEGIN; DECLARE c CURSOR FOR SELECT id FROM shop.orders");
            assert_eq!(agent.query("FETCH 2 FROM c").rows.len(), 2);
        }
        assert_eq!(
            leak(&cursor.simple(sql).bytes).is_some(),
            change.contains("filter")
        );
        b.setup(
            "SELECT agent_policy.release_role('@agent@'); SELECT agent_policy.unmask_column('shop.customers', 'email'), agent_policy.remove_row_filter('shop.customers')",
        );
        b.allow();
    }
}

/// The same policy read again: plans made before go on, the functions of their masks included.
fn what_changes_nothing_refuses_nothing(b: &Bench) {
    b.allow();
    b.setup(
        "CREATE FUNCTION public.veil(text) RETURNS text LANGUAGE sql IMMUTABLE RETURN left($1, 1)",
    );
    b.setup("SELECT agent_policy.mask_column('shop.customers', 'email', 'expression', '{\"sql\":\"public.veil(email)\"}')");
    b.control("SELECT email FROM shop.customers WHERE id < 5");
    b.counts_generic_plans();
    let mut agent = b.agent();
    agent.query("PREPARE q(int) AS SELECT email FROM shop.customers WHERE id = $1");
    for _ in 0..7 {
        agent.query("EXECUTE q(5)");
    }
    assert_eq!(
        agent.value("SELECT shop.generic_plans() > 0"),
        "t",
        "control"
    );
    for change in [
        "CREATE FUNCTION public.unrelated() RETURNS int LANGUAGE sql RETURN 1",
        "CREATE ROLE unrelated_@agent@",
        "DROP ROLE unrelated_@agent@",
        "CREATE SCHEMA unrelated",
    ] {
        b.setup(change);
        let answer = agent.query("EXECUTE q(5)");
        assert_eq!(leak(&answer.bytes), None, "after {change}");
        assert_eq!(answer.text(0, 0).chars().count(), 1, "after {change}");
    }
}

/// Sessions read their policy again when any role changes, in the midst of a statement too; what its masks
/// may call is known all the same.
fn roles_may_come_and_go_while_a_plan_is_made(b: &Bench) {
    b.setup(
        "CREATE FUNCTION shop.shown(t text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN left(t, 1); END $$",
    );
    b.allow();
    b.setup(
        r#"SELECT agent_policy.mask_column('shop.customers', 'note', 'expression', '{"sql": "shop.shown(note)"}');
           SELECT agent_policy.mask_column('shop.events', 'payload', 'expression', '{"sql": "shop.shown(payload)"}')"#,
    );
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut su = b
                .cluster
                .connect("postgres", "postgres", &[])
                .expect("the superuser connects");
            let role = b.fill("@agent@_comes");
            for _ in 0..600 {
                su.query(&format!("CREATE ROLE {role}"));
                su.query(&format!("DROP ROLE {role}"));
            }
            over.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        let (mut statements, mut refused) = (0, Vec::new());
        while !over.load(std::sync::atomic::Ordering::Relaxed) {
            // Templates are made in each session anew.
            let mut agent = b.agent();
            for sql in [
                "SELECT note FROM shop.customers WHERE id = 1",
                "SELECT payload FROM shop.events LIMIT 1",
            ] {
                statements += 1;
                refused.extend(agent.simple(sql).errors);
            }
        }
        assert!(
            refused.is_empty(),
            "{} of {statements} refused: {}",
            refused.len(),
            refused[0]
        );
    });
}

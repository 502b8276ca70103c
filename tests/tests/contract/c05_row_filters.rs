//! Row filters, with the forwarded user in them.

use cluster_tests::{Bench, Case, Wire, cases};

pub const CASES: &[Case] = cases![
    rows_beyond_the_filter_do_not_exist,
    the_users_email_decides,
    a_claim_decides,
    with_native_row_level_security,
    two_users_on_one_prepared_statement,
    filters_are_anded,
    a_filter_of_one_role_leaves_the_other,
    subqueries_in_a_predicate,
    a_predicate_may_read_what_the_agent_may_not,
    through_views_functions_partitions_copy,
    leaky_functions_see_filtered_rows_only,
    division_does_not_tell,
    foreign_keys_still_work,
    writes_are_filtered,
    a_broken_filter_denies_its_table,
    filter_and_mask_on_one_column,
    explain_does_not_tell,
    statistics_of_hidden_rows_decide_on_no_plan,
    common_values_of_hidden_rows_come_first_in_no_hash_join,
    remove_row_filter,
];

/// Alice sees north, Bob sees south.
fn regions(b: &Bench) {
    b.allow();
    b.setup(
        "CREATE TABLE vault.regions (email text, region text);
         INSERT INTO vault.regions VALUES ('alice@example.com', 'north'), ('bob@example.com', 'south');
         SELECT agent_policy.filter_rows('shop.customers', $$region = (SELECT r.region FROM vault.regions r WHERE r.email = agent_policy.user_email())$$)",
    );
}

fn distinct(b: &Bench, email: &str) -> Vec<String> {
    b.agent_for(email)
        .query("SELECT DISTINCT region FROM shop.customers ORDER BY 1")
        .column()
}

fn rows_beyond_the_filter_do_not_exist(b: &Bench) {
    b.allow();
    b.setup("SELECT agent_policy.filter_rows('shop.customers', $$region = 'north'$$)");
    assert_eq!(
        b.unconfined()
            .query("SELECT count(*) FROM shop.customers")
            .one(),
        "401",
        "control run"
    );
    assert_eq!(b.allows("SELECT count(*) FROM shop.customers").one(), "101");
    for sql in [
        "SELECT * FROM shop.customers WHERE region <> 'north'",
        "SELECT * FROM shop.customers WHERE region = 'south' OR true AND region = 'east'",
        "SELECT * FROM shop.customers WHERE id = 1",
        "SELECT o.id FROM shop.orders o JOIN shop.customers c ON c.id = o.customer_id WHERE c.region = 'west'",
        "SELECT 1 FROM shop.customers c WHERE c::text LIKE '%south%'",
        "SELECT 1 FROM shop.customers TABLESAMPLE BERNOULLI (100) WHERE region = 'south'",
        "SELECT 1 FROM ONLY shop.customers WHERE region = 'south'",
    ] {
        assert!(b.allows(sql).rows.is_empty(), "{sql}");
    }
}

fn the_users_email_decides(b: &Bench) {
    regions(b);
    assert_eq!(distinct(b, "alice@example.com"), ["north"]);
    assert_eq!(distinct(b, "bob@example.com"), ["south"]);
    assert!(distinct(b, "nobody@example.com").is_empty());
}

fn a_claim_decides(b: &Bench) {
    b.allow();
    b.setup(
        "CREATE TABLE shop.mine (id int, owner text); INSERT INTO shop.mine VALUES (1, 'alice@example.com'), (2, 'bob@example.com'), (3, NULL), (4, 'Alice@Example.com');
         GRANT SELECT ON shop.mine TO @agent@, @plain@;
         SELECT agent_policy.filter_rows('shop.mine', $$owner = agent_policy.claim('email')$$)",
    );
    let ids = |wire: &mut Wire| wire.query("SELECT id FROM shop.mine ORDER BY id").column();
    assert_eq!(
        ids(&mut b.unconfined()),
        ["1", "2", "3", "4"],
        "control run"
    );
    assert_eq!(ids(&mut b.agent()), ["1"]);
    assert_eq!(ids(&mut b.agent_for("bob@example.com")), ["2"]);
    assert_eq!(ids(&mut b.agent_for("ALICE@example.com")), ["1"]);
    assert!(ids(&mut b.agent_for("nobody@example.com")).is_empty());
    // Nobody, and a claim that nobody has, own nothing.
    b.setup("SELECT agent_policy.require_identity('@agent@', 'asserted')");
    let mut pooled = b.agent_with(&[]).expect("connects");
    for (email, expected) in [("bob@example.com", "2"), ("alice@example.com", "1")] {
        pooled.query("BEGIN");
        pooled.query(&format!("SELECT agent_policy.assert_user('{email}')"));
        assert_eq!(ids(&mut pooled), [expected]);
        pooled.query("COMMIT");
    }
    b.setup("SELECT agent_policy.require_identity('@agent@', 'none')");
    assert!(ids(&mut b.agent_with(&[]).expect("connects")).is_empty());
    b.setup(
        "SELECT agent_policy.filter_rows('shop.mine', $$agent_policy.claim('sub') IS NOT NULL$$)",
    );
    assert!(ids(&mut b.agent()).is_empty());
}

/// The server's own row level security and the filter: what both show.
fn with_native_row_level_security(b: &Bench) {
    b.allow();
    b.setup(
        "CREATE TABLE shop.both (id int PRIMARY KEY, note text); INSERT INTO shop.both SELECT i, 'n' || i FROM generate_series(1, 10) i;
         ALTER TABLE shop.both ENABLE ROW LEVEL SECURITY;
         CREATE POLICY of_both ON shop.both TO @agent@, @plain@ USING (id <= 6) WITH CHECK (id <= 20);
         CREATE VIEW shop.both_list WITH (security_invoker) AS SELECT id FROM shop.both;
         CREATE VIEW shop.both_of_owner AS SELECT id FROM shop.both;
         GRANT SELECT, INSERT, UPDATE, DELETE ON shop.both TO @agent@, @plain@; GRANT SELECT ON shop.both_list, shop.both_of_owner TO @agent@, @plain@",
    );
    let ids = |wire: &mut Wire, from: &str| {
        wire.query(&format!("SELECT id FROM {from} ORDER BY id"))
            .column()
    };
    let only = |from: i32, to: i32| -> Vec<String> { (from..=to).map(|i| i.to_string()).collect() };
    assert_eq!(
        ids(&mut b.agent(), "shop.both"),
        only(1, 6),
        "control run: without a filter"
    );
    let mut before = b.agent();
    before.query("PREPARE p AS SELECT count(*) FROM shop.both");
    assert_eq!(before.query("EXECUTE p").one(), "6");
    b.setup("SELECT agent_policy.filter_rows('shop.both', 'id >= 4')");
    assert_eq!(
        ids(&mut b.unconfined(), "shop.both"),
        only(1, 6),
        "control run"
    );
    assert_eq!(b.value("SELECT count(*) FROM shop.both"), "10");
    assert_eq!(before.query("EXECUTE p").one(), "3");
    for from in [
        "shop.both",
        "ONLY shop.both",
        "shop.both_list",
        "shop.both b WHERE true OR note = 'n9'",
    ] {
        assert_eq!(ids(&mut b.agent(), from), only(4, 6), "{from}");
    }
    // Below an owner's view the native policy is not the agent's, the filter is.
    assert_eq!(
        ids(&mut b.unconfined(), "shop.both_of_owner"),
        only(1, 10),
        "control run"
    );
    assert_eq!(ids(&mut b.agent(), "shop.both_of_owner"), only(4, 10));
    assert_eq!(b.allows("COPY shop.both TO STDOUT").tags, ["COPY 3"]);
    // The native side may not be switched off, neither by the table's other policies.
    let mut agent = b.agent();
    agent.simple("SET row_security = off");
    assert_eq!(ids(&mut agent, "shop.both"), only(4, 6));
    b.setup("CREATE POLICY wider ON shop.both FOR SELECT TO @agent@ USING (id = 2 OR id = 9)");
    assert_eq!(ids(&mut b.agent(), "shop.both"), ["4", "5", "6", "9"]);
    b.setup("DROP POLICY wider ON shop.both");
    // Writes reach what both show.
    writable(b);
    assert_eq!(
        b.agent().query("UPDATE shop.both SET note = 'x'").tags,
        ["UPDATE 3"]
    );
    assert_eq!(
        b.agent()
            .query("DELETE FROM shop.both WHERE id IN (3, 4, 7)")
            .tags,
        ["DELETE 1"]
    );
    assert_eq!(
        b.setup("SELECT id FROM shop.both WHERE note = 'x' ORDER BY id")
            .column(),
        ["5", "6"]
    );
    // No policy for the role: nothing, whatever the filter says.
    b.setup(
        "DROP POLICY of_both ON shop.both; SELECT agent_policy.filter_rows('shop.both', 'true')",
    );
    assert!(ids(&mut b.agent(), "shop.both").is_empty());
}

fn two_users_on_one_prepared_statement(b: &Bench) {
    regions(b);
    b.setup("SELECT agent_policy.require_identity('@agent@', 'asserted')");
    b.counts_generic_plans();
    // Without a parameter it has one plan for all; with one it has after five executions. plan_cache_mode is pinned.
    for (sql, values) in [
        ("SELECT DISTINCT region FROM shop.customers", &[][..]),
        (
            "SELECT DISTINCT region FROM shop.customers WHERE id > $1",
            &[Some("5")],
        ),
    ] {
        let mut pooled = b.agent_with(&[]).expect("connects");
        let mut prepared = false;
        let mut run = |email: &str, other: Option<&str>| {
            pooled.query("BEGIN");
            pooled.query(&format!("SELECT agent_policy.assert_user('{email}')"));
            if !prepared {
                pooled.parse("p", sql).sync().ok();
                prepared = true;
            }
            let rows = match other {
                Some(sql) => pooled.query(sql).column(),
                None => pooled.run("p", values).ok().column(),
            };
            pooled.query("COMMIT");
            rows
        };
        for _ in 0..7 {
            assert_eq!(run("alice@example.com", None), ["north"], "{sql}");
            assert_eq!(run("bob@example.com", None), ["south"], "{sql}");
        }
        let generic = run("bob@example.com", Some("SELECT shop.generic_plans() > 5"));
        assert_eq!(generic, ["t"], "control: {sql} has a generic plan");
    }
}

fn filters_are_anded(b: &Bench) {
    b.allow();
    b.setup("SELECT agent_policy.filter_rows('shop.orders', 'id <= 100'); SELECT agent_policy.filter_rows('shop.orders', 'id > 90', name => 'second')");
    assert_eq!(b.allows("SELECT count(*) FROM shop.orders").one(), "10");
    b.setup("SELECT agent_policy.filter_rows('shop.orders', 'id > 95', '@agent@')");
    assert_eq!(b.allows("SELECT count(*) FROM shop.orders").one(), "5");
    // Same name: replaced.
    b.setup("SELECT agent_policy.filter_rows('shop.orders', 'id > 99', name => 'second')");
    assert_eq!(b.allows("SELECT count(*) FROM shop.orders").one(), "1");
}

fn a_filter_of_one_role_leaves_the_other(b: &Bench) {
    b.allow();
    b.setup("CREATE ROLE @agent@_b LOGIN; GRANT USAGE ON SCHEMA shop TO @agent@_b; GRANT SELECT ON ALL TABLES IN SCHEMA shop TO @agent@_b;
             SELECT agent_policy.protect_role('@agent@_b'); SELECT agent_policy.allow_schema('@agent@_b', 'shop');
             SELECT agent_policy.filter_rows('shop.orders', 'false', '@agent@_b')");
    assert_eq!(b.allows("SELECT count(*) FROM shop.orders").one(), "3000");
    let mut other = b
        .cluster
        .connect(
            &format!("{}_b", b.agent),
            &b.db,
            &[("options", "-c agent_policy.user_email=a@b.c")],
        )
        .expect("connects");
    assert_eq!(other.query("SELECT count(*) FROM shop.orders").one(), "0");
}

fn subqueries_in_a_predicate(b: &Bench) {
    b.allow();
    b.setup("SELECT agent_policy.filter_rows('shop.orders', $$EXISTS (SELECT 1 FROM shop.customers c WHERE c.id = orders.customer_id AND c.region = 'north')$$)");
    assert_eq!(
        b.allows("SELECT count(*) FROM shop.orders").one(),
        b.value("SELECT count(*) FROM shop.orders o JOIN shop.customers c ON c.id = o.customer_id AND c.region = 'north'")
    );
}

fn a_predicate_may_read_what_the_agent_may_not(b: &Bench) {
    regions(b);
    b.setup("SELECT agent_policy.filter_rows('vault.regions', 'false')");
    // Subqueries of a predicate run as its definer, unfiltered.
    assert_eq!(distinct(b, "alice@example.com"), ["north"]);
    b.denies(
        "SELECT * FROM vault.regions",
        "42501",
        "relation_not_allowed",
    );
}

fn through_views_functions_partitions_copy(b: &Bench) {
    regions(b);
    b.setup("SELECT agent_policy.filter_rows('shop.events', $$at >= '2025-06-01'$$);
             SELECT agent_policy.allow_function('@agent@', f::regprocedure) FROM unnest(ARRAY['shop.all_customers()', 'shop.all_customers_atomic()', 'shop.get_email(int)', 'shop.secdef_email(int)']) f");
    for sql in [
        "SELECT region FROM shop.customer_list",
        "SELECT region FROM shop.all_customers()",
        "SELECT region FROM shop.all_customers_atomic()",
        "COPY shop.customers TO STDOUT",
        "COPY (SELECT region FROM shop.customers) TO STDOUT",
        "SELECT c FROM shop.customers c",
    ] {
        let control = b.unconfined().query(sql);
        assert!(
            control.shows("south") && control.shows("east"),
            "control run: {sql}"
        );
        let answer = b.allows(sql);
        assert!(
            answer.shows("north") && !answer.shows("south") && !answer.shows("east"),
            "{sql}"
        );
    }
    assert_eq!(b.allows("SELECT shop.get_email(1)").one(), "∅");
    assert_eq!(b.allows("SELECT shop.secdef_email(1)").one(), "∅");
    assert_eq!(
        b.allows("SELECT count(*) FROM shop.events_2024").one(),
        "0",
        "the parent's filter covers the partition"
    );
    assert_eq!(b.allows("SELECT count(*) FROM shop.vips").one(), "1");
    assert_eq!(
        b.agent_for("bob@example.com")
            .query("SELECT count(*) FROM shop.vips")
            .one(),
        "0"
    );
}

fn leaky_functions_see_filtered_rows_only(b: &Bench) {
    regions(b);
    b.setup("SELECT agent_policy.allow_function('@agent@', 'shop.loud(text)')");
    for sql in [
        "SELECT 1 FROM shop.customers WHERE shop.loud(region)",
        "SELECT 1 FROM shop.customer_list WHERE shop.loud(region)",
        "SELECT 1 FROM shop.customers c JOIN shop.orders o ON shop.loud(c.region) AND o.id = 1",
    ] {
        assert!(
            b.unconfined().query(sql).shows("loud: south"),
            "control run"
        );
        assert!(!b.allows(sql).shows("loud: south"), "{sql}");
    }
}

fn division_does_not_tell(b: &Bench) {
    regions(b);
    let sql = "SELECT count(*) FROM shop.customers WHERE 1 / (CASE WHEN region = 'south' THEN 0 ELSE 1 END) = 1";
    assert_eq!(b.unconfined().error(sql).code, "22012", "control run");
    b.allows(sql);
    let sql = "SELECT region::int FROM shop.customers WHERE region = 'south'";
    assert!(
        b.unconfined().error(sql).message.contains("south"),
        "control run"
    );
    b.allows(sql);
}

fn writable(b: &Bench) {
    b.setup("SELECT agent_policy.protect_role('@agent@', 'read_write'); SELECT agent_policy.allow_schema('@agent@', 'shop', 'write')");
}

fn foreign_keys_still_work(b: &Bench) {
    regions(b);
    writable(b);
    // Customer 1 is south: hidden from Alice, yet there for the constraint.
    b.agent()
        .query("INSERT INTO shop.orders VALUES (90001, 1, 1, 'new', now())");
    assert_eq!(
        b.agent()
            .error("INSERT INTO shop.orders VALUES (90002, 77777, 1, 'new', now())")
            .code,
        "23503"
    );
}

fn writes_are_filtered(b: &Bench) {
    regions(b);
    writable(b);
    assert_eq!(
        b.agent()
            .query("UPDATE shop.customers SET name = 'changed'")
            .tags,
        ["UPDATE 101"]
    );
    assert_eq!(
        b.value("SELECT count(*) FROM shop.customers WHERE name = 'changed' AND region <> 'north'"),
        "0"
    );
    assert_eq!(
        b.agent()
            .query("DELETE FROM shop.customers WHERE id = 9001 OR id = 1")
            .tags,
        ["DELETE 1"]
    );
}

fn a_broken_filter_denies_its_table(b: &Bench) {
    regions(b);
    b.setup("DROP TABLE vault.regions CASCADE");
    let error = b.agent().error("SELECT * FROM shop.customers");
    assert_eq!(error.code, "42501", "{error}");
    b.allows("SELECT count(*) FROM shop.orders");
    b.allow();
    b.setup("SELECT agent_policy.filter_rows('shop.orders', 'amount > 50'); ALTER TABLE shop.orders DROP COLUMN amount CASCADE");
    let error = b.agent().error("SELECT id FROM shop.orders");
    assert_eq!(error.code, "42501", "{error}");
}

fn filter_and_mask_on_one_column(b: &Bench) {
    regions(b);
    b.setup("SELECT agent_policy.mask_column('shop.customers', 'region')");
    // The filter sees the raw value, the agent the mask.
    assert_eq!(
        b.allows("SELECT region, count(*) FROM shop.customers GROUP BY 1")
            .texts(),
        vec![vec!["***".to_owned(), "101".into()]]
    );
    assert!(
        b.allows("SELECT 1 FROM shop.customers WHERE region = 'north'")
            .rows
            .is_empty()
    );
}

fn explain_does_not_tell(b: &Bench) {
    regions(b);
    let answer = b
        .agent()
        .simple("EXPLAIN (ANALYZE, VERBOSE) SELECT * FROM shop.customers");
    for secret in ["vault", "regions", "Rows Removed", "alice", "user_email"] {
        assert!(
            !answer.shows(secret),
            "EXPLAIN shows {secret}: {:?}",
            answer.column()
        );
    }
    let answer = b.allows("EXPLAIN SELECT * FROM shop.customers");
    assert!(
        !answer.shows("vault") && !answer.shows("user_email"),
        "{:?}",
        answer.column()
    );
}

fn remove_row_filter(b: &Bench) {
    regions(b);
    b.setup("SELECT agent_policy.remove_row_filter('shop.customers')");
    assert_eq!(b.allows("SELECT count(*) FROM shop.customers").one(), "401");
}

/// Two tables that differ in hidden rows only: their rows come in the same order.
fn statistics_of_hidden_rows_decide_on_no_plan(b: &Bench) {
    for (table, hidden) in [("few", 999), ("many", 7)] {
        b.setup(&format!(
            "CREATE TABLE shop.{table} (id int, owner text, qty int);
             INSERT INTO shop.{table} SELECT i, CASE WHEN i % 50 = 0 THEN 'alice@example.com' ELSE 'nobody' END, CASE WHEN i % 50 = 0 THEN 1000 - i % 977 ELSE {hidden} END
             FROM generate_series(1, 5000) i;
             CREATE INDEX ON shop.{table} (qty); GRANT SELECT ON shop.{table} TO @agent@, @plain@; ANALYZE shop.{table}"
        ));
    }
    b.allow();
    b.setup("ALTER ROLE @agent@ SET enable_bitmapscan = off; ALTER ROLE @plain@ SET enable_bitmapscan = off");
    let ids = |wire: &mut Wire, table: &str| {
        wire.query(&format!(
            "SELECT id FROM shop.{table} WHERE qty < 500 AND owner = 'alice@example.com'"
        ))
        .column()
    };
    let mut plain = b.unconfined();
    assert_ne!(ids(&mut plain, "few"), ids(&mut plain, "many"));
    b.setup(
        "SELECT agent_policy.filter_rows('shop.few', 'owner = agent_policy.user_email()'), agent_policy.filter_rows('shop.many', 'owner = agent_policy.user_email()')",
    );
    let mut agent = b.agent();
    let few = ids(&mut agent, "few");
    assert!(few.len() > 20);
    assert_eq!(few, ids(&mut agent, "many"));
}

/// A hash join in several batches takes the most common values of its outer side first.
fn common_values_of_hidden_rows_come_first_in_no_hash_join(b: &Bench) {
    b.allow();
    b.setup("CREATE TABLE shop.wide AS SELECT i AS id, md5(i::text) AS pad FROM generate_series(1, 6000) i");
    for (table, hidden) in [("some", 5), ("others", 2505)] {
        b.setup(&format!(
            "CREATE TABLE shop.{table} (id int, owner text, wide int, pad text);
             INSERT INTO shop.{table} SELECT i, CASE WHEN i % 5 = 0 THEN 'alice@example.com' ELSE 'nobody' END, CASE WHEN i % 5 = 0 THEN i / 2 ELSE {hidden} + i % 20 END, repeat('x', 500)
             FROM generate_series(1, 6000) i"
        ));
    }
    b.setup("GRANT SELECT ON shop.wide, shop.some, shop.others TO @agent@, @plain@");
    b.setup("ANALYZE shop.wide, shop.some, shop.others");
    for setting in [
        "enable_mergejoin = off",
        "enable_nestloop = off",
        "work_mem = '64kB'",
        "max_parallel_workers_per_gather = 0",
    ] {
        b.setup(&format!(
            "ALTER ROLE @agent@ SET {setting}; ALTER ROLE @plain@ SET {setting}"
        ));
    }
    let ids = |wire: &mut Wire, table: &str, condition: &str| {
        wire.query(&format!(
            "SELECT t.id, t.pad, w.pad FROM shop.{table} t JOIN shop.wide w ON w.id = t.wide{condition}"
        ))
        .column()
    };
    let mut plain = b.unconfined();
    let mine = " WHERE t.owner <= 'alice@example.com'";
    assert_ne!(
        ids(&mut plain, "some", mine),
        ids(&mut plain, "others", mine)
    );
    b.setup(
        "SELECT agent_policy.filter_rows('shop.some', 'owner <= agent_policy.user_email()'), agent_policy.filter_rows('shop.others', 'owner <= agent_policy.user_email()'),
                agent_policy.reset_limits('@agent@', 'max_rows')",
    );
    let mut agent = b.agent();
    let some = ids(&mut agent, "some", "");
    assert_eq!(some.len(), 1200);
    assert_eq!(some, ids(&mut agent, "others", ""));
}

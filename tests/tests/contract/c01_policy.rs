//! Policy functions, who may call them, and what they say when they refuse.

use cluster_tests::{Bench, Case, Cluster, cases};

pub const CASES: &[Case] = cases![
    extension_needs_preloading,
    a_new_role_has_the_documented_defaults,
    protect_role_is_idempotent_and_changes_what_it_is_told,
    protect_role_refuses_what_cannot_be_confined,
    wrong_arguments_are_refused_with_a_hint,
    only_admins_change_the_policy,
    the_public_functions_are_public,
    an_agent_cannot_administer_itself,
    every_change_is_in_the_history,
    release_role_ends_it,
    members_are_confined_too,
    set_role_is_sticky,
    a_superuser_may_look_through_the_agents_eyes_and_come_back,
    several_policies_combine_to_the_strictest,
    what_is_not_enforced_is_refused,
    the_views_exist,
    limits_are_kept_where_not_named,
];

fn extension_needs_preloading(b: &Bench) {
    let bare = Cluster::start_bare(b.version);
    let mut su = bare.connect("postgres", "postgres", &[]).expect("connects");
    let error = su.error("CREATE EXTENSION agent_policy");
    assert!(error.hint.contains("shared_preload_libraries"), "{error}");
}

fn a_new_role_has_the_documented_defaults(b: &Bench) {
    b.protect();
    let role = b.value("SELECT to_jsonb(r) FROM agent_policy.protected_roles r WHERE to_jsonb(r)::text LIKE '%@agent@%'");
    assert!(
        role.contains("read_only") && role.contains("enforce"),
        "{role}"
    );
    let limits = b.value(
        "SELECT to_jsonb(l) FROM agent_policy.limits l WHERE to_jsonb(l)::text LIKE '%@agent@%'",
    );
    let limits: serde_json::Value = serde_json::from_str(&limits).expect("JSON");
    assert_eq!(limits["max_rows"], 10_000, "{limits}");
    assert_eq!(limits["max_bytes"], 64 * 1024 * 1024, "{limits}");
    assert_eq!(limits["on_excess"], "truncate", "{limits}");
    assert!(
        limits["statement_timeout"]
            .as_str()
            .is_some_and(|t| t == "00:01:00"),
        "{limits}"
    );
    // Nothing but introspection.
    b.allows("SELECT count(*) FROM pg_catalog.pg_class");
    b.denies("SELECT * FROM shop.orders", "42501", "relation_not_allowed");
    // Identity is required, with assurance `connection`.
    let mut anonymous = b.agent_with(&[]).expect("connects");
    let error = anonymous.error("SELECT 1 FROM pg_class LIMIT 1");
    assert_eq!(error.code, "28000", "{error}");
}

fn protect_role_is_idempotent_and_changes_what_it_is_told(b: &Bench) {
    b.protect();
    b.protect();
    b.setup("SELECT agent_policy.protect_role('@agent@', 'read_write', 'monitor')");
    let role = b.value("SELECT to_jsonb(r) FROM agent_policy.protected_roles r WHERE to_jsonb(r)::text LIKE '%@agent@%'");
    assert!(
        role.contains("read_write") && role.contains("monitor"),
        "{role}"
    );
    b.setup("SELECT agent_policy.protect_role('@agent@', capability => 'ddl', mode => 'enforce')");
    let role = b.value("SELECT to_jsonb(r) FROM agent_policy.protected_roles r WHERE to_jsonb(r)::text LIKE '%@agent@%'");
    assert!(role.contains("ddl") && role.contains("enforce"), "{role}");
}

fn protect_role_refuses_what_cannot_be_confined(b: &Bench) {
    let error = b.setup_error("SELECT agent_policy.protect_role('postgres')");
    assert!(["42501", "22023"].contains(&error.code.as_str()), "{error}");
    assert!(
        !error.hint.is_empty(),
        "a refusal names the way out: {error}"
    );
    for (grant, revoke) in [
        (
            "ALTER ROLE @agent@ REPLICATION",
            "ALTER ROLE @agent@ NOREPLICATION",
        ),
        (
            "GRANT pg_read_server_files TO @agent@",
            "REVOKE pg_read_server_files FROM @agent@",
        ),
        (
            "GRANT pg_write_server_files TO @agent@",
            "REVOKE pg_write_server_files FROM @agent@",
        ),
        (
            "GRANT pg_execute_server_program TO @agent@",
            "REVOKE pg_execute_server_program FROM @agent@",
        ),
    ] {
        b.setup(grant);
        let error = b.setup_error("SELECT agent_policy.protect_role('@agent@')");
        assert!(
            ["42501", "22023"].contains(&error.code.as_str()),
            "{grant}: {error}"
        );
        b.setup(revoke);
    }
    b.protect();
}

fn wrong_arguments_are_refused_with_a_hint(b: &Bench) {
    b.allow();
    for (sql, codes, hint) in [
        ("protect_role('no_such_role')", &["42704"][..], ""),
        (
            "protect_role('@agent@', 'root')",
            &["22023"],
            "read_only, read_write, ddl",
        ),
        (
            "protect_role('@agent@', 'read_only', 'maybe')",
            &["22023"],
            "enforce, monitor",
        ),
        (
            "allow_schema('@agent@', 'no_such_schema')",
            &["3F000", "22023", "42704"],
            "pg_namespace",
        ),
        (
            "allow_schema('@agent@', 'shop', 'everything')",
            &["22023"],
            "read, write",
        ),
        ("allow_relation('@agent@', 'shop.nothing')", &["42P01"], ""),
        (
            "deny_column('@agent@', 'shop.customers', 'nothing')",
            &["42703"],
            "name, email, ssn",
        ),
        (
            "mask_column('shop.customers', 'nothing', 'redact')",
            &["42703"],
            "name, email, ssn",
        ),
        (
            "mask_column('shop.customers', 'email', 'no_such_mask')",
            &["22023", "42704"],
            "redact, null, constant",
        ),
        (
            "mask_column('shop.customers', 'email', 'bucket', '{\"size\":10}')",
            &["42804"],
            "for numbers",
        ),
        (
            "mask_column('shop.customers', 'salary', 'email')",
            &["42804"],
            "for text",
        ),
        (
            "mask_column('shop.customers', 'name', 'truncate', '{\"unit\":\"year\"}')",
            &["42804"],
            "date, timestamp and timestamptz",
        ),
        (
            "mask_column('shop.customers', 'name', 'network')",
            &["42804"],
            "inet and cidr",
        ),
        (
            "mask_column('shop.customers', 'born', 'constant', '{\"value\":\"never\"}')",
            &["22007", "22008", "42804", "22023"],
            "value of the column's type",
        ),
        (
            "filter_rows('shop.orders', 'no_such_column = 1')",
            &["42703"],
            "one boolean expression",
        ),
        (
            "filter_rows('shop.orders', 'amount')",
            &["42804"],
            "one boolean expression",
        ),
        (
            "filter_rows('shop.orders', 'true; DROP TABLE shop.orders')",
            &["42601", "22023"],
            "one boolean expression",
        ),
        (
            "set_limits('@agent@', max_rows => -1)",
            &["22023", "22003", "23514"],
            "reset_limits",
        ),
        (
            "set_limits('@agent@', on_excess => 'explode')",
            &["22023"],
            "truncate, error",
        ),
        (
            "require_identity('@agent@', 'perhaps')",
            &["22023"],
            "none, asserted, connection, signed",
        ),
        (
            "allow_function('@agent@', 'shop.nothing(int)')",
            &["42883"],
            "",
        ),
        (
            "allow_extension('@agent@', 'no_such_extension')",
            &["42704", "22023"],
            "Installed are",
        ),
        (
            "allow_schema('@plain@', 'shop')",
            &["22023", "42704", "55000"],
            "protect_role",
        ),
    ] {
        let error = b.setup_error(&format!("SELECT agent_policy.{sql}"));
        assert!(
            codes.contains(&error.code.as_str()),
            "{sql}: one of {codes:?} expected, got {error}"
        );
        // Without one: the server's own, about an argument that it cannot read.
        assert!(error.hint.contains(hint), "{sql}: {error}");
        assert_eq!(error.hint.is_empty(), hint.is_empty(), "{sql}: {error}");
    }
}

fn only_admins_change_the_policy(b: &Bench) {
    b.protect();
    let mut plain = b.unconfined();
    for call in [
        "protect_role('@plain@')",
        "release_role('@agent@')",
        "allow_schema('@agent@','shop')",
        "set_limits('@agent@')",
    ] {
        let error = plain.error(&b.fill(&format!("SELECT agent_policy.{call}")));
        assert_eq!(error.code, "42501", "{call}: {error}");
    }
    b.setup("GRANT agent_policy_admin TO @plain@");
    let mut admin = b.unconfined();
    admin.query(&b.fill("SELECT agent_policy.allow_schema('@agent@', 'shop')"));
    admin.query(&b.fill("SELECT agent_policy.set_limits('@agent@', max_rows => 5)"));
    b.allows("SELECT 1 FROM shop.orders");
    b.setup("REVOKE agent_policy_admin FROM @plain@");
}

fn the_public_functions_are_public(b: &Bench) {
    let public = b.setup(
        "SELECT DISTINCT proname::text FROM pg_proc \
         WHERE pronamespace = 'agent_policy'::regnamespace AND has_function_privilege('public', oid, 'EXECUTE') ORDER BY 1",
    );
    let public = public.column();
    for name in ["assert_user", "claim", "identity", "user_email"] {
        assert!(
            public.iter().any(|p| p == name),
            "{name} is not public: {public:?}"
        );
    }
    for name in [
        "protect_role",
        "allow_schema",
        "mask_column",
        "filter_rows",
        "set_limits",
        "audit_flush",
        "check",
        "release_role",
        "allow_function",
    ] {
        assert!(!public.iter().any(|p| p == name), "{name} is public");
    }
}

fn an_agent_cannot_administer_itself(b: &Bench) {
    b.allow();
    b.setup("GRANT agent_policy_admin TO @agent@");
    b.setup("GRANT ALL ON ALL TABLES IN SCHEMA agent_policy TO @agent@; GRANT USAGE ON SCHEMA agent_policy TO @agent@");
    for sql in [
        "SELECT agent_policy.release_role('@agent@')",
        "SELECT agent_policy.allow_schema('@agent@', 'vault')",
        "SELECT agent_policy.set_limits('@agent@', max_rows => 1000000)",
        "SELECT * FROM agent_policy.policy_history",
        "SELECT * FROM agent_policy.audit_log",
        "DELETE FROM agent_policy.policy_history",
        "DROP EXTENSION agent_policy CASCADE",
        "ALTER EXTENSION agent_policy DROP SCHEMA agent_policy",
        "DROP SCHEMA agent_policy CASCADE",
    ] {
        let answer = b.agent().simple(&b.fill(sql));
        let error = answer.err();
        assert!(
            ["42501", "25006"].contains(&error.code.as_str()),
            "{sql}: {error}"
        );
    }
    b.setup("REVOKE agent_policy_admin FROM @agent@");
}

fn every_change_is_in_the_history(b: &Bench) {
    let before: i64 = b
        .value("SELECT count(*) FROM agent_policy.policy_history")
        .parse()
        .expect("a number");
    b.allow();
    b.setup("SELECT agent_policy.mask_column('shop.customers', 'email', 'email')");
    let after: i64 = b
        .value("SELECT count(*) FROM agent_policy.policy_history")
        .parse()
        .expect("a number");
    assert_eq!(after - before, 3);
    let history = b
        .setup("SELECT to_jsonb(h)::text FROM agent_policy.policy_history h")
        .column()
        .join("\n");
    for word in [
        "protect_role",
        "allow_schema",
        "mask_column",
        "postgres",
        b.agent.as_str(),
    ] {
        assert!(history.contains(word), "{word} missing in {history}");
    }
    // What was rolled back did not happen.
    b.setup("BEGIN; SELECT agent_policy.allow_schema('@agent@', 'vault'); ROLLBACK");
    assert_eq!(
        b.value("SELECT count(*) FROM agent_policy.policy_history"),
        after.to_string()
    );
    b.denies(
        "SELECT * FROM vault.secrets",
        "42501",
        "relation_not_allowed",
    );
}

fn release_role_ends_it(b: &Bench) {
    b.allow();
    b.denies(
        "SELECT * FROM vault.secrets",
        "42501",
        "relation_not_allowed",
    );
    b.setup("SELECT agent_policy.release_role('@agent@')");
    assert_eq!(b.agent().query("SELECT * FROM vault.secrets").rows.len(), 1);
    b.agent().query("DELETE FROM shop.scratch");
    assert_eq!(b.value("SELECT count(*) FROM agent_policy.protected_roles r WHERE to_jsonb(r)::text LIKE '%@agent@%'"), "0");
    assert_eq!(b.value("SELECT count(*) FROM agent_policy.allowed_objects r WHERE to_jsonb(r)::text LIKE '%@agent@%'"), "0");
}

fn members_are_confined_too(b: &Bench) {
    b.mask();
    b.setup("CREATE ROLE @agent@_child LOGIN IN ROLE @agent@; CREATE ROLE @agent@_grandchild LOGIN IN ROLE @agent@_child");
    for role in ["child", "grandchild"] {
        let user = format!("{}_{role}", b.agent);
        let mut child = b
            .cluster
            .connect(
                &user,
                &b.db,
                &[("options", "-c agent_policy.user_email=alice@example.com")],
            )
            .expect("connects");
        let error = child.error("SELECT * FROM vault.secrets");
        assert_eq!(error.code, "42501", "{error}");
        let error = child.error("DELETE FROM shop.scratch");
        assert_eq!(error.code, "25006", "{error}");
        let answer = child.query("SELECT * FROM shop.customers");
        assert_eq!(cluster_tests::bench::leak(&answer.bytes), None);
    }
}

fn set_role_is_sticky(b: &Bench) {
    b.mask();
    b.setup("CREATE ROLE @agent@_pool LOGIN NOINHERIT; GRANT @agent@, @plain@ TO @agent@_pool");
    let pool = format!("{}_pool", b.agent);
    for way in [
        "SET ROLE @agent@",
        "SET LOCAL ROLE @agent@",
        "SELECT set_config('role', '@agent@', false)",
        "SELECT set_config('role', '@agent@', true)",
    ] {
        for back in [
            "RESET ROLE",
            "SET ROLE NONE",
            "COMMIT",
            "ROLLBACK",
            "SET ROLE @plain@",
            "DISCARD ALL",
            "RESET ALL",
        ] {
            let mut session = b
                .cluster
                .connect(
                    &pool,
                    &b.db,
                    &[("options", "-c agent_policy.user_email=alice@example.com")],
                )
                .expect("connects");
            session.query("BEGIN");
            session.query(&b.fill(way));
            session.simple("SELECT count(*) FROM shop.orders");
            session.simple(&b.fill(back));
            session.simple("COMMIT");
            session.simple(&b.fill("SET ROLE @plain@"));
            let from = session.received.len();
            session.simple("SELECT * FROM shop.customers");
            session.simple("SELECT * FROM vault.secrets");
            let leak = cluster_tests::bench::leak(&session.received[from..]);
            assert_eq!(leak, None, "{way}; {back} leaves the policy");
        }
    }
}

fn a_superuser_may_look_through_the_agents_eyes_and_come_back(b: &Bench) {
    b.mask();
    let mut su = b
        .cluster
        .connect(
            "postgres",
            &b.db,
            &[("options", "-c agent_policy.user_email=alice@example.com")],
        )
        .expect("connects");
    su.query(&b.fill("SET ROLE @agent@"));
    let answer = su.simple("SELECT email FROM shop.customers");
    assert_eq!(
        cluster_tests::bench::leak(&answer.bytes),
        None,
        "SET ROLE confines a superuser's session"
    );
    su.query("RESET ROLE");
    assert!(
        su.query("SELECT email FROM shop.customers")
            .shows("okapi.test")
    );
}

fn several_policies_combine_to_the_strictest(b: &Bench) {
    b.mask();
    b.setup("CREATE ROLE @agent@_b; CREATE ROLE @agent@_both LOGIN IN ROLE @agent@, @agent@_b");
    b.setup("GRANT USAGE ON SCHEMA shop, vault TO @agent@_b");
    b.setup(
        "SELECT agent_policy.protect_role('@agent@_b', 'read_write');
         SELECT agent_policy.allow_relation('@agent@_b', 'shop.orders', 'write');
         SELECT agent_policy.allow_relation('@agent@_b', 'shop.customers');
         SELECT agent_policy.mask_column('shop.customers', 'name', role => '@agent@_b');
         SELECT agent_policy.set_limits('@agent@_b', max_rows => 7)",
    );
    let user = format!("{}_both", b.agent);
    let mut both = b
        .cluster
        .connect(
            &user,
            &b.db,
            &[("options", "-c agent_policy.user_email=alice@example.com")],
        )
        .expect("connects");
    let answer = both.query("SELECT name, email FROM shop.customers");
    assert_eq!(answer.rows.len(), 7, "the smaller limit counts");
    assert!(
        !answer.shows("Customer ") && !answer.shows("okapi.test"),
        "masks add up"
    );
    assert_eq!(
        both.error("SELECT * FROM shop.scratch").code,
        "42501",
        "allowlists intersect"
    );
    assert_eq!(
        both.error("DELETE FROM shop.orders WHERE false").code,
        "25006",
        "the lesser capability counts"
    );
}

fn full_policy(b: &Bench) {
    b.mask();
    b.setup(
        "SELECT agent_policy.deny_relation('@agent@', 'shop.hidden');
         SELECT agent_policy.deny_column('@agent@', 'shop.orders', 'status');
         SELECT agent_policy.allow_function('@agent@', 'shop.plus_one(int)');
         SELECT agent_policy.set_limits('@agent@', max_rows => 50, statement_timeout => '5 s');
         SELECT agent_policy.filter_rows('shop.orders', 'customer_id < 100');
         SELECT agent_policy.require_identity('@agent@', 'connection')",
    );
}

/// What this release does not enforce is refused, not ignored.
fn what_is_not_enforced_is_refused(b: &Bench) {
    b.allow();
    for call in [
        "set_limits('@agent@', max_concurrent => 1)",
        "set_limits('@agent@', queries_per_minute => 1)",
        "set_limits('@agent@', rows_per_hour => 1)",
        "set_limits('@agent@', denials_per_hour => 1)",
        "require_identity('@agent@', 'signed')",
    ] {
        let error = b.setup_error(&format!("SELECT agent_policy.{call}"));
        assert_eq!(error.code, "0A000", "{call}: {error}");
        assert!(!error.hint.is_empty(), "{call}: {error}");
    }
}

fn the_views_exist(b: &Bench) {
    full_policy(b);
    b.allows("SELECT count(*) FROM shop.orders");
    b.flush_audit();
    for view in [
        "protected_roles",
        "allowed_objects",
        "masks",
        "row_filters",
        "limits",
        "health",
    ] {
        let rows: i64 = b
            .value(&format!("SELECT count(*) FROM agent_policy.{view}"))
            .parse()
            .expect("a number");
        assert!(rows > 0, "{view} is empty");
    }
}

fn limits_are_kept_where_not_named(b: &Bench) {
    b.allow();
    b.setup("SELECT agent_policy.set_limits('@agent@', max_rows => 5); SELECT agent_policy.set_limits('@agent@', max_bytes => 100000)");
    assert_eq!(b.allows("SELECT id FROM shop.orders").rows.len(), 5);
    b.setup("SELECT agent_policy.reset_limits('@agent@', 'max_rows')");
    assert_eq!(b.allows("SELECT id FROM shop.orders").rows.len(), 3000);
    let error = b.setup_error("SELECT agent_policy.reset_limits('@agent@', 'no_such_limit')");
    assert_eq!(error.code, "22023", "{error}");
}

//! A policy that is broken, missing or unreadable means no access, and a damaged audit means no agents.

use std::sync::Arc;

use cluster_tests::bench::leak;
use cluster_tests::{Bench, Case, Cluster, cases};

pub const CASES: &[Case] = cases![
    a_dropped_mask_expression_function_denies,
    a_policy_row_that_makes_no_sense_denies,
    policy_tables_unreadable_denies,
    an_unwritable_spool_denies,
    dropping_the_extension_is_the_dbas_right,
    renamed_and_recreated_objects,
    a_dropped_column_takes_its_mask_along,
    a_renamed_column_stays_denied,
    renamed_in_the_parent,
    a_policy_that_cannot_be_read_denies,
    create_or_replace_view_does_not_uncover,
];

fn a_dropped_mask_expression_function_denies(b: &Bench) {
    b.allow();
    b.setup(
        "CREATE FUNCTION public.veil(text) RETURNS text LANGUAGE sql IMMUTABLE RETURN left($1, 1)",
    );
    b.setup("SELECT agent_policy.mask_column('shop.customers', 'email', 'expression', '{\"sql\":\"public.veil(email)\"}')");
    b.masks("SELECT email FROM shop.customers WHERE id = 1");
    let dropped = b
        .cluster
        .connect("postgres", &b.db, &[])
        .expect("connects")
        .simple("DROP FUNCTION public.veil(text)");
    if dropped.errors.is_empty() {
        let answer = b
            .agent()
            .simple("SELECT email FROM shop.customers WHERE id = 1");
        assert_eq!(leak(&answer.bytes), None);
        assert!(!answer.errors.is_empty());
    }
}

fn a_policy_row_that_makes_no_sense_denies(b: &Bench) {
    b.mask();
    // Whatever the tables are called: every mask made nonsense.
    let tables = b.setup(
        "SELECT attrelid::regclass::text, attname::text FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
         WHERE relnamespace = 'agent_policy'::regnamespace AND relkind = 'r' AND attname = 'mask' AND NOT attisdropped",
    );
    for row in tables.texts() {
        let mut su = b.cluster.connect("postgres", &b.db, &[]).expect("connects");
        su.query("SET session_replication_role = replica");
        su.simple(&format!(
            "UPDATE {} SET {} = 'no_such_mask'",
            row[0], row[1]
        ));
    }
    let answer = b
        .agent()
        .simple("SELECT email, ssn FROM shop.customers WHERE id = 1");
    assert_eq!(leak(&answer.bytes), None, "an unknown mask uncovers");
}

fn policy_tables_unreadable_denies(b: &Bench) {
    b.mask();
    let tables = b.setup("SELECT relname::text FROM pg_class WHERE relnamespace = 'agent_policy'::regnamespace AND relkind = 'r' AND relname ~ 'role|mask'");
    for table in tables.column() {
        let mut su = b.cluster.connect("postgres", &b.db, &[]).expect("connects");
        if !su
            .simple(&format!(
                "ALTER TABLE agent_policy.{table} RENAME TO broken_{table}"
            ))
            .errors
            .is_empty()
        {
            continue;
        }
        for sql in [
            "SELECT email, ssn FROM shop.customers WHERE id = 1",
            "SELECT * FROM vault.secrets",
        ] {
            let mut agent = b.agent();
            let answer = agent.simple(sql);
            assert_eq!(leak(&answer.bytes), None, "without {table}: {sql}");
            let error = answer.errors.first().expect("refused");
            assert_ne!(error.code, "SILENT", "without {table}: {sql} hangs");
            assert!(!agent.simple("SELECT 1").closed, "without {table}");
        }
        su.query(&format!(
            "ALTER TABLE agent_policy.broken_{table} RENAME TO {table}"
        ));
    }
    b.masks("SELECT email FROM shop.customers WHERE id = 1");
}

fn an_unwritable_spool_denies(b: &Bench) {
    let own = Bench::new(Arc::new(Cluster::start(b.version, "")));
    own.allow();
    own.agent().query("SELECT 1");
    own.flush_audit();
    // The spool is somewhere below the data directory: every directory of ours becomes unwritable.
    let data = own.cluster.data();
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&data)
        .expect("the data directory")
        .flatten()
    {
        if entry.file_name().to_string_lossy().contains("agent_policy") && entry.path().is_dir() {
            found.push(entry.path());
        }
    }
    assert!(
        !found.is_empty(),
        "no spool directory with agent_policy in its name in {}",
        data.display()
    );
    for path in &found {
        let aside = path.with_extension("aside");
        std::fs::rename(path, &aside).expect("renamed");
        std::fs::write(path, "in the way").expect("written");
    }
    let answer = own
        .agent_with(&[("options", "-c agent_policy.user_email=alice@example.com")])
        .map(|mut a| a.simple("SELECT count(*) FROM shop.orders"));
    if let Ok(answer) = answer {
        assert_eq!(answer.err().code, "58030", "{}", answer.err());
        assert_eq!(answer.err().rule(), "audit_unavailable");
    }
    own.unconfined().query("SELECT count(*) FROM shop.orders");
    for path in &found {
        std::fs::remove_file(path).expect("removed");
        std::fs::rename(path.with_extension("aside"), path).expect("renamed back");
    }
    own.agent().query("SELECT count(*) FROM shop.orders");
}

fn dropping_the_extension_is_the_dbas_right(b: &Bench) {
    b.mask();
    let mut agent = b.agent();
    agent.query("SELECT count(*) FROM shop.orders");
    b.setup("DROP EXTENSION agent_policy CASCADE");
    agent.simple("SELECT count(*) FROM shop.orders");
    b.unconfined().query("SELECT count(*) FROM shop.orders");
    b.setup("CREATE EXTENSION agent_policy");
    b.mask();
    b.masks("SELECT email FROM shop.customers");
}

fn renamed_and_recreated_objects(b: &Bench) {
    b.allow();
    b.setup("SELECT agent_policy.deny_relation('@agent@', 'shop.hidden')");
    b.setup("ALTER TABLE shop.hidden RENAME TO still_hidden");
    b.denies(
        "SELECT * FROM shop.still_hidden",
        "42501",
        "relation_not_allowed",
    );
    b.setup("ALTER ROLE @agent@ RENAME TO @agent@_renamed");
    let mut session = b
        .cluster
        .connect(
            &format!("{}_renamed", b.agent),
            &b.db,
            &[("options", "-c agent_policy.user_email=alice@example.com")],
        )
        .expect("connects");
    assert_eq!(
        session.error("SELECT * FROM shop.still_hidden").code,
        "42501"
    );
    assert_eq!(session.error("SELECT * FROM vault.secrets").code, "42501");
}

fn a_dropped_column_takes_its_mask_along(b: &Bench) {
    b.mask();
    b.setup("ALTER TABLE shop.customers DROP COLUMN ssn CASCADE");
    b.hides("SELECT * FROM shop.customers");
    if !b
        .agent()
        .simple("SELECT * FROM shop.customers")
        .errors
        .is_empty()
    {
        // Denied until the DBA has put the policy in order: that has to be possible.
        b.setup("SELECT agent_policy.unmask_column('shop.customers', 'ssn')");
    }
    b.masks("SELECT * FROM shop.customers");
    b.masks("SELECT c FROM shop.customers c");
    b.setup("DROP TABLE shop.vips, shop.customers CASCADE");
    b.allows("SELECT count(*) FROM shop.orders");
}

fn a_renamed_column_stays_denied(b: &Bench) {
    const CLOSED: (&str, &str) = ("42501", "policy_unavailable");
    b.allow();
    b.setup("SELECT agent_policy.deny_column('@agent@', 'shop.customers', 'ssn')");
    let mut agent = b.agent();
    assert_eq!(
        agent.error("SELECT ssn FROM shop.customers").rule(),
        "column_denied"
    );
    b.setup("ALTER TABLE shop.customers RENAME COLUMN ssn TO ssn2");
    let answer = agent.simple("SELECT ssn2 FROM shop.customers");
    assert_eq!(leak(&answer.bytes), None);
    for sql in [
        "SELECT ssn2 FROM shop.customers",
        "SELECT id FROM shop.customers",
        "SELECT ssn FROM shop.customer_list",
        "SELECT ssn2 FROM shop.vips",
    ] {
        b.denies(sql, CLOSED.0, CLOSED.1);
    }
    b.setup("SELECT agent_policy.reset_column('@agent@', 'shop.customers', 'ssn'); SELECT agent_policy.deny_column('@agent@', 'shop.customers', 'ssn2')");
    b.denies("SELECT ssn2 FROM shop.customers", "42501", "column_denied");
    b.allows("SELECT id FROM shop.customers");
    b.setup("ALTER TABLE shop.customers DROP COLUMN ssn2 CASCADE");
    b.denies("SELECT id FROM shop.customers", CLOSED.0, CLOSED.1);
    b.setup("ALTER TABLE shop.customers ADD COLUMN ssn2 text");
    b.denies("SELECT ssn2 FROM shop.customers", "42501", "column_denied");
    b.allows("SELECT id FROM shop.customers");
}

/// What was said of a child's column goes with it as well.
fn renamed_in_the_parent(b: &Bench) {
    b.allow();
    b.setup("SELECT agent_policy.deny_column('@agent@', 'shop.events_2024', 'email'); ALTER TABLE shop.events RENAME COLUMN email TO mail");
    for table in ["shop.events", "shop.events_2024"] {
        b.denies(
            &format!("SELECT mail FROM {table}"),
            "42501",
            "policy_unavailable",
        );
    }
    b.setup("SELECT agent_policy.reset_column('@agent@', 'shop.events_2024', 'email')");
    b.allows("SELECT mail FROM shop.events");
    b.setup("SELECT agent_policy.mask_column('shop.events_2024', 'payload'); ALTER TABLE shop.events RENAME COLUMN payload TO load");
    for table in ["shop.events", "shop.events_2024"] {
        b.denies(
            &format!("SELECT load FROM {table}"),
            "42501",
            "policy_unavailable",
        );
    }
}

/// Each statement gets one answer, also where what is stored cannot be made sense of.
fn a_policy_that_cannot_be_read_denies(b: &Bench) {
    b.allow();
    let mut agent = b.agent();
    agent.query("SELECT 1");
    b.setup("INSERT INTO agent_policy.policy_function (role, function, access) VALUES ('@agent@', 'no name (', 'deny')");
    let error = agent.error("SELECT 1");
    assert_eq!(error.rule(), "policy_unavailable", "{error}");
    b.denies("SELECT 1", "42501", "policy_unavailable");
    b.setup("DELETE FROM agent_policy.policy_function");
    assert_eq!(agent.query("SELECT 1").one(), "1");
    b.allows("SELECT 1");
}

fn create_or_replace_view_does_not_uncover(b: &Bench) {
    b.mask();
    b.setup("CREATE OR REPLACE VIEW shop.customer_list AS SELECT id, name, email, ssn, note AS region FROM shop.customers");
    b.masks("SELECT * FROM shop.customer_list");
}

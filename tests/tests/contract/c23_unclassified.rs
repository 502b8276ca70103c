//! Columns that nobody has classified, and what several roles say of one column.

use cluster_tests::{Bench, Case, cases};

pub const CASES: &[Case] = cases![
    unclassified_columns_are_hidden,
    unclassified_by_role,
    masks_of_two_roles_in_a_family,
];

fn unclassified_columns_are_hidden(b: &Bench) {
    b.setup("CREATE TABLE shop.later (id int, mail text DEFAULT 'x@okapi.test'); INSERT INTO shop.later VALUES (1); GRANT SELECT ON shop.later TO @agent@, @plain@");
    b.allow();
    b.setup(
        "SELECT agent_policy.unclassified_columns('@agent@', 'mask');
         SELECT agent_policy.mask_column('shop.customers', 'id', 'none');
         SELECT agent_policy.mask_column('shop.customers', 'email', 'email');
         SECURITY LABEL FOR agent_policy ON COLUMN shop.customers.region IS 'public'",
    );
    // As long as nobody has classified the key, which partition a row is in is hidden, too.
    b.denies(
        "SELECT * FROM shop.events_2024",
        "42501",
        "relation_not_allowed",
    );
    b.setup("SECURITY LABEL FOR agent_policy ON COLUMN shop.events.at IS 'public'");
    for sql in [
        "SELECT * FROM shop.customers",
        "SELECT * FROM shop.customer_list",
        "SELECT c FROM shop.customers c",
        "SELECT * FROM shop.vips",
        "SELECT * FROM shop.events_2024",
        "SELECT * FROM shop.later",
        "COPY shop.events_2025 TO STDOUT",
    ] {
        b.masks(sql);
    }
    assert_eq!(
        b.allows("SELECT id, name, email, ssn, born, salary, region, profile FROM shop.customers WHERE id = 1")
            .texts()[0],
        ["1", "***", "c***@example.com", "***", "1970-01-01", "0.00", "south", "{}"]
    );
    // What a child has beyond its parent was classified by nobody.
    assert_eq!(
        b.allows("SELECT id, level FROM shop.vips").texts()[0],
        ["9001", "0"]
    );
    // A new column is hidden, a type without a neutral value is NULL.
    b.setup(
        "CREATE DOMAIN shop.sure AS text CHECK (value LIKE 'QUAGGA%'); CREATE TYPE shop.state AS ENUM ('QUAGGA', 'b');
         ALTER TABLE shop.later ADD COLUMN secret text DEFAULT 'QUAGGA', ADD COLUMN sure shop.sure DEFAULT 'QUAGGA', ADD COLUMN state shop.state DEFAULT 'QUAGGA', ADD COLUMN pair shop.customers",
    );
    assert_eq!(
        b.masks("SELECT * FROM shop.later").texts()[0],
        ["0", "***", "***", "∅", "∅", "∅"]
    );
    // The catalogs are no tables of the user's.
    assert_eq!(
        b.allows("SELECT relname FROM pg_class WHERE relname = 'later'")
            .one(),
        "later"
    );
    b.allows("SELECT column_name FROM information_schema.columns WHERE table_name = 'later'");
    assert_eq!(
        b.value("SELECT unclassified_columns FROM agent_policy.protected_roles"),
        "mask"
    );
    b.setup("SELECT agent_policy.unclassified_columns('@agent@', 'show')");
    assert_eq!(
        b.allows("SELECT mail FROM shop.later").one(),
        "x@okapi.test"
    );
    for (sql, code) in [
        (
            "SELECT agent_policy.unclassified_columns('@agent@', 'hide')",
            "22023",
        ),
        (
            "SELECT agent_policy.unclassified_columns('@agent@', NULL)",
            "22004",
        ),
        (
            "SELECT agent_policy.unclassified_columns('@plain@', 'mask')",
            "22023",
        ),
    ] {
        assert_eq!(b.setup_error(sql).code, code, "{sql}");
    }
}

fn second_agent(b: &Bench) {
    b.setup(
        "CREATE ROLE @agent@_b LOGIN; GRANT USAGE ON SCHEMA shop TO @agent@_b; GRANT SELECT ON ALL TABLES IN SCHEMA shop TO @agent@_b;
         SELECT agent_policy.protect_role('@agent@_b'); SELECT agent_policy.allow_schema('@agent@_b', 'shop')",
    );
}

fn as_second(b: &Bench, sql: &str) -> cluster_tests::Answer {
    b.cluster
        .connect(
            &format!("{}_b", b.agent),
            &b.db,
            &[("options", "-c agent_policy.user_email=b@example.com")],
        )
        .expect("connects")
        .query(sql)
}

fn unclassified_by_role(b: &Bench) {
    b.allow();
    second_agent(b);
    b.setup(
        "SELECT agent_policy.unclassified_columns('@agent@', 'mask');
         SELECT agent_policy.mask_column('shop.customers', 'email', 'none', role => '@agent@_b');
         SELECT agent_policy.mask_column('shop.customers', 'id', 'none')",
    );
    let sql = "SELECT id, email, name FROM shop.customers WHERE id = 1";
    assert_eq!(
        as_second(b, sql).texts()[0],
        ["1", "c1@okapi.test", "Customer 1"]
    );
    // Another role's word on a column is none for this one.
    assert_eq!(b.allows(sql).texts()[0], ["1", "***", "***"]);
    // A session of both: what one hides is hidden.
    b.setup("GRANT @agent@ TO @agent@_b");
    assert_eq!(as_second(b, sql).texts()[0], ["1", "***", "***"]);
}

/// One role's exemption on a child must not lift another role's mask on the parent.
fn masks_of_two_roles_in_a_family(b: &Bench) {
    b.allow();
    second_agent(b);
    b.setup(
        "SELECT agent_policy.mask_column('shop.customers', 'email', 'redact', role => '@agent@');
         SELECT agent_policy.mask_column('shop.vips', 'email', 'none', role => '@agent@_b')",
    );
    assert_eq!(
        as_second(b, "SELECT email FROM shop.vips").one(),
        "vip@okapi.test"
    );
    b.masks("SELECT email FROM shop.vips");
    b.setup("GRANT @agent@ TO @agent@_b");
    assert_eq!(as_second(b, "SELECT email FROM shop.vips").one(), "***");
}

//! A policy that is broken, missing or unreadable means no access, and a damaged audit means no agents.

use std::sync::Arc;

use cluster_tests::bench::leak;
use cluster_tests::{Bench, Case, Cluster, cases};

pub const CASES: &[Case] = cases![
    a_dropped_mask_expression_function_denies,
    a_policy_row_that_makes_no_sense_denies,
    a_word_that_makes_no_sense_opens_nothing,
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

/// What is stored is made nonsense of, a row at a time: what it is about is denied to sessions that run and to new ones,
/// the rest is not, and the DBA can put it in order again.
fn a_policy_row_that_makes_no_sense_denies(b: &Bench) {
    b.mask();
    b.setup(
        "SELECT agent_policy.filter_rows('shop.orders', 'id > 0'); SELECT agent_policy.mask_column('shop.scratch', 'v', 'expression', '{\"sql\":\"upper(v)\"}');
         CREATE TABLE shop.labelled (id int, t text); INSERT INTO shop.labelled VALUES (1, 'QUAGGA'); GRANT SELECT ON shop.labelled TO @agent@, @plain@;
         SECURITY LABEL FOR agent_policy ON COLUMN shop.labelled.t IS 'animal'; SELECT agent_policy.mask_label('animal', 'redact')",
    );
    let of = |column: &str| {
        format!("relation = 'shop.customers'::regclass AND column_name = '{column}'")
    };
    let (email, born) = (of("email"), of("born"));
    let orders = "relation = 'shop.orders'::regclass";
    let scratch = "relation = 'shop.scratch'::regclass";
    let customers = "SELECT email, born FROM shop.customers WHERE id = 1";
    for (table, rows, change, sql) in [
        (
            "policy_mask",
            email.as_str(),
            "expression = 'no expression at all ('",
            customers,
        ),
        ("policy_mask", &email, "expression = ''", customers),
        (
            "policy_mask",
            &email,
            "expression = 'no_such_column'",
            customers,
        ),
        (
            "policy_mask",
            &email,
            "expression = 'agent_policy.no_such_mask(email)'",
            customers,
        ),
        (
            "policy_mask",
            &email,
            "expression = 'email, ssn'",
            customers,
        ),
        ("policy_mask", &email, "expression = 'sum(1)'", customers),
        (
            "policy_mask",
            &born,
            "expression = $$'never'::date$$",
            customers,
        ),
        ("policy_mask", &born, "expression = '1'", customers),
        ("policy_mask", &email, "column_name = 'mail'", customers),
        (
            "policy_mask",
            scratch,
            "expression = 'upper('",
            "SELECT v FROM shop.scratch",
        ),
        (
            "policy_mask",
            scratch,
            "definer = 4242424::oid::regrole",
            "SELECT v FROM shop.scratch",
        ),
        (
            "policy_filter",
            orders,
            "expression = 'id >'",
            "SELECT count(*) FROM shop.orders",
        ),
        (
            "policy_filter",
            orders,
            "expression = 'id'",
            "SELECT count(*) FROM shop.orders",
        ),
        (
            "policy_filter",
            orders,
            "expression = 'nothing > 1'",
            "SELECT count(*) FROM shop.orders",
        ),
        (
            "policy_filter",
            orders,
            "definer = 4242424::oid::regrole",
            "SELECT count(*) FROM shop.orders",
        ),
        (
            "policy_label",
            "true",
            "mask = 'no_such_mask'",
            "SELECT t FROM shop.labelled",
        ),
        (
            "policy_label",
            "true",
            "options = 'no json'",
            "SELECT t FROM shop.labelled",
        ),
        (
            "policy_label",
            "true",
            "mask = 'bucket'",
            "SELECT t FROM shop.labelled",
        ),
    ] {
        let mut agent = b.agent();
        agent.query(sql);
        agent.query(&format!("PREPARE p AS {sql}"));
        agent.query("EXECUTE p");
        b.setup(&format!(
            "CREATE TABLE public.kept AS SELECT * FROM agent_policy.{table} WHERE {rows}; UPDATE agent_policy.{table} SET {change} WHERE {rows}"
        ));
        for (wire, sql) in [(&mut agent, sql), (&mut b.agent(), sql)] {
            let answer = wire.simple(sql);
            assert_eq!(leak(&answer.bytes), None, "{change}: {sql}");
            let error = answer.err();
            assert_eq!(
                (error.code.as_str(), error.rule().as_str()),
                ("42501", "policy_unavailable"),
                "{change}: {error}"
            );
            assert!(!error.hint.is_empty(), "{change}: {error}");
        }
        assert_eq!(
            agent.error("EXECUTE p").rule(),
            "policy_unavailable",
            "{change}"
        );
        // The rest of the policy holds.
        assert_eq!(
            agent
                .query("SELECT count(*) FROM shop.events WHERE email = '***'")
                .one(),
            "600"
        );
        b.setup(&format!(
            "DELETE FROM agent_policy.{table} WHERE {}; INSERT INTO agent_policy.{table} SELECT * FROM public.kept; DROP TABLE public.kept",
            if change.starts_with("column_name") { of("mail") } else { rows.to_owned() }
        ));
        assert_eq!(leak(&agent.query(sql).bytes), None, "{change}: put back");
        assert_eq!(
            leak(&agent.query("EXECUTE p").bytes),
            None,
            "{change}: put back"
        );
    }
}

/// Words that no function of the policy would store: what is meant by them is nothing that opens anything.
fn a_word_that_makes_no_sense_opens_nothing(b: &Bench) {
    b.mask();
    b.setup(
        "ALTER TABLE agent_policy.policy_role DROP CONSTRAINT policy_role_capability_check, DROP CONSTRAINT policy_role_mode_check, DROP CONSTRAINT policy_role_identity_check;
         ALTER TABLE agent_policy.policy_schema DROP CONSTRAINT policy_schema_access_check; ALTER TABLE agent_policy.policy_function DROP CONSTRAINT policy_function_access_check",
    );
    // Unknown as a mask, what it shows is what was compiled when it was set.
    b.setup("UPDATE agent_policy.policy_mask SET mask = 'no_such_mask'");
    b.masks("SELECT email, ssn FROM shop.customers WHERE id = 1");
    b.setup("UPDATE agent_policy.policy_mask SET expression = NULL");
    assert_eq!(
        b.masks("SELECT email, ssn FROM shop.customers WHERE id = 1")
            .texts(),
        [["∅", "∅"]]
    );
    for (change, back, denied) in [
        (
            "policy_role SET capability = 'root'",
            "policy_role SET capability = 'read_only'",
            "INSERT INTO shop.scratch VALUES (9)",
        ),
        (
            "policy_role SET mode = 'asleep'",
            "policy_role SET mode = 'enforce'",
            "SELECT * FROM vault.secrets",
        ),
        (
            "policy_role SET identity = 'anything'",
            "policy_role SET identity = 'connection'",
            "SELECT * FROM vault.secrets",
        ),
        (
            "policy_schema SET access = 'everything'",
            "policy_schema SET access = 'read'",
            "INSERT INTO shop.scratch VALUES (9)",
        ),
    ] {
        b.setup(&format!("UPDATE agent_policy.{change}"));
        let error = b.agent().error(denied);
        assert!(
            ["42501", "25006", "28000"].contains(&error.code.as_str()),
            "{change}: {error}"
        );
        assert!(!error.rule().is_empty(), "{change}: {error}");
        let answer = b
            .agent()
            .simple("SELECT email, ssn FROM shop.customers WHERE id = 1");
        assert_eq!(leak(&answer.bytes), None, "{change}");
        b.setup(&format!("UPDATE agent_policy.{back}"));
        b.allows("SELECT count(*) FROM shop.orders");
    }
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

//! What was done is recorded: inside functions, in transactions whose disk fails, by whatever carries it.

use std::sync::Arc;

use cluster_tests::faults::Fault;
use cluster_tests::{Bench, Case, Cluster, cases};

use crate::c25_standby::wait;

pub const CASES: &[Case] = cases![
    no_change_without_its_record,
    a_trusted_function_is_recorded,
    commands_inside_a_function,
    execute_inside_another_command,
    a_withdrawn_identity,
    what_fails_while_a_statement_is_planned,
    rows_that_never_left,
];

fn definer(b: &Bench) {
    b.setup(
        "SELECT agent_policy.protect_role('@agent@', 'ddl'); SELECT agent_policy.allow_schema('@agent@', 'shop', 'write');
         GRANT CREATE ON SCHEMA shop TO @agent@",
    );
}

/// Commands of data definition say nothing that has to wait for a record; their transaction does.
fn no_change_without_its_record(b: &Bench) {
    let own = Bench::new(Arc::new(Cluster::start_faulty(b.version, "")));
    definer(&own);
    let there = || own.value("SELECT count(*) FROM pg_class WHERE relname = 'made'");
    for (what, messages) in [
        ("by itself", &["CREATE TABLE shop.made ()"][..]),
        (
            "in a transaction",
            &["BEGIN", "CREATE TABLE shop.made ()", "COMMIT"],
        ),
        (
            "read-only since",
            &[
                "BEGIN",
                "CREATE TABLE shop.made ()",
                "SET TRANSACTION READ ONLY",
                "COMMIT",
            ],
        ),
        (
            "followed by others",
            &[
                "BEGIN",
                "CREATE TABLE shop.made ()",
                "SET extra_float_digits = 1",
                "SET extra_float_digits = 2",
                "COMMIT",
            ],
        ),
    ] {
        for (fault, fails) in [(None, false), (Some(Fault::SyncFails), true)] {
            let mut agent = own.agent();
            agent.query("SELECT 1");
            let mut failed = false;
            for message in messages {
                // From the change on, the disk fails.
                if let (Some(fault), true) = (fault, message.starts_with("CREATE")) {
                    own.cluster.faults().begin(fault);
                }
                failed |= !agent.simple(message).errors.is_empty();
                std::thread::sleep(std::time::Duration::from_millis(50));
            }
            if let Some(fault) = fault {
                own.cluster.faults().end(fault);
            }
            assert_eq!(failed, fails, "{what}");
            assert_eq!(there(), if fails { "0" } else { "1" }, "{what}");
            drop(agent);
            if !fails {
                own.flush_audit();
                let rows = own.audit("command_tag = 'CREATE TABLE' AND outcome = 'ok'");
                assert!(!rows.is_empty(), "{what}");
                own.setup("DROP TABLE shop.made");
            } else {
                wait("agent served again", || {
                    own.agent().simple("SELECT 1").errors.is_empty()
                });
            }
        }
    }
}

/// It may do what the policy does not allow, and what it does is told.
fn a_trusted_function_is_recorded(b: &Bench) {
    b.allow();
    b.setup(
        "CREATE FUNCTION shop.secret(n int) RETURNS text LANGUAGE plpgsql SECURITY DEFINER AS $$ DECLARE t text; BEGIN
             FOR i IN 1..n LOOP SELECT token INTO t FROM vault.secrets; END LOOP;
             CREATE TEMP TABLE kept (t text); DROP TABLE kept;
             BEGIN PERFORM 1 / (length(token) - length(token)) FROM vault.secrets; EXCEPTION WHEN division_by_zero THEN NULL; END;
             RETURN 'done'; END $$;
         GRANT EXECUTE ON FUNCTION shop.secret(int) TO @agent@;
         SELECT agent_policy.allow_function('@agent@', 'shop.secret(int)', trusted => true);
         SELECT agent_policy.protect_role('@agent@', 'read_write')",
    );
    assert_eq!(b.allows("SELECT shop.secret(2)").one(), "done");
    b.flush_audit();
    let outer = b.audit("nesting_level = 0 AND statement LIKE 'SELECT shop.secret%'");
    let inner = b.audit("nesting_level > 0 AND relations @> '{vault.secrets}'");
    // The call is made over both protocols.
    let calls = outer.len();
    assert!(calls > 0);
    assert_eq!(inner.len(), 3 * calls, "{inner:?}");
    assert!(
        inner
            .iter()
            .all(|row| row["user_email"] == "alice@example.com" && row["verdict"] == "allowed")
    );
    let failed = inner.iter().filter(|row| row["outcome"] == "error").count();
    assert_eq!(failed, calls);
    let commands = b.audit("nesting_level > 0 AND command_tag IN ('CREATE TABLE', 'DROP TABLE')");
    assert_eq!(commands.len(), 2 * calls, "{commands:?}");
}

fn commands_inside_a_function(b: &Bench) {
    definer(b);
    b.setup(
        "CREATE FUNCTION shop.makes() RETURNS int LANGUAGE plpgsql AS $$ BEGIN
             CREATE TABLE shop.inner_one (id int);
             BEGIN CREATE TABLE shop.inner_one (id int); EXCEPTION WHEN duplicate_table THEN NULL; END;
             DROP TABLE shop.inner_one; RETURN 1; END $$;
         GRANT EXECUTE ON FUNCTION shop.makes() TO @agent@;
         SELECT agent_policy.allow_function('@agent@', 'shop.makes()')",
    );
    b.agent().query("SELECT shop.makes()");
    b.flush_audit();
    let rows = b.audit("nesting_level > 0 AND command_tag IN ('CREATE TABLE', 'DROP TABLE') ");
    let told: Vec<(String, String)> = rows
        .iter()
        .map(|row| (row["command_tag"].to_string(), row["outcome"].to_string()))
        .collect();
    let said = |tag: &str, outcome: &str| (format!("\"{tag}\""), format!("\"{outcome}\""));
    assert_eq!(
        told,
        [
            said("CREATE TABLE", "ok"),
            said("CREATE TABLE", "error"),
            said("DROP TABLE", "ok"),
        ]
    );
}

/// The text that ran is that of the prepared statement, whatever runs it.
fn execute_inside_another_command(b: &Bench) {
    definer(b);
    let mut agent = b.agent();
    agent.query("PREPARE p AS SELECT id FROM shop.orders WHERE status = 'paid'");
    for sql in [
        "EXECUTE p",
        "EXPLAIN EXECUTE p",
        "CREATE TABLE shop.made AS EXECUTE p",
    ] {
        agent.query(sql);
    }
    b.flush_audit();
    let rows = b
        .audit("nesting_level = 0 AND statement LIKE '%status = $1%' AND command_tag <> 'PREPARE'");
    let tags: Vec<String> = rows
        .iter()
        .map(|row| row["command_tag"].to_string())
        .collect();
    assert_eq!(rows.len(), 3, "{tags:?}");
}

/// What a pool sends between two clients takes the asserted user away, and nobody else comes in their place.
fn a_withdrawn_identity(b: &Bench) {
    b.allow();
    b.setup("SELECT agent_policy.require_identity('@agent@', 'asserted')");
    let mut agent = b.agent_with(&[]).expect("connects");
    agent.query("BEGIN");
    agent.query("SELECT agent_policy.assert_user('alice@example.com')");
    agent.query("SELECT count(*) FROM shop.orders");
    agent.query("RESET ALL");
    assert_eq!(agent.query("SELECT agent_policy.user_email()").one(), "∅");
    assert_eq!(
        agent.error("SELECT count(*) FROM shop.orders").code,
        "28000"
    );
    agent.simple("ROLLBACK");
    agent.query("BEGIN");
    agent.query("SELECT agent_policy.assert_user('alice@example.com')");
    agent.query("RESET ALL");
    let error = agent.error("SELECT agent_policy.assert_user('bob@example.com')");
    assert_eq!(error.code, "25001", "{error}");
    agent.simple("ROLLBACK");
    agent.query("BEGIN");
    agent.query("SELECT agent_policy.assert_user('bob@example.com')");
    agent.query("SELECT count(*) FROM shop.orders");
}

/// The planner folds a call: what runs in it begins before the statement does.
fn what_fails_while_a_statement_is_planned(b: &Bench) {
    b.setup(
        "CREATE FUNCTION shop.folded(n int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN
             BEGIN PERFORM id / (id - id) FROM shop.scratch; EXCEPTION WHEN division_by_zero THEN NULL; END;
             RETURN (SELECT count(*) FROM shop.scratch); END $$;
         GRANT EXECUTE ON FUNCTION shop.folded(int) TO @agent@",
    );
    b.allow();
    b.setup("SELECT agent_policy.allow_function('@agent@', 'shop.folded(int)')");
    for sql in [
        "SELECT id FROM shop.orders WHERE id = shop.folded(1)",
        "SELECT id FROM shop.orders WHERE id = shop.folded(2)",
    ] {
        b.agent().query(sql);
    }
    b.flush_audit();
    let outcomes = |filter: &str| -> Vec<String> {
        let rows = b.audit(filter);
        rows.iter().map(|row| row["outcome"].to_string()).collect()
    };
    assert_eq!(outcomes("nesting_level = 0"), ["\"ok\"", "\"ok\""]);
    let failed = outcomes("nesting_level > 0 AND statement ~ 'id - id'");
    assert!(
        !failed.is_empty() && failed.iter().all(|outcome| outcome == "\"error\""),
        "{failed:?}"
    );
    let rows = b.audit("nesting_level = 0");
    assert!(
        rows.iter().all(|row| row["relations"][0] == "shop.orders"),
        "{rows:?}"
    );
}

/// Rows that waited for a record which never came are none that the client got. (Where a statement is over before its
/// disk has failed, its record says so.)
fn rows_that_never_left(b: &Bench) {
    let own = Bench::new(Arc::new(Cluster::start_faulty(b.version, "")));
    own.allow();
    own.setup(
        "CREATE FUNCTION shop.naps() RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_xact_lock(4711), pg_sleep(1); RETURN 1; END $$;
         SELECT agent_policy.allow_function('@agent@', 'shop.naps()', trusted => true)",
    );
    let sql = "SELECT n, CASE WHEN n = 5 THEN shop.naps() END FROM generate_series(1, 5) n";
    let mut agent = own.agent();
    agent.query(sql);
    own.setup("SELECT pg_advisory_lock(4711)");
    own.cluster.faults().begin(Fault::SyncWaits);
    agent.send(sql);
    // Its first rows wait, and it does itself, until the disk has failed and a while longer.
    wait("statement on its way", || {
        own.value("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
            == "1"
    });
    own.cluster.faults().begin(Fault::SyncFails);
    own.cluster.faults().end(Fault::SyncWaits);
    wait("failure of the disk", || {
        own.cluster.faults().has_a_sync_failed()
    });
    own.setup("SELECT pg_advisory_unlock(4711)");
    let answer = agent.collect();
    own.cluster.faults().end(Fault::SyncFails);
    assert!(answer.rows.is_empty());
    assert_eq!(answer.err().code, "58030");
    wait("statement that is recorded", || {
        agent.simple("SELECT 1").errors.is_empty()
    });
    own.flush_audit();
    let rows = own.audit("nesting_level = 0 AND statement LIKE '%shop.naps%'");
    assert_eq!(
        (&rows[0]["outcome"], &rows[0]["rows_returned"]),
        (&"ok".into(), &5.into()),
        "control"
    );
    for row in &rows[1..] {
        assert_eq!(
            (&row["rows_returned"], &row["bytes_returned"]),
            (&0.into(), &0.into()),
            "{row}"
        );
    }
}

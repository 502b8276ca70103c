//! What an agent may say neither silences the audit nor gets into it as a record: settings, names, and rights on
//! its tables.

use cluster_tests::{Bench, Case, cases};

use super::c07_complete::{empty, texts, top};

pub const CASES: &[Case] = cases![
    settings_do_not_silence_it,
    names_that_look_like_records,
    an_agent_writes_no_record,
];

fn settings_do_not_silence_it(b: &Bench) {
    b.allow();
    let mut agent = b.agent();
    let attempts = [
        "SET log_min_messages = panic",
        "SET log_min_error_statement = panic",
        "SET client_min_messages = error",
        "SET log_statement = 'none'",
        "SET agent_policy.audit_durability = 'async'",
        "SET agent_policy.user_email = 'bob@example.com'",
        "SET session_replication_role = replica",
        "SET row_security = off",
        "SET transaction_read_only = on",
        "SET synchronous_commit = off",
        "SET track_activities = off",
        "SET session authorization default",
        "DISCARD ALL",
        "RESET ALL",
        "UNLISTEN *",
    ];
    for sql in attempts {
        agent.simple(sql);
    }
    let rows = top(b);
    assert_eq!(rows.len(), attempts.len(), "{:?}", texts(&rows));
    empty(b);
    agent.simple("SELECT id FROM shop.orders LIMIT 3");
    agent.simple("SELEKT");
    agent.simple("SELECT 1 / 0");
    agent.simple("TABLE vault.secrets");
    let rows = top(b);
    assert_eq!(
        rows.iter()
            .map(|r| r["outcome"].as_str().unwrap_or_default())
            .collect::<Vec<_>>(),
        ["ok", "error", "error", "error"],
        "{rows:?}"
    );
    assert!(
        rows.iter().all(|r| r["user_email"] == "alice@example.com"),
        "{rows:?}"
    );
}

fn names_that_look_like_records(b: &Bench) {
    b.allow();
    let name = "x\",\"verdict\":\"denied\"}\n{\"user_email\":\"bob@example.com";
    let mut agent = b
        .agent_with(&[
            ("options", "-c agent_policy.user_email=alice@example.com"),
            ("application_name", name),
        ])
        .expect("connects");
    agent.query(
        "SELECT id AS \"', 'bob@example.com', now()); --\nINSERT\" FROM shop.orders LIMIT 1",
    );
    agent.query("SET application_name = 'other'");
    agent.query("SELECT 2");
    let rows = top(b);
    assert_eq!(rows.len(), 3, "{rows:?}");
    assert!(
        rows.iter()
            .all(|r| r["user_email"] == "alice@example.com" && r["verdict"] == "allowed"),
        "{rows:?}"
    );
    assert_eq!(rows[2]["application_name"], "other");
    // Where and who are the server's own words.
    assert!(
        rows.iter()
            .all(|r| r["backend_pid"].as_i64() == Some(i64::from(agent.pid)))
    );
    assert_eq!(rows[0]["session_id"], rows[2]["session_id"]);
}

fn an_agent_writes_no_record(b: &Bench) {
    b.allow();
    // Even with every right that PostgreSQL has on them.
    b.setup(
        "SELECT agent_policy.protect_role('@agent@', 'ddl'); GRANT USAGE, CREATE ON SCHEMA agent_policy TO @agent@; \
         GRANT ALL ON ALL TABLES IN SCHEMA agent_policy TO @agent@; GRANT ALL ON ALL FUNCTIONS IN SCHEMA agent_policy TO @agent@",
    );
    b.agent().query("SELECT 1");
    b.flush_audit();
    let partition = b.value("SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = 'agent_policy.audit_log'::regclass ORDER BY 1 LIMIT 1");
    let before =
        b.value("SELECT count(*) FROM agent_policy.audit_log WHERE user_email = 'bob@example.com'");
    let attempts: Vec<String> = [
        "INSERT INTO agent_policy.audit_log SELECT * FROM agent_policy.audit_log".to_owned(),
        format!("INSERT INTO {partition} SELECT * FROM {partition}"),
        format!("UPDATE {partition} SET user_email = 'bob@example.com'"),
        format!("DELETE FROM {partition}"),
        format!("TRUNCATE {partition}"),
        format!("DROP TABLE {partition}"),
        format!("ALTER TABLE agent_policy.audit_log DETACH PARTITION {partition}"),
        "DELETE FROM agent_policy.audit_progress".to_owned(),
        "UPDATE agent_policy.audit_state SET last_seq = 0".to_owned(),
        "SELECT agent_policy.set_audit_retention('1 second')".to_owned(),
        "SELECT agent_policy.audit_drop_expired()".to_owned(),
        "SELECT agent_policy.audit_partition(1)".to_owned(),
        "SELECT pg_logical_emit_message(false, 'agent_policy', 'x')".to_owned(),
        "SELECT pg_notify('agent_policy', 'x')".to_owned(),
        "NOTIFY agent_policy, 'x'".to_owned(),
        "LISTEN agent_policy".to_owned(),
        "SELECT pg_file_write('x', 'y', false)".to_owned(),
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity".to_owned(),
        "CREATE TRIGGER t BEFORE INSERT ON agent_policy.audit_log FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()".to_owned(),
        "CREATE RULE r AS ON INSERT TO agent_policy.audit_log DO INSTEAD NOTHING".to_owned(),
        "LOCK TABLE agent_policy.audit_log IN ACCESS EXCLUSIVE MODE".to_owned(),
    ]
    .into();
    for sql in &attempts {
        let answer = b.agent().simple(sql);
        assert!(!answer.errors.is_empty(), "{sql}");
    }
    let rows = top(b);
    assert_eq!(
        rows.len(),
        attempts.len() + 1,
        "each attempt is in it: {:?}",
        texts(&rows)
    );
    assert_eq!(
        b.value("SELECT count(*) FROM agent_policy.audit_log WHERE user_email = 'bob@example.com'"),
        before
    );
}

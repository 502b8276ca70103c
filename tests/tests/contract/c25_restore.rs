//! Dumped and restored: the policy is in force, the log is the same one, and it goes on.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cluster_tests::{Bench, Case, Cluster, cases};

use crate::c09_days::{DORA, Days};
use crate::c22_evidence::{bad_from, tamper, verify, write};
use crate::c25_standby::wait;

pub const CASES: &[Case] = cases![
    by_psql,
    by_psql_in_one_transaction,
    by_pg_restore_in_parallel,
    on_another_server_that_has_the_key,
    on_another_server_that_gets_the_key_afterwards,
    later_than_the_retention,
];

/// Waits for the worker also where it has just found that the extension is not there yet.
const FLUSH: &str = "SELECT agent_policy.audit_flush('1 min')";

/// A policy with something of every kind, and a log: so many records on each of four days, and today's own.
fn filled(b: &Bench, a_day: i64) {
    b.mask();
    b.setup(
        "SELECT agent_policy.mask_column('shop.customers', 'region', 'hash');
         SELECT agent_policy.filter_rows('shop.orders', 'id <= 2000');
         SELECT agent_policy.deny_column('@agent@', 'shop.orders', 'amount');
         SELECT agent_policy.allow_function('@agent@', 'shop.get_email(int)');
         SELECT agent_policy.require_group_size('shop.hidden', 5);
         SELECT agent_policy.set_limits('@agent@', max_rows => 7, statement_timeout => '50 s');
         SELECT agent_policy.mask_label('state', 'redact');
         SECURITY LABEL FOR agent_policy ON COLUMN shop.orders.status IS 'state';
         SELECT agent_policy.set_audit_retention('400 days')",
    );
    let mut days = Days::new(b);
    for day in 0..4 {
        let times: Vec<i64> = (0..a_day)
            .map(|minute| days.time(day, 0) + minute * 60_000_000)
            .collect();
        days.hand_over(&times);
    }
    std::thread::scope(|s| {
        for _ in 0..3 {
            s.spawn(|| {
                let mut agent = b.agent();
                for i in 0..50 {
                    agent.query(&format!("SELECT id AS own_{i} FROM shop.orders LIMIT 2"));
                }
            });
        }
    });
    write(b, 8);
    b.setup(&format!("SELECT agent_policy.erase_user('{DORA}')"));
}

/// What a dump is to bring along.
struct Kept {
    rows: i64,
    log: String,
    policy: Vec<String>,
    /// The newest head, as kept elsewhere.
    head: String,
    /// A value that is hashed.
    hashed: String,
}

impl Kept {
    fn of(b: &Bench) -> Self {
        let hashed = hashed(b);
        b.setup(FLUSH);
        assert_eq!(
            b.value("SELECT count(DISTINCT tableoid) FROM agent_policy.audit_log"),
            "5",
            "days"
        );
        let rows = rows(b);
        assert_eq!(verify(b, ""), (true, None, rows));
        Self {
            rows,
            log: log(b),
            policy: policy(b),
            head: b.value(
                "SELECT head FROM agent_policy.audit_checkpoints ORDER BY block DESC LIMIT 1",
            ),
            hashed,
        }
    }
}

fn rows(b: &Bench) -> i64 {
    b.value("SELECT count(*) FROM agent_policy.audit_log")
        .parse()
        .expect("a count")
}

fn hashed(b: &Bench) -> String {
    b.allows("SELECT region FROM ONLY shop.customers WHERE id = 1")
        .one()
}

/// Every row of the log, in short.
fn log(b: &Bench) -> String {
    b.value(
        "SELECT concat_ws(' ', count(*), min(seq), max(seq), count(DISTINCT tableoid),
             encode(sha256(convert_to(string_agg(l::text, E'\\n' ORDER BY seq), 'UTF8')), 'hex'))
         FROM agent_policy.audit_log l",
    )
}

/// What is set, who set it when, and which log it is.
fn policy(b: &Bench) -> Vec<String> {
    let mut policy: Vec<String> = [
        "protected_roles",
        "allowed_objects",
        "masks",
        "mask_labels",
        "labelled_columns",
        "row_filters",
        "group_sizes",
        "limits",
        "audit_key",
    ]
    .iter()
    .map(|view| {
        b.value(&format!(
            "SELECT string_agg(x::text, E'\\n' ORDER BY x::text) FROM agent_policy.{view} x"
        ))
    })
    .collect();
    // A restore sets labels anew, which is a change of its own.
    policy.push(b.value(
        "SELECT string_agg(h::text, E'\\n' ORDER BY id) FROM agent_policy.policy_history h
         WHERE function <> 'SECURITY LABEL'",
    ));
    policy.push(b.value("SELECT concat_ws(' ', keep, chain) FROM agent_policy.audit_state"));
    policy
}

/// An empty database beside that of a bench, for the same roles.
fn empty(of: &Bench) -> Bench {
    let mut to = Bench::new(Arc::clone(&of.cluster));
    to.end_sessions();
    let mut maintenance = of
        .cluster
        .connect("postgres", "postgres", &[])
        .expect("the superuser connects");
    maintenance.query(&format!("DROP DATABASE {} WITH (FORCE)", to.db));
    maintenance.query(&format!("CREATE DATABASE {} TEMPLATE template0", to.db));
    to.agent.clone_from(&of.agent);
    to.plain.clone_from(&of.plain);
    to
}

/// An empty database of the same name on a server of its own, which has the roles.
fn another_server(of: &Bench) -> Bench {
    let roles = of
        .cluster
        .program(
            "pg_dumpall",
            "postgres",
            "dbname=postgres",
            "",
            &["--globals-only"],
        )
        .unwrap_or_else(|e| panic!("pg_dumpall: {e}"));
    let to = Cluster::start(of.version, "");
    let file = to.socket_dir().join("roles.sql");
    fs::write(&file, roles.replace("CREATE ROLE postgres;", "")).expect("a file");
    to.psql("postgres", &file);
    to.connect("postgres", "postgres", &[])
        .expect("the superuser connects")
        .query(&format!("CREATE DATABASE {} TEMPLATE template0", of.db));
    of.on(Arc::new(to))
}

/// One of the version's programs, as the superuser; it must not complain.
#[track_caller]
fn run(b: &Bench, program: &str, arguments: &[&str]) {
    if let Err(said) = b.cluster.program(program, "postgres", &b.db, "", arguments) {
        panic!("{program} {arguments:?}: {said}");
    }
}

/// A place beside the server's files; it goes with them.
fn place(b: &Bench, name: &str) -> String {
    let path = b.cluster.socket_dir().join(format!("{}.{name}", b.db));
    path.display().to_string()
}

#[track_caller]
fn dump(b: &Bench, name: &str, options: &[&str]) -> String {
    let file = place(b, name);
    run(
        b,
        "pg_dump",
        &[&["--no-sync", "-f", file.as_str()][..], options].concat(),
    );
    file
}

#[track_caller]
fn replay(b: &Bench, file: &str, options: &[&str]) {
    run(
        b,
        "psql",
        &[
            &["-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", file][..],
            options,
        ]
        .concat(),
    );
}

/// The restored log is the one that was dumped, and nobody is let in yet.
#[track_caller]
fn is_the_same(b: &Bench, kept: &Kept) {
    b.setup(FLUSH);
    assert_eq!(log(b), kept.log);
    for (restored, kept) in policy(b).iter().zip(&kept.policy) {
        assert_eq!(restored, kept);
    }
    assert_eq!(verify(b, ""), (true, None, kept.rows));
    let head = format!("heads => ARRAY['{}']", kept.head);
    assert_eq!(verify(b, &head), (true, None, kept.rows));
    // As each night.
    assert!(verify(b, "now() - interval '1 day'").0);
}

/// Masks, filters, limits, labels and the allowlist.
#[track_caller]
fn is_in_force(b: &Bench) {
    let shown = b.masks("SELECT email, ssn, phone, note FROM shop.customers WHERE id = 1");
    assert_eq!(shown.text(0, 0), "c***@example.com");
    b.masks("SELECT payload FROM shop.events_2025 LIMIT 1");
    b.masks("SELECT shop.get_email(1)");
    b.denies(
        "SELECT * FROM vault.secrets",
        "42501",
        "relation_not_allowed",
    );
    b.denies("SELECT amount FROM shop.orders", "42501", "column_denied");
    b.denies("SELECT * FROM shop.hidden", "42501", "group_size");
    b.denies("DELETE FROM shop.orders", "25006", "read_only");
    assert_eq!(b.allows("SELECT count(*) FROM shop.orders").one(), "2000");
    assert_eq!(b.allows("SELECT id FROM shop.orders").rows.len(), 7);
    assert_eq!(
        b.allows("SELECT DISTINCT status FROM shop.orders").column(),
        ["***"]
    );
}

/// Agents come back: their records follow those that were restored.
#[track_caller]
fn goes_on(b: &Bench, kept: &Kept) {
    is_in_force(b);
    write(b, 8);
    b.setup(FLUSH);
    let all = rows(b);
    assert!(all > kept.rows + 8, "{all} after {}", kept.rows);
    let head = format!("heads => ARRAY['{}']", kept.head);
    assert_eq!(verify(b, &head), (true, None, all));
    assert_eq!(
        b.value("SELECT concat_ws(' ', min(seq), max(seq)) FROM agent_policy.audit_log"),
        format!("1 {all}")
    );
    // So does the history of the policy.
    b.setup("SELECT agent_policy.set_limits('@agent@', max_rows => 9)");
    assert_eq!(
        b.value("SELECT function FROM agent_policy.policy_history ORDER BY id DESC LIMIT 1"),
        "set_limits"
    );
    assert_eq!(b.allows("SELECT id FROM shop.orders").rows.len(), 9);
    // What is changed in the part that was restored is found there.
    let seq = kept.rows / 2;
    tamper(
        b,
        &format!("UPDATE agent_policy.audit_log SET rows_processed = -1 WHERE seq = {seq}"),
    );
    bad_from(b, seq);
}

/// Into a database beside the one that was dumped, which is none the worse for it.
fn restored(b: &Bench, restore: impl FnOnce(&Bench, &Bench)) -> (Bench, Kept) {
    filled(b, 1_300);
    let kept = Kept::of(b);
    assert!(kept.rows > 5_000, "{} rows", kept.rows);
    let to = empty(b);
    restore(b, &to);
    is_the_same(&to, &kept);
    goes_on(&to, &kept);
    is_in_force(b);
    b.setup(FLUSH);
    assert_eq!(verify(b, ""), (true, None, rows(b)));
    (to, kept)
}

fn by_psql(b: &Bench) {
    let (to, kept) = restored(b, |from, to| {
        let file = dump(from, "sql", &[]);
        replay(to, &file, &[]);
        let _ = fs::remove_file(file);
    });
    // Hashes are other ones, until the key of them is carried over.
    assert_ne!(hashed(&to), kept.hashed);
    let key = b.value(
        "SELECT format('%L, %L', created_at, mask_key) FROM agent_policy.policy_secret ORDER BY created_at LIMIT 1",
    );
    to.setup(&format!(
        "INSERT INTO agent_policy.policy_secret (created_at, mask_key) VALUES ({key})"
    ));
    assert_eq!(hashed(&to), kept.hashed);
}

fn by_psql_in_one_transaction(b: &Bench) {
    restored(b, |from, to| {
        let file = dump(from, "sql", &[]);
        replay(to, &file, &["-1"]);
        let _ = fs::remove_file(file);
    });
}

fn by_pg_restore_in_parallel(b: &Bench) {
    restored(b, |from, to| {
        let dir = place(from, "dump");
        run(
            from,
            "pg_dump",
            &["-Fd", "-j", "2", "--no-sync", "-f", &dir],
        );
        run(to, "pg_restore", &["--exit-on-error", "-j", "2", &dir]);
        let _ = fs::remove_dir_all(dir);
    });
}

fn key_file(b: &Bench) -> PathBuf {
    b.cluster.data().join("agent_policy/audit_key")
}

/// That of the old data directory into the new one, which has made one of its own.
fn carry_the_key(from: &Bench, to: &Bench) {
    wait("key of the new server", || key_file(to).exists());
    let key = fs::read_to_string(key_file(from)).expect("the key of the old server");
    to.cluster.put_file("agent_policy/audit_key", &key);
}

/// A database of a server of its own, and an empty one on another.
fn two_servers(b: &Bench) -> (Bench, Kept, Bench) {
    let from = Bench::new(Arc::new(Cluster::start(b.version, "")));
    filled(&from, 100);
    let kept = Kept::of(&from);
    let to = another_server(&from);
    (from, kept, to)
}

fn on_another_server_that_has_the_key(b: &Bench) {
    let (from, kept, to) = two_servers(b);
    carry_the_key(&from, &to);
    replay(&to, &dump(&from, "sql", &[]), &[]);
    is_the_same(&to, &kept);
    goes_on(&to, &kept);
}

/// The key may come last, as long as it comes before the agents.
fn on_another_server_that_gets_the_key_afterwards(b: &Bench) {
    let (from, kept, to) = two_servers(b);
    replay(&to, &dump(&from, "sql", &[]), &[]);
    // Whoever restores writes to the log's tables, and is a reader of whom something may be written.
    to.setup(FLUSH);
    assert_eq!(log(&to), kept.log);
    let (intact, bad, checked) = verify(&to, "");
    assert_eq!(
        (intact, bad, checked),
        (false, Some(1), kept.rows),
        "blocks of a key that is not there"
    );
    carry_the_key(&from, &to);
    is_the_same(&to, &kept);
    goes_on(&to, &kept);
}

/// Days may be over by the time a dump is restored. A large database takes longer for that than a worker waits
/// until it looks what is to be dropped.
fn later_than_the_retention(b: &Bench) {
    filled(b, 20);
    b.setup(FLUSH);
    let to = empty(b);
    // Days that are in use are not dropped here.
    let mut reader = b.cluster.connect("postgres", &b.db, &[]).expect("connects");
    reader.query("BEGIN; LOCK TABLE agent_policy.audit_log IN ACCESS SHARE MODE");
    b.setup("SELECT agent_policy.set_audit_retention('2 days')");
    let file = dump(b, "data", &["--section=pre-data", "--section=data"]);
    let text = fs::read_to_string(&file).expect("the dump");
    assert!(text.contains("\t2 days\t"), "the retention");
    let rest = dump(b, "rest", &["--section=post-data"]);
    reader.query("COMMIT");
    replay(&to, &file, &[]);
    to.setup(FLUSH);
    wait("end of the worker", || {
        to.value("SELECT writer FROM agent_policy.health") == "idle"
    });
    // Another one looks as soon as it is there.
    to.setup(FLUSH);
    std::thread::sleep(Duration::from_secs(1));
    replay(&to, &rest, &[]);
    assert!(verify(&to, "").0);
    is_in_force(&to);
    wait("end of what is over", || {
        to.setup("SELECT agent_policy.set_audit_retention('2 days')");
        to.value("SELECT count(*) FROM agent_policy.audit_log WHERE started_at < now() - interval '3 days'") == "0"
    });
    write(&to, 8);
    assert_eq!(verify(&to, ""), (true, None, rows(&to)));
}

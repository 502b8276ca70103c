//! The doors of the cluster: replication, other databases, the start-up packet, SET ROLE, background workers.

use cluster_tests::wire::SqlError;
use cluster_tests::{Bench, Case, Cluster, Wire, cases, cluster};
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

pub const CASES: &[Case] = cases![
    replication_is_refused,
    other_databases_are_refused,
    two_databases_may_protect_a_role,
    dropping_the_extension_frees_the_role_there,
    a_renamed_database_is_known_again,
    a_database_of_the_same_name_is_closed,
    running_sessions_elsewhere_are_closed,
    members_count_superusers_do_not,
    membership_while_the_session_runs,
    a_pool_elsewhere_is_closed_for_good,
    a_pool_stays_confined,
    monitor_mode_opens_every_door,
    background_workers_are_refused,
    parallel_workers_go_on,
    without_the_library_the_agent_stays_out,
    a_library_loaded_late_troubles_nobody_else,
];

pub const ALICE: &str = "-c agent_policy.user_email=alice@example.com";

pub fn login(b: &Bench, user: &str, database: &str) -> Result<Wire, Box<SqlError>> {
    Ok(b.cluster
        .connect(&b.fill(user), &b.fill(database), &[("options", ALICE)])?)
}

/// The login must fail as a denial: 42501, FATAL, with rule, object and HINT. Gives the error.
#[track_caller]
pub fn refused(login: Result<Wire, impl Into<Box<SqlError>>>, rule: &str) -> Box<SqlError> {
    let Err(error) = login else {
        panic!("the login was not refused")
    };
    let error = error.into();
    assert_eq!(
        (error.severity.as_str(), error.code.as_str()),
        ("FATAL", "42501"),
        "{error}"
    );
    assert_eq!(error.rule(), rule, "{error}");
    assert!(error.detail_json()["object"].is_string(), "{error}");
    assert!(!error.hint.is_empty(), "{error}");
    error
}

#[track_caller]
pub fn works(login: Result<Wire, impl Into<Box<SqlError>>>) -> Wire {
    let mut wire = login.unwrap_or_else(|e| panic!("the login is refused: {}", e.into()));
    wire.query("SELECT 1");
    wire
}

/// Another database of the cluster; dropped at the end.
pub struct Other<'a> {
    b: &'a Bench,
    pub name: String,
}

impl<'a> Other<'a> {
    pub fn new(b: &'a Bench, suffix: &str) -> Self {
        let name = format!("{}_{suffix}", b.db);
        b.setup(&format!("CREATE DATABASE {name}"));
        Self { b, name }
    }

    pub fn with_extension(b: &'a Bench, suffix: &str) -> Self {
        let other = Self::new(b, suffix);
        other.run("CREATE EXTENSION agent_policy");
        other
    }

    #[track_caller]
    pub fn run(&self, sql: &str) {
        let sql = self.b.fill(sql);
        let mut su = self
            .b
            .cluster
            .connect("postgres", &self.name, &[])
            .expect("the superuser connects");
        su.query(&sql);
    }
}

impl Drop for Other<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.b.setup(&format!(
                "DROP DATABASE IF EXISTS {} WITH (FORCE)",
                self.name
            ));
        }
    }
}

/// The label of a role as the catalog shows it.
pub fn label(b: &Bench, role: &str) -> String {
    b.value(&format!(
        "SELECT coalesce(max(label), '') FROM pg_seclabels WHERE objtype = 'role' AND provider = 'agent_policy'
            AND objoid = to_regrole('{}')::oid",
        b.fill(role)
    ))
}

fn replication_is_refused(b: &Bench) {
    b.allow();
    b.setup("ALTER ROLE @agent@ REPLICATION; ALTER ROLE @plain@ REPLICATION; CREATE ROLE @agent@_child LOGIN REPLICATION IN ROLE @agent@");
    for mode in ["true", "database"] {
        let connect = |user: &str| {
            b.cluster
                .connect(&b.fill(user), &b.db, &[("replication", mode)])
                .map_err(Box::new)
        };
        let mut control = connect("@plain@").expect("control run: the plain role replicates");
        assert_eq!(control.simple("IDENTIFY_SYSTEM").ok().rows.len(), 1);
        let error = refused(connect("@agent@"), "connection_not_allowed");
        assert!(error.hint.contains(&b.db), "{error}");
        refused(connect("@agent@_child"), "connection_not_allowed");
    }
    works(login(b, "@agent@", "@db@"));
    b.setup("SELECT agent_policy.release_role('@agent@')");
    let mut freed = b
        .cluster
        .connect(&b.agent, &b.db, &[("replication", "database")])
        .expect("a released role is like any other");
    assert_eq!(freed.simple("IDENTIFY_SYSTEM").ok().rows.len(), 1);
}

fn other_databases_are_refused(b: &Bench) {
    let bare = Other::new(b, "bare");
    let other = Other::with_extension(b, "other");
    for database in ["postgres", &bare.name, &other.name] {
        works(login(b, "@agent@", database));
    }
    b.allow();
    for database in ["postgres", &bare.name, &other.name, "template1"] {
        let error = refused(login(b, "@agent@", database), "connection_not_allowed");
        assert!(error.hint.contains(&b.db), "{error}");
        assert_eq!(error.detail_json()["object"], database, "{error}");
        works(login(b, "@plain@", database));
    }
    works(login(b, "@agent@", "@db@"));
    // A database that is not there is told as ever.
    let Err(error) = login(b, "@plain@", "no_such_database") else {
        panic!("no such database")
    };
    assert_eq!(error.code, "3D000");
    b.setup("SELECT agent_policy.release_role('@agent@')");
    works(login(b, "@agent@", "postgres"));
    assert_eq!(label(b, "@agent@"), "");
}

fn two_databases_may_protect_a_role(b: &Bench) {
    b.allow();
    let other = Other::with_extension(b, "second");
    other.run("SELECT agent_policy.protect_role('@agent@')");
    works(login(b, "@agent@", "@db@"));
    works(login(b, "@agent@", &other.name));
    let error = refused(login(b, "@agent@", "postgres"), "connection_not_allowed");
    assert!(
        error.hint.contains(&b.db) && error.hint.contains(&other.name),
        "{error}"
    );
    // Each takes back its own word only.
    b.setup("SELECT agent_policy.release_role('@agent@')");
    refused(login(b, "@agent@", "@db@"), "connection_not_allowed");
    works(login(b, "@agent@", &other.name));
    other.run("BEGIN; SELECT agent_policy.release_role('@agent@'); ROLLBACK");
    refused(login(b, "@agent@", "@db@"), "connection_not_allowed");
    other.run("SELECT agent_policy.release_role('@agent@')");
    works(login(b, "@agent@", "@db@"));
    works(login(b, "@agent@", "postgres"));
}

fn dropping_the_extension_frees_the_role_there(b: &Bench) {
    b.allow();
    let other = Other::with_extension(b, "gone");
    other.run("SELECT agent_policy.protect_role('@agent@')");
    other.run("DROP EXTENSION agent_policy");
    assert!(!label(b, "@agent@").contains(&other.name));
    refused(login(b, "@agent@", &other.name), "connection_not_allowed");
    works(login(b, "@agent@", "@db@"));
    // A database that goes with its policy does not open the others.
    other.run("CREATE EXTENSION agent_policy; SELECT agent_policy.protect_role('@agent@')");
    b.setup("SELECT agent_policy.release_role('@agent@')");
    drop(other);
    refused(login(b, "@agent@", "postgres"), "connection_not_allowed");
    b.setup("SELECT agent_policy.protect_role('@agent@'), agent_policy.release_role('@agent@')");
    works(login(b, "@agent@", "postgres"));
}

fn a_renamed_database_is_known_again(b: &Bench) {
    let other = Other::with_extension(b, "before");
    other.run("SELECT agent_policy.protect_role('@agent@')");
    works(login(b, "@agent@", &other.name));
    let renamed = Other {
        b,
        name: format!("{}_after", b.db),
    };
    b.setup(&format!(
        "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE datname = '{}'",
        other.name
    ));
    b.setup(&format!(
        "ALTER DATABASE {} RENAME TO {}",
        other.name, renamed.name
    ));
    works(login(b, "@agent@", &renamed.name));
    refused(login(b, "@agent@", "postgres"), "connection_not_allowed");
    // The label learns the new name when the policy changes.
    renamed.run("SELECT agent_policy.set_limits('@agent@', max_rows => 5)");
    assert!(label(b, "@agent@").contains(&renamed.name));
    assert!(!label(b, "@agent@").contains(&other.name));
}

fn a_database_of_the_same_name_is_closed(b: &Bench) {
    let other = Other::with_extension(b, "twin");
    other.run("SELECT agent_policy.protect_role('@agent@')");
    works(login(b, "@agent@", &other.name));
    let name = other.name.clone();
    drop(other);
    let twin = Other::new(b, "twin");
    assert_eq!(twin.name, name);
    let mut agent = login(b, "@agent@", &name).expect("the label knows the name");
    for statement in ["SELECT 1", "SELECT * FROM pg_class", "RESET ROLE"] {
        let error = agent.error(statement);
        assert_eq!(
            (error.code.as_str(), error.rule().as_str()),
            ("42501", "connection_not_allowed"),
            "{error}"
        );
    }
    works(login(b, "@plain@", &name));
}

fn running_sessions_elsewhere_are_closed(b: &Bench) {
    let mut elsewhere = works(login(b, "@agent@", "postgres"));
    let mut idle = works(login(b, "@agent@", "postgres"));
    let mut bystander = works(login(b, "@plain@", "postgres"));
    elsewhere.query("BEGIN; SELECT count(*) FROM pg_class");
    b.allow();
    for session in [&mut elsewhere, &mut idle] {
        let error = session.error("SELECT count(*) FROM pg_class");
        assert_eq!(error.rule(), "connection_not_allowed", "{error}");
        assert!(error.hint.contains(&b.db), "{error}");
    }
    bystander.query("SELECT count(*) FROM pg_class");
    // Nothing waits for a log that is not there.
    assert_eq!(
        b.value(
            "SELECT count(*) FROM pg_ls_dir('agent_policy/pgsql_tmp_spool', true, false) d
                  WHERE d = (SELECT oid::text FROM pg_database WHERE datname = 'postgres')"
        ),
        "0"
    );
    b.setup("SELECT agent_policy.release_role('@agent@')");
    works(login(b, "@agent@", "postgres"));
}

fn members_count_superusers_do_not(b: &Bench) {
    b.allow();
    b.setup("CREATE ROLE @agent@_child LOGIN; CREATE ROLE @agent@_grandchild LOGIN; CREATE ROLE @agent@_root LOGIN SUPERUSER IN ROLE @agent@;
             CREATE ROLE @agent@_pool LOGIN NOINHERIT IN ROLE @agent@");
    works(login(b, "@agent@_child", "postgres"));
    b.setup("GRANT @agent@ TO @agent@_child; GRANT @agent@_child TO @agent@_grandchild");
    for member in ["@agent@_child", "@agent@_grandchild"] {
        let error = refused(login(b, member, "postgres"), "connection_not_allowed");
        assert!(error.message.contains(&b.agent), "{error}");
        works(login(b, member, "@db@"));
    }
    works(login(b, "@agent@_root", "postgres"));
    works(login(b, "@agent@_pool", "postgres"));
    b.setup("REVOKE @agent@ FROM @agent@_child");
    works(login(b, "@agent@_grandchild", "postgres"));
}

fn membership_while_the_session_runs(b: &Bench) {
    b.allow();
    let mut here = works(login(b, "@plain@", "@db@"));
    let mut elsewhere = works(login(b, "@plain@", "postgres"));
    here.query("SELECT * FROM vault.secrets");
    b.setup("GRANT @agent@ TO @plain@");
    assert_eq!(
        here.error("SELECT * FROM vault.secrets").rule(),
        "relation_not_allowed"
    );
    assert_eq!(elsewhere.error("SELECT 1").rule(), "connection_not_allowed");
    b.setup("REVOKE @agent@ FROM @plain@");
    works(login(b, "@plain@", "postgres"));
    works(login(b, "@plain@", "@db@")).query("SELECT * FROM vault.secrets");
}

/// A role that may become the agent and does not inherit it.
fn pool(b: &Bench) -> String {
    b.setup("CREATE ROLE @agent@_pool LOGIN NOINHERIT IN ROLE @agent@; GRANT USAGE ON SCHEMA vault TO @agent@_pool; GRANT SELECT ON vault.secrets TO @agent@_pool");
    b.fill("@agent@_pool")
}

fn a_pool_elsewhere_is_closed_for_good(b: &Bench) {
    b.allow();
    let pool = pool(b);
    let mut session = works(login(b, &pool, "postgres"));
    session.query(&b.fill("SET ROLE @agent@"));
    for statement in [
        "SELECT 1",
        "RESET ROLE",
        "SET ROLE NONE",
        "DISCARD ALL",
        "SELECT count(*) FROM pg_class",
    ] {
        let error = session.error(statement);
        assert_eq!(
            error.rule(),
            "connection_not_allowed",
            "{statement}: {error}"
        );
    }
    let mut session = works(login(b, &pool, "postgres"));
    session.query(&b.fill("BEGIN; SET LOCAL ROLE @agent@"));
    session.error("SELECT 1");
    session.query("ROLLBACK");
    session.error("SELECT 1");
    // A superuser takes on any role, and comes back.
    let mut su = works(b.cluster.connect("postgres", "postgres", &[]));
    su.query(&b.fill("SET ROLE @agent@; SELECT 1; RESET ROLE; SET SESSION AUTHORIZATION @agent@; SELECT 1; RESET SESSION AUTHORIZATION"));
}

fn a_pool_stays_confined(b: &Bench) {
    b.allow();
    let pool = pool(b);
    b.setup("CREATE FUNCTION public.leave() RETURNS bigint LANGUAGE sql SET role = @agent@_pool AS 'SELECT count(*) FROM vault.secrets';
             GRANT EXECUTE ON FUNCTION public.leave() TO PUBLIC");
    for ways in [
        &["RESET ROLE"][..],
        &["SET ROLE NONE"],
        &["SET ROLE @agent@_pool"],
        &["SET SESSION AUTHORIZATION DEFAULT"],
        &["RESET SESSION AUTHORIZATION"],
        &["SELECT set_config('role', 'none', false)"],
        &["RESET ALL"],
        &["DISCARD ALL"],
        &["COMMIT; RESET ROLE"],
        &["SELECT public.leave()"],
        &["BEGIN", "SAVEPOINT a", "ROLLBACK TO a", "ROLLBACK"],
    ] {
        let mut session = works(login(b, &pool, "@db@"));
        session.query("SELECT * FROM vault.secrets");
        session.query(&b.fill("SET ROLE @agent@"));
        for way in ways {
            session.simple(&b.fill(way));
        }
        let error = session.error("SELECT * FROM vault.secrets");
        assert_eq!(
            error.rule(),
            "relation_not_allowed",
            "after {ways:?}: {error}"
        );
        assert!(!session.simple("SELECT public.leave()").errors.is_empty());
    }
    for undo in ["ROLLBACK", "ROLLBACK TO a", "COMMIT"] {
        let mut session = works(login(b, &pool, "@db@"));
        session.query(&b.fill("BEGIN; SAVEPOINT a; SET LOCAL ROLE @agent@; SELECT 1"));
        session.query(undo);
        let error = session.error("SELECT * FROM vault.secrets");
        assert_eq!(
            error.rule(),
            "relation_not_allowed",
            "after {undo}: {error}"
        );
    }
    // The role may also come from ALTER ROLE.
    b.setup("ALTER ROLE @agent@_pool SET role = @agent@");
    let mut session = works(login(b, &pool, "@db@"));
    assert_eq!(
        session.error("SELECT * FROM vault.secrets").rule(),
        "relation_not_allowed"
    );
    session.query("DISCARD ALL");
    session.error("SELECT * FROM vault.secrets");
}

fn monitor_mode_opens_every_door(b: &Bench) {
    b.setup("SELECT agent_policy.protect_role('@agent@', 'read_only', 'monitor'); ALTER ROLE @agent@ REPLICATION");
    works(login(b, "@agent@", "postgres"));
    works(b.agent_with(&[("options", "-c work_mem=5MB"), ("replication", "database")]));
    let mut agent =
        works(b.agent_with(&[("options", "-c work_mem=5MB -S 6MB -c enable_seqscan=off")]));
    assert_eq!(agent.value("SHOW work_mem"), "6MB");
    b.setup("ALTER ROLE @agent@ NOREPLICATION; SELECT agent_policy.protect_role('@agent@')");
    refused(login(b, "@agent@", "postgres"), "connection_not_allowed");
    // Watched here, confined there: the watched database is known, and no other.
    let other = Other::with_extension(b, "watch");
    other.run("SELECT agent_policy.protect_role('@agent@', mode => 'monitor')");
    works(
        b.cluster
            .connect(&b.agent, &other.name, &[("options", "-c work_mem=5MB")]),
    );
    refused(login(b, "@agent@", "postgres"), "connection_not_allowed");
}

/// A library that starts background workers as extensions like pg_cron do, compiled for the version at hand.
fn worker_library(b: &Bench) -> PathBuf {
    let source = cluster::project_root().join("tests/fixtures/worker.c");
    let library = b.cluster.socket_dir().join(format!("{}.so", b.db));
    let config = cluster::pg_config(b.version).expect("a PostgreSQL to test");
    let include = Command::new(config)
        .arg("--includedir-server")
        .output()
        .expect("pg_config runs");
    let output = Command::new("cc")
        .args(["-shared", "-fPIC", "-w", "-I"])
        .arg(String::from_utf8_lossy(&include.stdout).trim())
        .arg("-o")
        .arg(&library)
        .arg(source)
        .output()
        .expect("a C compiler, which building the extension needs as well");
    assert!(output.status.success(), "{output:?}");
    library
}

fn background_workers_are_refused(b: &Bench) {
    let library = worker_library(b).display().to_string();
    b.setup(&format!("CREATE FUNCTION public.run_in_worker(library text, role regrole, statement text) RETURNS void LANGUAGE c AS '{library}', 'run_in_worker';
        CREATE TABLE shop.seen (what text); GRANT ALL ON shop.seen TO @agent@, @plain@"));
    let run = |role: &str| {
        b.setup(&format!(
            "SELECT public.run_in_worker('{library}', '{role}', 'INSERT INTO shop.seen SELECT ssn FROM shop.customers')"
        ));
        let seen = b.value("SELECT count(*) FROM shop.seen");
        b.setup("TRUNCATE shop.seen");
        seen != "0"
    };
    b.setup("SELECT agent_policy.protect_role('@agent@', 'read_write', 'monitor')");
    assert!(run("@plain@") && run("@agent@"), "control run");
    b.setup("SELECT agent_policy.protect_role('@agent@', 'read_write'), agent_policy.allow_schema('@agent@', 'shop', 'write'), agent_policy.require_identity('@agent@', 'none')");
    assert!(!run("@agent@"));
    let records = b.audit("rule = 'connection_not_allowed'");
    assert_eq!(records.len(), 1, "{records:?}");
    assert_eq!(records[0]["verdict"], "denied");
    assert!(run("@plain@"));
    b.setup("CREATE ROLE @agent@_child IN ROLE @agent@; GRANT ALL ON shop.seen TO @agent@_child");
    assert!(!run("@agent@_child"));
    b.setup("SELECT agent_policy.release_role('@agent@')");
    assert!(run("@agent@"));
}

fn parallel_workers_go_on(b: &Bench) {
    b.mask();
    let setting = if b.version >= 16 {
        "debug_parallel_query"
    } else {
        "force_parallel_mode"
    };
    b.setup(&format!("ALTER ROLE @agent@ SET {setting} = on"));
    let answer = b.masks("SELECT email, ssn FROM shop.customers ORDER BY id LIMIT 3");
    assert_eq!(answer.rows.len(), 3);
    b.allows("SELECT count(*) FROM shop.orders WHERE amount > 10");
}

/// A cluster whose library can be taken away.
fn without_the_library_the_agent_stays_out(b: &Bench) {
    let own = Bench::new(Arc::new(Cluster::start(b.version, "")));
    own.allow();
    own.setup("SELECT * FROM agent_policy.harden_role('@agent@')");
    works(login(&own, "@agent@", "@db@"));
    let preload = |library: &str| {
        let mut conf = fs::OpenOptions::new()
            .append(true)
            .open(own.cluster.data().join("postgresql.conf"))
            .expect("postgresql.conf");
        writeln!(conf, "shared_preload_libraries = '{library}'").expect("written");
        own.cluster.restart();
    };
    preload("");
    for database in [own.db.as_str(), "postgres"] {
        let error = refused(login(&own, "@agent@", database), "policy_unavailable");
        assert!(error.hint.contains("shared_preload_libraries"), "{error}");
        works(login(&own, "@plain@", database));
    }
    // The label alone is enough, once something loads the library.
    own.setup("ALTER ROLE @agent@ RESET session_preload_libraries");
    works(login(&own, "@agent@", "postgres"));
    own.setup("ALTER DATABASE postgres SET session_preload_libraries = agent_policy");
    refused(login(&own, "@agent@", "postgres"), "policy_unavailable");
    works(login(&own, "@plain@", "postgres"));
    own.setup("CREATE ROLE @agent@_child LOGIN IN ROLE @agent@");
    refused(
        login(&own, "@agent@_child", "postgres"),
        "policy_unavailable",
    );
    preload("agent_policy");
    works(login(&own, "@agent@", "@db@"));
    refused(login(&own, "@agent@", "postgres"), "connection_not_allowed");
}

fn a_library_loaded_late_troubles_nobody_else(b: &Bench) {
    let cluster = Cluster::start_bare(b.version);
    let mut su = works(cluster.connect("postgres", "postgres", &[]));
    su.query("CREATE ROLE agent LOGIN; CREATE ROLE plain LOGIN; CREATE ROLE root LOGIN SUPERUSER");
    su.query("ALTER ROLE agent SET session_preload_libraries = agent_policy; ALTER ROLE root SET session_preload_libraries = agent_policy");
    refused(
        cluster.connect("agent", "postgres", &[]),
        "policy_unavailable",
    );
    works(cluster.connect("root", "postgres", &[]));
    su.query("ALTER DATABASE postgres SET session_preload_libraries = agent_policy");
    works(cluster.connect("plain", "postgres", &[]));
    su.query("LOAD 'agent_policy'; SELECT 1");
}

//! The doors of the cluster: replication, other databases, the start-up packet, SET ROLE, background workers.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use cluster_tests::wire::SqlError;
use cluster_tests::{Bench, Case, Cluster, Wire, cases, cluster};

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
    start_up_options_are_judged,
    start_up_options_without_effect,
    role_settings_are_the_dbas,
    labels_are_not_for_agents,
    labels_survive_a_dump,
    a_cluster_is_dumped_and_restored,
    a_new_role_of_the_name_is_another,
    other_label_providers_see_nothing,
    background_workers_are_refused,
    parallel_workers_go_on,
    without_the_library_the_agent_stays_out,
    a_library_loaded_late_troubles_nobody_else,
];

const ALICE: &str = "-c agent_policy.user_email=alice@example.com";

fn login(b: &Bench, user: &str, database: &str) -> Result<Wire, Box<SqlError>> {
    Ok(b.cluster
        .connect(&b.fill(user), &b.fill(database), &[("options", ALICE)])?)
}

/// The login must fail as a denial: 42501, FATAL, with rule, object and HINT. Gives the error.
#[track_caller]
fn refused(login: Result<Wire, impl Into<Box<SqlError>>>, rule: &str) -> Box<SqlError> {
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
fn works(login: Result<Wire, impl Into<Box<SqlError>>>) -> Wire {
    let mut wire = login.unwrap_or_else(|e| panic!("the login is refused: {}", e.into()));
    wire.query("SELECT 1");
    wire
}

/// Another database of the cluster; dropped at the end.
struct Other<'a> {
    b: &'a Bench,
    name: String,
}

impl<'a> Other<'a> {
    fn new(b: &'a Bench, suffix: &str) -> Self {
        let name = format!("{}_{suffix}", b.db);
        b.setup(&format!("CREATE DATABASE {name}"));
        Self { b, name }
    }

    fn with_extension(b: &'a Bench, suffix: &str) -> Self {
        let other = Self::new(b, suffix);
        other.run("CREATE EXTENSION agent_policy");
        other
    }

    #[track_caller]
    fn run(&self, sql: &str) {
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
fn label(b: &Bench, role: &str) -> String {
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
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{}'",
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

fn start_up_options_are_judged(b: &Bench) {
    b.allow();
    for (options, object) in [
        ("-c work_mem=64MB", "work_mem"),
        ("-cwork_mem=64MB", "work_mem"),
        ("--work-mem=64MB", "work_mem"),
        ("-c WORK_MEM=64MB", "work_mem"),
        ("-c wo\\rk_mem=64MB", "work_mem"),
        ("-c temp_buffers=64MB", "temp_buffers"),
        ("-c plan_cache_mode=force_generic_plan", "plan_cache_mode"),
        ("-c jit=on", "jit"),
        ("-c jit_above_cost=0", "jit_above_cost"),
        ("-c enable_seqscan=off", "enable_seqscan"),
        ("-c role=@plain@", "role"),
        ("-c session_authorization=@plain@", "session_authorization"),
        ("-c local_preload_libraries=x", "local_preload_libraries"),
        (
            "-c session_preload_libraries=x",
            "session_preload_libraries",
        ),
        (
            "-c session_replication_role=replica",
            "session_replication_role",
        ),
        ("-c client_min_messages=debug5", "client_min_messages"),
        ("-c debug_print_plan=on", "debug_print_plan"),
        ("-c search_path=pg_temp,public", "search_path"),
        ("-c client_encoding=SJIS", "client_encoding"),
        (
            "-c agent_policy.audit_durability=async",
            "agent_policy.audit_durability",
        ),
        ("-c some.thing=1", "some.thing"),
        ("-c transform_null_equals=on", "transform_null_equals"),
        ("-S 64MB", "-S"),
        ("-S64MB", "-S64MB"),
        ("-fs", "-fs"),
        ("-f s", "-f"),
        ("-tpl", "-tpl"),
        ("-d5", "-d5"),
        ("-O", "-O"),
        ("-e", "-e"),
        ("x", "x"),
        ("--", "--"),
    ] {
        let options = b.fill(&format!("{ALICE} {options}"));
        let error = refused(
            b.agent_with(&[("options", &options)]),
            "setting_not_allowed",
        );
        let named = error.detail_json()["object"].clone();
        let named = named.as_str().unwrap_or_default();
        assert!(named.eq_ignore_ascii_case(object), "{options}: {error}");
    }
    // Each as a parameter of its own, too.
    for (name, value) in [
        ("work_mem", "64MB"),
        ("role", "postgres"),
        ("session_authorization", "postgres"),
        ("jit", "on"),
        ("local_preload_libraries", "x"),
    ] {
        refused(
            b.agent_with(&[("options", ALICE), (name, value)]),
            "setting_not_allowed",
        );
    }
    // Control run: they do something for others.
    let connect = |user: &str, options: &str| {
        b.cluster
            .connect(&b.fill(user), &b.db, &[("options", options)])
            .map_err(Box::new)
    };
    let mut plain = works(connect(
        "@plain@",
        "-c work_mem=64MB -S 65MB -c some.thing=1 -fs",
    ));
    assert_eq!(plain.value("SHOW work_mem"), "65MB");
    assert_eq!(plain.value("SHOW enable_seqscan"), "off");
    // A member is held to the same.
    b.setup("CREATE ROLE @agent@_child LOGIN IN ROLE @agent@");
    refused(
        connect("@agent@_child", "-c work_mem=64MB"),
        "setting_not_allowed",
    );
    works(connect(
        "@agent@_child",
        &format!("{ALICE} -c statement_timeout=5000"),
    ));
}

fn start_up_options_without_effect(b: &Bench) {
    b.allow();
    let options = format!(
        "{ALICE} -c geqo=off -c row_security=off -c default_transaction_read_only=off -c synchronize_seqscans=off \
         -c statement_timeout=5000 --search-path=shop,\\ public -c application_name=caf\u{e9}\\ \\\\\\'x"
    );
    let mut agent = works(b.agent_with(&[
        ("options", &options),
        ("row_security", "off"),
        ("geqo", "off"),
        ("extra_float_digits", "3"),
    ]));
    for (setting, value) in [
        ("geqo", "on"),
        ("row_security", "on"),
        ("synchronize_seqscans", "on"),
        ("statement_timeout", "5s"),
        ("search_path", "shop, public"),
        ("extra_float_digits", "3"),
    ] {
        assert_eq!(agent.value(&format!("SHOW {setting}")), value, "{setting}");
    }
    assert!(agent.value("SHOW application_name").ends_with(" \\'x"));
    assert_eq!(
        agent.value("SELECT agent_policy.user_email()"),
        "alice@example.com"
    );
    let mut plain = works(b.cluster.connect(&b.plain, &b.db, &[("geqo", "off")]));
    assert_eq!(plain.value("SHOW geqo"), "off");
    let options = format!("{ALICE} -c default_transaction_read_only=on");
    let mut agent = works(b.agent_with(&[("options", &options)]));
    assert_eq!(agent.value("SHOW default_transaction_read_only"), "on");
}

fn role_settings_are_the_dbas(b: &Bench) {
    b.allow();
    b.setup("ALTER ROLE @agent@ SET work_mem = '7MB'; ALTER ROLE @agent@ SET plan_cache_mode = 'force_generic_plan';
             ALTER ROLE @agent@ IN DATABASE @db@ SET row_security = off; ALTER DATABASE @db@ SET transform_null_equals = on;
             ALTER ROLE @agent@ SET client_min_messages = debug1; ALTER ROLE @agent@ SET jit = on;
             ALTER ROLE @plain@ SET plan_cache_mode = 'force_generic_plan'");
    let mut agent = b.agent();
    for (setting, value) in [
        ("work_mem", "7MB"),
        ("plan_cache_mode", "auto"),
        ("row_security", "on"),
        ("transform_null_equals", "off"),
        ("client_min_messages", "notice"),
        ("jit", "off"),
    ] {
        assert_eq!(agent.value(&format!("SHOW {setting}")), value, "{setting}");
        agent.query("DISCARD ALL");
        assert_eq!(agent.value(&format!("SHOW {setting}")), value, "{setting}");
    }
    let mut plain = b.unconfined();
    assert_eq!(plain.value("SHOW plan_cache_mode"), "force_generic_plan");
    // Its own settings are not the agent's to change.
    for statement in [
        "ALTER ROLE @agent@ SET work_mem = '1GB'",
        "ALTER ROLE @agent@ RESET ALL",
        "ALTER ROLE @agent@ SET session_preload_libraries = ''",
        "ALTER ROLE CURRENT_USER SET local_preload_libraries = 'x'",
        "ALTER DATABASE @db@ SET work_mem = '1GB'",
    ] {
        b.denies(statement, "", "");
    }
}

fn labels_are_not_for_agents(b: &Bench) {
    b.allow();
    let here = label(b, "@agent@");
    assert!(here.contains(&b.db) && here.contains("enforce"), "{here}");
    for statement in [
        "SECURITY LABEL FOR agent_policy ON ROLE @agent@ IS NULL",
        "SECURITY LABEL ON ROLE @agent@ IS 'x'",
        "SECURITY LABEL FOR agent_policy ON COLUMN shop.customers.email IS NULL",
        "UPDATE pg_shseclabel SET label = '{}'",
        "DELETE FROM pg_seclabels",
    ] {
        b.denies(statement, "", "");
    }
    // Nor for others that are no superusers, even such as may alter the role.
    b.setup("ALTER ROLE @plain@ CREATEROLE; GRANT @agent@ TO @plain@ WITH ADMIN OPTION");
    if b.version >= 16 {
        b.setup("GRANT @agent@ TO @plain@ WITH INHERIT FALSE");
    } else {
        b.setup("ALTER ROLE @plain@ NOINHERIT");
    }
    let error = b
        .unconfined()
        .error(&b.fill("SECURITY LABEL FOR agent_policy ON ROLE @agent@ IS NULL"));
    assert_eq!(error.code, "42501", "{error}");
    assert!(error.message.contains("superuser"), "{error}");
    let error =
        b.setup_error("SECURITY LABEL FOR agent_policy ON TABLE shop.customers IS 'email'");
    assert_eq!(error.code, "0A000", "{error}");
    let error = b.setup_error("SECURITY LABEL FOR agent_policy ON ROLE @agent@ IS 'secret'");
    assert_eq!(error.code, "22023", "{error}");
    assert_eq!(label(b, "@agent@"), here);
    // A superuser may take it off, and any change of the policy puts it back.
    b.setup("SECURITY LABEL FOR agent_policy ON ROLE @agent@ IS NULL");
    works(login(b, "@agent@", "postgres"));
    b.setup("SELECT agent_policy.protect_role('@agent@')");
    assert_eq!(label(b, "@agent@"), here);
    // So does a change of the table that goes around the functions.
    b.setup("BEGIN; SET session_replication_role = replica; TRUNCATE agent_policy.policy_role CASCADE; COMMIT; RESET session_replication_role");
    assert_eq!(label(b, "@agent@"), "");
    b.protect();
    assert_eq!(label(b, "@agent@"), here);
}

fn labels_survive_a_dump(b: &Bench) {
    b.allow();
    let here = label(b, "@agent@");
    // As pg_dumpall writes it.
    let statement = format!(
        "SECURITY LABEL FOR agent_policy ON ROLE @agent@ IS {}",
        cluster_tests::sql::literal(&here)
    );
    b.setup("SECURITY LABEL FOR agent_policy ON ROLE @agent@ IS NULL");
    assert_eq!(label(b, "@agent@"), "");
    let other = Other::new(b, "restore");
    other.run(&statement);
    assert_eq!(label(b, "@agent@"), here);
    refused(login(b, "@agent@", "postgres"), "connection_not_allowed");
    // The rows of a dumped policy bring the label along, in the database that they come to.
    other.run("CREATE EXTENSION agent_policy; INSERT INTO agent_policy.policy_role (role, capability, mode) VALUES ('@agent@', 'read_only', 'enforce')");
    works(login(b, "@agent@", &other.name));
    assert!(label(b, "@agent@").contains(&other.name));
}

fn a_new_role_of_the_name_is_another(b: &Bench) {
    b.setup("CREATE ROLE @agent@_short LOGIN; SELECT agent_policy.protect_role('@agent@_short')");
    refused(
        login(b, "@agent@_short", "postgres"),
        "connection_not_allowed",
    );
    b.setup("ALTER ROLE @agent@_short RENAME TO @agent@_renamed");
    let error = refused(
        login(b, "@agent@_renamed", "postgres"),
        "connection_not_allowed",
    );
    assert!(error.message.contains("_renamed"), "{error}");
    b.setup("ALTER ROLE @agent@_renamed RENAME TO @agent@_short; DROP ROLE @agent@_short; CREATE ROLE @agent@_short LOGIN");
    assert_eq!(label(b, "@agent@_short"), "");
    works(login(b, "@agent@_short", "postgres"));
}

fn other_label_providers_see_nothing(b: &Bench) {
    b.allow();
    // A server without label providers says so, whoever asks.
    let mut su = b
        .cluster
        .connect("postgres", &b.db, &[])
        .expect("the superuser connects");
    let error = su.error("SECURITY LABEL ON TABLE shop.orders IS 'classified'");
    assert_eq!(
        error.message,
        "no security label providers have been loaded"
    );
    let error = su.error("SECURITY LABEL FOR dummy ON TABLE shop.orders IS 'classified'");
    assert_eq!(
        error.message,
        "security label provider \"dummy\" is not loaded"
    );
}

fn a_cluster_is_dumped_and_restored(b: &Bench) {
    let from = Arc::new(Cluster::start(b.version, ""));
    let source = Bench::new(Arc::clone(&from));
    source.allow();
    let dumpall = cluster::pg_config(b.version)
        .expect("a PostgreSQL to test")
        .with_file_name("pg_dumpall");
    let output = Command::new(dumpall)
        .args(["--roles-only", "-U", "postgres", "-h"])
        .arg(from.socket_dir())
        .args(["-p", &from.port().to_string()])
        .output()
        .expect("pg_dumpall runs");
    assert!(output.status.success(), "{output:?}");
    let script = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(
        script.contains("SECURITY LABEL FOR 'agent_policy' ON ROLE")
            || script.contains("SECURITY LABEL FOR agent_policy ON ROLE"),
        "{script}"
    );
    let to = Cluster::start(b.version, "");
    let file = to.socket_dir().join("roles.sql");
    fs::write(&file, script.replace("CREATE ROLE postgres;", "")).expect("a file");
    to.psql("postgres", &file);
    let error = refused(
        to.connect(&source.agent, "postgres", &[("options", ALICE)]),
        "connection_not_allowed",
    );
    assert!(error.hint.contains(&source.db), "{error}");
    works(to.connect(&source.plain, "postgres", &[]));
}

/// A library that starts background workers as extensions like pg_cron do, compiled for the version at hand.
fn worker_library(b: &Bench) -> PathBuf {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/worker.c");
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

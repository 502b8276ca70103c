//! What a login may ask for: start-up options, settings of its role, and the labels by which the cluster knows it.

use std::fs;
use std::process::Command;
use std::sync::Arc;

use cluster_tests::{Bench, Case, Cluster, cases, cluster};

use super::c16_doors::{ALICE, Other, label, login, refused, works};

pub const CASES: &[Case] = cases![
    start_up_options_are_judged,
    start_up_options_without_effect,
    names_of_settings_are_reserved,
    role_settings_are_the_dbas,
    labels_are_not_for_agents,
    labels_survive_a_dump,
    a_new_role_of_the_name_is_another,
    other_label_providers_see_nothing,
    a_cluster_is_dumped_and_restored,
];

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

/// A setting that the extension does not have is an error for everybody, not a placeholder.
fn names_of_settings_are_reserved(b: &Bench) {
    b.allow();
    let mut plain = b.unconfined();
    plain.query("SET shop.note = 'kept'");
    let error = plain.error("SET agent_policy.user_mail = 'alice@example.com'");
    assert_eq!(error.code, "42602", "{error}");
    let error = plain.error("SELECT set_config('agent_policy.nothing', '1', false)");
    assert_eq!(error.code, "42602", "{error}");
    refused(
        b.agent_with(&[("options", "-c agent_policy.user_mail=alice@example.com")])
            .map_err(Box::new),
        "setting_not_allowed",
    );
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
    let error = b.setup_error("SECURITY LABEL FOR agent_policy ON TABLE shop.customers IS 'email'");
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

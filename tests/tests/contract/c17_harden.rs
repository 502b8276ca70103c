//! harden_role: the native floor.

use cluster_tests::{Answer, Bench, Case, cases};

pub const CASES: &[Case] = cases![
    the_floor,
    twice_changes_nothing,
    limits_that_are_there_stay,
    what_the_role_was_granted_is_revoked,
    what_is_not_its_own_is_reported,
    capabilities_keep_what_they_need,
    members_and_groups,
    odd_names,
    for_admins_and_protected_roles_only,
    a_hardened_agent_works,
];

/// setting → (before, after)
#[track_caller]
fn harden(b: &Bench, role: &str) -> (Vec<(String, String, String)>, Answer) {
    let answer = b.setup(&format!(
        "SELECT setting, before, after FROM agent_policy.harden_role('{role}') ORDER BY setting"
    ));
    let rows = answer
        .texts()
        .into_iter()
        .map(|row| (row[0].clone(), row[1].clone(), row[2].clone()))
        .collect();
    (rows, answer)
}

#[track_caller]
fn changed(rows: &[(String, String, String)], setting: &str, before: &str, after: &str) {
    assert!(
        rows.iter()
            .any(|(s, b, a)| s == setting && b == before && a == after),
        "{setting} {before} -> {after} is not among {rows:?}"
    );
}

fn told<'a>(answer: &'a Answer, text: &str) -> Option<&'a str> {
    answer
        .notices
        .iter()
        .find(|n| n.severity == "WARNING" && n.message.contains(text))
        .map(|n| n.hint.as_str())
}

fn the_floor(b: &Bench) {
    b.allow();
    b.setup("ALTER ROLE @agent@ REPLICATION CREATEROLE CREATEDB BYPASSRLS");
    let (rows, _) = harden(b, "@agent@");
    for attribute in [
        "inherit",
        "createrole",
        "createdb",
        "replication",
        "bypassrls",
    ] {
        changed(&rows, attribute, "on", "off");
    }
    changed(&rows, "connection_limit", "-1", "20");
    changed(&rows, "temp_file_limit", "∅", "1GB");
    changed(&rows, "default_transaction_read_only", "∅", "on");
    changed(&rows, "idle_in_transaction_session_timeout", "∅", "5min");
    changed(&rows, "session_preload_libraries", "∅", "agent_policy");
    assert_eq!(
        b.value("SELECT concat_ws(' ', rolinherit, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls, rolconnlimit) FROM pg_roles WHERE rolname = '@agent@'"),
        "f f f f f 20"
    );
    let settings = b.value("SELECT setconfig::text FROM pg_db_role_setting WHERE setrole = '@agent@'::regrole AND setdatabase = 0");
    for setting in [
        "session_preload_libraries=agent_policy",
        "temp_file_limit=1GB",
        "default_transaction_read_only=on",
        "idle_in_transaction_session_timeout=5min",
    ] {
        assert!(settings.contains(setting), "{settings}");
    }
}

fn twice_changes_nothing(b: &Bench) {
    b.allow();
    assert!(!harden(b, "@agent@").0.is_empty());
    let (rows, _) = harden(b, "@agent@");
    assert!(rows.is_empty(), "{rows:?}");
    let history = b.setup("SELECT arguments->>'role', jsonb_array_length(arguments->'changed') > 0 FROM agent_policy.policy_history WHERE function = 'harden_role' ORDER BY id");
    assert_eq!(
        history.texts(),
        [[b.agent.clone(), "t".into()], [b.agent.clone(), "f".into()]]
    );
}

fn limits_that_are_there_stay(b: &Bench) {
    b.allow();
    b.setup("ALTER ROLE @agent@ CONNECTION LIMIT 3; ALTER ROLE @agent@ SET temp_file_limit = '10MB'; ALTER ROLE @agent@ SET idle_in_transaction_session_timeout = '1h';
             ALTER ROLE @agent@ SET default_transaction_read_only = off; ALTER ROLE @agent@ SET session_preload_libraries = 'auto_explain', '$libdir/other';
             ALTER ROLE @agent@ IN DATABASE @db@ SET temp_file_limit = -1; ALTER ROLE @agent@ IN DATABASE @db@ SET work_mem = '5MB'");
    let (rows, _) = harden(b, "@agent@");
    assert!(
        !rows.iter().any(|(s, ..)| s == "connection_limit"
            || s == "temp_file_limit"
            || s == "idle_in_transaction_session_timeout"),
        "{rows:?}"
    );
    changed(&rows, "default_transaction_read_only", "off", "on");
    changed(
        &rows,
        "session_preload_libraries",
        "auto_explain, \"$libdir/other\"",
        "auto_explain, $libdir/other, agent_policy",
    );
    changed(
        &rows,
        &b.fill("temp_file_limit in database @db@"),
        "-1",
        "∅",
    );
    let settings = b.value("SELECT string_agg(setconfig::text, ' ') FROM pg_db_role_setting WHERE setrole = '@agent@'::regrole");
    for setting in [
        "auto_explain, \\\"$libdir/other\\\", agent_policy",
        "temp_file_limit=10MB",
        "idle_in_transaction_session_timeout=1h",
        "work_mem=5MB",
    ] {
        assert!(settings.contains(setting), "{setting}: {settings}");
    }
    assert!(!settings.contains("temp_file_limit=-1"), "{settings}");
    assert!(harden(b, "@agent@").0.is_empty());
}

fn what_the_role_was_granted_is_revoked(b: &Bench) {
    b.allow();
    b.setup("CREATE DATABASE @db@_other");
    b.setup(
        "REVOKE ALL ON DATABASE @db@_other FROM PUBLIC;
             GRANT CONNECT, CREATE, TEMPORARY ON DATABASE @db@, @db@_other TO @agent@;
             CREATE SCHEMA lab; GRANT ALL ON SCHEMA lab, shop TO @agent@",
    );
    let (rows, _) = harden(b, "@agent@");
    for (setting, database) in [
        ("create", "@db@"),
        ("create", "@db@_other"),
        ("temporary", "@db@"),
        ("temporary", "@db@_other"),
        ("connect", "@db@_other"),
    ] {
        changed(
            &rows,
            &b.fill(&format!("{setting} on database {database}")),
            "granted",
            "revoked",
        );
    }
    changed(&rows, "create on schema lab", "granted", "revoked");
    changed(&rows, "create on schema shop", "granted", "revoked");
    assert_eq!(
        b.value(
            "SELECT concat_ws(' ', has_database_privilege('@agent@', '@db@', 'CONNECT'), has_database_privilege('@agent@', '@db@_other', 'CONNECT'),
                    has_database_privilege('@agent@', '@db@', 'CREATE'), has_schema_privilege('@agent@', 'lab', 'CREATE'), has_schema_privilege('@agent@', 'lab', 'USAGE'))"
        ),
        "t f f f t"
    );
    b.setup("DROP DATABASE @db@_other");
    assert!(harden(b, "@agent@").0.is_empty());
}

fn what_is_not_its_own_is_reported(b: &Bench) {
    b.allow();
    b.setup("GRANT CREATE ON SCHEMA public TO PUBLIC; CREATE SCHEMA mine AUTHORIZATION @agent@; CREATE ROLE @agent@_group; GRANT @agent@_group TO @agent@;
             GRANT CREATE ON SCHEMA shop TO @plain@ WITH GRANT OPTION");
    b.unconfined()
        .query(&b.fill("GRANT CREATE ON SCHEMA shop TO @agent@"));
    let before = b.value("SELECT datacl::text || nspacl::text FROM pg_database, pg_namespace WHERE datname = 'postgres' AND nspname = 'public'");
    let (_, answer) = harden(b, "@agent@");
    for (open, remedy) in [
        (
            "temporary tables in database",
            "REVOKE TEMPORARY ON DATABASE @db@ FROM PUBLIC",
        ),
        ("PUBLIC may connect to", "REVOKE CONNECT ON DATABASE"),
        (
            "objects in schema \"public\"",
            "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
        ),
        (
            "is a member of @agent@_group",
            "REVOKE @agent@_group FROM @agent@",
        ),
        ("owns schema mine", "REASSIGN OWNED BY @agent@"),
        ("create on schema shop", "granted by @plain@"),
    ] {
        let hint = told(&answer, &b.fill(open))
            .unwrap_or_else(|| panic!("{open} is not told: {:?}", answer.notices));
        assert!(hint.contains(&b.fill(remedy)), "{open}: {hint}");
    }
    assert_eq!(
        b.value("SELECT datacl::text || nspacl::text FROM pg_database, pg_namespace WHERE datname = 'postgres' AND nspname = 'public'"),
        before
    );
    // Once it is put right, nothing is left to tell.
    b.setup("REVOKE CREATE ON SCHEMA public FROM PUBLIC; DROP SCHEMA mine; REVOKE @agent@_group FROM @agent@; REVOKE TEMPORARY ON DATABASE @db@ FROM PUBLIC; GRANT ALL ON DATABASE @db@ TO @plain@");
    b.unconfined()
        .query(&b.fill("REVOKE CREATE ON SCHEMA shop FROM @agent@"));
    let (_, answer) = harden(b, "@agent@");
    let open: Vec<_> = answer
        .notices
        .iter()
        .filter(|n| !n.message.contains("PUBLIC may connect to"))
        .collect();
    assert!(open.is_empty(), "{open:?}");
}

fn capabilities_keep_what_they_need(b: &Bench) {
    b.setup("SELECT agent_policy.protect_role('@agent@', 'ddl'); GRANT CREATE, USAGE ON SCHEMA shop TO @agent@; GRANT CREATE, TEMPORARY ON DATABASE @db@ TO @agent@");
    let (rows, _) = harden(b, "@agent@");
    changed(
        &rows,
        &b.fill("create on database @db@"),
        "granted",
        "revoked",
    );
    assert!(
        !rows.iter().any(|(s, ..)| s.contains("schema")
            || s.contains("temporary")
            || s == "default_transaction_read_only"),
        "{rows:?}"
    );
    b.setup("SELECT agent_policy.protect_role('@agent@', 'read_write')");
    let (rows, _) = harden(b, "@agent@");
    changed(&rows, "create on schema shop", "granted", "revoked");
    changed(
        &rows,
        &b.fill("temporary on database @db@"),
        "granted",
        "revoked",
    );
    assert_eq!(rows.len(), 2, "{rows:?}");
    b.setup("SELECT agent_policy.protect_role('@agent@')");
    let (rows, _) = harden(b, "@agent@");
    changed(&rows, "default_transaction_read_only", "∅", "on");
    assert_eq!(rows.len(), 1, "{rows:?}");
}

fn members_and_groups(b: &Bench) {
    b.allow();
    b.setup("CREATE ROLE @agent@_group; SELECT agent_policy.protect_role('@agent@_group'); CREATE ROLE @agent@_child LOGIN IN ROLE @agent@_group");
    // Members of a protected group must go on inheriting it: that is what confines them.
    let (rows, _) = harden(b, "@agent@_child");
    changed(&rows, "session_preload_libraries", "∅", "agent_policy");
    assert!(!rows.iter().any(|(s, ..)| s == "inherit"), "{rows:?}");
    assert_eq!(
        b.value("SELECT pg_has_role('@agent@_child', '@agent@_group', 'USAGE')"),
        "t"
    );
    let mut child = b
        .cluster
        .connect(&b.fill("@agent@_child"), &b.db, &[])
        .expect("connects");
    assert_eq!(child.error("SELECT * FROM shop.orders").code, "42501");
    // Before 16 nor may a protected role that has its rights from others.
    b.setup("CREATE ROLE @agent@_readers; GRANT @agent@_readers TO @agent@");
    let (rows, answer) = harden(b, "@agent@");
    assert_eq!(
        rows.iter().any(|(s, ..)| s == "inherit"),
        b.version >= 16,
        "{rows:?}"
    );
    assert!(told(&answer, &b.fill("member of @agent@_readers")).is_some());
    assert_eq!(
        b.value("SELECT pg_has_role('@agent@', '@agent@_readers', 'USAGE')"),
        "t"
    );
    // A group cannot log in; what is set for it reaches nobody.
    let (rows, answer) = harden(b, "@agent@_group");
    assert!(
        !rows
            .iter()
            .any(|(s, ..)| s.contains("limit") || s.contains("preload")),
        "{rows:?}"
    );
    assert!(told(&answer, "do not reach its members").is_some());
}

fn odd_names(b: &Bench) {
    b.setup("CREATE ROLE \"@agent@ O'Neill \"\"x\"\"\" LOGIN");
    b.setup("CREATE DATABASE \"@db@ o'db\"");
    b.setup(
        "GRANT CONNECT ON DATABASE \"@db@ o'db\" TO \"@agent@ O'Neill \"\"x\"\"\";
             SELECT agent_policy.protect_role('\"@agent@ O''Neill \"\"x\"\"\"')",
    );
    let (rows, _) = harden(b, "\"@agent@ O''Neill \"\"x\"\"\"");
    changed(
        &rows,
        &b.fill("connect on database \"@db@ o'db\""),
        "granted",
        "revoked",
    );
    changed(&rows, "connection_limit", "-1", "20");
    b.setup("DROP DATABASE \"@db@ o'db\"");
}

fn for_admins_and_protected_roles_only(b: &Bench) {
    let error = b.setup_error("SELECT agent_policy.harden_role('@agent@')");
    assert_eq!(error.code, "22023", "{error}");
    assert!(error.hint.contains("protect_role"), "{error}");
    let error = b.setup_error("SELECT agent_policy.harden_role(NULL)");
    assert_eq!(error.code, "22004", "{error}");
    let error = b.setup_error("SELECT agent_policy.harden_role('0')");
    assert_eq!(error.code, "42704", "{error}");
    b.allow();
    let error = b
        .unconfined()
        .error(&b.fill("SELECT agent_policy.harden_role('@agent@')"));
    assert_eq!(error.code, "42501", "{error}");
    b.denies("SELECT agent_policy.harden_role('@agent@')", "42501", "");
    // A superuser that inherits a protected role is confined by nothing, nor hardened.
    b.setup("CREATE ROLE @agent@_root SUPERUSER IN ROLE @agent@");
    let error = b.setup_error("SELECT agent_policy.harden_role('@agent@_root')");
    assert_eq!(error.code, "22023", "{error}");
    b.setup("CREATE ROLE @agent@_admin LOGIN IN ROLE agent_policy_admin; DROP ROLE @agent@_root");
    let mut admin = b
        .cluster
        .connect(&b.fill("@agent@_admin"), &b.db, &[])
        .expect("connects");
    assert!(
        !admin
            .query(&b.fill("SELECT * FROM agent_policy.harden_role('@agent@')"))
            .rows
            .is_empty()
    );
    assert_eq!(
        b.value(
            "SELECT changed_by FROM agent_policy.policy_history WHERE function = 'harden_role'"
        ),
        b.fill("@agent@_admin")
    );
    assert_eq!(
        b.value("SELECT rolconnlimit FROM pg_roles WHERE rolname = '@agent@'"),
        "20"
    );
    admin.error(&b.fill("ALTER ROLE @agent@ CONNECTION LIMIT 100"));
}

fn a_hardened_agent_works(b: &Bench) {
    b.mask();
    harden(b, "@agent@");
    b.masks("SELECT * FROM shop.customers ORDER BY id");
    b.allows("SELECT count(*) FROM shop.orders");
    b.allows("BEGIN READ WRITE; SELECT 1; COMMIT");
    b.denies(
        "INSERT INTO shop.scratch VALUES (1, 'x')",
        "25006",
        "read_only",
    );
    let mut agent = b.agent();
    assert_eq!(agent.value("SHOW temp_file_limit"), "1GB");
    assert_eq!(agent.value("SHOW default_transaction_read_only"), "on");
}

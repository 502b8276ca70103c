//! What an agent may say besides queries: settings, temporary objects, definitions.

use cluster_tests::{Bench, Case, cases};

pub const CASES: &[Case] = cases![
    temporary_objects_are_refused,
    settings,
    definitions_call_built_in_functions_only,
    foreign_keys_refer_to_writable_tables,
];

fn temporary_objects_are_refused(b: &Bench) {
    b.mask();
    for sql in [
        "CREATE TEMP TABLE t AS SELECT email FROM shop.customers",
        "SELECT email INTO TEMP t FROM shop.customers",
        "CREATE TEMP TABLE t (a int)",
        "CREATE TEMP VIEW v AS SELECT 1",
        "CREATE TEMP SEQUENCE s",
    ] {
        let error = b.agent().error(sql);
        assert!(
            ["25006", "42501"].contains(&error.code.as_str()),
            "{sql}: {error}"
        );
        assert!(error.detail_json().is_object(), "{sql}: {error}");
    }
}

fn settings(b: &Bench) {
    b.allow();
    for sql in [
        "SET extra_float_digits = 3",
        "SET DateStyle = 'ISO'",
        "SET TimeZone = 'UTC'",
        "SET application_name = 'x'",
        "SET search_path = shop",
        "SET client_encoding = 'UTF8'",
        "SET default_transaction_read_only = on",
        "RESET ALL",
        "SHOW server_version",
        "SELECT current_setting('TimeZone')",
        "SELECT set_config('jit', 'off', false)",
        "SET statement_timeout = '1s'",
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
        "SHOW ALL",
        "DISCARD ALL",
    ] {
        let answer = b.agent().simple(sql);
        assert!(answer.errors.is_empty(), "{sql}: {}", answer.errors[0]);
    }
    for sql in [
        "SET session_replication_role = replica",
        "SET agent_policy.user_email = 'bob@example.com'",
        "SET debug_print_plan = on",
        "SET log_statement = 'none'",
        "SET session_authorization = @plain@",
        "SET ROLE @plain@",
        "SELECT set_config('agent_policy.user_email', 'bob@example.com', false)",
        "SET agent_policy.enabled = off",
        "SELECT set_config('session_replication_role', 'replica', true)",
        "SET local_preload_libraries = 'x'",
        "SET dynamic_library_path = '/tmp'",
        "ALTER ROLE @agent@ SET statement_timeout = 0",
        "ALTER SYSTEM SET work_mem = '1GB'",
        "UPDATE pg_settings SET setting = 'off' WHERE name = 'row_security'",
        "LOAD 'plpgsql'",
    ] {
        let answer = b.agent().simple(&b.fill(sql));
        assert!(!answer.errors.is_empty(), "{sql} is accepted");
    }
    b.denies(
        "SET session_replication_role = replica",
        "42501",
        "setting_not_allowed",
    );
}

fn defining(b: &Bench) {
    b.setup("SELECT agent_policy.protect_role('@agent@', 'ddl'); SELECT agent_policy.allow_schema('@agent@', 'shop', 'write')");
}

fn definitions_call_built_in_functions_only(b: &Bench) {
    b.mask();
    defining(b);
    b.setup("SELECT agent_policy.allow_function('@agent@', 'shop.get_email(int)')");
    b.agent().query("CREATE TABLE shop.own (id serial, at timestamptz DEFAULT now(), k text DEFAULT upper('k') CHECK (length(k) < 9))");
    for definition in [
        "ALTER TABLE shop.own ALTER k SET DEFAULT shop.get_email(1)",
        "ALTER TABLE shop.own ADD CHECK (pg_notify('a', k) IS NULL)",
        "CREATE TABLE shop.other (k text DEFAULT (ts_rewrite('a', 'SELECT 1'))::text)",
        "CREATE INDEX ON shop.own ((shop.plus_one(id)))",
    ] {
        b.denies(definition, "42501", "function_not_allowed");
    }
}

fn foreign_keys_refer_to_writable_tables(b: &Bench) {
    b.mask();
    defining(b);
    b.setup("GRANT REFERENCES ON ALL TABLES IN SCHEMA shop TO @agent@");
    b.agent()
        .query("CREATE TABLE shop.own (id int REFERENCES shop.scratch)");
    b.denies(
        "CREATE TABLE shop.asks (email text REFERENCES shop.customers (email))",
        "42501",
        "statement_not_allowed",
    );
    b.setup("SELECT agent_policy.allow_relation('@agent@', 'shop.orders', 'read')");
    b.denies(
        "CREATE TABLE shop.asks (id int REFERENCES shop.orders)",
        "42501",
        "relation_not_allowed",
    );
}

//! Tests of the SQL functions in one backend.

use pgrx::prelude::*;

/// Something to set a policy on, and `pg_temp.attempt`, which gives the SQLSTATE of a statement
/// and whether it came with a HINT.
fn setting() {
    Spi::run(
        "CREATE ROLE api_agent;
         CREATE SCHEMA api_sales;
         CREATE TABLE api_sales.customers (
             id int, name text, email varchar(30), ssn char(11), born date, seen timestamptz,
             salary numeric(6,2), points int, token uuid, address inet, note text COLLATE \"C\");
         INSERT INTO api_sales.customers VALUES
             (1, 'José Müller', 'jose@corp.com', '123-45-6789', '1980-02-29', '2024-05-05 12:34+02',
              -1234.56, -17, '00000000-0000-0000-0000-000000000001', '192.168.17.5', 'x'),
             (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
         CREATE VIEW api_sales.v AS SELECT * FROM api_sales.customers;
         CREATE FUNCTION pg_temp.attempt(statement text) RETURNS text LANGUAGE plpgsql AS $$
         DECLARE hint text;
         BEGIN
             EXECUTE statement;
             RETURN 'ok';
         EXCEPTION WHEN OTHERS THEN
             GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
             RETURN sqlstate || CASE WHEN hint = '' THEN ' without hint' ELSE '' END;
         END $$",
    )
    .unwrap();
}

fn protected() {
    setting();
    Spi::run("SELECT agent_policy.protect_role('api_agent')").unwrap();
}

fn text(query: &str) -> Option<String> {
    Spi::get_one(&format!("SELECT ({query})::text")).unwrap()
}

fn attempt(statement: &str) -> String {
    Spi::get_one_with_args("SELECT pg_temp.attempt($1)", &[statement.into()])
        .unwrap()
        .unwrap()
}

#[track_caller]
fn all(expected: &str, statements: &[&str]) {
    for statement in statements {
        assert_eq!(attempt(statement), expected, "{statement}");
    }
}

/// What a column shows under the mask set on it, for the row with this id.
fn masked(column: &str, id: i32) -> Option<String> {
    let expression = text(&format!(
        "SELECT expression FROM agent_policy.masks WHERE column_name = '{column}'"
    ))
    .unwrap();
    text(&format!(
        "SELECT {expression} FROM api_sales.customers WHERE id = {id}"
    ))
}

fn mask(column: &str, rest: &str) -> String {
    attempt(&format!(
        "SELECT agent_policy.mask_column('api_sales.customers', '{column}'{rest})"
    ))
}

#[cfg(any(test, feature = "pg_test"))]
#[pgrx::pg_schema]
mod tests {
    use super::*;

    #[pg_test]
    fn api_protect_role() {
        setting();
        all(
            "42501",
            &[
                "SELECT agent_policy.protect_role('postgres')",
                "SELECT agent_policy.protect_role('agent_policy_admin')",
            ],
        );
        for power in [
            "pg_read_server_files",
            "pg_write_server_files",
            "pg_execute_server_program",
        ] {
            Spi::run(&format!("GRANT {power} TO api_agent")).unwrap();
            all("42501", &["SELECT agent_policy.protect_role('api_agent')"]);
            Spi::run(&format!("REVOKE {power} FROM api_agent")).unwrap();
        }
        Spi::run("ALTER ROLE api_agent REPLICATION").unwrap();
        all("42501", &["SELECT agent_policy.protect_role('api_agent')"]);
        Spi::run("ALTER ROLE api_agent NOREPLICATION").unwrap();
        all("22004", &["SELECT agent_policy.protect_role(NULL)"]);
        all(
            "22023",
            &[
                "SELECT agent_policy.protect_role('api_agent', 'root')",
                "SELECT agent_policy.protect_role('api_agent', mode => 'dry')",
                "SELECT agent_policy.allow_schema('api_agent', 'api_sales')",
            ],
        );
        all("ok", &["SELECT agent_policy.protect_role('api_agent')"]);
        Spi::run("SELECT agent_policy.set_limits('api_agent', max_rows => 7)").unwrap();
        all(
            "ok",
            &["SELECT agent_policy.protect_role('api_agent', 'read_write', 'monitor')"],
        );
        assert_eq!(
            text("SELECT (p, l) FROM agent_policy.protected_roles p JOIN agent_policy.limits l USING (role)").unwrap(),
            "(\"(api_agent,read_write,monitor,connection,f,show)\",\"(api_agent,7,67108864,truncate,00:01:00,)\")"
        );
        Spi::run(
            "SELECT agent_policy.mask_column('api_sales.customers', 'name', role => 'api_agent')",
        )
        .unwrap();
        Spi::run("SELECT agent_policy.release_role('api_agent')").unwrap();
        assert_eq!(
            text("SELECT count(*) FROM agent_policy.masks").unwrap(),
            "0"
        );
        all("ok", &["SELECT agent_policy.release_role('api_agent')"]);
        assert_eq!(
            text("SELECT string_agg(function, ',' ORDER BY id) FROM agent_policy.policy_history")
                .unwrap(),
            "protect_role,set_limits,protect_role,mask_column,release_role"
        );
    }

    #[pg_test]
    fn api_allowlist() {
        protected();
        all(
            "ok",
            &[
                "SELECT agent_policy.allow_schema('api_agent', 'api_sales', 'write')",
                "SELECT agent_policy.disallow_schema('api_agent', 'api_sales')",
                "SELECT agent_policy.disallow_schema('api_agent', 'api_sales')",
                "SELECT agent_policy.allow_relation('api_agent', 'api_sales.v')",
                "SELECT agent_policy.deny_relation('api_agent', 'api_sales.v')",
                "SELECT agent_policy.deny_column('api_agent', 'api_sales.customers', 'ssn')",
                "SELECT agent_policy.allow_function('api_agent', 'pg_catalog.lower(text)')",
                "SELECT agent_policy.deny_function('api_agent', 'pg_catalog.lower(text)')",
                "SELECT agent_policy.allow_extension('api_agent', 'plpgsql')",
            ],
        );
        assert_eq!(
            text("SELECT string_agg(concat_ws(' ', kind, object, access), ', ' ORDER BY kind) FROM agent_policy.allowed_objects").unwrap(),
            "column api_sales.customers.ssn deny, extension plpgsql allow, function lower(text) deny, relation api_sales.v deny"
        );
        all(
            "ok",
            &[
                "SELECT agent_policy.reset_relation('api_agent', 'api_sales.v')",
                "SELECT agent_policy.reset_column('api_agent', 'api_sales.customers', 'ssn')",
                "SELECT agent_policy.reset_function('api_agent', 'pg_catalog.lower(text)')",
                "SELECT agent_policy.disallow_extension('api_agent', 'plpgsql')",
            ],
        );
        assert_eq!(
            text("SELECT count(*) FROM agent_policy.allowed_objects").unwrap(),
            "0"
        );
        all(
            "3F000",
            &["SELECT agent_policy.allow_schema('api_agent', 'nope')"],
        );
        all(
            "42703",
            &["SELECT agent_policy.deny_column('api_agent', 'api_sales.customers', 'nope')"],
        );
        all(
            "42P10",
            &["SELECT agent_policy.deny_column('api_agent', 'api_sales.customers', 'ctid')"],
        );
        all(
            "42704",
            &["SELECT agent_policy.allow_extension('api_agent', 'nope')"],
        );
        all(
            "22023",
            &[
                "SELECT agent_policy.allow_schema('api_agent', 'pg_catalog')",
                "SELECT agent_policy.allow_schema('api_agent', 'agent_policy')",
                "SELECT agent_policy.allow_relation('api_agent', 'pg_catalog.pg_authid')",
                "SELECT agent_policy.allow_relation('api_agent', 'agent_policy.policy_role')",
                "SELECT agent_policy.allow_function('api_agent', 'agent_policy.user_email()')",
                "SELECT agent_policy.allow_extension('api_agent', 'agent_policy')",
            ],
        );
        all(
            "22004",
            &[
                "SELECT agent_policy.allow_schema('api_agent', NULL)",
                "SELECT agent_policy.allow_relation('api_agent', NULL)",
                "SELECT agent_policy.allow_function('api_agent', NULL)",
            ],
        );
    }

    #[pg_test]
    fn api_limits() {
        protected();
        all(
            "ok",
            &[
                "SELECT agent_policy.set_limits('api_agent', 5, 6, 'error', '1.5 s', 1e6)",
                "SELECT agent_policy.set_limits('api_agent')",
                "SELECT agent_policy.reset_limits('api_agent', 'max_rows', 'on_excess', 'queries_per_minute')",
            ],
        );
        assert_eq!(
            text("SELECT l FROM agent_policy.limits l").unwrap(),
            "(api_agent,,6,truncate,00:00:01.5,1000000)"
        );
        all(
            "22023",
            &[
                "SELECT agent_policy.set_limits('api_agent', max_rows => -1)",
                "SELECT agent_policy.set_limits('api_agent', on_excess => 'cut')",
                "SELECT agent_policy.set_limits('api_agent', statement_timeout => '0')",
                "SELECT agent_policy.set_limits('api_agent', statement_timeout => '1 year')",
                "SELECT agent_policy.set_limits('api_agent', max_plan_cost => 'NaN')",
                "SELECT agent_policy.reset_limits('api_agent', 'rows')",
                "SELECT agent_policy.require_identity('api_agent', 'sure')",
            ],
        );
        all(
            "0A000",
            &[
                "SELECT agent_policy.set_limits('api_agent', max_concurrent => 1)",
                "SELECT agent_policy.set_limits('api_agent', queries_per_minute => 1)",
                "SELECT agent_policy.set_limits('api_agent', rows_per_hour => 1)",
                "SELECT agent_policy.set_limits('api_agent', denials_per_hour => 1)",
                "SELECT agent_policy.require_identity('api_agent', 'signed')",
            ],
        );
    }

    #[pg_test]
    fn api_masks_show_what_they_should() {
        setting();
        for (column, rest, shows) in [
            ("name", "", "***"),
            (
                "name",
                ", 'partial', '{\"keep_first\": 2, \"keep_last\": 1}'",
                "Jo********r",
            ),
            ("ssn", ", 'partial'", "*******6789"),
            ("email", ", 'email'", "j***@example.com"),
            ("email", ", 'constant', '{\"value\": \"it''s\"}'", "it's"),
            ("born", "", "1970-01-01"),
            (
                "born",
                ", 'truncate', '{\"unit\": \"quarter\"}'",
                "1980-01-01",
            ),
            ("salary", ", 'bucket', '{\"size\": 100}'", "-1300.00"),
            ("points", ", 'bucket'", "-20"),
            ("points", ", 'expression', '{\"sql\": \"id * 2\"}'", "2"),
            ("token", "", "00000000-0000-0000-0000-000000000000"),
            ("address", ", 'network'", "192.168.17.0/24"),
            ("address", "", "0.0.0.0/32"),
        ] {
            assert_eq!(mask(column, rest), "ok", "{column} {rest}");
            assert_eq!(masked(column, 1).as_deref(), Some(shows), "{column} {rest}");
            if !rest.contains("constant") {
                let null = if rest.contains("expression") {
                    Some("4")
                } else {
                    None
                };
                assert_eq!(masked(column, 2).as_deref(), null, "{column} {rest}");
            }
        }
        assert_eq!(mask("name", ", 'hash', '{\"length\": 20}'"), "ok");
        let hashed = masked("name", 1).unwrap();
        assert!(
            hashed.len() == 20 && hashed.bytes().all(|b| b.is_ascii_hexdigit()),
            "{hashed}"
        );
        assert_eq!(mask("note", ", 'expression', '{\"sql\": \"name\"}'"), "ok");
        assert_eq!(
            text("SELECT expression FROM agent_policy.masks WHERE column_name = 'note'").unwrap(),
            "(name COLLATE \"C\")"
        );
    }

    #[pg_test]
    fn api_masks_refused() {
        protected();
        for (expected, column, rest) in [
            ("22023", "name", ", 'parital'"),
            ("22023", "name", ", 'redact', '{\"x\": 1}'"),
            ("22023", "name", ", 'redact', '[]'"),
            ("22023", "name", ", 'partial', '{\"pad\": \"\"}'"),
            ("22023", "name", ", 'hash', '{\"length\": 65}'"),
            ("22023", "name", ", role => 'pg_monitor'"),
            ("22004", "name", ", NULL"),
            ("22004", "name", ", 'redact', NULL"),
            ("22023", "name", ", 'json'"),
            (
                "0A000",
                "name",
                ", 'expression', '{\"sql\": \"(SELECT 1)\"}'",
            ),
            (
                "0A000",
                "name",
                ", 'expression', '{\"sql\": \"generate_series(1, 2)\"}'",
            ),
            (
                "42803",
                "name",
                ", 'expression', '{\"sql\": \"max(name)\"}'",
            ),
            (
                "42P20",
                "name",
                ", 'expression', '{\"sql\": \"first_value(name) OVER ()\"}'",
            ),
            (
                "42P10",
                "name",
                ", 'expression', '{\"sql\": \"ctid::text\"}'",
            ),
            (
                "42601",
                "name",
                ", 'expression', '{\"sql\": \"name; DROP TABLE x\"}'",
            ),
            (
                "42601",
                "name",
                ", 'expression', '{\"sql\": \"name FROM x\"}'",
            ),
            ("42601", "name", ", 'expression', '{\"sql\": \"*\"}'"),
            ("42703", "nope", ""),
            ("42P10", "ctid", ""),
            ("42804", "points", ", 'partial'"),
            ("42804", "points", ", 'hash'"),
            ("42804", "points", ", 'truncate'"),
            ("42804", "points", ", 'constant', '{\"value\": \"abc\"}'"),
            ("42804", "points", ", 'expression', '{\"sql\": \"name\"}'"),
            ("42804", "name", ", 'bucket'"),
            (
                "42804",
                "email",
                ", 'constant', '{\"value\": \"longer than thirty characters are\"}'",
            ),
        ] {
            assert_eq!(mask(column, rest), expected, "{column} {rest}");
        }
        all(
            "42809",
            &["SELECT agent_policy.mask_column('api_sales.v', 'name')"],
        );
        all(
            "22023",
            &["SELECT agent_policy.mask_column('pg_catalog.pg_class', 'relname')"],
        );
        all(
            "ok",
            &["SELECT agent_policy.unmask_column('api_sales.customers', 'name')"],
        );
    }

    #[pg_test]
    fn api_filters() {
        protected();
        Spi::run("SET search_path = api_sales").unwrap();
        all(
            "ok",
            &[
                "SELECT agent_policy.filter_rows('customers', 'email = agent_policy.user_email()')",
                "SELECT agent_policy.filter_rows('customers', 'id IN (SELECT id FROM v)', 'api_agent', 'sub')",
            ],
        );
        Spi::run("RESET search_path").unwrap();
        assert_eq!(
            text("SELECT string_agg(expression, '; ' ORDER BY name) FROM agent_policy.row_filters")
                .unwrap(),
            "((email)::text = agent_policy.user_email()); (id IN (SELECT v.id FROM api_sales.v))"
        );
        for (expected, predicate) in [
            ("42804", "name"),
            ("42703", "nope = 1"),
            ("42601", "true) OR (true"),
            ("42601", "true AS x"),
            ("42601", "true, true"),
            ("42601", "true LIMIT 1"),
            ("42601", "*"),
            ("42601", ""),
            ("42P10", "xmin IS NOT NULL"),
            (
                "42P10",
                "EXISTS (SELECT FROM api_sales.v WHERE customers.tableoid > 0)",
            ),
            ("42803", "count(*) > 0"),
        ] {
            let call = format!(
                "SELECT agent_policy.filter_rows('api_sales.customers', $p${predicate}$p$)"
            );
            assert_eq!(attempt(&call), expected, "{predicate}");
        }
        all(
            "42809",
            &["SELECT agent_policy.filter_rows('api_sales.v', 'true')"],
        );
        all(
            "22004",
            &["SELECT agent_policy.filter_rows('api_sales.customers', NULL)"],
        );
        Spi::run("SELECT agent_policy.remove_row_filter('api_sales.customers')").unwrap();
        assert_eq!(
            text("SELECT string_agg(name, ',') FROM agent_policy.row_filters").unwrap(),
            "sub"
        );
    }

    #[pg_test]
    fn api_mask_functions_are_total() {
        for (call, result) in [
            ("mask_truncate('infinity'::date, 'year')", Some("infinity")),
            (
                "mask_truncate('4714-11-24 BC'::timestamp, 'year')",
                Some("4714-11-24 00:00:00 BC"),
            ),
            (
                "mask_truncate('-infinity'::timestamptz, 'day')",
                Some("-infinity"),
            ),
            ("mask_truncate('2024-05-05'::date, 'nonsense')", None),
            ("mask_bucket((-2147483648)::int, 10)", Some("-2147483648")),
            ("mask_bucket(5, 0)", None),
            ("mask_bucket('NaN'::float8, 10)", Some("NaN")),
            ("mask_partial('abc', -1, 0, '*')", None),
            ("mask_partial('abc', 0, 2147483647, '*')", None),
            ("mask_partial('', 0, 4, '*')", Some("****")),
            ("mask_email('')", Some("***")),
            ("mask_scrub('')", Some("")),
            ("mask_scrub('to a@example.org')", Some("to [EMAIL]")),
            (
                "mask_scrub_json('{\"ssn\": 123456789}')",
                Some("{\"ssn\": \"[SSN]\"}"),
            ),
            ("mask_scrub_json('no json: \"')", None),
            ("mask_hash('x', 65)", None),
            ("mask_network('10.0.0.0/8', 24, 48)", Some("10.0.0.0/8")),
            ("mask_network('10.0.0.1', 33, 48)", None),
        ] {
            assert_eq!(
                text(&format!("agent_policy.{call}")).as_deref(),
                result,
                "{call}"
            );
        }
        assert_eq!(
            text(
                "SELECT bool_and(agent_policy.mask_truncate(t, u) = date_trunc(u, t))
                   FROM unnest('{decade,year,quarter,month,week,day,hour,minute}'::text[]) u,
                        (SELECT timestamp '4000-01-01 BC' + i * interval '137 days 13:11:17.77' AS t
                           FROM generate_series(0, 20000, 7) i) x"
            )
            .unwrap(),
            "true"
        );
    }

    #[pg_test]
    fn api_identity() {
        setting();
        assert_eq!(
            text("SELECT i FROM agent_policy.identity() i").unwrap(),
            "(,none,,,)"
        );
        all("22004", &["SELECT agent_policy.assert_user(NULL)"]);
        all("22023", &["SELECT agent_policy.assert_user(' ')"]);
        all(
            "ok",
            &["SELECT agent_policy.assert_user(' Bob@Example.COM ')"],
        );
        all(
            "25001",
            &["SELECT agent_policy.assert_user('eve@example.com')"],
        );
        assert_eq!(
            text("SELECT i FROM agent_policy.identity() i").unwrap(),
            "(bob@example.com,asserted,,,)"
        );
        assert_eq!(
            text("agent_policy.claim('email')").unwrap(),
            "bob@example.com"
        );
        assert_eq!(text("agent_policy.claim('region')"), None);
    }

    #[pg_test]
    fn api_privileges() {
        assert_eq!(
            text(
                "SELECT string_agg(proname, ',' ORDER BY proname) FROM pg_proc
                  WHERE pronamespace = 'agent_policy'::regnamespace
                    AND has_function_privilege('pg_monitor', oid, 'EXECUTE')
                    AND proname NOT LIKE 'mask\\_%'
                    AND proname IN (SELECT proname FROM pg_proc WHERE proname ~ '^(_|protect|release|allow|disallow|deny|reset|set_limits|require|filter|remove)')"
            ),
            None
        );
        assert_eq!(
            text(
                "SELECT string_agg(proname, ',') FROM pg_proc p
                  WHERE pronamespace = 'agent_policy'::regnamespace
                    AND has_function_privilege('agent_policy_admin', oid, 'EXECUTE')
                    AND NOT has_function_privilege('pg_monitor', oid, 'EXECUTE')
                    AND proname !~ '^(_|audit_)' AND obj_description(oid, 'pg_proc') IS NULL"
            ),
            None
        );
    }
}

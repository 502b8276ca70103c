//! What an agent may touch: relations, columns, functions, catalogs.

use cluster_tests::bench::leak;
use cluster_tests::wire::Answer;
use cluster_tests::{Bench, Case, cases};

pub const CASES: &[Case] = cases![
    nothing_is_allowed_at_first,
    allow_schema_opens_its_relations_now_and_later,
    disallow_schema_closes_it,
    one_relation,
    deny_beats_allow,
    reset_relation_takes_back_either,
    writing_needs_both_capability_and_access,
    ddl_needs_both_capability_and_access,
    a_denied_column_is_denied_everywhere,
    the_hint_of_a_denied_column_passes,
    relations_hidden_in_the_statement,
    relations_named_without_being_read,
    views_publish_what_their_owner_may_read,
    strict_views,
    builtin_functions_by_the_list,
    denied_builtins,
    other_functions_one_by_one,
    deny_function_beats_the_list,
    functions_in_schemas_without_usage,
    a_denied_function_that_was_moved,
    what_a_policy_may_not_name,
    functions_behind_other_syntax,
    an_extension_as_a_whole,
    security_definer_gets_no_further,
    trusted_functions_do,
    the_fast_path_is_gated,
    domains_of_constants_and_parameters,
    catalogs_for_introspection,
    catalogs_with_data_or_secrets,
    search_path_shadowing,
];

const DENIED_RELATION: (&str, &str) = ("42501", "relation_not_allowed");

fn nothing_is_allowed_at_first(b: &Bench) {
    b.protect();
    for sql in [
        "SELECT * FROM shop.orders",
        "TABLE shop.customers",
        "COPY shop.orders TO STDOUT",
        "SELECT * FROM vault.secrets",
    ] {
        b.denies(sql, DENIED_RELATION.0, DENIED_RELATION.1);
    }
    b.allows("SELECT 1");
}

fn allow_schema_opens_its_relations_now_and_later(b: &Bench) {
    b.allow();
    assert_eq!(b.allows("SELECT count(*) FROM shop.orders").one(), "3000");
    b.setup("CREATE TABLE shop.later (a int); GRANT SELECT ON shop.later TO @agent@");
    b.allows("SELECT * FROM shop.later");
    b.denies(
        "SELECT * FROM vault.secrets",
        DENIED_RELATION.0,
        DENIED_RELATION.1,
    );
    // The policy adds to the privileges, it does not replace them.
    b.setup("CREATE TABLE shop.ungranted (a int)");
    let error = b.agent().error("SELECT * FROM shop.ungranted");
    assert_eq!(error.code, "42501", "{error}");
}

fn disallow_schema_closes_it(b: &Bench) {
    b.allow();
    b.setup("SELECT agent_policy.disallow_schema('@agent@', 'shop')");
    b.denies(
        "SELECT * FROM shop.orders",
        DENIED_RELATION.0,
        DENIED_RELATION.1,
    );
}

fn one_relation(b: &Bench) {
    b.protect();
    b.setup("SELECT agent_policy.allow_relation('@agent@', 'shop.orders')");
    b.allows("SELECT count(*) FROM shop.orders");
    b.denies(
        "SELECT * FROM shop.orders o JOIN shop.customers c ON c.id = o.customer_id",
        DENIED_RELATION.0,
        DENIED_RELATION.1,
    );
}

fn deny_beats_allow(b: &Bench) {
    b.allow();
    b.setup("SELECT agent_policy.deny_relation('@agent@', 'shop.hidden'); SELECT agent_policy.allow_relation('@agent@', 'shop.orders')");
    let error = b.denies(
        "SELECT * FROM shop.hidden",
        DENIED_RELATION.0,
        DENIED_RELATION.1,
    );
    assert!(
        error.detail_json()["object"]
            .as_str()
            .is_some_and(|o| o.contains("shop.hidden")),
        "{error}"
    );
    // Denying a partition, or its parent, is not undone by the other's name.
    b.setup("SELECT agent_policy.deny_relation('@agent@', 'shop.events')");
    b.denies(
        "SELECT * FROM shop.events",
        DENIED_RELATION.0,
        DENIED_RELATION.1,
    );
    b.denies(
        "SELECT * FROM shop.events_2024",
        DENIED_RELATION.0,
        DENIED_RELATION.1,
    );
}

fn reset_relation_takes_back_either(b: &Bench) {
    b.allow();
    b.setup("SELECT agent_policy.deny_relation('@agent@', 'shop.orders'); SELECT agent_policy.reset_relation('@agent@', 'shop.orders')");
    b.allows("SELECT count(*) FROM shop.orders");
}

fn writing_needs_both_capability_and_access(b: &Bench) {
    b.allow();
    let insert = "INSERT INTO shop.scratch VALUES (10, 'ten')";
    b.denies(insert, "25006", "read_only");
    b.setup("SELECT agent_policy.protect_role('@agent@', 'read_write')");
    b.denies(insert, "42501", "relation_not_allowed|read_only");
    b.setup("SELECT agent_policy.allow_relation('@agent@', 'shop.scratch', 'write')");
    b.agent()
        .query("INSERT INTO shop.scratch VALUES (10, 'ten')");
    b.agent()
        .query("UPDATE shop.scratch SET v = 'x' WHERE id = 10");
    b.agent().query("MERGE INTO shop.scratch s USING (SELECT 10 AS id) n ON n.id = s.id WHEN MATCHED THEN DELETE");
    let mut agent = b.agent();
    agent.copy_in = b"20\ttwenty\n".to_vec();
    agent.query("COPY shop.scratch FROM STDIN");
    b.agent().query("DELETE FROM shop.scratch WHERE id = 20");
    b.denies(
        "DELETE FROM shop.orders",
        "42501",
        "relation_not_allowed|read_only",
    );
    for sql in [
        "TRUNCATE shop.scratch",
        "DROP TABLE shop.scratch",
        "ALTER TABLE shop.scratch ADD x int",
        "CREATE TABLE shop.n (a int)",
    ] {
        b.denies(
            sql,
            "",
            "statement_not_allowed|relation_not_allowed|read_only",
        );
    }
}

fn ddl_needs_both_capability_and_access(b: &Bench) {
    b.allow();
    b.setup("SELECT agent_policy.protect_role('@agent@', 'ddl'); SELECT agent_policy.allow_schema('@agent@', 'shop', 'write')");
    b.agent().query("CREATE TABLE shop.made (a int)");
    b.agent()
        .query("ALTER TABLE shop.made ADD b int; TRUNCATE shop.made; DROP TABLE shop.made");
    b.setup("GRANT CREATE ON SCHEMA vault TO @agent@");
    let error = b.agent().error("CREATE TABLE vault.made (a int)");
    assert_eq!(error.code, "42501", "{error}");
}

fn a_denied_column_is_denied_everywhere(b: &Bench) {
    b.allow();
    b.setup("SELECT agent_policy.deny_column('@agent@', 'shop.orders', 'amount')");
    for sql in [
        "SELECT amount FROM shop.orders",
        "SELECT * FROM shop.orders",
        "SELECT o FROM shop.orders o",
        "SELECT to_jsonb(o) FROM shop.orders o",
        "SELECT id FROM shop.orders WHERE amount > 5",
        "SELECT id FROM shop.orders ORDER BY amount",
        "SELECT sum(amount) FROM shop.orders",
        "SELECT count(*) FROM shop.orders GROUP BY amount",
        "SELECT x.c FROM shop.orders AS x(a, b, c, d, e)",
        "SELECT 1 FROM shop.orders a JOIN shop.orders b USING (amount)",
        "SELECT 1 FROM shop.orders a NATURAL JOIN shop.orders b",
        "WITH o AS (SELECT * FROM shop.orders) SELECT id FROM o",
        "COPY shop.orders TO STDOUT",
        "COPY shop.orders (amount) TO STDOUT",
        "EXPLAIN SELECT amount FROM shop.orders",
    ] {
        b.denies(sql, "42501", "column_denied");
    }
    b.allows("SELECT id, status FROM shop.orders LIMIT 1");
    b.allows("SELECT count(*) FROM shop.orders");
    b.allows("COPY shop.orders (id, status) TO STDOUT");
    b.setup("SELECT agent_policy.reset_column('@agent@', 'shop.orders', 'amount')");
    b.allows("SELECT * FROM shop.orders LIMIT 1");
}

fn the_hint_of_a_denied_column_passes(b: &Bench) {
    b.allow();
    b.setup("SELECT agent_policy.deny_column('@agent@', 'shop.orders', 'amount')");
    let error = b.denies("SELECT * FROM shop.orders", "42501", "column_denied");
    let statement = error
        .hint
        .find("SELECT")
        .map(|at| &error.hint[at..])
        .unwrap_or_else(|| panic!("no statement in the hint: {error}"));
    let statement = statement.trim_end_matches(['.', ')', '`', '"']);
    b.allows(statement);
    // Whoever writes is told what may be written.
    b.setup("SELECT agent_policy.protect_role('@agent@', 'read_write'); SELECT agent_policy.allow_relation('@agent@', 'shop.scratch', 'write'); SELECT agent_policy.deny_column('@agent@', 'shop.scratch', 'v')");
    let error = b.denies(
        "INSERT INTO shop.scratch (id, v) VALUES (1, 'x')",
        "42501",
        "column_denied",
    );
    assert_eq!(error.hint, "The statement may name: id.", "{error}");
}

fn relations_hidden_in_the_statement(b: &Bench) {
    b.allow();
    for sql in [
        "SELECT (SELECT token FROM vault.secrets)",
        "SELECT 1 WHERE EXISTS (SELECT 1 FROM vault.secrets)",
        "WITH x AS (SELECT * FROM vault.secrets) SELECT 1",
        "WITH x AS MATERIALIZED (SELECT * FROM vault.secrets) SELECT count(*) FROM x",
        "SELECT id FROM shop.orders UNION ALL SELECT id FROM vault.secrets",
        "SELECT * FROM shop.orders o, LATERAL (SELECT * FROM vault.secrets) s",
        "SELECT * FROM shop.orders ORDER BY (SELECT id FROM vault.secrets)",
        "SELECT * FROM shop.orders LIMIT (SELECT id FROM vault.secrets)",
        "SELECT 1 WHERE false AND EXISTS (SELECT 1 FROM vault.secrets)",
        "SELECT 1 FROM vault.secrets WHERE false",
        "COPY (SELECT * FROM vault.secrets) TO STDOUT",
        "COPY vault.secrets TO STDOUT",
        "EXPLAIN SELECT * FROM vault.secrets",
        "EXPLAIN ANALYZE SELECT * FROM vault.secrets",
        "DECLARE c CURSOR WITH HOLD FOR SELECT * FROM vault.secrets",
        "PREPARE p AS SELECT * FROM vault.secrets",
        "TABLE vault.secrets",
        "VALUES ((SELECT token FROM vault.secrets))",
    ] {
        let answer = b.agent().simple(sql);
        let error = answer.err();
        assert_eq!(error.code, "42501", "{sql}: {error}");
    }
}

fn relations_named_without_being_read(b: &Bench) {
    b.allow();
    // Parse and Describe alone give the column names: they are judged too.
    let mut agent = b.agent();
    let answer = agent
        .parse("", "SELECT * FROM vault.secrets")
        .describe(b'S', "")
        .sync();
    assert_eq!(answer.err().code, "42501", "Parse and Describe");
    assert!(!answer.shows("token"));
}

fn views_publish_what_their_owner_may_read(b: &Bench) {
    b.allow();
    assert!(
        b.allows("SELECT token FROM shop.vault_view")
            .shows("QUAGGA vault"),
        "a view of an allowed schema publishes"
    );
    b.denies(
        "SELECT token FROM shop.vault_invoker",
        DENIED_RELATION.0,
        DENIED_RELATION.1,
    );
    b.setup("SELECT agent_policy.mask_column('vault.secrets', 'token')");
    b.masks("SELECT token FROM shop.vault_view");
}

fn strict_views(b: &Bench) {
    b.allow();
    b.setup("SELECT agent_policy.set_strict_views('@agent@', true)");
    b.denies(
        "SELECT token FROM shop.vault_view",
        DENIED_RELATION.0,
        DENIED_RELATION.1,
    );
    b.allows("SELECT name FROM shop.customer_list LIMIT 1");
    b.setup("SELECT agent_policy.set_strict_views('@agent@', false)");
    b.allows("SELECT id FROM shop.vault_view");
}

fn builtin_functions_by_the_list(b: &Bench) {
    b.allow();
    b.allows(
        "SELECT lower('A'), upper('a'), length('x'), substr('abc', 2), coalesce(NULL, 1), now(), current_date, date_trunc('day', now()),
                extract(year FROM now()), to_char(now(), 'YYYY'), random() >= 0, clock_timestamp() > now(), gen_random_uuid() IS NOT NULL,
                round(1.5), abs(-1), greatest(1, 2), regexp_replace('a', 'a', 'b'), string_to_array('a,b', ','), array_length(ARRAY[1], 1),
                jsonb_build_object('a', 1), '{\"a\":1}'::jsonb -> 'a', md5('x'), format('%s', 1), 'a' || 'b', 'a' ~ 'b', age(now()),
                current_user, current_database(), version(), pg_typeof(1), generate_series(1, 2), row_number() OVER ()",
    );
    b.allows("SELECT status, count(*), sum(amount), avg(amount), min(id), max(id), stddev(amount), percentile_cont(0.5) WITHIN GROUP (ORDER BY amount), string_agg(status, ','), array_agg(id), jsonb_agg(id), bool_and(true), mode() WITHIN GROUP (ORDER BY status) FROM shop.orders GROUP BY status");
}

fn denied_builtins(b: &Bench) {
    b.allow();
    b.setup("GRANT pg_monitor, pg_signal_backend TO @agent@");
    for call in [
        "pg_read_file('/etc/passwd')",
        "pg_ls_dir('/')",
        "pg_sleep(0)",
        "pg_advisory_lock(1)",
        "pg_notify('a', 'b')",
        "lo_create(0)",
        "nextval('shop.counter')",
        "setval('shop.counter', 5)",
        "table_to_xml('vault.secrets', true, false, '')",
        "query_to_xml('SELECT * FROM vault.secrets', true, false, '')",
        "database_to_xml(true, false, '')",
        "schema_to_xml('vault', true, false, '')",
        "cursor_to_xml('c', 1, true, false, '')",
        "ts_stat('SELECT to_tsvector(token) FROM vault.secrets')",
        "pg_cancel_backend(1)",
        "pg_terminate_backend(1)",
        "pg_logical_emit_message(true, 'a', 'b')",
        "pg_reload_conf()",
        "pg_stat_reset()",
        "pg_export_snapshot()",
        "txid_current()",
        "pg_current_xact_id()",
        "set_config('session_replication_role', 'replica', false)",
        "pg_stat_get_activity(NULL)",
        "pg_get_publication_tables('p')",
        "currtid2('shop.orders', '(0,1)')",
        "pg_create_logical_replication_slot('s', 'pgoutput')",
    ] {
        let answer = b.agent().simple(&format!("SELECT {call}"));
        let error = answer.err();
        assert!(
            ["42501", "25006"].contains(&error.code.as_str()),
            "{call}: {error}"
        );
        assert!(
            error.detail_json().is_object(),
            "{call}: refused by the server, not by the policy: {error}"
        );
    }
    b.denies("SELECT pg_sleep(0)", "42501", "function_not_allowed");
}

fn other_functions_one_by_one(b: &Bench) {
    b.allow();
    b.denies("SELECT shop.plus_one(1)", "42501", "function_not_allowed");
    b.setup("SELECT agent_policy.allow_function('@agent@', 'shop.plus_one(int)')");
    assert_eq!(b.allows("SELECT shop.plus_one(1)").one(), "2");
    b.denies("SELECT shop.loud('a')", "42501", "function_not_allowed");
    b.setup("SELECT agent_policy.reset_function('@agent@', 'shop.plus_one(int)')");
    b.denies("SELECT shop.plus_one(1)", "42501", "function_not_allowed");
}

fn deny_function_beats_the_list(b: &Bench) {
    b.allow();
    b.setup("SELECT agent_policy.deny_function('@agent@', 'pg_catalog.md5(text)')");
    b.denies("SELECT md5('x')", "42501", "function_not_allowed");
    b.setup("SELECT agent_policy.reset_function('@agent@', 'pg_catalog.md5(text)')");
    b.allows("SELECT md5('x')");
}

/// The policy's look-up of a function asks for no right of the agent's.
fn functions_in_schemas_without_usage(b: &Bench) {
    b.allow();
    let mut agent = b.agent();
    agent.query("SELECT 1");
    b.setup(
        "CREATE SCHEMA fx;
         CREATE FUNCTION fx.f() RETURNS int LANGUAGE sql AS 'SELECT 1';
         CREATE FUNCTION fx.g() RETURNS int LANGUAGE sql AS 'SELECT 1';
         SELECT agent_policy.allow_function('@agent@', 'fx.f()');
         SELECT agent_policy.deny_function('@agent@', 'fx.g()')",
    );
    assert_eq!(agent.query("SELECT 1").one(), "1");
    b.allows("SELECT 1");
    for call in ["fx.f()", "fx.g()"] {
        let sql = format!("SELECT {call}");
        assert_eq!(b.agent().error(&sql).code, "42501", "{call}");
        assert_eq!(agent.error(&sql).code, "42501", "{call}");
    }
    assert_eq!(agent.query("SELECT 1").one(), "1");
    b.setup("GRANT USAGE ON SCHEMA fx TO @agent@");
    assert_eq!(b.allows("SELECT fx.f()").one(), "1");
    b.denies("SELECT fx.g()", "42501", "function_not_allowed");
}

/// Where it is now nobody has denied it: the name is what is left.
fn a_denied_function_that_was_moved(b: &Bench) {
    b.allow();
    b.setup(
        "CREATE SCHEMA fx; GRANT USAGE ON SCHEMA fx TO @agent@;
         CREATE FUNCTION fx.f(int) RETURNS int LANGUAGE sql AS 'SELECT $1';
         CREATE FUNCTION fx.\"g (\"(int) RETURNS int LANGUAGE sql AS 'SELECT $1';
         SELECT agent_policy.deny_function('@agent@', 'fx.f(int)');
         SELECT agent_policy.deny_function('@agent@', 'fx.\"g (\"(int)')",
    );
    b.setup("ALTER SCHEMA fx RENAME TO fy");
    b.setup("SELECT agent_policy.allow_function('@agent@', f::regprocedure) FROM unnest(ARRAY['fy.f(int)', 'fy.\"g (\"(int)']) f");
    for call in ["fy.f(1)", "fy.\"g (\"(1)"] {
        b.denies(&format!("SELECT {call}"), "42501", "function_not_allowed");
    }
    b.setup("CREATE SCHEMA fz; GRANT USAGE ON SCHEMA fz TO @agent@; ALTER FUNCTION fy.f(int) SET SCHEMA fz; SELECT agent_policy.allow_function('@agent@', 'fz.f(int)')");
    b.denies("SELECT fz.f(1)", "42501", "function_not_allowed");
    b.setup("SELECT agent_policy.reset_function('@agent@', 'fz.f(int)'); SELECT agent_policy.allow_function('@agent@', 'fz.f(int)')");
    assert_eq!(b.allows("SELECT fz.f(1)").one(), "1");
    if b.value("SELECT count(*) FROM pg_available_extensions WHERE name = 'pg_trgm'") == "0" {
        return;
    }
    b.setup(
        "CREATE EXTENSION pg_trgm SCHEMA public;
         SELECT agent_policy.allow_extension('@agent@', 'pg_trgm');
         SELECT agent_policy.deny_function('@agent@', 'public.similarity(text, text)');
         CREATE SCHEMA ext; GRANT USAGE ON SCHEMA ext TO @agent@;
         ALTER EXTENSION pg_trgm SET SCHEMA ext",
    );
    b.denies(
        "SELECT ext.similarity('a', 'b')",
        "42501",
        "function_not_allowed",
    );
    b.allows("SELECT ext.word_similarity('a', 'b')");
}

fn what_a_policy_may_not_name(b: &Bench) {
    b.allow();
    for call in [
        "deny_relation('@agent@', 'pg_catalog.pg_class')",
        "deny_column('@agent@', 'pg_catalog.pg_class', 'relname')",
        "deny_function('@agent@', 'agent_policy.user_email()')",
    ] {
        let error = b.setup_error(&format!("SELECT agent_policy.{call}"));
        assert_eq!(error.code, "22023", "{call}: {error}");
        assert!(!error.hint.is_empty(), "{call}: {error}");
    }
}

fn functions_behind_other_syntax(b: &Bench) {
    b.setup(
        "SET ROLE shop_owner;
         CREATE OPERATOR shop.!~~! (procedure = shop.loud, rightarg = text);
         CREATE DOMAIN shop.checked AS text CHECK (shop.loud(value));
         CREATE TYPE shop.box AS (t text);
         CREATE FUNCTION shop.to_box(text) RETURNS shop.box LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'QUAGGA %', $1; RETURN ROW($1); END $$;
         CREATE CAST (text AS shop.box) WITH FUNCTION shop.to_box(text);
         CREATE FUNCTION shop.step(text, text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'QUAGGA %', $2; RETURN $2; END $$;
         CREATE AGGREGATE shop.agg(text) (sfunc = shop.step, stype = text);
         RESET ROLE",
    );
    b.allow();
    for sql in [
        "SELECT OPERATOR(shop.!~~!) name FROM shop.customers LIMIT 1",
        "SELECT name::shop.checked FROM shop.customers LIMIT 1",
        "SELECT '{x}'::shop.checked[]",
        "SELECT name::shop.box FROM shop.customers LIMIT 1",
        "SELECT shop.agg(name) FROM shop.customers",
        "SELECT * FROM shop.all_customers()",
        "SELECT * FROM ROWS FROM (shop.all_customers(), generate_series(1, 2))",
        "SELECT 1 FROM shop.customers WHERE shop.loud(name)",
        "SELECT 1 FROM shop.customers ORDER BY shop.loud(name)",
        "SELECT CASE WHEN false THEN shop.loud('x') END",
        "EXECUTE nothing(shop.loud('x'))",
    ] {
        let mut agent = b.agent();
        if sql.starts_with("EXECUTE") {
            agent.query("PREPARE nothing(bool) AS SELECT $1");
        }
        let answer = agent.simple(sql);
        let error = answer.err();
        assert_eq!(
            (error.code.as_str(), error.rule().as_str()),
            ("42501", "function_not_allowed"),
            "{sql}: {error}"
        );
        assert!(
            !answer.shows("loud: ") && !answer.shows("QUAGGA"),
            "{sql} ran before it was refused"
        );
    }
}

fn an_extension_as_a_whole(b: &Bench) {
    if b.value("SELECT count(*) FROM pg_available_extensions WHERE name = 'pg_trgm'") == "0" {
        return;
    }
    b.setup("CREATE EXTENSION pg_trgm SCHEMA public");
    b.allow();
    b.denies(
        "SELECT public.similarity('a', 'b')",
        "42501",
        "function_not_allowed",
    );
    b.setup("SELECT agent_policy.allow_extension('@agent@', 'pg_trgm')");
    b.allows("SELECT public.similarity('a', 'b')");
    b.allows("SELECT 1 FROM shop.customers WHERE name OPERATOR(public.%) 'Customer'");
}

fn security_definer_gets_no_further(b: &Bench) {
    b.mask();
    b.setup("SELECT agent_policy.allow_function('@agent@', f::regprocedure) FROM unnest(ARRAY['shop.secdef_email(int)', 'shop.secdef_vault()', 'shop.run(text)']) f");
    b.masks("SELECT shop.secdef_email(1)");
    for sql in [
        "SELECT shop.secdef_vault()",
        "SELECT shop.run('SELECT token FROM vault.secrets')",
    ] {
        b.denies(sql, DENIED_RELATION.0, DENIED_RELATION.1);
    }
    b.denies(
        "SELECT shop.run('DELETE FROM shop.scratch RETURNING v')",
        "25006",
        "read_only",
    );
}

fn trusted_functions_do(b: &Bench) {
    b.mask();
    b.setup(
        "SELECT agent_policy.allow_function('@agent@', 'shop.secdef_vault()', trusted => true)",
    );
    assert_eq!(b.allows("SELECT shop.secdef_vault()").one(), "QUAGGA vault");
    b.denies(
        "SELECT token FROM vault.secrets",
        DENIED_RELATION.0,
        DENIED_RELATION.1,
    );
}

fn the_fast_path_is_gated(b: &Bench) {
    b.mask();
    let oid = |f: &str| {
        b.value(&format!("SELECT '{f}'::regprocedure::oid"))
            .parse::<u32>()
            .expect("an OID")
    };
    let get_email = oid("shop.get_email(int)");
    let mut plain = b.unconfined();
    assert!(
        leak(&plain.fastpath(get_email, &["1"]).bytes).is_some(),
        "control run"
    );
    let answer = b.agent().fastpath(get_email, &["1"]);
    assert!(
        !answer.errors.is_empty() && leak(&answer.bytes).is_none(),
        "fast path to a user function"
    );
    let answer = b
        .agent()
        .fastpath(oid("pg_catalog.pg_notify(text,text)"), &["a", "b"]);
    assert!(!answer.errors.is_empty(), "fast path to a built-in");
    // Behind other messages, too, of which one was in error.
    let mut agent = b.agent();
    for before in ["SELECT 1", "SELECT nothing", "SELECT 1 / 0", ""] {
        agent.simple(before);
        let denied = |answer: Answer| {
            let error = answer.err();
            assert_eq!(error.rule(), "statement_not_allowed", "{before}: {error}");
        };
        denied(agent.fastpath(get_email, &["1"]));
        agent.extended(before, &[]);
        denied(agent.fastpath(get_email, &["1"]));
    }
    agent.parse("", "SELECT 1").bind("", "", &[], false);
    let error = agent.fastpath(get_email, &["1"]).err();
    assert_eq!(error.rule(), "statement_not_allowed", "{error}");
}

/// Constants are read while the statement is analyzed, parameters with the message Bind: no fast path either of them.
fn domains_of_constants_and_parameters(b: &Bench) {
    b.setup(
        "CREATE DOMAIN shop.positive AS int CHECK (value > 0);
         CREATE DOMAIN shop.pair AS int[] CHECK (array_length(value, 1) = 2);
         CREATE TYPE shop.two AS (a shop.positive, b shop.pair)",
    );
    b.allow();
    for (value, of) in [
        ("{1}", "positive[]"),
        ("{1,2}", "pair"),
        ("(1,\"{1,2}\")", "two"),
        ("7", "positive"),
    ] {
        let constant = format!("SELECT '{value}'::shop.{of}");
        assert_eq!(b.allows(&constant).column(), [value], "{constant}");
        let parameter = format!("SELECT $1::shop.{of}");
        let answer = b.agent().extended(&parameter, &[Some(value)]);
        assert_eq!(answer.ok().column(), [value], "{parameter}");
    }
    let mut agent = b.agent();
    for sql in [
        "SELECT '{0}'::shop.positive[]",
        "SELECT '{1,2,3}'::shop.pair",
    ] {
        assert_eq!(agent.error(sql).code, "23514", "{sql}");
    }
}

fn catalogs_for_introspection(b: &Bench) {
    b.allow();
    for relation in [
        "pg_attribute",
        "pg_namespace",
        "pg_class",
        "pg_type",
        "pg_constraint",
        "pg_index",
        "pg_attrdef",
        "pg_am",
        "pg_description",
        "pg_collation",
        "pg_enum",
        "pg_extension",
        "pg_inherits",
        "pg_opclass",
        "pg_proc",
        "pg_roles",
        "pg_sequence",
        "pg_settings",
        "pg_tablespace",
        "pg_trigger",
        "pg_database",
        "pg_depend",
        "pg_range",
        "pg_policy",
        "pg_rewrite",
        "pg_stat_activity",
        "pg_stat_user_tables",
        "pg_statio_user_tables",
        "pg_stats",
        "pg_tables",
        "pg_views",
        "pg_indexes",
        "information_schema.columns",
        "information_schema.tables",
        "information_schema.schemata",
        "information_schema.table_constraints",
        "information_schema.key_column_usage",
        "information_schema.routines",
    ] {
        let answer = b.agent().simple(&format!("SELECT * FROM {relation}"));
        if let Some(error) = answer.errors.first() {
            panic!("{relation}: {error}");
        }
    }
    assert!(
        b.allows("SELECT table_name FROM information_schema.tables WHERE table_schema = 'shop'")
            .shows("orders")
    );
}

fn catalogs_with_data_or_secrets(b: &Bench) {
    b.mask();
    b.setup("GRANT pg_read_all_data, pg_read_all_stats TO @agent@; GRANT SELECT ON pg_authid, pg_statistic, pg_largeobject, pg_user_mapping, pg_shadow TO @agent@");
    b.setup("SELECT lo_from_bytea(4242, 'QUAGGA large')");
    for relation in [
        "pg_authid",
        "pg_shadow",
        "pg_statistic",
        "pg_largeobject",
        "pg_user_mapping",
        "pg_statistic_ext_data",
        "pg_hba_file_rules",
    ] {
        let answer = b.agent().simple(&format!("SELECT * FROM {relation}"));
        assert!(!answer.errors.is_empty(), "{relation} can be read");
        assert_eq!(leak(&answer.bytes), None, "{relation}");
    }
    b.hides("SELECT * FROM pg_stats WHERE schemaname = 'shop'");
    // Another session's query text.
    let mut other = b.unconfined();
    other.query("SELECT 'QUAGGA in another session'");
    let answer = b.agent().simple("SELECT query || '' FROM pg_stat_activity");
    assert!(
        !answer.shows("QUAGGA in another"),
        "pg_stat_activity shows another session's text"
    );
    b.setup("REVOKE pg_read_all_data, pg_read_all_stats FROM @agent@");
}

fn search_path_shadowing(b: &Bench) {
    b.allow();
    b.setup("CREATE SCHEMA evil; CREATE FUNCTION evil.lower(text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'QUAGGA ran'; RETURN $1; END $$;
             GRANT USAGE ON SCHEMA evil TO @agent@");
    let answer = b.agent().simple("SET search_path = evil, pg_catalog; ");
    assert!(
        answer.errors.is_empty(),
        "search_path may be set: {:?}",
        answer.errors
    );
    let mut agent = b.agent();
    agent.query("SET search_path = evil, pg_catalog");
    let answer = agent.simple("SELECT lower('A')");
    assert!(
        !answer.shows("QUAGGA ran"),
        "a function of the same name elsewhere ran"
    );
}

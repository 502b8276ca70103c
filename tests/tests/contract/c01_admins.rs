//! What members of agent_policy_admin may, and what their texts may not.

use cluster_tests::{Bench, Case, cases};

pub const CASES: &[Case] = cases![
    an_admins_text_never_runs_as_a_superuser,
    a_superusers_label_runs_as_the_tables_owner,
    only_what_was_checked_is_stored,
    an_admins_harmless_policy_works,
    a_policy_whose_definer_is_gone_closes_its_table,
    check_is_for_those_who_may_act_as_the_role,
];

/// An admin that is no superuser, with a schema whose types run its code wherever a literal of them is
/// parsed. Role and schema have the name of @plain@.
fn scheming_admin(b: &Bench) {
    b.allow();
    b.setup("GRANT agent_policy_admin TO @plain@; CREATE SCHEMA @plain@ AUTHORIZATION @plain@");
    b.unconfined().query(&b.fill(
        "CREATE FUNCTION @plain@.chk(i int) RETURNS boolean LANGUAGE plpgsql AS $$
         BEGIN
             IF (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
                 ALTER ROLE @plain@ SUPERUSER;
             END IF;
             RETURN true;
         END $$;
         CREATE DOMAIN @plain@.dom AS int CHECK (@plain@.chk(value));
         CREATE TYPE @plain@.comp AS (a @plain@.dom);
         CREATE TABLE @plain@.own (a int, many @plain@.dom[], pair @plain@.comp, word @plain@.dom[]);
         INSERT INTO @plain@.own VALUES (1, '{1}', '(1)', '{1}');
         GRANT USAGE ON SCHEMA @plain@ TO @agent@; GRANT SELECT ON @plain@.own TO @agent@;
         SELECT agent_policy.allow_schema('@agent@', '@plain@')",
    ));
}

/// Has the admin become a superuser? Afterwards it is none.
fn escalated(b: &Bench) -> bool {
    let escalated = b.value("SELECT rolsuper FROM pg_roles WHERE rolname = '@plain@'") == "t";
    b.setup("ALTER ROLE @plain@ NOSUPERUSER");
    escalated
}

fn no_longer_admin(b: &Bench) {
    b.setup("REVOKE agent_policy_admin FROM @plain@");
}

/// What sets a policy whose text runs `chk` when it is parsed, and what takes it back.
const PARSED: &[(&str, &str)] = &[
    (
        "SELECT agent_policy.filter_rows('@plain@.own', $$ '(5)'::@plain@.comp IS NOT NULL $$)",
        "SELECT agent_policy.remove_row_filter('@plain@.own')",
    ),
    (
        "SELECT agent_policy.mask_column('@plain@.own', 'many', 'constant', '{\"value\": \"{5}\"}')",
        "SELECT agent_policy.unmask_column('@plain@.own', 'many')",
    ),
    (
        "SELECT agent_policy.mask_column('@plain@.own', 'pair', 'constant', '{\"value\": \"(5)\"}')",
        "SELECT agent_policy.unmask_column('@plain@.own', 'pair')",
    ),
    (
        "SELECT agent_policy.mask_column('@plain@.own', 'a', 'expression', '{\"sql\": \"CASE WHEN ''(5)''::@plain@.comp IS NULL THEN 1 ELSE 2 END\"}')",
        "SELECT agent_policy.unmask_column('@plain@.own', 'a')",
    ),
    (
        "SECURITY LABEL FOR agent_policy ON COLUMN @plain@.own.word IS 'word';
         SELECT agent_policy.mask_label('word', 'constant', '{\"value\": \"{5}\"}')",
        "SECURITY LABEL FOR agent_policy ON COLUMN @plain@.own.word IS NULL;
         SELECT agent_policy.unmask_label('word')",
    ),
    (
        "SELECT agent_policy.mask_label('word', 'constant', '{\"value\": \"{5}\"}');
         SECURITY LABEL FOR agent_policy ON COLUMN @plain@.own.word IS 'word'",
        "SECURITY LABEL FOR agent_policy ON COLUMN @plain@.own.word IS NULL;
         SELECT agent_policy.unmask_label('word')",
    ),
];

fn an_admins_text_never_runs_as_a_superuser(b: &Bench) {
    scheming_admin(b);
    for (set, take_back) in PARSED {
        b.unconfined().query(&b.fill(set));
        assert!(!escalated(b), "when it is set: {set}");
        let shown = b.allows("SELECT * FROM @plain@.own").rows.len();
        assert_eq!(shown, 1, "{set}");
        b.allows("EXPLAIN SELECT * FROM @plain@.own");
        assert!(!escalated(b), "in the agent's session: {set}");
        b.setup("SELECT * FROM agent_policy.check('@agent@', 'SELECT * FROM @plain@.own')");
        b.setup("SELECT agent_policy.preview('@agent@', 'alice@example.com', 'SELECT * FROM @plain@.own')");
        assert!(!escalated(b), "in a superuser's trial: {set}");
        b.unconfined().query(&b.fill(take_back));
    }
    // Called by others on the way, it is still the admin's text.
    b.unconfined().query(&b.fill(
        "CREATE FUNCTION @plain@.set_it() RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $f$
         BEGIN PERFORM agent_policy.filter_rows('@plain@.own', $$ '(5)'::@plain@.comp IS NOT NULL $$); END $f$",
    ));
    b.setup("SELECT @plain@.set_it()");
    assert!(!escalated(b), "through a SECURITY DEFINER function");
    assert_eq!(
        b.value(
            "SELECT definer FROM agent_policy.row_filters WHERE relation = '@plain@.own'::regclass"
        ),
        b.plain
    );
    b.allows("SELECT * FROM @plain@.own");
    assert!(!escalated(b));
    b.setup("SELECT agent_policy.remove_row_filter('@plain@.own')");
    // The control: what a superuser sets, a superuser parses.
    for (set, take_back) in PARSED {
        b.setup(set);
        assert!(escalated(b), "as superuser: {set}");
        b.setup(take_back);
    }
    no_longer_admin(b);
}

/// The types of a column are its owner's choice, who may change what they run.
fn a_superusers_label_runs_as_the_tables_owner(b: &Bench) {
    scheming_admin(b);
    b.setup("SELECT agent_policy.mask_label('word', 'constant', '{\"value\": \"{5}\"}')");
    b.unconfined()
        .query(&b.fill("SECURITY LABEL FOR agent_policy ON COLUMN @plain@.own.word IS 'word'"));
    assert!(!escalated(b), "when the column is labelled");
    let shown = b.allows("SELECT word FROM @plain@.own").one();
    assert_eq!(shown, "{5}");
    assert!(!escalated(b), "in the agent's session");
    b.setup("SELECT agent_policy.mask_column('@plain@.own', 'many', 'constant', '{\"value\": \"{6}\"}')");
    assert!(escalated(b), "as superuser");
    let shown = b.allows("SELECT many FROM @plain@.own").one();
    assert_eq!(shown, "{6}");
    assert!(!escalated(b), "in the agent's session");
    no_longer_admin(b);
}

fn only_what_was_checked_is_stored(b: &Bench) {
    scheming_admin(b);
    let mut admin = b.unconfined();
    for sql in [
        "SELECT agent_policy._store_filter('@plain@.own', 'true', NULL, 'default', 'true')",
        "SELECT agent_policy._store_mask('@plain@.own', 'a', 'redact', '{}', NULL, 'a')",
        "SELECT agent_policy._store_mask('@plain@.own', 'a', 'none', '{}', NULL, NULL)",
        "SELECT agent_policy._store_label('word', 'redact', '{}', NULL)",
        // Checked as another mask, or for another column.
        "SELECT agent_policy._mask_expression('@plain@.own'::regclass, 'a', 'expression', '{\"sql\": \"7\"}', NULL);
         SELECT agent_policy._store_mask('@plain@.own', 'a', 'redact', '{}', NULL, '7')",
        "SELECT agent_policy._mask_expression('@plain@.own'::regclass, 'a', 'null', '{}', NULL);
         SELECT agent_policy._store_mask('@plain@.own', 'many', 'null', '{}', NULL, 'NULL::integer')",
    ] {
        let error = admin.error(&b.fill(sql));
        assert!(
            error.code == "42501" && !error.hint.is_empty(),
            "{sql}: {error}"
        );
    }
    assert_eq!(b.value("SELECT count(*) FROM agent_policy.masks"), "0");
    no_longer_admin(b);
}

fn an_admins_harmless_policy_works(b: &Bench) {
    b.allow();
    b.setup(
        "GRANT agent_policy_admin TO @plain@; CREATE SCHEMA @plain@ AUTHORIZATION @plain@;
         CREATE SCHEMA @plain@_tools AUTHORIZATION @plain@",
    );
    let mut admin = b.unconfined();
    admin.query(&b.fill(
        "CREATE FUNCTION @plain@_tools.small(i int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS
             $$ BEGIN RETURN i < 100; END $$;
         CREATE FUNCTION @plain@_tools.veil(t text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT left(t, 1) || '~' $$;
         CREATE DOMAIN @plain@_tools.small_int AS int CHECK (@plain@_tools.small(value));
         CREATE TABLE @plain@.own (id int, name text, marks @plain@_tools.small_int[], others @plain@_tools.small_int[]);
         INSERT INTO @plain@.own VALUES (1, 'QUAGGA one', '{1,2}', '{3}'), (2, 'QUAGGA two', '{3}', '{4}');
         CREATE TABLE @plain@_tools.shown (id int); INSERT INTO @plain@_tools.shown VALUES (2);
         GRANT USAGE ON SCHEMA @plain@ TO @agent@; GRANT SELECT ON @plain@.own TO @agent@;
         SELECT agent_policy.allow_schema('@agent@', '@plain@');
         SELECT agent_policy.mask_column('@plain@.own', 'marks', 'constant', '{\"value\": \"{7,8}\"}');
         SELECT agent_policy.mask_column('@plain@.own', 'name', 'expression', '{\"sql\": \"@plain@_tools.veil(name)\"}');
         SELECT agent_policy.mask_label('@plain@', 'constant', '{\"value\": \"{9}\"}');
         SECURITY LABEL FOR agent_policy ON COLUMN @plain@.own.others IS '@plain@';
         SELECT agent_policy.filter_rows('@plain@.own', 'id IN (SELECT s.id FROM @plain@_tools.shown s)')",
    ));
    let definers = b.setup(
        "SELECT DISTINCT definer::text FROM agent_policy.policy_mask UNION SELECT definer::text FROM agent_policy.policy_label
         UNION SELECT definer::text FROM agent_policy.row_filters",
    );
    assert_eq!(definers.column(), [b.plain.as_str()]);
    // The agent has no USAGE on the schema of the function, the type and the other table.
    let answer = b.allows("SELECT id, name, marks, others FROM @plain@.own");
    assert_eq!(answer.texts(), [["2", "Q~", "{7,8}", "{9}"]]);
    // What does not fit the domain is refused when it is set.
    for call in [
        "mask_column('@plain@.own', 'marks', 'constant', '{\"value\": \"{700}\"}')",
        "mask_label('@plain@', 'constant', '{\"value\": \"{700}\"}')",
    ] {
        let error = admin.error(&b.fill(&format!("SELECT agent_policy.{call}")));
        assert!(
            ["42804", "23514"].contains(&error.code.as_str()),
            "{call}: {error}"
        );
    }
    // What the admin may not name it cannot use, on a table that it may mask.
    b.setup(
        "CREATE SCHEMA @plain@_closed; CREATE TYPE @plain@_closed.mood AS ENUM ('fine');
         CREATE FUNCTION @plain@_closed.veil(text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT '~' $$",
    );
    for call in [
        "mask_column('shop.customers', 'name', 'expression', '{\"sql\": \"@plain@_closed.veil(name)\"}')",
        "filter_rows('shop.customers', $$ 'fine'::@plain@_closed.mood IS NOT NULL $$)",
        "filter_rows('shop.customers', 'id IN (SELECT 1 FROM agent_policy.policy_role)')",
    ] {
        let error = admin.error(&b.fill(&format!("SELECT agent_policy.{call}")));
        assert!(
            error.code == "42501" && !error.hint.is_empty(),
            "{call}: {error}"
        );
    }
    // A superuser's names are a superuser's, on anybody's table.
    b.setup("SELECT agent_policy.mask_column('@plain@.own', 'name', 'expression', '{\"sql\": \"@plain@_closed.veil(name)\"}')");
    assert_eq!(b.allows("SELECT name FROM @plain@.own").one(), "~");
    no_longer_admin(b);
}

fn a_policy_whose_definer_is_gone_closes_its_table(b: &Bench) {
    b.allow();
    let closed = || {
        b.denies(
            "SELECT id, name FROM shop.customers WHERE id = 1",
            "42501",
            "policy_unavailable",
        );
    };
    for set in [
        "mask_column('shop.customers', 'name')",
        "mask_column('shop.customers', 'name', 'expression', '{\"sql\": \"shop.plus_one(id)::text\"}')",
        "filter_rows('shop.customers', 'shop.plus_one(id) = 2')",
        "mask_label('@plain@', 'redact')",
    ] {
        b.setup(
            "CREATE ROLE @plain@_gone IN ROLE agent_policy_admin; GRANT USAGE ON SCHEMA shop TO @plain@_gone;
             SECURITY LABEL FOR agent_policy ON COLUMN shop.customers.name IS '@plain@'",
        );
        b.setup("SET ROLE @plain@_gone");
        b.setup(&format!("SELECT agent_policy.{set}"));
        b.setup("RESET ROLE");
        b.allows("SELECT id, name FROM shop.customers WHERE id = 1");
        if set.contains("plus_one") {
            b.setup("REVOKE USAGE ON SCHEMA shop FROM @plain@_gone");
            closed();
            b.setup("GRANT USAGE ON SCHEMA shop TO @plain@_gone");
            b.allows("SELECT id, name FROM shop.customers WHERE id = 1");
        }
        b.setup("DROP OWNED BY @plain@_gone; DROP ROLE @plain@_gone");
        closed();
        b.setup(
            "DELETE FROM agent_policy.policy_mask; DELETE FROM agent_policy.policy_filter;
             DELETE FROM agent_policy.policy_label",
        );
        b.allows("SELECT id, name FROM shop.customers WHERE id = 1");
    }
}

fn check_is_for_those_who_may_act_as_the_role(b: &Bench) {
    b.allow();
    b.setup("GRANT agent_policy_admin TO @plain@");
    let sql = b.fill("SELECT verdict FROM agent_policy.check('@agent@', 'SELECT 1')");
    let error = b.unconfined().error(&sql);
    assert!(error.code == "42501" && !error.hint.is_empty(), "{error}");
    // Planning folds functions: with the role's rights, of whom it may not ask for them.
    b.setup("CREATE TABLE vault.fold (id int); INSERT INTO vault.fold VALUES (41); GRANT SELECT ON vault.fold TO @agent@");
    let mut admin = b.unconfined();
    admin.query(&b.fill(
        "CREATE FUNCTION shop.fold() RETURNS int LANGUAGE plpgsql IMMUTABLE AS
             $$ BEGIN RAISE NOTICE 'folded as %', current_user; RETURN (SELECT id FROM vault.fold); END $$;
         SELECT agent_policy.allow_function('@agent@', 'shop.fold()', true)",
    ));
    let fold = b.fill("SELECT verdict FROM agent_policy.check('@agent@', 'SELECT shop.fold()')");
    let answer = admin.simple(&fold);
    assert_eq!(answer.code(), "42501");
    assert!(!answer.shows("folded as"));
    // A superuser may, and so may who can become the role.
    assert_eq!(b.value(&sql), "allowed");
    no_longer_admin(b);
    b.setup(
        "ALTER ROLE @plain@ NOINHERIT; GRANT @agent@ TO @plain@;
         GRANT EXECUTE ON FUNCTION agent_policy.check(regrole, text, text) TO @plain@",
    );
    assert_eq!(b.unconfined().query(&sql).one(), "allowed");
}

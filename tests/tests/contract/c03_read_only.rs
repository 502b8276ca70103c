//! Read-only at every door, and the transaction is not the lock.

use cluster_tests::{Bench, Case, cases};

pub const CASES: &[Case] = cases![
    plain_dml,
    dml_inside_select,
    transactions_are_not_the_lock,
    several_statements_in_one_query,
    utility_statements,
    row_locks,
    functions_that_write,
    prepared_and_portals,
    explain_analyze_does_not_execute_writes,
    copy_in_and_server_files,
    sequences_and_large_objects,
    do_blocks_and_calls,
    read_write_as_a_word_is_accepted,
    reading_takes_no_transaction_id,
];

fn fingerprint(b: &Bench) -> String {
    b.value(
        "SELECT md5(string_agg(x, '|')) FROM (
            SELECT 's' || id || v AS x FROM shop.scratch UNION ALL
            SELECT 'o' || count(*) || sum(amount) || min(status) FROM shop.orders UNION ALL
            SELECT 'q' || last_value || is_called FROM shop.counter UNION ALL
            SELECT 'l' || count(*) FROM pg_largeobject_metadata UNION ALL
            SELECT 'c' || count(*) FROM pg_class WHERE relnamespace = 'shop'::regnamespace UNION ALL
            SELECT 'f' || count(*) FROM pg_proc WHERE pronamespace = 'shop'::regnamespace
            ORDER BY 1) t",
    )
}

/// Every statement of the list is refused by the policy, over both protocols, and leaves no trace.
#[track_caller]
fn all_refused(b: &Bench, statements: &[&str]) {
    let before = fingerprint(b);
    for sql in statements {
        let sql = b.fill(sql);
        let answer = b.agent().simple(&sql);
        let Some(error) = answer.errors.first() else {
            panic!("accepted: {sql}")
        };
        assert!(
            ["25006", "42501"].contains(&error.code.as_str()),
            "{sql}: {error}"
        );
        assert!(
            error.detail_json()["rule"].is_string() && !error.hint.is_empty(),
            "{sql}: {error}"
        );
        let mut agent = b.agent();
        let refused = cluster_tests::sql::split(&sql)
            .iter()
            .any(|part| !agent.extended(part, &[]).errors.is_empty());
        assert!(refused, "accepted over the extended protocol: {sql}");
    }
    assert_eq!(fingerprint(b), before, "something was written");
}

fn plain_dml(b: &Bench) {
    b.allow();
    all_refused(
        b,
        &[
            "INSERT INTO shop.scratch VALUES (3, 'x')",
            "UPDATE shop.scratch SET v = 'x'",
            "DELETE FROM shop.scratch",
            "TRUNCATE shop.scratch",
            "MERGE INTO shop.scratch s USING shop.orders o ON o.id = s.id WHEN MATCHED THEN DELETE",
            "INSERT INTO shop.scratch VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET v = 'y' RETURNING *",
            "DELETE FROM shop.scratch WHERE false",
            "UPDATE shop.customer_list SET name = 'x'",
        ],
    );
    b.denies(
        "INSERT INTO shop.scratch VALUES (3, 'x')",
        "25006",
        "read_only",
    );
}

fn dml_inside_select(b: &Bench) {
    b.allow();
    all_refused(
        b,
        &[
            "WITH d AS (DELETE FROM shop.scratch RETURNING *) SELECT * FROM d",
            "WITH d AS (DELETE FROM shop.scratch) SELECT 1",
            "WITH a AS (SELECT 1), b AS (UPDATE shop.scratch SET v = 'x' RETURNING id) SELECT * FROM a",
            "WITH i AS (INSERT INTO shop.scratch VALUES (5, 'x') RETURNING *) SELECT count(*) FROM i",
            "SELECT 1 AS a INTO shop.made",
            "COPY (INSERT INTO shop.scratch VALUES (6, 'x') RETURNING *) TO STDOUT",
        ],
    );
}

fn transactions_are_not_the_lock(b: &Bench) {
    b.allow();
    let write = "INSERT INTO shop.scratch VALUES (3, 'x')";
    for before in [
        "BEGIN READ ONLY; COMMIT",
        "BEGIN READ WRITE",
        "BEGIN; SET TRANSACTION READ WRITE",
        "SET default_transaction_read_only = off",
        "SET transaction_read_only = off",
        "BEGIN READ ONLY; SAVEPOINT s",
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
        "RESET ALL",
        "DISCARD ALL",
        "SELECT set_config('transaction_read_only', 'off', false)",
        "BEGIN; ROLLBACK AND CHAIN",
    ] {
        let mut agent = b.agent();
        for part in cluster_tests::sql::split(before) {
            agent.simple(&part);
        }
        let error = agent.error(write);
        assert!(
            ["25006", "25P02", "42501"].contains(&error.code.as_str()),
            "{before}: {error}"
        );
        agent.simple("COMMIT");
    }
    assert_eq!(b.value("SELECT count(*) FROM shop.scratch"), "2");
}

fn several_statements_in_one_query(b: &Bench) {
    b.allow();
    all_refused(
        b,
        &[
            "SELECT 1; DELETE FROM shop.scratch",
            "COMMIT; DELETE FROM shop.scratch",
            "SELECT 1; COMMIT; DROP TABLE shop.scratch",
            "BEGIN; SELECT 1; COMMIT; INSERT INTO shop.scratch VALUES (4, 'x'); SELECT 2",
        ],
    );
}

fn utility_statements(b: &Bench) {
    b.allow();
    all_refused(
        b,
        &[
            "CREATE TABLE shop.made (a int)",
            "CREATE TABLE shop.made AS SELECT 1",
            "CREATE VIEW shop.made AS SELECT 1",
            "CREATE MATERIALIZED VIEW shop.made AS SELECT 1",
            "REFRESH MATERIALIZED VIEW shop.contacts",
            "CREATE INDEX ON shop.orders (amount)",
            "DROP TABLE shop.scratch",
            "ALTER TABLE shop.scratch ADD x int",
            "CREATE FUNCTION shop.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
            "CREATE SCHEMA made",
            "CREATE ROLE made",
            "GRANT SELECT ON shop.orders TO PUBLIC",
            "COMMENT ON TABLE shop.orders IS 'x'",
            "SECURITY LABEL FOR agent_policy ON COLUMN shop.orders.status IS 'x'",
            "VACUUM shop.orders",
            "ANALYZE shop.orders",
            "CLUSTER shop.orders USING orders_pkey",
            "REINDEX TABLE shop.orders",
            "CHECKPOINT",
            "NOTIFY a, 'b'",
            "LISTEN a",
            "LOCK TABLE shop.orders IN SHARE MODE",
            "CREATE TRIGGER t BEFORE UPDATE ON shop.orders FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
            "CREATE POLICY p ON shop.orders",
            "CREATE STATISTICS shop.st ON id, amount FROM shop.orders",
            "CREATE PUBLICATION p FOR ALL TABLES",
            "CREATE DOMAIN shop.d AS int",
            "ALTER DATABASE @db@ SET work_mem = '1GB'",
            "REASSIGN OWNED BY @agent@ TO @plain@",
            "DROP OWNED BY @agent@",
            "CREATE EXTENSION IF NOT EXISTS plpgsql",
            "BEGIN; PREPARE TRANSACTION 'x'",
            "SET ROLE @plain@",
            "IMPORT FOREIGN SCHEMA x FROM SERVER y INTO shop",
        ],
    );
}

fn row_locks(b: &Bench) {
    b.allow();
    all_refused(
        b,
        &[
            "SELECT * FROM shop.scratch FOR UPDATE",
            "SELECT * FROM shop.scratch FOR SHARE",
            "SELECT * FROM shop.scratch FOR KEY SHARE SKIP LOCKED",
            "WITH x AS (SELECT * FROM shop.scratch FOR NO KEY UPDATE) SELECT 1 FROM x",
        ],
    );
}

fn functions_that_write(b: &Bench) {
    b.allow();
    b.setup("SELECT agent_policy.allow_function('@agent@', f::regprocedure) FROM unnest(ARRAY['shop.write_scratch()', 'shop.run(text)', 'shop.swallow(text)']) f");
    all_refused(
        b,
        &[
            "SELECT shop.write_scratch()",
            "SELECT shop.run('INSERT INTO shop.scratch VALUES (9, $$x$$) RETURNING v')",
            "SELECT shop.run('CREATE TABLE shop.made (a int)')",
        ],
    );
    let before = fingerprint(b);
    // Swallowing the error does not make the write happen.
    let answer = b
        .agent()
        .simple("SELECT shop.swallow('DELETE FROM shop.scratch')");
    assert_eq!(fingerprint(b), before);
    if answer.errors.is_empty() {
        assert_eq!(answer.one(), "25006");
    }
}

fn prepared_and_portals(b: &Bench) {
    b.allow();
    let before = fingerprint(b);
    let mut agent = b.agent();
    agent.parse("w", "DELETE FROM shop.scratch").sync();
    agent.run("w", &[]);
    agent.simple("PREPARE w2 AS DELETE FROM shop.scratch");
    agent.simple("EXECUTE w2");
    agent.simple("PREPARE w3(int) AS WITH d AS (DELETE FROM shop.scratch WHERE id = $1 RETURNING *) SELECT * FROM d");
    agent.simple("EXECUTE w3(1)");
    agent.simple("BEGIN; DECLARE c CURSOR FOR DELETE FROM shop.scratch RETURNING *; FETCH ALL FROM c; COMMIT");
    agent.simple("ROLLBACK");
    assert_eq!(fingerprint(b), before);
}

fn explain_analyze_does_not_execute_writes(b: &Bench) {
    b.allow();
    all_refused(
        b,
        &[
            "EXPLAIN ANALYZE DELETE FROM shop.scratch",
            "EXPLAIN (ANALYZE) WITH d AS (DELETE FROM shop.scratch RETURNING *) SELECT * FROM d",
            "EXPLAIN ANALYZE CREATE TABLE shop.made AS SELECT 1",
        ],
    );
}

fn copy_in_and_server_files(b: &Bench) {
    b.allow();
    let before = fingerprint(b);
    for sql in [
        "COPY shop.scratch FROM STDIN",
        "COPY shop.scratch FROM '/etc/passwd'",
        "COPY shop.scratch FROM PROGRAM 'id'",
        "COPY shop.scratch TO '/tmp/agent_policy_made'",
        "COPY (SELECT 1) TO PROGRAM 'cat'",
    ] {
        let mut agent = b.agent();
        agent.copy_in = b"50\tx\n".to_vec();
        let error = agent.error(sql);
        assert!(
            ["25006", "42501"].contains(&error.code.as_str()),
            "{sql}: {error}"
        );
        assert!(error.detail_json().is_object(), "{sql}: {error}");
    }
    assert_eq!(fingerprint(b), before);
}

fn sequences_and_large_objects(b: &Bench) {
    b.allow();
    all_refused(
        b,
        &[
            "SELECT nextval('shop.counter')",
            "SELECT setval('shop.counter', 100)",
            "SELECT lo_create(0)",
            "SELECT lo_from_bytea(0, 'x')",
            "SELECT lo_creat(-1)",
            "SELECT lo_unlink(1)",
        ],
    );
}

fn do_blocks_and_calls(b: &Bench) {
    b.allow();
    b.setup("CREATE PROCEDURE shop.proc() LANGUAGE plpgsql AS $$ BEGIN COMMIT; INSERT INTO shop.scratch VALUES (60, 'x'); COMMIT; END $$");
    all_refused(
        b,
        &[
            "DO $$ BEGIN DELETE FROM shop.scratch; END $$",
            "DO $$ BEGIN EXECUTE 'DEL' || 'ETE FROM shop.scratch'; EXCEPTION WHEN OTHERS THEN NULL; END $$",
            "CALL shop.proc()",
        ],
    );
}

fn read_write_as_a_word_is_accepted(b: &Bench) {
    b.allow();
    let mut agent = b.agent();
    for sql in [
        "BEGIN READ WRITE",
        "SELECT count(*) FROM shop.orders",
        "COMMIT",
        "BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE",
        "SELECT 1",
        "ROLLBACK",
        "START TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ WRITE",
        "SAVEPOINT a",
        "ROLLBACK TO a",
        "RELEASE a",
        "END",
        "BEGIN",
        "SET TRANSACTION READ WRITE",
        "SELECT 1",
        "COMMIT AND NO CHAIN",
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
    ] {
        agent.query(sql);
    }
}

fn reading_takes_no_transaction_id(b: &Bench) {
    b.allow();
    let mut own = b.agent();
    own.query("BEGIN");
    own.query("SELECT count(*) FROM shop.orders");
    let none = b.value(&format!(
        "SELECT (backend_xid IS NULL)::text FROM pg_stat_activity WHERE pid = {}",
        own.pid
    ));
    assert_eq!(none, "true", "reading as an agent takes a transaction id");
}

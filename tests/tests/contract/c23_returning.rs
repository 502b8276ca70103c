//! RETURNING of a statement that changes a masked relation shows masks; everything else in it reads no masked column.

use cluster_tests::bench::leak;
use cluster_tests::{Bench, Case, cases};

pub const CASES: &[Case] = cases![
    what_select_shows,
    parts_children_and_computed_columns,
    behind_views,
    into_whatever_comes_next,
    old_and_new,
    of_merge,
    nothing_else_reads,
    excluded_is_no_way,
    beside_row_level_security,
    the_plan_and_the_record,
];

fn writable(b: &Bench) {
    b.mask();
    b.setup("SELECT agent_policy.protect_role('@agent@', 'read_write'); SELECT agent_policy.allow_schema('@agent@', 'shop', 'write')");
}

/// What it returns has no raw value, and does without the policy.
#[track_caller]
fn returns(b: &Bench, sql: &str) -> Vec<Vec<String>> {
    b.masks(&format!("BEGIN; {sql}; ROLLBACK"));
    let mut agent = b.agent();
    agent.query("BEGIN");
    let rows = agent.query(&b.fill(sql)).texts();
    agent.query("ROLLBACK");
    rows
}

/// The rows are those that a SELECT in the same transaction gives.
fn what_select_shows(b: &Bench) {
    writable(b);
    b.setup(
        "CREATE TABLE shop.kinds (id int PRIMARY KEY, k text, a text DEFAULT 'a@okapi.test', b text DEFAULT '811-22-0002', c text DEFAULT 'write to c@okapi.test',
           d jsonb DEFAULT '{\"mail\": \"d@okapi.test\"}', e text[] DEFAULT '{e@okapi.test,x}', f numeric(8,2) DEFAULT 4123.25, g text DEFAULT 'plain', h varchar(30) DEFAULT 'h@okapi.test');
         ALTER TABLE shop.kinds ADD gone text DEFAULT 'QUAGGA gone'; ALTER TABLE shop.kinds DROP COLUMN gone; ALTER TABLE shop.kinds ADD late text DEFAULT 'QUAGGA late';
         GRANT ALL ON shop.kinds TO @agent@, @plain@;
         SELECT agent_policy.mask_column('shop.kinds', 'a', 'email'), agent_policy.mask_column('shop.kinds', 'b', 'hash'), agent_policy.mask_column('shop.kinds', 'c', 'scrub'),
           agent_policy.mask_column('shop.kinds', 'd', 'json', '{\"paths\": {\"$.mail\": \"redact\"}}'), agent_policy.mask_column('shop.kinds', 'e', 'redact'), agent_policy.mask_column('shop.kinds', 'f', 'bucket', '{\"size\": 1000}'),
           agent_policy.mask_column('shop.kinds', 'h', 'expression', '{\"sql\": \"CASE WHEN k = ''open'' THEN ''shown'' ELSE left(h, 1) END\"}'),
           agent_policy.mask_column('shop.kinds', 'late', 'null');
         INSERT INTO shop.kinds (id, k) VALUES (1, 'shut'), (2, 'open'), (3, NULL)",
    );
    let lists = [
        "*",
        "kinds",
        "(kinds).h, to_jsonb(kinds), kinds::text",
        "a || b, upper(c), length(h), d ->> 'mail', e[1], f * 2, late IS NULL",
        "(SELECT a), (SELECT x.a || kinds.a FROM shop.kinds x WHERE x.id = kinds.id), ARRAY(SELECT h UNION ALL SELECT b), (SELECT max(n) FROM (SELECT kinds.a AS n UNION SELECT kinds.h) s)",
        "(SELECT count(*) FROM shop.kinds x WHERE x.a = kinds.a), row(a, b)::text, CASE WHEN a LIKE '%okapi%' THEN 'raw' ELSE h END",
    ];
    for list in lists {
        let select = format!("SELECT {list} FROM shop.kinds WHERE id < 4 ORDER BY id");
        for (sql, order) in [
            (
                format!("UPDATE shop.kinds SET g = 'new' WHERE id = 1 RETURNING {list}"),
                0,
            ),
            (
                format!("UPDATE shop.kinds SET k = 'open' WHERE id = 1 RETURNING {list}"),
                0,
            ),
            (
                format!(
                    "UPDATE shop.kinds SET g = v.n FROM (VALUES (2, 'x')) v (i, n) WHERE id = v.i RETURNING {}",
                    if list == "*" { "kinds.*" } else { list }
                ),
                1,
            ),
            (
                format!(
                    "INSERT INTO shop.kinds (id, k) VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET g = 'new' RETURNING {list}"
                ),
                0,
            ),
        ] {
            let returned = returns(b, &sql);
            let mut agent = b.agent();
            agent.query("BEGIN");
            agent.query(&sql);
            let selected = agent.query(&select).texts();
            assert_eq!(returned, [selected[order].clone()], "{sql}");
        }
        let deleted = returns(
            b,
            &format!("DELETE FROM shop.kinds WHERE id = 3 RETURNING {list}"),
        );
        // What counts rows does so before and after.
        if !list.contains("count") && !list.contains("FROM shop.kinds x") {
            assert_eq!(deleted[0], b.agent().query(&select).texts()[2], "{list}");
        }
        let inserted = returns(
            b,
            &format!(
                "INSERT INTO shop.kinds (id, k) VALUES (3, NULL) ON CONFLICT (id) DO UPDATE SET k = NULL RETURNING {list}"
            ),
        );
        assert_eq!(inserted[0], b.agent().query(&select).texts()[2], "{list}");
    }
    // A new row, of defaults that are masked.
    returns(
        b,
        "INSERT INTO shop.kinds (id) VALUES (9) RETURNING *, kinds",
    );
    // No system columns, which tell where a row lies.
    for column in ["ctid", "xmin", "xmax"] {
        b.denies(
            &format!("UPDATE shop.kinds SET g = 'x' WHERE id = 1 RETURNING {column}, a"),
            "42501",
            "column_denied",
        );
    }
    assert_eq!(
        returns(
            b,
            "UPDATE shop.kinds SET g = 'x' WHERE id = 1 RETURNING tableoid::regclass, a"
        )[0][0],
        "shop.kinds"
    );
}

fn parts_children_and_computed_columns(b: &Bench) {
    writable(b);
    b.setup(
        "CREATE TABLE shop.tail (id int, ssn text DEFAULT '811-22-0009', last text GENERATED ALWAYS AS ('QUAGGA' || right(ssn, 4)) STORED, open text);
         GRANT ALL ON shop.tail TO @agent@, @plain@; SELECT agent_policy.mask_column('shop.tail', 'ssn'); INSERT INTO shop.tail (id) VALUES (1);
         CREATE TABLE shop.cut (k int, mail text DEFAULT 'k@okapi.test', open text) PARTITION BY LIST (k);
         CREATE TABLE shop.cut_1 (open text, mail text DEFAULT 'k@okapi.test', k int); ALTER TABLE shop.cut ATTACH PARTITION shop.cut_1 FOR VALUES IN (1);
         CREATE TABLE shop.cut_2 PARTITION OF shop.cut FOR VALUES IN (2);
         GRANT ALL ON shop.cut, shop.cut_1, shop.cut_2 TO @agent@, @plain@; SELECT agent_policy.mask_column('shop.cut', 'mail'); INSERT INTO shop.cut (k) VALUES (1), (2)",
    );
    for sql in [
        "UPDATE shop.customers SET region = 'x' WHERE id IN (3, 9001) RETURNING *",
        "UPDATE shop.customers SET region = 'x' WHERE id IN (3, 9001) RETURNING customers, email",
        "DELETE FROM shop.vips RETURNING *, vips, (vips).ssn",
        "UPDATE shop.vips SET level = 4 RETURNING note, vips",
        "UPDATE shop.tail SET open = 'x' RETURNING last, tail",
        "INSERT INTO shop.tail (id) VALUES (2) RETURNING last, ssn",
        "UPDATE shop.cut SET open = 'x' RETURNING mail, cut, cut.*",
        "UPDATE shop.cut SET k = 3 - k RETURNING mail, cut",
        "UPDATE shop.cut_1 SET open = 'x' RETURNING mail, cut_1",
        "INSERT INTO shop.cut (k) VALUES (1), (2) RETURNING mail, cut",
        "DELETE FROM shop.cut RETURNING mail, (cut).mail, to_jsonb(cut)",
        "UPDATE ONLY shop.customers SET region = 'x' WHERE id = 3 RETURNING profile",
        "UPDATE shop.events SET id = id WHERE id < 3 RETURNING email, events",
    ] {
        returns(b, sql);
    }
    if b.version >= 18 {
        b.setup(
            "CREATE TABLE shop.virtually (id int, ssn text DEFAULT '811-22-0008', tail text GENERATED ALWAYS AS ('QUAGGA' || right(ssn, 4)), open text GENERATED ALWAYS AS ('o' || id));
             GRANT ALL ON shop.virtually TO @agent@, @plain@; SELECT agent_policy.mask_column('shop.virtually', 'ssn'); INSERT INTO shop.virtually (id) VALUES (1)",
        );
        for sql in [
            "UPDATE shop.virtually SET id = 2 RETURNING tail, virtually, open",
            "UPDATE shop.virtually SET id = 2 RETURNING old.tail, new.tail, old, new, old.*",
            "INSERT INTO shop.virtually (id) VALUES (2) RETURNING old.tail, tail",
        ] {
            returns(b, sql);
        }
        let rows = returns(
            b,
            "UPDATE shop.virtually SET id = 2 RETURNING old.open, new.open, ssn",
        );
        assert_eq!(rows, [["o1", "o2", "***"]]);
    }
}

fn behind_views(b: &Bench) {
    b.setup(
        "CREATE VIEW shop.open_ones AS SELECT id, name, email, ssn, region FROM shop.customers WHERE id < 100;
         CREATE VIEW shop.invoked WITH (security_invoker) AS SELECT * FROM shop.customers;
         CREATE VIEW shop.computed AS SELECT id, region, lower(email) AS mail, name FROM shop.customers;
         CREATE VIEW shop.ruled AS SELECT id, email FROM shop.customers;
         CREATE RULE changed AS ON UPDATE TO shop.ruled DO INSTEAD UPDATE shop.customers SET region = 'ruled' WHERE id = new.id RETURNING id, email;
         CREATE VIEW shop.of_hidden_rows AS SELECT id, region FROM shop.customers WHERE ssn > '811-22-0003';
         GRANT ALL ON ALL TABLES IN SCHEMA shop TO @agent@, @plain@",
    );
    writable(b);
    for sql in [
        "UPDATE shop.open_ones SET region = 'x' WHERE id = 5 RETURNING *",
        "UPDATE shop.open_ones SET region = 'x' WHERE id = 5 RETURNING open_ones",
        "UPDATE shop.invoked SET region = 'x' WHERE id = 5 RETURNING *, invoked",
        "UPDATE shop.computed SET region = 'x' WHERE id = 5 RETURNING mail, computed",
        "UPDATE shop.ruled SET id = id WHERE id = 5 RETURNING *",
        "DELETE FROM shop.invoked WHERE id = 9001 RETURNING ssn",
    ] {
        returns(b, sql);
    }
    if b.version >= 18 {
        for sql in [
            "UPDATE shop.open_ones SET region = 'x' WHERE id = 5 RETURNING old.email, new.ssn, old, new",
            "UPDATE shop.computed SET region = 'x' WHERE id = 5 RETURNING old.mail, new.mail",
        ] {
            returns(b, sql);
        }
    }
    // What the view itself compares is read, too.
    b.denies(
        "UPDATE shop.of_hidden_rows SET region = 'x' WHERE id = 5 RETURNING id",
        "42501",
        "masked_column_write",
    );
    b.allows("UPDATE shop.open_ones SET region = 'y' WHERE id = 5");
    b.allows("INSERT INTO shop.open_ones (id, name) VALUES (98000, 'x') ON CONFLICT DO NOTHING");
}

/// Rows that another part of the statement, a function or a cursor takes.
fn into_whatever_comes_next(b: &Bench) {
    b.setup(
        "CREATE TABLE shop.copies (v text, w text); GRANT ALL ON shop.copies TO @agent@, @plain@;
         CREATE FUNCTION shop.touch(i int) RETURNS text LANGUAGE plpgsql AS $$ DECLARE e text; c shop.customers; BEGIN
           UPDATE shop.customers SET region = 'f' WHERE id = i RETURNING email INTO e;
           UPDATE shop.customers SET region = 'g' WHERE id = i RETURNING * INTO c; RETURN e || c.ssn || c::text; END $$;
         CREATE FUNCTION shop.touch_sql(i int) RETURNS SETOF shop.customers LANGUAGE sql AS 'UPDATE shop.customers SET region = ''f'' WHERE id = i RETURNING *'",
    );
    writable(b);
    b.setup("SELECT agent_policy.allow_function('@agent@', 'shop.touch(int)'), agent_policy.allow_function('@agent@', 'shop.touch_sql(int)')");
    for sql in [
        "WITH u AS (UPDATE shop.customers SET region = 'w' WHERE id = 3 RETURNING *) SELECT * FROM u",
        "WITH u AS (UPDATE shop.customers SET region = 'w' WHERE id = 3 RETURNING email, customers AS c) SELECT email, c, (c).ssn FROM u",
        "WITH u AS (DELETE FROM shop.vips RETURNING *) INSERT INTO shop.copies SELECT email, ssn FROM u RETURNING *",
        "WITH u AS (UPDATE shop.customers SET region = 'w' WHERE id = 3 RETURNING *) UPDATE shop.orders o SET status = u.email FROM u WHERE o.id = 1 RETURNING status",
        "SELECT shop.touch(3)",
        "SELECT * FROM shop.touch_sql(3)",
        "SELECT (shop.touch_sql(3)).email",
        "PREPARE r AS UPDATE shop.customers SET region = $1 WHERE id = 3 RETURNING email, ssn; EXECUTE r('a'); EXECUTE r('b'); EXECUTE r('c'); EXECUTE r('d'); EXECUTE r('e'); EXECUTE r('f'); EXECUTE r('g')",
        "COPY (UPDATE shop.customers SET region = 'c' WHERE id = 3 RETURNING *) TO STDOUT",
    ] {
        b.masks(&format!("BEGIN; {sql}; ROLLBACK"));
    }
    // Conditions on what was returned are on masks.
    let none = b.allows("WITH u AS (UPDATE shop.customers SET region = 'w' WHERE id = 3 RETURNING email, ssn) SELECT 1 FROM u WHERE ssn = '811-22-0003' OR email LIKE '%okapi%'");
    assert!(none.rows.is_empty());
    b.agent().query("WITH u AS (UPDATE shop.customers SET region = 'w' WHERE id < 9 RETURNING *) INSERT INTO shop.copies SELECT email, customers::text FROM u, LATERAL (SELECT u AS customers) c");
    let arrived = b.setup("SELECT * FROM shop.copies");
    assert_eq!(arrived.rows.len(), 8);
    assert_eq!(leak(&arrived.bytes), None);
}

/// Version 18: the row before, and the row after.
fn old_and_new(b: &Bench) {
    writable(b);
    if b.version < 18 {
        let error = b
            .agent()
            .error("UPDATE shop.customers SET region = 'x' WHERE id = 3 RETURNING old.email");
        assert_eq!(error.code, "42P01");
        return;
    }
    for sql in [
        "UPDATE shop.customers SET region = 'x' WHERE id = 3 RETURNING old.email, new.ssn, old, new, old.*, new.*",
        "UPDATE shop.customers SET region = 'x' WHERE id = 3 RETURNING WITH (OLD AS o, NEW AS n) o.email, n.ssn, o.*, (SELECT n.note), (SELECT o.note || x.ssn FROM shop.customers x WHERE x.id = n.id)",
        "INSERT INTO shop.customers (id, name) VALUES (3, 'x') ON CONFLICT (id) DO UPDATE SET name = excluded.name RETURNING old.email, new.email, old.note IS NULL",
        "DELETE FROM shop.vips RETURNING old.email, new.email, old",
    ] {
        returns(b, sql);
    }
    // Where there is no such row there is no mask of it either.
    b.setup("SELECT agent_policy.mask_column('shop.customers', 'note', 'constant', '{\"value\": \"none\"}')");
    let mut agent = b.agent();
    agent.query("BEGIN");
    let inserted = agent.query("INSERT INTO shop.customers (id, name) VALUES (70001, 'x') RETURNING old.note, new.note, old IS NULL, (SELECT old.note), old.id");
    assert_eq!(inserted.texts(), [["∅", "none", "t", "∅", "∅"]]);
    let deleted = agent.query("DELETE FROM shop.customers WHERE id = 70001 RETURNING old.note, new.note, new IS NULL, (SELECT new.note)");
    assert_eq!(deleted.texts(), [["none", "∅", "t", "∅"]]);
    agent.query("ROLLBACK");
}

/// Version 17 and later: MERGE returns rows, too.
fn of_merge(b: &Bench) {
    writable(b);
    let merge = "MERGE INTO shop.customers c USING (VALUES (3), (71000)) v (i) ON v.i = c.id WHEN MATCHED THEN UPDATE SET region = 'm' WHEN NOT MATCHED THEN INSERT (id, name) VALUES (i, 'm')";
    if b.version < 17 {
        assert_eq!(
            b.agent().error(&format!("{merge} RETURNING c.email")).code,
            "42601"
        );
        return;
    }
    for list in [
        "*",
        "merge_action(), c.*, i",
        "c, (c).ssn",
        "(SELECT c.note), lower(c.email)",
    ] {
        let rows = returns(b, &format!("{merge} RETURNING {list}"));
        assert_eq!(rows.len(), 2, "{list}");
    }
    returns(
        b,
        "MERGE INTO shop.customers c USING shop.customers s ON s.id = c.id AND c.id = 3 WHEN MATCHED THEN DO NOTHING WHEN NOT MATCHED BY SOURCE AND c.id = 9001 THEN DELETE RETURNING c.email, s.email, s, c",
    );
    if b.version >= 18 {
        returns(
            b,
            &format!("{merge} RETURNING old.email, new.email, old, new, c"),
        );
    }
    b.masks(&format!(
        "BEGIN; WITH m AS ({merge} RETURNING c.*) SELECT * FROM m; ROLLBACK"
    ));
}

/// RETURNING beside it makes nothing else of a statement readable.
fn nothing_else_reads(b: &Bench) {
    writable(b);
    let mut statements = vec![
        "UPDATE shop.customers SET region = 'x' WHERE ssn = '811-22-0001' RETURNING ssn",
        "UPDATE shop.customers SET region = ssn RETURNING ssn",
        "UPDATE shop.customers SET region = (SELECT customers.email) RETURNING email",
        "UPDATE shop.customers SET region = (customers).email RETURNING email, customers",
        "UPDATE shop.customers c SET region = 'x' FROM shop.orders o WHERE o.status = c.note RETURNING c.note",
        "UPDATE shop.customers c SET region = 'x' FROM shop.orders o WHERE o.id = c.id AND EXISTS (SELECT 1 FROM shop.events e WHERE e.payload = c.note) RETURNING c.note",
        "DELETE FROM shop.customers WHERE email LIKE 'c1%' RETURNING email",
        "DELETE FROM shop.customers WHERE customers IS NOT NULL RETURNING customers",
        "INSERT INTO shop.customers (id, name) VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET region = customers.ssn RETURNING ssn",
        "INSERT INTO shop.customers (id, name) VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET region = 'x' WHERE customers.salary > 5 RETURNING salary",
        "INSERT INTO shop.customers (id, name) VALUES (1, 'x') ON CONFLICT (email) DO NOTHING RETURNING email",
        "INSERT INTO shop.customers (id, name) VALUES (1, 'x') ON CONFLICT ON CONSTRAINT customers_email_key DO NOTHING RETURNING id",
        "INSERT INTO shop.customers (id, name, ssn) VALUES (1, 'x', '811') RETURNING ssn",
        "UPDATE shop.customers SET ssn = 'x' WHERE id = 1 RETURNING ssn",
        "WITH u AS (UPDATE shop.customers SET region = 'x' WHERE note > 'Q' RETURNING note) SELECT 1",
    ];
    if b.version >= 17 {
        statements.extend([
            "MERGE INTO shop.customers c USING (VALUES ('811-22-0001')) v (s) ON v.s = c.ssn WHEN MATCHED THEN UPDATE SET region = 'x' RETURNING c.ssn",
            "MERGE INTO shop.customers c USING (VALUES (1)) v (i) ON v.i = c.id WHEN MATCHED AND c.salary > 5 THEN UPDATE SET region = 'x' RETURNING c.salary",
            "MERGE INTO shop.customers c USING (VALUES (1)) v (i) ON v.i = c.id WHEN MATCHED THEN UPDATE SET region = c.email RETURNING c.email",
            "MERGE INTO shop.customers c USING (VALUES (1)) v (i) ON v.i = c.id WHEN NOT MATCHED BY SOURCE AND c.ssn > '8' THEN DELETE RETURNING c.ssn",
        ]);
    }
    for sql in statements {
        // The control run: the server takes each of them.
        b.unconfined()
            .query(&format!("BEGIN; EXPLAIN {sql}; ROLLBACK"));
        b.denies(sql, "42501", "masked_column_write");
        b.denies(&format!("EXPLAIN {sql}"), "42501", "masked_column_write");
    }
}

/// The row that INSERT has put to it holds defaults and what triggers compute: nothing that the agent knows.
fn excluded_is_no_way(b: &Bench) {
    b.setup(
        "CREATE TABLE shop.accounts (id int PRIMARY KEY, shown text, token text DEFAULT 'QUAGGA default', mail text, open text);
         CREATE FUNCTION shop.fill() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = shop AS
           $$ BEGIN new.mail := (SELECT email FROM customers WHERE id = new.id LIMIT 1); RETURN new; END $$;
         CREATE TRIGGER fill BEFORE INSERT ON shop.accounts FOR EACH ROW EXECUTE FUNCTION shop.fill();
         INSERT INTO shop.accounts (id) VALUES (1), (2); GRANT ALL ON shop.accounts TO @agent@, @plain@",
    );
    writable(b);
    b.setup("SELECT agent_policy.mask_column('shop.accounts', 'token'), agent_policy.mask_column('shop.accounts', 'mail')");
    for read in [
        "shown = excluded.token",
        "shown = excluded.mail",
        "shown = excluded::text",
        "shown = (SELECT excluded.token)",
        "shown = (SELECT x.token FROM (SELECT excluded.*) x)",
        "shown = to_jsonb(excluded) ->> 'token'",
        "shown = CASE WHEN excluded.mail LIKE 'c1@okapi%' THEN 'QUAGGA' ELSE 'no' END",
    ] {
        let sql = format!(
            "INSERT INTO shop.accounts (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET {read}"
        );
        let plain = b
            .unconfined()
            .query(&format!("BEGIN; {sql} RETURNING shown"));
        assert!(leak(&plain.bytes).is_some(), "control run: {sql}");
        b.denies(&sql, "42501", "masked_column_write");
        b.denies(
            &format!("{sql} RETURNING *"),
            "42501",
            "masked_column_write",
        );
    }
    b.denies(
        "INSERT INTO shop.accounts (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET open = 'y' WHERE excluded.mail LIKE 'c1%' RETURNING open",
        "42501",
        "masked_column_write",
    );
    // The columns without a mask are there.
    let rows = returns(
        b,
        "INSERT INTO shop.accounts (id, open) VALUES (1, 'o') ON CONFLICT (id) DO UPDATE SET open = excluded.open || excluded.id RETURNING *",
    );
    assert_eq!(rows, [["1", "∅", "***", "***", "o1"]]);
}

/// Policies of the server's own compare raw values, whatever the statement does; the condition of a view does not.
fn beside_row_level_security(b: &Bench) {
    b.setup(
        "CREATE TABLE shop.secured (id int PRIMARY KEY, owner text DEFAULT 'me@okapi.test', v text);
         INSERT INTO shop.secured VALUES (1, 'me@okapi.test', 'a'), (2, 'other@example.com', 'b');
         ALTER TABLE shop.secured ENABLE ROW LEVEL SECURITY;
         CREATE POLICY p ON shop.secured USING (owner LIKE '%okapi%') WITH CHECK (owner IS NULL OR owner LIKE '%okapi%');
         CREATE VIEW shop.behind_barrier WITH (security_barrier, security_invoker) AS SELECT * FROM shop.secured WHERE owner > 'm';
         CREATE VIEW shop.by_id WITH (security_barrier, security_invoker) AS SELECT * FROM shop.secured WHERE id < 50;
         CREATE VIEW shop.checked WITH (security_invoker) AS SELECT id, v, owner FROM shop.secured WHERE id > 0 AND length(owner) > 5 WITH CHECK OPTION;
         GRANT ALL ON ALL TABLES IN SCHEMA shop TO @agent@, @plain@",
    );
    writable(b);
    b.setup("SELECT agent_policy.mask_column('shop.secured', 'owner')");
    let mut statements = vec![
        "UPDATE shop.secured SET v = 'z' RETURNING *",
        "INSERT INTO shop.secured (id, v) VALUES (9, 'q') RETURNING *, secured",
        "DELETE FROM shop.secured RETURNING owner",
        "INSERT INTO shop.secured (id, v) VALUES (1, 'q') ON CONFLICT (id) DO UPDATE SET v = excluded.v RETURNING *",
    ];
    if b.version < 17 {
        b.allows("BEGIN; MERGE INTO shop.secured s USING (VALUES (1)) x (i) ON s.id = x.i WHEN MATCHED THEN UPDATE SET v = 'm'; ROLLBACK");
    } else {
        statements.push("MERGE INTO shop.secured s USING (VALUES (1)) x (i) ON s.id = x.i WHEN MATCHED THEN UPDATE SET v = 'm' RETURNING s.*");
    }
    for sql in statements {
        assert_eq!(returns(b, sql).len(), 1, "{sql}");
    }
    for sql in [
        "UPDATE shop.behind_barrier SET v = 'z' RETURNING id",
        "UPDATE shop.checked SET v = 'z' RETURNING id",
        "INSERT INTO shop.checked (id, v) VALUES (7, 'z') RETURNING id",
        "UPDATE shop.secured SET v = owner",
        "DELETE FROM shop.secured WHERE owner LIKE '%okapi%' RETURNING id",
        // Its condition and those of the policies cannot be told apart any more.
        "UPDATE shop.by_id SET v = 'z' WHERE id < 9 RETURNING id",
    ] {
        b.denies(sql, "42501", "masked_column_write");
    }
}

fn the_plan_and_the_record(b: &Bench) {
    writable(b);
    let sql = "UPDATE shop.customers SET region = 'x' WHERE id = 3 RETURNING email, ssn";
    for options in ["VERBOSE", "ANALYZE, VERBOSE", "VERBOSE, FORMAT JSON"] {
        let plan = b.agent().query(&format!("EXPLAIN ({options}) {sql}"));
        let text = String::from_utf8_lossy(&plan.bytes).into_owned();
        assert!(text.contains("email") && !text.contains("mask_"), "{text}");
        assert_eq!(leak(&plan.bytes), None);
    }
    assert_ne!(
        b.value("SELECT region FROM shop.customers WHERE id = 3"),
        "x"
    );
    assert_eq!(
        b.value(&format!("SELECT verdict || ' ' || masked_columns::text FROM agent_policy.check('@agent@', '{}', 'alice@example.com')", sql.replace('\'', "''"))),
        "allowed {shop.customers.email,shop.customers.ssn}"
    );
    b.agent().query(sql);
    b.setup("SELECT agent_policy.audit_flush()");
    assert_eq!(
        b.value("SELECT masked_columns::text || rows_returned FROM agent_policy.audit_log WHERE statement LIKE 'UPDATE%RETURNING%' AND outcome = 'ok' ORDER BY event_id DESC LIMIT 1"),
        "{shop.customers.email,shop.customers.ssn}1"
    );
    // The server's own privileges count as ever.
    b.setup("REVOKE SELECT ON shop.customers FROM @agent@; GRANT SELECT (id, email) ON shop.customers TO @agent@");
    assert_eq!(b.agent().error(sql).code, "42501");
    b.agent()
        .query("UPDATE shop.customers SET region = 'x' WHERE id = 3 RETURNING email");
}

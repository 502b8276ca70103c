//! Masks on every path by which a statement reaches a table: views, functions, inheritance, cached plans, cursors, writes. Each case has its control run by an unconfined role.

use cluster_tests::bench::leak;
use cluster_tests::{Bench, Case, Wire, cases};

pub const CASES: &[Case] = cases![
    errors_of_constraints_do_not_quote_the_row,
    merge_reads_no_masked_target,
    a_child_of_two_parents,
    copies_of_the_table,
    the_same_as_views_by_hand,
    anonymizer_temp_table_as,
    anonymizer_views_and_functions_of_the_agent,
    view_of_the_owner,
    materialized_view_is_denied_by_default,
    sql_function_inlined,
    begin_atomic_function,
    security_definer_function,
    inheritance_parent_and_child,
    partitions,
    prepare_then_set_role_then_execute,
    cached_plpgsql_plans,
    members_of_a_masked_group,
    set_role_to_an_unmasked_parent,
    only_and_tablesample,
    insert_on_conflict_and_returning,
    masked_columns_cannot_be_used_in_writes,
    samples_by_values_from_outside,
    column_grants,
    generated_columns,
    explain_shows_nothing,
    cursors,
    parallel_plans,
    masks_follow_a_rename_and_a_new_partition,
    row_level_security_still_sees_raw_values,
    an_index_over_a_masked_column_gives_no_order,
    how_large_an_index_over_a_masked_column_is,
];

fn copies_of_the_table(b: &Bench) {
    b.mask();
    for sql in [
        "COPY shop.customers TO STDOUT (FORMAT csv, HEADER)",
        "COPY shop.customers TO STDOUT (FORMAT binary)",
        "COPY shop.events_2024 TO STDOUT",
        "COPY (TABLE shop.customers) TO STDOUT",
        "COPY shop.vips TO STDOUT",
    ] {
        b.masks(sql);
    }
    // COPY t copies t alone, not its children.
    assert!(!b.allows("COPY shop.customers (id) TO STDOUT").shows("9001"));
    assert_eq!(
        b.allows("COPY shop.customers (id) TO STDOUT").tags,
        ["COPY 400"]
    );
}

/// Where masks are put in the place of columns at once and where they go into a sub-query: rows are those that views with
/// the same expressions give. Some masks are not NULL where the column is.
fn the_same_as_views_by_hand(b: &Bench) {
    b.allow();
    let masks = [
        ("customers", "email", "left(email, 1) || '***'"),
        ("customers", "ssn", "'none'::text"),
        (
            "customers",
            "salary",
            "coalesce(round(salary / 1000), -1)::numeric(12,2)",
        ),
        ("customers", "region", "upper(region) || id % 2"),
        ("customers", "note", "'x' || left(note, 0)"),
        ("events", "email", "'e' || length(email)"),
        (
            "orders",
            "status",
            "coalesce(nullif(status, 'paid'), 'some')",
        ),
    ];
    for (table, column, mask) in masks {
        b.setup(&format!(
            "SELECT agent_policy.mask_column('shop.{table}', '{column}', 'expression', '{{\"sql\": \"{mask}\"}}')",
            mask = mask.replace('\'', "''")
        ));
    }
    b.setup("SELECT agent_policy.filter_rows('shop.events', 'id % 3 > 0')");
    for (table, filter) in [
        ("customers", "true"),
        ("events", "id % 3 > 0"),
        ("orders", "true"),
    ] {
        let columns = b
            .setup(&format!(
                "SELECT attname FROM pg_attribute WHERE attrelid = 'shop.{table}'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum"
            ))
            .column()
            .into_iter()
            .map(|column| {
                masks
                    .iter()
                    .find(|(t, c, _)| (*t, *c) == (table, &*column))
                    .map_or_else(|| column.clone(), |(_, _, mask)| format!("({mask}) AS {column}"))
            })
            .collect::<Vec<_>>()
            .join(", ");
        b.setup(&format!(
            "CREATE VIEW shop.{table}_by_hand AS SELECT {columns} FROM shop.{table} WHERE {filter}; GRANT SELECT ON shop.{table}_by_hand TO @plain@"
        ));
    }
    same_as_by_hand(b);
    for settings in [
        "SET enable_hashjoin = off",
        "SET enable_mergejoin = off",
        "SET enable_partitionwise_join = on",
        "SET enable_partitionwise_aggregate = on",
        "SET enable_nestloop = off",
    ] {
        for role in ["@agent@", "@plain@"] {
            b.setup(&format!("ALTER ROLE {role} {settings}"));
        }
        same_as_by_hand(b);
    }
    for role in ["@agent@", "@plain@"] {
        b.setup(&format!("ALTER ROLE {role} RESET ALL"));
    }
    // A volatile mask is never put in the place of the column, nor are its neighbours'.
    b.setup("SELECT agent_policy.mask_column('shop.customers', 'note', 'expression', '{\"sql\": \"CASE WHEN random() < 2 THEN ''x'' END\"}')");
    same_as_by_hand(b);
}

fn same_as_by_hand(b: &Bench) {
    // More placeholders of the planner's own than there are columns named.
    let wide = (1..=120)
        .map(|i| i.to_string())
        .collect::<Vec<_>>()
        .join(", ");
    let wide = format!(
        "SELECT c.region, o.status, v FROM <customers> c JOIN <orders> o ON o.id = c.id LEFT JOIN (VALUES ({wide})) v ON v.column1 = c.id"
    );
    for sql in [
        &*wide,
        "SELECT id, email, ssn, salary, region FROM <customers>",
        "SELECT c.*, o.status FROM <orders> o JOIN <customers> c ON c.id = o.customer_id",
        "SELECT a.id, b.id, region FROM <customers> a JOIN <customers> b USING (region) WHERE a.id < 20 AND b.id < 30",
        "SELECT * FROM (SELECT id, email, region FROM <customers>) a NATURAL JOIN (SELECT region, ssn FROM <customers> WHERE id < 9) b",
        "SELECT j FROM (<customers> a JOIN <orders> b ON b.id = a.id) AS j (i, n, e, s, p, bo, sa, r, no, pr, oi, ci, am, st, at) WHERE no = ''",
        "SELECT i, e, st FROM (<customers> a JOIN <orders> b ON b.id = a.id) AS j (i, n, e, s, p, bo, sa, r, no, pr, oi, ci, am, st, at)",
        "SELECT o.id, c.ssn, c.salary, c.email, o.status FROM <orders> o LEFT JOIN <customers> c ON c.id = o.id",
        "SELECT c.id, o.status FROM <orders> o RIGHT JOIN <customers> c ON c.id = o.customer_id AND o.status = 'some'",
        "SELECT c.ssn, o.status FROM <orders> o FULL JOIN <customers> c ON c.id = o.id + 2800",
        "SELECT x.ssn, y.status FROM (SELECT * FROM <customers>) x LEFT JOIN (SELECT id, status FROM <orders> WHERE status = 'some') y ON y.id = x.id",
        "SELECT c.id, s.* FROM <customers> c LEFT JOIN LATERAL (SELECT o.status, c.ssn, c.salary FROM <orders> o WHERE o.id = c.id + 2700) s ON true",
        "SELECT c.id, s.* FROM <customers> c JOIN LATERAL (SELECT o.status, c.ssn || c.region FROM <orders> o LEFT JOIN <events> e ON e.email = c.email WHERE o.id = c.id) s ON true",
        "SELECT c.id, f FROM <customers> c, LATERAL (SELECT c.region || f FROM generate_series(1, length(c.email)) f) g (f)",
        "SELECT c.id, f FROM <customers> c, ROWS FROM (regexp_split_to_table(c.email, '')) f",
        "SELECT c.id, v.* FROM <customers> c, LATERAL (VALUES (c.ssn, c.salary), (c.region, 0)) v (a, b)",
        "SELECT c.id, (SELECT max(o.status || c.region) FROM <orders> o WHERE o.customer_id = c.id) FROM <customers> c",
        "SELECT c.id, (SELECT (SELECT (SELECT c.email || c.ssn))) FROM <customers> c",
        "SELECT id FROM <customers> c WHERE EXISTS (SELECT FROM <orders> o WHERE o.id = c.id AND o.status <> 'some' AND c.region > 'N')",
        "SELECT id FROM <customers> c WHERE NOT EXISTS (SELECT FROM <orders> o WHERE o.status = lower(c.region))",
        "SELECT id FROM <customers> WHERE region IN (SELECT region FROM <customers> WHERE id < 3)",
        "SELECT id FROM <customers> WHERE (region, ssn) NOT IN (SELECT region, ssn FROM <customers> WHERE id < 3)",
        "SELECT region, ssn, count(*), min(email), sum(salary) FROM <customers> GROUP BY region, ssn HAVING max(region) > 'N'",
        "SELECT region, ssn, count(*) FROM <customers> GROUP BY GROUPING SETS ((region), (ssn), (region, ssn), ())",
        "SELECT region, status, GROUPING(region, status), count(*) FROM <customers> c JOIN <orders> o ON o.id = c.id GROUP BY ROLLUP (region, status)",
        "SELECT id, ssn, count(*) FROM <customers> GROUP BY id, ssn",
        "SELECT upper(region) || 'x', count(*) FROM <customers> GROUP BY upper(region) || 'x'",
        "SELECT DISTINCT ON (region) region, id FROM <customers> ORDER BY region, email, id",
        "SELECT DISTINCT ssn, status FROM <customers> c JOIN <orders> o ON o.id = c.id",
        "SELECT id, rank() OVER (PARTITION BY region ORDER BY email), first_value(ssn) OVER w FROM <customers> WINDOW w AS (ORDER BY region, id)",
        "SELECT region, count(*) FILTER (WHERE ssn = 'none'), string_agg(email, ',' ORDER BY region, id) FROM <customers> GROUP BY region",
        "SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY region) FROM <customers>",
        "SELECT region FROM <customers> UNION SELECT status FROM <orders>",
        "SELECT id, region FROM <customers> UNION ALL SELECT id, email FROM <events>",
        "SELECT ssn FROM <customers> INTERSECT ALL SELECT ssn FROM <customers> WHERE id < 9",
        "WITH c AS MATERIALIZED (SELECT region, id FROM <customers>) SELECT a.region, e.email FROM c a JOIN <events> e ON e.id = a.id",
        "WITH RECURSIVE t (id, r) AS (SELECT id, region FROM <customers> WHERE id = 1 UNION ALL SELECT c.id, t.r || c.region FROM t JOIN <customers> c ON c.id = t.id + 1 WHERE c.id < 9) SELECT * FROM t",
        "SELECT id, row_to_json((SELECT r FROM (SELECT c.email, c.region) r)) FROM <customers> c",
        "SELECT c.id, c.region FROM <customers> c ORDER BY salary, region DESC, id LIMIT 17 OFFSET 3",
        "SELECT id FROM <customers> c WHERE region = ANY (ARRAY['NORTH1', (SELECT max(region) FROM <customers>)])",
        "SELECT e.email, e.id FROM <events> e WHERE e.email = 'e14'",
        "SELECT e.id, f.id FROM <events> e JOIN <events> f USING (email) WHERE e.id < 40 AND f.id < 40",
        "SELECT e.email FROM <events> e LEFT JOIN <events> f ON f.id = e.id + 1",
        "SELECT id, CASE region WHEN 'NORTH1' THEN ssn ELSE email END, (ARRAY[region, ssn])[1], ROW(region, ssn) = ROW('NORTH1', 'none') FROM <customers>",
        "SELECT count(*), max(region) FROM <customers> WHERE length(note) > 1 AND note NOT LIKE '%QUAGGA%'",
        "SELECT t.region FROM <customers> t WHERE (SELECT count(*) FROM <orders> o LEFT JOIN <customers> c ON c.region = t.region AND c.id = o.id WHERE o.id < 9) > 7",
        "SELECT (SELECT region FROM <customers> i WHERE i.id = o.id) IS NOT DISTINCT FROM status FROM <orders> o WHERE id < 99",
        // The planner puts what WITH says into both places.
        "WITH c AS NOT MATERIALIZED (SELECT id, region, email FROM <customers>) SELECT a.region, b.email, b.region FROM c a JOIN c b ON b.id = a.id + 1",
        "WITH c AS NOT MATERIALIZED (SELECT c.id, region, status FROM <customers> c JOIN <orders> o ON o.id = c.id), d AS (SELECT * FROM c WHERE id < 30) SELECT a.region, b.region, b.status, d.region FROM c a JOIN c b ON b.region = a.region AND b.id < 9 LEFT JOIN d ON d.id = a.id",
        "WITH c AS NOT MATERIALIZED (WITH i AS NOT MATERIALIZED (SELECT id, region FROM <customers>) SELECT a.id, a.region, b.region AS next FROM i a LEFT JOIN i b ON b.id = a.id + 1) SELECT x.region, y.next, x.next FROM c x JOIN c y USING (id) WHERE y.next IN (SELECT region FROM c WHERE id < 9)",
        // Members of an append.
        "SELECT u.r, o.status FROM (SELECT id, region AS r FROM <customers> UNION ALL SELECT id, email FROM <events>) u JOIN <orders> o ON o.id = u.id",
        "SELECT o.status, u.r FROM <orders> o LEFT JOIN (SELECT * FROM (SELECT id, region AS r FROM (SELECT * FROM <customers>) c) x UNION ALL SELECT id, status FROM <orders> WHERE id < 99) u ON u.id = o.id + 2900",
        "SELECT u.*, c.region FROM <customers> c JOIN (SELECT a.id, a.region || b.status AS r FROM <customers> a JOIN <orders> b ON b.id = a.id UNION ALL (SELECT id, region FROM <customers> ORDER BY region, id LIMIT 7) UNION ALL SELECT max(id), max(email) FROM <customers> UNION ALL SELECT id, region FROM <customers> WHERE region IN (SELECT region FROM <customers> WHERE id = 5)) u ON u.id = c.id",
        "SELECT c.id, u.r FROM <customers> c, LATERAL (SELECT c.region UNION ALL SELECT c.ssn UNION ALL SELECT c.email || o.status FROM <orders> o WHERE o.id = c.id) u (r)",
        "SELECT c.id, u.r FROM <orders> o LEFT JOIN <customers> c ON c.id = o.id LEFT JOIN LATERAL (SELECT c.region UNION ALL SELECT c.ssn || i FROM generate_series(1, 2) i) u (r) ON u.r <> o.status",
        "SELECT DISTINCT r FROM (SELECT region AS r FROM <customers> UNION ALL (SELECT status FROM <orders> UNION ALL SELECT email FROM <events>)) u ORDER BY r LIMIT 20",
        "(SELECT region FROM <customers> UNION ALL SELECT email FROM <events>) EXCEPT ALL SELECT status FROM <orders>",
        // Outer joins of outer joins.
        "SELECT a.region, b.region, c.email FROM <customers> a FULL JOIN <customers> b ON b.region = a.region AND b.id = a.id + 2 LEFT JOIN <events> c ON c.email = coalesce(a.email, b.email, 'e14')",
        "SELECT region, a.id, b.id FROM (SELECT * FROM <customers> WHERE id < 30) a FULL JOIN (SELECT * FROM <customers> WHERE id BETWEEN 20 AND 50) b USING (region) WHERE region IS NOT NULL",
        "SELECT x.k, x.ssn, y.k, y.salary FROM (SELECT id, 'k' || ssn AS k, ssn FROM <customers> WHERE id < 50) x LEFT JOIN (SELECT c.id, coalesce(o.status, 'nothing') AS k, c.salary FROM <customers> c LEFT JOIN <orders> o ON o.id = c.id + 2990) y ON y.id = x.id + 20 AND y.k <> x.k",
        "SELECT c.id FROM <customers> c LEFT JOIN <customers> d ON d.id = c.id LEFT JOIN <events> e ON false WHERE c.region > 'N'",
        "SELECT a.id, a.region, b.region, b.email FROM <customers> a JOIN <customers> b ON b.id = a.id",
        "SELECT c.id FROM <customers> c WHERE NOT EXISTS (SELECT FROM <customers> d LEFT JOIN <orders> o ON o.status = d.region WHERE d.region = c.region AND d.id > c.id)",
        "SELECT min(region), max(email), min(ssn) FROM <customers>",
        "SELECT a, o.status FROM <customers> a JOIN <orders> o ON o.id = a.id WHERE a.region < 'N' OR o.status = 'some'",
        "SELECT o.status, array_agg(DISTINCT c.region ORDER BY c.region), string_agg(c.email, ',' ORDER BY c.id) FROM <orders> o JOIN <customers> c ON c.id = o.customer_id GROUP BY o.status",
        "SELECT c.region, sum(count(*)) OVER (PARTITION BY left(c.region, 1) ORDER BY c.region) FROM <customers> c JOIN <orders> o ON o.customer_id = c.id GROUP BY c.region ORDER BY max(o.status), c.region",
        "SELECT o.id, (SELECT string_agg(d.region || c.region, ',' ORDER BY d.id) FROM <customers> d WHERE d.region = c.region AND d.id < 20) FROM <orders> o JOIN <customers> c ON c.id = o.customer_id AND c.region <> (SELECT min(region) FROM <customers> WHERE id > o.id) WHERE o.id < 200",
        "SELECT c.id, s.a, s.b FROM <customers> c CROSS JOIN LATERAL (SELECT max(c.region || o.status) AS a, count(*) AS b FROM <orders> o WHERE o.customer_id = c.id AND o.status >= left(c.ssn, 1)) s",
        "SELECT c.region, p.id FROM <customers> c JOIN <events> p ON p.id = c.id JOIN <events> q ON q.id = p.id AND q.email = p.email",
    ] {
        let of = |mut wire: Wire, suffix: &str| {
            let mut text = sql.to_owned();
            for table in ["customers", "events", "orders"] {
                text = text.replace(&format!("<{table}>"), &format!("shop.{table}{suffix}"));
            }
            let mut rows = wire.query(&text).texts();
            rows.sort();
            rows
        };
        let (ours, theirs) = (of(b.agent(), ""), of(b.unconfined(), "_by_hand"));
        let apart = ours.iter().zip(&theirs).find(|(a, b)| a != b);
        assert_eq!((apart, ours.len()), (None, theirs.len()), "{sql}");
        assert!(!ours.is_empty() || sql.contains("no = ''"), "{sql}");
    }
}

fn anonymizer_temp_table_as(b: &Bench) {
    b.mask();
    b.setup("SELECT agent_policy.protect_role('@agent@', 'ddl'); SELECT agent_policy.allow_schema('@agent@', 'shop', 'write')");
    for sql in [
        "CREATE TEMP TABLE t AS SELECT email FROM shop.customers; SELECT * FROM t; DROP TABLE t",
        "SELECT email INTO TEMP t FROM shop.customers; SELECT * FROM t; DROP TABLE t",
        "CREATE TABLE shop.made_@agent@ AS SELECT email FROM shop.customers; SELECT * FROM shop.made_@agent@; DROP TABLE shop.made_@agent@",
        "CREATE MATERIALIZED VIEW shop.made_@agent@ AS SELECT email FROM shop.customers; SELECT * FROM shop.made_@agent@; DROP MATERIALIZED VIEW shop.made_@agent@",
    ] {
        b.hides(sql);
    }
}

fn anonymizer_views_and_functions_of_the_agent(b: &Bench) {
    b.mask();
    b.setup("SELECT agent_policy.protect_role('@agent@', 'ddl'); SELECT agent_policy.allow_schema('@agent@', 'shop', 'write')");
    for sql in [
        "CREATE VIEW shop.made AS SELECT email FROM shop.customers; SELECT * FROM shop.made; DROP VIEW shop.made",
        "CREATE FUNCTION shop.made() RETURNS SETOF text LANGUAGE sql BEGIN ATOMIC SELECT email FROM shop.customers; END; SELECT shop.made(); DROP FUNCTION shop.made()",
        "CREATE FUNCTION shop.made() RETURNS SETOF text LANGUAGE sql STABLE AS 'SELECT email FROM shop.customers'; SELECT * FROM shop.made(); DROP FUNCTION shop.made()",
        "CREATE FUNCTION shop.made() RETURNS SETOF text LANGUAGE sql SECURITY DEFINER AS 'SELECT email FROM shop.customers'; SELECT * FROM shop.made(); DROP FUNCTION shop.made()",
        "CREATE RULE made AS ON INSERT TO shop.scratch DO ALSO SELECT email FROM shop.customers; INSERT INTO shop.scratch VALUES (900, 'x'); DROP RULE made ON shop.scratch; DELETE FROM shop.scratch WHERE id = 900",
    ] {
        // The plain role does not own shop.scratch, so its control run may fail for that one; the others must show.
        if !sql.contains("RULE") {
            b.control(sql);
        }
        let mut agent = b.agent();
        for part in cluster_tests::sql::split(sql) {
            agent.simple(&part);
        }
        assert_eq!(leak(&agent.received), None, "{sql}");
        for kind in ["VIEW", "FUNCTION"] {
            b.setup(&format!("DROP {kind} IF EXISTS shop.made"));
        }
    }
}

fn view_of_the_owner(b: &Bench) {
    b.setup(
        "CREATE VIEW shop.renamed AS SELECT id AS a, email AS b, ssn || '' AS c, row_to_json(c) AS d FROM shop.customers c;
         CREATE VIEW shop.barrier WITH (security_barrier) AS SELECT * FROM shop.customers WHERE region = 'north';
         CREATE VIEW shop.nested AS SELECT b FROM shop.renamed WHERE a < 10;
         GRANT SELECT ON shop.renamed, shop.barrier, shop.nested TO @agent@, @plain@",
    );
    b.mask();
    for sql in [
        "SELECT * FROM shop.customer_list",
        "SELECT * FROM shop.renamed",
        "SELECT * FROM shop.barrier",
        "SELECT * FROM shop.nested",
        "COPY (SELECT * FROM shop.customer_list) TO STDOUT",
        "SELECT v FROM shop.renamed v",
    ] {
        b.masks(sql);
    }
    assert!(
        b.allows("SELECT a FROM shop.renamed WHERE b = 'c1@okapi.test'")
            .rows
            .is_empty()
    );
}

fn materialized_view_is_denied_by_default(b: &Bench) {
    b.mask();
    b.hides("SELECT * FROM shop.contacts");
    b.denies(
        "SELECT * FROM shop.contacts",
        "42501",
        "relation_not_allowed|policy_unavailable",
    );
    // By name it is the DBA's word.
    b.setup("SELECT agent_policy.allow_relation('@agent@', 'shop.contacts')");
    b.allows("SELECT * FROM shop.contacts LIMIT 1");
}

fn allow_functions(b: &Bench) {
    b.setup(
        "SELECT agent_policy.allow_function('@agent@', f::regprocedure) FROM unnest(ARRAY['shop.get_email(int)', 'shop.all_customers()',
            'shop.all_customers_atomic()', 'shop.secdef_email(int)', 'shop.run(text)', 'shop.plus_one(int)']) f",
    );
}

fn sql_function_inlined(b: &Bench) {
    b.mask();
    allow_functions(b);
    for sql in [
        "SELECT * FROM shop.all_customers()",
        "SELECT email FROM shop.all_customers() WHERE id = 1",
        "SELECT f.ssn FROM shop.orders o, LATERAL shop.all_customers() f WHERE o.id = 1 AND f.id = 1",
        "SELECT shop.all_customers()",
    ] {
        b.masks(sql);
    }
}

fn begin_atomic_function(b: &Bench) {
    b.mask();
    allow_functions(b);
    b.masks("SELECT * FROM shop.all_customers_atomic()");
    b.masks("SELECT email FROM shop.all_customers_atomic() a WHERE a.id = 1");
}

fn security_definer_function(b: &Bench) {
    b.mask();
    allow_functions(b);
    b.masks("SELECT shop.secdef_email(1)");
    b.masks("SELECT shop.secdef_email(i) FROM generate_series(1, 3) i");
}

fn inheritance_parent_and_child(b: &Bench) {
    b.mask();
    // A mask on the parent covers the child asked for directly.
    b.masks("SELECT * FROM shop.vips");
    b.masks("SELECT email, level FROM shop.vips");
    b.masks("SELECT * FROM shop.customers WHERE id = 9001");
    b.masks("SELECT v::shop.customers FROM shop.vips v");
    assert_eq!(b.allows("SELECT count(*) FROM shop.customers").one(), "401");
    // A mask on the child alone covers it under the parent.
    b.setup("SELECT agent_policy.unmask_column('shop.customers', 'note'); SELECT agent_policy.mask_column('shop.vips', 'note')");
    let answer = b.allows("SELECT note FROM shop.customers WHERE id = 9001");
    assert!(
        !answer.shows("QUAGGA vip"),
        "the child's mask under the parent"
    );
}

fn partitions(b: &Bench) {
    b.mask();
    for sql in [
        "SELECT * FROM shop.events_2024",
        "SELECT * FROM shop.events",
        "SELECT email FROM shop.events WHERE at >= '2025-01-01'",
        "SELECT e FROM shop.events_2025 e",
        "SELECT e FROM shop.events e",
    ] {
        b.masks(sql);
    }
    // Pruning still works.
    let plan = b
        .allows("EXPLAIN SELECT email FROM shop.events WHERE at = '2025-03-01'")
        .column()
        .join("\n");
    assert!(!plan.contains("events_2024"), "{plan}");
}

fn prepare_then_set_role_then_execute(b: &Bench) {
    b.mask();
    b.setup("CREATE ROLE @agent@_pool LOGIN; GRANT @plain@, @agent@ TO @agent@_pool WITH ADMIN OPTION; ALTER ROLE @agent@_pool NOINHERIT");
    let mut su = b
        .cluster
        .connect(
            "postgres",
            &b.db,
            &[("options", "-c agent_policy.user_email=alice@example.com")],
        )
        .expect("connects");
    for mode in ["force_generic_plan", "force_custom_plan", "auto"] {
        su.query("RESET ROLE; DEALLOCATE ALL");
        su.query(&format!("SET plan_cache_mode = {mode}"));
        su.query("PREPARE p AS SELECT email, ssn FROM shop.customers WHERE id < 10");
        for _ in 0..6 {
            assert!(su.query("EXECUTE p").shows("okapi.test"), "control run");
        }
        su.query(&b.fill("SET ROLE @agent@"));
        let answer = su.simple("EXECUTE p");
        assert_eq!(
            leak(&answer.bytes),
            None,
            "plan of an unconfined session reused ({mode})"
        );
    }
}

fn cached_plpgsql_plans(b: &Bench) {
    b.mask();
    allow_functions(b);
    b.masks("SELECT shop.get_email(1)");
    let mut su = b
        .cluster
        .connect(
            "postgres",
            &b.db,
            &[("options", "-c agent_policy.user_email=alice@example.com")],
        )
        .expect("connects");
    for _ in 0..7 {
        assert!(
            su.query("SELECT shop.get_email(1)").shows("okapi.test"),
            "control run"
        );
    }
    su.query(&b.fill("SET ROLE @agent@"));
    for _ in 0..7 {
        assert_eq!(
            leak(&su.simple("SELECT shop.get_email(1)").bytes),
            None,
            "a cached plpgsql plan"
        );
    }
}

fn members_of_a_masked_group(b: &Bench) {
    b.mask();
    b.setup("CREATE ROLE @agent@_m LOGIN IN ROLE @agent@");
    let mut member = b
        .cluster
        .connect(
            &format!("{}_m", b.agent),
            &b.db,
            &[("options", "-c agent_policy.user_email=alice@example.com")],
        )
        .expect("connects");
    let answer = member.query("SELECT * FROM shop.customers");
    assert_eq!(leak(&answer.bytes), None);
}

fn set_role_to_an_unmasked_parent(b: &Bench) {
    b.mask();
    b.setup("GRANT @plain@ TO @agent@");
    let mut agent = b.agent();
    agent.simple(&b.fill("SET ROLE @plain@"));
    let answer = agent.simple("SELECT * FROM shop.customers");
    assert_eq!(leak(&answer.bytes), None);
}

fn only_and_tablesample(b: &Bench) {
    b.mask();
    b.masks("SELECT * FROM ONLY shop.customers");
    b.masks("SELECT * FROM shop.customers TABLESAMPLE SYSTEM (100)");
    b.masks("SELECT * FROM shop.customers TABLESAMPLE BERNOULLI (100) REPEATABLE (1)");
    assert_eq!(
        b.allows("SELECT count(*) FROM ONLY shop.customers").one(),
        "400"
    );
    assert_eq!(
        b.allows("SELECT count(email) FROM ONLY shop.customers TABLESAMPLE BERNOULLI (100)")
            .one(),
        "400"
    );
}

fn write_access(b: &Bench) {
    b.mask();
    b.setup("SELECT agent_policy.protect_role('@agent@', 'read_write'); SELECT agent_policy.allow_schema('@agent@', 'shop', 'write')");
}

fn insert_on_conflict_and_returning(b: &Bench) {
    write_access(b);
    for sql in [
        "INSERT INTO shop.customers (id, name) VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET name = 'y' RETURNING email",
        "INSERT INTO shop.customers (id, name) VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET region = shop.customers.ssn RETURNING region",
        "UPDATE shop.customers SET name = name WHERE id = 1 RETURNING *",
        "UPDATE shop.customers SET region = email WHERE id = 1 RETURNING region",
        "DELETE FROM shop.vips RETURNING *",
    ] {
        let control = format!("BEGIN; {sql}; ROLLBACK");
        b.hides(&control);
    }
    // Inserting is no reading: it works on a table with masks.
    b.agent()
        .query("INSERT INTO shop.customers (id, name) VALUES (5000, 'New')");
    assert_eq!(
        b.value("SELECT name FROM shop.customers WHERE id = 5000"),
        "New"
    );
    b.agent()
        .query("INSERT INTO shop.customers (id, name) VALUES (5000, 'New') ON CONFLICT DO NOTHING");
    b.agent()
        .query("UPDATE shop.customers SET region = 'west' WHERE id = 5000");
    b.agent()
        .query("DELETE FROM shop.customers WHERE id = 5000");
}

fn masked_columns_cannot_be_used_in_writes(b: &Bench) {
    write_access(b);
    for sql in [
        "UPDATE shop.customers SET region = 'x' WHERE ssn = '811-22-0001'",
        "UPDATE shop.customers SET region = ssn",
        "DELETE FROM shop.customers WHERE email LIKE 'c1%'",
        "MERGE INTO shop.customers c USING (VALUES ('811-22-0001')) v(s) ON v.s = c.ssn WHEN MATCHED THEN UPDATE SET region = 'x'",
        "MERGE INTO shop.customers c USING (VALUES (1)) v(i) ON v.i = c.id WHEN MATCHED AND c.salary > 5 THEN UPDATE SET region = 'x'",
        "INSERT INTO shop.customers (id, name) VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET region = 'x' WHERE shop.customers.salary > 5",
    ] {
        b.denies(sql, "42501", "masked_column_write");
    }
    // Masked values are what is copied.
    b.agent()
        .query("INSERT INTO shop.scratch SELECT id, email FROM shop.customers WHERE id = 3");
    assert_eq!(
        b.value("SELECT v FROM shop.scratch WHERE id = 3"),
        "c***@example.com"
    );
}

/// What TABLESAMPLE is told may come from the queries around.
fn samples_by_values_from_outside(b: &Bench) {
    write_access(b);
    b.setup("SELECT agent_policy.allow_function('@agent@', 'shop.plus_one(int)')");
    for sql in [
        "SELECT o.id, (SELECT count(*) FROM shop.customers c TABLESAMPLE BERNOULLI (o.id * 0 + 100)) FROM shop.orders o WHERE o.id < 4",
        "SELECT o.id, (SELECT max(c.id) FROM shop.orders a, shop.customers c TABLESAMPLE BERNOULLI (o.amount * 0 + 100) WHERE a.id = c.id) FROM shop.orders o WHERE o.id < 4",
        "SELECT o.id, n FROM shop.orders o, LATERAL (SELECT count(c.email) n FROM shop.customers c TABLESAMPLE BERNOULLI (o.id + 97)) l WHERE o.id BETWEEN 3 AND 3",
        "SELECT o.id, (SELECT (SELECT count(*) FROM shop.events c TABLESAMPLE BERNOULLI (o.id * 100 + p.id * 0)) FROM shop.orders p WHERE p.id = o.id) FROM shop.orders o WHERE o.id = 1",
        "WITH w AS (SELECT 100 x) SELECT count(*), count(email) FROM shop.customers TABLESAMPLE BERNOULLI ((SELECT x FROM w))",
        "WITH w AS (SELECT 100 x) SELECT (SELECT count(ssn) FROM shop.customers TABLESAMPLE BERNOULLI ((SELECT x + o.id - o.id FROM w))) FROM shop.orders o WHERE o.id < 3",
        "WITH w AS MATERIALIZED (SELECT 100 x) SELECT s.n FROM (SELECT count(*) n FROM shop.customers TABLESAMPLE BERNOULLI ((WITH v AS (SELECT x FROM w) SELECT x FROM v))) s",
        "SELECT count(*), min(email) IS NULL FROM shop.customers TABLESAMPLE BERNOULLI ((SELECT 100 FROM shop.orders WHERE id = 1))",
        "SELECT count(c.note) FROM shop.customers c TABLESAMPLE BERNOULLI (shop.plus_one(99))",
    ] {
        let plain = b.unconfined().query(sql).texts();
        assert_eq!(b.allows(sql).texts(), plain, "{sql}");
        assert_eq!(b.agent().query(&b.fill(sql)).texts(), plain, "{sql}");
    }
    let sql = "UPDATE shop.customers SET region = 'x' WHERE id < 4 RETURNING id, (SELECT count(*) FROM shop.customers c TABLESAMPLE BERNOULLI (customers.id * 0 + 100))";
    assert_eq!(b.allows(sql).rows.len(), 3);
}

fn column_grants(b: &Bench) {
    b.mask();
    b.setup("REVOKE ALL ON shop.customers FROM @agent@, @plain@; GRANT SELECT (id, name, email) ON shop.customers TO @agent@, @plain@");
    let answer = b.allows("SELECT id, name, email FROM shop.customers WHERE id = 1");
    assert_eq!(answer.texts()[0], ["1", "Customer 1", "c***@example.com"]);
    b.control("SELECT email FROM shop.customers WHERE id = 1");
    let error = b.agent().error("SELECT ssn FROM shop.customers");
    assert_eq!(error.code, "42501", "{error}");
    b.allows("SELECT count(*) FROM shop.customers");
}

fn generated_columns(b: &Bench) {
    b.setup(
        "CREATE TABLE shop.gen (id int, ssn text, tail text GENERATED ALWAYS AS ('QUAGGA' || right(ssn, 4)) STORED);
         INSERT INTO shop.gen (id, ssn) SELECT id, ssn FROM ONLY shop.customers;
         GRANT SELECT ON shop.gen TO @agent@, @plain@",
    );
    b.mask();
    b.setup("SELECT agent_policy.mask_column('shop.gen', 'ssn')");
    b.hides("SELECT tail FROM shop.gen");
    b.hides("SELECT * FROM shop.gen");
    if b.version >= 18 {
        b.setup(
            "CREATE TABLE shop.virt (id int, ssn text, tail text GENERATED ALWAYS AS ('QUAGGA' || right(ssn, 4)) VIRTUAL);
             INSERT INTO shop.virt (id, ssn) SELECT id, ssn FROM ONLY shop.customers;
             GRANT SELECT ON shop.virt TO @agent@, @plain@;
             SELECT agent_policy.mask_column('shop.virt', 'ssn')",
        );
        let raw = b
            .unconfined()
            .query("SELECT tail FROM shop.virt WHERE id = 7")
            .one();
        let answer = b.hides("SELECT tail FROM shop.virt WHERE id = 7");
        assert!(!answer.shows(&raw));
    }
}

fn explain_shows_nothing(b: &Bench) {
    b.mask();
    let raw_estimate = "EXPLAIN SELECT * FROM shop.customers WHERE email = 'c1@okapi.test'";
    b.allows(raw_estimate);
    for sql in [
        "EXPLAIN SELECT * FROM shop.customers WHERE ssn < '811-22-0010'",
        "EXPLAIN (VERBOSE) SELECT email, ssn FROM shop.customers",
        "EXPLAIN (FORMAT json) SELECT email FROM shop.customers",
        "EXPLAIN (ANALYZE) SELECT email FROM shop.customers WHERE salary > 881001",
        "EXPLAIN (ANALYZE, VERBOSE, BUFFERS) SELECT max(ssn) FROM shop.customers",
    ] {
        let mut agent = b.agent();
        let answer = agent.simple(sql);
        let text = answer.column().join("\n");
        // What the agent typed may come back; values of the table and the mask's definition may not.
        for secret in [
            "mask",
            "hmac",
            "811-22-0001",
            "@okapi.test'",
            "left(",
            "agent_policy.",
        ] {
            assert!(
                !text.to_lowercase().contains(secret) || sql.contains(secret),
                "{sql} shows {secret}:\n{text}"
            );
        }
    }
    // Estimates do not answer questions about hidden values: narrow and wide ranges have one plan.
    let plan = |wire: &mut Wire, sql: &str, value: &str| {
        wire.query(&format!(
            "EXPLAIN (COSTS OFF) {}",
            sql.replace("@value@", value)
        ))
        .column()
        .join("\n")
        .replace(value, "@value@")
    };
    let (mut plain, mut agent) = (b.unconfined(), b.agent());
    for (sql, few, many) in [
        (
            "SELECT id FROM ONLY shop.customers WHERE ssn < '@value@'",
            "811-22-0002",
            "811-22-0390",
        ),
        (
            "SELECT id FROM ONLY shop.customers WHERE lower(email) < '@value@'",
            "c1",
            "d",
        ),
        (
            "SELECT o.id FROM shop.orders o JOIN ONLY shop.customers c ON c.id = o.id WHERE c.salary < @value@",
            "881000.5",
            "999999.5",
        ),
        (
            "SELECT born, count(*) FROM shop.orders o JOIN ONLY shop.customers c ON c.id = o.id WHERE c.born < '@value@' GROUP BY born",
            "1931-01-02",
            "1999-01-01",
        ),
    ] {
        let raw = [few, many].map(|value| plan(&mut plain, sql, value));
        assert_ne!(
            raw[0], raw[1],
            "control run: the histogram decides on {sql}"
        );
        let shown = [few, many].map(|value| plan(&mut agent, sql, value));
        assert_eq!(shown[0], shown[1], "the histogram shows: {sql}");
        // No cost nor number of rows, which would tell more exactly.
        let explain = format!("EXPLAIN {}", sql.replace("@value@", few));
        assert!(plain.query(&explain).shows("rows="), "control run");
        assert!(!agent.query(&explain).shows("rows="), "{sql}");
    }
}

fn cursors(b: &Bench) {
    b.mask();
    b.masks("BEGIN; DECLARE c CURSOR FOR SELECT * FROM shop.customers; FETCH 5 FROM c; FETCH ALL FROM c; COMMIT");
    b.masks("BEGIN; DECLARE c BINARY SCROLL CURSOR FOR SELECT email FROM shop.customers; FETCH 5 FROM c; FETCH PRIOR FROM c; COMMIT");
    b.hides("DECLARE c CURSOR WITH HOLD FOR SELECT email FROM shop.customers; FETCH ALL FROM c");
    let mut agent = b.agent();
    let answer = agent
        .parse("", "SELECT email FROM shop.customers")
        .bind("", "", &[], true)
        .describe(b'P', "")
        .execute("", 3)
        .execute("", 0)
        .sync()
        .ok();
    assert_eq!(leak(&answer.bytes), None);
}

fn parallel_plans(b: &Bench) {
    b.mask();
    b.in_workers();
    b.setup("SELECT agent_policy.filter_rows('shop.customers', $$region = 'north'$$)");
    let mut agent = b.agent();
    for sql in [
        "SELECT email, ssn FROM ONLY shop.customers",
        "SELECT max(email), count(*) FROM ONLY shop.customers",
        "SELECT count(*) FROM shop.events WHERE email LIKE 'e%@okapi.test'",
    ] {
        let plan = agent.query(&format!("EXPLAIN {sql}")).column().join("\n");
        assert!(plan.contains("Gather"), "{sql}: {plan}");
        let answer = agent.query(sql);
        assert_eq!(leak(&answer.bytes), None, "{sql}");
    }
    assert_eq!(
        agent
            .query("SELECT count(*) FROM shop.events WHERE email = '***'")
            .one(),
        "600"
    );
    // EXPLAIN shows no plan that runs; the rows tell who has made them.
    let rows = b.from_workers(
        &mut agent,
        "SELECT shop.worked_by(), email, ssn, region FROM ONLY shop.customers",
    );
    assert_eq!(rows.len(), 100);
    for row in &rows {
        assert_eq!(row[1..], ["c***@example.com", "***", "north"]);
    }
    let rows = b.from_workers(
        &mut agent,
        "SELECT shop.worked_by(), max(email), max(payload), count(*) FROM shop.events GROUP BY 1",
    );
    assert_eq!(
        rows.iter()
            .map(|row| row[3].parse::<u32>().expect("a number"))
            .sum::<u32>(),
        600
    );
    for row in &rows {
        assert_eq!(row[1..3], ["***", "***"]);
    }
    // A worker has the key of hashes, too.
    b.setup("SELECT agent_policy.mask_column('shop.events', 'email', 'hash')");
    let hashes = b.from_workers(
        &mut agent,
        "SELECT shop.worked_by(), id, email FROM shop.events",
    );
    let mut hashes: Vec<(u32, String)> = hashes
        .into_iter()
        .map(|mut row| (row[1].parse().expect("a number"), row.swap_remove(2)))
        .collect();
    hashes.sort();
    b.setup("ALTER DATABASE @db@ SET max_parallel_workers_per_gather = 0");
    let alone = b
        .agent()
        .query("SELECT email FROM shop.events ORDER BY id")
        .column();
    assert_eq!(
        hashes.into_iter().map(|(_, hash)| hash).collect::<Vec<_>>(),
        alone
    );
    assert!(alone.len() == 600 && alone.iter().all(|hash| hash.len() == 16));
    b.setup("ALTER DATABASE @db@ SET max_parallel_workers_per_gather = 2");
    // Who asks is known to the session that asks: a filter that wants it is not for workers.
    b.setup("SELECT agent_policy.filter_rows('shop.events', $$agent_policy.user_email() = 'alice@example.com'$$)");
    let count = "SELECT count(*), max(payload) FROM shop.events";
    assert_eq!(b.agent().query(count).texts(), [["600", "***"]]);
    assert_eq!(
        b.agent_for("bob@example.com").query(count).texts(),
        [["0", "∅"]]
    );
}

fn masks_follow_a_rename_and_a_new_partition(b: &Bench) {
    b.mask();
    b.setup("ALTER TABLE shop.customers RENAME COLUMN email TO mail; ALTER TABLE shop.customers RENAME TO people");
    // The mask follows, or the relation is denied until the DBA says what holds.
    b.hides("SELECT mail FROM shop.people WHERE id = 1");
    b.setup("CREATE TABLE shop.events_2026 PARTITION OF shop.events FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
             INSERT INTO shop.events VALUES (1, 'new@okapi.test', '2026-02-02', 'QUAGGA'); GRANT SELECT ON shop.events_2026 TO @agent@, @plain@");
    b.masks("SELECT * FROM shop.events_2026");
    b.masks("SELECT * FROM shop.events WHERE at > '2026-01-01'");
    // A type change that the mask does not fit must not uncover.
    b.setup("ALTER TABLE shop.people DROP COLUMN mail CASCADE, ADD COLUMN mail text DEFAULT 'later@okapi.test'");
    b.setup("ALTER TABLE shop.people ALTER COLUMN salary TYPE text USING salary::text");
    b.hides("SELECT salary FROM shop.people WHERE id < 5");
}

fn row_level_security_still_sees_raw_values(b: &Bench) {
    b.setup("ALTER TABLE shop.customers ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON shop.customers USING (ssn = '811-22-0005')");
    b.mask();
    assert_eq!(
        b.allows("SELECT id, ssn FROM ONLY shop.customers").texts(),
        vec![vec!["5".to_owned(), "***".into()]]
    );
}

fn errors_of_constraints_do_not_quote_the_row(b: &Bench) {
    write_access(b);
    b.hides("UPDATE shop.customers SET name = NULL WHERE id = 3");
    b.hides("UPDATE shop.vips SET name = NULL");
    let error = b
        .agent()
        .error("UPDATE shop.customers SET name = NULL WHERE id = 3");
    assert_eq!(error.code, "23502", "{error}");
    // Where nothing is hidden the error says all it has to say.
    let error = b.agent().error("INSERT INTO shop.scratch VALUES (1, 'x')");
    assert_eq!(
        (error.code.as_str(), error.detail.as_str()),
        ("23505", "Key (id)=(1) already exists.")
    );
}

fn merge_reads_no_masked_target(b: &Bench) {
    write_access(b);
    b.setup("SELECT agent_policy.allow_function('@agent@', 'shop.loud(text)')");
    b.hides("MERGE INTO shop.customers c USING (VALUES (3)) v(id) ON c.id = v.id AND shop.loud(c.ssn) WHEN MATCHED THEN DO NOTHING");
    b.denies(
        "MERGE INTO shop.customers c USING (VALUES (3)) v(id) ON c.id = v.id WHEN MATCHED AND c.ssn > '8' THEN DO NOTHING",
        "42501",
        "masked_column_write",
    );
}

fn a_child_of_two_parents(b: &Bench) {
    b.mask();
    b.setup(
        "CREATE TABLE shop.nicks (id int, email text, nick text); CREATE TABLE shop.mails (id int, email text);
         CREATE TABLE shop.both () INHERITS (shop.nicks, shop.mails);
         INSERT INTO shop.both VALUES (1, 'b@okapi.test', 'QUAGGA');
         GRANT SELECT ON shop.nicks, shop.mails, shop.both TO @agent@, @plain@;
         SELECT agent_policy.mask_column('shop.nicks', 'nick'); SELECT agent_policy.mask_column('shop.mails', 'email')",
    );
    for table in ["shop.nicks", "shop.mails", "shop.both"] {
        b.masks(&format!("SELECT * FROM {table}"));
        b.masks(&format!("SELECT email FROM {table}"));
    }
}

/// Alone, behind another column, and in an expression.
fn an_index_over_a_masked_column_gives_no_order(b: &Bench) {
    b.allow();
    b.setup(
        "CREATE TABLE shop.ranks (id int, region text, pay int, body text);
         INSERT INTO shop.ranks SELECT i, 'r' || i % 4, 100000 - i, repeat('x', 300) FROM generate_series(1, 2000) i;
         CREATE INDEX ON shop.ranks (pay, id); CREATE INDEX ON shop.ranks (region, pay); CREATE INDEX ON shop.ranks ((pay / 10), id);
         GRANT SELECT ON shop.ranks TO @agent@, @plain@; SELECT agent_policy.mask_column('shop.ranks', 'pay');
         ALTER ROLE @agent@ SET enable_seqscan = off; ALTER ROLE @plain@ SET enable_seqscan = off;
         ALTER ROLE @agent@ SET enable_bitmapscan = off; ALTER ROLE @plain@ SET enable_bitmapscan = off",
    );
    b.setup("VACUUM ANALYZE shop.ranks");
    let in_order = || {
        let (mut plain, mut agent) = (b.unconfined(), b.agent());
        for sql in [
            "SELECT id FROM shop.ranks WHERE region = 'r1' LIMIT 300",
            "SELECT id FROM shop.ranks WHERE id < 300 LIMIT 300",
            "SELECT id FROM shop.ranks WHERE region IN ('r1', 'r2') AND id < 900 LIMIT 300",
        ] {
            let ids = |wire: &mut Wire| -> Vec<u32> {
                let ids = wire.query(sql).column();
                ids.iter().map(|id| id.parse().expect("a number")).collect()
            };
            assert!(
                !ids(&mut plain).is_sorted(),
                "control: an index in the order of what is masked serves {sql}"
            );
            // As they lie.
            let shown = ids(&mut agent);
            assert!(shown.len() > 100 && shown.is_sorted(), "{sql}: {shown:?}");
        }
    };
    in_order();
    // A worker alone gives rows in the order of its scan, too.
    b.in_workers();
    b.setup("ALTER DATABASE @db@ SET max_parallel_workers_per_gather = 1");
    in_order();
    for setting in [
        "max_parallel_workers_per_gather",
        "min_parallel_index_scan_size",
    ] {
        b.setup(&format!("ALTER DATABASE @db@ RESET {setting}"));
    }
    // It still serves a condition on its other column.
    b.setup("ALTER ROLE @agent@ RESET enable_bitmapscan");
    let plan = b
        .agent()
        .query("EXPLAIN SELECT id FROM shop.ranks WHERE region = 'r1'")
        .column()
        .join(" ");
    assert!(plan.contains("Bitmap"), "{plan}");
}

fn how_large_an_index_over_a_masked_column_is(b: &Bench) {
    b.mask();
    let size = |index: &str| {
        b.agent()
            .query(&format!(
                "SELECT coalesce(pg_relation_size(to_regclass('{index}')), -1), relpages FROM pg_class WHERE oid = to_regclass('{index}')"
            ))
            .texts()
    };
    let shown = size("shop.orders_pkey");
    assert!(shown[0][0] != "-1" && shown[0][1] != "0", "{shown:?}");
    for of_masked in ["shop.customers_ssn_idx", "shop.customers_pkey"] {
        assert_eq!(size(of_masked), [["-1", "0"]], "{of_masked}");
    }
}

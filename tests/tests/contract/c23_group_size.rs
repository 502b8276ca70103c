//! Tables that are read through aggregates only.

use cluster_tests::{Bench, Case, bench::denial, cases};

pub const CASES: &[Case] = cases![
    groups_that_are_too_small_are_left_out,
    rows_are_not_shown_one_by_one,
    what_sees_single_rows_raises_nothing,
    nothing_stands_beside_it,
    aggregates_of_a_few_values_are_null,
    masks_filters_and_families_with_groups,
    changes_of_such_a_table,
    group_sizes_are_set_and_lifted,
    plans_and_catalogs_of_such_a_table,
];

/// What the agent gets: columns between spaces, rows between bars.
fn rows(b: &Bench, sql: &str) -> String {
    let answer = b.allows(sql);
    let rows: Vec<String> = answer.texts().iter().map(|row| row.join(" ")).collect();
    rows.join("|")
}

/// One region of 40 people, one of 5, one of 4, and one person alone.
fn staffed(b: &Bench) {
    b.setup(
        "CREATE TABLE shop.staff (id int PRIMARY KEY, name text, region text, boss int, pay numeric, since timestamptz, german text COLLATE \"POSIX\");
         INSERT INTO shop.staff SELECT i, 'QUAGGA ' || i, CASE WHEN i <= 40 THEN 'north' WHEN i <= 45 THEN 'south' WHEN i <= 49 THEN 'east' ELSE 'west' END,
                i / 10, 1000 + i, timestamptz '2024-01-01 00:00+00' + i * interval '1 day' FROM generate_series(1, 50) i;
         CREATE TABLE shop.teams (boss int PRIMARY KEY, title text);
         INSERT INTO shop.teams SELECT i, 'team ' || i FROM generate_series(0, 9) i;
         CREATE VIEW shop.staff_view AS SELECT * FROM shop.staff;
         CREATE VIEW shop.pay_by_region AS SELECT region, count(*) AS people, avg(pay) AS pay FROM shop.staff GROUP BY region;
         GRANT SELECT ON ALL TABLES IN SCHEMA shop TO @agent@, @plain@; ANALYZE shop.staff",
    );
    b.allow();
    b.setup("SELECT agent_policy.require_group_size('shop.staff', 5)");
}

fn groups_that_are_too_small_are_left_out(b: &Bench) {
    staffed(b);
    for (sql, expected) in [
        (
            "SELECT region, count(*) FROM shop.staff GROUP BY region ORDER BY region",
            "north 40|south 5",
        ),
        (
            "SELECT region FROM shop.staff GROUP BY region ORDER BY 1",
            "north|south",
        ),
        ("SELECT count(*) FROM shop.staff", "50"),
        ("SELECT count(*) FROM shop.staff WHERE region = 'east'", ""),
        (
            "SELECT sum(pay) FROM shop.staff WHERE name = 'QUAGGA 7'",
            "",
        ),
        ("SELECT 1 FROM shop.staff HAVING true", "1"),
        ("SELECT 1 FROM shop.staff WHERE id = 1 HAVING true", ""),
        (
            "SELECT region, count(*) FROM shop.staff GROUP BY ROLLUP (region) ORDER BY region NULLS LAST",
            "north 40|south 5|∅ 50",
        ),
        (
            "SELECT region, boss, count(*) FROM shop.staff GROUP BY GROUPING SETS ((region), (boss), ()) ORDER BY 3 DESC, 1, 2",
            "∅ ∅ 50|north ∅ 40|∅ 1 10|∅ 2 10|∅ 3 10|∅ 4 10|∅ 0 9|south ∅ 5",
        ),
        (
            "SELECT region, rank() OVER (ORDER BY count(*)) FROM shop.staff GROUP BY region ORDER BY 2",
            "south 1|north 2",
        ),
        (
            "SELECT DISTINCT region FROM shop.staff GROUP BY region, boss ORDER BY 1",
            "north|south",
        ),
        (
            "SELECT (SELECT t.title FROM shop.teams t WHERE t.boss = s.boss), round(avg(pay)) FROM shop.staff s GROUP BY boss ORDER BY boss LIMIT 2",
            "team 0 1005|team 1 1015",
        ),
        (
            "WITH a AS (SELECT region, count(*) AS n FROM shop.staff GROUP BY region) SELECT sum(n) FROM a",
            "45",
        ),
        (
            "SELECT region, people FROM shop.pay_by_region ORDER BY 1",
            "north 40|south 5",
        ),
        (
            "SELECT date_trunc('month', since), count(*) FROM shop.staff GROUP BY 1 ORDER BY 1",
            "2024-01-01 00:00:00+00 30|2024-02-01 00:00:00+00 20",
        ),
        (
            "SELECT region, count(*) FROM shop.staff GROUP BY region HAVING count(*) < 10",
            "south 5",
        ),
        (
            "SELECT count(*) FROM (SELECT region FROM shop.staff GROUP BY region UNION ALL SELECT title FROM shop.teams) x",
            "12",
        ),
        (
            "SELECT region, count(DISTINCT boss), stddev(pay) > 0, corr(pay, id) FROM shop.staff GROUP BY region ORDER BY region",
            "north 5 t 1|south 1 t 1",
        ),
    ] {
        assert_eq!(rows(b, sql), expected, "{sql}");
    }
    let mut agent = b.agent();
    b.counts_generic_plans();
    agent.query("PREPARE p(text) AS SELECT count(*) FROM shop.staff WHERE region = $1");
    for _ in 0..7 {
        assert_eq!(agent.query("EXECUTE p('south')").texts(), [["5"]]);
        assert!(agent.query("EXECUTE p('east')").texts().is_empty());
    }
    assert_eq!(
        agent.value("SELECT shop.generic_plans() > 2"),
        "t",
        "control"
    );
    assert_eq!(
        agent
            .query("COPY (SELECT region, count(*) FROM shop.staff GROUP BY 1 ORDER BY 1) TO STDOUT")
            .errors
            .len(),
        0
    );
}

fn rows_are_not_shown_one_by_one(b: &Bench) {
    staffed(b);
    for sql in [
        "SELECT * FROM shop.staff",
        "SELECT pay FROM shop.staff WHERE id = 1",
        "TABLE shop.staff",
        "COPY shop.staff TO STDOUT",
        "COPY shop.staff (name) TO STDOUT",
        "SELECT * FROM shop.staff_view",
        "SELECT count(*) FROM shop.staff_view",
        "SELECT count(*) FROM (SELECT name FROM shop.staff) x",
        "SELECT sum(p) FROM (SELECT CASE WHEN name = 'QUAGGA 7' THEN pay END AS p FROM shop.staff) x",
        "SELECT DISTINCT name FROM shop.staff",
        "SELECT max(pay) FROM shop.staff",
        "SELECT min(name) FROM shop.staff",
        "SELECT array_agg(name) FROM shop.staff",
        "SELECT string_agg(name, ',') FROM shop.staff",
        "SELECT jsonb_agg(s) FROM shop.staff s",
        "SELECT json_object_agg(id, pay) FROM shop.staff",
        "SELECT percentile_disc(0) WITHIN GROUP (ORDER BY pay) FROM shop.staff",
        "SELECT mode() WITHIN GROUP (ORDER BY name) FROM shop.staff",
        "SELECT sum(pay) FILTER (WHERE id = 7) FROM shop.staff",
        "SELECT count(*) FILTER (WHERE name = 'QUAGGA 7' AND pay > 1000) FROM shop.staff",
        "SELECT sum(CASE WHEN id = 7 THEN pay ELSE 0 END) FROM shop.staff",
        "SELECT count(nullif(id, 7)) FROM shop.staff",
        "SELECT count(s) FROM shop.staff s",
        "SELECT s, count(*) FROM shop.staff s GROUP BY s",
        "SELECT tableoid, count(*) FROM shop.staff GROUP BY 1",
        "SELECT row_number() OVER (), name FROM shop.staff",
        "SELECT 1 WHERE EXISTS (SELECT FROM shop.staff WHERE name = 'QUAGGA 7' AND pay > 1000)",
        "SELECT title FROM shop.teams WHERE boss IN (SELECT boss FROM shop.staff)",
        "SELECT (SELECT name FROM shop.staff LIMIT 1)",
        "SELECT name FROM shop.staff UNION SELECT 'x'",
        "WITH RECURSIVE r AS (SELECT id, name FROM shop.staff WHERE id = 1 UNION ALL SELECT r.id + 1, 'x' FROM r WHERE id < 3) SELECT * FROM r",
        "SELECT count(*), (SELECT array_agg(x) FROM (SELECT name FROM shop.staff) q(x)) FROM shop.staff",
        "SELECT x FROM shop.staff, LATERAL (SELECT name AS x) q",
        "SELECT count(*) FROM shop.staff s, LATERAL (SELECT 1 WHERE s.pay > 1 / (s.id - 7)) q",
        "BEGIN; DECLARE c CURSOR FOR SELECT * FROM shop.staff; FETCH c",
        "SELECT (SELECT array_agg(s.name)) FROM shop.staff s",
        "SELECT (SELECT max(s.pay) FROM shop.teams) FROM shop.staff s",
    ] {
        b.denies(sql, "42501", "group_size");
    }
    // Where a row lies is refused of any relation that hides something.
    for sql in [
        "SELECT ctid, count(*) FROM shop.staff GROUP BY ctid",
        "SELECT count(xmin) FROM shop.staff",
    ] {
        b.denies(sql, "42501", "column_denied");
    }
    let error = b.denies("SELECT * FROM shop.staff", "42501", "group_size");
    let detail = error.detail_json();
    assert_eq!(detail["object"], "shop.staff");
    assert_eq!(detail["minimum"], 5);
    assert!(error.hint.contains("count(*)"), "{error}");
}

fn what_sees_single_rows_raises_nothing(b: &Bench) {
    staffed(b);
    b.setup("SELECT agent_policy.allow_function('@agent@', 'shop.plus_one(int)')");
    for sql in [
        "SELECT count(*) FROM shop.staff WHERE 1 / (id - 7) > 0",
        "SELECT count(*) FROM shop.staff WHERE name::int > 0",
        "SELECT count(*) FROM shop.staff WHERE id = 7 AND name LIKE '%\\'",
        "SELECT count(*) FROM shop.staff WHERE CASE WHEN id = 7 THEN 1 / 0 * pay > 0 END",
        "SELECT count(*) FROM shop.staff WHERE (SELECT 1 / (id - 7)) > 0",
        "SELECT count(*) FROM shop.staff s WHERE EXISTS (SELECT 1 / (s.id - 7))",
        "SELECT count(*) FROM shop.staff s JOIN shop.teams t ON 1 / (s.id - 7) = t.boss",
        "SELECT count(*) FROM shop.teams t LEFT JOIN shop.staff s ON s.name::int = t.boss",
        "SELECT 1 / (id - 7), count(*) FROM shop.staff GROUP BY 1",
        "SELECT count(*) FROM shop.staff GROUP BY name::int",
        "SELECT date_trunc('x' || name, since), count(*) FROM shop.staff GROUP BY 1",
        "SELECT count(*) FROM shop.staff WHERE id = 7 AND date_trunc('nonsense', since) IS NULL",
        "SELECT count(*) FROM shop.staff JOIN shop.teams USING (boss) WHERE 1 / (boss - 2) > 0",
        "SELECT count(*) FROM (shop.staff s JOIN shop.teams t USING (boss)) j WHERE j.name::int > 0",
        "SELECT count(*) FROM shop.staff WHERE shop.plus_one(id) > 7",
        "SELECT count(*) FROM shop.staff WHERE id = 7 AND german = 'abc'::name",
        "SELECT count(*) FROM shop.staff WHERE id = 7 AND lower(coalesce(german, 'x'::name)) = 'a'",
        "SELECT count(*) FROM shop.staff WHERE CASE WHEN id = 7 THEN array[array[boss], array[1]] END IS NULL",
        "SELECT count(*) FROM shop.staff WHERE CASE WHEN id = 7 THEN date_trunc('year', timestamptz '4714-11-24 00:00 BC') END IS NULL",
        "SELECT count(*) FROM shop.staff WHERE CASE WHEN id = 7 THEN now() - interval '9999999 years' END IS NULL",
        // Conditions on something else, to which a plan comes where a row was found.
        "SELECT count(*) FROM shop.staff WHERE id = 7 AND 1 / (SELECT 0) = 1",
        "SELECT count(*) FROM shop.staff WHERE id = 7 AND 1 / (random() * 0)::int = 1",
        "SELECT count(*) FROM shop.staff WHERE id = 7 AND (SELECT boss FROM shop.teams) = 1",
        "SELECT count(*) FROM shop.staff s JOIN shop.teams t USING (boss) WHERE s.id = 7 AND 1 / t.boss > 5",
        "SELECT count(*) FROM shop.staff WHERE id = 7 AND boss IN (SELECT boss FROM shop.teams WHERE 1 / boss > 5)",
        "SELECT count(t.x) FROM shop.staff s JOIN (SELECT boss, 1 / boss AS x FROM shop.teams) t USING (boss) WHERE s.id = 7",
        "WITH t AS MATERIALIZED (SELECT boss, 1 / boss AS x FROM shop.teams) SELECT count(*) FROM shop.staff JOIN t USING (boss) WHERE id = 7",
        "SELECT count(*) FROM shop.staff, generate_series(1, 2, 0) WHERE id = 7",
        "SELECT count(*) FROM shop.staff, (SELECT boss FROM shop.teams LIMIT -1) t WHERE id = 7",
        "SELECT count(*) FROM shop.staff, shop.teams TABLESAMPLE BERNOULLI (-1) WHERE id = 7",
        "SELECT count(*) FROM shop.staff, LATERAL (SELECT ntile(0) OVER ()) t WHERE id = 7",
    ] {
        b.denies(sql, "42501", "group_size");
    }
    // A HAVING clause of the statement's own is asked only of groups that are large enough.
    for sql in [
        "SELECT region FROM shop.staff GROUP BY region HAVING 1 / (count(*) - 1) >= 0 ORDER BY 1",
        "SELECT region FROM shop.staff WHERE region = 'west' GROUP BY region HAVING (region || count(*))::int > 0",
    ] {
        b.allows(sql);
        assert_eq!(
            b.unconfined().simple(sql).errors.len(),
            1,
            "control run: {sql}"
        );
    }
    // Nor are the conditions of what stands around.
    for sql in [
        "SELECT * FROM (SELECT region, count(*) FROM shop.staff GROUP BY region) x WHERE 1 / (length(region) - 4) < 2",
        "WITH x AS (SELECT region, count(*) FROM shop.staff GROUP BY region) SELECT * FROM x WHERE 1 / (length(region) - 4) < 2",
        "SELECT * FROM (SELECT region FROM shop.staff GROUP BY region UNION ALL SELECT 'abcde') x WHERE 1 / (length(region) - 4) < 2",
        "SELECT * FROM (SELECT DISTINCT region, sum(count(*)) OVER (PARTITION BY region) FROM shop.staff GROUP BY region) x WHERE 1 / (length(region) - 4) < 2",
    ] {
        b.allows(sql);
        assert_eq!(
            b.unconfined().simple(sql).errors.len(),
            1,
            "control run: {sql}"
        );
    }
    // Nor is what is selected.
    b.allows("SELECT region, 1 / (count(*) - 1) FROM shop.staff GROUP BY region");
    // Conditions that raise nothing may be asked.
    for sql in [
        "SELECT count(*) FROM shop.staff WHERE id BETWEEN 1 AND 20 AND region IN ('north', 'south') AND name IS NOT NULL AND NOT boss = 3",
        "SELECT count(*) FROM shop.staff WHERE lower(region) = 'north' AND length(name) > 3 AND coalesce(boss, 0) < 9",
        "SELECT extract(year FROM since), count(*) FROM shop.staff GROUP BY 1",
        "SELECT since::date, count(*) FROM shop.staff GROUP BY 1",
        "SELECT count(*) FROM shop.staff WHERE pay > 1010 AND pay BETWEEN 1000 AND 1020 + 5 AND region ILIKE 'n%' AND left(region, 1) = 'n'",
        "SELECT count(*) FROM shop.staff WHERE since > now() - interval '30 days' OR since < now() OR extract(year FROM since) = 2024",
        "SELECT date_trunc('month', since), left(region, 1), count(*), count(1), count(DISTINCT boss) FROM shop.staff GROUP BY 1, 2",
        "WITH g AS (SELECT boss, avg(pay) AS pay FROM shop.staff GROUP BY boss) SELECT title, pay / 12 || ' a month' FROM g JOIN shop.teams USING (boss)",
    ] {
        b.allows(sql);
    }
}

fn nothing_stands_beside_it(b: &Bench) {
    staffed(b);
    for sql in [
        "SELECT region, count(*) FROM shop.staff, generate_series(1, 100) GROUP BY region",
        "SELECT s.region FROM shop.staff s JOIN shop.staff o ON true GROUP BY s.region",
        "SELECT title, count(*) FROM shop.staff JOIN shop.teams USING (boss) GROUP BY title",
        "SELECT unnest(array[1, 1, 1, 1, 1]), * FROM shop.staff GROUP BY 1, id",
        "SELECT unnest(array[1, 1, 1, 1, 1]), sum(pay) FROM shop.staff WHERE id = 7 GROUP BY 1",
        "SELECT sum(pay) FROM shop.staff WHERE id = 7 GROUP BY generate_series(1, 5) > 0",
        "SELECT sum(q.p) FROM shop.staff s, LATERAL (SELECT CASE WHEN s.id = 7 THEN s.pay END AS p) q",
        "SELECT count(v.one) FROM shop.staff s LEFT JOIN (VALUES (1), (2)) v(one) ON s.id = 7 AND s.boss = 0 AND v.one = 1",
        "SELECT sum(s.pay) FROM shop.staff s JOIN generate_series(1, 1000) g ON g = 1 OR s.id = 7 AND s.boss = 0",
        "SELECT sum(float8 '1e308') FROM shop.staff, generate_series(1, 2) WHERE id = 7 AND boss = 0",
        "SELECT corr(v.x, v.x) FROM shop.staff, (VALUES (numeric '1e400'), (1)) v(x) WHERE id = 7 AND boss = 0",
        "SELECT sum(1e308) FROM shop.staff WHERE id = 7",
        "SELECT count(q.boss) FROM shop.staff s, LATERAL (SELECT t.boss FROM shop.teams t WHERE t.boss = 1 AND s.id = 7) q",
        "SELECT count(*) FROM shop.staff s WHERE boss IN (SELECT boss FROM shop.teams)",
        "SELECT count(*) FROM shop.staff s WHERE EXISTS (SELECT FROM shop.teams t WHERE t.boss = s.boss)",
        "SELECT count(*) FROM shop.staff TABLESAMPLE BERNOULLI (10)",
        // What a query around computes may be computed where a row was found.
        "SELECT x.n FROM shop.teams t, LATERAL (SELECT count(*) AS n FROM shop.staff s WHERE s.boss = t.boss) x",
        "SELECT (SELECT count(*) FROM shop.staff s WHERE s.boss = t.boss) FROM shop.teams t",
        "SELECT x.n FROM (SELECT 1 / (boss - 1) AS d FROM shop.teams) t, LATERAL (SELECT count(*) AS n FROM shop.staff s WHERE s.id = 7 AND t.d = 1) x",
        "SELECT x.n FROM (VALUES (timestamp '4714-11-24 00:00 BC')) v(a), LATERAL (SELECT count(*) AS n FROM shop.staff s WHERE CASE WHEN s.id = 7 THEN date_trunc('year', v.a) END IS NULL) x",
        "SELECT x.n FROM (VALUES (numeric '1e400')) v(a), LATERAL (SELECT corr(s.pay, v.a) AS n FROM shop.staff s WHERE s.id = 7) x",
    ] {
        b.denies(sql, "42501", "group_size");
    }
    // Groups may stand beside anything.
    assert_eq!(
        rows(
            b,
            "WITH g AS (SELECT boss, count(*) AS n FROM shop.staff GROUP BY boss) SELECT title, n FROM g JOIN shop.teams USING (boss) ORDER BY 1"
        ),
        "team 0 9|team 1 10|team 2 10|team 3 10|team 4 10"
    );
}

/// Regions of 20, 10 and 4 people. A bonus have ten in the north and one in the south; an extra ten in the north, four of
/// those with a bonus, and one in the south, without.
fn awarded(b: &Bench) {
    b.setup(
        "CREATE TABLE shop.awards (id int PRIMARY KEY, name text, region text, bonus numeric, extra int);
         INSERT INTO shop.awards SELECT i, 'QUAGGA ' || i, CASE WHEN i <= 20 THEN 'north' WHEN i <= 30 THEN 'south' ELSE 'west' END,
                CASE WHEN i <= 10 OR i = 21 THEN 1000 + i END, CASE WHEN i BETWEEN 7 AND 16 OR i = 22 THEN i END FROM generate_series(1, 34) i;
         GRANT SELECT ON shop.awards TO @agent@, @plain@",
    );
    b.allow();
    b.setup("SELECT agent_policy.require_group_size('shop.awards', 5)");
}

fn aggregates_of_a_few_values_are_null(b: &Bench) {
    awarded(b);
    assert_eq!(
        b.unconfined()
            .value("SELECT sum(bonus) FROM shop.awards WHERE region = 'south'"),
        "1021",
        "control run"
    );
    for (sql, expected) in [
        (
            "SELECT region, count(*), count(1), count(name), count(bonus), sum(bonus) FROM shop.awards GROUP BY region ORDER BY region",
            "north 20 20 20 10 10055|south 10 10 10 ∅ ∅",
        ),
        (
            "SELECT avg(bonus), stddev(bonus), var_pop(bonus), variance(bonus) FROM shop.awards WHERE region = 'south'",
            "∅ ∅ ∅ ∅",
        ),
        // It is rows that count, also where their values are taken once or in an order.
        (
            "SELECT region, sum(DISTINCT bonus), count(DISTINCT bonus), sum(bonus ORDER BY id DESC), count(DISTINCT region) FROM shop.awards GROUP BY region ORDER BY region",
            "north 10055 10 10055 1|south ∅ ∅ ∅ 1",
        ),
        // Of two columns rows that have both.
        (
            "SELECT region, regr_count(bonus, extra), corr(bonus, extra), regr_avgx(bonus, extra), covar_pop(extra, bonus) FROM shop.awards GROUP BY region ORDER BY region",
            "north ∅ ∅ ∅ ∅|south ∅ ∅ ∅ ∅",
        ),
        (
            "SELECT region, regr_count(bonus, id), regr_avgy(bonus, id) FROM shop.awards GROUP BY region ORDER BY region",
            "north 10 1005.5|south ∅ ∅",
        ),
        // Whatever is done with it.
        (
            "SELECT region FROM shop.awards GROUP BY region HAVING sum(bonus) = 1021",
            "",
        ),
        (
            "SELECT region FROM shop.awards GROUP BY region HAVING count(bonus) < 5",
            "",
        ),
        (
            "SELECT region FROM shop.awards GROUP BY region HAVING count(bonus) IS NULL",
            "south",
        ),
        (
            "SELECT region FROM shop.awards GROUP BY region HAVING 1 / (count(bonus) - 1) IS NOT NULL",
            "north",
        ),
        (
            "SELECT region FROM shop.awards GROUP BY region ORDER BY sum(bonus) = 1021 DESC NULLS LAST, region",
            "north|south",
        ),
        (
            "SELECT DISTINCT sum(bonus) FROM shop.awards GROUP BY region ORDER BY 1",
            "10055|∅",
        ),
        (
            "SELECT region, sum(sum(bonus)) OVER (), rank() OVER (ORDER BY count(bonus)) FROM shop.awards GROUP BY region ORDER BY region",
            "north 10055 1|south 10055 2",
        ),
        (
            "SELECT region, (SELECT sum(a.bonus)), (SELECT 1 WHERE sum(a.bonus) = 1021) FROM shop.awards a GROUP BY region ORDER BY region",
            "north 10055 ∅|south ∅ ∅",
        ),
        (
            "SELECT region, sum(bonus) FROM shop.awards GROUP BY GROUPING SETS ((region), (region, id)) ORDER BY region",
            "north 10055|south ∅",
        ),
        (
            "WITH g AS (SELECT region, sum(bonus) AS s FROM shop.awards GROUP BY region) SELECT count(*), count(s), sum(s) FROM g",
            "2 1 10055",
        ),
        (
            "SELECT sum(bonus) FROM shop.awards WHERE region = 'south' UNION ALL SELECT 1",
            "∅|1",
        ),
        // Where a group is too small, as before.
        (
            "SELECT count(*), count(bonus) FROM shop.awards WHERE bonus IS NOT NULL AND region = 'south'",
            "",
        ),
    ] {
        assert_eq!(rows(b, sql), expected, "{sql}");
    }
    // No error tells either.
    for sql in [
        "SELECT region, 1 / (count(bonus) - 1) FROM shop.awards GROUP BY region",
        "SELECT region FROM shop.awards GROUP BY region HAVING 1 / (sum(bonus) - 1021) > -1",
    ] {
        b.allows(sql);
        assert_eq!(
            b.unconfined().simple(sql).errors.len(),
            1,
            "control run: {sql}"
        );
    }
    let mut agent = b.agent();
    b.counts_generic_plans();
    agent.query("PREPARE p(text) AS SELECT sum(bonus) FROM shop.awards WHERE region = $1");
    for _ in 0..7 {
        assert_eq!(agent.query("EXECUTE p('north')").texts(), [["10055"]]);
        assert_eq!(agent.query("EXECUTE p('south')").texts(), [["∅"]]);
    }
    assert_eq!(
        agent.value("SELECT shop.generic_plans() > 2"),
        "t",
        "control"
    );
    // What a mask has left is what counts; in groups of other sizes, other values are few.
    b.setup("SELECT agent_policy.mask_column('shop.awards', 'bonus', 'null')");
    assert_eq!(
        rows(
            b,
            "SELECT count(bonus), sum(bonus), count(extra) FROM shop.awards"
        ),
        "∅ ∅ 11"
    );
    b.setup(
        "SELECT agent_policy.unmask_column('shop.awards', 'bonus');
         SELECT agent_policy.require_group_size('shop.awards', 12)",
    );
    assert_eq!(
        rows(
            b,
            "SELECT region, count(*), sum(bonus) FROM shop.awards GROUP BY region"
        ),
        "north 20 ∅"
    );
    b.setup("SELECT agent_policy.remove_group_size('shop.awards')");
    assert_eq!(
        rows(
            b,
            "SELECT sum(bonus) FROM shop.awards WHERE region = 'south'"
        ),
        "1021"
    );
}

fn masks_filters_and_families_with_groups(b: &Bench) {
    staffed(b);
    b.setup(
        "SELECT agent_policy.mask_column('shop.staff', 'name');
         SELECT agent_policy.mask_column('shop.staff', 'pay', 'bucket', '{\"size\": 100}')",
    );
    assert_eq!(
        rows(
            b,
            "SELECT name, count(*), avg(pay)::int FROM shop.staff GROUP BY name"
        ),
        "*** 50 1000"
    );
    // A filter takes rows away before they are counted.
    b.setup("SELECT agent_policy.filter_rows('shop.staff', 'id <> 41')");
    assert_eq!(
        rows(b, "SELECT region, count(*) FROM shop.staff GROUP BY region"),
        "north 40"
    );
    // Parents and children share the requirement, and rows of several tables are told apart.
    b.setup(
        "SELECT agent_policy.require_group_size('shop.events_2024', 300);
         SELECT agent_policy.mask_column('shop.events', 'email', 'email')",
    );
    for sql in [
        "SELECT at FROM shop.events",
        "SELECT at FROM shop.events_2024",
    ] {
        b.denies(sql, "42501", "group_size");
    }
    b.allows("SELECT at FROM shop.events_2025");
    assert_eq!(rows(b, "SELECT count(*) FROM shop.events"), "600");
    assert_eq!(
        rows(
            b,
            "SELECT extract(year FROM at) AS year, count(*) FROM shop.events GROUP BY 1"
        ),
        "2024 365"
    );
    // Masks and filters that may raise an error would tell of the row that they do it for.
    b.setup("SELECT agent_policy.filter_rows('shop.staff', '1 / id > -1', name => 'raises')");
    b.denies(
        "SELECT count(*) FROM shop.staff",
        "42501",
        "policy_unavailable",
    );
    b.setup("SELECT agent_policy.remove_row_filter('shop.staff', name => 'raises')");
    // Every role has its own word, and the largest counts.
    b.setup("SELECT agent_policy.require_group_size('shop.staff', 45, '@agent@')");
    assert_eq!(rows(b, "SELECT region FROM shop.staff GROUP BY region"), "");
    // A policy that only watches leaves nothing out.
    b.setup("SELECT agent_policy.protect_role('@agent@', 'read_only', 'monitor')");
    assert_eq!(
        b.agent().query("SELECT * FROM shop.staff").texts().len(),
        50
    );
}

fn changes_of_such_a_table(b: &Bench) {
    staffed(b);
    b.setup(
        "GRANT ALL ON shop.staff TO @agent@, @plain@; SELECT agent_policy.protect_role('@agent@', 'read_write');
         SELECT agent_policy.allow_relation('@agent@', 'shop.staff', 'write'); GRANT ALL ON shop.scratch TO @agent@, @plain@;
         SELECT agent_policy.allow_relation('@agent@', 'shop.scratch', 'write')",
    );
    for sql in [
        // Rows of one's own would make a group of somebody else's large enough.
        "INSERT INTO shop.staff (id, name) VALUES (901, 'new')",
        "COPY shop.staff (id, name) FROM STDIN",
        "UPDATE shop.staff SET region = 'x' WHERE name = 'QUAGGA 7'",
        "DELETE FROM shop.staff WHERE name = 'QUAGGA 7' AND pay > 1000",
        "INSERT INTO shop.staff (id) VALUES (902) RETURNING *",
        "INSERT INTO shop.staff (id) VALUES (7) ON CONFLICT DO NOTHING",
        "MERGE INTO shop.staff s USING shop.teams t ON s.id = t.boss WHEN MATCHED THEN DO NOTHING",
        "UPDATE shop.scratch SET v = name FROM shop.staff",
        "INSERT INTO shop.scratch SELECT id, name FROM shop.staff",
        "SELECT name FROM shop.staff FOR UPDATE",
    ] {
        let answer = b.agent().simple(sql);
        denial(&answer, sql, "42501", "group_size");
    }
}

fn group_sizes_are_set_and_lifted(b: &Bench) {
    staffed(b);
    assert_eq!(
        b.value("SELECT concat_ws(' ', relation, minimum, role) FROM agent_policy.group_sizes"),
        "shop.staff 5"
    );
    for (sql, code) in [
        (
            "SELECT agent_policy.require_group_size('shop.staff', 1)",
            "22023",
        ),
        (
            "SELECT agent_policy.require_group_size('shop.staff', NULL)",
            "22004",
        ),
        ("SELECT agent_policy.require_group_size(NULL, 5)", "22004"),
        (
            "SELECT agent_policy.require_group_size('shop.staff_view', 5)",
            "42809",
        ),
        (
            "SELECT agent_policy.require_group_size('pg_class', 5)",
            "22023",
        ),
        (
            "SELECT agent_policy.require_group_size('shop.staff', 5, '@plain@')",
            "22023",
        ),
        (
            "SELECT agent_policy.require_group_size('shop.nothing', 5)",
            "42P01",
        ),
    ] {
        assert_eq!(b.setup_error(sql).code, code, "{sql}");
    }
    // In force at a running session's next statement, both ways.
    let mut agent = b.agent();
    agent.query("PREPARE p AS SELECT count(*) FROM shop.staff WHERE region = 'east'");
    assert!(agent.query("EXECUTE p").texts().is_empty());
    b.setup("SELECT agent_policy.require_group_size('shop.staff', 4)");
    assert_eq!(agent.query("EXECUTE p").texts(), [["4"]]);
    b.setup("SELECT agent_policy.require_group_size('shop.staff', 9)");
    assert!(agent.query("EXECUTE p").texts().is_empty());
    b.setup("SELECT agent_policy.remove_group_size('shop.staff'); SELECT agent_policy.remove_group_size('shop.staff')");
    assert_eq!(agent.query("EXECUTE p").texts(), [["4"]]);
    assert_eq!(
        agent
            .query("SELECT pay FROM shop.staff WHERE id = 1")
            .texts(),
        [["1001"]]
    );
    assert_eq!(
        b.value("SELECT string_agg(function, ',' ORDER BY id) FROM agent_policy.policy_history WHERE function ~ 'group_size'"),
        "require_group_size,require_group_size,require_group_size,remove_group_size"
    );
}

fn plans_and_catalogs_of_such_a_table(b: &Bench) {
    staffed(b);
    // A plan is shown, and never run nor estimated from what is in the table.
    let plan = rows(
        b,
        "EXPLAIN (ANALYZE) SELECT count(*) FROM shop.staff WHERE name = 'QUAGGA 7'",
    );
    assert!(
        plan.contains("Seq Scan") && !plan.contains("rows="),
        "{plan}"
    );
    assert_eq!(
        rows(b, "SELECT count(*) FROM pg_stats WHERE tablename = 'staff'"),
        "0"
    );
    assert_eq!(
        rows(
            b,
            "SELECT count(*) FROM pg_stat_user_tables WHERE relname = 'staff' AND n_live_tup > 0"
        ),
        "0"
    );
    for sql in [
        "SELECT * FROM shop.staff",
        "SELECT max(pay) FROM shop.staff",
    ] {
        let found = b.value(&format!(
            "SELECT string_agg(verdict || ' ' || rule, ',') FROM agent_policy.check('@agent@', '{sql}')"
        ));
        assert_eq!(found, "denied group_size", "{sql}");
    }
    assert_eq!(
        b.value("SELECT verdict FROM agent_policy.check('@agent@', 'SELECT region, avg(pay) FROM shop.staff GROUP BY 1')"),
        "allowed"
    );
}

//! Masks: the statement sees masked values everywhere. Each case has its control run by an unconfined role.

use cluster_tests::bench::leak;
use cluster_tests::{Bench, Case, cases};

pub const CASES: &[Case] = cases![
    every_kind_of_mask_gives_what_it_says,
    buckets_of_every_number,
    networks_of_inet_and_cidr,
    hashes_of_every_type,
    truncation_of_every_date,
    null_stays_null,
    projections,
    whole_rows_with_a_dropped_column,
    predicates_see_masked_values,
    joins_grouping_ordering_aggregates,
    hash_is_stable_across_tables,
    pg_stats_histograms,
    error_texts_carry_no_raw_value,
    system_columns,
    types_of_every_kind,
    outer_joins_and_full_joins,
    leaky_operators_in_predicates,
    statistics_through_leaky_operators,
    an_index_on_the_masked_column_does_not_tell,
    other_columns_keep_their_indexes,
    unmask_and_none,
    a_roles_own_mask_beats_the_general_one,
    the_hash_cannot_be_called,
    masks_never_raise,
];

fn every_kind_of_mask_gives_what_it_says(b: &Bench) {
    b.setup(
        "CREATE TABLE shop.kinds (id int, t text, c varchar(12), card text, mail text, key text, d date, ts timestamptz, n int, amount numeric,
            ip inet, free text, doc jsonb, name text, flag boolean, u uuid, arr text[], x text);
         INSERT INTO shop.kinds VALUES (1, 'secret', 'secret', '4111111111111111', 'anna.smith@okapi.test', 'k', '2001-05-17', '2001-05-17 10:11:12+00',
            37, 37.5, '192.168.17.5', 'write to anna@okapi.test today', '{\"ssn\":\"811-22-0001\",\"a\":1}', 'Anna', true,
            'aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee', ARRAY['a'], 'x');
         GRANT SELECT ON shop.kinds TO @agent@, @plain@",
    );
    b.allow();
    for (column, mask, options) in [
        ("t", "redact", "{}"),
        ("c", "constant", r#"{"value":"same"}"#),
        (
            "card",
            "partial",
            r#"{"keep_first":0,"keep_last":4,"pad":"*"}"#,
        ),
        ("mail", "email", "{}"),
        ("key", "hash", r#"{"length":16}"#),
        ("d", "truncate", r#"{"unit":"year"}"#),
        ("ts", "truncate", r#"{"unit":"month"}"#),
        ("n", "bucket", r#"{"size":10}"#),
        ("amount", "bucket", r#"{"size":10}"#),
        ("ip", "network", r#"{"ipv4":24,"ipv6":48}"#),
        ("name", "expression", r#"{"sql":"left(name,1)"}"#),
        ("free", "scrub", "{}"),
        ("doc", "scrub", "{}"),
        ("flag", "redact", "{}"),
        ("u", "redact", "{}"),
        ("arr", "redact", "{}"),
        ("x", "null", "{}"),
    ] {
        b.setup(&format!(
            "SELECT agent_policy.mask_column('shop.kinds', '{column}', '{mask}', '{options}')"
        ));
    }
    let row = b.allows("SET TimeZone = 'UTC'; SELECT t, c, card, mail, key, d, ts, n, amount, ip, name, flag, u, arr, x, free, doc FROM shop.kinds");
    let row = &row.texts()[0];
    assert_eq!(row[0], "***");
    assert_eq!(row[1], "same");
    assert_eq!(row[2], "************1111");
    assert_eq!(row[3], "a***@example.com");
    assert!(row[4].len() == 16 && row[4] != "k", "hash: {}", row[4]);
    assert_eq!(row[5], "2001-01-01");
    assert!(row[6].starts_with("2001-05-01 00:00:00"), "{}", row[6]);
    assert_eq!(row[7], "30");
    assert_eq!(row[8].parse::<f64>().ok(), Some(30.0), "{}", row[8]);
    assert!(row[9].starts_with("192.168.17.0"), "{}", row[9]);
    assert_eq!(row[10], "A");
    assert_eq!(row[11], "f");
    assert_eq!(row[12], "00000000-0000-0000-0000-000000000000");
    assert_eq!(row[13], "{}");
    assert_eq!(row[14], "∅");
    assert_eq!(row[15], "write to [EMAIL] today");
    assert_eq!(row[16], r#"{"a": 1, "ssn": "[SSN]"}"#);
}

/// A table of one column of this type, and what its agent sees of these values, in their order.
fn seen(b: &Bench, kind: &str, mask: &str, options: &str, values: &[&str]) -> Vec<String> {
    let literals: Vec<String> = (0_i32..)
        .zip(values)
        .map(|(i, value)| format!("({i}, '{value}'::{kind})"))
        .collect();
    b.setup(&format!(
        "DROP TABLE IF EXISTS shop.one; CREATE TABLE shop.one (i int, v {kind}); INSERT INTO shop.one VALUES {}, (1000, NULL);
         GRANT SELECT ON shop.one TO @agent@, @plain@;
         SELECT agent_policy.mask_column('shop.one', 'v', '{mask}', '{options}')",
        literals.join(", ")
    ));
    let sql = "SET TimeZone = 'UTC'; SELECT v, pg_typeof(v) FROM shop.one ORDER BY i";
    let (raw, masked) = (b.unconfined().query(sql).texts(), b.allows(sql).texts());
    assert_eq!(raw.len(), masked.len());
    for (raw, masked) in raw.iter().zip(&masked) {
        assert_eq!(raw[1], masked[1], "{mask} of {kind} has another type");
    }
    let mut column: Vec<String> = masked
        .into_iter()
        .map(|mut row| row.swap_remove(0))
        .collect();
    assert_eq!(column.pop().as_deref(), Some("∅"), "{mask} of {kind}: NULL");
    column
}

fn buckets_of_every_number(b: &Bench) {
    b.allow();
    for (kind, options, values, expected) in [
        (
            "smallint",
            r#"{"size":10}"#,
            &["37", "30", "0", "-1", "32767", "-32768"][..],
            &["30", "30", "0", "-10", "32760", "-32768"][..],
        ),
        (
            "integer",
            "{}",
            &["37", "-10", "-11", "2147483647", "-2147483648"],
            &["30", "-10", "-20", "2147483640", "-2147483648"],
        ),
        (
            "bigint",
            r#"{"size":1000}"#,
            &[
                "881001",
                "-1",
                "9223372036854775807",
                "-9223372036854775808",
            ],
            &[
                "881000",
                "-1000",
                "9223372036854775000",
                "-9223372036854775808",
            ],
        ),
        (
            "real",
            r#"{"size":0.5}"#,
            &["37.26", "37.5", "-0.1", "NaN", "Infinity", "-Infinity"],
            &["37", "37.5", "-0.5", "NaN", "Infinity", "-Infinity"],
        ),
        (
            "double precision",
            r#"{"size":0.25}"#,
            &["12.9", "12.75", "-12.9", "NaN", "Infinity", "1e300"],
            &["12.75", "12.75", "-13", "NaN", "Infinity", "1e+300"],
        ),
        (
            "numeric",
            r#"{"size":2.5}"#,
            &["37.51", "37.5", "-0.01", "12345678901234567890.7"],
            &["37.5", "37.5", "-2.5", "12345678901234567890.0"],
        ),
        // The multiple below does not fit: the least that does.
        (
            "numeric(4,2)",
            "{}",
            &["37.51", "-99.99"],
            &["30.00", "-99.99"],
        ),
    ] {
        assert_eq!(seen(b, kind, "bucket", options, values), expected, "{kind}");
    }
    // In predicates, groups and joins it is the bucket.
    seen(b, "int", "bucket", "{}", &["31", "37", "39", "41"]);
    assert_eq!(
        b.allows("SELECT v, count(*) FROM shop.one WHERE v IS NOT NULL GROUP BY v ORDER BY v")
            .texts(),
        [["30", "3"], ["40", "1"]]
    );
    assert!(
        b.allows("SELECT 1 FROM shop.one WHERE v > 30 AND v < 40")
            .rows
            .is_empty()
    );
}

fn networks_of_inet_and_cidr(b: &Bench) {
    b.allow();
    let inets = &[
        "192.168.17.5",
        "192.168.17.5/16",
        "2001:db8:1:2::5",
        "::1",
        "10.1.2.3/32",
    ][..];
    let cidrs = &[
        "10.1.2.0/25",
        "10.0.0.0/8",
        "2001:db8:1:2::/64",
        "2001:db8::/32",
    ][..];
    for (kind, options, values, expected) in [
        (
            "inet",
            "{}",
            inets,
            &[
                "192.168.17.0/24",
                "192.168.0.0/16",
                "2001:db8:1::/48",
                "::/48",
                "10.1.2.0/24",
            ][..],
        ),
        (
            "inet",
            r#"{"ipv4":8,"ipv6":32}"#,
            inets,
            &[
                "192.0.0.0/8",
                "192.0.0.0/8",
                "2001:db8::/32",
                "::/32",
                "10.0.0.0/8",
            ],
        ),
        (
            "inet",
            r#"{"ipv4":0,"ipv6":0}"#,
            inets,
            &["0.0.0.0/0", "0.0.0.0/0", "::/0", "::/0", "0.0.0.0/0"],
        ),
        (
            "cidr",
            "{}",
            cidrs,
            &[
                "10.1.2.0/24",
                "10.0.0.0/8",
                "2001:db8:1::/48",
                "2001:db8::/32",
            ],
        ),
        (
            "cidr",
            r#"{"ipv4":16,"ipv6":16}"#,
            cidrs,
            &["10.1.0.0/16", "10.0.0.0/8", "2001::/16", "2001::/16"],
        ),
    ] {
        assert_eq!(
            seen(b, kind, "network", options, values),
            expected,
            "{kind} {options}"
        );
    }
    // What a binary client gets is a sound value, of the same kind.
    let mut agent = b.agent();
    let binary = |wire: &mut cluster_tests::Wire| {
        wire.parse("", "SELECT v FROM shop.one WHERE i = 0")
            .bind("", "", &[], true)
            .execute("", 0)
            .sync()
            .ok()
            .rows[0][0]
            .clone()
            .expect("a value")
    };
    assert_eq!(binary(&mut agent), [2, 16, 1, 4, 10, 1, 0, 0]);
    assert_eq!(
        binary(&mut b.unconfined()),
        [2, 25, 1, 4, 10, 1, 2, 0],
        "control run"
    );
}

fn hashes_of_every_type(b: &Bench) {
    const ID: &str = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee";
    const OTHER: &str = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeef";
    b.setup(&format!(
        "CREATE TABLE shop.here (id int, t text, v varchar(40), c char(20), n name, u uuid, k bigint, ts text[], vs varchar(40)[], us uuid[], ks bigint[]);
         CREATE TABLE shop.there (id int, t text, v varchar(40), c char(20), n name, u uuid, k bigint, ts text[], vs varchar(40)[], us uuid[], ks bigint[]);
         INSERT INTO shop.here VALUES (1, 'QUAGGA', 'QUAGGA', 'QUAGGA', 'QUAGGA', '{ID}', 881001, '{{QUAGGA,other,NULL}}', '{{QUAGGA}}', '{{{ID},{OTHER}}}', '{{881001,-5}}'),
            (2, 'other', 'other', 'other', 'other', '{OTHER}', -5, '{{}}', '{{other}}', '{{}}', '{{}}'); INSERT INTO shop.here (id) VALUES (3);
         INSERT INTO shop.there SELECT * FROM shop.here ORDER BY id DESC;
         GRANT SELECT ON shop.here, shop.there TO @agent@, @plain@",
    ));
    b.allow();
    let columns = ["t", "v", "c", "n", "u", "k", "ts", "vs", "us", "ks"];
    for table in ["here", "there"] {
        for column in columns {
            b.setup(&format!(
                "SELECT agent_policy.mask_column('shop.{table}', '{column}', 'hash')"
            ));
        }
    }
    let rows = b
        .masks("SELECT t, v, c, n, u, k, ts, vs, us, ks FROM shop.here ORDER BY id")
        .texts();
    let (one, two) = (&rows[0], &rows[1]);
    for (i, column) in columns.iter().enumerate() {
        assert_ne!(one[i], two[i], "{column}: other values, other hashes");
        assert_eq!(rows[2][i], "∅", "{column}: NULL");
        assert_eq!(
            b.allows(&format!(
                "SELECT count(*) FROM shop.here h JOIN shop.there t USING ({column})"
            ))
            .one(),
            "2",
            "{column}: the same in two tables"
        );
    }
    // Every kind of text has the same one.
    let hash = |text: &str| text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
    assert!(hash(&one[0]), "{}", one[0]);
    assert_eq!(
        (&one[1], one[2].trim_end(), &one[3]),
        (&one[0], one[0].as_str(), &one[0])
    );
    assert_eq!(
        b.allows("SELECT count(*) FROM shop.here h JOIN shop.there t ON h.t = t.v AND h.v = t.n AND h.n = t.t AND h.t = t.c")
            .one(),
        "2"
    );
    // So have elements.
    assert_eq!(one[6], format!("{{{},{},NULL}}", one[0], two[0]));
    assert_eq!(one[7], format!("{{{}}}", one[0]));
    assert_eq!(one[8], format!("{{{},{}}}", one[4], two[4]));
    assert_eq!(one[9], format!("{{{},{}}}", one[5], two[5]));
    assert_eq!((two[6].as_str(), two[8].as_str()), ("{}", "{}"));
    // A uuid that says that it is made up, and a number that is none below zero.
    assert!(
        one[4].len() == 36 && one[4].as_bytes()[14] == b'8',
        "{}",
        one[4]
    );
    assert!(
        one[5] != "881001" && one[5].parse::<i64>().is_ok_and(|n| n >= 0),
        "{}",
        one[5]
    );
    // Another length is a part of it; other types have none.
    b.setup(r#"SELECT agent_policy.mask_column('shop.there', 't', 'hash', '{"length":8}')"#);
    assert_eq!(
        b.allows("SELECT t FROM shop.there WHERE id = 1").one(),
        one[0][..8]
    );
    for column in ["id", "u", "k"] {
        let error = b.setup_error(&format!(
            r#"SELECT agent_policy.mask_column('shop.there', '{column}', 'hash', '{{"length":8}}')"#
        ));
        assert!(!error.hint.is_empty(), "{column}: {error}");
        assert_eq!(error.code, if column == "id" { "42804" } else { "22023" });
    }
}

fn truncation_of_every_date(b: &Bench) {
    b.allow();
    let units = [
        ("decade", "2000-01-01", "00:00:00"),
        ("year", "2001-01-01", "00:00:00"),
        ("quarter", "2001-04-01", "00:00:00"),
        ("month", "2001-05-01", "00:00:00"),
        // a Monday
        ("week", "2001-05-14", "00:00:00"),
        ("day", "2001-05-17", "00:00:00"),
        ("hour", "2001-05-17", "10:00:00"),
        ("minute", "2001-05-17", "10:11:00"),
    ];
    for (unit, day, time) in units {
        let options = format!(r#"{{"unit":"{unit}"}}"#);
        if ["day", "hour", "minute"].contains(&unit) {
            b.setup("DROP TABLE IF EXISTS shop.one; CREATE TABLE shop.one (v date)");
            let error = b.setup_error(&format!(
                "SELECT agent_policy.mask_column('shop.one', 'v', 'truncate', '{options}')"
            ));
            assert!(
                error.code == "22023" && error.hint.contains("week"),
                "{error}"
            );
        } else {
            assert_eq!(
                seen(
                    b,
                    "date",
                    "truncate",
                    &options,
                    &["2001-05-17", "infinity", "-infinity"]
                ),
                [day, "infinity", "-infinity"],
                "{unit}"
            );
        }
        let values = &["2001-05-17 10:11:12.345", "infinity"];
        assert_eq!(
            seen(b, "timestamp", "truncate", &options, values),
            [format!("{day} {time}"), "infinity".into()],
            "{unit}"
        );
        // In UTC, whatever TimeZone says.
        let values = &[
            "2001-05-17 10:11:12.345+00",
            "2001-05-17 19:11:12+09",
            "-infinity",
        ];
        let moment = format!("{day} {time}+00");
        assert_eq!(
            seen(b, "timestamptz", "truncate", &options, values),
            [&moment, &moment, "-infinity"],
            "{unit}"
        );
        assert_eq!(
            b.allows(
                "SET TimeZone = 'Asia/Tokyo'; SELECT v AT TIME ZONE 'UTC' FROM shop.one WHERE i < 2"
            )
            .column(),
            [format!("{day} {time}"), format!("{day} {time}")],
            "{unit}"
        );
    }
    // The default is the year; before 1970 and before Christ it is the begin as well.
    assert_eq!(
        seen(
            b,
            "date",
            "truncate",
            "{}",
            &["1931-12-31", "1970-01-01", "0044-03-15 BC"]
        ),
        ["1931-01-01", "1970-01-01", "0044-01-01 BC"]
    );
}

fn null_stays_null(b: &Bench) {
    b.mask();
    b.setup("INSERT INTO shop.customers (id, name) VALUES (9999, 'Nobody')");
    let row = b.allows("SELECT email, ssn, phone, born, salary, note, profile FROM shop.customers WHERE id = 9999").texts();
    assert_eq!(row, vec![vec!["∅"; 7]]);
}

fn projections(b: &Bench) {
    b.mask();
    for sql in [
        "SELECT * FROM shop.customers",
        "TABLE shop.customers",
        "SELECT email, ssn, phone, born, salary, note, profile FROM shop.customers WHERE id = 1",
        "SELECT x.c3, x.c4 FROM shop.customers AS x(c1, c2, c3, c4) WHERE c1 = 1",
        "WITH a AS MATERIALIZED (SELECT * FROM shop.customers) SELECT * FROM a WHERE id = 1",
        "SELECT (SELECT email FROM shop.customers WHERE id = 1)",
        "SELECT ARRAY(SELECT ssn FROM shop.customers ORDER BY id)",
        "SELECT email FROM shop.customers UNION SELECT ssn FROM shop.customers",
        "SELECT v.x FROM shop.customers c, LATERAL (VALUES (c.email), (c.ssn)) v(x) WHERE c.id = 1",
        "SELECT coalesce(email, ''), nullif(ssn, ''), concat(phone), format('%s', note), greatest(email, '') FROM shop.customers WHERE id = 1",
        "SELECT reverse(reverse(email)), upper(note), substr(ssn, 1), convert_from(convert_to(email, 'UTF8'), 'UTF8') FROM shop.customers WHERE id = 1",
        "SELECT lag(email) OVER (ORDER BY id), first_value(ssn) OVER (ORDER BY id) FROM shop.customers",
        "SELECT json_build_object('e', email), jsonb_agg(ssn), string_agg(phone, ','), array_agg(born) FROM shop.customers GROUP BY email",
        "SELECT DISTINCT ON (email) email FROM shop.customers",
        "SELECT max(email), min(ssn), max(born), sum(salary), min(salary) FROM shop.customers",
        "SELECT profile ->> 'email', profile #>> '{email}', jsonb_path_query(profile, '$.email') FROM shop.customers WHERE id = 1",
        "SELECT to_char(born, 'YYYY-MM-DD'), born + 0, salary + 0, salary::text FROM shop.customers WHERE id = 1",
        "COPY shop.customers TO STDOUT",
        "COPY shop.customers (email) TO STDOUT CSV",
        "COPY (SELECT email FROM shop.customers) TO STDOUT",
        "VALUES ((SELECT email FROM shop.customers WHERE id = 1))",
        "SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY email) FROM shop.customers",
        "SELECT mode() WITHIN GROUP (ORDER BY ssn) FROM shop.customers",
        "WITH RECURSIVE r AS (SELECT email, 1 AS n FROM shop.customers WHERE id = 1 UNION ALL SELECT email, n + 1 FROM r WHERE n < 2) SELECT * FROM r",
    ] {
        b.masks(sql);
    }
}

fn whole_rows_with_a_dropped_column(b: &Bench) {
    b.mask();
    for sql in [
        "SELECT c FROM shop.customers c WHERE id = 1",
        "SELECT c::text FROM shop.customers c WHERE id = 1",
        "SELECT (c).email, (c).* FROM shop.customers c WHERE id = 1",
        "SELECT ROW(c.*) FROM shop.customers c WHERE id = 1",
        "SELECT to_jsonb(c) FROM shop.customers c WHERE id = 1",
        "SELECT row_to_json(c) FROM shop.customers c WHERE id = 1",
        "SELECT json_agg(c) FROM shop.customers c",
        "SELECT array_agg(c) FROM shop.customers c WHERE id < 3",
        "SELECT d.e FROM (SELECT c AS e FROM shop.customers c WHERE id = 1) d",
        "SELECT x.email FROM (SELECT (c).* FROM shop.customers c) x WHERE x.id = 1",
        "SELECT r.* FROM shop.customers c, LATERAL (SELECT c.*) r WHERE c.id = 1",
    ] {
        b.masks(sql);
    }
    assert_eq!(
        b.allows("SELECT count(c), count(DISTINCT c) FROM shop.customers c")
            .text(0, 0),
        "401"
    );
    // The hole is where it was: columns behind it keep their places.
    let row = b
        .allows("SELECT to_jsonb(c) FROM shop.customers c WHERE id = 4")
        .one();
    let row: serde_json::Value = serde_json::from_str(&row).expect("json");
    assert_eq!(
        (
            row["name"].as_str(),
            row["region"].as_str(),
            row["ssn"].as_str()
        ),
        (Some("Customer 4"), Some("north"), Some("***"))
    );
}

fn predicates_see_masked_values(b: &Bench) {
    b.mask();
    for sql in [
        "SELECT id FROM shop.customers WHERE email = 'c1@okapi.test'",
        "SELECT id FROM shop.customers WHERE ssn = '811-22-0001'",
        "SELECT id FROM shop.customers WHERE ssn LIKE '811%'",
        "SELECT id FROM shop.customers WHERE ssn > '8' AND ssn < '9'",
        "SELECT id FROM shop.customers WHERE note ~ '^QUAGGA'",
        "SELECT id FROM shop.customers WHERE born < '1932-01-01'",
        "SELECT id FROM shop.customers WHERE salary > 1000",
        "SELECT id FROM shop.customers WHERE salary BETWEEN 881000 AND 881002",
        "SELECT id FROM shop.customers WHERE ssn IN (SELECT '811-22-' || lpad(i::text, 4, '0') FROM generate_series(1, 99) i)",
        "SELECT id FROM shop.customers WHERE ssn = ANY (ARRAY['811-22-0001', '811-22-0002'])",
        "SELECT id FROM shop.customers WHERE lower(email) = 'c1@okapi.test'",
        "SELECT id FROM shop.customers WHERE (email, ssn) = ('c1@okapi.test', '811-22-0001')",
        "SELECT id FROM shop.customers c WHERE c.profile @> '{\"email\":\"c1@okapi.test\"}'",
        "SELECT id FROM shop.customers c WHERE c::text LIKE '%okapi.test%'",
        "SELECT 1 FROM shop.customers GROUP BY ssn HAVING ssn = '811-22-0001'",
        "SELECT c.id FROM shop.customers c JOIN (VALUES ('811-22-0007')) v(s) ON v.s = c.ssn",
        "SELECT v.s FROM (VALUES ('811-22-0007')) v(s) WHERE EXISTS (SELECT 1 FROM shop.customers c WHERE c.ssn = v.s)",
        "SELECT '811-22-0007' INTERSECT SELECT ssn FROM shop.customers",
    ] {
        let control = b.unconfined().query(sql);
        assert!(!control.rows.is_empty(), "control run finds rows: {sql}");
        let confined = b.allows(sql);
        assert!(
            confined.rows.is_empty(),
            "{} rows found by raw value: {sql}",
            confined.rows.len()
        );
    }
    // What the mask shows can be asked for.
    assert_eq!(
        b.allows("SELECT id FROM shop.customers WHERE ssn = '***'")
            .rows
            .len(),
        401
    );
    assert_eq!(
        b.allows("SELECT count(*) FROM shop.customers WHERE born = '1970-01-01'")
            .one(),
        "401"
    );
}

fn joins_grouping_ordering_aggregates(b: &Bench) {
    b.mask();
    assert_eq!(
        b.allows("SELECT ssn, count(*) FROM shop.customers GROUP BY ssn")
            .texts(),
        vec![vec!["***".to_owned(), "401".into()]]
    );
    assert_eq!(
        b.allows("SELECT count(DISTINCT note), count(DISTINCT salary) FROM shop.customers")
            .texts()[0],
        ["1", "1"]
    );
    assert_eq!(
        b.allows("SELECT sum(salary) FROM shop.customers")
            .one()
            .parse::<f64>()
            .ok(),
        Some(0.0)
    );
    // The order of the raw values does not show.
    let raw = b
        .unconfined()
        .query("SELECT id FROM shop.customers ORDER BY salary DESC, id LIMIT 5")
        .column();
    let masked = b
        .allows("SELECT id FROM shop.customers ORDER BY salary DESC, id LIMIT 5")
        .column();
    assert_eq!(masked, ["1", "2", "3", "4", "5"]);
    assert_ne!(raw, masked, "control run");
    assert_eq!(
        b.allows("SELECT rank() OVER (ORDER BY ssn) FROM shop.customers ORDER BY 1 DESC LIMIT 1")
            .one(),
        "1"
    );
    assert_eq!(
        b.allows("SELECT count(*) FROM (SELECT ssn FROM shop.customers EXCEPT SELECT '***') x")
            .one(),
        "0"
    );
    let pairs = b
        .allows("SELECT count(*) FROM shop.customers a JOIN shop.customers b ON a.ssn = b.ssn")
        .one();
    assert_eq!(
        pairs,
        (401 * 401).to_string(),
        "a join on a constant mask joins all"
    );
}

fn hash_is_stable_across_tables(b: &Bench) {
    b.setup("CREATE TABLE shop.other (who text); INSERT INTO shop.other SELECT ssn FROM shop.customers WHERE id <= 10; GRANT SELECT ON shop.other TO @agent@, @plain@");
    b.allow();
    b.setup("SELECT agent_policy.mask_column('shop.customers', 'ssn', 'hash'); SELECT agent_policy.mask_column('shop.other', 'who', 'hash')");
    assert_eq!(
        b.allows("SELECT count(*) FROM shop.customers c JOIN shop.other o ON o.who = c.ssn")
            .one(),
        "10"
    );
    assert_eq!(
        b.allows("SELECT count(DISTINCT ssn) FROM ONLY shop.customers")
            .one(),
        "400"
    );
    b.masks("SELECT ssn FROM shop.customers");
    // Keyed: no well-known digest of the value.
    let hash = b
        .allows("SELECT ssn FROM shop.customers WHERE id = 1")
        .one();
    let plain = b
        .unconfined()
        .query(
            "SELECT md5(ssn), encode(sha256(ssn::bytea), 'hex') FROM shop.customers WHERE id = 1",
        )
        .texts();
    assert!(
        plain[0].iter().all(|digest| !digest.starts_with(&hash)),
        "an unkeyed digest: {hash}"
    );
}

fn pg_stats_histograms(b: &Bench) {
    b.mask();
    for sql in [
        "SELECT histogram_bounds::text, most_common_vals::text FROM pg_stats WHERE schemaname = 'shop'",
        "SELECT * FROM pg_stats WHERE tablename = 'customers'",
        "SELECT * FROM pg_stats WHERE tablename = 'contacts'",
        "SELECT * FROM pg_catalog.pg_stats s WHERE s.tablename LIKE 'events%'",
    ] {
        b.hides(sql);
    }
}

fn error_texts_carry_no_raw_value(b: &Bench) {
    b.mask();
    for sql in [
        "SELECT email::int FROM shop.customers WHERE id = 1",
        "SELECT ssn::date FROM shop.customers WHERE id = 1",
        "SELECT note::uuid FROM shop.customers WHERE id = 1",
        "SELECT note::jsonb FROM shop.customers WHERE id = 1",
        "SELECT phone::inet FROM shop.customers WHERE id = 1",
        "SELECT 1 FROM shop.customers WHERE email::int = 1",
        "SELECT ('x' || email)::tsquery, email::numeric FROM shop.customers WHERE id = 1",
        "SELECT to_timestamp(ssn, 'DD') , ssn::bit(3) FROM shop.customers WHERE id = 1",
    ] {
        b.hides(sql);
    }
}

fn system_columns(b: &Bench) {
    b.mask();
    assert_eq!(
        b.allows("SELECT DISTINCT tableoid::regclass::text FROM ONLY shop.customers")
            .one(),
        "shop.customers"
    );
    assert_eq!(
        b.allows("SELECT count(DISTINCT tableoid) FROM shop.events")
            .one(),
        "2"
    );
    for column in ["ctid", "xmin", "cmax"] {
        let answer = b
            .agent()
            .simple(&format!("SELECT {column}, email FROM shop.customers"));
        assert_eq!(leak(&answer.bytes), None);
        if let Some(error) = answer.errors.first() {
            assert_ne!(
                error.code, "XX000",
                "a clear error, not an internal one: {error}"
            );
            assert!(!error.message.contains("attribute -"), "{error}");
        }
    }
}

fn types_of_every_kind(b: &Bench) {
    b.setup(
        "CREATE TYPE shop.mood AS ENUM ('QUAGGA_sad', 'ok');
         CREATE DOMAIN shop.mail AS text CHECK (value LIKE '%@%');
         CREATE TYPE shop.pair AS (a text, b int);
         CREATE TABLE shop.types (id int, a text, b varchar(3), c char(20), d bytea, e json, g text[], h int[], i mood_t, j shop.mail, k shop.pair,
            l tsvector, m point, n money, o interval, p time, q timetz, r bit(8), s macaddr, t cidr, u int4range, v name, w \"char\", x oid, y uuid, z numeric(3,1),
            aa timestamp, ab float8, ac smallint, ad daterange, ae tstzmultirange)".replace("mood_t", "shop.mood").as_str(),
    );
    b.setup(
        "INSERT INTO shop.types VALUES (1, 'QUAGGA a', 'QUA', 'QUAGGA c', 'QUAGGA d', '{\"a\":\"QUAGGA e\"}', ARRAY['QUAGGA g'], ARRAY[88100], 'QUAGGA_sad',
            'QUAGGA@j', ROW('QUAGGA k', 1), 'QUAGGA', point(88100, 1), 88100, '88100 days', '11:22:33', '11:22:33+00', B'10101010', '08:00:2b:01:02:03', '10.1.2.0/24',
            '[88100,88101)', 'QUAGGA v', 'Q', 88100, 'aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee', 88.1, '1931-02-03', 88100, 881, '[1931-02-03,1931-02-04)', '{[1931-02-03,1931-02-04)}');
         GRANT SELECT ON shop.types TO @agent@, @plain@",
    );
    b.control("SELECT * FROM shop.types");
    b.allow();
    let raw = b
        .unconfined()
        .query("SELECT * FROM shop.types")
        .texts()
        .remove(0);
    let columns = b.unconfined().query("SELECT * FROM shop.types").columns;
    for (column, value) in columns.iter().zip(&raw).skip(1) {
        // A type without a neutral value (an enum, a checked domain, a row) refuses with a hint; null is what remains.
        let redact = b.fill(&format!(
            "SELECT agent_policy.mask_column('shop.types', '{column}', 'redact')"
        ));
        let mut su = b.cluster.connect("postgres", &b.db, &[]).expect("connects");
        if let Some(error) = su.simple(&redact).errors.first() {
            assert_eq!(error.code, "42804", "{column}: {error}");
            assert!(!error.hint.is_empty(), "{column}: {error}");
            su.query(&redact.replace("'redact'", "'null'"));
        }
        let answer = b
            .agent()
            .simple(&format!("SELECT {column} FROM shop.types"));
        if let Some(error) = answer.errors.first() {
            assert_ne!(error.code, "XX000", "{column}: {error}");
            assert_eq!(leak(&answer.bytes), None, "{column}");
        } else {
            // The type has to stay, so that a constant that happens to be the value is no mask.
            assert_ne!(&answer.text(0, 0), value, "{column} comes back raw");
        }
        let kind = |mut w: cluster_tests::Wire| {
            w.query(&format!("SELECT pg_typeof({column})::text FROM shop.types"))
                .one()
        };
        assert_eq!(
            kind(b.agent()),
            kind(b.unconfined()),
            "{column} changes its type"
        );
    }
    let answer = b.agent().query("SELECT * FROM shop.types");
    assert_eq!(leak(&answer.bytes), None);
}

fn outer_joins_and_full_joins(b: &Bench) {
    b.mask();
    b.masks("SELECT c.* FROM shop.orders o LEFT JOIN shop.customers c ON c.id = o.customer_id WHERE o.id = 1");
    b.masks("SELECT email, ssn FROM shop.customers NATURAL FULL JOIN (SELECT 'nobody'::text AS email) z");
    b.masks("SELECT a.email FROM shop.customers a FULL JOIN shop.customers b USING (id)");
    // NULLs of the nullable side stay NULL, also for constant masks.
    let row = b.allows("SELECT c.ssn, c.email, c.born, c FROM (VALUES (1)) v(i) LEFT JOIN shop.customers c ON c.id = -v.i").texts();
    assert_eq!(row, vec![vec!["∅"; 4]]);
}

fn leaky_operators_in_predicates(b: &Bench) {
    b.mask();
    b.setup("SELECT agent_policy.allow_function('@agent@', 'shop.loud(text)')");
    for sql in [
        "SELECT id FROM shop.customers WHERE shop.loud(email) AND id < 3",
        "SELECT shop.loud(ssn) FROM shop.customers WHERE id < 3",
        "SELECT id FROM shop.customer_list WHERE shop.loud(ssn)",
    ] {
        b.masks(sql);
    }
}

fn statistics_through_leaky_operators(b: &Bench) {
    // CVE-2017-7484, CVE-2019-10130, CVE-2025-8713: the estimator calls the operator on histogram bounds while planning.
    b.setup(
        "SET ROLE shop_owner;
         CREATE FUNCTION shop.stat_lt(text, text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE NOTICE 'stat: % %', $1, $2; RETURN $1 < $2; END $$;
         CREATE OPERATOR shop.<<< (procedure = shop.stat_lt, leftarg = text, rightarg = text, restrict = scalarltsel);
         RESET ROLE",
    );
    b.mask();
    b.setup("SELECT agent_policy.allow_function('@agent@', 'shop.stat_lt(text,text)')");
    for relation in [
        "shop.customers",
        "ONLY shop.customers",
        "shop.customer_list",
        "shop.vips",
    ] {
        let sql = format!("EXPLAIN SELECT 1 FROM {relation} WHERE ssn OPERATOR(shop.<<<) '5'");
        let mut agent = b.agent();
        agent.simple(&sql);
        agent.simple(&sql.replace("EXPLAIN ", ""));
        assert_eq!(leak(&agent.received), None, "{sql}");
    }
    b.control("EXPLAIN SELECT 1 FROM ONLY shop.customers WHERE ssn OPERATOR(shop.<<<) '5'");
}

fn an_index_on_the_masked_column_does_not_tell(b: &Bench) {
    b.mask();
    b.setup("VACUUM ANALYZE shop.customers");
    for setting in ["", "enable_seqscan = off", "enable_bitmapscan = off"] {
        // The agent itself may not SET it.
        if !setting.is_empty() {
            b.setup(&format!("ALTER DATABASE @db@ SET {setting}"));
        }
        for sql in [
            "SELECT min(ssn), max(ssn) FROM ONLY shop.customers",
            "SELECT ssn FROM ONLY shop.customers ORDER BY ssn LIMIT 1",
            "SELECT ssn FROM ONLY shop.customers WHERE ssn > '811-22-0001'",
            "SELECT ssn FROM ONLY shop.customers WHERE ssn > '*'",
            "SELECT lower(email) FROM ONLY shop.customers WHERE lower(email) > ''",
        ] {
            b.masks(sql);
            if !setting.is_empty() {
                let plan = b
                    .unconfined()
                    .query(&format!("EXPLAIN {sql}"))
                    .column()
                    .join("\n");
                assert!(plan.contains("Index"), "control run: {sql}\n{plan}");
            }
        }
        // What an index finds is found by raw values.
        for (condition, raw, masked) in [
            ("ssn > '811-22-0390'", "10", "0"),
            ("ssn = '811-22-0007'", "1", "0"),
            ("ssn = '***'", "0", "400"),
            ("lower(email) = 'c7@okapi.test'", "1", "0"),
            ("lower(email) = 'c***@example.com'", "0", "400"),
        ] {
            let sql = format!("SELECT count(*) FROM ONLY shop.customers WHERE {condition}");
            assert_eq!(b.unconfined().query(&sql).one(), raw, "control run: {sql}");
            assert_eq!(b.allows(&sql).one(), masked, "{setting}: {sql}");
        }
        assert_eq!(
            b.allows("SELECT id FROM ONLY shop.customers ORDER BY ssn DESC, id LIMIT 2")
                .column(),
            ["1", "2"],
            "{setting}"
        );
    }
}

fn other_columns_keep_their_indexes(b: &Bench) {
    b.mask();
    let plan = b
        .allows("EXPLAIN SELECT email FROM ONLY shop.customers WHERE id = 7")
        .column()
        .join("\n");
    assert!(plan.contains("customers_pkey"), "{plan}");
}

fn unmask_and_none(b: &Bench) {
    b.mask();
    b.setup("SELECT agent_policy.unmask_column('shop.customers', 'email')");
    assert!(
        b.allows("SELECT email FROM shop.customers WHERE id = 1")
            .shows("c1@okapi.test")
    );
    b.setup("SELECT agent_policy.mask_column('shop.customers', 'ssn', 'none', role => '@agent@')");
    assert!(
        b.allows("SELECT ssn FROM shop.customers WHERE id = 1")
            .shows("811-22-0001")
    );
}

fn a_roles_own_mask_beats_the_general_one(b: &Bench) {
    b.mask();
    b.setup("SELECT agent_policy.mask_column('shop.customers', 'ssn', 'partial', '{\"keep_last\":4}', '@agent@')");
    assert_eq!(
        b.allows("SELECT ssn FROM shop.customers WHERE id = 1")
            .one(),
        "*******0001"
    );
    b.setup("SELECT agent_policy.unmask_column('shop.customers', 'ssn', '@agent@')");
    assert_eq!(
        b.allows("SELECT ssn FROM shop.customers WHERE id = 1")
            .one(),
        "***"
    );
}

fn the_hash_cannot_be_called(b: &Bench) {
    b.allow();
    b.setup("SELECT agent_policy.mask_column('shop.customers', 'ssn', 'hash')");
    b.setup("GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA agent_policy TO @agent@; GRANT USAGE ON SCHEMA agent_policy TO @agent@");
    let functions = b.setup("SELECT proname::text, pg_get_function_identity_arguments(oid) FROM pg_proc WHERE pronamespace = 'agent_policy'::regnamespace AND proname ~ 'mask|hash|hmac|scrub'");
    for row in functions.texts() {
        let count = if row[1].is_empty() {
            0
        } else {
            row[1].matches(", ").count() + 1
        };
        let call = format!(
            "SELECT agent_policy.{}({})",
            row[0],
            vec!["NULL"; count].join(", ")
        );
        let answer = b.agent().simple(&call);
        assert!(!answer.errors.is_empty(), "an agent may call {call}");
    }
}

fn masks_never_raise(b: &Bench) {
    b.setup(
        "CREATE TABLE shop.odd (id int, t text, d date, ts timestamptz, n numeric, f float8, i int, ip inet, j jsonb,
            s smallint, l bigint, r real, x timestamp, e json, u uuid, c cidr, ta text[]);
         INSERT INTO shop.odd (id, t, d, ts, n, f, i, ip, j) VALUES
            (1, '', '-infinity', 'infinity', 'NaN', 'NaN', -2147483648, '::', 'null'), (2, 'é', 'infinity', '-infinity', 'Infinity', '-Infinity', 2147483647, '0.0.0.0/0', '[]'),
            (3, repeat('@', 1000), '4713-01-01 BC', '294276-12-31', -1e400, 1e308, 0, 'ffff::/0', '\"x\"'), (4, '@', '5874897-12-31', '4713-01-01 BC', 1e-400, -1e308, -1, '1.2.3.4/31', '{\"ssn\":{\"a\":[1]}}'),
            (5, E'\\U0001F600\\U0001F600', '1970-01-01', 'epoch', 0, 0, 1, '::1', '{\"ssn\":null}');
         UPDATE shop.odd SET s = CASE id WHEN 1 THEN -32768 WHEN 2 THEN 32767 ELSE 0 END, l = CASE id WHEN 1 THEN -9223372036854775808 WHEN 2 THEN 9223372036854775807 ELSE -1 END,
            r = CASE id WHEN 1 THEN 'NaN' WHEN 2 THEN '-Infinity' WHEN 3 THEN 3.4e38 ELSE -1e-45 END, x = (CASE id WHEN 1 THEN '-infinity' WHEN 2 THEN 'infinity' WHEN 3 THEN '4713-01-01 BC' ELSE '294276-12-31 23:59:59' END)::timestamp,
            e = j::text::json, u = gen_random_uuid(), c = network(ip), ta = ARRAY[t, NULL, 'see 811-22-0001'];
         UPDATE shop.odd SET e = '{\"a\": 1e400, \"ssn\": \"811-22-0001\", \"a\": \"\\ud83d\\ude00\", \"811-22-0002\": [[[[1]]]]}' WHERE id = 3;
         GRANT SELECT ON shop.odd TO @agent@, @plain@",
    );
    b.allow();
    for (column, mask, options) in [
        ("t", "email", "{}"),
        ("t", "partial", r#"{"keep_first":2,"keep_last":2}"#),
        ("t", "hash", "{}"),
        ("d", "truncate", r#"{"unit":"month"}"#),
        ("ts", "truncate", r#"{"unit":"year"}"#),
        ("n", "bucket", r#"{"size":10}"#),
        ("f", "bucket", r#"{"size":0.1}"#),
        ("i", "bucket", r#"{"size":7}"#),
        ("ip", "network", "{}"),
        ("t", "scrub", "{}"),
        ("j", "scrub", "{}"),
        ("e", "scrub", "{}"),
        ("ta", "scrub", "{}"),
        (
            "j",
            "json",
            r#"{"paths":{"$.ssn":"hash","$.**.a":"email"}}"#,
        ),
        ("s", "bucket", r#"{"size":7}"#),
        ("l", "bucket", r#"{"size":9223372036854775807}"#),
        ("r", "bucket", r#"{"size":1e300}"#),
        ("x", "truncate", r#"{"unit":"decade"}"#),
        ("u", "hash", "{}"),
        ("l", "hash", "{}"),
        ("ta", "hash", r#"{"length":64}"#),
        ("c", "network", r#"{"ipv4":0,"ipv6":128}"#),
    ] {
        b.setup(&format!(
            "SELECT agent_policy.mask_column('shop.odd', '{column}', '{mask}', '{options}')"
        ));
        let answer = b.agent().simple(&format!("SELECT {column} FROM shop.odd"));
        if let Some(error) = answer.errors.first() {
            panic!("{mask} raises: {error}");
        }
        assert_eq!(answer.rows.len(), 5);
    }
    b.setup("SELECT agent_policy.mask_column('shop.odd', 't', 'partial', '{\"keep_first\":2,\"keep_last\":2}')");
    let values = b.allows("SELECT t FROM shop.odd ORDER BY id").column();
    assert!(
        !values[1].contains('é') && !values[4].contains('\u{1F600}'),
        "too short to hide shows nothing: {values:?}"
    );
}

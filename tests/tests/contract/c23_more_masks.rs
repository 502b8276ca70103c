//! Masks of documents and arrays, masks by label, columns that nobody has classified, and the preview.

use cluster_tests::bench::leak;
use cluster_tests::{Bench, Case, Wire, cases};

pub const CASES: &[Case] = cases![
    json_by_path,
    json_refused,
    json_in_odd_documents,
    arrays_by_element,
    domains,
    labels_carry_masks,
    labels_follow_at_once,
    labels_must_fit,
    labels_are_for_admins,
    labels_of_parents_and_children,
    labels_survive_a_dump,
    expressions_use_other_columns,
    buckets_of_numerics,
    values_of_every_length,
];

fn json_by_path(b: &Bench) {
    b.setup(
        r#"CREATE TABLE shop.docs (id int, doc jsonb);
        INSERT INTO shop.docs VALUES
            (1, '{"ssn": "811-22-0001", "name": "Anna", "card": {"number": "4111111111111111", "year": 2030},
                  "mails": ["a@okapi.test", {"mail": "b@okapi.test"}], "n": 881001, "deep": [{"x": [{"secret": "QUAGGA"}]}], "note": "write to c@okapi.test"}'),
            (2, '[{"ssn": "811-22-0002"}, {"ssn": ["811-22-0003", 881002]}]'), (3, NULL), (4, '"QUAGGA"'), (5, '{}');
        GRANT SELECT ON shop.docs TO @agent@, @plain@"#,
    );
    b.allow();
    b.setup(
        r#"SELECT agent_policy.mask_column('shop.docs', 'doc', 'json', '{"paths": {
            "$.ssn": "redact", "$.card.number": {"mask": "partial", "keep_last": 4}, "$.mails": "email", "$.mails.mail": "email", "$.n": "null",
            "$.**.secret": {"mask": "constant", "value": "gone"}, "$.note": "scrub", "$.name": {"mask": "hash", "length": 12}}}')"#,
    );
    let rows = b
        .masks("SELECT doc FROM shop.docs WHERE id IN (1, 2, 3, 5) ORDER BY id")
        .column();
    let row: serde_json::Value = serde_json::from_str(&rows[0]).expect("json");
    let hash = row["name"].as_str().expect("a text").to_owned();
    assert!(hash.len() == 12 && hash != "Anna", "{hash}");
    assert_eq!(
        rows[0].replace(&hash, "HASH"),
        r#"{"n": null, "ssn": "***", "card": {"year": 2030, "number": "************1111"}, "deep": [{"x": [{"secret": "gone"}]}], "name": "HASH", "note": "write to [EMAIL]", "mails": ["a***@example.com", {}]}"#
    );
    assert_eq!(rows[1], r#"[{"ssn": "***"}, {"ssn": []}]"#);
    assert_eq!((rows[2].as_str(), rows[3].as_str()), ("∅", "{}"));
    // What comes out is a sound jsonb for everything that looks into it.
    for sql in [
        "SELECT doc -> 'card' ->> 'number' FROM shop.docs WHERE id = 1",
        "SELECT jsonb_path_query(doc, 'strict $.card.number') FROM shop.docs WHERE id = 1",
        "SELECT jsonb_set(doc, '{a}', '1'), doc - 'ssn', doc || '{}', doc #- '{mails,0}', jsonb_pretty(doc), doc::text::jsonb = doc FROM shop.docs WHERE id = 1",
        "SELECT e.key, e.value FROM shop.docs, LATERAL jsonb_each(doc) e WHERE id = 1",
        "SELECT doc FROM shop.docs WHERE doc @> '{\"ssn\": \"***\"}'",
    ] {
        b.allows(sql);
    }
    assert_eq!(
        b.allows("SELECT bool_and(doc::text::jsonb = doc) FROM shop.docs")
            .one(),
        "t"
    );
    assert!(
        b.allows("SELECT id FROM shop.docs WHERE doc @> '{\"ssn\": \"811-22-0001\"}'")
            .rows
            .is_empty()
    );
    // The whole of a document that is no object.
    b.setup(r#"SELECT agent_policy.mask_column('shop.docs', 'doc', 'json', '{"paths": {"$": "redact"}}')"#);
    assert_eq!(
        b.masks("SELECT doc FROM shop.docs ORDER BY id").column(),
        ["{}", "[]", "∅", "\"***\"", "{}"]
    );
}

fn json_refused(b: &Bench) {
    b.setup("CREATE TABLE shop.texts (id int, t text, j json, d jsonb)");
    b.allow();
    for (column, options, code) in [
        ("t", r#"{"paths": {"$.a": "redact"}}"#, "42804"),
        ("j", r#"{"paths": {"$.a": "redact"}}"#, "42804"),
        ("d", "{}", "22023"),
        ("d", r#"{"paths": {}}"#, "22023"),
        ("d", r#"{"paths": {"a": "redact"}}"#, "22023"),
        ("d", r#"{"paths": {"$.a ? (@ > 1)": "redact"}}"#, "22023"),
        ("d", r#"{"paths": {"$.a": "bucket"}}"#, "22023"),
        (
            "d",
            r#"{"paths": {"$.a": {"mask": "hash", "x": 1}}}"#,
            "22023",
        ),
        ("d", r#"{"path": {"$.a": "redact"}}"#, "22023"),
    ] {
        let error = b.setup_error(&format!(
            "SELECT agent_policy.mask_column('shop.texts', '{column}', 'json', '{options}')"
        ));
        assert_eq!(error.code, code, "{column} {options}: {error}");
        assert!(!error.hint.is_empty(), "{error}");
    }
}

/// Wide, deep, large, odd: a document or NULL comes out, and never an error.
fn json_in_odd_documents(b: &Bench) {
    b.setup(
        "CREATE TABLE shop.odd (id int, doc jsonb);
         INSERT INTO shop.odd
             SELECT 1, jsonb_object_agg('key' || i, jsonb_build_array(i, i::numeric / 7, 'QUAGGA' || i, jsonb_build_object('ssn', '811-22-' || i))) FROM generate_series(1, 500) i;
         INSERT INTO shop.odd SELECT 2, (repeat('[', 1500) || '{\"ssn\": \"811-22-0001\"}' || repeat(']', 1500))::jsonb;
         INSERT INTO shop.odd SELECT 3, jsonb_build_object('ssn', repeat('QUAGGA', 100000), 'n', 1e300, 'm', -1e-300, 'big', repeat('9', 400)::numeric);
         INSERT INTO shop.odd VALUES (4, '{\"\": {\"ssn\": \"811-22-0004\"}, \"ssn\": {\"811-22-0005\": 1}, \"é\": \"QUAGGA\"}');
         GRANT SELECT ON shop.odd TO @agent@, @plain@",
    );
    b.allow();
    b.setup(
        r#"SELECT agent_policy.mask_column('shop.odd', 'doc', 'json', '{"paths": {"$.**.ssn": "redact", "$.*[2]": {"mask": "partial", "keep_last": 0}, "$.é": "redact", "$.n": "scrub", "$.m": "hash", "$.big": "email"}}')"#,
    );
    let answer = b.masks("SELECT doc FROM shop.odd");
    assert_eq!(answer.rows.len(), 4);
    let sound = b
        .allows("SELECT bool_and(doc::text::jsonb = doc AND jsonb_typeof(doc) IN ('object', 'array')) FROM shop.odd WHERE id <> 2")
        .one();
    assert_eq!(sound, "t");
    assert_eq!(
        b.allows("SELECT doc FROM shop.odd WHERE id = 4").one(),
        r#"{"": {"ssn": "***"}, "é": "***", "ssn": {}}"#
    );
    assert_eq!(
        b.allows("SELECT doc #>> '{key33,1}' = (33::numeric / 7)::text FROM shop.odd WHERE id = 1")
            .one(),
        "t",
        "what no path names stays as it is"
    );
}

fn arrays_by_element(b: &Bench) {
    b.setup(
        "CREATE TABLE shop.lists (id int, mails text[], codes varchar(11)[], names name[], days date[], at timestamptz[], n int[], amounts numeric(6,2)[], f float8[],
            ips inet[], keys uuid[], ids bigint[], notes text[], docs jsonb[], plain json[]);
         INSERT INTO shop.lists VALUES (1, ARRAY[['a@okapi.test', NULL], ['b@okapi.test', 'QUAGGA']], '[5:6]={811-22-0001,811-22-0002}', ARRAY['QUAGGA']::name[],
            ARRAY['1961-05-17', 'infinity', NULL]::date[], ARRAY['1961-05-17 10:11:12+00']::timestamptz[], ARRAY[37, NULL, -1], ARRAY[37.51, -9999.99], ARRAY['NaN', 12.5]::float8[],
            ARRAY['192.168.17.5', '::1']::inet[], ARRAY['aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee']::uuid[], ARRAY[881001], ARRAY['call c@okapi.test'],
            ARRAY['{\"ssn\": \"811-22-0001\"}', NULL]::jsonb[], ARRAY['{\"ssn\": \"811-22-0001\"}']::json[]);
         INSERT INTO shop.lists (id, mails, n) VALUES (2, '{}', NULL);
         GRANT SELECT ON shop.lists TO @agent@, @plain@",
    );
    b.allow();
    for (column, mask, options) in [
        ("mails", "email", "{}"),
        ("codes", "partial", "{}"),
        ("names", "partial", r#"{"keep_first":1,"keep_last":0}"#),
        ("days", "truncate", "{}"),
        ("at", "truncate", r#"{"unit":"month"}"#),
        ("n", "bucket", "{}"),
        ("amounts", "bucket", "{}"),
        ("f", "bucket", "{}"),
        ("ips", "network", "{}"),
        ("keys", "hash", "{}"),
        ("ids", "hash", "{}"),
        ("notes", "scrub", "{}"),
        ("docs", "json", r#"{"paths":{"$.ssn":"null"}}"#),
        ("plain", "scrub", "{}"),
    ] {
        b.setup(&format!(
            "SELECT agent_policy.mask_column('shop.lists', '{column}', '{mask}', '{options}')"
        ));
    }
    let rows = b
        .masks("SELECT mails, codes, names, days, at AT TIME ZONE 'UTC', n, amounts, f, ips, notes, docs, plain, keys, ids FROM shop.lists ORDER BY id".replace("at AT TIME ZONE 'UTC'", "(at[1] AT TIME ZONE 'UTC')::text").as_str())
        .texts();
    assert_eq!(
        rows[0][..12],
        [
            "{{a***@example.com,NULL},{b***@example.com,***}}",
            "[5:6]={*******0001,*******0002}",
            "{Q*****}",
            "{1961-01-01,infinity,NULL}",
            "1961-05-01 00:00:00",
            "{30,NULL,-10}",
            "{30.00,-9999.99}",
            "{NaN,10}",
            "{192.168.17.0/24,::/48}",
            r#"{"call [EMAIL]"}"#,
            r#"{"{\"ssn\": null}",NULL}"#,
            r#"{"{\"ssn\": \"[SSN]\"}"}"#,
        ]
    );
    assert!(rows[0][12].starts_with('{') && !rows[0][12].contains("aaaaaaaa"));
    assert_eq!((rows[1][0].as_str(), rows[1][5].as_str()), ("{}", "∅"));
    // Elements as they are: by subscript, unnested, in predicates.
    assert!(
        b.allows("SELECT id FROM shop.lists WHERE 'a@okapi.test' = ANY (mails)")
            .rows
            .is_empty()
    );
    b.masks("SELECT unnest(mails), mails[1][1] FROM shop.lists WHERE id = 1");
    for (column, mask) in [("mails", "bucket"), ("n", "hash"), ("days", "email")] {
        let error = b.setup_error(&format!(
            "SELECT agent_policy.mask_column('shop.lists', '{column}', '{mask}')"
        ));
        assert_eq!(error.code, "42804", "{error}");
    }
    // Nobody applies other functions by way of it.
    assert_eq!(
        b.value("SELECT agent_policy.mask_each(ARRAY['x'], 'upper(text)'::regprocedure)"),
        "∅"
    );
}

fn domains(b: &Bench) {
    b.setup(
        "CREATE DOMAIN shop.mail AS text; CREATE DOMAIN shop.mails AS shop.mail[]; CREATE DOMAIN shop.strict AS text CHECK (value LIKE '%@%');
         CREATE DOMAIN shop.doc AS jsonb; CREATE DOMAIN shop.money2 AS numeric(8,2);
         CREATE TABLE shop.domains (id int, a shop.mail, b shop.mails, c shop.mail[], d shop.strict, e shop.doc, f shop.money2, g shop.strict[]);
         INSERT INTO shop.domains VALUES (1, 'a@okapi.test', ARRAY['b@okapi.test'], ARRAY['c@okapi.test'], 'd@okapi.test', '{\"m\": \"e@okapi.test\"}', 7101.37, ARRAY['f@okapi.test']);
         GRANT SELECT ON shop.domains TO @agent@, @plain@",
    );
    b.allow();
    for (column, mask, options) in [
        ("a", "email", "{}"),
        ("b", "email", "{}"),
        ("c", "partial", "{}"),
        ("d", "constant", r#"{"value": "x@y.z"}"#),
        ("e", "json", r#"{"paths": {"$.m": "redact"}}"#),
        ("f", "bucket", r#"{"size": 1000}"#),
        ("g", "null", "{}"),
    ] {
        b.setup(&format!(
            "SELECT agent_policy.mask_column('shop.domains', '{column}', '{mask}', '{options}')"
        ));
    }
    let row = b
        .masks("SELECT a, b, c, d, e, f, g FROM shop.domains")
        .texts();
    assert_eq!(
        row[0],
        [
            "a***@example.com",
            "{b***@example.com}",
            "{********test}",
            "x@y.z",
            r#"{"m": "***"}"#,
            "7000.00",
            "∅"
        ]
    );
    assert_eq!(
        b.allows("SELECT pg_typeof(a)::text, pg_typeof(b)::text, pg_typeof(c)::text, pg_typeof(f)::text FROM shop.domains")
            .texts()[0],
        ["shop.mail", "shop.mails", "shop.mail[]", "shop.money2"]
    );
    // What might break a constraint is refused now, not when somebody reads.
    for (column, mask, options) in [
        ("d", "email", "{}"),
        ("g", "email", "{}"),
        ("d", "constant", r#"{"value": "nobody"}"#),
    ] {
        let error = b.setup_error(&format!(
            "SELECT agent_policy.mask_column('shop.domains', '{column}', '{mask}', '{options}')"
        ));
        assert!(matches!(error.code.as_str(), "42804" | "23514"), "{error}");
    }
}

const LABEL_EMAIL: &str =
    "SECURITY LABEL FOR agent_policy ON COLUMN shop.customers.email IS 'email'";

fn labels_carry_masks(b: &Bench) {
    b.allow();
    b.setup(
        "SECURITY LABEL FOR agent_policy ON COLUMN shop.customers.email IS 'email';
         SECURITY LABEL FOR agent_policy ON COLUMN shop.events.email IS 'email';
         SECURITY LABEL FOR agent_policy ON COLUMN shop.customers.ssn IS 'national id';
         SECURITY LABEL FOR agent_policy ON COLUMN shop.customers.region IS 'public';
         SELECT agent_policy.mask_label('email', 'email');
         SELECT agent_policy.mask_label('national id', 'partial', '{\"keep_last\": 4}');
         SELECT agent_policy.mask_label('national id', 'redact', role => '@agent@')",
    );
    for sql in [
        "SELECT email FROM shop.customers",
        "SELECT ssn FROM shop.customer_list",
        "SELECT email FROM shop.events_2024",
        "SELECT c.email, c.ssn FROM shop.customers c WHERE id = 1",
        "COPY shop.customers (email) TO STDOUT",
    ] {
        b.masks(sql);
    }
    let row = "SELECT email, ssn, region FROM shop.customers WHERE id = 1";
    assert_eq!(
        b.allows(row).texts()[0],
        ["c***@example.com", "***", "south"]
    );
    // A role's own mask beats the general one, a column's own that of its label.
    b.setup("SELECT agent_policy.unmask_label('national id', '@agent@'); SELECT agent_policy.mask_column('shop.customers', 'email', 'none')");
    assert_eq!(
        b.allows(row).texts()[0],
        ["c1@okapi.test", "*******0001", "south"]
    );
    b.setup("SELECT agent_policy.mask_label('national id', 'none', role => '@agent@')");
    assert_eq!(b.allows(row).texts()[0][1], "811-22-0001");
    assert_eq!(
        b.setup("SELECT label, mask, role FROM agent_policy.mask_labels ORDER BY label, mask")
            .texts(),
        [
            ["email", "email", "∅"],
            ["national id", "none", &b.agent],
            ["national id", "partial", "∅"]
        ]
    );
    assert_eq!(
        b.value("SELECT count(*) FROM agent_policy.labelled_columns"),
        "4"
    );
    assert_eq!(
        b.value("SELECT string_agg(DISTINCT function, ',' ORDER BY function) FROM agent_policy.policy_history WHERE function ~* 'label'"),
        "SECURITY LABEL,mask_label,unmask_label"
    );
}

/// In sessions that run, and in their prepared statements.
fn labels_follow_at_once(b: &Bench) {
    b.allow();
    b.setup("SELECT agent_policy.mask_label('email', 'email')");
    let mut agent = b.agent();
    agent.query("PREPARE whole AS SELECT email FROM shop.customers WHERE id = 1");
    agent.query("PREPARE child AS SELECT email FROM shop.vips");
    for _ in 0..6 {
        assert!(
            agent.query("EXECUTE whole").shows("okapi.test"),
            "control run"
        );
        assert!(
            agent.query("EXECUTE child").shows("okapi.test"),
            "control run"
        );
    }
    b.setup(LABEL_EMAIL);
    assert_eq!(leak(&agent.query("EXECUTE child").bytes), None);
    assert_eq!(agent.query("EXECUTE whole").one(), "c***@example.com");
    b.setup("SELECT agent_policy.mask_label('email', 'redact')");
    assert_eq!(agent.query("EXECUTE whole").one(), "***");
    b.setup("SECURITY LABEL FOR agent_policy ON COLUMN shop.customers.email IS NULL");
    assert!(agent.query("EXECUTE whole").shows("okapi.test"));
    // A type that the label's mask does not fit closes the table; it does not uncover it.
    b.setup(LABEL_EMAIL);
    b.setup("SELECT agent_policy.mask_label('email', 'email'); DROP INDEX shop.customers_lower_idx; DROP FUNCTION shop.all_customers_atomic() CASCADE; DROP VIEW shop.customer_list CASCADE; DROP MATERIALIZED VIEW IF EXISTS shop.contacts CASCADE;
             ALTER TABLE shop.customers ALTER COLUMN email TYPE bytea USING email::bytea");
    let answer = agent.simple("SELECT email FROM shop.customers");
    assert!(!answer.errors.is_empty());
    assert_eq!(leak(&answer.bytes), None);
}

fn labels_must_fit(b: &Bench) {
    b.allow();
    b.setup("SECURITY LABEL FOR agent_policy ON COLUMN shop.customers.born IS 'birthday'");
    assert_eq!(
        b.setup_error("SELECT agent_policy.mask_label('birthday', 'email')")
            .code,
        "42804"
    );
    b.setup("SELECT agent_policy.mask_label('birthday', 'truncate')");
    assert_eq!(
        b.allows("SELECT born FROM shop.customers WHERE id = 1")
            .one(),
        "1931-01-01"
    );
    for (sql, code) in [
        (
            "SECURITY LABEL FOR agent_policy ON COLUMN shop.customers.name IS 'birthday'",
            "42804",
        ),
        (
            "SECURITY LABEL FOR agent_policy ON COLUMN shop.customers.name IS ''",
            "22023",
        ),
        (
            "SECURITY LABEL FOR agent_policy ON COLUMN shop.customer_list.name IS 'x'",
            "42809",
        ),
        (
            "SECURITY LABEL FOR agent_policy ON COLUMN pg_class.relname IS 'x'",
            "42809",
        ),
        (
            "SECURITY LABEL FOR agent_policy ON TABLE shop.customers IS 'x'",
            "0A000",
        ),
        ("SELECT agent_policy.mask_label('x', 'nothing')", "22023"),
        (
            "SELECT agent_policy.mask_label('x', 'expression', '{\"sql\": \"1\"}')",
            "22023",
        ),
        (
            "SELECT agent_policy.mask_label('x', 'bucket', '{\"size\": 0}')",
            "22023",
        ),
        ("SELECT agent_policy.mask_label('', 'redact')", "22023"),
        ("SELECT agent_policy.mask_label(NULL, 'redact')", "22004"),
        (
            "SELECT agent_policy.mask_label('x', 'redact', role => '@plain@')",
            "22023",
        ),
    ] {
        let error = b.setup_error(sql);
        assert_eq!(error.code, code, "{sql}: {error}");
        assert!(!error.hint.is_empty(), "{sql}: {error}");
    }
}

fn labels_are_for_admins(b: &Bench) {
    b.allow();
    b.setup(LABEL_EMAIL);
    b.setup("SELECT agent_policy.mask_label('email', 'redact'); SELECT agent_policy.protect_role('@agent@', 'ddl'); SELECT agent_policy.allow_schema('@agent@', 'shop', 'write');
             ALTER TABLE shop.customers OWNER TO @agent@");
    b.denies(
        "SECURITY LABEL FOR agent_policy ON COLUMN shop.customers.email IS NULL",
        "42501",
        "",
    );
    b.setup(
        "ALTER TABLE shop.customers OWNER TO @plain@; GRANT SELECT ON shop.customers TO @agent@",
    );
    let error = b
        .unconfined()
        .error("SECURITY LABEL FOR agent_policy ON COLUMN shop.customers.email IS NULL");
    assert_eq!(error.code, "42501", "{error}");
    b.setup("GRANT agent_policy_admin TO @plain@");
    b.unconfined()
        .query("SECURITY LABEL FOR agent_policy ON COLUMN shop.customers.email IS 'email'");
    b.unconfined()
        .query("SELECT agent_policy.mask_label('email', 'email')");
    assert_eq!(
        b.allows("SELECT email FROM shop.customers WHERE id = 1")
            .one(),
        "c***@example.com"
    );
}

fn labels_of_parents_and_children(b: &Bench) {
    b.allow();
    b.setup(LABEL_EMAIL);
    b.setup("SECURITY LABEL FOR agent_policy ON COLUMN shop.vips.note IS 'note'; SECURITY LABEL FOR agent_policy ON COLUMN shop.events.payload IS 'note';
             SELECT agent_policy.mask_label('email', 'email'); SELECT agent_policy.mask_label('note', 'redact')");
    for sql in [
        "SELECT email, note FROM shop.vips",
        "SELECT note FROM shop.customers",
        "SELECT payload FROM shop.events_2025",
        "SELECT payload FROM shop.events",
    ] {
        b.masks(sql);
    }
    // A computed column has its sources' labels.
    b.setup(
        "CREATE TABLE shop.computed (id int, ssn text, tail text GENERATED ALWAYS AS ('QUAGGA' || right(ssn, 4)) STORED);
         INSERT INTO shop.computed (id, ssn) VALUES (1, '811-22-0001'); GRANT SELECT ON shop.computed TO @agent@, @plain@;
         SECURITY LABEL FOR agent_policy ON COLUMN shop.computed.ssn IS 'note'",
    );
    b.masks("SELECT * FROM shop.computed");
}

fn labels_survive_a_dump(b: &Bench) {
    b.allow();
    b.setup("SELECT agent_policy.mask_label('email', 'email', role => '@agent@')");
    b.setup(LABEL_EMAIL);
    // As pg_dump has them: the tables' rows, then each label by its own statement.
    let rows = b.value("SELECT jsonb_agg(l) FROM agent_policy.policy_label l");
    assert!(rows.contains(&b.agent), "{rows}");
    assert_eq!(
        b.value("SELECT 'policy_label'::text = ANY (SELECT c.relname::text FROM pg_extension e, unnest(e.extconfig) t JOIN pg_class c ON c.oid = t WHERE e.extname = 'agent_policy')"),
        "t"
    );
    b.setup(
        "SECURITY LABEL FOR agent_policy ON COLUMN shop.customers.email IS NULL;
         CREATE TABLE kept AS SELECT * FROM agent_policy.policy_label; TRUNCATE agent_policy.policy_label;
         SECURITY LABEL FOR agent_policy ON COLUMN shop.customers.email IS 'email';
         INSERT INTO agent_policy.policy_label SELECT * FROM kept",
    );
    b.masks("SELECT email FROM shop.customers");
}

fn expressions_use_other_columns(b: &Bench) {
    b.mask();
    b.setup(
        r#"SELECT agent_policy.mask_column('shop.customers', 'name', 'expression', '{"sql": "CASE WHEN region = ''north'' THEN name ELSE upper(region) || id END"}');
           SELECT agent_policy.mask_column('shop.customers', 'salary', 'expression', '{"sql": "salary - 881000 + length(email)"}')"#,
    );
    // They see raw values of the other columns, masked ones too.
    assert_eq!(
        b.allows(
            "SELECT name, salary, email FROM ONLY shop.customers WHERE id IN (1, 4) ORDER BY id"
        )
        .texts(),
        [
            ["SOUTH1", "13.01", "c***@example.com"],
            ["Customer 4", "13.04", "c***@example.com"]
        ]
    );
    // Also where the statement does not name them.
    assert_eq!(
        b.allows("SELECT name FROM ONLY shop.customers WHERE name = 'SOUTH1'")
            .one(),
        "SOUTH1"
    );
    b.masks("SELECT c, c.name, c.salary, c.email FROM shop.customers c WHERE id = 1");
}

/// Short and long texts, and more buckets than are kept, in all that keeps values over more than one row.
fn values_of_every_length(b: &Bench) {
    b.allow();
    b.setup(
        "CREATE TABLE shop.lengths (id int, n numeric(12,2), t text);
         INSERT INTO shop.lengths SELECT i, (i * 7919 % 100003 - 50000) / 7.0, substr(repeat('abcdefghijklmnopqrstuvwxyz', 8), 1 + i % 26, i % 90)
         FROM generate_series(1, 5000) i;
         GRANT SELECT ON shop.lengths TO @agent@, @plain@",
    );
    for (first, last, size) in [
        (0, 0, 10),
        (1, 0, 100),
        (0, 3, 1),
        (3, 4, 7),
        (9, 9, 1000),
        (20, 33, 50),
    ] {
        b.setup(&format!(
            r#"SELECT agent_policy.mask_column('shop.lengths', 'n', 'bucket', '{{"size": {size}}}'),
                      agent_policy.mask_column('shop.lengths', 't', 'partial', '{{"keep_first": {first}, "keep_last": {last}}}');
               CREATE OR REPLACE VIEW shop.lengths_by_hand AS SELECT id, (floor(n / {size}) * {size})::numeric(12,2) AS n,
                      CASE WHEN length(t) > {first} + {last} THEN left(t, {first}) || repeat('*', length(t) - {first} - {last}) || right(t, {last})
                           ELSE repeat('*', {first} + {last}) END AS t FROM shop.lengths;
               GRANT SELECT ON shop.lengths_by_hand TO @plain@"#
        ));
        for columns in [
            "id, n, t",
            "array_agg(n ORDER BY id), array_agg(t ORDER BY id)",
            "min(n), max(n), sum(n), min(t), max(t), count(DISTINCT n), count(DISTINCT t)",
            "id, lag(n, 200) OVER w, first_value(t) OVER w, nth_value(n, 3) OVER w WINDOW w AS (ORDER BY id)",
            "DISTINCT n, length(t)",
        ] {
            let rows = |mut wire: Wire, table: &str| {
                let (list, window) = columns.split_once(" WINDOW ").unwrap_or((columns, ""));
                let window = if window.is_empty() {
                    String::new()
                } else {
                    format!(" WINDOW {window}")
                };
                let mut rows = wire
                    .query(&format!("SELECT {list} FROM shop.{table}{window}"))
                    .texts();
                rows.sort();
                rows
            };
            let (ours, plain) = (
                rows(b.agent(), "lengths"),
                rows(b.unconfined(), "lengths_by_hand"),
            );
            let apart = ours.iter().zip(&plain).find(|(a, b)| a != b);
            assert_eq!(
                (apart, ours.len()),
                (None, plain.len()),
                "{columns}: {first}, {last}, {size}"
            );
        }
    }
}

fn buckets_of_numerics(b: &Bench) {
    // As text: how many digits are shown is part of the value. Sizes and values on both sides of what
    // is computed without numerics' own arithmetic.
    let unlike = "SELECT concat(count(*) > 100000, string_agg(format(' %s by %s: %s', value, size, ours), ',') \
                  FILTER (WHERE ours::text IS DISTINCT FROM plain::text)) FROM (
        SELECT value, size, least, agent_policy.mask_bucket(value, size, least) AS ours,
               CASE WHEN least = '-Infinity' THEN floor(value / size) * size
                    WHEN scale(size) > 0 THEN greatest(floor(value / size) * size, least)
                    ELSE round(greatest(floor(value / size) * size, least), scale(least)) END AS plain
        FROM (SELECT ((i * 7919) % 100003 - 50000) / 10.0 ^ (i % 7) FROM generate_series(1, 5000) i
              UNION ALL SELECT ((i * 104729)::numeric * 1000000007 - 5000000000000) / 100 FROM generate_series(1, 500) i
              UNION ALL SELECT unnest('{0,0.00,-0.5,9999,10000,-10000,-10000.0001,9999999999999999.99,-9999999999999999.99,10000000000000000,-1e30,1e-9,-1e-9}'::numeric[])) v(value),
             unnest('{1,7,100,10000,123456789,0.5,2.50,100.00}'::numeric[]) size,
             unnest('{-Infinity,-100,-99.5,-1e20,-10000000000.00}'::numeric[]) least) r";
    assert_eq!(b.value(unlike), "t");
    // As many digits as the column's type has, as with a cast to that type.
    b.allow();
    b.setup(
        "CREATE TABLE shop.scaled (a numeric(6,2), b numeric(4,-2), c numeric(6,2)[], d numeric, e numeric(30,20));
         INSERT INTO shop.scaled SELECT n, n, ARRAY[n, NULL], n, n / 7
         FROM unnest('{1234.56,-1234.56,9999.99,-9999.99,0,7,NULL,NaN}'::numeric[]) n;
         GRANT SELECT ON shop.scaled TO @agent@, @plain@",
    );
    for size in ["10", "1000", "0.5", "0.007", "3.33"] {
        for column in ["a", "b", "c", "d", "e"] {
            b.setup(&format!(
                r#"SELECT agent_policy.mask_column('shop.scaled', '{column}', 'bucket', '{{"size": {size}}}')"#
            ));
        }
        let by_hand =
            |column: &str, kind: &str| format!("(floor({column} / {size}) * {size})::{kind}");
        let shown = b.allows("SELECT a, b, c, d, e, pg_typeof(a) FROM shop.scaled");
        let plain = b.unconfined().query(&format!(
            "SELECT {}, {}, ARRAY(SELECT {} FROM unnest(c) x)::numeric(6,2)[], {}, {}, pg_typeof(a) FROM shop.scaled",
            "CASE WHEN a < -9900 THEN -9999.99 ELSE ".to_owned() + &by_hand("a", "numeric(6,2)") + " END",
            by_hand("b", "numeric(4,-2)"),
            "CASE WHEN x < -9900 THEN -9999.99 ELSE ".to_owned() + &by_hand("x", "numeric(6,2)") + " END",
            by_hand("d", "numeric"),
            by_hand("e", "numeric(30,20)"),
        ));
        assert_eq!(shown.texts(), plain.texts(), "size {size}");
    }
    assert_eq!(
        b.value("SELECT concat_ws(' ', agent_policy.mask_bucket('NaN', 10, '-Infinity'), agent_policy.mask_bucket('Infinity', 10, '-Infinity'))"),
        "NaN Infinity"
    );
}

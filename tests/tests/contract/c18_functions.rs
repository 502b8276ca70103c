//! What functions of the server tell of hidden objects, by OID and by name.

use cluster_tests::sql::literal;
use cluster_tests::{Answer, Bench, Case, Wire, cases};

use super::c18_catalogs::{clean, shows_zebu, zebra};

pub const CASES: &[Case] = cases![
    every_function_of_an_oid,
    every_function_of_a_name,
    hints_do_not_flicker,
    numbers_do_not_become_names,
    hidden_and_absent_are_the_same,
    columns_of_hidden_relations_are_not_guessed,
];

/// OIDs of everything hidden, of every catalog.
fn hidden_oids(b: &Bench) -> Vec<String> {
    let mut found = Vec::new();
    for (catalog, text) in [
        ("pg_class", "relname"),
        ("pg_type", "typname"),
        ("pg_proc", "proname"),
        ("pg_namespace", "nspname"),
        ("pg_constraint", "conname"),
        ("pg_trigger", "tgname"),
        ("pg_rewrite", "rulename"),
        ("pg_statistic_ext", "stxname"),
        ("pg_collation", "collname"),
        ("pg_ts_config", "cfgname"),
        ("pg_ts_dict", "dictname"),
        ("pg_foreign_server", "srvname"),
        ("pg_foreign_data_wrapper", "fdwname"),
        ("pg_authid", "rolname"),
        ("pg_policy", "polname"),
        ("pg_publication", "pubname"),
    ] {
        let of_catalog = b
            .setup(&format!("SELECT oid FROM {catalog} t WHERE {text} ~* 'zebu' AND oid >= 16384 ORDER BY oid DESC LIMIT 40"))
            .column();
        assert!(!of_catalog.is_empty(), "nothing is hidden in {catalog}");
        found.extend(of_catalog);
    }
    found.extend(
        b.setup("SELECT r.oid FROM pg_rewrite r WHERE ev_class IN ('zebu_vault.zebu_view'::regclass, 'shop.over_hidden'::regclass) \
                 UNION ALL SELECT oid FROM pg_operator WHERE oprname = '<<<<' \
                 UNION ALL SELECT oid FROM pg_trigger WHERE tgrelid = 'shop.visible'::regclass \
                 UNION ALL SELECT oid FROM pg_constraint WHERE conrelid = 'shop.visible'::regclass \
                 UNION ALL SELECT 'shop.over_hidden'::regclass::oid UNION ALL SELECT 'shop.visible_part'::regclass::oid \
                 UNION ALL SELECT 'shop.visible'::regclass::oid")
            .column(),
    );
    found.sort();
    found.dedup();
    found
}

/// Built-in functions whose arguments are of these types, and of which one says what is asked about.
fn functions(b: &Bench, subject: &str) -> Vec<(String, Vec<String>)> {
    b.setup(&format!(
        "SELECT p.proname, array_to_string(ARRAY(SELECT format_type(t, NULL) FROM unnest(p.proargtypes) t), ',') \
         FROM pg_proc p WHERE p.oid < 16384 AND p.prokind = 'f' AND p.provariadic = 0 AND p.pronargs BETWEEN 1 AND 4 \
           AND p.proargtypes::oid[] && ARRAY[{subject}]::oid[] \
           AND p.proargtypes::oid[] <@ ARRAY['oid'::regtype, 'regclass'::regtype, 'regproc'::regtype, 'regprocedure'::regtype, \
                'regtype'::regtype, 'regrole'::regtype, 'regnamespace'::regtype, 'regoper'::regtype, 'regoperator'::regtype, \
                'regconfig'::regtype, 'regdictionary'::regtype, 'regcollation'::regtype, 'text'::regtype, 'name'::regtype, \
                'int4'::regtype, 'int2'::regtype, 'bool'::regtype]::oid[] \
         ORDER BY 1, 2"
    ))
    .texts()
    .into_iter()
    .map(|row| (row[0].clone(), row[1].split(',').map(str::to_owned).collect()))
    .collect()
}

const OID_TYPES: &str = "'oid'::regtype, 'regclass'::regtype, 'regproc'::regtype, 'regprocedure'::regtype, 'regtype'::regtype, \
    'regrole'::regtype, 'regnamespace'::regtype, 'regoper'::regtype, 'regoperator'::regtype, 'regconfig'::regtype, \
    'regdictionary'::regtype, 'regcollation'::regtype";

/// Arguments that make sense of most functions: a privilege, a catalog, a property.
fn other_arguments(function: &str, kind: &str) -> &'static str {
    match kind {
        "text" if function == "has_function_privilege" => "'EXECUTE'",
        "text"
            if function.starts_with("has_")
                && [
                    "schema", "type", "language", "server", "sequence", "foreign",
                ]
                .iter()
                .any(|k| function.contains(k)) =>
        {
            "'USAGE'"
        }
        "text" if function.starts_with("has_") => "'SELECT'",
        "text" if function == "pg_has_role" => "'USAGE'",
        "text" => "'main'",
        "name" if function.contains("description") => "'pg_class'",
        "name" => "current_user",
        "boolean" => "true",
        "integer" | "smallint" => "2",
        _ => "0",
    }
}

/// Every built-in function that takes an OID is asked about everything that is hidden.
fn every_function_of_an_oid(b: &Bench) {
    zebra(b);
    let oids = hidden_oids(b);
    let list = oids.join(",");
    let (mut agent, mut plain) = (b.agent(), b.unconfined());
    let (mut told, mut answered, mut asked) = (0, 0, 0);
    for (function, kinds) in functions(b, OID_TYPES) {
        for (subject, kind) in kinds.iter().enumerate() {
            if kind != "oid" && !kind.starts_with("reg") {
                continue;
            }
            let arguments: Vec<String> = kinds
                .iter()
                .enumerate()
                .map(|(i, kind)| {
                    if i == subject {
                        format!("o::{kind}")
                    } else {
                        format!("{}::{kind}", other_arguments(&function, kind))
                    }
                })
                .collect();
            let statement = format!(
                "SELECT o::oid, (SELECT array_agg(x::text) FROM pg_catalog.\"{function}\"({}) x) FROM unnest('{{{list}}}'::oid[]) o",
                arguments.join(", ")
            );
            asked += 1;
            let native = plain.simple(&statement);
            told += usize::from(shows_zebu(&native.bytes));
            let answer = agent.simple(&statement);
            clean(&answer, &statement);
            answered += usize::from(answer.errors.is_empty());
        }
    }
    assert!(
        asked > 150 && told > 15 && answered > 60,
        "asked {asked}, told {told}, answered {answered}"
    );
}

/// Every built-in function that takes a name answers for a hidden one as for one that is not there.
fn every_function_of_a_name(b: &Bench) {
    zebra(b);
    let (mut agent, mut plain) = (b.agent(), b.unconfined());
    let pairs = [
        ("zebu_vault.zebu_table", "gnuu_vault.gnuu_table"),
        ("zebu_vault.zebu_view", "gnuu_vault.gnuu_view"),
        ("zebu_vault.zebu_status", "gnuu_vault.gnuu_status"),
        (
            "zebu_vault.zebu_function(int)",
            "gnuu_vault.gnuu_function(int)",
        ),
        ("zebu_vault.zebu_trigger_fn", "gnuu_vault.gnuu_trigger_fn"),
        ("zebu_vault", "gnuu_vault"),
        ("zebu_owner", "gnuu_owner"),
        ("zebu_server", "gnuu_server"),
        ("zebu_fdw", "gnuu_fdw"),
        ("zebu_vault.zebu_table", "zebu_vault.gnuu_table"),
    ];
    let (mut differ, mut asked) = (0, 0);
    for (function, kinds) in functions(
        b,
        "'text'::regtype, 'name'::regtype, 'regclass'::regtype, 'regtype'::regtype",
    ) {
        let about = [
            "has_",
            "to_reg",
            "pg_get_",
            "reg",
            "row_sec",
            "pg_has",
            "pg_relation",
            "pg_table",
            "pg_total",
            "pg_index",
            "pg_partition",
            "currval",
            "nextval",
            "pg_database",
            "pg_sequence",
        ];
        if !about.iter().any(|start| function.starts_with(start)) || function.starts_with("regexp")
        {
            continue;
        }
        for (subject, kind) in kinds.iter().enumerate() {
            if !matches!(kind.as_str(), "text" | "name" | "regclass" | "regtype") {
                continue;
            }
            for (hidden, absent) in pairs {
                let with = |name: &str| {
                    let arguments: Vec<String> = kinds
                        .iter()
                        .enumerate()
                        .map(|(i, kind)| {
                            if i == subject {
                                format!("{}::{kind}", literal(name))
                            } else {
                                format!(
                                    "{}::{kind}",
                                    match kind.as_str() {
                                        "oid" => "'shop.orders'::regclass",
                                        kind => other_arguments(&function, kind),
                                    }
                                )
                            }
                        })
                        .collect();
                    format!(
                        "SELECT pg_catalog.\"{function}\"({})::text",
                        arguments.join(", ")
                    )
                };
                let both = |wire: &mut Wire| {
                    let hidden = said(&wire.simple(&with(hidden)));
                    let absent = said(&wire.simple(&with(absent)));
                    (hidden, absent)
                };
                asked += 1;
                let (native, missing) = both(&mut plain);
                let name = |text: String| text.replace("zebu", "gnuu");
                differ += usize::from(name(native) != name(missing));
                let (one, other) = both(&mut agent);
                assert_eq!(name(one), name(other), "{}", with(hidden));
            }
        }
    }
    assert!(asked > 300 && differ > 50, "asked {asked}, differ {differ}");
}

/// All that an answer says, as text.
fn said(answer: &Answer) -> String {
    let mut text = format!("{:?}", answer.texts());
    for error in &answer.errors {
        text.push_str(&format!(
            "{} {} {} {} {}",
            error.code, error.message, error.detail, error.hint, error.context
        ));
    }
    text
}

/// A session reads its policy again whenever a role changes, in the midst of a statement too.
fn hints_do_not_flicker(b: &Bench) {
    zebra(b);
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                b.setup("ALTER ROLE @plain@ CONNECTION LIMIT 50");
            }
        });
        let mut agent = b.agent();
        let mut answers: Vec<String> = (0..600)
            .map(|_| {
                said(&agent.simple("SELECT has_server_privilege('zebu_vault.zebu_view', 'USAGE')"))
            })
            .collect();
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        answers.sort();
        answers.dedup();
        assert_eq!(answers.len(), 1, "{answers:#?}");
    });
}

fn numbers_do_not_become_names(b: &Bench) {
    zebra(b);
    let table = b.value("SELECT 'zebu_vault.zebu_table'::regclass::oid");
    let function = b.value("SELECT 'zebu_vault.zebu_function'::regproc::oid");
    let typid = b.value("SELECT 'zebu_vault.zebu_status'::regtype::oid");
    let schema = b.value("SELECT 'zebu_vault'::regnamespace::oid");
    let role = b.value("SELECT 'zebu_owner'::regrole::oid");
    let mut statements = vec![
        format!("SELECT {table}::regclass"),
        format!("SELECT {table}::regclass::text"),
        format!("SELECT '{table}'::regclass"),
        format!("SELECT '{table}'::text::regclass"),
        format!("SELECT {table}::oid::regclass"),
        format!("SELECT {table}::bigint::regclass"),
        format!("SELECT regclass({table})"),
        format!("SELECT ({table}::smallint)::regclass"),
        format!("SELECT ({table} + 0)::regclass, coalesce(NULL, {table}::regclass)"),
        format!("SELECT CAST({table} AS regclass) || ''"),
        format!("SELECT format('%s', {table}::regclass)"),
        format!("SELECT concat({table}::regclass, 1)"),
        format!("SELECT to_json({table}::regclass)"),
        format!("SELECT ARRAY[{table}]::oid[]::regclass[]"),
        format!("SELECT '{{{table}}}'::regclass[]"),
        format!("SELECT '{{{table}}}'::text::regclass[]"),
        format!("SELECT '{{{table}}}'::text[]::regclass[]"),
        format!("SELECT ROW({table}::regclass)"),
        format!("SELECT (SELECT {table}::regclass)"),
        format!("SELECT x::regclass FROM generate_series({table}::int, {table}::int) x"),
        format!("SELECT max(x)::oid::regclass FROM (VALUES ({table})) v(x)"),
        format!("SELECT CASE WHEN true THEN {table}::regclass END"),
        format!("SELECT * FROM json_to_record('{{\"a\": {table}}}') AS x(a regclass)"),
        format!("SELECT * FROM json_to_recordset('[{{\"a\": {table}}}]') AS x(a regclass[])"),
        format!(
            "SELECT * FROM xmltable('/a' PASSING '<a>{table}</a>' COLUMNS a regclass PATH '.')"
        ),
        format!(
            "SELECT json_populate_record(NULL::pg_catalog.pg_aggregate, '{{\"aggfnoid\": {function}}}')"
        ),
        format!(
            "SELECT jsonb_populate_record(NULL::pg_catalog.pg_range, '{{\"rngcanonical\": {function}}}')"
        ),
        format!(
            "SELECT '({function},n,0,-,-,-,-,-,-,-,-,f,f,r,r,0,0,0,0,0,,)'::pg_catalog.pg_aggregate"
        ),
        format!("SELECT ROW({function}::regproc)::text"),
        format!("SELECT {function}::regproc, {function}::regprocedure"),
        format!("SELECT {typid}::regtype"),
        format!("SELECT {schema}::regnamespace"),
        format!("SELECT {role}::regrole"),
        format!("PREPARE a(oid) AS SELECT $1::regclass; EXECUTE a({table}); DEALLOCATE a"),
        format!("PREPARE a(regclass) AS SELECT $1; EXECUTE a({table}); DEALLOCATE a"),
        format!("PREPARE a(text) AS SELECT $1; EXECUTE a({table}::regclass::text); DEALLOCATE a"),
        format!(
            "PREPARE a(text) AS SELECT $1; EXECUTE a(pg_catalog.pg_get_indexdef({table})); DEALLOCATE a"
        ),
        format!(
            "PREPARE a(text) AS SELECT $1; EXECUTE a(pg_catalog.format_type({typid}, 0)); DEALLOCATE a"
        ),
        format!("SELECT relname FROM pg_class WHERE oid = {table}"),
        format!("SELECT pg_get_expr(adbin, {table}) FROM pg_attrdef"),
        format!("SELECT pg_get_expr(conbin, {table}) FROM pg_constraint"),
    ];
    if b.version >= 17 {
        statements.push(format!(
            "SELECT * FROM json_table('[{table}]', '$[*]' COLUMNS (a regclass PATH '$'))"
        ));
        statements.push(format!(
            "SELECT json_value('{table}', '$' RETURNING regclass)"
        ));
    }
    let (mut agent, mut plain) = (b.agent(), b.unconfined());
    let mut told = 0;
    for statement in &statements {
        for part in cluster_tests::sql::split(statement) {
            told += usize::from(shows_zebu(&plain.simple(&part).bytes));
            clean(&agent.simple(&part), &part);
        }
    }
    assert!(
        told > 20,
        "control run: only {told} statements tell the plain role"
    );
    for (parameter, statement) in [
        (table.clone(), "SELECT $1::regclass"),
        (table.clone(), "SELECT $1::regclass::text"),
        (table.clone(), "SELECT $1::oid::regclass"),
        (format!("{{{table}}}"), "SELECT $1::regclass[]"),
        (format!("{{{table}}}"), "SELECT $1::oid[]::regclass[]"),
        (function.clone(), "SELECT $1::regproc"),
        (typid.clone(), "SELECT $1::regtype"),
    ] {
        assert!(
            shows_zebu(&plain.extended(statement, &[Some(&parameter)]).bytes),
            "{statement}"
        );
        clean(&agent.extended(statement, &[Some(&parameter)]), statement);
    }
}

/// Whether something exists cannot be told by the refusal.
fn hidden_and_absent_are_the_same(b: &Bench) {
    zebra(b);
    let pairs = [
        ("zebu_vault", "gnuu_vault"),
        ("zebu_vault.zebu_table", "zebu_vault.gnuu_table"),
        ("zebu_function", "gnuu_function"),
        ("zebu_vault.#+#", "gnuu_vault.#+#"),
        ("zebu_role", "gnuu_role"),
        ("zebu_collation", "gnuu_collation"),
        ("zebu_config", "gnuu_config"),
    ];
    b.setup("CREATE OPERATOR zebu_vault.#+# (LEFTARG = text, RIGHTARG = text, FUNCTION = texteq)");
    // Roles are of the cluster, and this one outlives the test.
    b.setup("DO $$ BEGIN CREATE ROLE zebu_role; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$");
    let mut statements = Vec::new();
    for form in [
        "SELECT * FROM zebu_vault.zebu_table",
        "SELECT zebu_id FROM zebu_vault.zebu_table",
        "SELECT 1 FROM shop.orders JOIN zebu_vault.zebu_table ON true",
        "SELECT 'zebu_vault.zebu_table'::regclass",
        "SELECT 'zebu_vault.zebu_table'::text::regclass",
        "SELECT relname FROM pg_class WHERE oid = 'zebu_vault.zebu_table'::regclass",
        "SELECT to_regclass('zebu_vault.zebu_table')",
        "SELECT has_table_privilege('zebu_vault.zebu_table', 'select')",
        "SELECT pg_relation_size('zebu_vault.zebu_table')",
        "SELECT zebu_vault.zebu_function(1)",
        "SELECT NULL::zebu_vault.zebu_table",
        "SELECT NULL::zebu_vault.zebu_status",
        "SELECT has_schema_privilege('zebu_vault', 'usage')",
        "SELECT 'zebu_vault'::text::regnamespace",
        "SELECT 'zebu_vault'::regnamespace",
        "SELECT E'zebu_vault'::regnamespace",
        "SELECT $$zebu_vault$$::regnamespace /* gnuu_vault.x zebu_vault.x */",
        "SELECT CAST('zebu_vault' AS regnamespace)",
        "SELECT '{zebu_vault}'::regnamespace[]",
        "SELECT 'zebu_vault'::regnamespace, 'no_such'::regnamespace",
        "SELECT oid FROM pg_class WHERE relnamespace = 'zebu_vault'::regnamespace",
        "PREPARE z(regnamespace) AS SELECT $1; EXECUTE z('zebu_vault')",
        "SELECT 'zebu_role'::regrole",
        "SELECT 'zebu_role'::text::regrole",
        "SELECT '{zebu_role}'::regrole[]",
        "SELECT 'zebu_role'::regrole, 'no_such'::regrole",
        "SELECT 'zebu_role=r/zebu_role'::aclitem",
        "SELECT 'zebu_role=r/zebu_role'::text::aclitem",
        "SELECT '{zebu_role=r/zebu_role}'::aclitem[]",
        "SELECT ('(1,n,10,{zebu_role=U/zebu_role})'::pg_namespace).nspacl",
        "SELECT '{\"(1,n,10,{zebu_role=U/zebu_role})\"}'::pg_namespace[]",
        "SELECT (jsonb_populate_record(NULL::pg_namespace, '{\"nspacl\": [\"zebu_role=U/zebu_role\"]}')).nspacl",
        "SELECT (jsonb_populate_record(NULL::pg_database, '{\"datacl\": [\"zebu_role=c/zebu_role\"]}')).datacl",
        "SELECT * FROM jsonb_to_record('{\"x\": \"zebu_role=r/zebu_role\"}') AS t(x aclitem)",
        "SELECT * FROM jsonb_to_record('{\"x\": \"zebu_role\"}') AS t(x regrole)",
        "SELECT * FROM jsonb_to_record('{\"x\": [\"zebu_vault\"]}') AS t(x regnamespace[])",
        "SELECT aclexplode('{zebu_role=r/zebu_role}')",
        "SELECT has_table_privilege('zebu_role', 'shop.orders', 'select')",
        "SET ROLE zebu_role",
        "SELECT 'zebu_vault.#+#'::regoper",
        "SELECT 'zebu_vault.#+#(text,text)'::regoperator",
        "SELECT 'zebu_vault.zebu_function'::regproc",
        "SELECT 'zebu_vault.zebu_function(int)'::regprocedure",
        "SELECT 'zebu_vault.zebu_table'::regtype",
        "SELECT 'zebu_vault.zebu_collation'::regcollation",
        "SELECT 'x' COLLATE zebu_vault.zebu_collation",
        "SELECT 'zebu_vault.zebu_config'::regconfig",
        "SELECT pg_get_viewdef('zebu_vault.zebu_view')",
        "COPY zebu_vault.zebu_table TO STDOUT",
        "EXPLAIN SELECT * FROM zebu_vault.zebu_table",
        "PREPARE z AS SELECT * FROM zebu_vault.zebu_table",
        "DECLARE z CURSOR FOR SELECT * FROM zebu_vault.zebu_table",
    ] {
        for (hidden, absent) in pairs {
            if form.contains(hidden) {
                statements.push((form.to_owned(), form.replace(hidden, absent)));
            }
        }
    }
    let name = |text: &str| text.replace("zebu", "gnuu");
    // Values of parameters, too.
    for typ in [
        "regnamespace",
        "regrole",
        "regnamespace[]",
        "aclitem",
        "regclass",
        "regtype",
        "regproc",
        "regoper",
    ] {
        let sql = format!("SELECT $1::{typ}");
        for (hidden, absent) in pairs {
            let value = |name: &str| match typ {
                "regnamespace[]" => format!("{{{name}}}"),
                "aclitem" => format!("{name}=r/{name}"),
                _ => name.to_owned(),
            };
            let said = |value: String| {
                let answer = b.agent().extended(&sql, &[Some(&value)]);
                String::from_utf8_lossy(&answer.bytes).into_owned()
            };
            let (one, other) = (said(value(hidden)), said(value(absent)));
            assert_eq!(name(&one), name(&other), "{typ} {hidden}");
        }
    }
    for (hidden, absent) in &statements {
        // A session for each: nothing that an earlier answer has left behind may tell.
        let hold = |statement: &str| {
            let mut agent = b.agent();
            let simple = agent.simple(statement);
            let extended = b.agent().extended(statement, &[]);
            // The whole error message as it is on the wire, places in the source included.
            let errors = |answer: &Answer| -> Vec<u8> {
                if answer.errors.is_empty() {
                    Vec::new()
                } else {
                    answer.bytes.clone()
                }
            };
            (
                said(&simple),
                said(&extended),
                name(&String::from_utf8_lossy(&errors(&simple))),
            )
        };
        let (one, other) = (hold(hidden), hold(absent));
        assert_eq!(name(&one.0), name(&other.0), "{hidden}");
        assert_eq!(name(&one.1), name(&other.1), "{hidden}");
        assert_eq!(one.2, other.2, "{hidden}");
    }
    // A name in search_path, too.
    let mut agent = b.agent();
    for path in ["zebu_vault", "gnuu_vault", "zebu_vault, shop"] {
        agent.query(&format!("SET search_path = {path}"));
        for statement in [
            "SELECT * FROM zebu_table",
            "SELECT zebu_tex FROM zebu_table",
            "SELECT zebu_function(1)",
            "SELECT NULL::zebu_status",
        ] {
            let answer = agent.simple(statement);
            let error = answer.err();
            assert!(
                matches!(error.code.as_str(), "42P01" | "42883" | "42704"),
                "{statement} under {path}: {error}"
            );
            assert!(!error.hint.contains("zebu"), "{error}");
        }
    }
    // The refusal says what may be read.
    let error = b.denies(
        "SELECT * FROM gnuu_vault.orders",
        "42501",
        "relation_not_allowed",
    );
    assert!(error.hint.contains("shop.orders"), "{error}");
    let audited = b.audit("object = 'gnuu_vault.orders'");
    assert!(
        audited.iter().any(|row| row["verdict"] == "denied"),
        "{audited:?}"
    );
}

fn columns_of_hidden_relations_are_not_guessed(b: &Bench) {
    zebra(b);
    let statement = "SELECT s.zebu_tex FROM zebu_vault.zebu_table s";
    let native = b.unconfined().simple(statement).err();
    assert!(native.hint.contains("zebu_text"), "{native}");
    let error = b.agent().simple(statement).err();
    assert_eq!(error.code, "42501", "{error}");
    assert!(!format!("{error:?}").contains("zebu_text"), "{error:?}");
}

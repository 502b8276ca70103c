//! Real workloads: transparent where nothing is masked, silent where something is.
//!
//! defog's gold queries (../shared/workloads beside the project, or AGENT_POLICY_WORKLOADS; reported as ignored when
//! absent) and the 22 TPC-H queries over generated data.

#![forbid(unsafe_code)]

use std::collections::HashSet;
use std::sync::Arc;

use aho_corasick::AhoCorasick;
use cluster_tests::once::OncePer;
use cluster_tests::wire::Row;
use cluster_tests::{Cluster, Wire, cluster, defog, run, sql};
use libtest_mimic::Trial;

/// A database full of data, a plain role and two agents: one that masks nothing, one with masks.
struct Workload {
    cluster: Arc<Cluster>,
    database: &'static str,
    /// Raw values of masked columns that occur nowhere else.
    secrets: HashSet<String>,
    anywhere: AhoCorasick,
}

static SERVERS: OncePer<u32, Cluster> = OncePer::new();

fn server(version: u32) -> Arc<Cluster> {
    SERVERS.get(version, || {
        let cluster = Cluster::start(version, "work_mem = 32MB");
        let mut su = su(&cluster, "postgres");
        su.query("CREATE ROLE plain LOGIN; CREATE ROLE open LOGIN; CREATE ROLE masked LOGIN");
        su.query("GRANT pg_read_all_data TO plain, open, masked");
        cluster
    })
}

fn su(cluster: &Cluster, database: &str) -> Wire {
    cluster
        .connect("postgres", database, &[])
        .expect("the superuser connects")
}

fn workload(version: u32, name: &'static str, load: fn(&Cluster, &str)) -> Arc<Workload> {
    static WORKLOADS: OncePer<(u32, &str), Workload> = OncePer::new();
    WORKLOADS.get((version, name), || {
        let cluster = server(version);
        su(&cluster, "postgres").query(&format!("CREATE DATABASE {name}"));
        load(&cluster, name);
        su(&cluster, name).query("ANALYZE");
        let secrets = confine(&cluster, name);
        let anywhere = AhoCorasick::new(&secrets).expect("a searcher");
        Workload {
            cluster,
            database: name,
            secrets,
            anywhere,
        }
    })
}

/// Does the column's name look like personal data?
fn pii(column: &str) -> bool {
    ["name", "email", "phone", "ssn", "address"]
        .iter()
        .any(|word| column.to_lowercase().contains(word))
}

/// The policy; gives the values that may not be seen.
fn confine(cluster: &Cluster, database: &str) -> HashSet<String> {
    let mut su = su(cluster, database);
    if cluster::plain() {
        return HashSet::new();
    }
    su.query("CREATE EXTENSION agent_policy");
    for role in ["open", "masked"] {
        su.query(&format!("SELECT agent_policy.protect_role('{role}')"));
        su.query(&format!(
            "SELECT agent_policy.allow_schema('{role}', nspname) FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname NOT IN ('information_schema', 'agent_policy')"
        ));
        su.query(&format!(
            "SELECT agent_policy.reset_limits('{role}', 'max_rows', 'max_bytes')"
        ));
    }
    let columns = su
        .query(
            "SELECT c.oid::regclass::text, quote_ident(a.attname), a.attname::text, a.atttypid::regtype IN ('text', 'varchar', 'bpchar')
             FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace JOIN pg_attribute a ON attrelid = c.oid
             WHERE relkind = 'r' AND nspname !~ '^pg_' AND nspname NOT IN ('information_schema', 'agent_policy') AND attnum > 0 AND NOT attisdropped
             ORDER BY 1, attnum",
        )
        .texts();
    let mut hidden = HashSet::new();
    let mut elsewhere = HashSet::new();
    for column in &columns {
        let masked = column[3] == "t" && pii(&column[2]);
        let values = su
            .query(&format!(
                "SELECT DISTINCT {}::text FROM {} WHERE {0} IS NOT NULL",
                column[1], column[0]
            ))
            .column();
        if masked {
            su.query(&format!(
                "SELECT agent_policy.mask_column('{}', {}, 'redact', role => 'masked')",
                column[0],
                sql::literal(&column[2])
            ));
            hidden.extend(values.into_iter().map(|v| v.trim().to_owned()));
        } else {
            elsewhere.extend(values);
        }
    }
    // Column names come with every result, and short values and words of the language occur by chance.
    let elsewhere = elsewhere
        .into_iter()
        .chain(columns.iter().map(|c| c[2].clone()))
        .collect::<Vec<_>>()
        .join("\n");
    let hidden: Vec<String> = hidden
        .into_iter()
        .filter(|v| v.chars().count() > 5)
        .collect();
    let known = AhoCorasick::new(&hidden).expect("a searcher");
    let ambiguous: HashSet<usize> = known
        .find_overlapping_iter(&elsewhere)
        .map(|found| found.pattern().as_usize())
        .collect();
    hidden
        .into_iter()
        .enumerate()
        .filter(|(i, _)| !ambiguous.contains(i))
        .map(|(_, v)| v)
        .collect()
}

fn session(workload: &Workload, role: &str, search_path: &str) -> Wire {
    let options =
        format!("-c agent_policy.user_email=alice@example.com -c search_path={search_path}");
    workload
        .cluster
        .connect(role, workload.database, &[("options", &options)])
        .expect("connects")
}

/// The rows; sorted unless the outermost ORDER BY fixes their order.
fn rows(mut rows: Vec<Row>, ordered: bool) -> Vec<Row> {
    if !ordered {
        rows.sort();
    }
    rows
}

fn same_rows(workload: &Workload, search_path: &str, text: &str) {
    let ordered = text.to_lowercase().contains("order by");
    let plain = session(workload, "plain", search_path).query(text);
    if cluster::plain() {
        return;
    }
    for extended in [false, true] {
        let mut open = session(workload, "open", search_path);
        let answer = if extended {
            open.extended(text, &[])
        } else {
            open.simple(text)
        };
        if let Some(error) = answer.errors.first() {
            panic!("refused: {error}\n  {text}");
        }
        assert_eq!(answer.columns, plain.columns);
        assert_eq!(answer.rows.len(), plain.rows.len(), "rows of {text}");
        // ORDER BY may leave ties: then the multiset counts.
        if !(ordered && answer.rows == plain.rows) {
            assert_eq!(
                rows(answer.rows, false),
                rows(plain.rows.clone(), false),
                "{text}"
            );
        }
    }
}

fn nothing_raw(workload: &Workload, search_path: &str, text: &str) {
    let mut masked = session(workload, "masked", search_path);
    let answer = masked.simple(text);
    // A query may fail on masked values (a cast of '***'); what it may not do is show one.
    for error in &answer.errors {
        assert!(
            !error.detail_json().is_object(),
            "refused: {error}\n  {text}"
        );
        assert_ne!(error.code, "XX000", "{error}\n  {text}");
    }
    for row in &answer.rows {
        for value in row.iter().flatten() {
            let value = String::from_utf8_lossy(value);
            if workload.secrets.contains(value.trim()) && !text.contains(value.trim()) {
                panic!("raw value {value:?} from {text}");
            }
        }
    }
    // Inside longer texts, errors and notices too.
    for found in workload.anywhere.find_iter(&answer.bytes) {
        let secret = String::from_utf8_lossy(&answer.bytes[found.range()]);
        assert!(
            text.contains(&*secret),
            "raw value {secret:?} among the bytes from {text}"
        );
    }
}

/// Control run: a fair number of these queries do show raw values to the plain role.
fn control(workload: &Workload, queries: &[(String, String)]) {
    let mut telling = 0;
    for (search_path, text) in queries {
        let answer = session(workload, "plain", search_path).query(text);
        let shows = |found: aho_corasick::Match| {
            !text.contains(&*String::from_utf8_lossy(&answer.bytes[found.range()]))
        };
        telling += usize::from(workload.anywhere.find_iter(&answer.bytes).any(shows));
    }
    let share = telling * 100 / queries.len();
    assert!(
        share >= 10,
        "only {telling} of {} queries show a raw value",
        queries.len()
    );
}

fn load_defog(cluster: &Cluster, database: &str) {
    cluster.psql(
        database,
        &defog::dir().expect("found before").join("load.sql"),
    );
}

const TPCH: &str = "
    CREATE TABLE region (r_regionkey int PRIMARY KEY, r_name char(25), r_comment varchar(152));
    CREATE TABLE nation (n_nationkey int PRIMARY KEY, n_name char(25), n_regionkey int, n_comment varchar(152));
    CREATE TABLE part (p_partkey int PRIMARY KEY, p_name varchar(55), p_mfgr char(25), p_brand char(10), p_type varchar(25), p_size int,
        p_container char(10), p_retailprice numeric(15,2), p_comment varchar(23));
    CREATE TABLE supplier (s_suppkey int PRIMARY KEY, s_name char(25), s_address varchar(40), s_nationkey int, s_phone char(15),
        s_acctbal numeric(15,2), s_comment varchar(101));
    CREATE TABLE partsupp (ps_partkey int, ps_suppkey int, ps_availqty int, ps_supplycost numeric(15,2), ps_comment varchar(199),
        PRIMARY KEY (ps_partkey, ps_suppkey));
    CREATE TABLE customer (c_custkey int PRIMARY KEY, c_name varchar(25), c_address varchar(40), c_nationkey int, c_phone char(15),
        c_acctbal numeric(15,2), c_mktsegment char(10), c_comment varchar(117));
    CREATE TABLE orders (o_orderkey bigint PRIMARY KEY, o_custkey int, o_orderstatus char(1), o_totalprice numeric(15,2), o_orderdate date,
        o_orderpriority char(15), o_clerk char(15), o_shippriority int, o_comment varchar(79));
    CREATE TABLE lineitem (l_orderkey bigint, l_partkey int, l_suppkey int, l_linenumber int, l_quantity numeric(15,2),
        l_extendedprice numeric(15,2), l_discount numeric(15,2), l_tax numeric(15,2), l_returnflag char(1), l_linestatus char(1),
        l_shipdate date, l_commitdate date, l_receiptdate date, l_shipinstruct char(25), l_shipmode char(10), l_comment varchar(44),
        PRIMARY KEY (l_orderkey, l_linenumber));
    CREATE INDEX ON lineitem (l_partkey); CREATE INDEX ON orders (o_custkey); CREATE INDEX ON partsupp (ps_suppkey)";

const SCALE: f64 = 0.01;

fn load_tpch(cluster: &Cluster, database: &str) {
    let mut su = su(cluster, database);
    su.query(TPCH);
    for table in tpch::TABLES {
        let mut data = Vec::new();
        tpch::rows(&mut data, table, SCALE).expect("written to memory");
        su.copy_in = data;
        su.query(&format!("COPY {table} FROM STDIN (DELIMITER '|')"));
    }
}

fn both(
    trials: &mut Vec<Trial>,
    name: &str,
    version: u32,
    search_path: &str,
    text: &str,
    get: impl Fn() -> Arc<Workload> + Clone + Send + 'static,
) {
    let (path, statement, load) = (search_path.to_owned(), text.to_owned(), get.clone());
    trials.push(Trial::test(
        format!("{name}::same_rows::pg{version}"),
        move || run::guarded(|| same_rows(&load(), &path, &statement)),
    ));
    let (path, statement) = (search_path.to_owned(), text.to_owned());
    trials.push(
        Trial::test(format!("{name}::nothing_raw::pg{version}"), move || {
            run::guarded(|| nothing_raw(&get(), &path, &statement))
        })
        .with_ignored_flag(cluster::plain()),
    );
}

fn main() -> std::process::ExitCode {
    let mut trials = Vec::new();
    for version in cluster::versions() {
        for number in tpch::QUESTIONS {
            let get = move || workload(version, "tpch", load_tpch);
            both(
                &mut trials,
                &format!("tpch::q{number:02}"),
                version,
                "public",
                &tpch::question(number, SCALE),
                get,
            );
        }
        let plain: Vec<_> = tpch::QUESTIONS
            .map(|n| ("public".to_owned(), tpch::question(n, SCALE)))
            .collect();
        trials.push(
            Trial::test(format!("tpch::control::pg{version}"), move || {
                run::guarded(|| control(&workload(version, "tpch", load_tpch), &plain))
            })
            .with_ignored_flag(cluster::plain()),
        );
        match defog::dir() {
            Some(dir) => {
                let queries = defog::queries(&dir);
                let plain: Vec<_> = queries
                    .iter()
                    .map(|(_, schema, text)| (schema.clone(), text.clone()))
                    .collect();
                trials.push(
                    Trial::test(format!("defog::control::pg{version}"), move || {
                        run::guarded(|| control(&workload(version, "defog", load_defog), &plain))
                    })
                    .with_ignored_flag(cluster::plain()),
                );
                for (id, schema, text) in queries {
                    let get = move || workload(version, "defog", load_defog);
                    both(
                        &mut trials,
                        &format!("defog::{id}"),
                        version,
                        &schema,
                        &text,
                        get,
                    );
                }
            }
            None => trials.push(
                Trial::test(format!("defog::not_found::pg{version}"), || Ok(()))
                    .with_ignored_flag(true),
            ),
        }
    }
    let code = run::main(trials);
    for server in SERVERS.all() {
        server.stop();
    }
    code
}

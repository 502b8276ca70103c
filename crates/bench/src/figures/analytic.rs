//! The 22 statements of TPC-H with personal data masked and a durable audit, against the same
//! without a policy.

use super::Pair;
use crate::{Bound, Effort, Figure, Result, median, pairs, ratios};

/// The demonstration's tables, without its staff.
const SCHEMA: &str = include_str!("../../../../demo/schema.sql");

/// What personal data `customer` holds.
const MASKS: [(&str, &str, &str); 5] = [
    ("c_name", "partial", r#"{"keep_first": 9, "keep_last": 0}"#),
    ("c_address", "redact", "{}"),
    ("c_phone", "partial", r#"{"keep_first": 2, "keep_last": 0}"#),
    ("c_acctbal", "bucket", r#"{"size": 100}"#),
    ("c_comment", "redact", "{}"),
];

/// What a DBA would write by hand to show the same.
const VIEWS: &str = "CREATE SCHEMA masked;
    DO $$
    DECLARE name text;
    BEGIN
        FOREACH name IN ARRAY ARRAY['region', 'nation', 'supplier', 'part', 'partsupp', 'orders', 'lineitem'] LOOP
            EXECUTE format('CREATE VIEW masked.%I AS SELECT * FROM sales.%I', name, name);
        END LOOP;
    END $$;
    CREATE VIEW masked.customer AS
    SELECT c_custkey, left(c_name, 9) || repeat('*', greatest(length(c_name) - 9, 0)) AS c_name,
           CASE WHEN c_address IS NOT NULL THEN '***' END AS c_address, c_nationkey,
           left(c_phone, 2) || repeat('*', greatest(length(c_phone) - 2, 0)) AS c_phone,
           floor(c_acctbal / 100) * 100 AS c_acctbal, c_mktsegment,
           CASE WHEN c_comment IS NOT NULL THEN '***' END AS c_comment
    FROM sales.customer;
    GRANT USAGE ON SCHEMA masked TO agent; GRANT SELECT ON ALL TABLES IN SCHEMA masked TO agent";

pub fn run(pair: &Pair, effort: &Effort) -> Result<Vec<Figure>> {
    let guarded = pair.guarded.client("postgres");
    for cluster in [pair.plain, pair.guarded] {
        let dba = cluster.client("postgres");
        dba.sql(SCHEMA)?;
        dba.sql(
            "ALTER ROLE postgres SET search_path = sales; ALTER ROLE agent SET search_path = sales",
        )?;
        cluster.load_tpch(effort.tpch, &[])?;
        dba.sql(
            "CREATE INDEX ON lineitem (l_partkey, l_suppkey); CREATE INDEX ON orders (o_custkey)",
        )?;
        dba.sql("VACUUM ANALYZE")?;
    }
    for (column, mask, options) in MASKS {
        guarded.sql(&format!(
            "SELECT agent_policy.mask_column('sales.customer', '{column}', '{mask}', '{options}')"
        ))?;
    }
    guarded.sql("SELECT agent_policy.allow_schema('agent', 'sales')")?;
    guarded.sql("ALTER SYSTEM SET agent_policy.audit_durability = 'spool'")?;
    guarded.sql("SELECT pg_reload_conf()")?;
    pair.plain.client("postgres").sql(VIEWS)?;
    let ours = pair.guarded.client("agent");
    let against = pair.plain.client("agent");
    let (mut all, mut times) = (Vec::new(), (0.0, 0.0));
    let (mut by_hand, mut views_time) = (Vec::new(), 0.0);
    for n in tpch::QUESTIONS {
        let statement = tpch::question(n, effort.tpch);
        let runs = pairs(
            effort.pairs,
            || ours.time("SELECT 1", &statement, 1),
            || against.time("SELECT 1", &statement, 1),
        )?;
        let (ratio, _) = ratios(runs.iter().copied());
        all.push((ratio, n));
        let (mut a, mut b): (Vec<f64>, Vec<f64>) = runs.into_iter().unzip();
        times.0 += median(&mut a);
        times.1 += median(&mut b);
        let runs = pairs(
            effort.pairs,
            || ours.time("SELECT 1", &statement, 1),
            || against.time("SET search_path = masked", &statement, 1),
        )?;
        by_hand.push((ratios(runs.iter().copied()).0, n));
        let mut of_views: Vec<f64> = runs.into_iter().map(|(_, views)| views).collect();
        views_time += median(&mut of_views);
    }
    guarded.sql("ALTER SYSTEM RESET agent_policy.audit_durability")?;
    guarded.sql("SELECT pg_reload_conf()")?;
    let geometric = |all: &[(f64, usize)]| {
        (all.iter().map(|(ratio, _)| ratio.ln()).sum::<f64>() / all.len() as f64).exp()
    };
    let mean = geometric(&all);
    let by_ratio = |a: &&(f64, usize), b: &&(f64, usize)| a.0.total_cmp(&b.0);
    let worst = all.iter().max_by(by_ratio).ok_or("nothing ran")?;
    let best = all.iter().min_by(by_ratio).ok_or("nothing ran")?;
    let most = by_hand.iter().max_by(by_ratio).ok_or("nothing ran")?;
    let least = by_hand.iter().min_by(by_ratio).ok_or("nothing ran")?;
    Ok(vec![
        Figure {
            name: format!("analytic, TPC-H at {}", effort.tpch),
            ours: format!("{:.0} ms", times.0),
            against: format!("{:.0} ms", times.1),
            ratio: mean,
            spread: Some((best.0, worst.0)),
            bound: Bound::AtMost(1.03),
            remark: "times: sums; ratio: geometric mean of the 22 medians".into(),
        },
        Figure {
            name: "analytic, worst".into(),
            ours: format!("question {}", worst.1),
            against: String::new(),
            ratio: worst.0,
            spread: None,
            bound: Bound::AtMost(1.15),
            remark: String::new(),
        },
        Figure {
            name: "analytic, against views".into(),
            ours: format!("{:.0} ms", times.0),
            against: format!("{views_time:.0} ms"),
            ratio: geometric(&by_hand),
            spread: Some((least.0, most.0)),
            bound: Bound::AtMost(1.0),
            remark: "views that mask the same columns with built-in functions, without an audit"
                .into(),
        },
    ])
}

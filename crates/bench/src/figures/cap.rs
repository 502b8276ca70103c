//! A sorted result cut by max_rows: the planner knows the limit and need not sort everything.

use super::Pair;
use crate::{Bound, Effort, Figure, Result, median, pairs, ratios};

pub fn run(pair: &Pair, effort: &Effort) -> Result<Vec<Figure>> {
    let dba = pair.guarded.client("postgres");
    dba.sql(&format!(
        "CREATE TABLE readings AS
         SELECT i AS id, md5(i::text) AS value, i * 7919 % 1000003 AS rank
         FROM generate_series(1, {}::bigint) i",
        effort.rows
    ))?;
    dba.sql("VACUUM ANALYZE readings")?;
    dba.sql("SELECT agent_policy.set_limits('agent', max_rows => 1000)")?;
    let statement = "SELECT * FROM readings ORDER BY rank";
    let ours = pair.guarded.client("agent");
    let against = pair.guarded.client("app");
    let runs = pairs(
        effort.pairs,
        || ours.time("SELECT 1", statement, 1),
        || against.time("SELECT 1", statement, 1),
    )?;
    let (ratio, spread) = ratios(runs.iter().copied());
    let (mut a, mut b): (Vec<f64>, Vec<f64>) = runs.into_iter().unzip();
    dba.sql("SELECT agent_policy.reset_limits('agent', 'max_rows'); DROP TABLE readings")?;
    Ok(vec![Figure {
        name: format!("cap of 1000 in {} rows", effort.rows),
        ours: format!("{:.0} ms", median(&mut a)),
        against: format!("{:.0} ms", median(&mut b)),
        ratio,
        spread,
        bound: Bound::AtMost(0.333),
        remark: String::new(),
    }])
}

//! Whether a large policy costs a statement more than a small one.

use super::Pair;
use crate::cluster::Client;
use crate::{Bound, Effort, Figure, Result, median, pairs};

/// Of tables, each with as many masked columns; roles and filters besides.
const LARGE: (u32, u32) = (100, 100);
const ROLES: u32 = 1000;

pub fn run(pair: &Pair, effort: &Effort) -> Result<Vec<Figure>> {
    let dba = pair.guarded.client("postgres");
    let columns: String = (1..=20).map(|i| format!(", c{i} text")).collect();
    for t in 1..=5 {
        let table = format!("CREATE TABLE j{t} (id int PRIMARY KEY{columns})");
        dba.sql(&table)?;
        let view = format!(
            "CREATE VIEW v{t} AS SELECT id, CASE WHEN c1 IS NOT NULL THEN '***' END AS c1,
             CASE WHEN c2 IS NOT NULL THEN '***' END AS c2, {} FROM j{t}",
            (3..=20)
                .map(|i| format!("c{i}"))
                .collect::<Vec<_>>()
                .join(", ")
        );
        pair.plain
            .client("postgres")
            .sql(&format!("{table}; {view}"))?;
        for c in 1..=2 {
            dba.sql(&format!("SELECT agent_policy.mask_column('j{t}', 'c{c}')"))?;
        }
    }
    let statement = "SELECT * FROM j1 JOIN j2 USING (id) JOIN j3 USING (id) JOIN j4 USING (id) JOIN j5 USING (id) WHERE id = 1";
    let (agent, plain) = (pair.guarded.client("agent"), pair.plain.client("agent"));
    let time = |who: &Client| -> Result<f64> {
        let one = who.time_on_one_cpu(statement, 400)?;
        Ok(one * 1000.0)
    };
    let beside_plain = || pairs(effort.pairs, || time(&agent), || time(&plain));
    let small = beside_plain()?;
    let (tables, width) = LARGE;
    dba.sql(&format!(
        "DO $$ BEGIN
           FOR t IN 1..{tables} LOOP
             EXECUTE format('CREATE TABLE wide%s (%s)', t, (SELECT string_agg('c' || c || ' text', ', ') FROM generate_series(1, {width}) c));
             FOR c IN 1..{width} LOOP
               PERFORM agent_policy.mask_column(('wide' || t)::regclass, 'c' || c);
             END LOOP;
           END LOOP;
           FOR r IN 1..{ROLES} LOOP
             EXECUTE 'CREATE ROLE agent' || r;
             PERFORM agent_policy.protect_role(('agent' || r)::regrole);
             PERFORM agent_policy.filter_rows(('wide' || 1 + r % {tables})::regclass, 'c1 = agent_policy.user_email()',
                                              ('agent' || r)::regrole);
           END LOOP;
         END $$"
    ))?;
    let large = beside_plain()?;
    let middle = |of: &dyn Fn(&(f64, f64)) -> f64, runs: &[(f64, f64)]| {
        median(&mut runs.iter().map(of).collect::<Vec<_>>())
    };
    let (few, many) = (middle(&|run| run.0, &small), middle(&|run| run.0, &large));
    let over_views = statement.replace(" j", " v");
    let mut views = (0..effort.pairs)
        .map(|_| Ok(plain.time_on_one_cpu(&over_views, 400)? * 1000.0))
        .collect::<Result<Vec<f64>>>()?;
    let more = |(ours, plain): &(f64, f64)| ours - plain;
    let (added, added_by_few) = (middle(&more, &large), middle(&more, &small));
    let size = format!(
        "{} masked columns, {ROLES} roles, {ROLES} filters",
        tables * width + 10
    );
    Ok(vec![
        Figure {
            name: "policy size, 5-table join".into(),
            ours: format!("{many:.0} us"),
            against: format!("{few:.0} us"),
            ratio: many / few,
            spread: None,
            bound: Bound::AtMost(1.1),
            remark: format!("{size} against 10 masked columns"),
        },
        Figure {
            name: "policy size, added time".into(),
            ours: format!("+{added:.0} us"),
            against: "50 us".into(),
            ratio: added / 50.0,
            spread: None,
            bound: Bound::AtMost(1.0),
            remark: format!(
                "of the whole statement, its record included, client and session on one CPU; by 10 masked columns {added_by_few:.0}; without the extension {:.0} us, over views that mask the same {:.0}",
                middle(&|run| run.1, &large),
                median(&mut views)
            ),
        },
    ])
}

//! Whether a large policy costs a statement more than a small one.

use super::Pair;
use crate::{Bound, Effort, Figure, Result, median};

/// Of tables, each with as many masked columns; roles and filters besides.
const LARGE: (u32, u32) = (100, 100);
const ROLES: u32 = 1000;

pub fn run(pair: &Pair, effort: &Effort) -> Result<Vec<Figure>> {
    let dba = pair.guarded.client("postgres");
    let columns: String = (1..=20).map(|i| format!(", c{i} text")).collect();
    for t in 1..=5 {
        dba.sql(&format!("CREATE TABLE j{t} (id int PRIMARY KEY{columns})"))?;
        for c in 1..=2 {
            dba.sql(&format!("SELECT agent_policy.mask_column('j{t}', 'c{c}')"))?;
        }
    }
    let statement = "SELECT * FROM j1 JOIN j2 USING (id) JOIN j3 USING (id) JOIN j4 USING (id) JOIN j5 USING (id) WHERE id = 1";
    let agent = pair.guarded.client("agent");
    let time = || -> Result<f64> {
        let one = agent.time("SELECT 1", statement, 200)?;
        Ok(one * 1000.0)
    };
    let mut small: Vec<f64> = Vec::new();
    for _ in 0..effort.pairs {
        small.push(time()?);
    }
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
    let mut large = Vec::new();
    for _ in 0..effort.pairs {
        large.push(time()?);
    }
    let (s, l) = (median(&mut small), median(&mut large));
    Ok(vec![Figure {
        name: "policy size, 5-table join".into(),
        ours: format!("{l:.0} us"),
        against: format!("{s:.0} us"),
        ratio: l / s,
        spread: None,
        bound: Bound::AtMost(1.1),
        remark: format!(
            "{} masked columns, {ROLES} roles, {ROLES} filters against 10 masked columns",
            tables * width + 10
        ),
    }])
}

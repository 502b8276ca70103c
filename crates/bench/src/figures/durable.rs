//! Short statements of a confined role, each with its record on the disk before its row leaves,
//! against what else makes something durable for each of its statements: INSERT.

use std::time::Duration;

use super::{Pair, signal};
use crate::cluster::{Client, Load, Processors};
use crate::{Bound, Effort, Figure, Result, median, pairs, ratios};

/// One row, of about the size of a record.
const INSERT: &str = "\\set id random(1, 1000000000)
INSERT INTO noted (id, at, text) VALUES (:id, now(), repeat('x', 300));";

pub fn run(pair: &Pair, effort: &Effort) -> Result<Vec<Figure>> {
    let guarded = pair.guarded.client("postgres");
    let plain = pair.plain.client("postgres");
    plain.sql(
        "CREATE TABLE IF NOT EXISTS noted (id bigint, at timestamptz, text text); GRANT ALL ON noted TO app",
    )?;
    guarded.sql("ALTER SYSTEM SET agent_policy.audit_durability = 'spool'")?;
    guarded.sql("SELECT pg_reload_conf()")?;
    let ours = pair.guarded.client("agent");
    let against = pair.plain.client("app");
    let mut figures = Vec::new();
    let loads = [1, 8, 32]
        .into_iter()
        .flat_map(|clients| Processors::of(clients).iter().map(move |on| (clients, *on)));
    // With many clients also while nobody puts the records into the table: what INSERT has no match for.
    let loads = loads.flat_map(|(clients, on)| {
        let both = if clients == 1 {
            &[true][..]
        } else {
            &[true, false]
        };
        both.iter().map(move |table| (clients, on, *table))
    });
    for (clients, processors, table) in loads {
        let select = Load {
            script: None,
            protocol: "prepared",
            clients,
            processors,
        };
        let insert = Load {
            script: Some(INSERT),
            ..select
        };
        ours.load(&select, Duration::from_secs(1))?;
        against.load(&insert, Duration::from_secs(1))?;
        let runs = pairs(
            effort.pairs,
            || match table {
                true => ours.load(&select, effort.run),
                false => without_writer((&guarded, &ours), || ours.load(&select, effort.run)),
            },
            || against.load(&insert, effort.run),
        )?;
        let (ratio, spread) = ratios(runs.iter().map(|(a, b)| (a.per_second, b.per_second)));
        let (mut a, mut b): (Vec<f64>, Vec<f64>) = runs
            .iter()
            .map(|(a, b)| (a.per_second, b.per_second))
            .unzip();
        figures.push(Figure {
            name: format!(
                "durable, {clients} client{}{}{}",
                if clients == 1 { "" } else { "s" },
                processors.words(),
                if table { "" } else { ", into the table later" },
            ),
            ours: format!("{:.0} tps", median(&mut a)),
            against: format!("{:.0} tps", median(&mut b)),
            ratio,
            spread,
            bound: if table {
                Bound::AtLeast(1.0)
            } else {
                Bound::Orientation
            },
            remark: "pgbench -S of the agent against one-row INSERTs without the extension".into(),
        });
    }
    guarded.sql("ALTER SYSTEM RESET agent_policy.audit_durability")?;
    guarded.sql("SELECT pg_reload_conf()")?;
    guarded.sql("SELECT agent_policy.audit_flush('60 s')")?;
    Ok(figures)
}

/// Works while the audit writer stands still, and lets it catch up.
fn without_writer<T>(
    (dba, agent): (&Client, &Client),
    work: impl FnOnce() -> Result<T>,
) -> Result<T> {
    // One that has nothing to do for a while ends; this starts it.
    agent.sql("SELECT 1")?;
    dba.sql("SELECT agent_policy.audit_flush('60 s')")?;
    let writer = dba
        .sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'agent_policy audit writer'")?;
    signal("-STOP", &writer)?;
    let done = work();
    signal("-CONT", &writer)?;
    dba.sql("SELECT agent_policy.audit_flush('60 s')")?;
    done
}

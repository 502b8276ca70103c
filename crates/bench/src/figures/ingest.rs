//! How fast records go from the spool into the table, and how far they are behind under load.

use std::thread;
use std::time::{Duration, Instant};

use super::{Pair, signal};
use crate::cluster::{Load, Processors};
use crate::{Bound, Effort, Figure, Result, median};

const GOAL: f64 = 50_000.0;
const LAG: f64 = 2.0;
/// Enough for the speed to show, few enough for a spool of the default size.
const RECORDS: f64 = 200_000.0;

const LOAD: Load = Load {
    script: None,
    protocol: "prepared",
    clients: 8,
    processors: Processors::Any,
};

pub fn run(pair: &Pair, effort: &Effort) -> Result<Vec<Figure>> {
    let dba = pair.guarded.client("postgres");
    let agent = pair.guarded.client("agent");
    let launcher = dba.sql(
        "SELECT pid FROM pg_stat_activity WHERE backend_type = 'agent_policy audit launcher'",
    )?;
    let speed = agent.load(&LOAD, Duration::from_secs(1))?.per_second;
    let fill = Duration::from_secs((RECORDS / speed).ceil().max(1.0) as u64);
    let mut speeds = Vec::new();
    for _ in 0..effort.pairs.min(5) {
        eprint!(".");
        dba.sql("SELECT agent_policy.audit_flush('60 s')")?;
        // Nobody moves records while they are written.
        signal("-STOP", &launcher)?;
        dba.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'agent_policy audit writer'")?;
        let filled = agent.load(&LOAD, fill);
        let before = count(&dba)?;
        signal("-CONT", &launcher)?;
        filled?;
        let began = Instant::now();
        dba.sql("SELECT agent_policy.audit_flush('300 s')")?;
        let seconds = began.elapsed().as_secs_f64();
        speeds.push((count(&dba)? - before) / seconds);
    }
    let mut lags = Vec::new();
    for durability in ["async", "spool"] {
        dba.sql(&format!(
            "ALTER SYSTEM SET agent_policy.audit_durability = '{durability}'"
        ))?;
        dba.sql("SELECT pg_reload_conf()")?;
        let worst = thread::scope(|scope| -> Result<f64> {
            let load = scope.spawn(|| agent.load(&LOAD, effort.run * 3).map_err(|e| e.to_string()));
            let mut worst = 0_f64;
            while !load.is_finished() {
                let lag = dba.sql("SELECT extract(epoch FROM lag) FROM agent_policy.health")?;
                worst = worst.max(lag.parse()?);
                thread::sleep(Duration::from_millis(100));
            }
            load.join().map_err(|_| "the load panicked")??;
            Ok(worst)
        })?;
        lags.push((durability, worst));
    }
    dba.sql("ALTER SYSTEM RESET agent_policy.audit_durability")?;
    dba.sql("SELECT pg_reload_conf()")?;
    let least = speeds.iter().copied().fold(f64::INFINITY, f64::min);
    let greatest = speeds.iter().copied().fold(0.0, f64::max);
    let speed = median(&mut speeds);
    let mut figures = vec![Figure {
        name: "ingest".into(),
        ours: format!("{speed:.0} records/s"),
        against: format!("{GOAL:.0} records/s"),
        ratio: speed / GOAL,
        spread: Some((least / GOAL, greatest / GOAL)),
        bound: Bound::AtLeast(1.0),
        remark: "spool to table, the start of the worker and the commits included".into(),
    }];
    for (durability, lag) in lags {
        figures.push(Figure {
            name: format!("lag under load, {durability}"),
            ours: format!("{lag:.2} s"),
            against: format!("{LAG:.0} s"),
            ratio: lag / LAG,
            spread: None,
            bound: Bound::AtMost(1.0),
            remark: format!("the worst of {} s, 8 clients", effort.run.as_secs() * 3),
        });
    }
    Ok(figures)
}

fn count(dba: &crate::cluster::Client) -> Result<f64> {
    Ok(dba
        .sql("SELECT last_seq FROM agent_policy.audit_state")?
        .parse()
        .unwrap_or(0.0))
}

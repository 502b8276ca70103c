//! pgbench -S: the price of one short statement.

use super::Pair;
use crate::cluster::{Client, Cluster, Place};
use crate::{Bound, Effort, Figure, Result, median, pairs, ratios};

pub fn prepare(pair: &Pair) -> Result<()> {
    fill(&[pair.plain, pair.guarded])
}

fn fill(clusters: &[&Cluster]) -> Result<()> {
    for cluster in clusters {
        let dba = cluster.client("postgres");
        dba.pgbench_init(10)?;
        dba.sql("VACUUM ANALYZE")?;
    }
    Ok(())
}

fn compare(
    name: &str,
    ours: Client,
    against: Client,
    bound: &dyn Fn(&str) -> f64,
    effort: &Effort,
) -> Result<Vec<Figure>> {
    ["prepared", "simple"]
        .into_iter()
        .map(|protocol| {
            ours.pgbench(protocol, std::time::Duration::from_secs(1))?;
            against.pgbench(protocol, std::time::Duration::from_secs(1))?;
            let runs = pairs(
                effort.pairs,
                || ours.pgbench(protocol, effort.run),
                || against.pgbench(protocol, effort.run),
            )?;
            let (ratio, spread) = ratios(runs.iter().map(|(a, b)| (a.per_second, b.per_second)));
            let middle =
                |of: &dyn Fn(&(crate::cluster::Throughput, crate::cluster::Throughput)) -> f64| {
                    median(&mut runs.iter().map(of).collect::<Vec<_>>())
                };
            Ok(Figure {
                name: format!("{name}, {protocol}"),
                ours: format!("{:.0} tps", middle(&|r| r.0.per_second)),
                against: format!("{:.0} tps", middle(&|r| r.1.per_second)),
                ratio,
                spread,
                bound: Bound::AtLeast(bound(protocol)),
                remark: format!(
                    "backend CPU {:.1} against {:.1} us a statement",
                    middle(&|r| r.0.cpu),
                    middle(&|r| r.1.cpu),
                ),
            })
        })
        .collect()
}

/// A role that no policy confines.
pub fn bystander(pair: &Pair, effort: &Effort) -> Result<Vec<Figure>> {
    compare(
        "bystander",
        pair.guarded.client("app"),
        pair.plain.client("app"),
        &|_| 0.99,
        effort,
    )
}

/// A confined role.
pub fn confined(pair: &Pair, effort: &Effort) -> Result<Vec<Figure>> {
    let bound = |protocol: &str| if protocol == "prepared" { 0.90 } else { 0.85 };
    compare(
        "confined",
        pair.guarded.client("agent"),
        pair.plain.client("agent"),
        &bound,
        effort,
    )
}

/// The same against a role whose reads pgaudit logs to a file, where pgaudit is installed.
pub fn pgaudit(place: &Place, pair: &Pair, effort: &Effort) -> Result<Vec<Figure>> {
    if !place.has_library("pgaudit")? {
        eprint!("(pgaudit is not installed) ");
        return Ok(Vec::new());
    }
    let settings = format!(
        "{}\nshared_preload_libraries = 'pgaudit'\npgaudit.log = 'read'\nlogging_collector = on\nlog_directory = 'pgaudit_log'\nlog_rotation_size = 0",
        super::SETTINGS
    );
    let audited = Cluster::start(place, "audited", &settings)?;
    let dba = audited.client("postgres");
    dba.sql("CREATE EXTENSION pgaudit; CREATE ROLE agent LOGIN; GRANT pg_read_all_data TO agent")?;
    fill(&[&audited])?;
    compare(
        "confined against pgaudit",
        pair.guarded.client("agent"),
        audited.client("agent"),
        &|_| 1.0,
        effort,
    )
}

//! pgbench -S: the price of one short statement.

use std::time::Duration;

use super::Pair;
use crate::cluster::{Client, Cluster, Load, Place, Processors, Throughput};
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

/// Both protocols, with so many clients.
fn compare(
    name: &str,
    (ours, against): (&Client, &Client),
    clients: u32,
    bound: &dyn Fn(&str) -> Bound,
    effort: &Effort,
) -> Result<Vec<Figure>> {
    ["prepared", "simple"]
        .into_iter()
        .flat_map(|protocol| {
            Processors::of(clients)
                .iter()
                .map(move |on| (protocol, *on))
        })
        .map(|(protocol, processors)| {
            let load = Load {
                script: None,
                protocol,
                clients,
                processors,
            };
            let run = |who: &Client, time| who.load(&load, time);
            run(ours, Duration::from_secs(1))?;
            run(against, Duration::from_secs(1))?;
            let runs = pairs(
                effort.pairs,
                || run(ours, effort.run),
                || run(against, effort.run),
            )?;
            let (ratio, spread) = ratios(runs.iter().map(|(a, b)| (a.per_second, b.per_second)));
            let middle = |of: &dyn Fn(&(Throughput, Throughput)) -> f64| {
                median(&mut runs.iter().map(of).collect::<Vec<_>>())
            };
            let busy = match clients {
                1 => processors.words().into(),
                clients => format!(", {clients} clients"),
            };
            Ok(Figure {
                name: format!("{name}, {protocol}{busy}"),
                ours: format!("{:.0} tps", middle(&|r| r.0.per_second)),
                against: format!("{:.0} tps", middle(&|r| r.1.per_second)),
                ratio,
                spread,
                bound: bound(protocol),
                remark: format!(
                    "backend CPU {:.1} against {:.1} us a statement",
                    middle(&|r| r.0.cpu),
                    middle(&|r| r.1.cpu),
                ),
            })
        })
        .collect()
}

/// Enough that no processor waits: then what the worker and the server's logger do counts, too, and it does not matter
/// which process the system puts beside which.
const BUSY: u32 = 8;

/// A role that no policy confines.
pub fn bystander(pair: &Pair, effort: &Effort) -> Result<Vec<Figure>> {
    compare(
        "bystander",
        (&pair.guarded.client("app"), &pair.plain.client("app")),
        1,
        &|_| Bound::AtLeast(0.99),
        effort,
    )
}

/// A confined role.
pub fn confined(pair: &Pair, effort: &Effort) -> Result<Vec<Figure>> {
    let who = (&pair.guarded.client("agent"), &pair.plain.client("agent"));
    let bound = |protocol: &str| Bound::AtLeast(if protocol == "prepared" { 0.90 } else { 0.85 });
    let mut figures = compare("confined", who, 1, &bound, effort)?;
    figures.extend(compare(
        "confined",
        who,
        BUSY,
        &|_| Bound::Orientation,
        effort,
    )?);
    Ok(figures)
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
    let (guarded, plain) = (pair.guarded.client("agent"), pair.plain.client("agent"));
    let audited = audited.client("agent");
    let ahead = |_: &str| Bound::AtLeast(1.0);
    let mut figures = Vec::new();
    for clients in [1, BUSY] {
        let name = "confined against pgaudit";
        figures.extend(compare(
            name,
            (&guarded, &audited),
            clients,
            &ahead,
            effort,
        )?);
        let name = "no extension against pgaudit";
        figures.extend(compare(
            name,
            (&plain, &audited),
            clients,
            &|_| Bound::Orientation,
            effort,
        )?);
    }
    Ok(figures)
}

//! The figures, each in a function of its own.

mod analytic;
mod cap;
mod durable;
mod footprint;
mod ingest;
mod masks;
mod policy_size;
mod select;

use std::path::Path;
use std::process::Command;

use crate::cluster::{Cluster, Place};
use crate::{Effort, Figure, Result};

pub const NAMES: [&str; 9] = [
    "bystander",
    "confined",
    "durable",
    "ingest",
    "masks",
    "cap",
    "analytic",
    "policy_size",
    "footprint",
];

/// Of both clusters; the one with the extension also has its library preloaded.
pub const SETTINGS: &str = "shared_buffers = 1GB
max_wal_size = 4GB
work_mem = 64MB
maintenance_work_mem = 256MB
max_parallel_workers_per_gather = 0
autovacuum = off
jit = off
agent_policy.audit_durability = async";

/// The clusters: `plain` has never heard of the extension, `guarded` has it.
pub struct Pair<'a> {
    pub plain: &'a Cluster<'a>,
    pub guarded: &'a Cluster<'a>,
}

fn signal(name: &str, pid: &str) -> Result<()> {
    let done = Command::new("kill").args([name, pid]).status()?;
    done.success()
        .then_some(())
        .ok_or_else(|| format!("kill {name} {pid}").into())
}

/// Runs what is wanted; the lines of the table.
pub fn run(
    place: &Place,
    library: &Path,
    effort: &Effort,
    wanted: &dyn Fn(&str) -> bool,
) -> Result<Vec<Figure>> {
    eprintln!("==> starting two clusters");
    // A setting with a dot in its name is accepted, and ignored, where the library is absent.
    let plain = Cluster::start(place, "plain", SETTINGS)?;
    let guarded = Cluster::start(
        place,
        "guarded",
        &format!("{SETTINGS}\nshared_preload_libraries = 'agent_policy'"),
    )?;
    let pair = Pair {
        plain: &plain,
        guarded: &guarded,
    };
    for cluster in [&plain, &guarded] {
        cluster.client("postgres").sql(
            "CREATE ROLE app LOGIN; CREATE ROLE agent LOGIN; GRANT pg_read_all_data TO app, agent",
        )?;
    }
    guarded.client("postgres").sql(
        "CREATE EXTENSION agent_policy;
         SELECT agent_policy.protect_role('agent');
         SELECT agent_policy.allow_schema('agent', 'public')",
    )?;
    let mut figures = Vec::new();
    let mut step =
        |name: &str, work: &dyn Fn(&Pair, &Effort) -> Result<Vec<Figure>>| -> Result<()> {
            if wanted(name) {
                eprint!("==> {name} ");
                figures.extend(work(&pair, effort)?);
                eprintln!();
            }
            Ok(())
        };
    if ["bystander", "confined", "durable", "ingest"]
        .iter()
        .any(|name| wanted(name))
    {
        select::prepare(&pair)?;
    }
    step("bystander", &select::bystander)?;
    step("confined", &select::confined)?;
    step("confined", &|pair, effort| {
        select::pgaudit(place, pair, effort)
    })?;
    step("durable", &durable::run)?;
    step("ingest", &ingest::run)?;
    // Before others make the policy large.
    step("footprint", &|pair, _| footprint::run(pair, library))?;
    step("masks", &masks::run)?;
    step("cap", &cap::run)?;
    step("policy_size", &policy_size::run)?;
    step("analytic", &analytic::run)?;
    Ok(figures)
}

//! A second corpus, where it is found beside the project: on servers of its own, one with the policy, one without.

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use cluster_tests::attack::{self, Attack, Canaries, Expect, Limits};
use cluster_tests::once::OncePer;
use cluster_tests::{Cluster, cluster, run};
use libtest_mimic::{Completion, Trial};

use crate::tally::{self, Verdict};

pub const CORPUS: Limits = Limits {
    rows: 1000,
    bytes: 288_000,
    time: Duration::from_secs(6),
};
const PATIENCE: Duration = Duration::from_secs(12);

pub static CORPUS_CANARIES: LazyLock<Canaries> = LazyLock::new(|| {
    Canaries::new(
        r"[\w.]*@?canary-mail[\w.]*|900-55-\d+|\+1-555-0100-\d+|HRCANARY\w*|SECRETCANARY\w*|ROWCANARY_(?:south|east|west)|7700[0-2]\d\d|1971-\d\d-\d\d",
        &["canary-mail", "HRCANARY", "SECRETCANARY"],
    )
});

/// The other corpus: one server with the policy, one without.
pub struct Corpus {
    confined: Arc<Cluster>,
    control: Mutex<Arc<Cluster>>,
}

pub fn dir() -> Option<PathBuf> {
    let dir = std::env::var_os("AGENT_POLICY_ATTACKS")
        .map(PathBuf::from)
        .or_else(|| {
            // Worktrees lie beside the project, so both have the same neighbour.
            Some(cluster::project_root().parent()?.join("shared/attacks"))
        })?;
    dir.join("00_setup.sql").exists().then_some(dir)
}

static CORPORA: OncePer<u32, Corpus> = OncePer::new();

pub fn corpus(version: u32, dir: &Path) -> Arc<Corpus> {
    CORPORA.get(version, || {
        let control = Arc::new(Cluster::start_bare(version));
        fill(&control, "corpus_template", dir);
        materialise(&control);
        fresh(&control);
        let confined = if cluster::plain() {
            Arc::clone(&control)
        } else {
            let confined = Arc::new(Cluster::start(version, ""));
            fill(&confined, "corpus", dir);
            confine(&confined);
            confined
        };
        Corpus {
            confined,
            control: Mutex::new(control),
        }
    })
}

pub fn su(cluster: &Cluster, database: &str) -> cluster_tests::Wire {
    cluster
        .connect("postgres", database, &[])
        .expect("the superuser connects")
}

pub fn fill(cluster: &Cluster, database: &str, dir: &Path) {
    su(cluster, "postgres").query(&format!("CREATE DATABASE {database}"));
    cluster.psql(database, &dir.join("00_setup.sql"));
    cluster.psql(database, &dir.join("01_optional_contrib.sql"));
}

pub fn control_cluster(corpus: &Corpus) -> Arc<Cluster> {
    Arc::clone(&corpus.control.lock().unwrap_or_else(|e| e.into_inner()))
}

/// A database whose tables hold what the masks and the filter would show.
fn materialise(cluster: &Cluster) {
    su(cluster, "postgres").query("CREATE DATABASE corpus_masked TEMPLATE corpus_template");
    su(cluster, "corpus_masked").query(
        "SET session_replication_role = replica;
         ALTER TABLE sales.customers DROP CONSTRAINT ssn_fmt, DROP CONSTRAINT customers_email_key;
         UPDATE sales.customers SET email = '***', ssn = '***', phone = '***', dob = '1970-01-01';
         DELETE FROM sales.customers WHERE region <> 'north';
         UPDATE sales.customers_gen SET email = '***';
         UPDATE sales.events SET email = '***'; UPDATE sales.documents SET body = '***';
         REFRESH MATERIALIZED VIEW sales.mv_customers; ANALYZE",
    );
}

/// A control database as it was at first.
fn fresh(cluster: &Cluster) {
    let mut su = su(cluster, "postgres");
    su.query("DROP DATABASE IF EXISTS corpus WITH (FORCE)");
    su.query("CREATE DATABASE corpus TEMPLATE corpus_template");
    su.query("GRANT CONNECT, TEMP, CREATE ON DATABASE corpus TO agent_bot");
    reset(cluster);
}

fn reset(cluster: &Cluster) {
    let mut su = su(cluster, "postgres");
    su.simple("ALTER ROLE agent_bot RESET ALL");
    su.simple("ALTER ROLE agent_bot IN DATABASE corpus RESET ALL");
    su.simple("ALTER ROLE agent_bot PASSWORD 'agent'");
}

pub fn confine(cluster: &Cluster) {
    let mut su = su(cluster, "corpus");
    su.query("CREATE EXTENSION agent_policy");
    su.query("SELECT agent_policy.protect_role('agent_bot'); SELECT agent_policy.allow_schema('agent_bot', 'sales')");
    for relation in ["sales.secrets", "sales.v_staff"] {
        su.query(&format!(
            "SELECT agent_policy.deny_relation('agent_bot', '{relation}')"
        ));
    }
    for (relation, columns) in [
        ("sales.customers", &["email", "ssn", "phone", "dob"][..]),
        ("sales.customers_gen", &["email", "email_copy"]),
        ("sales.events", &["email"]),
        ("sales.documents", &["body"]),
        ("sales.trig_log", &["what"]),
    ] {
        for column in columns {
            su.query(&format!(
                "SELECT agent_policy.mask_column('{relation}', '{column}')"
            ));
        }
    }
    if cluster.version >= 18 {
        su.query("SELECT agent_policy.mask_column('sales.customers_virt', 'email')");
    }
    su.query("SELECT agent_policy.filter_rows('sales.customers', $$region = 'north' AND agent_policy.user_email() LIKE '%@north.example'$$)");
    su.query(
        "SELECT agent_policy.set_limits('agent_bot', max_rows => 1000, max_bytes => 262144, statement_timeout => '3 s')",
    );
    su.simple("SELECT agent_policy.set_limits('agent_bot', rows_per_hour => 1000)");
}

/// Tags of statements that change nothing that another attack could miss.
pub fn harmless(tag: &str) -> bool {
    attack::changes_nothing(tag) || tag.starts_with("COPY")
}

/// Ignored where the server lacks the extension that the attack goes through.
fn shared(attack: &Attack, version: u32, dir: &Path) -> Completion {
    let corpus = corpus(version, dir);
    let user = attack.flag("user").unwrap_or("agent_bot");
    let sql = &attack.sql;
    let control = {
        let cluster = corpus.control.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(extension) = attack.flag("contrib")
            && su(&cluster, "corpus")
                .query(&format!(
                    "SELECT 1 FROM pg_extension WHERE extname = '{extension}'"
                ))
                .rows
                .is_empty()
        {
            return Completion::ignored_with(format!("no {extension}"));
        }
        if attack.has("dos") {
            None
        } else {
            let mut wire = cluster.connect(user, "corpus", &[]).expect("connects");
            let outcome = attack::run(attack, sql, &mut wire, false, PATIENCE);
            drop(wire);
            if !outcome.tags.iter().all(|tag| harmless(tag)) {
                fresh(&cluster);
            } else if attack.has("reset") {
                reset(&cluster);
            }
            Some(outcome)
        }
    };
    // Whether a foreign corpus's control runs do harm is its own concern: counted and told, not failed.
    if let Some(control) = &control
        && attack::harmful(attack, sql, control, &CORPUS_CANARIES, &CORPUS).is_err()
    {
        tally::inert("shared", version);
    }
    if cluster::plain() {
        return Completion::Completed;
    }
    let mut verdicts = Vec::new();
    for extended in [false, true] {
        let how = if extended { "extended" } else { "simple" };
        let options = format!(
            "-c agent_policy.user_email={}.{how}@north.example",
            attack.id
        );
        let mut verdict = match corpus
            .confined
            .connect(user, "corpus", &[("options", &options)])
        {
            Err(error) if attack.expect == Expect::Deny && error.code != "57P03" => Ok(()),
            Err(error) => Err(format!("cannot connect: {error}")),
            Ok(wire) => {
                let mut first = Some(wire);
                let (outcome, verdict) =
                    attack::run_and_judge(attack, &CORPUS_CANARIES, &CORPUS, || {
                        let mut wire = first.take().unwrap_or_else(|| {
                            corpus
                                .confined
                                .connect(user, "corpus", &[("options", &options)])
                                .expect("connects again")
                        });
                        attack::run(attack, sql, &mut wire, extended, PATIENCE)
                    });
                // A catalog refuses by having no row of what the control run was shown.
                let shown_nothing = attack.control == "catalog"
                    && outcome.errors.is_empty()
                    && outcome.rows == 0
                    && control.as_ref().is_some_and(|control| control.rows > 0);
                let verdict = match verdict {
                    Err(_) if attack.expect == Expect::Deny && shown_nothing => Ok(()),
                    verdict => verdict,
                };
                let code = |o: &attack::Outcome| o.errors.first().map(|e| e.code.clone());
                let same = |o: &attack::Outcome| {
                    o.answers == outcome.answers
                        && o.notices == outcome.notices
                        && code(o) == code(&outcome)
                };
                // The answer over raw values, where masked values would have given another.
                let inferred = attack.has("infer") && control.as_ref().is_some_and(same) && {
                    let mut masked = control_cluster(&corpus)
                        .connect(user, "corpus_masked", &[])
                        .expect("connects");
                    !same(&attack::run(attack, sql, &mut masked, extended, PATIENCE))
                };
                if verdict.is_ok() && inferred {
                    Err(format!(
                        "INFER: the same answer as without the policy: {:?}",
                        outcome.answers
                    ))
                } else {
                    verdict
                }
            }
        };
        if attack.has("reset") {
            reset(&corpus.confined);
        }
        if let Err(why) = &mut verdict {
            why.truncate(600);
        }
        verdicts.push(Verdict {
            how: how.to_owned(),
            extended,
            result: verdict,
        });
    }
    tally::settle("shared", version, attack, verdicts);
    Completion::Completed
}

pub fn trials(versions: &[u32]) -> Vec<Trial> {
    let Some(dir) = dir() else {
        return vec![Trial::test("shared::not_found", || Ok(())).with_ignored_flag(true)];
    };
    let mut trials = Vec::new();
    for attack in attack::read_dir(&dir) {
        for version in versions.iter().copied().filter(|v| attack.runs_on(*v)) {
            let (attack, dir) = (attack.clone(), dir.clone());
            let name = format!("shared::{}::pg{version}", attack.id);
            trials.push(Trial::ignorable_test(name, move || {
                run::guarded(|| shared(&attack, version, &dir))
            }));
        }
    }
    trials
}

pub fn stop() {
    for corpus in CORPORA.all() {
        corpus.confined.stop();
        corpus
            .control
            .lock()
            .unwrap_or_else(|e| e.into_inner())
            .stop();
    }
}

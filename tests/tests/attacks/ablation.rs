//! One layer of the enforcement switched off at a time: which attacks get raw data then?
//!
//! For builds with the feature `ablation` (`make ablation`). What is found is compared with tests/attacks/ablation.txt,
//! where each attack that a single layer stops is listed with the reason why no other can.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::process::ExitCode;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use cluster_tests::attack::{self, Attack, Canaries, Limits, Outcome};
use cluster_tests::bench::{ALICE, CANARY_PATTERN, CANARY_WORDS};
use cluster_tests::raw::{Raw, msg};
use cluster_tests::{Bench, Cluster, Wire, cluster, run};

use crate::shared::{
    self, CORPUS, CORPUS_CANARIES, confine, control_cluster, corpus, dir, fill, harmless, su,
};
use crate::tally;

const LAYERS: &[&str] = &[
    "none",
    "analysis",
    "utility",
    "rewrite",
    "verify",
    "stamp",
    "start",
    "permissions",
    "functions",
    "calls",
    "inlining",
    "objects",
    "rows",
    "wire",
    "statistics",
    "readonly",
    "settings",
];
const LISTED: &str = include_str!("../../attacks/ablation.txt");
const PATIENCE: Duration = Duration::from_secs(8);
/// Servers at work at the same time.
const SIDE_BY_SIDE: usize = 3;

/// Limits and canaries of the attacks in tests/attacks/ablation, which run in the shop as it is.
const OWN: Limits = Limits {
    rows: 100,
    bytes: 70_000,
    time: Duration::from_secs(6),
};
static OWN_CANARIES: LazyLock<Canaries> =
    LazyLock::new(|| Canaries::new(CANARY_PATTERN, CANARY_WORDS));

/// The policy that the project's own attacks are judged by.
fn confine_own(bench: &Bench) {
    bench.mask();
    bench.setup(
        "SELECT agent_policy.deny_relation('@agent@', 'shop.hidden');
         SELECT agent_policy.deny_relation('@agent@', 'shop.vault_view');
         SELECT agent_policy.set_limits('@agent@', max_rows => 100, max_bytes => 60000, statement_timeout => '3 s');
         SELECT agent_policy.allow_function('@agent@', f::regprocedure) FROM unnest(ARRAY['shop.get_email(int)', 'shop.all_customers()',
            'shop.all_customers_atomic()', 'shop.secdef_email(int)', 'shop.run(text)', 'shop.loud(text)', 'shop.swallow(text)', 'shop.swallow_timeout()']) f",
    );
    // A budget that the release cannot keep shows as an escape, not as a broken set-up.
    let budget = bench.fill("SELECT agent_policy.set_limits('@agent@', rows_per_hour => 100)");
    bench
        .cluster
        .connect("postgres", &bench.db, &[])
        .expect("connects")
        .simple(&budget);
}

/// What one layer's absence let through.
#[derive(Default)]
struct Found {
    run: usize,
    leaks: BTreeSet<String>,
    /// Not as expected, without raw data: a change that was not refused, a limit that did not hold.
    others: BTreeSet<String>,
    crashes: usize,
}

/// Both protocols, one after the other: what came back, and whether it changed anything.
fn try_out(attack: &Attack, sql: &str, connect: impl Fn() -> Option<Wire>) -> Vec<Outcome> {
    [false, true]
        .into_iter()
        .filter_map(|extended| {
            let mut wire = connect()?;
            Some(attack::run(attack, sql, &mut wire, extended, PATIENCE))
        })
        .collect()
}

fn changed(outcomes: &[Outcome]) -> bool {
    !outcomes
        .iter()
        .flat_map(|o| &o.tags)
        .all(|tag| harmless(tag))
}

/// Attacks on time alone show no data and take long.
fn tells_of_data(attack: &Attack) -> bool {
    !attack.has("dos")
        && !attack.has("overgrant")
        && !["35_", "36_"].iter().any(|p| attack.file.starts_with(p))
}

fn own(cluster: &Arc<Cluster>, found: &mut Found) {
    let fresh = || {
        let bench = Bench::new(Arc::clone(cluster));
        confine_own(&bench);
        bench
    };
    let mut bench = fresh();
    for attack in attack::read_dir(&cluster::project_root().join("tests/attacks/ablation")) {
        if !attack.runs_on(cluster.version) || !tells_of_data(&attack) {
            continue;
        }
        let sql = bench.fill(&attack.sql);
        let outcomes = try_out(&attack, &sql, || Some(bench.agent()));
        found.run += 1;
        for outcome in &outcomes {
            if OWN_CANARIES.leak(&outcome.bytes, &sql).is_some() {
                found.leaks.insert(attack.id.clone());
            } else if attack::judge(&attack, &sql, outcome, &OWN_CANARIES, &OWN).is_err() {
                found.others.insert(attack.id.clone());
            }
        }
        if changed(&outcomes) {
            bench = fresh();
        }
    }
}

/// What no statement can express; tests/wire has more of it.
fn below_sql(cluster: &Arc<Cluster>, found: &mut Found) {
    let bench = Bench::new(Arc::clone(cluster));
    let login = |user: &str| {
        let options = format!("-c agent_policy.user_email={ALICE}");
        Raw::login(&cluster.socket(), user, &bench.db, &[("options", &options)]).expect("connects")
    };
    // Begun before there was a policy for the role.
    let early = [
        msg::query("SET plan_cache_mode = force_generic_plan"),
        msg::query("BEGIN"),
        msg::parse("s", "SELECT email FROM shop.customers", &[]),
        msg::bind("", "s", &[]),
        msg::execute("", 0),
        msg::bind("p", "s", &[]),
        msg::execute("p", 1),
        msg::sync(),
    ]
    .concat();
    let mut portal = login(&bench.agent);
    portal.ask(&early, 3);
    let mut statement = login(&bench.agent);
    statement.ask(&[early, msg::query("COMMIT")].concat(), 4);
    let seen = [portal.received.len(), statement.received.len()];
    for control in [&portal, &statement] {
        assert!(OWN_CANARIES.leak(&control.received, "").is_some());
    }
    confine_own(&bench);
    portal.ask(&[msg::execute("p", 0), msg::sync()].concat(), 1);
    statement.ask(
        &[msg::bind("", "s", &[]), msg::execute("", 0), msg::sync()].concat(),
        1,
    );

    let oid = |function: &str| -> u32 {
        let oid = bench.value(&format!("SELECT '{function}'::regprocedure::oid"));
        oid.parse().expect("an oid")
    };
    let number = bench.value("SELECT lo_from_bytea(0, 'QUAGGA')");
    bench.setup(&format!("GRANT SELECT ON LARGE OBJECT {number} TO @agent@"));
    let calls = [
        (oid("shop.get_email(int)"), "1"),
        (oid("shop.secdef_email(int)"), "1"),
        (
            oid("shop.run(text)"),
            "SELECT string_agg(email, ' ') FROM shop.customers",
        ),
        (oid("lo_get(oid)"), &number),
    ];
    let mut fast_path = login(&bench.agent);
    for (function, argument) in calls {
        fast_path.ask(
            &msg::call(function, &[], &[Some(argument.as_bytes())], 0),
            1,
        );
    }
    let mut bind = login(&bench.agent);
    for sql in [
        "SELECT shop.loud(email) FROM shop.customers",
        "SELECT 1 LIMIT length(shop.get_email(1))",
    ] {
        bind.ask(
            &[
                msg::parse("", sql, &[]),
                msg::bind("", "", &[]),
                msg::sync(),
            ]
            .concat(),
            1,
        );
    }
    for (id, bytes) in [
        ("WIRE-PORTAL", &portal.received[seen[0]..]),
        ("WIRE-STATEMENT", &statement.received[seen[1]..]),
        ("WIRE-FASTPATH", &fast_path.received),
        ("WIRE-BIND", &bind.received),
    ] {
        found.run += 1;
        if OWN_CANARIES.leak(bytes, "").is_some() {
            found.leaks.insert(id.into());
        }
    }
}

/// Attacks that are judged by the answer itself: with the raw values, and with masked ones.
type Answers = HashMap<String, (Vec<Outcome>, Vec<Outcome>)>;

fn answers(version: u32, dir: &std::path::Path) -> Answers {
    let control = control_cluster(&corpus(version, dir));
    attack::read_dir(dir)
        .into_iter()
        .filter(|a| a.has("infer") && a.runs_on(version) && tells_of_data(a))
        .map(|a| {
            let of = |db: &str| {
                let user = a.flag("user").unwrap_or("agent_bot");
                try_out(&a, &a.sql, || control.connect(user, db, &[]).ok())
            };
            let both = (of("corpus"), of("corpus_masked"));
            (a.id, both)
        })
        .collect()
}

/// The answer over raw values, where masked values would have given another.
fn inferred(answers: &Answers, id: &str, outcomes: &[Outcome]) -> bool {
    let same = |a: &Outcome, b: &Outcome| {
        let code = |o: &Outcome| o.errors.first().map(|e| e.code.clone());
        a.answers == b.answers && a.notices == b.notices && code(a) == code(b)
    };
    answers.get(id).is_some_and(|(raw, masked)| {
        outcomes
            .iter()
            .zip(raw)
            .zip(masked)
            .any(|((got, raw), masked)| same(got, raw) && !same(got, masked))
    })
}

fn foreign(
    cluster: &Arc<Cluster>,
    dir: &std::path::Path,
    answers: &Answers,
    extensions: &[String],
    found: &mut Found,
) {
    let fresh = || {
        let mut su = su(cluster, "postgres");
        su.query("DROP DATABASE IF EXISTS corpus WITH (FORCE)");
        su.query("CREATE DATABASE corpus TEMPLATE corpus_ready");
        su.query("GRANT CONNECT, TEMP, CREATE ON DATABASE corpus TO agent_bot");
        su.simple("ALTER ROLE agent_bot RESET ALL");
        su.simple("ALTER ROLE agent_bot PASSWORD 'agent'");
    };
    fill(cluster, "corpus", dir);
    confine(cluster);
    su(cluster, "postgres").query("ALTER DATABASE corpus RENAME TO corpus_ready");
    fresh();
    for attack in attack::read_dir(dir) {
        if !attack.runs_on(cluster.version) || !tells_of_data(&attack) {
            continue;
        }
        if attack
            .flag("contrib")
            .is_some_and(|e| !extensions.iter().any(|x| x == e))
        {
            continue;
        }
        let options = format!("-c agent_policy.user_email={}@north.example", attack.id);
        let user = attack.flag("user").unwrap_or("agent_bot");
        let outcomes = try_out(&attack, &attack.sql, || {
            cluster
                .connect(user, "corpus", &[("options", &options)])
                .ok()
        });
        found.run += 1;
        let leaks = outcomes
            .iter()
            .any(|o| CORPUS_CANARIES.leak(&o.bytes, &attack.sql).is_some());
        if leaks || inferred(answers, &attack.id, &outcomes) {
            found.leaks.insert(attack.id.clone());
        } else if outcomes
            .iter()
            .any(|o| attack::judge(&attack, &attack.sql, o, &CORPUS_CANARIES, &CORPUS).is_err())
        {
            found.others.insert(attack.id.clone());
        }
        if attack.has("reset") || changed(&outcomes) {
            fresh();
        }
    }
}

/// What is listed: layer to attacks.
fn listed() -> BTreeMap<&'static str, BTreeSet<String>> {
    let mut listed = BTreeMap::new();
    for line in LISTED.lines().map(str::trim) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let fields: Vec<&str> = line.splitn(3, '|').map(str::trim).collect();
        let [layer, attacks, why] = fields[..] else {
            panic!("tests/attacks/ablation.txt: '{line}'")
        };
        assert!(LAYERS.contains(&layer), "no such layer: {line}");
        assert!(!why.is_empty(), "no reason: {line}");
        let attacks = attacks.split_whitespace().map(str::to_owned);
        listed
            .entry(layer)
            .or_insert_with(BTreeSet::new)
            .extend(attacks);
    }
    listed
}

fn wanted() -> Vec<&'static str> {
    let only = std::env::var("AGENT_POLICY_ABLATION").unwrap_or_default();
    LAYERS
        .iter()
        .copied()
        .filter(|layer| matches!(&*only, "" | "all") || only.split([',', ' ']).any(|o| o == *layer))
        .collect()
}

pub fn main(versions: &[u32]) -> ExitCode {
    let mut table: BTreeMap<(usize, u32), Found> = BTreeMap::new();
    for version in versions.iter().copied() {
        let foreign_attacks = dir().map(|dir| {
            let answers = answers(version, &dir);
            let control = control_cluster(&corpus(version, &dir));
            let extensions = su(&control, "corpus").query("SELECT extname FROM pg_extension");
            (answers, extensions.column(), dir)
        });
        let queue = Mutex::new(wanted());
        let done = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for _ in 0..SIDE_BY_SIDE {
                scope.spawn(|| {
                    loop {
                        let next = queue.lock().expect("no panic while held").pop();
                        let Some(layer) = next else { return };
                        let setting = format!("agent_policy.layer_switched_off = '{layer}'");
                        let cluster = Arc::new(Cluster::start(version, &setting));
                        let set = su(&cluster, "postgres")
                            .query("SHOW agent_policy.layer_switched_off")
                            .one();
                        assert!(set.eq_ignore_ascii_case(layer), "{layer} is {set}");
                        let mut found = Found::default();
                        own(&cluster, &mut found);
                        below_sql(&cluster, &mut found);
                        if let Some((answers, extensions, dir)) = &foreign_attacks {
                            foreign(&cluster, dir, answers, extensions, &mut found);
                        }
                        found.crashes = cluster.crashes();
                        eprintln!(
                            "pg{version} without {layer}: {} attacks, leaks {:?}, others {:?}",
                            found.run, found.leaks, found.others
                        );
                        let at = LAYERS.iter().position(|l| *l == layer).unwrap_or_default();
                        done.lock().expect("no panic while held").push((at, found));
                    }
                });
            }
        });
        for (at, found) in done.into_inner().expect("no panic while held") {
            table.insert((at, version), found);
        }
    }
    let failed = report(&table, versions);
    shared::stop();
    run::main(Vec::new());
    if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

/// Prints the table; whether it differs from what is listed.
fn report(table: &BTreeMap<(usize, u32), Found>, versions: &[u32]) -> bool {
    let listed = listed();
    let mut failed = false;
    println!("| switched off | attacks | raw data got out by | other attacks not met |");
    println!("|---|---|---|---|");
    for (at, layer) in LAYERS.iter().enumerate() {
        let of: Vec<&Found> = versions
            .iter()
            .filter_map(|v| table.get(&(at, *v)))
            .collect();
        if of.is_empty() {
            continue;
        }
        let leaks: BTreeSet<String> = of.iter().flat_map(|f| f.leaks.clone()).collect();
        let others: BTreeSet<String> = of.iter().flat_map(|f| f.others.clone()).collect();
        println!(
            "| {layer} | {} | {} | {} |",
            of.iter().map(|f| f.run).sum::<usize>(),
            leaks.iter().cloned().collect::<Vec<_>>().join(" "),
            others.len()
        );
        let expected = listed.get(layer).cloned().unwrap_or_default();
        // What is not met with every layer in place has a list of its own.
        for id in leaks
            .difference(&expected)
            .filter(|id| !tally::known_anywhere(id))
        {
            println!("  not listed: {id} gets raw data without {layer}");
            failed = true;
        }
        for id in expected.difference(&leaks) {
            println!("  listed, but stopped without {layer} too: {id}");
            failed = true;
        }
        if of.iter().any(|f| f.crashes > 0) {
            println!("  the server crashed without {layer}");
            failed = true;
        }
    }
    failed
}

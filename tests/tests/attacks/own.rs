//! The project's own attacks, in the shop (fixtures/shop.sql and tests/attacks/field.sql).
//!
//! Roles: `ro`, and `over`, which has natively whatever a DBA may have granted by mistake; `rw` and `ddl` of those
//! capabilities, `slow` with a time limit that can be waited for, and `plain`, which no policy names and which has the
//! rights of `over`. There are two worlds, which differ in nothing but what the policy hides: what an agent is answered
//! must be the same in both, byte by byte.

use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use cluster_tests::attack::{self, Attack, Canaries, Expect, Limits, Outcome};
use cluster_tests::bench::{CANARY_PATTERN, CANARY_WORDS};
use cluster_tests::once::OncePer;
use cluster_tests::{Cluster, Wire, cluster, run};
use libtest_mimic::Trial;

use crate::tally::{self, Verdict};

const LIMITS: Limits = Limits {
    // A header and the answers of statements around it may come on top of 100.
    rows: 110,
    bytes: 70_000,
    time: Duration::from_millis(1300),
};
const PATIENCE: Duration = Duration::from_secs(12);
/// Longer than an agent's statement may take in the end.
const HARMFULLY_LONG: Duration = Duration::from_millis(1400);

static CANARIES: LazyLock<Canaries> = LazyLock::new(|| Canaries::new(CANARY_PATTERN, CANARY_WORDS));

const SHOP: &str = include_str!("../../fixtures/shop.sql");
const FIELD: &str = include_str!("../../attacks/field.sql");
const POLICY: &str = include_str!("../../attacks/field_policy.sql");
const OVERGRANT: &str = include_str!("../../attacks/field_overgrant.sql");
const OVERGRANT_HERE: &str = include_str!("../../attacks/field_overgrant_here.sql");

const EVERYBODY: &str = "ro, over, rw, ddl, slow, plain";

/// Databases made from a template, and used again as long as nobody has changed anything in them.
struct Pool {
    template: &'static str,
    free: Mutex<Vec<String>>,
}

impl Pool {
    fn new(template: &'static str) -> Self {
        Self {
            template,
            free: Mutex::default(),
        }
    }

    fn take(&self, cluster: &Cluster) -> String {
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        if let Some(database) = self.free.lock().unwrap_or_else(|e| e.into_inner()).pop() {
            return database;
        }
        let n = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let database = format!("{}_{n}", self.template);
        copy(cluster, self.template, &database);
        database
    }

    fn give_back(&self, cluster: &Cluster, database: String, changed: Changed) {
        if changed == Changed::Definitions {
            su(cluster, "postgres").simple(&format!("DROP DATABASE {database} WITH (FORCE)"));
        } else {
            if changed == Changed::Rows {
                su(cluster, &database).query(
                    "SET session_replication_role = replica; TRUNCATE shop.scratch, shop.watched;
                     INSERT INTO shop.scratch VALUES (1, 'one'), (2, 'two'); INSERT INTO shop.watched VALUES (1, 'w')",
                );
            }
            self.free
                .lock()
                .unwrap_or_else(|e| e.into_inner())
                .push(database);
        }
    }
}

struct Field {
    cluster: Cluster,
    control: Pool,
    control_twin: Pool,
    changeable: Pool,
    changeable_twin: Pool,
}

/// What agents that only read are let loose on; nothing may be different in it afterwards.
const READ: &str = "read";
const READ_TWIN: &str = "read_twin";

static FIELDS: OncePer<u32, Field> = OncePer::new();

fn field(version: u32) -> Arc<Field> {
    FIELDS.get(version, || Field::new(version))
}

fn su(cluster: &Cluster, database: &str) -> Wire {
    cluster
        .connect("postgres", database, &[])
        .expect("the superuser connects")
}

fn copy(cluster: &Cluster, from: &str, to: &str) {
    // One at a time: the template may have no other session.
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(|e| e.into_inner());
    su(cluster, "postgres").query(&format!(
        "CREATE DATABASE {to} TEMPLATE {from} STRATEGY file_copy"
    ));
    // Not part of the template.
    su(cluster, "postgres").query(&format!("GRANT ALL ON DATABASE {to} TO {EVERYBODY}"));
    // A copy's policy counts at login only when its table has said so.
    let mut su = su(cluster, to);
    if su.value("SELECT count(*) FROM pg_extension WHERE extname = 'agent_policy'") == "1" {
        su.query("UPDATE agent_policy.policy_role SET mode = mode");
    }
}

impl Field {
    fn new(version: u32) -> Self {
        let cluster = Cluster::start(version, "max_locks_per_transaction = 128");
        {
            let mut su = su(&cluster, "postgres");
            for role in EVERYBODY.split(", ").chain(["shop_owner", "colleague"]) {
                su.query(&format!("CREATE ROLE {role} LOGIN"));
            }
            su.query("ALTER ROLE colleague SET request.key = 'QUAGGA setting'");
            su.query("COMMENT ON ROLE colleague IS 'QUAGGA role'");
            su.query("CREATE DATABASE raw");
        }
        let fill = |text: &str, database: &str| {
            text.replace("@agent@, @plain@", EVERYBODY)
                .replace("@db@", database)
        };
        {
            let mut su = su(&cluster, "raw");
            su.query(&fill(SHOP, "raw"));
            su.query(&fill(FIELD, "raw"));
        }
        copy(&cluster, "raw", "raw_twin");
        su(&cluster, "raw").query(&attack::hidden_values(false));
        su(&cluster, "raw_twin").query(&attack::hidden_values(true));
        if !cluster::plain() {
            for (from, to, again) in [
                ("raw", "confined", READ),
                ("raw_twin", "confined_twin", READ_TWIN),
            ] {
                copy(&cluster, from, to);
                {
                    let mut su = su(&cluster, to);
                    su.query("CREATE EXTENSION agent_policy");
                    su.query(POLICY);
                }
                copy(&cluster, to, again);
            }
        }
        // What a DBA may have granted by mistake, after the policy was made.
        su(&cluster, "postgres").query(OVERGRANT);
        for database in [
            "raw",
            "raw_twin",
            "confined",
            "confined_twin",
            READ,
            READ_TWIN,
        ] {
            if !cluster::plain() || database.starts_with("raw") {
                su(&cluster, database).query(&fill(OVERGRANT_HERE, database));
            }
        }
        // Something for the control runs to tamper with.
        for database in ["raw", "raw_twin"] {
            su(&cluster, database).query(
                "CREATE SCHEMA agent_policy;
                 CREATE TABLE agent_policy.policy_role (role regrole, mode text); CREATE TABLE agent_policy.audit_log (statement text);
                 CREATE FUNCTION agent_policy.release_role(regrole) RETURNS void LANGUAGE sql AS '';
                 GRANT ALL ON SCHEMA agent_policy TO PUBLIC; GRANT ALL ON ALL TABLES IN SCHEMA agent_policy TO PUBLIC",
            );
        }
        let field = Self {
            cluster,
            control: Pool::new("raw"),
            control_twin: Pool::new("raw_twin"),
            changeable: Pool::new("confined"),
            changeable_twin: Pool::new("confined_twin"),
        };
        if !cluster::plain() {
            *field_state(version) = field.fingerprint();
        }
        field
    }

    /// Everything that can be changed, in short.
    fn fingerprint(&self) -> String {
        su(&self.cluster, READ).value(
            "SELECT string_agg(x, E'\\n' ORDER BY x) FROM (
                SELECT c.oid::regclass::text || public.fingerprint(c.oid::regclass) AS x FROM pg_class c
                 WHERE relnamespace IN ('shop'::regnamespace, 'vault'::regnamespace) AND relkind IN ('r', 'm')
                UNION ALL SELECT 'q' || sequencename || coalesce(last_value, 0) FROM pg_sequences
                UNION ALL SELECT 'n' || count(*) FROM pg_class WHERE relnamespace IN ('shop'::regnamespace, 'vault'::regnamespace, 'public'::regnamespace)
                UNION ALL SELECT 'p' || count(*) FROM pg_proc
                UNION ALL SELECT 'l' || count(*) FROM pg_largeobject_metadata
                UNION ALL SELECT 's' || coalesce(string_agg(setconfig::text, ','), '') FROM pg_db_role_setting WHERE setrole <> 'plain'::regrole
                UNION ALL SELECT 'm' || count(*) FROM pg_auth_members WHERE member <> 'plain'::regrole
                UNION ALL SELECT 'a' || md5(string_agg(relacl::text, ',' ORDER BY oid)) FROM pg_class WHERE relnamespace = 'shop'::regnamespace) x",
        )
    }
}

/// The state of the read-only database when it was made.
fn field_state(version: u32) -> std::sync::MutexGuard<'static, String> {
    static STATES: LazyLock<[Mutex<String>; 32]> =
        LazyLock::new(|| std::array::from_fn(|_| Mutex::default()));
    STATES[version as usize]
        .lock()
        .unwrap_or_else(|e| e.into_inner())
}

/// What has to be put right before the next attack finds a database as it was.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Changed {
    Nothing,
    /// Of the tables that are there to be written to.
    Rows,
    Definitions,
}

/// By the tags of the statements, and what the attack writes to.
fn changed(attack: &Attack, outcome: &Outcome) -> Changed {
    if outcome.closed || attack.has_turns() {
        return Changed::Definitions;
    }
    let rows = outcome.tags.iter().map(|tag| {
        let word = tag.split(' ').next().unwrap_or_default();
        match word {
            "INSERT" | "UPDATE" | "DELETE" | "MERGE" | "TRUNCATE" | "COPY" => Changed::Rows,
            _ if attack::changes_nothing(tag) => Changed::Nothing,
            _ => Changed::Definitions,
        }
    });
    let changed = rows.max().unwrap_or(Changed::Nothing);
    let known = ["shop.scratch", "shop.desk", "shop.watched"]
        .iter()
        .any(|table| attack.sql.contains(table));
    if changed == Changed::Rows && !known {
        return Changed::Definitions;
    }
    changed
}

fn connect(field: &Field, role: &str, database: &str, how: &str) -> Wire {
    let options = format!("-c agent_policy.user_email={how}@example.com");
    field
        .cluster
        .connect(role, database, &[("options", &options)])
        .unwrap_or_else(|e| panic!("{role} cannot connect to {database}: {e}"))
}

struct One<'a> {
    attack: &'a Attack,
    field: &'a Field,
    sql: String,
}

impl One<'_> {
    fn run(&self, role: &str, database: &str, extended: bool, patience: Duration) -> Outcome {
        let mut wire = connect(self.field, role, database, "alice");
        let outcome = attack::run_among(
            self.attack,
            &self.sql,
            &mut wire,
            extended,
            patience,
            &mut |who| match who {
                "dba" => su(self.field_cluster(), database),
                other => connect(self.field, other, database, "alice"),
            },
        );
        // Other sessions of the cluster are told of what a killed session left running.
        if outcome.errors.iter().any(|e| e.code == "SILENT") {
            su(self.field_cluster(), "postgres")
                .simple(&format!("SELECT pg_terminate_backend({})", wire.pid));
        }
        outcome
    }

    fn field_cluster(&self) -> &Cluster {
        &self.field.cluster
    }

    fn in_pool(&self, pool: &Pool, role: &str, extended: bool, patience: Duration) -> Outcome {
        let database = pool.take(&self.field.cluster);
        let outcome = self.run(role, &database, extended, patience);
        let changed = changed(self.attack, &outcome);
        pool.give_back(&self.field.cluster, database, changed);
        outcome
    }

    /// What is said to whom must do its harm where there is no policy.
    fn control(&self) -> Result<(), String> {
        let role = if self.attack.has("super") {
            "postgres"
        } else {
            "plain"
        };
        if self.attack.has("dos") {
            let outcome = self.in_pool(&self.field.control, role, false, HARMFULLY_LONG);
            let long = outcome.elapsed >= HARMFULLY_LONG;
            return if long {
                Ok(())
            } else {
                Err(format!("took {:?}", outcome.elapsed))
            };
        }
        let outcome = self.in_pool(&self.field.control, role, false, PATIENCE);
        if self.attack.has("infer") {
            let twin = self.in_pool(&self.field.control_twin, role, false, PATIENCE);
            if let Some(error) = outcome.errors.first()
                && twin.errors.len() == outcome.errors.len()
            {
                return Err(format!("error: {error}"));
            }
            return if same(&outcome, &twin) {
                Err("the same answer in both worlds".into())
            } else {
                Ok(())
            };
        }
        attack::harmful(self.attack, &self.sql, &outcome, &CANARIES, &LIMITS)
    }

    /// As an agent of this role.
    fn confined(&self, role: &str, extended: bool) -> Result<(), String> {
        // Others that take part may change something.
        let reads = !matches!(role, "rw" | "ddl") && !self.attack.has_turns();
        let go = |twin: bool| match (reads, twin) {
            (true, false) => self.run(role, READ, extended, PATIENCE),
            (true, true) => self.run(role, READ_TWIN, extended, PATIENCE),
            (false, false) => self.in_pool(&self.field.changeable, role, extended, PATIENCE),
            (false, true) => self.in_pool(&self.field.changeable_twin, role, extended, PATIENCE),
        };
        let (outcome, verdict) =
            attack::run_and_judge(self.attack, &CANARIES, &LIMITS, || go(false));
        verdict?;
        let told = self.attack.expect == Expect::Masked && !self.attack.has("varies");
        // Once is enough for what does not depend on the protocol.
        if told && (!extended || self.attack.has("infer")) {
            let twin = go(true);
            if !same(&outcome, &twin) {
                return Err(format!(
                    "INFERENCE: the answer depends on hidden values {}",
                    difference(&outcome, &twin)
                ));
            }
        }
        Ok(())
    }
}

/// The same bytes.
fn same(a: &Outcome, b: &Outcome) -> bool {
    without_numbers(&a.bytes) == without_numbers(&b.bytes)
}

/// The messages with the numbers of new relations and types taken out of the row descriptions: the worlds count
/// differently.
fn without_numbers(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let mut at = 0;
    while let Some(head) = bytes.get(at..at + 5) {
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let end = (at + 1 + length).min(bytes.len());
        if head[0] == b'T' {
            // Name and NUL, relation (4), column (2), type (4), length (2), modifier (4), format (2)
            let mut field = at + 7;
            while let Some(name) = bytes[field..end].iter().position(|b| *b == 0) {
                for number in [field + name + 1, field + name + 7] {
                    if let Some(number) = bytes.get_mut(number..number + 4)
                        && u32::from_be_bytes([number[0], number[1], number[2], number[3]]) >= 16384
                    {
                        number.fill(0);
                    }
                }
                field = (field + name + 19).min(end);
            }
        }
        at = end;
    }
    bytes
}

/// What was said differently, from shortly before.
fn difference(a: &Outcome, b: &Outcome) -> String {
    let (a, b) = (without_numbers(&a.bytes), without_numbers(&b.bytes));
    let at = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
    let around = |bytes: &[u8]| {
        let part = &bytes[at.saturating_sub(60)..(at + 120).min(bytes.len())];
        String::from_utf8_lossy(part).replace('\0', " ")
    };
    format!("at byte {at}: {} / {}", around(&a), around(&b))
}

fn own(attack: &Attack, version: u32) {
    let field = field(version);
    let one = One {
        attack,
        field: &field,
        sql: attack.sql.clone(),
    };
    if let Err(why) = one.control() {
        tally::inert("own", version);
        panic!(
            "{}: the control run does no harm: {why}\n  {}",
            attack.id, attack.sql
        );
    }
    if cluster::plain() {
        return;
    }
    let before = field.cluster.crashes();
    let roles: &[&str] = if attack.has("rw") {
        &["rw"]
    } else if attack.has("ddl") {
        &["ddl"]
    } else if attack.has("dos") {
        &["slow"]
    } else {
        &["ro", "over"]
    };
    let mut verdicts = Vec::new();
    for role in roles {
        for extended in [false, true] {
            if extended && attack.has("multi") {
                continue;
            }
            let mut result = one.confined(role, extended);
            if let Err(why) = &mut result {
                let cut = why.char_indices().nth(700).map_or(why.len(), |(i, _)| i);
                why.truncate(cut);
            }
            verdicts.push(Verdict {
                how: format!("{role}, {}", if extended { "extended" } else { "simple" }),
                extended,
                result,
            });
        }
    }
    assert_eq!(
        field.cluster.crashes(),
        before,
        "{}: the server crashed in this attack or one beside it",
        attack.id
    );
    tally::settle("own", version, attack, verdicts);
}

pub fn trials(versions: &[u32]) -> Vec<Trial> {
    let mut trials = Vec::new();
    for attack in attack::read_dir(&cluster::project_root().join("tests/attacks")) {
        for version in versions.iter().copied().filter(|v| attack.runs_on(*v)) {
            let attack = attack.clone();
            let name = format!("own::{}::pg{version}", attack.id);
            trials.push(Trial::test(name, move || {
                run::guarded(|| own(&attack, version))
            }));
        }
    }
    trials
}

/// After the last attack. Whether agents that only read have changed nothing; stops the servers.
pub fn unchanged() -> bool {
    let mut unchanged = true;
    for field in FIELDS.all() {
        let version = field.cluster.version;
        if !cluster::plain() {
            let (before, after) = (field_state(version).clone(), field.fingerprint());
            for line in after
                .lines()
                .filter(|line| !before.lines().any(|b| b == *line))
            {
                println!("attacks own pg{version}: a role that only reads has CHANGED {line}");
                unchanged = false;
            }
        }
        field.cluster.stop();
    }
    unchanged
}

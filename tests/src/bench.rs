//! What one test works on: a database of its own with the shop, two roles with the same rights, one of them the agent.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::attack::Canaries;
use crate::cluster::{self, Cluster};
use crate::wire::{Answer, SqlError, Wire, clip};

/// Who the agent acts for, unless a test says otherwise.
pub const ALICE: &str = "alice@example.com";
pub const BOB: &str = "bob@example.com";

/// Raw values of the shop that only an unconfined role may ever see; `fixtures/shop.sql` holds them.
/// Salaries begin with 88100, which is for the pattern alone: digits inside a hash are no salary.
pub const CANARIES: &[&str] = &["okapi.test", "811-22-", "+44-7700-9", "1931-", "QUAGGA"];

/// The same for [`Canaries`](crate::attack::Canaries): what is hidden, in any spelling.
pub const CANARY_PATTERN: &str =
    r"okapi\.test|811-22-\d+|\+44-7700-9\d+|1931-\d\d-\d\d|\b88100|QUAGGA\w*";
/// Those that are long enough to be told from chance in hex, in base64 or backwards.
pub const CANARY_WORDS: &[&str] = &["QUAGGA", "okapi.test", "811-22-", "+44-7700-9"];

/// The shop, and what both roles of a test may do in it.
fn shop() -> (&'static str, &'static str) {
    include_str!("../fixtures/shop.sql")
        .split_once("-- What both roles of a test may natively do.\n")
        .expect("the part about rights")
}

pub struct Bench {
    pub cluster: Arc<Cluster>,
    pub version: u32,
    pub db: String,
    /// The role to confine. Natively it may do nearly everything in the shop.
    pub agent: String,
    /// The same rights, never confined: for control runs.
    pub plain: String,
    su: Mutex<Wire>,
}

impl Bench {
    /// A copy of a database with the shop in it and, unless AGENT_POLICY_PLAIN, the extension.
    pub fn new(cluster: Arc<Cluster>) -> Self {
        Self::make(cluster, "TEMPLATE shop", false)
    }

    /// The same, made from nothing. `database`: further options of CREATE DATABASE.
    pub fn with_database(cluster: Arc<Cluster>, database: &str) -> Self {
        Self::make(cluster, database, true)
    }

    fn make(cluster: Arc<Cluster>, database: &str, load: bool) -> Self {
        let (tables, rights) = shop();
        cluster.once(|| {
            let connect = |database| {
                cluster
                    .connect("postgres", database, &[])
                    .expect("the superuser connects")
            };
            let mut maintenance = connect("postgres");
            maintenance.query("CREATE ROLE shop_owner");
            maintenance.query("CREATE DATABASE shop");
            let mut shop = connect("shop");
            if !cluster::plain() {
                shop.query("CREATE EXTENSION agent_policy");
            }
            shop.query(tables);
            drop(shop);
            // A template that somebody is connected to cannot be copied.
            while maintenance
                .query("SELECT count(*) FROM pg_stat_activity WHERE datname = 'shop'")
                .one()
                != "0"
            {
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let (db, agent, plain) = (format!("t{n}"), format!("agent_{n}"), format!("plain_{n}"));
        {
            let mut maintenance = cluster
                .connect("postgres", "postgres", &[])
                .expect("the superuser connects");
            maintenance.query(&format!("CREATE DATABASE {db} {database}"));
            maintenance.query(&format!(
                "CREATE ROLE {agent} LOGIN; CREATE ROLE {plain} LOGIN"
            ));
        }
        let su = cluster
            .connect("postgres", &db, &[])
            .expect("the superuser connects");
        let bench = Self {
            version: cluster.version,
            cluster,
            db,
            agent,
            plain,
            su: Mutex::new(su),
        };
        if load {
            if !cluster::plain() {
                // Two at a time may both find the role agent_policy_admin absent.
                static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
                let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(|e| e.into_inner());
                bench.setup("CREATE EXTENSION agent_policy");
            }
            bench.setup(tables);
        }
        bench.setup(rights);
        bench
    }

    /// The same database and roles on a standby of its server, or on what has become of it.
    pub fn on(&self, cluster: Arc<Cluster>) -> Self {
        let su = cluster
            .connect("postgres", &self.db, &[])
            .expect("the superuser connects");
        Self {
            version: cluster.version,
            cluster,
            db: self.db.clone(),
            agent: self.agent.clone(),
            plain: self.plain.clone(),
            su: Mutex::new(su),
        }
    }

    /// @agent@, @plain@ and @db@ in a text.
    pub fn fill(&self, text: &str) -> String {
        text.replace("@agent@", &self.agent)
            .replace("@plain@", &self.plain)
            .replace("@db@", &self.db)
    }

    pub fn su(&self) -> MutexGuard<'_, Wire> {
        let mut su = self.su.lock().unwrap_or_else(|e| e.into_inner());
        // A test may have restarted the server.
        if su.status == 0 || su.simple("").closed {
            *su = self
                .cluster
                .connect("postgres", &self.db, &[])
                .expect("the superuser connects");
        }
        su
    }

    /// Ends the superuser's session; the next use begins another.
    pub fn end_sessions(&self) {
        let mut su = self.su.lock().unwrap_or_else(|e| e.into_inner());
        *su = self
            .cluster
            .connect("postgres", "postgres", &[])
            .expect("the superuser connects");
        su.status = 0;
    }

    /// As superuser; must succeed.
    #[track_caller]
    pub fn setup(&self, sql: &str) -> Answer {
        let sql = self.fill(sql);
        let answer = self.su().simple(&sql);
        if let Some(error) = answer.errors.first() {
            panic!("as superuser: {error}\n  in: {}", clip(&sql));
        }
        answer
    }

    /// As superuser; must fail.
    #[track_caller]
    pub fn setup_error(&self, sql: &str) -> SqlError {
        let sql = self.fill(sql);
        let answer = self.su().simple(&sql);
        match answer.errors.first() {
            Some(error) => error.clone(),
            None => panic!("no error from: {}", clip(&sql)),
        }
    }

    /// As superuser: the only value.
    #[track_caller]
    pub fn value(&self, sql: &str) -> String {
        self.setup(sql).one()
    }

    /// The agent is protected, and may read nothing yet.
    pub fn protect(&self) {
        self.setup("SELECT agent_policy.protect_role('@agent@')");
    }

    /// The agent is protected and may read the shop.
    pub fn allow(&self) {
        self.protect();
        self.setup("SELECT agent_policy.allow_schema('@agent@', 'shop')");
    }

    /// [`allow`](Self::allow), and every column with a canary is masked.
    pub fn mask(&self) {
        self.allow();
        for (column, mask) in [
            ("email", "email"),
            ("ssn", "redact"),
            ("phone", "redact"),
            ("born", "redact"),
            ("salary", "redact"),
            ("note", "redact"),
            ("profile", "redact"),
        ] {
            self.setup(&format!(
                "SELECT agent_policy.mask_column('shop.customers', '{column}', '{mask}')"
            ));
        }
        self.setup("SELECT agent_policy.mask_column('shop.events', 'email')");
        self.setup("SELECT agent_policy.mask_column('shop.events', 'payload')");
    }

    /// The agent for Alice.
    pub fn agent(&self) -> Wire {
        self.agent_for(ALICE)
    }

    pub fn agent_for(&self, email: &str) -> Wire {
        self.agent_with(&[("options", &format!("-c agent_policy.user_email={email}"))])
            .expect("the agent connects")
    }

    /// The agent with this start-up packet.
    pub fn agent_with(&self, parameters: &[(&str, &str)]) -> Result<Wire, SqlError> {
        self.cluster.connect(&self.agent, &self.db, parameters)
    }

    /// The role that no policy names.
    pub fn unconfined(&self) -> Wire {
        self.cluster
            .connect(&self.plain, &self.db, &[])
            .expect("the plain role connects")
    }

    /// Every session of this database shares its work with parallel workers wherever that is possible, the agent's
    /// included, which may not SET that. `shop.worked_by()` tells whose process has made a row.
    pub fn in_workers(&self) {
        let force = if self.version >= 16 {
            "debug_parallel_query"
        } else {
            "force_parallel_mode"
        };
        for setting in [
            &format!("{force} = on"),
            "parallel_setup_cost = 0",
            "parallel_tuple_cost = 0",
            "min_parallel_table_scan_size = 0",
            "min_parallel_index_scan_size = 0",
            "max_parallel_workers_per_gather = 2",
            "parallel_leader_participation = off",
        ] {
            self.setup(&format!("ALTER DATABASE @db@ SET {setting}"));
        }
        self.setup(
            "CREATE FUNCTION shop.worked_by() RETURNS int LANGUAGE internal PARALLEL SAFE AS 'pg_backend_pid';
             SELECT agent_policy.allow_function('@agent@', 'shop.worked_by()')",
        );
    }

    /// `shop.generic_plans()`: how often prepared statements of the session ran by a generic plan. A confined session has
    /// plan_cache_mode pinned: it gets one by executing a statement six times or more.
    pub fn counts_generic_plans(&self) {
        self.setup(
            "CREATE FUNCTION shop.generic_plans() RETURNS numeric LANGUAGE sql SECURITY DEFINER RETURN (SELECT sum(generic_plans) FROM pg_catalog.pg_prepared_statement());
             SELECT agent_policy.allow_function('@agent@', 'shop.generic_plans()', trusted => true)",
        );
    }

    /// The rows of a statement with `shop.worked_by()` as its first column, when workers have made some of them.
    #[track_caller]
    pub fn from_workers(&self, wire: &mut Wire, sql: &str) -> Vec<Vec<String>> {
        let own = wire.pid.to_string();
        // Other tests may have all the workers that there are.
        for _ in 0..600 {
            let rows = wire.query(sql).texts();
            if rows.iter().any(|row| row[0] != own) {
                return rows;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("no worker has part in {sql}");
    }

    /// Waits until a session is at work on a statement: from then on it can be cancelled.
    #[track_caller]
    pub fn wait_until_active(&self, pid: i32) {
        let deadline = Instant::now() + Duration::from_secs(60);
        let active =
            format!("SELECT count(*) FROM pg_stat_activity WHERE pid = {pid} AND state = 'active'");
        while self.value(&active) != "1" {
            assert!(Instant::now() < deadline, "session {pid} does nothing");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The date in UTC stays the same for a while: shortly before midnight this waits for the other day.
    pub fn the_day_is_young(&self) {
        const LEFT: u64 = 180;
        let since_midnight = std::time::SystemTime::now()
            .duration_since(std::time::SystemTime::UNIX_EPOCH)
            .map_or(0, |now| now.as_secs() % 86_400);
        let left = 86_400 - since_midnight;
        if left <= LEFT {
            std::thread::sleep(Duration::from_secs(left + 1));
        }
    }

    /// Waits for the audit to be in its table.
    pub fn flush_audit(&self) {
        self.setup("SELECT agent_policy.audit_flush()");
    }

    /// audit_log rows of this agent as JSON objects, oldest first; `filter` is SQL.
    #[track_caller]
    pub fn audit(&self, filter: &str) -> Vec<Value> {
        self.flush_audit();
        let answer = self.setup(&format!(
            "SELECT to_jsonb(a) FROM agent_policy.audit_log a WHERE role_name::text = '@agent@' AND ({filter}) \
             ORDER BY started_at, nesting_level, seq"
        ));
        answer
            .column()
            .iter()
            .map(|row| serde_json::from_str(row).expect("to_jsonb gives JSON"))
            .collect()
    }

    /// The statement must show one of the canaries to the plain role: only then does hiding it from the agent say
    /// anything.
    #[track_caller]
    pub fn control(&self, statement: &str) {
        let mut plain = self.unconfined();
        let mut answer = Answer::default();
        for part in crate::sql::split(&self.fill(statement)) {
            let one = plain.simple(&part);
            answer.bytes.extend(one.bytes);
        }
        assert!(
            leak(&answer.bytes).is_some(),
            "control run: no canary for the plain role in: {statement}\n{}",
            String::from_utf8_lossy(&answer.bytes)
        );
    }

    /// With control run: the agent gets no canary from the statement, in any byte, over either protocol.
    /// Gives the last answer over the simple protocol.
    #[track_caller]
    pub fn hides(&self, statement: &str) -> Answer {
        self.control(statement);
        let statement = self.fill(statement);
        let mut agent = self.agent();
        let mut last = Answer::default();
        for part in crate::sql::split(&statement) {
            last = agent.simple(&part);
            assert!(!last.closed, "connection lost in: {part}");
        }
        assert_eq!(
            leak(&agent.received),
            None,
            "leak over the simple protocol from: {statement}"
        );
        let mut agent = self.agent();
        for part in crate::sql::split(&statement) {
            let answer = agent.extended(&part, &[]);
            assert!(!answer.closed, "connection lost in: {part}");
        }
        assert_eq!(
            leak(&agent.received),
            None,
            "leak over the extended protocol from: {statement}"
        );
        last
    }

    /// [`hides`](Self::hides), and the statement works.
    #[track_caller]
    pub fn masks(&self, statement: &str) -> Answer {
        let answer = self.hides(statement);
        if let Some(error) = answer.errors.first() {
            panic!("masked statement fails: {error}\n  in: {statement}");
        }
        answer
    }

    /// The agent may not: SQLSTATE and rule as given, DETAIL with rule and object, a HINT, and the same over the
    /// extended protocol.
    #[track_caller]
    pub fn denies(&self, statement: &str, code: &str, rule: &str) -> SqlError {
        let statement = self.fill(statement);
        let answer = self.agent().simple(&statement);
        let error = denial(&answer, &statement, code, rule);
        let mut agent = self.agent();
        let mut answer = Answer::default();
        for part in crate::sql::split(&statement) {
            answer = agent.extended(&part, &[]);
            if !answer.errors.is_empty() {
                break;
            }
        }
        denial(&answer, &statement, code, rule);
        error
    }

    /// The agent may; gives the answer.
    #[track_caller]
    pub fn allows(&self, statement: &str) -> Answer {
        let statement = self.fill(statement);
        let extended = crate::sql::split(&statement).len() == 1;
        if extended {
            let answer = self.agent().extended(&statement, &[]);
            if let Some(error) = answer.errors.first() {
                panic!("extended protocol: {error}\n  in: {}", clip(&statement));
            }
        }
        self.agent().query(&statement)
    }

    pub fn script(&self, file: &Path) {
        self.cluster.psql(&self.db, file);
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        if let Ok(mut maintenance) = self.cluster.connect("postgres", "postgres", &[]) {
            maintenance.set_patience(Duration::from_secs(15));
            maintenance.simple(&format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.db));
        }
    }
}

/// The first canary among the bytes, in any spelling.
pub fn leak(bytes: &[u8]) -> Option<&'static str> {
    static ENCODED: LazyLock<Canaries> =
        LazyLock::new(|| Canaries::new(CANARY_PATTERN, CANARY_WORDS));
    let text = String::from_utf8_lossy(bytes);
    CANARIES
        .iter()
        .copied()
        .find(|canary| text.contains(canary))
        .or_else(|| ENCODED.leak(bytes, "").map(|_| "a canary in disguise"))
}

/// Checks a denial's form; `rule` may be several, parted by '|'; an empty `code` is any. Gives the error.
#[track_caller]
pub fn denial(answer: &Answer, statement: &str, code: &str, rule: &str) -> SqlError {
    let Some(error) = answer.errors.first() else {
        panic!(
            "no denial, but {} rows, tags {:?}\n  from: {}",
            answer.rows.len(),
            answer.tags,
            clip(statement)
        );
    };
    let wrong = |what: &str| panic!("{what}\n  got: {error}\n  from: {}", clip(statement));
    if !code.is_empty() && error.code != code {
        wrong(&format!("SQLSTATE {code} expected"));
    }
    let detail = error.detail_json();
    if !detail.is_object() {
        wrong("DETAIL is no JSON object");
    }
    if !rule.is_empty() && !rule.split('|').any(|r| detail["rule"] == r) {
        wrong(&format!("rule {rule} expected"));
    }
    if detail.get("object").is_none() {
        wrong("DETAIL has no object");
    }
    if error.hint.trim().is_empty() {
        wrong("no HINT");
    }
    if error.message.contains('\n') {
        wrong("the message is more than one line");
    }
    error.clone()
}

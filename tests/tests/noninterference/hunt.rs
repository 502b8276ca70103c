//! Runs cases in both worlds and compares.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use cluster_tests::{Cluster, Wire};

use crate::case::{Answered, Answers, Case, errors};
use crate::random::Random;
use crate::shrink::shrink;
use crate::world::{Worlds, session, su};

/// How long one statement may be silent.
const PATIENCE: Duration = Duration::from_secs(30);
const SHRINKING: Duration = Duration::from_secs(40);
/// A session is as old as this many cases at most.
const AGE: u32 = 150;

#[derive(Default, Clone)]
pub struct Figures {
    pub cases: u64,
    pub statements: u64,
    /// Statements without an error in them.
    pub completed: u64,
    /// Answers that are not the same twice in one world: compared without digits and order.
    pub varying: u64,
    pub timed_out: u64,
    /// Differences that were gone in new worlds, where rows lie at the same places again.
    pub drifted: u64,
    /// Differences that did not come again in new sessions.
    pub unrepeated: Vec<String>,
    pub differences: Vec<String>,
    pub codes: BTreeMap<String, u64>,
    pub bytes: u64,
    /// Internal errors: something was rewritten wrongly, unless the server says the same without a policy.
    pub internal: Vec<String>,
    /// Cases and seconds by where they are from.
    pub sources: BTreeMap<&'static str, (u64, f64)>,
}

impl Figures {
    pub fn add(&mut self, other: Self) {
        self.cases += other.cases;
        self.statements += other.statements;
        self.completed += other.completed;
        self.varying += other.varying;
        self.timed_out += other.timed_out;
        self.drifted += other.drifted;
        self.bytes += other.bytes;
        for (source, (cases, seconds)) in other.sources {
            let sum = self.sources.entry(source).or_default();
            sum.0 += cases;
            sum.1 += seconds;
        }
        self.internal.extend(other.internal);
        self.unrepeated.extend(other.unrepeated);
        self.differences.extend(other.differences);
        for (code, times) in other.codes {
            *self.codes.entry(code).or_default() += times;
        }
    }

    pub fn line(&self) -> String {
        format!(
            "{} statements in {} cases, {} without an error, {} bytes; {} differences, {} unrepeated; {} vary by themselves, {} timed out, {} gone in new worlds",
            self.statements,
            self.cases,
            self.completed,
            self.bytes,
            self.differences.len(),
            self.unrepeated.len(),
            self.varying,
            self.timed_out,
            self.drifted
        )
    }
}

/// Sessions of one world, by role and database.
#[derive(Default)]
struct Sessions(HashMap<(&'static str, &'static str), (Wire, u32)>);

impl Sessions {
    fn run(&mut self, cluster: &Cluster, case: &Case) -> Answers {
        let key = (case.role, case.database);
        let old = self.0.get(&key).is_some_and(|(_, age)| *age >= AGE);
        if old {
            self.0.remove(&key);
        }
        let (wire, age) = self
            .0
            .entry(key)
            .or_insert_with(|| (open(cluster, case), 0));
        *age += 1;
        let answers = case.run(wire);
        if answers.closed {
            self.0.remove(&key);
        }
        answers
    }
}

fn open(cluster: &Cluster, case: &Case) -> Wire {
    let mut wire = session(cluster, case.role, case.database);
    wire.set_patience(PATIENCE);
    wire
}

/// In sessions of its own.
fn anew(cluster: &Cluster, case: &Case) -> Answers {
    case.run(&mut open(cluster, case))
}

#[derive(Debug)]
enum Verdict {
    Same,
    Differs(String),
    Varies,
    TimedOut,
    Unrepeated(String),
}

pub struct Hunt<'a> {
    worlds: &'a Worlds,
    sessions: (Sessions, Sessions),
    pub figures: Figures,
    began: Instant,
    /// When the first difference was seen, after how many statements, in which case.
    pub first: Option<(Duration, u64, String)>,
    /// Stop after so many differences.
    pub enough: usize,
    pub shrinking: bool,
    /// A statement that may write was stopped by the clock in one of the worlds, and not at the same place in the other:
    /// they differ from here on.
    pub spoiled: bool,
}

impl<'a> Hunt<'a> {
    pub fn new(worlds: &'a Worlds) -> Self {
        Self {
            worlds,
            sessions: Default::default(),
            figures: Figures::default(),
            began: Instant::now(),
            first: None,
            enough: 5,
            shrinking: true,
            spoiled: false,
        }
    }

    pub fn worlds(&self) -> &'a Worlds {
        self.worlds
    }

    /// Notes what has been done since then, or since the last source.
    pub fn done(&mut self, source: &'static str, since: Instant) {
        let before: u64 = self.figures.sources.values().map(|(cases, _)| cases).sum();
        let sum = self.figures.sources.entry(source).or_default();
        sum.0 += self.figures.cases - before;
        sum.1 += since.elapsed().as_secs_f64();
    }

    /// Is there nothing more to be found in these worlds?
    pub fn full(&self) -> bool {
        self.spoiled || self.figures.differences.len() >= self.enough
    }

    /// The planner is told to prefer something else, in both worlds.
    pub fn turn(&mut self, random: &mut Random) {
        // Not jit, nor plan_cache_mode: they are pinned.
        const SETTINGS: &[&str] = &[
            "enable_hashjoin = off",
            "enable_mergejoin = off",
            "enable_nestloop = off",
            "enable_seqscan = off",
            "enable_indexscan = off",
            "enable_bitmapscan = off",
            "enable_hashagg = off",
            "enable_sort = off",
            "enable_material = off",
            "enable_memoize = off",
            "enable_incremental_sort = off",
            "enable_partitionwise_join = on",
            "enable_partitionwise_aggregate = on",
            "work_mem = '64kB'",
            "geqo_threshold = 2",
            "from_collapse_limit = 1",
            "join_collapse_limit = 1",
            "random_page_cost = 1",
            "random_page_cost = 40",
            "cursor_tuple_fraction = 1",
            "constraint_exclusion = on",
            "default_transaction_isolation = 'repeatable read'",
            // One worker and nobody beside it: rows come in one order.
            "parallel_setup_cost = 0; parallel_tuple_cost = 0; min_parallel_table_scan_size = 0; min_parallel_index_scan_size = 0; \
             max_parallel_workers_per_gather = 1; parallel_leader_participation = off",
            "parallel_setup_cost = 0; parallel_tuple_cost = 0; min_parallel_table_scan_size = 0; max_parallel_workers_per_gather = 2; \
             enable_hashagg = off",
            "@forced@ = regress; max_parallel_workers_per_gather = 1",
        ];
        let forced = if self.worlds.version >= 16 {
            "debug_parallel_query"
        } else {
            "force_parallel_mode"
        };
        self.sessions = Default::default();
        let settings: Vec<&str> = (0..random.below(4))
            .map(|_| *random.pick(SETTINGS))
            .collect();
        self.worlds.both(|cluster, _| {
            let mut wire = su(cluster, "postgres");
            wire.query("ALTER DATABASE lab RESET ALL");
            for setting in settings.iter().flat_map(|all| all.split("; ")) {
                let setting = setting.replace("@forced@", forced);
                wire.query(&format!("ALTER DATABASE lab SET {setting}"));
            }
        });
    }

    /// Internal errors: some functions say so of an argument that they do not like, to anybody.
    fn judge_internal(&mut self, case: &Case, mut internal: Vec<Answered>) {
        if internal.is_empty() {
            return;
        }
        let plain = Case {
            role: "plain",
            ..case.clone()
        };
        self.spoiled |= matches!(case.role, "rw" | "ddl");
        for bytes in self.sessions.0.run(&self.worlds.here, &plain).steps {
            for native in errors(&bytes) {
                internal.retain(|error| error.routine != native.routine);
            }
        }
        for error in internal {
            self.figures.internal.push(format!(
                "{} ({}) from {} as {}: {}",
                error.message,
                error.routine,
                case.origin,
                case.role,
                show(case)
            ));
        }
    }

    pub fn case(&mut self, case: &Case) {
        let (first, second) = {
            let (here, there) = &mut self.sessions;
            let worlds = self.worlds;
            std::thread::scope(|scope| {
                let there = scope.spawn(|| there.run(&worlds.there, case));
                (
                    here.run(&worlds.here, case),
                    there.join().expect("the other world"),
                )
            })
        };
        self.figures.cases += 1;
        self.figures.statements += case.steps.len() as u64;
        let mut internal = Vec::new();
        for bytes in &first.steps {
            self.figures.bytes += bytes.len() as u64;
            let errors = errors(bytes);
            self.figures.completed += u64::from(errors.is_empty());
            for error in errors {
                *self
                    .figures
                    .codes
                    .entry(error.sqlstate.clone())
                    .or_default() += 1;
                if error.sqlstate == "XX000" {
                    internal.push(error);
                }
            }
        }
        match self.judge(case, &first, &second) {
            Verdict::Same => {}
            Verdict::Varies => self.figures.varying += 1,
            Verdict::TimedOut => {
                self.figures.timed_out += 1;
                self.spoiled |= matches!(case.role, "rw" | "ddl");
            }
            Verdict::Unrepeated(how) => {
                self.figures.unrepeated.push(format!(
                    "{} as {}: {}\n  {how}",
                    case.origin,
                    case.role,
                    show(case)
                ));
            }
            Verdict::Differs(_) if self.drifted(case) => {
                self.figures.drifted += 1;
                self.spoiled = true;
            }
            Verdict::Differs(how) => {
                let seen = (
                    self.began.elapsed(),
                    self.figures.statements,
                    case.origin.clone(),
                );
                self.first.get_or_insert(seen);
                let mut text = format!(
                    "{} as {}, world {}: {}\n  {how}",
                    case.origin,
                    case.role,
                    self.worlds.seed,
                    show(case)
                );
                if self.shrinking {
                    let worlds = self.worlds;
                    let small = shrink(case, SHRINKING, |case| differs(worlds, case));
                    let (a, b) = self.again(&small);
                    let how = a[0]
                        .difference(&b[0])
                        .map_or_else(String::new, |(_, how)| how);
                    text = format!(
                        "{} as {}, world {}: {}\n  {how}",
                        case.origin,
                        case.role,
                        self.worlds.seed,
                        show(&small)
                    );
                }
                let settings = su(&self.worlds.here, "postgres")
                    .query("SELECT unnest(setconfig) FROM pg_db_role_setting")
                    .column();
                text.push_str(&format!("\n  with {}", settings.join(", ")));
                self.figures.differences.push(text);
            }
        }
        // It may change this world.
        self.judge_internal(case, internal);
    }

    /// Copies of rows are as wide as what is hidden in them: after many statements that write, rows may lie elsewhere in
    /// one of the worlds, which is declassified. Then it counts what the case is answered in new ones.
    fn drifted(&self, case: &Case) -> bool {
        if case.database != "lab" || !self.worlds.have_drifted() {
            return false;
        }
        !differs(&self.worlds.anew(), case)
    }

    /// Both worlds' answers in full.
    pub fn print(&self, case: &Case) {
        let (here, there) = self.worlds.both(|cluster, _| anew(cluster, case));
        for (world, answers) in [("here", here), ("there", there)] {
            for bytes in answers.steps {
                eprintln!(
                    "--- {world}\n{}",
                    String::from_utf8_lossy(&bytes).replace('\0', " ")
                );
            }
        }
    }

    /// Three times in each world.
    fn again(&self, case: &Case) -> ([Answers; 3], [Answers; 3]) {
        self.worlds
            .both(|cluster, _| std::array::from_fn(|_| anew(cluster, case)))
    }

    fn judge(&mut self, case: &Case, first: &Answers, second: &Answers) -> Verdict {
        if first == second {
            return Verdict::Same;
        }
        if first.timed_out() || second.timed_out() {
            return Verdict::TimedOut;
        }
        // What a session has done before is gone.
        self.sessions = Default::default();
        let (here, there) = self.again(case);
        if here.iter().chain(&there).any(Answers::timed_out) {
            return Verdict::TimedOut;
        }
        let constant = |all: &[Answers; 3]| all.iter().all(|one| *one == all[0]);
        if constant(&here) && constant(&there) {
            return match here[0].difference(&there[0]) {
                Some((step, how)) => Verdict::Differs(format!("step {}, {how}", step + 1)),
                None if first.loosely() == second.loosely() => Verdict::Varies,
                None => Verdict::Unrepeated(
                    first
                        .difference(second)
                        .map_or_else(String::new, |(_, how)| how),
                ),
            };
        }
        let loose = |all: &[Answers; 3]| all.each_ref().map(Answers::loosely);
        let (a, b) = (loose(&here), loose(&there));
        if a.iter().all(|one| *one == a[0]) && b.iter().all(|one| *one == b[0]) && a[0] != b[0] {
            let how = here[0]
                .difference(&there[0])
                .map_or_else(String::new, |(_, how)| how);
            return Verdict::Differs(format!("(varies, but never the same) {how}"));
        }
        Verdict::Varies
    }
}

/// For shrinking: the same each time in one world, and not in the other.
fn differs(worlds: &Worlds, case: &Case) -> bool {
    let (here, there) = worlds.both(|cluster, _| anew(cluster, case));
    if here == there || here.timed_out() || there.timed_out() {
        return false;
    }
    let (again, there_again) = worlds.both(|cluster, _| anew(cluster, case));
    here == again && there == there_again
}

/// A case in a few lines.
pub fn show(case: &Case) -> String {
    case.steps
        .iter()
        .map(|step| format!("\n    {step:?}"))
        .collect()
}

/// Counts down.
pub struct Until(Instant);

impl Until {
    pub fn seconds(seconds: f64) -> Self {
        Self(Instant::now() + Duration::from_secs_f64(seconds))
    }

    pub fn over(&self) -> bool {
        Instant::now() >= self.0
    }

    /// Over when this share of what is left has passed.
    pub fn part(&self, share: f64) -> Self {
        Self(
            Instant::now()
                + self
                    .0
                    .saturating_duration_since(Instant::now())
                    .mul_f64(share),
        )
    }
}

//! Cases into libtest lines, one for each version.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use libtest_mimic::{Arguments, Failed, Trial};

use crate::bench::Bench;
use crate::cluster::{self, Cluster, KEEP};
use crate::once::OncePer;

/// A test of one contract point.
#[derive(Clone, Copy)]
pub struct Case {
    /// module path and function
    pub name: &'static str,
    pub body: fn(&Bench),
}

/// `cases![a, b]`: a chapter's list.
#[macro_export]
macro_rules! cases {
    ($($name:ident),* $(,)?) => {
        &[$($crate::run::Case { name: concat!(module_path!(), "::", stringify!($name)), body: $name }),*]
    };
}

static SHARED: OncePer<u32, Cluster> = OncePer::new();

/// One cluster a version and test binary, started by the first test that needs it.
pub fn shared(version: u32) -> Arc<Cluster> {
    SHARED.get(version, || Cluster::start(version, ""))
}

/// The message of a caught panic.
pub fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()))
        .unwrap_or_else(|| "panicked".into())
}

/// Every case on every version.
pub fn trials(chapters: &[&[Case]]) -> Vec<Trial> {
    let mut trials = Vec::new();
    for version in cluster::versions() {
        for case in from_both_ends(chapters.iter().copied().flatten()) {
            let body = case.body;
            let name = case
                .name
                .split_once("::")
                .map_or(case.name, |(_, rest)| rest);
            let title = format!("{name}::pg{version}");
            let trial = Trial::test(title.clone(), move || {
                let _slow = Slow(&title, Instant::now());
                guarded(|| {
                    let cluster = shared(version);
                    let before = cluster.crashes();
                    let bench = Bench::new(Arc::clone(&cluster));
                    body(&bench);
                    drop(bench);
                    let crashes = cluster.crashes() - before;
                    assert_eq!(
                        crashes, 0,
                        "the server crashed in this test or one beside it"
                    );
                })
            });
            // Without the extension there is no contract to test.
            trials.push(trial.with_ignored_flag(cluster::plain()));
        }
    }
    trials
}

/// The later chapters mostly wait, the earlier ones mostly compute: taken in turns, neither the processor nor
/// the clock is left alone at the end.
fn from_both_ends<T>(mut items: impl DoubleEndedIterator<Item = T>) -> impl Iterator<Item = T> {
    let mut back = true;
    std::iter::from_fn(move || {
        back = !back;
        if back {
            items.next_back()
        } else {
            items.next()
        }
    })
}

/// Names a test that takes 20 seconds or AGENT_POLICY_SLOW: often one that waits for an answer which does not come.
struct Slow<'a>(&'a str, Instant);

impl Drop for Slow<'_> {
    fn drop(&mut self) {
        static LIMIT: LazyLock<f64> = LazyLock::new(|| {
            std::env::var("AGENT_POLICY_SLOW")
                .ok()
                .and_then(|s| s.parse().ok())
                .unwrap_or(20.0)
        });
        let seconds = self.1.elapsed().as_secs_f64();
        if seconds >= *LIMIT {
            eprintln!("  slow: {} took {seconds:.1} s", self.0);
        }
    }
}

/// A panic as a failure; the place of the panic has been printed by then.
pub fn guarded<T>(body: impl FnOnce() -> T) -> Result<T, Failed> {
    catch_unwind(AssertUnwindSafe(body)).map_err(|panic| {
        KEEP.store(true, Ordering::Relaxed);
        eprintln!(
            "  {}",
            panic_text(panic.as_ref())
                .lines()
                .take(3)
                .collect::<Vec<_>>()
                .join("\n  ")
        );
        Failed::from(panic_text(panic.as_ref()))
    })
}

/// Runs, cleans up, reports.
pub fn main(trials: Vec<Trial>) -> ExitCode {
    main_and(trials, || true)
}

/// The same, with something to be looked at after the last test, while the servers are still there.
pub fn main_and(trials: Vec<Trial>, last: impl FnOnce() -> bool) -> ExitCode {
    // The text of a failure is in its libtest report; where it happened is worth a line.
    std::panic::set_hook(Box::new(|info| {
        if let Some(at) = info.location() {
            eprintln!("  failure at {}:{}", at.file(), at.line());
        }
    }));
    let conclusion = libtest_mimic::run(&Arguments::from_args(), trials);
    let good = last();
    let failed = conclusion.has_failed() || !good;
    for cluster in SHARED.all() {
        cluster.stop();
    }
    cluster::clean_up(failed);
    if good {
        conclusion.exit_code()
    } else {
        ExitCode::FAILURE
    }
}

//! Non-interference: two clusters that differ only in what the policy hides, the same agent, the same statements. Every
//! byte of the answers must be equal; docs/noninterference.md says what that shows and what it leaves out.
//!
//! AGENT_POLICY_NONINT_SECONDS says for how long (default 30), AGENT_POLICY_NONINT_SEED with which seed (by itself always
//! the same one: a test answers about the change it is run for; `make noninterference` takes another each time),
//! AGENT_POLICY_NONINT_CASE runs that one of the generated cases (or, as its role, AGENT_POLICY_NONINT_STATEMENT), AGENT_POLICY_NONINT_FIGURES is a file to write the
//! figures to while it goes on.

#![forbid(unsafe_code)]

mod case;
mod cases;
mod expression;
mod hunt;
mod joined;
mod model;
mod query;
mod random;
mod shrink;
mod sources;
mod world;

use std::time::Instant;

use cluster_tests::{cluster, run};
use libtest_mimic::Trial;

use hunt::{Figures, Hunt, Until};
use model::Model;
use random::Random;
use world::{Worlds, su};

/// One pair of worlds lasts this long.
const EPOCH: f64 = 240.0;

fn main() -> std::process::ExitCode {
    let trials = cluster::versions()
        .into_iter()
        .map(|version| {
            Trial::test(format!("noninterference::pg{version}"), move || {
                run::guarded(|| nothing_differs(version))
            })
            .with_ignored_flag(cluster::plain())
        })
        .collect();
    run::main(trials)
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|value| value.parse().ok())
        .unwrap_or(default)
}

fn nothing_differs(version: u32) {
    let seconds = number("AGENT_POLICY_NONINT_SECONDS", 30);
    let first = number("AGENT_POLICY_NONINT_SEED", 27_186);
    let only = std::env::var("AGENT_POLICY_NONINT_CASE")
        .ok()
        .and_then(|v| v.parse::<u64>().ok());
    let leak = planted();
    let start = Instant::now();
    let mut figures = Figures::default();
    let mut epoch = 0;
    while epoch == 0 || start.elapsed().as_secs() < seconds && figures.differences.is_empty() {
        let seed = first + epoch;
        let left = (seconds as f64 - start.elapsed().as_secs_f64()).max(1.0);
        let worlds = Worlds::new(version, seed, &leak);
        // With a leak on purpose, the generated statements have to find it.
        let sources = only.is_none() && epoch % 8 == 0 && leak.is_empty();
        if sources {
            worlds.open_shop();
            if let Some(dir) = cluster_tests::defog::dir() {
                worlds.load_workload(&dir);
            }
        }
        worlds.settle();
        let model = Model::read(
            version,
            &mut su(&worlds.here, "lab"),
            &mut su(&worlds.there, "lab"),
        );
        worlds.forget_counters();
        let mut hunt = Hunt::new(&worlds);
        hunt.enough = if leak.is_empty() { 5 } else { 1 };
        if let Some(case) = only {
            let mut case = cases::generated(seed, case, &model);
            // Another statement, in these worlds.
            if let Ok(text) = std::env::var("AGENT_POLICY_NONINT_STATEMENT") {
                case.steps = vec![case::Step::Simple(text)];
            }
            hunt.case(&case);
            hunt.print(&case);
            figures.add(hunt.figures);
            break;
        }
        if epoch == 0 && leak.is_empty() {
            control(&worlds, &model, seed);
        }
        // The set-up counts: what is left goes to generated statements.
        let time = if epoch == 0 { left } else { left.min(EPOCH) };
        let until = Until::seconds(left.min(EPOCH));
        if sources {
            let since = Instant::now();
            sources::attacks(&mut hunt, &Until::seconds(time * 0.3));
            hunt.done("attacks", since);
            let since = Instant::now();
            sources::workload(&mut hunt, &Until::seconds(time * 0.15));
            hunt.done("workload", since);
            let since = Instant::now();
            sources::sqlsmith(&mut hunt, &worlds, seed, &Until::seconds(time * 0.15));
            hunt.done("sqlsmith", since);
        }
        let since = Instant::now();
        let mut random = Random::new(seed);
        let mut number = 0;
        while !until.over() && !hunt.full() {
            if number % 200 == 0 {
                hunt.turn(&mut random);
                note(version, seed, start, &figures, &hunt.figures);
            }
            hunt.case(&cases::generated(seed, number, &model));
            number += 1;
        }
        hunt.done("generated", since);
        if let Some((time, statements, origin)) = &hunt.first {
            eprintln!(
                "  first difference after {:.1} s and {statements} statements: {origin}",
                time.as_secs_f64()
            );
        }
        figures.add(hunt.figures);
        assert_eq!(worlds.crashes(), 0, "seed {seed}: a server crashed");
        epoch += 1;
    }
    eprintln!(
        "  noninterference pg{version}, seed {first}, {:.0} s: {}",
        start.elapsed().as_secs_f64(),
        figures.line()
    );
    eprintln!("  {:?}\n  {:?}", figures.sources, figures.codes);
    note(version, first, start, &figures, &Figures::default());
    for one in &figures.unrepeated {
        eprintln!("  unrepeated: {one}");
    }
    if !matches!(leak.as_str(), "" | "agent_policy.planted_leak = 'none'") {
        assert!(
            !figures.differences.is_empty(),
            "seed {first}: {leak}, and nothing was found"
        );
        eprintln!("  found: {}", figures.differences[0]);
        return;
    }
    assert!(
        figures.differences.is_empty(),
        "seed {first}:\n{}",
        figures.differences.join("\n")
    );
    assert!(
        figures.internal.is_empty(),
        "seed {first}: internal errors:\n{}",
        figures.internal[..figures.internal.len().min(20)].join("\n")
    );
    assert!(
        only.is_some() || figures.completed * 5 > figures.statements,
        "hardly anything ran: {}",
        figures.line()
    );
}

/// AGENT_POLICY_NONINT_LEAK: the leak that a build with the feature `planted` is to have.
fn planted() -> String {
    std::env::var("AGENT_POLICY_NONINT_LEAK").map_or_else(
        |_| String::new(),
        |leak| format!("agent_policy.planted_leak = '{leak}'"),
    )
}

/// Without a policy the worlds differ, and this tells them apart.
fn control(worlds: &Worlds, model: &Model, seed: u64) {
    const ENOUGH: usize = 20;
    let mut hunt = Hunt::new(worlds);
    hunt.shrinking = false;
    hunt.enough = usize::MAX;
    // By cases, not by time: how many fit into a while is the machine's affair. Each statement has a limit of its own.
    let mut number = 0;
    while number < 400 && hunt.figures.differences.len() < ENOUGH {
        let mut case = cases::generated(seed, number, model);
        case.role = "plain";
        hunt.case(&case);
        number += 1;
    }
    let told = hunt.figures.differences.len();
    eprintln!("  {:?}", hunt.figures.codes);
    eprintln!(
        "  control: {told} of {number} cases are answered differently to a role without a policy"
    );
    assert!(
        told >= ENOUGH,
        "control: only {told} of {number} cases are answered differently"
    );
}

/// For who looks in from outside.
fn note(version: u32, seed: u64, start: Instant, before: &Figures, now: &Figures) {
    let Some(file) = std::env::var_os("AGENT_POLICY_NONINT_FIGURES") else {
        return;
    };
    let mut all = before.clone();
    all.add(now.clone());
    let mut text = format!(
        "pg{version} seed {seed}, {} s: {}\n{:?}\n{:?}\n",
        start.elapsed().as_secs(),
        all.line(),
        all.sources,
        all.codes
    );
    for (what, list) in [
        ("DIFFERENCE", &all.differences),
        ("unrepeated", &all.unrepeated),
        ("internal", &all.internal),
    ] {
        for one in list {
            text.push_str(&format!("{what} {one}\n"));
        }
    }
    let _ = std::fs::write(file, text);
}

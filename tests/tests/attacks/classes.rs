//! Every class of ways out has two attacks of the project's own, or another test stands for it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use cluster_tests::attack;
use cluster_tests::{cluster, run};
use libtest_mimic::Trial;

/// `A 23 reading only` in classes.txt is.
fn classes() -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for line in lines(include_str!("../../attacks/classes.txt")) {
        let mut words = line.split_whitespace();
        let (Some(chapter), Some(Ok(last))) = (words.next(), words.next().map(str::parse::<u32>))
        else {
            panic!("classes.txt: '{line}'")
        };
        all.extend((1..=last).map(|n| format!("{chapter}-{n:02}")));
    }
    all
}

/// Class, where the test is, its name; the place `-` is no test but a reason.
fn elsewhere() -> BTreeMap<String, (String, String)> {
    lines(include_str!("../../attacks/elsewhere.txt"))
        .map(|line| {
            let mut words = line.splitn(3, ' ').map(str::trim);
            let (Some(class), Some(place), Some(what)) = (words.next(), words.next(), words.next())
            else {
                panic!("elsewhere.txt: '{line}'")
            };
            (class.to_owned(), (place.to_owned(), what.to_owned()))
        })
        .collect()
}

fn lines(text: &'static str) -> impl Iterator<Item = &'static str> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// Two attacks a class, or a test that exists.
fn every_class_is_attacked() {
    let root = cluster::project_root();
    let classes = classes();
    let elsewhere = elsewhere();
    let mut attacks: BTreeMap<String, usize> = BTreeMap::new();
    for attack in attack::read_dir(&root.join("tests/attacks")) {
        let class = attack.id.split('.').next().unwrap_or_default().to_owned();
        assert!(
            classes.contains(&class),
            "{}: '{class}' is no class of classes.txt",
            attack.id
        );
        *attacks.entry(class).or_default() += 1;
    }
    let mut wrong = Vec::new();
    for class in &classes {
        let count = attacks.get(class).copied().unwrap_or(0);
        match elsewhere.get(class) {
            None if count < 2 => wrong.push(format!("{class}: {count} attacks")),
            Some(_) if count >= 2 => {
                wrong.push(format!(
                    "{class}: {count} attacks, and in elsewhere.txt too"
                ));
            }
            Some((place, what)) if place != "-" && !has_function(root, place, what) => {
                wrong.push(format!("{class}: no function {what} in {place}"));
            }
            _ => {}
        }
    }
    for class in elsewhere.keys().filter(|class| !classes.contains(*class)) {
        wrong.push(format!("{class} in elsewhere.txt is no class"));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n  "));
}

fn has_function(root: &Path, place: &str, function: &str) -> bool {
    std::fs::read_to_string(root.join(place))
        .is_ok_and(|text| text.contains(&format!("fn {function}(")))
}

pub fn trials() -> Vec<Trial> {
    vec![Trial::test("classes::every_class_is_attacked", || {
        run::guarded(every_class_is_attacked)
    })]
}

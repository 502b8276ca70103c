//! Recall and precision of the classifier on the labelled set, its linear time, and that it never
//! panics.

mod labelled;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use labelled::{Example, Random, examples};
use policy::sensitive::{Category, find, scrub};

#[derive(Default)]
struct Score {
    hit: usize,
    missed: usize,
    wrong: usize,
}

fn measure(set: &[Example], mut tell: impl FnMut(&str)) -> BTreeMap<&'static str, Score> {
    let mut scores: BTreeMap<&'static str, Score> = BTreeMap::new();
    for example in set {
        let found = find(example.text.as_bytes());
        let Some((category, start, end)) = example.label else {
            for finding in &found {
                scores.entry(finding.category.word()).or_default().wrong += 1;
                tell(&format!(
                    "wrong {} ({}): {}",
                    finding.category.word(),
                    example.kind,
                    example.text
                ));
            }
            continue;
        };
        // The whole of it must be covered: a piece that is left over is a leak.
        let covered = found
            .iter()
            .find(|f| f.start <= start && f.end >= end && f.category == category);
        let score = scores.entry(category.word()).or_default();
        if covered.is_some() {
            score.hit += 1;
        } else {
            score.missed += 1;
            tell(&format!("missed {}: {}", category.word(), example.text));
        }
        for finding in found.iter().filter(|f| Some(*f) != covered) {
            scores.entry(finding.category.word()).or_default().wrong += 1;
            tell(&format!(
                "wrong {} in {}",
                finding.category.word(),
                example.text
            ));
        }
    }
    scores
}

#[test]
fn recall_and_precision() {
    let set = examples(150, 60);
    let positives = set.iter().filter(|e| e.label.is_some()).count();
    let negatives = set.len() - positives;
    assert!(
        positives >= 2000 && negatives >= 2000,
        "{positives} and {negatives}"
    );
    let mut told: BTreeMap<String, usize> = BTreeMap::new();
    let scores = measure(&set, |line| {
        let kind: String = line
            .split(" in ")
            .next()
            .unwrap_or_default()
            .split(':')
            .next()
            .unwrap_or_default()
            .to_owned();
        let n = told.entry(kind).or_default();
        *n += 1;
        if *n <= 3 {
            println!("{line}");
        }
    });
    let (mut hit, mut missed, mut wrong) = (0, 0, 0);
    println!("{:16} {:>7} {:>9}", "category", "recall", "precision");
    for (category, score) in &scores {
        println!(
            "{category:16} {:7.3} {:9.3}",
            score.hit as f64 / (score.hit + score.missed).max(1) as f64,
            score.hit as f64 / (score.hit + score.wrong).max(1) as f64,
        );
        hit += score.hit;
        missed += score.missed;
        wrong += score.wrong;
    }
    let recall = hit as f64 / (hit + missed) as f64;
    let precision = hit as f64 / (hit + wrong) as f64;
    println!(
        "{positives} positives, {negatives} negatives: recall {recall:.4}, precision {precision:.4}"
    );
    assert!(recall >= 0.98, "recall {recall:.4}");
    assert!(precision >= 0.98, "precision {precision:.4}");
    for category in Category::ALL {
        let score = &scores[category.word()];
        assert!(
            score.hit as f64 / (score.hit + score.missed) as f64 >= 0.95,
            "{}",
            category.word()
        );
    }
}

/// Four times the text, about four times the time, on inputs made to be bad.
#[test]
fn linear_time() {
    let bad: [(&str, &str); 12] = [
        ("a", ""),
        ("1", ""),
        ("@", ""),
        ("a@", ""),
        ("1-", ""),
        ("+1", ""),
        (":", ""),
        ("ab:", ""),
        ("password=", ""),
        ("-----BEGIN RSA PRIVATE KEY-----", ""),
        ("eyJ.", ""),
        ("1.1.1.1.", ""),
    ];
    for (piece, end) in bad {
        let time = |bytes: usize| {
            let text = format!("{}{end}", piece.repeat(bytes / piece.len()));
            (0..3)
                .map(|_| {
                    let start = Instant::now();
                    std::hint::black_box(find(text.as_bytes()));
                    start.elapsed()
                })
                .min()
                .unwrap_or_default()
        };
        let (short, long) = (time(20_000), time(160_000));
        assert!(
            long < short * 24 + Duration::from_millis(20),
            "{piece:?}: {short:?}, eight times as much: {long:?}"
        );
    }
}

#[test]
fn any_bytes() {
    let mut r = Random::new(7);
    let pieces: [&[u8]; 16] = [
        b"@",
        b"a",
        b"1",
        b"-",
        b".",
        b":",
        b"+",
        b"(",
        b"\xff",
        "ü".as_bytes(),
        b"password=",
        b"eyJ",
        b"ssn ",
        b"\0",
        b"4111111111111111",
        b"-----BEGIN PRIVATE KEY-----",
    ];
    for _ in 0..20_000 {
        let mut text = Vec::new();
        for _ in 0..r.below(24) {
            text.extend_from_slice(pieces[r.below(16) as usize]);
        }
        let mut end = 0;
        for finding in find(&text) {
            assert!(
                finding.start >= end && finding.end > finding.start && finding.end <= text.len()
            );
            end = finding.end;
        }
        // What has been replaced is not found again.
        let clean = scrub(&text);
        for finding in find(&clean) {
            assert!(find(&text).len() <= 24, "{finding:?}");
        }
    }
}

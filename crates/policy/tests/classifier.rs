//! Recall and precision of the classifier on the labelled set, its linear time, and that it never
//! panics.

mod labelled;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use labelled::{Example, Random, examples, written};
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

/// Forms from public documents, which the rules were not made from.
#[test]
fn as_others_write_them() {
    let (mut hit, mut by) = (0, BTreeMap::<&str, (usize, usize)>::new());
    for (category, text, value) in written::POSITIVES {
        let start = text.find(value).unwrap_or_else(|| panic!("{text}"));
        let found = find(text.as_bytes());
        let covered = found
            .iter()
            .any(|f| f.start <= start && f.end >= start + value.len());
        let named = found
            .iter()
            .any(|f| f.category == *category && f.start < start + value.len() && f.end > start);
        let entry = by.entry(category.word()).or_default();
        entry.1 += 1;
        if covered && named {
            hit += 1;
            entry.0 += 1;
        } else {
            println!(
                "missed {}: {text} -> {}",
                category.word(),
                String::from_utf8_lossy(&scrub(text.as_bytes()))
            );
        }
    }
    let mut wrong = 0;
    for text in written::NEGATIVES {
        for finding in find(text.as_bytes()) {
            wrong += 1;
            println!("wrong {} in {text}", finding.category.word());
        }
    }
    for (category, (hit, of)) in &by {
        println!("{category:16} {hit}/{of}");
    }
    let recall = f64::from(hit) / written::POSITIVES.len() as f64;
    println!(
        "{} forms: recall {recall:.3}; {} texts without: {wrong} found",
        written::POSITIVES.len(),
        written::NEGATIVES.len()
    );
    assert!(recall >= 0.9, "recall {recall:.3}");
    assert!(wrong <= 2, "{wrong}");
}

/// What this thread has spent on the processor, whatever else the machine does.
fn spent() -> Duration {
    let nanoseconds = std::fs::read_to_string("/proc/thread-self/schedstat")
        .ok()
        .and_then(|s| s.split_whitespace().next()?.parse().ok());
    static BEGAN: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
    nanoseconds.map_or_else(|| BEGAN.elapsed(), Duration::from_nanos)
}

/// Four times the text, about four times the work, on inputs made to be bad. The clock that counts a
/// thread's own time moves in steps of some milliseconds; what is quadratic takes minutes here.
#[test]
fn linear_time() {
    let whole = examples(2, 2)
        .iter()
        .map(|e| e.text.clone() + "\n")
        .collect::<String>();
    let bad = [
        "a",
        "1",
        "@",
        "a@",
        "1-",
        "+1",
        ":",
        "ab:",
        "password=",
        "1.1.1.1.",
        "eyJ.",
        "a.a@",
        "-----BEGIN RSA PRIVATE KEY-----",
        "eyJhbGciOiJIUzI1NiJ9.",
        "born 1 ",
        "DE89 3704 ",
        &whole,
    ];
    for piece in bad {
        let text = piece.repeat((2 << 20) / piece.len() + 1);
        let work = |bytes: usize| {
            let text = &text.as_bytes()[..bytes];
            (0..2)
                .map(|_| {
                    let before = spent();
                    std::hint::black_box(find(text));
                    spent().saturating_sub(before)
                })
                .min()
                .unwrap_or_default()
        };
        let (short, long) = (work(1 << 19), work(2 << 20));
        assert!(
            long < short * 8 + Duration::from_millis(50),
            "{:?}: {short:?} for half a megabyte, {long:?} for two",
            piece.get(..20.min(piece.len()))
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

#[test]
fn parentheses() {
    for (text, expected) in [
        ("Call Ann (536-22-0002) today", "Call Ann ([SSN]) today"),
        (
            "phone (212 555 0199), weekdays",
            "phone ([PHONE]), weekdays",
        ),
        ("phone (212) 555-0199", "phone [PHONE]"),
        (
            "phone (030) 901820 or (0151) 23456789",
            "phone [PHONE] or [PHONE]",
        ),
        (
            "call (see order 5512-8842) back",
            "call (see order 5512-8842) back",
        ),
    ] {
        let scrubbed = scrub(text.as_bytes());
        assert_eq!(String::from_utf8_lossy(&scrubbed), expected);
    }
}

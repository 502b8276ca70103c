//! Each kind of mask over a table, against the same result written with built-in functions.

use std::hint::black_box;
use std::time::Instant;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::Pair;
use crate::{Bound, Effort, Figure, Result, median, pairs, ratios};

/// Name, column, mask and options, and what somebody would write without the extension.
const MASKS: [(&str, &str, &str, &str, &str); 12] = [
    ("redact", "name", "redact", "{}", "CASE WHEN name IS NULL THEN NULL ELSE '***' END"),
    ("null", "name", "null", "{}", "NULL::text"),
    ("constant", "name", "constant", r#"{"value": "x"}"#, "'x'::text"),
    (
        "partial", "phone", "partial", r#"{"keep_last": 4}"#,
        "CASE WHEN length(phone) <= 4 THEN repeat('*', length(phone))
              ELSE repeat('*', length(phone) - 4) || right(phone, 4) END",
    ),
    (
        "email", "email", "email", "{}",
        "CASE WHEN email ~ '^[^@]+@[^@]+$' THEN left(email, 1) || '***' || substr(email, strpos(email, '@'))
              ELSE '***' END",
    ),
    (
        "hash", "email", "hash", r#"{"length": 16}"#,
        // HMAC-SHA-256 with its two keys already padded.
        r"left(encode(sha256('\x5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c'::bytea
               || sha256('\x36363636363636363636363636363636363636363636363636363636363636363636363636363636363636363636363636363636363636363636363636363636'::bytea
               || convert_to(email, 'UTF8'))), 'hex'), 16)",
    ),
    ("truncate", "born", "truncate", r#"{"unit": "year"}"#, "date_trunc('year', born)::date"),
    ("bucket", "balance", "bucket", r#"{"size": 1000}"#, "floor(balance / 1000) * 1000"),
    ("network", "address", "network", r#"{"ipv4": 24, "ipv6": 48}"#,
     "network(set_masklen(address, CASE family(address) WHEN 4 THEN 24 ELSE 48 END))"),
    (
        "scrub", "note", "scrub", "{}",
        r"regexp_replace(regexp_replace(note, '[[:alnum:]._%+-]+@[[:alnum:].-]+\.[[:alpha:]]{2,}', '[EMAIL]', 'g'),
                         '\m\d{3}-\d{2}-\d{4}\M', '[SSN]', 'g')",
    ),
    (
        "json", "document", "json", r#"{"paths": {"$.ssn": "redact"}}"#,
        r#"CASE WHEN document ? 'ssn' THEN jsonb_set(document, '{ssn}', '"***"') ELSE document END"#,
    ),
    ("expression", "name", "expression", r#"{"sql": "left(name, 1)"}"#, "left(name, 1)"),
];

pub fn run(pair: &Pair, effort: &Effort) -> Result<Vec<Figure>> {
    let dba = pair.guarded.client("postgres");
    dba.sql(&format!(
        "CREATE TABLE people AS
         SELECT i AS id, 'Person ' || i AS name, 'person' || i || '@mail' || i % 100 || '.example.com' AS email,
                lpad((i * 7919 % 10000000000)::text, 12, '0') AS phone, date '1950-01-01' + (i % 20000)::int AS born,
                ((i * 7919 % 1000000) / 100.0)::numeric(12,2) AS balance,
                ('10.' || i % 256 || '.' || i / 256 % 256 || '.' || i % 250)::inet AS address
         FROM generate_series(1, {}::bigint) i",
        effort.rows
    ))?;
    // A table that does not fit into a quarter of the buffers would be read from the system each time.
    dba.sql(&format!(
        "CREATE TABLE texts AS
         SELECT 'Call person' || i || '@mail' || i % 100 || '.example.com (536-22-' || lpad((1 + i % 9000)::text, 4, '0') || ') about order ' || i AS note,
                jsonb_build_object('name', 'Person ' || i, 'ssn', '536-22-' || lpad((1 + i % 9000)::text, 4, '0'), 'level', i % 5) AS document
         FROM generate_series(1, {}::bigint) i",
        effort.rows
    ))?;
    dba.sql("VACUUM ANALYZE people, texts")?;
    let mut figures = Vec::new();
    for (name, column, mask, options, by_hand) in MASKS {
        let table = match column {
            "note" | "document" => "texts",
            _ => "people",
        };
        dba.sql(&format!(
            "SELECT agent_policy.mask_column('{table}', '{column}', '{mask}', '{options}')"
        ))?;
        let ours = pair.guarded.client("agent");
        let against = pair.guarded.client("app");
        let masked = format!("SELECT count({column}) FROM {table}");
        let by_hand = format!("SELECT count({by_hand}) FROM {table}");
        // The bare scan would hide the difference: it is told, and not subtracted.
        let raw = against.time("SELECT 1", &masked, 3)?;
        // A run is half a second long, so that what else the machine does is not taken for the mask.
        let times = (500.0 / against.time("SELECT 1", &by_hand, 1)?).clamp(1.0, 15.0) as usize;
        let runs = pairs(
            effort.pairs,
            || ours.time("SELECT 1", &masked, times),
            || against.time("SELECT 1", &by_hand, times),
        )?;
        let (ratio, spread) = ratios(runs.iter().copied());
        let (mut a, mut b): (Vec<f64>, Vec<f64>) = runs.into_iter().unzip();
        if mask == "hash" {
            figures.push(against_bare_hmac(raw, &mut a.clone(), effort));
        }
        figures.push(Figure {
            name: format!("mask {name}"),
            ours: format!("{:.0} ms", median(&mut a)),
            against: format!("{:.0} ms", median(&mut b)),
            ratio,
            spread,
            bound: Bound::AtMost(1.0),
            remark: format!("unmasked {raw:.0} ms"),
        });
        dba.sql(&format!(
            "SELECT agent_policy.unmask_column('{table}', '{column}')"
        ))?;
    }
    dba.sql("DROP TABLE people, texts")?;
    Ok(figures)
}

/// What the mask adds to a scan, against the HMACs alone, of the same values, by code without a database.
fn against_bare_hmac(scan: f64, masked: &mut [f64], effort: &Effort) -> Figure {
    let emails: Vec<String> = (1..=effort.rows)
        .map(|i| format!("person{i}@mail{}.example.com", i % 100))
        .collect();
    let keyed = Hmac::<Sha256>::new_from_slice(&[7; 32]).expect("any length is a key");
    let mut bare: Vec<f64> = (0..effort.pairs.max(5))
        .map(|_| {
            let start = Instant::now();
            for email in &emails {
                let mut hmac = keyed.clone();
                hmac.update(email.as_bytes());
                black_box(hmac.finalize().into_bytes());
            }
            start.elapsed().as_secs_f64() * 1000.0
        })
        .collect();
    let (masked, bare) = (median(masked), median(&mut bare));
    Figure {
        name: "mask hash, bare HMAC".into(),
        ours: format!("{:.0} ms", masked - scan),
        against: format!("{bare:.0} ms"),
        ratio: (masked - scan) / bare,
        spread: None,
        bound: Bound::AtMost(1.3),
        remark: "what the mask adds to the scan, against HMAC-SHA-256 alone".into(),
    }
}

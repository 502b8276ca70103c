//! The log over several days: a range of them is checked by itself, what is wrong is named by the ranges that have
//! it, and a day that is over goes without a doubt about the others. And the program that checks an export.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::SystemTime;

use cluster_tests::cluster::project_root;
use cluster_tests::{Bench, Case, Wire, cases};
use policy::record::{self, End, Objects, Origin, Outcome, Start};
use serde_json::Value;

use crate::c22_evidence::{tamper, verify, write};
use crate::c25_shipping::receive;
use crate::c25_standby::{count, forged, wait, wait_for};

pub const CASES: &[Case] = cases![
    ranges_of_days,
    a_changed_row_is_named_by_the_ranges_that_have_it,
    what_the_log_begins_with_is_missed,
    what_a_range_begins_with_is_missed,
    a_day_that_is_over_goes,
    a_late_record_of_a_day_that_was_dropped,
    a_retention_that_nobody_signed_drops_nothing,
    a_day_that_goes_before_its_time_is_missed,
    an_erasure_over_several_days,
    the_program_tells_by_its_status,
    the_program_names_what_is_wrong,
    the_program_misses_what_the_log_begins_with,
];

/// A server that was away, and hands over records of other days.
const AWAY: &str = "00000000000000d5";
/// The person of every other one of them.
pub const DORA: &str = "dora@example.com";
const DAY: i64 = 86_400_000_000;
const HOUR: i64 = DAY / 24;

/// Five days, the last of which is today, and records of the others: a standby may hand over what is not older
/// than a year. They take the way of all records, into the partitions of their days and blocks of the chain.
pub struct Days<'b> {
    b: &'b Bench,
    wire: Wire,
    /// Bytes and records that were handed over so far.
    at: usize,
    n: u64,
    /// The first day, since 1970.
    first: i64,
}

impl<'b> Days<'b> {
    pub fn new(b: &'b Bench) -> Self {
        b.the_day_is_young();
        b.setup(&format!(
            "SELECT agent_policy.add_standby('@plain@', '{AWAY}')"
        ));
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = i64::try_from(now.expect("it is later").as_micros()).expect("a time");
        Self {
            b,
            wire: b.unconfined(),
            at: 0,
            n: 0,
            first: now / DAY - 4,
        }
    }

    /// So many hours after the beginning of a day, as records have it.
    pub fn time(&self, day: i64, hours: i64) -> i64 {
        (self.first + day) * DAY + hours * HOUR
    }

    /// A time after the beginning of a day, in SQL.
    fn sql(&self, day: i64, after: &str) -> String {
        format!(
            "to_timestamp({}) + interval '{after}'",
            (self.first + day) * 86_400
        )
    }

    /// From noon of a day to noon of another, as arguments.
    fn range(&self, from: i64, to: i64) -> String {
        format!("{}, {}", self.sql(from, "12:00"), self.sql(to, "12:00"))
    }

    /// The name that the worker gives a day's partition.
    fn partition(&self, day: i64) -> String {
        self.b.value(&format!(
            "SELECT 'agent_policy.audit_log_' || to_char(date '1970-01-01' + {}, 'YYYYMMDD')",
            self.first + day
        ))
    }

    /// A record for each of these times, in one call; waits until they are in the table.
    #[track_caller]
    pub fn hand_over(&mut self, times: &[i64]) {
        let of_them = format!("session_id LIKE '%@{AWAY}'");
        let before = count(self.b, &of_them);
        let mut bytes = Vec::new();
        for time in times {
            self.n += 1;
            put(self.n, *time, &mut bytes);
        }
        let answer = self.wire.query(&receive(&forged(AWAY), 0, self.at, &bytes));
        self.at += bytes.len();
        assert_eq!(answer.text(0, 1), self.at.to_string(), "taken so far");
        self.b.setup("SELECT agent_policy.audit_flush()");
        wait_for(self.b, before + times.len(), &of_them);
    }
}

/// A whole statement, with what a dump or JSON could spoil.
fn put(n: u64, started_at: i64, out: &mut Vec<u8>) {
    let number = i64::try_from(n).expect("a small number");
    let address = if n.is_multiple_of(3) {
        "2001:db8::7"
    } else {
        "192.0.2.7"
    };
    let person = if n % 2 == 1 { DORA } else { "erik@example.com" };
    let origin = Origin {
        user_email: Some(person.into()),
        assurance: "connection".into(),
        role_name: "agent".into(),
        session_user_name: "agent".into(),
        database_name: "elsewhere".into(),
        application_name: "na\u{ef}ve \\ 'app'".into(),
        client_addr: Some(address.parse().expect("an address")),
        backend_pid: 4711,
        session_id: format!("65a1b2c3.1267@{AWAY}"),
    };
    let start = Start {
        event_id: u128::from(n).to_be_bytes(),
        backend_seq: n,
        origin: origin.into(),
        transaction_id: n % 4,
        started_at,
        command_tag: Some("SELECT".into()),
        query_id: -number,
        statement: Some(format!("SELECT $1 AS \"r{n}\t\\.\n\u{540d}\"").into()),
        statement_sha256: [n.to_be_bytes()[7]; 32],
        objects: Objects {
            relations: vec!["shop.customers".into()],
            masked_columns: vec!["shop.customers.email".into(), "a.b.\"c\\,{}\"".into()],
            functions: Vec::new(),
        }
        .into(),
        agent: Some("bot".into()),
        policy_version: 1,
        ..Start::default()
    };
    let end = End {
        event_id: start.event_id,
        duration: 37 * n + 1,
        rows_returned: n,
        rows_processed: n,
        bytes_returned: 10 * n,
        outcome: Outcome::Ok,
        ..End::default()
    };
    record::encode_whole(&start, &end, out).expect("short enough");
}

/// Rows of each of the five days.
const ROWS: [i64; 5] = [3, 5, 5, 3, 4];
const ALL: i64 = 20;

/// A log in which the days do not follow each other: some records come late.
fn filled(b: &Bench) -> Days<'_> {
    b.allow();
    let mut d = Days::new(b);
    d.hand_over(&[d.time(0, 0), d.time(0, 12), d.time(1, 0) - 1]);
    d.hand_over(&[d.time(1, 0), d.time(1, 1), d.time(2, 0) - 1]);
    d.hand_over(&[
        d.time(2, 0),
        d.time(2, 13),
        d.time(3, 0) - 1,
        d.time(3, 0),
        d.time(3, 23),
    ]);
    d.hand_over(&[d.time(1, 7), d.time(1, 8), d.time(2, 7), d.time(3, 7)]);
    write(b, 4);
    d.hand_over(&[d.time(2, 20)]);
    for (day, seqs) in [
        (0, "1 2 3"),
        (1, "4 5 6 12 13"),
        (2, "7 8 9 14 20"),
        (3, "10 11 15"),
        (4, "16 17 18 19"),
    ] {
        let found = b.value(&format!(
            "SELECT string_agg(seq::text, ' ' ORDER BY seq) FROM agent_policy.audit_log
             WHERE started_at >= {} AND started_at < {}",
            d.sql(day, "0"),
            d.sql(day + 1, "0")
        ));
        assert_eq!(found, seqs, "day {day}");
    }
    d
}

/// Every range of days, from one to another, and how many rows are in it.
fn ranges(rows: [i64; 5]) -> Vec<(i64, i64, i64)> {
    let mut ranges = Vec::new();
    for from in 0..5 {
        for to in from..5 {
            ranges.push((from as i64, to as i64, rows[from..=to].iter().sum()));
        }
    }
    ranges
}

#[track_caller]
fn all_intact(d: &Days, rows: [i64; 5]) {
    assert_eq!(verify(d.b, ""), (true, None, rows.iter().sum::<i64>()));
    for (from, to, n) in ranges(rows) {
        assert_eq!(
            verify(d.b, &d.range(from, to)),
            (true, None, n),
            "days {from} to {to}"
        );
    }
}

/// What is wrong with a row shows from there on where one of these days is asked for, and nowhere else.
#[track_caller]
fn bad_on(d: &Days, days: &[i64], seq: i64, what: &str) {
    let (intact, bad, _) = verify(d.b, "");
    assert_eq!((intact, bad), (false, Some(seq)), "{what}");
    for (from, to, n) in ranges(ROWS) {
        let (intact, bad, checked) = verify(d.b, &d.range(from, to));
        if days.iter().any(|day| (from..=to).contains(day)) {
            assert_eq!(
                (intact, bad),
                (false, Some(seq)),
                "{what}: days {from} to {to}"
            );
        } else {
            assert_eq!(
                (intact, bad, checked),
                (true, None, n),
                "{what}: days {from} to {to}"
            );
        }
    }
}

fn ranges_of_days(b: &Bench) {
    let d = filled(b);
    assert_eq!(ROWS.iter().sum::<i64>(), ALL);
    all_intact(&d, ROWS);
    // Days are those of UTC, whatever the session's are.
    for zone in ["UTC", "Europe/Berlin", "<far>-13", "<far>+11"] {
        b.setup(&format!("SET timezone = '{zone}'"));
        for (since, until, rows) in [
            // A day from its first moment to its last.
            (d.sql(2, "0"), d.sql(3, "-00:00:00.000001"), ROWS[2]),
            // Its first moment is of it, and brings the whole day.
            (d.sql(2, "0"), d.sql(3, "0"), ROWS[2] + ROWS[3]),
            (
                d.sql(2, "-00:00:00.000001"),
                d.sql(2, "0"),
                ROWS[1] + ROWS[2],
            ),
            // From within a day to within another.
            (
                d.sql(1, "23:30"),
                d.sql(3, "00:30"),
                ROWS[1] + ROWS[2] + ROWS[3],
            ),
            (d.sql(1, "00:30"), d.sql(1, "00:31"), ROWS[1]),
            ("'-infinity'".to_owned(), d.sql(1, "0"), ROWS[0] + ROWS[1]),
            (
                d.sql(3, "23:59"),
                "'infinity'".to_owned(),
                ROWS[3] + ROWS[4],
            ),
            // Nothing is there.
            (d.sql(-9, "0"), d.sql(-8, "0"), 0),
            (d.sql(6, "0"), d.sql(7, "0"), 0),
            (d.sql(3, "0"), d.sql(1, "0"), 0),
        ] {
            let range = format!("{since}, {until}");
            assert_eq!(verify(b, &range), (true, None, rows), "{range} in {zone}");
            assert_eq!(
                b.value(&format!(
                    "SELECT count(*) FROM agent_policy.audit_export({range}) line WHERE line LIKE '{{\"type\":\"row\"%'"
                )),
                rows.to_string(),
                "export of {range} in {zone}"
            );
        }
    }
    b.setup("RESET timezone");
    assert_eq!(
        verify(b, &format!("until => {}", d.sql(1, "12:00"))),
        (true, None, ROWS[0] + ROWS[1])
    );
    // Heads of blocks that are before the range, in it and behind it.
    let heads = "heads => ARRAY(SELECT head FROM agent_policy.audit_checkpoints)";
    assert_eq!(
        verify(b, &format!("{}, {heads}", d.range(1, 2))),
        (true, None, ROWS[1] + ROWS[2])
    );
}

fn a_changed_row_is_named_by_the_ranges_that_have_it(b: &Bench) {
    let d = filled(b);
    // A day of which nothing was written.
    b.setup(&format!(
        "SELECT agent_policy.audit_partition({})",
        d.first - 5
    ));
    for (change, seq, days) in [
        (
            "UPDATE @log@ SET rows_returned = 999 WHERE seq = 8",
            8,
            &[2_i64][..],
        ),
        (
            "UPDATE @log@ SET user_email = NULL, mark = '\\x0000000000000000' WHERE seq = 8",
            8,
            &[2],
        ),
        ("DELETE FROM @log@ WHERE seq = 8", 8, &[2]),
        ("DELETE FROM @log@ WHERE seq IN (14, 20)", 14, &[2]),
        (
            "INSERT INTO @log@ SELECT * FROM @log@ WHERE seq = 8",
            8,
            &[2],
        ),
        // Elsewhere on the same day, and on another one.
        (
            "UPDATE @log@ SET started_at = started_at + interval '1 minute' WHERE seq = 8",
            8,
            &[2],
        ),
        (
            "UPDATE @log@ SET started_at = started_at + interval '1 day' WHERE seq = 8",
            8,
            &[2, 3],
        ),
        (
            "UPDATE @log@ SET started_at = started_at - interval '1 day' WHERE seq = 8",
            8,
            &[2, 1],
        ),
        (
            "UPDATE @log@ SET started_at = started_at - interval '7 days' WHERE seq = 8",
            8,
            &[2, -5],
        ),
    ] {
        b.setup("BEGIN; SET LOCAL session_replication_role = replica");
        b.setup(&change.replace("@log@", "agent_policy.audit_log"));
        bad_on(&d, days, seq, change);
        if days.contains(&-5) {
            assert_eq!(verify(b, &d.range(-5, -5)), (false, Some(seq), 1));
        }
        b.setup("ROLLBACK");
    }
    all_intact(&d, ROWS);
    // For good, in the partition itself.
    tamper(
        b,
        &format!("UPDATE {} SET object = 'x' WHERE seq = 8", d.partition(2)),
    );
    bad_on(&d, &[2], 8, "in the partition");
}

/// The oldest rows and their blocks, which nothing that is left refers to but the block behind them.
fn what_the_log_begins_with_is_missed(b: &Bench) {
    let d = filled(b);
    for last in [3, 6, 11] {
        b.setup("BEGIN; SET LOCAL session_replication_role = replica");
        b.setup(&format!(
            "DELETE FROM agent_policy.audit_log WHERE seq <= {last};
             DELETE FROM agent_policy.audit_block WHERE number <=
                 (SELECT number FROM agent_policy.audit_block WHERE kind = 0 AND last_seq = {last})"
        ));
        for range in ["", &format!("until => {}", d.sql(4, "12:00"))] {
            let (intact, bad, _) = verify(b, range);
            assert_eq!((intact, bad), (false, Some(1)), "up to {last}: {range}");
        }
        b.setup("ROLLBACK");
    }
    all_intact(&d, ROWS);
}

/// The nightly check is one of a range: what it begins with must not be gone without a word.
fn what_a_range_begins_with_is_missed(b: &Bench) {
    let d = filled(b);
    for change in [
        "DELETE FROM agent_policy.audit_log WHERE seq BETWEEN 7 AND 9;
         DELETE FROM agent_policy.audit_block WHERE kind = 0 AND first_seq BETWEEN 7 AND 9",
        "DELETE FROM agent_policy.audit_log WHERE seq BETWEEN 7 AND 11;
         DELETE FROM agent_policy.audit_block WHERE kind = 0 AND first_seq BETWEEN 7 AND 11",
        // The rows are gone, and their block is said to be of another day.
        "DELETE FROM agent_policy.audit_log WHERE seq BETWEEN 7 AND 9;
         UPDATE agent_policy.audit_block SET day = day - 7 WHERE kind = 0 AND first_seq BETWEEN 7 AND 9",
    ] {
        b.setup("BEGIN; SET LOCAL session_replication_role = replica");
        b.setup(change);
        assert!(!verify(b, "").0, "everything: {change}");
        assert!(!verify(b, &d.range(1, 3)).0, "from the day before: {change}");
        assert!(!verify(b, &d.range(2, 3)).0, "from the day itself: {change}");
        b.setup("ROLLBACK");
    }
    all_intact(&d, ROWS);
}

/// Until the first of the days is gone: one that is in use is dropped another time.
fn drop_first(d: &Days) {
    let partition = d.partition(0);
    wait("end of the first day", || {
        d.b.setup("SELECT agent_policy.set_audit_retention('3 days')");
        d.b.value(&format!("SELECT to_regclass('{partition}') IS NULL")) == "t"
    });
}

fn a_day_that_is_over_goes(b: &Bench) {
    let d = filled(b);
    let heads = b
        .setup("SELECT head FROM agent_policy.audit_checkpoints ORDER BY block")
        .column();
    let heads = format!("heads => ARRAY['{}']", heads.join("', '"));
    let gaps =
        "SELECT coalesce(string_agg(concat_ws(' to ', first_missing, last_missing), ', '), 'none')
        FROM agent_policy.audit_gaps()";
    assert_eq!(b.value(gaps), "none");
    drop_first(&d);
    let kept = [0, ROWS[1], ROWS[2], ROWS[3], ROWS[4]];
    all_intact(&d, kept);
    // What was on it is no gap, what is gone of a later day is.
    assert_eq!(b.value(gaps), "none");
    b.setup("BEGIN; SET LOCAL session_replication_role = replica");
    b.setup(&format!(
        "DELETE FROM agent_policy.audit_log WHERE backend_seq IN (7, 8) AND session_id LIKE '%@{AWAY}'"
    ));
    assert_eq!(b.value(gaps), "7 to 8");
    b.setup("ROLLBACK");
    // Heads from before it are still those of this log.
    assert_eq!(verify(b, &heads), (true, None, ALL - ROWS[0]));
    assert_eq!(
        verify(b, &format!("{}, {heads}", d.range(0, 1))),
        (true, None, ROWS[1])
    );
    // A block says which day, and by whom; headers stay.
    let told = format!(
        "SELECT count(*) FROM agent_policy.audit_block WHERE kind = 2 AND day = date '1970-01-01' + {}
         AND note LIKE '%dropped%' AND note LIKE '%postgres%'",
        d.first
    );
    assert_eq!(b.value(&told), "1");
    let headers =
        "SELECT sum(last_seq - first_seq + 1) FROM agent_policy.audit_block WHERE kind = 0";
    assert_eq!(b.value(headers), ALL.to_string());
    // The log goes on.
    write(b, 4);
    all_intact(&d, [0, ROWS[1], ROWS[2], ROWS[3], ROWS[4] + 4]);
    // That day may be missing, the next one not.
    tamper(b, &format!("DROP TABLE {}", d.partition(1)));
    for (from, to, _) in ranges(kept) {
        let (intact, bad, _) = verify(b, &d.range(from, to));
        let expected = match (from..=to).contains(&1) {
            true => (false, Some(4)),
            false => (true, None),
        };
        assert_eq!((intact, bad), expected, "days {from} to {to}");
    }
    assert_eq!(verify(b, "").1, Some(4));
}

/// A standby that was away may have records of a day that is over on the primary.
fn a_late_record_of_a_day_that_was_dropped(b: &Bench) {
    let mut d = filled(b);
    drop_first(&d);
    b.setup("SELECT agent_policy.set_audit_retention(NULL)");
    d.hand_over(&[d.time(0, 5)]);
    all_intact(&d, [1, ROWS[1], ROWS[2], ROWS[3], ROWS[4]]);
    drop_first(&d);
    all_intact(&d, [0, ROWS[1], ROWS[2], ROWS[3], ROWS[4]]);
}

/// Who may write to the extension's tables has no day dropped by that.
fn a_retention_that_nobody_signed_drops_nothing(b: &Bench) {
    let d = filled(b);
    let days = || {
        b.value(
            "SELECT count(*) FROM pg_inherits WHERE inhparent = 'agent_policy.audit_log'::regclass",
        )
    };
    let (before, drop) = (days(), "SELECT agent_policy.audit_drop_expired()");
    // None was ever set, and a worker that begins looks at once.
    b.setup("UPDATE agent_policy.audit_state SET keep = '1 day'");
    assert_eq!(b.value(drop), "0");
    b.setup("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'agent_policy audit writer' AND datname = current_database()");
    write(b, 4);
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert_eq!(days(), before);
    // Another than was set.
    b.setup("SELECT agent_policy.set_audit_retention('400 days')");
    // The worker has noted by now that it was.
    b.flush_audit();
    for keep in ["1 day", "0", "399 days", "1 mon"] {
        b.setup(&format!(
            "UPDATE agent_policy.audit_state SET keep = '{keep}'"
        ));
        assert_eq!(b.value(drop), "0", "{keep}");
    }
    // Nor does it help to change what was signed, or to take it away.
    let forged = r#"{"keep": {"months": 0, "days": 1, "us": 0}, "by": "postgres"}"#;
    for change in [
        &format!("UPDATE agent_policy.audit_block SET note = '{forged}' WHERE kind = 4"),
        &format!(
            "UPDATE agent_policy.audit_block SET kind = 4, note = '{forged}'
             WHERE number = (SELECT min(number) FROM agent_policy.audit_block)"
        ),
        "DELETE FROM agent_policy.audit_block WHERE kind = 4",
        "UPDATE agent_policy.audit_block SET signature = decode(repeat('00', 64), 'hex') WHERE kind = 4",
    ] {
        b.setup("BEGIN; SET LOCAL session_replication_role = replica; UPDATE agent_policy.audit_state SET keep = '1 day'");
        b.setup(change);
        assert_eq!(b.value(drop), "0", "{change}");
        assert!(!verify(b, "").0, "{change}");
        b.setup("ROLLBACK");
    }
    assert_eq!(days(), before);
    // As it was set. What says the same in other words is another one, until it is set.
    b.setup("UPDATE agent_policy.audit_state SET keep = '400 days'");
    let kept = [ROWS[0], ROWS[1], ROWS[2], ROWS[3], ROWS[4] + 4];
    all_intact(&d, kept);
    drop_first(&d);
    all_intact(&d, [0, kept[1], kept[2], kept[3], kept[4]]);
    let signed = "SELECT count(*) FROM agent_policy.audit_block WHERE kind = 4";
    assert_eq!(
        b.value(signed),
        "2",
        "what is set again is not signed again"
    );
}

/// With a block that tells of it, made by somebody who may call what makes them.
fn a_day_that_goes_before_its_time_is_missed(b: &Bench) {
    let d = filled(b);
    let key = file(b, "key", &public_key(b));
    for keep in ["NULL", "'400 days'", "'1 mon'", "'84 hours'"] {
        b.setup(&format!("SELECT agent_policy.set_audit_retention({keep})"));
        b.setup(&format!(
            "BEGIN; SELECT agent_policy.audit_note(2, {}, '{{}}'); DROP TABLE {}",
            d.first + 1,
            d.partition(1)
        ));
        let (intact, bad_from, _) = verify(b, "");
        assert_eq!((intact, bad_from), (false, Some(4)), "{keep}");
        let export = b
            .setup("SELECT agent_policy.audit_export()")
            .column()
            .join("\n");
        b.setup("ROLLBACK");
        bad(
            b,
            &key,
            &export.lines().collect::<Vec<_>>(),
            4,
            &["was dropped, which no retention in the chain allows"],
        );
    }
    // The first day alone is over by this.
    let dropped = format!("SELECT to_regclass('{}') IS NULL", d.partition(0));
    wait("end of the first day", || {
        b.setup("SELECT agent_policy.set_audit_retention('3 days')");
        b.value(&dropped) == "t"
    });
    all_intact(&d, [0, ROWS[1], ROWS[2], ROWS[3], ROWS[4]]);
    let log = file(b, "log", &export(b, ""));
    check(&["--key", &key, &log], Stdio::null()).is(0, &["3 rows of days that were dropped: "]);
}

fn an_erasure_over_several_days(b: &Bench) {
    let d = filled(b);
    assert_eq!(
        b.value(&format!("SELECT agent_policy.erase_user('{DORA}')")),
        "8"
    );
    assert_eq!(count(b, &format!("user_email = '{DORA}'")), 0);
    all_intact(&d, ROWS);
    // Row 9 was hers.
    b.setup("BEGIN; SET LOCAL session_replication_role = replica");
    b.setup("UPDATE agent_policy.audit_log SET rows_returned = 999 WHERE seq = 9");
    bad_on(&d, &[2], 9, "an erased row");
    b.setup("ROLLBACK");
    drop_first(&d);
    all_intact(&d, [0, ROWS[1], ROWS[2], ROWS[3], ROWS[4]]);
}

// --- the program -----------------------------------------------------------------------------------

/// The program, built as for anybody: tests have the library of a package, and not what it is run by.
fn program() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let output = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()))
            .args([
                "build",
                "--locked",
                "--offline",
                "--package",
                "audit-verify",
            ])
            .args(["--message-format", "json"])
            .current_dir(project_root())
            .output()
            .expect("cargo runs");
        assert!(
            output.status.success(),
            "the program does not compile: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout)
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter(|message| message["target"]["name"] == "agent-policy-audit-verify")
            .find_map(|message| message["executable"].as_str().map(PathBuf::from))
            .expect("cargo says where it is")
    })
}

/// What it said, and how it ended.
struct Said {
    status: Option<i32>,
    out: String,
    err: String,
}

fn check(arguments: &[&str], input: Stdio) -> Said {
    let output = Command::new(program())
        .args(arguments)
        .stdin(input)
        .output()
        .expect("the program runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Said {
        status: output.status.code(),
        out: text(&output.stdout),
        err: text(&output.stderr),
    }
}

impl Said {
    #[track_caller]
    fn is(self, status: i32, words: &[&str]) -> Self {
        let Self {
            status: ended,
            out,
            err,
        } = &self;
        assert_eq!(*ended, Some(status), "{out}{err}");
        for word in words {
            assert!(
                out.contains(word) || err.contains(word),
                "not said: {word}\n{out}{err}"
            );
        }
        self
    }
}

/// A file beside the server's; it goes with the server.
fn file(b: &Bench, name: &str, text: &str) -> String {
    let path = b.cluster.socket_dir().join(format!("{}.{name}", b.db));
    fs::write(&path, text).expect("a file");
    path.display().to_string()
}

/// As the documentation does it.
fn export(b: &Bench, arguments: &str) -> String {
    let command = format!("SELECT agent_policy.audit_export({arguments})");
    b.cluster
        .program("psql", "postgres", &b.db, "", &["-XAt", "-c", &command])
        .unwrap_or_else(|e| panic!("psql: {e}"))
}

fn public_key(b: &Bench) -> String {
    b.value(
        "SELECT concat(E'-----BEGIN PUBLIC KEY-----\\n', encode('\\x302a300506032b6570032100' || public_key, 'base64'), E'\\n-----END PUBLIC KEY-----\\n')
         FROM agent_policy.audit_key",
    )
}

fn the_program_tells_by_its_status(b: &Bench) {
    let d = filled(b);
    // Whoever exports is a reader, and another block.
    let heads = b
        .setup("SELECT head FROM agent_policy.audit_checkpoints ORDER BY block")
        .column()
        .join("\n");
    let text = export(b, "");
    let log = file(b, "log", &text);
    let key = file(b, "key", &public_key(b));
    let heads = file(b, "heads", &format!("\n{heads}\n"));
    let garbage = file(b, "garbage", "neither a key nor a head nor a log\n");
    let run = |arguments: &[&str]| check(arguments, Stdio::null());

    let whole = format!("intact: {ALL} rows checked\n");
    run(&[&log]).is(0, &[&whole, "no --key is given"]);
    for arguments in [
        &["--key", &key, &log][..],
        &[&log, "--key", &key],
        &["--heads", &heads, "--key", &key, &log],
    ] {
        let said = run(arguments).is(0, &[&whole]);
        assert!(
            !said.out.contains("note:") && said.err.is_empty(),
            "{}",
            said.out
        );
    }
    let input = Stdio::from(File::open(&log).expect("a file"));
    check(&["--key", &key, "-"], input).is(0, &[&whole]);
    // What was checked, and what was not.
    let day = |n: i64| {
        let day = format!("SELECT (date '1970-01-01' + {})::text", d.first + n);
        b.value(&day)
    };
    run(&["--heads", &heads, "--key", &key, &log]).is(
        0,
        &[
            "  export  everything\n",
            &format!(
                "  rows    {ALL}: seq 1 to {ALL}; started {} 00:00:00 to {} ",
                day(0),
                day(4)
            ),
            "  blocks  ",
            ": number 1 to ",
            &format!("  days    5: {} to {} (UTC)\n", day(0), day(4)),
            " kept elsewhere: of block 1 to ",
            ", given by --key: ",
            "not checked:\n  - records that were in no block yet: the newest block, ",
        ],
    );
    run(&[&log]).is(
        0,
        &[
            "none that were kept elsewhere",
            ", found in the log itself: ",
        ],
    );
    // A part of it: of heads that are older, it says that it cannot tell.
    let part = format!("intact: {} rows checked\n", ROWS[2]);
    let second = day(2);
    let day = file(b, "day", &export(b, &d.range(2, 2)));
    run(&["--key", &key, "--heads", &heads, &day]).is(
        0,
        &[
            &part,
            "is older than this export",
            &format!("  export  the days from {second} to {second} (UTC)\n"),
            &format!("  days    1: {second} (UTC)\n"),
            "  - blocks that are not in this export: 1",
            " rows of other days: of their blocks the headers alone are in this export",
        ],
    );
    let none = file(b, "none", &export(b, &d.range(7, 8)));
    run(&["--key", &key, &none]).is(0, &["intact: 0 rows checked\n"]);

    // Nobody's key, and heads of what is not there any more.
    let foreign = file(
        b,
        "foreign",
        "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n",
    );
    run(&["--key", &foreign, &log]).is(1, &["not trusted", "first bad seq 1\n"]);
    let begun: String = text
        .lines()
        .filter(|l| l.contains("\"type\" : \"log\"") || l.starts_with("{\"type\":\"key\""))
        .map(|l| format!("{l}\n"))
        .collect();
    let begun = file(b, "begun", &begun);
    run(&["--key", &key, "--heads", &heads, &begun]).is(1, &["NOT INTACT: 0 rows checked"]);

    // What is no check is neither of both.
    for arguments in [
        &[] as &[&str],
        &["--key"],
        &["--key", &key],
        &["--nonsense", &log],
        &["--key", &key, &log, &log],
    ] {
        let said = run(arguments).is(2, &["usage: agent-policy-audit-verify"]);
        assert!(said.out.is_empty(), "{arguments:?}: {}", said.out);
    }
    let empty = file(b, "empty", "");
    for arguments in [
        &["/nowhere/log"][..],
        &["--key", "/nowhere/key", &log],
        &["--key", &garbage, &log],
        &["--heads", &garbage, &log],
        &[&garbage],
        &[&empty],
    ] {
        let said = run(arguments).is(2, &[]);
        assert!(
            !said.err.is_empty() && !said.out.contains("ntact"),
            "{arguments:?}: {}{}",
            said.out,
            said.err
        );
    }
    let said = run(&["--help"]).is(0, &["usage: agent-policy-audit-verify"]);
    assert!(said.err.is_empty());
}

/// The program names the first row that is wrong, and says what it is, whether or not it has the key.
#[track_caller]
fn bad(b: &Bench, key: &str, lines: &[&str], seq: i64, words: &[&str]) {
    let log = file(b, "bad", &lines.join("\n"));
    let first = format!("first bad seq {seq}\n");
    for arguments in [&["--key", key, &log][..], &[&log]] {
        check(arguments, Stdio::null())
            .is(1, &["NOT INTACT: ", &first])
            .is(1, words);
    }
}

fn the_program_names_what_is_wrong(b: &Bench) {
    let d = filled(b);
    let key = file(b, "key", &public_key(b));
    let text = export(b, "");
    let lines: Vec<&str> = text.lines().collect();
    let row = |seq: i64| {
        let begin = format!("{{\"type\":\"row\",\"seq\":{seq},");
        let found = lines.iter().position(|l| l.starts_with(&begin));
        found.unwrap_or_else(|| panic!("no row {seq} in the export"))
    };

    // Changed, in a number and in a text.
    for (what, by) in [
        ("\"rows_returned\":8,", "\"rows_returned\":9,"),
        ("\"user_email\":\"erik@", "\"user_email\":\"dora@"),
    ] {
        let changed = lines[row(8)].replace(what, by);
        assert_ne!(changed, lines[row(8)], "{what}");
        let mut other = lines.clone();
        other[row(8)] = &changed;
        bad(b, &key, &other, 8, &["seq 8: row 8 was changed"]);
    }
    // Removed: from the middle, a whole block, the last.
    for seq in [8, 14, 20] {
        let mut less = lines.clone();
        less.remove(row(seq));
        let words = format!("seq {seq}: row {seq} is missing");
        bad(b, &key, &less, seq, &[&words]);
    }
    // There twice.
    let mut twice = lines.clone();
    twice.insert(row(8), lines[row(8)]);
    bad(b, &key, &twice, 8, &["seq 8: row 8 was inserted"]);
    // In another order, in a block and over several.
    for (one, other) in [(8, 9), (8, 14), (2, 19)] {
        let mut swapped = lines.clone();
        swapped.swap(row(one), row(other));
        let words = format!("seq {one}: row {one} was inserted");
        bad(b, &key, &swapped, one, &[&words]);
    }
    // Cut off behind a row, and behind the first header.
    bad(b, &key, &lines[..=row(15)], 16, &["seq 16: row"]);
    let header = lines
        .iter()
        .position(|l| l.starts_with("{\"type\":\"block\""))
        .expect("a block");
    bad(
        b,
        &key,
        &lines[..=header],
        1,
        &["seq 1: rows 1 to 3 are missing"],
    );
    // Cut off within a line: nothing can be said of it but where.
    let cut = format!("{}\n{}", lines[..row(12)].join("\n"), &lines[row(12)][..40]);
    let cut = file(b, "cut", &cut);
    check(&["--key", &key, &cut], Stdio::null()).is(2, &[&format!("line {}", row(12) + 1)]);
    // A header that is changed, and two that changed places.
    let block = |seq: i64| {
        let range = format!("\"kind\":0,\"first_seq\":{seq},");
        let found = lines.iter().position(|l| l.contains(&range));
        found.unwrap_or_else(|| panic!("no block from {seq} on"))
    };
    let changed = lines[block(7)].replace("\"last_seq\":9,", "\"last_seq\":8,");
    assert_ne!(changed, lines[block(7)]);
    let mut other = lines.clone();
    other[block(7)] = &changed;
    bad(b, &key, &other, 7, &["is not that of its contents"]);
    let mut swapped = lines.clone();
    swapped.swap(block(7), block(14));
    let log = file(b, "bad", &swapped.join("\n"));
    check(&["--key", &key, &log], Stdio::null()).is(1, &["are missing", "first bad seq "]);
    // A row of an export of one day.
    let day = export(b, &d.range(2, 2));
    let changed = day.replace("\"rows_returned\":8,", "\"rows_returned\":9,");
    assert_ne!(changed, day);
    bad(
        b,
        &key,
        &changed.lines().collect::<Vec<_>>(),
        8,
        &["seq 8: row 8 was changed"],
    );
}

/// An export of everything begins with the first block.
fn the_program_misses_what_the_log_begins_with(b: &Bench) {
    filled(b);
    let key = file(b, "key", &public_key(b));
    let text = export(b, "");
    let first_rows = |line: &&str| {
        line.starts_with("{\"type\":\"block\",\"number\":1,")
            || (1..=3).any(|seq| line.starts_with(&format!("{{\"type\":\"row\",\"seq\":{seq},")))
    };
    assert_eq!(text.lines().filter(first_rows).count(), 4);
    let rest: Vec<&str> = text.lines().filter(|line| !first_rows(line)).collect();
    bad(b, &key, &rest, 1, &[]);
}

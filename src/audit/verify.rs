//! The check of the log in its tables; what is checked is in the crate `evidence`.

use super::api::raise;
use super::tables::{self, block_query, sql};
use super::{chain, settings};
use crate::pg::rows::{self, Cursor, Fields, Snapshot, Value};
use evidence::head::Head;
use evidence::key::Keys;
use evidence::record::{Address, Row};
use evidence::verify::{Checked, Findings, Headers, Rows, Trust};
use pgrx::prelude::*;
use std::borrow::Cow;
use std::ffi::CStr;

const DAY: i64 = 86_400_000_000;
/// From 1970 to PostgreSQL's epoch, 2000-01-01, in microseconds and in days.
const PG_EPOCH: i64 = 946_684_800_000_000;
const PG_EPOCH_DAY: i32 = 10_957;
/// Findings that are told.
const TOLD: usize = 20;

/// The first and the last of some days, since 2000; the ends of the range are infinities, and belong to it.
#[derive(Clone, Copy)]
struct Days(i32, i32);

impl Days {
    /// Those of two times in microseconds since 2000.
    fn of(since: i64, until: i64) -> Self {
        let day = |at: i64| match at {
            i64::MIN => i32::MIN,
            i64::MAX => i32::MAX,
            at => i32::try_from(at.div_euclid(DAY)).unwrap_or_default(),
        };
        Self(day(since), day(until))
    }

    /// Since 1970.
    fn of_1970(self) -> (i32, i32) {
        let day = |day: i32| match day {
            i32::MIN | i32::MAX => day,
            day => day.saturating_add(PG_EPOCH_DAY),
        };
        (day(self.0), day(self.1))
    }

    fn days(self) -> [Value; 2] {
        [Value::Day(self.0), Value::Day(self.1)]
    }

    /// Their first and their last microsecond.
    fn times(self) -> [Value; 2] {
        let first = match self.0 {
            i32::MIN => i64::MIN,
            day => i64::from(day) * DAY,
        };
        let last = match self.1 {
            i32::MAX => i64::MAX,
            day => (i64::from(day) + 1) * DAY - 1,
        };
        [Value::Time(first), Value::Time(last)]
    }
}

type Answer = (bool, Option<i64>, i64, Option<String>);

/// Checks the rows that started on the days from `since` to `until`.
pub fn verify(since: i64, until: i64, heads: &[String]) -> Answer {
    let days = Days::of(since, until);
    let kept: Vec<Head> = heads
        .iter()
        .map(|h| {
            h.parse().unwrap_or_else(|e| {
                raise(
                    PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
                    &format!("\"{h}\" is {e}"),
                    "Give heads as agent_policy.audit_checkpoints has them in its column \"head\".",
                )
            })
        })
        .collect();
    // Nobody learns a row from it: it is no reader of the log.
    let _own = crate::pg::internal::enter();
    rows::connected(|| {
        // What others know comes before what the tables say: the log goes on. So does the lock that keeps
        // days from being dropped.
        let (witness, written) = (chain::witness(), chain::heads());
        Cursor::open(c"SELECT FROM agent_policy.audit_log LIMIT 0").close();
        // One state of all tables: whoever is erased meanwhile is erased from neither blocks nor rows.
        rows::in_snapshot(|now| look(now, days, kept, witness, &written))
    })
}

fn look(
    now: &Snapshot,
    days: Days,
    kept: Vec<Head>,
    witness: Option<Head>,
    written: &[Head],
) -> Answer {
    let newest_row = highest(now, c"SELECT max(seq) FROM agent_policy.audit_log");
    let newest_block = highest(now, c"SELECT max(number) FROM agent_policy.audit_block");
    let Some((id, last_known)) = tables::state(|query| now.open(query, &[])) else {
        // Was nothing ever written, or is what says so gone?
        if kept.is_empty() && written.is_empty() && newest_row == 0 && newest_block == 0 {
            return (true, None, 0, None);
        }
        warning!(
            "audit log: agent_policy.audit_state, which says where the log begins and ends, is empty"
        );
        return (false, Some(1), 0, None);
    };
    // Behind the blocks: another key may have come.
    let keys = chain::keys(false).unwrap_or_default();
    let trust = Trust {
        chain: id,
        keys: &keys,
    };
    let mut checked = headers(now, days, trust, kept, witness);
    for other in written.iter().filter(|head| head.chain != id) {
        checked.findings.add(
            1,
            format!(
                "another log was here, of which block {} was the last: {other}",
                other.number
            ),
        );
    }
    let end = checked.head.as_ref().map_or(0, |h| h.last_seq);
    if newest_row > end {
        checked.findings.add(
            end + 1,
            format!("rows {} to {newest_row} are in no block", end + 1),
        );
    }
    if last_known > end {
        let text = format!("rows {} to {last_known} are missing at the end", end + 1);
        checked.findings.add(end + 1, text);
    }
    let (checked, n) = table(now, days, checked);
    report(&checked.findings, &keys);
    let findings = &checked.findings;
    (
        findings.intact(),
        findings.lowest_seq,
        i64::try_from(n).unwrap_or(i64::MAX),
        checked.head.map(|h| h.to_string()),
    )
}

fn highest(now: &Snapshot, query: &CStr) -> i64 {
    let mut c = now.open(query, &[]);
    let max = c.next().and_then(|r| r.i64(1)).unwrap_or(0);
    c.close();
    max
}

fn headers(
    now: &Snapshot,
    days: Days,
    trust: Trust,
    kept: Vec<Head>,
    witness: Option<Head>,
) -> Checked {
    let mut range = now.open(
        c"SELECT min(number), max(number) FROM agent_policy.audit_block WHERE day BETWEEN $1 AND $2",
        &days.days(),
    );
    let found = range.next().and_then(|r| Some((r.i64(1)?, r.i64(2)?)));
    range.close();
    let (low, last) = if days.0 == i32::MIN {
        (1, i64::MAX)
    } else {
        found.unwrap_or((1, 0))
    };
    // From the first of all, or nobody would miss blocks of these days that were written between others.
    let mut headers = Headers::new(trust, low..=last);
    headers.begins_with(1);
    kept.into_iter().for_each(|head| headers.kept(head));
    let mut c = now.open(sql(block_query!("ORDER BY number")), &[]);
    while let Some(row) = c.next() {
        match tables::block(&row) {
            Some(block) => headers.header(block),
            None => headers.findings.add(
                row.i64(3).unwrap_or(1),
                "a block has a form that no block has".to_owned(),
            ),
        }
    }
    c.close();
    headers.end(witness)
}

const ROWS: &CStr = c"
    SELECT seq, event_id, user_email, assurance, role_name, session_user_name, database_name,
        application_name, client_addr::text, backend_pid, backend_seq, session_id, transaction_id,
        started_at, duration_ms, nesting_level, command_tag, query_id, statement, statement_sha256,
        array_to_json(relations)::text, array_to_json(masked_columns)::text,
        array_to_json(functions)::text, rows_returned, rows_processed, bytes_returned, truncated,
        verdict, rule, object, outcome, sqlstate, agent, conversation, trace_id, policy_version,
        who_seal, text_seal, mark
    FROM agent_policy.audit_log
    WHERE started_at BETWEEN $1 AND $2
    ORDER BY seq";

fn table(now: &Snapshot, days: Days, checked: Checked) -> (Checked, u64) {
    let end = checked.head.as_ref().map_or(0, |h| h.last_seq);
    let (first_day, last_day) = days.of_1970();
    let mut check = Rows::new(checked, first_day..=last_day);
    let mut blocks = now.open(
        sql(block_query!("WHERE day BETWEEN $1 AND $2 ORDER BY number")),
        &days.days(),
    );
    let mut rows = now.open(ROWS, &days.times());
    let mut row = rows.next();
    while let Some(fields) = blocks.next() {
        // What is none was found among the headers.
        let Some(block) = tables::block(&fields) else {
            continue;
        };
        let last = block.last_seq;
        let of_rows = block.kind == evidence::block::Kind::Rows;
        check.block(block);
        while of_rows && row.as_ref().is_some_and(|r| r.i64(1) <= Some(last)) {
            if let Some(r) = row.take() {
                take(&mut check, &r);
            }
            row = rows.next();
        }
    }
    while let Some(r) = row.take().filter(|r| r.i64(1) <= Some(end)) {
        take(&mut check, &r);
        row = rows.next();
    }
    blocks.close();
    rows.close();
    let n = check.tally.rows;
    (check.end(), n)
}

fn take(check: &mut Rows, fields: &Fields) {
    let texts = Texts::of(fields);
    check.row(&texts.row(fields), fields.bytes(39).unwrap_or_default());
}

/// The texts of a row in UTF-8, by number of their column.
struct Texts<'f> {
    plain: [Option<Cow<'f, [u8]>>; 40],
    lists: [Vec<String>; 3],
}

impl<'f> Texts<'f> {
    fn of(f: &'f Fields) -> Self {
        let mut plain = [const { None }; 40];
        for n in [
            3, 4, 5, 6, 7, 8, 9, 12, 17, 19, 28, 29, 30, 31, 32, 33, 34, 35,
        ] {
            if let Some(slot) = plain.get_mut(n as usize) {
                *slot = f.text(n);
            }
        }
        Self {
            plain,
            // A list that is not one of texts is not what was written: it comes out empty, or
            // with a text that no object has.
            lists: [21, 22, 23].map(|n| {
                let json = f.text(n).unwrap_or_default();
                if *json == *b"[]" {
                    return Vec::new();
                }
                serde_json::from_slice(&json).unwrap_or_else(|_| vec![String::new()])
            }),
        }
    }

    fn opt(&self, n: usize) -> Option<&[u8]> {
        self.plain.get(n)?.as_deref()
    }

    fn text(&self, n: usize) -> &[u8] {
        self.opt(n).unwrap_or_default()
    }

    fn row<'a>(&'a self, f: &'a Fields) -> Row<'a> {
        let list = |n: usize| {
            let texts = self.lists.get(n).map(Vec::as_slice).unwrap_or_default();
            texts.iter().map(String::as_bytes).collect()
        };
        let address = self
            .opt(9)
            .and_then(|a| std::str::from_utf8(a).ok()?.parse::<Address>().ok());
        Row {
            seq: f.i64(1).unwrap_or(0),
            event_id: f.uuid(2).unwrap_or_default(),
            user_email: self.opt(3),
            assurance: self.text(4),
            role_name: self.text(5),
            session_user_name: self.text(6),
            database_name: self.text(7),
            application_name: self.text(8),
            client_addr: address,
            backend_pid: f.i32(10).unwrap_or(0).into(),
            backend_seq: f.i64(11).unwrap_or(0),
            session_id: self.text(12),
            transaction_id: f.i64(13),
            started_at: f.i64(14).unwrap_or(0).saturating_add(PG_EPOCH),
            duration_ms: f.f64(15),
            nesting_level: f.i32(16).unwrap_or(0).into(),
            command_tag: self.opt(17),
            query_id: f.i64(18),
            statement: self.opt(19),
            statement_sha256: f.bytes(20).unwrap_or_default(),
            relations: list(0),
            masked_columns: list(1),
            functions: list(2),
            rows_returned: f.i64(24),
            rows_processed: f.i64(25),
            bytes_returned: f.i64(26),
            truncated: f.bool(27).unwrap_or(false),
            verdict: self.text(28),
            rule: self.opt(29),
            object: self.opt(30),
            outcome: self.text(31),
            sqlstate: self.opt(32),
            agent: self.opt(33),
            conversation: self.opt(34),
            trace_id: self.opt(35),
            policy_version: f.i64(36).unwrap_or(0),
            who_seal: f.bytes(37).unwrap_or_default(),
            text_seal: f.bytes(38).unwrap_or_default(),
        }
    }
}

/// What is wrong, as warnings.
fn report(findings: &Findings, keys: &Keys) {
    for finding in findings.first.iter().take(TOLD) {
        warning!("audit log, from seq {} on: {}", finding.seq, finding.text);
    }
    if findings.count > TOLD as u64 {
        warning!("audit log: {} more findings", findings.count - TOLD as u64);
    }
    if !findings.intact() && keys.public.is_empty() {
        let data_dir = crate::pg::bgworker::this_backend().data_dir;
        let file = settings::key_file(std::path::Path::new(&data_dir));
        warning!("there is no key file \"{}\"", file.display());
    }
}

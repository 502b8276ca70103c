//! An exported log: JSON Lines, as `agent_policy.audit_export` gives them.
//!
//! The first line says which log this is (`"type": "log"`, the id of its chain, the days that are
//! in it whole, the number of the last block), then come the public keys (`key`), the headers of the blocks by number (`block`)
//! and the rows by `seq` (`row`), with the names of the columns of the tables. Bytes are `\x` and
//! hexadecimal, times ISO 8601 in UTC.

use crate::block::{Block, Kind};
use crate::hex;
use crate::key::PublicKey;
use crate::record::Row;
use serde_json::Value;

/// One line.
#[derive(Debug)]
pub enum Line {
    Log {
        chain: [u8; 16],
        /// Days since 1970.
        days: (i32, i32),
        /// The number of the last block.
        last_block: i64,
    },
    Key(PublicKey),
    Block(Box<Block>),
    Row(Box<JsonRow>),
}

/// A row and what of it is not text.
#[derive(Debug)]
pub struct JsonRow {
    value: Value,
    who_seal: Vec<u8>,
    text_seal: Vec<u8>,
    sha256: Vec<u8>,
    pub mark: Vec<u8>,
}

/// # Errors
/// What the line lacks, in words.
pub fn parse(line: &str) -> Result<Line, String> {
    let value: Value = serde_json::from_str(line).map_err(|e| e.to_string())?;
    let kind = value.get("type").and_then(Value::as_str).unwrap_or("");
    match kind {
        "log" => {
            let chain = text(&value, "chain")?.replace('-', "");
            Ok(Line::Log {
                chain: hex::decode_array(&chain).ok_or("chain is not a UUID")?,
                days: (day(&value, "first_day")?, day(&value, "last_day")?),
                last_block: int(&value, "last_block")?,
            })
        }
        "key" => bytes(&value, "public_key")?
            .try_into()
            .ok()
            .and_then(|b| PublicKey::from_bytes(&b))
            .map(Line::Key)
            .ok_or_else(|| "public_key is not one".to_owned()),
        "block" => block(&value).map(|b| Line::Block(Box::new(b))),
        "row" => Ok(Line::Row(Box::new(JsonRow {
            who_seal: bytes(&value, "who_seal")?,
            text_seal: bytes(&value, "text_seal")?,
            sha256: bytes(&value, "statement_sha256")?,
            mark: bytes(&value, "mark")?,
            value,
        }))),
        other => Err(format!("type \"{other}\" is unknown")),
    }
}

fn field<'v>(v: &'v Value, name: &str) -> Result<&'v Value, String> {
    v.get(name).ok_or_else(|| format!("{name} is missing"))
}

fn text<'v>(v: &'v Value, name: &str) -> Result<&'v str, String> {
    let text = field(v, name)?.as_str();
    text.ok_or_else(|| format!("{name} is not a text"))
}

fn opt_text<'v>(v: &'v Value, name: &str) -> Result<Option<&'v [u8]>, String> {
    match field(v, name)? {
        Value::Null => Ok(None),
        Value::String(s) => Ok(Some(s.as_bytes())),
        _ => Err(format!("{name} is not a text")),
    }
}

fn int(v: &Value, name: &str) -> Result<i64, String> {
    let n = field(v, name)?.as_i64();
    n.ok_or_else(|| format!("{name} is not a number"))
}

fn opt_int(v: &Value, name: &str) -> Result<Option<i64>, String> {
    if field(v, name)?.is_null() {
        return Ok(None);
    }
    int(v, name).map(Some)
}

fn list<'v>(v: &'v Value, name: &str) -> Result<Vec<&'v [u8]>, String> {
    let list = field(v, name)?.as_array();
    let elements = list.and_then(|l| l.iter().map(|e| e.as_str().map(str::as_bytes)).collect());
    elements.ok_or_else(|| format!("{name} is not a list of texts"))
}

fn bytes(v: &Value, name: &str) -> Result<Vec<u8>, String> {
    let bytes = text(v, name)?.strip_prefix("\\x").and_then(hex::decode);
    bytes.ok_or_else(|| format!("{name} is not bytes in hexadecimal"))
}

fn array<const N: usize>(v: &Value, name: &str) -> Result<[u8; N], String> {
    let wrong = |_| format!("{name} has not {N} bytes");
    bytes(v, name)?.try_into().map_err(wrong)
}

fn day(v: &Value, name: &str) -> Result<i32, String> {
    let text = text(v, name)?;
    match text {
        "-infinity" => Ok(i32::MIN),
        "infinity" => Ok(i32::MAX),
        date => days(date).ok_or_else(|| format!("{name} is not a date")),
    }
}

fn time(v: &Value, name: &str) -> Result<i64, String> {
    micros(text(v, name)?).ok_or_else(|| format!("{name} is not a time in UTC"))
}

/// Days since 1970 of `YYYY-MM-DD`.
fn days(date: &str) -> Option<i32> {
    let mut parts = date.splitn(3, '-');
    let mut number = || parts.next()?.parse::<i32>().ok();
    let (year, month, day) = (number()?, number()?, number()?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || !(0..=99_999).contains(&year) {
        return None;
    }
    // Years begin in March, so that the leap day is their last.
    let year = if month > 2 { year } else { year - 1 };
    let in_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    Some(365 * year + year / 4 - year / 100 + year / 400 + in_year - 719_468)
}

/// Microseconds since 1970 of `YYYY-MM-DDTHH:MM:SS[.ffffff]+00:00`.
fn micros(text: &str) -> Option<i64> {
    let (date, time) = text.strip_suffix("+00:00")?.split_once('T')?;
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let mut parts = time.splitn(3, ':');
    let mut number = || parts.next()?.parse::<i64>().ok();
    let (hours, minutes, seconds) = (number()?, number()?, number()?);
    if fraction.len() > 6 {
        return None;
    }
    let fraction: i64 = format!("{fraction:0<6}").parse().ok()?;
    let seconds = ((i64::from(days(date)?) * 24 + hours) * 60 + minutes) * 60 + seconds;
    Some(seconds * 1_000_000 + fraction)
}

fn block(v: &Value) -> Result<Block, String> {
    Ok(Block {
        number: int(v, "number")?,
        kind: Kind::from_number(int(v, "kind")?).ok_or("kind is unknown")?,
        first_seq: int(v, "first_seq")?,
        last_seq: int(v, "last_seq")?,
        day: day(v, "day")?,
        oldest: time(v, "oldest")?,
        newest: time(v, "newest")?,
        sealed_at: time(v, "sealed_at")?,
        root: array(v, "root")?,
        note: opt_text(v, "note")?.map(|n| String::from_utf8_lossy(n).into_owned()),
        hash: array(v, "hash")?,
        key_id: array(v, "key_id")?,
        signature: array(v, "signature")?,
    })
}

impl JsonRow {
    /// # Errors
    /// What it lacks, in words.
    pub fn row(&self) -> Result<Row<'_>, String> {
        let v = &self.value;
        let event_id = text(v, "event_id")?.replace('-', "");
        let duration = field(v, "duration_ms")?;
        let address = match opt_text(v, "client_addr")? {
            None => None,
            Some(a) => Some(
                std::str::from_utf8(a)
                    .ok()
                    .and_then(|a| a.parse().ok())
                    .ok_or("client_addr is not an address")?,
            ),
        };
        Ok(Row {
            seq: int(v, "seq")?,
            event_id: hex::decode_array(&event_id).ok_or("event_id is not a UUID")?,
            user_email: opt_text(v, "user_email")?,
            assurance: text(v, "assurance")?.as_bytes(),
            role_name: text(v, "role_name")?.as_bytes(),
            session_user_name: text(v, "session_user_name")?.as_bytes(),
            database_name: text(v, "database_name")?.as_bytes(),
            application_name: text(v, "application_name")?.as_bytes(),
            client_addr: address,
            backend_pid: int(v, "backend_pid")?,
            backend_seq: int(v, "backend_seq")?,
            session_id: text(v, "session_id")?.as_bytes(),
            transaction_id: opt_int(v, "transaction_id")?,
            started_at: time(v, "started_at")?,
            duration_ms: match duration {
                Value::Null => None,
                d => Some(d.as_f64().ok_or("duration_ms is not a number")?),
            },
            nesting_level: int(v, "nesting_level")?,
            command_tag: opt_text(v, "command_tag")?,
            query_id: opt_int(v, "query_id")?,
            statement: opt_text(v, "statement")?,
            statement_sha256: &self.sha256,
            relations: list(v, "relations")?,
            masked_columns: list(v, "masked_columns")?,
            functions: list(v, "functions")?,
            rows_returned: opt_int(v, "rows_returned")?,
            rows_processed: opt_int(v, "rows_processed")?,
            bytes_returned: opt_int(v, "bytes_returned")?,
            truncated: field(v, "truncated")?
                .as_bool()
                .ok_or("truncated is not a boolean")?,
            verdict: text(v, "verdict")?.as_bytes(),
            rule: opt_text(v, "rule")?,
            object: opt_text(v, "object")?,
            outcome: text(v, "outcome")?.as_bytes(),
            sqlstate: opt_text(v, "sqlstate")?,
            agent: opt_text(v, "agent")?,
            conversation: opt_text(v, "conversation")?,
            trace_id: opt_text(v, "trace_id")?,
            policy_version: int(v, "policy_version")?,
            who_seal: &self.who_seal,
            text_seal: &self.text_seal,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        assert_eq!(days("1970-01-01"), Some(0));
        assert_eq!(days("2000-02-29"), Some(11_016));
        assert_eq!(days("2026-11-21"), Some(20_778));
        assert_eq!(micros("1970-01-02T00:00:01.5+00:00"), Some(86_401_500_000));
        assert_eq!(
            micros("2000-01-01T00:00:00+00:00"),
            Some(946_684_800_000_000)
        );
        assert_eq!(micros("2000-01-01T00:00:00+02:00"), None);
        assert_eq!(days("2000-13-01"), None);
    }
}

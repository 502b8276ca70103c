//! An exported log: JSON Lines, as `agent_policy.audit_export` gives them.
//!
//! The first line says which log this is (`"type": "log"`, the id of its chain, the days that are in it
//! whole, the number of the last block, whether personal fields are in it), then come the public keys
//! (`key`), the headers of the blocks by number (`block`) and the rows by `seq` (`row`), with the names
//! of the columns of the tables. Bytes are `\x` and hexadecimal, times ISO 8601 in UTC.
//!
//! A line has these members and no others, each of them once: the chain speaks for nothing else.

use crate::block::{Block, Kind};
use crate::key::PublicKey;
use crate::record::Row;
use crate::{calendar, hex};
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
        /// Whether personal fields are in it; `None` where it does not say.
        personal: Option<bool>,
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

const LOG: &[&str] = &[
    "type",
    "version",
    "chain",
    "first_day",
    "last_day",
    "last_block",
    "personal",
];
const KEY: &[&str] = &["type", "key_id", "public_key"];
const BLOCK: &[&str] = &[
    "type",
    "number",
    "kind",
    "first_seq",
    "last_seq",
    "day",
    "oldest",
    "newest",
    "sealed_at",
    "root",
    "note",
    "hash",
    "key_id",
    "signature",
];
const ROW: &[&str] = &[
    "type",
    "seq",
    "event_id",
    "user_email",
    "assurance",
    "role_name",
    "session_user_name",
    "database_name",
    "application_name",
    "client_addr",
    "backend_pid",
    "session_id",
    "transaction_id",
    "started_at",
    "duration_ms",
    "nesting_level",
    "command_tag",
    "query_id",
    "statement",
    "statement_sha256",
    "relations",
    "masked_columns",
    "functions",
    "rows_returned",
    "rows_processed",
    "bytes_returned",
    "truncated",
    "verdict",
    "rule",
    "object",
    "outcome",
    "sqlstate",
    "agent",
    "conversation",
    "trace_id",
    "policy_version",
    "backend_seq",
    "mark",
    "who_seal",
    "text_seal",
];

/// A line, and what of it nothing speaks for, in words.
#[derive(Debug)]
pub struct Parsed {
    pub line: Line,
    pub strange: Option<String>,
}

/// # Errors
/// What the line lacks, in words.
pub fn parse(line: &str) -> Result<Parsed, String> {
    let value: Value = serde_json::from_str(line).map_err(|e| e.to_string())?;
    let known = match value.get("type").and_then(Value::as_str) {
        Some("log") => LOG,
        Some("key") => KEY,
        Some("block") => BLOCK,
        Some("row") => ROW,
        other => return Err(format!("type {:?} is unknown", other.unwrap_or_default())),
    };
    let strange = strange(&value, line, known);
    Ok(Parsed {
        line: interpret(value)?,
        strange,
    })
}

/// A member that no such line has, or one that is there twice: whoever reads the line may take it for a part
/// of the log.
fn strange(value: &Value, line: &str, known: &[&str]) -> Option<String> {
    let members = value.as_object()?;
    if let Some(name) = members.keys().find(|name| !known.contains(&name.as_str())) {
        let name: String = name.chars().take(40).collect();
        return Some(format!("has {name:?}, which is no part of the log"));
    }
    (count_members(line) != members.len()).then(|| "has a member twice".to_owned())
}

/// Members of the object on a line that was parsed: where two have one name, the parser keeps the last.
fn count_members(line: &str) -> usize {
    let (mut depth, mut commas) = (0_u32, 0);
    let (mut in_text, mut escaped) = (false, false);
    for byte in line.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            _ if in_text => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            b',' if depth == 1 => commas += 1,
            _ => {}
        }
    }
    commas + 1
}

fn interpret(value: Value) -> Result<Line, String> {
    match value
        .get("type")
        .and_then(Value::as_str)
        .unwrap_or_default()
    {
        "log" => {
            if int(&value, "version")? != i64::from(crate::VERSION) {
                return Err("it is of another version".to_owned());
            }
            let chain = text(&value, "chain")?.replace('-', "");
            let personal = value
                .get("personal")
                .map(|p| p.as_bool().ok_or("personal is not a boolean"));
            Ok(Line::Log {
                chain: hex::decode_array(&chain).ok_or("chain is not a UUID")?,
                days: (day(&value, "first_day")?, day(&value, "last_day")?),
                last_block: int(&value, "last_block")?,
                personal: personal.transpose()?,
            })
        }
        "key" => {
            let key = PublicKey::from_bytes(&array(&value, "public_key")?);
            let key = key.ok_or("public_key is not one")?;
            if array(&value, "key_id")? != key.id() {
                return Err("key_id is not that of public_key".to_owned());
            }
            Ok(Line::Key(key))
        }
        "block" => block(&value).map(|b| Line::Block(Box::new(b))),
        "row" => Ok(Line::Row(Box::new(JsonRow {
            who_seal: bytes(&value, "who_seal")?,
            text_seal: bytes(&value, "text_seal")?,
            sha256: bytes(&value, "statement_sha256")?,
            mark: bytes(&value, "mark")?,
            value,
        }))),
        other => Err(format!("type {other:?} is unknown")),
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
        date => calendar::parse_date(date).ok_or_else(|| format!("{name} is not a date")),
    }
}

fn time(v: &Value, name: &str) -> Result<i64, String> {
    match text(v, name)? {
        "-infinity" => Ok(i64::MIN),
        "infinity" => Ok(i64::MAX),
        at => calendar::parse_time(at).ok_or_else(|| format!("{name} is not a time in UTC")),
    }
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
    fn members() {
        for (line, n) in [
            (r#"{"a":1}"#, 1),
            (r#"{"a":[1,2],"b":"x,\",{\\","c":{"d":1,"e":2}}"#, 3),
            (r#"{"a":1,"a":2}"#, 2),
        ] {
            assert_eq!(count_members(line), n, "{line}");
        }
    }

    #[test]
    fn what_no_line_has() {
        let log = |more: &str| {
            let line = format!(
                r#"{{"type":"log","version":1,"chain":"00000000-0000-0000-0000-000000000001",
                    "first_day":"-infinity","last_day":"2026-11-21","last_block":7{more}}}"#
            );
            parse(&line)
        };
        let parsed = log("").unwrap();
        assert_eq!(parsed.strange, None);
        let Line::Log { days, personal, .. } = parsed.line else {
            panic!("{parsed:?}")
        };
        assert_eq!((days, personal), ((i32::MIN, 20_778), None));
        assert!(log(r#","personal":false"#).unwrap().strange.is_none());
        assert!(log(r#","personal":"no""#).is_err());
        assert!(log(r#","type":"log""#).unwrap().strange.is_some());
        let strange = log(",\"read this\\n\":\"x\"").unwrap().strange;
        assert!(strange.unwrap().contains(r#""read this\n""#));
        let key = crate::key::PrivateKey::from_seed(&[7; 32]).public();
        let line = |id: &[u8]| {
            let (id, key) = (hex::encode(id), hex::encode(&key.to_bytes()));
            parse(&format!(
                r#"{{"type":"key","key_id":"\\x{id}","public_key":"\\x{key}"}}"#
            ))
        };
        assert!(line(&key.id()).is_ok());
        assert!(line(&[0; 8]).is_err());
    }
}

//! Who read the log, as the notes of blocks of kind 1 say it: shown to people, and written anew where a person
//! leaves them.
//!
//! A note is JSON in ASCII, whatever the encoding of the database: its characters may be some that the encoding
//! lacks, which PostgreSQL's own functions for JSON refuse.

use crate::pg::server_text::Text;
use pgrx::prelude::*;
use serde_json::Value;

/// The records of a note; none where it is not such a list.
fn records(note: &str) -> Vec<Value> {
    match serde_json::from_str(note) {
        Ok(Value::Array(list)) => list,
        _ => Vec::new(),
    }
}

/// A row for each record, with its number, from 1.
#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)]
fn audit_reads(
    note: Text,
) -> TableIterator<
    'static,
    (
        name!(n, i32),
        name!(read_at, Option<i64>),
        name!(role_name, Option<Text>),
        name!(session_user_name, Option<Text>),
        name!(application_name, Option<Text>),
        name!(client_addr, Option<Text>),
        name!(backend_pid, Option<i32>),
        name!(session_id, Option<Text>),
        name!(relations, Vec<Text>),
        name!(statement, Option<Text>),
        name!(carried_from, Option<i64>),
    ),
> {
    TableIterator::new((1..).zip(records(&note)).map(|(n, r)| {
        let text = |name| r.get(name).and_then(Value::as_str);
        let owned = |name| text(name).map(Text::from);
        let number = |name| r.get(name).and_then(Value::as_i64);
        let address = text("client_addr").filter(|a| a.parse::<std::net::IpAddr>().is_ok());
        let relations = r.get("relations").and_then(Value::as_array);
        let relations = relations.into_iter().flatten().filter_map(Value::as_str);
        (
            n,
            number("read_at"),
            owned("role_name"),
            owned("session_user_name"),
            owned("application_name"),
            address.map(Text::from),
            number("backend_pid").and_then(|pid| pid.try_into().ok()),
            owned("session_id"),
            relations.map(Text::from).collect(),
            owned("statement"),
            number("block"),
        )
    }))
}

/// The note of the block that takes the place of another: its records, which say in which block they came, without
/// what names or quotes a person. `groups`, for each record: 1, who; 2, text; 3, both. NULL where the note is not
/// what was signed: that has to stay visible.
#[pg_extern(sql = false)]
fn audit_carry(note: Text, root: &[u8], block: i64, groups: Vec<i32>) -> Option<Text> {
    if evidence::block::note_root(&note) != root {
        return None;
    }
    let mut list = records(&note);
    for (record, groups) in list.iter_mut().zip(groups) {
        if let Value::Object(members) = record {
            members.entry("block").or_insert_with(|| block.into());
            blank(members, groups);
        }
    }
    Some(Text(super::chain::ascii(&Value::Array(list))))
}

/// As in a row of the log.
fn blank(record: &mut serde_json::Map<String, Value>, groups: i32) {
    if groups & 1 != 0 {
        for name in ["role_name", "session_user_name"] {
            if let Some(Value::String(role)) = record.get_mut(name)
                && role.contains('@')
            {
                "erased".clone_into(role);
            }
        }
        record.insert("client_addr".to_owned(), Value::Null);
    }
    if groups & 2 != 0 {
        record.insert("application_name".to_owned(), "".into());
        record.insert("statement".to_owned(), Value::Null);
    }
}

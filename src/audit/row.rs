//! A record as a row of `audit_log`, in COPY's binary format.

use super::canonical::{self, SALTS};
use crate::pg::copy_in::Conversion;
use evidence::Hash;
use evidence::record::Row;
use evidence::verify::MARK;
use policy::record::{End, Start};
use std::ffi::CStr;
use std::net::IpAddr;

/// In the order in which [`Rows::push`] writes them.
pub const COLUMNS: &[&CStr] = &[
    c"event_id",
    c"seq",
    c"user_email",
    c"assurance",
    c"role_name",
    c"session_user_name",
    c"database_name",
    c"application_name",
    c"client_addr",
    c"backend_pid",
    c"session_id",
    c"transaction_id",
    c"started_at",
    c"duration_ms",
    c"nesting_level",
    c"command_tag",
    c"query_id",
    c"statement",
    c"statement_sha256",
    c"relations",
    c"masked_columns",
    c"functions",
    c"rows_returned",
    c"rows_processed",
    c"bytes_returned",
    c"truncated",
    c"verdict",
    c"rule",
    c"object",
    c"outcome",
    c"sqlstate",
    c"agent",
    c"conversation",
    c"trace_id",
    c"policy_version",
    c"backend_seq",
    c"mark",
    c"who_seal",
    c"text_seal",
];

const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// From 1970 to PostgreSQL's epoch, 2000-01-01, in microseconds.
const PG_EPOCH: i64 = 946_684_800_000_000;
const DAY: i64 = 86_400_000_000;
const TEXT: u32 = 25;

/// The time of a record; a clock beyond all sense must not stop the ingest.
pub fn started_at(s: &Start) -> i64 {
    s.started_at.clamp(PG_EPOCH, PG_EPOCH * 9)
}

/// The day it falls on, in days since 1970, UTC.
pub fn day(s: &Start) -> i64 {
    started_at(s).div_euclid(DAY)
}

/// Rows for one COPY.
pub struct Rows {
    data: Vec<u8>,
    conversion: Conversion,
}

impl Rows {
    pub fn new(conversion: Conversion) -> Self {
        Self {
            data: SIGNATURE.to_vec(),
            conversion,
        }
    }

    pub fn clear(&mut self) {
        self.data.truncate(SIGNATURE.len());
        self.data.shrink_to(32 << 20);
    }

    /// What COPY reads.
    pub fn finish(&mut self) -> &[u8] {
        self.data.extend_from_slice(&(-1_i16).to_be_bytes());
        &self.data
    }

    /// A row, and its hash; without an end its outcome is unknown. Inside a transaction.
    pub fn push(&mut self, seq: i64, s: &Start, end: Option<&End>, salts: &[u8; SALTS]) -> Hash {
        let s = &*canonical::as_stored(s, self.conversion);
        let row = canonical::row(seq, s, end, salts);
        // Both seals are salts, so that it has one.
        let leaf = row.leaf().unwrap_or_default();
        self.put(&row, leaf.first_chunk::<MARK>().unwrap_or(&[0; MARK]));
        leaf
    }

    /// In the order of [`COLUMNS`].
    fn put(&mut self, r: &Row, mark: &[u8; MARK]) {
        self.data
            .extend_from_slice(&(COLUMNS.len() as i16).to_be_bytes());
        self.field(&r.event_id);
        self.int(r.seq);
        self.opt(r.user_email);
        self.text(r.assurance);
        self.text(r.role_name);
        self.text(r.session_user_name);
        self.text(r.database_name);
        self.text(r.application_name);
        self.address(r.client_addr.map(|a| a.ip));
        self.int4(r.backend_pid);
        self.text(r.session_id);
        self.opt_int(r.transaction_id);
        self.int(r.started_at - PG_EPOCH);
        match r.duration_ms {
            Some(ms) => self.field(&ms.to_be_bytes()),
            None => self.null(),
        }
        self.int4(r.nesting_level);
        self.opt(r.command_tag);
        self.opt_int(r.query_id);
        self.opt(r.statement);
        self.field(r.statement_sha256);
        self.list(&r.relations);
        self.list(&r.masked_columns);
        self.list(&r.functions);
        self.opt_int(r.rows_returned);
        self.opt_int(r.rows_processed);
        self.opt_int(r.bytes_returned);
        self.field(&[r.truncated.into()]);
        self.text(r.verdict);
        self.opt(r.rule);
        self.opt(r.object);
        self.text(r.outcome);
        self.opt(r.sqlstate);
        self.opt(r.agent);
        self.opt(r.conversation);
        self.opt(r.trace_id);
        self.int(r.policy_version);
        self.int(r.backend_seq);
        self.field(mark);
        self.field(r.who_seal);
        self.field(r.text_seal);
    }

    fn length(&mut self, n: usize) {
        self.data
            .extend_from_slice(&i32::try_from(n).unwrap_or(i32::MAX).to_be_bytes());
    }

    fn field(&mut self, bytes: &[u8]) {
        self.length(bytes.len());
        self.data.extend_from_slice(bytes);
    }

    fn null(&mut self) {
        self.data.extend_from_slice(&(-1_i32).to_be_bytes());
    }

    fn int(&mut self, v: i64) {
        self.field(&v.to_be_bytes());
    }

    fn int4(&mut self, v: i64) {
        self.field(&i32::try_from(v).unwrap_or(i32::MAX).to_be_bytes());
    }

    fn opt_int(&mut self, v: Option<i64>) {
        match v {
            Some(v) => self.int(v),
            None => self.null(),
        }
    }

    /// Text, which is UTF-8.
    fn text(&mut self, s: &[u8]) {
        self.sized(|r| match std::str::from_utf8(s) {
            Ok(s) => r.conversion.put(s, &mut r.data),
            Err(_) => r.data.extend_from_slice(s),
        });
    }

    fn opt(&mut self, s: Option<&[u8]>) {
        match s {
            Some(s) => self.text(s),
            None => self.null(),
        }
    }

    /// A field whose length is known after it is written.
    fn sized(&mut self, put: impl FnOnce(&mut Self)) {
        let at = self.data.len();
        self.length(0);
        put(self);
        let n = i32::try_from(self.data.len() - at - 4).unwrap_or(i32::MAX);
        if let Some(to) = self.data.get_mut(at..at + 4) {
            to.copy_from_slice(&n.to_be_bytes());
        }
    }

    /// `text[]`
    fn list(&mut self, list: &[&[u8]]) {
        self.sized(|r| {
            let dimensions = i32::from(!list.is_empty());
            for n in [dimensions, 0, TEXT as i32] {
                r.data.extend_from_slice(&n.to_be_bytes());
            }
            if dimensions == 1 {
                r.length(list.len());
                r.data.extend_from_slice(&1_i32.to_be_bytes());
                for s in list {
                    r.text(s);
                }
            }
        });
    }

    /// `inet`
    fn address(&mut self, a: Option<IpAddr>) {
        const AF_INET: u8 = 2;
        match a {
            None => self.null(),
            Some(IpAddr::V4(a)) => {
                self.field(&[&[AF_INET, 32, 0, 4][..], &a.octets()].concat());
            }
            Some(IpAddr::V6(a)) => {
                self.field(&[&[AF_INET + 1, 128, 0, 16][..], &a.octets()].concat());
            }
        }
    }
}

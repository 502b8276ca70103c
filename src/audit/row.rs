//! A record as a row of `audit_log`, in COPY's binary format.

use crate::pg::copy_in::Conversion;
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
];

const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// From 1970 to PostgreSQL's epoch, 2000-01-01, in microseconds.
const PG_EPOCH: i64 = 946_684_800_000_000;
const DAY: i64 = 86_400_000_000;
const TEXT: u32 = 25;

/// The time of a record; a clock beyond all sense must not stop the ingest.
fn started_at(s: &Start) -> i64 {
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

    /// A row; without an end its outcome is unknown. Inside a transaction.
    pub fn push(&mut self, seq: i64, s: &Start, end: Option<&End>) {
        let none = End::default();
        let e = end.unwrap_or(&none);
        self.data
            .extend_from_slice(&(COLUMNS.len() as i16).to_be_bytes());
        self.field(&s.event_id);
        self.int(seq);
        self.opt(s.origin.user_email.as_deref());
        self.text(&s.origin.assurance);
        self.text(&s.origin.role_name);
        self.text(&s.origin.session_user_name);
        self.text(&s.origin.database_name);
        self.text(&s.origin.application_name);
        self.address(s.origin.client_addr);
        self.field(&s.origin.backend_pid.to_be_bytes());
        self.text(&s.origin.session_id);
        match i64::try_from(s.transaction_id) {
            Ok(xid) if xid > 0 => self.int(xid),
            _ => self.null(),
        }
        self.int(started_at(s) - PG_EPOCH);
        match end {
            Some(e) => self.field(&(e.duration as f64 / 1000.0).to_be_bytes()),
            None => self.null(),
        }
        self.field(
            &i32::try_from(s.nesting_level)
                .unwrap_or(i32::MAX)
                .to_be_bytes(),
        );
        self.opt(s.command_tag.as_deref());
        match s.query_id {
            0 => self.null(),
            id => self.int(id),
        }
        self.opt(s.statement.as_deref());
        self.field(&s.statement_sha256);
        self.list(&s.objects.relations);
        self.list(&s.objects.masked_columns);
        self.list(&s.objects.functions);
        for n in [e.rows_returned, e.rows_processed, e.bytes_returned] {
            match end {
                Some(_) => self.int(i64::try_from(n).unwrap_or(i64::MAX)),
                None => self.null(),
            }
        }
        self.field(&[e.truncated.into()]);
        self.text(s.verdict.as_str());
        self.opt(s.rule.as_deref());
        self.opt(s.object.as_deref());
        self.text(e.outcome.as_str());
        self.opt(
            e.sqlstate
                .as_ref()
                .and_then(|c| std::str::from_utf8(c).ok()),
        );
        self.opt(s.agent.as_deref());
        self.opt(s.conversation.as_deref());
        self.opt(s.trace_id.as_deref());
        self.int(s.policy_version);
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

    fn text(&mut self, s: &str) {
        self.sized(|r| r.conversion.put(s, &mut r.data));
    }

    fn opt(&mut self, s: Option<&str>) {
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
    fn list(&mut self, list: &[String]) {
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

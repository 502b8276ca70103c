//! The audit record and its form in a spool file.
//!
//! A spool file is a sequence of frames: length of the payload (u32, little endian), CRC-32C of
//! the payload (u32), payload. The payload begins with the version of the format and the kind of
//! the record; integers are LEB128 (zigzag where they are signed), strings and lists carry their
//! length. A reader takes frames as long as they are whole; what follows the last whole frame is
//! room that was not used (zeros) or a torn tail, and is cut.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Deref;
use std::rc::Rc;

mod short;

pub use short::{MAX_OBJECT, at_most};

/// Version of the payload's layout, its first byte.
pub const VERSION: u8 = 1;
/// Bytes before the payload: its length and its checksum.
pub const FRAME_HEADER: usize = 8;
/// A longer payload is not written, and is taken for garbage when it is read.
pub const MAX_PAYLOAD: usize = 16 << 20;

const KIND_START: u8 = 1;
const KIND_END: u8 = 2;
const KIND_WHOLE: u8 = 3;
const KIND_READ: u8 = 4;

/// Whether the policy let the statement pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Verdict {
    #[default]
    Allowed,
    Denied,
    WouldDeny,
}

impl Verdict {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Denied => "denied",
            Self::WouldDeny => "would_deny",
        }
    }

    fn from_u8(v: u8) -> Option<Self> {
        Some(match v {
            0 => Self::Allowed,
            1 => Self::Denied,
            2 => Self::WouldDeny,
            _ => return None,
        })
    }
}

/// How the statement ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Outcome {
    Ok,
    Error,
    Cancelled,
    /// Its backend was gone before it said how the statement ended.
    #[default]
    Unknown,
}

impl Outcome {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Error => "error",
            Self::Cancelled => "cancelled",
            Self::Unknown => "unknown",
        }
    }

    fn from_u8(v: u8) -> Option<Self> {
        Some(match v {
            0 => Self::Ok,
            1 => Self::Error,
            2 => Self::Cancelled,
            3 => Self::Unknown,
            _ => return None,
        })
    }
}

/// Who asks, and from where.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Origin {
    pub user_email: Option<String>,
    pub assurance: Cow<'static, str>,
    pub role_name: String,
    pub session_user_name: String,
    pub database_name: String,
    pub application_name: String,
    /// `None` for a Unix socket.
    pub client_addr: Option<IpAddr>,
    pub backend_pid: i32,
    pub session_id: String,
}

/// An origin that many records share; it is encoded once.
#[derive(Debug, Clone, Default)]
pub struct SharedOrigin(Rc<(Origin, OnceCell<Box<[u8]>>)>);

impl From<Origin> for SharedOrigin {
    fn from(origin: Origin) -> Self {
        Self(Rc::new((origin, OnceCell::new())))
    }
}

impl Deref for SharedOrigin {
    type Target = Origin;
    fn deref(&self) -> &Origin {
        &self.0.0
    }
}

impl PartialEq for SharedOrigin {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl SharedOrigin {
    fn encoded(&self) -> &[u8] {
        self.0.1.get_or_init(|| {
            let mut bytes = Vec::new();
            put_origin(&mut bytes, self);
            bytes.into()
        })
    }
}

/// What a statement touches, by name.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Objects {
    pub relations: Vec<String>,
    pub masked_columns: Vec<String>,
    pub functions: Vec<String>,
}

/// What is known when a statement starts.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Start {
    /// UUID version 7.
    pub event_id: [u8; 16],
    /// Counts the session's records, so that a gap shows.
    pub backend_seq: u64,
    pub origin: SharedOrigin,
    /// 64-bit transaction id, 0 when none is assigned.
    pub transaction_id: u64,
    /// Microseconds since the Unix epoch.
    pub started_at: i64,
    pub nesting_level: u32,
    pub command_tag: Option<Cow<'static, str>>,
    pub query_id: i64,
    /// Redacted; `None` when it could not be.
    pub statement: Option<Rc<str>>,
    pub statement_sha256: [u8; 32],
    pub objects: Rc<Objects>,
    pub verdict: Verdict,
    pub rule: Option<String>,
    pub object: Option<String>,
    pub agent: Option<String>,
    pub conversation: Option<String>,
    pub trace_id: Option<String>,
    pub policy_version: i64,
}

/// What is known when it has ended. The optional fields replace those of [`Start`].
#[derive(Debug, Clone, PartialEq, Default)]
pub struct End {
    pub event_id: [u8; 16],
    /// Microseconds.
    pub duration: u64,
    pub rows_returned: u64,
    pub rows_processed: u64,
    pub bytes_returned: u64,
    pub truncated: bool,
    pub outcome: Outcome,
    pub sqlstate: Option<[u8; 5]>,
    /// 0: what the start says.
    pub transaction_id: u64,
    pub command_tag: Option<Cow<'static, str>>,
    pub relations: Option<Vec<String>>,
    pub masked_columns: Option<Vec<String>>,
    pub functions: Option<Vec<String>>,
    pub verdict: Option<Verdict>,
    pub rule: Option<String>,
    pub object: Option<String>,
}

impl Start {
    /// Takes over what `end` learned later.
    pub fn amend(&mut self, end: &mut End) {
        fn take<T>(slot: &mut Option<T>, later: &mut Option<T>) {
            if later.is_some() {
                *slot = later.take();
            }
        }
        if end.transaction_id != 0 {
            self.transaction_id = end.transaction_id;
        }
        take(&mut self.command_tag, &mut end.command_tag);
        take(&mut self.rule, &mut end.rule);
        take(&mut self.object, &mut end.object);
        if let Some(v) = end.relations.take() {
            Rc::make_mut(&mut self.objects).relations = v;
        }
        if let Some(v) = end.masked_columns.take() {
            Rc::make_mut(&mut self.objects).masked_columns = v;
        }
        if let Some(v) = end.functions.take() {
            Rc::make_mut(&mut self.objects).functions = v;
        }
        if let Some(v) = end.verdict.take() {
            self.verdict = v;
        }
    }
}

/// One payload, decoded.
#[derive(Debug, Clone, PartialEq)]
pub enum Record {
    Start(Box<Start>),
    End(Box<End>),
    Whole(Box<Start>, Box<End>),
    /// Somebody read the audit log.
    Read(Box<Start>),
}

/// The record is longer than [`MAX_PAYLOAD`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLong;

/// Appends the frame of a start.
///
/// # Errors
/// [`TooLong`]; `out` is then as it was.
pub fn encode_start(s: &Start, out: &mut Vec<u8>) -> Result<(), TooLong> {
    frame(out, KIND_START, |w| put_start(w, s))
}

/// Appends the frame of an end.
///
/// # Errors
/// [`TooLong`]; `out` is then as it was.
pub fn encode_end(e: &End, out: &mut Vec<u8>) -> Result<(), TooLong> {
    frame(out, KIND_END, |w| put_end(w, e))
}

/// Appends the frame of a statement that is known whole.
///
/// # Errors
/// [`TooLong`]; `out` is then as it was.
pub fn encode_whole(s: &Start, e: &End, out: &mut Vec<u8>) -> Result<(), TooLong> {
    frame(out, KIND_WHOLE, |w| {
        put_start(w, s);
        put_end(w, e);
    })
}

/// Appends the frame of a statement that reads the audit log.
///
/// # Errors
/// [`TooLong`]; `out` is then as it was.
pub fn encode_read(s: &Start, out: &mut Vec<u8>) -> Result<(), TooLong> {
    frame(out, KIND_READ, |w| put_start(w, s))
}

fn frame(out: &mut Vec<u8>, kind: u8, put: impl FnOnce(&mut Vec<u8>)) -> Result<(), TooLong> {
    let at = out.len();
    out.extend_from_slice(&[0; FRAME_HEADER]);
    out.push(VERSION);
    out.push(kind);
    put(out);
    let payload = out.get(at + FRAME_HEADER..).unwrap_or_default();
    let (len, crc) = (payload.len(), crc32c::crc32c(payload));
    let length = match u32::try_from(len) {
        Ok(length) if len <= MAX_PAYLOAD => length,
        _ => {
            out.truncate(at);
            return Err(TooLong);
        }
    };
    if let Some(header) = out.get_mut(at..at + FRAME_HEADER) {
        let (l, c) = header.split_at_mut(4);
        l.copy_from_slice(&length.to_le_bytes());
        c.copy_from_slice(&crc.to_le_bytes());
    }
    Ok(())
}

/// What stands at the beginning of a piece of a spool file.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A whole frame: its payload and its length with the header.
    Whole(&'a [u8], usize),
    /// Not enough bytes yet; the number it takes, as far as it is known.
    Partial(usize),
    /// Bytes that no writer wrote, or not to the end.
    Corrupt,
}

/// Looks at the first frame of `buf`.
#[must_use]
pub fn first_frame(buf: &[u8]) -> Frame<'_> {
    let Some((length, rest)) = buf.split_first_chunk::<4>() else {
        return Frame::Partial(FRAME_HEADER);
    };
    let Some((crc, rest)) = rest.split_first_chunk::<4>() else {
        return Frame::Partial(FRAME_HEADER);
    };
    let length = u32::from_le_bytes(*length) as usize;
    if !(2..=MAX_PAYLOAD).contains(&length) {
        return Frame::Corrupt;
    }
    match rest.get(..length) {
        None => Frame::Partial(FRAME_HEADER + length),
        Some(payload) if crc32c::crc32c(payload) == u32::from_le_bytes(*crc) => {
            Frame::Whole(payload, FRAME_HEADER + length)
        }
        Some(_) => Frame::Corrupt,
    }
}

/// Decodes a payload; `None` when it is not of this version or not well formed.
#[must_use]
pub fn decode(payload: &[u8]) -> Option<Record> {
    Decoder::default().decode(payload)
}

/// Decodes payloads of one session: what a record has in common with the one before, it shares with it.
#[derive(Debug, Default)]
pub struct Decoder {
    origin: Last<SharedOrigin>,
    statement: Last<Option<Rc<str>>>,
    objects: Last<Rc<Objects>>,
}

/// A part of the record before: how it was encoded, and what it was.
type Last<T> = Option<(Vec<u8>, T)>;

impl Decoder {
    /// Decodes a payload; `None` when it is not of this version or not well formed.
    #[must_use]
    pub fn decode(&mut self, payload: &[u8]) -> Option<Record> {
        let ([version, kind], rest) = payload.split_first_chunk::<2>()?;
        if *version != VERSION {
            return None;
        }
        let mut r = Reader(rest);
        let record = match *kind {
            KIND_START => Record::Start(Box::new(self.start(&mut r)?)),
            KIND_END => Record::End(Box::new(get_end(&mut r)?)),
            KIND_READ => Record::Read(Box::new(self.start(&mut r)?)),
            KIND_WHOLE => {
                let start = Box::new(self.start(&mut r)?);
                Record::Whole(start, Box::new(get_end(&mut r)?))
            }
            _ => return None,
        };
        r.0.is_empty().then_some(record)
    }

    fn start(&mut self, r: &mut Reader<'_>) -> Option<Start> {
        Some(Start {
            event_id: r.array()?,
            backend_seq: r.u64()?,
            origin: r.same_as(&mut self.origin, |r| get_origin(r).map(Into::into))?,
            transaction_id: r.u64()?,
            started_at: r.i64()?,
            nesting_level: u32::try_from(r.u64()?).ok()?,
            command_tag: r.tag()?,
            query_id: r.i64()?,
            statement: r.same_as(&mut self.statement, |r| Some(r.opt()?.map(Rc::from)))?,
            statement_sha256: r.array()?,
            objects: r.same_as(&mut self.objects, |r| get_objects(r).map(Rc::new))?,
            verdict: Verdict::from_u8(r.u8()?)?,
            rule: r.opt()?,
            object: r.opt()?,
            agent: r.opt()?,
            conversation: r.opt()?,
            trace_id: r.opt()?,
            policy_version: r.i64()?,
        })
    }
}

/// Text of any encoding as UTF-8 without NUL. Text that is valid stays as it is; in other text
/// each byte that does not fit becomes `\xHH` and a backslash is doubled.
#[must_use]
pub fn to_text(bytes: &[u8]) -> String {
    use std::fmt::Write;
    match std::str::from_utf8(bytes) {
        Ok(s) if !bytes.contains(&0) => return s.to_owned(),
        _ => {}
    }
    let mut out = String::with_capacity(bytes.len() + 16);
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\0' => out.push_str("\\x00"),
                '\\' => out.push_str("\\\\"),
                c => out.push(c),
            }
        }
        for b in chunk.invalid() {
            let _ = write!(out, "\\x{b:02X}");
        }
    }
    out
}

fn put_u64(w: &mut Vec<u8>, mut v: u64) {
    while v >= 0x80 {
        w.push(v as u8 | 0x80);
        v >>= 7;
    }
    w.push(v as u8);
}

fn put_i64(w: &mut Vec<u8>, v: i64) {
    put_u64(w, ((v << 1) ^ (v >> 63)) as u64);
}

fn put_str(w: &mut Vec<u8>, s: &str) {
    put_u64(w, s.len() as u64);
    w.extend_from_slice(s.as_bytes());
}

fn put_opt(w: &mut Vec<u8>, s: Option<&str>) {
    match s {
        None => w.push(0),
        Some(s) => {
            w.push(1);
            put_str(w, s);
        }
    }
}

fn put_list(w: &mut Vec<u8>, list: &[String]) {
    put_u64(w, list.len() as u64);
    for s in list {
        put_str(w, s);
    }
}

fn put_opt_list(w: &mut Vec<u8>, list: Option<&[String]>) {
    match list {
        None => w.push(0),
        Some(list) => {
            w.push(1);
            put_list(w, list);
        }
    }
}

fn put_origin(w: &mut Vec<u8>, s: &Origin) {
    put_opt(w, s.user_email.as_deref());
    put_str(w, &s.assurance);
    put_str(w, &s.role_name);
    put_str(w, &s.session_user_name);
    put_str(w, &s.database_name);
    put_str(w, &s.application_name);
    match s.client_addr {
        None => w.push(0),
        Some(IpAddr::V4(a)) => {
            w.push(4);
            w.extend_from_slice(&a.octets());
        }
        Some(IpAddr::V6(a)) => {
            w.push(6);
            w.extend_from_slice(&a.octets());
        }
    }
    put_i64(w, s.backend_pid.into());
    put_str(w, &s.session_id);
}

fn put_start(w: &mut Vec<u8>, s: &Start) {
    w.extend_from_slice(&s.event_id);
    put_u64(w, s.backend_seq);
    w.extend_from_slice(s.origin.encoded());
    put_u64(w, s.transaction_id);
    put_i64(w, s.started_at);
    put_u64(w, s.nesting_level.into());
    put_opt(w, s.command_tag.as_deref());
    put_i64(w, s.query_id);
    put_opt(w, s.statement.as_deref());
    w.extend_from_slice(&s.statement_sha256);
    put_list(w, &s.objects.relations);
    put_list(w, &s.objects.masked_columns);
    put_list(w, &s.objects.functions);
    w.push(s.verdict as u8);
    put_opt(w, s.rule.as_deref());
    put_opt(w, s.object.as_deref());
    put_opt(w, s.agent.as_deref());
    put_opt(w, s.conversation.as_deref());
    put_opt(w, s.trace_id.as_deref());
    put_i64(w, s.policy_version);
}

fn put_end(w: &mut Vec<u8>, e: &End) {
    w.extend_from_slice(&e.event_id);
    put_u64(w, e.duration);
    put_u64(w, e.rows_returned);
    put_u64(w, e.rows_processed);
    put_u64(w, e.bytes_returned);
    w.push(e.truncated.into());
    w.push(e.outcome as u8);
    match e.sqlstate {
        None => w.push(0),
        Some(code) => {
            w.push(1);
            w.extend_from_slice(&code);
        }
    }
    put_u64(w, e.transaction_id);
    put_opt(w, e.command_tag.as_deref());
    put_opt_list(w, e.relations.as_deref());
    put_opt_list(w, e.masked_columns.as_deref());
    put_opt_list(w, e.functions.as_deref());
    w.push(e.verdict.map_or(0, |v| v as u8 + 1));
    put_opt(w, e.rule.as_deref());
    put_opt(w, e.object.as_deref());
}

/// What is left of a payload; every method gives `None` at its end.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(n)?;
        self.0 = tail;
        Some(head)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, tail) = self.0.split_first_chunk::<N>()?;
        self.0 = tail;
        Some(*head)
    }

    fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[b]| b)
    }

    fn bool(&mut self) -> Option<bool> {
        match self.u8()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    fn u64(&mut self) -> Option<u64> {
        let mut v = 0_u64;
        for shift in (0..64).step_by(7) {
            let b = self.u8()?;
            v |= u64::from(b & 0x7f) << shift;
            if b & 0x80 == 0 {
                return Some(v);
            }
        }
        None
    }

    fn i64(&mut self) -> Option<i64> {
        self.u64().map(|v| (v >> 1) as i64 ^ -((v & 1) as i64))
    }

    fn string(&mut self) -> Option<String> {
        let n = usize::try_from(self.u64()?).ok()?;
        let s = std::str::from_utf8(self.bytes(n)?).ok()?;
        Some(if s.contains('\0') {
            s.replace('\0', "\\x00")
        } else {
            s.to_owned()
        })
    }

    fn opt(&mut self) -> Option<Option<String>> {
        if self.bool()? {
            self.string().map(Some)
        } else {
            Some(None)
        }
    }

    fn tag(&mut self) -> Option<Option<Cow<'static, str>>> {
        const USUAL: [&str; 4] = ["SELECT", "INSERT", "UPDATE", "DELETE"];
        let before = self.0;
        if self.bool()? {
            let n = usize::try_from(self.u64()?).ok()?;
            let tag = self.bytes(n)?;
            if let Some(known) = USUAL.iter().find(|t| t.as_bytes() == tag) {
                return Some(Some(Cow::Borrowed(known)));
            }
        }
        self.0 = before;
        Some(self.opt()?.map(Cow::Owned))
    }

    /// What is encoded as it was the last time is what it was then: no encoding begins with another one.
    fn same_as<T: Clone>(
        &mut self,
        last: &mut Last<T>,
        get: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Option<T> {
        if let Some((bytes, value)) = last
            && let Some(rest) = self.0.strip_prefix(bytes.as_slice())
        {
            self.0 = rest;
            return Some(value.clone());
        }
        let before = self.0;
        let value = get(self)?;
        let taken = before.len() - self.0.len();
        let mut bytes = last.take().map_or_else(Vec::new, |(bytes, _)| bytes);
        bytes.clear();
        bytes.extend_from_slice(before.get(..taken)?);
        *last = Some((bytes, value.clone()));
        Some(value)
    }

    fn list(&mut self) -> Option<Vec<String>> {
        let n = usize::try_from(self.u64()?).ok()?;
        // Each entry takes a byte at least, so a false length cannot make it allocate much.
        if n > self.0.len() {
            return None;
        }
        (0..n).map(|_| self.string()).collect()
    }

    fn opt_list(&mut self) -> Option<Option<Vec<String>>> {
        if self.bool()? {
            self.list().map(Some)
        } else {
            Some(None)
        }
    }
}

fn get_origin(r: &mut Reader<'_>) -> Option<Origin> {
    Some(Origin {
        user_email: r.opt()?,
        assurance: r.string()?.into(),
        role_name: r.string()?,
        session_user_name: r.string()?,
        database_name: r.string()?,
        application_name: r.string()?,
        client_addr: match r.u8()? {
            0 => None,
            4 => Some(IpAddr::V4(Ipv4Addr::from(r.array::<4>()?))),
            6 => Some(IpAddr::V6(Ipv6Addr::from(r.array::<16>()?))),
            _ => return None,
        },
        backend_pid: i32::try_from(r.i64()?).ok()?,
        session_id: r.string()?,
    })
}

fn get_objects(r: &mut Reader<'_>) -> Option<Objects> {
    Some(Objects {
        relations: r.list()?,
        masked_columns: r.list()?,
        functions: r.list()?,
    })
}

fn get_end(r: &mut Reader<'_>) -> Option<End> {
    Some(End {
        event_id: r.array()?,
        duration: r.u64()?,
        rows_returned: r.u64()?,
        rows_processed: r.u64()?,
        bytes_returned: r.u64()?,
        truncated: r.bool()?,
        outcome: Outcome::from_u8(r.u8()?)?,
        sqlstate: if r.bool()? { Some(r.array()?) } else { None },
        transaction_id: r.u64()?,
        command_tag: r.tag()?,
        relations: r.opt_list()?,
        masked_columns: r.opt_list()?,
        functions: r.opt_list()?,
        verdict: match r.u8()? {
            0 => None,
            v => Some(Verdict::from_u8(v - 1)?),
        },
        rule: r.opt()?,
        object: r.opt()?,
    })
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;

//! A small client for the frontend/backend protocol, version 3.
//!
//! libpq hides what these tests are about: Execute with a row limit, Describe without Execute, the fast path, and
//! above all the bytes themselves. [`Wire::received`] keeps everything the server ever sent.

use std::collections::HashMap;
use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

/// How long the server may be silent before a test gives up on it.
const SILENCE: Duration = Duration::from_secs(90);

/// An ErrorResponse or a NoticeResponse, field by field.
#[derive(Clone, Debug, Default)]
pub struct SqlError {
    pub severity: String,
    pub code: String,
    pub message: String,
    pub detail: String,
    pub hint: String,
    pub context: String,
}

impl SqlError {
    pub(crate) fn parse(body: &[u8]) -> Self {
        let mut error = Self::default();
        for field in body.split(|b| *b == 0).filter(|f| !f.is_empty()) {
            let text = String::from_utf8_lossy(&field[1..]).into_owned();
            match field[0] {
                b'V' => error.severity = text,
                b'C' => error.code = text,
                b'M' => error.message = text,
                b'D' => error.detail = text,
                b'H' => error.hint = text,
                b'W' => error.context = text,
                _ => {}
            }
        }
        error
    }

    /// What the harness itself says when there is no server to say it.
    pub(crate) fn local(code: &str, message: impl Into<String>) -> Self {
        Self {
            severity: "LOCAL".into(),
            code: code.into(),
            message: message.into(),
            ..Self::default()
        }
    }

    /// The DETAIL as JSON; `Value::Null` where it is none.
    pub fn detail_json(&self) -> Value {
        serde_json::from_str(&self.detail).unwrap_or(Value::Null)
    }

    /// The rule named by a denial.
    pub fn rule(&self) -> String {
        self.detail_json()["rule"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }
}

impl fmt::Display for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.severity, self.code, self.message)?;
        if !self.detail.is_empty() {
            write!(f, " | DETAIL {}", self.detail)?;
        }
        if !self.hint.is_empty() {
            write!(f, " | HINT {}", self.hint)?;
        }
        Ok(())
    }
}

/// One row: raw bytes a column, None for NULL.
pub type Row = Vec<Option<Vec<u8>>>;

/// All that came back up to ReadyForQuery (or to the end of the connection).
#[derive(Clone, Debug, Default)]
pub struct Answer {
    pub columns: Vec<String>,
    pub rows: Vec<Row>,
    pub tags: Vec<String>,
    pub errors: Vec<SqlError>,
    pub notices: Vec<SqlError>,
    pub notifications: Vec<String>,
    /// COPY … TO STDOUT
    pub copied: Vec<u8>,
    pub suspended: bool,
    /// The server ended the connection.
    pub closed: bool,
    /// Every byte of this answer.
    pub bytes: Vec<u8>,
}

impl Answer {
    /// SQLSTATE of the first error, or nothing.
    pub fn code(&self) -> &str {
        self.errors.first().map_or("", |error| &error.code)
    }

    /// The answer, if no error is in it.
    #[track_caller]
    pub fn ok(self) -> Self {
        if let Some(error) = self.errors.first() {
            panic!("unexpected error: {error}");
        }
        assert!(!self.closed, "the server closed the connection");
        self
    }

    /// The first error.
    #[track_caller]
    pub fn err(&self) -> SqlError {
        match self.errors.first() {
            Some(error) => error.clone(),
            None => panic!(
                "no error, but {} rows: {:?}, tags {:?}",
                self.rows.len(),
                self.texts().first(),
                self.tags
            ),
        }
    }

    /// The value as text; NULL is "∅".
    #[track_caller]
    pub fn text(&self, row: usize, column: usize) -> String {
        show(&self.rows[row][column])
    }

    /// The only value of the only row.
    #[track_caller]
    pub fn one(&self) -> String {
        assert!(
            self.errors.is_empty(),
            "unexpected error: {}",
            self.errors[0]
        );
        assert_eq!(self.rows.len(), 1, "one row expected");
        self.text(0, 0)
    }

    pub fn texts(&self) -> Vec<Vec<String>> {
        self.rows
            .iter()
            .map(|row| row.iter().map(show).collect())
            .collect()
    }

    /// First column of every row.
    pub fn column(&self) -> Vec<String> {
        self.rows.iter().map(|row| show(&row[0])).collect()
    }

    /// Does the text occur in any byte of the answer?
    pub fn shows(&self, text: &str) -> bool {
        contains(&self.bytes, text.as_bytes())
    }

    pub fn warned(&self, text: &str) -> bool {
        self.notices
            .iter()
            .any(|n| n.severity == "WARNING" && n.message.contains(text))
    }
}

fn show(value: &Option<Vec<u8>>) -> String {
    match value {
        Some(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        None => "∅".into(),
    }
}

pub fn contains(hay: &[u8], needle: &[u8]) -> bool {
    !needle.is_empty() && hay.windows(needle.len()).any(|window| window == needle)
}

/// One connection.
pub struct Wire {
    stream: UnixStream,
    unread: Vec<u8>,
    out: Vec<u8>,
    socket: std::path::PathBuf,
    pub pid: i32,
    secret: i32,
    pub parameters: HashMap<String, String>,
    /// All bytes the server sent since the connection began.
    pub received: Vec<u8>,
    /// What COPY … FROM STDIN is fed with.
    pub copy_in: Vec<u8>,
    /// ReadyForQuery's transaction status.
    pub status: u8,
    /// A Sync sent while the server was in COPY IN is ignored by it and has to be repeated.
    synced: bool,
}

impl Wire {
    /// `parameters`: start-up packet beyond user and database.
    pub fn connect(
        socket: &Path,
        user: &str,
        database: &str,
        parameters: &[(&str, &str)],
    ) -> Result<Self, SqlError> {
        let stream = UnixStream::connect(socket)
            .map_err(|e| SqlError::local("LOCAL", format!("connect: {e}")))?;
        stream
            .set_read_timeout(Some(SILENCE))
            .expect("a socket takes a timeout");
        let mut wire = Self {
            stream,
            unread: Vec::new(),
            out: Vec::new(),
            socket: socket.to_owned(),
            pid: 0,
            secret: 0,
            parameters: HashMap::new(),
            received: Vec::new(),
            copy_in: Vec::new(),
            status: 0,
            synced: false,
        };
        let mut body = 196_608_i32.to_be_bytes().to_vec();
        for (name, value) in [("user", user), ("database", database)]
            .iter()
            .chain(parameters)
        {
            put_text(&mut body, name.as_bytes());
            put_text(&mut body, value.as_bytes());
        }
        body.push(0);
        let mut packet = (body.len() as i32 + 4).to_be_bytes().to_vec();
        packet.extend(body);
        wire.out = packet;
        wire.flush();
        let answer = wire.collect();
        match answer.errors.into_iter().next() {
            Some(error) => Err(error),
            None if answer.closed => Err(SqlError::local(
                "CLOSED",
                "the server closed the connection at start-up",
            )),
            None => Ok(wire),
        }
    }

    /// A message of any kind, to be sent with the next [`flush`](Self::flush).
    pub fn put(&mut self, kind: u8, body: &[u8]) {
        self.out.push(kind);
        self.out.extend((body.len() as i32 + 4).to_be_bytes());
        self.out.extend(body);
    }

    pub fn flush(&mut self) {
        let out = std::mem::take(&mut self.out);
        // A server that hung up says so when we read.
        let _ = self.stream.write_all(&out);
    }

    /// A simple Query message.
    pub fn simple(&mut self, sql: &str) -> Answer {
        self.simple_bytes(sql.as_bytes())
    }

    pub fn simple_bytes(&mut self, sql: &[u8]) -> Answer {
        let mut body = Vec::with_capacity(sql.len() + 1);
        put_text(&mut body, sql);
        self.put(b'Q', &body);
        self.flush();
        self.collect()
    }

    /// Must succeed.
    #[track_caller]
    pub fn query(&mut self, sql: &str) -> Answer {
        let answer = self.simple(sql);
        if let Some(error) = answer.errors.first() {
            panic!("{error}\n  in: {}", clip(sql));
        }
        assert!(
            !answer.closed,
            "the server closed the connection in: {}",
            clip(sql)
        );
        answer
    }

    /// The only value; must succeed.
    #[track_caller]
    pub fn value(&mut self, sql: &str) -> String {
        let answer = self.query(sql);
        assert_eq!(answer.rows.len(), 1, "one row expected from: {sql}");
        answer.text(0, 0)
    }

    /// Must fail.
    #[track_caller]
    pub fn error(&mut self, sql: &str) -> SqlError {
        let answer = self.simple(sql);
        match answer.errors.first() {
            Some(error) => error.clone(),
            None => panic!(
                "no error from: {}\n  rows {:?} tags {:?}",
                clip(sql),
                answer.texts().first(),
                answer.tags
            ),
        }
    }

    pub fn parse(&mut self, statement: &str, sql: &str) -> &mut Self {
        let mut body = Vec::new();
        put_text(&mut body, statement.as_bytes());
        put_text(&mut body, sql.as_bytes());
        body.extend(0_i16.to_be_bytes());
        self.put(b'P', &body);
        self
    }

    /// `binary`: result format.
    pub fn bind(
        &mut self,
        portal: &str,
        statement: &str,
        values: &[Option<&str>],
        binary: bool,
    ) -> &mut Self {
        let mut body = Vec::new();
        put_text(&mut body, portal.as_bytes());
        put_text(&mut body, statement.as_bytes());
        body.extend(0_i16.to_be_bytes());
        body.extend((values.len() as i16).to_be_bytes());
        for value in values {
            match value {
                Some(text) => {
                    body.extend((text.len() as i32).to_be_bytes());
                    body.extend(text.as_bytes());
                }
                None => body.extend((-1_i32).to_be_bytes()),
            }
        }
        body.extend(1_i16.to_be_bytes());
        body.extend(i16::from(binary).to_be_bytes());
        self.put(b'B', &body);
        self
    }

    /// `kind`: b'S' statement, b'P' portal.
    pub fn describe(&mut self, kind: u8, name: &str) -> &mut Self {
        let mut body = vec![kind];
        put_text(&mut body, name.as_bytes());
        self.put(b'D', &body);
        self
    }

    /// `limit` 0: all rows.
    pub fn execute(&mut self, portal: &str, limit: i32) -> &mut Self {
        let mut body = Vec::new();
        put_text(&mut body, portal.as_bytes());
        body.extend(limit.to_be_bytes());
        self.put(b'E', &body);
        self
    }

    pub fn sync(&mut self) -> Answer {
        self.put(b'S', &[]);
        self.flush();
        self.synced = true;
        let answer = self.collect();
        self.synced = false;
        answer
    }

    /// Parse, Bind, Describe, Execute, Sync with text parameters.
    pub fn extended(&mut self, sql: &str, values: &[Option<&str>]) -> Answer {
        self.parse("", sql)
            .bind("", "", values, false)
            .describe(b'P', "")
            .execute("", 0)
            .sync()
    }

    /// Execute a named statement.
    pub fn run(&mut self, statement: &str, values: &[Option<&str>]) -> Answer {
        self.bind("", statement, values, false)
            .describe(b'P', "")
            .execute("", 0)
            .sync()
    }

    /// FunctionCall, the fast path: arguments and result as text.
    pub fn fastpath(&mut self, function: u32, values: &[&str]) -> Answer {
        let mut body = function.to_be_bytes().to_vec();
        body.extend(0_i16.to_be_bytes());
        body.extend((values.len() as i16).to_be_bytes());
        for value in values {
            body.extend((value.len() as i32).to_be_bytes());
            body.extend(value.as_bytes());
        }
        body.extend(0_i16.to_be_bytes());
        self.put(b'F', &body);
        self.flush();
        self.collect()
    }

    /// Sends without waiting for an answer; [`collect`](Self::collect) reads it.
    pub fn send(&mut self, sql: &str) {
        let mut body = Vec::new();
        put_text(&mut body, sql.as_bytes());
        self.put(b'Q', &body);
        self.flush();
    }

    /// A CancelRequest for this connection.
    pub fn cancel(&self) {
        let mut packet = 16_i32.to_be_bytes().to_vec();
        packet.extend(80_877_102_i32.to_be_bytes());
        packet.extend(self.pid.to_be_bytes());
        packet.extend(self.secret.to_be_bytes());
        if let Ok(mut stream) = UnixStream::connect(&self.socket) {
            let _ = stream.write_all(&packet);
            let _ = stream.read(&mut [0]);
        }
    }

    pub fn set_patience(&mut self, patience: Duration) {
        self.stream
            .set_read_timeout(Some(patience))
            .expect("a socket takes a timeout");
    }

    /// Reads up to ReadyForQuery. Silence gives an error with code SILENT, a lost connection sets `closed`.
    pub fn collect(&mut self) -> Answer {
        let mut answer = Answer::default();
        loop {
            let (kind, body) = match self.message() {
                Ok(Some(message)) => message,
                Ok(None) => {
                    answer.closed = true;
                    return answer;
                }
                Err(e) => {
                    answer
                        .errors
                        .push(SqlError::local("SILENT", format!("no answer: {e}")));
                    answer.closed = true;
                    return answer;
                }
            };
            answer.bytes.push(kind);
            answer.bytes.extend(&body);
            match kind {
                b'Z' => {
                    self.status = body[0];
                    return answer;
                }
                b'E' => answer.errors.push(SqlError::parse(&body)),
                b'N' => answer.notices.push(SqlError::parse(&body)),
                b'T' => answer.columns = columns(&body),
                b'D' => answer.rows.push(row(&body)),
                b'C' => answer.tags.push(text(&body)),
                b's' => answer.suspended = true,
                b'd' => answer.copied.extend(&body),
                b'A' => answer
                    .notifications
                    .push(String::from_utf8_lossy(&body[4..]).into_owned()),
                b'G' => {
                    let data = std::mem::take(&mut self.copy_in);
                    if !data.is_empty() {
                        self.put(b'd', &data);
                    }
                    self.put(b'c', &[]);
                    if self.synced {
                        self.put(b'S', &[]);
                    }
                    self.flush();
                }
                b'S' => {
                    let mut parts = body
                        .split(|b| *b == 0)
                        .map(|p| String::from_utf8_lossy(p).into_owned());
                    if let (Some(name), Some(value)) = (parts.next(), parts.next()) {
                        self.parameters.insert(name, value);
                    }
                }
                b'K' => {
                    self.pid = i32::from_be_bytes(body[..4].try_into().expect("four bytes"));
                    self.secret = i32::from_be_bytes(body[4..8].try_into().expect("four bytes"));
                }
                _ => {}
            }
        }
    }

    /// Waits until that much of the answer is here; [`collect`](Self::collect) then takes it from the beginning.
    pub fn wait_for_bytes(&mut self, count: usize) {
        let mut chunk = [0_u8; 65_536];
        while self.unread.len() < count {
            let n = self.stream.read(&mut chunk).expect("the server answers");
            assert!(n > 0, "the server closed the connection");
            self.unread.extend(&chunk[..n]);
            self.received.extend(&chunk[..n]);
        }
    }

    fn message(&mut self) -> Result<Option<(u8, Vec<u8>)>, std::io::Error> {
        let mut chunk = [0_u8; 65_536];
        loop {
            if self.unread.len() >= 5 {
                let length =
                    u32::from_be_bytes(self.unread[1..5].try_into().expect("four bytes")) as usize;
                if self.unread.len() > length {
                    let kind = self.unread[0];
                    let body = self.unread[5..=length].to_vec();
                    self.unread.drain(..=length);
                    return Ok(Some((kind, body)));
                }
            }
            match self.stream.read(&mut chunk) {
                Ok(0) => return Ok(None),
                Ok(n) => {
                    self.unread.extend(&chunk[..n]);
                    self.received.extend(&chunk[..n]);
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e)
                    if matches!(e.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) =>
                {
                    return Ok(None);
                }
                // A child of the test has ended; with a timeout set, that interrupts.
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        let _ = self.stream.write_all(&[b'X', 0, 0, 0, 4]);
    }
}

fn put_text(body: &mut Vec<u8>, text: &[u8]) {
    body.extend(text);
    body.push(0);
}

fn text(body: &[u8]) -> String {
    String::from_utf8_lossy(body.strip_suffix(&[0]).unwrap_or(body)).into_owned()
}

fn columns(body: &[u8]) -> Vec<String> {
    let count = u16::from_be_bytes([body[0], body[1]]);
    let mut at = 2;
    (0..count)
        .map(|_| {
            let end = at
                + body[at..]
                    .iter()
                    .position(|b| *b == 0)
                    .expect("a terminated name");
            let name = String::from_utf8_lossy(&body[at..end]).into_owned();
            at = end + 19;
            name
        })
        .collect()
}

pub(crate) fn row(body: &[u8]) -> Row {
    let count = u16::from_be_bytes([body[0], body[1]]);
    let mut at = 2;
    (0..count)
        .map(|_| {
            let length = i32::from_be_bytes(body[at..at + 4].try_into().expect("four bytes"));
            at += 4;
            let value = usize::try_from(length)
                .ok()
                .map(|n| body[at..at + n].to_vec());
            at += value.as_ref().map_or(0, Vec::len);
            value
        })
        .collect()
}

/// Long statements shortened for messages.
pub fn clip(sql: &str) -> String {
    sql.chars().take(300).collect()
}

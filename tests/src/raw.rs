//! Messages as bytes, in any order, well-formed or not: what no driver would send.
//!
//! The functions of [`msg`] build messages; a [`Raw`] connection sends whatever they are put together to and reads
//! message by message, so that a test can stop in the middle of everything.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::wire::{Row, SqlError, row};

/// Builders of single messages.
pub mod msg {
    /// Any message: its kind, its length, its body.
    pub fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
        let mut message = vec![kind];
        message.extend((body.len() as i32 + 4).to_be_bytes());
        message.extend(body);
        message
    }

    /// A packet without a kind, as they come before the login.
    pub fn packet(body: &[u8]) -> Vec<u8> {
        let mut packet = (body.len() as i32 + 4).to_be_bytes().to_vec();
        packet.extend(body);
        packet
    }

    fn text(body: &mut Vec<u8>, text: &[u8]) {
        body.extend(text);
        body.push(0);
    }

    /// `version`: 196608 is 3.0, 196610 is 3.2.
    pub fn startup(version: i32, parameters: &[(&[u8], &[u8])]) -> Vec<u8> {
        let mut body = version.to_be_bytes().to_vec();
        for (name, value) in parameters {
            text(&mut body, name);
            text(&mut body, value);
        }
        body.push(0);
        packet(&body)
    }

    pub fn cancel(pid: i32, key: &[u8]) -> Vec<u8> {
        let mut body = 80_877_102_i32.to_be_bytes().to_vec();
        body.extend(pid.to_be_bytes());
        body.extend(key);
        packet(&body)
    }

    pub fn query(sql: impl AsRef<[u8]>) -> Vec<u8> {
        let mut body = Vec::new();
        text(&mut body, sql.as_ref());
        frame(b'Q', &body)
    }

    pub fn parse(statement: &str, sql: impl AsRef<[u8]>, types: &[u32]) -> Vec<u8> {
        let mut body = Vec::new();
        text(&mut body, statement.as_bytes());
        text(&mut body, sql.as_ref());
        body.extend((types.len() as u16).to_be_bytes());
        for oid in types {
            body.extend(oid.to_be_bytes());
        }
        frame(b'P', &body)
    }

    /// What a Bind or a FunctionCall has in common.
    fn values(body: &mut Vec<u8>, formats: &[i16], values: &[Option<&[u8]>]) {
        body.extend((formats.len() as u16).to_be_bytes());
        for format in formats {
            body.extend(format.to_be_bytes());
        }
        body.extend((values.len() as u16).to_be_bytes());
        for value in values {
            match value {
                Some(bytes) => {
                    body.extend((bytes.len() as i32).to_be_bytes());
                    body.extend(*bytes);
                }
                None => body.extend((-1_i32).to_be_bytes()),
            }
        }
    }

    /// All in text.
    pub fn bind(portal: &str, statement: &str, values: &[&str]) -> Vec<u8> {
        let values: Vec<_> = values.iter().map(|v| Some(v.as_bytes())).collect();
        bind_as(portal, statement, &[], &values, &[])
    }

    /// `formats` of the parameters, `results` of the columns: none, one for all, or one each.
    pub fn bind_as(
        portal: &str,
        statement: &str,
        formats: &[i16],
        parameters: &[Option<&[u8]>],
        results: &[i16],
    ) -> Vec<u8> {
        let mut body = Vec::new();
        text(&mut body, portal.as_bytes());
        text(&mut body, statement.as_bytes());
        values(&mut body, formats, parameters);
        body.extend((results.len() as u16).to_be_bytes());
        for format in results {
            body.extend(format.to_be_bytes());
        }
        frame(b'B', &body)
    }

    /// `kind`: b'S' statement, b'P' portal.
    pub fn describe(kind: u8, name: &str) -> Vec<u8> {
        let mut body = vec![kind];
        text(&mut body, name.as_bytes());
        frame(b'D', &body)
    }

    pub fn close(kind: u8, name: &str) -> Vec<u8> {
        let mut body = vec![kind];
        text(&mut body, name.as_bytes());
        frame(b'C', &body)
    }

    /// `limit` 0: all rows.
    pub fn execute(portal: &str, limit: i32) -> Vec<u8> {
        let mut body = Vec::new();
        text(&mut body, portal.as_bytes());
        body.extend(limit.to_be_bytes());
        frame(b'E', &body)
    }

    pub fn sync() -> Vec<u8> {
        frame(b'S', &[])
    }

    pub fn flush() -> Vec<u8> {
        frame(b'H', &[])
    }

    pub fn terminate() -> Vec<u8> {
        frame(b'X', &[])
    }

    /// The fast path. `formats` of the arguments: none, one for all, or one each.
    pub fn call(
        function: u32,
        formats: &[i16],
        arguments: &[Option<&[u8]>],
        result: i16,
    ) -> Vec<u8> {
        let mut body = function.to_be_bytes().to_vec();
        values(&mut body, formats, arguments);
        body.extend(result.to_be_bytes());
        frame(b'F', &body)
    }

    pub fn copy_data(data: &[u8]) -> Vec<u8> {
        frame(b'd', data)
    }

    pub fn copy_done() -> Vec<u8> {
        frame(b'c', &[])
    }

    pub fn copy_fail(why: &str) -> Vec<u8> {
        let mut body = Vec::new();
        text(&mut body, why.as_bytes());
        frame(b'f', &body)
    }

    /// Parse, Bind, Describe, Execute and Sync of the unnamed statement.
    pub fn extended(sql: &str) -> Vec<u8> {
        [
            parse("", sql, &[]),
            bind("", "", &[]),
            describe(b'P', ""),
            execute("", 0),
            sync(),
        ]
        .concat()
    }
}

#[derive(Clone, Debug)]
pub struct Message {
    pub kind: u8,
    pub body: Vec<u8>,
}

/// How reading ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// What was waited for came.
    Found,
    /// The server hung up.
    Closed,
    /// Nothing came in time.
    Silent,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Reply {
    pub messages: Vec<Message>,
    pub end: End,
}

impl Reply {
    /// The kinds of the messages, one character each; ParameterStatus left out.
    pub fn kinds(&self) -> String {
        self.messages
            .iter()
            .map(|m| char::from(m.kind))
            .filter(|kind| *kind != 'S')
            .collect()
    }

    pub fn count(&self, kind: u8) -> usize {
        self.of(kind).count()
    }

    fn of(&self, kind: u8) -> impl Iterator<Item = &Message> {
        self.messages.iter().filter(move |m| m.kind == kind)
    }

    pub fn errors(&self) -> Vec<SqlError> {
        self.of(b'E').map(|m| SqlError::parse(&m.body)).collect()
    }

    pub fn rows(&self) -> Vec<Row> {
        self.of(b'D').map(|m| row(&m.body)).collect()
    }

    /// SQLSTATE of the first error, or "".
    pub fn code(&self) -> String {
        self.errors()
            .first()
            .map(|e| e.code.clone())
            .unwrap_or_default()
    }

    pub fn tags(&self) -> Vec<String> {
        self.of(b'C')
            .map(|m| String::from_utf8_lossy(m.body.strip_suffix(&[0]).unwrap_or(&m.body)).into())
            .collect()
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for message in &self.messages {
            bytes.push(message.kind);
            bytes.extend(&message.body);
        }
        bytes
    }
}

/// A connection that sends bytes.
pub struct Raw {
    stream: UnixStream,
    unread: Vec<u8>,
    socket: PathBuf,
    pub pid: i32,
    /// 4 bytes, and 32 in protocol 3.2.
    pub key: Vec<u8>,
    /// Everything the server sent.
    pub received: Vec<u8>,
    hung_up: bool,
    /// How long the server may take over all that is waited for.
    pub patience: Duration,
}

/// A server that does not read for so long while we write is given up on.
const STALLED: Duration = Duration::from_secs(90);

impl Raw {
    /// A connection on which nothing has been said yet.
    pub fn open(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket).expect("the server listens");
        Self {
            stream,
            unread: Vec::new(),
            socket: socket.to_owned(),
            pid: 0,
            key: Vec::new(),
            received: Vec::new(),
            hung_up: false,
            patience: Duration::from_secs(90),
        }
    }

    /// Protocol 3.0, no password.
    pub fn login(
        socket: &Path,
        user: &str,
        database: &str,
        parameters: &[(&str, &str)],
    ) -> Result<Self, SqlError> {
        let mut all: Vec<(&[u8], &[u8])> = vec![
            (b"user", user.as_bytes()),
            (b"database", database.as_bytes()),
        ];
        all.extend(parameters.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())));
        let mut raw = Self::open(socket);
        let reply = raw.start(&msg::startup(196_608, &all));
        match reply.errors().into_iter().next() {
            Some(error) => Err(error),
            None if reply.end == End::Found => Ok(raw),
            None => Err(SqlError::local("CLOSED", format!("{:?}", reply.end))),
        }
    }

    /// Sends a start-up packet and reads up to ReadyForQuery, or to the end.
    pub fn start(&mut self, packet: &[u8]) -> Reply {
        self.send(packet);
        let reply = self.until(1);
        for message in reply.of(b'K') {
            self.pid = i32::from_be_bytes(message.body[..4].try_into().expect("a pid"));
            self.key = message.body[4..].to_vec();
        }
        reply
    }

    /// Sends; what the server says meanwhile is kept, so that neither waits for the other.
    pub fn send(&mut self, bytes: &[u8]) {
        let turn = Duration::from_millis(20);
        self.stream
            .set_write_timeout(Some(turn))
            .expect("a timeout");
        let mut sent = 0;
        let mut moved = Instant::now();
        while sent < bytes.len() && !self.hung_up {
            match self.stream.write(&bytes[sent..]) {
                Ok(n) => {
                    sent += n;
                    moved = Instant::now();
                }
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    if self.take(Duration::from_millis(1)) {
                        moved = Instant::now();
                    }
                    assert!(moved.elapsed() < STALLED, "the server does not read");
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                // It hung up; what it said before can still be read.
                Err(_) => return,
            }
        }
    }

    /// Reads once; whether something came.
    fn take(&mut self, wait: Duration) -> bool {
        let mut chunk = [0_u8; 65_536];
        self.stream.set_read_timeout(Some(wait)).expect("a timeout");
        match self.stream.read(&mut chunk) {
            Ok(0) => {
                self.hung_up = true;
                false
            }
            Ok(n) => {
                self.unread.extend(&chunk[..n]);
                self.received.extend(&chunk[..n]);
                true
            }
            Err(e)
                if matches!(
                    e.kind(),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                ) =>
            {
                false
            }
            // It has not read all that we sent. What it said before is still to come.
            Err(e) if e.kind() == ErrorKind::ConnectionReset => false,
            Err(_) => {
                self.hung_up = true;
                false
            }
        }
    }

    fn next(&mut self) -> Option<Message> {
        let length = u32::from_be_bytes(self.unread.get(1..5)?.try_into().ok()?) as usize;
        if self.unread.len() <= length {
            return None;
        }
        let message = Message {
            kind: self.unread[0],
            body: self.unread[5..=length].to_vec(),
        };
        self.unread.drain(..=length);
        Some(message)
    }

    /// Reads until `done` says so of a message.
    pub fn read(&mut self, patience: Duration, mut done: impl FnMut(&Message) -> bool) -> Reply {
        let deadline = Instant::now() + patience;
        let mut messages = Vec::new();
        loop {
            while let Some(message) = self.next() {
                let last = done(&message);
                messages.push(message);
                if last {
                    return Reply {
                        messages,
                        end: End::Found,
                    };
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let end = if self.hung_up {
                End::Closed
            } else if left.is_zero() {
                End::Silent
            } else {
                self.take(
                    left.min(Duration::from_secs(1))
                        .max(Duration::from_millis(1)),
                );
                continue;
            };
            return Reply { messages, end };
        }
    }

    /// Reads until the server has been ready for so many queries.
    pub fn until(&mut self, mut ready: usize) -> Reply {
        self.read(self.patience, |m| {
            ready -= usize::from(m.kind == b'Z');
            ready == 0
        })
    }

    /// Sends, and reads until the server has been ready for so many queries.
    pub fn ask(&mut self, bytes: &[u8], ready: usize) -> Reply {
        self.send(bytes);
        self.until(ready)
    }

    /// Sends, says no more, and reads all that the server has to say to it.
    pub fn finish(&mut self, bytes: &[u8]) -> Reply {
        self.send(bytes);
        let _ = self.stream.shutdown(Shutdown::Write);
        self.read(self.patience, |_| false)
    }

    /// The next so many bytes, framed or not.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        let deadline = Instant::now() + self.patience;
        while self.unread.len() < count && !self.hung_up && Instant::now() < deadline {
            self.take(Duration::from_secs(1));
        }
        let count = count.min(self.unread.len());
        self.unread.drain(..count).collect()
    }

    /// A CancelRequest with this key, on a connection of its own.
    pub fn cancel_with(&self, pid: i32, key: &[u8]) {
        let mut other = Self::open(&self.socket);
        other.send(&msg::cancel(pid, key));
        other.read(Duration::from_secs(90), |_| false);
    }

    pub fn cancel(&self) {
        self.cancel_with(self.pid, &self.key);
    }
}

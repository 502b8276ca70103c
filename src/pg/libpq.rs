//! A connection to another server, through the libpq that this server's own replication uses.
//!
//! PostgreSQL loads `libpqwalreceiver` where it needs a client, and with it libpq; so do we, and
//! ask the loader for libpq's functions. Nothing is linked: where no records are shipped, nothing
//! is loaded. Queries are sent and answers read without blocking, and waited for at the process's
//! latch, so that the worker can be ended at any time. What blocks is within libpq's functions for
//! making a connection: the look-up of a host's name (getaddrinfo) above all, for as long as the
//! resolver takes; then files (passfile, service, certificates), and the exchanges of GSSAPI with
//! its servers.

use pgrx::pg_sys;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr::{null, null_mut};
use std::time::{Duration, Instant};

#[repr(C)]
struct ConnInfoOption {
    keyword: *mut c_char,
    envvar: *mut c_char,
    compiled: *mut c_char,
    val: *mut c_char,
    label: *mut c_char,
    dispchar: *mut c_char,
    dispsize: c_int,
}

const CONNECTION_BAD: c_int = 1;
const POLLING_FAILED: c_int = 0;
const POLLING_READING: c_int = 1;
const POLLING_OK: c_int = 3;
const TUPLES_OK: c_int = 2;
/// PGRES_COPY_OUT, PGRES_COPY_IN, PGRES_COPY_BOTH: the same result again and again, until the copy
/// is done.
const COPIES: [c_int; 3] = [3, 4, 8];
const DIAG_MESSAGE: c_int = 'M' as c_int;
const DIAG_HINT: c_int = 'H' as c_int;
const DIAG_SQLSTATE: c_int = 'C' as c_int;
const BYTEA: pg_sys::Oid = pg_sys::Oid::from_u32(17);

macro_rules! functions {
    ($($name:ident($($arg:ty),*) $(-> $ret:ty)?;)*) => {
        #[allow(non_snake_case)]
        #[derive(Clone, Copy)]
        struct Api { $($name: unsafe extern "C" fn($($arg),*) $(-> $ret)?,)* }

        impl Api {
            /// Raises an error when the server has no libpqwalreceiver.
            fn load() -> Self {
                // SAFETY: PostgreSQL's loader gives the address of the function of that name in
                // libpqwalreceiver or in what it is linked with, which is libpq, or raises an
                // error. The types are those of libpq-fe.h, the same since PostgreSQL 9.
                unsafe {
                    Self {
                        $($name: {
                            let address = pg_sys::load_external_function(
                                c"$libdir/libpqwalreceiver".as_ptr(),
                                concat!(stringify!($name), "\0").as_ptr().cast(),
                                true,
                                null_mut(),
                            );
                            std::mem::transmute::<*mut c_void, unsafe extern "C" fn($($arg),*) $(-> $ret)?>(address)
                        },)*
                    }
                }
            }
        }
    };
}

functions! {
    PQconninfoParse(*const c_char, *mut *mut c_char) -> *mut ConnInfoOption;
    PQconninfoFree(*mut ConnInfoOption);
    PQfreemem(*mut c_void);
    PQconnectStartParams(*const *const c_char, *const *const c_char, c_int) -> *mut c_void;
    PQconnectPoll(*mut c_void) -> c_int;
    PQstatus(*const c_void) -> c_int;
    PQsocket(*const c_void) -> c_int;
    PQerrorMessage(*const c_void) -> *const c_char;
    PQfinish(*mut c_void);
    PQsetnonblocking(*mut c_void, c_int) -> c_int;
    PQsendQueryParams(*mut c_void, *const c_char, c_int, *const pg_sys::Oid, *const *const c_char, *const c_int, *const c_int, c_int) -> c_int;
    PQflush(*mut c_void) -> c_int;
    PQconsumeInput(*mut c_void) -> c_int;
    PQisBusy(*mut c_void) -> c_int;
    PQgetResult(*mut c_void) -> *mut c_void;
    PQresultStatus(*const c_void) -> c_int;
    PQresultErrorField(*const c_void, c_int) -> *const c_char;
    PQntuples(*const c_void) -> c_int;
    PQnfields(*const c_void) -> c_int;
    PQgetisnull(*const c_void, c_int, c_int) -> c_int;
    PQgetvalue(*const c_void, c_int, c_int) -> *const c_char;
    PQclear(*mut c_void);
}

/// Why the other server did not do what it was asked.
#[derive(Debug)]
pub struct Failure {
    pub message: String,
    /// When the other server said it.
    sqlstate: String,
}

impl Failure {
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            sqlstate: String::new(),
        }
    }

    /// It is about what was sent.
    pub fn is_about_data(&self) -> bool {
        self.sqlstate.starts_with("22")
    }
}

/// A parameter of a query.
pub enum Param<'a> {
    Null,
    Text(&'a CStr),
    Bytes(&'a [u8]),
}

/// A copy of a C string of libpq.
fn text(s: *const c_char) -> String {
    if s.is_null() {
        return String::new();
    }
    // SAFETY: libpq's strings end in NUL and are valid until its next call.
    let s = unsafe { CStr::from_ptr(s) };
    s.to_string_lossy().trim_end().to_owned()
}

/// The options of a connection string, in its order.
pub fn parse(conninfo: &CStr) -> Result<Vec<(String, String)>, Failure> {
    let api = Api::load();
    let mut error = null_mut();
    // SAFETY: the list ends in an option without a keyword, and is freed after it was read.
    unsafe {
        let list = (api.PQconninfoParse)(conninfo.as_ptr(), &raw mut error);
        if list.is_null() {
            let message = text(error);
            if !error.is_null() {
                (api.PQfreemem)(error.cast());
            }
            return Err(Failure::new(message));
        }
        let mut options = Vec::new();
        let mut at = list;
        while !(*at).keyword.is_null() {
            if !(*at).val.is_null() {
                options.push((text((*at).keyword), text((*at).val)));
            }
            at = at.add(1);
        }
        (api.PQconninfoFree)(list);
        Ok(options)
    }
}

pub struct Connection {
    api: Api,
    conn: *mut c_void,
}

impl Drop for Connection {
    fn drop(&mut self) {
        // SAFETY: the connection is this value's own, also one that failed.
        unsafe { (self.api.PQfinish)(self.conn) }
    }
}

/// What a wait is for.
#[derive(Clone, Copy, PartialEq)]
enum For {
    Reading,
    Writing,
    Both,
}

impl Connection {
    pub fn open(options: &[(String, String)], patience: Duration) -> Result<Self, Failure> {
        let api = Api::load();
        let c = |s: &String| CString::new(s.as_str()).unwrap_or_default();
        let options: Vec<_> = options.iter().map(|(k, v)| (c(k), c(v))).collect();
        let mut keywords: Vec<_> = options.iter().map(|(k, _)| k.as_ptr()).collect();
        let mut values: Vec<_> = options.iter().map(|(_, v)| v.as_ptr()).collect();
        keywords.push(null());
        values.push(null());
        // SAFETY: two lists of C strings that end in null and outlive the call.
        let conn = unsafe { (api.PQconnectStartParams)(keywords.as_ptr(), values.as_ptr(), 0) };
        if conn.is_null() {
            return Err(Failure::new("out of memory"));
        }
        let this = Self { api, conn };
        let until = Instant::now() + patience;
        let mut next = For::Writing;
        // SAFETY: calls on a connection that is there.
        unsafe {
            if (api.PQstatus)(conn) == CONNECTION_BAD {
                return Err(this.failure());
            }
            loop {
                this.wait(next, until)?;
                next = match (api.PQconnectPoll)(conn) {
                    POLLING_OK => break,
                    POLLING_FAILED => return Err(this.failure()),
                    POLLING_READING => For::Reading,
                    _ => For::Writing,
                };
            }
            if (api.PQsetnonblocking)(conn, 1) != 0 {
                return Err(this.failure());
            }
        }
        Ok(this)
    }

    fn failure(&self) -> Failure {
        // SAFETY: reads the last error of a connection that is there.
        Failure::new(text(unsafe { (self.api.PQerrorMessage)(self.conn) }))
    }

    /// Waits for the socket; raises what an interrupt asks for.
    fn wait(&self, what: For, until: Instant) -> Result<(), Failure> {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Failure::new("no answer in time"));
        }
        let mut events = pg_sys::WL_LATCH_SET | pg_sys::WL_TIMEOUT | pg_sys::WL_EXIT_ON_PM_DEATH;
        if what != For::Writing {
            events |= pg_sys::WL_SOCKET_READABLE;
        }
        if what != For::Reading {
            events |= pg_sys::WL_SOCKET_WRITEABLE;
        }
        // SAFETY: the latch is this process's, the socket the connection's.
        let woken = unsafe {
            let socket = (self.api.PQsocket)(self.conn);
            if socket < 0 {
                return Err(self.failure());
            }
            pg_sys::WaitLatchOrSocket(
                pg_sys::MyLatch,
                events as c_int,
                socket,
                left.as_millis().clamp(1, 60_000) as _,
                pg_sys::PG_WAIT_EXTENSION,
            )
        };
        if woken & pg_sys::WL_LATCH_SET as c_int != 0 {
            // SAFETY: as above.
            unsafe { pg_sys::ResetLatch(pg_sys::MyLatch) };
            pg_sys::check_for_interrupts!();
        }
        Ok(())
    }

    /// The first row of a query, as text.
    pub fn query(
        &mut self,
        sql: &CStr,
        params: &[Param],
        patience: Duration,
    ) -> Result<Vec<Option<String>>, Failure> {
        let until = Instant::now() + patience;
        let (api, conn) = (self.api, self.conn);
        let types: Vec<_> = params
            .iter()
            .map(|p| match p {
                Param::Bytes(_) => BYTEA,
                _ => pg_sys::Oid::INVALID,
            })
            .collect();
        let values: Vec<*const c_char> = params
            .iter()
            .map(|p| match p {
                Param::Null => null(),
                Param::Text(t) => t.as_ptr(),
                Param::Bytes(b) => b.as_ptr().cast(),
            })
            .collect();
        let lengths: Vec<c_int> = params
            .iter()
            .map(|p| match p {
                Param::Bytes(b) => c_int::try_from(b.len()).unwrap_or(c_int::MAX),
                _ => 0,
            })
            .collect();
        let formats: Vec<c_int> = params
            .iter()
            .map(|p| c_int::from(matches!(p, Param::Bytes(_))))
            .collect();
        // SAFETY: lists of one length, which libpq copies from; the connection is there.
        unsafe {
            let sent = (api.PQsendQueryParams)(
                conn,
                sql.as_ptr(),
                c_int::try_from(params.len()).unwrap_or(0),
                types.as_ptr(),
                values.as_ptr(),
                lengths.as_ptr(),
                formats.as_ptr(),
                0,
            );
            if sent != 1 {
                return Err(self.failure());
            }
            loop {
                match (api.PQflush)(conn) {
                    0 => break,
                    1 => self.wait(For::Both, until)?,
                    _ => return Err(self.failure()),
                }
                if (api.PQconsumeInput)(conn) == 0 {
                    return Err(self.failure());
                }
            }
            let mut answer = None;
            loop {
                pg_sys::check_for_interrupts!();
                if Instant::now() > until {
                    return Err(Failure::new("no answer in time"));
                }
                while (api.PQisBusy)(conn) == 1 {
                    self.wait(For::Reading, until)?;
                    if (api.PQconsumeInput)(conn) == 0 {
                        return Err(self.failure());
                    }
                }
                let result = (api.PQgetResult)(conn);
                if result.is_null() {
                    break;
                }
                let copies = COPIES.contains(&(api.PQresultStatus)(result));
                let one = self.row(result);
                (api.PQclear)(result);
                if copies {
                    return Err(Failure::new("the other server wants to copy"));
                }
                answer.get_or_insert(one);
            }
            answer.unwrap_or_else(|| Err(Failure::new("no answer")))
        }
    }

    /// # Safety
    /// `result` is a result of this connection.
    unsafe fn row(&self, result: *const c_void) -> Result<Vec<Option<String>>, Failure> {
        let api = self.api;
        // SAFETY: rows and fields are asked for within their numbers.
        unsafe {
            if (api.PQresultStatus)(result) != TUPLES_OK {
                let field = |code| text((api.PQresultErrorField)(result, code));
                let message = field(DIAG_MESSAGE);
                if message.is_empty() {
                    return Err(self.failure());
                }
                let hint = Some(field(DIAG_HINT)).filter(|h| !h.is_empty());
                let hint = hint.map_or_else(String::new, |h| format!(" ({h})"));
                return Err(Failure {
                    message: message + &hint,
                    sqlstate: field(DIAG_SQLSTATE),
                });
            }
            if (api.PQntuples)(result) == 0 {
                return Ok(Vec::new());
            }
            Ok((0..(api.PQnfields)(result))
                .map(|n| {
                    ((api.PQgetisnull)(result, 0, n) == 0)
                        .then(|| text((api.PQgetvalue)(result, 0, n)))
                })
                .collect())
        }
    }
}

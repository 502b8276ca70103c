//! On whose behalf a session runs.
//!
//! A connection identity comes with the startup packet and cannot change; an asserted one lasts
//! for a transaction.

use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting};
use pgrx::prelude::*;
use pgrx::{
    JsonB, PgSubXactCallbackEvent, PgXactCallbackEvent, register_subxact_callback,
    register_xact_callback,
};
use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;

use crate::pg;
use crate::pg::server_text::Text;
use std::ffi::CString;

static USER_EMAIL: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);

thread_local! {
    /// The connection's identity: the setting cannot change once the backend has started.
    static CONNECTION: OnceCell<Option<Rc<str>>> = const { OnceCell::new() };
    static PRETENDED: RefCell<Option<Rc<str>>> = const { RefCell::new(None) };
    /// The subtransaction in which the user was asserted.
    static LEVEL: Cell<pg_sys::SubTransactionId> = const { Cell::new(0) };
    static ASSERTED: RefCell<Option<Rc<str>>> = const { RefCell::new(None) };
    /// It does not count any more, and there is none in its place until the transaction ends.
    static WITHDRAWN: Cell<bool> = const { Cell::new(false) };
}

/// RESET ALL and the like, by which a pool takes back what a session was: so with the asserted user.
pub fn withdraw() {
    WITHDRAWN.set(ASSERTED.with_borrow(Option::is_some));
}

fn asserted() -> Option<Rc<str>> {
    ASSERTED
        .with_borrow(Clone::clone)
        .filter(|_| !WITHDRAWN.get())
}

/// How far an identity can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Assurance {
    None,
    Asserted,
    Connection,
    Signed,
}

impl Assurance {
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Asserted => "asserted",
            Self::Connection => "connection",
            Self::Signed => "signed",
        }
    }
}

impl std::str::FromStr for Assurance {
    type Err = ();
    fn from_str(word: &str) -> Result<Self, ()> {
        [Self::None, Self::Asserted, Self::Connection, Self::Signed]
            .into_iter()
            .find(|a| a.word() == word)
            .ok_or(())
    }
}

/// The forwarded user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub email: Rc<str>,
    pub assurance: Assurance,
}

/// Defines the setting. To be called once, before any session starts.
pub fn init() {
    GucRegistry::define_string_guc(
        c"agent_policy.user_email",
        c"E-mail address of the person on whose behalf the session runs.",
        c"Given by the application in the startup packet, as in options='-c agent_policy.user_email=alice@example.com'. It cannot be changed afterwards.",
        &USER_EMAIL,
        GucContext::Backend,
        GucFlags::default(),
    );
}

fn normal(email: &str) -> Option<Rc<str>> {
    let email = email.trim();
    (!email.is_empty()).then(|| email.to_lowercase().into())
}

fn with_connection<T>(f: impl FnOnce(Option<&Rc<str>>) -> T) -> T {
    if let Some(email) = PRETENDED.with_borrow(Clone::clone) {
        return f(Some(&email));
    }
    CONNECTION.with(|cell| {
        let email =
            cell.get_or_init(|| USER_EMAIL.get().and_then(|s| normal(&s.to_string_lossy())));
        f(email.as_ref())
    })
}

/// While it lives, this is the forwarded user (of a statement that is only tried).
pub struct Pretence(());

impl Drop for Pretence {
    fn drop(&mut self) {
        PRETENDED.set(None);
    }
}

/// Pretends that `email` came with the connection.
pub fn pretend(email: Option<&str>) -> Pretence {
    PRETENDED.set(email.and_then(normal));
    Pretence(())
}

/// The forwarded user, if there is one: the connection's, else the one asserted in this
/// transaction. No lookups but in memory.
#[must_use]
pub fn current() -> Option<Identity> {
    with_connection(|email| email.cloned())
        .map(|email| Identity {
            email,
            assurance: Assurance::Connection,
        })
        .or_else(|| {
            asserted().map(|email| Identity {
                email,
                assurance: Assurance::Asserted,
            })
        })
}

fn refuse(code: PgSqlErrorCode, message: &str, hint: &str) -> ! {
    pgrx::pg_sys::panic::ErrorReport::new(code, message.to_owned(), "assert_user")
        .set_hint(hint.to_owned())
        .report(PgLogLevel::ERROR);
    unreachable!("report(ERROR) does not return")
}

#[pg_extern(sql = false)]
fn assert_user(email: Option<Text>) {
    let Some(email) = email else {
        refuse(
            PgSqlErrorCode::ERRCODE_NULL_VALUE_NOT_ALLOWED,
            "assert_user: parameter \"email\" must not be NULL",
            "Give the e-mail address of the person on whose behalf the transaction runs.",
        );
    };
    let Some(email) = normal(&email) else {
        refuse(
            PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
            "assert_user: \"email\" is empty",
            "Give the e-mail address of the person on whose behalf the transaction runs.",
        );
    };
    match with_connection(|known| known.map(|known| *known == email)) {
        Some(true) => return,
        Some(false) => refuse(
            PgSqlErrorCode::ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION,
            "assert_user: this connection belongs to another user",
            "The identity of the startup packet cannot be replaced; open a connection for the other user.",
        ),
        None => {}
    }
    if ASSERTED.with_borrow(Option::is_some) {
        refuse(
            PgSqlErrorCode::ERRCODE_ACTIVE_SQL_TRANSACTION,
            "assert_user: a user was asserted in this transaction already",
            "Assert once per transaction: COMMIT or ROLLBACK first.",
        );
    }
    for event in [
        PgXactCallbackEvent::Commit,
        PgXactCallbackEvent::Abort,
        PgXactCallbackEvent::Prepare,
    ] {
        register_xact_callback(event, || {
            ASSERTED.set(None);
            WITHDRAWN.set(false);
        });
    }
    // What is rolled back was never said.
    let level = pg::subtransaction();
    LEVEL.set(level);
    register_subxact_callback(PgSubXactCallbackEvent::AbortSub, |own, _parent| {
        if ASSERTED.with_borrow(Option::is_some) && LEVEL.get() == own {
            ASSERTED.set(None);
        }
    });
    register_subxact_callback(PgSubXactCallbackEvent::CommitSub, |own, parent| {
        if LEVEL.get() == own {
            LEVEL.set(parent);
        }
    });
    // What a savepoint took back was not there to be withdrawn.
    WITHDRAWN.set(false);
    ASSERTED.set(Some(email));
}

#[pg_extern(sql = false)]
fn user_email() -> Option<Text> {
    current().map(|i| Text::from(&*i.email))
}

#[pg_extern(sql = false)]
fn claim(name: Text) -> Option<Text> {
    // Only a signed identity has more of them.
    if &*name == "email" {
        user_email()
    } else {
        None
    }
}

type IdentityRow = (
    Option<Text>,
    Option<Text>,
    Option<Text>,
    Option<TimestampWithTimeZone>,
    Option<JsonB>,
);

#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)]
fn identity() -> TableIterator<
    'static,
    (
        name!(email, Option<Text>),
        name!(assurance, Option<Text>),
        name!(issuer, Option<Text>),
        name!(expires_at, Option<TimestampWithTimeZone>),
        name!(claims, Option<JsonB>),
    ),
> {
    let row: IdentityRow = match current() {
        Some(i) => (
            Some(Text::from(&*i.email)),
            Some(i.assurance.word().into()),
            None,
            None,
            None,
        ),
        None => (None, Some(Assurance::None.word().into()), None, None, None),
    };
    TableIterator::once(row)
}

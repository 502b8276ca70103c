//! One answer to a name, whether what it names is hidden or does not exist: schemas that are not
//! shown are not searched, an explicit one is refused where the parser looks it up, and an error
//! that says that such a name does not exist leaves the server as the same refusal.

use core::ffi::c_void;
use std::sync::atomic::Ordering::Relaxed;

use pgrx::IntoDatum;
use pgrx::pg_guard;
use pgrx::pg_sys::{self, Oid};
use policy::builtins::guards::{Named, class};
use policy::names::{qualified, split};

use super::hooks::{begin, exempt, is_worker};
use super::{depth, internal, names, objects, session, source, text};
use crate::catalog::Policy;
use crate::denial::Denial;
use crate::{identity, plan, trial};

const PG_CATALOG: u32 = 11;

/// A schema is about to be searched, because a name says so or because it is in search_path.
///
/// # Safety
/// The arguments are those of `object_access_hook` for `OAT_NAMESPACE_SEARCH`.
pub unsafe fn on_search(schema: Oid, argument: *mut c_void) {
    if schema.to_u32() == PG_CATALOG || argument.is_null() {
        return;
    }
    let search = argument.cast::<pg_sys::ObjectAccessNamespaceSearch>();
    // SAFETY: by the caller's promise.
    unsafe {
        if (*search).ereport_on_violation {
            if session::confined() {
                explicit(schema);
            }
        } else if session::last_known() && !in_path(schema) {
            (*search).result = false;
        }
    }
}

/// No look-ups here: the path is being put together.
#[pg_guard]
unsafe extern "C-unwind" fn in_path(schema: Oid) -> bool {
    exempt()
        || is_worker()
        // SAFETY: compares with a variable of the backend.
        || unsafe { pg_sys::isTempNamespace(schema) }
        || identity::last_policy().is_none_or(|policy| {
            policy.monitors() || policy.closed.is_some() || policy.schema_shown(schema)
        })
}

#[pg_guard]
unsafe extern "C-unwind" fn explicit(schema: Oid) {
    let within = [&depth::RUN, &depth::PLAN, &depth::START];
    if exempt()
        || is_worker()
        || trial::previewing()
        || within.iter().any(|counter| counter.load(Relaxed) > 0)
    {
        return;
    }
    let Some(policy) = begin() else { return };
    // SAFETY: compares with a variable of the backend.
    let temporary = unsafe { pg_sys::isTempNamespace(schema) };
    if policy.monitors() || policy.schema_shown(schema) || temporary {
        return;
    }
    let Some(name) = names::plain_schema_name(schema) else {
        return;
    };
    let denial = denial_in_text(&policy, |found| found == name)
        .unwrap_or_else(|| plan::name_denied(&policy, "schema", &names::quote(&name)));
    if trial::running() {
        // There may be more to be found.
        trial::note(denial);
    } else {
        denial.raise()
    }
}

/// The refusal of the first name in the statement's text whose schema is meant.
fn denial_in_text(policy: &Policy, meant: impl Fn(&str) -> bool) -> Option<Denial> {
    let text = source::current(text::from_server);
    qualified(&text)
        .into_iter()
        .find(|found| meant(&found.schema))
        .map(|found| {
            let name = format!(
                "{}.{}",
                names::quote(&found.schema),
                names::quote(&found.name)
            );
            if found.call {
                plan::function_name_denied(&name)
            } else {
                plan::relation_name_denied(policy, &name)
            }
        })
}

/// Why a name may not be asked about; `None` if it may, or if the server's own answer tells nothing.
pub fn refusal(policy: &Policy, kind: Named, name: &str) -> Option<Denial> {
    // The look-ups are ours, not the agent's.
    let _internal = internal::enter();
    let parts = split(name);
    let number = name.trim().parse::<u32>().ok().map(Oid::from_u32);
    let hidden_schema = || {
        parts
            .as_deref()
            .and_then(|parts| parts.len().checked_sub(2).and_then(|at| parts.get(at)))
            .is_some_and(|schema| !policy.schema_name_shown(schema))
    };
    let canonical = || {
        parts.as_deref().map_or_else(
            || name.to_owned(),
            |parts| {
                let quoted: Vec<String> = parts.iter().map(|part| names::quote(part)).collect();
                quoted.join(".")
            },
        )
    };
    let judged = |class: u32, found: Option<Oid>, hidden: bool| match number.or(found) {
        Some(Oid::INVALID) => false,
        Some(oid) => !policy.listed(class, oid),
        None => hidden,
    };
    match kind {
        Named::Relation | Named::View => {
            if parts.is_none() && number.is_none() {
                return None;
            }
            let found = number.or_else(|| look_up(pg_sys::to_regclass, name));
            let refused = judged(class::RELATION, found, hidden_schema())
                || (kind == Named::View && found.is_some_and(|view| !policy.view_shown(view)));
            refused.then(|| plan::relation_name_denied(policy, &canonical()))
        }
        Named::Type => {
            let hidden = || {
                qualified(name)
                    .iter()
                    .any(|found| !policy.schema_name_shown(&found.schema))
            };
            let found = number.or_else(|| look_up(pg_sys::to_regtype, name));
            judged(class::TYPE, found, hidden())
                .then(|| plan::name_denied(policy, "type", &canonical()))
        }
        Named::Function => {
            let plain = !name.contains('(');
            let find = if plain {
                pg_sys::to_regproc
            } else {
                pg_sys::to_regprocedure
            };
            let hidden = || {
                qualified(name)
                    .iter()
                    .any(|found| !policy.schema_name_shown(&found.schema))
            };
            let found = number.or_else(|| look_up(find, name));
            judged(class::PROCEDURE, found, hidden())
                .then(|| plan::function_name_denied(&canonical()))
        }
        Named::Schema => {
            let first = parts.as_ref().and_then(|parts| parts.first());
            let found = names::schema(name).or_else(|| first.and_then(|name| names::schema(name)));
            judged(class::NAMESPACE, found, true)
                .then(|| plan::name_denied(policy, "schema", &canonical()))
        }
        Named::Role => {
            let first = parts.as_ref().and_then(|parts| parts.first());
            let found = objects::role(name).or_else(|| first.and_then(|name| objects::role(name)));
            (name != "public" && judged(class::AUTHID, found, true))
                .then(|| plan::name_denied(policy, "role", &canonical()))
        }
        Named::Database => judged(class::DATABASE, objects::database(name), true)
            .then(|| plan::name_denied(policy, "database", &canonical())),
        Named::DatabaseSize => refusal(policy, Named::Database, name).or_else(|| {
            (!policy.database_size_shown())
                .then(|| plan::name_denied(policy, "size of the database", &canonical()))
        }),
        Named::Setting => plan::judge_shown_setting(name).err(),
        Named::Other => Some(plan::name_denied(policy, "object", &canonical())),
    }
}

/// Is the session shown what the name names?
pub fn shows(policy: &Policy, kind: Named, name: &str) -> bool {
    refusal(policy, kind, name).is_none()
}

fn look_up(find: unsafe fn(pg_sys::FunctionCallInfo) -> pg_sys::Datum, name: &str) -> Option<Oid> {
    // SAFETY: these take a text and return NULL for what they do not find.
    unsafe { pgrx::direct_function_call::<Oid>(find, &[name.into_datum()]) }
}

/// What `read` makes of the text of the statement at hand, which is not copied if it is UTF-8: it may be long.
pub fn with_statement_text<T>(read: impl FnOnce(&str) -> T) -> T {
    source::current(|bytes| read(&text::borrowed(bytes)))
}

/// The fields of an ErrorResponse.
fn fields(body: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    body.split(|b| *b == 0)
        .filter_map(|field| field.split_first())
        .map(|(kind, value)| (*kind, value))
}

pub fn field(body: &[u8], kind: u8) -> &[u8] {
    fields(body)
        .find(|(found, _)| *found == kind)
        .map_or(b"", |(_, value)| value)
}

/// The literal in the statement's text that an error is about.
fn literal_at(position: usize, text: &str) -> Option<&str> {
    let mut before = position.checked_sub(1)?;
    let start = text
        .char_indices()
        .find(|(_, c)| {
            let here = before == 0;
            before = before.saturating_sub(text::width(*c));
            here
        })?
        .0;
    let rest = text.get(start..)?;
    if let Some(tagged) = rest.strip_prefix('$') {
        let tag = tagged.split_once('$')?.0;
        return tagged
            .get(tag.len() + 1..)?
            .split_once(&format!("${tag}$"))
            .map(|found| found.0);
    }
    let prefix = rest.split_once('\'')?.0;
    matches!(prefix, "" | "E" | "e" | "U&" | "u&").then_some(())?;
    rest.get(prefix.len() + 1..)?.split('\'').next()
}

/// The first name that a message quotes, whatever language it is in.
fn quoted(message: &str) -> Option<&str> {
    const QUOTES: [(char, char); 5] = [('"', '"'), ('«', '»'), ('„', '“'), ('“', '”'), ('»', '«')];
    QUOTES
        .into_iter()
        .find_map(|(open, close)| Some(message.split_once(open)?.1.split_once(close)?.0))
        .map(|name| name.trim_matches([' ', '\u{a0}', '\u{202f}']))
}

/// Is it one of our own denials?
fn is_denial(body: &[u8]) -> bool {
    field(body, b'D').starts_with(b"{\"rule\":")
}

/// What an error of the server says, as far as it matters here.
#[derive(Debug, Clone, Default)]
pub struct Raised {
    /// Its SQLSTATE.
    pub state: [u8; 5],
    /// The function of the server that raised it.
    pub routine: String,
    pub message: String,
    /// Where in the statement it is, in characters from 1; 0 for nowhere.
    pub position: usize,
}

/// The refusal that an error on its way to the client comes to, see [`refusal_of`].
pub fn instead_of(policy: &Policy, body: &[u8], text: &str) -> Option<Denial> {
    if is_denial(body) || field(body, b'V') != b"ERROR" {
        return None;
    }
    let position = std::str::from_utf8(field(body, b'P')).ok();
    let raised = Raised {
        state: field(body, b'C').try_into().unwrap_or_default(),
        routine: String::from_utf8_lossy(field(body, b'R')).into_owned(),
        message: text::from_client(field(body, b'M')),
        position: position.and_then(|at| at.parse().ok()).unwrap_or(0),
    };
    refusal_of(policy, &raised, text)
}

/// The refusal that an error of the server comes to, if it says that something in a schema that is
/// not shown does not exist or may not be used. Looks nothing up: the error is on its way.
pub fn refusal_of(policy: &Policy, raised: &Raised, text: &str) -> Option<Denial> {
    if policy.monitors() {
        return None;
    }
    let message = &raised.message;
    let whole_name = match (&raised.state, raised.routine.as_bytes()) {
        // Roles have no schema: who is not shown is not there.
        (
            b"42704",
            b"regrolein"
            | b"aclparse"
            | b"get_role_oid"
            | b"get_rolespec_oid"
            | b"get_rolespec_tuple",
        ) => {
            return Some(plan::unnamed(policy, "role"));
        }
        (b"3F000", b"regnamespacein") => return Some(plan::unnamed(policy, "schema")),
        // The same before version 16: a literal that is no qualified name.
        (b"3F000", b"get_namespace_oid")
            if literal_at(raised.position, text).is_some_and(|literal| !literal.contains('.')) =>
        {
            return Some(plan::unnamed(policy, "schema"));
        }
        (b"42883", b"regoperin" | b"regoperatorin") => {
            let operator = message
                .split_whitespace()
                .find_map(|word| word.split_once('.'))?;
            return (!policy.schema_name_shown(operator.0))
                .then(|| plan::name_denied(policy, "schema", &names::quote(operator.0)));
        }
        // A setting's name has a point in it, too, and is no relation's.
        (b"42704", b"find_option" | b"assignable_custom_variable_name") => return None,
        // Undefined table, object or function: the message has the qualified name.
        (b"42P01" | b"42704", _) | (b"42883", b"regprocin" | b"regprocedurein") => true,
        // Undefined schema, or no right to use it.
        (b"3F000", _) | (b"42501", b"aclcheck_error") => false,
        _ => return None,
    };
    let bounded = |name: &str| {
        message.match_indices(name).any(|(at, found)| {
            let word = |c: char| c.is_alphanumeric() || c == '_';
            let before = message.get(..at).and_then(|text| text.chars().next_back());
            let after = message
                .get(at + found.len()..)
                .and_then(|text| text.chars().next());
            !before.is_some_and(word) && !after.is_some_and(word)
        })
    };
    let found = qualified(text).into_iter().find(|found| {
        !policy.schema_name_shown(&found.schema)
            && if whole_name {
                bounded(&format!("{}.{}", found.schema, found.name))
            } else {
                bounded(&found.schema)
            }
    });
    if let Some(found) = found {
        let name = format!(
            "{}.{}",
            names::quote(&found.schema),
            names::quote(&found.name)
        );
        return Some(if found.call {
            plan::function_name_denied(&name)
        } else {
            plan::relation_name_denied(policy, &name)
        });
    }
    // A name that came as a parameter or was put together.
    let quoted = quoted(message)?;
    if whole_name {
        // As the message has it: bare, whatever characters it is made of.
        let (schema, _) = quoted.split_once('.')?;
        (!policy.schema_name_shown(schema))
            .then(|| plan::name_denied(policy, "schema", &names::quote(schema)))
    } else {
        (!policy.schema_name_shown(quoted))
            .then(|| plan::name_denied(policy, "schema", &names::quote(quoted)))
    }
}

/// The message of a refusal that takes an error's place.
pub fn message(body: &[u8], denial: &Denial) -> Vec<u8> {
    let mut message = Vec::with_capacity(512);
    let mut add = |kind: u8, value: &[u8]| {
        message.push(kind);
        message.extend_from_slice(value);
        message.push(0);
    };
    add(b'S', field(body, b'S'));
    add(b'V', field(body, b'V'));
    add(b'C', denial.rule.sqlstate().as_bytes());
    add(b'M', &text::to_client(&denial.message));
    add(b'D', &text::to_client(&denial.detail()));
    add(b'H', &text::to_client(&denial.hint));
    message.push(0);
    message
}

/// A denial as it was meant, without the place in the source that raised it, or in the statement
/// that it is about: they would tell at which point it was found.
pub fn without_places(body: &[u8]) -> Option<Vec<u8>> {
    if !is_denial(body) {
        return None;
    }
    let mut message = Vec::with_capacity(body.len());
    for (kind, value) in fields(body) {
        if !matches!(kind, b'F' | b'L' | b'R' | b'P' | b'W') {
            message.push(kind);
            match text::raised(value) {
                Some(meant) => message.extend(text::to_client(&meant)),
                None => message.extend_from_slice(value),
            }
            message.push(0);
        }
    }
    message.push(0);
    Some(message)
}

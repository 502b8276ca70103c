//! Where a statement comes from: session, role, forwarded user.

use std::rc::Rc;

use pgrx::pg_sys::Oid;

use super::STATE;
use crate::api::identity as forwarded;
use crate::audit::{Origin, SharedOrigin};
use crate::pg::text::readable;
use crate::pg::{facts, users};

/// The origin of the session's last record, and what it was made from.
pub(super) struct KnownOrigin {
    role: Oid,
    user: Option<forwarded::Identity>,
    application: Vec<u8>,
    origin: SharedOrigin,
}

fn session() -> Rc<facts::Session> {
    if let Some(known) = STATE.with_borrow(|s| s.session.clone()) {
        return known;
    }
    let session = Rc::new(facts::session());
    STATE.with_borrow_mut(|s| s.session = Some(Rc::clone(&session)));
    session
}

fn role_name() -> Rc<str> {
    let role = facts::role();
    if let Some((known, name)) = STATE.with_borrow(|s| s.role.clone())
        && known == role
    {
        return name;
    }
    if !facts::in_transaction() {
        return Rc::from("");
    }
    let name: Rc<str> = users::name(role).into();
    STATE.with_borrow_mut(|s| s.role = Some((role, Rc::clone(&name))));
    name
}

/// What every record of the session begins with.
pub(super) fn origin() -> SharedOrigin {
    let role = facts::role();
    let user = forwarded::current();
    let known = STATE.with_borrow(|s| {
        s.origin
            .as_ref()
            .filter(|known| {
                known.role == role
                    && known.user == user
                    && facts::application_name(|name| known.application == name)
            })
            .map(|known| known.origin.clone())
    });
    if let Some(known) = known {
        return known;
    }
    // Outside a transaction (a syntax error in an aborted one) only what is known serves.
    let can_look = facts::in_transaction();
    let session = if can_look || STATE.with_borrow(|s| s.session.is_some()) {
        session()
    } else {
        Rc::new(facts::Session {
            database: String::new(),
            client: None,
            pid: std::process::id().cast_signed(),
            id: String::new(),
            session_user: String::new(),
        })
    };
    let application = facts::application_name(<[u8]>::to_vec);
    let origin = SharedOrigin::from(Origin {
        assurance: user.as_ref().map_or("none", |w| w.assurance.word()).into(),
        user_email: user.as_ref().map(|w| w.email.to_string()),
        role_name: readable(role_name().to_string()),
        session_user_name: readable(session.session_user.clone()),
        database_name: readable(session.database.clone()),
        application_name: crate::pg::text::shown(&application),
        client_addr: session.client,
        backend_pid: session.pid,
        session_id: crate::audit::session_id(&session.id),
    });
    if can_look {
        let known = KnownOrigin {
            role,
            user,
            application,
            origin: origin.clone(),
        };
        STATE.with_borrow_mut(|s| s.origin = Some(known));
    }
    origin
}

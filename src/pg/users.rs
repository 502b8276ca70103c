//! Roles: who inherits whom, and their names.

use pgrx::PgSqlErrorCode;
use pgrx::pg_sys::{self, Oid};

/// Does `member` have the privileges of `role` through inheritance? A superuser inherits nothing
/// here: that all roles are open to it says nothing about what it was made for.
pub fn inherits(member: Oid, role: Oid) -> bool {
    // SAFETY: catalog look-ups inside a transaction.
    unsafe { !pg_sys::superuser_arg(member) && pg_sys::has_privs_of_role(member, role) }
}

/// Was this session's login a superuser's?
pub fn authenticated_superuser() -> bool {
    // SAFETY: a catalog look-up inside a transaction.
    unsafe { pg_sys::superuser_arg(pg_sys::GetAuthenticatedUserId()) }
}

/// The role that this session logged in as, or that a superuser chose by SET SESSION AUTHORIZATION.
pub fn login() -> Oid {
    // SAFETY: reads a variable of the session.
    unsafe { pg_sys::GetSessionUserId() }
}

/// May the current user act as `role`, as SET ROLE would let it?
pub fn may_become(role: Oid) -> bool {
    // SAFETY: catalog look-ups inside a transaction.
    unsafe { super::compat::may_set_role(pg_sys::GetUserId(), role) }
}

pub fn is_superuser(user: Oid) -> bool {
    // SAFETY: a catalog look-up inside a transaction.
    unsafe { pg_sys::superuser_arg(user) }
}

/// The name of a role, or its number when it is gone.
pub fn name(role: Oid) -> String {
    // SAFETY: returns a palloc'd name or null.
    unsafe { super::text::from_ptr(pg_sys::GetUserNameFromId(role, true)) }
        .unwrap_or_else(|| role.to_u32().to_string())
}

/// Acts as somebody else until it is dropped, ERROR or not.
pub struct Owner {
    user: Oid,
    context: i32,
}

/// Acts as the owner of the extension: for work of our own, never for text of others, whose types
/// and domains run functions while it is parsed.
pub fn become_owner() -> Owner {
    act_as(super::names::own_schema_owner())
}

/// Acts as whoever calls, but that what runs on the way can leave nothing behind.
pub fn restricted() -> Owner {
    act_as(current())
}

/// Acts as whoever wrote a policy's text. Raises when the role is gone.
pub fn act_for(author: Oid) -> Owner {
    require(author);
    act_as(author)
}

fn require(author: Oid) {
    let nothing = pg_sys::Datum::from(0_usize);
    // SAFETY: a syscache look-up.
    let exists = unsafe {
        pg_sys::SearchSysCacheExists(
            pg_sys::SysCacheIdentifier::AUTHOID as i32,
            pg_sys::Datum::from(author),
            nothing,
            nothing,
            nothing,
        )
    };
    if !exists {
        super::report::error(
            PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT,
            "the role that set a mask or row filter does not exist any more",
            "",
            "Set it again.",
        );
    }
}

/// Acts as `user` until the guard is dropped; functions that run meanwhile are not trusted.
pub fn act_as(owner: Oid) -> Owner {
    let (mut user, mut context) = (Oid::INVALID, 0);
    let lent = pg_sys::SECURITY_LOCAL_USERID_CHANGE | pg_sys::SECURITY_RESTRICTED_OPERATION;
    // SAFETY: the ids are put back by the guard; the context says that they are lent.
    unsafe {
        pg_sys::GetUserIdAndSecContext(&raw mut user, &raw mut context);
        if owner != Oid::INVALID {
            pg_sys::SetUserIdAndSecContext(owner, context | lent as i32);
        }
    }
    Owner { user, context }
}

/// Whose rights count at the moment.
pub fn current() -> Oid {
    // SAFETY: reads a variable of the session.
    unsafe { pg_sys::GetUserId() }
}

/// Of two whose text and types meet, the one that may do less: `owner`, unless it may act as
/// `author` anyway. Raises when the author is gone.
pub fn lesser(author: Oid, owner: Oid) -> Oid {
    require(author);
    // SAFETY: catalog look-ups inside a transaction.
    if unsafe { pg_sys::has_privs_of_role(owner, author) } {
        author
    } else {
        owner
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        // SAFETY: the ids that were in force before.
        unsafe { pg_sys::SetUserIdAndSecContext(self.user, self.context) };
    }
}

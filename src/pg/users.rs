//! Roles: who inherits whom, and their names.

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
    unsafe { pg_sys::is_member_of_role(pg_sys::GetUserId(), role) }
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

/// Acts as the owner of the extension until it is dropped, ERROR or not: the names in a policy's
/// text were its author's to use, whatever the agent may see.
pub struct Owner {
    user: Oid,
    context: i32,
}

pub fn become_owner() -> Owner {
    act_as(super::names::own_schema_owner())
}

/// Acts as `user` until the guard is dropped.
pub fn act_as(owner: Oid) -> Owner {
    let (mut user, mut context) = (Oid::INVALID, 0);
    // SAFETY: the ids are put back by the guard; the context says that they are lent.
    unsafe {
        pg_sys::GetUserIdAndSecContext(&raw mut user, &raw mut context);
        if owner != Oid::INVALID {
            pg_sys::SetUserIdAndSecContext(
                owner,
                context | pg_sys::SECURITY_LOCAL_USERID_CHANGE as i32,
            );
        }
    }
    Owner { user, context }
}

impl Drop for Owner {
    fn drop(&mut self) {
        // SAFETY: the ids that were in force before.
        unsafe { pg_sys::SetUserIdAndSecContext(self.user, self.context) };
    }
}

//! Who is confined, and by which policy.
//!
//! A session is confined when its session user, its outer user (SET ROLE) or its current user
//! (SECURITY DEFINER) is a protected role or inherits one. One that became so by SET ROLE stays
//! so until it ends, unless a superuser logged in: otherwise `RESET ROLE` in a model's text would
//! be the way out.

use std::cell::RefCell;
use std::collections::HashSet;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use pgrx::pg_sys::Oid;
use policy::rule::Rule;

use crate::api::identity::{self as forwarded, Assurance};
use crate::catalog::{self, Closed, Policy, Relation, RoleRow};
use crate::denial::Denial;
use crate::pg::{self, label::Labelled, session::Users};

/// Set by the relation cache's callback: what was worked out per relation is to be forgotten.
pub static RELATIONS_CHANGED: AtomicBool = AtomicBool::new(false);

#[derive(Default)]
struct State {
    /// The protected roles of this database.
    roles: Rc<Vec<RoleRow>>,
    /// The extension is installed, and its tables cannot be found.
    unreadable: bool,
    /// Roles that are protected in other databases, and not in this one.
    elsewhere: Rc<Vec<Labelled>>,
    /// The session's own user, or that of SET ROLE, is protected: not just a function's owner.
    acts_itself: bool,
    /// Protected roles that stay in force until the session ends.
    sticky: Vec<Oid>,
    policy: Option<Rc<Policy>>,
    /// Some role is in force only because it was so before.
    only_sticky: bool,
    /// A role whose policy `agent_policy.check` tries on.
    assumed: Option<Oid>,
}

/// There is nothing in this database that records could be read into.
static NO_LOG_HERE: AtomicBool = AtomicBool::new(false);

/// Has the database no audit log, and the session no business in it?
pub fn no_log_here() -> bool {
    NO_LOG_HERE.load(Relaxed)
}

/// Is the session's own user, or that of SET ROLE, a protected role?
pub fn acts_itself() -> bool {
    STATE.with_borrow(|s| s.acts_itself)
}

thread_local! {
    static STATE: RefCell<State> = RefCell::new(State::default());
}

/// The protected roles that `user` is or inherits.
fn protected_by(roles: &[RoleRow], user: Oid, into: &mut Vec<Oid>) {
    for role in roles {
        if !into.contains(&role.role) && (role.role == user || pg::users::inherits(user, role.role))
        {
            into.push(role.role);
        }
    }
}

/// The labelled roles that are protected (and not just watched) in other databases only.
fn read_elsewhere() -> Vec<Labelled> {
    let here: HashSet<Oid> = STATE.with_borrow(|s| s.roles.iter().map(|row| row.role).collect());
    let mut labelled = pg::label::read();
    labelled.retain(|l| !here.contains(&l.role) && l.enforced());
    labelled
}

/// Does the session act as a role whose policy is in other databases? Once it did it is closed
/// until it ends. A superuser who takes on such a role for a while is not held.
fn closed_elsewhere(now: Users) -> Option<Closed> {
    let elsewhere = STATE.with_borrow(|s| Rc::clone(&s.elsewhere));
    if elsewhere.is_empty() || pg::users::authenticated_superuser() {
        return None;
    }
    let is = |user: Oid, role: Oid| user == role || pg::users::inherits(user, role);
    let found = elsewhere.iter().find(|l| {
        STATE.with_borrow(|s| s.sticky.contains(&l.role))
            || is(now.session, l.role)
            || is(now.outer, l.role)
    })?;
    STATE.with_borrow_mut(|s| {
        if !s.sticky.contains(&found.role) {
            s.sticky.push(found.role);
        }
    });
    Some(Closed::Elsewhere {
        role: pg::users::name(found.role),
        databases: found.names(),
    })
}

/// Works out whether the session is confined. Called when a user id or the policy has changed.
pub fn refresh(now: Users, policy_changed: bool) -> bool {
    let mut before = None;
    if policy_changed {
        let roles = catalog::read_roles();
        STATE.with_borrow_mut(|s| {
            s.unreadable = roles.is_none();
            s.roles = Rc::new(roles.unwrap_or_default());
            before = s.policy.take();
        });
        let elsewhere = read_elsewhere();
        STATE.with_borrow_mut(|s| s.elsewhere = Rc::new(elsewhere));
    }
    let (roles, sticky, assumed) =
        STATE.with_borrow(|s| (Rc::clone(&s.roles), s.sticky.clone(), s.assumed));
    if STATE.with_borrow(|s| s.unreadable) && !pg::users::is_superuser(now.session) {
        let policy = Rc::new(Policy::closed(Closed::TablesMissing));
        STATE.with_borrow_mut(|s| s.policy = Some(policy));
        return true;
    }
    if let Some(why) = closed_elsewhere(now) {
        // Where the extension is not installed, there is no log to write to.
        NO_LOG_HERE.store(!pg::scan::installed(), Relaxed);
        let policy = Rc::new(Policy::closed(why));
        STATE.with_borrow_mut(|s| s.policy = Some(policy));
        return true;
    }
    NO_LOG_HERE.store(false, Relaxed);
    if roles.is_empty() {
        STATE.with_borrow_mut(|s| s.policy = None);
        return false;
    }
    let mut lasting = Vec::new();
    protected_by(&roles, now.session, &mut lasting);
    protected_by(&roles, now.outer, &mut lasting);
    let acts_itself = !lasting.is_empty();
    let mut active = lasting.clone();
    // A superuser's session acts in another's name for maintenance and the like; so does the server
    // itself. That is not the agent at work.
    if now.current != now.outer && !now.maintenance && !pg::users::is_superuser(now.outer) {
        protected_by(&roles, now.current, &mut active);
    }
    if let Some(role) = assumed {
        protected_by(&roles, role, &mut active);
    }
    let superuser_login = pg::users::authenticated_superuser();
    let derived = active.clone();
    for role in sticky {
        if roles.iter().any(|r| r.role == role) && !active.contains(&role) {
            active.push(role);
        }
    }
    active.sort_unstable_by_key(|role| role.to_u32());
    let policy = if active.is_empty() {
        None
    } else {
        let known = STATE.with_borrow(|s| s.policy.clone());
        match known {
            Some(policy) if policy.role_oids == active => Some(policy),
            _ => {
                let mut policy = catalog::read_policy(&roles, &active);
                if let Some(before) = &before {
                    policy.carry_over(before);
                }
                Some(Rc::new(policy))
            }
        }
    };
    let confined = policy.is_some();
    let only_sticky = confined && active.iter().any(|role| !derived.contains(role));
    STATE.with_borrow_mut(|s| {
        if !superuser_login {
            for role in lasting {
                if !s.sticky.contains(&role) {
                    s.sticky.push(role);
                }
            }
        }
        s.policy = policy;
        s.only_sticky = only_sticky;
        s.acts_itself = acts_itself;
    });
    confined
}

/// The policy that confines the statement at hand.
pub fn policy() -> Option<Rc<Policy>> {
    if !pg::session::confined() {
        return None;
    }
    let policy = STATE.with_borrow(|s| s.policy.clone());
    if let Some(policy) = &policy
        && RELATIONS_CHANGED.load(Relaxed)
        && RELATIONS_CHANGED.swap(false, Relaxed)
    {
        policy.forget_relations();
    }
    policy
}

/// What the policy that confines the statement at hand says of a relation, where that has been worked out before and
/// still holds. None: ask [`policy`].
pub fn known_relation<T>(relid: Oid, look: impl FnOnce(&Relation) -> T) -> Option<T> {
    if !pg::session::confined() || RELATIONS_CHANGED.load(Relaxed) {
        return None;
    }
    STATE.with_borrow(|s| s.policy.as_ref()?.known_relation(relid, look))
}

/// Runs `work` as if the session were confined by `role` too. Afterwards, ERROR or not, it is what
/// it was before.
pub fn assume<T>(role: Oid, work: impl FnOnce() -> T) -> T {
    struct Back {
        confined: bool,
        policy: Option<Rc<Policy>>,
    }
    impl Drop for Back {
        fn drop(&mut self) {
            STATE.with_borrow_mut(|s| {
                s.assumed = None;
                s.policy = self.policy.take();
            });
            pg::session::put_back(self.confined);
        }
    }
    let _back = Back {
        confined: pg::session::confined(),
        policy: STATE.with_borrow(|s| s.policy.clone()),
    };
    STATE.with_borrow_mut(|s| s.assumed = Some(role));
    pg::session::look_again();
    work()
}

/// The role that the session is confined by for as long as its policy is tried on.
pub fn assumed() -> Option<Oid> {
    STATE.with_borrow(|s| s.assumed)
}

/// The version of the policy in force, for the audit.
pub fn known_version() -> i64 {
    STATE.with_borrow(|s| s.policy.as_ref().map_or(0, |p| p.version))
}

/// Was the session confined when that was last looked at? For places where catalogs cannot be
/// read.
pub fn was_confined() -> bool {
    STATE.with_borrow(|s| s.policy.is_some())
}

/// Is the forwarded user known as surely as the policy asks?
pub fn judge(policy: &Policy) -> Result<(), Denial> {
    let have = forwarded::current().map_or(Assurance::None, |who| who.assurance);
    if have >= policy.identity {
        return Ok(());
    }
    let hint = match policy.identity {
        Assurance::Asserted => {
            "Call SELECT agent_policy.assert_user('name@example.com') first in the transaction."
        }
        _ => {
            "Connect with options='-c agent_policy.user_email=name@example.com' in the connection string."
        }
    };
    Err(Denial::new(
        Rule::IdentityRequired,
        policy.identity.word(),
        format!(
            "the end user is not known: this role requires an identity that is at least {:?}",
            policy.identity.word()
        ),
    )
    .with("have", have.word())
    .hint(hint))
}

/// Is this role protected in this database?
pub fn is_protected(role: Oid) -> bool {
    pg::session::confined();
    STATE.with_borrow(|s| s.roles.iter().any(|row| row.role == role))
}

/// Would the session's user ids alone not tell its policy? A parallel worker has nothing else.
pub fn only_sticky() -> bool {
    STATE.with_borrow(|s| s.only_sticky)
}

/// The time limit of the policy in force.
/// The policy as it was last known: asks nothing, and may be asked at any time.
pub fn last_policy() -> Option<Rc<Policy>> {
    STATE.with_borrow(|s| s.policy.clone())
}

/// The statement limit as it was last known.
pub fn known_timeout() -> Option<u64> {
    STATE.with_borrow(|s| {
        let policy = s.policy.as_ref()?;
        policy.effective_limits().statement_timeout
    })
}

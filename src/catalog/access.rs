//! What a policy allows: relations, functions, schemas to define things in.

use std::rc::Rc;

use pgrx::pg_sys::Oid;
use policy::builtins::guards::class;
use policy::builtins::{self, Catalog, Disposition};
use policy::model::Access;

use super::{Hints, Policy};
use crate::pg::{self, names};

/// What a look at a relation's own entry told.
#[derive(Clone, Copy)]
pub(super) struct Known {
    named: Access,
    behind_view: Access,
    kind: names::Kind,
}

impl Policy {
    /// What the session may do with a relation that it names.
    pub fn access(&self, relid: Oid) -> Access {
        self.known(relid).named
    }

    /// What the session may do with a relation that it reaches through a view.
    pub fn access_behind_view(&self, relid: Oid) -> Access {
        self.known(relid).behind_view
    }

    /// [`names::relation_kind`], remembered.
    pub fn kind(&self, relid: Oid) -> names::Kind {
        self.known(relid).kind
    }

    fn known(&self, relid: Oid) -> Known {
        if let Some(known) = self.known.borrow().get(&relid) {
            return *known;
        }
        let (named, behind_view) = self.judge_access(relid);
        let found = Known {
            named,
            behind_view,
            kind: names::relation_kind(relid),
        };
        self.known.borrow_mut().insert(relid, found);
        found
    }

    fn judge_access(&self, relid: Oid) -> (Access, Access) {
        let schema = names::relation_schema(relid);
        if Some(schema) == names::own_schema() {
            return (Access::Deny, Access::Read);
        }
        match builtin_relation(schema, relid) {
            Some(Catalog::Allow) => return (Access::Read, Access::Read),
            Some(Catalog::ViewOnly) => return (Access::Deny, Access::Read),
            Some(Catalog::Deny) => return (Access::Deny, Access::Deny),
            None => {}
        }
        // A denial covers partitions and children.
        let ancestors = names::ancestors(relid);
        let family: Vec<Oid> = std::iter::once(relid)
            .chain(ancestors.iter().copied())
            .collect();
        let denied = self.allowed.iter().any(|role| {
            family
                .iter()
                .any(|member| role.relations.get(member) == Some(&Access::Deny))
        });
        if denied {
            return (Access::Deny, Access::Deny);
        }
        // A foreign table is data from elsewhere, and a partition by a hidden key tells of it: these have to be
        // allowed by their own names.
        let by_name_only =
            names::relation_kind(relid).is_foreign() || self.is_part_that_tells(relid, &ancestors);
        let named = self
            .allowed
            .iter()
            .map(|role| {
                role.relations
                    .get(&relid)
                    .or_else(|| role.schemas.get(&schema).filter(|_| !by_name_only))
                    .copied()
                    .unwrap_or(Access::Deny)
            })
            .min()
            .unwrap_or(Access::Deny);
        let behind_view = if self.strict_views {
            named
        } else {
            named.max(Access::Read)
        };
        (named, behind_view)
    }

    /// May tables and the like be made, changed and dropped in this schema?
    pub fn may_define_in(&self, schema: Oid) -> bool {
        self.allowed.iter().all(|role| {
            role.schemas
                .get(&schema)
                .is_some_and(|access| *access == Access::Write)
        })
    }

    /// May the session see the raw values of this column, of all rows?
    pub fn column_readable(&self, relid: Oid, attno: i16) -> bool {
        let hidden = self.relation(relid);
        self.access(relid) > Access::Deny
            && !hidden.hides_rows()
            && hidden.broken.is_none()
            && !hidden.hides_column(attno)
    }

    /// May the session see where a sequence stands? It tells what the greatest value of its column
    /// does; a sequence without a column has to be allowed by its own name.
    pub fn sequence_readable(&self, relid: Oid) -> bool {
        self.access(relid) > Access::Deny
            && match names::column_of_sequence(relid) {
                Some((table, column)) => self.column_readable(table, column),
                None => self.allowed_by_name(relid),
            }
    }

    /// Was the relation allowed by its own name in every policy of the session?
    pub fn allowed_by_name(&self, relid: Oid) -> bool {
        self.allowed.iter().all(|role| {
            role.relations
                .get(&relid)
                .is_some_and(|a| *a > Access::Deny)
        })
    }

    /// May the function run? `direct`: the agent's own text names it.
    pub fn function_allowed(&self, function: Oid, direct: bool) -> bool {
        if self.functions.borrow().contains(&(function, direct)) {
            return true;
        }
        let allowed = self.judge_function(function, direct);
        // A refusal is not kept: what masks may call is found out as they are met.
        if allowed {
            self.functions.borrow_mut().insert((function, direct));
        }
        allowed
    }

    fn judge_function(&self, function: Oid, direct: bool) -> bool {
        let rules = || {
            self.allowed
                .iter()
                .map(|role| role.functions.get(&function))
        };
        if rules().flatten().any(|rule| !rule.allow) || self.may_be_lost(function) {
            return false;
        }
        if rules().all(|rule| rule.is_some_and(|rule| rule.allow)) {
            return true;
        }
        if !direct
            && (self.policy_functions.borrow().contains(&function)
                // Triggers are the table owner's, event triggers a superuser's; what they do is
                // judged statement by statement.
                || names::is_trigger_function(function)
                // Serial columns take their value so.
                || (function.to_u32() == NEXTVAL && self.writes()))
        {
            return true;
        }
        let disposition = if function.to_u32() < pg::FIRST_GENBKI_OID {
            builtins::function(pg::MAJOR, function.to_u32())
        } else if function.to_u32() < pg::FIRST_NORMAL_OID {
            names::function_name(function).map_or(Disposition::Deny, |(schema, name)| {
                builtins::function_by_name(&schema, &name)
            })
        } else if names::in_own_schema(function) {
            crate::api::disposition(names::function_name(function).map(|(_, name)| name))
        } else {
            let extension = names::extension_of_function(function);
            return extension
                .is_some_and(|e| self.allowed.iter().all(|role| role.extensions.contains(&e)));
        };
        match disposition {
            Disposition::Allow => true,
            Disposition::Internal => !direct,
            Disposition::Deny => false,
        }
    }

    /// Has it the name of a denied function that was moved or dropped since? Only what somebody made
    /// can have been moved.
    fn may_be_lost(&self, function: Oid) -> bool {
        let made = function.to_u32() >= pg::FIRST_NORMAL_OID;
        self.allowed
            .iter()
            .any(|role| !role.lost_functions.is_empty())
            && names::function_name(function).is_some_and(|(_, name)| {
                self.allowed
                    .iter()
                    .filter_map(|role| role.lost_functions.get(&name))
                    .any(|built_in| made || *built_in)
            })
    }

    /// Is the function allowed with the policy switched off inside it?
    pub fn function_trusted(&self, function: Oid) -> bool {
        !self.allowed.is_empty()
            && self.allowed.iter().all(|role| {
                role.functions
                    .get(&function)
                    .is_some_and(|rule| rule.allow && rule.trusted)
            })
            && !self.may_be_lost(function)
    }

    /// Notes that a mask or filter calls these functions.
    pub fn admit_functions(&self, functions: impl IntoIterator<Item = Oid>) {
        self.policy_functions.borrow_mut().extend(functions);
    }

    /// Takes over what running plans rely on from the policy that was read before. Invalidation
    /// messages can make a session read the same policy again while a plan is made or before it
    /// starts; the functions of its masks are admitted when it is planned, under the policy that was
    /// in force when that began, and must be known when it runs: both share what they know. What
    /// hints name was looked up when the statement began.
    pub fn carry_over(&mut self, before: &Self) {
        if self.stamp == before.stamp && self.closed.is_none() {
            before.admit_functions(self.policy_functions.take());
            self.policy_functions = Rc::clone(&before.policy_functions);
            let readable = before.readable.borrow().names.clone();
            self.readable.borrow_mut().names = readable;
        }
    }

    /// Some relations that the role may read, for hints. They are looked up before any statement is
    /// judged, so that the answer to a name that is not there can be the same as to one that is.
    pub fn readable(&self) -> Vec<String> {
        // A parallel worker begins no statement.
        if pg::hooks::is_worker() {
            self.prepare_hints();
        }
        self.readable.borrow().names.clone()
    }

    /// Looks up what [`Policy::readable`] says, unless it is known.
    pub fn prepare_hints(&self) {
        if !self.readable.borrow().known {
            let names = self.find_readable();
            *self.readable.borrow_mut() = Hints { names, known: true };
        }
    }

    fn find_readable(&self) -> Vec<String> {
        /// As many are kept, of so many looked at in each schema.
        const KEPT: usize = 14;
        const LOOKED_AT: usize = 200;
        let Some(first) = self.allowed.first() else {
            return Vec::new();
        };
        let named = first.relations.keys().copied();
        let in_schemas = first
            .schemas
            .keys()
            .flat_map(|schema| pg::objects::relations_in(*schema, LOOKED_AT));
        let mut all: Vec<Oid> = named.chain(in_schemas).collect();
        all.sort_unstable_by_key(|o| o.to_u32());
        all.dedup();
        all.into_iter()
            .filter(|relid| {
                self.access(*relid) > Access::Deny
                    && self.kind(*relid).is_readable()
                    && !self.is_known_closed(*relid)
            })
            .take(KEPT)
            .map(names::relation)
            .collect()
    }

    /// Is the relation closed, as far as that can be told without a lock on it?
    fn is_known_closed(&self, relid: Oid) -> bool {
        let worked_out = self.relations.borrow().get(&relid).cloned();
        if let Some(relation) = worked_out {
            return relation.broken.is_some();
        }
        let masked = self.masks.get(&relid).into_iter().flatten();
        let denied = self.denied_columns.get(&relid).into_iter().flatten();
        masked
            .filter(|row| row.mask != super::Mask::None)
            .map(|row| &row.column)
            .chain(denied)
            .any(|column| names::attribute(relid, column).is_none())
    }
}

/// `pg_catalog.nextval(regclass)`.
pub const NEXTVAL: u32 = 1574;

fn builtin_relation(schema: Oid, relid: Oid) -> Option<Catalog> {
    if !names::is_system_schema(schema) {
        return None;
    }
    let (schema, name) = names::relation_parts(relid)?;
    Some(builtins::catalog(&schema, &name))
}

/// Catalogs that functions of the server itself read by SQL, as the caller (pg_get_viewdef, say).
pub fn readable_by_builtins(relid: Oid) -> bool {
    relid.to_u32() == class::REWRITE
}

//! What filters of system catalogs ask, and what stands around the arguments of built-in functions
//! that tell about an object. A session that no policy confines, or one that is only watched, is
//! shown everything.

use pgrx::pg_sys::{self, Oid};
use pgrx::prelude::*;
use policy::builtins::guards::{Named, Shown};
use policy::builtins::listing;

use super::call::{self, arg, sql_function};
use super::server_text::Text;
use super::{name_answers, nodes, objects, text};
use crate::catalog::Policy;
use crate::identity;

fn under_policy(judge: impl FnOnce(&Policy) -> bool) -> bool {
    identity::policy().is_none_or(|policy| policy.monitors() || judge(&policy))
}

#[pg_extern(sql = false)]
fn listed(class: Oid, object: Oid) -> bool {
    under_policy(|policy| policy.listed(class.to_u32(), object))
}

#[pg_extern(sql = false)]
fn part_listed(class: Oid, object: Oid, part: i32) -> bool {
    under_policy(|policy| policy.part_listed(class.to_u32(), object, part))
}

#[pg_extern(sql = false)]
fn column_listed(relation: Oid, attribute: i16) -> bool {
    under_policy(|policy| policy.column_listed(relation, attribute))
}

#[pg_extern(sql = false)]
fn counts_shown(relation: Oid) -> bool {
    under_policy(|policy| policy.counts_shown(relation))
}

#[pg_extern(sql = false)]
fn sizes_shown(relation: Oid) -> bool {
    under_policy(|policy| policy.sizes_shown(relation))
}

#[pg_extern(sql = false)]
fn bound_shown(relation: Oid) -> bool {
    under_policy(|policy| policy.bound_shown(relation))
}

#[pg_extern(sql = false)]
fn partition_key_shown(relation: Oid) -> bool {
    under_policy(|policy| policy.partition_key_shown(relation))
}

#[pg_extern(sql = false)]
fn view_shown(relation: Oid) -> bool {
    under_policy(|policy| policy.view_shown(relation))
}

#[pg_extern(sql = false)]
fn labels_listed(typid: Oid) -> bool {
    under_policy(|policy| policy.labels_listed(typid))
}

#[pg_extern(sql = false)]
fn setting_shown(name: Text) -> bool {
    under_policy(|_| listing::setting_shown(&name.to_ascii_lowercase()))
}

#[pg_extern(sql = false)]
fn shown(object: Oid, what: i32) -> Oid {
    if under_policy(|policy| policy.shown(Shown::from_code(what), object)) {
        object
    } else {
        Oid::INVALID
    }
}

#[pg_extern(sql = false)]
fn checked_name(name: Text, kind: i32) -> Text {
    check_name(&name, kind);
    name
}

fn check_name(name: &str, kind: i32) {
    if let Some(policy) = identity::policy()
        && !policy.monitors()
        && let Some(denial) = name_answers::refusal(&policy, Named::from_code(kind), name)
    {
        denial.raise();
    }
}

#[pg_extern(sql = false)]
fn name_or_null(name: Text, kind: i32) -> Option<Text> {
    under_policy(|policy| name_answers::shows(policy, Named::from_code(kind), &name))
        .then_some(name)
}

sql_function! {
    /// `listed_support(internal)`: the catalogs are mostly PostgreSQL's own objects, which are shown.
    fn agent_listed_support / pg_finfo_agent_listed_support(fcinfo) {
        let request = arg(fcinfo, 0);
        if !nodes::is_a(request.cast_mut_ptr(), pg_sys::NodeTag::T_SupportRequestSelectivity) {
            // No help with it, as supportnodes.h has it.
            return pg_sys::Datum::null();
        }
        (*request.cast_mut_ptr::<pg_sys::SupportRequestSelectivity>()).selectivity = 1.0;
        request
    }
}

sql_function! {
    /// The name of a role as `name`, checked as by `checked_name`.
    fn agent_checked_role / pg_finfo_agent_checked_role(fcinfo) {
        let name = arg(fcinfo, 0);
        let given = text::from_ptr(name.cast_mut_ptr::<pg_sys::NameData>().cast()).unwrap_or_default();
        check_name(&given, arg(fcinfo, 1).value() as i32);
        name
    }
}

sql_function! {
    /// Whether the default of a column may be seen.
    fn agent_default_listed / pg_finfo_agent_default_listed(fcinfo) {
        let relid = Oid::from_u32(arg(fcinfo, 0).value() as u32);
        let attno = arg(fcinfo, 1).value() as i16;
        let tree = arg(fcinfo, 2);
        let shown = under_policy(|policy| {
            policy.default_shown(relid, attno, || objects::names_in_text(tree))
        });
        pg_sys::Datum::from(shown)
    }
}

unsafe fn expression_is_shown(fcinfo: pg_sys::FunctionCallInfo) -> bool {
    // SAFETY: two arguments, a pg_node_tree and an OID, neither of them NULL.
    unsafe {
        let tree = arg(fcinfo, 0);
        let relid = Oid::from_u32(arg(fcinfo, 1).value() as u32);
        under_policy(|policy| {
            let over = (relid != Oid::INVALID).then_some(relid);
            over.is_none_or(|relid| policy.listed(policy::builtins::guards::class::RELATION, relid))
                && policy.expression_shown(&objects::names_in_text(tree), over)
        })
    }
}

sql_function! {
    /// Whether all that an expression names may be seen.
    fn agent_expression_shown / pg_finfo_agent_expression_shown(fcinfo) {
        pg_sys::Datum::from(expression_is_shown(fcinfo))
    }
}

sql_function! {
    /// The expression, or NULL.
    fn agent_shown_expression / pg_finfo_agent_shown_expression(fcinfo) {
        if expression_is_shown(fcinfo) {
            arg(fcinfo, 0)
        } else {
            call::return_null(fcinfo)
        }
    }
}

sql_function! {
    /// An ACL without what it says of roles that are not shown.
    fn agent_shown_acl / pg_finfo_agent_shown_acl(fcinfo) {
        let acl = arg(fcinfo, 0);
        let Some(policy) = identity::policy().filter(|policy| !policy.monitors()) else {
            return acl;
        };
        objects::filtered_acl(acl, |role| {
            policy.listed(policy::builtins::guards::class::AUTHID, role)
        })
    }
}

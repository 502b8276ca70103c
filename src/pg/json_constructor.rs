//! SQL/JSON constructors, apart from the conversion of what they make.
//!
//! The parser puts the conversion of `RETURNING` beside a constructor, and has it refer to the constructor's result
//! by the node that stands for the value of a CASE (`makeJsonConstructorExpr`). Constant folding of 16 to 18.6 takes
//! it for that: in `CASE 5 WHEN n THEN … ELSE JSON_OBJECT(… RETURNING varchar(9)) END` the conversion is given the
//! number, as an address, and reads there or ends the server (`eval_const_expressions_mutator`, where nothing
//! resets `case_val`). Here the constructor becomes the conversion's argument, which means the same and has no
//! such node. Where an expression is evaluated without being planned, constructors are refused.

use pgrx::pg_sys::{self, Node, NodeTag, Oid, Query};
use policy::rule::Rule;

use super::touched::Calls;
use super::{names, nodes};
use crate::denial::Denial;

/// A constructor with a conversion?
///
/// # Safety
/// `node` is a node of an analyzed tree.
#[cfg(feature = "pg15")]
unsafe fn converts(_node: *const Node) -> bool {
    false
}

/// A constructor with a conversion?
///
/// # Safety
/// `node` is a node of an analyzed tree.
#[cfg(not(feature = "pg15"))]
unsafe fn converts(node: *const Node) -> bool {
    // SAFETY: the cast follows the tag.
    unsafe {
        nodes::is_a(node, NodeTag::T_JsonConstructorExpr)
            && !(*node.cast::<pg_sys::JsonConstructorExpr>())
                .coercion
                .is_null()
    }
}

/// What has to be taken apart in a tree.
#[derive(Default)]
pub struct Found {
    /// Constructors that convert what they make.
    constructors: Vec<*mut Node>,
    /// Nodes that hold one expression twice.
    twice: Vec<*mut Node>,
}

impl Found {
    /// Looks at a node of an analyzed tree.
    ///
    /// # Safety
    /// `node` is one.
    pub unsafe fn note(&mut self, node: *mut Node) {
        // SAFETY: by the caller's promise.
        unsafe {
            if converts(node) {
                self.constructors.push(node);
            }
            if holds_twice(node) {
                self.twice.push(node);
            }
        }
    }

    /// Makes each constructor of the tree that was looked at the argument of its conversion; whether there were any.
    ///
    /// # Safety
    /// It is this tree, which may be changed.
    pub unsafe fn take_apart(mut self, query: *mut Query) -> bool {
        // SAFETY: by the caller's promise.
        unsafe {
            let any = !(self.twice.is_empty() && self.constructors.is_empty());
            if !self.twice.is_empty() {
                // Each place gets an expression of its own: a copy shares nothing.
                for node in self.twice {
                    copy_one(node);
                }
                self = Self::of(query);
            }
            for node in self.constructors {
                // Met twice, it is a label by now.
                if converts(node) {
                    separate(node);
                }
            }
            any
        }
    }

    unsafe fn of(query: *mut Query) -> Self {
        let mut found = Self::default();
        // SAFETY: a tree of the caller's; the walk only notes pointers.
        unsafe {
            nodes::walk(query.cast(), |node, _| {
                found.note(node);
                false
            });
        }
        found
    }
}

/// The same for a tree that nobody has looked at.
///
/// # Safety
/// `query` may be changed.
pub unsafe fn take_apart(query: *mut Query) {
    // SAFETY: by the caller's promise.
    unsafe { Found::of(query).take_apart(query) };
}

/// Expressions that come into a query after this: what the planner puts in for a virtual generated column, or for an
/// argument that is left out. Where the query compares values by CASE, no constructor may hide in these.
pub fn judge_hidden(calls: &Calls) -> Result<(), Denial> {
    let hides = |object: Oid, find: fn(Oid) -> bool| {
        object.to_u32() >= super::FIRST_NORMAL_OID && find(object)
    };
    let relation = calls
        .relations
        .iter()
        .find(|relation| hides(**relation, computes_json))
        .map(|relation| names::relation(*relation));
    let function = calls
        .functions
        .iter()
        .find(|function| hides(**function, defaults_to_json))
        .map(|function| names::signature(*function));
    match relation.or(function) {
        None => Ok(()),
        Some(object) => Err(Denial::new(
            Rule::StatementNotAllowed,
            object.as_str(),
            format!("{object} cannot be used beside a CASE that compares a value: it makes JSON in an expression of its own"),
        )
        .hint("Write CASE WHEN value = ... THEN in the place of CASE value WHEN ... THEN.")),
    }
}

/// What a constructor is called in a stored expression.
const STORED: &[u8] = b"JSONCONSTRUCTOREXPR";

fn has_constructor(stored: &[u8]) -> bool {
    stored.windows(STORED.len()).any(|part| part == STORED)
}

/// Does an expression of one of the relation's columns make JSON?
fn computes_json(relation: Oid) -> bool {
    // SAFETY: the relation is locked by the statement; its entry is read while it is held.
    unsafe {
        let entry = pg_sys::RelationIdGetRelation(relation);
        if entry.is_null() {
            return false;
        }
        let constraints = (*(*entry).rd_att).constr;
        let found = !constraints.is_null()
            && (0..(*constraints).num_defval as usize).any(|i| {
                let stored = (*(*constraints).defval.add(i)).adbin;
                !stored.is_null() && has_constructor(core::ffi::CStr::from_ptr(stored).to_bytes())
            });
        pg_sys::RelationClose(entry);
        found
    }
}

/// Does the value of an argument that is left out make JSON?
fn defaults_to_json(function: Oid) -> bool {
    const PROCEDURE: i32 = pg_sys::SysCacheIdentifier::PROCOID as i32;
    // SAFETY: a syscache look-up; the text is read before the tuple is released.
    unsafe {
        let tuple = pg_sys::SearchSysCache1(PROCEDURE, pg_sys::Datum::from(function));
        if tuple.is_null() {
            return false;
        }
        let mut null = true;
        let defaults = pg_sys::SysCacheGetAttr(
            PROCEDURE,
            tuple,
            pg_sys::Anum_pg_proc_proargdefaults as i16,
            &raw mut null,
        );
        let found = !null && has_constructor(super::call::bytes(defaults));
        pg_sys::ReleaseSysCache(tuple);
        found
    }
}

/// Makes the constructor the argument of its conversion. The node stays where it is, as a label without effect
/// around that.
///
/// # Safety
/// `node` is one for which [`converts`] is true, in a tree that may be changed.
#[cfg(not(feature = "pg15"))]
unsafe fn separate(node: *mut Node) {
    const { assert!(size_of::<pg_sys::RelabelType>() <= size_of::<pg_sys::JsonConstructorExpr>()) };
    // SAFETY: nodes are copied flat, and what they point to is used once; a label takes no more room than the
    // constructor did.
    unsafe {
        let constructor = node.cast::<pg_sys::JsonConstructorExpr>();
        let mut conversion = (*constructor).coercion.cast::<Node>();
        let Some(place) = place_of_result(&raw mut conversion) else {
            pgrx::error!("agent_policy: an SQL/JSON constructor converts in an unknown way");
        };
        let returning = nodes::make::<pg_sys::JsonReturning>(NodeTag::T_JsonReturning);
        std::ptr::copy_nonoverlapping((*constructor).returning, returning, 1);
        (*returning).typid = pg_sys::exprType(*place);
        (*returning).typmod = pg_sys::exprTypmod(*place);
        let inner = nodes::make::<pg_sys::JsonConstructorExpr>(NodeTag::T_JsonConstructorExpr);
        std::ptr::copy_nonoverlapping(constructor, inner, 1);
        (*inner).coercion = std::ptr::null_mut();
        (*inner).returning = returning;
        *place = inner.cast();
        node.cast::<pg_sys::RelabelType>()
            .write(pg_sys::RelabelType {
                xpr: pg_sys::Expr {
                    type_: NodeTag::T_RelabelType,
                },
                arg: conversion.cast(),
                resulttype: pg_sys::exprType(conversion),
                resulttypmod: pg_sys::exprTypmod(conversion),
                resultcollid: pg_sys::exprCollation(conversion),
                relabelformat: pg_sys::CoercionForm::COERCE_IMPLICIT_CAST,
                location: -1,
            });
    }
}

/// There are none.
///
/// # Safety
/// None.
#[cfg(feature = "pg15")]
unsafe fn separate(_node: *mut Node) {}

/// Does it hold an expression as it was written, and formatted, the one inside the other?
///
/// # Safety
/// `node` is a node of an analyzed tree.
#[cfg(not(feature = "pg15"))]
unsafe fn holds_twice(node: *const Node) -> bool {
    // SAFETY: every node begins with its tag.
    unsafe { (*node).type_ == NodeTag::T_JsonValueExpr }
}

/// # Safety
/// [`holds_twice`] is true of it.
#[cfg(not(feature = "pg15"))]
unsafe fn copy_one(node: *mut Node) {
    // SAFETY: the cast follows the tag.
    unsafe {
        let value = node.cast::<pg_sys::JsonValueExpr>();
        (*value).raw_expr = nodes::copy((*value).raw_expr);
    }
}

#[cfg(feature = "pg15")]
unsafe fn holds_twice(_node: *const Node) -> bool {
    false
}

#[cfg(feature = "pg15")]
unsafe fn copy_one(_node: *mut Node) {}

/// Where in a conversion the result stands that is converted.
#[cfg(not(feature = "pg15"))]
unsafe fn place_of_result(place: *mut *mut Node) -> Option<*mut *mut Node> {
    // SAFETY: each cast follows the tag; the fields of these nodes and the cells of their lists are pointers to
    // nodes.
    unsafe {
        let node = *place;
        if node.is_null() {
            return None;
        }
        match (*node).type_ {
            NodeTag::T_CaseTestExpr => Some(place),
            NodeTag::T_RelabelType => {
                place_of_result((&raw mut (*node.cast::<pg_sys::RelabelType>()).arg).cast())
            }
            NodeTag::T_CoerceViaIO => {
                place_of_result((&raw mut (*node.cast::<pg_sys::CoerceViaIO>()).arg).cast())
            }
            NodeTag::T_CoerceToDomain => {
                place_of_result((&raw mut (*node.cast::<pg_sys::CoerceToDomain>()).arg).cast())
            }
            NodeTag::T_FuncExpr => {
                let arguments = (*node.cast::<pg_sys::FuncExpr>()).args;
                let count = if arguments.is_null() {
                    0
                } else {
                    (*arguments).length as usize
                };
                (0..count)
                    .find_map(|i| place_of_result((*arguments).elements.add(i).cast::<*mut Node>()))
            }
            _ => None,
        }
    }
}

/// Constructors as the grammar makes them.
const RAW: &[NodeTag] = &[
    #[cfg(not(feature = "pg15"))]
    NodeTag::T_JsonObjectConstructor,
    #[cfg(not(feature = "pg15"))]
    NodeTag::T_JsonArrayConstructor,
    #[cfg(not(feature = "pg15"))]
    NodeTag::T_JsonArrayQueryConstructor,
    #[cfg(not(feature = "pg15"))]
    NodeTag::T_JsonObjectAgg,
    #[cfg(not(feature = "pg15"))]
    NodeTag::T_JsonArrayAgg,
    #[cfg(not(any(feature = "pg15", feature = "pg16")))]
    NodeTag::T_JsonParseExpr,
    #[cfg(not(any(feature = "pg15", feature = "pg16")))]
    NodeTag::T_JsonScalarExpr,
    #[cfg(not(any(feature = "pg15", feature = "pg16")))]
    NodeTag::T_JsonSerializeExpr,
];

/// A constructor as the grammar makes it?
///
/// # Safety
/// `node` is a node of a raw tree.
pub unsafe fn is_raw(node: *const Node) -> bool {
    // SAFETY: every node begins with its tag.
    RAW.contains(&unsafe { (*node).type_ })
}

//! SQL/JSON constructors, apart from the conversion of what they make.
//!
//! The parser puts the conversion of `RETURNING` beside a constructor, and has it refer to the constructor's result
//! by the node that stands for the value of a CASE (`makeJsonConstructorExpr`). Constant folding of 16 to 18.6 takes
//! it for that: in `CASE 5 WHEN n THEN … ELSE JSON_OBJECT(… RETURNING varchar(9)) END` the conversion is given the
//! number, as an address, and reads there or ends the server (`eval_const_expressions_mutator`, where nothing
//! resets `case_val`). Here the constructor becomes the conversion's argument, which means the same and has no
//! such node. Where an expression is evaluated without being planned, constructors are refused.

use pgrx::pg_sys::{Node, NodeTag};
use policy::rule::Rule;

#[cfg(not(feature = "pg15"))]
use super::nodes;
use crate::denial::Denial;

/// A constructor with a conversion?
///
/// # Safety
/// `node` is a node of an analyzed tree.
#[cfg(feature = "pg15")]
pub unsafe fn converts(_node: *const Node) -> bool {
    false
}

/// A constructor with a conversion?
///
/// # Safety
/// `node` is a node of an analyzed tree.
#[cfg(not(feature = "pg15"))]
pub unsafe fn converts(node: *const Node) -> bool {
    // SAFETY: the cast follows the tag.
    unsafe {
        nodes::is_a(node, NodeTag::T_JsonConstructorExpr)
            && !(*node.cast::<pgrx::pg_sys::JsonConstructorExpr>())
                .coercion
                .is_null()
    }
}

/// Makes each of them the argument of its conversion.
///
/// # Safety
/// [`converts`] is true of each; they are nodes of a tree that may be changed.
pub unsafe fn separate_all(constructors: &[*mut Node]) -> Result<(), Denial> {
    for node in constructors {
        // SAFETY: by the caller's promise.
        if !unsafe { separate(*node) } {
            return Err(Denial::new(
                Rule::StatementNotAllowed,
                "RETURNING",
                "an SQL/JSON constructor does not convert to this type here",
            )
            .hint("Leave its RETURNING out, and cast what it makes."));
        }
    }
    Ok(())
}

/// Makes the constructor the argument of its conversion. The node stays where it is, as a label without effect
/// around that.
///
/// # Safety
/// `node` is one for which [`converts`] is true, in a tree that may be changed.
#[cfg(not(feature = "pg15"))]
unsafe fn separate(node: *mut Node) -> bool {
    use pgrx::pg_sys;
    const { assert!(size_of::<pg_sys::RelabelType>() <= size_of::<pg_sys::JsonConstructorExpr>()) };
    // SAFETY: nodes are copied flat, and what they point to is used once; a label takes no more room than the
    // constructor did.
    unsafe {
        let constructor = node.cast::<pg_sys::JsonConstructorExpr>();
        let mut conversion = (*constructor).coercion.cast::<Node>();
        let Some(place) = place_of_result(&raw mut conversion) else {
            return false;
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
    true
}

/// There are none.
///
/// # Safety
/// None.
#[cfg(feature = "pg15")]
unsafe fn separate(_node: *mut Node) -> bool {
    true
}

/// Where in a conversion the result stands that is converted.
#[cfg(not(feature = "pg15"))]
unsafe fn place_of_result(place: *mut *mut Node) -> Option<*mut *mut Node> {
    use pgrx::pg_sys;
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

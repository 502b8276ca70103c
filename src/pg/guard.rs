//! Arguments that name an object: before a built-in function sees one, it is checked that the
//! session is shown the object. The same where an OID becomes a regclass or the like, whose text
//! is a name.

use std::cell::Cell;

use pgrx::FromDatum;
use pgrx::pg_sys::{self, List, Node, NodeTag, Oid, Query};
use policy::builtins::guards::{self, Guard, Named, Shown, class, names_type};
use policy::rule::Rule;

use super::server_text::Text;
use super::{internal, name_answers, names, nodes, raw, session, text};
use crate::catalog::Policy;
use crate::denial::Denial;

/// The functions that are put around arguments.
#[derive(Clone, Copy)]
struct Functions {
    shown: Oid,
    shown_expression: Oid,
    checked_name: Oid,
    checked_role: Oid,
    name_or_null: Oid,
    setting_shown: Oid,
}

thread_local! {
    static KNOWN: Cell<Option<(u32, Functions)>> = const { Cell::new(None) };
}

/// Looks the functions up. One that is gone leaves 0, which no plan can call.
fn functions() -> Functions {
    let now = session::names_generation();
    if let Some((at, known)) = KNOWN.get()
        && at == now
    {
        return known;
    }
    let _internal = internal::enter();
    let find = |signature: &str| {
        names::function(&format!("agent_policy.{signature}")).unwrap_or(Oid::INVALID)
    };
    const KIND: &str = "pg_catalog.int4)";
    let found = Functions {
        shown: find(&format!("shown(pg_catalog.oid,{KIND}")),
        shown_expression: find("shown_expression(pg_catalog.pg_node_tree,pg_catalog.oid)"),
        checked_name: find(&format!("checked_name(pg_catalog.text,{KIND}")),
        checked_role: find(&format!("checked_role(pg_catalog.name,{KIND}")),
        name_or_null: find(&format!("name_or_null(pg_catalog.text,{KIND}")),
        setting_shown: find("setting_shown(pg_catalog.text)"),
    };
    KNOWN.set(Some((now, found)));
    found
}

/// `function(argument, second)` of the argument's own type.
unsafe fn around(function: Oid, argument: *mut Node, second: *mut Node) -> *mut Node {
    // SAFETY: expression nodes of the caller's tree.
    unsafe {
        let mut list = pg_sys::lappend(std::ptr::null_mut::<List>(), argument.cast());
        list = pg_sys::lappend(list, second.cast());
        pg_sys::makeFuncExpr(
            function,
            raw::exprType(argument),
            list,
            Oid::INVALID,
            pg_sys::exprCollation(argument),
            pg_sys::CoercionForm::COERCE_EXPLICIT_CALL,
        )
        .cast()
    }
}

unsafe fn number(value: i32) -> *mut Node {
    // SAFETY: builds a node.
    unsafe {
        pg_sys::makeConst(
            pg_sys::INT4OID,
            -1,
            Oid::INVALID,
            4,
            pg_sys::Datum::from(value),
            false,
            true,
        )
        .cast()
    }
}

/// A constant OID of what PostgreSQL itself brings needs no check when it runs.
unsafe fn is_built_in(node: *const Node) -> bool {
    // SAFETY: a node.
    unsafe {
        nodes::is_a(node, NodeTag::T_Const) && {
            let constant = node.cast::<pg_sys::Const>();
            !(*constant).constisnull
                && (*constant).constlen == 4
                && (1..super::FIRST_GENBKI_OID).contains(&((*constant).constvalue.value() as u32))
        }
    }
}

/// Puts the checks around the arguments of a call.
unsafe fn guard_call(call: *mut pg_sys::FuncExpr) {
    // SAFETY: see `Found::check`.
    unsafe {
        let Some(guards) = guards::guards((*call).funcid.to_u32()) else {
            return;
        };
        let ours = functions();
        // What a view or a row security policy asks about roles and settings is its maker's question.
        let stored = (*call).location < 0;
        for (i, guard) in guards.enumerate() {
            let Some(guard) = guard else { continue };
            if (*call).args.is_null() || i as i32 >= (*(*call).args).length {
                continue;
            }
            let cell = (*(*call).args).elements.add(i);
            let argument = (*cell).ptr_value.cast::<Node>();
            (*cell).ptr_value = match guard {
                Guard::Object(Shown::Class(class::AUTHID))
                | Guard::Name(Named::Role | Named::Setting)
                    if stored =>
                {
                    argument
                }
                Guard::Object(Shown::Class(_)) if is_built_in(argument) => argument,
                Guard::Object(what) => around(ours.shown, argument, number(what.code())),
                Guard::Name(kind) => {
                    let check = if raw::exprType(argument) == pg_sys::NAMEOID {
                        ours.checked_role
                    } else {
                        ours.checked_name
                    };
                    around(check, argument, number(kind.code()))
                }
                Guard::NameOrNull(kind) => around(ours.name_or_null, argument, number(kind.code())),
                Guard::Expression => {
                    let relation = (*(*(*call).args).elements.add(i + 1))
                        .ptr_value
                        .cast::<Node>();
                    around(ours.shown_expression, argument, nodes::copy(relation))
                }
            }
            .cast();
        }
    }
}

/// What the checks of constant arguments will come to when the query runs; also where a setting is changed.
///
/// # Safety
/// `query` is an analyzed query.
pub unsafe fn judge_constants(policy: &Policy, query: *mut Query) -> Vec<Denial> {
    let mut calls: Vec<*mut pg_sys::FuncExpr> = Vec::new();
    let mut found = Vec::new();
    // SAFETY: by the caller's promise; the walk only notes pointers.
    unsafe {
        nodes::walk(query.cast(), |node, _| {
            if nodes::is_a(node, NodeTag::T_FuncExpr) {
                calls.push(node.cast());
            }
            false
        });
        for call in calls {
            let arguments: Vec<*mut Node> = nodes::pointers((*call).args).collect();
            let given = |i: usize| arguments.get(i).and_then(|argument| constant(*argument));
            if (*call).funcid.to_u32() == super::rewrite::SET_CONFIG {
                if let (Some(name), value) = (given(0), given(1)) {
                    found.extend(crate::utility::judge_setting(&name, value.as_deref()).err());
                }
                continue;
            }
            for (i, guard) in guards::guards((*call).funcid.to_u32())
                .into_iter()
                .flatten()
                .enumerate()
            {
                if let (Some(Guard::Name(kind)), Some(name)) = (guard, given(i)) {
                    found.extend(name_answers::refusal(policy, kind, &name));
                }
            }
        }
    }
    found
}

/// A constant of type text or name.
unsafe fn constant(node: *const Node) -> Option<String> {
    // SAFETY: an expression; the value is of the type that the node says.
    unsafe {
        let constant = node.cast::<pg_sys::Const>();
        if !nodes::is_a(node, NodeTag::T_Const) || (*constant).constisnull {
            return None;
        }
        match (*constant).consttype {
            pg_sys::TEXTOID => Text::from_datum((*constant).constvalue, false).map(|text| text.0),
            pg_sys::NAMEOID => text::from_ptr((*constant).constvalue.cast_mut_ptr()),
            _ => None,
        }
    }
}

/// An OID or a number becomes a regclass and the like.
unsafe fn guard_relabel(relabel: *mut pg_sys::RelabelType) {
    // SAFETY: see `Found::check`.
    unsafe {
        let argument = (*relabel).arg.cast::<Node>();
        if let Some(class) = names_type((*relabel).resulttype.to_u32())
            && names_type(raw::exprType(argument).to_u32()).is_none()
            && !is_built_in(argument)
        {
            let what = number(Shown::Class(class).code());
            (*relabel).arg = around(functions().shown, argument, what).cast();
        }
    }
}

/// A function's result that is taken for a regclass and the like: so do casts from bigint and
/// smallint. The call becomes the argument of the check.
unsafe fn guard_result(call: *mut pg_sys::FuncExpr) {
    // SAFETY: see `Found::check`.
    unsafe {
        let Some(class) = names_type((*call).funcresulttype.to_u32()) else {
            return;
        };
        if (*call).funcretset || guards::is_guarded((*call).funcid.to_u32()) {
            return;
        }
        let inner = nodes::make::<pg_sys::FuncExpr>(NodeTag::T_FuncExpr);
        std::ptr::copy_nonoverlapping(call, inner, 1);
        let mut arguments = pg_sys::lappend(std::ptr::null_mut::<List>(), inner.cast());
        arguments = pg_sys::lappend(arguments, number(Shown::Class(class).code()).cast());
        (*call).funcid = functions().shown;
        (*call).funcvariadic = false;
        (*call).funcformat = pg_sys::CoercionForm::COERCE_EXPLICIT_CALL;
        (*call).funccollid = Oid::INVALID;
        (*call).inputcollid = Oid::INVALID;
        (*call).args = arguments;
    }
}

/// A text becomes a regclass and the like when the statement runs.
unsafe fn guard_input(coerce: *mut pg_sys::CoerceViaIO) {
    // SAFETY: see `Found::check`.
    unsafe {
        let Some(class) = names_type((*coerce).resulttype.to_u32()) else {
            return;
        };
        let kind = match class {
            class::RELATION => Named::Relation,
            class::TYPE => Named::Type,
            class::NAMESPACE => Named::Schema,
            class::PROCEDURE => Named::Function,
            class::AUTHID => Named::Role,
            class::DATABASE => Named::Database,
            _ => return,
        };
        let mut argument = (*coerce).arg.cast::<Node>();
        if raw::exprType(argument) != pg_sys::TEXTOID {
            let text = nodes::make::<pg_sys::CoerceViaIO>(NodeTag::T_CoerceViaIO);
            (*text).arg = argument.cast();
            (*text).resulttype = pg_sys::TEXTOID;
            (*text).resultcollid = pg_sys::DEFAULT_COLLATION_OID;
            (*text).coerceformat = pg_sys::CoercionForm::COERCE_EXPLICIT_CAST;
            (*text).location = -1;
            argument = text.cast();
        }
        (*coerce).arg = around(functions().checked_name, argument, number(kind.code())).cast();
    }
}

/// What in a query needs a check.
#[derive(Debug, Default)]
pub struct Found {
    sets: Vec<*mut Query>,
    expressions: Vec<*mut Node>,
    settings: Vec<(*mut pg_sys::RangeTblEntry, i32)>,
}

impl Found {
    /// In a query that nobody has looked at.
    ///
    /// # Safety
    /// `query` is a query tree.
    pub unsafe fn of(query: *mut Query) -> Self {
        let mut found = Self::default();
        // SAFETY: by the caller's promise; the walk only notes pointers.
        unsafe {
            nodes::walk(query.cast(), |node, _| {
                found.note(node);
                false
            });
        }
        found
    }

    /// Notes a node.
    ///
    /// # Safety
    /// It is one of a query tree; all of them are noted before [`Self::check`].
    #[inline]
    pub unsafe fn note(&mut self, node: *mut Node) {
        // SAFETY: every node begins with its tag.
        unsafe {
            match (*node).type_ {
                NodeTag::T_FuncExpr | NodeTag::T_RelabelType | NodeTag::T_CoerceViaIO => {
                    self.expressions.push(node);
                }
                NodeTag::T_Query => self.note_query(node.cast()),
                _ => {}
            }
        }
    }

    unsafe fn note_query(&mut self, query: *mut Query) {
        const SHOW_ALL_SETTINGS: u32 = 2084;
        // SAFETY: a query of the tree.
        unsafe {
            if !(*query).setOperations.is_null() {
                self.sets.push(query);
            }
            let entries = nodes::pointers::<pg_sys::RangeTblEntry>((*query).rtable);
            for (i, rte) in entries.enumerate() {
                if (*rte).rtekind == pg_sys::RTEKind::RTE_FUNCTION
                    && nodes::pointers::<pg_sys::RangeTblFunction>((*rte).functions).any(
                        |function| {
                            let call = (*function).funcexpr;
                            nodes::is_a(call, NodeTag::T_FuncExpr)
                                && (*call.cast::<pg_sys::FuncExpr>()).funcid.to_u32()
                                    == SHOW_ALL_SETTINGS
                        },
                    )
                {
                    self.settings.push((rte, i as i32 + 1));
                }
            }
        }
    }

    /// Puts every check into the query, which is about to be planned.
    ///
    /// # Safety
    /// The tree is the caller's own, and as it was when it was looked at.
    pub unsafe fn check(self) -> Result<(), Denial> {
        // SAFETY: nodes are changed in place, and none is freed.
        unsafe {
            for query in self.sets {
                let top = (*query).setOperations;
                let types = (*top.cast::<pg_sys::SetOperationStmt>()).colTypes;
                judge_set(query, top, types)?;
            }
            for node in self.expressions {
                match (*node).type_ {
                    NodeTag::T_FuncExpr => {
                        guard_result(node.cast());
                        guard_call(node.cast());
                    }
                    NodeTag::T_RelabelType => guard_relabel(node.cast()),
                    _ => guard_input(node.cast()),
                }
            }
            for (rte, rti) in self.settings {
                show_some_settings(rte, rti);
            }
        }
        Ok(())
    }
}

/// The columns of UNION and the like are converted by the planner, behind every check: what becomes a regclass or
/// the like there has to be one already.
unsafe fn judge_set(
    query: *const pg_sys::Query,
    part: *const Node,
    types: *const List,
) -> Result<(), Denial> {
    // SAFETY: a tree of set operations: inner nodes with the types of their columns, and references to sub-queries of
    // the query's range table.
    unsafe {
        if nodes::is_a(part, NodeTag::T_SetOperationStmt) {
            let set = part.cast::<pg_sys::SetOperationStmt>();
            judge_types(nodes::oids((*set).colTypes), types)?;
            judge_set(query, (*set).larg, (*set).colTypes)?;
            return judge_set(query, (*set).rarg, (*set).colTypes);
        }
        if !nodes::is_a(part, NodeTag::T_RangeTblRef) {
            return Ok(());
        }
        let rtindex = (*part.cast::<pg_sys::RangeTblRef>()).rtindex;
        let leaf = (*nodes::rte((*query).rtable, rtindex as u32)).subquery;
        if leaf.is_null() {
            return Ok(());
        }
        let columns = nodes::pointers::<pg_sys::TargetEntry>((*leaf).targetList)
            .filter(|entry| !(**entry).resjunk)
            .map(|entry| raw::exprType((*entry).expr.cast()));
        judge_types(columns, types)
    }
}

unsafe fn judge_types(
    columns: impl Iterator<Item = Oid>,
    types: *const List,
) -> Result<(), Denial> {
    // SAFETY: a list of types.
    let wanted = unsafe { nodes::oids(types) };
    for (column, wanted) in columns.zip(wanted) {
        if column != wanted && super::objects::prints_names(wanted) {
            let name = super::objects::type_name(wanted);
            return Err(Denial::new(
                Rule::StatementNotAllowed,
                name.as_str(),
                format!("UNION, INTERSECT and EXCEPT do not turn other values into {name}"),
            )
            .hint("Cast each of the columns to one type, text for example."));
        }
    }
    Ok(())
}

/// `pg_settings` leaves out what holds paths, addresses, commands and other programs' settings.
unsafe fn show_some_settings(rte: *mut pg_sys::RangeTblEntry, rti: i32) {
    const NAME: i16 = 1;
    // SAFETY: the function's first column is the setting's name, a text.
    unsafe {
        let name = pg_sys::makeVar(
            rti as _,
            NAME,
            pg_sys::TEXTOID,
            -1,
            pg_sys::DEFAULT_COLLATION_OID,
            0,
        );
        let condition = pg_sys::makeFuncExpr(
            functions().setting_shown,
            pg_sys::BOOLOID,
            pg_sys::lappend(std::ptr::null_mut::<List>(), name.cast()),
            Oid::INVALID,
            Oid::INVALID,
            pg_sys::CoercionForm::COERCE_EXPLICIT_CALL,
        );
        (*rte).securityQuals = pg_sys::lappend((*rte).securityQuals, condition.cast());
    }
}

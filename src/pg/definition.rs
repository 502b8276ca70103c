//! Data definition: what a role of capability `ddl` may make, and what its expressions may call.

use pgrx::pg_sys::{self, NodeTag, Oid};
use policy::model::{Access, Capability};
use policy::rule::Rule;

use super::utility::{compat_string, string};
use super::{json_constructor, names, nodes, objects, raw};
use crate::catalog::Policy;
use crate::denial::Denial;
use crate::{enforce, plan};

/// An object that a command creates, changes or drops, whatever command that was.
pub fn judge_object(policy: &Policy, class: Oid, object: Oid) -> Result<(), Denial> {
    if policy.capability == Capability::ReadOnly {
        return Err(plan::read_only("creating, changing or dropping objects"));
    }
    if policy.capability < Capability::Ddl {
        return Err(Denial::new(
            Rule::StatementNotAllowed,
            "data definition",
            "creating, changing or dropping objects is not allowed",
        )
        .hint("This role may change rows (INSERT, UPDATE, DELETE, MERGE), not definitions."));
    }
    // pg_type, pg_attrdef, pg_constraint, pg_rewrite, pg_trigger: parts of a relation.
    const PARTS: [u32; 5] = [1247, 2604, 2606, 2618, 2620];
    if PARTS.contains(&class.to_u32()) {
        return Ok(());
    }
    if class == pg_sys::RelationRelationId {
        let known = Some(names::relation_schema(object)).filter(|schema| *schema != Oid::INVALID);
        return judge_schema(policy, known.or_else(|| names::new_relation_schema(object)));
    }
    // pg_temp comes into being with the first temporary object.
    const PG_NAMESPACE: u32 = 2615;
    if class.to_u32() == PG_NAMESPACE {
        return Err(no_schema());
    }
    Err(Denial::new(
        Rule::StatementNotAllowed,
        format!("object of catalog {}", class.to_u32()),
        "only tables, views, indexes and sequences may be created, changed or dropped",
    )
    .hint("Use CREATE, ALTER, DROP or TRUNCATE of a table, view, index or sequence."))
}

/// The schema that a relation is, or would be, in.
pub fn judge_schema(policy: &Policy, schema: Option<Oid>) -> Result<(), Denial> {
    if schema.is_some_and(|schema| policy.may_define_in(schema) || names::is_toast_schema(schema)) {
        return Ok(());
    }
    let schema = schema.and_then(names::schema_name).unwrap_or_default();
    Err(Denial::new(
        Rule::RelationNotAllowed,
        schema.as_str(),
        format!("nothing may be created, changed or dropped in schema {schema}"),
    )
    .hint("Work in a schema that is allowed for writing; temporary relations are not allowed."))
}

/// The denial of a schema as an object, and so of the one that temporary relations are in.
pub fn no_schema() -> Denial {
    Denial::new(
        Rule::StatementNotAllowed,
        "schema",
        "neither schemas nor temporary relations may be created, changed or dropped",
    )
    .hint("Work in a schema that is allowed for writing.")
}

/// Data definition may not touch what has masks or filters, nor refer to it: constraint and index
/// errors would print it, and copies would carry it.
///
/// # Safety
/// `node` is a utility statement's tree.
pub unsafe fn judge_definition(policy: &Policy, node: *mut pg_sys::Node) {
    let mut relations = Vec::new();
    let mut keys = Vec::new();
    // SAFETY: each cast follows the node's tag; lists are of the kinds that parsenodes.h gives.
    unsafe {
        match (*node).type_ {
            NodeTag::T_AlterTableStmt => {
                let alter = node.cast::<pg_sys::AlterTableStmt>();
                relations.push((*alter).relation);
                for command in nodes::pointers::<pg_sys::AlterTableCmd>((*alter).cmds) {
                    referenced((*command).def, &mut relations, &mut keys);
                }
            }
            NodeTag::T_IndexStmt => relations.push((*node.cast::<pg_sys::IndexStmt>()).relation),
            NodeTag::T_RenameStmt => relations.push((*node.cast::<pg_sys::RenameStmt>()).relation),
            NodeTag::T_TruncateStmt => {
                relations.extend(nodes::pointers::<pg_sys::RangeVar>(
                    (*node.cast::<pg_sys::TruncateStmt>()).relations,
                ));
            }
            NodeTag::T_CreateStmt => {
                let create = node.cast::<pg_sys::CreateStmt>();
                relations.extend(nodes::pointers::<pg_sys::RangeVar>((*create).inhRelations));
                for list in [(*create).tableElts, (*create).constraints] {
                    for element in nodes::pointers::<pg_sys::Node>(list) {
                        referenced(element, &mut relations, &mut keys);
                    }
                }
            }
            _ => {}
        }
        for relation in relations {
            let Some(relid) = names::of_range_var(relation) else {
                continue;
            };
            if policy.access(relid) == Access::Deny && !names::relation_kind(relid).is_index() {
                enforce::<()>(policy, Err(plan::relation_denied(policy, relid)));
            }
            if keys.contains(&relation) && policy.access(relid) < Access::Write {
                let name = names::relation(relid);
                enforce::<()>(
                    policy,
                    Err(Denial::new(
                        Rule::RelationNotAllowed,
                        name.as_str(),
                        format!(
                            "a foreign key may not refer to {name}: it would keep others from \
                             deleting its rows"
                        ),
                    )
                    .hint("Leave the REFERENCES clause out.")),
                );
            }
            if policy.relation(relid).hides() {
                let name = names::relation(relid);
                enforce::<()>(
                    policy,
                    Err(Denial::new(
                        Rule::StatementNotAllowed,
                        name.as_str(),
                        format!("{name} has masks, row filters or denied columns and may not be altered, referred to or copied"),
                    )
                    .hint("Leave its definition to the database administrator.")),
                );
            }
        }
    }
}

/// Expressions of data definition (defaults, checks, generated columns, index expressions) never
/// pass parse analysis as a query: what they call is looked at here, by name. Some of it will run in
/// sessions of others, with their rights, when they write to the table.
///
/// # Safety
/// `node` is a utility statement's raw tree.
pub unsafe fn judge_calls(policy: &Policy, node: *mut pg_sys::Node) {
    let mut called = Vec::new();
    // SAFETY: the statement's raw tree; `called` is only pushed to.
    unsafe { calls_in(node, &mut called) };
    for name in called {
        // SAFETY: inside a transaction; the names are those of the statement.
        let callable = unsafe { candidates(&name) };
        // What a body does in somebody else's session nobody has judged.
        let denied = |f: &Oid| {
            f.to_u32() != crate::catalog::access::NEXTVAL
                && (f.to_u32() >= super::FIRST_NORMAL_OID || !policy.function_allowed(*f, true))
        };
        let other = name.name.is_null();
        if other || callable.iter().any(denied) {
            let called = if other { "" } else { "function " };
            let name = name.parts.join(".");
            enforce::<()>(
                policy,
                Err(Denial::new(
                    Rule::FunctionNotAllowed,
                    name.as_str(),
                    format!("{called}{name} is not allowed in a definition"),
                )
                .hint("Use built-in functions.")),
            );
        }
    }
}

/// Expressions that a utility command evaluates as they are written, past the checks that go into a plan (the
/// arguments of EXECUTE, also below EXPLAIN and CREATE TABLE AS; the condition of COPY FROM): there no OID becomes a
/// name.
///
/// # Safety
/// `node` is a utility statement.
pub unsafe fn judge_unplanned(node: *mut pg_sys::Node) -> Result<(), Denial> {
    // SAFETY: by the caller's promise, and each cast follows the tag.
    let (expressions, whose) = unsafe {
        match (*node).type_ {
            NodeTag::T_ExecuteStmt => (
                (*node.cast::<pg_sys::ExecuteStmt>()).params.cast(),
                "EXECUTE",
            ),
            NodeTag::T_CopyStmt => ((*node.cast::<pg_sys::CopyStmt>()).whereClause, "COPY"),
            NodeTag::T_Query => {
                let inner = (*node.cast::<pg_sys::Query>()).utilityStmt;
                return if inner.is_null() {
                    Ok(())
                } else {
                    judge_unplanned(inner)
                };
            }
            _ => {
                return match super::utility::carried_raw(node) {
                    Some(inner) => judge_unplanned(inner),
                    None => Ok(()),
                };
            }
        }
    };
    let mut refused: Vec<String> = Vec::new();
    let context: *mut Vec<String> = &mut refused;
    // SAFETY: NIL, a list or a tree of raw expressions; the walker only notes names.
    let looked = unsafe { super::boundary::call(|| note_refused(expressions, context.cast())) };
    if let Err(thrown) = looked {
        thrown.replace();
        refused.push(UNKNOWN.to_owned());
    }
    match refused.first() {
        None => Ok(()),
        Some(name) => Err(Denial::new(
            Rule::StatementNotAllowed,
            whose,
            format!("{name} is not allowed in an expression of {whose}"),
        )
        .hint("Give it plain values, and convert them in a query.")),
    }
}

const UNKNOWN: &str = "an expression that cannot be looked into";

/// What a constructor is called in a denial, where it is none of the functions that have a name.
const CONSTRUCTOR: &str = "an SQL/JSON constructor";

/// Functions whose values are bounded in a plan only.
const BOUNDED: [&str; 5] = ["repeat", "lpad", "rpad", "array_fill", "format"];

/// What a raw expression has that is checked in a plan only.
unsafe extern "C-unwind" fn note_refused(
    node: *mut pg_sys::Node,
    context: *mut core::ffi::c_void,
) -> bool {
    if node.is_null() {
        return false;
    }
    // SAFETY: `context` is the vector that `judge_unplanned` passes; each cast follows the tag.
    unsafe {
        let refused = context.cast::<Vec<String>>();
        match (*node).type_ {
            NodeTag::T_FuncCall => {
                let names = (*node.cast::<pg_sys::FuncCall>()).funcname;
                let name = nodes::pointers::<pg_sys::Node>(names)
                    .last()
                    .map(|part| string(compat_string(part)));
                if let Some(name) = name
                    && (name.starts_with("reg")
                        && !name.starts_with("regexp")
                        && !name.starts_with("regr")
                        || BOUNDED.contains(&name.as_str()))
                {
                    (*refused).push(name);
                }
            }
            NodeTag::T_TypeName => {
                if let Some(typid) = type_of(node) {
                    let element = pg_sys::get_base_element_type(typid);
                    if objects::prints_names(typid)
                        || pg_sys::type_is_rowtype(typid)
                        || element != Oid::INVALID && pg_sys::type_is_rowtype(element)
                    {
                        (*refused).push(objects::type_name(typid));
                    }
                }
            }
            _ if json_constructor::is_raw(node) => (*refused).push(CONSTRUCTOR.to_owned()),
            _ => {}
        }
        raw::raw_expression_tree_walker(node, Some(note_refused), context)
    }
}

/// `serial` is none.
unsafe fn type_of(node: *mut pg_sys::Node) -> Option<Oid> {
    // SAFETY: the caller has looked at the tag.
    let typid = unsafe { pg_sys::LookupTypeNameOid(std::ptr::null_mut(), node.cast(), true) };
    (typid != Oid::INVALID).then_some(typid)
}

/// A function that a definition calls.
struct Called {
    name: *mut pg_sys::List,
    parts: Vec<String>,
    arguments: i32,
}

impl Called {
    /// Stands for what is no function, or cannot be looked into.
    fn other(what: &str) -> Self {
        Self {
            name: std::ptr::null_mut(),
            parts: vec![what.to_owned()],
            arguments: 0,
        }
    }
}

/// The functions that a call may turn out to mean.
unsafe fn candidates(called: &Called) -> Vec<Oid> {
    let mut found = Vec::new();
    // SAFETY: a list of names of the statement's tree; the answer is a list in this context.
    unsafe {
        let mut next = if called.name.is_null() {
            std::ptr::null_mut()
        } else {
            pg_sys::FuncnameGetCandidates(
                called.name,
                called.arguments,
                std::ptr::null_mut(),
                true,
                true,
                false,
                true,
            )
        };
        while !next.is_null() {
            found.push((*next).oid);
            next = (*next).next;
        }
    }
    found
}

unsafe extern "C-unwind" fn note_call(
    node: *mut pg_sys::Node,
    context: *mut core::ffi::c_void,
) -> bool {
    if node.is_null() {
        return false;
    }
    // SAFETY: `context` is the vector that `calls_in` passes; each cast follows the node's tag.
    unsafe {
        if json_constructor::is_raw(node) {
            (*context.cast::<Vec<Called>>()).push(Called::other(CONSTRUCTOR));
        }
        if (*node).type_ == NodeTag::T_TypeName
            && let Some(typid) = type_of(node)
            && objects::prints_names(typid)
        {
            let name = objects::type_name(typid);
            (*context.cast::<Vec<Called>>()).push(Called::other(&name));
        }
        if (*node).type_ == NodeTag::T_FuncCall {
            let names =
                nodes::pointers::<pg_sys::Node>((*node.cast::<pg_sys::FuncCall>()).funcname);
            let name: Vec<String> = names.map(|part| string(compat_string(part))).collect();
            let call = node.cast::<pg_sys::FuncCall>();
            let arguments = if (*call).args.is_null() {
                0
            } else {
                (*(*call).args).length
            };
            (*context.cast::<Vec<Called>>()).push(Called {
                name: (*call).funcname,
                parts: name,
                arguments: if (*call).agg_star { 0 } else { arguments },
            });
        }
        raw::raw_expression_tree_walker(node, Some(note_call), context)
    }
}

unsafe fn calls_in(node: *mut pg_sys::Node, into: &mut Vec<Called>) {
    if node.is_null() {
        return;
    }
    // SAFETY: each cast follows the node's tag; expressions are walked by the server's walker.
    unsafe {
        let list = |list: *mut pg_sys::List, into: &mut Vec<Called>| {
            for element in nodes::pointers::<pg_sys::Node>(list) {
                calls_in(element, into);
            }
        };
        match (*node).type_ {
            NodeTag::T_CreateStmt => {
                let create = node.cast::<pg_sys::CreateStmt>();
                list((*create).tableElts, into);
                list((*create).constraints, into);
                if !(*create).partspec.is_null() {
                    list((*(*create).partspec).partParams, into);
                }
                calls_in((*create).partbound.cast(), into);
            }
            NodeTag::T_AlterTableStmt => {
                for command in nodes::pointers::<pg_sys::AlterTableCmd>(
                    (*node.cast::<pg_sys::AlterTableStmt>()).cmds,
                ) {
                    calls_in((*command).def, into);
                }
            }
            NodeTag::T_IndexStmt => {
                let index = node.cast::<pg_sys::IndexStmt>();
                list((*index).indexParams, into);
                calls_in((*index).whereClause, into);
            }
            NodeTag::T_ColumnDef => {
                let column = node.cast::<pg_sys::ColumnDef>();
                calls_in((*column).typeName.cast(), into);
                calls_in((*column).raw_default, into);
                list((*column).constraints, into);
            }
            NodeTag::T_Constraint => {
                let constraint = node.cast::<pg_sys::Constraint>();
                calls_in((*constraint).raw_expr, into);
                calls_in((*constraint).where_clause, into);
            }
            NodeTag::T_IndexElem => calls_in((*node.cast::<pg_sys::IndexElem>()).expr, into),
            NodeTag::T_PartitionElem => {
                calls_in((*node.cast::<pg_sys::PartitionElem>()).expr, into)
            }
            NodeTag::T_PartitionCmd => {
                calls_in((*node.cast::<pg_sys::PartitionCmd>()).bound.cast(), into)
            }
            NodeTag::T_PartitionBoundSpec => {
                let bound = node.cast::<pg_sys::PartitionBoundSpec>();
                for datums in [
                    (*bound).listdatums,
                    (*bound).lowerdatums,
                    (*bound).upperdatums,
                ] {
                    list(datums, into);
                }
            }
            // Their queries pass parse analysis; the others hold no expression.
            NodeTag::T_CreateTableAsStmt
            | NodeTag::T_ViewStmt
            | NodeTag::T_TruncateStmt
            | NodeTag::T_DropStmt
            | NodeTag::T_RenameStmt
            | NodeTag::T_CreateSeqStmt
            | NodeTag::T_AlterSeqStmt
            | NodeTag::T_TableLikeClause
            | NodeTag::T_RangeVar
            | NodeTag::T_ReplicaIdentityStmt
            | NodeTag::T_List
            | NodeTag::T_String => {}
            _ => {
                let context: *mut Vec<Called> = into;
                if let Err(thrown) = super::boundary::call(|| note_call(node, context.cast())) {
                    // What cannot be looked into is not allowed.
                    thrown.replace();
                    (*context).push(Called::other(UNKNOWN));
                }
            }
        }
    }
}

/// The relations that part of a definition refers to, those of foreign keys in `keys` as well.
unsafe fn referenced(
    node: *mut pg_sys::Node,
    into: &mut Vec<*mut pg_sys::RangeVar>,
    keys: &mut Vec<*mut pg_sys::RangeVar>,
) {
    if node.is_null() {
        return;
    }
    // SAFETY: each cast follows the node's tag.
    unsafe {
        match (*node).type_ {
            NodeTag::T_ColumnDef => {
                for constraint in
                    nodes::pointers::<pg_sys::Node>((*node.cast::<pg_sys::ColumnDef>()).constraints)
                {
                    referenced(constraint, into, keys);
                }
            }
            NodeTag::T_Constraint => {
                let table = (*node.cast::<pg_sys::Constraint>()).pktable;
                into.push(table);
                keys.push(table);
            }
            NodeTag::T_TableLikeClause => {
                into.push((*node.cast::<pg_sys::TableLikeClause>()).relation)
            }
            NodeTag::T_PartitionCmd => into.push((*node.cast::<pg_sys::PartitionCmd>()).name),
            NodeTag::T_RangeVar => into.push(node.cast()),
            _ => {}
        }
    }
}

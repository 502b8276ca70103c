//! Expressions of masks and row filters: parsed against their relation, checked, and written back
//! in a form that means the same under any search_path.

use super::call::{arg, arg_is_null, c_string, sql_function, to_rust, to_server};
use super::mask_column::Attribute;
use super::{report, template, users};
use pgrx::pg_sys::{self, Datum, Node, Oid};
use pgrx::{PgLogLevel, PgSqlErrorCode};
use std::cell::RefCell;
use std::ffi::{CStr, c_char, c_void};
use std::ptr::null_mut;

pub fn refuse(code: PgSqlErrorCode, message: String, hint: String) -> ! {
    pgrx::pg_sys::panic::ErrorReport::new(code, message, "agent_policy")
        .set_hint(hint)
        .report(PgLogLevel::ERROR);
    unreachable!("report(ERROR) does not return")
}

/// The parse tree of `source`, which must be one expression and nothing else.
///
/// # Safety
/// `source` is a C string that outlives the tree.
unsafe fn raw_expression(source: *const c_char) -> *mut Node {
    // PL/pgSQL's mode takes what may follow SELECT, and no semicolon: nothing is pasted into a
    // statement's text, so nothing can escape from one.
    // SAFETY: raw_parser returns a list with one RawStmt around a SelectStmt in this mode.
    unsafe {
        let list = pg_sys::raw_parser(source, pg_sys::RawParseMode::RAW_PARSE_PLPGSQL_EXPR);
        let one = |list: *mut pg_sys::List| {
            if !list.is_null() && (*list).length == 1 {
                (*(*list).elements).ptr_value.cast::<Node>()
            } else {
                null_mut()
            }
        };
        let statement = one(list).cast::<pg_sys::RawStmt>();
        if !statement.is_null() && (*(*statement).stmt).type_ == pg_sys::NodeTag::T_SelectStmt {
            let s = (*statement).stmt.cast::<pg_sys::SelectStmt>();
            let target = one((*s).targetList).cast::<pg_sys::ResTarget>();
            let bare = (*s).distinctClause.is_null()
                && (*s).intoClause.is_null()
                && (*s).fromClause.is_null()
                && (*s).whereClause.is_null()
                && (*s).groupClause.is_null()
                && (*s).havingClause.is_null()
                && (*s).windowClause.is_null()
                && (*s).valuesLists.is_null()
                && (*s).sortClause.is_null()
                && (*s).limitOffset.is_null()
                && (*s).limitCount.is_null()
                && (*s).lockingClause.is_null()
                && (*s).withClause.is_null()
                && (*s).op == pg_sys::SetOperation::SETOP_NONE;
            if bare
                && !target.is_null()
                && (*target).name.is_null()
                && (*target).indirection.is_null()
            {
                // A lone * is a target list, not an expression: transformExpr would crash on it.
                let column = (*target).val.cast::<pg_sys::ColumnRef>();
                let star = (*column).type_ == pg_sys::NodeTag::T_ColumnRef
                    && one((*column).fields)
                        .as_ref()
                        .is_some_and(|f| f.type_ == pg_sys::NodeTag::T_A_Star);
                if !star {
                    return (*target).val;
                }
            }
        }
    }
    refuse(
        PgSqlErrorCode::ERRCODE_SYNTAX_ERROR,
        "not a single expression".into(),
        "Write one expression over the table's columns, as in a WHERE clause or behind SELECT: no alias, no FROM, no semicolon.".into(),
    )
}

/// What an expression must not hold.
struct Forbidden {
    depth: u32,
    system_column: bool,
    temporary: bool,
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn look(node: *mut Node, context: *mut c_void) -> bool {
    if node.is_null() {
        return false;
    }
    // SAFETY: PostgreSQL's walkers pass valid nodes; context is the Forbidden of `inspect`.
    unsafe {
        let found = &mut *context.cast::<Forbidden>();
        match (*node).type_ {
            pg_sys::NodeTag::T_Var => {
                let var = node.cast::<pg_sys::Var>();
                if (*var).varlevelsup == found.depth && (*var).varattno < 0 {
                    found.system_column = true;
                }
                false
            }
            pg_sys::NodeTag::T_RangeTblEntry => {
                let rte = node.cast::<pg_sys::RangeTblEntry>();
                if (*rte).rtekind == pg_sys::RTEKind::RTE_RELATION
                    && pg_sys::get_rel_persistence((*rte).relid) as u8
                        == pg_sys::RELPERSISTENCE_TEMP
                {
                    found.temporary = true;
                }
                false
            }
            pg_sys::NodeTag::T_Query => {
                // They run as whoever sets the filter: better refused now than for every reader.
                super::compat::check_permissions(node.cast());
                found.depth += 1;
                let stop = pg_sys::query_tree_walker(
                    node.cast(),
                    Some(look),
                    context,
                    pg_sys::QTW_EXAMINE_RTES_BEFORE as i32,
                );
                let found = &mut *context.cast::<Forbidden>();
                found.depth -= 1;
                stop
            }
            _ => pg_sys::expression_tree_walker(node, Some(look), context),
        }
    }
}

/// # Safety
/// `node` is an analysed expression.
unsafe fn inspect(node: *mut Node) {
    let mut found = Forbidden {
        depth: 0,
        system_column: false,
        temporary: false,
    };
    // SAFETY: the caller's; `found` outlives the walk.
    unsafe { look(node, (&raw mut found).cast()) };
    if found.system_column {
        refuse(
            PgSqlErrorCode::ERRCODE_INVALID_COLUMN_REFERENCE,
            "system columns cannot be used in a mask or row filter".into(),
            "Use the table's own columns.".into(),
        );
    }
    if found.temporary {
        refuse(
            PgSqlErrorCode::ERRCODE_INVALID_TABLE_DEFINITION,
            "temporary relations cannot be used in a mask or row filter".into(),
            "A policy outlives the session; use a permanent relation.".into(),
        );
    }
}

/// What makes the text of values and names the same in every session.
const OUTPUT: [(&CStr, &CStr); 6] = [
    (c"search_path", c"pg_catalog, pg_temp"),
    (c"DateStyle", c"ISO, YMD"),
    (c"IntervalStyle", c"postgres"),
    (c"extra_float_digits", c"1"),
    (c"bytea_output", c"hex"),
    (c"lc_monetary", c"C"),
];

/// Runs `work` under settings that make the text of values and names the same in every session.
pub fn stable_output<T>(work: impl FnOnce() -> T) -> T {
    template::under_settings(&OUTPUT, work)
}

/// The text of an expression that means the same under any search_path and style of dates.
///
/// # Safety
/// `node` is an analysed expression over `rel` alone.
unsafe fn canonical(node: *mut Node, rel: pg_sys::Relation) -> *mut c_char {
    // SAFETY: the context names the one relation that the expression's columns belong to.
    unsafe {
        stable_output(|| {
            let name = pg_sys::pstrdup((*(*rel).rd_rel).relname.data.as_ptr());
            let context = pg_sys::deparse_context_for(name, (*rel).rd_id);
            pg_sys::deparse_expression(node, context, false, false)
        })
    }
}

/// A parse state with nothing but the columns of a relation.
///
/// # Safety
/// `source` is a C string that outlives the state; `rel` is open.
unsafe fn state(rel: pg_sys::Relation, source: *const c_char) -> *mut pg_sys::ParseState {
    // SAFETY: the parser's own sequence for expressions over one relation, as for row security
    // policies (CreatePolicy); nodes live in the current memory context.
    unsafe {
        let pstate = pg_sys::make_parsestate(null_mut());
        (*pstate).p_sourcetext = source;
        let item = pg_sys::addRangeTableEntryForRelation(
            pstate,
            rel,
            pg_sys::AccessShareLock as i32,
            null_mut(),
            false,
            false,
        );
        pg_sys::addNSItemToQuery(pstate, item, false, true, true);
        pstate
    }
}

/// A stored expression as a tree.
pub struct Parsed {
    pub node: *mut Node,
    pub has_sub_queries: bool,
}

/// Parses what [`analyse`] has returned once, over the relation at range table index 1; a condition
/// is boolean.
///
/// # Safety
/// `rel` is open.
pub unsafe fn stored(rel: pg_sys::Relation, source: &str, condition: bool) -> Parsed {
    // SAFETY: see `state`.
    unsafe {
        let source = to_server(source);
        let pstate = state(rel, source);
        let raw = raw_expression(source);
        let mut node = pg_sys::transformExpr(pstate, raw, pg_sys::ParseExprKind::EXPR_KIND_POLICY);
        if condition {
            node = pg_sys::coerce_to_boolean(pstate, node, c"filter_rows".as_ptr());
        }
        pg_sys::assign_expr_collations(pstate, node);
        Parsed {
            node,
            has_sub_queries: (*pstate).p_hasSubLinks,
        }
    }
}

/// Parses `source` against a relation and returns its canonical text; for a column, an expression
/// of exactly its type and collation, otherwise a boolean one.
///
/// # Safety
/// `source` is a C string; `rel` is open.
pub unsafe fn analyse(
    rel: pg_sys::Relation,
    source: *const c_char,
    column: Option<&Attribute>,
) -> *mut c_char {
    // SAFETY: see `state`.
    unsafe {
        let pstate = state(rel, source);
        let raw = raw_expression(source);
        let mut node = pg_sys::transformExpr(pstate, raw, pg_sys::ParseExprKind::EXPR_KIND_POLICY);
        match column {
            None => node = pg_sys::coerce_to_boolean(pstate, node, c"filter_rows".as_ptr()),
            Some(_) if (*pstate).p_hasSubLinks => refuse(
                PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
                "subqueries cannot be used in a mask".into(),
                "Compute the value from the row's columns, or call a function.".into(),
            ),
            Some(c) => node = of_type(pstate, node, c),
        }
        pg_sys::assign_expr_collations(pstate, node);
        if let Some(c) = column
            && c.collation != pg_sys::InvalidOid
            && pg_sys::exprCollation(node) != c.collation
        {
            let collate =
                pg_sys::palloc0(size_of::<pg_sys::CollateExpr>()).cast::<pg_sys::CollateExpr>();
            (*collate).xpr.type_ = pg_sys::NodeTag::T_CollateExpr;
            (*collate).arg = node.cast();
            (*collate).collOid = c.collation;
            (*collate).location = -1;
            node = collate.cast();
        }
        inspect(node);
        canonical(node, rel)
    }
}

/// # Safety
/// `node` is an expression analysed in `pstate`.
unsafe fn of_type(
    pstate: *mut pg_sys::ParseState,
    node: *mut Node,
    column: &Attribute,
) -> *mut Node {
    // SAFETY: the caller's.
    unsafe {
        let given = pg_sys::exprType(node);
        let fits = given == pg_sys::UNKNOWNOID
            || pg_sys::can_coerce_type(
                1,
                &raw const given,
                &raw const column.type_id,
                pg_sys::CoercionContext::COERCION_ASSIGNMENT,
            );
        let node = if fits {
            // Explicit, as only that cuts a text to its length instead of raising.
            pg_sys::coerce_to_target_type(
                pstate,
                node,
                given,
                column.type_id,
                column.typmod,
                pg_sys::CoercionContext::COERCION_EXPLICIT,
                pg_sys::CoercionForm::COERCE_EXPLICIT_CAST,
                -1,
            )
        } else {
            null_mut()
        };
        if node.is_null() {
            refuse(
                PgSqlErrorCode::ERRCODE_DATATYPE_MISMATCH,
                format!(
                    "the expression is of type {}, but column \"{}\" is of type {}",
                    to_rust(pg_sys::format_type_be(given)),
                    column.name,
                    to_rust(pg_sys::format_type_be(column.type_id)),
                ),
                "Cast the expression to the column's type.".into(),
            );
        }
        node
    }
}

/// Opens the relation; the lock stays until the transaction ends.
///
/// # Safety
/// In a transaction.
pub unsafe fn open(relation: Datum) -> pg_sys::Relation {
    // SAFETY: raises if there is no such relation.
    unsafe {
        pg_sys::table_open(
            Oid::from(relation.value() as u32),
            pg_sys::AccessShareLock as i32,
        )
    }
}

/// What has been parsed and may be stored.
#[derive(Default, PartialEq, Eq)]
pub struct Written {
    /// 0 for a label.
    pub relid: u32,
    /// Of the column, or the label.
    pub name: Option<String>,
    pub mask: Option<String>,
    /// The canonical text, or a label's options.
    pub text: Option<String>,
}

thread_local! {
    /// The last one, and its author.
    static WRITTEN: RefCell<Option<(Written, Oid)>> = const { RefCell::new(None) };
}

/// Whoever calls has had this parsed, with its own rights: a SECURITY DEFINER function further down
/// cannot know who that was.
pub fn note_written(what: Written) {
    WRITTEN.set(Some((what, users::current())));
}

sql_function! {
    /// _author(relation oid, name text, mask text, expression text) → regrole: who had this parsed just
    /// now. Nothing else gets into the tables, and nobody is taken for its author but who is.
    fn author / pg_finfo_author(fcinfo) {
        let text = |n| (!arg_is_null(fcinfo, n)).then(|| to_rust(c_string(arg(fcinfo, n))));
        let relid = if arg_is_null(fcinfo, 0) { 0 } else { arg(fcinfo, 0).value() as u32 };
        let wanted = Written { relid, name: text(1), mask: text(2), text: text(3) };
        match WRITTEN.take() {
            Some((what, author)) if what == wanted => Datum::from(author),
            _ => report::error(
                PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
                "this is no mask or row filter that has just been checked",
                "",
                "Call agent_policy.mask_column(), mask_label() or filter_rows().",
            ),
        }
    }
}

sql_function! {
    /// _filter_expression(relation oid, predicate text) → text
    fn filter_expression / pg_finfo_filter_expression(fcinfo) {
        let relid = arg(fcinfo, 0);
        let rel = open(relid);
        let text = {
            let _caller = users::restricted();
            analyse(rel, c_string(arg(fcinfo, 1)), None)
        };
        pg_sys::table_close(rel, pg_sys::NoLock as i32);
        note_written(Written {
            relid: relid.value() as u32,
            text: Some(to_rust(text)),
            ..Written::default()
        });
        Datum::from(pg_sys::cstring_to_text(text))
    }
}

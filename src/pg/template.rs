//! Masks and filters as node trees: parsed once from the stored text, copied into each query.
//!
//! The text is canonical (every name outside pg_catalog is qualified), and it is parsed under
//! settings of our own, so that nothing the agent has SET changes what it means. Parsing runs code:
//! the input functions of types, the constraints of domains inside them. So it is done with the
//! rights of whoever wrote the text, in the agent's session too.

use std::collections::BTreeMap;
use std::ffi::CStr;

use pgrx::pg_sys::{self, List, NodeTag, Oid, Query};
use policy::mask::numeric;

use super::placeholder::{self, Numbers};
use super::{compat, formats, internal, mask_expr, names, nodes, raw, scan, text, users};
use crate::catalog::{Filter, Mask, Relation, SYSTEM};

/// What stands in for a relation.
pub struct Template {
    context: pg_sys::MemoryContext,
    /// `SELECT <every column or its mask> FROM relation`; null without masks.
    masked: *mut Query,
    /// For each column a placeholder of its mask, without a number; null where the column itself is shown, or a mask
    /// that sees nothing of the row, and for foreign tables.
    at_scan: Vec<*mut pg_sys::PlaceHolderVar>,
    /// The planner would pull `masked` up wherever nothing is joined to it from outside.
    simple: bool,
    /// The filters, each an expression over the relation at range table index 1; NIL without.
    filters: *mut List,
    /// The condition on a group of its rows; null where rows are shown one by one.
    group: *mut pg_sys::Node,
    /// Functions that the expressions call.
    pub functions: Vec<Oid>,
    /// An expression of the DBA's may raise an error that quotes a value.
    pub may_raise: bool,
    /// Settings that masks or filters depend on: see [`formats`].
    pub needs: u32,
}

impl Drop for Template {
    fn drop(&mut self) {
        // SAFETY: the context is this template's own, and nobody keeps pointers into it: users
        // copy. While the process exits the server's memory is left to the kernel.
        unsafe {
            if !pg_sys::proc_exit_inprogress {
                pg_sys::MemoryContextDelete(self.context);
            }
        }
    }
}

impl std::fmt::Debug for Template {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Template").finish_non_exhaustive()
    }
}

/// What is shown in the place of a column; the template's own, to be copied.
#[derive(Clone, Copy)]
pub struct Shown {
    pub mask: *const pg_sys::Node,
    /// The same, computed where the relation is scanned; null where the mask sees nothing of the row.
    pub at_scan: *const pg_sys::PlaceHolderVar,
}

/// What every parse of policy text is done under.
const SETTINGS: [(&CStr, &CStr); 6] = [
    (c"search_path", c"pg_catalog, pg_temp"),
    (c"transform_null_equals", c"off"),
    (c"standard_conforming_strings", c"on"),
    (c"DateStyle", c"ISO, YMD"),
    (c"IntervalStyle", c"postgres"),
    (c"xmloption", c"content"),
];

/// Runs `work` with the settings that policy text means, and puts the session's back.
pub fn under_own_settings<T>(work: impl FnOnce() -> T) -> T {
    under_settings(&SETTINGS, work)
}

/// Runs `work` under these settings, and puts the session's back.
pub fn under_settings<T>(settings: &[(&CStr, &CStr)], work: impl FnOnce() -> T) -> T {
    // SAFETY: a settings level is opened and closed around the work; after an ERROR the
    // transaction's abort closes it.
    unsafe {
        let level = pg_sys::NewGUCNestLevel();
        for (name, value) in settings {
            pg_sys::set_config_option(
                name.as_ptr(),
                value.as_ptr(),
                pg_sys::GucContext::PGC_USERSET,
                pg_sys::GucSource::PGC_S_SESSION,
                pg_sys::GucAction::GUC_ACTION_SAVE,
                true,
                0,
                false,
            );
        }
        let result = work();
        // As after an error: what functions have SET meanwhile goes as well.
        pg_sys::AtEOXact_GUC(false, level);
        result
    }
}

/// Parses and analyzes one SELECT of ours, with nobody else's text in it.
fn analyze(sql: &str) -> *mut Query {
    let sql = text::to_c(sql);
    // The agent may lack USAGE on the relation's schema.
    let _owner = users::become_owner();
    // SAFETY: one statement of our own making goes through the parser; the text outlives it.
    unsafe {
        let raw = pg_sys::raw_parser(sql.as_ptr(), pg_sys::RawParseMode::RAW_PARSE_DEFAULT);
        let mut statements = nodes::pointers::<pg_sys::RawStmt>(raw);
        let statement = statements.next();
        assert!(statements.next().is_none(), "policy text is one statement");
        let statement = statement.unwrap_or_else(|| unreachable!("policy text is not empty"));
        pg_sys::parse_analyze_fixedparams(
            statement,
            sql.as_ptr(),
            std::ptr::null(),
            0,
            std::ptr::null_mut(),
        )
    }
}

fn build(relation: &Relation) -> Template {
    let (relid, masks, filters) = (relation.relid, &relation.masks, &relation.filters);
    // SAFETY: a fresh context is made current while the trees are copied into it. Should an ERROR
    // come in between, it hangs below CacheMemoryContext, small and unreferenced.
    unsafe {
        let context = pg_sys::AllocSetContextCreateExtended(
            pg_sys::CacheMemoryContext,
            c"agent_policy template".as_ptr(),
            pg_sys::ALLOCSET_SMALL_MINSIZE as usize,
            pg_sys::ALLOCSET_SMALL_INITSIZE as usize,
            pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
        );
        // What parsing calls is no function that the agent calls.
        let _internal = internal::enter();
        let (mut may_raise, mut needs) = (false, 0);
        // Also a foreign table without masks is read through a sub-query, see `rewrite`.
        let plain = !names::relation_kind(relid).is_foreign();
        let (masked, quals, group) = under_own_settings(|| {
            let masked = if masks.is_empty() && plain {
                std::ptr::null_mut()
            } else {
                masked_query(relid, masks, &mut may_raise, &mut needs)
            };
            let mut quals = std::ptr::null_mut();
            for filter in filters {
                let qual = filter_expression(relid, filter);
                if filter.name != SYSTEM {
                    may_raise |= pg_sys::contain_leaked_vars(qual) || is_computed(relid, qual);
                    needs |= formats::needed_by(qual);
                }
                quals = pg_sys::lappend(quals, qual.cast());
            }
            let group = relation.group_size.map_or(std::ptr::null_mut(), |minimum| {
                group_condition(relid, minimum)
            });
            (masked, quals, group)
        });
        let caller = pg_sys::MemoryContextSwitchTo(context);
        let masked = nodes::copy(masked);
        let filters: *mut List = nodes::copy(quals);
        let group = nodes::copy(group);
        let at_scan = placeholders(relid, masked);
        pg_sys::MemoryContextSwitchTo(caller);
        let simple = !masked.is_null() && plain && {
            let list = (*masked).targetList.cast();
            !pg_sys::contain_volatile_functions(list) && !pg_sys::expression_returns_set(list)
        };
        let mut functions = Vec::new();
        collect_functions(masked.cast(), &mut functions);
        for filter in nodes::pointers::<pg_sys::Node>(filters) {
            collect_functions(filter, &mut functions);
        }
        Template {
            context,
            masked,
            at_scan,
            simple,
            filters,
            group,
            functions,
            may_raise,
            needs,
        }
    }
}

/// Of each column, see [`Template::at_scan`]; in the current memory context.
unsafe fn placeholders(relid: Oid, masked: *const Query) -> Vec<*mut pg_sys::PlaceHolderVar> {
    if masked.is_null() {
        return Vec::new();
    }
    // A foreign-data wrapper does not expect one where it groups on the other server.
    let is_foreign = |relation: Oid| names::relation_kind(relation).is_foreign();
    let foreign = is_foreign(relid) || names::descendants(relid).into_iter().any(is_foreign);
    // SAFETY: a query with one relation.
    unsafe {
        nodes::pointers::<pg_sys::TargetEntry>((*masked).targetList)
            .map(|entry| {
                let shown = (*entry).expr.cast::<pg_sys::Node>();
                if foreign
                    || nodes::is_a(shown, NodeTag::T_Var)
                    || !pg_sys::contain_vars_of_level(shown, 0)
                    || pg_sys::expression_returns_set(shown)
                {
                    std::ptr::null_mut()
                } else {
                    placeholder::at_scan(shown)
                }
            })
            .collect()
    }
}

/// Does an expression over the relation read a virtual column, whose own expression may raise an error?
unsafe fn is_computed(relid: Oid, node: *mut pg_sys::Node) -> bool {
    const VIRTUAL: u8 = b'v';
    let mut columns = Vec::new();
    // SAFETY: an analyzed expression; the walk only notes numbers.
    unsafe {
        nodes::walk(node, |node, _| {
            if nodes::is_a(node, NodeTag::T_Var) {
                columns.push((*node.cast::<pg_sys::Var>()).varattno);
            }
            false
        });
        columns
            .into_iter()
            .any(|attno| attno > 0 && pg_sys::get_attgenerated(relid, attno) as u8 == VIRTUAL)
    }
}

/// Adds what an expression calls, at every level of it.
///
/// # Safety
/// `node` is an analyzed tree, or null.
pub unsafe fn collect_functions(node: *mut pg_sys::Node, into: &mut Vec<Oid>) {
    if node.is_null() {
        return;
    }
    let mut expressions = Vec::new();
    // SAFETY: the tree is one of ours; the walk only notes pointers.
    unsafe {
        nodes::walk(node, |node, _| {
            if !matches!((*node).type_, NodeTag::T_Query | NodeTag::T_RangeTblEntry) {
                expressions.push(node);
            }
            false
        });
        for node in expressions {
            super::touched::functions_of(node, into);
        }
    }
}

unsafe fn masked_query(
    relid: Oid,
    masks: &BTreeMap<i16, Mask>,
    may_raise: &mut bool,
    needs: &mut u32,
) -> *mut Query {
    // SAFETY: the relation is locked by the statement that touches it; its descriptor is read
    // while it is open.
    unsafe {
        let relation = pg_sys::relation_open(relid, pg_sys::AccessShareLock as i32);
        let desc = (*relation).rd_att;
        let mut list = Vec::new();
        for i in 0..(*desc).natts as usize {
            let att = compat::attribute(desc, i);
            if (*att).attisdropped {
                list.push("NULL::pg_catalog.int4".to_owned());
                continue;
            }
            let name = text::from_ptr((*att).attname.data.as_ptr()).unwrap_or_default();
            let column = names::quote(&name);
            list.push(if masks.contains_key(&(*att).attnum) {
                format!("NULL AS {column}")
            } else {
                column
            });
        }
        let query = analyze(&format!(
            "SELECT {} FROM ONLY {}",
            list.join(", "),
            names::relation(relid)
        ));
        for (i, entry) in nodes::pointers::<pg_sys::TargetEntry>((*query).targetList).enumerate() {
            let att = compat::attribute(desc, i);
            let Some(mask) = masks.get(&(*att).attnum).filter(|_| !(*att).attisdropped) else {
                continue;
            };
            let name = text::from_ptr((*att).attname.data.as_ptr()).unwrap_or_default();
            let _author = users::act_for(parses_as(relation, &name, mask));
            let parsed = mask_expr::stored(relation, &mask.sql(relid, &name), false);
            if parsed.has_sub_queries {
                pgrx::error!("a mask has a sub-query");
            }
            (*entry).expr = parsed.node.cast();
            let by_dba = matches!(mask, Mask::Expression(_));
            if !by_dba {
                (*entry).expr = without_scaling((*entry).expr.cast(), att).cast();
            }
            (*entry).expr = fitted((*entry).expr, att);
            if by_dba {
                let expr = (*entry).expr.cast();
                *may_raise |= pg_sys::contain_leaked_vars(expr) || is_computed(relid, expr);
                *needs |= formats::needed_by(expr);
            }
        }
        pg_sys::relation_close(relation, pg_sys::AccessShareLock as i32);
        query
    }
}

/// Whose rights a mask is parsed with.
///
/// # Safety
/// `relation` is open.
unsafe fn parses_as(relation: pg_sys::Relation, column: &str, mask: &Mask) -> Oid {
    // SAFETY: an open relation.
    let (relid, owner) = unsafe { ((*relation).rd_id, (*(*relation).rd_rel).relowner) };
    if relid.to_u32() < super::FIRST_NORMAL_OID {
        // All of it is ours.
        return names::own_schema_owner();
    }
    let author = match mask {
        Mask::None | Mask::Null | Mask::Unclassified => return owner,
        Mask::Sql(sql) => author_of("policy_mask", |row| {
            row.text("mask") != Some("expression") && of_column(row, relid, column, sql)
        }),
        Mask::Expression(sql) => author_of("policy_mask", |row| {
            row.text("mask") == Some("expression") && of_column(row, relid, column, sql)
        }),
        Mask::OfLabel { mask, options } => author_of("policy_label", |row| {
            row.text("mask") == Some(&**mask) && row.text("options") == Some(&**options)
        }),
    };
    if matches!(mask, Mask::Expression(_)) {
        return author;
    }
    // The text names nothing but ours and the types of the column, which are its owner's choice.
    users::lesser(author, owner)
}

/// Is it a row with this very text about the column, here or where the relation has it from or hands
/// it on to? There it means the same.
fn of_column(row: &scan::Row<'_>, relid: Oid, column: &str, sql: &str) -> bool {
    row.text("column_name") == Some(column)
        && row.text("expression") == Some(sql)
        && row.oid("relation").is_some_and(|of| {
            let related = |below: Oid| below == of || names::ancestors(below).contains(&of);
            related(relid) || names::descendants(relid).into_iter().any(related)
        })
}

/// Who set such a mask; of several who have set the same, one that is no superuser. Nobody: 0.
fn author_of(table: &str, such: impl Fn(&scan::Row<'_>) -> bool) -> Oid {
    let table = scan::table(table);
    let rows = table.iter().flat_map(scan::Table::rows);
    rows.filter(such)
        .filter_map(|row| row.oid("definer").filter(|author| *author != Oid::INVALID))
        .min_by_key(|author| users::is_superuser(*author))
        .unwrap_or(Oid::INVALID)
}

/// The expression with exactly the column's type, typmod and collation.
unsafe fn fitted(
    expr: *mut pg_sys::Expr,
    att: *const pg_sys::FormData_pg_attribute,
) -> *mut pg_sys::Expr {
    // SAFETY: an analyzed expression and an attribute of an open relation.
    unsafe {
        let (typid, typmod, collation) = ((*att).atttypid, (*att).atttypmod, (*att).attcollation);
        if nodes::is_a(expr.cast(), NodeTag::T_Const) && (*expr.cast::<pg_sys::Const>()).constisnull
        {
            return pg_sys::makeNullConst(typid, typmod, collation).cast();
        }
        let mut expr = expr.cast::<pg_sys::Node>();
        let have = pg_sys::exprType(expr);
        if have != typid {
            expr = pg_sys::coerce_to_target_type(
                std::ptr::null_mut(),
                expr,
                have,
                typid,
                typmod,
                pg_sys::CoercionContext::COERCION_ASSIGNMENT,
                pg_sys::CoercionForm::COERCE_IMPLICIT_CAST,
                -1,
            );
            if expr.is_null() {
                pgrx::error!("a mask does not have its column's type");
            }
        }
        if pg_sys::exprTypmod(expr) != typmod || pg_sys::exprCollation(expr) != collation {
            expr = pg_sys::makeRelabelType(
                expr.cast(),
                typid,
                typmod,
                collation,
                pg_sys::CoercionForm::COERCE_IMPLICIT_CAST,
            )
            .cast();
        }
        expr.cast()
    }
}

/// Without the cast to `numeric(p, s)` around `mask_bucket`, whose result has that form where sizes are
/// whole and there are digits behind the point, or none.
unsafe fn without_scaling(
    expr: *mut pg_sys::Node,
    att: *const pg_sys::FormData_pg_attribute,
) -> *mut pg_sys::Node {
    /// `numeric(numeric, integer)`, the same in every version.
    const TO_TYPMOD: u32 = 1703;
    // SAFETY: an analyzed expression.
    unsafe {
        let Some(inner) = called(expr, |f| f.to_u32() == TO_TYPMOD) else {
            return expr;
        };
        let of_mask = |f| {
            names::in_own_schema(f)
                && names::function_name(f).is_some_and(|(_, n)| n == "mask_bucket")
        };
        let mut to = -1;
        let size = |call: *mut pg_sys::Node| {
            let argument =
                nodes::pointers::<pg_sys::Node>((*call.cast::<pg_sys::FuncExpr>()).args).nth(1)?;
            let constant = argument.cast::<pg_sys::Const>();
            (nodes::is_a(argument, NodeTag::T_Const) && !(*constant).constisnull)
                .then(|| numeric::whole(super::call::bytes((*constant).constvalue)))
                .flatten()
        };
        if called(inner, of_mask).is_some()
            && size(inner).is_some_and(|size| size.exact)
            && pg_sys::exprIsLengthCoercion(expr, &raw mut to)
            && to == (*att).atttypmod
            && numeric::of_type(to).is_some_and(|(_, scale)| scale >= 0)
        {
            inner
        } else {
            expr
        }
    }
}

/// The first argument of a call of such a function.
unsafe fn called(
    expr: *mut pg_sys::Node,
    such: impl FnOnce(Oid) -> bool,
) -> Option<*mut pg_sys::Node> {
    // SAFETY: an analyzed expression.
    unsafe {
        if !nodes::is_a(expr, NodeTag::T_FuncExpr) {
            return None;
        }
        let call = expr.cast::<pg_sys::FuncExpr>();
        if !such((*call).funcid) {
            return None;
        }
        nodes::pointers::<pg_sys::Node>((*call).args).next()
    }
}

unsafe fn filter_expression(relid: Oid, filter: &Filter) -> *mut pg_sys::Node {
    // SAFETY: an analyzed query of ours is handed to the rewriter, which may scribble on it; the
    // filter's expression is over the same one relation.
    unsafe {
        let query = analyze(&format!("SELECT 1 FROM ONLY {}", names::relation(relid)));
        let _author = users::act_for(filter.definer);
        let relation = pg_sys::relation_open(relid, pg_sys::AccessShareLock as i32);
        let parsed = mask_expr::stored(relation, &filter.expression, true);
        pg_sys::relation_close(relation, pg_sys::AccessShareLock as i32);
        (*(*query).jointree).quals = parsed.node;
        (*query).hasSubLinks = parsed.has_sub_queries;
        // Sub-queries read with the privileges of whoever set the filter.
        raw::guarded::set_rule_check_as_user(query.cast(), filter.definer);
        let rewritten = pg_sys::QueryRewrite(query);
        let query = nodes::pointers::<Query>(rewritten)
            .next()
            .unwrap_or_else(|| unreachable!("a SELECT is rewritten to a SELECT"));
        let quals = (*(*query).jointree).quals;
        mark_scans(quals);
        if quals.is_null() {
            pg_sys::makeBoolConst(true, false)
        } else {
            quals
        }
    }
}

unsafe fn group_condition(relid: Oid, minimum: i32) -> *mut pg_sys::Node {
    let query = analyze(&format!(
        "SELECT pg_catalog.count(*) OPERATOR(pg_catalog.>=) {minimum} FROM {}",
        names::relation(relid)
    ));
    // SAFETY: an analyzed query with one column.
    unsafe {
        nodes::pointers::<pg_sys::TargetEntry>((*query).targetList)
            .next()
            .map_or(std::ptr::null_mut(), |entry| (*entry).expr.cast())
    }
}

/// Marks the relations that a filter's sub-queries read: they stand as the policy wants them.
unsafe fn mark_scans(node: *mut pg_sys::Node) {
    if node.is_null() {
        return;
    }
    let mut entries = Vec::new();
    // SAFETY: the tree is one of ours.
    unsafe {
        nodes::walk(node, |node, _| {
            if nodes::is_a(node, NodeTag::T_RangeTblEntry) {
                entries.push(node.cast::<pg_sys::RangeTblEntry>());
            }
            false
        });
        for rte in entries {
            // Views too: their entry carries the permission to read them.
            if (*rte).relid != Oid::INVALID {
                super::marks::mark_filter(rte);
            }
        }
    }
}

impl Template {
    /// Builds what stands in for `relid`. Raises when a stored text does not parse any more.
    pub fn build(relation: &Relation) -> Self {
        build(relation)
    }

    pub fn has_masks(&self) -> bool {
        !self.masked.is_null()
    }

    /// May its masks be put in the place of columns? They are neither volatile nor sets, and the relation is not a
    /// foreign one.
    pub fn is_simple(&self) -> bool {
        self.simple
    }

    /// What is shown in the place of a column, over range table index 1. None: the column itself.
    pub fn shown(&self, attno: i16) -> Option<Shown> {
        // SAFETY: the target list has an entry for each column, in their order.
        unsafe {
            let list = (*self.masked).targetList;
            assert!(
                attno > 0 && i32::from(attno) <= (*list).length,
                "the columns of a relation have changed under its lock"
            );
            let entry = (*(*list).elements.add(attno as usize - 1))
                .ptr_value
                .cast::<pg_sys::TargetEntry>();
            let mask = (*entry).expr.cast::<pg_sys::Node>();
            let itself = nodes::is_a(mask, NodeTag::T_Var)
                && (*mask.cast::<pg_sys::Var>()).varattno == attno;
            (!itself).then(|| Shown {
                mask,
                at_scan: self.at_scan[attno as usize - 1],
            })
        }
    }

    /// What is shown of each column, in their order; copies.
    pub fn all_shown(&self) -> *mut List {
        let mut all = std::ptr::null_mut();
        // SAFETY: the template lives while it is copied.
        unsafe {
            for entry in nodes::pointers::<pg_sys::TargetEntry>((*self.masked).targetList) {
                all = pg_sys::lappend(all, nodes::copy((*entry).expr).cast());
            }
        }
        all
    }

    /// A copy of the masked query, in the current memory context. With numbers, masks that need the column's value are
    /// computed where the relation is scanned.
    pub fn masked(&self, numbers: Option<&mut Numbers>) -> *mut Query {
        // SAFETY: the template lives while it is copied; the copy is the query's own.
        unsafe {
            let copied = nodes::copy(self.masked);
            if let Some(numbers) = numbers {
                let entries = nodes::pointers::<pg_sys::TargetEntry>((*copied).targetList);
                for (entry, prepared) in entries.zip(&self.at_scan) {
                    if !prepared.is_null() {
                        let placeholder = nodes::copy(*prepared);
                        (*placeholder).phid = numbers.next();
                        (*entry).expr = placeholder.cast();
                    }
                }
            }
            copied
        }
    }

    pub fn has_filters(&self) -> bool {
        !self.filters.is_null()
    }

    /// Copies of the filters over range table index `rti`, ready for a query that is about to be
    /// planned; the relations of their sub-queries are locked.
    pub fn filters(&self, rti: i32) -> *mut List {
        // SAFETY: the template lives while it is copied; the copies are this query's own.
        unsafe {
            let copied: *mut List = nodes::copy(self.filters);
            if rti != 1 {
                pg_sys::ChangeVarNodes(copied.cast(), 1, rti, 0);
            }
            for filter in nodes::pointers::<pg_sys::Node>(copied) {
                lock_sub_queries(filter);
            }
            copied
        }
    }

    /// A copy of the condition on a group of its rows.
    pub fn group(&self) -> *mut pg_sys::Node {
        // SAFETY: the template lives while it is copied.
        unsafe { nodes::copy(self.group) }
    }

    pub fn filters_have_sub_queries(&self) -> bool {
        // SAFETY: reads the template's own trees.
        unsafe {
            nodes::pointers::<pg_sys::Node>(self.filters).any(|f| pg_sys::checkExprHasSubLink(f))
        }
    }
}

unsafe fn lock_sub_queries(node: *mut pg_sys::Node) {
    let mut queries = Vec::new();
    // SAFETY: the tree is this query's own; only the outermost sub-queries are noted.
    unsafe {
        nodes::walk(node, |node, level| {
            if level == 0 && nodes::is_a(node, NodeTag::T_Query) {
                queries.push(node.cast::<Query>());
            }
            false
        });
        for query in queries {
            pg_sys::AcquireRewriteLocks(query, true, false);
        }
    }
}

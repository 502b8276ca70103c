//! Relations that may be read through aggregates only, groups of a few of their rows left out.
//!
//! Each query level that reads such a relation must group by itself; a condition is added to its
//! HAVING that counts the relation's own rows, each once however a join repeats them. What is looked
//! at before rows are grouped (WHERE, JOIN … ON, sub-queries in FROM, the grouping expressions) may
//! not raise an error: it would tell of a group of one.

use pgrx::pg_sys::{self, List, Node, NodeTag, Oid, Query, RTEKind, RangeTblEntry};
use policy::rule::Rule;

use super::touched::Command;
use super::{compat, names, nodes};
use crate::denial::Denial;

/// Aggregates whose result is no single row's value. min, max, array_agg and their like hand out the
/// value of one row.
const AGGREGATES: [&str; 21] = [
    "avg",
    "corr",
    "count",
    "covar_pop",
    "covar_samp",
    "regr_avgx",
    "regr_avgy",
    "regr_count",
    "regr_intercept",
    "regr_r2",
    "regr_slope",
    "regr_sxx",
    "regr_sxy",
    "regr_syy",
    "stddev",
    "stddev_pop",
    "stddev_samp",
    "sum",
    "var_pop",
    "var_samp",
    "variance",
];

/// Built-in functions that raise no error whatever their arguments hold, beyond those that the server
/// calls leakproof: lower, upper, length, date(timestamp), date(timestamptz), generate_series of two
/// integers, unnest(anyarray).
const GENTLE: [u32; 8] = [870, 871, 1317, 2029, 1178, 1067, 1069, 2331];

/// LIKE, NOT LIKE, ILIKE and NOT ILIKE of text, name and char: gentle when the pattern is a constant that
/// is whole.
const LIKE: [u32; 8] = [850, 851, 858, 859, 1631, 1632, 1633, 1634];

/// date_trunc and extract of dates and timestamps: gentle when the unit is one that all of them know.
const WITH_UNIT: [u32; 5] = [1217, 2020, 6199, 6202, 6203];
const UNITS: [&str; 5] = ["year", "quarter", "month", "week", "day"];

/// A relation of a query level, and what is demanded of its groups.
#[derive(Debug)]
pub struct Demand {
    pub owner: *mut Query,
    pub rti: i32,
    pub relid: Oid,
    pub minimum: i32,
}

impl Demand {
    fn denial(&self, message: &str, hint: &str) -> Denial {
        let name = names::relation(self.relid);
        Denial::new(
            Rule::GroupSize,
            name.as_str(),
            format!(
                "{message} {name}: its rows are shown in groups of {} and more only",
                self.minimum
            ),
        )
        .with("minimum", self.minimum)
        .hint(hint)
    }

    /// A statement that changes the relation tells of single rows, unless it only adds some.
    ///
    /// # Errors
    /// When it does more.
    pub unsafe fn judge_target(&self) -> Result<(), Denial> {
        // SAFETY: the owner is a query that goes to the planner next.
        let adds = unsafe {
            Command::from_cmd((*self.owner).commandType) == Command::Insert
                && (*self.owner).onConflict.is_null()
                && (*self.owner).returningList.is_null()
        };
        if adds {
            return Ok(());
        }
        Err(self.denial(
            "this statement would tell of single rows of",
            "Use INSERT without RETURNING and ON CONFLICT.",
        ))
    }

    /// May the level read the relation as it does?
    ///
    /// # Errors
    /// When it could show a single row, or an error could.
    pub unsafe fn judge(&self) -> Result<(), Denial> {
        // SAFETY: the owner is a query that goes to the planner next.
        unsafe {
            let owner = self.owner;
            let groups = (*owner).hasAggs
                || !(*owner).groupClause.is_null()
                || !(*owner).groupingSets.is_null()
                || !(*owner).havingQual.is_null();
            if (*owner).commandType != pg_sys::CmdType::CMD_SELECT || !groups {
                return Err(self.denial(
                    "single rows are not shown of",
                    &format!(
                        "Aggregate in the same SELECT that reads it: SELECT …, count(*), avg(…) FROM {} GROUP BY …",
                        names::relation(self.relid)
                    ),
                ));
            }
            self.judge_vars()?;
            self.judge_aggregates()?;
            self.judge_before_groups()
        }
    }

    /// Its columns are named one by one, and only by this level where rows are not grouped yet.
    unsafe fn judge_vars(&self) -> Result<(), Denial> {
        let mut special = false;
        // SAFETY: the walk only reads.
        unsafe {
            nodes::walk(self.owner.cast(), |node, level| {
                if nodes::is_a(node, NodeTag::T_Var) {
                    let var = node.cast::<pg_sys::Var>();
                    special |=
                        (*var).varlevelsup + 1 == level && (*var).varattno <= 0 && self.is_of(var);
                }
                special
            });
        }
        if special {
            return Err(self.denial(
                "whole rows and system columns are not shown of",
                "Name its columns one by one.",
            ));
        }
        Ok(())
    }

    unsafe fn judge_aggregates(&self) -> Result<(), Denial> {
        let mut aggregates: Vec<*mut pg_sys::Aggref> = Vec::new();
        // SAFETY: the walk only notes nodes of the caller's tree.
        unsafe {
            nodes::walk(self.owner.cast(), |node, level| {
                if nodes::is_a(node, NodeTag::T_Aggref) {
                    let aggregate = node.cast::<pg_sys::Aggref>();
                    if (*aggregate).agglevelsup + 1 == level {
                        aggregates.push(aggregate);
                    }
                }
                false
            });
            for aggregate in aggregates {
                if !is_known_aggregate((*aggregate).aggfnoid, &[]) {
                    let name = names::function_name((*aggregate).aggfnoid);
                    return Err(self.denial(
                        &format!(
                            "{} is not allowed beside",
                            name.map_or_else(|| "an aggregate".into(), |(_, name)| name)
                        ),
                        "Use count, sum, avg, stddev, variance, corr, covar_… or regr_…: their results are no single row's.",
                    ));
                }
                if !(*aggregate).aggfilter.is_null() {
                    return Err(self.denial(
                        "FILTER is not allowed in aggregates beside",
                        "Put the condition into WHERE: then the rows that it leaves are counted.",
                    ));
                }
                let plain = nodes::pointers::<pg_sys::TargetEntry>((*aggregate).args)
                    .all(|entry| is_column((*entry).expr.cast()));
                if !plain {
                    return Err(self.denial(
                        "aggregates of expressions are not allowed beside",
                        "Aggregate plain columns, such as avg(column); calculate with the results.",
                    ));
                }
            }
        }
        Ok(())
    }

    /// What is looked at before rows are grouped, whatever it is about: a plan may come to it only where
    /// a row of the relation has been found, and an error would tell of that.
    unsafe fn judge_before_groups(&self) -> Result<(), Denial> {
        let mut early: Vec<*mut Node> = Vec::new();
        // SAFETY: reads the caller's tree.
        unsafe {
            let owner = self.owner;
            early.push((*owner).jointree.cast());
            let keys: Vec<u32> = nodes::pointers::<pg_sys::SortGroupClause>((*owner).groupClause)
                .map(|clause| (*clause).tleSortGroupRef)
                .collect();
            for entry in nodes::pointers::<pg_sys::TargetEntry>((*owner).targetList) {
                if (*entry).ressortgroupref != 0 && keys.contains(&(*entry).ressortgroupref) {
                    early.push((*entry).expr.cast());
                }
            }
            for rte in nodes::pointers::<RangeTblEntry>((*owner).rtable) {
                early.extend(nodes::pointers::<Node>(compat::group_expressions(rte)));
                let others: [*mut Node; 4] = [
                    (*rte).subquery.cast(),
                    (*rte).functions.cast(),
                    (*rte).values_lists.cast(),
                    (*rte).tablefunc.cast(),
                ];
                early.extend(others);
                let alone = Counted::of(owner, self.rti) == Counted::Alone;
                if (*rte).rtekind == RTEKind::RTE_CTE || (!(*rte).tablesample.is_null() && !alone) {
                    return Err(self.may_raise());
                }
            }
            early.retain(|node| !node.is_null());
            if early.into_iter().any(|node| !is_gentle(node)) {
                return Err(self.may_raise());
            }
        }
        Ok(())
    }

    fn may_raise(&self) -> Denial {
        let name = names::relation(self.relid);
        self.denial(
            "an error could tell of a single row of",
            &format!(
                "Aggregate {name} in a WITH query of its own, with plain conditions (=, <, >, BETWEEN, IN, LIKE, IS NULL, lower, upper, length, extract, date_trunc), and calculate or join with its groups."
            ),
        )
    }

    /// Is the Var, of this level, one of the relation's, be it by way of a join or of a group?
    unsafe fn is_of(&self, var: *const pg_sys::Var) -> bool {
        // SAFETY: a Var of the owner's level.
        unsafe {
            let number = (*var).varno as i32;
            if number == self.rti {
                return true;
            }
            if number < 1 || number > (*(*self.owner).rtable).length {
                return false;
            }
            let rte = nodes::rte((*self.owner).rtable, number as u32);
            let stands_for = if (*rte).rtekind == RTEKind::RTE_JOIN {
                (*rte).joinaliasvars
            } else {
                compat::group_expressions(rte)
            };
            let wanted = (*var).varattno;
            nodes::pointers::<Node>(stands_for)
                .enumerate()
                .any(|(i, node)| (wanted <= 0 || i + 1 == wanted as usize) && self.below(node))
        }
    }

    /// Is one of the relation's columns anywhere below a node of the owner's level?
    unsafe fn below(&self, node: *mut Node) -> bool {
        let mut found = false;
        // SAFETY: the walk only reads.
        unsafe {
            nodes::walk(node, |node, level| {
                if level == 0 && nodes::is_a(node, NodeTag::T_Var) {
                    let var = node.cast::<pg_sys::Var>();
                    found |= (*var).varlevelsup == 0 && self.is_of(var);
                }
                found
            });
        }
        found
    }
}

/// A column as it is, but for a type that the aggregate asked for.
unsafe fn is_column(mut node: *mut Node) -> bool {
    use pg_sys::CoercionForm::COERCE_IMPLICIT_CAST;
    // SAFETY: an expression of an analyzed query.
    unsafe {
        loop {
            if nodes::is_a(node, NodeTag::T_RelabelType) {
                node = (*node.cast::<pg_sys::RelabelType>()).arg.cast();
                continue;
            }
            if !nodes::is_a(node, NodeTag::T_FuncExpr) {
                break;
            }
            let cast = node.cast::<pg_sys::FuncExpr>();
            let own = (*cast).funcid.to_u32() >= super::FIRST_NORMAL_OID;
            if own || (*cast).funcformat != COERCE_IMPLICIT_CAST {
                break;
            }
            let Some(argument) = nodes::pointers::<Node>((*cast).args).next() else {
                break;
            };
            node = argument;
        }
        nodes::is_a(node, NodeTag::T_Var) || nodes::is_a(node, NodeTag::T_Const)
    }
}

/// Does nothing of the tree raise an error, whatever the rows hold?
unsafe fn is_gentle(tree: *mut Node) -> bool {
    let mut all: Vec<*mut Node> = Vec::new();
    // SAFETY: the walk only notes nodes of the caller's tree.
    unsafe {
        nodes::walk(tree, |node, _| {
            all.push(node);
            false
        });
        all.into_iter().all(|node| is_gentle_node(node))
    }
}

unsafe fn is_gentle_node(node: *mut Node) -> bool {
    // SAFETY: a node of an analyzed query; the catalog look-ups raise nothing for functions that it
    // names.
    unsafe {
        match (*node).type_ {
            // What statements are made of.
            NodeTag::T_List
            | NodeTag::T_FromExpr
            | NodeTag::T_JoinExpr
            | NodeTag::T_RangeTblRef
            | NodeTag::T_RangeTblFunction
            | NodeTag::T_TargetEntry
            | NodeTag::T_SortGroupClause
            | NodeTag::T_GroupingSet
            | NodeTag::T_SetOperationStmt
            // What expressions are made of, and takes any value.
            | NodeTag::T_Var
            | NodeTag::T_Const
            | NodeTag::T_Param
            | NodeTag::T_BoolExpr
            | NodeTag::T_RelabelType
            | NodeTag::T_NullTest
            | NodeTag::T_BooleanTest
            | NodeTag::T_CaseExpr
            | NodeTag::T_CaseWhen
            | NodeTag::T_CaseTestExpr
            | NodeTag::T_CoalesceExpr
            | NodeTag::T_ArrayExpr
            | NodeTag::T_SQLValueFunction => true,
            NodeTag::T_Query => {
                let query = node.cast::<Query>();
                is_row_count((*query).limitCount) && is_row_count((*query).limitOffset)
            }
            NodeTag::T_RangeTblEntry => {
                let rte = node.cast::<RangeTblEntry>();
                (*rte).rtekind != RTEKind::RTE_CTE && (*rte).tablesample.is_null()
            }
            // A sub-query in the place of a value raises one when it has two rows.
            NodeTag::T_SubLink => matches!(
                (*node.cast::<pg_sys::SubLink>()).subLinkType,
                pg_sys::SubLinkType::EXISTS_SUBLINK
                    | pg_sys::SubLinkType::ANY_SUBLINK
                    | pg_sys::SubLinkType::ALL_SUBLINK
            ),
            NodeTag::T_OpExpr | NodeTag::T_DistinctExpr | NodeTag::T_NullIfExpr => {
                let operation = node.cast::<pg_sys::OpExpr>();
                let pattern = nodes::pointers::<Node>((*operation).args).nth(1);
                is_gentle_function((*operation).opfuncid)
                    || (LIKE.contains(&(*operation).opfuncid.to_u32())
                        && pattern.is_some_and(|pattern| is_whole_pattern(pattern)))
            }
            NodeTag::T_ScalarArrayOpExpr => {
                is_gentle_function((*node.cast::<pg_sys::ScalarArrayOpExpr>()).opfuncid)
            }
            NodeTag::T_FuncExpr => {
                let call = node.cast::<pg_sys::FuncExpr>();
                let unit = nodes::pointers::<Node>((*call).args).next();
                is_gentle_function((*call).funcid)
                    || (WITH_UNIT.contains(&(*call).funcid.to_u32())
                        && unit
                            .and_then(|unit| text_constant(unit))
                            .is_some_and(|unit| UNITS.contains(&unit.to_lowercase().as_str())))
            }
            NodeTag::T_Aggref => {
                is_known_aggregate((*node.cast::<pg_sys::Aggref>()).aggfnoid, &["min", "max"])
            }
            _ => false,
        }
    }
}

/// Nothing, or a number of rows that LIMIT and OFFSET take.
unsafe fn is_row_count(node: *mut Node) -> bool {
    // SAFETY: null, or an analyzed expression.
    unsafe {
        node.is_null()
            || (nodes::is_a(node, NodeTag::T_Const) && {
                let constant = node.cast::<pg_sys::Const>();
                (*constant).constisnull || (*constant).constvalue.value() as i64 >= 0
            })
    }
}

/// A pattern that does not end in its escape character.
unsafe fn is_whole_pattern(node: *mut Node) -> bool {
    // SAFETY: an analyzed expression.
    unsafe {
        text_constant(node).is_some_and(|pattern| {
            let escapes = pattern.len() - pattern.trim_end_matches('\\').len();
            escapes.is_multiple_of(2)
        })
    }
}

unsafe fn is_gentle_function(function: Oid) -> bool {
    // SAFETY: a look-up by a number that an analyzed expression holds.
    unsafe {
        function != Oid::INVALID
            && (GENTLE.contains(&function.to_u32()) || pg_sys::get_func_leakproof(function))
    }
}

/// Is it one of the aggregates above, or of `more`, as PostgreSQL has it?
fn is_known_aggregate(function: Oid, more: &[&str]) -> bool {
    function.to_u32() < super::FIRST_NORMAL_OID
        && names::function_name(function)
            .is_some_and(|(_, name)| AGGREGATES.contains(&&*name) || more.contains(&&*name))
}

unsafe fn text_constant(node: *mut Node) -> Option<String> {
    // SAFETY: a node of an analyzed expression; a constant of type text holds one.
    unsafe {
        let constant = node.cast::<pg_sys::Const>();
        if !nodes::is_a(node, NodeTag::T_Const)
            || (*constant).constisnull
            || (*constant).consttype != pg_sys::TEXTOID
        {
            return None;
        }
        let detoasted = pg_sys::pg_detoast_datum((*constant).constvalue.cast_mut_ptr());
        Some(super::text::from_server(
            pgrx::varlena::varlena_to_byte_slice(detoasted),
        ))
    }
}

/// How the rows of a relation are told apart in a level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// It is the only one: each of its rows is there once.
    Alone,
    /// By where a row is.
    Plain,
    /// By table, too: it has children.
    WithChildren,
}

impl Counted {
    pub const ALL: [Self; 3] = [Self::Alone, Self::Plain, Self::WithChildren];

    /// A query whose only column is the condition on a group.
    pub fn query(self, relation: &str, minimum: i32) -> String {
        let rows = match self {
            Self::Alone => "*",
            Self::Plain => "DISTINCT t.ctid",
            Self::WithChildren => {
                "DISTINCT CASE WHEN t.tableoid IS NOT NULL THEN ROW(t.tableoid, t.ctid) END"
            }
        };
        format!(
            "SELECT pg_catalog.count({rows}) OPERATOR(pg_catalog.>=) {minimum} FROM {relation} AS t"
        )
    }

    /// # Safety
    /// `owner` is a query and `rti` the index of an entry of its range table that is a relation.
    pub unsafe fn of(owner: *const Query, rti: i32) -> Self {
        // SAFETY: by the caller's promise.
        unsafe {
            let mut from = nodes::pointers::<Node>((*(*owner).jointree).fromlist);
            let alone = from.next().is_some_and(|item| {
                nodes::is_a(item, NodeTag::T_RangeTblRef)
                    && (*item.cast::<pg_sys::RangeTblRef>()).rtindex == rti
            }) && from.next().is_none();
            let rte = nodes::rte((*owner).rtable, rti as u32);
            if alone {
                Self::Alone
            } else if (*rte).inh && super::raw::guarded::has_subclass((*rte).relid) {
                Self::WithChildren
            } else {
                Self::Plain
            }
        }
    }
}

/// Adds the condition. It is looked at before the statement's own HAVING, which may raise errors, and
/// before the conditions of a statement around: a LIMIT, were it none, keeps the planner from moving
/// those below the groups.
///
/// # Safety
/// `owner` is a query that goes to the planner next, `condition` an expression of its level;
/// `outermost`: it is no other query's.
pub unsafe fn require(owner: *mut Query, condition: *mut Node, outermost: bool) {
    // SAFETY: by the caller's promise.
    unsafe {
        let before = (*owner).havingQual;
        (*owner).hasAggs = true;
        if (*owner).limitCount.is_null() && !outermost {
            (*owner).limitCount = pg_sys::makeNullConst(pg_sys::INT8OID, -1, Oid::INVALID).cast();
        }
        if before.is_null() {
            (*owner).havingQual = condition;
            return;
        }
        let when = nodes::make::<pg_sys::CaseWhen>(NodeTag::T_CaseWhen);
        (*when).expr = condition.cast();
        (*when).result = before.cast();
        (*when).location = -1;
        let case = nodes::make::<pg_sys::CaseExpr>(NodeTag::T_CaseExpr);
        (*case).casetype = pg_sys::BOOLOID;
        (*case).args = pg_sys::lappend(std::ptr::null_mut::<List>(), when.cast());
        (*case).defresult = pg_sys::makeBoolConst(false, false).cast();
        (*case).location = -1;
        (*owner).havingQual = case.cast();
    }
}

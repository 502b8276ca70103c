//! Relations that may be read through aggregates only, groups of a few of their rows left out.
//!
//! Each query level that reads such a relation must read nothing else and group by itself; a condition
//! on the number of rows is added to its HAVING. What is looked at before rows are grouped (WHERE, the
//! grouping expressions, arguments of aggregates) may not raise an error: it would tell of a group of
//! one. Another relation beside it would be a second way to tell: a plan may come to it only where one
//! certain row was found, and whatever it does then (an error, a lock, a counter) is seen; and rows of
//! its own would give weights to those of the groups. Groups may be joined with anything.
//!
//! A row in which an argument of an aggregate is NULL is in the group and not in the aggregate: `avg` of
//! a column that one person has a value in is that value. So an aggregate is NULL where fewer rows than a
//! group needs have values in all its arguments. It is exchanged for that where it stands, so whatever
//! the statement does with it (HAVING, ORDER BY, a window, a sub-query) it does with the NULL.

use pgrx::pg_sys::{self, Aggref, CaseExpr, List, Node, NodeTag, Oid, Query, RangeTblEntry};
use policy::rule::Rule;

use super::{compat, names, nodes, raw};
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
/// calls leakproof: lower, upper, length and left of text, btrim(text), date(timestamp),
/// date(timestamptz), now(), and the six comparisons of numeric.
const GENTLE: [u32; 14] = [
    870, 871, 1317, 3060, 885, 2029, 1178, 1299, 1718, 1719, 1720, 1721, 1722, 1723,
];

/// LIKE, NOT LIKE, ILIKE and NOT ILIKE of text, name and char: gentle when the pattern is a constant that
/// is whole.
const LIKE: [u32; 8] = [850, 851, 858, 859, 1631, 1632, 1633, 1634];

/// date_trunc and extract of dates and timestamps: gentle when the unit is one that all of them know and
/// they are asked of a column.
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

    /// May the level read the relation as it does?
    ///
    /// # Errors
    /// When it could show a single row, or an error could.
    ///
    /// # Safety
    /// The owner is a query that goes to the planner next, and has such an entry.
    pub unsafe fn judge(&self) -> Result<(), Denial> {
        // SAFETY: by the caller's promise.
        unsafe {
            let owner = self.owner;
            let name = names::relation(self.relid);
            let groups = (*owner).hasAggs
                || !(*owner).groupClause.is_null()
                || !(*owner).groupingSets.is_null()
                || !(*owner).havingQual.is_null();
            if (*owner).commandType != pg_sys::CmdType::CMD_SELECT || !groups {
                return Err(self.denial(
                    "single rows are not shown of",
                    &format!("Aggregate in the same SELECT that reads it: SELECT …, count(*), avg(…) FROM {name} GROUP BY …"),
                ));
            }
            let rte = nodes::rte((*owner).rtable, self.rti as u32);
            if !self.is_alone() || (*owner).hasTargetSRFs || !(*rte).tablesample.is_null() {
                return Err(self.denial(
                    "nothing may stand beside",
                    &format!("Group it in a WITH query of its own and go on with the groups: WITH g AS (SELECT …, count(*) FROM {name} GROUP BY …) SELECT … FROM g JOIN …"),
                ));
            }
            self.judge_columns()?;
            self.judge_aggregates()?;
            self.judge_before_groups()
        }
    }

    /// Is it all that the level reads?
    unsafe fn is_alone(&self) -> bool {
        // SAFETY: reads the caller's tree.
        unsafe {
            let mut from = nodes::pointers::<Node>((*(*self.owner).jointree).fromlist);
            from.next().is_some_and(|item| {
                nodes::is_a(item, NodeTag::T_RangeTblRef)
                    && (*item.cast::<pg_sys::RangeTblRef>()).rtindex == self.rti
            }) && from.next().is_none()
        }
    }

    /// Is the Var one of the relation's, seen from a query level below the owner's or its own?
    unsafe fn is_of(&self, var: *const pg_sys::Var, level: u32) -> bool {
        // SAFETY: a Var of the caller's tree.
        unsafe { (*var).varlevelsup + 1 == level && i64::from((*var).varno) == i64::from(self.rti) }
    }

    /// Its columns are named one by one, and none is computed when it is read.
    unsafe fn judge_columns(&self) -> Result<(), Denial> {
        let mut columns: Vec<i16> = Vec::new();
        // SAFETY: the walk only reads; then a look-up for each column.
        unsafe {
            nodes::walk(self.owner.cast(), |node, level| {
                if nodes::is_a(node, NodeTag::T_Var) {
                    let var = node.cast::<pg_sys::Var>();
                    if self.is_of(var, level) {
                        columns.push((*var).varattno);
                    }
                }
                false
            });
            columns.sort_unstable();
            columns.dedup();
            if columns.first().is_some_and(|attno| *attno <= 0) {
                return Err(self.denial(
                    "whole rows and system columns are not shown of",
                    "Name its columns one by one.",
                ));
            }
            let computed = |attno: &i16| pg_sys::get_attgenerated(self.relid, *attno) as u8 == b'v';
            if columns.iter().any(computed) {
                return Err(self.denial(
                    "virtual generated columns are not shown of",
                    "Name other columns of it.",
                ));
            }
        }
        Ok(())
    }

    unsafe fn judge_aggregates(&self) -> Result<(), Denial> {
        // SAFETY: reads the caller's tree.
        unsafe {
            for aggregate in aggregates_of(self.owner) {
                let function = (*aggregate).aggfnoid;
                let name =
                    names::function_name(function).map_or_else(String::new, |(_, name)| name);
                if function.to_u32() >= super::FIRST_NORMAL_OID
                    || !AGGREGATES.contains(&name.as_str())
                {
                    return Err(self.denial(
                        &format!("{name} is not allowed beside"),
                        "Use count, sum, avg, stddev, variance, corr, covar_… or regr_…: their results are no single row's.",
                    ));
                }
                if !(*aggregate).aggfilter.is_null() {
                    return Err(self.denial(
                        "FILTER is not allowed in aggregates beside",
                        "Put the condition into WHERE: then the rows that it leaves are counted.",
                    ));
                }
                let plain =
                    nodes::pointers::<pg_sys::TargetEntry>((*aggregate).args).all(|entry| {
                        let argument = (*entry).expr.cast::<Node>();
                        is_column(argument, (*aggregate).agglevelsup)
                            || (name == "count" && nodes::is_a(argument, NodeTag::T_Const))
                    });
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

    /// What is looked at before rows are grouped.
    unsafe fn judge_before_groups(&self) -> Result<(), Denial> {
        let mut early: Vec<*mut Node> = Vec::new();
        // SAFETY: reads the caller's tree.
        unsafe {
            let owner = self.owner;
            early.push((*(*owner).jointree).quals);
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
            }
            early.retain(|node| !node.is_null());
            if early.into_iter().any(|node| !is_gentle(node)) {
                return Err(self.denial(
                    "an error could tell of a single row of",
                    "Use plain conditions and grouping expressions: =, <, >, BETWEEN, IN, LIKE, IS NULL, lower, upper, length, left, and extract and date_trunc of a column. Calculate with the groups.",
                ));
            }
        }
        Ok(())
    }
}

/// The aggregates of a query level, wherever they stand in it: a sub-query may hold some, too.
unsafe fn aggregates_of(owner: *mut Query) -> Vec<*mut Aggref> {
    let mut found: Vec<*mut Aggref> = Vec::new();
    // SAFETY: the walk only notes nodes of the caller's tree.
    unsafe {
        nodes::walk(owner.cast(), |node, level| {
            if nodes::is_a(node, NodeTag::T_Aggref) {
                let aggregate = node.cast::<Aggref>();
                if (*aggregate).agglevelsup + 1 == level {
                    found.push(aggregate);
                }
            }
            false
        });
    }
    found
}

/// A column of the level `up` from here, as it is but for a type that the aggregate or function asked
/// for.
unsafe fn is_column(mut node: *mut Node, up: u32) -> bool {
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
        nodes::is_a(node, NodeTag::T_Var) && (*node.cast::<pg_sys::Var>()).varlevelsup == up
    }
}

/// Does nothing of the expression raise an error, whatever the rows hold?
unsafe fn is_gentle(node: *mut Node) -> bool {
    if node.is_null() {
        return true;
    }
    // SAFETY: an expression of an analyzed query; the catalog look-ups raise nothing for functions that
    // it names.
    unsafe {
        pg_sys::check_stack_depth();
        let all = |list: *const List| nodes::pointers::<Node>(list).all(|node| is_gentle(node));
        match (*node).type_ {
            // What stands for a column of a query around may be computed only here.
            NodeTag::T_Var => (*node.cast::<pg_sys::Var>()).varlevelsup == 0,
            NodeTag::T_Const
            | NodeTag::T_Param
            | NodeTag::T_CaseTestExpr
            | NodeTag::T_SQLValueFunction => true,
            NodeTag::T_List => all(node.cast()),
            NodeTag::T_BoolExpr => all((*node.cast::<pg_sys::BoolExpr>()).args),
            NodeTag::T_RelabelType => is_gentle((*node.cast::<pg_sys::RelabelType>()).arg.cast()),
            NodeTag::T_NullTest => is_gentle((*node.cast::<pg_sys::NullTest>()).arg.cast()),
            NodeTag::T_BooleanTest => is_gentle((*node.cast::<pg_sys::BooleanTest>()).arg.cast()),
            NodeTag::T_CoalesceExpr => all((*node.cast::<pg_sys::CoalesceExpr>()).args),
            NodeTag::T_CaseExpr => {
                let case = node.cast::<pg_sys::CaseExpr>();
                is_gentle((*case).arg.cast())
                    && all((*case).args)
                    && is_gentle((*case).defresult.cast())
            }
            NodeTag::T_CaseWhen => {
                let when = node.cast::<pg_sys::CaseWhen>();
                is_gentle((*when).expr.cast()) && is_gentle((*when).result.cast())
            }
            NodeTag::T_ArrayExpr => {
                let array = node.cast::<pg_sys::ArrayExpr>();
                !(*array).multidims && all((*array).elements)
            }
            NodeTag::T_OpExpr | NodeTag::T_DistinctExpr | NodeTag::T_NullIfExpr => {
                let operation = node.cast::<pg_sys::OpExpr>();
                let (function, args) = ((*operation).opfuncid, (*operation).args);
                let known = is_gentle_function(function) || is_like(function, args);
                is_folded(node)
                    || is_modest_shift(function, args)
                    || known && is_compared((*operation).inputcollid, args) && all(args)
            }
            NodeTag::T_ScalarArrayOpExpr => {
                let operation = node.cast::<pg_sys::ScalarArrayOpExpr>();
                is_gentle_function((*operation).opfuncid)
                    && is_compared((*operation).inputcollid, (*operation).args)
                    && all((*operation).args)
            }
            NodeTag::T_FuncExpr => {
                let call = node.cast::<pg_sys::FuncExpr>();
                let args = (*call).args;
                let known = is_gentle_function((*call).funcid)
                    && !(*call).funcretset
                    && is_compared((*call).inputcollid, args)
                    && all(args);
                known || is_folded(node) || is_unit_of_column((*call).funcid, args)
            }
            _ => false,
        }
    }
}

unsafe fn is_gentle_function(function: Oid) -> bool {
    // SAFETY: a look-up by a number that an analyzed expression holds.
    unsafe {
        function != Oid::INVALID
            && (GENTLE.contains(&function.to_u32()) || pg_sys::get_func_leakproof(function))
    }
}

/// Texts are compared by a collation that is known, and that knows all comparisons: otherwise the first
/// of them raises an error.
unsafe fn is_compared(collation: Oid, args: *const List) -> bool {
    // SAFETY: look-ups by numbers that an analyzed expression holds.
    unsafe {
        let collatable = nodes::pointers::<Node>(args)
            .any(|node| pg_sys::type_is_collatable(raw::exprType(node)));
        !collatable
            || (collation != Oid::INVALID && pg_sys::get_collation_isdeterministic(collation))
    }
}

/// LIKE with a pattern that does not end in its escape character.
unsafe fn is_like(function: Oid, args: *const List) -> bool {
    // SAFETY: arguments of an analyzed expression.
    unsafe {
        LIKE.contains(&function.to_u32())
            && nodes::pointers::<Node>(args)
                .nth(1)
                .and_then(|pattern| text_constant(pattern))
                .is_some_and(|pattern| {
                    let escapes = pattern.len() - pattern.trim_end_matches('\\').len();
                    escapes.is_multiple_of(2)
                })
    }
}

/// `date_trunc` or `extract` of a column.
unsafe fn is_unit_of_column(function: Oid, args: *const List) -> bool {
    // SAFETY: arguments of an analyzed expression.
    unsafe {
        let mut args = nodes::pointers::<Node>(args);
        WITH_UNIT.contains(&function.to_u32())
            && args
                .next()
                .and_then(|unit| text_constant(unit))
                .is_some_and(|unit| UNITS.contains(&unit.to_lowercase().as_str()))
            && args.next().is_some_and(|of| is_column(of, 0))
    }
}

/// Constants and immutable built-in functions of them: worked out while the statement is planned,
/// before any row is seen, and so is their error.
unsafe fn is_folded(node: *mut Node) -> bool {
    // SAFETY: an expression of an analyzed query.
    unsafe {
        let all = |list: *const List| nodes::pointers::<Node>(list).all(|node| is_folded(node));
        let immutable = |function: Oid| {
            function != Oid::INVALID
                && function.to_u32() < super::FIRST_NORMAL_OID
                && pg_sys::func_volatile(function) as u8 == b'i'
        };
        match (*node).type_ {
            NodeTag::T_Const => true,
            NodeTag::T_RelabelType => is_folded((*node.cast::<pg_sys::RelabelType>()).arg.cast()),
            NodeTag::T_OpExpr => {
                let operation = node.cast::<pg_sys::OpExpr>();
                immutable((*operation).opfuncid) && all((*operation).args)
            }
            NodeTag::T_FuncExpr => {
                let call = node.cast::<pg_sys::FuncExpr>();
                immutable((*call).funcid) && !(*call).funcretset && all((*call).args)
            }
            _ => false,
        }
    }
}

/// Now or today, some days or months earlier or later: never out of range.
unsafe fn is_modest_shift(function: Oid, args: *const List) -> bool {
    // timestamptz, timestamp and date with an interval; date with days.
    const SHIFTS: [u32; 8] = [1189, 1190, 2032, 2033, 2071, 2072, 1141, 1142];
    const NOW: u32 = 1299;
    const DAYS: i32 = 400_000;
    const MONTHS: i32 = 12_000;
    const MICROSECONDS: i64 = DAYS as i64 * 86_400_000_000;
    // SAFETY: arguments of an analyzed expression; a constant of a type holds a value of it.
    unsafe {
        let mut args = nodes::pointers::<Node>(args);
        let (Some(from), Some(by)) = (args.next(), args.next()) else {
            return false;
        };
        let now = nodes::is_a(from, NodeTag::T_SQLValueFunction)
            || (nodes::is_a(from, NodeTag::T_FuncExpr)
                && (*from.cast::<pg_sys::FuncExpr>()).funcid.to_u32() == NOW);
        if !SHIFTS.contains(&function.to_u32()) || !now || !nodes::is_a(by, NodeTag::T_Const) {
            return false;
        }
        let by = by.cast::<pg_sys::Const>();
        if (*by).constisnull {
            return true;
        }
        let value = (*by).constvalue;
        match (*by).consttype {
            pg_sys::INT4OID => (value.value() as i32).unsigned_abs() <= DAYS.unsigned_abs(),
            pg_sys::INTERVALOID => {
                let interval = &*value.cast_mut_ptr::<pg_sys::Interval>();
                interval.day.unsigned_abs() <= DAYS.unsigned_abs()
                    && interval.month.unsigned_abs() <= MONTHS.unsigned_abs()
                    && interval.time.unsigned_abs() <= MICROSECONDS.unsigned_abs()
            }
            _ => false,
        }
    }
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
        let bytes = pgrx::varlena::varlena_to_byte_slice(detoasted);
        Some(super::text::from_server(bytes))
    }
}

/// Adds the condition. It is looked at before the statement's own HAVING, which may raise errors, and
/// before the conditions of a statement around: a LIMIT, were it none, keeps the planner from moving
/// those below the groups. Each aggregate is NULL where the condition does not hold for its own rows.
///
/// # Safety
/// `owner` is a query that goes to the planner next, and reads nothing but one relation of which groups
/// are demanded; `condition` is an expression of its level, `count(*) >= minimum`; `outermost`: it is no
/// other query's.
pub unsafe fn require(owner: *mut Query, condition: *mut Node, outermost: bool) {
    // SAFETY: by the caller's promise.
    unsafe {
        for aggregate in aggregates_of(owner) {
            hide_few(aggregate, condition);
        }
        let before = (*owner).havingQual;
        (*owner).hasAggs = true;
        if (*owner).limitCount.is_null() && !outermost {
            (*owner).limitCount = pg_sys::makeNullConst(pg_sys::INT8OID, -1, Oid::INVALID).cast();
        }
        if before.is_null() {
            (*owner).havingQual = condition;
            return;
        }
        let case = nodes::make::<CaseExpr>(NodeTag::T_CaseExpr);
        case.write(choice(
            condition,
            before,
            pg_sys::makeBoolConst(false, false),
        ));
        (*owner).havingQual = case.cast();
    }
}

/// Makes the aggregate NULL where it takes in fewer rows than `condition` asks of a group. The node stays
/// where it is, as the CASE around what it was.
///
/// # Safety
/// `aggregate` is one that [`Demand::judge`] allows, in a tree that may be changed; `condition` is
/// `count(*) >= minimum`.
unsafe fn hide_few(aggregate: *mut Aggref, condition: *const Node) {
    const { assert!(size_of::<CaseExpr>() <= size_of::<Aggref>()) };
    // SAFETY: the aggregate is copied flat, and what it points to is used once; the CASE takes no more
    // room than it did.
    unsafe {
        // Met twice, it is a CASE by now.
        if !nodes::is_a(aggregate.cast(), NodeTag::T_Aggref) || counts_all(aggregate) {
            return;
        }
        let enough = own_condition(aggregate, condition);
        let kept = nodes::make::<Aggref>(NodeTag::T_Aggref);
        std::ptr::copy_nonoverlapping(aggregate, kept, 1);
        let none = pg_sys::makeNullConst((*kept).aggtype, -1, (*kept).aggcollid);
        let case = choice(enough, kept.cast(), none.cast());
        aggregate.cast::<CaseExpr>().write(case);
    }
}

/// `count(*)`, or `count` of a constant: all rows of the group are in it, or none.
unsafe fn counts_all(aggregate: *const Aggref) -> bool {
    // SAFETY: reads the caller's tree.
    unsafe {
        arguments(aggregate).all(|argument| nodes::is_a((*argument).expr.cast(), NodeTag::T_Const))
    }
}

/// What an aggregate is of, without what only orders its rows.
unsafe fn arguments(aggregate: *const Aggref) -> impl Iterator<Item = *mut pg_sys::TargetEntry> {
    // SAFETY: reads the caller's tree.
    unsafe {
        nodes::pointers::<pg_sys::TargetEntry>((*aggregate).args)
            .filter(|argument| !(**argument).resjunk)
    }
}

/// The condition on a group, for the rows that have values in all arguments of the aggregate. DISTINCT
/// is left out: it is rows that count.
unsafe fn own_condition(aggregate: *const Aggref, condition: *const Node) -> *mut Node {
    // `count("any")`, and `regr_count(float8, float8)`: all aggregates of two arguments are of such.
    const COUNT: u32 = 2147;
    const REGR_COUNT: u32 = 2818;
    // SAFETY: a copy of an analyzed expression is changed, with copies of what the aggregate has.
    unsafe {
        let enough: *mut Node = nodes::copy(condition);
        let Some(count) = counted_by(enough) else {
            pgrx::error!("agent_policy: the condition on groups is of an unknown form");
        };
        let mut of = std::ptr::null_mut::<List>();
        for argument in arguments(aggregate) {
            let argument: *mut pg_sys::TargetEntry = nodes::copy(argument);
            (*argument).ressortgroupref = 0;
            of = pg_sys::lappend(of, argument.cast());
        }
        (*count).aggfnoid = Oid::from_u32(if (*of).length == 1 { COUNT } else { REGR_COUNT });
        (*count).inputcollid = (*aggregate).inputcollid;
        (*count).aggargtypes = nodes::copy((*aggregate).aggargtypes);
        (*count).args = of;
        (*count).aggstar = false;
        (*count).agglevelsup = (*aggregate).agglevelsup;
        enough
    }
}

/// The `count(*)` of a condition on a group.
unsafe fn counted_by(condition: *mut Node) -> Option<*mut Aggref> {
    // SAFETY: an analyzed expression; each cast follows the tag.
    unsafe {
        if !nodes::is_a(condition, NodeTag::T_OpExpr) {
            return None;
        }
        nodes::pointers::<Node>((*condition.cast::<pg_sys::OpExpr>()).args)
            .next()
            .filter(|count| nodes::is_a(*count, NodeTag::T_Aggref))
            .map(|count| count.cast())
    }
}

/// `CASE WHEN condition THEN result ELSE otherwise END`.
unsafe fn choice(condition: *mut Node, result: *mut Node, otherwise: *mut Node) -> CaseExpr {
    // SAFETY: expressions of an analyzed query.
    unsafe {
        let when = nodes::make::<pg_sys::CaseWhen>(NodeTag::T_CaseWhen);
        (*when).expr = condition.cast();
        (*when).result = result.cast();
        (*when).location = -1;
        CaseExpr {
            xpr: pg_sys::Expr {
                type_: NodeTag::T_CaseExpr,
            },
            casetype: pg_sys::exprType(result),
            casecollid: pg_sys::exprCollation(result),
            arg: std::ptr::null_mut(),
            args: pg_sys::lappend(std::ptr::null_mut::<List>(), when.cast()),
            defresult: otherwise.cast(),
            location: -1,
        }
    }
}

//! Puts masks and filters into a query that is about to be planned.
//!
//! A masked relation is replaced by a plain sub-query over it, full width, so that every Var
//! keeps its number and the planner pulls the sub-query up again: indexes on other columns serve
//! as before, and whatever the statement does with the column, it does with the mask. In simple
//! queries the tree that this leads to is made at once, see [`in_place`]. Filters go where row
//! security has its own: into `securityQuals`.

use std::rc::Rc;

use pgrx::pg_sys::{self, List, Node, NodeTag, Oid, Query, RTEKind, RangeTblEntry};
use policy::rule::Rule;

use super::group_size::{self, Demand};
use super::placeholder::{self, Numbers};
use super::planted::{self, Leak};
use super::{
    bounded, compat, in_place, marks, names, nodes, returning,
    template::Template,
    touched::{Calls, Command},
};
use crate::catalog::{Policy, Relation};
use crate::denial::Denial;
use crate::plan;

/// What the rewriting found and did.
#[derive(Debug, Default)]
pub struct Facts {
    /// Masked columns that the statement asks for.
    pub masked_columns: Vec<(Oid, i16)>,
    /// Some relation of the query is masked or filtered.
    pub protected: bool,
    /// A mask or filter of the DBA's may raise an error that quotes a value.
    pub may_raise: bool,
    /// Settings that masks or filters depend on.
    pub needs: u32,
    /// The placeholders that it has put into the query.
    pub placeholders: Numbers,
}

struct Found {
    owner: *mut Query,
    rte: *mut RangeTblEntry,
    rti: i32,
    relation: Rc<Relation>,
}

struct Survey {
    relations: Vec<(*mut Query, *mut RangeTblEntry, i32)>,
    /// Vars of system columns and whole rows, with the query that their range table entry is of.
    special: Vec<(*mut Query, *mut pg_sys::Var)>,
    /// Those of all other columns.
    columns: Vec<in_place::Use>,
    functions: Vec<*mut pg_sys::FuncExpr>,
    /// Entries of WITH that may be planned several times.
    said_again: Vec<*mut pg_sys::CommonTableExpr>,
    /// Columns of all queries, and of VALUES and functions in FROM.
    listed: usize,
    /// Something is done with the rows of a relation before they are sent.
    handles_rows: bool,
    /// Queries that may become members of an append.
    members: Vec<*mut Query>,
}

impl Survey {
    /// Numbers for placeholders; none where rows are sent as they are scanned.
    fn numbers(&self) -> Option<Numbers> {
        let size = self.columns.len() + self.special.len() + self.listed;
        self.handles_rows.then(|| Numbers::beyond(size))
    }
}

unsafe fn survey(query: *mut Query) -> Survey {
    let mut seen = Survey {
        relations: Vec::new(),
        special: Vec::new(),
        columns: Vec::with_capacity(64),
        functions: Vec::new(),
        said_again: Vec::new(),
        listed: 0,
        handles_rows: false,
        members: Vec::new(),
    };
    let mut sources = 0;
    let mut levels: Vec<*mut Query> = Vec::new();
    // SAFETY: the walk only notes pointers into the caller's tree.
    unsafe {
        nodes::walk(query.cast(), |node, level| {
            match (*node).type_ {
                NodeTag::T_Query => {
                    let q = node.cast::<Query>();
                    levels.truncate(level as usize);
                    if let Some(above) = levels.last()
                        && (!(**above).setOperations.is_null() || seen.members.contains(above))
                        && may_be_member(q, *above)
                    {
                        seen.members.push(q);
                    }
                    levels.push(q);
                    for (i, rte) in nodes::pointers::<RangeTblEntry>((*q).rtable).enumerate() {
                        if (*rte).rtekind == RTEKind::RTE_RELATION {
                            seen.relations.push((q, rte, i as i32 + 1));
                        }
                        sources += usize::from((*rte).rtekind != RTEKind::RTE_SUBQUERY);
                        if matches!((*rte).rtekind, RTEKind::RTE_VALUES | RTEKind::RTE_FUNCTION) {
                            seen.listed += nodes::length((*(*rte).eref).colnames);
                        }
                    }
                    seen.said_again
                        .extend(placeholder::said_again((*q).cteList));
                    seen.listed += nodes::length((*q).targetList);
                    seen.handles_rows |= sources > 1 || handles_rows(q);
                }
                NodeTag::T_Var => {
                    let var = node.cast::<pg_sys::Var>();
                    let up = (*var).varlevelsup as usize;
                    if let Some(owner) = (level as usize)
                        .checked_sub(1 + up)
                        .and_then(|l| levels.get(l))
                    {
                        if (*var).varattno <= 0 {
                            seen.special.push((*owner, var));
                        } else {
                            seen.columns.push(in_place::Use { owner: *owner, var });
                        }
                    }
                }
                NodeTag::T_FuncExpr => seen.functions.push(node.cast()),
                NodeTag::T_Aggref => {
                    // Rows may be sorted for it; for others one is taken after the other.
                    let aggregate = node.cast::<pg_sys::Aggref>();
                    seen.handles_rows |=
                        !(*aggregate).aggorder.is_null() || !(*aggregate).aggdistinct.is_null();
                }
                _ => {}
            }
            false
        });
    }
    seen
}

/// Does the query sort, group or gather the rows of what it reads?
unsafe fn handles_rows(query: *const Query) -> bool {
    // SAFETY: see `survey`.
    unsafe {
        (*query).commandType != pg_sys::CmdType::CMD_SELECT
            || [
                (*query).sortClause,
                (*query).groupClause,
                (*query).groupingSets,
                (*query).distinctClause,
                (*query).windowClause,
                (*query).cteList,
            ]
            .iter()
            .any(|list| !list.is_null())
            || !(*query).setOperations.is_null()
    }
}

/// May the planner make the query a member of an append, if the one above is a UNION ALL or such a member? There the
/// rows of one scan are what the member's list says, masks and all, and a placeholder is not expected
/// (`is_safe_append_member` in prepjointree.c).
unsafe fn may_be_member(query: *const Query, above: *const Query) -> bool {
    // SAFETY: see `survey`.
    unsafe {
        let from = (*query).jointree;
        !handles_rows(query)
            && !(*query).hasAggs
            && !from.is_null()
            && (*from).quals.is_null()
            && nodes::length((*from).fromlist) == 1
            && nodes::pointers::<Node>((*from).fromlist)
                .all(|item| nodes::is_a(item, NodeTag::T_RangeTblRef))
            && nodes::pointers::<RangeTblEntry>((*above).rtable)
                .any(|rte| std::ptr::eq((*rte).subquery, query))
    }
}

/// Rewrites `query`, which has these calls, in place. The tree must be the caller's own.
///
/// # Safety
/// `query` is a rewritten query that goes to the planner next.
pub unsafe fn apply(policy: &Policy, query: *mut Query, calls: &Calls) -> Result<Facts, Denial> {
    let mut facts = Facts::default();
    if !concerns(policy, calls) {
        return Ok(facts);
    }
    // SAFETY: the tree is the caller's to change; all pointers noted by the survey stay valid,
    // because entries are changed in place and never freed.
    unsafe {
        let seen = survey(query);
        substitute_functions(&seen.functions);
        bounded::substitute(&seen.functions);
        let mut found = Vec::new();
        for &(owner, rte, rti) in &seen.relations {
            if !policy.kind((*rte).relid).is_readable() || (*rte).relkind as u8 == b'v' {
                continue;
            }
            let relation = policy.relation((*rte).relid);
            let own = relation.relid.to_u32() >= super::FIRST_NORMAL_OID;
            if own && (!relation.filters.is_empty() || policy.writes() && relation.hides()) {
                refuse_sample(rte, &relation)?;
            }
            if own && relation.hides() {
                refuse_places(owner, rti, &relation, &seen.special)?;
            }
            if relation.is_protected() {
                found.push(Found {
                    owner,
                    rte,
                    rti,
                    relation,
                });
            }
        }
        // Before anything is added that these judgements would have to tell from what was there.
        for one in &found {
            one.judge_groups()?;
        }
        let mut numbers = seen.numbers();
        for one in &found {
            facts.protected = true;
            let numbers = numbers
                .as_mut()
                .filter(|_| !seen.members.contains(&one.owner));
            apply_one(policy, query, one, &seen, &mut facts, numbers)?;
        }
        if let Some(numbers) = numbers.filter(|numbers| numbers.any()) {
            placeholder::keep_single(&seen.said_again);
            facts.placeholders = numbers;
        }
    }
    Ok(facts)
}

impl Found {
    fn is_target(&self) -> bool {
        // SAFETY: see `apply`.
        unsafe { returning::is_target(self.owner, self.rti) }
    }

    unsafe fn judge_groups(&self) -> Result<(), Denial> {
        let Some(minimum) = self.relation.group_size else {
            return Ok(());
        };
        let demand = Demand {
            owner: self.owner,
            rti: self.rti,
            relid: self.relation.relid,
            minimum,
        };
        // SAFETY: see `apply`.
        unsafe { demand.judge() }
    }
}

unsafe fn apply_one(
    policy: &Policy,
    top: *mut Query,
    found: &Found,
    seen: &Survey,
    facts: &mut Facts,
    numbers: Option<&mut Numbers>,
) -> Result<(), Denial> {
    let special = &seen.special;
    let Found {
        owner,
        rte,
        rti,
        relation,
    } = found;
    let (owner, rte, rti) = (*owner, *rte, *rti);
    let name = || names::relation(relation.relid);
    if let Some(why) = &relation.broken {
        return Err(Denial::new(
            Rule::PolicyUnavailable,
            name(),
            format!("{} cannot be read: {why}", name()),
        )
        .hint("Ask the database administrator to repair the policy of this relation."));
    }
    let template = policy.template(relation)?;
    if relation.group_size.is_some() && template.may_raise {
        return Err(Denial::new(
            Rule::PolicyUnavailable,
            name(),
            format!("{} cannot be read: it is shown in groups, and a mask or row filter of it may raise an error about a single row", name()),
        )
        .hint("Ask the database administrator for masks and row filters of leakproof functions and operators on this relation."));
    }
    facts.may_raise |= template.may_raise;
    facts.needs |= template.needs;
    // SAFETY: see `apply`.
    unsafe {
        if found.is_target() {
            note_masked_columns(owner, rte, relation, facts);
            judge_target(owner, rte, rti, relation)?;
            if template.has_masks() {
                returning::mask(owner, rti, &template);
            }
            return filter_target(owner, rte, rti, relation, &template);
        }
        if has_row_mark(owner, rti) {
            return Err(Denial::new(
                Rule::StatementNotAllowed,
                name(),
                format!(
                    "rows of {} cannot be locked: it has masks or row filters",
                    name()
                ),
            )
            .hint("Leave the FOR UPDATE/SHARE clause out."));
        }
        note_masked_columns(owner, rte, relation, facts);
        let foreign = policy.kind(relation.relid).is_foreign() && !relation.filters.is_empty();
        if template.is_simple()
            && relation.group_size.is_none()
            && !special
                .iter()
                .any(|(of, var)| *of == owner && (**var).varno as i32 == rti)
            && in_place::possible(owner, rte)
            && !planted::open(Leak::Predicate)
        {
            in_place::mask(owner, rti, &template, &seen.columns, numbers);
            add_filters(owner, rte, rti, &template);
            marks::mark(rte);
        } else if template.has_masks() || foreign {
            replace(
                owner,
                rte,
                rti,
                relation,
                template.masked(numbers),
                &template,
                special,
            )?;
            // Another server does not know which of its conditions has to come first.
            (*rte).security_barrier = foreign;
        } else {
            add_filters(owner, rte, rti, &template);
            marks::mark(rte);
        }
        if relation.group_size.is_some() {
            group_size::require(owner, template.group(), owner == top);
        }
        Ok(())
    }
}

unsafe fn note_masked_columns(
    owner: *mut Query,
    rte: *mut RangeTblEntry,
    relation: &Relation,
    facts: &mut Facts,
) {
    // SAFETY: see `apply`.
    unsafe {
        let system = relation.relid.to_u32() < super::FIRST_NORMAL_OID;
        let Some(permissions) = compat::permissions(owner, rte).filter(|_| !system) else {
            return;
        };
        for attno in nodes::attributes(permissions.selected) {
            if attno == 0 {
                facts
                    .masked_columns
                    .extend(relation.masks.keys().map(|a| (relation.relid, *a)));
            } else if relation.masks.contains_key(&attno) {
                facts.masked_columns.push((relation.relid, attno));
            }
        }
    }
}

unsafe fn has_row_mark(owner: *mut Query, rti: i32) -> bool {
    // SAFETY: see `apply`.
    unsafe {
        nodes::pointers::<pg_sys::RowMarkClause>((*owner).rowMarks)
            .any(|mark| (*mark).rti as i32 == rti)
    }
}

/// Adds the filters to an entry that stays a relation. Its own row security stays in front.
unsafe fn add_filters(owner: *mut Query, rte: *mut RangeTblEntry, rti: i32, template: &Template) {
    if !template.has_filters() {
        return;
    }
    // SAFETY: see `apply`.
    unsafe {
        (*rte).securityQuals = pg_sys::list_concat((*rte).securityQuals, template.filters(rti));
        if template.filters_have_sub_queries() {
            (*owner).hasSubLinks = true;
        }
    }
}

/// What of a target may not be read, and marks it as judged: also where nothing is asked of it but to be read, as by
/// MERGE with DO NOTHING.
unsafe fn judge_target(
    owner: *mut Query,
    rte: *mut RangeTblEntry,
    rti: i32,
    relation: &Relation,
) -> Result<(), Denial> {
    // SAFETY: see `apply`.
    unsafe {
        if !relation.masks.is_empty() {
            plan::judge_target(relation, &returning::read_elsewhere(owner, rti))?;
        }
        marks::mark(rte);
    }
    Ok(())
}

/// The same for all targets of a query that is planned to be shown as it was written.
///
/// # Safety
/// As for [`apply`].
pub unsafe fn judge_targets(policy: &Policy, query: *mut Query) -> Result<(), Denial> {
    let mut targets = Vec::new();
    // SAFETY: the walk only notes pointers into the caller's tree.
    unsafe {
        nodes::walk(query.cast(), |node, _| {
            if nodes::is_a(node, NodeTag::T_Query) {
                let owner = node.cast::<Query>();
                for (i, rte) in nodes::pointers::<RangeTblEntry>((*owner).rtable).enumerate() {
                    let rti = i as i32 + 1;
                    if (*rte).rtekind == RTEKind::RTE_RELATION && returning::is_target(owner, rti) {
                        targets.push((owner, rte, rti));
                    }
                }
            }
            false
        });
        targets
            .into_iter()
            .filter(|(_, rte, _)| policy.kind((**rte).relid).is_readable())
            .try_for_each(|(owner, rte, rti)| {
                judge_target(owner, rte, rti, &policy.relation((*rte).relid))
            })
    }
}

/// The relation that a statement changes: only rows that the filter shows may be changed, and
/// only into such.
unsafe fn filter_target(
    owner: *mut Query,
    rte: *mut RangeTblEntry,
    rti: i32,
    relation: &Relation,
    template: &Template,
) -> Result<(), Denial> {
    // SAFETY: see `apply`.
    unsafe {
        if relation.filters.is_empty() {
            return Ok(());
        }
        let command = Command::from_cmd((*owner).commandType);
        if command != Command::Insert && names::relation_kind(relation.relid).is_foreign() {
            let name = names::relation(relation.relid);
            return Err(Denial::new(
                Rule::StatementNotAllowed,
                name.as_str(),
                format!("{name} has a row filter, and another server decides which of its rows are changed"),
            )
            .hint("Foreign tables with row filters can be read, and rows inserted."));
        }
        if command == Command::Merge || !(*owner).onConflict.is_null() {
            let name = names::relation(relation.relid);
            return Err(Denial::new(
                Rule::StatementNotAllowed,
                name.as_str(),
                format!("{name} has a row filter: MERGE and ON CONFLICT are not allowed on it"),
            )
            .hint("Use INSERT, UPDATE or DELETE."));
        }
        if command != Command::Insert {
            add_filters(owner, rte, rti, template);
        }
        if command != Command::Delete {
            for filter in nodes::pointers::<Node>(template.filters(rti)) {
                let check = nodes::make::<pg_sys::WithCheckOption>(NodeTag::T_WithCheckOption);
                (*check).kind = if command == Command::Insert {
                    pg_sys::WCOKind::WCO_RLS_INSERT_CHECK
                } else {
                    pg_sys::WCOKind::WCO_RLS_UPDATE_CHECK
                };
                (*check).relname = pg_sys::get_rel_name(relation.relid);
                (*check).qual = filter;
                (*owner).withCheckOptions =
                    pg_sys::lappend((*owner).withCheckOptions, check.cast());
            }
            if template.filters_have_sub_queries() {
                (*owner).hasSubLinks = true;
            }
        }
        Ok(())
    }
}

/// Turns the entry into this sub-query over the relation it was.
unsafe fn replace(
    owner: *mut Query,
    rte: *mut RangeTblEntry,
    rti: i32,
    relation: &Relation,
    sub: *mut Query,
    template: &Template,
    special: &[(*mut Query, *mut pg_sys::Var)],
) -> Result<(), Denial> {
    // SAFETY: see `apply`.
    unsafe {
        if !(*rte).tablesample.is_null()
            && pg_sys::contain_vars_of_level((*rte).tablesample.cast(), 0)
        {
            return Err(Denial::new(
                Rule::StatementNotAllowed,
                names::relation(relation.relid),
                "a TABLESAMPLE of a masked relation cannot refer to other relations",
            )
            .hint("Give TABLESAMPLE a constant."));
        }
        (*sub).stmt_location = -1;
        (*sub).stmt_len = -1;
        let inner = nodes::make::<RangeTblEntry>(NodeTag::T_RangeTblEntry);
        std::ptr::copy_nonoverlapping(rte, inner, 1);
        (*inner).lateral = false;
        (*inner).inFromCl = true;
        (*inner).alias = std::ptr::null_mut();
        marks::mark(inner);
        pg_sys::ChangeVarNodes((*inner).securityQuals.cast(), rti, 1, 0);
        // It is one level further down from what it refers to, none of which is of this level.
        pg_sys::IncrementVarSublevelsUp((*inner).tablesample.cast(), 1, 0);
        (*sub).rtable = pg_sys::lappend(std::ptr::null_mut::<List>(), inner.cast());
        compat::clear_permissions(sub);
        compat::move_permissions(owner, rte, inner, sub);
        (*sub).hasRowSecurity = (*owner).hasRowSecurity;
        let has_sub_links = |node: *mut Node| !node.is_null() && pg_sys::checkExprHasSubLink(node);
        (*sub).hasSubLinks = has_sub_links((*inner).securityQuals.cast())
            || has_sub_links((*inner).tablesample.cast());
        add_filters(sub, inner, 1, template);
        if planted::open(Leak::Predicate) {
            look_below_masks(owner, rti, sub);
        }

        name_all_columns(rte, sub, relation.relid);
        (*rte).rtekind = RTEKind::RTE_SUBQUERY;
        (*rte).subquery = sub;
        (*rte).security_barrier = false;
        (*rte).relid = Oid::INVALID;
        (*rte).relkind = 0;
        (*rte).rellockmode = 0;
        (*rte).inh = false;
        (*rte).tablesample = std::ptr::null_mut();
        (*rte).securityQuals = std::ptr::null_mut();
        system_columns(owner, rte, rti, relation, sub, special)
    }
}

/// The planted leak: the conditions of a query over one masked relation are put where the raw values
/// are.
unsafe fn look_below_masks(owner: *mut Query, rti: i32, sub: *mut Query) {
    // SAFETY: see `apply`.
    unsafe {
        let from = (*owner).jointree;
        let mut items = nodes::pointers::<Node>((*from).fromlist);
        let alone = items.next().is_some_and(|item| {
            nodes::is_a(item, NodeTag::T_RangeTblRef)
                && (*item.cast::<pg_sys::RangeTblRef>()).rtindex == rti
        }) && items.next().is_none();
        if !alone || (*from).quals.is_null() || pg_sys::checkExprHasSubLink((*from).quals) {
            return;
        }
        let quals: *mut Node = nodes::copy((*from).quals);
        pg_sys::ChangeVarNodes(quals, rti, 1, 0);
        pg_sys::IncrementVarSublevelsUp(quals, 1, 1);
        (*(*sub).jointree).quals = quals;
        (*from).quals = std::ptr::null_mut();
    }
}

/// A view that was made before its table got another column knows fewer names than the table now
/// has columns; a sub-query needs one for each.
unsafe fn name_all_columns(rte: *mut RangeTblEntry, sub: *const Query, relid: Oid) {
    // SAFETY: see `apply`.
    unsafe {
        let columns = (*(*sub).targetList).length;
        let named = nodes::pointers::<Node>((*(*rte).eref).colnames).count() as i32;
        if named >= columns {
            return;
        }
        let eref: *mut pg_sys::Alias = nodes::copy((*rte).eref);
        for attno in named + 1..=columns {
            let name = names::attribute_name(relid, attno as i16).unwrap_or_default();
            let name = pg_sys::pstrdup(super::text::to_c(&name).as_ptr());
            (*eref).colnames = pg_sys::lappend((*eref).colnames, pg_sys::makeString(name).cast());
        }
        (*rte).eref = eref;
    }
}

/// Where rows lie, and which transaction wrote them, tells of those in between, and how wide they are: also where a view
/// shows it.
unsafe fn refuse_places(
    owner: *mut Query,
    rti: i32,
    relation: &Relation,
    special: &[(*mut Query, *mut pg_sys::Var)],
) -> Result<(), Denial> {
    // SAFETY: see `apply`.
    unsafe {
        for (of, var) in special {
            if *of == owner
                && i64::from((**var).varno) == i64::from(rti)
                && !matches!((**var).varattno, 0 | names::TABLE_OID)
            {
                return Err(plan::no_place(relation, (**var).varattno));
            }
        }
        Ok(())
    }
}

/// A sample that can be asked for again tells where each of its rows lies, and one by pages which lie together:
/// how many rows are hidden between them, and, to a role that makes copies of them, how wide rows are.
unsafe fn refuse_sample(rte: *const RangeTblEntry, relation: &Relation) -> Result<(), Denial> {
    /// `tsm_system_handler`
    const BY_PAGES: u32 = 3314;
    // SAFETY: see `apply`.
    unsafe {
        let sample = (*rte).tablesample;
        if sample.is_null()
            || (*sample).repeatable.is_null() && (*sample).tsmhandler.to_u32() != BY_PAGES
        {
            return Ok(());
        }
    }
    let name = names::relation(relation.relid);
    Err(Denial::new(
        Rule::StatementNotAllowed,
        name.as_str(),
        format!("{name} has hidden values: samples of it are by rows, and new each time"),
    )
    .hint("Use TABLESAMPLE BERNOULLI without REPEATABLE."))
}

/// A sub-query has no system columns: `tableoid` is handed through, the others are refused.
unsafe fn system_columns(
    owner: *mut Query,
    rte: *mut RangeTblEntry,
    rti: i32,
    relation: &Relation,
    sub: *mut Query,
    special: &[(*mut Query, *mut pg_sys::Var)],
) -> Result<(), Denial> {
    let refuse = |attno: i16| plan::no_system_column(relation, attno, "masks");
    // SAFETY: see `apply`.
    unsafe {
        let (mut table_oids, mut whole_row) = (Vec::new(), false);
        for (of, var) in special {
            if *of != owner || i64::from((**var).varno) != i64::from(rti) {
                continue;
            }
            match (**var).varattno {
                0 => whole_row = true,
                names::TABLE_OID => table_oids.push(*var),
                other => return Err(refuse(other)),
            }
        }
        if table_oids.is_empty() {
            return Ok(());
        }
        if whole_row {
            return Err(refuse(names::TABLE_OID));
        }
        let resno = (*(*sub).targetList).length as i16 + 1;
        let var = pg_sys::makeVar(1, names::TABLE_OID, pg_sys::OIDOID, -1, Oid::INVALID, 0);
        let entry = pg_sys::makeTargetEntry(
            var.cast(),
            resno,
            pg_sys::pstrdup(c"tableoid".as_ptr()),
            false,
        );
        (*sub).targetList = pg_sys::lappend((*sub).targetList, entry.cast());
        let eref: *mut pg_sys::Alias = nodes::copy((*rte).eref);
        (*eref).colnames = pg_sys::lappend(
            (*eref).colnames,
            pg_sys::makeString(pg_sys::pstrdup(c"tableoid".as_ptr())).cast(),
        );
        (*rte).eref = eref;
        for var in table_oids {
            (*var).varattno = resno;
        }
        Ok(())
    }
}

/// `pg_catalog.set_config(text, text, boolean)`.
pub const SET_CONFIG: u32 = 2078;

/// `pg_catalog.pg_get_sequence_data(regclass)`, of version 18.
const GET_SEQUENCE_DATA: u32 = 6427;

const STAT_GET_ACTIVITY: u32 = 2022;

/// Is there anything for [`apply`] to do in a query that reads these relations, by these functions? Most statements are
/// of tables that are shown as they are.
fn concerns(policy: &Policy, calls: &Calls) -> bool {
    calls.functions.iter().any(|function| {
        is_substituted(*function)
            || function.to_u32() == STAT_GET_ACTIVITY
            || bounded::is_bounded(*function)
    }) || calls.relations.iter().any(|relid| {
        policy.kind(*relid).is_readable() && {
            let relation = policy.relation(*relid);
            relation.is_protected() || relation.hides() || !relation.filters.is_empty()
        }
    })
}

/// Will calls of this function be exchanged for a checked variant before planning?
pub fn is_substituted(function: Oid) -> bool {
    matches!(function.to_u32(), SET_CONFIG | GET_SEQUENCE_DATA)
}

/// Functions that are exchanged for a checked variant of ours before planning.
unsafe fn substitute_functions(functions: &[*mut pg_sys::FuncExpr]) {
    const BACKEND_PID: u32 = 2026;
    // SAFETY: see `apply`.
    unsafe {
        for call in functions.iter().copied() {
            match (*call).funcid.to_u32() {
                SET_CONFIG => {
                    if let Some(ours) = names::function(
                        "agent_policy.set_config(pg_catalog.text,pg_catalog.text,pg_catalog.bool)",
                    ) {
                        (*call).funcid = ours;
                    }
                }
                // pg_dump asks it for each sequence there is.
                GET_SEQUENCE_DATA => {
                    if let Some(ours) =
                        names::function("agent_policy.readable_sequence(pg_catalog.regclass)")
                    {
                        let checked = pg_sys::makeFuncExpr(
                            ours,
                            pg_sys::REGCLASSOID,
                            (*call).args,
                            Oid::INVALID,
                            Oid::INVALID,
                            pg_sys::CoercionForm::COERCE_EXPLICIT_CALL,
                        );
                        (*call).args =
                            pg_sys::lappend(std::ptr::null_mut::<List>(), checked.cast());
                    }
                }
                // Other sessions' statements are not shown: pg_stat_activity has the own row only.
                STAT_GET_ACTIVITY => {
                    let own = pg_sys::makeFuncExpr(
                        Oid::from_u32(BACKEND_PID),
                        pg_sys::INT4OID,
                        std::ptr::null_mut(),
                        Oid::INVALID,
                        Oid::INVALID,
                        pg_sys::CoercionForm::COERCE_EXPLICIT_CALL,
                    );
                    (*call).args = pg_sys::lappend(std::ptr::null_mut::<List>(), own.cast());
                }
                _ => {}
            }
        }
    }
}

//! Statistics: the planner learns nothing from those of what the policy hides, so that neither
//! estimates nor the shape of a plan can tell.

use pgrx::pg_guard;
use pgrx::pg_sys::{self, Oid};

use policy::builtins::guards::class;

use super::layers::{self, Layer};
use super::planted::{self, Leak};
use super::{internal, names, nodes, placeholder, raw, session};
use crate::catalog::Relation;
use crate::identity;

static mut PREV_RELATION_STATS: pg_sys::get_relation_stats_hook_type = None;
static mut PREV_INDEX_STATS: pg_sys::get_index_stats_hook_type = None;
static mut PREV_WIDTH: pg_sys::get_attavgwidth_hook_type = None;
static mut PREV_RELATION_INFO: pg_sys::get_relation_info_hook_type = None;

/// Puts the hooks in place, remembering what was there.
pub fn init() {
    // SAFETY: called once, from _PG_init in the postmaster, where nothing runs beside it.
    unsafe {
        PREV_RELATION_STATS = pg_sys::get_relation_stats_hook;
        pg_sys::get_relation_stats_hook = Some(on_relation_stats);
        PREV_INDEX_STATS = pg_sys::get_index_stats_hook;
        pg_sys::get_index_stats_hook = Some(on_index_stats);
        PREV_WIDTH = pg_sys::get_attavgwidth_hook;
        pg_sys::get_attavgwidth_hook = Some(on_width);
        PREV_RELATION_INFO = pg_sys::get_relation_info_hook;
        pg_sys::get_relation_info_hook = Some(on_relation_info);
    }
}

/// The planner learns nothing from the statistics of what the policy hides: neither estimates nor
/// the shape of a plan can tell.
unsafe extern "C-unwind" fn on_relation_stats(
    root: *mut pg_sys::PlannerInfo,
    rte: *mut pg_sys::RangeTblEntry,
    attno: pg_sys::AttrNumber,
    data: *mut pg_sys::VariableStatData,
) -> bool {
    // SAFETY: the server's own arguments.
    unsafe {
        if session::confined()
            && layers::on(Layer::Statistics)
            && hides_statistics((*rte).relid, attno)
        {
            (*data).statsTuple = std::ptr::null_mut();
            return true;
        }
        match PREV_RELATION_STATS {
            Some(previous) => previous(root, rte, attno, data),
            None => false,
        }
    }
}

/// How long the values of a column are on average decides on plans, too.
unsafe extern "C-unwind" fn on_width(relid: Oid, attno: pg_sys::AttrNumber) -> i32 {
    // SAFETY: the server's own arguments.
    unsafe {
        if session::confined() && layers::on(Layer::Statistics) && hides_statistics(relid, attno) {
            return usual_width(relid, attno);
        }
        match PREV_WIDTH {
            Some(previous) => previous(relid, attno),
            None => 0,
        }
    }
}

/// As for a column without statistics.
///
/// # Safety
/// Called by a hook; an ERROR may pass over the caller.
unsafe fn usual_width(relid: Oid, attno: pg_sys::AttrNumber) -> i32 {
    // SAFETY: syscache look-ups.
    unsafe {
        let (mut typid, mut typmod, mut collation) = (Oid::INVALID, -1, Oid::INVALID);
        raw::get_atttypetypmodcoll(
            relid,
            attno,
            &raw mut typid,
            &raw mut typmod,
            &raw mut collation,
        );
        raw::get_typavgwidth(typid, typmod)
    }
}

unsafe extern "C-unwind" fn on_index_stats(
    root: *mut pg_sys::PlannerInfo,
    index: Oid,
    attno: pg_sys::AttrNumber,
    data: *mut pg_sys::VariableStatData,
) -> bool {
    // SAFETY: the server's own arguments.
    unsafe {
        if session::confined() && layers::on(Layer::Statistics) && hides_index_statistics(index) {
            (*data).statsTuple = std::ptr::null_mut();
            return true;
        }
        match PREV_INDEX_STATS {
            Some(previous) => previous(root, index, attno, data),
            None => false,
        }
    }
}

/// Extended statistics reach the planner by another way.
unsafe extern "C-unwind" fn on_relation_info(
    root: *mut pg_sys::PlannerInfo,
    relid: Oid,
    inhparent: bool,
    info: *mut pg_sys::RelOptInfo,
) {
    // SAFETY: the server's own arguments.
    unsafe {
        if let Some(previous) = PREV_RELATION_INFO {
            previous(root, relid, inhparent, info);
        }
        placeholder::go_on_behind(root);
        if session::confined() && layers::on(Layer::Statistics) {
            look_away(relid, inhparent, info);
        }
        if super::explain::explaining() && session::confined() {
            (*info).indexlist = shown_indexes((*info).indexlist);
        }
        if session::confined()
            && layers::on(Layer::Statistics)
            && !(*info).statlist.is_null()
            && hides_extended_statistics(relid)
        {
            (*info).statlist = std::ptr::null_mut();
        }
    }
}

/// What the planner is not to see of a relation: orders of hidden values, and how much room they take now.
#[pg_guard]
unsafe extern "C-unwind" fn look_away(relid: Oid, inhparent: bool, info: *mut pg_sys::RelOptInfo) {
    if relid == Oid::INVALID || internal::active() {
        return;
    }
    let Some(policy) = identity::policy() else {
        return;
    };
    let relation = policy.relation(relid);
    if !relation.hides() {
        return;
    }
    let size = if inhparent {
        None
    } else {
        names::known_size(relid)
    };
    // SAFETY: the planner's own nodes, its to be changed for this plan.
    unsafe {
        if let Some(table) = &size {
            take_known_size(info, table);
        }
        for index in nodes::pointers::<pg_sys::IndexOptInfo>((*info).indexlist) {
            let hides = hides_key(&relation, index);
            if hides && relation.hides_column(0) {
                forget_order(index);
            }
            if let Some(table) = &size {
                take_known_size_of_index(relid, table, index, hides);
            }
        }
    }
}

/// An index whose key has a hidden column hands rows out in the order of its raw values, also where
/// the condition is on another column. Such serve for bitmaps only, which give rows as they lie.
unsafe fn forget_order(index: *mut pg_sys::IndexOptInfo) {
    // SAFETY: as `look_away`; the array is as long as the field beside it says.
    unsafe {
        (*index).amhasgettuple = false;
        // A partial path over an index asks for this alone (`build_index_paths` in indxpath.c).
        (*index).amcanparallel = false;
        (*index).amcanorderbyop = false;
        (*index).sortopfamily = std::ptr::null_mut();
        if !(*index).canreturn.is_null() {
            std::slice::from_raw_parts_mut((*index).canreturn, (*index).ncolumns as usize)
                .fill(false);
        }
    }
}

/// Is a hidden column in the key of an index, or in an expression of it?
unsafe fn hides_key(relation: &Relation, index: *mut pg_sys::IndexOptInfo) -> bool {
    // SAFETY: the planner's own node; the array is as long as the field beside it says.
    unsafe {
        let keys = std::slice::from_raw_parts((*index).indexkeys, (*index).nkeycolumns as usize);
        let hides = |attno: i16| attno != 0 && relation.hides_column(attno);
        let mut in_expressions = std::ptr::null_mut();
        pg_sys::pull_varattnos(
            (*index).indexprs.cast(),
            (*(*index).rel).relid,
            &raw mut in_expressions,
        );
        let expressions = nodes::attributes(in_expressions);
        // A whole row has number 0.
        expressions.iter().any(|attno| *attno == 0 || hides(*attno))
            || keys.iter().any(|attno| hides(*attno as i16))
    }
}

/// How large a relation is depends on hidden values, and a role that writes makes copies of a row until a plan
/// shows how wide it is. What the catalog says is as of the last VACUUM or ANALYZE; nothing that a statement
/// has done since decides on plans. (The planner multiplies the density of then with the pages of now:
/// `table_block_relation_estimate_size` in tableam.c.) Where there was none yet, the pages of now it is.
unsafe fn take_known_size(info: *mut pg_sys::RelOptInfo, table: &names::Size) {
    // SAFETY: as `look_away`.
    unsafe {
        (*info).pages = table.pages;
        (*info).tuples = table.rows;
        (*info).allvisfrac = f64::from(table.all_visible.min(table.pages)) / f64::from(table.pages);
    }
}

unsafe fn take_known_size_of_index(
    relid: Oid,
    table: &names::Size,
    index: *mut pg_sys::IndexOptInfo,
    hides: bool,
) {
    // SAFETY: as `look_away`.
    unsafe {
        let Some(size) = names::known_size((*index).indexoid) else {
            return;
        };
        (*index).tuples = size.rows.min(table.rows);
        (*index).pages = if hides {
            // How many different values there are decides on its size.
            usual_pages(relid, index)
        } else {
            size.pages
        };
        if (*index).tree_height >= 0 {
            (*index).tree_height = usual_height((*index).pages);
        }
    }
}

/// The pages of an index of so many rows whose values are as wide as those of a column without statistics.
unsafe fn usual_pages(relid: Oid, index: *mut pg_sys::IndexOptInfo) -> u32 {
    /// Header and pointer of an entry; what of a page is filled.
    const ENTRY: f64 = 16.0;
    const FILLED: f64 = 0.9 * pg_sys::BLCKSZ as f64;
    // SAFETY: the planner's own node; the array is as long as the field beside it says.
    unsafe {
        let columns = std::slice::from_raw_parts((*index).indexkeys, (*index).ncolumns as usize);
        let width: i32 = columns
            .iter()
            .map(|attno| match *attno as i16 {
                0 => pg_sys::get_typavgwidth(pg_sys::TEXTOID, -1),
                attno => match pg_sys::get_attavgwidth(relid, attno) {
                    0 => pg_sys::ffi::pg_guard_ffi_boundary(|| usual_width(relid, attno)),
                    known => known,
                },
            })
            .sum();
        ((*index).tuples * (ENTRY + f64::from(width)) / FILLED).ceil() as u32 + 1
    }
}

/// Levels above the leaves of a tree of so many pages, the first of which is no part of it.
fn usual_height(pages: u32) -> i32 {
    const FANOUT: u32 = 256;
    let (mut height, mut level) = (0, pages.saturating_sub(1));
    while level > 1 {
        level = level.div_ceil(FANOUT);
        height += 1;
    }
    height
}

/// A plan that is shown uses no index whose name or condition is not.
#[pg_guard]
unsafe extern "C-unwind" fn shown_indexes(all: *mut pg_sys::List) -> *mut pg_sys::List {
    let Some(policy) = identity::policy().filter(|policy| !policy.monitors()) else {
        return all;
    };
    let mut shown = std::ptr::null_mut();
    // SAFETY: the planner's own list of IndexOptInfo.
    unsafe {
        for index in nodes::pointers::<pg_sys::IndexOptInfo>(all) {
            if policy.listed(class::RELATION, (*index).indexoid) {
                shown = pg_sys::lappend(shown, index.cast());
            }
        }
    }
    shown
}

#[pg_guard]
unsafe extern "C-unwind" fn hides_extended_statistics(relid: Oid) -> bool {
    !internal::active() && identity::policy().is_some_and(|policy| policy.relation(relid).hides())
}

/// Asked for each column of each relation of a query.
unsafe fn hides_statistics(relid: Oid, attno: pg_sys::AttrNumber) -> bool {
    if relid == Oid::INVALID || internal::active() {
        return false;
    }
    identity::known_relation(relid, |relation| column_hides(relation, attno))
        // SAFETY: the guard is for the caller's sake.
        .unwrap_or_else(|| unsafe { found_to_hide(relid, attno) })
}

#[pg_guard]
unsafe extern "C-unwind" fn found_to_hide(relid: Oid, attno: pg_sys::AttrNumber) -> bool {
    identity::policy().is_some_and(|policy| column_hides(&policy.relation(relid), attno))
}

fn column_hides(relation: &Relation, attno: pg_sys::AttrNumber) -> bool {
    // Hidden rows are in them: they would decide on the plan, and that on the order of rows. Those of
    // catalogs tell little of what is hidden, and views over catalogs take many times as long
    // without.
    let matters = relation.relid.to_u32() >= super::FIRST_NORMAL_OID || super::explain::plain();
    (matters && relation.hides_rows() && !planted::open(Leak::Estimate))
        || attno != 0 && relation.hides_column(attno)
}

#[pg_guard]
unsafe extern "C-unwind" fn hides_index_statistics(index: Oid) -> bool {
    names::table_of_index(index).is_some_and(|table| {
        identity::policy().is_some_and(|policy| policy.relation(table).is_protected())
    })
}

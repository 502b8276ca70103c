//! What stands for the columns of joins.
//!
//! An entry of a join lists what each of its columns is, down to the last join of a chain all columns of all relations.
//! Few queries refer to a column by its join (a whole row of it, a column merged by FULL JOIN USING); in all others the
//! list is never looked at, but walked over and copied again and again, and masks would be put into it.

use pgrx::pg_sys::{self, List, Node, NodeTag, Query, RTEKind, RangeTblEntry};
use smallvec::SmallVec;

use super::nodes;

/// What the range table of a query has.
struct Level {
    table: *const List,
    entries: u32,
    /// Of the first entries, a bit for each that is a join.
    joins: u64,
}

impl Level {
    unsafe fn of(query: *const Query) -> Self {
        // SAFETY: a query of the tree that is walked.
        unsafe {
            let table = (*query).rtable;
            let joins = nodes::pointers::<RangeTblEntry>(table)
                .take(u64::BITS as usize)
                .enumerate()
                .filter(|(_, rte)| (**rte).rtekind == RTEKind::RTE_JOIN)
                .fold(0, |joins, (i, _)| joins | 1 << i);
            Self {
                table,
                entries: nodes::length(table) as u32,
                joins,
            }
        }
    }

    /// Is it an entry, and no join?
    unsafe fn is_other(&self, number: u32) -> bool {
        // SAFETY: as for `of`.
        unsafe {
            (1..=self.entries).contains(&number)
                && if number <= u64::BITS {
                    self.joins >> (number - 1) & 1 == 0
                } else {
                    (*nodes::rte(self.table, number)).rtekind != RTEKind::RTE_JOIN
                }
        }
    }
}

/// Looks at the nodes of a query for columns of joins.
#[derive(Default)]
pub struct Watch {
    levels: SmallVec<[Level; 4]>,
    joins: Vec<*mut RangeTblEntry>,
    used: bool,
}

impl Watch {
    /// Notes a node.
    ///
    /// # Safety
    /// It is one that [`nodes::walk_past_joins`] visits in a query, at this level; all of them are noted, in order.
    pub unsafe fn note(&mut self, node: *mut Node, level: u32) {
        // SAFETY: by the caller's promise; the casts follow the tags.
        unsafe {
            match (*node).type_ {
                NodeTag::T_Query => {
                    self.levels.truncate(level as usize);
                    self.levels.push(Level::of(node.cast()));
                }
                NodeTag::T_RangeTblEntry => {
                    let rte = node.cast::<RangeTblEntry>();
                    if (*rte).rtekind == RTEKind::RTE_JOIN {
                        self.joins.push(rte);
                    }
                }
                NodeTag::T_Var if !self.used => {
                    self.used = self.refers_to_join(level as usize, node.cast());
                }
                _ => {}
            }
        }
    }

    /// Does it, at this level? What cannot be told counts as one that does.
    unsafe fn refers_to_join(&self, level: usize, var: *const pg_sys::Var) -> bool {
        // SAFETY: a Var of the query that is walked, below the queries noted.
        unsafe {
            let owner = level.checked_sub(1 + (*var).varlevelsup as usize);
            !owner
                .and_then(|i| self.levels.get(i))
                .is_some_and(|owner| owner.is_other((*var).varno as u32))
        }
    }

    /// The lists of all joins, where something refers to one; else none.
    ///
    /// # Safety
    /// The query has been noted as a whole, and is as it was.
    pub unsafe fn in_use(&self) -> impl Iterator<Item = *mut List> {
        let joins = if self.used { &self.joins[..] } else { &[] };
        // SAFETY: by the caller's promise.
        joins.iter().map(|join| unsafe { (**join).joinaliasvars })
    }

    /// Empties the lists where nothing refers to one.
    ///
    /// # Safety
    /// The query has been noted as a whole; it goes to the planner next and is the caller's own.
    pub unsafe fn forget_unused(self) {
        if !self.used {
            for join in self.joins {
                // SAFETY: by the caller's promise.
                unsafe { (*join).joinaliasvars = std::ptr::null_mut() };
            }
        }
    }
}

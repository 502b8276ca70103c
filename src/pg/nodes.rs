//! Small tools for node trees and lists.

use core::ffi::c_void;

use pgrx::pg_sys::{self, List, Node, NodeTag, Oid};
use smallvec::SmallVec;

use super::raw;

/// Numbers of columns; mostly few.
pub type Columns = SmallVec<[i16; 8]>;

/// The pointers of a list; empty for NIL.
///
/// # Safety
/// `list` is NIL or a list of pointers to `T` that outlives the iterator.
pub unsafe fn pointers<T>(list: *const List) -> impl Iterator<Item = *mut T> {
    // SAFETY: by the caller's promise.
    let len = unsafe { length(list) };
    (0..len).map(move |i| {
        // SAFETY: `i` is below the length of the list.
        unsafe { (*(*list).elements.add(i)).ptr_value.cast::<T>() }
    })
}

/// How many cells a list has.
///
/// # Safety
/// `list` is NIL or a list.
pub unsafe fn length(list: *const List) -> usize {
    if list.is_null() {
        0
    } else {
        // SAFETY: not NIL, so a list by the caller's promise.
        unsafe { (*list).length as usize }
    }
}

/// The OIDs of a list of OIDs; empty for NIL.
///
/// # Safety
/// `list` is NIL or a list of OIDs that outlives the iterator.
pub unsafe fn oids(list: *const List) -> impl Iterator<Item = Oid> {
    // SAFETY: by the caller's promise.
    let len = unsafe { length(list) };
    (0..len).map(move |i| {
        // SAFETY: `i` is below the length of the list.
        unsafe { (*(*list).elements.add(i)).oid_value }
    })
}

/// The `index`-th entry (from 1) of a range table.
///
/// # Safety
/// `rtable` is a range table and `index` one of its positions.
pub unsafe fn rte(rtable: *const List, index: u32) -> *mut pg_sys::RangeTblEntry {
    // SAFETY: by the caller's promise.
    unsafe {
        (*(*rtable).elements.add(index as usize - 1))
            .ptr_value
            .cast()
    }
}

/// # Safety
/// `node` is null or a node.
pub unsafe fn is_a(node: *const Node, tag: NodeTag) -> bool {
    // SAFETY: every node begins with its tag.
    !node.is_null() && unsafe { (*node).type_ } == tag
}

/// A fresh, zeroed node of type `T`.
///
/// # Safety
/// `T` is the node struct that `tag` stands for.
pub unsafe fn make<T>(tag: NodeTag) -> *mut T {
    // SAFETY: palloc0 returns memory of that size or raises; the tag is a node's first member.
    unsafe {
        let node = pg_sys::palloc0(size_of::<T>()).cast::<T>();
        (*node.cast::<Node>()).type_ = tag;
        node
    }
}

/// A deep copy in the current memory context.
///
/// # Safety
/// `node` is null or a tree that copyObject knows.
pub unsafe fn copy<T>(node: *const T) -> *mut T {
    // SAFETY: by the caller's promise.
    unsafe { pg_sys::copyObjectImpl(node.cast::<c_void>()).cast() }
}

/// The members of a bitmap set, as attribute numbers (`FirstLowInvalidHeapAttributeNumber` is
/// taken off), whole row as 0.
///
/// # Safety
/// `set` is null or a bitmap set.
pub unsafe fn attributes(set: *const pg_sys::Bitmapset) -> Columns {
    if set.is_null() {
        return Columns::new();
    }
    // SAFETY: not null, so a set by the caller's promise: as many words follow it as it says.
    let words = unsafe {
        let first = (&raw const (*set).words).cast::<pg_sys::bitmapword>();
        std::slice::from_raw_parts(first, (*set).nwords as usize)
    };
    let members = words.iter().map(|word| word.count_ones() as usize).sum();
    let mut found = Columns::with_capacity(members);
    for (i, word) in words.iter().enumerate() {
        let mut left = *word;
        while left != 0 {
            let member = i as i32 * pg_sys::bitmapword::BITS as i32 + left.trailing_zeros() as i32;
            found.push((member + pg_sys::FirstLowInvalidHeapAttributeNumber) as i16);
            left &= left - 1;
        }
    }
    found
}

type Visit<'a> = &'a mut dyn FnMut(*mut Node, u32) -> bool;

struct Walk<'a, 'b> {
    visit: &'b mut Visit<'a>,
    level: u32,
    flags: i32,
}

unsafe extern "C-unwind" fn step(node: *mut Node, context: *mut c_void) -> bool {
    if node.is_null() {
        return false;
    }
    // SAFETY: `context` is the `Walk` that `walk` below put on its own stack; the tree is the
    // caller's. The raw walkers may longjmp over this frame, which owns nothing.
    unsafe {
        let walk = context.cast::<Walk>();
        if ((*walk).visit)(node, (*walk).level) {
            return true;
        }
        if is_a(node, NodeTag::T_Query) {
            (*walk).level += 1;
            let stop = raw::query_tree_walker(node.cast(), Some(step), context, (*walk).flags);
            (*walk).level -= 1;
            stop
        } else if is_a(node, NodeTag::T_TargetEntry) {
            step((*node.cast::<pg_sys::TargetEntry>()).expr.cast(), context)
        } else if matches!(
            (*node).type_,
            // The walker visits what hangs below an entry by itself; below the others is nothing.
            NodeTag::T_RangeTblEntry
                | NodeTag::T_RangeTblRef
                | NodeTag::T_Var
                | NodeTag::T_Const
                | NodeTag::T_Param
        ) {
            false
        } else {
            raw::expression_tree_walker(node, Some(step), context)
        }
    }
}

/// Visits every node of a tree, sub-queries included, range table entries before what hangs
/// below them. `visit` gets the node and its query level (the outermost query's nodes are at 1);
/// returning true stops the walk. It must not call into PostgreSQL while it owns anything.
///
/// # Safety
/// `node` is a query or expression tree.
pub unsafe fn walk(node: *mut Node, visit: impl FnMut(*mut Node, u32) -> bool) {
    // SAFETY: by the caller's promise.
    unsafe { walk_flagged(node, pg_sys::QTW_EXAMINE_RTES_BEFORE, visit) };
}

/// The same, without what stands for the columns of joins.
///
/// # Safety
/// As [`walk`].
pub unsafe fn walk_past_joins(node: *mut Node, visit: impl FnMut(*mut Node, u32) -> bool) {
    let flags = pg_sys::QTW_EXAMINE_RTES_BEFORE | pg_sys::QTW_IGNORE_JOINALIASES;
    // SAFETY: by the caller's promise.
    unsafe { walk_flagged(node, flags, visit) };
}

unsafe fn walk_flagged(node: *mut Node, flags: u32, mut visit: impl FnMut(*mut Node, u32) -> bool) {
    let mut dynamic: Visit<'_> = &mut visit;
    let mut state = Walk {
        visit: &mut dynamic,
        level: 0,
        flags: flags as i32,
    };
    // SAFETY: the guard turns the ERROR of a tree that is too deep into a panic; between it and
    // the walkers no frame owns anything.
    unsafe {
        pg_sys::ffi::pg_guard_ffi_boundary(|| {
            step(node, (&raw mut state).cast());
        });
    }
}

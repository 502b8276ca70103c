//! Small tools for node trees and lists.

use core::ffi::c_void;

use pgrx::pg_sys::{self, List, Node, NodeTag, Oid};

use super::raw;

/// The pointers of a list; empty for NIL.
///
/// # Safety
/// `list` is NIL or a list of pointers to `T` that outlives the iterator.
pub unsafe fn pointers<T>(list: *const List) -> impl Iterator<Item = *mut T> {
    let len = if list.is_null() {
        0
    } else {
        // SAFETY: not NIL, so a list by the caller's promise.
        unsafe { (*list).length }
    };
    (0..len).map(move |i| {
        // SAFETY: `i` is below the length of the list.
        unsafe { (*(*list).elements.add(i as usize)).ptr_value.cast::<T>() }
    })
}

/// The OIDs of a list of OIDs; empty for NIL.
///
/// # Safety
/// `list` is NIL or a list of OIDs that outlives the iterator.
pub unsafe fn oids(list: *const List) -> impl Iterator<Item = Oid> {
    let len = if list.is_null() {
        0
    } else {
        // SAFETY: not NIL, so a list by the caller's promise.
        unsafe { (*list).length }
    };
    (0..len).map(move |i| {
        // SAFETY: `i` is below the length of the list.
        unsafe { (*(*list).elements.add(i as usize)).oid_value }
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
pub unsafe fn attributes(set: *const pg_sys::Bitmapset) -> Vec<i16> {
    let mut found = Vec::new();
    if set.is_null() {
        return found;
    }
    let mut member = -1;
    loop {
        // SAFETY: by the caller's promise; it only reads the set.
        member = unsafe { raw::bms_next_member(set, member) };
        if member < 0 {
            return found;
        }
        found.push((member + pg_sys::FirstLowInvalidHeapAttributeNumber) as i16);
    }
}

type Visit<'a> = &'a mut dyn FnMut(*mut Node, u32) -> bool;

struct Walk<'a, 'b> {
    visit: &'b mut Visit<'a>,
    level: u32,
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
            let stop = raw::query_tree_walker(
                node.cast(),
                Some(step),
                context,
                pg_sys::QTW_EXAMINE_RTES_BEFORE as i32,
            );
            (*walk).level -= 1;
            stop
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
pub unsafe fn walk(node: *mut Node, mut visit: impl FnMut(*mut Node, u32) -> bool) {
    let mut dynamic: Visit<'_> = &mut visit;
    let mut state = Walk {
        visit: &mut dynamic,
        level: 0,
    };
    // SAFETY: the guard turns the ERROR of a tree that is too deep into a panic; between it and
    // the walkers no frame owns anything.
    unsafe {
        pg_sys::ffi::pg_guard_ffi_boundary(|| {
            step(node, (&raw mut state).cast());
        });
    }
}

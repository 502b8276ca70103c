//! The names of what a statement touches.

use std::rc::Rc;

use pgrx::pg_sys::Oid;

use super::{Recent, STATE};
use crate::audit::{Objects, Start};
use crate::pg::{names, session as ids};

/// What a statement touches.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Named {
    pub relations: Vec<Oid>,
    pub masked_columns: Vec<(Oid, i16)>,
    pub functions: Vec<Oid>,
}

pub(super) fn no_objects() -> Rc<Objects> {
    thread_local! {
        static NONE: Rc<Objects> = Rc::default();
    }
    NONE.with(Rc::clone)
}

pub(super) fn join(start: &mut Start, found: &Rc<Objects>) {
    if *start.objects == Objects::default() {
        start.objects = Rc::clone(found);
        return;
    }
    let all = Rc::make_mut(&mut start.objects);
    add(&mut all.relations, found.relations.iter());
    add(&mut all.masked_columns, found.masked_columns.iter());
    add(&mut all.functions, found.functions.iter());
}

fn add<'a>(list: &mut Vec<String>, names: impl Iterator<Item = &'a String>) {
    for name in names {
        if !list.contains(name) {
            list.push(name.clone());
        }
    }
}

/// The names of what a statement touches.
pub(super) fn named(of: &Named) -> Rc<Objects> {
    let generation = ids::names_generation();
    let known = STATE.with_borrow_mut(|s| {
        if s.names != generation {
            s.objects = Recent::default();
            s.names = generation;
        }
        s.objects.get(|key| key == of)
    });
    if let Some(known) = known {
        return known;
    }
    let mut found = Objects::default();
    for relid in &of.relations {
        add(&mut found.relations, [names::relation(*relid)].iter());
    }
    for (relid, attno) in &of.masked_columns {
        if let Some(column) = names::attribute_name(*relid, *attno) {
            let name = format!("{}.{}", names::relation(*relid), names::quote(&column));
            add(&mut found.masked_columns, [name].iter());
        }
    }
    for function in &of.functions {
        if function.to_u32() >= crate::pg::FIRST_NORMAL_OID {
            add(&mut found.functions, [names::signature(*function)].iter());
        }
    }
    let found = Rc::new(found);
    // What changed while it was looked up is looked up again.
    STATE.with_borrow_mut(|s| {
        if s.names == ids::names_generation() {
            s.objects.put(of.clone(), Rc::clone(&found));
        }
    });
    found
}

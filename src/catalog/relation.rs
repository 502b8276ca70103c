//! What a policy hides of one relation: masks, row filters, denied columns, and what follows from
//! inheritance, generated columns and materialized views.

use std::cell::OnceCell;
use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;

use pgrx::pg_sys::Oid;
use policy::builtins::{self, listing::Listing};
use policy::rule::Rule;

use super::{Filter, Policy};
use crate::denial::Denial;
use crate::pg::{self, names, template::Template};

/// What the policy says of one relation, inheritance in both directions included.
#[derive(Debug, Default)]
pub struct Relation {
    pub relid: Oid,
    /// Attribute number and the SQL expression that stands in for the column.
    pub masks: BTreeMap<i16, String>,
    pub filters: Vec<Filter>,
    pub denied: Vec<i16>,
    /// Why no statement may touch it, if the policy cannot be applied to it.
    pub broken: Option<String>,
    template: OnceCell<Rc<Template>>,
}

impl Relation {
    /// Is anything of the relation hidden?
    pub fn is_protected(&self) -> bool {
        !self.masks.is_empty() || !self.filters.is_empty() || self.broken.is_some()
    }

    /// Is anything of it hidden, columns included that may not be named?
    pub fn hides(&self) -> bool {
        self.is_protected() || !self.denied.is_empty()
    }
}

impl Policy {
    /// What the policy says of a relation; worked out once and kept until the relation changes.
    pub fn relation(&self, relid: Oid) -> Rc<Relation> {
        if let Some(known) = self.relations.borrow().get(&relid) {
            return Rc::clone(known);
        }
        let resolved = Rc::new(self.resolve(relid));
        self.relations
            .borrow_mut()
            .insert(relid, Rc::clone(&resolved));
        resolved
    }

    /// The relation's masks and filters as trees; a denial when the stored text does not fit the
    /// relation any more.
    pub fn template(&self, relation: &Relation) -> Result<Rc<Template>, Denial> {
        if let Some(known) = relation.template.get() {
            return Ok(Rc::clone(known));
        }
        let built =
            pg::catching(|| Template::build(relation.relid, &relation.masks, &relation.filters));
        match built {
            Ok(template) => {
                self.admit_functions(template.functions.iter().copied());
                Ok(Rc::clone(
                    relation.template.get_or_init(|| Rc::new(template)),
                ))
            }
            Err(_hidden) => {
                let name = names::relation(relation.relid);
                Err(Denial::new(
                    Rule::PolicyUnavailable,
                    name.as_str(),
                    format!("{name} cannot be read: a mask or row filter does not fit it any more"),
                )
                .hint("Ask the database administrator to set the masks and row filters of this relation again."))
            }
        }
    }

    /// Forgets what was worked out per relation (after a relation has changed).
    pub fn forget_relations(&self) {
        self.relations.borrow_mut().clear();
        self.known.borrow_mut().clear();
        self.defaults.borrow_mut().clear();
        self.readable.borrow_mut().known = false;
    }

    fn resolve(&self, relid: Oid) -> Relation {
        let mut relation = Relation {
            relid,
            ..Relation::default()
        };
        if let Some(listing) = self.system_listing(relid) {
            relation.filters.push(Filter {
                name: "system".into(),
                expression: listing.filter.into(),
                definer: names::own_schema_owner(),
            });
            for (column, expression) in listing.masks {
                if let Some(attno) = names::attribute(relid, column) {
                    relation.masks.insert(attno, (*expression).to_owned());
                }
            }
            return relation;
        }
        if self.masks.is_empty() && self.filters.is_empty() && self.denied_columns.is_empty() {
            return relation;
        }
        let ancestors = names::ancestors(relid);
        let descendants = names::descendants(relid);
        // Nearest first: the relation's own entry beats its parent's, a parent's a child's.
        let family = || std::iter::once(relid).chain(ancestors.iter().copied());
        // A child may have other parents: what they hide of it is hidden here, too.
        let mut others: Vec<Oid> = Vec::new();
        for child in &descendants {
            for parent in names::ancestors(*child) {
                if !others.contains(&parent) && !family().any(|known| known == parent) {
                    others.push(parent);
                }
            }
        }
        others.retain(|other| !descendants.contains(other));
        let wider = || {
            family()
                .chain(descendants.iter().copied())
                .chain(others.iter().copied())
        };

        let mut masked: BTreeMap<String, Option<String>> = BTreeMap::new();
        for member in wider() {
            for (column, mask) in self.effective_masks(member) {
                masked.entry(column).or_insert(mask);
            }
        }
        for (column, mask) in masked {
            let Some(mask) = mask else { continue };
            match names::attribute(relid, &column) {
                Some(attno) => {
                    relation.masks.insert(attno, mask);
                }
                None if names::relation_kind(relid).holds_rows() => {
                    // What a child or its other parent masks need not be here.
                    let own = family().any(|member| {
                        self.masks
                            .get(&member)
                            .is_some_and(|rows| rows.iter().any(|row| row.column == column))
                    });
                    if own {
                        relation.broken =
                            Some(format!("its masked column {column} is not there any more"));
                    }
                }
                None => {}
            }
        }
        for member in wider() {
            for column in self.denied_columns.get(&member).into_iter().flatten() {
                if let Some(attno) = names::attribute(relid, column) {
                    relation.denied.push(attno);
                }
            }
        }
        for member in family() {
            for row in self.filters.get(&member).into_iter().flatten() {
                if row.role.is_none_or(|role| self.role_oids.contains(&role)) {
                    relation.filters.push(row.filter.clone());
                }
            }
        }
        for child in descendants.iter().chain(&others) {
            for row in self.filters.get(child).into_iter().flatten() {
                if !relation.filters.contains(&row.filter) {
                    relation.broken = Some(format!(
                        "its child {} has a row filter of its own",
                        names::relation(*child)
                    ));
                }
            }
        }
        self.add_lineage(&mut relation);
        relation
    }

    /// What of a system catalog is shown: objects that the session may use, and of them what tells
    /// nothing else.
    fn system_listing(&self, relid: Oid) -> Option<Listing> {
        if self.monitors() || relid.to_u32() >= pg::FIRST_NORMAL_OID {
            return None;
        }
        if builtins::shows_nothing(relid.to_u32()) {
            return Some(Listing::NOTHING);
        }
        let (schema, name) = names::relation_parts(relid)?;
        (schema == "pg_catalog").then(|| builtins::listing::listing(&name))?
    }

    /// Columns that PostgreSQL computes from masked ones, and materialized views over them.
    fn add_lineage(&self, relation: &mut Relation) {
        for (attno, _) in names::generated_from(relation.relid, &relation.denied) {
            if !relation.denied.contains(&attno) {
                relation.denied.push(attno);
            }
        }
        let masked: Vec<i16> = relation.masks.keys().copied().collect();
        for (attno, mask) in names::generated_from(relation.relid, &masked) {
            relation.masks.entry(attno).or_insert(mask);
        }
        if names::relation_kind(relation.relid).is_materialized_view()
            && !self.allowed_by_name(relation.relid)
            && let Some(base) = names::view_sources(relation.relid)
                .into_iter()
                .find(|base| {
                    let base = self.relation(*base);
                    base.is_protected() || !base.denied.is_empty()
                })
        {
            relation.broken = Some(format!(
                "it is a materialized copy of {}, which has masks, row filters or denied columns",
                names::relation(base)
            ));
        }
    }

    /// The mask of each column of exactly this relation; `None` for `none`.
    fn effective_masks(&self, relid: Oid) -> BTreeMap<String, Option<String>> {
        let mut columns: BTreeMap<String, Option<String>> = BTreeMap::new();
        let Some(rows) = self.masks.get(&relid) else {
            return columns;
        };
        let names: HashSet<&str> = rows.iter().map(|row| row.column.as_str()).collect();
        for column in names {
            // Each role's own entry beats the one for every role; then the strictest of all.
            let mut chosen: Option<Option<String>> = None;
            for role in &self.role_oids {
                let own = rows
                    .iter()
                    .find(|r| r.column == column && r.role == Some(*role));
                let all = rows.iter().find(|r| r.column == column && r.role.is_none());
                let mask = own.or(all).and_then(|row| {
                    (!row.none).then(|| row.expression.clone().unwrap_or_else(|| "NULL".into()))
                });
                chosen = Some(match (chosen, mask) {
                    (None, mask) => mask,
                    (Some(None), mask) | (Some(mask), None) => mask,
                    (Some(Some(a)), Some(b)) if a == b => Some(a),
                    // Two masks that differ: neither may show what the other hides.
                    (Some(Some(_)), Some(_)) => Some("NULL".into()),
                });
            }
            columns.insert(column.to_owned(), chosen.flatten());
        }
        columns
    }
}

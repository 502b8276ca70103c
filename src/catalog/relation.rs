//! What a policy hides of one relation: masks, row filters, denied columns, and what follows from
//! inheritance, generated columns and materialized views.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use pgrx::pg_sys::Oid;
use policy::builtins::{self, listing::Listing};
use policy::rule::Rule;

use super::{Filter, Policy};
use crate::denial::Denial;
use crate::pg::{self, names, template::Template};

/// The name of the filters that system catalogs have.
pub const SYSTEM: &str = "system";

/// What stands in for a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mask {
    /// The column itself.
    None,
    Null,
    /// SQL of ours over the row, which never raises.
    Sql(Rc<str>),
    /// An expression of the DBA's over the row.
    Expression(Rc<str>),
    /// What a label carries; the SQL depends on the column's type.
    OfLabel {
        mask: Rc<str>,
        options: Rc<str>,
    },
    /// Nobody has classified the column: a neutral value of its type.
    Unclassified,
}

impl Mask {
    /// The SQL for a column. Raises when a label's mask does not fit it.
    pub fn sql(&self, relid: Oid, column: &str) -> Rc<str> {
        match self {
            Self::None => names::quote(column).into(),
            Self::Null => "NULL".into(),
            Self::Sql(sql) | Self::Expression(sql) => Rc::clone(sql),
            Self::OfLabel { mask, options } => {
                match pg::mask_column::labelled(relid, column, mask, options) {
                    Some(sql) => sql.into(),
                    None => names::quote(column).into(),
                }
            }
            Self::Unclassified => pg::mask_column::unclassified(relid, column).into(),
        }
    }

    /// Several policies on one session: what one of them hides is hidden, and of two masks that
    /// differ neither may show what the other hides.
    fn strictest(self, other: Self) -> Self {
        match (self, other) {
            (Self::None, mask) | (mask, Self::None) => mask,
            (a, b) if a == b => a,
            _ => Self::Null,
        }
    }
}

/// What the policy says of one relation, inheritance in both directions included.
#[derive(Debug, Default)]
pub struct Relation {
    pub relid: Oid,
    /// Attribute number and what stands in for the column.
    pub masks: BTreeMap<i16, Mask>,
    pub filters: Vec<Filter>,
    /// It is read through aggregates only, in groups of at least so many rows.
    pub group_size: Option<i32>,
    pub denied: Vec<i16>,
    /// Why no statement may touch it, if the policy cannot be applied to it.
    pub broken: Option<String>,
    template: OnceCell<Rc<Template>>,
    parts_tell: OnceCell<bool>,
}

impl Relation {
    /// Is anything of the relation hidden?
    pub fn is_protected(&self) -> bool {
        !self.masks.is_empty() || self.hides_rows() || self.broken.is_some()
    }

    /// Are there rows that are not shown, or not one by one?
    pub fn hides_rows(&self) -> bool {
        !self.filters.is_empty() || self.group_size.is_some()
    }

    /// Is a column (0: any, as in a whole row) masked or denied?
    pub fn hides_column(&self, attno: i16) -> bool {
        match attno {
            0 => !self.masks.is_empty() || !self.denied.is_empty(),
            attno => self.masks.contains_key(&attno) || self.denied.contains(&attno),
        }
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

    /// The same where it has been worked out, else None.
    pub fn known_relation<T>(&self, relid: Oid, look: impl FnOnce(&Relation) -> T) -> Option<T> {
        self.relations.borrow().get(&relid).map(|known| look(known))
    }

    /// The relation's masks and filters as trees; a denial when the stored text does not fit the
    /// relation any more.
    pub fn template(&self, relation: &Relation) -> Result<Rc<Template>, Denial> {
        if let Some(known) = relation.template.get() {
            return Ok(Rc::clone(known));
        }
        let built = pg::catching_but_cancellations(|| Template::build(relation));
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
                name: SYSTEM.into(),
                expression: listing.filter.into(),
                definer: names::own_schema_owner(),
            });
            for (column, expression) in listing.masks {
                if let Some(attno) = names::attribute(relid, column) {
                    relation
                        .masks
                        .insert(attno, Mask::Sql((*expression).into()));
                }
            }
            return relation;
        }
        if self.masks.is_empty()
            && self.filters.is_empty()
            && self.group_sizes.is_empty()
            && self.denied_columns.is_empty()
            && self.label_masks.is_empty()
            && self.masks_unclassified.is_empty()
        {
            return relation;
        }
        let ancestors = names::ancestors(relid);
        let descendants = names::descendants(relid);
        // Nearest first: the relation's own entry beats its parent's.
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

        let members: Vec<Oid> = wider().collect();
        relation.group_size = members
            .iter()
            .filter_map(|member| self.group_sizes.get(member).copied())
            .max();
        for (column, mask) in self.effective_masks(relid, &members, 1 + ancestors.len()) {
            if mask == Mask::None {
                continue;
            }
            match names::attribute(relid, &column) {
                Some(attno) => {
                    relation.masks.insert(attno, mask);
                }
                None => {
                    // What a child or its other parent masks need not be here, as long as it is there.
                    let own = family().count();
                    let lost = members.iter().enumerate().any(|(i, member)| {
                        self.masks
                            .get(member)
                            .is_some_and(|rows| rows.iter().any(|row| row.column == column))
                            && (i < own || names::attribute(*member, &column).is_none())
                    });
                    if lost {
                        relation.broken =
                            Some(format!("its masked column {column} is not there any more"));
                    }
                }
            }
        }
        for member in wider() {
            for column in self.denied_columns.get(&member).into_iter().flatten() {
                if let Some(attno) = names::attribute(relid, column) {
                    relation.denied.push(attno);
                } else if family().any(|own| own == member)
                    || names::attribute(member, column).is_none()
                {
                    // Renamed, it may be here under a name that nobody has denied.
                    relation.broken =
                        Some(format!("its denied column {column} is not there any more"));
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
        self.add_lineage(&mut relation, &descendants);
        relation
    }

    /// Does it tell of a hidden value which of its partitions a row of the relation is in?
    /// Worked out once, and kept until the relation changes: every statement that writes asks.
    pub fn parts_tell(&self, relid: Oid) -> bool {
        let relation = self.relation(relid);
        *relation.parts_tell.get_or_init(|| {
            let mut parts = std::iter::once(relid).chain(names::descendants(relid));
            parts.any(|part| {
                pg::objects::partition_columns(part).is_some_and(|key| {
                    let hidden = self.relation(part);
                    key.iter().any(|attno| hidden.hides_column(*attno))
                })
            })
        })
    }

    /// The columns by which the relation or a part of it is cut.
    pub fn partition_columns(&self, relid: Oid) -> Vec<i16> {
        let parts = std::iter::once(relid).chain(names::descendants(relid));
        parts
            .flat_map(|part| {
                let key = pg::objects::partition_columns(part).unwrap_or_default();
                key.into_iter().filter_map(move |attno| {
                    // A part may have its columns in another order.
                    names::attribute_name(part, attno)
                        .and_then(|column| names::attribute(relid, &column))
                })
            })
            .collect()
    }

    /// The same of a relation that is a partition itself: are its rows those with certain values in a column that is
    /// hidden in them? Takes no lock on it.
    pub(super) fn is_part_that_tells(&self, relid: Oid, ancestors: &[Oid]) -> bool {
        if ancestors.is_empty() || !self.has_masks() && self.denied_columns.is_empty() {
            return false;
        }
        let members: Vec<Oid> = std::iter::once(relid)
            .chain(ancestors.iter().copied())
            .collect();
        let denied = members
            .iter()
            .flat_map(|member| self.denied_columns.get(member).into_iter().flatten());
        let mut hidden: BTreeSet<String> = denied.cloned().collect();
        let masks = self.effective_masks(relid, &members, members.len());
        hidden.extend(
            masks
                .into_iter()
                .filter(|(_, mask)| *mask != Mask::None)
                .map(|(column, _)| column),
        );
        !hidden.is_empty()
            && ancestors.iter().any(|parent| {
                let key = pg::objects::partition_columns(*parent).unwrap_or_default();
                key.iter().any(|attno| {
                    *attno == 0
                        || names::attribute_name(*parent, *attno)
                            .is_some_and(|column| hidden.contains(&column))
                })
            })
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
    fn add_lineage(&self, relation: &mut Relation, descendants: &[Oid]) {
        for attno in names::generated_from(relation.relid, &relation.denied) {
            if !relation.denied.contains(&attno) {
                relation.denied.push(attno);
            }
        }
        let masked: Vec<i16> = relation.masks.keys().copied().collect();
        let mut computed = names::generated_from(relation.relid, &masked);
        // A child may compute a column from something else than its parent does.
        let hidden: Vec<String> = masked
            .iter()
            .filter_map(|attno| names::attribute_name(relation.relid, *attno))
            .collect();
        for child in descendants.iter().filter(|_| !hidden.is_empty()) {
            let masked: Vec<i16> = hidden
                .iter()
                .filter_map(|column| names::attribute(*child, column))
                .collect();
            let of_child = names::generated_from(*child, &masked);
            computed.extend(of_child.into_iter().filter_map(|attno| {
                let column = names::attribute_name(*child, attno)?;
                names::attribute(relation.relid, &column)
            }));
        }
        for attno in computed {
            relation.masks.entry(attno).or_insert(Mask::Null);
        }
        if !names::relation_kind(relation.relid).is_materialized_view()
            || self.allowed_by_name(relation.relid)
        {
            return;
        }
        // What a function has read nobody knows.
        if let Some(function) = names::view_functions(relation.relid)
            .into_iter()
            .find(|function| pg::access::has_body(*function))
        {
            relation.broken = Some(format!(
                "it is a materialized copy of what {} returned",
                names::signature(function)
            ));
        }
        if let Some(base) = names::view_sources(relation.relid)
            .into_iter()
            .find(|base| self.relation(*base).hides())
        {
            relation.broken = Some(format!(
                "it is a materialized copy of {}, which has masks, row filters or denied columns",
                names::relation(base)
            ));
        }
    }

    /// The mask of each column that somebody has classified, or that nobody has where that hides it.
    /// `members`: the relation itself and its parents, so many, in the order in which they count; then its
    /// children, whose rows it shows as well.
    fn effective_masks(&self, relid: Oid, members: &[Oid], above: usize) -> BTreeMap<String, Mask> {
        let labels: HashMap<(Oid, String), &str> = members
            .iter()
            .flat_map(|member| {
                let labels = self.labels.get(member).into_iter().flatten();
                labels.filter_map(|(attno, label)| {
                    let column = names::attribute_name(*member, *attno)?;
                    Some(((*member, column), &**label))
                })
            })
            .collect();
        let mut columns: BTreeSet<String> = labels.keys().map(|(_, name)| name.clone()).collect();
        for member in members {
            let rows = self.masks.get(member).into_iter().flatten();
            columns.extend(rows.map(|row| row.column.clone()));
        }
        let system = relid.to_u32() < pg::FIRST_NORMAL_OID;
        let hides_unclassified = !self.masks_unclassified.is_empty()
            && !system
            && names::relation_kind(relid).stores_rows();
        let (above, below) = members.split_at(above);
        if hides_unclassified {
            columns.extend(names::columns(relid).into_iter().map(|(_, name)| name));
        }
        let mask_for = |column: &str, role: Oid| {
            let label = |member: &Oid| labels.get(&(*member, column.to_owned())).copied();
            let said = |member: &Oid| self.classified(*member, column, label(member), role);
            let of_children = below.iter().filter_map(said).cloned();
            match (
                above.iter().find_map(said),
                of_children.reduce(Mask::strictest),
            ) {
                (Some(mask), Some(of_children)) => mask.clone().strictest(of_children),
                (Some(mask), None) => mask.clone(),
                (None, Some(of_children)) => of_children,
                // A label without a mask is a word on the column, too.
                _ if members.iter().any(|member| label(member).is_some()) => Mask::None,
                _ if hides_unclassified && self.masks_unclassified.contains(&role) => {
                    Mask::Unclassified
                }
                _ => Mask::None,
            }
        };
        columns
            .into_iter()
            .map(|column| {
                let mask = self
                    .role_oids
                    .iter()
                    .map(|role| mask_for(&column, *role))
                    .reduce(Mask::strictest)
                    .unwrap_or(Mask::None);
                (column, mask)
            })
            .collect()
    }

    /// What is said to one role of a column of exactly this relation: by name before by label, and
    /// to the role itself before to every role.
    fn classified(
        &self,
        relid: Oid,
        column: &str,
        label: Option<&str>,
        role: Oid,
    ) -> Option<&Mask> {
        let rows = || {
            let rows = self.masks.get(&relid).into_iter().flatten();
            rows.filter(|row| row.column == column)
        };
        let of_label = || {
            self.label_masks
                .iter()
                .filter(|row| Some(&*row.label) == label)
        };
        rows()
            .find(|row| row.role == Some(role))
            .or_else(|| rows().find(|row| row.role.is_none()))
            .map(|row| &row.mask)
            .or_else(|| {
                of_label()
                    .find(|row| row.role == Some(role))
                    .or_else(|| of_label().find(|row| row.role.is_none()))
                    .map(|row| &row.mask)
            })
    }
}

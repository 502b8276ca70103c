//! What of the database's objects a confined session is shown: those it may use, and those of
//! PostgreSQL itself. The filters of the system catalogs (`policy::builtins::listing`) ask here.

use std::collections::HashSet;

use pgrx::pg_sys::Oid;
use policy::builtins::guards::{Shown, class};
use policy::model::{Access, Capability};

use super::Policy;
use crate::pg::objects::{self, Cache, Names, Row};
use crate::pg::{self, names};

/// The schema `public`, which initdb makes and which is like any other.
const PUBLIC: u32 = 2200;

/// Made by initdb; what is above was made in this cluster.
fn built_in(oid: Oid) -> bool {
    oid != Oid::INVALID && oid.to_u32() < pg::FIRST_NORMAL_OID
}

/// The table of an index; any other relation itself.
fn table_of(relid: Oid) -> Oid {
    let index = names::relation_kind(relid).is_index();
    index
        .then(|| names::table_of_index(relid))
        .flatten()
        .unwrap_or(relid)
}

impl Policy {
    /// Is the object shown? `class` is the OID of the catalog that it is in.
    pub fn listed(&self, class: u32, object: Oid) -> bool {
        let now = pg::session::names_generation();
        if self.listed_at.replace(now) != now {
            self.listed.borrow_mut().clear();
        }
        let key = (class, object.to_u32());
        if let Some(known) = self.listed.borrow().get(&key) {
            return *known;
        }
        // What depends on itself is not shown on that account.
        self.listed.borrow_mut().insert(key, false);
        let found = self.judge_listed(class, object);
        self.listed.borrow_mut().insert(key, found);
        found
    }

    /// The same for a part of an object: of a relation, a column.
    pub fn part_listed(&self, class: u32, object: Oid, part: i32) -> bool {
        if class == class::RELATION && part != 0 {
            self.column_listed(object, part as i16)
        } else {
            self.listed(class, object)
        }
    }

    fn judge_listed(&self, class: u32, object: Oid) -> bool {
        match class {
            class::RELATION => self.relation_listed(object),
            class::NAMESPACE => {
                names::is_system_schema(object) && !names::is_toast_schema(object)
                    || self.shown_schemas.contains(&object)
            }
            class::PROCEDURE => built_in(object) || self.function_listed(object),
            class::TYPE => self.type_listed(object),
            class::AUTHID => self.role_listed(object),
            class::DATABASE => object == objects::own_database(),
            class::CONSTRAINT => self.constraint_listed(object),
            class::STATISTIC_EXT => self.statistics_listed(object),
            class::EXTENSION => built_in(object) || self.extension_allowed(object),
            // What a view stands on, as far as it is shown itself.
            class::REWRITE => {
                built_in(object)
                    || objects::table_of_rule(object).is_some_and(|view| self.view_shown(view))
            }
            class::OPERATOR => {
                built_in(object)
                    || self.of_allowed_extension(class, object)
                    || Row::fetch(Cache::Operator, object).is_some_and(|row| {
                        self.listed(class::NAMESPACE, row.oid("oprnamespace"))
                            && self.function_listed(row.oid("oprcode"))
                    })
            }
            class::OPCLASS
            | class::OPFAMILY
            | class::COLLATION
            | class::CONVERSION
            | class::TS_CONFIG
            | class::TS_DICT
            | class::TS_PARSER
            | class::TS_TEMPLATE
            | class::CAST => built_in(object) || self.of_allowed_extension(class, object),
            _ => built_in(object),
        }
    }

    fn extension_allowed(&self, extension: Oid) -> bool {
        self.allowed
            .iter()
            .all(|role| role.extensions.contains(&extension))
    }

    fn of_allowed_extension(&self, class: u32, object: Oid) -> bool {
        objects::extension_of(class, object).is_some_and(|e| self.extension_allowed(e))
    }

    fn function_listed(&self, function: Oid) -> bool {
        function != Oid::INVALID
            && objects::function_schema(function) != Oid::INVALID
            && self.function_allowed(function, true)
    }

    fn relation_listed(&self, relid: Oid) -> bool {
        let schema = names::relation_schema(relid);
        if schema == Oid::INVALID || names::is_toast_schema(schema) {
            return false;
        }
        if names::is_system_schema(schema) && built_in(relid) {
            return true;
        }
        let kind = names::relation_kind(relid);
        if kind.is_index() {
            return names::table_of_index(relid).is_some_and(|table| {
                self.listed(class::RELATION, table) && self.index_listed(relid, table)
            });
        }
        if Some(schema) == names::own_schema() || self.access(relid) == Access::Deny {
            return false;
        }
        match kind.0 {
            b'S' => objects::sequence_owner(relid)
                .is_none_or(|(table, column)| self.column_listed(table, column)),
            _ => true,
        }
    }

    /// None of the index's columns is denied, and its expressions name nothing that is hidden.
    fn index_listed(&self, index: Oid, table: Oid) -> bool {
        let Some(row) = Row::fetch(Cache::Index, index) else {
            return false;
        };
        let hidden = self.relation(table);
        row.numbers("indkey")
            .iter()
            .all(|attno| !hidden.denied.contains(attno))
            && ["indexprs", "indpred"].iter().all(|column| {
                row.named_in(column)
                    .is_none_or(|names| self.expression_shown(&names, Some(table)))
            })
    }

    pub fn column_listed(&self, relid: Oid, attno: i16) -> bool {
        self.listed(class::RELATION, relid)
            && (attno <= 0 || !self.relation(relid).denied.contains(&attno))
    }

    fn type_listed(&self, typid: Oid) -> bool {
        if built_in(typid) {
            return true;
        }
        let Some(row) = Row::fetch(Cache::Type, typid) else {
            return false;
        };
        let relid = row.oid("typrelid");
        if relid != Oid::INVALID && names::relation_kind(relid).0 != b'c' {
            return self.listed(class::RELATION, relid);
        }
        let element = row.oid("typelem");
        if element != Oid::INVALID && row.letter("typcategory") == b'A' {
            return self.listed(class::TYPE, element);
        }
        if row.letter("typtype") == b'm'
            && let Some(range) = objects::range_of(typid)
        {
            return self.listed(class::TYPE, range);
        }
        let schema = row.oid("typnamespace");
        self.allowed.iter().all(|role| {
            role.schemas
                .get(&schema)
                .is_some_and(|access| *access > Access::Deny)
        }) || self.of_allowed_extension(class::TYPE, typid)
            || self.type_used(typid)
    }

    /// Is the type that of a column or function that is shown?
    fn type_used(&self, typid: Oid) -> bool {
        objects::dependents(class::TYPE, typid)
            .into_iter()
            .any(|(class, object, part)| match class {
                class::RELATION if names::relation_kind(object).0 == b'c' => {
                    self.listed(class::TYPE, objects::row_type(object))
                }
                class::RELATION => part > 0 && self.column_listed(object, part as i16),
                class::PROCEDURE => self.function_listed(object),
                class::TYPE => object != typid && self.type_used(object),
                _ => false,
            })
    }

    /// May the values of an enum type be seen: is it used by what is shown, or by nothing at all?
    pub fn labels_listed(&self, typid: Oid) -> bool {
        built_in(typid)
            || (self.listed(class::TYPE, typid)
                && (self.type_used(typid)
                    || !objects::dependents(class::TYPE, typid)
                        .iter()
                        .any(|(class, ..)| *class == class::RELATION)))
    }

    /// The session's own roles, those it is a member of, owners of what is shown, and those that
    /// PostgreSQL brings.
    fn role_listed(&self, role: Oid) -> bool {
        built_in(role)
            || self.role_oids.contains(&role)
            || objects::is_member_of(role)
            || pg::session::Users::now().session == role
            || objects::owns(role, |class, object| {
                matches!(class, class::RELATION | class::NAMESPACE | class::PROCEDURE)
                    && self.listed(class, object)
            })
    }

    fn constraint_listed(&self, constraint: Oid) -> bool {
        let Some(row) = Row::fetch(Cache::Constraint, constraint) else {
            return false;
        };
        let keys_shown = |relid: Oid, column: &str| {
            let hidden = self.relation(relid);
            row.numbers(column)
                .iter()
                .all(|attno| !hidden.denied.contains(attno))
        };
        let (relid, other) = (row.oid("conrelid"), row.oid("confrelid"));
        let over = if relid == Oid::INVALID {
            let typid = row.oid("contypid");
            if typid == Oid::INVALID || !self.listed(class::TYPE, typid) {
                return false;
            }
            None
        } else {
            let shown = self.listed(class::RELATION, relid)
                && row.letter("contype") != b't'
                && keys_shown(relid, "conkey")
                && (other == Oid::INVALID
                    || (self.listed(class::RELATION, other) && keys_shown(other, "confkey")));
            if !shown {
                return false;
            }
            Some(relid)
        };
        row.named_in("conbin")
            .is_none_or(|names| self.expression_shown(&names, over))
    }

    fn statistics_listed(&self, statistics: Oid) -> bool {
        Row::fetch(Cache::StatisticExt, statistics).is_some_and(|row| {
            let relid = row.oid("stxrelid");
            self.listed(class::RELATION, relid)
                && !self.relation(relid).hides()
                && row
                    .named_in("stxexprs")
                    .is_none_or(|names| self.expression_shown(&names, Some(relid)))
        })
    }

    /// May a stored expression be seen: constants and all? Not if it reads a column of `relid`
    /// that is masked or denied, or names anything that is not shown.
    pub fn expression_shown(&self, names: &Names, relid: Option<Oid>) -> bool {
        if let Some(relid) = relid {
            let hidden = self.relation(relid);
            if names
                .columns
                .iter()
                .any(|attno| hidden.hides_column(*attno))
            {
                return false;
            }
        }
        names
            .functions
            .iter()
            .all(|function| self.listed(class::PROCEDURE, *function))
            && names.types.iter().all(|t| self.listed(class::TYPE, *t))
            && names
                .objects
                .iter()
                .all(|(class, object)| self.listed(*class, *object))
    }

    /// May the default of a column, or what it is generated from, be seen?
    pub fn default_shown(&self, relid: Oid, attno: i16, names: impl FnOnce() -> Names) -> bool {
        self.column_listed(relid, attno) && !self.relation(relid).masks.contains_key(&attno) && {
            let key = (relid.to_u32(), attno as u32);
            if let Some(known) = self.defaults.borrow().get(&key) {
                return *known;
            }
            let shown = self.expression_shown(&names(), Some(relid));
            self.defaults.borrow_mut().insert(key, shown);
            shown
        }
    }

    /// Does an object pass as the argument of a built-in function that tells about it?
    pub fn shown(&self, what: Shown, object: Oid) -> bool {
        match what {
            Shown::Class(class) => self.listed(class, object),
            Shown::Counts => self.counts_shown(object),
            Shown::Sizes => self.sizes_shown(object),
            Shown::DatabaseSize => {
                self.database_size_shown() && self.listed(class::DATABASE, object)
            }
            Shown::Bound => self.bound_shown(object),
            Shown::PartitionKey => self.partition_key_shown(object),
            Shown::View => self.view_shown(object),
            Shown::Defaults => {
                self.listed(class::PROCEDURE, object)
                    && (built_in(object)
                        || Row::fetch(Cache::Procedure, object).is_some_and(|row| {
                            row.named_in("proargdefaults")
                                .is_none_or(|names| self.expression_shown(&names, None))
                        }))
            }
            Shown::Ancestors => {
                self.listed(class::RELATION, object)
                    && names::ancestors(object)
                        .into_iter()
                        .all(|parent| self.listed(class::RELATION, parent))
            }
            Shown::BuiltIn => built_in(object),
        }
    }

    /// Do sizes of the relation, which include the width of each row, tell nothing about what is hidden? A
    /// role that writes makes copies of a row until its width shows.
    pub fn sizes_shown(&self, relid: Oid) -> bool {
        self.counts_shown(relid) && !self.relation(table_of(relid)).hides_column(0)
    }

    /// Is that of the database the sum of what the role does not write?
    pub fn database_size_shown(&self) -> bool {
        !self.writes()
    }

    /// May the role write at all?
    pub fn writes(&self) -> bool {
        self.capability > Capability::ReadOnly
    }

    /// Do counters of the relation tell nothing about rows that are hidden?
    pub fn counts_shown(&self, relid: Oid) -> bool {
        let table = table_of(relid);
        self.listed(class::RELATION, relid) && {
            if built_in(table) {
                // How large pg_class is tells how many relations there are.
                return false;
            }
            let hidden = self.relation(table);
            // How large an index is tells how many different values are in it.
            let of_masked = || {
                let shows = |index| {
                    Row::fetch(Cache::Index, index).is_none_or(|row| {
                        row.numbers("indkey")
                            .iter()
                            .any(|attno| hidden.masks.contains_key(attno))
                    })
                };
                if table == relid {
                    // Sums over all indexes of a table.
                    !hidden.masks.is_empty() && names::indexes(table).into_iter().any(shows)
                } else {
                    shows(relid)
                }
            };
            !hidden.hides_rows() && hidden.broken.is_none() && !of_masked()
        }
    }

    /// Bounds are values of the key: they are shown where all rows and the key are.
    pub fn bound_shown(&self, relid: Oid) -> bool {
        self.listed(class::RELATION, relid)
            && !self.relation(relid).hides_rows()
            && names::ancestors(relid).into_iter().all(|parent| {
                let hidden = self.relation(parent);
                !hidden.hides_column(0)
                    || objects::partition_columns(parent)
                        .is_none_or(|key| !key.iter().any(|attno| hidden.hides_column(*attno)))
            })
    }

    pub fn partition_key_shown(&self, relid: Oid) -> bool {
        self.listed(class::RELATION, relid)
            && Row::fetch(Cache::Partitioned, relid).is_none_or(|row| {
                let hidden = self.relation(relid);
                row.numbers("partattrs")
                    .iter()
                    .all(|attno| !hidden.denied.contains(attno))
                    && row
                        .named_in("partexprs")
                        .is_none_or(|names| self.expression_shown(&names, Some(relid)))
            })
    }

    /// May the definition of a view be seen? Only if all that it names may: a view publishes rows
    /// of tables that the role need not know.
    pub fn view_shown(&self, view: Oid) -> bool {
        if !self.listed(class::RELATION, view) {
            return false;
        }
        if built_in(view) {
            return true;
        }
        if !matches!(names::relation_kind(view).0, b'v' | b'm') {
            return false;
        }
        objects::definition(view).is_some_and(|definition| {
            definition.relations.iter().all(|(relid, columns)| {
                let hidden = self.relation(*relid);
                // The stored tree has the names of all columns.
                self.listed(class::RELATION, *relid)
                    && hidden.denied.is_empty()
                    && columns.iter().all(|attno| {
                        (*attno != 0 || hidden.masks.is_empty())
                            && !hidden.masks.contains_key(attno)
                    })
            }) && self.expression_shown(&definition.names, None)
        })
    }

    /// Schemas with something in them that may be used.
    pub(super) fn find_shown_schemas(&self) -> HashSet<Oid> {
        let mut found = HashSet::new();
        let Some(first) = self.allowed.first() else {
            return found;
        };
        for schema in first.schemas.keys() {
            if self
                .allowed
                .iter()
                .all(|role| role.schemas.contains_key(schema))
            {
                found.insert(*schema);
            }
        }
        for role in &self.allowed {
            for relid in role.relations.keys() {
                if self.access(*relid) > Access::Deny {
                    found.insert(names::relation_schema(*relid));
                }
            }
            for (function, rule) in &role.functions {
                if rule.allow && self.function_allowed(*function, true) {
                    found.insert(objects::function_schema(*function));
                }
            }
            for extension in &role.extensions {
                if self.extension_allowed(*extension) {
                    found.insert(objects::extension_schema(*extension));
                }
            }
        }
        // Functions that say who asks.
        found.extend(names::own_schema());
        found.remove(&Oid::INVALID);
        found
    }

    /// Is the schema shown? Asks no catalog.
    pub fn schema_shown(&self, schema: Oid) -> bool {
        built_in(schema) && schema.to_u32() != PUBLIC || self.shown_schemas.contains(&schema)
    }

    /// Is a schema of this name shown? Asked while an error is on its way, when no catalog may be.
    pub fn schema_name_shown(&self, name: &str) -> bool {
        matches!(name, "pg_catalog" | "information_schema" | "pg_temp")
            || self.shown_schema_names.iter().any(|shown| shown == name)
    }
}

//! The policy tables, read into memory: what applies to this session, by relation and function.

use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasherDefault, DefaultHasher, Hash, Hasher};
use std::rc::Rc;

use pgrx::pg_sys::Oid;
use policy::builtins::{self, Catalog, Disposition};
use policy::model::{Access, Capability, Limits, Mode, OnExcess};
use policy::rule::Rule;

use crate::api::identity::Assurance;
use crate::denial::Denial;
use crate::pg::{self, names, scan, template::Template};

/// One row of `policy_role`.
#[derive(Debug, Clone)]
pub struct RoleRow {
    pub role: Oid,
    capability: Capability,
    mode: Mode,
    identity: Assurance,
    strict_views: bool,
    limits: Limits,
}

/// The protected roles of this database; empty when the extension is not installed here, `None`
/// when it is and its table cannot be found.
pub fn read_roles() -> Option<Vec<RoleRow>> {
    pg::session::watch(None);
    if !scan::installed() {
        return Some(Vec::new());
    }
    pg::session::watch(scan::policy_relation("policy_role"));
    let table = scan::table("policy_role")?;
    // A word this version does not know is read as the strictest.
    let rows = table
        .rows()
        .filter_map(|row| {
            let word = |name| row.text(name).unwrap_or_default();
            let count = |name| row.int(name).and_then(|n| u64::try_from(n).ok());
            Some(RoleRow {
                role: row.oid("role")?,
                capability: word("capability").parse().unwrap_or(Capability::ReadOnly),
                mode: word("mode").parse().unwrap_or(Mode::Enforce),
                identity: word("identity").parse().unwrap_or(Assurance::Signed),
                strict_views: row.bool("strict_views").unwrap_or(true),
                limits: Limits {
                    max_rows: count("max_rows"),
                    max_bytes: count("max_bytes"),
                    on_excess: word("on_excess").parse().unwrap_or(OnExcess::Error),
                    statement_timeout: count("statement_timeout"),
                    max_plan_cost: row.float("max_plan_cost"),
                },
            })
        })
        .collect();
    Some(rows)
}

/// What one protected role may touch.
#[derive(Default)]
struct Allowed {
    schemas: HashMap<Oid, Access>,
    schema_names: Vec<String>,
    relations: HashMap<Oid, Access>,
    functions: HashMap<Oid, FunctionRule>,
    extensions: HashSet<Oid>,
}

#[derive(Clone, Copy)]
struct FunctionRule {
    allow: bool,
    trusted: bool,
}

#[derive(Clone)]
struct MaskRow {
    role: Option<Oid>,
    column: String,
    none: bool,
    expression: Option<String>,
}

struct FilterRow {
    role: Option<Oid>,
    filter: Filter,
}

/// A row filter as stored: the predicate, and whose privileges its sub-queries run with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    pub name: String,
    pub expression: String,
    pub definer: Oid,
}

type OidMap<K, V> = HashMap<K, V, BuildHasherDefault<OidHasher>>;

/// Numbers that the server gave out need no defence against collisions.
#[derive(Default)]
struct OidHasher(u64);

impl OidHasher {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
}

impl Hasher for OidHasher {
    fn finish(&self) -> u64 {
        self.0.rotate_left(26)
    }
    fn write_u32(&mut self, n: u32) {
        self.0 = (self.0 ^ u64::from(n)).wrapping_mul(Self::FACTOR);
    }
    fn write_u8(&mut self, n: u8) {
        self.write_u32(n.into());
    }
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|b| self.write_u8(*b));
    }
}

/// What a look at a relation's own entry told.
#[derive(Clone, Copy)]
struct Known {
    named: Access,
    behind_view: Access,
    kind: names::Kind,
}

/// The policies of one or more protected roles, combined to the strictest.
pub struct Policy {
    pub role_oids: Vec<Oid>,
    /// Part of each plan's stamp: another policy, another number.
    pub stamp: u32,
    /// How many changes the policy of this database has seen.
    pub version: i64,
    pub capability: Capability,
    pub mode: Mode,
    pub identity: Assurance,
    pub strict_views: bool,
    pub limits: Limits,
    allowed: Vec<Allowed>,
    denied_columns: HashMap<Oid, Vec<String>>,
    masks: HashMap<Oid, Vec<MaskRow>>,
    filters: HashMap<Oid, Vec<FilterRow>>,
    functions: RefCell<OidMap<(Oid, bool), bool>>,
    /// Functions that masks and filters call: the server may run them, the agent may not name them.
    policy_functions: RefCell<HashSet<Oid>>,
    relations: RefCell<OidMap<Oid, Rc<Relation>>>,
    known: RefCell<OidMap<Oid, Known>>,
    /// Why nothing at all may be done: the role is protected, and its policy is not here.
    pub closed: Option<&'static str>,
}

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

fn role_of(row: scan::Row<'_>) -> Option<Oid> {
    row.oid("role").filter(|role| *role != Oid::INVALID)
}

/// Reads what the policy tables say for `active`, a subset of the protected roles.
pub fn read_policy(roles: &[RoleRow], active: &[Oid]) -> Policy {
    let mut hasher = DefaultHasher::new();
    let mut table = |name: &str| {
        let table = table(name);
        table.hash(&mut hasher);
        table
    };
    let mut policy = Policy::empty(active);
    policy.version = names::sequence_value("policy_history_id_seq").unwrap_or(0);
    let mut index = HashMap::new();
    for row in roles.iter().filter(|row| active.contains(&row.role)) {
        policy.capability = policy.capability.min(row.capability);
        policy.mode = policy.mode.max(row.mode);
        policy.identity = policy.identity.max(row.identity);
        policy.strict_views |= row.strict_views;
        policy.limits = policy.limits.strictest(row.limits);
        index.insert(row.role, policy.allowed.len());
        policy.allowed.push(Allowed::default());
    }
    let mine = |row: &scan::Row<'_>| row.oid("role").and_then(|role| index.get(&role).copied());
    let for_me = |row: &scan::Row<'_>| role_of(*row).is_none_or(|role| active.contains(&role));

    for row in table("policy_schema").rows() {
        let (Some(i), Some(name)) = (mine(&row), row.text("schema_name")) else {
            continue;
        };
        if let Some(schema) = names::schema(name) {
            let access = row
                .text("access")
                .and_then(|a| a.parse().ok())
                .unwrap_or(Access::Deny);
            policy.allowed[i].schemas.insert(schema, access);
            policy.allowed[i].schema_names.push(name.to_owned());
        }
    }
    for row in table("policy_relation").rows() {
        if let (Some(i), Some(relid)) = (mine(&row), row.oid("relation")) {
            let access = row
                .text("access")
                .and_then(|a| a.parse().ok())
                .unwrap_or(Access::Deny);
            policy.allowed[i].relations.insert(relid, access);
        }
    }
    for row in table("policy_column").rows() {
        if let (Some(_), Some(relid), Some(column)) =
            (mine(&row), row.oid("relation"), row.text("column_name"))
        {
            policy
                .denied_columns
                .entry(relid)
                .or_default()
                .push(column.to_owned());
        }
    }
    for row in table("policy_function").rows() {
        let (Some(i), Some(signature)) = (mine(&row), row.text("function")) else {
            continue;
        };
        if let Some(function) = names::function(signature) {
            let rule = FunctionRule {
                allow: row.text("access") == Some("allow"),
                trusted: row.bool("trusted").unwrap_or(false),
            };
            policy.allowed[i].functions.insert(function, rule);
        }
    }
    for row in table("policy_extension").rows() {
        if let (Some(i), Some(extension)) =
            (mine(&row), row.text("extension").and_then(names::extension))
        {
            policy.allowed[i].extensions.insert(extension);
        }
    }
    for row in table("policy_mask").rows().filter(for_me) {
        if let (Some(relid), Some(column)) = (row.oid("relation"), row.text("column_name")) {
            policy.masks.entry(relid).or_default().push(MaskRow {
                role: role_of(row),
                column: column.to_owned(),
                none: row.text("mask") == Some("none"),
                expression: row.text("expression").map(str::to_owned),
            });
        }
    }
    for row in table("policy_filter").rows().filter(for_me) {
        if let (Some(relid), Some(name)) = (row.oid("relation"), row.text("name")) {
            policy.filters.entry(relid).or_default().push(FilterRow {
                role: role_of(row),
                filter: Filter {
                    name: name.to_owned(),
                    expression: row.text("expression").unwrap_or("false").to_owned(),
                    definer: row.oid("definer").unwrap_or(Oid::INVALID),
                },
            });
        }
    }
    table("policy_role");
    for role in active {
        role.to_u32().hash(&mut hasher);
    }
    // The same policy read again is the same: plans made under it stay good.
    policy.stamp = hasher.finish() as u32;
    if policy.mode == Mode::Monitor {
        // Nothing is masked, filtered or cut; what would have been refused is noted.
        policy.masks.clear();
        policy.filters.clear();
    }
    policy
}

fn table(name: &str) -> scan::Table {
    // The extension is installed, or no role would be protected: a table that is gone means that
    // the policy cannot be known.
    scan::table(name).unwrap_or_else(|| {
        Denial::new(
            Rule::PolicyUnavailable,
            format!("agent_policy.{name}"),
            format!("the policy cannot be read: table agent_policy.{name} is missing"),
        )
        .hint("Ask the database administrator to repair the extension agent_policy.")
        .raise()
    })
}

impl Policy {
    fn empty(active: &[Oid]) -> Self {
        Self {
            role_oids: active.to_vec(),
            stamp: 0,
            version: 0,
            capability: Capability::Ddl,
            mode: Mode::Monitor,
            identity: Assurance::None,
            strict_views: false,
            limits: Limits::NONE,
            allowed: Vec::new(),
            denied_columns: HashMap::new(),
            masks: HashMap::new(),
            filters: HashMap::new(),
            functions: RefCell::default(),
            policy_functions: RefCell::default(),
            relations: RefCell::default(),
            known: RefCell::default(),
            closed: None,
        }
    }

    /// The policy of a session whose policy cannot be known: nothing may be done.
    pub fn closed(why: &'static str) -> Self {
        Self {
            capability: Capability::ReadOnly,
            mode: Mode::Enforce,
            closed: Some(why),
            ..Self::empty(&[])
        }
    }

    pub fn monitors(&self) -> bool {
        self.mode == Mode::Monitor
    }

    /// What the session may do with a relation that it names.
    pub fn access(&self, relid: Oid) -> Access {
        self.known(relid).named
    }

    /// What the session may do with a relation that it reaches through a view.
    pub fn access_behind_view(&self, relid: Oid) -> Access {
        self.known(relid).behind_view
    }

    /// [`names::relation_kind`], remembered.
    pub fn kind(&self, relid: Oid) -> names::Kind {
        self.known(relid).kind
    }

    fn known(&self, relid: Oid) -> Known {
        if let Some(known) = self.known.borrow().get(&relid) {
            return *known;
        }
        let (named, behind_view) = self.judge_access(relid);
        let found = Known {
            named,
            behind_view,
            kind: names::relation_kind(relid),
        };
        self.known.borrow_mut().insert(relid, found);
        found
    }

    fn judge_access(&self, relid: Oid) -> (Access, Access) {
        let schema = names::relation_schema(relid);
        if Some(schema) == names::own_schema() {
            return (Access::Deny, Access::Read);
        }
        match builtin_relation(schema, relid) {
            Some(Catalog::Allow) => return (Access::Read, Access::Read),
            Some(Catalog::ViewOnly) => return (Access::Deny, Access::Read),
            Some(Catalog::Deny) => return (Access::Deny, Access::Deny),
            None => {}
        }
        // A denial covers partitions and children.
        let family: Vec<Oid> = std::iter::once(relid)
            .chain(names::ancestors(relid))
            .collect();
        let denied = self.allowed.iter().any(|role| {
            family
                .iter()
                .any(|member| role.relations.get(member) == Some(&Access::Deny))
        });
        if denied {
            return (Access::Deny, Access::Deny);
        }
        let foreign = names::relation_kind(relid).is_foreign();
        let named = self
            .allowed
            .iter()
            .map(|role| {
                role.relations
                    .get(&relid)
                    // A foreign table is data from elsewhere: it has to be allowed by its own name.
                    .or_else(|| role.schemas.get(&schema).filter(|_| !foreign))
                    .copied()
                    .unwrap_or(Access::Deny)
            })
            .min()
            .unwrap_or(Access::Deny);
        let behind_view = if self.strict_views {
            named
        } else {
            named.max(Access::Read)
        };
        (named, behind_view)
    }

    /// May tables and the like be made, changed and dropped in this schema?
    pub fn may_define_in(&self, schema: Oid) -> bool {
        self.allowed.iter().all(|role| {
            role.schemas
                .get(&schema)
                .is_some_and(|access| *access == Access::Write)
        })
    }

    /// The limits in force: none while the policy only watches.
    pub fn effective_limits(&self) -> Limits {
        if self.monitors() {
            Limits::NONE
        } else {
            self.limits
        }
    }

    /// Was the relation allowed by its own name in every policy of the session?
    pub fn allowed_by_name(&self, relid: Oid) -> bool {
        self.allowed.iter().all(|role| {
            role.relations
                .get(&relid)
                .is_some_and(|a| *a > Access::Deny)
        })
    }

    /// May the function run? `direct`: the agent's own text names it.
    pub fn function_allowed(&self, function: Oid, direct: bool) -> bool {
        if let Some(known) = self.functions.borrow().get(&(function, direct)) {
            return *known;
        }
        let allowed = self.judge_function(function, direct);
        self.functions
            .borrow_mut()
            .insert((function, direct), allowed);
        allowed
    }

    fn judge_function(&self, function: Oid, direct: bool) -> bool {
        let rules = || {
            self.allowed
                .iter()
                .map(|role| role.functions.get(&function))
        };
        if rules().flatten().any(|rule| !rule.allow) {
            return false;
        }
        if rules().all(|rule| rule.is_some_and(|rule| rule.allow)) {
            return true;
        }
        if !direct
            && (self.policy_functions.borrow().contains(&function)
                // Triggers are the table owner's; what they do is judged statement by statement.
                || names::is_trigger_function(function)
                // Serial columns take their value so.
                || (function.to_u32() == NEXTVAL && self.capability > Capability::ReadOnly))
        {
            return true;
        }
        let disposition = if function.to_u32() < pg::FIRST_GENBKI_OID {
            builtins::function(pg::MAJOR, function.to_u32())
        } else if function.to_u32() < pg::FIRST_NORMAL_OID {
            names::function_name(function).map_or(Disposition::Deny, |(schema, name)| {
                builtins::function_by_name(&schema, &name)
            })
        } else if names::in_own_schema(function) {
            crate::api::disposition(names::function_name(function).map(|(_, name)| name))
        } else {
            let extension = names::extension_of_function(function);
            return extension
                .is_some_and(|e| self.allowed.iter().all(|role| role.extensions.contains(&e)));
        };
        match disposition {
            Disposition::Allow => true,
            Disposition::Internal => !direct,
            Disposition::Deny => false,
        }
    }

    /// Is the function allowed with the policy switched off inside it?
    pub fn function_trusted(&self, function: Oid) -> bool {
        !self.allowed.is_empty()
            && self.allowed.iter().all(|role| {
                role.functions
                    .get(&function)
                    .is_some_and(|rule| rule.allow && rule.trusted)
            })
    }

    /// Notes that a mask or filter calls these functions.
    pub fn admit_functions(&self, functions: impl IntoIterator<Item = Oid>) {
        let mut known = self.policy_functions.borrow_mut();
        for function in functions {
            if known.insert(function) {
                self.functions.borrow_mut().remove(&(function, false));
            }
        }
    }

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
    }

    fn resolve(&self, relid: Oid) -> Relation {
        let mut relation = Relation {
            relid,
            ..Relation::default()
        };
        if let Some(expression) = self.system_filter(relid) {
            relation.filters.push(Filter {
                name: "system".into(),
                expression: expression.into(),
                definer: names::own_schema_owner(),
            });
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

    /// What of a catalog is shown: statistics only of columns whose values may be seen.
    fn system_filter(&self, relid: Oid) -> Option<&'static str> {
        const PG_STATISTIC: u32 = 2619;
        match relid.to_u32() {
            PG_STATISTIC if !self.monitors() => {
                Some("agent_policy.column_readable(starelid, staattnum)")
            }
            _ => None,
        }
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

    /// Relations that the role may read, for hints; at most `limit` of them.
    pub fn readable(&self, limit: usize) -> Vec<String> {
        let mut found: Vec<String> = Vec::new();
        let Some(first) = self.allowed.first() else {
            return found;
        };
        let named = first.relations.keys().copied();
        let in_schemas = first.schemas.keys().flat_map(|s| names::relations_in(*s));
        let mut all: Vec<Oid> = named.chain(in_schemas).collect();
        all.sort_unstable_by_key(|o| o.to_u32());
        all.dedup();
        for relid in all {
            if found.len() >= limit {
                break;
            }
            if self.access(relid) > Access::Deny {
                found.push(names::relation(relid));
            }
        }
        found
    }
}

/// `pg_catalog.nextval(regclass)`.
pub const NEXTVAL: u32 = 1574;

fn builtin_relation(schema: Oid, relid: Oid) -> Option<Catalog> {
    if !names::is_system_schema(schema) {
        return None;
    }
    let (schema, name) = names::relation_parts(relid)?;
    Some(builtins::catalog(&schema, &name))
}

/// Catalogs that functions of the server itself read by SQL, as the caller (pg_get_viewdef, say).
pub fn readable_by_builtins(relid: Oid) -> bool {
    const PG_REWRITE: u32 = 2618;
    relid.to_u32() == PG_REWRITE
}

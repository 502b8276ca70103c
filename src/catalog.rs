//! The policy tables, read into memory: what applies to this session, by relation and function.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, DefaultHasher, Hash, Hasher};
use std::panic::AssertUnwindSafe;
use std::rc::Rc;

use pgrx::pg_sys::Oid;
use pgrx::{PgSqlErrorCode, PgTryBuilder};
use policy::model::{Access, Capability, Limits, Mode, OnExcess};
use policy::rule::Rule;

use crate::api::identity::Assurance;
use crate::denial::Denial;
use crate::doors;
use crate::pg::{self, names, scan};

pub mod access;
mod listing;
mod relation;

use access::Known;
pub use access::readable_by_builtins;
pub use relation::{Mask, Relation, SYSTEM};

/// One row of `policy_role`.
#[derive(Debug, Clone)]
pub struct RoleRow {
    pub role: Oid,
    capability: Capability,
    mode: Mode,
    identity: Assurance,
    strict_views: bool,
    /// Columns that nobody has classified are masked.
    masks_unclassified: bool,
    limits: Limits,
}

impl RoleRow {
    /// Is the role confined, and not just watched?
    pub fn enforced(&self) -> bool {
        self.mode == Mode::Enforce
    }
}

/// Why a confined session may do nothing at all.
#[derive(Debug)]
pub enum Closed {
    /// The extension is installed, and its tables cannot be found.
    TablesMissing,
    /// What is in them cannot be made sense of.
    Unreadable,
    /// The role is protected in other databases, and not in this one.
    Elsewhere { role: String, databases: String },
}

impl Closed {
    pub fn denial(&self) -> Denial {
        match self {
            Self::TablesMissing => Denial::new(
                Rule::PolicyUnavailable,
                "agent_policy",
                "the policy cannot be read: its tables are missing",
            )
            .hint("Ask the database administrator to repair the extension agent_policy."),
            Self::Unreadable => Denial::new(
                Rule::PolicyUnavailable,
                "agent_policy",
                "the policy cannot be read",
            )
            .hint("Ask the database administrator: the server's log says why."),
            Self::Elsewhere { role, databases } => doors::elsewhere(role, databases),
        }
    }
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
                masks_unclassified: word("unclassified") != "show",
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
    /// Denied functions that are not where they were: whatever has the name may be one of them.
    /// And whether it was built in.
    lost_functions: HashMap<String, bool>,
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
    mask: Mask,
}

/// One row of `policy_label`: what columns with a label show.
struct LabelRow {
    role: Option<Oid>,
    label: String,
    mask: Mask,
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
type OidSet<K> = HashSet<K, BuildHasherDefault<OidHasher>>;

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

/// Names for hints. Those that were known stay until others are.
#[derive(Default)]
struct Hints {
    names: Vec<String>,
    known: bool,
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
    /// Labels of columns, where some policy asks for them, and the masks that they carry.
    labels: HashMap<Oid, Vec<(i16, Rc<str>)>>,
    label_masks: Vec<LabelRow>,
    /// The roles for which a column that nobody has classified is masked.
    masks_unclassified: Vec<Oid>,
    filters: HashMap<Oid, Vec<FilterRow>>,
    /// Relations that are read through aggregates only, and the rows that a group must have.
    group_sizes: HashMap<Oid, i32>,
    /// Those that may be called, and whether the statement may name them.
    functions: RefCell<OidSet<(Oid, bool)>>,
    /// Functions that masks and filters call: the server may run them, the agent may not name them.
    policy_functions: Rc<RefCell<HashSet<Oid>>>,
    relations: RefCell<OidMap<Oid, Rc<Relation>>>,
    known: RefCell<OidMap<Oid, Known>>,
    /// What the catalogs show, by catalog and OID, and the state of names that it is true for.
    listed: RefCell<OidMap<(u32, u32), bool>>,
    listed_at: Cell<u32>,
    /// Column defaults that may be seen, by relation and column.
    defaults: RefCell<OidMap<(u32, u32), bool>>,
    shown_schemas: HashSet<Oid>,
    shown_schema_names: Vec<String>,
    /// Some relations that may be read, for hints.
    readable: RefCell<Hints>,
    /// Why nothing at all may be done: the role is protected, and its policy is not here.
    pub closed: Option<Closed>,
}

fn role_of(row: scan::Row<'_>) -> Option<Oid> {
    row.oid("role").filter(|role| *role != Oid::INVALID)
}

/// Reads what the policy tables say for `active`, a subset of the protected roles. A table that is
/// gone means that the policy cannot be known, and so does an error that would come again: nothing
/// raises for ever where errors themselves ask for the policy. What passes (a cancellation, a lock, want
/// of memory) goes on as it is.
pub fn read_policy(roles: &[RoleRow], active: &[Oid]) -> Policy {
    let read = || try_read_policy(roles, active).ok_or(Closed::TablesMissing);
    PgTryBuilder::new(AssertUnwindSafe(read))
        .catch_others(|error| {
            let report = pg::report_of(&error);
            if !comes_again(report.sql_error_code()) {
                error.rethrow();
            }
            pgrx::log!(
                "agent_policy: the policy cannot be read: {}",
                report.message()
            );
            Err(Closed::Unreadable)
        })
        .execute()
        .unwrap_or_else(Policy::closed)
}

/// Is it about what is stored, whoever reads it and when?
fn comes_again(code: PgSqlErrorCode) -> bool {
    // The class is in the lower bits.
    const CLASS: i32 = (1 << 12) - 1;
    const CLASSES: [PgSqlErrorCode; 3] = [
        PgSqlErrorCode::ERRCODE_DATA_EXCEPTION,
        PgSqlErrorCode::ERRCODE_INVALID_SCHEMA_NAME,
        PgSqlErrorCode::ERRCODE_SYNTAX_ERROR_OR_ACCESS_RULE_VIOLATION,
    ];
    let code = code as i32;
    code == PgSqlErrorCode::ERRCODE_INTERNAL_ERROR as i32
        || CLASSES
            .iter()
            .any(|class| *class as i32 & CLASS == code & CLASS)
}

/// The parts of the name in a signature.
fn name_in(signature: &str) -> Option<Vec<String>> {
    let mut quoted = false;
    let end = signature.find(|c: char| {
        quoted ^= c == '"';
        c == '(' && !quoted
    })?;
    policy::names::split(signature.get(..end)?)
}

fn try_read_policy(roles: &[RoleRow], active: &[Oid]) -> Option<Policy> {
    let mut hasher = DefaultHasher::new();
    let mut table = |name: &str| {
        let table = scan::table(name)?;
        table.hash(&mut hasher);
        Some(table)
    };
    let mut policy = Policy::empty(active);
    policy.version = names::sequence_value("policy_history_id_seq").unwrap_or(0);
    let mut index = HashMap::new();
    for row in roles.iter().filter(|row| active.contains(&row.role)) {
        policy.capability = policy.capability.min(row.capability);
        policy.mode = policy.mode.max(row.mode);
        policy.identity = policy.identity.max(row.identity);
        policy.strict_views |= row.strict_views;
        if row.masks_unclassified {
            policy.masks_unclassified.push(row.role);
        }
        policy.limits = policy.limits.strictest(row.limits);
        index.insert(row.role, policy.allowed.len());
        policy.allowed.push(Allowed::default());
    }
    let mine = |row: &scan::Row<'_>| row.oid("role").and_then(|role| index.get(&role).copied());
    let for_me = |row: &scan::Row<'_>| role_of(*row).is_none_or(|role| active.contains(&role));

    for row in table("policy_schema")?.rows() {
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
    for row in table("policy_relation")?.rows() {
        if let (Some(i), Some(relid)) = (mine(&row), row.oid("relation")) {
            let access = row
                .text("access")
                .and_then(|a| a.parse().ok())
                .unwrap_or(Access::Deny);
            policy.allowed[i].relations.insert(relid, access);
        }
    }
    for row in table("policy_column")?.rows() {
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
    for row in table("policy_function")?.rows() {
        let (Some(i), Some(signature)) = (mine(&row), row.text("function")) else {
            continue;
        };
        let rule = FunctionRule {
            allow: row.text("access") == Some("allow"),
            trusted: row.bool("trusted").unwrap_or(false),
        };
        if let Some(function) = names::stored_function(signature) {
            policy.allowed[i].functions.insert(function, rule);
        } else if !rule.allow {
            let Some(parts) = name_in(signature) else {
                return Some(Policy::closed(Closed::Unreadable));
            };
            let built_in = parts.len() == 1;
            if let Some(name) = parts.into_iter().next_back() {
                *policy.allowed[i].lost_functions.entry(name).or_default() |= built_in;
            }
        }
    }
    for row in table("policy_extension")?.rows() {
        if let (Some(i), Some(extension)) =
            (mine(&row), row.text("extension").and_then(names::extension))
        {
            policy.allowed[i].extensions.insert(extension);
        }
    }
    for row in table("policy_mask")?.rows().filter(for_me) {
        if let (Some(relid), Some(column)) = (row.oid("relation"), row.text("column_name")) {
            policy.masks.entry(relid).or_default().push(MaskRow {
                role: role_of(row),
                column: column.to_owned(),
                mask: match row.text("expression") {
                    _ if row.text("mask") == Some("none") => Mask::None,
                    Some(sql) if row.text("mask") == Some("expression") => {
                        Mask::Expression(sql.into())
                    }
                    Some(sql) => Mask::Sql(sql.into()),
                    None => Mask::Null,
                },
            });
        }
    }
    for row in table("policy_label")?.rows().filter(for_me) {
        if let (Some(label), Some(mask)) = (row.text("label"), row.text("mask")) {
            policy.label_masks.push(LabelRow {
                role: role_of(row),
                label: label.to_owned(),
                mask: if mask == "none" {
                    Mask::None
                } else {
                    Mask::OfLabel {
                        mask: mask.into(),
                        options: row.text("options").unwrap_or("{}").into(),
                    }
                },
            });
        }
    }
    for row in table("policy_filter")?.rows().filter(for_me) {
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
    for row in table("policy_group_size")?.rows().filter(for_me) {
        if let Some(relid) = row.oid("relation") {
            let minimum = row.int("minimum").and_then(|n| i32::try_from(n).ok());
            let known = policy.group_sizes.entry(relid).or_default();
            *known = minimum.unwrap_or(i32::MAX).max(*known);
        }
    }
    table("policy_role")?;
    if !policy.label_masks.is_empty() || !policy.masks_unclassified.is_empty() {
        for (relid, attno, label) in pg::label::of_columns() {
            (relid.to_u32(), attno, &label).hash(&mut hasher);
            policy
                .labels
                .entry(relid)
                .or_default()
                .push((attno, label.into()));
        }
    }
    for role in active {
        role.to_u32().hash(&mut hasher);
    }
    for role in &policy.allowed {
        let mut lost: Vec<_> = role.lost_functions.iter().collect();
        lost.sort_unstable();
        lost.hash(&mut hasher);
    }
    // The same policy read again is the same: plans made under it stay good.
    policy.stamp = hasher.finish() as u32;
    if policy.mode == Mode::Monitor {
        // Nothing is masked, filtered or cut; what would have been refused is noted.
        policy.masks.clear();
        policy.label_masks.clear();
        policy.masks_unclassified.clear();
        policy.filters.clear();
        policy.group_sizes.clear();
    }
    policy.shown_schemas = policy.find_shown_schemas();
    policy.shown_schema_names = policy
        .shown_schemas
        .iter()
        .filter_map(|schema| names::plain_schema_name(*schema))
        .collect();
    Some(policy)
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
            labels: HashMap::new(),
            label_masks: Vec::new(),
            masks_unclassified: Vec::new(),
            filters: HashMap::new(),
            group_sizes: HashMap::new(),
            functions: RefCell::default(),
            policy_functions: Rc::default(),
            relations: RefCell::default(),
            known: RefCell::default(),
            listed: RefCell::default(),
            listed_at: Cell::default(),
            defaults: RefCell::default(),
            shown_schemas: HashSet::new(),
            shown_schema_names: Vec::new(),
            readable: RefCell::default(),
            closed: None,
        }
    }

    /// The policy of a session whose policy cannot be known: nothing may be done.
    pub fn closed(why: Closed) -> Self {
        Self {
            capability: Capability::ReadOnly,
            mode: Mode::Enforce,
            closed: Some(why),
            ..Self::empty(&[])
        }
    }

    /// Does it mask anything?
    pub fn has_masks(&self) -> bool {
        !(self.masks.is_empty()
            && self.label_masks.is_empty()
            && self.masks_unclassified.is_empty())
    }

    pub fn monitors(&self) -> bool {
        self.mode == Mode::Monitor
    }

    /// The limits in force: none while the policy only watches.
    pub fn effective_limits(&self) -> Limits {
        if self.monitors() {
            Limits::NONE
        } else {
            self.limits
        }
    }
}

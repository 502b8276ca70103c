//! Names, kinds and relatives of database objects.

use pgrx::IntoDatum;
use pgrx::pg_sys::{self, NodeTag, Oid, Query};

use super::{compat, nodes, raw, scan, text};

/// The relation that a command names; `None` for no name, and for one that is not there, which is the
/// server's to report.
///
/// # Safety
/// `name` is null or a `RangeVar`.
pub unsafe fn of_range_var(name: *const pg_sys::RangeVar) -> Option<Oid> {
    if name.is_null() {
        return None;
    }
    // SAFETY: a look-up without a lock inside a transaction.
    let relid = unsafe {
        pg_sys::RangeVarGetRelidExtended(
            name,
            pg_sys::NoLock as i32,
            pg_sys::RVROption::RVR_MISSING_OK,
            None,
            std::ptr::null_mut(),
        )
    };
    (relid != Oid::INVALID).then_some(relid)
}

/// What kind of relation it is (`pg_class.relkind`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind(pub u8);

impl Kind {
    /// Tables, partitioned tables and foreign tables.
    pub fn holds_rows(self) -> bool {
        matches!(self.0, b'r' | b'p' | b'f')
    }
    /// Those, and materialized views.
    pub fn stores_rows(self) -> bool {
        self.holds_rows() || self.is_materialized_view()
    }
    pub fn is_partitioned(self) -> bool {
        self.0 == b'p'
    }
    pub fn is_foreign(self) -> bool {
        self.0 == b'f'
    }
    pub fn is_materialized_view(self) -> bool {
        self.0 == b'm'
    }
    pub fn is_index(self) -> bool {
        matches!(self.0, b'i' | b'I')
    }
    pub fn is_sequence(self) -> bool {
        self.0 == b'S'
    }
    /// What an agent may put into FROM.
    pub fn is_readable(self) -> bool {
        matches!(self.0, b'r' | b'p' | b'f' | b'v' | b'm')
    }
}

pub fn schema(name: &str) -> Option<Oid> {
    let name = text::to_c(name);
    // SAFETY: a catalog look-up by name.
    let oid = unsafe { pg_sys::get_namespace_oid(name.as_ptr(), true) };
    (oid != Oid::INVALID).then_some(oid)
}

pub fn extension(name: &str) -> Option<Oid> {
    let name = text::to_c(name);
    // SAFETY: a catalog look-up by name.
    let oid = unsafe { pg_sys::get_extension_oid(name.as_ptr(), true) };
    (oid != Oid::INVALID).then_some(oid)
}

/// The function of a schema-qualified signature.
pub fn function(signature: &str) -> Option<Oid> {
    // The policy's own look-up, in schemas that the session may not know.
    let _internal = super::internal::enter();
    // SAFETY: to_regprocedure takes a text and returns NULL for what it does not find.
    unsafe { pgrx::direct_function_call::<Oid>(pg_sys::to_regprocedure, &[signature.into_datum()]) }
}

/// The function of a signature as `policy_function` has it: qualified, unless it is in pg_catalog.
/// The session need not have USAGE on its schema, and its search_path does not count.
pub fn stored_function(signature: &str) -> Option<Oid> {
    let _owner = super::users::become_owner();
    super::template::under_settings(&[(c"search_path", c"pg_catalog, pg_temp")], || {
        function(signature)
    })
}

pub fn relation_schema(relid: Oid) -> Oid {
    // SAFETY: a syscache look-up.
    unsafe { pg_sys::get_rel_namespace(relid) }
}

pub fn relation_kind(relid: Oid) -> Kind {
    // SAFETY: a syscache look-up.
    Kind(unsafe { pg_sys::get_rel_relkind(relid) } as u8)
}

/// What `pg_class` says of a relation: as of the last VACUUM, ANALYZE, CREATE INDEX.
pub struct Size {
    pub pages: u32,
    pub rows: f64,
    pub all_visible: u32,
}

/// None where there was nothing yet.
pub fn known_size(relid: Oid) -> Option<Size> {
    // SAFETY: a syscache look-up; the row is released when it was read.
    unsafe {
        let tuple = pg_sys::SearchSysCache1(
            pg_sys::SysCacheIdentifier::RELOID as i32,
            pg_sys::Datum::from(relid),
        );
        if tuple.is_null() {
            return None;
        }
        let class = pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_class>();
        let size = Size {
            pages: u32::try_from((*class).relpages).unwrap_or(0),
            rows: f64::from((*class).reltuples),
            all_visible: u32::try_from((*class).relallvisible).unwrap_or(0),
        };
        pg_sys::ReleaseSysCache(tuple);
        (size.pages > 0 && size.rows >= 0.0).then_some(size)
    }
}

/// The name of a schema, quoted where SQL needs it.
pub fn schema_name(schema: Oid) -> Option<String> {
    // SAFETY: a syscache look-up that returns a palloc'd string or null.
    unsafe { text::from_ptr(pg_sys::get_namespace_name(schema)) }.map(|name| quote(&name))
}

/// The name of a schema as the catalog has it.
pub fn plain_schema_name(schema: Oid) -> Option<String> {
    // SAFETY: a syscache look-up that returns a palloc'd string or null.
    unsafe { text::from_ptr(pg_sys::get_namespace_name(schema)) }
}

/// Schema and name of a relation.
pub fn relation_parts(relid: Oid) -> Option<(String, String)> {
    // SAFETY: syscache look-ups that return palloc'd strings or null.
    unsafe {
        let name = text::from_ptr(pg_sys::get_rel_name(relid))?;
        let schema = text::from_ptr(pg_sys::get_namespace_name(pg_sys::get_rel_namespace(relid)))?;
        Some((schema, name))
    }
}

/// An identifier, quoted where SQL needs it.
pub fn quote(name: &str) -> String {
    let c = text::to_c(name);
    // SAFETY: returns its argument or a palloc'd string.
    unsafe { text::from_ptr(pg_sys::quote_identifier(c.as_ptr())) }.unwrap_or_default()
}

/// `schema.relation`, as SQL would write it.
pub fn relation(relid: Oid) -> String {
    relation_parts(relid).map_or_else(
        || format!("relation {}", relid.to_u32()),
        |(schema, name)| format!("{}.{}", quote(&schema), quote(&name)),
    )
}

/// Schema and name of a function.
pub fn function_name(function: Oid) -> Option<(String, String)> {
    // SAFETY: syscache look-ups that return palloc'd strings or null.
    unsafe {
        let name = text::from_ptr(pg_sys::get_func_name(function))?;
        let schema = text::from_ptr(pg_sys::get_namespace_name(pg_sys::get_func_namespace(
            function,
        )))?;
        Some((schema, name))
    }
}

/// `schema.function(argument types)`.
pub fn signature(function: Oid) -> String {
    // SAFETY: a syscache look-up; a function that is gone is printed as its number.
    unsafe {
        if pg_sys::get_func_name(function).is_null() {
            return function.to_u32().to_string();
        }
        text::from_ptr(pg_sys::format_procedure_qualified(function)).unwrap_or_default()
    }
}

pub fn extension_of_function(function: Oid) -> Option<Oid> {
    // SAFETY: a scan of pg_depend.
    let oid = unsafe { pg_sys::getExtensionOfObject(pg_sys::ProcedureRelationId, function) };
    (oid != Oid::INVALID).then_some(oid)
}

pub fn own_schema() -> Option<Oid> {
    schema("agent_policy")
}

/// Does the function belong to this extension?
pub fn in_own_schema(function: Oid) -> bool {
    // SAFETY: a syscache look-up.
    let namespace = unsafe { pg_sys::get_func_namespace(function) };
    Some(namespace) == own_schema()
}

/// pg_catalog, information_schema and pg_toast.
pub fn is_system_schema(namespace: Oid) -> bool {
    const PG_CATALOG: u32 = 11;
    const PG_TOAST: u32 = 99;
    matches!(namespace.to_u32(), PG_CATALOG | PG_TOAST)
        || (namespace.to_u32() < super::FIRST_NORMAL_OID
            && namespace_is(namespace, "information_schema"))
}

fn namespace_is(namespace: Oid, name: &str) -> bool {
    // SAFETY: a syscache look-up.
    unsafe { text::from_ptr(pg_sys::get_namespace_name(namespace)) }.as_deref() == Some(name)
}

/// The number of a column that exists.
pub fn attribute(relid: Oid, column: &str) -> Option<i16> {
    let column = text::to_c(column);
    // SAFETY: a syscache look-up.
    let attno = unsafe { pg_sys::get_attnum(relid, column.as_ptr()) };
    (attno > 0).then_some(attno)
}

pub fn attribute_name(relid: Oid, attno: i16) -> Option<String> {
    // SAFETY: a syscache look-up; missing_ok.
    unsafe { text::from_ptr(pg_sys::get_attname(relid, attno, true)) }
}

/// The relation's columns in order, dropped ones left out.
pub fn columns(relid: Oid) -> Vec<(i16, String)> {
    (1..=natts(relid))
        .filter_map(|attno| {
            let name = attribute_name(relid, attno)?;
            (attribute(relid, &name) == Some(attno)).then_some((attno, name))
        })
        .collect()
}

fn natts(relid: Oid) -> i16 {
    // SAFETY: the tuple is released after its one field was read.
    unsafe {
        let tuple = pg_sys::SearchSysCache1(
            pg_sys::SysCacheIdentifier::RELOID as i32,
            pg_sys::Datum::from(relid),
        );
        if tuple.is_null() {
            return 0;
        }
        let natts = (*pg_sys::heap_tuple_get_struct::<pg_sys::FormData_pg_class>(tuple)).relnatts;
        pg_sys::ReleaseSysCache(tuple);
        natts
    }
}

/// The attribute numbers of `ctid` and `tableoid`.
pub const CTID: i16 = pg_sys::SelfItemPointerAttributeNumber as i16;
pub const TABLE_OID: i16 = pg_sys::TableOidAttributeNumber as i16;

/// Every relation that this one inherits from or is a partition of, nearest first.
pub fn ancestors(relid: Oid) -> Vec<Oid> {
    let mut found: Vec<Oid> = Vec::new();
    let mut next = vec![relid];
    while let Some(child) = next.pop() {
        for parent in parents(child) {
            if !found.contains(&parent) {
                found.push(parent);
                next.insert(0, parent);
            }
        }
    }
    found
}

/// `pg_inherits` and its index on (inhrelid, inhseqno): fixed by catalog/pg_inherits.h.
const INHERITS: Oid = Oid::from_u32(2611);
const INHERITS_BY_CHILD: Oid = Oid::from_u32(2680);

#[repr(C)]
struct Inherits {
    inhrelid: Oid,
    inhparent: Oid,
}

fn parents(relid: Oid) -> Vec<Oid> {
    let mut parents = Vec::new();
    // SAFETY: pg_inherits is scanned by its index on inhrelid; the tuple is read before the scan
    // moves on, and GETSTRUCT's layout is the catalog's.
    unsafe {
        let inherits = pg_sys::table_open(INHERITS, pg_sys::AccessShareLock as i32);
        let mut key = pg_sys::ScanKeyData::default();
        pg_sys::ScanKeyInit(
            &raw mut key,
            1,
            pg_sys::BTEqualStrategyNumber as u16,
            pg_sys::F_OIDEQ.into(),
            relid.into(),
        );
        let scan = pg_sys::systable_beginscan(
            inherits,
            INHERITS_BY_CHILD,
            true,
            std::ptr::null_mut(),
            1,
            &raw mut key,
        );
        loop {
            let tuple = pg_sys::systable_getnext(scan);
            if tuple.is_null() {
                break;
            }
            let row = pg_sys::heap_tuple_get_struct::<Inherits>(tuple);
            parents.push((*row).inhparent);
        }
        pg_sys::systable_endscan(scan);
        pg_sys::table_close(inherits, pg_sys::AccessShareLock as i32);
    }
    parents
}

/// Every relation below this one, by partitioning or inheritance.
pub fn descendants(relid: Oid) -> Vec<Oid> {
    // SAFETY: catalog scans without locks on the children, only their numbers are used.
    unsafe {
        if !raw::guarded::has_subclass(relid) {
            return Vec::new();
        }
        let list = raw::guarded::find_all_inheritors(relid, pg_sys::NoLock as i32);
        nodes::oids(list).filter(|oid| *oid != relid).collect()
    }
}

/// Generated columns whose expression reads one of `masked`, with what stands in for them.
pub fn generated_from(relid: Oid, masked: &[i16]) -> Vec<i16> {
    let mut found = Vec::new();
    if masked.is_empty() || !relation_kind(relid).holds_rows() {
        return found;
    }
    // SAFETY: the relation is open while its descriptor is read.
    unsafe {
        let relation = pg_sys::relation_open(relid, pg_sys::AccessShareLock as i32);
        let desc = (*relation).rd_att;
        let constr = (*desc).constr;
        if !constr.is_null() {
            for i in 0..usize::from((*constr).num_defval) {
                let default = (*constr).defval.add(i);
                let attno = (*default).adnum;
                let att = compat::attribute(desc, attno as usize - 1);
                if (*att).attgenerated == 0 {
                    continue;
                }
                let expression = pg_sys::stringToNode((*default).adbin);
                let mut read = std::ptr::null_mut();
                pg_sys::pull_varattnos(expression.cast(), 1, &raw mut read);
                if nodes::attributes(read)
                    .iter()
                    .any(|a| *a == 0 || masked.contains(a))
                {
                    found.push(attno);
                }
            }
        }
        pg_sys::relation_close(relation, pg_sys::AccessShareLock as i32);
    }
    found
}

/// A foreign key of a relation.
pub struct Reference {
    pub columns: Vec<i16>,
    pub to: Oid,
    pub to_columns: Vec<i16>,
}

/// The foreign keys of a relation.
pub fn references(relid: Oid) -> Vec<Reference> {
    let mut found = Vec::new();
    // SAFETY: the list belongs to the relation's cache entry, which stays while it is open.
    unsafe {
        let relation = pg_sys::relation_open(relid, pg_sys::AccessShareLock as i32);
        let list = pg_sys::RelationGetFKeyList(relation);
        for key in nodes::pointers::<pg_sys::ForeignKeyCacheInfo>(list) {
            let n = usize::try_from((*key).nkeys).unwrap_or(0);
            let columns = |all: &[i16]| all.iter().take(n).copied().collect();
            found.push(Reference {
                columns: columns(&(*key).conkey),
                to: (*key).confrelid,
                to_columns: columns(&(*key).confkey),
            });
        }
        pg_sys::relation_close(relation, pg_sys::AccessShareLock as i32);
    }
    found
}

/// The relations that a view or materialized view reads, through other views too.
pub fn view_sources(relid: Oid) -> Vec<Oid> {
    let mut found: Vec<Oid> = Vec::new();
    let mut next = vec![relid];
    while let Some(view) = next.pop() {
        for source in rule_relations(view) {
            if !found.contains(&source) && source != relid {
                found.push(source);
                if matches!(relation_kind(source).0, b'v' | b'm') {
                    next.push(source);
                }
            }
        }
    }
    found
}

/// The functions that the text of a view or materialized view calls, and those of the views in it.
pub fn view_functions(relid: Oid) -> Vec<Oid> {
    let mut found = Vec::new();
    let views = view_sources(relid).into_iter();
    for view in views
        .filter(|source| matches!(relation_kind(*source).0, b'v' | b'm'))
        .chain([relid])
    {
        walk_rules(view, |node| {
            // SAFETY: a node of the rule's tree.
            unsafe {
                if !matches!((*node).type_, NodeTag::T_Query | NodeTag::T_RangeTblEntry) {
                    super::touched::functions_of(node, &mut found);
                }
            }
        });
    }
    found
}

fn rule_relations(relid: Oid) -> Vec<Oid> {
    let mut found = Vec::new();
    walk_rules(relid, |node| {
        // SAFETY: a node of the rule's tree.
        unsafe {
            if nodes::is_a(node, NodeTag::T_RangeTblEntry) {
                let rte = node.cast::<pg_sys::RangeTblEntry>();
                if (*rte).rtekind == pg_sys::RTEKind::RTE_RELATION {
                    found.push((*rte).relid);
                }
            }
        }
    });
    found
}

fn walk_rules(relid: Oid, mut see: impl FnMut(*mut pg_sys::Node)) {
    // SAFETY: the relation, and with it its rules' trees, stays open while they are walked.
    unsafe {
        let relation = pg_sys::relation_open(relid, pg_sys::AccessShareLock as i32);
        let rules = (*relation).rd_rules;
        if !rules.is_null() {
            for i in 0..(*rules).numLocks {
                let rule = *(*rules).rules.add(i as usize);
                for query in nodes::pointers::<Query>((*rule).actions) {
                    nodes::walk(query.cast(), |node, _| {
                        see(node);
                        false
                    });
                }
            }
        }
        pg_sys::relation_close(relation, pg_sys::AccessShareLock as i32);
    }
}

/// The last value of one of the extension's sequences.
pub fn sequence_value(name: &str) -> Option<i64> {
    scan::table(name)?.rows().next()?.int("last_value")
}

/// The table that a composite type belongs to, if it does.
pub fn table_of_type(typid: Oid) -> Option<Oid> {
    // SAFETY: syscache look-ups.
    let relid = unsafe { pg_sys::get_typ_typrelid(innermost_type(typid)) };
    (relid != Oid::INVALID && relation_kind(relid).is_readable()).then_some(relid)
}

/// What arrays, domains and ranges are made of.
fn innermost_type(mut typid: Oid) -> Oid {
    loop {
        // SAFETY: syscache look-ups; a type that is gone has no parts, and is asked for by no text.
        let part = unsafe {
            let base = if pg_sys::get_typtype(typid) as u8 == pg_sys::TYPTYPE_DOMAIN {
                pg_sys::getBaseType(typid)
            } else {
                typid
            };
            [
                pg_sys::get_element_type(base),
                pg_sys::get_multirange_range(base),
                pg_sys::get_range_subtype(base),
            ]
            .into_iter()
            .find(|part| *part != Oid::INVALID)
            .unwrap_or(base)
        };
        if part == typid {
            return typid;
        }
        typid = part;
    }
}

/// Is the column computed from others?
pub fn is_generated(relid: Oid, attno: i16) -> bool {
    // SAFETY: a syscache look-up.
    unsafe { pg_sys::get_attgenerated(relid, attno) != 0 }
}

/// The schema of TOAST tables and their indexes.
pub fn is_toast_schema(schema: Oid) -> bool {
    const PG_TOAST: u32 = 99;
    schema.to_u32() == PG_TOAST
}

/// Who owns the extension's schema.
pub fn own_schema_owner() -> Oid {
    let Some(schema) = own_schema() else {
        return Oid::INVALID;
    };
    // SAFETY: the tuple is released after its one field was read.
    unsafe {
        let tuple = pg_sys::SearchSysCache1(
            pg_sys::SysCacheIdentifier::NAMESPACEOID as i32,
            pg_sys::Datum::from(schema),
        );
        if tuple.is_null() {
            return Oid::INVALID;
        }
        let owner =
            (*pg_sys::heap_tuple_get_struct::<pg_sys::FormData_pg_namespace>(tuple)).nspowner;
        pg_sys::ReleaseSysCache(tuple);
        owner
    }
}

/// Does the function return `trigger` or `event_trigger`? Such a one cannot be called in any other
/// way.
pub fn is_trigger_function(function: Oid) -> bool {
    const EVENT_TRIGGER: Oid = Oid::from_u32(3838);
    // SAFETY: a syscache look-up of a function that exists.
    unsafe {
        !pg_sys::get_func_name(function).is_null()
            && matches!(
                pg_sys::get_func_rettype(function),
                pg_sys::TRIGGEROID | EVENT_TRIGGER
            )
    }
}

/// The table that an index is over.
pub fn table_of_index(index: Oid) -> Option<Oid> {
    // SAFETY: a syscache look-up.
    let table = unsafe { pg_sys::IndexGetRelation(index, true) };
    (table != Oid::INVALID).then_some(table)
}

/// The indexes of a table.
pub fn indexes(table: Oid) -> Vec<Oid> {
    // SAFETY: the relation stays open while its list is made, which is a copy.
    unsafe {
        let relation = pg_sys::relation_open(table, pg_sys::AccessShareLock as i32);
        let list = pg_sys::RelationGetIndexList(relation);
        let indexes = nodes::oids(list).collect();
        pg_sys::relation_close(relation, pg_sys::AccessShareLock as i32);
        indexes
    }
}

/// The column that a sequence numbers: of type serial, or an identity column.
pub fn column_of_sequence(sequence: Oid) -> Option<(Oid, i16)> {
    use pg_sys::DependencyType as Kind;
    for kind in [Kind::DEPENDENCY_AUTO, Kind::DEPENDENCY_INTERNAL] {
        let (mut table, mut column) = (Oid::INVALID, 0);
        // SAFETY: a look-up in pg_depend, into two variables of this frame.
        let owned = unsafe {
            pg_sys::sequenceIsOwned(
                sequence,
                kind as core::ffi::c_char,
                &raw mut table,
                &raw mut column,
            )
        };
        if owned {
            return i16::try_from(column).ok().map(|column| (table, column));
        }
    }
    None
}

/// The schema of a relation that the command at hand has just made: nobody else sees it yet.
pub fn new_relation_schema(relid: Oid) -> Option<Oid> {
    const CLASS_BY_OID: Oid = Oid::from_u32(2662);
    const ATTRIBUTE_OID: i16 = 1;
    // SAFETY: pg_class is scanned by its index on oid with a snapshot that shows the command's own
    // rows; the tuple is read before the scan ends.
    unsafe {
        let class = pg_sys::table_open(pg_sys::RelationRelationId, pg_sys::AccessShareLock as i32);
        let mut key = pg_sys::ScanKeyData::default();
        pg_sys::ScanKeyInit(
            &raw mut key,
            ATTRIBUTE_OID,
            pg_sys::BTEqualStrategyNumber as u16,
            pg_sys::F_OIDEQ.into(),
            relid.into(),
        );
        let scan = pg_sys::systable_beginscan(
            class,
            CLASS_BY_OID,
            true,
            &raw mut raw::SnapshotSelfData,
            1,
            &raw mut key,
        );
        let tuple = pg_sys::systable_getnext(scan);
        let schema = (!tuple.is_null()).then(|| {
            (*pg_sys::heap_tuple_get_struct::<pg_sys::FormData_pg_class>(tuple)).relnamespace
        });
        pg_sys::systable_endscan(scan);
        pg_sys::table_close(class, pg_sys::AccessShareLock as i32);
        schema
    }
}

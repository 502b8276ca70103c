//! What catalogs say of single objects, read by OID, and what stored expressions name.

use pgrx::pg_sys::{self, NodeTag, Oid, Query};
use policy::builtins::guards::{class, names_array, names_type};

use super::{call, compat, nodes, raw, text, touched};

/// A row of a catalog, copied out of its cache. Fields are found by name: their numbers differ
/// between versions.
#[derive(Clone, Copy)]
pub struct Row {
    cache: i32,
    catalog: Oid,
    tuple: pg_sys::HeapTuple,
}

/// The caches that are asked, with the catalog that each is of.
#[derive(Clone, Copy)]
pub enum Cache {
    Constraint,
    Index,
    Operator,
    Partitioned,
    Procedure,
    StatisticExt,
    Type,
}

impl Row {
    pub fn fetch(cache: Cache, oid: Oid) -> Option<Self> {
        use pg_sys::SysCacheIdentifier as Id;
        let (cache, catalog) = match cache {
            Cache::Constraint => (Id::CONSTROID, 2606),
            Cache::Index => (Id::INDEXRELID, 2610),
            Cache::Operator => (Id::OPEROID, 2617),
            Cache::Partitioned => (Id::PARTRELID, 3350),
            Cache::Procedure => (Id::PROCOID, 1255),
            Cache::StatisticExt => (Id::STATEXTOID, 3381),
            Cache::Type => (Id::TYPEOID, 1247),
        };
        let none = pg_sys::Datum::from(0_usize);
        // SAFETY: a look-up by one OID key; the copy lives in the current memory context.
        let tuple = unsafe {
            pg_sys::SearchSysCacheCopy(cache as i32, pg_sys::Datum::from(oid), none, none, none)
        };
        (!tuple.is_null()).then_some(Self {
            cache: cache as i32,
            catalog: Oid::from_u32(catalog),
            tuple,
        })
    }

    fn datum(&self, column: &str) -> Option<pg_sys::Datum> {
        let column = text::to_c(column);
        let mut null = false;
        // SAFETY: the tuple is of this cache; a column that is not there is not asked for.
        unsafe {
            let attno = pg_sys::get_attnum(self.catalog, column.as_ptr());
            if attno <= 0 {
                return None;
            }
            let datum = pg_sys::SysCacheGetAttr(self.cache, self.tuple, attno, &raw mut null);
            (!null).then_some(datum)
        }
    }

    pub fn oid(&self, column: &str) -> Oid {
        self.datum(column)
            .map_or(Oid::INVALID, |d| Oid::from_u32(d.value() as u32))
    }

    pub fn letter(&self, column: &str) -> u8 {
        self.datum(column).map_or(0, |d| d.value() as u8)
    }

    /// An `int2[]` or `int2vector`.
    pub fn numbers(&self, column: &str) -> Vec<i16> {
        let Some(datum) = self.datum(column) else {
            return Vec::new();
        };
        // SAFETY: the column is a one-dimensional array of int2 without NULLs, as the catalogs'
        // headers say.
        unsafe {
            let array = pg_sys::pg_detoast_datum(datum.cast_mut_ptr()).cast::<pg_sys::ArrayType>();
            if (*array).ndim != 1 {
                return Vec::new();
            }
            let length = *array.add(1).cast::<i32>();
            let first = array
                .cast::<u8>()
                .add(size_of::<pg_sys::ArrayType>() + 8)
                .cast::<i16>();
            (0..usize::try_from(length).unwrap_or(0))
                .map(|i| *first.add(i))
                .collect()
        }
    }

    /// A `pg_node_tree`, and what it names.
    pub fn named_in(&self, column: &str) -> Option<Names> {
        // SAFETY: the column is a pg_node_tree.
        self.datum(column).map(|d| unsafe { names_in_text(d) })
    }
}

/// The columns by which a partitioned table is cut, those that its expressions read included (0 is the whole row);
/// None for any other relation. No lock is taken.
pub fn partition_columns(relid: Oid) -> Option<Vec<i16>> {
    let row = Row::fetch(Cache::Partitioned, relid)?;
    let read = row.named_in("partexprs").unwrap_or_default().columns;
    // An expression has the number 0 in the key.
    let plain = row.numbers("partattrs");
    Some(
        plain
            .into_iter()
            .filter(|attno| *attno != 0)
            .chain(read)
            .collect(),
    )
}

/// What an expression names.
#[derive(Debug, Default)]
pub struct Names {
    /// Columns of the relation that the expression is over; 0 is the whole row.
    pub columns: Vec<i16>,
    pub functions: Vec<Oid>,
    pub types: Vec<Oid>,
    /// Catalog and OID, from constants of type regclass and the like, and from sequences.
    pub objects: Vec<(u32, Oid)>,
}

/// # Safety
/// `datum` is a `pg_node_tree`.
pub unsafe fn names_in_text(datum: pg_sys::Datum) -> Names {
    // SAFETY: what a catalog has stored as a tree can be read back.
    unsafe {
        let text = pg_sys::text_to_cstring(datum.cast_mut_ptr());
        names_in(pg_sys::stringToNode(text).cast())
    }
}

/// # Safety
/// `node` is null, an expression or a list of them.
pub unsafe fn names_in(node: *mut pg_sys::Node) -> Names {
    let mut names = Names::default();
    if node.is_null() {
        return names;
    }
    let mut seen: Vec<(*mut pg_sys::Node, u32)> = Vec::with_capacity(16);
    // SAFETY: the walk only notes pointers; the nodes are looked at afterwards.
    unsafe {
        nodes::walk(node, |node, level| {
            seen.push((node, level));
            false
        });
        for (node, level) in seen {
            match (*node).type_ {
                NodeTag::T_Var => {
                    let var = node.cast::<pg_sys::Var>();
                    if (*var).varlevelsup == level {
                        names.columns.push((*var).varattno);
                    }
                }
                NodeTag::T_Const => {
                    let constant = node.cast::<pg_sys::Const>();
                    names.types.push((*constant).consttype);
                    if let Some(class) = names_type((*constant).consttype.to_u32())
                        && !(*constant).constisnull
                    {
                        let oid = Oid::from_u32((*constant).constvalue.value() as u32);
                        names.objects.push((class, oid));
                    }
                }
                NodeTag::T_NextValueExpr => {
                    let next = node.cast::<pg_sys::NextValueExpr>();
                    names.objects.push((class::RELATION, (*next).seqid));
                }
                NodeTag::T_List
                | NodeTag::T_Query
                | NodeTag::T_RangeTblEntry
                | NodeTag::T_RangeTblRef
                | NodeTag::T_FromExpr
                | NodeTag::T_JoinExpr
                | NodeTag::T_TargetEntry => {}
                _ => {
                    touched::functions_of(node, &mut names.functions);
                    if is_expression(node) {
                        names.types.push(raw::exprType(node));
                    }
                }
            }
        }
    }
    names
}

/// The nodes whose type is worth a look and that exprType knows.
unsafe fn is_expression(node: *const pg_sys::Node) -> bool {
    // SAFETY: a node.
    unsafe {
        matches!(
            (*node).type_,
            NodeTag::T_FuncExpr
                | NodeTag::T_OpExpr
                | NodeTag::T_RelabelType
                | NodeTag::T_CoerceViaIO
                | NodeTag::T_ArrayCoerceExpr
                | NodeTag::T_ConvertRowtypeExpr
                | NodeTag::T_CoerceToDomain
                | NodeTag::T_RowExpr
                | NodeTag::T_Aggref
                | NodeTag::T_WindowFunc
                | NodeTag::T_FieldSelect
                | NodeTag::T_ArrayExpr
        )
    }
}

/// What a view's definition names: relations with the columns read of each, and the rest.
#[derive(Debug, Default)]
pub struct Definition {
    pub relations: Vec<(Oid, nodes::Columns)>,
    pub names: Names,
}

/// The definition of a view; `None` for what is none.
pub fn definition(view: Oid) -> Option<Definition> {
    let mut found = Definition::default();
    // SAFETY: the relation, and with it its rule's tree, stays open while it is walked.
    unsafe {
        let relation = pg_sys::relation_open(view, pg_sys::AccessShareLock as i32);
        let rules = (*relation).rd_rules;
        let one = !rules.is_null() && (*rules).numLocks == 1;
        if one {
            let rule = *(*rules).rules;
            for query in nodes::pointers::<Query>((*rule).actions) {
                let query: *mut Query = nodes::copy(query);
                let mut queries = Vec::new();
                nodes::walk(query.cast(), |node, _| {
                    if nodes::is_a(node, NodeTag::T_Query) {
                        queries.push(node.cast::<Query>());
                    }
                    false
                });
                for query in queries {
                    for rte in nodes::pointers::<pg_sys::RangeTblEntry>((*query).rtable) {
                        let itself = (*rte).relid == view;
                        if (*rte).rtekind != pg_sys::RTEKind::RTE_RELATION || itself {
                            continue;
                        }
                        let columns = compat::permissions(query, rte)
                            .map(|p| nodes::attributes(p.selected))
                            .unwrap_or_default();
                        found.relations.push(((*rte).relid, columns));
                    }
                }
                found.names = names_in(query.cast());
            }
        }
        pg_sys::relation_close(relation, pg_sys::AccessShareLock as i32);
        one.then_some(found)
    }
}

/// Catalog, OID and sub-object of everything that depends on an object.
pub fn dependents(class: u32, object: Oid) -> Vec<(u32, Oid, i32)> {
    some_dependents(class, object, usize::MAX)
}

fn some_dependents(class: u32, object: Oid, limit: usize) -> Vec<(u32, Oid, i32)> {
    // pg_depend and its index on (refclassid, refobjid, refobjsubid).
    const DEPEND: Oid = Oid::from_u32(2608);
    const DEPEND_BY_REFERENCE: Oid = Oid::from_u32(2674);
    #[repr(C)]
    struct Depend {
        classid: Oid,
        objid: Oid,
        objsubid: i32,
    }
    let mut found = Vec::new();
    // SAFETY: attributes 4 and 5 are refclassid and refobjid; GETSTRUCT's layout is the catalog's.
    unsafe {
        scan(
            DEPEND,
            DEPEND_BY_REFERENCE,
            &[(4, class), (5, object.to_u32())],
            |tuple| {
                let row = pg_sys::heap_tuple_get_struct::<Depend>(tuple);
                found.push(((*row).classid.to_u32(), (*row).objid, (*row).objsubid));
                found.len() < limit
            },
        );
    }
    found
}

/// The relation that a rule is of.
pub fn table_of_rule(rule: Oid) -> Option<Oid> {
    // pg_rewrite and its index on oid.
    const REWRITE: Oid = Oid::from_u32(2618);
    const REWRITE_BY_OID: Oid = Oid::from_u32(2692);
    #[repr(C)]
    struct Rewrite {
        oid: Oid,
        rulename: pg_sys::NameData,
        ev_class: Oid,
    }
    let mut found = None;
    // SAFETY: attribute 1 is oid; GETSTRUCT's layout is the catalog's.
    unsafe {
        scan(REWRITE, REWRITE_BY_OID, &[(1, rule.to_u32())], |tuple| {
            found = Some((*pg_sys::heap_tuple_get_struct::<Rewrite>(tuple)).ev_class);
            false
        });
    }
    found
}

/// Does `judge` hold for something of this database that the role owns?
pub fn owns(role: Oid, mut judge: impl FnMut(u32, Oid) -> bool) -> bool {
    // pg_shdepend and its index on (refclassid, refobjid).
    const SHDEPEND: Oid = Oid::from_u32(1214);
    const SHDEPEND_BY_REFERENCE: Oid = Oid::from_u32(1233);
    #[repr(C)]
    struct Shdepend {
        dbid: Oid,
        classid: Oid,
        objid: Oid,
        objsubid: i32,
        refclassid: Oid,
        refobjid: Oid,
        deptype: i8,
    }
    let mut owned = Vec::new();
    // SAFETY: attributes 5 and 6 are refclassid and refobjid; GETSTRUCT's layout is the catalog's.
    unsafe {
        let here = pg_sys::MyDatabaseId;
        let keys = [(5, class::AUTHID), (6, role.to_u32())];
        scan(SHDEPEND, SHDEPEND_BY_REFERENCE, &keys, |tuple| {
            let row = pg_sys::heap_tuple_get_struct::<Shdepend>(tuple);
            if (*row).dbid == here && (*row).deptype as u8 == b'o' {
                owned.push(((*row).classid.to_u32(), (*row).objid));
            }
            true
        });
    }
    owned.into_iter().any(|(class, oid)| judge(class, oid))
}

/// Scans a catalog by an index whose first columns are OIDs; `visit` returning false stops.
unsafe fn scan(
    catalog: Oid,
    index: Oid,
    keys: &[(i16, u32)],
    mut visit: impl FnMut(pg_sys::HeapTuple) -> bool,
) {
    // SAFETY: by the caller's choice of catalog, index and attributes; the tuple is read before
    // the scan moves on.
    unsafe {
        let relation = pg_sys::table_open(catalog, pg_sys::AccessShareLock as i32);
        let mut scan_keys: Vec<pg_sys::ScanKeyData> = Vec::new();
        for (attno, oid) in keys {
            let mut key = pg_sys::ScanKeyData::default();
            pg_sys::ScanKeyInit(
                &raw mut key,
                *attno,
                pg_sys::BTEqualStrategyNumber as u16,
                pg_sys::F_OIDEQ.into(),
                Oid::from_u32(*oid).into(),
            );
            scan_keys.push(key);
        }
        let scan = pg_sys::systable_beginscan(
            relation,
            index,
            true,
            std::ptr::null_mut(),
            scan_keys.len() as i32,
            scan_keys.as_mut_ptr(),
        );
        loop {
            let tuple = pg_sys::systable_getnext(scan);
            if tuple.is_null() || !visit(tuple) {
                break;
            }
        }
        pg_sys::systable_endscan(scan);
        pg_sys::table_close(relation, pg_sys::AccessShareLock as i32);
    }
}

/// The table and column that a sequence belongs to (SERIAL, IDENTITY).
pub fn sequence_owner(sequence: Oid) -> Option<(Oid, i16)> {
    // SAFETY: catalog look-ups; both results are written before they are read.
    unsafe {
        ["a", "i"].into_iter().find_map(|kind| {
            let (mut table, mut column) = (Oid::INVALID, 0);
            pg_sys::sequenceIsOwned(
                sequence,
                kind.as_bytes()[0] as core::ffi::c_char,
                &raw mut table,
                &raw mut column,
            )
            .then_some((table, column as i16))
        })
    }
}

/// The extension that an object belongs to.
pub fn extension_of(class: u32, object: Oid) -> Option<Oid> {
    // SAFETY: a scan of pg_depend.
    let oid = unsafe { pg_sys::getExtensionOfObject(Oid::from_u32(class), object) };
    (oid != Oid::INVALID).then_some(oid)
}

/// The range type of a multirange type.
pub fn range_of(multirange: Oid) -> Option<Oid> {
    // SAFETY: a syscache look-up.
    let oid = unsafe { pg_sys::get_multirange_range(multirange) };
    (oid != Oid::INVALID).then_some(oid)
}

/// Does the text of a value of this type name objects by itself: one of the types like regclass,
/// a list of privileges, or an array, domain or row that holds such?
pub fn prints_names(typid: Oid) -> bool {
    holds(typid, |number| {
        names_type(number).is_some() || names_array(number).is_some() || is_acl(number)
    })
}

/// Roles among them?
pub fn prints_roles(typid: Oid) -> bool {
    holds(typid, |number| {
        matches!(number, 4096 | 4097) || is_acl(number)
    })
}

/// Schemas?
pub fn prints_schemas(typid: Oid) -> bool {
    holds(typid, |number| matches!(number, 4089 | 4090))
}

pub const ACLITEM: Oid = Oid::from_u32(1033);
pub const ACLITEM_ARRAY: Oid = Oid::from_u32(1034);

/// `aclitem` and `aclitem[]`: by names of roles.
pub fn is_acl(number: u32) -> bool {
    [ACLITEM, ACLITEM_ARRAY].contains(&Oid::from_u32(number))
}

/// Is the type such, or made of such?
fn holds(typid: Oid, such: fn(u32) -> bool) -> bool {
    if such(typid.to_u32()) {
        return true;
    }
    // SAFETY: syscache look-ups; the descriptor is released by the lookup's owner at the end.
    unsafe {
        let base = pg_sys::getBaseType(typid);
        if base != typid {
            return holds(base, such);
        }
        let element = pg_sys::get_element_type(typid);
        if element != Oid::INVALID {
            return holds(element, such);
        }
        let relation = pg_sys::get_typ_typrelid(typid);
        if relation == Oid::INVALID {
            return false;
        }
        super::names::columns(relation)
            .into_iter()
            .any(|(attno, _)| holds(pg_sys::get_atttype(relation, attno), such))
    }
}

/// The OIDs of an array of regclass and the like.
///
/// # Safety
/// `datum` is an array of a four-byte type.
pub unsafe fn oids_of(datum: pg_sys::Datum) -> Vec<Oid> {
    // SAFETY: by the caller's promise; NULL elements are left out.
    unsafe { call::elements(datum) }
        .flatten()
        .map(|element| Oid::from_u32(element.value() as u32))
        .collect()
}

/// The entries of an ACL that are about PUBLIC or about roles that `shown` holds for.
///
/// # Safety
/// `acl` is an `aclitem[]`.
pub unsafe fn filtered_acl(acl: pg_sys::Datum, shown: impl Fn(Oid) -> bool) -> pg_sys::Datum {
    let shows = |role: Oid| role == Oid::INVALID || shown(role);
    // SAFETY: items are passed by reference; none of an ACL is NULL.
    unsafe {
        let mut kept: Vec<pg_sys::Datum> = call::elements(acl)
            .flatten()
            .filter(|item| {
                let item = item.cast_mut_ptr::<pg_sys::AclItem>();
                shows((*item).ai_grantee) && shows((*item).ai_grantor)
            })
            .collect();
        let (size, by_value, align) = call::storage(ACLITEM);
        let result = pg_sys::construct_array(
            kept.as_mut_ptr(),
            kept.len() as i32,
            ACLITEM,
            size,
            by_value,
            align as _,
        );
        pg_sys::Datum::from(result)
    }
}

/// Is the current user this role, or a member of it?
pub fn is_member_of(role: Oid) -> bool {
    // SAFETY: look-ups in the caches of roles and memberships.
    unsafe { pg_sys::is_member_of_role_nosuper(pg_sys::GetUserId(), role) }
}

pub fn own_database() -> Oid {
    // SAFETY: a variable of the backend.
    unsafe { pg_sys::MyDatabaseId }
}

/// The row type of a relation.
pub fn row_type(relid: Oid) -> Oid {
    // SAFETY: a syscache look-up.
    unsafe { pg_sys::get_rel_type_id(relid) }
}

pub fn function_schema(function: Oid) -> Oid {
    // SAFETY: a syscache look-up.
    unsafe { pg_sys::get_func_namespace(function) }
}

/// The schema that an extension's objects are in.
pub fn extension_schema(extension: Oid) -> Oid {
    // pg_extension and its index on oid.
    const EXTENSION_BY_OID: Oid = Oid::from_u32(3080);
    #[repr(C)]
    struct Extension {
        oid: Oid,
        extname: pg_sys::NameData,
        extowner: Oid,
        extnamespace: Oid,
    }
    let mut schema = Oid::INVALID;
    // SAFETY: attribute 1 is oid; GETSTRUCT's layout is the catalog's.
    unsafe {
        let keys = [(1, extension.to_u32())];
        scan(
            Oid::from_u32(class::EXTENSION),
            EXTENSION_BY_OID,
            &keys,
            |tuple| {
                schema = (*pg_sys::heap_tuple_get_struct::<Extension>(tuple)).extnamespace;
                false
            },
        );
    }
    schema
}

pub fn role(name: &str) -> Option<Oid> {
    let name = text::to_c(name);
    // SAFETY: a syscache look-up.
    let oid = unsafe { pg_sys::get_role_oid(name.as_ptr(), true) };
    (oid != Oid::INVALID).then_some(oid)
}

pub fn database(name: &str) -> Option<Oid> {
    let name = text::to_c(name);
    // SAFETY: a catalog look-up.
    let oid = unsafe { pg_sys::get_database_oid(name.as_ptr(), true) };
    (oid != Oid::INVALID).then_some(oid)
}

/// Relations of a schema that may be put into FROM, as far as `limit` objects of it tell.
pub fn relations_in(schema: Oid, limit: usize) -> Vec<Oid> {
    some_dependents(class::NAMESPACE, schema, limit)
        .into_iter()
        .filter(|(class, object, _)| {
            *class == class::RELATION && super::names::relation_kind(*object).is_readable()
        })
        .map(|(_, object, _)| object)
        .collect()
}

/// The name of a type, as SQL would write it.
pub fn type_name(typid: Oid) -> String {
    // SAFETY: a syscache look-up that returns a palloc'd string.
    unsafe { text::from_ptr(pg_sys::format_type_be(typid)) }.unwrap_or_default()
}

/// Catalog and OID of the objects that parameters of type regclass and the like name.
///
/// # Safety
/// `params` is null or the parameters of a query that is about to start.
pub unsafe fn named_by_parameters(params: pg_sys::ParamListInfo) -> Vec<(u32, Oid)> {
    let mut found = Vec::new();
    // SAFETY: by the caller's promise; what is fetched on demand belongs to a function's code.
    unsafe {
        if params.is_null() || (*params).paramFetch.is_some() {
            return found;
        }
        let count = usize::try_from((*params).numParams).unwrap_or(0);
        for param in std::slice::from_raw_parts((*params).params.as_ptr(), count) {
            if param.isnull {
            } else if let Some(class) = names_type(param.ptype.to_u32()) {
                found.push((class, Oid::from_u32(param.value.value() as u32)));
            } else if let Some(class) = names_array(param.ptype.to_u32()).and_then(names_type) {
                let oids = oids_of(param.value);
                found.extend(oids.into_iter().map(|oid| (class, oid)));
            }
        }
    }
    found
}

//! What a query tree touches, as plain data.

use core::ffi::c_void;

use pgrx::pg_sys::{self, CmdType, NodeTag, Oid, Query, RTEKind};

use policy::builtins::guards::{names_array, names_type};
use smallvec::SmallVec;

use super::nodes::{self, Columns};
use super::{compat, guard, join_columns, json_constructor, objects, raw, returning};

/// What a statement does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Command {
    #[default]
    Select,
    Insert,
    Update,
    Delete,
    Merge,
    Utility,
    Other,
}

impl Command {
    pub fn from_cmd(cmd: CmdType::Type) -> Self {
        match cmd {
            CmdType::CMD_SELECT => Self::Select,
            CmdType::CMD_INSERT => Self::Insert,
            CmdType::CMD_UPDATE => Self::Update,
            CmdType::CMD_DELETE => Self::Delete,
            CmdType::CMD_MERGE => Self::Merge,
            CmdType::CMD_UTILITY => Self::Utility,
            _ => Self::Other,
        }
    }
    pub fn word(self) -> &'static str {
        match self {
            Self::Select => "SELECT",
            Self::Insert => "INSERT",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Merge => "MERGE",
            Self::Utility | Self::Other => "statement",
        }
    }
    pub fn writes(self) -> bool {
        self != Self::Select
    }
}

/// One relation of a query, with what the query asks of it.
#[derive(Debug, Clone)]
pub struct Use {
    pub relid: Oid,
    /// Named by the text itself, not reached through a view.
    pub named: bool,
    pub select: bool,
    pub insert: bool,
    pub update: bool,
    pub delete: bool,
    /// Column numbers; 0 is the whole row, negative ones are system columns.
    pub selected: Columns,
    pub inserted: Columns,
    pub updated: Columns,
    /// The relation that INSERT, UPDATE, DELETE or MERGE changes, or the row that INSERT has put to it.
    pub target: bool,
    /// Of a relation that is changed, the columns that are read for something else than to be returned.
    pub read: Columns,
}

impl Use {
    /// A relation that a command names and reads, whatever its columns.
    pub fn reading(relid: Oid) -> Self {
        Self {
            relid,
            named: true,
            select: true,
            insert: false,
            update: false,
            delete: false,
            selected: Columns::new(),
            inserted: Columns::new(),
            updated: Columns::new(),
            target: false,
            read: Columns::new(),
        }
    }

    pub fn writes(&self) -> bool {
        self.insert || self.update || self.delete
    }

    /// From the permissions that the executor is about to check.
    pub fn from_permissions(p: compat::Permissions) -> Self {
        let asks = |bit: u32| p.required & pg_sys::AclMode::from(bit) != 0;
        // SAFETY: the sets belong to a query or plan that is alive while this runs.
        unsafe {
            let selected = nodes::attributes(p.selected);
            Self {
                relid: p.relid,
                // What was planned under the policy was judged by what is in it.
                read: if p.planned {
                    Columns::new()
                } else {
                    selected.clone()
                },
                named: p.check_as == Oid::INVALID,
                select: asks(pg_sys::ACL_SELECT),
                insert: asks(pg_sys::ACL_INSERT),
                update: asks(pg_sys::ACL_UPDATE),
                delete: asks(pg_sys::ACL_DELETE) || asks(pg_sys::ACL_TRUNCATE),
                selected,
                inserted: nodes::attributes(p.inserted),
                updated: nodes::attributes(p.updated),
                target: false,
            }
        }
    }
}

/// Everything a query tree names, at every level of it.
#[derive(Debug, Default)]
pub struct Touched {
    pub command: Command,
    /// The command of a data-modifying CTE or of an inner query.
    pub inner_write: Option<Command>,
    pub row_marks: bool,
    pub relations: Vec<Use>,
    pub functions: Vec<Oid>,
    /// Tables whose row type is used.
    pub mentioned: Vec<Oid>,
    /// Catalog and OID of what constants of type regclass and the like name.
    pub named: Vec<(u32, Oid)>,
    /// A type that holds names of objects, made of other values: in what way no check would see.
    pub unseen_names: Option<Oid>,
}

unsafe extern "C-unwind" fn note_function(function: Oid, context: *mut c_void) -> bool {
    // SAFETY: `context` is the vector that `functions_of` passes. Growing it cannot raise.
    unsafe { (*context.cast::<Vec<Oid>>()).push(function) };
    false
}

unsafe extern "C-unwind" fn note_call(function: Oid, context: *mut c_void) -> bool {
    // SAFETY: `context` is the list that `calls` passes. Growing it cannot raise.
    unsafe { (*context.cast::<SmallVec<[Oid; 16]>>()).push(function) };
    false
}

/// The functions that a node itself calls: a function, an operator, an aggregate …
///
/// # Safety
/// `node` is an expression node.
pub unsafe fn functions_of(node: *mut pg_sys::Node, into: &mut Vec<Oid>) {
    // SAFETY: by the caller's promise; the callback only pushes.
    unsafe {
        pg_sys::check_functions_in_node(node, Some(note_function), (&raw mut *into).cast());
    }
}

/// What a query that is about to be planned calls, at every level of it.
#[derive(Debug)]
pub struct Calls {
    pub functions: SmallVec<[Oid; 16]>,
    /// The relations that are read or written, each as often as it is named.
    pub relations: SmallVec<[Oid; 8]>,
    /// There is a CASE that compares a value.
    pub compares: bool,
    /// Rows are left out by row-level security.
    pub secured: bool,
    /// What needs a check when it runs.
    pub guarded: guard::Found,
}

/// Collects what `query` calls. Takes apart what PostgreSQL mixes up (see [`json_constructor`]) and empties what nobody
/// looks at (see [`join_columns`]).
///
/// # Safety
/// `query` is a rewritten query tree, which may be changed.
pub unsafe fn calls(query: *mut Query) -> Calls {
    let mut json = json_constructor::Found::default();
    let mut nodes: SmallVec<[*mut pg_sys::Node; 16]> = SmallVec::new();
    let mut calls = Calls {
        functions: SmallVec::new(),
        relations: SmallVec::new(),
        compares: false,
        secured: false,
        guarded: guard::Found::default(),
    };
    let mut joins = join_columns::Watch::default();
    let mut note = |node: *mut pg_sys::Node| {
        // SAFETY: a node of the tree that is walked below.
        unsafe {
            calls.guarded.note(node);
            match (*node).type_ {
                NodeTag::T_RangeTblEntry => {
                    let rte = node.cast::<pg_sys::RangeTblEntry>();
                    if (*rte).rtekind == RTEKind::RTE_RELATION {
                        calls.relations.push((*rte).relid);
                        calls.secured |= !(*rte).securityQuals.is_null();
                    }
                }
                NodeTag::T_TableSampleClause => {
                    let handler = (*node.cast::<pg_sys::TableSampleClause>()).tsmhandler;
                    calls.functions.push(handler);
                }
                NodeTag::T_FuncExpr
                | NodeTag::T_OpExpr
                | NodeTag::T_DistinctExpr
                | NodeTag::T_NullIfExpr
                | NodeTag::T_ScalarArrayOpExpr
                | NodeTag::T_RowCompareExpr
                | NodeTag::T_Aggref
                | NodeTag::T_WindowFunc => nodes.push(node),
                NodeTag::T_CaseExpr => {
                    calls.compares |= !(*node.cast::<pg_sys::CaseExpr>()).arg.is_null();
                }
                NodeTag::T_Var | NodeTag::T_TargetEntry => {}
                _ => json.note(node),
            }
        }
    };
    // SAFETY: the tree is the caller's and outlives this function; the walks only note pointers.
    // The guard turns an ERROR into a panic; between it and the calls no frame owns anything.
    unsafe {
        nodes::walk_past_joins(query.cast(), |node, level| {
            joins.note(node, level);
            note(node);
            false
        });
        for columns in joins.in_use() {
            nodes::walk(columns.cast(), |node, _| {
                note(node);
                false
            });
        }
        joins.forget_unused();
        if json.take_apart(query) {
            calls.guarded = guard::Found::of(query);
        }
        pg_sys::ffi::pg_guard_ffi_boundary(|| {
            for node in &nodes {
                let into = (&raw mut calls.functions).cast();
                raw::check_functions_in_node(*node, Some(note_call), into);
            }
        });
    }
    calls.functions.sort_unstable_by_key(|f| f.to_u32());
    calls.functions.dedup();
    calls
}

/// Collects what `query` touches.
///
/// # Safety
/// `query` is an analyzed query tree.
pub unsafe fn collect(query: *mut Query) -> Touched {
    let mut queries: SmallVec<[*mut Query; 4]> = SmallVec::new();
    let mut expressions: SmallVec<[*mut pg_sys::Node; 16]> = SmallVec::new();
    let mut entries: SmallVec<[(*mut Query, *mut pg_sys::RangeTblEntry, i32); 4]> = SmallVec::new();
    let mut types: SmallVec<[Oid; 16]> = SmallVec::new();
    // Types of values that are read from text, and constant arrays of regclass and the like.
    let mut made: SmallVec<[Oid; 16]> = SmallVec::new();
    let mut arrays: Vec<(pg_sys::Datum, Oid)> = Vec::new();
    let mut joins = join_columns::Watch::default();
    // SAFETY: the tree is the caller's and outlives this function; the walks only note pointers.
    unsafe {
        let mut note = |node: *mut pg_sys::Node| match (*node).type_ {
            NodeTag::T_Query => queries.push(node.cast()),
            NodeTag::T_FuncExpr
            | NodeTag::T_OpExpr
            | NodeTag::T_DistinctExpr
            | NodeTag::T_NullIfExpr
            | NodeTag::T_ScalarArrayOpExpr
            | NodeTag::T_RowCompareExpr
            | NodeTag::T_Aggref
            | NodeTag::T_WindowFunc
            | NodeTag::T_Const
            | NodeTag::T_Param
            | NodeTag::T_TableSampleClause
            | NodeTag::T_CoerceToDomain
            | NodeTag::T_CoerceViaIO
            | NodeTag::T_RowExpr
            | NodeTag::T_FieldStore
            | NodeTag::T_ConvertRowtypeExpr => expressions.push(node),
            NodeTag::T_TableFunc => {
                let table = node.cast::<pg_sys::TableFunc>();
                made.extend(nodes::oids((*table).coltypes));
            }
            NodeTag::T_RangeTblFunction => {
                let function = node.cast::<pg_sys::RangeTblFunction>();
                made.extend(nodes::oids((*function).funccoltypes));
            }
            NodeTag::T_Var | NodeTag::T_TargetEntry => {}
            _ => {
                if let Some(typid) = compat::json_type(node) {
                    made.push(typid);
                }
            }
        };
        // What stands for a column of a join counts where one is asked for.
        nodes::walk_past_joins(query.cast(), |node, level| {
            joins.note(node, level);
            note(node);
            false
        });
        for columns in joins.in_use() {
            nodes::walk(columns.cast(), |node, _| {
                note(node);
                false
            });
        }
        for query in &queries {
            for (i, rte) in nodes::pointers::<pg_sys::RangeTblEntry>((**query).rtable).enumerate() {
                entries.push((*query, rte, i as i32 + 1));
                for function in nodes::pointers::<pg_sys::RangeTblFunction>((*rte).functions) {
                    made.extend(nodes::oids((*function).funccoltypes));
                }
                if !(*rte).tablefunc.is_null() {
                    made.extend(nodes::oids((*(*rte).tablefunc).coltypes));
                }
            }
        }
    }
    let mut touched = Touched::default();
    // SAFETY: the pointers noted above are nodes of the kinds matched there.
    unsafe {
        for (level, q) in queries.iter().enumerate() {
            let q = *q;
            let command = Command::from_cmd((*q).commandType);
            if level == 0 {
                touched.command = command;
            } else if command.writes() {
                touched.inner_write = Some(command);
            }
            touched.row_marks |= !(*q).rowMarks.is_null();
        }
        for (owner, rte, rti) in entries {
            if (*rte).rtekind != RTEKind::RTE_RELATION {
                continue;
            }
            // In a rule's OLD and NEW entries nothing is asked for.
            let Some(permissions) = compat::permissions(owner, rte) else {
                continue;
            };
            let mut used = Use::from_permissions(permissions);
            used.target = returning::is_target(owner, rti);
            if used.target {
                used.read = returning::read_elsewhere(owner, rti);
            }
            touched.relations.push(used);
        }
        // The guard turns an ERROR into a panic; between it and the calls no frame owns anything.
        pg_sys::ffi::pg_guard_ffi_boundary(|| {
            for node in &expressions {
                let node = *node;
                match (*node).type_ {
                    NodeTag::T_Const => {
                        let constant = node.cast::<pg_sys::Const>();
                        let typid = (*constant).consttype;
                        if (*constant).constisnull {
                        } else if let Some(class) = names_type(typid.to_u32()) {
                            let oid = Oid::from_u32((*constant).constvalue.value() as u32);
                            touched.named.push((class, oid));
                        } else if let Some(element) = names_array(typid.to_u32()) {
                            arrays.push(((*constant).constvalue, Oid::from_u32(element)));
                        } else if !is_empty_acl(constant) {
                            made.push(typid);
                        }
                        types.push(typid);
                    }
                    NodeTag::T_TableSampleClause => {
                        touched
                            .functions
                            .push((*node.cast::<pg_sys::TableSampleClause>()).tsmhandler);
                    }
                    NodeTag::T_Param | NodeTag::T_CoerceViaIO => {
                        let typid = raw::exprType(node);
                        // What a parameter names is looked up before anybody is asked.
                        if nodes::is_a(node, NodeTag::T_Param)
                            && (matches!(typid.to_u32(), 4089 | 4090 | 4096 | 4097)
                                || objects::is_acl(typid.to_u32()))
                            && super::depth::nesting() == 0
                        {
                            touched.unseen_names = Some(typid);
                        }
                        let checked = names_type(typid.to_u32()).is_some()
                            || (nodes::is_a(node, NodeTag::T_Param)
                                && names_array(typid.to_u32()).is_some());
                        if !checked {
                            made.push(typid);
                        }
                        types.push(typid);
                    }
                    NodeTag::T_CoerceToDomain
                    | NodeTag::T_RowExpr
                    | NodeTag::T_FieldStore
                    | NodeTag::T_ConvertRowtypeExpr => types.push(raw::exprType(node)),
                    _ => {
                        let into = (&raw mut touched.functions).cast();
                        raw::check_functions_in_node(node, Some(note_function), into);
                        types.push(raw::exprType(node));
                        if nodes::is_a(node, NodeTag::T_FuncExpr)
                            && fills_record((*node.cast::<pg_sys::FuncExpr>()).funcid)
                        {
                            made.push(raw::exprType(node));
                        }
                    }
                }
            }
        });
        for (array, element) in arrays {
            if let Some(class) = names_type(element.to_u32()) {
                let oids = objects::oids_of(array);
                touched
                    .named
                    .extend(oids.into_iter().map(|oid| (class, oid)));
            }
        }
    }
    made.sort_unstable_by_key(|typid| typid.to_u32());
    made.dedup();
    touched.unseen_names = touched
        .unseen_names
        .or_else(|| made.into_iter().find(|typid| may_print_names(*typid)));
    for typid in types {
        note_row_type(typid, &mut touched.mentioned);
    }
    touched.functions.sort_unstable_by_key(|f| f.to_u32());
    touched.functions.dedup();
    touched
}

/// A list of privileges without entries names nobody.
unsafe fn is_empty_acl(constant: *const pg_sys::Const) -> bool {
    // SAFETY: a constant of an array type that is not NULL holds an array.
    unsafe {
        (*constant).consttype == objects::ACLITEM_ARRAY && {
            let array = pg_sys::pg_detoast_datum((*constant).constvalue.cast_mut_ptr());
            (*array.cast::<pg_sys::ArrayType>()).ndim == 0
        }
    }
}

/// The functions that make a row of a type out of JSON.
fn fills_record(function: Oid) -> bool {
    matches!(function.to_u32(), 3209 | 3475 | 3960 | 3961 | 6338)
}

/// [`objects::prints_names`], with a short way for the types that every statement has.
fn may_print_names(typid: Oid) -> bool {
    // Row types of pg_type, pg_attribute, pg_proc, pg_class and pg_database, and arrays of the first four.
    const ROWS: [u32; 9] = [71, 75, 81, 83, 1248, 210, 270, 272, 273];
    let number = typid.to_u32();
    if number < super::FIRST_GENBKI_OID {
        return names_type(number).is_some()
            || names_array(number).is_some()
            || ROWS.contains(&number)
            || objects::is_acl(number);
    }
    objects::prints_names(typid)
}

fn note_row_type(typid: Oid, into: &mut Vec<Oid>) {
    if typid.to_u32() < super::FIRST_NORMAL_OID {
        return;
    }
    // SAFETY: a catalog look-up inside a transaction.
    let element = unsafe { pg_sys::get_element_type(typid) };
    let row = if element == Oid::INVALID {
        typid
    } else {
        element
    };
    if let Some(relid) = super::names::table_of_type(row) {
        into.push(relid);
    }
}

//! Utility commands: what they ask for, and what becomes of them.

use core::ffi::c_char;
use std::cell::Cell;

use pgrx::pg_sys::{self, NodeTag, Oid, Query};
use policy::model::Limits;
use policy::rule::Rule;

use super::boundary::{self, Thrown};
use super::layers::{self, Layer};
use super::{definition, depth, hooks, internal, names, nodes, raw, session, source, text};
use crate::catalog::Policy;
use crate::denial::Denial;
use crate::pg::touched::Use;
use crate::statement::{self, Particulars};
use crate::utility::{self, Pass, Utility};
use crate::{enforce, identity, plan};

/// The arguments of `ProcessUtility_hook`.
#[derive(Clone, Copy)]
pub struct Call {
    pub statement: *mut pg_sys::PlannedStmt,
    pub query_string: *const c_char,
    pub read_only_tree: bool,
    pub context: pg_sys::ProcessUtilityContext::Type,
    pub params: pg_sys::ParamListInfo,
    pub environment: *mut pg_sys::QueryEnvironment,
    pub dest: *mut pg_sys::DestReceiver,
    pub completion: *mut pg_sys::QueryCompletion,
}

/// Hands the command on.
///
/// # Safety
/// The arguments are the server's own.
pub unsafe fn next(call: &Call) {
    // SAFETY: by the caller's promise.
    unsafe {
        let run = hooks::PREV_UTILITY.unwrap_or(raw::standard_ProcessUtility);
        run(
            call.statement,
            call.query_string,
            call.read_only_tree,
            call.context,
            call.params,
            call.environment,
            call.dest,
            call.completion,
        );
    }
}

thread_local! {
    /// Does the utility command under way send rows of a query inside it to the client?
    static CARRIES_ROWS: Cell<bool> = const { Cell::new(true) };
}

/// Is what is being planned bound for the client (and not for a new table)?
pub fn sends_rows() -> bool {
    CARRIES_ROWS.get()
}

/// That is as [`carries`] said, until this is dropped.
#[must_use]
pub struct Carries(bool);
impl Drop for Carries {
    fn drop(&mut self) {
        CARRIES_ROWS.set(self.0);
    }
}

/// Notes where the rows of a query inside a command go.
pub fn carries(what: &Utility) -> Carries {
    // A cursor may be moved to its end without sending anything: its plan is not limited.
    let sends = !matches!(what, Utility::Definition(_) | Utility::DeclareCursor { .. });
    Carries(CARRIES_ROWS.replace(sends))
}

/// The analyzed query inside DECLARE CURSOR, CREATE TABLE AS or EXPLAIN. On 15 to 17 the first
/// two reach parse analysis only this way.
///
/// # Safety
/// `node` is a utility statement or null.
pub unsafe fn carried_query(node: *mut pg_sys::Node) -> Option<*mut Query> {
    if node.is_null() {
        return None;
    }
    // SAFETY: by the caller's promise, and each cast follows the node's tag.
    unsafe {
        let inner = match (*node).type_ {
            NodeTag::T_DeclareCursorStmt => (*node.cast::<pg_sys::DeclareCursorStmt>()).query,
            NodeTag::T_CreateTableAsStmt => (*node.cast::<pg_sys::CreateTableAsStmt>()).query,
            NodeTag::T_ExplainStmt => (*node.cast::<pg_sys::ExplainStmt>()).query,
            _ => return None,
        };
        if !nodes::is_a(inner, NodeTag::T_Query) {
            return None;
        }
        let query = inner.cast::<Query>();
        if (*query).commandType == pg_sys::CmdType::CMD_UTILITY {
            carried_query((*query).utilityStmt)
        } else {
            Some(query)
        }
    }
}

/// The EXECUTE inside EXPLAIN or CREATE TABLE AS.
///
/// # Safety
/// `node` is an analyzed utility statement or null.
pub unsafe fn carried_execute(node: *mut pg_sys::Node) -> Option<*mut pg_sys::ExecuteStmt> {
    if node.is_null() {
        return None;
    }
    // SAFETY: by the caller's promise, and each cast follows the node's tag.
    unsafe {
        match (*node).type_ {
            NodeTag::T_ExecuteStmt => Some(node.cast()),
            NodeTag::T_Query => carried_execute((*node.cast::<Query>()).utilityStmt),
            _ => carried_execute(carried_raw(node)?),
        }
    }
}

/// The raw statement inside EXPLAIN, COPY (…), PREPARE, DECLARE CURSOR or CREATE TABLE AS.
///
/// # Safety
/// `node` is a raw statement's tree.
pub unsafe fn carried_raw(node: *mut pg_sys::Node) -> Option<*mut pg_sys::Node> {
    // SAFETY: by the caller's promise, and each cast follows the node's tag.
    let inner = unsafe {
        match (*node).type_ {
            NodeTag::T_DeclareCursorStmt => (*node.cast::<pg_sys::DeclareCursorStmt>()).query,
            NodeTag::T_CreateTableAsStmt => (*node.cast::<pg_sys::CreateTableAsStmt>()).query,
            NodeTag::T_ExplainStmt => (*node.cast::<pg_sys::ExplainStmt>()).query,
            NodeTag::T_PrepareStmt => (*node.cast::<pg_sys::PrepareStmt>()).query,
            NodeTag::T_CopyStmt => (*node.cast::<pg_sys::CopyStmt>()).query,
            _ => std::ptr::null_mut(),
        }
    };
    (!inner.is_null()).then_some(inner)
}

/// # Safety
/// `ptr` is null or a NUL-terminated string.
pub unsafe fn string(ptr: *const c_char) -> String {
    // SAFETY: a string of a parse tree.
    unsafe { text::from_ptr(ptr) }.unwrap_or_default()
}

/// What a utility statement asks for.
///
/// # Safety
/// `node` is a utility statement's tree.
pub unsafe fn classify(node: *mut pg_sys::Node) -> Utility {
    use pg_sys::{TransactionStmtKind as Tx, VariableSetKind as Set};
    // SAFETY: by the caller's promise, and each cast follows the node's tag.
    unsafe {
        match (*node).type_ {
            NodeTag::T_TransactionStmt => match (*node.cast::<pg_sys::TransactionStmt>()).kind {
                Tx::TRANS_STMT_PREPARE
                | Tx::TRANS_STMT_COMMIT_PREPARED
                | Tx::TRANS_STMT_ROLLBACK_PREPARED => Utility::TwoPhase,
                _ => Utility::Transaction,
            },
            NodeTag::T_VariableShowStmt => {
                Utility::Show(string((*node.cast::<pg_sys::VariableShowStmt>()).name))
            }
            NodeTag::T_VariableSetStmt => {
                let set = node.cast::<pg_sys::VariableSetStmt>();
                match (*set).kind {
                    Set::VAR_RESET_ALL => Utility::ResetAll,
                    Set::VAR_SET_MULTI => {
                        if string((*set).name) == "TRANSACTION SNAPSHOT" {
                            Utility::SetSnapshot
                        } else {
                            Utility::SetTransaction
                        }
                    }
                    Set::VAR_SET_VALUE => Utility::Set {
                        name: string((*set).name),
                        value: Some(string(pg_sys::ExtractSetVariableArgs(set))),
                    },
                    _ => Utility::Set {
                        name: string((*set).name),
                        value: None,
                    },
                }
            }
            NodeTag::T_PrepareStmt => Utility::Prepare,
            NodeTag::T_ExecuteStmt => Utility::Execute,
            NodeTag::T_DeallocateStmt => Utility::Deallocate,
            NodeTag::T_DeclareCursorStmt => Utility::DeclareCursor {
                hold: (*node.cast::<pg_sys::DeclareCursorStmt>()).options
                    & pg_sys::CURSOR_OPT_HOLD as i32
                    != 0,
            },
            NodeTag::T_FetchStmt => Utility::Fetch,
            NodeTag::T_ClosePortalStmt => Utility::ClosePortal,
            NodeTag::T_ExplainStmt => Utility::Explain,
            NodeTag::T_CopyStmt => {
                let copy = node.cast::<pg_sys::CopyStmt>();
                let client = (*copy).filename.is_null() && !(*copy).is_program;
                if (*copy).is_from {
                    Utility::CopyFrom { client }
                } else {
                    Utility::CopyTo { client }
                }
            }
            NodeTag::T_DiscardStmt => Utility::Discard,
            NodeTag::T_UnlistenStmt => Utility::Unlisten,
            NodeTag::T_ConstraintsSetStmt => Utility::Constraints,
            NodeTag::T_LockStmt
                if (*node.cast::<pg_sys::LockStmt>()).mode == pg_sys::AccessShareLock as i32 =>
            {
                Utility::LockAsSelect
            }
            NodeTag::T_CreateStmt => Utility::Definition("CREATE TABLE"),
            NodeTag::T_CreateTableAsStmt => Utility::Definition("CREATE TABLE AS"),
            NodeTag::T_AlterTableStmt => Utility::Definition("ALTER TABLE"),
            NodeTag::T_TruncateStmt => Utility::Definition("TRUNCATE TABLE"),
            NodeTag::T_IndexStmt => Utility::Definition("CREATE INDEX"),
            NodeTag::T_ViewStmt => Utility::Definition("CREATE VIEW"),
            NodeTag::T_CreateSeqStmt => Utility::Definition("CREATE SEQUENCE"),
            NodeTag::T_AlterSeqStmt => Utility::Definition("ALTER SEQUENCE"),
            NodeTag::T_DropStmt if drops_relations(node) => Utility::Definition("DROP"),
            NodeTag::T_RenameStmt if renames_relation(node) => {
                Utility::Definition("ALTER … RENAME")
            }
            _ => Utility::Other(string(pg_sys::GetCommandTagName(pg_sys::CreateCommandTag(
                node,
            )))),
        }
    }
}

fn is_relation_type(kind: pg_sys::ObjectType::Type) -> bool {
    use pg_sys::ObjectType as T;
    matches!(
        kind,
        T::OBJECT_TABLE | T::OBJECT_VIEW | T::OBJECT_INDEX | T::OBJECT_SEQUENCE | T::OBJECT_MATVIEW
    )
}

unsafe fn drops_relations(node: *const pg_sys::Node) -> bool {
    // SAFETY: the caller has looked at the tag.
    unsafe { is_relation_type((*node.cast::<pg_sys::DropStmt>()).removeType) }
}

unsafe fn renames_relation(node: *const pg_sys::Node) -> bool {
    // SAFETY: the caller has looked at the tag.
    unsafe {
        let rename = node.cast::<pg_sys::RenameStmt>();
        is_relation_type((*rename).renameType)
            || ((*rename).renameType == pg_sys::ObjectType::OBJECT_COLUMN
                && is_relation_type((*rename).relationType))
    }
}

/// A utility command of a confined session.
///
/// # Safety
/// The arguments are the server's own.
pub unsafe fn confined(call: &Call) {
    // SAFETY: guarded, so that what unwinds inside becomes an ERROR again at this boundary.
    unsafe {
        if pg_sys::panic::pgrx_extern_c_guard(|| run(call).is_err()) {
            boundary::rethrow();
        }
    }
}

unsafe fn run(call: &Call) -> Result<(), Thrown> {
    // SAFETY: the arguments are the server's own.
    unsafe {
        let node = (*call.statement).utilityStmt;
        if internal::active() {
            return boundary::call(|| next(call));
        }
        if depth::trusted() {
            let _source = source_of(call);
            return recorded(node, || boundary::call(|| next(call)));
        }
        if !raw::IsTransactionState() {
            // The transaction has failed: the server accepts its end only, and no catalog can be
            // read. It is recorded by what is known without one.
            statement::begin(0, &particulars_of(node), Limits::NONE);
            return hooks::timed(|| next(call));
        }
        let Some(policy) = hooks::begin() else {
            return boundary::call(|| next(call));
        };
        let _source = source_of(call);
        let nested = depth::nested();
        let outermost = depth::UTILITY.load(std::sync::atomic::Ordering::Relaxed) == 0 && !nested;
        let _level = depth::enter_utility();
        let what = classify(node);
        if outermost {
            statement::begin(0, &particulars_of(node), policy.effective_limits());
            enforce(&policy, statement::check_audit());
            if let Some(text) = carried_execute(node).and_then(|execute| prepared_text(execute)) {
                statement::executes(text);
            }
        }
        if !layers::on(Layer::Utility) {
            return hooks::timed(|| next(call));
        }
        match enforce(&policy, utility::judge(&policy, &what)) {
            Some(Pass::Ignore) => {
                finish_quietly(call, node);
                return Ok(());
            }
            Some(Pass::Run) | None => {}
        }
        if what == Utility::Fetch {
            enforce(&policy, judge_fetch(node));
        }
        // The record of what changes something comes before the change.
        if matches!(
            what,
            Utility::Definition(_) | Utility::CopyFrom { .. } | Utility::Other(_)
        ) && let Err(denial) = statement::write_start()
        {
            denial.raise();
        }
        if outermost && matches!(what, Utility::CopyFrom { .. }) {
            statement::takes_rows(&target_of_copy(node));
        }
        judge_parts(&policy, node, &what);
        let carried = carries(&what);
        let mut call = *call;
        if matches!(what, Utility::CopyTo { .. })
            && let Some(query) = copy_as_query(&policy, node.cast::<pg_sys::CopyStmt>())
        {
            // The tree is copied before it is changed.
            call.statement = nodes::copy(call.statement);
            call.read_only_tree = false;
            let copy = (*call.statement).utilityStmt.cast::<pg_sys::CopyStmt>();
            (*copy).query = query;
            (*copy).relation = std::ptr::null_mut();
            (*copy).attlist = std::ptr::null_mut();
        }
        if matches!(
            what,
            Utility::CopyTo { .. } | Utility::CopyFrom { .. } | Utility::Explain
        ) {
            enforce(&policy, identity::judge(&policy));
        }
        let explaining = matches!(what, Utility::Explain);
        let go = || {
            if explaining {
                super::explain::run(|| hooks::timed(|| next(&call)))
            } else {
                hooks::timed(|| next(&call))
            }
        };
        let ended = if nested { recorded(node, go) } else { go() };
        drop(carried);
        ended?;
        if matches!(
            what,
            Utility::Discard | Utility::ResetAll | Utility::Transaction
        ) {
            session::unpin_settings();
            session::pin_settings();
        }
        if matches!(what, Utility::Discard | Utility::ResetAll) {
            crate::api::identity::withdraw();
        }
    }
    Ok(())
}

unsafe fn source_of(call: &Call) -> impl Drop + use<> {
    // SAFETY: the server's own statement.
    unsafe {
        source::enter(
            call.query_string,
            (*call.statement).stmt_location,
            (*call.statement).stmt_len,
        )
    }
}

/// Runs a command inside a function, with a record of its own.
unsafe fn recorded<T, E>(
    node: *mut pg_sys::Node,
    go: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    // What carries a query is told by that.
    // SAFETY: the server's own tree.
    let carries = unsafe {
        matches!(
            (*node).type_,
            NodeTag::T_FetchStmt | NodeTag::T_RefreshMatViewStmt
        ) || carried_execute(node).is_some()
            || carried_query(node).is_some()
    };
    if carries || crate::trial::is_nobodys() {
        return go();
    }
    // SAFETY: the server's own tree.
    let of = unsafe { particulars_of(node) };
    let at = node as usize;
    if let Err(denial) = statement::begin_nested(at, &of, depth::nesting().max(1)) {
        denial.raise();
    }
    let ended = go();
    if ended.is_ok() {
        statement::query_ended(at, 0, true);
    } else {
        statement::has_failed(at);
    }
    ended
}

/// What is known of a command before anything is looked up: its tag.
unsafe fn particulars_of(node: *mut pg_sys::Node) -> Particulars {
    // SAFETY: the server's own tree; the name of a tag is a constant.
    let tag = unsafe { string(pg_sys::GetCommandTagName(pg_sys::CreateCommandTag(node))) };
    Particulars {
        command_tag: Some(tag.into()),
        ..Particulars::default()
    }
}

/// The text of the statement that an EXECUTE runs, as it was prepared.
unsafe fn prepared_text<'a>(execute: *const pg_sys::ExecuteStmt) -> Option<&'a [u8]> {
    // SAFETY: the text lives as long as the prepared statement.
    unsafe {
        let prepared = pg_sys::FetchPreparedStatement((*execute).name, false);
        if prepared.is_null() {
            return None;
        }
        let source = (*prepared).plansource;
        let raw = (*source).raw_parse_tree;
        let (location, length) = if raw.is_null() {
            (0, 0)
        } else {
            ((*raw).stmt_location, (*raw).stmt_len)
        };
        Some(source::part((*source).query_string, location, length))
    }
}

/// The table that COPY FROM writes to. One that is not there is the server's to report.
unsafe fn target_of_copy(node: *const pg_sys::Node) -> Particulars {
    let mut of = Particulars::default();
    // SAFETY: the caller has looked at the tag.
    unsafe {
        let relation = (*node.cast::<pg_sys::CopyStmt>()).relation;
        of.objects.relations.extend(names::of_range_var(relation));
    }
    of
}

/// A confined session cannot hold a cursor over its transaction: one that is held was filled before
/// there was a policy.
unsafe fn judge_fetch(node: *const pg_sys::Node) -> Result<(), Denial> {
    // SAFETY: the caller has looked at the tag; a portal of that name or none.
    unsafe {
        let portal = pg_sys::GetPortalByName((*node.cast::<pg_sys::FetchStmt>()).portalname);
        if portal.is_null() || (*portal).cursorOptions & pg_sys::CURSOR_OPT_HOLD as i32 == 0 {
            return Ok(());
        }
    }
    Err(Denial::new(
        Rule::PolicyUnavailable,
        "cursor",
        "the cursor was opened before this policy came into force",
    )
    .hint("Close it, and declare one WITHOUT HOLD inside a transaction."))
}

/// A command that is accepted without effect: the client gets its tag.
unsafe fn finish_quietly(call: &Call, node: *mut pg_sys::Node) {
    // SAFETY: the completion is the server's own, or null.
    unsafe {
        if !call.completion.is_null() {
            (*call.completion).commandTag = pg_sys::CreateCommandTag(node);
            (*call.completion).nprocessed = 0;
        }
    }
}

/// What a command consists of, as far as that is judged before it runs: definitions, expressions that are in no
/// plan, tables to lock.
///
/// # Safety
/// `node` is a utility statement's tree, and `what` what [`classify`] made of it.
pub unsafe fn judge_parts(policy: &Policy, node: *mut pg_sys::Node, what: &Utility) {
    // SAFETY: by the caller's promise.
    unsafe {
        if matches!(what, Utility::Definition(_)) {
            definition::judge_definition(policy, node);
            definition::judge_calls(policy, node);
        }
        enforce(policy, definition::judge_unplanned(node));
        if matches!(what, Utility::LockAsSelect) {
            judge_lock(policy, node);
        }
    }
}

/// LOCK TABLE names relations without reading them: those that may be read may be locked as
/// reading locks them.
unsafe fn judge_lock(policy: &Policy, node: *mut pg_sys::Node) {
    // SAFETY: the caller has looked at the tag.
    unsafe {
        let lock = node.cast::<pg_sys::LockStmt>();
        for name in nodes::pointers::<pg_sys::RangeVar>((*lock).relations) {
            // One that is not there is the server's to report.
            if let Some(relid) = names::of_range_var(name) {
                enforce(policy, plan::judge_use(policy, &Use::reading(relid)));
            }
        }
    }
}

/// `COPY table TO` reads the table without planner and executor: it becomes `COPY (SELECT …) TO`. `None` where it
/// has a query already, and where the server refuses the relation by itself, before it reads anything.
///
/// # Safety
/// `copy` is a COPY … TO.
pub unsafe fn copy_as_query(
    policy: &Policy,
    copy: *const pg_sys::CopyStmt,
) -> Option<*mut pg_sys::Node> {
    // SAFETY: by the caller's promise; what is taken over from its tree is copied.
    unsafe {
        if (*copy).relation.is_null() {
            return None;
        }
        let relid = pg_sys::RangeVarGetRelidExtended(
            (*copy).relation,
            pg_sys::AccessShareLock as i32,
            0,
            None,
            std::ptr::null_mut(),
        );
        enforce(policy, plan::judge_use(policy, &Use::reading(relid)));
        if !matches!(names::relation_kind(relid).0, b'r' | b'm' | b'f') {
            return None;
        }
        let mut targets: *mut pg_sys::List = std::ptr::null_mut();
        for column in &columns_of_copy(copy, relid) {
            let name = pg_sys::pstrdup(text::to_c(column).as_ptr());
            let reference = nodes::make::<pg_sys::ColumnRef>(NodeTag::T_ColumnRef);
            (*reference).fields =
                pg_sys::lappend(std::ptr::null_mut(), pg_sys::makeString(name).cast());
            (*reference).location = -1;
            let target = nodes::make::<pg_sys::ResTarget>(NodeTag::T_ResTarget);
            (*target).val = reference.cast();
            (*target).location = -1;
            targets = pg_sys::lappend(targets, target.cast());
        }
        let from: *mut pg_sys::RangeVar = nodes::copy((*copy).relation);
        (*from).inh = false;
        (*from).schemaname = pg_sys::get_namespace_name(names::relation_schema(relid));
        let select = nodes::make::<pg_sys::SelectStmt>(NodeTag::T_SelectStmt);
        (*select).targetList = targets;
        (*select).fromClause = pg_sys::lappend(std::ptr::null_mut(), from.cast());
        Some(select.cast())
    }
}

/// The columns of a COPY of a table.
///
/// # Safety
/// `copy` is a COPY, and `relid` its table.
pub unsafe fn columns_of_copy(copy: *const pg_sys::CopyStmt, relid: Oid) -> Vec<String> {
    // SAFETY: by the caller's promise.
    let named: Vec<String> = unsafe {
        nodes::pointers::<pg_sys::Node>((*copy).attlist)
            .map(|column| string(compat_string(column)))
            .collect()
    };
    if named.is_empty() {
        copied_columns(relid)
    } else {
        named
    }
}

/// # Safety
/// `node` is an element of a list of names.
pub unsafe fn compat_string(node: *const pg_sys::Node) -> *const c_char {
    // SAFETY: an element of a list of names.
    unsafe { (*node.cast::<pg_sys::String>()).sval }
}

/// The columns that COPY takes when none are named: generated ones are left out.
fn copied_columns(relid: Oid) -> Vec<String> {
    names::columns(relid)
        .into_iter()
        .filter(|(attno, _)| !names::is_generated(relid, *attno))
        .map(|(_, name)| name)
        .collect()
}

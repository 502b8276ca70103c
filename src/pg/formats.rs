//! Settings that any session may change, and that a mask or row filter may depend on: under another time zone another
//! day is today, and `date_trunc` gives another hour.
//!
//! A session that has changed one by SQL does not read what depends on it. What the start-up packet, the role or the
//! database says is not the agent's doing.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

use pgrx::pg_sys::{self, Node, NodeTag, Oid};
use policy::rule::Rule;

use super::{nodes, stamp, template, text};
use crate::denial::Denial;

const TIME: u32 = 1;
const FLOAT: u32 = 2;
const BYTES: u32 = 4;
const ALL: u32 = TIME | FLOAT | BYTES;

/// Which setting belongs to which.
const SETTINGS: [(u32, &core::ffi::CStr); 5] = [
    (TIME, c"timezone"),
    (TIME, c"datestyle"),
    (TIME, c"intervalstyle"),
    (FLOAT, c"extra_float_digits"),
    (BYTES, c"bytea_output"),
];

/// Stable functions of PostgreSQL whose results no such setting changes, by OID: now, transaction_timestamp,
/// statement_timestamp, current_database, current_schema, current_schemas, current_setting, pg_has_role,
/// getpgusername, current_user, session_user.
const UNMOVED: [u32; 17] = [
    1299, 2647, 2648, 861, 1402, 1403, 2077, 3294, 2705, 2706, 2707, 2708, 2709, 2710, 710, 745,
    746,
];
/// Some plan of this session has needed one.
static EVER: AtomicBool = AtomicBool::new(false);

/// What of a running plan depends on them: the plan's flags.
static RUNNING: AtomicU32 = AtomicU32::new(0);

/// The settings that an expression depends on.
///
/// # Safety
/// `node` is an analyzed expression, or null.
pub unsafe fn needed_by(node: *mut Node) -> u32 {
    if node.is_null() {
        return 0;
    }
    let (mut needed, mut functions, mut coercions) = (0, Vec::new(), Vec::new());
    // SAFETY: by the caller's promise; the walk only notes pointers, each cast follows the tag.
    unsafe {
        template::collect_functions(node, &mut functions);
        nodes::walk(node, |node, _| {
            match (*node).type_ {
                NodeTag::T_SQLValueFunction => {
                    let op = (*node.cast::<pg_sys::SQLValueFunction>()).op;
                    needed |= of_value_function(op);
                }
                NodeTag::T_CoerceViaIO => coercions.push(node.cast::<pg_sys::CoerceViaIO>()),
                _ => {}
            }
            false
        });
        for coerce in coercions {
            needed |= of_type((*coerce).resulttype);
            needed |= of_type(pg_sys::exprType((*coerce).arg.cast()));
        }
    }
    if functions.into_iter().any(is_moved) {
        needed |= ALL;
    }
    needed
}

fn of_value_function(op: pg_sys::SQLValueFunctionOp::Type) -> u32 {
    use pg_sys::SQLValueFunctionOp as Op;
    match op {
        Op::SVFOP_CURRENT_DATE
        | Op::SVFOP_CURRENT_TIME
        | Op::SVFOP_CURRENT_TIME_N
        | Op::SVFOP_LOCALTIME
        | Op::SVFOP_LOCALTIME_N
        | Op::SVFOP_LOCALTIMESTAMP
        | Op::SVFOP_LOCALTIMESTAMP_N => TIME,
        _ => 0,
    }
}

/// May a setting change what a function of PostgreSQL gives?
fn is_moved(function: Oid) -> bool {
    let number = function.to_u32();
    number < super::FIRST_NORMAL_OID
        && !UNMOVED.contains(&number)
        // SAFETY: a syscache look-up.
        && unsafe { pg_sys::func_volatile(function) } as u8 == b's'
}

/// The settings by which values of a type are written and read as text.
fn of_type(typid: Oid) -> u32 {
    // SAFETY: syscache look-ups.
    let base = unsafe {
        let element = pg_sys::get_base_element_type(typid);
        if element == Oid::INVALID {
            pg_sys::getBaseType(typid)
        } else {
            pg_sys::getBaseType(element)
        }
    };
    match base.to_u32() {
        // date, time, timestamp, timestamptz, interval, timetz, abstime
        1082 | 1083 | 1114 | 1184 | 1186 | 1266 => TIME,
        // their ranges and multiranges
        3908 | 3910 | 3912 | 4533 | 4534 | 4535 => TIME,
        700 | 701 => FLOAT,
        // points and the like are made of them
        600..=604 | 628 | 718 => FLOAT,
        17 => BYTES,
        // SAFETY: a syscache look-up.
        _ if unsafe { pg_sys::type_is_rowtype(base) } => ALL,
        _ => 0,
    }
}

/// What a plan needs, by its stamp.
///
/// # Safety
/// `plan` is a plan that runs.
pub unsafe fn of_plan(plan: *const pg_sys::PlannedStmt) -> u32 {
    if !EVER.load(Relaxed) {
        return 0;
    }
    // SAFETY: by the caller's promise.
    unsafe { stamp::read(plan) }.map_or(0, |found| found.flags >> stamp::NEEDS)
}

/// Has the session, by SQL, changed a setting that is needed?
pub fn judge(needed: u32) -> Result<(), Denial> {
    if needed == 0 {
        return Ok(());
    }
    EVER.store(true, Relaxed);
    let changed = SETTINGS
        .iter()
        .filter(|(of, _)| of & needed != 0)
        .find(|(_, name)| {
            // SAFETY: settings of the server, by their names; the texts are read at once.
            unsafe {
                let now = text::from_ptr(pg_sys::GetConfigOption(name.as_ptr(), true, false));
                let reset = text::from_ptr(pg_sys::GetConfigOptionResetString(name.as_ptr()));
                now != reset
            }
        });
    match changed {
        None => Ok(()),
        Some((_, name)) => Err(refused(&name.to_string_lossy())),
    }
}

fn refused(name: &str) -> Denial {
    Denial::new(
        Rule::SettingNotAllowed,
        name,
        format!("a mask or row filter of this statement depends on {name}, which the session has changed"),
    )
    .hint(format!(
        "RESET {name}, and give times in the statement a zone of their own (AT TIME ZONE)."
    ))
}

/// May a setting be changed while a statement runs?
pub fn judge_change(name: &str) -> Result<(), Denial> {
    let running = RUNNING.load(Relaxed);
    let needed = SETTINGS.iter().any(|(of, setting)| {
        of & running != 0 && name.eq_ignore_ascii_case(&setting.to_string_lossy())
    });
    if needed { Err(refused(name)) } else { Ok(()) }
}

/// Such a plan runs until this is dropped.
pub struct Running(u32);

pub fn run(needed: u32) -> Running {
    Running(RUNNING.fetch_or(needed, Relaxed))
}

impl Drop for Running {
    fn drop(&mut self) {
        RUNNING.store(self.0, Relaxed);
    }
}

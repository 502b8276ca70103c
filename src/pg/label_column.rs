//! `SECURITY LABEL FOR agent_policy ON COLUMN`: what a column is, in one word. `mask_label` says
//! what a word hides.

use core::ffi::CStr;

use pgrx::pg_sys::{self, Oid};
use pgrx::{JsonB, PgSqlErrorCode, Spi};
use policy::mask::{Refusal, RefusalKind};

use super::call::sql_function;
use super::call::{arg, c_string, to_rust};
use super::mask_expr::{Written, note_written};
use super::{label, mask_column, names, report, scan, text, users};

/// Longer ones are no words.
const LONGEST: usize = 63;

/// Judges and records a label that is about to be set, or removed.
pub fn check(relid: Oid, attno: i16, label: Option<&CStr>) {
    let column = names::attribute_name(relid, attno).unwrap_or_default();
    let relation = names::relation(relid);
    may_label();
    let Some(policy_role) = scan::policy_relation("policy_role") else {
        report::error(
            PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            "the extension agent_policy is not installed in this database",
            "",
            "Run CREATE EXTENSION agent_policy first.",
        )
    };
    let kind = names::relation_kind(relid);
    if relid.to_u32() < super::FIRST_NORMAL_OID
        || !kind.stores_rows()
        || Some(names::relation_schema(relid)) == names::own_schema()
    {
        report::error(
            PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE,
            &format!("{relation} has no columns that could be masked"),
            "",
            "Label columns of tables, foreign tables and materialized views; through a view its base tables' labels apply.",
        );
    }
    let label = label.map(|label| text::from_server(label.to_bytes()));
    if let Some(label) = &label {
        if label.trim().is_empty() || label.len() > LONGEST || label.chars().any(char::is_control) {
            report::error(
                PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
                &format!("\"{label}\" is not a label of a column"),
                "",
                "Use a word of at most 63 bytes, such as email; agent_policy.mask_label() says what it hides.",
            );
        }
        // With the rights of whoever labels: it owns the relation, and so chose the column's type, or
        // is a superuser.
        let _caller = users::restricted();
        for (mask, options) in masks_of(label) {
            mask_column::labelled(relid, &column, &mask, &options);
        }
    }
    // SAFETY: messages that go out when the transaction commits, for relations that exist.
    unsafe {
        pg_sys::CacheInvalidateRelcacheByRelid(policy_role);
        pg_sys::CacheInvalidateRelcacheByRelid(relid);
    }
    record(&serde_json::json!({"relation": relation, "column_name": column, "label": label}));
}

fn may_label() {
    // SAFETY: catalog look-ups inside a transaction.
    let may = unsafe {
        let admin = pg_sys::get_role_oid(c"agent_policy_admin".as_ptr(), true);
        pg_sys::superuser()
            || (admin != Oid::INVALID && pg_sys::is_member_of_role(pg_sys::GetUserId(), admin))
    };
    if !may {
        report::error(
            PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            "only superusers and members of agent_policy_admin may label columns for agent_policy",
            "",
            "Ask the database administrator.",
        );
    }
}

/// The masks that a label carries, with their options.
fn masks_of(label: &str) -> Vec<(String, String)> {
    let table = scan::table("policy_label");
    let rows = table.iter().flat_map(scan::Table::rows);
    rows.filter(|row| row.text("label") == Some(label))
        .filter_map(|row| {
            let mask = row.text("mask").filter(|mask| *mask != "none")?;
            Some((mask.to_owned(), row.text("options")?.to_owned()))
        })
        .collect()
}

/// Every change of the policy is written to its history.
fn record(arguments: &serde_json::Value) {
    let _owner = users::become_owner();
    let recorded = Spi::run_with_args(
        "SELECT agent_policy._record('SECURITY LABEL', $1)",
        &[JsonB(arguments.clone()).into()],
    );
    if let Err(error) = recorded {
        report::error(
            PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
            &format!("the change cannot be recorded: {error}"),
            "",
            "The table agent_policy.policy_history must be there.",
        );
    }
}

sql_function! {
    /// _check_label(label text, mask text, options text): does the mask fit every column that has
    /// the label, and is it one that a label can carry?
    fn check_label / pg_finfo_check_label(fcinfo) {
        let label = to_rust(c_string(arg(fcinfo, 0)));
        let mask = to_rust(c_string(arg(fcinfo, 1)));
        let options = to_rust(c_string(arg(fcinfo, 2)));
        let parsed: serde_json::Value = serde_json::from_str(&options).unwrap_or_default();
        let checked = if mask == "expression" {
            Err(Refusal {
                kind: RefusalKind::Option,
                message: "a label cannot carry the mask \"expression\"".into(),
                hint: "An expression names columns of one table: set it with agent_policy.mask_column().".into(),
            })
        } else if let Some(options) = parsed.as_object() {
            policy::mask::validate(&mask, options)
        } else {
            Err(mask_column::no_object())
        };
        if let Err(why) = checked {
            mask_column::raise(why);
        }
        if mask != "none" {
            let _caller = users::restricted();
            for (relid, attno, of) in label::of_columns() {
                if of == label && let Some(column) = names::attribute_name(relid, attno) {
                    mask_column::labelled(relid, &column, &mask, &options);
                }
            }
        }
        note_written(Written {
            relid: 0,
            name: Some(label),
            mask: Some(mask),
            text: Some(options),
        });
        pg_sys::Datum::from(0)
    }
}

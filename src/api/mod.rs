//! The SQL functions, by chapter of the interface.

mod check;
pub mod identity;
mod preview;
#[cfg(any(test, feature = "pg_test"))]
mod tests;

use policy::builtins::Disposition;

/// Called by `_PG_init` while shared libraries are preloaded.
pub fn init() {
    identity::init();
}

/// What a confined session may do with a function of this extension.
pub fn disposition(name: Option<String>) -> Disposition {
    match name.as_deref() {
        Some("user_email" | "claim" | "identity" | "assert_user") => Disposition::Allow,
        // Masks and substitutes are put in by the rewriting; text that names them is refused,
        // or they would serve to guess what they hide.
        Some("set_config" | "readable_sequence") => Disposition::Internal,
        Some(name) if CATALOG_FUNCTIONS.contains(&name) => Disposition::Internal,
        Some(name) if name.starts_with("mask_") || name.starts_with("bounded_") => {
            Disposition::Internal
        }
        _ => Disposition::Deny,
    }
}

/// What the filters of system catalogs ask, and what stands around arguments of built-in functions.
const CATALOG_FUNCTIONS: &[&str] = &[
    "bound_shown",
    "checked_name",
    "checked_role",
    "column_listed",
    "column_readable",
    "counts_shown",
    "default_listed",
    "expression_shown",
    "labels_listed",
    "listed",
    "name_or_null",
    "partition_key_shown",
    "setting_shown",
    "shown",
    "shown_acl",
    "shown_expression",
    "sizes_shown",
    "view_shown",
];

/// Does the function only say who asks? A statement of nothing else needs no identity yet.
pub fn says_who_asks(function: pgrx::pg_sys::Oid) -> bool {
    crate::pg::names::in_own_schema(function)
        && disposition(crate::pg::names::function_name(function).map(|(_, name)| name))
            == Disposition::Allow
}

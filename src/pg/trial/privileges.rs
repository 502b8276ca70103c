//! The server's own privileges, which stand below any policy.

use pgrx::pg_sys::{self, AclMode, AclResult, Oid};

use crate::denial::Denial;
use crate::pg::{compat::Permissions, nodes, users};
use crate::{plan, trial};

/// What a statement asks for on a relation, as the executor checks it.
pub struct Asked {
    pub relid: Oid,
    /// A view's owner, or whoever runs the statement.
    pub user: Oid,
    pub required: AclMode,
    pub selected: nodes::Columns,
    pub inserted: nodes::Columns,
    pub updated: nodes::Columns,
}

const NAMES: [(u32, &str); 7] = [
    (pg_sys::ACL_SELECT, "SELECT"),
    (pg_sys::ACL_INSERT, "INSERT"),
    (pg_sys::ACL_UPDATE, "UPDATE"),
    (pg_sys::ACL_DELETE, "DELETE"),
    (pg_sys::ACL_TRUNCATE, "TRUNCATE"),
    (pg_sys::ACL_REFERENCES, "REFERENCES"),
    (pg_sys::ACL_TRIGGER, "TRIGGER"),
];

impl Asked {
    pub fn new(relid: Oid, user: Oid, required: u32) -> Self {
        Self {
            relid,
            user,
            required: required.into(),
            selected: nodes::Columns::new(),
            inserted: nodes::Columns::new(),
            updated: nodes::Columns::new(),
        }
    }

    /// # Safety
    /// The permissions are those of a query or plan that is alive.
    pub unsafe fn of(permissions: Permissions, role: Oid) -> Self {
        let owner = Some(permissions.check_as).filter(|owner| *owner != Oid::INVALID);
        // SAFETY: by the caller's promise.
        unsafe {
            Self {
                relid: permissions.relid,
                user: owner.unwrap_or(role),
                required: permissions.required,
                selected: nodes::attributes(permissions.selected),
                inserted: nodes::attributes(permissions.inserted),
                updated: nodes::attributes(permissions.updated),
            }
        }
    }

    /// False with a finding that names the privileges that are missing.
    pub fn is_granted(&self) -> bool {
        let judged = self.judge();
        let granted = judged.is_ok();
        judged.unwrap_or_else(trial::note);
        granted
    }

    fn judge(&self) -> Result<(), Denial> {
        let every = pg_sys::AclMaskHow::ACLMASK_ALL;
        // SAFETY: a catalog look-up of a relation that the statement names.
        let held = unsafe { pg_sys::pg_class_aclmask(self.relid, self.user, self.required, every) };
        let mut missing = Vec::new();
        for (bit, name) in NAMES {
            if self.required & !held & AclMode::from(bit) == 0 {
                continue;
            }
            let columns = match bit {
                pg_sys::ACL_SELECT => &self.selected,
                pg_sys::ACL_INSERT => &self.inserted,
                pg_sys::ACL_UPDATE => &self.updated,
                _ => {
                    missing.push((name, Vec::new()));
                    continue;
                }
            };
            if let Some(columns) = self.columns_without(bit.into(), columns) {
                missing.push((name, columns));
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        Err(plan::lacks_privilege(
            self.relid,
            &users::name(self.user),
            &missing,
        ))
    }

    /// Those of the columns on which it is not granted either; no name stands for all.
    fn columns_without(&self, bit: AclMode, columns: &[i16]) -> Option<Vec<i16>> {
        let on_any = pg_sys::AclMaskHow::ACLMASK_ANY;
        let on_all = pg_sys::AclMaskHow::ACLMASK_ALL;
        // SAFETY: catalog look-ups.
        let granted = |how| unsafe {
            pg_sys::pg_attribute_aclcheck_all(self.relid, self.user, bit, how)
                == AclResult::ACLCHECK_OK
        };
        // SAFETY: as above.
        let has = |attno: i16| unsafe {
            pg_sys::pg_attribute_aclcheck(self.relid, attno, self.user, bit)
                == AclResult::ACLCHECK_OK
        };
        if columns.is_empty() {
            // Without any column one will do.
            return (!granted(on_any)).then(Vec::new);
        }
        let without: Vec<i16> = columns
            .iter()
            .copied()
            .filter(|attno| {
                if *attno == 0 {
                    !granted(on_all)
                } else {
                    !has(*attno)
                }
            })
            .collect();
        if without.is_empty() {
            return None;
        }
        // A table of which nothing is granted, or whose whole row is asked for, is named as such.
        let as_a_whole = !granted(on_any) || without.iter().any(|attno| *attno <= 0);
        Some(if as_a_whole { Vec::new() } else { without })
    }
}

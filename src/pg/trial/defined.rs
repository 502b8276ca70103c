//! Data definition that is tried: what it names, what it would make or change and where, as far as the server looks at
//! that before it does anything.

use pgrx::pg_sys::{self, CmdType, Node, NodeTag, Oid, RangeVar, RawStmt};

use super::asked::{Refusal, asked, relation, says};
use super::privileges::Asked;
use super::{For, PARALLEL_OK, Planned, Trial, inside};
use crate::enforce;
use crate::pg::{definition, names, nodes, raw, text, utility};

impl Trial<'_> {
    /// A definition that has passed what is judged by its form.
    pub(super) unsafe fn define(&self, raw: *mut RawStmt, node: *mut Node) -> Result<(), Refusal> {
        // SAFETY: a command; each cast follows the node's tag.
        unsafe {
            match (*node).type_ {
                NodeTag::T_ViewStmt => self.view(raw, node.cast()),
                NodeTag::T_CreateStmt => self.table(node.cast()),
                NodeTag::T_CreateSeqStmt => {
                    let create = node.cast::<pg_sys::CreateSeqStmt>();
                    if let Some(schema) =
                        self.place((*create).sequence, (*create).if_not_exists, false)?
                    {
                        self.judge_schema(schema);
                    }
                    Ok(())
                }
                NodeTag::T_IndexStmt => self.index(node.cast()),
                NodeTag::T_TruncateStmt => {
                    let truncate = node.cast::<pg_sys::TruncateStmt>();
                    for name in nodes::pointers::<RangeVar>((*truncate).relations) {
                        self.truncated(name)?;
                    }
                    Ok(())
                }
                NodeTag::T_DropStmt => {
                    let drop = node.cast::<pg_sys::DropStmt>();
                    for name in nodes::pointers::<pg_sys::List>((*drop).objects) {
                        self.dropped(drop, name)?;
                    }
                    Ok(())
                }
                NodeTag::T_AlterTableStmt => {
                    let alter = node.cast::<pg_sys::AlterTableStmt>();
                    let kind = (*alter).objtype;
                    self.altered((*alter).relation, (*alter).missing_ok, kind)?;
                    Ok(())
                }
                NodeTag::T_RenameStmt => self.renamed(node.cast()),
                NodeTag::T_AlterSeqStmt => {
                    let alter = node.cast::<pg_sys::AlterSeqStmt>();
                    let kind = pg_sys::ObjectType::OBJECT_SEQUENCE;
                    self.altered((*alter).sequence, (*alter).missing_ok, kind)?;
                    Ok(())
                }
                _ => Ok(()),
            }
        }
    }

    fn judge_schema(&self, schema: Oid) {
        enforce(
            self.policy,
            definition::judge_schema(self.policy, Some(schema)),
        );
    }

    /// The schema that a new relation would be in; `None` where none is made, or it was refused.
    unsafe fn place(
        &self,
        name: *const RangeVar,
        if_not_exists: bool,
        replace: bool,
    ) -> Result<Option<Oid>, Refusal> {
        // SAFETY: a name of the statement's tree; the server may note in its copy that it is temporary.
        unsafe {
            let name: *mut RangeVar = nodes::copy(name);
            let temporary = (*name).relpersistence as u8 == pg_sys::RELPERSISTENCE_TEMP
                || utility::string((*name).schemaname) == "pg_temp";
            if temporary {
                // With the first one the server makes a schema.
                enforce::<()>(self.policy, Err(definition::no_schema()));
                return Ok(None);
            }
            let lock = if replace {
                // For this the server asks who owns what is there.
                pg_sys::AccessShareLock as i32
            } else {
                pg_sys::NoLock as i32
            };
            let mut existing = Oid::INVALID;
            let found = &raw mut existing;
            let schema = asked(|| raw::RangeVarGetAndCheckCreationNamespace(name, lock, found))?;
            if existing == Oid::INVALID {
                return Ok(Some(schema));
            }
            let relname = utility::string((*name).relname);
            if replace {
                if names::relation_kind(existing).0 != b'v' {
                    return Err(says(format!("\"{relname}\" is not a view")));
                }
                Ok(Some(schema))
            } else if if_not_exists {
                Ok(None)
            } else {
                Err(says(format!("relation \"{relname}\" already exists")))
            }
        }
    }

    unsafe fn table(&self, create: *const pg_sys::CreateStmt) -> Result<(), Refusal> {
        // SAFETY: a CREATE TABLE; the server works on a copy.
        unsafe {
            let Some(schema) = self.place((*create).relation, (*create).if_not_exists, false)?
            else {
                return Ok(());
            };
            let copy: *mut pg_sys::CreateStmt = nodes::copy(create);
            let source = self.source.as_ptr();
            asked(|| raw::transformCreateStmt(copy, source))?;
            for parent in nodes::pointers::<RangeVar>((*create).inhRelations) {
                owned(parent, false)?;
            }
            self.judge_schema(schema);
        }
        Ok(())
    }

    unsafe fn view(&self, raw: *mut RawStmt, view: *const pg_sys::ViewStmt) -> Result<(), Refusal> {
        // SAFETY: a CREATE VIEW; analysis works on a copy.
        unsafe {
            let query = self.analyze(inside(raw, nodes::copy((*view).query)), &[])?;
            if crate::trial::refused() {
                return Ok(());
            }
            if (*query).commandType == CmdType::CMD_UTILITY {
                return Err(says("views must not contain SELECT INTO"));
            }
            if (*query).hasModifyingCTE {
                return Err(says(
                    "views must not contain data-modifying statements in WITH",
                ));
            }
            let columns = nodes::pointers::<pg_sys::TargetEntry>((*query).targetList)
                .filter(|target| !(**target).resjunk)
                .count();
            if nodes::pointers::<Node>((*view).aliases).count() > columns {
                return Err(says("CREATE VIEW specifies more column names than columns"));
            }
            if let Some(schema) = self.place((*view).view, false, (*view).replace)? {
                self.judge_schema(schema);
            }
        }
        Ok(())
    }

    /// CREATE TABLE AS, SELECT INTO and CREATE MATERIALIZED VIEW.
    pub(super) unsafe fn make_table(
        &self,
        create: *mut pg_sys::CreateTableAsStmt,
    ) -> Result<Planned, Refusal> {
        // SAFETY: an analyzed command.
        unsafe {
            if crate::trial::refused() || !self.is_to_be_made(create)? {
                return Ok(Planned::default());
            }
            let planned = if (*(*create).into).skipData {
                // Then the query is not looked at any further.
                Planned::default()
            } else {
                self.carried(create.cast(), PARALLEL_OK, For::Running)?
            };
            if !crate::trial::refused() {
                self.made(create)?;
            }
            Ok(planned)
        }
    }

    /// Before anything else the server looks whether the table is there.
    pub(super) unsafe fn is_to_be_made(
        &self,
        create: *const pg_sys::CreateTableAsStmt,
    ) -> Result<bool, Refusal> {
        // SAFETY: an analyzed command; a look-up by name.
        unsafe {
            let name = (*(*create).into).rel;
            if (*name).relpersistence as u8 == pg_sys::RELPERSISTENCE_TEMP {
                return Ok(true);
            }
            let schema = asked(|| raw::RangeVarGetCreationNamespace(name))?;
            if pg_sys::get_relname_relid((*name).relname, schema) == Oid::INVALID {
                return Ok(true);
            }
            if (*create).if_not_exists {
                return Ok(false);
            }
            let relname = utility::string((*name).relname);
            Err(says(format!("relation \"{relname}\" already exists")))
        }
    }

    /// The table that a query fills, which is made as the query begins to run.
    pub(super) unsafe fn made(
        &self,
        create: *const pg_sys::CreateTableAsStmt,
    ) -> Result<(), Refusal> {
        // SAFETY: an analyzed command.
        unsafe {
            let name = (*(*create).into).rel;
            if let Some(schema) = self.place(name, (*create).if_not_exists, false)? {
                self.judge_schema(schema);
            }
        }
        Ok(())
    }

    unsafe fn index(&self, index: *const pg_sys::IndexStmt) -> Result<(), Refusal> {
        // SAFETY: a CREATE INDEX; the server works on a copy.
        unsafe {
            let relid = owned((*index).relation, false)?;
            for element in nodes::pointers::<pg_sys::IndexElem>((*index).indexParams) {
                let column = utility::string((*element).name);
                if !column.is_empty() && names::attribute(relid, &column).is_none() {
                    return Err(says(format!("column \"{column}\" does not exist")));
                }
            }
            let copy: *mut pg_sys::IndexStmt = nodes::copy(index);
            let source = self.source.as_ptr();
            asked(|| {
                raw::LockRelationOid(relid, pg_sys::AccessShareLock as i32);
                raw::transformIndexStmt(relid, copy, source)
            })?;
            self.judge_schema(names::relation_schema(relid));
        }
        Ok(())
    }

    unsafe fn truncated(&self, name: *const RangeVar) -> Result<(), Refusal> {
        // SAFETY: a name of the statement's tree.
        unsafe {
            let relid = relation(name, pg_sys::NoLock, false, None)?;
            if !names::relation_kind(relid).holds_rows() {
                let relname = utility::string((*name).relname);
                return Err(says(format!("\"{relname}\" is not a table")));
            }
            Asked::new(relid, self.role, pg_sys::ACL_TRUNCATE).is_granted();
            self.judge_schema(names::relation_schema(relid));
        }
        Ok(())
    }

    unsafe fn dropped(
        &self,
        drop: *const pg_sys::DropStmt,
        name: *mut pg_sys::List,
    ) -> Result<(), Refusal> {
        // SAFETY: a DROP of relations; its list is of lists of names.
        unsafe {
            let name = pg_sys::makeRangeVarFromNameList(name);
            let relname = utility::string((*name).relname);
            let found = relation(name, pg_sys::NoLock, true, None)?;
            let kind = (*drop).removeType;
            if found == Oid::INVALID {
                return if (*drop).missing_ok {
                    Ok(())
                } else {
                    Err(says(format!("{} \"{relname}\" does not exist", word(kind))))
                };
            }
            self.is_kind(found, kind, &relname)?;
            // Who owns the schema may drop what is in it.
            let schema = names::relation_schema(found);
            if !crate::pg::compat::owns_schema(schema, self.role) {
                owned(name, false)?;
            }
            self.judge_schema(schema);
        }
        Ok(())
    }

    /// The relation that is altered, if it is there.
    unsafe fn altered(
        &self,
        name: *const RangeVar,
        missing_ok: bool,
        kind: pg_sys::ObjectType::Type,
    ) -> Result<Option<Oid>, Refusal> {
        // SAFETY: a name of the statement's tree.
        unsafe {
            let relid = owned(name, missing_ok)?;
            if relid == Oid::INVALID {
                return Ok(None);
            }
            // ALTER TABLE takes anything.
            if kind != pg_sys::ObjectType::OBJECT_TABLE {
                self.is_kind(relid, kind, &utility::string((*name).relname))?;
            }
            self.judge_schema(names::relation_schema(relid));
            Ok(Some(relid))
        }
    }

    unsafe fn renamed(&self, rename: *const pg_sys::RenameStmt) -> Result<(), Refusal> {
        // SAFETY: an ALTER … RENAME of a relation or its column.
        unsafe {
            let of_column = (*rename).renameType == pg_sys::ObjectType::OBJECT_COLUMN;
            let kind = if of_column {
                pg_sys::ObjectType::OBJECT_TABLE
            } else {
                (*rename).renameType
            };
            let Some(relid) = self.altered((*rename).relation, (*rename).missing_ok, kind)? else {
                return Ok(());
            };
            let new = utility::string((*rename).newname);
            if of_column {
                let old = utility::string((*rename).subname);
                if names::attribute(relid, &old).is_none() {
                    return Err(says(format!("column \"{old}\" does not exist")));
                }
                if names::attribute(relid, &new).is_some() {
                    let table = names::relation_parts(relid).unwrap_or_default().1;
                    return Err(says(format!(
                        "column \"{new}\" of relation \"{table}\" already exists"
                    )));
                }
            } else {
                let name = text::to_c(&new);
                let schema = names::relation_schema(relid);
                if pg_sys::get_relname_relid(name.as_ptr(), schema) != Oid::INVALID {
                    return Err(says(format!("relation \"{new}\" already exists")));
                }
            }
        }
        Ok(())
    }

    fn is_kind(
        &self,
        relid: Oid,
        kind: pg_sys::ObjectType::Type,
        name: &str,
    ) -> Result<(), Refusal> {
        use pg_sys::ObjectType as T;
        let kinds: &[u8] = match kind {
            T::OBJECT_TABLE => b"rp",
            T::OBJECT_VIEW => b"v",
            T::OBJECT_INDEX => b"iI",
            T::OBJECT_SEQUENCE => b"S",
            T::OBJECT_MATVIEW => b"m",
            _ => return Ok(()),
        };
        if kinds.contains(&names::relation_kind(relid).0) {
            return Ok(());
        }
        let article = if kind == T::OBJECT_INDEX { "an" } else { "a" };
        Err(says(format!("\"{name}\" is not {article} {}", word(kind))))
    }
}

/// What the server calls it in messages.
fn word(kind: pg_sys::ObjectType::Type) -> &'static str {
    use pg_sys::ObjectType as T;
    match kind {
        T::OBJECT_VIEW => "view",
        T::OBJECT_INDEX => "index",
        T::OBJECT_SEQUENCE => "sequence",
        T::OBJECT_MATVIEW => "materialized view",
        _ => "table",
    }
}

/// The relation of that name, which has to be the role's.
unsafe fn owned(name: *const RangeVar, missing_ok: bool) -> Result<Oid, Refusal> {
    let may = Some(raw::RangeVarCallbackOwnsRelation as _);
    // SAFETY: a name of the statement's tree; the callback is the server's, for the current user.
    unsafe { relation(name, pg_sys::NoLock, missing_ok, may) }
}

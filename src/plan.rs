//! What a statement touches, judged: relations, columns, functions, reading and writing.

use pgrx::pg_sys::Oid;
use policy::builtins::guards::class;
use policy::model::{Access, Capability};
use policy::rule::Rule;

use crate::catalog::{Policy, Relation};
use crate::denial::Denial;
use crate::pg::{
    self, facts, names,
    touched::{Command, Touched, Use},
};
use crate::trial;

/// Judges a statement as its text names things, before views are expanded.
pub fn judge(policy: &Policy, touched: &Touched) -> Result<(), Denial> {
    found(judge_writing(policy, touched.command))?;
    if let Some(inner) = touched.inner_write {
        found(judge_writing(policy, inner))?;
    }
    if touched.row_marks {
        found(judge_row_marks(policy))?;
    }
    for used in &touched.relations {
        found(judge_use(policy, used))?;
    }
    for relid in &touched.mentioned {
        found(judge_mention(policy, *relid))?;
    }
    for (class, object) in &touched.named {
        found(judge_named(policy, *class, *object))?;
    }
    if let Some(typid) = touched.unseen_names {
        // As what a constant names would be refused if it were not there.
        found(Err(if pg::objects::prints_roles(typid) {
            unnamed(policy, "role")
        } else if pg::objects::prints_schemas(typid) {
            unnamed(policy, "schema")
        } else {
            names_made(typid)
        }))?;
    }
    for function in &touched.functions {
        // Exchanged for a variant that judges the setting when it runs.
        if !pg::rewrite::is_substituted(*function) {
            found(judge_function(policy, *function, true))?;
        }
    }
    Ok(())
}

/// The first finding ends a statement; while a policy is only tried on, all of them are wanted.
fn found(judged: Result<(), Denial>) -> Result<(), Denial> {
    match judged {
        Err(denial) if trial::running() => {
            trial::note(denial);
            Ok(())
        }
        judged => judged,
    }
}

/// May a role of this capability run such a command at all?
pub fn judge_writing(policy: &Policy, command: Command) -> Result<(), Denial> {
    match command {
        Command::Select | Command::Utility => Ok(()),
        Command::Other => Err(Denial::new(
            Rule::StatementNotAllowed,
            "unknown command",
            "this kind of statement is not allowed",
        )
        .hint("Use SELECT.")),
        command if policy.capability == Capability::ReadOnly => Err(read_only(command.word())),
        _ => Ok(()),
    }
}

/// The denial of every attempt to change something by a role that may only read.
pub fn read_only(what: &str) -> Denial {
    Denial::new(
        Rule::ReadOnly,
        what,
        format!("{what} is not allowed: this role may only read"),
    )
    .hint("Use SELECT to read; this role cannot change data.")
}

/// FOR UPDATE and its kind lock rows, which is a write.
pub fn judge_row_marks(policy: &Policy) -> Result<(), Denial> {
    if policy.capability > Capability::ReadOnly {
        return Ok(());
    }
    Err(read_only("SELECT FOR UPDATE/SHARE").hint("Leave the FOR UPDATE/SHARE clause out."))
}

/// One relation of a query, as the text names it or as the executor is about to open it.
pub fn judge_use(policy: &Policy, used: &Use) -> Result<(), Denial> {
    let access = if used.named {
        policy.access(used.relid)
    } else {
        policy.access_behind_view(used.relid)
    };
    let kind = policy.kind(used.relid);
    let readable =
        kind.is_readable() || (kind.is_sequence() && policy.sequence_readable(used.relid));
    if access == Access::Deny || (used.named && !readable) {
        return Err(relation_denied(policy, used.relid));
    }
    if used.writes() {
        if policy.capability == Capability::ReadOnly {
            return Err(read_only("changing data"));
        }
        if access < Access::Write {
            let name = names::relation(used.relid);
            return Err(Denial::new(
                Rule::RelationNotAllowed,
                name.as_str(),
                format!("{name} may be read but not changed"),
            )
            .hint(format!("Read it with SELECT … FROM {name}.")));
        }
    }
    judge_columns(policy, used)
}

fn judge_columns(policy: &Policy, used: &Use) -> Result<(), Denial> {
    let relation = policy.relation(used.relid);
    if let Some(why) = &relation.broken {
        let name = names::relation(used.relid);
        return Err(Denial::new(
            Rule::PolicyUnavailable,
            name.as_str(),
            format!("{name} cannot be read: {why}"),
        )
        .hint(other_relations(policy, used.relid)));
    }
    if !relation.denied.is_empty() {
        let hits = |columns: &[i16]| {
            columns
                .iter()
                .find(|c| **c == 0 || relation.denied.contains(c))
                .copied()
        };
        if let Some(attno) = hits(&used.selected)
            .or_else(|| hits(&used.inserted))
            .or_else(|| hits(&used.updated))
        {
            let denied = column_denied(used.relid, attno, &relation.denied);
            return Err(if used.writes() || used.target {
                denied.hint(nameable(
                    used.relid,
                    &hidden_columns(&relation),
                    "The statement may name",
                ))
            } else {
                denied
            });
        }
    }
    // Which partition a row is in, and which rows lie at the same place in two of them.
    let part = |attno: &&i16| matches!(**attno, names::TABLE_OID | names::CTID);
    if let Some(attno) = used.selected.iter().find(part)
        && policy.parts_tell(used.relid)
    {
        return Err(no_system_column(
            &relation,
            *attno,
            "partitions by a hidden column",
        ));
    }
    // Where a row lies tells how wide those beside it are, and RETURNING where there was room for it.
    let place = |attno: &&i16| **attno < 0 && **attno != names::TABLE_OID;
    if let Some(attno) = used.selected.iter().find(place)
        && relation.hides()
        && used.relid.to_u32() >= crate::pg::FIRST_NORMAL_OID
    {
        return Err(no_place(&relation, *attno));
    }
    if used.writes() {
        judge_references(policy, used)?;
        judge_moves(policy, used)?;
        if let Some(minimum) = relation.group_size {
            // Rows of one's own would make groups of others' large enough.
            let name = names::relation(used.relid);
            return Err(Denial::new(
                Rule::GroupSize,
                name.as_str(),
                format!("{name} cannot be changed: its rows are shown in groups of {minimum} and more only"),
            )
            .with("minimum", minimum)
            .hint(format!("Read it with aggregates: SELECT …, count(*) FROM {name} GROUP BY …")));
        }
    }
    if used.writes() || used.target {
        for columns in [&used.read, &used.inserted, &used.updated] {
            judge_target(&relation, columns)?;
        }
    }
    Ok(())
}

/// Rows that nobody compares with the row filter before they are written.
pub fn judge_unchecked(policy: &Policy, relid: Oid) -> Result<(), Denial> {
    if policy.monitors() || policy.relation(relid).filters.is_empty() {
        return Ok(());
    }
    let name = names::relation(relid);
    Err(Denial::new(
        Rule::StatementNotAllowed,
        name.as_str(),
        format!("{name} has a row filter: COPY FROM is not allowed on it"),
    )
    .hint("Use INSERT."))
}

/// A foreign key to a hidden column would tell which values are there, and one to a relation that is read in groups
/// which single rows are. (That of a relation with a row filter, or one that is not allowed, has to work.)
fn judge_references(policy: &Policy, used: &Use) -> Result<(), Denial> {
    if !policy.kind(used.relid).holds_rows() {
        return Ok(());
    }
    for key in names::references(used.relid) {
        let written = key
            .columns
            .iter()
            .find(|c| used.inserted.contains(c) || used.updated.contains(c));
        let Some(attno) = written else { continue };
        let to = policy.relation(key.to);
        let hides = to.group_size.is_some() || key.to_columns.iter().any(|c| to.hides_column(*c));
        if hides {
            return Err(tells_by_writing(
                used.relid,
                *attno,
                "refers to values that this role is not shown: a statement that writes it would tell which of them are there",
            ));
        }
    }
    Ok(())
}

/// A row moves to the partition that its key says, or there is none: with a hidden column in the keys, that would tell
/// of it.
fn judge_moves(policy: &Policy, used: &Use) -> Result<(), Denial> {
    if used.updated.is_empty() || !policy.parts_tell(used.relid) {
        return Ok(());
    }
    let keys = policy.partition_columns(used.relid);
    match used.updated.iter().find(|attno| keys.contains(attno)) {
        Some(attno) => Err(tells_by_writing(
            used.relid,
            *attno,
            "says along with a hidden column which partition a row is in: a statement that changes it would tell of that",
        )),
        None => Ok(()),
    }
}

fn tells_by_writing(relid: Oid, attno: i16, why: &str) -> Denial {
    let table = names::relation(relid);
    let column = names::attribute_name(relid, attno).unwrap_or_default();
    let column = format!("{table}.{}", names::quote(&column));
    Denial::new(
        Rule::MaskedColumnWrite,
        column.as_str(),
        format!("{column} {why}"),
    )
    .hint("Leave that column out of the statement.")
}

/// A constant of type regclass or the like. By its number nobody learns whether the object exists.
pub fn judge_named(policy: &Policy, class: u32, object: Oid) -> Result<(), Denial> {
    if policy.monitors() || object == Oid::INVALID || policy.listed(class, object) {
        return Ok(());
    }
    let number = object.to_u32().to_string();
    Err(match class {
        class::RELATION => {
            let name = names::relation_parts(object)
                .filter(|(_, name)| pg::source::current(|text| text_has(text, name)))
                .map_or(number, |_| names::relation(object));
            relation_name_denied(policy, &name)
        }
        class::PROCEDURE => {
            let name = names::function_name(object)
                .filter(|(_, name)| pg::source::current(|text| text_has(text, name)))
                .map_or(number, |_| names::signature(object));
            function_name_denied(&name)
        }
        class::NAMESPACE => unnamed(policy, "schema"),
        class::AUTHID => unnamed(policy, "role"),
        _ => name_denied(policy, "object", &number),
    })
}

/// The denial of a schema or role by a value of type regnamespace or regrole, be it hidden or not there.
/// Of several in one statement the server names the first that is not there, so that a name or number
/// here would tell which of them are.
pub fn unnamed(policy: &Policy, kind: &str) -> Denial {
    Denial::new(
        Rule::RelationNotAllowed,
        kind,
        format!("a {kind} that the statement names is not allowed"),
    )
    .hint(relations_instead(policy, ""))
}

fn text_has(text: &[u8], name: &str) -> bool {
    let text = pg::text::from_server(text).to_lowercase();
    text.contains(&name.to_lowercase())
}

/// A value whose text would be names of objects, in a form that no check goes into.
fn names_made(typid: Oid) -> Denial {
    let name = pg::objects::type_name(typid);
    Denial::new(
        Rule::StatementNotAllowed,
        name.as_str(),
        format!("values of type {name} cannot be made here: they hold names of objects"),
    )
    .hint("Use oid or text in place of regclass, regproc, regtype and the like.")
}

/// Columns of the relation that a statement changes, which stays what it is: a masked one may be
/// neither read nor written.
pub fn judge_target(relation: &Relation, columns: &[i16]) -> Result<(), Denial> {
    let touched = columns
        .iter()
        .find(|c| relation.masks.contains_key(c) || (**c == 0 && !relation.masks.is_empty()));
    match touched {
        Some(attno) => Err(masked_write(
            relation.relid,
            *attno,
            &hidden_columns(relation),
        )),
        None => Ok(()),
    }
}

/// A relation that is mentioned without being read: its row type.
fn judge_mention(policy: &Policy, relid: Oid) -> Result<(), Denial> {
    if names::relation_parts(relid).is_none() {
        return Ok(());
    }
    let kind = names::relation_kind(relid);
    // Indexes, sequences and the like hold no rows of their own; their table's schema decides.
    let access = policy.access(relid);
    if access == Access::Deny
        && (kind.is_readable() || !names::is_system_schema(names::relation_schema(relid)))
    {
        return Err(relation_denied(policy, relid));
    }
    Ok(())
}

/// A function that the text names (`direct`) or that the server is about to run.
pub fn judge_function(policy: &Policy, function: Oid, direct: bool) -> Result<(), Denial> {
    if policy.function_allowed(function, direct) {
        return Ok(());
    }
    let name = names::signature(function);
    Err(Denial::new(
        Rule::FunctionNotAllowed,
        name.as_str(),
        format!("function {name} is not allowed"),
    )
    .hint(function_hint(&name)))
}

fn function_hint(name: &str) -> String {
    let what = match name.split('(').next().unwrap_or_default() {
        "pg_catalog.pg_sleep" | "pg_catalog.pg_sleep_for" | "pg_catalog.pg_sleep_until" => {
            "Leave the pause out."
        }
        "pg_catalog.nextval" | "pg_catalog.setval" => "Sequences cannot be advanced by this role.",
        _ => "",
    };
    format!(
        "{what}{}Use ordinary SQL functions (text, math, date, json, aggregate and window \
         functions are allowed), or ask the database administrator to call \
         agent_policy.allow_function for it.",
        if what.is_empty() { "" } else { " " }
    )
}

/// The denial of a relation, with the relations that could be asked instead.
pub fn relation_denied(policy: &Policy, relid: Oid) -> Denial {
    relation_name_denied(policy, &names::relation(relid))
}

/// The same for a relation that may or may not exist: nobody can tell which by the answer.
pub fn relation_name_denied(policy: &Policy, name: &str) -> Denial {
    Denial::new(
        Rule::RelationNotAllowed,
        name,
        format!("relation {name} is not allowed"),
    )
    .hint(relations_instead(policy, name))
}

/// The denial of a function that may or may not exist.
pub fn function_name_denied(name: &str) -> Denial {
    Denial::new(
        Rule::FunctionNotAllowed,
        name,
        format!("function {name} is not allowed"),
    )
    .hint(function_hint(name))
}

/// The denial of a name of some other kind, which may or may not exist.
pub fn name_denied(policy: &Policy, kind: &str, name: &str) -> Denial {
    Denial::new(
        Rule::RelationNotAllowed,
        name,
        format!("{kind} {name} is not allowed"),
    )
    .hint(relations_instead(policy, name))
}

/// May a setting be shown, by SHOW or current_setting? Those that natively only superusers read
/// (paths and commands of the server, the extension's own) are not shown, whatever was granted.
pub fn judge_shown_setting(name: &str) -> Result<(), Denial> {
    let hidden = if name.eq_ignore_ascii_case("all") {
        facts::reads_all_settings()
    } else {
        facts::is_setting_for_superusers(name)
    };
    if !hidden {
        return Ok(());
    }
    let denial = Denial::new(
        Rule::SettingNotAllowed,
        name,
        format!("setting {name} is not shown"),
    );
    Err(denial.hint(
        "pg_settings lists the settings that may be shown: SELECT name, setting FROM pg_settings",
    ))
}

fn other_relations(policy: &Policy, relid: Oid) -> String {
    relations_instead(policy, &names::relation(relid))
}

fn relations_instead(policy: &Policy, own: &str) -> String {
    const SHOWN: usize = 12;
    let mut readable = policy.readable();
    readable.retain(|name| *name != own);
    // A namesake in an allowed schema is most likely what was meant.
    let last = own.rsplit('.').next().unwrap_or_default().to_owned();
    if let Some(i) = readable
        .iter()
        .position(|name| name.rsplit('.').next() == Some(&last))
    {
        readable.swap(0, i);
    }
    if readable.is_empty() {
        return "No relation is allowed to this role yet; ask the database administrator to call \
                agent_policy.allow_schema or agent_policy.allow_relation."
            .into();
    }
    let more = if readable.len() > SHOWN { ", …" } else { "" };
    readable.truncate(SHOWN);
    format!("Relations that may be read: {}{more}.", readable.join(", "))
}

/// The columns of a relation that are none of these, by name.
fn columns_but(relid: Oid, not: &[i16]) -> Vec<String> {
    names::columns(relid)
        .into_iter()
        .filter(|(attno, _)| !not.contains(attno))
        .map(|(_, name)| names::quote(&name))
        .collect()
}

/// The columns that have a mask or are denied.
fn hidden_columns(relation: &Relation) -> Vec<i16> {
    let denied = relation.denied.iter();
    relation.masks.keys().chain(denied).copied().collect()
}

/// For a statement that changes a relation: which of its columns it may have.
fn nameable(relid: Oid, not: &[i16], intro: &str) -> String {
    let columns = columns_but(relid, not);
    if columns.is_empty() {
        return format!("No column of {} is left to name.", names::relation(relid));
    }
    format!("{intro}: {}.", columns.join(", "))
}

/// The denial of where a row lies, and who wrote it, in a relation that hides something.
pub fn no_place(relation: &Relation, attno: i16) -> Denial {
    let why = if relation.filters.is_empty() {
        "hidden values"
    } else {
        "row filters"
    };
    no_system_column(relation, attno, why)
}

/// The denial of a column that the server keeps with each row.
pub fn no_system_column(relation: &Relation, attno: i16, why: &str) -> Denial {
    let column = match attno {
        names::TABLE_OID => "tableoid",
        names::CTID => "ctid",
        -2 => "xmin",
        -3 => "cmin",
        -4 => "xmax",
        -5 => "cmax",
        _ => "system column",
    };
    let name = names::relation(relation.relid);
    let columns = columns_but(relation.relid, &relation.denied);
    Denial::new(
        Rule::ColumnDenied,
        format!("{name}.{column}"),
        format!("system column {column} of {name} is not allowed: the relation has {why}"),
    )
    .hint(format!("SELECT {} FROM {name}", columns.join(", ")))
}

fn column_denied(relid: Oid, attno: i16, denied: &[i16]) -> Denial {
    let table = names::relation(relid);
    let allowed = columns_but(relid, denied);
    let (object, message) = match names::attribute_name(relid, attno).filter(|_| attno != 0) {
        Some(column) => {
            let object = format!("{table}.{}", names::quote(&column));
            let message = format!("column {object} is not allowed");
            (object, message)
        }
        None => {
            let message =
                format!("the whole row of {table} is not allowed: some of its columns are denied");
            (table.clone(), message)
        }
    };
    Denial::new(Rule::ColumnDenied, object, message)
        .hint(format!("SELECT {} FROM {table}", allowed.join(", ")))
}

fn masked_write(relid: Oid, attno: i16, hidden: &[i16]) -> Denial {
    let table = names::relation(relid);
    let column = names::attribute_name(relid, attno)
        .filter(|_| attno != 0)
        .map_or_else(
            || table.clone(),
            |c| format!("{table}.{}", names::quote(&c)),
        );
    Denial::new(
        Rule::MaskedColumnWrite,
        column.as_str(),
        format!("{column} is masked: a statement that changes {table} can only return it, and neither read nor write it"),
    )
    .hint(format!(
        "{} RETURNING may have all, and shows masks; else read masked columns in a statement of their own.",
        nameable(relid, hidden, "Name only columns without a mask")
    ))
}

/// The server's own privileges do not reach: a policy takes away, it does not grant. Each with the columns that it is
/// missing on; none for all.
pub fn lacks_privilege(relid: Oid, role: &str, missing: &[(&str, Vec<i16>)]) -> Denial {
    let name = names::relation(relid);
    let privileges: Vec<String> = missing
        .iter()
        .map(|(privilege, columns)| {
            let columns: Vec<String> = columns
                .iter()
                .filter_map(|attno| names::attribute_name(relid, *attno))
                .map(|column| names::quote(&column))
                .collect();
            if columns.is_empty() {
                (*privilege).to_owned()
            } else {
                format!("{privilege} ({})", columns.join(", "))
            }
        })
        .collect();
    let privileges = privileges.join(", ");
    Denial::new(
        Rule::RelationNotAllowed,
        name.as_str(),
        format!("role {role} has no {privileges} privilege on {name}"),
    )
    .hint(format!(
        "GRANT {privileges} ON {name} TO {}; USAGE on its schema is needed too.",
        names::quote(role)
    ))
}

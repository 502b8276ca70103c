//! The ways into a session: which of them a protected role may take.

use policy::rule::Rule;

use crate::denial::Denial;
use crate::pg::label::Labelled;
use crate::pg::users;

/// A connection that was authenticated and has not begun.
pub struct Door<'a> {
    pub user: &'a str,
    /// Empty for physical replication.
    pub database: &'a str,
    pub replication: bool,
}

/// Judges a connection by the labelled roles that its user is or inherits. Gives whether a policy
/// is enforced (and not just watched) in the database.
pub fn judge(
    door: &Door<'_>,
    labelled: &[Labelled],
    databases: impl FnOnce() -> Vec<(u32, String)>,
) -> Result<bool, Denial> {
    let Door { user, database, .. } = door;
    let mut enforced = false;
    let known = databases();
    let oid = known
        .iter()
        .find(|(_, name)| name == database)
        .map(|(oid, _)| *oid);
    for labelled in labelled {
        let names = labelled.names();
        if door.replication {
            return Err(refused(
                "replication",
                format!(
                    "{} may not open a replication connection",
                    who(user, labelled)
                ),
            )
            .hint(format!(
                "Connect without the parameter \"replication\", to {names}."
            )));
        }
        match labelled.databases() {
            // Which databases it names is seen once this one is open.
            None => enforced = true,
            Some(databases) => match databases.find(database, oid) {
                Some(entry) => enforced |= entry.enforced,
                None => {
                    return Err(refused(
                        database,
                        format!(
                            "{} may not connect to database {database:?}",
                            who(user, labelled)
                        ),
                    )
                    .hint(format!("Connect to {names}, where its policy is.")));
                }
            },
        }
    }
    Ok(enforced)
}

fn who(user: &str, labelled: &Labelled) -> String {
    let role = users::name(labelled.role);
    if role == user {
        format!("the protected role {user:?}")
    } else {
        format!("role {user:?}, a member of the protected role {role:?},")
    }
}

fn refused(object: &str, message: String) -> Denial {
    Denial::new(Rule::ConnectionNotAllowed, object, message)
}

/// A setting of the start-up packet, or a word of `options` that is none.
pub fn setting(user: &str, name: &str) -> Denial {
    Denial::new(
        Rule::SettingNotAllowed,
        name,
        format!("the protected role {user:?} may not connect with the start-up option {name:?}"),
    )
    .hint(
        "Leave it out. agent_policy.user_email, DateStyle, TimeZone, search_path, \
         extra_float_digits, application_name, client_encoding and the time-outs may be given; \
         what else the role needs is set by ALTER ROLE.",
    )
}

/// A statement in a process that is no client's session.
pub fn process(kind: &str) -> Denial {
    refused(
        kind,
        format!("a protected role may not run statements in {kind}"),
    )
    .hint("Connect as a client, or run the job as a role that is not protected.")
}

/// A session of a role that is protected in other databases.
pub fn elsewhere(role: &str, databases: &str) -> Denial {
    refused(
        role,
        format!("role {role:?} is protected, and its policy is not in this database"),
    )
    .hint(format!("Connect to {databases}, where its policy is."))
}

/// The library was not there when the server started.
pub fn not_preloaded(user: &str) -> Denial {
    Denial::new(
        Rule::PolicyUnavailable,
        "shared_preload_libraries",
        format!("the protected role {user:?} may not connect: nothing enforces its policy"),
    )
    .hint(
        "Ask the database administrator to add agent_policy to shared_preload_libraries and \
         restart the server.",
    )
}

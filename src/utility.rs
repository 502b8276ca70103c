//! Every utility command, classified. What is not listed is denied, commands of future versions
//! included.

use policy::builtins::{self, Setting};
use policy::model::Capability;
use policy::rule::Rule;

use crate::catalog::Policy;
use crate::denial::Denial;
use crate::{pg, plan, trial};

/// What a utility command asks for, as plain data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Utility {
    /// BEGIN, COMMIT, ROLLBACK, SAVEPOINT and their kind.
    Transaction,
    TwoPhase,
    /// SHOW of one setting, or of `all`.
    Show(String),
    Set {
        name: String,
        value: Option<String>,
    },
    /// SET TRANSACTION, SET SESSION CHARACTERISTICS AS TRANSACTION.
    SetTransaction,
    SetSnapshot,
    ResetAll,
    Prepare,
    Execute,
    Deallocate,
    DeclareCursor {
        hold: bool,
    },
    Fetch,
    ClosePortal,
    Explain,
    CopyTo {
        client: bool,
    },
    CopyFrom {
        client: bool,
    },
    Discard,
    Unlisten,
    Constraints,
    /// LOCK TABLE … IN ACCESS SHARE MODE: the lock that SELECT takes by itself.
    LockAsSelect,
    /// A command of data definition, by its tag.
    Definition(&'static str),
    /// Anything else, by its tag.
    Other(String),
}

/// What is to be done with a command that may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    Run,
    /// Accepted as a word, without effect.
    Ignore,
}

/// Judges one utility command.
pub fn judge(policy: &Policy, utility: &Utility) -> Result<Pass, Denial> {
    match utility {
        Utility::Transaction
        | Utility::SetTransaction
        | Utility::ResetAll
        | Utility::Prepare
        | Utility::Execute
        | Utility::Deallocate
        | Utility::Fetch
        | Utility::ClosePortal
        | Utility::Explain
        | Utility::Discard
        | Utility::Unlisten
        | Utility::Constraints
        | Utility::LockAsSelect
        | Utility::DeclareCursor { hold: false }
        | Utility::CopyTo { client: true } => Ok(Pass::Run),
        Utility::Show(name) => plan::judge_shown_setting(name).map(|()| Pass::Run),
        Utility::Set { name, value } => judge_setting(name, value.as_deref()),
        Utility::SetSnapshot => Err(not_allowed("SET TRANSACTION SNAPSHOT")
            .hint("Use BEGIN ISOLATION LEVEL REPEATABLE READ.")),
        Utility::TwoPhase => Err(not_allowed("two-phase commit").hint("Use COMMIT.")),
        Utility::DeclareCursor { hold: true } => Err(not_allowed("DECLARE CURSOR WITH HOLD")
            .hint("Declare the cursor WITHOUT HOLD inside a transaction.")),
        Utility::CopyTo { client: false } => {
            Err(not_allowed("COPY to a file or program").hint("COPY (SELECT …) TO STDOUT"))
        }
        Utility::CopyFrom { .. } if policy.capability == Capability::ReadOnly => {
            Err(plan::read_only("COPY FROM"))
        }
        Utility::CopyFrom { client: true } => Ok(Pass::Run),
        Utility::CopyFrom { client: false } => {
            Err(not_allowed("COPY from a file or program").hint("COPY … FROM STDIN"))
        }
        Utility::Definition(_) if policy.capability == Capability::Ddl => Ok(Pass::Run),
        Utility::Definition(tag) if policy.capability == Capability::ReadOnly => {
            Err(plan::read_only(tag))
        }
        Utility::Definition(tag) => Err(not_allowed(tag)
            .hint("This role may change rows (INSERT, UPDATE, DELETE, MERGE), not definitions.")),
        Utility::Other(tag) => Err(not_allowed(tag).hint(instead_of(tag))),
    }
}

fn not_allowed(what: &str) -> Denial {
    Denial::new(
        Rule::StatementNotAllowed,
        what,
        format!("{what} is not allowed"),
    )
}

fn instead_of(tag: &str) -> &'static str {
    match tag {
        "DO" | "CALL" => "Write the work as one SELECT.",
        "LISTEN" | "NOTIFY" => "Use SELECT; notifications are not for this role.",
        "LOCK TABLE" => {
            "Read without a lock: SELECT sees a consistent snapshot. LOCK TABLE … IN ACCESS SHARE MODE is allowed."
        }
        "SET ROLE" | "SET SESSION AUTHORIZATION" => "Work as the role you are logged in as.",
        _ => {
            "Use SELECT to read; SET, SHOW, EXPLAIN, cursors, PREPARE and COPY … TO STDOUT are allowed too."
        }
    }
}

/// May this setting be changed, by SET or set_config?
pub fn judge_setting(name: &str, value: Option<&str>) -> Result<Pass, Denial> {
    let lower = name.to_ascii_lowercase();
    if matches!(lower.as_str(), "role" | "session_authorization") {
        // Who logged in as a superuser may come back from a role that was only tried on. That a superuser asks
        // check() says nothing about the role.
        return if pg::users::authenticated_superuser() && !trial::running() {
            Ok(Pass::Run)
        } else {
            let tag = if lower == "role" {
                "SET ROLE"
            } else {
                "SET SESSION AUTHORIZATION"
            };
            Err(not_allowed(tag).hint(instead_of(tag)))
        };
    }
    let denied = |hint: String| {
        Err(Denial::new(
            Rule::SettingNotAllowed,
            name,
            format!("setting {name} may not be changed this way"),
        )
        .hint(hint))
    };
    pg::formats::judge_change(&lower)?;
    match builtins::setting(&lower) {
        Setting::Free | Setting::LowerOnly => Ok(Pass::Run),
        Setting::Ignored => Ok(Pass::Ignore),
        Setting::Checked(check) => match value {
            Some(value) if !check.accepts(value) => denied(format!(
                "Choose another value for {name}, or leave the setting as it is."
            )),
            _ => Ok(Pass::Run),
        },
        Setting::Denied => denied(
            "Leave it as it is. DateStyle, TimeZone, search_path, extra_float_digits, \
             application_name, client_encoding and the time-outs may be set."
                .into(),
        ),
    }
}

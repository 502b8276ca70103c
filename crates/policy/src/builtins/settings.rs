//! Which settings a confined session may change, by whatever door: SET, `set_config()`, the start-up
//! packet, a function's SET clause. What is not listed may not be changed.

/// What happens when a confined session changes a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// It is set as it is.
    Free,
    /// It may be lowered. Raising it, or switching it off, is accepted and has no effect on the
    /// limit of the policy.
    LowerOnly,
    /// It is set if the value passes [`Check::accepts`]. A value of these that is already in force
    /// when the session becomes confined has to pass, too.
    Checked(Check),
    /// It is accepted as a word and nothing is set: clients send it as a matter of routine, and the
    /// policy does not depend on it.
    Ignored,
    /// It is refused.
    Denied,
}

/// Which values of a setting are accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// A list of schemas. They need not exist or be allowed (every name is checked as an object
    /// once it is resolved), but temporary and TOAST schemas may not come before others: `pg_temp`
    /// only as the last one.
    SearchPath,
    /// An encoding whose multi-byte characters hold no ASCII byte, so that no scanner, proxy or
    /// audit reader on the way takes part of a character for a quote or backslash. Not SJIS, BIG5,
    /// GBK, UHC, GB18030, JOHAB, SHIFT_JIS_2004.
    ClientEncoding,
    /// A true boolean.
    OnlyOn,
    /// A false boolean.
    OnlyOff,
    /// notice, warning or error: below that the server's log goes to the client.
    MessageLevel,
    /// Every kind of relation that can be restricted, as pg_dump does; not fewer than were.
    EveryKind,
}

use Check::{ClientEncoding, EveryKind, MessageLevel, OnlyOff, OnlyOn, SearchPath};
use Setting::{Checked, Denied, Free, Ignored, LowerOnly};

/// Names in lower case, sorted.
static SETTINGS: &[(&str, Setting)] = &[
    ("application_name", Free), // the server itself strips what is not printable ASCII
    ("bytea_output", Free),
    ("client_encoding", Checked(ClientEncoding)),
    ("client_min_messages", Checked(MessageLevel)),
    ("datestyle", Free),
    ("default_transaction_deferrable", Free),
    ("default_transaction_isolation", Free),
    // READ WRITE is sent by SQLAlchemy and pg8000; read-only is enforced statement by statement.
    ("default_transaction_read_only", Ignored),
    ("extra_float_digits", Free),
    ("idle_in_transaction_session_timeout", LowerOnly),
    ("idle_session_timeout", LowerOnly),
    ("intervalstyle", Free),
    // asyncpg switches it off for its catalog queries; it is pinned off, so that it never puts it
    // back on.
    ("jit", Checked(OnlyOff)),
    ("lock_timeout", LowerOnly),
    // pg_dump restricts itself by it.
    ("restrict_nonsystem_relation_kind", Checked(EveryKind)),
    // pg_dump switches it off; it stays on.
    ("row_security", Ignored),
    ("search_path", Checked(SearchPath)),
    ("standard_conforming_strings", Checked(OnlyOn)),
    ("statement_timeout", LowerOnly),
    // pg_dump switches it off; it only says where a sequential scan starts.
    ("synchronize_seqscans", Ignored),
    ("timezone", Free),
    ("transaction_deferrable", Free),
    ("transaction_isolation", Free),
    ("transaction_read_only", Ignored),
    ("transaction_timeout", LowerOnly),
];

/// What happens when a confined session changes the setting of that name (in any case).
#[must_use]
pub fn setting(name: &str) -> Setting {
    SETTINGS
        .iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(name))
        .map_or(Denied, |(_, setting)| *setting)
}

/// Values in force in every confined session, whatever the role's or the server's configuration
/// says. All of them exist in PostgreSQL 15 to 18.
#[must_use]
pub fn pinned() -> &'static [(&'static str, &'static str)] {
    PINNED
}

static PINNED: &[(&str, &str)] = &[
    // System catalogs stay read-only, also where SET on it was granted.
    ("allow_system_table_mods", "off"),
    // Changes how '{NULL}' reads, in the expressions of masks and filters, too.
    ("array_nulls", "on"),
    // No \' in strings: a text scanner and the server agree where a string ends.
    ("backslash_quote", "safe_encoding"),
    // They send parse and plan trees, with the constants of masks and filters, to the log, and to
    // the client where client_min_messages is log.
    ("debug_print_parse", "off"),
    ("debug_print_plan", "off"),
    ("debug_print_rewritten", "off"),
    // Compiling is CPU that the cost limits do not see.
    ("jit", "off"),
    // Large objects keep their own privileges.
    ("lo_compat_privileges", "off"),
    // A forced generic plan keeps an old one alive.
    ("plan_cache_mode", "auto"),
    // Native row security is the floor under the row filters.
    ("row_security", "on"),
    // replica switches off triggers and foreign keys.
    ("session_replication_role", "origin"),
    // A quote means the same to the server and to everyone who reads the statement.
    ("standard_conforming_strings", "on"),
    // x = NULL would become x IS NULL, in a filter, too.
    ("transform_null_equals", "off"),
    // What counts as XML must not depend on the session, in masks of xml columns neither.
    ("xmloption", "content"),
];

impl Check {
    /// Whether a value may be set. A value that cannot be read is not accepted.
    #[must_use]
    pub fn accepts(self, value: &str) -> bool {
        match self {
            SearchPath => accepts_search_path(value),
            ClientEncoding => accepts_encoding(value),
            OnlyOn => boolean(value) == Some(true),
            OnlyOff => boolean(value) == Some(false),
            MessageLevel => ["notice", "warning", "error"]
                .iter()
                .any(|level| level.eq_ignore_ascii_case(value)),
            EveryKind => {
                let kinds: Vec<&str> = value.split(',').map(|k| k.trim_matches(is_space)).collect();
                matches!(
                    kinds[..],
                    ["view", "foreign-table"] | ["foreign-table", "view"]
                )
            }
        }
    }
}

/// As `parse_bool()`: a unique prefix of true, false, yes, no; on, off, 1, 0.
fn boolean(value: &str) -> Option<bool> {
    let lower = value.to_ascii_lowercase();
    let prefix = |word: &str, least: usize| lower.len() >= least && word.starts_with(&lower);
    if prefix("true", 1) || prefix("yes", 1) || lower == "on" || lower == "1" {
        Some(true)
    } else if prefix("false", 1) || prefix("no", 1) || prefix("off", 2) || lower == "0" {
        Some(false)
    } else {
        None
    }
}

/// Encodings the server may have itself: all of them are supersets of ASCII byte by byte.
/// As `pg_char_to_encoding()` sees them: letters and digits in lower case. Sorted.
static ENCODINGS: &[&str] = &[
    "abc",
    "alt",
    "euccn",
    "eucjis2004",
    "eucjp",
    "euckr",
    "euctw",
    "iso88591",
    "iso885910",
    "iso885913",
    "iso885914",
    "iso885915",
    "iso885916",
    "iso88592",
    "iso88593",
    "iso88594",
    "iso88595",
    "iso88596",
    "iso88597",
    "iso88598",
    "iso88599",
    "koi8",
    "koi8r",
    "koi8u",
    "latin1",
    "latin10",
    "latin2",
    "latin3",
    "latin4",
    "latin5",
    "latin6",
    "latin7",
    "latin8",
    "latin9",
    "sqlascii",
    "tcvn",
    "tcvn5712",
    "unicode",
    "utf8",
    "vscii",
    "win",
    "win1250",
    "win1251",
    "win1252",
    "win1253",
    "win1254",
    "win1255",
    "win1256",
    "win1257",
    "win1258",
    "win866",
    "win874",
    "windows1250",
    "windows1251",
    "windows1252",
    "windows1253",
    "windows1254",
    "windows1255",
    "windows1256",
    "windows1257",
    "windows1258",
    "windows866",
    "windows874",
];

fn accepts_encoding(value: &str) -> bool {
    let name: String = value
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_lowercase())
        .collect();
    ENCODINGS.binary_search(&name.as_str()).is_ok()
}

/// As `SplitIdentifierString()`: names in double quotes or without, separated by commas.
fn accepts_search_path(value: &str) -> bool {
    let mut rest = value.trim_matches(is_space);
    if rest.is_empty() {
        return true;
    }
    loop {
        let Some((name, after)) = identifier(rest) else {
            return false;
        };
        let after = after.trim_start_matches(is_space);
        let last = after.is_empty();
        if name.starts_with("pg_temp_") || name.starts_with("pg_toast") {
            return false;
        }
        if name == "pg_temp" && !last {
            return false;
        }
        if last {
            return true;
        }
        let Some(next) = after.strip_prefix(',') else {
            return false;
        };
        rest = next.trim_start_matches(is_space);
    }
}

/// As `scanner_isspace()`.
fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\u{b}' | '\u{c}')
}

/// One identifier at the start and what follows it. An unquoted one is folded to lower case, an
/// empty one is none, a quoted empty one is a name (`SET search_path = ''`).
fn identifier(text: &str) -> Option<(String, &str)> {
    if let Some(mut rest) = text.strip_prefix('"') {
        let mut name = String::new();
        loop {
            let (part, after) = rest.split_once('"')?;
            name.push_str(part);
            match after.strip_prefix('"') {
                Some(more) => {
                    name.push('"');
                    rest = more;
                }
                None => return Some((name, after)),
            }
        }
    }
    let end = text
        .find(|c: char| c == ',' || is_space(c))
        .unwrap_or(text.len());
    let (name, after) = text.split_at_checked(end)?;
    (!name.is_empty()).then(|| (name.to_ascii_lowercase(), after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorted_and_lower_case() {
        assert!(SETTINGS.is_sorted_by(|a, b| a.0 < b.0));
        assert!(PINNED.is_sorted_by(|a, b| a.0 < b.0));
        assert!(ENCODINGS.is_sorted_by(|a, b| a < b));
        for name in SETTINGS
            .iter()
            .map(|s| s.0)
            .chain(PINNED.iter().map(|p| p.0))
        {
            assert_eq!(name, name.to_ascii_lowercase());
        }
    }

    #[test]
    fn pinned_cannot_be_changed() {
        for (name, value) in pinned() {
            let kept = match setting(name) {
                Denied | Ignored => true,
                Checked(check) => check.accepts(value),
                Free | LowerOnly => false,
            };
            assert!(kept, "{name}");
        }
    }

    #[test]
    fn clients_send() {
        for name in "client_encoding application_name DateStyle TimeZone extra_float_digits \
            search_path statement_timeout lock_timeout idle_in_transaction_session_timeout \
            default_transaction_read_only IntervalStyle default_transaction_isolation \
            default_transaction_deferrable transaction_isolation transaction_deferrable \
            transaction_read_only transaction_timeout jit standard_conforming_strings \
            bytea_output client_min_messages row_security synchronize_seqscans"
            .split_whitespace()
        {
            assert_ne!(setting(name), Denied, "{name}");
            assert_eq!(setting(name), setting(&name.to_ascii_uppercase()));
        }
        assert_eq!(setting("DATESTYLE"), Free);
        assert_eq!(setting("Statement_Timeout"), LowerOnly);
        assert_eq!(setting("transaction_read_only"), Ignored);
    }

    #[test]
    fn denied() {
        for name in "role session_authorization session_replication_role work_mem \
            hash_mem_multiplier maintenance_work_mem temp_buffers logical_decoding_work_mem geqo \
            join_collapse_limit from_collapse_limit plan_cache_mode enable_seqscan \
            cpu_operator_cost jit_above_cost jit_inline_above_cost \
            max_parallel_workers_per_gather transform_null_equals xmloption \
            debug_print_plan debug_print_parse debug_print_rewritten local_preload_libraries \
            session_preload_libraries check_function_bodies plpgsql.variable_conflict \
            agent_policy.no_such_setting agent_policy.user_email seed default_tablespace \
            synchronous_commit array_nulls backslash_quote log_statement lc_messages \
            timezone_abbreviations no_such_setting"
            .split_whitespace()
            .chain(["", "datestyle ", "date\u{17f}tyle", "\u{212a}"])
        {
            assert_eq!(setting(name), Denied, "{name}");
        }
    }

    #[test]
    fn kinds() {
        assert_eq!(
            setting("restrict_nonsystem_relation_kind"),
            Checked(EveryKind)
        );
        assert!(
            EveryKind.accepts("view, foreign-table") && EveryKind.accepts("foreign-table,view")
        );
        for fewer in [
            "",
            "view",
            "foreign-table",
            "view,",
            "view, view",
            "VIEW, foreign-table",
        ] {
            assert!(!EveryKind.accepts(fewer), "{fewer}");
        }
    }

    #[test]
    fn encodings() {
        for good in [
            "UTF8",
            "utf-8",
            "'UNICODE'",
            "LATIN1",
            "SQL_ASCII",
            "WIN1252",
            "ISO_8859_5",
        ] {
            assert!(ClientEncoding.accepts(good), "{good}");
        }
        for bad in [
            "SJIS",
            "BIG5",
            "GBK",
            "UHC",
            "GB18030",
            "JOHAB",
            "SHIFT_JIS_2004",
            "Windows932",
            "MULE_INTERNAL",
            "mskanji",
            "",
            "utf16",
            "auto",
        ] {
            assert!(!ClientEncoding.accepts(bad), "{bad}");
        }
    }

    #[test]
    fn booleans_and_levels() {
        for on in ["on", "ON", "true", "t", "yes", "y", "1"] {
            assert!(OnlyOn.accepts(on) && !OnlyOff.accepts(on), "{on}");
        }
        for off in ["off", "of", "OFF", "false", "f", "no", "n", "0"] {
            assert!(OnlyOff.accepts(off) && !OnlyOn.accepts(off), "{off}");
        }
        for neither in ["", "o", "2", "default", "on ", "truely"] {
            assert!(
                !OnlyOff.accepts(neither) && !OnlyOn.accepts(neither),
                "{neither}"
            );
        }
        for good in ["notice", "WARNING", "Error"] {
            assert!(MessageLevel.accepts(good), "{good}");
        }
        for bad in ["log", "debug", "debug1", "DEBUG5", "info", "", "notice "] {
            assert!(!MessageLevel.accepts(bad), "{bad}");
        }
    }

    #[test]
    fn search_paths() {
        for good in [
            "",
            " ",
            "\"\"",
            "public",
            "sales, public",
            "\"$user\", public",
            "\"My \"\"x\", b",
            "pg_catalog, pg_temp",
            "no_such_schema",
            "\"PG_TEMP\", public",
            "$user",
            "a,b ,c",
        ] {
            assert!(SearchPath.accepts(good), "{good}");
        }
        for bad in [
            "pg_temp, public",
            "PG_TEMP,public",
            "\"pg_temp\", public",
            "pg_temp_3",
            "\"pg_temp_3\"",
            "a, pg_toast",
            "a b",
            "a,",
            ",a",
            "a,,b",
            "\"a",
            "pg_toast_temp_1",
            "\"a\"b",
        ] {
            assert!(!SearchPath.accepts(bad), "{bad}");
        }
    }
}

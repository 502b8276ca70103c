//! The settings of a start-up packet: those given as parameters and those inside `options`.

use std::borrow::Cow;

use crate::builtins::{self, Check, Setting};

/// What becomes of one setting of a protected role's start-up packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is set.
    Take,
    /// A client may send it; nothing is set.
    Drop,
    /// The login is refused.
    Refuse,
}

/// Judges a setting by the list that also holds for SET. A value that SET would refuse is refused.
#[must_use]
pub fn judge(name: &str, value: &str) -> Verdict {
    let name = name.to_ascii_lowercase();
    match name.as_str() {
        // The application says for whom it connects: nowhere but here.
        "agent_policy.user_email" => return Verdict::Take,
        // libpq sends it when the environment has PGGEQO.
        "geqo" => return Verdict::Drop,
        // Switching it on is no harm; off is what a hardened role must not do.
        "default_transaction_read_only" if Check::OnlyOn.accepts(value) => return Verdict::Take,
        _ => {}
    }
    match builtins::setting(&name) {
        Setting::Free | Setting::LowerOnly => Verdict::Take,
        Setting::Ignored => Verdict::Drop,
        Setting::Checked(check) if check.accepts(value) => Verdict::Take,
        Setting::Checked(_) | Setting::Denied => Verdict::Refuse,
    }
}

/// One word of `options` that sets something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment<'a> {
    pub name: String,
    pub value: Cow<'a, str>,
    text: Vec<u8>,
}

/// The settings in `options`, as `pg_split_opts()` and the server's getopt would find them.
///
/// # Errors
/// The word that is no assignment. Short options set limits and switches, each in its own
/// way (`-S` is work_mem, `-f` and `-t` switch plans off): only `-c` and `--name=value` are read.
pub fn assignments(options: &[u8]) -> Result<Vec<Assignment<'static>>, String> {
    let mut words = split(options).into_iter();
    let mut found = Vec::new();
    while let Some(word) = words.next() {
        let shown = || String::from_utf8_lossy(&word).into_owned();
        let text = match word.strip_prefix(b"-c").or(word.strip_prefix(b"--")) {
            Some(b"") if word == b"-c" => words.next().ok_or_else(shown)?,
            Some(b"") | None => return Err(shown()),
            Some(rest) => rest.to_vec(),
        };
        let mut halves = text.splitn(2, |b| *b == b'=');
        let (Some(name), Some(value)) = (halves.next(), halves.next()) else {
            return Err(shown());
        };
        // As ParseLongOption(): a dash in a name is an underscore.
        let name = String::from_utf8_lossy(name).replace('-', "_");
        let value = String::from_utf8_lossy(value).into_owned();
        found.push(Assignment {
            name,
            value: value.into(),
            text,
        });
    }
    Ok(found)
}

/// `options` with just these settings, written so that no locale finds other words in it.
#[must_use]
pub fn options<'a>(kept: impl IntoIterator<Item = &'a Assignment<'a>>) -> Vec<u8> {
    let mut written = Vec::new();
    for assignment in kept {
        if !written.is_empty() {
            written.push(b' ');
        }
        written.extend(b"-c ");
        for b in &assignment.text {
            if !(b.is_ascii_alphanumeric() || b"_.=,:/@+-".contains(b)) {
                written.push(b'\\');
            }
            written.push(*b);
        }
    }
    written
}

/// As `pg_split_opts()`: words between spaces; a backslash takes the next byte as it is.
fn split(options: &[u8]) -> Vec<Vec<u8>> {
    let mut words = Vec::new();
    let mut word: Option<Vec<u8>> = None;
    let mut bytes = options.iter().copied();
    while let Some(b) = bytes.next() {
        match b {
            b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c => words.extend(word.take()),
            b'\\' => word.get_or_insert_default().extend(bytes.next()),
            _ => word.get_or_insert_default().push(b),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<(String, String)>, String> {
        Ok(assignments(text.as_bytes())?
            .into_iter()
            .map(|a| (a.name, a.value.into_owned()))
            .collect())
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn words() {
        assert_eq!(read(""), Ok(vec![]));
        assert_eq!(read("  \t"), Ok(vec![]));
        assert_eq!(
            read("-c a=b -cC-d=e=f --g-h=i\\ j\\\\k  -c l="),
            Ok(vec![
                pair("a", "b"),
                pair("C_d", "e=f"),
                pair("g_h", "i j\\k"),
                pair("l", ""),
            ])
        );
        for bad in [
            "-S 64MB",
            "-S64MB",
            "-fs",
            "-B 10",
            "-O",
            "-e",
            "-ec a=b",
            "--",
            "-- -c a=b",
            "-",
            "a=b",
            "-c",
            "-c a",
            "--a",
            "-v 3",
            "-d5",
            "-c a=b x",
            "-t pl",
            "\\-S 1",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert_eq!(read("-c a=b -S 64"), Err("-S".into()));
    }

    #[test]
    fn written_again() {
        let text = "-c a=b\\ c  --d-e=f\\\\g -ch=caf\u{e9}";
        let kept = assignments(text.as_bytes()).expect("assignments");
        let again = options(&kept);
        assert_eq!(assignments(&again).as_ref(), Ok(&kept));
        assert_eq!(options(&kept[..1]), b"-c a=b\\ c");
        assert_eq!(options(&kept[2..]), b"-c h=caf\\\xc3\\\xa9");
        assert!(options([]).is_empty());
    }

    #[test]
    fn verdicts() {
        for (name, value) in [
            ("client_encoding", "UTF8"),
            ("application_name", "psql"),
            ("DateStyle", "ISO"),
            ("TimeZone", "UTC"),
            ("extra_float_digits", "3"),
            ("search_path", "sales, public"),
            ("statement_timeout", "0"),
            ("lock_timeout", "1s"),
            ("idle_in_transaction_session_timeout", "0"),
            ("default_transaction_read_only", "on"),
            ("jit", "off"),
            ("Agent_Policy.User_Email", "alice@example.com"),
        ] {
            assert_eq!(judge(name, value), Verdict::Take, "{name}");
        }
        for (name, value) in [
            ("default_transaction_read_only", "off"),
            ("row_security", "off"),
            ("geqo", "off"),
            ("synchronize_seqscans", "off"),
        ] {
            assert_eq!(judge(name, value), Verdict::Drop, "{name}");
        }
        for (name, value) in [
            ("work_mem", "64GB"),
            ("temp_buffers", "1GB"),
            ("plan_cache_mode", "force_generic_plan"),
            ("session_preload_libraries", "x"),
            ("local_preload_libraries", "x"),
            ("role", "postgres"),
            ("session_authorization", "postgres"),
            ("jit", "on"),
            ("jit_above_cost", "0"),
            ("client_encoding", "SJIS"),
            ("search_path", "pg_temp, public"),
            ("client_min_messages", "debug5"),
            ("session_replication_role", "replica"),
            ("agent_policy.audit_durability", "async"),
            ("app.tenant", "1"),
            ("", ""),
        ] {
            assert_eq!(judge(name, value), Verdict::Refuse, "{name}");
        }
    }
}

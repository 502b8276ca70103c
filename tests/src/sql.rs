//! Splitting a script into statements, as psql would.

/// Top-level semicolons only; knows quotes, E'' strings, dollar quotes, comments and BEGIN ATOMIC.
pub fn split(script: &str) -> Vec<String> {
    let bytes = script.as_bytes();
    let mut parts = Vec::new();
    let (mut at, mut start, mut atomic, mut cases) = (0, 0, 0_u32, 0_u32);
    while at < bytes.len() {
        let rest = &script[at..];
        match bytes[at] {
            b'\'' => {
                let escapes = at > 0 && matches!(bytes[at - 1], b'e' | b'E');
                at += 1;
                while at < bytes.len() {
                    match bytes[at] {
                        b'\\' if escapes => at += 1,
                        b'\'' if bytes.get(at + 1) == Some(&b'\'') => at += 1,
                        b'\'' => break,
                        _ => {}
                    }
                    at += 1;
                }
            }
            b'"' => at += 1 + rest[1..].find('"').unwrap_or(rest.len() - 2),
            b'$' => {
                if let Some(tag) = dollar_tag(rest) {
                    match rest[tag.len()..].find(tag) {
                        Some(end) => at += 2 * tag.len() + end - 1,
                        None => at = bytes.len(),
                    }
                }
            }
            b'-' if rest.starts_with("--") => at += rest.find('\n').unwrap_or(rest.len()),
            b'/' if rest.starts_with("/*") => at += comment(rest) - 1,
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | 0x80.. => {
                let length = rest
                    .find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$'))
                    .unwrap_or(rest.len());
                match rest[..length].to_ascii_uppercase().as_str() {
                    "ATOMIC" => atomic += 1,
                    "CASE" if atomic > 0 => cases += 1,
                    "END" if cases > 0 => cases -= 1,
                    "END" if atomic > 0 => atomic -= 1,
                    _ => {}
                }
                let first = rest.chars().next().map_or(1, char::len_utf8);
                at += length.max(first) - 1;
            }
            b';' if atomic == 0 => {
                parts.push(script[start..=at].to_owned());
                start = at + 1;
            }
            _ => {}
        }
        at += 1;
    }
    parts.push(script[start.min(script.len())..].to_owned());
    parts.retain(|part| !is_blank(part));
    parts
}

fn dollar_tag(text: &str) -> Option<&str> {
    let end = text[1..].find('$')? + 1;
    let name = &text[1..end];
    let valid = name.chars().all(|c| c.is_alphanumeric() || c == '_')
        && !name.starts_with(|c: char| c.is_ascii_digit());
    valid.then(|| &text[..=end])
}

/// Length of the comment at the start, nested ones included.
fn comment(text: &str) -> usize {
    let bytes = text.as_bytes();
    let (mut depth, mut at) = (0, 0);
    while at < bytes.len() {
        if text.as_bytes()[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if bytes[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    bytes.len()
}

fn is_blank(part: &str) -> bool {
    let mut rest = part.trim_start_matches([';', ' ', '\n', '\t', '\r']);
    loop {
        if rest.starts_with("--") {
            rest = &rest[rest.find('\n').unwrap_or(rest.len())..];
        } else if rest.starts_with("/*") {
            rest = &rest[comment(rest)..];
        } else {
            return rest.is_empty();
        }
        rest = rest.trim_start_matches([';', ' ', '\n', '\t', '\r']);
    }
}

/// `it's` → `'it''s'`
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn splits_at_top_level_only() {
        assert_eq!(split("SELECT 1; SELECT ';';").len(), 2);
        assert_eq!(
            split("DO $$ BEGIN NULL; END $$; SELECT E'\\';'; -- x;\n").len(),
            2
        );
        assert_eq!(split("/* a; /* b; */ */ SELECT 1").len(), 1);
        assert_eq!(split("CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; END; SELECT 2").len(), 2);
        assert_eq!(split("-- only a comment\n;;").len(), 0);
        assert_eq!(split("SELECT $1, \"a;b\"; SELECT $t$;$$;$t$").len(), 2);
    }
}

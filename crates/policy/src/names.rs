//! Names as SQL writes them, found in texts without a parser.

/// The parts of a possibly qualified name, as `stringToQualifiedNameList` would take them apart:
/// folded unless quoted. `None` for what is no name.
#[must_use]
pub fn split(text: &str) -> Option<Vec<String>> {
    let mut parts = Vec::new();
    let mut rest = text.trim();
    loop {
        let (part, after) = identifier(rest)?;
        parts.push(part);
        let after = after.trim_start();
        if after.is_empty() {
            return Some(parts);
        }
        rest = after.strip_prefix('.')?.trim_start();
    }
}

/// The identifier at the start of a text, and what comes after it.
fn identifier(text: &str) -> Option<(String, &str)> {
    if let Some(quoted) = text.strip_prefix('"') {
        let mut name = String::new();
        let mut chars = quoted.char_indices().peekable();
        while let Some((at, c)) = chars.next() {
            if c != '"' {
                name.push(c);
            } else if chars.peek().is_some_and(|(_, next)| *next == '"') {
                chars.next();
                name.push('"');
            } else {
                return (!name.is_empty())
                    .then(|| (name, quoted.get(at + 1..).unwrap_or_default()));
            }
        }
        return None;
    }
    let end = text
        .char_indices()
        .find(|(at, c)| {
            !(c.is_ascii_alphabetic()
                || *c == '_'
                || !c.is_ascii()
                || (*at > 0 && (c.is_ascii_digit() || *c == '$')))
        })
        .map_or(text.len(), |(at, _)| at);
    if end == 0 {
        return None;
    }
    let (name, after) = text.split_at(end);
    Some((name.to_ascii_lowercase(), after))
}

/// A qualified name in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Qualified {
    pub schema: String,
    pub name: String,
    /// A parenthesis comes after it.
    pub call: bool,
}

/// Everything in a text that looks like `schema.name`, in strings and comments too.
#[must_use]
pub fn qualified(text: &str) -> Vec<Qualified> {
    let mut found = Vec::new();
    let mut rest = text;
    let mut inside_word = false;
    while let Some(c) = rest.chars().next() {
        let starts = !inside_word && (c == '"' || c == '_' || c.is_alphabetic() || !c.is_ascii());
        let pair = starts
            .then(|| identifier(rest))
            .flatten()
            .and_then(|(schema, after)| {
                let after = after.trim_start().strip_prefix('.')?.trim_start();
                let (name, after) = identifier(after)?;
                let call = after.trim_start().starts_with('(');
                Some(Qualified { schema, name, call })
            });
        found.extend(pair);
        inside_word = c == '_' || c == '$' || c.is_alphanumeric();
        rest = rest.get(c.len_utf8()..).unwrap_or_default();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits() {
        assert_eq!(split("A.b"), Some(vec!["a".into(), "b".into()]));
        assert_eq!(
            split(" \"A\"\"x\" . b$1 "),
            Some(vec!["A\"x".into(), "b$1".into()])
        );
        for none in ["", "1", "a.", ".a", "\"", "\"\"", "a b", "12345"] {
            assert_eq!(split(none), None, "{none}");
        }
    }

    #[test]
    fn finds() {
        let found = qualified("SELECT x.y, 'vault.T'::regclass FROM \"Va\".f (1) WHERE 1.5 > a.b1");
        let names: Vec<(&str, &str, bool)> = found
            .iter()
            .map(|q| (q.schema.as_str(), q.name.as_str(), q.call))
            .collect();
        assert!(names.contains(&("x", "y", false)));
        assert!(names.contains(&("vault", "t", false)));
        assert!(names.contains(&("Va", "f", true)));
        assert!(names.contains(&("a", "b1", false)));
        assert_eq!(qualified(&"\"".repeat(5000)).len(), 0);
        assert_eq!(qualified("é.ü")[0].name, "ü");
    }
}

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

/// Longer names are cut by the server (`NAMEDATALEN`).
const LONGEST: usize = 63;
const NONE: u32 = u32::MAX;

/// A text, and what would else be looked for again and again: it is read in a time that goes with its
/// length, whatever it is.
struct Reader<'a> {
    text: &'a str,
    /// For each quote, where the name ends that begins there.
    closed: Vec<u32>,
    /// For each byte, where the next one is that is no white space.
    solid: Vec<u32>,
}

impl<'a> Reader<'a> {
    fn new(text: &'a str) -> Self {
        let bytes = text.as_bytes();
        let mut closed = vec![NONE; bytes.len()];
        let mut solid = vec![0; bytes.len() + 1];
        let end = u32::try_from(bytes.len()).unwrap_or(NONE);
        let mut behind = end;
        if let Some(last) = solid.last_mut() {
            *last = end;
        }
        let mut next_quote = NONE;
        for (at, byte) in bytes.iter().enumerate().rev() {
            let here = u32::try_from(at).unwrap_or(NONE);
            if !byte.is_ascii_whitespace() && *byte != 0x0b {
                behind = here;
            }
            if let Some(solid) = solid.get_mut(at) {
                *solid = behind;
            }
            if *byte == b'"' {
                let doubled = next_quote as usize + 1;
                let end = match bytes.get(doubled) {
                    _ if next_quote == NONE => NONE,
                    // Two quotes are one of the name, which ends where one would that begins at the second.
                    Some(b'"') => closed.get(doubled).copied().unwrap_or(NONE),
                    _ => next_quote,
                };
                if let Some(closed) = closed.get_mut(at) {
                    *closed = end;
                }
                next_quote = here;
            }
        }
        Self {
            text,
            closed,
            solid,
        }
    }

    fn solid(&self, at: usize) -> usize {
        self.solid
            .get(at)
            .map_or(self.text.len(), |at| *at as usize)
    }

    fn is(&self, at: usize, byte: u8) -> bool {
        self.text.as_bytes().get(at) == Some(&byte)
    }

    /// The identifier at a place, and where it ends.
    fn identifier(&self, at: usize) -> Option<(String, usize)> {
        if !self.is(at, b'"') {
            let rest = self.text.get(at..)?;
            let (name, after) = identifier(rest)?;
            return Some((cut(name), self.text.len() - after.len()));
        }
        let end = *self.closed.get(at).filter(|end| **end != NONE)? as usize;
        let mut name = String::new();
        let mut chars = self.text.get(at + 1..end)?.chars();
        while let Some(c) = chars
            .next()
            .filter(|c| name.len() + c.len_utf8() <= LONGEST)
        {
            name.push(c);
            if c == '"' {
                chars.next();
            }
        }
        (!name.is_empty()).then_some((name, end + 1))
    }

    fn qualified(&self, at: usize) -> Option<Qualified> {
        let (schema, after) = self.identifier(at)?;
        let point = self.solid(after);
        if !self.is(point, b'.') {
            return None;
        }
        let (name, after) = self.identifier(self.solid(point + 1))?;
        let call = self.is(self.solid(after), b'(');
        Some(Qualified { schema, name, call })
    }
}

fn cut(mut name: String) -> String {
    let mut end = LONGEST.min(name.len());
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name.truncate(end);
    name
}

/// Everything in a text that looks like `schema.name`, in strings and comments too.
#[must_use]
pub fn qualified(text: &str) -> Vec<Qualified> {
    let reader = Reader::new(text);
    let mut found = Vec::new();
    let mut inside_word = false;
    for (at, c) in text.char_indices() {
        let starts = !inside_word && (c == '"' || c == '_' || c.is_alphabetic() || !c.is_ascii());
        if starts {
            found.extend(reader.qualified(at));
        }
        inside_word = c == '_' || c == '$' || c.is_alphanumeric();
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

    /// Texts that would be read once for each of their quotes.
    #[test]
    fn takes_no_more_than_its_length() {
        let began = std::time::Instant::now();
        for text in [
            "\"".repeat(1 << 20) + "…",
            "\"".repeat((1 << 19) + 1) + ".x",
            "\"".repeat((1 << 19) + 1) + &" ".repeat(1 << 19) + ".x",
            "a.\"".repeat(1 << 18),
            "\"a ".repeat(1 << 18),
        ] {
            let _ = qualified(&text);
        }
        // Some tenths of a second; minutes if it were a square.
        assert!(began.elapsed().as_secs() < 20);
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
        let quoted = qualified("\"a\"\"b\" . \"c\" (");
        assert!(quoted.contains(&Qualified {
            schema: "a\"b".into(),
            name: "c".into(),
            call: true
        }));
        // As the server cuts them.
        let long = qualified(&format!("\"{0}\".{0}", "é".repeat(100)));
        assert!(
            long.iter()
                .any(|q| q.schema == "é".repeat(31) && q.name == q.schema)
        );
        assert_eq!(qualified("é.ü")[0].name, "ü");
    }
}

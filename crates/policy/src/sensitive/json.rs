//! Scrubbing of JSON: values change, the structure does not.

use super::{Finding, scan, scrub};

/// The document with findings in strings, keys and numbers replaced; `None` for what is not JSON.
/// The key of a value is context for it. What holds nothing stays as it is written.
///
/// ```
/// let clean = policy::sensitive::scrub_json(r#"{"ssn": "123456789", "n": [1, 2]}"#);
/// assert_eq!(clean.as_deref(), Some(r#"{"ssn": "[SSN]", "n": [1, 2]}"#));
/// ```
#[must_use]
pub fn scrub_json(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    // The key that the value at hand belongs to, array elements included.
    let mut key = String::new();
    while let Some(first) = rest.chars().next() {
        match first {
            '"' => {
                let (token, after) = string_token(rest)?;
                let value: String = serde_json::from_str(token).ok()?;
                if after.trim_start().starts_with(':') {
                    write_string(&mut out, token, &value, &scrubbed("", &value));
                    key = value;
                } else {
                    write_string(&mut out, token, &value, &scrubbed(&key, &value));
                }
                rest = after;
            }
            '-' | '0'..='9' => {
                let end = rest
                    .find(|c: char| !matches!(c, '0'..='9' | '-' | '+' | '.' | 'e' | 'E'))
                    .unwrap_or(rest.len());
                let (token, after) = rest.split_at_checked(end)?;
                write_string(&mut out, token, token, &scrubbed(&key, token));
                rest = after;
            }
            _ => {
                out.push(first);
                rest = rest.get(first.len_utf8()..)?;
            }
        }
    }
    Some(out)
}

/// The value as it stands after `key: `.
pub(crate) fn scrubbed(key: &str, value: &str) -> String {
    if key.is_empty() {
        return String::from_utf8_lossy(&scrub(value.as_bytes())).into_owned();
    }
    let whole = format!("{key}: {value}");
    let begin = whole.len() - value.len();
    let (mut clean, mut done) = (String::new(), begin);
    scan(
        whole.as_bytes(),
        |Finding {
             start,
             end,
             category,
         }| {
            // What begins in the key was found there.
            let start = start.max(done);
            if end > start {
                clean.push_str(whole.get(done..start).unwrap_or_default());
                clean.push('[');
                clean.push_str(category.word());
                clean.push(']');
                done = end;
            }
        },
    );
    clean.push_str(whole.get(done..).unwrap_or_default());
    clean
}

fn write_string(out: &mut String, token: &str, value: &str, clean: &str) {
    if clean == value {
        out.push_str(token);
    } else {
        out.push_str(&serde_json::Value::from(clean).to_string());
    }
}

/// A string with its quotes, and what follows it.
fn string_token(text: &str) -> Option<(&str, &str)> {
    let mut escaped = false;
    for (i, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return text.split_at_checked(i + 1),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::scrub_json;

    #[test]
    fn values_keys_and_numbers() {
        for (raw, clean) in [
            (r#"{"a":"x@example.com"}"#, r#"{"a":"[EMAIL]"}"#),
            (r#"{"x@example.com":1}"#, r#"{"[EMAIL]":1}"#),
            (r#"{"ssn":123456789}"#, r#"{"ssn":"[SSN]"}"#),
            (r#"{"n":123456789}"#, r#"{"n":123456789}"#),
            (r#"{"phone":["212-555-0100"]}"#, r#"{"phone":["[PHONE]"]}"#),
            (r#""anna\u0040example.com""#, r#""[EMAIL]""#),
            (
                r#"{"password":"Gx7#aaq! \" b"}"#,
                r#"{"password":"[PASSWORD] \" b"}"#,
            ),
            ("[]", "[]"),
            (" null ", " null "),
        ] {
            assert_eq!(scrub_json(raw).as_deref(), Some(clean), "{raw}");
        }
    }

    #[test]
    fn no_json() {
        assert_eq!(scrub_json(r#"{"a"#), None);
        assert_eq!(scrub_json("\"\\u12\""), None);
    }

    /// What comes out parses, and has the same shape.
    #[test]
    fn stays_json() {
        for raw in [
            r#"{"k":"-----BEGIN PRIVATE KEY-----\nAAA","next":"x"}"#,
            r#"[{"token":"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abcdefghijklmnop"},1.5e10,-0]"#,
            r#"{"a":"\ud83d\ude00 4111111111111111"}"#,
        ] {
            let clean = scrub_json(raw).unwrap_or_default();
            assert!(
                serde_json::from_str::<serde_json::Value>(&clean).is_ok(),
                "{raw}: {clean}"
            );
        }
    }
}

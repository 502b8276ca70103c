#![allow(clippy::indexing_slicing, reason = "a test may panic")]

use super::layout::{Item, Kind, Reader, Writer};
use super::*;
use serde_json::{Number, json};

fn build(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Object(map) => {
            let mut writer = Writer::begin(out, Kind::Object, map.len()).expect("fits");
            for key in map.keys() {
                writer
                    .item(out, Item::String(key.as_bytes()))
                    .expect("fits");
            }
            for value in map.values() {
                entry(&mut writer, out, value);
            }
        }
        Value::Array(list) => {
            let mut writer = Writer::begin(out, Kind::Array, list.len()).expect("fits");
            for value in list {
                entry(&mut writer, out, value);
            }
        }
        scalar => {
            let mut writer = Writer::begin(out, Kind::Scalar, 1).expect("fits");
            entry(&mut writer, out, scalar);
        }
    }
}

fn entry(writer: &mut Writer, out: &mut Vec<u8>, value: &Value) {
    let done = match value {
        Value::Null => writer.item(out, Item::Null),
        Value::Bool(b) => writer.item(out, Item::Bool(*b)),
        Value::Number(n) => {
            let number = number::of_integer(n.as_i64().expect("whole numbers here"));
            writer.item(out, Item::Number(&number))
        }
        Value::String(text) => writer.item(out, Item::String(text.as_bytes())),
        container => writer.container(out, |out| {
            build(out, container);
            Some(())
        }),
    };
    done.expect("fits");
}

fn read(item: Item<'_>) -> Value {
    match item {
        Item::Null => Value::Null,
        Item::Bool(b) => Value::Bool(b),
        Item::String(text) => String::from_utf8_lossy(text).into_owned().into(),
        Item::Number(number) => {
            let text = number::text(number).expect("finite");
            text.parse::<i64>().map_or_else(
                |_| Number::from_f64(text.parse().expect("a number")).into(),
                Value::from,
            )
        }
        Item::Container(bytes) => document(bytes),
    }
}

fn document(bytes: &[u8]) -> Value {
    let reader = Reader::new(bytes).expect("a container");
    let items = reader.items().expect("well-formed");
    match reader.kind {
        Kind::Object => {
            let (keys, values) = items.split_at(reader.count);
            keys.iter()
                .zip(values)
                .map(|(key, value)| {
                    let Item::String(key) = key else {
                        unreachable!()
                    };
                    (String::from_utf8_lossy(key).into_owned(), read(*value))
                })
                .collect::<Map<_, _>>()
                .into()
        }
        Kind::Array => items.into_iter().map(read).collect::<Vec<_>>().into(),
        Kind::Scalar => read(items[0]),
    }
}

fn bytes(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    build(&mut out, value);
    out
}

fn masked(value: &Value, paths: &Value) -> Value {
    let rules = rules(paths).expect("valid rules");
    let key = KeyedHash::new(b"key");
    let out = Masker::new(&rules, Some(&key), true)
        .document(&bytes(value))
        .expect("a document");
    document(&out)
}

#[test]
fn documents_round_trip() {
    let wide: Map<String, Value> = (0..100)
        .map(|i| (format!("k{i}"), json!([i, {"x": i}])))
        .collect();
    for value in [
        json!({}),
        json!([]),
        json!(null),
        json!("x"),
        json!(-12_345_678),
        json!({"a": [1, {"b": "text"}, null, true], "c": {"d": {"e": [[], {}]}}}),
        wide.into(),
        (0..200)
            .map(|i| json!("x".repeat(i)))
            .collect::<Vec<_>>()
            .into(),
    ] {
        assert_eq!(document(&bytes(&value)), value);
        // A path that leads nowhere changes nothing, bit for bit.
        let nowhere = rules(&json!({"$.**.nowhere": "redact"})).expect("valid");
        let out = Masker::new(&nowhere, None, true).document(&bytes(&value));
        assert_eq!(out.as_deref(), Some(&*bytes(&value)), "{value}");
    }
}

#[test]
fn paths() {
    let doc = json!({"ssn": "1", "a": {"ssn": "2", "list": [{"ssn": "3"}, [{"ssn": "4"}], "5"]}, "other": 7});
    for (path, expected) in [
        (
            "$.ssn",
            json!({"ssn": "***", "a": {"ssn": "2", "list": [{"ssn": "3"}, [{"ssn": "4"}], "5"]}, "other": 7}),
        ),
        (
            "$.\"ssn\"",
            json!({"ssn": "***", "a": {"ssn": "2", "list": [{"ssn": "3"}, [{"ssn": "4"}], "5"]}, "other": 7}),
        ),
        (
            "$.a.ssn",
            json!({"ssn": "1", "a": {"ssn": "***", "list": [{"ssn": "3"}, [{"ssn": "4"}], "5"]}, "other": 7}),
        ),
        (
            "$.a.list.ssn",
            json!({"ssn": "1", "a": {"ssn": "2", "list": [{"ssn": "***"}, [{"ssn": "***"}], "5"]}, "other": 7}),
        ),
        (
            "$.a.list[*].ssn",
            json!({"ssn": "1", "a": {"ssn": "2", "list": [{"ssn": "***"}, [{"ssn": "***"}], "5"]}, "other": 7}),
        ),
        (
            "$.a.list[0].ssn",
            json!({"ssn": "1", "a": {"ssn": "2", "list": [{"ssn": "***"}, [{"ssn": "4"}], "5"]}, "other": 7}),
        ),
        (
            "$.a[*].ssn",
            json!({"ssn": "1", "a": {"ssn": "***", "list": [{"ssn": "3"}, [{"ssn": "4"}], "5"]}, "other": 7}),
        ),
        (
            "$[*].ssn",
            json!({"ssn": "***", "a": {"ssn": "2", "list": [{"ssn": "3"}, [{"ssn": "4"}], "5"]}, "other": 7}),
        ),
        (
            "$.ssn[*]",
            json!({"ssn": "***", "a": {"ssn": "2", "list": [{"ssn": "3"}, [{"ssn": "4"}], "5"]}, "other": 7}),
        ),
        (
            "$.**.ssn",
            json!({"ssn": "***", "a": {"ssn": "***", "list": [{"ssn": "***"}, [{"ssn": "***"}], "5"]}, "other": 7}),
        ),
        ("$.*", json!({"ssn": "***", "a": {}, "other": 0})),
        (
            "$.a.*",
            json!({"ssn": "1", "a": {"ssn": "***", "list": []}, "other": 7}),
        ),
        ("$", json!({})),
    ] {
        let mut rule = Map::new();
        rule.insert(path.to_owned(), "redact".into());
        assert_eq!(masked(&doc, &rule.into()), expected, "{path}");
    }
    assert_eq!(
        masked(&json!([{"a": 1}, {"a": 2}]), &json!({"$.a": "null"})),
        json!([{"a": null}, {"a": null}])
    );
    assert_eq!(
        masked(&json!("text"), &json!({"$": "redact"})),
        json!("***")
    );
    assert_eq!(masked(&json!([1]), &json!({"$": "null"})), json!(null));
}

#[test]
fn masks() {
    let doc = json!({"v": "anna@example.org", "n": 4_111_111_111_111_111_i64, "b": true, "z": null,
                     "o": {"k": "v"}, "l": ["ab", 12, {"x": "y"}]});
    let all = |mask: Value| {
        let paths: Map<String, Value> = ["v", "n", "b", "z", "o", "l"]
            .iter()
            .map(|key| (format!("$.{key}"), mask.clone()))
            .collect();
        masked(&doc, &paths.into())
    };
    assert_eq!(
        all(json!("redact")),
        json!({"v": "***", "n": 0, "b": false, "z": null, "o": {}, "l": []})
    );
    assert_eq!(
        all(json!({"mask": "constant", "value": 50})),
        json!({"v": 50, "n": 50, "b": 50, "z": 50, "o": 50, "l": 50})
    );
    assert_eq!(
        all(json!({"mask": "partial", "keep_last": 1})),
        json!({"v": "***************g", "n": "***************1", "b": false, "z": null, "o": {}, "l": ["*b", "*2", {}]})
    );
    assert_eq!(
        all(json!("scrub")),
        json!({"v": "[EMAIL]", "n": "[CARD]", "b": true, "z": null, "o": {"k": "v"}, "l": ["ab", 12, {"x": "y"}]})
    );
    assert_eq!(all(json!("email"))["v"], "a***@example.com");
    let hashed = all(json!({"mask": "hash", "length": 20}));
    assert_eq!(hashed["v"].as_str().map(str::len), Some(20));
    assert_eq!(hashed["l"][0].as_str().map(str::len), Some(20));
    assert_ne!(hashed["l"][0], hashed["l"][1]);
    // The key gives what a bare number is.
    assert_eq!(
        masked(&json!({"ssn": 123_456_789}), &json!({"$": "scrub"})),
        json!({"ssn": "[SSN]"})
    );
    // Two masks that differ: neither shows what the other hides.
    assert_eq!(
        masked(
            &json!({"a": "x"}),
            &json!({"$.a": "email", "$.*": "redact"})
        ),
        json!({"a": null})
    );
    assert_eq!(
        masked(
            &json!({"a": "x"}),
            &json!({"$.a": "redact", "$.*": "redact"})
        ),
        json!({"a": "***"})
    );
}

#[test]
fn numbers_in_full() {
    for n in [
        0,
        1,
        -1,
        9_999,
        10_000,
        -10_000,
        123_456_789_012,
        i64::MAX,
        i64::MIN,
    ] {
        assert_eq!(number::text(&number::of_integer(n)), Some(n.to_string()));
    }
    // 0.0000123, as numeric_in makes it: weight -2, digit 0.1230 * 10000^-1.
    let tiny = [0u16, 0, 0x8000 | 7 << 7 | 0x40 | 0x3E, 1230];
    let raw: Vec<u8> = tiny.iter().flat_map(|w| w.to_ne_bytes()).collect();
    assert_eq!(number::text(&raw).as_deref(), Some("0.0000123"));
    // 12.5: two digits around the point.
    let raw: Vec<u8> = [0u16, 0, 0x8000 | 1 << 7, 12, 5000]
        .iter()
        .flat_map(|w| w.to_ne_bytes())
        .collect();
    assert_eq!(number::text(&raw).as_deref(), Some("12.5"));
}

#[test]
fn what_is_refused() {
    for paths in [
        json!("redact"),
        json!({}),
        json!({"ssn": "redact"}),
        json!({"$.": "redact"}),
        json!({"$.a b": "redact"}),
        json!({"$[x]": "redact"}),
        json!({"$[-1]": "redact"}),
        json!({"$.a ? (@ > 1)": "redact"}),
        json!({"$.a": "bucket"}),
        json!({"$.a": 1}),
        json!({"$.a": {"mask": "constant"}}),
        json!({"$.a": {"mask": "constant", "value": [1]}}),
        json!({"$.a": {"mask": "partial", "pad": "**"}}),
        json!({"$.a": {"mask": "hash", "length": 0}}),
        json!({"$.a": {"mask": "redact", "x": 1}}),
    ] {
        let (message, hint) = rules(&paths).expect_err(&paths.to_string());
        assert!(
            !message.is_empty() && hint.ends_with('.'),
            "{paths}: {message} / {hint}"
        );
    }
}

/// Whatever the bytes are: a document or nothing, and never a panic.
#[test]
fn damaged_documents() {
    let whole = bytes(&json!({"ssn": "1", "a": [1, 2, {"ssn": [true, "x"]}]}));
    let rules = rules(&json!({"$.**.ssn": "scrub", "$.a[1]": "hash"})).expect("valid");
    let key = KeyedHash::new(b"key");
    for end in 0..whole.len() {
        let _ = Masker::new(&rules, Some(&key), true).document(&whole[..end]);
    }
    for at in 0..whole.len() {
        for bit in 0..8 {
            let mut odd = whole.clone();
            odd[at] ^= 1 << bit;
            let _ = Masker::new(&rules, Some(&key), true).document(&odd);
        }
    }
}

#[test]
fn very_deep() {
    // From the inside: serde_json would recurse.
    let mut inner = bytes(&json!({"ssn": "raw"}));
    for _ in 0..5_000 {
        let mut outer = Vec::new();
        let mut writer = Writer::begin(&mut outer, Kind::Array, 1).expect("fits");
        writer
            .item(&mut outer, Item::Container(&inner))
            .expect("fits");
        inner = outer;
    }
    let rules = rules(&json!({"$.**.ssn": "redact"})).expect("valid");
    let masked = Masker::new(&rules, None, true)
        .document(&inner)
        .expect("a document");
    assert!(!masked.windows(3).any(|w| w == b"raw"));
}

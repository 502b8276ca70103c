use super::*;

fn column(kind: Kind) -> Column<'static> {
    Column {
        quoted: "c",
        kind,
        sql_type: "t",
        numeric: None,
        constrained: false,
        element: None,
    }
}

fn set(kind: Kind, mask: &str, options: &str) -> Result<Compiled, RefusalKind> {
    let options = serde_json::from_str(options).unwrap_or_default();
    compile(&column(kind), mask, &options).map_err(|r| {
        assert!(!r.message.is_empty() && r.hint.ends_with('.'), "{r:?}");
        r.kind
    })
}

#[test]
fn what_fits() {
    assert_eq!(
        set(Kind::Text, "partial", "{}"),
        Ok(Compiled::Sql(
            "agent_policy.mask_partial(c::pg_catalog.text, 0, 4, '*'::pg_catalog.text)".into()
        ))
    );
    assert_eq!(set(Kind::Text, "none", "{}"), Ok(Compiled::Raw));
    assert_eq!(set(Kind::Other, "null", "{}"), Ok(Compiled::Null));
    assert_eq!(
        set(Kind::Other, "constant", r#"{"value":null}"#),
        Ok(Compiled::Null)
    );
    assert_eq!(
        set(Kind::Int4, "constant", r#"{"value":1}"#),
        Ok(Compiled::Constant)
    );
}

#[test]
fn what_is_refused() {
    for (kind, mask, options, why) in [
        (Kind::Text, "parital", "{}", RefusalKind::Option),
        (Kind::Text, "redact", r#"{"x":1}"#, RefusalKind::Option),
        (
            Kind::Text,
            "partial",
            r#"{"keep_last":-1}"#,
            RefusalKind::Option,
        ),
        (
            Kind::Text,
            "partial",
            r#"{"keep_last":1.5}"#,
            RefusalKind::Option,
        ),
        (Kind::Text, "partial", r#"{"pad":""}"#, RefusalKind::Option),
        (Kind::Text, "partial", r#"{"pad":7}"#, RefusalKind::Option),
        (Kind::Text, "hash", r#"{"length":65}"#, RefusalKind::Option),
        (Kind::Text, "constant", "{}", RefusalKind::Option),
        (Kind::Text, "expression", "{}", RefusalKind::Option),
        (
            Kind::Date,
            "truncate",
            r#"{"unit":"day"}"#,
            RefusalKind::Option,
        ),
        (Kind::Int4, "bucket", r#"{"size":0}"#, RefusalKind::Option),
        (
            Kind::Numeric,
            "bucket",
            r#"{"size":-1}"#,
            RefusalKind::Option,
        ),
        (Kind::Int4, "partial", "{}", RefusalKind::Type),
        (Kind::Int4, "hash", "{}", RefusalKind::Type),
        (Kind::Text, "truncate", "{}", RefusalKind::Type),
        (Kind::Enum, "redact", "{}", RefusalKind::Type),
        (Kind::Other, "redact", "{}", RefusalKind::Type),
    ] {
        assert_eq!(set(kind, mask, options), Err(why), "{mask} {options}");
    }
    let domain = Column {
        constrained: true,
        ..column(Kind::Text)
    };
    assert!(compile(&domain, "email", &Map::new()).is_err_and(|r| r.kind == RefusalKind::Type));
}

#[test]
fn arrays_are_masked_by_element() {
    let array = Column {
        element: Some(Kind::Text),
        ..column(Kind::Array)
    };
    assert_eq!(
        compile(&array, "hash", &Map::new()),
        Ok(Compiled::Sql(
            "agent_policy.mask_each(c::pg_catalog.text[], \
             'agent_policy.mask_hash(pg_catalog.text,pg_catalog.int4)'::pg_catalog.regprocedure, 16)"
                .into()
        ))
    );
    assert_eq!(
        compile(&array, "redact", &Map::new()),
        Ok(Compiled::Redacted("{}"))
    );
    assert!(compile(&array, "bucket", &Map::new()).is_err());
}

#[test]
fn masks_of_labels() {
    let check = |mask: &str, options: &str| {
        validate(mask, &serde_json::from_str(options).unwrap_or_default()).is_ok()
    };
    for (mask, options) in [
        ("redact", "{}"),
        ("none", "{}"),
        ("bucket", r#"{"size": 5}"#),
        ("truncate", r#"{"unit": "day"}"#),
        ("network", r#"{"ipv4": 8}"#),
        ("json", r#"{"paths": {"$.a": "redact"}}"#),
    ] {
        assert!(check(mask, options), "{mask} {options}");
    }
    for (mask, options) in [
        ("nothing", "{}"),
        ("bucket", r#"{"size": 0}"#),
        ("network", r#"{"ipv4": 33}"#),
        ("json", "{}"),
        ("email", r#"{"x": 1}"#),
    ] {
        assert!(!check(mask, options), "{mask} {options}");
    }
}

#[test]
fn literals() {
    assert_eq!(literal("it's"), "'it''s'");
    assert_eq!(literal("\\"), "E'\\\\'");
    assert_eq!(least_numeric(5, 2), "-99999e-2");
}

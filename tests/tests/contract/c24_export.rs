//! The audit log for others: as OCSF events, as JSON Lines, and the queries of the documentation.

use cluster_tests::{Bench, Case, cases};
use serde_json::Value;

pub const CASES: &[Case] = cases![
    events_have_what_ocsf_requires,
    what_an_event_says,
    json_lines,
    the_documented_queries,
    not_for_agents,
];

/// Something of every kind.
fn history(b: &Bench) {
    b.mask();
    b.setup("SELECT agent_policy.set_limits('@agent@', max_rows => 5)");
    let mut agent = b.agent();
    agent.query("SELECT id, email FROM shop.customers LIMIT 2");
    agent.query("SELECT id FROM shop.orders");
    agent.query("SELECT relname FROM pg_catalog.pg_class LIMIT 1");
    agent.simple("SELECT 1/0 FROM shop.orders");
    agent.simple("DELETE FROM shop.orders");
    agent.simple("SELECT * FROM shop.nowhere WHERE x = '\\ and \"'");
    agent.simple("SELECT 'unterminated");
    agent.simple(r#"SELECT id AS "a\b""c" FROM shop.orders LIMIT 1"#);
    agent.query("BEGIN");
    agent.query("COMMIT");
    b.flush_audit();
}

fn events(b: &Bench, filter: &str) -> Vec<Value> {
    b.setup(&format!(
        "SELECT event FROM agent_policy.audit_ocsf WHERE event->'unmapped'->>'role' = '@agent@' AND ({filter}) ORDER BY seq"
    ))
    .column()
    .iter()
    .map(|event| serde_json::from_str(event).expect("JSON"))
    .collect()
}

/// Required attributes of the class and of the objects in it, and its constraints, from the published
/// schema 1.5.0 (events/application/datastore_activity.json, objects/*.json).
fn validate(event: &Value) -> Result<(), String> {
    let required = [
        "/activity_id",
        "/category_uid",
        "/class_uid",
        "/type_uid",
        "/severity_id",
        "/time",
        "/actor",
        "/src_endpoint",
        "/metadata/version",
        "/metadata/product",
        "/database/type_id",
        "/query_info/query_string",
    ];
    for path in required {
        if event.pointer(path).is_none_or(Value::is_null) {
            return Err(format!("no {path}"));
        }
    }
    let any = |at: &str, names: &[&str]| {
        let object = &event.pointer(at).cloned().unwrap_or_default();
        if object.is_null() || names.iter().any(|name| object.get(name).is_some()) {
            Ok(())
        } else {
            Err(format!("{at} has none of {names:?}"))
        }
    };
    any("", &["database", "databucket", "table"])?;
    any(
        "/actor",
        &["process", "user", "session", "app_name", "app_uid"],
    )?;
    any("/actor/user", &["account", "name", "uid"])?;
    any(
        "/src_endpoint",
        &["ip", "uid", "name", "hostname", "svc_name"],
    )?;
    any(
        "/dst_endpoint",
        &["ip", "uid", "name", "hostname", "svc_name"],
    )?;
    any("/database", &["name", "uid"])?;
    any("/table", &["name", "uid"])?;
    any("/policy", &["name", "uid"])?;
    any("/firewall_rule", &["name", "uid"])?;
    any("/metadata/product", &["name", "uid"])?;
    let number = |name: &str| event[name].as_i64().ok_or(format!("{name} is no integer"));
    let one_of = |name: &str, allowed: &[i64]| {
        let value = number(name)?;
        if allowed.contains(&value) {
            Ok(())
        } else {
            Err(format!("{name} {value}"))
        }
    };
    one_of("category_uid", &[6])?;
    one_of("class_uid", &[6005])?;
    one_of("activity_id", &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 99])?;
    one_of("severity_id", &[0, 1, 2, 3, 4, 5, 6, 99])?;
    one_of("status_id", &[0, 1, 2, 99])?;
    one_of("action_id", &[0, 1, 2, 3, 4])?;
    one_of("disposition_id", &[1, 2, 11, 27])?;
    one_of("type_id", &[0, 1, 2, 3, 99])?;
    if number("type_uid")? != number("class_uid")? * 100 + number("activity_id")? {
        return Err("type_uid is not class_uid * 100 + activity_id".into());
    }
    if number("activity_id")? == 99 && event["activity_name"].as_str().is_none() {
        return Err("another activity without a name".into());
    }
    if number("time")? < 1_600_000_000_000 {
        return Err("time is not in milliseconds".into());
    }
    Ok(())
}

fn events_have_what_ocsf_requires(b: &Bench) {
    history(b);
    let events = events(b, "true");
    assert!(events.len() >= 9, "{}", events.len());
    for event in &events {
        if let Err(why) = validate(event) {
            panic!("{why}: {event:#}");
        }
    }
    // The check finds what is missing.
    let mut broken = events[0].clone();
    broken.as_object_mut().expect("an object").remove("actor");
    assert!(validate(&broken).is_err());
    let mut broken = events[0].clone();
    broken["type_uid"] = 600_599.into();
    assert!(validate(&broken).is_err());
    assert_eq!(
        b.value("SELECT count(*) FROM agent_policy.audit_ocsf"),
        b.value("SELECT count(*) FROM agent_policy.audit_log")
    );
}

fn what_an_event_says(b: &Bench) {
    history(b);
    let all = events(b, "event->'unmapped'->>'nesting_level' = '0'");
    let about = |text: &str| {
        all.iter()
            .find(|e| {
                e["query_info"]["query_string"]
                    .as_str()
                    .is_some_and(|q| q.contains(text))
            })
            .unwrap_or_else(|| panic!("no event about {text}"))
    };
    let codes = |e: &Value| {
        ["activity_id", "status_id", "action_id", "disposition_id"]
            .map(|name| e[name].as_i64().unwrap_or(-1))
    };
    let masked = about("email");
    assert_eq!(codes(masked), [4, 1, 4, 11], "{masked:#}");
    assert_eq!(masked["actor"]["user"]["name"], "alice@example.com");
    assert_eq!(masked["table"]["name"], "shop.customers");
    assert_eq!(masked["database"]["name"], b.db);
    assert_eq!(masked["unmapped"]["rows_returned"], 2);
    let cut = about("SELECT id FROM shop.orders");
    assert_eq!(codes(cut), [4, 1, 4, 11], "{cut:#}");
    let listing = about("relname");
    assert_eq!(codes(listing)[0], 8, "{listing:#}");
    let failed = about("/");
    assert_eq!(codes(failed), [4, 2, 1, 27], "{failed:#}");
    assert_eq!(failed["status_code"], "22012");
    let denied = about("DELETE");
    assert_eq!(codes(denied), [7, 2, 2, 2], "{denied:#}");
    assert_eq!(denied["firewall_rule"]["name"], "read_only");
    assert_eq!(denied["severity_id"], 3);
    let other = about("BEGIN");
    assert_eq!(codes(other), [99, 1, 1, 1], "{other:#}");
    assert_eq!(other["activity_name"], "BEGIN");
}

fn the_documentation() -> Vec<String> {
    include_str!("../../../docs/audit-queries.md")
        .split("```sql\n")
        .skip(1)
        .filter_map(|part| part.split("```").next())
        .map(str::to_owned)
        .collect()
}

fn json_lines(b: &Bench) {
    history(b);
    let queries = the_documentation();
    let copy = queries
        .iter()
        .find(|q| q.starts_with("COPY"))
        .expect("a COPY");
    let output = String::from_utf8(b.setup(copy).copied).expect("UTF-8");
    let mut escaped = 0;
    let mut lines = 0;
    for line in output.lines() {
        let event: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        escaped += usize::from(
            event["query_info"]["query_string"]
                .as_str()
                .is_some_and(|q| q.contains(r#""a\b""c""#)),
        );
        lines += 1;
    }
    assert_eq!(
        lines.to_string(),
        b.value("SELECT count(*) FROM agent_policy.audit_log")
    );
    assert_eq!(escaped, 1, "the backslash is there once");
}

fn the_documented_queries(b: &Bench) {
    history(b);
    let mut agent = b.agent();
    for _ in 0..10 {
        agent.simple("SELECT * FROM shop.secret_table_of_nobody, vault.secrets");
        agent.simple("DELETE FROM shop.orders");
    }
    b.flush_audit();
    let queries = the_documentation();
    assert!(queries.len() >= 9, "{}", queries.len());
    for query in queries {
        let answer = b.setup(&query);
        // All but the one about killed backends have something to tell here.
        assert!(
            query.contains("unknown") || !answer.rows.is_empty() || !answer.copied.is_empty(),
            "{query}"
        );
    }
}

fn not_for_agents(b: &Bench) {
    b.allow();
    b.setup("GRANT USAGE ON SCHEMA agent_policy TO @agent@, @plain@; GRANT SELECT ON agent_policy.audit_ocsf TO @agent@");
    b.denies(
        "SELECT * FROM agent_policy.audit_ocsf",
        "42501",
        "relation_not_allowed",
    );
    assert_eq!(
        b.unconfined()
            .error("SELECT * FROM agent_policy.audit_ocsf")
            .code,
        "42501"
    );
}

//! Calls by the FunctionCall message, which meets neither parser nor planner nor executor.

use cluster_tests::bench::leak;
use cluster_tests::raw::{Reply, msg};
use cluster_tests::{Bench, Case, cases};

use crate::common::{agent, oid, plain, usable};

pub const CASES: &[Case] = cases![
    large_objects,
    functions_that_run_sql,
    functions_with_effects,
    functions_of_this_extension,
    harmless_functions_too,
    in_a_pipeline_and_in_a_failed_transaction,
    malformed_calls,
    allowed_functions_too,
];

/// Text and binary arguments and results, in and outside a transaction: denied by rule, never a result.
#[track_caller]
fn refused(b: &Bench, function: u32, arguments: &[&[u8]]) {
    let arguments: Vec<_> = arguments.iter().map(|a| Some(*a)).collect();
    for format in [0_i16, 1] {
        for result in [0, 1] {
            let call = msg::call(function, &[format], &arguments, result);
            let mut raw = agent(b);
            let reply = raw.ask(&call, 1);
            check(&reply);
            raw.ask(&msg::query("BEGIN"), 1);
            check(&raw.ask(&call, 1));
            assert_eq!(leak(&raw.received), None);
            usable(&mut raw);
        }
    }
}

#[track_caller]
fn check(reply: &Reply) {
    assert_eq!(reply.kinds(), "EZ");
    let error = &reply.errors()[0];
    assert_eq!(error.code, "42501", "{error}");
    assert_eq!(error.rule(), "statement_not_allowed", "{error}");
    assert!(!error.hint.is_empty());
}

/// The plain role gets a result.
#[track_caller]
fn works(b: &Bench, function: u32, arguments: &[&[u8]]) -> Reply {
    let arguments: Vec<_> = arguments.iter().map(|a| Some(*a)).collect();
    let reply = plain(b).ask(&msg::call(function, &[], &arguments, 0), 1);
    assert_eq!(reply.kinds(), "VZ", "control: {:?}", reply.errors());
    reply
}

fn large_objects(b: &Bench) {
    let number = b.value("SELECT lo_from_bytea(0, 'QUAGGA object')");
    b.setup(&format!(
        "GRANT ALL ON LARGE OBJECT {number} TO @agent@; ALTER LARGE OBJECT {number} OWNER TO @plain@"
    ));
    b.allow();
    let lo_get = oid(b, "lo_get(oid)");
    let reply = works(b, lo_get, &[number.as_bytes()]);
    assert!(
        String::from_utf8_lossy(&reply.bytes()).contains("515541474741"),
        "hex of QUAGGA"
    );
    refused(b, lo_get, &[number.as_bytes()]);
    refused(
        b,
        lo_get,
        &[&number.parse::<u32>().expect("an oid").to_be_bytes()],
    );
    for (function, arguments) in [
        ("lo_open(oid,int)", &[number.as_bytes(), b"262144"][..]),
        ("lo_creat(int)", &[b"393216"]),
        ("lo_create(oid)", &[b"0"]),
        ("lo_from_bytea(oid,bytea)", &[b"0", b"x"]),
        ("lo_put(oid,bigint,bytea)", &[number.as_bytes(), b"0", b"x"]),
        ("lo_unlink(oid)", &[number.as_bytes()]),
    ] {
        let function = oid(b, function);
        refused(b, function, arguments);
        works(b, function, arguments);
    }
    for (function, arguments) in [
        ("loread(int,int)", &[&b"0"[..], b"100"][..]),
        ("lowrite(int,bytea)", &[b"0", b"x"]),
        ("lo_lseek(int,int,int)", &[b"0", b"0", b"0"]),
        ("lo_close(int)", &[b"0"]),
        ("lo_import(text)", &[b"/etc/passwd"]),
        ("lo_export(oid,text)", &[number.as_bytes(), b"/tmp/x"]),
        ("pg_read_file(text)", &[b"PG_VERSION"]),
    ] {
        let function = oid(b, function);
        // The server's own privileges come first.
        b.setup(&format!(
            "GRANT EXECUTE ON FUNCTION {} TO @agent@",
            b.value(&format!("SELECT {function}::regprocedure"))
        ));
        refused(b, function, arguments);
    }
}

fn functions_that_run_sql(b: &Bench) {
    b.mask();
    for (function, arguments) in [
        (
            "table_to_xml(regclass,bool,bool,text)",
            &[&b"shop.customers"[..], b"true", b"true", b""][..],
        ),
        (
            "query_to_xml(text,bool,bool,text)",
            &[b"SELECT email FROM shop.customers", b"true", b"true", b""],
        ),
        (
            "shop.run(text)",
            &[b"SELECT string_agg(email, ',') FROM shop.customers"],
        ),
        ("shop.get_email(int)", &[b"1"]),
        ("shop.secdef_email(int)", &[b"1"]),
        ("shop.loud(text)", &[b"QUAGGA"]),
    ] {
        let function = oid(b, function);
        // No libxml in some builds: then there is nothing to control.
        let mut raw = plain(b);
        let values: Vec<_> = arguments.iter().map(|a| Some(*a)).collect();
        let reply = raw.ask(&msg::call(function, &[], &values, 0), 1);
        assert!(
            leak(&raw.received).is_some() || reply.code() == "0A000",
            "{:?}",
            reply.errors()
        );
        refused(b, function, arguments);
    }
    let scratch = oid(b, "shop.write_scratch()");
    refused(b, scratch, &[]);
    assert_eq!(b.value("SELECT count(*) FROM shop.scratch"), "2");
    works(b, scratch, &[]);
    assert_eq!(b.value("SELECT count(*) FROM shop.scratch"), "3");
}

fn functions_with_effects(b: &Bench) {
    b.allow();
    for (function, arguments) in [
        (
            "set_config(text,text,bool)",
            &[&b"statement_timeout"[..], b"0", b"false"][..],
        ),
        (
            "set_config(text,text,bool)",
            &[b"agent_policy.user_email", b"bob@example.com", b"false"],
        ),
        ("pg_sleep(float8)", &[b"0.01"]),
        ("pg_notify(text,text)", &[b"a", b"b"]),
        ("nextval(regclass)", &[b"shop.counter"]),
        ("pg_advisory_lock(bigint)", &[b"1"]),
        ("pg_current_xact_id()", &[]),
        ("pg_export_snapshot()", &[]),
        ("pg_cancel_backend(int)", &[b"1"]),
        ("setseed(float8)", &[b"0.1"]),
        ("currtid2(text,tid)", &[b"shop.customers", b"(0,1)"]),
    ] {
        refused(b, oid(b, function), arguments);
    }
    let nextval = oid(b, "nextval(regclass)");
    works(b, nextval, &[b"shop.counter"]);
    assert_eq!(
        b.value("SELECT last_value FROM shop.counter"),
        "1",
        "only the plain role's"
    );
    assert!(
        b.audit("verdict = 'denied'").len() >= 80,
        "each refusal is recorded"
    );
}

fn functions_of_this_extension(b: &Bench) {
    b.mask();
    for function in b.setup("SELECT oid FROM pg_proc WHERE pronamespace = 'agent_policy'::regnamespace AND prokind = 'f'").column() {
        let call = msg::call(function.parse().expect("an oid"), &[], &[], 0);
        let mut raw = agent(b);
        let reply = raw.ask(&call, 1);
        assert_eq!(reply.count(b'V'), 0, "function {function}");
        assert_eq!(leak(&raw.received), None);
        usable(&mut raw);
    }
}

fn harmless_functions_too(b: &Bench) {
    b.allow();
    for (function, arguments) in [
        ("md5(text)", &[&b"x"[..]][..]),
        ("int4pl(int,int)", &[b"1", b"2"]),
        ("now()", &[]),
    ] {
        let function = oid(b, function);
        works(b, function, arguments);
        refused(b, function, arguments);
    }
}

/// Being allowed in statements does not open the way that has no record.
fn allowed_functions_too(b: &Bench) {
    b.mask();
    b.setup("SELECT agent_policy.allow_function('@agent@', 'shop.get_email(int)')");
    refused(b, oid(b, "shop.get_email(int)"), &[b"1"]);
    b.setup(
        "SELECT agent_policy.allow_function('@agent@', 'shop.get_email(int)', trusted => true)",
    );
    refused(b, oid(b, "shop.get_email(int)"), &[b"1"]);
}

fn in_a_pipeline_and_in_a_failed_transaction(b: &Bench) {
    b.mask();
    let call = msg::call(oid(b, "shop.get_email(int)"), &[], &[Some(b"1")], 0);
    let around = |before: Vec<u8>, after: Vec<u8>, turns: usize| {
        let mut raw = plain(b);
        raw.ask(
            &[before.clone(), call.clone(), after.clone()].concat(),
            turns,
        );
        let harm = leak(&raw.received).is_some();
        let mut raw = agent(b);
        let reply = raw.ask(&[before, call.clone(), after].concat(), turns);
        assert_eq!(reply.count(b'V'), 0, "{}", reply.kinds());
        assert_eq!(leak(&raw.received), None);
        usable(&mut raw);
        harm
    };
    assert!(around(msg::query("BEGIN"), msg::query("COMMIT"), 3));
    assert!(around(
        [
            msg::parse("", "SELECT 1", &[]),
            msg::bind("", "", &[]),
            msg::execute("", 0)
        ]
        .concat(),
        msg::sync(),
        2
    ));
    assert!(around(
        [
            msg::parse("", "SELECT id FROM shop.orders", &[]),
            msg::bind("p", "", &[]),
            msg::execute("p", 1)
        ]
        .concat(),
        [msg::execute("p", 1), msg::sync()].concat(),
        2
    ));
    // After an error everything but Sync is skipped; in a failed transaction the server itself refuses.
    around(msg::parse("", "SELEKT", &[]), msg::sync(), 1);
    around(msg::query("BEGIN; SELEKT"), msg::query("ROLLBACK"), 3);
}

fn malformed_calls(b: &Bench) {
    b.allow();
    let upper = oid(b, "upper(text)");
    for call in [
        msg::call(0, &[], &[], 0),
        msg::call(u32::MAX, &[], &[], 0),
        msg::call(upper, &[], &[], 0),
        msg::call(upper, &[], &[Some(b"a"), Some(b"b")], 0),
        msg::call(upper, &[7], &[Some(b"a")], 9),
        msg::call(upper, &[0, 0, 0], &[Some(b"a")], 0),
        msg::call(upper, &[], &[None], 0),
        msg::call(upper, &[], &[Some(b"\xff\xfe\0")], 0),
        msg::frame(b'F', &upper.to_be_bytes()),
        msg::frame(b'F', b""),
        msg::frame(b'F', &[0xff; 64]),
    ] {
        let reply = agent(b).finish(&call);
        assert_eq!(reply.count(b'V'), 0);
        assert!(!reply.errors().is_empty(), "{}", reply.kinds());
        assert!(!reply.code().starts_with("XX"), "{}", reply.errors()[0]);
    }
    crate::common::others_served(b);
}

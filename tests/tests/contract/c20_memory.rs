//! What a statement may take of the server's memory, and what becomes of it where there is no more.

use std::sync::Arc;

use cluster_tests::bench::{denial, leak};
use cluster_tests::{Bench, Case, Cluster, cases};

use super::c20_time::timed;

pub const CASES: &[Case] = cases![
    memory_is_bounded,
    what_makes_large_values_is_bounded,
    memory_runs_out,
];

fn memory_is_bounded(b: &Bench) {
    // A cluster of its own: the setting is the server's.
    let own = Cluster::start(b.version, "agent_policy.max_memory = '300MB'");
    let own = Bench::new(Arc::new(own));
    own.allow();
    for sql in [
        "SELECT cardinality(array_agg(repeat(g::text, 50000))) FROM generate_series(1, 20000) g",
        "SELECT length(string_agg(repeat(g::text, 50000), '')) FROM generate_series(1, 20000) g",
        // jsonb_agg has a limit of 256 MB of its own, which a quick machine reaches between two looks.
        "SELECT json_agg(repeat(g::text, 50000)) IS NULL FROM generate_series(1, 20000) g",
    ] {
        let answer = own.agent().simple(sql);
        denial(&answer, sql, "54000", "max_memory");
    }
    own.agent().query("SELECT count(*) FROM shop.orders");
}

fn what_makes_large_values_is_bounded(b: &Bench) {
    b.allow();
    for (sql, what) in [
        ("SELECT length(repeat('x', 1000000000))", "repeat"),
        (
            "SELECT length(repeat(name, 10000000)) FROM shop.customers",
            "repeat",
        ),
        ("SELECT length(lpad('x', 100000000))", "lpad"),
        ("SELECT length(rpad('x', 100000000, 'ab'))", "rpad"),
        (
            "SELECT cardinality(array_fill(1, ARRAY[20000000]))",
            "array_fill",
        ),
        (
            "SELECT cardinality(array_fill('abc'::text, ARRAY[1000, 1000], ARRAY[1, 1]))",
            "array_fill",
        ),
        ("SELECT length(format('%100000000s', 'x'))", "format"),
        (
            "SELECT length(format('%*s', VARIADIC ARRAY['100000000', 'x']))",
            "format",
        ),
        (
            "SELECT length(format('%s %2$-*3$s', 1, 'x', 900000000))",
            "format",
        ),
        (
            "SELECT length(format(repeat('%1$s', 9000), repeat('x', 100000)))",
            "format",
        ),
        ("EXECUTE p(100000000)", "repeat"),
    ] {
        let mut agent = b.agent();
        agent.query("PREPARE p(int) AS SELECT repeat('x', $1)");
        let answer = timed(sql, || agent.simple(sql));
        let error = denial(&answer, sql, "54000", "max_bytes");
        assert_eq!(error.detail_json()["object"], what, "{error}");
    }
    // What is shorter is what it was.
    let same = "SELECT repeat('ab', 3), repeat('x', -1), repeat(NULL, 3), lpad('x', 5), lpad('x', 3, ''), rpad('abc', 2), \
                rpad('x', 5, 'yz'), array_fill(7, ARRAY[2, 2]), array_fill('a'::text, ARRAY[2], ARRAY[5]), \
                array_fill(NULL::int, ARRAY[2]), format('%s-%I-%L', 1, 'A b', 'c'), format('%2$s', VARIADIC ARRAY['a', 'b']), \
                format(NULL), format('%*s|%-*s', 3, 'a', -4::smallint, 'b'), format('%*s', VARIADIC ARRAY['5', 'x']), pg_typeof(array_fill(1::smallint, ARRAY[1]))";
    let (ours, plain) = (b.agent().query(same), b.unconfined().query(same));
    assert_eq!(
        (&ours.columns, ours.texts()),
        (&plain.columns, plain.texts())
    );
    for sql in [
        "SELECT array_fill(1, NULL)",
        "SELECT array_fill(1, ARRAY[-1])",
        "SELECT format('%z', 1)",
    ] {
        assert_eq!(
            (b.agent().error(sql).code, b.agent().error(sql).message),
            (
                b.unconfined().error(sql).code,
                b.unconfined().error(sql).message
            )
        );
    }
    b.denies(
        "SELECT agent_policy.bounded_repeat('x', 3)",
        "42501",
        "function_not_allowed",
    );
}

/// The backend gets no more memory than it has: the statement ends, at worst the session.
fn memory_runs_out(b: &Bench) {
    // A cluster of its own: should the server go down, the others are not to go with it.
    let own = Bench::new(Arc::new(Cluster::start(b.version, "")));
    let b = &own;
    b.mask();
    let started = b.value("SELECT pg_postmaster_start_time()::text");
    let literals = "'+4915112345678',".repeat(60_000);
    let texts = [
        "SELECT id, email, ssn, phone, born, salary, note, profile FROM shop.customers ORDER BY id LIMIT 20".to_owned(),
        format!("SELECT length('{}')", "x".repeat(3_000_000)),
        format!("SELEKT {}", "x ".repeat(1_000_000)),
        format!("SELECT count(*) FROM shop.customers WHERE phone IN ({literals} '')"),
        format!("SELECT * FROM vault.secrets WHERE token IN ({literals} '')"),
        format!("/* {} */ DELETE FROM shop.scratch", "y ".repeat(500_000)),
        "SELECT string_agg(email || note, ',') FROM shop.customers, generate_series(1, 1000)".to_owned(),
    ];
    let (mut without, mut ended) = (0, 0);
    for room in (0..40).map(|i| i * 500 + u64::from(b.version % 4) * 100) {
        for text in &texts {
            let mut agent = b.agent();
            // A stack that cannot grow would be the end of any backend.
            agent.query(&format!(
                "SELECT {}1{}",
                "(".repeat(2_000),
                ")".repeat(2_000)
            ));
            b.cluster.limit_memory(agent.pid, room);
            let answer = agent.simple(text);
            assert_eq!(leak(&answer.bytes), None);
            match answer.errors.first() {
                Some(error) if error.code == "53200" => without += 1,
                Some(error) => assert_ne!(
                    error.code,
                    "XX000",
                    "{error}: {} with {room} kB",
                    &text[..40]
                ),
                None => assert!(!answer.closed, "{room}: the connection broke"),
            }
            ended += usize::from(answer.closed);
        }
    }
    assert!(
        without > 10,
        "{without} without memory, {ended} sessions ended"
    );
    assert_eq!(
        b.value("SELECT pg_postmaster_start_time()::text"),
        started,
        "the server went down"
    );
    b.allows("SELECT 1");
}

//! Before the login: versions, encryption requests, parameters.

use std::time::Duration;

use cluster_tests::bench::leak;
use cluster_tests::raw::{End, Raw, msg};
use cluster_tests::{Bench, Case, cases};

use crate::common::{others_served, usable};

pub const CASES: &[Case] = cases![
    versions_of_the_protocol,
    long_cancel_keys,
    encryption_requests,
    packets_that_are_none,
    odd_parameters,
    more_than_one_identity,
    connections_in_a_row_share_no_state,
];

const SSL: i32 = 80_877_103;
const GSS: i32 = 80_877_104;

fn open(b: &Bench) -> Raw {
    Raw::open(&b.cluster.socket())
}

fn startup(b: &Bench, version: i32, more: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut all: Vec<(&[u8], &[u8])> = vec![
        (b"user", b.agent.as_bytes()),
        (b"database", b.db.as_bytes()),
        (b"agent_policy.user_email", b"alice@example.com"),
    ];
    all.extend(more);
    msg::startup(version, &all)
}

/// Logged in, as the agent, and confined.
#[track_caller]
fn confined(raw: &mut Raw) {
    let reply = raw.ask(
        &msg::query("SELECT email FROM shop.customers WHERE id = 1"),
        1,
    );
    assert_eq!(reply.rows().len(), 1, "{:?}", reply.errors());
    let reply = raw.ask(&msg::query("SELECT * FROM vault.secrets"), 1);
    assert_eq!(reply.code(), "42501");
    assert_eq!(leak(&raw.received), None);
    usable(raw);
}

fn versions_of_the_protocol(b: &Bench) {
    b.mask();
    for minor in [0, 1, 2, 3, 9_999, 65_535] {
        let mut raw = open(b);
        let reply = raw.start(&startup(
            b,
            3 << 16 | minor,
            &[(b"_pq_.nothing", b"1"), (b"_pq_.something", b"2")],
        ));
        assert_eq!(reply.end, End::Found, "3.{minor}: {:?}", reply.errors());
        assert_eq!(
            reply.count(b'v'),
            1,
            "what the server does not know is negotiated: {}",
            reply.kinds()
        );
        confined(&mut raw);
    }
    for version in [
        0,
        1,
        2 << 16,
        (3 << 16) - 1,
        4 << 16,
        i32::MAX,
        -1,
        1234 << 16,
    ] {
        let reply = open(b).finish(&startup(b, version, &[]));
        assert_eq!(reply.end, End::Closed, "{version}");
        assert_eq!(reply.count(b'R'), 0, "{version}: {}", reply.kinds());
    }
    others_served(b);
}

fn long_cancel_keys(b: &Bench) {
    b.allow();
    let mut raw = open(b);
    raw.start(&startup(b, 3 << 16 | 2, &[]));
    assert_eq!(raw.key.len(), if b.version >= 18 { 32 } else { 4 });
    raw.send(&msg::query(
        "SELECT count(*) FROM generate_series(1, 2000000000)",
    ));
    b.wait_until_active(raw.pid);
    let part = raw.key[..raw.key.len() - 1].to_vec();
    raw.cancel_with(raw.pid, &part);
    let quiet = raw.read(Duration::from_millis(400), |_| true);
    assert_eq!(quiet.end, End::Silent, "a part of the key is not enough");
    raw.cancel();
    assert_eq!(raw.until(1).code(), "57014");
    usable(&mut raw);
}

fn encryption_requests(b: &Bench) {
    b.mask();
    // Refused ('N', there is no certificate), and then in the clear.
    for requests in [&[SSL][..], &[GSS], &[SSL, GSS], &[GSS, SSL]] {
        let mut raw = open(b);
        for request in requests {
            raw.send(&msg::packet(&request.to_be_bytes()));
            assert_eq!(raw.bytes(1), b"N");
        }
        let reply = raw.start(&startup(b, 3 << 16, &[]));
        assert_eq!(reply.end, End::Found);
        confined(&mut raw);
    }
    // Sent ahead of the answer; twice; with garbage.
    for packets in [
        [
            msg::packet(&SSL.to_be_bytes()),
            startup(b, 3 << 16, &[]),
            msg::query("SELECT email FROM shop.customers"),
        ]
        .concat(),
        [
            msg::packet(&SSL.to_be_bytes()),
            msg::packet(&SSL.to_be_bytes()),
        ]
        .concat(),
        [
            msg::packet(&GSS.to_be_bytes()),
            b"garbage garbage garbage".to_vec(),
        ]
        .concat(),
        msg::packet(&[&SSL.to_be_bytes()[..], b"more than there should be"].concat()),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS hello".to_vec(),
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
    ] {
        let mut raw = open(b);
        let reply = raw.finish(&packets);
        assert_ne!(reply.end, End::Silent);
        assert_eq!(leak(&raw.received), None);
    }
    others_served(b);
}

fn packets_that_are_none(b: &Bench) {
    let good = startup(b, 3 << 16, &[]);
    let mut unterminated = 196_608_i32.to_be_bytes().to_vec();
    unterminated.extend(b"user\0x");
    for packet in [
        Vec::new(),
        vec![0],
        vec![0, 0, 0, 0],
        vec![0, 0, 0, 4],
        vec![0, 0, 0, 8, 0, 3, 0, 0],
        vec![0xff; 8],
        vec![0x7f, 0xff, 0xff, 0xff, 0, 3, 0, 0],
        [&20_000_i32.to_be_bytes()[..], &[0; 20_000]].concat(),
        msg::packet(&unterminated),
        msg::startup(196_608, &[]),
        msg::startup(196_608, &[(b"", b"")]),
        msg::startup(196_608, &[(b"user", b"")]),
        msg::startup(
            196_608,
            &[(b"user", b"nobody at all"), (b"database", b"nowhere")],
        ),
        msg::startup(
            196_608,
            &[(b"user", &[b'u'; 9000]), (b"database", &[b'd'; 900])],
        ),
        msg::packet(&80_877_102_i32.to_be_bytes()),
        msg::cancel(1, b""),
        msg::cancel(i32::MIN, &[0; 300]),
        good[..good.len() - 3].to_vec(),
    ] {
        let reply = open(b).finish(&packet);
        assert_eq!(reply.end, End::Closed, "{packet:?}");
        assert_eq!(reply.count(b'Z'), 0, "{}", reply.kinds());
    }
    others_served(b);
}

fn odd_parameters(b: &Bench) {
    b.mask();
    let long = vec![b'x'; 8000];
    for (name, value) in [
        (
            &b"application_name"[..],
            &b"\xff\xfe'; DROP TABLE x; --"[..],
        ),
        (b"application_name", &long),
        (b"client_encoding", b"SJIS"),
        (b"client_encoding", b"no such"),
        (b"DateStyle", b"ISO, \xff"),
        (b"search_path", b"vault, pg_temp, \"$user\""),
        (b"options", b"-c"),
        (b"options", b"-c search_path=vault,shop -c work_mem=64"),
        (b"options", b"-crole=postgres"),
        (b"options", b"-c session_authorization=postgres"),
        (b"options", b"--agent_policy.user_email=bob@example.com"),
        (b"options", b"-W 5 -P -O"),
        (b"options", b"\\ \\\\ \\"),
        (b"statement_timeout", b"0"),
        (b"default_transaction_read_only", b"off"),
        (b"session_replication_role", b"replica"),
        (b"row_security", b"off"),
        (b"local_preload_libraries", b"nothing"),
        (b"session_preload_libraries", b"nothing"),
        (b"log_statement", b"none"),
        (b"agent_policy.nothing", b"1"),
        (b"agent_policy.layer_switched_off", b"rewrite"),
        (b"role", b"postgres"),
        (b"is_superuser", b"on"),
        (b"debug_print_plan", b"on"),
        (b"client_min_messages", b"log"),
        (b"user", b"postgres "),
        (b"zero_damaged_pages", b"on"),
        (b"plan_cache_mode", b"force_generic_plan"),
    ] {
        let mut raw = open(b);
        let reply = raw.start(&startup(b, 3 << 16, &[(name, value)]));
        if reply.end == End::Found {
            // Logged in all the same: then as the agent, confined, and read-only.
            let who = raw.ask(&msg::query("SELECT session_user, current_user"), 1);
            assert_eq!(who.rows()[0], vec![Some(b.agent.clone().into_bytes()); 2]);
            assert_eq!(
                raw.ask(&msg::query("DELETE FROM shop.scratch"), 1).code(),
                "25006"
            );
            let reply = raw.ask(&msg::query("SELECT email FROM shop.customers"), 1);
            assert!(reply.rows().len() == 401 || !reply.errors().is_empty());
            assert_eq!(
                raw.ask(&msg::query("SELECT * FROM vault.secrets"), 1)
                    .code(),
                "42501"
            );
        } else {
            assert!(!reply.errors().is_empty(), "{}", reply.kinds());
        }
        assert_eq!(
            leak(&raw.received),
            None,
            "{}",
            String::from_utf8_lossy(name)
        );
    }
    assert_eq!(b.value("SELECT count(*) FROM shop.scratch"), "2");
}

/// Named twice, the last one counts, for filters and audit alike.
fn more_than_one_identity(b: &Bench) {
    b.allow();
    b.setup("SELECT agent_policy.filter_rows('shop.customers', $$agent_policy.user_email() = 'bob@example.com'$$)");
    for more in [
        vec![(&b"agent_policy.user_email"[..], &b"bob@example.com"[..])],
        vec![(b"options", b"-c agent_policy.user_email=bob@example.com")],
        vec![(b"AGENT_POLICY.USER_EMAIL", b"bob@example.com")],
    ] {
        let mut raw = open(b);
        let reply = raw.start(&startup(b, 3 << 16, &more));
        if reply.end != End::Found {
            continue;
        }
        let who = raw
            .ask(&msg::query("SELECT agent_policy.user_email()"), 1)
            .rows()[0][0]
            .clone();
        let who = String::from_utf8(who.expect("somebody")).expect("text");
        let rows = raw
            .ask(&msg::query("SELECT count(*) FROM shop.customers"), 1)
            .rows()[0][0]
            .clone();
        let all = rows.expect("a count") != b"0";
        assert_eq!(all, who == "bob@example.com");
        let log = b.audit(&format!(
            "backend_pid = {} AND 'shop.customers' = ANY (relations)",
            raw.pid
        ));
        assert_eq!(log[0]["user_email"], who.as_str());
        // And never again.
        let reply = raw.ask(
            &msg::query("SET agent_policy.user_email = 'carol@example.com'"),
            1,
        );
        assert_eq!(reply.count(b'E'), 1);
    }
}

fn connections_in_a_row_share_no_state(b: &Bench) {
    b.mask();
    for i in 0..30 {
        let mut raw = open(b);
        let reply = raw.start(&startup(b, 3 << 16, &[]));
        assert_eq!(reply.end, End::Found);
        raw.send(&msg::parse("s", "SELECT email FROM shop.customers", &[]));
        let reply = raw.ask(
            &[
                msg::bind("p", "s", &[]),
                msg::execute("p", i + 1),
                msg::sync(),
            ]
            .concat(),
            1,
        );
        assert_eq!(reply.rows().len(), i as usize + 1);
        assert_eq!(leak(&raw.received), None);
    }
    let log = b.audit("'shop.customers' = ANY (relations)");
    let rows: u64 = log.iter().filter_map(|r| r["rows_returned"].as_u64()).sum();
    assert_eq!((log.len(), rows), (30, 465));
}

//! Binary results and parameters, odd format codes, many parameters, broken values.

use std::collections::HashSet;

use cluster_tests::bench::leak;
use cluster_tests::raw::msg;
use cluster_tests::{Bench, Case, cases};

use crate::common::{agent, asks, hides, others_served, plain, usable};

pub const CASES: &[Case] = cases![
    masked_columns_in_binary,
    filters_by_binary_parameters,
    records_and_arrays_as_parameters,
    numbers_of_relations_as_parameters,
    format_codes_that_do_not_fit,
    sixty_five_thousand_parameters,
    lengths_that_do_not_fit,
    broken_values,
];

/// No text to look for: the column's values must be as few as the mask leaves.
fn masked_columns_in_binary(b: &Bench) {
    b.mask();
    for column in ["salary", "born", "profile", "ssn", "note"] {
        for expression in [
            format!("c.{column}"),
            format!("array[c.{column}]"),
            format!("row(c.{column})"),
            format!("(c).{column}"),
            format!("(SELECT x.{column} FROM shop.customers x WHERE x.id = c.id)"),
        ] {
            let messages = [
                msg::parse(
                    "",
                    format!("SELECT {expression} FROM ONLY shop.customers c"),
                    &[],
                ),
                msg::bind_as("", "", &[], &[], &[1]),
                msg::execute("", 0),
                msg::sync(),
            ]
            .concat();
            let distinct = |reply: cluster_tests::raw::Reply| -> usize {
                assert!(
                    reply.errors().is_empty(),
                    "{expression}: {}",
                    reply.errors()[0]
                );
                reply
                    .rows()
                    .into_iter()
                    .map(|r| r[0].clone())
                    .collect::<HashSet<_>>()
                    .len()
            };
            assert!(
                distinct(plain(b).ask(&messages, 1)) > 2,
                "control: {expression}"
            );
            let mut raw = agent(b);
            assert_eq!(distinct(raw.ask(&messages, 1)), 1, "{expression}");
            assert_eq!(leak(&raw.received), None);
        }
    }
    // Whole rows, and columns in different formats.
    for (sql, formats) in [
        ("SELECT c FROM shop.customers c", &[1_i16][..]),
        ("SELECT array_agg(c) FROM shop.customers c", &[1]),
        ("SELECT email, salary, born FROM shop.customers", &[0, 1, 0]),
        ("SELECT * FROM shop.customer_list", &[1]),
    ] {
        hides(
            b,
            &[
                msg::parse("", sql, &[]),
                msg::bind_as("", "", &[], &[], formats),
                msg::describe(b'P', ""),
                msg::execute("", 0),
                msg::sync(),
            ],
        );
    }
}

/// What is asked for in binary is compared with the mask too.
fn filters_by_binary_parameters(b: &Bench) {
    b.mask();
    let email = b"c7@okapi.test";
    let messages = [
        msg::parse("", "SELECT id FROM shop.customers WHERE email = $1", &[25]),
        msg::bind_as("", "", &[1], &[Some(email)], &[1]),
        msg::execute("", 0),
        msg::sync(),
    ]
    .concat();
    assert_eq!(plain(b).ask(&messages, 1).rows().len(), 1, "control");
    assert_eq!(agent(b).ask(&messages, 1).rows().len(), 0);
    let array: Vec<u8> = [
        &1_i32.to_be_bytes()[..],
        &0_i32.to_be_bytes(),
        &25_i32.to_be_bytes(),
        &1_i32.to_be_bytes(),
        &1_i32.to_be_bytes(),
        &13_i32.to_be_bytes(),
        email,
    ]
    .concat();
    let messages = [
        msg::parse(
            "",
            "SELECT id FROM shop.customers WHERE email = ANY ($1)",
            &[1009],
        ),
        msg::bind_as("", "", &[1], &[Some(&array)], &[]),
        msg::execute("", 0),
        msg::sync(),
    ]
    .concat();
    assert_eq!(plain(b).ask(&messages, 1).rows().len(), 1, "control");
    assert_eq!(agent(b).ask(&messages, 1).rows().len(), 0);
    // Several plans for one statement, the generic one among them.
    let mut raw = agent(b);
    raw.ask(
        &[
            msg::parse(
                "s",
                "SELECT email FROM shop.customers WHERE ssn = $1 OR id = $2",
                &[],
            ),
            msg::sync(),
        ]
        .concat(),
        1,
    );
    for i in 1..12 {
        let id = i.to_string();
        let ssn = format!("811-22-{i:04}");
        let reply = raw.ask(
            &[
                msg::bind("", "s", &[&ssn, &id]),
                msg::execute("", 0),
                msg::sync(),
            ]
            .concat(),
            1,
        );
        assert_eq!(reply.rows().len(), 1);
    }
    assert_eq!(leak(&raw.received), None);
}

fn records_and_arrays_as_parameters(b: &Bench) {
    b.mask();
    let customers: u32 = b
        .value("SELECT 'shop.customers'::regtype::oid")
        .parse()
        .expect("an oid");
    let secrets: u32 = b
        .value("SELECT 'vault.secrets'::regtype::oid")
        .parse()
        .expect("an oid");
    let record = [
        &2_i32.to_be_bytes()[..],
        &23_i32.to_be_bytes(),
        &4_i32.to_be_bytes(),
        &1_i32.to_be_bytes(),
        &25_i32.to_be_bytes(),
        &1_i32.to_be_bytes(),
        b"x",
    ]
    .concat();
    for (kind, denied) in [(customers, false), (secrets, true), (2_249, false)] {
        for bytes in [&record[..], b"", &[0xff; 40], &record[..9]] {
            let messages = [
                msg::parse("", "SELECT $1", &[kind]),
                msg::bind_as("", "", &[1], &[Some(bytes)], &[1]),
                msg::execute("", 0),
                msg::sync(),
            ];
            let reply = asks(b, &messages);
            if denied {
                assert_eq!(reply.kinds(), "EZ");
                assert_eq!(reply.errors()[0].rule(), "relation_not_allowed");
            }
        }
    }
}

/// `regclass` in binary is a number; its text is a name.
fn numbers_of_relations_as_parameters(b: &Bench) {
    b.mask();
    for (function, argument) in [
        ("table_to_xml($1, true, true, '')", "regclass"),
        ("pg_relation_filepath($1)", "regclass"),
        ("pg_get_viewdef($1)", "oid"),
        ("pg_get_functiondef($1)", "oid"),
        ("lo_get($1)", "oid"),
    ] {
        let target = if argument == "oid" {
            "SELECT 'shop.vault_view'::regclass::oid"
        } else {
            "SELECT 'shop.customers'::regclass::oid"
        };
        let number: u32 = b.value(target).parse().expect("an oid");
        let kind: u32 = b
            .value(&format!("SELECT '{argument}'::regtype::oid"))
            .parse()
            .expect("an oid");
        asks(
            b,
            &[
                msg::parse("", format!("SELECT {function}"), &[kind]),
                msg::bind_as("", "", &[1], &[Some(&number.to_be_bytes())], &[]),
                msg::execute("", 0),
                msg::sync(),
            ],
        );
    }
}

fn format_codes_that_do_not_fit(b: &Bench) {
    b.mask();
    for (formats, results) in [
        (&[2_i16][..], &[0_i16][..]),
        (&[-1], &[1]),
        (&[0, 0, 0], &[1]),
        (&[], &[7]),
        (&[], &[1, 1, 1, 1]),
        (&[], &[i16::MIN]),
    ] {
        let reply = asks(
            b,
            &[
                msg::parse(
                    "",
                    "SELECT email, ssn FROM shop.customers WHERE id = $1",
                    &[23],
                ),
                msg::bind_as("", "", formats, &[Some(b"1")], results),
                msg::describe(b'P', ""),
                msg::execute("", 0),
                msg::sync(),
            ],
        );
        assert_eq!(
            reply.count(b'E'),
            1,
            "{formats:?} {results:?}: {}",
            reply.kinds()
        );
    }
}

fn sixty_five_thousand_parameters(b: &Bench) {
    b.mask();
    let all: Vec<String> = (1..=65_535).map(|i| format!("${i}")).collect();
    let sql = format!(
        "SELECT email FROM shop.customers WHERE id IN ({})",
        all.join(",")
    );
    let values: Vec<String> = (1..=65_535).map(|i| i.to_string()).collect();
    let values: Vec<_> = values.iter().map(|v| Some(v.as_bytes())).collect();
    let messages = [
        msg::parse("", &sql, &vec![23; 65_535]),
        msg::bind_as("", "", &[], &values, &[]),
        msg::execute("", 0),
        msg::sync(),
    ];
    let reply = hides(b, &messages);
    assert_eq!(reply.rows().len(), 401);
    // One more than there can be.
    let reply = asks(b, &[msg::parse("", "SELECT $65536", &[]), msg::sync()]);
    assert_eq!(reply.count(b'E'), 1);
    let reply = asks(
        b,
        &[msg::parse("", "SELECT $2147483648, $0", &[]), msg::sync()],
    );
    assert_eq!(reply.count(b'E'), 1);
    assert!(
        b.audit("'shop.customers' = ANY (relations) AND rows_returned = 401")
            .len()
            == 1
    );
}

fn lengths_that_do_not_fit(b: &Bench) {
    b.mask();
    let parse = msg::parse("s", "SELECT email FROM shop.customers WHERE id = $1", &[]);
    for length in [-2_i32, i32::MIN, i32::MAX, 0, 5, 100_000_000] {
        for value in [&b""[..], b"1", b"12345"] {
            let mut body = b"\0s\0".to_vec();
            body.extend([0, 0, 0, 1]);
            body.extend(length.to_be_bytes());
            body.extend(value);
            body.extend([0, 0]);
            let mut raw = agent(b);
            let reply = raw.finish(
                &[
                    parse.clone(),
                    msg::frame(b'B', &body),
                    msg::execute("", 0),
                    msg::sync(),
                ]
                .concat(),
            );
            assert_eq!(leak(&raw.received), None);
            assert!(reply.count(b'Z') <= 1, "{}", reply.kinds());
        }
    }
    for count in [0_u16, 2, 9, 65_535] {
        let mut body = b"\0s\0".to_vec();
        body.extend([0, 0]);
        body.extend(count.to_be_bytes());
        body.extend([0, 0, 0, 1, b'1', 0, 0]);
        let reply =
            agent(b).finish(&[parse.clone(), msg::frame(b'B', &body), msg::sync()].concat());
        assert_eq!(reply.count(b'E'), 1, "{count}: {}", reply.kinds());
    }
    others_served(b);
}

fn broken_values(b: &Bench) {
    b.mask();
    for (kind, bytes) in [
        (25_u32, &b"\xff\xfe"[..]),
        (25, b"a\0b"),
        (25, b"\xed\xa0\x80"),
        (17, b"\\xzz"),
        (114, b"{\"a\":"),
        (3_802, b"\x02{}"),
        (1_700, b"\xff\xff\xff\xff"),
        (1_082, b"\x7f\xff"),
        (2_950, b"short"),
        (869, b"\x02\x20"),
        (1_007, &[0xff; 24]),
        (3_904, b"\xff"),
        (142, b"<a"),
    ] {
        for format in [0_i16, 1] {
            let messages = [
                msg::parse(
                    "",
                    "SELECT $1, email FROM shop.customers WHERE id = 1",
                    &[kind],
                ),
                msg::bind_as("", "", &[format], &[Some(bytes)], &[]),
                msg::execute("", 0),
                msg::sync(),
            ]
            .concat();
            let code = plain(b).ask(&messages, 1).code();
            let mut raw = agent(b);
            assert_eq!(raw.ask(&messages, 1).code(), code, "type {kind}");
            assert_eq!(leak(&raw.received), None);
            usable(&mut raw);
        }
    }
}

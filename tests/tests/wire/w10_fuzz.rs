//! Sequences of messages, changed at random: whatever they are, no canary comes back, the server stays up, and every
//! row that was sent is in the audit.
//!
//! AGENT_POLICY_FUZZ_SECONDS says how long (default 6; `make fuzz-wire SECONDS=600`), AGENT_POLICY_FUZZ_SEED which
//! ones. A finding prints the seed and the bytes.

use std::time::{Duration, Instant};

use cluster_tests::bench::leak;
use cluster_tests::raw::{End, Raw, msg};
use cluster_tests::{Bench, Case, cases};

use crate::common::{agent_with, others_served};

pub const CASES: &[Case] = cases![sequences_at_random];

/// xorshift64*: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() >> 33) as usize % n.max(1)
    }

    fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}

const TEXTS: &[&str] = &[
    "SELECT email FROM shop.customers WHERE id < $1",
    "SELECT * FROM shop.customers",
    "SELECT c FROM shop.customers c LIMIT 3",
    "SELECT * FROM shop.customer_list",
    "SELECT payload FROM shop.events",
    "SELECT * FROM vault.secrets",
    "SELECT * FROM shop.hidden",
    "SELECT shop.get_email(1)",
    "SELECT shop.all_customers()",
    "TABLE shop.contacts",
    "COPY shop.customers TO STDOUT",
    "COPY shop.customers TO STDOUT BINARY",
    "COPY shop.scratch FROM STDIN",
    "COPY (SELECT note FROM shop.customers) TO STDOUT",
    "EXPLAIN (VERBOSE) SELECT email FROM shop.customers WHERE ssn = '1'",
    "EXPLAIN ANALYZE SELECT * FROM shop.customers",
    "DECLARE c SCROLL CURSOR FOR SELECT note FROM shop.customers",
    "FETCH 7 FROM c",
    "MOVE BACKWARD 3 FROM c",
    "PREPARE q AS SELECT ssn FROM shop.customers WHERE id = $1",
    "EXECUTE q(3)",
    "DEALLOCATE ALL",
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "SAVEPOINT s",
    "ROLLBACK TO s",
    "SET client_encoding = 'LATIN1'",
    "SET plan_cache_mode = force_generic_plan",
    "DISCARD ALL",
    "SELECT 1; SELECT phone FROM shop.customers; SELECT 2",
    "UPDATE shop.customers SET note = email RETURNING *",
    "SELECT 1/0",
    "SELEKT",
    "",
    "SHOW ALL",
    "SELECT set_config('search_path', 'vault', false)",
    "SELECT * FROM pg_stats",
];
const NAMES: &[&str] = &["", "a", "b", "c"];

fn message(random: &mut Random) -> Vec<u8> {
    let name = *random.pick(NAMES);
    let other = *random.pick(NAMES);
    let format = random.below(2) as i16;
    match random.below(14) {
        0 | 1 => msg::query(random.pick(TEXTS)),
        2..=4 => {
            let types: [&[u32]; 5] = [&[], &[23], &[25, 25], &[2_205], &[0, 0xffff_ffff]];
            let types = *random.pick(&types);
            msg::parse(name, random.pick(TEXTS), types)
        }
        5 | 6 => {
            let values: [&[Option<&[u8]>]; 5] = [
                &[],
                &[Some(b"9")],
                &[Some(b"\0\0\0\x09")],
                &[None],
                &[Some(b"1"), Some(b"2")],
            ];
            let values = *random.pick(&values);
            msg::bind_as(name, other, &[format], values, &[random.below(2) as i16])
        }
        7 => msg::describe(*random.pick(b"SP"), name),
        8 | 9 => msg::execute(name, *random.pick(&[0, 1, 2, 50, -1])),
        10 => msg::close(*random.pick(b"SP"), name),
        11 => msg::sync(),
        12 => random
            .pick(&[
                msg::flush(),
                msg::copy_data(b"5\tx\n"),
                msg::copy_done(),
                msg::copy_fail("x"),
            ])
            .clone(),
        _ => msg::call(
            *random.pick(&[870, 764, 2_078, 2_311, 1_574, 2_925, 0]),
            &[format],
            &[Some(b"1")],
            format,
        ),
    }
}

/// A plausible beginning, then anything.
fn sequence(random: &mut Random) -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    for _ in 0..random.below(4) {
        let name = *random.pick(NAMES);
        let portal = *random.pick(NAMES);
        messages.push(msg::parse(name, random.pick(TEXTS), &[]));
        messages.push(msg::bind(portal, name, &[]));
        messages.push(msg::execute(portal, random.below(30) as i32));
        if random.below(3) > 0 {
            messages.push(msg::sync());
        }
    }
    for _ in 0..random.below(12) {
        messages.push(message(random));
    }
    messages
}

fn mutate(random: &mut Random, messages: &mut Vec<Vec<u8>>) {
    for _ in 0..random.below(4) {
        // One may have been cut to nothing.
        messages.retain(|message| message.len() >= 5);
        if messages.is_empty() {
            return;
        }
        let at = random.below(messages.len());
        match random.below(8) {
            0 => {
                let copy = messages[at].clone();
                messages.insert(at, copy);
            }
            1 => {
                messages.remove(at);
            }
            2 => {
                let other = random.below(messages.len());
                messages.swap(at, other);
            }
            3 => {
                let message = &mut messages[at];
                let byte = random.below(message.len());
                message[byte] ^= 1 << random.below(8);
            }
            4 => {
                let message = &mut messages[at];
                let end = random.below(message.len() + 1);
                message.truncate(end);
            }
            // The body ends early, and the length knows.
            5 => {
                let message = &mut messages[at];
                if message.len() > 5 {
                    let body = message[5..5 + random.below(message.len() - 5)].to_vec();
                    *message = msg::frame(message[0], &body);
                }
            }
            6 => {
                let kind = *random.pick(b"QPBDECSHFdcfX");
                messages[at][0] = kind;
            }
            _ => {
                let message = &mut messages[at];
                let byte = 5 + random.below(message.len().saturating_sub(4));
                let junk = random.next().to_be_bytes();
                if byte <= message.len() {
                    message.splice(byte..byte, junk);
                    let length = (message.len() as i32 - 1).to_be_bytes();
                    message[1..5].copy_from_slice(&length);
                }
            }
        }
    }
}

fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|v| v.parse().ok())
        .unwrap_or(default)
}

fn sequences_at_random(b: &Bench) {
    b.mask();
    b.setup(
        "SELECT agent_policy.deny_relation('@agent@', 'shop.hidden');
         SELECT agent_policy.deny_relation('@agent@', 'shop.contacts');
         SELECT agent_policy.deny_relation('@agent@', 'shop.vault_view');
         SELECT agent_policy.set_limits('@agent@', statement_timeout => '5 s')",
    );
    let seconds = from_environment("AGENT_POLICY_FUZZ_SECONDS", 6);
    let seed = from_environment("AGENT_POLICY_FUZZ_SEED", 0x5eed_1234_abcd_0001);
    let mut random = Random(seed | 1);
    let until = Instant::now() + Duration::from_secs(seconds);
    let (mut runs, mut rows, mut answered) = (0_u64, 0_u64, 0_u64);
    // What it is to show by then takes some of them, however long that is.
    while Instant::now() < until || runs < 60 {
        let mut messages = sequence(&mut random);
        mutate(&mut random, &mut messages);
        let bytes = messages.concat();
        let what = || {
            format!(
                "seed {seed:#x}, run {runs}: {:?}",
                String::from_utf8_lossy(&bytes)
            )
        };
        let user = format!("-c agent_policy.user_email=run{runs}@example.com");
        let mut raw: Raw = agent_with(b, &[("options", &user)]);
        let reply = raw.finish(&bytes);
        assert_ne!(reply.end, End::Silent, "no end: {}", what());
        if let Some(canary) = leak(&raw.received) {
            panic!("leak of {canary}: {}", what());
        }
        assert_eq!(
            reply.count(b'V'),
            0,
            "a result of the fast path: {}",
            what()
        );
        rows += reply.count(b'D') as u64;
        answered += u64::from(reply.count(b'Z') > 0);
        runs += 1;
    }
    others_served(b);
    assert!(
        answered > 0 && rows > 0,
        "{runs} runs, {answered} answered, {rows} rows"
    );
    assert_eq!(b.cluster.crashes(), 0);
    // COPY counts its rows too, which are no DataRow.
    let recorded: u64 = b
        .audit("command_tag IS DISTINCT FROM 'COPY'")
        .iter()
        .filter_map(|r| r["rows_returned"].as_u64())
        .sum();
    assert!(
        recorded >= rows,
        "seed {seed:#x}: {rows} rows were sent, {recorded} are recorded"
    );
    eprintln!("  {runs} sequences, {answered} answered, {rows} rows");
}

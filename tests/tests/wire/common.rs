//! Connections of the two roles, and the comparison between them.

use cluster_tests::Bench;
use cluster_tests::bench::{ALICE, leak};
use cluster_tests::raw::{End, Raw, Reply, msg};

/// The agent for Alice.
pub fn agent(b: &Bench) -> Raw {
    agent_for(b, ALICE)
}

pub fn agent_for(b: &Bench, email: &str) -> Raw {
    agent_with(
        b,
        &[("options", &format!("-c agent_policy.user_email={email}"))],
    )
}

pub fn agent_with(b: &Bench, parameters: &[(&str, &str)]) -> Raw {
    Raw::login(&b.cluster.socket(), &b.agent, &b.db, parameters).expect("the agent connects")
}

pub fn plain(b: &Bench) -> Raw {
    Raw::login(&b.cluster.socket(), &b.plain, &b.db, &[]).expect("the plain role connects")
}

/// How often the server will be ready after these messages.
fn turns(messages: &[Vec<u8>]) -> usize {
    messages
        .iter()
        .filter(|m| matches!(m[0], b'S' | b'Q' | b'F'))
        .count()
}

/// The plain role gets a canary by these messages.
#[track_caller]
pub fn control(b: &Bench, messages: &[Vec<u8>]) -> Reply {
    let mut plain = plain(b);
    let reply = plain.ask(&messages.concat(), turns(messages));
    assert_eq!(reply.end, End::Found, "control run: {}", reply.kinds());
    assert!(
        leak(&plain.received).is_some(),
        "control run: no canary: {} {:?}",
        reply.kinds(),
        reply.errors().first().map(ToString::to_string)
    );
    reply
}

/// With control run: the agent gets no canary by these messages, an answer to each of them, and may go on.
#[track_caller]
pub fn hides(b: &Bench, messages: &[Vec<u8>]) -> Reply {
    control(b, messages);
    asks(b, messages)
}

/// The same without control run.
#[track_caller]
pub fn asks(b: &Bench, messages: &[Vec<u8>]) -> Reply {
    let mut agent = agent(b);
    let reply = agent.ask(&messages.concat(), turns(messages));
    assert_eq!(reply.end, End::Found, "{}", reply.kinds());
    assert_eq!(leak(&agent.received), None, "leak: {}", reply.kinds());
    for error in reply.errors() {
        assert_ne!(&error.code[..2], "XX", "{error}");
    }
    usable(&mut agent);
    reply
}

/// The session answers.
#[track_caller]
pub fn usable(raw: &mut Raw) {
    let end = raw.ask(&msg::query("ROLLBACK"), 1).end;
    assert_eq!(end, End::Found, "the session is dead");
    let reply = raw.ask(&msg::query("SELECT 40 + 2"), 1);
    assert_eq!(
        reply.rows().len(),
        1,
        "the session is no longer usable: {}",
        reply.kinds()
    );
}

/// The server is up, and others are served.
#[track_caller]
pub fn others_served(b: &Bench) {
    let reply = plain(b).ask(&msg::query("SELECT count(*) FROM shop.customers"), 1);
    assert_eq!(reply.rows().len(), 1);
}

pub fn oid(b: &Bench, signature: &str) -> u32 {
    b.value(&format!("SELECT '{signature}'::regprocedure::oid"))
        .parse()
        .expect("an oid")
}

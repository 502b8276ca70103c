//! The layers of the enforcement cannot be switched off, but in the test build that is made for it.

use std::process::Command;

use cluster_tests::{Bench, Case, cases, cluster};

pub const CASES: &[Case] = cases![the_library_has_no_switch, no_session_has_a_switch];

const SWITCH: &str = "layer_switched_off";

fn the_library_has_no_switch(b: &Bench) {
    let output = Command::new(cluster::pg_config(b.version).expect("it runs"))
        .arg("--pkglibdir")
        .output()
        .expect("pg_config runs");
    let directory = String::from_utf8(output.stdout).expect("a path");
    let library =
        std::fs::read(format!("{}/agent_policy.so", directory.trim())).expect("the library");
    let names = |name: &str| {
        regex::bytes::Regex::new(&regex::escape(name))
            .expect("a pattern")
            .is_match(&library)
    };
    assert!(
        names("agent_policy.user_email"),
        "names of settings are found so"
    );
    assert!(!names(SWITCH));
}

fn no_session_has_a_switch(b: &Bench) {
    b.mask();
    let like = format!("SELECT count(*) FROM pg_settings WHERE name LIKE '%{SWITCH}%'");
    assert_eq!(b.value(&like), "0");
    let set = format!("SET agent_policy.{SWITCH} = 'rewrite'");
    b.agent().error(&set);
    // Nobody else can set what is not there.
    for command in ["ALTER ROLE @agent@", "ALTER DATABASE @db@"] {
        assert_eq!(b.setup_error(&format!("{command} {set}")).code, "42602");
    }
    b.masks("SELECT email FROM shop.customers");
    let option =
        format!("-c agent_policy.user_email=alice@example.com -c agent_policy.{SWITCH}=rewrite");
    if let Ok(mut agent) = b.agent_with(&[("options", &option)]) {
        let answer = agent.simple("SELECT email FROM shop.customers");
        assert_eq!(cluster_tests::bench::leak(&answer.bytes), None);
    }
}

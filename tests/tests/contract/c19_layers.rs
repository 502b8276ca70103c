//! The layers of the enforcement cannot be switched off, but in the test build that is made for it.

use std::process::Command;

use cluster_tests::wire::contains;
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
    assert!(
        contains(&library, b"agent_policy.user_email"),
        "names of settings are found so"
    );
    assert!(!contains(&library, SWITCH.as_bytes()));
}

fn no_session_has_a_switch(b: &Bench) {
    b.mask();
    let like = format!("SELECT count(*) FROM pg_settings WHERE name LIKE '%{SWITCH}%'");
    assert_eq!(b.value(&like), "0");
    let set = format!("SET agent_policy.{SWITCH} = 'rewrite'");
    b.setup_error(&set);
    b.agent().error(&set);
    let option =
        format!("-c agent_policy.user_email=alice@example.com -c agent_policy.{SWITCH}=rewrite");
    if let Ok(mut agent) = b.agent_with(&[("options", &option)]) {
        let answer = agent.simple("SELECT email FROM shop.customers");
        assert_eq!(cluster_tests::bench::leak(&answer.bytes), None);
    }
}

//! Every attack, on every version, over the simple and the extended protocol: harm without the policy, none with it.
//!
//! The project's own attacks are in tests/attacks and work on the shop. A second corpus is run where it is found
//! (../shared/attacks beside the project, or AGENT_POLICY_ATTACKS), on servers of its own.

#![forbid(unsafe_code)]

mod ablation;
mod classes;
mod own;
mod shared;
mod tally;

use cluster_tests::{cluster, run};

fn main() -> std::process::ExitCode {
    let versions = cluster::versions();
    if std::env::var_os("AGENT_POLICY_ABLATION").is_some() {
        return ablation::main(&versions);
    }
    let mut trials = classes::trials();
    trials.extend(own::trials(&versions));
    trials.extend(shared::trials(&versions));
    run::main_and(trials, || {
        let unchanged = own::unchanged();
        shared::stop();
        tally::report();
        unchanged
    })
}

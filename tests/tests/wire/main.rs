//! Attacks below SQL: messages in an order, a form or at a moment that no driver would choose. Each is made by the
//! plain role first, where it must do what it is there for, and then by the agent.

#![forbid(unsafe_code)]

mod common;
mod w01_describe;
mod w02_portals;
mod w03_fast_path;
mod w04_pipeline;
mod w05_copy;
mod w06_cancel;
mod w07_formats;
mod w08_broken;
mod w09_startup;
mod w10_fuzz;

fn main() -> std::process::ExitCode {
    cluster_tests::run::main(cluster_tests::run::trials(&[
        w01_describe::CASES,
        w02_portals::CASES,
        w03_fast_path::CASES,
        w04_pipeline::CASES,
        w05_copy::CASES,
        w06_cancel::CASES,
        w07_formats::CASES,
        w08_broken::CASES,
        w09_startup::CASES,
        w10_fuzz::CASES,
    ]))
}

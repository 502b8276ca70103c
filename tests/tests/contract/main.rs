//! The contract (docs: the SQL interface), a chapter a file, every test on every version.

#![forbid(unsafe_code)]

mod c01_admins;
mod c01_policy;
mod c02_allowlist;
mod c02_check;
mod c02_commands;
mod c03_read_only;
mod c04_mask_paths;
mod c04_masks;
mod c05_row_filters;
mod c06_limits;
mod c07_audit;
mod c07_complete;
mod c07_durability;
mod c07_forgery;
mod c07_ingest;
mod c07_power;
mod c07_returned;
mod c07_texts;
mod c08_identity;
mod c09_change;
mod c09_days;
mod c10_explain;
mod c11_failing_closed;
mod c12_hard_input;
mod c13_bystander;
mod c14_clients;
mod c15_real_client;
mod c16_doors;
mod c16_start_up;
mod c17_harden;
mod c18_catalogs;
mod c18_functions;
mod c19_layers;
mod c20_memory;
mod c20_time;
mod c21_robust;
mod c22_evidence;
mod c22_privacy;
mod c23_everywhere;
mod c23_group_size;
mod c23_more_masks;
mod c23_preview;
mod c23_returning;
mod c23_unclassified;
mod c23_ways_around;
mod c24_export;
mod c25_promotion;
mod c25_restore;
mod c25_shipping;
mod c25_standby;
mod c26_reviewed;
mod c27_audit_reviewed;
mod c28_recorded;

fn main() -> std::process::ExitCode {
    cluster_tests::run::main(cluster_tests::run::trials(&[
        c01_policy::CASES,
        c01_admins::CASES,
        c02_allowlist::CASES,
        c02_check::CASES,
        c02_commands::CASES,
        c03_read_only::CASES,
        c04_mask_paths::CASES,
        c04_masks::CASES,
        c05_row_filters::CASES,
        c06_limits::CASES,
        c07_audit::CASES,
        c07_complete::CASES,
        c07_durability::CASES,
        c07_forgery::CASES,
        c07_ingest::CASES,
        c07_power::CASES,
        c07_returned::CASES,
        c07_texts::CASES,
        c08_identity::CASES,
        c09_change::CASES,
        c09_days::CASES,
        c10_explain::CASES,
        c11_failing_closed::CASES,
        c12_hard_input::CASES,
        c13_bystander::CASES,
        c14_clients::CASES,
        c15_real_client::CASES,
        c16_doors::CASES,
        c16_start_up::CASES,
        c17_harden::CASES,
        c18_catalogs::CASES,
        c18_functions::CASES,
        c19_layers::CASES,
        c20_time::CASES,
        c20_memory::CASES,
        c21_robust::CASES,
        c22_evidence::CASES,
        c22_privacy::CASES,
        c23_everywhere::CASES,
        c23_group_size::CASES,
        c23_more_masks::CASES,
        c23_preview::CASES,
        c23_returning::CASES,
        c23_unclassified::CASES,
        c23_ways_around::CASES,
        c24_export::CASES,
        c25_standby::CASES,
        c25_promotion::CASES,
        c25_restore::CASES,
        c26_reviewed::CASES,
        c27_audit_reviewed::CASES,
        c28_recorded::CASES,
        c25_shipping::CASES,
    ]))
}

use cluster_tests::{Case, cases};
pub const CASES: &[Case] = cases![];

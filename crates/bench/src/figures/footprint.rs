//! What an idle confined backend holds, and how large the library is.

use std::path::Path;

use super::Pair;
use crate::cluster;
use crate::{Bound, Figure, Result, median};

pub fn run(pair: &Pair, library: &Path) -> Result<Vec<Figure>> {
    let statement = "SELECT count(*) FROM pg_class; SELECT 1";
    let mut ours = Vec::new();
    let mut against = Vec::new();
    for _ in 0..5 {
        ours.push(pair.guarded.client("agent").private_memory(statement)?);
        against.push(pair.plain.client("agent").private_memory(statement)?);
    }
    let (ours, against) = (median(&mut ours), median(&mut against));
    let bytes = cluster::size(library)? as f64;
    let mb = f64::from(1 << 20);
    Ok(vec![
        Figure {
            name: "footprint, private memory".into(),
            ours: format!("+{:.0} kB", ours - against),
            against: "1024 kB".into(),
            ratio: (ours - against) / 1024.0,
            spread: None,
            bound: Bound::AtMost(1.0),
            remark: format!("{ours:.0} against {against:.0} kB"),
        },
        Figure {
            name: "footprint, library".into(),
            ours: format!("{:.1} MB", bytes / mb),
            against: "8 MB".into(),
            ratio: bytes / mb / 8.0,
            spread: None,
            bound: Bound::AtMost(1.0),
            remark: String::new(),
        },
    ])
}

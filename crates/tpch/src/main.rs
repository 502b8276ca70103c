//! Writes the TPC-H tables to stdout as a script for psql: one `COPY … FROM STDIN` a table.
//!
//! ```sh
//! tpch 0.05 | psql warehouse                    # all eight tables
//! tpch 1 customer orders | psql warehouse       # some of them
//! ```

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use tpch::TABLES;

const USAGE: &str = "usage: tpch SCALE [TABLE...]
  SCALE   1 is about 1 GB; 0.05 has 300 000 line items
  TABLE   region nation part supplier partsupp customer orders lineitem; all when none is named";

/// One table: the command, its rows, the end mark.
fn write_table(out: &mut impl Write, table: &str, scale: f64) -> io::Result<()> {
    writeln!(out, "\\echo {table}")?;
    writeln!(out, "COPY {table} FROM STDIN (DELIMITER '|');")?;
    tpch::rows(out, table, scale)?;
    writeln!(out, "\\.")
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let scale = arguments.next().and_then(|s| s.parse::<f64>().ok());
    let tables: Vec<String> = arguments.collect();
    let Some(scale) = scale.filter(|s| (0.001..=1000.0).contains(s)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    if let Some(unknown) = tables.iter().find(|t| !TABLES.contains(&t.as_str())) {
        eprintln!("tpch: no table {unknown:?}\n{USAGE}");
        return ExitCode::from(2);
    }
    let mut out = BufWriter::with_capacity(1 << 20, io::stdout().lock());
    let result = TABLES
        .iter()
        .filter(|t| tables.is_empty() || tables.iter().any(|wanted| wanted == *t))
        .try_for_each(|table| write_table(&mut out, table, scale))
        .and_then(|()| out.flush());
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tpch: {error}");
            ExitCode::FAILURE
        }
    }
}

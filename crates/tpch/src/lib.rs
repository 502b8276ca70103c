//! TPC-H for the demonstration, the benchmarks and the tests: rows as COPY input, and the 22 questions.

use std::fmt::{Display, Write as _};
use std::io::{self, Write};

use tpchgen::generators::{
    CustomerGenerator, LineItemGenerator, NationGenerator, OrderGenerator, PartGenerator,
    PartSuppGenerator, RegionGenerator, SupplierGenerator,
};

/// In an order that foreign keys accept.
pub const TABLES: [&str; 8] = [
    "region", "nation", "part", "supplier", "partsupp", "customer", "orders", "lineitem",
];

pub const QUESTIONS: std::ops::RangeInclusive<usize> = 1..=22;

/// Writes the rows of a table as input of `COPY … (DELIMITER '|')`.
///
/// # Errors
/// Those of `out`; a table that is none of [`TABLES`].
///
/// ```no_run
/// let mut rows = Vec::new();
/// tpch::rows(&mut rows, "region", 0.01).unwrap();
/// assert_eq!(rows.iter().filter(|b| **b == b'\n').count(), 5);
/// ```
pub fn rows(out: &mut impl Write, table: &str, scale: f64) -> io::Result<()> {
    match table {
        "region" => write(out, RegionGenerator::new(scale, 1, 1).iter()),
        "nation" => write(out, NationGenerator::new(scale, 1, 1).iter()),
        "part" => write(out, PartGenerator::new(scale, 1, 1).iter()),
        "supplier" => write(out, SupplierGenerator::new(scale, 1, 1).iter()),
        "partsupp" => write(out, PartSuppGenerator::new(scale, 1, 1).iter()),
        "customer" => write(out, CustomerGenerator::new(scale, 1, 1).iter()),
        "orders" => write(out, OrderGenerator::new(scale, 1, 1).iter()),
        "lineitem" => write(out, LineItemGenerator::new(scale, 1, 1).iter()),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("no table {table:?}"),
        )),
    }
}

fn write<R: Display>(out: &mut impl Write, rows: impl Iterator<Item = R>) -> io::Result<()> {
    let mut line = String::new();
    for row in rows {
        line.clear();
        // The generator ends each row with a delimiter, which COPY would take for a column more.
        // None of its texts has a backslash or a line break.
        let _ = write!(line, "{row}");
        writeln!(out, "{}", line.strip_suffix('|').unwrap_or(&line))?;
    }
    Ok(())
}

/// The validation parameters (2.4 of the specification), :1 first.
const PARAMETERS: [&[&str]; 22] = [
    &["90"],
    &["15", "BRASS", "EUROPE"],
    &["BUILDING", "1995-03-15"],
    &["1993-07-01"],
    &["ASIA", "1994-01-01"],
    &["1994-01-01", "0.06", "24"],
    &["FRANCE", "GERMANY"],
    &["BRAZIL", "AMERICA", "ECONOMY ANODIZED STEEL"],
    &["green"],
    &["1993-10-01"],
    // Followed by the fraction, which depends on the scale.
    &["GERMANY"],
    &["MAIL", "SHIP", "1994-01-01"],
    &["special", "requests"],
    &["1995-09-01"],
    &["1996-01-01"],
    &[
        "Brand#45",
        "MEDIUM POLISHED",
        "49",
        "14",
        "23",
        "45",
        "19",
        "3",
        "36",
        "9",
    ],
    &["Brand#23", "MED BOX"],
    &["300"],
    &["Brand#12", "Brand#23", "Brand#34", "1", "10", "20"],
    &["forest", "1994-01-01", "CANADA"],
    &["SAUDI ARABIA"],
    &["13", "31", "23", "29", "30", "18", "17"],
];

/// A question as published, with its parameters and in PostgreSQL's dialect. The view of question 15
/// becomes a WITH: an agent may make none.
///
/// # Panics
/// For a number that is not one of [`QUESTIONS`].
///
/// ```
/// assert!(tpch::question(15, 1.0).starts_with("with revenue_s"));
/// ```
#[must_use]
pub fn question(number: usize, scale: f64) -> String {
    let published = i32::try_from(number)
        .ok()
        .and_then(tpchgen::q_and_a::queries::query)
        .expect("1 to 22");
    // PostgreSQL has no precision for days.
    let mut text = published
        .trim()
        .replace(" day (3)", " day")
        .replace("revenue:s", "revenue_s");
    let mut parameters: Vec<String> = PARAMETERS[number - 1].iter().map(|p| (*p).into()).collect();
    if number == 11 {
        parameters.push(format!("{:.10}", 0.0001 / scale));
    }
    // The last first: :10 is not :1 and a zero.
    for (i, value) in parameters.iter().enumerate().rev() {
        text = text.replace(&format!(":{}", i + 1), value);
    }
    let mut statements = text.split(';').map(str::trim);
    let first = statements.next().unwrap_or_default();
    match first.strip_prefix("create view") {
        Some(view) => {
            let (name, body) = view.split_once(" as").expect("a view");
            let select = statements.next().unwrap_or_default();
            format!("with{name} as ({body}) {select}")
        }
        None => first.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_whole() {
        for number in QUESTIONS {
            let text = question(number, 0.1);
            assert!(
                text.starts_with("select") || text.starts_with("with"),
                "{number}: {text}"
            );
            // Times of day have none, names of parameters would.
            assert!(!text.contains([':', ';']), "{number}: {text}");
        }
        assert!(question(11, 0.1).contains("0.0010000000"));
        assert!(question(16, 0.1).contains("(49, 14, 23, 45, 19, 3, 36, 9)"));
    }
}

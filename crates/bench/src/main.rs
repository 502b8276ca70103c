//! `make bench`: what confinement costs. Each figure compares two ways of doing the same work, in
//! short runs that alternate, so that a change of the machine's mood meets both; what is printed
//! is the median of the pairs' ratios.
//!
//! The clusters are thrown away, on a Unix socket, with settings that are printed with the table.

mod cluster;
mod figures;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

pub type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

/// How much is run.
pub struct Effort {
    pub pairs: usize,
    pub run: Duration,
    /// Rows of the tables for masks and cap.
    pub rows: u64,
    pub tpch: f64,
}

/// One line of the table.
pub struct Figure {
    pub name: String,
    pub ours: String,
    pub against: String,
    pub ratio: f64,
    pub spread: Option<(f64, f64)>,
    pub bound: Bound,
    pub remark: String,
}

pub enum Bound {
    AtLeast(f64),
    AtMost(f64),
    /// Nothing is asked of it: it tells what the others mean.
    Orientation,
}

impl Bound {
    fn holds(&self, ratio: f64) -> bool {
        match self {
            Self::AtLeast(b) => ratio >= *b,
            Self::AtMost(b) => ratio <= *b,
            Self::Orientation => true,
        }
    }

    fn within(&self, ratio: f64, part: f64) -> bool {
        match self {
            Self::AtLeast(bound) | Self::AtMost(bound) => (ratio - bound).abs() <= part * bound,
            Self::Orientation => true,
        }
    }

    fn verdict(&self, figure: &Figure) -> &'static str {
        match figure.spread {
            _ if matches!(self, Self::Orientation) => "",
            _ if self.holds(figure.ratio) => "ok",
            // Missed by less than the runs differ.
            Some((least, greatest))
                if self.holds(least) != self.holds(greatest) && self.within(figure.ratio, 0.03) =>
            {
                "near"
            }
            _ => "missed",
        }
    }
}

impl std::fmt::Display for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AtLeast(b) => write!(f, ">= {b}"),
            Self::AtMost(b) => write!(f, "<= {b}"),
            Self::Orientation => write!(f, "-"),
        }
    }
}

pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let n = values.len();
    if n == 0 {
        return f64::NAN;
    }
    if n % 2 == 1 {
        values[n / 2]
    } else {
        f64::midpoint(values[n / 2 - 1], values[n / 2])
    }
}

/// The results of alternating runs, first the one and then the other, next time around.
pub fn pairs<T>(
    n: usize,
    mut ours: impl FnMut() -> Result<T>,
    mut against: impl FnMut() -> Result<T>,
) -> Result<Vec<(T, T)>> {
    (0..n)
        .map(|i| {
            eprint!(".");
            if i % 2 == 0 {
                let a = ours()?;
                Ok((a, against()?))
            } else {
                let b = against()?;
                Ok((ours()?, b))
            }
        })
        .collect()
}

/// Median, least and greatest of the pairs' ratios.
pub fn ratios(of: impl Iterator<Item = (f64, f64)>) -> (f64, Option<(f64, f64)>) {
    let mut ratios: Vec<f64> = of.map(|(ours, against)| ours / against).collect();
    let middle = median(&mut ratios);
    (middle, ratios.first().copied().zip(ratios.last().copied()))
}

fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo")
        .lines()
        .find_map(|l| {
            l.strip_prefix("model name")?
                .split(": ")
                .nth(1)
                .map(str::to_owned)
        })
        .unwrap_or_else(|| "unknown CPU".into());
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = read("/proc/meminfo")
        .lines()
        .find_map(|l| {
            l.strip_prefix("MemTotal:")?
                .split_whitespace()
                .next()?
                .parse::<u64>()
                .ok()
        })
        .unwrap_or(0)
        / (1 << 20);
    let kernel = read("/proc/sys/kernel/osrelease").trim().to_owned();
    let load = read("/proc/loadavg")
        .split(' ')
        .take(3)
        .collect::<Vec<_>>()
        .join(" ");
    format!("{cpu}, {cores} cores, {memory} GB, Linux {kernel}; load before {load}")
}

fn table(figures: &[Figure]) {
    let head = [
        "figure",
        "ours",
        "peer or bound",
        "ratio",
        "range",
        "goal",
        "",
    ]
    .map(str::to_owned);
    let mut rows = vec![head];
    for figure in figures {
        rows.push([
            figure.name.clone(),
            figure.ours.clone(),
            figure.against.clone(),
            format!("{:.3}", figure.ratio),
            figure
                .spread
                .map_or_else(String::new, |(a, b)| format!("{a:.2}-{b:.2}")),
            figure.bound.to_string(),
            match figure.remark.as_str() {
                "" => figure.bound.verdict(figure).to_owned(),
                remark => match figure.bound.verdict(figure) {
                    "" => remark.to_owned(),
                    verdict => format!("{verdict}; {remark}"),
                },
            },
        ]);
    }
    let mut width = [0; 7];
    for row in &rows {
        for (w, cell) in width.iter_mut().zip(row) {
            *w = (*w).max(cell.chars().count());
        }
    }
    for row in &rows {
        let mut line = String::new();
        for (i, (w, cell)) in width.iter().zip(row).enumerate() {
            let pad = " ".repeat(w - cell.chars().count());
            // Names and remarks to the left, figures to the right.
            if i == 0 || i == 6 {
                line += &format!("{cell}{pad}  ");
            } else {
                line += &format!("{pad}{cell}  ");
            }
        }
        println!("{}", line.trim_end());
    }
}

fn run() -> Result<()> {
    let mut place = cluster::Place {
        bin: PathBuf::new(),
        dir: PathBuf::new(),
        tpch: PathBuf::new(),
        owner: None,
    };
    let mut library = PathBuf::new();
    let mut effort = Effort {
        pairs: 5,
        run: Duration::from_secs(3),
        rows: 1_000_000,
        tpch: 0.1,
    };
    let mut names = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            "--bin" => place.bin = value()?.into(),
            "--dir" => place.dir = value()?.into(),
            "--tpch" => place.tpch = value()?.into(),
            "--library" => library = value()?.into(),
            "--owner" => {
                let ids = value()?;
                let (uid, gid) = ids.split_once(':').ok_or("--owner UID:GID")?;
                place.owner = Some((uid.parse()?, gid.parse()?));
            }
            "--pairs" => effort.pairs = value()?.parse()?,
            "--seconds" => effort.run = Duration::from_secs(value()?.parse()?),
            "--rows" => effort.rows = value()?.parse()?,
            "--tpch-scale" => effort.tpch = value()?.parse()?,
            name if figures::NAMES.contains(&name) => names.push(name.to_owned()),
            name => {
                return Err(format!(
                    "no benchmark {name:?}; there are {}",
                    figures::NAMES.join(", ")
                )
                .into());
            }
        }
    }
    let head = [
        format!("machine   {}", machine()),
        format!(
            "server    {}; agent_policy {}, release build",
            place.version()?,
            env!("CARGO_PKG_VERSION")
        ),
        format!("settings  {}", figures::SETTINGS.replace('\n', ", ")),
        format!(
            "method    {} alternating pairs, runs of {} s, one client where it does not say otherwise; median, least and greatest ratio",
            effort.pairs,
            effort.run.as_secs()
        ),
    ];
    let wanted = |name: &str| names.is_empty() || names.iter().any(|n| n == name);
    let done = figures::run(&place, &library, &effort, &wanted)?;
    println!("\n{}\n", head.join("\n"));
    table(&done);
    println!("\nnot there yet: scan");
    Ok(())
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

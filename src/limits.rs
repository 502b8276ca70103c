//! How much of a statement reaches the client: rows, bytes, plan cost.

use std::cell::Cell;

use policy::model::{Limits, OnExcess};
use policy::rule::Rule;

use crate::denial::Denial;

/// What the statement at hand may send and has sent.
#[derive(Clone, Copy)]
struct Meter {
    limits: Limits,
    rows: u64,
    bytes: u64,
    /// Bytes that earlier slices of the same portal have sent.
    earlier: u64,
    /// The limit that cut the result short, if one did.
    cut: Option<Rule>,
    warned: bool,
}

thread_local! {
    static METER: Cell<Meter> = const {
        Cell::new(Meter {
            limits: Limits::NONE,
            rows: 0,
            bytes: 0,
            earlier: 0,
            cut: None,
            warned: false,
        })
    };
}

/// What has been sent.
#[derive(Debug, Clone, Copy)]
pub struct Sent {
    pub rows: u64,
    pub bytes: u64,
    pub truncated: bool,
}

/// A statement begins under these limits.
pub fn begin(limits: Limits) {
    METER.set(Meter {
        limits,
        rows: 0,
        bytes: 0,
        earlier: 0,
        cut: None,
        warned: false,
    });
}

/// The query has sent so much before, in earlier slices of its portal.
pub fn carry(earlier: u64) {
    let mut meter = METER.get();
    meter.earlier = earlier;
    METER.set(meter);
}

/// COPY says itself how many rows it has sent: a message is not always one.
pub fn rows_are(rows: u64) {
    let mut meter = METER.get();
    meter.rows = rows;
    METER.set(meter);
}

pub fn sent() -> Sent {
    let meter = METER.get();
    Sent {
        rows: meter.rows,
        bytes: meter.bytes,
        truncated: meter.cut.is_some(),
    }
}

/// Bytes that the portal at hand has sent, in all its slices.
pub fn sent_by_portal() -> u64 {
    let meter = METER.get();
    meter.earlier.saturating_add(meter.bytes)
}

/// Would a message of `length` bytes be one too many?
pub fn over_bytes(length: usize) -> bool {
    let meter = METER.get();
    meter.cut == Some(Rule::MaxBytes)
        || meter.limits.max_bytes.is_some_and(|max| {
            meter
                .earlier
                .saturating_add(meter.bytes)
                .saturating_add(length as u64)
                > max
        })
}

/// A message of data that was counted does not leave.
pub fn take_back(length: usize) {
    let mut meter = METER.get();
    meter.rows = meter.rows.saturating_sub(1);
    meter.bytes = meter.bytes.saturating_sub(length as u64);
    METER.set(meter);
}

/// A message of data is about to be sent.
pub fn count(length: usize) {
    let mut meter = METER.get();
    meter.rows += 1;
    meter.bytes += length as u64;
    METER.set(meter);
}

/// Has a limit cut the result?
pub fn is_cut() -> bool {
    METER.get().cut.is_some()
}

fn excess(rule: Rule, limit: u64) -> Denial {
    let (object, what) = match rule {
        Rule::MaxRows => ("max_rows", "rows"),
        _ => ("max_bytes", "bytes"),
    };
    Denial::new(
        rule,
        object,
        format!("the result is larger than {limit} {what}"),
    )
    .with("limit", limit)
    .hint("Aggregate, add a WHERE clause, or ask for a part with ORDER BY and LIMIT.")
}

fn cut(rule: Rule, limit: Option<u64>) {
    let mut meter = METER.get();
    if meter.limits.on_excess == OnExcess::Error {
        excess(rule, limit.unwrap_or(0)).raise();
    }
    meter.cut = meter.cut.or(Some(rule));
    METER.set(meter);
}

/// The byte limit is reached: an error, or the end of the result.
pub fn cut_bytes() {
    cut(Rule::MaxBytes, METER.get().limits.max_bytes);
}

/// The row limit is reached: an error, or the end of the result.
pub fn cut_rows() {
    cut(Rule::MaxRows, METER.get().limits.max_rows);
}

/// Tells the client, once, that its result was cut.
pub fn warn_if_cut() {
    let mut meter = METER.get();
    let Some(rule) = meter.cut.filter(|_| !meter.warned) else {
        return;
    };
    meter.warned = true;
    METER.set(meter);
    let limit = match rule {
        Rule::MaxRows => meter.limits.max_rows,
        _ => meter.limits.max_bytes,
    };
    let limit = limit.unwrap_or(0);
    let mut warning = excess(rule, limit);
    warning.message = match rule {
        Rule::MaxRows => format!("result truncated after {limit} rows"),
        _ => format!("result truncated before it exceeded {limit} bytes"),
    };
    warning.warn();
}

/// Is the plan too expensive to start?
pub fn judge_cost(limits: &Limits, cost: f64) -> Result<(), Denial> {
    match limits.max_plan_cost {
        Some(max) if cost > max => Err(Denial::new(
            Rule::MaxPlanCost,
            "max_plan_cost",
            // The cost counts rows that are hidden.
            format!("the plan costs more than the limit of {max:.0}"),
        )
        .with("limit", max)
        .hint("Narrow the statement: fewer relations, a WHERE clause on an indexed column, no cross join.")),
        _ => Ok(()),
    }
}

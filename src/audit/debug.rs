//! Writes records by hand, for tests; not in a release.

use super::{
    End, Objects, Origin, Outcome, Start, Verdict, available, end, flush, start, wait_durable,
    whole,
};
use pgrx::prelude::*;
use std::time::Instant;

/// Writes `n` statements (a denial, known whole, where the text says so) and, with `open`, the
/// start of one more. Microseconds a call of start,
/// of wait_durable (when `wait`), of end.
#[pg_extern(sql = false)]
fn audit_debug(n: i64, wait: bool, open: bool, text: &[u8]) -> Vec<f64> {
    let mut times = [0.0; 3];
    let mut timed = |i: usize, f: &mut dyn FnMut() -> Result<(), super::AuditError>| {
        let t = Instant::now();
        if let Err(e) = f() {
            error!("{e}");
        }
        times[i] += t.elapsed().as_secs_f64() * 1e6 / n.max(1) as f64;
    };
    let pid = std::process::id();
    for i in 0..n + i64::from(open) {
        let mut event_id = [0; 16];
        event_id[..8].copy_from_slice(&(super::now() as u64).to_be_bytes());
        event_id[8..12].copy_from_slice(&pid.to_be_bytes());
        event_id[12..].copy_from_slice(&(i as u32).to_be_bytes());
        let s = Start {
            event_id,
            backend_seq: i as u64,
            origin: Origin {
                user_email: Some(format!("user{}@example.com", i % 100)),
                assurance: "connection".into(),
                role_name: "agent".into(),
                session_user_name: "agent".into(),
                database_name: "postgres".into(),
                application_name: "debug".into(),
                client_addr: Some(
                    "192.0.2.7"
                        .parse()
                        .unwrap_or(std::net::Ipv4Addr::LOCALHOST.into()),
                ),
                backend_pid: pid as i32,
                session_id: "65a1b2c3.1f2e".into(),
            }
            .into(),
            started_at: super::now(),
            command_tag: Some("SELECT".into()),
            query_id: 1_234_567_890_123,
            statement: Some(policy::record::to_text(text).into()),
            statement_sha256: [7; 32],
            objects: std::rc::Rc::new(Objects {
                relations: vec!["public.accounts".into(), "sales.customers".into()],
                masked_columns: vec!["sales.customers.email".into()],
                functions: Vec::new(),
            }),
            ..Start::default()
        };
        if text == b"denied" {
            let s = Start {
                verdict: Verdict::Denied,
                rule: Some("read_only".into()),
                ..s
            };
            let e = End {
                event_id,
                outcome: Outcome::Error,
                sqlstate: Some(*b"25006"),
                ..End::default()
            };
            timed(0, &mut || available().and_then(|()| whole(&s, &e)));
            timed(1, &mut wait_durable);
            continue;
        }
        timed(0, &mut || available().and_then(|()| start(&s)));
        if wait {
            timed(1, &mut wait_durable);
        }
        if i < n {
            let e = End {
                event_id,
                duration: 1234,
                rows_returned: 5,
                bytes_returned: 77,
                outcome: Outcome::Ok,
                ..End::default()
            };
            timed(2, &mut || end(&e));
        }
    }
    if let Err(e) = flush() {
        error!("{e}");
    }
    times.to_vec()
}

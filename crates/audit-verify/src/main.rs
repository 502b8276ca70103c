//! Checks an exported audit log without a server.
//!
//! ```text
//! agent-policy-audit-verify [--key FILE] [--heads FILE] LOG
//! ```
//!
//! LOG is what `agent_policy.audit_export()` gives, "-" for standard input. It says what is wrong, what it
//! has checked, and what it cannot tell. Status 0: intact; 1: not intact; 2: the check could not be made.
#![forbid(unsafe_code)]

use audit_verify::{Options, check};
use std::process::ExitCode;

const USAGE: &str = "\
usage: agent-policy-audit-verify [--key FILE] [--heads FILE] LOG

Checks an audit log exported by agent_policy.audit_export(); LOG \"-\" is standard input.

  --key FILE    public keys in PEM that are trusted; without it those in the log are, which only
                tells that whoever wrote the log had one key
  --heads FILE  heads that were kept elsewhere (agent_policy.audit_checkpoints), one a line

It says what is wrong, then what was checked and what was not: whatever the second list has may be otherwise in a
log that is \"intact\". The last lines are the verdict and the head of the newest block.

Status 0: intact; 1: not intact; 2: the check could not be made.";

fn options() -> Result<Options, String> {
    let (mut key, mut heads, mut log) = (None, None, None);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let slot = match arg.as_str() {
            "--key" => &mut key,
            "--heads" => &mut heads,
            "-h" | "--help" => {
                println!("{USAGE}");
                std::process::exit(0);
            }
            other if other.starts_with("--") => return Err(format!("unknown option {other}")),
            _ if log.is_none() => {
                log = Some(arg);
                continue;
            }
            _ => return Err("more than one log".to_owned()),
        };
        *slot = Some(args.next().ok_or(format!("{arg} needs a file"))?);
    }
    let log = log.ok_or("no log is given")?;
    Ok(Options { key, heads, log })
}

fn main() -> ExitCode {
    let result = options()
        .map_err(|e| format!("{e}\n\n{USAGE}"))
        .and_then(|o| check(&o, &mut std::io::stdout()));
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(e) => {
            eprintln!("{e}");
            ExitCode::from(2)
        }
    }
}

//! The way from a standby to its primary.

use super::settings::ship_conninfo;
use crate::pg::bgworker::{self, transaction};
use crate::pg::facts;
use crate::pg::libpq::{self, Connection, Failure};
use std::ffi::CStr;
use std::time::Duration;

const CONNECTING: Duration = Duration::from_secs(10);
const ANSWERING: Duration = Duration::from_secs(30);
/// Names can be given twice; these cannot.
const WHOSE: &CStr = c"SELECT c.system_identifier, d.oid FROM pg_catalog.pg_control_system() c, \
      pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()";

/// To the first host that takes writes. libpq alone would not get past one that is silent.
pub fn connect() -> Result<Connection, Failure> {
    let options = options()?;
    let mut failures: Vec<String> = Vec::new();
    for options in each_host(&options) {
        match Connection::open(&options, CONNECTING).and_then(of_the_primary) {
            Ok(connection) => return Ok(connection),
            Err(e) if !failures.contains(&e.message) => failures.push(e.message),
            Err(_) => {}
        }
        if !bgworker::in_recovery() {
            break;
        }
    }
    Err(Failure::new(failures.join("; ")))
}

/// What the setting says; what it does not, replication does.
fn options() -> Result<Vec<(String, String)>, Failure> {
    const ADDRESS: &[&str] = &["host", "hostaddr", "port"];
    const FROM_REPLICATION: &[&str] = &[
        "host",
        "hostaddr",
        "port",
        "service",
        "require_auth",
        "requirepeer",
        "sslmode",
        "sslnegotiation",
        "sslcert",
        "sslkey",
        "sslcertmode",
        "sslrootcert",
        "sslcrl",
        "sslcrldir",
        "sslsni",
        "ssl_min_protocol_version",
        "ssl_max_protocol_version",
        "gssencmode",
        "gssdelegation",
        "krbsrvname",
        "channel_binding",
        "keepalives",
        "keepalives_idle",
        "keepalives_interval",
        "keepalives_count",
        "tcp_user_timeout",
    ];
    let set = ship_conninfo().unwrap_or_default();
    let mut options = libpq::parse(&set)
        .map_err(|e| Failure::new(format!("agent_policy.audit_ship_conninfo: {}", e.message)))?;
    let has = |options: &[(String, String)], key: &str| options.iter().any(|(k, _)| k == key);
    for (key, instead) in [
        ("password", "use passfile or service"),
        (
            "dbname",
            "each database's records go to the database of that name",
        ),
        ("replication", "leave it out"),
    ] {
        if has(&options, key) {
            return Err(Failure::new(format!(
                "agent_policy.audit_ship_conninfo must not have {key}: {instead}"
            )));
        }
    }
    let elsewhere = ADDRESS.iter().any(|k| has(&options, k));
    // A service says all of it.
    if !has(&options, "service")
        && let Some(replication) = facts::primary_conninfo()
    {
        for (key, value) in libpq::parse(&replication)? {
            let key = key.as_str();
            let wanted = FROM_REPLICATION.contains(&key)
                && !(elsewhere && ADDRESS.contains(&key))
                && !has(&options, key);
            if wanted {
                options.push((key.to_owned(), value));
            }
        }
    }
    // It may have been renamed.
    let database = transaction(facts::database_name);
    options.push(("dbname".into(), database));
    for (key, value) in [
        ("application_name", "agent_policy audit shipper"),
        ("target_session_attrs", "read-write"),
        ("client_encoding", "UTF8"),
    ] {
        if !has(&options, key) {
            options.push((key.into(), value.into()));
        }
    }
    Ok(options)
}

/// The server at the other end has the database that this one has a copy of.
fn of_the_primary(mut connection: Connection) -> Result<Connection, Failure> {
    let answer = connection.query(WHOSE, &[], ANSWERING)?;
    let (system, database) = facts::database_identity();
    let own = [Some(system.to_string()), Some(database.to_string())];
    if answer != own {
        return Err(Failure::new(
            "the server that agent_policy.audit_ship_conninfo leads to is not the primary of this standby",
        ));
    }
    Ok(connection)
}

/// The options for each of the hosts that they name. Lists that do not match are left to libpq.
fn each_host(options: &[(String, String)]) -> Vec<Vec<(String, String)>> {
    let list = |key: &str| -> Vec<&str> {
        let value = options.iter().find(|(k, _)| k == key);
        value.map_or(Vec::new(), |(_, v)| v.split(',').collect())
    };
    let (hosts, addresses, ports) = (list("host"), list("hostaddr"), list("port"));
    let n = hosts.len().max(addresses.len());
    let fits = |list: &[&str], or_one: bool| {
        list.is_empty() || list.len() == n || or_one && list.len() == 1
    };
    if n < 2 || !fits(&hosts, false) || !fits(&addresses, false) || !fits(&ports, true) {
        return vec![options.to_vec()];
    }
    let nth = |n: usize| {
        let one = |(key, value): &(String, String)| {
            let list = match key.as_str() {
                "host" => &hosts,
                "hostaddr" => &addresses,
                "port" => &ports,
                _ => return (key.clone(), value.clone()),
            };
            let value = list.get(n).or(list.first()).copied().unwrap_or_default();
            (key.clone(), value.to_owned())
        };
        options.iter().map(one).collect()
    };
    (0..n).map(nth).collect()
}

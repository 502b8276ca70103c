//! What a review of the audit has found: who read the log stays in it when somebody else is erased, days go by the
//! bounds of their partitions, and a key that others can read signs nothing.

use std::process::Command;
use std::sync::Arc;

use cluster_tests::{Bench, Case, Cluster, Wire, cases};

use crate::c09_days::{DORA, Days};
use crate::c22_evidence::{intact, tamper, verify, write};
use crate::c25_standby::wait;

pub const CASES: &[Case] = cases![
    a_session_is_no_person,
    other_readers_stay,
    readers_in_any_letters,
    a_changed_note_is_not_written_anew,
    months_of_the_dba,
    days_that_begin_elsewhere,
    partitions_that_never_go,
    a_partition_of_a_days_name,
    a_key_that_others_can_read,
];

/// Connected by this name, with what stands for the program.
fn reader(b: &Bench, role: &str, program: &str) -> Wire {
    b.cluster
        .connect(role, &b.db, &[("application_name", program)])
        .expect("connects")
}

/// A role that may read the log; it goes with [`gone`].
fn admin(b: &Bench, role: &str) {
    b.setup(&format!(
        "CREATE ROLE \"{role}\" LOGIN; GRANT agent_policy_admin TO \"{role}\""
    ));
}

fn gone(b: &Bench, role: &str) {
    b.setup(&format!("DROP OWNED BY \"{role}\"; DROP ROLE \"{role}\""));
}

/// Records of readers for which this holds.
fn reads(b: &Bench, holds: &str) -> String {
    b.value(&format!(
        "SELECT count(*) FROM agent_policy.audit_access WHERE {holds}"
    ))
}

/// The stand-alone program's word about an export of everything.
fn stands_alone(b: &Bench) -> bool {
    let log = std::env::temp_dir().join(format!("c27-{}-{}", std::process::id(), b.db));
    let lines = b.setup("SELECT agent_policy.audit_export()").column();
    std::fs::write(&log, lines.join("\n")).expect("a file");
    let options = audit_verify::Options {
        log: log.display().to_string(),
        ..Default::default()
    };
    let mut out = Vec::new();
    let intact = audit_verify::check(&options, &mut out);
    let _ = std::fs::remove_file(&log);
    println!("{}", String::from_utf8_lossy(&out));
    intact.expect("a check")
}

#[track_caller]
fn both_verify(b: &Bench) {
    intact(b);
    assert!(stands_alone(b), "the stand-alone program");
}

/// Three readers, whose records are in one block.
fn readers(b: &Bench) {
    b.allow();
    write(b, 4);
    for role in ["eva@example.com", "frank"] {
        admin(b, &format!("{}_{role}", b.db));
        let mut wire = reader(b, &format!("{}_{role}", b.db), "psql");
        wire.query("SELECT count(*) AS counted FROM agent_policy.audit_log");
    }
    reader(b, "postgres", "for EVA@example.com")
        .query("SELECT max(seq) AS quoted FROM agent_policy.audit_log");
    b.flush_audit();
}

fn no_readers(b: &Bench) {
    for role in ["eva@example.com", "frank"] {
        gone(b, &format!("{}_{role}", b.db));
    }
}

/// `<hex>.<hex>@<node>` is in each record of a reader, and looks like an address.
fn a_session_is_no_person(b: &Bench) {
    readers(b);
    let frank = format!("session_user_name = '{}_frank'", b.db);
    let all = reads(b, "true");
    let session = b.value(&format!(
        "SELECT session_id FROM agent_policy.audit_access WHERE {frank}"
    ));
    assert!(session.contains('@'), "{session}");
    let mut wire = reader(b, &format!("{}_frank", b.db), "psql");
    wire.query(&format!("SELECT agent_policy.erase_user('{session}')"));
    drop(wire);
    b.flush_audit();
    assert_eq!(
        reads(b, &format!("{frank} AND session_id = '{session}'")),
        "1"
    );
    // Who erases is a reader.
    assert!(reads(b, "true") > all);
    assert_eq!(reads(b, "carried_from IS NOT NULL"), "0");
    both_verify(b);
    no_readers(b);
}

fn other_readers_stay(b: &Bench) {
    readers(b);
    let eva = format!("{}_eva@example.com", b.db);
    let before = "CREATE TABLE public.before AS SELECT * FROM agent_policy.audit_access";
    b.setup(before);
    assert_eq!(
        b.value("SELECT count(*) FROM public.before WHERE statement LIKE '%counted%' OR statement LIKE '%quoted%'"),
        "3"
    );
    // In other letters than the role has.
    b.setup(&format!(
        "SELECT agent_policy.erase_user('{}')",
        eva.to_uppercase()
    ));
    b.flush_audit();
    // Every record is still there, from the block and the time that it is of.
    assert_eq!(
        b.value(
            "SELECT count(*) FROM public.before f WHERE NOT EXISTS (
                 SELECT FROM agent_policy.audit_access a
                 WHERE a.read_at = f.read_at AND a.session_id = f.session_id AND a.relations = f.relations
                   AND f.block IN (a.block, a.carried_from) AND a.backend_pid = f.backend_pid)"
        ),
        "0"
    );
    let frank = format!(
        "session_user_name = '{}_frank' AND statement LIKE '%counted%' AND application_name = 'psql'",
        b.db
    );
    assert_eq!(reads(b, &frank), "1");
    // The person is not in it any more, nor what she said; that somebody read the log is.
    assert_eq!(
        reads(
            b,
            &format!("role_name = '{eva}' OR session_user_name = '{eva}'")
        ),
        "0"
    );
    let erased = "role_name = 'erased' AND session_user_name = 'erased' AND statement IS NULL AND application_name = '' AND carried_from IS NOT NULL AND read_at > now() - interval '5 min'";
    assert_eq!(reads(b, erased), "1");
    both_verify(b);
    // Whoever quotes somebody has read the log all the same.
    b.setup("SELECT agent_policy.erase_user('eva@example.com')");
    b.flush_audit();
    assert_eq!(
        b.value("SELECT count(*) FROM agent_policy.audit_block WHERE note ILIKE '%for eva@%'"),
        "0"
    );
    let quoting = "session_user_name = 'postgres' AND statement IS NULL AND application_name = '' AND carried_from IS NOT NULL";
    assert_eq!(reads(b, quoting), "1");
    assert_eq!(reads(b, &frank), "1");
    assert_eq!(reads(b, erased), "1");
    both_verify(b);
    // What was carried over cannot be taken away.
    let carried =
        "(SELECT max(block) FROM agent_policy.audit_access WHERE carried_from IS NOT NULL)";
    for change in ["note = NULL", "note = '[]'"] {
        b.setup("BEGIN; SET LOCAL session_replication_role = replica");
        b.setup(&format!(
            "UPDATE agent_policy.audit_block SET {change} WHERE number = {carried}"
        ));
        assert!(!verify(b, "").0, "{change}");
        b.setup("ROLLBACK");
    }
    // Several in one transaction, and rolled back.
    b.setup(&format!(
        "BEGIN; SELECT agent_policy.erase_user(who) FROM unnest(ARRAY['{0}_frank', 'x@{0}']) who WHERE who LIKE '%@%'; ROLLBACK",
        b.db
    ));
    assert_eq!(reads(b, &frank), "1");
    both_verify(b);
    no_readers(b);
}

/// Notes are in ASCII, whatever the letters of a name are, and the encoding of the database.
fn readers_in_any_letters(b: &Bench) {
    for encoding in ["UTF8", "LATIN1", "SQL_ASCII"] {
        let own = Bench::with_database(
            Arc::clone(&b.cluster),
            &format!("TEMPLATE template0 ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C'"),
        );
        own.allow();
        write(&own, 4);
        let connect = || {
            let utf8 = [("client_encoding", "UTF8")];
            own.cluster
                .connect("postgres", &own.db, &utf8)
                .expect("connects")
        };
        let mut wire = connect();
        wire.query("SELECT count(*) AS \"jörg@example.com\" FROM agent_policy.audit_log");
        wire.query("SELECT min(seq) AS \"another\" FROM agent_policy.audit_log");
        own.flush_audit();
        // As another server hands it over, or a database of another encoding was restored: letters that this
        // encoding does not have.
        own.setup(
            "SELECT agent_policy.audit_note(1, current_date - date '1970-01-01',
                 '[{\"read_at\": 1700000000000000, \"role_name\": \"\\u540d\\ud83d\\ude00\", \"session_user_name\": \"x\",
                    \"application_name\": \"j\\u00f6rg@example.com\", \"client_addr\": \"192.0.2.7\", \"backend_pid\": 7,
                    \"session_id\": \"1.1@0\", \"relations\": [\"agent_policy.audit_log\"], \"statement\": \"SELECT \\u540d\"},
                   {\"read_at\": 1700000000000001, \"role_name\": \"\\u540d\", \"session_user_name\": \"y\",
                    \"application_name\": \"\", \"client_addr\": null, \"backend_pid\": 7,
                    \"session_id\": \"1.2@0\", \"relations\": [], \"statement\": \"SELECT \\u0000 2\"}]')",
        );
        let all: i64 = reads(&own, "true").parse().expect("a count");
        assert!(all >= 4, "{encoding}: {all}");
        assert_eq!(
            connect().value("SELECT count(*) FROM agent_policy.audit_access WHERE statement LIKE '%jörg@%' OR application_name LIKE 'jörg@%'"),
            "2",
            "{encoding}"
        );
        connect().query("SELECT agent_policy.erase_user('jörg@example.com')");
        assert_eq!(
            own.value("SELECT count(*) FROM agent_policy.audit_block WHERE note LIKE '%u00f6rg%'"),
            "0",
            "{encoding}"
        );
        assert!(
            reads(&own, "true").parse::<i64>().expect("a count") >= all,
            "{encoding}"
        );
        assert_eq!(reads(&own, "statement LIKE '%another%'"), "1", "{encoding}");
        assert_eq!(
            reads(
                &own,
                "session_user_name = 'y' AND read_at = to_timestamp(1700000000.000001)"
            ),
            "1",
            "{encoding}"
        );
        // Nothing of what the encoding lacks is lost on the way.
        assert_eq!(
            own.value(r"SELECT count(*) FROM agent_policy.audit_block WHERE note LIKE '%\\u540d\\ud83d\\ude00%'"),
            "1",
            "{encoding}"
        );
        both_verify(&own);
    }
}

/// An erasure does not cover up what somebody has put into the records.
fn a_changed_note_is_not_written_anew(b: &Bench) {
    readers(b);
    tamper(
        b,
        "UPDATE agent_policy.audit_block SET note = replace(note, '_frank', '_eva@example.com') WHERE kind = 1",
    );
    assert!(!verify(b, "").0);
    let eva = format!("{}_eva@example.com", b.db);
    let answer = b.setup(&format!("SELECT agent_policy.erase_user('{eva}')"));
    assert!(answer.warned("was changed, and is left as it is"));
    assert!(!verify(b, "").0);
    no_readers(b);
}

/// Every partition but today's and later ones goes, and these come in their place.
fn partitions(b: &Bench, sql: &str) {
    b.flush_audit();
    b.setup(&format!(
        "BEGIN; SET LOCAL timezone = 'UTC'; LOCK TABLE agent_policy.audit_log;
         DO $$ DECLARE t text; BEGIN FOR t IN
             SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'agent_policy.audit_log'::regclass
         LOOP EXECUTE 'DROP TABLE ' || t; END LOOP; END $$;
         {sql}; COMMIT"
    ));
}

/// A partition from so many days ago, until so many.
fn part(name: &str, from: i64, to: i64) -> String {
    format!(
        "CREATE TABLE {name} PARTITION OF agent_policy.audit_log FOR VALUES FROM (current_date - {from}) TO (current_date - {to})"
    )
}

fn there(b: &Bench, name: &str) -> bool {
    b.value(&format!("SELECT to_regclass('{name}') IS NOT NULL")) == "t"
}

/// Days of which a block tells that they were dropped, from so many days ago.
fn dropped(b: &Bench) -> String {
    b.value(
        "SELECT coalesce(string_agg(((now() AT TIME ZONE 'UTC')::date - day)::text, ' ' ORDER BY day), '')
         FROM agent_policy.audit_block WHERE kind = 2",
    )
}

#[track_caller]
fn keep(b: &Bench, days: i64) -> Vec<String> {
    let sql = format!("SELECT agent_policy.set_audit_retention('{days} days')");
    let answer = b.setup(&sql);
    answer.notices.into_iter().map(|n| n.message).collect()
}

/// Until it is gone: one that is in use is dropped another time.
#[track_caller]
fn goes(b: &Bench, days: i64, name: &str) {
    wait(&format!("end of {name}"), || {
        keep(b, days);
        !there(b, name)
    });
}

/// In UTC, as the log has its days, whatever the day's beginning is where the DBA is.
fn utc(b: &Bench) {
    b.setup("SET timezone = 'UTC'; SET DateStyle = 'SQL, DMY'");
}

fn months_of_the_dba(b: &Bench) {
    b.allow();
    let mut d = Days::new(b);
    utc(b);
    partitions(
        b,
        &format!(
            "{}; {}",
            part("public.before", 40, 10),
            part("public.mine", 10, -30)
        ),
    );
    // The fifth of its days is today.
    let ago = |d: &Days, days: i64| d.time(4 - days, 5);
    d.hand_over(&[ago(&d, 35), ago(&d, 35), ago(&d, 20), ago(&d, 12)]);
    d.hand_over(&[ago(&d, 9), ago(&d, 3), ago(&d, 0) - 1]);
    let all = intact(b);
    assert_eq!(all, 7);
    // Not before its last day is over.
    for days in [30, 12, 11] {
        keep(b, days);
        assert!(there(b, "public.before"), "{days} days");
        assert_eq!(dropped(b), "");
    }
    goes(b, 10, "public.before");
    assert!(there(b, "public.mine"));
    assert_eq!(dropped(b), "35 20 12", "a block for each day that had rows");
    assert_eq!(intact(b), 3);
    both_verify(b);
    // The partition of today has days that are over: they go with it, and not before.
    let said = keep(b, 1);
    assert!(there(b, "public.mine"));
    assert_eq!(dropped(b), "35 20 12");
    assert!(said.is_empty(), "{said:?}");
    assert_eq!(intact(b), 3);
    // Who reads goes with the days, too: of those days there is nothing left.
    let left = "kind = 1 AND note IS NOT NULL AND day < (now() AT TIME ZONE 'UTC')::date - 10";
    assert_eq!(
        b.value(&format!(
            "SELECT count(*) FROM agent_policy.audit_block WHERE {left}"
        )),
        "0"
    );
    // A late record of a day that was dropped.
    b.setup("SELECT agent_policy.set_audit_retention(NULL)");
    d.hand_over(&[ago(&d, 20)]);
    assert_eq!(intact(b), 4);
    b.setup("RESET timezone; RESET DateStyle");
}

/// Midnight is another time where the DBA is: a day goes whole all the same.
fn days_that_begin_elsewhere(b: &Bench) {
    b.allow();
    let mut d = Days::new(b);
    utc(b);
    let part = |name: &str, from: i64, to: i64| {
        format!(
            "CREATE TABLE {name} PARTITION OF agent_policy.audit_log
             FOR VALUES FROM (current_date - {from} - interval '2 h') TO (current_date - {to} - interval '2 h')"
        )
    };
    partitions(
        b,
        &format!(
            "{}; {}; {}",
            part("public.one", 40, 20),
            part("public.two", 20, 10),
            part("public.three", 10, -30)
        ),
    );
    let (day, hour) = (24 * 3_600_000_000_i64, 3_600_000_000_i64);
    let midnight = |days: i64| d.time(4, 0) - days * day;
    let times = [
        midnight(30),
        // Both sides of a bound, on one day.
        midnight(20) - 3 * hour,
        midnight(20) - hour,
        midnight(15),
        midnight(10) - 3 * hour,
        midnight(10) - hour,
        midnight(5),
    ];
    d.hand_over(&times);
    assert_eq!(intact(b), 7);
    keep(b, 21);
    assert!(there(b, "public.one"), "a part of its last day is over");
    goes(b, 20, "public.one");
    assert_eq!(dropped(b), "30 21");
    assert_eq!(intact(b), 4);
    both_verify(b);
    goes(b, 10, "public.two");
    assert_eq!(dropped(b), "30 21 15 11");
    assert_eq!(intact(b), 1);
    both_verify(b);
    b.setup("RESET timezone; RESET DateStyle");
}

/// What cannot go, or never will, is told.
fn partitions_that_never_go(b: &Bench) {
    let own = Bench::new(Arc::new(Cluster::start(b.version, "")));
    let b = &own;
    b.allow();
    let mut d = Days::new(b);
    utc(b);
    b.setup("SELECT agent_policy.audit_partition(current_date - date '1970-01-01' - d) FROM unnest(ARRAY[35, 20, 0]) d");
    let ago = |d: &Days, days: i64| d.time(4 - days, 5);
    d.hand_over(&[ago(&d, 35), ago(&d, 20), ago(&d, 0)]);
    // Rows come into a default one where there is no other.
    let moved = |sql: &str| {
        b.setup("CREATE TEMP TABLE rows AS SELECT * FROM agent_policy.audit_log");
        partitions(
            b,
            &format!(
                "{sql}; INSERT INTO agent_policy.audit_log SELECT * FROM rows; DROP TABLE rows"
            ),
        );
    };
    moved(&format!(
        "{}; CREATE TABLE public.rest PARTITION OF agent_policy.audit_log DEFAULT",
        part("public.used", 40, 30)
    ));
    b.setup("CREATE VIEW public.looks AS SELECT seq FROM public.used");
    // Nothing is over yet.
    assert_eq!(keep(b, 60), Vec::<String>::new());
    // The default one has nothing that is.
    let said = keep(b, 25);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(
        said[0].contains("public.used") && !said[0].contains("public.rest"),
        "{said:?}"
    );
    let said = keep(b, 10);
    assert!(
        said.len() == 1
            && said[0].contains("public.used")
            && said[0].contains("public.rest, the default one"),
        "{said:?}"
    );
    assert_eq!((dropped(b), intact(b)), (String::new(), 3));
    // The worker goes on, and tells it in the server's log.
    let told = || {
        let log = b.cluster.log();
        log.lines()
            .filter(|l| l.contains("WARNING") && l.contains("public.rest, the default one"))
            .count()
    };
    let before = told();
    wait("word of the worker", || {
        b.setup("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'agent_policy audit writer' AND datname = current_database()");
        write(b, 1);
        told() > before
    });
    b.setup("DROP VIEW public.looks");
    goes(b, 25, "public.used");
    assert_eq!(dropped(b), "35");
    both_verify(b);
    // One without an end, and one that ends in years.
    for bound in ["MAXVALUE", "current_date + 4000"] {
        let all = format!(
            "CREATE TABLE public.ages PARTITION OF agent_policy.audit_log FOR VALUES FROM (MINVALUE) TO ({bound})"
        );
        moved(&all);
        if bound == "MAXVALUE" {
            d.hand_over(&[ago(&d, 50)]);
        }
        intact(b);
        let said = keep(b, 5);
        assert!(
            said.len() == 1 && said[0].contains("public.ages"),
            "{bound}: {said:?}"
        );
        assert_eq!(keep(b, 100), Vec::<String>::new(), "{bound}");
        assert_eq!(dropped(b), "35");
    }
}

/// What a partition is called says nothing of its days.
fn a_partition_of_a_days_name(b: &Bench) {
    b.allow();
    let mut d = Days::new(b);
    utc(b);
    // The first of the days, and the next 29; another has the name of today.
    let name = |days: i64| {
        b.value(&format!(
            "SELECT 'agent_policy.audit_log_' || to_char(current_date - {days}, 'YYYYMMDD')"
        ))
    };
    let (month, misnamed) = (name(20), name(0));
    partitions(
        b,
        &format!("{}; {}", part(&month, 20, 2), part(&misnamed, 50, 40)),
    );
    let ago = |d: &Days, days: i64| d.time(4 - days, 5);
    d.hand_over(&[ago(&d, 45), ago(&d, 20), ago(&d, 4), ago(&d, 0)]);
    assert_eq!(intact(b), 4);
    goes(b, 10, &misnamed);
    assert!(there(b, &month), "most of its days are kept");
    assert_eq!(dropped(b), "45");
    assert_eq!(intact(b), 3);
    assert_eq!(
        b.value(&format!("SELECT agent_policy.erase_user('{DORA}') > 0")),
        "t"
    );
    both_verify(b);
    goes(b, 1, &month);
    assert_eq!(dropped(b), "45 20 4");
    assert_eq!(intact(b), 1);
    both_verify(b);
    b.setup("RESET timezone; RESET DateStyle");
}

fn chmod(place: &str, mode: &str) {
    let status = Command::new("chmod").args([mode, place]).status();
    assert!(status.is_ok_and(|s| s.success()), "chmod {mode} {place}");
}

fn a_key_that_others_can_read(b: &Bench) {
    const KEY: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f\n-----END PRIVATE KEY-----\n";
    let own = Bench::new(Arc::new(Cluster::start(b.version, "")));
    let b = &own;
    let place = b.cluster.data().join("own_key").display().to_string();
    b.cluster.put_file("own_key", KEY);
    chmod(&place, "640");
    b.cluster
        .configure(&format!("agent_policy.audit_key_file = '{place}'"));
    b.setup("SELECT pg_reload_conf()");
    b.allow();
    b.agent().query("SELECT count(*) FROM shop.orders");
    let rows = || b.value("SELECT count(*) FROM agent_policy.audit_log");
    wait("word of the key", || {
        b.value("SELECT coalesce(last_error, '') FROM agent_policy.health")
            .contains("has group or world access")
    });
    assert_eq!(rows(), "0");
    let log = b.cluster.log();
    let told = log
        .lines()
        .any(|l| l.contains("own_key\" has group or world access"));
    assert!(told && log.contains("u=rw (0600) or less"), "{log}");
    // Neither does whoever asks.
    let error = b.setup_error("SELECT agent_policy.set_audit_retention('1 day')");
    assert!(
        error.message.contains("has group or world access") && error.hint.contains("0600"),
        "{error}"
    );
    for mode in ["604", "620", "601", "660"] {
        chmod(&place, mode);
        b.setup_error("SELECT agent_policy.set_audit_retention('1 day')");
    }
    // As it has to be, and while the worker is at work no longer.
    chmod(&place, "600");
    wait("row", || rows() == "1");
    write(b, 4);
    assert_eq!(intact(b), 5);
    chmod(&place, "644");
    b.agent().query("SELECT count(*) FROM shop.orders");
    b.setup_error("SELECT agent_policy.audit_flush('3 s')");
    assert_eq!(rows(), "5");
    chmod(&place, "400");
    b.flush_audit();
    assert_eq!(intact(b), 6);
    // Of root's, a group may read it, as PostgreSQL has it for the key of its certificate.
    if is_root() {
        chown(&place, "root");
        chmod(&place, "644");
        b.setup_error("SELECT * FROM agent_policy.audit_verify()");
        chown(&place, &format!("root:{}", group_of(b)));
        chmod(&place, "640");
        assert_eq!(intact(b), 6);
        chown(&place, "daemon");
        let error = b.setup_error("SELECT * FROM agent_policy.audit_verify()");
        assert!(error.message.contains("belongs to another user"), "{error}");
    }
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().expect("id runs");
    id.stdout == b"0\n"
}

/// The group of the server's files.
fn group_of(b: &Bench) -> String {
    let data = b.cluster.data();
    let output = Command::new("stat").args(["-c", "%g"]).arg(data).output();
    let text = output.expect("stat runs").stdout;
    String::from_utf8_lossy(&text).trim().to_owned()
}

fn chown(place: &str, owner: &str) {
    let status = Command::new("chown").args([owner, place]).status();
    assert!(status.is_ok_and(|s| s.success()), "chown {owner} {place}");
}

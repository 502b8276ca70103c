//! The log and persons: they can be erased from it, it can be handed out without them, and who reads
//! it is written down; all of that without the evidence being lost.

use cluster_tests::bench::BOB;
use cluster_tests::{Bench, Case, cases};

use crate::c22_evidence::{bad_from, intact, tamper, verify, write};

pub const CASES: &[Case] = cases![
    a_person_is_erased,
    what_others_say_of_a_person_is_erased,
    an_erasure_cannot_be_forged,
    erasing_asks_for_the_right_circumstances,
    an_erasure_meanwhile_is_no_finding,
    an_export_is_checked_without_a_server,
    an_export_without_persons,
    an_export_has_what_the_log_has,
    readers_are_recorded,
    records_of_readers_cannot_be_removed,
    gaps_of_a_session_show,
];

fn filled(b: &Bench) {
    b.allow();
    write(b, 5);
    for who in [BOB, "carol@example.com"] {
        let mut agent = b.agent_for(who);
        agent.query("SELECT id FROM shop.orders LIMIT 2");
        agent.simple("SELECT * FROM vault.secrets");
    }
    b.flush_audit();
}

fn seen(b: &Bench, what: &str) -> i64 {
    let n = b.value(&format!(
        "SELECT (SELECT count(*) FROM agent_policy.audit_log l WHERE l::text ILIKE '%{what}%')
              + (SELECT count(*) FROM agent_policy.audit_ocsf l WHERE l::text ILIKE '%{what}%')
              + (SELECT count(*) FROM agent_policy.audit_block l WHERE l::text ILIKE '%{what}%')
              + (SELECT count(*) FROM agent_policy.policy_history l WHERE l::text ILIKE '%{what}%')
              + (SELECT count(*) FROM pg_stats WHERE schemaname = 'agent_policy' AND most_common_vals::text ILIKE '%{what}%')"
    ));
    n.parse().expect("a count")
}

fn a_person_is_erased(b: &Bench) {
    filled(b);
    b.setup("ANALYZE agent_policy.audit_log");
    assert!(seen(b, "alice") > 0, "control");
    let count = "SELECT count(*) FROM agent_policy.audit_log";
    let (all, bobs) = (
        b.value(count),
        b.value(&format!("{count} WHERE user_email = '{BOB}'")),
    );
    assert_eq!(
        b.value("SELECT agent_policy.erase_user('Alice@Example.com')"),
        "5"
    );
    assert_eq!(seen(b, "alice"), 0);
    assert_eq!(intact(b).to_string(), all, "every row is still there");
    assert_eq!(
        b.value(&format!("{count} WHERE user_email = '{BOB}'")),
        bobs
    );
    let erased = "user_email IS NULL AND statement IS NULL AND client_addr IS NULL";
    assert_eq!(
        b.value(&format!(
            "{count} WHERE {erased} AND rows_returned > 0 AND relations::text LIKE '%orders%'"
        )),
        "4"
    );
    assert_eq!(
        b.value("SELECT agent_policy.erase_user('alice@example.com')"),
        "0"
    );
    // The same person again, and another one.
    write(b, 3);
    assert_eq!(
        b.value("SELECT agent_policy.erase_user('alice@example.com')"),
        "3"
    );
    assert_eq!(
        b.value(&format!("SELECT agent_policy.erase_user('{BOB}')")),
        "2"
    );
    intact(b);
    assert_eq!(seen(b, "alice") + seen(b, "bob@"), 0);
    // What is erased does not come back, nor is anything put in its place.
    for change in [
        "user_email = 'bob@example.com'",
        "client_addr = '192.0.2.1'",
        "statement = 'SELECT 1'",
        "role_name = 'erased'",
        "rows_returned = 7",
        "who_seal = substr(who_seal, 1, 32)",
        "text_seal = substr(text_seal, 1, 16)",
    ] {
        b.setup("BEGIN; SET LOCAL session_replication_role = replica");
        b.setup(&format!(
            "UPDATE agent_policy.audit_log SET {change} WHERE seq = 2"
        ));
        bad_from(b, 2);
        b.setup("ROLLBACK");
    }
    intact(b);
}

fn what_others_say_of_a_person_is_erased(b: &Bench) {
    filled(b);
    b.agent_for(BOB)
        .query("SELECT id AS \"alice@example.com\" FROM shop.orders LIMIT 1");
    b.flush_audit();
    assert_eq!(
        b.value("SELECT agent_policy.erase_user('alice@example.com')"),
        "6"
    );
    assert_eq!(seen(b, "alice"), 0);
    // Nobody hides behind another's name.
    let bobs = format!(
        "SELECT count(*) FROM agent_policy.audit_log WHERE user_email = '{BOB}' AND relations::text LIKE '%orders%'"
    );
    assert_eq!(b.value(&bobs), "2");
    intact(b);
    assert_eq!(
        b.value(&format!("SELECT agent_policy.erase_user('{BOB}')")),
        "3"
    );
    intact(b);
}

fn an_erasure_cannot_be_forged(b: &Bench) {
    filled(b);
    b.setup("SELECT agent_policy.erase_user('alice@example.com')");
    let last = "(SELECT max(number) FROM agent_policy.audit_block WHERE kind = 3)";
    // As the function does it, for a row of somebody else, in the name of that erasure.
    let forge = |by: &str| {
        format!(
            "UPDATE agent_policy.audit_log l SET who_seal = agent_policy.audit_closed(l, 1) || int8send({by}), user_email = NULL, client_addr = NULL WHERE seq = (SELECT min(seq) FROM agent_policy.audit_log WHERE user_email = '{BOB}')"
        )
    };
    for by in [last, "1", "9999"] {
        b.setup("BEGIN");
        b.setup(&forge(by));
        assert!(!verify(b, "").0, "{by}");
        b.setup("ROLLBACK");
    }
    intact(b);
    tamper(
        b,
        &format!(
            "UPDATE agent_policy.audit_block SET note = replace(note, '\"by\"', '\"of\"') WHERE number = {last}"
        ),
    );
    assert!(!verify(b, "").0);
}

fn erasing_asks_for_the_right_circumstances(b: &Bench) {
    filled(b);
    // Nobody, and what is in everybody's records.
    for nobody in [
        " ",
        "role_name",
        "@",
        "e",
        "select",
        "@example.com",
        "agent",
    ] {
        let error = b.setup_error(&format!("SELECT agent_policy.erase_user('{nobody}')"));
        assert_eq!(error.code, "22023", "{nobody}: {error}");
    }
    b.setup("BEGIN ISOLATION LEVEL REPEATABLE READ");
    b.setup_error("SELECT agent_policy.erase_user('alice@example.com')");
    b.setup("ROLLBACK");
    for statement in [
        "SELECT agent_policy.erase_user('alice@example.com')",
        "SELECT agent_policy.audit_export()",
        "SELECT * FROM agent_policy.audit_access",
    ] {
        assert_eq!(
            b.agent().simple(statement).errors[0].code,
            "42501",
            "{statement}"
        );
        assert_eq!(
            b.unconfined().simple(statement).errors[0].code,
            "42501",
            "{statement}"
        );
    }
    assert!(seen(b, "alice") > 0);
    // Several persons in one transaction, by one statement even.
    b.setup("BEGIN; SET LOCAL statement_timeout = '30 s'; SELECT agent_policy.erase_user('bob@example.com')");
    b.setup("SELECT agent_policy.erase_user(who) FROM unnest(ARRAY['carol@example.com', 'alice@example.com']) who");
    assert_eq!(seen(b, "alice") + seen(b, "bob") + seen(b, "carol"), 0);
    b.setup("ROLLBACK");
    // In savepoints, too: those that are kept, and one that is not.
    b.setup("BEGIN; SET LOCAL statement_timeout = '30 s'; SAVEPOINT s");
    b.setup("SELECT agent_policy.erase_user('bob@example.com'); SAVEPOINT t");
    b.setup("SELECT agent_policy.erase_user('carol@example.com'); RELEASE s");
    b.setup("SELECT agent_policy.erase_user('nobody@example.com'); SAVEPOINT u");
    b.setup("SELECT agent_policy.erase_user('alice@example.com')");
    assert_eq!(seen(b, "alice") + seen(b, "bob") + seen(b, "carol"), 0);
    b.setup("ROLLBACK TO u; SELECT agent_policy.erase_user('alice@example.com')");
    assert_eq!(seen(b, "alice"), 0);
    b.setup("ROLLBACK");
    // After the only erasure was rolled back, the log is open again.
    b.setup("BEGIN; SET LOCAL statement_timeout = '30 s'; SAVEPOINT s");
    b.setup("SELECT agent_policy.erase_user('bob@example.com'); ROLLBACK TO s");
    b.setup("SELECT agent_policy.erase_user('bob@example.com')");
    assert_eq!(seen(b, "bob@"), 0);
    b.setup("ROLLBACK");
    // Rolled back, it has not happened.
    b.setup("BEGIN; SELECT agent_policy.erase_user('alice@example.com'); ROLLBACK");
    assert!(seen(b, "alice") > 0);
    intact(b);
}

/// Somebody verifies while others are erased, who are in rows that are looked at after the headers were.
fn an_erasure_meanwhile_is_no_finding(b: &Bench) {
    const PERSONS: usize = 12;
    b.allow();
    for n in 0..PERSONS {
        let mut agent = b.agent_for(&format!("p{n}@example.com"));
        agent.query("SELECT id FROM shop.orders LIMIT 2");
    }
    // Headers that take a while.
    b.setup("SELECT agent_policy.audit_flush()");
    b.setup("SELECT agent_policy.audit_note(1, current_date - date '1970-01-01', '[]') FROM generate_series(1, 3000)");
    let rows = intact(b);
    let mut other = b.cluster.connect("postgres", &b.db, &[]).expect("connects");
    std::thread::scope(|s| {
        let erasing = s.spawn(move || {
            for n in 0..PERSONS {
                other.query(&format!(
                    "SELECT agent_policy.erase_user('p{n}@example.com')"
                ));
            }
        });
        let mut times = 0;
        while !erasing.is_finished() || times == 0 {
            assert_eq!(intact(b), rows);
            times += 1;
        }
    });
    assert_eq!(seen(b, "@example.com"), 0);
    // As of now, also in a transaction that has seen the log before.
    b.setup("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM agent_policy.audit_log");
    write_beside(b);
    assert!(intact(b) > rows);
    b.setup("COMMIT");
}

/// Rows that the session of the superuser has nothing to do with.
fn write_beside(b: &Bench) {
    b.agent().query("SELECT id FROM shop.orders LIMIT 1");
    let mut other = b.cluster.connect("postgres", &b.db, &[]).expect("connects");
    other.query("SELECT agent_policy.audit_flush()");
}

struct Files(std::path::PathBuf);

impl Files {
    fn new(b: &Bench) -> Self {
        let dir = std::env::temp_dir().join(format!("evidence-{}-{}", std::process::id(), b.db));
        std::fs::create_dir_all(&dir).expect("a directory");
        Self(dir)
    }

    fn put(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).expect("written");
        path.display().to_string()
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn export(b: &Bench, arguments: &str) -> String {
    b.value(&format!(
        "SELECT string_agg(line, E'\\n' ORDER BY n) FROM agent_policy.audit_export({arguments}) WITH ORDINALITY e (line, n)"
    ))
}

fn check(key: Option<&String>, heads: Option<&String>, log: &str) -> Result<bool, String> {
    let options = audit_verify::Options {
        key: key.cloned(),
        heads: heads.cloned(),
        log: log.to_owned(),
    };
    let mut out = Vec::new();
    audit_verify::check(&options, &mut out)
        .inspect(|_| println!("{}", String::from_utf8_lossy(&out)))
}

fn an_export_is_checked_without_a_server(b: &Bench) {
    filled(b);
    b.agent()
        .query("SELECT id AS \"Ünïcode \\ \"\"名\" FROM shop.orders LIMIT 1");
    b.setup("SELECT agent_policy.audit_flush()");
    b.setup("SELECT agent_policy.erase_user('carol@example.com')");
    let files = Files::new(b);
    // Whoever exports is a reader, and another block.
    let head =
        b.value("SELECT head FROM agent_policy.audit_checkpoints ORDER BY block DESC LIMIT 1");
    let text = export(b, "");
    let log = files.put("log", &text);
    let heads = files.put("heads", &format!("{head}\n"));
    let pem = b.value(
        "SELECT concat(E'-----BEGIN PUBLIC KEY-----\\n', encode('\\x302a300506032b6570032100' || public_key, 'base64'), E'\\n-----END PUBLIC KEY-----\\n') FROM agent_policy.audit_key",
    );
    let key = files.put("key.pem", &pem);
    assert_eq!(check(None, None, &log), Ok(true));
    assert_eq!(check(Some(&key), Some(&heads), &log), Ok(true));
    // One line less, one line twice, one value changed.
    let lines: Vec<&str> = text.lines().collect();
    let rows: Vec<usize> = (0..lines.len())
        .filter(|i| lines[*i].contains("\"type\":\"row\""))
        .collect();
    let bad = |lines: Vec<&str>| check(Some(&key), None, &files.put("bad", &lines.join("\n")));
    for row in [rows[0], rows[3], rows[rows.len() - 1]] {
        let mut less = lines.clone();
        less.remove(row);
        assert_eq!(bad(less), Ok(false), "line {row} is missing");
        let mut twice = lines.clone();
        twice.insert(row, lines[row]);
        assert_eq!(bad(twice), Ok(false), "line {row} is there twice");
        let changed =
            lines[row].replace("\"assurance\":\"connection\"", "\"assurance\":\"signed\"");
        assert_ne!(changed, lines[row]);
        let mut other = lines.clone();
        other[row] = &changed;
        assert_eq!(bad(other), Ok(false), "line {row} is changed");
    }
    // The last block with its rows: what only a head of elsewhere tells.
    let last_block = lines
        .iter()
        .rposition(|l| l.contains("\"type\":\"block\""))
        .expect("a block");
    let mut shorter = lines.clone();
    shorter.remove(last_block);
    let shorter = files.put("shorter", &shorter.join("\n"));
    assert_eq!(check(Some(&key), Some(&heads), &shorter), Ok(false));
    // Another's key.
    let foreign = files.put("foreign", "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n");
    assert_eq!(check(Some(&foreign), None, &log), Ok(false));
    assert!(check(None, None, &files.put("none", "{}")).is_err());
    // Some days only.
    let today = files.put("today", &export(b, "now(), now()"));
    assert_eq!(check(Some(&key), None, &today), Ok(true));
    let never = files.put("never", &export(b, "now() + interval '3 days'"));
    assert_eq!(check(Some(&key), None, &never), Ok(true));
}

fn an_export_without_persons(b: &Bench) {
    filled(b);
    b.agent_for(BOB)
        .query("SELECT id AS \"alice@example.com\" FROM shop.orders LIMIT 1");
    b.flush_audit();
    let files = Files::new(b);
    let text = export(b, "personal => false");
    assert!(!text.contains("@example.com"), "{text}");
    assert!(!text.contains("LIMIT"), "{text}");
    let log = files.put("log", &text);
    assert_eq!(check(None, None, &log), Ok(true));
    let changed = text.replace("\"rows_returned\":2", "\"rows_returned\":1");
    assert_ne!(changed, text);
    assert_eq!(check(None, None, &files.put("bad", &changed)), Ok(false));
    // It is said how many, and an export that is to be complete has none.
    let all = intact(b);
    let said = report(&log);
    for group in ["who they are of", "what they said"] {
        let line = format!("  - of {all} rows, {group}: kept back, as the export says\n");
        assert!(said.contains(&line), "not said: {line}{said}");
    }
    let full = text.replacen("\"personal\" : false", "\"personal\" : true", 1);
    assert_ne!(full, text);
    assert_eq!(check(None, None, &files.put("full", &full)), Ok(false));
}

/// What is said of an export without a key and heads.
fn report(log: &str) -> String {
    let options = audit_verify::Options {
        log: log.to_owned(),
        ..Default::default()
    };
    let mut out = Vec::new();
    audit_verify::check(&options, &mut out).expect("a check");
    String::from_utf8(out).expect("text")
}

/// Neither less, nor anything that no block speaks for.
fn an_export_has_what_the_log_has(b: &Bench) {
    filled(b);
    b.setup("SELECT agent_policy.erase_user('carol@example.com')");
    let files = Files::new(b);
    let text = export(b, "");
    let all = intact(b);
    let log = files.put("log", &text);
    assert_eq!(check(None, None, &log), Ok(true));
    let said = report(&log);
    for words in [
        format!("  rows    {all}: seq 1 to {all}; started "),
        "  days    ".to_owned(),
        ", found in the log itself: ".to_owned(),
        "  - of 2 rows, who they are of: erased, as blocks tell\n".to_owned(),
    ] {
        assert!(said.contains(&words), "not said: {words}\n{said}");
    }
    assert!(!said.contains("kept back"), "{said}");
    // Words that somebody has put into a row, or a header, or beside one that is there.
    for (line, member) in [
        ("\"type\":\"row\",", "\"approved_by\":\"bob@example.com\","),
        ("\"type\":\"row\",", "\"statement\":\"SELECT 1\","),
        ("\"type\":\"block\",", "\"remark\":\"checked\","),
        ("\"type\":\"key\",", "\"owner\":\"Bob\","),
    ] {
        let planted = text.replacen(line, &format!("{line}{member}"), 1);
        assert_ne!(planted, text);
        assert_eq!(
            check(None, None, &files.put("bad", &planted)),
            Ok(false),
            "{member}"
        );
    }
    // Rows that somebody has put into the log, behind its end and beyond all time.
    b.setup("CREATE TABLE shop.far_off (LIKE agent_policy.audit_log INCLUDING ALL); ALTER TABLE agent_policy.audit_log ATTACH PARTITION shop.far_off FOR VALUES FROM ('9000-01-01') TO (MAXVALUE)");
    for change in ["seq = seq + 1000", "started_at = 'infinity'"] {
        b.setup("BEGIN; CREATE TEMP TABLE planted ON COMMIT DROP AS SELECT * FROM agent_policy.audit_log WHERE seq = 2");
        b.setup(&format!(
            "UPDATE planted SET {change}; INSERT INTO agent_policy.audit_log SELECT * FROM planted"
        ));
        let text = export(b, "");
        assert_eq!(
            check(None, None, &files.put("bad", &text)),
            Ok(false),
            "{change}"
        );
        b.setup("ROLLBACK");
    }
    assert_eq!(
        check(None, None, &files.put("log", &export(b, ""))),
        Ok(true)
    );
}

fn readers_are_recorded(b: &Bench) {
    filled(b);
    let reads = |what: &str| {
        b.flush_audit();
        let n = b.value(&format!(
            "SELECT count(*) FROM agent_policy.audit_access WHERE {what}"
        ));
        n.parse::<i64>().expect("a count")
    };
    let before = reads("true");
    b.setup("SELECT 1 FROM shop.orders LIMIT 1");
    assert_eq!(reads("true"), before, "other statements are not");
    b.setup("SELECT count(*) /* who */ FROM agent_policy.audit_log WHERE user_email = 'alice@example.com'");
    assert_eq!(reads("true"), before + 1);
    let row = "session_user_name = 'postgres' AND relations = '{agent_policy.audit_log}' AND statement LIKE 'SELECT count%' AND statement NOT LIKE '%alice%' AND read_at > now() - interval '1 min'";
    assert_eq!(reads(row), 1);
    let partition = b.value("SELECT max(tableoid::regclass::text) FROM agent_policy.audit_log");
    b.setup(&format!("SELECT count(*) FROM {partition}"));
    assert_eq!(reads(&format!("relations::text = '{{{partition}}}'")), 1);
    // A part that somebody made, under a name of their own.
    b.setup("CREATE TABLE shop.old_times (LIKE agent_policy.audit_log INCLUDING ALL); SELECT count(*) FROM shop.old_times");
    assert_eq!(reads("relations::text LIKE '%old_times%'"), 0);
    b.setup("ALTER TABLE agent_policy.audit_log ATTACH PARTITION shop.old_times FOR VALUES FROM ('2001-01-01') TO ('2001-01-02')");
    b.setup("SELECT count(*) FROM shop.old_times");
    assert_eq!(reads("relations = '{shop.old_times}'"), 1);
    b.setup("ALTER TABLE agent_policy.audit_log DETACH PARTITION shop.old_times; SELECT count(*) FROM shop.old_times; DROP TABLE shop.old_times");
    assert_eq!(reads("relations = '{shop.old_times}'"), 1);
    b.setup(&format!("COPY {partition} TO '/dev/null'"));
    assert_eq!(reads("statement LIKE 'COPY%'"), 1);
    b.setup("GRANT agent_policy_admin TO @plain@");
    b.unconfined()
        .query("SELECT * FROM agent_policy.audit_ocsf");
    assert_eq!(reads(&b.fill("session_user_name = '@plain@'")), 1);
    // Rolled back or failed: seen all the same.
    b.setup("BEGIN; SELECT max(seq) FROM agent_policy.audit_log; ROLLBACK");
    assert_eq!(
        reads("statement LIKE 'SELECT max(seq)%' OR statement LIKE '%; SELECT max(seq)%'"),
        1
    );
    b.setup_error("SELECT 1 / (seq - seq) FROM agent_policy.audit_log");
    assert_eq!(reads("statement LIKE 'SELECT $1 / (seq%'"), 1);
    b.setup("REVOKE agent_policy_admin FROM @plain@");
    intact(b);
    // The log itself has no more rows for that.
    assert_eq!(
        b.value("SELECT count(*) FROM agent_policy.audit_log WHERE session_user_name = 'postgres'"),
        "0"
    );
}

fn records_of_readers_cannot_be_removed(b: &Bench) {
    filled(b);
    b.setup("SELECT count(*) FROM agent_policy.audit_log");
    b.flush_audit();
    let read = "(SELECT min(number) FROM agent_policy.audit_block WHERE kind = 1)";
    for change in [
        format!("UPDATE agent_policy.audit_block SET note = '[]' WHERE number = {read}"),
        format!("UPDATE agent_policy.audit_block SET note = NULL WHERE number = {read}"),
        format!("DELETE FROM agent_policy.audit_block WHERE number = {read}"),
    ] {
        b.setup("BEGIN; SET LOCAL session_replication_role = replica");
        b.setup(&change);
        assert!(!verify(b, "").0, "{change}");
        b.setup("ROLLBACK");
    }
    intact(b);
    // A reader whose name is a person's can be erased.
    b.setup(
        "CREATE ROLE \"dora@example.com\" LOGIN; GRANT agent_policy_admin TO \"dora@example.com\"",
    );
    let mut dora = b
        .cluster
        .connect("dora@example.com", &b.db, &[])
        .expect("connects");
    dora.query("SELECT count(*) FROM agent_policy.audit_log");
    drop(dora);
    b.flush_audit();
    assert!(seen(b, "dora@example.com") > 0);
    b.setup("SELECT agent_policy.erase_user('dora@example.com')");
    b.setup("DROP OWNED BY \"dora@example.com\"; DROP ROLE \"dora@example.com\"");
    assert_eq!(seen(b, "dora@example.com"), 0);
    intact(b);
}

fn gaps_of_a_session_show(b: &Bench) {
    b.allow();
    let mut agent = b.agent();
    for i in 1..7 {
        agent.query(&format!("SELECT id FROM shop.orders LIMIT {i}"));
    }
    drop(agent);
    b.flush_audit();
    assert_eq!(
        b.value("SELECT count(*) FROM agent_policy.audit_gaps()"),
        "0"
    );
    tamper(
        b,
        "DELETE FROM agent_policy.audit_log WHERE backend_seq IN (3, 4)",
    );
    assert_eq!(
        b.value(
            "SELECT concat_ws(' ', first_missing, last_missing) FROM agent_policy.audit_gaps()"
        ),
        "3 4"
    );
}

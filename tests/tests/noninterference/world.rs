//! Two clusters that differ in what the policy hides.

use std::path::Path;

use cluster_tests::{Cluster, Wire, attack, cluster};

const LAB: &str = include_str!("../../fixtures/noninterference.sql");
const POLICY: &str = include_str!("../../fixtures/noninterference_policy.sql");
const SHOP: &str = include_str!("../../fixtures/shop.sql");
const FIELD: &str = include_str!("../../attacks/field.sql");
const FIELD_POLICY: &str = include_str!("../../attacks/field_policy.sql");
const OVERGRANT: &str = include_str!("../../attacks/field_overgrant.sql");
const OVERGRANT_HERE: &str = include_str!("../../attacks/field_overgrant_here.sql");

pub const USER: &str = "alice@example.com";
const ROLES: &str = "ro, over, rw, fresh, ddl, slow, plain";

/// Nothing by which the two would drift apart: what runs by itself runs when it likes.
const CONF: &str = "autovacuum = off\nmax_locks_per_transaction = 128\ncheckpoint_timeout = 1d\nmax_wal_size = 2GB\nmax_parallel_workers_per_gather = 0";

pub struct Worlds {
    pub here: Cluster,
    pub there: Cluster,
    pub version: u32,
    /// What one world is made of, and the other.
    pub seed: u64,
    /// Settings of the servers.
    conf: String,
    /// Tables in which hidden rows have keys of their own.
    hidden_keys: usize,
}

/// As superuser.
pub fn su(cluster: &Cluster, database: &str) -> Wire {
    cluster
        .connect("postgres", database, &[])
        .expect("the superuser connects")
}

/// As one of the roles, for a user.
pub fn session(cluster: &Cluster, role: &str, database: &str) -> Wire {
    let options = format!("-c agent_policy.user_email={USER}");
    cluster
        .connect(role, database, &[("options", &options)])
        .unwrap_or_else(|e| panic!("{role} cannot connect to {database}: {e}"))
}

/// The parts of the set-up that differ.
fn fill(text: &str, seed: u64, other: bool) -> String {
    let (salt, skew, unseen, start, op) = if other {
        (format!("B{seed}"), "1", "nox", "77", "~")
    } else {
        (format!("A{seed}"), "0", "umb", "33", "#")
    };
    text.replace("@salt@", &salt)
        .replace("@skew@", skew)
        .replace("@unseen@", unseen)
        .replace("@start@", start)
        .replace("@op@", op)
}

/// Name, pages, rows, all-visible pages and bytes of each relation.
fn sizes(wire: &mut Wire) -> Vec<Vec<String>> {
    wire.query(
        "SELECT oid::regclass, relpages, CASE WHEN relkind <> 'i' OR oid NOT IN (SELECT indexrelid FROM pg_index WHERE indpred IS NOT NULL) THEN reltuples END, relallvisible, pg_relation_size(oid)
         FROM pg_class WHERE relnamespace = 'lab'::regnamespace AND relkind IN ('r', 'i', 'm') ORDER BY oid",
    )
    .texts()
}

/// Which row of each table lies where.
fn places(wire: &mut Wire) -> Vec<Vec<String>> {
    let mut tables = wire
        .query(
            "SELECT oid::regclass, CASE WHEN EXISTS (SELECT FROM pg_attribute WHERE attrelid = c.oid AND attname = 'id') THEN 'id' ELSE '0' END
             FROM pg_class c WHERE relnamespace = 'lab'::regnamespace AND relkind = 'r' ORDER BY oid",
        )
        .texts();
    for table in &mut tables {
        let sql = format!(
            "SELECT md5(string_agg(concat(ctid, {}), '')) FROM ONLY {}",
            table[1], table[0]
        );
        table.push(wire.value(&sql));
    }
    tables
}

impl Worlds {
    pub fn new(version: u32, seed: u64, conf: &str) -> Self {
        let start = || Cluster::start(version, &format!("{CONF}\n{conf}"));
        let mut worlds = Self {
            here: start(),
            there: start(),
            version,
            seed,
            conf: conf.to_owned(),
            hidden_keys: 0,
        };
        worlds.both(|cluster, other| {
            let mut wire = su(cluster, "postgres");
            for role in ROLES
                .split(", ")
                .chain(["shop_owner", "lab_owner", "colleague"])
            {
                wire.query(&format!("CREATE ROLE {role} LOGIN"));
            }
            wire.query("CREATE DATABASE lab");
            let mut wire = su(cluster, "lab");
            wire.query(&fill(LAB, seed, other));
            if !cluster::plain() {
                wire.query("CREATE EXTENSION agent_policy");
                wire.query(&fill(POLICY, seed, other));
            }
            wire.query("VACUUM ANALYZE");
        });
        worlds.align();
        worlds.same_sizes();
        worlds.hidden_keys = worlds.differing(places).len();
        worlds
    }

    /// The same worlds, as they were in the beginning.
    pub fn anew(&self) -> Self {
        let worlds = Self::new(self.version, self.seed, &self.conf);
        worlds.settle();
        worlds.forget_counters();
        worlds
    }

    /// What is declassified agrees.
    fn same_sizes(&self) {
        let apart = self.differing(sizes);
        assert!(
            apart.is_empty(),
            "the worlds differ in what is declassified: {apart:?}"
        );
    }

    /// Do relations have other sizes by now, or rows other places?
    pub fn have_drifted(&self) -> bool {
        !self.differing(sizes).is_empty() || self.differing(places).len() > self.hidden_keys
    }

    /// What the two say differently of a relation, here and there.
    fn differing(&self, of: fn(&mut Wire) -> Vec<Vec<String>>) -> Vec<[Vec<String>; 2]> {
        let (here, there) = self.both(|cluster, _| of(&mut su(cluster, "lab")));
        here.into_iter()
            .zip(there)
            .filter(|(here, there)| here != there)
            .map(|(here, there)| [here, there])
            .collect()
    }

    /// Statistics of hidden values are stored in one piece or in several, and pieces have numbers: the next object gets
    /// the same number in both again.
    fn align(&self) {
        let next = |cluster: &Cluster| {
            let mut wire = su(cluster, "postgres");
            let oid = wire.value("SELECT lo_creat(-1)");
            wire.query(&format!("SELECT lo_unlink({oid})"));
            oid.parse::<u64>().expect("an OID")
        };
        let (here, there) = (next(&self.here), next(&self.there));
        let behind = if here < there {
            &self.here
        } else {
            &self.there
        };
        su(behind, "postgres").query(&format!(
            "SELECT count(lo_unlink(lo_creat(-1))) FROM generate_series(1, {})",
            here.abs_diff(there)
        ));
        assert_eq!(
            next(&self.here),
            next(&self.there),
            "the worlds number their objects differently"
        );
    }

    /// The same in both, side by side.
    pub fn both<T: Send>(&self, work: impl Fn(&Cluster, bool) -> T + Sync) -> (T, T) {
        std::thread::scope(|scope| {
            let there = scope.spawn(|| work(&self.there, true));
            let here = work(&self.here, false);
            (here, there.join().expect("the other world"))
        })
    }

    /// The shop that the project's attacks are made for, once in each.
    pub fn open_shop(&self) {
        self.both(|cluster, other| {
            su(cluster, "postgres").query("CREATE DATABASE shop");
            let fill = |text: &str| {
                text.replace("@agent@, @plain@", ROLES)
                    .replace("@db@", "shop")
            };
            let mut wire = su(cluster, "shop");
            wire.query(&fill(SHOP));
            wire.query(&fill(FIELD));
            wire.query(&attack::hidden_values(other));
            wire.query("CREATE EXTENSION agent_policy");
            wire.query(FIELD_POLICY);
            wire.query(OVERGRANT);
            wire.query(&fill(OVERGRANT_HERE));
        });
        self.align();
    }

    /// Real data and questions; every text that looks personal is written in another alphabet in the other world.
    pub fn load_workload(&self, dir: &Path) {
        self.both(|cluster, other| {
            let mut postgres = su(cluster, "postgres");
            postgres.query("CREATE ROLE reader LOGIN; GRANT pg_read_all_data TO reader");
            postgres.query("CREATE DATABASE defog");
            cluster.psql("defog", &dir.join("load.sql"));
            let mut wire = su(cluster, "defog");
            let columns = wire
                .query(
                    "SELECT c.oid::regclass::text, quote_ident(a.attname), a.attname::text FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
                     JOIN pg_attribute a ON attrelid = c.oid WHERE relkind = 'r' AND nspname !~ '^pg_' AND nspname <> 'information_schema' AND attnum > 0
                     AND NOT attisdropped AND atttypid::regtype IN ('text', 'varchar', 'bpchar') AND attname ~* '(name|email|phone|ssn|address)' ORDER BY c.oid, attnum",
                )
                .texts();
            let letters = if other { "qwertyuiopasdfghjklzxcvbnm9876543210" } else { "abcdefghijklmnopqrstuvwxyz0123456789" };
            let mut last = String::new();
            wire.query("CREATE EXTENSION agent_policy; SELECT agent_policy.protect_role('reader'), agent_policy.reset_limits('reader', 'max_rows', 'max_bytes')");
            wire.query("SELECT agent_policy.allow_schema('reader', nspname) FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname NOT IN ('information_schema', 'agent_policy')");
            for column in &columns {
                let [table, quoted, name] = &column[..] else { continue };
                wire.query(&format!(
                    "SET session_replication_role = replica; UPDATE {table} SET {quoted} = translate(lower({quoted}), 'abcdefghijklmnopqrstuvwxyz0123456789', '{letters}')"
                ));
                wire.query(&format!("SELECT agent_policy.mask_column('{table}', '{name}')"));
                if *table != last {
                    last.clone_from(table);
                }
            }
            wire.query("RESET session_replication_role");
            wire.query("VACUUM FULL");
            wire.query("ANALYZE");
        });
        self.align();
    }

    /// What the audit makes for itself when it has something to write, it makes now: later objects get the same numbers
    /// in both.
    pub fn settle(&self) {
        if cluster::plain() {
            return;
        }
        self.both(|cluster, _| {
            for database in su(cluster, "postgres").query("SELECT datname FROM pg_database WHERE datname IN ('lab', 'shop', 'defog') ORDER BY 1").column() {
                let role = if database == "defog" { "reader" } else { "ro" };
                session(cluster, role, &database).query("SELECT 1");
                su(cluster, &database).query("SELECT agent_policy.audit_flush()");
            }
        });
        self.align();
    }

    /// What was read to set the worlds up, raw values included, is not counted.
    pub fn forget_counters(&self) {
        self.both(|cluster, _| {
            su(cluster, "lab").query("SELECT pg_stat_force_next_flush(), pg_stat_reset()");
        });
    }

    pub fn crashes(&self) -> usize {
        self.here.crashes() + self.there.crashes()
    }
}

//! A real driver (tokio-postgres): binary parameters and results, portals with row limits, COPY streams, cancellation.

use cluster_tests::{Bench, Case, cases};
use tokio_postgres::{Client, Config, NoTls};

pub const CASES: &[Case] = cases![
    typed_queries,
    portals,
    errors_carry_detail_and_hint,
    pipelines
];

fn with_client<F>(b: &Bench, work: impl FnOnce(Client) -> F)
where
    F: Future<Output = ()>,
{
    let mut config = Config::new();
    config
        .host_path(b.cluster.socket_dir())
        .port(b.cluster.port())
        .user(&b.agent)
        .dbname(&b.db)
        .options("-c agent_policy.user_email=alice@example.com");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let (client, connection) = config.connect(NoTls).await.expect("connects");
        let connection = tokio::spawn(connection);
        work(client).await;
        connection.abort();
    });
}

fn typed_queries(b: &Bench) {
    b.mask();
    with_client(b, |client| async move {
        let rows = client.query("SELECT id, email, salary::float8, born::text FROM shop.customers WHERE id < $1 ORDER BY id", &[&4_i32]).await.expect("allowed");
        assert_eq!(rows.len(), 3);
        assert_eq!(rows[0].get::<_, String>(1), "c***@example.com");
        assert_eq!(rows[0].get::<_, f64>(2), 0.0);
        assert_eq!(rows[0].get::<_, String>(3), "1970-01-01");
    });
}

fn portals(b: &Bench) {
    b.allow();
    b.setup("SELECT agent_policy.set_limits('@agent@', max_rows => 50)");
    with_client(b, |mut client| async move {
        let transaction = client.transaction().await.expect("a transaction");
        let portal = transaction
            .bind("SELECT id FROM shop.orders", &[])
            .await
            .expect("bound");
        let mut rows = 0;
        for _ in 0..10 {
            let slice = transaction
                .query_portal(&portal, 20)
                .await
                .expect("a slice");
            rows += slice.len();
            if slice.len() < 20 {
                break;
            }
        }
        assert_eq!(rows, 50);
    });
}

fn errors_carry_detail_and_hint(b: &Bench) {
    b.allow();
    with_client(b, |client| async move {
        let error = client
            .query("SELECT * FROM vault.secrets", &[])
            .await
            .expect_err("denied");
        let db = error.as_db_error().expect("from the server");
        assert_eq!(db.code().code(), "42501");
        let detail: serde_json::Value =
            serde_json::from_str(db.detail().expect("DETAIL")).expect("JSON");
        assert_eq!(detail["rule"], "relation_not_allowed");
        assert!(db.hint().is_some());
    });
}

fn pipelines(b: &Bench) {
    b.allow();
    with_client(b, |client| async move {
        let (a, b, c) = tokio::join!(
            client.query_one("SELECT count(*) FROM shop.orders", &[]),
            client.query_one("SELECT * FROM vault.secrets", &[]),
            client.query_one("SELECT count(*) FROM shop.customers", &[])
        );
        assert_eq!(a.expect("allowed").get::<_, i64>(0), 3000);
        assert!(b.is_err());
        assert_eq!(c.expect("allowed").get::<_, i64>(0), 401);
    });
}

// node-postgres: simple and extended protocol, named statements, cursors, a pool, errors.
"use strict";
const { Client, Pool } = require("pg");
const Cursor = require("pg-cursor");

const LARGE = "SELECT o.id, g, o.status FROM shop.orders o, generate_series(1, 3) g ORDER BY 1, 2";
const AGGREGATE = "SELECT region, count(*) AS n, round(avg(amount), 2) AS mean FROM shop.customers c JOIN shop.orders o ON o.customer_id = c.id GROUP BY region ORDER BY region";
const ROWS = "SELECT id, name, email, ssn, phone, born, salary, note, profile FROM shop.customers ORDER BY id";
const EXPLAIN = "SELECT status, count(*) FROM shop.orders WHERE id < 100 GROUP BY status";
const DENIED = "SELECT rolname, rolpassword FROM pg_catalog.pg_authid";

function emit(step, what) {
  console.log(JSON.stringify({ step, ...what }));
}

async function step(name, work) {
  try {
    emit(name, { value: (await work()) ?? null });
  } catch (error) {
    emit(name, { error: { code: error.code ?? null, message: error.message, hint: error.hint ?? null } });
  }
}

async function main() {
  // The URL of the README: its `options` name the end user.
  const client = new Client({ connectionString: process.env.CLIENT_URL });
  await client.connect();
  const rows = async (text, values) => (await client.query({ text, values, rowMode: "array" })).rows;
  await step("connect", () => rows("SELECT current_database() IS NOT NULL"));
  await step("list tables", () => rows("SELECT table_name FROM information_schema.tables WHERE table_schema = $1 ORDER BY 1", ["shop"]));
  await step("describe", () => rows("SELECT column_name, data_type, is_nullable, column_default FROM information_schema.columns WHERE table_schema = 'shop' AND table_name = $1 ORDER BY ordinal_position", ["types"]));
  await step("query", () => rows(AGGREGATE));
  await step("typed values", () => rows("SELECT * FROM shop.types ORDER BY id"));
  await step("rows", () => rows(ROWS));
  await step("fields", async () => (await client.query("SELECT * FROM shop.types")).fields.map((f) => [f.name, f.format]));
  await step("named statement", async () => {
    const out = [];
    for (let i = 1; i < 8; i++) out.push((await client.query({ name: "by-id", text: "SELECT status FROM shop.orders WHERE id = $1", values: [i] })).rows[0].status);
    return out;
  });
  await step("several in one message", async () => (await client.query("SELECT 1 AS a; SELECT 2 AS b")).map((r) => r.rows[0]));
  await step("cursor", async () => {
    const cursor = client.query(new Cursor(LARGE));
    let [count, sum, batch] = [0, 0, []];
    while ((batch = await cursor.read(500)).length) {
      count += batch.length;
      for (const r of batch) sum += r.id * r.g;
    }
    await cursor.close();
    return [count, sum];
  });
  await step("explain", () => rows("EXPLAIN (COSTS off) " + EXPLAIN));
  await step("explain json", async () => typeof (await client.query("EXPLAIN (FORMAT json) " + EXPLAIN)).rows[0]["QUERY PLAN"][0].Plan);
  await step("denied", () => rows(DENIED));
  await step("usable after a denial", () => rows("SELECT 'usable'"));
  await step("denied in a transaction", async () => {
    await client.query("BEGIN");
    try {
      await client.query(DENIED);
    } catch (error) {
      const state = error.code;
      await client.query("ROLLBACK");
      return [state, (await rows("SELECT 'usable'"))[0]];
    }
  });
  // What the reference MCP server does around each query.
  await step("read-only transaction", async () => {
    await client.query("BEGIN TRANSACTION READ ONLY");
    const result = await rows("SELECT count(*) FROM shop.orders");
    await client.query("ROLLBACK");
    return result;
  });
  await client.end();
  const pool = new Pool({ connectionString: process.env.CLIENT_URL, max: 3, statement_timeout: 10000, application_name: "pool", idle_in_transaction_session_timeout: 10000 });
  await step("pool", async () => (await Promise.all([1, 2, 3, 4, 5].map((n) => pool.query("SELECT count(*)::int AS n FROM shop.orders WHERE id <= $1", [n * 10])))).map((r) => r.rows[0].n));
  await pool.end();
}

main().catch((error) => {
  emit("run", { error: { code: error.code ?? null, message: String(error.stack), hint: null } });
  process.exit(1);
});

// pgjdbc: DatabaseMetaData, prepared statements (also server-prepared), fetch sizes, COPY, errors.

import java.sql.Array;
import java.sql.Connection;
import java.sql.DatabaseMetaData;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.ResultSetMetaData;
import java.sql.SQLException;
import java.sql.Savepoint;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;
import org.postgresql.PGConnection;
import org.postgresql.util.PSQLException;

public class Jdbc {
    static final String LARGE = "SELECT o.id, g, o.status FROM shop.orders o, generate_series(1, 3) g ORDER BY 1, 2";
    static final String AGGREGATE = "SELECT region, count(*) AS n, round(avg(amount), 2) AS mean FROM shop.customers c "
        + "JOIN shop.orders o ON o.customer_id = c.id GROUP BY region ORDER BY region";
    static final String ROWS = "SELECT id, name, email, ssn, phone, born, salary, note, profile FROM shop.customers ORDER BY id";
    static final String EXPLAIN = "EXPLAIN (COSTS off) SELECT status, count(*) FROM shop.orders WHERE id < 100 GROUP BY status";
    static final String DENIED = "SELECT rolname, rolpassword FROM pg_catalog.pg_authid";

    interface Work { Object run() throws Exception; }

    static String json(Object value) {
        if (value == null) return "null";
        if (value instanceof List) {
            StringBuilder out = new StringBuilder("[");
            for (Object item : (List<?>) value) out.append(out.length() > 1 ? "," : "").append(json(item));
            return out.append("]").toString();
        }
        StringBuilder out = new StringBuilder("\"");
        for (char c : value.toString().toCharArray()) {
            if (c == '"' || c == '\\') out.append('\\').append(c);
            else if (c < 32) out.append(String.format("\\u%04x", (int) c));
            else out.append(c);
        }
        return out.append('"').toString();
    }

    static void step(String name, Work work) {
        try {
            System.out.println("{\"step\":" + json(name) + ",\"value\":" + json(work.run()) + "}");
        } catch (Exception e) {
            String hint = null, code = null, message = e.toString();
            if (e instanceof PSQLException && ((PSQLException) e).getServerErrorMessage() != null) {
                hint = ((PSQLException) e).getServerErrorMessage().getHint();
                message = ((PSQLException) e).getServerErrorMessage().getMessage();
            }
            if (e instanceof SQLException) code = ((SQLException) e).getSQLState();
            System.out.println("{\"step\":" + json(name) + ",\"error\":{\"code\":" + json(code) + ",\"message\":"
                + json(message) + ",\"hint\":" + json(hint) + "}}");
        }
    }

    static List<Object> rows(ResultSet set) throws SQLException {
        List<Object> out = new ArrayList<>();
        int columns = set.getMetaData().getColumnCount();
        while (set.next()) {
            List<Object> row = new ArrayList<>();
            for (int i = 1; i <= columns; i++) row.add(set.getString(i));
            out.add(row);
        }
        set.close();
        return out;
    }

    public static void main(String[] arguments) throws Exception {
        Properties p = new Properties();
        p.setProperty("user", System.getenv("PGUSER"));
        p.setProperty("password", System.getenv("PGPASSWORD"));
        String email = System.getenv("CLIENT_EMAIL");
        if (!email.isEmpty()) p.setProperty("options", "-c agent_policy.user_email=" + email);
        String url = "jdbc:postgresql://" + System.getenv("PGHOST") + ":" + System.getenv("PGPORT") + "/" + System.getenv("PGDATABASE");
        Connection c = DriverManager.getConnection(url, p);
        Statement s = c.createStatement();
        DatabaseMetaData m = c.getMetaData();
        step("connect", () -> m.getDatabaseProductName());
        step("schemas", () -> rows(m.getSchemas()));
        step("catalogs", () -> m.getCatalogs() != null);
        step("tables", () -> rows(m.getTables(null, "shop", "%", null)));
        step("tables by type", () -> rows(m.getTables(null, "shop", null, new String[] {"TABLE", "VIEW", "PARTITIONED TABLE"})));
        step("columns", () -> rows(m.getColumns(null, "shop", "%", "%")));
        step("primary keys", () -> rows(m.getPrimaryKeys(null, "shop", "orders")));
        step("imported keys", () -> rows(m.getImportedKeys(null, "shop", "orders")));
        step("exported keys", () -> rows(m.getExportedKeys(null, "shop", "customers")));
        step("cross reference", () -> rows(m.getCrossReference(null, "shop", "customers", null, "shop", "orders")));
        step("indexes", () -> rows(m.getIndexInfo(null, "shop", "customers", false, false)));
        step("functions", () -> rows(m.getFunctions(null, "shop", "%")));
        step("function columns", () -> rows(m.getFunctionColumns(null, "shop", "%", "%")));
        step("procedures", () -> rows(m.getProcedures(null, "shop", "%")));
        step("types", () -> rows(m.getTypeInfo()).size() > 100);
        step("user-defined types", () -> rows(m.getUDTs(null, "shop", "%", null)));
        step("table privileges", () -> rows(m.getTablePrivileges(null, "shop", "orders")));
        step("column privileges", () -> rows(m.getColumnPrivileges(null, "shop", "orders", "%")));
        step("best row identifier", () -> rows(m.getBestRowIdentifier(null, "shop", "orders", 0, false)));
        step("client info", () -> rows(m.getClientInfoProperties()));
        step("keywords", () -> m.getSQLKeywords().length() > 100);
        step("longest name", () -> m.getMaxColumnNameLength());
        step("query", () -> rows(s.executeQuery(AGGREGATE)));
        step("rows", () -> rows(s.executeQuery(ROWS)));
        step("typed values", () -> rows(s.executeQuery("SELECT * FROM shop.types ORDER BY id")));
        step("result columns", () -> {
            ResultSetMetaData r = s.executeQuery("SELECT * FROM shop.types").getMetaData();
            List<Object> out = new ArrayList<>();
            for (int i = 1; i <= r.getColumnCount(); i++)
                out.add(List.of(r.getColumnName(i), r.getColumnTypeName(i), r.isAutoIncrement(i), r.isNullable(i), r.getTableName(i)));
            return out;
        });
        step("prepared", () -> {
            PreparedStatement q = c.prepareStatement("SELECT status, amount FROM shop.orders WHERE id = ? AND ordered_at > ?::timestamptz");
            List<Object> out = new ArrayList<>();
            for (int i = 1; i < 12; i++) {
                q.setInt(1, i);
                q.setString(2, "2020-01-01");
                out.add(rows(q.executeQuery()));
            }
            return out;
        });
        step("array", () -> {
            PreparedStatement q = c.prepareStatement("SELECT id FROM shop.orders WHERE id = ANY(?) ORDER BY 1");
            Array ids = c.createArrayOf("int4", new Object[] {1, 2, 3});
            q.setArray(1, ids);
            return rows(q.executeQuery());
        });
        step("fetch size", () -> {
            c.setAutoCommit(false);
            Statement f = c.createStatement();
            f.setFetchSize(500);
            ResultSet r = f.executeQuery(LARGE);
            long count = 0, sum = 0;
            while (r.next()) { count++; sum += r.getLong(1) * r.getLong(2); }
            r.close();
            c.commit();
            c.setAutoCommit(true);
            return List.of(count, sum);
        });
        step("scrollable", () -> {
            Statement f = c.createStatement(ResultSet.TYPE_SCROLL_INSENSITIVE, ResultSet.CONCUR_READ_ONLY);
            ResultSet r = f.executeQuery("SELECT id FROM shop.orders ORDER BY id");
            r.last();
            int rows = r.getRow();
            r.absolute(5);
            return List.of(rows, r.getInt(1));
        });
        step("max rows", () -> {
            Statement f = c.createStatement();
            f.setMaxRows(7);
            return rows(f.executeQuery("SELECT id FROM shop.orders ORDER BY id")).size();
        });
        step("several at once", () -> {
            Statement f = c.createStatement();
            f.execute("SELECT 1; SELECT 2");
            List<Object> out = new ArrayList<>();
            do { out.add(rows(f.getResultSet())); } while (f.getMoreResults());
            return out;
        });
        step("explain", () -> rows(s.executeQuery(EXPLAIN)));
        step("copy", () -> {
            java.io.ByteArrayOutputStream out = new java.io.ByteArrayOutputStream();
            long n = ((PGConnection) c).getCopyAPI().copyOut("COPY shop.orders (id, status) TO STDOUT", out);
            return List.of(n, out.size());
        });
        step("isolation", () -> {
            c.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
            c.setReadOnly(true);
            List<Object> out = rows(s.executeQuery("SHOW transaction_isolation"));
            c.setReadOnly(false);
            return out;
        });
        step("network timeout", () -> { c.setNetworkTimeout(Runnable::run, 60000); return c.isValid(5); });
        step("query timeout", () -> {
            Statement f = c.createStatement();
            f.setQueryTimeout(1);
            try {
                f.executeQuery("SELECT count(*) FROM generate_series(1, 1000000000)");
                return "no timeout";
            } catch (SQLException e) {
                return e.getSQLState();
            }
        });
        step("application name", () -> { c.setClientInfo("ApplicationName", "report"); return rows(s.executeQuery("SHOW application_name")); });
        step("denied", () -> rows(s.executeQuery(DENIED)));
        step("usable after a denial", () -> rows(s.executeQuery("SELECT 'usable'")));
        step("denial in a savepoint", () -> {
            c.setAutoCommit(false);
            s.executeQuery("SELECT 1").close();
            Savepoint here = c.setSavepoint();
            String state = null;
            try { s.executeQuery(DENIED); } catch (SQLException e) { state = e.getSQLState(); }
            c.rollback(here);
            List<Object> out = rows(s.executeQuery("SELECT 'usable'"));
            c.rollback();
            c.setAutoCommit(true);
            return List.of(state, out);
        });
        c.close();
    }
}

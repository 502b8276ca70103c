-- The same for one database.
GRANT ALL ON DATABASE @db@ TO over, plain;
GRANT ALL ON SCHEMA shop, vault, public, pg_catalog TO over, plain;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA pg_catalog, shop TO over, plain;
GRANT EXECUTE ON ALL PROCEDURES IN SCHEMA shop TO over, plain;
GRANT SELECT ON ALL TABLES IN SCHEMA pg_catalog TO over, plain;
GRANT USAGE ON LANGUAGE sql, plpgsql TO over, plain;

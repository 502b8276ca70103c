-- What a DBA may have granted by mistake, after the roles were protected: for the whole cluster.
GRANT pg_read_all_data, pg_write_all_data, pg_read_all_settings, pg_read_all_stats, pg_stat_scan_tables, pg_monitor, pg_signal_backend,
      pg_read_server_files, pg_write_server_files, pg_execute_server_program, pg_checkpoint TO over, plain;
ALTER ROLE over CREATEROLE CREATEDB;
ALTER ROLE plain CREATEROLE CREATEDB;
GRANT SET ON PARAMETER session_replication_role, log_statement, temp_file_limit, log_min_messages TO over, plain;
GRANT ALTER SYSTEM ON PARAMETER work_mem, log_statement TO over, plain;
GRANT colleague TO over, plain;
DO $$ BEGIN
    IF current_setting('server_version_num')::int >= 160000 THEN
        EXECUTE 'GRANT pg_create_subscription, pg_use_reserved_connections TO over, plain';
    END IF;
    IF current_setting('server_version_num')::int >= 170000 THEN
        EXECUTE 'GRANT pg_maintain TO over, plain';
    END IF;
END $$;

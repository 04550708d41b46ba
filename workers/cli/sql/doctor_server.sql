-- purpose: what the server is and how it keeps its word.
-- locks:   none.
-- index:   none.
-- fence:   none; it only reads.

SELECT current_setting('server_version_num')::integer AS version_num, current_setting('server_version') AS version,
       current_setting('synchronous_commit') AS synchronous_commit, current_setting('fsync') AS fsync,
       current_setting('full_page_writes') AS full_page_writes, pg_is_in_recovery() AS standby,
       floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now_ms, session_user::text AS login

-- purpose: how long a session of each role may sit in a transaction, and how long the auditor may read.
-- locks:   none.
-- index:   none.
-- fence:   none of it cuts a commit: one that waits for its standby is not idle, and no role that writes has a time-out
--          of statements. A login that is only a member of a role inherits none of this: the worker's watch ends it.

RESET ROLE;
DO $timeouts$
DECLARE
    v_role text;
BEGIN
    FOREACH v_role IN ARRAY ARRAY['${role_worker}', '${role_trader}', '${role_risk}', '${role_auditor}'] LOOP
        EXECUTE format('ALTER ROLE %I IN DATABASE %I SET idle_in_transaction_session_timeout = %L', v_role, current_database(), '60s');
    END LOOP;
    -- Only reads, and each statement of the audit is far shorter.
    EXECUTE format('ALTER ROLE %I IN DATABASE %I SET statement_timeout = %L', '${role_auditor}', current_database(), '15min');
EXCEPTION WHEN insufficient_privilege THEN
    RAISE NOTICE 'the time-outs of the roles could not be set: see docs/running.md';
END $timeouts$;
SET LOCAL ROLE ${role_owner};

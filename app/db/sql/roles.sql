-- purpose: roles and schemas. Roles belong to the whole server: they are made once, shared by databases, never dropped.
-- locks:   none.
-- index:   none.
-- fence:   only the owner role owns; the others get what grants.sql names.

DO $roles$
DECLARE
    v_role text;
BEGIN
    FOREACH v_role IN ARRAY ARRAY['${role_owner}', '${role_worker}', '${role_trader}', '${role_risk}', '${role_auditor}'] LOOP
        BEGIN
            IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = v_role) THEN
                EXECUTE format('CREATE ROLE %I NOLOGIN', v_role);
            END IF;
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            -- Another database of this server was migrated at the same moment.
            NULL;
        END;
    END LOOP;
    IF NOT pg_has_role(current_user, '${role_owner}', 'MEMBER') THEN
        EXECUTE format('GRANT %I TO %I', '${role_owner}', current_user);
    END IF;
    BEGIN
        -- For the watchdog that ends sessions which sit on a ledger lock (ledger.end_lock_holders).
        IF NOT pg_has_role('${role_owner}', 'pg_signal_backend', 'MEMBER') THEN
            EXECUTE format('GRANT pg_signal_backend, pg_read_all_stats TO %I', '${role_owner}');
        END IF;
    EXCEPTION WHEN insufficient_privilege THEN
        RAISE NOTICE 'pg_signal_backend could not be granted to %: the lock watchdog can only watch', '${role_owner}';
    WHEN OTHERS THEN
        IF SQLERRM NOT LIKE 'tuple concurrently updated%' THEN
            RAISE;
        END IF;
    END;
END $roles$;

CREATE SCHEMA ledger AUTHORIZATION ${role_owner};
CREATE SCHEMA audit AUTHORIZATION ${role_owner};
CREATE SCHEMA paper AUTHORIZATION ${role_owner};
SET LOCAL ROLE ${role_owner};

-- Takes the schema of 0001 away. Roles stay: they belong to the server and may serve another database.
DO $$
BEGIN
    IF EXISTS (SELECT FROM ledger.orders WHERE state IN ('SENDING', 'UNKNOWN', 'DELAYED', 'LIVE')) THEN
        RAISE EXCEPTION 'orders may be live at the venue; nothing was dropped'
            USING HINT = 'Cancel them and wait until ledger-worker orders shows none, then downgrade.';
    END IF;
END $$;
DROP SCHEMA audit, paper, ledger CASCADE;

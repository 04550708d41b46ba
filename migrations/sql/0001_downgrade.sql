-- Takes the schema of 0001 away. Roles stay: they belong to the server and may serve another database.
DO $$
BEGIN
    IF EXISTS (SELECT FROM ledger.orders WHERE state IN ('SENDING', 'UNKNOWN', 'DELAYED', 'LIVE')) THEN
        RAISE EXCEPTION 'DOWNGRADE_REFUSED: orders may be live at the venue; nothing was dropped'
            USING ERRCODE = 'LG004',
                  HINT = 'ledger-worker cancel --all, wait until ledger-worker orders --open shows none, then repeat.';
    END IF;
END $$;
DROP SCHEMA audit, paper, ledger CASCADE;

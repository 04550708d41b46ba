-- purpose: write the journal and keep it from being changed.
-- locks:   the caller holds the exposure row (market number) and account_state (account number).
-- index:   primary keys.
-- fence:   numbers are taken from the locked rows: no gaps, no repeats, also under concurrent writers.

CREATE FUNCTION ledger._journal(
    p_account_id bigint, p_market_id bigint, p_at timestamptz, p_event text,
    p_order_id bigint DEFAULT NULL, p_attempt integer DEFAULT NULL,
    p_from text DEFAULT NULL, p_to text DEFAULT NULL, p_detail jsonb DEFAULT '{}') RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_seq bigint;
    v_market_seq bigint;
    v_digest bytea;
BEGIN
    IF p_market_id IS NOT NULL THEN
        UPDATE ledger.exposure SET journal_seq = journal_seq + 1
        WHERE account_id = p_account_id AND market_id = p_market_id
        RETURNING journal_seq INTO v_market_seq;
    END IF;
    UPDATE ledger.account_state s SET journal_seq = s.journal_seq + 1, journal_digest = sha256(s.journal_digest
        || convert_to(jsonb_build_array(p_account_id, s.journal_seq + 1, p_market_id, v_market_seq, extract(epoch FROM p_at),
               p_event, p_order_id, p_attempt, p_from, p_to, session_user, p_detail)::text, 'UTF8'))
    WHERE s.account_id = p_account_id RETURNING s.journal_seq, s.journal_digest INTO v_seq, v_digest;
    INSERT INTO ledger.journal (account_id, seq, market_id, market_seq, at, event, order_id, attempt,
                                from_state, to_state, actor, detail, digest)
    VALUES (p_account_id, v_seq, p_market_id, v_market_seq, p_at, p_event, p_order_id, p_attempt,
            p_from, p_to, session_user, p_detail, v_digest);
END $$;

CREATE FUNCTION ledger._refuse_change() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    RAISE EXCEPTION '%.% is append-only: % refused', TG_TABLE_SCHEMA, TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'LG002', HINT = 'History leaves only as a whole partition: ledger.archive_partition().';
END $$;

CREATE TRIGGER journal_append_only BEFORE UPDATE OR DELETE ON ledger.journal
    FOR EACH ROW EXECUTE FUNCTION ledger._refuse_change();
CREATE TRIGGER journal_no_truncate BEFORE TRUNCATE ON ledger.journal
    FOR EACH STATEMENT EXECUTE FUNCTION ledger._refuse_change();
CREATE TRIGGER journal_rest_no_truncate BEFORE TRUNCATE ON ledger.journal_rest
    FOR EACH STATEMENT EXECUTE FUNCTION ledger._refuse_change();
CREATE TRIGGER balance_entry_append_only BEFORE UPDATE OR DELETE ON ledger.balance_entry
    FOR EACH ROW EXECUTE FUNCTION ledger._refuse_change();
CREATE TRIGGER balance_entry_no_truncate BEFORE TRUNCATE ON ledger.balance_entry
    FOR EACH STATEMENT EXECUTE FUNCTION ledger._refuse_change();
CREATE TRIGGER limit_change_append_only BEFORE UPDATE OR DELETE ON ledger.limit_change
    FOR EACH ROW EXECUTE FUNCTION ledger._refuse_change();
CREATE TRIGGER halt_change_append_only BEFORE UPDATE OR DELETE ON ledger.halt_change
    FOR EACH ROW EXECUTE FUNCTION ledger._refuse_change();
CREATE TRIGGER signed_order_append_only BEFORE UPDATE OR DELETE ON ledger.signed_order
    FOR EACH ROW EXECUTE FUNCTION ledger._refuse_change();

CREATE FUNCTION ledger._account_is_fixed() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    IF NEW.venue <> OLD.venue OR NEW.name <> OLD.name
       OR NEW.maker IS DISTINCT FROM OLD.maker AND OLD.maker IS NOT NULL
       OR NEW.signer IS DISTINCT FROM OLD.signer AND OLD.signer IS NOT NULL THEN
        RAISE EXCEPTION 'account %: name, venue, maker and signer never change', OLD.name
            USING ERRCODE = 'LG002', HINT = 'Open another account; paper and live never mix.';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER account_is_fixed BEFORE UPDATE ON ledger.account
    FOR EACH ROW EXECUTE FUNCTION ledger._account_is_fixed();

CREATE FUNCTION ledger._order_moves_legally() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM ledger.transition t
                   WHERE t.from_state = OLD.state AND t.to_state = NEW.state) THEN
        RAISE EXCEPTION 'ILLEGAL_TRANSITION: order % cannot go from % to %', OLD.order_id, OLD.state, NEW.state
            USING ERRCODE = 'LG003';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER order_moves_legally BEFORE UPDATE OF state ON ledger.orders
    FOR EACH ROW WHEN (OLD.state IS DISTINCT FROM NEW.state)
    EXECUTE FUNCTION ledger._order_moves_legally();

CREATE FUNCTION ledger.make_partitions(p_months_ahead integer DEFAULT 2) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_from timestamptz;
    v_name text;
    v_made integer := 0;
BEGIN
    IF NOT pg_try_advisory_xact_lock(7316040) THEN
        RETURN 0;  -- somebody else is at it; anybody may hold this lock, so nobody waits for it
    END IF;
    FOR i IN 1 .. least(p_months_ahead, 24) LOOP
        v_from := date_trunc('month', ledger.clock() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC'
                  + make_interval(months => i);
        v_name := format('journal_%s', to_char(v_from AT TIME ZONE 'UTC', 'YYYY_MM'));
        CONTINUE WHEN to_regclass('ledger.' || v_name) IS NOT NULL;
        EXECUTE format('CREATE TABLE ledger.%I PARTITION OF ledger.journal FOR VALUES FROM (%L) TO (%L)',
            v_name, v_from,
            (date_trunc('month', v_from AT TIME ZONE 'UTC') + interval '1 month') AT TIME ZONE 'UTC');
        EXECUTE format('CREATE TRIGGER %I BEFORE TRUNCATE ON ledger.%I '
            'FOR EACH STATEMENT EXECUTE FUNCTION ledger._refuse_change()', v_name || '_no_truncate', v_name);
        v_made := v_made + 1;
    END LOOP;
    RETURN v_made;
END $$;
COMMENT ON FUNCTION ledger.make_partitions(integer) IS 'Journal partitions for the coming months; safe to repeat.';

CREATE FUNCTION ledger.archive_partition(p_name text) RETURNS bytea
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
-- The digest is of rows as text: it must be the same from every session.
SET timezone = 'UTC' SET datestyle = 'ISO'
AS $$
DECLARE
    v_count bigint;
    v_first timestamptz;
    v_last timestamptz;
    v_digest bytea;
BEGIN
    PERFORM ledger._enter();
    IF NOT EXISTS (SELECT FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
                   WHERE i.inhparent = 'ledger.journal'::regclass AND c.relname = p_name)
       OR p_name = 'journal_rest' THEN
        RAISE EXCEPTION '% is not a monthly partition of the journal; nothing was archived', p_name
            USING ERRCODE = 'LG004';
    END IF;
    EXECUTE format('LOCK TABLE ledger.%I IN SHARE ROW EXCLUSIVE MODE', p_name);
    EXECUTE format($q$ SELECT count(*), min(at), max(at),
            sha256(convert_to(coalesce(string_agg(j::text, E'\n' ORDER BY account_id, seq), ''), 'UTF8'))
        FROM ledger.%I j $q$, p_name) INTO v_count, v_first, v_last, v_digest;
    INSERT INTO ledger.archived_partition VALUES
        (p_name, v_count, v_first, v_last, v_digest, session_user, ledger.clock());
    EXECUTE format('ALTER TABLE ledger.journal DETACH PARTITION ledger.%I', p_name);
    RETURN v_digest;
END $$;
COMMENT ON FUNCTION ledger.archive_partition(text) IS
    'Records count, range and digest of a whole partition and detaches it; the table stays until its owner drops it.';

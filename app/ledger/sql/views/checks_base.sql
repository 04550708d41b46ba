-- purpose: small words that the checks use: bytes as JSON, text as a time, and what has left the journal.
-- locks:   none.
-- index:   archived_partition is a handful of rows.
-- fence:   none of them fails on a forged row: an audit has to name it.

CREATE FUNCTION audit._json(p_body bytea) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE
AS $$
BEGIN
    RETURN convert_from(p_body, 'UTF8')::jsonb;
EXCEPTION WHEN data_exception THEN
    RETURN NULL;
END $$;
COMMENT ON FUNCTION audit._json(bytea) IS 'The bytes as JSON, or NULL if they are none.';

CREATE FUNCTION audit._time(p_text text) RETURNS timestamptz
LANGUAGE plpgsql STABLE
AS $$
BEGIN
    RETURN p_text::timestamptz;
EXCEPTION WHEN data_exception THEN
    RETURN NULL;
END $$;
COMMENT ON FUNCTION audit._time(text) IS 'The text as a time, or NULL: an audit names a forged row and does not fail on it.';

CREATE FUNCTION audit._archived_between(p_from timestamptz, p_to timestamptz) RETURNS boolean
LANGUAGE sql STABLE
AS $$
    -- A minute to spare: markets of one account need not agree on the time at the turn of a month.
    SELECT EXISTS (SELECT FROM ledger.archived_partition p
        WHERE p.row_count > 0 AND (p_from IS NULL OR p.last_at >= p_from - interval '1 minute')
          AND (p_to IS NULL OR p.first_at <= p_to + interval '1 minute'))
$$;
COMMENT ON FUNCTION audit._archived_between(timestamptz, timestamptz) IS
    'Whether a partition of the journal that has left held rows of that time. NULL means without bound.';

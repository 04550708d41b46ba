-- purpose: the last good books, and what they say of a price: collar, slippage, a post-only order that would cross.
-- locks:   note_books: the book rows, in order. Judging locks nothing: a book is what it was.
-- index:   book by primary key.
-- fence:   a book older than the one that is stored is not stored.

CREATE FUNCTION ledger.note_books(p_items jsonb) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, ledger, pg_temp
AS $$
DECLARE
    v_count integer;
BEGIN
    PERFORM ledger._enter();
    IF jsonb_typeof(p_items) IS DISTINCT FROM 'array' OR jsonb_array_length(p_items) > 1024 THEN
        RAISE EXCEPTION 'BAD_REQUEST: an array of at most 1024 books is needed; nothing was stored' USING ERRCODE = 'LG004';
    END IF;
    INSERT INTO ledger.book AS b (market_id, outcome, bids, asks, at, mark_micros)
    SELECT DISTINCT ON (o.market_id, o.outcome) o.market_id, o.outcome, k.bids, k.asks,
        ledger.clock() - make_interval(secs => ledger._whole(x -> 'age_ms') / 1000.0), ledger._mark(k.bids[1], k.asks[1], NULL)
    FROM jsonb_array_elements(p_items) x JOIN ledger.outcome o ON o.token_id = x ->> 'token_id'
    CROSS JOIN LATERAL (SELECT ledger._levels(x -> 'bids', false) AS bids, ledger._levels(x -> 'asks', true) AS asks) k
    WHERE ledger._whole(x -> 'age_ms') BETWEEN 0 AND 86400000
      AND k.bids IS NOT NULL AND k.asks IS NOT NULL AND coalesce(k.bids[1] < k.asks[1], true)
    ORDER BY o.market_id, o.outcome, ledger._whole(x -> 'age_ms')
    -- One from the future was stored before the clock went back.
    ON CONFLICT (market_id, outcome) DO UPDATE SET bids = excluded.bids, asks = excluded.asks, at = excluded.at,
            mark_micros = ledger._mark(excluded.bids[1], excluded.asks[1], b.mark_micros)
        WHERE b.at <= excluded.at OR b.at > ledger.clock();
    GET DIAGNOSTICS v_count = ROW_COUNT;
    RETURN v_count;
END $$;
COMMENT ON FUNCTION ledger.note_books(jsonb) IS
    'Items {token_id, bids, asks (each [[price_micros, size_micros], ...]), age_ms}. Crossed, unsorted or unreadable books are not stored.';

CREATE FUNCTION ledger._levels(p_side jsonb, p_rising boolean) RETURNS bigint[]
LANGUAGE plpgsql IMMUTABLE
AS $$
DECLARE
    x jsonb;
    v_price bigint;
    v_size bigint;
    v_last bigint;
    v_out bigint[] := '{}';
BEGIN
    IF jsonb_typeof(p_side) IS DISTINCT FROM 'array' THEN
        RETURN NULL;
    END IF;
    FOR x IN SELECT q FROM jsonb_array_elements(p_side) q LIMIT 20 LOOP
        v_price := ledger._whole(x -> 0);
        v_size := ledger._whole(x -> 1);
        IF v_price IS NULL OR v_size IS NULL OR v_size <= 0 OR v_price <= 0 OR v_price >= 1000000
           OR p_rising AND v_price <= v_last OR NOT p_rising AND v_price >= v_last THEN
            RETURN NULL;
        END IF;
        v_out := v_out || v_price || v_size;
        v_last := v_price;
    END LOOP;
    RETURN v_out;
END $$;

CREATE FUNCTION ledger._book_of(p_market_id bigint, p_outcome smallint, p_age_ms integer) RETURNS ledger.book
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    b ledger.book;
    v_clock timestamptz := ledger.clock();
BEGIN
    SELECT * INTO b FROM ledger.book x WHERE x.market_id = p_market_id AND x.outcome = p_outcome
       AND x.at > v_clock - make_interval(secs => p_age_ms / 1000.0) AND x.at <= v_clock
       AND coalesce(x.bids[1] < x.asks[1], true);
    RETURN b;
END $$;
COMMENT ON FUNCTION ledger._book_of(bigint, smallint, integer) IS 'The book if it is good and young enough; else a row of NULLs.';

CREATE FUNCTION ledger._middle(b ledger.book) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT (b.bids[1] + b.asks[1]) / 2 $$;
COMMENT ON FUNCTION ledger._middle(ledger.book) IS
    'Between the best prices; NULL unless there are both: a lone offer would be its own middle, and any price near it would pass.';

CREATE FUNCTION ledger._mark(p_bid bigint, p_ask bigint, p_before bigint) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
AS $$
BEGIN
    RETURN CASE WHEN p_bid IS NOT NULL THEN (p_bid + coalesce(p_ask, p_bid)) / 2
        -- Nobody bids: an offer says what a share is not worth more than.
        WHEN p_before IS NOT NULL THEN least(p_before, p_ask) END;
END $$;
COMMENT ON FUNCTION ledger._mark(bigint, bigint, bigint) IS 'See mark_micros of ledger.book. A book that was emptied hides no loss.';

CREATE FUNCTION ledger._uncross(r ledger.request, l ledger.limits, p_tick bigint) RETURNS bigint
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    b ledger.book;
BEGIN
    IF NOT r.post_only OR NOT r.clamp THEN
        RETURN r.price_micros;
    END IF;
    b := ledger._book_of(r.market_id, r.outcome, l.book_age_ms);
    -- On the tick, one tick behind the other side's best: a maker order stays one, at the first try.
    RETURN CASE r.side
        WHEN 'BUY' THEN least(r.price_micros, coalesce((b.asks[1] - 1) / p_tick * p_tick, r.price_micros))
        ELSE greatest(r.price_micros, coalesce((b.bids[1] / p_tick + 1) * p_tick, r.price_micros)) END;
END $$;
COMMENT ON FUNCTION ledger._uncross(ledger.request, ledger.limits, bigint) IS
    'The price of a post-only order that asks to be clamped: as asked, or the nearest that does not cross the last good book.';

CREATE FUNCTION ledger._slippage_bps(r ledger.request, b ledger.book) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE
AS $$
DECLARE
    v_levels bigint[] := CASE r.side WHEN 'BUY' THEN b.asks ELSE b.bids END;
    v_left bigint := r.size_micros;
    v_part bigint;
    v_paid numeric := 0;
    v_middle bigint := ledger._middle(b);
    v_average numeric;
    v_known integer := coalesce(cardinality(v_levels), 0) / 2;
BEGIN
    FOR i IN 1 .. v_known LOOP
        EXIT WHEN v_left = 0 OR r.side = 'BUY' AND v_levels[2 * i - 1] > r.price_micros
                  OR r.side = 'SELL' AND v_levels[2 * i - 1] < r.price_micros;
        v_part := least(v_left, v_levels[2 * i]);
        v_paid := v_paid + v_part::numeric * v_levels[2 * i - 1];
        v_left := v_left - v_part;
    END LOOP;
    -- No more than 20 levels are kept: what reaches past them may trade at the order's own price.
    IF v_left > 0 AND v_known = 20 AND (v_levels[39] < r.price_micros) = (r.side = 'BUY') AND v_levels[39] <> r.price_micros THEN
        v_paid := v_paid + v_left::numeric * r.price_micros;
        v_left := 0;
    END IF;
    IF v_left = r.size_micros OR v_middle IS NULL THEN
        RETURN 0;
    END IF;
    v_average := v_paid / (r.size_micros - v_left);
    RETURN ceil(CASE r.side WHEN 'BUY' THEN v_average - v_middle ELSE v_middle - v_average END * 10000 / v_middle)::bigint;
END $$;
COMMENT ON FUNCTION ledger._slippage_bps(ledger.request, ledger.book) IS
    'How much worse than the middle the part that trades at once would be on average, in basis points, rounded up; 0 if nothing does.';

CREATE FUNCTION ledger._book_refusal(r ledger.request, l ledger.limits, p_now timestamptz) RETURNS jsonb
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    b ledger.book;
    v_middle bigint;
    v_slip bigint;
BEGIN
    IF l.collar_micros IS NULL AND l.max_slippage_bps IS NULL AND NOT r.post_only THEN
        RETURN NULL;
    END IF;
    b := ledger._book_of(r.market_id, r.outcome, l.book_age_ms);
    v_middle := ledger._middle(b);
    IF r.post_only AND (r.side = 'BUY' AND r.price_micros >= b.asks[1] OR r.side = 'SELL' AND r.price_micros <= b.bids[1]) THEN
        RETURN ledger._refusal(r.item, 'WOULD_CROSS', format('post-only, and the other side''s best is %s',
            CASE r.side WHEN 'BUY' THEN b.asks[1] ELSE b.bids[1] END));
    ELSIF l.collar_micros IS NULL AND l.max_slippage_bps IS NULL THEN
        RETURN NULL;
    ELSIF v_middle IS NULL THEN
        RETURN CASE WHEN NOT ledger._unwinds(r) THEN
            ledger._refusal(r.item, 'NO_BOOK', format('there is no good book of both sides younger than %s ms to judge the price by', l.book_age_ms)) END;
    ELSIF r.side = 'BUY' AND r.price_micros > v_middle + l.collar_micros
          OR r.side = 'SELL' AND r.price_micros < v_middle - l.collar_micros THEN
        RETURN ledger._refusal(r.item, 'COLLAR', format('the middle of the book is %s; at most %s from it', v_middle, l.collar_micros));
    END IF;
    IF l.max_slippage_bps IS NOT NULL AND NOT r.post_only THEN
        v_slip := ledger._slippage_bps(r, b);
        IF v_slip > l.max_slippage_bps THEN
            RETURN ledger._refusal(r.item, 'SLIPPAGE', format('it would trade %s basis points worse than the middle, %s allowed',
                v_slip, l.max_slippage_bps));
        END IF;
    END IF;
    RETURN NULL;
END $$;

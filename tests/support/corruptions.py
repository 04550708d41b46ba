"""What a mistaken repair or a damaged restore leaves: rows that are lost, doubled or off by one.

A name, the statements that do it with triggers off (``{filled}`` stands for the id of that order of
`tests.support.lived_in`), the check that has to turn red, and what a row of it has to say.
"""

from __future__ import annotations

from typing import Final, TypeAlias

Corruption: TypeAlias = tuple[tuple[str, ...], str, str]

BROKEN: Final[dict[str, Corruption]] = {
    "a counter off by one": (
        ("UPDATE ledger.exposure SET pending_buy[1] = pending_buy[1] + 1 WHERE market_id = 1",),
        "exposure",
        "main m1: outcome 0 pending_buy",
    ),
    "a position off by one": (
        ("UPDATE ledger.exposure SET confirmed[1] = confirmed[1] - 1 WHERE market_id = 1",),
        "exposure",
        "main m1: outcome 0 confirmed",
    ),
    "a lost market row": (
        ("DELETE FROM ledger.exposure WHERE market_id = 1",),
        "exposure",
        "main m1: outcome 0 open_buy",
    ),
    "a reservation released by hand": (
        (
            ("UPDATE ledger.reservation SET phase = 'released', shares_micros = 0, held_micros = 0, "
            "awaiting_micros = 0, released_at = now() WHERE order_id = {partly_filled}"),
        ),
        "reservations",
        "main m1: order {partly_filled}",
    ),
    "a reservation released twice": (
        (
            ("INSERT INTO ledger.balance_entry (account_id, entry_seq, asset, cause, entry_key, "
            "available_delta, locked_delta, order_id, at) SELECT account_id, entry_seq + 1, "
            "'collateral', 'END_CANCELLED', 'again', 2800000, -2800000, {cancelled}, now() "
            "FROM ledger.account_state"),
            "UPDATE ledger.account_state SET entry_seq = entry_seq + 1",
            ("UPDATE ledger.balance SET available = available + 2800000, locked = locked - 2800000 "
            "WHERE asset = 'collateral'"),
        ),
        "booked",
        "main m1: order {cancelled}",
    ),
    "a hold one micro short": (
        (
            ("UPDATE ledger.reservation SET held_micros = held_micros - 1 "
            "WHERE order_id = {failed_trade}"),
        ),
        "reservations",
        "main m2: order {failed_trade}",
    ),
    "an order without its reservation": (
        ("DELETE FROM ledger.reservation WHERE order_id = {waiting}",),
        "reservations",
        "main m1: order {waiting}",
    ),
    "a fill without order": (
        (
            ("INSERT INTO ledger.fill (account_id, trade_id, order_id, market_id, outcome, side, "
            "size_micros, price_micros, cash_micros, settlement, raw_status, is_maker, matched_at, "
            "liquidity, liquidity_source) "
            "VALUES (1, 'stray', 999999, 1, 0, 'BUY', 1000000, 400000, 400000, 'confirmed', "
            "'CONFIRMED', false, now(), 'taker', 'venue_flag')"),
        ),
        "fills",
        "main m1: fill stray of order 999999",
    ),
    "a lost fill": (
        ("DELETE FROM ledger.fill WHERE trade_id = 'part 1'",),
        "fill_journal",
        "main m1: fill part 1 of order {partly_filled}",
    ),
    "a fill of another size": (
        ("UPDATE ledger.fill SET size_micros = size_micros + 10000 WHERE trade_id = 'whole'",),
        "orders",
        "main m1: order {filled}",
    ),
    "a fill on the other outcome": (
        ("UPDATE ledger.fill SET outcome = 1 WHERE trade_id = 'whole'",),
        "fills",
        "main m1: fill whole of order {filled}",
    ),
    "a sale that was paid too well": (
        ("UPDATE ledger.fill SET cash_micros = cash_micros + 1 WHERE trade_id = 'sale 2'",),
        "totals",
        "main: collateral",
    ),
    "a journal gap": (
        ("DELETE FROM ledger.journal WHERE account_id = 1 AND seq = 20",),
        "journal",
        "main: seq 21",
    ),
    "a lost end of the journal": (
        (
            ("DELETE FROM ledger.journal WHERE account_id = 1 "
            "AND seq = (SELECT max(seq) FROM ledger.journal)"),
        ),
        "market_journal",
        "main m1: last market_seq",
    ),
    "a forged journal row": (
        (
            ("UPDATE ledger.journal SET to_state = 'FILLED' WHERE order_id = {cancelled} "
            "AND event = 'END_CANCELLED'"),
        ),
        "order_journal",
        "main m1: order {cancelled}",
    ),
    "a state that no transition led to": (
        ("UPDATE ledger.orders SET state = 'CANCELLED' WHERE order_id = {held_back_once}",),
        "order_journal",
        "main m1: order {held_back_once}",
    ),
    "an order of another size than was asked": (
        (
            ("UPDATE ledger.orders SET size_micros = size_micros + 10000 "
            "WHERE order_id = {rejected}"),
        ),
        "order_journal",
        "main m1: order {rejected}",
    ),
    "a balance off by one": (
        ("UPDATE ledger.balance SET available = available + 1 WHERE asset = 'collateral'",),
        "balances",
        "main: collateral",
    ),
    "a lost entry": (
        ("DELETE FROM ledger.balance_entry WHERE entry_seq = 5",),
        "entries",
        "main: entry 6",
    ),
    "collateral moved from locked to available": (
        (
            ("UPDATE ledger.balance SET available = available + 5, locked = locked - 5 "
            "WHERE asset = 'collateral'"),
        ),
        "locked",
        "main: collateral",
    ),
    "signed bytes for more shares than intended": (
        (
            ("UPDATE ledger.signed_order SET body = convert_to(replace(convert_from(body, 'UTF8'), "
            '\'"takerAmount": "12000000"\', \'"takerAmount": "12000001"\'), \'UTF8\') '
            "WHERE order_id = {partly_filled}"),
        ),
        "sent_as_intended",
        "main m1: order {partly_filled}",
    ),
    "signed bytes at a worse price": (
        (
            ("UPDATE ledger.signed_order SET body = convert_to(replace(convert_from(body, 'UTF8'), "
            '\'"makerAmount": "4800000"\', \'"makerAmount": "4800001"\'), \'UTF8\') '
            "WHERE order_id = {partly_filled}"),
        ),
        "sent_as_intended",
        "main m1: order {partly_filled}",
    ),
    "another id at the venue": (
        (
            ("UPDATE ledger.signed_order SET venue_order_id = '0x' || repeat('f', 64) "
            "WHERE order_id = {filled}"),
        ),
        "one_venue_order",
        "main m1: order {filled}",
    ),
    "one venue order for two intents": (
        (
            "DROP INDEX ledger.orders_by_venue_id",
            ("UPDATE ledger.orders SET venue_order_id = (SELECT venue_order_id FROM ledger.orders "
            "WHERE order_id = {filled}) WHERE order_id = {cancelled}"),
        ),
        "venue_ids",
        "orders",
    ),
    "signed bytes of no order": (
        (
            ("INSERT INTO ledger.signed_order SELECT account_id, 999999, '0x' || repeat('e', 64), "
            "body, fields, signed_at, signed_by FROM ledger.signed_order WHERE order_id = {filled}"),
        ),
        "rows_of_no_order",
        "main: signed bytes of order 999999",
    ),
    "an attempt before signing": (
        (
            ("INSERT INTO ledger.attempt (account_id, order_id, attempt, incarnation, opened_at, "
            "send_by, deadline) SELECT 1, {waiting}, 1, incarnation, opened_at, send_by, deadline "
            "FROM ledger.attempt WHERE order_id = {sending}"),
        ),
        "attempts",
        "main m1: order {waiting}",
    ),
    "two open attempts": (
        (
            "DROP INDEX ledger.attempt_one_open",
            ("INSERT INTO ledger.attempt (account_id, order_id, attempt, incarnation, opened_at, "
            "send_by, deadline) SELECT 1, order_id, 2, incarnation, opened_at, send_by, deadline "
            "FROM ledger.attempt WHERE order_id = {sending}"),
            "UPDATE ledger.orders SET attempts = 2 WHERE order_id = {sending}",
        ),
        "attempts",
        "main m2: order {sending}",
    ),
    "a lost attempt": (
        ("DELETE FROM ledger.attempt WHERE order_id = {held_back_once} AND attempt = 1",),
        "attempts",
        "main m1: order {held_back_once}",
    ),
    "a lost outbox row": (
        ("DELETE FROM ledger.outbox WHERE order_id = {waiting}",),
        "outbox",
        "main m1: order {waiting}",
    ),
    "a live order queued to be placed again": (
        ("UPDATE ledger.outbox SET status = 'ready' WHERE order_id = {partly_filled}",),
        "outbox",
        "main m1: order {partly_filled}",
    ),
    "a forgotten cancel": (
        ("DELETE FROM ledger.cancel_request WHERE order_id = {cancel_asked}",),
        "cancels",
        "main m1: order {cancel_asked}",
    ),
    "a cancel due for an ended order": (
        ("UPDATE ledger.cancel_request SET status = 'due' WHERE order_id = {cancelled}",),
        "cancels",
        "main m1: order {cancelled}",
    ),
    "a lost key": (
        (
            ("DELETE FROM ledger.idempotency_key WHERE key = (SELECT key FROM ledger.orders "
            "WHERE order_id = {partly_filled})"),
        ),
        "keys",
        "main m1: order {partly_filled}",
    ),
    "a key bound to another order": (
        (
            ("UPDATE ledger.idempotency_key SET subject_id = {filled} "
            "WHERE subject_id = {partly_filled}"),
        ),
        "keys",
        "main m1: order {partly_filled}",
    ),
    "a key of no order": (
        ("UPDATE ledger.idempotency_key SET subject_id = 999999 WHERE subject_id = {filled}",),
        "rows_of_no_order",
        "of order 999999",
    ),
    "a replacement of another order": (
        ("UPDATE ledger.replacement SET old_order_id = {filled}",),
        "replacements",
        "order {filled}",
    ),
    "a fill beyond the size": (
        (
            ("UPDATE ledger.fill SET size_micros = 10100000, cash_micros = 3939000 "
            "WHERE trade_id = 'whole'"),
        ),
        "filled_within_size",
        "main m1: order {filled}",
    ),
    "a purchase over the cap": (
        (
            "UPDATE ledger.limit_change SET after = '40000000' WHERE name = 'max_outcome_micros'",
            "UPDATE ledger.limits SET max_outcome_micros = 40000000 WHERE account_id = 0",
        ),
        "caps",
        "main m1: outcome 0",
    ),
    "an order of the venue that no intent explains": (
        (
            ("INSERT INTO ledger.foreign_order (account_id, venue_order_id, first_seen_at, "
            "last_seen_at, detail) VALUES (1, '0xabc', now(), now(), '{{}}')"),
        ),
        "foreign_orders",
        "main: 0xabc",
    ),
    "collateral below zero without a halt": (
        (
            "UPDATE ledger.balance SET available = -1 WHERE asset = 'collateral'",
        ),
        "negative",
        "main: collateral",
    ),
    "a hole in the table of transitions": (
        ("DELETE FROM ledger.transition WHERE from_state = 'UNKNOWN' AND event = 'SEE'",),
        "transitions",
        "UNKNOWN, SEE",
    ),
    "a way out of FILLED": (
        (
            ("UPDATE ledger.transition SET to_state = 'LIVE' WHERE from_state = 'FILLED' "
            "AND event = 'REOPEN'"),
        ),
        "transitions",
        "FILLED, REOPEN",
    ),
}  # fmt: skip

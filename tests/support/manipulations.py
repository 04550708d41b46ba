"""What an owner could do by hand to make the ledger tell another story: rows that were true and are not any more.

As `tests.support.corruptions`, but nothing here is out of joint by itself: counters, states and
sums still agree. What tells is the journal, a digest, a fingerprint, or the log of changes.
"""

from __future__ import annotations

from typing import Final

from tests.support.corruptions import Corruption

REWRITTEN: Final[dict[str, Corruption]] = {
    # ---- evidence
    "a look-up deleted from which absence was concluded": (
        ("DELETE FROM ledger.evidence WHERE order_id = {absent} AND kind = 'trades_absent'",),
        "evidence",
        "main m1: order {absent}, attempt 1: expected trades_absent",
    ),
    "an answered DELETE deleted": (
        ("DELETE FROM ledger.evidence WHERE order_id = {absent} AND kind = 'delete_answered'",),
        "evidence",
        "main m1: order {absent}: expected a DELETE answered after the last attempt",
    ),
    "a look-up dated into the quarantine": (
        (
            ("UPDATE ledger.evidence SET started_at = started_at - interval '1 minute' "
            "WHERE order_id = {absent} AND kind = 'order_absent'"),
        ),
        "evidence",
        "main m1: order {absent}, attempt 1: expected order_absent",
    ),
    "a look-up with another key": (
        ("UPDATE ledger.evidence SET owner = 'other' WHERE order_id = {absent}",),
        "evidence",
        "main m1: order {absent}, attempt 1: expected order_absent",
    ),
    "absence concluded within the quarantine": (
        (
            ("UPDATE ledger.journal SET at = at - interval '1 minute' "
            "WHERE order_id = {absent} AND event = 'ABSENT'"),
            ("UPDATE ledger.orders SET state_at = state_at - interval '1 minute' "
            "WHERE order_id = {absent}"),
        ),
        "evidence",
        "main m1: order {absent}: expected absence concluded after the quarantine",
    ),
    "an attempt that was made to end definitely, and its evidence deleted": (
        (
            "UPDATE ledger.attempt SET outcome = 'held_back' WHERE order_id = {absent}",
            "DELETE FROM ledger.evidence WHERE order_id = {absent}",
        ),
        "evidence",
        "main m1: order {absent}: expected 3 pieces of evidence",
    ),
    "a sighting invented": (
        (
            ("INSERT INTO ledger.evidence (account_id, order_id, kind, started_at, at) "
            "SELECT 1, {unknown}, 'sighting', ledger.clock(), ledger.clock()"),
        ),
        "evidence",
        "main m1: order {unknown}: expected no such evidence",
    ),
    "a late answer deleted": (
        ("DELETE FROM ledger.evidence WHERE order_id = {duplicated} AND kind = 'late_answer'",),
        "evidence",
        "main m3: order {duplicated}: expected evidence of the journal's EVIDENCE",
    ),
    "a refused completion told otherwise": (
        (
            ("UPDATE ledger.evidence SET detail = 'rejected' "
            "WHERE order_id = {late} AND kind = 'refused_completion'"),
        ),
        "evidence",
        "main m3: order {late}",
    ),
    "a person's word deleted": (
        ("DELETE FROM ledger.evidence WHERE order_id = {resolved} AND kind = 'operator'",),
        "evidence",
        "main m3: order {resolved}",
    ),
    "a person's word changed": (
        (
            ("UPDATE ledger.evidence SET detail = 'ann: sure' "
            "WHERE order_id = {resolved} AND kind = 'operator'"),
        ),
        "evidence",
        "main m3: order {resolved}: expected no such evidence",
    ),
    "an end that no read proved": (
        (
            ("UPDATE ledger.journal SET detail = detail || '{{\"source\": \"stream\"}}' "
            "WHERE order_id = {cancelled} AND event = 'END_CANCELLED'"),
        ),
        "evidence",
        "main m1: order {cancelled}, journal",
    ),
    # ---- signed bytes
    "another signature in the bytes": (
        (
            ("UPDATE ledger.signed_order SET body = convert_to(replace(convert_from(body, 'UTF8'), "
            "'0x00', '0x01'), 'UTF8') WHERE order_id = {filled}"),
        ),
        "signed_bytes",
        "main m1: order {filled}: expected bytes with the digest",
    ),
    "other signed fields": (
        (
            ("UPDATE ledger.signed_order SET fields = fields || '{{\"signature\": \"0x01\"}}' "
            "WHERE order_id = {filled}"),
        ),
        "signed_bytes",
        "main m1: order {filled}: expected signed fields with the digest",
    ),
    "another id at the venue in every row": (
        (
            ("UPDATE ledger.signed_order SET venue_order_id = '0x' || repeat('f', 64) "
            "WHERE order_id = {sending}"),
            ("UPDATE ledger.orders SET venue_order_id = '0x' || repeat('f', 64) "
            "WHERE order_id = {sending}"),
        ),
        "signed_bytes",
        "main m2: order {sending}: expected id at the venue",
    ),
    "bytes and their order's id taken back": (
        (
            "DELETE FROM ledger.signed_order WHERE order_id = {absent}",
            "UPDATE ledger.orders SET venue_order_id = NULL WHERE order_id = {absent}",
        ),
        "signed_bytes",
        "main m1: order {absent}",
    ),
    "bytes of another maker": (
        (
            ("UPDATE ledger.signed_order SET body = convert_to(replace(convert_from(body, 'UTF8'), "
            "'0xabab', '0xcdcd'), 'UTF8') WHERE order_id = {filled}"),
        ),
        "sent_as_intended",
        "main m1: order {filled}: expected maker",
    ),
    # ---- what an order knows of its fate
    "a sighting forgotten": (
        ("UPDATE ledger.orders SET seen_at_venue = false WHERE order_id = {duplicated}",),
        "order_facts",
        "main m3: order {duplicated}: expected seen_at_venue true",
    ),
    "an open fate closed": (
        ("UPDATE ledger.orders SET fate_open = false WHERE order_id = {unknown}",),
        "order_facts",
        "main m1: order {unknown}: expected fate_open true",
    ),
    "a read forgotten, hold, counter, balance and entries put right": (
        (
            "UPDATE ledger.orders SET size_matched_micros = 0 WHERE order_id = {awaiting}",
            ("UPDATE ledger.reservation SET shares_micros = 10000000, awaiting_micros = 0, "
            "awaiting_since = NULL WHERE order_id = {awaiting}"),
            ("UPDATE ledger.exposure SET open_buy[1] = open_buy[1] + 5000000, "
            "awaiting_buy[1] = awaiting_buy[1] - 5000000 WHERE market_id = 1"),
        ),
        "order_facts",
        "main m1: order {awaiting}: expected size_matched 5000000",
    ),
    "another cause": (
        ("UPDATE ledger.orders SET cause = 'PROVEN_ABSENT' WHERE order_id = {resolved}",),
        "order_facts",
        "main m3: order {resolved}: expected cause OPERATOR",
    ),
    "an older fate": (
        (
            ("UPDATE ledger.orders SET state_at = state_at + interval '1 hour' "
            "WHERE order_id = {unknown}"),
        ),
        "order_facts",
        "main m1: order {unknown}: expected state_at",
    ),
    # ---- deadlines and validity
    "a deadline moved back": (
        (
            ("UPDATE ledger.attempt SET deadline = deadline - interval '5 seconds' "
            "WHERE order_id = {unknown}"),
            ("UPDATE ledger.orders SET last_deadline = last_deadline - interval '5 seconds' "
            "WHERE order_id = {unknown}"),
        ),
        "attempt_journal",
        "main m1: order {unknown}, attempt 1: expected deadline",
    ),
    "the last deadline moved back": (
        (
            ("UPDATE ledger.orders SET last_deadline = last_deadline - interval '5 seconds' "
            "WHERE order_id = {unknown}"),
        ),
        "attempt_journal",
        "main m1: order {unknown}: expected last deadline",
    ),
    "a deadline moved back in the journal too": (
        (
            ("UPDATE ledger.attempt SET deadline = deadline - interval '5 seconds' "
            "WHERE order_id = {unknown}"),
            ("UPDATE ledger.orders SET last_deadline = last_deadline - interval '5 seconds' "
            "WHERE order_id = {unknown}"),
            ("UPDATE ledger.journal SET detail = detail || jsonb_build_object('deadline', "
            "(detail ->> 'deadline')::timestamptz - interval '5 seconds') "
            "WHERE order_id = {unknown} AND event = 'OPEN'"),
        ),
        "journal",
        "main: seq ",
    ),
    "more time to send": (
        (
            ("UPDATE ledger.attempt SET send_by = send_by + interval '1 minute' "
            "WHERE order_id = {sending}"),
        ),
        "attempt_journal",
        "main m2: order {sending}, attempt 1: expected send by",
    ),
    "a longer validity": (
        (
            ("UPDATE ledger.orders SET valid_until = valid_until + interval '1 hour' "
            "WHERE order_id = {waiting}"),
        ),
        "terms",
        "main m1: order {waiting}: expected key",
    ),
    "a longer validity of a younger order": (
        (
            ("UPDATE ledger.orders SET valid_until = valid_until + interval '1 hour', "
            "created_at = created_at + interval '1 hour' WHERE order_id = {waiting}"),
        ),
        "terms",
        "main m1: order {waiting}: expected terms with the digest",
    ),
    "an unknown attempt made a refused one": (
        ("UPDATE ledger.attempt SET outcome = 'rejected' WHERE order_id = {unknown}",),
        "attempt_journal",
        "main m1: order {unknown}, attempt 1: expected unknown",
    ),
    "another answer of the venue": (
        ("UPDATE ledger.attempt SET answer = '{{}} ' WHERE order_id = {filled}",),
        "attempt_journal",
        "main m1: order {filled}, attempt 1: expected accepted",
    ),
    # ---- keys and terms
    "a key of another request": (
        (
            ("UPDATE ledger.idempotency_key SET fingerprint = sha256('x') "
            "WHERE subject_id = {filled}"),
        ),
        "terms",
        "main m1: order {filled}: expected key",
    ),
    "the key of a replacement for another request": (
        (
            ("UPDATE ledger.idempotency_key SET fingerprint = sha256('x') "
            "WHERE kind = 'replacement'"),
        ),
        "terms",
        "of order {replaced}: expected key",
    ),
    "another order type": (
        ("UPDATE ledger.orders SET order_type = 'FAK' WHERE order_id = {waiting}",),
        "terms",
        "main m1: order {waiting}: expected terms with the digest",
    ),
    "another strategy": (
        ("UPDATE ledger.orders SET strategy = 'other' WHERE order_id = {hedge}",),
        "terms",
        "main m3: order {hedge}: expected terms with the digest",
    ),
    "another key in all rows": (
        (
            "UPDATE ledger.orders SET key = 'mine' WHERE order_id = {waiting}",
            "UPDATE ledger.idempotency_key SET key = 'mine' WHERE subject_id = {waiting}",
        ),
        "terms",
        "main m1: order {waiting}: expected key key",
    ),
    # ---- replacements, cancels, queues, fills
    "a replacement asked for otherwise": (
        ("UPDATE ledger.replacement SET request = request || '{{\"context\": {{\"a\": 1}}}}'",),
        "replacements",
        "of order {replaced}: expected asked at",
    ),
    "a replacement that had seen more filled": (
        ("UPDATE ledger.replacement SET filled_at_ask = filled_at_ask + 1000000",),
        "replacements",
        "of order {replaced}: expected asked at",
    ),
    "a cancel that nobody asked for": (
        (
            "DELETE FROM ledger.cancel_request WHERE order_id = {cancel_asked}",
            ("UPDATE ledger.orders SET cancel_asked_at = NULL, cancel_reason = NULL "
            "WHERE order_id = {cancel_asked}"),
        ),
        "cancels",
        "main m1: order {cancel_asked}: expected a cancel asked for at",
    ),
    "a cancel asked for by somebody else": (
        ("UPDATE ledger.cancel_request SET asked_by = 'bob' WHERE order_id = {cancelled}",),
        "cancels",
        "main m1: order {cancelled}: expected its request in the queue",
    ),
    "a lane that nobody released": (
        (
            ("UPDATE ledger.outbox SET status = 'released', released_at = ledger.clock() "
            "WHERE order_id = {unknown}"),
        ),
        "outbox",
        "main m1: order {unknown}: expected a lane that somebody released",
    ),
    "a lane released, and blocked again": (
        (
            ("UPDATE ledger.outbox SET status = 'blocked', released_at = NULL "
            "WHERE order_id = {released}"),
        ),
        "outbox",
        "main m5: order {released}: expected released, as the journal says",
    ),
    "an entry that passes a blocked head": (
        ("UPDATE ledger.outbox SET passes_block = true WHERE order_id = {waiting}",),
        "outbox",
        "main m1: order {waiting}",
    ),
    "a trade of another day": (
        (
            ("UPDATE ledger.fill SET matched_at = matched_at + interval '1 day' "
            "WHERE trade_id = 'whole'"),
        ),
        "fill_journal",
        "main m1: fill whole of order {filled}",
    ),
    "a dead letter thrown away": (
        ("DELETE FROM ledger.dead_letter WHERE source = 'outbox'",),
        "dead_letters",
        "main: outbox {dead}",
    ),
    "a venue's event thrown away unread": (
        ("UPDATE ledger.dead_letter SET retried_at = ledger.clock() WHERE source = 'venue_event'",),
        "dead_letters",
        "main: venue_event e2",
    ),
    "differences that were found, deleted": (
        ("DELETE FROM ledger.drift",),
        "dead_letters",
        "main: run 2",
    ),
}  # fmt: skip

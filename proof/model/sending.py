"""The send path: claims, signed bytes, attempts and how they ended, and what is taken back from the dead."""

from __future__ import annotations

import hashlib
from base64 import b64decode
from collections.abc import Sequence
from copy import copy
from typing import Any

from proof.model.breaking import breaker_says, note_answer, probe
from proof.model.evidence import keep_evidence, sighted
from proof.model.settling import (
    halt_once,
    halted_by,
    journal,
    lane_time,
    no_order,
    ok,
    order_of,
    queue_cancel,
    settle,
)
from proof.model.tables import UNSENT, Attempt, Order, Outbox, Signed, Tables
from proof.model.values import (
    NotModelled,
    base64_lines,
    digest,
    in_json,
    items_of,
    jsonb,
    left,
    numbers,
    refusal,
    same,
    whole,
)
from proof.model.venue import gate

Item = dict[str, Any]
SECOND = 1_000_000


def mine(t: Tables, names: Sequence[str]) -> bool:
    """Whether the one account is among them."""
    return t.account is not None and t.account.name in names


def _claim_end(t: Tables, lease_ms: int) -> int:
    return t.now + min(lease_ms, 120_000) * 1_000


def validity_left(t: Tables, o: Order) -> int:
    """Nothing is left once the clock is known to have gone back since the order was reserved."""
    if t.now < o.created_at or (t.steps and o.order_id <= max(t.steps)):
        return 0
    return o.valid_until - t.now


def _work(t: Tables, o: Order, claim_no: int) -> Item:
    validity, signed = validity_left(t, o), t.signed.get(o.order_id)
    assert t.account is not None
    return {
        "account": t.account.name,
        "order_id": o.order_id,
        "claim_no": claim_no,
        "state": o.state,
        "market_id": o.market_id,
        "token_id": o.token_id,
        "side": o.side,
        "price_micros": o.price_micros,
        "size_micros": o.size_micros,
        "tick_micros": o.tick_micros,
        "order_type": o.order_type,
        "post_only": o.post_only,
        "expires_at_s": o.expires_at_s,
        "salt": o.salt,
        "signed_at_ms": o.signed_at_ms,
        "neg_risk": t.markets[o.market_id].neg_risk,
        "venue_order_id": o.venue_order_id,
        "cancel_asked": o.cancel_asked_at is not None,
        "wanted": o.cancel_asked_at is None and validity > 0,
        "valid_for_ms": max(validity // 1_000, 0),
        "last_matched_ms": o.created_at // 1_000,
        "fate_age_ms": (t.now - o.state_at) // 1_000,
        "body": base64_lines(signed.body) if signed is not None else None,
    }


# --- claims -------------------------------------------------------------------------------------------


def claim_placements(
    t: Tables, p_incarnation: Any, p_accounts: Sequence[str], p_lease_ms: int, p_limit: int
) -> list[Item]:
    if not mine(t, p_accounts) or gate(t, post_only=True) is not None:
        return []
    open_ = [b for b in t.outbox.values() if b.status in ("ready", "claimed", "blocked", "dead")]
    heads: dict[int, Outbox] = {}
    for b in open_:
        heads.setdefault(b.market_id, b)
    wanted = set()
    for b in open_:
        head = heads[b.market_id]
        if b.status != "ready" or b.not_before > t.now:
            continue
        leads = head.status == "ready" and head.not_before <= t.now
        with_head = leads and head.set_id is not None and b.set_id == head.set_id
        passes = b.passes_block and head.status in ("blocked", "dead")
        if b is head or with_head or passes:
            wanted.add(b.outbox_id)
    if len(wanted) > min(p_limit, 100):
        raise NotModelled("more placements than are claimed at once")
    out = []
    for b in open_:
        if b.outbox_id in wanted:
            t.touched = True
            b.status, b.claimed_by = "claimed", same(p_incarnation)
            b.claim_no += 1
            b.claimed_until = _claim_end(t, p_lease_ms)
            out.append(_work(t, t.orders[b.order_id], b.claim_no))
    return out


def claim_look_ups(
    t: Tables, p_incarnation: Any, p_accounts: Sequence[str], p_lease_ms: int, p_limit: int
) -> list[Item]:
    if not mine(t, p_accounts):
        return []
    out = []
    for b in t.outbox.values():
        due = b.not_before <= t.now or b.not_before > t.now + 300 * SECOND
        until = b.claimed_until
        free = until is None or until <= t.now or until > t.now + 121 * SECOND
        if b.status == "blocked" and due and free and t.orders[b.order_id].state == "UNKNOWN":
            t.touched = True
            b.claimed_by = same(p_incarnation)
            b.claim_no += 1
            b.claimed_until = _claim_end(t, p_lease_ms)
            b.not_before = t.now + SECOND
            out.append(_work(t, t.orders[b.order_id], b.claim_no))
    if len(out) > min(p_limit, 100):
        raise NotModelled("more look-ups than are claimed at once")
    return out


def renew_claims(t: Tables, p_incarnation: Any, p_lease_ms: int, p_order_ids: Sequence[int]) -> int:
    count, who = 0, same(p_incarnation)
    for one in numbers(p_order_ids):
        b = t.outbox.get(one)
        if b is None or b.status != "claimed" or b.claimed_by != who:
            continue
        if b.claimed_until is not None and b.claimed_until > t.now:
            b.claimed_until = _claim_end(t, p_lease_ms)
            count += 1
    return count


def drop_claims(t: Tables, p_items: str) -> int:
    count = 0
    for x in items_of(p_items):
        b = t.outbox.get(whole(x.get("order_id")) or 0)
        if b is None or b.claimed_by is None or b.claimed_by != same(x.get("incarnation")):
            continue
        if b.claim_no != whole(x.get("claim_no")) or t.orders[b.order_id].state == "SENDING":
            continue
        b.claimed_by = b.claimed_until = None
        b.status = "ready" if b.status == "claimed" else b.status
        after = t.now + (whole(x.get("after_ms")) or 0) * 1_000
        b.not_before = max(b.not_before, after)
        count += 1
    return count


def _claim_holds(t: Tables, o: Order, x: Item) -> bool:
    b = t.outbox[o.order_id]
    return (
        b.status in ("claimed", "blocked", "released")
        and b.claimed_by is not None
        and b.claimed_by == same(x.get("incarnation"))
        and b.claim_no == whole(x.get("claim_no"))
        and b.claimed_until is not None
        and b.claimed_until > t.now
    )


# --- signing and sending --------------------------------------------------------------------------------


def prepare(t: Tables, p_items: str) -> list[Item]:
    return [_prepare(t, i, x) for i, x in enumerate(items_of(p_items))]


def _prepare(t: Tables, i: int, x: Item) -> Item:
    o = order_of(t, whole(x.get("order_id")))
    if o is None:
        return no_order(i)
    if not _claim_holds(t, o, x):
        words = "the claim is not this worker's any more; nothing was stored"
        return refusal(i, "STALE_ATTEMPT", words)
    now = lane_time(t, o.market_id)
    if o.state != "RESERVED":
        state = o.state
        settle(t, o, "PREPARE", "", now)
        return refusal(i, "ILLEGAL_TRANSITION", f"order {o.order_id} is {state}")
    body = str(x["body"]).replace("\n", "")
    t.signed[o.order_id] = Signed(str(x["venue_order_id"]), body)
    o.venue_order_id = str(x["venue_order_id"])
    told = {
        "venue_order_id": o.venue_order_id,
        "signed_by": same(x["incarnation"]),
        "body": hashlib.sha256(b64decode(body)).hexdigest(),
        "fields": digest(jsonb(x["fields"])),
    }
    return ok(i, o.order_id, settle(t, o, "PREPARE", "", now, told))


def open_attempt(t: Tables, p_items: str) -> list[Item]:
    return [_open_one(t, i, x) for i, x in enumerate(items_of(p_items))]


def _open_one(t: Tables, i: int, x: Item) -> Item:
    o = order_of(t, whole(x.get("order_id")))
    if o is None:
        return no_order(i)
    if not _claim_holds(t, o, x):
        words = "the claim is not this worker's any more; send nothing"
        return refusal(i, "STALE_ATTEMPT", words)
    now = lane_time(t, o.market_id)
    if o.state not in ("PREPARED", "HELD_BACK", "UNKNOWN"):
        state = o.state
        settle(t, o, "OPEN", "", now)
        return refusal(i, "ILLEGAL_TRANSITION", f"order {o.order_id} is {state}; send nothing")
    validity = validity_left(t, o)
    code = _no_longer_wanted(t, o, validity, now)
    if code is None:
        kept = _kept_back(t, i, o)
        if kept is not None:
            return kept
        probe(t, o.market_id, o.order_id)
        return _open(t, i, o, x, validity, now)
    if o.state == "UNKNOWN":
        queue_cancel(t, o, code, now)
        words = "the order is not wanted any more; it is not sent again"
        return refusal(i, code, words)
    settle(t, o, "WITHDRAW", code, now)
    return refusal(i, code, "the order is not wanted any more; it was never placed")


def _no_longer_wanted(t: Tables, o: Order, validity: int, now: int) -> str | None:
    lane = t.lanes[o.market_id]
    if o.cancel_asked_at is not None:
        return "CANCEL_ASKED"
    if validity <= 0:
        return "EXPIRED"
    if lane.suspended_until is not None and lane.suspended_until > now:
        return "SUSPENDED"
    return "HALTED" if halted_by(t, o.market_id) is not None else None


def _kept_back(t: Tables, i: int, o: Order) -> Item | None:
    """Wanted, and not now: back to its lane."""
    b, row = breaker_says(t, o.market_id, o.order_id), t.outbox[o.order_id]
    soon = t.now + SECOND // 2
    if b is not None and b.until is not None:
        if row.status == "claimed":
            row.status, row.claimed_by, row.claimed_until = "ready", None, None
            row.not_before = max(row.not_before, min(b.until, t.now + 5 * SECOND), soon)
        words = f"a breaker ({b.kind}) is open; nothing was sent, it goes later"
        return refusal(i, "BREAKER", words)
    mode = gate(t, post_only=o.post_only)
    if mode is None:
        return None
    if row.status == "claimed":
        row.status, row.claimed_by, row.claimed_until = "ready", None, None
        row.not_before = max(row.not_before, soon)
    return refusal(i, "VENUE_MODE", f"the venue is {mode}; nothing was sent, it goes later")


def _open(t: Tables, i: int, o: Order, x: Item, validity: int, now: int) -> Item:
    within = min(2 * SECOND, validity)
    send_by, timeout = now + within, whole(x.get("request_timeout_ms"))
    deadline = send_by + (10_000 if timeout is None else timeout) * 1_000
    o.attempts += 1
    o.last_deadline = max(o.last_deadline or 0, deadline)
    who, owner = same(x["incarnation"]), x.get("owner") or ""
    t.attempts.setdefault(o.order_id, []).append(
        Attempt(o.attempts, who or "", owner, now, o.last_deadline)
    )
    t.outbox[o.order_id].status = "claimed"
    told = {
        "send_by": in_json(send_by),
        "deadline": in_json(o.last_deadline),
        "incarnation": x["incarnation"],
        "owner": owner,
    }
    answer = ok(i, o.order_id, settle(t, o, "OPEN", "", now, told, attempt=o.attempts))
    return answer | {"attempt": o.attempts, "send_within_ms": within // 1_000}


# --- how an attempt ended ---------------------------------------------------------------------------------


def _answer(outcome: str, code: str, raw: str | None) -> dict[str, Any]:
    return {"outcome": outcome, "code": code, "answer": digest(left(raw, 8192))}


def complete(t: Tables, p_items: str, outcome: str, event: str) -> list[Item]:
    return [_complete(t, i, x, outcome, event) for i, x in enumerate(items_of(p_items))]


def _complete(t: Tables, i: int, x: Item, outcome: str, event: str) -> Item:
    o = order_of(t, whole(x.get("order_id")))
    if o is None:
        return no_order(i)
    now, code, raw = lane_time(t, o.market_id), (x.get("code") or "")[:200], x.get("raw")
    assert t.account is not None
    if code == "ID_MISMATCH":
        words = "ID_MISMATCH: the venue answered with another order id than ours"
        halt_once(t, "account", str(t.account.account_id), words)
    number, who = whole(x.get("attempt")), same(x.get("incarnation"))
    of = [one for one in t.attempts.get(o.order_id, ()) if (one.attempt, one.incarnation) == (number, who)]  # fmt: skip
    attempt = next((one for one in of if one.outcome == "open"), None)
    if attempt is None:
        told = {"outcome": outcome, "code": code}
        detail = left(f"attempt {number}: {outcome} {code} {raw or ''}", 8192)
        kept = keep_evidence(t, o, "refused_completion", now, now, who, None, detail)
        journal(t, o.market_id, "REFUSED_COMPLETION", o.order_id, number, o.state, None, told | kept)  # fmt: skip
        if outcome in ("accepted", "seen") and of:
            _late_sighting(t, o, now)
        words = "this attempt is not open for this worker; kept as evidence"
        return refusal(i, "STALE_ATTEMPT", words)
    attempt.outcome, attempt.ended_at = outcome, now
    note_answer(t, o, outcome, x.get("reason_class"), code, attempt.opened_at, now)
    if o.state != "SENDING":
        told = _answer(outcome, code, raw)
        journal(t, o.market_id, "ATTEMPT_ENDED", o.order_id, number, o.state, o.state, told)
        return ok(i, o.order_id, o.state)
    if event in ("REJECT", "HOLD_BACK") and (o.fate_open or o.seen_at_venue):
        event = "LOSE"
    o.fate_open = o.fate_open or event == "LOSE"
    o.seen_at_venue = o.seen_at_venue or outcome in ("accepted", "seen")
    state = settle(t, o, event, code, now, _answer(outcome, code, raw), attempt=number)
    if state == "HELD_BACK":
        state = _hold_back(t, o, x, now)
    return ok(i, o.order_id, state)


def _hold_back(t: Tables, o: Order, x: Item, now: int) -> str | None:
    row, after = t.outbox[o.order_id], whole(x.get("retry_after_ms"))
    if row.status == "claimed":
        row.status, row.claimed_by, row.claimed_until = "ready", None, None
        row.not_before = t.now + (1_000 if after is None else after) * 1_000
    if o.cancel_asked_at is not None:
        # Known unsent again: the cancel that had to wait for this answer ends it here.
        return settle(t, copy(t.orders[o.order_id]), "WITHDRAW", "CANCEL_ASKED", now)
    return "HELD_BACK"


def _late_sighting(t: Tables, o: Order, now: int) -> None:
    o.seen_at_venue = True
    if o.state in ("REJECTED", "NOT_PLACED"):
        settle(t, o, "SEE", "LATE_ANSWER", now)
    else:
        sighted(t, o, now)


# --- sweeps -------------------------------------------------------------------------------------------


def note_clock_step(t: Tables) -> None:
    t.steps.add(max(1, t.last["order"]))


def sweep_lapsed(t: Tables) -> Item:
    lost: list[int] = []
    taken: list[int] = []
    claimed = [b for b in t.outbox.values() if b.status == "claimed"]
    ahead = t.now + 121 * SECOND
    if any((b.claimed_until or 0) > ahead for b in claimed):
        note_clock_step(t)
    found = {
        b.order_id
        for b in claimed
        if b.claimed_until is not None and (b.claimed_until <= t.now or b.claimed_until > ahead)
    }
    for order_id, some in t.attempts.items():
        over = any(one.outcome == "open" and one.deadline <= t.now for one in some)
        if over and t.orders[order_id].state != "SENDING":
            found.add(order_id)
    for order_id in sorted(found):
        _end_lapsed(t, copy(t.orders[order_id]), lost, taken)
    return {"lost": lost, "taken_back": taken}


def _end_lapsed(t: Tables, o: Order, lost: list[int], taken: list[int]) -> None:
    b, now = t.outbox[o.order_id], lane_time(t, o.market_id)
    until = b.claimed_until or 0
    lapsed = b.status == "claimed" and until <= t.now
    ended = False
    for one in t.attempts.get(o.order_id, ()):
        over = lapsed or (o.state != "SENDING" and one.deadline <= now)
        if one.outcome == "open" and over:
            one.outcome, one.ended_at, ended = "lapsed", now, True
    if ended and o.state != "SENDING":
        journal(t, o.market_id, "ATTEMPT_ENDED", o.order_id, o.attempts, o.state, o.state)
    if b.status == "claimed" and until > t.now + 121 * SECOND:
        b.claimed_until = t.now + 30 * SECOND
    if not lapsed:
        return
    if o.state == "SENDING":
        o.fate_open = True
        settle(t, o, "LOSE", "LEASE_LAPSED", now, attempt=o.attempts)
        lost.append(o.order_id)
    else:
        b.status, b.claimed_by, b.claimed_until = "ready", None, None
        taken.append(o.order_id)


def sweep_expired(t: Tables) -> int:
    count = 0
    for row in list(t.orders.values()):
        if row.state in UNSENT and validity_left(t, row) <= 0:
            settle(t, copy(row), "WITHDRAW", "EXPIRED", lane_time(t, row.market_id))
            count += 1
    return count

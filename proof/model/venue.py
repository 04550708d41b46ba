"""The venue's condition, rate budgets, what must be alive, leases, workers, and events that were stored."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from proof.model.settling import halt_once, journal
from proof.model.tables import Budget, Event, Lease, Mode, Pulse, Tables
from proof.model.values import NotModelled, ceil_div, in_json, items_of, left, same

Answer = dict[str, Any]
SECOND = 1_000_000


def _named(t: Tables, account: str) -> str:
    if t.account is None or account != t.account.name:
        raise NotModelled(f"the account {account}")
    return str(t.account.account_id)


# --- modes --------------------------------------------------------------------------------------------


def note_mode(
    t: Tables, p_account: str, p_mode: str, p_for_ms: int | None, p_detail: str | None
) -> bool:
    account_id, m = _named(t, p_account), t.modes.get(p_mode)
    t.touched = True
    until = None if p_for_ms is None else t.now + p_for_ms * 1_000
    if m is not None and m.ended_at is None and (m.until is None or m.until > t.now):
        m.until = None if until is None or m.until is None else max(m.until, until)
        return False
    t.modes[p_mode] = Mode(p_mode, until)
    if p_mode in ("BANNED", "BAD_CREDENTIALS"):
        why = f"{p_mode}: the venue answered {(p_detail or '')[:200]}"
        halt_once(t, "account", account_id, why)
    told = {"mode": p_mode, "until": in_json(until), "detail": left(p_detail, 500)}
    journal(t, None, "VENUE_MODE_BEGAN", detail=told)
    return True


def end_mode(t: Tables, p_account: str, p_mode: str, p_detail: str | None) -> bool:
    m = t.modes.get(p_mode)
    _named(t, p_account)
    if m is None or m.ended_at is not None:
        return False
    m.ended_at = t.now
    journal(t, None, "VENUE_MODE_ENDED", detail={"mode": p_mode, "detail": left(p_detail, 500)})
    return True


def end_lapsed_modes(t: Tables, p_account: str) -> list[str]:
    _named(t, p_account)
    over = [
        m.mode
        for m in t.modes.values()
        if m.ended_at is None and m.until is not None and m.until <= t.now
    ]
    return [one for one in sorted(over) if end_mode(t, p_account, one, "its time was over")]


def gate(t: Tables, *, post_only: bool) -> str | None:
    """What keeps an order from being sent now."""
    for name in sorted(t.modes):
        m = t.modes[name]
        stands = m.ended_at is None and (m.until is None or m.until > t.now)
        if stands and (name != "POST_ONLY" or not post_only):
            return name
    for kind in sorted(t.pulses):
        h = t.pulses[kind]
        fine = h.ok_at is not None and t.now - h.grace_us < h.ok_at <= t.now + SECOND
        if h.required and not fine:
            return "HEARTBEAT_LOST" if kind == "heartbeat" else "BLIND_STREAM"
    return None


# --- budgets --------------------------------------------------------------------------------------------


def spend(
    t: Tables, p_signer: str, p_kind: str, p_count: int, p_per_second: int, p_burst: int
) -> int:
    full, need = p_burst * SECOND, p_count * SECOND
    if not 1 <= p_count <= p_burst or p_per_second < 1:
        raise NotModelled("more than fits into a budget")
    place = (p_signer.lower(), p_kind)
    b = t.budgets.setdefault(place, Budget(full, t.now))
    if b.paused_until is not None and b.paused_until > t.now and b.filled_at <= t.now:
        return ceil_div(b.paused_until - t.now, 1_000)
    have = min(full, b.tokens + max(t.now - b.filled_at, 0) * p_per_second)
    b.filled_at = t.now
    if b.paused_until is not None and b.paused_until > t.now:
        b.paused_until = None
    b.tokens = have - need if have >= need else have
    return 0 if have >= need else ceil_div(need - have, 1_000 * p_per_second)


def pause_budget(t: Tables, p_signer: str, p_kind: str, p_for_ms: int) -> None:
    place, until = (p_signer.lower(), p_kind), t.now + min(p_for_ms, 3_600_000) * 1_000
    b = t.budgets.get(place)
    if b is None:
        t.budgets[place] = Budget(0, t.now, until)
        return
    back = b.filled_at > t.now
    b.tokens = min(b.tokens, 0)
    b.paused_until = until if back else max(b.paused_until or 0, until)
    b.filled_at = t.now


def owe_budget(t: Tables, p_signer: str, p_kind: str, p_count: int) -> None:
    b = t.budgets.get((p_signer.lower(), p_kind))
    if b is not None:
        b.tokens -= p_count * SECOND


# --- pulses and leases ------------------------------------------------------------------------------------


def require_pulse(
    t: Tables, p_account: str, p_kind: str, p_required: bool, p_grace_ms: int
) -> None:
    _named(t, p_account)
    h = t.pulses.get(p_kind)
    if h is None:
        t.pulses[p_kind] = Pulse(p_required, p_grace_ms * 1_000)
        return
    kept = h.ok_at is not None and h.ok_at > t.now - 60 * SECOND
    h.required = p_required or (h.required and kept)
    h.grace_us = p_grace_ms * 1_000


def take_pulse(t: Tables, p_account: str, p_kind: str, p_term: int) -> Answer:
    _named(t, p_account)
    h = t.pulses.get(p_kind)
    if h is not None:
        h.term = max(h.term, p_term)
    return {"chain_id": h.chain_id if h is not None else None, "at_us": t.now}


def beat_pulse(
    t: Tables,
    p_account: str,
    p_kind: str,
    p_term: int,
    p_chain_id: str | None,
    p_age_ms: int,
    p_problem: str | None,
    p_since_us: int | None = None,
) -> Answer:
    _named(t, p_account)
    h = t.pulses.get(p_kind)
    mine = h is not None and h.term == p_term
    if mine and h is not None:
        h.chain_id = h.chain_id if p_chain_id is None else p_chain_id
        if p_problem is None:
            alive = t.now - max(p_age_ms, 0) * 1_000
            h.ok_at = alive if p_since_us is None else min(alive, p_since_us)
    return {"mine": mine, "at_us": t.now}


def untold_orders(t: Tables, p_account: str, p_open_ms: int, p_after_ms: int) -> int:
    _named(t, p_account)
    before, since, count = t.now - p_after_ms * 1_000, t.now - p_open_ms * 1_000, 0
    for o in t.orders.values():
        accepted = (one for one in t.attempts.get(o.order_id, ()) if one.outcome == "accepted")
        due = any((one.ended_at or 0) < before and one.opened_at > since for one in accepted)
        if due and o.state != "FILLED":
            about = f"o:{o.venue_order_id}:"
            count += not any(one.startswith(about) for one in t.events)
    return count


def take_lease(t: Tables, p_name: str, p_holder: Any, p_ttl_ms: int) -> int | None:
    who, ttl = same(p_holder), p_ttl_ms * 1_000
    lease = t.leases.get(p_name)
    if lease is None:
        t.leases[p_name] = Lease(who, 1, t.now + ttl, ttl)
        return 1
    if lease.holder is None or lease.holder == who or lease.until <= t.now:
        lease.term += not (lease.holder == who and lease.until > t.now)
        lease.holder, lease.until, lease.ttl_us = who, t.now + ttl, ttl
        return lease.term
    # Further ahead than it was taken for: the clock went back.
    lease.until = min(lease.until, t.now + lease.ttl_us)
    return None


def drop_leases(t: Tables, p_holder: Any) -> int:
    count = 0
    for lease in t.leases.values():
        if lease.holder is not None and lease.holder == same(p_holder):
            lease.holder, lease.until = None, t.now
            count += 1
    return count


# --- workers --------------------------------------------------------------------------------------------


def worker_started(
    t: Tables, p_incarnation: Any, p_name: str, p_version: str, p_lease_ms: int = 5_000
) -> None:
    from proof.model.sending import note_clock_step

    if t.beats and t.now < max(t.beats.values()):
        note_clock_step(t)
    t.beats[same(p_incarnation) or ""] = t.now


def worker_ready(t: Tables, p_incarnation: Any, p_not_ready_why: str | None = None) -> None:
    if same(p_incarnation) in t.beats:
        t.beats[same(p_incarnation) or ""] = t.now


def beat(
    t: Tables, p_incarnation: Any, p_lease_ms: int, p_last_us: int | None, p_since_ms: int | None
) -> Answer:
    from proof.model.sending import note_clock_step

    lost, who = 0, same(p_incarnation)
    if p_last_us is not None and p_since_ms is not None:
        lost = p_last_us - t.now + p_since_ms * 1_000
    if who in t.beats:
        t.beats[who or ""] = t.now
    if lost > SECOND:
        note_clock_step(t)
    return {"at_us": t.now, "lost_ms": ceil_div(lost, 1_000) if lost > SECOND else 0}


def worker_stopped(t: Tables, p_incarnation: Any, p_accounts: Sequence[str] = ()) -> Answer:
    if same(p_incarnation) in t.beats:
        t.beats[same(p_incarnation) or ""] = t.now
    if t.account is None or t.account.name not in p_accounts:
        return {}
    states = [(o.state, o.order_id) for o in t.orders.values()]
    waiting = ("RESERVED", "PREPARED", "HELD_BACK")
    return {
        t.account.name: {
            "open": sum(state in ("LIVE", "DELAYED") for state, _ in states),
            "waiting": sum(state in waiting for state, _ in states),
            "in_flight": [one for state, one in states if state in ("SENDING", "UNKNOWN")],
            "cancels_due": sum(c.status == "due" for c in t.cancels.values()),
            "unsettled_fills": sum(f.settlement == "provisional" for f in t.fills.values()),
            "unapplied_events": sum(v.applied_at is None for v in t.events.values()),
        }
    }


# --- events, cursors, runs ----------------------------------------------------------------------------------


def store_events(t: Tables, p_account: str, p_events: str) -> int:
    _named(t, p_account)
    count = 0
    for x in items_of(p_events):
        if x["event_id"] not in t.events:
            t.events[x["event_id"]] = Event(x["event_id"], x["raw"], t.now)
            count += 1
    return count


def mark_events(
    t: Tables, p_account: str, p_event_ids: Sequence[str], p_problem: str | None = None
) -> None:
    _named(t, p_account)
    for one in p_event_ids:
        v = t.events.get(one)
        if v is not None and v.applied_at is None:
            v.applied_at = t.now if p_problem is None else None
            v.problem = left(p_problem, 2000)


def waiting_events(
    t: Tables, p_account: str, p_limit: int, p_older_ms: int = 0
) -> list[dict[str, str]]:
    _named(t, p_account)
    some = [
        v
        for v in t.events.values()
        if v.applied_at is None
        and v.problem is None
        and v.received_at <= t.now - p_older_ms * 1_000
    ]
    some.sort(key=lambda v: (v.received_at, v.event_id))
    return [{"event_id": v.event_id, "raw": v.raw} for v in some[: min(p_limit, 1000)]]


def move_cursor(t: Tables, p_account: str, p_name: str, p_position: int) -> int:
    _named(t, p_account)
    t.cursors[p_name] = max(t.cursors.get(p_name, p_position), p_position)
    return t.cursors[p_name]


def start_run(t: Tables, p_account: str, p_kind: str, p_incarnation: Any) -> int:
    _named(t, p_account)
    return t.next("run")


def end_run(t: Tables, p_run_id: int, p_result: str, p_detail: str, p_drift: str) -> None:
    """What a comparison found is kept for people; no decision asks for it."""


def record_exchanges(t: Tables, p_items: str) -> int:
    given = json.loads(p_items)
    return sum(t.account is not None and x["account"] == t.account.name for x in given)


def nothing(t: Tables, *_arguments: Any) -> int:
    """Of sessions, partitions and old rows there are none here."""
    return 0


def make_partitions(t: Tables, p_months_ahead: int = 2) -> int:
    """A schedule lasts for minutes of one month."""
    made = max(0, p_months_ahead - t.partitions)
    t.partitions += made
    return made


def take_receipt(t: Tables, p_account: str, p_consumer: str, p_key: str) -> bool:
    """Whether it is seen for the first time."""
    _named(t, p_account)
    new = (p_consumer, p_key) not in t.receipts
    t.receipts.add((p_consumer, p_key))
    return new

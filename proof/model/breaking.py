"""Breakers: rejects, failed cancels and slow answers pause a market; one probe finds out whether it works again."""

from __future__ import annotations

from copy import copy
from typing import Final

from proof.model.settling import journal
from proof.model.tables import Breaker, Order, Tables
from proof.model.values import in_json

_MINUTE: Final = 60_000_000


def paused(until: int | None, now: int) -> bool:
    return until is not None and now < until <= now + 121 * _MINUTE


def _pause_after(count: int, threshold: int, *, of_account: bool) -> int:
    if count <= threshold + 1:
        pause = _MINUTE
    else:
        pause = 5 * _MINUTE * 2 ** min(count - threshold - 2, 10)
    return min(120 * _MINUTE, pause * (2 if of_account else 1))


def _fails(
    t: Tables, market_id: int, kind: str, order_id: int | None, threshold: int, why: str | None
) -> None:  # fmt: skip
    """``market_id`` 0 is the account's own."""
    b = t.breakers.setdefault((market_id, kind), Breaker(market_id, kind))
    waits = b.until is not None and order_id is not None and b.probe_order_id != order_id
    if paused(b.until, t.now) or waits:
        return
    b.count += 1
    told = (why or "")[:200]
    if b.count >= threshold:
        b.until = t.now + _pause_after(b.count, threshold, of_account=market_id == 0)
        journal(
            t,
            market_id or None,
            "BREAKER_OPENED",
            order_id,
            detail={
                "kind": kind,
                "count": b.count,
                "until": in_json(b.until),
                "why": None if why is None else told,
            },
        )
    b.why = told


def _succeed(t: Tables, market_id: int, kinds: tuple[str, ...], order_id: int | None) -> None:
    for where, kind in sorted(t.breakers):
        b = t.breakers[where, kind]
        if where not in (0, market_id) or kind not in kinds or not (b.count or b.until is not None):
            continue
        if order_id is not None:
            if b.until is None:
                if kind == "cancel":
                    continue
            elif paused(b.until, t.now) or b.probe_order_id != order_id:
                continue
        if b.until is not None:
            told = {"kind": kind, "count": b.count}
            journal(t, where or None, "BREAKER_CLOSED", order_id, detail=told)
        b.count, b.until, b.probe_order_id, b.why = 0, None, None, ""


def breaker_says(t: Tables, market_id: int, order_id: int | None) -> Breaker | None:
    """The breaker that keeps an order back."""
    some = [b for b in t.breakers.values() if b.market_id in (0, market_id) and b.until is not None]
    for b in sorted(some, key=lambda one: -(one.until or 0)):
        if paused(b.until, t.now):
            return copy(b)
        if b.probe_order_id is not None and b.probe_order_id != order_id:
            probe = t.orders.get(b.probe_order_id)
            if probe is not None and probe.state in ("SENDING", "UNKNOWN"):
                return copy(b)
    return None


def probe(t: Tables, market_id: int, order_id: int) -> None:
    for b in t.breakers.values():
        if b.market_id in (0, market_id) and b.until is not None:
            b.probe_order_id = order_id


def note_answer(
    t: Tables, o: Order, outcome: str, why_class: str | None, code: str, opened_at: int, now: int
) -> None:
    limits, ms = t.limits, (now - opened_at + 500) // 1_000
    took = f"no answer for {ms} ms" if outcome == "unknown" else f"an answer took {ms} ms"
    well: tuple[str, ...] = ()
    if outcome == "rejected" and why_class in ("venue", "credentials"):
        _fails(t, 0, why_class, o.order_id, limits.breaker_rejects, code)
    elif outcome == "rejected":
        _fails(t, o.market_id, "reject", o.order_id, limits.breaker_rejects, code)
    elif outcome == "accepted":
        well = ("reject", "venue", "credentials", "cancel")
    if outcome in ("held_back", "seen"):
        pass
    elif ms >= limits.stop_ms:
        _fails(t, o.market_id, "latency", o.order_id, 1, took)
    elif ms >= limits.slow_ms:
        b = t.breakers.get((o.market_id, "latency"))
        if b is None:
            b = t.breakers[o.market_id, "latency"] = Breaker(o.market_id, "latency", why=took)
        b.slow_until = now + _MINUTE
    elif outcome in ("accepted", "rejected"):
        well = (*well, "latency")
    if well:
        _succeed(t, o.market_id, well, o.order_id)


def note_cancel(t: Tables, o: Order, answer: str, raw: str | None) -> None:
    """Cancels that nobody answers stop new placements. The cancels themselves go on."""
    if answer in ("accepted", "refused", "not_listed"):
        _succeed(t, o.market_id, ("cancel",), None)
    elif answer == "unknown":
        _fails(t, o.market_id, "cancel", None, t.limits.breaker_cancels, raw)

"""A request to trade, and every check that it has to pass under the locks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from proof.model.breaking import breaker_says, paused
from proof.model.mutex import market_of, mutex_held
from proof.model.settling import cost_of, halted_by, highest_fee
from proof.model.tables import ENDED, Lane, Market, Tables
from proof.model.values import NotModelled, in_text, refusal, whole

_FIELDS: Final = frozenset(
    [
        "account",
        "market",
        "outcome",
        "side",
        "price_micros",
        "size_micros",
        "order_type",
        "post_only",
        "expires_at_s",
        "class",
        "origin",
        "strategy",
        "context",
        "key",
        "valid_for_ms",
        "clamp",
        "mutex_term",
        "set_id",
        "replaces_order_id",
    ]
)
PASSES: Final = frozenset({"hedge", "micro_hedge", "unwind", "emergency"})
LIVE_CAP: Final = 500_000_000
STEP: Final = 10_000


@dataclass(slots=True)
class Request:
    item: int
    market: Market
    outcome: int
    token_id: str
    side: str
    price_micros: int
    size_micros: int
    order_type: str
    post_only: bool
    expires_at_s: int
    order_class: str
    origin: str
    strategy: str
    context: dict[str, Any]
    key: str
    valid_for_ms: int
    clamp: bool
    mutex_term: int | None
    set_id: int | None
    replaces_order_id: int | None
    asked_price: int
    fingerprint: tuple[Any, ...]


Answer = dict[str, Any]


def read(t: Tables, p: Mapping[str, Any], item: int) -> Request:
    """What programs ask is well formed: what is not, this model does not judge."""
    market = market_of(t, p["market"])
    outcome = str(p["outcome"])
    price, size = whole(p.get("price_micros")), whole(p.get("size_micros"))
    valid, expires = whole(p.get("valid_for_ms", 30_000)), whole(p.get("expires_at_s", 0))
    well = (
        set(p) <= _FIELDS
        and t.account is not None
        and p.get("account") == t.account.name
        and market is not None
        and (outcome in ("0", "1") or outcome in market.tokens)
        and p.get("side") in ("BUY", "SELL")
        and price is not None
        and 0 < price < 1_000_000
        and size is not None
        and size > 0
        and size % STEP == 0
        and valid is not None
        and 1 <= valid <= 86_400_000
        and expires == 0
        and p.get("order_type", "GTC") == "GTC"
        and isinstance(p.get("key"), str)
        and 1 <= len(p["key"].encode()) <= 200
    )
    if not well:
        raise NotModelled(f"a request that is not of the kind that schedules ask: {p}")
    assert market is not None
    assert price is not None
    assert size is not None
    assert valid is not None
    place = int(outcome) if outcome in ("0", "1") else market.tokens.index(outcome)
    order_class = p.get("class", "entry")
    post_only, clamp = bool(p.get("post_only", False)), bool(p.get("clamp", False))
    replaces = whole(p.get("replaces_order_id"))
    trade = (market.market_id, place, p["side"], price, size, post_only, order_class, valid, clamp)
    return Request(
        item,
        market,
        place,
        market.tokens[place],
        p["side"],
        price,
        size,
        "GTC",
        post_only,
        0,
        order_class,
        p.get("origin", "other"),
        p.get("strategy", ""),
        p.get("context") or {},
        p["key"],
        valid,
        clamp,
        whole(p.get("mutex_term")),
        whole(p.get("set_id")),
        replaces,
        price,
        (*trade, replaces),
    )


def replay(t: Tables, r: Request) -> Answer | None:
    bound = t.keys.get(r.key)
    if bound is None:
        return None
    if bound.fingerprint != r.fingerprint:
        return refusal(
            r.item, "KEY_REUSED", "the key belongs to another request; nothing was reserved"
        )
    if bound.kind == "replacement":
        told = {"item": r.item, "status": "asked", "replay": True}
        return told | {"replacement_id": bound.subject_id}
    o = t.orders[bound.subject_id]
    return {
        "item": r.item,
        "status": "admitted",
        "replay": True,
        "order_id": o.order_id,
        "price_micros": o.price_micros,
        "size_micros": o.size_micros,
        "clamped": o.size_micros < r.size_micros,
    }


def market_refusal(r: Request) -> Answer | None:
    tick = r.market.tick_micros
    if r.price_micros % tick:
        return refusal(r.item, "OFF_TICK", f"price_micros must be a multiple of the tick {tick}")
    if not tick <= r.price_micros <= 1_000_000 - tick:
        words = f"price_micros must lie within {tick} and {1_000_000 - tick}"
        return refusal(r.item, "BAD_PRICE", words)
    least = r.market.min_size_micros
    if r.size_micros < least:
        return refusal(r.item, "BELOW_MINIMUM", f"size_micros must be at least {least}")
    return None


def _stopped(t: Tables, r: Request, lane: Lane, now: int) -> tuple[str, str] | None:
    if r.replaces_order_id is None and r.mutex_term is not None:
        if r.mutex_term != lane.mutex_term or not mutex_held(t, lane):
            words = "the market mutex ran out or was taken over; nothing was reserved"
            return "MUTEX_LOST", words
    elif r.replaces_order_id is None and mutex_held(t, lane):
        return "LOCKED", "another evaluation of this market is under way"
    halt = halted_by(t, r.market.market_id)
    if halt is not None:
        return "HALTED", f"halted: {halt}"
    if lane.suspended_until is not None and lane.suspended_until > now:
        return "SUSPENDED", f"suspended until {in_text(lane.suspended_until)}: {lane.suspended_why}"
    return None


def _room(t: Tables, r: Request, lane: Lane) -> tuple[int, int | None]:
    """What the caps leave, and what the outcome's own does."""
    if r.side == "SELL":
        return r.size_micros, None
    limits = t.limits
    of_outcome = of_market = r.size_micros
    if limits.max_outcome_micros is not None:
        of_outcome = limits.max_outcome_micros - lane.effective(r.outcome)
    if limits.max_market_micros is not None:
        of_market = limits.max_market_micros - lane.effective(0) - lane.effective(1)
    return min(of_outcome, of_market), (
        of_outcome if limits.max_outcome_micros is not None else None
    )


def judge(t: Tables, r: Request, lane: Lane, now: int) -> Answer | None:
    """Every check that needs the locks. Clamps the size if asked to."""
    limits, m = t.limits, r.market
    if limits.burst_per_minute is not None or limits.burst_gap_ms:
        raise NotModelled("limits on bursts")
    room, of_outcome = _room(t, r, lane)
    stopped = _stopped(t, r, lane, now)
    if stopped is None and room < r.size_micros:
        fits = room // STEP * STEP >= m.min_size_micros if room >= 0 else False
        if not (r.clamp and fits):
            code = "CAP_OUTCOME" if room == of_outcome else "CAP_MARKET"
            stopped = code, f"{max(room, 0)} share micros are left under the cap"
    if stopped is not None:
        return refusal(r.item, *stopped)
    r.size_micros = min(r.size_micros, room // STEP * STEP)
    asset = "collateral" if r.side == "BUY" else r.token_id
    balance = t.balances.get(asset)
    available = balance.available if balance is not None else 0
    needed = r.size_micros
    if r.side == "BUY":
        rate = 0 if r.post_only and m.fee_taker_only else m.fee_rate_micros
        needed = cost_of(r.price_micros, r.size_micros)
        needed += highest_fee(r.price_micros, r.size_micros, rate, m.fee_exponent)
    wrong = _breaker_refusal(t, r) or _self_match(t, r)
    if wrong is not None:
        return wrong
    if r.side == "BUY" and t.at_risk + needed > LIVE_CAP:
        raise NotModelled("the cap of all live accounts")
    if needed > available:
        code = "INSUFFICIENT_COLLATERAL" if r.side == "BUY" else "INSUFFICIENT_TOKENS"
        return refusal(r.item, code, f"{needed} needed, {available} available")
    return None


def _breaker_refusal(t: Tables, r: Request) -> Answer | None:
    b = breaker_says(t, r.market.market_id, None)
    if b is None or b.until is None:
        return None
    if paused(b.until, t.now):
        words = f"paused until {in_text(b.until)} after {b.kind} ({b.count} in a row): {b.why}"
    else:
        words = f"order {b.probe_order_id} goes first, to find out whether it works again"
    return refusal(r.item, "BREAKER", words)


def _self_match(t: Tables, r: Request) -> Answer | None:
    for o in t.orders.values():
        if o.market_id != r.market.market_id or o.state in ENDED:
            continue
        if o.order_id == r.replaces_order_id:
            continue
        ours, theirs = r.price_micros, o.price_micros
        if o.side != r.side:
            meets = theirs <= ours if r.side == "BUY" else theirs >= ours
            meets = meets and o.outcome == r.outcome
        else:
            both = theirs + ours
            meets = both >= 1_000_000 if r.side == "BUY" else both <= 1_000_000
            meets = meets and o.outcome != r.outcome
        if meets:
            words = f"it could trade with order {o.order_id} of the same account"
            return refusal(r.item, "SELF_MATCH", words)
    return None


def duplicate(t: Tables, r: Request, now: int) -> int | None:
    wanted = (r.outcome, r.side, r.price_micros, r.size_micros)
    for o in reversed(t.orders.values()):
        if o.market_id != r.market.market_id:
            continue
        if t.reservations[o.order_id].created_at <= now - t.limits.duplicate_window_ms * 1_000:
            return None
        same_ = (o.outcome, o.side, o.price_micros, o.size_micros) == wanted
        if same_ and o.order_id != r.replaces_order_id:
            return o.order_id
    return None

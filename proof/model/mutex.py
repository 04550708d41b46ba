"""The market mutex: one holder at a time, with a term that grows."""

from __future__ import annotations

from typing import Any

from proof.model.tables import Lane, Market, Tables
from proof.model.values import NotModelled, in_text, refusal, same

Answer = dict[str, Any]


def market_of(t: Tables, name: str) -> Market | None:
    """By condition id; names are not modelled."""
    return next((one for one in t.markets.values() if one.condition_id == str(name).lower()), None)


def lane_of(t: Tables, market: Market) -> Lane:
    """A lane is made with the first that asks for it."""
    lane = t.lanes.get(market.market_id)
    if lane is None:
        t.touched = True
        lane = t.lanes[market.market_id] = Lane(market.market_id, t.now)
    return lane


def mutex_held(t: Tables, lane: Lane) -> bool:
    if lane.mutex_holder is None or lane.mutex_until is None:
        return False
    return t.now < lane.mutex_until <= t.now + 61_000_000


def take_mutex(
    t: Tables, p_account: str, p_market: str, p_holder: Any, p_ttl_ms: int, p_remember: bool = False
) -> Answer:
    market = market_of(t, p_market)
    if market is None or t.account is None or p_account != t.account.name:
        raise NotModelled("a mutex of a market that there is not")
    if not 10 <= p_ttl_ms <= 60_000:
        words = "a market mutex is held for 10 to 60000 ms at a time"
        return refusal(0, "BAD_REQUEST", words)
    lane = lane_of(t, market)
    if mutex_held(t, lane):
        lane.mutex_again = lane.mutex_again or p_remember
        return refusal(0, "LOCKED", f"held until {in_text(lane.mutex_until or 0)}")
    lane.mutex_holder, lane.mutex_again = same(p_holder), False
    lane.mutex_term += 1
    lane.mutex_until = t.now + p_ttl_ms * 1_000
    return {"item": 0, "status": "ok", "term": lane.mutex_term}


def renew_mutex(t: Tables, p_account: str, p_market: str, p_term: int, p_ttl_ms: int) -> bool:
    market = market_of(t, p_market)
    lane = t.lanes.get(market.market_id) if market is not None else None
    if not 10 <= p_ttl_ms <= 60_000:
        raise NotModelled("a mutex held for that long")
    if lane is None or lane.mutex_term != p_term or not mutex_held(t, lane):
        return False
    lane.mutex_until = t.now + p_ttl_ms * 1_000
    return True


def release_mutex(t: Tables, p_account: str, p_market: str, p_term: int) -> Answer:
    market = market_of(t, p_market)
    lane = t.lanes.get(market.market_id) if market is not None else None
    if lane is None or lane.mutex_term != p_term or lane.mutex_holder is None:
        return {"released": False, "again": False}
    again, lane.mutex_again = lane.mutex_again, False
    lane.mutex_holder = lane.mutex_until = None
    return {"released": True, "again": again}

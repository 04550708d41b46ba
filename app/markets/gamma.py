"""One Gamma market object into one `MarketRecord`.

Field names and their oddities: docs/venue.md 8.1. Gamma is a cache, and its objects have changed
shape since 2020; what is missing is never filled in with what is usual. Of two readings of a
field the one is taken that can lose an opportunity and not money.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from app.markets.events import EventFacts, event_facts, tag_slugs
from app.markets.exact_json import digest
from app.markets.fields import Fields
from app.markets.model import MarketRecord, Reason, bad_field
from app.markets.terms import (
    read_fees,
    read_min_size,
    read_neg_risk,
    read_outcomes,
    read_tick,
    read_version,
)

_CONDITION: Final = re.compile(r"0x[0-9a-f]{64}")
_STRUCTURAL_CONDITION: Final = re.compile(r"0x0[12][0-9a-f]{60}")


class Unusable(StrEnum):
    """Why an object gives no record at all, not even an untradable one."""

    NO_CONDITION_ID = "NO_CONDITION_ID"
    BAD_CONDITION_ID = "BAD_CONDITION_ID"
    NOT_AN_OBJECT = "NOT_AN_OBJECT"
    NOT_A_LIST = "NOT_A_LIST"
    CLOB_OBJECT = "CLOB_OBJECT"


def parse_market(
    raw: Mapping[str, object], parent: Mapping[str, object] | None = None
) -> MarketRecord | Unusable:
    """Read a Gamma market object; ``parent`` is the event it was found in, if any.

    Never raises for what a field holds: the market becomes untradable with ``BAD_FIELD:<name>``,
    or the answer is `Unusable` where nothing identifies it. Only nesting too deep for a digest
    raises, `RecursionError`.
    """
    market = Fields(raw)
    condition_id = _condition_id(market)
    if isinstance(condition_id, Unusable):
        return condition_id
    event = event_facts(market, parent)
    reasons: list[str] = []
    version = read_version(market, event)
    outcomes = read_outcomes(market, version, reasons)
    fees = read_fees(market, reasons)
    neg_risk, augmented = read_neg_risk(market, event, reasons)
    start, end, game_start = _window(market, event, reasons)
    record = MarketRecord(
        condition_id=condition_id,
        question_id=market.identifier("questionID"),
        slug=market.text("slug"),
        question=market.text("question"),
        outcomes=outcomes,
        tick_micros=read_tick(market, reasons),
        min_size_micros=read_min_size(market, reasons),
        fees_enabled=fees.enabled,
        fee_rate_micros=fees.rate_micros,
        fee_exponent=fees.exponent,
        fee_taker_only=fees.taker_only,
        neg_risk=neg_risk,
        neg_risk_augmented=augmented,
        protocol_version=version,
        event_id=event.event_id,
        event_slug=event.slug,
        event_title=event.title,
        category=market.text("category") or event.category,
        tags=tag_slugs(market) or event.tags,
        group_key=event.group_key,
        window_start_ms=start,
        window_end_ms=end,
        game_start_ms=game_start,
        accepting_orders=market.flag("acceptingOrders") is True,
        active=market.flag("active") is True,
        closed=market.flag("closed") is not False,
        seconds_delay=market.integer("secondsDelay") or 0,
        untradable_reasons=(),
        raw_digest=digest(raw),
    )
    _check_state(market, event, reasons)
    return record.refused_for((*reasons, *(bad_field(name) for name in market.bad)))


def _condition_id(market: Fields) -> str | Unusable:
    text = market.text("conditionId")
    if text is None:
        return Unusable.BAD_CONDITION_ID if market.bad else Unusable.NO_CONDITION_ID
    return normal_condition(text) or Unusable.BAD_CONDITION_ID


def normal_condition(text: str) -> str | None:
    """A condition id as the ledger names it: ``0x`` and 64 lower-case hex digits."""
    lower = text.lower()
    if _STRUCTURAL_CONDITION.fullmatch(lower):
        # Protocol V2 names a condition by 31 bytes; the venue's own client pads it where 32 are
        # asked for
        lower += "00"
    return lower if _CONDITION.fullmatch(lower) else None


def _window(
    market: Fields, event: EventFacts, reasons: list[str]
) -> tuple[int | None, int | None, int | None]:
    """(start, end, game start) in Unix milliseconds.

    The end is the market's own ``endDate`` only: the event's may be months later, ``endDateIso``
    has lost its hour. ``startDate`` is the listing and not the window. A start at or after the
    end (football lists its kick-off as the end) is dropped.
    """
    end = market.instant_ms("endDate")
    if end is None and not market.is_bad("endDate"):
        reasons.append(Reason.NO_END_DATE)
    game_start = market.instant_ms("gameStartTime")
    start = market.instant_ms("eventStartTime")
    for other in (game_start, event.start_ms):
        start = other if start is None else start
    if start is not None and end is not None and start >= end:
        start = None
    return start, end, game_start


def _check_state(market: Fields, event: EventFacts, reasons: list[str]) -> None:
    """Tradable = order book, accepting, not closed (docs/venue.md 8.1), each said in words."""
    for name, wanted, missing, otherwise in (
        ("closed", False, Reason.CLOSED_UNKNOWN, Reason.CLOSED),
        ("active", True, Reason.NOT_ACTIVE, Reason.NOT_ACTIVE),
        ("acceptingOrders", True, Reason.NOT_ACCEPTING, Reason.NOT_ACCEPTING),
        ("enableOrderBook", True, Reason.NO_ORDERBOOK, Reason.NO_ORDERBOOK),
    ):
        value = market.flag(name)
        if value is None and not market.is_bad(name):
            reasons.append(missing)
        elif value is not None and value is not wanted:
            reasons.append(otherwise)
    if market.flag("archived"):
        reasons.append(Reason.ARCHIVED)
    if event.closed:
        reasons.append(Reason.EVENT_CLOSED)
    resolution = {market.text("umaResolutionStatus"), market.text("resolutionStatus")}
    if resolution & {"resolved", "settled"}:
        reasons.append(Reason.RESOLVED)

"""The markets of the simulated venue: read from Gamma's JSON, or made up from a seed.

What a venue knows of a market is less than what the ledger wants to know: nothing is judged here,
a market is taken as it is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from app.errors import BadInput, Code
from app.money import MICROS, parse_micros
from app.venue.simulator.messages import number


@dataclass(slots=True)
class Market:
    """One condition with its tokens. ``raw`` is the Gamma object as it came, to be served again."""

    condition_id: str
    question_id: str
    slug: str
    question: str
    tokens: tuple[str, ...]
    outcomes: tuple[str, ...]
    tick_micros: int
    min_size_micros: int
    neg_risk: bool
    fee_rate_ppm: int
    seconds_delay: int = 0
    accepting: bool = True
    active: bool = True
    closed: bool = False
    end_date: str = ""
    winner: str = ""
    event_id: str = ""
    ready: bool = True
    raw: dict[str, Any] = field(default_factory=dict, repr=False)

    def outcome_of(self, token_id: str) -> str:
        return self.outcomes[self.tokens.index(token_id)]

    def other(self, token_id: str) -> str:
        """The complementary token; itself where there is none."""
        rest = [one for one in self.tokens if one != token_id]
        return rest[0] if rest else token_id


def read_gamma(text: str) -> list[Market]:
    """Markets of Gamma JSON: a list of markets or events, one of them, or a page of either."""
    try:
        exact, raw = json.loads(text, parse_float=str), json.loads(text)
    except ValueError as error:
        raise _bad(f"not JSON ({error})") from error
    found = [_market(e, r) for e, r in zip(_objects(exact), _objects(raw), strict=True)]
    if not found:
        raise _bad("no markets in it")
    return found


def _objects(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, dict):
        inner = next((value[k] for k in ("markets", "events", "data") if k in value), None)
        return [value] if inner is None else _objects(inner)
    if not isinstance(value, list):
        return []
    found = []
    for item in value:
        if isinstance(item, dict) and isinstance(item.get("markets"), list):
            found += _objects(item["markets"])
        elif isinstance(item, dict):
            found.append(item)
    return found


def _market(exact: Mapping[str, Any], raw: dict[str, Any]) -> Market:
    condition = str(exact.get("conditionId", "")).lower()
    tokens = _texts(exact, "positionIds" if exact.get("version") == "v2" else "clobTokenIds")
    outcomes = _texts(exact, "outcomes")
    if not condition.startswith("0x") or len(tokens) != len(outcomes) or not tokens:
        raise _bad(f"a market without condition id, tokens or outcomes ({condition!r})")
    schedule = exact.get("feeSchedule") or {}
    return Market(
        condition_id=condition,
        question_id=str(exact.get("questionID") or "0x" + "0" * 64),
        slug=str(exact.get("slug") or condition),
        question=str(exact.get("question") or condition),
        tokens=tokens,
        outcomes=outcomes,
        tick_micros=_micros(exact, "orderPriceMinTickSize", "0.01"),
        min_size_micros=_micros(exact, "orderMinSize", "5"),
        neg_risk=exact.get("negRisk") is True,
        fee_rate_ppm=parse_micros(str(schedule.get("rate", 0)), what="feeSchedule.rate"),
        seconds_delay=int(exact.get("secondsDelay") or 0),
        accepting=exact.get("acceptingOrders") is not False,
        active=exact.get("active") is not False,
        closed=exact.get("closed") is True,
        end_date=str(exact.get("endDate") or ""),
        event_id=str((exact.get("events") or [{}])[0].get("id", "")),
        raw=raw,
    )


def _texts(market: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value = market.get(key) or []
    listed = json.loads(value) if isinstance(value, str) else value
    return tuple(str(one) for one in listed)


def _micros(market: Mapping[str, Any], key: str, usual: str) -> int:
    return parse_micros(str(market.get(key) or usual), what=key)


def _bad(wrong: str) -> BadInput:
    return BadInput(Code.BAD_FILE, f"the markets hold {wrong}", not_done="no market was added")


def made_up(
    seed: int,
    place: int,
    *,
    tick_micros: int = MICROS // 100,
    min_size_micros: int = 5 * MICROS,
    neg_risk: bool = False,
    fee_rate_ppm: int = 0,
    seconds_delay: int = 0,
) -> Market:
    """The ``place``-th made-up market of a seed, in Gamma's shape too."""

    def digest(word: str) -> str:
        return hashlib.sha256(f"{seed}|{place}|{word}".encode()).hexdigest()

    tokens = (str(int(digest("yes"), 16)), str(int(digest("no"), 16)))
    slug = f"made-up-{seed}-{place}"
    market = Market(
        condition_id="0x" + digest("condition"),
        question_id="0x" + digest("question"),
        slug=slug,
        question=f"Made-up question {place} of seed {seed}?",
        tokens=tokens,
        outcomes=("Yes", "No"),
        tick_micros=tick_micros,
        min_size_micros=min_size_micros,
        neg_risk=neg_risk,
        fee_rate_ppm=fee_rate_ppm,
        seconds_delay=seconds_delay,
        end_date="2035-01-01T00:00:00Z",
        event_id=str(900_000 + place),
    )
    market.raw = _gamma_object(market, place)
    return market


def _gamma_object(market: Market, place: int) -> dict[str, Any]:
    fees = {
        "exponent": 1,
        "rate": number(market.fee_rate_ppm),
        "takerOnly": True,
        "rebateRate": 0.25,
    }
    event = {
        "id": market.event_id,
        "slug": market.slug,
        "title": market.question,
        "negRisk": market.neg_risk,
        "enableNegRisk": market.neg_risk,
        "negRiskAugmented": False,
        "enableOrderBook": True,
        "active": True,
        "closed": False,
        "archived": False,
        "endDate": market.end_date,
    }
    return {
        "id": str(1_000_000 + place),
        "question": market.question,
        "conditionId": market.condition_id,
        "questionID": market.question_id,
        "slug": market.slug,
        "outcomes": json.dumps(list(market.outcomes)),
        "outcomePrices": json.dumps(["0.5", "0.5"]),
        "clobTokenIds": json.dumps(list(market.tokens)),
        "orderPriceMinTickSize": number(market.tick_micros),
        "orderMinSize": number(market.min_size_micros),
        "negRisk": market.neg_risk,
        "enableOrderBook": True,
        "acceptingOrders": True,
        "active": True,
        "closed": False,
        "archived": False,
        "endDate": market.end_date,
        "startDate": "2025-01-01T00:00:00Z",
        "feesEnabled": market.fee_rate_ppm > 0,
        "feeType": "sports_fees_v2" if market.fee_rate_ppm else None,
        "feeSchedule": fees if market.fee_rate_ppm else None,
        "secondsDelay": market.seconds_delay,
        "version": "v1",
        "events": [event],
    }

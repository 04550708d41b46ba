"""The market catalogue (Gamma) over the venue's markets, as JSON that came in or was made up.

Served under the prefix ``/gamma``. Offsets and cursors as docs/venue.md 8.1 tells them.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from app.venue.simulator.cursors import decode_cursor, encode_cursor
from app.venue.simulator.markets import Market
from app.venue.simulator.messages import Request, Response, answer, number, refuse

if TYPE_CHECKING:
    from app.venue.simulator.venue import Venue

_MOST: Final = 100


def _shown(market: Market) -> dict[str, Any]:
    """The object as it came, with what has changed since."""
    now: dict[str, Any] = {
        "orderPriceMinTickSize": number(market.tick_micros),
        "closed": market.closed,
        "active": market.active,
        "acceptingOrders": market.accepting,
    }
    if market.winner:
        prices = ["1" if token == market.winner else "0" for token in market.tokens]
        now |= {"outcomePrices": json.dumps(prices), "umaResolutionStatus": "resolved"}
    return {**market.raw, **now}


def _matching(venue: Venue, request: Request) -> list[Market]:
    lists = request.lists
    conditions = [one.lower() for one in lists.get("condition_ids", ())]
    tokens = set(lists.get("clob_token_ids", ()))
    slugs, ids = lists.get("slug", ()), lists.get("id", ())
    wanted = {"true": True, "false": False}
    named = conditions or tokens or slugs or ids
    closed = wanted.get(request.query.get("closed", ""), None if named else False)
    active = wanted.get(request.query.get("active", ""))
    return [
        one
        for one in venue.exchange.markets.values()
        if (not conditions or one.condition_id in conditions)
        and (not tokens or tokens & set(one.tokens))
        and (not slugs or one.slug in slugs)
        and (not ids or str(one.raw.get("id")) in ids)
        and closed in (None, one.closed)
        and active in (None, one.active)
    ]


def market(venue: Venue, request: Request, arg: str) -> Response:
    for one in venue.exchange.markets.values():
        if arg in (str(one.raw.get("id")), one.slug):
            return answer(_shown(one))
    return refuse(404, "id not found")


def markets(venue: Venue, request: Request, arg: str) -> Response:
    rows = [_shown(one) for one in _matching(venue, request)]
    return _offset(rows, request)


def markets_keyset(venue: Venue, request: Request, arg: str) -> Response:
    return _keyset([_shown(one) for one in _matching(venue, request)], "markets", request)


def _events(venue: Venue, request: Request) -> list[dict[str, Any]]:
    """Events are told by their markets: each names the one it belongs to."""
    found: dict[str, dict[str, Any]] = {}
    plain = Request("GET", "", lists={}, query={"closed": request.query.get("closed", "any")})
    wanted = request.lists.get("id", ()) or request.lists.get("slug", ())
    for one in _matching(venue, plain):
        for event in one.raw.get("events") or []:
            known = found.setdefault(str(event.get("id")), {**event, "markets": []})
            known["markets"].append({k: v for k, v in _shown(one).items() if k != "events"})
    return [
        event
        for event in found.values()
        if not wanted or str(event.get("id")) in wanted or event.get("slug") in wanted
    ]


def events(venue: Venue, request: Request, arg: str) -> Response:
    return _offset(_events(venue, request), request)


def events_keyset(venue: Venue, request: Request, arg: str) -> Response:
    return _keyset(_events(venue, request), "events", request)


def _limit(request: Request) -> int:
    text = request.query.get("limit", "20")
    return max(1, min(_MOST, int(text))) if text.isdecimal() else 20


def _offset(rows: list[dict[str, Any]], request: Request) -> Response:
    text = request.query.get("offset", "0")
    if not text.isdecimal():
        return refuse(422, "invalid offset")
    return answer(rows[int(text) : int(text) + _limit(request)])


def _keyset(rows: list[dict[str, Any]], name: str, request: Request) -> Response:
    """``next_cursor`` is left out behind the last page."""
    offset, limit = decode_cursor(request.query.get("after_cursor", "")), _limit(request)
    if offset is None:
        return refuse(422, "invalid cursor")
    body: dict[str, Any] = {name: rows[offset : offset + limit]}
    if offset + limit < len(rows):
        body["next_cursor"] = encode_cursor(offset + limit)
    return answer(body)

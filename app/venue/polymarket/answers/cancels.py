"""From one exchange to what it proves about each cancel it carried (docs/venue.md 4).

A cancel may be repeated freely, so nothing here is dangerous but one thing: to take an id for cancelled that
the answer does not list as cancelled. Each id is read by itself (lesson 29).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from app.errors import BadInput, Code
from app.venue.interface import (
    CancelAccepted,
    CancelNotListed,
    CancelNotSent,
    CancelOutcome,
    CancelRefused,
    CancelUnknown,
)
from app.venue.polymarket.answers.border import Unreadable, body_text, kept, parse, raw_of
from app.venue.polymarket.answers.outcomes import NOT_CONNECTED, said_by, wait_ms
from app.venue.polymarket.answers.rules import rule_for
from app.venue.polymarket.answers.verdicts import Verdict
from app.venue.polymarket.wire import Endpoint, Exchange, Phase

DELETES: Final = frozenset(
    {Endpoint.DELETE_ORDER, Endpoint.DELETE_ORDERS, Endpoint.DELETE_ALL, Endpoint.DELETE_MARKET}
)

_WIDE: Final = frozenset({Endpoint.DELETE_ALL, Endpoint.DELETE_MARKET})
"""They name what they cancelled, not what they were asked for: an id that rests nowhere stands in neither list."""

_NOT_PROCESSED: Final = {
    "invalid orderid": "INVALID_ORDER_ID",
    "invalid order payload": "INVALID_PAYLOAD",
}
"""Refusals that only a DELETE gets, or that mean something else for a POST."""


@dataclass(frozen=True, slots=True)
class CancelLists:
    """The two lists of a 200, ids in lower case."""

    canceled: frozenset[str]
    not_canceled: Mapping[str, str]
    """Id to the venue's reason: free text that does not tell filled from cancelled."""


def cancel_outcomes(exchange: Exchange, venue_order_ids: Sequence[str]) -> list[CancelOutcome]:
    """What became of each cancel, in the order given; of any of the four DELETE requests.

    For cancel-all and cancel-market, ``venue_order_ids`` are those that the caller expects among the
    cancelled; `cancel_lists` gives the rest. Never raises for what came back.
    """
    if exchange.endpoint not in DELETES:
        raise BadInput(Code.BAD_REQUEST, f"{exchange.endpoint} cancels nothing")
    raw = raw_of(exchange)
    if exchange.phase is Phase.DONE and exchange.status == 200:
        try:
            lists = cancel_lists(exchange)
        except Unreadable:
            return [CancelUnknown("UNREADABLE", raw)] * len(venue_order_ids)
        wide = exchange.endpoint in _WIDE
        return [_listed(one.lower(), lists, raw, wide=wide) for one in venue_order_ids]
    return [_refused(exchange, raw)] * len(venue_order_ids)


def wide_cost(exchange: Exchange, expected: int) -> int:
    """What a cancel-all or cancel-market cost beside the request itself: one for each order that it cancelled
    (docs/venue.md 9.4). ``expected``: taken where the answer does not tell; nothing where it was not processed.
    """
    if exchange.phase is Phase.DONE and exchange.status == 200:
        try:
            return len(cancel_lists(exchange).canceled)
        except Unreadable:
            return expected
    return expected if isinstance(_refused(exchange, ""), CancelUnknown) else 0


def cancel_lists(exchange: Exchange) -> CancelLists:
    """Both lists of a 200. Raises `Unreadable` for another shape; a list that is null is empty."""
    body = parse(body_text(exchange))
    if not isinstance(body, Mapping) or "canceled" not in body:
        raise Unreadable("no list of cancelled orders")
    canceled, refused = body["canceled"] or [], body.get("not_canceled") or {}
    if not isinstance(canceled, list) or not isinstance(refused, Mapping):
        raise Unreadable("the lists of a cancel have another shape")
    return CancelLists(
        frozenset(one.lower() for one in canceled if isinstance(one, str)),
        {str(one).lower(): _reason(why) for one, why in refused.items()},
    )


def _reason(why: object) -> str:
    return kept(why if isinstance(why, str) else json.dumps(why), 300)


def _listed(ours: str, lists: CancelLists, raw: str, *, wide: bool) -> CancelOutcome:
    canceled, reason = ours in lists.canceled, lists.not_canceled.get(ours)
    if canceled and reason is None:
        return CancelAccepted(raw)
    if canceled:
        return CancelUnknown("CONTRADICTION", raw)
    if reason is not None:
        return CancelRefused(reason, raw)
    return CancelNotListed(raw) if wide else CancelUnknown("UNCONFIRMED", raw)


def _refused(exchange: Exchange, raw: str) -> CancelOutcome:
    """The same for every id: a request that was not processed, or one of which nothing is known."""
    if exchange.phase is Phase.CONNECTING:
        return CancelNotSent(NOT_CONNECTED, 0, raw)
    if exchange.phase is not Phase.DONE:
        return CancelUnknown("NO_ANSWER" if exchange.phase is Phase.SENDING else "CUT_ANSWER", raw)
    said = said_by(exchange)
    rule = rule_for(exchange.status, said.text, body_code=said.code, html=said.html)
    if rule is not None and rule.whole_request and rule.verdict is not Verdict.UNKNOWN:
        wait = wait_ms(rule, exchange, said.body)
        return CancelNotSent(rule.code, wait, raw, refused=rule.mode is None)
    code = _NOT_PROCESSED.get(said.text.strip().lower())
    if exchange.status == 400 and code is not None:
        return CancelNotSent(code, 0, raw, refused=True)
    return CancelUnknown(f"HTTP_{exchange.status}" if rule is None else rule.code, raw)

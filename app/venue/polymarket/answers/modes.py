"""Which condition of the venue an answer shows, for as long as it says so (docs/venue.md 9.2, 9.4, 9.5)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from app.venue.polymarket.answers.border import Unreadable, body_text, document, elements, parse
from app.venue.polymarket.answers.cancels import DELETES
from app.venue.polymarket.answers.outcomes import error_text, said_by
from app.venue.polymarket.answers.pacing import answered_at_ms, stated_wait_ms
from app.venue.polymarket.answers.rules import rule_for
from app.venue.polymarket.answers.verdicts import Mode
from app.venue.polymarket.wire import Endpoint, Exchange, Phase

_PLACING: Final = frozenset({Endpoint.POST_ORDER, Endpoint.POST_ORDERS})
_OTHER_HOSTS: Final = frozenset(
    {Endpoint.GET_POSITIONS, Endpoint.GET_GAMMA_MARKETS, Endpoint.GET_GAMMA_EVENTS}
)
_BY_STATUS: Final = {
    401: Mode.BAD_CREDENTIALS,
    425: Mode.RESTARTING,
    429: Mode.RATE_LIMITED,
}
_FLAGS: Final = {
    Endpoint.GET_CLOSED_ONLY: ("closed_only", Mode.CLOSED_ONLY),
    Endpoint.GET_GEOBLOCK: ("blocked", Mode.GEOBLOCKED),
}


@dataclass(frozen=True, slots=True)
class ModeSign:
    """A sign of a mode. Gates placements, never cancels."""

    mode: Mode
    code: str
    """The row of `rules` that told it, or ``HTTP_<status>``, or the name of the flag that is set."""
    for_ms: int | None
    """From the answer on; None where it does not say: then it lasts until a clean answer shows its end."""
    until_ms: int | None
    """The same as Unix milliseconds by the venue's clock, where the answer bears a date."""


def mode_of(exchange: Exchange) -> ModeSign | None:
    """The mode that this answer shows; None where it shows none.

    A sign is no outcome: an answer may prove nothing about its order and still show a mode. Rate limits
    count for orders and cancels only; the exchange's endpoint says whose bucket was empty.
    """
    if exchange.phase not in (Phase.DONE, Phase.READING) or exchange.endpoint in _OTHER_HOSTS:
        return None
    if exchange.status == 200:
        return _in_200(exchange)
    if exchange.endpoint is Endpoint.GET_GEOBLOCK:
        return None
    said = said_by(exchange)
    # Half a body may be half a text; the status line before it was whole.
    whole = exchange.phase is Phase.DONE
    rule = rule_for(
        exchange.status,
        said.text if whole else "",
        body_code=said.code if whole else "",
        html=said.html,
    )
    mode = rule.mode if rule is not None else _BY_STATUS.get(exchange.status)
    counts = mode is not Mode.RATE_LIMITED or exchange.endpoint in _PLACING | DELETES
    if mode is None or not counts:
        return None
    code = rule.code if rule is not None else f"HTTP_{exchange.status}"
    return _sign(exchange, mode, code, said.body)


def _in_200(exchange: Exchange) -> ModeSign | None:
    if exchange.phase is not Phase.DONE:
        return None
    if exchange.endpoint in _FLAGS:
        return _flag(exchange, *_FLAGS[exchange.endpoint])
    if exchange.endpoint not in _PLACING:
        return None
    for text in _texts(exchange):
        rule = rule_for(200, text)
        if rule is not None and rule.mode is not None:
            return _sign(exchange, rule.mode, rule.code, None)
    return None


def _flag(exchange: Exchange, name: str, mode: Mode) -> ModeSign | None:
    try:
        body = document(exchange)
    except Unreadable:
        return None
    is_set = isinstance(body, Mapping) and body.get(name) is True
    return ModeSign(mode, name.upper(), None, None) if is_set else None


def _texts(exchange: Exchange) -> Iterator[str]:
    """The error texts of the results of a placement."""
    try:
        text = body_text(exchange)
        found = (
            [value for value, _ in elements(text)]
            if exchange.endpoint is Endpoint.POST_ORDERS
            else [parse(text)]
        )
    except Unreadable:
        return
    for value in found:
        told = error_text(value) if isinstance(value, Mapping) else None
        if told:
            yield told


def _sign(exchange: Exchange, mode: Mode, code: str, body: object) -> ModeSign:
    for_ms = stated_wait_ms(exchange, body)
    at_ms = answered_at_ms(exchange)
    until_ms = None if for_ms is None or at_ms is None else at_ms + for_ms
    return ModeSign(mode, code, for_ms, until_ms)

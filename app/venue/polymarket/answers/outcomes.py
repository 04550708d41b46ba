"""From one exchange to what it proves about each order it carried. Pure: no clock, no network, no chance.

`Unknown` is the default (docs/venue.md 2.6, 3.3). An order counts as accepted only where the answer says so
in every way it can, as refused only where a row of `rules` describes the refusal and nothing beside it says
otherwise. Everything else is left to a read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from app.errors import BadInput, Code
from app.venue.interface import (
    Accepted,
    NotPlaced,
    PlaceOutcome,
    RefusedBy,
    Rejected,
    Seen,
    Unknown,
)
from app.venue.polymarket.answers.border import (
    Unreadable,
    body_text,
    elements,
    kept,
    parse,
    raw_of,
)
from app.venue.polymarket.answers.pacing import stated_wait_ms
from app.venue.polymarket.answers.rules import rule_for
from app.venue.polymarket.answers.verdicts import ReasonClass, Rule, Verdict
from app.venue.polymarket.wire import Endpoint, Exchange, Phase

REFUSED_BY: Final = {
    ReasonClass.OURS: RefusedBy.OURS,
    # What our rows say is there and the venue does not see is ours to compare.
    ReasonClass.BALANCE: RefusedBy.OURS,
    ReasonClass.MARKET: RefusedBy.MARKET,
    ReasonClass.CREDENTIALS: RefusedBy.CREDENTIALS,
    ReasonClass.VENUE: RefusedBy.VENUE,
}

ACCEPTED_STATUSES: Final = frozenset({"live", "matched", "delayed"})
"""``unmatched`` is not one of them: the venue's pages disagree whether such an order rests or is dead."""

NOT_CONNECTED: Final = "NOT_CONNECTED"
_NAMES_ORDER: Final = re.compile(r"\border (0x[0-9a-fA-F]{64})\b")


@dataclass(frozen=True, slots=True)
class Said:
    """What a body that is no list says, as far as it can be read."""

    text: str = ""
    """The error text; empty where there is none, or more than one."""
    code: str = ""
    named: str = ""
    """The order it is about, in lower case, where it says so."""
    html: bool = False
    body: object = None


def place_outcomes(exchange: Exchange, venue_order_ids: Sequence[str]) -> list[PlaceOutcome]:
    """What became of the orders of one ``POST /order`` or ``POST /orders``, in the order they were sent.

    ``venue_order_ids``: our hashes, in that order; one for ``POST /order``. Never raises for what came back.
    """
    ours = [one.lower() for one in venue_order_ids]
    if not ours or exchange.endpoint not in (Endpoint.POST_ORDER, Endpoint.POST_ORDERS):
        raise BadInput(Code.BAD_REQUEST, f"{exchange.endpoint} with {len(ours)} orders places none")
    if exchange.endpoint is Endpoint.POST_ORDER and len(ours) != 1:
        raise BadInput(Code.BAD_REQUEST, f"{exchange.endpoint} carries one order, not {len(ours)}")
    raw = raw_of(exchange)
    if exchange.phase is Phase.CONNECTING:
        return [NotPlaced(NOT_CONNECTED, 0, raw)] * len(ours)
    if exchange.phase is not Phase.DONE:
        return [Unknown(_BROKEN[exchange.phase], raw)] * len(ours)
    if exchange.status != 200:
        return [_refused(exchange, ours, raw)] * len(ours)
    if exchange.endpoint is Endpoint.POST_ORDERS:
        return _batch(exchange, ours, raw)
    try:
        return [_item(exchange, parse(body_text(exchange)), ours[0], raw)]
    except Unreadable:
        return [Unknown("UNREADABLE", raw)]


_BROKEN: Final = {Phase.SENDING: "NO_ANSWER", Phase.READING: "CUT_ANSWER"}


# --- anything but 200 -----------------------------------------------------------------------------


def _refused(exchange: Exchange, ours: Sequence[str], raw: str) -> PlaceOutcome:
    """The same for all orders of the request: per-order refusals come in the list of a 200."""
    said = said_by(exchange)
    rule = rule_for(exchange.status, said.text, body_code=said.code, html=said.html)
    if said.named and said.named not in ours:
        return Unknown(Code.ID_MISMATCH.value, raw)
    if rule is None:
        return Unknown(f"HTTP_{exchange.status}", raw)
    if len(ours) > 1 and not rule.whole_request:
        # True of one order of the batch at most; what became of the others it does not say.
        return Unknown(rule.code, raw)
    proves_end = rule.verdict in (Verdict.REJECTED, Verdict.NOT_PLACED)
    if proves_end and _shows_order(said):
        # The status speaks against the body, and the body of our order: only a read can say which is true.
        return Unknown("CONTRADICTION", raw)
    return _ruled(rule, exchange, raw, said.body)


def _shows_order(said: Said) -> bool:
    """The body of a refusal tells that the venue has the order, or may have it."""
    body = said.body
    # A list is no documented refusal of a whole request, and its results may be acceptances.
    if isinstance(body, list) and body:
        return True
    if isinstance(body, Mapping) and (body.get("orderID") or body.get("status")):
        return True
    seen = rule_for(400, said.text)
    return seen is not None and seen.verdict is Verdict.SEEN


def _ruled(rule: Rule, exchange: Exchange, raw: str, body: object) -> PlaceOutcome:
    match rule.verdict:
        case Verdict.REJECTED:
            return Rejected(rule.code, raw, REFUSED_BY[rule.reason])
        case Verdict.NOT_PLACED:
            return NotPlaced(rule.code, wait_ms(rule, exchange, body), raw)
        case Verdict.SEEN:
            return Seen(raw)
        case Verdict.UNKNOWN:
            return Unknown(rule.code, raw)


def wait_ms(rule: Rule, exchange: Exchange, body: object) -> int:
    """Before the same request goes again: what the answer states, or what the row says."""
    stated = stated_wait_ms(exchange, body)
    return rule.wait_ms if stated is None else stated


def said_by(exchange: Exchange) -> Said:
    """Read the body of a refusal. What cannot be read says nothing."""
    html = "html" in exchange.headers.get("content-type", "").lower()
    try:
        body = parse(body_text(exchange))
    except Unreadable:
        return Said(html=html or exchange.body.lstrip()[:1] == b"<")
    if not isinstance(body, Mapping):
        return Said(body=body)
    text = error_text(body) or ""
    code = body.get("code")
    return Said(text, code if isinstance(code, str) else "", _named(body, text), body=body)


def error_text(body: Mapping[str, object]) -> str | None:
    """The one error text of an answer; empty where it says none, None where it cannot be told."""
    told = [body[name] for name in ("error", "errorMsg") if body.get(name) not in (None, "")]
    if not told:
        return ""
    return told[0] if len(told) == 1 and isinstance(told[0], str) else None


def _named(body: Mapping[str, object], text: str) -> str:
    answered = body.get("orderID")
    if isinstance(answered, str) and answered:
        return answered.lower()
    match = _NAMES_ORDER.search(text)
    return match[1].lower() if match else ""


# --- 200 ------------------------------------------------------------------------------------------


def _item(exchange: Exchange, value: object, ours: str, raw: str) -> PlaceOutcome:
    """What one result says about the order ``ours``."""
    if not isinstance(value, Mapping) or not isinstance(value.get("orderID"), str | None):
        return Unknown("UNREADABLE", raw)
    text = error_text(value)
    if text is None:
        return Unknown("UNREADABLE", raw)
    named = _named(value, text)
    if named and named != ours:
        return Unknown(Code.ID_MISMATCH.value, raw)
    if text:
        return _told(exchange, value, text, raw)
    return _accepted(value, named, raw)


def _told(exchange: Exchange, value: Mapping[str, object], text: str, raw: str) -> PlaceOutcome:
    """An error text inside a 200, whatever ``success`` says (lesson 7)."""
    rule = rule_for(200, text)
    if rule is None:
        return Unknown("UNRECOGNISED", raw)
    proves_end = rule.verdict in (Verdict.REJECTED, Verdict.NOT_PLACED)
    if proves_end and (value.get("orderID") or value.get("status")):
        # Documented failures have neither. A refusal that also names an order or a state is no refusal.
        return Unknown("CONTRADICTION", raw)
    return _ruled(rule, exchange, raw, None)


def _accepted(value: Mapping[str, object], named: str, raw: str) -> PlaceOutcome:
    """No error is told. Accepted needs our id, a known status, and one field that says it went well.

    ``errorMsg`` may be null or absent (lesson 8: it is optional in the venue's specification, and such an
    answer was once taken for a failure while the order was live). That is safe, because only a venue that
    has our bytes can name our hash, and because taking an order for accepted holds its money until a read
    shows otherwise; but then ``success`` must be true in words, so that silence alone accepts nothing.
    """
    status, success = value.get("status"), value.get("success")
    if not named:
        return Unknown("NO_ORDER_ID", raw)
    if status == "unmatched":
        return Unknown("UNMATCHED", raw)
    if not isinstance(status, str) or status not in ACCEPTED_STATUSES:
        return Unknown("STATUS_UNRECOGNISED", raw)
    if success is not True and success is not None:
        return Unknown("CONTRADICTION", raw)
    if success is None and value.get("errorMsg") != "":
        return Unknown("UNREADABLE", raw)
    return Accepted(named, status, raw)


# --- several --------------------------------------------------------------------------------------


def _batch(exchange: Exchange, ours: Sequence[str], raw: str) -> list[PlaceOutcome]:
    """One result per order, by place, and checked by the id where a result names one."""
    try:
        found = elements(body_text(exchange))
    except Unreadable:
        return [Unknown("UNREADABLE", raw)] * len(ours)
    if len(found) != len(ours):
        return [Unknown("COUNT_MISMATCH", raw)] * len(ours)
    outcomes = [
        _item(exchange, value, one, kept(text))
        for (value, text), one in zip(found, ours, strict=True)
    ]
    # A result in another's place: places prove nothing any more, only a result that names its order does.
    named = [_name_of(value) for value, _ in found]
    if all(name in ("", one) for name, one in zip(named, ours, strict=True)):
        return outcomes
    believed = [
        name == one or name not in ("", *ours) for name, one in zip(named, ours, strict=True)
    ]
    return [
        outcome if sure else Unknown("ITEMS_MOVED", outcome.raw)
        for outcome, sure in zip(outcomes, believed, strict=True)
    ]


def _name_of(value: object) -> str:
    return _named(value, error_text(value) or "") if isinstance(value, Mapping) else ""

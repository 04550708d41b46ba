"""Finding the market objects in whatever an answer, a recorder or a pipe wrapped around them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from app.markets.gamma import Unusable, parse_market
from app.markets.model import MarketRecord

MAX_DEPTH: Final = 12
"""Answers seen are four levels deep; far deeper is an attack on the stack and not market data."""

_HOLDERS: Final = ("markets", "events", "data", "value")
# Trades and positions carry a conditionId as well; only a market has two or more of these.
_MARKET_FIELDS: Final = frozenset(
    {"question", "outcomes", "clobTokenIds", "positionIds", "questionID", "enableOrderBook"}
    | {"orderPriceMinTickSize", "acceptingOrders", "marketMakerAddress", "conditionId"}
)
_CLOB_FIELDS: Final = frozenset({"condition_id", "tokens"})


class TooDeep(Exception):
    """Nesting beyond `MAX_DEPTH`."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A market object that gave no record: where it is and why (a member of `Unusable`)."""

    where: str
    reason: str


@dataclass(frozen=True, slots=True)
class NoMarket:
    """An object that is none and holds none: a tag, an event without markets, a trade."""

    where: str


Found = MarketRecord | Unreadable | NoMarket


def find_markets(
    value: object, where: str = "$", parent: Mapping[str, object] | None = None, depth: int = 0
) -> Iterator[Found]:
    """Each market object under ``value``, read or unreadable; `NoMarket` for what holds none.

    ``parent`` is the event that applies. Raises `TooDeep` and `RecursionError` on nesting bombs.
    """
    if depth > MAX_DEPTH:
        raise TooDeep(where)
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from find_markets(item, f"{where}[{index}]", parent, depth + 1)
    elif not isinstance(value, dict):
        yield NoMarket(where)
    elif isinstance(value.get("raw"), (dict, list)):
        # a recorder's line: its own fields beside the object as it came, and only the latter is
        # the venue's word
        yield from find_markets(value["raw"], f"{where}.raw", parent, depth + 1)
    elif len(_MARKET_FIELDS & value.keys()) >= 2:
        yield _market(value, where, parent)
    elif value.keys() >= _CLOB_FIELDS:
        # said aloud: a CLOB listing "without markets" would look like an empty venue
        yield Unreadable(where, Unusable.CLOB_OBJECT)
    else:
        yield from _contents(value, where, parent, depth)


def _contents(
    value: dict[str, object], where: str, parent: Mapping[str, object] | None, depth: int
) -> Iterator[Found]:
    """What an event or an envelope holds (only an event has an id or a slug)."""
    names = [name for name in _HOLDERS if value.get(name) not in (None, [])]
    if not names:
        yield NoMarket(where)
    event = value if "id" in value or "slug" in value else parent
    for name in names:
        inside, place = value[name], f"{where}.{name}"
        if name != "markets":
            yield from find_markets(inside, place, event, depth + 1)
        elif isinstance(inside, list):
            for index, member in enumerate(inside):
                yield from _member(member, f"{place}[{index}]", event, depth + 2)
        else:
            yield Unreadable(place, Unusable.NOT_A_LIST)


def _member(
    member: object, where: str, event: Mapping[str, object] | None, depth: int
) -> Iterator[Found]:
    """Under ``markets`` everything claims to be a market, unless it is a wrapper around one."""
    if not isinstance(member, dict):
        yield Unreadable(where, Unusable.NOT_AN_OBJECT)
    elif "raw" in member or member.keys() >= _CLOB_FIELDS:
        yield from find_markets(member, where, event, depth)
    else:
        yield _market(member, where, event)


def _market(
    value: dict[str, object], where: str, parent: Mapping[str, object] | None
) -> MarketRecord | Unreadable:
    found = parse_market(value, parent)
    return Unreadable(where, found) if isinstance(found, Unusable) else found

"""The market channel's text into typed frames, or into what could not be read, which is kept.

Fields and their oddities: docs/venue.md 7. The initial frame is an array of books; a price change
has come in three shapes since 2023; empty sides are written as ``""``, ``"0"`` or ``"1"``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from app.errors import BadInput
from app.markets.exact_json import single
from app.money import MICROS, parse_micros

PRICE_UNIT: Final = 100
"""Prices are multiples of the finest tick there is, so the middle of two of them is exact."""

_TOKEN: Final = re.compile(r"[1-9][0-9]{0,77}|0")
_HASH: Final = re.compile(r"[0-9a-f]{40}")
_PLAIN: Final = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_LEADING_DOT: Final = re.compile(r"\.[0-9]")
_MOST_LEVELS: Final = 20_000
_MOST_TEXT: Final = 200

Side = Literal["BUY", "SELL"]


@dataclass(frozen=True, slots=True)
class BookFrame:
    """A whole book. ``bids`` and ``asks``: price to size, micros, sizes above zero.

    The texts are as they came, for they are part of what the venue hashes.
    """

    token_id: str
    market: str
    timestamp_ms: int
    bids: Mapping[int, int]
    asks: Mapping[int, int]
    hash: str | None
    tick: str | None
    min_size: str | None
    neg_risk: bool | None
    last_trade: str | None


@dataclass(frozen=True, slots=True)
class LevelChange:
    """``size`` is what the level holds now; zero takes it away.

    The best prices are 0 and 1,000,000 for an empty side, None where they are not stated.
    """

    token_id: str
    side: Side
    price: int
    size: int
    hash: str | None
    best_bid: int | None
    best_ask: int | None


@dataclass(frozen=True, slots=True)
class PriceChange:
    market: str
    timestamp_ms: int
    changes: tuple[LevelChange, ...]


@dataclass(frozen=True, slots=True)
class TickSizeChange:
    market: str
    token_id: str
    timestamp_ms: int
    old_micros: int | None
    new_micros: int


@dataclass(frozen=True, slots=True)
class LastTrade:
    market: str
    token_id: str
    timestamp_ms: int
    side: Side
    price: int
    size: int | None
    transaction_hash: str | None


@dataclass(frozen=True, slots=True)
class BestBidAsk:
    market: str
    token_id: str
    timestamp_ms: int
    best_bid: int | None
    best_ask: int | None


@dataclass(frozen=True, slots=True)
class MarketResolved:
    market: str
    timestamp_ms: int
    token_ids: tuple[str, ...]
    winning_token_id: str | None
    winning_outcome: str | None


@dataclass(frozen=True, slots=True)
class NewMarket:
    """``condition_id`` may differ from ``market`` in spelling only."""

    market: str
    timestamp_ms: int
    condition_id: str
    slug: str | None
    token_ids: tuple[str, ...]
    tick_micros: int | None


Frame: TypeAlias = (
    BookFrame | PriceChange | TickSizeChange | LastTrade | BestBidAsk | MarketResolved | NewMarket
)


@dataclass(frozen=True, slots=True)
class Unparsed:
    """Text that gave no frame, as it came, and why."""

    why: str
    text: str


def read_frames(text: str) -> tuple[tuple[Frame, ...], tuple[Unparsed, ...]]:
    """Every frame of one message. One bad item of an array does not void the others."""
    try:
        value = single(text)
    except (ValueError, RecursionError) as error:
        return (), (Unparsed(f"not JSON: {error}"[:_MOST_TEXT], text),)
    frames: list[Frame] = []
    unparsed: list[Unparsed] = []
    items = value if isinstance(value, list) else [value]
    for item in items:
        try:
            frames.append(read_frame(item))
        except (_Unreadable, BadInput, RecursionError) as error:
            whole = text if len(items) == 1 else _again(item, text)
            unparsed.append(Unparsed(str(error)[:_MOST_TEXT], whole))
    return tuple(frames), tuple(unparsed)


def read_frame(item: object) -> Frame:
    """One frame. Raises `ValueError` or `BadInput` that names the field."""
    if not isinstance(item, dict):
        raise _Unreadable(f"an item is {type(item).__name__}, not an object")
    kind = item.get("event_type")
    reader = _READERS.get(kind) if isinstance(kind, str) else None
    if reader is None:
        raise _Unreadable(f"event_type is {str(kind)[:40]!r}")
    return reader(item)


class _Unreadable(ValueError):
    """A field is missing or is not what it must be."""


def _book(item: Mapping[str, Any]) -> BookFrame:
    return BookFrame(
        token_id=_token(item),
        market=_text(item, "market"),
        timestamp_ms=_timestamp(item),
        bids=_levels(item, "bids"),
        asks=_levels(item, "asks"),
        hash=_hash(item),
        tick=_maybe_number(item, "tick_size"),
        min_size=_maybe_number(item, "min_order_size"),
        neg_risk=_maybe_flag(item, "neg_risk"),
        last_trade=_maybe_number(item, "last_trade_price"),
    )


def _price_change(item: Mapping[str, Any]) -> PriceChange:
    """``price_changes`` since September 2025; before, ``changes`` of one token, or one change bare."""
    changes = item.get("price_changes", item.get("changes", [item]))
    if not isinstance(changes, list) or not all(isinstance(one, dict) for one in changes):
        raise _Unreadable("its changes are no list of objects")
    shared = {name: item[name] for name in ("asset_id", "hash") if name in item}
    return PriceChange(
        market=_text(item, "market"),
        timestamp_ms=_timestamp(item),
        changes=tuple(_level_change({**shared, **one}) for one in changes),
    )


def _level_change(item: Mapping[str, Any]) -> LevelChange:
    return LevelChange(
        token_id=_token(item),
        side=_side(item),
        price=_price(item, "price"),
        size=_micros(item, "size"),
        hash=_hash(item),
        best_bid=_best(item, "best_bid"),
        best_ask=_best(item, "best_ask"),
    )


def _tick_size_change(item: Mapping[str, Any]) -> TickSizeChange:
    old = item.get("old_tick_size")
    return TickSizeChange(
        market=_text(item, "market"),
        token_id=_token(item),
        timestamp_ms=_timestamp(item),
        old_micros=None if old in (None, "") else _price(item, "old_tick_size"),
        new_micros=_price(item, "new_tick_size"),
    )


def _last_trade(item: Mapping[str, Any]) -> LastTrade:
    size = item.get("size")
    transaction = item.get("transaction_hash")
    return LastTrade(
        market=_text(item, "market"),
        token_id=_token(item),
        timestamp_ms=_timestamp(item),
        side=_side(item),
        price=_price(item, "price"),
        size=None if size in (None, "") else _micros(item, "size"),
        transaction_hash=transaction if isinstance(transaction, str) and transaction else None,
    )


def _best_bid_ask(item: Mapping[str, Any]) -> BestBidAsk:
    return BestBidAsk(
        market=_text(item, "market"),
        token_id=_token(item),
        timestamp_ms=_timestamp(item),
        best_bid=_best(item, "best_bid"),
        best_ask=_best(item, "best_ask"),
    )


def _resolved(item: Mapping[str, Any]) -> MarketResolved:
    winner = item.get("winning_asset_id")
    outcome = item.get("winning_outcome")
    return MarketResolved(
        market=_text(item, "market"),
        timestamp_ms=_timestamp(item),
        token_ids=_tokens(item),
        winning_token_id=winner if isinstance(winner, str) and winner else None,
        winning_outcome=outcome if isinstance(outcome, str) and outcome else None,
    )


def _new_market(item: Mapping[str, Any]) -> NewMarket:
    market = _text(item, "market")
    condition, slug = item.get("condition_id"), item.get("slug")
    tick = item.get("order_price_min_tick_size")
    return NewMarket(
        market=market,
        timestamp_ms=_timestamp(item),
        condition_id=condition if isinstance(condition, str) and condition else market,
        slug=slug if isinstance(slug, str) and slug else None,
        token_ids=_tokens(item),
        tick_micros=None if tick in (None, "") else _price(item, "order_price_min_tick_size"),
    )


_READERS: Final[Mapping[str, Callable[[Mapping[str, Any]], Frame]]] = {
    "book": _book,
    "price_change": _price_change,
    "tick_size_change": _tick_size_change,
    "last_trade_price": _last_trade,
    "best_bid_ask": _best_bid_ask,
    "market_resolved": _resolved,
    "new_market": _new_market,
}


# ------------------------------------------------------------------------------------- the fields


def _text(item: Mapping[str, Any], name: str) -> str:
    value = item.get(name)
    if not isinstance(value, str) or not value or len(value) > _MOST_TEXT:
        raise _Unreadable(f"{name} is missing or no text")
    return value


def _token(item: Mapping[str, Any]) -> str:
    value = item.get("asset_id", item.get("token_id"))
    if not isinstance(value, str) or not _TOKEN.fullmatch(value):
        raise _Unreadable("asset_id is no token id")
    return value


def _tokens(item: Mapping[str, Any]) -> tuple[str, ...]:
    value: object = item.get("assets_ids", item.get("asset_ids", []))
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise _Unreadable("assets_ids is no list of token ids")
    return tuple(value)


def _timestamp(item: Mapping[str, Any]) -> int:
    value = item.get("timestamp")
    text = str(value) if isinstance(value, (str, int)) and not isinstance(value, bool) else ""
    if not (text.isascii() and text.isdigit()) or len(text) > 15:
        raise _Unreadable("timestamp is no number of milliseconds")
    return int(text)


def _side(item: Mapping[str, Any]) -> Side:
    value = item.get("side")
    upper = value.upper() if isinstance(value, str) else ""
    if upper == "BUY":
        return "BUY"
    if upper == "SELL":
        return "SELL"
    raise _Unreadable("side is neither BUY nor SELL")


def _hash(item: Mapping[str, Any]) -> str | None:
    """None also for what is no SHA-1: a hash that cannot be checked claims nothing."""
    value = item.get("hash")
    return value if isinstance(value, str) and _HASH.fullmatch(value) else None


def _number(item: Mapping[str, Any], name: str) -> str:
    value = item.get(name)
    if isinstance(value, bool) or not isinstance(value, (str, int)) or value == "":
        raise _Unreadable(f"{name} is missing or no number")
    text = str(value)
    return f"0{text}" if _LEADING_DOT.match(text) else text


def _maybe_number(item: Mapping[str, Any], name: str) -> str | None:
    """A decimal as it was written; None where it is missing or empty. Raises for anything else."""
    if item.get(name) in (None, ""):
        return None
    text = _number(item, name)
    if not _PLAIN.fullmatch(text):
        raise _Unreadable(f"{name} is no plain decimal: {text[:40]!r}")
    parse_micros(text, what=name)
    return text


def _maybe_flag(item: Mapping[str, Any], name: str) -> bool | None:
    value = item.get(name)
    if value is None or isinstance(value, bool):
        return value
    raise _Unreadable(f"{name} is neither true nor false")


def _micros(item: Mapping[str, Any], name: str) -> int:
    value = parse_micros(_number(item, name), what=name)
    if value < 0:
        raise _Unreadable(f"{name} is negative")
    return value


def _price(item: Mapping[str, Any], name: str) -> int:
    value = _micros(item, name)
    if not 0 < value < MICROS or value % PRICE_UNIT:
        raise _Unreadable(f"{name} is no price: {str(item.get(name))[:40]}")
    return value


def _best(item: Mapping[str, Any], name: str) -> int | None:
    if item.get(name) in (None, ""):
        return None
    value = _micros(item, name)
    return value if value in (0, MICROS) else _price(item, name)


def _levels(item: Mapping[str, Any], name: str) -> dict[int, int]:
    value = item.get(name)
    if not isinstance(value, list) or len(value) > _MOST_LEVELS:
        raise _Unreadable(f"{name} is missing, no list, or endless")
    levels: dict[int, int] = {}
    for level in value:
        if not isinstance(level, dict):
            raise _Unreadable(f"a level of {name} is no object")
        price = _price(level, "price")
        if price in levels:
            raise _Unreadable(f"{name} has a price twice")
        levels[price] = _micros(level, "size")
    return {price: size for price, size in levels.items() if size}


def _again(item: object, text: str) -> str:
    """The one item of an array as text; the whole message where it cannot be written."""
    try:
        return json.dumps(item, ensure_ascii=False, separators=(",", ":"))
    except (ValueError, RecursionError):
        return text

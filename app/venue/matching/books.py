"""Where a book's outside liquidity comes from: made up from a seed, or read from a recorded
snapshot.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from app.errors import BadInput, Code
from app.money import MICROS, parse_micros
from app.venue.interface import Side
from app.venue.matching.draw import derive_seed, draw
from app.venue.matching.types import Book, Level

DEPTH: Final = 5


def made_up_mid(seed: int, name: str, tick_micros: int) -> int:
    """A mid on the tick between 0.20 and 0.80.

    A market's second token uses one minus the first one's.
    """
    low, high = MICROS // 5 // tick_micros, MICROS * 4 // 5 // tick_micros
    return (low + draw(derive_seed(seed, name, "mid"), 0, high - low + 1)) * tick_micros


def made_up_book(
    seed: int, token_id: str, tick_micros: int, mid_micros: int | None = None
) -> tuple[Level, ...]:
    """Five levels a side around the mid, each of 20 to 200 shares.

    The same arguments give the same book.
    """
    mid = made_up_mid(seed, token_id, tick_micros) if mid_micros is None else mid_micros
    own = derive_seed(seed, token_id, "levels")
    levels: list[Level] = []
    for step in range(1, DEPTH + 1):
        for sign, side in ((-1, Side.BUY), (1, Side.SELL)):
            price = mid + sign * step * tick_micros
            size = (20 + draw(own, len(levels), 181)) * MICROS
            if tick_micros <= price <= MICROS - tick_micros:
                levels.append(Level(side, price, size, size, seq=len(levels)))
    return tuple(levels)


def new_book(
    seed: int,
    token_id: str,
    condition_id: str,
    tick_micros: int,
    min_size_micros: int,
    *,
    fee_rate_ppm: int = 0,
    mid_micros: int | None = None,
    levels: tuple[Level, ...] | None = None,
) -> Book:
    """A fresh book with the given levels, or with made-up ones."""
    if levels is None:
        levels = made_up_book(seed, token_id, tick_micros, mid_micros)
    return Book(
        token_id,
        condition_id,
        tick_micros,
        min_size_micros,
        derive_seed(seed, token_id),
        fee_rate_ppm=fee_rate_ppm,
        levels=levels,
        seq=len(levels),
    )


def parse_books(text: str) -> dict[str, tuple[Level, ...]]:
    """Read snapshots in the venue's own shape: ``{"asset_id", "bids": [{"price", "size"}], "asks":
    [...]}``.

    One object, an array, or JSON lines; of several snapshots of a token the last counts. Anything
    else raises `BadInput` with ``BAD_FILE`` (or ``BAD_NUMBER``), and nothing is half taken.
    """
    return {_token(item): _levels(item) for item in _objects(text)}


def _objects(text: str) -> list[Mapping[str, Any]]:
    try:
        loaded: Any = json.loads(text)
    except ValueError:
        try:
            loaded = [json.loads(line) for line in text.splitlines() if line.strip()]
        except ValueError as error:
            raise _bad(f"not JSON ({error})") from error
    items = loaded if isinstance(loaded, list) else [loaded]
    if not items or not all(isinstance(item, dict) for item in items):
        raise _bad("no book objects in it")
    return items


def _token(item: Mapping[str, Any]) -> str:
    token = item.get("asset_id")
    if not isinstance(token, str) or not token.isdecimal() or len(token) > 78:
        raise _bad("a book without an asset_id")
    return token


def _levels(item: Mapping[str, Any]) -> tuple[Level, ...]:
    found: dict[tuple[Side, int], Level] = {}
    for key, side in (("bids", Side.BUY), ("asks", Side.SELL)):
        rows = item.get(key)
        if not isinstance(rows, list):
            raise _bad(f"a book whose {key} are not a list")
        for row in rows:
            if not isinstance(row, dict):
                raise _bad(f"a row of {key} that is not an object")
            price = parse_micros(str(row.get("price")), what=f"price in {key}")
            size = parse_micros(str(row.get("size")), what=f"size in {key}")
            if not 0 < price < MICROS or size < 0:
                raise _bad(f"a row of {key} outside what trades")
            if size:
                found[side, price] = Level(side, price, size, size, seq=len(found))
    best_bid = max((p for s, p in found if s is Side.BUY), default=0)
    best_ask = min((p for s, p in found if s is Side.SELL), default=MICROS)
    if best_bid >= best_ask:
        raise _bad("a book that crosses itself")
    return tuple(found.values())


def _bad(wrong: str) -> BadInput:
    return BadInput(
        Code.BAD_FILE,
        f"the book file holds {wrong}",
        not_done="no book was changed",
        next_step="give order book snapshots with asset_id, bids and asks",
    )

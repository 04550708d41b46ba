"""The venue's own hash of a book: SHA-1 over its summary as compact JSON with a fixed order of keys.

Prices and sizes are written without trailing zeros, bids ascending, asks descending. Four members are
no depth: minimum size, tick, neg-risk, and the price of the market's last trade, whichever of its
tokens traded. Frames leave some of them out, and a book may already be hashed with a trade that is
told of later (seen at the venue, with 88 ms between). So they are *found*: a SHA-1 that comes out
right for one of a thousand possible prices proves the depth as well as one for a known price.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Final, Protocol

from app.money import MICROS, format_micros

_MIN_SIZES: Final = ("5", "15", "1", "10", "0", "20")
_TICKS: Final = ("0.01", "0.001", "0.1", "0.005", "0.0025", "0.0001")
_MOST_GUESSES: Final = 12
"""Of everything but the last trade, before all its thousand prices are tried for each as well."""

_FINE_TICKS: Final = frozenset({"0.0025", "0.0001"})


class Hash(Protocol):
    """What `hashlib` returns."""

    def update(self, data: bytes, /) -> None: ...

    def digest(self) -> bytes: ...

    def hexdigest(self) -> str: ...

    def copy(self) -> Hash: ...


@dataclass(frozen=True, slots=True)
class Terms:
    """The members of the hash that are no depth; None where not known."""

    min_size: str | None = None
    tick: str | None = None
    neg_risk: bool | None = None
    last_trade: str | None = None

    def over(self, other: Terms) -> Terms:
        """These, and where they do not say, the other's."""
        return Terms(
            min_size=other.min_size if self.min_size is None else self.min_size,
            tick=other.tick if self.tick is None else self.tick,
            neg_risk=other.neg_risk if self.neg_risk is None else self.neg_risk,
            last_trade=other.last_trade if self.last_trade is None else self.last_trade,
        )


class Summary:
    """One book at one moment, ready to be hashed under many terms."""

    def __init__(
        self,
        market: str,
        token_id: str,
        timestamp_ms: int,
        bids: Mapping[int, int],
        asks: Mapping[int, int],
    ) -> None:
        head = (
            f'{{"market":{json.dumps(market, ensure_ascii=False)},"asset_id":"{token_id}",'
            f'"timestamp":"{timestamp_ms}","hash":"",'
            f'"bids":[{_levels(bids, sorted(bids))}],'
            f'"asks":[{_levels(asks, sorted(asks, reverse=True))}]'
        )
        self._head: Hash = hashlib.sha1(head.encode("utf-8", "replace"), usedforsecurity=False)

    def hash(self, terms: Terms) -> str:
        """The hash under terms that are known whole; a member that is None is left out."""
        state = self._before_trade(terms)
        trade = "" if terms.last_trade is None else f',"last_trade_price":"{terms.last_trade}"'
        state.update(f"{trade}}}".encode())
        return state.hexdigest()

    def explain(
        self, claimed: str, terms: Terms, trades: Iterable[str] = (), *, thorough: bool = False
    ) -> Terms | None:
        """The terms under which ``claimed`` is this book's hash, or None.

        Tried are the terms given and the prices of ``trades``; with ``thorough`` every value of a
        member that is not known, and every price for the last trade.
        """
        wanted = bytes.fromhex(claimed)
        guesses = list(_guesses(terms)) if thorough else [terms]
        states = [(guess, self._before_trade(guess)) for guess in guesses]
        likely = tuple(dict.fromkeys((*_known(terms.last_trade), *trades)))
        for guess, state in states:
            if (price := _first_match(state, likely, wanted)) is not None:
                return replace(guess, last_trade=price)
        if not thorough or len(states) > _MOST_GUESSES:
            return None
        for guess, state in states:
            if (price := _first_match(state, _all_prices(guess.tick), wanted)) is not None:
                return replace(guess, last_trade=price)
        return None

    def _before_trade(self, terms: Terms) -> Hash:
        members = ""
        if terms.min_size is not None:
            members += f',"min_order_size":"{terms.min_size}"'
        if terms.tick is not None:
            members += f',"tick_size":"{terms.tick}"'
        if terms.neg_risk is not None:
            members += f',"neg_risk":{"true" if terms.neg_risk else "false"}'
        state = self._head.copy()
        state.update(members.encode())
        return state


def _first_match(state: Hash, prices: Iterable[str], wanted: bytes) -> str | None:
    for price in prices:
        attempt = state.copy()
        attempt.update(f',"last_trade_price":"{price}"}}'.encode())
        if attempt.digest() == wanted:
            return price
    return None


def trade_texts(price: int) -> tuple[str, str]:
    """How the venue may write a trade at ``price``: with three decimals (or as many as it takes),
    seen from this token and from the other one of the market.
    """
    return _trade_text(price), _trade_text(MICROS - price)


def _trade_text(price: int) -> str:
    digits = f"{price:06d}".rstrip("0")
    return f"0.{digits.ljust(3, '0')}"


def _levels(levels: Mapping[int, int], order: Iterable[int]) -> str:
    return ",".join(
        f'{{"price":"{format_micros(price)}","size":"{format_micros(levels[price])}"}}'
        for price in order
    )


def _known(text: str | None) -> tuple[str, ...]:
    return () if text is None else (text,)


def _guesses(terms: Terms) -> Iterator[Terms]:
    """Every completion of what is not known but the last trade."""
    sizes = _MIN_SIZES if terms.min_size is None else (terms.min_size,)
    ticks = _TICKS if terms.tick is None else (terms.tick,)
    flags = (False, True) if terms.neg_risk is None else (terms.neg_risk,)
    for size, tick, flag in product(sizes, ticks, flags):
        yield Terms(size, tick, flag, terms.last_trade)


def _all_prices(tick: str | None) -> Iterator[str]:
    """Every price at which a trade may have been, as the venue writes them; and none yet."""
    yield from ("", "0")
    yield from (f"0.{thousandth:03d}" for thousandth in range(1000))
    yield "1.000"
    if tick in _FINE_TICKS:
        yield from (f"0.{n:04d}" for n in range(10_000) if n % 10)

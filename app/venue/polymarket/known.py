"""What the ledger knows of orders and tokens, at hand while an answer is read.

Reading is pure and cannot wait, so the ids that stand in a text are looked up before it. An id that is not
known is asked for again the next time: it may be an order that is just being prepared.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Final, Protocol, TypeVar

from app.venue.polymarket.answers import FeeTerms, Ours

MOST_KEPT: Final = 50_000
_ORDER_IDS: Final = re.compile(r"0x[0-9a-fA-F]{64}")
_TOKENS: Final = re.compile(r'"asset_id"\s*:\s*"([0-9]{1,78})"')
_NO_FEE: Final = FeeTerms(0)

K = TypeVar("K")
V = TypeVar("V")


class Lookup(Protocol):
    """The ledger's side."""

    async def signed_sizes(self, account: str, venue_order_ids: Sequence[str]) -> Mapping[str, int]:
        """Those of the ids that are orders of the account, with the size in micros that was signed."""
        ...

    async def fee_terms(self, token_ids: Sequence[str]) -> Mapping[str, FeeTerms]:
        """Those of the tokens whose market is known."""
        ...


class Known:
    """One account's orders and tokens, as far as they have been met."""

    def __init__(self, account: str, lookup: Lookup) -> None:
        self._account = account
        self._lookup = lookup
        self._sizes: OrderedDict[str, int] = OrderedDict()
        self._terms: OrderedDict[str, FeeTerms] = OrderedDict()

    async def meet(self, text: str, venue_order_ids: Sequence[str] = ()) -> None:
        """Look up whatever ``text`` names, and these ids."""
        named = {*(one.lower() for one in _ORDER_IDS.findall(text)), *venue_order_ids}
        if orders := sorted(named - self._sizes.keys()):
            _add(self._sizes, await self._lookup.signed_sizes(self._account, orders))
        # Fees change with the market: asked anew each time, and there are few.
        if tokens := sorted(set(_TOKENS.findall(text))):
            _add(self._terms, await self._lookup.fee_terms(tokens))

    def size_of(self, venue_order_id: str) -> int | None:
        return self._sizes.get(venue_order_id)

    def ours(self, owners: frozenset[str], wallet: str) -> Ours:
        """For the pure readers. A token of no market we know is none we trade: its fee counts for nothing."""
        return Ours(
            owners,
            wallet,
            lambda venue_order_id: venue_order_id in self._sizes,
            lambda token_id: self._terms.get(token_id, _NO_FEE),
            self.size_of,
        )


def _add(kept: OrderedDict[K, V], found: Mapping[K, V]) -> None:
    for key, value in found.items():
        kept[key] = value
        kept.move_to_end(key)
    while len(kept) > MOST_KEPT:
        kept.popitem(last=False)
